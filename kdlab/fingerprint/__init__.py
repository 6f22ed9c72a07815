"""What a run was trained on: fingerprints are made, compared and refused here, and nowhere else.

A fingerprint is a mapping of plain values: ``dataset``, ``window``, ``step``, ``grouping`` (subject, recording, ...),
``train``, ``val`` and ``test`` (names, or salted hashes of names), ``seed``, ``scale``, ``classes``, ``channels``,
``sampling_rate``, ``labels_per_window`` (where they are ``many``), and an ``id`` over all of it. It is in every
checkpoint.
"""

from kdlab.fingerprint.checks import (
    OtherDataError,
    check_fingerprint,
    check_inputs,
    check_same_split,
    check_teacher_split,
    check_use,
)
from kdlab.fingerprint.cross_fit import member_differences, unseen
from kdlab.fingerprint.differences import input_differences, leaks, split_differences
from kdlab.fingerprint.make import make_fingerprint
from kdlab.fingerprint.people import (
    comparable,
    config_without_people,
    hashed,
    is_hashed,
    only_counts,
    people_in,
    salt,
    salt_mark,
    spelt,
    with_hashes,
    without_people,
)

__all__ = [
    "OtherDataError",
    "check_fingerprint",
    "check_inputs",
    "check_same_split",
    "check_teacher_split",
    "check_use",
    "comparable",
    "config_without_people",
    "hashed",
    "input_differences",
    "is_hashed",
    "leaks",
    "make_fingerprint",
    "member_differences",
    "only_counts",
    "people_in",
    "salt",
    "salt_mark",
    "spelt",
    "split_differences",
    "unseen",
    "with_hashes",
    "without_people",
]
