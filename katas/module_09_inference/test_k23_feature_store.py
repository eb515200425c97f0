"""Judges k23_feature_store against brute force, and its online stores on SQLite and on a Redis that is simulated."""

import copy
import itertools
import math
import sqlite3

import pytest

from dojo.testing import assert_equal, fail, from_scratch, raises
from katas.module_09_inference.k23_feature_store import (
    Entity,
    FeatureStore,
    FeatureView,
    RedisOnlineStore,
    SqliteOnlineStore,
    point_in_time_join,
    window_features,
)

pytestmark = from_scratch("feast", "pandas")

DRIVER = Entity("driver", "driver_id")
TRIPS = FeatureView("trips", DRIVER, ("trips", "rating"), 25)


def row(event: float, created: float, trips: object, key: object = 1, **more) -> dict:
    return {"driver_id": key, "event_timestamp": event, "created_timestamp": created, "trips": trips, **more}


DRAWN = [row(10, 12, 5), row(20, 33, 8), row(40, 41, 9)]


def asked(*times: float, key: object = 1) -> list[dict]:
    return [{"driver_id": key, "event_timestamp": at} for at in times]


def trips(view: FeatureView, rows: list[dict], *times: float, key: object = 1) -> list:
    return [one["trips"] for one in point_in_time_join(view, rows, asked(*times, key=key))]


def brute_force(view: FeatureView, rows: list[dict], key: object, at: float) -> dict:
    """The row that counts, by the formula: every row is looked at."""
    best = None
    for number, one in enumerate(rows):
        event, created = one["event_timestamp"], one["created_timestamp"]
        if type(one["driver_id"]) is not type(key) or one["driver_id"] != key or event > at or created > at:
            continue
        if best is None or (event, created, number) > best[:3]:
            best = (event, created, number, one)
    if best is None or (view.ttl is not None and at - best[0] > view.ttl):
        return dict.fromkeys(view.features)
    return {feature: best[3].get(feature) for feature in view.features}


def some_rows(rng, n: int, keys: int = 4) -> list[dict]:
    rows = []
    for number in range(n):
        event = int(rng.integers(0, 40))
        rows.append(row(event, event + int(rng.integers(0, 12)), number, int(rng.integers(keys)), rating=number / 4))
    return rows


class TestPointInTimeJoin:
    def test_the_example_worked_by_hand(self):
        found = trips(TRIPS, DRAWN, 10, 12, 15, 25, 33, 40, 41, 65, 66, 67)
        assert_equal(found, [None, 5, 5, 5, 8, 8, 9, 9, None, None])

    def test_what_is_in_the_entity_row_is_in_the_answer(self):
        found = point_in_time_join(TRIPS, DRAWN, [{"label": [1], "driver_id": 1, "event_timestamp": 15, "city": None}])
        expected = {"label": [1], "driver_id": 1, "event_timestamp": 15, "city": None, "trips": 5, "rating": None}
        assert_equal(found, [expected])

    def test_the_order_is_that_of_the_questions(self):
        assert_equal(trips(TRIPS, DRAWN, 41, 12, 33, 12), [9, 5, 8, 5])

    def test_rows_in_any_order(self):
        found = [trips(TRIPS, list(rows), 12, 33, 41) for rows in itertools.permutations(DRAWN)]
        assert_equal(found, [[5, 8, 9]] * 6)

    def test_each_has_its_own_rows(self):
        rows = [row(1, 1, "one", 1), row(2, 2, "two", 2), row(3, 3, "text", "1")]
        assert_equal([trips(TRIPS, rows, 9, key=key) for key in (1, 2, "1", 3)], [["one"], ["two"], ["text"], [None]])

    def test_a_late_row_counts_from_when_it_came(self):
        rows = [row(1, 1, "old"), row(2, 8, "late"), row(3, 5, "new")]
        assert_equal(trips(TRIPS, rows, 1, 2, 4, 5, 8, 9), ["old", "old", "old", "new", "new", "new"])

    def test_an_event_that_is_planned_is_still_to_come(self):
        assert_equal(trips(TRIPS, [row(1, 1, "now"), row(9, 2, "planned")], 1, 5, 8.5, 9), ["now"] * 3 + ["planned"])

    def test_a_correction_of_the_same_event(self):
        rows = [row(5, 9, "corrected"), row(5, 6, "first"), row(4, 20, "another")]
        assert_equal(trips(TRIPS, rows, 5, 6, 8, 9, 20), [None, "first", "first", "corrected", "corrected"])

    def test_of_equal_rows_the_last(self):
        rows = [row(5, 6, "a"), row(5, 6, "b"), row(4, 6, "c"), row(5, 6, "d"), row(3, 6, "e")]
        assert_equal(trips(TRIPS, rows, 6), ["d"])

    def test_too_old_is_too_old_though_an_older_one_is_there(self):
        # The newest known row decides; that it is too old isn't the other's luck.
        rows = [row(10, 10, "a"), row(12, 40, "b")]
        assert_equal(trips(TRIPS, rows, 35, 36, 37, 40), ["a", None, None, None])

    def test_without_a_ttl(self):
        view = FeatureView("trips", DRIVER, ("trips",))
        assert_equal(trips(view, DRAWN, 11, 1e9), [None, 9])

    def test_a_ttl_of_zero(self):
        view = FeatureView("trips", DRIVER, ("trips",), 0)
        assert_equal(trips(view, [row(5, 5, "a")], 5, 6), ["a", None])

    @pytest.mark.parametrize("value", [0, "", False, [], 0.0])
    def test_values_that_are_no_truth(self, value):
        assert_equal(trips(TRIPS, [row(1, 1, "x"), row(2, 2, value)], 3), [value])

    def test_values_of_many_digits(self):
        assert_equal(trips(TRIPS, [row(1, 1, 1790812800.125)], 3), [1790812800.125])

    def test_none_and_missing(self):
        rows = [row(1, 1, 7, rating=3.5), row(2, 2, None)]
        found = point_in_time_join(TRIPS, rows, asked(1, 2))
        assert_equal([(one["trips"], one["rating"]) for one in found], [(7, 3.5), (None, None)])

    @pytest.mark.parametrize("ttl", [None, 3, 12])
    @pytest.mark.parametrize("n", [0, 5, 200])
    def test_equals_brute_force(self, rng, n, ttl):
        view, rows = FeatureView("trips", DRIVER, ("trips", "rating"), ttl), some_rows(rng, n)
        questions = [
            {"driver_id": int(rng.integers(5)), "event_timestamp": int(rng.integers(0, 60))} for _ in range(150)
        ]
        expected = [one | brute_force(view, rows, one["driver_id"], one["event_timestamp"]) for one in questions]
        assert_equal(point_in_time_join(view, rows, questions), expected)

    def test_nothing_is_changed(self):
        rows, questions = copy.deepcopy(DRAWN), asked(15, 33)
        found = point_in_time_join(TRIPS, rows, questions)
        found[0]["event_timestamp"] = found[0]["new"] = 0
        assert_equal((rows, questions), (DRAWN, asked(15, 33)))

    def test_of_nobody(self):
        assert_equal(point_in_time_join(TRIPS, DRAWN, []), [])


def database(labels: list[tuple], events: list[tuple]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE labels (id INTEGER, user TEXT, at REAL)")
    connection.execute("CREATE TABLE events (user TEXT, at REAL, amount REAL)")
    connection.executemany("INSERT INTO labels VALUES (?, ?, ?)", labels)
    connection.executemany("INSERT INTO events VALUES (?, ?, ?)", events)
    connection.commit()
    return connection


EVENTS = [("ann", 8, 1.0), ("ann", 3, 2.5), ("ann", 20, 4.0)]


class TestWindowFeatures:
    def windows(self, labels, events, window: float) -> list[tuple]:
        return [tuple(one) for one in window_features(database(labels, events), window)]

    def test_the_example_worked_by_hand(self):
        labels = [(1, "ann", 12), (2, "ann", 13), (3, "ann", 19), (4, "bob", 19)]
        expected = [(1, 2, 3.5, 4.0), (2, 1, 1.0, 5.0), (3, 0, 0.0, 11.0), (4, 0, 0.0, None)]
        assert_equal(self.windows(labels, EVENTS, 10), expected)

    def test_both_ends(self):
        events = [("a", 5, 1.0), ("a", 10, 2.0), ("a", 15, 4.0), ("a", 15.001, 8.0)]
        assert_equal(self.windows([(1, "a", 15)], events, 10), [(1, 2, 6.0, 0.0)])

    def test_users_whose_events_all_come_later(self):
        assert_equal(
            self.windows([(1, "a", 5), (2, "b", 5)], [("a", 9, 1.0)], 10), [(1, 0, 0.0, None), (2, 0, 0.0, None)]
        )

    def test_equal_events_count_each(self):
        assert_equal(self.windows([(7, "a", 3)], [("a", 2, 1.5)] * 3 + [("b", 2, 9.0)], 5), [(7, 3, 4.5, 1.0)])

    def test_equal_labels_have_their_own_lines(self):
        labels = [(3, "a", 2), (1, "a", 2), (2, "b", 2)]
        assert_equal(self.windows(labels, [("a", 1, 1.0)], 5), [(1, 1, 1.0, 1.0), (2, 0, 0.0, None), (3, 1, 1.0, 1.0)])

    def test_in_order_of_the_ids(self):
        labels = [(10, "a", 1), (9, "a", 1), (100, "a", 1), (-1, "a", 1)]
        assert_equal([one[0] for one in self.windows(labels, [], 5)], [-1, 9, 10, 100])

    def test_amounts_of_any_sign(self):
        assert_equal(
            self.windows([(1, "a", 9)], [("a", 8, -2.0), ("a", 9, 0.0), ("a", 7, 0.5)], 5), [(1, 3, -1.5, 0.0)]
        )

    def test_numbers_of_many_digits(self):
        found = self.windows([(1, "a", 5000.0625)], [("a", 2.03125, 4097.125), ("a", 3.03125, 0.0625)], 9000)
        assert_equal(found, [(1, 2, 4097.1875, 4997.03125)])

    def test_it_is_a_list(self):
        assert_equal(isinstance(window_features(database([(1, "a", 5)], []), 3), list), True)

    def test_nothing_at_all(self):
        assert_equal((self.windows([], EVENTS, 5), self.windows([(1, "x", 5)], [], 5)), ([], [(1, 0, 0.0, None)]))

    def test_the_types(self):
        found = self.windows([(1, "ann", 12), (2, "bob", 3)], EVENTS, 10)
        kinds = [[type(value).__name__ for value in one] for one in found]
        assert_equal(kinds, [["int", "int", "float", "float"], ["int", "int", "float", "NoneType"]])

    @pytest.mark.parametrize("window", [0.5, 4, 30])
    def test_equals_brute_force(self, rng, window):
        labels = [(i, f"user{rng.integers(5)}", int(rng.integers(0, 60)) / 2) for i in range(40)]
        events = [
            (f"user{rng.integers(4)}", int(rng.integers(0, 60)) / 2, int(rng.integers(9)) / 4) for _ in range(120)
        ]
        expected = []
        for number, user, at in labels:
            before = [(then, amount) for name, then, amount in events if name == user and then <= at]
            inside = [amount for then, amount in before if then > at - window]
            last = at - max(then for then, _ in before) if before else None
            expected.append((number, len(inside), float(sum(inside)), last))
        assert_equal(self.windows(labels, events, window), expected)

    def test_one_select_that_changes_nothing(self):
        connection = database([(1, "ann", 12), (2, "bob", 13)], EVENTS)
        tables = connection.execute("SELECT * FROM sqlite_master").fetchall()
        changes, statements = connection.total_changes, []
        connection.set_trace_callback(statements.append)
        window_features(connection, 10)
        connection.set_trace_callback(None)
        asked = [one for one in statements if not one.lstrip().startswith("--")]
        assert_equal(len(asked), 1)
        assert_equal(asked[0].split()[0].upper() in ("SELECT", "WITH"), True)
        after = connection.execute("SELECT * FROM sqlite_master").fetchall()
        assert_equal((connection.total_changes - changes, after), (0, tables))


def fake(decode: bool = True):
    fakeredis = pytest.importorskip(
        "fakeredis", reason="needs the extra `serving`: pip install -c constraints.txt -e '.[serving]'"
    )
    return fakeredis.FakeRedis(decode_responses=decode)


VALUES = {
    "trips": 3,
    "rating": 4.5,
    "name": "Zoë",
    "new": False,
    "none": None,
    "list": [1, [2.5, "x"]],
    "dict": {"a": {}},
}


class OfAnyKind:
    """What holds for both online stores; `store` makes a new and empty one."""

    def store(self, tmp_path):
        raise NotImplementedError

    def test_what_was_written(self, tmp_path):
        store = self.store(tmp_path)
        store.write("trips", 1, 10.5, 12.0, VALUES)
        event, values = store.read("trips", 1)
        assert_equal((event, values), (10.5, VALUES))
        assert_equal([type(values[name]) for name in VALUES], [type(value) for value in VALUES.values()])

    def test_nothing_yet(self, tmp_path):
        store = self.store(tmp_path)
        assert_equal((store.read("trips", 1), store.newest("trips")), (None, None))
        store.write("trips", 1, 1.0, 1.0, {})
        assert_equal((store.read("trips", 1), store.read("trips", 2), store.newest("pages")), ((1.0, {}), None, None))

    def test_views_and_keys_of_their_own(self, tmp_path):
        store, keys = self.store(tmp_path), [1, "1", 11, "a", "", "a:b", "null", -1, "é"]
        for number, (view, key) in enumerate(itertools.product(["a", "b", "a_b"], keys)):
            store.write(view, key, float(number), 0.0, {"n": number})
        found = [store.read(view, key) for view, key in itertools.product(["a", "b", "a_b"], keys)]
        assert_equal(found, [(float(number), {"n": number}) for number in range(27)])

    @pytest.mark.parametrize(
        ("second", "wins"),
        [
            ((11, 1), True),
            ((9, 99), False),
            ((10, 13), True),
            ((10, 11), False),
            ((10, 12), True),
            ((100, 101), True),
            ((9.5, 12), False),
        ],
    )
    def test_the_newer_one_wins(self, tmp_path, second, wins):
        store = self.store(tmp_path)
        store.write("trips", 1, 10.0, 12.0, {"n": "first", "more": 1})
        store.write("trips", 1, float(second[0]), float(second[1]), {"n": "second"})
        expected = (float(second[0]), {"n": "second"}) if wins else (10.0, {"n": "first", "more": 1})
        assert_equal(store.read("trips", 1), expected)

    def test_a_third_one_is_compared_with_the_second(self, tmp_path):
        store = self.store(tmp_path)
        for event, created in [(10, 12), (10, 20), (10, 15), (12, 12), (11, 30)]:
            store.write("trips", 1, float(event), float(created), {"n": [event, created]})
        assert_equal(store.read("trips", 1), (12.0, {"n": [12, 12]}))

    def test_the_newest_event(self, tmp_path):
        store, found = self.store(tmp_path), []
        for view, key, event in [("a", 1, 5), ("a", 2, 3), ("b", 1, 50), ("a", 1, 4), ("a", 3, 12), ("a", 2, 9)]:
            store.write(view, key, float(event), float(event), {})
            found.append(store.newest("a"))
        assert_equal((found, store.newest("b")), ([5.0, 5.0, 5.0, 5.0, 12.0, 12.0], 50.0))

    def test_times_as_they_are_today(self, tmp_path):
        store = self.store(tmp_path)
        store.write("a", 1, 1790812800.123457, 1790812801.5, {"n": 1})
        store.write("a", 1, 1790812800.123456, 1790812999.5, {"n": 2})
        assert_equal((store.read("a", 1), store.newest("a")), ((1790812800.123457, {"n": 1}), 1790812800.123457))

    def test_times_below_zero(self, tmp_path):
        store = self.store(tmp_path)
        store.write("a", 1, -5.0, -4.0, {"n": 1})
        store.write("a", 2, -9.0, -4.0, {"n": 2})
        assert_equal((store.read("a", 1), store.newest("a")), ((-5.0, {"n": 1}), -5.0))

    def test_equals_brute_force(self, tmp_path, rng):
        store, best = self.store(tmp_path), {}
        for number in range(200):
            view, key = "ab"[rng.integers(2)], int(rng.integers(4))
            age = (float(rng.integers(6)), float(rng.integers(4)))
            store.write(view, key, *age, {"n": number})
            if (view, key) not in best or age >= best[view, key][0]:
                best[view, key] = (age, number)
        found = {(view, key): store.read(view, key) for view, key in best}
        assert_equal(found, {place: (age[0], {"n": number}) for place, (age, number) in best.items()})

    def test_values_are_copies(self, tmp_path):
        store, values = self.store(tmp_path), {"list": [1]}
        store.write("a", 1, 1.0, 1.0, values)
        values["list"].append(2)
        store.read("a", 1)[1]["list"].append(3)
        assert_equal((store.read("a", 1), values), ((1.0, {"list": [1]}), {"list": [1, 2]}))


class TestSqliteOnlineStore(OfAnyKind):
    def store(self, tmp_path):
        return SqliteOnlineStore(str(tmp_path / "online.db"))

    def test_another_one_on_the_same_path(self, tmp_path):
        one, other = self.store(tmp_path), self.store(tmp_path)
        one.write("a", 1, 5.0, 5.0, {"n": 1})
        found = [other.read("a", 1)]
        other.write("a", 1, 6.0, 6.0, {"n": 2})
        one.write("a", 1, 4.0, 9.0, {"n": 3})
        assert_equal(
            [*found, one.read("a", 1), self.store(tmp_path).newest("a")], [(5.0, {"n": 1}), (6.0, {"n": 2}), 6.0]
        )

    def test_it_is_on_disk(self, tmp_path):
        store = self.store(tmp_path)
        store.write("a", "key", 5.0, 5.0, {"n": "kept"})
        del store
        assert_equal(self.store(tmp_path).read("a", "key"), (5.0, {"n": "kept"}))

    def test_two_paths_share_nothing(self, tmp_path):
        one, other = SqliteOnlineStore(str(tmp_path / "one")), SqliteOnlineStore(str(tmp_path / "other"))
        one.write("a", 1, 5.0, 5.0, {})
        assert_equal((one.newest("a"), other.newest("a"), other.read("a", 1)), (5.0, None, None))

    @pytest.mark.parametrize("text", ["'; DROP TABLE online; --", 'a"b', "a'b", "%", "_"])
    def test_texts_are_never_sql(self, tmp_path, text):
        store = self.store(tmp_path)
        store.write(text, text, 5.0, 5.0, {text: text})
        store.write("x", "x", 1.0, 1.0, {})
        found = (store.read(text, text), store.newest(text), store.read("x", "x"), store.read("x", text))
        assert_equal(found, ((5.0, {text: text}), 5.0, (1.0, {}), None))


class TestRedisOnlineStore(OfAnyKind):
    def store(self, tmp_path):
        return RedisOnlineStore(fake())

    def test_a_client_that_gives_bytes(self):
        store = RedisOnlineStore(fake(decode=False))
        store.write("a", "é", 5.0, 6.0, VALUES)
        store.write("a", "é", 4.0, 6.0, {})
        store.write("a", 2, 9.0, 6.0, {})
        assert_equal((store.read("a", "é"), store.read("a", 3), store.newest("a")), ((5.0, VALUES), None, 9.0))

    def test_two_on_one_redis(self):
        client = fake()
        one, other = RedisOnlineStore(client), RedisOnlineStore(client)
        one.write("a", 1, 5.0, 5.0, {"n": 1})
        other.write("a", 1, 4.0, 9.0, {"n": 2})
        assert_equal((other.read("a", 1), other.newest("a")), ((5.0, {"n": 1}), 5.0))

    def test_its_keys_begin_with_features(self):
        client = fake()
        client.set("a", "theirs")
        store = RedisOnlineStore(client)
        store.write("a", 1, 5.0, 5.0, {"n": 1})
        store.read("a", 1)
        store.newest("a")
        keys = client.keys()
        assert_equal((len(keys) > 1, {key for key in keys if not key.startswith("features:")}), (True, {"a"}))
        assert_equal(client.get("a"), "theirs")

    def test_newest_does_not_look_at_every_key(self):
        store = RedisOnlineStore(fake())
        for key in range(300):
            store.write("a", key, float(key), 0.0, {"text": "x" * 20})
        seen = []

        class Watched:
            """Hands on all calls, and notes how long the answers are."""

            def __init__(self, client):
                self.client = client

            def __getattr__(self, name):
                attribute = getattr(self.client, name)
                if not callable(attribute):
                    return attribute

                def call(*args, **more):
                    answer = attribute(*args, **more)
                    if name in ("scan_iter", "hscan_iter", "zscan_iter", "sscan_iter"):
                        answer = list(answer)
                    seen.append(len(repr(answer)))
                    return Watched(answer) if name == "pipeline" else answer

                return call

        for name, value in list(vars(store).items()):
            if type(value).__name__.endswith("Redis"):
                setattr(store, name, Watched(value))
        found = store.newest("a")
        if sum(seen) > 1000:
            fail(f"newest() reads {sum(seen)} characters for 300 keys. Keep the newest event.", evidence="all of it")
        assert_equal(found, 299.0)


class Memory:
    """An online store in a dict, for the tests; it counts what is asked."""

    def __init__(self):
        self.rows, self.reads = {}, 0

    def write(self, view, key, event, created, values):
        old = self.rows.get((view, key))
        if old is None or (event, created) >= old[:2]:
            self.rows[view, key] = (event, created, copy.deepcopy(values))

    def read(self, view, key):
        self.reads += 1
        found = self.rows.get((view, key))
        return None if found is None else (found[0], copy.deepcopy(found[2]))

    def newest(self, view):
        return max((one[0] for (name, _), one in self.rows.items() if name == view), default=None)


PAGES = FeatureView("pages", Entity("page", "page_id"), ("trips", "clicks"))
BOTH = ["trips:trips", "pages:clicks", "pages:trips"]


def page(event: float, created: float, key: str, **features) -> dict:
    return {"page_id": key, "event_timestamp": event, "created_timestamp": created, **features}


def filled(online=None) -> FeatureStore:
    store = FeatureStore(Memory() if online is None else online)
    store.apply(TRIPS, PAGES)
    store.ingest("trips", DRAWN)
    store.ingest(
        "pages", [page(1, 2, "home", clicks=7, trips="x"), page(30, 30, "home", clicks=8), page(5, 5, "faq", clicks=0)]
    )
    return store


def question(at: float, **more) -> dict:
    return {"driver_id": 1, "page_id": "home", "event_timestamp": at, **more}


class TestFeatureStore:
    def test_historical_features_of_two_views(self):
        found = filled().get_historical_features([question(15, label=1), question(33, label=0)], BOTH)
        expected = [
            question(15, label=1) | {"trips__trips": 5, "pages__clicks": 7, "pages__trips": "x"},
            question(33, label=0) | {"trips__trips": 8, "pages__clicks": 8, "pages__trips": None},
        ]
        assert_equal(found, expected)

    def test_only_what_was_asked_for(self):
        store = filled()
        found = store.get_historical_features(asked(15), ["trips:rating"])
        assert_equal(
            (found, store.get_historical_features(asked(15), [])), ([asked(15)[0] | {"trips__rating": None}], asked(15))
        )

    def test_rows_that_come_later(self):
        store, found = filled(), []
        for event, created, n in [(13, 14, "new"), (11, 14, "old"), (13, 14, "same")]:
            store.ingest("trips", [row(event, created, n)])
            found.append(store.get_historical_features(asked(14), ["trips:trips"])[0]["trips__trips"])
        assert_equal(found, ["new", "new", "same"])

    def test_views_without_rows(self):
        store = FeatureStore(Memory())
        store.apply(TRIPS)
        store.materialize(100)
        found = store.get_historical_features(asked(5), ["trips:trips"]) + store.get_online_features(
            asked(5), ["trips:trips"], 5
        )
        assert_equal(found, [asked(5)[0] | {"trips__trips": None}] * 2)

    @pytest.mark.parametrize("name", ["trips:speed", "page:clicks", "trips", "clicks", ":", "driver:trips"])
    def test_features_that_there_are_not(self, name):
        store = filled()
        for call in (store.get_historical_features, lambda rows, names: store.get_online_features(rows, names, 50)):
            with raises(KeyError, name):
                call([question(15)], ["trips:trips", name])

    def test_the_same_view_again_and_another_of_its_name(self):
        store = filled()
        store.apply(TRIPS)
        store.apply(copy.deepcopy(TRIPS))
        found = store.get_historical_features(asked(15), ["trips:trips"])[0]["trips__trips"]
        with raises(ValueError, "trips"):
            store.apply(FeatureView("new", DRIVER, ("n",)), FeatureView("trips", DRIVER, ("trips",), 25))
        with raises(KeyError, "new"):
            store.ingest("new", [])
        assert_equal(found, 5)

    def test_two_of_one_name_at_once(self):
        store = FeatureStore(Memory())
        store.apply(FeatureView("b", DRIVER, ("n",)), FeatureView("b", DRIVER, ("n",)))
        with raises(ValueError, "a"):
            store.apply(FeatureView("a", DRIVER, ("n",)), FeatureView("a", DRIVER, ("n",), 3))

    @pytest.mark.parametrize("column", ["driver_id", "event_timestamp", "created_timestamp"])
    def test_rows_that_lack_a_column(self, column):
        store = filled()
        bad = {name: value for name, value in row(13, 13, "bad").items() if name != column}
        with raises(ValueError, column):
            store.ingest("trips", [row(14, 14, "taken"), bad])
        assert_equal(store.get_historical_features(asked(15), ["trips:trips"])[0]["trips__trips"], 5)

    def test_rows_of_an_unknown_view(self):
        with raises(KeyError, "speeds"):
            filled().ingest("speeds", [row(1, 1, 1)])

    def test_rows_are_copied(self):
        store, rows = filled(), [row(14, 14, [1])]
        store.ingest("trips", rows)
        rows[0]["trips"].append(2)
        rows[0]["event_timestamp"] = 0
        found = store.get_historical_features(asked(15), ["trips:trips"])
        assert_equal([found[0]["trips__trips"], rows[0]["event_timestamp"]], [[1], 0])

    def test_rows_may_be_a_generator(self):
        store = filled()
        store.ingest("trips", (row(at, at, at) for at in (13, 14)))
        assert_equal(store.get_historical_features(asked(15), ["trips:trips"])[0]["trips__trips"], 14)

    def test_materialize_writes_the_newest_known_row(self):
        online, found = Memory(), []
        store = filled(online)
        for until in (11, 12, 32, 33, 100):
            store.materialize(until)
            found.append({place: one[0] for place, one in online.rows.items()})
        home = {("pages", "home"): 1, ("pages", "faq"): 5}
        later = {("pages", "home"): 30, ("pages", "faq"): 5}
        expected = [
            home,
            home | {("trips", 1): 10},
            later | {("trips", 1): 10},
            later | {("trips", 1): 20},
            later | {("trips", 1): 40},
        ]
        assert_equal(found, expected)

    def test_materialize_writes_all_features_and_nothing_else(self):
        online = Memory()
        store = filled(online)
        store.ingest("trips", [row(14, 14, 6, key=2, rating=1.5, extra="no")])
        store.materialize(20)
        found = {place: one[2] for place, one in online.rows.items() if place[0] == "trips"}
        assert_equal(found, {("trips", 1): {"trips": 5, "rating": None}, ("trips", 2): {"trips": 6, "rating": 1.5}})

    def test_old_rows_are_materialized_too(self):
        online = Memory()
        store = filled(online)
        store.materialize(1000)
        assert_equal(online.read("trips", 1), (40, {"trips": 9, "rating": None}))

    def test_an_earlier_time_brings_nothing_back(self):
        online = Memory()
        store = filled(online)
        store.materialize(41)
        store.materialize(15)
        assert_equal(online.read("trips", 1)[0], 40)

    def test_a_correction_reaches_the_online_store(self):
        online = Memory()
        store = filled(online)
        store.materialize(41)
        store.ingest("trips", [row(40, 42, "corrected"), row(40, 41.5, "earlier")])
        store.materialize(50)
        assert_equal(online.read("trips", 1)[1]["trips"], "corrected")

    def test_online_features(self):
        store = filled()
        store.materialize(33)
        rows = [{"driver_id": 1, "page_id": "faq", "x": 1}, {"driver_id": 2, "page_id": "home"}]
        found = store.get_online_features(rows, BOTH, 34)
        expected = [
            rows[0] | {"trips__trips": 8, "pages__clicks": 0, "pages__trips": None},
            rows[1] | {"trips__trips": None, "pages__clicks": 8, "pages__trips": None},
        ]
        assert_equal(found, expected)

    def test_the_ttl_online(self):
        store, row = filled(), {"driver_id": 1, "page_id": "home"}
        store.materialize(33)
        found = [store.get_online_features([row], BOTH, now)[0] for now in (45, 45.5, 1e6)]
        assert_equal([(one["trips__trips"], one["pages__clicks"]) for one in found], [(8, 8), (None, 8), (None, 8)])

    def test_online_features_come_from_the_online_store_alone(self):
        online = Memory()
        store = filled(online)
        found = [store.get_online_features([{"driver_id": 1}], ["trips:trips"], 50)[0]["trips__trips"]]
        online.write("trips", 1, 49.0, 49.0, {"trips": "other", "rating": 2})
        found.append(store.get_online_features([{"driver_id": 1}], ["trips:trips"], 50)[0]["trips__trips"])
        assert_equal(found, [None, "other"])

    def test_a_store_that_was_written_to_before(self):
        online = Memory()
        first = filled(online)
        first.materialize(41)
        second = FeatureStore(online)
        second.apply(TRIPS)
        found = second.get_online_features([{"driver_id": 1}], ["trips:trips"], 50)
        assert_equal((found[0]["trips__trips"], second.freshness("trips", 50)), (9, 10))

    @pytest.mark.parametrize("ttl", [None, 4, 15])
    def test_online_equals_historical(self, rng, ttl):
        view = FeatureView("trips", DRIVER, ("trips", "rating"), ttl)
        store, rows = FeatureStore(Memory()), some_rows(rng, 120)
        store.apply(view)
        keys = [{"driver_id": key} for key in range(5)]
        names = ["trips:rating", "trips:trips"]
        for number, at in enumerate(range(0, 60, 6)):
            store.ingest("trips", rows[12 * number : 12 * (number + 1)])
            store.materialize(at)
            online = store.get_online_features(keys, names, at)
            past = store.get_historical_features([one | {"event_timestamp": at} for one in keys], names)
            expected = [
                one
                | {"event_timestamp": at}
                | {
                    f"trips__{k}": v
                    for k, v in brute_force(view, rows[: 12 * (number + 1)], one["driver_id"], at).items()
                }
                for one in keys
            ]
            assert_equal([one | {"event_timestamp": at} for one in online], expected)
            assert_equal(past, expected)

    def test_freshness(self):
        store = filled()
        found = [store.freshness("trips", 30)]
        store.materialize(33)
        found += [store.freshness("trips", 34), store.freshness("pages", 34), store.freshness("trips", 20)]
        assert_equal(found, [math.inf, 14, 4, 0])

    def test_numbers_of_many_digits(self):
        store = FeatureStore(Memory())
        store.apply(TRIPS)
        rows = [row(10.25, 10.5, 4097.125)]
        store.ingest("trips", rows)
        store.materialize(11)
        past, now = (
            store.get_historical_features(asked(12), ["trips:trips"]),
            store.get_online_features(asked(12), ["trips:trips"], 12),
        )
        found = (past[0]["trips__trips"], now[0]["trips__trips"], store.freshness("trips", 5000.5), rows)
        assert_equal(found, (4097.125, 4097.125, 4990.25, [row(10.25, 10.5, 4097.125)]))

    def test_an_event_at_0_is_one(self):
        online = Memory()
        store = filled(online)
        online.write("trips", 1, 0.0, 0.0, {"trips": 1, "rating": 2})
        assert_equal(store.freshness("trips", 7), 7)

    def test_freshness_of_an_unknown_view(self):
        with raises(KeyError, "speeds"):
            filled().freshness("speeds", 1)

    def test_nothing_is_changed(self):
        store, rows, names = filled(), [question(15)], list(BOTH)
        store.materialize(33)
        found = store.get_historical_features(rows, names) + store.get_online_features(rows, names, 34)
        for one in found:
            one["event_timestamp"] = 0
        assert_equal((rows, names), ([question(15)], BOTH))

    def test_two_of_them_share_nothing(self):
        one, other = filled(), FeatureStore(Memory())
        with raises(KeyError, "trips"):
            other.get_historical_features(asked(15), ["trips:trips"])
        other.apply(TRIPS)
        found = [store.get_historical_features(asked(15), ["trips:trips"])[0]["trips__trips"] for store in (one, other)]
        assert_equal(found, [5, None])

    @pytest.mark.parametrize("kind", ["sqlite", "redis"])
    def test_with_the_stores_of_your_own(self, tmp_path, kind):
        online = SqliteOnlineStore(str(tmp_path / "online.db")) if kind == "sqlite" else RedisOnlineStore(fake())
        store = FeatureStore(online)
        store.apply(TRIPS, PAGES)
        store.ingest("trips", [*DRAWN, row(4, 5, "text", "1")])
        store.ingest("pages", [page(1, 2, "home", clicks=[7])])
        found = []
        for now in (20, 41, 30):
            store.materialize(now)
            rows = [{"driver_id": key, "page_id": "home"} for key in (1, "1")]
            found.append(
                [(one["trips__trips"], one["pages__clicks"]) for one in store.get_online_features(rows, BOTH, 42)]
            )
        assert_equal(found, [[(None, [7]), (None, [7])], [(9, [7]), (None, [7])], [(9, [7]), (None, [7])]])
        assert_equal(store.freshness("trips", 42), 2)
