"""MTKD-RL against its equations in float64: state, policy, weights, reward, what the agent learns, and when it acts."""

import math

import numpy as np
import pytest
import torch

from kdlab import MTKDRL, Teacher
from kdlab.data import BasicMotions
from kdlab.methods.agent import Agent, policy_loss, reward_of
from kdlab.methods.mtkd_rl import MTKDRLObjective
from kdlab.types import InputError
from kdlab.views import PersistenceImage, Raw
from tests import references as ref
from tests.conftest import net, trainer
from tests.test_adapters import BATCH, CLASSES, TARGET, check_value, linear, made, numbers, output, pointwise, relu


def soft(x):
    return np.array([ref.softmax(row) for row in x])


def ce_of(logits):
    return np.array([ref.cross_entropy(numbers(logits)[i : i + 1], TARGET.numpy()[i : i + 1]) for i in range(BATCH)])


def policy_by_hand(policy, state, kd, cos, ce):
    """The weights of logits and features, ``(2, B, M)``; the parameters are those of a policy or of its copy."""
    hidden = relu(linear(state, policy.hidden))
    shares = soft(numbers(policy.shares))
    sure = (1 - soft(ce)) / (ce.shape[1] - 1)
    return np.array(
        [
            shares[k][0] * soft(linear(hidden, policy.heads[k])) + shares[k][1] * sure + shares[k][2] * soft(gap)
            for k, gap in enumerate((kd, cos))
        ]
    )


def by_hand(objective, student, teachers, equal=False, temperature=4.0):
    """Terms from the equations, window by window where they are."""
    tap = objective.tap
    kd, mse, cos, ce, states = [], [], [], [], []
    for name, other in teachers.items():
        layer = objective.adapters[f"project_{name}"]
        f, f_m = numbers(student.features[tap]), numbers(other.features[tap])
        f = linear(f, layer) if f.ndim == 2 else pointwise(f, layer)
        mse.append([((a - b) ** 2).mean() for a, b in zip(f, f_m, strict=True)])
        f, f_m = (x.reshape(*x.shape[:2], -1).mean(2) for x in (f, f_m))
        cos.append([ref.unit(a) @ ref.unit(b) for a, b in zip(f, f_m, strict=True)])
        kd.append(ref.soft_target_kl(numbers(student.logits), numbers(other.logits), temperature))
        ce.append(ce_of(other.logits))
        states.append(np.column_stack([cos[-1], kd[-1], ce[-1], f_m, numbers(other.logits)]))
    kd, mse, cos, ce = (np.array(x).T for x in (kd, mse, cos, ce))
    agent, state = objective.adapters["agent"], np.concatenate(states, 1)
    acting = policy_by_hand(agent.acting, state, kd, cos, ce)
    learning = policy_by_hand(agent.policy, state, kd, cos, ce)
    weights = np.full_like(acting, 1 / len(teachers)) if equal else acting
    share, gamma = float(objective.kd_weight), float(objective.feature_weight)
    parts = {
        "ce": (1 - share) * ce_of(student.logits),
        "kd": share * (weights[0] * kd).sum(1),
        "feature": gamma * (weights[1] * mse).sum(1),
    }
    loss = sum(parts.values())
    deviation = math.sqrt(((loss - loss.mean()) ** 2).sum() / (BATCH - 1))
    reward = [min(max(-(x - loss.mean()) / deviation, 0.0), 1.0) for x in loss]
    agent_loss = -sum(
        reward[i] * math.log(learning[k, i, m]) for k in range(2) for i in range(BATCH) for m in range(len(teachers))
    )
    return {k: v.mean() for k, v in parts.items()} | {"agent": agent_loss / (BATCH * len(teachers))}, weights


@pytest.mark.parametrize("mixing", ["mean", "learnt"])
@pytest.mark.parametrize(("one", "two", "tap"), [("1-D", "2-D", "embedding"), ("2-D", "2-D", "stage3")])
@pytest.mark.parametrize("equal", [False, True])
def test_values(one, two, tap, mixing, equal):
    student = output(1, one)
    teachers = {"raw": output(2, two, 5), "pi": output(3, two, 4), "gaf": output(4, two, 2)}
    settings = {"kd_weight": 0.6, "feature_weight": 0.7, "agent_weight": 2.0}
    objective = MTKDRLObjective(tap=tap, mixing=mixing, hidden=7, equal_epochs=int(equal), **settings)
    made(objective, student, teachers)
    agent = objective.adapters["agent"]
    with torch.no_grad():  # the copy differs from the policy, as between two updates
        for buffer in agent.acting.buffers():
            buffer += 0.2 * torch.randn(buffer.shape, dtype=torch.float64)
    objective._equal = equal
    terms = objective(student=student, teachers=teachers, target=TARGET)
    expected, weights = by_hand(objective, student, teachers, equal)
    assert list(terms) == ["ce", "kd", "feature", "agent"]
    for name, value in expected.items():
        check_value(terms[name], (2 if name == "agent" else 1) * value)
    for m, name in enumerate(teachers):
        assert float(objective.observed()[f"weight_{name}"]) == pytest.approx(weights[0, :, m].mean())
        assert float(objective.observed()[f"weight_{name}_feature"]) == pytest.approx(weights[1, :, m].mean())
    assert np.allclose(weights.sum(2), 1)
    assert np.ptp(weights) > 0.01 or equal
    objective.kl_reduction = "mean"
    smaller = objective(student=student, teachers=teachers, target=TARGET)
    check_value(smaller["kd"], expected["kd"] / CLASSES)


@pytest.mark.parametrize("mixing", ["mean", "learnt"])
def test_who_learns_from_what(mixing):
    """The agent from its own term alone, and nothing else from that; its copy from nothing."""
    student, teachers = output(1), {"raw": output(2), "pi": output(3, channels=5)}
    leaves = [student.logits.requires_grad_(), student.features["embedding"].requires_grad_()]
    objective = made(MTKDRLObjective(hidden=7, mixing=mixing), student, teachers)
    terms = objective(student=student, teachers=teachers, target=TARGET)
    agent, projectors = objective.adapters["agent"], [objective.adapters[f"project_{name}"] for name in teachers]
    (terms["ce"] + terms["kd"] + terms["feature"]).backward(retain_graph=True)
    assert all(x.grad.any() for x in leaves)
    assert all(p.grad.any() for projector in projectors for p in projector.parameters())
    assert not any(p.grad is not None and p.grad.any() for p in agent.parameters())
    for x in (*leaves, *(p for projector in projectors for p in projector.parameters())):
        x.grad = None
    terms["agent"].backward()
    assert all(x.grad is None for x in leaves)
    assert all(p.grad.any() for name, p in agent.named_parameters() if mixing == "learnt" or "shares" not in name)
    assert not list(agent.acting.parameters())
    assert agent.policy.shares.requires_grad == (mixing == "learnt")


def test_the_gradient_of_the_policy_is_that_of_the_reward_times_the_logarithm():
    """Of a softmax alone: ``sum_m dlog w_m = 1 - M w`` for its scores, window by window."""
    scores = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    reward = torch.tensor([0.0, 0.2, 1.0, 0.5, 0.1], dtype=torch.float64)
    policy_loss(scores.softmax(2), reward).backward()
    w = soft(numbers(scores).reshape(10, 3)).reshape(2, 5, 3)
    assert np.allclose(numbers(scores.grad), -numbers(reward)[None, :, None] * (1 - 3 * w) / 15)


def test_rewards():
    losses = torch.tensor([4.0, 1.0, 2.5, 9.0, 0.0], dtype=torch.float64, requires_grad=True)
    found, x = reward_of(losses), numbers(losses)
    assert not found.requires_grad
    assert np.allclose(numbers(found), np.clip(-(x - x.mean()) / x.std(ddof=1), 0, 1))
    assert reward_of(torch.full((4,), 3.0)).tolist() == [0.0] * 4  # nothing to prefer
    assert reward_of(torch.tensor([3.0])).tolist() == [0.0]


def kept_agent(batches, steps_of, epochs_of, rate):
    """As the original: states are kept for a number of steps or to the end of an epoch, then learnt one by one."""
    torch.manual_seed(3)
    agent = Agent([4, 4], 5, learnt=True).double()
    acted, kept, since, before = [], [], 0, 0
    for step, (epoch, batch) in enumerate(zip(epochs_of, batches, strict=True)):
        if epoch != before or step - since >= steps_of:
            for state, known, reward in kept:
                loss = policy_loss(agent.policy(state, known), reward)
                grads = torch.autograd.grad(loss, list(agent.policy.parameters()))
                with torch.no_grad():
                    for p, g in zip(agent.policy.parameters(), grads, strict=True):
                        p -= rate * g
            kept, since, before = [], step, epoch
        acted.append(agent.policy(*batch[:2]).detach())
        kept.append(batch)
    return acted


@pytest.mark.parametrize("steps", [1, 3, 100])
def test_a_copy_that_acts_equals_states_that_are_kept(steps):
    random = torch.Generator().manual_seed(0)
    epochs, batches = [0] * 7 + [1] * 5 + [2] * 4, []
    for _ in epochs:
        state, known = torch.randn(6, 8, generator=random).double(), torch.rand(2, 2, 6, 2, generator=random).double()
        batches.append((state, known, torch.rand(6, generator=random).double()))
    expected = kept_agent(batches, steps, epochs, 0.5)
    torch.manual_seed(3)
    agent = Agent([4, 4], 5, learnt=True).double()
    learner = torch.optim.SGD(agent.parameters(), 0.5)
    for step, (epoch, (state, known, reward)) in enumerate(zip(epochs, batches, strict=True)):
        agent.advance(epoch, step, steps)
        torch.testing.assert_close(agent.acting(state, known), expected[step])
        learner.zero_grad()
        policy_loss(agent.policy(state, known), reward).backward()
        learner.step()
    assert not torch.equal(expected[0], agent.policy(*batches[0][:2]))


def test_refusals_and_the_first_epochs():
    student, teachers = output(1), {"raw": output(2), "pi": output(3, "2-D")}
    for call in (
        lambda: MTKDRLObjective().check(batch_size=8, teachers=["raw"]),
        lambda: MTKDRLObjective()(student=student, teachers={"raw": output(2)}, target=TARGET),
    ):
        with pytest.raises(InputError, match=r"MTKDRLObjective: teachers must be at least two.*got 'raw' alone\. Add"):
            call()
    with pytest.raises(
        InputError, match=r"MTKDRLObjective: teacher 'pi', tap 'stage3': .*\(6, 12, 5\).*\(6, 12, 4, 4\)"
    ):
        MTKDRLObjective(tap="stage3")(student=student, teachers=teachers, target=TARGET)
    with pytest.raises(InputError, match="batch_size must be at least 2"):
        MTKDRLObjective().check(batch_size=1, teachers=["raw", "pi"])
    for name in ("hidden", "agent_steps"):
        with pytest.raises(InputError, match=f"MTKDRLObjective: {name} must be"):
            MTKDRLObjective(**{name: 0})
    by_itself = MTKDRLObjective()
    method = MTKDRL(net(), {n: Teacher(net=net()) for n in ("a", "b")}).objective
    for epoch in (1, 0, 2, 0):
        for objective, expected in ((by_itself, False), (method, epoch == 0)):
            objective.advance(epoch, step=5)
            assert objective._equal == expected


def test_a_fit_from_images_and_signals_to_signals(tmp_path):
    torch.manual_seed(0)
    both = BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, batch_size=8)
    teachers = {
        name: Teacher(net=net(ndim=ndim), view=name, mean=[0.0] * 6, std=[1.0] * 6)
        for name, ndim in (("raw", 1), ("pi", 2))
    }
    module = MTKDRL(net(), teachers, agent_steps=2)
    run = trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    run.fit(module, both)
    assert all(p.isfinite().all() for p in module.parameters())
    agent = module.objective.adapters["agent"]
    assert int(agent.epoch) == 1
    assert 0 < run.global_step - int(agent.since) <= 2
    assert run.callback_metrics["train/agent"] > 0
    assert run.callback_metrics["train/weight_raw_feature"] != 0.5
    constant = torch.zeros(4, 6, 100), torch.zeros(4, 6, 16, 16)
    taught = {name: module.teachers[name](x) for name, x in zip(("raw", "pi"), constant, strict=True)}
    terms = module.objective(student=module.net(constant[0]), teachers=taught, target=TARGET[:4])
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
