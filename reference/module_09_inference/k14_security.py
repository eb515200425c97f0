"""Security at the door: the reference."""

import hashlib
import heapq
import hmac
import json
import math
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any


class Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def read_body(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        # Counted as it comes: what a header says about the length may be a lie.
        if len(body) > max_bytes:
            raise Refused(413, f"the body has more than {max_bytes} bytes")
    return bytes(body)


# A text from quote to quote; a backslash takes the next character along, so \" doesn't end it.
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def _depth(body: bytes) -> int:
    depth = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", _TEXT.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _finite(text: str) -> float:
    # Also what json calls a constant: NaN, Infinity and -Infinity.
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number isn't finite")
    return number


def read_json(body: bytes, max_depth: int) -> dict[str, Any]:
    if _depth(body) > max_depth:
        raise Refused(400, f"the body is nested deeper than {max_depth}")
    try:
        # Decoded first: from bytes json.loads would take UTF-16 and UTF-32 as well.
        value = json.loads(
            body.decode(), object_pairs_hook=_without_doubles, parse_float=_finite, parse_constant=_finite
        )
    except ValueError as error:  # the two decoders' errors are ValueErrors, and so is that of an int that is too long
        raise Refused(400, f"the body can't be read as JSON: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value


class TokenBucket:
    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        for name, value in (("rate", rate), ("burst", burst)):
            if not value > 0:
                raise ValueError(f"expected a {name} above 0, got {value}")
        self.rate, self.burst, self.clock = rate, burst, clock
        self.tokens, self.seen = burst, clock()

    def take(self, amount: float = 1.0) -> float:
        if amount > self.burst:
            raise ValueError(f"{amount} tokens never come: the bucket holds {self.burst}")
        # Nothing runs in the background: what has come in is worked out when somebody looks.
        now = self.clock()
        self.tokens = min(self.burst, self.tokens + self.rate * (now - self.seen))
        self.seen = now
        if self.tokens < amount:
            return (amount - self.tokens) / self.rate
        self.tokens -= amount
        return 0.0


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # any text at all: an attacker chooses it


class ApiKeys:
    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, bytes]] = {}  # id → (name, digest of the secret)

    def issue(self, name: str) -> str:
        key_id, secret = secrets.token_urlsafe(12), secrets.token_urlsafe(32)
        self.keys[key_id] = (name, hashlib.sha256(secret.encode()).digest())
        return f"{key_id}.{secret}"

    def check(self, key: str) -> str | None:
        key_id, _, secret = key.partition(".")
        # For an unknown id something is compared all the same; no text has a digest of zeros.
        name, digest = self.keys.get(key_id, (None, bytes(32)))
        # As bytes: compare_digest refuses texts that aren't ASCII.
        return name if hmac.compare_digest(hashlib.sha256(_bytes(secret)).digest(), digest) else None

    def revoke(self, name: str) -> int:
        ids = [key_id for key_id, (its_name, _) in self.keys.items() if its_name == name]
        for key_id in ids:
            del self.keys[key_id]
        return len(ids)


def message(method: str, path: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    fields = [method.encode(), path.encode(), str(timestamp).encode(), nonce.encode(), body]
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def sign(secret: bytes, method: str, path: str, timestamp: int, nonce: str, body: bytes) -> str:
    return hmac.new(secret, message(method, path, timestamp, nonce, body), hashlib.sha256).hexdigest()


class Verifier:
    def __init__(self, keys: Mapping[str, bytes], clock: Callable[[], float], tolerance: float = 300.0) -> None:
        self.keys, self.clock, self.tolerance = keys, clock, tolerance
        self.seen: set[tuple[str, str]] = set()  # (sender, nonce): two senders may choose the same
        self.by_time: list[tuple[int, str, str]] = []  # a heap: the first to be forgotten comes first
        # For unknown senders: they, too, cost a signature.
        self.stand_in = secrets.token_bytes(32)

    def verify(
        self, sender: str, method: str, path: str, timestamp: int, nonce: str, body: bytes, signature: str
    ) -> None:
        now = self.clock()
        # By the timestamp, not by when it came: a request from the future can be sent again for longer.
        while self.by_time and self.by_time[0][0] < now - self.tolerance:
            _, *old = heapq.heappop(self.by_time)
            self.seen.remove(tuple(old))
        # An int is compared with floats at any size; to subtract them would overflow.
        if not now - self.tolerance <= timestamp <= now + self.tolerance:
            raise Refused(401, "the timestamp is too far from our clock")
        expected = sign(self.keys.get(sender, self.stand_in), method, path, timestamp, nonce, body)
        right = hmac.compare_digest(_bytes(signature), expected.encode())
        if not right or sender not in self.keys:
            raise Refused(401, "the sender is unknown or the signature is wrong")
        # Only now, as anybody could use up the nonces of others otherwise.
        if (sender, nonce) in self.seen:
            raise Refused(401, "this request has been here before")
        self.seen.add((sender, nonce))
        heapq.heappush(self.by_time, (timestamp, sender, nonce))

    def __len__(self) -> int:
        return len(self.seen)
