"""Caching: what stays, what leaves, and who asks

**Before you start.**  You need dicts, vectors with numpy, and for one step asyncio: tasks, and how
a task is cancelled.  No other kata.  If asyncio is new: "Coroutines and Tasks" in Python's
documentation.

**The idea.**  The quickest answer is the one that you have already.  A cache keeps answers, and
gives them out again.  It has little room, so the first question is always: what leaves?  You
write three classic rules.

- *LRU*, least recently used: what nobody has asked for the longest leaves.
- *TTL*, time to live: an answer may be kept for so many seconds, then it is too old.
- *LFU*, least frequently used: what was used the fewest times leaves.

Then you write three helpers that a model server needs.

- *Single flight*: many users ask the same at the same moment, and the model is asked once.
- A *semantic cache* finds the answer to a question that means nearly the same.
- A *prefix cache* knows which beginnings of prompts the model has read before.  Their keys and
  values needn't be computed again.

**The formulas**

    mean time         =  hits · t_cache + (1 - hits) · t_model       hits: the share that is found
    too old           ⟺  now - time of the put ≥ ttl
    similarity(a, b)  =  a·b / (‖a‖ · ‖b‖)                           the cosine of their angle
    tokens to skip    =  block · min(blocks found, ⌊(n - 1) / block⌋)      n: tokens of the prompt

**A drawing** of an LRU cache with room for three:

                   used last ◀───▶ long ago
    put a, b, c         c   b   a
    get a               a   c   b
    put d               d   a   c          b leaves

Three users in a single flight.  The model answers once, and one user doesn't wait for it:

    user 1   ├──────────────▶ answer
    user 2        ├─────────▶ answer
    user 3            ├──▷ leaves
    model    ├─────────────✓

A prefix cache with blocks of two tokens.  It is a tree: each way from its root is the beginning
of a prompt.

            ┌─────┐   ┌─────┐   ┌─────┐
    root ─┬─│ 5 6 │─┬─│ 7 8 │───│ 9 9 │     prompts that were added:
          │ └─────┘ │ └─────┘   └─────┘         5 6 7 8 9 9
          │         │ ┌─────┐                   5 6 3 3
          │         ╰─│ 3 3 │                   7 8 1
          │ ┌─────┐   └─────┘
          ╰─│ 7 8 │                         leaves: 9 9, 3 3, and the lower 7 8
            └─────┘

**Why does only a leaf leave?**  A block's keys and values depend on all tokens before it.  Without
the blocks before it, nobody can reach it.  So the tree loses its leaves first.

**Why is the last token never skipped?**  The cache holds keys and values, but no outputs.  The
next token is chosen from the output of the last one, so the model must read that one again.

**Why single flight?**  A popular answer gets too old.  In the same second a thousand users ask for
it.  None of them finds it, and the model gets a thousand equal requests.  This is called a
stampede.

**Why a scope?**  Two users ask "What did I order?"  The two vectors are equal, the answers aren't.
So each entry has a *scope*: the user, the model, the language, whatever must be the same.  And
near isn't equal: "Is aspirin safe?" and "Is aspirin unsafe?" lie close together.  Choose the
threshold on real questions.

**Worked by hand**

    LRU, size 2     put a, put b, get a, put c:  b leaves;  a and c are there
    TTL, size 2, ttl 10
        at 0 put a, at 4 put b.  At 9 both are there, at 10 only b, at 14 none
    LFU, size 2     put a, put b, get b, get a, get a, put c:  a has 3 uses, b 2, so b leaves
                    get c, put d:  c has 2 uses and leaves
    single flight   a call of 3 s.  Asked at 0 and 1: both are answered at 3.
                    Asked at 4: a new call, answered at 7
    semantic, threshold 0.9
        (3, 4) is put.  (4, 3) has similarity 24/25: found.  (0, 2) has 4/5: not found
    prefix, the tree in the drawing
        5 6 7 8 1      skips 4
        5 6 7 8        skips 2, as the last token is never skipped
        3 3 5 6        skips 0: 3 3 is known after 5 6, not at the beginning

**Shapes**: vectors have shape (d,).  Tokens are lists or tuples of ints, negative ones as well.
Times are seconds.

**What holds everywhere.**

- Keys are anything that a dict takes as a key.  Any value may be kept, None included.
- `get` returns `default` if nothing is found, and then keeps nothing.
- `len(cache)` is the number of entries, or of blocks, that are held now.
- Two objects share nothing.  Values come out as the very objects that were put.
- What has left a cache is let go: the cache no longer holds its value.
- The first three caches are quick.  Averaged over many calls, a call looks at a few entries,
  however many there are.  "A few" may grow like log₂ of the size, but not like the size.

**Steps.**  A good place to pause is before SingleFlight.

    LruCache       8 min   both get and put count as use
    TtlCache      10 min   to read doesn't prolong
    LfuCache      15 min   the smallest count, without a search
    SingleFlight  15 min   one user leaves, all users leave
    SemanticCache 12 min   the nearest, in the right scope
    PrefixCache   15 min   which leaf leaves?

Sources: Shah, Mitra and Matani 2010, "An O(1) Algorithm for Implementing the LFU Cache Eviction
Scheme"; Go's package golang.org/x/sync/singleflight; Bang 2023, "GPTCache" (semantic caches);
Zheng et al. 2024, "SGLang" (a tree of prefixes, whose leaves leave).

From scratch: cachetools, functools.lru_cache and functools.cache may not be used; collections and
asyncio may.
"""

from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any

from numpy.typing import ArrayLike

Call = Callable[[], Coroutine[Any, Any, Any]]


class LruCache:
    """Keeps what was used last.  A put uses its key, and so does a get that finds it."""

    def __init__(self, size: int) -> None:
        """Room for `size` entries.  Raises ValueError, naming it, if that is less than 1."""
        raise NotImplementedError

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        raise NotImplementedError

    def put(self, key: Hashable, value: Any) -> None:
        """Keep `value`, in place of the one that `key` has, if it has one.

        If the key is new and the cache is full, the entry that was not used for the longest leaves.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of entries."""
        raise NotImplementedError


class TtlCache:
    """Keeps entries for `ttl` seconds after their put.  From that moment on they aren't found."""

    def __init__(self, size: int, ttl: float, clock: Callable[[], float]) -> None:
        """Room for `size` entries.

        clock  gives the time in seconds; it never goes back

        Raises ValueError, naming it, if `size` is less than 1, or `ttl` isn't above 0.
        """
        raise NotImplementedError

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value of `key`, or `default`.  To read an entry changes nothing about when it leaves."""
        raise NotImplementedError

    def put(self, key: Hashable, value: Any) -> None:
        """Keep `value` from now on.  If the key has a value already, this is a new put in its place.

        - If the key is new and the cache is full, the entry whose put was the longest ago leaves.
        - After any get, put or len the cache holds nothing that is too old, neither key nor value.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of entries that aren't too old."""
        raise NotImplementedError


class LfuCache:
    """Keeps what was used most often.  A put uses its key, and so does a get that finds it."""

    def __init__(self, size: int) -> None:
        """Room for `size` entries.  Raises ValueError, naming it, if that is less than 1."""
        raise NotImplementedError

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        raise NotImplementedError

    def put(self, key: Hashable, value: Any) -> None:
        """Keep `value`, in place of the one that `key` has, if it has one.

        - If the key is new and the cache is full, the entry with the fewest uses leaves.  Among equals it is the
          one whose last use was the longest ago.  Then the new one comes, with its first use.
        - What has left is forgotten: when it comes back, its uses count from 1 again.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of entries."""
        raise NotImplementedError


class SingleFlight:
    """Makes a call once for all who ask for the same key at the same time.  It keeps no answers."""

    def __init__(self) -> None:
        raise NotImplementedError

    async def __call__(self, key: Hashable, call: Call) -> Any:
        """The answer of the call that runs for `key`; if none runs, `call` is called, and runs from now on.

        - Everybody who waits gets the same answer, or the very error that the call raised.
        - When the call has ended, answer or error, it is forgotten.  Whoever asks from then on begins a new one;
          so does somebody who has just got the answer and asks again.
        - Calls for different keys run at the same time.
        - Whoever is cancelled while they wait leaves at once with CancelledError.  The others wait on, even if it
          was the one who began the call.
        - When the last one who waits is cancelled, the call is cancelled as well.  CancelledError comes out
          once the call has cleaned up, which may take a while.  Whoever asks in that while begins a new call.
        - No task is left running.

        What happens if two things fall on the very same moment is left open.
        """
        raise NotImplementedError


class SemanticCache:
    """Finds the value of the nearest vector, if it is near enough."""

    def __init__(self, size: int, threshold: float) -> None:
        """Room for `size` entries, all scopes together.

        threshold  the smallest similarity that is near enough

        Raises ValueError, naming it, if `size` is less than 1, or `threshold` isn't from -1 to 1.
        """
        raise NotImplementedError

    def get(self, scope: Hashable, vector: ArrayLike, default: Any = None) -> Any:
        """The value of the nearest entry of `scope`, if its similarity reaches the threshold, or `default`.

        - A similarity that is up to 1e-9 below the threshold reaches it.
        - Which one comes if two are equally near is left open.
        - To read changes nothing about what leaves.
        - Raises ValueError as `put` does.
        """
        raise NotImplementedError

    def put(self, scope: Hashable, vector: ArrayLike, value: Any) -> None:
        """Keep `value` under `vector`.

        - If `scope` has an entry with exactly the same numbers, this is a new put in its place.
        - Otherwise, if the cache is full, the entry whose put was the longest ago leaves, whatever its scope.
        - `vector` is a list or an array of any real dtype.  Compute in float64.  It may be changed afterwards:
          the cache has its own numbers.
        - Raises ValueError, with "zero" in its message, if all numbers are 0; with "finite", if one is NaN or
          infinite; naming both lengths, if it hasn't the length of the first vector that was ever put.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of entries, all scopes together."""
        raise NotImplementedError


class PrefixCache:
    """Knows beginnings of prompts, in blocks of `block` tokens."""

    def __init__(self, size: int, block: int) -> None:
        """Room for `size` blocks of `block` tokens each.

        Raises ValueError, naming it, if one of the two is less than 1.
        """
        raise NotImplementedError

    def match(self, tokens: Sequence[int]) -> int:
        """How many tokens at the beginning of a prompt may be skipped, by the formula.

        A block is found if it is held after the very same tokens from the beginning on.  The blocks that may be
        skipped are used now; others aren't.
        """
        raise NotImplementedError

    def add(self, tokens: Sequence[int]) -> None:
        """Keep the full blocks of a prompt, from the first on.  Tokens after the last full block aren't kept.

        - All blocks of the prompt that are held afterwards are used now, the new ones and those of before.
        - For each new block that finds the cache full, first one leaves: of the blocks that no block follows, the
          one whose last use was the longest ago.  It is never one of this prompt's own.
        - If there is none to leave, the rest of the prompt isn't kept.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of blocks."""
        raise NotImplementedError
