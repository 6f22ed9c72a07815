"""Results of an earlier time that are not those of a study's jobs as they are now, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from kdlab.study.digests import differing
from kdlab.study.plan import Jobs
from kdlab.study.report_cells import counted
from kdlab.study.results import Survey
from kdlab.study.resume import in_the_file
from kdlab.study.rows_file import read_rows
from kdlab.types import InputError


def outdated(jobs: Jobs, found: Survey, rows: Path, names: Mapping[str, str]) -> list[str]:
    """What differs between the jobs that are not done and their rows in the last report, a line for each reason.

    Args:
        jobs: of a study, with their settings.
        found: what is done.
        rows: ``rows.jsonl`` of its last report.
        names: fold -> its name in that file.
    """
    left = [job for name, job in jobs.items() if name not in found.rows and name not in found.damaged]
    if not left or not rows.is_file():
        return []
    try:
        entries = read_rows(rows).entries
    except InputError:  # --resume-from tells what is damaged
        return []
    earlier = [(job, entries[name]) for job in left if (name := in_the_file(job, names)) in entries]
    reasons = Counter(differing(entry.digests, job.digests) for job, entry in earlier if entry.row["key"] != job.key)
    return [f"{counted(n, 'job')} had a result that no longer counts: {reason}" for reason, n in reasons.items()]
