r"""MTKD-RL: an agent gives each teacher, for each window, a weight of its logits and a weight of its features.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \frac1B \sum_i \sum_m \big[ \lambda\, w_{im}\, \mathrm{KD}_i(m, s)
    + \gamma\, w'_{im}\, \overline{(P_m f_s - f_m)_i^2} \big]
    - \frac{\alpha}{B M} \sum_i R_i \sum_m \big( \log \hat w_{im} + \log \hat w'_{im} \big)

with a linear projector ``P`` to the size of the teacher's embedding. The state of a teacher is ``s_m = [cos(P_m f_s,
f_m), KD(m, s), CE(z_m, y), f_m, z_m]``, without gradient. The policy has one hidden layer over the states of all
teachers and two heads, and two more parts, by the confidence of a teacher and by its gap to the student:

.. math:: w_m = \tfrac13 \Big( \mathrm{softmax}_m(H h) + \frac{1 - \mathrm{softmax}_m(\mathrm{CE}(z_m, y))}{M - 1}
    + \mathrm{softmax}_m(\mathrm{KD}(m, s)) \Big), \quad h = \mathrm{ReLU}(W [s_1, \ldots, s_M])

and likewise ``w'``, with a head of its own and ``softmax(cos)`` in place of the last part. The reward ``R`` of a window
is its negative loss (the first two terms, with the plain cross-entropy whatever the options of the label term; a label
of -1 counts as a loss of 0), standardised over the batch and cut to 0 to 1. The two alternate: the agent
acts with the weights ``w`` of a copy that stays as it is for ``agent_steps`` steps or to the end of the epoch, while
the policy ``w^`` learns; then the copy is brought up to date. In the first epochs all weights are ``1 / M``. Projectors
and agent are in :mod:`kdlab.methods.agent`, and are dropped after the fit.

References:
    C. Yang, X. Yu, H. Yang, Z. An, C. Yu, L. Huang, Y. Xu, "Multi-teacher knowledge distillation with reinforcement
    learning for visual recognition", AAAI 2025, arXiv:2502.18510. Code: winycg/MTKD-RL@4e2b62a train_loops.py,
    models/policy.py (read in copies of it), which the equations follow; the paper's own wording was not compared.

Differences from the reference code:
    It keeps the states and rewards of ``agent_steps`` batches and then takes a step for each; here the policy takes
    that step at once and the copy acts, which keeps nothing and is equal but for the first interval of an epoch, one
    batch longer there. Its agent has an optimiser of its own (gradient descent, rate .1); here it is trained with the
    student's, with its loss times ``alpha``. It compares last maps through a convolution, batch norm and ReLU, and so a
    single kind of view; with ``tap="stage3"`` maps of the same positions are compared here, through a convolution. Its
    labels, logits and features have the weights 1, 1 and 5, and each teacher the weight 1 in the first epoch. Equal
    losses of all windows give NaN there, and no reward here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kdlab import distributed, functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.agent import Agent, policy_loss, reward_of, state_of
from kdlab.methods.hints import to_channels
from kdlab.methods.made import Distilled
from kdlab.objective import Classifier, gather
from kdlab.objectives import SoftTargets
from kdlab.types import InputError, Output


class MTKDRLObjective(SoftTargets):
    """Terms ``"ce"``, ``"kd"``, ``"feature"`` and ``"agent"``, the last of which trains the agent alone.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> student = Output(logits, {"embedding": torch.rand(2, 3)})
        >>> teachers = {name: Output(3 * logits, {"embedding": torch.rand(2, 4)}) for name in ("raw", "pi")}
        >>> objective = MTKDRLObjective()
        >>> terms = objective(student=student, teachers=teachers, target=torch.tensor([0, 1]))
        >>> list(terms), sorted(objective.adapters)
        (['ce', 'kd', 'feature', 'agent'], ['agent', 'project_pi', 'project_raw'])
        >>> sorted(objective.observed())
        ['weight_pi', 'weight_pi_feature', 'weight_raw', 'weight_raw_feature']
    """

    paper: ClassVar[tuple[str, ...]] = ("yang2025multi",)
    fewest_teachers: ClassVar[int] = 2
    reads_labels = True
    zero_when_equal = False
    reason = "the projectors are not initialised as the identity, and the agent has a loss of its own"
    windows = 2
    needs_logits = True

    kd_weight: Setting = setting("``lambda``, 0 to 1.", default=0.5, high=1.0)
    feature_weight: Setting = setting("``gamma``, at least 0.", default=2.5)
    agent_weight: Setting = setting("``alpha``, at least 0.", default=1.0, auto=False)
    weights: dict[str, float] | None = argument(default=None, init=False)
    tap: str = argument("name of the features: embeddings, or maps of the same positions.", default="embedding")
    hidden: int = argument("units of the policy's hidden layer, at least 1.", default=128, low=1)
    agent_steps: int = argument("steps in which the agent stays as it is, at least 1.", default=1000, low=1)
    equal_epochs: int = argument("first epochs, in which all weights are ``1 / M``, at least 0.", default=0, low=0)
    mixing: Literal["mean", "learnt"] = argument(
        'shares of the three parts of a weight: ``"mean"``, or ``"learnt"`` by the agent, an option of the original.',
        default="mean",
    )

    def __post_init__(self) -> None:
        """Begin with an agent that acts."""
        super().__post_init__()
        self.taps, self._equal = (self.tap,), False
        self.found: dict[str, Tensor] = {}

    def observed(self) -> dict[str, Tensor]:
        """The teachers' mean weights in the last batch, of logits and of features."""
        return self.found

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise also for a single teacher."""
        names = list(teachers)
        super().check(batch_size=batch_size, teachers=names)
        if len(names) < self.fewest_teachers:
            raise InputError(
                f"{type(self).__name__}: teachers must be at least two, between which the agent chooses, but got "
                f"{names[0]!r} alone. Add a teacher, or use KD or FitNet."
            )

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """Whether the agent acts in this epoch, and with which of its weights in this step."""
        self._equal = epoch < self.equal_epochs
        if "agent" in self.adapters:
            agent = self.adapters["agent"]
            assert isinstance(agent, Agent)  # of make_adapters
            agent.advance(epoch, step, self.agent_steps)

    def _pairs_of(self, student: Output, teachers: Mapping[str, Output]) -> Iterator[tuple[str, Tensor, Tensor]]:
        """The student's feature and that of each teacher, at the same positions."""
        own = self.feature(student, self.tap, "the student")
        for name, output in teachers.items():
            other = self.feature(output, self.tap, f"teacher {name!r}").detach()
            with self.comparing(f"teacher {name!r}", self.tap):
                yield (name, *((own, other) if own.ndim == other.ndim == 2 else functional.fit_maps(own, other)))

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """A projector for each teacher, and the agent."""
        self.check(batch_size=None, teachers=teachers)
        made: dict[str, nn.Module] = {}
        for name, own, other in self._pairs_of(student, teachers):
            vectors = own.ndim == 2
            sizes = own.shape[1], other.shape[1]
            made[f"project_{name}"] = nn.Linear(*sizes) if vectors else to_channels(type(self).__name__, own, other)
        states = [3 + output.features[self.tap].shape[1] + output.logits.shape[1] for output in teachers.values()]
        made["agent"] = Agent(states, self.hidden, self.mixing == "learnt")
        return made

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": lambda mean_i sum_m w_im KD_im, "feature": gamma ..., "agent": alpha ...}``."""
        self.adapt(student=student, teachers=teachers)
        logits, scaled = functional.promote(student.logits), self.scaled(student.logits)
        divergences, distances, losses, states = [], [], [], []
        for name, own, other in self._pairs_of(student, teachers):
            f, f_m, z = self.adapted(f"project_{name}", own), functional.promote(other), teachers[name].logits.detach()
            divergences.append(functional.soft_target_kl(scaled, self.scaled(z), self.temperature, "none"))
            distances.append((f - f_m).square().flatten(1).mean(1))
            losses.append(functional.label_losses(functional.class_losses(functional.promote(z)), target))
            states.append(state_of(f, f_m, divergences[-1], losses[-1], z))
        kd, feature, similar = (torch.stack(x, 1) for x in (divergences, distances, [state[:, 0] for state in states]))
        known = kd.detach(), similar, torch.stack(losses, 1)
        acting, learning = self.adapted("agent", torch.cat(states, 1), *known)
        weights = torch.full_like(acting, 1 / len(teachers)) if self._equal else acting.detach()
        self.found = {f"weight_{name}": weights[0, :, m].mean() for m, name in enumerate(teachers)}
        self.found |= {f"weight_{name}_feature": weights[1, :, m].mean() for m, name in enumerate(teachers)}
        kd = self.kd_weight * (weights[0] * kd).sum(1)
        kd = kd if self.kl_reduction == "batchmean" else kd / logits.shape[1]
        feature = self.feature_weight * (weights[1] * feature).sum(1)
        labels = (1 - self.kd_weight) * functional.label_losses(functional.class_losses(logits), target)
        reward = reward_of(gather(student)((labels + kd + feature).detach()))
        reward = reward[distributed.rank() * len(kd) :][: len(kd)]
        return {
            "ce": (1 - self.kd_weight) * self.label_loss(student.logits, target),
            "kd": kd.mean(),
            "feature": feature.mean(),
            "agent": self.agent_weight * policy_loss(learning, reward),
        }


class MTKDRL(Distilled, objective=MTKDRLObjective, equal_epochs=1):
    """Distil logits and features of several teachers, weighted for each window by an agent."""
