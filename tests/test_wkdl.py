"""WKD-L: its transport and costs against the equations in float64, and costs that are found in a teacher's features."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from kdlab import WKDL, Teacher, functional
from kdlab.data import BasicMotions
from kdlab.methods.wkdl import WKDLObjective
from kdlab.types import InputError, Output
from kdlab.views import PersistenceImage, Raw
from tests import references as ref
from tests.conftest import net, trainer

COSTS = np.array([[0.0, 0.2, 0.6, 0.5], [0.2, 0.0, 0.4, 0.3], [0.6, 0.4, 0.0, 0.1], [0.5, 0.3, 0.1, 0.0]])


def sinkhorn(p, q, costs, eta=0.05, iterations=10):
    """Of two distributions over the same classes, class by class."""
    n = len(p)
    kernel = [[np.exp(-costs[k][j] / eta) for j in range(n)] for k in range(n)]
    u = [1 / n] * n
    for _ in range(iterations):
        v = [q[j] / (sum(kernel[k][j] * u[k] for k in range(n)) + 1e-8) for j in range(n)]
        u = [p[k] / (sum(kernel[k][j] * v[j] for j in range(n)) + 1e-8) for k in range(n)]
    return sum(u[k] * kernel[k][j] * v[j] * costs[k][j] for k in range(n) for j in range(n))


def by_hand(student, teacher, label, costs, temperature):
    """Both terms of a window, with the true class cut out of logits and costs."""
    others = [k for k in range(len(student)) if k != label]
    certain = -ref.softmax(teacher)[label] * np.log(ref.softmax(student)[label])
    p, q = (ref.softmax(z[others] / temperature) for z in (student, teacher))
    return np.array([certain, sinkhorn(p, q, costs[np.ix_(others, others)])])


@pytest.mark.parametrize("mixed", [False, True])
def test_values(mixed):
    rng = np.random.default_rng(0)
    own, raw, pi = rng.normal(0, 3, (3, 6, 4))
    target = rng.dirichlet(np.ones(4), 6) if mixed else np.arange(6) % 4
    shares = target if mixed else np.eye(4)[target]
    expected = np.zeros(2)
    for weight, teacher in ((0.7, raw), (0.3, pi)):
        for s, t, share in zip(own, teacher, shares, strict=True):
            values = [x * by_hand(s, t, k, COSTS, 8.0) for k, x in enumerate(share) if x]
            expected += weight * sum(values) / 6
    objective = WKDLObjective(costs=COSTS.tolist(), transport_weight=600.0, weights={"raw": 0.7, "pi": 0.3})
    student = torch.tensor(own, requires_grad=True)
    teachers = {"raw": Output(torch.tensor(raw), {}), "pi": Output(torch.tensor(pi), {})}
    terms = objective(student=Output(student, {}), teachers=teachers, target=torch.tensor(target))
    assert float(terms["target"]) == pytest.approx(expected[0], rel=1e-6)
    assert float(terms["transport"]) == pytest.approx(600 * expected[1], rel=1e-5)
    assert float(terms["ce"]) == pytest.approx(ref.cross_entropy(own, target))
    terms["transport"].backward()
    assert student.grad.abs().sum() > 0
    objective.at(195, epochs=240)
    half = objective(student=Output(student, {}), teachers=teachers, target=torch.tensor(target))
    for name in ("target", "transport"):
        assert float(half[name]) == pytest.approx(float(terms[name]) / 2)
    assert float(half["ce"]) == pytest.approx(float(terms["ce"]))


def test_with_little_regularisation_it_is_the_optimal_transport():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), (2, 5))
    found = functional.transport_cost(*map(torch.tensor, (p, q, COSTS)), 0.05, 2000)
    for one, other, value in zip(p, q, found, strict=True):
        rows, columns = np.kron(np.eye(4), np.ones(4)), np.kron(np.ones(4), np.eye(4))
        best = linprog(COSTS.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([one, other]))
        assert float(value) == pytest.approx(best.fun, abs=6e-3)


def test_costs_are_those_of_the_alignment():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 7)), rng.integers(-1, 4, 30)
    h = np.eye(7) - 1 / 7
    kernels = [h @ features[labels == k].T @ features[labels == k] @ h for k in range(4)]
    expected = np.zeros((4, 4))
    for k, a in enumerate(kernels):
        for j, b in enumerate(kernels):
            expected[k, j] = 1 - np.exp(-(1 - (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())))
    found = functional.class_costs(torch.tensor(features), torch.tensor(labels), 5).numpy()
    assert np.allclose(found[:4, :4], expected, atol=1e-12)
    assert np.allclose(found[4, :4], 1 - np.exp(-1))  # a class without windows
    assert np.allclose(found.diagonal(), 0)
    constant = functional.class_costs(torch.ones(3, 7), torch.arange(3), 3)
    assert constant.isfinite().all()
    assert not constant.diagonal().any()


@pytest.mark.parametrize("number", [3, 1000])
def test_costs_come_from_the_training_windows_of_the_teacher(number, tmp_path):
    torch.manual_seed(0)
    taught = net(ndim=2)
    both = BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, batch_size=8)
    module = WKDL(net(), {"pi": Teacher(net=taught, view="pi", mean=[0.0] * 6, std=[1.0] * 6)}, cost_windows=number)
    run = trainer(tmp_path, max_steps=2, limit_val_batches=0)
    run.fit(module, both)
    batches = list(both.batches("train", views=["pi"]))
    taught.standardize.fill([0.0] * 6, [1.0] * 6)
    x, y = torch.cat([b.views["pi"] for b in batches]), torch.cat([b.target for b in batches])
    with torch.no_grad():
        features = taught.eval()(x).features["embedding"].double()
    kept = torch.cat([torch.nonzero(y == k)[:number, 0] for k in range(4)])
    expected = functional.class_costs(features[kept], y[kept], 4)
    torch.testing.assert_close(module.objective._costs["pi"].double(), expected, atol=1e-5, rtol=1e-4)
    assert expected[~torch.eye(4, dtype=torch.bool)].max() > 0
    assert not [key for key in module.state_dict() if "cost" in key]
    given = WKDL(net(), {"pi": Teacher(net=taught, view="pi")}, costs=COSTS.tolist())
    trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(given, both)
    assert torch.equal(given.objective._costs["pi"], torch.tensor(COSTS.tolist()))


def test_two_classes_and_refusals(tmp_path):
    two = {"raw": Output(torch.tensor([[1.0, 3.0]]), {})}
    terms = WKDLObjective()(student=Output(torch.zeros(1, 2), {}), teachers=two, target=torch.tensor([0]))
    assert float(terms["transport"]) == 0
    for bad in ([[0.0, 1.0]], [[0.0, -1.0], [1.0, 0.0]], [[0.0, float("inf")], [1.0, 0.0]], []):
        with pytest.raises(InputError, match=r"WKDLObjective: costs must be K rows of K finite numbers"):
            WKDLObjective(costs=bad)
    far = [[0.0, 3.0], [3.0, 0.0]]  # with .05 moving all mass would cost 1e-9 in place of 3
    for arguments in ({"regularisation": 0.03}, {"costs": far}):
        with pytest.raises(InputError, match=r"WKDLObjective: regularisation must be at least 0\.\d+ for costs up to"):
            WKDLObjective(**arguments)
    WKDLObjective(costs=far, regularisation=0.15)
    with pytest.raises(InputError, match=r"costs \(K, K\).*\(4, 4\)"):
        WKDLObjective(costs=COSTS.tolist())(
            student=Output(torch.zeros(1, 2), {}), teachers=two, target=torch.tensor([0])
        )
    statistics = {"mean": [0.0] * 6, "std": [1.0] * 6}
    data = BasicMotions(batch_size=8)
    with pytest.raises(InputError, match=r"WKDL: teacher 'raw' must have the tap 'middle', but has \['embedding'"):
        trainer(tmp_path).fit(WKDL(net(), {"raw": Teacher(net=net(), **statistics)}, tap="middle"), data)
    loader = torch.utils.data.DataLoader(list(data.batches("train")), batch_size=None)
    with pytest.raises(InputError, match=r"WKDL: costs must be given for .*Set costs="):
        trainer(tmp_path).fit(WKDL(net(), {"raw": Teacher(net=net(), **statistics)}), loader)
