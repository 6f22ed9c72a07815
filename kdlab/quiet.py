"""What the command line and studies print: no noise of Lightning, and kdlab's warnings once, with their run.

Importing kdlab changes nothing of what Lightning prints; :func:`quieted` does, for as long as its block lasts.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.utilities import rank_zero_only

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
#: Lightning's warnings that name no problem of a run
_NOISE = (
    r".*does not have many workers",
    r"The number of training batches .* is smaller than the logging interval",
    r".*isinstance.treespec, LeafSpec",
    r"The `srun` command is available on your system but is not used",
    r"Checkpoint directory .* exists and is not empty",  # a run that is resumed
    r"The dirpath has changed from",
)
_LOGS = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero")
_ROOTS = ("lightning.pytorch", "lightning.fabric")


class _Said:
    """The texts that were printed, also by processes that are forked meanwhile, such as those that load batches."""

    _SIZE, _PLACES = 8, 512

    def __init__(self) -> None:
        self._kept: set[bytes] = set()
        self._shared = mmap.mmap(-1, self._SIZE * self._PLACES)

    def first(self, text: str) -> bool:
        """Note a text; whether it is new."""
        digest, size = hashlib.blake2b(text.encode(), digest_size=self._SIZE).digest(), self._SIZE
        if digest in self._kept:
            return False
        self._kept.add(digest)
        for at in range(0, size * self._PLACES, size):
            found = self._shared[at : at + size]
            if found == digest:
                return False
            if not any(found):
                self._shared[at : at + size] = digest
                break
        return True


class _Run:
    """A run that prints: its name, as soon as it is known, and what it said."""

    def __init__(self, name: str | None) -> None:
        self.name, self.fixed, self.said = name, name is not None, _Said()


_runs: list[_Run] = []


@contextmanager
def quieted(name: str | None = None, *, reports: bool = True) -> Iterator[None]:
    """Within the block Lightning's noise is left out, and each warning of kdlab comes once and names its run.

    A block within another is of the same run, unless it has a name. Filters of the interpreter (``python -W``) go
    first. Other warnings, also Lightning's of what is wrong with a run, are printed as ever.

    Args:
        name: of the run, for example that of the job of a study; :func:`name_run` gives it later.
        reports: whether Lightning's and kdlab's reports are printed: devices, splits, accuracy of teachers.
    """
    if _runs and name is None and reports:
        yield
        return
    first = not _runs
    _runs.append(_Run(name))
    advice, levels = _NoAdvice(), {log: logging.getLogger(log).level for log in _ROOTS}
    try:
        with warnings.catch_warnings():
            if first:
                _leave_out()
                warnings.showwarning = _shown_by(warnings.showwarning)
                for log in _LOGS:
                    logging.getLogger(log).addFilter(advice)
            for log in () if reports else _ROOTS:
                logging.getLogger(log).setLevel(logging.WARNING)
            yield
    finally:
        _runs.pop()
        for log in _LOGS:
            logging.getLogger(log).removeFilter(advice)
        for log, level in levels.items():
            logging.getLogger(log).setLevel(level)


def name_run(name: str) -> None:
    """Name the run of the block of :func:`quieted`, unless it began with a name; what it says from then on is new."""
    if _runs and not _runs[-1].fixed and _runs[-1].name != name:
        _runs[-1].name, _runs[-1].said = name, _Said()


def _leave_out() -> None:
    last = bool(sys.warnoptions)
    for text in _NOISE:
        warnings.filterwarnings("ignore", text, append=last)
    for kind in (DeprecationWarning, FutureWarning):  # of what Lightning or kdlab call
        warnings.filterwarnings("ignore", category=kind, module=r"(lightning|kdlab)\.", append=last)


def _shown_by(show: Callable[..., Any]) -> Callable[..., Any]:
    """Print warnings by a function; those of kdlab once in a run, with its name, and in one process."""

    def once(
        message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: str | None = None
    ) -> None:
        if _runs and os.path.abspath(filename).startswith(_HERE):
            run, text = _runs[-1], str(message)
            if vars(rank_zero_only).get("rank") or not run.said.first(text):
                return
            if run.name and category.__module__ == "builtins":
                message = category(f"[{run.name}] {text}")
            line = line or ""  # the text says what is wrong, not the line that prints it
        show(message, category, filename, lineno, file, line)

    return once


class _NoAdvice(logging.Filter):
    """Leaves out Lightning's advice to install further packages."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is printed."""
        return not record.getMessage().startswith("💡 Tip")


class LeanSummary(ModelSummary):
    """Lightning's table of the net, without the column of FLOPs where nothing was counted."""

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        total_training_modes: dict[str, int],
        total_flops: int,
        **summarize_kwargs: Any,
    ) -> None:
        """Print the table."""
        log, lean = logging.getLogger("lightning.pytorch.callbacks.model_summary"), _NoFlops()
        if not total_flops:
            summary_data = [column for column in summary_data if column[0] != "FLOPs"]
            log.addFilter(lean)
        try:
            ModelSummary.summarize(
                summary_data,
                total_parameters,
                trainable_parameters,
                model_size,
                total_training_modes,
                total_flops=total_flops,
                **summarize_kwargs,
            )
        finally:
            log.removeFilter(lean)


class _NoFlops(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = "\n".join(line for line in str(record.msg).split("\n") if not line.endswith("Total Flops"))
        return True


def lean_summary(trainer: Trainer) -> None:
    """Put `LeanSummary` in the place of Lightning's table."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for i, callback in enumerate(callbacks):
        if type(callback) is ModelSummary:
            callbacks[i] = LeanSummary(callback._max_depth, **callback._summarize_kwargs)
