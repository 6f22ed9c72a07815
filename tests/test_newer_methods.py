"""TTM, WTTM, SRD, DCD and WKD-F against their equations in float64, and a 2-D teacher with a 1-D student."""

import copy

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

import kdlab
from kdlab import functional
from kdlab.data import BasicMotions
from kdlab.methods.dcd import DCDObjective
from kdlab.methods.srd import SRDObjective
from kdlab.methods.ttm import TTMObjective
from kdlab.methods.wkdf import WKDFObjective
from kdlab.methods.wttm import WTTMObjective
from kdlab.types import InputError, Output
from tests.conftest import net, trainer

RNG = np.random.default_rng(0)


def softmax(z, axis=-1):
    e = np.exp(z - z.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("exponent", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("objective", [TTMObjective, WTTMObjective])
def test_transformed_teacher(objective, exponent):
    own, raw, pi = RNG.normal(0, 3, (3, 8, 5))
    expected = 0.0
    for weight, teacher in ((0.7, raw), (0.3, pi)):
        for z_s, p in zip(own, softmax(teacher), strict=True):
            z = (p**exponent).sum()
            q = p**exponent / z
            divergence = (q * np.log(q / softmax(z_s))).sum()
            expected += weight * divergence * (z if objective is WTTMObjective else 1) / 8
    own, raw, pi = tensors(own, raw, pi)
    made = objective(exponent=exponent, matching_weight=45.0, weights={"raw": 0.7, "pi": 0.3}).double()
    teachers = {"raw": Output(raw, {}), "pi": Output(pi, {})}
    terms = made(student=Output(own, {}), teachers=teachers, target=torch.arange(8) % 5)
    torch.testing.assert_close(terms["matching"], torch.tensor(45 * expected, dtype=torch.float64))


def test_a_certain_teacher_has_the_weight_one_and_a_uniform_one_the_most():
    student, certain, uniform = torch.zeros(1, 4), torch.tensor([[200.0, 0, 0, 0]]), torch.zeros(1, 4)
    plain, weighted = (functional.transformed_teacher_kl(student, certain, 0.5, w) for w in (False, True))
    torch.testing.assert_close(plain, weighted)
    shifted = torch.tensor([[1.0, 0, 0, 0]])
    plain, weighted = (functional.transformed_teacher_kl(shifted, uniform, 0.5, w) for w in (False, True))
    torch.testing.assert_close(weighted, plain * 4**0.5)


@pytest.mark.parametrize("shapes", [((4, 3, 20), (4, 3, 9, 9)), ((4, 3, 6, 6), (4, 3, 50)), ((4, 3, 20), (4, 3, 20))])
def test_moments(shapes):
    own, other = (RNG.normal(2, 3, shape) for shape in shapes)
    expected = 0.0
    for s, t in zip(own.reshape(4, 3, -1), other.reshape(4, 3, -1), strict=True):
        deviations = [np.sqrt(x.var(1, ddof=1) + 1e-5) for x in (s, t)]
        expected += (4 * (s.mean(1) - t.mean(1)) ** 2 + (deviations[0] - deviations[1]) ** 2).sum() / 4
    made = functional.moment_distance(*tensors(own, other))
    torch.testing.assert_close(made, torch.tensor(expected, dtype=torch.float64))


def test_log_of_powers():
    own, other = RNG.normal(1, 3, (2, 8, 5))
    unit = [(x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) for x in (own, other)]
    expected = np.log((np.abs(unit[0] - unit[1]) ** 4).sum() + 1e-8)
    made = functional.log_power_distance(*tensors(own, other))
    torch.testing.assert_close(made, torch.tensor(expected, dtype=torch.float64))
    same = torch.from_numpy(own).requires_grad_()
    equal = functional.log_power_distance(same, same.detach())
    equal.backward()
    assert equal.item() == pytest.approx(np.log(1e-8))
    assert same.grad.isfinite().all()


def test_powers_below_one_have_a_gradient_where_features_are_equal():
    equal = torch.ones(3, 2, requires_grad=True)  # as a batch of still windows has them
    functional.log_power_distance(equal, torch.full((3, 2), 5.0), exponent=0.5).backward()
    assert equal.grad.isfinite().all()


def test_contrast_and_consistency():
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in RNG.normal(0, 1, (2, 8, 5)))
    similarity = np.e * u @ v.T
    rows, columns = softmax(similarity), softmax(similarity.T)
    expected = -np.log(np.diag(rows)).mean() + 0.5 * (columns * np.log(columns / rows)).sum() / 8
    made = functional.contrastive_consistency(*tensors(similarity))
    torch.testing.assert_close(made, torch.tensor(expected, dtype=torch.float64))


def outputs():
    """A student of signals, a teacher of images with other channels and sizes, labels."""
    student = {"stage3": torch.randn(6, 4, 25), "embedding": torch.randn(6, 4)}
    teacher = {"stage3": torch.randn(6, 7, 8, 8), "embedding": torch.randn(6, 7)}
    for feature in student.values():
        feature.requires_grad_()
    logits = torch.randn(6, 3, requires_grad=True)
    return Output(logits, student), Output(torch.randn(6, 3), teacher), torch.arange(6) % 3


@pytest.mark.parametrize(
    ("objective", "term", "tap"),
    [
        (SRDObjective, "features", "embedding"),
        (DCDObjective, "contrast", "embedding"),
        (WKDFObjective, "moments", "stage3"),
    ],
)
def test_images_teach_signals(objective, term, tap):
    torch.manual_seed(0)
    student, teacher, target = outputs()
    made = objective()
    terms = made(student=student, teachers={"pi": teacher}, target=target)
    terms[term].backward()
    assert student.features[tap].grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.adapters.parameters())
    assert teacher.features[tap].grad is None
    moved = torch.optim.SGD([*made.adapters.parameters(), student.features[tap]], 0.01)
    before = terms[term].item()
    for _ in range(20):
        moved.zero_grad()
        made(student=student, teachers={"pi": teacher}, target=target)[term].backward()
        moved.step()
    assert float(made(student=student, teachers={"pi": teacher}, target=target)[term]) < before


def test_the_scale_of_the_contrast_is_learnt_up_to_ten():
    made = DCDObjective(width=2)
    student, teacher, _ = outputs()
    made.adapt(student=student, teachers={"pi": teacher})
    embeddings = made.adapters["pi_embedding"]
    u = torch.eye(2)
    torch.testing.assert_close(embeddings.similarity(u, u), np.e * torch.eye(2))
    with torch.no_grad():
        embeddings.log_scale.fill_(9.0)
        embeddings.offset.fill_(-1.0)
    torch.testing.assert_close(embeddings.similarity(u, u), 10 * torch.eye(2) - 1)


def test_the_moments_decay_over_the_last_three_eighths():
    made = WKDFObjective()
    values = []
    for epoch in (0, 149, 150, 195, 239):
        made.at(epoch, epochs=240)
        values.append(float(made.settings()["decay"]))
    assert values[:3] == [1, 1, 1]
    assert values[3] == pytest.approx(0.5)
    assert 0 < values[4] < 1e-3
    constant = WKDFObjective(decay_from=1.0)
    constant.at(239, epochs=240)
    assert float(constant.settings()["decay"]) == 1
    made.at(5, epochs=None)  # no planned end: as it was


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: functional.transformed_teacher_kl(torch.zeros(2, 3), torch.zeros(2, 4)), "same batch and classes"),
        (lambda: functional.moment_distance(torch.zeros(2, 3), torch.zeros(2, 3, 4)), "at least two positions"),
        (lambda: functional.moment_distance(torch.zeros(2, 3, 5), torch.zeros(2, 4, 5)), "same channels"),
        (lambda: functional.log_power_distance(torch.zeros(1, 3), torch.zeros(1, 3)), "at least two windows"),
        (lambda: functional.contrastive_consistency(torch.zeros(2, 3)), r"must be \(B, B\)"),
        (lambda: WKDFObjective(taps=("embedding",)).adapt(student=outputs()[0], teachers={"pi": outputs()[1]}), "maps"),
        (lambda: TTMObjective(exponent=0.0), "exponent must be at least 0.001"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("method", [kdlab.TTM, kdlab.WTTM, kdlab.SRD, kdlab.DCD, kdlab.WKDF])
def test_they_are_methods_with_flat_arguments(method):
    student = kdlab.nets.WideResNet(depth=10, width=1, in_channels=3, num_classes=4)
    teacher = kdlab.nets.WideResNet(depth=10, width=2, ndim=2, in_channels=3, num_classes=4)
    name, value = ("ce_weight", 0.5) if "TTM" in method.__name__ else ("kd_weight", 0.3)
    made = method(student, {"pi": kdlab.Teacher(net=teacher, view="pi")}, **{name: value})
    assert made.objective.settings()[name].item() == pytest.approx(value)


def slow(parameters):
    return torch.optim.SGD(parameters, 1e-4)


@pytest.mark.parametrize("limits", [{"max_epochs": 3}, {"max_epochs": 100, "max_steps": 11}, {"max_epochs": -1}])
def test_schedules_end_where_max_steps_ends_the_fit(limits, tmp_path):
    """The weight of WKDF falls alike over three epochs, whichever limit ends them."""
    found = {}

    class Seen(Callback):
        def on_train_batch_end(self, trainer, module, *args):
            found[trainer.current_epoch] = float(module.objective.decay)

    torch.manual_seed(0)
    module = kdlab.WKDF(net(), {"raw": kdlab.Teacher(net=net(), mean=[0.0] * 6, std=[1.0] * 6)}, optimizer=slow)
    settings = {"max_steps": 11 if limits.get("max_epochs") == -1 else -1, **limits}
    fit = trainer(tmp_path, **settings, limit_val_batches=0, callbacks=[Seen()])
    fit.fit(module, BasicMotions(batch_size=8))
    expected = copy.deepcopy(module.objective)
    for epoch, decay in found.items():
        expected.at(epoch, epochs=3)
        assert decay == pytest.approx(float(expected.decay))
    assert len(found) == 3
    assert found[2] < 1


def test_halves_of_a_fit_that_max_steps_ends(tmp_path):
    """AnnealingKD and PSKD plan the epochs that the steps make."""
    teacher = kdlab.Teacher(net=net(), mean=[0.0] * 6, std=[1.0] * 6)
    for module in (kdlab.AnnealingKD(net(), {"raw": teacher}), kdlab.PSKD(net(), past_weight=0.8)):
        for epochs in (100, -1):
            fit = trainer(tmp_path, max_epochs=epochs, max_steps=12, limit_val_batches=0)
            fit.fit(copy.deepcopy(module), BasicMotions(batch_size=8))
            ended = fit.lightning_module
            if isinstance(ended, kdlab.AnnealingKD):
                assert ended.second_part
            else:
                assert float(ended.objective.past_weight) == pytest.approx(0.8)
