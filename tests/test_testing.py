"""What the tests of katas import: each comparison accepts what it should, and says what it rejects."""

import math

import numpy as np
import pytest

from dojo.checks.compare import describe_type
from dojo.testing import Wrong, assert_close, assert_equal, fail, python_steps, raises

NAN = math.nan


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (1.0, np.float64(1.0)),
        (np.float32(0.5), 0.5),
        (np.array(2.0), 2.0),
        (3, np.int64(3)),
        (3.0, 3),
        (np.bool_(True), True),
        (NAN, NAN),
        (math.inf, math.inf),
        (np.array([1.0, 1.0 + 1e-9]), np.array([1.0, 1.0])),
        (np.array([1, 2], np.int32), np.array([1, 2])),
        ([1.0, np.ones(2)], (1.0, np.ones(2))),
        ({"a": 1.0, "b": [2]}, {"b": [2], "a": 1.0}),
        (np.array([NAN, math.inf]), np.array([NAN, math.inf])),
        (np.zeros((0, 3)), np.zeros((0, 3))),
    ],
)
def test_alike(actual, expected):
    assert_close(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected", "kind"),
    [
        (1.0, 1.0 + 1e-5, "values"),
        (None, 1.0, "type"),
        ("1", 1.0, "type"),
        ([1.0, 2.0], np.array([1.0, 2.0]), "type"),
        (np.array([1.0]), 1.0, "type"),
        (1.0, np.array([1.0]), "type"),
        (np.ones(2), (1.0, 1.0), "type"),
        ((1.0,), (1.0, 1.0), "length"),
        (np.ones((2, 3)), np.ones((3, 2)), "shape"),
        (np.ones(2, np.float32), np.ones(2), "dtype"),
        (np.ones(2, int), np.ones(2), "dtype"),
        (np.array([1, 2]), np.array([True, True]), "dtype"),
        (np.array([1.0, NAN]), np.array([1.0, 1.0]), "values"),
        (np.array([1, 2]), np.array([1, 3]), "values"),
        (2**53 + 1, 2**53, "values"),
        (-math.inf, math.inf, "values"),
        ({"a": 1.0}, {"b": 1.0}, "equal"),
        ([1.0], {"a": 1.0}, "type"),
        (True, False, "values"),
    ],
)
def test_not_alike(actual, expected, kind):
    with pytest.raises(Wrong) as caught:
        assert_close(actual, expected)
    assert caught.value.kind == kind


def test_tolerances_follow_the_expected_dtype_and_can_be_given():
    assert_close(np.float32([1 + 1e-6]), np.float32([1.0]))
    with pytest.raises(Wrong):
        assert_close(np.array([1 + 1e-6]), np.array([1.0]))
    assert_close(1.01, 1.0, rtol=0.02)
    with pytest.raises(Wrong):
        assert_close(1.01, 1.0, rtol=0, atol=0.005)
    with pytest.raises(Wrong):
        assert_close(NAN, NAN, equal_nan=False)
    assert_close(np.ones(2, np.float32), np.ones(2), check_dtype=False)


def test_where_in_a_container():
    with pytest.raises(Wrong, match=r"\[1\]\['b'\]"):
        assert_close([1.0, {"b": 2.0}], [1.0, {"b": 3.0}])


@pytest.mark.parametrize(
    ("actual", "expected", "right"),
    [
        ("abc", "abc", True),
        ([1, "a", None], [1, "a", None], True),
        (np.int64(3), 3, True),
        ({1, 2}, {2, 1}, True),
        ([1, 2], (1, 2), False),
        ([1, 2], [1, 2, 3], False),
        ([1, 2, 3], [1, 2], False),
        (1, True, False),
        ("abc", b"abc", False),
        ({"a": 1}, {"a": 2}, False),
        (None, 0, False),
        ([1.0000001], [1.0], False),
    ],
)
def test_exactly_equal(actual, expected, right):
    if right:
        assert_equal(actual, expected)
    else:
        with pytest.raises(Wrong):
            assert_equal(actual, expected)


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("got 4 and 5", (5, 4), True),
        ("shapes (2, 3) and (3,)", ((2, 3), (3,)), True),
        ("[5] not in 0..4", (5, 4), True),
        ("got 4.0", (4,), True),
        ("got 14", (4,), False),
        ("got 0.4", (4,), False),
        ("got 4.5", (4,), False),
        ("got x4", (4,), False),
        ("got a 3x4 matrix", (3, 4), True),
        ("shape 2×3×4", (2, 3, 4), True),
        ("2x3x4", (3,), True),
        ("shape 13x4", (3,), False),
        ("the 3rd, the 21st, the 2nd and the 4th", (3, 21, 2, 4), True),
        ("the 13th", (3,), False),
        ("p = 0.50", (0.5,), True),
        ("p = .5", (0.5,), True),
        ("p = 0.505", (0.5,), False),
        ("p = 10.5", (0.5,), False),
        ("tol 1e-05", (1e-5,), True),
        ("tol 0.00001", (1e-5,), True),
        ("tol 1E-5", (1e-5,), True),
        ("tol 1e-06", (1e-5,), False),
        ("tol 1e-05", (1,), False),
        ("tol 1e-05", (5,), False),
        ("1,000 rows", (1000,), True),
        ("1_000 rows", (1000,), True),
        ("12,345,678 rows", (12345678,), True),
        ("1,000 rows", (1,), False),
        ("1,000 rows", (0,), False),
        ("11,000 rows", (1000,), False),
        ("shape (1,200)", (1, 200), True),
        ("shape (2,3)", (2, 3), True),
        ("1e3", (1000,), True),
        ("a third is 0.333333", (1 / 3,), True),
        ("a third is 0.3333333333333333", (1 / 3,), True),
        ("a third is 0.3", (1 / 3,), False),
        ("outside of 0-3", (0, 3), True),
        ("got -3", (3,), True),
        ("got 3", (-3,), False),
        ("version 1.2.3", (2,), False),
        ("version 1.2.3", (1.2,), False),
        ("got 3.", (3,), True),
        ("got inf", (math.inf,), True),
        ("9007199254740993 of them", (9007199254740993,), True),
        ("9007199254740992 of them", (9007199254740993,), False),
        ("True", (True,), True),
        ("−3 is below 0", (-3,), True),
        ("a Zero vector", ("zero",), True),
        ("an empty one", ("zero",), False),
    ],
)
def test_raises_looks_for_each_word(text, words, found):
    def run():
        with raises(ValueError, *words):
            raise ValueError(text)

    if found:
        run()
    else:
        with pytest.raises(Wrong, match="must name"):
            run()


def test_raises_tells_the_kinds_of_failure_apart():
    with pytest.raises(Wrong, match="it raised nothing"), raises(ValueError):
        pass
    with pytest.raises(Wrong, match="it raised KeyError"), raises(ValueError):
        raise KeyError("x")
    with pytest.raises(NotImplementedError), raises(ValueError):
        raise NotImplementedError
    with pytest.raises(KeyboardInterrupt), raises(ValueError):
        raise KeyboardInterrupt
    with raises(ArithmeticError) as caught:
        raise ZeroDivisionError("a subclass will do")
    assert isinstance(caught.value, ZeroDivisionError)


def test_python_steps_are_the_learners_alone():
    """`pure()` looks at every entry of an argument, before the call and after it."""
    from dojo.checks import guard

    assert python_steps(guard.keeps_arguments(len), {i: (i,) for i in range(500)}) < 5


def test_python_steps_grow_with_a_loop_only():
    def loop(n):
        return [i * i for i in range(n)]

    assert python_steps(loop, 100) > python_steps(loop, 10) + 80
    assert python_steps(np.arange, 1000) == python_steps(np.arange, 10)


def test_fail_carries_its_evidence():
    with pytest.raises(Wrong, match="a sentence") as caught:
        fail("a sentence", evidence=("it", 3))
    assert caught.value.evidence == ("it", 3)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.ones(2), "an ndarray"),
        ([], "a list"),
        (1, "an int"),
        ("", "a str"),
        (np.uint8(1), "a uint8"),
        (None, "None"),
    ],
)
def test_a_type_has_the_article_that_is_spoken(value, said):
    assert describe_type(value) == said


def test_one_element_is_no_elements():
    with pytest.raises(Wrong, match="has 1 element, expected 2"):
        assert_close((1.0,), (1.0, 2.0))
    with pytest.raises(Wrong, match="has 2 elements, expected 1"):
        assert_equal([1, 2], [1])
