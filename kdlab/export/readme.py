"""The card of a student in words: ``README.md`` beside its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: of the split: whether they were validated and tested is said by the evidence
_PARTS = {
    "train": "for training",
    "unlabelled": "more for training without labels",
    "val": "kept for validation",
    "test": "kept for test",
}
_STAGES = {"val": "validation", "test": "test"}
_NOT_STATED = "not stated: whoever shares the student has to state it"


def readme(card: Mapping[str, Any]) -> str:
    """Markdown of a card."""
    sharing = card["sharing"]
    parts = [
        f"# {_plain(card['name'])}",
        f"A student that was trained with kdlab {_plain(card['kdlab'])}. {_plain(sharing['intended_use'])}",
        _list("Limits", map(_plain, sharing["limits"])),
        _use(card),
        _input(card),
        _data(sharing),
        _evidence(sharing["evidence"], card.get("metrics")),
        _training(card),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(card: Mapping[str, Any]) -> str:
    shape = ", ".join(map(str, card["input"]["shape"][1:]))
    lines = [
        "## Use",
        "",
        "    import kdlab",
        "",
        '    student = kdlab.from_pretrained("this folder")',
        f"    student.predict(windows)  # (B, {shape}), in the units below",
    ]
    return "\n".join(lines)


def _input(card: Mapping[str, Any]) -> str:
    rate = card.get("sampling_rate")
    channels = [f"{_plain(one['name'])} ({_plain(one.get('unit') or 'unit not stated')})" for one in card["channels"]]
    many = (
        " (a window may have any number of them: those whose probability, the sigmoid of the logit, is above one half)"
    )
    lines = [
        f"- channels, in this order: {', '.join(channels)}",
        f"- shape: {', '.join(map(str, card['input']['shape']))}",
        f"- sampling rate: {'not stated' if rate is None else f'{rate:g} Hz'}",
        f"- classes, in the order of the logits: {', '.join(map(_plain, card['classes']))}"
        + (many if card.get("labels") == "many" else ""),
    ]
    return "\n".join(["## Input and output", "", *lines])


def _data(sharing: Mapping[str, Any]) -> str:
    data, people = sharing["data"], sharing["people"]
    counts = "not known"
    if people is not None:
        told = [f"{people[part]} {what}" for part, what in _PARTS.items() if part in people]
        counts = f"{_plain(people['unit'])}: {', '.join(told)}"
    lines = [
        f"- licence of the student: {_plain(sharing['licence'] or _NOT_STATED)}",
        f"- data: {_plain(data['dataset'] or 'not known')}",
        f"- licence of the data: {_plain(data['licence'] or _NOT_STATED)}",
        f"- who was recorded, counts only: {counts}",
    ]
    cited = data["citation"]
    quoted = "" if not cited else "\n\n" + "\n".join(f"    {line}" for line in str(cited).splitlines())
    return "\n".join(["## Licence, data and people", "", *lines]) + quoted


def _evidence(evidence: Mapping[str, Any] | None, metrics: Mapping[str, Any] | None) -> str:
    own = ""
    if metrics is not None:
        own = (
            f"On {metrics['count']} {_STAGES.get(metrics['windows'], 'other')} windows its accuracy is "
            f"{100 * metrics['accuracy']:.1f} %, its macro F1 {100 * metrics['f1']:.1f} %."
        )
    if evidence is None:
        return "\n\n".join(part for part in ("## Evidence", own or "None: it was not measured.") if part)
    name, per = _plain(evidence["row"]), f"{100 * evidence['confidence']:g} %"
    accuracy = "not measured" if evidence["accuracy"] is None else f"{100 * evidence['accuracy']:.1f} %"
    over = f"{evidence['units']} {_plain(evidence['over'])}, {evidence['runs']} nets"
    said = f"Row `{name}` of the study `{_plain(evidence['study'])}`: test accuracy {accuracy}"
    lines = [
        f"- {said}{_interval(evidence['interval'], per, signed=False)}, over {over}.",
        *(
            f"- Minus `{_plain(one['row'])}`: {_points(one['difference'])}{_interval(one['interval'], per)}, over "
            f"{one['units']} {_plain(one['over'])}."
            for one in evidence["controls"]
        ),
        f"- Weights are chosen by: {_plain('; '.join(evidence['selection']))}.",
        *(f"- Not shown: {_plain(miss)}." for miss in evidence["misses"]),
        f"- This net alone, one of {evidence['runs']}: {_this(evidence['this_net'])}.",
        f"- Made with kdlab {_plain(evidence['kdlab'])}, commit {_plain(evidence['commit'] or 'not known')}.",
    ]
    return "\n\n".join(part for part in ("## Evidence", "\n".join(lines), own) if part)


def _this(net: Mapping[str, Any]) -> str:
    if net["accuracy"] is None:
        return "not measured"
    people = f" of {net['people']} people" if net["people"] else ""
    return f"{100 * net['accuracy']:.1f} % of {net['windows']} test windows{people}"


def _points(value: float | None) -> str:
    return "not compared" if value is None else f"{100 * value:+.1f} points"


def _interval(ends: Sequence[float] | None, per: str, signed: bool = True) -> str:
    if ends is None:
        return ""
    low, high = (f"{100 * end:+.1f}" if signed else f"{100 * end:.1f}" for end in ends)
    return f" [{low}, {high}] ({per})"


def _training(card: Mapping[str, Any]) -> str:
    source = card["provenance"]
    teachers = ", ".join(f"`{_plain(name)}`" for name in source["teachers"]) or "none"
    weights = source["training"].get("reason")
    lines = [
        f"- method: {_plain(source['method'] or 'not known')}; teachers (not in this folder): {teachers}",
        f"- net: `{_plain((source['net'] or {}).get('class_path', 'not known'))}`, {card['file']['bytes']:,} bytes",
        *([f"- {_plain(weights)}"] if weights else []),
    ]
    return "\n".join(["## Training", "", *lines])


def _list(title: str, lines: Any) -> str:
    return "\n".join([f"## {title}", "", *(f"- {line}" for line in lines)])


def _plain(text: Any) -> str:
    """Text on one line that Markdown does not take for more.

    >>> _plain("a <b>\\n# c")
    'a b # c'
    """
    return " ".join(str(text).replace("<", "").replace(">", "").replace("`", "'").split())
