"""Where the learner stands, by the record and the files."""

from __future__ import annotations

import pytest

from dojo.curriculum.katas import open_dojo
from dojo.learner.progress import current, is_green, last_written, next_kata, status, statuses
from dojo.learner.record import Attempt, Record, hash_file
from tests.synthetic import make_dojo


@pytest.fixture
def dojo(tmp_path):
    return make_dojo(tmp_path / "dojo")


@pytest.fixture
def record(dojo):
    with Record(dojo.state / "record.sqlite") as record:
        yield record


@pytest.fixture
def judge(dojo, record):
    """Writes down a run: judge("mean", "green", "red", …), of the files as they are."""
    count = iter(range(1000))

    def judge(name, *colours, whole=True, tree="yours", tests=None, solution="    return 1.0"):
        kata = dojo.kata(name)
        if solution is not None:
            kata.path.write_text(kata.path.read_text().replace("    raise NotImplementedError", solution))
        names = tests or [f"test_{i}" for i in range(len(colours))]
        record.add(
            Attempt(
                kata=name,
                at=f"2026-01-01T00:00:00.{next(count):03}+00:00",
                tree=tree,
                seconds=0.1,
                colours=dict(zip(names, colours, strict=True)),
                file_hash=hash_file(kata.path),
                tests_hash=hash_file(kata.test),
                hints=0,
                whole=whole,
            )
        )

    return judge


class TestStatus:
    def test_a_stub_that_was_never_judged(self, dojo, record):
        one = status(dojo.kata("mean"), record)
        assert (one.colour, one.tries, one.last, one.note) == ("todo", 0, None, "")

    @pytest.mark.parametrize(
        ("colours", "colour"),
        [
            (("green", "green"), "green"),
            (("green", "red"), "red"),
            (("red", "amber"), "amber"),
            (("todo",), "todo"),
        ],
    )
    def test_the_last_attempt_counts(self, dojo, record, judge, colours, colour):
        judge("mean", "red", "todo")
        judge("mean", *colours)
        one = status(dojo.kata("mean"), record)
        assert (one.colour, one.tries, one.tests) == (colour, 2, len(colours))
        assert one.greens == colours.count("green")

    def test_some_green_tests_are_not_a_green_kata(self, dojo, record, judge):
        judge("mean", "green", whole=False)
        assert status(dojo.kata("mean"), record).colour == "todo"

    def test_running_one_test_again_forgets_no_other(self, dojo, record, judge):
        judge("mean", "green", "green")
        judge("mean", "green", whole=False, tests=["test_1"])
        assert status(dojo.kata("mean"), record).colour == "green"
        judge("mean", "red", whole=False, tests=["test_1"])
        one = status(dojo.kata("mean"), record)
        assert (one.colour, one.greens, one.tests) == ("red", 1, 2)

    def test_but_a_changed_file_begins_anew(self, dojo, record, judge):
        judge("mean", "green", "green")
        dojo.kata("mean").path.write_text("def mean(x): return 2\n")
        judge("mean", "green", whole=False, solution=None)
        assert status(dojo.kata("mean"), record).colour == "todo"

    def test_another_trees_attempts_do_not_count(self, dojo, record, judge):
        judge("mean", "green", tree="reference")
        assert status(dojo.kata("mean"), record).colour == "todo"

    def test_skipped_tests_are_no_hindrance(self, dojo, record, judge):
        judge("mean", "green", "skipped")
        one = status(dojo.kata("mean"), record)
        assert (one.colour, one.tests) == ("green", 1)

    def test_edited_since(self, dojo, record, judge):
        judge("mean", "green")
        assert is_green(dojo.kata("mean"), record)
        with dojo.kata("mean").path.open("a") as file:
            file.write("# more\n")
        one = status(dojo.kata("mean"), record)
        assert (one.colour, one.edited_since, one.done, one.sure) == ("green", True, True, False)
        assert "edited since" in one.note

    def test_begun_again_is_todo(self, dojo, record, judge):
        stub = dojo.kata("mean").path.read_text()
        judge("mean", "green")
        dojo.kata("mean").path.write_text(stub)
        assert status(dojo.kata("mean"), record).colour == "todo"
        dojo.kata("mean").path.unlink()
        assert status(dojo.kata("mean"), record).colour == "todo"

    def test_green_by_other_tests_is_to_be_judged_again(self, dojo, record, judge):
        judge("mean", "green")
        with dojo.kata("mean").test.open("a") as file:
            file.write("\n\ndef test_more(): assert False\n")
        one = status(dojo.kata("mean"), record)
        assert (one.colour, one.tests_changed, one.done) == ("green", True, False)
        assert "tests changed" in one.note
        assert not is_green(dojo.kata("mean"), record)
        assert next_kata(statuses(dojo, record)).kata.name == "mean"

    def test_another_number_loses_no_progress(self, dojo, record, judge):
        judge("mean", "green")
        for folder in ("katas", "reference"):
            for path in (dojo.root / folder).rglob("*k01_mean*"):
                path.rename(path.with_name(path.name.replace("k01", "k07")))
        kata = open_dojo(dojo.root).kata("mean")
        assert kata.stem == "k07_mean"
        assert status(kata, record).sure


class TestNext:
    def make_optional(self, dojo, *names):
        for name in names:
            toml = dojo.kata(name).toml
            toml.write_text("optional = true\n" + toml.read_text())
        return open_dojo(dojo.root)

    def test_is_the_first_that_is_not_green(self, dojo, record, judge):
        assert next_kata(statuses(dojo, record)).kata.name == "mean"
        judge("median", "green")
        assert next_kata(statuses(dojo, record)).kata.name == "mean"
        judge("mean", "green")
        assert next_kata(statuses(dojo, record)).kata.name == "count"
        judge("count", "green")
        assert next_kata(statuses(dojo, record)) is None

    def test_optional_katas_come_when_nothing_else_is_left(self, dojo, record, judge):
        dojo = self.make_optional(dojo, "mean", "median")
        assert next_kata(statuses(dojo, record)).kata.name == "count"
        judge("count", "green")
        assert next_kata(statuses(dojo, record)).kata.name == "mean"

    def test_current_is_the_one_at_work(self, dojo, record, judge):
        assert current(statuses(dojo, record)).kata.name == "mean"
        judge("count", "red")
        assert current(statuses(dojo, record)).kata.name == "count"
        judge("median", "amber")
        judge("mean", "todo", solution=None)  # a run of the whole module judges the untouched ones, too
        assert current(statuses(dojo, record)).kata.name == "median"

    def test_last_written_may_be_green(self, dojo, record, judge):
        assert last_written(statuses(dojo, record)).kata.name == "mean"
        judge("count", "green")
        judge("median", "todo", solution=None)
        assert last_written(statuses(dojo, record)).kata.name == "count"
