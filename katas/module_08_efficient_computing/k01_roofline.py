"""Roofline: what an operation costs, and which limit binds

**Before you start.**  You need the shapes of matrix products, softmax and attention; no other kata.
For an overview, read "Making Deep Learning Go Brrrr From First Principles" by Horace He.

**The idea.**  You want to know how fast a kernel can be before you write it.  A processor does two
things at once: it computes, and it moves bytes between its memory and its compute units.  The
slower of the two sets the time.  So count the operations and the bytes.

**The formula.**  A chip does up to P operations per second and moves up to B bytes per second:

    time = max(FLOPs / P, bytes / B)        intensity = FLOPs / bytes

Plotted, both axes logarithmic:

    FLOPs per second
      P ┤                     ┌────────────────●───────  bound by compute
        │                  ╱
        │               ╱
        │            ╱  slope B
        │         ●  bound by memory
        └─────────┴───────────┴────────────────┴──────▶  intensity
                  4          250             4136
               decoding      ridge P/B      fused attention

At the ridge both take equally long.  Below it, fewer bytes help and faster arithmetic doesn't.
Above it, the other way round.  The bound is a floor: no real kernel is faster.

*What is counted.*  A multiplication and an addition are 2 FLOPs.  Each kernel reads each of its
inputs once and writes its output once:

    matmul      (m, k) @ (k, n) → (m, n)    2·m·n·k FLOPs, m·k + k·n + m·n elements moved
    softmax     of every row                5 FLOPs per element: comparison (for the maximum),
                                            subtraction, exp, addition (for the sum), division;
                                            each element read and written once
    attention                               matmul q kᵀ, softmax over the keys, matmul with v

Dividing the scores by √d costs nothing: it is folded into q.  There is no mask: all scores count.

**Why is fused attention faster?**  Unfused it is three kernels, and the (n, m) scores go through
memory four times.  One fused kernel keeps them on chip.  The FLOPs stay the same:

    unfused   q, k ─▶ matmul ─▶ scores ─▶ softmax ─▶ weights, v ─▶ matmul ─▶ out
                              write, read          write, read
    fused     q, k, v ─▶ one kernel ─▶ out

**Why is decoding bound by memory?**  A head has one query and reads the whole KV cache for it: a
few FLOPs per byte, whatever the context.  Larger batches don't help: each sequence has its own
cache.  Query heads that share key-value heads (grouped-query attention) do.

**Why warm up, wait, and take the median?**  First calls are slow: compilation, allocation, cold
caches.  A GPU runs behind Python: wait until it is idle before you read the clock, or you time
only the launch.  One interruption ruins a mean, not a median.

**Worked by hand**, 2 bytes per element, on a chip of 1e15 FLOP/s and 4e12 bytes/s (ridge 250):

    matmul m = n = k = 4096    137,438,953,472 FLOPs, 100,663,296 bytes, intensity 1365.3
                               0.13744 ms to compute, 0.02517 ms to move: bound by compute
    the same with m = 1        33,554,432 FLOPs, 33,570,816 bytes, intensity 0.9995
                               0.0084 ms to move: bound by memory
    softmax, 3 rows of 4       60 FLOPs, 48 bytes
    attention, 32 heads, n = m = 8192, d = 128
                               1,110,249,046,016 FLOPs either way
                               unfused 17,448,304,640 bytes, intensity 63.6: memory
                               fused       268,435,456 bytes, intensity 4136: compute
    decoding, 32 heads, 8 key-value heads, head_dim 128, context 8192
                               135,528,448 FLOPs, 33,570,816 bytes, intensity 4.04: memory

**Shapes**: a cost is a tuple (FLOPs, bytes) of exact ints.  No function changes its arguments.

**Steps.**

    matmul_cost       5 min   both inputs and the output
    softmax_cost      4 min   read and written
    attention_cost   12 min   three kernels or one
    decode_cost      10 min   a shared cache is read once
    intensity         3 min   one line
    roofline_time     5 min   the longer one, and at the ridge
    time_it          12 min   the order of the calls

Sources: Williams, Waterman and Patterson 2009, "Roofline: An Insightful Visual Performance
Model for Multicore Architectures", "The Roofline Model"; Dao et al. 2022, "FlashAttention",
sections 3.1 and 3.2; Shazeer 2019, "Fast Transformer Decoding", sections 2.4 and 3.

From scratch: torch.utils.flop_counter, torch.utils.benchmark and timeit may not be used.
"""

import time
from collections.abc import Callable

Cost = tuple[int, int]  # (FLOPs, bytes)


def matmul_cost(m: int, n: int, k: int, bytes_per_element: int = 2) -> Cost:
    """The cost of (m, k) @ (k, n) → (m, n): (FLOPs, bytes), exact ints.

    The product has m rows and n columns, and k is the length of the sums.
    """
    raise NotImplementedError


def softmax_cost(rows: int, columns: int, bytes_per_element: int = 2) -> Cost:
    """The cost of a softmax over each of `rows` rows of `columns` elements: (FLOPs, bytes)."""
    raise NotImplementedError


def attention_cost(
    heads: int, n: int, m: int, d: int, fused: bool = False, bytes_per_element: int = 2
) -> Cost:
    """The cost of attention of n queries to m keys: (FLOPs, bytes), exact ints.

    - Each of the `heads` heads (those of all sequences of a batch together) has its own q (n, d),
      k (m, d), v (m, d) and output (n, d).
    - FLOPs: the two matmuls and the softmax of the (n, m) scores, fused or not.
    - Bytes if `fused`: q, k, v and the output once each.
    - Bytes otherwise: those of the three kernels, matmul, softmax and matmul.  Everything between
      them is written to memory and read back, in `bytes_per_element` as well.
    """
    raise NotImplementedError


def decode_cost(
    context: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    batch: int = 1,
    bytes_per_element: int = 2,
) -> Cost:
    """The cost of one decoding step's attention in one layer: (FLOPs, bytes), exact ints.

    - Each of `batch` sequences has one query for each of its `heads` heads, and a cache of
      `context` keys and as many values for each of its `kv_heads` heads, all `head_dim` wide.
    - The new token's key and value already stand in the cache, among the `context`.
    - Each group of heads / kv_heads query heads shares one key-value head.
    - FLOPs: the two matmuls and the softmax, for every query head.
    - Bytes, fused: the queries, the caches of keys and of values, and the outputs (as large as the
      queries) once each.  A shared key-value head is read once for its whole group.
    - Only attention counts: no products with weights.

    Raises ValueError, naming both, if heads is not a multiple of kv_heads.
    """
    raise NotImplementedError


def intensity(cost: Cost) -> float:
    """The arithmetic intensity of a (FLOPs, bytes) cost: FLOPs per byte, a float."""
    raise NotImplementedError


def roofline_time(cost: Cost, peak_flops: float, bandwidth: float) -> tuple[float, str]:
    """The least time of a (FLOPs, bytes) cost, and the side that binds: (seconds, side).

    - `peak_flops` is in FLOPs per second, `bandwidth` in bytes per second, both above 0.
    - The time is a float, the longer of the two: they overlap.
    - The side is "compute" or "memory"; exactly at the ridge it is "compute".
    """
    raise NotImplementedError


def time_it(
    function: Callable[[], object],
    repeats: int = 10,
    warm_up: int = 3,
    synchronise: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The median time of one call of `function`, in the clock's unit, a float.

    All three callables take no arguments.  In this order:

        `warm_up` times (0 is allowed):   function
        `repeats` times:                  synchronise, clock, function, synchronise, clock

    - So the clock is read exactly 2 · repeats times, each reading right after a synchronise, and
      between the two readings of a pair `function` runs once and `synchronise` once.
    - Further synchronises outside the pairs do no harm.
    - With `synchronise` None there is nothing to wait for: it is left out.
    - A call's time is the second reading of its pair less the first.
    - The median of an even number of times is the mean of the middle two.

    Raises ValueError, naming "repeats" and what was given, if repeats is below 1.
    """
    raise NotImplementedError
