"""Teachers that are the mean of several: over views, seeds and groups of people; weights, cache, and studies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import torch

from kdlab import AT, KD, CrossFittedTeacher, EnsembleTeacher, InputError, Supervised, Teacher, TeacherCache, cli
from kdlab.data import ArrayDataModule, CrossFit
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.ensemble_weights import validation_weights
from kdlab.nets import WideResNet
from kdlab.study.command import main
from kdlab.study.configs import get_value
from kdlab.study.plan import COPY, Study
from kdlab.views import Raw
from tests.conftest import trainer
from tests.test_cross_fit import WHO, data, net, write_study

CHANNEL = "0"


def two_views(**kwargs: Any) -> ArrayDataModule:
    return data(views={"raw": Raw(), "one": Raw(channels=[CHANNEL])}, channels=["0", "1"], **kwargs)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Teachers of two views and two seeds, and two that were trained without half of the people each."""
    folder, found = tmp_path_factory.mktemp("ensemble"), {}
    for i, (name, view) in enumerate(
        [("raw", "raw"), ("seed", "raw"), ("one", "one"), ("half1", "raw"), ("half2", "raw")]
    ):
        L.seed_everything(i, verbose=False)
        fit = trainer(folder, max_epochs=1)
        half = {"cross_fit": CrossFit(2, int(name[-1]))} if name.startswith("half") else {}
        own = WideResNet(10, 1, in_channels=1 if view == "one" else 2, num_classes=3)
        fit.fit(Supervised(own, view=view), two_views(**half))
        found[name] = str(folder / f"{name}.ckpt")
        fit.save_checkpoint(found[name])
    return found


def ensemble(files: dict[str, str], weights: dict[str, float] | None = None) -> EnsembleTeacher:
    members = {"raw": Teacher(files["raw"]), "seed": Teacher(files["seed"]), "one": Teacher(files["one"], view="one")}
    return EnsembleTeacher(members, weights)


def prepared(teacher: Any) -> Any:
    KD(net(), {"all": teacher}).prepare(two_views(), "fit")
    return teacher


@pytest.mark.parametrize("weights", [None, {"raw": 2.0, "seed": 0.0, "one": 3.0}])
def test_the_mean_of_the_logits(files: dict[str, str], weights: dict[str, float] | None) -> None:
    teacher, module = prepared(ensemble(files, weights)), two_views()
    shares = np.array([1.0, 1.0, 1.0] if weights is None else list(weights.values()))
    single = {name: Teacher(files[name]).load() for name in ("raw", "seed", "one")}
    for batch in module.batches("train"):
        views = {"raw": "raw", "seed": "raw", "one": "one"}
        logits = [single[name](batch.views[view]).logits.double().numpy() for name, view in views.items()]
        expected = np.tensordot(shares / shares.sum(), np.stack(logits), 1)
        np.testing.assert_allclose(teacher.of_training(batch).logits.numpy(), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(teacher.of_held_out(batch).logits.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert teacher.views == ("raw", "one")


def test_an_ensemble_of_teachers_that_have_not_seen_the_person(files: dict[str, str]) -> None:
    crossed = CrossFittedTeacher([files["half1"], files["half2"]])
    teacher = prepared(EnsembleTeacher({"halves": crossed, "one": Teacher(files["one"], view="one")}))
    halves = [Teacher(files[name]).load() for name in ("half1", "half2")]
    one = Teacher(files["one"]).load()
    left = [set(data(cross_fit=CrossFit(2, j)).fingerprint["left_out"]) for j in (1, 2)]
    for batch in two_views().batches("train"):
        both = np.stack([half(batch.views["raw"]).logits.double().numpy() for half in halves])
        who = [0 if str(WHO[i]) in left[0] else 1 for i in batch.index.tolist()]
        expected = (both[who, np.arange(len(who))] + one(batch.views["one"]).logits.double().numpy()) / 2
        np.testing.assert_allclose(teacher.of_training(batch).logits.numpy(), expected, rtol=1e-5, atol=1e-6)


def fitted(folder: Path, teacher: Any, cache: TeacherCache | None = None) -> Any:
    L.seed_everything(5, verbose=False)
    method = KD(net(), {"all": teacher}, cache=cache)
    fit = trainer(folder, max_epochs=1)
    fit.fit(method, two_views())
    return method, fit


def test_one_teacher_for_method_cache_and_checkpoint(tmp_path: Path, files: dict[str, str]) -> None:
    live, fit = fitted(tmp_path, ensemble(files))
    kept = TeacherCache(folder=str(tmp_path / "cache"))
    for cache in (kept, kept):
        cached, _ = fitted(tmp_path, ensemble(files), cache)
        assert all(torch.equal(value, live.state_dict()[name]) for name, value in cached.state_dict().items())
    assert len(list((tmp_path / "cache").iterdir())) == 1  # one array of logits, read again
    fitted(tmp_path, ensemble(files, {"raw": 1.0, "seed": 1.0, "one": 2.0}), kept)
    assert len(list((tmp_path / "cache").iterdir())) == 2  # other weights, other outputs
    assert set(live.teacher_scores) == {"all"}
    assert 0 <= live.teacher_scores["all"].accuracy <= 1
    fit.save_checkpoint(tmp_path / "student.ckpt")
    described = read_checkpoint(tmp_path / "student.ckpt")["kdlab"]["teachers"]["all"]
    assert [one["view"] for one in described["members"].values()] == ["raw", "raw", "one"]
    assert not any("teacher" in name or "_weights" in name for name in live.state_dict())


def test_weights_by_validation(tmp_path: Path, files: dict[str, str]) -> None:
    """Those of the lowest cross-entropy, by another solver; one for method, cache and checkpoint."""
    teacher, module = prepared(EnsembleTeacher(ensemble(files).members, "validation")), two_views()
    single = {name: Teacher(files[name]).load() for name in ("raw", "seed", "one")}
    views = {"raw": "raw", "seed": "raw", "one": "one"}
    batches = list(module.batches("val"))
    z = np.concatenate(
        [np.stack([single[k](b.views[v]).logits.double().numpy() for k, v in views.items()], 1) for b in batches]
    )
    y = np.concatenate([batch.target.numpy() for batch in batches])

    def loss(w: Any) -> float:
        mean = np.tensordot(z, w, (1, 0))
        return float(np.mean(scipy.special.logsumexp(mean, axis=1) - mean[np.arange(len(y)), y]))

    bounds = {"method": "SLSQP", "bounds": [(0, 1)] * 3, "constraints": {"type": "eq", "fun": lambda w: w.sum() - 1}}
    best = scipy.optimize.minimize(loss, np.full(3, 1 / 3), options={"ftol": 1e-12}, **bounds)
    own = np.array(list(teacher.weights.values()))
    assert abs(own.sum() - 1) < 1e-9
    assert own.min() >= 0
    assert loss(own) <= best.fun + 1e-4
    assert loss(own) <= loss(np.full(3, 1 / 3)) + 1e-9
    batch = next(module.batches("train"))
    logits = [single[k](batch.views[v]).logits.double().numpy() for k, v in views.items()]
    np.testing.assert_allclose(
        teacher.of_training(batch).logits.numpy(), np.tensordot(own, np.stack(logits), 1), atol=1e-5
    )
    assert str(list(teacher.weights.values())) in teacher.described()["made"]
    live, _ = fitted(tmp_path, EnsembleTeacher(ensemble(files).members, "validation"))
    cached, _ = fitted(tmp_path, EnsembleTeacher(ensemble(files).members, "validation"), TeacherCache())
    assert all(torch.equal(value, live.state_dict()[name]) for name, value in cached.state_dict().items())


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e4])
def test_weights_of_nets_whose_logits_differ_in_scale(scale: float) -> None:
    """A member whose logits are much larger gets a small weight, and none becomes NaN."""
    rng = np.random.default_rng(0)
    y = rng.integers(6, size=60)
    z = np.stack([k * (rng.normal(size=(60, 6)) + 1.2 * np.eye(6)[y]) for k in (1.0, scale)], 1)

    def loss(w: Any) -> float:
        mean = np.tensordot(z, w, (1, 0))
        return float(np.mean(scipy.special.logsumexp(mean, axis=1) - mean[np.arange(60), y]))

    found = validation_weights(torch.tensor(z), torch.tensor(y))
    shares = np.linspace(0, 1, 1001)
    best = min(shares, key=lambda share: loss(np.array([1 - share, share])))
    assert sum(found) == pytest.approx(1)
    assert found[1] == pytest.approx(best, abs=1.01e-3)


def test_what_is_refused(files: dict[str, str]) -> None:
    raw = Teacher(files["raw"])
    with pytest.raises(InputError, match=r"members must be .* with one at least, but got \{\}"):
        EnsembleTeacher({})
    for weights, message in (
        ({"a": 1.0}, "must name exactly the members, raw"),
        ({"raw": -1.0}, "must be at least 0"),
        ({"raw": 0.0}, "not all 0"),
        ({"raw": True}, "must be at least 0"),
    ):
        with pytest.raises(InputError, match=message):
            EnsembleTeacher({"raw": raw}, weights)
    with pytest.raises(InputError, match=r"teacher 'all': EnsembleTeacher gives logits alone.* but AT"):
        AT(net(), {"all": ensemble(files)}).prepare(two_views(), "fit")
    with pytest.raises(InputError, match=r"teacher 'all/raw' .* was trained on another split: its test subjects"):
        KD(net(), {"all": ensemble(files)}).prepare(two_views(test_subjects=[0, 11]), "fit")


# ------------------------------------------------------------------------------------------------ studies
def students(**teachers: Any) -> dict[str, Any]:
    return {name: {"config": "student.yaml", "teachers": {"raw": value}} for name, value in teachers.items()}


def planned(folder: Path, given: dict[str, Any]) -> Any:
    study = Study.read(write_study(folder, students=given))
    return study, study.jobs(folder / "runs", {"": []}, lambda config: "data")


def test_a_study_names_views_seeds_and_folds(tmp_path: Path) -> None:
    given = students(seeds={"runs": ["teacher"], "seeds": 2}, folds={"runs": ["teacher"], "folds": 2})
    given |= {"crossed": {**students(x=["teacher", "scratch"])["x"], "cross_fit": 2}}
    study, jobs = planned(tmp_path, given)
    assert list(study.runs) == [
        *("teacher", "scratch", "teacher_copy1", "seeds", "teacher_without1of2", "teacher_without2of2", "folds"),
        *("scratch_without1of2", "scratch_without2of2", "crossed"),
    ]
    seeds = jobs["seeds/seed0"]
    assert seeds.needs == ("teacher/shared", "teacher_copy1/shared")
    assert [jobs[name].config["seed_everything"] for name in seeds.needs] == [0, COPY]
    a, b = (jobs[name].config for name in seeds.needs)
    assert {k: v for k, v in a.items() if k not in ("run", "seed_everything")} == {
        k: v for k, v in b.items() if k not in ("run", "seed_everything")
    }
    entry = seeds.config["model"]["init_args"]["teachers"]["raw"]
    assert entry["class_path"] == "EnsembleTeacher"
    assert [one["checkpoint"] for one in entry["init_args"]["members"].values()] == [
        str(jobs[name].folder) for name in seeds.needs
    ]
    crossed = jobs["crossed/seed0"].config["model"]["init_args"]["teachers"]["raw"]["init_args"]["members"]
    assert [one["class_path"] for one in crossed.values()] == ["CrossFittedTeacher"] * 2
    assert [len(one["init_args"]["checkpoints"]) for one in crossed.values()] == [2, 2]
    # a student with the same teachers under the name of one run keeps its key
    plain = planned(tmp_path, students(kd="teacher"))[1]["kd/seed0"]
    again = planned(tmp_path, {**students(kd="teacher"), **given})[1]["kd/seed0"]
    assert plain.key == again.key


@pytest.mark.parametrize("more", [{"folds": 2}, {"cross_fit": 2}])
def test_a_copy_of_which_only_the_parts_teach_is_not_trained(tmp_path: Path, more: dict[str, int]) -> None:
    folds = {key: n for key, n in more.items() if key == "folds"}
    given = students(kd={"runs": ["teacher"], "seeds": 2, **folds})
    given["kd"] |= {key: n for key, n in more.items() if key == "cross_fit"}
    parts = [f"{run}_without{j}of2" for run in ("teacher", "teacher_copy1") for j in (1, 2)]
    study, jobs = planned(tmp_path, given)
    assert list(study.runs) == ["teacher", "scratch", *parts, "kd"]
    assert jobs["teacher_copy1_without2of2/shared"].config["seed_everything"] == COPY
    both, same = planned(tmp_path, given | students(copies={"runs": ["teacher"], "seeds": 2}))
    assert "teacher_copy1" in both.runs
    assert {name: same[name].key for name in jobs} == {name: job.key for name, job in jobs.items()}


@pytest.mark.parametrize(
    ("row", "places"),
    [
        ({}, [""]),
        ({"teachers": {"raw": ["teacher", "scratch"]}}, [".init_args.members.1", ".init_args.members.2"]),
        ({"cross_fit": 2}, [".init_args"]),
        (
            {"teachers": {"raw": ["teacher", "scratch"]}, "cross_fit": 2},
            [".init_args.members.1.init_args", ".init_args.members.2.init_args"],
        ),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_an_axis_and_a_tuned_setting_are_as_set(
    tmp_path: Path, row: dict[str, Any], places: list[str], alone: bool
) -> None:
    """An argument of a teacher becomes that of each of its members."""
    place = "model.init_args.teachers.raw"
    values: dict[str, Any] = {f"{place}.precision": "bf16"} if alone else {place: {"precision": "bf16"}}
    entry = {**students(kd="teacher")["kd"], **row}
    _, by_set = planned(tmp_path, {"kd": {**entry, "set": values}})
    study = Study.read(
        write_study(tmp_path, students={"kd": {**entry, "axes": ["a"]}}, axes={"a": {"x": {}, "y": values}})
    )
    by_axis = study.jobs(tmp_path / "runs", {"": []}, lambda config: "data")
    tuned = Study.read(write_study(tmp_path, students={"kd": entry})).jobs(
        tmp_path / "runs", {"": []}, lambda config: "data", lambda run, labels, fold: values if run == "kd" else {}
    )
    keys = {jobs[name].key for jobs, name in ((by_axis, "kd[a=y]/seed0"), (by_set, "kd/seed0"), (tuned, "kd/seed0"))}
    assert len(keys) == 1
    config = by_axis["kd[a=y]/seed0"].config
    assert [get_value(config, f"{place}{one}.precision") for one in places] == ["bf16"] * len(places)
    assert get_value(by_axis["kd[a=x]/seed0"].config, f"{place}{places[0]}.precision") is None


def test_an_axis_sets_what_is_of_the_ensemble_itself(tmp_path: Path) -> None:
    place = "model.init_args.teachers.raw.init_args"
    values = {f"{place}.weights": "validation", f"{place}.members.1.precision": "bf16"}
    given = {"kd": {**students(kd=["teacher", "scratch"])["kd"], "axes": ["a"]}}
    study = Study.read(write_study(tmp_path, students=given, axes={"a": {"x": values}}))
    config = study.jobs(tmp_path / "runs", {"": []}, lambda config: "data")["kd[a=x]/seed0"].config
    assert get_value(config, f"{place}.weights") == "validation"
    members = get_value(config, f"{place}.members")
    assert [one.get("precision") for one in members.values()] == ["bf16", None]


def test_weights_of_runs_are_shared_by_their_members(tmp_path: Path) -> None:
    value = {"runs": ["teacher", "scratch"], "seeds": 2, "weights": {"teacher": 3, "scratch": 1}}
    _, jobs = planned(tmp_path, students(kd=value))
    entry = jobs["kd/seed0"].config["model"]["init_args"]["teachers"]["raw"]["init_args"]
    assert entry["weights"] == {"1": 1.5, "2": 1.5, "3": 0.5, "4": 0.5}
    root = tmp_path / "runs/toy/cross"
    found = [Path(one["checkpoint"]).relative_to(root).parts[0] for one in entry["members"].values()]
    assert found == ["teacher", "teacher_copy1", "scratch", "scratch_copy1"]


def test_a_study_finds_weights_on_validation_windows(tmp_path: Path) -> None:
    value = {"runs": ["teacher", "scratch"], "weights": "validation"}
    _, jobs = planned(tmp_path, students(kd=value))
    entry = jobs["kd/seed0"].config["model"]["init_args"]["teachers"]["raw"]["init_args"]
    assert entry["weights"] == "validation"
    assert set(entry["members"]) == {"1", "2"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"runs": ["teacher"], "seeds": 10**9}, "seeds and folds must be at most 1,000, but got 1000000000"),
        (["teacher"], "must have at least two members"),
        ([], "must be a run, a list of different runs"),
        (["teacher", "teacher"], "must be a run, a list of different runs"),
        ({"runs": ["teacher"], "seeds": 0}, "must be a run, a list of different runs"),
        ({"run": ["teacher"]}, "must be a run, a list of different runs"),
        ({"runs": ["teacher", "scratch"], "weights": {"teacher": 1}}, "weights must name exactly the runs"),
        (["teacher", "techer"], "unknown name 'techer'"),
        ("techer_copy1", "unknown name 'techer_copy1'"),
    ],
)
def test_a_wrong_ensemble_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Study.read(write_study(tmp_path, students=students(kd=value)))


def test_folds_and_cross_fit_of_one_student(tmp_path: Path) -> None:
    value = students(kd={"runs": ["teacher"], "folds": 2})["kd"]
    with pytest.raises(InputError, match="must see all groups in its own config"):
        Study.read(write_study(tmp_path, students={"kd": {**value, "cross_fit": 2}}))


def test_a_study_with_an_ensemble_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"kd": {**students(kd={"runs": ["teacher"], "folds": 2})["kd"], "cross_fit": None}}
    path = write_study(tmp_path, students=given, seeds=1)
    main([str(path), "--only", "teacher_without1of2/shared"], cli.run, cli.check)
    main([str(path), "--only", "teacher_without2of2/shared"], cli.run, cli.check)
    main([str(path), "--only", "kd/seed0"], cli.run, cli.check)
    (student,) = (tmp_path / "runs/toy/cross/kd").rglob("best.ckpt")
    used = read_checkpoint(student)["kdlab"]["teachers"]["raw"]
    assert used["class"] == "EnsembleTeacher"
    assert [re.search(r"without\dof2", one["file"]) is not None for one in used["members"].values()] == [True, True]
    capsys.readouterr()
