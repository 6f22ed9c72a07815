"""Teachers asked once: what was kept is what they would say, and anything that differs is asked anew or refused."""

import copy
import errno
import os
import shutil
from collections import Counter

import numpy as np
import pytest
import torch

import kdlab
from kdlab import (
    AFD,
    AFDS,
    AMD,
    AT,
    CAMKD,
    SAKDN,
    TGD,
    TPKD,
    VID,
    DiffKD,
    Distillation,
    FitNet,
    ReviewKD,
    SimKD,
    Teacher,
    TeacherCache,
    TFKDSelf,
    cli,
)
from kdlab.augment import Mix2, Noise
from kdlab.cache import CachedOutputs, Part, Plan, Request, fill_cache
from kdlab.data import BasicMotions
from kdlab.methods.caching import cached_outputs
from kdlab.methods.made import Distilled
from kdlab.nets import ReusedClassifier
from kdlab.objective import Objective
from kdlab.types import InputError, Output
from kdlab.views import PersistenceImage, Raw
from tests.conftest import REPOSITORY, net, trainer

TAPS = ("stage1", "stage2", "stage3")
WEIGHTS = {"raw": 0.7, "pi": 0.3}


def data(size=16, **kwargs):
    return BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=size)}, batch_size=8, **kwargs)


def two(teachers, **kwargs):
    return {name: Teacher(teachers[name], view=name, **kwargs) for name in ("raw", "pi")}


def tpkd(teachers, cache=None, **kwargs):
    return TPKD(net(), two(teachers), weights=WEIGHTS, cache=cache, **kwargs)


@pytest.fixture
def asked(monkeypatch):
    """How many windows each teacher's view was asked about, zeros left out."""
    counts = Counter()
    forward = Teacher.forward

    def counted(self, x):
        counts[self.view] += int((x.flatten(1) != 0).any(1).sum())
        return forward(self, x)

    monkeypatch.setattr(Teacher, "forward", counted)
    return counts


class Compared:
    """A method that compares, in every step, what was kept with what the teachers say now."""

    def terms(self, batch, student):
        state = copy.deepcopy(self.objective.state_dict())  # such as CRD's memory, which a step changes
        answers, self._cached = self._cached, None
        live = super().terms(batch, student)
        self._cached = answers
        assert answers is not None
        self.objective.load_state_dict(state)
        found = super().terms(batch, student)
        for name in {"ce", "kd"} & set(live):
            assert torch.equal(found[name], live[name]), name
        for name in set(live) - {"ce", "kd"}:  # on most machines equal too, but for "margin"
            assert found[name].item() == pytest.approx(live[name].item(), rel=1e-5), name
        self.compared = getattr(self, "compared", 0) + 1
        return found


class Everything(kdlab.objectives.SoftTargets):
    """Reads whole features, as an objective does that declares nothing."""

    taps = ("stage2", "embedding")

    def forward(self, *, student, teachers, target):
        terms = super().forward(student=student, teachers=teachers, target=target)
        sums = [out.features[tap].square().mean() for out in teachers.values() for tap in self.taps]  # nothing cancels
        return {**terms, "sum": torch.stack(sums).sum()}


OBJECTIVES = {
    "Distillation": (Distillation, {}),
    "features": (Distillation, {"objective": Everything()}),
    "AMD": (AMD, {"map_teacher": "raw"}),
    "AMD pooled": (AMD, {"map_teacher": "raw", "resize": "pool"}),
    "TGD": (TGD, {}),
    "TGD normalised": (TGD, {"merge": "normalised"}),
    "TGD embedding": (TGD, {"taps": ("embedding", "stage1")}),
    "TPKD": (TPKD, {"weights": WEIGHTS}),
    "TPKD square": (TPKD, {"weights": WEIGHTS, "oth": "square"}),
    "SAKDN": (SAKDN, {"collapse": "rows"}),
    "FitNet": (FitNet, {}),
    "FitNet pooled": (FitNet, {"resize": "pool"}),
    "DiffKD": (DiffKD, {"pooled": True}),
    "ReviewKD": (ReviewKD, {"pooled": True}),
    "CAMKD": (CAMKD, {}),
    "CAMKD on maps": (CAMKD, {"feature_weight": 50.0}),
}


def walk(cls):
    return {cls}.union(*map(walk, cls.__subclasses__()))


METHODS = {cls for cls in walk(Distillation) - {Distilled} if cls.__module__.startswith("kdlab.")}
SET = {cls for cls, _ in OBJECTIVES.values()}
OBJECTIVES |= {cls.__name__: (cls, {}) for cls in sorted(METHODS - SET, key=lambda cls: cls.__name__)}  # with defaults
#: want a teacher of the student's kind: they compare maps by position, TFKDSelf takes the student's earlier copy
ONE_KIND = (AT, TFKDSelf, FitNet, VID, AFD, AFDS, SimKD)


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_cached_terms_are_the_live_ones(name, where, teachers, tmp_path, monkeypatch):
    cls, settings = OBJECTIVES[name]
    if where == "disk" and name not in ("AMD", "TPKD", "features"):
        pytest.skip("the same arrays")
    monkeypatch.setattr(BasicMotions, "skip_views", lambda *_: None)  # the live side needs them
    cache = TeacherCache(folder=str(tmp_path / "cache") if where == "disk" else None)
    single = cls in ONE_KIND or name == "CAMKD on maps"
    asked = {n: t for n, t in two(teachers).items() if n == "raw" or not single}
    student = ReusedClassifier(net(), net()) if cls is SimKD else net()
    module = type("Compared" + cls.__name__, (Compared, cls), {})(student, asked, cache=cache, **settings)
    monkeypatch.setattr(cls, "check_teacher", lambda *_: None)
    monkeypatch.setattr(cls, "teacher_files", Distillation.teacher_files)
    run = trainer(tmp_path, max_epochs=2)
    run.fit(module, data())  # shuffled, another order in each epoch
    assert module.compared == run.global_step == 2 * (len(data().train_index) // 8)


def test_every_objective_is_compared():
    assert len(METHODS) > 25
    assert {cls for cls, _ in OBJECTIVES.values()} == METHODS
    objectives = {cls for cls in walk(Objective) if "kdlab.methods" in cls.__module__}
    assert all(cls.reads in ("feature", "attention", "gram") for cls in objectives)


def test_each_teacher_sees_each_window_once_and_its_view_is_skipped(teachers, tmp_path, asked, monkeypatch, capsys):
    windows = data()
    windows.setup()
    count, views = len(windows.train_index), []
    terms = TPKD.terms
    monkeypatch.setattr(TPKD, "terms", lambda self, b, s: (views.append(set(b.views)), terms(self, b, s))[1])
    run = trainer(tmp_path, max_epochs=3)
    computed = Counter()
    compute = PersistenceImage.compute
    monkeypatch.setattr(
        PersistenceImage, "compute", lambda self, x: (computed.update(windows=len(x)), compute(self, x))[1]
    )
    run.fit(tpkd(teachers, TeacherCache(), student_view="raw"), windows)
    val = windows.counts["val"]["windows"]
    assert asked == {"raw": count + val, "pi": count + val}
    assert views == [{"raw"}] * run.global_step
    assert computed["windows"] == count + val  # each once: later validations read the student's view alone
    trainer(tmp_path, max_epochs=1).fit(tpkd(teachers), windows)  # the same data module without a cache
    assert views[-1] == {"raw", "pi"}


def test_says_what_it_chose(teachers, tmp_path, caplog):
    with caplog.at_level("INFO"):
        trainer(tmp_path, max_steps=1).fit(tpkd(teachers, TeacherCache(folder=str(tmp_path / "c"))), data())
    (line,) = [r.getMessage() for r in caplog.records if "teacher cache" in r.getMessage()]
    assert "raw logits" in line
    assert "pi stage1 gram" in line
    assert "computed raw, pi" in line
    assert "KiB" in line


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.net.parameters()])


def fitted(teachers, folder, cache, *, path=None, limit=None, **kwargs):
    torch.manual_seed(5)
    module = tpkd(teachers, cache)
    run = trainer(folder, **{"max_epochs": 4, **(limit or {})}, **kwargs)
    run.fit(module, data(seed=3), ckpt_path=path, weights_only=True if path else None)
    return run, module


def test_same_student_with_gradient_accumulation(teachers, tmp_path):
    _, cached = fitted(teachers, tmp_path, TeacherCache(), accumulate_grad_batches=2)
    _, live = fitted(teachers, tmp_path, None, accumulate_grad_batches=2)
    assert float((weights(cached) - weights(live)).abs().max()) <= 1e-4


@pytest.mark.parametrize("stop", [{"max_epochs": 2}, {"max_steps": 5}], ids=["epoch", "middle"])
def test_resume(teachers, tmp_path, asked, stop):
    cache = TeacherCache(folder=str(tmp_path / "cache"))
    _, whole = fitted(teachers, tmp_path, cache)
    asked.clear()
    first, _ = fitted(teachers, tmp_path, cache, limit=stop)
    first.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = fitted(teachers, tmp_path, cache, path=tmp_path / "half.ckpt")
    assert torch.equal(weights(whole), weights(resumed))
    assert asked["pi"] == 2 * (data().counts["val"]["windows"] + data().batch_size)  # the other outputs were there


# ------------------------------------------------------------------------------------------------- refused and missed


def kept(teachers, folder, windows=None, module=None, **kwargs):
    """The files in the folder after a step."""
    module = module or tpkd(teachers, TeacherCache(folder=str(folder)), **kwargs)
    trainer(folder, max_steps=1).fit(module, windows or data())
    return {p.name for p in folder.iterdir()}


@pytest.fixture
def folder(tmp_path, asked, teachers):
    place = tmp_path / "cache"
    place.mkdir()
    kept(teachers, place)
    asked.clear()
    return place


def trained(asked, windows):
    """The teachers that were asked about more than the first training windows."""
    first = windows.counts["val"]["windows"] + windows.batch_size
    return {name for name, count in asked.items() if count > first}


def test_found_again(teachers, folder, asked):
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    kept(teachers, folder)
    assert trained(asked, data()) == set()
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_changed_view_parameters_miss(teachers, folder, asked, monkeypatch):
    monkeypatch.setattr(Teacher, "check_view_settings", lambda *_: None)  # it would refuse such a view on its own
    windows = BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16, sigma=0.5)}, batch_size=8)
    kept(teachers, folder, windows)
    assert trained(asked, windows) == {"pi"}


def test_another_teacher_misses(teachers, folder, asked):
    other = two(teachers) | {"raw": Teacher(teachers["raw"].replace("teacher.ckpt", "teacher-full.ckpt"))}
    other["raw"].load()
    if other["raw"].hash == Teacher(teachers["raw"]).load().hash:  # the peak was the last epoch
        with torch.no_grad():
            other["raw"].net.head.bias += 1
        other["raw"] = Teacher(net=other["raw"].net)
    module = TPKD(net(), other, weights=WEIGHTS, cache=TeacherCache(folder=str(folder)))
    kept(teachers, folder, module=module)
    assert trained(asked, data()) == {"raw"}


def test_another_fold_misses(teachers, folder, asked):
    windows = data(split_seed=7)
    cache = TeacherCache(folder=str(folder))
    module = TPKD(net(), two(teachers, allow_other_split=True), weights=WEIGHTS, cache=cache)
    kept(teachers, folder, windows, module)
    assert trained(asked, windows) == {"raw", "pi"}


def test_another_precision_and_batch_size_miss(teachers, folder, asked):
    module = tpkd(teachers, TeacherCache(folder=str(folder)))
    trainer(folder, max_steps=1, precision="bf16-mixed").fit(module, data())
    assert trained(asked, data()) == {"raw", "pi"}
    asked.clear()
    kept(teachers, folder, BasicMotions(views=data().views, batch_size=12))
    assert trained(asked, data()) == {"raw", "pi"}


def test_only_what_is_missing_is_asked(teachers, folder, asked):
    before = {p.name for p in folder.iterdir()}
    after = kept(teachers, folder, taps=("stage1", "stage2"))
    assert trained(asked, data()) == set()
    assert after == before
    after = kept(teachers, folder, taps=("stage1", "embedding"))
    assert trained(asked, data()) == {"raw", "pi"}
    assert len(after) == len(before) + 2


def test_augmentation_is_refused_by_name(teachers, tmp_path):
    with pytest.raises(InputError, match=r"cache: teacher 'raw'.*Noise\(.*0\.25.*teacher_input='clean'"):
        trainer(tmp_path).fit(tpkd(teachers, TeacherCache()), data(augment=Noise(0.25)))
    with pytest.raises(InputError, match="Mix2"):
        trainer(tmp_path).fit(tpkd(teachers, TeacherCache()), data(augment=Mix2()))
    with pytest.raises(InputError, match="teacher_input"):
        TeacherCache(teacher_input="noisy")


def test_clean_windows_under_augmentation(teachers, tmp_path, monkeypatch):
    """The teachers' answers are those to the clean window, the student sees the augmented one."""
    windows = data(augment=Noise(0.25), seed=1)
    windows.setup()
    clean = {int(i): x for b in windows.batches("train") for i, x in zip(b.index, b.views["raw"], strict=True)}
    seen = []

    class Watched(TPKD):
        def terms(self, batch, student):
            answers = self.teacher_outputs(batch)
            x = torch.stack([clean[int(i)] for i in batch.index])
            assert not torch.equal(x, batch.views["raw"])
            assert torch.equal(answers["raw"].logits, self.teachers["raw"](x).logits)
            seen.append(len(x))
            return super().terms(batch, student)

    cache = TeacherCache(teacher_input="clean")
    trainer(tmp_path, max_epochs=1).fit(Watched(net(), two(teachers), weights=WEIGHTS, cache=cache), windows)
    assert seen
    keyed = BasicMotions(  # views of the clean window need no such choice
        views={"raw": Raw(), "raw/clean": None, "pi/clean": PersistenceImage(size=16)}, batch_size=8, augment=Mix2()
    )
    on_clean = {name: Teacher(teachers[name], view=f"{name}/clean") for name in ("raw", "pi")}
    module = TPKD(net(), on_clean, weights=WEIGHTS, cache=TeacherCache())
    trainer(tmp_path, max_steps=2).fit(module, keyed)


@pytest.mark.parametrize("harm", ["cut", "flipped", "header", "empty"])
def test_a_damaged_file_is_built_again(harm, teachers, folder, asked):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    path = max(folder.iterdir(), key=lambda p: p.stat().st_size)
    whole = bytearray(path.read_bytes())
    if harm == "flipped":
        whole[-5] ^= 1
    elif harm == "header":
        whole[:4] = b"xxxx"
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b""}.get(harm, whole))
    kept(teachers, folder)
    assert len(trained(asked, data())) == 1
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_an_interrupted_build_leaves_nothing(teachers, tmp_path, monkeypatch):
    place = tmp_path / "cache"
    module = tpkd(teachers, TeacherCache(folder=str(place)))
    calls = Counter()
    forward = Teacher.forward

    def stopped(self, x):
        calls["all"] += 1
        if calls["all"] == 5:
            raise KeyError("power")
        return forward(self, x)

    monkeypatch.setattr(Teacher, "forward", stopped)
    with pytest.raises(KeyError, match="power"):
        trainer(tmp_path).fit(module, data())
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("how", ["free", "write", "fsync"])
def test_a_full_disk_is_told_and_nothing_is_trained(how, teachers, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if how == "free":
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    else:
        monkeypatch.setattr(os, "posix_fallocate" if how == "write" else "fsync", full)
    module = tpkd(teachers, TeacherCache(folder=str(tmp_path / "cache")))
    before = weights(module).clone()
    run = trainer(tmp_path)
    with pytest.raises(InputError, match=r"no space.*teacher 'raw'.*free.*Nothing was trained"):
        run.fit(module, data())
    assert run.global_step == 0
    assert torch.equal(weights(module), before)
    assert not list((tmp_path / "cache").iterdir())
    monkeypatch.undo()
    trainer(tmp_path, max_steps=1).fit(module, data())
    assert len(list((tmp_path / "cache").iterdir())) == 8


def test_a_budget_that_is_too_small(teachers, tmp_path, asked):
    module = tpkd(teachers, TeacherCache(budget="4KiB"))
    with pytest.raises(InputError, match=r"training windows take .*KiB.*pi stage1 gram.*budget is 4\.0 KiB of memory"):
        trainer(tmp_path).fit(module, data())
    assert not sum(asked.values())
    for budget in ("much", "-1GiB", "2 gib", 0):
        with pytest.raises(InputError, match="budget"):
            TeacherCache(budget=budget)
    assert TeacherCache(budget=5000).bytes == TeacherCache(budget="5kB").bytes == 5000


def test_plain_loaders_are_refused(teachers, tmp_path):
    windows = data()
    windows.setup()
    loader = torch.utils.data.DataLoader(list(windows.batches("train")), batch_size=None)
    with pytest.raises(InputError, match="cache: the data module must give its training windows in order"):
        trainer(tmp_path).fit(tpkd(teachers, TeacherCache()), loader)
    module = tpkd(teachers, TeacherCache())
    trainer(tmp_path, max_steps=1).fit(module, windows)
    with pytest.raises(InputError, match="cache: the data module must give its training windows in order"):
        trainer(tmp_path).fit(module, loader)


# ------------------------------------------------------------------------------------------------------------ by itself


def question(features, need, seen=lambda output: None):
    def outputs():
        for start in range(0, len(features), 7):
            rows = features[start : start + 7]
            yield Output(rows.flatten(1)[:, :3], {"tap": rows})

    probe = Output(features[:1].flatten(1)[:, :3], {"tap": features[:1]})
    return Request({"teacher": "t"}, {"tap": need}, probe, outputs, batch_size=8)


@pytest.mark.parametrize("shape", [(2, 5), (4, 30), (3, 8, 8)])
@pytest.mark.parametrize("block", [2**28, 2000])
def test_a_batch_gram_is_a_part_of_the_whole_one(shape, block, monkeypatch, tmp_path):
    monkeypatch.setattr("kdlab.cache.store.BLOCK", block)
    features = torch.randn(150, *shape, generator=torch.Generator().manual_seed(0))
    index = np.random.default_rng(0).permutation(400)[:150]
    for folder in (None, str(tmp_path)):
        answers = fill_cache(TeacherCache(), {"a": question(features, "gram")}, index, folder)
        (_, part) = answers.plan.parts
        rows = np.array([3, 149, 3, 77, 0, 148])
        everyone = np.concatenate([rows, [5, 66]])
        said = answers.read(torch.from_numpy(index[rows]), torch.from_numpy(index[everyone]))["a"]
        assert torch.equal(said.logits, features.flatten(1)[rows, :3])
        if part.form == "gram":
            x = features[everyone].flatten(1)
            torch.testing.assert_close(said.grams["tap"], x @ x.T, rtol=1e-5, atol=1e-5)
            assert part.bytes == 150 * 151 // 2 * 4
        else:
            assert torch.equal(said.features["tap"], features[rows])
        smallest = min(151 / 2, np.prod(shape))
        assert part.bytes == pytest.approx(150 * smallest * 4)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".kdlab-part-")]


def test_an_unknown_window_is_refused():
    answers = CachedOutputs(
        Plan((Part("a", "", "logits", (1,), "float32", 1, 2),)), [torch.zeros(2, 1)], np.array([3, 5])
    )
    assert answers.read(torch.tensor([5]))["a"].logits.shape == (1, 1)
    for index in (4, 6, -1):
        with pytest.raises(InputError, match=f"window {index} is in a training batch"):
            answers.read(torch.tensor([index]))


def test_attention_maps_have_the_energy_of_the_feature():
    features = torch.randn(9, 6, 20, generator=torch.Generator().manual_seed(0))
    answers = fill_cache(TeacherCache(), {"a": question(features, "attention")}, np.arange(9))
    kept_map = answers.read(torch.arange(9))["a"].features["tap"]
    assert kept_map.shape == (9, 1, 20)
    torch.testing.assert_close(kept_map.square().sum(1), features.square().sum(1), rtol=3e-7, atol=0)


class Ranks:
    """A strategy that tells a process what the first one said."""

    def __init__(self, said):
        self.said = iter(said)

    def broadcast(self, value):
        return next(self.said, value) if value in ("", None) else value


class Plain(torch.nn.Module):
    """A net whose description tells nothing of what it computes with its weights."""

    def __init__(self, scale=1.0, act=torch.relu):
        super().__init__()
        self.scale, self.act = scale, act
        self.conv, self.pool = torch.nn.Conv1d(6, 8, 5), torch.nn.AdaptiveAvgPool1d(1)
        self.flat, self.head = torch.nn.Flatten(), torch.nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.flat(self.pool(self.act(self.conv(self.scale * x)))))


@pytest.mark.parametrize("other", [{"scale": 50.0}, {"act": torch.tanh}])
@pytest.mark.parametrize(("objective", "taps"), [("KD", {}), ("SP", {"taps": ["embedding"]})])
def test_outputs_of_equal_weights_and_another_computation_are_not_taken(tmp_path, other, objective, taps):
    torch.manual_seed(0)
    first, second = Plain(), Plain(**other)
    second.load_state_dict(first.state_dict())

    def fit(plain, cache):
        torch.manual_seed(1)
        teacher = Teacher(net=plain, mean=[0.0] * 6, std=[1.0] * 6)
        method = getattr(kdlab, objective)(net(), {"raw": teacher}, cache=cache, **taps)
        trainer(tmp_path, max_epochs=1).fit(method, BasicMotions(batch_size=8))
        return weights(method)

    cache = TeacherCache(folder=str(tmp_path / "cache"))
    taught = fit(first, cache)
    assert torch.equal(fit(first, cache), taught)
    with pytest.warns(UserWarning, match="other outputs for the weights of teacher 'raw'"):
        again = fit(second, cache)
    torch.testing.assert_close(again, fit(second, None), rtol=1e-3, atol=1e-4)
    assert torch.equal(fit(second, cache), again)


def test_other_ranks_wait_and_read(teachers, tmp_path, asked, monkeypatch):
    """The first process asks; the others get its answers, or its failure."""
    place = str(tmp_path / "cache")
    module = tpkd(teachers, TeacherCache(folder=place))
    run = trainer(tmp_path, max_steps=1)
    run.fit(module, data())
    asked.clear()
    monkeypatch.setattr(type(run), "is_global_zero", property(lambda self: False))
    monkeypatch.setattr(run.strategy, "broadcast", Ranks([None]).broadcast)
    answers = cached_outputs(module.cache, module.objective, dict(module.named_teachers()), module)
    assert answers.computed == ()
    assert not sum(asked.values())
    monkeypatch.setattr(run.strategy, "broadcast", Ranks(["no room"]).broadcast)
    with pytest.raises(InputError, match="no room"):
        cached_outputs(module.cache, module.objective, dict(module.named_teachers()), module)


class Watched(TPKD):
    """Asks that the answers kept are those of now, on every process, and that only the first was asked."""

    def on_fit_start(self):
        super().on_fit_start()
        assert self._cached.computed == (() if self.global_rank else ("raw", "pi"))

    def terms(self, batch, student):
        assert self.trainer.world_size == 2
        found = super().terms(batch, student)
        views = {"pi": PersistenceImage(size=16)(batch.views["raw"]), **batch.views}
        answers, self._cached = self._cached, None
        live = super().terms(batch._replace(views=views), student)
        self._cached = answers
        for name in live:
            torch.testing.assert_close(found[name], live[name], rtol=1e-5, atol=0)
        return found


@pytest.mark.slow
def test_two_processes(teachers, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    module = Watched(net(), two(teachers), weights=WEIGHTS, cache=TeacherCache())
    trainer(tmp_path, max_epochs=2, strategy="ddp_spawn", devices=2).fit(module, data())
    assert not list(tmp_path.glob(".kdlab-part-*"))  # the folder that the two shared


def test_from_yaml(teachers, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--config", str(REPOSITORY / "experiments/basic_motions/tpkd.yaml")]
    words += [f"--model.teachers.{name}.checkpoint={path}" for name, path in teachers.items()]
    words += ["--data.views.pi.size=16", "--trainer.max_steps=2", "--trainer.accelerator=cpu"]
    (tmp_path / "cache.yaml").write_text("model: {init_args: {cache: {budget: 1MiB, folder: kept}}}")
    with caplog.at_level("INFO"):
        done = cli.run([*words, "--config", "cache.yaml"])
    assert done.model.cache == TeacherCache("1MiB", "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 8
    written = next((tmp_path / "runs").rglob("config.yaml")).read_text()
    assert "budget: 1MiB" in written
    with pytest.raises(InputError, match="budget is 1"):
        cli.run([*words, "--model.cache.budget=1kB"])
    assert len(list((tmp_path / "runs/basic_motions/tpkd").iterdir())) == 1  # refused before a folder is made
