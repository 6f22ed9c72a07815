"""Who and what: ids and labels are made equal in one place, and nothing else is folded in silence."""

import numpy as np
import pytest
import torch

from kdlab.data.identity import NO_LABEL_WORDS, alike, class_names, labels, merge_map, names, words
from kdlab.data.spelling import text
from kdlab.types import InputError


@pytest.mark.parametrize(
    "values",
    [
        ["1", "2", "1"],
        [1, 2, 1],
        [1.0, 2.0, 1.0],
        ["1.0", " 2", "1 "],
        [b"1", b"2.0", b"1"],
        np.array([1, 2, 1], dtype=">i2"),
        np.array([1, 2, 1], dtype=np.float32),
        np.array(["1.", "2.00", "\ufeff1"]),
        np.array([1, 2.0, "1"], dtype=object),
        np.array([[1], [2], [1]]),
        torch.tensor([1.0, 2.0, 1.0], requires_grad=True),
        np.ma.masked_array([1, 2, 1], mask=False),
    ],
)
def test_one_person_in_every_spelling_of_a_number(values):
    found = names(values, "subject")
    assert found.names == ["1", "2"]
    assert found.code.tolist() == [0, 1, 0]
    assert found.array().tolist() == ["1", "2", "1"]


@pytest.mark.parametrize(
    ("values", "count", "first"),
    [
        (["a", None, "b", None], 2, 1),
        ([1.0, float("nan"), float("nan")], 2, 1),
        (np.array([1.0, 2.0, np.nan, np.nan]), 2, 2),
        (["", "a"], 1, 0),
        (["a", "nan", "NaN"], 2, 1),
        (np.ma.masked_array([1, 2, 3], mask=[False, False, True]), 1, 2),
        (np.array(["2020-01-01", "NaT"], dtype="M8[D]"), 1, 1),
        (["a", " ? "], 1, 1),
    ],
)
def test_missing_ids_are_counted_and_refused(values, count, first):
    with pytest.raises(InputError, match=rf"^subject must be .* {count} missing ones .* index {first}\."):
        names(values, "subject")


def test_a_person_called_na_is_told_by_the_mapping():
    assert names(["NA", "TB"], "subject", merge={"NA": "Nora A."}).names == ["Nora A.", "TB"]


def test_pandas_columns():
    pandas = pytest.importorskip("pandas")
    assert names(pandas.Series([1, 2], dtype="Int64"), "subject").names == ["1", "2"]
    assert names(pandas.Categorical(["b", "a"]), "subject").names == ["a", "b"]
    with pytest.raises(InputError, match="1 missing"):
        names(pandas.Series([1, None], dtype="Int64"), "subject")


def test_digits_that_a_float_has_lost_are_refused():
    with pytest.raises(InputError, match="Read them as text"):
        names(np.array([20230415123456789.0, 20230415123456791.0]), "subject")
    with pytest.raises(InputError, match="Read them as text"):
        names(np.array([16777218.0], dtype=np.float32), "subject")
    assert names(np.array([20230415123456789, 20230415123456791]), "subject").names[0] == "20230415123456789"


@pytest.mark.parametrize("value", [float("inf"), b"\xe9", [1, 2], {"a": 1}])
def test_what_is_no_id_is_refused(value):
    with pytest.raises(InputError, match=r"^subject must be"):
        names([value, "a"], "subject")


def test_labels_by_one_rule():
    found = labels(["1.0", 1, "2", b" 2.0", "Walk"], "label", merge={"Walk": "walk"})
    assert found.names == ["1", "2", "walk"]
    assert found.code.tolist() == [0, 0, 1, 1, 2]
    assert found.merged == {"Walk": 1}
    assert found.missing == {}
    assert found.first == -1


def test_a_word_is_no_label_whatever_stands_in_other_cells():
    for others in ([], [""], [None], ["NA"]):
        found = labels(["null", "walk", *others], "label")
        assert found.names == ["walk"]
        assert found.missing["null"] == 1
        declared = labels(["null", "walk", *others], "label", classes=["null", "walk"])
        assert declared.names == ["null", "walk"]
        told = labels(["null", "walk", *others], "label", nothing=["NA"])
        assert told.names == ["null", "walk"]


def test_words_without_a_label_are_counted_as_written():
    values = np.ma.masked_array(["NaN", "nan ", "?", "a", "", "b"], mask=[0, 0, 0, 0, 0, 1])
    found = labels(values, "label")
    assert found.missing == {"NaN": 1, "nan": 1, "?": 1, "": 1, "masked": 1}
    assert found.names == ["a"]
    assert found.code.tolist() == [-1, -1, -1, 0, -1, -1]
    assert found.first == 0
    assert all(labels([word.upper()], "label").names == [] for word in NO_LABEL_WORDS)


def test_labels_of_any_length():
    long = "walking with a dog " * 10
    assert labels([long + "a", long + "b"], "label").names == [long + "a", long + "b"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("S1", "s1"),
        ("01", "1"),
        ("walk", "Walk"),
        ("S01", "S1"),
        ("sub 1", "sub1"),
        ("1e3", "1000"),
        ("1,5", "1.5"),
        ("caf\u00e9", "cafe\u0301"),
        ("a\u00a0b", "a b"),
        ("Stra\u00dfe", "STRASSE"),
        ("+7", "7"),
    ],
)
def test_names_that_are_alike_are_refused_until_merged(one, other):
    with pytest.raises(InputError, match="Say that they are one") as refusal:
        alike([one, other, "else"], "subject")
    import yaml

    line = str(refusal.value).split("they are one, ")[1].split(", or two, ")
    merge = yaml.safe_load(line[0])["subjects"]
    alike(names([one, other, "else"], "subject", merge=merge).names, "subject", merge)
    apart = yaml.safe_load(line[1].rstrip("."))["subjects"]
    found = names([one, other, "else"], "subject", merge=apart).names
    assert len(found) == 3
    alike(found, "subject", apart)


@pytest.mark.parametrize("different", [["S1", "S10", "S100"], ["1", "10", "-1"], ["a1b", "ab1"], ["walk", "walk up"]])
def test_names_that_differ_pass(different):
    alike(different, "subject")


def test_a_mapping_is_made_equal_and_checked():
    assert merge_map(None, "labels") == {}
    assert merge_map({1.0: " one"}, "labels") == {"1": "one"}
    assert merge_map({0: "a", "0": "a"}, "labels") == {"0": "a"}
    with pytest.raises(InputError, match=r"labels must name each once .*, but got 0 -> a and 0 -> b"):
        merge_map({0: "a", "0": "b"}, "labels")
    with pytest.raises(InputError, match="a -> b -> c"):
        merge_map({"a": "b", "b": "c"}, "labels")
    with pytest.raises(InputError, match="in quotes"):
        merge_map({True: "walk"}, "labels")
    with pytest.raises(InputError, match="must be a mapping"):
        merge_map(["walk"], "labels")


def test_classes_from_yaml():
    assert class_names([1.0, "walk "]) == ["1", "walk"]
    with pytest.raises(InputError, match=r'\["yes", "no"\]'):
        class_names([True, False])
    with pytest.raises(InputError, match="more than once"):
        class_names(["walk", "run", "walk "])
    with pytest.raises(InputError, match=r"labels: \{Walk: walk\}"):
        class_names(["walk", "Walk"])
    with pytest.raises(InputError, match="must be a list"):
        class_names("walk")
    with pytest.raises(InputError, match="None"):
        words([None, "a"], "ignore")


def test_text_of_one_value():
    assert [text(v) for v in (True, np.float32(1.1), np.int8(3), "1.50", "-0.0")] == ["True", "1.1", "3", "1.50", "0"]


@pytest.mark.parametrize("kind", ["words", "numbers", "objects"])
def test_many_samples_take_seconds(kind):
    code = np.random.default_rng(0).integers(0, 30, size=2_000_000)
    values = {
        "words": lambda: np.array([f"subject_{k}" for k in range(30)])[code],
        "numbers": lambda: code.astype(np.float64),
        "objects": lambda: np.array([f"subject_{k}" for k in range(30)], dtype=object)[code],
    }[kind]()
    found = names(values, "subject")
    assert len(found.names) == 30
    assert found.code.shape == code.shape
    assert [found.names[c].rpartition("_")[2] for c in found.code[:50]] == [str(c) for c in code[:50]]
