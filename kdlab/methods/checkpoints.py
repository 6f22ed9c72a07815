"""Checkpoints that describe themselves: reading them safely, and finding them in run folders."""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import pickle
import re
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from kdlab.files import one_line, read_yaml
from kdlab.instances import check_path
from kdlab.methods.descriptions import check_description, check_progress, check_weights
from kdlab.nets.base import Backbone, build
from kdlab.nets.recorded import check_made_alike
from kdlab.types import InputError, MissingFileError

#: the key of the description in a checkpoint: net, view, classes, data fingerprint, provenance
KEY = "kdlab"
#: written beside the checkpoints at the end of a fit
FINISHED = "finished.json"
#: the files that a run folder is searched for, in this order: a teacher's peak, or the best epoch
KEPT_FILES = ("teacher.ckpt", "best.ckpt")


def read_checkpoint(path: str | os.PathLike[str], what: str = "checkpoint") -> dict[str, Any]:
    """Read a checkpoint file; tensors and plain values only, so that no code in it can run.

    Args:
        path: the file.
        what: its name in an error message.

    Raises:
        MissingFileError: when it is not there.
        InputError: when it is not a checkpoint, is half-written, or holds anything but tensors and plain values.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(
            f"{what} must be a checkpoint file, but {str(path)!r} does not exist. Name an existing file."
        )
    if not path.is_file():
        raise InputError(f"{what} must be a checkpoint file, but {str(path)!r} is no file. Name the file in it.")
    if path.suffix.lower() in (".yaml", ".yml", ".json", ".csv"):
        raise InputError(
            f"{what} must be a checkpoint file or a run folder, but {str(path)!r} is a {path.suffix} file. Name the "
            "folder of the run (runs/...)."
        )
    try:
        check_archive(path, sums=False)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(loaded, dict) and KEY in loaded:
            check_archive(path)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{what}: {str(path)!r} holds objects other than tensors and plain values, or is no checkpoint at all, and "
            "was not loaded (unpickling such a file could run any code). Save a state dict from a source that you "
            f"trust and pass that. ({_first_line(error)})"
        ) from error
    except Exception as error:  # damaged pickles and archives raise nearly anything
        raise InputError(
            f"{what}: {str(path)!r} cannot be read as a checkpoint; it may be half-written or damaged. Train it again. "
            f"({one_line(error)})"
        ) from error
    if not isinstance(loaded, dict):
        raise InputError(
            f"{what}: {str(path)!r} must hold a dict of weights, but holds {type(loaded).__name__}. Name another file."
        )
    description(loaded, f"{what}: {str(path)!r}")
    return loaded


def check_archive(path: Path, sums: bool = True) -> None:
    """Check that a zip archive is complete and no zip bomb; other kinds of files pass.

    PyTorch reads its archives without comparing check sums, so a flipped bit in a weight would not be found.

    Args:
        path: the file.
        sums: compare check sums, too (PyTorch has an option to write none).

    Raises:
        ValueError: when it is not.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > 100 * path.stat().st_size + 2**20:
            raise ValueError("it unpacks to more than 100 times its size")
        if sums and (damaged := archive.testzip()):
            raise ValueError(f"the check sum of {damaged!r} does not fit")


def _first_line(error: BaseException) -> str:
    return one_line((str(error).splitlines() or [""])[0])


def description(checkpoint: Mapping[str, Any], what: str) -> dict[str, Any] | None:
    """The description in a checkpoint; None when it was not written by kdlab.

    Raises:
        InputError: when the description or the weights are damaged.
    """
    if KEY not in checkpoint:
        return None
    check_description(checkpoint[KEY], what)
    check_weights(checkpoint.get("state_dict"), what)
    check_progress(checkpoint, what)
    described = dict(checkpoint[KEY])
    return {**described, "provenance": described.get("provenance") or {}, "teachers": described.get("teachers") or {}}


def net_of(checkpoint: Mapping[str, Any], what: str, net: Backbone | None = None) -> Backbone:
    """The net of a checkpoint of kdlab, with its weights.

    Args:
        checkpoint: as read.
        what: its name in a message, with its file.
        net: the net to load the weights into; by default it is made from the description.

    Raises:
        InputError: when it cannot be made, or the weights do not fit it.
    """
    described = description(checkpoint, what)
    if described is None:
        raise InputError(f"{what} must be a checkpoint of kdlab, but was not written by kdlab. Train one with kdlab.")
    state = {k.removeprefix("net."): v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")}
    if net is None:
        try:
            net = build(described["net"], state)
        except InputError as error:
            raise InputError(f"{what}: {error}") from error
        assign(net, state, what)
        return net
    assign(net, state, what)
    check_made_alike(described["net"], net.spec, what)
    return net


def assign(net: Backbone, state: Mapping[str, Tensor], what: str) -> None:
    """Load weights into a net.

    Raises:
        InputError: when they do not fit it.
    """
    try:
        net.load_state_dict(state)
    except Exception as error:  # RuntimeError for names and shapes, others for what is no ordinary tensor
        check_not_masked(state, what)
        raise InputError(f"{what}: the weights are not those of {net.spec}. {one_line(error)}") from error


def check_types(net: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights of another type than those of a net, which would be rounded or lose their imaginary part.

    Raises:
        InputError: naming the first of them.
    """
    own = net.state_dict()
    for name, tensor in state.items():
        if name in own and tensor.dtype != own[name].dtype:
            raise InputError(
                f"{what}: weight {name!r} must be of {own[name].dtype}, as in the net, but is of {tensor.dtype}. Write "
                "the file again from the checkpoint, with kdlab export or kdlab.save_pretrained."
            )


def check_not_masked(state: Mapping[str, Tensor], what: str) -> None:
    """Refuse the weights of a net that is being pruned, which are kept apart from their masks.

    Raises:
        InputError: with the line to write.
    """
    masked = [name for name in state if name.endswith("_mask") and f"{name.removesuffix('_mask')}_orig" in state]
    if masked:
        name = masked[0].removesuffix("_mask")
        raise InputError(
            f"{what}: the weights must be pruned for good, but got {name}_orig and {name}_mask in place of {name}. Set "
            "make_pruning_permanent: true of ModelPruning, and save the student after the fit; or call "
            "torch.nn.utils.prune.remove on its layers."
        )


def find_checkpoint(
    path: str | os.PathLike[str], files: Sequence[str], what: str = "checkpoint", finished: bool = True
) -> Path:
    """Resolve a checkpoint file, a version folder or a run folder to one file.

    A run folder resolves to its newest finished version, which is logged.

    Args:
        path: a file, ``runs/<data set>/<run>`` or ``runs/<data set>/<run>/version_k``.
        files: file names to look for, the first that exists is taken.
        what: how to call it in an error message.
        finished: only versions of finished fits (an interrupted one is resumed, not read).

    Raises:
        MissingFileError: when nothing is there; names the command that makes it.
    """
    check_path(what, path, "the name of a checkpoint or run folder, such as runs/scratch")
    path = Path(path)
    try:
        if path.is_file():
            return path
    except OSError as error:  # a name that is too long
        raise MissingFileError(f"{what}: {str(path)[:200]!r} cannot be found ({error.strerror}).") from error
    versions = sorted(path.glob("version_*"), key=_version_number, reverse=True) if path.is_dir() else []
    for folder in versions or [path]:
        for name in files:
            for candidate in (folder / "checkpoints" / name, folder / name):
                if candidate.is_file() and (not finished or _is_final(folder, name)):
                    if versions:
                        rank_zero_info(f"{what}: {path} -> {candidate}")
                    return candidate
    found = f"holds no finished version with one of {', '.join(files)}" if path.is_dir() else "does not exist"
    remedy = _without_best(versions or [path]) or _runs_below(path) or _remedy(path)
    raise MissingFileError(f"{what}: {str(path)!r} {found}. {remedy}")


def _is_final(folder: Path, name: str) -> bool:
    by_hand = not (folder / "config.yaml").is_file()  # not made by the command line, which marks the end
    return name.startswith("teacher") or by_hand or (folder / FINISHED).is_file()


def _runs_below(path: Path) -> str | None:
    """The runs of a folder that holds several, as that of a study does."""
    found = {folder.parent for below in ("*/version_*", "*/*/version_*") for folder in path.glob(below)}
    if not found:
        return None
    shown = ", ".join(folder.as_posix() for folder in sorted(found)[:4])
    return f"It holds {len(found)} runs: name one of them, {shown}{', ...' if len(found) > 4 else ''}."


def _version_number(path: Path) -> int:
    match = re.fullmatch(r"version_(\d+)", path.name)
    return int(match[1]) if match else -1


def _without_best(folders: Sequence[Path]) -> str | None:
    """What to do about a finished fit that chose no best epoch."""
    for folder in folders:
        if (folder / FINISHED).is_file():
            last = folder / "checkpoints" / "last.ckpt"
            if last.is_file():
                return f"Its fit was not validated: name its last epoch, {last}, or train it with validation."
            return "Its fit kept no weights: train it with enable_checkpointing: true, an epoch at least."
    return None


def _remedy(path: Path) -> str:
    parts = [p for p in path.parts if not p.startswith("version_") and p != "checkpoints" and not p.endswith(".ckpt")]
    if len(parts) >= 2:
        folder, name = parts[-2:]
        near = itertools.islice(Path().glob(f"*/{glob.escape(name)}.yaml"), 100)
        for config in (Path("experiments", folder, f"{name}.yaml"), Path(f"{name}.yaml"), *sorted(near)):
            if config.is_file() and _names_run(config, f"{folder}/{name}"):
                return f"Train it first: lightning fit --config {shlex.quote(str(config))}"
    return "Train it first, or name the checkpoint file or run folder that holds it."


def _names_run(config: Path, run: str) -> bool:
    """Whether a config has this ``run``; files that cannot be read have none."""
    try:
        content = read_yaml(config, "--config")
    except (InputError, OSError):
        return False
    return content.get("run") == run


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """A short hash of a state dict's names and exact values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
