"""Judges k09_rest_api by what goes over the wire: in process, under uvicorn, by schemathesis and tritonclient."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from urllib.parse import quote, unquote

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.faults import now
from katas.module_09_inference.k09_rest_api import (
    DATATYPES,
    Model,
    Service,
    Unavailable,
    check,
    decode,
    encode,
    read_infer,
    rest_api,
)

NEEDS = "needs the extra `serving`: pip install -c constraints.txt -e '.[serving]'"
pytest.importorskip("fastapi", reason=NEEDS)

pytestmark = [from_scratch("tritonclient", "kserve", "mlserver"), pure("Service", "rest_api")]

REALS = ("FP16", "FP32", "FP64")
WHOLES = [name for name in DATATYPES if "INT" in name]


def tensor(**changes):
    """A tensor of a request, with some keys changed, or left out where the change is ...."""
    entry = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6], **changes}
    return {key: value for key, value in entry.items() if value is not ...}


def refusal(function, *args) -> str:
    """The message of the ValueError that it must raise."""
    with raises(ValueError) as caught:
        function(*args)
    return str(caught.value)


TRITON = """
import json, sys
import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(f"127.0.0.1:{sys.argv[1]}")
alive = [client.is_server_live(), client.is_server_ready(), client.is_model_ready("scaler")]
alive += [client.is_model_ready("scaler", "3"), client.is_model_ready("other")]
x, scale = np.float32([[1, 2, 3], [4, 5, 6]]), np.int16([1, 10])
answers = []
for binary in (True, False):
    inputs = [triton.InferInput("x", [2, 3], "FP32"), triton.InferInput("scale", [2], "INT16")]
    inputs[0].set_data_from_numpy(x, binary_data=binary)
    inputs[1].set_data_from_numpy(scale, binary_data=not binary)
    asked = [triton.InferRequestedOutput("total", binary_data=binary), triton.InferRequestedOutput("y")]
    for outputs in (None, asked):
        found = client.infer("scaler", inputs, request_id="7", outputs=outputs)
        answers.append({name: [str(found.as_numpy(name).dtype), found.as_numpy(name).tolist()] for name in ("y", "total")} | {"id": found.get_response()["id"]})
wrong = triton.InferInput("mask", [2], "INT16")
wrong.set_data_from_numpy(scale)
try:
    client.infer("scaler", [inputs[0], wrong])
    refused = ""
except Exception as error:
    refused = str(error)
versions = client.get_model_metadata("scaler")["versions"]
print(json.dumps({"alive": alive, "versions": versions, "answers": answers, "refused": refused}))
"""
"""What tritonclient says to the server on this port, and hears."""


class TestDecode:
    def test_worked_by_hand(self):
        assert_equal(decode(tensor()), np.array([[1, 2, 3], [4, 5, 6]], np.float32))

    def test_worked_by_hand_in_binary(self):
        raw = bytes.fromhex("0000803f 00000040 00004040 00008040 0000a040 0000c040")
        assert_equal(decode(tensor(data=...), raw), np.array([[1, 2, 3], [4, 5, 6]], np.float32))

    @pytest.mark.parametrize("datatype", list(DATATYPES))
    def test_every_datatype(self, datatype):
        values = [True, False] if datatype == "BOOL" else [1, 100]
        found = decode(tensor(datatype=datatype, shape=[2], data=values))
        assert_equal(found, np.array(values, DATATYPES[datatype]))

    @pytest.mark.parametrize("datatype", list(DATATYPES))
    def test_every_datatype_in_binary(self, datatype):
        expected = np.array([[1, 0], [0, 1], [1, 1]] if datatype == "BOOL" else [[1, 2], [3, 4], [99, 6]])
        expected = expected.astype(DATATYPES[datatype])
        raw = expected.astype(expected.dtype.newbyteorder("<")).tobytes()
        assert_equal(decode(tensor(datatype=datatype, shape=[3, 2], data=...), raw), expected)

    @pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[[1], [2], [3]], [[4], [5], [6]]]], ids=["flat", "nested"])
    def test_flat_or_nested(self, data):
        assert_equal(decode(tensor(shape=[2, 3, 1], data=data)), np.float32([[[1], [2], [3]], [[4], [5], [6]]]))

    def test_one_shape_after_the_other(self):
        found = [
            decode(tensor(shape=shape, data=data)).tolist() for shape, data in [([2], [1, 2]), ([2, 1], [[1], [2]])]
        ]
        assert_equal(found, [[1.0, 2.0], [[1.0], [2.0]]])

    def test_one_part_that_is_nested_otherwise(self):
        with raises(ValueError, "x"):
            decode(tensor(shape=[2, 2, 2], data=[[[1, 2], [3, 4]], [[5, 6, 7, 8]]]))

    @pytest.mark.parametrize(
        ("shape", "data"), [([], [5]), ([0], []), ([0, 3], []), ([2, 0], []), ([2, 0], [[], []]), ([1, 1], [[5]])]
    )
    def test_few_or_none(self, shape, data):
        assert_equal(decode(tensor(shape=shape, data=data)), np.full(shape, 5, np.float32))

    @pytest.mark.parametrize(
        ("shape", "data"), [([2, 0], [[], [], []]), ([2, 0], [[]]), ([0, 3], [[]]), ([2, 0], [[5], []])]
    )
    def test_none_but_otherwise_nested(self, shape, data):
        with raises(ValueError, "x"):
            decode(tensor(shape=shape, data=data))

    @pytest.mark.parametrize(("shape", "raw"), [([], b"\0\0\0\x40"), ([0, 3], b""), ([1, 1, 1], b"\0\0\0\x40")])
    def test_few_or_none_in_binary(self, shape, raw):
        assert_equal(decode(tensor(shape=shape, data=...), raw), np.full(shape, 2, np.float32))

    @pytest.mark.parametrize("data", [..., [9], None])
    def test_data_isnt_looked_at_where_there_are_bytes(self, data):
        assert_equal(decode(tensor(shape=[1], data=data), b"\0\0\0\x40"), np.float32([2]))

    @pytest.mark.parametrize("raw", [None, bytes(24)])
    def test_it_may_be_written_to(self, raw):
        found = decode(tensor(), raw)
        found += 1
        assert_equal(float(found[0, 0]), 2.0 if raw is None else 1.0)

    @pytest.mark.parametrize("datatype", WHOLES)
    def test_the_limits_of_whole_numbers(self, datatype):
        limits = np.iinfo(DATATYPES[datatype])
        ends = [int(limits.min), int(limits.max)]
        assert_equal(decode(tensor(datatype=datatype, shape=[2], data=ends)).tolist(), ends)

    @pytest.mark.parametrize("datatype", WHOLES)
    @pytest.mark.parametrize("beyond", [1, -1, 10**30])
    def test_beyond_them(self, datatype, beyond):
        limits = np.iinfo(DATATYPES[datatype])
        value = int(limits.max if beyond > 0 else limits.min) + beyond
        with raises(ValueError, "mask"):
            decode(tensor(name="mask", datatype=datatype, shape=[2], data=[1, value]))

    @pytest.mark.parametrize("datatype", REALS)
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400, -(10**400)])
    def test_no_finite_number(self, datatype, value):
        with raises(ValueError, "mask"):
            decode(tensor(name="mask", datatype=datatype, shape=[3], data=[1, value, 2]))

    @pytest.mark.parametrize(
        ("datatype", "value"), [("FP16", 65520.0), ("FP16", -1e5), ("FP32", 1e39), ("FP32", 2**128)]
    )
    def test_no_finite_number_once_it_is_rounded(self, datatype, value):
        with raises(ValueError, "mask"):
            decode(tensor(name="mask", datatype=datatype, shape=[1], data=[value]))

    @pytest.mark.parametrize(
        ("datatype", "value"),
        [("FP16", 65504), ("FP32", -3.4028234e38), ("FP32", 1e-60), ("FP64", 1e308), ("FP64", 2**70)],
    )
    def test_large_and_small_ones_that_fit(self, datatype, value):
        found = decode(tensor(datatype=datatype, shape=[1], data=[value]))
        assert_equal(found, np.array([value], DATATYPES[datatype]))

    @pytest.mark.parametrize(
        ("datatype", "value"),
        [
            ("BOOL", 1), ("BOOL", 0), ("BOOL", "true"), ("BOOL", None),
            ("INT8", True), ("INT64", 2.5), ("UINT8", "3"), ("INT32", None), ("INT16", [1]), ("UINT64", {}),
            ("FP32", True), ("FP64", "1.5"), ("FP32", None), ("FP64", [1.0]), ("FP16", {"a": 1}),
        ],
    )  # fmt: skip
    def test_a_value_of_another_kind(self, datatype, value):
        good = datatype == "BOOL" or 1
        with raises(ValueError, "mask"):
            decode(tensor(name="mask", datatype=datatype, shape=[2], data=[good, value]))

    @pytest.mark.parametrize(
        ("shape", "data"),
        [
            ([2, 3], [1, 2, 3, 4, 5]), ([2, 3], [1] * 7), ([2, 3], []), ([0, 3], [1]), ([], []), ([], [1, 2]),
            ([2, 3], [[1, 2], [3, 4], [5, 6]]), ([2, 3], [[1, 2, 3, 4, 5, 6]]), ([2, 3], [[1, 2, 3], [4, 5]]),
            ([2, 3], [[1, 2, 3], 4, 5, 6]), ([2, 3], [1, 2, 3, [4, 5, 6]]), ([2, 3], [[1, 2, 3]] * 3),
            ([2, 3], [[1, 2, 3], [4, 5, 6, 7]]), ([2, 3], [[1, 2, 3, 4], [5, 6]]), ([2, 3], [[[1], [2], [3]], [[4], [5], [6]]]),
            ([1, 2, 3], [[1, 2, 3], [4, 5, 6]]), ([2], [[1], [2]]), ([2, 3], 5), ([2, 3], None), ([2, 3], "123456"),
            ([2, 3], {"0": 1}), ([2, 3], ...), ([10**9, 10**9], [1]), ([2**32, 2**32], []), ([1] * 5, [[1]]),
        ],
    )  # fmt: skip
    def test_data_that_doesnt_fit_the_shape(self, shape, data):
        with raises(ValueError, "mask"):
            decode(tensor(name="mask", shape=shape, data=data))

    @pytest.mark.parametrize("raw", [None, b"", bytes(24)])
    @pytest.mark.parametrize(
        "shape",
        [..., None, "23", 6, [2, -3], [-2, -3], [2.0, 3.0], ["2", "3"], [True, 6], [[2, 3]], [6, None], {"0": 6}],
    )
    def test_a_shape_that_is_none(self, shape, raw):
        with raises(ValueError, "mask"):
            decode(tensor(name="mask", shape=shape), raw)

    @pytest.mark.parametrize("raw", [None, bytes(4)])
    def test_32_dimensions_and_no_more(self, raw):
        assert_equal(decode(tensor(shape=[1] * 32, data=[0]), raw).shape, (1,) * 32)
        with raises(ValueError, "mask"):
            decode(tensor(name="mask", shape=[1] * 33, data=[0]), raw)

    @pytest.mark.parametrize("raw", [None, bytes(24)])
    @pytest.mark.parametrize("datatype", ["BYTES", "fp32", "float32", ""])
    def test_an_unknown_datatype(self, datatype, raw):
        with raises(ValueError, "mask", datatype):
            decode(tensor(name="mask", datatype=datatype), raw)

    @pytest.mark.parametrize("datatype", [..., None, 32, ["FP32"], {"FP32": 1}])
    def test_a_datatype_that_is_no_text(self, datatype):
        with raises(ValueError, "mask"):
            decode(tensor(name="mask", datatype=datatype))

    @pytest.mark.parametrize("name", [..., None, 3, ["x"], {}])
    def test_a_name_that_is_no_text(self, name):
        refusal(decode, tensor(name=name))

    @pytest.mark.parametrize("entry", [None, 3, "x", [], [1], True])
    def test_no_object_at_all(self, entry):
        refusal(decode, entry)

    @pytest.mark.parametrize("n", [0, 23, 25, 48])
    def test_another_number_of_bytes(self, n):
        with raises(ValueError, "mask", n, 24):
            decode(tensor(name="mask"), bytes(n))

    def test_more_bytes_than_any_machine_has(self):
        with raises(ValueError, "mask", 8, 2**70):
            decode(tensor(name="mask", datatype="INT64", shape=[2**33, 2**34]), bytes(8))


class TestEncode:
    Y = np.array([[1, -2]], np.int16)

    def test_worked_by_hand(self):
        assert_equal(encode("y", self.Y), ({"name": "y", "datatype": "INT16", "shape": [1, 2], "data": [1, -2]}, b""))

    @pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT32"])
    def test_numbers_keep_their_digits(self, datatype):
        array = np.array([1234567.125, 1 / 3, 70_001]).astype(DATATYPES[datatype])
        assert_equal(encode("y", array)[0]["data"], array.tolist())

    def test_worked_by_hand_in_binary(self):
        entry, raw = encode("y", self.Y, binary=True)
        expected = {"name": "y", "datatype": "INT16", "shape": [1, 2], "parameters": {"binary_data_size": 4}}
        assert_equal((entry, raw), (expected, b"\x01\x00\xfe\xff"))

    @pytest.mark.parametrize("datatype", list(DATATYPES))
    @pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
    def test_every_datatype(self, datatype, shape):
        array = np.array(np.random.randint(0, 2, shape)).astype(DATATYPES[datatype])
        entry, raw = encode("z", array)
        expected = {"name": "z", "datatype": datatype, "shape": list(shape), "data": array.ravel().tolist()}
        assert_equal((entry, raw), (expected, b""))

    @pytest.mark.parametrize("datatype", list(DATATYPES))
    @pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
    def test_every_datatype_in_binary(self, datatype, shape):
        array = np.array(np.random.randint(0, 2, shape)).astype(DATATYPES[datatype])
        entry, raw = encode("z", array, True)
        size = {"binary_data_size": array.nbytes}
        assert_equal(entry, {"name": "z", "datatype": datatype, "shape": list(shape), "parameters": size})
        assert_equal(raw, array.astype(array.dtype.newbyteorder("<")).tobytes())

    @pytest.mark.parametrize("binary", [False, True])
    @pytest.mark.parametrize("array", [Y, np.float32([[0.1]]), np.array([True])], ids=["int", "real", "bool"])
    def test_json_takes_it(self, array, binary):
        entry, _ = encode("z", array, binary)
        assert_equal(json.loads(json.dumps(entry)), entry)

    @pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3).T, np.arange(12.0).reshape(3, 4)[::-1, ::2]])
    def test_any_strides(self, array):
        assert_equal(encode("z", array)[0]["data"], [float(v) for row in array for v in row])
        assert_equal(encode("z", array, True)[1], np.array([v for row in array for v in row], "<f8").tobytes())

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_any_byte_order(self, order):
        array = np.array([1, 2, 300], order + "i4")
        assert_equal(encode("z", array)[0], {"name": "z", "datatype": "INT32", "shape": [3], "data": [1, 2, 300]})
        entry, raw = encode("z", array, True)
        assert_equal((entry["datatype"], raw), ("INT32", bytes([1, 0, 0, 0, 2, 0, 0, 0, 44, 1, 0, 0])))

    @pytest.mark.parametrize("binary", [False, True])
    @pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]"])
    def test_no_datatype_fits(self, dtype, binary):
        with raises(ValueError, dtype.split("[")[0]):
            encode("z", np.zeros(2, dtype), binary)


def body_of(*entries, **others) -> bytes:
    return json.dumps({"inputs": list(entries), **others}).encode()


def in_binary(name, datatype, array):
    raw = np.asarray(array, DATATYPES[datatype]).tobytes()
    entry = {"name": name, "datatype": datatype, "shape": list(np.shape(array))}
    return {**entry, "parameters": {"binary_data_size": len(raw)}}, raw


class TestReadInfer:
    def test_all_of_it_is_json(self):
        request, tensors = read_infer(body_of(tensor(), id="7"))
        assert_equal((request["id"], list(tensors)), ("7", ["x"]))
        assert_equal(tensors["x"], np.float32([[1, 2, 3], [4, 5, 6]]))

    def test_the_request_comes_as_it_was_sent(self):
        sent = {"inputs": [tensor()], "id": "é", "outputs": [], "parameters": {"a": [1, None]}, "more": 2.5}
        assert_equal(read_infer(json.dumps(sent).encode())[0], sent)

    def test_numbers_keep_their_digits(self):
        _, tensors = read_infer(body_of(tensor(datatype="FP64", shape=[2], data=[1234567.125, 1 / 3])))
        assert_equal(tensors["x"].tolist(), [1234567.125, 1 / 3])

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32-be"])
    def test_other_encodings_are_refused(self, encoding):
        with raises(ValueError):
            read_infer(body_of(tensor()).decode().encode(encoding))

    def test_utf8(self):
        assert_equal(
            read_infer('{"inputs": [%s], "id": "größer"}'.encode() % json.dumps(tensor()).encode())[0]["id"], "größer"
        )

    def test_bytes_in_the_order_of_the_tensors(self):
        x, xs = in_binary("x", "FP32", [[1, 2, 3]])
        s, ss = in_binary("s", "INT16", [7, -8])
        plain = tensor(name="plain", shape=[1], data=[5])
        text = body_of(x, plain, s)
        _, tensors = read_infer(text + xs + ss, len(text))
        assert_equal(tensors["x"], np.float32([[1, 2, 3]]))
        assert_equal(tensors["s"], np.int16([7, -8]))
        assert_equal(tensors["plain"], np.float32([5]))

    @pytest.mark.parametrize("length", [True, False])
    def test_no_bytes_at_all(self, length):
        x, _ = in_binary("x", "FP32", np.zeros((0, 3)))
        text = body_of(x)
        assert_equal(read_infer(text, len(text) if length else None)[1]["x"].shape, (0, 3))

    def test_other_parameters_arent_looked_at(self):
        text = body_of(tensor(parameters={"priority": "high"}))
        assert_equal(list(read_infer(text)[1]), ["x"])

    @pytest.mark.parametrize("off", [-(10**6), 1, 1000])
    def test_a_length_of_json_that_cant_be(self, off):
        text = body_of(tensor())
        length = len(text) + off
        with raises(ValueError, length, len(text)):
            read_infer(text, length)

    @pytest.mark.parametrize("length", [0, 1, 5])
    def test_json_that_is_cut(self, length):
        refusal(read_infer, body_of(tensor()), length)

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"{", b"x", b"{'inputs': []}", b"[]", b"[1]", b"null", b"3", b'"inputs"', b"true", b"\xff\xfe\x00",
            b'{"inputs": "\xe9"}', b"[" * 200_000, b'{"inputs":' * 100_000, b'{"inputs": [' + b"9" * 9000 + b"]}",
        ],
        ids=lambda body: repr(body[:12]),
    )  # fmt: skip
    def test_no_json_object(self, body):
        refusal(read_infer, body)

    @pytest.mark.parametrize("raw", [b"\xe9", b"\xff\xfe", b"\xc3"])
    def test_a_text_that_is_no_utf8(self, raw):
        refusal(read_infer, body_of(tensor(), id="?").replace(b"?", raw))

    @pytest.mark.parametrize("inputs", [None, 3, "x", {}, [], [3], [None], [[]], {"x": 1}, [tensor(), "y"]])
    def test_inputs_that_are_none(self, inputs):
        refusal(read_infer, json.dumps({"inputs": inputs}).encode())

    def test_inputs_are_missing(self):
        refusal(read_infer, b"{}")

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400"])
    def test_numbers_that_are_none(self, value):
        body = body_of(tensor(data=[1, 2, 3, 4, 5, "?"])).replace(b'"?"', value.encode())
        refusal(read_infer, body)

    @pytest.mark.parametrize("parameters", [3, "x", [], [1], True])
    def test_parameters_that_are_no_object(self, parameters):
        refusal(read_infer, body_of(tensor(parameters=parameters)))

    @pytest.mark.parametrize("size", [-4, -1, 24.0, "24", True, [24], 10**30])
    def test_a_size_that_is_none(self, size):
        x, raw = in_binary("mask", "FP32", [[1, 2, 3], [4, 5, 6]])
        x["parameters"]["binary_data_size"] = size
        text = body_of(x)
        refusal(read_infer, text + raw, len(text))

    def test_a_negative_size_doesnt_go_back(self):
        x, raw = in_binary("mask", "INT8", [1, 2, 3, 4])
        back = {"name": "s", "datatype": "INT8", "shape": [0], "parameters": {"binary_data_size": -4}}
        last, _ = in_binary("z", "INT8", [1, 2, 3, 4])
        text = body_of(x, back, last)
        refusal(read_infer, text + raw, len(text))

    def test_too_few_bytes(self):
        x, xs = in_binary("x", "INT8", [1, 2, 3])
        s, ss = in_binary("mask", "INT8", [4, 5, 6])
        text = body_of(x, s)
        with raises(ValueError, "mask"):
            read_infer(text + xs + ss[:-1], len(text))

    def test_bytes_where_all_is_json(self):
        with raises(ValueError, "mask"):
            read_infer(body_of(in_binary("mask", "INT8", [1])[0]))

    @pytest.mark.parametrize("more", [1, 17])
    def test_bytes_that_are_left_over(self, more):
        x, raw = in_binary("x", "INT8", [1, 2, 3])
        text = body_of(x)
        with raises(ValueError, more):
            read_infer(text + raw + bytes(more), len(text))

    def test_bytes_that_nobody_takes(self):
        text = body_of(tensor())
        with raises(ValueError, 5):
            read_infer(text + b"12345", len(text))

    def test_a_size_that_doesnt_fit_the_shape(self):
        x, raw = in_binary("mask", "INT16", [1, 2, 3])
        x["shape"] = [2]
        text = body_of(x)
        with raises(ValueError, "mask", 6, 4):
            read_infer(text + raw, len(text))

    def test_two_of_the_same_name(self):
        with raises(ValueError, "mask"):
            read_infer(body_of(tensor(name="mask"), tensor(), tensor(name="mask")))


class Scaler:
    """y = 2x, and total = the sums of the rows times scale.  Writes down what is called."""

    INPUTS = {"x": ("FP32", (3,)), "scale": ("INT16", ())}
    OUTPUTS = {"y": ("FP32", (3,)), "total": ("FP64", ())}

    def __init__(self, note=None) -> None:
        self.calls: list[str] = []
        self.given: list[dict] = []
        self.note = note

    def tell(self, what: str) -> None:
        self.calls.append(what)
        if self.note is not None:
            self.note(what)

    async def load(self) -> None:
        self.tell("load")

    async def close(self) -> None:
        self.tell("close")

    async def predict(self, inputs):
        self.tell("predict")
        self.given.append(inputs)
        return self.answer(inputs)

    def answer(self, inputs):
        total = inputs["x"].sum(axis=1, dtype=np.float64) * inputs["scale"]
        # In another order than that of OUTPUTS.
        return {"total": total, "y": 2 * inputs["x"]}

    def model(self, **changes) -> Model:
        parts = {"name": "scaler", "version": "3", "inputs": self.INPUTS, "outputs": self.OUTPUTS}
        life = {"predict": self.predict, "load": self.load, "close": self.close}
        return Model(**{**parts, **life, **changes})


def arrays(n=2, **changes):
    found = {"x": np.arange(3.0 * n, dtype=np.float32).reshape(n, 3), "scale": np.full(n, 10, np.int16), **changes}
    return {name: array for name, array in found.items() if array is not ...}


class TestCheck:
    @pytest.mark.parametrize("n", [1, 2, 7])
    def test_the_inputs_of_the_model(self, n):
        assert_equal(check(Scaler().model(), arrays(n)), None)

    def test_in_any_order(self):
        assert_equal(check(Scaler().model(), dict(reversed(arrays().items()))), None)

    @pytest.mark.parametrize("name", ["x", "scale"])
    def test_one_is_missing(self, name):
        with raises(ValueError, name):
            check(Scaler().model(inputs={"x": ("FP32", (3,)), "scale": ("INT16", ())}), arrays(**{name: ...}))

    @pytest.mark.parametrize("given", [{"mask": np.ones(2)}, {"mask": np.ones(2, np.int16), "scale": ...}])
    def test_one_that_it_hasnt(self, given):
        with raises(ValueError):
            check(Scaler().model(), arrays(**given))

    def test_it_names_the_one_that_it_hasnt(self):
        with raises(ValueError, "mask"):
            check(Scaler().model(), arrays(mask=np.ones(2)))

    @pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "bool"])
    def test_another_datatype(self, dtype):
        with raises(ValueError, "x", "FP32"):
            check(Scaler().model(), arrays(x=np.ones((2, 3), dtype)))

    def test_another_datatype_of_the_second(self):
        with raises(ValueError, "scale", "INT16"):
            check(Scaler().model(), arrays(scale=np.ones(2, np.uint16)))

    @pytest.mark.parametrize("shape", [(2, 4), (2, 2), (2, 3, 1), (2,), (2, 1, 3), (3,), (2, 0)])
    def test_another_row(self, shape):
        with raises(ValueError, "x", 3):
            check(Scaler().model(), arrays(x=np.ones(shape, np.float32)))

    @pytest.mark.parametrize("shape", [(2, 4, 5), (2, 5, 4), (2, 20), (2, 4)])
    def test_another_row_of_two_axes(self, shape):
        model = Scaler().model(inputs={"image": ("FP32", (4, 6))})
        with raises(ValueError, "image", 4, 6):
            check(model, {"image": np.ones(shape, np.float32)})

    @pytest.mark.parametrize("shape", [(), (2, 1), (2, 0)])
    def test_another_row_of_one_number(self, shape):
        with raises(ValueError, "scale"):
            check(Scaler().model(), arrays(scale=np.ones(shape, np.int16)))

    def test_no_rows(self):
        with raises(ValueError):
            check(Scaler().model(), arrays(0))

    @pytest.mark.parametrize(("n", "m"), [(1, 2), (5, 4), (2, 0), (0, 2)])
    def test_different_numbers_of_rows(self, n, m):
        with raises(ValueError, *([n, m] if n and m else [])):
            check(Scaler().model(), arrays(x=np.ones((n, 3), np.float32), scale=np.ones(m, np.int16)))


class Slow(Scaler):
    """Loads for 10 s and predicts for as many as the first number says, on the clock of its loop."""

    async def load(self) -> None:
        self.tell("load")
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            self.tell("cancelled")
            raise
        self.tell("loaded")

    async def predict(self, inputs):
        seconds = float(inputs["x"][0, 0])
        await asyncio.sleep(abs(seconds))
        self.tell(f"answer {seconds:g}")
        if seconds < 0:
            raise ValueError("below 0")
        return self.answer(inputs)

    async def close(self) -> None:
        self.tell("close")
        await asyncio.sleep(3)
        self.tell("closed")


def seconds(n: float):
    return arrays(1, x=np.float32([[n, 0, 0]]))


class TestService:
    def test_it_is_ready_once_it_is_loaded(self, simulated):
        async def life():
            service = Service(Slow().model())
            found = [service.ready]
            service.start()
            for _ in range(3):
                found.append(service.ready)
                await asyncio.sleep(5.5)
            found.append(service.ready)
            await service.stop()
            return [bool(ready) for ready in found]

        assert_equal(simulated(life()), [False, False, False, True, True])

    def test_it_gives_what_the_model_gives(self, simulated):
        async def life():
            service = Service(Slow().model())
            service.start()
            await asyncio.sleep(11)
            found = await service.predict(seconds(2))
            await service.stop()
            return found

        found = simulated(life())
        assert_close(found["y"], np.float32([[4, 0, 0]]))
        assert_close(found["total"], np.array([20.0]))

    @pytest.mark.parametrize("when", ["before start", "while it loads", "after stop"])
    def test_unavailable(self, simulated, when):
        slow = Slow()

        async def life():
            service = Service(slow.model())
            if when != "before start":
                service.start()
            await asyncio.sleep(11 if when == "after stop" else 1)
            if when == "after stop":
                await service.stop()
            before = now()
            with raises(Unavailable):
                await service.predict(seconds(0))
            took = now() - before
            await service.stop()
            return took

        assert_equal((simulated(life()), "answer 0" in slow.calls), (0.0, False))

    def test_it_raises_what_the_model_raises_and_goes_on(self, simulated):
        async def life():
            service = Service(Slow().model())
            service.start()
            await asyncio.sleep(11)
            with raises(ValueError, "below 0"):
                await service.predict(seconds(-1))
            found = await service.predict(seconds(1))
            await service.stop()
            return found["y"]

        assert_close(simulated(life()), np.float32([[2, 0, 0]]))

    def test_many_at_the_same_time(self, simulated):
        async def life():
            service = Service(Slow().model())
            service.start()
            await asyncio.sleep(11)
            before = now()
            found = await asyncio.gather(*(service.predict(seconds(n)) for n in (5, 3, 4)))
            took = now() - before
            await service.stop()
            return [float(one["y"][0, 0]) for one in found], took

        assert_equal(simulated(life()), ([10.0, 6.0, 8.0], 5.0))

    def test_a_load_that_fails(self, simulated):
        async def load():
            await asyncio.sleep(1)
            raise OSError("no weights there")

        slow = Slow()

        async def life():
            service = Service(slow.model(load=load))
            service.start()
            await asyncio.sleep(50)
            ready = bool(service.ready)
            with raises(Unavailable):
                await service.predict(seconds(0))
            await service.stop()
            return ready, now()

        assert_equal((simulated(life()), slow.calls, simulated.left), ((False, 50.0), [], 0))

    def test_stop_waits_for_those_that_run_and_closes(self, simulated):
        slow = Slow()

        async def life():
            service = Service(slow.model())
            service.start()
            await asyncio.sleep(11)
            calls = [asyncio.ensure_future(service.predict(seconds(n))) for n in (4, 6)]
            await asyncio.sleep(1)
            await service.stop()
            return [call.done() for call in calls], now()

        assert_equal(simulated(life()), ([True, True], 20.0))
        assert_equal(slow.calls, ["load", "loaded", "answer 4", "answer 6", "close", "closed"])
        assert_equal(simulated.left, 0)

    def test_nothing_is_taken_while_it_drains(self, simulated):
        async def life():
            service = Service(Slow().model())
            service.start()
            await asyncio.sleep(11)
            call = asyncio.ensure_future(service.predict(seconds(6)))
            await asyncio.sleep(1)
            stopping = asyncio.ensure_future(service.stop())
            await asyncio.sleep(1)
            ready = bool(service.ready)
            with raises(Unavailable):
                await service.predict(seconds(0))
            await stopping
            return ready, float((await call)["y"][0, 0])

        assert_equal(simulated(life()), (False, 12.0))

    @pytest.mark.parametrize("how", ["raises", "is cancelled"])
    def test_one_that_ends_otherwise_has_ended(self, simulated, how):
        slow = Slow()

        async def life():
            service = Service(slow.model())
            service.start()
            await asyncio.sleep(11)
            call = asyncio.ensure_future(service.predict(seconds(-4)))
            await asyncio.sleep(1)
            stopping = asyncio.ensure_future(service.stop())
            await asyncio.sleep(1)
            if how == "is cancelled":
                call.cancel()
            await stopping
            await asyncio.gather(call, return_exceptions=True)
            return now()

        assert_equal(simulated(life()), 18.0 if how == "raises" else 16.0)
        assert_equal(slow.calls[-2:], ["close", "closed"])

    def test_one_that_ended_before_isnt_waited_for(self, simulated):
        async def life():
            service = Service(Slow().model())
            service.start()
            await asyncio.sleep(11)
            await service.predict(seconds(4))
            await service.stop()
            return now()

        assert_equal(simulated(life()), 18.0)

    def test_stop_while_it_loads(self, simulated):
        slow = Slow()

        async def life():
            service = Service(slow.model())
            service.start()
            await asyncio.sleep(2)
            await service.stop()
            return now(), bool(service.ready)

        assert_equal((simulated(life()), slow.calls, simulated.left), ((2.0, False), ["load", "cancelled"], 0))

    def test_stop_waits_for_a_load_that_cleans_up(self, simulated):
        slow = Slow()

        async def load():
            try:
                await asyncio.sleep(10)
            finally:
                await asyncio.sleep(3)
                slow.tell("cleaned up")

        async def life():
            service = Service(slow.model(load=load))
            service.start()
            await asyncio.sleep(2)
            await service.stop()
            return now(), list(slow.calls)

        assert_equal((simulated(life()), simulated.left), ((5.0, ["cleaned up"]), 0))

    def test_stop_before_start(self, simulated):
        slow = Slow()

        async def life():
            service = Service(slow.model())
            await service.stop()
            return now()

        assert_equal((simulated(life()), slow.calls), (0.0, []))

    def test_stop_again(self, simulated):
        slow = Slow()

        async def life():
            service = Service(slow.model())
            service.start()
            await asyncio.sleep(11)
            await service.stop()
            await service.stop()
            return now()

        assert_equal((simulated(life()), slow.calls), (14.0, ["load", "loaded", "close", "closed"]))

    def test_stop_twice_at_once(self, simulated):
        slow = Slow()

        async def life():
            service = Service(slow.model())
            service.start()
            await asyncio.sleep(11)
            call = asyncio.ensure_future(service.predict(seconds(6)))
            await asyncio.sleep(1)

            async def stopped(after):
                await asyncio.sleep(after)
                await service.stop()
                return now()

            ends = await asyncio.gather(stopped(0), stopped(1), stopped(6))
            await call
            return ends

        assert_equal(simulated(life()), [20.0, 20.0, 20.0])
        assert_equal(slow.calls, ["load", "loaded", "answer 6", "close", "closed"])

    def test_two_side_by_side(self, simulated):
        async def life():
            one, other = Service(Slow().model()), Service(Slow().model())
            one.start()
            await asyncio.sleep(11)
            found = [bool(one.ready), bool(other.ready)]
            other.start()
            await asyncio.sleep(11)
            await one.stop()
            found += [bool(one.ready), bool(other.ready)]
            await other.stop()
            return found

        assert_equal(simulated(life()), [True, False, False, True])


# --- the app, over the wire --------------------------------------------------------------------------


class Reply:
    def __init__(self, status: int, headers, body: bytes) -> None:
        self.status, self.body = status, body
        self.headers = {key.decode().lower(): value.decode() for key, value in headers}
        self.type = self.headers.get("content-type", "").split(";")[0]

    def json(self):
        def no_number(text):
            fail(f"the reply holds {text}, which is no JSON", evidence=("no JSON", text))

        try:
            return json.loads(self.body, parse_constant=no_number)
        except ValueError:
            fail(f"the reply is no JSON: {self.body[:80]!r}", evidence=("no JSON", self.status))

    def error(self):
        """The status, and whether the body is an error as the protocol has it."""
        found = self.json()
        good = isinstance(found, dict) and isinstance(found.get("error"), str) and self.type == "application/json"
        return self.status, "error" if good else found


class Client:
    """Calls an ASGI app as a server does, lifespan included, within one event loop."""

    def __init__(self, app, patience: float | None = None) -> None:
        self.app, self.patience = app, patience

    async def __aenter__(self):
        self.to_app, self.from_app = asyncio.Queue(), asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        self.life = asyncio.ensure_future(self.app(scope, self.to_app.get, self.from_app.put))
        await self._tell("startup")
        return self

    async def __aexit__(self, *what):
        if what[0] is None:
            await self.shutdown()
        self.life.cancel()
        await asyncio.gather(self.life, return_exceptions=True)

    async def shutdown(self):
        if not self.life.done():
            await self._tell("shutdown")

    async def _tell(self, what):
        await self.to_app.put({"type": f"lifespan.{what}"})
        answer = asyncio.ensure_future(self.from_app.get())
        done, _ = await asyncio.wait([answer, self.life], timeout=self.patience, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            answer.cancel()
            fail(f"lifespan.{what} isn't answered while load still runs", evidence=("lifespan", what, "waits"))
        if not answer.done():
            answer.cancel()
            ended = self.life.exception()
            if isinstance(ended, NotImplementedError):
                raise ended
            fail(f"the app ends instead of answering lifespan.{what}: {ended!r}", evidence=("lifespan", what))
        if answer.result()["type"] != f"lifespan.{what}.complete":
            fail(f"lifespan.{what} is answered with {answer.result()}", evidence=("lifespan", what, "failed"))

    async def ask(self, method, path, body=b"", **headers) -> Reply:
        raw, _, query = path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": unquote(raw), "raw_path": quote(unquote(raw)).encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(b"host", b"test"), (b"content-length", str(len(body)).encode()),
                        *((key.replace("_", "-").lower().encode(), str(value).encode()) for key, value in headers.items())],
            "client": ("127.0.0.1", 9), "server": ("127.0.0.1", 80), "state": {},
        }  # fmt: skip
        half = len(body) // 2  # a body may come in parts
        parts = [
            {"type": "http.request", "body": body[half:], "more_body": False},
            {"type": "http.request", "body": body[:half], "more_body": True},
        ]
        over, sent = asyncio.Event(), []

        async def receive():
            if parts:
                return parts.pop()
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                over.set()

        try:
            await self.app(scope, receive, send)
        except Exception as error:
            if isinstance(error, NotImplementedError):
                raise
            if not sent:  # what uvicorn makes of it
                return Reply(500, [], b"Internal Server Error")
        start = [message for message in sent if message["type"] == "http.response.start"]
        if len(start) != 1 or not over.is_set():
            fail(f"{method} {path} isn't answered completely", evidence=("no answer", method, path))
        whole = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
        return Reply(start[0]["status"], start[0].get("headers", ()), whole)

    async def get(self, path, **headers):
        return await self.ask("GET", path, **headers)

    async def post(self, path, content, **headers):
        sent = content if isinstance(content, bytes) else json.dumps(content).encode()
        return await self.ask("POST", path, sent, **{"content_type": "application/json", **headers})

    async def ready(self):
        for turn in range(400):
            if (await self.get("/v2/health/ready")).status == 200:
                return self
            await asyncio.sleep(0.001 if turn > 20 else 0)
        fail("GET /v2/health/ready never gave 200", evidence=("never ready",))


def served(asks, model: Model | None = None):
    """What `await asks(client)` gives, of an app that is ready."""

    async def run():
        async with asyncio.timeout(20), Client(rest_api(model or Scaler().model())) as client:
            return await asks(await client.ready())

    return asyncio.run(run())


def got(path, model=None, method="GET", **headers) -> Reply:
    return served(lambda client: client.ask(method, path, **headers), model)


def posted(content, model=None, path="/v2/models/scaler/infer", **headers) -> Reply:
    return served(lambda client: client.post(path, content, **headers), model)


X = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}
SCALE = {"name": "scale", "datatype": "INT16", "shape": [2], "data": [1, 10]}
Y_OUT = {"name": "y", "datatype": "FP32", "shape": [2, 3], "data": [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]}
TOTAL_OUT = {"name": "total", "datatype": "FP64", "shape": [2], "data": [6.0, 150.0]}
GOOD = {"inputs": [X, SCALE]}
ONE = "/v1/models/scaler:predict"
INSTANCES = {"instances": [{"x": [1, 2, 3], "scale": 1}, {"scale": 10, "x": [4, 5, 6]}]}
PREDICTIONS = {"predictions": [{"y": [2.0, 4.0, 6.0], "total": 6.0}, {"y": [8.0, 10.0, 12.0], "total": 150.0}]}

TABLE = {
    ("get", "/v2"): "200",
    ("get", "/v2/health/live"): "200",
    ("get", "/v2/health/ready"): "200 503",
    ("get", "/v2/models/{}"): "200 404",
    ("get", "/v2/models/{}/ready"): "200 503 404",
    ("post", "/v2/models/{}/infer"): "200 400 404 500 503",
    ("get", "/v2/models/{}/versions/{}"): "200 404",
    ("get", "/v2/models/{}/versions/{}/ready"): "200 503 404",
    ("post", "/v2/models/{}/versions/{}/infer"): "200 400 404 500 503",
    ("post", "/v1/models/{}:predict"): "200 400 404 500 503",
}


class TestRestApi:
    # --- health and metadata -------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("path", "key"),
        [
            ("/v2/health/live", "live"), ("/v2/health/ready", "ready"), ("/v2/models/scaler/ready", "ready"),
            ("/v2/models/scaler/versions/3/ready", "ready"),
        ],
    )  # fmt: skip
    def test_health(self, path, key):
        reply = got(path)
        assert_equal((reply.status, reply.type, reply.json()), (200, "application/json", {key: True}))

    def test_the_server(self):
        reply = got("/v2")
        found = reply.json()
        kinds = [type(found.get(key)).__name__ for key in ("name", "version", "extensions")]
        assert_equal((reply.status, kinds), (200, ["str", "str", "list"]))
        assert_equal("binary_tensor_data" in found["extensions"], True)

    @pytest.mark.parametrize("path", ["/v2/models/scaler", "/v2/models/scaler/versions/3"])
    def test_metadata(self, path):
        expected = {
            "name": "scaler", "versions": ["3"], "platform": "python",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}, {"name": "scale", "datatype": "INT16", "shape": [-1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}, {"name": "total", "datatype": "FP64", "shape": [-1]}],
        }  # fmt: skip
        reply = got(path)
        assert_equal((reply.status, reply.json()), (200, expected))

    def test_metadata_of_another_model(self):
        model = Scaler().model(name="größe", version="2024-01", inputs={"image": ("UINT8", (4, 6))})
        found = got("/v2/models/größe", model).json()
        assert_equal((found["name"], found["versions"]), ("größe", ["2024-01"]))
        assert_equal(found["inputs"], [{"name": "image", "datatype": "UINT8", "shape": [-1, 4, 6]}])

    # --- infer ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("path", ["/v2/models/scaler/infer", "/v2/models/scaler/versions/3/infer"])
    def test_infer(self, path):
        reply = posted(GOOD, path=path)
        expected = {"model_name": "scaler", "model_version": "3", "outputs": [Y_OUT, TOTAL_OUT]}
        assert_equal((reply.status, reply.type, reply.json()), (200, "application/json", expected))
        assert_equal("inference-header-content-length" in reply.headers, False)

    def test_what_the_model_gets(self):
        scaler = Scaler()
        posted(GOOD, scaler.model())
        (given,) = scaler.given
        assert_equal(given["x"], np.float32([[1, 2, 3], [4, 5, 6]]))
        assert_equal(given["scale"], np.int16([1, 10]))

    @pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain", "", "application/json"])
    def test_whatever_its_content_type(self, content_type):
        assert_equal(posted(GOOD, content_type=content_type).status, 200)

    @pytest.mark.parametrize("identity", ["42", "", "\ud800", "größer"])
    def test_the_id_comes_back(self, identity):
        reply = posted({**GOOD, "id": identity})
        assert_equal((reply.status, reply.json().get("id")), (200, identity))

    def test_other_keys_arent_looked_at(self):
        more = {"parameters": {"priority": 3}, "more": [None], "inputs": [{**X, "more": 1}, SCALE]}
        assert_equal(posted({**GOOD, **more}).json()["outputs"], [Y_OUT, TOTAL_OUT])

    @pytest.mark.parametrize("wanted", [["total"], ["y"], ["total", "y"], ["y", "total"]])
    def test_the_outputs_that_are_asked_for_in_their_order(self, wanted):
        reply = posted({**GOOD, "outputs": [{"name": name} for name in wanted]})
        assert_equal([output["name"] for output in reply.json()["outputs"]], wanted)

    def test_an_empty_list_of_outputs(self):
        assert_equal(posted({**GOOD, "outputs": []}).json().get("outputs"), [Y_OUT, TOTAL_OUT])

    def test_binary_inputs(self):
        x, xs = in_binary("x", "FP32", [[1, 2, 3], [4, 5, 6]])
        s, ss = in_binary("scale", "INT16", [1, 10])
        text = body_of(s, x)
        reply = posted(
            text + ss + xs, inference_header_content_length=len(text), content_type="application/octet-stream"
        )
        assert_equal((reply.status, reply.json().get("outputs")), (200, [Y_OUT, TOTAL_OUT]))

    @pytest.mark.parametrize(
        ("default", "asked", "binary"),
        [
            (True, [], ["y", "total"]),
            (False, [], []),
            (None, [("y", True), ("total", None)], ["y"]),
            (None, [("total", True), ("y", True)], ["total", "y"]),
            (None, [("total", False), ("y", True)], ["y"]),
            (True, [("total", None), ("y", False)], ["total"]),
            (False, [("y", True)], ["y"]),
        ],
    )
    def test_binary_outputs(self, default, asked, binary):
        outputs = [{"name": n} if b is None else {"name": n, "parameters": {"binary_data": b}} for n, b in asked]
        content = {**GOOD, "outputs": outputs, "id": "größer"}
        reply = posted(content if default is None else {**content, "parameters": {"binary_data_output": default}})
        raws = {"y": np.float32([2, 4, 6, 8, 10, 12]).tobytes(), "total": np.array([6.0, 150.0]).tobytes()}
        length = int(reply.headers.get("inference-header-content-length", len(reply.body)))
        found = Reply(reply.status, [], reply.body[:length]).json()
        of = {"y": Y_OUT, "total": TOTAL_OUT}
        expected = []
        for name in [name for name, _ in asked] or ["y", "total"]:
            entry = {key: value for key, value in of[name].items() if key != "data" or name not in binary}
            expected.append({**entry, "parameters": {"binary_data_size": len(raws[name])}} if name in binary else entry)
        assert_equal(found.get("outputs"), expected)
        assert_equal(reply.body[length:], b"".join(raws[name] for name in binary))
        assert_equal(reply.type, "application/octet-stream" if binary else "application/json")
        assert_equal(reply.headers.get("content-length", str(len(reply.body))), str(len(reply.body)))

    # --- what is wrong about a request ---------------------------------------------------------------

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"id": "\xe9"}', b"[" * 100_000, b"{}"],
        ids=lambda b: repr(b[:9]),
    )
    def test_no_request_at_all(self, body):
        assert_equal(posted(body).error(), (400, "error"))

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            ({"inputs": [X, {**SCALE, "datatype": "INT17"}]}, "INT17"),
            ({"inputs": [X, {**SCALE, "name": "mask"}]}, "mask"),
            ({"inputs": [X]}, "scale"),
            ({"inputs": [{**X, "shape": [2, 4]}, SCALE]}, "x"),
            ({"inputs": [{**X, "datatype": "FP64"}, SCALE]}, "FP32"),
            ({"inputs": [X, X, SCALE]}, "x"),
            ({**GOOD, "outputs": [{"name": "y"}, {"name": "logits"}]}, "logits"),
        ],
    )
    def test_the_error_names_what_is_wrong(self, content, named):
        reply = posted(content)
        assert_equal(reply.error(), (400, "error"))
        assert_equal((named, named in reply.json()["error"]), (named, True))

    @pytest.mark.parametrize(
        "changes",
        [
            {"id": 7}, {"id": ["7"]}, {"id": {}}, {"parameters": 3}, {"parameters": [1]}, {"outputs": 3}, {"outputs": "y"},
            {"outputs": {"name": "y"}}, {"outputs": ["y"]}, {"outputs": [{}]}, {"outputs": [{"name": 3}]}, {"outputs": [None]},
            {"outputs": [{"name": ["y"]}]}, {"outputs": [{"name": "y", "parameters": 3}]},
            {"outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}]},
            {"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, {"parameters": {"binary_data_output": "true"}},
            {"parameters": {"binary_data_output": 0}}, {"inputs": {"x": X}}, {"inputs": [X, [SCALE]]},
            {"inputs": [{**X, "data": [1, 2, 3, 4, 5, 10**400]}, SCALE]}, {"inputs": [{**X, "shape": [-2, -3]}, SCALE]},
        ],
        ids=lambda changes: json.dumps(changes)[:50],
    )  # fmt: skip
    def test_another_type(self, changes):
        assert_equal(posted({**GOOD, **changes}).error(), (400, "error"))

    @pytest.mark.parametrize("length", ["abc", "", "-1", "1e2", "10.5", "100000", "²"])
    def test_a_length_of_json_that_is_none(self, length):
        assert_equal(posted(GOOD, inference_header_content_length=length).error(), (400, "error"))

    @pytest.mark.parametrize("where", ["name", "datatype", "output"])
    def test_half_a_pair_of_surrogates_in_an_error(self, where):
        content = {"inputs": [X, SCALE]}
        if where == "output":
            content["outputs"] = [{"name": "\ud800"}]
        else:
            content["inputs"] = [X, {**SCALE, where: "\ud800"}]
        assert_equal(posted(content).error(), (400, "error"))

    def test_anything_in_place_of_anything_is_400_or_200(self):
        values = [None, True, -1, 10**400, 2.5, "", "x", "\ud800", [], {}, [[]], [None] * 3, {"name": "x"}, "FP32"]
        good = {
            **GOOD,
            "id": "1",
            "parameters": {"binary_data_output": False},
            "outputs": [{"name": "y", "parameters": {}}],
        }

        def places(value, path=()):
            yield path
            inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for key, one in inner:
                yield from places(one, (*path, key))

        def changed(path, new):
            copy = json.loads(json.dumps(good))
            at = copy
            for key in path[:-1]:
                at = at[key]
            if path:
                at[path[-1]] = new
            return copy if path else new

        everywhere = list(places(good))
        contents = [changed(random.choice(everywhere), random.choice(values)) for _ in range(80)]

        async def asks(client):
            for content in contents:
                reply = await client.post("/v2/models/scaler/infer", content)
                if reply.status != 200 and reply.error() != (400, "error"):
                    fail(f"{json.dumps(content)} gives {reply.error()}", evidence=(reply.status,))

        served(asks)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v2/models/other"), ("GET", "/v2/models/other/ready"), ("POST", "/v2/models/other/infer"),
            ("GET", "/v2/models/Scaler"), ("POST", "/v1/models/other:predict"), ("GET", "/v2/models/scaler/versions/4"),
            ("GET", "/v2/models/scaler/versions/4/ready"), ("POST", "/v2/models/scaler/versions/4/infer"),
            ("GET", "/v2/models/other/versions/3"), ("POST", "/v2/models/other/versions/3/infer"), ("GET", "/"),
            ("GET", "/v3"), ("GET", "/v2/models/scaler/nothing"), ("POST", "/v1/models/scaler"), ("GET", "/v2/health"),
            ("POST", "/v2/models/scaler/versions/3.0/infer"), ("POST", "/v1/models/scaler:infer"),
        ],
    )  # fmt: skip
    def test_nothing_there(self, method, path):
        content = INSTANCES if path.startswith("/v1") else GOOD
        reply = served(lambda c: c.post(path, content) if method == "POST" else c.get(path))
        assert_equal(reply.error(), (404, "error"))

    @pytest.mark.parametrize(
        ("method", "path", "right"),
        [
            ("POST", "/v2", "GET"), ("DELETE", "/v2/health/live", "GET"), ("PUT", "/v2/health/ready", "GET"),
            ("GET", "/v2/models/scaler/infer", "POST"), ("PUT", "/v2/models/scaler/versions/3/infer", "POST"),
            ("GET", "/v1/models/scaler:predict", "POST"), ("PATCH", "/v2/models/scaler", "GET"),
            ("POST", "/v2/models/scaler/ready", "GET"),
        ],
    )  # fmt: skip
    def test_another_method(self, method, path, right):
        reply = got(path, method=method)
        assert_equal(reply.error(), (405, "error"))
        assert_equal(right in re.split(r"\s*,\s*", reply.headers.get("allow", "")), True)

    # --- what goes wrong inside ----------------------------------------------------------------------

    @pytest.mark.parametrize("path", ["/v2/models/scaler/infer", ONE])
    @pytest.mark.parametrize("error", [ValueError("hunter2"), KeyError("hunter2"), RuntimeError("hunter2")], ids=repr)
    def test_an_error_of_the_model(self, path, error):
        scaler = Scaler()

        def answer(inputs):
            raise error

        scaler.answer = answer
        reply = posted(INSTANCES if path == ONE else GOOD, scaler.model(), path)
        assert_equal(reply.error(), (500, "error"))
        assert_equal(b"hunter2" in reply.body, False)

    def test_it_goes_on_after_an_error(self):
        scaler = Scaler()

        async def asks(client):
            scaler.answer = lambda inputs: 1 / 0
            first = await client.post("/v2/models/scaler/infer", GOOD)
            del scaler.answer
            second = await client.post("/v2/models/scaler/infer", GOOD)
            return first.status, second.status, (await client.get("/v2/health/ready")).status

        assert_equal(served(asks, scaler.model()), (500, 200, 200))

    @pytest.mark.parametrize("path", ["/v2/models/scaler/infer", ONE])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_json_has_no_word_for(self, path, value):
        scaler = Scaler()
        scaler.answer = lambda inputs: {"y": np.full((2, 3), value, np.float32), "total": np.zeros(2)}
        assert_equal(posted(INSTANCES if path == ONE else GOOD, scaler.model(), path).error(), (500, "error"))

    def test_but_bytes_have(self):
        scaler = Scaler()
        scaler.answer = lambda inputs: {"y": np.full((2, 3), np.nan, np.float32), "total": np.zeros(2)}
        reply = posted({**GOOD, "parameters": {"binary_data_output": True}}, scaler.model())
        length = int(reply.headers["inference-header-content-length"])
        found = np.frombuffer(reply.body[length : length + 24], "<f4")
        assert_equal((reply.status, np.isnan(found).all()), (200, True))

    # --- predict, version 1 --------------------------------------------------------------------------

    def test_predict(self):
        reply = posted(INSTANCES, path=ONE)
        assert_equal((reply.status, reply.type, reply.json()), (200, "application/json", PREDICTIONS))

    def test_predict_gives_the_model_its_datatypes(self):
        scaler = Scaler()
        posted(INSTANCES, scaler.model(), ONE)
        (given,) = scaler.given
        assert_equal(given["x"], np.float32([[1, 2, 3], [4, 5, 6]]))
        assert_equal(given["scale"], np.int16([1, 10]))

    def test_predict_one(self):
        assert_equal(
            posted({"instances": INSTANCES["instances"][:1]}, path=ONE).json(),
            {"predictions": PREDICTIONS["predictions"][:1]},
        )

    def test_predict_with_rows_of_two_axes(self):
        async def predict(inputs):
            return {"same": inputs["image"], "flag": inputs["image"].sum(axis=(1, 2)) > 10}

        outputs = {"same": ("INT32", (2, 3)), "flag": ("BOOL", ())}
        model = Scaler().model(inputs={"image": ("INT32", (2, 3))}, outputs=outputs, predict=predict)
        images = [[[1, 2, 3], [4, 5, 6]], [[1, 1, 1], [0, 0, -1]]]
        reply = posted({"instances": [{"image": image} for image in images]}, model, ONE)
        expected = [{"same": images[0], "flag": True}, {"same": images[1], "flag": False}]
        assert_equal(reply.json(), {"predictions": expected})

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"{", b"[]", b"\xff", b"[" * 100_000, {}, {"instances": []}, {"instances": None}, {"instances": {}},
            {"instances": "x"}, {"instances": 3}, {"instances": True}, {"instances": [3]}, {"instances": [[1, 2, 3]]}, {"instances": [None]}, {"instances": [{}]},
            {"instances": [{"x": [1, 2, 3]}]}, {"instances": [{"x": [1, 2, 3], "scale": 1, "more": 2}]},
            {"instances": [{"x": [1, 2, 3], "scale": 1}, {"x": [1, 2, 3]}]}, {"instances": [{"x": [1, 2], "scale": 1}]},
            {"instances": [{"x": [1, 2, 3, 4], "scale": 1}]}, {"instances": [{"x": [1, 2, "3"], "scale": 1}]},
            {"instances": [{"x": [1, 2, None], "scale": 1}]}, {"instances": [{"x": [1, 2, 3], "scale": 40000}]},
            {"instances": [{"x": [1, 2, 1e39], "scale": 1}]}, {"instances": [{"x": [1, 2, 10**400], "scale": 1}]},
            {"instances": [{"x": [1, 2, True], "scale": 1}]}, {"instances": [{"x": [1, 2, 3], "scale": True}]},
            {"instances": [{"x": [1, 2, 3], "scale": "1"}]}, {"instances": [{"x": {"0": 1}, "scale": 1}]},
            {"instances": [{"x": [1, 2, 3], "scale": [1, 2]}]},
        ],
        ids=lambda content: json.dumps(content)[:60] if isinstance(content, dict) else repr(content[:9]),
    )  # fmt: skip
    def test_predict_refuses(self, content):
        assert_equal(posted(content, path=ONE).error(), (400, "error"))

    @pytest.mark.parametrize(("shape", "right", "wrong"), [((1,), [5], 5), ((2, 2), [[1, 2], [3, 4]], [1, 2, 3, 4])])
    def test_a_row_is_nested_as_its_shape_says(self, shape, right, wrong):
        async def predict(inputs):
            return {"same": inputs["x"]}

        model = Scaler().model(inputs={"x": ("INT32", shape)}, outputs={"same": ("INT32", shape)}, predict=predict)
        assert_equal(posted({"instances": [{"x": right}]}, model, ONE).json(), {"predictions": [{"same": right}]})
        assert_equal(posted({"instances": [{"x": wrong}]}, model, ONE).error(), (400, "error"))

    @pytest.mark.parametrize("key", ["signature_name", "Instances"])
    def test_predict_names_another_key(self, key):
        reply = posted({**INSTANCES, key: "x"}, path=ONE)
        assert_equal(reply.error(), (400, "error"))
        assert_equal((key, key in reply.json()["error"]), (key, True))

    def test_predict_with_another_key_that_is_half_a_pair_of_surrogates(self):
        assert_equal(posted({**INSTANCES, "\ud800": "x"}, path=ONE).error(), (400, "error"))

    # --- from startup to shutdown --------------------------------------------------------------------

    def test_alive_while_it_loads_but_not_ready(self):
        async def run():
            loaded = asyncio.Event()
            async with asyncio.timeout(20), Client(rest_api(Scaler().model(load=loaded.wait)), 3.0) as client:
                paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/scaler/ready", "/v2/models/scaler", "/v2")
                before = [await client.get(path) for path in paths]
                infer = [await client.post("/v2/models/scaler/infer", GOOD), await client.post(ONE, INSTANCES)]
                loaded.set()
                await client.ready()
                after = await client.post("/v2/models/scaler/infer", GOOD)
                statuses = [reply.status for reply in [*before, *infer, after]]
                return statuses, before[1].json(), before[2].json(), [reply.error() for reply in infer]

        statuses, server, model, errors = asyncio.run(run())
        assert_equal(statuses, [200, 503, 503, 200, 200, 503, 503, 200])
        assert_equal((server, model, errors), ({"ready": False}, {"ready": False}, [(503, "error")] * 2))

    def test_a_model_that_cant_be_loaded(self):
        async def load():
            raise OSError("no weights there")

        async def run():
            async with asyncio.timeout(20), Client(rest_api(Scaler().model(load=load))) as client:
                for _ in range(20):
                    await asyncio.sleep(0)
                replies = [await client.get("/v2/health/live"), await client.get("/v2/health/ready")]
                return [reply.status for reply in [*replies, await client.post("/v2/models/scaler/infer", GOOD)]]

        assert_equal(asyncio.run(run()), [200, 503, 503])

    def test_it_is_loaded_and_closed_once(self):
        scaler = Scaler()
        served(lambda client: client.post("/v2/models/scaler/infer", GOOD), scaler.model())
        assert_equal(scaler.calls, ["load", "predict", "close"])

    def test_shutdown_waits_for_the_last_answer(self):
        scaler = Scaler()
        begun, go = [], None

        async def predict(inputs):
            begun.append(1)
            await go.wait()
            scaler.tell("answer")
            return scaler.answer(inputs)

        async def run():
            nonlocal go
            go = asyncio.Event()
            async with asyncio.timeout(20), Client(rest_api(scaler.model(predict=predict))) as client:
                await client.ready()
                calls = [
                    asyncio.ensure_future(client.post("/v2/models/scaler/infer", GOOD)),
                    asyncio.ensure_future(client.post(ONE, INSTANCES)),
                ]
                while len(begun) < 2:
                    await asyncio.sleep(0.001)
                end = asyncio.ensure_future(client.shutdown())
                for _ in range(20):
                    await asyncio.sleep(0)
                late = [await client.get("/v2/health/live"), await client.get("/v2/health/ready")]
                late.append(await client.post("/v2/models/scaler/infer", GOOD))
                early = end.done()
                go.set()
                replies = [await call for call in calls]
                await end
                return [r.status for r in late], early, [r.status for r in replies], scaler.calls

        expected = ([200, 503, 503], False, [200, 200], ["load", "answer", "answer", "close"])
        assert_equal(asyncio.run(run()), expected)

    def test_of_40_at_once_none_is_lost_or_crossed(self):
        order = list(range(40))
        random.shuffle(order)

        async def predict(inputs):
            for _ in range(order[int(inputs["x"][0, 0])]):
                await asyncio.sleep(0)
            return Scaler().answer(inputs)

        async def asks(client):
            def content(i):
                return {
                    "id": str(i),
                    "inputs": [{**X, "shape": [1, 3], "data": [i, 0, 0]}, {**SCALE, "shape": [1], "data": [1]}],
                }

            replies = await asyncio.gather(*(client.post("/v2/models/scaler/infer", content(i)) for i in range(40)))
            return [(reply.json()["id"], reply.json()["outputs"][0]["data"][0]) for reply in replies]

        found = served(asks, Scaler().model(predict=predict))
        assert_equal(found, [(str(i), 2.0 * i) for i in range(40)])

    def test_two_apps_side_by_side(self):
        async def run():
            one, two = Scaler().model(), Scaler().model(name="other", version="9")
            async with asyncio.timeout(20), Client(rest_api(one)) as first, Client(rest_api(two)) as second:
                await first.ready()
                await second.ready()
                paths = "/v2/models/scaler", "/v2/models/other"
                return [(await client.get(path)).status for client in (first, second) for path in paths]

        assert_equal(asyncio.run(run()), [200, 404, 404, 200])

    # --- its document --------------------------------------------------------------------------------

    def test_the_document_has_every_path_and_status(self):
        reply = got("/openapi.json")
        found = reply.json()
        assert_equal((reply.status, str(found.get("openapi"))[:2]), (200, "3."))
        documented = {}
        for path, methods in found["paths"].items():
            for method, about in methods.items():
                documented[method, re.sub(r"{[^}]*}", "{}", path)] = about
        missing = {
            f"{method.upper()} {path}": sorted(set(statuses.split()) - set(documented.get((method, path), {}).get("responses", {})))
            for (method, path), statuses in TABLE.items()
        }  # fmt: skip
        assert_equal({path: statuses for path, statuses in missing.items() if statuses}, {})
        bodies = [
            path for (method, path), about in documented.items() if method == "post" and "requestBody" not in about
        ]
        assert_equal(bodies, [])

    # --- real servers --------------------------------------------------------------------------------

    @pytest.mark.deadline(60)
    def test_schemathesis_finds_no_500_and_no_undocumented_status(self):
        schemathesis = pytest.importorskip("schemathesis", reason=NEEDS)
        import requests
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis import strategies as st

        quiet = settings(
            database=None, deadline=None, derandomize=True,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip

        def judged(operation, documented, ask):
            @settings(quiet, max_examples=10 if operation.method == "post" else 4)
            @given(case=operation.as_strategy(), known=st.booleans())
            def every_case(case, known):
                if known and case.path_parameters:
                    case.path_parameters = dict(zip(case.path_parameters, ("scaler", "3"), strict=False))
                sent = requests.Request(**case.as_transport_kwargs(base_url="http://test")).prepare()
                body = sent.body or b""
                status = ask(sent.method, sent.path_url, body if isinstance(body, bytes) else body.encode()).status
                about = (operation.method.upper(), operation.path, status)
                if status >= 500:
                    fail(f"{about[0]} {sent.path_url} with the body {body[:200]!r} gives {status}", evidence=about)
                if str(status) not in documented:
                    fail(f"{about[0]} {about[1]} gives {status}, which isn't documented", evidence=about)

            every_case()

        with asyncio.Runner() as runner:
            client = Client(rest_api(Scaler().model()))
            runner.run(client.__aenter__())
            runner.run(client.ready())
            document = runner.run(client.get("/openapi.json")).json()
            for found in schemathesis.openapi.from_dict(document).get_all_operations():
                operation = found.ok()
                if "versions" not in operation.path:  # the same handlers, as the other tests see
                    documented = set(document["paths"][operation.path][operation.method]["responses"])
                    judged(operation, documented, lambda *request: runner.run(client.ask(*request)))
            runner.run(client.__aexit__(None, None, None))

    @pytest.mark.deadline(40)
    def test_tritonclient_reads_it(self, serve):
        # Looked for, not imported: it brings gevent, which doesn't bear that a process forks.
        if find_spec("tritonclient") is None:
            pytest.skip(NEEDS)
        with serve(rest_api(Scaler().model()), ready="/v2/health/ready") as server:
            run = subprocess.run(
                [sys.executable, "-c", TRITON, str(server.port)],
                capture_output=True,
                text=True,
                timeout=35,
                check=False,
            )
        if run.returncode:
            fail(f"tritonclient doesn't understand it: {run.stderr.strip().splitlines()[-1]}", evidence=("no answer",))
        told = json.loads(run.stdout)
        assert_equal((told["alive"], told["versions"]), ([True, True, True, True, False], ["3"]))
        expected = {
            "y": ["float32", [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]],
            "total": ["float64", [6.0, 150.0]],
            "id": "7",
        }
        assert_equal(told["answers"], [expected] * 4)
        assert_equal("mask" in told["refused"], True)

    @pytest.mark.deadline(40)
    def test_a_request_that_runs_at_sigterm_is_answered(self, serve):
        scaler = Scaler(serve.note)

        async def predict(inputs):
            scaler.tell("begun")
            await asyncio.sleep(0.5)
            scaler.tell("answer")
            return scaler.answer(inputs)

        replies = []
        with serve(rest_api(scaler.model(predict=predict)), ready="/v2/health/ready") as server:
            caller = threading.Thread(
                target=lambda: replies.append(server.client.post("/v2/models/scaler/infer", json=GOOD).json())
            )
            caller.start()
            server.wait_for_notes(2)
            server.signal(signal.SIGTERM)
            caller.join(15)
            assert_equal([reply["outputs"] for reply in replies], [[Y_OUT, TOTAL_OUT]])
            server.ended(15)
            assert_equal((server.notes(), server.status), (["load", "begun", "answer", "close"], 0))
