"""The rule by which a fit chooses its weights where its config names none, or names a part of one."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import EarlyStopping

from kdlab.callbacks import EarlyStoppedTeacher
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.methods.selection import EARLIER, Rule, Selection


def rule_of(
    selection: Selection | None,
    monitor: str | None,
    mode: str | None,
    smoothing: int,
    callbacks: Iterable[Any] = (),
    resumed: Mapping[str, Any] | None = None,
) -> Rule:
    """The rule of a fit.

    A config that names ``monitor`` or ``mode`` and no ``selection`` keeps the epoch that is best by it. One that names
    none of the three has the rule of the fit that it resumes; or, where a callback ends the fit by a metric of the
    validation, the best epoch by that metric; or else the usual rule.

    Args:
        selection: as the config names it; None: it does not.
        monitor: likewise.
        mode: likewise.
        smoothing: validations in the mean of ``smoothed``.
        callbacks: of the config.
        resumed: the rule that the checkpoint describes which the fit resumes; None: it resumes none.

    Raises:
        InputError: as :class:`kdlab.methods.selection.Rule`.

    Example:
        >>> rule_of(None, None, None, 3).selection, rule_of(None, "val/f1", None, 3).watched
        ('last', ('val/f1', 'max'))
        >>> rule_of(None, None, None, 3, [EarlyStopping("val/loss")]).watched
        ('val/loss', 'min')
    """
    if selection is not None:
        return Rule(selection, monitor or "val/loss", mode, smoothing)
    if monitor is not None or mode is not None:
        return Rule("best", monitor or "val/loss", mode)
    if resumed is not None:
        return Rule.read(resumed)
    for callback in callbacks:
        ends = isinstance(callback, EarlyStopping | EarlyStoppedTeacher)
        if ends and str(callback.monitor).startswith("val/"):
            return Rule("best", str(callback.monitor), callback.mode)
    return Rule()


def rule_in(path: str | Path) -> dict[str, Any]:
    """The rule of the fit that wrote a checkpoint, as it is described there.

    Checkpoints of earlier versions describe none; their state of ``best.ckpt`` names its metric.

    Args:
        path: of the checkpoint.
    """
    checkpoint = read_checkpoint(path, "ckpt_path")
    described = (checkpoint.get(KEY) or {}).get("selection")
    if isinstance(described, Mapping):
        return dict(described)
    states = checkpoint.get("callbacks") or {}
    for key, state in states.items():
        name, brace, settings = str(key).partition("{")
        best = Path(str(state.get("best_model_path"))).name if isinstance(state, Mapping) else ""
        if name == "ModelCheckpoint" and best == "best.ckpt":
            said = _settings(brace + settings)
            if isinstance(said.get("monitor"), str):
                return {"rule": "best", "monitor": said["monitor"], "mode": said.get("mode")}
    return dict(EARLIER)


def _settings(text: str) -> dict[str, Any]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {}
    return found if isinstance(found, dict) else {}
