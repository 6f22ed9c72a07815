"""What the jobs of a study share changes none of their results."""

import csv
import inspect
import json
import re

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningCLI

from kdlab import Supervised, cli, reuse
from kdlab import data as data_modules
from kdlab.data import BasicMotions, ImageDataModule, WindowDataModule
from kdlab.data.windows import WindowSet
from kdlab.lightning_cli import KdlabCLI, Reading
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.kept_outputs import output_of
from kdlab.methods.teacher import Teacher
from kdlab.nets import WideResNet
from kdlab.study import windows
from kdlab.study.command import main
from kdlab.types import Batch, InputError
from kdlab.views import GramianAngularField
from tests import fixtures
from tests.test_study import toy
from tests.tuned import write_tuned


@pytest.fixture(autouse=True)
def nothing_kept():
    windows.forget()
    reuse.forget()
    yield
    windows.forget()
    reuse.forget()


class Counted:
    """Counts the calls of a method."""

    def __init__(self, monkeypatch, owner, name):
        self.calls = 0
        real = getattr(owner, name)

        def counting(*args, **kwargs):
            self.calls += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)


def study(folder, monkeypatch, limit):
    """Run a small study, whose jobs keep nothing in common with a limit of 0; its folder."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(reuse, "LIMIT", limit)
    windows.forget()
    reuse.forget()
    path = toy(
        folder,
        set={"all": {"trainer.max_epochs": 3}, "students": {"model.init_args.cache": {"budget": "1GiB"}}},
        students={
            "kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}},
            "at": {
                "config": "student.yaml",
                "teachers": {"raw": "teacher"},
                "set": {"model.class_path": "AT"},
                "init": "scratch",
            },
        },
    )
    main([path.name], cli.run, cli.check)
    return folder / "runs"


def plain(runs, name):
    """Rows of a file of results without seconds."""
    with (runs / "toy/study" / name).open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]


def test_a_study_that_shares_has_the_results_of_one_that_does_not(tmp_path, monkeypatch):
    parsed = Counted(monkeypatch, LightningCLI, "parse_arguments")
    validated = Counted(monkeypatch, Trainer, "validate")
    run = Counted(monkeypatch, Teacher, "forward")
    apart = study(tmp_path / "apart", monkeypatch, 0)
    before = parsed.calls, validated.calls, run.calls
    shared = study(tmp_path / "shared", monkeypatch, 2**28)
    assert before[:2] == (3 + 7, 7)  # sections of the fourth config were all accepted before
    assert (parsed.calls - before[0], validated.calls - before[1]) == (3, 0)  # the teacher's is that of scratch
    # training windows of the second row, three of four scores, and the batch that three of four compare with the cache
    assert before[2] - (run.calls - before[2]) == 1 + 3 + 3
    assert plain(shared, "results.csv") == plain(apart, "results.csv")
    checkpoints = sorted(path.relative_to(shared) for path in shared.rglob("*.ckpt"))
    assert len(checkpoints) == 14
    for path in checkpoints:
        one, other = (read_checkpoint(runs / path) for runs in (shared, apart))
        assert one["state_dict"].keys() == other["state_dict"].keys()
        assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    for path in sorted(shared.rglob("metrics.csv")):
        assert path.read_text() == (apart / path.relative_to(shared)).read_text()
    for path in sorted(shared.rglob("result.json")):
        one, other = (json.loads((runs / path.relative_to(shared)).read_text()) for runs in (shared, apart))
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for path in sorted(shared.rglob("config.yaml")):
        one, other = (yaml.safe_load((runs / path.relative_to(shared)).read_text()) for runs in (shared, apart))
        assert one == other


# ---------------------------------------------------------------- what is shared, piece by piece
def words(folder, name, **changes):
    """The words of a fit, whose config file has these values at dotted names."""
    config = yaml.safe_load((folder / "student.yaml").read_text())
    teacher = config["model"]["init_args"]["teachers"]["raw"]
    teacher["checkpoint"] = changes.pop("checkpoint", "runs/teacher")
    config["model"]["init_args"] |= {"student_init": changes.pop("student_init", "runs/scratch/seed0")}
    config |= {"seed_everything": 0, "run": "toy/kd", **changes}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["fit", "--config", str(path)]


def read(given):
    return cli._with_words(Reading, given).config.as_dict()


def test_a_config_that_differs_in_seed_and_folders_is_parsed_once(tmp_path, monkeypatch):
    toy(tmp_path)
    parsed = Counted(monkeypatch, LightningCLI, "parse_arguments")
    given = [
        words(tmp_path, "a"),
        words(tmp_path, "b", seed_everything=3, run="toy/other"),
        words(tmp_path, "c", checkpoint="runs/another", student_init="runs/scratch/seed3"),
    ]
    fresh = [read(one) for one in given]
    assert parsed.calls == 3
    with reuse.reusing():
        again = [read(one) for one in given]
    assert parsed.calls == 4
    assert [str(one).replace("_fsr", "_fr") for one in again] == [str(one).replace("_fsr", "_fr") for one in fresh]
    assert len({str(one) for one in fresh}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"seed_everything": True},  # another kind of value
        {"run": "7"},  # YAML reads it as a number
        {"run": "toy/a: b"},
        {"trainer": {"max_epochs": 3}},
        {"checkpoint": None},
    ],
)
def test_another_config_is_parsed_again(tmp_path, changes, monkeypatch):
    toy(tmp_path)
    parsed = Counted(monkeypatch, LightningCLI, "parse_arguments")
    with reuse.reusing():
        read(words(tmp_path, "a"))
        fine = True
        try:
            read(words(tmp_path, "b", **changes))
        except (InputError, SystemExit):
            fine = False
    assert parsed.calls == 2, fine


def test_a_copy_of_a_parsed_config_is_its_own(tmp_path):
    toy(tmp_path)
    given = words(tmp_path, "a")
    with reuse.reusing():
        first = cli._with_words(Reading, given).config
        first.fit.model.init_args.student_init = "changed"
        first.fit.data.init_args.train_per_class = 99
        second = cli._with_words(Reading, given).config
        second.fit.model.init_args.teachers.clear()
        third = cli._with_words(Reading, given).config
    assert third.fit.model.init_args.student_init == "runs/scratch/seed0"
    assert third.fit.data.init_args.train_per_class == 2
    assert list(third.fit.model.init_args.teachers) == ["raw"]


def teacher(seed):
    torch.manual_seed(seed)
    net = WideResNet(10, 1, in_channels=6, num_classes=4)
    net.standardize.fill()
    return Teacher(net=net).load()


def test_outputs_of_a_teacher_are_found_by_its_weights_and_its_input(monkeypatch):
    run = Counted(monkeypatch, Teacher, "forward")
    x = torch.randn(3, 6, 20)

    def output(teacher, x, setting, **how):
        nothing = torch.zeros(len(x), dtype=torch.int64)
        return output_of(teacher, Batch({"raw": x}, nothing, nothing), setting, **how)

    with reuse.reusing():
        first = output(teacher(0), x, "32-true")
        again = output(teacher(0), x.clone(), "32-true")  # another object with the same weights
        assert run.calls == 1
        assert again.logits is first.logits
        assert torch.equal(again.logits, teacher(0)(x).logits)
        run.calls = 0
        for one, batch, setting in (
            (teacher(1), x, "32-true"),
            (teacher(0), x.double().float() + 1e-6, "32-true"),
            (teacher(0), x[:2], "32-true"),
            (teacher(0), x, "16-mixed"),
        ):
            assert not torch.equal(output(one, batch, setting).logits, first.logits) or setting == "16-mixed"
        assert run.calls == 4
        other = output(teacher(0), x, "32-true", held_out=True)
        assert torch.equal(other.logits, first.logits)
        assert not other.features
    output(teacher(0), x, "32-true")
    assert run.calls == 6  # outside of a study each time


def test_outputs_that_depend_on_random_numbers_are_not_kept(monkeypatch):
    class Noisy(WideResNet):
        def taps(self, x):
            found = super().taps(x)
            return {**found, "embedding": found["embedding"] + torch.randn_like(found["embedding"])}

    net = Noisy(10, 1, in_channels=6, num_classes=4)
    net.standardize.fill()
    noisy, nothing = Teacher(net=net).load(), torch.zeros(3, dtype=torch.int64)
    batch = Batch({"raw": torch.randn(3, 6, 20)}, nothing, nothing)
    with reuse.reusing():
        one, other = (output_of(noisy, batch, "32-true").logits for _ in range(2))
    assert not torch.equal(one, other)


def test_what_was_not_read_for_the_longest_time_is_freed_first(monkeypatch):
    monkeypatch.setattr(reuse, "LIMIT", 100)
    with reuse.reusing():
        for name in "abc":
            reuse.keep(name, name, 40)
            reuse.find("a")
        assert [reuse.find(name) for name in "abc"] == ["a", None, "c"]
        reuse.keep("large", 1, 101)
        assert reuse.find("large") is None
        assert reuse.kept("a", lambda: 1 / 0) == "a"
    assert reuse.find("a") is None
    reuse.keep("d", 1)
    with reuse.reusing():
        assert reuse.find("d") is None


def test_no_job_can_change_the_windows_that_others_read():
    config = {"data": {"class_path": "BasicMotions", "init_args": {}}}
    data = BasicMotions()
    windows.share(data, config)
    with pytest.raises(ValueError, match="read-only"):
        data.data.windows["raw"][0] = 0
    other = BasicMotions()
    windows.share(other, config)
    assert other.data.windows["raw"] is data.data.windows["raw"]


def test_a_job_is_described_and_counted_from_one_data_module(monkeypatch):
    made = Counted(monkeypatch, windows, "make_data")

    def config(**given):
        return {"data": {"class_path": "BasicMotions", "init_args": given}}

    def count(**given):
        data = BasicMotions(**given)
        data.setup()
        return len(data.train_dataloader())

    assert windows.batches(config(batch_size=8)) == count(batch_size=8)
    one = windows.fingerprint(config(batch_size=8))
    image = {"gaf": {"class_path": "GramianAngularField"}}  # another view of the same windows
    assert windows.fingerprint(config(batch_size=8, views=image)) == one
    assert windows.batches(config(batch_size=8, views=image)) == count(batch_size=8)
    assert made.calls == 1
    assert windows.batches(config(batch_size=4)) == count(batch_size=4) > count(batch_size=8)
    assert windows.fingerprint(config(batch_size=8, split_seed=1)) != one
    assert made.calls == 3


class Chosen(BasicMotions):
    """Other windows for another seed."""

    def _chosen(self, data):
        return data if self.split_seed else WindowSet(data.windows, (data.target + 1) % 4, data.classes, data.channels)


def test_a_digest_does_not_depend_on_what_was_described_before():
    def config(**given):
        return {"data": {"class_path": "tests.test_study_sharing.Chosen", "init_args": given}}

    one, other = config(split_seed=1), config()
    both = windows.fingerprint(one), windows.fingerprint(other)
    windows.forget()
    assert (windows.fingerprint(other), windows.fingerprint(one)) == both[::-1]


def shifted(content):
    return {**content, "y": (content["y"] + (content["subject"] > 4)) % 3}


def renamed(content):
    return {**content, "classes": np.array(["a", "b", "c"])}


@pytest.mark.parametrize("change", [shifted, renamed])
def test_no_row_of_data_that_changed_is_kept_under_the_key_of_the_earlier_data(tmp_path, change, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_tuned(tmp_path, tune={"none": True}, teachers=None, students=None, seeds=3, folds=None)
    content = dict(np.load("windows.npz"))

    def run(words, prepare):
        line = cli.run(words, prepare)
        if "seed0" in words[2]:
            np.savez("windows.npz", **change(content))
            windows._loaded.clear()  # as a process that has none, or no room for them
        return line

    with pytest.raises(SystemExit, match="2 of 3 jobs have no result"):
        main(["study.yaml"], run, cli.check)
    told = r"scratch/seed1: FAILED: the data of scratch/seed1 must stay the same .* Run the same command again: jobs"
    assert re.search(told, capsys.readouterr().out)
    (kept,) = tmp_path.rglob("result.json")
    windows.forget()
    main(["study.yaml"], cli.run, cli.check)
    assert len(list(tmp_path.rglob("result.json"))) == 1 + 3
    windows.forget()
    np.savez("windows.npz", **content)
    main(["study.yaml", "--only", "scratch/seed0"], failing, cli.check)  # it is done
    assert json.loads(kept.read_text())["key"] in kept.parent.name


def failing(*_):
    raise ValueError("exploded")


def test_several_data_sets_are_kept_within_a_bound(monkeypatch):
    read_sets, real = [], BasicMotions.load
    monkeypatch.setattr(BasicMotions, "load", lambda self: read_sets.append(1) or real(self))
    configs = [{"data": {"class_path": "BasicMotions", "init_args": {"labels": {"a": name}}}} for name in "ab"]
    for bound, expected in ((2**30, 2), (1, 6)):
        monkeypatch.setattr(windows, "MOST", bound)
        windows.forget()
        read_sets.clear()
        for config in configs * 3:
            windows.share(BasicMotions(), config)
        assert len(read_sets) == expected


def test_views_of_validation_are_computed_once_and_no_one_can_change_them(monkeypatch):
    computed = Counted(monkeypatch, GramianAngularField, "compute")
    views = {"gaf": GramianAngularField(8), "other": GramianAngularField(9)}
    data, again = (BasicMotions(views=dict(views), batch_size=8) for _ in range(2))

    def val(module):
        return [batch.views for batch in module.val_dataloader()]

    fresh = val(data)
    once = computed.calls
    with reuse.reusing():
        first = val(data)
        assert computed.calls == 2 * once
        for batch in first:
            batch["gaf"].zero_()
        second = val(again)  # another module of the same data
        assert computed.calls == 2 * once
        next(data.batches("train"))
        trained = computed.calls
        next(iter(data.train_dataloader()))
        assert computed.calls == trained + 2
        assert reuse.find("nothing") is None
        val(BasicMotions(views=dict(views), batch_size=8, scale="minmax"))  # other bytes
        assert computed.calls == trained + 2 + once
    for a, b in zip(fresh, second, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in views)


# ---------------------------------------------------------------- what a fit dumps
class Keeping(Supervised):
    """A method of a user's own that keeps its hyper-parameters."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.save_hyperparameters()


def test_hyperparameters_are_those_of_lightning_and_dumped_only_where_they_are_kept(tmp_path, monkeypatch):
    toy(tmp_path)
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load((tmp_path / "supervised.yaml").read_text())
    content["trainer"] |= {"fast_dev_run": True}
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(content))
    content["model"]["class_path"] = f"{__name__}.Keeping"
    (tmp_path / "keeping.yaml").write_text(yaml.safe_dump(content))
    dumped = Counted(monkeypatch, LightningCLI, "_dump_config")
    assert not cli.run(["fit", "--config", "plain.yaml"]).model.hparams
    assert dumped.calls == 0
    own = dict(cli.run(["fit", "--config", "keeping.yaml"]).model.hparams)
    assert dumped.calls == 1
    monkeypatch.setattr(KdlabCLI, "_add_instantiators", LightningCLI._add_instantiators)
    assert own == dict(cli.run(["fit", "--config", "keeping.yaml"]).model.hparams)
    assert own["view"] == "raw"
    assert own["net"]["init_args"]["depth"] == 10


# ---------------------------------------------------------------------------------- what the shared windows depend on
#: a value of every shared argument that is not its default
SHARED = {
    "views": {"gaf": "GramianAngularField"},
    "scale": "minmax",
    "augment": "Noise",
    "mix": "Mixup",
    "corruption": "Corruption",
    "batch_size": 4,
    "num_workers": 1,
    "split": "random_windows",
    "test_subjects": ["0"],
    "val_subjects": ["1"],
    "val_fraction": 0.5,
    "val_count": 1,
    "val_choice": "random",
    "split_seed": 1,
    "seed": 1,
    "train_per_class": 1,
    "unknown_classes": ["c"],
    "labels": {"b": "a"},
    "subjects": {"1": "0"},
    "drop_classes": ["c"],
    "subject_ids": "hashed",
    "sampling": "balanced",
    "unlabelled": {"missing": True},
    "cross_fit": {"groups": 2, "without": 1},
    "view_cache": {"folder": "views"},
    "drop_last": False,
    "pin_memory": False,
    "multiprocessing_context": "spawn",
}


def written(folder, name):
    """A config of a small data set, each window in three of which has no class where that is possible."""
    if name == "BasicMotions" or name == "ShoulderWatch":
        return {"data": {"class_path": name, "init_args": {}}}
    given = {"root": str(folder)}
    x, label = np.random.default_rng(0).normal(size=(24, 2, 10)).astype(np.float32), np.array(list("abc") * 8)
    if name == "ArrayDataModule":
        given = {"path": str(folder / "d.npz")}
        np.savez(folder / "d.npz", x=x, y=np.where(np.arange(24) % 4, label, "c"), subject=np.arange(24) // 4)
    elif name == "RecordingDataModule":
        for person in range(3):
            samples = x.transpose(0, 2, 1).reshape(-1, 2)
            fixtures.write_recording_csv(folder / f"{person}.csv", samples, np.repeat([*"abc", ""] * 6, 10))
        fixed = {"channels": ["c0", "c1"], "window": 10, "sampling_rate": 50, "subject": {"part": 0}}
        given |= {**fixed, "cache_dir": str(folder / "kept")}
    elif name == "UEA":
        given["problem"] = "Odd"
        for part in ("TRAIN", "TEST"):
            fixtures.write_ts(folder / f"Odd_{part}.ts", x, label.tolist())
    else:
        smaller = {"UTDMHAD": {"actions": 3}, "GENEActiv": {"classes": [1, 2]}}
        written = {"TinyImageNet": "tiny_imagenet", "ImageFolder": "image_folder"}.get(name, name.lower())
        getattr(fixtures, f"write_{written}")(folder, **smaller.get(name, {}))
    return {"data": {"class_path": name, "init_args": given}}


def made(config, **more):
    """A data module of a config with further arguments, not set up, and that config."""
    given = {**config["data"], "init_args": {**config["data"]["init_args"], **more}}
    parser = windows._parser()
    module = parser.instantiate_classes(parser.parse_object({"data": given}, defaults=False)).data
    return module, {"data": given}


def concrete():
    kinds = [getattr(data_modules, name) for name in data_modules.__all__]
    return [
        kind.__name__
        for kind in kinds
        if inspect.isclass(kind) and issubclass(kind, WindowDataModule) and not inspect.isabstract(kind)
        if kind not in (WindowDataModule, ImageDataModule)
    ]


@pytest.mark.parametrize("name", concrete())
def test_no_data_module_reads_an_argument_that_the_key_of_its_windows_leaves_out(tmp_path, name):
    if name == "ShoulderWatch":
        pytest.importorskip("seglearn")
    config = written(tmp_path, name)
    module, _ = made(config)
    before = dict(vars(module))
    found, attributes = windows._read(module)  # refuses it
    assert windows.contents(found) == windows.contents(made(config)[0].load())
    assert set(vars(module)) == set(before)
    assert not {*attributes} & {*SHARED}


@pytest.mark.parametrize("name", ["ArrayDataModule", "RecordingDataModule"])
def test_windows_of_others_are_those_that_a_module_reads_alone(tmp_path, name, monkeypatch):
    assert {*SHARED} == {*inspect.signature(WindowDataModule.__init__).parameters} - {"self"}
    monkeypatch.setenv("KDLAB_SALT", "salt")
    config = written(tmp_path, name)
    for argument, value in SHARED.items():
        alone = made(config, **{argument: value})[0].load()
        for order in ({}, {argument: value}), ({argument: value}, {}):
            windows.forget()
            for more in order:
                module, its = made(config, **more)
                windows.share(module, its)
                if more:
                    assert windows.contents(module._given) == windows.contents(alone), argument
                    assert module._given.missing_labels == alone.missing_labels
        assert len(windows._loaded) == (2 if argument in ("labels", "subjects", "unlabelled") else 1), argument


def test_a_study_reads_windows_once_for_every_number_of_labelled_people(tmp_path):
    config = written(tmp_path, "RecordingDataModule")
    for labelled in (1, 2):
        windows.share(*made(config, unlabelled={"labelled": labelled}))
    assert len(windows._loaded) == 1


class Seeded(BasicMotions):
    """Reads other windows for another seed, and counts them."""

    def load(self):
        data = super().load()
        self.number = len(data.target)
        return WindowSet(data.windows, (data.target + self.split_seed) % 4, data.classes, data.channels)


class Declared(Seeded):
    load_reads = (*WindowDataModule.load_reads, "split_seed")


def test_a_module_of_a_user_that_reads_a_shared_argument_says_so():
    def config(kind, seed):
        return {"data": {"class_path": f"tests.test_study_sharing.{kind}", "init_args": {"split_seed": seed}}}

    line = r"got self.split_seed. Write load_reads = \(\*WindowDataModule.load_reads, 'split_seed'\) in Seeded"
    module = Seeded()
    with pytest.raises(InputError, match=line):
        windows.share(module, config("Seeded", 0))
    assert module.split_seed == 0  # it has it again
    first, second, again = (windows.make_data(config("Declared", seed)) for seed in (0, 1, 0))
    assert (first.data.target != second.data.target).all()
    assert again.data is first.data
    assert again.number == first.number  # set by reading, which it did not do


@pytest.mark.parametrize("given", [{}, {"unlabelled": {"labelled": 2}}])
def test_windows_without_a_label_of_an_npz_train_every_module_that_shares_them(tmp_path, given):
    config = written(tmp_path, "ArrayDataModule")
    content = dict(np.load(tmp_path / "d.npz"))
    np.savez(tmp_path / "d.npz", **content, x_unlabelled=content["x"][:5], subject_unlabelled=np.full(5, 30))
    for seed in (0, 1):
        module = windows.make_data(made(config, split_seed=seed, val_count=1, **given)[1])
        alone = made(config, split_seed=seed, val_count=1, **given)[0]
        assert module.unlabelled_count == alone.unlabelled_count >= 5
        assert module.counts == alone.counts
        assert module.fingerprint == alone.fingerprint
    with pytest.raises(InputError, match="unlabelled: ratio must be given where sampling is"):
        made(config, sampling="balanced", batch_size=4, val_count=1)[0].train_dataloader()


def test_missing_labels_of_an_npz_are_refused_also_after_a_row_that_trains_with_them(tmp_path):
    config = written(tmp_path, "ArrayDataModule")
    content = dict(np.load(tmp_path / "d.npz"))
    number = np.where(np.arange(24) % 4, np.arange(24) % 3, -1)
    np.savez(tmp_path / "d.npz", **{**content, "y": number})
    windows.make_data(made(config, unlabelled={"missing": True}, val_count=1)[1])
    with pytest.raises(InputError, match=r"windows without a label \(-1\) are left out"):
        windows.make_data(config)
