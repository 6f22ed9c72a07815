"""From a checkpoint to one checked file with its card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import nn

from kdlab.data import WindowDataModule
from kdlab.data.spread import spread
from kdlab.export.c.write import write_c
from kdlab.export.card import Reads, describe, metrics, source_of
from kdlab.export.comparing import (
    compare,
    judge,
    latencies,
    logit_tolerance,
    net_bytes,
    physical_windows,
    reference,
    size_of,
)
from kdlab.export.formats import FORMATS, need
from kdlab.export.module import Exported, card_path, load, open_exported, sha256
from kdlab.export.naming import CFiles, c_files, run_name, shown_file, target_of
from kdlab.export.outside import OutsideWindows
from kdlab.export.physical import PhysicalNet
from kdlab.export.pretrained import FORMAT as PRETRAINED
from kdlab.export.pretrained import about_file, finish, net_from, replaced, to_bytes
from kdlab.export.sharing import check_about, sharing_of
from kdlab.export.sources import find_source, read_source
from kdlab.export.sources import read_net as read_net
from kdlab.export.writing import write
from kdlab.files import remove_leftovers, replacing
from kdlab.fingerprint import check_same_split, only_counts
from kdlab.methods.checkpoints import weights_hash
from kdlab.methods.label_kinds import trained_on_many
from kdlab.methods.origins import licences
from kdlab.nets.alone import check_net_alone
from kdlab.nets.base import Backbone
from kdlab.nets.recorded import is_complete
from kdlab.types import InputError

_CALIBRATION = 512  # windows; ranges settle long before


def export(
    checkpoint: str | PathLike[str] | nn.Module,
    datamodule: LightningDataModule,
    path: str | PathLike[str] | None = None,
    *,
    format: str = "torch.export",
    quantize: str | None = None,
    windows: str = "val",
    tolerance: float = 0.5,
    overwrite: bool = False,
    int8_minimum: float = 0.5,
    net: nn.Module | None = None,
    name: str | None = None,
    self_test: bool = False,
    about: Mapping[str, str] | None = None,
) -> Exported:
    """Write a trained net as one file that reads physical units, checked against its checkpoint, with a card.

    The file is compared with the checkpoint (which reads the data module's views) on all windows of a stage. A float
    file whose logits differ by more than rounding explains (:func:`kdlab.export.comparing.logit_tolerance`) is not left
    behind. An int8 file is calibrated on up to 512 training windows; if its accuracy is off by more than ``tolerance``,
    that is warned of and recorded. The share of its weights that is int8, and the layers that stay float32, are in the
    card; too low a share is refused.

    Args:
        checkpoint: checkpoint file, or run folder (its newest finished version); a method that was trained in this
            process; or a net alone, of which is not known what it was trained on: that is taken from ``datamodule``.
        datamodule: the data settings that it was trained with. Of one that is not kdlab's, units and scaling are not
            known: the file then reads windows as its loaders give them.
        path: the file; None: beside the checkpoint, called by its run: ``tpkd.pt2``, ``tpkd.int8.onnx``, ...
            (``tpkd.last.pt2`` of a checkpoint that is not the one that a run is read by).
        format: ``"torch"``, ``"torch.export"``, ``"onnx"``, ``"c"`` or ``"pretrained"``, see :mod:`kdlab.export`.
        quantize: ``"int8"`` (onnx; ``c`` is always int8) or None.
        windows: ``"val"`` or ``"test"``: what metrics and comparison are made on. Choose formats on validation windows.
        tolerance: accuracy that int8 may differ by, in points (hundredths).
        overwrite: replace a file that is there.
        int8_minimum: share of the weights, by number of parameters, that must be int8 in an int8 file.
        net: a net of the checkpoint's kind, where it was trained as a module that cannot be built again.
        name: of a net in C, with which its function's name begins; None: its run.
        self_test: write a program beside a net in C that checks it on the device.
        about: what the card says to those who get the student, see :mod:`kdlab.export.sharing`: ``licence``,
            ``data_licence``, ``data_citation``, ``intended_use``, ``limits``.

    Returns:
        The file, loaded, with its card; a net in C compiled, where there is a compiler.

    Raises:
        MissingFileError: no such checkpoint.
        InputError: a wrong argument, a checkpoint that cannot be exported or is of other data, a file that is there
            already, a package that is missing, a net whose answer for a window depends on the others in its batch, or
            a file whose logits differ from its checkpoint's.

    Example::

        student = export("runs/basic_motions/tpkd", BasicMotions(), format="onnx", quantize="int8")
        probabilities = student.probabilities(windows)  # in the order of student.card["classes"]
    """
    _check_arguments(format, quantize, windows, tolerance, int8_minimum, datamodule)
    _check_c(format, name, self_test)
    check_about(about)
    quantize = "int8" if format == "c" else quantize
    found = find_source(checkpoint)
    target = target_of(found, path, format, quantize, overwrite, name)
    files = c_files(name, found, target, self_test) if format == "c" else None
    if format == "onnx":
        need("format='onnx'", "onnx", "onnxscript", "onnxruntime")
    outside = not isinstance(datamodule, WindowDataModule)
    described, made_net, _ = read_source(checkpoint, found, datamodule, net)
    check_rebuilt(format, described)
    # of another origin, what is read of the data is the same
    data: Any = OutsideWindows(datamodule, described, made_net) if outside else datamodule
    _check_data(described, data)
    reads = Reads(*data.source) if outside else source_of(described, data)
    many = trained_on_many(described)
    logits, labels = reference(made_net, described["view"], data, windows)
    card = (data.card(format) if outside else describe(described, data, reads, format)) | {
        "name": target.name.partition(".")[0] if found is None else run_name(found.absolute()),
        "provenance": provenance(described, made_net, found),
        "metrics": {"windows": windows, "count": len(labels), **metrics(logits, labels, many)},
    }
    card["sharing"] = sharing_of(described, card, found, about, datamodule)
    check_net_alone(made_net, tuple(card["input"]["shape"][1:]), "CKPT: the net")
    module = PhysicalNet(made_net, **card["scale"]).eval()
    rows = None
    if quantize:
        rows = spread(data.train_index, _CALIBRATION)
        card["quantisation"] = {
            "scheme": "static; weights int8 per output channel, activations int8 per tensor",
            "calibrated_on": {"windows": "train", "count": len(rows)},
            "int8_minimum": int8_minimum,
        }
    shown = None if rows is None else physical_windows(data, reads.source, reads.channels, rows, reads.samples)
    divisor = card["scale"]["divisor"]
    exact = None if quantize else logit_tolerance(made_net, described["view"], data, windows, logits, reads, divisor)

    def measured(ready: Exported, file: dict[str, Any], made: Path) -> dict[str, Any]:
        check = compare(ready, logits, labels, data, reads, windows) | {"logit_tolerance": exact}
        before = None if found is None else found.stat().st_size
        return {
            "file": file,
            "check": check | judge(check, bool(quantize), tolerance),
            "size": {"before": before, "weights": net_bytes(made_net), "after": size_of(made, card)},
            "latency": latencies(module, ready),
        }

    if format == PRETRAINED:
        _write_folder(target, made_net, card, measured)
        return load(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    with replacing(card_path(target)) as beside, replacing(target) as made, _parts(files, made) as parts:
        if files is not None and parts is not None and shown is not None:
            ready = Exported(made, card, write_c(module, files, parts, card, shown))
        else:
            write(module, made, format, card, shown)
            ready = open_exported(made, check=False)
        file = {"name": target.name, "sha256": sha256(made), "bytes": made.stat().st_size}
        card |= measured(ready, file, made)
        beside.write_text(json.dumps(card, indent=2), encoding="utf-8")
    if files is None:
        return load(target)
    if not self_test:  # that of the files that were replaced
        target.with_name(f"{target.stem}_self_test.c").unlink(missing_ok=True)
    return Exported(target, card, ready.module)


def _write_folder(
    target: Path,
    net: Backbone,
    card: dict[str, Any],
    measured: Callable[[Exported, dict[str, Any], Path], dict[str, Any]],
) -> None:
    """A folder with the weights, which are read again and compared before it is kept."""
    content = to_bytes(net.state_dict())
    again = PhysicalNet(net_from(content, card, f"export: {str(target)!r}"), **card["scale"]).eval()
    with replaced(target) as parts:
        parts.weights.write_bytes(content)
        finish(parts, card | measured(Exported(target, card, again), about_file(content), parts.weights))


@contextmanager
def _parts(files: CFiles | None, source: Path) -> Iterator[CFiles | None]:
    """Where the files of a net in C are written before they take the place of older ones, all of them or none."""
    with ExitStack() as opened:
        if files is None:
            yield None
        else:
            header = opened.enter_context(replacing(files.header))
            test = None if files.self_test is None else opened.enter_context(replacing(files.self_test))
            yield CFiles(files.name, source, header, test)


def _check_c(format: str, name: str | None, self_test: bool) -> None:
    if format != "c" and (name is not None or self_test):
        given = f"name={name!r}" if name is not None else "self_test=True"
        raise InputError(f"{given}: is an argument of format='c', but format is {format!r}. Leave it out.")


def _check_arguments(
    format: str,
    quantize: str | None,
    windows: str,
    tolerance: float,
    int8_minimum: float,
    datamodule: LightningDataModule,
) -> None:
    if format not in FORMATS:
        raise InputError(f"format: must be one of {', '.join(FORMATS)}, but got {format!r}. Name one of them.")
    if quantize not in (None, "int8"):
        raise InputError(f"quantize: must be 'int8', or None for float32, but got {quantize!r}. Use one of them.")
    if quantize and format not in ("onnx", "c"):
        raise InputError(
            f"quantize={quantize!r}, format={format!r}: PyTorch by itself runs no int8 nets any more. Use "
            "format='onnx' (--format onnx), which ONNX runtimes on phones and watches run in int8, or format='c'."
        )
    if windows not in ("val", "test"):
        raise InputError(f"windows: must be 'val' or 'test', but got {windows!r}. Use one of them.")
    if not tolerance >= 0:
        raise InputError(f"tolerance: must be at least 0 points of accuracy, but got {tolerance}. Pass 0.5.")
    if not 0 <= int8_minimum <= 1:
        raise InputError(f"int8_minimum: must be a share from 0 to 1, but got {int8_minimum}. Pass 0.5.")
    if windows == "test" and isinstance(datamodule, WindowDataModule) and datamodule.corruption is not None:
        raise InputError(
            "windows='test': the data module corrupts its test windows in scaled units, so the file cannot be shown "
            "the same ones. Leave out corruption."
        )


def check_rebuilt(format: str, described: Mapping[str, Any]) -> None:
    """Refuse a net that a file cannot describe, for the formats that build it again.

    Raises:
        InputError: its class or its arguments are not known.
    """
    if format in ("torch", PRETRAINED) and not is_complete(described["net"]):
        raise InputError(
            f"format={format!r}: the net must be known by its class and arguments, from which it is built again, but "
            "was passed as a module. Use format='torch.export' or 'onnx', or call kdlab.nets.register with its class "
            "before you make it, and train it again."
        )


def _check_data(described: Mapping[str, Any], datamodule: WindowDataModule) -> None:
    remedy = "Use the data settings that it was trained with (config.yaml beside its checkpoints)"
    check_same_split(described["fingerprint"], datamodule.fingerprint, "CKPT: the checkpoint", remedy)


def _without_folders(value: Any) -> Any:
    """Descriptions of teachers whose files are named without the folders, which may be called after people."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: shown_file(item) if key == "file" and isinstance(item, str) and item else _without_folders(item)
        for key, item in value.items()
    }


def provenance(described: Mapping[str, Any], net: Backbone, path: Path | None) -> dict[str, Any]:
    """Where a net comes from, for its card; people are counted, and folders are left out.

    Args:
        described: the description in the checkpoint, and ``epoch``.
        net: the net.
        path: the checkpoint; None: a net of this process.
    """
    known = {key: described.get(key) for key in ("method", "net", "view", "view_settings", "fingerprint")}
    return {
        "checkpoint": None if path is None else shown_file(path.absolute()),
        "sha256": None if path is None else sha256(path),
        "weights": weights_hash(net.state_dict()),
        **known | {"fingerprint": only_counts(described["fingerprint"] or {})},
        "training": {"epoch": described["epoch"], **described.get("provenance", {})},
        "teachers": _without_folders(described.get("teachers", {})),
        **({"published": _without_folders(described["published"])} if described.get("published") else {}),
        **({"licences": found} if (found := licences(described)) else {}),
    }
