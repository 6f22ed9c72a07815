"""The data of a study: each data set is read once per process, and every run and fold uses the same windows."""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib
import inspect
import json
from typing import Any

import numpy as np
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser

from kdlab.data import WindowDataModule
from kdlab.data.image_store import ImageFiles
from kdlab.data.moments import chunks
from kdlab.data.windows import WindowSet
from kdlab.study.digests import as_text
from kdlab.study.labels_alone import labels_alone
from kdlab.types import InputError

_loaded: dict[str, tuple[WindowSet, dict[str, Any]]] = {}  # with the attributes that reading set
_contents: dict[str, dict[str, str]] = {}  # of the windows that were read last: the choice of them -> its hash
#: bytes of several data sets that a process keeps at a time
MOST = 2**30
#: arguments of a data module that change its batches, but not its windows, split and scaling
_OF_BATCHES = ("views", "augment", "corruption")


def make_data(config: dict[str, Any]) -> WindowDataModule:
    """The data module of a run config, set up, with a raw view alone: only its split and windows are used.

    Raises:
        InputError: where it cannot be made.
    """
    arguments = {k: v for k, v in _arguments(config).items() if k not in _OF_BATCHES}
    parser = _parser()
    try:
        given = {"data": {"class_path": _data(config)["class_path"], "init_args": arguments}}
        parsed = parser.parse_object(given, defaults=False)  # the class has those of other arguments itself
        datamodule: WindowDataModule = parser.instantiate_classes(parsed).data
    except (ArgumentError, ValueError, TypeError, OSError) as error:
        raise InputError(f"data of {config.get('run', 'the study')}: {error}") from error
    share(datamodule, config)
    datamodule.setup()
    return datamodule


def share(datamodule: WindowDataModule, config: dict[str, Any]) -> None:
    """Hand over the windows that this process read for an earlier run of the same data; read them the first time.

    No run can change them. Further data sets are kept where all of them fit into `MOST` bytes, and otherwise the one
    that was used last alone.
    """
    key = _load_key(datamodule, config)
    found = _loaded.pop(key, None)
    if found is None:
        _made.cache_clear()  # it holds the windows that it has
        while _loaded and _kept_bytes() > MOST // 2:  # before the next one is read
            _loaded.pop(next(iter(_loaded)))
        _contents.pop(key, None)  # they may be others by now
        found = _read(datamodule)
    _loaded[key] = found
    while len(_loaded) > 1 and _kept_bytes() > MOST:
        _loaded.pop(next(iter(_loaded)))
    data, attributes = found
    vars(datamodule).update(attributes)
    datamodule.reuse(data)


def _read(datamodule: WindowDataModule) -> tuple[WindowSet, dict[str, Any]]:
    """The windows of a data module, and the attributes that reading them sets.

    While it reads, the module lacks the shared arguments that the key of its windows leaves out.

    Raises:
        InputError: it reads one of these.
    """
    own = vars(datamodule)
    hidden = {name: own.pop(name) for name in _not_read(type(datamodule)) if name in own}
    before = dict(own)
    try:
        found = read_only(datamodule.load())
        return found, {k: v for k, v in own.items() if k not in before or before[k] is not v}
    except AttributeError as error:
        if error.obj is not datamodule or error.name not in hidden:
            raise
        kind = type(datamodule).__name__
        instead = "Read self.missing_labels, or write" if error.name == "unlabelled" else "Write"
        raise InputError(
            f"{kind}.load: its class must name the shared arguments that it reads in a study, which reads windows "
            f"once for all values of the others, but got self.{error.name}. {instead} load_reads = "
            f"(*WindowDataModule.load_reads, {error.name!r}) in {kind}."
        ) from error
    finally:
        for name, value in hidden.items():
            own.setdefault(name, value)


def read_only(data: WindowSet) -> WindowSet:
    """The same windows, labels and names, in arrays that refuse to be written; what stays in files is left as it is."""
    for x in (*data.windows.values(), data.target, data.subject, data.recording):
        if type(x) is np.ndarray:
            x.flags.writeable = False
    return data


def _kept_bytes() -> int:
    """What the windows take in memory; those in files take none."""
    every = (x for data, _ in _loaded.values() for x in data.windows.values())
    return sum(x.nbytes for x in every if type(x) is np.ndarray)


def forget() -> None:
    """Free all windows; they are read again when needed."""
    _loaded.clear()
    _contents.clear()
    for function in (_made, _described, _batches):
        function.cache_clear()


def fingerprint(config: dict[str, Any]) -> str:
    """A digest of the data of a run: every window and label, the split and the scaling."""
    return _described(_shared(config))[0]


def trained_on(config: dict[str, Any]) -> dict[str, int]:
    """How many people (recordings, where people are unknown) train a run: ``labelled``, and ``unlabelled``."""
    return dict(_described(_shared(config))[1])


def _shared(config: dict[str, Any]) -> str:
    """The data module of a config, without what concerns batches alone."""
    given = {k: v for k, v in _arguments(config).items() if k not in _OF_BATCHES}
    content = {"class_path": _data(config)["class_path"], "init_args": given}
    return as_text(content)


@functools.lru_cache(maxsize=1)
def _made(data: str) -> WindowDataModule:
    """The data module that was described last, which no one changes: a job is described and then counted."""
    return make_data({"data": json.loads(data)})


@functools.cache
def _described(data: str) -> tuple[str, dict[str, int]]:
    datamodule = _made(data)
    found = datamodule.fingerprint
    people = {"labelled": len(found["train"]), "unlabelled": len(found.get("unlabelled", ()))}
    return _digest(datamodule, data), people


def _digest(datamodule: WindowDataModule, data: str) -> str:
    """The digest of a data module that is set up; windows that were read once are hashed once.

    Args:
        datamodule: whose windows are those of :func:`share`.
        data: its description.
    """
    chosen = data if type(datamodule)._chosen is not WindowDataModule._chosen else ""  # some of the windows
    known = _contents.setdefault(_load_key(datamodule, {"data": json.loads(data)}), {})
    if chosen not in known:
        known[chosen] = contents(datamodule.data)
    return f"{datamodule.fingerprint['id']}-{known[chosen]}"


def check_unchanged(datamodule: WindowDataModule, config: dict[str, Any], planned: str, job: str) -> None:
    """Refuse data that are not those which the key of a job was made from.

    Args:
        datamodule: of the job, set up.
        config: of the job.
        planned: their digest when the job was planned, see :func:`fingerprint`.
        job: its name.

    Raises:
        InputError: they are others now.
    """
    if _digest(datamodule, _shared(config)) != planned:
        raise InputError(
            f"the data of {job} must stay the same while the study runs, but its windows, labels, split or scaling are "
            "others now than when it was planned. Run the same command again: jobs of the changed data have keys of "
            "their own."
        )


def batches(config: dict[str, Any]) -> int:
    """Training batches of an epoch, of one process; windows without a label are left out where the method does so."""
    return _batches(_shared(config), labels_alone(config.get("model")))


@functools.cache
def _batches(data: str, alone: bool) -> int:
    datamodule = _made(data)
    if alone and datamodule.unlabelled_count:
        datamodule = make_data({"data": json.loads(data)})
        datamodule.leave_out_unlabelled()
    return len(datamodule.train_dataloader())


def contents(data: WindowSet) -> str:
    """A hash of all windows, labels and subjects; of images that stay in files, their names and sizes are hashed."""
    digest = hashlib.blake2b(np.ascontiguousarray(data.target).tobytes(), digest_size=8)
    for names in (data.subject, data.recording):
        digest.update(json.dumps(None if names is None else [str(name) for name in names.tolist()]).encode())
    for source, x in data.windows.items():
        digest.update(f"{source}{x.shape}".encode())
        kept: Any = x
        if isinstance(kept, ImageFiles):
            digest.update(kept.listing())
            continue
        for part in chunks(x):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def subjects(config: dict[str, Any]) -> tuple[dict[str, int], list[str]]:
    """Subject -> number of windows, in the order of the data set, and those without windows to test, who may train.

    Both are empty where subjects are unknown.
    """
    datamodule = make_data(config)
    tested = set(datamodule.testable_subjects())
    windows = dict(sorted(datamodule.subject_counts().items(), key=_natural))
    return windows, [name for name in windows if name not in tested]


def _natural(item: tuple[str, int]) -> tuple[int, str]:
    return len(item[0]), item[0]


def data_class(config: dict[str, Any]) -> type[WindowDataModule]:
    """The class that ``data.class_path`` names."""
    return _class(str(_data(config)["class_path"]))


@functools.cache
def _class(name: str) -> type[WindowDataModule]:
    known = {kind.__name__: kind for kind in _subclasses(WindowDataModule)}  # a bare name, as on the command line
    module, _, last = name.rpartition(".")
    found = getattr(importlib.import_module(module), last, None) if module else known.get(name)
    if not (isinstance(found, type) and issubclass(found, WindowDataModule)):
        raise InputError(
            f"data: {name!r} is no data module; there are {', '.join(sorted(known))}, or name your own as module.Class."
        )
    return found


def _subclasses(base: type) -> list[type]:
    children: list[type] = base.__subclasses__()
    return [kind for child in children for kind in (child, *_subclasses(child))]


@functools.cache
def _parser() -> ArgumentParser:
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(WindowDataModule, "data")
    return parser


def _data(config: dict[str, Any]) -> dict[str, Any]:
    data = config.get("data")
    if isinstance(data, str):
        return {"class_path": data}
    if not isinstance(data, dict) or "class_path" not in data:
        raise InputError(
            f"data: must be {{class_path: ..., init_args: ...}} in every run config, but got {data!r}. Add it."
        )
    return data


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of all levels: a parser writes what it made into nested lists and mappings."""
    return dict(copy.deepcopy(_data(config).get("init_args") or {}))


def _load_key(datamodule: WindowDataModule, config: dict[str, Any]) -> str:
    """What the windows that a data module reads depend on: its class, own arguments, and those of `load_reads`."""
    left_out = _not_read(type(datamodule))
    given = {k: v for k, v in _arguments(config).items() if k not in left_out}
    return as_text([_data(config)["class_path"], given, datamodule.missing_labels])


def _not_read(kind: type[WindowDataModule]) -> frozenset[str]:
    """The arguments of a data module that choose split, scaling, views and batches of windows that are read."""
    shared = {*inspect.signature(WindowDataModule.__init__).parameters, kind.fold_argument}
    return frozenset(shared - {"self", *kind.load_reads})
