"""kdlab: small networks for wearables, taught by big ones.

Windows are seen in several views; teachers read one view each and are stopped early; a small student that reads only
the raw signal learns from all of them.

Each name is imported when it is first used, so that ``kdlab.functional`` needs no Lightning.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from kdlab.data import PartialMixup as PartialMixup
    from kdlab.loading import load as load
    from kdlab.methods import *
    from kdlab.pretrained import from_pretrained as from_pretrained
    from kdlab.pretrained import save_pretrained as save_pretrained
    from kdlab.stream import Stream as Stream
    from kdlab.types import Batch as Batch
    from kdlab.types import InputError as InputError
    from kdlab.types import MissingFileError as MissingFileError
    from kdlab.types import Output as Output

__version__ = "0.1.0"

#: the packages and modules with public names; those of commands are not imported by ``from kdlab import *``
_ROOMS = (
    *("augment", "callbacks", "citations", "data", "functional", "methods", "nets", "objective", "objectives"),
    "views",
)
_COMMANDS = ("evaluate", "export", "study")
#: name -> the module that has it; all further names are methods
_HOMES = {
    **dict.fromkeys(["Batch", "InputError", "MissingFileError", "Output"], "types"),
    **{"PartialMixup": "data", "Stream": "stream", "TeacherCache": "cache", "load": "loading"},
    **dict.fromkeys(["from_pretrained", "save_pretrained"], "pretrained"),
}


def __getattr__(name: str) -> Any:
    """Import what a name needs; a method imports all rooms, whose classes configs may name."""
    if name in (*_ROOMS, *_COMMANDS):
        return importlib.import_module(f"kdlab.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"kdlab.{_HOMES[name]}"), name)
    if "__all__" not in globals() and (name == "__all__" or name[:1].isupper()):
        rooms = {room: importlib.import_module(f"kdlab.{room}") for room in _ROOMS}
        found = {method: getattr(rooms["methods"], method) for method in rooms["methods"].__all__}
        globals().update(found, __all__=sorted({*rooms, *found, *_HOMES}))
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module 'kdlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_COMMANDS, *sys.modules[__name__].__all__})
