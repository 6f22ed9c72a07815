"""DiffKD against its equations in float64, layer by layer; its noise; images that teach signals."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from kdlab import DiffKD, Teacher, functional
from kdlab.data import BasicMotions
from kdlab.methods.diff_kd import DiffKDObjective
from kdlab.methods.diffusion import Bottleneck, Diffusion
from kdlab.types import InputError, Output
from kdlab.views import PersistenceImage, Raw
from tests import references as ref
from tests.conftest import net, trainer
from tests.test_adapters import BATCH, CLASSES, TARGET, linear, made, norm, numbers, output, relu

SHARES = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def convolution(x, layer):
    """Odd kernels with zeros around, offset by offset."""
    weight = numbers(layer.weight)
    kernel, axes = weight.shape[2], x.ndim - 2
    padded = np.pad(x, [(0, 0), (0, 0), *[(kernel // 2,) * 2] * axes])
    out = np.zeros((len(x), weight.shape[0], *x.shape[2:]))
    for offset in np.ndindex(*weight.shape[2:]):
        part = padded[:, :, *(slice(o, o + n) for o, n in zip(offset, x.shape[2:], strict=True))]
        out += np.einsum("oc,bc...->bo...", weight[:, :, *offset], part)
    return out + numbers(layer.bias).reshape(1, -1, *(1,) * axes)


def through(x, layer):
    if isinstance(layer, nn.Sequential):
        for part in layer:
            x = through(x, part)
        return x
    if isinstance(layer, Bottleneck):
        return x + through(x, layer.block)
    if isinstance(layer, nn.ReLU):
        return relu(x)
    return norm(x, layer) if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) else convolution(x, layer)


def by_hand(nets, own, other, keys, seed, steps, logits):
    """Distance, loss of the diffusion, loss of the autoencoder."""
    assert isinstance(nets, Diffusion)
    code = through(other, nets.encode) if nets.has_code else other
    rebuilt = ((through(code, nets.decode) - other) ** 2).mean() if nets.has_code else 0.0
    feature, shape = through(own, nets.match), (len(own), *(1,) * (own.ndim - 1))

    def predicted(x, times):
        rows = np.array([numbers(nets.time.weight)[t] for t in times])
        return through(x + rows.reshape(*rows.shape, *(1,) * (x.ndim - 2)), nets.predict)

    def noise(stream):
        return numbers(functional.keyed_normal(keys, code[0].size, 4 * seed + stream)).reshape(code.shape)

    scores = linear(through(feature, nets.mix).reshape(*feature.shape[:2], -1).mean(2), nets.share)
    share = np.array([ref.softmax(row)[0] for row in scores]).reshape(shape)
    x = share * feature + (1 - share) * noise(0)
    size = 1000 // (2 * steps)
    for time in range((steps - 1) * size, -1, -size):
        now, before = SHARES[time], SHARES[time - size] if time else 1.0
        found = predicted(x, [time] * len(x))
        x = np.sqrt(before) * (x - np.sqrt(1 - now) * found) / np.sqrt(now) + np.sqrt(1 - before) * found
    x = through(x, nets.project)
    if logits:
        distance = ref.soft_target_kl(x.reshape(len(x), -1), code.reshape(len(x), -1), 1.0).mean()
    else:
        distance = ((x - code) ** 2).mean()
    times = (numbers(functional.keyed_uniform(keys, 1, 4 * seed + 2))[:, 0] * 1000).astype(int)
    kept, drawn = SHARES[times].reshape(shape), noise(1)
    noisy = np.sqrt(kept) * code + np.sqrt(1 - kept) * drawn
    return distance, ((predicted(noisy, times) - drawn) ** 2).mean(), rebuilt


def mean_of(x):
    return x.reshape(*x.shape[:2], -1).mean(2)[..., None]


@pytest.mark.parametrize(("one", "two", "pooled"), [("1-D", "1-D", 0), ("2-D", "2-D", 0), ("1-D", "2-D", 1)])
@pytest.mark.parametrize("steps", [5, 2])
def test_values(one, two, pooled, steps):
    student, teachers = output(1, one), {"raw": output(2, two, 5), "pi": output(3, two, 4)}
    weights = {"raw": 0.75, "pi": 0.25}
    settings = {"feature_weight": 2.0, "logits_weight": 3.0, "diffusion_weight": 0.5, "seed": 7}
    taps = ("stage2", "stage3")
    objective = made(
        DiffKDObjective(weights=weights, taps=taps, pooled=bool(pooled), steps=steps, **settings), student, teachers
    )
    objective.at(3, step=41)
    index = torch.tensor([40, 3, 5, 900, 7, 8])
    feature = logits = diffusion = 0.0
    pairs = [(n, tap) for n in weights for tap in (*taps, "logits")]
    for place, (name, tap) in enumerate(pairs):
        seed = (7 * 1009 + place) * 2**20 + 41
        if tap == "logits":
            own, other = numbers(student.logits)[..., None], numbers(teachers[name].logits)[..., None]
        else:
            own, other = (numbers(x.features[tap]) for x in (student, teachers[name]))
            own, other = (mean_of(x) if pooled else x for x in (own, other))
        nets = objective.adapters[f"logits_{name}" if tap == "logits" else f"{name}_{tap}"]
        distance, *learning = by_hand(nets, own, other, index, seed, steps, tap == "logits")
        weight = weights[name] / (1 if tap == "logits" else 2)
        diffusion += weight * sum(learning)
        feature, logits = (
            (feature, logits + weight * distance) if tap == "logits" else (feature + weight * distance, logits)
        )
    terms = objective(student=student, teachers=teachers, target=TARGET, index=index)
    assert float(terms["feature"]) == pytest.approx(2 * feature, rel=1e-6)
    assert float(terms["logits"]) == pytest.approx(3 * logits, rel=1e-6)
    assert float(terms["diffusion"]) == pytest.approx(0.5 * diffusion, rel=1e-6)
    assert float(terms["ce"]) == pytest.approx(ref.cross_entropy(numbers(student.logits), TARGET.numpy()))


def test_images_teach_signals():
    torch.manual_seed(0)
    student, teacher = output(1), output(2, "2-D", 5)
    leaves = {"stage3": student.features["stage3"].requires_grad_(), "logits": student.logits.requires_grad_()}
    objective = DiffKDObjective(pooled=True)
    objective.adapt(student=student, teachers={"pi": teacher})
    terms = objective(student=student, teachers={"pi": teacher}, target=TARGET)
    (terms["feature"] + terms["logits"]).backward(retain_graph=True)
    assert all(x.grad.abs().sum() > 0 for x in leaves.values())
    assert all(p.grad is not None for k, p in objective.adapters.named_parameters() if "decode" not in k)
    for leaf in leaves.values():
        leaf.grad = None
    terms["diffusion"].backward()  # trains the adapters alone
    assert not any(x.grad.any() for x in leaves.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.adapters.parameters())
    assert teacher.features["stage3"].grad is None
    learner = torch.optim.Adam(objective.adapters.parameters(), 0.01)
    first = sum(float(v.detach()) for k, v in terms.items() if k != "ce")
    for step in range(30):
        objective.at(0, step=step)
        learner.zero_grad()
        terms = objective(student=student, teachers={"pi": teacher}, target=TARGET)
        torch.stack([v for k, v in terms.items() if k != "ce"]).sum().backward()
        learner.step()
    assert sum(float(v.detach()) for k, v in terms.items() if k != "ce") < first


def test_noise_belongs_to_the_step_and_the_window():
    student, teachers = output(1), {"raw": output(2)}
    objective = made(DiffKDObjective(), student, teachers)

    def terms(index, step=0, order=slice(None)):
        objective.at(0, step=step)
        own, other = (
            Output(o.logits[order], {k: v[order] for k, v in o.features.items()}) for o in (student, teachers["raw"])
        )
        return {
            k: float(v.detach())
            for k, v in objective(student=own, teachers={"raw": other}, target=TARGET[order], index=index).items()
        }

    index, order = torch.tensor([40, 3, 5, 900, 7, 8]), torch.tensor([3, 1, 0, 5, 2, 4])
    assert terms(index) == terms(index)
    assert terms(index)["feature"] != terms(index, step=1)["feature"]
    assert terms(index)["feature"] != terms(index + 1)["feature"]
    assert terms(None) == terms(torch.arange(BATCH))
    mixed = terms(index[order], order=order)
    assert mixed == pytest.approx(terms(index), rel=1e-9)


@pytest.mark.parametrize("seed", [0, 5, 2**40 + 3])
def test_keyed_noise_is_normal_and_independent(seed):
    x = numbers(functional.keyed_normal(torch.arange(50) * 64, 2000, seed))
    assert stats.kstest(x.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(x) - np.eye(50)).max() < 0.12  # between windows
    assert abs(np.corrcoef(x.ravel()[:-1], x.ravel()[1:])[0, 1]) < 0.015  # between places
    later = numbers(functional.keyed_normal(torch.arange(50) * 64, 2000, torch.tensor([seed + 1])))
    assert abs(np.corrcoef(x.ravel(), later.ravel())[0, 1]) < 0.015
    u = numbers(functional.keyed_uniform(torch.arange(2000), 50, seed))
    assert 0 < u.min() < u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3


def test_refusals():
    student = output(1)
    for other in (output(2, "2-D"), output(2, sizes=[(16,), (8,), (7,)])):
        with pytest.raises(InputError, match=r"teacher 'pi', tap 'stage3': maps must have the same.*Set pooled=True"):
            DiffKDObjective()(student=student, teachers={"pi": other}, target=TARGET)
    taps = {"pi": torch.zeros(BATCH, 3, 5)}
    given = {n: Output(student.logits, taps) for n in ("pi", "logits")}
    with pytest.raises(InputError, match=r"would share the adapter 'logits_pi'"):
        DiffKDObjective(taps=("pi",))(student=Output(student.logits, taps), teachers=given, target=TARGET)
    with pytest.raises(InputError, match="at least 2 per process"):
        DiffKDObjective().check(batch_size=1, teachers=["raw"])
    for name, bad in (("steps", 0), ("steps", 501), ("code_channels", -1), ("seed", -1)):
        with pytest.raises(InputError, match=f"DiffKDObjective: {name} must be"):
            DiffKDObjective(**{name: bad})


def test_without_logits_a_teacher_may_have_other_classes():
    objective = DiffKDObjective(logits_weight=0.0, code_channels=3)
    assert not objective.needs_logits
    other = output(2)._replace(logits=torch.zeros(BATCH, CLASSES + 3))
    terms = objective(student=output(1), teachers={"raw": other}, target=TARGET)
    assert list(objective.adapters) == ["raw_stage3"]
    assert objective.adapters["raw_stage3"].encode[0].out_channels == 3
    assert float(terms["logits"]) == 0
    with pytest.raises(InputError, match=r"logits_weight must stay 0 .*, but got 1\.0\. Begin with a small weight"):
        objective.set("logits_weight", 1.0)  # as a callback does: the term would stay 0
    objective.set("logits_weight", 0.0)
    DiffKDObjective().set("logits_weight", 0.0)


def test_a_fit_from_images_to_signals_with_constant_windows(tmp_path):
    torch.manual_seed(0)
    both = BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, batch_size=8)
    module = DiffKD(net(), {"pi": Teacher(net=net(ndim=2), view="pi", mean=[0.0] * 6, std=[1.0] * 6)}, pooled=True)
    run = trainer(tmp_path, max_steps=3, limit_val_batches=0)
    run.fit(module, both)
    assert all(p.isfinite().all() for p in module.parameters())
    constant = torch.zeros(4, 6, 100), torch.zeros(4, 6, 16, 16)
    student, taught = module.net(constant[0]), module.teachers["pi"](constant[1])
    terms = module.objective(student=student, teachers={"pi": taught}, target=TARGET[:4])
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
