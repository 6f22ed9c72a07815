"""The command line, ``lightning`` or ``kdlab``; ``COMMANDS`` lists what it can do."""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from kdlab import __version__
from kdlab.callbacks import (
    EarlyStoppedTeacher,
    MarginMapPictures,
    OpenSetScore,
    PredictionWriter,
    WeightAnnealing,
)
from kdlab.configs import read_config
from kdlab.data import WindowDataModule, check_fingerprint
from kdlab.ends import clarify, ending, restart_in_utf8
from kdlab.files import one_line, unused, write_json
from kdlab.fingerprint import without_people
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import FINISHED, KEY, find_checkpoint, read_checkpoint
from kdlab.nets import Backbone
from kdlab.parser import Parser, reason
from kdlab.run_folder import RunLogger, VersionLogger, version_folder
from kdlab.study.loggers import check_loggers, closing
from kdlab.types import InputError

MOST_SEED = 2**32 - 1  # numpy's largest
#: settings of the trainer that Lightning does not check, and that end in a division by zero or do nothing
_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "val_check_interval": 1e-6,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
}
MOST_LAYERS, MOST_SIZE = 2000, 100_000  # of a net: its depth, and all other whole numbers
MOST_NUMBER = 3e38  # float32 has none above it


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
            folder = Path(trainer.log_dir or trainer.default_root_dir)  # all processes ask for it, or all wait
            if trainer.is_global_zero and isinstance(data, WindowDataModule):
                data.write_split(folder / "split.csv")
            said = ("fingerprint", "objective", "teachers")
            told = {k: v for k, v in pl_module.describe().items() if k in said}
            told["fingerprint"] = without_people(told["fingerprint"] or {})  # a logger may be a service elsewhere
            self._log(trainer, told)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the version as finished, unless a signal ended it."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        if trainer.is_global_zero and isinstance(pl_module, Method) and not trainer.received_sigterm:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / FINISHED, {"epochs": trainer.current_epoch, "steps": trainer.global_step})

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
                "description": "kdlab --help lists all commands.",
                **{name: {"allow_abbrev": False} for name in self.subcommands()},
            },
            args=list(args) if args is not None else None,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``run``."""
        parser.add_argument("--run", type=str | None, default=None, help="Run folder, <data set>/<run>.")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the words; refuse what the parser lets through: data or model without a class, a seed out of range."""
        super().parse_arguments(parser, args)
        name = self.config.subcommand
        config, own = self.config[name], self._parser(name)
        _check_run(config.run)
        for key in ("data", "model"):
            if not isinstance(config[key], Namespace) or not config[key].get("class_path"):
                own.error(
                    f'Parser key "{key}": must name a class, but has no class_path. Write {key}: {{class_path: ...}}'
                )
            _check_classes(config[key], key, own)
        _check_classes(config.trainer.get("callbacks"), "trainer.callbacks", own)
        for key, least in _LEAST.items():
            value = config.trainer.get(key)
            if isinstance(value, int | float) and not value >= least:
                own.error(f'Parser key "trainer.{key}": must be at least {least:g}, but got {value}')
        seed = config.seed_everything
        if not isinstance(seed, bool | None) and not 0 <= seed <= MOST_SEED:
            own.error(f'Parser key "seed_everything": must be a number from 0 to {MOST_SEED}, but got {seed}')

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
        check_loggers(loggers)
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if isinstance(logger, Namespace) and str(logger.class_path).endswith("WandbLogger"):
                self._name_wandb_run(logger, config)

    def _name_wandb_run(self, logger: Namespace, config: Namespace) -> None:
        callbacks = config.trainer.callbacks or []
        is_teacher = any(str(c.class_path).endswith(EarlyStoppedTeacher.__name__) for c in callbacks)
        data = config.data.init_args
        fold = [data.test_subject] if "test_subject" in data else data.get("test_subjects")
        tags = [f"seed={config.seed_everything}", *([f"fold={','.join(map(str, fold))}"] if fold else [])]
        names = {"group": self.run_name, "job_type": "teacher" if is_teacher else "student", "tags": tags}
        unset = {key: value for key, value in names.items() if logger.init_args.get(key) is None}
        logger.dict_kwargs = {**unset, **(logger.get("dict_kwargs") or {})}
        if logger.init_args.get("name") is None:
            logger.init_args.name = f"{self.run_name}/seed{config.seed_everything}"

    def instantiate_classes(self) -> None:
        """Make data module, method and trainer; what is wrong with their arguments is raised as an `InputError`."""
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, OSError, ArithmeticError, MemoryError, MisconfigurationException) as error:
            raise _input_error(error) from error
        if self._prepare is not None:
            self._prepare(self.datamodule)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Put the CSV logger, whose folder is the run's, in front of the configured loggers.

        A fit makes a new version. The others write into the version whose checkpoint they read, where there is one.
        """
        config = self.config_init[self.config.subcommand].trainer
        logger = config.logger
        folder, _, name = self.run_name.rpartition("/")
        csv: RunLogger | VersionLogger = RunLogger(str(Path(config.default_root_dir) / folder), name)
        version = self._version_folder()
        if version is not None:
            csv = VersionLogger(version)
            filename = unused(version / f"config_{self.config.subcommand}.yaml").name
            self.save_config_kwargs = {**self.save_config_kwargs, "config_filename": filename}
        self._run_logger = csv
        if logger is False:  # no metrics, but a version folder all the same
            return super().instantiate_trainer(default_root_dir=csv.log_dir, **kwargs)
        given = [] if logger is None or logger is True else logger
        extra = list(given) if isinstance(given, (list, tuple)) else [given]
        return super().instantiate_trainer(logger=[csv, *extra], **kwargs)

    def _version_folder(self) -> Path | None:
        path = self.config[self.config.subcommand].get("ckpt_path")
        return version_folder(path) if path is not None and self.config.subcommand != "fit" else None

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it, and close its Weights & Biases run; a job of a study is measured first."""
        try:
            with closing(self.trainer):
                super()._run_subcommand(subcommand)
        except SystemExit as error:
            clarify(error)
            raise

    # ------------------------------------------------------------------ before anything is written
    def _check(self, stage: str) -> None:
        config = self.config[self.config.subcommand]
        self.datamodule.prepare_data()
        self.datamodule.setup(stage)
        self.model.prepare(self.datamodule, stage)
        if stage == "fit":
            loaders = {"train": self.datamodule.train_dataloader(), "val": self.datamodule.val_dataloader()}
            for part, loader in loaders.items():  # the first also refuses a batch that the windows cannot fill
                limit = config.trainer.get(f"limit_{part}_batches")
                left = int(len(loader) * limit) if isinstance(limit, float) and limit < 1 else limit
                if left == 0 and (limit != 0 or part == "train"):  # a fit may go without validation
                    raise InputError(
                        f"trainer: limit_{part}_batches must leave at least one of {len(loader)} batches, but got "
                        f"{limit}. Raise it."
                    )
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
            for logger in self.trainer.loggers:
                if isinstance(logger, VersionLogger):
                    logger.come_from(checkpoint)
        elif stage != "fit":
            raise InputError(
                f"ckpt_path: expected the checkpoint (or run folder) to {stage}, got none. Pass --ckpt_path "
                f"{config.trainer.default_root_dir}/{self.run_name}."
            )
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger) and logger.save_dir:
                Path(logger.save_dir).mkdir(parents=True, exist_ok=True)
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]  # it writes nothing
            return
        self._run_logger.claim()
        if not self.trainer.loggers:
            self.trainer._default_root_dir = self._run_logger.log_dir  # type: ignore[attr-defined]

    def _check_optimizer(self) -> None:
        try:
            made: Any = self.model.configure_optimizers()
        except InputError:
            raise
        except (ValueError, TypeError, ArithmeticError) as error:
            raise InputError(f"optimizer, scheduler: {one_line(error)}. Check their init_args.") from error
        for group in (made["optimizer"] if isinstance(made, dict) else made).param_groups:
            for name, value in group.items():
                if isinstance(value, int | float) and abs(value) > MOST_NUMBER:
                    raise InputError(f"optimizer: {name} must be a number of float32, but got {value:g}. Lower it.")

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
    return InputError(one_line(reason(str(error)))) if cause is None else cause


def _check_run(run: str | None) -> None:
    """The name of a run is that of folders below the root folder."""
    parts = (run or "run").strip("/").split("/")
    if any(not p.strip() or p.strip() in (".", "..") or len(p.encode()) > 255 or "\0" in p for p in parts):
        raise InputError(
            f"run: must be names of folders, of 1 to 255 bytes each, joined by /, but got {run!r:.80}. Name data "
            "set and run: run: basic_motions/scratch."
        )


def _check_classes(config: Any, key: str, parser: LightningArgumentParser) -> None:
    """Classes that only name what their subclasses share train nothing, and fail late or with a puzzling reason."""
    if isinstance(config, Namespace | dict):
        items = (vars(config) if isinstance(config, Namespace) else config).items()
        name = dict(items).get("class_path")
        if isinstance(name, str) and _is_abstract(_found(name)):
            parser.error(
                f'Parser key "{key}":\n  - Expected an instantiatable class, but is abstract\nGiven value: {name}'
            )
        for inner, value in items:
            if inner == "init_args" and isinstance(name, str):
                _check_sizes(_found(name), value, parser)
            _check_classes(value, key if inner == "init_args" else str(inner), parser)
    elif isinstance(config, list):
        for value in config:
            _check_classes(value, key, parser)


def _check_sizes(kind: Any, arguments: Any, parser: LightningArgumentParser) -> None:
    """Nets of kdlab that would take hours or all memory to make: a typo in a number."""
    if isinstance(kind, type) and issubclass(kind, Backbone) and kind.__module__.startswith("kdlab."):
        for key, value in vars(arguments).items() if isinstance(arguments, Namespace) else ():
            most = MOST_LAYERS if key in ("depth", "layers") else MOST_SIZE
            if isinstance(value, int) and value > most:
                parser.error(f'Parser key "{key}": must be at most {most}, but got {value:.3g}')


def _found(name: str) -> Any:
    """The class of this name, which the parser has imported; None for a function or a name that is no class."""
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)


def _is_abstract(kind: Any) -> bool:
    return isinstance(kind, type) and (
        kind in (Method, WindowDataModule, Backbone, Callback)
        or any(getattr(getattr(kind, name, None), "__isabstractmethod__", False) for name in dir(kind))
        or (issubclass(kind, Method) and kind.terms is Method.terms)
    )


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
    said = read_config(Path(config), "config")
    for key in ("model", "data"):
        if said.get(key) is None:
            raise InputError(
                f"config: {str(config)!r} must name a {key}, but names none. Add {key}: {{class_path: ...}}."
            )
    try:
        words = [f"--{key}={json.dumps(said[key])}" for key in ("model", "data")]
        made = parser.instantiate_classes(parser.parse_args([*words, *overrides]))
    except (ValueError, TypeError, OSError) as error:
        raise _input_error(error) from error
    return made.model, made.data


def build_callbacks(config: str | Path) -> list[Callback]:
    """The callbacks that a config's trainer names.

    Raises:
        InputError: for a wrong argument of a callback.
    """
    trainer = read_config(Path(config), "config").get("trainer") or {}
    if not isinstance(trainer, dict):
        raise InputError(f"config: trainer in {str(config)!r} must be a mapping, but is a {type(trainer).__name__}.")
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
    if _listed(words):
        return
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # a user's own classes work from YAML
    restart_in_utf8(words)
    with ending():
        if name in _COMMANDS:
            _COMMANDS[name](words[1:])
        else:
            KdlabCLI()


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


#: all commands: what each does, and the function that runs its words (None: a subcommand of Lightning's)
COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], None] | None]] = {
    "fit": ("train a teacher or a student, as a config describes it", None),
    "validate": ("metrics of a checkpoint on the validation windows", None),
    "test": ("metrics of a checkpoint on the test windows", None),
    "predict": ("write a checkpoint's predictions on the test windows as predictions.csv", None),
    "study": ("run teachers and students over seeds, folds and grids, and write the tables", _study),
    "evaluate": ("compare checkpoints: accuracy, calibration, robustness, cost", _evaluate),
    "export": ("write a trained student as one file for the device", _export),
    "nets": ("print what the nets cost", _nets),
    "cite": ("print the BibTeX of what a run used", _cite),
}
_SUBCOMMANDS = tuple(name for name, (_, function) in COMMANDS.items() if function is None)
_COMMANDS = {name: function for name, (_, function) in COMMANDS.items() if function is not None}


def overview() -> str:
    """All commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (text, _) in COMMANDS.items()]
    usage = "usage: kdlab COMMAND [options]   (lightning is the same program)"
    more = "kdlab COMMAND --help: the options of a command    kdlab --version: the version"
    return "\n".join([usage, "", "commands:", *lines, "", more])


def _listed(words: Sequence[str]) -> bool:
    """Answer words that name no command: print help or version; a missing or unknown command ends with status 2."""
    name = words[0] if words else ""
    if name in ("-h", "--help"):
        print(overview())
        return True
    if name == "--version":
        print(f"kdlab {__version__}")
        return True
    if name in COMMANDS or name.startswith("-"):
        return False
    print(f"{overview()}\n", file=sys.stderr)
    similar = difflib.get_close_matches(name, COMMANDS, n=1)
    reason = f"{name!r} is no command" if name else "a command is missing"
    remedy = f"Did you mean {similar[0]!r}?" if similar else "Write one of those above."
    print(f"error: kdlab: {reason}. {remedy}", file=sys.stderr)
    raise SystemExit(2)


def _hand_over() -> None:
    """Give a subcommand that is not ours to the lightning_sdk package, where that is installed."""
    try:
        scripts = importlib.metadata.distribution("lightning_sdk").entry_points
    except importlib.metadata.PackageNotFoundError:
        return  # our parser names the known subcommands
    for script in scripts:
        if script.group == "console_scripts" and script.name == "lightning":
            sys.exit(script.load()())
