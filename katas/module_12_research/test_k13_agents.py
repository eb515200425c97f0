"""Judges k13_agents with models whose replies are written down, tools that fail, and a clock that counts."""

import copy
import json
import re
from itertools import count as counter

import pytest

from dojo.testing import assert_equal, fail, from_scratch, pure, raises
from katas.module_12_research.k13_agents import (
    FORMAT,
    Agent,
    Budget,
    BudgetExceeded,
    Tracer,
    check_arguments,
    fit_history,
    hand_off,
    parse_reply,
    run_tool,
    tool_schema,
)

pytestmark = [
    from_scratch("jsonschema", "pydantic", "langchain", "langchain_core", "transformers", "opentelemetry"),
    pure("ask", "charge", "span"),
]


def population(city: str, year: int = 2020) -> int:
    """How many people live in a city.

    Not suburbs.
    """
    return {"Oslo": 709, "Bergen": 291}[city] + year - 2020


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def report(title: str, bold: bool, share: float, tags: list[str] = (), note: str = "-") -> dict:
    """Write a report."""
    return {"title": title, "bold": bold, "share": share, "tags": list(tags), "note": note}


REPORT = {
    "name": "report",
    "description": "Write a report.",
    "parameters": {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "bold": {"type": "boolean"},
            "share": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "note": {"type": "string"},
        },
        "required": ["title", "bold", "share"],
        "additionalProperties": False,
    },
}


def schema_of(required: list[str] = (), **properties: object) -> dict:
    inner = {name: kind if isinstance(kind, dict) else {"type": kind} for name, kind in properties.items()}
    parameters = {"type": "object", "properties": inner, "required": list(required), "additionalProperties": False}
    return {"name": "f", "description": "", "parameters": parameters}


class TestToolSchema:
    def test_of_a_function(self):
        parameters = {
            "type": "object",
            "properties": {"city": {"type": "string"}, "year": {"type": "integer"}},
            "required": ["city"],
            "additionalProperties": False,
        }
        expected = {"name": "population", "description": "How many people live in a city.", "parameters": parameters}
        assert_equal(tool_schema(population), expected)
        assert_equal(tool_schema(report), REPORT)

    def test_the_order_is_the_functions(self):
        assert_equal(json.dumps(tool_schema(report)["parameters"]["properties"]), json.dumps(REPORT["parameters"]["properties"]))

    def test_without_parameters_or_docstring(self):
        def ping():
            return "pong"

        assert_equal(tool_schema(ping), schema_of() | {"name": "ping"})

    @pytest.mark.parametrize(("kind", "name"), [(str, "string"), (int, "integer"), (float, "number"), (bool, "boolean")])
    def test_lists_of_each_type(self, kind, name):
        def f(values):
            """A list."""

        f.__annotations__ = {"values": list[kind]}
        expected = {"values": {"type": "array", "items": {"type": name}}}
        assert_equal(tool_schema(f)["parameters"]["properties"], expected)

    def test_a_default_of_none_is_a_default(self):
        def f(a: str = "", b: int = 0):
            """Both may be left out."""

        f.__defaults__ = (None, 0)
        assert_equal(tool_schema(f)["parameters"]["required"], [])

    def test_a_docstring_that_begins_on_its_second_line(self):
        def f():
            """
            Count the stars.

            All of them.
            """

        assert_equal(tool_schema(f)["description"], "Count the stars.")

    def test_is_a_json_schema(self):
        jsonschema = pytest.importorskip("jsonschema")
        jsonschema.Draft202012Validator.check_schema(tool_schema(report)["parameters"])

    @pytest.mark.parametrize("name", ["second", "first", "rows", "items", "values", "options"])
    def test_refuses_what_a_schema_cant_say(self, name):
        def bare(first: str, second):
            """No annotation."""

        def other(first: dict):
            """Another type."""

        def nested(first: str, rows: list[list[int]]):
            """A list of lists."""

        def plain(items: list):
            """A list of what?"""

        def many(*values: int):
            """Any number."""

        def named(**options: str):
            """Any name."""

        tools = {"second": bare, "first": other, "rows": nested, "items": plain, "values": many, "options": named}
        with raises(ValueError, name):
            tool_schema(tools[name])


class TestCheckArguments:
    def test_nothing_wrong(self):
        assert_equal(check_arguments(REPORT, {"title": "x", "bold": True, "share": 0.5}), [])
        assert_equal(check_arguments(REPORT, {"title": "x", "bold": False, "share": 1, "tags": ["a"], "note": ""}), [])
        assert_equal(check_arguments(schema_of(), {}), [])

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [({"bold": True, "share": 0.5}, ["title"]), ({}, ["bold", "share", "title"]),
         ({"title": "x", "bold": True, "share": 0.5, "color": "red"}, ["color"]),
         ({"title": 3, "bold": "yes", "share": "0.5"}, ["bold", "share", "title"]),
         ({"title": None, "bold": True, "share": 1.5, "size": 1}, ["size", "title"])],
    )  # fmt: skip
    def test_each_wrong_argument_once_and_by_name(self, arguments, expected):
        found = check_arguments(REPORT, arguments)
        assert_equal(len(found), len(expected))
        for name in expected:
            if not any(name in text for text in found):
                fail(f"No text names {name!r}: {found}", evidence=(arguments, name))

    @pytest.mark.parametrize("kind", ["string", "integer", "number", "boolean"])
    def test_types_as_jsonschema(self, kind):
        jsonschema = pytest.importorskip("jsonschema")
        values = ["a", "", "3", 0, 7, -2, 1.5, 0.25, True, False, None, [], ["a"], {}, [1]]
        schema = schema_of(["x"], x=kind)
        expected = [jsonschema.Draft202012Validator({"type": kind}).is_valid(value) for value in values]
        assert_equal([check_arguments(schema, {"x": value}) == [] for value in values], expected)

    def test_a_float_is_no_integer(self):
        assert_equal(len(check_arguments(schema_of(["x"], x="integer"), {"x": 2.0})), 1)

    @pytest.mark.parametrize("kind", ["string", "integer", "number", "boolean"])
    def test_the_items_of_an_array(self, kind):
        jsonschema = pytest.importorskip("jsonschema")
        inner = {"type": "array", "items": {"type": kind}}
        values = [[], ["a"], ["a", "b"], ["a", 3], [3, 4], [1.5, 2], [True], [True, 1], [None], "abc", 3, {}, {"a": 1}, [[1]]]
        expected = [jsonschema.Draft202012Validator(inner).is_valid(value) for value in values]
        found = [check_arguments(schema_of([], x=inner), {"x": value}) for value in values]
        assert_equal([one == [] for one in found], expected)
        assert_equal(all(len(one) <= 1 and all("x" in text for text in one) for one in found), True)


class Called:
    """Tools that note how they were called."""

    def __init__(self):
        self.calls = []

    def tools(self) -> dict:
        def lookup(key: str, times: int = 1) -> str:
            """Look it up."""
            self.calls.append((key, times))
            if key == "bad":
                raise KeyError("no such key")
            if key == "stop":
                raise KeyboardInterrupt
            if key == "exit":
                raise SystemExit(3)
            return key * times

        def things() -> object:
            """Numbers."""
            return {"a": [1, 2.5], "b": None}

        def odd() -> object:
            """What json can't write."""
            return {1, 2}

        return {"lookup": lookup, "things": things, "odd": odd}


class TestRunTool:
    def test_a_text_is_returned_as_it_is(self):
        assert_equal(run_tool(Called().tools(), "lookup", {"key": 'a "b"', "times": 2}), ('a "b"a "b"', True))
        assert_equal(run_tool({"population": population}, "population", {"city": "Oslo"}), ("709", True))

    def test_anything_else_as_json(self):
        assert_equal(run_tool(Called().tools(), "things", {}), ('{"a": [1, 2.5], "b": null}', True))
        assert_equal(run_tool({"nothing": lambda: None}, "nothing", {}), ("null", True))

    def errs(self, name: str, arguments: dict, *words: str) -> Called:
        called = Called()
        text, fine = run_tool(called.tools(), name, arguments)
        assert_equal((name, arguments, fine, text[:7]), (name, arguments, False, "error: "))
        for word in words:
            if word not in text:
                fail(f"The observation doesn't say {word!r}: {text!r}", evidence=(name, word))
        return called

    def test_a_tool_that_isnt_there(self):
        self.errs("search", {"key": "a"}, "search", "lookup", "things", "odd")

    def test_wrong_arguments_and_the_tool_isnt_called(self):
        called = self.errs("lookup", {"key": 5}, "key")
        assert_equal(called.calls, [])

    def test_all_wrong_arguments(self):
        self.errs("lookup", {"times": "2", "size": 3}, "key", "times", "size")

    def test_a_tool_that_fails(self):
        called = self.errs("lookup", {"key": "bad"}, "KeyError", "no such key")
        assert_equal(called.calls, [("bad", 1)])

    def test_an_answer_that_json_cant_write(self):
        self.errs("odd", {})

    @pytest.mark.parametrize(("key", "error"), [("stop", KeyboardInterrupt), ("exit", SystemExit)])
    def test_stops_where_it_is_told_to(self, key, error):
        """Ctrl-C during a tool must end the program."""
        try:
            found = run_tool(Called().tools(), "lookup", {"key": key})
        except error:
            return
        fail(f"{error.__name__} has become the observation {found!r}.", evidence=key)


HAND = """Thought: look it up
Action: population
Action Input: {"city": "A"}
Observation: 5"""


def fields(reply: str) -> tuple:
    step = parse_reply(reply)
    return step.thought, step.action, step.arguments, step.answer


class TestParseReply:
    def test_the_example_worked_by_hand(self):
        assert_equal(fields(HAND), ("look it up", "population", {"city": "A"}, None))
        assert_equal(parse_reply(HAND).text, HAND[: HAND.index("\nObservation")])

    def test_a_final_answer(self):
        assert_equal(fields("Thought: I know.\nFinal Answer: 5 people"), ("I know.", None, None, "5 people"))
        assert_equal(fields("Final Answer: 5: or 6"), ("", None, None, "5: or 6"))

    def test_fields_of_several_lines(self):
        reply = 'Thought: first\n  then\n\nlast \nAction: f\nAction Input: {"a":\n  [1,\n 2]}\n\n'
        assert_equal(fields(reply), ("first\n  then\n\nlast", "f", {"a": [1, 2]}, None))
        assert_equal(fields("Thought:\n\nhm\nFinal Answer:\none\ntwo\n"), ("hm", None, None, "one\ntwo"))

    def test_what_stands_before_the_first_label(self):
        reply = "Sure!\n  Here it is.\nAction: f\nAction Input: {}\n"
        assert_equal((fields(reply), parse_reply(reply).text), (("", "f", {}, None), reply.strip()))

    def test_labels_in_any_order(self):
        assert_equal(fields('Action Input: {"x": 1}\nThought: so\nAction: g'), ("so", "g", {"x": 1}, None))

    def test_only_at_the_beginning_of_a_line(self):
        reply = "Thought: The Action: is clear, Observation: none\n Action: no\nFinal Answer: Action: f"
        expected = "The Action: is clear, Observation: none\n Action: no"
        assert_equal(fields(reply), (expected, None, None, "Action: f"))

    def test_other_labels_are_text(self):
        assert_equal(fields("Thought: a\nNote: b\naction: c\nFinal answer: d\nFinal Answer: e"), ("a\nNote: b\naction: c\nFinal answer: d", None, None, "e"))

    @pytest.mark.parametrize("more", ["Observation: 5\nThought: done\nFinal Answer: 5", "Observation:\n7\nAction: f", "Observation: x"])
    def test_nothing_counts_from_an_observation_on(self, more):
        before = '\nThought: t\nAction: f\nAction Input: {"a": 1}\n\n'
        assert_equal((fields(before + more), parse_reply(before + more).text), (("t", "f", {"a": 1}, None), before.strip()))

    @pytest.mark.parametrize(
        ("reply", "label"),
        [("Thought: a\nThought: b\nFinal Answer: c", "Thought"), ("Final Answer: a\nFinal Answer: b", "Final Answer"),
         ("Action: f\nAction Input: {}\nAction: g\nAction Input: {}", "Action"), ("Action: f\nAction Input: {}\nAction Input: {}", "Action Input")],
    )  # fmt: skip
    def test_refuses_a_label_twice(self, reply, label):
        with raises(ValueError, label):
            parse_reply(reply)

    @pytest.mark.parametrize(
        "reply", ["", "I don't know.", "Thought: hm", "Action Input: {}", "Observation: 3\nFinal Answer: 3", "Action: f\nAction Input: {}\nFinal Answer: x"]
    )
    def test_refuses_neither_or_both(self, reply):
        with raises(ValueError, "Action", "Final Answer"):
            parse_reply(reply)

    @pytest.mark.parametrize("given", ["", "\nAction Input:", "\nAction Input: city=A", "\nAction Input: [1]", '\nAction Input: "A"', "\nAction Input: {'a': 1}", '\nAction Input: {"a": 1} and so on', "\nAction Input: null", "\nAction Input: 3"])
    def test_refuses_arguments_that_are_no_object(self, given):
        with raises(ValueError, "Action Input"):
            parse_reply("Action: f" + given)


def said(*pairs: tuple[str, int]) -> list[dict]:
    """Messages of these roles and lengths; each content says which one it is."""
    return [{"role": role, "content": " ".join([f"m{i}"] * size)} for i, (role, size) in enumerate(pairs)]


TALK = said(("system", 4), ("user", 2), ("assistant", 3), ("tool", 5), ("assistant", 1), ("user", 2))


def numbers(messages: list[dict]) -> list[int]:
    return [int(message["content"].split()[0][1:]) for message in messages]


class TestFitHistory:
    @pytest.mark.parametrize(
        ("limit", "expected"),
        [(17, [0, 1, 2, 3, 4, 5]), (99, [0, 1, 2, 3, 4, 5]), (16, [0, 2, 3, 4, 5]), (15, [0, 2, 3, 4, 5]), (14, [0, 4, 5]), (7, [0, 4, 5]), (6, [0, 5])],
    )  # fmt: skip
    def test_the_example_worked_by_hand(self, limit, expected):
        assert_equal(numbers(fit_history(TALK, limit)), expected)

    def test_messages_stay_as_they_are(self):
        assert_equal(fit_history(TALK, 8), [TALK[0], *TALK[4:]])

    def test_the_newest_question_stays_the_older_ones_dont(self):
        talk = said(("system", 1), ("user", 3), ("assistant", 1), ("user", 3), ("assistant", 2), ("tool", 2), ("assistant", 2), ("tool", 2))
        assert_equal([numbers(fit_history(talk, limit)) for limit in (13, 12, 11, 8, 4)], [[0, 2, 3, 4, 5, 6, 7], [0, 3, 4, 5, 6, 7], [0, 3, 6, 7], [0, 3, 6, 7], [0, 3]])

    def test_the_oldest_even_if_a_small_one_would_do(self):
        talk = said(("system", 1), ("assistant", 9), ("assistant", 1), ("user", 1))
        assert_equal(numbers(fit_history(talk, 11)), [0, 2, 3])

    def test_never_half_of_a_pair(self):
        talk = said(("system", 1), ("user", 1), ("assistant", 1), ("tool", 9), ("assistant", 1), ("tool", 1))
        assert_equal([numbers(fit_history(talk, limit)) for limit in (13, 4, 3)], [[0, 1, 4, 5], [0, 1, 4, 5], [0, 1]])

    @pytest.mark.parametrize("count", [len, lambda text: 3, lambda text: text.count("m") * 7])
    def test_counted_as_asked(self, count):
        roles = ["system", "user", "assistant", "tool", "assistant", "assistant", "tool", "user", "assistant", "tool"]
        talk = said(*((role, 1 + i * 3 % 4) for i, role in enumerate(roles)))
        groups, fixed = [[1], [2, 3], [4], [5, 6], [8, 9]], [0, 7]
        for limit in range(count("m0 m0 m0") * 3, 250, 5):
            for dropped in range(len(groups) + 1):  # the fewest that are enough
                kept = sorted(sum(groups[dropped:], fixed))
                if sum(count(talk[i]["content"]) for i in kept) <= limit:
                    assert_equal((limit, numbers(fit_history(talk, limit, count))), (limit, kept))
                    break

    @pytest.mark.parametrize("limit", [5, 0])
    def test_refuses_what_cant_fit(self, limit):
        with raises(ValueError, limit, 6):
            fit_history(TALK, limit)


class TestBudget:
    def test_the_example_worked_by_hand(self):
        budget = Budget(3, 20)
        budget.charge(1, 12)
        assert_equal((budget.calls, budget.tokens), (2, 8))
        with raises(BudgetExceeded, "tokens"):
            budget.charge(1, 9)
        assert_equal((budget.calls, budget.tokens), (2, 8))

    def test_all_that_is_left_may_be_taken(self):
        budget = Budget(calls=2, tokens=5)
        budget.charge(calls=2)
        budget.charge(tokens=5)
        budget.charge()
        assert_equal((budget.calls, budget.tokens), (0, 0))

    @pytest.mark.parametrize(("wanted", "word"), [({"calls": 4}, "calls"), ({"tokens": 21}, "tokens"), ({"calls": 4, "tokens": 3}, "calls")])
    def test_refuses_more_and_takes_nothing(self, wanted, word):
        budget = Budget(3, 20)
        with raises(BudgetExceeded, word):
            budget.charge(**wanted)
        assert_equal((budget.calls, budget.tokens), (3, 20))


def a_tracer(start: int = 100) -> Tracer:
    """Its clock says 100, 101, …"""
    ticks = counter(start)
    return Tracer(lambda: next(ticks), seed=1)


def shape(spans: list[dict]) -> list:
    """Each span's name, its parent's name, when it was open, and its status."""
    names = {span["spanId"]: span["name"] for span in spans} | {"": ""}
    return [
        (span["name"], names.get(span["parentSpanId"], "?"), span["startTimeUnixNano"], span["endTimeUnixNano"], span["status"]["code"])
        for span in spans
    ]


class TestTracer:
    def test_spans_in_spans(self):
        tracer = a_tracer()
        with tracer.span("a"):
            with tracer.span("b"), tracer.span("c"):
                pass
            with tracer.span("d"):
                pass
        expected = [("c", "b", 102, 103, 0), ("b", "a", 101, 104, 0), ("d", "a", 105, 106, 0), ("a", "", 100, 107, 0)]
        assert_equal(shape(tracer.spans), expected)

    def test_only_ended_spans_are_listed(self):
        tracer, seen = a_tracer(), []
        with tracer.span("a"):
            seen.append(len(tracer.spans))
            with tracer.span("b"):
                seen.append(len(tracer.spans))
            seen.append(len(tracer.spans))
        assert_equal([*seen, len(tracer.spans)], [0, 0, 1, 2])

    def test_ids(self):
        tracer = Tracer()
        for _ in range(3):
            with tracer.span("a"), tracer.span("b"):
                pass
        for span in tracer.spans:
            if not re.fullmatch("[0-9a-f]{32}", span["traceId"]) or not re.fullmatch("[0-9a-f]{16}", span["spanId"]):
                fail(f"Ids are 32 and 16 hex digits, not {span['traceId']!r} and {span['spanId']!r}.", evidence="ids")
        traces = [span["traceId"] for span in tracer.spans]
        assert_equal([inner == outer for inner, outer in zip(traces[::2], traces[1::2], strict=True)], [True] * 3)
        assert_equal((len(set(traces)), len({span["spanId"] for span in tracer.spans})), (3, 6))

    def test_ids_of_a_seed(self):
        """Short ids are filled up with zeros in front: among 400 some begin with one."""
        ids = []
        for seed in (1, 1, 2):
            tracer = Tracer(lambda: 0, seed=seed)
            for _ in range(400):
                with tracer.span("a"):
                    pass
            ids.append([(span["traceId"], span["spanId"]) for span in tracer.spans])
        assert_equal((ids[0] == ids[1], ids[0] == ids[2]), (True, False))
        assert_equal({(len(trace), len(span)) for trace, span in ids[0]}, {(32, 16)})

    def test_attributes(self):
        tracer, given = a_tracer(), {"model": "small"}
        with tracer.span("a", given) as span:
            span["attributes"]["tokens"] = 3
        with tracer.span("b") as span:
            span["attributes"]["x"] = 1
        with tracer.span("c"):
            pass
        assert_equal([span["attributes"] for span in tracer.spans], [{"model": "small", "tokens": 3}, {"x": 1}, {}])
        assert_equal(given, {"model": "small"})

    def test_an_exception_goes_on_and_is_noted(self):
        tracer = a_tracer()
        try:
            with tracer.span("a"), tracer.span("b"):
                raise KeyError("lost")
        except KeyError:
            pass
        else:
            fail("The exception of the block is gone.", evidence="swallowed")
        assert_equal(shape(tracer.spans), [("b", "a", 101, 102, 2), ("a", "", 100, 103, 2)])
        assert_equal(all(word in span["status"]["message"] for span in tracer.spans for word in ("KeyError", "lost")), True)
        with tracer.span("after"):
            pass
        assert_equal((tracer.spans[-1]["parentSpanId"], tracer.spans[-1]["status"]), ("", {"code": 0}))

    def test_a_status_of_its_own(self):
        tracer = a_tracer()
        with tracer.span("a") as span:
            span["status"] = {"code": 2, "message": "own"}
        assert_equal(tracer.spans[0]["status"], {"code": 2, "message": "own"})

    def test_two_tracers_know_nothing_of_each_other(self):
        one, other = a_tracer(), a_tracer()
        with one.span("a"), other.span("b"):
            pass
        assert_equal((len(one.spans), len(other.spans), other.spans[0]["parentSpanId"]), (1, 1, ""))


class Scripted:
    """A model whose replies are written down, and that keeps what it was sent."""

    def __init__(self, *replies: str) -> None:
        self.replies, self.sent = list(replies), []

    def __call__(self, messages: list[dict]) -> str:
        self.sent.append(copy.deepcopy(messages))
        return self.replies[len(self.sent) - 1]


def act(name: str, thought: str = "so", **arguments: object) -> str:
    return f"Thought: {thought}\nAction: {name}\nAction Input: {json.dumps(arguments)}"


def last(model: Scripted, turn: int) -> tuple[str, str]:
    """Role and text of the last message that the model got in that turn."""
    return model.sent[turn][-1]["role"], model.sent[turn][-1]["content"]


def an_agent(*replies: str, calls: int = 9, tokens: int = 10_000, **more: object) -> tuple[Agent, Scripted]:
    model = Scripted(*replies)
    tools = more.pop("tools", [population, mean])
    return Agent("helper", model, tools, Budget(calls, tokens), more.pop("tracer", a_tracer()), **more), model


class TestAgent:
    def test_looks_up_and_answers(self):
        agent, model = an_agent(act("population", city="Oslo"), act("population", city="Bergen", year=2021), "Final Answer: Oslo has 417 more.")
        found = agent.ask("Which is larger?")
        assert_equal((found.answer, found.reason), ("Oslo has 417 more.", "answer"))
        assert_equal([last(model, turn) for turn in range(3)], [("user", "Which is larger?"), ("tool", "709"), ("tool", "292")])
        assert_equal([message["role"] for message in model.sent[2]], ["system", "user", "assistant", "tool", "assistant", "tool"])
        assert_equal(agent.history[-1], {"role": "assistant", "content": "Final Answer: Oslo has 417 more."})

    def test_the_system_message_lists_the_tools(self):
        agent, model = an_agent("Final Answer: x")
        agent.ask("?")
        expected = FORMAT + json.dumps(tool_schema(population)) + "\n" + json.dumps(tool_schema(mean))
        assert_equal(model.sent[0][0], {"role": "system", "content": expected})

    def test_an_invented_observation_isnt_kept(self):
        reply = act("population", city="Oslo") + "\nObservation: 5\nFinal Answer: 5"
        agent, model = an_agent(reply, "Final Answer: 709")
        assert_equal(agent.ask("How many?").answer, "709")
        assert_equal(model.sent[1][-2:], [{"role": "assistant", "content": act("population", city="Oslo")}, {"role": "tool", "content": "709"}])

    @pytest.mark.parametrize(
        ("reply", "words"),
        [(act("poulation", city="Oslo"), ["poulation", "population", "mean"]), (act("population"), ["city"]),
         (act("population", city="Rome"), ["KeyError", "Rome"]), (act("mean", values=[]), ["ZeroDivisionError"]),
         (act("population", city="Oslo", year="2021"), ["year"])],
    )  # fmt: skip
    def test_goes_on_after_an_error_of_a_tool(self, reply, words):
        agent, model = an_agent(reply, act("population", city="Oslo"), "Final Answer: done")
        assert_equal(agent.ask("?").answer, "done")
        role, text = last(model, 1)
        assert_equal((role, text[:7], [word in text for word in words]), ("tool", "error: ", [True] * len(words)))
        assert_equal(last(model, 2), ("tool", "709"))

    @pytest.mark.parametrize("reply", ["I think it is 5.", "Action: population", "  Action: f\nAction Input: {}\n"])
    def test_goes_on_after_a_reply_without_form(self, reply):
        agent, model = an_agent(reply, "Final Answer: 5")
        assert_equal(agent.ask("?").answer, "5")
        role, text = last(model, 1)
        assert_equal((role, text[:7]), ("tool", "error: "))
        assert_equal(model.sent[1][-2], {"role": "assistant", "content": reply})
        try:
            parse_reply(reply)
        except ValueError as error:
            assert_equal(text, f"error: {error}")

    def test_remembers_earlier_questions(self):
        agent, model = an_agent(act("population", city="Oslo"), "Final Answer: 709", "Final Answer: as I said")
        agent.ask("first?")
        assert_equal(agent.ask("second?").answer, "as I said")
        roles = ["system", "user", "assistant", "tool", "assistant", "user"]
        assert_equal([message["role"] for message in model.sent[2]], roles)
        assert_equal([model.sent[2][1]["content"], model.sent[2][5]["content"]], ["first?", "second?"])

    @pytest.mark.parametrize("room", [0, 11, 30])
    def test_sends_what_fits(self, room):
        agent, model = an_agent(act("population", city="Oslo"), act("population", city="Bergen"), "Final Answer: x")
        agent.limit = limit = len(agent.history[0]["content"].split()) + 1 + room
        agent.ask("question?")
        first, second = act("population", city="Oslo"), act("population", city="Bergen")
        texts = [("system", agent.history[0]["content"]), ("user", "question?"), ("assistant", first), ("tool", "709"), ("assistant", second), ("tool", "291")]
        whole = [{"role": role, "content": text} for role, text in texts]
        assert_equal(model.sent[2], fit_history(whole, limit))
        assert_equal(agent.history[:6], whole)  # what isn't sent is still known

    @pytest.mark.parametrize("calls", [1, 3])
    def test_stops_when_no_call_is_left(self, calls):
        agent, model = an_agent(*[act("population", city="Oslo")] * 9, calls=calls)
        found = agent.ask("?")
        assert_equal((found.answer, found.reason, len(model.sent), agent.budget.calls), (None, "budget", calls, 0))

    def test_what_a_turn_costs(self):
        agent, model = an_agent(act("population", city="Oslo"), "Final Answer: it is 709", tokens=5000)
        agent.ask("how many people?")
        sent = [sum(len(message["content"].split()) for message in prompt) for prompt in model.sent]
        replies = [len(reply.split()) for reply in model.replies]
        assert_equal((agent.budget.calls, agent.budget.tokens), (7, 5000 - sum(sent) - sum(replies)))

    def test_counted_as_asked(self):
        agent, model = an_agent("Final Answer: abc", tokens=5000, count=len)
        agent.ask("four")
        assert_equal(agent.budget.tokens, 5000 - sum(len(message["content"]) for message in model.sent[0]) - len("Final Answer: abc"))

    @pytest.mark.parametrize("missing", [1, 0])
    def test_the_prompt_is_paid_before_the_model_is_asked(self, missing):
        agent, model = an_agent("Final Answer: x")
        agent.budget.tokens = len(agent.history[0]["content"].split()) + 1 - missing
        assert_equal((agent.ask("?").reason, len(model.sent), agent.budget.calls), ("budget", 1 - missing, 9 - (1 - missing)))

    @pytest.mark.parametrize(("missing", "reason"), [(1, "budget"), (0, "answer")])
    def test_a_reply_that_isnt_paid_isnt_used(self, missing, reason):
        agent, _ = an_agent("Final Answer: it is so")
        agent.budget.tokens = len(agent.history[0]["content"].split()) + 1 + 5 - missing
        found = agent.ask("?")
        assert_equal((found.reason, found.answer, len(agent.history)), (reason, None if missing else "it is so", 3 - missing))

    def test_an_unpaid_action_isnt_run(self):
        called = Called()
        agent, _ = an_agent(act("lookup", key="a"), tools=list(called.tools().values()))
        agent.budget.tokens = len(agent.history[0]["content"].split()) + 3
        assert_equal((agent.ask("?").reason, called.calls), ("budget", []))

    def test_what_the_model_does_to_its_messages(self):
        agent, _ = an_agent()
        before = copy.deepcopy(agent.history)

        def model(messages: list[dict]) -> str:
            messages[0]["content"] = "changed"
            messages.append({"role": "user", "content": "and more"})
            return "Final Answer: x"

        agent.model = model
        agent.ask("?")
        assert_equal(agent.history[:2], [*before, {"role": "user", "content": "?"}])
        assert_equal(len(agent.history), 3)

    def test_spans(self):
        tracer = a_tracer()
        agent, model = an_agent(act("population", city="Oslo"), "oh", act("mean", values=[]), "Final Answer: it is 709", tracer=tracer)
        agent.ask("how many?")
        around, chat = "invoke_agent helper", ("chat", "invoke_agent helper")
        expected = [
            (*chat, 101, 102, 0), ("execute_tool population", around, 103, 104, 0), (*chat, 105, 106, 0), (*chat, 107, 108, 0),
            ("execute_tool mean", around, 109, 110, 2), (*chat, 111, 112, 0), (around, "", 100, 113, 0),
        ]  # fmt: skip
        assert_equal(shape(tracer.spans), expected)
        assert_equal(tracer.spans[4]["status"]["message"], last(model, 3)[1])
        spent = [(s["attributes"]["gen_ai.usage.input_tokens"], s["attributes"]["gen_ai.usage.output_tokens"]) for s in tracer.spans if s["name"] == "chat"]
        sent = [sum(len(message["content"].split()) for message in prompt) for prompt in model.sent]
        assert_equal(spent, list(zip(sent, [len(reply.split()) for reply in model.replies], strict=True)))

    def test_what_the_model_raises_passes(self):
        tracer = a_tracer()
        agent, _ = an_agent(tracer=tracer)

        def model(messages: list[dict]) -> str:
            raise ConnectionError("no line")

        agent.model = model
        with raises(ConnectionError, "no line"):
            agent.ask("?")
        assert_equal([(span["name"], span["status"]["code"]) for span in tracer.spans], [("chat", 2), ("invoke_agent helper", 2)])

    def test_a_budget_of_the_models_own_passes_too(self):
        agent, _ = an_agent()

        def model(messages: list[dict]) -> str:
            raise BudgetExceeded("the provider's calls are used up")

        agent.model = model
        with raises(BudgetExceeded, "provider"):
            agent.ask("?")

    def test_what_isnt_sent_costs_nothing(self):
        tracer = a_tracer()
        agent, model = an_agent(act("population", city="Oslo"), "Final Answer: x", tokens=5000, tracer=tracer)
        agent.limit = len(agent.history[0]["content"].split()) + 2  # the second prompt has no room for what the tool said
        agent.ask("how many?")
        sent = [sum(len(message["content"].split()) for message in prompt) for prompt in model.sent]
        replies = sum(len(reply.split()) for reply in model.replies)
        assert_equal(agent.budget.tokens, 5000 - sum(sent) - replies)
        said = [span["attributes"]["gen_ai.usage.input_tokens"] for span in tracer.spans if span["name"] == "chat"]
        assert_equal(said, sent)

    def test_a_prompt_that_cant_fit(self):
        agent, _ = an_agent("Final Answer: x", limit=20)
        with raises(ValueError, 20):
            agent.ask("?")

    @pytest.mark.slow
    @pytest.mark.deadline(400)
    def test_with_smollm2(self, smollm2):
        """A small model seldom finds the form.  Whatever it says, the loop ends, and the books balance."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(smollm2)
        net = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)

        def model(messages: list[dict]) -> str:
            known = {"system": "system", "user": "user", "assistant": "assistant", "tool": "user"}
            chat = [{"role": known[message["role"]], "content": message["content"]} for message in messages]
            prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(prompt, return_tensors="pt").input_ids
            with torch.no_grad():
                made = net.generate(ids, max_new_tokens=30, do_sample=False)
            return tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)

        tracer = Tracer()
        agent = Agent("small", model, [population], Budget(3, 5000), tracer)
        found = agent.ask("How many people live in Oslo?")
        chats = [span for span in tracer.spans if span["name"] == "chat"]
        spent = sum(sum(span["attributes"].values()) for span in chats)
        assert_equal((len(chats), spent), (3 - agent.budget.calls, 5000 - agent.budget.tokens))
        assert_equal((found.reason == "answer", len(chats) <= 3), (found.answer is not None, True))


class TestHandOff:
    def planner(self, *replies: str, worker: tuple[str, ...], calls: int = 9):
        tracer, budget, workers = a_tracer(), Budget(calls, 10_000), []

        def make_worker() -> Agent:
            workers.append(Scripted(*worker))
            return Agent("worker", workers[-1], [population], budget, tracer)

        model = Scripted(*replies)
        return Agent("planner", model, [hand_off(make_worker)], budget, tracer), model, workers, tracer

    def test_the_tool(self):
        schema = tool_schema(hand_off(lambda: an_agent()[0]))
        parameters = schema_of(["task"], task="string")["parameters"]
        assert_equal((schema["name"], schema["parameters"], bool(schema["description"])), ("delegate", parameters, True))

    def test_a_worker_answers_and_the_spans_are_the_drawings(self):
        agent, model, workers, tracer = self.planner(
            act("delegate", task="people of Oslo"), "Final Answer: 709", worker=(act("population", city="Oslo"), "Final Answer: Oslo: 709")
        )
        assert_equal(agent.ask("?").answer, "709")
        assert_equal((last(model, 1), last(workers[0], 0)), (("tool", "Oslo: 709"), ("user", "people of Oslo")))
        found = [(name, parent) for name, parent, *_ in shape(tracer.spans)]
        inner = [("chat", "invoke_agent worker"), ("execute_tool population", "invoke_agent worker"), ("chat", "invoke_agent worker")]
        middle = [("invoke_agent worker", "execute_tool delegate"), ("execute_tool delegate", "invoke_agent planner")]
        outer = [("chat", "invoke_agent planner"), ("invoke_agent planner", "")]
        assert_equal(found, [outer[0], *inner, *middle, *outer])
        assert_equal(len({span["traceId"] for span in tracer.spans}), 1)

    def test_a_new_worker_for_each_task(self):
        agent, _, workers, _ = self.planner(act("delegate", task="one"), act("delegate", task="two"), "Final Answer: x", worker=("Final Answer: w",))
        agent.ask("?")
        assert_equal([len(worker.sent[0]) for worker in workers], [2, 2])
        assert_equal([last(worker, 0)[1] for worker in workers], ["one", "two"])

    def test_one_budget_for_both(self):
        agent, _, workers, _ = self.planner(act("delegate", task="x"), "Final Answer: x", worker=("?",) * 9, calls=4)
        found = agent.ask("?")
        assert_equal((found.answer, found.reason, len(workers[0].sent), agent.budget.calls), (None, "budget", 3, 0))

    def test_without_an_answer_it_fails_as_a_tool_does(self):
        tool = hand_off(lambda: Agent("worker", Scripted(), [], Budget(0, 0), a_tracer()))
        with raises(RuntimeError, "budget"):
            tool("x")
        text, fine = run_tool({"delegate": tool}, "delegate", {"task": "x"})
        assert_equal((fine, text[:7], "budget" in text), (False, "error: ", True))

    def test_an_empty_answer_is_an_answer(self):
        tool = hand_off(lambda: Agent("worker", Scripted("Final Answer:"), [], Budget(1, 999), a_tracer()))
        assert_equal(tool("x"), "")
