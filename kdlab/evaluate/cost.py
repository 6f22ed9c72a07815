"""What a net and a view cost on a small device: parameters, multiply-accumulates, milliseconds."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdlab.types import InputError
from kdlab.views import View

_WARM_UP = 5
_FEWEST = 3  # timings, however long they take


def parameters(net: nn.Module) -> int:
    """Number of trainable and frozen weights; buffers (running statistics, standardisation) are not counted.

    Args:
        net: any net.

    Example:
        >>> from kdlab.nets import WideResNet
        >>> parameters(WideResNet(16, 1, ndim=1, in_channels=3, num_classes=14))
        61374
    """
    return sum(p.numel() for p in net.parameters())


def macs(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one sample: convolutions and matrix products, attention included; no biases, no norms.

    Args:
        net: the net; a copy in evaluation mode is used.
        shape: of one sample, ``(C, T)`` or ``(C, H, W)``.

    Raises:
        InputError: when the net does not read this shape.

    Example:
        >>> from kdlab.nets import WideResNet
        >>> macs(WideResNet(16, 1, ndim=1, in_channels=3, num_classes=14), (3, 500))
        10056896
    """
    shapes: dict[int, Any] = {id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in net.parameters()}
    twin = copy.deepcopy(net, shapes).eval().to("meta")  # nothing is computed, and nothing runs as a fused kernel
    x = torch.empty(1, *shape, device="meta")
    recurrent = [_counted(module) for module in twin.modules() if isinstance(module, nn.RNNBase)]
    with torch.enable_grad(), FlopCounterMode(display=False) as flops:
        twin(x)
    return int(flops.get_total_flops()) // 2 + sum(sum(counts) for counts in recurrent)


def _counted(module: nn.RNNBase) -> list[int]:
    """Let a recurrent layer of shapes alone count its products, in place of every step of time one by one.

    Each weight matrix is applied once to every sample at every moment.
    """
    counts: list[int] = []
    steps = module.forward
    size = sum(weight.numel() for name, weight in module.named_parameters() if name.startswith("weight"))
    out = (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)

    def forward(x: Any, state: Any = None) -> Any:
        if not isinstance(x, torch.Tensor):
            return steps(x, state)  # packed sequences
        first = x[:, :1] if module.batch_first and x.dim() == 3 else x[:1]
        counts.append(size * (x.numel() - first.numel()) // x.shape[-1])
        return x.new_empty(*x.shape[:-1], out), steps(first, state)[1]

    module.forward = forward
    return counts


def latency(net: nn.Module, shape: tuple[int, ...], runs: int = 50, seconds: float = math.inf) -> float:
    """Median time of one sample (batch 1) on one thread of this CPU, in milliseconds.

    Args:
        net: the net; a copy in evaluation mode is measured, without gradients, after a warm-up.
        shape: of one sample, ``(C, T)`` or ``(C, H, W)``.
        runs: number of measurements.
        seconds: no measurement begins after so long, once there are three; a third of it in the warm-up.

    Raises:
        InputError: when ``runs`` is below 1, or the net does not read this shape.
    """
    twin = copy.deepcopy(net).cpu().eval()  # the net itself keeps its device and its mode
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return _median_ms(lambda: twin(x), runs, seconds)


def view_latency(view: View, channels: int, length: Any, runs: int = 50) -> float:
    """Median time that a view of one window takes on one thread of this CPU, in milliseconds.

    The windows are white noise in scaled units; their many extrema make them slow windows for persistence images.

    Args:
        view: the view.
        channels: channels of the window, before the view picks its own.
        length: samples T of the window; ``(H, W)`` of an image.
        runs: number of measurements.

    Raises:
        InputError: when ``runs`` is below 1, or the view does not read such windows.
    """
    size = (length,) if isinstance(length, int) else tuple(length)
    window = torch.randn(channels, *size, generator=torch.Generator().manual_seed(0))
    return _median_ms(lambda: view(window), runs)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _median_ms(call: Callable[[], object], runs: int, seconds: float = math.inf) -> float:
    if runs < 1:
        raise InputError(f"runs: must be at least 1, but got {runs}. Raise it.")
    with _one_thread():
        _timed(call, min(_WARM_UP, runs), seconds / 3, 1)
        return 1000 * statistics.median(_timed(call, runs, seconds, _FEWEST))


def _timed(call: Callable[[], object], most: int, seconds: float, least: int) -> list[float]:
    """Seconds of each of several calls, of which none begins after ``seconds`` once there are ``least``."""
    times: list[float] = []
    while len(times) < most and (len(times) < least or sum(times) < seconds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times
