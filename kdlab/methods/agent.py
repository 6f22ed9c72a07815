"""The agent of MTKD-RL: what it knows of each teacher, the weights that it gives them, and what it learns from."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlab import functional


def means(feature: Tensor) -> Tensor:
    """The mean over positions of a map, and a vector as it is: ``(B, C)``."""
    return feature.flatten(2).mean(2) if feature.ndim > 2 else feature


@functional.full_precision
def state_of(own: Tensor, other: Tensor, divergence: Tensor, loss: Tensor, logits: Tensor) -> Tensor:
    """What the agent knows of a teacher, ``[cos(f, f_m), KD(m, s), CE(z_m, y), f_m, z_m]``, without gradient.

    Args:
        own: the student's feature, of the teacher's size, ``(B, C, *S)``.
        other: the teacher's feature ``(B, C, *S)``; of maps the means over positions are taken.
        divergence: of the class probabilities of teacher and student, ``(B,)``.
        loss: cross-entropy of the teacher with the labels, ``(B,)``.
        logits: of the teacher, ``(B, K)``.

    Shapes:
        ``(B, 3 + C + K)``.

    Example:
        >>> f, z, one = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]]), torch.ones(1)
        >>> state_of(f, torch.tensor([[0.0, 1.0]]), one, 2 * one, z)
        tensor([[0.8000, 1.0000, 2.0000, 0.0000, 1.0000, 2.0000, 0.0000]])
    """
    f, f_m = means(own), means(other)
    similarity = (functional.unit(f) * functional.unit(f_m)).sum(1)
    return torch.cat([torch.stack([similarity, divergence, loss], 1), f_m, logits], 1).detach()


@functional.full_precision
def reward_of(losses: Tensor) -> Tensor:
    """The reward of each window, its negative loss, standardised over the batch and cut to 0 to 1; ``(B,)``.

    Windows of equal loss have no reward.

    Args:
        losses: ``(B,)``; detached.

    Example:
        >>> reward_of(torch.tensor([1.0, 2.0, 3.0, 9.0]))
        tensor([0.7652, 0.4869, 0.2087, 0.0000])
    """
    losses = losses.detach()
    deviation = losses.std() if len(losses) > 1 else torch.zeros_like(losses[0])
    spread = torch.where(deviation > 0, deviation, 1.0)
    return ((losses.mean() - losses) / spread).clamp(0, 1)


@functional.full_precision
def policy_loss(weights: Tensor, reward: Tensor) -> Tensor:
    r"""What the agent minimises: the cross-entropy of its weights with 1, each times the reward of its window.

    .. math:: - \frac{1}{B M} \sum_i R_i \sum_m \big( \log w_{im} + \log w'_{im} \big)

    Args:
        weights: ``w`` and ``w'``, ``(2, B, M)``.
        reward: ``R``, ``(B,)``.

    Example:
        >>> print(f"{policy_loss(torch.full((2, 1, 2), 0.5), torch.ones(1)):.4f}")
        1.3863
    """
    return -(reward[:, None] * weights.clamp_min(functional.EPS).log()).mean((1, 2)).sum()


class Policy(nn.Module):
    """From the states of all teachers ``(B, D)`` to their weights for logits and for features, ``(2, B, M)``.

    Args:
        size: of the states together.
        teachers: ``M``.
        hidden: units of the hidden layer.
        learnt: whether the shares of the three parts of the weights are learnt; else each is a third.
    """

    def __init__(self, size: int, teachers: int, hidden: int, learnt: bool) -> None:
        super().__init__()
        self.hidden = nn.Linear(size, hidden, bias=False)
        self.heads = nn.ModuleList(nn.Linear(hidden, teachers) for _ in range(2))
        self.shares: Tensor
        if learnt:
            self.shares = nn.Parameter(torch.zeros(2, 3))
        else:
            self.register_buffer("shares", torch.zeros(2, 3))

    def forward(self, state: Tensor, given: Tensor) -> Tensor:
        """The weights, of which two parts are given: ``(2, 2, B, M)``, each for logits and for features."""
        hidden = self.hidden(state).relu()
        own = torch.stack([head(hidden).softmax(1) for head in self.heads])
        shares = self.shares.softmax(1).t()[:, :, None, None]
        return (shares * torch.cat([own[None], given])).sum(0)


class Agent(nn.Module):
    """A policy that learns in every step, and a copy that acts and is brought up to date after a number of steps.

    So the copy has, when it is brought up to date, the weights of a policy that was kept for these steps and then
    trained on what it had seen in them, one step of the optimiser for each.

    Args:
        sizes: of the state of each teacher.
        hidden: units of the hidden layer.
        learnt: whether the shares of the parts of the weights are learnt.
    """

    epoch: Tensor
    since: Tensor

    def __init__(self, sizes: Sequence[int], hidden: int, learnt: bool) -> None:
        super().__init__()
        self.policy = Policy(sum(sizes), len(sizes), hidden, learnt)
        self.acting = copy.deepcopy(self.policy)
        for part in self.acting.modules():
            for name, parameter in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, parameter.detach().clone())
        self.register_buffer("epoch", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("since", torch.zeros(1, dtype=torch.int64))  # step in which the copy was made

    @torch.no_grad()
    def advance(self, epoch: int, step: int, steps: int) -> None:
        """Bring the copy up to date in a new epoch, and where it is this number of steps old."""
        due = (self.epoch != epoch) | (step - self.since >= steps)
        learning = self.policy.state_dict()
        for name, old in self.acting.named_buffers():
            old.copy_(torch.where(due, learning[name], old))
        self.since.copy_(torch.where(due, step, self.since))
        self.epoch.fill_(epoch)

    def forward(self, state: Tensor, divergences: Tensor, similarities: Tensor, losses: Tensor) -> Tensor:
        """The weights with which it acts, and those that it learns, ``(2, 2, B, M)``.

        Args:
            state: of all teachers, ``(B, D)``.
            divergences: ``KD(m, s)``, ``(B, M)``.
            similarities: ``cos(f, f_m)``, ``(B, M)``.
            losses: ``CE(z_m, y)``, ``(B, M)``.
        """
        sure = (1 - losses.softmax(1)) / (losses.shape[1] - 1)
        given = torch.stack([torch.stack([sure, sure]), torch.stack([divergences.softmax(1), similarities.softmax(1)])])
        with torch.no_grad():
            acting = self.acting(state, given)
        return torch.stack([acting, self.policy(state, given)])
