"""What an evaluation logs and says: its metrics, with its first batch, and a warning of nets that depend on batches."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torchmetrics import MetricCollection

from kdlab.nets.alone import is_batch_relational, warning_of_batches


def log_once(module: LightningModule, metrics: MetricCollection, *, prog_bar: bool, batch_size: int) -> None:
    """Log the metrics of a step of an evaluation, where they are not logged since they were last reset.

    Lightning keeps the metric, not its value, and computes it after the last batch. To log it with every batch gives
    the same value and takes a fifth of the time of validating a small net.

    Args:
        module: in whose step this is.
        metrics: updated with the batch.
        prog_bar: show them in the progress bar.
        batch_size: windows of the batch.
    """
    results: Any = None if module._trainer is None else module.trainer._results
    if results is not None:
        held = metrics.items(keep_base=False, copy_state=False)  # metrics of equal states share them from here on
        known = [(results.get(f"{module._current_fx_name}.{name}"), metric) for name, metric in held]
        if known and all(entry is not None and not entry.has_reset and entry.value is one for entry, one in known):
            return
    module.log_dict(metrics, on_epoch=True, prog_bar=prog_bar, batch_size=batch_size)


def warn_of_batches(net: nn.Module, what: str) -> None:
    """Warn where a net's answer for a window depends on the others in its batch.

    Args:
        net: that was evaluated.
        what: was written, for the message.
    """
    if is_batch_relational(net):
        rank_zero_warn(f"{what}: {warning_of_batches(type(net).__name__)}")
