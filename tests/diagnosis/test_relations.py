"""The relations between two arrays: each is found where it holds, and not where it doesn't."""

import numpy as np
import pytest

from dojo.diagnosis.relations import Size, describe

RNG = np.random.default_rng(0)
SQUARE = RNG.normal(size=(4, 4))
CUBE = RNG.normal(size=(3, 3, 3))
ROW = RNG.normal(size=9) + 3
WIDE = RNG.normal(size=(6, 5))


def said(actual, expected, *sizes):
    actual, expected = np.asarray(actual), np.asarray(expected)
    return describe(actual, expected, 1e-7, 1e-7, list(sizes)) or ""


FOUND = {
    "transposed": (SQUARE.T, SQUARE, "transpose of the expected"),
    "permuted": (CUBE.transpose(2, 0, 1), CUBE, "transpose your answer by (1, 2, 0)"),
    "negated": (-WIDE, WIDE, "negative of the expected"),
    "some signs": (WIDE * [1, -1, 1, 1, 1], WIDE, "Only signs are wrong: 6 of 30 values have the opposite sign"),
    "doubled": (2 * WIDE, WIDE, "2 times the expected"),
    "log base": (ROW / np.log(2), ROW, "1/ln 2"),
    "radians": (ROW * 180 / np.pi, ROW, "degrees in place of radians"),
    "offset": (ROW + np.log(2), ROW, "ln 2 more"),
    "plain offset": (ROW - 0.75, ROW, "0.75 less"),
    "reversed": (ROW[::-1], ROW, "back to front"),
    "reversed columns": (WIDE[:, ::-1], WIDE, "back to front along axis 1"),
    "rolled": (np.roll(ROW, 1), ROW, "moved forward by one"),
    "half precision": (WIDE.astype(np.float16).astype(float), WIDE, "float16"),
    "single precision": (WIDE.astype(np.float32).astype(float), WIDE, "float32"),
    "zeros": (0 * WIDE, WIDE, "all zeros"),
    "shuffled rows": (WIDE[[3, 1, 5, 0, 2, 4]], WIDE, "in another order along axis 0"),
    "off by one": (np.array([3, 5, 9]), np.array([2, 4, 8]), "1 more than expected"),
    "off by one, a number": (np.array(7), np.array(8), "1 less than expected"),
    "opposite": (np.array([True, False, False]), np.array([False, True, True]), "opposite"),
    "rows of their own": (WIDE * np.arange(2, 8)[:, None], WIDE, "axis 0 is right but for a factor of its own"),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_relation_that_holds_is_found(name):
    actual, expected, sentence = FOUND[name]
    assert sentence in said(actual, expected)


@pytest.mark.parametrize(
    ("factor", "sizes", "sentence"),
    [
        (4, [Size(16, "axis 1 of q")], "√16, where 16 is axis 1 of q"),
        (1 / 4, [Size(16, "axis 1 of q")], "1/√16"),
        (7 / 6, [Size(7, "the length of x")], "1/(n−1) in place of 1/n"),
        (6 / 7, [Size(7, "the length of x")], "1/n in place of 1/(n−1)"),
        (7, [Size(7, "the length of x")], "a sum in place of a mean"),
        (1 / 7, [Size(7, "the length of x")], "a mean in place of a sum"),
    ],
)
def test_a_factor_is_named_after_what_it_equals(factor, sizes, sentence):
    assert sentence in said(factor * WIDE, WIDE, *sizes)
    assert sentence in said(np.array(factor * 1.2345), np.array(1.2345), *sizes)


def test_a_number_that_is_some_multiple_of_another_is_not_called_one():
    assert said(np.array(3.7), np.array(1.2)) == ""
    assert said(np.array(4), np.array(2)) == ""


def test_nothing_is_said_to_be_one_times_another():
    assert said(WIDE * (1 + 2e-7), WIDE) == ""
    assert describe(WIDE * 1.0000001, WIDE, 1e-9, 1e-12, []) is None


def test_equal_factors_are_not_factors_of_their_own():
    """95 in place of 94: the same in every slice, by whatever it came about."""
    assert "of its own" not in said(np.full((2, 3), 95.0), np.full((2, 3), 94.0))


def test_whole_numbers_are_not_called_half_precision():
    assert said(np.array([1.0, 2.0]), np.array([1.0004, 1.9995])) == ""


def test_some_rows():
    wrong = WIDE.copy()
    wrong[0] += RNG.normal(size=5)
    assert said(wrong, WIDE) == "Right everywhere but at 0 along axis 0."
    wrong = ROW.copy()
    wrong[-1] = 99.5
    assert "but at position 8 (the last)" in said(wrong, ROW)
    wrong = WIDE.copy()
    wrong[2:5] -= RNG.normal(size=(3, 5))
    assert "2 to 4" in said(wrong, WIDE)


@pytest.mark.parametrize("seed", range(20))
def test_numbers_that_have_nothing_in_common_get_no_sentence(seed):
    rng = np.random.default_rng(seed)
    for shape in [(7,), (4, 4), (2, 3, 4), ()]:
        assert said(rng.normal(size=shape), rng.normal(size=shape), Size(7, "n"), Size(4, "m")) == ""


def test_a_symmetric_answer_is_not_called_transposed():
    symmetric = SQUARE + SQUARE.T
    wrong = symmetric + RNG.normal(size=(4, 4))
    assert said(wrong, symmetric) == ""


def test_nothing_is_said_of_shapes_that_differ_or_of_texts():
    assert said(np.ones((2, 3)), np.ones((3, 2))) == ""
    assert said(np.array(["a", "b"]), np.array(["b", "a"])) == ""
    assert said(np.zeros((0, 3)), np.zeros((0, 3))) == ""
