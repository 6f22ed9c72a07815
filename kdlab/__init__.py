"""kdlab: small networks for wearables, taught by big ones.

Windows are seen in several views; teachers read one view each and are stopped early; a small student that reads only
the raw signal learns from all of them.
"""

from typing import TYPE_CHECKING, Any

from kdlab import augment as augment
from kdlab import callbacks as callbacks
from kdlab import citations as citations
from kdlab import data as data
from kdlab import functional as functional
from kdlab import methods as methods
from kdlab import nets as nets
from kdlab import objective as objective
from kdlab import objectives as objectives
from kdlab import views as views
from kdlab.cache import TeacherCache as TeacherCache
from kdlab.methods import *
from kdlab.types import Batch as Batch
from kdlab.types import InputError as InputError
from kdlab.types import MissingFileError as MissingFileError
from kdlab.types import Output as Output

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kdlab.loading import load as load
    from kdlab.stream import Stream as Stream


def __getattr__(name: str) -> Any:
    """``load`` and ``Stream``, imported on first use."""
    if name == "load":
        from kdlab.loading import load

        return load
    if name == "Stream":
        from kdlab.stream import Stream

        return Stream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = [
        "Batch",
        "InputError",
        "MissingFileError",
        "Output",
        "Stream",
        "TeacherCache",
        "augment",
        "callbacks",
        "citations",
        "data",
        "functional",
        "load",
        "methods",
        "nets",
        "objective",
        "objectives",
        "views",
        *methods.__all__,
    ]
