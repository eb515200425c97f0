"""Judges k14_security by attacks, by RFC 4231's test cases, and by its rules written out."""

import gc
import hashlib
import hmac
import json
import re
import secrets
import sys
import types

import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, raises
from katas.module_09_inference.k14_security import (
    ApiKeys,
    Refused,
    TokenBucket,
    Verifier,
    message,
    read_body,
    read_json,
    sign,
)

pytestmark = from_scratch("random", "pickle")


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class refused:
    """`with refused(400, 3):` expects Refused with that status, and these words in its reason."""

    def __init__(self, status: int, *words: object) -> None:
        self.status, self.raises = status, raises(Refused, *words)

    def __enter__(self):
        self.raises.__enter__()
        return self

    def __exit__(self, *what) -> bool:
        passed = self.raises.__exit__(*what)
        if passed:
            assert_equal(self.raises.value.status, self.status)
            self.reason = str(self.raises.value)
        return passed


def outcome(function, *args):
    """What comes out, or the status of a refusal."""
    try:
        return function(*args)
    except Refused as error:
        return f"refused: {error.status}"


@pytest.fixture
def compared(monkeypatch):
    """Counts the calls of hmac.compare_digest during a function, whatever name it is called by."""
    real = hmac.compare_digest
    found = []

    def counted(one, other):
        found.append("replaced")
        return real(one, other)

    for names in (vars(hmac), vars(secrets), ApiKeys.check.__globals__):
        for name in [name for name, value in names.items() if value is real]:
            monkeypatch.setitem(names, name, counted)

    def count(function, *args) -> int:
        found.clear()
        # Where it was kept under another name before: Python tells of each call of a built-in function.
        before = sys.getprofile()
        watch = lambda frame, event, arg: found.append("built in") if event == "c_call" and arg is real else None  # noqa: E731
        sys.setprofile(watch)
        try:
            outcome(function, *args)
        finally:
            sys.setprofile(before)
        return max(found.count("replaced"), found.count("built in"))

    return count


class Chunks:
    """Chunks that count how many of them were asked for; after the last one there are endless others."""

    def __init__(self, *chunks: bytes, endless: bool = False) -> None:
        self.chunks, self.endless, self.asked = list(chunks), endless, 0

    def __iter__(self):
        return self

    def __next__(self) -> bytes:
        self.asked += 1
        if self.asked <= len(self.chunks):
            return self.chunks[self.asked - 1]
        if not self.endless or self.asked > 1000:
            raise StopIteration
        return b"more"


class TestReadBody:
    def test_the_example_worked_by_hand(self):
        assert_equal(read_body(iter([b"abc", b"defg", b"hi"]), 9), b"abcdefghi")
        chunks = Chunks(b"abc", b"defg", b"hi")
        with refused(413, 6):
            read_body(chunks, 6)
        assert_equal(chunks.asked, 2)

    @pytest.mark.parametrize("sizes", [[], [0], [5], [3, 4, 2], [1] * 20, [0, 7, 0, 2]])
    def test_at_most_so_many_bytes(self, rng, sizes):
        chunks = [rng.bytes(size) for size in sizes]
        total = sum(sizes)
        found = [outcome(read_body, iter(chunks), limit) for limit in (total - 1, total, total + 1) if limit >= 0]
        whole = b"".join(chunks)
        assert_equal(found, (["refused: 413"] if total else []) + [whole, whole])

    def test_a_list_of_chunks_stays_as_it_is(self):
        chunks = [b"ab", b"cd"]
        assert_equal((read_body(chunks, 4), read_body(chunks, 4), chunks), (b"abcd", b"abcd", [b"ab", b"cd"]))

    def test_it_stops_as_soon_as_there_is_too_much(self):
        chunks = Chunks(endless=True)
        with refused(413, 399):
            read_body(chunks, 399)
        assert_equal(chunks.asked, 100)

    def test_nothing_is_allowed(self):
        chunks = Chunks(b"", b"x", b"y")
        with refused(413, 0):
            read_body(chunks, 0)
        assert_equal((chunks.asked, read_body([], 0), read_body([b"", b""], 0)), (2, b"", b""))

    def test_bytes_come_out(self):
        assert_equal(type(read_body([b"ab", b"c"], 9)).__name__, "bytes")


def nested(depth: int, inside: str = "1") -> bytes:
    """An object with so many brackets and braces, one in the other."""
    kinds = [('{"a":', "}"), ("[", "]")]
    opened = [kinds[i % 2][0] for i in range(depth)]
    closed = [kinds[i % 2][1] for i in reversed(range(depth))]
    return ("".join(opened) + inside + "".join(closed)).encode()


class TestReadJson:
    def test_the_example_worked_by_hand(self):
        body = b'{"a": [1, {"b": "[[["}]}'
        assert_equal(read_json(body, 3), {"a": [1, {"b": "[[["}]})
        with refused(400, 2):
            read_json(body, 2)

    @pytest.mark.parametrize("depth", [1, 2, 7, 200])
    def test_up_to_the_depth(self, depth):
        whole = nested(depth)
        assert_equal(read_json(whole, depth), json.loads(whole))
        with refused(400, depth):
            read_json(nested(depth + 1), depth)

    def test_what_lies_side_by_side_isnt_deep(self):
        body = json.dumps({f"name {i}": [{}, [], {"b": [i]}] for i in range(100)}).encode()
        assert_equal(read_json(body, 4), json.loads(body))
        with refused(400, 3):
            read_json(body, 3)

    @pytest.mark.parametrize(
        "text", ["[[[[", "{{]]", '"[[[[', '[[\\"[[', "\\[[[[", '\\\\"[[[', "[[[[\\", "äß[[[[", "\n[[[[", '","[[[[']
    )
    def test_brackets_in_texts_dont_count(self, text):
        value = {text: text, "other": {"list": text}}
        assert_equal(read_json(json.dumps(value).encode(), 2), value)
        assert_equal(read_json(json.dumps(value, ensure_ascii=False).encode(), 2), value)

    @pytest.mark.parametrize("before", ['"\\\\"', '"a\\"b"', '"\\\\\\""', '"[\\\\"'])
    def test_brackets_after_texts_do(self, before):
        with refused(400, 3):
            read_json(f'{{"a": [{before}, [[1]], "end"]}}'.encode(), 3)

    @pytest.mark.parametrize("body", [b"[" * 20_000, b'{"a":' * 20_000, b'{"a": [' + b"[" * 20_000, nested(5000)])
    def test_an_attack_on_the_stack(self, body):
        with refused(400, 50):
            read_json(body, 50)

    @pytest.mark.parametrize("body", [b"[[[[ no json", b'{"a": {"b": {"c": {"d"', b'{"a" [[{{'])
    def test_too_deep_is_seen_before_the_rest(self, body):
        with refused(400, 3):
            read_json(body, 3)

    @pytest.mark.parametrize(
        "body",
        [b"", b" ", b"{", b"}", b'{"a"}', b'{"a": 1} {', b"{'a': 1}", b'{"a": 01}', b'{"a": 1,}', b'{"a": "\n"}', b'"', b"]["],
    )  # fmt: skip
    def test_what_is_no_json(self, body):
        with refused(400):
            read_json(body, 9)

    @pytest.mark.parametrize("coding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "latin-1"])
    def test_what_isnt_utf_8(self, coding):
        with refused(400):
            read_json('{"a": "ä"}'.encode(coding), 9)

    def test_texts_of_all_the_world(self):
        value = {"prompt": "Grüße, 世界 🎉", "escaped": "\u2028 \x7f"}
        assert_equal(read_json(json.dumps(value, ensure_ascii=False).encode(), 9), value)
        assert_equal(read_json(json.dumps(value).encode(), 9), value)

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1.5e400"])
    @pytest.mark.parametrize("place", ['{"a": %s}', '{"a": [{"b": [1, %s]}]}'])
    def test_numbers_that_arent_finite(self, number, place):
        with refused(400):
            read_json((place % number).encode(), 9)

    @pytest.mark.parametrize("minus", ["", "-"])
    def test_a_number_with_too_many_digits(self, minus):
        with refused(400):
            read_json(f'{{"a": {minus}{"7" * 10_000}}}'.encode(), 9)

    def test_other_numbers(self):
        value = read_json(b'{"a": 1.5, "b": -2e-3, "c": 12345678901234567890123, "d": 0, "e": 1e308, "f": true}', 9)
        expected = {"a": 1.5, "b": -0.002, "c": 12345678901234567890123, "d": 0, "e": 1e308, "f": True}
        assert_equal((value, type(value["a"]), type(value["c"])), (expected, float, int))

    @pytest.mark.parametrize(
        "body",
        [
            b'{"user": 1, "user": 2}',
            b'{"user": 1, "other": 0, "user": 1}',
            b'{"a": {"b": 1, "c": 2, "b": 3}}',
            b'{"a": [1, {"b": 1, "b": 1}]}',
            b'{"user": 1, "us\\u0065r": 2}',
        ],
    )
    def test_a_name_twice(self, body):
        with refused(400):
            read_json(body, 9)

    def test_one_name_in_two_objects(self):
        assert_equal(
            read_json(b'{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}', 9), {"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}
        )

    @pytest.mark.parametrize("body", [b"[]", b'[{"a": 1}]', b'"text"', b"1", b"1.5", b"true", b"null"])
    def test_what_is_no_object(self, body):
        with refused(400):
            read_json(body, 9)

    def test_an_empty_object(self):
        assert_equal((read_json(b"{}", 1), read_json(b' \n{ "a" : "" } ', 1)), ({}, {"a": ""}))

    def test_whatever_comes_is_read_or_refused(self, rng):
        pieces = [
            "{",
            "}",
            "[",
            "]",
            '"a"',
            '"b"',
            ":",
            ",",
            "1",
            "-",
            "e9",
            "NaN",
            "\\",
            '"',
            " ",
            "null",
            "ü",
            "\x00",
        ]
        for _ in range(400):
            body = "".join(rng.choice(pieces, rng.integers(1, 14))).encode() + rng.bytes(rng.integers(0, 2))
            found = outcome(read_json, body, 3)
            if not isinstance(found, dict):
                assert_equal((body, found), (body, "refused: 400"))


class TestTokenBucket:
    def test_the_example_worked_by_hand(self):
        clock = Clock()
        bucket, found = TokenBucket(2, 5, clock), []
        for clock.now, amount in [(0, 4), (0.5, 4), (1.5, 4), (60, 5), (60, 1)]:
            found.append(bucket.take(amount))
        assert_close(found, [0.0, 1.0, 0.0, 0.0, 0.5])

    def test_it_takes_one_unless_it_is_said(self):
        bucket = TokenBucket(0.25, 2, Clock())
        assert_close([bucket.take(), bucket.take(), bucket.take()], [0.0, 0.0, 4.0])

    @pytest.mark.parametrize(("rate", "burst"), [(2, 5), (0.25, 3), (8, 1), (0.5, 2.5), (100, 64), (4, 0.5)])
    def test_equals_the_rule_in_exact_numbers(self, rng, rate, burst):
        from fractions import Fraction

        clock = Clock(512.0)
        bucket, tokens, last = TokenBucket(rate, burst, clock), Fraction(burst), Fraction(512)
        found, expected = [], []
        for _ in range(300):
            clock.now += float(rng.choice([0, 0, 0.125, 0.5, 3])) / rate
            amount = float(rng.integers(1, int(8 * burst) + 1)) / 8
            tokens = min(Fraction(burst), tokens + Fraction(rate) * (Fraction(clock.now) - last))
            last = Fraction(clock.now)
            found.append(bucket.take(amount))
            expected.append(float(max(0, (Fraction(amount) - tokens) / Fraction(rate))))
            tokens -= Fraction(amount) if tokens >= amount else 0
        assert_close(found, expected)

    def test_whoever_waits_as_long_as_told_gets_it(self):
        clock = Clock(100.0)
        bucket, found = TokenBucket(0.5, 4, clock), []
        bucket.take(4)
        for amount in (1, 4, 2.5, 0.25):
            wait = bucket.take(amount)
            clock.now += wait
            found.append((wait, bucket.take(amount)))
        assert_close(found, [(2.0, 0.0), (8.0, 0.0), (5.0, 0.0), (0.5, 0.0)])

    def test_a_refusal_takes_nothing(self):
        clock = Clock()
        bucket = TokenBucket(1, 4, clock)
        assert_close([bucket.take(2), *(bucket.take(3) for _ in range(5)), bucket.take(2)], [0.0] + [1.0] * 5 + [0.0])

    def test_looking_often_loses_nothing(self):
        clock = Clock()
        bucket = TokenBucket(1, 4, clock)
        bucket.take(4)
        found = []
        for _ in range(15):
            clock.now += 0.25
            found.append(bucket.take(4))
        clock.now += 0.25
        assert_close([*found, bucket.take(4)], [4 - 0.25 * (i + 1) for i in range(15)] + [0.0])

    def test_a_quiet_night_saves_nothing_up(self):
        clock = Clock()
        bucket = TokenBucket(2, 3, clock)
        clock.now = 1e6
        assert_close([bucket.take(3), bucket.take(1)], [0.0, 0.5])

    @pytest.mark.parametrize("start", [-1000.0, 0.0, 1.7e9])
    def test_it_is_full_whenever_it_is_made(self, start):
        bucket = TokenBucket(2, 3, Clock(start))
        assert_close([bucket.take(3), bucket.take(1)], [0.0, 0.5])

    @pytest.mark.parametrize(("amount", "burst"), [(6, 5), (2.25, 2)])
    def test_refuses_what_never_comes(self, amount, burst):
        bucket = TokenBucket(2, burst, Clock())
        with raises(ValueError, amount, burst):
            bucket.take(amount)
        assert_close(bucket.take(burst), 0.0)

    @pytest.mark.parametrize(("rate", "burst", "wrong"), [(0, 5, 0), (-2, 5, -2), (3, 0, 0), (3, -1.5, -1.5)])
    def test_refuses_what_never_fills(self, rate, burst, wrong):
        TokenBucket(0.001, 0.001, Clock())
        with raises(ValueError, wrong):
            TokenBucket(rate, burst, Clock())

    def test_two_of_them_dont_meet(self):
        one, other = TokenBucket(1, 2, Clock()), TokenBucket(1, 2, Clock())
        assert_close([one.take(2), other.take(2), one.take(1)], [0.0, 0.0, 1.0])


def holds(root: object, needle: str) -> bool:
    """Whether a text stands anywhere in an object, as text or as bytes."""
    beside = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.FrameType)
    seen, waiting = set(), [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, beside):
            continue
        seen.add(id(one))
        if isinstance(one, str) and needle in one:
            return True
        if isinstance(one, bytes | bytearray) and needle.encode() in one:
            return True
        waiting += gc.get_referents(one)
    return False


ODD_TEXTS = ["", ".", "..", "no dot", "ä.ö", "\ud800", "\ud800.\udcff", "\x00.\x00", "a.b.c", "🎉" * 1000]


class TestApiKeys:
    def test_a_key_has_its_name(self):
        keys = ApiKeys()
        anna, ben = keys.issue("anna"), keys.issue("ben")
        assert_equal((keys.check(anna), keys.check(ben), keys.check(anna)), ("anna", "ben", "anna"))

    def test_the_form_of_a_key(self):
        keys = ApiKeys()
        made = [keys.issue("anna") for _ in range(20)]
        wrong = [key for key in made if not re.fullmatch(r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{40,}", key)]
        if wrong:
            fail(
                f"A key is an id, a dot and a secret, of at least 8 and 40 characters; got {wrong[0]!r}.",
                evidence="form",
            )

    def test_no_two_keys_are_alike(self):
        keys, others = ApiKeys(), ApiKeys()
        made = [one.issue("anna") for one in (keys, others) for _ in range(200)]
        ids, texts = {key.split(".")[0] for key in made}, {key.split(".")[1] for key in made}
        assert_equal((len(ids), len(texts)), (400, 400))

    def test_a_name_may_have_several(self):
        keys = ApiKeys()
        made = [keys.issue("anna"), keys.issue("ben"), keys.issue("anna")]
        assert_equal([keys.check(key) for key in made], ["anna", "ben", "anna"])

    def test_what_isnt_quite_a_key(self):
        keys = ApiKeys()
        anna, ben = keys.issue("anna"), keys.issue("ben")
        (key_id, secret), (other_id, _) = anna.split("."), ben.split(".")
        changed = ("A" if secret[-1] != "A" else "B",)
        wrong = [
            f"{key_id}.{secret[:-1]}{changed[0]}", f"{key_id}.{secret[:-1]}", f"{key_id}.{secret}A", f"{other_id}.{secret}",
            f"{key_id}.", f".{secret}", key_id, secret, f"{key_id}..{secret}", f" {anna}", f"{anna}\n", f"{anna}.",
            f"{key_id}.{secret.swapcase()}", f"{key_id}{secret}", f"x{anna}", f"{secret}.{key_id}", f"{key_id}.ä{secret}",
        ]  # fmt: skip
        assert_equal([keys.check(key) for key in wrong], [None] * len(wrong))
        assert_equal(keys.check(anna), "anna")

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
    def test_any_text_may_come(self, text):
        keys = ApiKeys()
        key_id = keys.issue("anna").split(".")[0]
        assert_equal((ApiKeys().check(text), keys.check(text), keys.check(f"{key_id}.{text}")), (None, None, None))

    def test_the_secret_isnt_kept(self):
        keys = ApiKeys()
        for _ in range(3):
            key = keys.issue("anna")
            keys.check(key)
        found = [what for what, text in zip(("id", "secret"), key.split("."), strict=True) if holds(keys, text)]
        if "secret" in found:
            fail("The object still holds the secret of a key. Keep its SHA-256 digest alone.", evidence="kept")

    def test_compares_in_constant_time(self, compared):
        keys = ApiKeys()
        key = keys.issue("anna")
        key_id = key.split(".")[0]
        found = [compared(keys.check, text) > 0 for text in (key, f"{key_id}.{'A' * 43}")]
        assert_equal(found, [True, True])

    def test_compares_even_for_an_unknown_id(self, compared):
        keys = ApiKeys()
        secret = keys.issue("anna").split(".")[1]
        found = [compared(keys.check, text) > 0 for text in (f"AAAAAAAA.{secret}", "AAAAAAAA." + "A" * 43)]
        assert_equal(found, [True, True])

    def test_revoked_keys_end(self):
        keys = ApiKeys()
        made = [keys.issue(name) for name in ("anna", "ben", "anna", "anna bell")]
        found = [keys.revoke("anna"), *(keys.check(key) for key in made), keys.revoke("anna"), keys.revoke("nobody")]
        assert_equal(found, [2, None, "ben", None, "anna bell", 0, 0])

    def test_a_new_key_after_the_old_ones_were_revoked(self):
        keys = ApiKeys()
        old = keys.issue("anna")
        keys.revoke("anna")
        new = keys.issue("anna")
        assert_equal((keys.check(old), keys.check(new), keys.revoke("anna")), (None, "anna", 1))

    @pytest.mark.parametrize("name", ["", "a.b", "Zoë"])
    def test_any_name(self, name):
        keys = ApiKeys()
        assert_equal((keys.check(keys.issue(name)), keys.revoke(name)), (name, 1))

    def test_two_of_them_share_nothing(self):
        one, other = ApiKeys(), ApiKeys()
        key = one.issue("anna")
        assert_equal((other.check(key), other.revoke("anna"), one.check(key)), (None, 0, "anna"))


def fields(data: bytes) -> list[bytes]:
    """Reads a message back."""
    found = []
    while data:
        length = int.from_bytes(data[:4], "big")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


REQUESTS = [
    ("POST", "/v1", 17, "n1", b"hi"),
    ("GET", "/", 0, "", b""),
    ("DELETE", "/models/große?x=1&y", -250, "🎉\n\x00", b"\x00\xff" * 300),
    ("post", "/v1/", 1_700_000_000_123, "n" * 70, b'{"prompt": "hi"}'),
]


class TestMessage:
    def test_the_example_worked_by_hand(self):
        expected = b"\0\0\0\4POST\0\0\0\3/v1\0\0\0\x0217\0\0\0\2n1\0\0\0\2hi"
        assert_equal(message("POST", "/v1", 17, "n1", b"hi"), expected)

    @pytest.mark.parametrize("request_", REQUESTS, ids=lambda request_: request_[0])
    def test_it_can_be_read_back(self, request_):
        method, path, timestamp, nonce, body = request_
        expected = [method.encode(), path.encode(), b"%d" % timestamp, nonce.encode(), body]
        assert_equal(fields(message(*request_)), expected)

    def test_a_body_of_a_hundred_thousand_bytes(self):
        body = bytes(range(256)) * 400
        assert_equal(message("POST", "/", 1, "n", body)[-102_404:], b"\x00\x01\x90\x00" + body)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("POST", "/v1", 7, "n", b""), ("POST", "/v", 17, "n", b"")),
            (("POST", "/", 1, "23", b""), ("POST", "/", 12, "3", b"")),
            (("GET", "X/", 1, "n", b""), ("GETX", "/", 1, "n", b"")),
            (("GET", "/", 1, "na", b"b"), ("GET", "/", 1, "n", b"ab")),
            (("GET", "/\n1", 2, "n", b""), ("GET", "/", 1, "2\nn", b"")),
        ],
    )
    def test_no_two_requests_are_alike(self, one, other):
        assert_equal(message(*one) != message(*other), True)


def hmac_by_its_definition(key: bytes, text: bytes) -> str:
    """RFC 2104."""
    key = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + text).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()


def framed(method: str, path: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    parts = [method.encode(), path.encode(), str(timestamp).encode(), nonce.encode(), body]
    return b"".join(bytes.fromhex(f"{len(part):08x}") + part for part in parts)


class TestSign:
    def test_the_definition_of_hmac(self):
        # RFC 4231, test case 2: the oracle itself.
        expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        assert_equal(hmac_by_its_definition(b"Jefe", b"what do ya want for nothing?"), expected)
        assert_equal(sign(b"Jefe", *REQUESTS[0]), hmac_by_its_definition(b"Jefe", framed(*REQUESTS[0])))

    @pytest.mark.parametrize("secret", [b"k", b"\0" * 32, b"\xff" * 64, b"long" * 40])
    @pytest.mark.parametrize("request_", REQUESTS, ids=lambda request_: request_[0])
    def test_equals_its_definition(self, secret, request_):
        assert_equal(sign(secret, *request_), hmac_by_its_definition(secret, framed(*request_)))


KEYS = {"anna": b"a" * 32, "ben": b"b" * 40}


def signed(sender: str, timestamp: int, nonce: str, body: bytes = b"hi", secret: bytes | None = None) -> tuple:
    """The arguments of verify for a request with the right signature, made without the learner's code."""
    secret = KEYS[sender] if secret is None else secret
    signature = hmac_by_its_definition(secret, framed("POST", "/v1", timestamp, nonce, body))
    return sender, "POST", "/v1", timestamp, nonce, body, signature


class TestVerifier:
    def test_the_example_worked_by_hand(self):
        clock = Clock(1000.0)
        verifier = Verifier(KEYS, clock)
        request, found = signed("anna", 1200, "n1"), []
        for clock.now in (1000.0, 1250.0, 1400.0, 1500.0, 1501.0):
            found.append((outcome(verifier.verify, *request), len(verifier)))
        again = ("refused: 401", 1)
        assert_equal(found, [(None, 1), again, again, again, ("refused: 401", 0)])

    def test_many_requests_pass(self):
        verifier = Verifier(KEYS, Clock(1000.0))
        requests = [signed(sender, 1000, nonce) for sender in KEYS for nonce in ("", "n", "N", "n ", "ü")]
        assert_equal([outcome(verifier.verify, *request) for request in requests], [None] * 10)
        assert_equal(len(verifier), 10)

    @pytest.mark.parametrize("tolerance", [None, 0, 60, 0.5])
    def test_how_far_the_timestamp_may_be(self, tolerance):
        clock, far = Clock(1000.25), 300 if tolerance is None else tolerance
        found, expected = [], []
        for timestamp in (0, 699, 700, 701, 939, 940, 941, 999, 1000, 1001, 1060, 1061, 1300, 1301, 5000):
            verifier = Verifier(KEYS, clock) if tolerance is None else Verifier(KEYS, clock, tolerance)
            found.append((timestamp, outcome(verifier.verify, *signed("anna", timestamp, "n"))))
            expected.append((timestamp, None if abs(timestamp - 1000.25) <= far else "refused: 401"))
        assert_equal(found, expected)

    @pytest.mark.parametrize("timestamp", [700, 1300])
    def test_both_ends_are_fresh(self, timestamp):
        verifier = Verifier(KEYS, Clock(1000.0))
        assert_equal(outcome(verifier.verify, *signed("anna", timestamp, "n")), None)

    @pytest.mark.parametrize("timestamp", [10**400, -(10**400)], ids=["late", "early"])
    def test_a_timestamp_without_bounds(self, timestamp):
        verifier = Verifier(KEYS, Clock(1000.0))
        with refused(401):
            verifier.verify("anna", "POST", "/v1", timestamp, "n", b"hi", "0" * 64)

    @pytest.mark.parametrize(
        ("place", "value"),
        [(0, "ben"), (0, "nobody"), (1, "GET"), (2, "/v2"), (3, 1001), (4, "n2"), (5, b"ho"), (5, b"")],
        ids=["sender", "unknown sender", "method", "path", "timestamp", "nonce", "body", "no body"],
    )
    def test_whatever_was_changed_is_refused(self, place, value):
        verifier, request = Verifier(KEYS, Clock(1000.0)), list(signed("anna", 1000, "n1"))
        request[place] = value
        with refused(401):
            verifier.verify(*request)
        assert_equal(len(verifier), 0)

    def test_signatures_that_are_nearly_right(self):
        verifier, request = Verifier(KEYS, Clock(1000.0)), signed("anna", 1000, "n1")
        right = request[-1]
        wrong = [right[:-1], right + "0", right.upper(), "", "0" * 64, right[:-1] + ("0" if right[-1] != "0" else "1")]
        wrong += [f" {right}", f"{right}\n", f"sha256={right}", "ä" * 64]
        found = [outcome(verifier.verify, *request[:-1], signature) for signature in wrong]
        assert_equal(found, ["refused: 401"] * len(wrong))
        assert_equal(outcome(verifier.verify, *request), None)

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
    def test_any_text_may_come(self, text):
        verifier, request = Verifier(KEYS, Clock(1000.0)), signed("anna", 1000, "n1")
        found = [outcome(verifier.verify, *request[:-1], text), outcome(verifier.verify, text, *request[1:])]
        assert_equal(found, ["refused: 401"] * 2)

    def test_an_unknown_senders_signature_is_never_right(self):
        verifier = Verifier(KEYS, Clock(1000.0))
        secrets_ = [b"", b"\0" * 32, b"nobody", KEYS["anna"], b"secret", b"dummy", b"0" * 32]
        found = [outcome(verifier.verify, "nobody", *signed("anna", 1000, "n", secret=one)[1:]) for one in secrets_]
        assert_equal(found, ["refused: 401"] * len(secrets_))

    def test_the_reason_holds_no_signature(self):
        verifier, request = Verifier(KEYS, Clock(1000.0)), signed("anna", 1000, "n1")
        with refused(401) as wrong:
            verifier.verify(*request[:-1], "0" * 64)
        assert_equal(request[-1] in wrong.reason, False)

    def test_the_reason_doesnt_tell_who_is_known(self):
        verifier, request = Verifier(KEYS, Clock(1000.0)), signed("anna", 1000, "n1")
        with refused(401) as wrong:
            verifier.verify(*request[:-1], "0" * 64)
        with refused(401) as unknown:
            verifier.verify("nobody", *request[1:])
        assert_equal(unknown.reason, wrong.reason)

    def test_compares_in_constant_time(self, compared):
        verifier, request = Verifier(KEYS, Clock(1000.0)), signed("anna", 1000, "n1")
        found = [compared(verifier.verify, *request[:-1], text) > 0 for text in ("0" * 64, "0", request[-1])]
        assert_equal(found, [True, True, True])

    def test_compares_even_for_an_unknown_sender(self, compared):
        verifier, request = Verifier(KEYS, Clock(1000.0)), signed("anna", 1000, "n1")
        assert_equal(compared(verifier.verify, "nobody", *request[1:]) > 0, True)

    def test_a_nonce_passes_once_whatever_comes_with_it(self):
        clock = Clock(1000.0)
        verifier, found = Verifier(KEYS, clock), []
        for clock.now, timestamp, body in [(1000, 1000, b"hi"), (1001, 1000, b"hi"), (1100, 1100, b"other")]:
            found.append(outcome(verifier.verify, *signed("anna", timestamp, "n1", body)))
        assert_equal(found, [None, "refused: 401", "refused: 401"])

    def test_senders_may_choose_the_same_nonce(self):
        verifier = Verifier({**KEYS, "annab": b"c"}, Clock(1000.0))
        requests = [signed("anna", 1000, "ben"), signed("ben", 1000, "ben"), signed("annab", 1000, "en", secret=b"c")]
        assert_equal([outcome(verifier.verify, *request) for request in requests], [None] * 3)

    def test_nobody_uses_up_the_nonces_of_others(self):
        clock = Clock(1000.0)
        verifier, request = Verifier(KEYS, clock), signed("anna", 1000, "n1")
        attacks = [(*request[:-1], "0" * 64), (*request[:3], 1, *request[4:]), signed("anna", 1, "n1")]
        attacks += [("nobody", *request[1:]), (*request[:5], b"other", request[-1])]
        found = [(outcome(verifier.verify, *attack), len(verifier)) for attack in attacks]
        assert_equal(found, [("refused: 401", 0)] * 5)
        assert_equal((outcome(verifier.verify, *request), len(verifier)), (None, 1))

    @pytest.mark.parametrize("ahead", [0, 100, 300])
    def test_a_request_cant_be_sent_again_while_it_is_fresh(self, ahead):
        clock = Clock(1000.0)
        verifier, request, found = Verifier(KEYS, clock), signed("anna", 1000 + ahead, "n1"), []
        for clock.now in (1000, 1299, 1300, 1301, 1300 + ahead, 1301 + ahead):
            if clock.now <= 1300 + ahead:
                found.append(outcome(verifier.verify, *request))
        assert_equal(found, [None] + ["refused: 401"] * (len(found) - 1))

    def test_old_nonces_are_forgotten(self):
        clock = Clock(1000.0)
        verifier, found = Verifier(KEYS, clock, 10), []
        for second in range(1000, 1100):
            clock.now = float(second)
            for sender in KEYS:
                verifier.verify(*signed(sender, second, "n" + str(second)))
            found.append(len(verifier))
        assert_equal(found, [2 * min(i + 1, 11) for i in range(100)])

    def test_they_are_forgotten_in_the_order_of_their_timestamps(self):
        clock = Clock(1000.0)
        verifier, found = Verifier(KEYS, clock, 100), []
        for timestamp in (1100, 900, 1000, 950, 1050):
            verifier.verify(*signed("anna", timestamp, str(timestamp)))
        for clock.now in (1000, 1000.5, 1050, 1051, 1100, 1149, 1151, 1200, 1201):
            outcome(verifier.verify, "nobody", "GET", "/", 1000, "n", b"", "")
            found.append(len(verifier))
        assert_equal(found, [5, 4, 4, 3, 3, 2, 1, 1, 0])

    def test_a_nonce_may_come_again_once_it_is_forgotten(self):
        clock = Clock(1000.0)
        verifier, found = Verifier(KEYS, clock, 10), []
        for clock.now in (1000, 1010, 1011, 1012):
            found.append(outcome(verifier.verify, *signed("anna", int(clock.now), "n")))
        assert_equal(found, [None, "refused: 401", None, "refused: 401"])

    def test_keys_come_and_go(self):
        keys, clock = {"anna": b"old"}, Clock(1000.0)
        verifier, found = Verifier(keys, clock), []
        old, new = (
            (lambda nonce: signed("anna", 1000, nonce, secret=b"old")),
            (lambda nonce: signed("anna", 1000, nonce, secret=b"new")),
        )
        found.append(outcome(verifier.verify, *old("1")))
        keys["anna"] = b"new"
        found += [outcome(verifier.verify, *old("2")), outcome(verifier.verify, *new("3"))]
        del keys["anna"]
        found.append(outcome(verifier.verify, *new("4")))
        keys["anna"] = b"old"
        found.append(outcome(verifier.verify, *old("5")))
        assert_equal(found, [None, "refused: 401", None, "refused: 401", None])
        assert_equal(keys, {"anna": b"old"})

    def test_equals_the_rules_written_out(self, rng):
        clock = Clock(1000.0)
        verifier, past, found, expected = Verifier(KEYS, clock, 20), [], [], []
        for _ in range(400):
            clock.now += float(rng.integers(0, 4))
            sender, timestamp = str(rng.choice(list(KEYS))), int(clock.now + rng.integers(-25, 26))
            nonce, right = str(rng.integers(0, 12)), rng.random() < 0.8
            request = signed(sender, timestamp, nonce, secret=None if right else b"wrong")
            found.append((outcome(verifier.verify, *request), len(verifier)))
            past = [one for one in past if one[2] >= clock.now - 20]
            fresh, new = abs(timestamp - clock.now) <= 20, all(one[:2] != (sender, nonce) for one in past)
            passes = right and fresh and new
            past += [(sender, nonce, timestamp)] if passes else []
            expected.append((None if passes else "refused: 401", len(past)))
        assert_equal(found, expected)

    def test_two_of_them_share_nothing(self):
        one, other = Verifier(KEYS, Clock(1000.0)), Verifier(KEYS, Clock(1000.0))
        request = signed("anna", 1000, "n")
        assert_equal((outcome(one.verify, *request), outcome(other.verify, *request), len(other)), (None, None, 1))
