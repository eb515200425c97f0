"""Judges k08_dynamic_batching on a simulated clock, and against its two rules, asked anew at each second."""

from __future__ import annotations

import asyncio
import random

import pytest

from dojo.testing import assert_close, assert_equal, fail, pure, raises
from katas.module_09_inference.k08_dynamic_batching import (
    Batch,
    Batcher,
    Overloaded,
    latencies,
    plan_batches,
    smallest_batch,
    throughput,
)

pytestmark = pure("Batcher")


class TestThroughput:
    @pytest.mark.parametrize(("n", "expected"), [(1, 2 / 3), (3, 1.2), (8, 1.6)])
    def test_worked_by_hand(self, n, expected):
        assert_close(throughput(n, 1.0, 0.5), expected)

    @pytest.mark.parametrize(("n", "fixed", "per_item"), [(1, 0.0, 0.25), (7, 0.02, 0.003), (64, 3.0, 0.001)])
    def test_requests_over_seconds(self, n, fixed, per_item):
        assert_close(throughput(n, fixed, per_item) * (fixed + n * per_item), float(n))


class TestSmallestBatch:
    def test_worked_by_hand(self):
        assert_equal(smallest_batch(1.0, 1.0, 0.5), 2)

    @pytest.mark.parametrize("rate", [0.01, 0.3, 0.9, 1.1, 1.7, 1.93])
    @pytest.mark.parametrize("fixed", [0.01, 1.3, 7.0])
    def test_is_the_first_that_is_enough(self, rate, fixed):
        enough = next(n for n in range(1, 1000) if n / (fixed + 0.5 * n) >= rate)
        found = smallest_batch(rate, fixed, 0.5)
        assert_equal((found, isinstance(found, int)), (enough, True))

    @pytest.mark.parametrize("rate", [0.1, 3.9, 4.0])
    def test_without_a_fixed_part_one_is_enough(self, rate):
        assert_equal(smallest_batch(rate, 0.0, 0.25), 1)

    @pytest.mark.parametrize(("rate", "fixed", "per_item"), [(2.0, 1.0, 0.5), (2.5, 1.0, 0.5), (5.0, 0.0, 0.25)])
    def test_more_than_any_batch_can_do(self, rate, fixed, per_item):
        with raises(ValueError, rate):
            smallest_batch(rate, fixed, per_item)


def second_by_second(arrivals, max_size, max_delay, fixed, per_item):
    """The rules of the lesson, asked anew at each whole second; all numbers are whole."""
    batches, waiting, free, second = [], [], 0, 0
    to_come = list(enumerate(arrivals))
    while to_come or waiting:
        while to_come and to_come[0][1] <= second:
            waiting.append(to_come.pop(0))
        while waiting and free <= second:
            if len(waiting) < max_size and second - waiting[0][1] < max_delay:
                break
            batch, waiting = waiting[:max_size], waiting[max_size:]
            free = second + fixed + per_item * len(batch)
            batches.append(Batch(float(second), float(free), tuple(i for i, _ in batch)))
        second += 1
    return batches


def parts(batches) -> list[tuple[float, float, list[int]]]:
    return [(float(b.start), float(b.end), list(b.members)) for b in batches]


class TestPlanBatches:
    def test_as_drawn(self):
        found = plan_batches([0.0, 1.0, 1.5, 2.0, 7.0], 3, 2.0, 1.0, 0.5)
        assert_equal(parts(found), [(1.5, 4.0, [0, 1, 2]), (4.0, 5.5, [3]), (9.0, 10.5, [4])])

    def test_they_are_batches(self):
        found = plan_batches([0.0, 1.0, 1.5], 2, 2.0, 1.0, 0.5)
        assert_equal([isinstance(batch, Batch) for batch in found], [True, True])

    @pytest.mark.parametrize(
        ("arrivals", "max_size", "max_delay", "expected"),
        [
            ([0.0], 4, 2.0, [(2.0, 5.0, [0])]),
            ([0.0, 0.0, 0.0], 3, 9.0, [(0.0, 5.0, [0, 1, 2])]),
            ([0.0] * 5, 2, 9.0, [(0.0, 4.0, [0, 1]), (4.0, 8.0, [2, 3]), (9.0, 12.0, [4])]),
            ([3.0, 4.0], 9, 0.0, [(3.0, 6.0, [0]), (6.0, 9.0, [1])]),
            ([3.0, 3.0, 3.0], 9, 0.0, [(3.0, 8.0, [0, 1, 2])]),
            ([0.0, 2.0], 9, 2.0, [(2.0, 6.0, [0, 1])]),
            ([0.0, 0.5, 3.0, 3.5, 4.0], 2, 1.0, [(0.5, 4.5, [0, 1]), (4.5, 8.5, [2, 3]), (8.5, 11.5, [4])]),
            ([0.0, 1.0, 2.0, 9.0], 1, 5.0, [(0.0, 3.0, [0]), (3.0, 6.0, [1]), (6.0, 9.0, [2]), (9.0, 12.0, [3])]),
            ([], 3, 1.0, []),
        ],
        ids=[
            "alone", "full at once", "the rest has waited", "no delay", "no delay, three", "comes as it starts",
            "full while it is busy", "one by one", "nobody",
        ],
    )  # fmt: skip
    def test_cases(self, arrivals, max_size, max_delay, expected):
        assert_equal(parts(plan_batches(arrivals, max_size, max_delay, 2.0, 1.0)), expected)

    @pytest.mark.parametrize("max_delay", [0, 1, 4, 30])
    @pytest.mark.parametrize("max_size", [1, 2, 5])
    @pytest.mark.parametrize("span", [10, 60])
    def test_equals_the_rules_second_by_second(self, span, max_size, max_delay):
        arrivals = sorted(random.randrange(span) for _ in range(20))
        expected = second_by_second(arrivals, max_size, max_delay, 2, 1)
        found = plan_batches([float(a) for a in arrivals], max_size, float(max_delay), 2.0, 1.0)
        assert_equal(parts(found), parts(expected))


class TestLatencies:
    BATCHES = (Batch(4.0, 5.5, (3,)), Batch(9.0, 10.5, (4,)), Batch(1.5, 4.0, (0, 1, 2)))

    def test_worked_by_hand(self):
        found = latencies([0.0, 1.0, 1.5, 2.0, 7.0], self.BATCHES)
        assert_close(list(found), [4.0, 3.0, 2.5, 3.5, 3.5])

    def test_members_in_any_order(self):
        found = latencies([0.0, 2.0, 2.5], [Batch(5.0, 7.0, (2, 0)), Batch(3.0, 4.0, (1,))])
        assert_close(list(found), [7.0, 2.0, 4.5])

    def test_to_the_last_digit(self):
        found = latencies([0.1, 0.2], [Batch(0.2, 1000.3, (0, 1))])
        assert_close(list(found), [1000.2, 1000.1])

    def test_of_nobody(self):
        assert_equal(list(latencies([], [])), [])


class Model:
    """Answers x with 10 · x, and writes down the batches that it gets: (start, end, items)."""

    def __init__(self, fixed: float = 1.0, per_item: float = 0.5) -> None:
        self.fixed, self.per_item = fixed, per_item
        self.batches: list[tuple[float, float, list]] = []
        self.running = 0

    async def __call__(self, items):
        self.running += 1
        if self.running > 1:
            fail(f"a batch begins at {now():g} s while another one runs", evidence=("two at once",))
        given, start = list(items), now()
        if not isinstance(items, list):
            fail(f"work gets {type(items).__name__}, expected a list", evidence=("no list",))
        try:
            await asyncio.sleep(self.fixed + self.per_item * len(given))
        finally:
            self.running -= 1
        self.batches.append((start, now(), given))
        return [self.answer(item) for item in given]

    def answer(self, item):
        return 10 * item


def now() -> float:
    return asyncio.get_running_loop().time()


async def later(batcher, seconds: float, item):
    """Submit `item` at that time.  Returns the answer, or the error, and when it came."""
    await asyncio.sleep(seconds - now())
    try:
        answer = await batcher.submit(item)
    except Exception as error:
        answer = error
    return answer, now()


def served(simulated, times_and_items, model, size=3, delay=2.0, waiting=1000, cancel=()):
    """What each caller got, and when; `cancel` has (number of the caller, time)."""

    async def everything():
        batcher = Batcher(model, size, delay, waiting)
        callers = [asyncio.ensure_future(later(batcher, *one)) for one in times_and_items]
        loop = asyncio.get_running_loop()
        for number, seconds in cancel:
            loop.call_at(seconds, callers[number].cancel)
        found = await asyncio.gather(*callers, return_exceptions=True)
        await batcher.close()
        for one in found:
            if isinstance(one, tuple) and isinstance(one[0], AssertionError):
                raise one[0]  # the model's own complaint, which went through the batcher like any error
        return found

    return simulated(everything())


class TestBatcher:
    def test_as_drawn(self, simulated):
        model = Model()
        found = served(simulated, [(0.0, 1), (1.0, 2), (1.5, 3), (2.0, 4), (7.0, 5)], model)
        assert_close(model.batches, [(1.5, 4.0, [1, 2, 3]), (4.0, 5.5, [4]), (9.0, 10.5, [5])], atol=1e-4)
        assert_close(found, [(10, 4.0), (20, 4.0), (30, 4.0), (40, 5.5), (50, 10.5)], atol=1e-4)

    def test_work_gets_the_very_items(self, simulated):
        items, seen = [[1, 2], {"a": 3}], []

        async def work(given):
            seen.extend(given)
            return given

        async def calls():
            batcher = Batcher(work, 2, 1.0, 9)
            answers = await asyncio.gather(*(batcher.submit(item) for item in items))
            await batcher.close()
            return answers

        answers = simulated(calls())
        assert_equal((answers, seen, items), ([[1, 2], {"a": 3}],) * 3)

    @pytest.mark.parametrize("size", [1, 2, 4, 9])
    @pytest.mark.parametrize("delay", [0.0, 0.7, 5.0])
    def test_it_keeps_to_the_plan(self, simulated, size, delay):
        # No two of these times, nor sums of them, meet: who comes as a batch starts may be in it or not.
        arrivals, time = [], 0.0
        for _ in range(25):
            arrivals.append(time := time + random.uniform(0.01, 1.5))
        model = Model(0.9371, 0.1173)
        found = served(simulated, [(a, i) for i, a in enumerate(arrivals)], model, size, delay)
        planned = plan_by_hand(arrivals, size, delay, 0.9371, 0.1173)
        assert_equal([items for _, _, items in model.batches], [list(b.members) for b in planned])
        assert_close([start for start, _, _ in model.batches], [b.start for b in planned], atol=1e-3)
        assert_equal([answer for answer, _ in found], [10 * i for i in range(25)])

    def test_a_batch_starts_as_soon_as_it_is_full(self, simulated):
        model = Model()
        served(simulated, [(0.0, 1), (0.5, 2)], model, size=2, delay=60.0)
        assert_close([start for start, _, _ in model.batches], [0.5], atol=1e-4)

    def test_the_delay_counts_from_the_oldest(self, simulated):
        model = Model()
        served(simulated, [(0.0, 1), (1.9, 2), (3.8, 3)], model, size=9, delay=2.0)
        assert_close(model.batches[0], (2.0, 4.0, [1, 2]), atol=1e-4)

    @pytest.mark.parametrize("item", [None, 0, "", [1, 2], {"a": 1}, (3,)])
    def test_any_item(self, simulated, item):
        model = Model()
        model.answer = lambda given: [given]
        assert_equal(served(simulated, [(0.0, item)], model)[0][0], [item])

    @pytest.mark.parametrize("answer", [None, 0, False, "", []])
    def test_any_answer(self, simulated, answer):
        model = Model()
        model.answer = lambda given: answer
        assert_equal(served(simulated, [(0.0, 1)], model)[0][0], answer)

    def test_answers_may_be_a_tuple(self, simulated):
        async def work(items):
            return tuple(-item for item in items)

        assert_equal([answer for answer, _ in served(simulated, [(0.0, 1), (0.1, 2)], work)], [-1, -2])

    def test_equal_items_are_still_two(self, simulated):
        model = Model()
        found = served(simulated, [(0.0, 7), (0.1, 7)], model)
        assert_equal(([answer for answer, _ in found], model.batches[0][2]), ([70, 70], [7, 7]))

    def test_two_batchers_side_by_side(self, simulated):
        one, other = Model(), Model()

        async def both():
            first, second = Batcher(one, 2, 1.0, 9), Batcher(other, 2, 1.0, 9)
            found = await asyncio.gather(first.submit(1), second.submit(2), first.submit(3))
            await first.close()
            await second.close()
            return found

        assert_equal(simulated(both()), [10, 20, 30])
        assert_equal(([b[2] for b in one.batches], [b[2] for b in other.batches]), ([[1, 3]], [[2]]))

    # --- errors -------------------------------------------------------------------------------------

    def test_an_error_of_one_is_raised_for_that_one_alone(self, simulated):
        model = Model()
        model.answer = lambda item: ValueError("too long") if item == 2 else 10 * item
        found = [answer for answer, _ in served(simulated, [(0.0, 1), (0.1, 2), (0.2, 3)], model)]
        assert_equal([type(answer).__name__ for answer in found], ["int", "ValueError", "int"])
        assert_equal((found[0], str(found[1]), found[2]), (10, "too long", 30))

    def test_an_exception_class_is_an_answer(self, simulated):
        model = Model()
        model.answer = lambda item: ValueError
        assert_equal(served(simulated, [(0.0, 1)], model)[0][0] is ValueError, True)

    def test_if_work_raises_the_whole_batch_is_told_and_the_next_one_runs(self, simulated):
        async def work(items):
            await asyncio.sleep(1)
            if 2 in items:
                raise KeyError("out of memory")
            return items

        calls = [(0.0, 1), (0.1, 2), (0.2, 3), (0.3, 4), (5.0, 5)]
        found = [answer for answer, _ in served(simulated, calls, work)]
        assert_equal([type(answer).__name__ for answer in found], ["KeyError"] * 3 + ["int"] * 2)
        assert_equal(("out of memory" in str(found[0]), found[3:]), (True, [4, 5]))

    @pytest.mark.parametrize("answers", [[], [1], [1, 2, 3, 4]])
    def test_another_number_of_answers(self, simulated, answers):
        calls = 0

        async def work(items):
            nonlocal calls
            calls += 1
            return answers if calls == 1 else items

        found = [one for one, _ in served(simulated, [(0.0, 7), (0.1, 8), (0.2, 9), (5.0, 6)], work)]
        assert_equal([type(answer).__name__ for answer in found], ["RuntimeError"] * 3 + ["int"])
        with raises(RuntimeError, len(answers), 3):
            raise found[0]

    # --- who goes before it is over ------------------------------------------------------------------

    def test_who_is_cancelled_while_it_waits_never_goes_to_work(self, simulated):
        model = Model()
        found = served(simulated, [(0.0, 1), (0.1, 2), (0.2, 3)], model, size=9, cancel=[(1, 1.0)])
        assert_equal(model.batches[0][2], [1, 3])
        assert_equal((found[0][0], isinstance(found[1], asyncio.CancelledError), found[2][0]), (10, True, 30))

    def test_the_delay_then_counts_for_the_oldest_that_is_left(self, simulated):
        model = Model()
        served(simulated, [(0.0, 1), (1.5, 2)], model, size=9, delay=2.0, cancel=[(0, 1.7)])
        assert_close(model.batches, [(3.5, 5.0, [2])], atol=1e-4)

    def test_if_all_have_gone_nothing_runs(self, simulated):
        model = Model()
        served(simulated, [(0.0, 1), (0.1, 2), (9.0, 3)], model, size=9, cancel=[(0, 1.0), (1, 1.5)])
        assert_close(model.batches, [(11.0, 12.5, [3])], atol=1e-4)

    def test_one_that_goes_makes_no_batch_full(self, simulated):
        model = Model()
        served(simulated, [(0.0, 1), (0.1, 2), (0.5, 3)], model, size=3, delay=4.0, cancel=[(0, 0.3)])
        assert_close(model.batches, [(4.1, 6.1, [2, 3])], atol=1e-4)

    def test_who_is_cancelled_in_its_batch_disturbs_no_other(self, simulated):
        model = Model()
        calls = [(0.0, 1), (0.1, 2), (0.2, 3), (0.3, 4)]
        found = served(simulated, calls, model, cancel=[(1, 1.0)])
        assert_equal([items for _, _, items in model.batches], [[1, 2, 3], [4]])
        assert_equal([one[0] for i, one in enumerate(found) if i != 1], [10, 30, 40])
        assert_equal(isinstance(found[1], asyncio.CancelledError), True)

    def test_an_error_for_one_who_has_gone(self, simulated):
        model = Model()
        model.answer = lambda item: ValueError("too long") if item == 2 else 10 * item
        found = served(simulated, [(0.0, 1), (0.1, 2), (0.2, 3)], model, cancel=[(1, 1.0)])
        assert_equal((found[0][0], found[2][0]), (10, 30))

    def test_a_caller_with_a_timeout_of_its_own(self, simulated):
        model = Model(fixed=30.0)

        async def calls():
            batcher = Batcher(model, 1, 0.0, 9)
            patient = asyncio.ensure_future(batcher.submit(1))
            await asyncio.sleep(0.5)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await batcher.submit(2)
            found = await patient
            await batcher.close()
            return found

        assert_equal((simulated(calls()), [items for _, _, items in model.batches]), (10, [[1]]))

    # --- too many -----------------------------------------------------------------------------------

    def test_too_many_are_told_at_once(self, simulated):
        model = Model(fixed=10.0)
        calls = [(0.1 * i, i) for i in range(7)]  # 0 and 1 run from 0.1 s on, 2 to 4 wait
        found = served(simulated, calls, model, size=2, delay=0.3, waiting=3)
        refused = [isinstance(answer, Overloaded) for answer, _ in found]
        assert_equal(sum(refused), 2)
        assert_equal(refused, [False] * 5 + [True] * 2)
        assert_close([time for _, time in found[5:]], [0.5, 0.6], atol=1e-4)
        assert_equal([items for _, _, items in model.batches], [[0, 1], [2, 3], [4]])

    def test_who_goes_leaves_its_place(self, simulated):
        model = Model(fixed=10.0)
        calls = [(0.0, 0), (1.0, 1), (1.1, 2), (1.2, 3), (1.6, 4)]
        found = served(simulated, calls, model, size=1, delay=0.0, waiting=2, cancel=[(1, 1.5)])
        assert_equal(isinstance(found[3][0], Overloaded), True)
        assert_equal([items for _, _, items in model.batches], [[0], [2], [4]])

    def test_a_place_is_free_when_the_batch_begins(self, simulated):
        model = Model(fixed=10.0)
        found = served(simulated, [(0.0, 0), (1.0, 1), (2.0, 2)], model, size=2, delay=1.5, waiting=2)
        assert_equal([answer for answer, _ in found], [0, 10, 20])

    def test_it_goes_on_after_a_refusal(self, simulated):
        model = Model()
        found = served(simulated, [(0.0, 0), (0.1, 1), (20.0, 2)], model, size=5, delay=1.0, waiting=1)
        assert_equal([type(answer).__name__ for answer, _ in found], ["int", "Overloaded", "int"])

    # --- the end ------------------------------------------------------------------------------------

    def test_close_answers_all_that_were_taken_without_delay(self, simulated):
        model = Model()

        async def calls():
            batcher = Batcher(model, 2, 60.0, 99)
            callers = [asyncio.ensure_future(later(batcher, 0.1 * i, i)) for i in range(5)]
            await asyncio.sleep(1)
            await batcher.close()
            return [caller.result()[0] if caller.done() else None for caller in callers], now()

        # 0 and 1 run from 0.1 to 2.1, 2 and 3 to 4.1, and 4 to 5.6.
        answers, end = simulated(calls())
        assert_equal((answers, simulated.left), ([0, 10, 20, 30, 40], 0))
        assert_close(end, 5.6, atol=1e-4)

    def test_close_while_one_waits_for_its_delay(self, simulated):
        model = Model()

        async def calls():
            batcher = Batcher(model, 9, 60.0, 99)
            caller = asyncio.ensure_future(later(batcher, 0.0, 3))
            await asyncio.sleep(1)
            await batcher.close()
            return caller.result()

        assert_close(simulated(calls()), (30, 2.5), atol=1e-4)
        assert_equal(simulated.left, 0)

    def test_nothing_is_taken_after_close(self, simulated):
        async def calls():
            batcher = Batcher(Model(), 2, 1.0, 9)
            await batcher.submit(1)
            await batcher.close()
            before = now()
            with raises(RuntimeError):
                await batcher.submit(2)
            return now() - before

        assert_close(simulated(calls()), 0.0)

    def test_nor_while_the_last_ones_run(self, simulated):
        model = Model()

        async def calls():
            batcher = Batcher(model, 1, 0.0, 9)
            first = asyncio.ensure_future(batcher.submit(1))
            await asyncio.sleep(0.5)
            closing = asyncio.ensure_future(batcher.close())
            await asyncio.sleep(0.1)
            with raises(RuntimeError):
                await batcher.submit(2)
            await closing
            return first.done() and first.result(), now()

        assert_close(simulated(calls()), (10, 1.5), atol=1e-4)

    def test_close_twice_and_before_any_request(self, simulated):
        async def calls():
            batcher = Batcher(Model(), 2, 1.0, 9)
            await batcher.close()
            await batcher.close()

        simulated(calls())
        assert_equal((simulated.seconds, simulated.left), (0.0, 0))

    def test_close_after_work_has_raised(self, simulated):
        async def work(items):
            raise ValueError("broken")

        async def calls():
            batcher = Batcher(work, 1, 0.0, 9)
            with raises(ValueError, "broken"):
                await batcher.submit(1)
            await batcher.close()

        simulated(calls())
        assert_equal(simulated.left, 0)

    # --- all at once --------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [1, 7, 64])
    def test_of_2000_none_is_lost_or_crossed(self, simulated, size):
        calls = [(random.uniform(0, 30), i) for i in range(2000)]
        found = served(simulated, calls, Model(0.01, 0.001), size, 0.05)
        wrong = [(i, answer) for i, (answer, _) in enumerate(found) if answer != 10 * i]
        if wrong:
            i, answer = wrong[0]
            fail(f"{len(wrong)} of 2000 got another answer: request {i} got {answer!r}, expected {10 * i}")

    @pytest.mark.parametrize(
        ("size", "delay", "waiting", "named"), [(0, 1.0, 5, 0), (-2, 1.0, 5, -2), (3, -0.5, 5, -0.5), (3, 1.0, 0, 0)]
    )
    def test_bad_numbers(self, size, delay, waiting, named):
        with raises(ValueError, named):
            Batcher(Model(), size, delay, waiting)


def plan_by_hand(arrivals, size, delay, fixed, per_item):
    """The plan by its definition: of all moments at which something happens, the first that is good enough."""
    batches, first, free = [], 0, 0.0
    while first < len(arrivals):
        moments = sorted({free, arrivals[first] + delay, *arrivals[first:]})
        for moment in moments:
            here = [i for i in range(first, len(arrivals)) if arrivals[i] <= moment]
            if moment >= free and here and (len(here) >= size or moment >= arrivals[first] + delay):
                break
        members = tuple(here[:size])
        free = moment + fixed + per_item * len(members)
        batches.append(Batch(moment, free, members))
        first += len(members)
    return batches
