"""Weight-only quantization

**Before you start.**  You need int8 quantization (scales, zero points, why per group), the Cholesky
factor, and the normal distribution's quantiles.  No other kata is imported.  Is GPTQ new to you?
Read section 3 of Frantar et al. 2022.

**The idea.**  To write one token, a language model reads every weight and uses it once: the time
goes into reading.  With 4 bits per weight in place of 16 it reads a quarter.  But 4 bits are 16
values.  Where should they lie, and which of them should each weight become?  Here are four answers.

**The formulas.**  *Groups.*  Each `group` consecutive weights of a row get an even grid of their
own, of 2ᵇ values for b bits:

    m = min w        s = (max w − min w) / (2ᵇ − 1)
    q = clamp(trunc((w − m) · (1/s) + ½), 0, 2ᵇ − 1)        ŵ = s · q + m

*GGUF Q4_1* is that with groups of 32 and 4 bits.  A block has 20 bytes: s and m as float16, then
two codes per byte (little-endian throughout):

    byte     0   1    2   3      4        5               19
           ┌────────┬────────┬────────┬────────┬─────┬─────────┐
           │   s    │   m    │ q16 q0 │ q17 q1 │  …  │ q31 q15 │
           └────────┴────────┴────────┴────────┴─────┴─────────┘
                               high four bits, low four bits

*NF4.*  Trained weights look normally distributed, so an even grid wastes codes on the thin tails.
NF4's 16 values in [−1, 1] are quantiles of the normal distribution.  With its inverse distribution
function Φ⁻¹ (statistics.NormalDist().inv_cdf) and o = 0.9677083 they are, all divided by the
largest, Φ⁻¹(o):

    8 positive    Φ⁻¹ of 8 numbers in equal steps from o down; the 9th would be ½
    0
    7 negative    −Φ⁻¹ of 7 numbers in equal steps from o down; the 8th would be ½

Divide a block by its largest absolute value, absmax.  Each weight's code is the index of the
nearest of the 16.

*GPTQ.*  A layer answers X Wᵀ, so the error of the output counts.  For a row with error δ = w − ŵ it
is δ H δᵀ with H = XᵀX.  Where inputs are correlated, other weights can make up for one's error.
GPTQ rounds column after column.  After each, it shifts the columns not yet rounded to make up for
the error:

    H⁻¹ = UᵀU,  U upper triangular (Cholesky)
    for i = 0, 1, …:    e = (w_i − ŵ_i) / U_ii        w_j ← w_j − e · U_ij for j > i

    columns      done     │  now │ not yet rounded
    a row      ŵ₀ ŵ₁ ŵ₂   │  w₃  │ w₄  w₅  w₆  …
                             └─ its error moves ─▶ each of these

*AWQ.*  A few input channels are far larger than the rest, so errors of their weights count most.
Multiply column j of W by s_j before rounding and divide by it afterwards: a large s_j gives the
column finer steps.  Take the α from 0, 1/grid, 2/grid, …, 1 with the least ‖X (W − Ŵ)ᵀ‖²:

    a_j = max(mean |x_j|, 10⁻⁴)      s = a^α      Ŵ = dequantize(quantize(W · s)) / s

**Why small groups?**  One large weight makes the steps coarse for its own group only.  The price is
a scale and a minimum per group.

**Why one factorization in GPTQ?**  Row i of U is, up to a factor, the first row of the inverse of H
without rows and columns 0 … i − 1.  That is what step i needs.

**Worked by hand**, one group of 4 with 2 bits, s = 3 / 3 = 1 and m = −1:

    w = [−1, −0.5, 0.2, 2]  →  (w − m)/s = [0, 0.5, 1.2, 3]  →  q = [0, 1, 1, 3]
                            →  ŵ = [−1, 0, 0, 2]
    Q4_1: w = 0, 1, …, 15, 15, …, 1, 0  →  s = 1, m = 0, so the bytes are
    00 3C  00 00  F0 E1 D2 C3 … 1E 0F      (3C00 is 1 in float16)
    NF4: w = [0.5, −2, 1, 0], absmax 2  →  [0.25, −1, 0.5, 0]  →  q = [10, 0, 12, 7]
    GPTQ, damp = 0, w = [−1, 0.4, 0.35, 2] and 2 bits as above, H = I but
    H₁₁ = H₂₂ = 2 and H₁₂ = H₂₁ = 1:  ŵ₁ = 0 is 0.4 too low, so w₂ becomes 0.35 + 0.2
    and rounds to 1, not 0.  δ H δᵀ is 0.645; plain rounding has 0.845.

**Shapes**: w is (..., n), in gptq and awq (rows, n); n counts whole groups.  Codes are uint8 in the
shape of w.  Scales, minima and absmax are (..., n / group).  They and all arithmetic have w's
dtype: float32 or float64 (float64 in gptq and awq).  No function changes its arguments.

**Steps.**  A good place to pause is after quantize_nf4.

    quantize_groups     10 min   reshape to (..., n / group, group)
    dequantize_groups    5 min   the way back
    pack_q4_1           10 min   which two codes share a byte?
    unpack_q4_1         10 min   float16 is only for storage
    nf4_codebook         5 min   8 above 0, 7 below
    quantize_nf4         5 min   the nearest of 16
    gptq                20 min   the error of a column moves on
    awq                 10 min   quantize_groups in a loop over α

Sources: ggml's Q4_1 (llama.cpp, gguf-py); Dettmers et al. 2023, "QLoRA", section 3
and appendix E; Frantar et al. 2022, "GPTQ", section 3; Lin et al. 2023, "AWQ",
section 3.2.

From scratch: gguf, bitsandbytes and torch.ao may not be used.
"""

import numpy as np


def quantize_groups(
    w: np.ndarray, group: int, bits: int = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scales and minima of w (..., n).

    group  so many weights along the last axis share a grid of 2^bits values
    bits   1 to 8

    - trunc drops the fraction, so halves go up.
    - Compute 1/s first, then multiply by it: in floats that can differ from (w − m) / s, and a file
      format leaves no room for it.
    - A constant group has s = 0.  Its 1/s counts as 0, so all its codes are 0 and numpy warns of
      nothing.

    Raises ValueError, naming n and group, if n isn't a multiple of group.
    """
    raise NotImplementedError


def dequantize_groups(codes: np.ndarray, scales: np.ndarray, minima: np.ndarray) -> np.ndarray:
    """The weights s · q + m, in the dtype of the scales.

    codes           (..., n)
    scales, minima  (..., n / group)
    """
    raise NotImplementedError


def pack_q4_1(w: np.ndarray) -> np.ndarray:
    """The Q4_1 blocks of w (..., n) as bytes: uint8 (..., n / 32 · 20), one block after the other.

    - w may lie in memory in any order.  Cast it to float32 first; it is within float16's range.
    - Codes are found with s and m in float32; only what is stored is float16.

    Raises ValueError, naming n and 32, if n isn't a multiple of 32.
    """
    raise NotImplementedError


def unpack_q4_1(packed: np.ndarray) -> np.ndarray:
    """The float32 weights (..., k · 32) of Q4_1 blocks, uint8 (..., k · 20).

    - The blocks may lie in memory in any order.
    - ŵ is computed in float32, from the float16 s and m.

    Raises ValueError, naming the length and 20, if the last axis isn't whole blocks.
    """
    raise NotImplementedError


def nf4_codebook() -> np.ndarray:
    """NF4's 16 values, ascending, −1 first and 1 last: float64 (16,).  Tested to 1e-6."""
    raise NotImplementedError


def quantize_nf4(w: np.ndarray, block: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """NF4 codes of w (..., n), and absmax (..., n / block) of each `block` consecutive weights.

    - What is exactly midway between two values may get either code.
    - A block of zeros has absmax 0, and the code of 0, which is 7.

    Raises ValueError, naming n and block, if n isn't a multiple of block.
    """
    raise NotImplementedError


def gptq(
    w: np.ndarray, hessian: np.ndarray, group: int, bits: int = 4, damp: float = 0.01
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scales and minima, as from quantize_groups, of w (rows, n) rounded with feedback.

    hessian  H (n, n), symmetric, and with its damping positive definite
    damp     damp · mean(diag H) is first added to H's diagonal, as H may be singular

    - A group's s and m come from its weights as they stand when its first column is reached, and
      stay for the group.
    - A shifted weight that falls outside gets the nearest code, 0 or 2^bits − 1.

    Raises ValueError, naming n and group, if n isn't a multiple of group.
    """
    raise NotImplementedError


def awq(
    w: np.ndarray, x: np.ndarray, group: int, bits: int = 4, grid: int = 20
) -> tuple[float, np.ndarray]:
    """The best α, a float, and its Ŵ (rows, n), for w (rows, n) and inputs x (samples, n).

    W · s is quantized as by quantize_groups; mean |x_j| is over the samples.

    Raises ValueError, naming n and group, if n isn't a multiple of group.
    """
    raise NotImplementedError
