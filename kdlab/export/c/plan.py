"""Where the features lie in one static array: values that are never needed at the same time share their bytes."""

from __future__ import annotations

from dataclasses import dataclass

from kdlab.export.c.ir import IntAddition, IntConvolution, IntLayer, Program, Value


@dataclass(frozen=True)
class Plan:
    """Bytes of the array, and the place of each value by its name."""

    bytes: int
    places: dict[str, int]


@dataclass
class _Block:
    """Bytes that are in use from one layer to another, by one value or by several that follow each other in place."""

    size: int
    first: int
    last: int
    names: list[str]
    place: int = -1


def plan(program: Program) -> Plan:
    """Places of all values but the logits, by size, each as low as it fits (greedy by size).

    A layer that reads each number once before it writes there works in place where its input is not needed any more.

    >>> from kdlab.export.c.ir import Value
    >>> block = _Block(4, 0, 1, ["a"], 0)
    >>> _lowest([block], _Block(2, 1, 2, ["b"])), _lowest([block], _Block(2, 2, 3, ["c"]))
    (4, 0)
    """
    blocks = _blocks(program)
    placed: list[_Block] = []
    for block in sorted(blocks, key=lambda one: -one.size):
        block.place = _lowest(placed, block)
        placed.append(block)
    places = {name: block.place for block in blocks for name in block.names}
    return Plan(max(block.place + block.size for block in blocks), places)


def _blocks(program: Program) -> list[_Block]:
    layers, window = program.layers, program.reader.output
    last = {value.name: i for i, layer in enumerate(layers) for value in layer.inputs}
    blocks = {window.name: _Block(program.bytes(window), -1, last.get(window.name, 0), [window.name])}
    for i, layer in enumerate(layers[:-1]):
        name, end = layer.output.name, last.get(layer.output.name, i)
        size = program.bytes(layer.output)
        free = (v for v in _in_place(layer) if last[v.name] == i and blocks[v.name].last == i)
        reused = next((v for v in free if program.bytes(v) == size), None)
        if reused is None:
            blocks[name] = _Block(size, i, end, [name])
        else:
            blocks[name] = blocks[reused.name]
            blocks[name].names.append(name)
            blocks[name].last = end
    return list({id(block): block for block in blocks.values()}.values())


def _in_place(layer: IntLayer) -> tuple[Value, ...]:
    """Inputs that the output may overwrite."""
    if isinstance(layer, IntAddition):
        return layer.inputs
    pointwise = isinstance(layer, IntConvolution) and layer.geometry.depthwise and layer.geometry.kernel == 1
    same = pointwise and layer.inputs[0].length == layer.output.length
    return layer.inputs if same else ()


def _lowest(placed: list[_Block], block: _Block) -> int:
    """The lowest place that no block holds that is in use at the same time."""
    others = sorted((b for b in placed if b.first <= block.last and block.first <= b.last), key=lambda b: b.place)
    place = 0
    for other in others:
        if place + block.size <= other.place:
            break
        place = max(place, other.place + other.size)
    return place
