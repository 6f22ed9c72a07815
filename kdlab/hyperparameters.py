"""What ``save_hyperparameters`` keeps of a class of a config: made where it is called, which kdlab's classes do not."""

from __future__ import annotations

from collections.abc import Callable, ItemsView
from typing import Any

from lightning.pytorch.cli import _InstantiatorFn
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters_context


class Given(dict[str, Any]):
    """Hyper-parameters that are dumped when they are read.

    Args:
        dump: makes them.
    """

    def __init__(self, dump: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._dump: Callable[[], dict[str, Any]] | None = dump

    def copy(self) -> Given:
        """Itself, dumped or not."""
        return self

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """All of them, with what was set before."""
        if self._dump is not None:
            dump, self._dump, own = self._dump, None, dict(super().items())
            self.update(dump() | own)
        return dict(super().items()).items()


class Instantiator(_InstantiatorFn):
    """Makes a class of a config as Lightning does; to dump the config in every fit takes as long as to write it."""

    def __call__(
        self, class_type: type[Any], *args: Any, applied_instantiation_links: dict[str, Any], **kwargs: Any
    ) -> Any:
        """Make it; what ``save_hyperparameters`` keeps is known meanwhile."""
        if applied_instantiation_links:
            return super().__call__(
                class_type, *args, applied_instantiation_links=applied_instantiation_links, **kwargs
            )
        with _given_hyperparameters_context(Given(self._dumped), "lightning.pytorch.cli.instantiate_module"):
            return class_type(*args, **kwargs)

    def _dumped(self) -> dict[str, Any]:
        """The arguments of the class, as a dump of the config has them."""
        self.cli._dump_config()
        found: dict[str, Any] = self.cli.config_dump.get(self.key, {})
        if "class_path" not in found:
            return found
        named = {"_class_path": found["class_path"]}
        return {**named, **found.get("init_args", {}), **found.get("dict_kwargs", {})}
