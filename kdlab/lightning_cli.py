"""LightningCLI over kdlab's methods and data modules: fit, validate, test and predict."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info

from kdlab.callbacks import (
    EarlyStoppedTeacher,
    PredictionWriter,
)
from kdlab.config_checks import check_parsed, data_class
from kdlab.data import WindowDataModule, check_fingerprint
from kdlab.default_rule import rule_in, rule_of
from kdlab.ends import clarify
from kdlab.evaluate.trust import config_beside
from kdlab.files import one_line, unused
from kdlab.fingerprint import OtherDataError, people_in
from kdlab.fit_checks import check_batches, check_callbacks, check_optimizer, check_resume, check_resumed_step
from kdlab.hyperparameters import Instantiator
from kdlab.methods.averages import check_current
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import KEY, find_checkpoint, read_checkpoint
from kdlab.methods.plans import has_end, plan_of, planned
from kdlab.methods.selection import Rule, Selection, in_words
from kdlab.methods.tuning import check_finders
from kdlab.methods.validation import check_interval
from kdlab.methods.windows import predicts_new, windows_of
from kdlab.monitor_checks import check_monitors
from kdlab.parsed import parse_once
from kdlab.parser import Parser, reason
from kdlab.quiet import lean_summary, name_run
from kdlab.resuming import METRICS, interrupted_version, logged_run, next_row, rows_before, take_best
from kdlab.run_checkpoints import (
    INTERVAL,
    best_in,
    check_enabled,
    check_files,
    checkpoint_callbacks,
    watching,
    without_checkpoints,
)
from kdlab.run_folder import RunLogger, VersionLogger, version_folder
from kdlab.run_record import RecordRun
from kdlab.study.loggers import check_loggers, closing
from kdlab.study.progress import job_callbacks
from kdlab.types import InputError, input_error_in


class KdlabCLI(LightningCLI):
    """LightningCLI over kdlab's methods and data modules, with run folders ``runs/<data set>/<run>/version_k``.

    On top of Lightning's arguments there are ``run``, the folder of the run below ``trainer.default_root_dir``,
    ``selection``, ``monitor``, ``mode`` and ``smoothing``, which choose its ``best.ckpt`` (see
    :class:`kdlab.methods.selection.Rule`), and ``checkpoint_interval``, how often it is written.
    Everything that can be wrong with a configuration is found before a run folder is made.

    Args:
        args: command-line words; those of the process by default.
        prepare: is called with the data module before it is set up.
    """

    def __init__(
        self, args: Sequence[str] | None = None, prepare: Callable[[WindowDataModule], None] | None = None
    ) -> None:
        self._prepare = prepare
        words = sys.argv[1:] if args is None else args
        if words and words[0] in self.subcommands():  # the parsers of the others would take as long to make
            names = {words[0]: self.subcommands()[words[0]]}
            self.subcommands = lambda: names  # type: ignore[method-assign]
        super().__init__(
            model_class=Method,
            datamodule_class=data_class(words),
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
        """Add ``run``, and what chooses ``best.ckpt``."""
        parser.add_argument("--run", type=str | None, default=None, help="Run folder, <data set>/<run>.")
        parser.add_argument(
            "--monitor", type=str | None, default=None, help="Metric that chooses best.ckpt; val/loss where one has to."
        )
        parser.add_argument(
            "--mode",
            type=Literal["min", "max"] | None,
            default=None,
            help="Whether less or more of it is better; null: less of a loss, more of accuracy and F1.",
        )
        parser.add_argument(
            "--checkpoint_interval",
            type=float,
            default=INTERVAL,
            help="Seconds between two writes of best.ckpt and last.ckpt, also written when a fit ends; 0: every epoch.",
        )
        parser.add_argument(
            "--selection",
            type=Selection | None,
            default=None,
            help="Weights in best.ckpt: those with the best metric, with the best mean of it over the last validations "
            "(smoothed), of the last epoch, or averaged over the last epochs; null: of the last epoch, unless monitor, "
            "or a callback that stops early, names a metric.",
        )
        parser.add_argument("--smoothing", type=int, default=3, help="Validations in the mean of selection: smoothed.")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the words; refuse what the parser lets through: data or model without a class, a seed out of range."""
        base: Any = self.datamodule_class

        def parse() -> Namespace:
            LightningCLI.parse_arguments(self, parser, args)
            config: Namespace = self.config
            return config

        self.config = parse_once(args, base, parse)
        name = self.config.subcommand
        config, own = self.config[name], self._parser(name)
        check_parsed(config, own)

    def _add_instantiators(self) -> None:
        """What ``save_hyperparameters`` of a user's own class keeps is dumped where it is called."""
        for key, kind in (("model", Method), ("data", self._datamodule_class)):
            self.parser.add_instantiator(Instantiator(self, key), kind, subclasses=True)

    def _parse_ckpt_path(self) -> None:
        """A checkpoint gives weights; it never changes the settings of the command line and the config."""

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
        name_run(self.run_name)
        if config.get("weights_only") is None:
            config.weights_only = True
        if (path := config.get("ckpt_path")) is not None:
            fit = self.config.subcommand == "fit"
            files = ("last.ckpt",) if fit else ("best.ckpt", "teacher.ckpt")
            config.ckpt_path = str(find_checkpoint(path, files, "ckpt_path", finished=not fit))
        check_enabled(config.trainer)
        loggers = config.trainer.logger
        check_loggers(loggers)
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if isinstance(logger, Namespace) and str(logger.class_path).endswith("WandbLogger"):
                self._name_wandb_run(logger, config)

    def _name_wandb_run(self, logger: Namespace, config: Namespace) -> None:
        callbacks = config.trainer.callbacks or []
        is_teacher = any(str(c.class_path).endswith(EarlyStoppedTeacher.__name__) for c in callbacks)
        data: Any = config.data.get("init_args") or {}
        tested = people_in(data.get("test_subject"), data.get("test_subjects"))
        fold = f"fold={tested} {'person' if tested == 1 else 'people'}"  # a logger may be a service elsewhere
        tags = [f"seed={config.seed_everything}", *([fold] if tested else [])]
        names = {"group": self.run_name, "job_type": "teacher" if is_teacher else "student", "tags": tags}
        unset = {key: value for key, value in names.items() if logger.init_args.get(key) is None}
        logger.dict_kwargs = {**unset, **(logger.get("dict_kwargs") or {})}
        path = config.get("ckpt_path") if self.config.subcommand == "fit" else None
        found = logged_run(Path(path), self._run_folder) if path is not None else None
        if found is not None and logger.init_args.get("id") is None:  # one run over a resume
            logger.init_args.id = found
            logger.dict_kwargs = {"resume": "allow", **logger.dict_kwargs}
        if logger.init_args.get("name") is None:
            logger.init_args.name = f"{self.run_name}/seed{config.seed_everything}"

    def _choose_rule(self, callbacks: Any) -> Rule:
        """How the weights of the run are chosen; the config that a fit keeps says it."""
        chosen, fit = self.config[self.config.subcommand], self.config.subcommand == "fit"
        given = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
        named = (chosen.selection, chosen.monitor, chosen.mode)
        read = named == (None, None, None) and chosen.get("ckpt_path") is not None
        rule = rule_of(*named, chosen.smoothing, given, rule_in(chosen.ckpt_path) if read else None)
        if not fit:
            return rule
        if read and rule != rule_of(*named, chosen.smoothing, given):
            rank_zero_info(f"best.ckpt: {in_words(rule.described([]))}, the rule of the fit that is resumed.")
        chosen.selection = rule.selection
        if rule.chooses:
            chosen.monitor, chosen.mode, chosen.smoothing = rule.monitor, rule.mode, rule.smoothing
        return rule

    def instantiate_classes(self) -> None:
        """Make data module, method and trainer; what is wrong with their arguments is raised as an `InputError`."""
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, OSError, ArithmeticError, MemoryError, MisconfigurationException) as error:
            raise input_error(error) from error
        except RuntimeError as error:
            if "stateful callback" not in str(error):
                raise
            raise InputError(
                "trainer.callbacks: two callbacks of one class must have settings of their own, but two have the same "
                "(of ModelCheckpoint, every run has one for its monitor and one without). Leave one out, or change its "
                "monitor, mode or every_n_epochs."
            ) from error
        lean_summary(self.trainer)
        self.model.selection = self._rule.described(self.trainer.callbacks)  # type: ignore[attr-defined]
        if self._prepare is not None:
            self._prepare(self.datamodule)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Put the CSV logger, whose folder is the run's, in front of the configured loggers.

        A fit makes a new version, or resumes in the one that was interrupted. The others write into the version whose
        checkpoint they read, where there is one.
        """
        chosen = self.config[self.config.subcommand]
        config = self.config_init[self.config.subcommand].trainer
        interval = chosen.checkpoint_interval
        self._rule = self._choose_rule(config.callbacks)
        own = watching(self.trainer_defaults["callbacks"], self._rule, config.callbacks, interval=interval)
        self.trainer_defaults["callbacks"] = (
            own if chosen.trainer.enable_checkpointing is not False else without_checkpoints(own)
        )
        self.trainer_defaults["callbacks"] += job_callbacks()
        logger = config.logger
        folder, _, name = self.run_name.rpartition("/")
        csv: RunLogger | VersionLogger = RunLogger(str(Path(config.default_root_dir) / folder), name)
        version, interrupted = self._version_folder(), self._interrupted_version()
        if interrupted is not None:
            csv = RunLogger(csv.save_dir, name, interrupted)
            filename = unused(Path(csv.log_dir) / "config_fit.yaml").name
            self.save_config_kwargs = {**self.save_config_kwargs, "config_filename": filename}
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

    @property
    def _run_folder(self) -> Path:
        return Path(self.config[self.config.subcommand].trainer.default_root_dir) / self.run_name

    def _interrupted_version(self) -> int | None:
        path = self.config[self.config.subcommand].get("ckpt_path")
        resumed = path is not None and self.config.subcommand == "fit"
        return interrupted_version(Path(path), self._run_folder) if resumed else None

    def _go_on(self, path: Path, steps: int, best_known: bool) -> None:
        """Begin with the metrics and the best checkpoint of the fit that is resumed."""
        source, here = version_folder(path), Path(self._run_logger.log_dir)
        same_run = source is not None and source.parent.resolve() == here.parent.resolve()
        if isinstance(self._run_logger, RunLogger) and source is not None and same_run:
            self._run_logger.go_on(rows_before(source / METRICS, steps))
        take_best(path, steps, here, best_known)

    def _log_after(self, path: Path) -> None:
        """What is logged into the Weights & Biases run of the fit comes after its rows."""
        found = logged_run(path, self._run_folder)
        for logger in self.trainer.loggers if found is not None and self.trainer.is_global_zero else ():
            if isinstance(logger, WandbLogger) and logger.version == found:
                logger.experiment.log({}, step=next_row(path))

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
        if not isinstance(self.datamodule, WindowDataModule):
            self.datamodule.trainer = self.trainer  # it may read it
        self.datamodule.prepare_data()
        self.datamodule.setup(stage)
        self.model.prepare(self.datamodule, stage)
        if stage == "fit":
            check_batches(config.trainer, self.datamodule)
            self._check_plan(self.trainer.callbacks)  # type: ignore[attr-defined]
        check_files(self.trainer.callbacks, Path(self._run_logger.log_dir) / "checkpoints")  # type: ignore[attr-defined]
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        check_callbacks(callbacks, self.model, self.datamodule, stage, has_end(self.trainer))
        path = config.get("ckpt_path")
        if path is not None:
            checkpoint = read_checkpoint(path, "ckpt_path")
            with _config_named(path):
                self.model.check_checkpoint(checkpoint, self.datamodule, stage)
            here = windows_of(self.datamodule).fingerprint
            if here and not predicts_new(self.datamodule, stage):
                check_fingerprint(checkpoint[KEY].get("fingerprint") or {}, here, stage)
            if stage == "fit":
                best_in(checkpoint)
                check_resumed_step(path, checkpoint, self.datamodule, self.trainer.world_size)
                with planned(plan_of(self.trainer, self.datamodule)):
                    check_resume(path, checkpoint, self.model, self.trainer.max_epochs)
                check_current(self.trainer.callbacks, checkpoint)  # type: ignore[attr-defined]
            for logger in self.trainer.loggers:
                if isinstance(logger, VersionLogger):
                    logger.come_from(checkpoint)
        elif stage != "fit":
            raise InputError(
                f"ckpt_path: must be the checkpoint (or run folder) to {stage}, but got none. Pass --ckpt_path "
                f"{config.trainer.default_root_dir}/{self.run_name}."
            )
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger) and logger.save_dir:
                Path(logger.save_dir).mkdir(parents=True, exist_ok=True)
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]  # it writes nothing
            return
        self._run_logger.claim()
        if path is not None and stage == "fit":
            self._go_on(Path(path), int(checkpoint.get("global_step") or 0), best_in(checkpoint) is not None)
        if path is not None:
            self._log_after(Path(path))
        if not self.trainer.loggers:
            self.trainer._default_root_dir = self._run_logger.log_dir  # type: ignore[attr-defined]

    def _check_plan(self, callbacks: list[Any]) -> None:
        plan, batches = plan_of(self.trainer, self.datamodule), len(self.datamodule.train_dataloader())
        check_interval(self.trainer, batches)
        with planned(plan):
            check_finders(callbacks, self.model, plan.steps)
            check_optimizer(self.model)
            check_monitors(self.trainer, self.model, callbacks, batches)

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


@contextmanager
def _config_named(path: str) -> Iterator[None]:
    """Name the config of a checkpoint's run where data are refused that are not those of its training.

    Args:
        path: the checkpoint.

    Raises:
        InputError: with the option to write, where that config is there.
    """
    try:
        yield
    except OtherDataError as error:
        if (config := config_beside(Path(path))) is None:
            raise
        raise InputError(f"{error} Write --config {shlex.quote(str(config))}.") from error


def input_error(error: BaseException) -> InputError:
    """The `InputError` behind what jsonargparse raises, or one with the same reason."""
    return input_error_in(error) or InputError(one_line(reason(str(error))))


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
