"""Every shipped config goes through fit, test and predict on a limit; the notebook and the README's script run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from kdlab import cli
from tests import fixtures
from tests.conftest import REPOSITORY

EXPERIMENTS = REPOSITORY / "experiments"
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


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory):
    """A folder as a user has it: experiments, and the data sets in their official layouts."""
    folder = tmp_path_factory.mktemp("laboratory")
    (folder / "experiments").symlink_to(EXPERIMENTS)
    fixtures.write_pamap2(folder / "data/PAMAP2_Dataset")
    fixtures.write_spswhar(folder / "data/SP_SW_HAR")
    fixtures.write_utdmhad(folder / "data/UTD_MHAD")
    fixtures.write_cifar10(folder / "data")
    fixtures.write_cinic10(folder / "data/CINIC-10")
    fixtures.write_tiny_imagenet(folder / "data", classes=200, number=2, val=1)
    fixtures.write_image_folder(folder / "data/imagenet")
    return folder


def arguments_of(name):
    return yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())["model"]["init_args"]


def words_of(name):
    folder, _, run = name.partition("/")
    words = []
    if folder == "demo":
        words += ["--config", "experiments/demo/data.yaml"]
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
        words += [f"--data.init_args.{side}=64" for side in ("size", "resize", "augment.init_args.size")]
    if folder in ("sp_sw_har", "pamap2", "utd_mhad", *IMAGES):
        words.append("--data.init_args.batch_size=8")
    return words


def test_there_are_configs():
    assert len(CONFIGS) >= 29
    folders = {c.partition("/")[0] for c in CONFIGS}
    assert folders >= {"basic_motions", "demo", "pamap2", "sp_sw_har", "utd_mhad", *IMAGES}


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.rglob("*.yaml")), ids=lambda p: p.stem)
def test_configs_are_short(path):
    assert len(path.read_text().splitlines()) <= 35


@pytest.mark.parametrize(
    "name", sorted(CONFIGS, key=lambda n: ORDER.index(s) if (s := n.split("/")[1]) in ORDER else 9)
)
def test_config(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    words = words_of(name)
    fitted = cli.run(["fit", *words, *LIMIT])
    path = f"runs/{name}"
    if "teachers" in arguments_of(name):  # a student is tested with its teachers gone
        words += [f"--model.init_args.teachers.{teacher}.checkpoint=gone" for teacher in arguments_of(name)["teachers"]]
    assert Path(path, "version_0/checkpoints/best.ckpt").is_file()
    tested = cli.run(["test", *words, *LIMIT, "--ckpt_path", path])
    assert 0 <= tested.trainer.callback_metrics["test/accuracy"] <= 1
    predicted = cli.run(["predict", *words, *LIMIT, "--ckpt_path", path])
    assert (Path(predicted.trainer.log_dir) / "predictions.csv").is_file()
    assert fitted.model.net.standardize.filled


@pytest.mark.parametrize("path", sorted((REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()


def test_the_readme_script_runs_as_printed(tmp_path):
    text = (REPOSITORY / "README.md").read_text()
    script = re.search(r"<!-- readme-script.*?-->\n```python\n(.*?)```", text, re.S)[1]
    assert len(script.splitlines()) <= 40
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    accuracy = float(re.search(r"\[\{'test/accuracy': ([\d.]+)", ran.stdout)[1])
    assert accuracy > 0.6  # three classes: it has learnt something


def test_every_name_in_the_readme_exists():
    text = (REPOSITORY / "README.md").read_text()
    for name in re.findall(r"experiments/[\w/]+\.(?:yaml|md)", text):
        assert (REPOSITORY / name).is_file(), name
