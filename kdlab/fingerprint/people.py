"""People in fingerprints: spelt alike, as names or as salted hashes, and made comparable between runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from kdlab.types import InputError

SALT = "KDLAB_SALT"  # the environment variable that holds a laboratory's salt
SHORTEST_SALT = 16
_ARGUMENTS = ("test_subject", "test_subjects", "val_subjects", "subjects")  # of data modules, which name people
PEOPLE = ("train", "val", "test", "unknown", "unlabelled", "left_out")
REMEDY = (
    f"Set {SALT} to a secret text of your laboratory of at least {SHORTEST_SALT} characters, the same for every run, "
    f'such as export {SALT}="$(openssl rand -hex 32)", and keep it'
)
_FLOAT_FORM = re.compile(r"([+-]?\d+)\.0*")
_HASHED = re.compile(r"h[0-9a-f]{12}")


def spelt(word: str) -> str:
    """A name without blanks around it; a whole number in float form is a whole number.

    >>> [spelt(word) for word in (" S1", "1.0", "-3.", "1.5", "01", "-0.0")]
    ['S1', '1', '-3', '1.5', '01', '0']
    """
    word = word.strip()
    match = _FLOAT_FORM.fullmatch(word)
    return word if match is None else "0" if match[1].lstrip("+-") == "0" else match[1]


def salt(argument: str = "subject_ids") -> str:
    """The laboratory's salt, from the environment, so that no config, checkpoint or card contains it.

    Args:
        argument: what it is needed for, for the message.

    Raises:
        InputError: none, or a short one.
    """
    value = os.environ.get(SALT, "").strip()
    if len(value) < SHORTEST_SALT:
        got = "nothing" if not value else f"{len(value)} characters"
        raise InputError(
            f"{argument}: hashes must be salted by the environment variable {SALT}, but got {got}. {REMEDY}."
        )
    return value


def salt_mark(value: str) -> str:
    """A short digest that differs between salts, and from which no salt can be computed."""
    return hashlib.blake2b(value.encode(), digest_size=4, person=b"kdlab salt").hexdigest()


def hashed(name: str, value: str) -> str:
    """The salted hash of a name: ``h`` and 12 hexadecimal digits, the same wherever the salt is the same.

    Without the salt, a list of likely names cannot be tried on it.

    Args:
        name: of a person or recording.
        value: the salt.

    >>> hashed("S1", "a laboratory's own salt") == hashed(" S1 ", "a laboratory's own salt")
    True
    """
    key = hashlib.blake2b(value.encode(), digest_size=64).digest()
    return "h" + hashlib.blake2b(spelt(name).encode(), key=key, digest_size=6).hexdigest()


def is_hashed(name: str) -> bool:
    """Whether a name looks like a hash."""
    return _HASHED.fullmatch(name) is not None


def with_hashes(fingerprint: Mapping[str, Any], value: str | None = None) -> dict[str, Any]:
    """A fingerprint whose people are hashes; one that has hashes already is copied.

    Recordings are hashed like subjects, since their names are often made of people's; blocks of images and rows of
    windows are no people.

    Args:
        fingerprint: of a data module.
        value: the salt; None: the laboratory's.

    Raises:
        InputError: no salt, or two people of one hash.
    """
    result = dict(fingerprint)
    if "salt" in result or result.get("grouping") not in ("subject", "recording"):
        return result
    value = salt() if value is None else value
    for part in PEOPLE:
        if part in result:
            result[part] = sorted(hashed(name, value) for name in result[part])  # the order would disclose names
            if len(set(result[part])) < len(set(fingerprint[part])):
                raise InputError("subject_ids: two names have one hash under this salt. Take another salt.")
    result["salt"] = salt_mark(value)
    return result


def id_of(contents: Mapping[str, Any]) -> str:
    """The digest of a fingerprint, but for its own ``id``."""
    rest = {key: value for key, value in contents.items() if key != "id"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def without_people(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """A fingerprint for what leaves the laboratory: hashes where it has them, and else how many people there are.

    Where people are counted, so does ``id``: from one over their names, likely names could be tried.

    >>> without_people({"grouping": "subject", "train": ["Anna", "Ben"], "val": ["Cy"], "id": "0f"})
    {'grouping': 'subject', 'train': 2, 'val': 1, 'id': 'fd46163dc6dd5b63'}
    """
    return dict(fingerprint) if "salt" in fingerprint else _counted(fingerprint)


def _counted(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(fingerprint)
    if result.get("grouping") in ("subject", "recording"):
        result.update({part: len(result[part]) for part in PEOPLE if isinstance(result.get(part), list)})
        if "id" in result:
            result["id"] = id_of(result)
    return result


def config_without_people(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of a run for what leaves the laboratory: how many people its data arguments name, in place of names.

    Folders of a study's jobs are called after the one person that they test: the name is left out there, too.

    >>> data = {"class_path": "PAMAP2", "init_args": {"test_subject": "Anna", "val_subjects": ["Ben"], "window": 100}}
    >>> config_without_people({"run": "toy/kd/subjectAnna-seed0", "data": data})
    ... # doctest: +NORMALIZE_WHITESPACE
    {'run': 'toy/kd/subject-seed0',
     'data': {'class_path': 'PAMAP2', 'init_args': {'test_subject': 1, 'val_subjects': 1, 'window': 100}}}
    """
    data = config.get("data")
    arguments = data.get("init_args") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(arguments, Mapping):
        return dict(config)
    counted = {name: _count(value) if name in _ARGUMENTS else value for name, value in arguments.items()}
    if isinstance(others := arguments.get("unlabelled"), Mapping):
        counted["unlabelled"] = {
            name: _count(value) if name in ("people", "recordings") else value for name, value in others.items()
        }
    tested = [name for argument in _ARGUMENTS[:2] for name in _listed(arguments.get(argument))]
    result: dict[str, Any] = {**config, "data": {**data, "init_args": counted}}
    for name in tested:
        result = _replaced(result, f"subject{name}-")
    return result


def people_in(*arguments: Any) -> int:
    """How many people some arguments of a data module name.

    >>> people_in("Anna", None), people_in(None, ["Anna", "Ben"])
    (1, 2)
    """
    return sum(len(_listed(names)) for names in arguments)


def _count(names: Any) -> Any:
    return names if names is None else len(_listed(names))


def _listed(names: Any) -> list[Any]:
    if names is None:
        return []
    return list(names) if isinstance(names, list | tuple | Mapping) else [names]


def _replaced(value: Any, fold: str) -> Any:
    """Without the name in folders of this fold."""
    if isinstance(value, Mapping):
        return {name: _replaced(part, fold) for name, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, fold) for part in value]
    return value.replace(f"/{fold}", "/subject-") if isinstance(value, str) else value


def only_counts(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """A fingerprint for what is shared: how many people there are, neither names nor hashes, nor an ``id`` over them.

    >>> only_counts({"grouping": "subject", "train": ["h0123456789ab"], "val": [], "salt": "1234", "seed": 0})
    {'grouping': 'subject', 'train': 1, 'val': 0, 'seed': 0}
    """
    return _counted({key: value for key, value in fingerprint.items() if key != "salt"})


def comparable(trained: Mapping[str, Any], current: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two fingerprints whose people and classes can be compared: spelt by one rule, and both hashed where one is.

    Args:
        trained: of a checkpoint, of this or an earlier version.
        current: of the data at hand.

    Raises:
        InputError: one has hashes of another salt than the other or than the environment has.
    """
    a, b = _spelt(trained), _spelt(current)
    if (
        a.get("dataset") != b.get("dataset")
        or a.get("grouping") != b.get("grouping")
        or not ("salt" in a or "salt" in b)
    ):
        return a, b
    if "salt" in a and "salt" in b:
        if a["salt"] != b["salt"]:
            _refuse("its people are hashed with another salt than those here")
        return a, b
    value = os.environ.get(SALT, "").strip()
    mark = a.get("salt", b.get("salt"))
    if salt_mark(value) != mark:
        _refuse(f"people are names on one side and hashes on the other, and {SALT} is not the salt of the hashes")
    return with_hashes(a, value), with_hashes(b, value)


def _refuse(why: str) -> None:
    raise InputError(
        f"the checkpoint: {why}, so it cannot be shown that training and test subjects are disjoint. Set {SALT} to the "
        "salt that it was trained with, or train it again."
    )


def _spelt(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(fingerprint)
    for key in (*PEOPLE, "classes"):
        if isinstance(result.get(key), list):
            result[key] = [spelt(str(name)) for name in result[key]]
    return result
