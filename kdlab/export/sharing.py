"""What the card of a student says to those who get it: licence, data, people, evidence, use and limits.

================= =====================================================================================================
``licence``       of the student; null: not stated
``data``          ``dataset``, ``class`` of its data module, ``licence`` (null: not stated) and ``citation`` (BibTeX, or
                  null)
``people``        ``unit`` (``people``, or what else the split keeps together) and how many the split has for training
                  (``train``), besides these for it without any label (``unlabelled``), for validation (``val``) and for
                  test (``test``), whether it was validated and tested or not; null: not known
``evidence``      its row in the report of its study (:mod:`kdlab.study.evidence`), or null
``intended_use``  a sentence
``limits``        sentences
================= =====================================================================================================

People are counted, never named: neither names nor hashes, nor names of folds and folders that may be made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from kdlab.citations import bibtex
from kdlab.data import WindowDataModule
from kdlab.export.evidence import evidence_of
from kdlab.fingerprint import only_counts
from kdlab.types import InputError

#: what a user may say; the rest is known
KEYS = ("licence", "data_licence", "data_citation", "intended_use", "limits")
_PARTS = ("train", "unlabelled", "val", "test")
_UNITS = {"subject": "people", "recording": "recordings"}


def check_about(about: Mapping[str, str] | None) -> dict[str, str]:
    """What a user declares about a student.

    Raises:
        InputError: an unknown key, or no words.

    >>> check_about({"license": "MIT"})
    Traceback (most recent call last):
    ...
    kdlab.types.InputError: about: keys must be licence, data_licence, data_citation, intended_use or limits, but got 'license'. Correct it.
    """  # noqa: E501
    found = dict(about or {})
    for key, value in found.items():
        if key not in KEYS:
            raise InputError(f"about: keys must be {', '.join(KEYS[:-1])} or {KEYS[-1]}, but got {key!r}. Correct it.")
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"about: {key} must be words, but got {value!r}. Write them, or leave it out.")
    return {key: value.strip() for key, value in found.items()}


def sharing_of(
    described: Mapping[str, Any],
    card: Mapping[str, Any],
    checkpoint: Path | None,
    about: Mapping[str, str] | None = None,
    datamodule: LightningDataModule | None = None,
) -> dict[str, Any]:
    """The entry ``sharing`` of a card.

    Args:
        described: the description in the checkpoint.
        card: its other entries: classes, channels, window.
        checkpoint: the file; None: a net of this process.
        about: what the user says.
        datamodule: of the training, where it is at hand; None: the class is found by the name of the data set.

    Raises:
        InputError: a key of ``about`` that is none, or a damaged ``evidence.json``.
    """
    said, fingerprint = check_about(about), described.get("fingerprint") or {}
    cls = data_class(fingerprint, datamodule)
    evidence, people = evidence_of(checkpoint), people_of(fingerprint)
    citation = bibtex(cls.paper) if cls is not None and cls.paper else None
    return {
        "licence": said.get("licence"),
        "data": {
            "dataset": fingerprint.get("dataset"),
            "class": None if cls is None else cls.__name__,
            "licence": said.get("data_licence") or (cls.licence if cls is not None and cls.licence else None),
            "citation": said.get("data_citation") or citation,
        },
        "people": people,
        "evidence": evidence,
        "intended_use": said.get("intended_use") or _use(card),
        "limits": [*([said["limits"]] if "limits" in said else []), *_limits(card, people, evidence)],
    }


def data_class(
    fingerprint: Mapping[str, Any], datamodule: LightningDataModule | None = None
) -> type[WindowDataModule] | None:
    """The class of the training data: that of the data module, or the loaded one with the name of the data set."""
    if datamodule is not None:
        return type(datamodule) if isinstance(datamodule, WindowDataModule) else None
    wanted, classes = fingerprint.get("dataset"), [WindowDataModule]
    for cls in classes:
        classes += cls.__subclasses__()
    return next((cls for cls in classes[1:] if wanted and cls.name == wanted), None)


def people_of(fingerprint: Mapping[str, Any]) -> dict[str, Any] | None:
    """How many people (recordings, where people are unknown) the split has for training, validation and test.

    Each counts once: one with windows with and without labels is ``train``.

    >>> people_of({"grouping": "subject", "train": ["Anna", "Ben"], "val": ["Cy"], "test": ["Di"]})
    {'unit': 'people', 'train': 2, 'val': 1, 'test': 1}
    """
    counts = only_counts(_once(fingerprint))
    unit = _UNITS.get(str(counts.get("grouping")))
    if unit is None:
        return None
    return {"unit": unit, **{part: counts[part] for part in _PARTS if isinstance(counts.get(part), int)}}


def _once(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """A fingerprint whose people without labels have no window with one."""
    unlabelled, train = fingerprint.get("unlabelled"), fingerprint.get("train")
    if not isinstance(unlabelled, list) or not isinstance(train, list):
        return dict(fingerprint)
    return {**fingerprint, "unlabelled": [name for name in unlabelled if name not in train]}


def _use(card: Mapping[str, Any]) -> str:
    channels = ", ".join(channel["name"] for channel in card["channels"])
    window, rate = card["window"], card.get("sampling_rate")
    many = card.get("labels") == "many"
    into = f"each into any number of {len(card['classes'])} classes" if many else f"into {len(card['classes'])} classes"
    if "samples" not in window:
        return f"Classification of images{',' if many else ''} {into}."
    long = f"{window['samples']} samples" + (f" ({window['seconds']:g} s at {rate:g} Hz)" if rate else "")
    return f"Classification of windows of {long}, channels {channels}, {into}."


def _limits(card: Mapping[str, Any], people: Mapping[str, Any] | None, evidence: Mapping[str, Any] | None) -> list[str]:
    found = []
    if card.get("labels") != "many":
        found.append("Every window gets one of the classes: what is none of them is not recognised as such.")
    found.append("Other sensors, places on the body and ways to move than those of its training data are not measured.")
    if people is None:
        found.append("Whose windows trained it is not known, so no accuracy holds for new people.")
    elif people["unit"] != "people":
        found.append("Its data do not say who was recorded, so no accuracy is shown to hold for new people.")
    if evidence is None:
        found.append("It is the run of no study with a report, so it is not compared with any control.")
    else:
        found += [f"{evidence['study']}: {miss}." for miss in evidence["misses"]]
    return found
