"""Streaming: tokens over server-sent events and WebSockets

**Before you start.**  You need asyncio (tasks, cancellation, async generators) and HTTP; no
other kata.  The last step is a web app.  Write it in Starlette, in FastAPI, or as a bare ASGI
application: the tests see only what goes over the wire.  New to async generators?  Read PEP 525,
up to "Asynchronous Generator Object".  New to events over HTTP?  Read "Using server-sent events"
on MDN.

**The idea.**  A language model needs half a minute for a long answer, but the first word is
there after half a second.  A stream shows each token as it comes, so nobody stares at an empty
page.  A stream also lives long, and much can happen meanwhile.  The user closes the tab, and the
GPU should stop at once.  The train enters a tunnel, and the text should go on after it, with no
word lost or doubled.  The reader is slow, and the server mustn't run ahead without end.  A proxy
cuts connections on which nothing moves.  The server itself has to end.

*Server-sent events* (SSE) are lines of text in one long HTTP reply.  An empty line ends an event:

    id: 2
    data: {"id": "c1", "object": "chat.completion.chunk", …}

A line that begins with a colon is a comment; clients skip it.  After a cut the client asks
again, and says in the header `Last-Event-ID` which event it saw last.

**The formulas.**  A language model has no memory but its text.  So a generation may be stopped
after n tokens, and another one may go on from there:

    rest      =  generate(messages, the first n tokens)
    after k   =  tokens k + 1, …, n from the memory, then the rest
    waiting   =  tokens generated - tokens taken by the fastest follower   ≤ ahead + 1

**A drawing** of one stream with a cut, and what is generated when:

    follower 1   1  2  3 ╳ (gone)
    follower 2                          4  5  6  7 [DONE]
                 ├─ generate(m, []) ─┤  ├─ generate(m, ["a", "b", "c", "d"]) ─┤
    tokens       a  b  c  d             │  e  f  g
                          └─ kept, as ──┘
                             it was generated, but never sent

**Why must a timeout not cancel the generator?**  Say no token comes for 15 seconds, and it is
time for a heartbeat.  `asyncio.wait_for(anext(tokens), 15)` looks right, but on a timeout it
cancels what it waits for.  That ends the generator: the answer breaks off.  Let a task wait for
the token, and wait for the task with `asyncio.wait`, which cancels nothing.

**Why close a generator by hand?**  When a `for` loop over an async generator is left early, the
generator isn't closed: it stays where it is until the garbage collector finds it.  Until then
the GPU works for nobody.  `contextlib.aclosing` closes it in time.

**Why is the last event `[DONE]`?**  An HTTP reply that ends may be whole, or may be cut by a
proxy.  The client must know which.  No `[DONE]` means: ask again with Last-Event-ID.

**Why does a server in shutdown need care?**  uvicorn waits for open replies when it gets
SIGTERM, and calls your lifespan's shutdown only after them.  A stream of minutes would block it,
and would be cut in the end.  So the app itself must hear of the signal; `on_sigterm` is given
for that.

**Worked by hand**

    event("hi", 3)             id: 3 / data: hi / (empty line)
    event("a\\nb")              data: a / data: b / (empty line)
    tokens "a" "b" "c", after = 1        (2, "b"), (3, "c")
    heartbeat 2; tokens at 1, 6 and 7    (1, …) at 1, None at 3, None at 5, (2, …) at 6, (3, …) at 7

**Shapes**: no arrays.  Times are seconds on the clock of the event loop; the tests simulate it,
so don't use `time.monotonic`, `time.sleep` or threads.  Write handlers as `async def`.  No
function changes its arguments.

**Steps.**  A good place to pause is after Streams.

    event           6 min   more than one line
    chunk           5 min   OpenAI's format
    Streams        28 min   one generator, many followers, and nobody left
    Chat           18 min   listen while you talk
    streaming_api  24 min   put it on the wire

Sources: WHATWG, "HTML Living Standard", section 9.2 (server-sent events); OpenAI's API
reference, "The chat completion chunk object"; RFC 6455 (WebSockets); the ASGI specification,
"HTTP & WebSocket".

From scratch: sse_starlette may not be used.
"""

import contextlib
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

Message = dict[str, str]
Generate = Callable[[list[Message], list[str]], AsyncGenerator[str, None]]
"""generate(messages, so_far) gives the tokens that come after the tokens so_far, as an async generator."""


class Gone(Exception):
    """The client has left.  This is given."""


def on_sigterm(call: Callable[[], Any]) -> Callable[[], None]:
    """This is given.  It calls `call` on SIGTERM, and then whatever was called before; what it returns undoes it.

    `call` runs between any two steps of the program: loop.call_soon_threadsafe is what it may do.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = signal.getsignal(signal.SIGTERM)

    def then_the_others(number: int, frame: Any) -> None:
        call()
        if callable(before):
            before(number, frame)

    def undo() -> None:
        with contextlib.suppress(ValueError):
            if signal.getsignal(signal.SIGTERM) is then_the_others:
                signal.signal(signal.SIGTERM, before)

    signal.signal(signal.SIGTERM, then_the_others)
    return undo


def event(data: str, id: int | str | None = None, name: str | None = None) -> bytes:
    """One server-sent event, in UTF-8, with its empty line.

    - A line "data: …" for each line of the data; no data at all is one empty line.  Lines end with "\\r\\n",
      "\\n" or "\\r", and with nothing else.
    - A line "id: …" if there is an id, 0 and "" too, and a line "event: …" if there is a name.
    - Each line ends with "\\n".  The order of the lines is left open, but for those of the data.

    Raises ValueError, naming it ("id" or "name"), if the id or the name holds "\\n" or "\\r", or the id "\\0".
    """
    raise NotImplementedError


def chunk(
    id: str, created: int, model: str, content: str | None = None, role: str | None = None, finish: str | None = None
) -> dict[str, Any]:
    """A chunk of a chat completion.

        {"id": id, "object": "chat.completion.chunk", "created": created, "model": model,
         "choices": [{"index": 0, "delta": {"role": role, "content": content}, "finish_reason": finish}]}

    What is None is left out of "delta"; "" isn't None.  "finish_reason" is always there.
    """
    raise NotImplementedError


class Streams:
    """Generations that clients follow, leave, and follow again.  All within one event loop."""

    def __init__(self, generate: Generate, heartbeat: float = 15.0, ahead: int = 4, keep: int = 1000) -> None:
        """heartbeat > 0 in seconds; ahead ≥ 0 and keep ≥ 1 are numbers of tokens and of streams."""
        raise NotImplementedError

    def open(self, messages: list[Message]) -> str:
        """A new stream; returns its id, made of letters, digits, "-" and "_".  Nothing is generated yet.

        - What the caller does with the messages afterwards plays no role.
        - No two ids are alike, and nobody can guess another's: use `secrets` or `uuid.uuid4`.
        - If there are more than `keep` streams then, the oldest that nobody follows is forgotten, but never this one.
        """
        raise NotImplementedError

    def finished(self, id: str) -> bool:
        """Whether the generation has come to its end.  Raises KeyError for an unknown id."""
        raise NotImplementedError

    def follow(self, id: str, after: int = 0) -> AsyncGenerator[tuple[int, str] | None, None]:
        """An async generator of (n, token): the tokens of the stream, numbered from 1, beginning with after + 1.

        - Tokens that were generated before come first, at once.  When the generation has come to its end
          and all were given, it ends.
        - It gives None whenever `heartbeat` seconds have passed since it last gave anything, or since it began.
        - Many may follow one stream at the same time, and each gets all.  At most one generator runs for it.
        - generate(messages, tokens so far) is called when a follower is first asked for something, if it isn't
          running and the generation isn't at its end.  It gets lists and dicts of its own, and may change them.
        - When the last follower has left (closed or cancelled), the generator is closed, even if it waits for
          its next token.  That has happened when the follower's aclose returns.  Its tokens are kept.
        - The generator isn't asked for a token while more than `ahead` tokens wait that no follower has taken.
        - If the generator raises, each follower gets the tokens so far, and then this exception is raised.  Who
          follows afterwards makes a new attempt, from the tokens so far.

        Raises KeyError for an unknown id, and ValueError, naming it, if `after` is below 0 or above the number of
        tokens so far: when it is called, or when it is first asked.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """End everything: each follower ends, as if the generation were over, and each generator is closed.

        - Followers get the end even if they wait for a token.  `finished` doesn't change.
        - Whoever follows later gets the tokens that are there, and then the end; nothing is generated.
        - When it returns, no task is left and no generator is open.  It may be called again.
        """
        raise NotImplementedError


class Chat:
    """A conversation over two channels that work at the same time.

    client                     server
    {"content": "…"}           {"token": "…"}, again and again, then {"done": "stop"}
    {"stop": true}             {"done": "cancelled"}, while a reply runs
    anything else              {"error": "…"}
    """

    def __init__(self, generate: Generate) -> None:
        """One object serves many conversations, which know nothing of each other."""
        raise NotImplementedError

    async def run(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        """Hold one conversation, until the client leaves.

        receive  awaited, gives the client's next message, any JSON; raises Gone when it has left
        send     awaited, sends a message; it may wait long, if the client reads slowly, or raise Gone

        - generate(messages, []) gets the whole conversation: {"role": "user", "content": …} for what the client
          said, {"role": "assistant", "content": …} for the replies, their tokens joined.  A reply that was cancelled
          counts with the tokens that were sent; it is left out if there are none.  The list and its dicts are its own.
        - {"content": text} while a reply runs gets {"error": …}, and isn't part of the conversation.  {"stop": true}
          while none runs gets {"error": …}.  The reply goes on.
        - If the generator raises, {"error": …} ends the reply, without the exception's text.  The reply counts
          like one that was cancelled.
        - Send is never called while another call of it waits.  While it waits, the generator may be asked for one
          more token, but for no more.
        - A reply that is cancelled has its generator closed before {"done": "cancelled"} is sent, and no token comes
          after that.  It needs no token to come first.
        - When the client has left, or run is cancelled, the generator is closed, even if a send waits.  Gone doesn't
          come out of run; any other exception of receive or send does.  No task is left.
        """
        raise NotImplementedError


def streaming_api(generate: Generate, model: str, heartbeat: float = 15.0, ahead: int = 4, keep: int = 1000) -> Any:
    """An ASGI application that streams.

        GET   /ready                      200
        POST  /v1/chat/completions        200 400     begins a stream
        GET   /v1/chat/completions/{id}   200 400 404 follows it again
        WebSocket  /v1/chat               a Chat; each message is JSON in a text frame

    **The body** of the POST is a JSON object with "messages", one or more objects whose "role" and "content" are
    texts, and "stream": true.  Other keys aren't looked at.  Anything else gets 400.

    **Last-Event-ID** of the GET is a whole number, the id of the last event that was seen; without it the stream comes
    from the beginning.  400 if it is no number, below 0 or above the number of tokens so far; 404 for an unknown
    id.  Errors are JSON: {"error": {"message": "…"}}.

    **The events.**  The reply has the type text/event-stream and "Cache-Control: no-cache".
    - Token n is an event with the id n.  Its data is the JSON of a chunk: the stream's id, the time of the POST in
      whole seconds since 1970, the model, the token as content.  Token 1 has the role "assistant" as well.
    - After the last token two events without an id: a chunk with an empty delta and finish "stop", and "[DONE]".
      They come whenever somebody follows to the end, even if no token is left for them.
    - A heartbeat is a comment: a line that begins with a colon, and an empty line.
    - If the generator raises: an event with the data {"error": {"message": "…"}}, without the exception's text and
      without an id, is the last.

    **The end.**  When the client leaves, its follower is closed within a second, even if no token comes.
    At SIGTERM (while the lifespan is on) and at the lifespan's shutdown each stream ends: the reply is finished as HTTP asks,
    but without "[DONE]".

    **The chat.**  A frame that holds no JSON gets {"error": …}.
    """
    raise NotImplementedError
