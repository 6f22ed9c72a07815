"""The JSON schema of run files, made from the parsers of fit, validate, test and predict."""

from __future__ import annotations

from typing import Any

from kdlab.configs import INCLUDE
from kdlab.lightning_cli import KdlabCLI, Reading
from kdlab.schema.arguments import shapes
from kdlab.schema.definitions import Definitions, assemble
from kdlab.shapes import Shape, either, listed, text

_ABOUT = {"data": "The recordings, their split and views.", "model": "The method, its nets and its settings."}


class Parsers(Reading):
    """Has the parser of one command, and parses nothing."""

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """The words are left as they are."""
        self.config = {"subcommand": args[0]}

    def _add_instantiators(self) -> None:
        pass


def run_schema() -> dict[str, Any]:
    """The schema of run files, and of the files that they include: no key is needed, since another file may have it."""
    definitions = Definitions()
    properties: dict[str, Shape] = {}
    for command in KdlabCLI.subcommands():
        actions = Parsers([command])._parser(command)._actions
        for name, shape in shapes(actions, definitions.classes).items():
            properties.setdefault(name, shape)
    for name in ("data", "model"):
        properties[name] = {**properties[name], "description": _ABOUT[name]}
    names = text("a file; a relative name starts at the folder of this file")
    properties[INCLUDE] = either(
        "Run files over which this one is laid, in their order.", names, listed(names, least=1)
    )
    return assemble("kdlab run file", properties, definitions.made)
