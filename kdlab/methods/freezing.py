"""Parts of a net that are not trained: without gradients, and always in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from kdlab.nets.base import Backbone
from kdlab.types import InputError

#: all parts but the head
BODY = "body"
_LISTED = 20


def freeze(net: Backbone, parts: str | Sequence[str], who: str) -> list[str]:
    """Take parts of a net out of training, until :func:`unfreeze`.

    Args:
        net: the net.
        parts: ``"body"``, all but the head; or paths of modules and parameters of the net, such as
            ``["stem", "stages.0"]``.
        who: for messages.

    Returns:
        The names of the parameters that were trained before.

    Raises:
        InputError: for a path that is not in the net, or where nothing is left to train.
    """
    paths = _body(net) if parts == BODY else [parts] if isinstance(parts, str) else list(parts)
    modules, parameters = dict(net.named_modules()), dict(net.named_parameters())
    if unknown := [path for path in paths if not path or (path not in modules and path not in parameters)]:
        known = [*(name for name, _ in net.named_children()), *(n for n in parameters if "." not in n)]
        raise InputError(
            f"{who}: freeze must be {BODY!r} or paths of parts of {type(net).__name__}, but got "
            f"{', '.join(map(repr, unknown))}. Its parts are {', '.join(known[:_LISTED])}, and what these contain."
        )
    taken = [name for name, p in parameters.items() if p.requires_grad and _is_in(name, paths)]
    if not any(p.requires_grad for name, p in parameters.items() if name not in taken):
        raise InputError(
            f"{who}: freeze must leave parameters to train, but got {parts!r}, which are all. Leave out the head."
        )
    for name in taken:
        parameters[name].requires_grad_(False)
    net.frozen = tuple(path for path in paths if path in modules)
    return taken


def unfreeze(net: Backbone, taken: Iterable[str]) -> None:
    """Undo :func:`freeze`.

    Args:
        net: the net.
        taken: what it returned.
    """
    parameters = dict(net.named_parameters())
    for name in taken:
        parameters[name].requires_grad_(True)
    net.frozen = ()


def _body(net: nn.Module) -> list[str]:
    parts = [name for name, _ in net.named_children() if name not in ("head", "standardize")]
    return parts + [name for name, _ in net.named_parameters(recurse=False)]


def _is_in(name: str, paths: Iterable[str]) -> bool:
    return any(name == path or name.startswith(f"{path}.") for path in paths)
