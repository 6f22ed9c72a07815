"""Data, optimiser, callbacks and checkpoint of a run checked against each other, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import BackboneFinetuning

from kdlab.callbacks import EpochAveraging, MarginMapPictures, OpenSetScore, WeightAnnealing
from kdlab.callbacks.annealing import check_settings_once
from kdlab.data.base import WindowDataModule
from kdlab.data.loaders import check_step, in_mid_epoch
from kdlab.files import one_line
from kdlab.methods.averages import check_averages
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import KEY
from kdlab.methods.windows import PartialWindows, windows_of
from kdlab.types import InputError

MOST_NUMBER = 3e38  # float32 has none above it


def check_batches(config: Any, datamodule: LightningDataModule) -> None:
    """Both loaders of a fit can be made, and the trainer's limits leave batches.

    Args:
        config: of the trainer.
        datamodule: set up for a fit.

    Raises:
        InputError: a limit leaves no batch, or the windows do not fill one.
    """
    if isinstance(windows_of(datamodule), PartialWindows):
        return  # its loaders may have no length
    loaders = {"train": datamodule.train_dataloader(), "val": datamodule.val_dataloader()}
    for part, loader in loaders.items():  # the first also refuses a batch that the windows cannot fill
        name = "overfit_batches" if config.get("overfit_batches") else f"limit_{part}_batches"
        limit = config.get(name)
        left = int(len(loader) * limit) if isinstance(limit, float) and limit < 1 else limit
        if left == 0 and (limit != 0 or part == "train"):  # a fit may have no validation
            raise InputError(
                f"trainer: {name} must leave at least one of {len(loader)} batches, but got {limit}. Raise it, or give "
                "a number of batches."
            )


def check_optimizer(model: Method) -> None:
    """Optimiser and scheduler can be made, and their numbers are of float32.

    Raises:
        InputError: they cannot, or are not.
    """
    try:
        made: Any = model.configure_optimizers()
    except InputError:
        raise
    except (ValueError, TypeError, ArithmeticError) as error:
        raise InputError(f"optimizer, scheduler: {one_line(error)}. Check their init_args.") from error
    for group in (made["optimizer"] if isinstance(made, dict) else made).param_groups:
        for name, value in group.items():
            if isinstance(value, int | float) and abs(value) > MOST_NUMBER:
                raise InputError(f"optimizer: {name} must be a number of float32, but got {value:g}. Lower it.")


def check_callbacks(
    callbacks: Iterable[Any], model: Method, datamodule: LightningDataModule, stage: str, ends: bool
) -> None:
    """The callbacks fit the method, the data and a fit that has a planned end or none.

    Raises:
        InputError: naming the callback.
    """
    callbacks = list(callbacks)
    check_averages(callbacks)
    check_settings_once(callbacks)
    for callback in callbacks:
        if isinstance(callback, OpenSetScore) and stage in ("fit", "test"):
            callback.check(datamodule)
        if stage == "fit" and isinstance(callback, EpochAveraging):
            callback.check(ends)
        if stage == "fit" and isinstance(callback, WeightAnnealing | MarginMapPictures):
            callback.check(model)
        if stage == "fit" and isinstance(callback, BackboneFinetuning) and not hasattr(model, "backbone"):
            raise InputError(
                f"{type(callback).__name__}: the module must have a part named backbone, but {type(model).__name__} "
                "has none. Start from the weights of another run with init= or student_init=, and a lower rate with "
                "init_lr=; write a BaseFinetuning of your own to freeze parts."
            )


def check_resume(path: str, checkpoint: Mapping[str, Any], model: Method, epochs: int | None) -> None:
    """A fit can be resumed only from a complete checkpoint of the same method and optimiser, with epochs left.

    Args:
        path: the checkpoint, for messages.
        checkpoint: as read.
        model: the method.
        epochs: ``max_epochs`` of the trainer.

    Raises:
        InputError: naming what differs.
    """
    if not checkpoint.get("optimizer_states"):
        raise InputError(
            f"ckpt_path: {path!r} holds weights only and cannot be resumed. Resume from last.ckpt, or start from "
            "these weights with init= (Supervised) or student_init=."
        )
    trained, method = checkpoint[KEY].get("method"), type(model).__name__
    if trained != method:
        raise InputError(
            f"ckpt_path: {path!r} was trained by {trained}, this is {method}. Start from its weights with init= "
            "(Supervised) or student_init= instead."
        )
    made: Any = model.configure_optimizers()
    optimizer = made["optimizer"] if isinstance(made, dict) else made
    states = (checkpoint["optimizer_states"][0], optimizer.state_dict())
    theirs, ours = (set(state["param_groups"][0]) - {"initial_lr"} for state in states)  # schedules add that one
    if theirs != ours:
        raise InputError(
            f"ckpt_path: {path!r} was trained with another optimiser than {type(optimizer).__name__}. Resume with "
            "its own config (config.yaml beside its checkpoints)."
        )
    _check_schedule(path, checkpoint, made)
    if epochs is not None and 0 <= epochs < checkpoint.get("epoch", 0):
        raise InputError(
            f"ckpt_path: {path!r} is from epoch {checkpoint['epoch']}, beyond max_epochs={epochs}. Raise "
            "--trainer.max_epochs."
        )


def check_resumed_step(path: str, checkpoint: Mapping[str, Any], datamodule: LightningDataModule, many: int) -> None:
    """A fit that resumes in the middle of an epoch reads as many windows per step as before.

    Args:
        path: the checkpoint, for messages.
        checkpoint: as read.
        datamodule: of the fit.
        many: its processes.

    Raises:
        InputError: with both numbers.
    """
    if isinstance(datamodule, WindowDataModule) and in_mid_epoch(checkpoint):
        state = checkpoint.get(type(datamodule).__qualname__) or {}
        check_step(state.get("step_windows"), datamodule.batch_size * many, repr(path))


def _check_schedule(path: str, checkpoint: Mapping[str, Any], made: Any) -> None:
    """A schedule that is spread over a fit comes from the checkpoint, with the length that was planned then."""
    theirs: Mapping[str, Any] = next(iter(checkpoint.get("lr_schedulers") or []), {})
    config = made.get("lr_scheduler") if isinstance(made, dict) else None
    ours = config["scheduler"].state_dict() if config else {}
    then, now = theirs.get("total_steps"), ours.get("total_steps")
    if then is not None and now is not None and then != now:
        raise InputError(
            f"ckpt_path: {path!r} is of a schedule over {then} steps, but this fit has {now}. Resume with the planned "
            "length (max_epochs, batch_size), or start a new fit from its weights with init= or student_init=."
        )
