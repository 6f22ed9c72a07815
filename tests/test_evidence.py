"""``evidence.json``: what a study shows of its rows, against numpy; no person's name is in it."""

import json
import subprocess

import numpy as np
import pytest
from scipy import stats

from kdlab.export.evidence import evidence_of
from kdlab.study import evidence
from kdlab.study.evidence import NAME, commit_of_sources
from kdlab.study.report import write_report

PEOPLE = [f"Zoltan{letter}" for letter in "ABCDEFGH"]
SHARES = {"scratch": 0.70, "kd": 0.72, "tpkd": 0.90}


def rows(people=True, updates=None):
    """Three runs over four folds of two people and two seeds, of 50 windows a person."""
    rng = np.random.default_rng(0)
    found = []
    for run, share in SHARES.items():
        for fold in range(4):
            for seed in range(2):
                correct = {p: int(rng.binomial(50, share)) for p in PEOPLE[2 * fold : 2 * fold + 2]}
                row = {
                    **{"run": run, "stage": "scratch" if run == "scratch" else "student", "labels": {}, "seed": seed},
                    **{"fold": f"subject{PEOPLE[2 * fold]}", "test_windows": 100, "view": "raw", "sources": "s"},
                    "key": f"{run}{fold}{seed}",
                    "selection": "last epoch",
                    "test_accuracy": sum(correct.values()) / 100,
                    "val_accuracy": 0.5,
                }
                if people:
                    row["people"] = {p: {"windows": 50, "correct": n} for p, n in correct.items()}
                if updates:
                    row |= {"updates": updates[run], "updates_warm_start": 0}
                found.append(row)
    return found


def written(tmp_path, listed, **kwargs):
    write_report(listed, [], tmp_path, name="demo", baselines=("scratch", "kd"), draw=False, **kwargs)
    return json.loads((tmp_path / NAME).read_text("utf-8"))


def test_accuracy_over_people_and_controls(tmp_path):
    listed = rows()
    found = written(tmp_path, listed, commit="c0ffee")
    assert (found["study"], found["commit"], list(found["rows"])) == ("demo", "c0ffee", ["scratch", "kd", "tpkd"])
    row = found["rows"]["tpkd"]
    mine = [r for r in listed if r["run"] == "tpkd"]
    means = {p: np.mean([r["people"][p]["correct"] / 50 for r in mine if p in r["people"]]) for p in PEOPLE}
    assert row["accuracy"] == pytest.approx(np.mean(list(means.values())))
    assert (row["over"], row["units"], row["runs"], row["folds"], row["seeds"]) == ("people", 8, 8, 4, 2)
    low, high = row["interval"]
    assert low < row["accuracy"] < high <= 1.0
    assert row["selection"] == ["last epoch"]
    scratch, kd = row["controls"]
    assert (scratch["row"], scratch["over"], scratch["units"], scratch["shown"]) == ("scratch", "people", 8, True)
    assert scratch["difference"] == pytest.approx(row["accuracy"] - found["rows"]["scratch"]["accuracy"])
    assert kd["shown"] is True
    assert row["misses"] == []  # it is better than both
    (control,) = found["rows"]["kd"]["controls"]
    assert control["shown"] is False
    assert found["rows"]["kd"]["misses"][0].startswith("not shown to be better than scratch: ")
    assert row["nets"]["tpkd00"] == {"accuracy": mine[0]["test_accuracy"], "windows": 100, "people": 2}
    text = (tmp_path / NAME).read_text("utf-8")
    assert "Zoltan" not in text
    assert "Zoltan" in (tmp_path / "people.csv").read_text("utf-8")  # the tables of the laboratory name them


def test_without_people_the_interval_is_over_folds(tmp_path):
    row = written(tmp_path, rows(people=False))["rows"]["kd"]
    by_fold = [[r["test_accuracy"] for r in rows() if r["run"] == "kd" and r["key"][2] == str(f)] for f in range(4)]
    folds = np.mean(by_fold, axis=1)
    half = stats.t.ppf(0.975, 3) * np.std(folds, ddof=1) / 2
    assert (row["over"], row["units"]) == ("folds", 4)
    np.testing.assert_allclose(row["interval"], [folds.mean() - half, folds.mean() + half])
    assert row["nets"]["kd00"]["people"] is None


def test_folds_that_are_equal_but_for_rounding_have_no_interval(tmp_path):
    noise = np.float32(1e-7)
    listed = [
        row | {"test_accuracy": float(np.float32(0.9) + noise * (row["fold"] == f"subject{PEOPLE[0]}"))}
        for row in rows(people=False)
    ]
    row = written(tmp_path, listed)["rows"]["kd"]
    assert (row["interval"], row["method"]) == (None, "all folds are equal, so no interval")
    (control,) = row["controls"]
    assert (control["interval"], control["shown"]) == (None, None)
    equal = [row | {"val_accuracy": 0.5 + (2e-8 if row["run"] == "tpkd" else 0)} for row in rows()]
    found = written(tmp_path, equal, teachers={"tpkd": ["kd"]})["rows"]
    assert found["tpkd"]["misses"] == []  # its teacher is not below it


def test_misses_are_told(tmp_path):
    listed = rows(updates={"scratch": 600, "kd": 300, "tpkd": 300})
    listed[-1]["sources"] = "other"
    listed = [row | ({"val_accuracy": 0.4} if row["run"] == "kd" else {}) for row in listed]
    found = written(tmp_path, listed, teachers={"tpkd": ["kd"]})["rows"]
    assert found["tpkd"]["misses"] == [
        "not compared with scratch: 300 and 600 updates",
        "kd is below tpkd: validation accuracy 40.0 % against 50.0 %",
        "rows of 2 versions of the sources",
    ]
    one = written(tmp_path / "one", [row for row in rows() if row["seed"] == 0 and row["fold"] == "subjectZoltanA"])
    assert one["rows"]["kd"]["interval"] is None
    assert one["rows"]["kd"]["method"] == "fewer than 5 people, so no interval"
    assert one["rows"]["kd"]["misses"][0].startswith("not shown to be better than scratch: ")


def test_too_few_people_leave_the_interval_of_the_table(tmp_path):
    listed = [row for row in rows() if row["key"][-2] in "01"]  # two folds, four people
    for row in listed:
        right = {"scratch": 800, "kd": 700 if row["key"][-2] == "0" else 698, "tpkd": 900}[row["run"]]
        row["people"] = {person: {"windows": 1000, "correct": right} for person in row["people"]}
        row["test_accuracy"] = right / 1000
    row = written(tmp_path, listed)["rows"]["kd"]
    (control,) = row["controls"]
    half = stats.t.ppf(0.975, 1) * np.std([-0.1, -0.102], ddof=1) / np.sqrt(2)
    np.testing.assert_allclose(control["interval"], [-0.101 - half, -0.101 + half])
    assert (control["over"], control["units"], control["shown"]) == ("folds", 2, True)
    (miss,) = row["misses"]
    cell = miss.removeprefix("worse than scratch: ").removesuffix(" points")
    assert f"| **{cell}** |" in (tmp_path / "results.md").read_text("utf-8")


def test_a_checkpoint_finds_its_row(tmp_path):
    listed = [{**row, "key": f"{i:010x}", "labels": {"size": "2"}} for i, row in enumerate(rows())]
    written(tmp_path / "demo", listed)
    job = tmp_path / "demo/kd/size=2/subjectZoltanA-seed0-0000000008/version_0/checkpoints"
    job.mkdir(parents=True)
    found = evidence_of(job / "best.ckpt")
    assert (found["row"], found["study"], found["this_net"]["windows"]) == ("kd (size=2)", "demo", 100)
    assert "nets" not in found
    other = job.parents[1].with_name("subjectZoltanA-seed0-00000000ff") / "version_0/checkpoints/best.ckpt"
    assert evidence_of(other) is None  # a job of earlier settings
    assert evidence_of(tmp_path / "runs/mine/kd/version_0/checkpoints/best.ckpt") is None
    assert evidence_of(None) is None


def test_the_commit_is_that_of_the_clone_of_kdlab(tmp_path, monkeypatch):
    package = tmp_path / "kdlab/__init__.py"
    package.parent.mkdir()
    package.write_text("")
    monkeypatch.setattr(evidence, "_package", str(package))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_of_sources() is None  # an installed wheel
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]

    def git(*words):
        line = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    assert commit_of_sources() == git("rev-parse", "HEAD")
    package.write_text("x = 1")
    assert commit_of_sources() == f"{git('rev-parse', 'HEAD')} with changes"
    inner = tmp_path / "venv/kdlab/__init__.py"  # an environment within a clone of something else
    inner.parent.mkdir(parents=True)
    inner.write_text("")
    monkeypatch.setattr(evidence, "_package", str(inner))
    assert commit_of_sources() is None
