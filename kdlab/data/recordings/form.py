"""How tables of text are written: delimiter, decimal mark, encoding, header, words for missing values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from kdlab.data.identity import NO_LABEL_WORDS, words
from kdlab.types import InputError

WORDS = {"tab": "\t", "space": " ", "comma": ",", "semicolon": ";"}


@dataclass(frozen=True)
class Csv:
    """How a table is written as text.

    Args:
        delimiter: one character, a word (``tab``, ``space``, ``semicolon``) or ``whitespace``: any number of blanks and
            tabs.
        decimal: the decimal mark, ``.`` or ``,``.
        encoding: of the text.
        skip: lines before the header, or before the first row where there is no header.
        header: whether a line with the names of the columns comes before the rows.
        names: of the columns, in place of those in the header; without header and names they are ``0``, ``1``, ...
        quote: the character around cells that hold a delimiter; None: quotes have no meaning, as is always so with
            ``whitespace``.
        comment: a character from which on the rest of a line is left out; None: there are no comments.
        missing: words that are missing values in columns of numbers, in any case of letters.

    Raises:
        InputError: a character that is none, or an encoding that there is not.
    """

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    skip: int = 0
    header: bool = True
    names: tuple[str, ...] | list[str] | None = None
    quote: str | None = '"'
    comment: str | None = None
    missing: tuple[str, ...] | list[str] = NO_LABEL_WORDS

    def __post_init__(self) -> None:
        object.__setattr__(self, "delimiter", WORDS.get(self.delimiter, self.delimiter))
        if self.delimiter == "whitespace":
            object.__setattr__(self, "quote", None)
        object.__setattr__(self, "missing", ("", *words([word for word in self.missing if word != ""], "csv: missing")))
        if self.names is not None:
            object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        if self.decimal not in (".", ","):
            raise InputError(f"csv: decimal must be '.' or ',', but got {self.decimal!r}. Write one of them.")
        for key in ("delimiter", "quote", "comment"):
            value = getattr(self, key)
            short = value is None or (isinstance(value, str) and len(value) == 1 and value.isascii())
            if not short and (key, value) != ("delimiter", "whitespace"):
                raise InputError(f"csv: {key} must be one ASCII character, but got {value!r}. Write one.")
        marks = [m for m in (self.delimiter, self.decimal, self.quote, self.comment) if m is not None]
        if len(set(marks)) < len(marks) or {"\n", "\r"} & set(marks) or self.delimiter is None:
            raise InputError(
                f"csv: delimiter, decimal, quote and comment must be different, but got {', '.join(map(repr, marks))}. "
                'Write, for example, delimiter: ";" beside decimal: ",".'
            )
        if not isinstance(self.skip, int) or self.skip < 0:
            raise InputError(f"csv: skip must be a number of lines, but got {self.skip!r}. Count from 0.")
        try:
            "".encode(self.encoding)
        except (LookupError, TypeError) as error:
            raise InputError(
                f"csv: encoding must be one that Python knows, but got {self.encoding!r}. Write utf-8, latin-1, "
                "cp1252 or utf-16."
            ) from error

    @classmethod
    def of(cls, value: Csv | Mapping[str, Any] | None) -> Csv:
        """What a user writes, a mapping such as ``{"delimiter": ";"}``, as a ``Csv``.

        Raises:
            InputError: it is no mapping, or has other keys.
        """
        if isinstance(value, Csv):
            return value
        known = [f.name for f in fields(cls)]
        if value is not None and (not isinstance(value, Mapping) or set(value) - set(known)):
            raise InputError(f"csv must be a mapping of {', '.join(known)}, but got {value!r}. Write one.")
        return cls(**(value or {}))
