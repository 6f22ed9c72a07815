"""How tables and their times are written, from what a user declares and from the device."""

from __future__ import annotations

from typing import Any, Literal

from kdlab.data.recordings.devices import FORMS
from kdlab.data.recordings.form import Csv
from kdlab.data.recordings.times import SECOND, Times


def times_of(
    device: str | None,
    unit: str,
    day_first: bool | None,
    zone: str | None,
    repeated: Literal["spread", "first", "error"],
    backwards: Literal["error", "sort", "split"],
) -> Times:
    """How times are written; a device has its unit in each file."""
    unit = "iso" if device is not None and unit in SECOND and (zone or day_first is not None) else unit
    return Times(unit=unit, day_first=day_first, zone=zone, repeated=repeated, backwards=backwards)


def form_of(csv: Csv | dict[str, Any] | None, device: str | None) -> Csv:
    """How tables are written; a user's own settings replace those of the device."""
    if isinstance(csv, Csv):
        return csv
    return Csv.of({**(FORMS[device] if device is not None else {}), **(csv or {})})
