"""``kdlab nets``: what the nets cost on one window or image, as a Markdown table."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import Any

from kdlab import nets, usage
from kdlab.evaluate.cost import latency, macs, parameters
from kdlab.evaluate.markdown import markdown
from kdlab.types import InputError

#: name -> class and arguments; names of nets that there is only for signals end the table
NETS: dict[str, tuple[type[nets.Backbone], dict[str, Any]]] = {
    **{
        f"WRN{depth}-{width}": (nets.WideResNet, {"depth": depth, "width": width})
        for depth, width in ((16, 1), (16, 2), (16, 3), (16, 8), (28, 1), (28, 3), (40, 1), (40, 2))
    },
    **{f"ResNet{depth}": (nets.CifarResNet, {"depth": depth}) for depth in (8, 20, 26, 44)},
    **{
        f"ResNet{depth} w={width}": (nets.ResNet, {"depth": depth, "width": width})
        for depth in (18, 50)
        for width in (8, 64)
    },
    **{f"ResNet{depth} cifar": (nets.ResNet, {"depth": depth, "stem": "cifar"}) for depth in (18, 50)},
    **{f"VGG{depth}": (nets.VGG, {"depth": depth}) for depth in (8, 13)},
    "MobileNetV2 w=0.5": (nets.MobileNetV2, {"width": 0.5}),
    **{kind.upper(): (nets.RecurrentNet, {"kind": kind}) for kind in ("rnn", "gru", "lstm")},
    "AttentionLSTM": (nets.AttentionLSTM, {}),
    "Transformer": (nets.TransformerEncoder, {}),
    "FCN": (nets.FCN, {}),
    "InceptionTime": (nets.InceptionTime, {}),
    "MultiScaleAttention": (nets.MultiScaleAttention, {}),
    "Seq2Seq": (nets.Seq2Seq, {}),
}
#: of the timings of one net; a net that takes long varies little
_SECONDS = 0.06
_SIGNALS_ONLY = (
    nets.RecurrentNet,
    nets.AttentionLSTM,
    nets.TransformerEncoder,
    nets.FCN,
    nets.InceptionTime,
    nets.MultiScaleAttention,
    nets.Seq2Seq,
)


def main(words: Sequence[str]) -> str:
    """Print and return the table for ``words``; the name of the net that is measured goes to the standard error stream.

    Args:
        words: command-line words after ``kdlab nets``.

    Raises:
        InputError: when a number is out of range or no net has a name like ``--only``.
    """
    given = usage.nets().parse_args(list(words))
    if min(given.channels, given.length, *given.size, given.runs) < 1 or given.classes < 2:
        raise InputError(
            "kdlab nets: channels, length, size and runs must be at least 1 and classes at least 2. Raise them."
        )
    rows = list(_rows(given))
    if not rows:
        raise InputError(f"kdlab nets: --only must fit one of {', '.join(NETS)}, but got {given.only!r}. Name one.")
    table = markdown(rows)
    print(table)
    return table


def _rows(given: argparse.Namespace) -> Iterator[dict[str, str]]:
    shapes: list[tuple[int, ...]] = [] if given.ndim == 2 else [(given.channels, given.length)]
    shapes += [] if given.ndim == 1 else [(given.channels, size, size) for size in given.size]
    for ndim, several in itertools.groupby(shapes, lambda shape: len(shape) - 1):
        sizes = list(several)
        rows: list[list[dict[str, str]]] = [[] for _ in sizes]  # a size after the other, of nets that are made once
        for name, (cls, arguments) in NETS.items():
            if fnmatch(name.lower(), given.only.lower()) and (ndim == 1 or cls not in _SIGNALS_ONLY):
                only = {} if cls in _SIGNALS_ONLY else {"ndim": ndim}
                net = cls(in_channels=given.channels, num_classes=given.classes, **only, **arguments)
                for shape, of_size in zip(sizes, rows, strict=True):
                    row = {"net": name, "view": f"{ndim}-D {'x'.join(map(str, shape))}"}
                    print(f"measuring {row['net']}, {row['view']}", file=sys.stderr, flush=True)
                    of_size.append(row | {"parameters": f"{parameters(net):,}"} | _cost(net, shape, given.runs))
        yield from itertools.chain(*rows)


def _cost(net: nets.Backbone, shape: tuple[int, ...], runs: int) -> dict[str, str]:
    if min(shape[1:]) < net.stride:
        return {"MACs (M)": f"needs {net.stride}", "CPU ms, batch 1": ""}
    return {
        "MACs (M)": f"{macs(net, shape) / 1e6:.2f}",
        "CPU ms, batch 1": f"{latency(net, shape, runs, _SECONDS):.2f}",
    }
