"""The parser behind the command line: config files read under limits, and errors whose last line is the reason."""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, NoReturn, get_args, get_origin

import yaml
from jsonargparse import Namespace, set_loader
from lightning.pytorch.cli import LightningArgumentParser

from kdlab.configs import INCLUDE, expand
from kdlab.dropped import refuse_dropped, word_sections
from kdlab.files import MOST_YAML, one_line, parse_yaml, read_yaml
from kdlab.number_keys import check_keys
from kdlab.number_types import order_numbers
from kdlab.types import InputError

_MODE = "kdlab"  # the parser mode of jsonargparse whose loader is `_load`
_SHOWN = 4000  # characters of a message above its last line


def _load(text: str) -> Any:
    """The values of a text as jsonargparse's own loader of YAML reads it, under the limits of `kdlab.files`."""
    if len(text) > MOST_YAML:
        raise InputError(f"YAML: a value must be at most {MOST_YAML / 2**20:g} MiB, but it is larger.")
    value = parse_yaml(text, "YAML")
    _check_texts(value)
    if isinstance(value, dict) and value and all(item is None for item in value.values()):
        names = set(text.strip(" {}").replace(" ", "").split(","))
        if names == set(value) or (len(value) == 1 and text.strip() == f"{next(iter(value))}:"):
            return text  # a word with a colon or in braces is text
    return value


def _check_texts(value: Any) -> None:
    """Refuse a text whose own reading as YAML would explode: jsonargparse reads texts where it expects another type."""
    for text in _texts(value):
        if "&" in text and "*" in text:
            try:
                parse_yaml(text, "YAML in a text")
            except InputError as error:
                if "aliases" in str(error):
                    raise


def _equal(obj: Any, namespace: Namespace) -> bool:
    """Whether a mapping has the values of a namespace; arrays are not compared."""
    try:
        return bool((Namespace(obj) if isinstance(obj, dict) else obj) == namespace)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, RuntimeError):
        return False


def _as_yaml(word: str) -> str:
    """A word as YAML has it: the agent of a sweep writes values as Python does, such as ``None`` for null.

    >>> _as_yaml("--trainer.gradient_clip_val=None"), _as_yaml("--run=None/a")
    ('--trainer.gradient_clip_val=null', '--run=None/a')
    >>> _as_yaml("--data={'init_args': {'val_count': None}}"), _as_yaml("--data={init_args: {val_count: None}}")
    ('--data={"init_args": {"val_count": null}}', '--data={init_args: {val_count: None}}')
    """
    option, equals, value = word.partition("=")
    if not (word.startswith("--") and equals):
        return word
    return f"{word.removesuffix('None')}null" if word.endswith("=None") else f"{option}={_python_as_json(value)}"


def _python_as_json(text: str) -> str:
    """Mappings, lists and tuples as JSON where a text is exactly what Python prints of them; else the text.

    >>> _python_as_json("{'betas': (0.9, 0.99), 'foreach': None}"), _python_as_json("{name: '[0-9]+', part: null}")
    ('{"betas": [0.9, 0.99], "foreach": null}', "{name: '[0-9]+', part: null}")
    """
    if not text.startswith(("{", "[", "(")) or len(text) > MOST_YAML:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # '\d' of YAML is no escape of Python
            value = ast.literal_eval(text)
        return json.dumps(value, ensure_ascii=False, allow_nan=False) if repr(value) == text and _named(value) else text
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _named(value: Any) -> bool:
    """Whether all keys are words, which JSON keeps."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and _named(item) for name, item in value.items())
    return all(map(_named, value)) if isinstance(value, list | tuple) else True


def _check_word(word: str) -> None:
    """Refuse a value in brackets that explodes or names a key twice; the parser refuses other faults in it."""
    option, _, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if value.lstrip().startswith(("{", "[")):
        try:
            _check_texts(parse_yaml(value, option or "command line"))
        except InputError as error:
            if error.__cause__ is None:  # not that it is no YAML
                raise


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _with_words(value: Any) -> Any:
    """A copy in which words of enumerations are plain."""
    if isinstance(value, Namespace):
        copy = value.clone()
        for key, item in vars(value).items():
            copy[key] = _with_words(item)
        return copy
    if isinstance(value, dict):
        return {key: _with_words(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_words(item) for item in value]
    return str(value.value) if isinstance(value, Enum) and isinstance(value, str) else value


set_loader(_MODE, _load, exceptions=(InputError,))


class Parser(LightningArgumentParser):
    """Lightning's parser, which reads YAML under limits and whose last line is the reason of an error."""

    #: class -> name -> type hint of its arguments, for all classes that were read
    hints: ClassVar[dict[type, dict[str, Any]]] = {}
    #: classes of which an argument takes one, or several under names
    under_names: ClassVar[set[type]] = set()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("parser_mode", _MODE)
        super().__init__(*args, **kwargs)
        self._alone: type | None = None  # the class whose arguments alone it reads
        self._given: list[tuple[str, Any]] = []  # sections of config files and words that are parsed, and where from
        self._content: str | None = None  # of the config file that is parsed, with those that it includes

    def add_class_arguments(self, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a class; those of classes that a config names come here, too."""
        added: list[str] = super().add_class_arguments(*args, **kwargs)
        order_numbers(self._actions)
        if args and isinstance(args[0], type) and added and "." not in added[0]:  # a parser of this class alone
            self.hints[args[0]] = {action.dest: getattr(action, "_typehint", None) for action in self._actions}
            self._alone = args[0]
            for hint in self.hints[args[0]].values():
                self.under_names.update(_under_names(hint))
        return added

    def parse_args(self, args: Any = None, *more: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """Parse words.

        Raises:
            InputError: a config file cannot be read, or a name with an empty mapping is not accepted.
        """
        words = [str(word) for word in (sys.argv[1:] if args is None else args)]
        for word in words:
            _check_word(word)
        words = list(map(_as_yaml, words))
        self._given = list(word_sections(words))
        parsed: Namespace = super().parse_args(words, *more, **kwargs)
        for where, content in self._given:
            refuse_dropped(content, parsed, where)
        return parsed

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a config file and those that it includes.

        Raises:
            InputError: it is no YAML mapping within the limits of `kdlab.files.read_yaml`, a section of it is none, or
                what it includes is refused (`kdlab.configs.read_config`).
        """
        if Path(os.fspath(path)).is_file():  # fsspec reads others
            where, content = f"--config: {os.fspath(path)!r}", read_yaml(os.fspath(path), "--config")
            includes = INCLUDE in content
            content = expand(content, Path(os.fspath(path)), "--config")
            if includes:
                self._content = yaml.safe_dump(content, default_style='"', sort_keys=False)  # a text stays a text
            self._check_sections(content, where)
            self._given.append((where, content))
        parsed: Namespace = super().parse_path(path, *args, **kwargs)
        return parsed

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a config; with that of a file come those that it includes."""
        content, self._content = self._content or content, None
        parsed: Namespace = super().parse_string(content, *args, **kwargs)
        return parsed

    def parse_object(self, obj: Any, namespace: Any = None, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a mapping over what was parsed before; where the two are equal, it is read once in place of twice.

        Each level of a nested class is parsed over itself when its values are checked.

        Raises:
            ValueError: several objects of the class under names, which another type of the argument takes: an error
                would end the process before that is tried.
        """
        if self._alone in self.under_names:
            given = vars(obj) if isinstance(obj, Namespace) else obj
            kinds = {type(item) for item in given.values()}
            if kinds and kinds <= {dict, Namespace} and not any(action.dest in given for action in self._actions):
                raise ValueError(f"Option {next(iter(given))!r} is not accepted")
        before = None if namespace is not None and _equal(obj, namespace) else namespace
        parsed: Namespace = super().parse_object(obj, before, *args, **kwargs)
        return parsed

    def parse_given(self, content: Mapping[str, Any], where: str) -> Namespace:
        """Parse the sections of a config without the defaults of other arguments; required ones are missed.

        Raises:
            InputError: a section is no mapping, or a class has no name.
        """
        self._check_sections(content, where)
        parsed: Namespace = self.parse_object(copy.deepcopy(content), defaults=False)
        return parsed

    def dump(self, cfg: Namespace, *args: Any, **kwargs: Any) -> str:
        """A config as YAML; a default of a class that is a word of an enumeration, as `Timer` has one, is that word."""
        text: str = super().dump(_with_words(cfg), *args, **kwargs)
        return text

    def _check_sections(self, content: Mapping[Any, Any], where: str) -> None:
        """A section such as ``trainer`` holds named values, or names a file that does; a class is named by a word."""
        names = {action.dest for action in self._actions}
        sections = {name.partition(".")[0] for name in names if "." in name}
        for key, value in content.items():
            if key in sections and not isinstance(value, dict | str):
                classes = key in ("data", "model")
                example = f"{key}: {{class_path: ...}}." if classes else f"{key}: {{name: value}}, or leave it out."
                raise InputError(f"{where}: {key} must be a mapping, but got {value!r:.80}. Write {example}")
        if "trainer" in sections:  # of a subcommand
            self._check_empty(content, names | sections, "", where)
            self._check_empty(content.get("trainer"), names, "trainer.", where)
        check_keys(content, where)
        _check_classes(content, where)

    @staticmethod
    def _check_empty(section: Any, names: set[str], prefix: str, where: str) -> None:
        """The parser drops an empty mapping before it looks at its name, which may be a typo."""
        for key, value in section.items() if isinstance(section, Mapping) else ():
            if value == {} and f"{prefix}{str(key).removesuffix('+')}" not in names:
                raise InputError(f"{where}: {prefix}{key} is not accepted. Correct the name, or remove it.")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Leave out the usage, which is longer than a screen, and end with the reason."""
        text = str(message)
        print(text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ...", file=sys.stderr)
        print("\nSee --help of the subcommand for what is accepted.", file=sys.stderr)
        print(f"error: {one_line(reason(text))}", file=sys.stderr)
        raise SystemExit(2)


def _under_names(hint: Any) -> Iterator[type]:
    """The classes of a union of which it takes one, or several under names.

    >>> list(_under_names(str | Path | dict[str, Path]))
    [<class 'pathlib.Path'>]
    """
    kinds = get_args(hint)
    for kind in kinds:
        if get_origin(kind) is dict and (named := get_args(kind)[1]) in kinds and isinstance(named, type):
            yield named


def _check_classes(value: Any, where: str) -> None:
    """Every ``class_path`` is a word and every ``init_args`` a mapping, at all levels."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "class_path" and not (isinstance(item, str) and item.strip()):
                raise InputError(f"{where}: class_path must be the name of a class, but got {item!r:.80}. Name one.")
            if key == "init_args" and not isinstance(item, Mapping):
                raise InputError(
                    f"{where}: init_args must be a mapping, but got {item!r:.80}. Write init_args: {{name: value}}, or "
                    "leave it out."
                )
            _check_classes(item, where)
    elif isinstance(value, list):
        for item in value:
            _check_classes(item, where)


# ---- the reason ------------------------------------------------------------------------------------------------------
_REASONS = (
    r"not accepted|not accept|not expected|no such class|not found|unrecognized|got value|not a valid|unable to load|"
    r"no module|does not correspond|could not be read|is abstract|must "
)
_MISSING = r"^the following arguments are required: .*\b(fit|validate|test|predict)\.(data|model)$"
_A_CONFIG = r"^unrecognized arguments: ([^\s-]\S*\.ya?ml)$"
_NO_CLASS = "no such class (a typo? a class of your own is named module.Class): "


def reason(message: str) -> str:
    """One line of a message of the parser: the key, what it takes and what it got.

    >>> reason("Parser key \\"a\\":\\n  - Expected a <class 'int'>. Got value: x")
    'Parser key "a": expected int, but got x'
    """
    message = re.sub(r"NestedArg\(key='[\w.+]*', val=(.*?)\)(?=\s|$)", lambda m: m[1].strip("'\""), message)
    lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
    lines = [re.sub(_MISSING, r"\g<0>. Name a config that has them: --config FILE", line) for line in lines]
    lines = [re.sub(_A_CONFIG, r"\g<0>. Write --config \1", line) for line in lines]
    where = f"{lines[0]} " if lines and re.fullmatch(r"Parser key .*:", lines[0]) else ""
    takes, given = ([s[len(t) :].strip() for s in lines if s.startswith(t)] for t in ("Subtypes:", "Given value:"))
    return where + (_special(lines, takes, given) or _general(lines[len(where) > 0 :], takes, given))


def _special(lines: list[str], takes: list[str], given: list[str]) -> str | None:
    """The reasons that are deep in a message among others that do not apply."""
    for line in lines:
        if several := re.match(r"Multiple subclasses with name (\S+)\. .*ambiguity: (.*?)\.?$", line):
            return _which(several[1], several[2].split(", "))
    if any(line.startswith("Expected an instantiatable class, but is abstract") for line in lines) and given:
        return f"{given[0]:.200} is abstract (it only names what its subclasses share). Name one of its subclasses"
    for line in lines:
        if plain := re.fullmatch(r"Import path (\S+) does not correspond to a subclass of Backbone", line):
            return f"{line}. Write {{class_path: Adapter, init_args: {{net: {{class_path: {plain[1]}}}, head: ...}}}}"
    numbers = takes and re.findall(r"<class '(int|float)'>", takes[-1])
    if numbers and given and any("Tensor" in one for one in takes):
        return f"expected {' or '.join(dict.fromkeys(numbers))} (a number), but got {given[-1]:.200}"
    return None


def _which(name: str, paths: list[str]) -> str:
    """What to write for a class name that several classes have."""
    ours = [path for path in paths if path.startswith("torch.")]
    if len(ours) == 1:  # Lightning has a twin of it
        return f"several classes are named {name}. Write {ours[0]}"
    return f"several classes are named {name}. Write the one that is meant: {' or '.join(paths)}"


def _general(lines: list[str], takes: list[str], given: list[str]) -> str:
    lines = [line.replace("Expected a dot import path string: ", _NO_CLASS) for line in lines]
    reasons = [line for line in lines if re.search(_REASONS, line, re.IGNORECASE)]
    deeper = lines[lines.index("Errors:") + 1 :] if "Errors:" in lines else []
    errors = [
        line for line in deeper if not re.match(r"Expected an? |Does not |Subtypes: |Errors:|Given |Not a ", line)
    ]
    reasons = reasons or errors[:1]  # what a class itself refused
    words = bool(takes) and "Literal[" in takes[0]  # then the value is no class, but a word with a typo
    if takes and given and (not reasons or (words and reasons[0].startswith(_NO_CLASS))):
        return f"expected one of {_plain(takes[0][1:-1])}, but got {given[-1] or repr(''):.200}"
    said = (reasons or lines or ["?"])[0]
    if expected := re.fullmatch(r"Expected an? (.*)\. Got value: (.*)", said):
        one_of = "one of " * expected[1].startswith("typing.Literal[")
        return f"expected {one_of}{_plain(expected[1])}, but got {expected[2]:.200}"
    said, _, got = said.partition(". Got value: ")
    said = re.sub(r"^Type typing\.Callable\[.*\] expects a function or a callable class: ", "", said).rstrip(".")
    if re.fullmatch(r"Option '.*' is not accepted", said):
        return f"{said} (a typo, or the class_path beside it is missing or names another class)"
    if got or (given and said.startswith("Not a valid")):
        said += f", but got {got or given[0]:.200}"
    return said


def _plain(types: str) -> str:
    """Types as one writes them in YAML: the words of a ``Literal``, classes without their modules, ``null``."""
    types = re.sub(r"<class '([^']*)'>", r"\1", types)
    types = re.sub(r"(?:typing\.)?Callable\[\[[^\]]*\], (?:(?:typing\.)?Union\[)?([^\[\]]+)\]+", r"\1", types)
    types = re.sub(r"(?:typing\.)?Literal\[([^\]]*)\]", r"\1", types)
    return re.sub(r"\bNone(?:Type)?\b", "null", re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", types))
