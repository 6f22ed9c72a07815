"""The compiled loop behind the low-pass. Imported on first use, because numba alone takes half a second."""

from __future__ import annotations

from kdlab.views.compiling import compiled


@compiled()
def weighted_means(moments, width, time, spacing, signal, table, scale, out):  # type: ignore[no-untyped-def]
    """``out[i]``: the mean of ``signal[k]`` with weights ``spacing[k] h(moments[i] - time[k])``.

    ``h`` is interpolated linearly in ``table``, which holds it at ``0, 1 / scale, 2 / scale, ...``; only samples within
    ``width`` count. ``moments`` and ``time`` increase.
    """
    first, channels = 0, signal.shape[1]
    for i in range(len(moments)):
        while time[first] < moments[i] - width:
            first += 1
        total = 0.0
        for c in range(channels):
            out[i, c] = 0.0
        for k in range(first, len(time)):
            if time[k] > moments[i] + width:
                break
            place = abs(moments[i] - time[k]) * scale
            j = int(place)
            weight = spacing[k] * (table[j] + (place - j) * (table[j + 1] - table[j]))
            total += weight
            for c in range(channels):
                out[i, c] += weight * signal[k, c]
        for c in range(channels):
            out[i, c] /= total
