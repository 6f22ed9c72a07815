"""LSTM encoder whose context vector is classified, and the decoder that makes the window again from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdlab import autocast
from kdlab.nets.recurrent import RecurrentNet


class Seq2Seq(RecurrentNet):
    r"""Encoder of an LSTM encoder-decoder: a linear layer reads its context vector.

    The context is the last state of the encoder, or with ``attention`` a mean of all its states whose weights the last
    one decides:

    .. math:: e = h_T \qquad \text{or} \qquad e = \sum_s a_s h_s, \quad a = \mathrm{softmax}_s(h_T^\top W h_s)

    `kdlab.Reconstruction` trains it without labels together with a `Decoder`, which is not part of the net.

    Taps are the hidden states of the layers along time, ``"stage1"``, ``"stage2"``, ..., one per layer, with
    ``attention`` ``"attention"`` (the weights ``a``), and the ``"embedding"`` ``e``.

    Args:
        layers: how many LSTM layers; three have the taps that other nets have.
        hidden: H, size of a hidden state.
        attention: whether context and decoder read all states of the encoder.
        dropout: share of the states that is dropped between layers in training.
        in_channels: channels of the view.
        num_classes: number of classes.

    Shapes:
        ``(B, C, T)`` to logits ``(B, K)``; stages are ``(B, H, T)``, the attention ``(B, 1, T)``, the embedding
        ``(B, H)``.

    Raises:
        InputError: for a number out of range.

    References:
        Sutskever, Vinyals and Le, Sequence to sequence learning with neural networks, NeurIPS 2014, arXiv:1409.3215;
        Srivastava, Mansimov and Salakhutdinov, Unsupervised learning of video representations using LSTMs, ICML 2015,
        arXiv:1502.04681; the attention as "general" of Luong, Pham and Manning, Effective approaches to attention-based
        neural machine translation, EMNLP 2015, doi:10.18653/v1/D15-1166.

    Example:
        >>> net = Seq2Seq(layers=1, hidden=8, attention=True, in_channels=3, num_classes=5)
        >>> output = net(torch.zeros(2, 3, 20))
        >>> tuple(output.features["attention"].shape), tuple(output.features["embedding"].shape)
        ((2, 1, 20), (2, 8))
    """

    paper: ClassVar[tuple[str, ...]] = (
        "sutskever2014sequence",
        "srivastava2015unsupervised",
        "luong2015effective",
    )

    def __init__(
        self,
        layers: int = 3,
        hidden: int = 64,
        attention: bool = False,
        dropout: float = 0.0,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__("lstm", layers, hidden, dropout, in_channels, num_classes)
        self.hidden = hidden
        self.score = nn.Linear(hidden, hidden, bias=False) if attention else None

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Hidden states of the layers, and the context vector."""
        states = self._states(x)
        features = {f"stage{i}": state for i, state in enumerate(states, start=1)}
        last = states[-1][..., -1]
        if self.score is None:
            return {**features, "embedding": last}
        weights = self.weights(last.unsqueeze(1), states[-1])
        return {**features, "attention": weights, "embedding": (weights * states[-1]).sum(2)}

    def weights(self, queries: Tensor, states: Tensor) -> Tensor:
        """The attention of queries ``(B, N, H)`` on states ``(B, H, T)``, ``(B, N, T)``; each row sums to 1."""
        assert self.score is not None
        return torch.softmax(self.score(queries) @ states, dim=2).to(states.dtype)


class Decoder(nn.Module):
    r"""An LSTM that makes the standardised window again, from its last sample to its first.

    It begins in the state ``e`` and reads ``e`` at every step. With the encoder's attention it also reads all states of
    the encoder:

    .. math:: \hat x_{T + 1 - t} = U d_t + b \qquad \text{or} \qquad
        \hat x_{T + 1 - t} = U \big[d_t;\ \textstyle\sum_s \mathrm{softmax}_s(d_t^\top W h_s)\, h_s\big] + b

    Args:
        net: the encoder, which is not kept.

    Shapes:
        The features of the encoder for ``(B, C, T)`` to ``(B, C, T)``.
    """

    def __init__(self, net: Seq2Seq) -> None:
        super().__init__()
        self.lstm = nn.LSTM(net.hidden, net.hidden, batch_first=True)
        self.out = nn.Linear(net.hidden * (1 if net.score is None else 2), net.in_channels)

    def forward(self, net: Seq2Seq, features: Mapping[str, Tensor]) -> Tensor:
        """The reconstruction, never in half precision: not every CPU has an LSTM for that.

        Args:
            net: the encoder.
            features: its taps for a batch.
        """
        kind = features["embedding"].device.type
        if autocast.is_on(kind):
            with autocast.off(kind):
                return self.forward(net, features)
        context, states = features["embedding"], features[f"stage{len(net.layers)}"]
        start = context.unsqueeze(0).contiguous()
        inputs = context.unsqueeze(1).expand(-1, states.shape[2], -1)
        made: Tensor = self.lstm(inputs, (start, torch.zeros_like(start)))[0]
        if net.score is not None:
            made = torch.cat([made, net.weights(made, states) @ states.transpose(1, 2)], 2)
        out: Tensor = self.out(made).transpose(1, 2).flip(2)
        return out
