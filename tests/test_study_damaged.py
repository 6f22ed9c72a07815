"""Results of a study that are cut, damaged or another job's: they count as not done, and are made again."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kdlab import cli, files
from kdlab.study.command import main
from kdlab.study.plan import Study
from kdlab.study.planned import plan
from kdlab.study.results import survey
from kdlab.types import InputError
from tests.test_study import toy


def study(*words):
    main(["study.yaml", *words], cli.run, cli.check)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    toy(folder, seeds=1, measure=["robustness", "embeddings", "latency"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study()
    return folder


@pytest.fixture
def here(finished, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def jobs(finished):
    """With relative folders, as the command has them."""
    return plan(Study.read(finished / "study.yaml"), Path("runs"))[1]


def scratch(folder):
    return next(folder.glob("runs/toy/study/scratch/*"))


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def zeros_inside(path):
    """In the middle, where the weights are: the file can still be opened."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def without(path, key):
    row = json.loads(path.read_text())
    del row[key]
    path.write_text(json.dumps(row))


def arrays(path, **changed):
    with np.load(path) as kept:
        found = dict(kept)
    np.savez_compressed(path, **{**found, **{name: f(found[name]) for name, f in changed.items()}})


def pickled(path):
    np.savez(path, index=np.array([object()], dtype=object))


def bomb(path):
    """Ten gigabytes of zeros in ten megabytes, as the directory of the archive says."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("target.npy", b"")
        file.filelist[0].file_size = 10**10


RESULT = {
    "cut": cut,
    "empty": lambda path: cut(path, 0),
    "zeros": zeros,
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "list": lambda path: path.write_text("[1]"),
    "no object": lambda path: path.write_text("{}"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "without accuracy": lambda path: without(path, "test_accuracy"),
    "without reliability": lambda path: without(path, "reliability"),
    "accuracy a word": lambda path: change(path, test_accuracy="high"),
    "accuracy not finite": lambda path: change(path, test_accuracy=float("nan")),
    "accuracy beyond 1": lambda path: change(path, test_accuracy=94.0),
    "huge": lambda path: change(path, parameters=10**400),
    "seconds a truth value": lambda path: change(path, seconds=True),
    "nested": lambda path: change(path, view={"a": "raw"}),
    "nested metric": lambda path: change(path, test_accuracy_noise1=[0.5]),
    "another job's": lambda path: change(path, key="0123456789"),
    "bins": lambda path: change(path, reliability={"confidence": [1], "accuracy": [1, 2], "count": [1]}),
}
ARRAYS = {
    "cut": cut,
    "empty": lambda path: cut(path, 0),
    "zeros": zeros,
    "zeros inside": zeros_inside,
    "pickled": pickled,
    "bomb": bomb,
    "gone": lambda path: path.unlink(),
    "fewer windows": lambda path: arrays(path, target=lambda y: y[1:]),
    "a class too many": lambda path: arrays(path, target=lambda y: y + 4),
    "not finite": lambda path: arrays(path, embedding=lambda x: x * np.nan),
    "words": lambda path: arrays(path, target=lambda y: y.astype(str)),
}
EVALUATION = {
    "cut": cut,
    "empty": lambda path: cut(path, 0),
    "list": lambda path: path.write_text("[]"),
    "without classes": lambda path: without(path, "classes"),
    "classes a number": lambda path: change(path, classes=4),
    "confusion a word": lambda path: change(path, confusion="x"),
    "gone": lambda path: path.unlink(),
}
CHECKPOINT = {
    "cut": cut,
    "empty": lambda path: cut(path, 0),
    "zeros": zeros,
    "zeros inside": zeros_inside,
    "text": lambda path: path.write_text("weights"),
}


def damages():
    for name, kinds in (
        ("result.json", RESULT),
        ("predictions.npz", ARRAYS),
        ("evaluation.json", EVALUATION),
        ("version_0/checkpoints/best.ckpt", CHECKPOINT),
    ):
        for kind, damage in kinds.items():
            yield pytest.param(name, damage, id=f"{Path(name).name}-{kind}")


@pytest.mark.parametrize(("name", "damage"), damages())
def test_what_is_damaged_counts_as_not_done(name, damage, here, jobs):
    assert list(survey(jobs).rows) == list(jobs)
    path = scratch(here) / name
    damage(path)
    found = survey(jobs)
    assert list(found.damaged) == ["scratch/seed0"]
    assert list(found.rows) == ["teacher/shared", "kd/seed0"]
    assert path.name in found.damaged["scratch/seed0"]
    assert "\n" not in found.damaged["scratch/seed0"]


def test_the_plan_tells_what_is_damaged(here, capsys):
    cut(scratch(here) / "evaluation.json")
    zeros(next(here.glob("runs/toy/study/kd/*")) / "version_0/checkpoints/best.ckpt")
    study("--dry-run")
    printed = capsys.readouterr().out
    notes = [line for line in printed.splitlines() if "note:" in line]
    assert ["scratch/seed0 counts as not done" in notes[0], "kd/seed0 counts as not done" in notes[1]] == [True, True]
    assert ["evaluation.json" in notes[0], "best.ckpt" in notes[1]] == [True, True]
    assert printed.count("1 jobs, 0 done") == 2
    study("--list")
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["scratch/seed0", "kd/seed0"]


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "damage"),
    [("result.json", RESULT["nested"]), ("predictions.npz", zeros), ("evaluation.json", cut)],
)
def test_damaged_results_are_measured_again(name, damage, here, jobs):
    table = (here / "runs/toy/study/results.csv").read_bytes()
    damage(scratch(here) / name)
    before = everything(here)
    study()
    assert (here / "runs/toy/study/results.csv").read_bytes() == table
    after = everything(here)
    trained = {path for path in after if path.suffix == ".ckpt" and after[path] != before.get(path)}
    assert not trained  # its weights are those of before
    assert not survey(jobs).damaged
    others = {path for path in before if "/kd/" in str(path) or "/teacher/" in str(path)}
    assert all(before[path] == after[path] for path in others)


@pytest.mark.parametrize(
    ("name", "damage", "measured"),
    [("best.ckpt", cut, True), ("best.ckpt", zeros_inside, False), ("last.ckpt", zeros, False)],
)
def test_a_damaged_checkpoint_is_trained_again(name, damage, measured, here, jobs):
    table = (here / "runs/toy/study/results.csv").read_bytes()
    folder = scratch(here)
    if not measured:
        (folder / "result.json").unlink()
    damage(folder / "version_0/checkpoints" / name)
    study()
    assert (folder / "version_1/checkpoints/best.ckpt").is_file()
    assert (folder / "version_0/checkpoints/best.ckpt").is_file()  # nothing is overwritten
    assert (here / "runs/toy/study/results.csv").read_bytes() == table
    assert not survey(jobs).damaged


def test_who_removes_predictions_and_weights_keeps_the_table(here):
    table = (here / "runs/toy/study/results.csv").read_bytes()
    for pattern in ("*.ckpt", "predictions.npz", "evaluation.json"):
        for path in here.rglob(pattern):
            path.unlink()
    study()
    assert (here / "runs/toy/study/results.csv").read_bytes() == table
    assert "embeddings.png" not in (here / "runs/toy/study/results.md").read_text()


def test_a_job_whose_teacher_is_damaged_waits_for_it(here, jobs):
    (next(here.glob("runs/toy/study/kd/*")) / "result.json").unlink()
    teacher = next(here.glob("runs/toy/study/teacher/*"))
    cut(teacher / "version_0/checkpoints/best.ckpt")
    with pytest.raises(InputError, match=r"kd/seed0 needs teacher/shared first"):
        study("--only", "kd/seed0")
    study()
    assert (teacher / "version_1/checkpoints/best.ckpt").is_file()
    assert not survey(jobs).damaged


def test_leftovers_of_a_killed_process_are_removed(here):
    folder = scratch(here)
    (folder / "result.json").unlink()
    name = f".kdlab-part-{files._host()}-{2**22 + 1}-abcdefgh.json"  # no machine has a process of this number
    places = [here / "runs/toy/study" / name, folder / name, folder / "version_0/checkpoints" / name]
    for place in places:
        place.write_text("half")
    study()
    assert not any(place.exists() for place in places)
