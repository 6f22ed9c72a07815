"""From a checkpoint to one checked file with its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from kdlab.data import WindowDataModule
from kdlab.data.spread import spread
from kdlab.export.card import describe, metrics, run_name, source_of
from kdlab.export.comparing import compare, judge, latencies, net_bytes, physical_windows, reference
from kdlab.export.formats import FORMATS, need
from kdlab.export.module import Exported, card_path, load, open_exported, sha256
from kdlab.export.outside import OutsideWindows
from kdlab.export.physical import PhysicalNet
from kdlab.export.writing import write
from kdlab.files import remove_leftovers, replacing
from kdlab.fingerprint import check_same_split, without_people
from kdlab.methods.checkpoints import (
    KEPT_FILES,
    description,
    find_checkpoint,
    net_of,
    read_checkpoint,
    weights_hash,
)
from kdlab.methods.finite import check_finite
from kdlab.nets.base import Backbone
from kdlab.types import InputError

_CALIBRATION = 512  # windows; ranges settle long before


def export(
    checkpoint: str | PathLike[str],
    datamodule: LightningDataModule,
    path: str | PathLike[str] | None = None,
    *,
    format: str = "torch.export",
    quantize: str | None = None,
    windows: str = "val",
    tolerance: float = 0.5,
    overwrite: bool = False,
) -> Exported:
    """Write a trained net as one file that reads physical units, checked against its checkpoint, with a card.

    The file is compared with the checkpoint (which reads the data module's views) on all windows of a stage. A float
    file whose logits differ by more than 1e-4 is not left behind. An int8 file is calibrated on up to 512 training
    windows; if its accuracy is off by more than ``tolerance``, that is warned of and recorded.

    Args:
        checkpoint: checkpoint file, or run folder (its newest finished version).
        datamodule: the data settings that it was trained with. Of one that is not kdlab's, units and scaling are not
            known: the file then reads windows as its loaders give them.
        path: the file; None: beside the checkpoint, ``best.pt2``, ``best.int8.onnx``, ...
        format: ``"torch"``, ``"torch.export"`` or ``"onnx"``, see :mod:`kdlab.export`.
        quantize: ``"int8"`` (onnx only) or None.
        windows: ``"val"`` or ``"test"``: what metrics and comparison are made on. Choose formats on validation windows.
        tolerance: accuracy that int8 may differ by, in points (hundredths).
        overwrite: replace a file that is there.

    Returns:
        The file, loaded, with its card.

    Raises:
        MissingFileError: no such checkpoint.
        InputError: a wrong argument, a checkpoint that cannot be exported or is of other data, a file that is there
            already, a package that is missing, or a file whose logits differ from its checkpoint's.

    Example::

        student = export("runs/basic_motions/tpkd", BasicMotions(), format="onnx", quantize="int8")
        probabilities = student(windows).softmax(-1)  # in the order of student.card["classes"]
    """
    _check_arguments(format, quantize, windows, tolerance, datamodule)
    found = find_checkpoint(checkpoint, KEPT_FILES, "CKPT")
    target = _target(found, path, format, quantize, overwrite)
    if format == "onnx":
        need("format='onnx'", "onnx", "onnxscript", "onnxruntime")
    outside = not isinstance(datamodule, WindowDataModule)
    described, net = read_net(found, outside)
    # of another origin, what is read of the data is the same
    data: Any = OutsideWindows(datamodule, described, net) if outside else datamodule
    _check_data(described, data)
    source, channels = data.source if outside else source_of(described, data)
    logits, labels = reference(net, described["view"], data, windows)
    card = (data.card(format) if outside else describe(described, data, source, channels, format)) | {
        "name": run_name(found.absolute()),
        "provenance": _provenance(described, net, found),
        "metrics": {"windows": windows, "count": len(labels), **metrics(logits, labels)},
    }
    module = PhysicalNet(net, **card["scale"]).eval()
    rows = None
    if quantize:
        rows = spread(data.train_index, _CALIBRATION)
        card["quantisation"] = {
            "scheme": "static; weights int8 per output channel, activations int8 per tensor",
            "calibrated_on": {"windows": "train", "count": len(rows)},
        }
    shown = None if rows is None else physical_windows(data, source, channels, rows)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    with replacing(card_path(target)) as beside, replacing(target) as made:
        write(module, made, format, card, shown)
        ready = open_exported(made, check=False)
        check = compare(ready, logits, labels, data, source, channels, windows)
        card |= {
            "file": {"name": target.name, "sha256": sha256(made), "bytes": made.stat().st_size},
            "check": check | judge(check, bool(quantize), tolerance),
            "size": {"before": found.stat().st_size, "weights": net_bytes(net), "after": made.stat().st_size},
            "latency": latencies(module, ready),
        }
        beside.write_text(json.dumps(card, indent=2), encoding="utf-8")
    return load(target)


def read_net(path: Path, outside: bool = False) -> tuple[dict[str, Any], Backbone]:
    """The description and the net of one of our checkpoints, in float32 and evaluation mode.

    Args:
        path: the checkpoint.
        outside: its data are of another origin than kdlab's, so that they need not be in it.

    Raises:
        InputError: when kdlab did not write it, its training data are not in it, or its weights are not
            those of its net, or not finite.
    """
    checkpoint = read_checkpoint(path, "CKPT")
    described = description(checkpoint, "CKPT")
    if described is None:
        raise InputError(
            f"CKPT: {str(path)!r} was not written by kdlab, so its classes, channels and units are not known. Expected "
            "a checkpoint of kdlab fit."
        )
    if not described.get("fingerprint") and not outside:
        raise InputError(
            f"CKPT: {str(path)!r} must name the data that it was trained on, but does not, so its units are not "
            "known. Train it with "
            "a data module of kdlab (ArrayDataModule takes your arrays)."
        )
    net = net_of(checkpoint, f"CKPT: {str(path)!r}")
    check_finite(net.state_dict(), f"CKPT: {str(path)!r}")
    net.float().eval().requires_grad_(False)
    return {**described, "epoch": checkpoint.get("epoch")}, net


def _check_arguments(
    format: str, quantize: str | None, windows: str, tolerance: float, datamodule: LightningDataModule
) -> None:
    if format not in FORMATS:
        raise InputError(f"format: must be one of {', '.join(FORMATS)}, but got {format!r}. Name one of them.")
    if quantize not in (None, "int8"):
        raise InputError(f"quantize: must be 'int8', or None for float32, but got {quantize!r}. Use one of them.")
    if quantize and format != "onnx":
        raise InputError(
            f"quantize={quantize!r}, format={format!r}: PyTorch by itself runs no int8 nets any more. Use "
            "format='onnx' (--format onnx), which ONNX runtimes on phones and watches run in int8."
        )
    if windows not in ("val", "test"):
        raise InputError(f"windows: must be 'val' or 'test', but got {windows!r}. Use one of them.")
    if not tolerance >= 0:
        raise InputError(f"tolerance: must be at least 0 points of accuracy, but got {tolerance}. Pass 0.5.")
    if windows == "test" and isinstance(datamodule, WindowDataModule) and datamodule.corruption is not None:
        raise InputError(
            "windows='test': the data module corrupts its test windows in scaled units, so the file cannot be shown "
            "the same ones. Leave out corruption."
        )


def _target(checkpoint: Path, path: str | PathLike[str] | None, format: str, quantize: str | None, again: bool) -> Path:
    suffix = FORMATS[format]
    if path is None:
        target = checkpoint.with_name(f"{checkpoint.stem}{f'.{quantize}' if quantize else ''}{suffix}")
    else:
        target = Path(path)
        if target.suffix != suffix:
            raise InputError(f"path: must end in {suffix} for format {format!r}, but got {str(path)!r}. Rename it.")
    taken = [str(p) for p in (target, card_path(target)) if p.exists()]
    if taken and not again:
        raise InputError(f"path: {', '.join(taken)} exists. Pass overwrite=True (--overwrite), or another path.")
    return target


def _check_data(described: Mapping[str, Any], datamodule: WindowDataModule) -> None:
    remedy = "Use the data settings that it was trained with (config.yaml beside its checkpoints)"
    check_same_split(described["fingerprint"], datamodule.fingerprint, "CKPT: the checkpoint", remedy)


def _provenance(described: Mapping[str, Any], net: Backbone, path: Path) -> dict[str, Any]:
    known = {key: described.get(key) for key in ("method", "net", "view", "view_settings", "fingerprint")}
    return {
        "checkpoint": str(path),
        "sha256": sha256(path),
        "weights": weights_hash(net.state_dict()),
        **known | {"fingerprint": without_people(described["fingerprint"] or {})},
        "training": {"epoch": described["epoch"], **described.get("provenance", {})},
        "teachers": described.get("teachers", {}),
    }
