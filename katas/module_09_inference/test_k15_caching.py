"""Judges k15_caching against functools, brute force and rules written out, and its concurrency on a simulated clock."""

import asyncio
import gc
import weakref

import numpy as np
import pytest

from dojo.testing import assert_equal, fail, from_scratch, python_steps, raises
from fixtures.faults import Busy, Refused, Server, now, outcome
from katas.module_09_inference.k15_caching import (
    LfuCache,
    LruCache,
    PrefixCache,
    SemanticCache,
    SingleFlight,
    TtlCache,
)

pytestmark = from_scratch("cachetools", "functools.lru_cache", "functools.cache")

NOTHING = "nothing"
KEYS = [1, "1", (1,), "(1,)", None, "None", b"1", frozenset([1])]


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Counted:
    """A key that counts how often any key is hashed or compared."""

    looks = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        Counted.looks += 1
        return hash(self.number)

    def __eq__(self, other: object) -> bool:
        Counted.looks += 1
        return isinstance(other, Counted) and self.number == other.number


class Thing:
    """A value of which one can ask whether anybody still holds it."""


def play(cache, trace: str) -> list:
    """What the gets of a trace find: "a1 b2 a? c3" puts 1, 2 under a, b, gets a, and puts 3 under c."""
    found = []
    for step in trace.split():
        if step[1:] == "?":
            found.append(cache.get(step[0], NOTHING))
        else:
            cache.put(step[0], int(step[1:]))
    return found


def looks_a_call(cache, rng, size: int, calls: int = 200) -> float:
    """How many keys, and lines of Python, a call looks at on average, in a full cache."""
    for number in range(size):
        cache.put(Counted(number), number)
    numbers = iter([int(number) for number in rng.integers(0, 2 * size, 4 * calls)])

    def some_calls():
        for _ in range(calls // 2):
            cache.get(Counted(next(numbers)))
            cache.put(Counted(next(numbers)), 0)

    before = Counted.looks
    lines = python_steps(some_calls)
    return (Counted.looks - before) / (2 * calls) + lines / calls


def assert_quick(cache, rng, size: int) -> None:
    looks = looks_a_call(cache, rng, size)
    if looks > 250:
        fail(
            f"In a cache of {size} entries a call looks at {looks:.0f} keys or lines of code on average. "
            "It should look at a few, however many there are.",
            evidence=type(cache).__name__,
        )


class OfASize:
    """What holds for LruCache and LfuCache alike."""

    def cache(self, size: int) -> LruCache | LfuCache:
        raise NotImplementedError

    def test_to_replace_a_value_puts_nobody_out(self):
        cache = self.cache(3)
        assert_equal(play(cache, "a1 b2 c3 c4 b5 a? b? c?"), [1, 5, 4])
        assert_equal(len(cache), 3)

    def test_none_is_a_value(self):
        cache = self.cache(2)
        cache.put("a", None)
        cache.put("b", 2)
        found = [cache.get("a", NOTHING)]
        cache.put("c", 3)
        assert_equal([*found, cache.get("a", NOTHING), cache.get("b", NOTHING)], [None, None, NOTHING])

    def test_nothing_is_found_and_nothing_is_kept(self):
        cache = self.cache(2)
        assert_equal((cache.get("a"), cache.get("a", 7), cache.get("a"), len(cache)), (None, 7, None, 0))

    def test_keys_of_any_kind(self):
        cache = self.cache(9)
        for number, key in enumerate(KEYS):
            cache.put(key, number)
        assert_equal([cache.get(key) for key in KEYS], list(range(len(KEYS))))

    def test_two_of_them_share_nothing(self):
        one, other = self.cache(2), self.cache(2)
        one.put("a", 1)
        other.put("b", 2)
        assert_equal((one.get("a"), one.get("b"), other.get("a"), len(other)), (1, None, None, 1))

    def test_what_has_left_is_let_go(self):
        cache, thing = self.cache(1), Thing()
        gone = weakref.ref(thing)
        cache.put("a", thing)
        cache.put("b", 2)
        del thing
        gc.collect(1)
        assert_equal(gone() is None, True)

    def test_it_is_quick(self, rng):
        assert_quick(self.cache(2000), rng, 2000)

    @pytest.mark.parametrize("size", [0, -3])
    def test_refuses_no_room(self, size):
        self.cache(1)
        with raises(ValueError, size):
            self.cache(size)


class TestLruCache(OfASize):
    def cache(self, size):
        return LruCache(size)

    def test_the_example_worked_by_hand(self):
        assert_equal(play(LruCache(2), "a1 b2 a? c3 b? a? c?"), [1, NOTHING, 1, 3])

    @pytest.mark.parametrize("size", [1, 2, 5, 17])
    def test_computes_what_functools_computes(self, rng, size):
        import functools

        mine, theirs = [], []
        cached = functools.lru_cache(maxsize=size)(theirs.append)
        cache = LruCache(size)
        for key in (int(key) for key in rng.zipf(1.4, 400) % 25):
            cached(key)
            if cache.get(key, NOTHING) == NOTHING:
                mine.append(key)
                cache.put(key, key)
        assert_equal(mine, theirs)

    def test_a_put_is_a_use(self):
        assert_equal(play(LruCache(2), "a1 b2 a3 c4 a? b? c?"), [3, NOTHING, 4])

    @pytest.mark.parametrize("size", [1, 2, 3, 8])
    def test_equals_brute_force(self, rng, size):
        cache, line, found, expected = LruCache(size), [], [], []
        for number in range(400):
            key = int(rng.integers(0, 2 * size + 1))
            old = next((entry for entry in line if entry[0] == key), None)
            if rng.random() < 0.5:
                found.append(cache.get(key, NOTHING))
                expected.append(old[1] if old else NOTHING)
                line = [entry for entry in line if entry != old] + ([old] if old else [])
            else:
                cache.put(key, number)
                line = [*(entry for entry in line if entry != old), (key, number)][-size:]
            found.append(len(cache))
            expected.append(len(line))
        assert_equal(found, expected)


def times(cache, clock, trace: str) -> list:
    """As `play`, with the time of each step: "0:a1 9:a? 9:#" puts at 0, gets at 9, and asks for the length."""
    found = []
    for step in trace.split():
        at, what = step.split(":")
        clock.now = float(at)
        found += [len(cache)] if what == "#" else play(cache, what)
    return found


class TestTtlCache:
    def test_the_example_worked_by_hand(self):
        clock = Clock()
        cache = TtlCache(2, 10, clock)
        found = times(cache, clock, "0:a1 4:b2 9:a? 9:b? 10:a? 10:b? 13.5:b? 14:b? 14:#")
        assert_equal(found, [1, 2, NOTHING, 2, 2, NOTHING, 0])

    def test_its_time_begins_anew_with_a_new_put(self):
        clock = Clock()
        cache = TtlCache(2, 10, clock)
        assert_equal(
            times(cache, clock, "0:a1 4:b2 6:a3 12:a? 12:# 15:a? 15:b? 16:a? 16:#"), [3, 2, 3, NOTHING, NOTHING, 0]
        )

    def test_the_one_put_longest_ago_leaves(self):
        clock = Clock()
        cache = TtlCache(2, 100, clock)
        assert_equal(times(cache, clock, "0:a1 1:b2 2:a? 3:c3 3:a? 3:b? 3:c?"), [1, NOTHING, 2, 3])

    def test_a_new_put_is_last_in_line(self):
        clock = Clock()
        cache = TtlCache(2, 100, clock)
        assert_equal(times(cache, clock, "0:a1 1:b2 2:a3 3:c4 3:a? 3:b? 3:c?"), [3, NOTHING, 4])

    def test_what_is_too_old_makes_room(self):
        clock = Clock()
        cache = TtlCache(2, 10, clock)
        assert_equal(times(cache, clock, "0:a1 6:b2 10:c3 10:b? 10:c? 10:#"), [2, 3, 2])

    def test_what_was_put_again_keeps_its_place(self):
        clock = Clock()
        cache = TtlCache(3, 10, clock)
        assert_equal(times(cache, clock, "0:a1 1:b2 1:c3 5:b4 5:a5 11:# 11:a? 11:b? 11:c?"), [2, 5, 4, NOTHING])

    @pytest.mark.parametrize("ttl", [1, 4.5, 30])
    @pytest.mark.parametrize("size", [1, 3, 6])
    def test_equals_brute_force(self, rng, size, ttl):
        clock = Clock(1000.0)
        cache, puts, found, expected = TtlCache(size, ttl, clock), [], [], []
        for number in range(300):
            clock.now += float(rng.choice([0, 0, 0.5, 1, 2.5]))
            puts = [put for put in puts if clock.now - put[0] < ttl]
            key, what = int(rng.integers(0, size + 3)), rng.random()
            if what < 0.4:
                found.append(cache.get(key, NOTHING))
                expected.append(next((value for _, its, value in puts if its == key), NOTHING))
            elif what < 0.5:
                found.append(len(cache))
                expected.append(len(puts))
            else:
                cache.put(key, number)
                puts = [*(put for put in puts if put[1] != key), (clock.now, key, number)][-size:]
        assert_equal(found, expected)

    def test_the_clock_may_begin_anywhere(self):
        clock = Clock(-50.0)
        cache = TtlCache(2, 10, clock)
        assert_equal(times(cache, clock, "-50:a1 -41:a? -40:a? 0:b2 9:b? 10:b?"), [1, NOTHING, 2, NOTHING])

    @pytest.mark.parametrize("call", ["get", "put", "len"])
    def test_after_any_call_it_holds_nothing_too_old(self, call):
        clock = Clock()
        cache, key, value = TtlCache(9, 10, clock), Thing(), Thing()
        gone = [weakref.ref(key), weakref.ref(value)]
        cache.put(key, value)
        clock.now = 10.0
        del key, value
        {"get": lambda: cache.get("b"), "put": lambda: cache.put("b", 1), "len": lambda: len(cache)}[call]()
        gc.collect(1)
        assert_equal((call, *(one() is None for one in gone)), (call, True, True))

    def test_none_is_a_value(self):
        clock = Clock()
        cache = TtlCache(2, 10, clock)
        cache.put("a", None)
        assert_equal((cache.get("a", NOTHING), cache.get("b"), cache.get("b", 7), len(cache)), (None, None, 7, 1))

    def test_keys_of_any_kind(self):
        cache = TtlCache(9, 10, Clock())
        for number, key in enumerate(KEYS):
            cache.put(key, number)
        assert_equal([cache.get(key) for key in KEYS], list(range(len(KEYS))))

    def test_two_of_them_share_nothing(self):
        one, other = TtlCache(2, 10, Clock()), TtlCache(2, 10, Clock())
        one.put("a", 1)
        assert_equal((one.get("a"), other.get("a"), len(other)), (1, None, 0))

    def test_it_is_quick(self, rng):
        assert_quick(TtlCache(2000, 10, Clock()), rng, 2000)

    @pytest.mark.parametrize("size", [0, -3])
    def test_refuses_no_room(self, size):
        TtlCache(1, 1, Clock())
        with raises(ValueError, size):
            TtlCache(size, 1, Clock())

    @pytest.mark.parametrize("ttl", [0, -2.5])
    def test_refuses_no_time(self, ttl):
        TtlCache(3, 0.25, Clock())
        with raises(ValueError, ttl):
            TtlCache(3, ttl, Clock())


class TestLfuCache(OfASize):
    def cache(self, size):
        return LfuCache(size)

    def test_the_example_worked_by_hand(self):
        assert_equal(play(LfuCache(2), "a1 b2 b? a? a? c3 b? c? d4 c? a? d?"), [2, 1, 1, NOTHING, 3, NOTHING, 1, 4])

    def test_of_equals_the_one_used_longest_ago_leaves(self):
        assert_equal(play(LfuCache(3), "a1 b2 c3 b? a? c? d4 a? b? c? d?"), [2, 1, 3, 1, NOTHING, 3, 4])

    def test_it_isnt_the_use_that_came_first_that_counts(self):
        # All have 3 uses; the last one of b was the longest ago, and it is the one that came in the middle.
        assert_equal(play(LfuCache(3), "a1 b2 c3 b? b? a? c? c? a? d4 a? b? c?"), [2, 2, 1, 3, 3, 1, 1, NOTHING, 3])

    def test_a_put_is_a_use(self):
        assert_equal(play(LfuCache(2), "a1 b2 a3 a4 b? c5 a? b?"), [2, 4, NOTHING])

    def test_the_new_one_stays_however_often_the_others_were_used(self):
        assert_equal(play(LfuCache(2), "a1 a? a? b2 b? b? c3 c? a? b?"), [1, 1, 2, 2, 3, NOTHING, 2])

    def test_what_comes_back_begins_again(self):
        # a had 4 uses when it left; back again it has 1, as d has, and was used before it.
        trace = "a1 a? a? a? b2 b? b? b? b? c3 c? c? a4 b? b? d5 d? a? b?"
        assert_equal(play(LfuCache(2), trace), [1] * 3 + [2] * 4 + [3] * 2 + [2] * 2 + [5, NOTHING, 2])

    def test_a_get_that_finds_nothing_counts_for_nothing(self):
        assert_equal(play(LfuCache(2), "c? c? c? a1 a? b2 b? c3 d4 a? b? c? d?")[3:], [1, 2, NOTHING, 2, NOTHING, 4])

    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    def test_equals_brute_force(self, rng, size):
        cache, entries, found, expected = LfuCache(size), {}, [], []
        for number in range(600):
            key = int(rng.zipf(1.5)) % (2 * size + 1)
            if rng.random() < 0.5:
                found.append(cache.get(key, NOTHING))
                expected.append(entries[key][2] if key in entries else NOTHING)
                if key in entries:
                    entries[key] = (entries[key][0] + 1, number, entries[key][2])
            else:
                cache.put(key, number)
                if key not in entries and len(entries) == size:
                    del entries[min(entries, key=lambda k: entries[k][:2])]
                entries[key] = (entries.get(key, (0,))[0] + 1, number, number)
            found.append(len(cache))
            expected.append(len(entries))
        assert_equal(found, expected)


async def ask_at(at: float, flight, key, call, leaves: float = float("inf")) -> tuple[float, str]:
    """What became of somebody who asks at a time, and leaves at another one."""
    await asyncio.sleep(at - now())
    task = asyncio.create_task(outcome(flight(key, call), KeyError))
    await asyncio.wait({task}, timeout=None if leaves == float("inf") else leaves - now())
    task.cancel()
    return await task


def flights_written_out(asks):
    """For each ask (time, key, seconds of its call, when it leaves), by time, when it ends and with what."""
    current, ends = {}, []
    for number, (at, key, seconds, leaves) in enumerate(asks):
        flight = current.get(key)
        if flight is None or at >= flight["end"] or all(asks[one][3] < at for one in flight["asked"]):
            flight = current[key] = {"number": number, "end": at + seconds, "asked": []}
        flight["asked"].append(number)
        ends.append((leaves, "CancelledError") if leaves < flight["end"] else (flight["end"], str(flight["number"])))
    return ends


class TestSingleFlight:
    def test_the_example_worked_by_hand(self, simulated):
        async def calls():
            flight, server = SingleFlight(), Server((3, "first"), (3, "second"), (3, "third"))
            ends = await asyncio.gather(*(ask_at(at, flight, "k", server) for at in (0, 1, 4)))
            return ends, server.begun()

        assert_equal(simulated(calls()), ([(3.0, "'first'"), (3.0, "'first'"), (7.0, "'second'")], [0.0, 4.0]))

    def test_a_thousand_users_and_one_call(self, simulated):
        async def calls():
            flight, server, answer = SingleFlight(), Server((3, {"text": "hello"}), (3, "another")), {}
            found = await asyncio.gather(*(flight("k", server) for _ in range(1000)))
            answer["one object"] = all(one is found[0] for one in found)
            return server.calls, found[0], answer

        assert_equal(simulated(calls()), (1, {"text": "hello"}, {"one object": True}))
        assert_equal(simulated.left, 0)

    def test_different_keys_run_at_the_same_time(self, simulated):
        async def calls():
            flight, servers = SingleFlight(), [Server((3 - i, f"answer {i}")) for i in range(3)]
            ends = [ask_at(0.25 * i, flight, ("key", i), servers[i]) for i in range(3)]
            return await asyncio.gather(*ends)

        assert_equal(simulated(calls()), [(3.0, "'answer 0'"), (2.25, "'answer 1'"), (1.5, "'answer 2'")])

    @pytest.mark.parametrize("answer", [None, "", 0, False])
    def test_any_value_may_be_the_answer(self, simulated, answer):
        async def calls():
            flight, server = SingleFlight(), Server((3, answer), (3, "another"))
            return await asyncio.gather(flight("k", server), flight("k", server)), server.calls

        assert_equal(simulated(calls()), ([answer, answer], 1))

    def test_everybody_gets_the_very_error(self, simulated):
        async def calls():
            flight, error = SingleFlight(), Refused(1)
            server = Server((3, error), (3, "another"))
            asks = [asyncio.create_task(flight("k", server)) for _ in range(3)]
            await asyncio.wait(asks)
            return now(), server.calls, [ask.exception() is error for ask in asks]

        assert_equal(simulated(calls()), (3.0, 1, [True, True, True]))

    def test_an_error_is_forgotten(self, simulated):
        async def calls():
            flight, server = SingleFlight(), Server((3, Busy(1)), (3, "answer"))
            return await asyncio.gather(*(ask_at(at, flight, "k", server) for at in (0, 1, 4, 5)))

        assert_equal(simulated(calls()), [(3.0, "Busy 1"), (3.0, "Busy 1"), (7.0, "'answer'"), (7.0, "'answer'")])

    @pytest.mark.parametrize("plan", [(3, "first"), (3, Busy(1))], ids=["answer", "error"])
    def test_whoever_asks_again_at_once_begins_a_new_call(self, simulated, plan):
        async def calls():
            flight, server = SingleFlight(), Server(plan, (3, "second"), (3, "third"))

            async def twice():
                return [await outcome(flight("k", server)), await outcome(flight("k", server))]

            return await asyncio.gather(twice(), twice()), server.begun()

        both = [(3.0, "Busy 1" if plan[1] != "first" else "'first'"), (6.0, "'second'")]
        assert_equal(simulated(calls()), ([both, both], [0.0, 3.0]))

    @pytest.mark.parametrize("leaver", [0, 1, 2])
    def test_whoever_leaves_doesnt_take_the_answer_along(self, simulated, leaver):
        async def calls():
            flight, server = SingleFlight(), Server((5, "answer"), (5, "another"))
            leaves = [3.5 if i == leaver else float("inf") for i in range(3)]
            return await asyncio.gather(*(ask_at(i, flight, "k", server, leaves[i]) for i in range(3))), server.log

        ends = [(3.5, "CancelledError") if i == leaver else (5.0, "'answer'") for i in range(3)]
        assert_equal(simulated(calls()), (ends, [(0.0, "begins", 0), (5.0, "ends", 0)]))

    def test_after_one_has_left_others_may_still_come(self, simulated):
        async def calls():
            flight, server = SingleFlight(), Server((5, "answer"), (5, "another"))
            asks = [(0, 2), (1, float("inf")), (3, float("inf"))]
            return await asyncio.gather(*(ask_at(at, flight, "k", server, leaves) for at, leaves in asks))

        assert_equal(simulated(calls()), [(2.0, "CancelledError"), (5.0, "'answer'"), (5.0, "'answer'")])

    def test_when_all_have_left_the_call_is_cancelled(self, simulated):
        async def calls():
            flight, server = SingleFlight(), Server((9, "answer"))
            asks = [(0, 4), (1, 2), (2.5, 3)]
            ends = await asyncio.gather(*(ask_at(at, flight, "k", server, leaves) for at, leaves in asks))
            running = len(asyncio.all_tasks()) - 1
            await asyncio.sleep(20)
            return ends, running, server.log

        ends = [(4.0, "CancelledError"), (2.0, "CancelledError"), (3.0, "CancelledError")]
        assert_equal(simulated(calls()), (ends, 0, [(0.0, "begins", 0), (4.0, "is cut off", 0)]))

    def test_the_last_to_leave_waits_for_the_clean_up(self, simulated):
        async def calls():
            flight, server = SingleFlight(), Server((9, "answer"), cleanup=2)
            ends = await asyncio.gather(*(ask_at(0, flight, "k", server, leaves) for leaves in (3, 4)))
            return ends, len(asyncio.all_tasks()) - 1, server.log

        log = [(0.0, "begins", 0), (6.0, "is cut off", 0)]
        assert_equal(simulated(calls()), ([(3.0, "CancelledError"), (6.0, "CancelledError")], 0, log))

    def test_whoever_comes_during_the_clean_up_begins_a_new_call(self, simulated):
        async def calls():
            flight, server = SingleFlight(), Server((9, "first"), (5, "second"), (5, "third"), cleanup=2)
            asks = [(0, 3), (4, float("inf")), (6, float("inf"))]
            ends = await asyncio.gather(*(ask_at(at, flight, "k", server, leaves) for at, leaves in asks))
            return ends, server.log

        log = [(0.0, "begins", 0), (4.0, "begins", 1), (5.0, "is cut off", 0), (9.0, "ends", 1)]
        ends = [(5.0, "CancelledError"), (9.0, "'second'"), (9.0, "'second'")]
        assert_equal(simulated(calls()), (ends, log))

    def test_two_of_them_share_nothing(self, simulated):
        async def calls():
            server = Server((3, "first"), (3, "second"))
            return await asyncio.gather(SingleFlight()("k", server), SingleFlight()("k", server))

        assert_equal(simulated(calls()), ["first", "second"])

    def test_the_answer_is_let_go(self, simulated):
        async def calls():
            flight, thing = SingleFlight(), Thing()
            gone, things = weakref.ref(thing), [thing]
            del thing

            async def call():
                return things.pop()

            await flight("k", call)
            await asyncio.sleep(1)
            gc.collect(1)
            return gone() is None

        assert_equal(simulated(calls()), True)

    def test_equals_the_rules_written_out(self, simulated, rng):
        # No two moments are equal: asks, answers and leaves have other fractions of a second.
        times = np.sort(rng.choice(4000, 300, replace=False)) / 40
        asks = []
        for at in times.tolist():
            seconds = int(rng.integers(1, 40)) / 10 + 1 / 97
            leaves = at + int(rng.integers(1, 30)) / 10 + 1 / 89 if rng.random() < 0.5 else float("inf")
            asks.append((at, int(rng.integers(0, 4)), seconds, leaves))

        async def calls():
            flight = SingleFlight()

            def call(number):
                async def answer():
                    await asyncio.sleep(asks[number][2])
                    return number

                return answer

            return await asyncio.gather(
                *(ask_at(at, flight, key, call(i), leaves) for i, (at, key, _, leaves) in enumerate(asks))
            )

        found = [(round(at, 6), what) for at, what in simulated(calls())]
        assert_equal(found, [(round(at, 6), what) for at, what in flights_written_out(asks)])
        assert_equal(simulated.left, 0)


class TestSemanticCache:
    def test_the_example_worked_by_hand(self):
        cache = SemanticCache(3, 0.9)
        cache.put("en", [3, 4], "answer")
        assert_equal([cache.get("en", [4, 3]), cache.get("en", [0, 2])], ["answer", None])

    def test_vectors_stay_as_they_are(self):
        cache, vectors = SemanticCache(3, 0.9), [np.array([3.0, 4.0]), np.array([4.0, 3.0])]
        cache.put("en", vectors[0], "answer")
        cache.get("en", vectors[1])
        assert_equal([vector.tolist() for vector in vectors], [[3.0, 4.0], [4.0, 3.0]])

    def test_the_nearest_not_the_first(self):
        cache = SemanticCache(5, 0.5)
        for degrees in (60, 20, 35, 5):
            cache.put("en", [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], degrees)
        angles = [np.radians(degrees) for degrees in (-40, 10, 16, 30, 59, 140)]
        found = [cache.get("en", [np.cos(angle), np.sin(angle)], NOTHING) for angle in angles]
        assert_equal(found, [5, 5, 20, 35, 60, NOTHING])

    @pytest.mark.parametrize("scale", [0.001, 7.5, 4000])
    def test_the_length_plays_no_role(self, scale):
        cache = SemanticCache(3, 0.9)
        cache.put("en", [3.0 * scale, 4.0 * scale], "near")
        cache.put("en", [-90.0, 1.0], "far")
        assert_equal(
            [cache.get("en", [4.0, 3.0]), cache.get("en", [0.004, 0.003]), cache.get("en", [0, 9])],
            ["near", "near", None],
        )

    @pytest.mark.parametrize("threshold", [0.95, 0.3, -0.4])
    @pytest.mark.parametrize("d", [2, 5, 33])
    def test_equals_brute_force(self, rng, d, threshold):
        cache, entries, found, expected = SemanticCache(12, threshold), [], [], []
        centres = rng.normal(size=(6, d))
        for number in range(150):
            vector = centres[rng.integers(6)] + rng.normal(size=d) * rng.choice([0.1, 0.6])
            scope = int(rng.integers(3))
            if rng.random() < 0.5:
                near = [
                    (float(np.dot(v, vector) / np.sqrt(np.dot(v, v)) / np.sqrt(np.dot(vector, vector))), value)
                    for s, v, value in entries
                    if s == scope
                ]
                similarity, value = max(near, default=(-2.0, None))
                found.append(cache.get(scope, vector, NOTHING))
                expected.append(value if similarity >= threshold else NOTHING)
            else:
                cache.put(scope, vector, number)
                entries = [*entries, (scope, vector, number)][-12:]
            found.append(len(cache))
            expected.append(len(entries))
        assert_equal(found, expected)

    @pytest.mark.parametrize(
        ("threshold", "vector", "found"),
        [(0.96, [4, 3], "answer"), (0.9601, [4, 3], None), (0.8, [0, 2], "answer"), (0.8001, [0, 2], None)],
    )
    def test_the_threshold_itself_is_near_enough(self, threshold, vector, found):
        cache = SemanticCache(3, threshold)
        cache.put("en", [3, 4], "answer")
        assert_equal(cache.get("en", vector), found)

    def test_the_same_direction_reaches_a_threshold_of_1(self, rng):
        cache, vectors = SemanticCache(50, 1), rng.normal(size=(50, 7))
        for number, vector in enumerate(vectors):
            cache.put("en", vector, number)
        assert_equal([cache.get("en", 0.3 * vector) for vector in vectors], list(range(50)))

    def test_the_opposite_is_far(self):
        cache = SemanticCache(3, 0.9)
        cache.put("en", [3, 4], "answer")
        assert_equal(cache.get("en", [-3, -4], NOTHING), NOTHING)

    def test_a_threshold_of_minus_1_finds_everything(self):
        cache = SemanticCache(3, -1)
        cache.put("en", [3, 4], "answer")
        assert_equal([cache.get("en", [-3, -4]), cache.get("de", [3, 4])], ["answer", None])

    def test_scopes_dont_meet(self):
        cache = SemanticCache(9, 0.9)
        cache.put(("anna", "en"), [3, 4], "tea")
        cache.put(("ben", "en"), [3, 4], "coffee")
        cache.put(("ben", "de"), [3, 4.1], "Kaffee")
        scopes = [("anna", "en"), ("ben", "en"), ("ben", "de"), ("anna", "de")]
        assert_equal([cache.get(scope, [3, 4]) for scope in scopes], ["tea", "coffee", "Kaffee", None])
        assert_equal(len(cache), 3)

    def test_scopes_of_any_kind(self):
        cache = SemanticCache(9, 0.9)
        for number, scope in enumerate(KEYS):
            cache.put(scope, [3, 4], number)
        assert_equal([cache.get(scope, [3, 4]) for scope in KEYS], list(range(len(KEYS))))

    def test_the_one_put_longest_ago_leaves_whatever_its_scope(self):
        cache = SemanticCache(3, 0.9)
        for number, (scope, vector) in enumerate([("a", [1, 0]), ("b", [1, 0]), ("a", [0, 1])]):
            cache.put(scope, vector, number)
        found = [cache.get("a", [1, 0])]
        cache.put("b", [0, 1], 3)
        found += [cache.get(scope, vector) for scope in "ab" for vector in ([1, 0], [0, 1])]
        assert_equal((found, len(cache)), ([0, None, 2, 1, 3], 3))

    def test_the_same_numbers_are_a_new_put(self):
        cache = SemanticCache(3, 0.9)
        cache.put("en", [1, 0, 0], 0)
        cache.put("en", [0, 1, 0], 1)
        cache.put("en", np.array([1.0, 0.0, 0.0]), 2)
        found = [len(cache), cache.get("en", [1, 0, 0])]
        cache.put("en", [0, 0, 1], 3)
        cache.put("en", [1, 1, 0], 4)
        assert_equal([*found, *(cache.get("en", vector) for vector in np.eye(3))], [2, 2, 2, None, 3])

    def test_the_same_direction_isnt_the_same_vector(self):
        cache = SemanticCache(3, 0.9)
        cache.put("en", [1, 2], "one")
        cache.put("en", [2, 4], "two")
        cache.put("en", [1, 2 + 1e-12], "three")
        assert_equal(len(cache), 3)

    def test_none_is_a_value(self):
        cache = SemanticCache(3, 0.9)
        found = [cache.get("en", [1, 2]), cache.get("en", [1, 2], NOTHING)]
        cache.put("en", [1, 2], None)
        assert_equal([*found, cache.get("en", [1, 2], NOTHING), len(cache)], [None, NOTHING, None, 1])

    def test_it_has_its_own_numbers(self):
        cache, vector = SemanticCache(3, 0.9), np.array([1.0, 0.0])
        cache.put("en", vector, "right")
        vector[:] = [0.0, 1.0]
        cache.put("en", vector, "up")
        vector[:] = [-1.0, 0.0]
        assert_equal([cache.get("en", [1, 0]), cache.get("en", [0, 1]), vector.tolist()], ["right", "up", [-1.0, 0.0]])

    @pytest.mark.parametrize("dtype", ["int8", "uint8", "float16", "float32", "int64"])
    def test_any_dtype(self, dtype):
        cache, scale = SemanticCache(3, 0.9), {"int8": 30, "uint8": 60, "float16": 12000}.get(dtype, 1)
        cache.put("en", np.array([3, 4], dtype=dtype) * np.array(scale, dtype=dtype), "answer")
        cache.put("en", np.array([0, 1], dtype=dtype), "up")
        found = [cache.get("en", np.array(v, dtype=dtype) * np.array(scale, dtype=dtype)) for v in ([4, 3], [1, 4])]
        assert_equal(found, ["answer", "up"])

    @pytest.mark.parametrize("put", [False, True])
    @pytest.mark.parametrize(
        ("vector", "word"),
        [([0, 0], "zero"), ([0.0, -0.0], "zero"), ([1, float("nan")], "finite"), ([float("-inf"), 0], "finite")],
    )
    def test_refuses_what_has_no_direction(self, put, vector, word):
        cache = SemanticCache(3, -1)
        cache.put("en", [1, 2], "answer")
        with raises(ValueError, word):
            cache.put("en", vector, 1) if put else cache.get("en", vector)
        assert_equal(len(cache), 1)

    @pytest.mark.parametrize("put", [False, True])
    @pytest.mark.parametrize("vector", [[1, 2], [1, 2, 3, 4]])
    @pytest.mark.parametrize("scope", ["en", "de"])
    def test_refuses_another_length(self, put, vector, scope):
        cache = SemanticCache(1, -1)
        cache.put("en", [1, 2, 3], "answer")
        with raises(ValueError, 3, len(vector)):
            cache.put(scope, vector, 1) if put else cache.get(scope, vector)
        assert_equal((cache.get("en", [1, 2, 3]), len(cache)), ("answer", 1))

    def test_what_was_refused_sets_no_length(self):
        cache = SemanticCache(3, 0.9)
        cache.get("en", [1, 2, 3, 4])
        with raises(ValueError, "zero"):
            cache.put("en", [0, 0, 0], 1)
        cache.put("en", [1, 2], 2)
        assert_equal(cache.get("en", [1, 2]), 2)

    def test_two_of_them_share_nothing(self):
        one, other = SemanticCache(3, 0.9), SemanticCache(3, 0.9)
        one.put("en", [1, 2], 1)
        other.put("en", [1, 2, 3], 2)
        assert_equal((one.get("en", [1, 2]), other.get("en", [1, 2, 3]), len(other)), (1, 2, 1))

    @pytest.mark.parametrize("size", [0, -3])
    def test_refuses_no_room(self, size):
        SemanticCache(1, 0.5)
        with raises(ValueError, size):
            SemanticCache(size, 0.5)

    @pytest.mark.parametrize("threshold", [1.01, -1.5, float("nan")])
    def test_refuses_a_threshold_that_no_cosine_has(self, threshold):
        SemanticCache(1, 1)
        SemanticCache(1, -1)
        with raises(ValueError, threshold):
            SemanticCache(1, threshold)


class Held:
    """The rules of a prefix cache over whole beginnings, without a tree: a beginning → when it was used."""

    def __init__(self, size: int, block: int) -> None:
        self.size, self.block, self.now, self.used = size, block, 0, {}

    def beginnings(self, tokens):
        return [tuple(tokens[:end]) for end in range(self.block, len(tokens) + 1, self.block)]

    def match(self, tokens):
        self.now += 1
        found = 0
        for beginning in self.beginnings(tokens):
            if beginning not in self.used or len(beginning) >= len(tokens):
                break
            self.used[beginning] = self.now
            found = len(beginning)
        return found

    def add(self, tokens):
        self.now += 1
        for beginning in self.beginnings(tokens):
            if beginning not in self.used and len(self.used) == self.size:
                parents = {one[: -self.block] for one in self.used}
                leaves = [one for one in self.used if one not in parents and tuple(tokens[: len(one)]) != one]
                if not leaves:
                    return
                del self.used[min(leaves, key=self.used.get)]
            self.used[beginning] = self.now


def prompt(text: str) -> list[int]:
    """A letter is a token."""
    return [ord(letter) for letter in text.replace(" ", "")]


def skips(cache, *texts: str) -> list[int]:
    return [cache.match(prompt(text)) for text in texts]


class TestPrefixCache:
    def test_the_example_worked_by_hand(self):
        cache = PrefixCache(20, 2)
        for tokens in ([5, 6, 7, 8, 9, 9], [5, 6, 3, 3], [7, 8, 1]):
            cache.add(tokens)
        prompts = ([5, 6, 7, 8, 1], [5, 6, 7, 8], [3, 3, 5, 6], [5, 6, 3, 3, 9, 9], [7, 8, 9, 9, 1])
        assert_equal([len(cache), *(cache.match(tokens) for tokens in prompts)], [5, 4, 2, 0, 4, 2])

    @pytest.mark.parametrize("block", [1, 2, 3, 7])
    def test_the_last_token_is_never_skipped(self, block):
        cache, tokens = PrefixCache(50, block), list(range(40, 61))
        cache.add(tokens)
        found = [cache.match(tokens[:n]) for n in range(22)]
        assert_equal(found, [max(0, (n - 1) // block * block) for n in range(22)])

    @pytest.mark.parametrize("block", [1, 2, 4])
    def test_only_full_blocks_are_kept(self, block):
        cache, found = PrefixCache(50, block), []
        for n in range(10):
            cache = PrefixCache(50, block)
            cache.add(list(range(n)))
            found.append((len(cache), cache.match(list(range(30)))))
        assert_equal(found, [(n // block, n // block * block) for n in range(10)])

    def test_the_same_tokens_after_another_beginning_are_another_block(self):
        cache = PrefixCache(20, 2)
        cache.add(prompt("ab xy ef"))
        cache.add(prompt("cd xz"))
        found = skips(cache, "cd xy ef ..", "xy ef ..", "ab xz ..", "ab ef ..", "cd xz ef ..", "ab xy cd ..")
        assert_equal(found, [2, 0, 2, 2, 4, 4])

    def test_a_block_is_found_whole_or_not(self):
        cache = PrefixCache(20, 4)
        cache.add(prompt("abcd efgh"))
        assert_equal(skips(cache, "abcd efgx ..", "abcx efgh ..", "abcd efgh x", "xbcd efgh x"), [4, 0, 8, 0])

    def test_negative_tokens(self):
        cache = PrefixCache(20, 1)
        cache.add([-1, 4])
        assert_equal([cache.match([-2, 4, 5]), cache.match([-1, 4, 5]), cache.match((-1, -2, 5))], [0, 2, 1])

    def test_tokens_arent_digits(self):
        cache = PrefixCache(20, 2)
        cache.add([1, 23, 4, 56])
        assert_equal([cache.match([12, 3, 4, 56, 7]), cache.match([1, 23, 45, 6, 7]), len(cache)], [0, 2, 2])

    def test_tuples_and_lists_that_change_afterwards(self):
        cache, tokens = PrefixCache(20, 2), [1, 2, 3, 4]
        cache.add(tokens)
        tokens[:] = [9, 9, 9, 9]
        cache.add((5, 6))
        assert_equal([cache.match([1, 2, 3, 4, 5]), cache.match((5, 6, 7)), cache.match([9, 9, 9])], [4, 2, 0])

    def test_what_is_there_is_kept_once(self):
        cache = PrefixCache(20, 2)
        for text in ("ab cd", "ab cd", "ab ce", "ab", "ab cd ef"):
            cache.add(prompt(text))
        assert_equal(len(cache), 4)

    def test_the_leaf_used_longest_ago_leaves(self):
        cache = PrefixCache(4, 1)
        for text in ("ab", "xy", "z"):
            cache.add(prompt(text))  # b leaves for z
        assert_equal((len(cache), skips(cache, "ab.", "xy.", "z.")), (4, [1, 2, 1]))

    def test_what_follows_leaves_before_what_it_follows(self):
        cache = PrefixCache(4, 1)
        for text in ("abcd", "x", "y", "z"):
            cache.add(prompt(text))
        assert_equal((len(cache), skips(cache, "abcd.", "x.", "y.", "z.")), (4, [1, 1, 1, 1]))

    def test_a_match_is_a_use(self):
        cache = PrefixCache(3, 1)
        for text in ("a", "b", "c"):
            cache.add(prompt(text))
        found = skips(cache, "a.")
        cache.add(prompt("d"))
        assert_equal(found + skips(cache, "a.", "b.", "c.", "d."), [1, 1, 0, 1, 1])

    def test_to_match_the_last_token_is_no_use(self):
        cache = PrefixCache(2, 1)
        cache.add(prompt("a"))
        cache.add(prompt("b"))
        found = skips(cache, "a")
        cache.add(prompt("c"))
        assert_equal(found + skips(cache, "a.", "b.", "c."), [0, 0, 1, 1])

    def test_to_add_it_again_is_a_use(self):
        cache = PrefixCache(3, 1)
        for text in ("a", "b", "c", "a", "d"):
            cache.add(prompt(text))
        assert_equal(skips(cache, "a.", "b.", "c.", "d."), [1, 0, 1, 1])

    def test_none_of_the_prompts_own_blocks_leaves(self):
        cache = PrefixCache(3, 1)
        for text in ("abc", "x", "ab", "abyz"):
            # x takes c's place, y takes x's, and z finds only what is its own.
            cache.add(prompt(text))
        assert_equal((len(cache), skips(cache, "abyz.", "abc.", "x.")), (3, [3, 2, 0]))

    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_of_a_long_prompt_the_beginning_is_kept(self, size):
        cache = PrefixCache(size, 2)
        cache.add(prompt("qr st"))
        cache.add(prompt("ab cd ef gh ij kl mn"))
        assert_equal((len(cache), skips(cache, "ab cd ef gh ij kl mn op", "qr st uv")), (size, [2 * size, 0]))

    @pytest.mark.parametrize("block", [1, 2, 3])
    @pytest.mark.parametrize("size", [1, 4, 9, 30])
    def test_equals_the_rules_without_a_tree(self, rng, size, block):
        cache, rules, found, expected = PrefixCache(size, block), Held(size, block), [], []
        for _ in range(150):
            tokens = rng.integers(-3, 0, rng.integers(0, 5 * block + 2)).tolist()
            if rng.random() < 0.5:
                found.append(cache.match(tokens))
                expected.append(rules.match(tokens))
            else:
                cache.add(tokens)
                rules.add(tokens)
            found.append(len(cache))
            expected.append(len(rules.used))
        assert_equal(found, expected)

    def test_a_long_prompt_is_no_trouble(self):
        cache, tokens = PrefixCache(3000, 1), list(range(3000))
        cache.add(tokens)
        assert_equal((len(cache), cache.match([*tokens, 1])), (3000, 3000))

    def test_two_of_them_share_nothing(self):
        one, other = PrefixCache(3, 1), PrefixCache(3, 1)
        one.add([1, 2])
        assert_equal((one.match([1, 2, 3]), other.match([1, 2, 3]), len(other)), (2, 0, 0))

    @pytest.mark.parametrize(("size", "block", "wrong"), [(0, 2, 0), (-4, 2, -4), (3, 0, 0), (3, -5, -5)])
    def test_refuses_no_room(self, size, block, wrong):
        PrefixCache(1, 1)
        with raises(ValueError, wrong):
            PrefixCache(size, block)
