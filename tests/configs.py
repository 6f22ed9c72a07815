"""The shipped configs, and how each goes through fit, test and predict on a limit; one test file a few folders."""

from pathlib import Path

import yaml

from kdlab import cli
from tests import fixtures

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"
CONFIGS = sorted(
    path.relative_to(EXPERIMENTS).with_suffix("").as_posix()
    for path in EXPERIMENTS.rglob("*.yaml")
    if "model" in yaml.safe_load(path.read_text())
)
TEACHERS = [f"teacher_{name}" for name in ("raw", "inertial", "skeleton", "fusion", "gaf", "pi")]
ORDER = ["scratch", "scratch_long", *TEACHERS]  # others start from these
IMAGES = {
    "cifar10": "data/cifar-10-batches-py",
    "cinic10": "data/CINIC-10",
    "tiny_imagenet": "data/tiny-imagenet-200",
    "imagenet": "data/imagenet",
}
LIMIT = [
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=2",
    "--trainer.limit_predict_batches=2",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


def make_laboratory(folder):
    """A folder as a user has it: experiments, and the data sets in their official layouts."""
    (folder / "experiments").symlink_to(EXPERIMENTS)
    fixtures.write_pamap2(folder / "data/PAMAP2_Dataset")
    fixtures.write_spswhar(folder / "data/SP_SW_HAR")
    fixtures.write_utdmhad(folder / "data/UTD_MHAD")
    fixtures.write_geneactiv(folder / "data/GENEActiv", number=1)
    fixtures.write_cifar10(folder / "data")
    fixtures.write_cinic10(folder / "data/CINIC-10")
    fixtures.write_tiny_imagenet(folder / "data", classes=200, number=2, val=1)
    fixtures.write_image_folder(folder / "data/imagenet")
    return folder


def configs_of(*folders):
    """Names of the run configs in some folders, in an order in which each finds its teachers."""
    names = [name for name in CONFIGS if name.split("/")[0] in folders]
    return sorted(names, key=lambda n: ORDER.index(s) if (s := n.split("/")[1]) in ORDER else 9)


def arguments_of(name):
    return yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())["model"]["init_args"]


def data_of(name):
    return yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())["data"]["init_args"]


def words_of(name):
    folder, _, run = name.partition("/")
    words = []
    if (EXPERIMENTS / folder / "data.yaml").is_file():  # what the runs of a folder share
        words += ["--config", f"experiments/{folder}/data.yaml"]
    words += ["--config", f"experiments/{name}.yaml"]
    is_teacher = run.startswith("teacher")
    net = f"--model.init_args.{'net' if 'net' in arguments_of(name) else 'student'}.init_args"
    if arguments_of(name).get("student", {}).get("class_path") == "ReusedClassifier":  # of a teacher that is small here
        words += [f"{net}.classifier.init_args.{argument}" for argument in ("depth=10", "width=1")]
        net += ".net.init_args"
    words.append(f"{net}.depth={18 if folder == 'imagenet' else 10}")
    if is_teacher:
        words.append("--model.init_args.net.init_args.width=1")
    if folder == "sp_sw_har":
        words.append("--data.init_args.root=data/SP_SW_HAR")
    if folder == "utd_mhad":
        words.append("--data.init_args.root=data/UTD_MHAD")
    if folder in IMAGES:
        words.append(f"--data.init_args.root={IMAGES[folder]}")
    if folder == "imagenet":
        words += [f"{net}.width=8", f"{net}.num_classes=4", "--data.init_args.num_workers=0"]
        words += [f"--data.init_args.{side}=64" for side in ("size", "resize")]
        if "augment" in data_of(name):
            words.append("--data.init_args.augment.init_args.size=64")
    if folder in ("sp_sw_har", "pamap2", "geneactiv", "utd_mhad", *IMAGES):
        words.append("--data.init_args.batch_size=8")
    return words


def fit_test_predict(name):
    """In the laboratory; a student is tested with its teachers gone."""
    words = words_of(name)
    fitted = cli.run(["fit", *words, *LIMIT])
    path = f"runs/{name}"
    if "teachers" in arguments_of(name):
        words += [f"--model.init_args.teachers.{teacher}.checkpoint=gone" for teacher in arguments_of(name)["teachers"]]
    assert Path(path, "version_0/checkpoints/best.ckpt").is_file()
    tested = cli.run(["test", *words, *LIMIT, "--ckpt_path", path])
    assert 0 <= tested.trainer.callback_metrics["test/accuracy"] <= 1
    predicted = cli.run(["predict", *words, *LIMIT, "--ckpt_path", path])
    assert (Path(predicted.trainer.log_dir) / "predictions.csv").is_file()
    assert [p.name for p in Path(path).iterdir()] == ["version_0"]  # test and predict make no version of their own
    assert fitted.model.net.standardize.filled
