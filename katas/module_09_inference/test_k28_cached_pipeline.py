"""Judges k28_cached_pipeline with hashlib, and random changes that are followed by brute force."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from dojo.testing import assert_equal, from_scratch, pure, raises
from fixtures import folders
from fixtures.children import in_a_child
from fixtures.folders import md5
from fixtures.full_disk import disk_with_room_for
from katas.module_09_inference.k28_cached_pipeline import Pipeline, Runs, Stage, fingerprint, lineage, order

pytestmark = [from_scratch("dvc", "joblib", "luigi"), pure()]

ROOT, CACHE = Path("work"), Path("cache")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in a folder of its own, with relative paths."""
    monkeypatch.chdir(tmp_path)
    ROOT.mkdir()


def written(name: str, contents: list[bytes], values: dict) -> bytes:
    """What a stage of these tests writes."""
    return b"|".join([name.encode(), *contents, json.dumps(values, sort_keys=True).encode()]) + b"\n"


def stage(name: str, deps: str = "", outs: str = "", params: str = "", version: str = "1", rule=written) -> Stage:
    """A stage whose outs follow from its deps and settings by a rule."""

    def run(root, values):
        contents = [(root / dep).read_bytes() for dep in deps.split()]
        for out in outs.split():
            (root / out).write_bytes(rule(f"{name}{version}{out}", contents, values))

    return Stage(name, run, deps.split(), outs.split(), params.split(), version)


def three() -> list[Stage]:
    """The drawing's pipeline.  clean leaves out lines that begin with "#", the model is lr rounded to one place."""

    def clean(name, contents, values):
        return b"".join(line for line in contents[0].splitlines(True) if not line.startswith(b"#"))

    def train(name, contents, values):
        return contents[0] + f"lr {values['lr']:.1f}\n".encode()

    return [
        stage("score", "clean.csv model.txt", "score.txt"),
        stage("train", "clean.csv", "model.txt", "lr", rule=train),
        stage("clean", "raw.csv", "clean.csv", rule=clean),
    ]


def raw(text: str = "1\n2\n", root: Path = ROOT) -> None:
    root.mkdir(exist_ok=True)
    (root / "raw.csv").write_text(text)


def content(folder: Path = ROOT) -> dict[str, bytes]:
    return folders.content(folder)


def aged(folder: Path = ROOT) -> dict[str, tuple[int, int]]:
    """Gives all files a time that is long past; returns what changes when a file is written."""
    for path in content(folder):
        os.utime(folder / path, (1_000_000, 1_000_000))
    return traces(folder)


def traces(folder: Path = ROOT) -> dict[str, tuple[int, int]]:
    return folders.traces(folder)


def names(stages) -> list[str]:
    return [one.name for one in stages]


class TestOrder:
    def test_the_drawing(self):
        stages = three()
        found = order(stages)
        assert_equal(names(found), ["clean", "train", "score"])
        assert_equal([one in stages for one in found], [True] * 3)

    def test_nothing(self):
        assert_equal(order([]), [])

    def test_stages_that_dont_need_each_other(self):
        found = order([stage("a", outs="x"), stage("b", "s", "y"), stage("c")])
        assert_equal(sorted(names(found)), ["a", "b", "c"])

    def test_two_stages_need_the_same(self):
        found = names(order([stage("c", "x", "z"), stage("b", "x", "y"), stage("a", "s", "x")]))
        assert_equal((found[0], sorted(found)), ("a", ["a", "b", "c"]))

    def test_a_stage_with_several_outs(self):
        found = order([stage("c", "z y"), stage("b", "x", "y"), stage("a", "", "w x z")])
        assert_equal(names(found), ["a", "b", "c"])

    @pytest.mark.parametrize("seed", range(15))
    def test_any_graph_without_circles(self, seed):
        draw = random.Random(seed)
        number = draw.randint(2, 12)
        needs = {i: [j for j in range(i) if draw.random() < 0.3] for i in range(number)}
        stages = [stage(f"s{i}", " ".join(["raw", *(f"f{j}" for j in needs[i])]), f"f{i}") for i in range(number)]
        draw.shuffle(stages)
        found = names(order(stages))
        assert_equal(sorted(found), sorted(names(stages)))
        wrong = [(i, j) for i in needs for j in needs[i] if found.index(f"s{j}") > found.index(f"s{i}")]
        assert_equal(wrong, [])

    def test_a_long_chain(self):
        stages = [stage(f"s{i}", f"f{i - 1}", f"f{i}") for i in range(3000)]
        assert_equal(names(order(stages[::-1])) == names(stages), True)

    def test_many_layers_that_need_all_of_the_last(self):
        layers = [
            [stage(f"s{i}.{j}", f"f{i - 1}.0 f{i - 1}.1 f{i - 1}.2", f"f{i}.{j}") for j in range(3)] for i in range(40)
        ]
        found = names(order([one for layer in layers[::-1] for one in layer]))
        assert_equal([name.split(".")[0] for name in found], [f"s{i}" for i in range(40) for _ in range(3)])

    def test_a_circle(self):
        circle = [stage("one", "c", "a"), stage("two", "a", "b"), stage("three", "b", "c")]
        with raises(ValueError, "one", "two", "three") as error:
            order([stage("before", "s", "x"), *circle, stage("after", "c", "y")])
        assert_equal(["before" in str(error.value), "after" in str(error.value)], [False, False])

    def test_a_stage_that_reads_its_own_out(self):
        with raises(ValueError, "alone"):
            order([stage("alone", "a", "a")])

    def test_one_name_twice(self):
        with raises(ValueError, "again"):
            order([stage("again", "", "x"), stage("again", "", "y")])

    def test_one_out_twice(self):
        with raises(ValueError, "model.txt"):
            order([stage("a", "", "x model.txt"), stage("b", "", "model.txt y")])


def same(*pairs) -> bool:
    """Whether the fingerprints of two runs are equal."""
    first, second = (fingerprint(*pair) for pair in pairs)
    return first == second


def a_run(**changes):
    """The arguments of fingerprint: a run, with some changes."""
    deps = changes.pop("deps", {"a": "1", "b": "2"})
    values = changes.pop("values", {"lr": 0.1, "steps": 10})
    given = {"name": "train", "outs": "x y", "params": " ".join(values), "deps": " ".join(deps), **changes}
    return stage(**given), deps, values


class TestFingerprint:
    def test_a_text_that_is_always_the_same(self):
        found = fingerprint(*a_run())
        assert_equal((isinstance(found, str), len(found) > 0, same(a_run(), a_run())), (True, True, True))

    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "other"},
            {"version": "2"},
            {"outs": "x"},
            {"outs": "x z"},
            {"deps": {"a": "1", "b": "3"}},
            {"deps": {"a": "2", "b": "1"}},
            {"deps": {"a": "1", "c": "2"}},
            {"deps": {"a": "1"}},
            {"deps": {}},
            {"values": {"lr": 0.2, "steps": 10}},
            {"values": {"lr": 10, "steps": 0.1}},
            {"values": {"lr": 0.1, "rate": 10}},
            {"values": {"lr": 0.1}},
            {"values": {}},
        ],
        ids=str,
    )
    def test_everything_counts(self, changes):
        assert_equal(same(a_run(), a_run(**changes)), False)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"deps": {"a": "1", "b": "2"}}, {"deps": {"b": "2", "a": "1"}}),
            ({"values": {"lr": 1, "n": [1, 2]}}, {"values": {"n": [1, 2], "lr": 1}}),
            ({"values": {"lr": {"a": 1, "b": {"c": 2, "d": 3}}}}, {"values": {"lr": {"b": {"d": 3, "c": 2}, "a": 1}}}),
            ({"outs": "x y"}, {"outs": "y x"}),
        ],
    )
    def test_orders_dont_count(self, one, other):
        assert_equal(same(a_run(**one), a_run(**other)), True)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (1, "1"),
            (1, 1.0),
            (1, True),
            (0, False),
            (None, "None"),
            (None, "null"),
            ([1, 2], [2, 1]),
            ([1, 2], [[1, 2]]),
            ([], {}),
            ("", " "),
            (0.1, 0.1000000001),
            ({"a": 1}, {"a": 2}),
            (10**20, 10**20 + 1),
        ],
        ids=str,
    )
    def test_values_that_look_alike(self, one, other):
        assert_equal(same(a_run(values={"lr": one}), a_run(values={"lr": other})), False)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"deps": {"a": "12"}}, {"deps": {"a1": "2"}}),
            ({"name": "train1", "version": "1"}, {"name": "train", "version": "11"}),
            ({"values": {"a": "b", "c": "d"}}, {"values": {"a": "bc", "": "d"}}),
            ({"outs": "x,y"}, {"outs": "x y"}),
            ({"deps": {"a": "1", "x": "2"}, "outs": "y"}, {"deps": {"a": "1"}, "outs": "x y"}),
            ({"deps": {"a": "1"}, "values": {}}, {"deps": {}, "values": {"a": "1"}}),
        ],
    )
    def test_where_one_ends_and_the_next_begins(self, one, other):
        assert_equal(same(a_run(**one), a_run(**other)), False)

    def test_files_that_the_stage_doesnt_read_dont_count(self):
        one, deps, values = a_run()
        assert_equal(fingerprint(one, {**deps, "other": "9"}, values) == fingerprint(one, deps, values), True)

    def test_settings_that_the_stage_doesnt_use_dont_count(self):
        one, deps, values = a_run()
        assert_equal(fingerprint(one, deps, {**values, "seed": 7}) == fingerprint(one, deps, values), True)

    def test_the_function_itself_doesnt_count(self):
        one, deps, values = a_run()
        other = Stage(one.name, print, one.deps, one.outs, one.params, one.version)
        assert_equal(fingerprint(other, deps, values) == fingerprint(one, deps, values), True)

    def test_deps_as_tuples_or_lists(self):
        one, deps, values = a_run()
        other = Stage(one.name, one.run, tuple(one.deps), tuple(one.outs), tuple(one.params), one.version)
        assert_equal(fingerprint(other, deps, values) == fingerprint(one, deps, values), True)


def run_of(number: int, outs: dict[str, str] | None = None) -> dict:
    return {"stage": f"s{number}", "params": {"lr": number}, "deps": {"raw": "0"}, "outs": outs or {"x": str(number)}}


class TestRuns:
    def test_find_what_was_remembered(self):
        runs = Runs(CACHE)
        runs.remember("a", run_of(1))
        runs.remember("b", run_of(2))
        assert_equal([runs.find("a"), runs.find("b"), runs.find("c")], [run_of(1), run_of(2), None])

    def test_nothing_yet(self):
        assert_equal([Runs(CACHE).find("a"), Runs(CACHE).maker("x", "1")], [None, None])

    def test_a_full_disk_loses_no_run(self):
        runs, long = Runs(CACHE), run_of(2) | {"params": {"text": "0123456789" * 50_000}}
        runs.remember("a", run_of(1))
        with disk_with_room_for(100_000), raises(Exception):
            runs.remember("b", long)
        assert_equal(Runs(CACHE).find("a"), run_of(1))
        Runs(CACHE).remember("b", run_of(3))
        assert_equal([Runs(CACHE).find("a"), Runs(CACHE).find("b")], [run_of(1), run_of(3)])

    def test_makes_its_folder_and_those_above(self):
        Runs(Path("x/y/cache")).remember("a", run_of(1))
        assert_equal(Runs(Path("x/y/cache")).find("a"), run_of(1))

    def test_another_object_knows_them(self):
        first, second = Runs(CACHE), Runs(CACHE)
        first.remember("a", run_of(1))
        second.remember("b", run_of(2))
        found = [[runs.find("a"), runs.find("b")] for runs in (first, second, Runs(CACHE))]
        assert_equal(found, [[run_of(1), run_of(2)]] * 3)

    def test_two_caches_share_nothing(self):
        Runs(CACHE).remember("a", run_of(1))
        assert_equal([Runs(Path("other")).find("a"), Runs(Path("other")).maker("x", "1")], [None, None])

    def test_any_values_come_back(self):
        run = {"stage": "é\n", "params": {"a": [1, 2.5, None, True, {"b": "ü"}], "": "x"}, "deps": {}, "outs": {}}
        Runs(CACHE).remember("a", run)
        assert_equal(Runs(CACHE).find("a"), run)

    def test_a_key_again(self):
        runs = Runs(CACHE)
        runs.remember("a", run_of(1))
        runs.remember("a", run_of(2))
        assert_equal([runs.find("a"), Runs(CACHE).find("a"), runs.maker("x", "1")], [run_of(2), run_of(2), None])

    def test_dicts_arent_shared(self):
        runs, mine = Runs(CACHE), run_of(1)
        runs.remember("a", mine)
        mine["params"]["lr"] = 99
        runs.find("a")["params"]["lr"] = 98
        runs.maker("x", "1")["outs"]["x"] = "97"
        assert_equal([runs.find("a"), runs.maker("x", "1")], [run_of(1), run_of(1)])

    def test_maker_by_path_and_digest(self):
        runs = Runs(CACHE)
        runs.remember("a", run_of(1, {"x": "1", "y": "2"}))
        runs.remember("b", run_of(2, {"x": "2", "z": "1"}))
        found = [runs.maker(*of) for of in [("x", "1"), ("x", "2"), ("y", "2"), ("z", "1"), ("y", "1"), ("z", "2")]]
        assert_equal([one and one["stage"] for one in found], ["s1", "s2", "s1", "s2", None, None])

    def test_a_dep_isnt_made(self):
        runs = Runs(CACHE)
        runs.remember("a", run_of(1))
        assert_equal(runs.maker("raw", "0"), None)

    def test_of_several_makers_the_last(self):
        runs = Runs(CACHE)
        for key, number in [("c", 1), ("a", 2), ("b", 3)]:
            runs.remember(key, run_of(number, {"x": "7"}))
        assert_equal([runs.maker("x", "7"), Runs(CACHE).maker("x", "7")], [run_of(3, {"x": "7"})] * 2)

    def test_remembered_anew_it_is_the_last(self):
        runs = Runs(CACHE)
        for key, number in [("a", 1), ("b", 2), ("a", 1)]:
            runs.remember(key, run_of(number, {"x": "7"}))
        assert_equal([runs.maker("x", "7"), Runs(CACHE).maker("x", "7")], [run_of(1, {"x": "7"})] * 2)

    def test_to_find_isnt_to_remember(self):
        runs = Runs(CACHE)
        for key, number in [("a", 1), ("b", 2)]:
            runs.remember(key, run_of(number, {"x": "7"}))
        runs.find("a")
        assert_equal(runs.maker("x", "7"), run_of(2, {"x": "7"}))


class TestPipeline:
    def test_the_example_worked_by_hand(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        assert_equal(pipeline.repro({"lr": 0.1}), ["clean", "train", "score"])
        first = content()
        assert_equal(pipeline.repro({"lr": 0.1}), [])
        assert_equal(pipeline.repro({"lr": 0.2}), ["train", "score"])
        assert_equal(content()["model.txt"], b"1\n2\nlr 0.2\n")
        assert_equal(pipeline.repro({"lr": 0.1}), [])
        assert_equal(content(), first)
        (ROOT / "clean.csv").unlink()
        assert_equal(pipeline.repro({"lr": 0.1}), [])
        assert_equal(content(), first)

    def test_what_the_stages_write(self):
        raw("1\n#x\n2\n")
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1})
        model = b"1\n2\nlr 0.1\n"
        score = written("score1score.txt", [b"1\n2\n", model], {})
        wanted = {"clean.csv": b"1\n2\n", "model.txt": model, "raw.csv": b"1\n#x\n2\n", "score.txt": score}
        assert_equal(content(), wanted)

    def test_the_same_model_ends_it(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        pipeline.repro({"lr": 0.1})
        assert_equal(pipeline.repro({"lr": 0.101}), ["train"])

    def test_a_changed_source(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        pipeline.repro({"lr": 0.1})
        raw("1\n3\n")
        assert_equal(pipeline.repro({"lr": 0.1}), ["clean", "train", "score"])
        assert_equal(content()["model.txt"], b"1\n3\nlr 0.1\n")

    def test_a_change_that_makes_no_difference(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        pipeline.repro({"lr": 0.1})
        raw("1\n# new\n2\n")
        assert_equal(pipeline.repro({"lr": 0.1}), ["clean"])

    def test_a_new_time_is_no_change(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        pipeline.repro({"lr": 0.1})
        aged()
        assert_equal(pipeline.repro({"lr": 0.1}), [])

    def test_a_change_that_keeps_time_and_size(self):
        raw()
        os.utime(ROOT / "raw.csv", (1_000_000, 1_000_000))
        pipeline = Pipeline(ROOT, CACHE, three())
        pipeline.repro({"lr": 0.1})
        raw("1\n3\n")
        os.utime(ROOT / "raw.csv", (1_000_000, 1_000_000))
        assert_equal(pipeline.repro({"lr": 0.1}), ["clean", "train", "score"])

    def test_a_new_version_of_a_stage(self):
        raw()
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1})
        score, train, clean = three()
        train = Stage(train.name, train.run, train.deps, train.outs, train.params, "2")
        assert_equal(Pipeline(ROOT, CACHE, [score, train, clean]).repro({"lr": 0.1}), ["train"])

    def test_a_setting_that_nobody_uses(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        pipeline.repro({"lr": 0.1, "seed": 1})
        assert_equal(pipeline.repro({"seed": 2, "lr": 0.1}), [])

    def test_a_stage_gets_only_its_settings(self):
        got = []
        stages = [
            Stage("a", lambda root, values: got.append((root, values)), params=["lr"]),
            Stage("b", lambda root, values: got.append((root, values)), params=["n", "seed"]),
            Stage("c", lambda root, values: got.append((root, values))),
        ]
        ran = Pipeline(ROOT, CACHE, stages).repro({"seed": 3, "n": [1], "lr": 0.1, "x": 0})
        wanted = {"a": {"lr": 0.1}, "b": {"n": [1], "seed": 3}, "c": {}}
        assert_equal(dict(zip(ran, [values for _, values in got], strict=True)), wanted)
        assert_equal([Path(root) for root, _ in got], [ROOT] * 3)

    def test_a_stage_may_change_its_settings(self):
        def greedy(root, values):
            values["n"].append(99)
            values["lr"] = 99

        stages = [Stage("a", greedy, outs=(), params=["n", "lr"]), stage("b", "", "y", "n lr")]
        pipeline, params = Pipeline(ROOT, CACHE, stages), {"n": [1], "lr": 0.1}
        assert_equal(sorted(pipeline.repro(params)), ["a", "b"])
        assert_equal((params, content()["y"]), ({"n": [1], "lr": 0.1}, written("b1y", [], {"n": [1], "lr": 0.1})))
        assert_equal(pipeline.repro({"n": [1], "lr": 0.1}), [])

    def test_stages_without_anything(self):
        ran = []
        stages = [Stage("a", lambda root, values: ran.append("a"))]
        assert_equal(Pipeline(ROOT, CACHE, stages).repro({}), ["a"])
        assert_equal((Pipeline(ROOT, CACHE, stages).repro({}), ran), ([], ["a"]))
        assert_equal(Pipeline(ROOT, CACHE, []).repro({}), [])

    def test_another_object_knows_what_was_made(self):
        raw()
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1})
        assert_equal(Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1}), [])

    def test_a_colleague_with_the_same_cache(self):
        raw()
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1})
        raw(root=Path("colleague"))
        assert_equal(Pipeline(Path("colleague"), CACHE, three()).repro({"lr": 0.1}), [])
        assert_equal(content(Path("colleague")), content())

    def test_another_cache_knows_nothing(self):
        raw()
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1})
        assert_equal(len(Pipeline(ROOT, Path("other"), three()).repro({"lr": 0.1})), 3)

    def test_absolute_folders(self, tmp_path):
        raw(root=tmp_path / "far")
        assert_equal(len(Pipeline(tmp_path / "far", tmp_path / "c/d", three()).repro({"lr": 0.1})), 3)
        assert_equal(sorted(content(tmp_path / "far")), ["clean.csv", "model.txt", "raw.csv", "score.txt"])
        (tmp_path / "far").rename(tmp_path / "near")
        assert_equal(Pipeline(tmp_path / "near", tmp_path / "c/d", three()).repro({"lr": 0.1}), [])

    def test_what_is_right_isnt_touched(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        pipeline.repro({"lr": 0.2})
        pipeline.repro({"lr": 0.1})
        before = aged()
        pipeline.repro({"lr": 0.1})
        assert_equal(traces() == before, True)
        pipeline.repro({"lr": 0.2})
        after = traces()
        assert_equal([path for path in before if after[path] != before[path]], ["model.txt", "score.txt"])

    def test_an_edited_out_is_replaced(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        pipeline.repro({"lr": 0.1})
        first = content()
        (ROOT / "model.txt").write_bytes(b"mine\n")
        assert_equal((pipeline.repro({"lr": 0.1}), content()), ([], first))

    def test_outs_in_folders(self):
        stages = [stage("b", "x/y/a.txt", "x/z/b.txt"), stage("a", "", "x/y/a.txt")]
        assert_equal(Pipeline(ROOT, CACHE, stages).repro({}), ["a", "b"])
        shutil.rmtree(ROOT / "x")
        assert_equal((Pipeline(ROOT, CACHE, stages).repro({}), sorted(content())), ([], ["x/y/a.txt", "x/z/b.txt"]))

    def test_several_outs_come_back_each(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, [stage("a", "raw.csv", "x y z")])
        pipeline.repro({})
        first = content()
        (ROOT / "x").unlink()
        (ROOT / "z").write_bytes(b"")
        assert_equal((pipeline.repro({}), content()), ([], first))

    def test_outs_are_removed_before_the_stage_runs(self):
        seen = []

        def run(root, values):
            seen.append(sorted(content()))
            (root / "x").write_bytes(b"new")

        (ROOT / "x").write_bytes(b"old")
        (ROOT / "keep").write_bytes(b"old")
        Pipeline(ROOT, CACHE, [Stage("a", run, outs=["x"])]).repro({})
        assert_equal((seen, content()), ([["keep"]], {"keep": b"old", "x": b"new"}))

    def test_an_out_that_isnt_written(self):
        (ROOT / "b.txt").write_bytes(b"old")
        stages = [Stage("lazy", lambda root, values: (root / "a.txt").write_bytes(b"1"), outs=["a.txt", "b.txt"])]
        with raises(FileNotFoundError, "lazy", "b.txt"):
            Pipeline(ROOT, CACHE, stages).repro({})

    def test_a_run_without_its_outs_isnt_remembered(self):
        stages = [Stage("lazy", lambda root, values: (root / "a.txt").write_bytes(b"1"), outs=["a.txt", "b.txt"])]
        with raises(FileNotFoundError):
            Pipeline(ROOT, CACHE, stages).repro({})
        with raises(FileNotFoundError, "lazy"):
            Pipeline(ROOT, CACHE, stages).repro({})

    def test_a_stage_that_fails(self):
        raw()
        score, train, clean = three()

        def fails(root, values):
            (root / "model.txt").write_bytes(b"half")
            raise LookupError("no such column")

        broken = Stage(train.name, fails, train.deps, train.outs, train.params, train.version)
        with raises(LookupError, "no such column"):
            Pipeline(ROOT, CACHE, [score, broken, clean]).repro({"lr": 0.1})
        assert_equal(Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1}), ["train", "score"])
        assert_equal(content()["model.txt"], b"1\n2\nlr 0.1\n")

    def test_a_process_that_is_killed(self):
        raw()
        Pipeline(ROOT, Path("other"), three()).repro({"lr": 0.1})

        def work():
            score, train, clean = three()
            killed = Stage(train.name, lambda root, values: os._exit(7), train.deps, train.outs, train.params)
            Pipeline(ROOT, CACHE, [score, killed, clean]).repro({"lr": 0.1})

        assert_equal(in_a_child(work), 7)
        assert_equal(Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1}), ["train", "score"])

    def test_a_missing_source_is_noticed_first(self):
        raw()
        ran = []
        stages = [
            Stage("a", lambda root, values: ran.append("a"), ["raw.csv"]),
            Stage("b", lambda root, values: ran.append("b"), ["raw.csv", "labels.csv"]),
        ]
        with raises(FileNotFoundError, "labels.csv"):
            Pipeline(ROOT, CACHE, stages).repro({})
        assert_equal(ran, [])

    def test_a_missing_setting_is_noticed_first(self):
        ran = []
        stages = [
            Stage("early", lambda root, values: ran.append("a"), outs=[]),
            Stage("late", lambda root, values: ran.append("b"), params=["lr", "depth"]),
        ]
        with raises(ValueError, "late", "depth"):
            Pipeline(ROOT, CACHE, stages).repro({"lr": 1})
        assert_equal(ran, [])

    def test_a_setting_may_be_anything_false(self):
        stages = [stage("a", "", "x", "p q r")]
        assert_equal(Pipeline(ROOT, CACHE, stages).repro({"p": None, "q": 0, "r": ""}), ["a"])

    def test_what_order_raises(self):
        with raises(ValueError, "alone"):
            Pipeline(ROOT, CACHE, [stage("alone", "a", "a")])

    def test_a_content_that_left_the_cache(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, [stage("a", "raw.csv", "x y")])
        pipeline.repro({})
        first = content()
        digest = md5(first["y"])
        (CACHE / "files" / digest[:2] / digest[2:]).unlink()
        (ROOT / "y").unlink()
        assert_equal((pipeline.repro({}), content()), (["a"], first))
        (ROOT / "y").unlink()
        assert_equal((pipeline.repro({}), content()), ([], first))

    def test_the_runs_are_noted(self):
        raw()
        stages = three()
        Pipeline(ROOT, CACHE, stages).repro({"lr": 0.1, "seed": 3})
        clean, model = content()["clean.csv"], content()["model.txt"]
        run = {
            "stage": "train",
            "params": {"lr": 0.1},
            "deps": {"clean.csv": md5(clean)},
            "outs": {"model.txt": md5(model)},
        }
        key = fingerprint(stages[1], {"clean.csv": md5(clean)}, {"lr": 0.1})
        assert_equal([Runs(CACHE).find(key), Runs(CACHE).maker("model.txt", md5(model))], [run, run])

    def test_a_run_that_is_used_again_is_the_last(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        model = md5(b"1\n2\nlr 0.1\n")
        found = []
        for lr in (0.101, 0.102, 0.101):
            pipeline.repro({"lr": lr})
            found.append(Runs(CACHE).maker("model.txt", model)["params"]["lr"])
        assert_equal(found, [0.101, 0.102, 0.101])

    @pytest.mark.parametrize("seed", range(12))
    def test_random_changes_followed_by_brute_force(self, seed):
        draw = random.Random(seed)
        number = draw.randint(2, 6)
        sources = ["raw0", "raw1"]
        needs = [draw.sample([*sources, *(f"f{j}" for j in range(i))], draw.randint(1, 2)) for i in range(number)]
        uses = [draw.choice(["", "p", "q", "p q"]) for _ in range(number)]
        versions = ["1"] * number

        def coarse(name, contents, values):  # few results, so that many changes make no difference
            total = sum(map(sum, contents)) + sum(values.values()) + sum(name.encode())
            return str(total % 3).encode()

        params, seen = {"p": 0, "q": 0}, set()
        for source in sources:
            (ROOT / source).write_bytes(b"0")
        for _ in range(12):
            stages = [stage(f"s{i}", " ".join(needs[i]), f"f{i}", uses[i], versions[i], coarse) for i in range(number)]
            files = {source: (ROOT / source).read_bytes() for source in sources}
            wanted = set()
            for i in range(number):
                values = {name: params[name] for name in uses[i].split()}
                seen_by_it = (i, versions[i], tuple(files[dep] for dep in needs[i]), tuple(values.items()))
                if seen_by_it not in seen:
                    seen.add(seen_by_it)
                    wanted.add(f"s{i}")
                files[f"f{i}"] = coarse(f"s{i}{versions[i]}f{i}", [files[dep] for dep in needs[i]], values)
            draw.shuffle(stages)
            ran = Pipeline(ROOT, CACHE, stages).repro(dict(params))
            assert_equal((sorted(ran), content()), (sorted(wanted), dict(sorted(files.items()))))
            what = draw.choice(["source", "param", "param", "version", "delete", "edit", "nothing"])
            if what == "source":
                (ROOT / draw.choice(sources)).write_bytes(draw.choice([b"0", b"1", b"2"]))
            elif what == "param":
                params[draw.choice("pq")] = draw.randint(0, 3)
            elif what == "version":
                versions[draw.randrange(number)] = draw.choice("123")
            elif what == "delete":
                (ROOT / f"f{draw.randrange(number)}").unlink()
            elif what == "edit":
                (ROOT / f"f{draw.randrange(number)}").write_bytes(b"edited")


def source_of(path: str, data: bytes) -> dict:
    return {"path": path, "md5": md5(data), "stage": None, "params": {}, "deps": []}


class TestLineage:
    def test_the_example_worked_by_hand(self):
        raw()
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1, "seed": 7})
        files = {path: md5(data) for path, data in content().items()}
        start = source_of("raw.csv", b"1\n2\n")
        clean = {"path": "clean.csv", "md5": files["clean.csv"], "stage": "clean", "params": {}, "deps": [start]}
        model = {
            "path": "model.txt",
            "md5": files["model.txt"],
            "stage": "train",
            "params": {"lr": 0.1},
            "deps": [clean],
        }
        score = {"path": "score.txt", "md5": files["score.txt"], "stage": "score", "params": {}, "deps": [clean, model]}
        found = [lineage(Runs(CACHE), ROOT, path) for path in ("score.txt", "model.txt", "clean.csv", "raw.csv")]
        assert_equal(found, [score, model, clean, start])

    def test_deps_are_sorted_by_path(self):
        for name in "bca":
            (ROOT / name).write_text(name)
        Pipeline(ROOT, CACHE, [stage("s", "b c a", "x")]).repro({})
        assert_equal([dep["path"] for dep in lineage(Runs(CACHE), ROOT, "x")["deps"]], ["a", "b", "c"])

    def test_what_changed_since_doesnt_count(self):
        raw()
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1})
        before = lineage(Runs(CACHE), ROOT, "model.txt")
        raw("something else\n")
        (ROOT / "clean.csv").unlink()
        assert_equal(lineage(Runs(CACHE), ROOT, "model.txt"), before)

    def test_a_failed_run_leaves_the_old_model_with_its_old_lineage(self):
        raw()
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1})
        before = lineage(Runs(CACHE), ROOT, "score.txt")
        raw("1\n3\n")
        score, train, clean = three()
        broken = Stage(train.name, lambda root, values: 1 / 0, train.deps, ["else"], train.params)
        score = Stage(score.name, score.run, ["else"], score.outs)
        with raises(ZeroDivisionError):
            Pipeline(ROOT, CACHE, [score, broken, clean]).repro({"lr": 0.1})
        assert_equal(content()["clean.csv"], b"1\n3\n")
        assert_equal(lineage(Runs(CACHE), ROOT, "score.txt"), before)

    def test_each_version_has_its_own(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        found = []
        for lr in (0.1, 0.2, 0.1):
            pipeline.repro({"lr": lr})
            found.append(lineage(Runs(CACHE), ROOT, "score.txt")["deps"][1]["params"]["lr"])
        assert_equal(found, [0.1, 0.2, 0.1])

    def test_an_edited_file_was_made_by_nobody(self):
        raw()
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1})
        (ROOT / "model.txt").write_bytes(b"mine\n")
        assert_equal(lineage(Runs(CACHE), ROOT, "model.txt"), source_of("model.txt", b"mine\n"))

    def test_the_contents_alone_arent_enough(self):
        # notes.txt has what clean.csv has, but no stage has made it.
        raw()
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1})
        (ROOT / "notes.txt").write_bytes(content()["clean.csv"])
        assert_equal(lineage(Runs(CACHE), ROOT, "notes.txt"), source_of("notes.txt", b"1\n2\n"))

    def test_of_several_runs_the_last(self):
        raw()
        pipeline = Pipeline(ROOT, CACHE, three())
        found = []
        for lr in (0.101, 0.102, 0.101):
            pipeline.repro({"lr": lr})
            found.append(lineage(Runs(CACHE), ROOT, "model.txt")["params"])
        assert_equal(found, [{"lr": 0.101}, {"lr": 0.102}, {"lr": 0.101}])

    def test_from_runs_alone(self):
        runs = Runs(CACHE)
        data = b"model"
        runs.remember("1", {"stage": "old", "params": {"a": 1}, "deps": {"x": "11"}, "outs": {"y": "22"}})
        runs.remember("2", {"stage": "new", "params": {"b": [2]}, "deps": {"y": "22"}, "outs": {"d/m": md5(data)}})
        (ROOT / "d").mkdir()
        (ROOT / "d/m").write_bytes(data)
        x = {"path": "x", "md5": "11", "stage": None, "params": {}, "deps": []}
        y = {"path": "y", "md5": "22", "stage": "old", "params": {"a": 1}, "deps": [x]}
        wanted = {"path": "d/m", "md5": md5(data), "stage": "new", "params": {"b": [2]}, "deps": [y]}
        assert_equal(lineage(runs, ROOT, "d/m"), wanted)

    def test_nothing_there(self):
        raw()
        Pipeline(ROOT, CACHE, three()).repro({"lr": 0.1})
        (ROOT / "model.txt").unlink()
        with raises(FileNotFoundError, "model.txt"):
            lineage(Runs(CACHE), ROOT, "model.txt")
