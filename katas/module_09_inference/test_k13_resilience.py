"""Judges k13_resilience by faults that are planted on a simulated clock, and by its rules written out without asyncio."""

import asyncio
from fractions import Fraction

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, raises
from fixtures.faults import Busy, Refused, Server, fails, half, now, outcome
from katas.module_09_inference.k13_resilience import Deadline, Hedge, Retry, RetryBudget, backoff

pytestmark = from_scratch("tenacity", "stamina")


class TestBackoff:
    def test_the_example_worked_by_hand(self):
        assert_close([backoff(n, 0.5, 3.0, half) for n in (1, 2, 3, 4, 5)], [0.25, 0.5, 1.0, 1.5, 1.5])

    @pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
    @pytest.mark.parametrize(("base", "cap"), [(0.1, 60.0), (2.0, 9.0), (3.0, 1.0), (1.0, 64.0)])
    def test_the_formula(self, base, cap, share):
        expected = [share * min(cap, base * 2.0 ** (n - 1)) for n in range(1, 20)]
        assert_close([backoff(n, base, cap, lambda: share) for n in range(1, 20)], expected)

    def test_asks_for_a_new_number_each_time(self):
        numbers = iter([0.5, 0.25, 0.75])
        assert_close([backoff(n, 4.0, 100.0, lambda: next(numbers)) for n in (1, 2, 3)], [2.0, 2.0, 12.0])

    @pytest.mark.parametrize("retry", [1024, 1025, 1100, 5000])
    def test_thousands_of_retries(self, retry):
        assert_close(backoff(retry, 0.5, 30.0, half), 15.0)


class TestRetryBudget:
    def test_the_example_worked_by_hand(self):
        budget = RetryBudget(0.25, 2)
        found = [budget.withdraw() for _ in range(3)]
        for _ in range(4):
            budget.deposit()
        assert_equal([*found, budget.withdraw(), budget.withdraw()], [True, True, False, True, False])

    @pytest.mark.parametrize(("ratio", "burst"), [(0.25, 3), (0.5, 1), (0.125, 10), (0.75, 2.5), (2, 5), (0, 4)])
    def test_equals_the_rule_in_exact_numbers(self, rng, ratio, burst):
        budget, tokens = RetryBudget(ratio, burst), Fraction(burst)
        found, expected = [], []
        for deposit in rng.random(300) < np.repeat(rng.random(10), 30):
            if deposit:
                budget.deposit()
                tokens = min(Fraction(burst), tokens + Fraction(ratio))
            else:
                found.append(budget.withdraw())
                expected.append(tokens >= 1)
                tokens -= tokens >= 1
        assert_equal(found, expected)

    def test_a_quiet_night_saves_nothing_up(self):
        budget = RetryBudget(0.5, 3)
        for _ in range(1000):
            budget.deposit()
        assert_equal([budget.withdraw() for _ in range(5)], [True] * 3 + [False] * 2)

    def test_a_refusal_takes_nothing(self):
        budget = RetryBudget(0.5, 1)
        found = [budget.withdraw()]
        budget.deposit()
        found += [budget.withdraw() for _ in range(3)]
        budget.deposit()
        assert_equal([*found, budget.withdraw()], [True, False, False, False, True])

    def test_part_of_a_token_is_none(self):
        budget = RetryBudget(0.25, 1.75)
        assert_equal([budget.withdraw(), budget.withdraw()], [True, False])

    def test_two_of_them_dont_meet(self):
        one, other = RetryBudget(0.5, 1), RetryBudget(0.5, 1)
        assert_equal([one.withdraw(), other.withdraw(), one.withdraw()], [True, True, False])


class TestDeadline:
    def test_the_example_worked_by_hand(self, simulated):
        async def calls():
            deadline = Deadline(4)
            first = await outcome(deadline(Server((3, "a"))))
            return first, deadline.left(), await outcome(deadline(Server((3, "b"))))

        assert_equal(simulated(calls()), ((3.0, "'a'"), 1.0, (4.0, "TimeoutError")))

    def test_what_is_left(self, simulated):
        async def calls():
            await asyncio.sleep(7)
            deadline, found = Deadline(2.5), []
            for _ in range(4):
                found.append(deadline.left())
                await asyncio.sleep(1)
            return found

        assert_close(simulated(calls()), [2.5, 1.5, 0.5, 0.0])

    def test_what_is_left_to_the_last_digit(self, simulated):
        async def calls():
            deadline = Deadline(1234.5678)
            await asyncio.sleep(0.25)
            return deadline.left()

        assert_close(simulated(calls()), 1234.3178)

    @pytest.mark.parametrize("answer", [None, "", 0, False, [1]])
    def test_any_value_may_be_the_answer(self, simulated, answer):
        async def calls():
            return await Deadline(4)(Server((1, answer)))

        assert_equal(simulated(calls()), answer)

    @pytest.mark.parametrize("error", [Busy(1), Refused(2), TimeoutError("mine")], ids=lambda e: type(e).__name__)
    def test_the_calls_own_errors_come_out_as_they_are(self, simulated, error):
        async def calls():
            try:
                await Deadline(4)(Server((1, error)))
            except type(error) as found:
                return found is error, now()

        assert_equal(simulated(calls()), (True, 1.0))

    @pytest.mark.parametrize("seconds", [4, 2.5, 30])
    def test_the_error_names_the_seconds(self, simulated, seconds):
        async def calls():
            deadline = Deadline(seconds)
            await asyncio.sleep(1)
            with raises(TimeoutError, seconds):
                await deadline(Server((100, "late")))
            with raises(TimeoutError, seconds):
                await deadline(Server((100, "late")))

        simulated(calls())

    @pytest.mark.parametrize("seconds", [0, -1, 3])
    def test_what_is_over_begins_nothing(self, simulated, seconds):
        async def calls():
            deadline, server = Deadline(seconds), Server((0, "a"))
            await asyncio.sleep(3)
            return await outcome(deadline(server)), server.log

        assert_equal(simulated(calls()), ((3.0, "TimeoutError"), []))

    def test_a_call_that_is_cut_off_cleans_up_first(self, simulated):
        async def calls():
            server = Server((9, "late"), cleanup=2)
            return await outcome(Deadline(4)(server)), server.log

        expected = ((6.0, "TimeoutError"), [(0.0, "begins", 0), (6.0, "is cut off", 0)])
        assert_equal(simulated(calls()), expected)

    def test_calls_at_the_same_time_have_one_end(self, simulated):
        async def calls():
            deadline = Deadline(4)

            async def later(seconds):
                await asyncio.sleep(seconds)
                return await outcome(deadline(Server((2, seconds))))

            return await asyncio.gather(*(later(seconds) for seconds in (0, 1, 3, 5)))

        assert_equal(simulated(calls()), [(2.0, "0"), (3.0, "1"), (4.0, "TimeoutError"), (5.0, "TimeoutError")])

    def test_whoever_is_cancelled_cancels_the_call(self, simulated):
        async def calls():
            server = Server((9, "late"))
            task = asyncio.create_task(outcome(Deadline(20)(server)))
            await asyncio.sleep(3)
            task.cancel()
            return await task, server.log

        assert_equal(simulated(calls()), ((3.0, "CancelledError"), [(0.0, "begins", 0), (3.0, "is cut off", 0)]))
        assert_equal(simulated.left, 0)

    def test_one_within_another(self, simulated):
        async def calls():
            short, long = Server((9, "late")), Server((9, "late"))
            outer = Deadline(5)
            first = await outcome(outer(lambda: Deadline(2)(short)))
            return first, await outcome(outer(lambda: Deadline(100)(long)))

        assert_equal(simulated(calls()), ((2.0, "TimeoutError"), (5.0, "TimeoutError")))


def retry_written_out(plan, attempts, base, cap, share, on, tokens, end):
    """When each attempt begins, when the retry ends, and with what: (answer, None) or (None, error); tokens left."""
    at, begun = 0.0, []
    for attempt in range(1, attempts + 1):
        if at >= end:
            return begun, at, "TimeoutError", tokens
        seconds, answer = plan[attempt - 1]
        begun.append(at)
        late = at + seconds > end
        at = min(end, at + seconds)
        if not late and not isinstance(answer, Exception):
            return begun, at, repr(answer), tokens
        text = "TimeoutError" if late else f"{type(answer).__name__} {answer}"
        wait = share * min(cap, base * 2.0 ** (attempt - 1))
        if not late and not isinstance(answer, on):
            return begun, at, text, tokens
        if attempt == attempts or at + wait >= end or tokens < 1:
            return begun, at, text, tokens
        tokens -= 1
        at += wait
    raise AssertionError("unreachable")


class TestRetry:
    def test_the_example_worked_by_hand(self, simulated):
        async def calls():
            server = Server(*fails(1, 2), (1, "answer"))
            return await outcome(Retry(3, 2, 10, random=half)(server)), server.begun()

        assert_equal(simulated(calls()), ((6.0, "'answer'"), [0.0, 2.0, 5.0]))

    @pytest.mark.parametrize(
        ("seconds", "ends", "begun"),
        [(5.5, (5.5, "TimeoutError"), [0.0, 2.0, 5.0]), (5, (3.0, "Busy 2"), [0.0, 2.0])],
    )
    def test_the_example_with_a_deadline(self, simulated, seconds, ends, begun):
        async def calls():
            server = Server(*fails(1, 2), (1, "answer"))
            return await outcome(Retry(3, 2, 10, random=half)(server, Deadline(seconds))), server.begun()

        assert_equal(simulated(calls()), (ends, begun))

    @pytest.mark.parametrize("answer", [None, "", 0, False, [1]])
    def test_any_value_may_be_the_answer(self, simulated, answer):
        async def calls():
            server = Server(*fails(1), (1, answer))
            return await Retry(3, 1, 10)(server), server.calls

        assert_equal(simulated(calls()), (answer, 2))

    @pytest.mark.parametrize("attempts", [1, 2, 5])
    def test_the_last_error_comes_out_and_nothing_waits_for_it(self, simulated, attempts):
        async def calls():
            errors = [Busy(i) for i in range(attempts)]
            server = Server(*((1, error) for error in errors))
            try:
                await Retry(attempts, 2, 2, random=half)(server)
            except Busy as error:
                return server.calls, errors.index(error), now()

        assert_equal(simulated(calls()), (attempts, attempts - 1, 2.0 * attempts - 1))

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (Busy(1), "2"),
            (TimeoutError(), "2"),
            (Refused(1), "Refused 1"),
            (PermissionError(1), "PermissionError 1"),
            (asyncio.CancelledError(), "CancelledError"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_which_errors_are_worth_another_attempt(self, simulated, error, text):
        async def calls():
            return await outcome(Retry(3, 2, 10, random=half)(Server((1, error), (1, 2))))

        assert_equal(simulated(calls()), (3.0 if text == "2" else 1.0, text))

    def test_the_types_of_error_can_be_chosen(self, simulated):
        async def calls():
            retry = Retry(3, 2, 10, on=(Refused, KeyError), random=half)
            server = Server((1, Refused(1)), (1, Busy(2)), (1, "answer"))
            return await outcome(retry(server)), server.calls

        assert_equal(simulated(calls()), ((3.0, "Busy 2"), 2))

    def test_waits_are_random(self, simulated):
        async def calls():
            numbers = iter([0.25, 0.75, 0.0, 0.5])
            server = Server(*fails(1, seconds=0))
            await outcome(Retry(5, 4, 16, random=lambda: next(numbers))(server))
            return server.begun()

        assert_equal(simulated(calls()), [0.0, 1.0, 7.0, 7.0, 15.0])

    def test_a_thousand_clients_dont_come_back_together(self, simulated):
        async def calls():
            server, retry = Server(*fails(1, seconds=0)), Retry(2, 8, 8)
            await asyncio.gather(*(outcome(retry(server)) for _ in range(1000)))
            return server.begun()[1000:]

        # In each of the 8 seconds 125 are expected; the deviation is 10.
        counts = np.bincount(np.floor(simulated(calls())).astype(int), minlength=8)
        assert_equal([bool(60 < count < 190) for count in counts], [True] * 8)

    def test_a_deposit_for_each_use_and_a_token_for_each_retry(self, simulated):
        async def calls():
            budget = RetryBudget(0.5, 4)
            retry, found = Retry(3, 2, 2, budget=budget, random=half), []
            for _ in range(6):
                server = Server(*fails(1, 2, 3))
                await outcome(retry(server))
                found.append(server.calls)
            return found

        # Tokens after the deposit: 4, 2.5, 1, 0.5, 1, 0.5.
        assert_equal(simulated(calls()), [3, 3, 2, 1, 2, 1])

    def test_answers_make_deposits_as_failures_do(self, simulated):
        async def calls():
            retry, found = Retry(2, 2, 2, budget=RetryBudget(0.5, 2), random=half), []
            for failures in (1, 1, 1, 0, 1, 0, 0, 1):
                server = Server(*fails(*range(failures)), (1, "answer"))
                found.append((await outcome(retry(server)))[1])
            return found

        # Tokens after the deposit: 2, 1.5, 1, 0.5, 1, 0.5, 1, 1.5.
        assert_equal(simulated(calls()), ["'answer'"] * 8)

    def test_a_budget_that_is_empty_ends_it_without_a_wait(self, simulated):
        async def calls():
            budget = RetryBudget(0, 1)
            return await outcome(Retry(9, 2, 2, budget=budget, random=half)(Server(*fails(1, 2, 3))))

        assert_equal(simulated(calls()), (3.0, "Busy 2"))

    @pytest.mark.parametrize(
        ("plan", "seconds"),
        [((1, Refused(1)), 100), ((1, Busy(1)), 1.5), ((9, "late"), 4), ((1, "answer"), 100)],
        ids=["another error", "no time for the wait", "cut off", "an answer"],
    )
    @pytest.mark.parametrize("attempts", [1, 3])
    def test_no_token_for_a_retry_that_isnt_made(self, simulated, plan, seconds, attempts):
        async def calls():
            budget = RetryBudget(0, 2)
            await outcome(Retry(attempts, 2, 2, budget=budget, random=half)(Server(plan), Deadline(seconds)))
            return [budget.withdraw() for _ in range(3)]

        assert_equal(simulated(calls()), [True, True, False])

    def test_no_token_after_the_last_attempt(self, simulated):
        async def calls():
            budget = RetryBudget(0, 3)
            await outcome(Retry(3, 2, 2, budget=budget, random=half)(Server(*fails(1))))
            return [budget.withdraw() for _ in range(2)]

        assert_equal(simulated(calls()), [True, False])

    def test_a_deadline_that_is_over(self, simulated):
        async def calls():
            server = Server((1, "answer"))
            return await outcome(Retry(3, 2, 2, random=lambda: 0.0)(server, Deadline(0))), server.log

        assert_equal(simulated(calls()), ((0.0, "TimeoutError"), []))

    def test_an_attempt_may_have_a_deadline_of_its_own(self, simulated):
        async def calls():
            server = Server((9, "late"), (9, "late"), (1, "answer"))
            return await outcome(Retry(3, 2, 2, random=half)(lambda: Deadline(2)(server), Deadline(30))), server.log

        log = [(0.0, "begins", 0), (2.0, "is cut off", 0), (3.0, "begins", 1), (5.0, "is cut off", 1)]
        log += [(6.0, "begins", 2), (7.0, "ends", 2)]
        assert_equal(simulated(calls()), ((7.0, "'answer'"), log))

    def test_many_uses_at_the_same_time(self, simulated):
        async def calls():
            retry = Retry(3, 2, 10, random=half)
            servers = [Server(*fails(*range(i)), (1, i)) for i in range(4)]
            return await asyncio.gather(*(outcome(retry(server)) for server in servers))

        assert_equal(simulated(calls()), [(1.0, "0"), (3.0, "1"), (6.0, "2"), (6.0, "Busy 2")])

    def test_each_use_has_its_own_deadline(self, simulated):
        async def calls():
            retry = Retry(3, 2, 10, random=half)
            ends = [Deadline(5.5), None, Deadline(0.5), Deadline(20)]
            return await asyncio.gather(*(outcome(retry(Server(*fails(1, 2), (1, "a")), end)) for end in ends))

        assert_equal(simulated(calls()), [(5.5, "TimeoutError"), (6.0, "'a'"), (0.5, "TimeoutError"), (6.0, "'a'")])

    @pytest.mark.parametrize("after", [0.5, 1.5])
    def test_whoever_is_cancelled_ends_it(self, simulated, after):
        async def calls():
            server = Server(*fails(1, 2), (1, "answer"))
            task = asyncio.create_task(outcome(Retry(3, 2, 10, random=half)(server)))
            await asyncio.sleep(after)
            task.cancel()
            found, running = await task, len(asyncio.all_tasks()) - 1
            await asyncio.sleep(20)
            return found, running, server.calls, server.log[-1]

        last = (0.5, "is cut off", 0) if after == 0.5 else (1.0, "ends", 0)
        assert_equal(simulated(calls()), ((after, "CancelledError"), 0, 1, last))

    @pytest.mark.parametrize("deadline", [None, 6.0, 40.0])
    def test_equals_the_rules_written_out(self, simulated, rng, deadline):
        found, expected = [], []
        for _ in range(40):
            attempts, share = int(rng.integers(1, 6)), float(rng.random())
            base, cap = float(rng.uniform(0.1, 3)), float(rng.uniform(1, 6))
            kinds = [Busy(1), Busy(2), Refused(3), "answer"]
            plan = [(float(rng.uniform(0, 3)), kinds[rng.choice(4, p=[0.4, 0.3, 0.1, 0.2])]) for _ in range(attempts)]
            burst = int(rng.integers(1, 5))

            async def calls(plan=plan, a=attempts, base=base, cap=cap, share=share, burst=burst):
                server, budget = Server(*plan), RetryBudget(0, burst)
                retry = Retry(a, base, cap, budget=budget, random=lambda: share)
                end = None if deadline is None else Deadline(deadline)
                at, text = await outcome(retry(server, end))
                return server.begun(), at, text, sum(budget.withdraw() for _ in range(9))

            found.append(simulated(calls()))
            end = float("inf") if deadline is None else deadline
            expected.append(retry_written_out(plan, attempts, base, cap, share, (ConnectionError,), burst, end))
        assert_close(found, expected)

    def test_an_outage_costs_what_the_budget_allows(self, simulated):
        async def calls():
            server = Server(*fails(1))
            retry = Retry(4, 1, 8, budget=RetryBudget(0.125, 10))
            await asyncio.gather(*(outcome(retry(server)) for _ in range(800)))
            return server.calls

        # The budget is full when they all come, and the 800 deposits were made before the first retry.
        assert_equal(simulated(calls()), 810)

    def test_a_long_outage_costs_the_ratio(self, simulated):
        async def calls():
            server = Server(*fails(1))
            retry = Retry(4, 1, 8, budget=RetryBudget(0.125, 10))
            for _ in range(800):
                await outcome(retry(server))
            return server.calls

        assert_equal(simulated(calls(), limit=1e9), 800 + 9 + 100)

    @pytest.mark.parametrize("attempts", [0, -2])
    def test_refuses_less_than_one_attempt(self, attempts):
        Retry(1, 1, 1)
        with raises(ValueError, attempts):
            Retry(attempts, 1, 1)


def hedge_written_out(plan, delay, copies):
    """When each copy begins, when the hedge ends, and with what."""
    begun, open_copies, timer, text = [], {}, 0.0, ""
    while True:
        first = min(open_copies, key=open_copies.get, default=None)
        if len(begun) < copies and (first is None or timer < open_copies[first]):
            at, ended = timer, None
        else:
            at, ended = open_copies.pop(first), first
        if ended is not None:
            answer = plan[ended][1]
            if not isinstance(answer, Exception):
                return begun, at, repr(answer)
            text = f"{type(answer).__name__} {answer}"
            if not isinstance(answer, Busy) or (not open_copies and len(begun) == copies):
                return begun, at, text
        if len(begun) < copies:
            open_copies[len(begun)] = at + plan[len(begun)][0]
            begun.append(at)
            timer = at + delay


class TestHedge:
    def test_the_example_worked_by_hand(self, simulated):
        async def calls():
            server = Server((9, "first"), (3, "second"), (4, "third"))
            return await outcome(Hedge(2, 3)(server)), server.log

        log = [(0.0, "begins", 0), (2.0, "begins", 1), (4.0, "begins", 2), (5.0, "ends", 1)]
        ends, found = simulated(calls())
        assert_equal((ends, found[:4]), ((5.0, "'second'"), log))
        assert_equal(sorted(found[4:]), [(5.0, "is cut off", 0), (5.0, "is cut off", 2)])

    def test_a_quick_answer_sends_no_copy(self, simulated):
        async def calls():
            server = Server((1.5, "answer"))
            found = await outcome(Hedge(2, 3)(server))
            await asyncio.sleep(30)
            return found, server.begun()

        assert_equal(simulated(calls()), ((1.5, "'answer'"), [0.0]))
        assert_equal(simulated.left, 0)

    @pytest.mark.parametrize("copies", [1, 2, 4])
    def test_no_more_copies_than_said(self, simulated, copies):
        async def calls():
            server = Server((30, "answer"))
            return await outcome(Hedge(2, copies)(server)), server.begun()

        assert_equal(simulated(calls()), ((30.0, "'answer'"), [2.0 * i for i in range(copies)]))

    def test_two_copies_unless_it_is_said(self, simulated):
        async def calls():
            server = Server((9, "answer"))
            return await outcome(Hedge(2)(server)), server.begun()

        assert_equal(simulated(calls()), ((9.0, "'answer'"), [0.0, 2.0]))

    @pytest.mark.parametrize("answer", [None, "", 0, False, [1]])
    def test_any_value_may_be_the_answer(self, simulated, answer):
        async def calls():
            return await Hedge(2)(Server((3, answer), (9, "another")))

        assert_equal(simulated(calls()), answer)

    def test_a_failure_isnt_an_answer(self, simulated):
        async def calls():
            server = Server((5, "answer"), (1, Busy(1)))
            return await outcome(Hedge(2)(server)), server.begun()

        assert_equal(simulated(calls()), ((5.0, "'answer'"), [0.0, 2.0]))

    def test_a_failure_begins_the_next_copy_at_once(self, simulated):
        async def calls():
            server = Server((1, Busy(1)), (9, "second"), (9, "third"), (9, "fourth"))
            return await outcome(Hedge(2, 4)(server)), server.begun()

        assert_equal(simulated(calls()), ((10.0, "'second'"), [0.0, 1.0, 3.0, 5.0]))

    def test_the_error_of_the_last_that_failed(self, simulated):
        async def calls():
            errors = [Busy(0), Busy(1), Busy(2)]
            server = Server((8, errors[0]), (1, errors[1]), (2, errors[2]))
            try:
                await Hedge(3, 3)(server)
            except Busy as error:
                return errors.index(error), now(), server.begun()

        assert_equal(simulated(calls()), (0, 8.0, [0.0, 3.0, 4.0]))

    @pytest.mark.parametrize(
        ("error", "text"),
        [(Busy(1), "2"), (TimeoutError(), "2"), (Refused(1), "Refused 1"), (PermissionError(1), "PermissionError 1")],
        ids=lambda value: type(value).__name__,
    )
    def test_which_errors_begin_another_copy(self, simulated, error, text):
        async def calls():
            return await outcome(Hedge(3)(Server((1, error), (1, 2))))

        assert_equal(simulated(calls()), (2.0 if text == "2" else 1.0, text))

    @pytest.mark.parametrize("copies", [1, 3])
    def test_an_error_that_no_copy_would_mend_comes_out_at_once(self, simulated, copies):
        async def calls():
            server = Server((9, "late"), (1, Refused(1)), cleanup=0.5) if copies > 1 else Server((1, Refused(1)))
            return await outcome(Hedge(2, copies)(server)), server.log[-1]

        expected = (
            ((3.5, "Refused 1"), (3.5, "is cut off", 0)) if copies > 1 else ((1.0, "Refused 1"), (1.0, "ends", 0))
        )
        assert_equal(simulated(calls()), expected)

    def test_the_types_of_error_can_be_chosen(self, simulated):
        async def calls():
            hedge = Hedge(2, 3, on=(Refused,))
            first = await outcome(hedge(Server((1, Refused(1)), (1, "answer"))))
            return first, await outcome(hedge(Server((1, Busy(1)), (1, "answer"))))

        assert_equal(simulated(calls()), ((2.0, "'answer'"), (3.0, "Busy 1")))

    def test_the_others_have_cleaned_up(self, simulated):
        async def calls():
            server = Server((9, "late"), (1, "answer"), cleanup=2)
            found = await outcome(Hedge(2)(server))
            return found, server.log[2:]

        assert_equal(simulated(calls()), ((5.0, "'answer'"), [(3.0, "ends", 1), (5.0, "is cut off", 0)]))
        assert_equal(simulated.left, 0)

    @pytest.mark.parametrize("after", [1, 5])
    def test_whoever_is_cancelled_leaves_no_copy_behind(self, simulated, after):
        async def calls():
            server = Server((9, "late"))
            task = asyncio.create_task(outcome(Hedge(2, 3)(server)))
            await asyncio.sleep(after)
            task.cancel()
            found = await task
            return found, sorted(number for _, event, number in server.log if event == "is cut off")

        assert_equal(simulated(calls()), ((float(after), "CancelledError"), [0] if after == 1 else [0, 1, 2]))
        assert_equal(simulated.left, 0)

    def test_many_uses_at_the_same_time(self, simulated):
        async def calls():
            hedge = Hedge(2)
            servers = [Server((9, i), (i + 1, i)) for i in range(4)]
            return await asyncio.gather(*(outcome(hedge(server)) for server in servers))

        assert_equal(simulated(calls()), [(3.0, "0"), (4.0, "1"), (5.0, "2"), (6.0, "3")])

    @pytest.mark.parametrize("copies", [1, 2, 3, 5])
    def test_equals_the_rules_written_out(self, simulated, rng, copies):
        found, expected = [], []
        for _ in range(40):
            kinds = [Busy(1), Busy(2), Refused(3), "a", "b"]
            plan = [
                (float(rng.uniform(0.1, 9)), kinds[rng.choice(5, p=[0.35, 0.35, 0.05, 0.15, 0.1])])
                for _ in range(copies)
            ]
            delay = float(rng.uniform(0.5, 4))

            async def calls(plan=plan, delay=delay):
                server = Server(*plan)
                at, text = await outcome(Hedge(delay, copies)(server))
                return server.begun(), at, text

            found.append(simulated(calls()))
            expected.append(hedge_written_out(plan, delay, copies))
        assert_close(found, expected)

    def test_the_tail_is_cut_for_little_load(self, simulated):
        # Every twentieth request takes 10 s, all others 1 s.
        async def calls():
            sent = 0

            async def ask():
                nonlocal sent
                sent += 1
                await asyncio.sleep(10 if sent % 20 == 0 else 1)
                return sent

            hedge, slowest = Hedge(2), 0.0
            for _ in range(190):
                began = now()
                await hedge(ask)
                slowest = max(slowest, now() - began)
            return slowest, sent

        # Requests 20, 40, …, 180 are slow: 9 copies are sent, all quick.
        assert_equal(simulated(calls()), (3.0, 199))

    @pytest.mark.parametrize("copies", [0, -2])
    def test_refuses_less_than_one_copy(self, copies):
        Hedge(1, 1)
        with raises(ValueError, copies):
            Hedge(1, copies)
