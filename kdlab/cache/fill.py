"""Filling the cache: outputs are found in its folder, or each teacher runs once on all training windows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from kdlab.cache import store
from kdlab.cache.outputs import CachedOutputs
from kdlab.cache.plan import Part, Request, TeacherCache
from kdlab.types import InputError

#: part of the largest value by which outputs of one net may differ, between kinds of processors in half precision
OTHER = 0.02


def fill_cache(
    cache: TeacherCache,
    requests: Mapping[str, Request],
    index: NDArray[np.int64],
    folder: str | None = None,
    check: bool = True,
) -> CachedOutputs:
    """Find the outputs in the folder, or compute them.

    Args:
        cache: the setting.
        requests: teacher name -> what is kept of it.
        index: indices of all training windows, in the order of the requests' outputs.
        folder: where they are kept; ``None``: in memory.
        check: compare what is found with the outputs for the first batch.

    Raises:
        InputError: when the budget is too small or the space does not suffice.
    """
    plan = cache.plan(requests, len(index))
    place = None if folder is None else Path(folder)
    arrays: dict[Part, NDArray[Any]] = {}
    for part in plan.parts:
        array = None if place is None else store.open_array(store.path_of(place, requests[part.teacher], part), part)
        if array is not None:
            arrays[part] = array
    computed = []
    for name, request in requests.items():
        mine = [part for part in plan.parts if part.teacher == name]
        missing = [part for part in mine if part not in arrays]
        found = {part: arrays[part] for part in mine if part in arrays}
        if check and found and not _are_of(request, found):
            rank_zero_warn(
                f"cache: {str(place)!r} has other outputs for the weights of teacher {name!r} than it, as of a net "
                "with other arguments or code; they are computed again."
            )
            missing = mine
        if missing:
            arrays |= _compute(request, missing, place)
            computed.append(name)
    return CachedOutputs(plan, [torch.from_numpy(arrays[part]) for part in plan.parts], index, tuple(computed))


def _are_of(request: Request, kept: Mapping[Part, NDArray[Any]]) -> bool:
    """Are kept outputs those of the teacher, for the first batch of windows?

    Weights and arguments, by which they are found, do not tell all of a net of the user's own.
    """
    output = next(iter(request.outputs()))
    count = len(output.logits)
    for part, array in kept.items():
        new = part.form_of(output)[:count].astype(np.float64)
        if part.form == "gram":
            new = (new @ new.T)[np.tril_indices(count)]
        old = array[: len(new)].astype(np.float64)
        if not np.abs(new - old).max() <= OTHER * max(np.abs(new).max(), np.abs(old).max()):
            return False
    return True


def _compute(request: Request, parts: list[Part], folder: Path | None) -> dict[Part, NDArray[Any]]:
    """Run one teacher on all windows, once, and keep these parts of its outputs."""
    name = parts[0].teacher
    scratch_bytes = sum(part.scratch_bytes for part in parts)
    with store.Room(name, folder, sum(part.bytes for part in parts), scratch_bytes) as room:
        kept = {part: room.array(part) for part in parts}
        filled = {part: room.scratch(part) if part.form == "gram" else kept[part] for part in parts}
        at, windows = 0, parts[0].windows
        for output in request.outputs():
            count = len(output.logits)
            for part in parts:
                values = part.form_of(output)
                if not np.isfinite(values).all():
                    raise InputError(
                        f"teacher {name!r}: its outputs must be finite, but {part.tap or 'the logits'} of training "
                        f"windows {at} to {at + count - 1} hold NaN or infinite values. Train it again, or run it in "
                        "precision='32' if it runs in half precision."
                    )
                filled[part][at : at + count] = values
            at += count
        if at != windows:
            raise InputError(
                f"cache: teacher {name!r} must run on {windows} training windows, but the data module gave {at}. Train "
                "without the cache."
            )
        for part in parts:
            if part.form == "gram":
                _fill_gram(kept[part], filled[part], request.batch_size, request.probe.logits.device)
        if folder is None:
            return kept
        return {part: room.commit(part, store.path_of(folder, request, part), request.key) for part in parts}


def _fill_gram(triangle: NDArray[Any], rows: NDArray[Any], batch: int, device: torch.device) -> None:
    """Write the lower triangle of ``rows rows^T``, in products of the shape that a step has.

    A product of another shape adds in another order, and the last digits differ; with this shape they are those of the
    step.
    """
    step = max(1, store.BLOCK // (rows[0].nbytes * batch)) * batch
    for top in range(0, len(rows), step):
        upper = _batches(rows[top : top + step], batch, device)
        for left in range(0, top + 1, step):
            lower = upper if left == top else _batches(rows[left : left + step], batch, device)
            block = np.empty((len(upper) * batch, len(lower) * batch), rows.dtype)
            for i, j in product(range(len(upper)), range(len(lower))):
                if left + j * batch <= top + i * batch:  # the rest is above the diagonal
                    with torch.autocast(device.type, enabled=False):
                        part = upper[i] @ lower[j].T
                    block[i * batch : (i + 1) * batch, j * batch : (j + 1) * batch] = part.cpu().numpy()
            width = min(step, len(rows) - left)
            for i in range(top, min(top + step, len(rows))):
                stop, first = min(left + width, i + 1), i * (i + 1) // 2
                triangle[first + left : first + stop] = block[i - top, : stop - left]


def _batches(rows: NDArray[Any], batch: int, device: torch.device) -> list[Tensor]:
    """The rows in batches, the last one padded with zeros."""
    full = np.zeros((-(-len(rows) // batch) * batch, rows.shape[1]), rows.dtype)
    full[: len(rows)] = rows
    return list(torch.from_numpy(full).to(device).view(-1, batch, rows.shape[1]))
