"""What methods ask of a data module that read two versions of one view in training."""

from __future__ import annotations

from typing import Any

from kdlab.methods.base import view_settings
from kdlab.types import InputError


def check_version(who: str, view: str, version: str, datamodule: Any) -> None:
    """Check that the data module emits a version of a view, and that it is the same view.

    Args:
        who: who reads it, for messages.
        view: key of the view.
        version: what comes after the slash, such as ``"second"``.
        datamodule: what is asked; one that does not say what it emits passes.

    Raises:
        InputError: naming the setting.
    """
    names = getattr(datamodule, "view_names", None)
    if names is None:
        return
    key = f"{view}/{version}"
    if key not in names:
        raise InputError(
            f"{who}: reads view {key!r} beside {view!r}, but the data module emits {', '.join(map(repr, names))}. Add "
            f"{key!r} to the data module's views (in YAML: {key}: null)."
        )
    one, other = (view_settings(datamodule, name) for name in (view, key))
    if one != other:
        raise InputError(
            f"{who}: {view!r} and {key!r} must be the same view, but are {one} and {other}. Set {key}: null in the "
            "data module's views."
        )
