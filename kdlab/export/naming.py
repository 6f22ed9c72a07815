"""The names of exported files: a student is called by its run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from kdlab.export.c.text import identifier
from kdlab.export.evidence import JOB
from kdlab.export.formats import FORMATS
from kdlab.export.pretrained import FORMAT as PRETRAINED
from kdlab.export.pretrained import check_free
from kdlab.methods.checkpoints import KEPT_FILES
from kdlab.types import InputError

ONE_PERSON = "one_person"  # a fold that is called after its one test person


def run_name(checkpoint: Path) -> str:
    """The run that a checkpoint belongs to, or else the file's stem.

    >>> run_name(Path("runs/basic_motions/tpkd/version_0/checkpoints/best.ckpt")), run_name(Path("mine.ckpt"))
    ('tpkd', 'mine')
    """
    return _run(checkpoint) or checkpoint.stem


def shown_file(path: str | PathLike[str]) -> str:
    """A checkpoint as cards name it: its run and its name, without folders, which may be called after people.

    >>> shown_file("/home/anna/runs/demo/tpkd/subjectP7-seed0-0123456789/version_0/checkpoints/best.ckpt")
    'tpkd-one_person-seed0/best.ckpt'
    """
    path = Path(path)
    run = _run(path)
    return f"{run}/{path.name}" if run else path.name


def _run(checkpoint: Path) -> str:
    folder = checkpoint.parent
    ours = folder.name == "checkpoints" or (folder / "config.yaml").is_file()
    if folder.name == "checkpoints":
        folder = folder.parent
    if folder.name.startswith("version_"):
        folder, ours = folder.parent, True
    if not ours or folder.name in ("", "lightning_logs"):  # Lightning's own folder of all runs
        return ""
    job = JOB.fullmatch(folder.name)  # of a study: <run>/<fold, seed>-<key>
    fold = (job and job["fold"]) or ""
    if job and (fold.startswith("subject") or (folder / "job.yaml").is_file()):
        parts = (folder.parent.name, ONE_PERSON if fold.startswith("subject") else fold, job["seed"])
        return "-".join(part for part in parts if part)
    return folder.name


def file_stem(checkpoint: Path) -> str:
    """What an exported file is called: the run, and of a checkpoint that is not the one of its run, that one too.

    >>> file_stem(Path("runs/basic_motions/tpkd/version_0/checkpoints/last.ckpt"))
    'tpkd.last'
    """
    run, folder = _run(checkpoint), checkpoint.parent
    own = next((name for name in KEPT_FILES if (folder / name).is_file()), KEPT_FILES[-1])
    return f"{run}.{checkpoint.stem}" if run and checkpoint.name != own else run or checkpoint.stem


@dataclass(frozen=True)
class CFiles:
    """The files of a net in C.

    Attributes:
        name: C identifier of the net.
        source, header: ``.c`` and ``.h``.
        self_test: the program that checks them; None: it is not written.
    """

    name: str
    source: Path
    header: Path
    self_test: Path | None


def c_files(name: str | None, checkpoint: Path | None, target: Path, self_test: bool) -> CFiles:
    """The files beside a source file, and the name of the net: as given, or of its run, or of the file.

    Raises:
        InputError: a name that no C identifier can be made of, or that no ``#include`` can hold.
    """
    words = name if name is not None else run_name(checkpoint.absolute()) if checkpoint is not None else target.stem
    if not re.fullmatch(r"[\w.+ -]+", target.stem, re.ASCII):
        raise InputError(
            f"path: must be called by letters, digits and _.+- for format 'c', whose source includes its header, but "
            f"got {target.name!r}. Pass path= (--output)."
        )
    return CFiles(identifier(words), target, target.with_suffix(".h"), _self_test(target) if self_test else None)


def _self_test(target: Path) -> Path:
    return target.with_name(f"{target.stem}_self_test.c")


def target_of(
    checkpoint: Path | None,
    path: str | PathLike[str] | None,
    format: str,
    quantize: str | None,
    again: bool,
    name: str | None = None,
) -> Path:
    """The file to write.

    Args:
        checkpoint: what is exported; None: a net of this process.
        path: as given.
        format: of the file.
        quantize: likewise.
        again: replace a file that is there.
        name: of a net in C, whose files are called by it.

    Raises:
        InputError: for a path with another suffix, none where none can be made, and files that are there already.
    """
    suffix = FORMATS[format]
    if path is not None:
        target = Path(path)
        if target.suffix != suffix and format != PRETRAINED:
            raise InputError(f"path: must end in {suffix} for format {format!r}, but got {str(path)!r}. Rename it.")
    elif checkpoint is not None:
        stem = file_stem(checkpoint.absolute())
        kind = f".{quantize}" if quantize else ""
        words = identifier(stem if name is None else name) if format == "c" else f"{stem}{kind}"  # all C is int8
        target = checkpoint.with_name(f"{words}{suffix}")
    else:
        raise InputError(f"path: must name the file where no checkpoint does, but got None. Pass 'student{suffix}'.")
    if format == PRETRAINED:
        check_free(target, again)
        return target
    beside = (target.with_suffix(".h"), _self_test(target)) if format == "c" else ()
    taken = [str(p) for p in (target, target.with_name(f"{target.name}.json"), *beside) if p.exists()]
    if taken and not again:
        raise InputError(f"path: {', '.join(taken)} exists. Pass overwrite=True (--overwrite), or another path.")
    return target
