"""A REST service for a model: the reference."""

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
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
    if not isinstance(entry, dict):
        raise ValueError(f"a tensor is an object, got {type(entry).__name__}")
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str):
        raise ValueError(f"a tensor's name is a text, got {type(name).__name__}")
    # A list as the datatype can't be looked up in a dict: first the type.
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ValueError(f"{name}: the datatype is one of {', '.join(DATATYPES)}, got {datatype!r}")
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(d) is int and d >= 0 for d in shape):
        raise ValueError(f"{name}: the shape is a list of at most 32 whole numbers from 0 on")
    dtype = np.dtype(DATATYPES[datatype])
    if raw is None:
        return _of_values(name, dtype, _flat(name, entry.get("data"), shape)).reshape(shape)
    expected = math.prod(shape) * dtype.itemsize  # in Python's integers, which don't overflow
    if len(raw) != expected:
        raise ValueError(f"{name}: got {len(raw)} bytes, expected {expected} for the shape {shape}")
    # frombuffer alone would give an array that can't be written to.
    return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _flat(name: str, data: Any, shape: list[int]) -> list[Any]:
    """All numbers of `data`, which is flat or nested as the shape."""
    if not isinstance(data, list):
        raise ValueError(f"{name}: data is a list, got {type(data).__name__}")
    values = data
    if len(shape) > 1 and any(isinstance(value, list) for value in data):
        if len(values) != shape[0]:
            raise ValueError(f"{name}: data isn't nested as the shape {shape}")
        for size in shape[1:]:
            if not all(isinstance(value, list) and len(value) == size for value in values):
                raise ValueError(f"{name}: data isn't nested as the shape {shape}")
            values = [inner for value in values for inner in value]
    if len(values) != math.prod(shape):
        raise ValueError(f"{name}: data has {len(values)} numbers, expected {math.prod(shape)} for the shape {shape}")
    return values


def _of_values(name: str, dtype: np.dtype, values: list[Any]) -> np.ndarray:
    # type(v), not isinstance: True is an int to Python.
    kinds = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}[dtype.kind]
    if all(type(v) in kinds for v in values):
        with contextlib.suppress(OverflowError), np.errstate(over="ignore"):  # an int beyond all limits
            array = np.array(values, dtype)
            if dtype.kind != "f" or np.isfinite(array).all():  # 1e39 is finite, but not in float32
                return array
    raise ValueError(f"{name}: data holds a value that isn't a {dtype.name}")


def encode(name: str, array: np.ndarray, binary: bool = False) -> tuple[dict[str, Any], bytes]:
    datatype = next((key for key, dtype in DATATYPES.items() if array.dtype.newbyteorder("=") == dtype), None)
    if datatype is None:
        raise ValueError(f"{name}: there is no datatype for {array.dtype}")
    entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
    if not binary:
        return {**entry, "data": array.ravel().tolist()}, b""
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return {**entry, "parameters": {"binary_data_size": len(raw)}}, raw


def _read_object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text.decode())
    except RecursionError:  # no ValueError, but the client's fault all the same
        raise ValueError("the JSON is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both
        raise ValueError(f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"the JSON is an object, got {type(found).__name__}")
    return found


def _part(of: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    """of[key], which has this type; the default where it is missing."""
    value = of.get(key, default)
    if type(value) is not kind and value is not default:
        raise ValueError(f"{key} has the wrong type, {type(value).__name__}")
    return value


def read_infer(body: bytes, json_length: int | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    at = len(body) if json_length is None else json_length
    if not 0 <= at <= len(body):
        raise ValueError(f"the JSON can't have {json_length} bytes, as the body has {len(body)}")
    request = _read_object(body[:at])
    entries = request.get("inputs")
    if not isinstance(entries, list) or not entries:
        raise ValueError("inputs is a list of one or more tensors")
    tensors: dict[str, np.ndarray] = {}
    for entry in entries:
        parameters = _part(entry, "parameters", dict, {}) if isinstance(entry, dict) else {}
        raw = None
        if "binary_data_size" in parameters:
            size = parameters["binary_data_size"]
            if type(size) is not int or not 0 <= size <= len(body) - at:
                raise ValueError(f"{entry.get('name')}: of {size!r} bytes, {len(body) - at} are there")
            raw, at = body[at : at + size], at + size
        tensor = decode(entry, raw)
        if entry["name"] in tensors:
            raise ValueError(f"two inputs have the name {entry['name']}")
        tensors[entry["name"]] = tensor
    if at < len(body):
        raise ValueError(f"{len(body) - at} bytes are left over after the last tensor")
    return request, tensors


def check(model: Model, tensors: dict[str, np.ndarray]) -> None:
    for name in tensors:
        if name not in model.inputs:
            raise ValueError(f"the model has no input {name}; it has {', '.join(model.inputs)}")
    rows: int | None = None
    for name, (datatype, row) in model.inputs.items():
        if name not in tensors:
            raise ValueError(f"the input {name} is missing")
        array = tensors[name]
        if array.dtype != DATATYPES[datatype]:
            raise ValueError(f"{name}: the model takes {datatype}, got {array.dtype}")
        if array.shape[1:] != row or array.ndim != len(row) + 1:
            raise ValueError(f"{name}: a row has the shape {list(row)}, got an array of shape {list(array.shape)}")
        if len(array) < 1:
            raise ValueError(f"{name}: one row or more, got none")
        if rows is not None and len(array) != rows:
            raise ValueError(f"{name}: it has {len(array)} rows, the inputs before it have {rows}")
        rows = len(array)


class Service:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.loading: asyncio.Task[None] | None = None
        self.loaded = self.stopping = self.closed = False
        self.running = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.stops = asyncio.Lock()

    @property
    def ready(self) -> bool:
        return self.loaded and not self.stopping

    def start(self) -> None:
        self.loading = asyncio.get_running_loop().create_task(self._load())

    async def _load(self) -> None:
        try:
            await self.model.load()
            self.loaded = True
        except Exception:
            logging.getLogger(__name__).exception("%s can't be loaded", self.model.name)

    async def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not self.ready:
            raise Unavailable(f"{self.model.name} isn't ready")
        self.running += 1
        self.idle.clear()
        try:
            return await self.model.predict(inputs)
        finally:  # also where it raised, or its caller has gone
            self.running -= 1
            if self.running == 0:
                self.idle.set()

    async def stop(self) -> None:
        self.stopping = True
        async with self.stops:  # a second call waits for the first
            if self.loading is not None:
                self.loading.cancel()
                await asyncio.wait([self.loading])
            await self.idle.wait()
            if self.loaded and not self.closed:
                self.closed = True
                await self.model.close()


def _json(content: Any) -> bytes:
    # In ASCII, as a lone surrogate has no UTF-8; and NaN is no JSON, whatever Python's default says.
    return json.dumps(content, ensure_ascii=True, allow_nan=False).encode()


def _wanted(model: Model, request: dict[str, Any]) -> dict[str, bool]:
    """The outputs that a request asks for, in its order, and whether each is binary."""
    default = _part(_part(request, "parameters", dict, {}), "binary_data_output", bool, False)
    outputs = _part(request, "outputs", list, None)
    if not outputs:
        return dict.fromkeys(model.outputs, default)
    wanted: dict[str, bool] = {}
    for output in outputs:
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise ValueError("an output is an object with a name")
        if output["name"] not in model.outputs:
            raise ValueError(f"the model has no output {output['name']}; it has {', '.join(model.outputs)}")
        wanted[output["name"]] = _part(_part(output, "parameters", dict, {}), "binary_data", bool, default)
    return wanted


def _rows(model: Model, instances: Any) -> dict[str, np.ndarray]:
    """The inputs of the model from a list of objects, one for each row."""
    if not isinstance(instances, list) or not instances:
        raise ValueError("instances is a list of one or more objects")
    for instance in instances:
        if not isinstance(instance, dict) or instance.keys() != model.inputs.keys():
            raise ValueError(f"an instance has exactly {', '.join(model.inputs)}")
    inputs = {}
    for name, (datatype, row) in model.inputs.items():
        values = [instance[name] for instance in instances]
        # decode would take numbers alone where a row has one.
        if row and not all(isinstance(value, list) for value in values):
            raise ValueError(f"{name}: a row is a list, nested as the shape {list(row)}")
        inputs[name] = decode({"name": name, "datatype": datatype, "shape": [len(values), *row], "data": values})
    return inputs


def rest_api(model: Model) -> Any:
    from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
    from starlette.exceptions import HTTPException as AnyHTTPException

    service = Service(model)

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    def reply(content: Any, status: int = 200, headers: Any = None) -> Response:
        return Response(_json(content), status, headers, "application/json")

    app = FastAPI(title=model.name, version="2", lifespan=lifespan, docs_url=None, redoc_url=None)

    # --- errors: each as {"error": …} ---

    @app.exception_handler(AnyHTTPException)  # those of the framework as well: no such path, wrong method
    async def refused(request: Request, error: Any) -> Response:
        return reply({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(Unavailable)
    async def unavailable(request: Request, error: Exception) -> Response:
        return reply({"error": str(error)}, 503)

    @app.exception_handler(Exception)  # its text goes to the log, which is the server's part
    async def broken(request: Request, error: Exception) -> Response:
        return reply({"error": "internal error"}, 500)

    @contextlib.contextmanager
    def reading() -> Any:
        """A ValueError here is the client's.  One that the model raises isn't, so it must not run in here."""
        try:
            yield
        except ValueError as error:
            raise HTTPException(400, str(error)) from None

    # --- what a path needs, and what it may answer ---

    async def this_model(name: str) -> None:
        if name != model.name:
            raise HTTPException(404, f"there is no model {name}")

    async def this_version(name: str, version: str) -> None:
        await this_model(name)
        if version != model.version:
            raise HTTPException(404, f"there is no version {version} of {name}")

    error = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}

    def statuses(*others: int) -> dict[int | str, dict[str, Any]]:
        return {n: {"description": "error", "content": {"application/json": {"schema": error}}} for n in others}

    def body(key: str) -> dict[str, Any]:
        rows = {"type": "array", "minItems": 1, "items": {"type": "object"}}
        schema = {"type": "object", "properties": {key: rows}, "required": [key]}
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

    # --- the server ---

    @app.get("/v2")
    async def server() -> Response:
        return reply({"name": "dojo", "version": "1", "extensions": ["binary_tensor_data"]})

    @app.get("/v2/health/live")
    async def live() -> Response:
        return reply({"live": True})

    @app.get("/v2/health/ready", responses={503: {"description": "not ready"}})
    async def ready() -> Response:
        return reply({"ready": service.ready}, 200 if service.ready else 503)

    # --- the model: version 2 of the protocol ---

    async def metadata() -> Response:
        def listed(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> list[dict[str, Any]]:
            return [{"name": name, "datatype": kind, "shape": [-1, *row]} for name, (kind, row) in tensors.items()]

        about = {"name": model.name, "versions": [model.version], "platform": "python"}
        return reply({**about, "inputs": listed(model.inputs), "outputs": listed(model.outputs)})

    async def infer(request: Request) -> Response:
        sent = await request.body()
        with reading():
            length = request.headers.get("Inference-Header-Content-Length")
            asked, tensors = read_infer(sent, None if length is None else int(length))
            check(model, tensors)
            wanted = _wanted(model, asked)
            identity = _part(asked, "id", str, None)
        found = await service.predict(tensors)
        entries, raws = zip(*(encode(name, found[name], binary) for name, binary in wanted.items()), strict=True)
        content = {"model_name": model.name, "model_version": model.version, "outputs": entries}
        head = _json(content if identity is None else {**content, "id": identity})
        if not any(wanted.values()):
            return Response(head, media_type="application/json")
        size = {"Inference-Header-Content-Length": str(len(head))}
        return Response(head + b"".join(raws), headers=size, media_type="application/octet-stream")

    for prefix, needs in (
        ("/v2/models/{name}", this_model),
        ("/v2/models/{name}/versions/{version}", this_version),
    ):
        router = APIRouter(prefix=prefix, dependencies=[Depends(needs)])
        router.get("", responses=statuses(404))(metadata)
        router.get("/ready", responses=statuses(404, 503))(ready)
        router.post("/infer", responses=statuses(400, 404, 500, 503), openapi_extra=body("inputs"))(infer)
        app.include_router(router)

    # --- version 1, beside it ---

    @app.post(
        "/v1/models/{name}:predict",
        dependencies=[Depends(this_model)],
        responses=statuses(400, 404, 500, 503),
        openapi_extra=body("instances"),
    )
    async def predict(request: Request) -> Response:
        sent = await request.body()
        with reading():
            asked = _read_object(sent)
            if others := [key for key in asked if key != "instances"]:
                raise ValueError(f"unknown key: {', '.join(others)}")
            inputs = _rows(model, asked.get("instances"))
        found = await service.predict(inputs)
        rows = zip(*(found[name].tolist() for name in model.outputs), strict=True)
        return reply({"predictions": [dict(zip(model.outputs, row, strict=True)) for row in rows]})

    return app
