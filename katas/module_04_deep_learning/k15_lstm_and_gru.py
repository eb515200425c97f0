"""LSTM and GRU

**Before you start.**  You need the recurrent layer: its state, its padding, both directions.  Your
code for recurrent_networks is a good start, but copy from it: nothing is imported.  Pictures: Olah
2015, "Understanding LSTM Networks".

**The idea.**  A plain recurrent network forgets.  Each step multiplies its whole state by a matrix,
and on the way back it does the same to the gradient.  So give the memory a path of its own, on
which a step only multiplies by a gate and adds.  A gate is a number from 0 to 1 for each feature: 1
keeps, 0 forgets.  The network learns when to open which gate.

**The formulas**, for an input x of d features and a state of m features.  σ is the sigmoid, ⊙
multiplies entry by entry, and [h, x] is short for W_ih x + b_ih + W_hh h + b_hh.

*LSTM*, with state h and cell c.  It has four gates.  Their rows are stacked in the weights, so W_ih
is (4m, d) and W_hh (4m, m), and each gate takes its own rows of [h, x]:

    i = σ[h, x]      input gate        rows 0 … m-1
    f = σ[h, x]      forget gate       rows m … 2m-1
    g = tanh[h, x]   what is new       rows 2m … 3m-1
    o = σ[h, x]      output gate       rows 3m … 4m-1
    c' = f ⊙ c + i ⊙ g
    h' = o ⊙ tanh(c')

    c ────────▶ ⊙ ──────────▶ + ─────────────┬──────▶ c'
                ▲             ▲              ▼
                f       i ──▶ ⊙ ◀── g       tanh
                                             ▼
    h, x ──▶ i, f, g, o               o ───▶ ⊙ ─────▶ h'

*GRU*, with state h only, and three gates:

    r = σ[h, x]      reset gate        rows 0 … m-1
    z = σ[h, x]      update gate       rows m … 2m-1
    n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))        W_in, W_hn …: rows 2m … 3m-1
    h' = (1 - z) ⊙ n + z ⊙ h

*Layers.*  Layer k + 1 reads the outputs of layer k.  D is the number of directions.  With both
(D = 2), the output at t is the forward state followed by the backward state.

    x (b, n, d) ──▶ layer 0 ──▶ (b, n, D·m) ──▶ layer 1 ──▶ (b, n, D·m)

    states, stacked:   layer 0 forward, layer 0 backward, layer 1 forward, …

**Why does an LSTM remember?**  With the gates held fixed, ∂c'/∂c is f.  If f is 0.99, then 0.37 of
the gradient is left after 100 steps.  But a fresh network's f is about ½, which leaves 8e-31.  So
start with the forget gate open: a bias of 1 makes f 0.73, a bias of 5 makes it 0.993.

**Why does r multiply W_hn h, and not h?**  Cho et al. reset h first: W_hn (r ⊙ h).  torch and cuDNN
reset afterwards, so that one matrix product with h serves all three gates.  The results differ.

**Worked by hand**, d = m = 1 with all weights 0, so that only the biases count:

    LSTM  c = 1, b_ih = [0 2 1 0]:   i = 0.5, f = 0.881, g = 0.762, o = 0.5
          c' = 0.881 + 0.381 = 1.262     h' = 0.5 · tanh(1.262) = 0.426
    GRU   h = 1, b_ih = [0 1 0.2], b_hh = [0 0 1]:   r = 0.5, z = 0.731
          n = tanh(0.2 + 0.5 · 1) = 0.604     h' = 0.269 · 0.604 + 0.731 · 1 = 0.894

**Shapes** are in each docstring.  All tensors of a call share a device and a dtype, float32 or
float64, and the answer has them, too.  No function or method changes its arguments, except
set_forget_bias.

**Steps.**  A good place to pause is before LSTM.

    lstm_step         10 min   four gates from one product
    gru_step          10 min   where does r multiply?
    set_forget_bias    5 min   two biases are added: only their sum counts
    LSTM              30 min   loop over t, per layer and direction; padding changes no state
    GRU               10 min   the same loop with another step

Sources: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory"; Gers et al. 2000, "Learning to
Forget"; Cho et al. 2014, "Learning Phrase Representations using RNN Encoder–Decoder"; Jozefowicz
et al. 2015, "An Empirical Exploration of Recurrent Network Architectures" (the bias of 1);
PyTorch's documentation of nn.LSTM and nn.GRU.

From scratch: torch.nn.LSTM, torch.nn.LSTMCell, torch.nn.GRU, torch.nn.GRUCell, torch.nn.RNNBase,
torch.lstm, torch.gru, torch.lstm_cell and torch.gru_cell may not be used.
"""

from typing import NamedTuple

from torch import Tensor, nn


class Weights(NamedTuple):
    """The weights of a step: G is 4 for an LSTM, 3 for a GRU."""

    w_ih: Tensor  # (G·m, d)
    w_hh: Tensor  # (G·m, m)
    b_ih: Tensor  # (G·m,)
    b_hh: Tensor  # (G·m,)


def lstm_step(x: Tensor, state: tuple[Tensor, Tensor], weights: Weights) -> tuple[Tensor, Tensor]:
    """The next (h, c), both (..., m), from x (..., d) and the state (h, c).

    Gradients reach x, h, c and the weights.
    """
    raise NotImplementedError


def gru_step(x: Tensor, h: Tensor, weights: Weights) -> Tensor:
    """The next state (..., m), from x (..., d) and h (..., m).

    Gradients reach x, h and the weights.
    """
    raise NotImplementedError


def set_forget_bias(lstm: nn.Module, value: float) -> None:
    """Set the forget gate's whole bias, b_ih + b_hh, to `value` in each layer and direction, in place.

    `lstm` is an nn.LSTM, or your LSTM: a module with the same names of parameters.

    - It has biases.  How the value is shared between the two is up to you.  All other numbers stay.
    - The parameters stay the same objects, and can be trained afterwards.
    """
    raise NotImplementedError


class LSTM(nn.Module):
    """Layers of LSTMs, with the parameters of nn.LSTM(d, m, layers, batch_first=True), name for name.

    Layer k has weight_ih_l{k} (4m, its inputs), weight_hh_l{k} (4m, m), bias_ih_l{k} and
    bias_hh_l{k} (4m,); if bidirectional also the same with `_reverse` at the end; no other parameter or buffer.
    """

    def __init__(self, d: int, m: int, layers: int = 1, bidirectional: bool = False) -> None:
        """Each parameter is drawn on its own, uniformly from -1/√m to 1/√m, the biases, too."""
        raise NotImplementedError

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The last layer's outputs (b, n, D·m) and the last states (h, c), where D is 1, or 2 if bidirectional.

        - x (b, n, d) with b, n ≥ 1.
        - The states, in and out, are (h, c), both (layers · D, b, m).  None stands for zeros.
        - lengths (b,) int64, on the device of x, each from 1 to n: of row i only the first
          lengths[i] items are read, in either direction.  Outputs beyond them are 0.  None: all n are.
        - The last states are those after the last item that each direction reads.
        - The padding may hold any numbers of moderate size.  Nothing depends on them.
        - Gradients reach x, the states and the parameters.
        - A call doesn't depend on earlier ones: states are carried only through `state`.
        """
        raise NotImplementedError


class GRU(nn.Module):
    """Layers of GRUs, with the parameters of nn.GRU(d, m, layers, batch_first=True), name for name.

    The same as LSTM's, with 3m in place of 4m.
    """

    def __init__(self, d: int, m: int, layers: int = 1, bidirectional: bool = False) -> None:
        """As LSTM's."""
        raise NotImplementedError

    def forward(self, x: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The last layer's outputs (b, n, D·m) and the last states (layers · D, b, m), as LSTM's without c."""
        raise NotImplementedError
