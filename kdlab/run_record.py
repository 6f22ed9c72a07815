"""What a fit keeps beside its metrics and checkpoints: its config, its split, and whether it is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from kdlab.data import WindowDataModule
from kdlab.files import read_json, write_json
from kdlab.fingerprint import config_without_people, without_people
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import FINISHED
from kdlab.resuming import LOGGED_RUN
from kdlab.run_folder import RunLogger


class RecordRun(SaveConfigCallback):
    """Write the run's config and split beside its checkpoints, and mark a fit that is complete."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the nested config (the CSV logger has it as a file already)."""
        if any(not isinstance(logger, CSVLogger) for logger in trainer.loggers):
            config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
            self._log(trainer, config_without_people(config))  # a logger may be a service elsewhere

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the data, the objective and the teachers of the run."""
        if isinstance(pl_module, Method):
            data = getattr(trainer, "datamodule", None)
            folder = Path(trainer.log_dir or trainer.default_root_dir)  # all processes read it, or all wait
            if trainer.is_global_zero and isinstance(data, WindowDataModule):
                data.write_split(folder / "split.csv")
            kept = ("fingerprint", "objective", "teachers")
            logged = {k: v for k, v in pl_module.describe().items() if k in kept}
            logged["fingerprint"] = without_people(logged["fingerprint"] or {})
            self._log(trainer, logged)
            self._note(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write down what was logged so far: a process that is killed leaves it for the fit that is resumed."""
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                logger.save()
        self._note(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch that was cut off has no row in ``metrics.csv``, unless the fit has no other."""
        if trainer.current_epoch > 0 and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            for logger in trainer.loggers:
                if isinstance(logger, RunLogger):
                    logger.cut_epoch()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the version as finished, unless a signal ended it."""
        self._note(trainer)
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        if trainer.is_global_zero and isinstance(pl_module, Method) and not trainer.received_sigterm:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / FINISHED, {"epochs": trainer.current_epoch, "steps": trainer.global_step})

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A test that was logged into the run of its fit has added rows to it."""
        self._note(trainer, known=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise a validation that is no part of a fit."""
        if trainer.state.fn == "validate":
            self._note(trainer, known=True)

    @staticmethod
    def _note(trainer: Trainer, known: bool = False) -> None:
        """Write down the Weights & Biases run, and how many rows it has, for what is logged into it later.

        Args:
            trainer: of the run.
            known: leave a file that names another run, or none, as it is.
        """
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # all processes read it, or all wait
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if known and loggers:
            file = folder / LOGGED_RUN
            if not file.is_file() or read_json(file, "ckpt_path").get("id") != loggers[0].version:
                return
        if trainer.is_global_zero and loggers:
            rows: Any = loggers[0].experiment.step  # no number where Weights & Biases is switched off
            counted = {"rows": rows} if isinstance(rows, int) else {}
            write_json(folder / LOGGED_RUN, {"id": loggers[0].version, **counted})

    @staticmethod
    def _log(trainer: Trainer, params: dict[str, Any]) -> None:
        for logger in trainer.loggers:
            if trainer.is_global_zero and not isinstance(logger, CSVLogger):
                logger.log_hyperparams(params)
