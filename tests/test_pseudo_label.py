"""Pseudo-labels against the equation in float64, their schedule, and fits with windows without labels."""

import numpy as np
import pytest
import torch

from kdlab import PseudoLabel, Supervised
from kdlab.data import ArrayDataModule, Mixup, Unlabelled
from kdlab.methods.pseudo_label import PseudoLabelObjective
from kdlab.study.labels_alone import labels_alone
from kdlab.types import InputError, Output
from tests.conftest import net, trainer


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def reference(logits, target, threshold=0.6, temperature=0.5, soft=False):
    """Label term, term of the windows without a label at weight 1, and the share that counts: window by window."""
    labelled, own, counted = [], 0.0, 0
    for z, y in zip(logits, target, strict=True):
        p = softmax(z)
        if y >= 0:
            labelled.append(-np.log(p[y]))
        elif p.max() >= threshold:
            q = softmax(z / temperature) if soft else np.eye(len(z))[p.argmax()]
            own, counted = own - (q * np.log(p)).sum(), counted + 1
    without = len(target) - len(labelled)
    return np.mean(labelled), own / max(without, 1), counted / max(without, 1)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.0])
def test_terms_equal_the_equation(soft, threshold):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(0, 2, (40, 5)), rng.integers(-1, 5, 40)
    kind = {"targets": "soft", "temperature": 0.25} if soft else {}
    objective = PseudoLabelObjective(pseudo_weight=3.0, threshold=threshold, **kind)
    terms = objective(student=Output(torch.tensor(logits), {}), teachers={}, target=torch.tensor(target))
    ce, own, share = reference(logits, target, threshold, 0.25, soft)
    assert terms["ce"].item() == pytest.approx(ce, rel=1e-12)
    assert terms["pseudo"].item() == pytest.approx(3 * own, rel=1e-6, abs=1e-12)
    assert objective.observed()["confident"].item() == pytest.approx(share, rel=1e-6)
    assert share == {0.0: 1.0, 1.0: 0.0}.get(threshold, share)
    assert threshold != 0.6 or 0 < share < 1


def gradient(logits, target, **settings):
    z = torch.tensor(logits, requires_grad=True)
    PseudoLabelObjective(**settings)(student=Output(z, {}), teachers={}, target=torch.tensor(target))[
        "pseudo"
    ].backward()
    return z.grad.numpy()


def test_no_gradient_flows_to_the_targets():
    """The gradient of a window without a label is (p - q) / n; so soft targets at temperature 1 have none."""
    rng = np.random.default_rng(1)
    logits, target = rng.normal(0, 2, (12, 4)), np.where(np.arange(12) % 3, -1, 0)
    p = np.stack([softmax(z) for z in logits])
    q = {"hard": np.eye(4)[p.argmax(1)], "soft": np.stack([softmax(z / 0.5) for z in logits])}
    for targets, wanted in q.items():
        found = gradient(logits, target, targets=targets, threshold=0.0)
        expected = np.where((target < 0)[:, None], (p - wanted) / (target < 0).sum(), 0)
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(gradient(logits, target, targets="soft", temperature=1.0, threshold=0.0)).max() < 1e-12


def test_windows_with_a_share_of_a_label_are_labelled():
    logits = torch.tensor([[3.0, 0.0], [3.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([[0.0, 0.3], [0.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    terms = PseudoLabelObjective(threshold=0.5)(student=Output(logits, {}), teachers={}, target=target)
    assert terms["pseudo"].item() == pytest.approx(float(np.log1p(np.exp(-3))))
    none = PseudoLabelObjective()(student=Output(logits, {}), teachers={}, target=torch.tensor([0, 1, 0]))
    assert none["pseudo"].item() == 0
    extreme = torch.tensor([[1e4, -1e4], [0.0, 0.0]], requires_grad=True)
    terms = PseudoLabelObjective(targets="soft")(
        student=Output(extreme, {}), teachers={}, target=torch.tensor([-1, -1])
    )
    sum(terms.values()).backward()
    assert torch.isfinite(extreme.grad).all()


def test_the_weight_is_a_function_of_the_update():
    def weights(**settings):
        objective = PseudoLabelObjective(pseudo_weight=2.0, **settings)
        found = []
        for step in (0, 9, 10, 15, 20, 500, 9):
            objective.at(3, 8, step=step, epochs=7)
            found.append(float(objective.pseudo_weight))
        return found

    assert weights(warm_up_updates=10, ramp_up_updates=10) == [0, 0, 0, 1, 2, 2, 0]
    assert weights(warm_up_updates=10, ramp_up_updates=0) == [0, 0, 2, 2, 2, 2, 0]
    assert weights(warm_up_updates=0, ramp_up_updates=20) == pytest.approx([0, 0.9, 1, 1.5, 2, 2, 0.9])
    assert weights(warm_up_updates=0, ramp_up_updates=0) == [2] * 7
    assert PseudoLabelObjective(warm_up_updates=0, ramp_up_updates=0).moves == ()  # callbacks may change it


@pytest.mark.parametrize(
    ("argument", "value"),
    [("threshold", 1.1), ("threshold", -0.1), ("temperature", 0.0), ("warm_up_updates", -1), ("targets", "both")],
)
def test_values_out_of_range(argument, value):
    with pytest.raises(InputError, match=rf"^PseudoLabelObjective: {argument} must be"):
        PseudoLabelObjective(**{argument: value})


# ---------------------------------------------------------------------- fits
def data(unlabelled=None, **kwargs):
    rng = np.random.default_rng(0)
    target, who = np.arange(120) % 3, np.arange(120) // 12
    x = rng.normal(0, 0.4, (120, 2, 32)) + np.sin((1 + target)[:, None, None] * np.linspace(0, 6, 32))
    fixed = {"batch_size": 8, "seed": 0, "test_subjects": [8, 9], "val_subjects": [6, 7]}
    return ArrayDataModule(x, target, who, unlabelled=unlabelled, **{**fixed, **kwargs})


def method(**settings):
    torch.manual_seed(1)
    return PseudoLabel(net(channels=2, classes=3), **{"warm_up_updates": 4, "ramp_up_updates": 2, **settings})


def fit(folder, module, windows, **kwargs):
    torch.manual_seed(0)
    kept = trainer(folder, **{"limit_val_batches": 0, "max_epochs": 3, **kwargs})
    kept.fit(module, windows)
    return kept


@pytest.mark.parametrize("targets", ["hard", "soft"])
def test_interrupted_equals_uninterrupted(tmp_path, targets):
    def module():
        return data(Unlabelled(labelled=2, ratio=0.5), mix=Mixup() if targets == "soft" else None)

    settings = {"targets": targets, "threshold": 0.4}
    complete, first, resumed = (method(**settings) for _ in range(3))
    fit(tmp_path, complete, module())
    fit(tmp_path, first, module(), max_steps=5).save_checkpoint(tmp_path / "last.ckpt")
    trainer(tmp_path, max_epochs=3, limit_val_batches=0).fit(resumed, module(), ckpt_path=tmp_path / "last.ckpt")
    others = method(**settings, pseudo_weight=0.0)
    fit(tmp_path, others, module())
    for name, value in complete.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert any(not torch.equal(others.state_dict()[name], value) for name, value in complete.state_dict().items())


def test_labels_that_are_not_used_change_nothing(tmp_path):
    """The labels of people without labels are read nowhere, and those windows are in the batches."""
    states = []
    for shift in (0, 1):
        module = data(Unlabelled(people=["0", "1", "2"]))
        windows = module.load()
        windows.target[:36] = (windows.target[:36] + shift) % 3
        module.reuse(windows)
        student = method(threshold=0.4)
        run = fit(tmp_path, student, module)
        assert run.num_training_batches == 72 // 8
        assert student.unlabelled == 36
        states.append(student.state_dict())
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())


def test_without_such_windows_it_trains_as_supervised_does(tmp_path):
    torch.manual_seed(1)
    alone, student = Supervised(net(channels=2, classes=3)), method()
    fit(tmp_path, alone, data(), max_epochs=1)
    with pytest.warns(UserWarning, match="PseudoLabel: no training window is without a label"):
        fit(tmp_path, student, data(), max_epochs=1)
    for name, value in alone.state_dict().items():
        assert torch.equal(student.state_dict()[name], value), name


def test_a_study_counts_its_batches_with_all_windows():
    assert not labels_alone({"class_path": "PseudoLabel", "init_args": {"threshold": 0.5}})


def test_the_term_of_two_ranks_is_that_of_one_batch(monkeypatch):
    rng = np.random.default_rng(2)
    logits, target = torch.tensor(rng.normal(0, 2, (12, 4))), torch.tensor([-1, -1, -1, 0, 1, -1, 2, 0, 1, -1, 2, 3])
    objective = PseudoLabelObjective(threshold=0.4)
    one = objective(student=Output(logits, {}), teachers={}, target=target)["pseudo"]
    objective.partly_labelled = True  # as data with windows without a label declare
    monkeypatch.setattr("kdlab.distributed.total", lambda count: torch.tensor(5.0, dtype=count.dtype))
    monkeypatch.setattr("kdlab.distributed.world_size", lambda: 2)
    halves = [
        objective(student=Output(logits[part], {}), teachers={}, target=target[part])["pseudo"]
        for part in (slice(0, 6), slice(6, 12))  # four windows without a label, and one
    ]
    torch.testing.assert_close(sum(halves) / 2, one, rtol=1e-12, atol=0)
