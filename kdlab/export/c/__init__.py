"""Students in C: one header and one source file of plain C99, in int8, for a device without a runtime.

``kdlab export RUN --format c`` writes ``NAME.c`` and ``NAME.h`` (and with ``--self-test`` a program that checks them)
with one function, ``void NAME_predict(const float *window, float *logits)``. It reads a window in physical units,
channels by samples; scaling, standardisation, convolutions, batch norms, pooling and the linear layer are inside.
Nothing is allocated and no library is needed; the head of the source states RAM and flash.

The way of a net: :mod:`~kdlab.export.c.lower` reads its layers from its graph
(:mod:`~kdlab.export.c.trace`), :mod:`~kdlab.export.c.fold` joins them, :mod:`~kdlab.export.c.calibrate` compares them
with the net and finds the ranges of their features on training windows, :mod:`~kdlab.export.c.quantise` makes the int8
program, :mod:`~kdlab.export.c.plan` gives the features their places, :mod:`~kdlab.export.c.emit` writes the C text, and
:mod:`~kdlab.export.c.interpret` computes the same program in numpy.
"""

from kdlab.export.c.compiled import Compiled, load
from kdlab.export.c.write import write_c

__all__ = ["Compiled", "load", "write_c"]
