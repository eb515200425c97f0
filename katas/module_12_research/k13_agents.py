"""Agents: a loop that reasons, acts, and stops in time

**Before you start.**  You need Python's inspect and json modules, and context managers.  You
import no other kata.  If agents are new: Yao et al., "ReAct", section 2.

**The idea.**  A language model can't look anything up, and it can't compute well.  But it can say
what it would like to look up.  So you let it write an *action*, run the action for it, and show
it the *observation*.  Then you ask again.  That loop is an agent.

The loop is short.  What takes work is everything that goes wrong.  The model names a tool that
doesn't exist.  It forgets an argument.  The tool fails.  The model makes up the observation
itself.  It never stops.  The history outgrows the context.  None of that may end the program: an
error is something that the model reads, and it tries again.  Only a final answer or an empty
budget ends the loop.

**The formulas.**

    one turn    fit the history → prompt,  ask the model → reply,  parse it → action,
                run the tool → observation
    sent        Σ count(content) over the messages of the prompt
    cost        1 call and `sent` tokens before the model is asked,
                count(reply) tokens after it
    groups      an assistant's message and a tool's message right behind it: one group,
                any other message: a group of its own
    fit         while Σ count > limit: drop the oldest group that holds neither
                the first message nor the newest of role "user"

count is the number of tokens in a text.  Here a token is a word.

**A drawing**: a planner hands one task to a worker.  A span is one timed piece of work with a
name.  Spans nest, and a tracer records them.  Time goes right.

    invoke_agent planner  ├──────────────────────────────────────────────────┤
      chat                 ├────┤
      execute_tool delegate      ├────────────────────────────────┤
        invoke_agent worker       ├──────────────────────────────┤
          chat                     ├────┤           ├────┤
          execute_tool population        ├─────────┤
      chat                                                         ├────┤

**Why is an invented observation cut off?**  A model has seen many transcripts.  It likes to go
on: after its action it writes "Observation: 42" itself, and reasons with that.  So you keep
nothing from the first such line on, neither for the loop nor for the history.

**Why is a tool's error no exception?**  The model chose the arguments, so the model can correct
them.  It can only do so if it reads what was wrong.  "'city' is missing" leads to a better call.
The model never sees a stack trace in your log.

**Why one budget for all?**  A planner with ten calls could start ten workers with ten calls each,
and each of those ten more.  If planner and workers charge the same budget, the sum is bounded,
however deep they nest.  And a worker starts with an empty history: it doesn't pay for what it
doesn't need to know.

**Worked by hand**

    reply     Thought: look it up          thought    look it up
              Action: population           action     population
              Action Input: {"city": "A"}  arguments  {"city": "A"}
              Observation: 5               cut off

    history   system 4, user 2, assistant 3, tool 5, assistant 1, user 2:   17 tokens
              limit 15:  the first user goes: 15 are left
              limit 14:  then assistant and tool go together: 7 are left
              limit 6:   then the assistant's 1: 6 are left;  limit 5: an error
    budget    3 calls, 20 tokens;  charge 1 call, 12 tokens: 2 and 8 are left
              charge 1 call, 9 tokens: an error, and 2 and 8 are still left

**Shapes**: a message is a dict with "role" and "content", both texts.  The roles are system,
user, assistant and tool.  A model is any function that takes a list of messages and returns a
text; the tests bring one that has its replies written down.  No function changes its arguments.

**Steps.**  A good place to pause is after fit_history.

    tool_schema       10 min   what a signature says
    check_arguments    8 min   True is no integer
    run_tool           6 min   every error is a text
    parse_reply       12 min   labels, and lies
    fit_history       12 min   oldest first, pairs together
    Budget             4 min   all or nothing
    Tracer            12 min   a stack of open spans
    Agent             18 min   the loop
    hand_off           5 min   an agent is a tool

Sources: Yao et al. 2023, "ReAct: Synergizing Reasoning and Acting in Language Models";
OpenTelemetry, "Traces" and "Semantic conventions for generative AI systems"; json-schema.org.

From scratch: jsonschema, pydantic, langchain, langchain_core, transformers and opentelemetry may
not be used.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

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
    """What a reply says.

    text       the reply without an invented observation and what follows it, and without white space around
    thought    "" if there is none
    action     the tool's name, or None
    arguments  the tool's arguments, or None
    answer     the final answer, or None
    """

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
    """The number of words in a text, given.  A word is what stands between white space."""
    return len(text.split())


def tool_schema(tool: Tool) -> dict[str, Any]:
    """What a model must know of a function: {"name": …, "description": …, "parameters": …}.

    name         its __name__
    description  the first line of its docstring, as inspect.getdoc gives it; "" if it has none
    parameters   {"type": "object", "properties": {…}, "required": […], "additionalProperties": False}

    A property is {"type": T}, with "string" for str, "integer" for int, "number" for float, "boolean" for bool,
    and {"type": "array", "items": {"type": T}} for a list of one of these, such as list[int].  `required` has the
    parameters without a default, in their order.

    Raises ValueError, naming the parameter, if it is one of *args or **kwargs, or has no annotation or another one.
    """
    raise NotImplementedError


def check_arguments(schema: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """What is wrong with the arguments of a call, one text for each wrong argument, which names it; else [].

    schema  as `tool_schema` makes it

    Wrong is an argument that is required and missing, one that isn't among the properties, and one of another type.
    A "number" may be an int, an "integer" may not be a float.  True and False are booleans, and nothing else.
    The items of an array count, too.
    """
    raise NotImplementedError


def run_tool(tools: dict[str, Tool], name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
    """What a tool answers, as a text, and True; or "error: " and what was wrong, and False.

    A text is returned as it is, anything else as json.dumps writes it.  Errors are

    - a tool that isn't there: names it and all tools that are
    - wrong arguments: all texts of `check_arguments`; the tool isn't called
    - an Exception of the tool's: names its type and its message.  KeyboardInterrupt and SystemExit are none, and pass
    - an answer that json can't write
    """
    raise NotImplementedError


def parse_reply(reply: str) -> Step:
    """What a reply asks for.

    A line that begins with "Thought:", "Action:", "Action Input:" or "Final Answer:" opens a field.  It holds the
    rest of the line and all lines up to the next label, without white space around.  What stands before the first
    label is in `text` alone.  From the first line that begins with "Observation:" on, nothing counts.

    Raises ValueError, naming the label, if

    - one stands there twice
    - there is neither an Action nor a Final Answer, or both (name these two)
    - an Action has no Action Input, or one that isn't a JSON object
    """
    raise NotImplementedError


def fit_history(messages: list[Message], limit: int, count: Callable[[str], int] = count_words) -> list[Message]:
    """The messages that stay, in their order, so that they have `limit` tokens at most: see the lesson's `fit`.

    The first message is of role "system", and at least one is of role "user".

    Raises ValueError, naming the limit and the tokens of the two messages that must stay, if these have more.
    """
    raise NotImplementedError


class Budget:
    """What is left to spend, by whoever shares it."""

    def __init__(self, calls: int, tokens: int) -> None:
        """Keeps both under these names; they fall as they are spent."""
        raise NotImplementedError

    def charge(self, calls: int = 0, tokens: int = 0) -> None:
        """Takes both off.  All that is left may be taken.

        Raises BudgetExceeded, with the word "calls" or "tokens", if there is less left of it.  Then nothing is taken.
        """
        raise NotImplementedError


class Tracer:
    """Spans with the names of OpenTelemetry's JSON."""

    def __init__(self, clock: Callable[[], int] = time.time_ns, seed: int | None = None) -> None:
        """`spans` is the list of those that have ended, in the order in which they ended.

        clock  the time in nanoseconds
        seed   of the ids; None: another one each time
        """
        raise NotImplementedError

    def span(self, name: str, attributes: dict[str, Any] | None = None) -> AbstractContextManager[dict[str, Any]]:
        """`with tracer.span("chat") as span:` is a span that lasts as long as the block.  It is a dict:

        name, attributes   attributes is a new dict, to which the block may add
        traceId            32 hex digits in lower case, not all 0; a span inside another one has that one's
        spanId             16 hex digits, not all 0, its own
        parentSpanId       the spanId of the innermost span that is open; "" if none is
        startTimeUnixNano, endTimeUnixNano   what the clock says; the clock is asked for nothing else
        status             {"code": 0}.  If the block raises: {"code": 2, "message": …} with the type's name and
                           the message of the exception, which goes on.  The block may set another one
        """
        raise NotImplementedError


class Agent:
    """A model, its tools, and what they have said to each other."""

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
        """Keeps `name`, `model`, `budget`, `tracer`, `limit` and `count` under these names, and `ask` reads them there.

        `history` is the list of all messages, and stays over several questions.
        It begins with a message of role "system": FORMAT, and behind it json.dumps(tool_schema(tool)) of each tool in
        its order, joined by newlines.  Tools are called by their __name__.

        limit  of the tokens of a prompt
        count  how tokens are counted, everywhere
        """
        raise NotImplementedError

    def ask(self, question: str) -> Result:
        """Asks the model until it gives a final answer, or the budget is empty.

        The question is a message of role "user".  Then, turn by turn:

        - The prompt is what `fit_history` keeps of the history.  Charge its cost; then ask the model.  The messages
          that the model gets are copies: whatever it does to them, the history stays as it is.
        - Charge the reply.  If that fails, the reply isn't used, nor put into the history.
        - A reply that `parse_reply` refuses goes into the history as it is, and behind it "error: " and the
          ValueError's text, of role "tool".  That was a turn.
        - Of any other reply, `Step.text` goes into the history, of role "assistant".  A final answer is returned.
        - An action's observation, errors included, goes into the history, of role "tool".

        Spans: "invoke_agent NAME" around all of it.  In it "chat" around each call of the model, with the attributes
        gen_ai.usage.input_tokens and gen_ai.usage.output_tokens, and "execute_tool TOOL" around each tool, with the
        status {"code": 2, "message": the observation} if it is an error.

        What the model raises passes through, even a BudgetExceeded, and so does what fit_history raises.
        """
        raise NotImplementedError


def hand_off(make_worker: Callable[[], Agent]) -> Tool:
    """A tool `delegate(task: str) -> str`, with a docstring, that lets a worker answer a task.

    Each call makes a new worker.  It charges the planner's budget, and traces into the planner's tracer, if
    `make_worker` gives it those.

    Without an answer the tool raises RuntimeError, naming the worker's reason.
    """
    raise NotImplementedError
