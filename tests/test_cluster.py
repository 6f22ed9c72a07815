"""A study on a cluster: its stages, its arrays, and jobs that are cut, put back, or fail."""

import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit
import yaml
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.fabric.utilities.rank_zero import _get_rank

from kdlab import cli, slurm, usage
from kdlab.study.cluster import queue
from kdlab.study.cluster import submit as submitting
from kdlab.study.cluster.element import Element
from kdlab.study.cluster.left import Left
from kdlab.study.cluster.settings import read_slurm
from kdlab.study.cluster.stages import chunks, stages_of
from kdlab.study.command import main
from kdlab.study.plan import Study
from kdlab.study.planned import plan
from kdlab.types import InputError
from tests.conftest import PATIENCE, REPOSITORY
from tests.test_cut import Cut, cut_at
from tests.test_study import toy

SETTINGS = {
    "partition": "gpu",
    "gres": "gpu:1",
    "time": "90m",
    "cpus_per_task": 4,
    "mem": "16G",
    "setup": ["module load cuda"],
    "at_once": 8,
    "more": {"exclude": "node 7"},
}
#: SLURM's commands, which keep what they are given in $SLURM_STANDS
STANDS = {
    "srun": "",
    "sbatch": """
if [ -f "$SLURM_STANDS/full" ] && [ "$(ls "$SLURM_STANDS"/*.sh 2>/dev/null | wc -l)" -ge 2 ]; then
  echo "sbatch: error: Batch job submission failed: Job violates accounting policy" >&2; exit 1
fi
number=$((100 + $(ls "$SLURM_STANDS"/*.sh 2>/dev/null | wc -l)))
cp "$1" "$SLURM_STANDS/$number.sh"
echo "Submitted batch job $number"
""",
    "scontrol": """
echo "$*" >> "$SLURM_STANDS/scontrol.txt"
if [ "$1" = show ]; then echo "MaxArraySize            = 4"; fi
""",
    "squeue": 'cat "$SLURM_STANDS/queue.txt"',
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SUBMITIT_")):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def stands(here, monkeypatch):
    """SLURM's commands on the path, and the folder of what they were given."""
    folder, kept = here / "bin", here / "kept"
    folder.mkdir()
    kept.mkdir()
    (kept / "queue.txt").write_text("")
    for name, text in STANDS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STANDS", str(kept))
    return kept


def scripts_of(kept):
    """Number of a SLURM job -> the options of its script."""
    found = {}
    for path in sorted(kept.glob("*.sh")):
        options = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", path.read_text(), re.MULTILINE)
        found[path.stem] = dict(options)
    return found


def words_of(folder, number):
    """The commands of an array, by the pickles that its elements read."""
    elements = [
        pickle.loads(path.read_bytes()).function
        for path in sorted(folder.glob(f"{number}_[0-9]*_submitted.pkl"), key=lambda path: int(path.name.split("_")[1]))
        or [folder / f"{number}_submitted.pkl"]
    ]
    return [element.words for element in elements]


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


# ---------------------------------------------------------------- stages
def made_up(**jobs):
    return {name: SimpleNamespace(name=name, stage=stage, needs=needs) for name, (stage, *needs) in jobs.items()}


def test_stages_wait_for_what_they_need_alone():
    jobs = made_up(
        t=("teacher",),
        s=("scratch",),
        warm=("scratch", "s"),
        kd=("student", "t"),
        tgd=("student", "t", "s"),
        t2=("teacher",),
        kd2=("student", "t2"),
    )
    found = [(stage.name, stage.jobs, stage.after) for stage in stages_of(Left(jobs, list(jobs)))]
    assert found == [
        ("teachers", ("t", "t2"), ()),
        ("scratch", ("s",), ()),
        ("scratch-2", ("warm",), (1,)),
        ("students", ("kd", "kd2"), (0,)),
        ("students-2", ("tgd",), (0, 1)),
    ]
    left = [(stage.name, stage.jobs, stage.after) for stage in stages_of(Left(jobs, ["s", "kd", "tgd", "kd2"]))]
    assert left == [("scratch", ("s",), ()), ("students", ("kd", "kd2"), ()), ("students-2", ("tgd",), (0,))]


def test_no_array_has_more_jobs_than_it_may():
    for number in range(1, 40):
        for limit in range(1, 12):
            parts = list(chunks(range(number), limit))
            assert [name for part in parts for name in part] == list(range(number))
            assert len(parts) == -(-number // limit)
            assert all(1 <= len(part) <= limit for part in parts)


def test_the_list_of_a_stage_is_an_array(here, capsys):
    toy(here)
    main(["study.yaml", "--list"], None, cli.check)
    everything = capsys.readouterr()
    assert everything.err.splitlines()[-3:] == [
        "stage 1: teachers, 1 job",
        "stage 2: scratch, 2 jobs",
        "stage 3: students, 2 jobs, after stage 1",
    ]
    parts = []
    for stage in ("1", "2", "3"):
        main(["study.yaml", "--list", "--stage", stage], None, cli.check)
        parts += capsys.readouterr().out.splitlines()
    assert parts == everything.out.splitlines()
    assert len(parts) == 5
    for words, message in (
        (["--list", "--stage", "4"], r"^--stage: must be 1 to 3, the stages with jobs left, but got 4\. Change it\.$"),
        (["--stage", "1"], r"^--stage: must be given with --list, but got 1 alone\. Add --list\.$"),
    ):
        with pytest.raises(InputError, match=message):
            main(["study.yaml", *words], None, cli.check)


# ---------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("given", "seconds"),
    [("90m", 5400), ("2h", 7200), ("0:01:30", 90), ("1-02:03:04", 93784), (None, 3600)],
)
def test_the_time_of_a_job(given, seconds):
    found = read_slurm({"time": given}, "study.yaml")
    assert found.seconds == seconds
    assert 60 * found.minutes - 60 < seconds <= 60 * found.minutes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], r"slurm must be a mapping, but got \[\]\."),
        ({"partion": "gpu"}, "slurm: unknown name 'partion'; known are .* Did you mean 'partition'"),
        ({"reservation": "x"}, "unknown name 'reservation'.*go into more"),
        ({"partition": ["gpu"]}, r"slurm: partition must be a word, as sbatch takes it, but got \['gpu'\]\."),
        ({"gres": "gpu:1\n#SBATCH --qos=x"}, "gres must be a word of one line"),
        ({"time": yaml.safe_load("2:00:00")}, "time must be a time such as 90m, .*, but got 7200"),
        ({"time": "0m"}, "time must be a time"),
        ({"time": "1:60:00"}, "time must be a time"),
        ({"array_limit": 0}, "array_limit must be an integer of at least 1, but got 0"),
        ({"timeouts": True}, "timeouts must be an integer of at least 0, but got True"),
        ({"setup": ["a\nb"]}, "setup must be lines of the shell"),
        ({"more": ["exclude"]}, "more must be a mapping"),
        ({"more": {"array": "0-9"}}, "must hold other options, but got 'array', which is set by kdlab"),
        ({"more": {"ntasks-per-node": 2}}, "which is set by kdlab"),
        ({"more": {"time": "5"}}, "which has its own name, slurm: time"),
        ({"more": {"a b": 1}}, "must have long names of options"),
    ],
)
def test_wrong_settings_are_refused_by_name(given, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        Study.read(toy(tmp_path, slurm=given))
    assert str(caught.value).startswith(f"{tmp_path}/study.yaml: slurm")


def test_settings_change_no_job(tmp_path):
    def keys(path):
        study = Study.read(path)
        jobs = study.jobs(Path("runs"), {"": []}, lambda config: "data", batches=lambda config: 20)
        return [job.key for job in jobs.values()]

    assert keys(toy(tmp_path)) == keys(toy(tmp_path, slurm=SETTINGS))


def test_options_that_do_not_go_together(here, monkeypatch):
    for name, option in (("list", "--list"), ("dry_run", "--dry-run"), ("report", "--report")):
        with pytest.raises(InputError, match=rf"^--submit: must be given without {option}, but got both"):
            submitting.check(SimpleNamespace(**{**BARE, name: True}))
    for changes in ({"only": ["kd/seed0"]}, {"hours": 1.0}):
        with pytest.raises(
            InputError, match=rf"^--submit: must be given without --{next(iter(changes))}, but got both"
        ):
            submitting.check(SimpleNamespace(**{**BARE, **changes}))
    with pytest.raises(InputError, match=r"^--submit: must be given with a number of threads"):
        submitting.check(SimpleNamespace(**{**BARE, "threads": "measure"}))
    with pytest.raises(InputError, match=r"^--jobs: must be left out with --submit slurm, .* slurm: \{at_once: 8\}"):
        submitting.check(SimpleNamespace(**{**BARE, "jobs": 8}))
    submitting.check(SimpleNamespace(**BARE))
    submitting.check(SimpleNamespace(**{**BARE, "submit": "local", "jobs": 8}))
    for given, words in (("k1", None), ("k1", ["a", "b"])):
        with pytest.raises(InputError, match=r"^--key: must be given with one --only, but got k1 with [02]"):
            submitting.check(SimpleNamespace(**{**BARE, "submit": None, "key": given, "only": words}))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"^--submit: the package submitit .* pip install 'kdlab\[cluster\]'\.$"):
        submitting.submit(SimpleNamespace(**BARE), None, {}, None, None, None, None)


BARE = {
    **{"submit": "slurm", "stage": None, "list": False, "dry_run": False, "report": False, "only": None},
    **{"hours": None, "threads": None, "jobs": 1, "file": "s.yaml", "root": "runs", "key": None},
}


# ---------------------------------------------------------------- SLURM
def test_a_study_becomes_arrays(here, stands, capsys):
    toy(here, seeds=5, slurm=SETTINGS)
    main(["study.yaml", "--submit", "slurm", "--threads", "2"], None, cli.check)
    scripts, folder = scripts_of(stands), here / "runs/toy/study/cluster"
    assert list(scripts) == ["100", "101", "102", "103", "104", "105"]
    # three at most: one less than MaxArraySize, which counts from 0
    assert [scripts[number].get("array") for number in scripts] == [None, "0-1%2", "0-2%3", "0-1%2", "0-2%3", None]
    waits = [scripts[number].get("dependency") for number in scripts]
    everything = "afterany:100:101:102:103:104"
    assert waits == [None, None, None, "afterany:100", "afterany:100", everything]
    for script in scripts.values():
        assert script["partition"] == "gpu"
        assert script["gres"] == "gpu:1"
        assert script["time"] == "90"
        assert script["cpus-per-task"] == "4"
        assert script["mem"] == "16G"
        assert script["exclude"] == "'node 7'"
        assert script["requeue"] == ""
        assert script["signal"] == "USR2@90"
    text = (stands / "101.sh").read_text()
    assert text.index("module load cuda") < text.index("srun")
    given = [words for number in scripts for words in words_of(folder, number)]
    names = ["teacher/shared", *(f"{run}/seed{seed}" for run in ("scratch", "kd") for seed in range(5))]
    keys = [words[5] for words in given[:-1]]
    assert given[:-1] == [
        ("study", "study.yaml", "--only", name, "--key", key, "--resume-fits", "--threads", "2")
        for name, key in zip(names, keys, strict=True)
    ]
    assert len(set(keys)) == 10  # scratch and the teacher of seed 0 are the same fit
    assert given[-1] == ("study", "study.yaml", "--report", "--threads", "2")
    out = capsys.readouterr().out
    assert "submitted 103: students, 2 jobs, after 100" in out
    assert "scancel 100 101 102 103 104 105 ends them" in out


def test_a_study_in_the_queue_is_not_given_out_twice(here, stands):
    toy(here, seeds=1)
    main(["study.yaml", "--submit", "slurm"], None, cli.check)
    assert len(scripts_of(stands)) == 4
    (stands / "queue.txt").write_text("7\n102\n102\n103\n")
    for words, what in (["--submit", "slurm"], "--submit"), (["--submit", "local"], "--submit"), ([], "study"):
        with pytest.raises(InputError, match=rf"^{what}: no job of .* must be in SLURM's queue, but got 102, 103\."):
            main(["study.yaml", *words], None, cli.check)
    (stands / "queue.txt").write_text("7\n")
    main(["study.yaml", "--submit", "slurm"], None, cli.check)
    assert len(scripts_of(stands)) == 8
    (stands / "queue.txt").unlink()
    with pytest.raises(InputError, match="squeue must end well, but ended with 1"):
        main(["study.yaml", "--submit", "slurm"], None, cli.check)


def test_where_nobody_tells_what_is_queued(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert queue.array_limit() == 1000
    queue.refuse_while_queued(tmp_path, "--submit")
    queue.record(tmp_path, ["7"])
    queue.refuse_while_queued(tmp_path, "study", known=False)
    with pytest.raises(InputError, match=r"^--submit: squeue must tell whether jobs 7 are .* but is not there"):
        queue.refuse_while_queued(tmp_path, "--submit")


def test_a_refusal_names_what_was_submitted_before_it(here, stands):
    toy(here, seeds=1)
    (stands / "full").touch()
    with pytest.raises(
        InputError, match=r"SLURM must take toy/study/students, but did not .*scancel 100 101 ends them"
    ):
        main(["study.yaml", "--submit", "slurm"], None, cli.check)
    (stands / "queue.txt").write_text("100\n101\n")
    with pytest.raises(InputError, match=r"must be in SLURM's queue, but got 100, 101\."):
        main(["study.yaml", "--submit", "slurm"], None, cli.check)


#: the first time it waits for its end, the second time it is done
TWICE = """
import os, signal, sys, time
from pathlib import Path
if Path("began").exists():
    Path("done").write_text(sys.argv[-1])
else:
    signal.signal(signal.SIGTERM, lambda *_: (Path("told").touch(), sys.exit(143)))
    Path("part").write_text(str(os.getppid()))
    os.rename("part", "began")
    time.sleep(600)
"""


def test_a_preempted_job_of_slurm_is_put_back_and_begins_again(here, stands):
    settings = read_slurm({"time": "10h"}, "study.yaml")
    element = Element(("some", "words"), str(here), program=TWICE)
    executor = submitit.SlurmExecutor(here / "cluster", max_num_timeout=settings.timeouts)
    executor.update_parameters(time=settings.minutes)
    with executor.batch():
        executor.submit(element)
        executor.submit(element)
    environment = {"SLURM_JOB_ID": "101", "SLURM_ARRAY_JOB_ID": "100", "SLURM_ARRAY_TASK_ID": "1"}
    environment = {**os.environ, **environment, "SUBMITIT_EXECUTOR": "slurm", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "submitit.core._submit", str(here / "cluster")]
    first = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    wait_for((here / "began").exists)
    first.send_signal(signal.SIGTERM)  # as SLURM does before, which ends nothing
    first.send_signal(signal.SIGUSR2)
    assert first.wait(PATIENCE) not in (0, None)
    assert (here / "told").exists()
    assert not (here / "done").exists()
    assert (stands / "scontrol.txt").read_text() == "requeue 100_1\n"
    assert not list((here / "cluster").glob("*result.pkl"))
    assert subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, timeout=PATIENCE).returncode == 0
    assert (here / "done").read_text() == "words"


def test_a_job_that_runs_out_of_time_ends_with_what_it_started(here):
    """With less than ten minutes of time every signal of an end counts as running out of time."""
    executor = submitit.LocalExecutor(here / "cluster", max_num_timeout=0)
    executor.update_parameters(timeout_min=9)
    job = executor.submit(Element(("words",), str(here), program=TWICE))
    wait_for((here / "began").exists)
    os.kill(int((here / "began").read_text()), signal.SIGUSR2)
    assert "timed-out too many times" in str(job.exception())
    assert (here / "told").exists()
    assert not (here / "done").exists()


def test_a_job_ends_with_the_process_that_gave_it_out(here):
    """Also where that one was killed, or SIGINT is ignored, as in the background of a script."""
    text = """
import os, sys, submitit
from kdlab.study.cluster.element import Element
executor = submitit.LocalExecutor("cluster")
executor.submit(Element(("words",), os.getcwd(), program=sys.argv[1], owner=os.getpid()))
import time
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    owner = subprocess.Popen([sys.executable, "-c", text, TWICE], env=environment)
    wait_for((here / "began").exists)
    owner.kill()
    owner.wait()
    wait_for((here / "told").exists)


# ---------------------------------------------------------------- local
class Inline:
    """Submitit's executor of this machine, in this process; a job that is cut is put back and begins once more."""

    def __init__(self, folder, max_num_timeout):
        self.folder = folder

    def update_parameters(self, **parameters):
        assert parameters["timeout_min"] == 60

    def submit(self, element):
        assert element.gpu is None
        Inline.ran.append(element.words[3])
        try:
            main(element.words[1:], Inline.runner, Inline.check)
        except InputError as error:
            Inline.errors[element.words[3]] = str(error)
        except Cut:
            Inline.errors[element.words[3]] = "cut"
            self.submit(element)
        paths = SimpleNamespace(stdout=self.folder / "out", stderr=self.folder / "err")
        return SimpleNamespace(done=lambda: True, paths=paths)

    @classmethod
    def begin(cls, monkeypatch, runner, check=cli.check):
        cls.ran, cls.errors, cls.runner, cls.check = [], {}, staticmethod(runner), staticmethod(check)
        monkeypatch.setattr(submitit, "LocalExecutor", cls)


def exploding(run):
    """A runner in which one teacher explodes."""

    def runner(words, prepare):
        config = yaml.safe_load(Path(words[2]).read_text())
        if "bad" in config["run"].split("/")[2]:
            raise ValueError("exploded")
        return run(words, prepare)

    return runner


def test_a_failure_stops_what_needs_it_and_the_table_is_that_of_jobs(here, monkeypatch, capsys):
    """One teacher fails, and a job that needs the other one is pre-empted in its second epoch, and resumes."""
    teachers = {name: {"config": "supervised.yaml", "one_per": "fold"} for name in ("teacher", "bad")}
    students = {
        "kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}},
        "lost": {"config": "student.yaml", "teachers": {"raw": "bad"}},
    }
    toy(here, seeds=1, teachers=teachers, students=students, scratch={}, set={"all": {"trainer.max_epochs": 3}})
    with pytest.raises(SystemExit, match="error: 2 of 4 jobs have no result"):
        main(["study.yaml", "--root", "other"], exploding(cli.run), cli.check)
    fits, cut = [], cut_at(1, [])

    def cut_student(words, prepare):
        fits.append(words)
        return (cut if "/kd/" in words[2] else cli.run)(words, prepare)

    Inline.begin(monkeypatch, exploding(cut_student))
    capsys.readouterr()
    with pytest.raises(SystemExit, match="error: 2 of 4 jobs have no result"):
        main(["study.yaml", "--submit", "local"], None, cli.check)
    assert Inline.ran == ["teacher/shared", "bad/shared", "kd/seed0", "kd/seed0"]
    assert "exploded" in Inline.errors["bad/shared"]
    assert Inline.errors["kd/seed0"] == "cut"
    assert [words[3:4] for words in fits] == [[], [], ["--ckpt_path"]]  # the teacher, the student, and its resumption
    ours, theirs = (here / root / "toy/study" for root in ("runs", "other"))
    assert (ours / "results.csv").read_bytes() == (theirs / "results.csv").read_bytes()
    for text in ("ValueError: exploded", "not run: it needs bad/shared, which failed"):
        assert text in (ours / "results.md").read_text()
        assert text in (theirs / "results.md").read_text()
    out = capsys.readouterr().out
    assert re.search(r"^bad/shared: FAILED: no result; see .*out and err$", out, re.MULTILINE)
    with pytest.raises(InputError, match=r"^--only: lost/seed0 needs bad/shared first\.$"):
        main(["study.yaml", "--only", "lost/seed0"], None, cli.check)


def test_a_job_that_changed_after_it_was_given_out_is_refused(here):
    path = toy(here, seeds=1, teachers={}, students={})
    job = plan_of(path)["scratch/seed0"]
    toy(here, seeds=1, teachers={}, students={}, set={"all": {"trainer.max_epochs": 7}})
    message = (
        rf"^--key: scratch/seed0 must be what it was when it was given out, {job.key}, but is \w{{10}}: its settings"
    )
    with pytest.raises(InputError, match=message):
        main(["study.yaml", "--only", "scratch/seed0", "--key", job.key], None, cli.check)
    with pytest.raises(InputError, match=r"^--key: scratch/seed1 must be .*, but is no job of the study: "):
        main(["study.yaml", "--only", "scratch/seed1", "--key", job.key], None, cli.check)
    assert not job.folder.exists()


def plan_of(path):
    return plan(Study.read(path), Path("runs"))[1]


#: a callback that waits for the signal of the end, in the second epoch of the first process that fits
WAITS = """
import os, signal, time
from pathlib import Path
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_only

class Waits(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1 and not Path("began").exists():
            requeues = int(signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL)
            Path("part").write_text(f"{os.getppid()} {trainer.world_size} {rank_zero_only.rank} {requeues}")
            os.rename("part", "began")
            while not trainer.received_sigterm:
                time.sleep(0.05)
"""


@pytest.mark.slow
def test_a_job_that_runs_out_of_time_resumes_and_gives_the_same_table(here, monkeypatch):
    """With the variables of a step of several tasks, of which Lightning would take each as a rank of one fit.

    With less than ten minutes of time every signal of an end counts as running out of time.
    """
    toy(here, seeds=1, teachers={}, students={}, slurm={"time": "5m"})
    config = yaml.safe_load((here / "supervised.yaml").read_text())
    config["trainer"]["callbacks"] = [{"class_path": "waits.Waits"}]
    (here / "supervised.yaml").write_text(yaml.safe_dump(config))
    (here / "waits.py").write_text(WAITS)
    for name, value in {"NTASKS": "4", "NTASKS_PER_NODE": "4", "PROCID": "3", "LOCALID": "3", "NODEID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{here}")
    monkeypatch.syspath_prepend(here)
    seen = []

    def cut():
        wait_for((here / "began").exists)
        parent, *seen[:] = map(int, (here / "began").read_text().split())
        seen.append(len(list(here.rglob("result.json"))))
        os.kill(parent, signal.SIGUSR2)

    thread = threading.Thread(target=cut)
    thread.start()
    main(["study.yaml", "--submit", "local"], None, cli.check)
    thread.join()
    assert seen == [1, 0, 0, 0]  # processes, rank, handlers of Lightning's that put a job back, results
    for name in ("NTASKS", "NTASKS_PER_NODE", "PROCID", "LOCALID", "NODEID"):
        monkeypatch.delenv(f"SLURM_{name}")
    main(["study.yaml", "--root", "other"], cli.run, cli.check)
    ours, theirs = (here / root / "toy/study/results.csv" for root in ("runs", "other"))
    assert ours.read_bytes() == theirs.read_bytes()
    (log,) = (here / "runs/toy/study/cluster").glob("*_log.err")
    told = log.read_text() + log.with_suffix(".out").read_text()
    assert "this job is timed-out" in told
    assert re.search(r"Requeued job \d+ \(2 remaining timeouts\)", told)
    (version,) = here.glob("runs/toy/study/scratch/*/version_*")  # the second process resumed in it
    assert yaml.safe_load((version / "config_fit.yaml").read_text())["ckpt_path"].endswith("last.ckpt")


# ---------------------------------------------------------------- Lightning, Weights & Biases
def test_lightning_sees_one_process(here, monkeypatch):
    for name, value in {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_JOB_NAME": "study"}.items():
        monkeypatch.setenv(name, value)
    assert SLURMEnvironment.detect()
    slurm.one_process()
    assert not SLURMEnvironment.detect()
    assert _get_rank() is None
    assert os.environ["SLURM_JOB_NAME"] == "study"


def test_the_sweep_of_an_agent_is_read_by_the_command_line(monkeypatch):
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    monkeypatch.chdir(REPOSITORY)
    sweep = yaml.safe_load((REPOSITORY / "docs" / "sweep.yaml").read_text())
    assert sweep["method"] == "grid"
    parameters = sweep["parameters"]
    checked = 0
    for name, entry in parameters.items():
        for value in entry["values"]:
            chosen = {other: {"value": one["values"][0]} for other, one in parameters.items()} | {
                name: {"value": value}
            }
            given = utils.create_sweep_command_args({"args": chosen})
            words = []
            for part in utils.create_sweep_command(list(sweep["command"])):
                macro = re.fullmatch(r"\$\{(\w+)\}", part)
                words += given[macro[1]] if macro else [part]
            assert words[:2] == ["kdlab", "fit"]
            cli.check(words[1:])
            checked += 1
    assert checked >= 4
    assert sweep["metric"]["name"] == "val/accuracy"
    with pytest.raises(SystemExit):
        cli.check([*words[1:], "--model.init_args.no_such=1"])


def test_the_commands_of_the_page_are_read():
    page = (REPOSITORY / "docs" / "cluster.md").read_text(encoding="utf-8")
    found = re.findall(r"^(?:.*`)?kdlab (study|tune) (study\.yaml[^`#>|\n]*)", page, re.MULTILINE)
    assert len(found) >= 8
    for name, words in found:
        given = usage.PARSERS[name]().parse_args(shlex.split(words))
        assert given.file == "study.yaml"
