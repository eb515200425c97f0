"""What a test called, as the learner reads it."""

from __future__ import annotations

import weakref
from types import ModuleType

import numpy as np
import pytest

from dojo.diagnosis.calls import CALLS, Recorder, shown, sizes_in

SOURCE = """
def double(x, times=2):
    return times * x

def twice(x):
    return double(double(x))

class Doubler:
    def __call__(self, x):
        return double(x)

class Counter:
    def __init__(self, start=0):
        self.value = start

    def add(self, n):
        self.value += n
        return self._get()

    def __call__(self, x):
        return self.add(x)

    def _get(self):
        return self.value
"""


@pytest.fixture
def recorded():
    module = ModuleType("katas.m.k01_x")
    module.__file__ = "k01_x.py"
    exec(compile(SOURCE, "k01_x.py", "exec"), vars(module))
    recorder = Recorder(module)
    return recorder, recorder.view()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array([0.5, 0.25]), "x=[0.5, 0.25]"),
        (np.array([[1, 2], [3, 4]]), "x=[[1, 2], [3, 4]]"),
        (np.zeros((2, 3, 5)), "x (2, 3, 5)"),
        (np.zeros((20, 3), np.float32), "x (20, 3) float32"),
        (np.arange(20), "x (20,) int64"),
        (np.array(2.5), "x=2.5"),
        (np.float64(0.1), "x=0.1"),
        (1e-12, "x=1e-12"),
        (True, "x=True"),
        (None, "x=None"),
        ("a text", "x='a text'"),
        (["a", "b"], "x=['a', 'b']"),
        (list(range(100)), "x (a list of 100)"),
        ({"a": np.zeros(200)}, "x (a dict of 1)"),
        (len, "x=len"),
        (np.random.default_rng(0), "x (a Generator)"),
    ],
)
def test_an_argument_is_whole_where_it_is_small_and_its_form_where_not(value, text):
    assert shown("x", value) == text


def test_a_list_that_holds_itself_has_an_end():
    itself: list[object] = [1]
    itself.append(itself)
    assert shown("x", itself) == "x=[1, [...]]"


def test_a_call_has_its_arguments_names_and_is_found_by_its_answer(recorded):
    recorder, view = recorded
    first = view.double(np.ones(2))
    view.double(np.ones((3, 4)), times=5)
    assert [call.text for call in recorder.calls] == ["double(x=[1, 1])", "double(x (3, 4), times=5)"]
    assert recorder.behind(first).text == "double(x=[1, 1])"
    assert recorder.behind(None).text == "double(x (3, 4), times=5)"
    assert recorder.calls[1].sizes == [(3, "axis 0 of x"), (4, "axis 1 of x"), (5, "times")]


def test_arguments_are_told_as_they_were_before_the_call(recorded):
    recorder, view = recorded
    x = np.ones(2)
    view.double(x)
    x[:] = 7
    assert recorder.calls[0].text == "double(x=[1, 1])"


def test_what_the_solution_calls_of_its_own_is_no_call_of_the_tests(recorded):
    recorder, view = recorded
    view.twice(3)
    counter = view.Counter(1)
    counter(2)
    assert [call.text for call in recorder.calls] == ["twice(x=3)", "Counter(start=1)", "  (x=2)"]
    assert recorder.names == {"twice", "Counter"}


def test_of_an_object_the_calls_so_far_are_told_and_of_that_object_only(recorded):
    recorder, view = recorded
    other = view.Counter()
    one = view.Counter(start=5)
    other.add(1)
    one.add(2)
    one(3)
    last = recorder.behind(None)
    assert recorder.story(last) == ["Counter(start=5)", "  .add(n=2)", "  (x=3)"]
    for i in range(10):
        one.add(i)
    story = recorder.story(recorder.behind(None))
    assert story[0] == "Counter(start=5)"
    assert story[1] == "  … 7 calls"
    assert len(story) == 2 + CALLS
    assert story[-1] == "  .add(n=9)"


def test_an_object_stays_of_its_class(recorded):
    recorder, view = recorded
    assert isinstance(view.Counter(), recorder.module.Counter)


def test_sizes_have_words():
    assert sizes_in([("x", np.zeros(3)), ("", [1, 2]), ("k", 4), ("flag", True)]) == [
        (3, "the length of x"),
        (2, "the length of argument 2"),
        (4, "k"),
    ]


def test_a_story_of_answers_that_have_no_equality(recorded):
    """torch refuses the truth of tensors that are compared, and numpy that of arrays."""
    recorder, view = recorded
    doubler = view.Doubler()
    for x in (np.arange(3), np.arange(3), np.arange(4)):
        doubler(x)
    assert recorder.story(recorder.calls[-1]) == [
        "  (x=[0, 1, 2])",
        "  (x=[0, 1, 2])",
        "  (x=[0, 1, 2, 3])",
    ]


def test_a_blind_recorder_keeps_nothing(recorded):
    recorder, view = recorded
    recorder.blind = True
    x = np.zeros(3)
    gone = weakref.ref(view.double(x))
    assert gone() is None and recorder.calls == []
    recorder.blind = False
    kept = weakref.ref(view.double(x))
    assert kept() is not None
