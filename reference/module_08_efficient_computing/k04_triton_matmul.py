"""Matrix multiplication in Triton: the reference."""

import triton
import triton.language as tl
from torch import Tensor


def tile_of(program: int, rows: int, columns: int, group: int) -> tuple[int, int]:
    """The tile of a program: groups of rows, each taken column by column."""
    first = program // (group * columns) * group
    height = min(rows - first, group)  # the last group may be lower
    inside = program % (group * columns)
    return first + inside % height, inside // height


@triton.jit
def _matmul(
    a, b, bias, out, m, n, k, am, ak, bk, bn,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr, GROUP: tl.constexpr, GELU: tl.constexpr,
):  # fmt: skip
    # tile_of, on the GPU.  first, height and inside are numbers, the same in all lanes.
    program, columns = tl.program_id(0), tl.cdiv(n, TILE_N)
    first = program // (GROUP * columns) * GROUP
    height = tl.minimum(tl.cdiv(m, TILE_M) - first, GROUP)
    inside = program % (GROUP * columns)
    row = (first + inside % height) * TILE_M + tl.arange(0, TILE_M)
    column = inside // height * TILE_N + tl.arange(0, TILE_N)

    acc = tl.zeros((TILE_M, TILE_N), dtype=tl.float32)
    for start in range(0, k, TILE_K):
        inner = start + tl.arange(0, TILE_K)
        # Masked, not wrapped with % m: what lies beyond the end isn't read at all.
        a_at = a + row[:, None] * am + inner[None, :] * ak
        b_at = b + inner[:, None] * bk + column[None, :] * bn
        a_tile = tl.load(a_at, mask=(row[:, None] < m) & (inner[None, :] < k), other=0.0)
        b_tile = tl.load(b_at, mask=(inner[:, None] < k) & (column[None, :] < n), other=0.0)
        acc = tl.dot(a_tile, b_tile, acc, input_precision="ieee")
    # The end, still in float32 and in registers.
    if bias is not None:
        acc += tl.load(bias + column, mask=column < n)[None, :]
    if GELU:
        acc = 0.5 * acc * (1 + tl.erf(acc * 0.7071067811865476))
    tl.store(out + row[:, None] * n + column[None, :], acc, mask=(row[:, None] < m) & (column[None, :] < n))


def matmul(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    gelu: bool = False,
    tile: tuple[int, int, int] = (64, 64, 32),
    group: int = 8,
) -> Tensor:
    """GELU(a · b + bias) in one kernel."""
    (m, k), (inner, n) = a.shape, b.shape
    if k != inner:
        raise ValueError(f"a's columns must be as many as b's rows, but a is {tuple(a.shape)} and b {tuple(b.shape)}")
    out = a.new_empty(m, n)
    tile_m, tile_n, tile_k = tile
    grid = (triton.cdiv(m, tile_m) * triton.cdiv(n, tile_n),)
    _matmul[grid](
        a, b, bias, out, m, n, k, *a.stride(), *b.stride(),
        TILE_M=tile_m, TILE_N=tile_n, TILE_K=tile_k, GROUP=group, GELU=gelu,
    )  # fmt: skip
    return out
