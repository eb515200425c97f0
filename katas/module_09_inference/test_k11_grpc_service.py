"""Judges k11_grpc_service with protoc's own classes, and with real gRPC clients and servers on loopback."""

from __future__ import annotations

import builtins
import contextlib
import functools
import random
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dojo.testing import assert_equal, from_scratch, pure, raises

NEEDS = "needs the extra `serving`: pip install -c constraints.txt -e '.[serving]'"
grpc = pytest.importorskip("grpc", reason=NEEDS)
pytest.importorskip("grpc_tools", reason=NEEDS)

from katas.module_09_inference.k11_grpc_service import (  # noqa: E402
    SCALARS,
    SCHEMA,
    Busy,
    Client,
    error_of,
    handlers,
    messages,
    serve,
    status_of,
)

pytestmark = [from_scratch("grpc_tools"), pure("handlers", "serve", "Client"), pytest.mark.deadline(120)]

PROTO = """
message Text { string text = 1; }
message Label { string label = 1; double score = 2; }
message Prompt { string text = 1; uint32 most = 2; }
message Token { string text = 1; uint32 index = 2; }
message Example { string text = 1; string label = 2; }
message Summary { uint32 number = 1; uint32 right = 2; repeated Example wrong = 3; }
"""
PATIENCE = 10.0
"""Seconds that something may take that takes a moment on a quiet machine.  Right answers never wait so long."""

Code = grpc.StatusCode


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """gRPC would send calls to 127.0.0.1 through a proxy of the surroundings."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@functools.cache
def compiled(text: str, package: str = "dojo") -> dict:
    """What protoc makes of a schema: {name: class}."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "it.proto").write_text(f'syntax = "proto3"; package {package};\n{text}')
        if protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={folder}/set", "it.proto"]):
            raise RuntimeError(f"protoc refuses {text}")
        files = descriptor_pb2.FileDescriptorSet.FromString((Path(folder) / "set").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(files.file[0].SerializeToString())
    names = [message.name for message in files.file[0].message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in names}


def outline(made) -> list:
    """What there is to know about a class of messages."""
    kinds = []
    for field in made.DESCRIPTOR.fields:
        kinds.append(
            (
                field.name,
                field.number,
                field.type,
                field.is_repeated,
                field.message_type and field.message_type.full_name,
            )
        )
    return [made.DESCRIPTOR.full_name, kinds]


class TestMessages:
    def test_worked_by_hand(self):
        made = messages("dojo", SCHEMA)
        found = [made["Text"](text="hi").SerializeToString(), made["Label"](label="a", score=0.0).SerializeToString()]
        assert_equal(found, [bytes.fromhex("0A 02 68 69"), bytes.fromhex("0A 01 61")])

    def test_as_protoc_makes_them(self):
        found = {name: outline(made) for name, made in messages("dojo", SCHEMA).items()}
        assert_equal(found, {name: outline(made) for name, made in compiled(PROTO).items()})

    def test_nothing(self):
        assert_equal(messages("dojo", {}), {})

    def test_a_message_without_fields(self):
        made = messages("dojo", {"Empty": {}})["Empty"]
        assert_equal((made().SerializeToString(), outline(made)), (b"", ["dojo.Empty", []]))

    @pytest.mark.parametrize("package", ["a", "a.b.c"])
    def test_the_package(self, package):
        schema = {"Leaf": {"x": ("int32", 1)}, "Tree": {"leaf": ("Leaf", 1)}}
        found = [outline(made) for made in messages(package, schema).values()]
        text = "message Leaf { int32 x = 1; } message Tree { Leaf leaf = 1; }"
        assert_equal(found, [outline(made) for made in compiled(text, package).values()])

    def test_a_type_that_comes_later(self):
        made = messages("dojo", {"Tree": {"leaf": ("Leaf", 1)}, "Leaf": {"x": ("int32", 1)}})
        assert_equal(made["Tree"](leaf={"x": 5}).SerializeToString(), bytes.fromhex("0A 02 08 05"))

    def test_a_type_that_refers_to_itself(self):
        made = messages("dojo", {"Node": {"value": ("int32", 1), "below": ("repeated Node", 2)}})["Node"]
        tree = made(value=1, below=[made(value=2), made(value=3, below=[made()])])
        assert_equal(tree.SerializeToString().hex(" "), "08 01 12 02 08 02 12 04 08 03 12 00")

    def test_the_order_of_the_schema(self):
        made = messages("dojo", {"B": {"z": ("string", 9), "a": ("string", 3)}, "A": {}})
        assert_equal((list(made), [field.name for field in made["B"].DESCRIPTOR.fields]), (["B", "A"], ["z", "a"]))

    def test_two_schemas_with_the_same_names(self):
        first = messages("dojo", {"It": {"x": ("string", 1)}})["It"]
        second = messages("dojo", {"It": {"y": ("int32", 7)}})["It"]
        again = messages("dojo", {"It": {"x": ("string", 1)}})["It"]
        found = [first(x="a").SerializeToString(), second(y=1).SerializeToString(), again(x="a").SerializeToString()]
        assert_equal(found, [b"\x0a\x01a", b"\x38\x01", b"\x0a\x01a"])

    VALUES = {
        "string": ["", "é\0", "x" * 300], "bytes": [b"", b"\xff\0"], "bool": [False, True], "int32": [0, -1, 2**31 - 1, -(2**31)],
        "int64": [0, -1, 2**63 - 1, -(2**63)], "uint32": [0, 300, 2**32 - 1], "uint64": [0, 2**64 - 1], "float": [0.0, -0.0, 1.5],
        "double": [0.0, 0.1, 1e300],
    }  # fmt: skip

    @pytest.mark.parametrize("kind", SCALARS)
    def test_every_type(self, kind):
        schema = {"It": {"one": (kind, 1), "many": (f"repeated {kind}", 2)}}
        mine = messages("dojo", schema)["It"]
        theirs = compiled(f"message It {{ {kind} one = 1; repeated {kind} many = 2; }}")["It"]
        values = self.VALUES[kind]
        found = [mine(one=value, many=values).SerializeToString() for value in values]
        assert_equal(found, [theirs(one=value, many=values).SerializeToString() for value in values])

    @pytest.mark.parametrize("seed", range(6))
    def test_any_schema(self, seed):
        draw = random.Random(seed)
        names = [f"M{i}" for i in range(draw.randint(1, 4))]
        schema = {}
        for name in names:
            numbers = draw.sample([*range(1, 40), 2**29 - 1, 18999, 20000], draw.randint(0, 6))
            kinds = [draw.choice(["", "repeated "]) + draw.choice([*SCALARS, *names]) for _ in numbers]
            schema[name] = {f"f{i}": pair for i, pair in enumerate(zip(kinds, numbers, strict=True))}
        text = "\n".join(
            f"message {name} {{ {' '.join(f'{kind} {field} = {number};' for field, (kind, number) in fields.items())} }}"
            for name, fields in schema.items()
        )
        found = {name: outline(made) for name, made in messages("dojo", schema).items()}
        assert_equal(found, {name: outline(made) for name, made in compiled(text).items()})

    @pytest.mark.parametrize(
        "kind",
        [
            "text",
            "Leaf",
            "repeated",
            "repeated Leaf",
            "repeated repeated int32",
            "String",
            "",
            "int",
            "message",
            "group",
            "enum",
        ],
    )
    def test_an_unknown_type(self, kind):
        with raises(ValueError, "Tree", "leaf", kind):
            messages("dojo", {"Tree": {"leaf": (kind, 1)}})

    def test_a_number_that_stands_twice(self):
        with raises(ValueError, "Tree", 7):
            messages("dojo", {"Leaf": {"c": ("int32", 7)}, "Tree": {"a": ("int32", 7), "b": ("int32", 7)}})

    def test_the_same_number_in_two_messages(self):
        assert_equal(list(messages("dojo", {"A": {"a": ("int32", 7)}, "B": {"b": ("int32", 7)}})), ["A", "B"])


SIX = [
    ("ValueError", Code.INVALID_ARGUMENT), ("LookupError", Code.NOT_FOUND), ("PermissionError", Code.PERMISSION_DENIED),
    ("TimeoutError", Code.DEADLINE_EXCEEDED), ("Busy", Code.RESOURCE_EXHAUSTED), ("ConnectionError", Code.UNAVAILABLE),
]  # fmt: skip
CODES = [code for _, code in SIX]
TEXT = "no such thing: é"


def made(name: str) -> Exception:
    """An error by its name.  Made when a test runs: Busy belongs to the solution that is judged then."""
    kinds = {"Busy": Busy, "VeryBusy": type("VeryBusy", (Busy,), {}), "MyError": type("MyError", (LookupError,), {})}
    if name not in kinds:
        kinds[name] = getattr(builtins, name)
    return kinds[name](TEXT)


class TestStatusOf:
    @pytest.mark.parametrize(("name", "code"), SIX)
    def test_the_six(self, name, code):
        assert_equal(status_of(made(name)), (code, TEXT))

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("IndexError", Code.NOT_FOUND), ("MyError", Code.NOT_FOUND), ("UnicodeError", Code.INVALID_ARGUMENT),
            ("ConnectionRefusedError", Code.UNAVAILABLE), ("BrokenPipeError", Code.UNAVAILABLE), ("VeryBusy", Code.RESOURCE_EXHAUSTED),
        ],
    )  # fmt: skip
    def test_subclasses(self, name, code):
        assert_equal(status_of(made(name)), (code, TEXT))

    @pytest.mark.parametrize("error", [KeyError("x"), PermissionError(13, "x", "a.txt"), UnicodeEncodeError("ascii", "é", 0, 1, "x"), ValueError()])  # fmt: skip
    def test_the_details_are_str(self, error):
        assert_equal(status_of(error)[1], str(error))

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("password 123"), Exception("password 123"), OSError("password 123"), FileNotFoundError(2, "password"),
            MemoryError(), TypeError("password 123"), AttributeError("password"), ZeroDivisionError("password"), InterruptedError("password"),
        ],
    )  # fmt: skip
    def test_others_stay_here(self, error):
        assert_equal(status_of(error), (Code.INTERNAL, "internal error"))


class TestErrorOf:
    @pytest.mark.parametrize(("name", "code"), SIX)
    def test_the_six(self, name, code):
        found = error_of(code, TEXT)
        assert_equal((type(found).__name__, str(found)), (name, TEXT))

    @pytest.mark.parametrize("code", sorted(set(Code) - {Code.OK, *CODES}, key=str), ids=lambda code: code.name)
    def test_every_other(self, code):
        found = error_of(code, "the details")
        words = (code.name in str(found), "the details" in str(found))
        assert_equal((type(found).__name__, words), ("RuntimeError", (True, True)))

    @pytest.mark.parametrize("details", ["", "%s {} é"])
    def test_any_details(self, details):
        assert_equal([str(error_of(code, details)) for code in CODES], [details] * 6)


def expected(name: str) -> tuple[str, str]:
    """The code and the details that a client sees of an error."""
    codes = {**dict(SIX), "IndexError": Code.NOT_FOUND}
    return (codes[name].name, TEXT) if name in codes else ("INTERNAL", "internal error")


class Model:
    """A model that notes its calls.  generate gives the words of a text; error: a text that begins with "!" raises."""

    def __init__(self, error: Exception | None = None):
        self.error, self.left, self.texts, self.asked, self.ends = error, [], [], 0, []
        self.closed, self.stop = threading.Event(), None

    def classify(self, text, left):
        self.texts.append(text)
        self.left.append(left)
        if text.startswith("!"):
            raise self.error
        return ("good" if "fine" in text else "bad"), len(text) / 7

    def generate(self, text, left, stop):
        self.left.append(left)
        self.stop = stop
        try:
            for word in text.split():
                self.asked += 1
                if word.startswith("!"):
                    raise self.error
                if word == "WAIT":
                    self.ends.append(stop.wait(PATIENCE))
                    word = f"stopped {self.ends[-1]}"
                yield word
        finally:
            self.closed.set()


class Raw:
    """A client that stands on gRPC alone, and on what protoc makes."""

    def __init__(self, channel):
        self.channel, self.types = channel, compiled(PROTO)

    def method(self, kind, name, request, reply):
        return kind(
            f"/dojo.Reviews/{name}",
            request_serializer=self.types[request].SerializeToString,
            response_deserializer=self.types[reply].FromString,
        )

    def classify(self, text, **options):
        method = self.method(self.channel.unary_unary, "Classify", "Text", "Label")
        return method.with_call(self.types["Text"](text=text), **{"timeout": 60, **options})

    def generate(self, text, most=0, **options):
        method = self.method(self.channel.unary_stream, "Generate", "Prompt", "Token")
        return method(self.types["Prompt"](text=text, most=most), **{"timeout": 60, **options})

    def evaluate(self, pairs, **options):
        method = self.method(self.channel.stream_unary, "Evaluate", "Example", "Summary")
        examples = (self.types["Example"](text=text, label=label) for text, label in pairs)
        return method.with_call(examples, **{"timeout": 60, **options})


@contextlib.contextmanager
def raw(model, workers=4):
    """A server of this test's own for the learner's handlers, and a client for it."""
    service = handlers(model)
    pool = ThreadPoolExecutor(workers)
    server = grpc.server(pool)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield Raw(channel)
    finally:
        channel.close()
        server.stop(0).wait()
        pool.shutdown()


def refused(call) -> tuple[str, str]:
    """The code and the details of a call that fails."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def given(call) -> tuple[list, str]:
    """The tokens of a stream, and the code that it ends with."""
    tokens = []
    try:
        for token in call:
            tokens.append((token.text, token.index))
    except grpc.RpcError as error:
        return tokens, error.code().name
    return tokens, call.code().name


def until(condition) -> bool:
    """Whether something comes true; it may take a while."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class TestHandlers:
    @pytest.mark.parametrize("text", ["fine", "awful", "", "größer \0\n" * 9])
    def test_classify(self, text):
        with raw(Model()) as client:
            reply, call = client.classify(text)
        found = (reply.label, reply.score, call.code().name)
        assert_equal(found, ("good" if text == "fine" else "bad", len(text) / 7, "OK"))

    @pytest.mark.parametrize("name", [*(name for name, _ in SIX), "IndexError", "RuntimeError"])
    def test_errors_of_classify(self, name):
        with raw(Model(made(name))) as client:
            found = refused(lambda: client.classify("!"))
            again = client.classify("fine")[0].label
        assert_equal((found, again), (expected(name), "good"))

    def test_worked_by_hand_generate(self):
        with raw(Model()) as client:
            assert_equal(given(client.generate("a b c d", 2)), ([("a", 0), ("b", 1)], "OK"))

    @pytest.mark.parametrize(("most", "number"), [(0, 4), (1, 1), (3, 3), (4, 4), (9, 4), (2**32 - 1, 4)])
    def test_generate(self, most, number):
        model = Model()
        with raw(model) as client:
            found = given(client.generate("a b é d", most))
        expected = [(word, index) for index, word in enumerate(["a", "b", "é", "d"])]
        assert_equal(found, (expected[:number], "OK"))

    @pytest.mark.parametrize("most", [1, 2, 3])
    def test_no_token_more_than_most_is_asked_for(self, most):
        model = Model()
        with raw(model) as client:
            given(client.generate("a b c d", most))
            assert_equal((model.closed.wait(PATIENCE), model.asked), (True, most))

    @pytest.mark.parametrize("most", [0, 2])
    def test_nothing_to_generate(self, most):
        with raw(Model()) as client:
            assert_equal(given(client.generate("", most)), ([], "OK"))

    def test_each_token_as_soon_as_it_is_there(self):
        model = Model()
        with raw(model) as client:
            call = client.generate("a WAIT b")
            first = next(call).text
            before = list(model.ends)
            model.stop.set()
            found = [token.text for token in call]
        # What comes after stop is set is left open.
        assert_equal((first, before, found[:1] in ([], ["stopped True"])), ("a", [], True))

    @pytest.mark.parametrize("name", [*(name for name, _ in SIX), "IndexError", "RuntimeError"])
    @pytest.mark.parametrize("text", ["!", "a b !"])
    def test_errors_of_generate(self, name, text):
        model = Model(made(name))
        with raw(model) as client:
            call = client.generate(text)
            tokens, code = given(call)
            assert_equal((tokens, code, call.details()), ([("a", 0), ("b", 1)][: len(text) // 2], *expected(name)))

    def test_two_calls_at_once(self):
        model = Model()
        with raw(model) as client:
            waiting = client.generate("a WAIT")
            first = next(waiting).text
            other = given(client.generate("x y"))
            waiting.cancel()
        assert_equal((first, other), ("a", ([("x", 0), ("y", 1)], "OK")))

    def test_a_client_that_leaves(self):
        """The model waits for stop.  If nobody sets it, it waits in vain."""
        model = Model()
        with raw(model) as client:
            call = client.generate("a WAIT b c")
            next(call)
            until(lambda: model.asked == 2)
            call.cancel()
            closed = until(lambda: model.ends and model.closed.is_set())
            assert_equal((closed, model.ends, model.asked), (True, [True], 2))

    def test_a_deadline_that_passes(self):
        model = Model()
        with raw(model) as client:
            found = given(client.generate("a WAIT b c", timeout=1.0))
            until(lambda: model.asked == 2 or model.closed.is_set())
            closed = until(lambda: model.closed.is_set())
        # On a very busy machine the second may be over before the call has arrived.
        assert_equal(
            (found[1], closed or model.asked == 0, model.ends in ([], [True])), ("DEADLINE_EXCEEDED", True, True)
        )

    def test_each_call_has_a_stop_of_its_own(self):
        model = Model()
        with raw(model) as client:
            call = client.generate("a WAIT")
            next(call)
            call.cancel()
            until(model.closed.is_set)
            assert_equal(given(client.generate("x y")), ([("x", 0), ("y", 1)], "OK"))

    @pytest.mark.parametrize(("text", "most"), [("a b", 0), ("a b c", 2), ("a !", 0)])
    def test_stop_and_close_when_it_is_over(self, text, most):
        model = Model(ValueError("x"))
        with raw(model) as client:
            given(client.generate(text, most))
            assert_equal((until(lambda: model.stop.is_set()), model.closed.wait(PATIENCE)), (True, True))

    PAIRS = (("fine", "good"), ("so fine", "bad"), ("awful", "bad"), ("hm", "good"), ("so fine", "bad"))

    @pytest.mark.parametrize("number", range(6))
    def test_evaluate(self, number):
        pairs = self.PAIRS[:number]
        with raw(Model()) as client:
            reply, _ = client.evaluate(iter(pairs))
        wrong = [pair for pair in pairs if pair in (("so fine", "bad"), ("hm", "good"))]
        found = (reply.number, reply.right, [(one.text, one.label) for one in reply.wrong])
        assert_equal(found, (number, number - len(wrong), wrong))

    def test_evaluate_works_while_examples_come(self):
        model, seen = Model(), []

        def pairs():
            for number, pair in enumerate(self.PAIRS[:3]):
                yield pair
                seen.append(until(lambda n=number: len(model.texts) == n + 1))

        with raw(model) as client:
            reply, _ = client.evaluate(pairs())
        assert_equal((reply.number, seen), (3, [True] * 3))

    @pytest.mark.parametrize("name", [*(name for name, _ in SIX), "IndexError", "RuntimeError"])
    def test_errors_of_evaluate(self, name):
        with raw(Model(made(name))) as client:
            found = refused(lambda: client.evaluate([("fine", "good"), ("!", "bad"), ("fine", "good")]))
        assert_equal(found, expected(name))

    def call(self, client, name, text="fine", **options):
        """A call of a method; returns how it ended, and its initial metadata."""
        try:
            if name == "Generate":
                call = client.generate(text, **options)
                list(call)
            else:
                call = (
                    client.classify(text, **options)
                    if name == "Classify"
                    else client.evaluate([(text, "good")], **options)
                )[1]
        except grpc.RpcError as error:
            call = error
        return call.code().name, dict(call.initial_metadata() or ())

    METHODS = ("Classify", "Generate", "Evaluate")

    @pytest.mark.parametrize("name", METHODS)
    def test_without_a_deadline(self, name):
        model = Model()
        with raw(model) as client:
            code, _ = self.call(client, name, timeout=None)
        assert_equal((code, model.left), ("OK", [None]))

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("timeout", [60, 5000])
    def test_what_is_left_of_the_deadline(self, name, timeout):
        model = Model()
        with raw(model) as client:
            code, _ = self.call(client, name, timeout=timeout)
        # Half a minute for the way there.  gRPC writes a long timeout with few digits, rounded up.
        within = [timeout - 30 < left < timeout * 1.02 + 1 for left in model.left]
        assert_equal((code, within, [type(left).__name__ for left in model.left]), ("OK", [True], ["float"]))

    def test_less_than_a_second_may_be_left(self):
        model = Model()
        with raw(model) as client:
            answered = until(lambda: self.call(client, "Classify", timeout=0.9)[0] == "OK")
        assert_equal((answered, max(model.left) < 0.95), (True, True))

    def test_what_is_left_gets_less_in_a_stream(self):
        model = Model()

        def pairs():
            yield "fine", "good"
            until(lambda: model.texts)
            time.sleep(0.5)
            yield "fine", "good"

        with raw(model) as client:
            client.evaluate(pairs())
        assert_equal((len(model.left), model.left[-1] < model.left[0] - 0.3), (2, True))

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("text", ["fine", "!"])
    def test_the_request_id_comes_back(self, name, text):
        with raw(Model(ValueError("x"))) as client:
            metadata = (("x-other", "1"), ("x-request-id", "id 7"))
            code, found = self.call(client, name, text, metadata=metadata)
        assert_equal((code, found.get("x-request-id")), ("OK" if text == "fine" else "INVALID_ARGUMENT", "id 7"))

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("text", ["fine", "!"])
    def test_a_new_request_id(self, name, text):
        with raw(Model(ValueError("x"))) as client:
            found = [self.call(client, name, text)[1].get("x-request-id") for _ in range(3)]
        assert_equal(([bool(one) for one in found], len(set(found))), ([True] * 3, 3))

    def test_the_request_id_comes_before_the_first_token(self):
        model = Model()
        with raw(model) as client:
            call = client.generate("WAIT", metadata=(("x-request-id", "id 7"),))
            found = dict(call.initial_metadata()).get("x-request-id")
            ended = list(model.ends)
            call.cancel()
        assert_equal((found, ended), ("id 7", []))

    def test_a_method_that_isnt_there(self):
        with raw(Model()) as client:
            method = client.method(client.channel.unary_unary, "Rate", "Text", "Label")
            assert_equal(refused(lambda: method(client.types["Text"](), timeout=60))[0], "UNIMPLEMENTED")

    def test_two_models(self):
        class Other(Model):
            def classify(self, text, left):
                return "other", 1.0

        with raw(Model()) as first, raw(Other()) as second:
            found = [client.classify("fine")[0].label for client in (first, second, first)]
        assert_equal(found, ["good", "other", "good"])


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.closing(socket.socket()) as one:
        one.settimeout(PATIENCE)
        return one.connect_ex((host, int(port))) == 0


@contextlib.contextmanager
def connected(address):
    with contextlib.closing(grpc.insecure_channel(address)) as channel:
        yield Raw(channel)


class TestServe:
    def test_it_answers(self):
        with serve(Model()) as address, connected(address) as client:
            found = (
                client.classify("fine")[0].label,
                given(client.generate("a b", 1)),
                client.evaluate([("x", "bad")])[0].right,
            )
        assert_equal((address.startswith("127.0.0.1:"), found), (True, ("good", ([("a", 0)], "OK"), 1)))

    def test_two_at_once(self):
        with serve(Model()) as first, serve(Model()) as second:
            assert_equal((first != second, listens(first), listens(second)), (True, True, True))

    def test_after_the_block(self):
        with serve(Model()) as address, connected(address) as client:
            client.classify("fine")
            before = listens(address)
        assert_equal((before, until(lambda: not listens(address))), (True, True))

    def test_an_error_in_the_block(self):
        with raises(ZeroDivisionError), serve(Model()) as address:
            raise ZeroDivisionError("in the block")
        assert_equal(until(lambda: not listens(address)), True)

    def test_no_thread_is_left(self):
        before = set(threading.enumerate())
        with serve(Model()) as address, connected(address) as client:
            client.classify("fine")
            given(client.generate("a b"))
        left = lambda: [one for one in threading.enumerate() if one not in before and one.is_alive()]  # noqa: E731
        assert_equal((until(lambda: not left()), len(left())), (True, 0))

    @pytest.mark.parametrize("workers", [1, 3])
    def test_so_many_at_a_time(self, workers):
        """All but one of the workers wait in a call; the last one answers."""
        models = Model()
        with serve(models, workers) as address, connected(address) as client:
            calls = [client.generate("a WAIT") for _ in range(workers - 1)]
            for call in calls:
                next(call)
            found = client.classify("fine")[0].label
            for call in calls:
                call.cancel()
        assert_equal(found, "good")

    def test_no_more_than_so_many(self):
        """The only worker waits in a call, so another call isn't begun before that one is over."""
        model = Model()
        with serve(model, 1) as address, connected(address) as client:
            call = client.generate("a WAIT")
            next(call)
            until(lambda: model.asked == 2)
            other = client.method(client.channel.unary_unary, "Classify", "Text", "Label").future(
                client.types["Text"](text="fine"), timeout=60
            )
            time.sleep(0.3)
            before = list(model.texts)
            call.cancel()
            found = other.result().label
        assert_equal((before, found), ([], "good"))

    def test_a_running_call_may_end(self):
        """The block's end waits for the call, which is let go when the server takes no new ones."""
        begun, let_go = threading.Event(), threading.Event()

        class Slow(Model):
            def classify(self, text, left):
                begun.set()
                return ("good" if let_go.wait(PATIENCE) else "waited in vain"), 1.0

        def refuses(address):
            with connected(address) as client:
                return refused(lambda: list(client.generate("x")))[0] == "UNAVAILABLE"

        with ThreadPoolExecutor(2) as threads, contextlib.ExitStack() as stack:
            with serve(Slow(), grace=2 * PATIENCE) as address:
                client = stack.enter_context(connected(address))
                answer = threads.submit(lambda: client.classify("x")[0].label)
                begun.wait(PATIENCE)
                threads.submit(lambda: (until(lambda: refuses(address)), let_go.set()))
            assert_equal(outcome(answer), "good")

    def test_what_doesnt_end_is_cancelled(self):
        model = Model()
        with contextlib.ExitStack() as stack:
            with serve(model, grace=0.2) as address:
                call = stack.enter_context(connected(address)).generate("a WAIT")
                next(call)
                until(lambda: model.asked == 2)
            # Here the call is over, and so is the model's work.
            assert_equal((model.ends, model.closed.is_set()), ([True], True))
            assert_equal(given(call)[1] != "OK", True)

    def test_grace_is_as_long_as_it_says(self):
        """Five seconds, the default, would be too long; a busy machine has three tries."""

        def seconds():
            with contextlib.ExitStack() as stack:
                with serve(Model(), grace=0.1) as address:
                    call = stack.enter_context(connected(address)).generate("a WAIT")
                    next(call)
                    begin = time.monotonic()
                return time.monotonic() - begin

        assert_equal(any(seconds() < 4 for _ in range(3)), True)

    def test_the_block_waits_for_a_model_that_takes_its_time(self):
        class Late(Model):
            def generate(self, text, left, stop):
                try:
                    yield "a"
                    stop.wait(PATIENCE)
                finally:
                    time.sleep(0.5)
                    self.closed.set()

        model = Late()
        with contextlib.ExitStack() as stack:
            with serve(model, grace=0.2) as address:
                call = stack.enter_context(connected(address)).generate("a")
                next(call)
            assert_equal(model.closed.is_set(), True)


class Fake:
    """A server of this test's own, on what protoc makes: what a method does is a function of request and context."""

    def __init__(self, **behaviour):
        self.types, self.behaviour = compiled(PROTO), behaviour
        self.requests, self.metadata, self.left, self.over = [], [], [], threading.Event()

    def handler(self, kind, name, request, reply):
        def begin(requests, context):
            self.metadata.append(dict(context.invocation_metadata()))
            self.left.append(context.time_remaining())
            if not context.add_callback(self.over.set):
                self.over.set()

        def one(given, context):
            begin(given, context)
            if request != "Example":
                self.requests.append(given)
            return self.types[reply](**self.behaviour[name](given, context))

        def many(given, context):
            begin(given, context)
            self.requests.append(given)
            for index, text in enumerate(self.behaviour[name](given, context)):
                yield self.types[reply](text=text, index=index)

        return kind(
            many if name == "Generate" else one,
            request_deserializer=self.types[request].FromString,
            response_serializer=self.types[reply].SerializeToString,
        )

    def __enter__(self):
        methods = {
            "Classify": self.handler(grpc.unary_unary_rpc_method_handler, "Classify", "Text", "Label"),
            "Generate": self.handler(grpc.unary_stream_rpc_method_handler, "Generate", "Prompt", "Token"),
            "Evaluate": self.handler(grpc.stream_unary_rpc_method_handler, "Evaluate", "Example", "Summary"),
        }
        self.pool = ThreadPoolExecutor(4)
        self.server = grpc.server(self.pool)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("dojo.Reviews", methods),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()
        return self

    def __exit__(self, *error):
        self.server.stop(0).wait()
        self.pool.shutdown()


@contextlib.contextmanager
def client_of(address):
    with contextlib.closing(Client(address)) as client:
        yield client


def raised(call) -> tuple[str, str]:
    """The type and the text of what a call raises."""
    try:
        call()
    except grpc.RpcError:
        return "RpcError", ""
    except Exception as error:
        return type(error).__name__, str(error)
    return "nothing", ""


def plain(answer):
    """An answer in which protobuf's messages are told by their names."""
    if hasattr(answer, "DESCRIPTOR"):
        return f"a message {answer.DESCRIPTOR.full_name}"
    return type(answer)(plain(one) for one in answer) if isinstance(answer, list | tuple) else answer


class TestClient:
    def test_a_timeout_below_a_second(self):
        with serve(Model()) as address, client_of(address) as client:

            def answered():
                try:
                    return client.classify("fine", timeout=0.9)[0] == "good"
                except TimeoutError:
                    return False

            assert_equal(until(answered), True)

    def calls(self, client, name, **options):
        """A call of a method by the learner's client, with its answer in full."""
        if name == "Generate":
            return list(client.generate("fine", **options))
        return (
            client.classify("fine", **options) if name == "Classify" else client.evaluate([("fine", "good")], **options)
        )

    METHODS = ("Classify", "Generate", "Evaluate")

    @contextlib.contextmanager
    def always(self, answer):
        """A server of which all methods do the same before they answer."""

        def classify(request, context):
            answer(context)
            return {"label": "good", "score": 0.5}

        def generate(request, context):
            answer(context)
            yield "x"

        def evaluate(requests, context):
            list(requests)
            answer(context)
            return {"number": 1}

        with Fake(Classify=classify, Generate=generate, Evaluate=evaluate) as fake, client_of(fake.address) as client:
            yield fake, client

    @pytest.mark.parametrize(("label", "score"), [("good", 0.25), ("", 0.0), ("é", -1e300)])
    def test_classify(self, label, score):
        with Fake(Classify=lambda *_: {"label": label, "score": score}) as fake, client_of(fake.address) as client:
            found = plain(client.classify("größer\0"))
        assert_equal((found, [one.text for one in fake.requests]), ((label, score), ["größer\0"]))

    @pytest.mark.parametrize("tokens", [[], ["a"], ["a", "", "é"]])
    def test_generate(self, tokens):
        with Fake(Generate=lambda *_: tokens) as fake, client_of(fake.address) as client:
            found = list(client.generate("hi", 7)), list(client.generate("ho"))
        assert_equal(
            (found, [(one.text, one.most) for one in fake.requests]), ((tokens, tokens), [("hi", 7), ("ho", 0)])
        )

    def test_evaluate(self):
        pairs = [("a", "x"), ("", "é"), ("b", "")]
        seen = []

        def evaluate(requests, context):
            seen.extend((one.text, one.label) for one in requests)
            return {"number": 3, "right": 1, "wrong": [{"text": "", "label": "é"}, {"text": "b"}]}

        with Fake(Evaluate=evaluate) as fake, client_of(fake.address) as client:
            found = plain(client.evaluate(pair for pair in pairs))
        assert_equal((seen, found), (pairs, (3, 1, [("", "é"), ("b", "")])))

    def test_evaluate_sends_each_as_soon_as_it_is_there(self):
        seen, arrived = [], []

        def evaluate(requests, context):
            seen.extend(one.text for one in requests if arrived.append(one.text) is None)
            return {"number": len(seen)}

        def pairs():
            for number in range(3):
                yield f"{number}", "x"
                if not until(lambda n=number: len(arrived) == n + 1):
                    return

        with Fake(Evaluate=evaluate) as fake, client_of(fake.address) as client:
            assert_equal(client.evaluate(pairs())[0], 3)

    @pytest.mark.parametrize("pairs", [[], [("a", "b")]])
    def test_evaluate_a_list(self, pairs):
        def evaluate(requests, context):
            return {"number": len(list(requests))}

        with Fake(Evaluate=evaluate) as fake, client_of(fake.address) as client:
            assert_equal(client.evaluate(pairs), (len(pairs), 0, []))

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize(("kind", "code"), SIX)
    def test_errors(self, name, kind, code):
        with self.always(lambda context: context.abort(code, TEXT)) as (_, client):
            found = raised(lambda: self.calls(client, name))
        assert_equal(found, (kind, TEXT))

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("code", [Code.INTERNAL, Code.UNIMPLEMENTED, Code.DATA_LOSS], ids=lambda code: code.name)
    def test_other_errors(self, name, code):
        with self.always(lambda context: context.abort(code, "the details")) as (_, client):
            kind, text = raised(lambda: self.calls(client, name))
        assert_equal((kind, code.name in text, "the details" in text), ("RuntimeError", True, True))

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("timeout", [60, 5000])
    def test_the_deadline_goes_with_the_call(self, name, timeout):
        with self.always(lambda context: None) as (fake, client):
            self.calls(client, name, timeout=timeout)
        assert_equal([timeout - 30 < left < timeout * 1.02 + 1 for left in fake.left], [True])

    @pytest.mark.parametrize("name", METHODS)
    def test_no_deadline(self, name):
        with self.always(lambda context: None) as (fake, client):
            self.calls(client, name)
        assert_equal([left is None or left > 1e9 for left in fake.left], [True])

    @pytest.mark.parametrize("name", METHODS)
    def test_a_deadline_that_passes(self, name):
        with self.always(lambda context: fake.over.wait(PATIENCE)) as (fake, client):
            assert_equal(raised(lambda: self.calls(client, name, timeout=0.3))[0], "TimeoutError")

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("timeout", [0, 0.0, -1.5])
    def test_a_deadline_that_has_passed(self, name, timeout):
        with self.always(lambda context: None) as (fake, client):
            self.calls(client, name)
            found = raised(lambda: self.calls(client, name, timeout=timeout))[0]
            self.calls(client, name)
            assert_equal((found, len(fake.metadata)), ("TimeoutError", 2))

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("request_id", ["id 7", None])
    def test_the_request_id(self, name, request_id):
        with self.always(lambda context: None) as (fake, client):
            self.calls(client, name, request_id=request_id)
        assert_equal([one.get("x-request-id") for one in fake.metadata], [request_id])

    def test_each_token_as_soon_as_it_arrives(self):
        let_go = threading.Event()

        def generate(request, context):
            yield "a"
            yield "in time" if let_go.wait(PATIENCE) else "in vain"

        with Fake(Generate=generate) as fake, client_of(fake.address) as client:
            tokens = client.generate("x")
            found = [next(tokens)]
            let_go.set()
            assert_equal([*found, *tokens], ["a", "in time"])

    def test_tokens_before_an_error(self):
        def generate(request, context):
            yield "a"
            yield "b"
            context.abort(Code.RESOURCE_EXHAUSTED, "full")

        found = []
        with Fake(Generate=generate) as fake, client_of(fake.address) as client:
            error = raised(lambda: found.extend(iter(client.generate("x").__next__, "b")))
            tokens = client.generate("x")
            found = [next(tokens), next(tokens)]
            after = raised(lambda: next(tokens))
        assert_equal((error, found, after), (("nothing", ""), ["a", "b"], ("Busy", "full")))

    def waiting(self, request, context):
        yield "a"
        self.over.wait(PATIENCE)

    def test_closing_cancels_the_call(self):
        with Fake(Generate=self.waiting) as fake, client_of(fake.address) as client:
            self.over = fake.over
            tokens = client.generate("x")
            first, before = next(tokens), fake.over.is_set()
            tokens.close()
            assert_equal((first, before, fake.over.wait(PATIENCE / 2)), ("a", False, True))

    def test_leaving_the_loop_cancels_the_call(self):
        with Fake(Generate=self.waiting) as fake, client_of(fake.address) as client:
            self.over = fake.over
            for _token in client.generate("x"):
                break
            assert_equal(fake.over.wait(PATIENCE / 2), True)

    def test_nobody_is_there(self):
        with contextlib.closing(socket.socket()) as one:
            one.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{one.getsockname()[1]}"
            with client_of(address) as client:
                found = [raised(lambda name=name: self.calls(client, name))[0] for name in self.METHODS]
        assert_equal(found, ["ConnectionError"] * 3)

    def test_close(self):
        with Fake(Generate=self.waiting) as fake:
            self.over = fake.over
            client = Client(fake.address)
            tokens = client.generate("x")
            next(tokens)
            client.close()
            kind, text = raised(lambda: next(tokens))
            client.close()
            assert_equal((kind, "CANCELLED" in text, fake.over.wait(PATIENCE / 2)), ("RuntimeError", True, True))

    def test_two_clients(self):
        with self.always(lambda context: None) as (fake, first), client_of(fake.address) as second:
            first.close()
            assert_equal(plain(second.classify("x")), ("good", 0.5))

    def test_a_client_in_many_threads(self):
        def classify(request, context):
            return {"label": request.text}

        with Fake(Classify=classify) as fake, client_of(fake.address) as client, ThreadPoolExecutor(4) as threads:
            texts = [f"{i}" for i in range(60)]
            assert_equal([plain(answer)[0] for answer in threads.map(client.classify, texts)], texts)

    def test_from_the_first_service_to_the_last(self):
        """A gateway is a model that asks another service: deadlines and errors go through it."""
        model, at_the_gateway = Model(Busy("come later")), []

        class Gateway(Model):
            def classify(self, text, left):
                at_the_gateway.append(left)
                return behind.classify(text, left)

        with serve(model) as last, client_of(last) as behind, serve(Gateway()) as address, client_of(address) as client:
            answer = plain(client.classify("fine", timeout=600))
            error = raised(lambda: client.classify("!", timeout=500))
            client.classify("fine")
        order = [
            here is None if left is None else here * 1.02 + 1 > left > 400
            for here, left in zip(at_the_gateway, model.left, strict=True)
        ]
        assert_equal((answer, error, order), (("good", 4 / 7), ("Busy", "come later"), [True] * 3))


def outcome(future) -> str:
    try:
        return future.result(PATIENCE)
    except grpc.RpcError as error:
        return error.code().name
