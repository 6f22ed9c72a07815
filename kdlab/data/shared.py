"""Names of the arguments that all data modules share, for annotations of ``**common``.

Type checkers and editors read ``shared.pyi`` in place of this file; `python -m kdlab.data.stubs` writes it. At run time
the annotations are ``Any``, so that parsers follow ``**common`` to the constructor with the defaults and texts.
"""

from typing import Any


class Unpack:
    """``Unpack[...]`` is ``Any`` at run time."""

    def __class_getitem__(cls, item: object) -> Any:
        """Any."""
        return Any


def __getattr__(name: str) -> Any:
    """``Shared`` and ``SharedBut...``, arguments without some that a data module declares itself."""
    if name.startswith("Shared"):
        return Any
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
