"""What was dropped, moved and filled in recordings: in the log, for the fingerprint, and where no window is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from kdlab.data.recordings.report import TimeReport, lost_to_missing
from kdlab.data.recordings.resample import NO_LABEL
from kdlab.data.recordings.store import Stored


def summed(
    name: str,
    stored: Sequence[Stored],
    places: Sequence[NDArray[np.int64]],
    window: int,
    dropped: NDArray[np.int64],
) -> dict[str, Any]:
    """Counts over all recordings, logged and returned for the fingerprint.

    Args:
        name: of the data set.
        stored: the recordings.
        places: the class of each label code of each recording.
        window: samples of a window.
        dropped: number of windows with missing samples, and without a label.
    """
    unlabelled: Counter[str] = Counter()
    total: Counter[str] = Counter()
    rates = []
    for one, place in zip(stored, places, strict=True):
        kept = one.contents()
        class_of = dict(zip(one.labels, place.tolist(), strict=True))
        unlabelled.update({w: n for w, n in kept["counts"].items() if class_of.get(w, NO_LABEL) == NO_LABEL})
        report = kept["report"]
        total.update({k: int(report[k]) for k in ("samples", "spread", "dropped", "back", "gaps", "damaged")})
        for key in ("filled", "missing"):
            total.update({f"{key} {channel}": int(count) for channel, count in report[key].items()})
        short = [stop - start for start, stop, _ in one.segments if stop - start < window]
        total.update({"short": len(short), "samples in short": sum(short), "segments": len(one.segments)})
        rates += [float(report["rate"])] if report["with_times"] and report["rate"] else []
    if rates:
        ends = " to ".join(dict.fromkeys(f"{rate:.4g}" for rate in (min(rates), max(rates))))
        rank_zero_info(f"{name}: the times are at {ends} Hz")
    if total["short"]:
        rank_zero_info(
            f"{name}: {total['short']} of {total['segments']} stretches of one person and session are shorter "
            f"than a window ({total['samples in short']} samples)"
        )
    if unlabelled:
        words = ", ".join(
            f"{w!r} {n}" for w, n in sorted(unlabelled.items(), key=lambda item: (-item[1], item[0]))[:12]
        )
        rank_zero_info(f"{name}: samples without a class, by what is written: {words}")
    return {
        "recordings": len(stored),
        **{key: count for key, count in sorted(total.items()) if count},
        "without a class": dict(sorted(unlabelled.items())),
        "windows left out": {"missing": int(dropped[0]), "label": int(dropped[1])},
    }


def nothing_left(
    root: str, stored: Sequence[Stored], channels: Sequence[str], window: int, line: str, missing: bool
) -> str:
    """Why no window is left, and a remedy.

    Args:
        root: the folder.
        stored: the recordings.
        channels: their names.
        window: samples of a window.
        line: how many windows were left out.
        missing: windows with missing samples were left out.
    """
    if missing:
        reports = [TimeReport(**{**one.contents()["report"], "channels": channels}) for one in stored]
        if worst := lost_to_missing(reports):
            return f"root={root!r}: {line}; {worst}"
    length = max(stop - start for one in stored for start, stop, _ in one.segments)
    remedy = f"expected recordings of at least {window} samples"
    if length < window and any(one.groups for one in stored):
        remedy += (
            f" of one person and session, the longest has {length}; if the rows of several people alternate, sort "
            "them by person and time"
        )
    return f"root={root!r}: {line}; {remedy}"
