"""The command line, ``lightning`` or ``kdlab``: fit, validate, test, predict; study, evaluate, export, nets, cite."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from kdlab.callbacks import (
    EarlyStoppedTeacher,
    MarginMapPictures,
    OpenSetScore,
    PredictionWriter,
    WeightAnnealing,
)
from kdlab.data import WindowDataModule, check_fingerprint
from kdlab.fingerprint import without_people
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import FINISHED, KEY, find_checkpoint, read_checkpoint
from kdlab.types import InputError

_REASONS = (
    r"not accepted|not expected|no such class|not found|unrecognized|got value|not a valid|unable to load|no module"
)
_NO_CLASS = "no such class (a typo? a class of your own is named module.Class): "
_SUBCOMMANDS = ("fit", "validate", "test", "predict")


class Parser(LightningArgumentParser):
    """Lightning's parser, whose last line says what is wrong."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Leave out the usage, which is longer than a screen, and end with the reason."""
        print(message, file=sys.stderr)
        print("\nSee --help of the subcommand for what is accepted.", file=sys.stderr)
        print(f"error: {_reason(str(message))}", file=sys.stderr)
        raise SystemExit(2)


def _reason(message: str) -> str:
    """One line of what the parser says: the key, what it takes and what it got."""
    lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
    where = f"{lines[0]} " if lines and re.fullmatch(r"Parser key .*:", lines[0]) else ""
    lines = [line.replace("Expected a dot import path string: ", _NO_CLASS) for line in lines]
    reasons = [line for line in lines if re.search(_REASONS, line, re.IGNORECASE)]
    takes, given = ([s.split(": ", 1)[1] for s in lines if s.startswith(t)] for t in ("Subtypes: ", "Given value: "))
    words = bool(takes) and "Literal[" in takes[0]  # then the value is no class, but a word with a typo
    if takes and given and (not reasons or (words and reasons[0].startswith(_NO_CLASS))):
        return f"{where}expected one of {_plain(takes[0][1:-1])}, but got {given[-1]:.200}"
    reason = (reasons or lines[len(where) > 0 :] or lines or ["?"])[0]
    if expected := re.fullmatch(r"Expected an? (.*)\. Got value: (.*)", reason):
        one_of = "one of " * expected[1].startswith("typing.Literal[")
        return f"{where}expected {one_of}{_plain(expected[1])}, but got {expected[2]:.200}"
    if given and reason.startswith("Not a valid"):
        reason += f", but got {given[0]:.200}"
    return f"{where}{reason}"


def _plain(types: str) -> str:
    """Types as one writes them in YAML: the words of a ``Literal``, classes without their modules, ``null``."""
    types = re.sub(r"<class '([^']*)'>", r"\1", types)
    types = re.sub(r"(?:typing\.)?Literal\[([^\]]*)\]", r"\1", types)
    return re.sub(r"\bNone(?:Type)?\b", "null", re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", types))


class RecordRun(SaveConfigCallback):
    """Write the run's config and split beside its checkpoints, and mark a fit that came to its end."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand the nested config to the loggers (the CSV logger has it as a file already)."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        self._log(trainer, config)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the loggers which data, objective and teachers the run has."""
        if isinstance(pl_module, Method):
            data = getattr(trainer, "datamodule", None)
            if trainer.is_global_zero and isinstance(data, WindowDataModule):
                data.write_split(Path(trainer.log_dir or trainer.default_root_dir) / "split.csv")
            said = ("fingerprint", "objective", "teachers")
            told = {k: v for k, v in pl_module.describe().items() if k in said}
            told["fingerprint"] = without_people(told["fingerprint"] or {})  # a logger may be a service elsewhere
            self._log(trainer, told)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the version as finished."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        if trainer.is_global_zero and isinstance(pl_module, Method):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / FINISHED).write_text(json.dumps({"epochs": trainer.current_epoch, "steps": trainer.global_step}))

    @staticmethod
    def _log(trainer: Trainer, params: dict[str, Any]) -> None:
        for logger in trainer.loggers:
            if trainer.is_global_zero and not isinstance(logger, CSVLogger):
                logger.log_hyperparams(params)


def checkpoint_callbacks() -> list[ModelCheckpoint]:
    """The two checkpoints of every fit: ``best.ckpt`` (lowest validation loss) and ``last.ckpt`` (every epoch)."""
    common: dict[str, Any] = {"auto_insert_metric_name": False, "enable_version_counter": False}
    return [
        ModelCheckpoint(filename="best", monitor="val/loss", mode="min", save_top_k=1, **common),
        ModelCheckpoint(filename="last", monitor=None, save_top_k=1, every_n_epochs=1, **common),
    ]


class KdlabCLI(LightningCLI):
    """LightningCLI over kdlab's methods and data modules, with run folders ``runs/<data set>/<run>/version_k``.

    On top of Lightning's arguments there is ``run``, the folder of the run below ``trainer.default_root_dir``.
    Everything that can be wrong with a configuration is found before a run folder is made.

    Args:
        args: command-line words; those of the process by default.
        prepare: is handed the data module before it is set up.
    """

    def __init__(
        self, args: Sequence[str] | None = None, prepare: Callable[[WindowDataModule], None] | None = None
    ) -> None:
        self._prepare = prepare
        words = sys.argv[1:] if args is None else args
        if words and words[0] in _SUBCOMMANDS:  # the parsers of the others would take as long to make
            names = {words[0]: self.subcommands()[words[0]]}
            self.subcommands = lambda: names  # type: ignore[method-assign]
        super().__init__(
            model_class=Method,
            datamodule_class=WindowDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=RecordRun,
            save_config_kwargs={"overwrite": False},
            trainer_defaults={"default_root_dir": "runs", "callbacks": [*checkpoint_callbacks(), PredictionWriter()]},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_class=Parser,
            parser_kwargs={
                "allow_abbrev": False,
                "description": f"Besides the subcommands below there are {', '.join(_COMMANDS)} (each with --help).",
                **{name: {"allow_abbrev": False} for name in self.subcommands()},
            },
            args=list(args) if args is not None else None,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``run``."""
        parser.add_argument("--run", type=str | None, default=None, help="Run folder, <data set>/<run>.")

    def _parse_ckpt_path(self) -> None:
        """A checkpoint gives weights; it never changes what the command line and the config say."""

    @property
    def run_name(self) -> str:
        """``<data set>/<run>``: as configured, or made from the classes' names."""
        config = self.config[self.config.subcommand]
        if config.run:
            return str(config.run).strip("/")
        names = (str(config[key].class_path).rpartition(".")[2] for key in ("data", "model"))
        return "/".join(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() for name in names)

    def before_instantiate_classes(self) -> None:
        """Weights only by default, a run folder in place of a checkpoint file, names for Weights & Biases."""
        config = self.config[self.config.subcommand]
        if config.get("weights_only") is None:
            config.weights_only = True
        if (path := config.get("ckpt_path")) is not None:
            fit = self.config.subcommand == "fit"
            files = ("last.ckpt",) if fit else ("best.ckpt", "teacher.ckpt")
            config.ckpt_path = str(find_checkpoint(path, files, "ckpt_path", finished=not fit))
        loggers = config.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if isinstance(logger, Namespace) and str(logger.class_path).endswith("WandbLogger"):
                self._name_wandb_run(logger, config)

    def _name_wandb_run(self, logger: Namespace, config: Namespace) -> None:
        callbacks = config.trainer.callbacks or []
        is_teacher = any(str(c.class_path).endswith(EarlyStoppedTeacher.__name__) for c in callbacks)
        data = config.data.init_args
        fold = [data.test_subject] if "test_subject" in data else data.get("test_subjects")
        tags = [f"seed={config.seed_everything}", *([f"fold={','.join(map(str, fold))}"] if fold else [])]
        given = logger.get("dict_kwargs") or {}
        logger.dict_kwargs = {
            "group": self.run_name,
            "job_type": "teacher" if is_teacher else "student",
            "tags": tags,
            **given,
        }
        if logger.init_args.get("name") is None:
            logger.init_args.name = f"{self.run_name}/seed{config.seed_everything}"

    def instantiate_classes(self) -> None:
        """Make data module, method and trainer; what is wrong with their arguments is raised as an `InputError`."""
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, OSError, MisconfigurationException) as error:
            raise _input_error(error) from error
        if self._prepare is not None:
            self._prepare(self.datamodule)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Put the CSV logger, whose folder is the run's, in front of the configured loggers."""
        config = self.config_init[self.config.subcommand].trainer
        logger = config.logger
        folder, _, name = self.run_name.rpartition("/")
        csv = CSVLogger(str(Path(config.default_root_dir) / folder), name=name)
        if logger is False:  # no metrics, but a version folder all the same
            return super().instantiate_trainer(default_root_dir=csv.log_dir, **kwargs)
        given = [] if logger is None or logger is True else logger
        extra = list(given) if isinstance(given, (list, tuple)) else [given]
        return super().instantiate_trainer(logger=[csv, *extra], **kwargs)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it, and close its Weights & Biases run, so that the next one in this process has its own."""
        try:
            super()._run_subcommand(subcommand)
        finally:
            for logger in self.trainer.loggers:
                if isinstance(logger, WandbLogger) and logger._experiment is not None:
                    logger.experiment.finish()

    # ------------------------------------------------------------------ before anything is written
    def _check(self, stage: str) -> None:
        config = self.config[self.config.subcommand]
        self.datamodule.prepare_data()
        self.datamodule.setup(stage)
        self.model.prepare(self.datamodule, stage)
        if stage == "fit":
            self.datamodule.train_dataloader()  # a batch that the training windows cannot fill
            self._check_optimizer()
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, OpenSetScore) and stage in ("fit", "test"):
                callback.check(self.datamodule)
            if stage == "fit":
                if isinstance(callback, WeightAnnealing | MarginMapPictures):
                    callback.check(self.model)
                _check_choice(callback)
        path = config.get("ckpt_path")
        if path is not None:
            checkpoint = read_checkpoint(path, "ckpt_path")
            self.model.check_checkpoint(checkpoint, self.datamodule)
            check_fingerprint(checkpoint[KEY].get("fingerprint") or {}, self.datamodule.fingerprint, stage)
            if stage == "fit":
                self._check_resume(path, checkpoint)
        elif stage != "fit":
            raise InputError(
                f"ckpt_path: expected the checkpoint (or run folder) to {stage}, got none. Pass --ckpt_path "
                f"{config.trainer.default_root_dir}/{self.run_name}."
            )
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger) and logger.save_dir:
                Path(logger.save_dir).mkdir(parents=True, exist_ok=True)

    def _check_optimizer(self) -> None:
        try:
            self.model.configure_optimizers()
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise InputError(f"optimizer, scheduler: {error}. Check their init_args.") from error

    def _check_resume(self, path: str, checkpoint: dict[str, Any]) -> None:
        """Only a whole checkpoint of the same method, with epochs left, can be gone on with."""
        if not checkpoint.get("optimizer_states"):
            raise InputError(
                f"ckpt_path: {path!r} holds weights only and cannot be resumed. Resume from last.ckpt, or start from "
                "these weights with init= (Supervised) or student_init=."
            )
        trained, method = checkpoint[KEY].get("method"), type(self.model).__name__
        if trained != method:
            raise InputError(
                f"ckpt_path: {path!r} was trained by {trained}, this is {method}. Start from its weights with init= "
                "(Supervised) or student_init= instead."
            )
        optimizer: Any = self.model.configure_optimizers()
        optimizer = optimizer["optimizer"] if isinstance(optimizer, dict) else optimizer
        states = (checkpoint["optimizer_states"][0], optimizer.state_dict())
        theirs, ours = (set(state["param_groups"][0]) - {"initial_lr"} for state in states)  # schedules add that one
        if theirs != ours:
            raise InputError(
                f"ckpt_path: {path!r} was trained with another optimiser than {type(optimizer).__name__}. Resume with "
                "its own config (config.yaml beside its checkpoints)."
            )
        epochs = self.trainer.max_epochs
        if epochs is not None and 0 <= epochs < checkpoint.get("epoch", 0):
            raise InputError(
                f"ckpt_path: {path!r} is from epoch {checkpoint['epoch']}, beyond max_epochs={epochs}. Raise "
                "--trainer.max_epochs."
            )

    def before_fit(self) -> None:
        """Check data, net, teachers and checkpoint against each other."""
        self._check("fit")

    def before_validate(self) -> None:
        """Check data, net and checkpoint against each other."""
        self._check("validate")

    def before_test(self) -> None:
        """Check data, net and checkpoint against each other."""
        self._check("test")

    def before_predict(self) -> None:
        """Check data, net and checkpoint against each other."""
        self._check("predict")


def _input_error(error: BaseException) -> InputError:
    """The `InputError` behind what jsonargparse raises, or one that says the same."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputError):
        cause = cause.__cause__ or cause.__context__
    return InputError(str(error)) if cause is None else cause


def _check_choice(callback: Any) -> None:
    """Nothing is chosen on test windows."""
    monitor = getattr(callback, "monitor", None)
    if isinstance(monitor, str) and monitor.startswith("test"):
        raise InputError(
            f"{type(callback).__name__}: monitor={monitor!r} would choose on the test windows. Every choice is made on "
            f"validation: monitor {monitor.replace('test', 'val', 1)!r}."
        )


class Reading(KdlabCLI):
    """Reads its words, and does nothing with them."""

    def _set_seed(self) -> None:
        pass

    def before_instantiate_classes(self) -> None:
        """Nothing is looked for."""

    def instantiate_classes(self) -> None:
        """Nothing is made."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def run(args: Sequence[str], prepare: Callable[[WindowDataModule], None] | None = None) -> KdlabCLI:
    """Run one command in this process, as ``kdlab <args>`` would; errors are raised.

    Args:
        args: command-line words, for example ``["fit", "--config", "experiments/basic_motions/scratch.yaml"]``.
        prepare: is handed the data module before it is set up.

    Returns:
        The finished command line, with ``model``, ``datamodule`` and ``trainer``.
    """
    return _with_words(KdlabCLI, args, prepare)


def check(args: Sequence[str]) -> None:
    """Read the words of a command and its configs; a word that is not accepted ends in ``SystemExit``."""
    _with_words(Reading, args)


def build(config: str | Path, overrides: Sequence[str] = ()) -> tuple[Method, WindowDataModule]:
    """The method and the data module of a config file, not set up, and with the weights that they begin with.

    Args:
        config: a run's config file, or the ``config.yaml`` beside its checkpoints.
        overrides: further words, such as ``--data.init_args.batch_size=8``.

    Raises:
        InputError: for a wrong argument of data module or method.
    """
    parser = Parser(allow_abbrev=False)
    parser.add_lightning_class_args(Method, "model", subclass_mode=True)
    parser.add_lightning_class_args(WindowDataModule, "data", subclass_mode=True)
    said = yaml.safe_load(Path(config).read_text())
    words = [f"--{key}={json.dumps(said[key])}" for key in ("model", "data") if key in said]
    try:
        made = parser.instantiate_classes(parser.parse_args([*words, *overrides]))
    except (ValueError, TypeError, OSError) as error:
        raise _input_error(error) from error
    return made.model, made.data


def build_callbacks(config: str | Path) -> list[Callback]:
    """The callbacks that a config's trainer names.

    Raises:
        InputError: for a wrong argument of a callback.
    """
    trainer = yaml.safe_load(Path(config).read_text()).get("trainer") or {}
    named = [trainer.get(key) or [] for key in ("callbacks", "callbacks+")]
    said = [callback for some in named for callback in (some if isinstance(some, list) else [some])]
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--callbacks", type=list[Callback], default=[])
    try:
        callbacks: list[Callback] = parser.instantiate_classes(
            parser.parse_args([f"--callbacks={json.dumps(said)}"])
        ).callbacks
    except (ValueError, TypeError, OSError) as error:
        raise _input_error(error) from error
    return callbacks


def _with_words(kind: type[KdlabCLI], words: Sequence[str], *more: Any) -> KdlabCLI:
    argv, sys.argv = sys.argv, sys.argv[:1]  # LightningCLI wants either words or the process's own
    try:
        return kind(words, *more)
    finally:
        sys.argv = argv


def main() -> None:
    """Entry point of ``kdlab`` and ``lightning``."""
    words = sys.argv[1:]
    name = words[0] if words else ""
    if Path(sys.argv[0]).name == "lightning" and name and name not in (*_SUBCOMMANDS, *_COMMANDS) and name[0] != "-":
        _hand_over()
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # a user's own classes work from YAML
    try:
        if name in _COMMANDS:
            _COMMANDS[name](words[1:])
        else:
            KdlabCLI()
    except (InputError, MisconfigurationException) as error:
        sys.exit(f"error: {_said(error)}")


def _said(error: BaseException) -> str:
    """What an error says; of one from a loader's worker, which comes with the worker's traceback, its last part."""
    text = str(error)
    return re.split(r"\n[\w.]+: ", text)[-1].strip() if "Original Traceback" in text else text


def _study(words: Sequence[str]) -> None:
    from kdlab.study.command import main

    main(words, run, check)


def _evaluate(words: Sequence[str]) -> None:
    from kdlab.evaluate.command import main

    main(words, build)


def _export(words: Sequence[str]) -> None:
    from kdlab.export import main

    main(words, build)


def _cite(words: Sequence[str]) -> None:
    """Print the BibTeX of the papers behind a config's method, net, views, data, augmentation and callbacks."""
    from kdlab.citations import bibtex, papers

    parser = argparse.ArgumentParser(prog="kdlab cite", description=_cite.__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="a run's config, or the config.yaml beside its checkpoints")
    config = parser.parse_args(list(words)).config
    model, data = build(config)
    changes = [getattr(data, name, None) for name in ("augment", "mix", "corruption")]
    print(bibtex(papers([*model.modules(), data, *changes, *data.views.values(), *build_callbacks(config)])))


def _nets(words: Sequence[str]) -> None:
    from kdlab.evaluate.nets_table import main

    main(words)


#: what the command line can besides Lightning's subcommands
_COMMANDS = {"study": _study, "evaluate": _evaluate, "export": _export, "cite": _cite, "nets": _nets}


def _hand_over() -> None:
    """Give a subcommand that is not ours to the lightning_sdk package, where that is installed."""
    try:
        scripts = importlib.metadata.distribution("lightning_sdk").entry_points
    except importlib.metadata.PackageNotFoundError:
        return  # our parser names the known subcommands
    for script in scripts:
        if script.group == "console_scripts" and script.name == "lightning":
            sys.exit(script.load()())
