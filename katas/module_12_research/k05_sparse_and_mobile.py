"""Sparse and mobile: attention that skips, networks for a phone, and a model of their time

**Before you start.**  You need attention, convolutions in torch and least squares.  The katas
attention_patterns (masks) and efficient_networks (MBConv) come before this one; you import
neither.  If the roofline model is new: Williams et al. 2009, sections 1 to 3.

**The idea.**  You want a model to run on a phone, within 20 milliseconds.  Three things help.

*Skip what doesn't matter.*  In a row of attention a few weights often hold nearly everything.
Keep the largest scores of each query and drop the rest.  Or choose whole blocks of keys: a GPU
likes those better.

*Use low rank.*  If the attention matrix is nearly of low rank, you don't need all m keys.
Linformer mixes the keys down to r of them, and the values as well.

*Build thin.*  An inverted residual block is narrow outside and wide inside.  You know it as
MBConv.  Here you see why it saves memory: the wide tensor never has to exist as a whole.

Then you predict the time.  Multiply-adds alone mislead: a layer with few of them for each byte
waits for the memory.  The *roofline* model counts both, and takes the slower one.

**The formulas**

    top-k       s_ij = q_i · k_j / √d;   row i keeps its `count` largest s, softmax over those alone
    blocks      mean_c = mean of the keys of block c;   query i scores block c by q_i · mean_c
                it reads its own block, and the `count` best ones of those before its own
    Linformer   O = softmax(Q (E K)ᵀ / √d) (F V)               E and F are (r, m)
    share       Σ_{i < rank} σ_i² / Σ_i σ_i²                   σ_0 ≥ σ_1 ≥ … singular values
    block       y = project(relu6(depthwise(relu6(expand(x)))))     + x if the shapes agree
                expand and project are 1 × 1, from c to h = e · c channels and from h to d
    its cost    multiply-adds   p c h + p' (k² h + h d)        p = H W,  p' = ⌈H/s⌉ ⌈W/s⌉
                weights           c h +     k² h + h d
                largest         the larger one of p h and p' d
                e = 1:  there is no expand, so no c h, and p' h in place of p h
    divisible   the multiple of `divisor` nearest to c, a half rounded up, at least `divisor`;
                one multiple more if that is below 0.9 c
    roofline    Σ over the layers of ( overhead + max(work / peak, moved / bandwidth) )
    fit         the x that makes Σ_i ((features_i · x - seconds_i) / seconds_i)² smallest

"largest" counts the numbers of the largest tensor inside the block or behind it; neither biases
nor the input count anywhere.  work is multiply-adds, moved is bytes, s the stride.

A network is on the *Pareto front* if no other one beats it.  To beat it is to be no slower and no
worse, and in one of the two truly better.

**A drawing**, one block with c 2, h 6, and three splits

    whole     x 2 ──▶ wide 6 ──▶ filtered 6 ──▶ y 2

    split     x 2 ─┬─▶ wide 2 ──▶ filtered 2 ──▶ ┐
                   ├─▶ wide 2 ──▶ filtered 2 ──▶ + ──▶ y 2
                   └─▶ wide 2 ──▶ filtered 2 ──▶ ┘      one after the other

**Why may the block be split?**  relu6 acts on each number, the depthwise filter on each channel
by itself, and project is a sum over hidden channels.  No hidden channel needs another one.

**Why relative errors?**  Latencies go from microseconds to seconds.  With plain squares, one slow
layer decides the whole fit.

**Worked by hand**

    top-k       scores of one query 0, 0.6931, 5 with values 9 3 6, count 2:
                the first is dropped;  weights 1 / (1 + e^4.3069) = 0.0133 and 0.9867, so 5.9601
    blocks      size 2, keys 1 3 | -1 -1 | 0 0, count 1.  Query 4 is 1: means 2 and -1, it reads
                block 0 and its own, block 2.  If it is -1, it reads block 1 and block 2
    share       singular values 3 and 4, rank 1:  16 / 25 = 0.64
    cost        8 × 8, c 4, d 6, k 3, s 2, e 2:  64 · 32 + 16 · (72 + 48) = 3968 multiply-adds,
                32 + 72 + 48 = 152 weights,  largest 64 · 8 = 512
    divisible   33 → 32,   36 → 40,   3 → 8,   11 → 16, for 8 is below 9.9
    roofline    layers (100, 10) and (10, 40), peak 50, bandwidth 10, overhead 1:
                1 + max(2, 1) + 1 + max(0.2, 4) = 8
    front       latency 1 2 2 3, accuracy 5 7 6 7:  the first two

**Shapes**: q is (..., n, d), k (..., m, d), v (..., m, w).  Images are (B, c, H, W).  Results
have the dtype and the device of what comes in.  Gradients flow through attention and blocks.  No
function changes its arguments.

**Steps.**  A good place to pause is after spectrum_share.

    topk_attention           12 min   the softmax sees the kept scores alone
    blocks_to_read           12 min   early queries have few blocks
    linformer_attention       6 min   mix, then attend
    spectrum_share            4 min   squares
    inverted_residual        14 min   slices of three layers
    inverted_residual_cost    8 min   before and after the stride
    make_divisible            5 min   not below 90 %
    roofline                  4 min   the slower one
    fit_latency               7 min   divide by the time
    pareto_front              7 min   equals don't beat each other

Sources: Gupta et al. 2021, "Memory-efficient Transformers via Top-k Attention"; Lu et al. 2025,
"MoBA: Mixture of Block Attention"; Wang et al. 2020, "Linformer"; Sandler et al. 2018,
"MobileNetV2"; Williams, Waterman and Patterson 2009, "Roofline".

From scratch: transformers, torchvision, scipy, sklearn and
torch.nn.functional.scaled_dot_product_attention may not be used.  torch.linalg may.
"""

from torch import Tensor, nn


def topk_attention(q: Tensor, k: Tensor, v: Tensor, count: int, mask: Tensor | None = None) -> Tensor:
    """o (..., n, w).

    - mask is bool and broadcasts to (..., n, m): True where a query may look at a key.  Hidden keys get no weight, also
      where fewer than `count` are left.  Every row has a True.
    - A count above m keeps all.
    - Which of several equal scores are kept at the border is open.

    Raises ValueError, naming count, if it is below 1.
    """
    raise NotImplementedError


def blocks_to_read(q: Tensor, k: Tensor, size: int, count: int) -> Tensor:
    """Which blocks each query reads: bool (..., n, ⌈n / size⌉).  Query i is in block i // size; the last may be shorter.

    - Where fewer than `count` blocks come before its own, a query reads all of them.  count is at least 0, size at
      least 1.
    - The scores aren't scaled.  Which of several equal ones is best is open.

    Raises ValueError, naming both numbers, if there aren't as many keys as queries.
    """
    raise NotImplementedError


def linformer_attention(q: Tensor, k: Tensor, v: Tensor, e: Tensor, f: Tensor) -> Tensor:
    """o (..., n, w), with e and f (r, m).  Makes no tensor with n · m entries or more, if d, w and r are small."""
    raise NotImplementedError


def spectrum_share(matrix: Tensor, rank: int) -> Tensor:
    """The share (...) of matrices (..., n, m) that aren't 0; 1 if rank is above the number of singular values."""
    raise NotImplementedError


def inverted_residual(
    x: Tensor, expand: nn.Conv2d, depthwise: nn.Conv2d, project: nn.Conv2d, splits: int = 1
) -> Tensor:
    """The block's output (B, d, H', W').

    - All three layers have biases.  expand and project have a stride of 1; stride and padding of depthwise are its own.
    - With `splits` the hidden channels are cut into that many equal parts, one after the other.  Without gradients no
      tensor is made that is larger than the largest one of x, y and a part of the hidden channels.

    Raises ValueError, naming h and splits, if splits doesn't divide h.
    """
    raise NotImplementedError


def inverted_residual_cost(
    height: int, width: int, channels: int, out: int, kernel: int, stride: int, expansion: int
) -> dict[str, int]:
    """A dict of "multiply_adds", "weights" and "largest"; the depthwise layer pads so that H becomes ⌈H / stride⌉."""
    raise NotImplementedError


def make_divisible(channels: float, divisor: int = 8) -> int:
    """A number of channels that hardware likes; channels is above 0."""
    raise NotImplementedError


def roofline(layers: list[tuple[float, float]], peak: float, bandwidth: float, overhead: float = 0.0) -> float:
    """Seconds for layers of (work, moved), one after the other.  0.0 without layers."""
    raise NotImplementedError


def fit_latency(features: Tensor, seconds: Tensor) -> Tensor:
    """x (p,) for features (n, p) of n ≥ p measurements, which determine it, and their seconds (n,), all above 0."""
    raise NotImplementedError


def pareto_front(latency: Tensor, accuracy: Tensor) -> Tensor:
    """bool (n,): which of n networks are on the front.  Of two equal ones neither beats the other."""
    raise NotImplementedError
