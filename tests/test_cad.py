"""CAD, in our reading, against its equation in float64, and from images to signals in a fit."""

import numpy as np
import pytest
import torch

from kdlab import CAD, Teacher
from kdlab.data import BasicMotions
from kdlab.methods.cad import CADObjective, constrained_weights
from kdlab.types import InputError, Output
from kdlab.views import PersistenceImage, Raw
from tests import references as ref
from tests.conftest import net, trainer
from tests.test_adapters import BATCH, TARGET, check_value, made, numbers, output, pointwise


def entropy(logits):
    return np.mean([-(p * np.log(p)).sum() for p in map(ref.softmax, logits)])


def by_hand(teachers, least):
    h = np.array([entropy(numbers(x.logits)) for x in teachers.values()])
    raw = np.clip((1 - h / h.sum()) / (len(h) - 1), least, 1 - least)
    return dict(zip(teachers, raw / raw.sum(), strict=True))


def gram_distance(one, two):
    grams = [np.array([ref.unit(row) for row in x @ x.T]) for x in (one, two)]
    return ((grams[0] - grams[1]) ** 2).mean()


@pytest.mark.parametrize(("one", "two"), [("1-D", "1-D"), ("2-D", "2-D"), ("1-D", "2-D")])
@pytest.mark.parametrize("least", [0.0, 0.25, 0.5])
def test_cad_by_hand(one, two, least):
    student, teachers = output(1, one), {"raw": output(2, two, 5), "pi": output(3, two, 4)}
    teachers["raw"] = teachers["raw"]._replace(logits=0.2 * teachers["raw"].logits)  # uncertain
    taps, weights = ("stage2", "stage3"), by_hand(teachers, least)
    settings = {"kd_weight": 0.5, "temperature": 2.0, "batch_weight": 3.0, "channel_weight": 5.0}
    objective = made(CADObjective(least=least, taps=taps, **settings), student, teachers)
    kd = batch = channel = 0.0
    for name, teacher in teachers.items():
        kd += weights[name] * ref.soft_target_kl(numbers(student.logits), numbers(teacher.logits), 2.0).mean()
        for tap in taps:
            own = pointwise(numbers(student.features[tap]), objective.adapters[f"{name}_{tap}"])
            other = numbers(teacher.features[tap])
            batch += weights[name] * gram_distance(own.reshape(BATCH, -1), other.reshape(BATCH, -1)) / 2
            own, other = (np.moveaxis(x, 1, 0).reshape(x.shape[1], -1) for x in (own, other))
            channel += weights[name] * gram_distance(own, other) / 2
    terms = objective(student=student, teachers=teachers, target=TARGET)
    check_value(terms["kd"], 0.5 * kd)
    check_value(terms["batch"], 3 * batch)
    check_value(terms["channel"], 5 * channel)
    found = {name: float(objective.observed()[f"weight_{name}"]) for name in teachers}
    assert found == pytest.approx(weights, rel=1e-6)
    assert found["pi"] >= 0.5 >= found["raw"] >= least - 1e-7
    assert objective.observed().keys() == {"weight_raw", "weight_pi"}


def test_weights_of_one_and_of_certain_teachers():
    certain = torch.tensor([[500.0, 0.0]])
    assert constrained_weights({"raw": certain}, torch.tensor(0.0)) == {"raw": 1}
    assert constrained_weights({"raw": torch.zeros(1, 2)}, torch.tensor(0.0)) == {"raw": 1}
    assert constrained_weights({"raw": certain, "pi": certain}, torch.tensor(0.3)) == {"raw": 0.5, "pi": 0.5}
    three = constrained_weights({"a": certain, "b": torch.zeros(1, 2), "c": torch.zeros(1, 2)}, torch.tensor(0.1))
    assert sum(map(float, three.values())) == pytest.approx(1)
    assert three["a"] > three["b"] == three["c"]


def test_cad_from_images_to_signals_with_constant_windows(tmp_path):
    torch.manual_seed(0)
    statistics = {"mean": [0.0] * 6, "std": [1.0] * 6}
    taught = {"raw": Teacher(net=net(), **statistics), "pi": Teacher(net=net(ndim=2), view="pi", **statistics)}
    module = CAD(net(), taught)
    both = BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, batch_size=8)
    run = trainer(tmp_path, max_steps=3, limit_val_batches=0, log_every_n_steps=1)
    both.setup("fit")
    module.prepare(both, "fit")
    before = {k: p.detach().clone() for k, p in module.objective.adapters.named_parameters()}
    run.fit(module, both)
    assert set(before) == {f"{n}_stage3.{part}" for n in taught for part in ("weight", "bias")}
    assert all(not torch.equal(p, before[k]) for k, p in module.objective.adapters.named_parameters())
    assert {"train/weight_raw", "train/weight_pi", "train/batch", "train/channel"} <= set(run.callback_metrics)
    student = module.net(torch.zeros(4, 6, 100))
    others = {
        "raw": module.teachers["raw"](torch.zeros(4, 6, 100)),
        "pi": module.teachers["pi"](torch.zeros(4, 6, 16, 16)),
    }
    terms = module.objective(student=student, teachers=others, target=TARGET[:4])
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_cad_needs_maps():
    flat = Output(torch.zeros(2, 3), {"embedding": torch.zeros(2, 3)})
    with pytest.raises(InputError, match=r"CADObjective: taps must name maps.*\(2, 3\)"):
        CADObjective(taps=("embedding",)).adapt(student=flat, teachers={"raw": flat})
