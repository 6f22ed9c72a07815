"""The rule by which the weights of a run are chosen, those in ``best.ckpt``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lightning.pytorch.callbacks import WeightAveraging

from kdlab.methods.number_checks import check_number
from kdlab.methods.schedules import mode_of
from kdlab.types import InputError

Selection = Literal["best", "smoothed", "last", "averaged"]
#: the rule of a fit that names none; its figures are in benchmarks/long/selection.md
USUAL: Selection = "last"
#: the rule of checkpoints and results that describe none, which earlier versions wrote
EARLIER = {"rule": "best", "monitor": "val/loss", "mode": "min"}
SMOOTHED = "_smoothed"


@dataclass(frozen=True)
class Rule:
    """Which weights of a fit become ``best.ckpt``.

    ``best`` keeps the epoch with the best ``monitor``; ``smoothed`` the last of the ``smoothing`` validations whose
    mean is best, so that one lucky validation decides nothing; ``last`` the last epoch; ``averaged`` the mean of the
    weights after the last epochs (`EpochAveraging`, unless the fit has another callback that averages weights).

    ``last`` is the usual one: on validation people of four data sets it was better than the lowest loss on each, and
    better than every other rule on their mean (``benchmarks/long/selection.md``).

    Args:
        selection: the rule.
        monitor: a logged metric, for ``best`` and ``smoothed``.
        mode: ``"min"``, ``"max"``, or None where the name of the metric says it.
        smoothing: number of validations in the mean of ``smoothed``, at least 2.

    Raises:
        InputError: for an unknown rule, a name that says nothing without a mode, or what cannot be smoothed.

    Example:
        >>> Rule("smoothed", "val/accuracy").watched
        ('val/accuracy_smoothed', 'max')
        >>> in_words(Rule("smoothed", "val/accuracy").described([]))
        'highest mean of val/accuracy over 3 validations'
    """

    selection: Selection = USUAL
    monitor: str = "val/loss"
    mode: str | None = None
    smoothing: int = 3

    def __post_init__(self) -> None:
        if self.selection not in get_args(Selection):
            raise InputError(
                f"selection: must be one of {', '.join(get_args(Selection))}, but got {self.selection!r}. Choose one."
            )
        if self.chooses and self.monitor == "epoch":
            raise InputError("monitor: must be a metric, but got 'epoch'. For the last epoch write selection: last.")
        if self.chooses:
            object.__setattr__(self, "mode", mode_of(self.monitor, self.mode, "monitor"))
        if self.selection == "smoothed" and not self.monitor.startswith("val/"):
            raise InputError(
                f"selection: smoothed must have a monitor that is measured on validation windows, but got "
                f"{self.monitor!r}. Monitor val/accuracy or val/loss."
            )
        if self.selection == "smoothed":
            check_number("selection", "smoothing", self.smoothing, 3, whole=True, low=1)
        if self.selection == "smoothed" and self.smoothing < 2:
            raise InputError(
                f"smoothing: must be at least 2 validations, but got {self.smoothing}. For 1 write selection: best."
            )

    @property
    def chooses(self) -> bool:
        """Whether an epoch is chosen by a metric."""
        return self.selection in ("best", "smoothed")

    @property
    def watched(self) -> tuple[str, str]:
        """The metric by which the checkpoint is kept, and its mode; a later epoch is better for the other rules."""
        if not self.chooses:
            return "epoch", "max"
        return self.monitor + (SMOOTHED if self.selection == "smoothed" else ""), str(self.mode)

    def described(self, callbacks: Iterable[Any]) -> dict[str, Any]:
        """The rule in plain values, as a checkpoint describes it.

        Args:
            callbacks: of the trainer; one may average the weights.
        """
        metric = {"monitor": self.monitor, "mode": self.mode} if self.chooses else {}
        over = {"smoothing": self.smoothing} if self.selection == "smoothed" else {}
        means = [type(callback).__name__ for callback in callbacks if isinstance(callback, WeightAveraging)]
        return {"rule": self.selection, **metric, **over, **({"averaged_by": means[0]} if means else {})}

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> Rule:
        """The rule that a checkpoint describes.

        Args:
            described: as `described` gives it.

        Raises:
            InputError: it is none.

        Example:
            >>> Rule.read({"rule": "best", "monitor": "val/f1", "mode": "max"}).watched
            ('val/f1', 'max')
        """
        smoothing = described.get("smoothing", 3)
        return cls(
            described.get("rule", ""),
            str(described.get("monitor", "val/loss")),
            described.get("mode"),
            smoothing if type(smoothing) is int else 0,
        )


def in_words(described: Mapping[str, Any]) -> str:
    """A rule as tables show it.

    Args:
        described: from the description of a checkpoint.

    Example:
        >>> in_words({"rule": "best", "monitor": "val/loss", "mode": "min"}), in_words({"rule": "last"})
        ('lowest val/loss', 'last epoch')
    """
    rule, metric = described.get("rule"), str(described.get("monitor"))
    by = described.get("averaged_by")
    if rule in ("last", "averaged"):
        return f"averaged weights ({by})" if by else "last epoch"
    word = "lowest" if described.get("mode") == "min" else "highest"
    if rule == "smoothed":
        metric = f"mean of {metric} over {described.get('smoothing')} validations"
    return f"{word} {metric}" + (f", averaged weights ({by})" if by else "")
