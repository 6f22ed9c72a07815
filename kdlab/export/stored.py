"""What an exported file holds: its card, its weights, and the program that runs it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.export.formats import CARD, FORMATS, INPUT, KEY, OUTPUT, need, quiet
from kdlab.export.reading import REMEDY, check_card, check_program
from kdlab.files import MOST_BYTES, one_line
from kdlab.methods.checkpoints import check_archive
from kdlab.types import InputError, MissingFileError


def read_card(path: Path) -> dict[str, Any]:
    """The card inside an exported file.

    Raises:
        InputError: when there is none, so kdlab did not export it.
    """
    if not path.is_file():
        raise MissingFileError(f"path: must be an exported file, but got {str(path)!r}. Name a file.")
    try:
        card = json.loads(_card_text(path))
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly anything
        raise _foreign(path) from error
    if not isinstance(card, dict) or "input" not in card or "channels" not in card:
        raise _foreign(path)
    return check_card(card, path)


def _card_text(path: Path) -> Any:
    if path.suffix == FORMATS["torch"]:
        return read_weights(path)[KEY]
    if path.suffix == FORMATS["torch.export"]:
        with zipfile.ZipFile(path) as archive:
            entry = next(one for one in archive.infolist() if one.filename.endswith(f"extra/{CARD}"))
            return archive.read(entry).decode() if entry.file_size < MOST_BYTES else None
    (onnx,) = need(f"path={path.name!r}", "onnx")
    properties = onnx.load(path, load_external_data=False).metadata_props
    return next(entry.value for entry in properties if entry.key == KEY)


def read_weights(path: Path) -> dict[str, Any]:
    """Card and weights in a ``.pt``: tensors and words only, with check sums that fit.

    Raises:
        ValueError: when they are not; and whatever else PyTorch raises for a damaged file.
    """
    check_archive(path)
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise ValueError(f"it holds a {type(loaded).__name__}")
    return loaded


def _foreign(path: Path) -> InputError:
    return InputError(
        f"path: {str(path)!r} carries no card, so kdlab export did not write it, or it is damaged. {REMEDY}."
    )


def read_program(path: Path) -> nn.Module:
    """What a ``.pt2`` runs.

    Raises:
        InputError: when it is damaged, or holds more than tensors and ATen operations.
    """
    check_program(path)
    try:
        with quiet():
            program: nn.Module = torch.export.load(path).module()
    except Exception as error:  # torch raises whatever a damaged program makes it raise
        raise InputError(f"path: {str(path)!r} cannot be read as a program ({one_line(error)}). {REMEDY}.") from error
    return program


class OnnxModule(nn.Module):
    """An ONNX file behind the call of a module, on the CPU.

    Args:
        path: the file; one input, one output.
        threads: of one call; 0: the runtime's default.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        super().__init__()
        (runtime,) = need(f"path={path.name!r}", "onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self.path, self.threads = path, threads
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of classes of its own
            raise InputError(f"path: {str(path)!r} cannot be run ({one_line(error)}). {REMEDY}.") from error
        names = [part.name for part in (*self.session.get_inputs(), *self.session.get_outputs())]
        if names != [INPUT, OUTPUT]:
            raise InputError(f"path: {str(path)!r} must read {INPUT} and return {OUTPUT}, but has {names}. {REMEDY}.")

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxModule:
        return self  # a session cannot be copied and has no state; its file may have been replaced

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of windows ``(B, C, T)`` or images ``(B, C, H, W)``."""
        return torch.from_numpy(self.session.run([OUTPUT], {INPUT: windows.numpy()})[0])
