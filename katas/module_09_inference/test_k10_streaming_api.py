"""Judges k10_streaming_api on a simulated clock, by what goes over the wire, and with real clients under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import time

import pytest

from dojo.testing import assert_equal, fail, from_scratch, pure, raises
from fixtures.faults import now
from katas.module_09_inference.k10_streaming_api import Chat, Gone, Streams, chunk, event, streaming_api

NEEDS = "needs the extra `serving`: pip install -c constraints.txt -e '.[serving]'"
pytest.importorskip("fastapi", reason=NEEDS)

pytestmark = [from_scratch("sse_starlette"), pure("Streams", "Chat", "streaming_api")]


def events_in(text: bytes) -> list[dict[str, str]]:
    """The events of a stream, as the standard reads them; a comment is {"": text}."""
    found: list[dict[str, str]] = []
    for block in re.split("\n\n", text.decode().replace("\r\n", "\n").replace("\r", "\n")):
        now: dict[str, str] = {}
        for line in block.split("\n"):
            key, _, value = line.partition(":")
            if line:
                value = value.removeprefix(" ")
                now[key] = now["data"] + "\n" + value if key == "data" and "data" in now else value
        if now:
            found.append(now)
    return found


class TestEvent:
    @pytest.mark.parametrize(
        ("args", "expected"),
        [
            (("hi", 3), {"id": "3", "data": "hi"}),
            (("a\nb",), {"data": "a\nb"}),
            (("x", None, "end"), {"event": "end", "data": "x"}),
        ],
    )
    def test_worked_by_hand(self, args, expected):
        found = event(*args)
        assert_equal((isinstance(found, bytes), events_in(found)), (True, [expected]))

    @pytest.mark.parametrize("args", [("hi", 3), ("a\nb",), ("",), ("x", "7", "end")])
    def test_it_ends_with_one_empty_line(self, args):
        text = event(*args)
        assert_equal((text[-2:], text.count(b"\n\n"), text[:1] != b"\n", b"\r" in text), (b"\n\n", 1, True, False))

    @pytest.mark.parametrize(
        ("data", "lines"),
        [
            ("", [""]), ("a", ["a"]), ("a\n", ["a", ""]), ("\na", ["", "a"]), ("a\r\nb", ["a", "b"]), ("a\rb", ["a", "b"]),
            ("a\n\nb", ["a", "", "b"]), ("a\n\r\nb", ["a", "", "b"]), (" a", [" a"]), ("a\u2028b\x0bc\x85d\x0ce", ["a\u2028b\x0bc\x85d\x0ce"]),
            ("id: 7\ndata: x", ["id: 7", "data: x"]), ("größer ", ["größer "]), (": no comment", [": no comment"]),
        ],
    )  # fmt: skip
    def test_a_line_for_each_line(self, data, lines):
        found = [line for line in event(data).decode().split("\n") if line.startswith("data:")]
        assert_equal([line.removeprefix("data:").removeprefix(" ") for line in found], lines)

    @pytest.mark.parametrize("id", [0, "", 17, "a-1"])
    def test_any_id(self, id):
        assert_equal(events_in(event("x", id)), [{"id": str(id), "data": "x"}])

    def test_without_id_and_name(self):
        assert_equal(event("x").decode().replace("data:x", "data: x"), "data: x\n\n")

    def test_all_of_it(self):
        assert_equal(events_in(event("a\nb", 5, "token")), [{"id": "5", "event": "token", "data": "a\nb"}])

    @pytest.mark.parametrize("bad", ["a\nb", "\r", "a\r\ndata: x", "7\n"])
    def test_an_id_of_more_than_a_line(self, bad):
        with raises(ValueError, "id"):
            event("x", bad)

    @pytest.mark.parametrize("bad", ["a\nb", "\r", "a\r\ndata: x", "7\n"])
    def test_a_name_of_more_than_a_line(self, bad):
        with raises(ValueError, "name"):
            event("x", 1, bad)

    def test_nul(self):
        with raises(ValueError, "id"):
            event("x", "a\0b")
        assert_equal(events_in(event("x", None, "a\0b")), [{"event": "a\0b", "data": "x"}])


class TestChunk:
    def test_worked_out(self):
        expected = {
            "id": "c1", "object": "chat.completion.chunk", "created": 17, "model": "m",
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}],
        }  # fmt: skip
        assert_equal(chunk("c1", 17, "m", "hi", "assistant"), expected)

    @pytest.mark.parametrize(
        ("parts", "delta", "finish"),
        [
            ({}, {}, None), ({"content": ""}, {"content": ""}, None), ({"role": "assistant"}, {"role": "assistant"}, None),
            ({"finish": "stop"}, {}, "stop"), ({"content": "x", "finish": "length"}, {"content": "x"}, "length"),
            ({"role": ""}, {"role": ""}, None),
        ],
    )  # fmt: skip
    def test_what_is_none_is_left_out(self, parts, delta, finish):
        assert_equal(chunk("c", 1, "m", **parts)["choices"], [{"index": 0, "delta": delta, "finish_reason": finish}])

    def test_two_dont_share(self):
        first = chunk("c", 1, "m", "a")
        first["choices"][0]["delta"]["content"] = "z"
        assert_equal(chunk("c", 1, "m", "a")["choices"][0]["delta"], {"content": "a"})


class Writer:
    """A model: its text goes on from any place.  Each token comes `pace` seconds after the last one.

    pace may be a list: seconds before each token.  calls has what it was given; open, how many generators are.
    """

    def __init__(self, text="abcdefgh", pace=1.0, fails=(), note=None) -> None:
        self.text, self.pace, self.fails = list(text), pace, list(fails)
        self.calls: list[tuple[list, list]] = []
        self.open = self.most = self.made = 0
        self.closed: list[float] = []
        self.note = note
        self.slow_to_close = 0.0

    def wait(self, n):
        return self.pace[n] if isinstance(self.pace, list) else self.pace

    async def __call__(self, messages, so_far):
        self.calls.append(([dict(m) for m in messages], list(so_far)))
        n = len(so_far)
        if self.text[:n] != so_far:
            fail(f"generate gets {so_far} as the tokens so far, expected {self.text[:n]}", evidence=("so far", so_far))
        so_far.append("mine")
        messages[0]["content"] = "changed"
        messages.append({"role": "mine", "content": "alone"})
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            while n < len(self.text):
                if self.wait(n):
                    await asyncio.sleep(self.wait(n))
                if n in self.fails:
                    self.fails.remove(n)
                    raise ValueError("hunter2")
                self.made += 1
                n += 1
                yield self.text[n - 1]
        finally:
            if self.slow_to_close:
                await asyncio.sleep(self.slow_to_close)
            self.open -= 1
            self.closed.append(now())
            if self.note is not None:
                self.note("closed")


HELLO = [{"role": "user", "content": "hello"}]


async def read(streams, id, after=0, n=None, into=None):
    """What a follower gets, with its time, up to n of them; then it leaves."""
    found = [] if into is None else into
    if n == 0:
        return found
    async with contextlib.aclosing(streams.follow(id, after)) as tokens:
        async for one in tokens:
            found.append((now(), one))
            if len(found) == n:
                break
            if len(found) > 500:
                fail("a follower gets heartbeats, but never the end", evidence=("no end", len(only_tokens(found))))
    return found


def only_tokens(found):
    return [one for _, one in found if one is not None]


def numbered(text, first=1):
    return [(i, token) for i, token in enumerate(text, first)]


class TestStreams:
    def test_worked_by_hand(self, simulated):
        async def run():
            streams = Streams(Writer("abc", 0))
            id = streams.open(HELLO)
            await read(streams, id)
            return [one for _, one in await read(streams, id, 1)]

        assert_equal(simulated(run()), [(2, "b"), (3, "c")])

    def test_heartbeats_worked_by_hand(self, simulated):
        async def run():
            streams = Streams(Writer("abc", [1, 5, 1]), heartbeat=2.0)
            return await read(streams, streams.open(HELLO))

        assert_equal(simulated(run()), [(1.0, (1, "a")), (3.0, None), (5.0, None), (6.0, (2, "b")), (7.0, (3, "c"))])

    def test_tokens_come_as_they_are_made(self, simulated):
        writer = Writer("abc", 2.0)

        async def run():
            streams = Streams(writer)
            return await read(streams, streams.open(HELLO))

        assert_equal(simulated(run()), [(2.0, (1, "a")), (4.0, (2, "b")), (6.0, (3, "c"))])
        assert_equal((writer.calls, writer.open, simulated.left), ([(HELLO, [])], 0, 0))

    def test_no_tokens_at_all(self, simulated):
        async def run():
            streams = Streams(Writer("", 1.0))
            id = streams.open(HELLO)
            return await read(streams, id), streams.finished(id)

        assert_equal(simulated(run()), ([], True))

    def test_ids(self, simulated):
        async def run():
            streams = Streams(Writer())
            return [streams.open(HELLO) for _ in range(50)]

        ids = simulated(run())
        assert_equal((len(set(ids)), all(re.fullmatch("[A-Za-z0-9_-]+", id) for id in ids)), (50, True))

    def test_an_id_cant_be_guessed(self, simulated):
        async def run():
            random.seed(1)
            first = Streams(Writer()).open(HELLO)
            random.seed(1)
            return first != Streams(Writer()).open(HELLO)

        assert_equal(simulated(run()), True)

    def test_nothing_is_generated_before_somebody_asks(self, simulated):
        writer = Writer()

        async def run():
            streams = Streams(writer)
            id = streams.open(HELLO)
            await asyncio.sleep(10)
            await streams.follow(id).aclose()
            return streams.finished(id)

        assert_equal((simulated(run()), writer.calls), (False, []))

    def test_the_messages_are_those_of_open(self, simulated):
        writer = Writer("ab")

        async def run():
            streams = Streams(writer)
            messages = [{"role": "user", "content": "first"}]
            id = streams.open(messages)
            await read(streams, id, n=1)
            await read(streams, id, 1)
            return messages

        kept = [{"role": "user", "content": "first"}]
        assert_equal((simulated(run()), writer.calls), (kept, [(kept, []), (kept, ["a"])]))

    def test_the_caller_may_change_its_messages(self, simulated):
        writer = Writer("a")

        async def run():
            streams = Streams(writer)
            messages = [{"role": "user", "content": "first"}]
            id = streams.open(messages)
            messages[0]["content"] = "second"
            messages.append({"role": "user", "content": "third"})
            await read(streams, id)

        simulated(run())
        assert_equal(writer.calls, [([{"role": "user", "content": "first"}], [])])

    def test_finished(self, simulated):
        async def run():
            streams = Streams(Writer("ab"))
            id = streams.open(HELLO)
            found = [streams.finished(id)]
            await read(streams, id, n=1)
            found.append(streams.finished(id))
            await read(streams, id, 1)
            return [*found, streams.finished(id)]

        assert_equal([bool(one) for one in simulated(run())], [False, False, True])

    # --- gone and back -------------------------------------------------------------------------------

    @pytest.mark.parametrize("n", [1, 3, 7, 8])
    def test_gone_and_back(self, simulated, n):
        writer = Writer()

        async def run():
            streams = Streams(writer)
            id = streams.open(HELLO)
            first = await read(streams, id, n=n)
            open_then = writer.open
            await asyncio.sleep(100)
            return [one for _, one in first], open_then, [one for _, one in await read(streams, id, n)]

        assert_equal(simulated(run()), (numbered("abcdefgh")[:n], 0, numbered("abcdefgh")[n:]))
        assert_equal((writer.most, writer.open, simulated.left), (1, 0, 0))

    @pytest.mark.parametrize("seed", range(8))
    def test_nothing_is_lost_or_doubled(self, simulated, seed):
        dice = random.Random(seed)
        text = [str(i) for i in range(60)]
        writer = Writer(text, [dice.choice([0, 0, 0.1, 3.0]) for _ in text])

        async def run():
            streams = Streams(writer, heartbeat=1.0, ahead=dice.choice([0, 1, 5]))
            id = streams.open(HELLO)
            got = []
            for _ in range(400):
                if got and got[-1][0] == 60:
                    break
                at = got[-1][0] if got else 0
                found = []
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(dice.uniform(0.05, 8)):
                        await read(streams, id, at, dice.choice([None, 1, 9]), found)
                got += [one for _, one in found if one is not None]
            return got

        assert_equal(simulated(run()), numbered(text))
        assert_equal((writer.most, writer.open, simulated.left), (1, 0, 0))

    def test_after_counts(self, simulated):
        async def run():
            streams = Streams(Writer(pace=0))
            id = streams.open(HELLO)
            await read(streams, id)
            return [[one for _, one in await read(streams, id, after)] for after in (0, 5, 8)]

        whole = numbered("abcdefgh")
        assert_equal(simulated(run()), [whole, whole[5:], []])

    def test_what_is_there_comes_at_once(self, simulated):
        async def run():
            streams = Streams(Writer())
            id = streams.open(HELLO)
            await read(streams, id, n=3)
            return await read(streams, id, n=4)

        assert_equal(simulated(run()), [(3.0, (1, "a")), (3.0, (2, "b")), (3.0, (3, "c")), (4.0, (4, "d"))])

    def test_a_finished_one_isnt_generated_again(self, simulated):
        writer = Writer("ab")

        async def run():
            streams = Streams(writer)
            id = streams.open(HELLO)
            await read(streams, id)
            await read(streams, id)
            await read(streams, id, 2)

        simulated(run())
        assert_equal(len(writer.calls), 1)

    @pytest.mark.parametrize("after", [-1, 4, 100])
    def test_what_cant_have_been_seen(self, simulated, after):
        async def run():
            streams = Streams(Writer(), ahead=0)
            id = streams.open(HELLO)
            await read(streams, id, n=2)
            with raises(ValueError, after):
                await read(streams, id, after)

        simulated(run())

    def test_an_unknown_id(self, simulated):
        async def run():
            streams = Streams(Writer())
            streams.open(HELLO)
            with raises(KeyError):
                streams.finished("nobody")
            with raises(KeyError):
                await read(streams, "nobody")

        simulated(run())

    # --- closed in time ------------------------------------------------------------------------------

    @pytest.mark.parametrize("how", ["leaves", "is cancelled"])
    def test_the_generator_is_closed_when_the_last_one_goes(self, simulated, how):
        writer = Writer("ab", [1, 1000])

        async def run():
            streams = Streams(writer, heartbeat=3.0)
            id = streams.open(HELLO)
            if how == "leaves":
                await read(streams, id, n=2)  # a token and a heartbeat
            else:
                task = asyncio.ensure_future(read(streams, id))
                await asyncio.sleep(4)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return writer.open, writer.closed, now()

        assert_equal((simulated(run()), simulated.left), ((0, [4.0], 4.0), 0))

    def test_one_that_stays_keeps_it_open(self, simulated):
        writer = Writer("abcd")

        async def run():
            streams = Streams(writer)
            id = streams.open(HELLO)
            short = asyncio.ensure_future(read(streams, id, n=1))
            long = asyncio.ensure_future(read(streams, id))
            await short
            return [one for _, one in await long]

        assert_equal((simulated(run()), len(writer.calls)), (numbered("abcd"), 1))

    def test_who_comes_while_it_is_being_closed(self, simulated):
        writer = Writer("abcd")
        writer.slow_to_close = 5.0

        async def run():
            streams = Streams(writer)
            id = streams.open(HELLO)
            first = asyncio.ensure_future(read(streams, id, n=2))
            await asyncio.sleep(4)
            second = await read(streams, id, 2)
            await first
            return [one for _, one in second]

        assert_equal((simulated(run()), writer.most), ([(3, "c"), (4, "d")], 1))

    # --- many ----------------------------------------------------------------------------------------

    def test_many_followers_get_all(self, simulated):
        writer = Writer()

        async def run():
            streams = Streams(writer)
            id = streams.open(HELLO)

            async def later(seconds):
                await asyncio.sleep(seconds)
                return [one for _, one in await read(streams, id)]

            return await asyncio.gather(*(later(seconds) for seconds in (0, 0, 2.5, 7.5, 50)))

        assert_equal((simulated(run()), writer.calls), ([numbered("abcdefgh")] * 5, [(HELLO, [])]))

    def test_two_streams_know_nothing_of_each_other(self, simulated):
        async def run():
            streams = Streams(Writer("abc"))
            ids = [streams.open(HELLO), streams.open(HELLO)]
            await read(streams, ids[0], n=2)
            found = await asyncio.gather(*(read(streams, id) for id in ids))
            return [[one for _, one in each] for each in found]

        assert_equal(simulated(run()), [numbered("abc")] * 2)

    def test_heartbeats_of_each_follower(self, simulated):
        async def run():
            streams = Streams(Writer("a", 7.0), heartbeat=2.0)
            id = streams.open(HELLO)

            async def later(seconds):
                await asyncio.sleep(seconds)
                return [time for time, one in await read(streams, id) if one is None]

            return await asyncio.gather(later(0), later(0.5))

        assert_equal(simulated(run()), [[2.0, 4.0, 6.0], [2.5, 4.5, 6.5]])

    def test_a_heartbeat_counts_from_when_something_was_given(self, simulated):
        async def run():
            streams = Streams(Writer("ab", [1.5, 2.5]), heartbeat=2.0)
            return await read(streams, streams.open(HELLO))

        assert_equal(simulated(run()), [(1.5, (1, "a")), (3.5, None), (4.0, (2, "b"))])

    def test_a_heartbeat_comes_in_time_for_a_follower_that_asks_late(self, simulated):
        async def run():
            streams, times = Streams(Writer("a", 100.0), heartbeat=2.0), []
            tokens = streams.follow(streams.open(HELLO))
            for busy in (0.0, 1.5, 0.5):
                await asyncio.sleep(busy)
                times.append((await anext(tokens), asyncio.get_running_loop().time()))
            await tokens.aclose()
            return times

        assert_equal(simulated(run()), [(None, 2.0), (None, 4.0), (None, 6.0)])

    # --- not too far ahead ---------------------------------------------------------------------------

    @pytest.mark.parametrize("ahead", [0, 1, 4])
    def test_not_too_far_ahead(self, simulated, ahead):
        writer = Writer(["x"] * 100, 0)

        async def run():
            streams = Streams(writer, ahead=ahead)
            tokens = streams.follow(streams.open(HELLO))
            most = 0
            for n in range(1, 20):
                await anext(tokens)
                await asyncio.sleep(10)
                most = max(most, writer.made - n)
            await tokens.aclose()
            return most <= ahead + 1

        assert_equal(simulated(run()), True)

    def test_the_fastest_counts(self, simulated):
        writer = Writer(["x"] * 50, 0)

        async def run():
            streams = Streams(writer, ahead=1)
            id = streams.open(HELLO)
            slow = streams.follow(id)
            await anext(slow)
            fast = await read(streams, id)
            rest = [await anext(slow) for _ in range(49)]
            await slow.aclose()
            return len(fast), [n for n, _ in rest]

        assert_equal(simulated(run()), (50, list(range(2, 51))))

    # --- what goes wrong -----------------------------------------------------------------------------

    @pytest.mark.parametrize("pace", [1.0, 0])
    def test_an_error_comes_after_the_tokens(self, simulated, pace):
        async def run():
            streams = Streams(Writer("abcd", pace, fails=[2]))
            id = streams.open(HELLO)
            found = [[], []]
            errors = await asyncio.gather(*(read(streams, id, 0, None, each) for each in found), return_exceptions=True)
            return [[one for _, one in each] for each in found], [repr(error) for error in errors], streams.finished(id)

        assert_equal(simulated(run()), ([numbered("ab")] * 2, [repr(ValueError("hunter2"))] * 2, False))

    def test_a_new_attempt_from_there(self, simulated):
        writer = Writer("abcd", 1.0, fails=[2])

        async def run():
            streams = Streams(writer)
            id = streams.open(HELLO)
            with contextlib.suppress(ValueError):
                await read(streams, id)
            return [one for _, one in await read(streams, id, 1)], streams.finished(id)

        assert_equal(simulated(run()), (numbered("bcd", 2), True))
        assert_equal([so_far for _, so_far in writer.calls], [[], ["a", "b"]])

    def test_no_new_attempt_for_one_that_hasnt_heard_of_the_error(self, simulated):
        writer = Writer("abcd", 1.0, fails=[2])

        async def run():
            streams = Streams(writer)
            id = streams.open(HELLO)
            slow = streams.follow(id)
            await anext(slow)
            with contextlib.suppress(ValueError):
                await read(streams, id)
            await asyncio.sleep(5)
            calls = len(writer.calls)
            found = [(await anext(slow))]
            try:
                await anext(slow)
            except ValueError as error:
                found.append(str(error))
            return calls, found

        assert_equal(simulated(run()), (1, [(2, "b"), "hunter2"]))

    # --- forgotten -----------------------------------------------------------------------------------

    def test_the_oldest_is_forgotten(self, simulated):
        async def run():
            streams = Streams(Writer(), keep=3)
            ids = [streams.open(HELLO) for _ in range(5)]
            return [known(streams, id) for id in ids]

        assert_equal(simulated(run()), [False, False, True, True, True])

    def test_but_no_one_that_is_followed(self, simulated):
        async def run():
            streams = Streams(Writer(), keep=2)
            first = streams.open(HELLO)
            task = asyncio.ensure_future(read(streams, first))
            await asyncio.sleep(0.5)
            second = streams.open(HELLO)
            third = streams.open(HELLO)
            found = [known(streams, id) for id in (first, second, third)]
            return found, [one for _, one in await task]

        assert_equal(simulated(run()), ([True, False, True], numbered("abcdefgh")))

    def test_nor_the_new_one(self, simulated):
        async def run():
            streams = Streams(Writer(), keep=1)
            first = streams.open(HELLO)
            task = asyncio.ensure_future(read(streams, first))
            await asyncio.sleep(0.5)
            second = streams.open(HELLO)
            found = [known(streams, id) for id in (first, second)]
            await task
            return found

        assert_equal(simulated(run()), [True, True])

    # --- the end -------------------------------------------------------------------------------------

    def test_stop_ends_everything(self, simulated):
        writer = Writer("ab", [1, 1000])

        async def run():
            streams = Streams(writer)
            ids = [streams.open(HELLO), streams.open(HELLO)]
            tasks = [asyncio.ensure_future(read(streams, id)) for id in [*ids, ids[0]]]
            await asyncio.sleep(5)
            await streams.stop()
            open_then = writer.open
            found = [[one for _, one in await task] for task in tasks]
            return open_then, found, [streams.finished(id) for id in ids], now()

        assert_equal(simulated(run()), (0, [numbered("a")] * 3, [False, False], 5.0))
        assert_equal(simulated.left, 0)

    def test_after_stop_nothing_is_generated(self, simulated):
        writer = Writer("abcd")

        async def run():
            streams = Streams(writer)
            id = streams.open(HELLO)
            await read(streams, id, n=2)
            await streams.stop()
            await streams.stop()
            return [one for _, one in await read(streams, id)], [
                one for _, one in await read(streams, streams.open(HELLO))
            ]

        assert_equal((simulated(run()), len(writer.calls)), ((numbered("ab"), []), 1))

    def test_a_stream_that_is_opened_while_stop_waits(self, simulated):
        writer = Writer("ab", [1, 1000])
        writer.slow_to_close = 3.0

        async def run():
            streams = Streams(writer)
            task = asyncio.ensure_future(read(streams, streams.open(HELLO)))
            await asyncio.sleep(5)
            stopping = asyncio.ensure_future(streams.stop())
            await asyncio.sleep(1)
            other = await read(streams, streams.open(HELLO))
            await stopping
            await task
            return other, writer.open

        assert_equal((simulated(run()), simulated.left), (([], 0), 0))

    def test_stop_while_one_waits_for_its_follower(self, simulated):
        writer = Writer(["x"] * 9, 0)

        async def run():
            streams = Streams(writer, ahead=0)
            tokens = streams.follow(streams.open(HELLO))
            await anext(tokens)
            await asyncio.sleep(1)
            await streams.stop()
            rest = [one async for one in tokens]
            return writer.open, len(rest) <= 1

        assert_equal((simulated(run()), simulated.left), ((0, True), 0))


def known(streams, id) -> bool:
    try:
        streams.finished(id)
    except KeyError:
        return False
    return True


class Phone:
    """A client of a chat: says things at given times, and takes `patience` seconds for each message that it gets."""

    def __init__(self, says, patience=0.0) -> None:
        self.says, self.patience = list(says), patience
        self.got: list[tuple[float, object]] = []
        self.sending = 0

    async def receive(self):
        if not self.says:
            await asyncio.sleep(10**5)
            raise Gone
        time, said = self.says.pop(0)
        await asyncio.sleep(max(0.0, time - now()))
        if said is Gone:
            self.says.clear()
            raise Gone
        return said

    async def send(self, message):
        self.sending += 1
        if self.sending > 1:
            fail("send is called while another call of it waits", evidence=("two sends",))
        if self.patience:
            await asyncio.sleep(self.patience)
        self.sending -= 1
        self.got.append((now(), message))


def talked(simulated, writer, says, patience=0.0, until=100.0):
    """What the client got, if it leaves at that time."""
    phone = Phone([*says, (until, Gone)], patience)

    async def run():
        await Chat(writer).run(phone.receive, phone.send)
        return now()

    end = simulated(run())
    if not until <= end <= until + 1:
        fail(f"run ends at {end:g} s, expected at {until:g} s, when the client leaves", evidence=("end", end))
    assert_equal((writer.open, simulated.left), (0, 0))
    return phone.got


class Parrot(Writer):
    """Says the last message again, letter by letter; ! is an error."""

    async def __call__(self, messages, so_far):
        self.text = list(messages[-1]["content"])
        self.fails = [i for i, token in enumerate(self.text) if token == "!"]
        async for token in super().__call__(messages, so_far):
            yield token


class TestChat:
    def test_one_reply(self, simulated):
        found = talked(simulated, Writer("ab", 2.0), [(1.0, {"content": "hello"})])
        assert_equal(found, [(3.0, {"token": "a"}), (5.0, {"token": "b"}), (5.0, {"done": "stop"})])

    def test_the_conversation_grows(self, simulated):
        writer = Writer("ab")
        talked(simulated, writer, [(0.0, {"content": "one"}), (10.0, {"content": "two"}), (20.0, {"content": "three"})])
        user = [{"role": "user", "content": text} for text in ("one", "two", "three")]
        reply = {"role": "assistant", "content": "ab"}
        expected = [user[:1], [user[0], reply, user[1]], [user[0], reply, user[1], reply, user[2]]]
        assert_equal(writer.calls, [(messages, []) for messages in expected])

    def test_empty_texts_are_texts(self, simulated):
        writer = Writer(["", "b"])
        found = talked(simulated, writer, [(0.0, {"content": ""})])
        assert_equal([message for _, message in found], [{"token": ""}, {"token": "b"}, {"done": "stop"}])
        assert_equal(writer.calls[0][0], [{"role": "user", "content": ""}])

    def test_a_reply_without_tokens(self, simulated):
        writer = Writer("")
        says = [(0.0, {"content": "one"}), (10.0, {"content": "two"})]
        found = talked(simulated, writer, says)
        assert_equal([message for _, message in found], [{"done": "stop"}] * 2)
        assert_equal([m["content"] for m in writer.calls[1][0]], ["one", "", "two"])

    @pytest.mark.parametrize(
        "said",
        [None, 3, "hello", [], {}, {"content": 3}, {"content": None}, {"stop": True}, {"text": "hello"}, ["content"]],
    )
    def test_anything_else_is_an_error(self, simulated, said):
        writer = Writer("a")
        found = talked(simulated, writer, [(0.0, said), (1.0, {"content": "hello"})])
        kinds = [next(iter(message)) for _, message in found]
        assert_equal(
            (kinds, found[0][0], isinstance(found[0][1]["error"], str)), (["error", "token", "done"], 0.0, True)
        )
        assert_equal(writer.calls[0][0], HELLO)

    @pytest.mark.parametrize("said", [{"content": "more"}, None, {"stop": False}, {"stop": "yes"}, [{"stop": True}]])
    def test_an_error_while_a_reply_runs(self, simulated, said):
        writer = Writer("abc", 2.0)
        found = talked(simulated, writer, [(0.0, {"content": "hello"}), (3.0, said), (50.0, {"content": "bye"})])
        assert_equal([(time, next(iter(message))) for time, message in found[:5]],
                     [(2.0, "token"), (3.0, "error"), (4.0, "token"), (6.0, "token"), (6.0, "done")])  # fmt: skip
        assert_equal([m["content"] for m in writer.calls[1][0]], ["hello", "abc", "bye"])

    # --- stop ----------------------------------------------------------------------------------------

    def test_stop_before_the_next_token(self, simulated):
        writer = Writer("abc", [1, 1000, 1])
        found = talked(simulated, writer, [(0.0, {"content": "hello"}), (5.0, {"stop": True})])
        assert_equal((found, writer.closed), ([(1.0, {"token": "a"}), (5.0, {"done": "cancelled"})], [5.0]))

    def test_what_was_sent_counts(self, simulated):
        writer = Writer("abcd", 1.0)
        says = [(0.0, {"content": "one"}), (2.5, {"stop": True}), (10.0, {"content": "two"})]
        found = talked(simulated, writer, says)
        assert_equal([message for _, message in found][2:4], [{"done": "cancelled"}, {"token": "a"}])
        assert_equal([m["content"] for m in writer.calls[1][0]], ["one", "ab", "two"])

    def test_an_empty_token_that_was_sent_counts(self, simulated):
        writer = Writer(["", "b"], [1, 1000])
        talked(simulated, writer, [(0.0, {"content": "one"}), (5.0, {"stop": True}), (10.0, {"content": "two"})])
        assert_equal([m["content"] for m in writer.calls[1][0]], ["one", "", "two"])

    def test_nothing_sent_is_left_out(self, simulated):
        writer = Writer("abcd", 1.0)
        talked(simulated, writer, [(0.0, {"content": "one"}), (0.5, {"stop": True}), (10.0, {"content": "two"})])
        assert_equal([m["content"] for m in writer.calls[1][0]], ["one", "two"])

    def test_stop_while_the_client_reads_slowly(self, simulated):
        writer = Writer(["x"] * 50, 0)
        found = talked(simulated, writer, [(0.0, {"content": "hello"}), (25.0, {"stop": True})], patience=10.0)
        kinds = [message for _, message in found]
        assert_equal((kinds[-1], kinds.count({"done": "cancelled"})), ({"done": "cancelled"}, 1))
        assert_equal(2 <= kinds.count({"token": "x"}) <= 3 and found[-1][0] <= 40.0, True)

    def test_the_generator_is_closed_before_it_says_so(self, simulated):
        writer = Writer("ab", [1, 1000])
        writer.slow_to_close = 3.0
        found = talked(simulated, writer, [(0.0, {"content": "hello"}), (5.0, {"stop": True})])
        assert_equal((found[-1], writer.closed), ((8.0, {"done": "cancelled"}), [8.0]))

    def test_a_new_reply_after_stop(self, simulated):
        writer = Parrot(pace=1.0)
        says = [(0.0, {"content": "abcdef"}), (1.5, {"stop": True}), (2.0, {"content": "xy"})]
        found = [message for _, message in talked(simulated, writer, says)]
        assert_equal(found, [{"token": "a"}, {"done": "cancelled"}, {"token": "x"}, {"token": "y"}, {"done": "stop"}])

    # --- slow clients --------------------------------------------------------------------------------

    def test_it_runs_no_further_than_the_client_reads(self, simulated):
        writer = Writer(["x"] * 1000, 0)
        found = talked(simulated, writer, [(0.0, {"content": "hello"})], patience=1.0, until=20.5)
        sent = len(found)
        assert_equal((sent in (19, 20), writer.made <= sent + 2), (True, True))

    def test_it_doesnt_send_while_it_sends(self, simulated):
        writer = Writer("abcdef", 0.3)
        says = [(0.0, {"content": "hello"}), *((0.5 + 0.2 * i, None) for i in range(5))]
        found = [message for _, message in talked(simulated, writer, says, patience=1.0)]
        kinds = [next(iter(message)) for message in found]
        assert_equal([message["token"] for message in found if "token" in message], list("abcdef"))
        assert_equal((kinds.count("error"), kinds.count("done")), (5, 1))

    # --- gone ----------------------------------------------------------------------------------------

    def test_gone_while_a_token_is_waited_for(self, simulated):
        writer = Writer("ab", [1, 1000])
        talked(simulated, writer, [(0.0, {"content": "hello"})], until=30.0)
        assert_equal(writer.closed, [30.0])

    def test_gone_while_a_send_waits(self, simulated):
        writer = Writer("abcdef", 0)
        found = talked(simulated, writer, [(0.0, {"content": "hello"})], patience=10.0**4, until=30.0)
        assert_equal((found, writer.closed), ([], [30.0]))

    def test_gone_before_anything(self, simulated):
        assert_equal(talked(simulated, Writer(), [], until=3.0), [])

    def test_gone_as_send_tells(self, simulated):
        writer = Writer(pace=1.0)

        said = [{"content": "hello"}]

        async def receive():
            if said:
                return said.pop()
            await asyncio.sleep(1000)
            raise Gone

        async def send(message):
            raise Gone

        async def run():
            await Chat(writer).run(receive, send)
            return now() <= 1000

        assert_equal((simulated(run()), writer.open, simulated.left), (True, 0, 0))

    @pytest.mark.parametrize("where", ["receive", "send"])
    def test_another_error_of_the_connection_comes_out(self, simulated, where):
        writer, said = Writer("ab", [1, 1000]), [{"content": "hello"}]

        async def receive():
            if said:
                return said.pop()
            await asyncio.sleep(5 if where == "receive" else 1000)
            raise OSError("unplugged")

        async def send(message):
            if where == "send":
                raise OSError("unplugged")

        async def run():
            try:
                await Chat(writer).run(receive, send)
            except OSError as error:
                return str(error), now() <= 5

        assert_equal((simulated(run()), writer.open, simulated.left), (("unplugged", True), 0, 0))

    def test_cancelled(self, simulated):
        writer = Writer("ab", [1, 1000])
        phone = Phone([(0.0, {"content": "hello"})])

        async def run():
            task = asyncio.ensure_future(Chat(writer).run(phone.receive, phone.send))
            await asyncio.sleep(5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return task.cancelled(), now()

        assert_equal((simulated(run()), writer.closed, simulated.left), ((True, 5.0), [5.0], 0))

    # --- what goes wrong -----------------------------------------------------------------------------

    def test_an_error_of_the_generator(self, simulated):
        writer = Parrot()
        says = [(0.0, {"content": "ab!c"}), (10.0, {"content": "!"}), (20.0, {"content": "z"})]
        found = [message for _, message in talked(simulated, writer, says)]
        kinds = [next(iter(message)) for message in found]
        assert_equal(kinds, ["token", "token", "error", "error", "token", "done"])
        assert_equal(any("hunter2" in str(message) for message in found), False)
        assert_equal([m["content"] for m in writer.calls[2][0]], ["ab!c", "ab", "!", "z"])

    def test_two_conversations_at_once(self, simulated):
        writer = Writer("ab")
        phones = [
            Phone([(0.0, {"content": "hello"}), (20.0, Gone)]),
            Phone([(0.5, {"content": "hello"}), (20.0, Gone)]),
        ]

        async def run():
            chat = Chat(writer)
            await asyncio.gather(*(chat.run(phone.receive, phone.send) for phone in phones))

        simulated(run())
        expected = [{"token": "a"}, {"token": "b"}, {"done": "stop"}]
        assert_equal([[message for _, message in phone.got] for phone in phones], [expected] * 2)
        assert_equal([messages for messages, _ in writer.calls], [HELLO, HELLO])


# --- the app, over the wire --------------------------------------------------------------------------


class Wire:
    """One request in process: what is sent to the app, and what comes from it with its time."""

    def __init__(self, app, scope, first=()) -> None:
        self.to_app: asyncio.Queue = asyncio.Queue()
        for message in first:
            self.to_app.put_nowait(message)
        self.sent: list[tuple[float, dict]] = []
        self.patience = 0.0  # seconds that each message takes to go out
        self.news = asyncio.Event()
        self.task = asyncio.ensure_future(app(scope, self.to_app.get, self._send))
        self.task.add_done_callback(lambda _: self.news.set())

    async def _send(self, message):
        if self.patience:
            await asyncio.sleep(self.patience)
        self.sent.append((now(), message))
        self.news.set()

    def leave(self):
        self.to_app.put_nowait({"type": "http.disconnect"})

    async def wait_for(self, good):
        """Until good(self) or the end; raises what the stub raises."""
        while not good(self) and not self.task.done():
            self.news.clear()
            await self.news.wait()
        if self.task.done() and not self.task.cancelled() and isinstance(self.task.exception(), NotImplementedError):
            raise self.task.exception()
        return self

    async def end(self):
        return await self.wait_for(lambda _: False)

    @property
    def start(self):
        found = [message for _, message in self.sent if message["type"] == "http.response.start"]
        return found[0] if found else fail("no reply has begun", evidence=("no reply",))

    @property
    def status(self):
        return self.start["status"]

    @property
    def headers(self):
        return {key.decode().lower(): value.decode() for key, value in self.start["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for _, m in self.sent if m["type"] == "http.response.body")

    @property
    def whole(self) -> bool:
        last = self.sent[-1][1] if self.sent else {}
        return last.get("type") == "http.response.body" and not last.get("more_body", False)

    @property
    def events(self):
        return events_in(self.body)


def http(app, method, path, body=b"", **headers) -> Wire:
    pairs = [(key.replace("_", "-").encode(), str(value).encode()) for key, value in headers.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 9),
        "server": ("127.0.0.1", 80), "headers": [(b"host", b"test"), (b"content-type", b"application/json"), *pairs], "state": {},
    }  # fmt: skip
    return Wire(app, scope, [{"type": "http.request", "body": body, "more_body": False}])


def begin(app, **changes) -> Wire:
    body = {"model": "m", "messages": HELLO, "stream": True, **changes}
    return http(app, "POST", "/v1/chat/completions", json.dumps(body).encode())


def again(app, id, last=None) -> Wire:
    headers = {} if last is None else {"last_event_id": last}
    return http(app, "GET", f"/v1/chat/completions/{id}", **headers)


@contextlib.asynccontextmanager
async def living(app):
    """The app's lifespan, from startup to shutdown.  Gives a function that shuts it down before."""
    life = Wire(app, {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}})

    async def tell(what):
        life.to_app.put_nowait({"type": f"lifespan.{what}"})
        await life.wait_for(lambda wire: any(m["type"].startswith(f"lifespan.{what}.") for _, m in wire.sent))
        if life.sent[-1:] == [] or life.sent[-1][1]["type"] != f"lifespan.{what}.complete":
            fail(f"lifespan.{what} isn't answered", evidence=("lifespan", what))

    async def shutdown():
        if not life.task.done():
            await tell("shutdown")

    await tell("startup")
    try:
        yield shutdown
        await shutdown()
    finally:
        life.task.cancel()
        await asyncio.gather(life.task, return_exceptions=True)


def served(simulated, asks, writer=None, **options):
    """What `await asks(app)` gives, within the app's lifespan, on a simulated clock."""

    async def run():
        app = streaming_api(writer or Writer(), "m", **options)
        async with living(app):
            return await asks(app)

    return simulated(run())


def tokens_of(events) -> list[tuple[int, str]]:
    """(id, token) of the events that have a token."""
    found = []
    for one in events:
        if "id" in one:
            found.append((int(one["id"]), json.loads(one["data"])["choices"][0]["delta"].get("content")))
    return found


def id_of(wire) -> str:
    return json.loads(next(one["data"] for one in wire.events if "id" in one))["id"]


class TestStreamingApi:
    def test_a_whole_stream(self, simulated):
        wire = served(simulated, lambda app: begin(app).end(), Writer("abc"))
        kind = wire.headers["content-type"].split(";")[0]
        assert_equal(
            (wire.status, kind, wire.headers.get("cache-control"), wire.whole),
            (200, "text/event-stream", "no-cache", True),
        )
        assert_equal([one.get("id") for one in wire.events], ["1", "2", "3", None, None])
        assert_equal(wire.events[-1], {"data": "[DONE]"})
        chunks = [json.loads(one["data"]) for one in wire.events[:-1]]
        deltas = [{"role": "assistant", "content": "a"}, {"content": "b"}, {"content": "c"}, {}]
        assert_equal([one["choices"] for one in chunks],
                     [[{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}] for delta in deltas])  # fmt: skip

    def test_every_chunk_tells_its_stream(self, simulated):
        before = int(time.time())
        wire = served(simulated, lambda app: begin(app).end(), Writer("abc"))
        found = [json.loads(one["data"]) for one in wire.events[:-1]]
        assert_equal({(one["object"], one["model"]) for one in found}, {("chat.completion.chunk", "m")})
        assert_equal(len({(one["id"], one["created"]) for one in found}), 1)
        created = found[0]["created"]
        assert_equal((isinstance(created, int), before <= created <= time.time()), (True, True))

    def test_tokens_go_out_as_they_come(self, simulated):
        wire = served(simulated, lambda app: begin(app).end(), Writer("abc", 2.0))
        times = [time for time, m in wire.sent if b"chat.completion.chunk" in m.get("body", b"")]
        assert_equal(times[:3], [2.0, 4.0, 6.0])

    @pytest.mark.parametrize("token", ["\n", "a\nb", "data: x\n\n", "größer", "\u2028", '"', "", "[DONE]"])
    def test_any_token(self, simulated, token):
        wire = served(simulated, lambda app: begin(app).end(), Writer(["x", token]))
        assert_equal(tokens_of(wire.events), [(1, "x"), (2, token)])

    def test_what_generate_gets(self, simulated):
        writer = Writer("a")
        messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "größer"}]
        served(simulated, lambda app: begin(app, messages=messages, more=1).end(), writer)
        assert_equal(writer.calls, [(messages, [])])

    def test_heartbeats(self, simulated):
        wire = served(simulated, lambda app: begin(app).end(), Writer("ab", [1, 5]), heartbeat=2.0)
        beats = [(time, m["body"]) for time, m in wire.sent if m.get("body", b"").startswith(b":")]
        assert_equal(([time for time, _ in beats], all(b.endswith(b"\n\n") for _, b in beats)), ([3.0, 5.0], True))
        assert_equal((tokens_of(wire.events), wire.events[-1]), (numbered("ab"), {"data": "[DONE]"}))

    def test_ready(self, simulated):
        assert_equal(served(simulated, lambda app: http(app, "GET", "/ready").end()).status, 200)

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b"{}", {"messages": []}, {"messages": None}, {"messages": "hello"}, {"messages": 3},
            {"messages": [3]}, {"messages": [{}]}, {"messages": [{"role": "user"}]}, {"messages": [{"content": "x"}]},
            {"messages": [{"role": "user", "content": 3}]}, {"messages": [{"role": None, "content": "x"}]},
            {"messages": [*HELLO, {"role": "user"}]}, {"messages": {"role": "user", "content": "x"}}, {"stream": False},
            {"stream": None}, {"stream": 1}, {"stream": "true"},
        ],
        ids=lambda body: repr(body)[:50],
    )  # fmt: skip
    def test_a_request_that_is_none(self, simulated, body):
        writer = Writer()
        if isinstance(body, dict):
            body = json.dumps({"messages": HELLO, "stream": True, **body}).encode()
        wire = served(simulated, lambda app: http(app, "POST", "/v1/chat/completions", body).end(), writer)
        assert_equal((wire.status, error_in(wire.body), writer.calls), (400, True, []))

    # --- again ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("n", [1, 4, 8])
    def test_resume(self, simulated, n):
        writer = Writer()

        async def asks(app):
            first = await begin(app).wait_for(lambda wire: len(tokens_of(wire.events)) >= n)
            first.leave()
            await first.end()
            seen = tokens_of(first.events)
            await asyncio.sleep(20)
            second = await again(app, id_of(first), seen[-1][0]).end()
            return (
                seen,
                tokens_of(second.events),
                second.events[-1],
                id_of(first),
                [e for e in second.events if "data" in e],
            )

        seen, rest, last, id, events = served(simulated, asks, writer)
        assert_equal((seen + rest, last, writer.most), (numbered("abcdefgh"), {"data": "[DONE]"}, 1))
        assert_equal({json.loads(one["data"])["id"] for one in events[:-1]}, {id})

    def test_the_time_stays_that_of_the_post(self, simulated, monkeypatch):
        async def asks(app):
            first = await begin(app).wait_for(lambda wire: tokens_of(wire.events))
            first.leave()
            await first.end()
            real = time.time
            with monkeypatch.context() as patched:
                patched.setattr(time, "time", lambda: real() + 1000)
                second = await again(app, id_of(first), 1).end()
            return {json.loads(e["data"])["created"] for wire in (first, second) for e in wire.events if "id" in e}

        assert_equal(len(served(simulated, asks)), 1)

    @pytest.mark.parametrize("last", [None, 0, 2, 3])
    def test_a_finished_one_again(self, simulated, last):
        async def asks(app):
            return (await again(app, id_of(await begin(app).end()), last).end()).events

        events = served(simulated, asks, Writer("abc"))
        assert_equal(tokens_of(events), numbered("abc")[last or 0 :])
        assert_equal(json.loads(events[-2]["data"])["choices"][0]["finish_reason"], "stop")
        assert_equal(events[-1], {"data": "[DONE]"})

    def test_only_the_first_token_has_the_role(self, simulated):
        async def asks(app):
            id = id_of(await begin(app).end())
            return [(await again(app, id, last).end()).events[0] for last in (0, 1)]

        found = [json.loads(e["data"])["choices"][0]["delta"] for e in served(simulated, asks, Writer("abc"))]
        assert_equal(found, [{"role": "assistant", "content": "a"}, {"content": "b"}])

    @pytest.mark.parametrize("last", ["-1", "4", "99", "abc", "1.0", "a-1"])
    def test_what_cant_have_been_seen(self, simulated, last):
        async def asks(app):
            return await again(app, id_of(await begin(app).end()), last).end()

        wire = served(simulated, asks, Writer("abc"))
        assert_equal((wire.status, error_in(wire.body)), (400, True))

    @pytest.mark.parametrize("last", [None, 1])
    def test_an_unknown_stream(self, simulated, last):
        wire = served(simulated, lambda app: again(app, "nobody", last).end())
        assert_equal((wire.status, error_in(wire.body)), (404, True))

    def test_two_clients_follow_one(self, simulated):
        writer = Writer()

        async def asks(app):
            first = await begin(app).wait_for(lambda wire: tokens_of(wire.events))
            second = await again(app, id_of(first)).end()
            await first.end()
            return tokens_of(first.events), tokens_of(second.events)

        assert_equal((served(simulated, asks, writer), len(writer.calls)), ((numbered("abcdefgh"),) * 2, 1))

    # --- gone ----------------------------------------------------------------------------------------

    def test_who_leaves_closes_the_generator_within_a_second(self, simulated):
        writer = Writer("ab", [1, 1000])

        async def asks(app):
            wire = begin(app)
            await asyncio.sleep(5)
            wire.leave()
            await asyncio.sleep(1)
            return writer.open, all(5.0 <= time <= 6.0 for time in writer.closed), len(writer.closed)

        assert_equal(served(simulated, asks, writer, heartbeat=100.0), (0, True, 1))

    @pytest.mark.parametrize("ahead", [0, 6])
    def test_it_runs_no_further_than_the_client_reads(self, simulated, ahead):
        writer = Writer(["x"] * 1000, 0)

        async def asks(app):
            wire = begin(app)
            wire.patience = 1.0
            await asyncio.sleep(30.5)
            far = writer.made - len(tokens_of(wire.events))
            wire.leave()
            await asyncio.sleep(5)
            return len(wire.events) > 20, far <= ahead + 3

        assert_equal(served(simulated, asks, writer, ahead=ahead), (True, True))

    def test_also_one_that_came_back(self, simulated):
        writer = Writer("abc", [1, 1000, 1])

        async def asks(app):
            wire = begin(app)
            await asyncio.sleep(2)
            wire.leave()
            await asyncio.sleep(2)
            back = again(app, id_of(wire), 1)
            await asyncio.sleep(2)
            back.leave()
            await asyncio.sleep(1)
            return writer.open, len(writer.calls)

        assert_equal(served(simulated, asks, writer), (0, 2))

    # --- what goes wrong -----------------------------------------------------------------------------

    def test_an_error_of_the_generator(self, simulated):
        writer = Writer("abcd", fails=[2])

        async def asks(app):
            first = await begin(app).end()
            return first, await again(app, id_of(first), 2).end()

        first, second = served(simulated, asks, writer)
        last = first.events[-1]
        assert_equal((tokens_of(first.events), first.whole, "id" in last), (numbered("ab"), True, False))
        assert_equal((error_in(last["data"]), b"hunter2" in first.body, b"[DONE]" in first.body), (True, False, False))
        assert_equal((tokens_of(second.events), second.events[-1]), (numbered("cd", 3), {"data": "[DONE]"}))

    def test_the_oldest_is_forgotten(self, simulated):
        async def asks(app):
            ids = [id_of(await begin(app).end()) for _ in range(3)]
            return [(await again(app, id).end()).status for id in ids]

        assert_equal(served(simulated, asks, Writer("a"), keep=2), [404, 200, 200])

    # --- the end -------------------------------------------------------------------------------------

    def test_shutdown_ends_the_streams(self, simulated):
        writer = Writer("ab", [1, 1000])

        async def run():
            app = streaming_api(writer, "m", heartbeat=100.0)
            async with living(app) as shutdown:
                wire = begin(app)
                await asyncio.sleep(5)
                await shutdown()
                await asyncio.sleep(1)
                return wire.whole, tokens_of(wire.events), b"[DONE]" in wire.body, writer.open

        assert_equal(simulated(run()), (True, numbered("a"), False, 0))

    # --- the chat ------------------------------------------------------------------------------------

    def test_a_chat(self, simulated):
        async def asks(app):
            wire = talk(app, ['{"content": "hello"}'])
            await asyncio.sleep(10)
            wire.to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await wire.end()
            return frames(wire)

        expected = [{"token": "a"}, {"token": "b"}, {"done": "stop"}]
        assert_equal(served(simulated, asks, Writer("ab")), expected)

    @pytest.mark.parametrize("frame", ["", "hello", "{", "[" * 100_000])
    def test_a_frame_that_holds_no_json(self, simulated, frame):
        async def asks(app):
            wire = talk(app, [frame, '{"content": "hello"}'])
            await asyncio.sleep(10)
            wire.to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await wire.end()
            return [next(iter(message)) for message in frames(wire)]

        assert_equal(served(simulated, asks, Writer("a")), ["error", "token", "done"])

    def test_a_chat_that_is_left(self, simulated):
        writer = Writer("ab", [1, 1000])

        async def asks(app):
            wire = talk(app, ['{"content": "hello"}'])
            await asyncio.sleep(5)
            wire.to_app.put_nowait({"type": "websocket.disconnect", "code": 1006})
            await asyncio.sleep(1)
            return writer.open, len(writer.closed), wire.task.done() and repr(wire.task.exception()), frames(wire)

        assert_equal(served(simulated, asks, writer), (0, 1, "None", [{"token": "a"}]))

    def test_sigterm_is_as_before_after_the_shutdown(self, simulated):
        before = signal.getsignal(signal.SIGTERM)
        try:
            served(simulated, lambda app: begin(app).end(), Writer("a"))
            assert_equal(signal.getsignal(signal.SIGTERM) is before, True)
        finally:
            signal.signal(signal.SIGTERM, before)

    # --- real servers --------------------------------------------------------------------------------

    @pytest.mark.deadline(40)
    def test_httpx_leaves_and_comes_back(self, serve):
        text = [f"word{i} " for i in range(40)]
        writer = Writer(text, 0.005, note=serve.note)
        body = {"messages": HELLO, "stream": True}
        with serve(streaming_api(writer, "m")) as server:
            seen = b""
            with server.client.stream("POST", "/v1/chat/completions", json=body) as reply:
                for part in reply.iter_raw():
                    seen += part
                    if seen.count(b"\n\n") >= 5:
                        break
            notes = server.wait_for_notes(1)
            seen = seen[: seen.rindex(b"\n\n") + 2]
            found = [one for one in events_in(seen) if "id" in one]
            id, last = json.loads(found[-1]["data"])["id"], found[-1]["id"]
            rest = server.client.get(f"/v1/chat/completions/{id}", headers={"Last-Event-ID": last}).content
            assert_equal(tokens_of(events_in(seen)) + tokens_of(events_in(rest)), numbered(text))
            assert_equal((notes[:1], events_in(rest)[-1]), (["closed"], {"data": "[DONE]"}))

    @pytest.mark.deadline(40)
    def test_websockets_talk(self, serve):
        sync = pytest.importorskip("websockets.sync.client", reason=NEEDS)
        with serve(streaming_api(Writer("abc", 0.01), "m")) as server:
            with sync.connect(f"ws://127.0.0.1:{server.port}/v1/chat") as socket:
                socket.send('{"content": "hello"}')
                found = [json.loads(socket.recv(timeout=15)) for _ in range(4)]
            assert_equal(found, [{"token": "a"}, {"token": "b"}, {"token": "c"}, {"done": "stop"}])

    @pytest.mark.deadline(60)
    def test_sigterm_ends_a_stream_cleanly(self, serve):
        import httpx

        writer = Writer("ab", [0, 1000], note=serve.note)
        body = {"messages": HELLO, "stream": True}
        with serve(streaming_api(writer, "m"), grace=4.0) as server:
            seen, cut = b"", None
            with server.client.stream("POST", "/v1/chat/completions", json=body) as reply:
                try:
                    for part in reply.iter_raw():
                        seen += part
                        if b"\n\n" in seen:
                            server.signal(signal.SIGTERM)
                except httpx.TransportError as error:
                    cut = type(error).__name__
            assert_equal((cut, tokens_of(events_in(seen)), b"[DONE]" in seen), (None, numbered("a"), False))
            server.ended(15)
            assert_equal((server.notes(), server.status), (["closed"], 0))


def error_in(body) -> bool:
    """Whether it is {"error": {"message": a text}}."""
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return (
        isinstance(found, dict)
        and isinstance(found.get("error"), dict)
        and isinstance(found["error"].get("message"), str)
    )


def talk(app, texts) -> Wire:
    scope = {
        "type": "websocket", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "ws", "path": "/v1/chat",
        "raw_path": b"/v1/chat", "query_string": b"", "root_path": "", "headers": [(b"host", b"test")], "client": ("127.0.0.1", 9),
        "server": ("127.0.0.1", 80), "subprotocols": [], "state": {}, "extensions": {},
    }  # fmt: skip
    return Wire(
        app, scope, [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": text} for text in texts)]
    )


def frames(wire) -> list:
    return [json.loads(m["text"]) for _, m in wire.sent if m["type"] == "websocket.send" and m.get("text") is not None]
