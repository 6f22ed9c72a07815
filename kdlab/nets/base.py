"""The base of every net: a `Backbone` that standardises its own view and returns an `Output`.

`Conv1d`, `BatchNorm1d` and `MaxPool1d` are torch's, and read a signal ``(B, C, T)`` as an image ``(B, C, 1, T)`` too.
An image can lie in memory as channels last, for which a CPU has faster kernels.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.nets.described import check, make
from kdlab.types import InputError, Output

#: how the features of a net lie in memory
MemoryFormat = Literal["channels_last", "contiguous"]
Replacement = str | Callable[[re.Match[str]], str]


class Conv1d(nn.Conv1d):
    """``torch.nn.Conv1d`` that reads ``(B, C, 1, T)`` too, with the same weights; padding is with zeros.

    Example:
        >>> layer, x = Conv1d(2, 3, 3, stride=2, padding=1), torch.randn(4, 2, 10)
        >>> layer(x.unsqueeze(2)).squeeze(2).allclose(layer(x), atol=1e-6)
        True
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if isinstance(padding, str):  # torch pads even kernels so too, with a warning
            input, padding = F.pad(input, self._reversed_padding_repeated_twice), (0,)
        if input.ndim < 4:
            return F.conv1d(input, weight, bias, self.stride, padding, self.dilation, self.groups)
        stride, dilation = (1, self.stride[0]), (1, self.dilation[0])
        return F.conv2d(input, weight.unsqueeze(2), bias, stride, (0, padding[0]), dilation, self.groups)


class BatchNorm1d(nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` that reads ``(B, C, 1, T)`` too."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim != 4:
            super()._check_input_dim(input)


class MaxPool1d(nn.MaxPool1d):
    """``torch.nn.MaxPool1d`` that reads ``(B, C, 1, T)`` too.

    Example:
        >>> layer, x = MaxPool1d(3, stride=2, padding=1), torch.randn(4, 2, 10)
        >>> layer(x.unsqueeze(2)).squeeze(2).equal(layer(x))
        True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maxima along the last axis."""
        out: Tensor = super().forward(input) if input.ndim != 4 else self._pool_picture(input)
        return out

    def _pool_picture(self, x: Tensor) -> Tensor:
        kernel, stride, padding = cast(tuple[int, int, int], (self.kernel_size, self.stride, self.padding))
        return F.max_pool2d(x, (1, kernel), (1, stride), (0, padding))


#: the layers of a net from one definition for signals (1) and images (2); all read signals as images too
CONV: dict[int, type[nn.Module]] = {1: Conv1d, 2: nn.Conv2d}
NORM: dict[int, type[nn.Module]] = {1: BatchNorm1d, 2: nn.BatchNorm2d}
MAX_POOL: dict[int, type[nn.Module]] = {1: MaxPool1d, 2: nn.MaxPool2d}


def kaiming(net: nn.Module) -> None:
    """Draw every convolution of ``net`` from a normal distribution with variance 2 / fan-out; biases become 0."""
    for module in net.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def renamed(state: Mapping[str, Tensor], rules: Iterable[tuple[str, Replacement]]) -> dict[str, Tensor]:
    """Weights under other names.

    Args:
        state: name -> tensor.
        rules: pattern and replacement, applied in their order to every name.

    Example:
        >>> list(renamed({"fc.weight": torch.zeros(1)}, [(r"^fc\\.", "head.")]))
        ['head.weight']
    """
    result = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    return result


class Standardize(nn.Module):
    """Subtract a mean and divide by a standard deviation per channel; the first layer of every net.

    ``y[b, c, ...] = (x[b, c, ...] - mean[c]) / std[c]``

    The numbers are buffers: they start as the identity, are filled once from the training split of the view that the
    net reads, and travel in the checkpoint, so a trained net is never separated from its normalisation.

    Args:
        channels: number of channels C.

    Shapes:
        ``(B, C, *S)`` to ``(B, C, *S)``.

    Example:
        >>> import torch
        >>> layer = Standardize(2)
        >>> layer.fill([1.0, 0.0], [2.0, 1.0])
        >>> layer(torch.tensor([[[3.0], [3.0]]])).tolist()
        [[[1.0], [3.0]]]
    """

    mean: Tensor
    std: Tensor
    filled: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def fill(self, mean: Sequence[float] | Tensor | None = None, std: Sequence[float] | Tensor | None = None) -> None:
        """Set the numbers; without arguments the identity is confirmed (the view is already scaled).

        A standard deviation of zero (a channel that never moves) becomes 1.

        Raises:
            InputError: when the number of channels differs or a number is not finite.
        """
        mean = torch.zeros_like(self.mean) if mean is None else torch.as_tensor(mean, dtype=torch.float64)
        std = torch.ones_like(self.std) if std is None else torch.as_tensor(std, dtype=torch.float64)
        if mean.shape != self.mean.shape or std.shape != self.std.shape:
            raise InputError(
                f"Standardize.fill: mean and std must be {self.mean.numel()} numbers, one per channel, but got "
                f"{tuple(mean.shape)} and {tuple(std.shape)}. Pass one number per channel of the view that the "
                "net reads."
            )
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all()):
            raise InputError(
                "Standardize.fill: mean and std must be finite, but got NaN or infinity. Check the training data."
            )
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, torch.ones_like(std)))
        self.filled.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Standardise ``x``; in float64 where it is that, such as a view in physical units, whatever the net's type."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        y = (x - self.mean.view(shape)) / self.std.view(shape)
        return y if x.dtype != torch.float64 else y.to(self.mean.dtype)


class Backbone(nn.Module):
    """Base class of the nets: one `Standardize` in front, one `Output` behind, and a description that rebuilds it.

    A subclass calls ``super().__init__(in_channels, num_classes, ndim, stride)`` and implements :meth:`taps`, which
    returns named taps; the last of them must be ``"embedding"`` ``(B, D)``, from which ``self.head`` makes the logits.

    Args:
        in_channels: channels C of the view that the net reads.
        num_classes: number of classes K.
        ndim: 1 for signals ``(B, C, T)``, 2 for images ``(B, C, H, W)``.
        stride: product of the strides, the shortest side that the net can read.

    A subclass whose layers read images, and signals as images ``(B, C, 1, T)`` (`Conv1d` and `BatchNorm1d` do),
    sets ``lays_out = True``. Its features may then lie in memory as channels last; names and shapes of weights
    and taps stay the same, and outputs are equal to float32 rounding.

    Attributes:
        spec: ``{"class_path", "init_args"}`` with which :func:`build` makes the same net again.
        memory_format: ``"channels_last"`` or ``"contiguous"``; ``None`` is channels last on the CPU, where it
            is faster, and for contiguous elsewhere. It is a setting of this run, in no checkpoint.
    """

    #: whether :meth:`taps` reads images in any memory format, and signals as images
    lays_out: ClassVar[bool] = False
    #: whether the output for a window, in evaluation too, depends on the others in its batch
    batch_relational: bool = False
    #: whether its argument ``net`` may be of any class of ``torch.nn.Module``; such a net is not put into another such
    holds_any_net: ClassVar[bool] = False
    #: keys of `kdlab.citations.BIBTEX`
    paper: ClassVar[tuple[str, ...]] = ()
    #: paths of parts that stay in evaluation mode, a setting of this run, in no checkpoint
    frozen: tuple[str, ...] = ()
    #: the argument with which it reads shorter windows and smaller images, where there is one, for messages
    smaller: str = ""

    memory_format: MemoryFormat | None
    spec: dict[str, Any]
    standardize: Standardize
    head: nn.Module

    def __new__(cls, *args: Any, **kwargs: Any) -> Backbone:
        """Remember the arguments, so that a checkpoint can describe the net that it holds."""
        self = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(None, *args, **kwargs)  # partial: unpickling passes none
        bound.apply_defaults()
        kinds = {name: parameter.kind for name, parameter in bound.signature.parameters.items()}
        init_args: dict[str, Any] = {}
        for name, value in list(bound.arguments.items())[1:]:  # without self
            if kinds[name] is inspect.Parameter.VAR_KEYWORD:
                init_args |= value
            elif kinds[name] is not inspect.Parameter.VAR_POSITIONAL:
                init_args[name] = value
        object.__setattr__(self, "spec", {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": init_args})
        return self

    def __init__(self, in_channels: int, num_classes: int, ndim: int = 1, stride: int = 1) -> None:
        super().__init__()
        if in_channels < 1 or num_classes < 2 or ndim not in (1, 2):
            raise InputError(
                f"{type(self).__name__}: must have in_channels >= 1, num_classes >= 2 and ndim 1 (signals) or 2 "
                f"(images), but got in_channels={in_channels}, num_classes={num_classes}, ndim={ndim}. Correct them."
            )
        self.in_channels, self.num_classes, self.ndim, self.stride = in_channels, num_classes, ndim, stride
        self.memory_format = None
        self.standardize = Standardize(in_channels)

    @classmethod
    def rebuild(cls, init_args: Mapping[str, Any]) -> Backbone:
        """Make the net again from the arguments in a checkpoint: plain values within bounds, but untrusted."""
        return cls(**init_args)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        for path in self.frozen:
            self.get_submodule(path).eval()
        return self

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Named features of the standardised view ``x``, the last one ``"embedding"`` ``(B, D)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement taps(x).")

    def embed(self, stage3: Tensor) -> Tensor:
        """The embedding ``(B, D)`` that the rest of the net computes from a map in the place of the tap ``"stage3"``.

        Raises:
            InputError: of nets that have no such map.
        """
        raise InputError(
            f"{type(self).__name__}: embed must compute the embedding from a map, but is not implemented. Take "
            "one of the residual nets, VGG or "
            "MobileNetV2, or implement embed(stage3)."
        )

    def classify(self, stage3: Tensor) -> Tensor:
        """The logits ``(B, K)`` that the rest of the net computes from a map in the place of the tap ``"stage3"``.

        In nets of three stages the rest is pooling and a linear layer, behind norm and ReLU in a `WideResNet`; in
        others it has layers of its own. The map is taken in the precision of the net.
        """
        logits: Tensor = self.head(self.embed(stage3.to(next(self.parameters()).dtype)))
        return logits

    def forward(self, x: Tensor) -> Output:
        """Logits and taps of a batch ``(B, C, *S)``.

        Raises:
            InputError: when rank, channels or size of ``x`` are not what the net reads; names both.
        """
        if x.ndim != self.ndim + 2 or x.shape[1] != self.in_channels or min(x.shape[2:]) < self.stride:
            axes = ", ".join(("T",) if self.ndim == 1 else ("H", "W"))
            fits = x.ndim == self.ndim + 2 and x.shape[1] == self.in_channels
            remedy = "Set in_channels and ndim for the view that this net reads"
            if fits:
                remedy = "Use a longer window or a larger image" + (f", or {self.smaller}" if self.smaller else "")
            raise InputError(
                f"{type(self).__name__}: x must be of shape (B, {self.in_channels}, {axes}) with {axes} at least "
                f"{self.stride}, but got {tuple(x.shape)}. {remedy}."
            )
        x = self.standardize(x)
        last = self.memory_format == "channels_last" or (self.memory_format is None and x.device.type == "cpu")
        features = self._taps_channels_last(x) if self.lays_out and last else self.taps(x)
        return Output(self.head(features["embedding"]), features)

    def _taps_channels_last(self, x: Tensor) -> dict[str, Tensor]:
        image = x.unsqueeze(2) if self.ndim == 1 else x
        features = self.taps(image.contiguous(memory_format=torch.channels_last))
        if self.ndim == 2:
            return features
        return {name: feature.squeeze(2) if feature.ndim == 4 else feature for name, feature in features.items()}


def build(spec: Mapping[str, Any], weights: Mapping[str, Tensor] | None = None) -> Backbone:
    """Make the net that ``spec`` (`Backbone.spec`, as checkpoints carry it) describes, with fresh weights.

    A doctored checkpoint can neither have anything else called than nets nor any module imported: every class that it
    names, at any level, is found among the loaded subclasses of `Backbone`, in an `Adapter` also among those of
    ``torch.nn.Module`` (see :func:`kdlab.nets.register`), and all arguments are checked to be plain values within
    bounds before the first of them is made.

    Args:
        spec: the description.
        weights: what the net is going to hold, which bounds its size.

    Raises:
        InputError: when there is no such class, it does not take these arguments, or the net would be too large.
    """
    net: Backbone = remake(spec, weights, inside=False)
    return net


def remake(spec: Mapping[str, Any], weights: Mapping[str, Tensor] | None = None, inside: bool = True) -> Any:
    """As :func:`build`; ``inside`` an `Adapter`, any class of nets."""
    cls, init_args = check(spec, _wraps, inside)
    path = spec["class_path"]
    if isinstance(cls, type) and issubclass(cls, Backbone):
        return make(path, lambda: cls.rebuild(init_args), weights)
    if not inside:
        raise InputError(
            f"net {path!r}: must be a net of kdlab (a subclass of Backbone), but it is none. The file is damaged; pass "
            "the net yourself with net=."
        )
    return make(path, lambda: cls(**init_args), weights)


def _wraps(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, Backbone) and cls.holds_any_net
