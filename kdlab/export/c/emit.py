"""A program as C99: one header and one source file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdlab.export.c import kernels
from kdlab.export.c.ir import Program, Reader
from kdlab.export.c.layers import Written, shared, write_layers
from kdlab.export.c.plan import Plan
from kdlab.export.c.text import array, comment, identifier

#: most bytes of the stack that a call takes at -O2, the frames of its callees included
STACK = 512


@dataclass(frozen=True)
class Source:
    """The text of a net in C.

    Attributes:
        header: of the ``.h``.
        source: of the ``.c``.
        ram: bytes of static scratch.
        tables: bytes of constant arrays.
        descriptions: bytes of constant structures, where pointers have four.
    """

    header: str
    source: str
    ram: int
    tables: int
    descriptions: int


def emit(program: Program, plan: Plan, name: str, header: str, card: Mapping[str, Any]) -> Source:
    """Write a program.

    Args:
        program: in int8.
        plan: where its features lie.
        name: a C identifier, with which the function's name begins.
        header: file name of the header.
        card: of the export: classes, channels, sampling rate, net.
    """
    layers = write_layers(program)
    reads = _reader_arrays(program.reader)
    tables = sum(one.bytes for one in layers) + sum(4 * len(numbers) for numbers in reads.values())
    descriptions = sum(kernels.SIZES[one.kind] for one in layers)
    upper, clip = name.upper(), kernels.CLIP if program.reader.clip else ""
    parts = [
        _head(name, card, plan.bytes, tables, descriptions),
        f'#include "{header}"\n\n#include <float.h>\n#include <math.h>\n#include <stdint.h>\n',
        shared(program),
        "".join(array(key, numbers) for key, numbers in reads.items()),
        kernels.READ.format(NAME=upper, clip=clip),
        *(one.text for one in layers),
        "/* features of the layers, samples x channels; those that are not needed together share it */\n"
        f"static int16_t scratch[{plan.bytes // 2}];\n#define AT(place) ((int8_t *)scratch + (place))\n",
        _predict(program, plan, name, layers),
    ]
    return Source(_header(program, name, card), "\n".join(parts), plan.bytes, tables, descriptions)


def _reader_arrays(reader: Reader) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    arrays = {"offset": reader.offset, "rest": reader.rest, "divisor": reader.divisor}
    return arrays | ({"mean": reader.mean, "step": reader.step} if reader.clip else {})


def _lists(card: Mapping[str, Any]) -> str:
    rate = card["sampling_rate"]
    units = [f"{c['name']} ({c['unit']})" if c["unit"] else str(c["name"]) for c in card["channels"]]
    channels = "".join(f" *     {i}  {comment(words)}\n" for i, words in enumerate(units))
    classes = "".join(f" *     {i}  {comment(words)}\n" for i, words in enumerate(card["classes"]))
    many = card.get("labels") == "many"
    meaning = "sigmoid gives the probability of each class" if many else "softmax gives the probabilities"
    return (
        f" * Channels of a window, in the units of the recordings{f', {rate:g} samples a second' if rate else ''}:\n"
        f"{channels} * Classes, in the order of the logits, whose {meaning}:\n{classes}"
    )


def _head(name: str, card: Mapping[str, Any], ram: int, tables: int, descriptions: int) -> str:
    net = card["provenance"].get("net") or {}
    words = str(net.get("class_path", "net")).rpartition(".")[2]
    _, channels, length = card["input"]["shape"]
    return f"""\
/* {name}: windows of {channels} channels x {length} samples to {len(card["classes"])} logits, in int8.
 *
 * Made by kdlab {comment(card["kdlab"])} (kdlab export --format c) from {comment(words)}, run {comment(card["name"])}.
 * Plain C99 without allocation and without the mathematics library; {name}_predict is the only symbol.
 *
{_lists(card)} *
 * RAM: {ram} bytes of static scratch, and at -O2 less than {STACK} bytes of stack.
 * Flash: {tables} bytes of weights and tables, {descriptions} bytes of layer descriptions (with 32-bit pointers), and
 * the code, 1 to 4 kB by compiler.
 * Threads: the scratch is static, so one call at a time; calls from several threads need a lock around them.
 * A window with a sample that is NaN or infinite has NaN in all logits. Finite samples saturate, whatever their size.
 *
 * Arithmetic: real = step (q - zero), q int8, and int16 in residual streams, which are only added and scaled.
 * Convolutions and the linear layer sum q times int8 weights in 32 bits, which cannot overflow. A sum becomes q by
 * floor(sum m / 2^n + 1/2) + zero in 64 bits, cut to the range of q. Batch norms are part of the weights. Float
 * arithmetic, of input and logits alone, is IEEE single precision without contraction (-std=c99; never -ffast-math):
 * results are the same, bit for bit, on every machine.
 */
"""


def _header(program: Program, name: str, card: Mapping[str, Any]) -> str:
    upper, window = name.upper(), program.reader.output
    return f"""\
/* {name}: windows of {window.channels} channels x {window.length} samples to {program.classes} logits, in int8.
 *
{_lists(card)} */
#ifndef {upper}_H
#define {upper}_H

#define {upper}_CHANNELS {window.channels}
#define {upper}_LENGTH {window.length}
#define {upper}_CLASSES {program.classes}

#ifdef __cplusplus
extern "C" {{
#endif

/* window[channel * {upper}_LENGTH + sample] in physical units; logits has {upper}_CLASSES elements.
 * All logits are NaN where a sample is NaN or infinite. Not for several threads at a time. */
void {name}_predict(const float *window, float *logits);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _predict(program: Program, plan: Plan, name: str, layers: list[Written]) -> str:
    upper, window = name.upper(), program.reader.output

    def place(key: str) -> str:
        return f"AT({plan.places[key]})"

    calls = []
    for layer, written in zip(program.layers, layers, strict=True):
        x = ", ".join(place(value.name) for value in layer.inputs)
        call = written.call.replace("{x}", x).replace("{y}", place(layer.output.name) if "{y}" in written.call else "")
        calls.append((call, written.note))
    width = max(len(call) for call, _ in calls)
    lines = "".join(f"    {call:<{width}}  /* {note} */\n" for call, note in calls)
    return f"""\
void {name}_predict(const float *window, float *logits)
{{
    if (!read_window(window, {place(window.name)})) {{
        for (int32_t k = 0; k < {upper}_CLASSES; ++k) {{
            logits[k] = NAN;
        }}
        return;
    }}
{lines}}}
"""


__all__ = ["STACK", "Source", "emit", "identifier"]
