"""Flash attention in Triton: the reference."""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor


def keys_seen(first: int, n: int, m: int, causal: bool, tile: int) -> int:
    """The keys of the tile's last query: it sees all that the queries before it see."""
    return min(first + tile, n) + m - n if causal else m


@triton.jit
def _flash(
    q, k, v, out, n, m, scale,
    D: tl.constexpr, CAUSAL: tl.constexpr, TILE_Q: tl.constexpr, TILE_K: tl.constexpr,
):  # fmt: skip
    batch, first = tl.program_id(1), tl.program_id(0) * TILE_Q
    row, inner = first + tl.arange(0, TILE_Q), tl.arange(0, D)
    q_at = batch * n * D + row[:, None] * D + inner[None, :]
    mine = row[:, None] < n
    q_tile = tl.load(q + q_at, mask=mine, other=0.0)

    top = tl.full((TILE_Q,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((TILE_Q,), dtype=tl.float32)
    acc = tl.zeros((TILE_Q, D), dtype=tl.float32)
    # keys_seen, on the GPU.
    seen = tl.minimum(first + TILE_Q, n) + m - n if CAUSAL else m
    for start in range(0, seen, TILE_K):
        column = start + tl.arange(0, TILE_K)
        k_at = batch * m * D + column[:, None] * D + inner[None, :]
        k_tile = tl.load(k + k_at, mask=column[:, None] < seen, other=0.0)
        v_tile = tl.load(v + k_at, mask=column[:, None] < seen, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale
        # Keys past the end are masked as well: loaded as 0, they would have the score 0 and the weight e⁰.
        last = row[:, None] + m - n if CAUSAL else m - 1
        scores = tl.where(column[None, :] <= last, scores, -float("inf"))
        # Every query sees the first key of all, so that from the first tile on new is finite.
        new = tl.maximum(top, tl.max(scores, axis=1))
        old = tl.exp(top - new)
        powers = tl.exp(scores - new[:, None])
        total = total * old + tl.sum(powers, axis=1)
        # float16 for the tensor cores: a weight is at most 1, and its rounding error is relative.
        acc = acc * old[:, None] + tl.dot(powers.to(v_tile.dtype), v_tile, input_precision="ieee")
        top = new
    # One division at the end, in place of one for each tile.
    tl.store(out + q_at, acc / total[:, None], mask=mine)


def flash_attention_triton(
    q: Tensor, k: Tensor, v: Tensor, causal: bool = False, tile: tuple[int, int] = (64, 64)
) -> Tensor:
    """The forward pass as one kernel."""
    (batch, n, d), m = q.shape, k.shape[1]
    if causal and n > m:
        raise ValueError(f"causal attention needs a key for every query, but there are {n} queries and {m} keys")
    out = torch.empty_like(q)
    _flash[(triton.cdiv(n, tile[0]), batch)](
        q, k, v, out, n, m, 1 / math.sqrt(d),
        D=d, CAUSAL=causal, TILE_Q=tile[0], TILE_K=tile[1],
    )  # fmt: skip
    return out
