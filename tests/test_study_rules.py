"""By which rule a study chooses weights: in the keys of its jobs, and of studies that earlier versions began."""

import yaml

from kdlab.methods.selection import EARLIER
from kdlab.study.plan import Study
from kdlab.study.planned import under_its_rule
from kdlab.study.rules import NOTE, in_identity, rule_of_job

BEST = {"selection": "best", "monitor": "val/loss", "mode": "min"}


def stops(name, **init):
    return {"trainer": {"callbacks": ["TQDMProgressBar", {"class_path": f"some.{name}", "init_args": init}]}}


def test_the_rule_of_a_job_is_that_of_a_fit():
    assert rule_of_job({}, earlier=False) == {"selection": "last"}
    assert rule_of_job({"selection": None, "trainer": {"callbacks": None}}, earlier=False) == {"selection": "last"}
    assert rule_of_job(stops("EarlyStoppedTeacher"), earlier=False) == BEST
    assert rule_of_job(stops("EarlyStoppedTeacher", monitor="val/f1"), earlier=False)["mode"] == "max"
    assert rule_of_job(stops("EarlyStopping", monitor="val/f1", mode="max"), earlier=False)["monitor"] == "val/f1"
    assert rule_of_job(stops("EarlyStopping", monitor="train/loss"), earlier=False) == {"selection": "last"}
    assert rule_of_job(stops("EarlyStopping", monitor="val/f1"), earlier=True) == BEST
    for named in ({"selection": "averaged"}, {"monitor": "val/f1"}, {"mode": "max"}):
        assert rule_of_job(named, earlier=False) == rule_of_job(named, earlier=True) == {}
    assert in_identity(BEST) == {}
    assert in_identity({"selection": "last"}) == {"selection": "last"}


def read(folder, **more):
    (folder / "s.yaml").write_text("model: {class_path: Supervised}", encoding="utf-8")
    content = {"study": "toy/s", "seeds": 1, "scratch": {"a": {"config": "s.yaml"}, "b": {"config": "s.yaml"}}, **more}
    content["scratch"]["b"] = {"config": "s.yaml", "set": {"monitor": "val/f1"}}
    (folder / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return Study.read(folder / "study.yaml")


def jobs(study, folder):
    return study.jobs(folder / "runs", {"": []}, lambda config: "data")


def begin(job, **change):
    config = {key: value for key, value in job.config.items() if key not in change}
    job.folder.mkdir(parents=True)
    (job.folder / "job.yaml").write_text(yaml.safe_dump(config | change), encoding="utf-8")


def test_a_job_that_names_no_rule_has_another_key_than_under_the_earlier_rule(tmp_path):
    study = read(tmp_path)
    now = jobs(study, tmp_path)
    was = jobs(Study(**{**vars(study), "earlier": True}), tmp_path)
    assert now["a/seed0"].config["selection"] == "last"
    assert {key: was["a/seed0"].config[key] for key in BEST} == BEST
    assert now["a/seed0"].key != was["a/seed0"].key
    assert "selection" not in now["b/seed0"].config
    assert now["b/seed0"].key == was["b/seed0"].key  # it names its rule
    named = jobs(read(tmp_path, set={"all": {"selection": "last"}}), tmp_path)
    assert named["a/seed0"].key == now["a/seed0"].key


def test_a_study_goes_on_under_the_rule_that_it_was_begun_with(tmp_path, capsys):
    study, root = read(tmp_path), tmp_path / "runs"
    assert under_its_rule(study, root, run=True) == study
    begin(jobs(study, tmp_path)["a/seed0"])
    assert under_its_rule(study, root, run=True) == study  # begun by this version
    assert not (root / "toy/s" / NOTE).exists()
    assert not capsys.readouterr().err
    earlier = Study(**{**vars(study), "earlier": True})
    old = jobs(earlier, tmp_path)["a/seed0"]
    begin(old, selection=None, monitor=None, mode=None)  # as versions did whose configs named none
    assert under_its_rule(study, root, run=False) == earlier
    assert not (root / "toy/s" / NOTE).exists()
    assert under_its_rule(study, root, run=True) == earlier
    said = capsys.readouterr()
    assert "note: toy/s was begun with a version of kdlab that kept the epoch with the lowest val/loss" in said.err
    assert not said.out  # --list prints commands there
    assert yaml.safe_load((root / "toy/s" / NOTE).read_text()) == EARLIER
    (old.folder / "job.yaml").write_text(yaml.safe_dump(old.config))  # the job is run again: its config names the rule
    assert under_its_rule(study, root, run=True) == earlier
    named = read(tmp_path, set={"all": {"selection": "last"}})
    assert under_its_rule(named, root, run=True) == named
