"""Streaming: tokens over server-sent events and WebSockets: the reference."""

import asyncio
import contextlib
import json
import re
import secrets
import signal
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
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
    lines = []
    for key, what, value in (("id", "id", id), ("event", "name", name)):
        if value is not None:
            if re.search("[\r\n]" if key == "event" else "[\r\n\0]", str(value)):
                raise ValueError(f"the {what} must be one line without NUL, got {value!r}")
            lines.append(f"{key}: {value}")
    # Not splitlines, which splits at characters that SSE doesn't know.
    lines += [f"data: {line}" for line in re.split("\r\n|\n|\r", data)]
    return ("\n".join(lines) + "\n\n").encode()


def chunk(
    id: str, created: int, model: str, content: str | None = None, role: str | None = None, finish: str | None = None
) -> dict[str, Any]:
    delta = {key: value for key, value in (("role", role), ("content", content)) if value is not None}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": [choice]}


@dataclass(eq=False)
class _Stream:
    messages: list[Message]
    tokens: list[str] = field(default_factory=list)
    created: int = field(default_factory=lambda: int(time.time()))
    finished: bool = False
    errors: list[Exception] = field(default_factory=list)  # of each attempt that failed
    taken: dict[object, int] = field(default_factory=dict)  # how far each follower is
    producer: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # replaced at each change, so that all hear of it

    def produced(self, task: Any) -> None:
        # As a callback: a task that is cancelled before its first step never comes to a `finally`.
        self.producer = None
        self.tell()

    def tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Streams:
    def __init__(self, generate: Generate, heartbeat: float = 15.0, ahead: int = 4, keep: int = 1000) -> None:
        self.generate, self.heartbeat, self.ahead, self.keep = generate, heartbeat, ahead, keep
        self.streams: dict[str, _Stream] = {}  # in the order in which they were opened
        self.stopped = False

    def open(self, messages: list[Message]) -> str:
        id = secrets.token_urlsafe(16)
        self.streams[id] = _Stream([dict(message) for message in messages])
        for old in list(self.streams)[:-1]:
            if len(self.streams) <= self.keep:
                break
            if not self.streams[old].taken:
                del self.streams[old]
        return id

    def finished(self, id: str) -> bool:
        return self.streams[id].finished

    async def follow(self, id: str, after: int = 0) -> AsyncGenerator[tuple[int, str] | None, None]:
        stream = self.streams[id]
        if not 0 <= after <= len(stream.tokens):
            raise ValueError(f"the last token seen can't be {after}, as there are {len(stream.tokens)}")
        me, loop, failed = object(), asyncio.get_running_loop(), len(stream.errors)
        stream.taken[me] = after
        beat = loop.time() + self.heartbeat
        try:
            while True:
                over = stream.finished or self.stopped or len(stream.errors) > failed
                # Asked anew each time: the last one may have been closing when this follower came.
                if stream.producer is None and not over:
                    stream.producer = loop.create_task(self._produce(stream))
                    stream.producer.add_done_callback(stream.produced)
                changed = stream.changed
                n = stream.taken[me]
                if n < len(stream.tokens):
                    stream.taken[me] = n + 1
                    stream.tell()  # the producer may go on
                    beat = loop.time() + self.heartbeat  # before it is given: who asks for the next may do so late
                    yield n + 1, stream.tokens[n]
                elif len(stream.errors) > failed:
                    raise stream.errors[failed]
                elif over:
                    return
                else:
                    try:
                        # It is an event that is cancelled by the timeout, not the generator.
                        async with asyncio.timeout_at(beat):
                            await changed.wait()
                    except TimeoutError:
                        beat = loop.time() + self.heartbeat
                        yield None
        finally:
            del stream.taken[me]
            if not stream.taken:
                await self._end(stream)

    async def _produce(self, stream: _Stream) -> None:
        messages = [dict(message) for message in stream.messages]
        try:
            # aclosing, as a loop that is left doesn't close its generator.
            async with contextlib.aclosing(self.generate(messages, list(stream.tokens))) as tokens:
                async for token in tokens:
                    stream.tokens.append(token)
                    stream.tell()
                    while len(stream.tokens) - max(stream.taken.values(), default=0) > self.ahead:
                        await stream.changed.wait()
            stream.finished = True
        except Exception as error:
            stream.errors.append(error)

    async def _end(self, stream: _Stream) -> None:
        if stream.producer is not None:
            producer = stream.producer
            producer.cancel()
            await asyncio.wait([producer])

    async def stop(self) -> None:
        self.stopped = True
        for stream in list(self.streams.values()):
            stream.tell()
            await self._end(stream)


class Chat:
    def __init__(self, generate: Generate) -> None:
        self.generate = generate

    async def run(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        inbox: asyncio.Queue[Any] = asyncio.Queue()
        talking = asyncio.create_task(self._talk(inbox, send))

        async def listen() -> None:
            while True:
                inbox.put_nowait(await receive())

        # One listens, one talks.  Whichever ends first, the other one has no more to do.
        both = [talking, asyncio.create_task(listen())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            found = await asyncio.gather(*both, return_exceptions=True)
        for error in found:
            if isinstance(error, Exception) and not isinstance(error, Gone):
                raise error

    async def _talk(self, inbox: asyncio.Queue[Any], send: Callable[[Any], Awaitable[None]]) -> None:
        """The only one who sends."""
        messages: list[Message] = []
        while True:
            said = await inbox.get()
            if not _is_content(said):
                await send({"error": "expected a message with content"})
                continue
            messages.append({"role": "user", "content": said["content"]})
            sent: list[str] = []
            end = await self._reply(messages, inbox, send, sent)
            if sent or end.get("done") == "stop":
                messages.append({"role": "assistant", "content": "".join(sent)})
            await send(end)

    async def _reply(self, messages: list[Message], inbox: asyncio.Queue[Any], send: Any, sent: list[str]) -> Any:
        """Send the tokens of one reply; returns the message that ends it.  Its generator is closed then."""
        tokens = self.generate([dict(message) for message in messages], [])
        token = asyncio.ensure_future(anext(tokens, None))
        news = asyncio.ensure_future(inbox.get())
        try:
            while True:
                await asyncio.wait([token, news], return_when=asyncio.FIRST_COMPLETED)
                if news.done():
                    if _is_stop(news.result()):
                        return {"done": "cancelled"}
                    news = asyncio.ensure_future(inbox.get())
                    await send({"error": "a reply is running; it can only be stopped"})
                elif token.exception() is not None:
                    return {"error": "the reply has failed"}
                elif token.result() is None:
                    return {"done": "stop"}
                else:
                    await send({"token": token.result()})
                    sent.append(token.result())
                    token = asyncio.ensure_future(anext(tokens, None))
        finally:
            token.cancel()
            news.cancel()
            await asyncio.gather(token, return_exceptions=True)
            await tokens.aclose()


def _is_content(message: Any) -> bool:
    return isinstance(message, dict) and message.keys() == {"content"} and isinstance(message["content"], str)


def _is_stop(message: Any) -> bool:
    return isinstance(message, dict) and message.keys() == {"stop"} and message["stop"] is True


def _messages(body: bytes) -> list[Message]:
    """The messages of a request.  Raises ValueError if it is none."""
    try:
        request = json.loads(body)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not isinstance(request, dict) or request.get("stream") is not True:
        raise ValueError("expected an object with stream: true")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages is a list of one or more objects")
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise ValueError("a message has a role and a content, both texts")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def streaming_api(generate: Generate, model: str, heartbeat: float = 15.0, ahead: int = 4, keep: int = 1000) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    streams, chat = Streams(generate, heartbeat, ahead, keep), Chat(generate)

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        loop, ends = asyncio.get_running_loop(), []

        def end() -> None:
            ends.append(loop.create_task(streams.stop()))

        # A server calls the shutdown below only once all replies are over: hear of SIGTERM before.
        undo = on_sigterm(lambda: loop.call_soon_threadsafe(end))
        yield
        undo()
        await streams.stop()

    def refused(status: int, why: str) -> Response:
        return JSONResponse({"error": {"message": why}}, status)

    async def events(id: str, after: int) -> AsyncIterator[bytes]:
        created = streams.streams[id].created

        def data(**parts: Any) -> str:
            return json.dumps(chunk(id, created, model, **parts))

        async with contextlib.aclosing(streams.follow(id, after)) as tokens:
            try:
                async for found in tokens:
                    if found is None:
                        yield b": still there\n\n"
                    else:
                        n, token = found
                        yield event(data(content=token, role="assistant" if n == 1 else None), n)
            except Exception:
                yield event(json.dumps({"error": {"message": "the generation has failed"}}))
                return
            if streams.finished(id):
                yield event(data(finish="stop"))
                yield event("[DONE]")

    def reply(id: str, after: int = 0) -> Response:
        return StreamingResponse(
            events(id, after), headers={"Cache-Control": "no-cache"}, media_type="text/event-stream"
        )

    async def begin(request: Request) -> Response:
        try:
            messages = _messages(await request.body())
        except ValueError as error:
            return refused(400, str(error))
        return reply(streams.open(messages))

    async def again(request: Request) -> Response:
        id = request.path_params["id"]
        try:
            streams.finished(id)
            after = int(request.headers.get("Last-Event-ID", "0"))
            # Before the status goes out, as a stream that has begun can't be refused.
            if not 0 <= after <= len(streams.streams[id].tokens):
                return refused(400, f"event {after} can't have been seen")
        except KeyError:
            return refused(404, "there is no such stream")
        except ValueError:
            return refused(400, "Last-Event-ID is a whole number")
        return reply(id, after)

    async def ready(request: Request) -> Response:
        return JSONResponse({"ready": True})

    async def converse(socket: WebSocket) -> None:
        await socket.accept()

        async def receive() -> Any:
            try:
                return json.loads(await socket.receive_text())
            except WebSocketDisconnect:
                raise Gone from None
            except (ValueError, KeyError, RecursionError):  # no JSON; no text but bytes
                return None

        async def send(message: Any) -> None:
            try:
                await socket.send_text(json.dumps(message))
            except (WebSocketDisconnect, RuntimeError):
                raise Gone from None

        await chat.run(receive, send)

    routes = [
        Route("/ready", ready),
        Route("/v1/chat/completions", begin, methods=["POST"]),
        Route("/v1/chat/completions/{id}", again),
        WebSocketRoute("/v1/chat", converse),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
