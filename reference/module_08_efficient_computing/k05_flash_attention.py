"""Flash attention: the reference."""

import math
from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

State = tuple[Tensor, Tensor, Tensor]


def online_step(state: State, scores: Tensor, values: Tensor) -> State:
    """The running maximum, sum and output after one more block of keys."""
    top, total, acc = state
    new = torch.maximum(top, scores.amax(-1))
    safe = new.masked_fill(new == -math.inf, 0.0)  # nothing seen yet: −∞ − (−∞) would be NaN
    old = torch.exp(top - safe)
    powers = torch.exp(scores - safe[..., None])
    return new, total * old + powers.sum(-1), acc * old[..., None] + powers @ values


def _tiles(n: int, m: int, causal: bool, tile: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Queries and keys of each tile that isn't hidden, all tiles of the same queries one after the other."""
    for i in range(0, n, tile[0]):
        last = min(i + tile[0], n)
        seen = last + m - n if causal else m  # keys that the tile's last query sees
        for j in range(0, seen, tile[1]):
            yield slice(i, last), slice(j, min(j + tile[1], seen))


def _scores(q: Tensor, k: Tensor, rows: slice, columns: slice, causal: bool) -> Tensor:
    """The scores of one tile, −∞ where a query may not look."""
    scores = q[..., rows, :] @ k[..., columns, :].mT / math.sqrt(q.shape[-1])
    if causal:
        i = torch.arange(rows.start, rows.stop, device=q.device)[:, None]
        j = torch.arange(columns.start, columns.stop, device=q.device)
        scores = scores.masked_fill(j > i + k.shape[-2] - q.shape[-2], -math.inf)
    return scores


def flash_forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, tile: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exps: each tile is a step of the online softmax of its queries."""
    top = q.new_full(q.shape[:-1], -math.inf)
    total = torch.zeros_like(top)
    acc = torch.zeros_like(q)
    for rows, columns in _tiles(q.shape[-2], k.shape[-2], causal, tile):
        state = top[..., rows], total[..., rows], acc[..., rows, :]
        step = online_step(state, _scores(q, k, rows, columns, causal), v[..., columns, :])
        top[..., rows], total[..., rows], acc[..., rows, :] = step
    return acc / total[..., None], top + total.log()


def flash_backward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, grad: Tensor, causal: bool, tile: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients, from each tile's probabilities computed again."""
    scale = 1 / math.sqrt(q.shape[-1])
    dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    shared = (grad * out).sum(-1, keepdim=True)  # D: what the softmax's gradient takes off in every row
    for rows, columns in _tiles(q.shape[-2], k.shape[-2], causal, tile):
        p = torch.exp(_scores(q, k, rows, columns, causal) - lse[..., rows, None])
        do = grad[..., rows, :]
        dv[..., columns, :] += p.mT @ do
        ds = p * (do @ v[..., columns, :].mT - shared[..., rows, :]) * scale
        dq[..., rows, :] += ds @ k[..., columns, :]
        dk[..., columns, :] += ds.mT @ q[..., rows, :]
    return dq, dk, dv


class FlashAttention(torch.autograd.Function):
    """Attention whose backward pass computes the probabilities again."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, causal: bool, tile: tuple[int, int]) -> Tensor:
        """The output; what the backward pass needs is kept, the scores aren't."""
        out, lse = flash_forward(q, k, v, causal, tile)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.causal, ctx.tile = causal, tile
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradients of q, k and v."""
        return *flash_backward(*ctx.saved_tensors, grad, ctx.causal, ctx.tile), None, None


def flash_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, tile: tuple[int, int] = (64, 64)) -> Tensor:
    """Attention that can be differentiated, in O(n) memory."""
    n, m = q.shape[-2], k.shape[-2]
    if causal and n > m:
        raise ValueError(f"causal attention needs a key for every query, but there are {n} queries and {m} keys")
    return FlashAttention.apply(q, k, v, causal, tile)


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
    # Keys that the last query of the tile sees.
    seen = tl.minimum(m, first + TILE_Q + m - n) if CAUSAL else m
    for start in range(0, seen, TILE_K):
        column = start + tl.arange(0, TILE_K)
        k_at = batch * m * D + column[:, None] * D + inner[None, :]
        k_tile = tl.load(k + k_at, mask=column[:, None] < seen, other=0.0)
        v_tile = tl.load(v + k_at, mask=column[:, None] < seen, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale
        last = row[:, None] + m - n if CAUSAL else m - 1
        scores = tl.where(column[None, :] <= last, scores, -float("inf"))
        # Every query sees the first key of all, so that from the first tile on new is finite.
        new = tl.maximum(top, tl.max(scores, axis=1))
        old = tl.exp(top - new)
        powers = tl.exp(scores - new[:, None])
        total = total * old + tl.sum(powers, axis=1)
        acc = acc * old[:, None] + tl.dot(powers.to(v_tile.dtype), v_tile, input_precision="ieee")
        top = new
    tl.store(out + q_at, acc / total[:, None], mask=mine)


def flash_attention_triton(
    q: Tensor, k: Tensor, v: Tensor, causal: bool = False, tile: tuple[int, int] = (64, 64)
) -> Tensor:
    """The forward pass as one kernel."""
    batch, n, d = q.shape
    out = torch.empty_like(q)
    _flash[(triton.cdiv(n, tile[0]), batch)](
        q, k, v, out, n, k.shape[1], 1 / math.sqrt(d),
        D=d, CAUSAL=causal, TILE_Q=tile[0], TILE_K=tile[1],
    )  # fmt: skip
    return out
