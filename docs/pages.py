"""Pages that are made from the code when the site is built: methods, views, nets and the API reference."""

from __future__ import annotations

import csv
import inspect
import json
import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import yaml

import kdlab
from kdlab.methods import Distillation, Distilled, Method, TeacherFree
from kdlab.objective import Objective
from kdlab.views import View

ROOT = Path(__file__).parents[1]
#: title of an API page -> modules whose public names it documents
ROOMS = {
    "Methods: bases, teachers, schedules": ["kdlab.methods"],
    "Objectives": ["kdlab.objective", "kdlab.objectives", "kdlab.fields", "kdlab.pairs", "kdlab.temperature"],
    "Functions": ["kdlab.functional"],
    "Nets": ["kdlab.nets"],
    "Views": ["kdlab.views"],
    "Augmentation": ["kdlab.augment"],
    "Data": ["kdlab.data"],
    "Callbacks and cache": ["kdlab.callbacks", "kdlab.cache"],
    "Student on a device": ["kdlab.loading", "kdlab.stream", "kdlab.export"],
    "Evaluation and studies": ["kdlab.evaluate", "kdlab.study", "kdlab.citations"],
    "Types": ["kdlab.types"],
}
BASES = (Method, Distillation, Distilled, TeacherFree)
Row = dict[str, str]


def title(text: str, line: str = "=") -> str:
    """A heading of reStructuredText."""
    return f"{text}\n{line * len(text)}\n\n"


def methods() -> dict[str, type[Method]]:
    """Name -> class of every method that can be trained."""
    found = {name: getattr(kdlab.methods, name) for name in vars(kdlab.methods)["__all__"]}
    return {n: c for n, c in sorted(found.items()) if inspect.isclass(c) and issubclass(c, Method) and c not in BASES}


@cache
def recipes() -> dict[str, list[str]]:
    """Name of a method -> its files in experiments/methods."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "experiments/methods").glob("*.yaml")):
        model = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
        found.setdefault(model["class_path"], []).append(path.stem)
    return found


def tables(text: str) -> dict[str, list[Row]]:
    """Heading -> rows of the tables below it that begin with a column ``run``.

    Example:
        >>> tables("## A study\\n\\n| run | F1 |\\n| --- | ---: |\\n| kd | 90 |\\n")
        {'A study': [{'run': 'kd', 'F1': '90'}]}
    """
    found: dict[str, list[Row]] = {}
    heading, columns = "", []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not cells or cells[0] == "run":
            columns = cells
        elif columns and not set(cells[0]) <= set("-: "):
            found.setdefault(heading, []).append(dict(zip(columns, cells, strict=True)))
    return found


def rows_of(names: list[str], evidence: dict[str, list[Row]]) -> list[list[str]]:
    """Study, run, accuracy and differences of the rows that have one of the names."""

    def cell(row: Row, begins: str) -> str:
        return next((value for key, value in row.items() if key.startswith(begins)), "")

    return [
        [study, row["run"], cell(row, "test accuracy"), cell(row, "minus scratch"), cell(row, "minus kd")]
        for study, rows in evidence.items()
        for row in rows
        if row["run"].split()[0] in names and cell(row, "test accuracy")
    ]


def list_table(head: list[str], rows: list[list[str]]) -> str:
    """A table of reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [head, *rows]:
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join([*lines, "", ""])


def taps_of(objective: type[Objective]) -> tuple[str, ...]:
    """The features that an objective compares by default."""
    return tuple(objective().taps)


def facts(cls: type[Method]) -> list[str]:
    """What the class of a method declares: teachers, what is compared, labels, batches."""
    objective: type[Objective] | None = getattr(cls, "made_from", None)  # methods that are written by hand have none
    if not issubclass(cls, Distillation):
        said = ["It has no teacher."]
    elif weights := getattr(objective, "default_weights", None):  # of some objectives alone
        said = [f"Its teachers are {' and '.join(f'``{name}``' for name in weights)} unless ``weights`` names others."]
    elif getattr(objective, "fewest_teachers", 1) > 1:  # of some objectives alone
        said = ["It takes two or more teachers."]
    else:
        said = ["It takes one teacher, or several with fixed or adaptive weights."]
    if objective is None:
        return said
    taps = taps_of(objective)
    kind = {"feature": "the features", "attention": "the attention maps", "gram": "the Gram matrices"}[objective.reads]
    if taps and issubclass(cls, Distillation):
        said.append(f"It compares {kind} of {', '.join(f'``{tap}``' for tap in taps)}.")
    elif issubclass(cls, Distillation):
        said.append("It compares logits alone, so student and teachers may read views of any kind.")
    if objective.make_adapters is not Objective.make_adapters:
        said.append("It trains adapters with the student; they are not exported.")
    if objective.reads_labels:
        said.append("All of its terms read labels, so windows without a label give it nothing.")
    if objective.takes_many_labels:
        said.append("It also trains on windows with any number of labels (``labels: many``).")
    if not objective.order_invariant:
        said.append(f"The order of a batch matters: {objective.reason}.")
    return said


@cache
def costs() -> dict[str, Row]:
    """Name of a method -> its row of docs/costs.csv, which ``python -m benchmarks.methods`` writes."""
    with (ROOT / "docs/costs.csv").open(encoding="utf-8", newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def cost(name: str, cls: type[Method], measured: dict[str, Row]) -> str:
    """What a step of a method costs: what follows from its class, and what was measured."""
    text = ""
    if issubclass(cls, Distillation):
        kept = {"feature": "features", "attention": "attention maps", "gram": "Gram matrices"}
        objective = getattr(cls, "made_from", None)  # none where it is written by hand
        more = f" and {kept[objective.reads]}" if objective is not None and taps_of(objective) else ""
        text = f"Each teacher has a forward pass per step, but where ``cache`` can keep its logits{more}.\n\n"
    if name not in measured:
        return text + "The time of a step is not measured yet (``python -m benchmarks.methods``).\n\n"
    row = measured[name]
    teachers = "without a teacher" if row["teachers"] == "0" else f"with {row['teachers']} live teacher(s)"
    adapters = f", and it trains {int(row['adapters']):,} parameters of adapters" if row["adapters"] != "0" else ""
    return text + (
        f"A training step {teachers} takes {row['step']} times the processor time of a step with labels alone"
        f"{adapters}. Student and teachers are WRN16-1 on the same signal here, so that the numbers compare methods; "
        "larger teachers and image teachers cost what their nets cost (``python -m benchmarks.methods``).\n\n"
    )


@cache
def advice() -> dict[str, str]:
    """Name of a method -> when to use it."""
    found: dict[str, str] = yaml.safe_load((ROOT / "docs/when.yaml").read_text(encoding="utf-8"))
    return found


def method_page(name: str, cls: type[Method], evidence: dict[str, list[Row]], *, first: bool) -> str:
    """The page of a method.

    Args:
        name: its public name.
        cls: its class.
        evidence: what `tables` returns.
        first: whether it is the first method of its file, which documents the module.
    """
    files = recipes().get(name, [])
    when = advice().get(name, "")
    text = title(name) + f".. automodule:: {cls.__module__}\n{'' if first else '   :no-index:'}\n\n"
    text += title("When to use it", "-") + f"{when}\n\n" + "".join(f"- {fact}\n" for fact in facts(cls)) + "\n"
    text += title("Cost", "-") + cost(name, cls, costs())
    if files:
        text += title("In a config", "-")
        for file in files:
            text += f"``experiments/methods/{file}.yaml``:\n\n"
            text += f".. literalinclude:: /experiments/methods/{file}.yaml\n   :language: yaml\n\n"
    known = [*files, name.lower()]
    if rows := rows_of([*known, *(f"{run}_auto" for run in known)], evidence):  # auto: with measured weights
        text += title("In the studies", "-")
        text += "Percent; what was compared, and what follows from it: :doc:`/experiments/every_method`, "
        text += ":doc:`/experiments/README` and, under earlier rules, :doc:`/experiments/earlier_results`.\n\n"
        text += list_table(["study", "run", "test accuracy", "minus scratch", "minus kd"], rows)
    text += title("Arguments", "-") + f".. autoclass:: kdlab.{name}\n\n"
    objective = getattr(cls, "made_from", None)  # methods that are written by hand have none
    if objective is not None and objective.__module__ == cls.__module__ and first:
        text += f".. autoclass:: {objective.__module__}.{objective.__name__}\n   :members: forward\n\n"
    return text


def method_pages() -> dict[str, str]:
    """File of the site -> the page of each method."""
    files = [f"experiments/{name}.md" for name in ("every_method", "README", "earlier_results")]
    evidence = tables("\n".join((ROOT / file).read_text(encoding="utf-8") for file in files))
    pages, seen = {}, set[str]()
    for name, cls in methods().items():
        pages[f"docs/methods/{name}.rst"] = method_page(name, cls, evidence, first=cls.__module__ not in seen)
        seen.add(cls.__module__)
    return pages


def linked(text: str) -> str:
    """A page of Markdown in whose tables the names of methods are links to their pages."""
    known = methods()

    def link(match: re.Match[str]) -> str:
        return f"[{match[0]}](methods/{match[1]}.rst)" if match[1] in known else match[0]

    lines = [re.sub(r"(?<!\[)`(\w+)`", link, x) if x.startswith("|") else x for x in text.splitlines()]
    return "\n".join(lines) + "\n"


def api_pages() -> dict[str, str]:
    """File of the site -> page of the API reference; ``docs/api/index.rst`` lists them."""
    pages, own = {}, methods()
    for heading, modules in ROOMS.items():
        text = title(heading)
        for module in modules:
            text += f".. automodule:: {module}\n   :members:\n   :show-inheritance:\n"
            if module == "kdlab.methods":
                text += f"   :exclude-members: {', '.join(own)}\n"
            text += "\n"
        pages[f"docs/api/{modules[0].removeprefix('kdlab.')}.rst"] = text
    names = "".join(f"   {Path(file).stem}\n" for file in pages)
    index = title("API reference") + (
        "Every public name. ``kdlab`` itself has the methods, ``Teacher``, ``TeacherCache``, ``Batch``, ``Output``, "
        "``Stream``, ``load`` and the errors, and each package below by its name.\n\n"
    )
    pages["docs/api/index.rst"] = index + f".. toctree::\n   :maxdepth: 1\n\n{names}\n"
    return pages


def views() -> dict[str, type[View]]:
    """Name -> class of every view."""
    found = {name: getattr(kdlab.views, name) for name in kdlab.views.__all__}
    return {n: c for n, c in found.items() if inspect.isclass(c) and issubclass(c, View) and c is not View}


def view_section(name: str, cls: type[View], image: str | None) -> str:
    """The section of a view: what it is, its figure, its arguments in a config."""
    says = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("``", "`")
    says = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", " ".join(says.split()))
    shown = {f.name: f.default for f in fields(cls) if isinstance(f.default, int | float | str | None)}
    config = ", ".join(f"{key}: {json.dumps(value)}" for key, value in shown.items())
    figure = f"![A window of running as {name}]({image})\n\n" if image else ""
    return f"## {name}\n\n{says}\n\n{figure}Its arguments and their defaults: `{{{config}}}`\n\n"


def written(folder: Path, pages: dict[str, str]) -> None:
    """Write pages into a folder; those that are as they were keep their time."""
    for file, text in pages.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def net_table(channels: int = 6, length: int = 100, classes: int = 5) -> str:
    """A table of Markdown: parameters and millions of multiply-accumulates of nets on a window."""
    from kdlab.evaluate.cost import macs, parameters
    from kdlab.evaluate.nets_table import _SIGNALS_ONLY, NETS

    lines = ["| net | parameters | MACs (M) |", "|---|---:|---:|"]
    for name, (cls, arguments) in NETS.items():
        kind = {} if cls in _SIGNALS_ONLY else {"ndim": 1}
        net = cls(in_channels=channels, num_classes=classes, **kind, **arguments)
        count = f"{macs(net, (channels, length)) / 1e6:.2f}" if length >= net.stride else f"needs {net.stride} samples"
        lines.append(f"| {name} | {parameters(net):,} | {count} |")
    return "\n".join([*lines, ""])
