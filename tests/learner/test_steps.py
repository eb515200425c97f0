"""Where the learner is within a kata, and what it builds on."""

from __future__ import annotations

import pytest

from dojo.curriculum.katas import open_dojo
from dojo.learner.progress import current, first_open, next_kata, not_green, status, statuses
from dojo.learner.record import Attempt, Record, hash_file
from dojo.learner.steps import Step, owners_of_tests, prerequisites, step_at
from tests.building import add_kata, two_katas

STUB = """\
def load(path):
    raise NotImplementedError


class Scaler:
    def __init__(self, x):
        raise NotImplementedError

    def apply(self, x):
        raise NotImplementedError


def fit_line(x):
    raise NotImplementedError


def helper(x):
    return x
"""
TEST = """\
from katas.module_01_play.k02_line import Scaler, fit_line, load

class TestLoad:
    def test_reads_numbers(self):
        assert load("1 2") == [1, 2]

class TestTheScaler:
    def test_centres(self):
        assert Scaler([1, 3]).apply(load("2")) == 0

def test_fit_line_is_exact():
    assert fit_line(load("1 2")) == 1

def test_of_one_number():
    assert fit_line([1]) == 1

def test_nothing_at_all():
    assert True
"""
STEPS = "steps = { load = 3, Scaler = 5, fit_line = 12 }\n"


@pytest.fixture
def kata(tmp_path):
    folder = tmp_path / "dojo"
    two_katas(folder)
    add_kata(folder, "module_01_play", "k02_line", STUB, TEST, STUB)
    (folder / "reference/module_01_play/k02_line.toml").write_text(f'title = "Line"\n{STEPS}')
    return open_dojo(folder).kata("line")


def write(kata, *names):
    """Write these functions; all else stays a stub."""
    text = STUB
    for name in names:
        head, tail = text.split(f"{name}(" if name != "Scaler" else "class Scaler:", 1)
        tail = tail.replace("raise NotImplementedError", "return 1", 2 if name == "Scaler" else 1)
        text = head + (f"{name}(" if name != "Scaler" else "class Scaler:") + tail
    kata.path.write_text(text)


def test_a_test_belongs_to_the_step_that_it_is_about(kata):
    assert owners_of_tests(kata) == {
        "TestLoad::test_reads_numbers": "load",  # by its class
        "TestTheScaler::test_centres": "Scaler",  # by what it calls last, in the order of the steps
        "test_fit_line_is_exact": "fit_line",  # by its own name
        "test_of_one_number": "fit_line",
        "test_nothing_at_all": "",
    }


@pytest.mark.parametrize(
    ("written", "colours", "step"),
    [
        ((), {}, "load"),
        (("load",), {}, "Scaler"),
        (
            ("load", "Scaler"),
            {"TestLoad::test_reads_numbers": "red"},
            "load",
        ),  # it is wrong: no hint for what comes after it
        (("load", "Scaler"), {"TestLoad::test_reads_numbers": "todo"}, "fit_line"),
        (("Scaler", "fit_line"), {}, "load"),
        (("load", "Scaler", "fit_line"), {}, "load"),  # never judged
        (
            ("load", "Scaler", "fit_line"),
            {"TestLoad::test_reads_numbers": "green", "TestTheScaler::test_centres": "red"},
            "Scaler",
        ),
        (("load", "Scaler", "fit_line"), {"TestLoad::test_reads_numbers": "green"}, "Scaler"),  # -x stopped there
        (
            ("load", "Scaler", "fit_line"),
            {
                "TestLoad::test_reads_numbers[a]": "green",
                "TestLoad::test_reads_numbers[b]": "red",
                "TestTheScaler::test_centres": "green",
            },
            "load",
        ),
    ],
)
def test_the_step_that_one_is_at(kata, written, colours, step):
    write(kata, *written)
    assert step_at(kata, colours).name == step


def test_in_words(kata):
    assert str(step_at(kata, {})) == "step 1 of 3: load, about 3 minutes"
    assert str(Step("f", 1, 2, 2)) == "step 2 of 2: f, about 1 minute"


def test_none_where_all_is_green_or_nothing_is_known(kata):
    write(kata, "load", "Scaler", "fit_line")
    every = dict.fromkeys(owners_of_tests(kata), "green")
    assert step_at(kata, every) is None
    kata.toml.write_text('title = "Line"\n')
    assert step_at(open_dojo(kata.dojo.root).kata("line"), {}) is None


def test_a_file_that_is_missing_or_no_python(kata):
    kata.path.unlink()
    assert step_at(kata, {}).name == "load"
    kata.path.write_text("def load(:")
    assert step_at(kata, {"TestLoad::test_reads_numbers": "green"}).name == "Scaler"


def test_by_the_record(kata):
    write(kata, "load", "Scaler", "fit_line")
    assert first_open(kata.dojo, [kata]).step.name == "load"
    with Record(kata.dojo.state / "record.sqlite") as record:
        hashes = hash_file(kata.path), hash_file(kata.test)
        colours = {"TestLoad::test_reads_numbers": "green", "TestTheScaler::test_centres": "red"}
        record.add(Attempt("line", "2026-01-01", "yours", colours, 0.1, *hashes, 0, False))
        record.note_size("line", hashes[1], 148)
        one = status(kata, record)
    assert (one.greens, one.tests, one.total, one.step.name) == (1, 2, 148, "Scaler")
    assert first_open(kata.dojo, [kata]).step.name == "Scaler"
    kata.path.write_text(kata.path.read_text() + "# edited: what was judged isn't known of this file\n")
    assert first_open(kata.dojo, [kata]).step.name == "load"


def test_prerequisites_are_what_the_reference_imports(kata):
    dojo = kata.dojo
    area = dojo.kata("area")
    assert [one.name for one in prerequisites(area)] == ["square"]
    assert prerequisites(kata) == []
    area.reference.write_text(area.reference.read_text().replace("katas.module_01_first.k01_square", ".k01_square"))
    assert prerequisites(area) == []  # another module's
    with Record(dojo.state / "record.sqlite") as record:
        all_of_them = statuses(dojo, record)
    area.reference.write_text("import katas.module_01_first.k01_square as s\n")
    assert [one.name for one in not_green(area, all_of_them)] == ["square"]


def test_a_kata_that_cannot_be_read_hides_no_other(kata, monkeypatch):
    dojo, read = kata.dojo, type(kata.path).read_bytes

    def refused(self):
        if self == kata.path:
            raise PermissionError(13, "Permission denied", str(self))
        return read(self)

    with Record(dojo.state / "record.sqlite") as record:
        hashes = hash_file(kata.path), hash_file(kata.test)
        record.add(Attempt("line", "2026-01-01", "yours", {"a": "green"}, 0.1, *hashes, 0, True))
        monkeypatch.setattr(type(kata.path), "read_bytes", refused)
        found = {one.kata.name: one for one in statuses(dojo, record)}
    assert (found["line"].colour, found["square"].colour) == ("amber", "todo")
    assert "Permission denied" in found["line"].note and "chmod" in found["line"].note
    assert next_kata(found.values()).kata.name == "square"
    assert current(list(found.values())) is not None
