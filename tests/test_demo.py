"""The demo, small: one of its folds with few updates; its page has what a reader asks next."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import yaml

from experiments import demo
from kdlab.data import ShoulderWatch
from kdlab.study.plan import Study
from kdlab.study.tuning.declared import read_tune
from kdlab.study.tuning.run import read_settings

EXPERIMENTS = Path(demo.__file__).parent
ROWS = ["teacher_raw", "teacher_pi", "scratch", "scratch_long", "kd", "kd_unlabelled", "tpkd"]
pytestmark = pytest.mark.skipif(importlib.util.find_spec("seglearn") is None, reason="seglearn is not installed")


@pytest.fixture(scope="module")
def study():
    return Study.read(EXPERIMENTS / "demo" / "study.yaml")


def test_its_rows(study):
    assert [name for name in study.order if not study.runs[name].control] == ROWS
    lengths = {name: study.runs[name].updates for name in ROWS}
    assert {n for n in ROWS if lengths[n] != lengths["scratch"]} == {"scratch_long"}
    assert lengths["scratch_long"] == 2 * lengths["scratch"]


def test_settings_were_found_with_people_who_are_not_tested(study, tmp_path):
    """As the file of the tuning declares it: every row the same number of trials, by the command in its head."""
    settings = read_settings(study, tmp_path)
    assert len(settings.folds) >= 4
    for fold, part in settings.parts.items():
        assert not set(settings.folds[fold]) & set(settings.tuned.people[part])
    tune = read_tune(Study.read(EXPERIMENTS / "demo" / "tune.yaml"))
    assert (settings.tuned.kind, settings.tuned.trials) == (tune.kind, tune.trials)
    assert {name for found in settings.tuned.settings.values() for part in found.values() for name in part} == set(
        tune.common
    )
    assert set(settings.tuned.settings) == set(ROWS[2:])
    head = (EXPERIMENTS / "demo" / "tuned.yaml").read_text().splitlines()[0]
    assert "kdlab tune experiments/demo/tune.yaml --out experiments/demo/tuned.yaml" in head


def test_one_fold(tmp_path, monkeypatch):
    """One group of people, five updates a row: every row is there, and what the page says of them."""
    monkeypatch.chdir(tmp_path)
    for folder in ("demo", "methods"):
        shutil.copytree(EXPERIMENTS / folder, tmp_path / "experiments" / folder)
    here = tmp_path / "experiments" / "demo"
    rows = yaml.safe_load((here / "rows.yaml").read_text())
    rows["updates"], rows["scratch"]["scratch_long"]["updates"] = 5, 10
    rows["folds"] = [next(iter(read_settings(Study.read(here / "study.yaml"), tmp_path).folds.values()))]
    rows["seeds"] = 1
    del rows["set"]  # every epoch is validated: there is one
    (here / "rows.yaml").write_text(yaml.safe_dump(rows, sort_keys=False))
    shared = yaml.safe_load((here / "data.yaml").read_text())
    shared["data"]["init_args"]["step"] = 400
    (here / "data.yaml").write_text(yaml.safe_dump(shared, sort_keys=False))
    demo.main("experiments/demo/study.yaml", jobs=1)
    out = tmp_path / "runs" / "demo"
    for name in ("results.csv", "results.md", "views.png", "people.png", "people.csv", "times.md"):
        assert (out / name).stat().st_size > 0
    page = (out / "results.md").read_text()
    table = {cells[1].strip(): cells for line in page.splitlines() if len(cells := line.split("|")) > 12}
    assert [row for row in table if row in ROWS] == ROWS
    unlabelled = {row: table[row][6].strip() for row in ROWS}
    assert {row for row in ROWS if unlabelled[row] != "0"} == {"kd_unlabelled", "tpkd"}
    assert table["scratch_long"][5].strip() == "10"
    for said in ("Tuned on validation windows alone", "the last epoch", "It does not show", "two of the training"):
        assert said in page, said


def test_the_data_are_those_of_the_figure():
    arguments = yaml.safe_load((EXPERIMENTS / "demo" / "data.yaml").read_text())["data"]["init_args"]
    assert (arguments["window"], arguments["step"]) == (demo.WINDOW, demo.STEP)
    assert ShoulderWatch.name == "shoulder_watch"
