"""Methods on real windows: what is trained, what is saved, what is refused."""

import os
import pickle
import re
import shutil
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

import kdlab
from kdlab import AMD, ESKD, KD, TGD, TPKD, Distillation, FullKD, Supervised, Teacher
from kdlab.augment import Mix2
from kdlab.callbacks import TemperatureAnnealing, WeightAnnealing
from kdlab.data import ArrayDataModule, BasicMotions
from kdlab.methods.checkpoints import KEPT_FILES, KEY, find_checkpoint, read_checkpoint, weights_hash
from kdlab.types import InputError, MissingFileError
from kdlab.views import PersistenceImage, Raw
from tests.conftest import net, trainer


def both_views(**kwargs):
    return BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, **kwargs)


def two(teachers):
    return {"raw": Teacher(teachers["raw"], view="raw"), "pi": Teacher(teachers["pi"], view="pi")}


def tpkd(teachers, **kwargs):
    return TPKD(net(), two(teachers), weights={"raw": 0.7, "pi": 0.3}, **kwargs)


@pytest.fixture(scope="module")
def student(teachers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    module = tpkd(teachers)
    fit = trainer(folder, max_epochs=1)
    module.train()
    fit.fit(module, both_views())
    fit.save_checkpoint(folder / "student.ckpt")
    return module, folder / "student.ckpt"


def test_checkpoint_holds_no_teacher(student, tmp_path):
    _, path = student
    checkpoint = read_checkpoint(path)
    assert not [key for key in checkpoint["state_dict"] if "teacher" in key]
    scratch = trainer(tmp_path, max_epochs=1)
    scratch.fit(Supervised(net()), BasicMotions())
    scratch.save_checkpoint(tmp_path / "scratch.ckpt")
    assert os.path.getsize(path) == pytest.approx(os.path.getsize(tmp_path / "scratch.ckpt"), rel=0.01)
    assert set(checkpoint[KEY]["teachers"]) == {"raw", "pi"}
    assert checkpoint[KEY]["fingerprint"]["dataset"] == both_views().name


def test_teachers_stay_as_they_are(student, teachers):
    module, _ = student  # fitted after module.train()
    for name, teacher in module.teachers.items():
        saved = read_checkpoint(teachers[name])["state_dict"]
        for key, value in teacher.net.state_dict().items():
            assert torch.equal(value, saved[f"net.{key}"]), key
        assert not any(m.training for m in teacher.modules())
        assert not any(p.requires_grad for p in teacher.parameters())
        assert teacher.hash == weights_hash(teacher.net.state_dict())


def test_eval_before_fit_does_not_freeze_the_student(teachers, tmp_path):
    module = tpkd(teachers)
    module.eval()
    before = module.net.norm.running_mean.clone()
    trainer(tmp_path, max_epochs=1).fit(module, both_views())
    assert not torch.equal(before, module.net.norm.running_mean)


def test_test_and_predict_need_no_teacher(student, tmp_path):
    _, path = student
    gone = {name: Teacher(str(tmp_path / f"gone_{name}.ckpt"), view=name) for name in ("raw", "pi")}
    fresh = TPKD(net(), gone, weights={"raw": 0.7, "pi": 0.3})
    data = BasicMotions()
    run = trainer(tmp_path)
    (result,) = run.test(fresh, data, ckpt_path=path, weights_only=True, verbose=False)
    batches = run.predict(fresh, data, ckpt_path=path, weights_only=True)
    predicted = torch.cat([b["prediction"] for b in batches])
    target = torch.cat([b["target"] for b in batches])
    assert (predicted == target).float().mean().item() == pytest.approx(result["test/accuracy"])
    with pytest.raises(MissingFileError, match="gone_raw"):
        run.fit(fresh, both_views())


@pytest.mark.parametrize("stop", [{"max_epochs": 2}, {"max_steps": 5}], ids=["epoch", "middle"])
@pytest.mark.parametrize("workers", [0, 1])
def test_interrupted_equals_uninterrupted(teachers, tmp_path, stop, workers):
    """TPKD with temperature and weight annealing and augmentation, bit for bit."""
    epochs = 4

    def run(folder, limit, path=None):
        pl.seed_everything(3)
        anneal = [TemperatureAnnealing(epochs=epochs), WeightAnnealing(epochs=epochs)]
        module = tpkd(teachers)
        fit = trainer(folder, **limit, callbacks=anneal)
        fit.fit(module, both_views(augment=Mix2(), seed=3, num_workers=workers), ckpt_path=path, weights_only=True)
        return fit, module

    _, whole = run(tmp_path / "whole", {"max_epochs": epochs})
    first, _ = run(tmp_path / "first", {"max_epochs": epochs, **stop})
    first.save_checkpoint(tmp_path / "half.ckpt")
    second, resumed = run(tmp_path / "second", {"max_epochs": epochs}, tmp_path / "half.ckpt")
    assert second.global_step == 4 * epochs
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert torch.equal(whole.objective.temperature, resumed.objective.temperature)


def test_logged_names(teachers, tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path)
    module = tpkd(teachers)
    fit = trainer(tmp_path, max_epochs=1, logger=logger, log_every_n_steps=1)
    fit.fit(module, both_views())
    fit.test(module, both_views(), verbose=False)
    logger.save()
    header = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()[0].split(",")
    expected = {f"train/{n}" for n in ("loss", "ce", "kd", "similarity", "temperature", "kd_weight")}
    expected |= {f"{s}/{n}" for s in ("val", "test") for n in ("loss", "accuracy", "f1")}
    expected |= {f"teacher/{n}/val_accuracy" for n in ("raw", "pi")}
    assert expected <= set(header)


def test_every_method_trains_its_student_only(teachers, tmp_path):
    for cls in (KD, FullKD, ESKD, AMD, TGD, TPKD, Distillation):
        chosen = two(teachers)
        if cls in (KD, FullKD, ESKD, AMD):
            path = teachers["raw"]
            if cls is FullKD:
                path = str(Path(path).with_name("teacher-full.ckpt"))
            chosen = {"raw": Teacher(path)}
        module = cls(net(), chosen)
        before = {k: v.clone() for k, v in module.net.named_parameters()}
        trainer(tmp_path, max_steps=1).fit(module, both_views())
        assert all(not torch.equal(v, before[k]) for k, v in module.net.named_parameters()), cls
        assert set(dict(module.named_parameters())) == {
            *(f"net.{k}" for k in before),
            *(k for k in dict(module.named_parameters()) if k.startswith("teachers.")),
        }


def test_eskd_and_full_kd_mind_the_provenance(teachers, tmp_path):
    early, full = teachers["raw"], str(Path(teachers["raw"]).with_name("teacher-full.ckpt"))
    with pytest.raises(InputError, match=r"raw.*"):
        trainer(tmp_path).fit(ESKD(net(), {"raw": Teacher(full)}), BasicMotions())
    with pytest.raises(InputError, match=r"raw.*"):
        trainer(tmp_path).fit(FullKD(net(), {"raw": Teacher(early)}), BasicMotions())
    for path in (early, full):
        trainer(tmp_path, max_steps=1).fit(KD(net(), {"raw": Teacher(path)}), BasicMotions())


def test_a_folder_stands_for_its_newest_finished_version(teachers, tmp_path):
    for version, name in ((0, "teacher.ckpt"), (1, "teacher.ckpt"), (2, "peak.ckpt")):
        target = tmp_path / f"version_{version}" / "checkpoints"
        target.mkdir(parents=True)
        shutil.copy(teachers["raw"], target / name)
    assert "version_1" in Teacher(str(tmp_path)).load().file


def test_teacher_of_another_split_is_refused_by_name(teachers, tmp_path):
    data = BasicMotions(split_seed=7)
    with pytest.raises(InputError, match=r"teacher 'raw'.*another split.*allow_other_split"):
        trainer(tmp_path).fit(KD(net(), {"raw": Teacher(teachers["raw"])}), data)
    accepted = Teacher(teachers["raw"], allow_other_split=True)
    trainer(tmp_path, max_steps=1).fit(KD(net(), {"raw": accepted}), BasicMotions(split_seed=7))


def test_a_teacher_of_other_classes_is_refused_whatever_the_split(tmp_path):
    """As many classes, but others: the switch is neither recommended nor of any use."""
    module, fit = Supervised(net(classes=3)), trainer(tmp_path, max_steps=1)
    fit.fit(module, BasicMotions(unknown_classes=["Running"]))
    fit.save_checkpoint(tmp_path / "three.ckpt")
    said = r"teacher 'raw' .*its classes are Badminton, Standing, Walking, here Running, Standing, Walking.*settings"
    for allowed, end in (
        (False, ""),
        (True, r" \(allow_other_split=True accepts other held-out subjects, and nothing else\)"),
    ):
        teacher = Teacher(str(tmp_path / "three.ckpt"), allow_other_split=allowed)
        with pytest.raises(InputError, match=rf"{said}{end}\.$") as error:
            trainer(tmp_path).fit(KD(net(classes=3), {"raw": teacher}), BasicMotions(unknown_classes=["Badminton"]))
        assert ("allow_other_split" in str(error.value)) == allowed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"window": 50}, "its window is 100, here 50"),
        ({"sampling_rate": 20.0}, r"its sampling_rate is 10.0, here 20.0"),
        ({"channels": {"raw": list("abcdef")}}, "its channels are"),
        ({"scale": {"raw": {"offset": [0.0] * 6, "divisor": [1.0] * 6}}}, "its data were scaled with other numbers"),
        (
            {"scale": {"raw": {"offset": [0.5] * 6, "divisor": [2.0] * 6, "clip": True}}},
            "its data were scaled with other",
        ),
    ],
    ids=["window", "rate", "channels", "not scaled", "clipped"],
)
def test_another_split_is_no_excuse_for_other_inputs(change, said, teachers):
    here = BasicMotions(split_seed=7).fingerprint
    allowed, strict = (Teacher(teachers["raw"], allow_other_split=allowed).load() for allowed in (True, False))
    with pytest.warns(UserWarning, match="teacher 'raw'.*not scaled as those of its training.*other numbers"):
        allowed.check_split(here, "raw")  # the numbers are those of other training windows
    for teacher in (allowed, strict):
        with pytest.raises(InputError, match=f"teacher 'raw'.*other inputs or classes: {said}"):
            teacher.check_split(here | change, "raw")


def test_a_second_fit_checks_its_own_split(teachers, tmp_path):
    module = KD(net(), {"raw": Teacher(teachers["raw"])})
    trainer(tmp_path, max_steps=1).fit(module, BasicMotions())
    with pytest.raises(InputError, match="another split"):
        trainer(tmp_path, max_steps=1).fit(module, BasicMotions(split_seed=7))


def windows(**kwargs):
    rng = np.random.default_rng(0)
    settings = {"subject": np.arange(80) // 8, "batch_size": 8, "test_subjects": [0, 1], "val_subjects": [2, 3]}
    settings |= {"classes": ["a", "b", "c", "d"], "sampling_rate": 50.0}
    return ArrayDataModule(rng.normal(2, 3, (80, 6, 32)), np.arange(80) % 4, **{**settings, **kwargs})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    module = Supervised(net())
    fit = trainer(folder, max_epochs=1)
    fit.fit(module, windows())
    fit.save_checkpoint(folder / "net.ckpt")
    return module, str(folder / "net.ckpt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": "none"}, "its data were scaled with other numbers"),
        ({"classes": ["d", "c", "b", "a"]}, "its classes are a, b, c, d, here d, c, b, a"),
        ({"channels": list("uvwxyz")}, "its channels are"),
        ({"sampling_rate": 25.0}, "its sampling_rate is 50.0, here 25.0"),
        ({"views": {"raw": Raw(channels=[2, 1, 0, 3, 4, 5])}}, "trained on the view Raw"),
        ({"test_subjects": [8, 9]}, "leak|trained on subjects 8, 9"),
    ],
)
def test_inputs_that_mean_something_else_are_refused(settings, message, trained, tmp_path):
    """For a test of a checkpoint, for a test in memory, and for a teacher."""
    module, path = trained
    run = trainer(tmp_path)
    with pytest.raises(InputError, match=message):
        run.test(Supervised(net()), windows(**settings), ckpt_path=path, weights_only=True)
    with pytest.raises(InputError, match=message):
        run.test(module, windows(**settings))
    with pytest.raises(InputError, match=message):
        run.fit(KD(net(), {"raw": Teacher(path)}), windows(**settings))
    run.test(module, windows(), verbose=False)


def test_a_net_is_trained_on_one_split_only(trained, tmp_path):
    module = Supervised(net())
    trainer(tmp_path, max_steps=1).fit(module, windows())
    with pytest.raises(InputError, match="another split before"):
        trainer(tmp_path, max_steps=1).fit(module, windows(test_subjects=[8, 9]))
    warm = Supervised(net(), init=trained[1])
    with pytest.raises(InputError, match=r"init: .* another split"):
        trainer(tmp_path, max_steps=1).fit(warm, windows(test_subjects=[8, 9]))


def test_provenance_of_a_manual_save(trained, tmp_path):
    module, path = trained
    run = trainer(tmp_path, max_epochs=7)
    run.test(module, windows(), verbose=False)
    run.save_checkpoint(tmp_path / "later.ckpt")
    for file in (path, tmp_path / "later.ckpt"):
        provenance = read_checkpoint(file)[KEY]["provenance"]
        assert (provenance["epoch"], provenance["max_epochs"], provenance["stopped_early"]) == (0, 1, False)


@pytest.mark.parametrize("damage", [{KEY: 1}, {KEY: {}}, {KEY: {"net": {"class_path": "x"}, "view": "raw"}}])
def test_damaged_descriptions(damage, tmp_path):
    torch.save({"state_dict": {}, **damage}, tmp_path / "damaged.ckpt")
    with pytest.raises(InputError):
        Teacher(str(tmp_path / "damaged.ckpt")).load()


def test_names_of_teachers():
    for name in ("a.b", "train", "", "1st"):
        with pytest.raises(InputError, match="names of letters"):
            KD(net(), {name: Teacher("somewhere.ckpt")})


def test_a_smaller_last_batch_is_found_before_the_first_step(teachers, tmp_path):
    with pytest.raises(InputError, match="batch"):
        trainer(tmp_path).fit(tpkd(teachers, patches=3), both_views(batch_size=12, drop_last=False))


def test_taps_and_maps_are_checked_before_the_first_step(teachers, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        trainer(tmp_path).fit(tpkd(teachers, taps=("nowhere",)), both_views())
    with pytest.raises(InputError):  # a map of an image cannot be compared with one of a signal
        trainer(tmp_path).fit(AMD(net(), {"pi": Teacher(teachers["pi"], view="pi")}), both_views())


def test_a_rank_that_holds_repeats_only(tmp_path, one_thread):
    """One test window on two processes: nobody waits for ever, and the loss is that of one process."""
    rng = np.random.default_rng(0)
    subject = np.arange(41) // 8
    data = ArrayDataModule(rng.normal(size=(41, 6, 32)), np.arange(41) % 4, subject, batch_size=8, test_subjects=[5])
    torch.manual_seed(0)
    module = Supervised(net())
    (alone,) = trainer(tmp_path).test(module, data, verbose=False)
    (together,) = trainer(tmp_path, devices=2, strategy="ddp_fork").test(module, data, verbose=False)
    assert together == pytest.approx(alone, rel=1e-5)


def test_bf16_true(teachers, tmp_path):
    trainer(tmp_path, max_steps=1, precision="bf16-true").fit(tpkd(teachers), both_views())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cache": {"budget": "1GiB"}}, "cache must be an instance of TeacherCache, but got {'budget': '1GiB'}. Write"),
        ({"cache": True}, "cache must be an instance of TeacherCache, but got True. Write"),
        ({"student_init": torch.nn.Linear(2, 2)}, "student_init must name a file or folder, but got Linear(in_feat"),
        (
            {"optimizer": {"class_path": "SGD"}},
            "optimizer must be a class or a function, but got {'class_path': 'SGD'}",
        ),
        ({"scheduler": "cosine"}, "scheduler must be a class or a function, but got 'cosine'. Write"),
        ({"optimizer": None}, "optimizer must be a class or a function, but got None. Write for example optimizer=la"),
        ({"optimizer": lambda: None}, "optimizer must be called with the parameters alone, but <lambda> takes no arg"),
        (
            {"scheduler": torch.optim.lr_scheduler.CosineAnnealingLR},
            "scheduler must be called with the optimiser alone, but CosineAnnealingLR also needs T_max. Write "
            "scheduler=lambda optimizer: CosineAnnealingLR(optimizer, T_max=...).",
        ),
        ({"student_view": ["raw"]}, "student_view must be a name, but got ['raw']. Write for example student_view="),
        ({"student_view": None}, "student_view must be a name, but got None. Write"),
        ({"student_view": ""}, "student_view must be a name, but got ''. Write"),
        *(
            (
                {"compile": value},
                f"compile must be true, false or the name of a backend of torch.compile, but got {value!r}",
            )
            for value in ({}, 1, 0, [], None, "")
        ),
        ({"memory_format": ["channels_last"]}, "memory_format must be 'channels_last', 'contiguous' or None, but got"),
        ({"scheduler_interval": "batch"}, "scheduler_interval must be 'epoch', 'step' or None, but got 'batch'. Cho"),
    ],
)
def test_the_form_of_yaml_is_refused_with_what_to_write(arguments, said):
    teacher = Teacher(net=net(), mean=[0.0] * 6, std=[1.0] * 6)
    with pytest.raises(InputError, match=f"^KD: {re.escape(said)}"):
        KD(net(), {"t": teacher}, **arguments)


@pytest.mark.parametrize("view", [None, ["raw"], 3, " "])
def test_a_view_is_a_name(view):
    with pytest.raises(InputError, match=r"^Supervised: view must be a name, but got .* Write for example view="):
        Supervised(net(), view=view)
    with pytest.raises(InputError, match=r"^Teacher: view must be a name, but got .* Write for example Teacher"):
        Teacher(net=net(), view=view)


@pytest.mark.filterwarnings("ignore")
def test_an_optimiser_holds_what_is_trained(tmp_path):
    def fit(make):
        run = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
        run.fit(Supervised(net(), optimizer=make), BasicMotions())

    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.1)

    with pytest.raises(InputError, match=r"SGD holds none of these \d+, so nothing would be trained\. Write for"):
        fit(lambda _: sgd(net().parameters()))
    for made in (None, [sgd(net().parameters())]):
        with pytest.raises(
            InputError, match="optimizer must make one optimiser of torch from the parameters, but made"
        ):
            fit(lambda _, made=made: made)
    with pytest.warns(
        UserWarning, match=r"SGD does not hold 1 of the \d+ parameters that it was given \(net\..*\), so"
    ):
        fit(lambda parameters: sgd(parameters[1:]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(lambda parameters: sgd([{"params": parameters[:3]}, {"params": parameters[3:], "lr": 0.01}]))
    assert not any("does not hold" in str(one.message) for one in told)


@pytest.mark.filterwarnings("ignore")
def test_the_optimiser_of_a_part_is_told_of_once(tmp_path):
    module = Supervised(net(), optimizer=lambda parameters: torch.optim.SGD(parameters[1:], lr=0.1))
    with pytest.warns(UserWarning, match="does not hold"):
        module.configure_optimizers()
    with warnings.catch_warnings(record=True) as again:
        warnings.simplefilter("always")
        module.configure_optimizers()
    assert not again


def test_a_compiled_method_is_told_of_its_argument(tmp_path):
    module = Supervised(net())
    module._compiler_ctx = {"compiler": "dynamo"}  # as Lightning notes it
    with pytest.warns(UserWarning, match=r"Supervised: torch\.compile of a method .* write compile=True"):
        trainer(tmp_path, max_epochs=0).fit(module, BasicMotions())


@pytest.mark.parametrize("call", [Teacher, kdlab.load, lambda given: Supervised(net(), init=given)])
def test_a_net_is_no_checkpoint(call):
    with pytest.raises(InputError, match=r"must name a file or folder, but got an object of WideResNet\. Write"):
        call(net())


@pytest.mark.parametrize("path", ["", "  "])
@pytest.mark.parametrize(
    "call",
    [
        Teacher,
        kdlab.load,
        lambda given: Supervised(net(), init=given),
        lambda given: KD(net(), {"t": Teacher(net=net())}, student_init=given),
        lambda given: find_checkpoint(given, KEPT_FILES, "ckpt_path"),
    ],
)
def test_an_empty_path_is_not_the_folder_it_is_read_in(call, path, tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"must name a file or folder, but got '{path}'. Write"):
        call(path)


def test_testing_on_what_was_trained_on_is_refused(student, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 6, 100)).astype("float32")
    y, subject = np.arange(60) % 4, np.arange(60) // 6
    one = ArrayDataModule(x, y, subject, test_subjects=[0, 1], batch_size=8)
    module = Supervised(net())
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(module, one)
    fit.save_checkpoint(tmp_path / "one.ckpt")
    other = ArrayDataModule(x, y, subject, test_subjects=[5, 6], batch_size=8)
    with pytest.raises(InputError, match=r"trained or selected on subjects 5, 6.*leak"):
        trainer(tmp_path).test(Supervised(net()), other, ckpt_path=tmp_path / "one.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (net(channels=3), "must have 3 channels"),
        (net(classes=5), "but has 5"),
        (net(ndim=2), "2 axes"),
    ],
    ids=["channels", "classes", "rank"],
)
def test_teacher_of_another_shape_is_refused(teacher, message, tmp_path):
    with pytest.raises(InputError, match=message):
        trainer(tmp_path).fit(KD(net(), {"raw": Teacher(net=teacher)}), BasicMotions())


def test_a_view_that_nobody_emits(teachers, tmp_path):
    with pytest.raises(InputError, match=r"'pi'.*emits 'raw'"):
        trainer(tmp_path).fit(tpkd(teachers), BasicMotions())
    with pytest.raises(InputError, match=r"'gaf'.*emits 'raw'"):
        trainer(tmp_path).fit(Supervised(net(), view="gaf"), BasicMotions())


def test_patches_must_divide_the_batch(teachers, tmp_path):
    with pytest.raises(InputError, match="batch_size"):
        trainer(tmp_path).fit(tpkd(teachers, patches=3), both_views())


class Evil:
    def __reduce__(self):
        return (os.system, ("touch owned",))


@pytest.mark.parametrize("kind", ["pickle", "torch", "text", "half", "list"])
def test_files_that_are_no_checkpoints(kind, teachers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.ckpt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    elif kind == "torch":
        torch.save({"state_dict": {}, "x": Evil()}, path)
    elif kind == "text":
        path.write_text("weights")
    elif kind == "list":
        torch.save([1, 2], path)
    else:
        whole = Path(teachers["raw"]).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"file\.ckpt"):
        Teacher(str(path)).load()
    assert not (tmp_path / "owned").exists()


def test_foreign_weights(tmp_path):
    source = net(channels=3)
    state = {k: v for k, v in source.state_dict().items() if not k.startswith("standardize.")}
    x = torch.randn(2, 3, 40)
    expected = source.eval()((x - 1) / 2).logits
    for wrapped in (
        state,
        {"state_dict": state},
        {"model": state, "epoch": 3},
        {"model_state_dict": state},
        {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    ):
        torch.save(wrapped, tmp_path / "foreign.pth")
        path = str(tmp_path / "foreign.pth")
        teacher = Teacher(path, net=net(channels=3), mean=[1.0] * 3, std=[2.0] * 3).load()
        torch.testing.assert_close(teacher(x).logits, expected)
        with pytest.raises(InputError, match="mean= and std="):
            Teacher(path, net=net(channels=3)).load()
        with pytest.raises(InputError, match="net="):
            Teacher(path).load()
        with pytest.raises(InputError, match="not those of"):
            Teacher(path, net=net(channels=4), mean=[0.0] * 4, std=[1.0] * 4).load()


def test_student_init(teachers, tmp_path):
    scratch = trainer(tmp_path, max_epochs=1)
    module = Supervised(net())
    scratch.fit(module, BasicMotions())
    scratch.save_checkpoint(tmp_path / "scratch.ckpt")
    warm = KD(net(), {"raw": Teacher(teachers["raw"])}, student_init=str(tmp_path / "scratch.ckpt"))
    warm.prepare(_ready(BasicMotions()), "fit")
    for key, value in module.net.state_dict().items():
        assert torch.equal(value, warm.net.state_dict()[key]), key
    other = KD(net(), {"raw": Teacher(teachers["raw"])}, student_init=teachers["pi"])
    with pytest.raises(InputError, match="student_init"):
        other.prepare(_ready(BasicMotions()), "fit")
    split = Supervised(net(), init=str(tmp_path / "scratch.ckpt"))
    with pytest.raises(InputError, match=r"student_init.*another split"):
        split.prepare(_ready(BasicMotions(split_seed=7)), "fit")


def test_init_is_not_measured_before_a_fit(trained, teachers, tmp_path):
    """A fit alone loads it; afterwards, and with weights of a checkpoint, the method is measured as it is."""
    held, path = trained
    path, raw = str(path), {"raw": Teacher(teachers["raw"])}
    for made, argument in ((Supervised(net(), init=path), "init"), (KD(net(), raw, student_init=path), "student_init")):
        for verb in ("validate", "test", "predict"):
            line = re.escape(f"trainer.{verb}(..., ckpt_path={path!r})")
            with pytest.raises(InputError, match=f"{argument} must be .*{line}"):
                getattr(trainer(tmp_path), verb)(made, windows())
        with pytest.raises(InputError, match=f"kdlab evaluate {path}"):
            kdlab.evaluate.evaluate(made, windows(), robustness=False, cost=False)
        with pytest.raises(InputError, match="and no fit"):
            kdlab.save_pretrained(made, tmp_path / "shared")
    expected = trainer(tmp_path).test(held, windows(), verbose=False)
    loaded = Supervised(net(), init=path)
    assert trainer(tmp_path).test(loaded, windows(), ckpt_path=path, verbose=False) == expected
    assert trainer(tmp_path).test(loaded, windows(), verbose=False) == expected
    run = trainer(tmp_path)
    run.test(loaded, windows(), ckpt_path=path, verbose=False)
    with pytest.raises(InputError, match="which are test data here"):  # of a trainer that read a checkpoint before
        run.test(loaded, windows(test_subjects=[8, 9]), verbose=False)
    given = Supervised(net(), init=path)
    given.load_state_dict(held.state_dict())
    assert trainer(tmp_path).test(given, windows(), verbose=False) == expected
    begun = Supervised(net(), init=path)
    trainer(tmp_path, max_epochs=0).fit(begun, windows())
    assert trainer(tmp_path).test(begun, windows(), verbose=False) == expected


def test_loaded_weights_keep_their_description_until_they_are_trained(teachers, tmp_path):
    """Also in another method: its teachers, objective and selection are those of the weights."""
    student, first = KD(net(), {"raw": Teacher(teachers["raw"])}), trainer(tmp_path, max_epochs=1)
    student.selection = {"rule": "last"}
    first.fit(student, BasicMotions())
    first.save_checkpoint(tmp_path / "kd.ckpt")
    described = read_checkpoint(tmp_path / "kd.ckpt")[KEY]
    plain, run = Supervised(net()), trainer(tmp_path, max_epochs=1)
    run.test(plain, BasicMotions(), ckpt_path=tmp_path / "kd.ckpt", verbose=False)
    run.save_checkpoint(tmp_path / "tested.ckpt")
    assert read_checkpoint(tmp_path / "tested.ckpt")[KEY] == described
    assert (described["method"], described["selection"]) == ("KD", {"rule": "last"})
    assert list(described["teachers"]) == ["raw"]
    run = trainer(tmp_path, max_epochs=1)
    run.fit(plain, BasicMotions())
    run.save_checkpoint(tmp_path / "fitted.ckpt")
    own = read_checkpoint(tmp_path / "fitted.ckpt")[KEY]
    assert own["method"] == "Supervised"
    assert not {"teachers", "selection"} & own.keys()


def _ready(data):
    data.setup("fit")
    return data


def test_standardisation_is_filled_once_from_the_training_view(tmp_path):
    data = _ready(BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, scale="none"))
    module = Supervised(net(ndim=2), view="pi")
    module.prepare(data, "fit")
    train = torch.cat([b.views["pi"] for b in data.batches("train")]).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(module.net.standardize.mean.double(), train.mean(1), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(module.net.standardize.std.double(), train.std(1, correction=0), rtol=1e-5, atol=1e-7)
    scaled = Supervised(net())
    scaled.prepare(_ready(BasicMotions()), "fit")  # already standard: the identity, on purpose
    assert scaled.net.standardize.filled
    assert (scaled.net.standardize.mean == 0).all()


def test_plain_loaders_work_too(tmp_path):
    """Batches from anywhere: the standardisation comes from one pass over the training loader."""
    data = _ready(BasicMotions(scale="none"))
    batches = list(data.batches("train"))
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    module = Supervised(net())
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, loader, loader)
    everything = torch.cat([b.views["raw"] for b in batches]).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(module.net.standardize.mean.double(), everything.mean(1), rtol=1e-4, atol=1e-5)
    assert "val/accuracy" in run.callback_metrics


class Listening(Teacher):
    def forward(self, x):
        self.heard = x.clone()
        return super().forward(x)


@pytest.mark.parametrize(("student_view", "teacher_view"), [("raw", "raw/clean"), ("raw/clean", "raw"), ("raw", "raw")])
def test_augmentation_for_student_teacher_or_both(student_view, teacher_view, teachers, tmp_path):
    data = _ready(BasicMotions(views={"raw": Raw(), "raw/clean": None}, augment=Mix2()))
    module = KD(net(), {"raw": Listening(teachers["raw"], view=teacher_view)}, student_view=student_view)
    module.prepare(data, "fit")
    batch = next(iter(data.train_dataloader()))
    clean = torch.cat([b.views["raw"] for b in data.batches("train")])
    index = torch.cat([b.index for b in data.batches("train")]).tolist()
    clean = torch.stack([clean[index.index(i)] for i in batch.index.tolist()])
    module.terms(batch, module.net(batch.views[module.view]))
    heard = module.teachers["raw"].heard
    assert torch.equal(heard, clean) == (teacher_view == "raw/clean")
    assert torch.equal(batch.views[module.view], clean) == (student_view == "raw/clean")
    assert torch.equal(heard, batch.views[module.view]) == (student_view == teacher_view)


def test_no_teacher_no_distillation():
    with pytest.raises(InputError, match="at least one teacher"):
        Distillation(net(), {})
    with pytest.raises(InputError, match="checkpoint="):
        Teacher()
    with pytest.raises(InputError, match="must be loaded before a forward pass"):
        Teacher("somewhere.ckpt")(torch.zeros(1, 3, 8))


def test_probabilities_as_targets():
    """Mixup's targets reach the loss."""
    module = Supervised(net())
    batch = kdlab.Batch({"raw": torch.randn(4, 6, 32)}, torch.full((4, 4), 0.25), torch.arange(4))
    terms = module.terms(batch, module.net(batch.views["raw"]))
    assert torch.isfinite(terms["ce"])
