"""What SLURM tells a process, as Lightning reads it."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

#: from these Lightning concludes that SLURM started several processes of one fit, and that it has to put the job back
_READ = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NNODES")


def one_process(environment: MutableMapping[str, str] | None = None) -> None:
    """Have Lightning take this process as the only one of its fit, whatever SLURM started beside it.

    With these variables Lightning takes each task of a step as a process of one distributed fit (only the first writes
    files), and puts the SLURM job back into the queue by itself at a SIGUSR1, and continues after a SIGTERM. A job of a
    study is one process, and what began it puts it back. It has to be called before Lightning is imported.

    Args:
        environment: of the process; None: ``os.environ``.

    Example:
        >>> here = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "17"}
        >>> one_process(here)
        >>> here
        {'SLURM_JOB_ID': '17'}
    """
    environment = os.environ if environment is None else environment
    for name in _READ:
        environment.pop(name, None)
