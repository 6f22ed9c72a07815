"""What the command line prints: no noise of Lightning, every real warning, and kdlab's own once and with the run."""

import logging
import multiprocessing
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.utilities import rank_zero_only

import kdlab
from kdlab import KD, Supervised, Teacher, cli
from kdlab.callbacks import EarlyStoppedTeacher
from kdlab.data import BasicMotions
from kdlab.quiet import LeanSummary, lean_summary, name_run, quieted
from kdlab.study.command import main as study
from kdlab.views import compiling
from tests.conftest import PATIENCE, net, trainer
from tests.test_resuming import words
from tests.test_study import toy

NOISE = {
    "advice": "💡 Tip",
    "flops": "FLOPs",
    "total": "Total Flops",
    "pytree": "LeafSpec",
    "workers": "many workers",
    "interval": "number of training batches",
    "parser": "deprecat",
}


def inside(source="warnings.warn(text)", name="kdlab.data.made_up"):
    """A function in a file of kdlab, which warns."""
    module = types.ModuleType(name)
    path = Path(kdlab.__file__).parent / "data" / "made_up.py"
    exec(compile(f"import warnings\ndef say(text):\n    {source}\n", str(path), "exec"), module.__dict__)
    return module.say


def texts(caught):
    return [str(one.message) for one in caught]


@pytest.fixture
def caught():
    """All warnings of a test, as a process without any filter of pytest's has them."""
    with warnings.catch_warnings(record=True) as log:
        warnings.resetwarnings()
        warnings.simplefilter("default")
        yield log


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---------------------------------------------------------------- Lightning
def test_a_command_prints_none_of_the_noise(here, caught, caplog):
    caplog.set_level(logging.INFO)
    fit = [word for word in words(epochs=1, model="Supervised") if "summary" not in word]
    line = cli.run([*fit, "--trainer.log_every_n_steps=50"])
    printed = [*texts(caught), *caplog.messages]
    assert any("Trainable params" in text for text in printed)  # the table is there
    assert any("Params | Mode" in text for text in printed)
    found = {kind for kind, part in NOISE.items() for text in printed if part in text}
    assert not found
    assert type(line.trainer.callbacks[-1]) is not ModelSummary


def test_without_the_command_line_all_of_it_is_printed(tmp_path, caught, caplog):
    """Also after a command has run in the process: the test that the noise is there."""
    caplog.set_level(logging.INFO)
    with quieted(), quieted("job", reports=False):
        pass
    run = trainer(tmp_path, max_epochs=1, enable_model_summary=True, logger=pl.loggers.CSVLogger(tmp_path))
    run.fit(Supervised(net()), BasicMotions(batch_size=8))
    printed = [*texts(caught), *caplog.messages]
    found = {kind for kind, part in NOISE.items() for text in printed if part in text}
    assert found >= {"advice", "flops", "total", "pytree", "interval"}  # that of workers depends on the machine


def test_the_filters_of_the_process_are_as_they_were(monkeypatch):
    roots = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    before = warnings.filters[:], warnings.showwarning, [root.level for root in roots]
    with quieted("job", reports=False):
        assert warnings.filters != before[0]
        assert [root.level for root in roots] == [logging.WARNING] * 2
    with pytest.raises(ZeroDivisionError), quieted("job", reports=False):
        _ = 1 / 0
    assert (warnings.filters[:], warnings.showwarning, [root.level for root in roots]) == before
    assert not logging.getLogger("lightning.pytorch.utilities.rank_zero").filters


def test_importing_changes_nothing(tmp_path):
    program = """
import logging, os, warnings
import lightning.pytorch, torch, wandb, jsonargparse, matplotlib.pyplot
import sklearn, persim, ripser, numba, pandas, scipy.stats
def state():
    logs = [name for name in logging.root.manager.loggerDict if name.startswith("lightning")]
    return warnings.showwarning, [(n, logging.getLogger(n).level, logging.getLogger(n).filters) for n in logs]
before, filters = state(), list(warnings.filters)
import kdlab, kdlab.cli, kdlab.study.command, kdlab.evaluate, kdlab.export
assert state()[0] is before[0] and set(map(str, before[1])) <= set(map(str, state()[1]))
new = [f for f in warnings.filters if f not in filters]
assert not new, new
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE, cwd=tmp_path)


def test_frozen_teachers_are_no_problem_and_modules_in_evaluation_mode_are_one(tmp_path, teachers, caught):
    class Frozen(pl.Callback):
        def on_fit_start(self, trainer, module):
            module.objective.eval()

    before = warnings.filters[:]
    trainer(tmp_path, max_epochs=1).fit(KD(net(), {"raw": Teacher(teachers["raw"])}), BasicMotions(batch_size=16))
    assert warnings.filters[:] == before
    assert not [text for text in texts(caught) if "eval mode" in text]
    trainer(tmp_path, max_epochs=1, callbacks=[Frozen()]).fit(Supervised(net()), BasicMotions(batch_size=16))
    assert [text for text in texts(caught) if "eval mode" in text]


def test_real_problems_are_heard(caught, caplog):
    with quieted("a/b"):
        for text in (
            "The loss is NaN.",
            "Your `val_dataloader`'s sampler has shuffling enabled",
            "The `srun` command is available on your system but is not used. HINT: If your intention is",
            "The 'train_dataloader' does not have many workers which may be a bottleneck.",
            "Could not find the monitored key in the returned metrics.",
        ):
            warnings.warn(text, stacklevel=1)
        warnings.warn_explicit("of the user's own", DeprecationWarning, "/home/me/mine.py", 3, module="mine")
        warnings.warn_explicit("of Lightning's inside", DeprecationWarning, "x.py", 3, module="lightning.pytorch.x")
        pl.utilities.rank_zero_info("a report")
    heard = ["The loss is NaN.", "Your `val_dataloader`'s sampler", "Could not find the monitored", "of the user's own"]
    assert [text[: len(part)] for text, part in zip(texts(caught), heard, strict=True)] == heard


def test_the_options_of_the_interpreter_go_first(caught, monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with quieted():
        warnings.warn("The 'x' does not have many workers which may be a bottleneck.", stacklevel=1)
    assert len(caught) == 1


def test_flops_that_were_counted_are_in_the_table(caplog):
    caplog.set_level(logging.INFO)
    columns = [(" ", ["0"]), ("Name", ["net"]), ("FLOPs", ["7"])]
    for total in (0, 7):
        caplog.clear()
        LeanSummary.summarize(columns, 1, 1, 0.1, {"train": 1, "eval": 0}, total_flops=total)
        (text,) = caplog.messages
        assert (("FLOPs" in text), text.endswith("Total Flops")) == (bool(total), bool(total))
        assert "Modules in eval mode" in text


def test_a_summary_of_ones_own_stays(tmp_path):
    class Mine(ModelSummary):
        pass

    for own, kind in ((ModelSummary(max_depth=3), LeanSummary), (Mine(max_depth=3), Mine)):
        run = trainer(tmp_path, enable_model_summary=True, callbacks=[own])
        lean_summary(run)
        (found,) = [callback for callback in run.callbacks if isinstance(callback, ModelSummary)]
        assert type(found) is kind
        assert found._max_depth == 3


# ---------------------------------------------------------------- kdlab's own
def test_a_warning_names_its_run_and_comes_once(caught):
    say = inside()
    with quieted():
        say("before")
        name_run("a/b")
        for _ in range(3):
            say("too few windows")
            with warnings.catch_warnings():  # what makes Python forget what it has printed
                pass
        name_run("a/c")
        name_run("a/c")
        say("too few windows")
        with quieted("kd/seed0"):
            with quieted():
                name_run("toy/study/kd")
                say("too few windows")
            say("too few windows")
            warnings.warn("of someone else", stacklevel=1)
            warnings.warn("of someone else, later", stacklevel=1)
    say("no run")
    assert texts(caught) == [
        "before",
        "[a/b] too few windows",
        "[a/c] too few windows",
        "[kd/seed0] too few windows",
        "of someone else",
        "of someone else, later",
        "no run",
    ]
    assert {one.category for one in caught} == {UserWarning}
    assert warnings.formatwarning(caught[1].message, UserWarning, "x.py", 3, caught[1].line).count("\n") == 1


def test_errors_asked_for_are_errors():
    with quieted("a/b"), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=r"^too few windows$"):
            inside()("too few windows")


def test_one_of_several_ranks_warns(caught, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with quieted("a/b"):
        inside()("too few windows")
        warnings.warn("of someone else", stacklevel=1)
    assert texts(caught) == ["of someone else"]


class Loud(torch.utils.data.Dataset):
    def __init__(self, say):
        self.say = say

    def __len__(self):
        return 8

    def __getitem__(self, i):
        self.say("a warning of a worker")
        return i


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes cannot be forked here")
def test_workers_warn_once_for_all_epochs(capfd):
    loader = torch.utils.data.DataLoader(Loud(inside()), batch_size=2, num_workers=2, multiprocessing_context="fork")
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.showwarning = lambda message, *_: os.write(2, f"{message}\n".encode())  # not pytest's, of one process
        with quieted("a/b"):
            for _ in range(2):
                assert len(list(loader)) == 4
        assert 1 <= capfd.readouterr().err.count("[a/b] a warning of a worker") <= 2  # two at the same moment
        for _ in range(2):
            list(loader)
        assert capfd.readouterr().err.count("a warning of a worker") >= 4  # every worker in every epoch


@pytest.mark.parametrize("started", [False, True])
def test_processes_that_are_started_do_not_repeat_the_cache_of_kernels(started, monkeypatch, caught):
    monkeypatch.setenv("KDLAB_VIEWS_WARNED", "/of/the/parent")
    monkeypatch.setattr(compiling, "_warned", set())
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object() if started else None)
    for folder in ("/of/the/parent", "/mine", "/mine"):
        compiling._warn(folder, OSError("full"))
    compiling._warn_of_jit()
    named = [
        part for text in texts(caught) for part in ("/of/the/parent", "/mine", "NUMBA_DISABLE_JIT") if part in text
    ]
    assert named == ([] if started else ["/of/the/parent"]) + ["/mine", "NUMBA_DISABLE_JIT"]
    assert os.environ["KDLAB_VIEWS_WARNED"].split(os.pathsep)[-2:] == ["/mine", "NUMBA_DISABLE_JIT"]
    monkeypatch.setattr(compiling, "_warned", set())
    monkeypatch.setenv("LOCAL_RANK", "1")
    before = len(caught)
    compiling._warn("/of/another", OSError("full"))
    assert len(caught) == before


def test_a_metric_that_stays_nan_is_reported_once(tmp_path, caught):
    class Broken(Supervised):
        def _evaluate(self, batch, stage):
            self.log_dict({"val/f1": float("nan"), "val/loss": 1.0, "val/accuracy": 0.5})

    stop = EarlyStoppedTeacher(monitor="val/f1", stop=False)
    trainer(tmp_path, max_epochs=3, callbacks=[stop]).fit(Broken(net()), BasicMotions(batch_size=16))
    assert [t for t in texts(caught) if "cannot be a peak" in t] == [
        "EarlyStoppedTeacher: val/f1 is nan after epoch 0; it cannot be a peak."
    ]


def test_the_warnings_of_a_study_name_their_jobs(here, caught, capsys):
    stop = [{"class_path": "EarlyStoppedTeacher", "init_args": {"stop": False}}]
    path = toy(here, seeds=2, students={}, set={"all": {"trainer.callbacks+": stop}})
    study([str(path)], cli.run, cli.check)
    few = [text for text in texts(caught) if "too few to choose an epoch" in text]
    assert sorted(text.partition("]")[0] for text in few) == ["[scratch/seed0", "[scratch/seed1", "[teacher/shared"]
    assert {text.partition("] ")[2] for text in few} == {few[0].partition("] ")[2]}
    assert not [text for text in texts(caught) for part in NOISE.values() if part in text]
    assert logging.getLogger("lightning.pytorch").level == logging.INFO
