"""A net in C behind the call of a module: compiled, or computed by its equations."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdlab.export.c.interpret import run
from kdlab.export.c.ir import Program
from kdlab.export.module import Exported
from kdlab.export.reading import REMEDY, check_card
from kdlab.files import one_line, read_json
from kdlab.types import InputError, MissingFileError

FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC")
_ENDS = (".so", ".dylib", ".dll")
_MARGIN = 2**20  # numbers beyond those of a card, for a library that reads or writes more
_UNWRITTEN = 0x7FC0DEAD  # a NaN that no library writes
_PATIENCE = 300  # seconds for a compiler


class Interpreted(nn.Module):
    """The program in numpy; it computes what the compiled one does, bit for bit."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def forward(self, windows: Tensor) -> Tensor:
        """Logits ``(B, K)`` of windows ``(B, C, T)``; NaN for those that are not finite."""
        parts = [run(self.program, part.float().numpy()) for part in torch.split(windows, 64)]
        return torch.from_numpy(np.concatenate(parts))


class Compiled(nn.Module):
    """A shared library of a net in C.

    Calls hold Python's lock, so that threads of a process take turns, as the static scratch of the library needs.

    Args:
        library: the file.
        function: name of its function.
        shape: channels and samples of a window.
        classes: number of logits.

    Raises:
        InputError: when it cannot be loaded, or has no such function.
    """

    def __init__(self, library: Path, function: str, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
        try:
            self._call: Any = ctypes.PyDLL(str(library.absolute()))[function]
        except (OSError, AttributeError) as error:
            raise InputError(
                f"path: {str(library)!r} must be a shared library of this machine with the function {function}, but is "
                f"not ({one_line(error)}). Compile the exported files: cc {' '.join(FLAGS)} NAME.c -o NAME.so"
            ) from error
        self._call.argtypes, self._call.restype = [ctypes.c_void_p, ctypes.c_void_p], None

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        return self  # it has no state, and a library cannot be copied

    def forward(self, windows: Tensor) -> Tensor:
        """Logits ``(B, K)`` of windows ``(B, C, T)``; NaN for those that are not finite."""
        if tuple(windows.shape[1:]) != self.shape:
            raise InputError(f"windows: must be (B, *{self.shape}), but got {tuple(windows.shape)}. Cut them so.")
        x = np.ascontiguousarray(windows.detach().numpy(), dtype=np.float32)
        logits = np.empty((len(x), self.classes), dtype=np.float32)
        for window, row in zip(x, logits, strict=True):
            self._call(window.ctypes.data, row.ctypes.data)
        return torch.from_numpy(logits)


def compiler() -> list[str] | None:
    """The words that call a C compiler: the variable ``CC``, or cc, gcc or clang; None where there is none."""
    if words := shlex.split(os.environ.get("CC", "")):
        return words if shutil.which(words[0]) else None
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def compile_library(words: list[str], source: Path, library: Path) -> None:
    """Compile a source file, whose header lies beside it.

    Raises:
        InputError: the compiler refuses it.
    """
    try:
        made = subprocess.run(
            [*words, *FLAGS, str(source), "-o", str(library)], capture_output=True, text=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"format='c': the compiler {words[0]!r} does not run ({one_line(error)}). Set CC.") from error
    if made.returncode:
        raise InputError(
            f"format='c': the compiler {words[0]!r} refuses the source ({one_line(made.stderr)}). Set CC to a C99 "
            "compiler, or to none (CC=none), so that the file is checked by its equations alone."
        )


def load(path: str | os.PathLike[str]) -> Exported:
    """A compiled net: a callable like those of `kdlab.export.load`.

    The library is loaded into this process and its code is run, so load only what you compiled yourself. One that was
    compiled from another export than that of the card is refused by its logits of one window.

    Args:
        path: a shared library that was compiled from exported C files, or its folder; the card ``NAME.c.json`` lies in
            the same folder. Of several cards that of the library's name is read (``NAME.so`` or ``libNAME.so``).

    Raises:
        MissingFileError: no library or no card.
        InputError: several of them, or one that does not belong to the other.

    Example::

        student = load("exported/")  # after cc -std=c99 -O2 -shared -fPIC student.c -o student.so
        logits = student(windows)  # (C, T) or (B, C, T), in physical units
    """
    given = Path(path)
    library = _only(given, [p for p in given.iterdir() if p.suffix in _ENDS]) if given.is_dir() else given
    if not library.is_file():
        raise MissingFileError(f"path: must be a shared library or its folder, but got {str(given)!r}. Compile it.")
    cards = list(library.parent.glob("*.c.json"))
    own = [p for p in cards if p.name.removesuffix(".c.json") in (library.stem, library.stem.removeprefix("lib"))]
    place = _only(library, own or cards, "a card (NAME.c.json)")
    card = check_card(read_json(place, "card"), place)
    about = card.get("c")
    if not isinstance(about, dict) or not isinstance(about.get("function"), str):
        raise InputError(f"path: {str(place)!r} must be the card of a net in C, but is not. {REMEDY}.")
    shape = tuple(int(n) for n in card["input"]["shape"][1:])
    check_library(library, about["function"], card, f"path: {str(library)!r}", place.name)
    return Exported(library, card, Compiled(library, about["function"], shape, len(card["classes"])))


def check_library(library: Path, function: str, card: dict[str, Any], what: str, place: str) -> None:
    """Refuse a library that was compiled from another export than that of a card.

    It reads and writes within long rows, since a library of other channels, samples or classes than the card's would
    read or write beyond rows of the card's size.

    Args:
        library: the file.
        function: name of its function.
        card: of an export.
        what: the library, for messages.
        place: the name of the card, for messages.

    Raises:
        InputError: its logits of the card's window are others, or not as many as there are classes. The card of
            another form than C has no such window, so that only their number is checked.
    """
    windows = probe(card).numpy().ravel()
    row = np.zeros(windows.size + _MARGIN, np.float32)
    row[: windows.size] = windows
    found = np.full(_MARGIN, _UNWRITTEN, np.uint32)
    Compiled(library, function, row.shape, _MARGIN)._call(row.ctypes.data, found.ctypes.data)
    written = int(np.flatnonzero(found != _UNWRITTEN).max(initial=-1)) + 1
    if written != len(card["classes"]):
        raise InputError(
            f"{what} must return a logit for each of the {len(card['classes'])} classes of {place}, but returns "
            f"{written}. Pass the card of its own export."
        )
    about = card.get("c")
    if isinstance(about, dict) and about.get("probe") != found[:written].view(np.float32).tolist():
        raise InputError(
            f"{what} was not compiled from the export that {place} describes: its logits are others. Compile it again, "
            "with -std=c99 and without -ffast-math, or pass the card of its own export."
        )


def probe(card: dict[str, Any]) -> Tensor:
    """A window by which a compiled net is known: each channel rises from its offset by two divisors."""
    _, channels, length = card["input"]["shape"]
    offset, divisor = (torch.tensor(card["scale"][key], dtype=torch.float64)[:, None] for key in ("offset", "divisor"))
    rise = torch.linspace(0, 2, length, dtype=torch.float64).expand(channels, length)
    return (offset + divisor * rise)[None].float()


def _only(where: Path, found: list[Path], what: str = "a shared library") -> Path:
    if not found:
        raise MissingFileError(f"path: {str(where)!r} must have {what} beside it, but has none. Compile or move it.")
    if len(found) > 1:
        names = ", ".join(sorted(p.name for p in found))
        raise InputError(f"path: {str(where)!r} must have {what} beside it, but got several ({names}). Name one.")
    return found[0]
