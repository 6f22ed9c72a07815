"""COMODO against its equation in float64, its queue, and the stage before distillation."""

from collections import deque

import numpy as np
import pytest
import torch

import kdlab
from kdlab import COMODO, KD, Teacher, functional
from kdlab.data import BasicMotions
from kdlab.methods.comodo import COMODOObjective
from kdlab.methods.queue import QueuedProjector
from kdlab.types import InputError, Output
from kdlab.views import PersistenceImage, Raw
from tests.conftest import net, trainer

TARGET = torch.arange(4) % 3


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def by_hand(u, v, queue, tau_t=0.1, tau_s=0.05):
    """Window by window, reference by reference."""
    total = 0.0
    for own, other in zip(u, v, strict=True):
        p = softmax(np.array([other @ q for q in queue]) / tau_t)
        log_q = np.log(softmax(np.array([own @ q for q in queue]) / tau_s))
        total -= sum(a * b for a, b in zip(p, log_q, strict=True))
    return total / len(u)


def outputs(seed, batch=4, images=True):
    """A student of signals with 5 features and a teacher of images with 7, in float64."""
    rng = np.random.default_rng(seed)
    own, other, logits = rng.normal(size=(batch, 5)), rng.normal(size=(batch, 7)), rng.normal(size=(batch, 3))
    student = Output(torch.tensor(logits, requires_grad=True), {"embedding": torch.tensor(own, requires_grad=True)})
    return student, Output(torch.tensor(rng.normal(size=(batch, 9))), {"embedding": torch.tensor(other)})


@pytest.mark.parametrize("size", [3, 4, 10, 11, 100])
def test_the_queue_over_many_steps(size):
    objective = COMODOObjective(queue=size, instances_weight=2.0)
    queue = deque(maxlen=size)
    for step in range(6):
        student, teacher = outputs(step)
        objective.adapt(student=student, teachers={"pi": teacher})
        objective.advance(0, 4, step=step)
        weight, bias = (p.detach().numpy() for p in objective.adapters["pi"].project.parameters())
        u = unit(student.features["embedding"].detach().numpy() @ weight.T + bias)
        v = unit(teacher.features["embedding"].numpy())
        terms = objective(student=student, teachers={"pi": teacher}, target=TARGET)
        assert terms["instances"].item() == pytest.approx(2 * by_hand(u, v, [*queue, *v]), rel=1e-9)
        assert terms["ce"].item() == 0
        again = objective(student=student, teachers={"pi": teacher}, target=TARGET)["instances"]
        queue.extend(v)
        assert again.item() == pytest.approx(2 * by_hand(u, v, [*queue, *v]), rel=1e-9)
        held = objective.adapters["pi"]
        assert isinstance(held, QueuedProjector)
        oldest = int(held.place) if int(held.held) == size else 0
        rows = held.keys.roll(-oldest, 0)[: int(held.held)]
        assert np.allclose(rows.numpy(), np.array(queue), rtol=1e-12)  # in the order in which they came


def test_nothing_is_queued_without_a_step_or_in_evaluation():
    objective = COMODOObjective(queue=8)
    student, teacher = outputs(0)
    objective(student=student, teachers={"pi": teacher}, target=TARGET)
    assert int(objective.adapters["pi"].held) == 0
    objective.advance(0)
    objective.eval()
    objective(student=student, teachers={"pi": teacher}, target=TARGET)
    assert int(objective.adapters["pi"].held) == 0
    objective.train()
    objective(student=student, teachers={"pi": teacher}, target=TARGET)
    assert int(objective.adapters["pi"].held) == 4


@pytest.mark.parametrize("hidden", [0, 6])
def test_gradients_reach_student_and_projector_alone(hidden):
    objective = COMODOObjective(queue=8, hidden=hidden)
    student, teacher = outputs(0)
    teacher.features["embedding"].requires_grad_()
    objective.adapt(student=student, teachers={"pi": teacher})
    for _ in range(3):
        objective.advance(0)
        terms = objective(student=student, teachers={"pi": teacher}, target=torch.full((4,), -1))
    torch.stack(list(terms.values())).sum().backward()
    assert student.features["embedding"].grad.abs().sum() > 0
    assert not student.logits.grad.any()  # no label is read
    assert teacher.features["embedding"].grad is None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.adapters.parameters())


def test_labels_are_read_only_where_they_have_a_weight():
    student, teacher = outputs(0)
    found = []
    for weight, target in ((0.0, TARGET), (0.0, TARGET.flip(0)), (0.5, TARGET)):
        torch.manual_seed(0)
        found.append(COMODOObjective(ce_weight=weight)(student=student, teachers={"pi": teacher}, target=target))
    assert found[0] == found[1]
    torch.testing.assert_close(found[2]["ce"], 0.5 * functional.cross_entropy(student.logits, TARGET))


def test_refusals():
    with pytest.raises(InputError, match=r"student has \(2, 3\), the teacher \(2, 4\)"):
        functional.reference_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(5, 3))
    for name, bad in (("queue", 0), ("teacher_temperature", 0.0), ("student_temperature", -1.0), ("hidden", -1)):
        with pytest.raises(InputError, match=f"COMODOObjective: {name} must be"):
            COMODOObjective(**{name: bad})
    student, teacher = outputs(0)
    with pytest.raises(InputError, match="teacher 'pi' has no tap 'middle'"):
        COMODOObjective(tap="middle")(
            student=student._replace(features={"middle": torch.zeros(4, 5)}), teachers={"pi": teacher}, target=TARGET
        )


def test_a_stage_before_distillation(teachers, tmp_path):
    """A teacher of persistence images with other classes, a student of signals; its checkpoint starts another run."""
    torch.manual_seed(0)
    odd = net(ndim=2, classes=9)
    both = BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, batch_size=8)
    module = COMODO(net(), {"pi": Teacher(net=odd, view="pi", mean=[0.0] * 6, std=[1.0] * 6)})
    run = trainer(tmp_path, max_epochs=3)
    run.fit(module, both)
    queued = module.objective.adapters["pi"]
    count = len(both.train_index)
    assert queued.keys.shape == (count, 64)  # no longer than there are windows
    assert int(queued.held) == min(count, 8 * run.global_step) > 8
    assert run.callback_metrics["train/ce"] == 0
    run.save_checkpoint(tmp_path / "stage.ckpt")
    student = KD(net(), {"raw": Teacher(teachers["raw"])}, student_init=str(tmp_path / "stage.ckpt"))
    student.prepare(both, "fit")
    for key, value in module.net.state_dict().items():
        assert torch.equal(student.net.state_dict()[key], value), key
    trainer(tmp_path, max_steps=2).fit(student, both)
    assert not [key for key in student.state_dict() if "keys" in key]
    assert kdlab.citations.papers([module.objective]) == ("chen2025comodo",)
