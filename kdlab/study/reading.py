"""The tables of a study as pandas data frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from kdlab.files import MOST_BYTES
from kdlab.types import InputError, MissingFileError

if TYPE_CHECKING:
    from pandas import DataFrame

Table = Literal["results", "people", "classes", "means", "times"]
_WORDS = ("run", "title", "stage", "fold", "person", "class", "view", "job", "key", "sources", "published")


def read(folder: str | Path, table: Table = "results") -> DataFrame:
    """Read a table of a finished or interrupted study.

    Args:
        folder: of the study, such as ``runs/demo``; `kdlab study` prints it.
        table: which one:

            - ``"results"``: one line per run. ``run``, ``stage`` (teacher, scratch or student), a column per axis of
              the study, ``fold`` (empty without folds), ``seed``, ``shared`` (one run for all seeds), ``test_windows``,
              ``view``, ``parameters``, ``macs``, ``best_epoch``; ``val_accuracy``, ``val_f1``, ``test_accuracy``,
              ``test_f1`` (macro), ``test_nll`` (nats), ``test_ece``, ``test_v_measure``, ``test_accuracy_noise1`` and
              so on, as far as they were measured; shares are from 0 to 1. ``job``, ``key`` and ``sources`` name the
              job, its settings and the version of kdlab's source.
            - ``"people"``: one line per run and test person: run, stage, axes, fold and seed as above, ``person``,
              ``windows``, ``correct``, ``accuracy``, ``f1`` (macro).
            - ``"classes"``: one line per run and class: ``class``, ``support``, ``predicted`` and ``hits`` (windows),
              ``f1``.
            - ``"means"``: one line per run over all its seeds and folds, with the columns that the study file chooses;
              ``_sd`` is the standard deviation, ``_low`` and ``_high`` are ends of intervals, ``_p`` and ``_p_holm``
              p-values, ``_needed`` people needed.
            - ``"times"``: one line per run: ``seconds``, ``latency_ms``, ``view_ms``, ``latency_beside`` (other jobs
              that ran while the latency was measured).

    Returns:
        The table. Names, labels and folds are words, also where they look like numbers; seeds, windows and other counts
        are whole numbers, missing values are NaN or ``<NA>``.

    Raises:
        MissingFileError: the folder has no such table.
        InputError: there is no table of this name, or the file is damaged.

    Example:
        >>> import tempfile
        >>> from kdlab.study.report import write_report
        >>> row = {"run": "scratch", "stage": "scratch", "labels": {"size": "1"}, "fold": "", "view": "raw"}
        >>> rows = [{**row, "seed": seed, "test_accuracy": 0.9 + 0.01 * seed} for seed in range(3)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write_report(rows, [], folder, name="three seeds", draw=False)
        ...     frame = read(folder)
        >>> frame[["run", "size", "seed", "test_accuracy"]]
               run size  seed  test_accuracy
        0  scratch    1     0           0.90
        1  scratch    1     1           0.91
        2  scratch    1     2           0.92
    """
    import pandas as pd

    if table not in get_args(Table):
        raise InputError(f"table: must be one of {', '.join(get_args(Table))}, but got {table!r}. Choose one of them.")
    path = Path(folder) / f"{table}.csv"
    if not path.is_file():
        raise MissingFileError(
            f"folder: {str(folder)!r} must hold {path.name}, but has none. Name the folder that kdlab study printed."
        )
    if path.stat().st_size > 16 * MOST_BYTES:
        raise InputError(f"folder: {str(path)!r} is too large for a table of a study. Is it another file?")
    try:
        head = pd.read_csv(path, nrows=0, encoding="utf-8").columns
        words: dict[Any, Any] = dict.fromkeys([*_WORDS, *_axes(list(head), table)], str)
        frame = pd.read_csv(
            path,
            dtype=words,
            keep_default_na=False,
            na_values=_missing(head, words),
            encoding="utf-8",
            float_precision="round_trip",
        )
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"folder: {str(path)!r} is damaged ({error}). Run the study again to write it.") from error
    for column in frame.columns.intersection(list(words)):
        frame[column] = frame[column].map(_text)
    return frame


def _axes(head: list[str], table: str) -> list[str]:
    """The axes of a study: what stands between the stage and the fold, or the first chosen column."""
    if "stage" not in head:
        return []
    first = head.index("stage") + 1
    return head[first : head.index("fold")] if "fold" in head else []


def _missing(head: Any, words: dict[Any, Any]) -> dict[str, list[str]]:
    """An empty cell is a missing number, and an empty word."""
    return {column: [""] for column in head if column not in words}


def _text(value: str) -> str:
    """Without the ``'`` that keeps spreadsheets from reading a text as a formula."""
    return value[1:] if value[:1] == "'" and value[1:2] in ("=", "+", "-", "@", "\t", "\r") else value
