"""Tables of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table whose columns are the keys of all rows, in the order in which they come; missing cells stay empty.

    Example:
        >>> print(markdown([{"run": "a", "x": "1"}, {"run": "b", "y": "2"}]))
        | run | x | y |
        |---|--:|--:|
        | a | 1 |  |
        | b |  | 2 |
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *([row.get(c, "") for c in columns] for row in rows)]
    text = [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines]
    text[1] = text[1].replace(" ", "")
    return "\n".join(text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
