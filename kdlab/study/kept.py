"""A study tests the weights that validation chose: settings that leave none are refused before it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdlab.types import InputError


def check_kept(trainer: Mapping[str, Any] | None, name: str) -> None:
    """The trainer of a job validates, and keeps a checkpoint.

    Args:
        trainer: its part of the job's config.
        name: of the job.

    Raises:
        InputError: naming the setting.
    """
    settings = dict(trainer or {})
    epochs, every = settings.get("max_epochs"), settings.get("check_val_every_n_epoch")
    wrong = {
        "enable_checkpointing": settings.get("enable_checkpointing") is False,
        "limit_val_batches": settings.get("limit_val_batches") == 0,
        "fast_dev_run": bool(settings.get("fast_dev_run")),
        "overfit_batches": bool(settings.get("overfit_batches")),
        "check_val_every_n_epoch": isinstance(epochs, int) and isinstance(every, int) and 0 < epochs < every,
    }
    for key, is_wrong in wrong.items():
        if is_wrong:
            raise InputError(
                f"{name}: trainer.{key} must let the run choose a best.ckpt on validation, which the study tests, but "
                f"got {str(settings[key]).lower()}. Leave it out of the config, or change it in the study (set:)."
            )
