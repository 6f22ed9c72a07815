"""The threads of a study's rows, measured with steps of their nets before the first job begins."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from kdlab.files import write_text
from kdlab.study.configs import get_value
from kdlab.study.plan import Job, Jobs, title_of
from kdlab.study.thread_speed import candidates, fewest, in_words, step_seconds
from kdlab.study.threads import Threads
from kdlab.study.windows import share
from kdlab.types import InputError

#: makes method and data module of a config file
Build = Callable[[Path], tuple[Any, Any]]
#: seconds for each net and batch: to choose by, and to tell what more threads would bring
CHOOSE, TELL = 3.0, 0.5
#: epochs that are left of a study which is told what more threads would bring; others end sooner than one can use it
MANY = 100


def measured(threads: Threads, jobs: Jobs, done: Mapping[str, Any], build: Build | None, processes: int) -> Threads:
    """The threads of a study with those of its rows, measured with ``--threads measure`` where they are not recorded.

    By default the number stays as it is, and one line for each net and batch tells what more threads would bring.

    Args:
        threads: of the study.
        jobs: of the study.
        done: name of a job that is done -> its row.
        build: makes method and data module of a config file; None: nothing can be measured.
        processes: jobs that run at a time.

    Raises:
        InputError: of a method or data module that cannot be made.
    """
    left = [job for name, job in jobs.items() if name not in done and not job.trial]
    numbers = candidates(processes)
    told = threads.usual and len(numbers) > 1 and _epochs(left) >= MANY
    if build is None or threads.number is None or not (threads.measure or told):
        return threads
    rows, by_net = dict(threads.rows), dict[str, int]()
    for job in left:
        title = title_of(job.run, job.labels)
        if title in rows:
            continue
        if len(numbers) == 1:
            rows[title] = 1
            continue
        key = _kind(job)
        if key not in by_net:
            try:
                seconds = step_seconds(*_net_of(job, build), numbers, CHOOSE if threads.measure else TELL)
            except Exception:
                if threads.measure:
                    raise
                return threads  # the jobs themselves say what is wrong
            by_net[key] = fewest(seconds)
            print(_line(title, seconds, by_net[key], threads.measure))
        rows[title] = by_net[key]
    if not threads.measure:
        return threads
    return replace(threads, rows=rows, recorded=threads.recorded and rows == dict(threads.rows))


def with_threads(jobs: Jobs, threads: Threads) -> Jobs:
    """The jobs with the threads of their rows."""
    return {name: replace(job, threads=threads.of(job)) for name, job in jobs.items()}


def _epochs(jobs: list[Job]) -> int:
    given = [(job.config.get("trainer") or {}).get("max_epochs") for job in jobs]
    return sum(epochs for epochs in given if isinstance(epochs, int) and epochs > 0)


def _kind(job: Job) -> str:
    """What the time of a step depends on in a config: the net, and the windows that it reads."""
    model, data = (get_value(job.config, f"{part}.init_args", {}) for part in ("model", "data"))
    student = "student" in model
    view = model.get("student_view" if student else "view", "raw")
    windows = {name: value for name, value in data.items() if name not in ("views", "seed", "test_subjects")}
    read = [model.get("student" if student else "net"), (data.get("views") or {}).get(view), windows]
    return repr([get_value(job.config, "data.class_path"), *read])


def _net_of(job: Job, build: Build) -> tuple[Any, Any]:
    """A job's method, and a training batch in its view."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job.yaml")
        write_text(path, yaml.safe_dump(job.config, sort_keys=False))
        method, data = build(path)
    share(data, job.config)
    data.setup()
    if method.view not in data.view_names:
        raise InputError(
            f"--threads: the data of {job.name} must have the view {method.view!r} of its net, but have "
            f"{', '.join(data.view_names)}. Add it."
        )
    return method, next(data.batches("train", views=[method.view])).views[method.view]


def _line(title: str, seconds: Mapping[int, float], number: int, chosen: bool) -> str:
    more = f"{seconds[1] / seconds[number]:.1f} times as fast"
    if chosen:
        return f"threads: {number} for {title} and nets like it ({in_words(seconds)})"
    use = f"{number} would be {more} (--threads measure)" if number > 1 else "more would not be faster"
    return f"threads: {title} and nets like it: {in_words(seconds)}: {use}"
