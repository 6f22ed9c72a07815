"""An exported file against its checkpoint: logits, predictions, size and latency."""

from __future__ import annotations

import copy
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from kdlab.data import WindowDataModule
from kdlab.evaluate.cost import latency
from kdlab.export.c.compiled import Interpreted
from kdlab.export.card import Reads
from kdlab.export.formats import quiet
from kdlab.export.module import Exported
from kdlab.export.physical import PhysicalNet
from kdlab.export.stored import OnnxModule
from kdlab.methods.label_kinds import is_right, predicted, probabilities_of
from kdlab.nets.base import Backbone
from kdlab.types import InputError

#: of the largest logit: 80 float32 roundings, what sums over thousands of products in another order differ by
RELATIVE_TOLERANCE = 5e-6
#: times the rounding error of the checkpoint itself, which is larger where large numbers cancel out
ROUNDINGS = 10
_BATCH = 256


def physical_windows(
    datamodule: WindowDataModule,
    source: str,
    channels: list[int],
    rows: NDArray[np.int64],
    samples: slice = slice(None),
) -> NDArray[np.float32]:
    """Windows of a source in physical units, with the channels and samples that a net reads."""
    windows = np.asarray(datamodule.data.windows[source][rows])[:, channels]
    return np.ascontiguousarray(windows[..., samples], dtype=np.float32)


@torch.no_grad()
def reference(net: Backbone, view: str, datamodule: WindowDataModule, stage: str) -> tuple[Tensor, Tensor]:
    """Logits of the checkpoint on the views of a stage, and the labels."""
    logits, labels = [], []
    for batch in datamodule.batches(stage, _BATCH, [view]):
        logits.append(net(batch.views[view]).logits)
        labels.append(batch.target)
    return torch.cat(logits), torch.cat(labels)


@torch.no_grad()
def logit_tolerance(
    net: Backbone,
    view: str,
    datamodule: WindowDataModule,
    stage: str,
    logits: Tensor,
    reads: Reads,
    divisor: list[float],
) -> float:
    """The difference of logits up to which a float file is the same as its checkpoint.

    ``5e-6 max |z| + 10 max |z - z'|``, with the logits z of the checkpoint on all windows of the stage, and z' those in
    float64 on the first 256 windows, which are rounded to float32 as the file reads them; ``55e-6 max |z|`` for a net
    that cannot compute in float64. Both terms follow the size of the logits, so that files of nets with large or tiny
    logits are compared as strictly.

    Args:
        net: the net of the checkpoint, in float32.
        view: that it reads.
        datamodule: the data.
        stage: ``"val"`` or ``"test"``.
        logits: of the checkpoint on the windows of the stage.
        reads: source, channels and samples that the net reads.
        divisor: of the scaling, one per channel.
    """
    rounding = relative = RELATIVE_TOLERANCE * float(logits.abs().max())
    batch = next(iter(datamodule.batches(stage, _BATCH, [view])))
    source, channels, samples = reads
    stored = np.asarray(datamodule.data.windows[source][batch.index.numpy()])[:, channels][..., samples]
    lost = torch.from_numpy(stored.astype(np.float32).astype(np.float64) - stored).transpose(1, -1)
    try:
        x = batch.views[view].double() + (lost / torch.tensor(divisor, dtype=torch.float64)).transpose(1, -1)
        exact = copy.deepcopy(net).double()(x).logits
    except Exception:  # whatever a net raises that computes in float32 only
        pass
    else:
        rounding = float((logits[: len(exact)] - exact).abs().max())
    return relative + ROUNDINGS * rounding


def compare(
    ready: Exported,
    expected: Tensor,
    labels: Tensor,
    datamodule: WindowDataModule,
    reads: Reads,
    stage: str,
) -> dict[str, Any]:
    """The file against its checkpoint on the windows of a stage."""
    source, channels, samples = reads
    rows = (batch.index.numpy() for batch in datamodule.batches(stage, _BATCH, []))
    got = torch.cat([ready(physical_windows(datamodule, source, channels, some, samples)) for some in rows])
    many = datamodule.many_labels
    right, was = (is_right(logits, labels, many) for logits in (got, expected))
    same = is_right(got, predicted(probabilities_of(expected, many), many), many)
    return {
        "windows": stage,
        "count": len(labels),
        "largest_logit": float(expected.abs().max()),
        "largest_logit_difference": float((got - expected).abs().max()),
        "agreement": float(same.double().mean()),
        "accuracy": {"before": float(was.double().mean()), "after": float(right.double().mean())},
    }


def judge(check: Mapping[str, Any], int8: bool, tolerance: float) -> dict[str, Any]:
    """Refuse a float file that differs; warn of an int8 file that differs by more than the tolerance."""
    if not int8:
        largest, most = check["largest_logit_difference"], check["logit_tolerance"]
        if not largest <= most:
            differ = round((1 - check["agreement"]) * check["count"])
            raise InputError(
                f"export: the file's logits differ from the checkpoint's by {largest:.2g} on {check['windows']} "
                f"windows, more than the {most:.2g} of rounding (largest logit {check['largest_logit']:.3g}), and "
                f"{differ} of {check['count']} decisions; it was not kept. Try another format."
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


def size_of(path: Path, card: Mapping[str, Any]) -> int:
    """Bytes of an exported file; of C source, those of its constants on a device."""
    return sum(card["c"]["flash"].values()) if "c" in card else path.stat().st_size


def latencies(module: PhysicalNet, ready: Exported) -> dict[str, Any]:
    """Milliseconds of one window before and after the export, measured in turns; none of C without a compiler."""
    if isinstance(ready.module, Interpreted):
        return {"before": latency(module, ready.shape), "after": None, "machine": _machine()}
    after = OnnxModule(ready.path, threads=1) if isinstance(ready.module, OnnxModule) else ready.module
    with quiet():
        turns = [(latency(module, ready.shape), latency(after, ready.shape)) for _ in range(3)]
    before, after_ms = (min(times) for times in zip(*turns, strict=True))
    return {"before": before, "after": after_ms, "machine": _machine()}


def _machine() -> str:
    return platform.processor() or platform.machine()
