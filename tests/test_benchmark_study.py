"""What `benchmarks.study` adds up: steps, views and validation of fits, once each, and nothing after them."""

import time

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loops import _FitLoop

from benchmarks import study
from kdlab import Supervised
from kdlab.data import BasicMotions
from kdlab.study.plan import Study
from tests.conftest import net, trainer


@pytest.fixture(autouse=True)
def nothing_spent():
    study.SPENT.clear()
    yield
    study.SPENT.clear()


def test_the_study_has_two_teachers_and_nine_rows(tmp_path):
    read = Study.read(study.write_study(tmp_path, 3, 12))
    stages = [run.stage for run in read.runs.values()]
    assert stages.count("teacher") == 2
    assert len(stages) == 11
    assert list(read.seeds) == [0, 1, 2]
    assert {run.config["trainer"]["max_epochs"] for run in read.runs.values()} == {12}
    assert all(run.config["trainer"]["accelerator"] == "cpu" for run in read.runs.values())


def test_times_within_others_are_counted_once(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: clock[0])

    def spend(seconds):
        clock[0] += seconds

    inner = study.timed("inner", spend)

    def outer_function():
        spend(2)
        inner(3)
        spend(1)

    study.timed("outer", outer_function)()
    inner(4)
    assert study.SPENT == {"inner": 7, "outer": 3}


def test_parts_of_a_fit_are_seen_and_what_is_done_after_it_is_not(tmp_path):
    real, fit, log, begin = _FitLoop.run, Trainer.fit, LightningModule.log_dict, time.process_time()
    module, data = Supervised(net()), BasicMotions(batch_size=8)
    run = trainer(tmp_path, max_epochs=2)
    with study.watched():
        run.fit(module, data)
        spent = dict(study.SPENT)
        run.validate(module, data, verbose=False)
        assert all(study.SPENT[name] == spent[name] for name in study.INSIDE)
        assert "validation after" in study.SPENT
    assert {*study.INSIDE, "logging", "loops", "sanity check", "before the fit"} <= set(spent)
    assert set(spent) <= {*study.INSIDE, *study.OUTSIDE}
    assert all(seconds > 0 for seconds in spent.values())
    assert spent["steps"] > spent["logging"]
    assert sum(spent.values()) < time.process_time() - begin
    assert _FitLoop.run is real
    assert (Trainer.fit, LightningModule.log_dict) == (fit, log)
    assert study.LOOPS == []


def test_the_table_names_every_part_and_what_is_in_none(capsys):
    study.SPENT.update(steps=6.0, views=1.0, validation=1.0, imports=0.5, logging=0.5)
    assert study.print_shares("a study", 10.0) == 0.8
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["inside"] * 3
    assert any(line.split()[:3] == ["outside", "other", "1.0"] for line in lines)
    assert lines[-1] == "inside over all: 0.800"
