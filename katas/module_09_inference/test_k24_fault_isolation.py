"""Judges k24_fault_isolation by faults that are planted on a simulated clock, and by its rules written out without asyncio."""

import asyncio
import contextlib
import heapq

import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, raises
from fixtures.faults import Busy, Refused, Server, now, outcome
from katas.module_09_inference.k24_fault_isolation import Bulkhead, CircuitBreaker, Degrader, Fallback, Rejected

pytestmark = from_scratch("pybreaker", "aiobreaker", "purgatory")


def planned(letter: str) -> object:
    """An answer or an error."""
    return {"+": "answer", "-": Busy(1), "r": Refused(2), "p": PermissionError(3), "x": Rejected("inside")}.get(letter)


async def one_a_second(breaker, outcomes: str, every: float = 1.0) -> str:
    """What becomes of one call a second, which answer or fail at once: "." is made, "!" is rejected.

    outcomes  of each call: "+" an answer, "-" a failure, "r" and "p" other errors, "x" a rejection inside of it
    """
    found = ""
    for letter in outcomes:
        server = Server((0, planned(letter)))
        await outcome(breaker(server), Rejected)
        found += "." if server.calls else "!"
        await asyncio.sleep(every)
    return found


async def later(seconds: float, awaitable_of, *errors: type[Exception]) -> tuple[float, str]:
    await asyncio.sleep(seconds)
    return await outcome(awaitable_of(), *errors)


def breaker_written_out(calls, failures, window, cooldown, trials):
    """Which calls are made, of (start, seconds, outcome) with "c" for cancelled."""
    events = sorted(
        [(s, 0, i) for i, (s, _, _) in enumerate(calls)] + [(s + d, 1, i) for i, (s, d, _) in enumerate(calls)]
    )
    opened, era, noted, out, good, born = None, 0, "", 0, 0, {}
    for time, ends, i in events:
        if not ends:
            half = opened is not None and time >= opened + cooldown
            if opened is None or (half and out + good < trials):
                born[i] = era
                out += half
            continue
        if born.get(i) != era:
            continue
        kind = calls[i][2]
        before = opened
        if opened is not None:
            out -= 1
            good += kind in "+r"
            opened = time if kind == "-" else None if good == trials else opened
        elif kind != "c":
            noted = (noted + kind)[-window:]
            opened = time if noted.count("-") == failures else None
        if opened != before:
            era, noted, out, good = era + 1, "", 0, 0
    return [i in born for i in range(len(calls))]


class TestCircuitBreaker:
    def test_the_example_worked_by_hand(self, simulated):
        async def calls():
            breaker = CircuitBreaker(2, 3, 10)
            return await one_a_second(breaker, "+-+-" + "+" * 9 + "-" + "+" * 9 + "++")

        assert_equal(simulated(calls()), "...." + "!" * 9 + "." + "!" * 9 + "..")

    def test_the_states(self, simulated):
        async def calls():
            breaker, found = CircuitBreaker(2, 3, 10), []
            for outcomes in ("+-", "-", "+" * 8, "+", "-", "+" * 9, "+"):
                found.append(breaker.state)
                await one_a_second(breaker, outcomes)
            return [*found, breaker.state]

        expected = ["closed", "closed", "open", "open", "half-open", "open", "half-open", "closed"]
        assert_equal(simulated(calls()), expected)

    def test_open_until_the_cooldown_is_over(self, simulated):
        async def calls():
            breaker, found = CircuitBreaker(1, 1, 10), []
            await one_a_second(breaker, "-", every=9.75)
            found.append(breaker.state)
            await asyncio.sleep(0.25)
            found.append(breaker.state)
            return found, await one_a_second(breaker, "-+", every=9.75), await one_a_second(breaker, "+")

        assert_equal(simulated(calls()), (["open", "half-open"], ".!", "."))

    @pytest.mark.parametrize("answer", [None, "", 0, False, [1]])
    def test_any_value_may_be_the_answer(self, simulated, answer):
        async def calls():
            return await CircuitBreaker(2, 3, 10)(Server((1, answer)))

        assert_equal(simulated(calls()), answer)

    @pytest.mark.parametrize("letter", ["-", "r", "p", "x"])
    def test_the_calls_own_errors_come_out_as_they_are(self, simulated, letter):
        async def calls():
            error = planned(letter)
            try:
                await CircuitBreaker(2, 3, 10)(Server((1, error)))
            except type(error) as found:
                return found is error, now()

        assert_equal(simulated(calls()), (True, 1.0))

    @pytest.mark.parametrize(
        ("failures", "window", "outcomes", "made"),
        [
            (1, 1, "+-+", "..!"),
            (2, 2, "-+-+--+", "......!"),
            (3, 3, "--+---+", "......!"),
            (2, 5, "--+", "..!"),
            (3, 5, "-+-+-+", ".....!"),
            (3, 5, "--++++--+-+-+", "..........!!!"),
        ],
    )
    def test_when_it_opens(self, simulated, failures, window, outcomes, made):
        async def calls():
            return await one_a_second(CircuitBreaker(failures, window, 100), outcomes)

        assert_equal(simulated(calls()), made)

    @pytest.mark.parametrize(
        ("outcomes", "made"),
        [("-r-+", "...."), ("-p-+", "...."), ("--+", "..!"), ("-x-+", "...!"), ("-rr-+", "....."), ("xxxx+", ".....")],
    )
    def test_which_outcomes_are_failures(self, simulated, outcomes, made):
        async def calls():
            return await one_a_second(CircuitBreaker(2, 2, 100), outcomes)

        assert_equal(simulated(calls()), made)

    @pytest.mark.parametrize(("outcomes", "made"), [("-r--r+", "......"), ("-r-r+", "....!")])
    def test_the_types_of_error_can_be_chosen(self, simulated, outcomes, made):
        async def calls():
            return await one_a_second(CircuitBreaker(2, 3, 100, on=(Refused, KeyError)), outcomes)

        assert_equal(simulated(calls()), made)

    def test_a_timeout_is_a_failure(self, simulated):
        async def calls():
            breaker, server = CircuitBreaker(2, 2, 100), Server((1, TimeoutError()))
            for _ in range(4):
                await outcome(breaker(server), Rejected)
            return server.calls

        assert_equal(simulated(calls()), 2)

    @pytest.mark.parametrize("cooldown", [10, 32.5])
    def test_a_rejection_names_the_seconds_that_are_left(self, simulated, cooldown):
        async def calls():
            breaker = CircuitBreaker(1, 1, cooldown)
            await one_a_second(breaker, "-", every=2.25)
            with raises(Rejected, cooldown - 2.25):
                await breaker(Server((1, "answer")))
            await asyncio.sleep(5)
            with raises(Rejected, cooldown - 7.25):
                await breaker(Server((1, "answer")))

        simulated(calls())

    def test_a_rejection_is_at_once_and_begins_nothing(self, simulated):
        async def calls():
            breaker, server = CircuitBreaker(1, 1, 10), Server((5, "answer"))
            await one_a_second(breaker, "-")
            return await outcome(breaker(server), Rejected), server.log

        assert_equal(simulated(calls()), ((1.0, "Rejected"), []))

    @pytest.mark.parametrize("trials", [1, 2, 3])
    def test_as_many_trials_as_said(self, simulated, trials):
        async def calls():
            breaker, server = CircuitBreaker(1, 1, 10, trials), Server((4, "answer"))
            await one_a_second(breaker, "-", every=12)
            tasks = [asyncio.create_task(outcome(breaker(server), Rejected)) for _ in range(5)]
            found = await asyncio.gather(*tasks)
            return sorted(found), breaker.state

        expected = [(12.0, "Rejected")] * (5 - trials) + [(16.0, "'answer'")] * trials
        assert_equal(simulated(calls()), (expected, "closed"))

    def test_all_trials_must_succeed(self, simulated):
        async def calls():
            breaker, found = CircuitBreaker(1, 1, 10, 3), []
            await one_a_second(breaker, "-", every=10)
            for outcomes in ("+", "+", "+", "+"):
                await one_a_second(breaker, outcomes)
                found.append(breaker.state)
            return found

        assert_equal(simulated(calls()), ["half-open", "half-open", "closed", "closed"])

    def test_the_first_trial_that_fails_opens_it(self, simulated):
        async def calls():
            breaker = CircuitBreaker(3, 3, 10, 3)
            await one_a_second(breaker, "---", every=4)
            return await one_a_second(breaker, "+++++++-++++++")

        # Open at 8, half-open from 18: trials at 18 and 19, open until 29.
        assert_equal(simulated(calls()), "!" * 6 + ".." + "!" * 6)

    def test_trials_from_before_a_failure_dont_count(self, simulated):
        async def calls():
            breaker = CircuitBreaker(1, 1, 10, 3)
            await one_a_second(breaker, "-", every=10)
            return await one_a_second(breaker, "+-++-+"), await one_a_second(breaker, "+++++++++")

        # Trials at 10 and 11, open until 21: three more trials at 21, 22 and 23 close it.
        assert_equal(simulated(calls()), ("..!!!!", "!!!!!...."))

    def test_a_trial_that_fails_isnt_the_end(self, simulated):
        async def calls():
            breaker = CircuitBreaker(1, 1, 3)
            return await one_a_second(breaker, "-++-++-+++-")

        # Open from 0, a trial at 3, open, a trial at 6, open, a trial at 9: closed; opens at 10.
        assert_equal(simulated(calls()), ".!!.!!.!!..")

    def test_old_outcomes_are_forgotten_when_it_closes(self, simulated):
        async def calls():
            return await one_a_second(CircuitBreaker(2, 4, 3), "+--++++-++-+")

        # Opens at 2, closes with the trial at 5; the failures at 7 and 10 are the first two of a new window.
        assert_equal(simulated(calls()), "...!!......!")

    @pytest.mark.parametrize("letter", ["r", "p"])
    def test_a_trial_that_is_told_no_succeeds(self, simulated, letter):
        async def calls():
            breaker = CircuitBreaker(1, 1, 10)
            await one_a_second(breaker, "-", every=10)
            await one_a_second(breaker, letter)
            return breaker.state

        assert_equal(simulated(calls()), "closed")

    @pytest.mark.parametrize("how", ["cancelled", "rejected"])
    def test_a_trial_without_an_outcome_makes_room_for_another(self, simulated, how):
        async def calls():
            breaker = CircuitBreaker(1, 1, 10)
            await one_a_second(breaker, "-", every=10)
            if how == "cancelled":
                task = asyncio.create_task(outcome(breaker(Server((9, "late")))))
                await asyncio.sleep(2)
                task.cancel()
                await task
            else:
                await one_a_second(breaker, "x", every=2)
            return breaker.state, await outcome(breaker(Server((1, "answer"))), Rejected), breaker.state

        assert_equal(simulated(calls()), ("half-open", (13.0, "'answer'"), "closed"))

    def test_a_cancelled_call_says_nothing(self, simulated):
        async def calls():
            breaker, found = CircuitBreaker(2, 3, 100), []
            for letter in "-cccc-":
                if letter == "c":
                    task = asyncio.create_task(outcome(breaker(Server((9, "late")))))
                    await asyncio.sleep(1)
                    task.cancel()
                    found.append(await task)
                else:
                    await one_a_second(breaker, letter)
            return found, breaker.state

        expected = [(float(at), "CancelledError") for at in (2, 3, 4, 5)]
        assert_equal(simulated(calls()), (expected, "open"))
        assert_equal(simulated.left, 0)

    def test_news_from_another_time_isnt_noted(self, simulated):
        async def calls():
            breaker, found = CircuitBreaker(1, 1, 10), []
            slow = [asyncio.create_task(outcome(breaker(Server((s, Busy(s)))), Rejected)) for s in (1, 5, 15, 30)]
            for at in (2, 7, 13):
                await asyncio.sleep(at - now())
                found.append(breaker.state)
            trial = asyncio.create_task(outcome(breaker(Server((4, "answer")))))
            for at in (16, 18, 31):
                await asyncio.sleep(at - now())
                found.append(breaker.state)
            await asyncio.gather(*slow, trial)
            return found

        # Opens at 1.  The failures at 5, 15 and 30 are of calls that began before that.
        assert_equal(simulated(calls()), ["open", "open", "half-open", "half-open", "closed", "closed"])

    def test_late_answers_dont_close_it(self, simulated):
        async def calls():
            breaker = CircuitBreaker(1, 1, 10)
            slow = [asyncio.create_task(outcome(breaker(Server((s, a))))) for s, a in ((1, Busy(1)), (15, "late"))]
            await asyncio.gather(*slow)
            return breaker.state, await one_a_second(breaker, "-+")

        assert_equal(simulated(calls()), ("half-open", ".!"))

    def test_two_of_them_dont_meet(self, simulated):
        async def calls():
            one, other = CircuitBreaker(1, 1, 10), CircuitBreaker(1, 1, 10)
            return await one_a_second(one, "-+"), await one_a_second(other, "++")

        assert_equal(simulated(calls()), (".!", ".."))

    @pytest.mark.parametrize(("failures", "window", "trials"), [(1, 1, 1), (2, 3, 1), (3, 4, 2), (4, 10, 3)])
    def test_equals_the_rules_written_out(self, simulated, rng, failures, window, trials):
        found, expected = [], []
        for _ in range(12):
            starts = rng.uniform(0, 100, 60)
            kinds = rng.choice(list("+-rc"), 60, p=[0.45, 0.4, 0.05, 0.1])
            plan = [(float(s), float(d), str(k)) for s, d, k in zip(starts, rng.exponential(2, 60), kinds, strict=True)]

            async def calls(plan=plan):
                breaker, made = CircuitBreaker(failures, window, 8, trials), [False] * len(plan)

                async def client(i, start, seconds, kind):
                    await asyncio.sleep(start)
                    server = Server((seconds if kind != "c" else 1000.0, planned(kind)))
                    try:
                        async with asyncio.timeout(seconds if kind == "c" else None):
                            await outcome(breaker(server), Rejected)
                    finally:
                        made[i] = server.calls == 1

                await asyncio.gather(*(client(i, *one) for i, one in enumerate(plan)))
                return made

            found.append(simulated(calls()))
            expected.append(breaker_written_out(plan, failures, window, 8, trials))
        assert_equal(found, expected)

    @pytest.mark.parametrize(("failures", "window"), [(0, 3), (4, 3), (-1, 2)])
    def test_refuses_failures_outside_of_the_window(self, failures, window):
        CircuitBreaker(1, 3, 10)
        CircuitBreaker(3, 3, 10)
        with raises(ValueError, failures, window):
            CircuitBreaker(failures, window, 10)


def bulkhead_written_out(calls, limit, queue):
    """When each call, of (start, seconds, patience), is begun; None if it is rejected or leaves before."""
    events = [(start, i, "comes") for i, (start, _, _) in enumerate(calls)]
    heapq.heapify(events)
    running, waiting, begun = set(), [], [None] * len(calls)
    while events:
        time, i, what = heapq.heappop(events)
        start, _, patience = calls[i]
        if what == "comes" and (len(running) < limit or len(waiting) < queue):
            waiting.append(i)
            heapq.heappush(events, (start + patience, i, "leaves"))
        elif i in running:
            running.remove(i)
        elif i in waiting:
            waiting.remove(i)
        while waiting and len(running) < limit:
            first = waiting.pop(0)
            running.add(first)
            begun[first] = time
            heapq.heappush(events, (min(time + calls[first][1], calls[first][0] + calls[first][2]), first, "ends"))
    return begun


class TestBulkhead:
    def test_the_example_worked_by_hand(self, simulated):
        async def calls():
            bulkhead, server = Bulkhead(2, 1), Server((4, "answer"))
            tasks = [asyncio.create_task(later(at, lambda: bulkhead(server), Rejected)) for at in (0, 1, 2, 3)]
            await asyncio.sleep(2.5)
            load = bulkhead.load
            return await asyncio.gather(*tasks), server.begun(), load

        ends = [(4.0, "'answer'"), (5.0, "'answer'"), (8.0, "'answer'"), (3.0, "Rejected")]
        assert_equal(simulated(calls()), (ends, [0.0, 1.0, 4.0], 1.5))

    @pytest.mark.parametrize("answer", [None, "", 0, False, [1]])
    def test_any_value_may_be_the_answer(self, simulated, answer):
        async def calls():
            return await Bulkhead(2)(Server((1, answer)))

        assert_equal(simulated(calls()), answer)

    @pytest.mark.parametrize("letter", ["-", "r", "x"])
    def test_the_calls_own_errors_come_out_as_they_are(self, simulated, letter):
        async def calls():
            error = planned(letter)
            try:
                await Bulkhead(2)(Server((1, error)))
            except type(error) as found:
                return found is error, now()

        assert_equal(simulated(calls()), (True, 1.0))

    @pytest.mark.parametrize(("limit", "queue"), [(1, 0), (1, 2), (3, 0), (3, 4)])
    def test_so_many_run_and_so_many_wait(self, simulated, limit, queue):
        async def calls():
            bulkhead, server = Bulkhead(limit, queue), Server((5, "answer"))
            found = await asyncio.gather(*(outcome(bulkhead(server), Rejected) for _ in range(12)))
            return sum(text == "Rejected" and at == 0.0 for at, text in found), server.begun()

        begun = [5.0 * (i // limit) for i in range(limit + queue)]
        assert_equal(simulated(calls()), (12 - limit - queue, begun))

    def test_no_queue_unless_it_is_said(self, simulated):
        async def calls():
            bulkhead, server = Bulkhead(2), Server((5, "answer"))
            found = await asyncio.gather(*(outcome(bulkhead(server), Rejected) for _ in range(4)))
            return [text for _, text in found]

        assert_equal(simulated(calls()), ["'answer'", "'answer'", "Rejected", "Rejected"])

    def test_a_rejection_is_at_once_and_begins_nothing(self, simulated):
        async def calls():
            bulkhead, server = Bulkhead(1), Server((5, "answer"))
            task = asyncio.create_task(outcome(bulkhead(Server((9, "long")))))
            await asyncio.sleep(2)
            found = await outcome(bulkhead(server), Rejected)
            await task
            return found, server.log

        assert_equal(simulated(calls()), ((2.0, "Rejected"), []))

    @pytest.mark.parametrize("letter", ["+", "-", "r"])
    def test_however_a_call_ends_it_makes_room(self, simulated, letter):
        async def calls():
            bulkhead, found = Bulkhead(2), []
            for _ in range(5):
                found.append((await outcome(bulkhead(Server((1, planned(letter)))), Rejected))[1])
            return len(set(found)), bulkhead.load, now()

        assert_equal(simulated(calls()), (1, 0.0, 5.0))

    def test_a_call_that_is_cancelled_makes_room(self, simulated):
        async def calls():
            bulkhead, server = Bulkhead(1, 1), Server((9, "late"))
            first, second = (asyncio.create_task(outcome(bulkhead(server))) for _ in range(2))
            await asyncio.sleep(3)
            first.cancel()
            return await first, await second, server.begun(), bulkhead.load

        assert_equal(simulated(calls()), ((3.0, "CancelledError"), (12.0, "'late'"), [0.0, 3.0], 0.0))
        assert_equal(simulated.left, 0)

    def test_who_is_cancelled_leaves_the_queue(self, simulated):
        async def calls():
            bulkhead, servers = Bulkhead(1, 2), [Server((5, i)) for i in range(4)]
            tasks = [asyncio.create_task(outcome(bulkhead(server), Rejected)) for server in servers[:3]]
            await asyncio.sleep(2)
            loads = [bulkhead.load]
            tasks[1].cancel()
            await asyncio.sleep(1)
            loads.append(bulkhead.load)
            tasks.append(asyncio.create_task(outcome(bulkhead(servers[3]), Rejected)))
            return await asyncio.gather(*tasks), loads, servers[1].log

        ends = [(5.0, "0"), (2.0, "CancelledError"), (10.0, "2"), (15.0, "3")]
        assert_equal(simulated(calls()), (ends, [3.0, 2.0], []))

    def test_no_place_is_lost_to_who_is_cancelled_as_it_comes(self, simulated):
        async def calls():
            bulkhead, servers = Bulkhead(1, 3), [Server((4, i)) for i in range(4)]
            tasks = []

            async def first():
                await bulkhead(servers[0])
                tasks[0].cancel()  # its place has just come, and it couldn't take it yet

            one = asyncio.create_task(first())
            await asyncio.sleep(1)
            tasks += [asyncio.create_task(outcome(bulkhead(server))) for server in servers[1:3]]
            await one
            found = await asyncio.gather(*tasks)
            return found, await outcome(bulkhead(servers[3]), Rejected), servers[1].log, bulkhead.load

        ends = [(4.0, "CancelledError"), (8.0, "2")]
        assert_equal(simulated(calls()), (ends, (12.0, "3"), [], 0.0))

    def test_in_the_order_in_which_they_came(self, simulated):
        async def calls():
            bulkhead, order = Bulkhead(2, 20), []

            async def call(i):
                order.append(i)
                await asyncio.sleep(1 + i % 3)

            await asyncio.gather(*(bulkhead(lambda i=i: call(i)) for i in range(12)))
            return order

        assert_equal(simulated(calls()), list(range(12)))

    def test_nobody_overtakes_at_the_moment_when_a_place_is_free(self, simulated):
        async def calls():
            bulkhead, log = Bulkhead(1, 5), []

            async def call(name):
                log.append((now(), name))
                await asyncio.sleep(4)

            async def first():
                await bulkhead(lambda: call("first"))
                await bulkhead(lambda: call("first again"))

            async def second():
                await asyncio.sleep(1)
                await bulkhead(lambda: call("second"))

            await asyncio.gather(first(), second())
            return log

        assert_equal(simulated(calls()), [(0.0, "first"), (4.0, "second"), (8.0, "first again")])

    def test_the_load(self, simulated):
        async def calls():
            bulkhead, found = Bulkhead(4, 3), []
            tasks = [asyncio.create_task(later(i, lambda: bulkhead(Server((6.5, "a"))), Rejected)) for i in range(8)]
            for _ in range(16):
                await asyncio.sleep(0.75 if not found else 1)
                found.append(bulkhead.load)
            await asyncio.gather(*tasks)
            return found

        # The call of 4 begins when that of 0 ends, and so on.
        times = [0.75 + i for i in range(16)]
        begun = [0, 1, 2, 3, 6.5, 7.5, 8.5, 9.5]
        counts = [sum(i <= t < b + 6.5 for i, b in enumerate(begun)) for t in times]
        assert_close(simulated(calls()), [count / 4 for count in counts])

    def test_two_of_them_dont_meet(self, simulated):
        async def calls():
            one, other = Bulkhead(1), Bulkhead(1)
            return await asyncio.gather(*(outcome(b(Server((1, "a"))), Rejected) for b in (one, other, one)))

        assert_equal(simulated(calls()), [(1.0, "'a'"), (1.0, "'a'"), (0.0, "Rejected")])

    @pytest.mark.parametrize(("limit", "queue"), [(1, 0), (1, 3), (3, 2), (4, 10)])
    def test_equals_the_rules_written_out(self, simulated, rng, limit, queue):
        found, expected = [], []
        for _ in range(12):
            columns = rng.uniform(0, 40, 60), rng.exponential(2 * limit, 60), rng.exponential(8, 60)
            plan = [tuple(map(float, row)) for row in zip(*columns, strict=True)]

            async def calls(plan=plan):
                bulkhead, begun = Bulkhead(limit, queue), [None] * len(plan)

                async def client(i, start, seconds, patience):
                    async def call():
                        begun[i] = now()
                        await asyncio.sleep(seconds)

                    await asyncio.sleep(start)
                    with contextlib.suppress(Rejected, TimeoutError):
                        async with asyncio.timeout(patience):
                            await bulkhead(call)

                await asyncio.gather(*(client(i, *one) for i, one in enumerate(plan)))
                return [-1.0 if at is None else at for at in begun]

            found.append(simulated(calls()))
            expected.append([-1.0 if at is None else at for at in bulkhead_written_out(plan, limit, queue)])
        assert_close(found, expected)

    @pytest.mark.parametrize(("limit", "queue", "named"), [(0, 1, 0), (-2, 1, -2), (1, -3, -3)])
    def test_refuses_less_than_one_place(self, limit, queue, named):
        Bulkhead(1, 0)
        with raises(ValueError, named):
            Bulkhead(limit, queue)


class TestFallback:
    def test_the_example_worked_by_hand(self, simulated):
        async def calls():
            return await Fallback()(Server((0, ConnectionError())), Server((0, "short")))

        assert_equal(simulated(calls()), (1, "short"))

    def test_one_after_the_other(self, simulated):
        async def calls():
            servers = [Server((2, Busy(0))), Server((3, Busy(1))), Server((1, "third")), Server((1, "fourth"))]
            found = await Fallback()(*servers)
            return found, now(), [server.begun() for server in servers]

        assert_equal(simulated(calls()), ((2, "third"), 6.0, [[0.0], [2.0], [5.0], []]))

    @pytest.mark.parametrize("answer", [None, "", 0, False, [1]])
    def test_any_value_may_be_the_answer(self, simulated, answer):
        async def calls():
            return await Fallback()(Server((1, answer)), Server((1, "another")))

        assert_equal(simulated(calls()), (0, answer))

    @pytest.mark.parametrize(
        ("letter", "found"),
        [("-", "(1, 'short')"), ("x", "(1, 'short')"), ("r", "Refused 2"), ("p", "PermissionError 3")],
    )
    def test_which_errors_go_on_to_the_next(self, simulated, letter, found):
        async def calls():
            return await outcome(Fallback()(Server((1, planned(letter))), Server((0, "short"))))

        assert_equal(simulated(calls()), (1.0, found))

    def test_a_timeout_goes_on_to_the_next(self, simulated):
        async def calls():
            return await outcome(Fallback()(Server((1, TimeoutError())), Server((0, "short"))))

        assert_equal(simulated(calls()), (1.0, "(1, 'short')"))

    def test_the_types_of_error_can_be_chosen(self, simulated):
        async def calls():
            fallback = Fallback((Refused,))
            first = await outcome(fallback(Server((1, Refused(1))), Server((1, "short"))))
            return first, await outcome(fallback(Server((1, Busy(1))), Server((1, "short"))))

        assert_equal(simulated(calls()), ((2.0, "(1, 'short')"), (3.0, "Busy 1")))

    @pytest.mark.parametrize("count", [1, 3])
    def test_all_the_errors_come_out(self, simulated, count):
        async def calls():
            errors, fallback, found = [Busy(0), TimeoutError(), Busy(2)][:count], Fallback(), []
            for _ in range(2):
                try:
                    await fallback(*(Server((1, error)) for error in errors))
                except ExceptionGroup as group:
                    found.append(([errors.index(error) for error in group.exceptions], now()))
            return found

        assert_equal(simulated(calls()), [(list(range(count)), count * 1.0), (list(range(count)), count * 2.0)])

    def test_it_can_be_used_again(self, simulated):
        async def calls():
            fallback, found = Fallback(), []
            for _ in range(2):
                found.append(await fallback(Server((1, Busy(0))), Server((1, "short"))))
                found.append(await fallback(Server((1, "long")), Server((1, "short"))))
            return found

        assert_equal(simulated(calls()), [(1, "short"), (0, "long")] * 2)

    def test_whoever_is_cancelled_ends_it(self, simulated):
        async def calls():
            first, second = Server((9, "late")), Server((1, "short"))
            task = asyncio.create_task(outcome(Fallback()(first, second)))
            await asyncio.sleep(3)
            task.cancel()
            return await task, first.log[-1], second.log

        assert_equal(simulated(calls()), ((3.0, "CancelledError"), (3.0, "is cut off", 0), []))
        assert_equal(simulated.left, 0)

    def test_an_outage_of_a_minute(self, simulated):
        # All three policies together: a model hangs from 60 to 120, and one question comes each second.
        async def calls():
            breaker, bulkhead, fallback = CircuitBreaker(3, 5, 10), Bulkhead(8), Fallback()
            asked, found = [], []

            async def large():
                asked.append(now())
                await asyncio.sleep(1000 if 60 <= now() < 120 else 0.25)
                return "long"

            async def patient():
                async with asyncio.timeout(2.25):
                    return await large()

            async def small():
                return "short"

            async def question(i):
                await asyncio.sleep(i + 0.5)
                _, answer = await fallback(lambda: breaker(lambda: bulkhead(patient)), small)
                found.append((i, answer, now() - i - 0.5))

            await asyncio.gather(*(question(i) for i in range(180)))
            short = [i for i, answer, _ in found if answer == "short"]
            slowest = max(seconds for *_, seconds in found)
            return sorted(short), slowest, [at for at in asked if 60 <= at < 120]

        # Three failures open it at 64.75; each trial takes 2.25 to fail, and the next comes 10.75 later.
        tried = [60.5, 61.5, 62.5, 63.5, 64.5, 75.5, 88.5, 101.5, 114.5]
        assert_equal(simulated(calls()), (list(range(60, 127)), 2.25, tried))


def levels_written_out(updates, levels, high, low, settle, calm):
    """The level after each update, looked up in all that was before."""
    level, changes, found = 0, [], []
    for i, (at, load) in enumerate(updates):
        first = i + 1
        while first > 0 and updates[first - 1][1] < low and (not changes or first - 1 >= changes[-1]):
            first -= 1
        before = level
        if load >= high and (not changes or at - updates[changes[-1]][0] >= settle):
            level = min(level + 1, levels - 1)
        elif first <= i and at - updates[first][0] >= calm:
            level = max(level - 1, 0)
        if level != before:
            changes.append(i)
        found.append(level)
    return found


class TestDegrader:
    def test_the_example_worked_by_hand(self):
        degrader = Degrader(3, 0.9, 0.5, 10, 30)
        times = (0, 5, 10, 20, 30, 45, 60, 75, 90)
        loads = (0.95, 0.95, 0.95, 0.7, 0.4, 0.3, 0.4, 0.4, 0.4)
        found = [degrader.update(at, load) for at, load in zip(times, loads, strict=True)]
        assert_equal(found, [1, 1, 2, 2, 2, 2, 1, 1, 0])

    def test_the_attribute_is_the_level(self):
        degrader, found = Degrader(3, 0.9, 0.5, 10, 30), []
        found.append(degrader.level)
        for at, load in ((0, 0.9), (10, 1.0), (20, 0.1), (50, 0.1)):
            degrader.update(at, load)
            found.append(degrader.level)
        assert_equal(found, [0, 1, 2, 2, 1])

    @pytest.mark.parametrize(
        ("load", "levels"), [(0.9, [1, 2, 3]), (0.89, [1, 1, 1]), (0.5, [1, 1, 1]), (0.49, [1, 1, 0])]
    )
    def test_the_thresholds(self, load, levels):
        degrader = Degrader(4, 0.9, 0.5, 10, 30)
        assert_equal([degrader.update(*one) for one in ((0, 0.9), (20, load), (50, load))], levels)

    @pytest.mark.parametrize(("seconds", "level"), [(9.5, 1), (10, 2), (11, 2)])
    def test_it_settles_before_the_next_step(self, seconds, level):
        degrader = Degrader(5, 0.9, 0.5, 10, 30)
        degrader.update(3, 1.0)
        assert_equal(degrader.update(3 + seconds, 1.0), level)

    def test_it_settles_after_a_step_down_too(self):
        degrader = Degrader(5, 0.9, 0.5, 20, 5)
        found = [degrader.update(*one) for one in ((0, 1.0), (30, 0.1), (35, 0.1), (40, 1.0), (54, 1.0), (55, 1.0))]
        assert_equal(found, [1, 1, 0, 0, 0, 1])

    def test_the_first_step_is_at_once(self):
        assert_equal(Degrader(3, 0.9, 0.5, 1000, 30).update(0, 5.0), 1)

    def test_it_goes_no_further_than_its_ends(self):
        degrader = Degrader(3, 0.9, 0.5, 1, 2)
        up = [degrader.update(at, 2.0) for at in range(6)]
        down = [degrader.update(at, 0.0) for at in range(6, 16)]
        assert_equal((up, down), ([1, 2, 2, 2, 2, 2], [2, 2, 1, 1, 0, 0, 0, 0, 0, 0]))

    def test_a_load_in_between_ends_the_calm(self):
        degrader = Degrader(3, 0.9, 0.5, 10, 30)
        updates = ((0, 1.0), (10, 0.2), (39, 0.2), (39.5, 0.5), (40, 0.2), (69, 0.2), (70, 0.2))
        assert_equal([degrader.update(*one) for one in updates], [1, 1, 1, 1, 1, 1, 0])

    def test_nothing_changes_between_the_thresholds(self):
        degrader = Degrader(3, 0.9, 0.5, 1, 2)
        degrader.update(0, 1.0)
        assert_equal([degrader.update(at, 0.5 + 0.39 * (at % 2)) for at in range(1, 40)], [1] * 39)

    def test_updates_may_be_rare(self):
        degrader = Degrader(3, 0.9, 0.5, 10, 30)
        updates = ((0, 1.0), (100, 1.0), (120, 0.2), (500, 0.2), (501, 0.2), (533, 0.2))
        assert_equal([degrader.update(*one) for one in updates], [1, 2, 2, 1, 1, 0])

    def test_one_level_is_always_all(self):
        degrader = Degrader(1, 0.9, 0.5, 1, 2)
        assert_equal([degrader.update(at, load) for at, load in ((0, 1.0), (5, 1.0), (9, 0.1), (20, 0.1))], [0] * 4)

    @pytest.mark.parametrize(("levels", "settle", "calm"), [(2, 3, 3), (3, 1, 5), (4, 6, 2), (5, 0, 4)])
    def test_equals_the_rules_written_out(self, rng, levels, settle, calm):
        found, expected = [], []
        for _ in range(20):
            times = rng.integers(0, 3, 100).cumsum()
            loads = rng.choice([0.2, 0.49, 0.5, 0.7, 0.9, 1.4], 100, p=[0.3, 0.3, 0.05, 0.05, 0.1, 0.2])
            updates = [(int(at), float(load)) for at, load in zip(times, loads, strict=True)]
            degrader = Degrader(levels, 0.9, 0.5, settle, calm)
            found.append([degrader.update(*one) for one in updates])
            expected.append(levels_written_out(updates, levels, 0.9, 0.5, settle, calm))
        assert_equal(found, expected)

    def test_two_of_them_dont_meet(self):
        one, other = Degrader(3, 0.9, 0.5, 10, 30), Degrader(3, 0.9, 0.5, 10, 30)
        assert_equal((one.update(0, 1.0), other.update(0, 0.1), other.update(1, 1.0), one.level), (1, 0, 1, 1))

    def test_a_load_that_swings_with_the_level_comes_to_rest(self):
        # The full service makes a load of 1, each level takes 0.3 off.
        degrader, level, changes = Degrader(3, 0.9, 0.5, 10, 60), 0, 0
        for at in range(0, 10_000, 5):
            before, level = level, degrader.update(at, 1.0 - 0.3 * level)
            changes += level != before
        assert_equal((level, changes), (1, 1))

    @pytest.mark.parametrize(("high", "low"), [(0.5, 0.9), (0.75, 0.75)])
    def test_refuses_thresholds_that_cross(self, high, low):
        with raises(ValueError, low, high):
            Degrader(3, high, low, 10, 30)
