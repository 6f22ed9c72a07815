"""Compare what two versions of kdlab do: ``python benchmarks/long/compare_versions.py BEFORE AFTER``.

Each side is a folder with a checkout of kdlab, or a record of one that ``--record CHECKOUT --out FILE`` wrote. A
checkout is recorded part by part, each in a process of its own in which that checkout's kdlab is imported:

- ``configs``: what ``--print_config`` says of every run below ``experiments``, composed as its users do;
- ``signatures``: arguments, defaults and types of all public classes and functions;
- ``terms``: the terms of every objective and their gradients, on fixed outputs of student and teachers;
- ``fits``: one short seeded fit of every method: curves, final weights, test metrics, keys of its checkpoint.

The records are kept below ``--folder``, the differences are printed, and the status is 1 where there are any, or where
something could not be recorded. Changes that are meant are named with ``--ignore``: ``Class.argument`` or ``Class.*``
in configs and signatures, ``Class`` for the terms and fits of a method. They are printed as announced and do not count.
Takes minutes for each checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__:
    from .versions import differences
else:
    from versions import differences

HERE = Path(__file__).resolve().parent
PARTS = ("configs", "signatures", "terms", "fits")


def record(
    checkout: Path, folder: Path, parts: Sequence[str] = PARTS, earlier: dict[str, Any] | None = None
) -> dict[str, Any]:
    """``{part: {name: value}}`` of a checkout.

    Args:
        checkout: the folder of the checkout.
        folder: where each part's record goes.
        parts: some of them.
        earlier: the record of an earlier version, whose runs and public names are looked for; its own by default.
    """
    checkout, folder = checkout.resolve(), folder.resolve()
    if not (checkout / "kdlab/__init__.py").is_file():
        raise SystemExit(f"error: {checkout} is neither a checkout of kdlab nor a record of one.")
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for part in parts:
        begin, out = time.monotonic(), folder / f"{part}.json"
        words = ["--checkout", str(checkout), "--out", str(out)]
        if part in ("configs", "signatures") and earlier and part in earlier:
            asked = folder / "asked.json"
            asked.write_text(json.dumps(list(earlier[part])), encoding="utf-8")
            words += ["--asked", str(asked)]
        _run([part, *words], checkout)
        found[part] = json.loads(out.read_text(encoding="utf-8"))
        print(f"{checkout.name}: {len(found[part])} {part} in {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return found


def _run(words: Sequence[str], checkout: Path) -> None:
    path = os.pathsep.join([str(checkout), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    command = [sys.executable, "-m", "versions", *words]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {words[0]} of {checkout} could not be recorded.\n{done.stderr[-3000:]}")


def side(given: Path, folder: Path, parts: Sequence[str], earlier: dict[str, Any] | None = None) -> dict[str, Any]:
    """The record of a side: read where it is a file, made where it is a checkout."""
    if given.is_file():
        kept: dict[str, Any] = json.loads(given.read_text(encoding="utf-8"))
        return {part: kept[part] for part in parts if part in kept}
    made = record(given, folder / "parts", parts, earlier)
    _write(folder / "record.json", made)
    return made


def _write(file: Path, made: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def report(before: dict[str, Any], after: dict[str, Any], ignore: Sequence[str] = ()) -> int:
    """Print where two records differ; the status, 1 where something counts."""
    found = differences.compare(before, after, ignore)
    for line in differences.lines(found):
        print(line)
    for part in before:
        counts = Counter(d.kind for d in found if d.part == part)
        said = ", ".join(f"{counts[kind]} {kind}" for kind in differences.KINDS if counts[kind]) or "no difference"
        compared = f"{len(before[part])} and {len(after[part])} records" if part in after else "only one side has it"
        print(f"{part}: {compared}: {said}")
    missing = set(before) ^ set(after)
    return int(bool(missing) or any(d.kind in differences.COUNTED for d in found))


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sides", nargs="*", type=Path, metavar="CHECKOUT_OR_RECORD", help="before and after")
    parser.add_argument("--record", type=Path, metavar="CHECKOUT", help="record one checkout into --out and end")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--earlier", type=Path, metavar="RECORD", help="with --record: look for what this one names")
    parser.add_argument("--folder", type=Path, default=Path("runs/compare_versions"), help="where records go")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--ignore", nargs="+", default=[], metavar="CLASS[.ARGUMENT]", help="what is meant to change")
    given = parser.parse_args(words)
    if given.record is not None:
        if given.out is None or given.sides:
            parser.error("--record takes --out FILE and no sides")
        earlier = json.loads(given.earlier.read_text(encoding="utf-8")) if given.earlier else None
        _write(given.out, record(given.record, given.folder / "recorded", given.parts, earlier))
        return 0
    if len(given.sides) != 2:
        parser.error("name two sides, before and after")
    before = side(given.sides[0], given.folder / "before", given.parts)
    after = side(given.sides[1], given.folder / "after", given.parts, before)
    return report(before, after, given.ignore)


if __name__ == "__main__":
    sys.exit(main())
