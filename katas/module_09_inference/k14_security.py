"""Security: limits, rates, keys and signatures

**Before you start.**  You need bytes and dicts, and what a hash such as SHA-256 does: from the
digest nobody finds the text.  No other kata.  If HMAC is new: the first page of Python's
documentation of hmac, and the examples in RFC 4231.

**The idea.**  Your model is on the internet, and within an hour somebody sends it 2 gigabytes of
opening brackets.  Somebody else sends a thousand requests a second.  A third one has found a key
in a log and tries to use it.  A service must say no before such a request costs anything.  So you
build the door, from the outside in.

- *Limits* on what is read and parsed: how many bytes, how deep, which JSON.
- A *token bucket*, for how much each client may ask for.
- *API keys*, of which the service keeps only digests.
- *Signed requests*: who sent this, is it unchanged, is it fresh, and is it the first time?

    bytes ─▶ read_body ─▶ ApiKeys, Verifier ─▶ TokenBucket ─▶ read_json ─▶ model
               │ 413        │ 401                │ 429          │ 400
               ▼            ▼                    ▼              ▼
             refused      refused              refused        refused

**The formulas**

    tokens in the bucket  ←  min(burst, tokens + rate · seconds since the last look)
    seconds to wait       =  (amount - tokens) / rate                   if tokens < amount
    key                   =  id + "." + secret                          kept: SHA-256 of the secret
    signature             =  HMAC-SHA256(secret, message)               as 64 hex digits
    fresh                 ⟺  now - tolerance ≤ timestamp ≤ now + tolerance

**A drawing** of a message.  Each field has its length before it, in 4 bytes, the highest first:

    ┌──────┬──────┬──────┬──────────┬──────┬──────┬──────┬───────┬──────┬──────┐
    │  4   │ POST │  3   │ /v1      │  2   │ 17   │  2   │ n1    │  2   │ hi   │
    └──────┴──────┴──────┴──────────┴──────┴──────┴──────┴───────┴──────┴──────┘
             method        path             timestamp      nonce         body

**Why the lengths?**  Without them, the path "/v1" at time 7 and the path "/v" at time 17 give the
same bytes.  One signature then fits two requests, and an attacker sends the one that nobody meant.

**Why compare in constant time?**  `==` stops at the first byte that differs.  An attacker who
measures times can find a secret byte by byte.  hmac.compare_digest always looks at all bytes.

**Why is a plain SHA-256 enough for keys?**  A password is short, so an attacker who has stolen the
digests can try them all.  It needs a slow hash.  A key with 32 random bytes can't be guessed.

**Why a nonce, and for how long?**  A signature doesn't stop anybody from sending the same request
again.  So each request has a *nonce*, a text that is used once, and the service remembers those
it has seen.  Not for ever: a request whose timestamp is too old is refused anyway.  But take
care.  The sender's clock may be ahead.  What counts is the timestamp, not when it came.

**Why bytes, depth and doubles?**  json.loads reads `[[[[…` by calling itself, until Python's stack
is full.  {"user": 1, "user": 2} means 2 to Python and 1 to some other parsers.  Then the gateway
checks one value, and the model gets the other.

**Worked by hand**

    read_body       chunks of 3, 4 and 2 bytes.  With at most 9 bytes: all 9.  With at most 6:
                    413, and the third chunk isn't asked for
    depth           {"a": [1, {"b": "[[["}]} has 3: brackets in a text don't count
    bucket          rate 2, burst 5.  At 0 take 4: 1 is left.  At 0.5 take 4: 2 are there, so wait
                    1 s.  At 1.5 take 4: 4 are there, none is left.  At 60 there are 5
    message         as drawn: 4 + 4 + 4 + 3 + 4 + 2 + 4 + 2 + 4 + 2 bytes, that is 33
    verifier        tolerance 300.  At 1000 comes a request with timestamp 1200: fresh.  It stays
                    fresh until 1500, so its nonce is remembered until then

**Shapes**: no arrays.  Times are seconds.  A *clock* is a function that gives the time.  Texts are
encoded in UTF-8, where it isn't said otherwise.

**What holds everywhere.**

- What is turned away raises `Refused`, with the status of the answer: 413 too large, 400 can't be
  read, 401 who are you?  An attacker sends whatever the docstrings allow, and no other error
  comes out: it would be a 500.
- Two objects share nothing.
- In which order things are checked is left open, unless it is said.

**Steps.**  A good place to pause is before ApiKeys.

    read_body     5 min   when do you stop?
    read_json    15 min   depth first, and errors that aren't JSONDecodeErrors
    TokenBucket   8 min   what does a refusal take?
    ApiKeys      14 min   any text may come as a key
    message       4 min   what is a length of?
    sign          3 min
    Verifier     18 min   what is remembered, from when, until when?

Sources: OWASP API Security Top 10, 2023 (resource consumption, authentication); RFC 2104 and 4231
(HMAC); RFC 8259 (JSON); Turner 1986, "New Directions in Communications" (the leaky bucket).

From scratch: the modules random and pickle may not be used; hmac, hashlib, secrets and json may.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any


class Refused(Exception):
    """A request that is turned away."""

    def __init__(self, status: int, reason: str) -> None:
        """Given.  `status` is the HTTP status of the answer; `reason` is for the sender, so it tells no secret."""
        super().__init__(reason)
        self.status = status


def read_body(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    """The chunks of a request's body as one: at most `max_bytes` ≥ 0 bytes.

    As soon as more than that have come, it raises Refused with status 413, naming `max_bytes`.  No other chunk is
    asked for then: there may be no end to them.
    """
    raise NotImplementedError


def read_json(body: bytes, max_depth: int) -> dict[str, Any]:
    """The JSON object that a body holds, as json.loads gives it.

    Raises Refused with status 400,

    - naming `max_depth`, if brackets and braces that are open at the same time, outside of texts, are more than
      that.  This is seen before the body is parsed: a body with a million brackets is refused like any other, and
      one that is too deep is refused for its depth, even if the rest of it is no JSON.
    - if the body isn't UTF-8, or isn't JSON.  NaN, Infinity and -Infinity are no JSON.
    - if a number is too large: for a float, such as 1e999, or an int with more digits than Python converts.
    - if an object has the same name twice, at any depth.
    - if the value isn't an object, but a list, a text or a number.

    max_depth  from 1 to 200; {"a": 1} has depth 1, {"a": []} has 2
    """
    raise NotImplementedError


class TokenBucket:
    """How much a client may ask for: `rate` a second in the long run, `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        """It starts full, with `burst` tokens.

        clock  gives the time in seconds, from any beginning; it never goes back

        Raises ValueError, naming it, if `rate` or `burst` isn't above 0.
        """
        raise NotImplementedError

    def take(self, amount: float = 1.0) -> float:
        """Take `amount` > 0 tokens and return 0.0.  If there are too few, return the seconds to wait for them.

        - Whoever is to wait gets nothing, and nothing is taken.
        - Parts of tokens count, and so do parts of seconds.
        - Raises ValueError, naming both, if `amount` is more than `burst`: no wait is long enough.
        """
        raise NotImplementedError


class ApiKeys:
    """Makes keys and knows whose they are.  A key is shown once, when it is made, and isn't kept."""

    def __init__(self) -> None:
        raise NotImplementedError

    def issue(self, name: str) -> str:
        """A new key for `name`, an id, a dot and a secret.  A name may have several.

        - Id and secret are drawn by the module `secrets` and consist of ASCII letters, digits, "-" and "_".
        - The id has 8 characters or more and may stand in logs.  The secret has 40 or more.
        - The object keeps the id, the name, and the SHA-256 digest of the secret; not the secret, not the key.
        """
        raise NotImplementedError

    def check(self, key: str) -> str | None:
        """The name that the key was issued for, or None if it isn't a key of these.

        - `key` is any text: empty, without a dot or with several, not ASCII, not even valid Unicode (a lone
          surrogate such as "\\ud800").
        - Digests are compared with hmac.compare_digest (or secrets.compare_digest, which is the same), also where
          nobody has the id: how long it takes doesn't tell which ids there are.
        """
        raise NotImplementedError

    def revoke(self, name: str) -> int:
        """All keys of `name` end.  Returns how many there were, 0 for a name that has none."""
        raise NotImplementedError


def message(method: str, path: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    """What is signed: the five fields in this order, each with its length in bytes before it, as drawn.

    The timestamp is written in decimal digits, after a minus if it is negative.  The other texts stand as they are.
    """
    raise NotImplementedError


def sign(secret: bytes, method: str, path: str, timestamp: int, nonce: str, body: bytes) -> str:
    """The signature by the formula, in lower-case hex digits."""
    raise NotImplementedError


class Verifier:
    """Lets a signed request pass, once."""

    def __init__(self, keys: Mapping[str, bytes], clock: Callable[[], float], tolerance: float = 300.0) -> None:
        """What it needs.

        keys       from a sender's id to the secret that it signs with; looked at anew for each request, as keys come
                   and go
        clock      gives the time, such as time.time; it never goes back
        tolerance  how far a timestamp may be from it, in seconds
        """
        raise NotImplementedError

    def verify(
        self, sender: str, method: str, path: str, timestamp: int, nonce: str, body: bytes, signature: str
    ) -> None:
        """Raises Refused with status 401, unless all of this holds.

        - The sender is known, and the signature is exactly what `sign` gives with its secret.  Signatures are
          compared with hmac.compare_digest, and one is compared even if the sender is unknown.  The reason is the
          same text in both cases, and holds no signature.
        - The timestamp is fresh by the formula, both ends included.
        - This sender's nonce isn't remembered.

        A nonce is remembered only if its request passes: nobody can use up the nonces of others, or fill the memory.
        It is remembered as long as its timestamp is fresh, and forgotten with the next call of verify after that,
        whatever becomes of that call.

        sender, signature    any texts, as those of `ApiKeys.check`
        method, path, nonce  any texts that UTF-8 can encode
        timestamp            any int, such as 10 ** 400
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """How many nonces are remembered."""
        raise NotImplementedError
