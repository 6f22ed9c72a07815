"""The files of a new study, as texts."""

from __future__ import annotations

from typing import Any

import yaml

from kdlab.new.found import Found
from kdlab.new.sizes import Sizes
from kdlab.study.keys import LEAVE_ONE_OUT

_EPOCHS = 30


def texts(found: Found, sizes: Sizes, name: str, command: str) -> dict[str, str]:
    """File -> its text.

    Args:
        found: the data.
        sizes: that fit them.
        name: of the runs' folder.
        command: the study's, for a comment.
    """
    image, depth = sizes.image, sizes.depth
    views = {
        "gaf": ("Gramian angular fields", "GramianAngularField"),
        "pi": ("persistence images", "PersistenceImage"),
    }
    return {
        "data.yaml": _data(found, sizes),
        "student.yaml": _student(sizes, name),
        "scratch.yaml": _run(
            "The student alone, with labels: what a teacher must beat.",
            "data.yaml",
            f"{name}/scratch",
            f"  class_path: Supervised\n  init_args:\n    net: {_net(depth, 1, sizes)}\n",
        ),
        "kd.yaml": _run(
            "KD (knowledge distillation): soft targets of the teacher on signals, and labels.",
            "[data.yaml, student.yaml]",
            f"{name}/kd",
            "  class_path: KD\n  init_args:\n"
            "    kd_weight: 0.7  # of the soft targets; the labels have the rest\n    temperature: 4.0\n",
        ),
        "kd_views.yaml": _run(
            "TPKD (topological persistence guided KD): outputs and merged maps of teachers in three views.",
            "[data.yaml, student.yaml]",
            f"{name}/kd_views",
            "  class_path: TPKD\n  init_args:\n    teachers:\n"
            + "".join(
                f"      {view}: {{checkpoint: runs/{_word(name)}/teacher_{view}, view: {view}}}\n" for view in views
            )
            + "    weights: {raw: 0.5, pi: 0.3, gaf: 0.2}\n    kd_weight: 0.7\n    temperature: 4.0\n"
            "    oth: sp  # the similarity-preserving distance to the merged maps\n"
            "    similarity_weight: auto  # as large as the soft targets' term on the first batches\n",
            "".join(f"      {view}: {_view(kind, image)}\n" for view, (_, kind) in views.items()),
        ),
        "teacher_raw.yaml": _run(
            "The teacher on signals: wider than the student.",
            "data.yaml",
            f"{name}/teacher_raw",
            f"  class_path: Supervised\n  init_args:\n    net: {_net(depth, sizes.teacher_width, sizes)}\n",
        ),
        **{
            f"teacher_{view}.yaml": _run(
                f"The teacher on {what}, {image} x {image} pixels for each channel.",
                "data.yaml",
                f"{name}/teacher_{view}",
                f"  class_path: Supervised\n  init_args:\n    net: {_net(depth, 1, sizes, image=True)}\n"
                f"    view: {view}\n",
                f"      {view}: {_view(kind, image)}\n",
            )
            for view, (what, kind) in views.items()
        },
        "study.yaml": _study(sizes, name, command),
    }


def _data(found: Found, sizes: Sizes) -> str:
    arguments: dict[str, Any] = {**found.init_args, **sizes.split}
    arguments.setdefault("batch_size", sizes.batch_size)
    comments = {
        "split_seed": "with which every class is trained in every fold",
        "val_count": "people who validate",
        "missing": "leaves out windows with missing samples",
        "unlabelled": "windows that train students through their teachers alone",
        "step": "samples from one window to the next",
        "window": "samples",
        "dataset": "a name for the data: a teacher of other data is refused, and cards of students tell it",
        "path": "absolute, so that the study runs from any folder",
        "root": "absolute, so that the study runs from any folder",
    }
    if sizes.dropped:
        comments["drop_classes"] = (
            f"{', '.join(sizes.dropped)}: of one person alone, or without windows; no net can learn it from some "
            "people and be tested on others"
        )
    lines = [_entry(key, value, comments.get(key)) for key, value in arguments.items()]
    return (
        f"# What all runs share. {sizes.windows} windows of {sizes.classes} classes"
        f"{f', of {len(found.windows)} that' if sizes.windows < len(found.windows) else ''} were found.\n"
        "seed_everything: 0\n"
        f"trainer: {{max_epochs: {_EPOCHS}, log_every_n_steps: 10}}  # a study has updates in place of epochs\n"
        "model:\n  init_args:\n"
        "    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05, momentum: 0.9, weight_decay: 1.0e-4}}\n"
        "    scheduler: {class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: "
        f"{{T_max: {_EPOCHS}}}}}\n"
        f"data:\n  class_path: {found.class_path}\n  init_args:\n" + "".join(lines) + "    views:\n      raw: Raw\n"
    )


def _student(sizes: Sizes, name: str) -> str:
    return (
        "# The student of all runs with teachers, and the teacher on signals.\n"
        "model:\n  init_args:\n"
        f"    student: {_net(sizes.depth, 1, sizes)}\n"
        f"    teachers: {{raw: {{checkpoint: runs/{_word(name)}/teacher_raw}}}}  # a study names those of its folds\n"
    )


def _run(comment: str, include: str, run: str, model: str, views: str = "") -> str:
    data = f"data:\n  init_args:\n    views:\n{views}" if views else ""
    return f"# {comment}\ninclude: {include}\nrun: {_word(run)}\nmodel:\n{model}{data}"


def _study(sizes: Sizes, name: str, command: str) -> str:
    what = "each person is tested once" if sizes.folds == LEAVE_ONE_OUT else "groups of people, each tested once"
    folds = (
        f"folds: {sizes.folds}  # {what}" if sizes.folds is not None else "# no folds: the split of data.yaml is used"
    )
    people = "fold  # the settings of a fold are found on its training people"
    if sizes.halves:
        people = "halves  # settings found with one half of the people are used where the others are tested"
    return f"""\
# {command}
study: {_word(f"{name}/study")}
seeds: 3
{folds}
updates: {sizes.updates}  # of every row; raise it as long as scratch gains from it
set: {{students: {{model.init_args.cache: {{budget: 1GiB}}}}}}  # outputs of teachers are kept
teachers:  # shared by the seeds of a fold
  teacher_raw: {{config: teacher_raw.yaml, one_per: fold}}
  teacher_gaf: {{config: teacher_gaf.yaml, one_per: fold}}
  teacher_pi: {{config: teacher_pi.yaml, one_per: fold}}
scratch:
  scratch: {{config: scratch.yaml}}
students:
  kd: {{config: kd.yaml, teachers: {{raw: teacher_raw}}}}
  kd_views: {{config: kd_views.yaml, teachers: {{raw: teacher_raw, gaf: teacher_gaf, pi: teacher_pi}}}}
# The settings of all rows can be found on validation people first (pip install 'kdlab[tune]'): remove the # below.
# tune:
#   trials: 8
#   people: {people}
#   common:
#     model.lr: {{low: 0.005, high: 0.2, log: true}}
#     model.weight_decay: {{low: 1.0e-5, high: 1.0e-2, log: true}}
"""


def _net(depth: int, width: int, sizes: Sizes, image: bool = False) -> str:
    two = "ndim: 2, " if image else ""
    size = f"in_channels: {sizes.channels}, num_classes: {sizes.classes}"
    return f"{{class_path: WideResNet, init_args: {{depth: {depth}, width: {width}, {two}{size}}}}}"


def _view(kind: str, size: int) -> str:
    return f"{{class_path: {kind}, init_args: {{size: {size}}}}}"


def _entry(key: str, value: Any, comment: str | None) -> str:
    return f"    {key}: {_word(value)}" + (f"  # {comment}\n" if comment else "\n")


def _word(value: Any) -> str:
    """A value on one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").strip()
