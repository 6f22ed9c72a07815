"""The self-test of a net in C: windows, their logits, and a program that compares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdlab.export.c.interpret import run
from kdlab.export.c.ir import Program, Reader
from kdlab.export.c.text import array

_COUNT = 4


def windows(reader: Reader, count: int = _COUNT) -> NDArray[np.float32]:
    """Waves with noise over the range of the input, ``(N, C, T)`` in physical units; no recordings of people.

    Args:
        reader: of the program, which knows the range.
        count: how many.
    """
    rng = np.random.default_rng(0)
    shape = (count, reader.output.channels, reader.output.length)
    phase = rng.uniform(0, 6, (*shape[:2], 1)) + np.arange(shape[2]) * rng.uniform(0.02, 1.5, (*shape[:2], 1))
    wave = 0.5 * rng.uniform(0.2, 1, (*shape[:2], 1)) * np.sin(phase) + rng.normal(0, 0.1, shape)
    units = 0.5 + 0.5 * wave if reader.clip else 127 * wave
    column = np.s_[:, None]
    return (reader.offset[column] + reader.divisor[column] * units).astype(np.float32)


def self_test(program: Program, name: str, header: str, source: str) -> str:
    """A program that prints whether the compiled net gives the logits of kdlab, and exits with 1 where it does not.

    Args:
        program: the net.
        name: C identifier of the net.
        header: file name of its header.
        source: of its source.
    """
    given = windows(program.reader)
    expected = run(program, given)
    upper, count = name.upper(), len(given)
    return f"""\
/* Self-test of {name}: {count} windows of waves and noise (no recordings of people), and the logits that they must
 * have, bit for bit; one that is not finite. Build and run:
 *
 *     cc -std=c99 -O2 {source} {source.removesuffix(".c")}_self_test.c -o self_test && ./self_test
 */
#include "{header}"

#include <math.h>
#include <stdio.h>

{array("windows", given, f"{count} x {given.shape[1]} x {given.shape[2]}, in physical units", row=given.shape[2])}
{array("expected", expected, f"{count} x {expected.shape[1]}", row=expected.shape[1])}
static float broken[{upper}_CHANNELS * {upper}_LENGTH];

int main(void)
{{
    int right = 0;
    float logits[{upper}_CLASSES];
    for (int i = 0; i < {count}; ++i) {{
        int same = 1, best = 0;
        {name}_predict(windows + i * {upper}_CHANNELS * {upper}_LENGTH, logits);
        for (int k = 0; k < {upper}_CLASSES; ++k) {{
            same = same && logits[k] == expected[i * {upper}_CLASSES + k];
            best = logits[k] > logits[best] ? k : best;
        }}
        printf("window %d: class %d, logits %s\\n", i, best, same ? "as expected" : "DIFFER");
        right += same;
    }}
    broken[{upper}_LENGTH - 1] = NAN;
    {name}_predict(broken, logits);
    int unknown = 1;
    for (int k = 0; k < {upper}_CLASSES; ++k) {{
        unknown = unknown && logits[k] != logits[k];
    }}
    printf("window with NaN: logits %s\\n", unknown ? "NaN" : "NOT NaN");
    printf("{name}: %d of {count} windows as expected\\n", right);
    return right == {count} && unknown ? 0 : 1;
}}
"""
