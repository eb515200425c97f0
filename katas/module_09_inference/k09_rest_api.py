"""A REST service for a model

**Before you start.**  You need HTTP (methods, statuses, headers), JSON, asyncio and a little numpy;
no other kata.  The last step is a web app.  Write it in FastAPI, in Starlette, or as a bare ASGI
application: the tests see only what goes over the wire.  New to these?  Read the first chapters of
FastAPI's tutorial, and "Lifespan Events" in its advanced guide.

**The idea.**  Your model works in a notebook.  Now other people's programs want to call it, day
and night, in any language.  They need an address, a format, and answers that they can rely on: a
clear error for a wrong request, never a crash.  And whoever runs the service wants to know two
things.  Is it alive?  Is it ready?  A service manager asks this every few seconds.  It starts new
servers, and ends old ones, while requests keep coming.

You don't invent the format.  The *Open Inference Protocol* is spoken by KServe, Triton and many
others, so that their clients can read your answers.  A tensor is written like this:

    {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}

Numbers as text are slow and long.  So the protocol has an extension: the bytes of a tensor may
follow after the JSON.  A header says where the JSON ends.

**The formulas.**  For a tensor of shape (d₁, …, dₖ), whose numbers take `itemsize` bytes each:

    count            =  d₁ · d₂ · … · dₖ                 (1 for the shape [], a single number)
    binary_data_size =  count · itemsize
    the body's bytes =  length of the JSON + the sum of all binary_data_size

**A drawing** of a body with two tensors in binary, x of 24 bytes and scale of 4:

    Inference-Header-Content-Length: 147
    ┌─────────────────────────────────┬──────────────────┬───────┐
    │ {"inputs": [{"name": "x", …}]}  │ x, row by row    │ scale │
    └─────────────────────────────────┴──────────────────┴───────┘
    0                               147                171     175

And of a server's life, with what it answers:

           startup      loaded                 shutdown      last answer
              │            │                       │              │
              ├─ loading ──┼──────── ready ────────┼── draining ──┼─ close
    live      │ 200        │ 200                   │ 200          │
    ready     │ 503        │ 200                   │ 503          │
    infer     │ 503        │ answers               │ 503          │
              a request that runs at shutdown is answered ────────┘

**Why two questions, alive and ready?**  A server that loads 20 GB of weights is alive, but not
ready.  A manager that knows only one question would kill it again and again before it has
begun.  Who isn't alive is started anew; who isn't ready gets no requests.

**Why must an error be the right one?**  400 says: your request is wrong, don't send it again.  503
says: try again, or ask another server.  500 says: we have a bug, somebody gets up at night.  A
request that nobody can read must never give 500, whatever is in it.

**Why not show the exception?**  It helps an attacker, and may hold other people's data.  The log is
the place for it.

**Why two versions?**  Old clients stay.  Here /v1 speaks the older protocol of TensorFlow Serving,
beside /v2.  One model answers both.  A new schema gets a new address; an old one never changes.

**Worked by hand**

    the tensor above in binary         24 bytes; the first four are 00 00 80 3f, the number 1
    encode("y", [[1, -2]] in int16)    {"name": "y", "datatype": "INT16", "shape": [1, 2],
                                        "data": [1, -2]}
    the same in binary                 01 00 fe ff, and "parameters": {"binary_data_size": 4}
                                       in place of "data"

**Shapes**: every input and output is an array of shape (n, *row), with n ≥ 1 rows.  No function
changes its arguments.

**Steps.**  A good place to pause is after check.

    decode      14 min   what can be wrong about a tensor
    encode       6 min   the other way
    read_infer  12 min   JSON first, then bytes
    check        6 min   are these the model's inputs?
    Service     12 min   loading, ready, draining
    rest_api    28 min   the paths, and the right status for everything

Sources: Open Inference Protocol, "Inference Protocol / REST" and Triton's "Binary Tensor Data
Extension"; TensorFlow Serving, "RESTful API"; the ASGI specification, "Lifespan Protocol"; RFC
9110, section 15 (statuses).

From scratch: tritonclient, kserve and mlserver may not be used.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

DATATYPES = {
    "BOOL": "bool",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
"""The protocol's datatypes, and numpy's name for each.  This is given."""


@dataclass(frozen=True)
class Model:
    """A model as the service sees it.  This is given.

    name, version    such as "scaler" and "3"
    inputs, outputs  for each name the datatype and the shape of a row: {"x": ("FP32", (3,))}; one or more each
    predict          awaited with {name: array}, gives {name: array} with all outputs, each of its own dtype
                     and of shape (n, *row); many may run at the same time
    load, close      awaited without arguments, at the beginning and at the end
    """

    name: str
    version: str
    inputs: dict[str, tuple[str, tuple[int, ...]]]
    outputs: dict[str, tuple[str, tuple[int, ...]]]
    predict: Callable[[dict[str, np.ndarray]], Awaitable[dict[str, np.ndarray]]]
    load: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]


class Unavailable(Exception):
    """The model can't answer now.  This is given."""


def decode(entry: Any, raw: bytes | None = None) -> np.ndarray:
    """The array of one tensor of a request.

    entry  anything that JSON can hold.  A tensor is an object with
           - "name": a text;
           - "datatype": one of DATATYPES;
           - "shape": a list of at most 32 whole numbers ≥ 0;
           - "data", if raw is None: a list with all numbers in row-major order, or lists nested exactly as
             the shape says.
    raw    its bytes, if it was sent in binary: row-major, little-endian.  "data" isn't looked at then.

    The array has numpy's dtype for the datatype, in this machine's byte order.  It may be written to.

    In "data", BOOL takes true and false; INT and UINT take whole numbers that the datatype can hold; FP takes
    numbers that are finite, also once they are rounded to the datatype.  true and false are no numbers.
    Whether an INT takes 3.0 is left open.

    Raises ValueError, and nothing else, for anything else.  Its message names
    - the tensor, once it has a name that is a text;
    - the datatype, if it is an unknown text;
    - the number of bytes that came, and the number expected, if they differ.
    """
    raise NotImplementedError


def encode(name: str, array: np.ndarray, binary: bool = False) -> tuple[dict[str, Any], bytes]:
    """An output tensor: what stands for it in the JSON, and the bytes that follow.

    - The first has the keys "name", "datatype", "shape", and "data" with a flat list in row-major order.
      It holds Python's own values, as json takes them.  The bytes are empty.
    - If `binary`, it has "parameters": {"binary_data_size": …} in place of "data".  The bytes are row-major
      and little-endian.
    - The array may have any byte order and strides.

    Raises ValueError, naming its dtype, if no datatype fits.
    """
    raise NotImplementedError


def read_infer(body: bytes, json_length: int | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The JSON object of a request to infer, and its tensors by name.

    json_length  how many bytes of the body are JSON; None: all of them

    "inputs" is a list of one or more tensors.  One that has "parameters": {"binary_data_size": n} takes the
    next n bytes after the JSON; n is a whole number ≥ 0.  These tensors' bytes lie in the order of the list.
    Tensors with "data" may stand between them.

    Raises ValueError, and nothing else, whatever the body holds:
    - json_length isn't from 0 to the body's length: it names both;
    - the JSON is none, or no object, or its text is no UTF-8, or it is nested too deeply for the parser;
    - "inputs" isn't such a list, a tensor's "parameters" is no object, or decode refuses a tensor;
    - two tensors have the same name: it names it;
    - there are fewer bytes than the tensors take: it names the tensor;
    - bytes are left over: it names how many.
    """
    raise NotImplementedError


def check(model: Model, tensors: dict[str, np.ndarray]) -> None:
    """Check that these are the inputs of the model: all of them and no others, in any order.

    Each has the dtype and the shape (n, *row) that the model asks for, and n is 1 or more and the same for all.

    Raises ValueError otherwise.  It names the input; for a wrong dtype the datatype that the model asks
    for, such as "FP32"; for a wrong row the row's numbers; for two different n both of them.
    """
    raise NotImplementedError


class Service:
    """The life of a model: it loads, it answers, it drains, it closes.  All within one event loop.

    The attribute or property `ready` says whether predict is possible now.
    """

    def __init__(self, model: Model) -> None:
        """Nothing is loaded yet, and no event loop is needed."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to load the model, in a task of its own, and return at once.

        If load raises, the service is never ready.  Nobody else hears of the error; log it if you like.
        """
        raise NotImplementedError

    async def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the model's predict gives, or raises.  Raises Unavailable, without calling it, unless ready."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End the service.

        - From this call on, it isn't ready.
        - If it still loads, load is cancelled, and close isn't called.  Nor is it if load raised.
        - All calls of predict that run are waited for; one that raises or is cancelled has ended as well.
        - Then the model's close is awaited.  It is called once, however often stop is called.
        - Afterwards no task is left.  Called again, or before start, it does nothing more; a second call
          during the first returns no earlier than that one.
        """
        raise NotImplementedError


def rest_api(model: Model) -> Any:
    """An ASGI application that serves the model.

    Its lifespan starts a Service at startup, without waiting until it is loaded, and stops it at shutdown.

        GET   /v2                                200             {"name": …, "version": …, "extensions": […]}
        GET   /v2/health/live                    200             {"live": true}
        GET   /v2/health/ready                   200 503         {"ready": true} or {"ready": false}
        GET   /v2/models/{name}                  200 404         the model's metadata
        GET   /v2/models/{name}/ready            200 503 404     as /v2/health/ready
        POST  /v2/models/{name}/infer            200 400 404 500 503
        POST  /v1/models/{name}:predict          200 400 404 500 503
        GET   /openapi.json                      200             the OpenAPI document

    Wherever a path begins with /v2/models/{name}, it exists as well with /v2/models/{name}/versions/{version}.

    **Errors.**  Every reply with a status of 400 or more, but for "ready", is JSON: {"error": "what is wrong"}.
    - 404: another model, another version, or no such path.
    - 405: another method on one of these paths.  The header Allow names the right one.  HEAD and OPTIONS are
      left open.
    - 503: the service isn't ready.  If the request is wrong as well, either may be said.
    - 400: the request can't be read, or doesn't fit the model.  The message of your ValueError is the error.
      Texts in it may be anything that JSON allows, such as "\\ud800", half of a pair of surrogates.
    - 500: the model raised something, ValueError too.  The error doesn't hold the exception's text.  It is 500 as
      well if an output has NaN or infinity and is to be written as JSON, which has no word for them.

    **Metadata.**  {"name": …, "versions": [the version], "platform": "python", "inputs": […], "outputs": […]}.
    The lists have {"name": …, "datatype": …, "shape": [-1, *row]} in the model's order.  The "extensions" of the
    server hold "binary_tensor_data".  Its name and version are yours to choose.

    **infer.**  The body is that of read_infer, whatever its Content-Type.  The header
    Inference-Header-Content-Length, if it is there, has json_length; 400 if that is no number.
    - "id", if given, is a text and comes back as "id".
    - "outputs", if given and not empty, is a list of objects: {"name": …, "parameters": {"binary_data": true}}.
      The reply then has these outputs, in this order.  Without it the reply has all, in the model's order.
    - "parameters" may have "binary_data_output": true.  Then each output whose own "binary_data" isn't given is
      binary.  Otherwise only those with "binary_data": true are.
    - 400 for an output that the model hasn't, named in the error, and for any of these with another type.
      Other keys anywhere are not looked at.
    - The reply is {"model_name": …, "model_version": …, "outputs": […]}, and "id".  If an output is binary,
      the bytes follow in the order of the outputs, the header Inference-Header-Content-Length has the length
      of the JSON, and the Content-Type is application/octet-stream.  It is application/json otherwise.

    **predict.**  The body is {"instances": […]}, sent as application/json: one or more objects, each with exactly
    the names of the model's inputs, and for each name the value of that row, a list nested as the row is; a row
    of shape () is a number.  Values follow the rules of decode.
    - 400 for any other body, and for another key beside "instances", named in the error.
    - The reply is {"predictions": […]}: for each instance an object with all outputs, in lists nested likewise.

    **The OpenAPI document** is of version 3.  It has every path above, but for its own, with the method, each
    status of the table, and a "requestBody" for the two POSTs.  Other statuses may be there, too.  The names
    within {} are yours to choose.

    At the server's end (SIGTERM, say), a request that runs is answered, and then the model is closed.
    """
    raise NotImplementedError
