"""`dojo review`: when katas come back, and what a learner sees and types then."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsrs import Rating
from typer.testing import CliRunner

from dojo.cli import app
from dojo.learner.record import Attempt, Record, RecordError, hash_file, now
from dojo.learner.reviews import BEGUN, GIVEN_UP, LOOKED, MARK, REVIEW, note_look
from dojo.learner.workspace import Kept
from dojo.review import commands as review
from dojo.review.memory import Expected, cards_of
from tests.building import two_katas
from tests.synthetic import FILES, ROOT, project_and_clone
from tests.terminal import Terminal

MEAN = "katas/module_01_numbers/k01_mean.py"
DAY0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOW = DAY0 + timedelta(days=60)


# --- the schedule: made-up logs, and a time that the test sets -----------------------------------------


class Log:
    """A made-up log of one kata; each attempt is a file of its own, a minute after the one before."""

    def __init__(self, kata: str = "mean", days: float = 0.0) -> None:
        self.kata, self.at, self.hints = kata, DAY0 + timedelta(days=days), 0
        self.attempts: list[Attempt] = []

    def run(self, *colours: str, tree: str = "yours", minutes: float = 1, whole: bool = True, file: str = "") -> Log:
        for colour in colours:
            self.at += timedelta(minutes=minutes)
            self._add(tree, {"test_a": "green", "test_b": colour}, file or f"file {len(self.attempts)}", whole)
        return self

    def mark(self, what: str) -> Log:
        self._add(REVIEW, {MARK: what}, "", False)
        return self

    def review(self, days: float, *colours: str) -> Log:
        self.at += timedelta(days=days)
        return self.mark(BEGUN).run(*colours, tree=REVIEW)

    def hint(self, tier: int) -> Log:
        self.hints = tier
        return self

    def _add(self, tree: str, colours: dict[str, str], file: str, whole: bool) -> None:
        at = self.at.isoformat(timespec="milliseconds")
        self.attempts.append(Attempt(self.kata, at, tree, colours, 0.1, file, "tests", self.hints, whole))

    def card(self, now: datetime = NOW, **expected: float):
        return cards_of(self.attempts, {self.kata: Expected(**expected)}, now).get(self.kata)

    def rating(self, **expected: float) -> Rating:
        return self.card(**expected).sessions[-1].rating


class TestRating:
    def test_green_at_the_first_try_without_a_hint_is_easy(self):
        assert Log().run("green").rating() == Rating.Easy

    def test_a_stub_that_is_judged_before_a_line_is_written_is_no_try(self):
        assert Log().run("todo", "todo", "green").rating() == Rating.Easy

    def test_a_file_that_is_judged_twice_is_one_try(self):
        assert Log().run("red", "red", "red", "red", "red", file="same").run("green").card().sessions[0].tries == 2

    @pytest.mark.parametrize("wrong", [["red"], ["amber", "red"]])
    def test_up_to_three_tries_are_good(self, wrong):
        assert Log().run(*wrong, "green").rating() == Rating.Good

    def test_one_hint_is_good(self):
        assert Log().hint(1).run("green").rating() == Rating.Good

    def test_more_tries_are_hard(self):
        assert Log().run("red", "red", "red", "green").rating() == Rating.Hard

    def test_two_hints_are_hard(self):
        assert Log().hint(2).run("green").rating() == Rating.Hard

    def test_minutes_beyond_those_that_the_kata_takes_are_hard(self):
        log = Log().run("todo", "todo", "green", minutes=9)
        assert log.card().sessions[0].minutes == 18
        assert log.rating(minutes=17) == Rating.Hard
        assert log.rating(minutes=18) == Rating.Easy

    def test_a_long_gap_was_lunch(self):
        assert Log().run("todo", "green", minutes=10).card().sessions[0].minutes is None

    def test_all_hints_are_forgotten(self):
        assert Log().hint(3).run("green").rating(hints=3) == Rating.Again
        assert Log().hint(3).run("green").rating(hints=4) == Rating.Hard

    def test_a_look_at_the_reference_is_forgotten(self):
        assert Log().run("red").mark(LOOKED).run("green").rating() == Rating.Again

    def test_a_look_after_it_is_solved_changes_nothing(self):
        assert Log().run("green").mark(LOOKED).rating() == Rating.Easy

    def test_a_part_of_the_tests_solves_nothing(self):
        assert Log().run("green", whole=False).card() is None

    def test_what_is_run_after_it_was_solved_is_no_second_time(self):
        assert len(Log().run("green", "red", "green").card().sessions) == 1

    def test_only_the_hints_seen_in_a_review_count_in_it(self):
        log = Log().hint(2).run("green").review(5, "green")
        assert [s.hints for s in log.card().sessions] == [2, 0]
        assert log.rating() == Rating.Easy
        assert Log().hint(2).run("green").review(5).hint(3).run("green", tree=REVIEW).rating() == Rating.Again

    def test_a_review_that_is_given_up_is_forgotten(self):
        log = Log().run("green").review(5, "red").mark(GIVEN_UP)
        assert log.rating() == Rating.Again
        assert log.card().last_solved == DAY0 + timedelta(minutes=1)

    def test_a_look_at_the_reference_in_a_review_is_forgotten(self):
        assert Log().run("green").review(5).mark(LOOKED).run("green", tree=REVIEW).rating() == Rating.Again

    def test_polishing_after_a_review_is_no_other_review(self):
        assert len(Log().run("green").review(5, "green", "red", "green").card().sessions) == 2

    def test_beginning_anew_forgives_nothing(self):
        log = Log().run("green").review(5, "red", "red", "red").mark(BEGUN).run("green", tree=REVIEW)
        assert (log.rating(), log.card().sessions[-1].tries) == (Rating.Hard, 4)


class TestSchedule:
    def due(self, log: Log) -> datetime:
        return log.card().card.due

    def test_what_was_hard_won_comes_back_sooner(self):
        easy, good = Log().run("green"), Log().run("red", "green", minutes=0.5)
        hard = Log().run("red", "red", "red", "green", minutes=0.25)
        looked = Log().run("red").mark(LOOKED).run("green", minutes=0)
        days = [(self.due(log) - DAY0).days for log in (easy, good, hard, looked)]
        assert days == sorted(days, reverse=True)
        assert days[0] > days[1] > days[2] >= days[3] >= 1

    def test_a_good_review_lengthens_the_interval(self):
        log, last = Log().run("green"), timedelta()
        for _ in range(4):
            card = log.card().card
            interval = card.due - card.last_review
            assert interval > last
            last = interval
            log.review(interval.days, "green")

    def test_a_forgotten_one_comes_back_sooner(self):
        good = Log().run("green").review(8, "green")
        forgotten = Log().run("green").review(8, "red").mark(GIVEN_UP)
        assert self.due(forgotten) < self.due(good)
        assert (self.due(forgotten) - forgotten.at).days <= 2

    def test_it_fades(self):
        log = Log().run("green")
        shares = [log.card(DAY0 + timedelta(days=days)).remembered for days in (1, 8, 100)]
        assert shares == sorted(shares, reverse=True)
        assert shares[1] == pytest.approx(0.9, abs=0.02)

    def test_the_same_log_gives_the_same_days(self):
        log = Log().run("red", "green").review(3, "red", "green").review(40, "green")
        assert len({str(log.card().card) for _ in range(20)}) == 1

    def test_due_from_that_day_on(self):
        log = Log().run("green")
        due = self.due(log)
        assert not log.card(due - timedelta(days=1)).is_due
        assert log.card(due).is_due
        assert log.card(due + timedelta(days=9)).is_due

    def test_the_most_forgotten_first(self):
        logs = [Log("fresh", 50).run("green"), Log("old").run("green"), Log("older", -50).run("green")]
        found = cards_of([a for log in logs for a in log.attempts], {}, NOW)
        assert list(found) == ["older", "old", "fresh"]

    def test_a_line_without_a_time_is_left_out(self):
        log = Log().run("green")
        broken = Attempt("mean", "yesterday", "yours", {"a": "green"}, 0, "", "", 0, True)
        assert cards_of([broken], {}, NOW) == {}
        assert cards_of([broken, *log.attempts], {}, NOW)["mean"].card.due == self.due(log)

    def test_a_time_without_a_zone_is_utc(self):
        naive = Attempt("mean", "2026-01-01T12:00:00", "yours", {"a": "green"}, 0, "", "", 0, True)
        assert cards_of([naive], {}, NOW)["mean"].last_solved == DAY0


# --- the command ----------------------------------------------------------------------------------------


@pytest.fixture
def dojo(tmp_path, monkeypatch):
    """A learner's clone, and the learner in it."""
    dojo = project_and_clone(tmp_path)
    monkeypatch.chdir(dojo.root)
    monkeypatch.setenv("COLUMNS", "60")
    return dojo


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["review", *arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def answer(dojo, name: str) -> str:
    """A solution of the kata under its lesson."""
    kata = dojo.kata(name)
    return FILES[kata.path.relative_to(dojo.root).as_posix()].split('"""\n\n')[0] + (
        '"""\n\n' + kata.reference.read_text().split('"""\n\n', 1)[1]
    )


def solved(dojo, name: str = "mean", days: float = 30) -> str:
    """Solve the kata, `days` ago, at the first try; the file's hash."""
    kata = dojo.kata(name)
    kata.path.write_text(answer(dojo, name))
    judged(dojo, name, "yours", days=days)
    return digest(kata.path)


def judged(dojo, name: str, tree: str, colour: str = "green", days: float = 0, file: Path | None = None) -> None:
    """A run of the kata's tests as the plugin writes it down."""
    kata = dojo.kata(name)
    at = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="milliseconds")
    hashes = hash_file(file or kata.path), hash_file(kata.test)
    with Record(dojo.state / "record.sqlite") as record:
        hints = record.hints_seen(name)
        record.add(Attempt(name, at, tree, {"test_a": "green", "test_b": colour}, 0.1, *hashes, hints, True))


def reviewed(dojo, name: str = "mean", colour: str = "green") -> Path:
    """Write a solution into the begun review, and judge it."""
    path = file_of(dojo, name)
    path.write_text(answer(dojo, name).replace("sum(numbers)", "(0.0 + sum(numbers))"))
    judged(dojo, name, str(dojo.review.resolve()), colour, file=path)
    return path


def file_of(dojo, name: str = "mean") -> Path:
    kata = dojo.kata(name)
    return dojo.state / "review" / kata.module / f"{kata.stem}.py"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sessions(dojo, name: str = "mean"):
    with Record(dojo.state / "record.sqlite") as record:
        return review.memories(dojo, record)[name].sessions


def kept(dojo) -> list[Path]:
    return sorted(path for path in (dojo.state / "kept").rglob("*.py"))


class TestList:
    def test_nothing_is_solved_yet(self, dojo):
        said = run().replace("\n", " ")
        assert "You haven't solved a kata yet" in said
        assert "dojo next" in said

    def test_nothing_is_due(self, dojo):
        solved(dojo, days=0)
        due = (datetime.now() + timedelta(days=8)).date()
        assert f"Nothing is due; the next one is mean on {due}." in run()
        assert "100%" in run()

    def test_several_are_due_the_most_forgotten_first(self, dojo):
        solved(dojo, "median", days=20)
        solved(dojo, "mean", days=100)
        solved(dojo, "count", days=1)
        lines = [line.split() for line in run().splitlines()]
        assert lines[0] == ["2", "katas", "are", "due."]
        assert lines[1] == ["kata", "last", "solved", "remembered", "due"]
        assert [line[0] for line in lines[2:6]] == ["mean", "median", "later:", "count"]
        first = datetime.now(UTC) - timedelta(days=100)
        assert lines[2][1] == str(first.astimezone().date())
        assert lines[2][3] == str((first + timedelta(days=8)).astimezone().date())
        assert int(lines[2][2][:-1]) < int(lines[3][2][:-1]) < 90
        assert lines[-1][-3:] == ["dojo", "review", "mean"]

    def test_without_a_terminal_it_does_not_ask(self, dojo):
        solved(dojo)
        assert "[Y/n]" not in run()
        assert not file_of(dojo).exists()

    def test_no_more_than_a_handful_later_unless_asked_for(self, dojo, monkeypatch):
        monkeypatch.setattr(review, "LATER", 1)
        for name in ("mean", "median", "count"):
            solved(dojo, name, days=0)
        assert "and 2 more later: dojo review --all" in run()
        assert "median" not in run().split("later:")[0].split("\n", 2)[2]
        assert all(name in run("--all") for name in ("mean", "median", "count"))

    def test_what_is_begun_is_said(self, dojo):
        solved(dojo)
        run("mean")
        said = run()
        assert "begun" in said
        assert "dojo review mean --again" in said

    def test_fits_into_60_columns(self, dojo):
        for name in ("mean", "median", "count"):
            solved(dojo, name, days=40)
        assert max(map(len, run().splitlines())) <= 60
        assert max(map(len, run("mean").splitlines())) <= 62  # a command stays in one piece
        reviewed(dojo)
        assert max(map(len, run("--done").splitlines())) <= 100  # code does, too

    def test_a_kata_that_is_gone_is_left_out(self, dojo):
        solved(dojo)
        dojo.kata("mean").test.unlink()
        assert "You haven't solved a kata yet" in run()

    def test_a_corrupt_record(self, dojo):
        solved(dojo)
        (dojo.state / "record.sqlite").write_bytes(b"x" * 5000)
        assert "You haven't solved a kata yet" in run()
        assert list(dojo.state.glob("record.sqlite.corrupt-*"))

    def test_no_record_can_be_kept(self, dojo):
        dojo.state.write_text("a file")
        said = run().replace("\n", " ")
        assert "practice goes on" in said
        assert "You haven't solved a kata yet" in said


class TestBegin:
    def test_a_fresh_stub_beside_the_solution(self, dojo):
        before = solved(dojo)
        said = run("mean")
        assert file_of(dojo).read_text() == FILES[MEAN]
        assert digest(dojo.kata("mean").path) == before
        for line in (
            "  edit   .dojo/review/module_01_numbers/k01_mean.py",
            "  judge  pytest katas/module_01/mean -x --impl .dojo/review",
            "  done   dojo review --done mean",
        ):
            assert line in said.splitlines()

    def test_never_over_a_review_that_is_begun(self, dojo):
        solved(dojo)
        run("mean")
        file_of(dojo).write_text("half of it")
        assert "you have started its review" in run("mean")
        assert file_of(dojo).read_text() == "half of it"

    def test_nor_over_one_whose_kata_has_another_number_by_now(self, dojo):
        solved(dojo)
        run("mean")
        old = file_of(dojo).rename(file_of(dojo).with_name("k07_mean.py"))
        assert "you have started its review" in run("mean")
        assert not file_of(dojo).exists()
        assert old.exists()

    def test_anew_keeps_the_old(self, dojo):
        solved(dojo)
        run("mean")
        file_of(dojo).write_text("half of it")
        said = run("mean", "--again")
        assert file_of(dojo).read_text() == FILES[MEAN]
        (copy,) = kept(dojo)
        assert copy.read_text() == "half of it"
        assert str(copy.relative_to(dojo.root)) in said

    def test_one_that_is_not_due(self, dojo):
        solved(dojo, days=0)
        assert "It isn't due before" in run("mean")

    def test_one_that_is_not_solved(self, dojo):
        assert "mean isn't solved yet" in run("mean", status=2)
        assert not file_of(dojo).exists()

    def test_an_unknown_one(self, dojo):
        assert "no kata is called 'nope'" in run("nope", status=2)

    def test_contradictions(self, dojo):
        assert "Which one" in run("mean", "--done", "--again", status=2)
        assert "name its kata" in run("--again", status=2)

    def test_where_no_file_can_be_written(self, dojo):
        solved(dojo)
        (dojo.state / "review").write_text("a file")
        assert "no stub can be written" in run("mean", status=2).replace("\n", " ")

    def test_where_the_log_cannot_be_written(self, dojo, monkeypatch):
        solved(dojo)
        monkeypatch.setattr(Record, "add", lambda *_: (_ for _ in ()).throw(RecordError("the disk is full")))
        assert "the disk is full" in run("mean")
        assert file_of(dojo).exists()


class TestDone:
    def test_green(self, dojo):
        before = solved(dojo)
        run("mean")
        content = reviewed(dojo).read_text()
        said = run("--done")
        assert "green again (easy)" in said
        due = (datetime.now() + timedelta(days=8)).date()
        assert str(due) < said.split("comes back on ")[1][:10]
        assert "-    return sum(numbers) / len(numbers)" in said
        assert "+    return (0.0 + sum(numbers)) / len(numbers)" in said
        assert "balance" not in said  # the lesson is the same
        rows = [line.split() for line in said.splitlines()]
        assert ["tries", "1", "1"] in rows
        (copy,) = kept(dojo)
        assert copy.read_text() == content
        assert str(copy.relative_to(dojo.root)) in said
        assert not (dojo.state / "review").exists()
        assert digest(dojo.kata("mean").path) == before
        assert "Nothing is due" in run()

    def test_not_judged_yet(self, dojo):
        solved(dojo)
        run("mean")
        said = run("--done", status=1)
        assert "isn't judged yet" in said
        assert "dojo review --give-up mean" in said
        assert file_of(dojo).exists()
        assert kept(dojo) == []

    def test_not_green_yet(self, dojo):
        solved(dojo)
        run("mean")
        path = reviewed(dojo, colour="red")
        text = path.read_text()
        assert "this review is red, 1 of 2 tests green" in run("--done", "mean", status=1)
        assert path.read_text() == text
        assert len(sessions(dojo)) == 1

    def test_edited_since(self, dojo):
        solved(dojo)
        run("mean")
        path = reviewed(dojo)
        path.write_text(path.read_text() + "# one more thing\n")
        assert "edited since it was green" in run("--done", status=1)
        assert path.exists()
        judged(dojo, "mean", str(dojo.review), file=path)
        run("--done")
        assert [s.rating for s in sessions(dojo)] == [Rating.Easy, Rating.Easy]

    def test_only_some_of_its_tests(self, dojo):
        solved(dojo)
        run("mean")
        with Record(dojo.state / "record.sqlite") as record:
            tree = str(dojo.review.resolve())
            record.add(Attempt("mean", now(), tree, {"a": "green"}, 0, hash_file(file_of(dojo)), "", 0, False))
        assert "only 1 of this review's tests" in run("--done", status=1)

    def test_given_up(self, dojo):
        before = solved(dojo)
        run("mean")
        reviewed(dojo, colour="red")
        said = run("--give-up", "mean")
        assert "k01_mean  The mean: given up" in said
        assert "in 2 days." in said
        assert [s.rating for s in sessions(dojo)] == [Rating.Easy, Rating.Again]
        assert not file_of(dojo).exists()
        assert len(kept(dojo)) == 1
        assert digest(dojo.kata("mean").path) == before

    def test_giving_up_what_was_green_takes_nothing_away(self, dojo):
        solved(dojo)
        run("mean")
        reviewed(dojo)
        run("--give-up")
        assert sessions(dojo)[-1].rating == Rating.Easy

    def test_none_is_begun(self, dojo):
        assert "haven't started a review" in run("--done", status=2)
        assert "haven't started a review of mean" in run("--done", "mean", status=2)

    def test_several_are_begun(self, dojo):
        for name in ("mean", "median"):
            solved(dojo, name)
            run(name)
        assert "reviews of mean, median. Which one?" in run("--done", status=2).replace("\n", " ")
        reviewed(dojo, "mean")
        run("--done", "mean")
        assert file_of(dojo, "median").exists()

    def test_the_second_review_is_compared_with_the_first(self, dojo):
        solved(dojo)
        for colour in ("red", "green"):
            run("mean")
            reviewed(dojo, colour=colour)
            if colour == "red":
                run("--give-up")
        assert "green again" in run("--done")
        assert [s.solved for s in sessions(dojo)] == [True, False, True]

    def test_without_a_solution_to_compare_with(self, dojo):
        solved(dojo)
        run("mean")
        reviewed(dojo)
        dojo.kata("mean").path.unlink()
        assert "nothing to compare with" in run("--done")

    def test_a_log_that_cannot_be_written_keeps_the_review(self, dojo, monkeypatch):
        solved(dojo)
        run("mean")
        monkeypatch.setattr(Record, "add", lambda *_: (_ for _ in ()).throw(RecordError("the disk is full")))
        assert "the disk is full" in run("--give-up", status=2)
        assert file_of(dojo).exists()

    def test_a_moved_dojo_remembers_its_reviews(self, dojo, monkeypatch):
        solved(dojo)
        run("mean")
        reviewed(dojo)
        run("--done")
        moved = dojo.root.rename(dojo.root.with_name("elsewhere"))
        monkeypatch.chdir(moved)
        assert "Nothing is due" in run()


class TestLook:
    def test_a_look_at_the_reference_is_noted(self, dojo):
        solved(dojo)
        run("mean")
        with Record(dojo.state / "record.sqlite") as record:
            note_look(dojo.kata("mean"), record)
        reviewed(dojo)
        assert "it counts as forgotten" in run("--done").replace("\n", " ")
        assert sessions(dojo)[-1].rating == Rating.Again

    def test_dojo_diff_is_such_a_look(self, dojo):
        solved(dojo)
        run("mean")
        assert CliRunner().invoke(app, ["diff", "mean"]).exit_code == 0
        reviewed(dojo)
        run("--done")
        assert sessions(dojo)[-1].rating == Rating.Again

    def test_at_a_kata_that_is_green_it_is_none(self, dojo):
        solved(dojo)
        before = sessions(dojo)
        assert CliRunner().invoke(app, ["diff", "mean"]).exit_code == 0
        with Record(dojo.state / "record.sqlite") as record:
            assert not [a for a in record.attempts(tree=None) if MARK in a.colours]
        assert sessions(dojo) == before


class TestCtrlC:
    """Wherever it comes, the learner's files are whole, and the same command can be given again."""

    STEPS = ("put_mark", "write", "pristine_stub", "_remove", "_show_outcome")

    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.parametrize("after", [False, True])
    def test_between_any_two_steps(self, dojo, monkeypatch, step, after):
        before = solved(dojo)
        real = getattr(review, step)

        def interrupted(*arguments):
            if after:
                real(*arguments)
            raise KeyboardInterrupt

        for command in (["mean"], ["mean", "--again"], ["--give-up"]):
            mine = file_of(dojo).read_bytes() if file_of(dojo).exists() else b""
            with monkeypatch.context() as patch:
                patch.setattr(review, step, interrupted)
                status = CliRunner().invoke(app, ["review", *command]).exit_code
            assert status in (0, 130)
            copies = [path.read_bytes() for path in kept(dojo)]
            left = file_of(dojo).read_bytes() if file_of(dojo).exists() else b""
            assert left in (mine, FILES[MEAN].encode(), b"")
            assert not mine or mine == left or mine in copies
            if status == 130 and (command != ["--give-up"] or left):
                run(*command)
            if command == ["mean", "--again"]:
                file_of(dojo).write_text("half of it")
        assert digest(dojo.kata("mean").path) == before
        assert [s.rating for s in sessions(dojo)] == [Rating.Easy, Rating.Again]
        assert not file_of(dojo).exists()

    def test_a_copy_that_fails_changes_nothing(self, dojo, monkeypatch):
        solved(dojo)
        run("mean")
        reviewed(dojo)
        monkeypatch.setattr(Kept, "add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run("--done", status=130)
        assert file_of(dojo).exists()


# --- in a terminal --------------------------------------------------------------------------------------


class Review(Terminal):
    """`dojo review …` in a terminal."""

    def __init__(self, folder: Path, *arguments: str, columns: int = 60, **environment: str) -> None:
        super().__init__(folder, "review", *arguments, columns=columns, lines=40, env=environment)

    def asks(self) -> Review:
        self.until(r"\[Y/n\]")
        return self

    def end(self, status: int = 0) -> str:
        """What stands there when it has ended."""
        assert self.ended() == status, self.text
        self.read(0.2)
        self.close()
        assert "Traceback" not in self.text
        return self.text


class TestTerminal:
    def test_from_the_question_to_the_comparison(self, dojo):
        before = solved(dojo)
        shown = Review(dojo.root).asks()
        assert "One kata is due." in shown.text
        assert shown.text.splitlines()[-1] == "Review mean now? [Y/n]"
        shown.send("\r")
        assert "edit   .dojo/review/module_01_numbers/k01_mean.py" in shown.end()
        assert file_of(dojo).read_text() == FILES[MEAN]

        reviewed(dojo)
        said = Review(dojo.root, "--done").end()
        assert "k01_mean  The mean: green again (easy)" in said
        assert "+    return (0.0 + sum(numbers)) / len(numbers)" in said
        assert digest(dojo.kata("mean").path) == before

    @pytest.mark.parametrize(("key", "status"), [("\x03", 130), ("\x04", 0), ("n\r", 0), ("what?\r", 0)])
    def test_any_other_answer_changes_nothing(self, dojo, key, status):
        solved(dojo)
        shown = Review(dojo.root).asks()
        shown.send(key)
        said = shown.end(status)
        assert said.splitlines()[-1].startswith("Review mean now? [Y/n]")  # nothing after it
        assert shown.written.endswith("\n")  # the shell's prompt has a line of its own
        assert not (dojo.state / "review").exists()
        assert len(sessions(dojo)) == 1

    @pytest.mark.parametrize("arguments", [(), ("mean",)])
    def test_ctrl_c_at_any_moment(self, dojo, arguments):
        """Cut off at moments that lie all over the run."""
        before = solved(dojo)
        for moment in (0.2, 0.3, 0.4):
            shown = Review(dojo.root, *arguments)
            time.sleep(moment)
            shown.process.kill(signal.SIGINT)
            shown.read(0.3)
            shown.close()
            assert not file_of(dojo).exists() or file_of(dojo).read_text() == FILES[MEAN]
            assert not list(dojo.state.rglob(".k01*"))
        assert digest(dojo.kata("mean").path) == before

    def test_resize_at_the_question(self, dojo):
        solved(dojo)
        shown = Review(dojo.root, columns=100).asks()
        for columns in (60, 130, 40):
            shown.resize(columns, 24)
            shown.read()
        assert shown.process.isalive()
        shown.send("y\r")
        assert "judge  pytest katas/module_01/mean" in shown.end()
        assert file_of(dojo).exists()

    @pytest.mark.parametrize("columns", [60, 100])
    def test_nothing_is_cut_off(self, dojo, columns):
        for name in ("mean", "median", "count"):
            solved(dojo, name, days=40)
        shown = Review(dojo.root, columns=columns).asks()
        rows = [line.split() for line in shown.text.splitlines()[2:5]]
        assert sorted(row[0] for row in rows) == ["count", "mean", "median"]
        assert {len(row) for row in rows} == {4}
        assert "…" not in shown.text
        shown.send("n\r")
        shown.end()

    def test_no_color(self, dojo):
        solved(dojo)
        coloured, plain = Review(dojo.root), Review(dojo.root, NO_COLOR="1")
        for shown in (coloured, plain):
            shown.asks().send("n\r")
            shown.end()
        assert "\x1b[33m" in coloured.written
        assert "\x1b[33m" not in plain.written
        assert plain.text == coloured.text


class TestJudged:
    """pytest judges the review's file, and the record has what the schedule needs."""

    def test_the_whole_way(self, dojo, in_dojo):
        before = solved(dojo)
        run("mean")
        command = review.judging(dojo.kata("mean")).split()[1:]
        assert in_dojo(dojo.root, *command).returncode == 1
        file_of(dojo).write_text(answer(dojo, "mean").replace("/ len", "/ 2 / len"))
        assert "red    k01_mean" in in_dojo(dojo.root, *command).stdout
        assert "this review is red" in run("--done", status=1)
        file_of(dojo).write_text(answer(dojo, "mean"))
        green = in_dojo(dojo.root, *command)
        assert (green.returncode, "next   dojo review --done mean" in green.stdout) == (0, True)
        said = run("--done")
        assert "green again (good)" in said
        assert "The two are the same." in said
        assert ["tries", "1", "2"] in [line.split() for line in said.splitlines()]
        assert digest(dojo.kata("mean").path) == before

    def test_the_katas_that_it_builds_on_are_the_learners_own_or_lent(self, tmp_path, in_dojo):
        """A sparse tree: what isn't under review is the learner's where it is green, else the reference's."""
        folder = two_katas(tmp_path)
        tree = folder / ".dojo" / "review"
        own = "def square(x):\n    print('mine')\n    return x * x\n"
        (folder / "katas/module_01_first/k01_square.py").write_text(own)
        path = tree / "module_02_second" / "k01_area.py"
        path.parent.mkdir(parents=True)
        path.write_text((folder / "reference/module_02_second/k01_area.py").read_text())
        command = ["katas/module_02", "-x", "--impl", ".dojo/review", "-s", "-p", "no:cacheprovider"]
        lent = in_dojo(folder, *command).stdout
        assert "mine" not in lent
        assert "lent by the reference: square" in lent
        assert in_dojo(folder, "katas/module_01").returncode == 0
        yours = in_dojo(folder, *command)
        assert "mine" in yours.stdout
        assert "lent" not in yours.stdout
        # Under review itself, and wrong by now: that is no fault of the kata that builds on it.
        other = tree / "module_01_first" / "k01_square.py"
        other.parent.mkdir()
        other.write_text("def square(x):\n    return x + 1\n")
        assert in_dojo(folder, *command).returncode == 0

    def test_a_classmates_tree_is_no_review(self, dojo):
        solved(dojo)
        run("mean")
        judged(dojo, "mean", "/home/ada/clone")
        judged(dojo, "mean", str(dojo.clone / "reference"))
        assert "isn't judged yet" in run("--done", status=1)


def test_the_start_stays_light(dojo):
    """Neither fsrs nor genanki is loaded by commands that don't need them."""
    code = "import sys; from dojo.cli import app; app(['list'], standalone_mode=False)\n"
    code += "print(sorted({'fsrs', 'genanki', 'dojo.review.commands', 'dojo.review.cards'} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    shown = subprocess.run([sys.executable, "-c", code], cwd=dojo.root, env=env, capture_output=True, text=True)
    assert shown.stdout.splitlines()[-1] == "[]", shown.stderr
