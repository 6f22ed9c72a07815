"""Students as folders that describe themselves: :func:`save_pretrained` and :func:`from_pretrained`."""

from __future__ import annotations

import copy
import importlib.metadata
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from kdlab import export
from kdlab.export.formats import CARD_VERSION, OUTPUT
from kdlab.export.make import check_rebuilt, provenance
from kdlab.export.naming import run_name
from kdlab.export.pretrained import FORMAT, digest_of, is_pretrained, write_folder
from kdlab.export.sharing import check_about, sharing_of
from kdlab.export.sources import of_method, read_net
from kdlab.fingerprint import only_counts
from kdlab.loading import of_folder, of_net
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import KEPT_FILES, find_checkpoint, weights_hash
from kdlab.methods.windows import datamodule_in
from kdlab.nets.alone import check_net_alone
from kdlab.nets.base import Backbone
from kdlab.stream import ScaledNet, Student
from kdlab.types import InputError


def save_pretrained(
    student: str | PathLike[str] | Method | Student,
    folder: str | PathLike[str],
    *,
    datamodule: LightningDataModule | None = None,
    about: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Save a trained student alone as a folder: ``model.safetensors``, ``card.json`` and ``README.md``.

    No teacher, no adapter and no name of a person is in the folder. With a data module the student is compared with
    its windows (:func:`kdlab.export.export`), and units, metrics and check are on the card; without one the card has
    what the checkpoint knows, which is all but those.

    Args:
        student: a run folder or a checkpoint; a method that was trained in this process; or a student that
            :func:`kdlab.load` read from a checkpoint or from such a folder.
        folder: a new or empty folder, on this machine.
        datamodule: the data that it was trained on; None: for a method that of its trainer, else none.
        about: what the card says to those who get the student, see :mod:`kdlab.export.sharing`.
        overwrite: replace the student that is in the folder.

    Returns:
        The folder.

    Raises:
        MissingFileError: no such run or checkpoint.
        InputError: a folder that holds something, a net that cannot be built again from its class and arguments or
            whose answer for a window depends on the others in its batch, a checkpoint of no known data, a loaded
            student whose file was replaced since, or a wrong argument.

    Example::

        kdlab.save_pretrained("runs/demo/tpkd", "shared/watch", about={"licence": "CC-BY-4.0"})
        kdlab.from_pretrained("shared/watch").predict(windows)
    """
    folder = Path(folder)
    if isinstance(student, Student):
        if datamodule is not None:
            raise InputError(
                "datamodule: must be left out for a student that was loaded, but got one. Pass its run folder instead."
            )
        return _save_loaded(student, folder, about, overwrite)
    if isinstance(student, Method) and datamodule is None:
        held = datamodule_in(student._trainer)
        datamodule = held if isinstance(held, LightningDataModule) else None
    if datamodule is not None:
        return export.export(student, datamodule, folder, format=FORMAT, about=about, overwrite=overwrite).path
    if isinstance(student, Method):
        described, net, file = of_method(student)
    else:
        file = find_checkpoint(student, KEPT_FILES, "student")
        described, net = read_net(file)
    remedy = "Pass datamodule=, the data that it was trained on; of a run folder: kdlab export RUN --format pretrained."
    read = of_net(described, net, f"student: {str(file or type(student).__name__)!r}", file, remedy)
    return _write(described, net, read, folder, about, overwrite)


def from_pretrained(folder: str | PathLike[str]) -> Student:
    """A student from a folder of :func:`save_pretrained` or ``kdlab export --format pretrained``.

    Nothing in the folder is run: its net is built again from classes that are loaded. What it predicts is equal in
    every bit to what :func:`kdlab.load` predicts from the checkpoint.

    Args:
        folder: on this machine; nothing is fetched.

    Raises:
        MissingFileError: there is no such folder, or one of its files is missing.
        InputError: it is no folder of a student, its digests do not fit, or the class of its net is not imported.

    Example::

        student = kdlab.from_pretrained("shared/watch")
        student.card["sharing"]["evidence"]
    """
    folder = Path(folder)
    if folder.is_dir() and not is_pretrained(folder):
        raise InputError(
            f"folder: must be one of save_pretrained, but {str(folder)!r} holds neither weights nor a card. Read run "
            "folders and checkpoints with kdlab.load."
        )
    return of_folder(folder)


def _save_loaded(student: Student, folder: Path, about: Mapping[str, str] | None, overwrite: bool) -> Path:
    """What is written is what is held, whatever became of its file since."""
    if student.path is None or not isinstance(student.form, ScaledNet):
        raise InputError(
            "student: must come from a checkpoint or a folder of save_pretrained, but its form is "
            f"{type(student.form).__name__}. Load its run folder."
        )
    if student.card.get("format") == FORMAT:
        same = student.card.get("digest") == digest_of(student.card)
        _check_held(student, same, student.card["provenance"]["weights"])
        check_net_alone(student.form.net, student.shape, "student: the net")
        return _write_copy(folder, student.form.net, student.card, about, overwrite)
    described, net = read_net(student.path)
    read = of_net(described, net, f"student: {str(student.path)!r}", student.path)
    _check_held(student, _of_input(read.card) == _of_input(student.card), weights_hash(net.state_dict()))
    return _write(described, net, read, folder, about, overwrite)


def _check_held(student: Student, same_card: bool, weights: str) -> None:
    """Refuse a student that is not the one of its file.

    Raises:
        InputError: the file was replaced, or the student was changed.
    """
    assert isinstance(student.form, ScaledNet)
    if not same_card or weights_hash(student.form.net.state_dict()) != weights:
        raise InputError(
            f"student: must be as {str(student.path)!r} holds it, but the file or the student was changed since it was "
            f"loaded. Load it again: kdlab.load({str(student.path)!r})."
        )


def _of_input(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card without the origin of the weights."""
    return {key: value for key, value in card.items() if key != "provenance"}


def _write(
    described: Mapping[str, Any],
    net: Backbone,
    read: Student,
    folder: Path,
    about: Mapping[str, str] | None,
    overwrite: bool,
) -> Path:
    """A student that was not compared with its windows."""
    check_net_alone(net, read.shape, "student: the net")
    check_rebuilt(FORMAT, described)
    name = folder.name if read.path is None else run_name(read.path.absolute())
    card = _card(read.card, name, provenance(described, net, read.path))
    card["sharing"] = sharing_of(described, card, read.path, about)
    write_folder(folder, net, card, overwrite)
    return folder


def _write_copy(
    folder: Path, net: Backbone, card: Mapping[str, Any], about: Mapping[str, str] | None, overwrite: bool
) -> Path:
    """A copy of a folder, with what a user declares about it."""
    said, card = check_about(about), copy.deepcopy({k: v for k, v in card.items() if k != "digest"})
    card["provenance"]["fingerprint"] = only_counts(card["provenance"].get("fingerprint") or {})
    sharing = card["sharing"]
    sharing |= {key: said[key] for key in ("licence", "intended_use") if key in said}
    sharing["data"] |= {k.removeprefix("data_"): said[k] for k in ("data_licence", "data_citation") if k in said}
    sharing["limits"] = [*([said["limits"]] if "limits" in said else []), *sharing["limits"]]
    write_folder(folder, net, card, overwrite)
    return folder


def _card(known: Mapping[str, Any], name: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a student that was not compared with its windows."""
    return {
        "card_version": CARD_VERSION,
        "kdlab": importlib.metadata.version("kdlab"),
        "torch": torch.__version__,
        "format": FORMAT,
        "quantisation": None,
        **{key: value for key, value in known.items() if key != "provenance"},
        "output": {"name": OUTPUT, "shape": ["batch", len(known["classes"])], "dtype": "float32"},
        "name": name,
        "provenance": dict(source),
    }
