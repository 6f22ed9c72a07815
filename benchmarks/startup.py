"""What it costs to start: ``python -m benchmarks.startup [--study FILE] [--rounds 3] [--nets]``.

Seconds of the processor, each the best of several processes, over what the process imports anyway, and as a share of
``import torch, lightning.pytorch, torchmetrics``, since machines differ. Python's compiled files are written by the
first process where they are not there yet. ``--study`` adds ``kdlab study FILE
--dry-run`` beyond ``import kdlab`` and one reading of the data; ``--nets`` adds ``kdlab nets``.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile

LIBRARIES = "import torch, lightning.pytorch, torchmetrics"
KDLAB = "from kdlab import TPKD"
COMMAND = "import sys; from kdlab import cli; sys.argv = ['kdlab', *sys.argv[1:]]; cli.main()"
READ = "from kdlab.study.plan import Study; from kdlab.study.windows import make_data; import sys; "
READ += "study = Study.read(sys.argv[2]); make_data(next(iter(study.runs.values())).config)"


def seconds(words: list[str], rounds: int) -> float:
    """Processor time of ``python -c`` with these words, with compiled files: the least of several processes."""
    found = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _run(words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def seconds_after(first: str, then: str, words: list[str], rounds: int) -> float:
    """Processor time of some code after other code in a process: the least of several."""
    clock = "import sys as _s, time as _t, atexit as _a"
    end = "_a.register(lambda: print(_t.process_time() - begun, file=_s.stderr))"
    code = f"{clock}; {first}; begun = _t.process_time(); {end}; {then}"
    return min(float(_run([code, *words]).strip().splitlines()[-1]) for _ in range(rounds))


def _run(words: list[str]) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", *words], env=environment, check=True, text=True, capture_output=True)
    return done.stderr


def main(words: list[str] | None = None) -> list[tuple[str, float, float | None]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", help="a study file whose data are there")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind (default: 3)")
    parser.add_argument("--nets", action="store_true", help="measure kdlab nets, too")
    given = parser.parse_args(words)

    def took(*words: str) -> float:
        return seconds(list(words), given.rounds)

    nothing, torch, libraries = took("pass"), took("import torch"), took(LIBRARIES)
    rows: list[tuple[str, float, float | None]] = [
        *((" ".join(["kdlab", *more]), took(COMMAND, *more), 1.0) for more in (["--help"], ["--version"])),
        ("kdlab study --help", took(COMMAND, "study", "--help"), 1.0),
        (
            "import kdlab.functional, over torch",
            seconds_after("import torch", "import kdlab.functional", [], given.rounds),
            0.5,
        ),
        (
            "methods of kdlab, over torch + lightning + torchmetrics",
            seconds_after(LIBRARIES, KDLAB, [], given.rounds),
            0.7,
        ),
    ]
    if given.study is not None:
        with tempfile.TemporaryDirectory() as root:
            options = ["study", given.study, "--dry-run", "--root", root]
            dry = seconds_after(f"{KDLAB}; {READ}", COMMAND, options, given.rounds)
        rows.append((f"kdlab study {given.study} --dry-run, over kdlab and its data", dry, 2.0))
    if given.nets:
        rows.append(("kdlab nets", took(COMMAND, "nets"), 20.0))
    print(f"python {nothing:.2f} s, torch {torch:.2f} s, torch + lightning + torchmetrics {libraries:.2f} s\n")
    print("| what | seconds | of the libraries | at most |\n| --- | ---: | ---: | ---: |")
    for name, found, most in rows:
        print(f"| {name} | {found:.2f} | {found / libraries:.2f} | {most:g} s |")
    return rows


if __name__ == "__main__":
    main()
