"""Watching calls: arguments that change are seen, whatever holds them; calls that change nothing pass."""

import numpy as np
import pytest

from dojo.checks.compare import Wrong
from dojo.checks.guard import keeps_arguments


def change_array(x):
    x[0] += 1


def change_item(x):
    x[0] = 99


def change_inner(x):
    x["a"][0] = 99


def change_value(x):
    x["a"] = 99


def add_key(x):
    x["new"] = 1


def append(x):
    x.append(1)


def grow(x):
    x.add(7)


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        (change_array, np.array([1.0, np.nan])),
        (change_array, np.array([1, 2])),
        (change_item, [1, 2]),
        (change_item, ["a", "b"]),
        (change_item, [None, 2]),
        (change_inner, {"a": [None, 2]}),
        (change_inner, {"a": [1.5, 2]}),
        (change_inner, {"a": np.array([1.5, 2])}),
        (change_value, {"a": 1}),
        (change_value, {"a": None}),
        (change_value, {"a": np.zeros(2)}),
        (add_key, {"a": 1}),
        (append, [1]),
        (append, []),
        (grow, {1}),
    ],
)
def test_a_change_is_seen_and_named(change, argument):
    with pytest.raises(Wrong, match=r"changed its argument `x`"):
        keeps_arguments(change)(argument)


@pytest.mark.parametrize(
    "argument",
    [
        np.array([1.0, np.nan]),
        [1, [np.nan, "b"], None],
        {"a": [1, {"b": np.eye(2)}]},
        {1, 2},
        "text",
        3.5,
        None,
        object(),
        np.random.default_rng(0),
    ],
)
def test_a_call_that_changes_nothing_passes(argument):
    assert keeps_arguments(lambda x: "answer")(argument) == "answer"


def test_keywords_are_watched_too():
    with pytest.raises(Wrong, match="changed its argument `x`"):
        keeps_arguments(change_item)(x=[1])


def test_an_argument_that_holds_itself_is_no_error():
    endless = []
    endless.append(endless)
    assert keeps_arguments(lambda x: "answer")(endless) == "answer"
