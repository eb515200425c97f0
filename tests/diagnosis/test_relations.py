"""The relations between two arrays: each is found where it holds, and not where it doesn't."""

import math

import numpy as np
import pytest

from dojo.diagnosis.relations import common, describe, relations, sentence

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
    "one more": (np.array([3, 5, 9]), np.array([2, 4, 8]), "Every value is 1 more than expected"),
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
        (4, [(16, "axis 1 of q")], "√16, where 16 is axis 1 of q"),
        (1 / 4, [(16, "axis 1 of q")], "1/√16"),
        (7 / 6, [(7, "the length of x")], "1/(n−1) in place of 1/n"),
        (6 / 7, [(7, "the length of x")], "1/n in place of 1/(n−1)"),
        (7, [(7, "the length of x")], "a sum in place of a mean"),
        (1 / 7, [(7, "the length of x")], "a mean in place of a sum"),
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
        assert said(rng.normal(size=shape), rng.normal(size=shape), (7, "n"), (4, "m")) == ""


def test_a_symmetric_answer_is_not_called_transposed():
    symmetric = SQUARE + SQUARE.T
    wrong = symmetric + RNG.normal(size=(4, 4))
    assert said(wrong, symmetric) == ""


def test_nothing_is_said_of_shapes_that_differ_or_of_texts():
    assert said(np.ones((2, 3)), np.ones((3, 2))) == ""
    assert said(np.array(["a", "b"]), np.array(["b", "a"])) == ""
    assert said(np.zeros((0, 3)), np.zeros((0, 3))) == ""


def in_common(*tests, right=()):
    """The sentence for tests that are (factor, size): each answer is the factor times WIDE."""
    found = [relations(np.asarray(a), np.asarray(e), 1e-7, 1e-7, sizes) for a, e, sizes in tests]
    return sentence(common(found[0], found[1:], right)) or ""


TOL = (1e-7, 1e-7)


def test_a_factor_is_named_after_a_size_once_two_sizes_bear_it_out():
    two, nine = (math.sqrt(2) * WIDE, WIDE, [(2, "the length of x")]), (3 * WIDE, WIDE, [(9, "the length of x")])
    assert in_common(two) == "Your answer is 1.41421 times the expected one: √2."  # 2 is but a number there
    assert in_common(two, two) == in_common(two)
    assert "√2, where 2 is the length of x" in in_common(two, nine)
    assert "√9, where 9 is the length of x" in in_common(nine, two)


def test_a_factor_that_happens_to_be_made_of_a_size_is_not_named_after_it():
    """3/2 is 3 for 2, and the vector had three entries: in another test it has seven."""
    one = (1.5 * WIDE, WIDE, [(3, "the length of x")])
    assert in_common(one) == in_common(one, (1.5 * ROW, ROW, [(7, "the length of x")]))
    assert in_common(one) == "Your answer is 1.5 times the expected one."


def test_what_holds_in_one_test_only_is_not_said():
    assert in_common((SQUARE.T, SQUARE, []), (SQUARE + 1, SQUARE, [])) == ""
    assert in_common((-WIDE, WIDE, []), (2 * WIDE, WIDE, [])) == ""
    assert "transpose" in in_common((SQUARE.T, SQUARE, []), (WIDE[:5].T, WIDE[:5], []))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (SQUARE.T, SQUARE),
        (-SQUARE, SQUARE),
        (2 * SQUARE, SQUARE),
        (SQUARE + 3, SQUARE),
        (SQUARE[::-1], SQUARE),
        (np.roll(SQUARE, 1, 0), SQUARE),
        (SQUARE > 0, SQUARE <= 0),
        (0 * SQUARE, SQUARE),
    ],
)
def test_a_test_that_passes_refutes_a_relation_that_would_have_spoiled_it(wrong, right):
    assert in_common((wrong, right, [])) != ""
    assert in_common((wrong, right, []), right=[(right, right, TOL, [])]) == ""
    harmless = np.zeros((3, 3)) if right.dtype != bool and "more" not in in_common((wrong, right, [])) else None
    if harmless is not None:
        assert in_common((wrong, right, []), right=[(harmless, harmless, TOL, [])]) != ""


def test_leading_axes_do_not_make_another_relation():
    batch = RNG.normal(size=(2, 4, 4))
    assert "transpose" in in_common(
        (SQUARE.T, SQUARE, []), (batch.mT if hasattr(batch, "mT") else batch.transpose(0, 2, 1), batch, [])
    )


class TestWhatIsNoRelation:
    @pytest.mark.parametrize(("mine", "right"), [(7, 8), ([3], [4]), ([3, 3, 3], [4, 4, 4]), ([0, 1], [1, 2])])
    def test_an_index_or_a_token_is_never_off_by_one(self, mine, right):
        assert said(np.array(mine), np.array(right)) == ""

    def test_a_turned_mask_of_minus_ones_is_no_negation(self):
        assert said(np.array([[1, 0], [1, 1]]), np.array([[-1, 0], [-1, -1]])) == ""
        assert said(np.array([-1, 5, -1, 7]), np.array([1, 5, 1, 7])) == ""
        assert said(np.array([1.0, 1.0]), np.array([-1.0, -1.0])) == ""
        assert "negative" in said(np.array([1, -5, 2]), np.array([-1, 5, -2]))

    def test_where_a_rounding_shows_says_nothing(self):
        exact = np.array([1.0, 2.0, 3.00049, 4.0])
        assert said(np.round(exact, 3), exact) == ""
        assert said(np.array([1, 2, 3, 5, 5, 6, 7, 8]), np.arange(1, 9)) == ""
        assert "position 3" in said(np.array([1, 2, 3, 9, 5, 6, 7, 8]), np.arange(1, 9))
