"""How a study ends: by signals, by errors that cannot be written down, and beside another one."""

import multiprocessing
import os
import re
import signal
import sys
import time
import uuid
from pathlib import Path

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from benchmarks.long.kill_study import as_shell
from benchmarks.long.small_study import STUDY, marked, start, write_study
from kdlab import cli
from kdlab.study import ends
from kdlab.study.command import LOCK, main
from kdlab.study.job import attempt, run_job
from kdlab.study.locks import alone
from kdlab.study.run import run_jobs
from kdlab.types import InputError
from tests.conftest import PATIENCE
from tests.test_study import plan, toy, write_row


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def foreground(monkeypatch):
    """As in a terminal: in the background, SIGINT and SIGHUP may be ignored, and children inherit that."""
    old = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


def interrupted_as_lightning_does(*_):
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


def raising(error):
    def runner(*_):
        raise error

    return runner


def sending(number, swallow=False):
    def runner(*_):
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except BaseException:
            if not swallow:
                raise
        raise RuntimeError("the signal did not end it")

    return runner


ENDS = {
    "Ctrl-C in Lightning": (interrupted_as_lightning_does, 130),
    "Ctrl-C": (raising(KeyboardInterrupt()), 130),
    "SIGTERM in Lightning": (raising(SIGTERMException()), 143),
    "SIGINT": (sending(signal.SIGINT), 130),
    "SIGTERM": (sending(signal.SIGTERM), 143),
    "SIGHUP": (sending(signal.SIGHUP), 129),
    "SIGTERM that is swallowed": (sending(signal.SIGTERM, swallow=True), 143),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_signal_ends_the_study_and_fails_no_job(how, here, capsys):
    runner, status = ENDS[how]
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    ran = []

    def counted(words, prepare):
        ran.append(words)
        return runner(words, prepare)

    with pytest.raises(SystemExit) as end:
        main(["study.yaml"], counted, cli.check)
    assert end.value.code == status
    assert len(ran) == 1  # no job begins after the one that was cut
    assert not list(here.rglob("error.txt"))
    assert not list(here.rglob("results.csv"))
    assert capsys.readouterr().err.strip().endswith("ended the study; the same command resumes it.")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


def test_a_single_job_ends_by_a_signal_too(here):
    with pytest.raises(SystemExit) as end:
        main(["study.yaml", "--only", "teacher/shared"], sending(signal.SIGTERM), cli.check)
    assert end.value.code == 143
    assert not list(here.rglob("error.txt"))


def test_a_signal_that_is_ignored_stays_so(here):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup

    def runner(*_):
        os.kill(os.getpid(), signal.SIGHUP)
        raise RuntimeError("went on")

    with pytest.raises(SystemExit, match="5 of 5 jobs have no result"):
        main(["study.yaml"], runner, cli.check)
    assert "went on" in next(here.rglob("error.txt")).read_text()


def test_a_signal_waits_while_processes_are_started():
    after = []

    def begin():
        with ends.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            after.append("not cut")
        after.append("too late")

    with ends.ending_by_signals(), pytest.raises(ends.Ended) as end:
        begin()
    assert end.value.status == 143
    assert after == ["not cut"]


def test_an_exit_of_its_own_is_a_failure_of_the_job(here):
    row, error = attempt(plan(here / "study.yaml")["teacher/shared"], raising(SystemExit(2)))
    assert row is None
    assert error == "the command line ended with 2"


def test_a_study_survives_an_error_that_it_cannot_write_down(here):
    jobs = plan(here / "study.yaml")
    (jobs["scratch/seed0"].folder / "error.txt").mkdir(parents=True)
    blocked = jobs["scratch/seed1"].folder  # its folder cannot even be made
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file")
    outcome = run_jobs(jobs, raising(ValueError("exploded")))
    assert len(outcome.failures) == 5
    assert re.fullmatch(
        r"ValueError: exploded \(error.txt cannot be written: .*Is a directory.*\)", outcome.failures["scratch/seed0"]
    )
    assert "error.txt cannot be written" in outcome.failures["scratch/seed1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--root", "file"], r"^kdlab study: 'file/.*A folder is needed there.*another folder with --root\.$"),
        (
            ["--root", "file/below"],
            r"^kdlab study: .*Not a directory\. A folder is needed.*with --root\.$",
        ),
        (["--root", "x" * 300], r"^kdlab study: .*too long.*Shorten"),
        (["--root", "file", "--only", "teacher/shared"], r"^teacher/shared: .*"),
        (["--dry-run", "--root", "/dev/null/x"], None),
    ],
)
def test_what_the_system_refuses_is_one_line(words, message, here, monkeypatch):
    Path("file").write_text("in the way")
    if message is None:  # nothing is written
        main(["study.yaml", *words], raising(AssertionError()), cli.check)
        return
    with pytest.raises(InputError, match=message) as refused:
        main(["study.yaml", *words], raising(AssertionError()), cli.check)
    assert "\n" not in str(refused.value)


def test_a_full_disk_is_one_line(here, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdlab.study.command.execute", full)
    with pytest.raises(InputError, match=r"No space left on device\. Free some space") as refused:
        main(["study.yaml"], raising(AssertionError()), cli.check)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"scratch": {"s" * 256: {"config": "supervised.yaml"}}},
        {"scratch": {"ü" * 128: {"config": "supervised.yaml"}}},
        {
            "axes": {"a" * 100: {"b" * 100: {}}, "c" * 50: {"d" * 50: {}}},
            "scratch": {"scratch": {"config": "supervised.yaml", "axes": ["a" * 100, "c" * 50]}},
        },
        {"study": f"toy/{'s' * 256}"},
    ],
)
def test_names_that_no_folder_can_have_are_refused(changes, tmp_path):
    with pytest.raises(
        InputError, match=r"must be at most 255 bytes long, but got \d+: .*Shorten the names"
    ) as refused:
        plan(toy(tmp_path, **changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "a\x1bb"])
def test_names_that_cannot_be_printed_are_refused(name, tmp_path):
    with pytest.raises(InputError, match="the name of a run is that of a folder"):
        plan(toy(tmp_path, scratch={name: {"config": "supervised.yaml"}}))


# ---------------------------------------------------------------------- two at the same time
def test_of_two_identical_studies_one_says_so(here, capsys):
    folder = here / "runs/toy/study"
    folder.mkdir(parents=True)
    said = rf"^runs/toy/study: another process runs this study \(process {os.getpid()} on "
    with alone(folder / LOCK, "here", "study"), pytest.raises(InputError, match=said):
        main(["study.yaml"], raising(AssertionError()), cli.check)
    assert [path.name for path in folder.iterdir()] == [LOCK]
    main(["study.yaml", "--dry-run"], raising(AssertionError()), cli.check)  # looking is free
    with pytest.raises(SystemExit):  # the file that is left blocks nobody
        main(["study.yaml"], raising(ValueError("began")), cli.check)
    assert "FAILED: ValueError: began" in capsys.readouterr().out


def test_a_process_that_was_forked_does_not_hold_the_lock(tmp_path):
    """As the workers of a loader do, which outlive a parent that was killed by seconds."""
    context = multiprocessing.get_context("fork")
    with alone(tmp_path / "lock", "first", "job"):
        child = context.Process(target=time.sleep, args=(60,))
        child.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with alone(tmp_path / "lock", "second", "job"):
                    break
            except InputError:
                assert time.monotonic() < deadline, "the child still holds it"
                time.sleep(0.05)
        assert child.is_alive()
    finally:
        child.kill()
        child.join()


def test_a_job_that_another_study_does_meanwhile_is_not_done_twice(here):
    job = plan(here / "study.yaml")["teacher/shared"]
    job.folder.mkdir(parents=True)
    with alone(job.folder / "lock", "here", "job"):
        row, error = attempt(job, raising(AssertionError()))
    assert row is None
    assert "another process runs this job" in error
    write_row(job)
    assert run_job(job, raising(AssertionError()))["job"] == job.name  # done by then


# ---------------------------------------------------------------------- real processes
def kill(folder, number, results, *words, group=False):
    """Start a study, wait until it has so many results, send a signal; its exit status, and what is left of it."""
    mark = uuid.uuid4().hex
    process = start(folder, *words, mark=mark)
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob("runs/**/result.json"))) < results:
        assert process.poll() is None, (folder / "log.txt").read_text()
        assert time.monotonic() < deadline, "no result in time"
        time.sleep(0.02)
    (os.killpg if group else os.kill)(process.pid, number)
    status = as_shell(process.wait(PATIENCE))
    while (left := marked(mark)) and time.monotonic() < deadline:  # Python ends its tracker a moment later
        time.sleep(0.1)
    return status, left


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for left processes in /proc")
def test_ended_by_signals_and_run_again_gives_the_same_table(tmp_path, monkeypatch, one_thread):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # sums over several threads may differ in their last bits
    folder = tmp_path / "killed"
    write_study(folder, seeds=2, epochs=2)
    assert kill(folder, signal.SIGINT, 1, "--jobs", "2", group=True) == (130, [])
    assert kill(folder, signal.SIGTERM, 3) == (143, [])
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/**/result.json")}
    assert len(before) in (3, 4, 5)  # it was told when there were three
    assert not list(folder.rglob("error.txt"))
    for name in ("killed", "whole"):
        write_study(tmp_path / name, seeds=2, epochs=2)
        monkeypatch.chdir(tmp_path / name)
        main(["study.yaml"], cli.run, cli.check)
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    tables = [(tmp_path / name / "runs" / STUDY / "results.csv").read_bytes() for name in ("killed", "whole")]
    assert tables[0] == tables[1]
    assert len(tables[0].splitlines()) == 6
    assert not list(folder.rglob(".kdlab-part-*"))
