"""What the study of a run shows of it: the row of the run in the ``evidence.json`` of the study's folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kdlab.files import plain, read_json
from kdlab.types import InputError

NAME, FORMAT = "evidence.json", 1
#: ``<fold>-seed0-<key>`` or ``<fold>-shared-<key>``: the folder of a job of a study
JOB = re.compile(r"(?:(?P<fold>.+)-)?(?P<seed>seed\d+|shared)-(?P<key>[0-9a-f]{10})")
_UP = 6  # folders from a checkpoint to that of its study: checkpoints, version, job, labels, run, study


def evidence_of(checkpoint: Path | None) -> dict[str, Any] | None:
    """The row of a checkpoint's run, and under ``this_net`` the net itself.

    Args:
        checkpoint: of a run of a study; None: a net of this process.

    Returns:
        The row, with the study's name, version and commit; None for a run of no study, of a study without a report,
        and of settings that the report does not show.

    Raises:
        InputError: the file is damaged.
    """
    if checkpoint is None:
        return None
    folders = list(checkpoint.absolute().parents)[:_UP]
    job = next((folder for folder in folders if JOB.fullmatch(folder.name)), None)
    study = None if job is None else next((one for one in job.parents[1:4] if (one / NAME).is_file()), None)
    if job is None or study is None:
        return None
    content = plain(read_json(study / NAME, "evidence"), f"evidence: {str(study / NAME)!r}")
    match = JOB.fullmatch(job.name)
    assert match is not None  # as was found
    try:
        if content["format"] != FORMAT:
            return None  # of a later version
        row = content["rows"].get(job.parent.relative_to(study).as_posix())
        if row is None or match["key"] not in row["nets"]:
            return None  # a job of earlier settings
        found = {key: value for key, value in row.items() if key != "nets"}
        return {
            **{key: content[key] for key in ("study", "kdlab", "commit")},
            **found,
            "this_net": row["nets"][match["key"]],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"evidence: {str(study / NAME)!r} must be the file of a report, but lacks {error}. Write it again: kdlab "
            "study FILE --report"
        ) from error
