"""A protobuf service over gRPC: messages from a schema, status codes, deadlines, streams, a server and a client."""

import contextlib
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Schema = Mapping[str, Mapping[str, tuple[str, int]]]

SCHEMA: Schema = {
    "Text": {"text": ("string", 1)},
    "Label": {"label": ("string", 1), "score": ("double", 2)},
    "Prompt": {"text": ("string", 1), "most": ("uint32", 2)},
    "Token": {"text": ("string", 1), "index": ("uint32", 2)},
    "Example": {"text": ("string", 1), "label": ("string", 2)},
    "Summary": {"number": ("uint32", 1), "right": ("uint32", 2), "wrong": ("repeated Example", 3)},
}
SCALARS = ("string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "float", "double")


class Busy(Exception):
    """The model has no room for another call."""


def messages(package: str, schema: Schema) -> dict[str, Any]:
    """A class for each message of a schema, as protoc makes it from the same schema in proto3.

    schema   {message: {field: (type, number)}}.  A type is one of SCALARS, or the name of a message of the schema.
             "repeated " may stand before it.  Messages may refer to each other, and to themselves

    - The class's full name is "package.message", and its fields are in the order of the schema.
    - Two calls have nothing to do with each other, also if they name the same messages.
    - Raises ValueError, naming message, field and type, if a type is none of these.
    - Raises ValueError, naming the message and the number, if two fields of a message have the same number.
    """
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in schema.items():
        message = file.message_type.add(name=name)
        numbers: set[int] = set()
        for field, (written, number) in fields.items():
            if number in numbers:
                raise ValueError(f"{name} has two fields with the number {number}")
            numbers.add(number)
            kind = written.removeprefix("repeated ")
            label = kinds.LABEL_OPTIONAL if kind == written else kinds.LABEL_REPEATED
            if kind in SCALARS:
                message.field.add(name=field, number=number, label=label, type=f"TYPE_{kind.upper()}")
            elif kind in schema:
                # The dot in front says that the name is whole, and not to be looked for in other packages.
                where = f".{package}.{kind}"
                message.field.add(name=field, number=number, label=label, type="TYPE_MESSAGE", type_name=where)
            else:
                raise ValueError(f"{name}.{field} has the type {written!r}, which isn't known")
    # A pool of its own: the default one belongs to the whole process, and refuses a second message of the same name.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in schema}


_BY_TYPE: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (ValueError, grpc.StatusCode.INVALID_ARGUMENT),
    (LookupError, grpc.StatusCode.NOT_FOUND),
    (PermissionError, grpc.StatusCode.PERMISSION_DENIED),
    (TimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (ConnectionError, grpc.StatusCode.UNAVAILABLE),
)


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status code for an error of the model, and the details that the client may see.

    ValueError  INVALID_ARGUMENT     PermissionError  PERMISSION_DENIED    Busy             RESOURCE_EXHAUSTED
    LookupError NOT_FOUND            TimeoutError     DEADLINE_EXCEEDED    ConnectionError  UNAVAILABLE

    - Subclasses count, too; an error of two of these kinds is left open.  The details of all six are str(error).
    - Every other error gives INTERNAL and the details "internal error".  Its text may hold a secret, and stays here.
    """
    for kind, code in _BY_TYPE:
        if isinstance(error, kind):
            return code, str(error)
    return grpc.StatusCode.INTERNAL, "internal error"


def error_of(code: grpc.StatusCode, details: str) -> Exception:
    """The way back: the error that a client raises for a status.  It isn't raised here.

    - For the six codes of `status_of` it is an error of exactly the type named there, and its text is the details.
    - For every other code it is a RuntimeError, and its text has the code's name, such as "INTERNAL", and the details.
    """
    for kind, one in _BY_TYPE:
        if one == code:
            return kind(details)
    return RuntimeError(f"{code.name}: {details}")


def handlers(model: Any) -> grpc.GenericRpcHandler:
    """The methods of the service dojo.Reviews, for add_generic_rpc_handlers.  They work in threads, many at a time.

    The model has two methods.  `left` is how many seconds are left until the call's deadline, 0 or more, or None if
    the client gave no deadline.

    - model.classify(text, left) gives (label, score).
    - model.generate(text, left, stop) is a generator of texts.  `stop` is a threading.Event.

    Classify   takes a Text, gives a Label.
    Generate   takes a Prompt, gives a stream of Tokens, numbered 0, 1, 2, …  Each is sent as soon as the model gives it.
               After `most` of them it ends, and the model isn't asked for another one.  most = 0 is no limit.
    Evaluate   takes a stream of Examples, calls model.classify for each as soon as it comes, with what is left then.
               Gives a Summary: how many there were, how many got their label, and those that didn't, in their order.

    - When a call of Generate is over, for whatever reason, `stop` is set and the generator is closed.  If the client
      leaves or the deadline passes, `stop` is set at once, also while the model is working on a token.  After that
      the model isn't asked for another one.
    - An Exception of the model ends the call with the code and details of `status_of`.  Tokens before it still arrive.
    - The initial metadata has "x-request-id", also if the call fails: what the client sent under this key.  If
      it sent nothing, a text that isn't empty and is another one for each call.
    """
    made = messages("dojo", SCHEMA)

    def classify(request: Any, context: grpc.ServicerContext) -> Any:
        _send_request_id(context)
        with _status(context):
            label, score = model.classify(request.text, _left(context))
            return made["Label"](label=label, score=score)

    def generate(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        _send_request_id(context)
        stop = threading.Event()
        # False means that the call is over already, and that nobody will call stop.set.
        if not context.add_callback(stop.set):
            stop.set()
        with _status(context), contextlib.closing(model.generate(request.text, _left(context), stop)) as tokens:
            for index, token in enumerate(tokens):
                yield made["Token"](text=token, index=index)
                # Here, and not at the loop's head: there another token would have been made already.
                if index + 1 == request.most or stop.is_set():
                    return

    def evaluate(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        _send_request_id(context)
        summary = made["Summary"]()
        with _status(context):
            for example in requests:
                label, _ = model.classify(example.text, _left(context))
                summary.number += 1
                if label == example.label:
                    summary.right += 1
                else:
                    summary.wrong.append(example)
            return summary

    def of(method: Any, handler: Any, request: str, reply: str) -> grpc.RpcMethodHandler:
        return method(
            handler,
            request_deserializer=made[request].FromString,
            response_serializer=made[reply].SerializeToString,
        )

    return grpc.method_handlers_generic_handler(
        "dojo.Reviews",
        {
            "Classify": of(grpc.unary_unary_rpc_method_handler, classify, "Text", "Label"),
            "Generate": of(grpc.unary_stream_rpc_method_handler, generate, "Prompt", "Token"),
            "Evaluate": of(grpc.stream_unary_rpc_method_handler, evaluate, "Example", "Summary"),
        },
    )


def _send_request_id(context: grpc.ServicerContext) -> None:
    sent = dict(context.invocation_metadata()).get("x-request-id")
    context.send_initial_metadata((("x-request-id", sent or str(uuid.uuid4())),))


def _left(context: grpc.ServicerContext) -> float | None:
    left = context.time_remaining()
    # Without a deadline gRPC says some hundred thousand million years.
    return None if left is None or left > 1e9 else max(0.0, left)


@contextlib.contextmanager
def _status(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        context.abort(*status_of(error))


@contextlib.contextmanager
def serve(model: Any, workers: int = 8, grace: float = 5.0) -> Iterator[str]:
    """Serve the model on a free port of 127.0.0.1:  with serve(model) as address: …

    - `address` is "127.0.0.1:port".  `workers` calls run at a time.
    - When the block ends, also by an error, no new call is taken.  Running calls have `grace` seconds to end.  Those
      that haven't are cancelled.  The block ends only when all of them have ended, and no thread is left.
    """
    pool = ThreadPoolExecutor(workers)
    server = grpc.server(pool)
    server.add_generic_rpc_handlers((handlers(model),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace).wait()
        pool.shutdown()


class Client:
    """Calls the service dojo.Reviews.

    For all its methods:

    - timeout is in seconds and covers the whole call; None is no deadline.  When it is over, TimeoutError comes out.
    - If it is 0 or less from the start, TimeoutError comes out as well, and nothing is sent.
    - request_id is sent as the metadata "x-request-id"; None sends none.
    - Every failed call raises what `error_of` makes of its status.
    """

    def __init__(self, address: str) -> None:
        """A client for "host:port".  Nobody need be there yet: no call is made."""
        made = messages("dojo", SCHEMA)
        self.made = made
        self.channel = grpc.insecure_channel(address)

        def of(method: Any, name: str, request: str, reply: str) -> Any:
            return method(
                f"/dojo.Reviews/{name}",
                request_serializer=made[request].SerializeToString,
                response_deserializer=made[reply].FromString,
            )

        self._classify = of(self.channel.unary_unary, "Classify", "Text", "Label")
        self._generate = of(self.channel.unary_stream, "Generate", "Prompt", "Token")
        self._evaluate = of(self.channel.stream_unary, "Evaluate", "Example", "Summary")

    def classify(self, text: str, timeout: float | None = None, request_id: str | None = None) -> tuple[str, float]:
        """The label of a text, and its score."""
        with _raised(timeout):
            reply = self._classify(self.made["Text"](text=text), timeout=timeout, metadata=_metadata(request_id))
            return reply.label, reply.score

    def generate(
        self, text: str, most: int = 0, timeout: float | None = None, request_id: str | None = None
    ) -> Iterator[str]:
        """A generator of the tokens' texts, each as soon as it arrives; at most `most` if that isn't 0.

        Whoever closes the generator, or leaves the loop and drops it, cancels the call.  Tokens that came before an
        error come out first.  Whether the call begins at once or with the first next() is left open.
        """
        with _raised(timeout):
            prompt = self.made["Prompt"](text=text, most=most)
            call = self._generate(prompt, timeout=timeout, metadata=_metadata(request_id))
            try:
                for token in call:
                    yield token.text
            finally:
                call.cancel()

    def evaluate(
        self, examples: Iterable[tuple[str, str]], timeout: float | None = None, request_id: str | None = None
    ) -> tuple[int, int, list[tuple[str, str]]]:
        """For (text, label) pairs: how many there are, how many got their label, and the pairs that didn't.

        The pairs may come from a generator.  Each is sent as soon as it is there.  What happens if the generator
        raises, is left open.
        """
        stream = (self.made["Example"](text=text, label=label) for text, label in examples)
        with _raised(timeout):
            reply = self._evaluate(stream, timeout=timeout, metadata=_metadata(request_id))
            return reply.number, reply.right, [(one.text, one.label) for one in reply.wrong]

    def close(self) -> None:
        """End the connection, and the calls that are running.  A second time does nothing."""
        self.channel.close()


def _metadata(request_id: str | None) -> tuple[tuple[str, str], ...]:
    return () if request_id is None else (("x-request-id", request_id),)


@contextlib.contextmanager
def _raised(timeout: float | None) -> Iterator[None]:
    # gRPC would send the call all the same, and a quick server would answer it in time.
    if timeout is not None and timeout <= 0:
        raise TimeoutError(f"nothing is left of the deadline: {timeout} seconds")
    try:
        yield
    except grpc.RpcError as error:
        raise error_of(error.code(), error.details() or "") from error  # type: ignore[attr-defined]
