"""Training windows without a label: which they are, the order of batches, the terms, the fingerprint, fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

import kdlab
from kdlab import KD, InputError, Supervised, Teacher, TeacherCache, functional
from kdlab.data import ArrayDataModule, Mixup, RecordingDataModule, Scale, Unlabelled
from kdlab.data.sampler import MixedSampler
from kdlab.fingerprint import split_differences
from kdlab.nets import WideResNet
from kdlab.objective import Objective
from kdlab.objectives import CrossEntropy, SoftTargets
from kdlab.types import Output
from kdlab.views import Raw
from tests.conftest import trainer
from tests.test_labels import OPTIONS, batch, net, reference
from tests.test_objectives import OBJECTIVES, output, teachers


def data(unlabelled: Any = None, **kwargs: Any) -> ArrayDataModule:
    """Ten people with 12 windows each, 4 of each class; people 8 and 9 are tested, 6 and 7 validate."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2, 32)).astype(np.float32)
    target = np.tile([0, 1, 2] * 4, 10)
    x[:, 0] += 2 * target[:, None]
    who = np.arange(120) // 12
    fixed = {"test_subjects": [8, 9], "val_subjects": [6, 7], "batch_size": 8, "seed": 0}
    return ArrayDataModule(x, target, who, unlabelled=unlabelled, **{**fixed, **kwargs})


def teacher() -> dict[str, Teacher]:
    return {"raw": Teacher(net=net(), mean=[0.0, 0.0], std=[1.0, 1.0])}


def people(module: Any, index: Any) -> set[str]:
    return set(module.subject_of(list(index)))


# ------------------------------------------------------------------------------------------------ which windows


def test_people_whose_labels_are_not_used() -> None:
    module = data(Unlabelled(people=["0", "3"]))
    module.setup()
    assert module.counts["train"] == {"windows": 48, "groups": 4}
    assert module.counts["unlabelled"] == {"windows": 24, "groups": 2}
    assert module.unlabelled_count == 24
    assert module.class_counts == [16, 16, 16]
    batches = list(module.batches("train"))
    target = torch.cat([b.target for b in batches])
    index = torch.cat([b.index for b in batches])
    assert index.tolist() == module.train_index.tolist()
    assert people(module, index[target < 0].tolist()) == {"0", "3"}
    assert people(module, index[target >= 0].tolist()) == {"1", "2", "4", "5"}
    assert torch.equal(target[target >= 0], torch.from_numpy(module.data.target[index[target >= 0].numpy()]))
    fingerprint = module.fingerprint
    assert (fingerprint["unlabelled"], fingerprint["unlabelled_windows"]) == (["0", "3"], 24)
    assert "unlabelled" not in data().fingerprint
    for stage in ("val", "test"):
        assert all((b.target >= 0).all() for b in module.batches(stage))


def test_scaling_is_that_of_the_labelled_windows() -> None:
    module, alone = data(Unlabelled(people=["0", "3"])), data(drop_classes=None)
    rows = np.flatnonzero(np.isin(np.arange(120) // 12, [1, 2, 4, 5]))
    wanted = alone.data.windows["raw"][rows].astype(np.float64).mean((0, 2))
    np.testing.assert_allclose(module.fingerprint["scale"]["raw"]["offset"], wanted, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 6])
def test_so_many_people_keep_their_labels(count: int) -> None:
    module = data(Unlabelled(labelled=count))
    assert module.counts["train"]["groups"] == count
    assert module.counts["unlabelled"]["groups"] == 6 - count
    assert not set(module.fingerprint["train"]) & set(module.fingerprint["unlabelled"])
    assert data(Unlabelled(labelled=count)).fingerprint == module.fingerprint
    if count == 3:
        others = {tuple(data(Unlabelled(labelled=3, seed=s)).fingerprint["train"]) for s in range(8)}
        assert len(others) > 1


def test_left_out_for_comparison() -> None:
    """The same labels, people and scaling as with the windows without a label, and none of these in a batch."""
    with_them, module = data(Unlabelled(labelled=2)), data(Unlabelled(labelled=2, left_out=True))
    for _ in range(2):  # a second setup changes nothing
        with_them.setup()
        module.setup()
        assert with_them.unlabelled_count == 48
        assert module.unlabelled_count == 0
    assert module.fingerprint == with_them.fingerprint
    assert module.train_index.tolist() == with_them.train_index[:24].tolist()
    read = torch.cat([b.index for b in module.train_dataloader()]).tolist()
    assert sorted(read) == sorted(module.train_index.tolist())
    ratio = data(Unlabelled(labelled=2, left_out=True, ratio=0.5))
    assert all((b.target >= 0).all() for b in ratio.train_dataloader())
    assert len(ratio.train_dataloader()) == 3
    with pytest.raises(InputError, match="unlabelled: left_out must be true or false, but got 'yes'"):
        Unlabelled(labelled=2, left_out="yes")  # type: ignore[arg-type]


def test_the_people_who_keep_their_labels_have_every_class() -> None:
    rng = np.random.default_rng(0)
    who = np.arange(120) // 12
    y = np.where(np.isin(who, [2, 7, 8, 9, 6]), np.arange(120) % 3, np.arange(120) % 2)  # class 2: 2, 6, 7, 8, 9
    x = rng.normal(size=(120, 1, 32))
    module = ArrayDataModule(x, y, who, test_subjects=[8, 9], val_subjects=[6, 7], unlabelled=Unlabelled(labelled=1))
    assert module.fingerprint["train"] == ["2"]


@pytest.mark.parametrize("kind", [list, np.array])
def test_people_without_a_label_cannot_validate(kind: Any) -> None:
    """They are not tested, as a message would have it that knows only of tested people."""
    x, y, who = np.zeros((120, 1, 32)), np.arange(120) % 2, np.arange(120) // 12
    y[who == 7] = -1
    named: Any = {"test_subjects": [1], "val_subjects": kind([7, 2])}
    with pytest.raises(InputError, match=r"val_subjects must be people with labelled windows, but got 7, whose"):
        ArrayDataModule(x, y, who, unlabelled=Unlabelled(missing=True), **named).setup()
    y[who == 7] = 2
    with pytest.raises(InputError, match=r"but got 7, whose windows all have no label or a class that is left out"):
        ArrayDataModule(x, y, who, drop_classes=["2"], **named).setup()
    with pytest.raises(InputError, match=r"subject 1 in two splits: named for validation, but tested"):
        ArrayDataModule(x, y, who, test_subjects=[1], val_subjects=kind([1, 2])).setup()


def test_a_class_that_is_none() -> None:
    module = data(Unlabelled(classes=["2"]))
    module.setup()
    assert module.classes == ["0", "1"]
    assert module.counts["train"]["windows"] == 48
    assert module.counts["unlabelled"]["windows"] == 24
    assert module.counts["test"]["windows"] == 16
    assert set(module.data.target[module.train_index[48:]].tolist()) == {2}


def test_arrays_without_labels() -> None:
    rng = np.random.default_rng(1)
    more, whose = rng.normal(size=(10, 2, 32)), [20] * 4 + [8] * 3 + [7] * 2 + [0]
    module = data(x_unlabelled=more, subject_unlabelled=whose)
    module.setup()
    assert module.unlabelled_count == 5  # of 20 and of 0, who trains; 8 is tested, 7 validates
    assert people(module, module.train_index[-5:]) == {"20", "0"}
    np.testing.assert_allclose(module.data.windows["raw"][module.train_index[-1]], more[9].astype(np.float32))
    with pytest.raises(InputError, match="subject, subject_unlabelled must be both given"):
        data(x_unlabelled=more).setup()
    with pytest.raises(InputError, match="x_unlabelled: windows of shape"):
        data(x_unlabelled=more[:, :1], subject_unlabelled=whose).setup()


def test_an_npz_with_windows_without_labels(tmp_path: Path) -> None:
    module = data()
    arrays = {"x": module.data.windows["raw"], "y": module.data.target, "subject": np.arange(120) // 12}
    np.savez(tmp_path / "d.npz", **arrays, x_unlabelled=arrays["x"][:6], subject_unlabelled=np.full(6, 30))
    read = ArrayDataModule(path=tmp_path / "d.npz", test_subjects=[8, 9], val_subjects=[6, 7])
    read.setup()
    assert read.unlabelled_count == 6


@pytest.mark.parametrize("kind", ["numbers", "nan", "words"])
def test_labels_that_are_missing(kind: str) -> None:
    module = data()
    y: Any = module.data.target.copy()
    y[:5] = -1
    if kind == "nan":
        y = np.where(y < 0, np.nan, y)
    if kind == "words":
        y = [None if v < 0 else f"c{v}" for v in y]
    given: Any = {"test_subjects": [8, 9], "val_subjects": [6, 7], "batch_size": 8}
    x, who = module.data.windows["raw"], np.arange(120) // 12
    with pytest.raises(InputError):
        ArrayDataModule(x, y, who, **given).setup()
    read = ArrayDataModule(x, y, who, unlabelled=Unlabelled(missing=True), **given)
    assert read.counts["unlabelled"]["windows"] == 5
    assert read.classes == (["c0", "c1", "c2"] if kind == "words" else ["0", "1", "2"])
    assert read.train_index[-5:].tolist() == [0, 1, 2, 3, 4]


def test_windows_with_many_labels_or_none_known() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, (120, 3))
    rows[:7] = -1
    x, who, given = data().data.windows["raw"], np.arange(120) // 12, {"test_subjects": [8, 9], "val_subjects": [6, 7]}
    with pytest.raises(InputError, match=r"write rows of -1 with unlabelled: \{missing: true\}"):
        ArrayDataModule(x, rows, who, labels="many", **given).setup()
    module = ArrayDataModule(
        x, rows, who, labels="many", unlabelled=Unlabelled(missing=True, people=["5"]), mix=Mixup(), **given
    )
    module.setup()
    assert module.unlabelled_count == 7 + 12
    target = torch.cat([b.target for b in module.batches("train")])
    assert torch.equal(target[:-19], torch.from_numpy(rows[module.train_index[:-19]]).float())
    assert (target[-19:] == -1).all()
    assert module.class_counts == rows[module.train_index[:-19]].sum(0).tolist()
    for b in module.train_dataloader():
        assert ((b.target >= 0).all(1) | (b.target == -1).all(1)).all()
    with pytest.raises(InputError, match="unlabelled: classes must be left out where windows have any number"):
        ArrayDataModule(x[7:], rows[7:], who[7:], labels="many", unlabelled=Unlabelled(classes=["0"]), **given).setup()


def test_minus_one_is_refused_with_the_line_to_write() -> None:
    y = data().data.target.copy()
    y[3] = -1
    with pytest.raises(InputError, match=r"unlabelled: \{missing: true\}"):
        ArrayDataModule(data().data.windows["raw"], y, np.arange(120) // 12, classes=["a", "b", "c"]).setup()


def test_recordings_keep_windows_of_ignored_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for person in range(6):
        label = np.repeat(["walk", "run", "null", ""], 100)
        rows = [f"{v:.4f},{k}" for v, k in zip(rng.normal(size=400), label, strict=True)]
        (tmp_path / f"S{person}.csv").write_text("x,label\n" + "\n".join(rows) + "\n", encoding="utf-8")

    def read(**kwargs: Any) -> RecordingDataModule:
        where = {"cache_dir": tmp_path / "cache", "test_subjects": ["S5"], "val_subjects": ["S3", "S4"]}
        return RecordingDataModule(
            tmp_path,
            channels=["x"],
            window=50,
            sampling_rate=50.0,
            subject={"name": "S[0-9]"},
            ignore=["null"],
            **where,
            **kwargs,
        )

    alone, module = read(), read(unlabelled=Unlabelled(missing=True))
    assert alone.counts["train"]["windows"] == 12
    assert module.counts["train"]["windows"] == 12
    assert module.counts["unlabelled"]["windows"] == 12  # of ignored and of empty labels, of the training people
    assert module.classes == ["run", "walk"]
    assert people(module, module.train_index[12:]) == {"S0", "S1", "S2"}


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ({"people": ["8"]}, {}, r"people must not be of those that are tested, but got 8\. Leave them out"),
        ({"people": ["7"]}, {}, r"people must not be of those that validate, but got 7"),
        ({"people": ["99"]}, {}, r"people must be among those of the data .* but got 99"),
        ({"classes": ["9"]}, {}, r"classes must be among those of the data"),
        ({"recordings": ["a"]}, {}, r"recordings must be left out, because they are unknown here"),
        ({"labelled": 9}, {}, r"labelled must be at most 6, the number of training people, but got 9"),
        ({"labelled": 3, "ratio": 0.5}, {"drop_last": False}, r"ratio must be left out where drop_last is false"),
        ({"labelled": 3}, {"sampling": "balanced"}, r"ratio must be given where sampling is"),
    ],
)
def test_refusals(given: Any, settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"unlabelled: {message}"):
        data(Unlabelled(**given), **settings).setup()


def test_a_whole_number_in_float_form_is_a_number_of_people() -> None:
    """A parser of ``int | float`` may give 1.0 for 1."""
    made = Unlabelled(labelled=1.0)
    assert (made, type(made.labelled)) == (Unlabelled(labelled=1), int)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"labelled": 0},
        {"labelled": True},
        {"labelled": 1.5},
        {"labelled": 0.0},
        {"labelled": -0.5},
        {"labelled": 2, "ratio": 1.0},
        {"people": "8"},
        {"missing": False},
    ],
)
def test_values_out_of_range(given: Any) -> None:
    with pytest.raises(InputError, match=r"^unlabelled: .*(Write|must)"):
        Unlabelled(**given)


def test_names_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDLAB_SALT", "a laboratory's own salt")
    module = data(Unlabelled(people=["0", "3"]), subject_ids="hashed")
    assert all(name.startswith("h") for name in module.fingerprint["unlabelled"])
    again = data(Unlabelled(people=module.fingerprint["unlabelled"]), subject_ids="hashed")
    assert again.counts == module.counts


# ----------------------------------------------------------------------------------------------- the order of batches


@pytest.mark.parametrize(("replicas", "others"), [(1, 50), (1, 3), (2, 50), (2, 5)])
def test_batches_hold_both_at_the_ratio(replicas: int, others: int) -> None:
    def read(rank: int, epoch: int, skip: int = 0) -> list[Any]:
        sampler = MixedSampler(
            21, others, share=2, batch_size=6, seed=3, num_replicas=replicas, rank=rank, epoch=epoch, skip=skip
        )
        assert len(sampler) == 6 * (21 // (4 * replicas))
        return list(sampler)

    taken: list[int] = []
    for epoch in range(7):
        ranks = [read(rank, epoch) for rank in range(replicas)]
        positions = np.array([[p for _, p, _ in mine] for mine in ranks]).reshape(replicas, -1, 6)
        assert ((positions >= 21).sum(2) == 2).all()
        labelled = positions[positions < 21]
        assert len(set(labelled.tolist())) == len(labelled)
        taken += (positions[positions >= 21] - 21).tolist()
        keys = [item for mine in ranks for item in mine]
        assert len(set(keys)) == len(keys)  # each draws other random changes
        assert read(0, epoch) == ranks[0]
        assert read(0, epoch, skip=2) == ranks[0][12:]
    counts = np.bincount(taken, minlength=others)
    assert counts.max() - counts.min() <= 1


def test_the_loader_follows_the_setting() -> None:
    mixed = data(Unlabelled(labelled=3, ratio=0.25))
    mixed.setup()
    loader = mixed.train_dataloader()
    assert len(loader) == 6
    assert all(int((b.target < 0).sum()) == 2 for b in loader)
    random = data(Unlabelled(labelled=3))
    random.setup()
    batches = list(random.train_dataloader())
    assert len(batches) == 9
    assert sorted(torch.cat([b.index for b in batches]).tolist()) == sorted(random.train_index.tolist())
    balanced = data(Unlabelled(labelled=3, ratio=0.25), sampling="balanced")
    balanced.setup()
    first = torch.cat([b.target for b in balanced.train_dataloader()])
    assert np.bincount(first[first >= 0]).tolist() == [12, 12, 12]


def test_mixed_windows_have_the_label_of_their_part() -> None:
    module = data(Unlabelled(labelled=2), mix=Mixup())
    module.setup()
    sums = torch.cat([b.target for b in module.train_dataloader()]).sum(1)
    assert (sums == 0).any()
    assert ((sums > 0.01) & (sums < 0.99)).any()
    assert (sums <= 1 + 1e-6).all()


def test_pairs_of_windows_without_a_label_are_themselves() -> None:
    module = data(Unlabelled(labelled=2), views={"raw": Raw(), "raw/pair": Raw()})
    module.setup()
    for b in module.train_dataloader():
        same = (b.views["raw"] == b.views["raw/pair"]).flatten(1).all(1)
        assert torch.equal(same, b.target < 0)


# ----------------------------------------------------------------------------------------------------------- terms


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "weighted"])
@pytest.mark.parametrize("mixed", [False, True], ids=["indices", "probabilities"])
def test_the_label_term_averages_over_labelled_windows(options: dict[str, Any], mixed: bool) -> None:
    logits, target = batch(mixed)
    without = torch.tensor([1, 4, 5, 11])
    partly = target.clone()
    partly[without] = 0 if mixed else -1
    kept = np.setdiff1d(np.arange(12), without)
    given = [options.get(k) or 0 for k in ("label_smoothing", "focal_gamma")]
    wanted = reference(logits.numpy()[kept], target.numpy()[kept], options.get("class_weights"), *given)
    got = CrossEntropy(**options).label_loss(logits.requires_grad_(), partly)
    assert float(got) == pytest.approx(wanted, rel=1e-10)
    got.backward()
    assert logits.grad is not None
    assert (logits.grad[without] == 0).all()
    assert (logits.grad[kept].abs().sum(1) > 0).all()
    none = CrossEntropy(**options).label_loss(logits, torch.zeros_like(partly) - (0 if mixed else 1))
    assert float(none) == 0


@pytest.mark.parametrize("mixed", [False, True], ids=["indices", "probabilities"])
def test_with_all_labels_it_is_the_mean_of_torch_bit_for_bit(mixed: bool) -> None:
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        logits = torch.randn(37, 5, generator=random).requires_grad_()
        target = torch.randint(5, (37,), generator=random)
        y = torch.nn.functional.one_hot(target, 5).float() * 0.7 + 0.06 if mixed else target
        own, theirs = functional.cross_entropy(logits, y), torch.nn.functional.cross_entropy(logits, y)
        assert torch.equal(own, theirs)
        grads = [torch.autograd.grad(loss, logits)[0] for loss in (own, theirs)]
        assert torch.equal(*grads)


#: objectives that read labels elsewhere: in the choice of the partner, in past targets, in the weights of teachers
PARTNERS = ("CSKDObjective", "IPSObjective", "PSKDObjective", "CAMKDObjective")


@pytest.mark.parametrize("cls", OBJECTIVES)
def test_other_terms_do_not_read_labels_or_the_objective_says_so(cls: type[Objective]) -> None:
    objective = cls()
    student, others = output(1), teachers(objective)
    labels = torch.arange(8) % 4
    changed = labels.clone()
    changed[2:5] = (changed[2:5] + 1) % 4
    for target in (labels, changed):
        objective.adapt(student=student, teachers=others)
        terms = objective(student=student, teachers=others, target=target)
    first = objective(student=student, teachers=others, target=labels)
    differ = [name for name in terms if name != "ce" and not torch.equal(first[name], terms[name])]
    if objective.reads_labels:
        assert differ or list(terms) == ["ce"] or cls.__name__ in PARTNERS
        return
    assert not differ
    without = labels.clone()
    without[2:6] = -1
    partly = objective(student=student, teachers=others, target=without)
    kept = torch.tensor([0, 1, 6, 7])

    def some(out: Output) -> Output:
        return Output(out.logits[kept], {k: v[kept] for k, v in out.features.items()})

    own = ("ce", "pseudo")  # a pseudo-label is of a window without a label alone
    assert all(torch.equal(partly[name], first[name]) for name in first if name not in own)
    if cls.__name__ not in ("DDGSDObjective",):  # of two distortions, each half of the batch has its labels
        alone = objective(student=some(student), teachers={k: some(v) for k, v in others.items()}, target=labels[kept])
        torch.testing.assert_close(partly["ce"], alone["ce"], rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------------------------------------------------ fits


def fitted(folder: Path, method: Any, module: Any, **kwargs: Any) -> Any:
    kdlab_trainer = trainer(folder, **{"limit_val_batches": 0, **kwargs})
    torch.manual_seed(0)
    kdlab_trainer.fit(method, module)
    return kdlab_trainer


def state(method: Any) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in method.state_dict().items()}


def test_a_method_of_labels_alone_trains_without_them(tmp_path: Path) -> None:
    given = Unlabelled(labelled=3)
    kept = [int(name) for name in data(given).fingerprint["train"]]
    rows = np.flatnonzero(np.isin(np.arange(120) // 12, [*kept, 6, 7, 8, 9]))
    full = data()
    x, y = full.data.windows["raw"][rows], full.data.target[rows]
    alone = ArrayDataModule(x, y, rows // 12, batch_size=8, seed=0, test_subjects=[8, 9], val_subjects=[6, 7])
    states = []
    for module in (data(given), alone):
        torch.manual_seed(1)
        method = Supervised(net())
        if module is alone:
            run = fitted(tmp_path, method, module)
        else:
            with pytest.warns(UserWarning, match="all of its terms read labels, so 36 training windows without one"):
                run = fitted(tmp_path, method, module)
        assert run.num_training_batches == 36 // 8
        states.append(state(method))
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name


def test_a_student_learns_from_windows_without_labels(tmp_path: Path) -> None:
    """Without a label term the labelled and the unlabelled run are one: labels are not read."""
    runs = []
    for given in (None, Unlabelled(people=["0", "1", "2"])):
        torch.manual_seed(1)
        method = KD(net(), teacher(), kd_weight=1.0)
        module = data(given, scale=Scale(offset=[0.0, 0.0], divisor=[1.0, 1.0]))
        if given is None:
            module.setup()
            order = [3, 4, 5, 0, 1, 2]
            rows = np.concatenate([np.flatnonzero(np.arange(120) // 12 == p) for p in order])
            module._prepared.split.rows["train"] = rows  # type: ignore[union-attr]
        fitted(tmp_path, method, module, max_epochs=1)
        runs.append(state(method))
    for name, value in runs[0].items():
        if "standardize" not in name:
            assert torch.equal(runs[1][name], value), name


@pytest.mark.parametrize("cached", [False, True], ids=["live", "cached"])
@pytest.mark.parametrize("ratio", [None, 0.5])
def test_interrupted_equals_uninterrupted(cached: bool, ratio: float | None, tmp_path: Path) -> None:
    def method() -> KD:
        torch.manual_seed(1)
        return KD(net(), teacher(), cache=TeacherCache(folder=tmp_path / "cache") if cached else None)

    def module() -> ArrayDataModule:
        return data(Unlabelled(labelled=2, ratio=ratio))

    complete = method()
    fitted(tmp_path, complete, module(), max_epochs=3)
    first = fitted(tmp_path, method(), module(), max_epochs=3, max_steps=7)
    first.save_checkpoint(tmp_path / "last.ckpt")
    resumed = method()
    trainer(tmp_path, max_epochs=3, limit_val_batches=0).fit(resumed, module(), ckpt_path=tmp_path / "last.ckpt")
    for name, value in complete.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_cached_outputs_are_those_of_the_teacher(tmp_path: Path) -> None:
    runs = []
    for cache in (None, TeacherCache(folder=tmp_path / "cache")):
        torch.manual_seed(1)
        method = KD(net(), teacher(), cache=cache)
        fitted(tmp_path, method, data(Unlabelled(labelled=2, ratio=0.5)))
        runs.append(state(method))
    for name, value in runs[0].items():
        torch.testing.assert_close(runs[1][name], value, rtol=1e-3, atol=1e-4)


def test_leaks_are_found() -> None:
    trained, other = data(Unlabelled(people=["0", "3"])).fingerprint, data(test_subjects=[0, 9]).fingerprint
    assert any("trained on subjects 0" in line for line in split_differences(trained, other))
    everything = data().fingerprint
    assert any("the labels of subjects 0, 3" in line for line in split_differences(everything, trained))
    assert not any("labels of" in line for line in split_differences(trained, trained))


def test_a_teacher_that_saw_the_labels_is_refused(tmp_path: Path) -> None:
    method = Supervised(net())
    run = fitted(tmp_path, method, data())
    run.save_checkpoint(tmp_path / "teacher.ckpt")
    student = KD(net(), {"raw": Teacher(checkpoint=str(tmp_path / "teacher.ckpt"))})
    with pytest.raises(InputError, match="trained on the labels of subjects 0, 3, which are not used here"):
        fitted(tmp_path, student, data(Unlabelled(people=["0", "3"])))


# ---------------------------------------------------------------------------------------------------- two processes


def part(rows: slice) -> dict[str, Tensor]:
    logits, target = batch(False)
    target = target.clone()
    target[[0, 1, 2, 3, 8]] = -1  # four of the first six, one of the others
    layer = torch.nn.Linear(4, 4, bias=False).double()
    torch.nn.init.eye_(layer.weight)
    student: Any = torch.nn.parallel.DistributedDataParallel(layer) if dist.is_initialized() else layer
    objective = CrossEntropy()
    objective.partly_labelled = True  # as data with windows without a label declare
    loss = objective.label_loss(student(logits[rows]), target[rows])
    loss.backward()
    assert layer.weight.grad is not None
    return {"loss": loss.detach(), "grad": layer.weight.grad}


def process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(part(slice(6 * rank, 6 * rank + 6)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    mp.spawn(process, args=(str(tmp_path),), nprocs=2)
    both, one = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)], part(slice(0, 12))
    torch.testing.assert_close((both[0]["loss"] + both[1]["loss"]) / 2, one["loss"], rtol=1e-12, atol=0)
    for mine in both:
        torch.testing.assert_close(mine["grad"], one["grad"], rtol=1e-10, atol=1e-14)


def test_the_names_are_public() -> None:
    assert kdlab.data.Unlabelled is Unlabelled
    assert SoftTargets.reads_labels is False
    assert WideResNet is not None


def test_checkpoint_and_evaluation_know_how_many(tmp_path: Path) -> None:
    method = KD(net(), teacher())
    run = fitted(tmp_path, method, data(Unlabelled(labelled=2)))
    assert method.describe()["unlabelled"] == 48
    run.save_checkpoint(tmp_path / "s.ckpt")
    read = KD(net(), teacher())
    trainer(tmp_path).test(read, data(Unlabelled(labelled=2)), ckpt_path=tmp_path / "s.ckpt")
    assert read.unlabelled == 48
    assert "unlabelled" not in KD(net(), teacher()).describe()
    alone = KD(net(), teacher())
    fitted(tmp_path, alone, data(Unlabelled(labelled=2, left_out=True)))
    assert alone.unlabelled == 0
