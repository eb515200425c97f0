"""Flash attention: the reference."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

State = tuple[Tensor, Tensor, Tensor]


def online_step(state: State, scores: Tensor, values: Tensor) -> State:
    """The running maximum, sum and output after one more block of keys."""
    top, total, acc = state
    new = torch.maximum(top, scores.amax(-1))
    # Nothing seen yet: −∞ − (−∞) would be NaN, while −∞ − 0 gives exp its 0.
    safe = new.masked_fill(new == -math.inf, 0.0)
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
        # Places of the whole matrix, not of the tile: the mask is about those.
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
    # D: what the softmax's gradient takes off in every row.  As Σₖ Pᵢₖ dPᵢₖ is dOᵢ · Oᵢ, no row of P is needed.
    shared = (grad * out).sum(-1, keepdim=True)
    for rows, columns in _tiles(q.shape[-2], k.shape[-2], causal, tile):
        # L holds maximum and sum in one: exp(S − L) is normalised and can't overflow.
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
