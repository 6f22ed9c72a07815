"""How runs end: diverged, by a signal, on a full disk; what was finished before stays."""

import csv
import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from kdlab import KD, AnnealingKD, Supervised, Teacher, cli, distributed, ends, files, lightning_cli, remedies
from kdlab.callbacks import EarlyStoppedTeacher
from kdlab.data import BasicMotions
from kdlab.methods.checkpoints import FINISHED, read_checkpoint
from kdlab.methods.finite import EVERY, DivergedError, Watch, check_settings, not_finite
from kdlab.methods.saving import CompleteCheckpointIO
from kdlab.remedies import error_line
from kdlab.run_folder import RunLogger
from kdlab.types import InputError
from tests.conftest import PATIENCE, REPOSITORY, net, trainer

SCRATCH = str(REPOSITORY / "experiments/basic_motions/scratch.yaml")
FAST = [
    "--model.init_args.net.init_args.depth=10",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--data.init_args.batch_size=8",
]


REAL_CHECKPOINTS = lightning_cli.checkpoint_callbacks
STEPS = 4  # of an epoch of 32 windows


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def main(monkeypatch, *words):
    """The exit status of a command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["kdlab", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def last_line(capsys):
    return capsys.readouterr().err.strip().splitlines()[-1]


def leftovers(folder):
    return [path for path in Path(folder).rglob("*") if path.name.startswith(".kdlab-part-")]


# ---------------------------------------------------------------- divergence
class Spoil(Callback):
    """Puts a value into a weight, or a term, at a step."""

    def __init__(self, step, value=float("nan"), where="weight"):
        self.step, self.value, self.where = step, value, where

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step != self.step:
            return
        if self.where == "weight":
            next(module.net.parameters()).data.fill_(self.value)
        elif self.where == "term":
            real = module.terms

            def spoilt(batch, student):
                module.terms = real
                terms = real(batch, student)
                name = next(iter(terms))
                return terms | {name: terms[name] + self.value}

            module.terms = spoilt


def spoilt(tmp_path, spoil, module=None, **kwargs):
    kept = [
        ModelCheckpoint(tmp_path, "best", monitor="val/loss", auto_insert_metric_name=False),
        ModelCheckpoint(tmp_path, "last", auto_insert_metric_name=False),
    ]
    run = trainer(tmp_path, max_epochs=3, enable_checkpointing=True, callbacks=[spoil, *kept], **kwargs)
    with pytest.raises(DivergedError) as raised:
        run.fit(module or Supervised(net()), BasicMotions(batch_size=8))
    for path in tmp_path.glob("*.ckpt"):
        assert not not_finite(read_checkpoint(path)["state_dict"]), path
    return str(raised.value), run


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_step_and_term(value, tmp_path):
    message, _ = spoilt(tmp_path, Spoil(STEPS + 1, value, "term"))
    assert "\n" not in message
    for part in ("Supervised: the fit diverged in epoch 1, step 5: term ce", "weights are still finite", "lr=0.05"):
        assert part in message
    assert {path.name for path in tmp_path.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}


def test_weights_that_are_not_finite(tmp_path):
    """At the last step of an epoch, where no further loss shows it."""

    class AfterTheLast(Callback):
        def on_train_batch_end(self, trainer, module, *args):
            if trainer.global_step == STEPS:
                module.net.head.weight.data[0, 0] = float("inf")

    message, _ = spoilt(tmp_path, AfterTheLast())
    assert "by step 4: the weights must be finite, but net.head.weight hold" in message
    assert not list(tmp_path.glob("*.ckpt"))  # there was no earlier epoch
    message, _ = spoilt(tmp_path, AfterTheLast(), limit_val_batches=0)
    assert "net.head.weight" in message
    assert not list(tmp_path.glob("*.ckpt"))


def test_a_validation_loss_that_is_not_finite(tmp_path):
    class Far(Supervised):
        def _evaluate(self, batch, stage):
            views = {self.view: batch.views[self.view] * (float("nan") if self.current_epoch else 1)}
            super()._evaluate(batch._replace(views=views), stage)

    message, _ = spoilt(tmp_path, Callback(), Far(net()))
    assert "epoch 1, validation after step 8: val/loss must be finite, but is nan" in message
    assert read_checkpoint(tmp_path / "best.ckpt")["epoch"] == 0
    assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] == 0


def test_divergence_under_accumulation_in_both_parts_of_a_method_and_in_half_precision(teachers, tmp_path):
    message, _ = spoilt(tmp_path / "a", Spoil(1, where="weight"), accumulate_grad_batches=2)
    assert "not finite" not in message
    assert "epoch 1, step 2" in message or "epoch 0, step 1" in message
    for epochs, step in ((2, 1), (1, 5)):  # the first part, and the second
        module = AnnealingKD(net(), {"raw": Teacher(teachers["raw"])}, regression_epochs=epochs)
        message, _ = spoilt(tmp_path / f"b{step}", Spoil(step), module)
        assert f"step {step}: term {'ce' if step == 5 else 'ce, regression'}" in message
    message, _ = spoilt(tmp_path / "c", Spoil(1), precision="bf16-mixed")
    assert "step 1: term ce" in message


def test_steps_that_a_scaler_skips_are_no_divergence(tmp_path):
    """Under 16-mixed the scaled gradients overflow at first, and the optimiser leaves that step out."""

    class Skip(Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            if trainer.global_step == 1:
                for parameter in module.parameters():
                    parameter.grad.fill_(float("inf"))
                optimizer.zero_grad()  # as the scaler does

    run = trainer(tmp_path, max_epochs=1, callbacks=[Skip()])
    run.fit(Supervised(net()), BasicMotions(batch_size=8))
    assert run.global_step == STEPS


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
def test_an_optimiser_with_nan_is_refused_before_the_run(name, here, monkeypatch, capsys):
    assert (
        main(monkeypatch, "fit", "--config", SCRATCH, *FAST, f"--model.init_args.optimizer.init_args.{name}=.nan") == 1
    )
    assert last_line(capsys).startswith(f"error: SGD: {name} must be finite, but got nan.")
    assert not list(here.iterdir())


def test_an_infinite_learning_rate_and_a_schedule_that_ends_in_nan(tmp_path):
    with pytest.raises(InputError, match="lr must be finite, but got inf"):
        check_settings(torch.optim.SGD(net().parameters(), lr=float("inf")))
    check_settings(torch.optim.Adam(net().parameters()))
    schedule = lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, float("nan"))  # noqa: E731
    with pytest.raises(InputError, match="SGD: lr must be finite, but got nan"):
        trainer(tmp_path, max_epochs=3).fit(Supervised(net(), scheduler=schedule), BasicMotions())


def test_a_device_is_read_where_an_epoch_ends_and_every_so_many_steps(monkeypatch):
    """Several processes, or a GPU, collect: no step waits for the device."""
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    read = []
    monkeypatch.setattr(distributed, "total", lambda x: read.append(1) or x)
    good, bad = torch.tensor([1.0, 2.0]), torch.tensor([1.0, float("-inf")])
    watch = Watch()
    for step in range(5):
        assert watch.see(["ce", "kd"], bad if step == 2 else good, step) == []
    assert not read
    assert watch.read() == ["kd"]
    assert watch.where == "steps 0 to 4"
    assert watch.read() == []
    found = [watch.see(["ce", "kd"], bad if step == 7 else good, step) for step in range(5, 5 + EVERY)]
    assert found[:-1] == [[]] * (EVERY - 1)
    assert found[-1] == ["kd"]
    watch.see(["ce", "kd"], bad, 900)
    assert watch.see(["ce"], good[:1], 901) == ["kd"]  # a method that changes its terms


def test_a_diverged_run_of_the_command_line(here, monkeypatch, capsys):
    """Exit status 1, one line, not finished; what an earlier epoch left stays, and it can be resumed."""
    words = ["fit", "--config", SCRATCH, *FAST]
    assert main(monkeypatch, *words, "--model.init_args.optimizer.init_args.lr=1e30") == 1
    line = last_line(capsys)
    assert line.startswith("error: Supervised: the fit diverged in epoch 0")
    assert "Lower the learning rate (lr=1e+30 now)" in line
    run = here / "runs/basic_motions/scratch/version_0"
    assert (run / "config.yaml").is_file()
    assert not (run / FINISHED).exists()
    assert not list(run.rglob("*.ckpt"))


def test_weights_that_are_not_finite_are_refused_wherever_they_are_read(teachers, tmp_path):
    broken = read_checkpoint(teachers["raw"])
    broken["state_dict"]["net.head.bias"][1] = float("nan")
    path = str(tmp_path / "broken.ckpt")
    torch.save(broken, path)
    with pytest.raises(InputError, match=r"teacher 'raw' \(.*broken.ckpt\): the weights must be finite, but 1 of"):
        trainer(tmp_path).fit(KD(net(), {"raw": Teacher(path)}), BasicMotions())
    with pytest.raises(InputError, match=r"init: .*broken.ckpt.*must be finite.*\(head.bias\)"):
        trainer(tmp_path).fit(Supervised(net(), init=path), BasicMotions())
    with pytest.raises(InputError, match=r"ckpt_path: the checkpoint: the weights must be finite"):
        trainer(tmp_path).test(Supervised(net()), BasicMotions(), ckpt_path=path, weights_only=True)
    spoilt = net()
    spoilt.head.bias.data[0] = float("inf")
    with pytest.raises(InputError, match="teacher: the weights must be finite"):
        Teacher(net=spoilt, mean=[0.0] * 6, std=[1.0] * 6).load()


@pytest.mark.parametrize("cached", [False, True])
def test_a_teacher_whose_outputs_are_not_finite_is_refused_by_name(cached, tmp_path):
    from kdlab.cache import TeacherCache

    large = net()
    large.head.weight.data.fill_(1e38)
    module = KD(
        net(), {"loud": Teacher(net=large, mean=[0.0] * 6, std=[1e-3] * 6)}, cache=TeacherCache() if cached else None
    )
    with pytest.raises(InputError, match="teacher 'loud': its outputs must be finite"):
        trainer(tmp_path).fit(module, BasicMotions())


def test_a_teacher_that_knows_the_majority_class_only_is_warned_of(teachers, tmp_path):
    constant = net()
    constant.head.weight.data.zero_()
    taught = {"dull": Teacher(net=constant, mean=[0.0] * 6, std=[1.0] * 6)}
    run = trainer(tmp_path, max_epochs=1)
    data = BasicMotions()
    with pytest.warns(UserWarning, match=r"teacher 'dull': its validation accuracy must be above"):
        run.fit(KD(net(), taught), data)
    targets = torch.cat([batch.target for batch in data.val_dataloader()])
    assert KD(net(), taught).teacher_scores == {}  # known once a fit begins
    majority = float(targets.bincount().max()) / len(targets)
    assert majority == pytest.approx(run.lightning_module.teacher_scores["dull"].majority)


def test_an_early_stopped_teacher_that_learnt_nothing_is_warned_of(tmp_path):
    class Dull(Supervised):
        def on_train_batch_end(self, *args):
            with torch.no_grad():
                self.net.head.weight.zero_()
                self.net.head.bias.zero_()

    stop = EarlyStoppedTeacher(smoothing=1)
    with pytest.warns(UserWarning, match="accuracy of the kept epoch 0 must be above that of always predicting"):
        trainer(tmp_path, callbacks=[stop]).fit(Dull(net()), BasicMotions())
    assert stop.checkpoint


# ---------------------------------------------------------------- signals
class Signal(Callback):
    """Sends a signal to this process at a step of the second epoch."""

    def __init__(self, number: int, hook: str = "on_train_batch_start") -> None:
        setattr(self, hook, self.send)
        self.number = number

    def send(self, trainer, module, *args):
        if trainer.current_epoch == 1 or trainer.state.fn != "fit":
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_fit_and_test_with_its_status(name, status, here, monkeypatch, capsys):
    number = int(getattr(signal, name))
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(
            lightning_cli,
            "checkpoint_callbacks",
            lambda real=lightning_cli.checkpoint_callbacks: [*real(), Signal(number)],
        )
        assert main(patch, "fit", "--config", SCRATCH, *FAST) == status
    assert last_line(capsys).startswith("error: ")
    run = here / "runs/basic_motions/scratch/version_0"
    assert not (run / FINISHED).exists()
    last = run / "checkpoints/last.ckpt"
    assert read_checkpoint(last)["epoch"] == 0
    assert not leftovers(run)
    assert signal.getsignal(signal.SIGTERM) == before
    resumed = cli.run(["fit", "--config", SCRATCH, *FAST, "--ckpt_path", str(last)])
    whole = cli.run(["fit", "--config", SCRATCH, *FAST, "--run=whole/run"])
    for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)
    finished = Path(resumed.trainer.log_dir) / FINISHED
    assert json.loads(finished.read_text(encoding="utf-8")) == {"epochs": 2, "steps": 2 * STEPS}
    with monkeypatch.context() as patch:
        more = [Signal(number, "on_test_batch_start")]
        patch.setattr(
            lightning_cli, "checkpoint_callbacks", lambda real=lightning_cli.checkpoint_callbacks: [*real(), *more]
        )
        assert main(patch, "test", "--config", SCRATCH, *FAST, "--ckpt_path", str(last)) == status


def test_a_caller_of_run_sees_the_signal(here, monkeypatch):
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    for number, kind in ((signal.SIGTERM, SIGTERMException), (signal.SIGINT, KeyboardInterrupt)):
        callbacks = lambda number=number: [Signal(int(number))]  # noqa: E731
        with monkeypatch.context() as patch:
            patch.setattr(lightning_cli, "checkpoint_callbacks", callbacks)
            with pytest.raises(kind) as ended:
                cli.run(["fit", "--config", SCRATCH, *FAST])
        if kind is SIGTERMException:
            assert ended.value.code == 143
    assert not list(here.rglob(FINISHED))


# ---------------------------------------------------------------- errors in one line
@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/a.ckpt"),
            ("'runs/a.ckpt': No space left", "Free some"),
        ),
        (OSError(errno.ENOSPC, "No space left on device"), ("a file of this run: No space left", "Free some")),
        (PermissionError(errno.EACCES, "Permission denied", "x"), ("'x'", "permissions")),
        (OSError(errno.EROFS, "Read-only file system", "x"), ("can be written",)),
        (OSError(errno.EIO, "Input/output error", "x"), ("Input/output error",)),
        (OSError("no number"), ("no number",)),
        (MemoryError("Unable to allocate 9 TiB"), ("out of memory (Unable", "batch_size")),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), ("out of memory", "batch_size")),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            ("batch_size",),
        ),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), ("num_workers=0", "(pid 7)")),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is\npossible"), ("/dev/shm",)),
        (RuntimeError("unable to write to file </torch_12_34>: No space left on device (28)"), ("/dev/shm",)),
        (UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range(128)"), ("PYTHONUTF8=1",)),
        (InputError("lr: must be a number."), ("lr: must be a number.",)),
    ],
)
def test_what_is_said_of_an_error(error, parts):
    line = error_line(error)
    assert "\n" not in line
    for part in parts:
        assert part in line


@pytest.mark.parametrize("error", [RuntimeError("size mismatch"), KeyError("a"), AssertionError(), TypeError("x")])
def test_an_error_of_the_program_keeps_its_traceback(error):
    assert error_line(error) is None
    with pytest.raises(type(error)), ends.ending():
        raise error


def test_places_that_cannot_be_written(here, monkeypatch, capsys):
    (here / "file").write_text("", encoding="utf-8")
    fit = ["fit", "--config", SCRATCH, *FAST]
    for words in (
        ["--trainer.default_root_dir=file"],
        ["--trainer.default_root_dir=file/below"],
        [f"--run=a/{'x' * 300}"],
    ):
        assert main(monkeypatch, *fit, *words) == 1
        assert last_line(capsys).startswith("error: ")
    assert main(monkeypatch, "evaluate", f"{'x' * 300}.ckpt") == 1
    assert last_line(capsys).startswith("error: ")
    assert sorted(path.name for path in here.iterdir()) in (["file"], ["file", "runs"])
    assert not [path for path in here.rglob("*") if path.is_file() and path.name != "file"]


def test_a_worker_that_is_killed(here, monkeypatch, capsys):
    class Kill(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            import multiprocessing

            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)
                child.join()

    monkeypatch.setattr(lightning_cli, "checkpoint_callbacks", lambda: [Kill()])
    words = ["fit", "--config", SCRATCH, *FAST, "--data.init_args.num_workers=1", "--data.init_args.batch_size=1"]
    assert main(monkeypatch, *words) == 1
    assert last_line(capsys).startswith("error: num_workers: a worker process of the data loader ended")


PIPES = """
import os, sys
from kdlab.ends import ending

def status(target):
    if (child := os.fork()) == 0:
        os.dup2(target, 1)
        with ending():
            print("line\\n" * 100_000)
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

reader, writer = os.pipe()
os.close(reader)
print("closed", status(writer), file=sys.stderr, flush=True)
print("full", status(os.open("/dev/full", os.O_WRONLY)), file=sys.stderr)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_pipe_that_is_closed_is_quiet_and_output_that_is_full_is_not():
    done = subprocess.run([sys.executable, "-c", PIPES], stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert done.stderr.splitlines() == ["closed 141", ends_line(errno.ENOSPC), "full 1"]


def ends_line(number):
    return f"error: {error_line(OSError(number, os.strerror(number)))}"


# ---------------------------------------------------------------- files
FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from kdlab import cli, lightning_cli
from lightning.pytorch import Callback

class Fill(Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

real = lightning_cli.checkpoint_callbacks
lightning_cli.checkpoint_callbacks = lambda: [*real(), Fill()]
sys.argv = ["kdlab", *sys.argv[1:]]
cli.main()
"""


def test_a_full_disk_leaves_the_checkpoints_of_the_epoch_before(here):
    """The temporary folder is another file system, which is where Lightning's own way breaks."""
    other = Path("/dev/shm") if Path("/dev/shm").is_dir() else here
    words = ["fit", "--config", SCRATCH, *FAST, "--checkpoint_interval=0"]
    environment = {**os.environ, "TMPDIR": str(other)}
    done = subprocess.run(
        [sys.executable, "-c", FULL, *words], capture_output=True, text=True, env=environment, timeout=PATIENCE
    )
    assert done.returncode == 1, done.stderr
    run = here / "runs/basic_motions/scratch/version_0"
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: '")
    assert line.endswith(f"{os.strerror(errno.EFBIG)}. {remedies._FULL}.")
    assert ".ckpt'" in line
    assert "Traceback" not in done.stderr
    assert not (run / FINISHED).exists()
    for name in ("best.ckpt", "last.ckpt"):
        assert read_checkpoint(run / "checkpoints" / name)["epoch"] == 0
    assert not leftovers(run)


def full(number):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_checkpoints_are_written_beside_their_place(tmp_path, monkeypatch):
    """Also those of a library user; a write that fails leaves the old file, and names it."""
    run = trainer(tmp_path, max_epochs=1)
    run.fit(Supervised(net()), BasicMotions())
    assert type(run.strategy.checkpoint_io) is CompleteCheckpointIO
    run.save_checkpoint(tmp_path / "deep/er/a.ckpt")
    assert read_checkpoint(tmp_path / "deep/er/a.ckpt")["epoch"] == 1
    before = (tmp_path / "deep/er/a.ckpt").read_bytes()

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        run.save_checkpoint(tmp_path / "deep/er/a.ckpt")
    assert raised.value.filename == str(tmp_path / "deep/er/a.ckpt")
    assert (tmp_path / "deep/er/a.ckpt").read_bytes() == before
    assert not leftovers(tmp_path)


def test_a_checkpoint_plugin_of_ones_own_stays(tmp_path):
    from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

    class Own(TorchCheckpointIO):
        pass

    run = trainer(tmp_path, max_epochs=1, plugins=[Own()])
    run.fit(Supervised(net()), BasicMotions())
    assert type(run.strategy.checkpoint_io) is Own


EXPORT = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from kdlab.ends import ending
from kdlab.data import BasicMotions
from kdlab.export import export
data = BasicMotions(scale="minmax")
data.setup()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for format in sys.argv[2:]:
    try:
        with ending():
            export(sys.argv[1], data, format=format, overwrite=True)
    except SystemExit as ended:
        print(format, ended.code)
"""


def test_an_export_on_a_full_disk_ends_in_one_line_and_the_old_file_stays(tmp_path):
    run = trainer(tmp_path, max_epochs=1)
    run.fit(Supervised(net()), BasicMotions(scale="minmax"))
    run.save_checkpoint(tmp_path / "best.ckpt", weights_only=True)
    formats = {"torch": "best.pt", "torch.export": "best.pt2", "onnx": "best.onnx"}
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        del formats["onnx"]
    for name in formats.values():
        (tmp_path / name).write_bytes(b"old")
    words = [sys.executable, "-c", EXPORT, str(tmp_path / "best.ckpt"), *formats]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [word for format in formats for word in (format, "1")]
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for name, line in zip(formats.values(), lines, strict=True):
        assert line == f"error: '{tmp_path / name}': {os.strerror(errno.EFBIG)}. {remedies._FULL}."
        assert (tmp_path / name).read_bytes() == b"old"
    assert not leftovers(tmp_path)


# ---------------------------------------------------------------- version folders, leftovers, UTF-8
def test_two_runs_of_the_same_moment_get_two_versions(tmp_path, monkeypatch):
    loggers = [RunLogger(str(tmp_path), "run") for _ in range(3)]
    assert {logger.version for logger in loggers} == {0}  # all have looked before any has written
    for logger in loggers:
        logger.claim()
        logger.claim()  # a second time changes nothing
    assert [logger.version for logger in loggers] == [0, 1, 2]
    given = RunLogger(str(tmp_path), "run", version=1)
    given.claim()
    assert given.version == 1


def test_only_the_first_process_claims(tmp_path, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    RunLogger(str(tmp_path), "run").claim()
    assert not list(tmp_path.iterdir())


def dead(folder, name=""):
    """An unfinished file of a process of this machine that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return Path(folder) / f".kdlab-part-{files._host()}-{process.pid}-{name}"


def test_leftovers_of_killed_runs_are_removed_by_the_next(tmp_path):
    old = tmp_path / "run/version_0/checkpoints"
    old.mkdir(parents=True)
    file, folder = dead(old, "x.ckpt"), dead(old.parent)
    file.touch()
    folder.mkdir()
    (folder / "inside").touch()
    mine = old / f"{files.part_prefix()}x.ckpt"
    mine.touch()
    RunLogger(str(tmp_path), "run").claim()
    assert not file.exists()
    assert not folder.exists()
    assert mine.exists()  # its process still runs
    with files.scratch_folder(tmp_path) as scratch:
        assert scratch.parent == tmp_path
        assert files.remove_leftovers(tmp_path) == 0
    assert not leftovers(tmp_path / "run/version_1")


def test_a_cache_folder_is_cleared(teachers, tmp_path):
    from kdlab.cache import TeacherCache

    left = dead(tmp_path)
    left.write_bytes(b"half")
    module = KD(net(), {"raw": Teacher(teachers["raw"])}, cache=TeacherCache(folder=str(tmp_path)))
    trainer(tmp_path / "run", max_epochs=1).fit(module, BasicMotions())
    assert not leftovers(tmp_path)


def test_metrics_keep_their_rows_when_a_new_column_cannot_be_written(tmp_path, monkeypatch):
    logger = RunLogger(str(tmp_path), "run")
    logger.claim()
    logger.log_metrics({"val/loss": 1.0}, 0)
    logger.save()
    path = Path(logger.log_dir) / "metrics.csv"
    before = path.read_bytes()
    logger.log_metrics({"teacher/größe/val_accuracy": 0.5}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            logger.save()
    assert path.read_bytes() == before
    logger.save()
    with path.open(encoding="utf-8") as file:
        assert [row["teacher/größe/val_accuracy"] for row in csv.DictReader(file)] == ["", "0.5"]


UMLAUTS = """run: läufe/größe
trainer: {max_epochs: 1, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
model:
  class_path: Supervised
  init_args:
    net: {class_path: WideResNet, init_args: {depth: 10, width: 1, in_channels: 6, num_classes: 2}}
data:
  class_path: ArrayDataModule
  init_args: {path: daten.npz, batch_size: 4, dataset: übung, test_subjects: [jürgen0, jürgen1]}
"""


def test_names_with_umlauts_in_a_locale_without_them(here):
    """Run, classes, people and files; everything that is written is UTF-8."""
    label = np.arange(40) % 2
    windows = np.random.default_rng(0).normal(size=(40, 6, 32)).astype(np.float32) + label[:, None, None]
    people = np.array([f"jürgen{i % 8}" for i in range(40)])
    np.savez("daten.npz", x=windows, y=label, classes=np.array(["gehen", "stürzen"]), subject=people)
    Path("prüfung.yaml").write_text(UMLAUTS, encoding="utf-8")
    program = str(Path(sys.executable).with_name("kdlab"))
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    words = ["fit", "--config", "prüfung.yaml"]
    done = subprocess.run([program, *words], env=environment, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    run = here / "runs/läufe/größe/version_0"
    assert (run / FINISHED).is_file()
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert (config["run"], config["data"]["init_args"]["dataset"]) == ("läufe/größe", "übung")
    said = read_checkpoint(run / "checkpoints/best.ckpt")["kdlab"]["fingerprint"]
    assert said["classes"] == ["gehen", "stürzen"]
    assert (run / "metrics.csv").read_text(encoding="utf-8")


def test_no_text_file_depends_on_the_locale():
    """Every call that opens text says its encoding."""
    opened = re.compile(r"\.(?:read_text|write_text)\((?P<a>.*)|\bopen\((?P<b>.*)")
    for path in Path(ends.__file__).parent.rglob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not (call := opened.search(line)):
                continue
            text = call["a"] if call["a"] is not None else call["b"]
            method = call["a"] is not None or re.match(r"[^)]*[\"'][wa]\+?t?[\"']", text)
            assert not method or "utf-8" in text or "ascii" in text or "zip64" in text or "read_text(path" in line, (
                f"{path}:{number}"
            )
