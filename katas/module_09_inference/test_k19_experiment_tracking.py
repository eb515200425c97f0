"""Judges k19_experiment_tracking with brute force on random runs, killed processes, and MLflow's own client."""

import copy
import itertools
import json
import math
import os
import random
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dojo.testing import assert_equal, fail, from_scratch, pure, raises
from fixtures.children import ended, in_a_child, started
from fixtures.full_disk import disk_with_room_for
from katas.module_09_inference.k19_experiment_tracking import (
    Registry,
    Tracker,
    best,
    differences,
    replay,
    sweep,
    to_mlflow,
)

pytestmark = [from_scratch("wandb"), pure()]

NAN, INF = math.nan, math.inf
FOLDER = Path("diary")
PARAMS = {"lr": 0.1, "layers": [1, 2.0, None], "opt": {"name": "adam", "on": True}, "é": "ü\n", "zero": 0, "none": None}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in a folder of its own, with relative paths."""
    monkeypatch.chdir(tmp_path)


def finished(tracker, params=None, status="FINISHED", artifacts=(), name="run", **metrics) -> str:
    """A run that has ended.  A metric is a number, or a list of numbers for the steps 0, 1, 2, …"""
    run_id = tracker.start(name, params or {})
    for metric, values in metrics.items():
        for step, value in enumerate(values if isinstance(values, list) else [values]):
            tracker.log(run_id, step, {metric: value})
    for artifact in artifacts:
        tracker.save(run_id, artifact, artifact.encode())
    if status != "RUNNING":
        tracker.end(run_id, status)
    return run_id


class TestTracker:
    def test_a_run_from_start_to_end(self):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("first", {"lr": 0.1})
        running = {
            "id": run_id,
            "name": "first",
            "status": "RUNNING",
            "params": {"lr": 0.1},
            "metrics": {},
            "artifacts": [],
        }
        assert_equal(tracker.run(run_id), running)
        tracker.log(run_id, 0, {"loss": 2.0, "acc": 0.5})
        tracker.log(run_id, 1, {"loss": 1.5})
        tracker.save(run_id, "model.bin", b"\x00\xff\r\n")
        tracker.end(run_id)
        ended = {**running, "status": "FINISHED", "metrics": {"loss": 1.5, "acc": 0.5}, "artifacts": ["model.bin"]}
        assert_equal(tracker.run(run_id), ended)
        assert_equal(tracker.history(run_id, "loss"), [(0, 2.0), (1, 1.5)])
        assert_equal(tracker.load(run_id, "model.bin"), b"\x00\xff\r\n")

    def test_makes_its_folder_and_those_above(self, tmp_path):
        for folder in (Path("x/y/z"), tmp_path / "far/away"):
            run_id = Tracker(folder).start("a", {})
            assert_equal(Tracker(folder).run(run_id)["name"], "a")
            assert_equal(folder.is_dir(), True)

    def test_ids_are_texts_and_differ(self):
        tracker = Tracker(FOLDER)
        ids = [tracker.start("same", {}) for _ in range(12)]
        assert_equal((len(set(ids)), {type(one) for one in ids}), (12, {str}))

    def test_runs_in_the_order_of_their_start(self):
        tracker = Tracker(FOLDER)
        assert_equal(tracker.runs(), [])
        ids = [tracker.start(name, {}) for name in "zaqxcdew" * 3]
        tracker.log(ids[3], 0, {"loss": 1.0})
        tracker.end(ids[0])
        assert_equal((tracker.runs() == ids, Tracker(FOLDER).runs() == ids), (True, True))

    def test_params_of_every_kind(self):
        tracker = Tracker(FOLDER)
        found = tracker.run(tracker.start("a", PARAMS))["params"]
        assert_equal(found, PARAMS)
        assert_equal({type(value) for value in found.values()}, {float, list, dict, str, int, type(None)})

    def test_params_are_the_runs_own(self):
        tracker, mine = Tracker(FOLDER), {"lr": 0.1, "layers": [1]}
        run_id = tracker.start("a", mine)
        mine["lr"] = 9
        mine["layers"].append(2)
        tracker.run(run_id)["params"]["layers"].append(3)
        assert_equal(tracker.run(run_id)["params"], {"lr": 0.1, "layers": [1]})

    def test_two_runs_share_nothing(self):
        tracker = Tracker(FOLDER)
        one, two = tracker.start("same", {"lr": 1}), tracker.start("same", {"lr": 2})
        tracker.log(one, 0, {"loss": 1.0})
        tracker.save(one, "a", b"1")
        tracker.end(one)
        told = tracker.run(two)
        wanted = {"id": two, "name": "same", "status": "RUNNING", "params": {"lr": 2}, "metrics": {}, "artifacts": []}
        assert_equal((told, tracker.history(two, "loss")), (wanted, []))

    def test_two_folders_share_nothing(self):
        one, two = Tracker(FOLDER), Tracker(Path("other"))
        one.start("a", {})
        assert_equal(two.runs(), [])

    def test_another_tracker_sees_every_call_at_once(self):
        one, two = Tracker(FOLDER), Tracker(FOLDER)
        run_id = one.start("a", {})
        assert_equal(two.runs() == [run_id], True)
        one.log(run_id, 3, {"loss": 1.0})
        assert_equal(two.history(run_id, "loss"), [(3, 1.0)])
        two.log(run_id, 4, {"loss": 2.0})
        assert_equal(one.run(run_id)["metrics"], {"loss": 2.0})
        one.save(run_id, "a", b"1")
        assert_equal(two.load(run_id, "a"), b"1")
        two.end(run_id, "FAILED")
        assert_equal(one.run(run_id)["status"], "FAILED")

    def test_the_latest_value_is_that_of_the_largest_step(self):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("a", {})
        for step, value in [(10, 1.0), (9, 2.0), (10**9, 3.0), (20, 4.0)]:
            tracker.log(run_id, step, {"loss": value})
        assert_equal(tracker.run(run_id)["metrics"], {"loss": 3.0})
        assert_equal(tracker.history(run_id, "loss"), [(9, 2.0), (10, 1.0), (20, 4.0), (10**9, 3.0)])

    def test_a_step_again_replaces_the_value(self):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("a", {})
        tracker.log(run_id, 5, {"loss": 1.0, "acc": 0.5})
        tracker.log(run_id, 7, {"loss": 3.0})
        tracker.log(run_id, 5, {"loss": 2.0})
        tracker.log(run_id, 7, {"loss": 2.5})
        found = tracker.history(run_id, "loss"), tracker.history(run_id, "acc"), tracker.run(run_id)["metrics"]
        assert_equal(found, ([(5, 2.0), (7, 2.5)], [(5, 0.5)], {"loss": 2.5, "acc": 0.5}))

    @pytest.mark.parametrize("value", [NAN, INF, -INF, 0.1, 1e-300, 0.0, 2**53 + 1.0])
    def test_any_float(self, value):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("a", {})
        tracker.log(run_id, 0, {"loss": value})
        assert_equal((tracker.history(run_id, "loss"), tracker.run(run_id)["metrics"]), ([(0, value)], {"loss": value}))

    @pytest.mark.parametrize("value", [np.float32(0.25), np.float64(0.25), np.array(0.25), np.int64(3), 3, True])
    def test_other_numbers_become_floats(self, value):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("a", {})
        tracker.log(run_id, 0, {"loss": value})
        [(step, found)] = tracker.history(run_id, "loss")
        assert_equal((step, type(step), found, type(found)), (0, int, float(value), float))

    def test_metrics_of_any_name(self):
        tracker = Tracker(FOLDER)
        run_id, names = tracker.start("a", {}), ["a/b", "../c", "é ü", "x'y\"z", "id", "step", "a b\n"]
        for number, name in enumerate(names):
            tracker.log(run_id, 0, {name: number})
        assert_equal(tracker.run(run_id)["metrics"], {name: float(number) for number, name in enumerate(names)})

    def test_an_unknown_metric_has_no_history(self):
        tracker = Tracker(FOLDER)
        assert_equal(tracker.history(finished(tracker, loss=1), "acc"), [])

    @pytest.mark.parametrize("seed", range(6))
    def test_random_runs_followed_by_brute_force(self, seed):
        draw = random.Random(seed)
        tracker, logged = Tracker(FOLDER), {}
        ids = [tracker.start("a", {}) for _ in range(3)]
        for _ in range(60):
            run_id, step = draw.choice(ids), draw.randint(0, 12)
            metrics = {name: draw.random() for name in draw.sample("xyz", draw.randint(0, 3))}
            tracker.log(run_id, step, metrics)
            logged |= {(run_id, name, step): value for name, value in metrics.items()}
        for run_id, name in itertools.product(ids, "xyz"):
            wanted = sorted(
                (step, value) for (run, metric, step), value in logged.items() if (run, metric) == (run_id, name)
            )
            assert_equal(tracker.history(run_id, name), wanted)
            assert_equal(tracker.run(run_id)["metrics"].get(name), wanted[-1][1] if wanted else None)

    def test_artifacts_by_name(self):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("a", {})
        contents = {"z.bin": b"", "plots/loss.png": b"1", "plots/a/b": b"2", "a..b": b"3", ".x": b"4", "run.json": b"5"}
        for name, data in contents.items():
            tracker.save(run_id, name, data)
        tracker.end(run_id)
        assert_equal(tracker.run(run_id)["artifacts"], sorted(contents))
        assert_equal({name: tracker.load(run_id, name) for name in contents}, contents)
        assert_equal(tracker.run(run_id)["name"], "a")

    def test_an_artifact_is_replaced(self):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("a", {})
        for data in (b"long content", b"short"):
            tracker.save(run_id, "x", data)
        assert_equal((tracker.load(run_id, "x"), tracker.run(run_id)["artifacts"]), (b"short", ["x"]))

    @pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "..", "", "a/.."])
    def test_names_that_could_lie_anywhere(self, name):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("a", {})
        with raises(ValueError, name):
            tracker.save(run_id, name, b"1")
        with raises(ValueError, name):
            tracker.load(run_id, name)
        assert_equal(tracker.run(run_id)["artifacts"], [])

    def test_a_missing_artifact(self):
        tracker = Tracker(FOLDER)
        run_id = finished(tracker, artifacts=["plots/x.png"])
        for name in ("model.bin", "plots"):
            with raises(FileNotFoundError, name):
                tracker.load(run_id, name)

    @pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
    def test_how_it_ended(self, status):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("a", {})
        tracker.end(run_id, status)
        assert_equal(tracker.run(run_id)["status"], status)

    @pytest.mark.parametrize("status", ["RUNNING", "finished", "DONE", ""])
    def test_any_other_status(self, status):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("a", {})
        with raises(ValueError, status):
            tracker.end(run_id, status)
        assert_equal(tracker.run(run_id)["status"], "RUNNING")

    @pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
    @pytest.mark.parametrize("call", ["log", "save", "end"])
    def test_what_has_ended_stays_as_it_is(self, call, status):
        tracker = Tracker(FOLDER)
        run_id = finished(tracker, status=status, loss=1, artifacts=["x"])
        before = tracker.run(run_id)
        more = {"log": (9, {"loss": 2}), "save": ("x", b"new"), "end": ("FAILED",)}[call]
        with raises(ValueError, run_id):
            getattr(tracker, call)(run_id, *more)
        assert_equal((tracker.run(run_id), tracker.load(run_id, "x")), (before, b"x"))

    @pytest.mark.parametrize("call", ["log", "save", "end", "run", "history", "load"])
    def test_an_unknown_run(self, call):
        tracker, other = Tracker(FOLDER), Tracker(Path("other"))
        tracker.start("a", {})
        theirs = [other.start(name, {}) for name in "abc"][-1]
        more = {"log": (0, {"x": 1.0}), "save": ("x", b""), "history": ("x",), "load": ("x",)}.get(call, ())
        for unknown in ("nobody", theirs, f"../other/{theirs}"):
            with raises(KeyError, unknown):
                getattr(tracker, call)(unknown, *more)
        assert_equal((len(tracker.runs()), other.run(theirs)["status"]), (1, "RUNNING"))

    def test_running_to_the_end(self):
        tracker = Tracker(FOLDER)
        with tracker.running("a", {"lr": 1}) as run_id:
            seen = tracker.run(run_id)
            tracker.log(run_id, 0, {"loss": 1})
        assert_equal((seen["status"], seen["name"], seen["params"]), ("RUNNING", "a", {"lr": 1}))
        assert_equal((tracker.run(run_id)["status"], tracker.run(run_id)["metrics"]), ("FINISHED", {"loss": 1.0}))

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (ZeroDivisionError, "FAILED"),
            (StopIteration, "FAILED"),
            (KeyboardInterrupt, "KILLED"),
            (SystemExit, "KILLED"),
        ],
    )
    def test_running_into_an_error(self, error, status):
        tracker = Tracker(FOLDER)
        caught, told = None, "this one"
        try:
            with tracker.running("a", {}) as run_id:
                tracker.log(run_id, 0, {"loss": 1})
                raise error(told)
        except error as one:
            caught = one.args
        found = [(tracker.run(one)["status"], tracker.run(one)["metrics"]) for one in tracker.runs()]
        assert_equal((caught, found), ((told,), [(status, {"loss": 1.0})]))

    def test_a_killed_process_leaves_all_that_was_logged(self):
        tracker = Tracker(FOLDER)
        first = finished(tracker, loss=[1, 2], artifacts=["x"])

        def work():
            run_id = tracker.start("killed", {"lr": 0.1})
            for step in range(5):
                tracker.log(run_id, step, {"loss": step})
            tracker.save(run_id, "x", b"1")
            os._exit(7)

        assert_equal(in_a_child(work), 7)
        [second] = [run_id for run_id in tracker.runs() if run_id != first]
        told = tracker.run(second)
        found = told["name"], told["status"], tracker.history(second, "loss"), tracker.load(second, "x")
        assert_equal(found, ("killed", "RUNNING", [(step, float(step)) for step in range(5)], b"1"))

    def test_several_processes_start_runs_at_once(self):
        tracker = Tracker(FOLDER)
        tracker.start("mine", {"process": -1, "number": 0})

        def work(process):
            own = Tracker(FOLDER)
            for number in range(10):
                own.log(own.start("its", {"process": process, "number": number}), 0, {"number": number})

        children = [started(partial(work, process)) for process in range(3)]
        ends = [ended(pid) for pid in children]
        told = [tracker.run(run_id) for run_id in tracker.runs()]
        wanted = [(-1, 0), *itertools.product(range(3), range(10))]
        assert_equal(
            (ends, sorted((run["params"]["process"], run["params"]["number"]) for run in told)), ([0] * 3, wanted)
        )


def example(tracker) -> list[str]:
    """The runs of the example worked by hand."""
    return [
        finished(tracker, {"lr": lr, "n": n}, name="grid", artifacts=["model"], loss=[NAN, lr * n + 1, lr * n + 0.5])
        for lr in (0.1, 0.2)
        for n in (1, 2)
    ]


class TestBest:
    def test_the_example_worked_by_hand(self):
        tracker = Tracker(FOLDER)
        ids = example(tracker)
        assert_equal([ids.index(best(tracker, "loss", *mode)) for mode in [(), ("min",), ("max",)]], [0, 0, 3])

    def test_the_latest_value_counts(self):
        tracker = Tracker(FOLDER)
        ids = [finished(tracker, loss=values) for values in ([5, 3], [1, 4], [9, 2])]
        assert_equal([ids.index(best(tracker, "loss", mode)) for mode in ("min", "max")], [2, 1])

    def test_latest_means_largest_step(self):
        tracker = Tracker(FOLDER)
        one, two = tracker.start("a", {}), tracker.start("b", {})
        for run_id, values in [(one, {9: 3.0, 1: 1.0}), (two, {9: 2.0, 1: 4.0})]:
            for step, value in values.items():
                tracker.log(run_id, step, {"loss": value})
            tracker.end(run_id)
        assert_equal(best(tracker, "loss") == two, True)

    @pytest.mark.parametrize("mode", ["min", "max"])
    @pytest.mark.parametrize("values", list(itertools.permutations([NAN, 2.0, 3.0])), ids=str)
    def test_nan_never_wins(self, values, mode):
        tracker = Tracker(FOLDER)
        found = best(tracker, "loss", mode) if [finished(tracker, loss=value) for value in values] else None
        assert_equal(tracker.run(found)["metrics"], {"loss": 2.0 if mode == "min" else 3.0})

    @pytest.mark.parametrize(("mode", "wins"), [("min", -INF), ("max", INF)])
    def test_infinite_values_take_part(self, mode, wins):
        tracker = Tracker(FOLDER)
        for value in (1.0, INF, -INF, 2.0):
            finished(tracker, loss=value)
        assert_equal(tracker.run(best(tracker, "loss", mode))["metrics"], {"loss": wins})

    @pytest.mark.parametrize(("mode", "value"), [("min", INF), ("max", -INF), ("min", 0.0), ("max", 0.0)])
    def test_a_single_run_wins(self, mode, value):
        tracker = Tracker(FOLDER)
        run_id = finished(tracker, loss=value)
        assert_equal(best(tracker, "loss", mode) == run_id, True)

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_only_finished_runs(self, mode):
        tracker = Tracker(FOLDER)
        values = {"FAILED": [0, 9], "KILLED": [-1, 8], "RUNNING": [-2, 7]}
        for status, numbers in values.items():
            for value in numbers:
                finished(tracker, status=status, loss=value)
        ids = [finished(tracker, loss=value) for value in (3, 2, 4)]
        assert_equal(ids.index(best(tracker, "loss", mode)), 1 if mode == "min" else 2)

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_of_equal_ones_the_first(self, mode):
        tracker = Tracker(FOLDER)
        ids = [finished(tracker, name=name, loss=value) for name, value in [("c", 5), ("b", 5), ("a", 5)]]
        assert_equal(ids.index(best(tracker, "loss", mode)), 0)

    def test_runs_without_the_metric(self):
        tracker = Tracker(FOLDER)
        finished(tracker, acc=0.0)
        run_id = finished(tracker, loss=3.0, acc=0.5)
        finished(tracker)
        assert_equal([best(tracker, "loss", mode) == run_id for mode in ("min", "max")], [True, True])

    def test_nobody(self):
        tracker = Tracker(FOLDER)
        found = [best(tracker, "loss")]
        finished(tracker, acc=1)
        finished(tracker, loss=NAN)
        finished(tracker, status="FAILED", loss=1)
        assert_equal([*found, best(tracker, "loss"), best(tracker, "loss", "max")], [None] * 3)

    @pytest.mark.parametrize("mode", ["MIN", "lowest", ""])
    def test_any_other_mode(self, mode):
        with raises(ValueError, mode):
            best(Tracker(FOLDER), "loss", mode)


class TestDifferences:
    def test_the_example_worked_by_hand(self):
        tracker = Tracker(FOLDER)
        ids = example(tracker)
        assert_equal(differences(tracker, [ids[0], ids[1]]), {"n": [1, 2]})
        assert_equal(differences(tracker, [ids[0], ids[3]]), {"lr": [0.1, 0.2], "n": [1, 2]})

    def test_in_the_order_of_the_ids(self):
        tracker = Tracker(FOLDER)
        a, b, c = (finished(tracker, {"x": x, "y": 1}) for x in (1, 2, 1))
        assert_equal(differences(tracker, [c, b, a, b]), {"x": [1, 2, 1, 2]})

    def test_only_one_differs(self):
        tracker = Tracker(FOLDER)
        ids = [finished(tracker, {"x": x, "y": y}) for x, y in [(1, 5), (1, 5), (2, 5), (1, 6)]]
        assert_equal(differences(tracker, ids), {"x": [1, 1, 2, 1], "y": [5, 5, 5, 6]})

    def test_runs_that_lack_a_param(self):
        tracker = Tracker(FOLDER)
        ids = [finished(tracker, params) for params in ({"x": 1, "w": 5}, {"x": 1, "y": 2}, {"x": 1, "z": 0})]
        wanted = {"w": [5, None, None], "y": [None, 2, None], "z": [None, None, 0]}
        assert_equal(differences(tracker, ids), wanted)

    def test_none_is_what_a_run_has_that_lacks_it(self):
        tracker = Tracker(FOLDER)
        ids = [finished(tracker, params) for params in ({"x": None}, {})]
        assert_equal(differences(tracker, ids), {})

    def test_values_of_every_kind(self):
        tracker = Tracker(FOLDER)
        ids = [finished(tracker, params) for params in (PARAMS, {**PARAMS, "layers": [1, 2.0, 3], "opt": {}})]
        wanted = {"layers": [[1, 2.0, None], [1, 2.0, 3]], "opt": [{"name": "adam", "on": True}, {}]}
        assert_equal(differences(tracker, ids), wanted)

    def test_equal_is_equal_to_python(self):
        tracker = Tracker(FOLDER)
        assert_equal(differences(tracker, [finished(tracker, {"x": x}) for x in (1, 1.0)]), {})

    def test_one_run_and_none(self):
        tracker = Tracker(FOLDER)
        assert_equal([differences(tracker, [finished(tracker, PARAMS)]), differences(tracker, [])], [{}, {}])

    def test_an_unknown_run(self):
        tracker = Tracker(FOLDER)
        with raises(KeyError, "nobody"):
            differences(tracker, [finished(tracker), "nobody"])


def fake(params, log) -> None:
    """The training of the example worked by hand."""
    for step in (1, 2):
        log(step, {"loss": params["lr"] * params["n"] + 1 / step})


SPACE = {"lr": [0.1, 0.2], "n": [1, 2]}


class TestSweep:
    def test_the_example_worked_by_hand(self):
        tracker = Tracker(FOLDER)
        ids = sweep(tracker, "digits", SPACE, fake)
        assert_equal((len(ids), tracker.runs() == ids), (4, True))
        runs = [tracker.run(run_id) for run_id in ids]
        wanted = [{"lr": 0.1, "n": 1}, {"lr": 0.1, "n": 2}, {"lr": 0.2, "n": 1}, {"lr": 0.2, "n": 2}]
        assert_equal([run["params"] for run in runs], wanted)
        assert_equal([(run["name"], run["status"]) for run in runs], [("digits", "FINISHED")] * 4)
        found = [[value for _, value in tracker.history(run_id, "loss")] for run_id in ids]
        assert_equal(np.round(found, 9).tolist(), [[1.1, 0.6], [1.2, 0.7], [1.2, 0.7], [1.4, 0.9]])
        assert_equal(ids.index(best(tracker, "loss")), 0)

    def test_the_last_param_changes_fastest(self):
        tracker, seen = Tracker(FOLDER), []
        space = {"z": ["x", "y"], "a": (3, 1, 2), "m": [None, [1]]}
        sweep(tracker, "a", space, lambda params, log: seen.append(tuple(params.values())))
        assert_equal(seen, list(itertools.product(*space.values())))

    def test_the_order_of_the_params_plays_no_role(self):
        tracker, seen = Tracker(FOLDER), []
        spaces = [{"n": [1], "lr": [0.5], "z": [2]}, {"n": [1], "lr": [0.5], "z": [2]}, {"z": [2], "lr": [0.5], "n": [1]}]
        ids = [sweep(tracker, "a", space, lambda params, log: seen.append(params)) for space in spaces]
        assert_equal((len(seen), ids[0] == ids[1] == ids[2]), (1, True))

    def test_each_call_has_its_own_run(self):
        tracker, logs = Tracker(FOLDER), []

        def train(params, log):
            logs.append(log)
            for number, one in enumerate(logs):
                if one is log:
                    one(0, {"number": number})

        ids = sweep(tracker, "a", {"x": [1, 2, 3]}, train)
        assert_equal([tracker.run(run_id)["metrics"] for run_id in ids], [{"number": float(i)} for i in range(3)])

    def test_while_it_trains_the_run_is_running(self):
        tracker, seen = Tracker(FOLDER), []

        def train(params, log):
            log(3, {"loss": params["x"]})
            run = tracker.run(tracker.runs()[-1])
            seen.append((run["status"], run["params"], run["metrics"]))

        sweep(tracker, "a", {"x": [1, 2]}, train)
        assert_equal(seen, [("RUNNING", {"x": x}, {"loss": float(x)}) for x in (1, 2)])

    def test_nothing_to_vary(self):
        tracker = Tracker(FOLDER)
        ids = sweep(tracker, "a", {}, lambda params, log: log(0, {"seen": len(params)}))
        assert_equal([tracker.run(run_id)["metrics"] for run_id in ids], [{"seen": 0.0}])
        assert_equal(sweep(tracker, "a", {}, fake) == ids, True)
        assert_equal(sweep(tracker, "a", {"x": [1], "y": []}, fake), [])

    def test_train_may_change_its_params(self):
        tracker = Tracker(FOLDER)
        space = {"x": [[1], [2]], "y": [{"a": 1}]}

        def train(params, log):
            params["x"].append(9)
            params["y"]["a"] = 9
            del params["y"]

        ids = sweep(tracker, "a", space, train)
        found = [tracker.run(run_id)["params"] for run_id in ids]
        assert_equal(found, [{"x": [1], "y": {"a": 1}}, {"x": [2], "y": {"a": 1}}])
        assert_equal(space, {"x": [[1], [2]], "y": [{"a": 1}]})

    def test_what_has_finished_isnt_run_again(self):
        tracker, calls = Tracker(FOLDER), []
        ids = sweep(tracker, "a", SPACE, fake)

        def counted(params, log):
            calls.append(params)

        assert_equal((sweep(Tracker(FOLDER), "a", copy.deepcopy(SPACE), counted) == ids, calls), (True, []))
        longer = sweep(tracker, "a", {"n": [1, 3], "lr": [0.1]}, counted)
        assert_equal((longer[0] == ids[0], calls, len(tracker.runs())), (True, [{"n": 3, "lr": 0.1}], 5))

    def test_another_name_is_another_sweep(self):
        tracker = Tracker(FOLDER)
        first, second = sweep(tracker, "a", SPACE, fake), sweep(tracker, "b", SPACE, fake)
        assert_equal((len({*first, *second}), tracker.run(second[0])["name"]), (8, "b"))

    @pytest.mark.parametrize("status", ["FAILED", "KILLED", "RUNNING"])
    def test_what_hasnt_finished_is_run_again(self, status):
        tracker = Tracker(FOLDER)
        old = finished(tracker, {"lr": 0.1, "n": 1}, status=status, name="a")
        ids = sweep(tracker, "a", SPACE, fake)
        assert_equal((old in ids, len(tracker.runs()), tracker.run(old)["status"]), (False, 5, status))

    def test_of_several_that_have_finished_the_first(self):
        tracker = Tracker(FOLDER)
        old = [finished(tracker, {"x": 1}, name="a", status=status) for status in ("FAILED", "FINISHED", "FINISHED")]
        assert_equal(sweep(tracker, "a", {"x": [1]}, fake) == [old[1]], True)

    def test_params_must_be_the_same(self):
        tracker, seen = Tracker(FOLDER), []
        for params in ({"x": 1, "y": 2}, {}, {"y": 1}, {"x": "1"}, {"x": [1]}):
            finished(tracker, params, name="a")
        sweep(tracker, "a", {"x": [1]}, lambda params, log: seen.append(params))
        assert_equal(seen, [{"x": 1}])

    def test_values_that_are_equal_to_python_are_three(self):
        tracker = Tracker(FOLDER)
        ids = sweep(tracker, "a", {"x": [1, 1.0, True]}, lambda params, log: None)
        found = [type(tracker.run(run_id)["params"]["x"]) for run_id in ids]
        assert_equal((len(set(ids)), found), (3, [int, float, bool]))

    @pytest.mark.parametrize("error", [ZeroDivisionError, ValueError, StopIteration, MemoryError, Exception])
    def test_a_training_that_fails(self, error):
        tracker = Tracker(FOLDER)

        def train(params, log):
            log(0, {"loss": params["x"]})
            if params["x"] == 2:
                raise error("no")

        ids = sweep(tracker, "a", {"x": [1, 2, 3]}, train)
        found = [(tracker.run(run_id)["status"], tracker.run(run_id)["metrics"]["loss"]) for run_id in ids]
        assert_equal(found, [("FINISHED", 1.0), ("FAILED", 2.0), ("FINISHED", 3.0)])

    def test_ctrl_c_ends_it_and_it_goes_on_later(self):
        tracker, calls = Tracker(FOLDER), []

        def train(params, log):
            calls.append(params["x"])
            if calls == [1, 2]:
                raise KeyboardInterrupt

        stopped = False
        try:
            sweep(tracker, "a", {"x": [1, 2, 3]}, train)
        except KeyboardInterrupt:
            stopped = True
        assert_equal((stopped, [tracker.run(one)["status"] for one in tracker.runs()]), (True, ["FINISHED", "KILLED"]))
        ids = sweep(tracker, "a", {"x": [1, 2, 3]}, train)
        assert_equal((calls, [tracker.run(run_id)["status"] for run_id in ids]), ([1, 2, 2, 3], ["FINISHED"] * 3))
        assert_equal(ids[0] == tracker.runs()[0], True)


def stages(registry, model: str = "digits") -> list[str]:
    return [one["stage"] for one in registry.versions(model)]


class TestRegistry:
    def test_the_example_worked_by_hand(self):
        tracker = Tracker(FOLDER)
        ids, registry = example(tracker), Registry(tracker)
        numbers = [registry.register("digits", run_id, "model") for run_id in (ids[0], ids[3])]
        assert_equal((numbers, stages(registry)), ([1, 2], ["None", "None"]))
        registry.move("digits", 1, "Production")
        assert_equal(stages(registry), ["Production", "None"])
        registry.move("digits", 2, "Production")
        assert_equal(stages(registry), ["Archived", "Production"])

    def test_a_full_disk_loses_no_version(self):
        tracker = Tracker(FOLDER)
        run_id, registry = finished(tracker, artifacts=["m"]), Registry(tracker)
        registry.register("digits", run_id, "m")
        with disk_with_room_for(100_000), raises(Exception):
            registry.register("x" * 500_000, run_id, "m")
        again = Registry(Tracker(FOLDER))
        found = [again.versions("digits"), again.register("digits", run_id, "m")]
        assert_equal(found, [[{"version": 1, "run": run_id, "artifact": "m", "stage": "None"}], 2])

    def test_what_is_known_of_a_version(self):
        tracker = Tracker(FOLDER)
        a, b = finished(tracker, artifacts=["m", "x/n"]), finished(tracker, artifacts=["m"])
        registry = Registry(tracker)
        for run_id, artifact in [(b, "m"), (a, "x/n"), (b, "m")]:
            registry.register("digits", run_id, artifact)
        wanted = [
            {"version": 1, "run": b, "artifact": "m", "stage": "None"},
            {"version": 2, "run": a, "artifact": "x/n", "stage": "None"},
            {"version": 3, "run": b, "artifact": "m", "stage": "None"},
        ]
        assert_equal(registry.versions("digits"), wanted)

    def test_each_model_counts_for_itself(self):
        tracker = Tracker(FOLDER)
        run_id, registry = finished(tracker, artifacts=["m"]), Registry(tracker)
        numbers = [registry.register(model, run_id, "m") for model in ("a", "b/../c", "a", "b/../c", "a")]
        assert_equal((numbers, len(registry.versions("a")), len(registry.versions("b/../c"))), ([1, 1, 2, 2, 3], 3, 2))
        told = [[one["version"] for one in registry.versions(model)] for model in ("a", "b/../c")]
        assert_equal(told, [[1, 2, 3], [1, 2]])
        registry.move("a", 1, "Production")
        registry.move("b/../c", 2, "Production")
        found = [stages(registry, model) for model in ("a", "b/../c")]
        assert_equal(found, [["Production", "None", "None"], ["None", "Production"]])

    def test_an_unknown_model_has_no_versions(self):
        assert_equal(Registry(Tracker(FOLDER)).versions("digits"), [])

    def test_another_registry_sees_everything(self):
        tracker = Tracker(FOLDER)
        run_id, one, two = finished(tracker, artifacts=["m"]), Registry(tracker), Registry(Tracker(FOLDER))
        one.register("digits", run_id, "m")
        assert_equal((two.register("digits", run_id, "m"), stages(one)), (2, ["None", "None"]))
        two.move("digits", 1, "Staging")
        assert_equal((stages(one), one.load("digits", "Staging")), (["Staging", "None"], b"m"))

    def test_it_is_no_run(self):
        tracker = Tracker(FOLDER)
        run_id = finished(tracker, artifacts=["m"])
        Registry(tracker).register("digits", run_id, "m")
        later = tracker.start("a", {})
        assert_equal(tracker.runs() == [run_id, later], True)

    def test_two_folders_share_nothing(self):
        one, two = Tracker(FOLDER), Tracker(Path("other"))
        Registry(one).register("digits", finished(one, artifacts=["m"]), "m")
        assert_equal(Registry(two).versions("digits"), [])

    def test_what_comes_out_may_be_changed(self):
        tracker = Tracker(FOLDER)
        registry = Registry(tracker)
        registry.register("digits", finished(tracker, artifacts=["m"]), "m")
        registry.versions("digits")[0]["stage"] = "Production"
        registry.versions("digits").clear()
        assert_equal(stages(registry), ["None"])

    @pytest.mark.parametrize("stage", ["Staging", "Production"])
    def test_one_version_each(self, stage):
        tracker = Tracker(FOLDER)
        run_id, registry = finished(tracker, artifacts=["m"]), Registry(tracker)
        for _ in range(3):
            registry.register("digits", run_id, "m")
        for version in (2, 3, 1):
            registry.move("digits", version, stage)
        assert_equal(stages(registry), [stage, "Archived", "Archived"])

    def test_staging_and_production_dont_hinder_each_other(self):
        tracker = Tracker(FOLDER)
        run_id, registry = finished(tracker, artifacts=["m"]), Registry(tracker)
        for _ in range(2):
            registry.register("digits", run_id, "m")
        registry.move("digits", 1, "Production")
        registry.move("digits", 2, "Staging")
        assert_equal(stages(registry), ["Production", "Staging"])
        registry.move("digits", 2, "Production")
        assert_equal(stages(registry), ["Archived", "Production"])

    @pytest.mark.parametrize("stage", ["None", "Archived"])
    def test_any_number_may_be_in_the_others(self, stage):
        tracker = Tracker(FOLDER)
        run_id, registry = finished(tracker, artifacts=["m"]), Registry(tracker)
        for _ in range(3):
            registry.register("digits", run_id, "m")
        registry.move("digits", 3, "Production")
        for version in (1, 2):
            registry.move("digits", version, stage)
        assert_equal(stages(registry), [stage, stage, "Production"])

    def test_an_archived_version_comes_back(self):
        tracker = Tracker(FOLDER)
        run_id, registry = finished(tracker, artifacts=["m"]), Registry(tracker)
        for _ in range(2):
            registry.register("digits", run_id, "m")
        for version in (1, 2, 1):
            registry.move("digits", version, "Production")
        assert_equal(stages(registry), ["Production", "Archived"])

    def test_where_it_is_already(self):
        tracker = Tracker(FOLDER)
        registry = Registry(tracker)
        registry.register("digits", finished(tracker, artifacts=["m"]), "m")
        for _ in range(2):
            registry.move("digits", 1, "Production")
        assert_equal(stages(registry), ["Production"])

    @pytest.mark.parametrize("stage", ["production", "Live", "", None])
    def test_any_other_stage(self, stage):
        tracker = Tracker(FOLDER)
        registry = Registry(tracker)
        registry.register("digits", finished(tracker, artifacts=["m"]), "m")
        with raises(ValueError, stage):
            registry.move("digits", 1, stage)
        assert_equal(stages(registry), ["None"])

    @pytest.mark.parametrize(("model", "version"), [("digits", 0), ("digits", 3), ("digits", -1), ("letters", 1)])
    def test_an_unknown_version(self, model, version):
        tracker = Tracker(FOLDER)
        run_id, registry = finished(tracker, artifacts=["m"]), Registry(tracker)
        for _ in range(2):
            registry.register("digits", run_id, "m")
        registry.move("digits", 1, "Production")
        with raises(KeyError, model, version):
            registry.move(model, version, "Production")
        assert_equal((stages(registry), stages(registry, "letters")), (["Production", "None"], []))

    @pytest.mark.parametrize("status", ["FAILED", "KILLED", "RUNNING"])
    def test_only_what_has_finished_is_registered(self, status):
        tracker = Tracker(FOLDER)
        run_id = finished(tracker, status=status, artifacts=["m"])
        with raises(ValueError, run_id):
            Registry(tracker).register("digits", run_id, "m")
        assert_equal(Registry(tracker).versions("digits"), [])

    def test_an_unknown_run(self):
        with raises(KeyError, "nobody"):
            Registry(Tracker(FOLDER)).register("digits", "nobody", "m")

    def test_a_missing_artifact_uses_up_no_number(self):
        tracker = Tracker(FOLDER)
        run_id, registry = finished(tracker, artifacts=["m", "x/n"]), Registry(tracker)
        for name in ("model.bin", "x"):
            with raises(FileNotFoundError, name):
                registry.register("digits", run_id, name)
        assert_equal(registry.register("digits", run_id, "m"), 1)

    def test_load(self):
        tracker = Tracker(FOLDER)
        registry = Registry(tracker)
        for name in ("one", "two", "three", "four"):
            registry.register("digits", finished(tracker, artifacts=[name]), name)
        registry.move("digits", 2, "Staging")
        registry.move("digits", 3, "Production")
        found = [registry.load("digits"), registry.load("digits", "Production"), registry.load("digits", "Staging")]
        assert_equal(found, [b"three", b"three", b"two"])
        registry.move("digits", 1, "Production")
        assert_equal(registry.load("digits"), b"one")

    def test_nothing_in_the_stage(self):
        tracker = Tracker(FOLDER)
        registry = Registry(tracker)
        registry.register("digits", finished(tracker, artifacts=["m"]), "m")
        registry.move("digits", 1, "Staging")
        with raises(KeyError, "digits", "Production"):
            registry.load("digits")

    def test_no_such_model(self):
        tracker = Tracker(FOLDER)
        registry = Registry(tracker)
        registry.register("digits", finished(tracker, artifacts=["m"]), "m")
        registry.move("digits", 1, "Staging")
        with raises(KeyError, "letters", "Staging"):
            registry.load("letters", "Staging")


def replayed(tracker, run_id: str) -> list:
    found = []
    replay(tracker, run_id, lambda metrics, step: found.append((step, dict(metrics))))
    return found


def curves(tracker, **changes) -> str:
    """A run whose metrics have different steps, which were logged in no order."""
    run_id = tracker.start("curves", {"lr": 0.1, "layers": [1, 2], "on": True})
    for step, metrics in [
        (7, {"acc": 0.5}),
        (0, {"loss": 1.5}),
        (0, {"acc": 0.1}),
        (10, {"loss": 0.5}),
        (3, {"loss": 1.0}),
    ]:
        tracker.log(run_id, step, metrics)
    tracker.save(run_id, "model.bin", b"\x00\xff\r\n")
    tracker.save(run_id, "plots/a/loss.png", b"png")
    tracker.end(run_id, changes.get("status", "FINISHED"))
    return run_id


CURVES = [(0, {"loss": 1.5, "acc": 0.1}), (3, {"loss": 1.0}), (7, {"acc": 0.5}), (10, {"loss": 0.5})]


def wandb_records(data: bytes):
    """The records of wandb's file, which is a log as LevelDB has it: blocks of 32 KiB, records in pieces."""
    at, found = 7, b""
    while at < len(data):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        found += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last piece
            yield found
            found = b""


class TestReplay:
    def test_steps_ascend_and_metrics_come_together(self):
        tracker = Tracker(FOLDER)
        found = replayed(tracker, curves(tracker))
        assert_equal([step for step, _ in found], [0, 3, 7, 10])
        assert_equal(found, CURVES)

    def test_a_run_without_metrics(self):
        tracker = Tracker(FOLDER)
        assert_equal(replayed(tracker, finished(tracker)), [])

    def test_a_run_that_is_running(self):
        tracker = Tracker(FOLDER)
        run_id = finished(tracker, status="RUNNING", loss=[2, NAN])
        assert_equal(replayed(tracker, run_id), [(0, {"loss": 2.0}), (1, {"loss": NAN})])

    def test_the_last_value_of_a_step(self):
        tracker = Tracker(FOLDER)
        run_id = tracker.start("a", {})
        for value in (1.0, 2.0):
            tracker.log(run_id, 4, {"loss": value})
        assert_equal(replayed(tracker, run_id), [(4, {"loss": 2.0})])

    def test_an_unknown_run(self):
        with raises(KeyError, "nobody"):
            replay(Tracker(FOLDER), "nobody", print)

    @pytest.mark.slow
    def test_wandb_has_the_same_run(self, tmp_path, monkeypatch):
        wandb = pytest.importorskip("wandb", reason="needs Weights & Biases: pip install wandb==0.31.0")
        from wandb.proto.wandb_internal_pb2 import Record

        monkeypatch.setenv("WANDB_SILENT", "true")
        tracker = Tracker(FOLDER)
        run = wandb.init(mode="offline", dir=str(tmp_path), project="dojo")
        replay(tracker, curves(tracker), run.log)
        run.finish()
        [file] = tmp_path.glob("wandb/offline-run-*/*.wandb")
        found = []
        for data in wandb_records(file.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                items = {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
                found.append((items["_step"], {name: float(items[name]) for name in items if name[0] != "_"}))
        assert_equal(found, CURVES)


@pytest.fixture
def mlflow(tmp_path, tmp_path_factory, monkeypatch):
    """MLflow's client for an empty store of its own, and the store's address."""
    reason = "needs the extra `serving`: pip install -c constraints.txt -e '.[serving]'"
    pytest.importorskip("sqlalchemy", reason=reason)
    pytest.importorskip("mlflow", reason=reason)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    empty = tmp_path_factory.getbasetemp() / "empty-mlflow.db"
    if not empty.exists():  # its tables take seconds to make
        making = tmp_path_factory.mktemp("mlflow") / "new.db"
        MlflowClient(f"sqlite:///{making}").search_experiments()
        making.rename(empty)
    shutil.copy(empty, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return MlflowClient(uri), uri


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
@pytest.mark.deadline(120)  # the first test imports mlflow and makes its tables, which takes a busy machine a while
class TestToMlflow:
    def test_read_back_with_its_client(self, mlflow):
        client, uri = mlflow
        tracker = Tracker(FOLDER)
        run_id = to_mlflow(tracker, curves(tracker), uri, "digits", Path("files"))
        run = client.get_run(run_id)
        assert_equal((run.info.run_name, run.info.status), ("curves", "FINISHED"))
        assert_equal(run.data.params, {"lr": "0.1", "layers": "[1, 2]", "on": "True"})
        assert_equal(run.data.metrics, {"loss": 0.5, "acc": 0.5})
        found = {
            name: sorted((one.step, one.value) for one in client.get_metric_history(run_id, name))
            for name in ("loss", "acc")
        }
        assert_equal(found, {"loss": [(0, 1.5), (3, 1.0), (10, 0.5)], "acc": [(0, 0.1), (7, 0.5)]})
        assert_equal(client.get_experiment(run.info.experiment_id).name, "digits")

    def test_artifacts(self, mlflow):
        client, uri = mlflow
        tracker = Tracker(FOLDER)
        run_id = to_mlflow(tracker, curves(tracker), uri, "digits", Path("files"))
        found = {}
        for name in ("model.bin", "plots/a/loss.png"):
            found[name] = Path(client.download_artifacts(run_id, name)).read_bytes()
        assert_equal(found, {"model.bin": b"\x00\xff\r\n", "plots/a/loss.png": b"png"})
        top = [one.path for one in client.list_artifacts(run_id)]
        assert_equal(sorted(top), ["model.bin", "plots"])
        assert_equal([path.read_bytes() for path in Path("files").rglob("model.bin")], [b"\x00\xff\r\n"])

    @pytest.mark.parametrize("status", ["FAILED", "KILLED"])
    def test_how_it_ended(self, mlflow, status):
        client, uri = mlflow
        tracker = Tracker(FOLDER)
        run_id = to_mlflow(tracker, finished(tracker, status=status, name="x"), uri, "digits", Path("files"))
        run = client.get_run(run_id)
        assert_equal((run.info.status, run.info.run_name, run.data.params, run.data.metrics), (status, "x", {}, {}))

    def test_one_more_run_of_an_experiment(self, mlflow):
        client, uri = mlflow
        tracker = Tracker(FOLDER)
        a, b = finished(tracker, {"x": 1}, loss=[NAN, 1]), finished(tracker, {"x": 2})
        copies = [to_mlflow(tracker, one, uri, "digits", Path("files")) for one in (a, b, a)]
        copies.append(to_mlflow(tracker, b, uri, "letters", Path("files")))
        known = {one.name: one.experiment_id for one in client.search_experiments()}
        found = {
            name: sorted(run.data.params["x"] for run in client.search_runs([known.get(name)]))
            for name in ("digits", "letters")
            if name in known
        }
        assert_equal((len(set(copies)), found), (4, {"digits": ["1", "1", "2"], "letters": ["2"]}))

    def test_only_that_store_is_written_to(self, mlflow, tmp_path):
        _, uri = mlflow
        tracker = Tracker(FOLDER)
        run_id = curves(tracker)
        before = tracker.run(run_id)
        to_mlflow(tracker, run_id, uri, "digits", Path("files"))
        assert_equal(tracker.run(run_id), before)
        others = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("mlflow.db"))
        if others != ["diary", "files"]:
            fail(f"It left {others} where only diary, files and mlflow.db should be.", evidence=others)
