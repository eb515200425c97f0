"""Agents: the reference."""

import inspect
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, get_args, get_origin

Message = dict[str, str]
Model = Callable[[list[Message]], str]
Tool = Callable[..., Any]

FORMAT = """Answer in one of two forms, and stop behind it.

Thought: what you need to know next
Action: the name of one tool
Action Input: its arguments, a JSON object

Thought: why you are done
Final Answer: the answer

These are the tools, one a line:
"""


class BudgetExceeded(Exception):
    """A budget has too little left."""


class Step(NamedTuple):
    """What a reply says."""

    text: str
    thought: str
    action: str | None
    arguments: dict[str, Any] | None
    answer: str | None


class Result(NamedTuple):
    """How a question ended: the answer and "answer", or None and "budget"."""

    answer: str | None
    reason: str


def count_words(text: str) -> int:
    return len(text.split())


TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def tool_schema(tool: Tool) -> dict[str, Any]:
    properties, required = {}, []
    for name, parameter in inspect.signature(tool).parameters.items():
        properties[name] = _type_schema(parameter.annotation)
        if properties[name] is None or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValueError(f"{tool.__name__}: the parameter {name!r} needs a type that a schema can say")
        if parameter.default is parameter.empty:
            required.append(name)
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    lines = (inspect.getdoc(tool) or "").splitlines()
    return {"name": tool.__name__, "description": lines[0] if lines else "", "parameters": parameters}


def _type_schema(annotation: Any) -> dict[str, Any] | None:
    if annotation in TYPES:
        return {"type": TYPES[annotation]}
    if get_origin(annotation) is list and get_args(annotation)[0] in TYPES:
        return {"type": "array", "items": {"type": TYPES[get_args(annotation)[0]]}}
    return None


def check_arguments(schema: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    parameters = schema["parameters"]
    problems = [f"{name!r} is missing" for name in parameters["required"] if name not in arguments]
    for name, value in arguments.items():
        if name not in parameters["properties"]:
            problems.append(f"{name!r} is unknown; there are {', '.join(parameters['properties'])}")
        elif not _fits(value, parameters["properties"][name]):
            problems.append(f"{name!r} must be of the type {parameters['properties'][name]['type']}, got {value!r}")
    return problems


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    if schema["type"] == "array":
        return isinstance(value, list) and all(_fits(item, schema["items"]) for item in value)
    if isinstance(value, bool):  # Python's True is an int, JSON's isn't
        return schema["type"] == "boolean"
    return isinstance(value, {"string": str, "integer": int, "number": (int, float), "boolean": ()}[schema["type"]])


def run_tool(tools: dict[str, Tool], name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
    if name not in tools:
        return f"error: there is no tool {name!r}; there are {', '.join(tools)}", False
    problems = check_arguments(tool_schema(tools[name]), arguments)
    if problems:
        return f"error: {'; '.join(problems)}", False
    try:
        found = tools[name](**arguments)
        return found if isinstance(found, str) else json.dumps(found), True
    except Exception as error:
        return f"error: {type(error).__name__}: {error}", False


LABELS = ("Thought", "Action", "Action Input", "Final Answer")


def parse_reply(reply: str) -> Step:
    fields: dict[str, list[str]] = {}
    lines: list[str] = []
    into: list[str] = []  # what stands before the first label isn't kept
    for line in reply.splitlines():
        label, _, rest = line.partition(":")
        if line.startswith("Observation:"):  # the model may not answer for the tool
            break
        lines.append(line)
        if line.startswith(f"{label}:") and label in LABELS:
            if label in fields:
                raise ValueError(f"{label} stands there twice: one step at a time")
            into = fields[label] = []
            line = rest
        into.append(line)
    said = {label: "\n".join(field).strip() for label, field in fields.items()}
    text, thought, answer = "\n".join(lines).strip(), said.get("Thought", ""), said.get("Final Answer")
    if (answer is None) == ("Action" not in said):
        raise ValueError("expected either an Action or a Final Answer")
    if answer is not None:
        return Step(text, thought, None, None, answer)
    try:
        arguments = json.loads(said.get("Action Input", ""))
    except ValueError as error:
        raise ValueError(f"the Action Input isn't JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ValueError(f"the Action Input must be a JSON object, got {arguments!r}")
    return Step(text, thought, said["Action"], arguments, None)


def fit_history(messages: list[Message], limit: int, count: Callable[[str], int] = count_words) -> list[Message]:
    sizes = [count(message["content"]) for message in messages]
    groups: list[list[int]] = []
    for i, message in enumerate(messages):
        if message["role"] == "tool" and i and messages[i - 1]["role"] == "assistant":
            groups[-1].append(i)  # an observation without its action would mean nothing
        else:
            groups.append([i])
    question = max(i for i, message in enumerate(messages) if message["role"] == "user")
    kept, total = set(range(len(messages))), sum(sizes)
    for group in groups:
        if total > limit and group not in ([0], [question]):
            total -= sum(sizes[i] for i in group)
            kept -= set(group)
    if total > limit:
        raise ValueError(f"the first message and the question take {total} tokens, the limit is {limit}")
    return [messages[i] for i in sorted(kept)]


class Budget:
    def __init__(self, calls: int, tokens: int) -> None:
        self.calls, self.tokens = calls, tokens

    def charge(self, calls: int = 0, tokens: int = 0) -> None:
        for what, wanted, left in (("calls", calls, self.calls), ("tokens", tokens, self.tokens)):
            if wanted > left:
                raise BudgetExceeded(f"{wanted} {what} wanted, {left} left")
        self.calls -= calls
        self.tokens -= tokens


class Tracer:
    def __init__(self, clock: Callable[[], int] = time.time_ns, seed: int | None = None) -> None:
        self.spans: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []
        self._clock, self._random = clock, random.Random(seed)

    def span(self, name: str, attributes: dict[str, Any] | None = None) -> AbstractContextManager[dict[str, Any]]:
        return self._block(name, attributes)

    @contextmanager
    def _block(self, name: str, attributes: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        parent = self._open[-1] if self._open else None
        span = {
            "name": name,
            "traceId": parent["traceId"] if parent else self._id(128),
            "spanId": self._id(64),
            "parentSpanId": parent["spanId"] if parent else "",
            "startTimeUnixNano": self._clock(),
            "attributes": dict(attributes or {}),
            "status": {"code": 0},
        }
        self._open.append(span)
        try:
            yield span
        except BaseException as error:
            span["status"] = {"code": 2, "message": f"{type(error).__name__}: {error}"}
            raise
        finally:
            self._open.pop()
            span["endTimeUnixNano"] = self._clock()
            self.spans.append(span)

    def _id(self, bits: int) -> str:
        # 0 means "no span" in OpenTelemetry
        return f"{self._random.randrange(1, 2**bits):0{bits // 4}x}"


class _Empty(Exception):
    """The agent's budget is empty.  A BudgetExceeded that the model raises is another thing, and passes through."""


class Agent:
    def __init__(
        self,
        name: str,
        model: Model,
        tools: list[Tool],
        budget: Budget,
        tracer: Tracer,
        limit: int = 2000,
        count: Callable[[str], int] = count_words,
    ) -> None:
        self.name, self.model, self.budget, self.tracer, self.limit, self.count = (
            name,
            model,
            budget,
            tracer,
            limit,
            count,
        )
        self.tools = {tool.__name__: tool for tool in tools}
        schemas = [json.dumps(tool_schema(tool)) for tool in tools]
        self.history = [{"role": "system", "content": FORMAT + "\n".join(schemas)}]

    def ask(self, question: str) -> Result:
        self._say("user", question)
        with self.tracer.span(f"invoke_agent {self.name}"):
            try:
                while True:
                    answer = self._step()
                    if answer is not None:
                        return Result(answer, "answer")
            except _Empty:
                return Result(None, "budget")

    def _say(self, role: str, content: str) -> None:
        self.history.append({"role": role, "content": content})

    def _charge(self, calls: int = 0, tokens: int = 0) -> None:
        try:
            self.budget.charge(calls, tokens)
        except BudgetExceeded as error:
            raise _Empty from error

    def _step(self) -> str | None:
        """One reply, and what it asks for: an answer, or None."""
        prompt = [dict(message) for message in fit_history(self.history, self.limit, self.count)]
        sent = sum(self.count(message["content"]) for message in prompt)
        self._charge(calls=1, tokens=sent)
        with self.tracer.span("chat", {"gen_ai.usage.input_tokens": sent}) as span:
            reply = self.model(prompt)
            span["attributes"]["gen_ai.usage.output_tokens"] = self.count(reply)
        self._charge(tokens=self.count(reply))
        try:
            step = parse_reply(reply)
        except ValueError as error:  # let the model read what was wrong, and try again
            self._say("assistant", reply)
            self._say("tool", f"error: {error}")
            return None
        self._say("assistant", step.text)
        if step.answer is not None:
            return step.answer
        with self.tracer.span(f"execute_tool {step.action}") as span:
            observation, fine = run_tool(self.tools, step.action, step.arguments)
            if not fine:
                span["status"] = {"code": 2, "message": observation}
        self._say("tool", observation)
        return None


def hand_off(make_worker: Callable[[], Agent]) -> Tool:
    def delegate(task: str) -> str:
        """Give a task to a worker, and get its answer."""
        # A new worker knows nothing of earlier tasks; all that it needs must be in the task.
        found = make_worker().ask(task)
        if found.answer is None:
            raise RuntimeError(f"the worker has no answer: {found.reason}")
        return found.answer

    return delegate
