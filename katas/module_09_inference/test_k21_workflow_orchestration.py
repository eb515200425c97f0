"""Judges k21_workflow_orchestration with graphlib, hypothesis, brute force, killed processes and torn files."""

import itertools
import json
import os
import random
import re
import resource
import signal
from datetime import date, timedelta
from pathlib import Path

import pytest

from dojo.testing import assert_equal, from_scratch, pure, raises
from fixtures.children import in_a_child
from fixtures.folders import content, traces
from katas.module_09_inference.k21_workflow_orchestration import (
    Journal,
    Task,
    backfill,
    order,
    plan,
    publish,
    ready,
    run_flow,
    with_retries,
)

pytestmark = [
    from_scratch("graphlib", "networkx", "tenacity", "airflow", "luigi", "prefect"),
    pure("Journal", "run_flow", "backfill", "with_retries"),
]

DRAWING = {
    "report": ["train", "stats"],
    "train": ["clean"],
    "stats": ["fetch"],
    "clean": ["fetch"],
    "fetch": [],
}
DAY = date(2026, 3, 1)
FILE = Path("notes/journal.jsonl")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in a folder of its own, with relative paths."""
    monkeypatch.chdir(tmp_path)


def random_dag(draw: random.Random, most: int = 9) -> dict[str, list[str]]:
    """A graph without circles.  The names' order says nothing about the tasks' order."""
    number = draw.randint(1, most)
    names = [f"t{i}" for i in range(number)]
    draw.shuffle(names)
    edges = {names[i]: [names[j] for j in range(i) if draw.random() < 0.35] for i in range(number)}
    keys = list(edges)
    draw.shuffle(keys)
    return {name: draw.sample(edges[name], len(edges[name])) for name in keys}


def on_dags(check) -> None:
    """Runs check(after) on graphs that hypothesis makes."""
    pytest.importorskip("hypothesis", reason="needs the extra `torch`: pip install -c constraints.txt -e '.[torch]'")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    @st.composite
    def dags(draw):
        names = draw(st.lists(st.text("abAB_é-9", min_size=1, max_size=3), unique=True, max_size=7))
        edges = {
            name: draw(st.lists(st.sampled_from(names[:i]), max_size=4)) if i else [] for i, name in enumerate(names)
        }
        return {name: edges[name] for name in draw(st.permutations(names))}

    # Without the phase that shortens what fails: it would take longer than the learner waits.
    options = settings(
        max_examples=60, phases=[Phase.generate], deadline=None, database=None, derandomize=True, report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    options(given(dags())(check))()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def never(seconds) -> None:
    """For `sleep`, where nothing fails."""
    raise AssertionError(f"nothing has failed, but it sleeps for {seconds}")


class Flow:
    """Tasks of a graph that note their turns.  A result is [name, day, inputs]."""

    def __init__(
        self, after, fails=None, retries=None, result=lambda name, day, inputs: [name, day.isoformat(), inputs]
    ):
        self.ran, self.waits, self.result = [], [], result
        self.fails = dict(fails or {})
        self.tasks = [
            Task(name, self.runner(name), tuple(needs), (retries or {}).get(name, 0)) for name, needs in after.items()
        ]

    def runner(self, name):
        def run(day, inputs):
            self.ran.append(name)
            if self.fails.get(name, 0):
                self.fails[name] -= 1
                raise ConnectionError(f"{name} has no network")
            return self.result(name, day, inputs)

        return run

    def sleep(self, seconds) -> None:
        self.waits.append(seconds)

    def run(self, day=DAY, **options):
        return run_flow(self.tasks, day, Journal(FILE), self.sleep, **options)


class TestOrder:
    def test_worked_by_hand(self):
        assert_equal(order(DRAWING), ["fetch", "clean", "stats", "train", "report"])

    def test_nothing(self):
        assert_equal(order({}), [])

    def test_tasks_that_wait_for_nothing(self):
        assert_equal(order({"b": [], "C": [], "a": []}), ["C", "a", "b"])

    def test_a_task_that_becomes_free_goes_first_if_its_name_is_smaller(self):
        assert_equal(order({"z": [], "m": [], "a": ["m"]}), ["m", "a", "z"])

    def test_a_name_that_stands_twice(self):
        assert_equal(order({"a": ["b", "b"], "b": []}), ["b", "a"])

    @pytest.mark.parametrize("kind", [tuple, set, frozenset])
    def test_any_collection(self, kind):
        assert_equal(order({name: kind(needs) for name, needs in DRAWING.items()})[-1], "report")

    def test_each_behind_those_that_it_waits_for(self):
        """graphlib takes the order step by step: each task must be ready when its turn comes."""
        from graphlib import TopologicalSorter

        def check(after):
            found = order(after)
            assert_equal(sorted(found), sorted(after))
            sorter = TopologicalSorter(after)
            sorter.prepare()
            free = set()
            for name in found:
                free |= set(sorter.get_ready())
                assert_equal((after, name, name in free), (after, name, True))
                sorter.done(name)

        on_dags(check)

    @pytest.mark.parametrize("seed", range(12))
    def test_the_smallest_of_those_that_may_come_next(self, seed):
        after = random_dag(random.Random(seed))
        expected = []
        while len(expected) < len(after):
            free = [name for name in after if name not in expected and set(after[name]) <= set(expected)]
            expected.append(min(free))
        assert_equal(order(after), expected)

    def test_a_long_chain(self):
        after = {f"t{i:05}": [f"t{i - 1:05}"] if i else [] for i in range(20_000)}
        assert_equal(order(dict(reversed(after.items()))) == sorted(after), True)

    def test_many_tasks_in_layers(self):
        after = {
            f"t{i:03}.{j:02}": [f"t{i - 1:03}.{k:02}" for k in range(20)] if i else []
            for i in range(100)
            for j in range(20)
        }
        assert_equal(order(dict(reversed(after.items()))) == sorted(after), True)

    def test_many_free_tasks(self):
        after = {f"t{i:05}": [] for i in range(20_000)}
        assert_equal(order(dict(reversed(after.items()))) == sorted(after), True)

    def test_a_task_that_isnt_there(self):
        with raises(ValueError, "train", "clean"):
            order({"train": ["clean"], "fetch": []})

    def circle_in(self, after) -> list[str]:
        """The path in the message."""
        with raises(ValueError, "→") as error:
            order(after)
        paths = re.findall(r"\w+(?: → \w+)+", str(error.value))
        assert_equal(len(paths), 1)
        return paths[0].split(" → ")

    def turned(self, path: list[str]) -> list[str]:
        """The same circle, begun at its smallest name."""
        assert_equal((len(path) > 1, path[:1]), (True, path[-1:]))
        least = path.index(min(path))
        return [*path[least:-1], *path[:least], path[least]]

    def test_the_path_of_a_circle(self):
        found = self.circle_in({"a": ["c"], "b": ["a"], "c": ["b"]})
        assert_equal(self.turned(found), ["a", "b", "c", "a"])

    def test_a_task_that_waits_for_itself(self):
        assert_equal(self.circle_in({"b": [], "a": ["a", "b"]}), ["a", "a"])

    def test_two_that_wait_for_each_other(self):
        assert_equal(self.turned(self.circle_in({"b": ["a"], "a": ["b"]})), ["a", "b", "a"])

    def test_the_way_to_the_circle_isnt_part_of_it(self):
        after = {"a": ["b"], "b": ["c"], "c": ["e"], "d": ["c"], "e": ["d"], "f": [], "g": ["d"], "c0": ["f"]}
        assert_equal(self.turned(self.circle_in(after)), ["c", "d", "e", "c"])

    def test_a_long_circle(self):
        names = [f"t{i:04}" for i in range(3000)]
        found = self.circle_in({name: [names[i - 1]] for i, name in enumerate(names)})
        assert_equal(self.turned(found) == [*names, names[0]], True)

    @pytest.mark.parametrize("seed", range(20))
    def test_a_circle_in_any_graph(self, seed):
        draw = random.Random(seed)
        after = random_dag(draw)
        names = draw.sample(list(after), draw.randint(1, len(after)))
        for i, name in enumerate(names):
            after[name].append(names[i - 1])
        path = self.circle_in(after)
        wrong = [(first, then) for first, then in itertools.pairwise(path) if first not in after.get(then, ())]
        assert_equal((wrong, path[0] == path[-1], len(set(path)) == len(path) - 1), ([], True, True))


class TestReady:
    @pytest.mark.parametrize(
        ("done", "running", "expected"),
        [
            ([], [], ["fetch"]), ([], ["fetch"], []), (["fetch"], [], ["clean", "stats"]), (["fetch"], ["stats"], ["clean"]),
            (["fetch", "clean"], ["stats"], ["train"]), (["fetch", "clean", "train"], ["stats"], []), (list(DRAWING), [], []),
        ],
    )  # fmt: skip
    def test_worked_by_hand(self, done, running, expected):
        assert_equal(ready(DRAWING, done, running), expected)

    def test_without_running(self):
        assert_equal(ready(DRAWING, {"fetch"}), ["clean", "stats"])

    def test_nothing(self):
        assert_equal(ready({}, []), [])

    def test_sorted(self):
        after = {f"t{i}": [] for i in (5, 30, 2, 9, 1, 12, 7)}
        assert_equal(ready(after, []), sorted(after))

    def test_others_dont_count(self):
        assert_equal(ready({"b": [], "a": ["b"]}, ["x", "b"], ["y"]), ["a"])

    def test_a_done_task_whose_needs_arent_done(self):
        assert_equal(ready({"b": [], "a": ["b"], "c": ["a"]}, ["a"]), ["b", "c"])

    def test_both_done_and_running(self):
        assert_equal(ready({"b": [], "a": ["b"]}, ["b"], ["b"]), ["a"])

    def test_a_circle_is_never_ready(self):
        assert_equal(ready({"a": ["b"], "b": ["a"], "c": []}, []), ["c"])

    @pytest.mark.parametrize("kind", [list, tuple, set, frozenset, dict.fromkeys])
    def test_any_collection(self, kind):
        assert_equal(ready(DRAWING, kind(["fetch"]), kind(["clean"])), ["stats"])

    def test_waves_are_graphlibs(self):
        from graphlib import TopologicalSorter

        def check(after):
            sorter = TopologicalSorter(after)
            sorter.prepare()
            done = []
            while sorter.is_active():
                expected = sorted(sorter.get_ready())
                assert_equal((after, done, ready(after, done)), (after, done, expected))
                done = [*done, *expected]
                sorter.done(*expected)

        on_dags(check)

    @pytest.mark.parametrize("seed", range(8))
    def test_brute_force(self, seed):
        draw = random.Random(seed)
        after = random_dag(draw, 8)
        done, running = draw.sample(list(after), len(after) // 2), draw.sample(list(after), len(after) // 4)
        expected = [
            name
            for name in sorted(after)
            if name not in done and name not in running and all(need in done for need in after[name])
        ]
        assert_equal(ready(after, done, running), expected)


class TestWithRetries:
    def outcome(self, failures, retries, answer="ok", error=ConnectionError, **options):
        """What came of a call that fails so often, and what was done: "call", or how long it slept."""
        done = []

        def call():
            done.append("call")
            if done.count("call") <= failures:
                raise error(f"failure {done.count('call')}")
            return answer

        try:
            found = with_retries(call, retries, done.append, **options)
        except error as raised:
            found = str(raised)
        return found, done

    def test_worked_by_hand(self):
        expected = ("failure 4", ["call", 2.0, "call", 4.0, "call", 5.0, "call"])
        assert_equal(self.outcome(9, 3, base=2.0, cap=5.0), expected)

    def test_at_first(self):
        assert_equal(self.outcome(0, 5), ("ok", ["call"]))

    @pytest.mark.parametrize("failures", [1, 2, 3])
    def test_it_ends_with_the_first_answer(self, failures):
        expected = ["call"]
        for n in range(failures):
            expected += [0.5 * 2**n, "call"]
        assert_equal(self.outcome(failures, 3, base=0.5), ("ok", expected))

    def test_one_failure_too_many(self):
        assert_equal(self.outcome(3, 2), ("failure 3", ["call", 1.0, "call", 2.0, "call"]))

    def test_no_retries(self):
        assert_equal(self.outcome(1, 0), ("failure 1", ["call"]))

    def test_the_defaults(self):
        assert_equal(
            [one for one in self.outcome(8, 8)[1] if one != "call"], [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        )

    def test_a_cap_below_the_base(self):
        assert_equal(self.outcome(2, 2, base=7.0, cap=3.0), ("ok", ["call", 3.0, "call", 3.0, "call"]))

    def test_thousands_of_retries(self):
        found, done = self.outcome(3000, 3000, cap=4.0)
        assert_equal((found, done.count("call"), done[-2]), ("ok", 3001, 4.0))

    @pytest.mark.parametrize("answer", [None, False, 0, ""])
    def test_any_answer(self, answer):
        assert_equal(self.outcome(1, 3, answer), (answer, ["call", 1.0, "call"]))

    def test_the_very_error(self):
        errors = [OSError("first"), LookupError("second")]
        left = list(errors)

        def call():
            raise left.pop(0)

        with raises(LookupError, "second") as error:
            with_retries(call, 1, lambda seconds: None)
        assert_equal(error.value is errors[1], True)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_what_isnt_an_exception(self, error):
        assert_equal(self.outcome(1, 3, error=error), ("failure 1", ["call"]))

    @pytest.mark.parametrize("error", [ValueError, AssertionError, StopIteration, MemoryError])
    def test_any_exception(self, error):
        assert_equal(self.outcome(1, 3, error=error), ("ok", ["call", 1.0, "call"]))

    @pytest.mark.parametrize("retries", [-1, -7])
    def test_less_than_none(self, retries):
        called = []
        with raises(ValueError, retries):
            with_retries(lambda: called.append(1), retries, never)
        assert_equal(called, [])


OTHERS = [
    "data.tmp", "data.csv.tmp", ".data.csv.tmp", "data.new", "data.csv.new", "data.csv.part", "data.csv~",
    "tmp", "data.bak", "data.csv.bak", ".data.csv.swp", "data.temp", "data.csv.temp", "data", "_data.csv", "tmp_data.csv",
]  # fmt: skip


class TestPublish:
    def test_a_new_file(self):
        assert_equal((publish(Path("a.csv"), b"1\r\n\0"), content(Path())), (True, {"a.csv": b"1\r\n\0"}))

    def test_folders_are_made(self):
        assert_equal((publish(Path("a/b/c.csv"), b"x"), content(Path())), (True, {"a/b/c.csv": b"x"}))

    @pytest.mark.parametrize("new", [b"", b"12", b"124", b"1234", b"123\n"])
    def test_other_contents(self, new):
        publish(Path("a.csv"), b"123")
        assert_equal((publish(Path("a.csv"), new), content(Path())), (True, {"a.csv": new}))

    @pytest.mark.parametrize("same", [b"", b"123", b"\xff\r\n"])
    def test_the_same_contents(self, same):
        first = publish(Path("a.csv"), same)
        os.utime("a.csv", (1_000_000, 1_000_000))
        before = traces(Path())
        assert_equal((first, publish(Path("a.csv"), same), traces(Path()) == before), (True, False, True))

    def test_whoever_has_opened_the_old_one(self):
        old = bytes(range(256)) * 200
        publish(Path("a.csv"), old)
        with open("a.csv", "rb") as file:
            first = file.read(1000)
            publish(Path("a.csv"), b"new")
            assert_equal(first + file.read() == old, True)

    def test_another_name_for_the_old_one(self):
        publish(Path("a.csv"), b"old")
        os.link("a.csv", "yesterday.csv")
        publish(Path("a.csv"), b"newer")
        assert_equal(content(Path()), {"a.csv": b"newer", "yesterday.csv": b"old"})

    def test_the_permissions_of_a_new_file(self):
        Path("other.csv").write_bytes(b"x")
        publish(Path("a.csv"), b"x")
        assert_equal(oct(os.stat("a.csv").st_mode), oct(os.stat("other.csv").st_mode))

    def test_no_other_file_is_touched(self):
        for name in OTHERS:
            Path(name).write_bytes(name.encode())
        before = traces(Path())
        publish(Path("data.csv"), b"1")
        publish(Path("data.csv"), b"2")
        after = traces(Path())
        touched = [name for name in OTHERS if after.get(name) != before[name]]
        assert_equal((touched, len(after)), ([], len(OTHERS) + 1))

    @pytest.mark.parametrize("old", [None, b"old"])
    def test_a_full_disk(self, old):
        """No file may grow beyond 64 KiB, so writing fails in the middle."""
        if old is not None:
            publish(Path("a.csv"), old)
        Path("b.csv").write_bytes(b"b")
        before = content(Path())
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        found = "no error"
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))
        try:
            publish(Path("a.csv"), b"x" * 300_000)
        except OSError as error:
            found = type(error).__name__
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        after = content(Path())
        strangers = len(set(after) - {"a.csv", "b.csv"})
        assert_equal((found, {name: after.get(name) for name in before}, strangers), ("OSError", before, 0))
        assert_equal("a.csv" in after, old is not None)


def lines() -> list:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


class TestJournal:
    def test_nothing_yet(self):
        assert_equal((Journal(FILE).entries(), FILE.exists()), ({}, False))

    def test_a_line_for_each_note(self):
        journal = Journal(FILE)
        journal.note("a", 1)
        journal.note("b", {"x": [None, "é\n"]})
        journal.note("a", 2)
        assert_equal(lines(), [["a", 1], ["b", {"x": [None, "é\n"]}], ["a", 2]])
        assert_equal(FILE.read_bytes()[-1:], b"\n")

    def test_the_last_value_counts(self):
        journal = Journal(FILE)
        for key, value in [("a", 1), ("b", 2), ("a", 3)]:
            journal.note(key, value)
        assert_equal(journal.entries(), {"a": 3, "b": 2})

    @pytest.mark.parametrize("value", [None, False, 0, "", [], {}, 1234567.125, "é\u2028\x85\r\n", ["a", {"b": None}]])
    def test_any_value(self, value):
        Journal(FILE).note("é\u2028\n", value)
        assert_equal(Journal(FILE).entries(), {"é\u2028\n": value})

    def test_a_file_from_elsewhere(self):
        """JSON may be written with spaces, and with characters as they are."""
        FILE.parent.mkdir()
        FILE.write_bytes('[ "é\u2028", "\x85" ]\n["b",{"c":1}]\n'.encode())
        journal = Journal(FILE)
        assert_equal(journal.entries(), {"é\u2028": "\x85", "b": {"c": 1}})
        journal.note("d", 0)
        assert_equal(journal.entries(), {"é\u2028": "\x85", "b": {"c": 1}, "d": 0})

    def test_two_objects_for_one_file(self):
        first, second = Journal(FILE), Journal(FILE)
        first.note("a", 1)
        found = [second.entries()]
        second.note("b", 2)
        assert_equal([*found, first.entries()], [{"a": 1}, {"a": 1, "b": 2}])

    def test_folders_are_made(self):
        Journal(Path("x/y/z")).note("a", 1)
        assert_equal(Journal(Path("x/y/z")).entries(), {"a": 1})

    def test_two_files(self):
        Journal(Path("one")).note("a", 1)
        assert_equal(Journal(Path("two")).entries(), {})

    def test_the_caller_may_change_what_comes_out(self):
        journal, value = Journal(FILE), {"x": [1]}
        journal.note("a", value)
        value["x"].append(2)
        journal.entries()["a"]["x"].append(3)
        journal.entries().clear()
        assert_equal(journal.entries(), {"a": {"x": [1]}})

    def test_a_note_is_there_after_a_kill(self):
        def work():
            journal = Journal(FILE)
            journal.note("a", 1)
            journal.note("b", 2)
            die()

        assert_equal((in_a_child(work), Journal(FILE).entries()), (-signal.SIGKILL, {"a": 1, "b": 2}))

    NOTES = (("a", 1), ("bé", "ü\u2028"), ("a", [2, {"x": "]"}]), ("c", None))

    def test_a_file_torn_at_any_place(self):
        """Whole lines count, and what is noted afterwards isn't glued to the torn one."""
        journal, sizes = Journal(FILE), [0]
        for key, value in self.NOTES:
            journal.note(key, value)
            sizes.append(FILE.stat().st_size)
        whole = FILE.read_bytes()
        for size in range(len(whole) + 1):
            FILE.write_bytes(whole[:size])
            complete = sum(one <= size for one in sizes) - 1
            expected = dict(self.NOTES[:complete])
            also = dict(self.NOTES[: complete + 1]) if size + 1 in sizes else expected
            found = Journal(FILE).entries()
            assert_equal((size, found), (size, also if found == also else expected))
            Journal(FILE).note("new", size)
            found = Journal(FILE).entries()
            assert_equal((size, found), (size, {**(also if found == {**also, "new": size} else expected), "new": size}))
            assert_equal(FILE.read_bytes().startswith(whole[: sizes[complete]]), True)

    def test_torn_twice(self):
        FILE.parent.mkdir()
        FILE.write_bytes(b'["a", 1]\n["b", {"x')
        for number in range(3):
            Journal(FILE).note(f"c{number}", number)
            with open(FILE, "ab") as file:
                file.write(b'["torn", "\xc3')
        assert_equal(Journal(FILE).entries(), {"a": 1, "c0": 0, "c1": 1, "c2": 2})

    @pytest.mark.parametrize("torn", [b"", b"[", b'["b"', b'["b", ', b'["b", "\xc3', b'["b", 1', b"\xff\xfe", b"\0\0\0", b'"b"', b"{}", b"[]", b'["b"]', b'["b", 1, 2]', b"[1, 2]", b"null", b'"ab"', b'{"a": 1, "b": 2}'])  # fmt: skip
    def test_a_torn_line_in_the_middle(self, torn):
        FILE.parent.mkdir()
        FILE.write_bytes(b'["a", 1]\n' + torn + b'\n["c", 3]\n')
        assert_equal(Journal(FILE).entries(), {"a": 1, "c": 3})

    @pytest.mark.parametrize("bad", [{1, 2}, object(), [1, {"x": b"bytes"}], {"a": 1, "b": [2, {3}]}])
    def test_what_json_lacks(self, bad):
        journal = Journal(FILE)
        journal.note("a", 1)
        before = FILE.read_bytes()
        with raises(TypeError):
            journal.note("b", bad)
        assert_equal(FILE.read_bytes(), before)

    def test_lines_stay_as_they_are(self):
        FILE.parent.mkdir()
        before = b'["a",    1]\nno entry\n["a", 2]\n'
        FILE.write_bytes(before)
        Journal(FILE).note("b", 3)
        assert_equal(FILE.read_bytes().startswith(before), True)

    def test_many_notes(self):
        journal = Journal(FILE)
        for number in range(60):
            journal.note(f"k{number % 7}", number)
        assert_equal(journal.entries(), {f"k{number % 7}": number for number in range(53, 60)})


class TestRunFlow:
    def test_worked_by_hand(self):
        flow = Flow(DRAWING)
        report = flow.run()
        assert_equal(flow.ran, ["fetch", "clean", "stats", "train", "report"])
        assert_equal((report.states, report.errors), (dict.fromkeys(DRAWING, "done"), {}))

    def test_what_is_noted(self):
        Flow({"b": ["a"], "a": []}, result=lambda name, day, inputs: [name, inputs]).run()
        assert_equal(Journal(FILE).entries(), {"2026-03-01/a": ["a", {}], "2026-03-01/b": ["b", {"a": ["a", {}]}]})

    def test_nothing(self):
        report = run_flow([], DAY, Journal(FILE), never)
        assert_equal((report.states, report.errors), ({}, {}))

    def test_again(self):
        retries = dict.fromkeys(["clean", "train"], 2)
        Flow(DRAWING, retries=retries).run()
        flow = Flow(DRAWING, retries=retries)
        before = Journal(FILE).entries()
        report = flow.run()
        assert_equal((flow.ran, report.states), ([], dict.fromkeys(DRAWING, "kept")))
        assert_equal(Journal(FILE).entries(), before)

    def test_another_day(self):
        Flow(DRAWING).run()
        flow = Flow(DRAWING)
        states = flow.run(DAY + timedelta(days=1)).states
        assert_equal((len(flow.ran), states["fetch"], len(Journal(FILE).entries())), (5, "done", 10))

    def test_the_day_is_handed_on(self):
        days = []
        run_flow([Task("a", lambda day, inputs: days.append(day))], DAY, Journal(FILE), never)
        assert_equal(([one == DAY for one in days], [type(one).__name__ for one in days]), ([True], ["date"]))

    def test_inputs_are_of_those_that_it_waits_for(self):
        inputs = {}
        after = {"a": [], "b": ["a"], "c": ["b"], "d": ["a", "c"], "e": []}

        def result(name, day, given):
            inputs[name] = dict(given)
            return name * 2

        Flow(after, result=result).run()
        assert_equal(inputs, {name: {need: need * 2 for need in needs} for name, needs in after.items()})

    def test_inputs_of_a_kept_task(self):
        inputs = {}
        flow = Flow({"a": [], "b": ["a"]}, fails={"b": 1}, result=lambda name, day, given: {"n": [1, None]})
        flow.run()
        flow.result = lambda name, day, given: inputs.update(given)
        assert_equal((flow.run().states, inputs), ({"a": "kept", "b": "done"}, {"a": {"n": [1, None]}}))

    @pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
    def test_any_result_is_kept(self, value):
        Flow({"a": []}, result=lambda name, day, inputs: value).run()
        flow = Flow({"a": [], "b": ["a"]})
        assert_equal((flow.run().states, flow.ran), ({"a": "kept", "b": "done"}, ["b"]))
        assert_equal(Journal(FILE).entries()["2026-03-01/b"], ["b", "2026-03-01", {"a": value}])

    def test_a_task_changes_its_inputs(self):
        def result(name, day, inputs):
            if name == "a":
                return {"rows": [1, [2]]}
            seen.append(json.dumps(inputs))
            inputs["a"]["rows"][1].append(3)
            inputs["x"] = 1
            return name

        seen = []
        Flow({"a": [], "b": ["a"], "c": ["a"], "d": ["a"]}, result=result).run()
        assert_equal(seen, ['{"a": {"rows": [1, [2]]}}'] * 3)
        assert_equal(Journal(FILE).entries()["2026-03-01/a"], {"rows": [1, [2]]})

    def test_fresh_inputs_for_each_try(self):
        seen = []

        def spoils(day, inputs):
            seen.append(json.dumps(inputs))
            inputs["a"].append(0)
            if len(seen) < 3:
                raise OSError("again")

        tasks = [Task("a", lambda day, inputs: [1]), Task("b", spoils, ["a"], 2)]
        run_flow(tasks, DAY, Journal(FILE), lambda seconds: None)
        assert_equal(seen, ['{"a": [1]}'] * 3)

    def test_noted_before_the_next_begins(self):
        known = []
        Flow({"a": [], "b": [], "c": []}, result=lambda *args: known.append(sorted(Journal(FILE).entries()))).run()
        assert_equal(known, [[], ["2026-03-01/a"], ["2026-03-01/a", "2026-03-01/b"]])

    def test_a_failure_blocks_what_waits_for_it(self):
        flow = Flow(DRAWING, fails={"clean": 1})
        report = flow.run()
        expected = {"fetch": "done", "clean": "failed", "stats": "done", "train": "blocked", "report": "blocked"}
        assert_equal((report.states, flow.ran), (expected, ["fetch", "clean", "stats"]))
        assert_equal([(name, str(error)) for name, error in report.errors.items()], [("clean", "clean has no network")])
        assert_equal(sorted(Journal(FILE).entries()), ["2026-03-01/fetch", "2026-03-01/stats"])

    def test_what_failed_is_run_the_next_time(self):
        flow = Flow(DRAWING, fails={"clean": 1})
        flow.run()
        flow.ran.clear()
        report = flow.run()
        expected = {"fetch": "kept", "clean": "done", "stats": "kept", "train": "done", "report": "done"}
        assert_equal((report.states, report.errors, flow.ran), (expected, {}, ["clean", "train", "report"]))

    def test_several_failures(self):
        report = Flow({"a": [], "b": [], "c": ["a", "b"], "d": []}, fails={"a": 1, "b": 1}).run()
        assert_equal(report.states, {"a": "failed", "b": "failed", "c": "blocked", "d": "done"})
        assert_equal(sorted(report.errors), ["a", "b"])

    def test_one_of_two_that_it_waits_for_has_failed(self):
        report = Flow({"a": [], "b": [], "c": ["b", "a"], "d": ["a", "b"]}, fails={"b": 1}).run()
        assert_equal(report.states, {"a": "done", "b": "failed", "c": "blocked", "d": "blocked"})

    def test_kept_although_what_it_waits_for_fails(self):
        Journal(FILE).note("2026-03-01/b", "old")
        flow = Flow({"a": [], "b": ["a"], "c": ["b"], "d": ["a"]}, fails={"a": 1})
        report = flow.run()
        assert_equal(report.states, {"a": "failed", "b": "kept", "c": "done", "d": "blocked"})

    def test_retries(self):
        flow = Flow({"a": [], "b": ["a"], "c": []}, fails={"a": 2, "c": 1}, retries={"a": 2, "c": 3})
        report = flow.run()
        assert_equal((flow.ran, flow.waits), (["a", "a", "a", "b", "c", "c"], [1.0, 2.0, 1.0]))
        assert_equal((report.states, report.errors), ({"a": "done", "b": "done", "c": "done"}, {}))

    def test_the_defaults(self):
        flow = Flow({"a": []}, fails={"a": 9}, retries={"a": 7})
        flow.run()
        assert_equal(flow.waits, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0])

    def test_a_task_waits_for_none_and_has_no_retries_unless_it_says_so(self):
        waits = []
        report = run_flow([Task("a", lambda day, inputs: 1 / 0)], DAY, Journal(FILE), waits.append)
        assert_equal((report.states, waits), ({"a": "failed"}, []))

    def test_the_tasks_stay_as_they_were(self):
        flow = Flow({"b": ["a"], "a": []})
        before = list(flow.tasks)
        flow.run()
        assert_equal(flow.tasks == before, True)

    def test_base_and_cap(self):
        flow = Flow({"a": []}, fails={"a": 9}, retries={"a": 4})
        report = flow.run(base=3.0, cap=10.0)
        assert_equal((len(flow.ran), flow.waits, report.states), (5, [3.0, 6.0, 10.0, 10.0], {"a": "failed"}))

    def test_the_last_error(self):
        errors = [OSError("first"), KeyError("second")]
        left = list(errors)

        def fails(day, inputs):
            raise left.pop(0)

        report = run_flow([Task("a", fails, (), 1)], DAY, Journal(FILE), lambda seconds: None)
        assert_equal((sorted(report.errors), report.errors.get("a") is errors[1]), (["a"], True))

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_what_isnt_an_exception_comes_out(self, error):
        def stops(day, inputs):
            raise error("stop")

        tasks = [Task("a", lambda day, inputs: 1), Task("b", stops, (), 3), Task("c", lambda day, inputs: 2)]
        with pytest.raises(error):
            run_flow(tasks, DAY, Journal(FILE), never)
        assert_equal(Journal(FILE).entries(), {"2026-03-01/a": 1})

    @pytest.mark.parametrize("killed", sorted(DRAWING))
    def test_a_task_that_is_killed_midway(self, killed):
        run_flow([], DAY, Journal(FILE), never)

        def work():
            Flow(DRAWING, result=lambda name, day, inputs: die() if name == killed else name).run()

        assert_equal(in_a_child(work), -signal.SIGKILL)
        flow = Flow(DRAWING)
        states = flow.run().states
        whole = ["fetch", "clean", "stats", "train", "report"]
        left = whole[whole.index(killed) :]
        assert_equal((flow.ran, states), (left, {name: "done" if name in left else "kept" for name in whole}))

    def test_killed_between_its_file_and_its_note(self):
        def result(name, day, inputs):
            changed = publish(Path(f"{name}-{day}.txt"), f"{name} {day} {json.dumps(inputs)}".encode())
            return ["made", changed] if name == "a" else "b"

        after = {"a": [], "b": ["a"]}
        Flow(after, result=result).run(DAY)
        whole = content(Path())
        FILE.write_bytes(FILE.read_bytes()[:-4])
        flow = Flow(after, result=result)
        assert_equal((flow.run().states, flow.ran), ({"a": "kept", "b": "done"}, ["b"]))
        assert_equal({path: data for path, data in content(Path()).items() if path.endswith("txt")}, {path: data for path, data in whole.items() if path.endswith("txt")})  # fmt: skip

    @pytest.mark.parametrize("seed", range(15))
    def test_any_graph_with_failures(self, seed):
        draw = random.Random(seed)
        after = random_dag(draw)
        fails = {name for name in after if draw.random() < 0.25}
        kept = {name for name in after if draw.random() < 0.2}
        for name in kept:
            Journal(FILE).note(f"{DAY}/{name}", name)
        expected: dict[str, str] = {}
        for _ in after:
            for name in after:
                above = {expected.get(need, "") for need in after[name]}
                if name in kept:
                    expected[name] = "kept"
                elif above & {"failed", "blocked"}:
                    expected[name] = "blocked"
                elif "" not in above:
                    expected[name] = "failed" if name in fails else "done"
        flow = Flow(after, fails=dict.fromkeys(fails, 1))
        assert_equal(flow.run().states, expected)
        assert_equal(sorted(flow.ran), sorted(name for name in after if expected[name] in ("done", "failed")))

    def test_two_tasks_with_one_name(self):
        ran = []
        tasks = [Task(name, lambda day, inputs: ran.append(1)) for name in ("a", "twice", "twice")]
        with raises(ValueError, "twice"):
            run_flow(tasks, DAY, Journal(FILE), never)
        assert_equal(ran, [])

    @pytest.mark.parametrize("after", [{"a": [], "b": ["c"], "c": ["b"]}, {"a": [], "b": ["nobody"]}])
    def test_a_wrong_graph(self, after):
        flow = Flow(after)
        with raises(ValueError, "b"):
            flow.run()
        assert_equal(flow.ran, [])


class TestBackfill:
    def days(self, first, today, **options) -> list[str]:
        """The days whose reports come out, in their order."""
        reports = backfill(Flow({"a": []}).tasks, first, today, Journal(FILE), never, **options)
        return [f"{day}" for day in reports]

    def test_the_tasks_stay_as_they_were(self):
        tasks = Flow({"b": ["a"], "a": []}).tasks
        before = list(tasks)
        backfill(tasks, DAY, date(2026, 3, 4), Journal(FILE), never)
        assert_equal(tasks == before, True)

    def test_worked_by_hand(self):
        assert_equal(self.days(DAY, date(2026, 3, 4)), ["2026-03-01", "2026-03-02", "2026-03-03"])

    def test_worked_by_hand_every_two_days(self):
        assert_equal(self.days(DAY, date(2026, 3, 4), every=2), ["2026-03-01"])

    @pytest.mark.parametrize(
        ("today", "every", "number"),
        [(1, 1, 0), (2, 1, 1), (5, 2, 2), (6, 2, 2), (7, 2, 3), (7, 7, 0), (8, 7, 1), (14, 7, 1), (15, 7, 2)],
    )
    def test_a_day_is_due_when_its_time_is_over(self, today, every, number):
        found = self.days(DAY, date(2026, 3, today), every=every)
        assert_equal(found, [f"{DAY + timedelta(days=every * i)}" for i in range(number)])

    def test_today_before_the_first(self):
        assert_equal(self.days(DAY, date(2026, 2, 1)), [])

    def test_over_the_end_of_a_month(self):
        found = self.days(date(2028, 2, 27), date(2028, 3, 2))
        assert_equal(found, ["2028-02-27", "2028-02-28", "2028-02-29", "2028-03-01"])

    def test_the_oldest_first(self):
        seen = []
        tasks = Flow({"b": ["a"], "a": []}, result=lambda name, day, inputs: seen.append(f"{day.day}{name}")).tasks
        backfill(tasks, DAY, date(2026, 3, 4), Journal(FILE), never)
        assert_equal(seen, ["1a", "1b", "2a", "2b", "3a", "3b"])

    def test_the_reports(self):
        reports = backfill(Flow(DRAWING).tasks, DAY, date(2026, 3, 3), Journal(FILE), never)
        assert_equal([report.states for report in reports.values()], [dict.fromkeys(DRAWING, "done")] * 2)
        assert_equal([type(day).__name__ for day in reports], ["date"] * 2)

    def test_only_what_isnt_done(self):
        flow = Flow({"a": []})
        for today in (3, 5, 5, 6):
            backfill(flow.tasks, DAY, date(2026, 3, today), Journal(FILE), never)
        assert_equal((len(flow.ran), sorted(Journal(FILE).entries())), (5, [f"2026-03-0{i}/a" for i in range(1, 6)]))

    def test_a_gap_is_filled(self):
        Journal(FILE).note("2026-03-02/a", None)
        reports = backfill(Flow({"a": []}).tasks, DAY, date(2026, 3, 4), Journal(FILE), never)
        assert_equal([report.states["a"] for report in reports.values()], ["done", "kept", "done"])

    def test_a_new_task_for_old_days(self):
        backfill(Flow({"a": []}).tasks, DAY, date(2026, 3, 4), Journal(FILE), never)
        flow = Flow({"a": [], "b": ["a"]})
        backfill(flow.tasks, DAY, date(2026, 3, 4), Journal(FILE), never)
        assert_equal(flow.ran, ["b"] * 3)

    def test_a_failure_on_one_day(self):
        def result(name, day, inputs):
            if day.day == 2:
                raise LookupError("no data")

        tasks = Flow({"a": []}, result=result).tasks
        reports = backfill(tasks, DAY, date(2026, 3, 4), Journal(FILE), never)
        assert_equal([report.states["a"] for report in reports.values()], ["done", "failed", "done"])

    def test_retries(self):
        flow = Flow({"a": []}, fails={"a": 2}, retries={"a": 2})
        backfill(flow.tasks, DAY, date(2026, 3, 3), Journal(FILE), flow.sleep)
        assert_equal((flow.waits, len(flow.ran)), ([1.0, 2.0], 4))

    def test_killed_on_the_second_day(self):
        backfill([], DAY, DAY, Journal(FILE), never)

        def work():
            result = lambda name, day, inputs: die() if (name, day.day) == ("b", 2) else name  # noqa: E731
            backfill(Flow({"a": [], "b": ["a"]}, result=result).tasks, DAY, date(2026, 3, 4), Journal(FILE), never)

        assert_equal(in_a_child(work), -signal.SIGKILL)
        flow = Flow({"a": [], "b": ["a"]})
        backfill(flow.tasks, DAY, date(2026, 3, 4), Journal(FILE), never)
        assert_equal(flow.ran, ["b", "a", "b"])

    @pytest.mark.parametrize("every", [0, -1])
    def test_every_less_than_a_day(self, every):
        with raises(ValueError, every):
            backfill([], DAY, date(2026, 3, 4), Journal(FILE), never, every)

    def test_a_wrong_graph(self):
        with raises(ValueError, "nobody"):
            backfill(Flow({"b": ["nobody"]}).tasks, DAY, date(2026, 3, 4), Journal(FILE), never)


NAMES = [
    "clean", "Clean", "clean data", "clean_data", "clean-data", "clean.data", "é", "ü", "數據", "-", "--", "a-", "-a", "9",
    "x" * 300, "x" * 299 + "y", "x" * 63, "x" * 64, "clean-2026-03-01", "a/b", "\n", "A" * 40 + "b", "a" * 40 + "b",
]  # fmt: skip


class TestPlan:
    def jobs(self, after, day=DAY, retries=None, image="reviews:1"):
        return plan(Flow(after, retries=retries).tasks, day, image)

    def names(self, waves) -> list[list[str]]:
        return [[job["metadata"]["annotations"]["task"] for job in wave] for wave in waves]

    def test_worked_by_hand(self):
        assert_equal(self.names(self.jobs(DRAWING)), [["fetch"], ["clean", "stats"], ["train"], ["report"]])

    def test_nothing(self):
        assert_equal(plan([], DAY, "reviews:1"), [])

    def test_the_first_wave_that_it_may_be_in(self):
        after = {"a": [], "b": ["a"], "c": ["b", "a"], "d": ["a", "c"], "e": [], "f": ["e"]}
        assert_equal(self.names(self.jobs(after)), [["a", "e"], ["b", "f"], ["c"], ["d"]])

    def test_waves_are_graphlibs(self):
        from graphlib import TopologicalSorter

        def check(after):
            expected = []
            sorter = TopologicalSorter(after)
            sorter.prepare()
            while sorter.is_active():
                expected.append(sorted(sorter.get_ready()))
                sorter.done(*expected[-1])
            assert_equal((after, self.names(self.jobs(after))), (after, expected))

        on_dags(check)

    def test_a_job(self):
        [[job]] = self.jobs({"clean Data": []}, retries={"clean Data": 4})
        [container] = job["spec"]["template"]["spec"]["containers"]
        found = {
            "apiVersion": job["apiVersion"], "kind": job["kind"], "day": job["metadata"]["labels"].get("day"),
            "task": job["metadata"]["annotations"].get("task"), "backoffLimit": job["spec"]["backoffLimit"],
            "restartPolicy": job["spec"]["template"]["spec"]["restartPolicy"], "image": container["image"],
            "args": container["args"],
        }  # fmt: skip
        expected = {
            "apiVersion": "batch/v1", "kind": "Job", "day": "2026-03-01", "task": "clean Data", "backoffLimit": 4,
            "restartPolicy": "Never", "image": "reviews:1", "args": ["clean Data", "2026-03-01"],
        }  # fmt: skip
        assert_equal(found, expected)

    def test_no_retries_are_said(self):
        assert_equal(self.jobs({"a": []})[0][0]["spec"].get("backoffLimit"), 0)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_name_that_kubernetes_accepts(self, name):
        [[job]] = self.jobs({name: []})
        found = job["metadata"]["name"]
        fits = re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", found, re.ASCII) is not None
        assert_equal((found, fits, job["metadata"]["annotations"]["task"]), (found, True, name))

    def test_no_two_names_are_alike(self):
        days = [DAY, DAY + timedelta(days=1), date(2026, 3, 11), date(2026, 11, 3)]
        found = [
            job["metadata"]["name"] for day in days for wave in self.jobs(dict.fromkeys(NAMES, ()), day) for job in wave
        ]
        assert_equal((len(found), len(set(found))), (len(NAMES) * 4, len(NAMES) * 4))

    def test_the_same_plan_twice(self):
        assert_equal(self.jobs(DRAWING) == self.jobs(DRAWING), True)

    @pytest.mark.parametrize("name", sorted(DRAWING))
    def test_the_name_depends_on_nothing_else(self, name):
        [[alone]] = self.jobs({name: []}, retries={name: 2}, image="other:2")
        among = [job for wave in self.jobs(DRAWING) for job in wave if job["metadata"]["annotations"]["task"] == name]
        assert_equal([job["metadata"]["name"] == alone["metadata"]["name"] for job in among], [True])

    def test_the_name_is_the_same_in_another_process(self):
        """Another process has another hash() for texts.  Here it is replaced, as a process starts slowly."""
        [[first]] = self.jobs({"clean": []})
        import builtins

        before = builtins.hash
        builtins.hash = lambda value: before(("another process", value))
        try:
            [[second]] = self.jobs({"clean": []})
        finally:
            builtins.hash = before
        assert_equal(second["metadata"]["name"], first["metadata"]["name"])

    def test_jobs_share_nothing(self):
        [[first, second]] = self.jobs({"a": [], "b": []})
        first["metadata"]["labels"]["x"] = "1"
        first["spec"]["template"]["spec"]["containers"][0]["args"].append("x")
        assert_equal((list(second["metadata"]["labels"].values()).count("1"), "x" in second["spec"]["template"]["spec"]["containers"][0]["args"]), (0, False))  # fmt: skip

    def test_plain_dicts(self):
        waves = self.jobs(DRAWING, retries={"fetch": 2})
        assert_equal(json.loads(json.dumps(waves)), waves)

    def test_kubernetes_validate_finds_nothing(self):
        waves = self.jobs({**DRAWING, **dict.fromkeys(NAMES, ("fetch",))}, retries={"fetch": 2})
        validate = pytest.importorskip(
            "kubernetes_validate", reason="needs the extra `serving`: pip install -c constraints.txt -e '.[serving]'"
        )
        errors = []
        for job in (job for wave in waves for job in wave):
            try:
                validate.validate(job, "1.31", strict=True)
            except validate.ValidationError as error:
                errors.append((job["metadata"]["annotations"]["task"], error.message))
        assert_equal(errors, [])

    @pytest.mark.parametrize("name", NAMES)
    def test_labels_fit(self, name):
        [[job]] = self.jobs({name: []})
        labels = [job["metadata"]["labels"], job["spec"]["template"].get("metadata", {}).get("labels", {})]
        fits = "([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
        assert_equal([v for one in labels for v in one.values() if not re.fullmatch(fits, v, re.ASCII)], [])

    @pytest.mark.parametrize("name", NAMES)
    def test_the_containers_name_fits(self, name):
        [[job]] = self.jobs({name: []})
        [container] = job["spec"]["template"]["spec"]["containers"]
        fits = re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", container["name"], re.ASCII)
        assert_equal((container["name"], fits is not None), (container["name"], True))

    def test_two_tasks_with_one_name(self):
        with raises(ValueError, "twice"):
            plan([Task("twice", never), Task("a", never), Task("twice", never, ["a"])], DAY, "reviews:1")

    @pytest.mark.parametrize("after", [{"a": [], "b": ["c"], "c": ["b"]}, {"a": [], "b": ["nobody"]}])
    def test_a_wrong_graph(self, after):
        with raises(ValueError, "b"):
            self.jobs(after)
