"""The command line: what a newcomer types, and what a mistake is answered with."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException

from kdlab import cli
from kdlab.configs import read_config
from kdlab.methods.checkpoints import find_checkpoint
from kdlab.types import InputError, MissingFileError
from tests.configs import EXPERIMENTS, files_of
from tests.conftest import PATIENCE, REPOSITORY
from tests.wandb_file import read_run

FAST = [
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.accelerator=cpu",
]
SCRATCH = str(REPOSITORY / "experiments/basic_motions/scratch.yaml")
ESKD = str(REPOSITORY / "experiments/basic_motions/eskd.yaml")
TPKD = str(REPOSITORY / "experiments/basic_motions/tpkd.yaml")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def refused(words, capsys):
    with pytest.raises(SystemExit) as info:
        cli.run(words)
    assert info.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]  # the last line says it


def test_fit_test_predict_and_fit_again(here):
    cli.run(["fit", "--config", SCRATCH, *FAST])
    run = here / "runs/basic_motions/scratch"
    assert {"config.yaml", "metrics.csv", "finished.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= set(
        files(run / "version_0")
    )
    before = (run / "version_0/config.yaml").read_bytes()
    tested = cli.run(["test", "--config", SCRATCH, "--ckpt_path", str(run), *FAST])
    assert "test/accuracy" in tested.trainer.callback_metrics
    predicted = cli.run(["predict", "--config", SCRATCH, "--ckpt_path", str(run), *FAST])
    assert Path(predicted.trainer.log_dir) == run / "version_0"  # the run's folder, as README says
    table = (run / "version_0/predictions.csv").read_text().splitlines()
    assert table[0].startswith("index,subject,target,prediction,probability_")
    assert len(table) == 41
    again = cli.run(["fit", "--config", SCRATCH, *FAST])  # never over the first one's files
    assert again.trainer.log_dir == "runs/basic_motions/scratch/version_1"
    assert (run / "version_0/config.yaml").read_bytes() == before
    assert not [f for f in files(here) if not f.startswith("runs/")]


def test_a_callback_with_a_word_of_an_enumeration_is_kept_in_the_config(here):
    """Lightning's Timer has such a default, which YAML cannot hold."""
    cli.run(
        ["fit", "--config", SCRATCH, *FAST, "--trainer.callbacks+=Timer", "--trainer.callbacks.duration=10:00:00:00"]
    )
    kept = here / "runs/basic_motions/scratch/version_0/config.yaml"
    arguments = {"duration": "10:00:00:00", "interval": "step", "verbose": True}
    callbacks = yaml.safe_load(kept.read_text())["trainer"]["callbacks"]
    assert {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": arguments} in callbacks
    cli.run(["fit", "--config", str(kept)])  # it is read again as it is


def test_validate_test_and_predict_write_into_the_version_of_their_checkpoint(here):
    picture = ["--trainer.callbacks+=ConfusionMatrixPicture"]
    cli.run(["fit", "--config", SCRATCH, *FAST, *picture])
    run, version = "runs/basic_motions/scratch", here / "runs/basic_motions/scratch/version_0"
    fitted = {name: (version / name).read_bytes() for name in files(version)}
    rows = read_rows(version / "metrics.csv")
    paths = [run, f"{run}/version_0", f"{run}/version_0/checkpoints/best.ckpt"]
    for stage, path in zip(("validate", "test", "predict"), paths, strict=True):
        line = cli.run([stage, "--config", SCRATCH, *FAST, *picture, "--ckpt_path", path])
        assert Path(line.trainer.log_dir) == Path(f"{run}/version_0")
    new = {"config_validate.yaml", "config_test.yaml", "config_predict.yaml", "predictions.csv", "confusion_test.png"}
    assert set(files(version)) == set(fitted) | new
    assert all((version / name).read_bytes() == fitted[name] for name in fitted if name != "metrics.csv")
    first = {name: (version / name).read_bytes() for name in new}
    for stage in ("test", "predict"):  # a second time: beside the first
        cli.run([stage, "--config", SCRATCH, *FAST, *picture, "--ckpt_path", run, "--trainer.logger=true"])
    again = {f"{Path(name).stem}-1{Path(name).suffix}" for name in new - {"config_validate.yaml"}}
    assert set(files(version)) == set(fitted) | new | again
    assert all((version / name).read_bytes() == first[name] for name in new)
    added = read_rows(version / "metrics.csv")
    kept = [{name: value for name, value in row.items() if value} for row in added[: len(rows)]]
    assert kept == [{name: value for name, value in row.items() if value} for row in rows]
    validated, tested, second = added[len(rows) :]
    assert [validated["val/loss"]] == [row["val/loss"] for row in rows if row["val/loss"]]
    assert tested["test/accuracy"] == second["test/accuracy"] != ""
    assert {row["step"] for row in added[len(rows) :]} == {rows[-1]["step"]}  # where the weights were saved, not step 0
    assert find_checkpoint(run, ("best.ckpt",)) == Path(f"{run}/version_0/checkpoints/best.ckpt")


def test_a_checkpoint_of_no_run_is_tested_in_a_version_of_its_own(here, teachers):
    words = ["--model.init_args.net.init_args.depth=10", "--ckpt_path", teachers["raw"]]
    line = cli.run(["test", "--config", SCRATCH, *FAST, *words])
    assert line.trainer.log_dir == "runs/basic_motions/scratch/version_0"
    assert "config.yaml" in files(here / "runs/basic_motions/scratch/version_0")


def read_rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_saved_config_runs_again(here):
    first = cli.run(["fit", "--config", SCRATCH, *FAST])
    saved = Path(first.trainer.log_dir) / "config.yaml"
    second = cli.run(["fit", "--config", str(saved)])
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert (a == b).all()


def test_the_checkpoint_does_not_change_the_configuration(here):
    first = cli.run(["fit", "--config", SCRATCH, *FAST])
    path = f"{first.trainer.log_dir}/checkpoints/best.ckpt"
    lr = "--model.init_args.optimizer.init_args.lr=0.001"
    more = [word for word in FAST if "max_epochs" not in word] + ["--trainer.max_epochs=2"]
    second = cli.run(["test", "--config", SCRATCH, "--ckpt_path", path, lr, *more])
    assert second.trainer.max_epochs == 2
    (group,) = second.model.configure_optimizers()["optimizer"].param_groups
    assert group["lr"] == 0.001


def test_wandb_is_one_more_config_file(here, teachers):
    wandb_yaml = str(REPOSITORY / "experiments/base/wandb.yaml")
    words = ["--config", TPKD, "--config", wandb_yaml, *FAST, "--trainer.callbacks+=TemperatureAnnealing"]
    words += [f"--model.init_args.teachers.{name}.checkpoint={teachers[name]}" for name in ("raw", "pi")]
    words += ["--data.init_args.views.pi.init_args.size=16"]  # as the teacher of the tests was trained
    for _ in range(2):  # the second run does not collide
        line = cli.run(["fit", *words])
    wandb.teardown()  # its service has written everything when it has ended
    runs = sorted((here / "runs/wandb").glob("offline-run-*"))
    assert len(runs) == 2
    config, history, pictures, run = read_run(runs[-1])
    assert (run.run_group, run.job_type, list(run.tags)) == ("basic_motions/tpkd", "student", ["seed=0"])
    assert config["model"]["init_args"]["student"]["init_args"]["depth"] == 16
    assert config["teachers"]["pi"]["hash"] == line.model.teachers["pi"].hash
    assert config["teachers"]["raw"]["provenance"]["epoch"] in (0, 1)
    assert config["fingerprint"]["dataset"] == line.datamodule.name
    assert {"train/loss", "train/ce", "train/kd", "train/similarity", "train/temperature"} <= history
    assert {"val/loss", "val/accuracy", "val/f1", "teacher/raw/val_accuracy", "teacher/pi/val_accuracy"} <= history
    assert {"views", "confusion_val"} <= {name.split("/")[0] for name in pictures}
    assert not (here / "config.yaml").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--model.init_args.temprature=3"], "temprature"),
        (["--data=BasicMotion"], "BasicMotion"),
        (["--trainer.max_epoch=3"], "max_epoch"),
        (["--model.init_args.net.class_path=WideResnet"], "WideResnet"),
    ],
)
def test_a_typo_is_refused_by_name(words, named, here, capsys):
    assert named in refused(["fit", "--config", SCRATCH, *FAST, *words], capsys)
    assert not files(here)


@pytest.mark.parametrize(
    ("config", "word", "said"),
    [
        ("ca_mkd", "model.init_args.resize=pool", "\"resize\": expected one of 'resample', null, but got pool"),
        (
            "at",
            "model.init_args.weights=[0.5, 1]",
            '"weights": expected one of dict[str, float], null, but got [0.5, 1]',
        ),
        ("at", "model.init_args.weights={raw: a}", '"weights": expected float, but got a'),
        ("at", "model.init_args.kl_reduction=sum", "expected one of 'batchmean', 'mean', but got sum"),
        ("at", "model.init_args.compile=[1]", '"compile": expected one of bool, str, but got [1]'),
        ("at", "model.init_args.temperature=hot", '"temperature": expected float, but got hot'),
        (
            "at",
            "model.init_args.cache=3",
            '"cache": no such class (a typo? a class of your own is named module.Class): 3',
        ),
        ("at", "data.init_args.seed=x", '"seed": expected one of int, null, but got x'),
        (
            "at",
            "data.init_args.scale=std",
            "\"scale\": expected one of 'standard', 'minmax', 'none', Scale, dict[str, Scale]",
        ),
        ("at", "data.init_args.views={raw: 3}", '"views": Not a valid subclass of View, but got 3'),
        ("at", "trainer.max_epochs=x", '"trainer.max_epochs": expected one of int, null, but got x'),
    ],
)
def test_the_last_line_says_key_expected_and_got(config, word, said, here, capsys):
    words = [part for file in files_of(f"basic_motions/{config}") for part in ("--config", str(EXPERIMENTS / file))]
    with pytest.raises(SystemExit):
        cli.check(["fit", *words, f"--{word}"])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: Parser key ")
    assert said in last


def test_an_unknown_key_in_yaml_is_refused_by_name(here, capsys):
    config = read_config(Path(SCRATCH), "config")
    config["data"]["init_args"]["batchsize"] = 4
    (here / "typo.yaml").write_text(yaml.safe_dump(config))
    assert "batchsize" in refused(["fit", "--config", "typo.yaml", *FAST], capsys)
    assert files(here) == ["typo.yaml"]


def test_a_missing_teacher_names_the_command(here, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    words = ["fit", "--config", ESKD, *FAST, f"--trainer.default_root_dir={here}"]
    words.append("--model.init_args.teachers.raw.checkpoint=nowhere/basic_motions/teacher_raw")
    with pytest.raises(MissingFileError, match=r"lightning fit --config experiments/basic_motions/teacher_raw\.yaml"):
        cli.run(words)
    assert not files(here)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.init_args.net.init_args.in_channels=5"], "in_channels=6"),
        (["--model.init_args.net.init_args.num_classes=9"], "num_classes=4"),
        (["--model.init_args.view=gaf"], "'gaf'"),
        (["--model.init_args.net.init_args.depth=17"], "depth"),
        (["--data.init_args.batch_size=500"], "batch_size=500"),
    ],
)
def test_what_does_not_fit_is_found_before_anything_is_written(words, message, here):
    with pytest.raises(InputError, match=message):
        cli.run(["fit", "--config", SCRATCH, *FAST, *words])
    assert not files(here)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.init_args.optimizer.init_args.lr=-1"], "optimizer"),
        (["--trainer.callbacks+=TemperatureAnnealing"], "but got 'temperature'"),
        (["--trainer.callbacks+=BackboneFinetuning"], "must have a part named backbone, but Supervised has none"),
        (["--trainer.accelerator=foo"], "accelerator"),
    ],
)
def test_settings_that_cannot_work(words, message, here):
    with pytest.raises((InputError, MisconfigurationException), match=message):
        cli.run(["fit", "--config", SCRATCH, *FAST, *words])
    assert not files(here)


def test_what_cannot_be_resumed(here, teachers):
    run = cli.run(["fit", "--config", SCRATCH, *FAST]).trainer.log_dir
    before = files(here)
    fit = ["fit", "--config", SCRATCH, *FAST, "--ckpt_path"]
    for words, message in (
        ([*fit, f"{run}/checkpoints/last.ckpt", "--data.init_args.split_seed=5"], "scaled with other|another split"),
        ([*fit, f"{run}/checkpoints/last.ckpt", "--model.init_args.optimizer.class_path=torch.optim.Adam"], "optimi"),
        ([*fit, f"{run}/checkpoints/last.ckpt", "--data.init_args.scale=none"], "scale"),
    ):
        with pytest.raises(InputError, match=message):
            cli.run(words)
    shrunk = "--model.init_args.net.init_args.depth=10"
    with pytest.raises(InputError, match="weights only"):
        cli.run([*fit, teachers["raw"], shrunk])
    assert files(here) == before


def test_without_a_logger_nothing_collides(here):
    for _ in range(2):
        cli.run(["fit", "--config", SCRATCH, *FAST, "--trainer.logger=false"])
    assert {f.split("/")[3] for f in files(here)} == {"version_0", "version_1"}


def test_a_test_needs_a_checkpoint(here):
    with pytest.raises(InputError, match="--ckpt_path runs/basic_motions/scratch"):
        cli.run(["test", "--config", SCRATCH])
    with pytest.raises(MissingFileError, match=r"nothing\.ckpt"):
        cli.run(["test", "--config", SCRATCH, "--ckpt_path", "nothing.ckpt"])
    assert not files(here)


@pytest.mark.parametrize("script", ["lightning", "kdlab"])
def test_the_scripts(script, here):
    """As a person runs them: help, a config printed, one line for an error, own classes importable from here."""
    program = [str(Path(sys.executable).with_name(script))]

    def run(*words):
        return subprocess.run([*program, *words], capture_output=True, text=True, timeout=PATIENCE)

    (here / "mine.py").write_text(
        "from kdlab.nets import WideResNet\n\n\nclass MyNet(WideResNet):\n    '''A net of my own.'''\n"
    )
    printed = run("fit", "--config", SCRATCH, "--model.init_args.net.class_path=mine.MyNet", "--print_config")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout)["model"]["init_args"]["net"]["class_path"] == "mine.MyNet"
    wrong = run("fit", "--config", SCRATCH, "--model.init_args.view=gaf")
    assert wrong.returncode != 0
    assert wrong.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in wrong.stderr
    assert not (here / "runs").exists()


def test_foreign_subcommands_go_to_the_sdk(here, monkeypatch):
    """Where lightning_sdk is installed, ``lightning login`` is its business."""
    site = here / "site"
    (site / "lightning_sdk-1.0.dist-info").mkdir(parents=True)
    (site / "lightning_sdk-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: lightning_sdk\nVersion: 1.0\n"
    )
    (site / "lightning_sdk-1.0.dist-info/entry_points.txt").write_text("[console_scripts]\nlightning = fake_sdk:main\n")
    (site / "fake_sdk.py").write_text("import sys\n\n\ndef main():\n    print('sdk got', sys.argv[1:])\n")
    program = str(Path(sys.executable).with_name("lightning"))
    environment = {**os.environ, "PYTHONPATH": str(site)}
    out = subprocess.run([program, "login", "--x"], capture_output=True, text=True, env=environment, timeout=PATIENCE)
    assert "sdk got ['login', '--x']" in out.stdout, out.stderr


def test_two_processes(here):
    """Fit, test and predict on two CPU processes; predictions are those of one process, in data-set order."""
    program = str(Path(sys.executable).with_name("lightning"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*words):
        out = subprocess.run([program, *words], capture_output=True, text=True, env=environment, timeout=PATIENCE)
        assert out.returncode == 0, out.stderr

    two = [*FAST, "--trainer.strategy=ddp", "--trainer.devices=2", "--data.init_args.batch_size=4"]
    run("fit", "--config", SCRATCH, *two)
    folder = here / "runs/basic_motions/scratch"
    run("test", "--config", SCRATCH, *two, "--ckpt_path", str(folder))
    run("predict", "--config", SCRATCH, *two, "--ckpt_path", str(folder))
    (together,) = folder.rglob("predictions.csv")
    one = cli.run(["predict", "--config", SCRATCH, *FAST, "--ckpt_path", str(folder)])
    alone = Path(one.trainer.log_dir) / "predictions-1.csv"  # the first one stays
    assert sorted(folder.rglob("predictions*.csv")) == [alone.resolve(), together.resolve()]
    with together.open() as a, alone.open() as b:
        rows, expected = list(csv.DictReader(a)), list(csv.DictReader(b))
    assert [row["index"] for row in rows] == [row["index"] for row in expected]
    assert len(rows) == 40
    for row, other in zip(rows, expected, strict=True):
        assert row["target"] == other["target"]
        for key in (k for k in row if k.startswith("probability_")):
            assert float(row[key]) == pytest.approx(float(other[key]), abs=1e-4)
    tested = [line for path in folder.rglob("metrics.csv") for line in csv.DictReader(path.open())]
    accuracy = next(float(row["test/accuracy"]) for row in tested if row.get("test/accuracy"))
    loss = next(float(row["test/loss"]) for row in tested if row.get("test/loss"))
    nll = [-math.log(float(row[f"probability_{one.datamodule.classes[int(row['target'])]}"])) for row in expected]
    assert loss == pytest.approx(sum(nll) / len(nll), rel=1e-3)
    right = sum(row["prediction"] == row["target"] for row in expected) / len(expected)
    assert accuracy == pytest.approx(right)


def test_cite_prints_what_a_run_used(here, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kdlab", "cite", "--config", TPKD])
    cli.main()
    printed = capsys.readouterr().out
    for key in ("jeon2024topological", "adams2017persistence", "bagnall2018uea"):  # method, view, data set
        assert f"{{{key}," in printed
    assert "wang2015imaging" not in printed  # no angular fields in this run
