"""Equations as MathML in the page: no script, no font and no network is needed to read them.

A Sphinx extension: ``html_math_renderer = "mathml"``.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

#: what the converter does not know -> what it knows
PLAIN = {r"\lVert": r"\|", r"\rVert": r"\|", r"\arg": r"\operatorname{arg}"}
#: a fence with a size of its own, such as ``\\Big(``
SIZED = re.compile(r"\\[Bb]igg?[lr]?\s*(\\[A-Za-z]+|\\\||[()\[\]|])")


def fenced(latex: str) -> str:
    r"""Fences with a size of their own as pairs that fit what they hold, to which an exponent belongs.

    Example:
        >>> fenced(r"\Big(\frac kB\Big)^2 \big\|a\big\|")
        '\\left(\\frac kB\\right)^2 \\left\\|a\\right\\|'
    """
    open_norms = 0
    sides = []

    def paired(match: re.Match[str]) -> str:
        nonlocal open_norms
        opens = match[1] in "([" or (match[1] not in ")]" and open_norms == 0)
        if match[1] not in "()[]":
            open_norms = 1 - open_norms
        sides.append(opens)
        return f"\\{'left' if opens else 'right'}{match[1]}"

    made = SIZED.sub(paired, latex)
    return made if 2 * sum(sides) == len(sides) else latex


def mathml(latex: str, *, block: bool = False) -> str:
    r"""A formula as MathML.

    Args:
        latex: the formula.
        block: on a line of its own.

    Raises:
        ValueError: for a command that is not known.

    Example:
        >>> "<mi>&#x003BB;</mi>" in mathml(r"\lambda")
        True
    """
    for name, other in PLAIN.items():
        latex = re.sub(re.escape(name) + r"(?![A-Za-z])", other.replace("\\", r"\\"), latex)
    made = convert(fenced(" ".join(latex.split())), display="block" if block else "inline")
    made = made.replace("&#x02015;", "&#x000AF;")  # a bar that stretches over what it stands on
    if unknown := re.findall(r"\\[A-Za-z]+", made):
        raise ValueError(f"{', '.join(sorted(set(unknown)))} in {latex!r}")
    return made


def parts(latex: str) -> list[str]:
    r"""A formula at each ``\qquad`` outside of braces and fences, so that a narrow page breaks it there.

    Example:
        >>> parts(r"a = b, \qquad c = {d \qquad e}")
        ['a = b,', 'c = {d \\qquad e}']
    """
    found, depth, begin = [], 0, 0
    for match in re.finditer(r"\\qquad(?![A-Za-z])|\\left(?![A-Za-z])|\\right(?![A-Za-z])|\\.|[{}]", latex):
        depth += {"{": 1, r"\left": 1, "}": -1, r"\right": -1}.get(match[0], 0)
        if match[0] == r"\qquad" and depth == 0:
            found.append(latex[begin : match.start()])
            begin = match.end()
    return [part.strip() for part in [*found, latex[begin:]] if part.strip()]


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula of a line of text."""
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own; a narrow screen scrolls it."""
    formulas = "".join(mathml(part, block=True) for part in parts(node.astext()))
    self.body.append(f'<div class="equation">{formulas}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
