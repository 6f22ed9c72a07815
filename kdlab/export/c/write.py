"""From a net to its C files, checked against their equations where there is a compiler."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import nn

from kdlab.export.c.calibrate import check_same, ranges
from kdlab.export.c.compiled import Compiled, Interpreted, compile_library, compiler, probe
from kdlab.export.c.emit import STACK, Source, emit
from kdlab.export.c.golden import self_test
from kdlab.export.c.interpret import run
from kdlab.export.c.ir import Graph, Program
from kdlab.export.c.lower import lower
from kdlab.export.c.plan import plan
from kdlab.export.c.quantise import SCHEME, quantise
from kdlab.export.naming import CFiles
from kdlab.export.physical import PhysicalNet
from kdlab.files import scratch_folder
from kdlab.methods.physical import Before
from kdlab.types import InputError

_CHECKED = 64  # windows


def write_c(
    module: PhysicalNet, files: CFiles, parts: CFiles, card: dict[str, Any], calibration: NDArray[np.float32]
) -> nn.Module:
    """Write a net as C.

    Args:
        module: the net behind the scaling of its data.
        files: the names that the files will have.
        parts: where they are written.
        card: of the export; it gets ``c`` and what is int8.
        calibration: training windows ``(N, C, T)`` in physical units.

    Returns:
        What runs it: compiled, where there is a compiler, or else its equations.

    Raises:
        InputError: a layer without a C form, numbers that int8 and int32 cannot hold, or a compiler that computes
            other logits than the equations.
    """
    program, graph = quantised(module, card["input"]["shape"][-1], card["scale"], calibration)
    source = emit(program, plan(program), files.name, files.header.name, card)
    texts = {parts.source: source.source, parts.header: source.header}
    if parts.self_test is not None:
        texts[parts.self_test] = self_test(program, files.name, files.header.name, files.source.name)
    for path, text in texts.items():
        path.write_text(text, encoding="ascii")
    made, words = _checked(program, source, files, calibration[:_CHECKED])
    card["quantisation"] |= {"scheme": SCHEME, "int8_share": round(_share(graph, module.net), 4), "float32": []}
    card["c"] = {
        "function": f"{files.name}_predict",
        "header": _file(files.header, source.header),
        "self_test": None if parts.self_test is None or files.self_test is None else files.self_test.name,
        "ram": {"static": source.ram, "stack_below": STACK},
        "flash": {"tables": source.tables, "descriptions": source.descriptions},
        "compiler": words,
        "probe": run(program, probe(card).numpy())[0].tolist(),
    }
    return made


def quantised(
    module: PhysicalNet, length: int, scale: dict[str, Any], calibration: NDArray[np.float32]
) -> tuple[Program, Graph]:
    """The int8 program of a net and the float layers that it was made from.

    Raises:
        InputError: as `write_c`, and layers whose logits in float are not those of the net.
    """
    graph = lower(module.net, length)
    before = Before(tuple(scale["offset"]), tuple(scale["divisor"]), bool(scale["clip"]))
    scaled = before(torch.from_numpy(calibration))
    check_same(graph, module.net, scaled)
    return quantise(graph, ranges(graph, scaled), scale), graph


def _checked(
    program: Program, source: Source, files: CFiles, windows: NDArray[np.float32]
) -> tuple[nn.Module, str | None]:
    """The compiled net, if there is a compiler and it computes what the equations say."""
    words = compiler()
    if words is None:
        rank_zero_warn("export: no C compiler was found (CC, cc, gcc, clang): the file is checked by its equations.")
        return Interpreted(program), None
    window = program.reader.output
    with scratch_folder() as folder:
        Path(folder, files.header.name).write_text(source.header, encoding="ascii")
        place, library = folder / files.source.name, folder / "net.so"
        place.write_text(source.source, encoding="ascii")
        compile_library(words, place, library)
        made = Compiled(library, f"{files.name}_predict", (window.channels, window.length), program.classes)
    got, expected = made(torch.from_numpy(windows)).numpy(), run(program, windows)
    if not np.array_equal(got, expected, equal_nan=True):
        raise InputError(
            f"format='c': the logits of the program that {words[0]!r} compiled must be those of the equations, but "
            f"differ by {np.abs(got - expected).max():.2g}. Set CC to a compiler that keeps to C99."
        )
    return made, words[0]


def _share(graph: Graph, net: nn.Module) -> float:
    """Of the parameters, by number: weights that are int8; biases, which are int32, are not."""
    places = ("weight", "parametrizations.weight")  # the latter is what a weight is computed from
    held = tuple(f"{layer.name}.{place}" for layer in graph.layers for place in places)
    numbers = {name: p.numel() for name, p in net.named_parameters()}
    return sum(n for name, n in numbers.items() if name.startswith(held)) / sum(numbers.values())


def _file(path: Path, text: str) -> dict[str, Any]:
    raw = text.encode()
    return {"name": path.name, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
