"""A trained student from its run folder, its checkpoint, or a file that was exported from it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from kdlab import export
from kdlab.data.scaling import Scaler
from kdlab.data.stored import rounds_little
from kdlab.export.c.compiled import Compiled, check_library
from kdlab.export.c.compiled import load as load_compiled
from kdlab.export.c.text import identifier
from kdlab.export.card import channels_of
from kdlab.export.formats import FORMATS
from kdlab.export.pretrained import is_pretrained, read_folder
from kdlab.export.reading import check_card
from kdlab.export.sources import read_net
from kdlab.export.stored import OnnxModule
from kdlab.files import read_json
from kdlab.instances import check_path
from kdlab.methods.checkpoints import KEPT_FILES, find_checkpoint
from kdlab.methods.label_kinds import trained_on_many
from kdlab.nets import Backbone
from kdlab.nets.alone import is_batch_relational, warning_of_batches
from kdlab.stream import ModuleForm, ScaledNet, Student
from kdlab.types import IN_PHYSICAL_UNITS, PHYSICAL, InputError, MissingFileError

SHARED = (".so", ".dylib", ".dll")
_EXPORT = "Export it, and load the exported file."


def load(
    run_or_file: str | PathLike[str],
    *,
    card: str | PathLike[str] | None = None,
    name: str | None = None,
    trust: bool = False,
    net: nn.Module | None = None,
) -> Student:
    """A trained student that reads arrays in physical units.

    No code in a checkpoint or an exported file is run, and nothing beside it is read but the card: nets are built from
    classes that are loaded. A shared object is code, and is loaded only with ``trust=True``.

    Args:
        run_or_file: a run folder (its newest finished version), a checkpoint, a ``.pt``, ``.pt2`` or ``.onnx`` of
            ``kdlab export``, a folder of :func:`kdlab.save_pretrained`, or a shared object that was compiled from its
            C form.
        card: of a shared object: the JSON beside the exported file, from which it was compiled; None: ``NAME.c.json``
            beside ``NAME.so``.
        name: of a shared object: what its function ``NAME_predict`` begins with; None: as the card says.
        trust: load a shared object, which runs the code in it.
        net: a net of the checkpoint's kind, where it was trained as a module that cannot be built again.

    Raises:
        MissingFileError: there is no such file.
        InputError: kdlab did not write it, it is damaged, the net reads a view that no sensor gives, or an argument
            does not belong to the kind of file.

    Example::

        student = kdlab.load("runs/shoulder_watch/student")
        student.predict(windows, channels=["gyroscope_x", "gyroscope_y", "gyroscope_z"])
    """
    check_path("load: run_or_file", run_or_file, 'for example kdlab.load("runs/student")')
    path = Path(run_or_file)
    compiled = path.suffix in SHARED and not path.is_dir()
    exported, folder = path.suffix in FORMATS.values() and not path.is_dir(), is_pretrained(path)
    for argument, given, fits in (
        ("card", card is not None, compiled),
        ("name", name is not None, compiled),
        ("trust", trust, compiled),
        ("net", net is not None, not compiled and not exported and not folder),
    ):
        if given and not fits:
            kind = "a checkpoint" if argument == "net" else "a shared object"
            raise InputError(f"load: {argument} must be left out but for {kind}, but got {str(path)!r}. Leave it out.")
    if folder:
        return of_folder(path)
    if compiled:
        return _shared_object(path, card, name, trust)
    if exported:
        file = export.load(path)
        module = file.module
        if isinstance(module, OnnxModule):  # with as many threads as PyTorch: they wait by spinning
            module = OnnxModule(path, threads=torch.get_num_threads())
        return Student(ModuleForm(module), file.card, path)
    path = find_checkpoint(path, KEPT_FILES, "load")
    described, made = read_net(path, net)
    _warn_of_batches(made)
    return of_net(described, made, f"load: {str(path)!r}", path)


def of_folder(folder: Path) -> Student:
    """The student of a folder of `kdlab.save_pretrained`.

    Raises:
        MissingFileError: a file of it is missing.
        InputError: it is damaged, or the class of its net is not loaded.
    """
    card, net = read_folder(folder)
    scale = card["scale"]
    offset, divisor = (np.array(scale[key], np.float64) for key in ("offset", "divisor"))
    scaler = Scaler(offset, divisor, scale["clip"])
    _warn_of_batches(net)
    return Student(ScaledNet(net, scaler, exact=not rounds_little(offset, divisor)), card, folder)


def _warn_of_batches(net: nn.Module) -> None:
    if is_batch_relational(net):
        rank_zero_warn(f"load: predictions: {warning_of_batches(type(net).__name__)} They cannot be streamed.")


def _shared_object(path: Path, card: str | PathLike[str] | None, name: str | None, trust: bool) -> Student:
    if not path.is_file():
        raise MissingFileError(f"load: must be an existing file, but {str(path)!r} does not exist. Name one.")
    if not trust:
        raise InputError(
            f"load: trust must be True for a shared object, which is code that runs when it is loaded, but got False "
            f"for {str(path)!r}. Pass trust=True if you compiled it."
        )
    if card is None and name is None:
        file = load_compiled(path)
        return Student(ModuleForm(file.module), file.card, path)
    place = path.with_name(f"{path.stem.removeprefix('lib')}.c.json") if card is None else Path(card)
    if not place.is_file():
        raise MissingFileError(
            f"load: card must be the JSON beside the exported file, but {str(place)!r} does not exist. Pass card=."
        )
    content = check_card(read_json(place, "card"), place)
    about = content.get("c")
    known = about.get("function") if isinstance(about, Mapping) else None
    function = (
        str(known) if known and name is None else f"{name or identifier(str(content.get('name', 'student')))}_predict"
    )
    check_library(path, function, content, f"load: {str(path)!r}", place.name)
    shape = tuple(int(n) for n in content["input"]["shape"][1:])
    return Student(ModuleForm(Compiled(path, function, shape, len(content["classes"]))), content, path)


def of_net(described: Mapping[str, Any], net: Backbone, what: str, path: Path | None, remedy: str = _EXPORT) -> Student:
    """The student of a net with its description.

    Args:
        described: as in a checkpoint.
        net: in evaluation mode.
        what: its name in a message.
        path: of its checkpoint, if it has one.
        remedy: what to do where the net reads another source than the first.

    Raises:
        InputError: the net reads another view than the raw signal, or does not fit its description.
    """
    fingerprint = described["fingerprint"]
    source, picked = read_channels(described, what, remedy)
    names, numbers = fingerprint["channels"][source], (fingerprint.get("scale") or {}).get(source)
    window, rate = fingerprint["window"], fingerprint.get("sampling_rate")
    rate = rate.get(source) if isinstance(rate, Mapping) else rate
    axes, classes = [window] if isinstance(window, int) else list(window), [str(c) for c in fingerprint["classes"]]
    axes[-1] = read_samples(described, axes[-1], what)
    if (net.in_channels, net.num_classes) != (len(picked), len(classes)):
        raise InputError(
            f"{what}: the net must read {len(picked)} channels and return {len(classes)} classes, as its description "
            f"does, but has {net.in_channels} and {net.num_classes}. The file is damaged: train it again."
        )
    if described["view"].endswith(PHYSICAL) or numbers is None:
        numbers = {"offset": [0.0] * len(names), "divisor": [1.0] * len(names)}
    offset, divisor = (np.array([numbers[key][c] for c in picked], np.float64) for key in ("offset", "divisor"))
    scaler = Scaler(offset, divisor, bool(numbers.get("clip", False)))
    card = {
        "classes": classes,
        **({"labels": "many"} if trained_on_many(described) else {}),
        "channels": channels_of(described, source, names, None, picked),
        "sampling_rate": rate,
        "window": {"samples": axes[0], "seconds": axes[0] / rate if rate else None} if len(axes) == 1 else {},
        "input": {"name": "windows", "shape": ["batch", len(picked), *axes], "dtype": "float32"},
        "scale": {"offset": offset.tolist(), "divisor": divisor.tolist(), "clip": scaler.clip},
        "provenance": {key: described.get(key) for key in ("method", "net", "view", "view_settings", "provenance")},
    }
    return Student(ScaledNet(net, scaler, exact=not rounds_little(offset, divisor)), card, path)


def read_channels(described: Mapping[str, Any], what: str, remedy: str = _EXPORT) -> tuple[str, list[int]]:
    """The source that the net of a checkpoint reads, and the places of its channels.

    Args:
        described: the description in the checkpoint.
        what: its name in a message.
        remedy: what to do where it reads another source than the first.

    Raises:
        InputError: the net reads another view than the raw signal, or the description does not name its channels.

    >>> known = {"raw": ["x", "y", "z"]}
    >>> read_channels({"view": "raw", "view_settings": "Raw(channels=('z', 0), source=None)", "fingerprint":
    ...     {"channels": known}}, "")
    ('raw', [2, 0])
    """
    settings = described.get("view_settings")
    known: dict[str, list[str]] = described["fingerprint"].get("channels") or {}
    kind, fields = _parsed(settings)
    source, channels = fields.get("source") or next(iter(known), ""), fields.get("channels")
    if kind not in ("Raw", "RawImage"):
        raise InputError(
            f"{what} must read the raw signal, but reads view {described['view']!r} ({settings}), which no sensor "
            "gives. Distil it into a student on the raw signal, and load that."
        )
    if source != next(iter(known), None):
        raise InputError(
            f"{what} must read the first source of its data ({next(iter(known), 'none is named')}), whose window "
            f"length is in the checkpoint, but reads {source!r}. {remedy}"
        )
    names = list(known[source])
    every = list(range(len(names))) if channels is None else list(channels)
    found = [names.index(one) if one in names else one for one in every]
    if not all(type(c) is int and -len(names) <= c < len(names) for c in found):
        raise InputError(
            f"{what}: its view must read channels of {', '.join(names)}, but is {settings}. Train it again."
        )
    return source, [c % len(names) for c in found]


def read_samples(described: Mapping[str, Any], length: int, what: str) -> int:
    """How many of the samples of a window the net of a checkpoint reads.

    Raises:
        InputError: more than there are.

    >>> read_samples({"view_settings": "Raw(channels=None, source=None, samples=100)"}, 1000, "")
    100
    """
    samples = _parsed(described.get("view_settings"))[1].get("samples")
    if samples is None:
        return length
    if type(samples) is not int or not 1 <= samples <= length:
        raise InputError(
            f"{what}: its view must read 1 to {length} samples of a window, but is {described['view_settings']}. Train "
            "it again."
        )
    return samples


def _parsed(settings: str | None) -> tuple[str, dict[str, Any]]:
    """Class and fields of a view as they are printed; no class where it is not of this form.

    >>> _parsed("Raw(channels=(5, 0), source=None)")
    ('Raw', {'channels': (5, 0), 'source': None})
    """
    try:
        call = ast.parse((settings or "").removesuffix(IN_PHYSICAL_UNITS), mode="eval").body
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args:
            return call.func.id, {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    return "", {}
