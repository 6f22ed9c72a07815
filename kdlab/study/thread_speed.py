"""How long a training step takes with one thread and with more, for the net and the batch of a job."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from kdlab.methods.base import Method
from kdlab.methods.random_state import random_states, set_random_states

#: numbers of threads that are tried, beside all that there are
TRIED = (1, 2, 4)
#: a number of threads is taken for another with fewer only where its step takes at most this share of the time
GAIN = 0.9


def candidates(processes: int, cores: int | None = None) -> list[int]:
    """The numbers of threads that a job may have, at most its share of the cores.

    >>> candidates(1, 16), candidates(4, 16), candidates(8, 2)
    ([1, 2, 4, 16], [1, 2, 4], [1])

    Args:
        processes: jobs that run at a time.
        cores: that there are; None: those of this process.
    """
    most = max(1, (cores or usable_cores()) // processes)
    return sorted({number for number in (*TRIED, most) if number <= most})


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def step_seconds(
    method: Method, x: Tensor, numbers: Sequence[int], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Median seconds of a step with so many threads: forward and backward pass of the net, and the optimiser's step.

    The numbers take turns, so that load that comes and goes meets all of them. The number of threads and the random
    numbers of this process are afterwards as they were; the weights of the method are not.

    Args:
        method: whose net and optimiser take the steps.
        x: a batch in the view of the net.
        numbers: of threads.
        seconds: no further turn begins after these; there is one at least.
        clock: seconds.
    """
    before, states = torch.get_num_threads(), random_states()
    method.net.train()
    if not method.net.standardize.filled:
        method.net.standardize.fill()
    optimizer = method.make_optimizer(list(method.net.parameters()))
    found: dict[int, list[float]] = {number: [] for number in numbers}
    begin = clock()
    try:
        _step(method, x, optimizer)  # the first step allocates
        while not found[numbers[-1]] or clock() - begin < seconds:
            for number in numbers:
                torch.set_num_threads(number)
                start = clock()
                _step(method, x, optimizer)
                found[number].append(clock() - start)
    finally:
        torch.set_num_threads(before)
        set_random_states(states)
    return {number: statistics.median(times) for number, times in found.items()}


def _step(method: Method, x: Tensor, optimizer: torch.optim.Optimizer) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = -method.net(x).logits.float().log_softmax(1)[:, 0].mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]  # as Lightning steps


def fewest(seconds: Mapping[int, float]) -> int:
    """The number of threads to take: one with more is taken where it makes a step clearly shorter.

    >>> fewest({1: 1.0, 2: 0.95, 4: 0.5}), fewest({1: 1.0, 2: 0.6, 4: 0.58}), fewest({1: 1.0, 2: 16.0})
    (4, 2, 1)
    """
    chosen, *more = sorted(seconds)
    for number in more:
        if seconds[number] <= GAIN * seconds[chosen]:
            chosen = number
    return chosen


def in_words(seconds: Mapping[int, float]) -> str:
    """The measured times.

    >>> in_words({1: 0.012, 2: 0.0084})
    '12.0 ms a step with 1 thread, 8.4 ms with 2'
    """
    (first, one), *more = sorted(seconds.items())
    named = f"{1000 * one:.1f} ms a step with {first} thread" + "s" * (first > 1)
    return ", ".join([named, *(f"{1000 * time:.1f} ms with {number}" for number, time in more)])
