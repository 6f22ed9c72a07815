"""Ten kinds of damage to a run config, each made from a seeded generator."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Config = dict[str, Any]
Path = tuple[Any, ...]


@dataclass
class Case:
    """A damaged config file, and the command that reads it."""

    kind: str
    what: str  # the damage, in words
    content: bytes
    words: list[str] = field(default_factory=list)  # after ``--config FILE``
    command: tuple[str, ...] = ("fit", "--config")


def text_of(config: Any) -> str:
    """A config as YAML."""
    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def nodes(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value of a config below its root, with its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key), item
        yield from nodes(item, (*path, key))


def change(config: Config, path: Path, value: Any) -> Config:
    """A copy with one value replaced."""
    changed = copy.deepcopy(config)
    node: Any = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return changed


def _rename(config: Config, path: Path, name: str) -> Config:
    changed = copy.deepcopy(config)
    node: Any = changed
    for key in path[:-1]:
        node = node[key]
    items = [(name if key == path[-1] else key, value) for key, value in node.items()]
    node.clear()
    node.update(items)
    return changed


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _typo(rng: random.Random, word: str) -> str:
    i = rng.randrange(len(word))
    return rng.choice(
        [word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:], word[:i] + "q" + word[i + 1 :], "", " "]
    )


# ---- the kinds -------------------------------------------------------------------------------------------------------
OTHER_TYPES: list[Any] = [
    None,
    True,
    -1,
    3.5,
    "word",
    "",
    [],
    [1],
    ["a", None],
    {},
    {"a": 1},
    "2020-01-01",
    "1e-3",
    "[1",
]
NUMBERS: list[Any] = [-1, 0, -(10**6), 10**9, 10**20, 0.5, -0.5, 1e308, float("nan"), float("inf"), float("-inf")]


def type_(config: Config, rng: random.Random) -> Case:
    """A value of another type, anywhere."""
    path, old = rng.choice(list(nodes(config)))
    value = rng.choice([v for v in OTHER_TYPES if type(v) is not type(old)])
    return Case("type", f"{_dotted(path)}={value!r}", text_of(change(config, path, value)).encode())


def range_(config: Config, rng: random.Random) -> Case:
    """A number that is negative, zero, huge, or none at all."""
    numeric = [(p, v) for p, v in nodes(config) if type(v) in (int, float)]
    path, _ = rng.choice(numeric)
    most = (
        1 if path[-1] in ("num_workers", "max_epochs") else float("inf")
    )  # so many processes would be started, and the machine falls
    value = rng.choice([number for number in NUMBERS if not number > most])
    return Case("range", f"{_dotted(path)}={value!r}", text_of(change(config, path, value)).encode())


def name(config: Config, rng: random.Random) -> Case:
    """A typo in a key or in a word."""
    found = [(p, v) for p, v in nodes(config) if isinstance(p[-1], str)]
    words = [(p, v) for p, v in found if isinstance(v, str) and v]
    if rng.random() < 0.5:
        path, value = rng.choice(words)
        wrong = _typo(rng, value)
        return Case("name", f"{_dotted(path)}={wrong!r}", text_of(change(config, path, wrong)).encode())
    path, _ = rng.choice(found)
    wrong = _typo(rng, path[-1])
    return Case("name", f"{_dotted(path)} named {wrong!r}", text_of(_rename(config, path, wrong)).encode())


def nesting(config: Config, rng: random.Random) -> Case:
    """A value one level too deep or too high, or very deep."""
    path, value = rng.choice(list(nodes(config)))
    how = rng.choice(["list", "mapping", "init_args", "up", "deep", "deeper", "self"])
    deep = "[" * 5000 if how == "deeper" else "{a: " * 80 + "1" + "}" * 80
    changed = {
        "list": [value],
        "mapping": {path[-1]: value},
        "init_args": {"init_args": value},
        "up": next(iter(value.values())) if isinstance(value, dict) and value else [[value]],
        "deep": "@deep@",
        "deeper": "@deep@",
        "self": copy.deepcopy(config),
    }[how]
    text = text_of(change(config, path, changed)).replace("'@deep@'", deep)
    return Case("nesting", f"{_dotted(path)}: {how}", text.encode())


def _bomb(levels: int, width: int = 9) -> str:
    rows = [f"a0: &a0 [{','.join(['x'] * width)}]"]
    rows += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(rows)


def alias(config: Config, rng: random.Random) -> Case:
    """Aliases that explode, that go round in a circle, or that have no anchor."""
    path, _ = rng.choice(list(nodes(config)))
    levels = rng.choice([4, 8, 30])
    inline = (
        "[" + ", ".join(["&b0 [x, x, x, x]", *(f"&b{i} [{', '.join([f'*b{i - 1}'] * 4)}]" for i in range(1, 12))]) + "]"
    )
    how = rng.choice(["top", "value", "text", "circle", "no anchor", "merge", "mapping"])
    value = {
        "value": inline,
        "text": f"'{inline}'",
        "circle": "&c [1, *c]",
        "no anchor": "*nowhere",
        "merge": "{<<: [" + ", ".join(["&m {a: 1}", *["*m"] * 60000]) + "]}",
        "mapping": "{"
        + ", ".join(f"k{i}: &k{i} {{a: *k{i - 1}, b: *k{i - 1}}}" if i else "k0: &k0 {a: 1}" for i in range(40))
        + "}",
    }
    if how == "top":
        text = f"{_bomb(levels)}\n{text_of(config)}"
    else:
        text = text_of(change(config, path, "@here@")).replace("'@here@'", value[how])
    return Case("alias", f"{_dotted(path)}: {how}", text.encode())


def duplicate(config: Config, rng: random.Random) -> Case:
    """A key that stands twice in its mapping."""
    lines = text_of(config).splitlines()
    keys = [(i, m) for i, line in enumerate(lines) if (m := re.match(r"^( *(?:- )?)([\w/+]+):", line))]
    i, found = rng.choice(keys)
    indent, key = found[1], found[2]
    value = rng.choice(["1", "null", "{}", "word"])
    later = rng.random() < 0.5 and not lines[i].endswith(":")
    if later:  # after it, where its value is on the same line
        lines.insert(i + 1, f"{' ' * len(indent)}{key}: {value}")
    else:
        lines[i] = lines[i].replace("- ", "  ", 1) if "-" in indent else lines[i]
        lines.insert(i, f"{indent}{key}: {value}")
    return Case("duplicate", f"line {i + 1}: {key}", "\n".join(lines).encode())


def encoding(config: Config, rng: random.Random) -> Case:
    """Bytes that are no UTF-8 text, or text with odd characters."""
    text = text_of(config)
    at = rng.randrange(len(text))
    how = rng.choice(["utf-16", "latin-1", "mark", "zero", "bytes", "png", "cr", "control", "utf-32", "surrogate"])
    content = {
        "utf-16": text.encode("utf-16"),
        "utf-32": text.encode("utf-32"),
        "latin-1": f"# Größe\n{text}".encode("latin-1"),
        "mark": text.encode("utf-8-sig"),
        "zero": f"{text[:at]}\0{text[at:]}".encode(),
        "bytes": text[:at].encode() + rng.randbytes(9) + text[at:].encode(),
        "png": b"\x89PNG\r\n\x1a\n" + rng.randbytes(2000),
        "cr": text.replace("\n", "\r\n").encode(),
        "control": f"{text[:at]}\x1b\x07{text[at:]}".encode(),
        "surrogate": text[:at].encode() + b"\xed\xa0\x80" + text[at:].encode(),
    }[how]
    return Case("encoding", how, content)


def size(config: Config, rng: random.Random) -> Case:
    """Nothing, too much, or half of it."""
    text = text_of(config)
    path, _ = rng.choice(list(nodes(config)))
    how = rng.choice(["empty", "cut", "long list", "long text", "many keys", "long key", "comments", "huge", "digits"])
    values: dict[str, Any] = {
        "long list": [0] * 45_000,
        "long text": "x" * 900_000,
        "many keys": {f"k{i}": i for i in range(20_000)},
        "digits": "@digits@",
    }
    if how in values:
        text = text_of(change(config, path, values[how])).replace("'@digits@'", "9" * 5000)
    elif how == "long key":
        text = text_of(change(config, ("k" * 10_000,), 1))
    else:
        text = {
            "empty": rng.choice(["", "\n\n", "# nothing\n", "---\n", "null"]),
            "cut": text[: rng.randrange(1, len(text))],
            "comments": "# a comment\n" * 80_000 + text,
            "huge": text + "# " + "x" * 3_000_000,
        }[how]
    return Case("size", f"{_dotted(path)}: {how}" if how in values else how, text.encode())


NO_CLASSES: list[Any] = [
    *(None, "", 5, [], "NoSuch", "no.such.Class", "os.system", "json.loads", "kdlab", "kdlab.nets", "torch.nn.Module"),
    *(
        "kdlab.nets.Backbone",
        "kdlab.methods.Method",
        "kdlab.data.WindowDataModule",
        "lightning.pytorch.Callback",
        "builtins.eval",
    ),
    *("kdlab.views.View", "torch.optim.Optimizer", "a b", "..", "ReduceLROnPlateau", "kdlab.Distillation", "Adapter"),
]


def missing_class(config: Config, rng: random.Random) -> Case:
    """A class that is not named, does not exist, is abstract, or is of another sort."""
    found = [p for p, v in nodes(config) if p[-1] == "class_path"]
    sections = [p for p, _ in nodes(config) if p in (("model",), ("data",))]
    path = rng.choice(found)
    how = rng.choice(["left out", "another", "another", "section"])
    if how == "another":
        wrong = rng.choice(NO_CLASSES)
        return Case("missing class", f"{_dotted(path)}={wrong!r}", text_of(change(config, path, wrong)).encode())
    if how == "section":
        path = rng.choice(sections)
        wrong = rng.choice([None, {}, 5, [1], {"init_args": {}}, "word", {"class_path": None, "init_args": {}}, -1])
        return Case("missing class", f"{_dotted(path)}={wrong!r}", text_of(change(config, path, wrong)).encode())
    changed = copy.deepcopy(config)
    node: Any = changed
    for key in path[:-1]:
        node = node[key]
    del node["class_path"]
    return Case("missing class", f"{_dotted(path)} left out", text_of(changed).encode())


def wrong_stage(config: Config, rng: random.Random) -> Case:
    """The config of one command given to another, or with the wrong checkpoint."""
    stage = rng.choice(["validate", "test", "predict"])
    run = str(config.get("run"))
    missing = {k: v for k, v in config.items() if k != rng.choice(["model", "data"])}
    read = ("--config",)
    cases: list[tuple[Any, tuple[str, ...], list[str]]] = [
        (config, (stage, *read), []),
        (config, (stage, *read), ["--ckpt_path", "nothing.ckpt"]),
        (config, (stage, *read), ["--ckpt_path", "data"]),
        (config, (stage, *read), ["--ckpt_path", "FILE"]),
        (config, (stage, *read), ["--ckpt_path", f"runs/{run}", "--trainer.max_epoch=1"]),
        (config, (stage, *read), ["--ckpt_path", "best"]),
        (config, ("fit", *read), ["--ckpt_path", "FILE"]),
        (config, ("fit", *read), ["--ckpt_path", "runs/basic_motions/teacher_raw"]),
        ({"fit": config}, ("fit", *read), []),
        ({**config, "ckpt_path": 5}, ("fit", *read), []),
        ({**config, "ckpt_path": "."}, (stage, *read), []),
        ({**config, "config": "other.yaml"}, ("fit", *read), []),
        (missing, ("fit", *read), []),
        (config, ("study",), []),
        (config, ("study",), ["--dry-run"]),
        (config, ("evaluate", "runs", *read), []),
        (config, ("export", "runs", *read), []),
        (config, ("evaluate",), []),
        (config, ("export",), []),
        (missing, ("cite", *read), []),
        (config, ("fits", *read), []),
        (config, ("study", *read), []),
    ]
    changed, command, words = rng.choice(cases)
    what = " ".join([*command, "FILE", *words])
    return Case("wrong stage", what, text_of(changed).encode(), words, command)


KINDS: tuple[Callable[[Config, random.Random], Case], ...] = (
    *(type_, range_, name, nesting, alias, duplicate, encoding, size, missing_class, wrong_stage),
)
