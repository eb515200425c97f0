"""State spaces: one model that is a recurrence and a convolution

**Before you start.**  You need matrices, complex numbers, and the FFT.  You import no other kata.
If linear systems are new: Rush and Karamcheti, "The Annotated S4" (on the web).

**The idea.**  You want to read a second of sound: 16,000 samples.  Attention compares all pairs,
256 million of them.  A recurrent network reads sample by sample.  You can't train it in parallel
over time, and it forgets.

A *state space* is a small linear system.  Its state x is a vector that the signal u pushes
around.  Everything is linear, so you can unroll it: the output is the signal convolved with one
long kernel.  So you train it as a convolution, all samples at once, and run it as a recurrence,
one sample at a time.  Both give the same outputs, up to rounding.

What the state remembers depends on A.  HiPPO chooses A and B so that the state holds the
coefficients of a polynomial: of all with a degree below N, the one that fits the whole past best,
in least squares.

**The formulas.**  x has N numbers.  A is (N, N), B and C are vectors, D is a number, Δ is the
step between two samples.

    continuous   x'(t) = A x(t) + B u(t)          y(t) = C · x(t) + D u(t)
    discrete     x_k = Ā x_{k-1} + B̄ u_k          y_k = C · x_k + D u_k       x_{-1} = 0
    zoh          Ā = exp(Δ A)                     B̄ = ∫₀^Δ exp(s A) B ds
    bilinear     Ā = (I - Δ/2 A)⁻¹ (I + Δ/2 A)    B̄ = (I - Δ/2 A)⁻¹ Δ B
    kernel       K_i = C · Ā^i B̄                  i = 0 … L - 1
    convolution  y_k = Σ_{i = 0 … k} K_i u_{k-i} + D u_k
    HiPPO-LegS   A_nk = -√((2n+1)(2k+1)) for n > k,   -(n + 1) for n = k,   0 for n < k
                 B_n = √(2n+1)                    n and k from 0
    memory       (I - A/k) c_k = c_{k-1} + (B/k) u_k               k = 1, 2, …   c_0 = 0
    read out     f(s) ≈ Σ_n c_n √(2n+1) P_n(2s - 1)                s from 0 (first) to 1 (now)
    Legendre     P_0 = 1,  P_1 = z,  (n + 1) P_{n+1} = (2n + 1) z P_n - n P_{n-1}      at z
    S4D-Lin      A_n = -1/2 + iπ n                                 n = 0 … N - 1, all complex
    diagonal     K_i = 2 Re Σ_n C_n B̄_n exp(Δ A_n)^i,   B̄_n = (exp(Δ A_n) - 1) / A_n

exp of a matrix is the matrix exponential, not that of each entry.  zoh (zero-order hold) takes u
as constant within a step.  HiPPO's own equation is c' = (A c + B u) / t, and a backward Euler
step makes `memory` of it.  P_n is Legendre's polynomial of degree n.

In the diagonal form B is 1 everywhere.  The eigenvalues of a real system come in conjugate pairs.
You keep one of each pair, and the sum of the pair is twice the real part: hence 2 Re, for n = 0
as well.  The layer keeps log(-Re A), so that the real part stays below 0 and the state can't blow
up.

**A drawing**

    recurrence    u₀      u₁      u₂           convolution
                  │ B̄     │ B̄     │ B̄
                  ▼   Ā   ▼   Ā   ▼            K₀ K₁ K₂ …   C·B̄  C·ĀB̄  C·ĀĀB̄
                  x₀ ───▶ x₁ ───▶ x₂           y₂ is  K₀ u₂ + K₁ u₁ + K₂ u₀
                  │ C     │ C     │ C
                  ▼       ▼       ▼
                  y₀      y₁      y₂

**Why does the FFT need zeros?**  It takes both for periodic: the end of the convolution would
come round and be added to its beginning.  With L zeros behind both, what comes round falls
outside the first L outputs, and those are all you keep.

**Why is HiPPO's A divided by k?**  The polynomial is stretched over all of the past.  The longer
the past, the smaller the share of one sample.  So the memory has no time scale of its own: sample
twice as densely, and you get nearly the same coefficients.

**Why diagonal?**  With a full A, the kernel takes L products of a matrix and a vector, one after
the other.  With a diagonal A all powers come at once.  You lose little: nearly every matrix is
diagonal in some complex basis, and a change of basis leaves the kernel as it is.  S4D-Lin simply
chooses the eigenvalues.  Each is a wave that fades with the rate 1/2.

**Worked by hand**

    zoh          N = 1, A = -1, B = 1, Δ = 1:  Ā = 0.3679, B̄ = 0.6321
                 A = 0, B = 1, Δ = 0.5:        Ā = 1, B̄ = 0.5
    bilinear     A = -1, B = 1, Δ = 1:         Ā = 1/3, B̄ = 2/3
    recurrence   Ā = 0.5, B̄ = 1, C = 2, D = 1, u = 1 0 2:  x = 1 0.5 2.25,  y = 3 1 6.5
    kernel       the same system: 2 1 0.5.  Convolved with u: 2 1 4.5, and with D u: 3 1 6.5
    HiPPO        N = 2:  A has rows (-1 0) (-1.7321 -2),  B = (1, 1.7321)
    memory       N = 1, u = 2 4:  2 c_1 = 2, so c_1 = 1;  1.5 c_2 = 1 + 2, so c_2 = 2.
                 That is the mean of three numbers: the start 0, 2 and 4
    read out     c = (2, 1):  at s = 0  0.2679,  at s = 1  3.7321
    S4D-Lin      N = 2:  -0.5  and  -0.5 + 3.1416i

**Shapes**: signals u (..., L) with any leading axes, kernels (L,) or with leading axes that
broadcast against those of u.  Results have the dtype and the device of what comes in.  A and C of
the diagonal form are complex; kernels and outputs are real.  Gradients flow through everything.
No function changes its arguments.

**Steps.**  A good place to pause is after causal_convolution.

    discretize          12 min   one exponential that gives both
    run_recurrence       8 min   one sample at a time
    ssm_kernel           6 min   powers without powers
    causal_convolution   8 min   zeros against the circle
    hippo_legs           6 min   below the diagonal
    hippo_memory        10 min   a linear system for each sample
    read_out             8 min   Legendre by recurrence
    s4d_lin              3 min   complex
    diagonal_kernel      8 min   an outer product
    S4D                 14 min   a layer, and its step

Sources: Gu, Dao et al. 2020, "HiPPO: Recurrent Memory with Optimal Polynomial Projections"; Gu,
Goel and Ré 2022, "Efficiently Modeling Long Sequences with Structured State Spaces"; Gu, Gupta et
al. 2022, "On the Parameterization and Initialization of Diagonal State Space Models".

From scratch: scipy, torchaudio, torch.conv1d and torch.nn.functional.conv1d may not be used.
torch.linalg and torch.fft may.
"""

from torch import Tensor, nn


def discretize(a: Tensor, b: Tensor, step: float, method: str = "zoh") -> tuple[Tensor, Tensor]:
    """Ā (N, N) and B̄ (N,) of A (N, N) and B (N,) for a step above 0.

    method   "zoh" or "bilinear".  With "zoh" A may be singular, even 0: so don't use its inverse

    Raises ValueError, naming the method, if it is neither.
    """
    raise NotImplementedError


def run_recurrence(
    a_bar: Tensor, b_bar: Tensor, c: Tensor, d: float, u: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y (..., L), and the last state (..., N), of a discrete system and signals u (..., L); L is at least 1.

    start   the state (..., N) before the first sample; None: zeros
    """
    raise NotImplementedError


def ssm_kernel(a_bar: Tensor, b_bar: Tensor, c: Tensor, length: int) -> Tensor:
    """The kernel K (length,) of a discrete system; length is at least 1.  D isn't in it."""
    raise NotImplementedError


def causal_convolution(u: Tensor, kernel: Tensor) -> Tensor:
    """Σ_i K_i u_{k-i} for real signals u (..., L) and kernels (..., L), by the FFT: in O(L log L).  D isn't in it.

    Raises ValueError, naming both lengths, if they differ.
    """
    raise NotImplementedError


def hippo_legs(n: int) -> tuple[Tensor, Tensor]:
    """A (n, n) and B (n,) of HiPPO-LegS, float64.

    Raises ValueError, naming n, if it is below 1.
    """
    raise NotImplementedError


def hippo_memory(u: Tensor, n: int) -> Tensor:
    """The coefficients c_L (..., n) after the signals u (..., L), by the lesson's formula.  L = 0 gives zeros."""
    raise NotImplementedError


def read_out(c: Tensor, places: Tensor) -> Tensor:
    """The remembered signals (..., m) at the places s (m,), from 0 to 1, of coefficients c (..., n)."""
    raise NotImplementedError


def s4d_lin(n: int) -> Tensor:
    """The diagonal A (n,) of S4D-Lin, complex128."""
    raise NotImplementedError


def diagonal_kernel(a: Tensor, c: Tensor, step: Tensor, length: int) -> Tensor:
    """The real kernels (H, length) of H diagonal systems.

    a      (H, N), complex; no number is 0
    c      (H, N), complex
    step   (H,), real: Δ of each system
    """
    raise NotImplementedError


class S4D(nn.Module):
    """H diagonal systems side by side, one for each channel.

    log_step       nn.Parameter (H,): log Δ; at the start H evenly spaced values from log 0.001 to log 0.1, ends
                   included.  H is at least 2
    log_decay      nn.Parameter (H, N): log(-Re A), initialised from S4D-Lin
    frequency      nn.Parameter (H, N): Im A, initialised from S4D-Lin
    c              nn.Parameter (H, N, 2): real and imaginary part of C, each normal with deviation 1 at the start
    d              nn.Parameter (H,): normal with deviation 1

    It has no other parameters, and all are real.
    """

    def __init__(self, channels: int, n: int) -> None:
        raise NotImplementedError

    def forward(self, u: Tensor) -> Tensor:
        """Signals (B, L, H) to y (B, L, H), as a convolution."""
        raise NotImplementedError

    def step(self, u: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One sample (B, H) to y (B, H) and the new state (B, H, N), complex, as a recurrence; None: a state of zeros.

        Sample by sample it gives what forward gives at once.
        """
        raise NotImplementedError
