"""Scaling laws and the cost of training

**Before you start.**  You need the parts of GPT-2 and Llama (gpt, llama), derivatives and least
squares; no other kata's code.  More: Anthony et al. 2023, "Transformer Math 101".

**The idea.**  How large a model, on how many tokens, does a budget pay for?  And does it fit
into memory?  A few counts answer that before a GPU is rented.

**The formulas.**  *Parameters*: multiply each tensor's shape out, and add:

    Llama, a block
    x (n, d) ─┬─▶ q  d × heads·head_dim    ─┐
              ├─▶ k  d × kv_heads·head_dim ─┼─▶ scores ─────▶ averages ─▶ o
              └─▶ v  d × kv_heads·head_dim ─┘   heads×n×n     heads·head_dim × d
              then  gate, up  d × d_ff each;  down  d_ff × d;  2 RMSNorms of d

    GPT-2, a block: q, k, v, o  d × d each,  up  d × d_ff,  down  d_ff × d,  all with biases;
                    two LayerNorms, each with d weights and d biases

*FLOPs*: a product of an (n, k) and a (k, m) matrix takes 2·n·k·m operations.  So each weight
costs 2 per token in the forward pass, and 4 in the backward pass: one product for the gradient of
the inputs, one for that of the weights.  The rule:

    C ≈ 6 · N · D          N parameters, D training tokens

It leaves out attention's two products without weights, and counts embeddings that are only
looked up.  The exact count of one forward pass of b sequences of n tokens does neither:

    2·b·n · (weights of all matrices, the head's included)
    + layers · 4·b·n² · heads · head_dim

The second line is Q Kᵀ and weights · V.  A training step takes exactly three times as much.

*Loss* is a sum: what no model can predict, what a finite model misses, and what finite data
misses:

    L(N, D) = E + A / N^α + B / D^β
    Hoffmann et al.: E = 1.69, A = 406.4, B = 410.7, α = 0.34, β = 0.28

A larger model on the same budget sees fewer tokens:

    loss │ ●                                ●
         │   ●                           ●
         │      ●                     ●
         │         ●  ●          ●
         │               ●  ●
         └────────────────┬──────────────────▶  N, at a fixed C
            N too small   │   D too small

Put D = C / (6N) in and set the derivative to 0.  Then αA / N^α = βB / D^β, and so

    N = (αA / βB)^(1/(α+β)) · (C / 6)^(β/(α+β))        D = C / (6N)

**Why is kv_heads not in the FLOPs of Q Kᵀ?**  Sharing keys saves weights and cache, but every
query head still scores every token.

**Worked by hand:**

    GPT-2 small, d = 768, 12 blocks, d_ff = 3072, 50257 tokens, context 1024:
    38,597,376 + 786,432 + 12 · 7,087,872 + 1,536 = 124,439,808 parameters

    70 billion parameters, 1.4 trillion tokens:
    C = 6 · 7e10 · 1.4e12 = 5.88e23
    L = 1.69 + 0.08349 + 0.16316 = 1.9366

    Llama 3 8B, d = 4096, 32 layers, 32 heads and 8 key-value heads 128 wide,
    d_ff = 14336, 128256 tokens; one sequence of 8192.  Multiply-adds per token and layer:
    q and o 33,554,432 + k and v 8,388,608 + feed-forward 176,160,768
    + scores and averages 2 · 8192 · 4096 = 67,108,864; together 285,212,672
    2 · 8192 · (32 · 285,212,672 + 525,336,576) = 158,140,695,838,720 FLOPs

    Activations of one layer of GPT-3, d = 12288, 96 heads, one sequence of 2048:
    n·b·d = 25,165,824 and 5 · 96 · 2048 / 12288 = 80
    none 114 · 25,165,824 = 2,868,903,936 bytes
    selective 34 · 25,165,824 = 855,638,016      full 50,331,648

**Shapes**: sizes and counts are ints, budgets and losses floats or float64 arrays.  No function
changes its arguments.

**Steps.**  Good places to pause are after llama_forward_flops and after activation_memory.

    gpt2_parameters      10 min   biases and norms, too
    llama_parameters      5 min   all heads together need not be as wide as d
    training_flops        5 min   the rule
    gpt2_forward_flops   10 min   attention has two products without weights
    llama_forward_flops   5 min   kv_heads: where, and where not?
    training_memory       5 min   a table
    activation_memory    10 min   exact, in whole numbers
    chinchilla_loss       5 min   the sum
    optimal_split        10 min   the closed form
    fit_chinchilla       20 min   for fixed exponents the law is linear

Sources: Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models", section 3.3 and
appendix D.3; Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1;
Korthikanti et al. 2022, "Reducing Activation Recomputation", sections 4.1 and 5; Rajbhandari et
al. 2020, "ZeRO", section 3.1; Ainslie et al. 2023, "GQA".

From scratch: transformers and torch.utils.flop_counter may not be used; numpy and scipy may.
"""

from numpy.typing import NDArray


def gpt2_parameters(
    vocab_size: int, context: int, d_model: int, layers: int, d_ff: int, tied: bool = True
) -> int:
    """The number of parameters of a GPT-2 language model, an int.

    Token embeddings (vocab_size, d_model), learned positions (context, d_model), `layers`
    blocks as above, a final LayerNorm, and a head without bias.  If `tied`, the head is the
    token embeddings, and counts once; else it is a matrix of its own.
    """
    raise NotImplementedError


def llama_parameters(
    vocab_size: int,
    d_model: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    d_ff: int,
    tied: bool = False,
) -> int:
    """The number of parameters of a Llama language model, an int.

    - `heads` query heads and `kv_heads` key and value heads, each `head_dim` wide;
      heads · head_dim need not be d_model.
    - No biases at all.  Positions are rotations and have no parameters.
    - Token embeddings, a final RMSNorm, and a head; `tied` as in `gpt2_parameters`.
    """
    raise NotImplementedError


def training_flops(n: int, d: int) -> int:
    """The rule 6 · N · D for `n` parameters and `d` tokens, an int."""
    raise NotImplementedError


def gpt2_forward_flops(
    batch: int, tokens: int, vocab_size: int, d_model: int, layers: int, d_ff: int
) -> int:
    """The exact FLOPs of the matrix products in one forward pass of GPT-2, an int.

    - `batch` sequences of `tokens` tokens each, and logits at every position.
    - Attention is computed plainly: all tokens × tokens scores, and half are masked afterwards.
    - Only matrix products count: no additions of biases, no norms, softmax or activations,
      and no embedding look-ups.
    """
    raise NotImplementedError


def llama_forward_flops(
    batch: int,
    tokens: int,
    vocab_size: int,
    d_model: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    d_ff: int,
) -> int:
    """The exact FLOPs of the matrix products in one forward pass of Llama, an int.

    Counted as in `gpt2_forward_flops` (so nothing for the rotations).  The sizes are those of
    `llama_parameters`; heads · head_dim need not be d_model.
    """
    raise NotImplementedError


def training_memory(parameters: int, precision: str = "fp32") -> dict[str, int]:
    """Bytes held while training with Adam, activations left out.

    Each parameter has its weight, its gradient and Adam's two moments.  In bytes per parameter:

        precision   weights   gradients   optimizer
        fp32           4          4        8   both moments in float32
        mixed          2          2       12   both moments and a master copy of
                                               the weights, all in float32

    Both make 16: mixed precision saves time and activations, not this memory.

    Returns {"weights": …, "gradients": …, "optimizer": …, "total": …}, ints; "total" is the
    sum of the other three.

    Raises ValueError, naming the precision given, "fp32" and "mixed", for any other.
    """
    raise NotImplementedError


def activation_memory(
    batch: int, tokens: int, d_model: int, heads: int, recompute: str = "none"
) -> int:
    """Bytes of activations that one layer keeps for the backward pass, an int.

    A layer like GPT-2's with d_ff = 4d, in 16 bits, with dropout masks of one byte; the norms'
    means and deviations are left out.  For b sequences of n tokens and d features, in bytes:

        attention      2 input of q, k, v; 6 q, k, v; 2 input of the output matrix;
                       1 dropout mask                                 11 · n·b·d
                       2 softmax, 1 dropout mask, 2 dropped-out weights
                                                                 5 · heads·n²·b
        feed-forward   2 input, 8 and 8 before and after GELU, 1 mask  19 · n·b·d
        norms          2 input, twice                                  4 · n·b·d

    What is kept depends on `recompute`:

        "none"       n·b·d · (34 + 5·heads·n/d)     everything
        "selective"  n·b·d · 34     from q, k, v to weights · V is computed again
        "full"       n·b·d · 2      only the layer's input is kept

    The result is exact for every size, also where heads · n / d is no whole number.

    Raises ValueError, naming what was given and all three choices, for any other.
    """
    raise NotImplementedError


def chinchilla_loss(
    n: float | NDArray,
    d: float | NDArray,
    e: float = 1.69,
    a: float = 406.4,
    b: float = 410.7,
    alpha: float = 0.34,
    beta: float = 0.28,
) -> float | NDArray:
    """L(N, D) for `n` parameters and `d` tokens.

    Two numbers give a float.  Float64 arrays broadcast against each other or against a number,
    and give a float64 array.
    """
    raise NotImplementedError


def optimal_split(
    flops: float, a: float = 406.4, b: float = 410.7, alpha: float = 0.34, beta: float = 0.28
) -> tuple[float, float]:
    """The (N, D), as floats, with the least loss among all with 6 · N · D = `flops`.

    In closed form: neither is rounded.
    """
    raise NotImplementedError


def fit_chinchilla(
    n: NDArray, d: NDArray, loss: NDArray
) -> tuple[float, float, float, float, float]:
    """Fit the law to runs; returns (E, A, B, α, β) as floats.

    `n`, `d` and `loss` are float64 arrays of one length: a run each, in any order, with losses
    that follow the law without noise.  n and d vary independently, over at least two orders of
    magnitude, and α and β lie between 0.2 and 0.6.

    - Any optimizer will do, scipy's included; don't let it stop early.
    - From 40 runs or more, E, α and β must come within 0.02 of the truth, and the fitted law
      must predict other runs within 0.02 %.
    - Five runs are enough for an answer that fits those five within 5 %.

    Raises ValueError, naming the number of runs and 5, for fewer than five runs.
    """
    raise NotImplementedError
