"""References to names of kdlab in docstrings: found under every name that can be imported.

A Sphinx extension. A public name may be imported from several places (``kdlab.Teacher``, ``kdlab.methods.Teacher``)
and stands once in the API reference. A name of kdlab that cannot be imported stays a warning; names that the reference
leaves out, and those of other libraries, become plain text, as no inventory is fetched.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

#: a version of a repository on GitHub
COMMIT = re.compile(r"(?<![\w/`])([\w-]+/[\w.-]+)@([0-9a-f]{7,40})\b")


def imported(name: str) -> Any:
    """The object of a dotted name.

    Raises:
        AttributeError: there is none.

    Example:
        >>> imported("kdlab.types.Output").__name__
        'Output'
    """
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element) -> Element | None:
    """A link to where an object of kdlab is documented, or its name as plain text; None for one that does not exist."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"]
    if name.split(".")[0] != "kdlab":
        return text
    try:
        found = imported(name)
    except AttributeError:
        return None
    own = [f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}", f"kdlab.{name.split('.')[-1]}"]
    python = env.domains.python_domain
    for other in own:
        if entry := python.objects.get(other):
            return python.resolve_xref(
                env, node["refdoc"], app.builder, python.object_types[entry.objtype].roles[0], other, node, text
            )
    return text


def code_links(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make ``owner/repository@commit`` of a docstring a link to that version; it would be taken for a mail address."""
    lines[:] = [COMMIT.sub(r"`\1@\2 <https://github.com/\1/tree/\2>`__", line) for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect."""
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", code_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
