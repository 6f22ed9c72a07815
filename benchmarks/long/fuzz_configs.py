"""Damaged run configs of all data sets through the command line: each is refused in one line, or runs.

``python -m benchmarks.long.fuzz_configs --cases 500 --seed 0``: ten kinds of damage, in turn, in one process; small
data in the official layouts of the data sets (those that the tests use); every accepted config fits one batch. A fault
is an error that is not one line, a file that a refused command left behind, or a refusal after more than five seconds
of processor time. Exit status 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.long.mutations import KINDS, Case, Config
from kdlab import cli
from kdlab.configs import read_config, stack
from kdlab.study.configs import set_value
from tests.configs import CONFIGS, configs_of, make_laboratory, words_of

LIMIT_S = 5.0  # processor time of a refusal
FIT_S = 10.0  # and so much more of an accepted config, which trains and validates a batch
LONGEST = 1000  # characters of a refusal's last line
TRAINER = {
    "max_epochs": 1,
    "limit_train_batches": 1,
    "limit_val_batches": 1,
    "limit_test_batches": 1,
    "limit_predict_batches": 1,
    "num_sanity_val_steps": 0,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@dataclass
class Result:
    """What became of a case."""

    case: Case
    config: str
    outcome: str  # refused, accepted or fault
    said: str
    seconds: float


class Overtime(BaseException):
    """A case took more than its processor time."""


def base_config(name: str) -> Config:
    """A shipped config as one mapping, with the small nets and the small data of the tests."""
    words = words_of(name)
    files = [words[i + 1] for i, word in enumerate(words) if word == "--config"]
    config = stack(read_config(Path(file), name) for file in files)
    for word in words:
        key, equals, value = word.removeprefix("--").partition("=")
        if equals:
            set_value(config, key, yaml.safe_load(value))
    config["trainer"] = {**config.get("trainer", {}), **TRAINER}
    if name.startswith("imagenet/"):  # torch 2.13 ends in a segmentation fault on these tiny images in channels_last
        config["model"]["init_args"]["memory_format"] = "contiguous"
    return config


def train_teachers(names: Sequence[str]) -> None:
    """Fit every teacher that the configs may name, in the laboratory, where that is not done."""
    folders = sorted({name.split("/")[0] for name in names})
    for name in configs_of(*folders):
        needed = name.split("/")[1].startswith("teacher") or "/scratch" in name
        if needed and not any(Path("runs", name).glob("version_*/finished.json")):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "config.yaml")
                file.write_text(yaml.safe_dump(base_config(name), sort_keys=False), encoding="utf-8")
                with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                    cli.run(["fit", "--config", str(file)])


def fuzz(names: Sequence[str], cases: Sequence[int], seed: int) -> Iterator[Result]:
    """Run cases in the working directory, a laboratory; each kind in turn, each with a config that is drawn."""
    kept = _files(Path())
    for i in cases:
        rng = random.Random(f"{seed}/{i}")
        name = rng.choice(list(names))
        case = KINDS[i % len(KINDS)](base_config(name), rng)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "config.yaml")
            file.write_bytes(case.content)
            words = [*case.command, str(file), *(word.replace("FILE", str(file)) for word in case.words)]
            outcome, said, seconds = run(words)
        left = sorted(set(_files(Path()).items()) ^ set(kept.items()))
        if outcome == "refused" and left:
            outcome, said = "fault", f"left {left[0][0]} behind, after: {said}"
        _clean(kept)
        yield Result(case, name, outcome, said, seconds)


def run(words: Sequence[str]) -> tuple[str, str, float]:
    """One command in this process, as a shell would run it: what became of it, its last line, processor time."""
    out = io.StringIO()
    begin = time.process_time()
    argv, sys.argv = sys.argv, ["kdlab", *words]
    try:
        with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out), _limit():
            cli.main()
        outcome, said = "accepted", ""
    except SystemExit as end:
        outcome, said = _judge(end, out.getvalue())
    except Overtime:
        outcome, said = "fault", f"more than {LIMIT_S:g} s"
    except BaseException as error:
        outcome, said = "fault", "".join(traceback.format_exception(error)[-3:])
    finally:
        sys.argv = argv
    seconds = time.process_time() - begin
    if seconds > LIMIT_S + FIT_S * (outcome == "accepted"):
        return "fault", f"{seconds:.1f} s", seconds
    return outcome, said, seconds


def _judge(end: SystemExit, text: str) -> tuple[str, str]:
    """A refusal is one line, and has a status other than 0."""
    if end.code in (None, 0):
        return "accepted", ""
    if isinstance(end.code, str):
        text += end.code
        if "\n" in end.code:
            return "fault", f"more than one line: {end.code}"
    last = text.strip().splitlines()[-1] if text.strip() else ""
    if "Traceback (most recent call last)" in text:
        return "fault", f"a traceback: {text[-600:]}"
    if "error: " not in last or len(last) > LONGEST:
        return "fault", f"no reason in the last line: {last[:LONGEST]}"
    if ": the fit diverged in epoch" in last:  # the config is valid, and its fit began
        return "accepted", last
    return "refused", last


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Overtime

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S + FIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    found = (p for p in folder.rglob("*") if not p.is_symlink() and p.parts[0] not in ("experiments", "data"))
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) if p.is_file() else (0, 0) for p in found}


def _clean(kept: dict[str, Any]) -> None:
    """Remove what an accepted case has written."""
    for name in sorted(set(_files(Path())) - set(kept)):
        path = Path(name)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def table(results: Sequence[Result]) -> str:
    """Kinds and what became of them."""
    rows = [f"{'kind':14} {'cases':>5} {'refused':>7} {'accepted':>8} {'faults':>6} {'slowest':>7}"]
    kinds = dict.fromkeys(result.case.kind for result in results)
    for kind in [*kinds, "all"]:
        mine = [r for r in results if kind in (r.case.kind, "all")]
        counts = [sum(r.outcome == outcome for r in mine) for outcome in ("refused", "accepted", "fault")]
        slowest = max(r.seconds for r in mine)
        rows.append(f"{kind:14} {len(mine):5} {counts[0]:7} {counts[1]:8} {counts[2]:6} {slowest:6.1f}s")
    return "\n".join(rows)


def main(words: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--laboratory", help="folder for data and teachers, made where it is absent (default: temporary)"
    )
    parser.add_argument("--only", nargs="*", help="data sets (default: all)")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    options = parser.parse_args(words)
    warnings.simplefilter("ignore")
    names = [name for name in CONFIGS if not options.only or name.split("/")[0] in options.only]
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.laboratory or temporary)
        new = not (folder / "experiments").exists()
        folder.mkdir(exist_ok=True)
        os.chdir(make_laboratory(folder) if new else folder)
        train_teachers(names)
        for i, result in enumerate(fuzz(names, range(options.begin, options.begin + options.cases), options.seed)):
            results.append(result)
            if options.verbose or result.outcome == "fault":
                print(
                    f"{options.begin + i} {result.outcome} {result.seconds:.1f}s {result.config} {result.case.kind}: "
                    f"{result.case.what:.120} -> {result.said}",
                    flush=True,
                )
        os.chdir("/")
    print(table(results))
    if any(result.outcome == "fault" for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
