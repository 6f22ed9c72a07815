"""``kdlab export CKPT``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from kdlab import usage
from kdlab.evaluate import trust
from kdlab.export.make import export
from kdlab.export.module import Exported, card_path
from kdlab.export.origins import Quantised
from kdlab.export.pretrained import CARD
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import KEPT_FILES, description, find_checkpoint, read_checkpoint
from kdlab.nets.recorded import is_complete, same_net
from kdlab.types import InputError

Build = Callable[[str, list[str]], tuple[Any, Any]]


def main(words: Sequence[str], build: Build) -> Exported:
    """Run the command and print what was made.

    Args:
        words: of the command line, after ``export``.
        build: makes method and data module from a config file and overriding words.

    Returns:
        The exported file.
    """
    given, overrides = usage.export().parse_known_args(list(words))
    checkpoint = find_checkpoint(given.checkpoint, KEPT_FILES, "CKPT")
    config = Path(given.config) if given.config else config_of(checkpoint)
    net = None
    if given.config or given.trust_config:
        method, datamodule = build(str(config), overrides)
        net = _net_of(method, checkpoint)
    else:
        datamodule = trust.data_module(config, overrides)
    exported = export(
        checkpoint,
        datamodule,
        given.output,
        format=given.format,
        quantize=given.quantize,
        windows=given.windows,
        tolerance=given.tolerance,
        overwrite=given.overwrite,
        int8_minimum=given.int8_minimum,
        net=net,
        name=given.name,
        self_test=given.self_test,
        about=_about(given.about),
    )
    print(summary(exported))
    return exported


def _about(words: Sequence[str]) -> dict[str, str]:
    """``KEY=TEXT`` as a mapping.

    >>> _about(["licence=MIT", "limits=right wrist only"])
    {'licence': 'MIT', 'limits': 'right wrist only'}
    """
    pairs = [word.partition("=") for word in words]
    if wrong := [word for word, (_, equals, _) in zip(words, pairs, strict=True) if not equals]:
        raise InputError(f"--about: must be KEY=TEXT, but got {wrong[0]!r}. Write --about licence=MIT.")
    return {key.strip(): text for key, _, text in pairs}


def _net_of(method: Method | None, checkpoint: Path) -> nn.Module | None:
    """The net of a trusted config, where that of the checkpoint was passed as a module and is of the same class."""
    if method is None:
        return None
    described = description(read_checkpoint(checkpoint, "CKPT"), "CKPT")
    if described is None or is_complete(described["net"]) or not same_net(described["net"], method.net.spec):
        return None
    return method.net


def config_of(checkpoint: Path) -> Path:
    """The configuration beside a checkpoint.

    Raises:
        InputError: when there is none.
    """
    if (found := trust.config_beside(checkpoint)) is not None:
        return found
    raise InputError(
        f"CKPT: no config.yaml beside {str(checkpoint)!r}, so its data are not known. Pass --config with the data that "
        "it was trained on, or call kdlab.export.export(checkpoint, datamodule)."
    )


def summary(exported: Exported) -> str:
    """The exported file, in four lines, of an int8 file one more, and of a net in C another."""
    card = exported.card
    size, time, check = card["size"], card["latency"], card["check"]
    before, after = (100 * check["accuracy"][key] for key in ("before", "after"))
    before_kb = "" if size["before"] is None else f"checkpoint {size['before'] / 1000:.0f} kB, of which "
    after_ms = "not measured (no compiler)" if time["after"] is None else f"{time['after']:.3f} ms"
    difference = f"largest logit difference {check['largest_logit_difference']:.2g}"
    own = CARD if exported.path.is_dir() else card_path(exported.path).name
    return "\n".join(
        [
            f"{exported.path} (card: {own})",
            f"size: {size['after'] / 1000:.0f} kB; {before_kb}weights {size['weights'] / 1000:.0f} kB",
            f"latency, batch 1, one thread: {after_ms}; checkpoint in PyTorch {time['before']:.3f} ms",
            f"on {check['count']} {check['windows']} windows: {100 * check['agreement']:.1f} % equal predictions, "
            f"accuracy {after:.1f} % (checkpoint {before:.1f} %), {difference}",
            *_int8(card["quantisation"]),
            *_c(card.get("c")),
        ]
    )


def _c(about: Mapping[str, Any] | None) -> list[str]:
    if about is None:
        return []
    ram, flash, test = about["ram"], about["flash"], about["self_test"]
    return [
        f"C99: {about['function']} in {about['header']['name']}{f', self-test {test}' if test else ''}; RAM "
        f"{ram['static']:,} bytes and less than {ram['stack_below']} of stack, flash {sum(flash.values()):,} bytes "
        "and code"
    ]


def _int8(quantisation: Mapping[str, Any] | None) -> list[str]:
    if quantisation is None:
        return []
    counted = Quantised(quantisation["int8_share"], quantisation["float32"])
    return [f"int8: {100 * counted.share:.1f} % of the weights; float32: {counted.in_words() or 'none'}"]
