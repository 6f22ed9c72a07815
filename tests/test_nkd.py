"""NKD against the equation in float64, term by term."""

import numpy as np
import pytest
import torch

import kdlab
from kdlab.methods.dkd import DKDObjective
from kdlab.methods.nkd import NKDObjective
from kdlab.methods.wkdl import WKDLObjective
from kdlab.types import InputError, Output


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def reference(student, teacher, target, weight, temperature):
    """Mean over windows of the two sums, from the equation, with one class as the label."""
    certainty = others = 0.0
    for z_s, z_t, y in zip(student, teacher, target, strict=True):
        certainty -= softmax(z_t)[y] * np.log(softmax(z_s)[y])
        rest = [k for k in range(len(z_s)) if k != y]
        q_s, q_t = softmax(z_s[rest] / temperature), softmax(z_t[rest] / temperature)
        others -= weight * temperature**2 * (q_t * np.log(q_s)).sum()
    return certainty / len(target), others / len(target)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 3, 14])
def test_terms_equal_the_equation(classes, temperature):
    rng = np.random.default_rng(0)
    student, raw, pi = rng.normal(0, 3, (3, 8, classes))
    target = rng.integers(0, classes, 8)
    objective = NKDObjective(others_weight=2.0, temperature=temperature, weights={"raw": 0.7, "pi": 0.3})
    outputs = [Output(torch.tensor(logits), {}) for logits in (student, raw, pi)]
    terms = objective(student=outputs[0], teachers={"raw": outputs[1], "pi": outputs[2]}, target=torch.tensor(target))
    parts = [reference(student, teacher, target, 2.0, temperature) for teacher in (raw, pi)]
    expected = 0.7 * np.array(parts[0]) + 0.3 * np.array(parts[1])
    assert terms["target"].item() == pytest.approx(expected[0], rel=1e-6)
    assert terms["others"].item() == pytest.approx(expected[1], rel=1e-6, abs=1e-12)
    assert (terms["others"].item() == 0) == (classes == 2)


def test_mixed_labels_average_over_their_classes():
    rng = np.random.default_rng(1)
    student, teacher = (Output(torch.tensor(z), {}) for z in rng.normal(0, 2, (2, 4, 5)))
    one, two = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 4, 0, 3])
    share = 0.3 * torch.eye(5).double()[one] + 0.7 * torch.eye(5).double()[two]
    objective = NKDObjective()
    mixed, first, second = (
        objective(student=student, teachers={"raw": teacher}, target=target) for target in (share, one, two)
    )
    for term in ("target", "others"):
        torch.testing.assert_close(mixed[term], 0.3 * first[term] + 0.7 * second[term])


def test_gradients_are_finite_where_logits_are_far_apart():
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    teacher = Output(torch.tensor([[-90.0, 90.0, 0.0]]), {})
    terms = NKDObjective()(student=Output(logits, {}), teachers={"raw": teacher}, target=torch.tensor([1]))
    torch.stack(list(terms.values())).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_ranges():
    with pytest.raises(InputError, match="NKDObjective: others_weight must be at least 0 and finite, but got -1"):
        NKDObjective(others_weight=-1.0)
    net = kdlab.nets.WideResNet(10, 1, in_channels=3, num_classes=3)
    with pytest.raises(InputError, match="temperature must be"):
        kdlab.methods.nkd.NKD(net, {"raw": kdlab.Teacher(net=net)}, temperature=0.0)


@pytest.mark.parametrize("cls", [NKDObjective, WKDLObjective, DKDObjective])
def test_a_window_without_a_label_adds_nothing_in_either_form(cls):
    rng = np.random.default_rng(2)
    student, teacher = (Output(torch.tensor(z), {}) for z in rng.normal(0, 2, (2, 4, 5)))
    target = torch.tensor([0, -1, 2, -1])
    rows = torch.eye(6, 5, dtype=torch.float64)[target]
    index, zeros = (cls()(student=student, teachers={"raw": teacher}, target=given) for given in (target, rows))
    labelled = [Output(output.logits[::2], {}) for output in (student, teacher)]
    alone = cls()(student=labelled[0], teachers={"raw": labelled[1]}, target=target[::2])
    for term in set(index) - {"ce"}:
        torch.testing.assert_close(index[term], zeros[term])
        torch.testing.assert_close(index[term], alone[term] / 2)  # the mean is that of all windows
