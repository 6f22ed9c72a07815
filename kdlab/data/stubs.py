"""The file from which type checkers and editors know the arguments that all data modules share.

``python -m kdlab.data.stubs`` writes ``shared.pyi`` beside this file from the constructor of
:class:`~kdlab.data.WindowDataModule`; run it after that constructor changed, or a data module redeclares an argument.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import kdlab.data
from kdlab.data.base import WindowDataModule
from kdlab.files import write_text

PATH = Path(__file__).with_name("shared.pyi")
_HEAD = '''"""Arguments that all data modules share; `python -m kdlab.data.stubs` writes this file."""

from typing import Any, Literal, TypedDict
from typing import Unpack as Unpack

from kdlab.augment import Augmentation
from kdlab.data.cross_fit import CrossFit
from kdlab.data.mixing import Mixing
from kdlab.data.scaling import Scale
from kdlab.data.unlabelled import Unlabelled
from kdlab.data.view_cache import ViewCache
from kdlab.types import Name
from kdlab.views import View

'''


def redeclared() -> dict[type[WindowDataModule], list[str]]:
    """The data modules of kdlab -> the shared arguments that they declare, or name the test subjects by, themselves."""
    shared = list(inspect.signature(WindowDataModule.__init__).parameters)[1:]
    found = {}
    for name in kdlab.data.__all__:
        cls = getattr(kdlab.data, name)
        if inspect.isclass(cls) and issubclass(cls, WindowDataModule) and cls is not WindowDataModule:
            own = inspect.signature(cls.__init__).parameters if "__init__" in vars(cls) else {}
            given = {*own, *({"test_subjects"} if cls.fold_argument != "test_subjects" else ())}
            found[cls] = [argument for argument in shared if argument in given]
    return found


def text() -> str:
    """The content of the file."""
    shared = dict(list(inspect.signature(WindowDataModule.__init__).parameters.items())[1:])
    kinds = {name: str(parameter.annotation).replace("'", '"') for name, parameter in shared.items()}
    apart = [name for name in shared if any(name in names for names in redeclared().values())]
    rest = {name: kind for name, kind in kinds.items() if name not in apart}
    parts = [_dict("_Rest", rest), *(_dict(f"_{_camel(name)}", {name: kinds[name]}) for name in apart)]
    joined = [_joined("Shared", apart)]
    for names in sorted({tuple(names) for names in redeclared().values() if names}):
        kept = [name for name in apart if name not in names]
        joined.append(_joined(f"SharedBut{''.join(map(_camel, names))}", kept))
    return _HEAD + "\n".join([*parts, "".join(joined)])


def _dict(title: str, kinds: dict[str, str]) -> str:
    lines = (f"    {name}: {kind}\n" for name, kind in kinds.items())
    return f"class {title}(TypedDict, total=False):\n{''.join(lines)}"


def _joined(title: str, names: list[str]) -> str:
    bases = ["_Rest", *(f"_{_camel(name)}" for name in names)]
    return f"class {title}({', '.join(bases)}, total=False): ...\n"


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


if __name__ == "__main__":
    write_text(PATH, text())
