"""A systolic array, a spiking neuron, and placement on an edge device

**Before you start.**  You need the product of matrices, e^x, and dynamic programming (recursion
with a cache) for the last function.  No other kata.  Are chips new to you?  Read Jouppi et al.
2017, sections 1 and 2.

**The idea.**  Fetching a number from DRAM costs hundreds of times the energy of a multiplication.
So hardware for neural networks uses each number many times, or doesn't fetch it at all.  Here are
three ways.

- *A systolic array*, as in Google's TPU, is a grid of cells.  Each multiplies, adds, and passes
  numbers on to its neighbours, one cell per cycle.
- *A neuromorphic chip* (Loihi, TrueNorth) keeps a neuron's state next to its weights.  Only spikes
  move.
- *An edge device* has an accelerator with a little memory (an FPGA's is its block RAM) beside a
  slow CPU.  Which operators of a model run where?

**The formulas.**  *The array* computes y = x w, x (m, k), w (k, n).  Cell (i, j) holds w[i, j].
Inputs a flow right, partial sums p flow down.  In each cycle all cells work at once, on what their
neighbours held after the cycle before:

    a[i, j] ← a[i, j − 1] of the cycle before, or the array's input i where j = 0
    p[i, j] ← p[i − 1, j] of the cycle before, or 0 where i = 0, plus the new a[i, j] · w[i, j]

A sum reaches row i one cycle after row i − 1, so input i must come i cycles later: the inputs are
*skewed*.  In cycle t, from 0 on, input i gets x[t − i, i], or 0 where x has no such row.  Below, x
= [1 2; 3 4] flows into w = [1 0 2; 5 1 0], and the bottom row gives y along its diagonals:

    inputs, the           cells
    first is nearest
                 3 1 ▶ [ 1 ] ▶ [ 0 ] ▶ [ 2 ]
                         ▼       ▼       ▼
               4 2 0 ▶ [ 5 ] ▶ [ 1 ] ▶ [ 0 ]
                         ▼       ▼       ▼
    cycle 0              0       0       0
          1             11       0       0
          2             23       2       0       row 0 of y: 11 2 2, cycles 1 2 3
          3              0       4       2       row 1 of y: 23 4 6, cycles 2 3 4
          4              0       0       6

y[r, j] is in the bottom row in cycle r + (k − 1) + j.  So, once the weights are loaded,

    cycles = m + k + n − 2

A larger product is cut into tiles of weights; `tiled_cycles` counts their cycles.  A
*double-buffered* array loads the next tile's weights while it streams, so you wait for the first
load only.

    utilisation = m · k · n / (rows · cols · cycles)        useful products / time of all cells

*The neuron* is leaky integrate-and-fire: potential v, current I, time constant τ, step dt.  If the
current is constant over a step, τ dv/dt = I − v has an exact solution:

    v ← I + (v − I) · e^(−dt/τ)        then, if v ≥ threshold: a spike, and v ← reset

*The placement.*  The operators form a chain.  Its input comes from the CPU, and its output goes
back there.  Each hand-over costs `transfer` seconds.  Here two of three operators are on the
accelerator:

    CPU            input ▶ 5 ┐           ┌ output
    hand-over               0.5         0.5           10 seconds in total
    accelerator              └▶ 2 ─▶ 2 ─┘

**Why is most of the array idle at a batch of 1?**  Streaming m rows takes m + rows + cols − 2
cycles.  A cell works in m of them: at 256 × 256 and m = 1, in one of 511.

**Why not place the operators that gain most?**  One may leave no room for others that gain more
together.  One that is slower on the accelerator may save two hand-overs.

**Worked by hand**, besides the drawings:

    (100, 300) times (300, 300) on 256 × 256 cells: 4 tiles of 256 + 610 cycles = 3464,
    utilisation 9,000,000 / (65536 · 3464) = 0.0396; double-buffered 2696 and 0.0509

    I = 1.6, dt/τ = ln 2 (so e^(−dt/τ) = ½), threshold 1, reset −0.4:
    v = 0.8, 1.2 → spike, −0.4;  0.6, 1.1 → spike, −0.4;  …

    cpu [5 4 5]   accelerator [1 2 2]   memory [6 4 4]   budget 8   transfer 0.5
    the first operator alone: 1 + 4 + 5 + 2 · 0.5 = 11;  the other two: 5 + 2 + 2 + 1 = 10

**Shapes**: x (m, k), w (k, n), y (m, n), current (T,).  Everything is float64.
No function changes its arguments.

**Steps.**

    SystolicArray     10 min   all cells at once: read everything before you write
    systolic_matmul   10 min   skew the inputs, and read the bottom row askew
    tiled_cycles       5 min   round up
    utilisation        3 min   padding isn't useful
    lif_neuron         7 min   v at the end of a step with a spike
    place_operators   20 min   what of the past does the rest depend on?

Sources: Kung 1982, "Why systolic architectures?"; Jouppi et al. 2017, "In-Datacenter
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
        """One cycle: feed `inputs` (k,), one number for each row, into the first column.

        Returns p (k, n), every cell's partial sum at the end of this cycle.  It doesn't change
        `inputs`, and later steps don't change an array that was returned.
        """
        raise NotImplementedError


def systolic_matmul(x: NDArray, w: NDArray) -> tuple[NDArray, int]:
    """The product of `x` (m, k) and `w` (k, n) on a k × n array; all sizes ≥ 1.

    - Make one SystolicArray and call its `step` once per cycle, m + k + n − 2 times, with the
      skewed inputs (0 where there is none).
    - Put the product together from the bottom rows that `step` returned, and nothing else.

    Returns y (m, n) and the number of cycles, an int.
    Raises ValueError, naming both, if x's columns are not as many as w's rows.
    """
    raise NotImplementedError


def tiled_cycles(
    m: int, k: int, n: int, rows: int, cols: int, double_buffered: bool = False
) -> int:
    """Cycles of an (m, k) times (k, n) product on an array of `rows` × `cols` cells, an int.

    - The weights are cut into ⌈k/rows⌉ · ⌈n/cols⌉ tiles.
    - Every tile is padded with zeros to the whole array, however small it is.
    - Loading a tile takes `rows` cycles: weights are shifted in from above, a row per cycle.
    - Streaming all of x through it takes m + rows + cols − 2.
    - Without `double_buffered`, each tile loads and then streams, one after the other.
    - With it, the first tile loads, and then all stream.
    """
    raise NotImplementedError


def utilisation(
    m: int, k: int, n: int, rows: int, cols: int, double_buffered: bool = False
) -> float:
    """Useful multiplications over those that all cells could do in `tiled_cycles`, a float."""
    raise NotImplementedError


def lif_neuron(
    current: NDArray, tau: float, threshold: float, reset: float, dt: float
) -> tuple[NDArray, NDArray]:
    """A leaky integrate-and-fire neuron under `current` (T,), a number for each step; T ≥ 1.

    - v starts at 0, whatever `reset` is, and follows the exact update above.
    - `tau` and `dt` have the same unit.
    - It may spike in one step after the other.

    Returns the potentials (T,), v at the end of each step, so `reset` itself in a step with a
    spike, and the spikes (T,), boolean.
    """
    raise NotImplementedError


def place_operators(
    cpu: list[float], accelerator: list[float], memory: list[int], budget: int, transfer: float
) -> tuple[list[bool], float]:
    """The placement of a chain of operators with the least latency.

    cpu          seconds of each operator on the CPU; one operator or more
    accelerator  seconds of each on the accelerator
    memory       what each takes of the accelerator's memory there, all the time; 0 or more
    budget       the memory that all operators placed there may take together, and no more
    transfer     seconds of each hand-over, that to the first operator and that from the last
                 included, if those are on the accelerator

    Returns the placement, a bool for each operator (True: on the accelerator), and the latency in
    seconds, a float.

    - The latency is the least possible.  Of several placements that reach it, any will do.
    - 40 operators and a budget of 200 take seconds at most, so trying all 2ⁿ placements is too
      slow.
    """
    raise NotImplementedError
