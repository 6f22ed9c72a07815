"""Out-of-person teachers: groups of people, who is served by which teacher, cache, resuming, refusals, and a study."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml

from kdlab import AT, KD, CrossFittedTeacher, InputError, Supervised, Teacher, TeacherCache, cli
from kdlab.data import ArrayDataModule, CrossFit, Mixup, Scale, Unlabelled
from kdlab.fingerprint import member_differences, unseen
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.nets import WideResNet
from kdlab.study.command import main
from kdlab.study.cross_fit import with_cross_fit
from kdlab.study.plan import Study
from kdlab.study.runs import Run
from kdlab.study.tuning.declared import read_tune
from kdlab.study.tuning.people import plan_people
from kdlab.study.tuning.steps import Planned, Tuning
from tests.conftest import trainer

WHO = np.arange(144) // 12
HELD = {"test_subjects": [10, 11], "val_subjects": [8, 9]}


def arrays() -> dict[str, Any]:
    """Twelve people with 12 windows each, 4 of each of three classes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(144, 2, 32)).astype(np.float32)
    y = np.tile([0, 1, 2] * 4, 12)
    x[:, 0] += 2 * y[:, None]
    return {"x": x, "y": y, "subject": WHO}


def data(**kwargs: Any) -> ArrayDataModule:
    return ArrayDataModule(**{**arrays(), **HELD, "batch_size": 8, "seed": 0, **kwargs})


def net() -> WideResNet:
    return WideResNet(10, 1, in_channels=2, num_classes=3)


def teach(folder: Path, name: str, **kwargs: Any) -> str:
    """The checkpoint of a teacher of one epoch."""
    L.seed_everything(len(name), verbose=False)
    fit = trainer(folder, max_epochs=1)
    fit.fit(Supervised(net()), data(**kwargs))
    path = folder / f"{name}.ckpt"
    fit.save_checkpoint(path)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three teachers, each without a third of the eight training people."""
    folder = tmp_path_factory.mktemp("members")
    return [teach(folder, f"member{j}", cross_fit=CrossFit(3, j)) for j in (1, 2, 3)]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two teachers of data in which only four of the training people keep their labels."""
    folder = tmp_path_factory.mktemp("few")
    return [teach(folder, f"m{j}", cross_fit=CrossFit(2, j), unlabelled=Unlabelled(labelled=4)) for j in (1, 2)]


# ------------------------------------------------------------------------------------------------ groups of people
def groups(count: int = 3, seed: int = 0, **kwargs: Any) -> list[list[str]]:
    return [data(cross_fit=CrossFit(count, j + 1, seed), **kwargs).fingerprint["left_out"] for j in range(count)]


def test_groups_follow_from_seed_and_ids() -> None:
    found = groups()
    assert sorted(name for group in found for name in group) == list("01234567")
    assert sorted(map(len, found)) == [2, 3, 3]
    order = np.random.default_rng(3).permutation(144)
    assert groups(x=arrays()["x"][order], y=arrays()["y"][order], subject=WHO[order]) == found
    assert len({str(groups(seed=seed)) for seed in range(5)}) > 1
    # the permutation that the documentation states
    names = [str(i) for i in range(8)]
    shuffled = [names[i] for i in np.random.default_rng([9, 0]).permutation(8)]
    assert found == [sorted(shuffled[j::3]) for j in range(3)]


def test_nothing_but_the_training_people_changes() -> None:
    full, parts = data(), [data(cross_fit=CrossFit(3, j)) for j in (1, 2, 3)]
    for part in parts:
        a, b = part.fingerprint, full.fingerprint
        assert sorted(a["train"] + a["left_out"], key=int) == b["train"]
        changed = {key for key in a if a[key] != b.get(key)}
        assert changed == {"train", "left_out", "id"}  # so scaling, validation and test people are the same
        seen = torch.cat([batch.index for batch in part.batches("train")])
        away = torch.cat([batch.index for batch in part.batches("left_out")])
        assert set(WHO[seen]) == {int(name) for name in a["train"]}
        assert set(WHO[away]) == {int(name) for name in a["left_out"]}
        assert sorted([*seen.tolist(), *away.tolist()]) == sorted(full.train_index.tolist())
        assert part.counts["left_out"] == {"windows": 12 * len(a["left_out"]), "groups": len(a["left_out"])}
    assert {row.part for row in parts[0].split_table()} == {"train", "val", "test", "left_out"}


def test_every_teacher_sees_every_class() -> None:
    y = np.where(np.isin(WHO, [2, 3, 8, 9, 10, 11]), np.arange(144) % 3, np.arange(144) % 2)  # class 2: people 2 and 3
    for seed in range(6):
        found = groups(4, seed, y=y)
        assert not any({"2", "3"} <= set(group) for group in found)


def test_unlabelled_people_are_in_no_group() -> None:
    some = Unlabelled(labelled=4)
    full = data(unlabelled=some)
    found = groups(2, unlabelled=some)
    assert sorted(name for group in found for name in group) == full.fingerprint["train"]
    part = data(unlabelled=some, cross_fit=CrossFit(2, 1))
    assert part.fingerprint["unlabelled"] == full.fingerprint["unlabelled"]
    assert part.fingerprint["scale"] == full.fingerprint["scale"]


def test_people_left_out_are_hashed_as_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDLAB_SALT", "a salt that is long enough")
    part = data(cross_fit=CrossFit(3, 1), subject_ids="hashed")
    assert all(re.fullmatch("h[0-9a-f]{12}", name) for name in part.fingerprint["left_out"])
    plain, hashed = data(cross_fit=CrossFit(3, 1)).fingerprint, data(subject_ids="hashed").fingerprint
    own = [str(name) for name in data(subject_ids="hashed").subject_of(list(range(0, 96, 12)))]
    assert len(unseen(plain, hashed, own)) == len(plain["left_out"])  # names in the checkpoint, hashes here
    assert unseen(part.fingerprint, data().fingerprint, list("01234567")) == set(plain["left_out"])  # and the reverse


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_fit": (1, 1)}, "groups must be a whole number of at least 2, but got 1"),
        ({"cross_fit": (3, 0)}, "without must be a whole number of at least 1"),
        ({"cross_fit": (3, 4)}, "without must be one of the groups 1 to 3, but got 4"),
        ({"cross_fit": (9, 1)}, "groups must be at most 8, the number of training people"),
        ({"subject": None, "recording": "each", "test_subjects": None, "val_subjects": None}, "split by people"),
    ],
)
def test_wrong_groups_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        data(**{**changes, "cross_fit": CrossFit(*changes.get("cross_fit", (3, 1)))}).setup()
    if "cross_fit" not in changes:
        return
    with pytest.raises(InputError, match="no training people are left out; set cross_fit"):
        next(data().batches("left_out"))


# ------------------------------------------------------------------------------------------------ who is served by whom
def prepared(files: list[str], module: ArrayDataModule, **kwargs: Any) -> KD:
    method = KD(net(), {"raw": CrossFittedTeacher(files)}, **kwargs)
    method.prepare(module, "fit")
    return method


def float64_logits(file: str, module: ArrayDataModule, stage: str) -> dict[int, np.ndarray]:
    """Window -> logits of one teacher, each window in the batch in which a step would have it."""
    teacher = Teacher(file).load()
    found = {}
    for batch in module.batches(stage):
        logits = teacher(batch.views["raw"]).logits.double().numpy()
        found |= dict(zip(batch.index.tolist(), logits, strict=True))
    return found


@pytest.mark.parametrize("labelled", [None, 4])
def test_no_window_is_served_by_a_teacher_that_saw_its_person(
    files: list[str], few: list[str], labelled: int | None
) -> None:
    used = files if labelled is None else few
    module = data(unlabelled=None if labelled is None else Unlabelled(labelled=labelled))
    method = prepared(used, module)
    teacher = dict(method.named_teachers())["raw"]
    seen = [set(read_checkpoint(file)["kdlab"]["fingerprint"]["train"]) for file in used]
    single = [float64_logits(file, module, "train") for file in used]
    leaks = windows = means = 0
    for batch in module.batches("train"):
        out = teacher.of_training(batch)
        assert out.features == {}
        for i, logits in zip(batch.index.tolist(), out.logits.numpy(), strict=True):
            may = [j for j in range(len(used)) if str(WHO[i]) not in seen[j]]
            leaks += sum(bool(teacher.served[i, j]) for j in range(len(used)) if j not in may)
            assert [j for j in range(len(used)) if teacher.served[i, j]] == may
            expected = np.mean([single[j][i] for j in may], axis=0)
            if len(may) == 1:
                assert logits.tolist() == expected.tolist()  # those of this teacher, to the last bit
            else:
                np.testing.assert_allclose(logits, expected, rtol=1e-6, atol=1e-7)
            windows, means = windows + 1, means + (len(may) > 1)
    assert (leaks, windows) == (0, 96)
    assert means == (0 if labelled is None else 48)  # the windows of four people without label
    val = [float64_logits(file, module, "val") for file in used]
    for batch in module.batches("val"):
        expected = np.stack([np.mean([one[i] for one in val], axis=0) for i in batch.index.tolist()])
        np.testing.assert_allclose(teacher.of_held_out(batch).logits.numpy(), expected, rtol=1e-6, atol=1e-7)
        with pytest.raises(InputError, match="must be a training window of the data module, but 8 of 8"):
            teacher.of_training(batch)


def fitted(folder: Path, files: list[str], epochs: int = 2, ckpt: Any = None, **kwargs: Any) -> tuple[Any, Any]:
    L.seed_everything(5, verbose=False)
    method = KD(net(), {"raw": CrossFittedTeacher(files)}, **kwargs)
    fit = trainer(folder, max_epochs=epochs)
    fit.fit(method, data(), ckpt_path=ckpt)
    return method, fit


def test_cached_outputs_resuming_and_the_student_alone(tmp_path: Path, files: list[str]) -> None:
    live, fit = fitted(tmp_path, files)
    expected = {name: value.clone() for name, value in live.state_dict().items()}
    assert not any("teacher" in name or "served" in name for name in expected)
    kept = TeacherCache(folder=str(tmp_path / "cache"))
    for cache in (TeacherCache(), kept, kept):
        cached, _ = fitted(tmp_path, files, cache=cache)
        assert all(torch.equal(value, expected[name]) for name, value in cached.state_dict().items())
    assert len(list((tmp_path / "cache").iterdir())) == 1  # the third fit found the outputs of the second
    other, _ = fitted(tmp_path, [files[1], files[0], files[2]], cache=kept)  # the same nets: the same soft targets
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert all(torch.equal(value, expected[name]) for name, value in other.state_dict().items())

    _, begun = fitted(tmp_path, files, epochs=1)
    begun.save_checkpoint(tmp_path / "last.ckpt")
    resumed, _ = fitted(tmp_path, files, ckpt=tmp_path / "last.ckpt")
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())

    fit.save_checkpoint(tmp_path / "student.ckpt")
    checkpoint = read_checkpoint(tmp_path / "student.ckpt")
    described = checkpoint["kdlab"]["teachers"]["raw"]
    assert described["class"] == "CrossFittedTeacher"
    assert [one["file"] for one in described["members"].values()] == files
    assert all(name.startswith("net.") for name in checkpoint["state_dict"] if "metrics" not in name)
    gone = KD(net(), {"raw": CrossFittedTeacher(["gone1", "gone2"])})  # a student is tested without its teachers
    tested = trainer(tmp_path).test(gone, data(), ckpt_path=str(tmp_path / "student.ckpt"), verbose=False)
    assert 0 <= tested[0]["test/accuracy"] <= 1


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("others")
    fixed = {"scale": Scale([0.0, 0.0], [1.0, 1.0])}
    return {
        "tested": teach(folder, "tested", **fixed, test_subjects=[0, 1], val_subjects=[8, 9]),
        "validates": teach(folder, "validates", **fixed, test_subjects=[0, 1, 10, 11], val_subjects=[8, 2]),
        "low": teach(folder, "low", **fixed, test_subjects=[0, 1, 2, 10, 11], val_subjects=[8, 9]),
        "high": teach(folder, "high", **fixed, test_subjects=[3, 4, 5, 6, 7, 10, 11], val_subjects=[8, 9]),
        "stopped": teach(folder, "stopped", **fixed, test_subjects=[3, 4, 5, 10, 11], val_subjects=[6, 7, 8, 9]),
    }


def test_a_person_whom_all_have_seen_is_counted_and_not_named(files: list[str], others: dict[str, str]) -> None:
    left = data(cross_fit=CrossFit(3, 3)).fingerprint["left_out"]
    with pytest.raises(InputError, match=rf"but {len(left)} of 8 people were seen by all of them") as raised:
        prepared(files[:2], data())
    assert not re.search(r"'\d'|people? \d(,|$)", str(raised.value))
    fixed = {"scale": Scale([0.0, 0.0], [1.0, 1.0])}
    with pytest.raises(InputError, match=r"trained or selected on 2 of the 2 people tested here\."):
        prepared([others["tested"], others["low"]], data(**fixed))
    with pytest.raises(InputError, match=r"trained on 1 of the 2 people who validate here; its data were scaled with"):
        prepared([others["validates"], files[0]], data())
    # teachers of splits of the user's own: 6 and 7 trained the first and validated the second
    with pytest.raises(InputError, match=r"but 2 of 8 people were seen by all of them"):
        prepared([others["low"], others["stopped"]], data(**fixed))
    method = prepared([others["low"], others["high"]], data(**fixed))
    served = dict(method.named_teachers())["raw"].served
    assert served[::12].tolist() == [[True, False]] * 3 + [[False, True]] * 5


def test_what_cannot_be_shown_or_served_is_refused(files: list[str], tmp_path: Path) -> None:
    torch.save({"state_dict": net().state_dict()}, tmp_path / "foreign.ckpt")
    with pytest.raises(InputError, match="at least two different files"):
        CrossFittedTeacher(files[:1])
    with pytest.raises(InputError, match=r"windows of one person each, but mix is Mixup\(alpha=1.0"):
        prepared(files, data(mix=Mixup()))
    with pytest.raises(InputError, match=r"gives logits alone.*AT.* reads stage1, stage2, stage3"):
        AT(net(), {"raw": CrossFittedTeacher(files)}).prepare(data(), "fit")
    with pytest.raises(InputError, match="its data were scaled with other numbers"):
        prepared(files, data(scale="minmax"))
    with pytest.raises(InputError, match="labels of 2 of 4 people whose labels are not used here"):
        prepared(files, data(unlabelled=Unlabelled(people=["0", "1", "2", "3"])))
    random = {"subject": None, "recording": "each", "test_subjects": None, "val_subjects": None}
    with pytest.raises(InputError, match="does not fit this run: grouping 'subject', here 'recording'"):
        prepared(files, data(**random))
    loader = torch.utils.data.DataLoader([(torch.zeros(2, 32), 0)] * 4, batch_size=2)
    method = KD(net(), {"raw": CrossFittedTeacher(files)})
    with pytest.raises(InputError, match="the data have no fingerprint"):
        trainer(tmp_path).fit(method, loader, loader)
    with pytest.raises(InputError, match="reads batches, not single views"):
        CrossFittedTeacher(files)(torch.zeros(1, 2, 32))


def test_differences_of_members() -> None:
    current = data().fingerprint
    assert member_differences(data(cross_fit=CrossFit(3, 1)).fingerprint, current) == []
    assert member_differences({**current, "dataset": "x"}, current) == ["dataset 'x', here 'arrays'"]


# ------------------------------------------------------------------------------------------------ a study
def write_study(folder: Path, **more: Any) -> Path:
    given = arrays()
    np.savez(folder / "d.npz", **given)
    spec = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 2, "num_classes": 3}}
    arguments = {"path": "d.npz", "val_subjects": [8, 9], "test_subjects": [10, 11], "batch_size": 8}
    common = {
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "data": {"class_path": "ArrayDataModule", "init_args": arguments},
    }
    student = {"student": spec, "teachers": {"raw": {"checkpoint": "of the study"}}, "cache": {"budget": "2GiB"}}
    configs = {
        "supervised": {**common, "model": {"class_path": "Supervised", "init_args": {"net": spec, "view": "raw"}}},
        "student": {**common, "model": {"class_path": "KD", "init_args": student}},
    }
    for name, config in configs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    crossed = {"config": "student.yaml", "teachers": {"raw": "teacher"}, "cross_fit": 2}
    study = {
        "study": "toy/cross",
        "seeds": 1,
        "teachers": {"teacher": {"config": "supervised.yaml", "one_per": "fold"}},
        "scratch": {"scratch": {"config": "supervised.yaml"}},
        "students": {"crossed": crossed, "cold": {**crossed, "set": {"model.init_args.temperature": 2.0}}},
        **more,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return path


def test_a_study_adds_and_shares_the_teachers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_study(tmp_path)
    main([str(path), "--dry-run"], cli.run, cli.check)
    listed = capsys.readouterr().out
    assert "cross: 6 jobs" in listed  # teacher, scratch, two teachers for both students
    assert re.search(r"teacher_without2of2 +1 jobs, 0 done, added by the study", listed)
    assert "needs teacher_without1of2, teacher_without2of2" in listed
    main([str(path)], cli.run, cli.check)
    folder = tmp_path / "runs/toy/cross"
    rows = {row["run"]: row for row in csv.DictReader((folder / "results.csv").open(encoding="utf-8"))}
    members = [rows[f"teacher_without{j}of2"] for j in (1, 2)]
    assert [row["left_out_people"] for row in members] == ["4", "4"]
    assert rows["teacher"]["left_out_people"] == ""
    right = sum(float(row["left_out_accuracy"]) * int(row["left_out_windows"]) for row in members)
    report = (folder / "results.md").read_text(encoding="utf-8")
    assert f"| teacher, 2 groups | – | 8 | 96 | 1 | {100 * right / 96:.1f} |" in report
    differences = report.partition("## Differences of the test accuracy")[2]
    assert "| teacher | scratch |" in differences  # the teachers of cross_fit are compared with nothing
    assert "without1of2" not in differences.partition("## F1 by class")[0].replace("| crossed", "")
    # the accuracy of each teacher on the people left out, from its checkpoint
    for j, row in enumerate(members, start=1):
        (file,) = (folder / f"teacher_without{j}of2").rglob("best.ckpt")
        module = data(cross_fit=CrossFit(2, j))
        found = float64_logits(str(file), module, "left_out")
        hits = sum(int(logits.argmax()) == arrays()["y"][i] for i, logits in found.items())
        assert float(row["left_out_accuracy"]) == pytest.approx(hits / len(found))
        assert set(module.fingerprint["left_out"]) == {str(WHO[i]) for i in found}
    (student,) = (folder / "crossed").rglob("best.ckpt")
    used = read_checkpoint(student)["kdlab"]["teachers"]["raw"]
    assert used["class"] == "CrossFittedTeacher"
    assert ["without1of2" in used["members"]["1"]["file"], "without2of2" in used["members"]["2"]["file"]] == [True] * 2
    capsys.readouterr()
    main([str(path)], cli.run, cli.check)
    assert "0 jobs run, 6 were done before" in capsys.readouterr().out
    result = next((folder / "teacher_without1of2").rglob("result.json"))
    assert json.loads(result.read_text())["left_out_windows"] == 48


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_fit": 1}, "cross_fit must be a number of groups of at least 2.*but got 1"),
        ({"cross_fit": {"groups": 2, "sed": 1}}, "cross_fit must be a number of groups"),
        ({"cross_fit": 10**9}, "groups of cross_fit must be at most 1,000, but got 1000000000"),
        ({"cross_fit": True}, "cross_fit must be a number of groups"),
        ({"teachers": {}, "set": {"model.init_args.teachers": {}}, "cross_fit": 2}, "left out of a run without teach"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    entry = {"config": "student.yaml", "teachers": {"raw": "teacher"}, **changes}
    with pytest.raises(InputError, match=message):
        Study.read(write_study(tmp_path, students={"kd": entry}))


def test_teachers_of_teachers_and_names_that_are_taken() -> None:
    teacher = Run("t", "teacher", {"data": "BasicMotions"})
    student = Run("s", "student", {}, {"raw": "t"}, cross_fit=(2, 7))
    found = with_cross_fit({"t": teacher, "s": student}, "f")
    assert list(found) == ["t", "t_without1of2_seed7", "t_without2of2_seed7", "s"]
    data = found["t_without2of2_seed7"].config["data"]
    assert data == {"class_path": "BasicMotions", "init_args": {"cross_fit": {"groups": 2, "without": 2, "seed": 7}}}
    assert found["t"].config == {"data": "BasicMotions"}
    taken = {"t": teacher, "t_without1of2_seed7": teacher, "s": student}
    with pytest.raises(InputError, match="must be the name of a teacher that cross_fit adds"):
        with_cross_fit(taken, "f")
    taught = {"u": teacher, "t": Run("t", "teacher", {}, {"raw": "u"}), "s": student}
    with pytest.raises(InputError, match="must not need other runs, which have seen everyone, but needs u"):
        with_cross_fit(taught, "f")


def test_the_teachers_have_the_settings_that_were_tuned_for_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lr, temperature = {"data.init_args.batch_size": [4, 8]}, {"model.init_args.temperature": [1.0, 2.0]}
    own = {"teachers": lr, "scratch": lr, "students": temperature}
    held = {"data.init_args.val_subjects": [4, 5]}
    tune = {"trials": 1, "people": [0, 1, 2, 3, 4, 5], "own": own}
    study = Study.read(write_study(tmp_path, tune=tune, set={"all": held}))
    read = read_tune(study)
    assert read is not None
    assert set(read.own) == {"teacher", "scratch", "crossed", "cold"}
    tuning = Tuning(study, read, plan_people(study, read)[1], tmp_path / "runs")
    (step,) = [one for one in tuning.steps.values() if one.title == "crossed"]
    assert [name.split("/", 1)[1] for name in step.after] == ["teacher/teacher"]
    planned = Planned(chosen={step.after[0]: type("Best", (), {"values": {"data.init_args.batch_size": 4}})()})
    (part,) = tuning.parts
    assert tuning.settings("teacher_without1of2", {}, part, planned.chosen) == {"data.init_args.batch_size": 4}
    jobs = tuning._needed("crossed", {}, part, planned)
    assert [job.config["data"]["init_args"]["batch_size"] for job in jobs.values()] == [4, 4]
