"""Judges k12_load_balancing by its rules written out, by simulated queues, by keys that move and work that is counted."""

import contextlib
import heapq
import math
import random
from collections import Counter
from functools import cache
from hashlib import sha256

import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, python_steps, raises
from katas.module_09_inference.k12_load_balancing import (
    Autoscaler,
    HashRing,
    HealthChecker,
    LeastConnections,
    PowerOfTwo,
    RoundRobin,
    fleet_cost,
    position,
)

pytestmark = [from_scratch("uhashring", "hash_ring"), pure()]


def seconds_waited(pick, done, arrivals: list[float], works: list[float], speeds: dict[str, float]) -> float:
    """The mean time between arrival and answer, if each server answers one request after the other."""
    free = dict.fromkeys(speeds, 0.0)
    ends: list[tuple[float, str]] = []
    total = 0.0
    for arrival, work in zip(arrivals, works, strict=True):
        while ends and ends[0][0] <= arrival:
            done(heapq.heappop(ends)[1])
        server = pick(list(speeds))
        free[server] = max(free[server], arrival) + work / speeds[server]
        heapq.heappush(ends, (free[server], server))
        total += free[server] - arrival
    return total / len(arrivals)


def traffic(rng, busy: float, servers: int, count: int = 2000) -> tuple[list[float], list[float]]:
    """Arrivals at random, and works of very different length with mean 1; the servers are `busy` of the time."""
    arrivals = rng.exponential(1 / (busy * servers), count).cumsum()
    works = rng.choice([0.5, 5.5], count, p=[0.9, 0.1])
    return arrivals.tolist(), works.tolist()


class TestRoundRobin:
    def test_the_example_worked_by_hand(self):
        balancer = RoundRobin({"a": 5, "b": 1, "c": 1})
        assert_equal("".join(balancer.pick(["a", "b", "c"]) for _ in range(14)), "aabacaa" * 2)

    @pytest.mark.parametrize(
        "up", [["b", "c", "a"], ["c", "a", "b"], {"a", "b", "c"}], ids=["list", "another list", "set"]
    )
    def test_equal_weights_go_round_in_their_order(self, up):
        balancer = RoundRobin({"c": 2, "a": 2, "b": 2})
        assert_equal("".join(balancer.pick(up) for _ in range(9)), "cabcabcab")

    @pytest.mark.parametrize("weights", [{"a": 1, "b": 2, "c": 4}, {"x": 3, "y": 1, "z": 3, "w": 5}, {"s": 7, "t": 4}])
    def test_as_often_as_the_weights_say_and_never_far_from_it(self, weights):
        balancer, all_of_them, found = RoundRobin(weights), sum(weights.values()), Counter()
        farthest = 0.0
        for turn in range(1, 10 * all_of_them + 1):
            found[balancer.pick(list(weights))] += 1
            farthest = max(farthest, *(abs(found[s] - turn * w / all_of_them) for s, w in weights.items()))
        assert_equal((dict(found), farthest < 1.5), ({s: 10 * w for s, w in weights.items()}, True))

    def test_equals_the_rule_written_out_as_servers_come_and_go(self, rng):
        weights = {"d": 3, "a": 1, "c": 5, "b": 2}
        balancer, scores, found, expected = RoundRobin(weights), dict.fromkeys(weights, 0), [], []
        for _ in range(300):
            up = sorted(server for server in weights if rng.random() < 0.7) or ["a"]
            for server in up:
                scores[server] += weights[server]
            best = max(weights, key=lambda s: scores[s] if s in up else -math.inf)
            scores[best] -= sum(weights[server] for server in up)
            found.append((balancer.pick(given := list(up)), given))
            expected.append((best, up))
        assert_equal(found, expected)

    def test_its_weights_are_its_own(self):
        weights = {"a": 1, "b": 1}
        balancer = RoundRobin(weights)
        weights["a"] = 9
        assert_equal("".join(balancer.pick(["a", "b"]) for _ in range(4)), "abab")

    def test_two_of_them_dont_meet(self):
        one, other = RoundRobin({"a": 1, "b": 1}), RoundRobin({"a": 1, "b": 1})
        assert_equal(
            [one.pick(list("ab")), other.pick(list("ab")), one.pick(list("ab")), one.pick(list("ab"))],
            ["a", "a", "b", "a"],
        )

    @pytest.mark.parametrize("up", [[], set()], ids=["list", "set"])
    def test_nobody_is_up(self, up):
        with raises(LookupError):
            RoundRobin({"a": 1}).pick(up)


class TestLeastConnections:
    def test_the_example_worked_by_hand(self):
        balancer, up = LeastConnections(["a", "b", "c"]), ["a", "b", "c"]
        found = [balancer.pick(up) for _ in range(4)]
        balancer.done("c")
        assert_equal([*found, balancer.pick(up), balancer.pick(up)], ["a", "b", "c", "a", "c", "b"])

    def test_the_attribute_counts_them(self):
        balancer = LeastConnections(["b", "a"])
        found = [dict(balancer.open)]
        for _ in range(3):
            balancer.pick({"a", "b"})
            found.append(dict(balancer.open))
        balancer.done("b")
        expected = [{"b": 0, "a": 0}, {"b": 1, "a": 0}, {"b": 1, "a": 1}, {"b": 2, "a": 1}, {"b": 1, "a": 1}]
        assert_equal([*found, dict(balancer.open)], expected)

    def test_an_idle_service_uses_all_its_servers(self):
        balancer, found = LeastConnections(["c", "a", "b"]), ""
        for _ in range(9):
            found += balancer.pick(["a", "b", "c"])
            balancer.done(found[-1])
        assert_equal(found, "cabcabcab")

    def test_only_servers_that_are_up(self):
        balancer = LeastConnections(["a", "b", "c"])
        found = "".join(balancer.pick(list(up)) for up in ("bc", "bc", "bc", "abc", "abc", "ab"))
        assert_equal((found, dict(balancer.open)), ("bcbaca", {"a": 2, "b": 2, "c": 2}))

    def test_equals_the_rule_written_out(self, rng):
        servers = ["d", "a", "c", "b", "e"]
        balancer, running, history, found, expected = LeastConnections(servers), [], [], [], []
        for _ in range(500):
            if running and rng.random() < 0.5:
                server = running.pop(int(rng.integers(len(running))))
                balancer.done(server)
                continue
            up = [str(s) for s in rng.permutation(servers)[: int(rng.integers(1, 6))]]
            latest = {s: max((i for i, x in enumerate(history) if x == s), default=-1) for s in servers}
            best = min(up, key=lambda s: (running.count(s), latest[s], servers.index(s)))
            found.append((balancer.pick(given := list(up)), given))
            expected.append((best, up))
            running.append(best)
            history.append(best)
        assert_equal(found, expected)

    @pytest.mark.parametrize("name", ["alpha", "beta"])
    def test_refuses_an_end_without_a_beginning(self, name):
        balancer = LeastConnections(["alpha", "beta"])
        balancer.pick(["alpha"])
        balancer.done("alpha")
        with raises(ValueError, name):
            balancer.done(name)

    def test_a_refused_end_changes_nothing(self):
        balancer = LeastConnections(["alpha", "beta"])
        for name in ("alpha", "beta"):
            with contextlib.suppress(ValueError):
                balancer.done(name)
        balancer.pick(["beta"])
        assert_equal(dict(balancer.open), {"alpha": 0, "beta": 1})

    @pytest.mark.parametrize("up", [[], set()], ids=["list", "set"])
    def test_nobody_is_up(self, up):
        with raises(LookupError):
            LeastConnections(["a"]).pick(up)

    def test_two_of_them_dont_meet(self):
        servers = ["a", "b"]
        one, other = LeastConnections(servers), LeastConnections(servers)
        assert_equal(
            [one.pick(list("ab")), one.pick(list("ab")), other.pick(list("ab")), dict(other.open)],
            ["a", "b", "a", {"a": 1, "b": 0}],
        )

    def test_waits_are_shorter_than_in_turn(self, rng):
        arrivals, works = traffic(rng, 0.8, 5)
        speeds = dict.fromkeys("abcde", 1.0)
        least, turn = LeastConnections(list(speeds)), RoundRobin(dict.fromkeys(speeds, 1))
        mine = seconds_waited(least.pick, least.done, arrivals, works, speeds)
        # The ratio is about 0.4, and below 0.55 for any seed.
        assert_equal(mine < 0.85 * seconds_waited(turn.pick, lambda server: None, arrivals, works, speeds), True)


class TestPowerOfTwo:
    def test_the_less_busy_of_two(self):
        balancer = PowerOfTwo(["a", "b"], random.Random(1))
        for _ in range(3):
            balancer.pick(["a"])
        assert_equal(
            ([balancer.pick(list("ab")) for _ in range(3)], dict(balancer.open)), (["b"] * 3, {"a": 3, "b": 3})
        )

    def test_how_often_each_is_picked(self, rng):
        names = ["idle", "one", "two", "three", "four"]
        balancer = PowerOfTwo(names, random.Random(int(rng.integers(1 << 30))))
        for connections, name in enumerate(names):
            for _ in range(connections):
                balancer.pick([name])
        found = Counter()
        for _ in range(3000):
            name = balancer.pick(set(names))
            found[name] += 1
            balancer.done(name)
        # Of ten pairs four have the idlest, three the next and so on.  Five standard deviations are 0.045.
        assert_close([found[name] / 3000 for name in names], [0.4, 0.3, 0.2, 0.1, 0.0], atol=0.045, rtol=0)
        assert_equal(found["four"], 0)

    def test_who_is_up_stays_as_it_is(self):
        balancer, up = PowerOfTwo(["a", "b", "c"], random.Random(1)), ["c", "a", "b"]
        for _ in range(20):
            balancer.pick(up)
        assert_equal(up, ["c", "a", "b"])

    def test_equally_busy_ones_are_equally_likely(self, rng):
        balancer, found = PowerOfTwo(["a", "b", "c", "d"], random.Random(int(rng.integers(1 << 30)))), Counter()
        for _ in range(3000):
            name = balancer.pick(list("abcd"))
            found[name] += 1
            balancer.done(name)
        # Five standard deviations are 0.04.
        assert_close([found[name] / 3000 for name in "abcd"], [0.25] * 4, atol=0.04, rtol=0)

    def test_the_fullest_isnt_much_fuller(self, rng):
        names = [f"server {i}" for i in range(50)]
        balancer = PowerOfTwo(names, random.Random(int(rng.integers(1 << 30))))
        for _ in range(1000):
            balancer.pick(names)
        # 20 on average: the fullest has 22 or 23, and would have about 30 if a single one was drawn.
        assert_equal((sum(balancer.open.values()), max(balancer.open.values()) <= 25), (1000, True))

    def test_only_servers_that_are_up(self):
        balancer = PowerOfTwo(["a", "b", "c"], random.Random(3))
        up = {"b", "c"}
        found = {balancer.pick(up) for _ in range(40)}
        assert_equal((found, up, balancer.open["a"], balancer.pick(["a"])), ({"b", "c"}, {"b", "c"}, 0, "a"))

    def test_all_chance_comes_from_the_rng_that_is_given(self):
        names, found = ["a", "b", "c", "d", "e"], []
        for start in (1, 2):
            random.seed(start)
            balancer = PowerOfTwo(names, random.Random(5))
            found.append([balancer.pick(names if start == 1 else set(names)) for _ in range(30)])
        assert_equal(found[0], found[1])

    def test_done_and_its_error(self):
        balancer = PowerOfTwo(["alpha", "beta"], random.Random(1))
        balancer.pick(["beta"])
        balancer.done("beta")
        with raises(ValueError, "beta"):
            balancer.done("beta")

    @pytest.mark.parametrize("up", [[], set()], ids=["list", "set"])
    def test_nobody_is_up(self, up):
        with raises(LookupError):
            PowerOfTwo(["a"], random.Random(1)).pick(up)

    def test_waits_are_shorter_than_with_one_choice(self, rng):
        arrivals, works = traffic(rng, 0.8, 8)
        speeds, chance = dict.fromkeys("abcdefgh", 1.0), random.Random(int(rng.integers(1 << 30)))
        two = PowerOfTwo(list(speeds), chance)
        mine = seconds_waited(two.pick, two.done, arrivals, works, speeds)
        # The ratio is about 0.4, and below 0.55 for any seed.
        assert_equal(mine < 0.7 * seconds_waited(chance.choice, lambda server: None, arrivals, works, speeds), True)


class TestPosition:
    def test_the_example_worked_by_hand(self):
        names = ["b#0", "c#0", "b#1", "a#1", "a#0", "c#1", "x", "eve", "user-1", "dan"]
        expected = [0x0A, 0x13, 0x38, 0x9F, 0xA0, 0xE8, 0x2D, 0x85, 0xC6, 0xEC]
        assert_equal([position(name) >> 56 for name in names], expected)

    @pytest.mark.parametrize("text", ["", "a", "user-17", "Zoë#3", "雪", "x" * 1000])
    def test_the_first_8_bytes(self, text):
        assert_equal(position(text), int(sha256(text.encode("utf-8")).hexdigest()[:16], 16))


@cache
def at(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")


def owners_written_out(servers, points: int, key: str) -> list[str]:
    """All servers, in the order in which the key meets them."""
    ring = sorted(((at(f"{s}#{i}") - at(key)) % 2**64, s) for s in servers for i in range(points))
    return list(dict.fromkeys(server for _, server in ring))


KEYS = [f"user-{i}" for i in range(1000)]


class TestHashRing:
    def test_the_example_worked_by_hand(self):
        ring = HashRing(["a", "b", "c"], 2)
        assert_equal([ring.owner(key) for key in ("x", "eve", "user-1", "dan")], ["b", "a", "c", "b"])
        assert_equal(ring.owners("eve", 3), ["a", "c", "b"])

    @pytest.mark.parametrize(("count", "points"), [(1, 1), (2, 1), (5, 1), (5, 7), (12, 30)])
    def test_equals_a_walk_around_the_ring(self, count, points):
        servers = [f"server-{i}" for i in range(count)]
        ring = HashRing(servers, points)
        keys = KEYS[:40]
        expected = [owners_written_out(servers, points, key) for key in keys]
        assert_equal([ring.owners(key, count) for key in keys], expected)
        assert_equal([ring.owner(key) for key in keys], [owners[0] for owners in expected])

    @pytest.mark.parametrize("key", ["a#0", "a#1", "b#0", "b#1", "c#0", "c#1"])
    def test_a_key_at_the_very_point_of_a_server(self, key):
        assert_equal(HashRing(["a", "b", "c"], 2).owner(key), key[0])

    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_so_many_owners(self, count):
        ring = HashRing(["a", "b", "c", "d", "e"], 5)
        found = [ring.owners(key, count) for key in KEYS[:40]]
        assert_equal(found, [owners_written_out("abcde", 5, key)[:count] for key in KEYS[:40]])

    def test_a_hundred_points_unless_it_is_said(self):
        ring = HashRing(["a", "b", "c"])
        keys = KEYS[:100]
        assert_equal([ring.owner(key) for key in keys], [owners_written_out("abc", 100, key)[0] for key in keys])

    def test_a_new_server_takes_its_share_and_nothing_else_moves(self):
        ring = HashRing([f"server-{i}" for i in range(9)])
        before = {key: ring.owner(key) for key in KEYS}
        ring.add("new")
        moved = [key for key in KEYS if ring.owner(key) != before[key]]
        # A tenth is expected.
        assert_equal(({ring.owner(key) for key in moved}, 50 < len(moved) < 150), ({"new"}, True))

    def test_a_server_that_goes_leaves_its_keys_to_all_others(self):
        ring = HashRing([f"server-{i}" for i in range(10)])
        before = {key: ring.owner(key) for key in KEYS}
        ring.remove("server-4")
        moved = {key for key in KEYS if ring.owner(key) != before[key]}
        assert_equal(moved, {key for key in KEYS if before[key] == "server-4"})
        assert_equal(len({ring.owner(key) for key in moved}), 9)

    def test_the_history_plays_no_role(self, rng):
        ring, servers = HashRing(["a", "b"], 6), {"a", "b"}
        found, expected = [], []
        for _ in range(30):
            name = str(rng.choice(list("abcdefgh")))
            if name in servers and len(servers) > 1:
                servers.remove(name)
                ring.remove(name)
            elif name not in servers:
                servers.add(name)
                ring.add(name)
            found.append([ring.owner(key) for key in KEYS[:20]])
            expected.append([owners_written_out(servers, 6, key)[0] for key in KEYS[:20]])
        assert_equal(found, expected)

    def test_names_that_begin_alike(self):
        ring = HashRing(["gpu-1", "gpu-11", "gpu"], 3)
        ring.remove("gpu-1")
        assert_equal(
            [ring.owners(key, 2) for key in KEYS[:30]],
            [owners_written_out(["gpu-11", "gpu"], 3, key) for key in KEYS[:30]],
        )

    def test_work_grows_like_the_logarithm(self):
        small, large = HashRing(["a", "b", "c", "d", "e"], 4), HashRing([f"server-{i}" for i in range(1000)], 8)
        few, many = (max(python_steps(ring.owner, key) for key in KEYS[:10]) for ring in (small, large))
        # 400 times as many points: a binary search makes 9 more turns.
        assert_equal((few < 200, many < few + 200), (True, True))

    def test_refuses_a_server_twice(self):
        ring = HashRing(["alpha"], 3)
        ring.add("beta")
        for name in ("alpha", "beta"):
            with raises(ValueError, name):
                ring.add(name)

    def test_refuses_to_remove_what_isnt_there(self):
        ring = HashRing(["alpha", "beta"], 3)
        ring.remove("beta")
        for name in ("beta", "gamma"):
            with raises(ValueError, name):
                ring.remove(name)

    @pytest.mark.parametrize(("servers", "count"), [(3, 4), (2, 7), (0, 1)])
    def test_refuses_more_owners_than_servers(self, servers, count):
        ring = HashRing([f"server {chr(97 + i)}" for i in range(servers)], 2)
        with raises(LookupError, count, servers):
            ring.owners("key", count)

    def test_nobody_owns_a_key_of_an_empty_ring(self):
        ring = HashRing(["a"], 2)
        ring.remove("a")
        with raises(LookupError):
            ring.owner("key")

    def test_two_of_them_dont_meet(self):
        one, other = HashRing(["a"], 3), HashRing(["b"], 3)
        one.add("c")
        assert_equal({other.owner(key) for key in KEYS[:50]}, {"b"})


def states(checker: HealthChecker, server: str, checks: str) -> str:
    """Whether the server is up after each check: "+" for up, "-" for down."""
    found = ""
    for check in checks:
        checker.report(server, check == "+")
        found += "+" if server in checker.up() else "-"
    return found


class TestHealthChecker:
    def test_the_example_worked_by_hand(self):
        checker = HealthChecker(["a", "b", "c"], 3, 2)
        assert_equal(states(checker, "a", "--+---" + "+-++"), "+++++-" + "---+")

    @pytest.mark.parametrize(("fall", "rise"), [(1, 1), (2, 3), (3, 2), (4, 1)])
    def test_equals_the_rule_written_out(self, rng, fall, rise):
        checks = "".join(rng.choice(list("+-"), 300))
        up, expected = True, ""
        for i in range(300):
            last = checks[: i + 1]
            if up and last.endswith("-" * fall):
                up = False
            elif not up and last.endswith("+" * rise):
                up = True
            expected += "+" if up else "-"
        assert_equal(states(HealthChecker(["a", "b", "c"], fall, rise), "a", checks), expected)

    def test_three_down_two_up_and_half_unless_it_is_said(self):
        checker = HealthChecker(["a", "b", "c"])
        found = states(checker, "a", "---++---")
        one_down = checker.up()
        for _ in range(3):
            checker.report("b", False)
        assert_equal((found, one_down, checker.up()), ("++--+++-", ["b", "c"], ["a", "b", "c"]))

    def test_in_the_order_of_the_servers(self):
        checker = HealthChecker(["c", "a", "d", "b"], 1, 1, 0.0)
        checker.report("c", False)
        checker.report("a", False)
        checker.report("c", True)
        assert_equal(checker.up(), ["c", "d", "b"])

    @pytest.mark.parametrize(
        ("panic", "down", "up"),
        [
            (0.5, "abc", "def"),
            (0.5, "abcd", "abcdef"),
            (0.4, "abcd", "abcdef"),
            (0.25, "abcd", "ef"),
            (0.25, "abcde", "abcdef"),
            (1.0, "a", "abcdef"),
        ],
    )
    def test_panic(self, panic, down, up):
        checker = HealthChecker(list("abcdef"), 1, 1, panic)
        for server in down:
            checker.report(server, False)
        assert_equal("".join(checker.up()), up)

    def test_if_all_are_down_all_are_used(self):
        checker = HealthChecker(["a", "b"], 1, 1)
        for server in "ab":
            checker.report(server, False)
        assert_equal(checker.up(), ["a", "b"])

    def test_without_panic_nobody_may_be_up(self):
        checker = HealthChecker(["a", "b"], 1, 1, 0.0)
        for server in "ab":
            checker.report(server, False)
        assert_equal(checker.up(), [])

    def test_panic_changes_nothing_about_who_is_healthy(self):
        checker = HealthChecker(["a", "b", "c", "d"], 2, 1, 0.75)
        for server in "aabb":
            checker.report(server, False)
        panicking = checker.up()
        checker.report("a", True)
        assert_equal((panicking, checker.up()), (["a", "b", "c", "d"], ["a", "c", "d"]))

    def test_servers_are_judged_apart(self):
        checker = HealthChecker(["a", "b", "c", "d"], 3, 2, 0.0)
        for server in "abababcc":
            checker.report(server, False)
        assert_equal(checker.up(), ["c", "d"])

    def test_what_is_handed_out_is_no_part_of_it(self):
        checker = HealthChecker(["a", "b"], 1, 1, 0.0)
        checker.up().clear()
        assert_equal(checker.up(), ["a", "b"])

    def test_two_of_them_dont_meet(self):
        servers = ["a", "b", "c"]
        one, other = HealthChecker(servers, 1, 1), HealthChecker(servers, 1, 1)
        one.report("a", False)
        assert_equal((one.up(), other.up()), (["b", "c"], ["a", "b", "c"]))


class TestAutoscaler:
    def test_the_example_worked_by_hand(self):
        scaler = Autoscaler(10, 1, 8, 60)
        updates = ((0, 2, 25), (20, 5, 4), (40, 5, 10.5), (60, 5, 2), (80, 5, 2), (101, 5, 2))
        assert_equal([scaler.update(*one) for one in updates], [5, 5, 5, 5, 5, 1])

    @pytest.mark.parametrize(
        ("replicas", "load", "result"),
        [
            (1, 8, 1),
            (3, 20, 8),
            (4, 8.5, 5),
            (4, 16, 8),
            (16, 8.015625, 17),
            (5, 100, 20),
            (3, 4, 2),
            (4, 4.5, 3),
            (10, 0, 2),
            (1, 0, 2),
        ],
    )
    def test_the_formula(self, replicas, load, result):
        assert_equal(Autoscaler(8, 2 if load == 0 else 1, 20, 0, 0.0).update(0, replicas, load), result)

    @pytest.mark.parametrize(
        ("load", "result"), [(9, 8), (9.25, 10), (7, 8), (6.75, 7), (8, 8)], ids=lambda value: str(value)
    )
    def test_a_little_off_the_target_is_good_enough(self, load, result):
        assert_equal(Autoscaler(8, 1, 50, 0, 0.125).update(0, 8, load), result)

    @pytest.mark.parametrize(("load", "result"), [(0.625, 10), (0.6875, 14), (0.375, 10), (0.3125, 7)])
    def test_the_tolerance_is_a_share_of_the_target(self, load, result):
        assert_equal(Autoscaler(0.5, 1, 50, 0, 0.25).update(0, 10, load), result)

    @pytest.mark.parametrize(("load", "result"), [(10.75, 10), (11.25, 12), (9.25, 10), (8.75, 9)])
    def test_a_tenth_unless_it_is_said(self, load, result):
        assert_equal(Autoscaler(10, 1, 50, 0).update(0, 10, load), result)

    def test_up_at_once(self):
        scaler = Autoscaler(10, 1, 50, 1000)
        assert_equal([scaler.update(t, n, load) for t, n, load in ((0, 2, 20), (1, 4, 20), (2, 8, 30))], [4, 8, 24])

    @pytest.mark.parametrize(("later", "result"), [(59.5, 6), (60, 6), (60.5, 3)])
    def test_down_after_the_cooldown(self, later, result):
        scaler = Autoscaler(10, 1, 50, 60)
        assert_equal([scaler.update(100, 6, 10), scaler.update(100 + later, 6, 5)], [6, result])

    def test_down_to_the_most_that_was_wanted_lately(self):
        scaler = Autoscaler(10, 1, 50, 60)
        updates = ((0, 10, 10), (30, 10, 6), (50, 10, 4), (61, 10, 2), (95, 6, 2), (120, 4, 2), (122, 2, 9.5))
        assert_equal([scaler.update(*one) for one in updates], [10, 10, 10, 6, 4, 2, 2])

    def test_never_more_than_there_are_because_of_the_past(self):
        scaler = Autoscaler(10, 1, 50, 60)
        # Somebody has taken machines away by hand.
        assert_equal([scaler.update(0, 9, 10), scaler.update(10, 3, 10), scaler.update(20, 3, 5)], [9, 3, 3])

    def test_between_least_and_most(self):
        scaler = Autoscaler(10, 3, 8, 60)
        updates = ((0, 5, 90), (100, 8, 0), (200, 12, 10), (300, 1, 10), (400, 8, 20), (500, 3, 5))
        assert_equal([scaler.update(*one) for one in updates], [8, 3, 8, 3, 8, 3])

    def test_what_was_wanted_is_limited_too(self):
        scaler = Autoscaler(10, 1, 6, 60)
        assert_equal([scaler.update(0, 4, 100), scaler.update(10, 6, 1), scaler.update(65, 6, 1)], [6, 6, 1])

    @pytest.mark.parametrize(("least", "most", "cooldown"), [(1, 30, 40), (2, 9, 15), (4, 4, 10), (1, 100, 0)])
    def test_equals_the_rules_written_out(self, rng, least, most, cooldown):
        found, expected = [], []
        for _ in range(10):
            scaler, history, now, replicas = Autoscaler(16, least, most, cooldown, 0.25), [], 0, 3
            for _ in range(60):
                now += int(rng.integers(0, 12))
                load = int(rng.integers(0, 40))
                wanted = replicas if 12 <= load <= 20 else -(-replicas * load // 16)
                history.append((now, sorted([least, wanted, most])[1]))
                highest = max(number for time, number in history if time >= now - cooldown)
                result = history[-1][1] if history[-1][1] > replicas else min(highest, replicas)
                found.append(scaler.update(now, replicas, load))
                expected.append(result)
                replicas = max(1, result + int(rng.integers(-1, 2)) * int(rng.random() < 0.1))
        assert_equal(found, expected)

    def test_a_load_that_swings_keeps_its_machines(self):
        # The demand swings between 40 and 80 every four minutes; the cooldown is five.
        scaler, replicas, changes = Autoscaler(10, 1, 50, 300), 4, 0
        for now in range(0, 7200, 15):
            demand = 60 + 20 * math.sin(2 * math.pi * now / 240)
            before, replicas = replicas, scaler.update(now, replicas, demand / replicas)
            changes += replicas != before
        assert_equal((replicas, changes < 10), (8, True))

    def test_two_of_them_dont_meet(self):
        one, other = Autoscaler(10, 1, 50, 60), Autoscaler(10, 1, 50, 60)
        assert_equal((one.update(0, 9, 10), other.update(10, 9, 1)), (9, 1))

    @pytest.mark.parametrize(("least", "most"), [(0, 5), (5, 4), (-1, 3)])
    def test_refuses_limits_that_cross(self, least, most):
        Autoscaler(10, 4, 4, 60)
        with raises(ValueError, least, most):
            Autoscaler(10, least, most, 60)


class TestFleetCost:
    def test_the_example_worked_by_hand(self):
        found = fleet_cost({"large": (4.0, 2500.0), "small": (0.45, 250.0)}, 1000.0, 0.5)
        assert_close(found, {"large": (1, 4 / 3.6), "small": (8, 1.0)})

    @pytest.mark.parametrize(
        ("demand", "utilization", "replicas"),
        [(1.0, 0.5, 1), (512.0, 0.5, 1), (513.0, 0.5, 2), (1024.0, 1.0, 1), (5000.0, 0.75, 7)],
    )
    def test_whole_machines(self, demand, utilization, replicas):
        found = fleet_cost({"gpu": (2.5, 1024.0)}, demand, utilization)
        assert_close(found, {"gpu": (replicas, replicas * 2.5 / 3600 / demand * 1_000_000)})
        assert_equal(isinstance(found["gpu"][0], int), True)

    def test_a_small_machine_is_cheaper_for_a_small_demand_and_a_large_one_for_a_large(self):
        options = {"large": (10.0, 4096.0), "small": (2.0, 512.0)}
        found = [fleet_cost(options, demand, 0.5) for demand in (100.0, 100_000.0)]
        assert_equal([min(one, key=lambda name: one[name][1]) for one in found], ["small", "large"])

    def test_no_options(self):
        assert_equal(fleet_cost({}, 100.0, 0.5), {})
