"""What editors need beside the files of a new study: the schemas, and the line of each file that names one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kdlab.files import parse_yaml
from kdlab.schema.files import NAMES, line, shipped

_LINE = re.compile(r"^# yaml-language-server: .*\n", re.MULTILINE)


def with_schemas(texts: Mapping[str, str]) -> dict[str, str]:
    """File -> its text: each YAML file begins with the line of its schema, and the schemas come last.

    Args:
        texts: name of a YAML file below the folder of the schemas -> its text.

    Example:
        >>> list(with_schemas({"runs/kd.yaml": "model: KD\\n"}))
        ['runs/kd.yaml', 'kdlab.run.schema.json', 'kdlab.study.schema.json']
        >>> with_schemas({"runs/kd.yaml": "model: KD\\n"})["runs/kd.yaml"].splitlines()[0]
        '# yaml-language-server: $schema=../kdlab.run.schema.json'
    """
    lined = {name: _lined(name, text) for name, text in texts.items()}
    return {**lined, **{name: shipped(kind) for kind, name in NAMES.items()}}


def _lined(name: str, text: str) -> str:
    first = line(parse_yaml(text, name) or {}, "../" * name.count("/"))
    return _LINE.sub(first, text) if _LINE.search(text) else first + text
