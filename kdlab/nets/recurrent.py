"""Recurrent networks for signals: several layers, read at the last sample or by attention."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kdlab import autocast
from kdlab.nets.base import Backbone
from kdlab.types import InputError

_KINDS: dict[str, type[nn.Module]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class _Recurrent(Backbone):
    """Layers of one kind, one after the other, so that each has a tap."""

    def _assemble(self, kind: str, layers: int, hidden: int, dropout: float) -> None:
        if kind not in _KINDS or layers < 1 or hidden < 1 or not 0 <= dropout < 1:
            raise InputError(
                f"{type(self).__name__}: must have kind {', '.join(map(repr, _KINDS))}, layers >= 1, hidden >= 1 and "
                f"dropout from 0 to below 1, but got kind={kind!r}, layers={layers}, hidden={hidden}, "
                f"dropout={dropout}. "
                "Correct them."
            )
        widths = [self.in_channels] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList(_KINDS[kind](width, hidden, batch_first=True) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, self.num_classes)

    def _states(self, x: Tensor) -> list[Tensor]:
        """Hidden states of every layer, ``(B, H, T)``, never in half precision: not every CPU has an LSTM for that."""
        if autocast.is_on(x.device.type):
            with autocast.off(x.device.type):
                return self._states(x)
        states = x.transpose(1, 2)
        out: list[Tensor] = []
        for layer in self.layers:
            states = layer(self.dropout(states) if out else states)[0]
            out.append(states.transpose(1, 2))
        return out


class RecurrentNet(_Recurrent):
    """RNN, LSTM or GRU of several layers over a window; the last state of the last layer makes the logits.

    Taps are the hidden states of the layers along time, ``"stage1"``, ``"stage2"``, ..., one per layer, and the
    ``"embedding"``, the state after the last sample.

    Args:
        kind: ``"lstm"``, ``"gru"`` or ``"rnn"`` (tanh).
        layers: how many layers; three have the taps that other nets have.
        hidden: H, size of a hidden state.
        dropout: share of the states that is dropped between layers in training.
        in_channels: channels of the view.
        num_classes: number of classes.

    Shapes:
        ``(B, C, T)`` to logits ``(B, K)``; taps are ``(B, H, T)``, the embedding is ``(B, H)``.

    Raises:
        InputError: for an unknown kind or a number out of range.

    References:
        Elman, Finding structure in time, Cognitive Science 14, 1990, doi:10.1207/s15516709cog1402_1; Hochreiter and
        Schmidhuber, Long short-term memory, Neural Computation 9, 1997, doi:10.1162/neco.1997.9.8.1735; Cho et al.,
        Learning phrase representations using RNN encoder-decoder, EMNLP 2014, arXiv:1406.1078.

    Example:
        >>> net = RecurrentNet("lstm", layers=2, hidden=8, in_channels=3, num_classes=5)
        >>> {name: tuple(tap.shape) for name, tap in net(torch.zeros(2, 3, 20)).features.items()}
        {'stage1': (2, 8, 20), 'stage2': (2, 8, 20), 'embedding': (2, 8)}
    """

    paper: ClassVar[tuple[str, ...]] = ("elman1990finding", "hochreiter1997long", "cho2014learning")

    def __init__(
        self,
        kind: Literal["lstm", "gru", "rnn"] = "lstm",
        layers: int = 3,
        hidden: int = 64,
        dropout: float = 0.0,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__(in_channels, num_classes)
        self._assemble(kind, layers, hidden, dropout)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Hidden states of the layers, and the last one of the last layer."""
        states = self._states(x)
        features = {f"stage{i}": state for i, state in enumerate(states, start=1)}
        return {**features, "embedding": states[-1][..., -1]}


class AttentionLSTM(_Recurrent):
    r"""LSTM encoder whose states are read by attention: every sample of a window can be heard, not only the last.

    .. math:: a_t = \operatorname{softmax}_t(v^\top \tanh(W h_t + b)), \qquad e = \sum_t a_t h_t

    Taps are the hidden states of the layers along time, ``"stage1"``, ``"stage2"``, ..., one per layer, ``"attention"``
    (the weights ``a``) and the ``"embedding"`` ``e``.

    Args:
        layers: how many LSTM layers; three have the taps that other nets have.
        hidden: H, size of a hidden state.
        attention: size of the vector ``v``.
        dropout: share of the states that is dropped between layers in training.
        in_channels: channels of the view.
        num_classes: number of classes.

    Shapes:
        ``(B, C, T)`` to logits ``(B, K)``; stages are ``(B, H, T)``, the attention is ``(B, 1, T)`` and sums to 1, the
        embedding is ``(B, H)``.

    Raises:
        InputError: for a number out of range.

    References:
        Bahdanau, Cho and Bengio, Neural machine translation by jointly learning to align and translate, ICLR 2015,
        arXiv:1409.0473; with a learned query, as Yang et al., Hierarchical attention networks for document
        classification, NAACL 2016, doi:10.18653/v1/N16-1174.

    Example:
        >>> net = AttentionLSTM(layers=1, hidden=8, in_channels=3, num_classes=5)
        >>> tuple(net(torch.zeros(2, 3, 20)).features["attention"].shape)
        (2, 1, 20)
    """

    paper: ClassVar[tuple[str, ...]] = ("bahdanau2015neural", "yang2016hierarchical", "hochreiter1997long")

    def __init__(
        self,
        layers: int = 3,
        hidden: int = 64,
        attention: int = 64,
        dropout: float = 0.0,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__(in_channels, num_classes)
        self._assemble("lstm", layers, hidden, dropout)
        if attention < 1:
            raise InputError(f"AttentionLSTM: attention must be at least 1, but got {attention}. Raise it.")
        self.score = nn.Sequential(nn.Linear(hidden, attention), nn.Tanh(), nn.Linear(attention, 1, bias=False))

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Hidden states of the layers, the attention over time, and the states that it picks."""
        states = self._states(x)
        last = states[-1]
        weights = torch.softmax(self.score(last.transpose(1, 2)).transpose(1, 2), dim=2).to(last.dtype)
        features = {f"stage{i}": state for i, state in enumerate(states, start=1)}
        return {**features, "attention": weights, "embedding": (weights * last).sum(2)}
