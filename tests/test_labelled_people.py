"""Studies whose rows have the labels of some training people, and the windows of the others without them."""

import numpy as np
import pytest
import yaml

from kdlab.data import ArrayDataModule, Unlabelled
from kdlab.study.plan import Study
from kdlab.study.planned import plan
from kdlab.study.windows import batches, make_data
from tests.tuned import write_tuned

AXES = """
axes:
  labelled:
    2: {data.init_args.unlabelled: {labelled: 2}}
    3: {data.init_args.unlabelled: {labelled: 3}}
    half: {data.init_args.unlabelled: {labelled: 0.5}}
    all: {}
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Every row once at 2, 3, half and all of the training people with labels: the few lines of `AXES`."""
    folder = tmp_path_factory.mktemp("labelled")
    run = {"axes": ["labelled"]}
    changes = {
        **yaml.safe_load(AXES),
        "set": {"all": {"data.init_args.val_count": 2}},
        "teachers": {"teacher": {"config": "supervised.yaml", "one_per": "fold", **run}},
        "scratch": {"scratch": {"config": "supervised.yaml", **run}},
        "students": {"kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}, **run}},
        "updates": 60,
        "folds": [[1, 2], [5]],
    }
    return plan(Study.read(write_tuned(folder, tune={"none": True}, **changes)), folder / "runs")[1]


def fingerprint(job):
    return make_data(job.config).fingerprint


def test_every_row_has_each_number_of_labelled_people(jobs):
    assert len(jobs) == 2 * 4 * 3
    wanted = {("fold1", "2"): 2, ("fold1", "3"): 3, ("fold1", "half"): 2, ("fold1", "all"): 4}  # of 8 - 2 - 2 people
    wanted |= {("fold2", "2"): 2, ("fold2", "3"): 3, ("fold2", "half"): 3, ("fold2", "all"): 5}  # of 8 - 1 - 2
    for job in jobs.values():
        found = fingerprint(job)
        assert len(found["train"]) == wanted[job.fold, job.labels["labelled"]]
        others = 8 - len(found["test"]) - 2 - len(found["train"])
        assert len(found.get("unlabelled", [])) == others
        assert found.get("unlabelled_windows", 0) == 18 * others


def test_no_one_is_in_two_parts(jobs):
    for job in jobs.values():
        found = fingerprint(job)
        parts = [set(found[part]) for part in ("train", "val", "test")] + [set(found.get("unlabelled", []))]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 8
        assert found["test"] == (["1", "2"] if job.fold == "fold1" else ["5"])


def test_the_people_of_a_fold_are_those_of_all_its_rows(jobs):
    people = {}
    for job in jobs.values():
        key = job.fold, job.labels["labelled"]
        assert people.setdefault(key, fingerprint(job)["train"]) == fingerprint(job)["train"]
    for fold in ("fold1", "fold2"):  # who validates does not depend on how many have labels
        assert len({tuple(fingerprint(job)["val"]) for job in jobs.values() if job.fold == fold}) == 1
        assert set(people[fold, "2"]) <= set(people[fold, "all"])


def test_the_teacher_of_a_row_has_the_labels_that_its_student_has(jobs):
    for job in jobs.values():
        for other in job.needs:
            assert jobs[other].labels == job.labels
            assert fingerprint(jobs[other])["train"] == fingerprint(job)["train"]


def test_all_rows_have_the_same_updates(jobs):
    for job in jobs.values():
        epochs, steps = job.config["trainer"].get("max_epochs"), job.config["trainer"].get("max_steps", -1)
        assert steps == 60 or epochs * batches(job.config) == 60
        assert job.updates == 60


@pytest.mark.parametrize(("share", "count"), [(0.5, 3), (0.01, 1), (0.99, 6), (0.25, 2), (0.2, 1)])
def test_a_share_is_rounded_to_people(share, count):
    x = np.random.default_rng(0).normal(size=(108, 2, 16))
    data = ArrayDataModule(
        x, np.arange(108) % 3, np.arange(108) // 12, test_subjects=[8], val_subjects=[6, 7],
        unlabelled=Unlabelled(labelled=share),
    )  # fmt: skip
    data.setup()
    assert data.counts["train"]["groups"] == count  # of six; 1.5 people are two
