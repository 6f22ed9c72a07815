"""ReviewKD against its equations in float64, layer by layer; maps of other sizes and kinds; its warm-up."""

import numpy as np
import pytest
import torch

from kdlab import ReviewKD, Teacher, functional
from kdlab.data import BasicMotions
from kdlab.methods.review_kd import ReviewKDObjective
from kdlab.types import InputError, Output
from kdlab.views import PersistenceImage, Raw
from tests import references as ref
from tests.conftest import net, trainer
from tests.test_adapters import BATCH, TARGET, check_value, made, norm, numbers, output, pointwise

TAPS = ("stage1", "stage2", "stage3", "embedding")


def as_map(x, axes):
    return x if x.ndim > 2 else x.reshape(*x.shape, *(1,) * axes)


def nearest(x, size):
    """The position at the same share of the axis, rounded down."""
    for axis, (old, new) in enumerate(zip(x.shape[2:], size, strict=True), start=2):
        x = np.take(x, [i * old // new for i in range(new)], axis)
    return x


def kernel3(x, layer):
    """A convolution of kernel 3 with zeros around, position by position."""
    weight, axes = numbers(layer.weight), x.ndim - 2
    padded = np.pad(x, [(0, 0), (0, 0), *[(1, 1)] * axes])
    out = np.zeros((len(x), weight.shape[0], *x.shape[2:]))
    for place in np.ndindex(*x.shape[2:]):
        part = padded[(slice(None), slice(None), *(slice(p, p + 3) for p in place))]
        out[(slice(None), slice(None), *place)] = np.tensordot(
            part, weight, axes=(range(1, part.ndim), range(1, part.ndim))
        )
    return out


def context(own, other):
    """The hierarchical context loss: 4, 2 and 1 positions an axis, each with half of the weight before."""
    value, share, total = ((own - other) ** 2).mean(), 1.0, 1.0
    for side in (4, 2, 1):
        if side < max(own.shape[2:]):
            share, size = share / 2, tuple(min(side, n) for n in own.shape[2:])
            value += share * ((ref.pool(own, size) - ref.pool(other, size)) ** 2).mean()
            total += share
    return value / total


def by_hand(review, own, others, pooled):
    """The distances of one teacher, from the last stage to the first."""
    axes, later, values = max(x.ndim for x in own) - 2, None, []
    for stage, a, b in reversed(list(zip(review.stages, own, others, strict=True))):
        b = as_map(b, axes)
        x = norm(pointwise(as_map(a, axes), stage.narrow[0]), stage.narrow[1])
        if later is not None:
            later = nearest(later, x.shape[2:])
            gates = 1 / (1 + np.exp(-pointwise(np.concatenate([x, later], 1), stage.gates)))
            x = gates[:, :1] * x + gates[:, 1:] * later
        later = x if pooled else nearest(x, b.shape[2:])
        made_map = norm(kernel3(later, stage.widen[0]), stage.widen[1])
        if pooled:
            made_map, b = (m.reshape(*m.shape[:2], -1).mean(2) for m in (made_map, b))
        values.append(((made_map - b) ** 2).mean() if pooled else context(made_map, b))
    return values


@pytest.mark.parametrize(
    ("one", "two", "how"),
    [
        ("1-D", "1-D", {}),
        ("2-D", "2-D", {"width": 5}),
        ("1-D", "2-D", {"pooled": True}),
        ("2-D", "1-D", {"pooled": True, "width": 4}),
        ("1-D", [(11,), (9,), (3,)], {"resize": "nearest"}),
    ],
)
def test_values(one, two, how):
    student, weights = output(1, one), {"raw": 0.75, "pi": 0.25}
    other = {"ndim": two} if isinstance(two, str) else {"sizes": two}
    teachers = {"raw": output(2, channels=5, **other), "pi": output(3, channels=4, **other)}
    objective = made(ReviewKDObjective(weights=weights, review_weight=3.0, kd_weight=0.5, **how), student, teachers)
    expected = 0.0
    for name, weight in weights.items():
        review = objective.adapters[name]
        assert review.stages[0].narrow[0].out_channels == how.get("width", 12)
        own, others = ([numbers(x.features[tap]) for tap in TAPS] for x in (student, teachers[name]))
        expected += weight * np.mean(by_hand(review, own, others, how.get("pooled", False)))
    terms = objective(student=student, teachers=teachers, target=TARGET)
    check_value(terms["review"], 3 * expected)
    objective.set("ramp", 0.25)
    check_value(objective(student=student, teachers=teachers, target=TARGET)["review"], 0.75 * expected)


@pytest.mark.parametrize("size", [(1,), (2,), (5,), (16,), (1, 1), (3, 2), (2, 6), (8, 8)])
def test_context_of_any_size(size):
    random = torch.Generator().manual_seed(0)
    own, other = (torch.randn(3, 4, *size, generator=random, dtype=torch.float64) for _ in range(2))
    check_value(functional.hierarchical_context(own, other), context(numbers(own), numbers(other)))
    own.requires_grad_()
    functional.hierarchical_context(own, own.detach()).backward()
    assert not own.grad.any()
    with pytest.raises(InputError, match=r"\(3, 4.*\(3, 5"):
        functional.hierarchical_context(own, torch.zeros(3, 5, *size))


def test_early_stages_of_a_teacher_teach_the_last_of_the_student():
    """And the student's first stage does not learn from the teacher's last."""
    for tap, reached in (("stage1", set(TAPS)), ("embedding", {"embedding"})):
        torch.manual_seed(0)
        student, teacher = output(1), output(2)
        leaves = {name: x.requires_grad_() for name, x in student.features.items()}
        objective = ReviewKDObjective()
        objective.adapt(student=student, teachers={"raw": teacher})
        own, others = ([x.features[name] for name in TAPS] for x in (student, teacher))
        objective.adapted("raw", *own, *others)[TAPS.index(tap)].backward()
        assert {name for name, x in leaves.items() if x.grad is not None and x.grad.any()} == reached
        assert all(x.grad is None for x in others)


def test_the_weight_rises():
    objective, method = ReviewKDObjective(), ReviewKD(net(), {"raw": Teacher(net=net())}).objective
    assert objective.warm_up == 0
    for epoch, expected in ((0, 0.0), (5, 0.25), (20, 1.0), (100, 1.0), (1, 0.05)):
        objective.advance(epoch)
        method.advance(epoch)
        assert (float(objective.ramp), float(method.ramp)) == (1.0, pytest.approx(expected))


def test_refusals():
    student, teachers = output(1), {"pi": output(2, "2-D")}
    with pytest.raises(InputError, match=r"^ReviewKDObjective: teacher 'pi', tap 'stage1': .*Set pooled=True") as said:
        ReviewKDObjective(resize="nearest")(student=student, teachers=teachers, target=TARGET)
    assert "nearest" not in str(said.value)  # which does not help
    teachers = {"pi": output(2, sizes=[(16,), (8,), (7,)])}
    with pytest.raises(InputError, match=r"tap 'stage3': .*\(6, 12, 5\).*\(6, 12, 7\).*resize='nearest'.*pooled=True"):
        ReviewKDObjective()(student=student, teachers=teachers, target=TARGET)
    both = Output(student.logits, {**student.features, "stage1": torch.zeros(BATCH, 3, 4, 4)})
    with pytest.raises(InputError, match=r"ReviewKDObjective: taps must all be signals.*\(6, 3, 4, 4\), \(6, 6, 8\)"):
        ReviewKDObjective()(student=both, teachers={"raw": both}, target=TARGET)
    with pytest.raises(InputError, match="at least 2 per process"):
        ReviewKDObjective().check(batch_size=1, teachers=["raw"])
    with pytest.raises(InputError, match="ReviewKDObjective: width must be"):
        ReviewKDObjective(width=-1)


def test_a_teacher_of_weight_0_gets_nothing_and_taps_may_be_vectors():
    weights = {"raw": 1.0, "pi": 0.0}
    objective = ReviewKDObjective(taps=("embedding",), weights=weights)
    terms = objective(student=output(1), teachers={"raw": output(2), "pi": output(3, "2-D")}, target=TARGET)
    assert list(objective.adapters) == ["raw"]
    assert terms["review"] > 0
    assert objective.adapters["raw"].axes == 1


def test_a_fit_from_images_to_signals(tmp_path):
    torch.manual_seed(0)
    both = BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, batch_size=8)
    teachers = {"pi": Teacher(net=net(ndim=2), view="pi", mean=[0.0] * 6, std=[1.0] * 6)}
    module = ReviewKD(net(), teachers, pooled=True, warm_up=1)
    run = trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    run.fit(module, both)
    assert all(p.isfinite().all() for p in module.parameters())
    assert run.callback_metrics["train/review"] > 0
    constant = torch.zeros(4, 6, 100), torch.zeros(4, 6, 16, 16)
    student, taught = module.net(constant[0]), module.teachers["pi"](constant[1])
    terms = module.objective(student=student, teachers={"pi": taught}, target=TARGET[:4])
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
