"""Loaders of batches, and where an interrupted training resumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.accelerators.cuda import CUDAAccelerator
from torch import Generator
from torch.utils.data import DataLoader, Dataset, Sampler

from kdlab.types import Batch, InputError


class WindowLoader(DataLoader[Batch]):
    """A loader that needs no state to resume: its sampler gets the epoch and the batch to begin with."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing; Lightning resumes an epoch in its middle where this method is there."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load."""


def as_is(batch: Any) -> Any:
    """Collate nothing: the data set already returns complete batches."""
    return batch


def make_loader(
    dataset: Dataset[Batch],
    sampler: Sampler[Any],
    *,
    batch_size: int,
    num_workers: int,
    pin_memory: bool,
    context: str | None,
) -> DataLoader[Batch]:
    """A loader of batches in the order of a sampler.

    Args:
        dataset: returns complete batches.
        sampler: the order.
        batch_size: windows per batch and process.
        num_workers: processes that fetch batches.
        pin_memory: batches are in page-locked memory.
        context: how workers are started; None: as on this platform.
    """
    workers = num_workers > 0
    return WindowLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=as_is,
        pin_memory=pin_memory,
        persistent_workers=workers,
        multiprocessing_context=context if workers else None,
        generator=Generator().manual_seed(0),  # a loader of its own never moves torch's global random state
    )


def ranks(trainer: Trainer | None) -> tuple[int, int]:
    """Number of processes, and which of them this is."""
    return (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)


def reads_cuda(trainer: Trainer | None) -> bool:
    """Is a CUDA GPU the reader of the batches?"""
    return trainer is not None and isinstance(trainer.accelerator, CUDAAccelerator)


def check_step(then: int | None, now: int, ckpt: str) -> None:
    """A fit that resumes in the middle of an epoch reads as many windows per step as before, or it would skip others.

    Args:
        then: windows per step of the checkpoint, over all processes; None: it does not say.
        now: windows per step.
        ckpt: the checkpoint, for the message.

    Raises:
        InputError: they differ.
    """
    if then is not None and then != now:
        raise InputError(
            f"batch_size x devices must be {then} windows per step, as in the epoch in whose middle {ckpt} was "
            f"written, but got {now}. Resume with the same product of batch_size and devices, or from a checkpoint "
            "of the end of an epoch."
        )


def in_mid_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Was a checkpoint written in the middle of an epoch, see :func:`resume_point`?"""
    progress = (checkpoint.get("loops") or {}).get("fit_loop", {}).get("epoch_loop.batch_progress", {})
    return not progress.get("is_last_batch", True) and progress.get("current", {}).get("processed", 0) > 0


def resume_point(trainer: Trainer | None) -> tuple[int, int]:
    """The epoch to begin with, and how many of its batches were already trained on."""
    if trainer is None:
        return 0, 0
    loop = trainer.fit_loop
    epoch: Any = loop.epoch_progress
    batch: Any = loop.epoch_loop.batch_progress
    if not (loop.restarting or loop.is_resuming):
        return epoch.current.processed, 0
    counted = epoch.current.processed == epoch.current.ready
    if batch.is_last_batch:
        if counted:  # under max_steps Lightning would repeat the finished epoch without batches
            loop._restarting = loop.epoch_loop.restarting = False
        return epoch.current.processed + (not counted), 0
    if counted and batch.current.processed > 0:
        # Lightning counts an epoch that max_steps, a signal or a callback cut short as done: open it again
        for progress in (epoch.current, epoch.total):
            progress.processed -= 1
            progress.completed = progress.processed
        loop.restarting = True
    return epoch.current.processed, batch.current.processed
