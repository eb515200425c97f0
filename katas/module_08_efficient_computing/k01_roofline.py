"""Roofline: what an operation costs, and which limit binds

A processor does two things at once: it computes, at up to P operations a second, and it
moves bytes between its memory and its compute units, at up to B bytes a second.  The
slower of the two sets the time:

    time = max(FLOPs / P, bytes / B)        intensity = FLOPs / bytes

At the ridge, an intensity of P / B, both take equally long.  Below it an operation is
bound by memory: faster arithmetic gains nothing, fewer bytes do.  Above it the operation
is bound by compute.  The bound is a floor: a real kernel takes at least that long.

What is counted.  A multiplication and an addition are 2 FLOPs, as in every published
count.  Each kernel reads each of its inputs from memory once and writes its output once:
the least traffic possible, as if its caches were perfect.

    matmul    (m, k) @ (k, n) -> (m, n)   2·m·n·k FLOPs, m·k + k·n + m·n elements moved
    softmax   of every row                5 FLOPs an element: one comparison (maximum),
                                          one subtraction, one exp, one addition (sum) and
                                          one division; each element read and written once
    attention                             matmul q kᵀ, softmax over the keys, matmul with v

The division of the scores by √d counts nothing: it is folded into q.  There is no mask:
all scores count.

Unfused, attention is three kernels, and the (n, m) scores go through memory four times:
written by the first matmul, read and written by the softmax, read by the second matmul.
Fused, it is one kernel that keeps the scores on chip: q, k and v are read once, the output
is written once, and the scores move no byte.  The FLOPs stay the same.  So with n = m the
unfused traffic grows as n², the fused one as n.  That is a floor too: where k and v don't
fit on chip, flash attention reads them again for each tile of queries.  It still moves far
less than three kernels do.

Decoding makes one new token for each sequence, so its attention has a single query per
head and reads the whole KV cache for it.  Per element of the cache there are only a few
FLOPs, whatever the context: it is bound by memory on any accelerator.  Larger batches
don't help here, as each sequence has a cache of its own; query heads that share key-value
heads (grouped-query attention) do.

Worked by hand, 2 bytes an element, on a chip of 1e15 FLOP/s and 4e12 bytes/s (ridge 250):

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

Timing.  To compare with the floor, measure well.  The first calls are slow (compilation,
allocation, cold caches): make some before you measure.  A GPU runs behind the Python that
feeds it: wait until it is idle before each reading of the clock, or you time the launch
alone, or work left over from before.  And take the median: one interruption by the system
ruins a mean, not a median.

No function changes its arguments.

Source: Williams, Waterman and Patterson 2009, "Roofline: An Insightful Visual Performance
Model for Multicore Architectures", "The Roofline Model"; Dao et al. 2022, "FlashAttention",
sections 3.1 and 3.2; Shazeer 2019, "Fast Transformer Decoding", sections 2.4 and 3.

From scratch: torch.utils.flop_counter, torch.utils.benchmark and timeit may not be used.
"""

import time
from collections.abc import Callable

Cost = tuple[int, int]  # (FLOPs, bytes)


def matmul_cost(m: int, n: int, k: int, bytes_per_element: int = 2) -> Cost:
    """The cost of (m, k) @ (k, n) -> (m, n), a tuple (FLOPs, bytes) of exact ints.

    The product has m rows and n columns, and k is the length of the sums.  Bytes: both
    inputs read once, the product written once.
    """
    raise NotImplementedError


def softmax_cost(rows: int, columns: int, bytes_per_element: int = 2) -> Cost:
    """The cost of a softmax over each of `rows` rows of `columns` elements: (FLOPs, bytes), exact ints.

    5 FLOPs an element; each element is read once and written once.
    """
    raise NotImplementedError


def attention_cost(
    heads: int, n: int, m: int, d: int, fused: bool = False, bytes_per_element: int = 2
) -> Cost:
    """The cost of attention of n queries to m keys: (FLOPs, bytes), exact ints.

    Each of the `heads` heads (those of all sequences of a batch together) has its own
    q (n, d), k (m, d), v (m, d) and output (n, d).  The FLOPs are those of the two matmuls
    and of the softmax of the (n, m) scores.

    Bytes: if `fused`, q, k, v and the output once each; else those of the three kernels,
    matmul, softmax and matmul, with everything between them written to memory and read
    back, in `bytes_per_element` as well.
    """
    raise NotImplementedError


def decode_cost(
    context: int, heads: int, kv_heads: int, head_dim: int, batch: int = 1, bytes_per_element: int = 2
) -> Cost:
    """The cost of one decoding step's attention in one layer: (FLOPs, bytes), exact ints.

    Each of `batch` sequences has one query for each of its `heads` heads, and a cache of
    `context` keys and values for each of its `kv_heads` heads, all `head_dim` wide.  The new
    token's key and value already stand in the cache and are among the `context`.  Each group
    of heads / kv_heads query heads shares one key-value head.

    FLOPs: the two matmuls and the softmax, for every query head.
    Bytes: fused, so the queries, the caches of keys and of values, and the outputs (as large
    as the queries) once each; a shared key-value head is read once for its whole group.

    Only attention counts: no products with weights.
    Raises ValueError, naming both, if heads is not a multiple of kv_heads.
    """
    raise NotImplementedError


def intensity(cost: Cost) -> float:
    """The arithmetic intensity of a (FLOPs, bytes) cost: FLOPs per byte, a float."""
    raise NotImplementedError


def roofline_time(cost: Cost, peak_flops: float, bandwidth: float) -> tuple[float, str]:
    """The least time of a (FLOPs, bytes) cost, and the side that binds: (seconds, side).

    `peak_flops` is in FLOPs a second, `bandwidth` in bytes a second, both above 0.  The time
    is a float, the longer of the two, as they overlap.  The side is "compute" or "memory";
    exactly at the ridge, where both take equally long, it is "compute".
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

    So the clock is read exactly 2 · repeats times, each reading right after a synchronise,
    and between the two readings of a pair `function` runs once and `synchronise` once.
    Further synchronises outside the pairs do no harm.  With `synchronise` None there is
    nothing to wait for: it is left out.

    A call's time is the second reading of its pair less the first; the median of an even
    number of times is the mean of the middle two.
    Raises ValueError, naming "repeats" and what was given, if repeats is below 1.
    """
    raise NotImplementedError
