"""A systolic array, a spiking neuron, and placement on an edge device

Fetching a number from DRAM costs hundreds of times the energy of a multiplication,
so hardware for neural networks is built to use each number it fetched many times.

The TPU (Jouppi et al. 2017) does it with a systolic array: a grid of 256 × 256
cells that each multiply and add, passing numbers to their neighbours as a heart
passes blood.  For y = x w, with x (m, k) and w (k, n), the array has k rows and n
columns and is weight-stationary: cell (i, j) holds w[i, j] and never changes it.
In each cycle all cells work at once, on what their neighbours held at the end of
the cycle before:

    a[i, j] ← a[i, j - 1]  of the cycle before;  the array's input i  if j = 0
    p[i, j] ← p[i - 1, j]  of the cycle before (0 if i = 0)  +  a[i, j] · w[i, j]

Inputs flow right, partial sums flow down.  A sum meets row i one cycle after row
i - 1, so input i must come i cycles later: the inputs are skewed.  In cycle t
(0 is the first) input i gets x[t - i, i], or 0 where x has no such row.  Then
y[r, j] stands in the bottom row in cycle r + (k - 1) + j, and the last one, y[m - 1,
n - 1], is there after

    cycles = m + k + n - 2            counted once the weights stand

A larger matmul is cut into ⌈k / rows⌉ · ⌈n / cols⌉ tiles of weights, the last ones
padded with zeros.  Per tile, loading the weights takes `rows` cycles (they are
shifted in from above, a row a cycle) and streaming all m rows of x takes
m + rows + cols - 2.  A double-buffered array, as the TPU's, loads the next tile's
weights behind the ones in use, while the inputs stream: only the first tile's load
is left to wait for.  Utilisation is the share of useful work, m · k · n products,
in the rows · cols · cycles that the cells had time for.  Few rows of x (a batch
of 1) and tiles that don't fit leave most of the array idle.

Neuromorphic chips (Loihi, TrueNorth) go further: a neuron holds its own state, next
to its weights, and only speaks when it spikes.  The leaky integrate-and-fire neuron
follows τ dv/dt = I - v.  If I is constant over a step dt, that is solved exactly:

    v ← I + (v - I) · e^(-dt/τ);    if v ≥ threshold: a spike, and v ← reset

so under a constant current a spike comes every τ ln((I - reset) / (I - threshold)),
rounded up to whole steps, and never if I stays below the threshold.

Edge devices have an accelerator with a little memory next to a slow CPU.  (On an
FPGA, whose logic is wired per model, the budget is its block RAM.)  A model is a
chain of operators.  Each runs on the CPU or on the accelerator, where it takes memory
for its weights all the time; a hand-over between the two takes `transfer` seconds.
The input comes from the CPU and the output goes back to it.  It is not enough to
take the operators that gain most: one that doesn't fit with others can cost more
than it brings, and one that is slower on the accelerator may save two hand-overs.

Worked by hand:

    x = [[1 2]    w = [[1 0 2]     inputs, by cycle:  [1 0]  [3 2]  [0 4]  [0 0]  [0 0]
         [3 4]]        [5 1 0]]    bottom row:     [0 0 0] [11 0 0] [23 2 0] [0 4 2] [0 0 6]
    y = [[11 2 2] [23 4 6]], read off along the diagonals, in 2 + 2 + 3 - 2 = 5 cycles

    (100, 300) times (300, 300) on 256 × 256: 4 tiles of 256 + 610 cycles = 3464,
    utilisation 9,000,000 / (65536 · 3464) = 0.0396; double-buffered 2696 and 0.0509

    I = 1.6, dt/τ = ln 2 (so e^(-dt/τ) = ½), threshold 1, reset -0.4:
    v = 0.8, 1.2 → spike, -0.4;  0.6, 1.1 → spike, -0.4;  …

    cpu [5 4 5]   accelerator [1 2 2]   memory [6 4 4]   budget 8   transfer 0.5
    the first operator alone: 1 + 4 + 5 + 2 · 0.5 = 11;  the other two: 5 + 2 + 2 + 1 = 10

Everything is float64.  No function changes its arguments.

Source: Kung 1982, "Why systolic architectures?"; Jouppi et al. 2017, "In-Datacenter
Performance Analysis of a Tensor Processing Unit", section 2; Gerstner et al. 2014,
"Neuronal Dynamics", section 1.3.

From scratch: @, numpy.matmul, numpy.dot, numpy.einsum, numpy.tensordot, numpy.inner
and scipy may not be used.
"""

from numpy.typing import NDArray


class SystolicArray:
    """A grid of multiply-add cells with stationary weights, all other registers 0."""

    def __init__(self, w: NDArray):
        """`w` (k, n) are the weights: they stand in the cells before the first cycle."""
        raise NotImplementedError

    def step(self, inputs: NDArray) -> NDArray:
        """One cycle: feed `inputs` (k,), one number per row, into the first column.

        Returns p (k, n), every cell's partial sum at the end of this cycle.  Doesn't
        change `inputs`; later steps don't change an array that was returned.
        """
        raise NotImplementedError


def systolic_matmul(x: NDArray, w: NDArray) -> tuple[NDArray, int]:
    """The product of `x` (m, k) and `w` (k, n) on a k × n array; all sizes ≥ 1.

    Makes a SystolicArray and calls its `step` once per cycle, m + k + n - 2 times, with
    the skewed inputs (0 where there is none).  The product is put together from the
    bottom rows that `step` returned.

    Returns y (m, n) and the number of cycles, an int.
    Raises ValueError, naming both widths, if x's columns are not as many as w's rows.
    """
    raise NotImplementedError


def tiled_cycles(m: int, k: int, n: int, rows: int, cols: int, double_buffered: bool = False) -> int:
    """Cycles of an (m, k) times (k, n) product on an array of `rows` × `cols` cells, an int.

    Every tile is padded to the whole array, however small it is.  One tile follows the
    other: without `double_buffered`, each loads its weights and then streams; with it,
    the first loads, and then all stream.
    """
    raise NotImplementedError


def utilisation(m: int, k: int, n: int, rows: int, cols: int, double_buffered: bool = False) -> float:
    """Useful multiplications over those that all cells could do in `tiled_cycles`, a float."""
    raise NotImplementedError


def lif_neuron(
    current: NDArray, tau: float, threshold: float, reset: float, dt: float
) -> tuple[NDArray, NDArray]:
    """A leaky integrate-and-fire neuron under `current` (T,), a number per step; T ≥ 1.

    v starts at 0, whatever `reset` is, and follows the exact update above.  `tau` and
    `dt` have the same unit.

    Returns the potentials (T,), v at the end of each step, so `reset` itself in a step
    with a spike; and the spikes (T,), boolean.  It may spike in one step after the other.
    """
    raise NotImplementedError


def place_operators(
    cpu: list[float], accelerator: list[float], memory: list[int], budget: int, transfer: float
) -> tuple[list[bool], float]:
    """The placement of a chain of operators with the least latency.

    Operator i takes cpu[i] seconds on the CPU, or accelerator[i] seconds and memory[i]
    (≥ 0) of the accelerator's memory.  The memory of all operators placed there may be
    `budget` in total, and no more.  Each hand-over between CPU and accelerator takes
    `transfer` seconds, the one to the first operator and the one from the last included,
    if those are on the accelerator.

    Returns the placement, a bool per operator (True: on the accelerator), and the latency
    in seconds, a float.  The latency must be the least possible; of several placements
    that reach it, any will do.  40 operators and a budget of 200 must take no more than
    seconds, so trying all 2ⁿ placements is too slow.
    """
    raise NotImplementedError
