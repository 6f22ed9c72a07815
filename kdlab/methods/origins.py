"""Where weights that are not kdlab's come from, for the descriptions of what was trained from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdlab.nets.pretrained import Published


def published_origin(net: Published, path: Path) -> dict[str, str]:
    """Net, file, hash and licence of published weights, as descriptions hold them.

    Args:
        net: the net that they were loaded into.
        path: their file.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"net": type(net).__name__, "file": path.name, "sha256": digest, "licence": net.licence}


def licences(described: Mapping[str, Any]) -> list[str]:
    """The licences of the published weights that a run began with, its own and its teachers', each once.

    Args:
        described: the description in a checkpoint, or of a teacher.

    Example:
        >>> licences({"published": {"licence": "MIT"}, "teachers": {"a": {"licences": ["academic", "MIT"]}}})
        ['MIT', 'academic']
    """
    own = described.get("published")
    found = [own.get("licence")] if isinstance(own, Mapping) else []
    for teacher in [*(described.get("teachers") or {}).values(), *(described.get("members") or {}).values()]:
        found += teacher.get("licences") or licences(teacher)
    return list(dict.fromkeys(one for one in found if isinstance(one, str)))
