"""What is read from a recording, and at which rate it is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from kdlab.data.recordings.form import Csv
from kdlab.data.recordings.grid import Grid


@dataclass(frozen=True)
class Reading:
    """What is read from a recording, and at which rate it is kept.

    Args:
        grid: the channels, the common rate, and how times are read.
        label: column of the label; None: labels are intervals in another table.
        time: column of the time; None: there is none, or a device's own.
        subject: column of the person, where there is one.
        session: column of the session, where there is one.
        csv: how tables are written.
        device: whose software wrote them.
        lenient: skip and count damaged blocks in files of devices.
        max_memory: the most memory in which such a file is decoded, 1e9 bytes.
        columns: channel -> column of a table, where that has another name than the channel.
    """

    grid: Grid
    label: str | None
    time: str | None = None
    subject: str | None = None
    session: str | None = None
    csv: Csv = field(default_factory=Csv)
    device: str | None = None
    lenient: bool = False
    max_memory: float = 8.0
    columns: dict[str, str] = field(default_factory=dict)

    @property
    def channels(self) -> tuple[str, ...]:
        """Their names, in order."""
        return self.grid.channels

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings that change what is read, as plain values."""
        unchanged = {"max_memory", *([] if self.columns else ["columns"])}
        found = {key: value for key, value in asdict(self).items() if key not in unchanged}
        if self.grid.untimed is None:
            del found["grid"]["untimed"]
        return found
