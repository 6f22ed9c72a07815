"""A tiny study that is tuned: eight people, three classes, a teacher, scratch and KD."""

import numpy as np
import yaml

from kdlab.data import ArrayDataModule

PEOPLE = [str(i) for i in range(1, 9)]
TUNE = {
    "trials": 2,
    "round": 1,
    "common": {"model.lr": {"low": 0.01, "high": 0.1, "log": True}, "data.batch_size": [4, 8]},
    "own": {
        "scratch": {"model.weight_decay": {"low": 1e-5, "high": 1e-3, "log": True}},
        "kd": {"model.temperature": [2.0, 4.0, 8.0]},
    },
}


def write_windows(path, people=8, each=6, channels=2, length=16):
    """Windows of three classes, each person with a phase of their own."""
    rng = np.random.default_rng(0)
    count = people * 3 * each
    subject, target = np.repeat(np.arange(1, people + 1), 3 * each), np.tile(np.arange(3), people * each)
    time = np.linspace(0, 6, length)
    x = np.sin((1 + target)[:, None, None] * time + subject[:, None, None] + np.arange(channels)[:, None])
    np.savez(path, x=(x + rng.normal(0, 0.5, (count, channels, length))).astype(np.float32), y=target, subject=subject)


def write_tuned(folder, **changes):
    """The study file, with its configs and data; ``tune`` is changed by its own keys."""
    folder.mkdir(parents=True, exist_ok=True)
    write_windows(folder / "windows.npz")
    net = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 2, "num_classes": 3}}
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.0001}}
    common = {
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1, "num_sanity_val_steps": 0},
        "data": {"class_path": "ArrayDataModule", "init_args": {"path": str(folder / "windows.npz"), "batch_size": 8}},
    }
    labels = {"class_path": "Supervised", "init_args": {"net": net, "optimizer": sgd}}
    teachers = {"raw": {"checkpoint": "of the study"}}
    taught = {"class_path": "KD", "init_args": {"student": net, "teachers": teachers, "optimizer": sgd}}
    for name, model in (("supervised", labels), ("student", taught)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**common, "model": model}))
    tune = {**TUNE, **changes.pop("tune", {})}
    content = {
        "study": "toy/tuned",
        "seeds": 1,
        "folds": 2,
        "teachers": {"teacher": {"config": "supervised.yaml", "one_per": "fold"}},
        "scratch": {"scratch": {"config": "supervised.yaml"}},
        "students": {"kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}}},
        **({} if tune.get("none") else {"tune": {k: v for k, v in tune.items() if v is not None}}),
        **changes,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "study.yaml"


class Untestable(ArrayDataModule):
    """Raises wherever a test window would be read."""

    def test_dataloader(self):
        raise RuntimeError("a test window is read")

    predict_dataloader = test_dataloader

    def _dataset(self, stage, **more):
        if stage not in ("train", "val"):
            raise RuntimeError("a test window is read")
        return super()._dataset(stage, **more)
