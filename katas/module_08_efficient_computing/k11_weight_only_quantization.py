"""Weight-only quantization

To write one token, a language model reads every weight from memory once and
uses it once: the time goes into reading.  With 4 bits a weight in place of 16 it
reads a quarter, and the arithmetic may stay in floats.  But 4 bits are 16 values,
so where these lie, and how each is chosen, decides what is left of the model.

Groups.  Each `group` consecutive weights of a row get an even grid of their own,
so that one large weight makes the steps coarse for its neighbours only:

    m = min w        s = (max w − min w) / (2ᵇ − 1)
    q = clamp(trunc((w − m) · (1/s) + ½), 0, 2ᵇ − 1)        ŵ = s · q + m

b is the number of bits.  trunc drops the fraction, so halves go up.  1/s is
computed first and then multiplied by: in floats that can differ from (w − m) / s,
and a file format leaves no room for it.  A constant group has s = 0; its 1/s
counts as 0, so all its codes are 0, and numpy has nothing to warn of.  All arithmetic is in the dtype of w.

GGUF Q4_1 is that with groups of 32 and 4 bits, in float32, a block of 20 bytes:

    s as float16 (2 bytes) | m as float16 (2 bytes) | 16 bytes of codes
    byte j of the codes = q_j + 16 · q_{j+16}       (little-endian throughout)

The codes are found with s and m in float32; only what is stored is float16.
ŵ is computed in float32, from the float16 s and m.  That is 5 bits a weight.

NF4.  Trained weights look normally distributed, and an even grid wastes codes on
its thin tails.  NF4's 16 values in [−1, 1] are quantiles of the normal
distribution: with Φ⁻¹ its inverse distribution function and o = 0.9677083, the
positive ones are Φ⁻¹ of the 8 numbers that go in equal steps from o down
towards ½, which would be the 9th; then 0; and the negative ones −Φ⁻¹ of the 7
numbers that go in equal steps from o towards ½, which would be the 8th.  All are
divided by the largest, Φ⁻¹(o).  A block of weights is divided by its largest
absolute value, absmax, and each becomes the index of the nearest of the 16.

GPTQ.  A layer answers X Wᵀ, so what counts is the error of the output, which for
one row with error δ = w − ŵ is δ H δᵀ, H = XᵀX.  Where inputs are correlated, the
error of one weight can be made up for by others.  GPTQ rounds column after
column, and shifts all columns not yet rounded by what suits them best then:

    H⁻¹ = UᵀU,  U upper triangular (Cholesky)
    for i = 0, 1, …:    e = (w_i − ŵ_i) / U_ii        w_j ← w_j − e · U_ij for j > i

Row i of U holds what the inverse of H without columns 0…i−1 would say, so one
factorization serves all steps.  Since H may be singular, damp · mean(diag H)
is first added to its diagonal.  A group's s and m come from its weights as they
stand when its first column is reached, and stay for the group; a shifted weight
that falls outside gets the nearest code, 0 or 2ᵇ − 1.

AWQ.  A few input channels are far larger than the rest, and the errors of their
weights count for most.  Multiplying column j of W by s_j > 1 before rounding,
and dividing by it afterwards, gives that column finer steps at the others' cost:

    a_j = max(mean |x_j|, 10⁻⁴)      s = a^α      Ŵ = dequantize(quantize(W · s)) / s

and α is the one of 0, 1/grid, 2/grid, …, 1 whose output ‖X (W − Ŵ)ᵀ‖² errs least.

Worked by hand, one group of 4 with 2 bits, s = 3 / 3 = 1 and m = −1:

    w = [−1, −0.5, 0.2, 2]  →  (w − m)/s = [0, 0.5, 1.2, 3]  →  q = [0, 1, 1, 3]
                            →  ŵ = [−1, 0, 0, 2]
    Q4_1: w = 0, 1, …, 15, 15, …, 1, 0  →  s = 1, m = 0, so the bytes are
    00 3C  00 00  F0 E1 D2 C3 … 1E 0F      (3C00 is 1 in float16)
    NF4: w = [0.5, −2, 1, 0], absmax 2  →  [0.25, −1, 0.5, 0]  →  q = [10, 0, 12, 7]
    GPTQ, damp = 0, w = [−1, 0.4, 0.35, 2] and 2 bits as above, H = I but
    H₁₁ = H₂₂ = 2 and H₁₂ = H₂₁ = 1:  ŵ₁ = 0 is 0.4 too low, so w₂ becomes 0.35 + 0.2
    and rounds to 1, not 0.  δ H δᵀ is 0.645; plain rounding has 0.845.

Shapes: w is (..., n), and in gptq and awq (rows, n); codes are uint8 in the shape
of w; scales, minima and absmax are (..., n / group), in the dtype of w, which is
float32 or float64 (float64 in gptq and awq).  n counts whole groups only.
No function changes its arguments.

Source: ggml's Q4_1 (llama.cpp, gguf-py); Dettmers et al. 2023, "QLoRA", section 3
and appendix E; Frantar et al. 2022, "GPTQ", section 3; Lin et al. 2023, "AWQ",
section 3.2.

From scratch: gguf, bitsandbytes and torch.ao may not be used.
"""

import numpy as np


def quantize_groups(w: np.ndarray, group: int, bits: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scales and minima of w (..., n), each `group` weights along the last axis on a grid of 2^bits.

    bits is 1 to 8.
    Raises ValueError, naming n and group, if n isn't a multiple of group.
    """
    raise NotImplementedError


def dequantize_groups(codes: np.ndarray, scales: np.ndarray, minima: np.ndarray) -> np.ndarray:
    """The weights s · q + m that codes (..., n), scales and minima (..., n / group) stand for, in their dtype."""
    raise NotImplementedError


def pack_q4_1(w: np.ndarray) -> np.ndarray:
    """The Q4_1 blocks of w (..., n) as bytes: uint8 (..., n / 32 · 20), one block after the other.

    w is first cast to float32, and within the range of float16.
    Raises ValueError, naming n and 32, if n isn't a multiple of 32.
    """
    raise NotImplementedError


def unpack_q4_1(packed: np.ndarray) -> np.ndarray:
    """The float32 weights (..., k · 32) of Q4_1 blocks, uint8 (..., k · 20).

    Raises ValueError, naming the length and 20, if the last axis isn't whole blocks.
    """
    raise NotImplementedError


def nf4_codebook() -> np.ndarray:
    """NF4's 16 values, ascending, −1 first and 1 last: float64 (16,).  Judged to 1e-6."""
    raise NotImplementedError


def quantize_nf4(w: np.ndarray, block: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """NF4 codes of w (..., n), and absmax (..., n / block) of each `block` weights along the last axis.

    What is exactly midway between two values may get either code.  A block of
    zeros has absmax 0, and the code of 0, which is 7.
    Raises ValueError, naming n and block, if n isn't a multiple of block.
    """
    raise NotImplementedError


def gptq(
    w: np.ndarray, hessian: np.ndarray, group: int, bits: int = 4, damp: float = 0.01
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scales and minima, as from quantize_groups, of w (rows, n) rounded with feedback by hessian (n, n).

    hessian is symmetric, and with its damping positive definite.
    Raises ValueError, naming n and group, if n isn't a multiple of group.
    """
    raise NotImplementedError


def awq(w: np.ndarray, x: np.ndarray, group: int, bits: int = 4, grid: int = 20) -> tuple[float, np.ndarray]:
    """The best α, a float, and its Ŵ (rows, n), for w (rows, n) and inputs x (samples, n).

    W · s is quantized as by quantize_groups; mean |x_j| is over the samples.
    Raises ValueError, naming n and group, if n isn't a multiple of group.
    """
    raise NotImplementedError
