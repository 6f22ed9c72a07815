"""An exported file against its checkpoint: logits, predictions, size and latency."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from kdlab.data import WindowDataModule
from kdlab.evaluate.cost import latency
from kdlab.export.formats import quiet
from kdlab.export.module import Exported
from kdlab.export.physical import PhysicalNet
from kdlab.export.stored import OnnxModule
from kdlab.methods.label_kinds import is_right, predicted, probabilities_of
from kdlab.nets.base import Backbone
from kdlab.types import InputError

#: the files that a run folder is searched for, in this order
#: largest difference between the logits of a float file and those of its checkpoint
FLOAT_TOLERANCE = 1e-4
_BATCH = 256


def physical_windows(
    datamodule: WindowDataModule, source: str, channels: list[int], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Windows of a source in physical units, with the channels that a net reads."""
    return np.ascontiguousarray(np.asarray(datamodule.data.windows[source][rows])[:, channels], dtype=np.float32)


@torch.no_grad()
def reference(net: Backbone, view: str, datamodule: WindowDataModule, stage: str) -> tuple[Tensor, Tensor]:
    """Logits of the checkpoint on the views of a stage, and the labels."""
    logits, labels = [], []
    for batch in datamodule.batches(stage, _BATCH, [view]):
        logits.append(net(batch.views[view]).logits)
        labels.append(batch.target)
    return torch.cat(logits), torch.cat(labels)


def compare(
    ready: Exported,
    expected: Tensor,
    labels: Tensor,
    datamodule: WindowDataModule,
    source: str,
    channels: list[int],
    stage: str,
) -> dict[str, Any]:
    """The file against its checkpoint on the windows of a stage."""
    batches = datamodule.batches(stage, _BATCH, [])
    got = torch.cat([ready(physical_windows(datamodule, source, channels, batch.index.numpy())) for batch in batches])
    many = datamodule.many_labels
    right, was = (is_right(logits, labels, many) for logits in (got, expected))
    same = is_right(got, predicted(probabilities_of(expected, many), many), many)
    return {
        "windows": stage,
        "count": len(labels),
        "largest_logit_difference": float((got - expected).abs().max()),
        "agreement": float(same.double().mean()),
        "accuracy": {"before": float(was.double().mean()), "after": float(right.double().mean())},
    }


def judge(check: Mapping[str, Any], int8: bool, tolerance: float) -> dict[str, Any]:
    """Refuse a float file that differs; warn of an int8 file that differs by more than the tolerance."""
    if not int8:
        largest = check["largest_logit_difference"]
        if not largest <= FLOAT_TOLERANCE:
            raise InputError(
                f"export: the file's logits differ from the checkpoint's by {largest:.2g} on {check['windows']} "
                f"windows, more than {FLOAT_TOLERANCE:g}; it was not kept. Try another format."
            )
        return {"tolerance": None, "passed": True}
    before, after = check["accuracy"]["before"], check["accuracy"]["after"]
    passed = bool(100 * abs(after - before) <= tolerance + 1e-9)
    if not passed:
        rank_zero_warn(
            f"export: int8 accuracy on {check['count']} {check['windows']} windows is {100 * after:.1f} %, the "
            f"checkpoint's {100 * before:.1f} %: off by more than {tolerance:g} points. Leave out "
            "quantize, or raise tolerance if that is good enough."
        )
    return {"tolerance": tolerance, "passed": passed}


def net_bytes(net: Backbone) -> int:
    """Bytes of the weights and buffers of a net."""
    return sum(t.numel() * t.element_size() for t in net.state_dict().values())


def latencies(module: PhysicalNet, ready: Exported) -> dict[str, Any]:
    """Milliseconds of one window before and after the export, measured in turns."""
    after = OnnxModule(ready.path, threads=1) if isinstance(ready.module, OnnxModule) else ready.module
    with quiet():
        turns = [(latency(module, ready.shape), latency(after, ready.shape)) for _ in range(3)]
    before, after_ms = (min(times) for times in zip(*turns, strict=True))
    return {"before": before, "after": after_ms, "machine": platform.processor() or platform.machine()}
