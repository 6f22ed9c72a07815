"""Tracing a net into a program of ``torch.export`` or ONNX, with a free number of windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from kdlab.export.formats import INPUT, OUTPUT, need, quiet
from kdlab.export.origins import Origins, origins
from kdlab.types import InputError


def _traced_with(shape: tuple[int, ...]) -> dict[str, Any]:
    # two windows, since torch.export takes a batch of one for a constant; zeros, since the file keeps them;
    # no least number of windows, which torch 2.9 would take for one that it cannot keep
    batch = torch.export.Dim("batch")
    return {"args": (torch.zeros(2, *shape),), "dynamic_shapes": {INPUT: {0: batch}}}


def trace(module: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    """The program of a net, without the names and folders of the machine.

    Raises:
        InputError: the net cannot be traced.
    """
    with quiet(), _explained("torch.export"):
        program = torch.export.export(module, **_traced_with(shape))
    for node in program.graph.nodes:  # lines and folders of the machine that it was made on
        for origin in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn"):
            node.meta.pop(origin, None)
    return program


def to_onnx(module: nn.Module, shape: tuple[int, ...]) -> tuple[Any, Origins]:
    """The ONNX model of a net, and which parameters its values are computed from.

    Raises:
        InputError: the net cannot be traced, or a package is missing.
    """
    need("format='onnx'", "onnx", "onnxscript")
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT]}
    with quiet(), _explained("onnx"):
        program = torch.onnx.export(module, **_traced_with(shape), **names, dynamo=True, verbose=False, optimize=False)
        assert program is not None  # dynamo=True returns one
        known = origins(program.model_proto, module)
        program.optimize()
        model = program.model_proto
        if model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value"):
            raise RuntimeError(
                "Constraints violated (batch)!"
            )  # the message of torch.export; ONNX would keep a batch of two
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        for origin in ("metadata_props", "doc_string"):  # likewise, and a quarter of the file
            part.ClearField(origin)
    return model, known


@contextmanager
def _explained(format: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the exporters raise whatever the net's operations make them raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        hint = " An operation fixes the number of windows: write x.shape[0], not len(x)." if "batch" in lines[0] else ""
        raise InputError(
            f"format={format!r}: this net cannot be traced ({lines[0]}).{hint} Or use format='torch', which keeps the "
            "weights and builds the net again."
        ) from error
