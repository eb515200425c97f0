"""A gRPC service: messages, deadlines, status codes and streams

**Before you start.**  You need threads, generators and context managers; no other kata.  How
bytes are packed into varints is a part of the kata run_logs, and you needn't know it here.  If
gRPC is new to you: "Core concepts, architecture and lifecycle" at grpc.io.

**The idea.**  Behind the web page one service calls another, a million times a minute.  They
need to agree on three things: what a message looks like, what an error is, and when to give up.
With JSON over HTTP each team agrees anew.  gRPC has an answer for all three.

- *Messages* are described by a schema, called *protobuf*.  Each field has a number, and only the
  number goes over the wire.  So a field can be renamed, and new ones added.
- *Status codes* are the same in every language: NOT_FOUND, UNAVAILABLE, and a dozen more.
- *Deadlines* travel with the call.  Each service knows how many seconds are left.

A call may also be a *stream*: many messages one way, or the other, in one call.

**The formulas.**  This is the service, in protobuf's own words:

    message Text    { string text = 1; }
    message Label   { string label = 1;  double score = 2; }
    message Prompt  { string text = 1;   uint32 most = 2; }
    message Token   { string text = 1;   uint32 index = 2; }
    message Example { string text = 1;   string label = 2; }
    message Summary { uint32 number = 1; uint32 right = 2;  repeated Example wrong = 3; }

    service Reviews {
      rpc Classify (Text)           returns (Label);
      rpc Generate (Prompt)         returns (stream Token);
      rpc Evaluate (stream Example) returns (Summary);
    }

Its package is "dojo".  So the first method's full name is "/dojo.Reviews/Classify".

    left  =  max(0, deadline - now)           the seconds that each service may still use

**A drawing** of a call of Generate.  The client leaves after two tokens:

      client                  handler                     model
        │── Prompt ─────────────▶│── generate ─────────────▶│
        │◀── Token 0 ────────────│◀── "a" ──────────────────│
        │◀── Token 1 ────────────│◀── "b" ──────────────────│
        │                        │── next ─────────────────▶│ works on "c"
        ✗ leaves ───────────────▶│── stop is set ──────────▶│ sees it, and ends
                                 │── close ────────────────▶✗

And of a deadline of 8 seconds that is handed on:

    client        │████████████████████████│  8 s
    gateway       │   │████████████████████│  left = 7
    model         │   │     │██████████████│  left = 5
                                           ▲ all of them give up here

**Why no generated code?**  Most projects call `protoc`, which writes Python files.  They are
nothing but a description of the messages, and a call that makes classes from it.  You make that
description yourself, and see what is in it.  The bytes are the same.

**Why is INTERNAL so silent?**  A ValueError says what the caller did wrong.  He needs its text.
Any other error is a fault of yours.  Its text may hold a path, a password, or a line of
somebody's data.

**Why an Event for the model?**  The client has left while the model works on a token.  Nobody
can interrupt a thread in Python.  But gRPC calls you back when the call ends, and you can set a
flag.  The model looks at it, or waits for it instead of sleeping.

**Why can't `most` be None?**  In proto3 a number that isn't set is 0, and 0 isn't sent at all.
Nobody can tell the two apart.  So a schema gives 0 a meaning that does no harm: here "no
limit".

**Worked by hand**

    Text(text="hi")                  is 0A 02 68 69      field 1, 2 bytes, "hi"
    Label(label="a", score=0.0)      is 0A 01 61         0 isn't sent
    KeyError of the model            NOT_FOUND           a KeyError is a LookupError
    RuntimeError("password 123")     INTERNAL, "internal error"
    Generate with most = 2           two Tokens, index 0 and 1, then OK
    Evaluate ("fine", "good"), ("bad", "bad"), if the model says "bad" to both:
                                     number 2, right 1, wrong [("fine", "good")]

**Shapes**: no arrays.  Texts are Unicode, and may be empty.  Calls run in threads, several at a
time.  Servers listen on 127.0.0.1 only.  No function changes its arguments.

**Steps.**  A good place to pause is before handlers.

    messages   15 min   what protoc would write
    status_of   6 min   what may be said
    error_of    5 min   the way back
    handlers   28 min   who closes the generator?
    serve       8 min   nothing left running
    Client     18 min   leaving is cancelling

Sources: grpc.io, "Core concepts", "Deadlines", "Cancellation" and "Status codes"; protobuf.dev,
"Language Guide (proto 3)" and "Encoding"; the reference of grpc for Python.

From scratch: grpc_tools may not be used; grpc and google.protobuf may, all of both.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import grpc

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
    raise NotImplementedError


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status code for an error of the model, and the details that the client may see.

    ValueError  INVALID_ARGUMENT     PermissionError  PERMISSION_DENIED    Busy             RESOURCE_EXHAUSTED
    LookupError NOT_FOUND            TimeoutError     DEADLINE_EXCEEDED    ConnectionError  UNAVAILABLE

    - Subclasses count, too; an error of two of these kinds is left open.  The details of all six are str(error).
    - Every other error gives INTERNAL and the details "internal error".  Its text may hold a secret, and stays here.
    """
    raise NotImplementedError


def error_of(code: grpc.StatusCode, details: str) -> Exception:
    """The way back: the error that a client raises for a status.  It isn't raised here.

    - For the six codes of `status_of` it is an error of exactly the type named there, and its text is the details.
    - For every other code it is a RuntimeError, and its text has the code's name, such as "INTERNAL", and the details.
    """
    raise NotImplementedError


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
    raise NotImplementedError


@contextlib.contextmanager
def serve(model: Any, workers: int = 8, grace: float = 5.0) -> Iterator[str]:
    """Serve the model on a free port of 127.0.0.1:  with serve(model) as address: …

    - `address` is "127.0.0.1:port".  `workers` calls run at a time.
    - When the block ends, also by an error, no new call is taken.  Running calls have `grace` seconds to end.  Those
      that haven't are cancelled.  The block ends only when all of them have ended, and no thread is left.
    """
    raise NotImplementedError


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
        raise NotImplementedError

    def classify(self, text: str, timeout: float | None = None, request_id: str | None = None) -> tuple[str, float]:
        """The label of a text, and its score."""
        raise NotImplementedError

    def generate(
        self, text: str, most: int = 0, timeout: float | None = None, request_id: str | None = None
    ) -> Iterator[str]:
        """A generator of the tokens' texts, each as soon as it arrives; at most `most` if that isn't 0.

        Whoever closes the generator, or leaves the loop and drops it, cancels the call.  Tokens that came before an
        error come out first.  Whether the call begins at once or with the first next() is left open.
        """
        raise NotImplementedError

    def evaluate(
        self, examples: Iterable[tuple[str, str]], timeout: float | None = None, request_id: str | None = None
    ) -> tuple[int, int, list[tuple[str, str]]]:
        """For (text, label) pairs: how many there are, how many got their label, and the pairs that didn't.

        The pairs may come from a generator.  Each is sent as soon as it is there.  What happens if the generator
        raises, is left open.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the connection, and the calls that are running.  A second time does nothing."""
        raise NotImplementedError
