"""The worker processes of a study: their GPUs and threads, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from kdlab.study import ends

_others = 0  # jobs that other worker processes of the study may run meanwhile
GRACE = 10.0  # seconds that a worker has to end its job in, before it is killed


def beside() -> int:
    """How many other jobs the study runs at a time, beside the one of this process."""
    return _others


@contextmanager
def pool_of(processes: int, threads: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with the block; at once, where it ends with an error or a signal.

    Args:
        processes: their number.
        threads: of each; None: its share of the cores.
    """
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    pool = ProcessPoolExecutor(processes, context, _begin_worker, (counter, processes, threads))
    try:
        yield pool
    except BaseException:
        _end_workers(list((getattr(pool, "_processes", None) or {}).values()))
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_workers(workers: Sequence[Any]) -> None:
    """Have workers end their jobs, and kill those that do not; a second signal kills them right away."""
    try:
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + GRACE
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.kill()


def _begin_worker(counter: Any, processes: int, threads: int | None) -> None:
    """A worker's share of the machine; it ends with the study, also where that was killed."""
    global _others
    _others = processes - 1
    ends.end_worker_by_signals()
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():  # the study was killed while this process started
        os._exit(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    if len(gpus := gpus_here()) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    torch.set_num_threads(threads or max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // processes)))


def gpus_here() -> list[str]:
    """The GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    given = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    return given or [str(gpu) for gpu in range(torch.cuda.device_count())]


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
