"""``kdlab evaluate CKPT...``: evaluate checkpoints side by side, and write tables, figures and predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn

from kdlab import usage
from kdlab.data import WindowDataModule
from kdlab.evaluate import tables, trust
from kdlab.evaluate.evaluation import Evaluation
from kdlab.evaluate.measuring import evaluate
from kdlab.evaluate.outside import set_up
from kdlab.evaluate.writing import slug, warnings_of, write
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import KEPT_FILES, KEY, description, find_checkpoint, net_of, read_checkpoint
from kdlab.methods.finite import check_finite
from kdlab.methods.supervised import Supervised
from kdlab.quiet import name_run
from kdlab.types import InputError, MissingFileError

if TYPE_CHECKING:
    pass

#: makes method and data module, without weights, from a run's config file and overrides such as ``--data.root=...``
Build = Callable[[Path, list[str]], tuple[Method, LightningDataModule]]
#: the files that a run folder is searched for: where there is an early-stopped teacher, it is the run's net
WHAT = usage.CHECKPOINT


def main(words: Sequence[str], build: Build) -> dict[str, Evaluation]:
    """Evaluate the checkpoints that ``words`` name, print a table and write the results.

    Args:
        words: command-line words after ``kdlab evaluate``.
        build: makes method and data module from a config file.

    Returns:
        Name of the row -> evaluation.

    Raises:
        InputError: a checkpoint, its config or the folder for the results cannot be used.
    """
    options = usage.evaluate().parse_args(words)
    out, files = Path(options.out), [find_checkpoint(path, KEPT_FILES, WHAT) for path in options.checkpoints]
    if not options.overwrite and out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"--out: must be an empty folder, but {options.out!r} has files. Name another, or pass --overwrite."
        )
    configs = [Path(options.config) if options.config else _config_beside(file) for file in files]
    device = _device(options.device)
    overrides = [f"--{word.removeprefix('--')}" for word in options.set]
    results: dict[str, Evaluation] = {}
    datamodule: LightningDataModule
    set_aside: list[str] = []
    for name, file, config in zip(row_names(files), files, configs, strict=True):
        print(f"{name}: {file}", flush=True)
        name_run(name)
        if options.config or options.trust_config:
            module, datamodule = build(config, overrides)
            load(module, datamodule, file)
        else:
            datamodule = ours = trust.data_module(config, overrides)
            module = restore(file, ours)
        if isinstance(datamodule, WindowDataModule) and datamodule.corruption is not None and options.stage == "test":
            set_aside.append(name)
        results[name] = evaluate(
            module.to(device),
            datamodule,
            stage=options.stage,
            robustness=options.robustness,
            embedding=options.embedding,
            batch_size=options.batch_size,
        )
        described = description(read_checkpoint(file, WHAT), WHAT) or {}
        kept = ("method", "objective", "teachers", "provenance", "selection")
        added: dict[str, Any] = {key: described[key] for key in kept if key in described}
        results[name].description.update(added, checkpoint=str(file))
        results[name].save(out / slug(name))
    if set_aside:
        rank_zero_warn(
            f"data.corruption of {', '.join(set_aside)}: it is set aside, as kdlab evaluate tests on clean windows and "
            "(without --no-robustness) on corrupted ones of its own. Run kdlab test, which applies it."
        )
    write(results, out)
    print("\n".join([*warnings_of(results), "", tables.summary(results), "", f"results -> {out / 'results.md'}"]))
    return results


def load(module: Method, datamodule: LightningDataModule, file: Path) -> None:
    """Give a method the weights of its net in a checkpoint, after setting up the data and checking both.

    Raises:
        InputError: when the checkpoint is of another net, or leaks what is evaluated here.
    """
    checkpoint = read_checkpoint(file, WHAT)
    if isinstance(datamodule, WindowDataModule):
        datamodule.prepare_data()
        datamodule.setup("test")
    else:
        set_up(datamodule, "validate", "test")
    check_finite(checkpoint.get("state_dict") or {}, f"{WHAT}: {str(file)!r}")  # of several files, this one
    module.check_checkpoint(checkpoint, datamodule)
    net_of(checkpoint, f"{WHAT}: {str(file)!r}", module.net)


def restore(file: Path, datamodule: WindowDataModule) -> Method:
    """The net of a checkpoint as it describes itself, ready to be evaluated; sets up the data and checks both.

    Raises:
        InputError: when it cannot be rebuilt, or leaks what is evaluated here.
    """
    checkpoint, what = read_checkpoint(file, WHAT), f"{WHAT}: {str(file)!r}"
    net = net_of(checkpoint, what)
    module = Supervised(net, view=checkpoint[KEY]["view"])
    load(module, datamodule, file)
    return module


def row_names(files: Sequence[Path]) -> list[str]:
    """The shortest names that are different for all checkpoints: run, data set and run, version, file.

    Example:
        >>> row_names([Path("runs/d/kd/version_0/checkpoints/best.ckpt"), Path("runs/d/amd/version_1/best.ckpt")])
        ['kd', 'amd']
        >>> row_names([Path("runs/d/kd/version_0/checkpoints/best.ckpt"), Path("runs/d/kd/version_1/best.ckpt")])
        ['kd/version_0', 'kd/version_1']
    """
    splits = []
    for file in files:
        folders = [part for part in file.parent.parts if part != "checkpoints"]
        version = folders.pop() if folders and folders[-1].startswith("version_") else ""
        splits.append((folders, version, file.stem))
    names: list[str] = []
    for depth, version_too, file_too in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (2, 1, 0), (1, 1, 1), (2, 1, 1), (99, 1, 1)):
        names = [
            "/".join([*folders[-depth:], *[version] * (version_too and version != ""), *[stem] * file_too]) or stem
            for folders, version, stem in splits
        ]
        if len(set(names)) == len(names):
            return names
    raise InputError(f"{WHAT}: must be different checkpoints, but got {', '.join(map(str, files))}. Name each once.")


def _config_beside(file: Path) -> Path:
    if (found := trust.config_beside(file)) is None:
        raise MissingFileError(
            f"{WHAT}: no config.yaml beside {str(file)!r}. Name the run's config with --config FILE."
        )
    return found


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device: must be a device of this machine, but got {name!r} ({reason}). Leave it out to use the CPU."
        ) from error
