"""The stub file that gives type checkers and editors every argument of the methods that are made from objectives.

``python -m kdlab.methods.stubs`` writes ``signatures.pyi`` beside this file; run it after a method or a field changed.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

import kdlab.methods
from kdlab.files import write_text
from kdlab.methods.distillation import Distillation
from kdlab.methods.made import Distilled, TeacherFree
from kdlab.methods.supervised import Supervised

PATH = Path(__file__).with_name("signatures.pyi")
_HEAD = '''"""Signatures of the methods that objectives make; `python -m kdlab.methods.stubs` writes this file."""

from typing import Literal

from kdlab.cache import TeacherCache
'''


def made_methods() -> dict[str, type[Distilled] | type[TeacherFree]]:
    """Name -> class of every method of `kdlab.methods` that is made from its objective."""
    made = (Distilled, TeacherFree)
    found = sorted((name, cls) for name, cls in vars(kdlab.methods).items() if inspect.isclass(cls) and cls not in made)
    return {name: cls for name, cls in found if issubclass(cls, made)}


def text() -> str:
    """The content of the stub file."""
    methods = made_methods()
    imports = [f"from {cls.__module__} import {name} as _{name}\n" for name, cls in methods.items()]
    imports += ["from kdlab.methods.plans import Interval\n"]
    imports += ["from kdlab.methods.schedules import OptimizerCallable, ScheduleCallable\n"]
    imports += ["from kdlab.methods.teacher import Teacher\n", "from kdlab.nets.base import Backbone, MemoryFormat\n"]
    return _HEAD + "".join(sorted(imports)) + "\n" + "\n".join(_stub(name, cls) for name, cls in methods.items())


def _stub(name: str, cls: type[Distilled] | type[TeacherFree]) -> str:
    written = {  # as the source has them, by the names of their types
        name: str(annotation)
        for base in (Distillation, Supervised)
        for name, annotation in inspect.get_annotations(base.__init__).items()
    }
    lines, named = ["self"], False
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not named:
            lines, named = [*lines, "*"], True
        kind = written.get(parameter.name) or _kind(parameter)
        default = "" if parameter.default is parameter.empty else f" = {_default(parameter.default)}"
        lines.append(f"{parameter.name}: {kind}{default}")
    body = "".join(f"        {line},\n" for line in lines)
    return f"class {name}(_{name}):\n    def __init__(\n{body}    ) -> None: ...\n"


def _kind(parameter: inspect.Parameter) -> str:
    members = get_args(parameter.annotation) if get_origin(parameter.annotation) in (Union, UnionType) else ()
    return " | ".join(map(_spelt, members or (parameter.annotation,)))


def _spelt(annotation: object) -> str:
    spelt = "None" if annotation is type(None) else inspect.formatannotation(annotation)
    return re.sub(r"\b(\w+\.)+(?=\w)", "", spelt).replace("'", '"')


def _default(value: object) -> str:
    shown = isinstance(value, bool | int | float | str | None) or (isinstance(value, tuple) and len(repr(value)) < 60)
    return repr(value).replace("'", '"') if shown else "..."


if __name__ == "__main__":
    write_text(PATH, text())
