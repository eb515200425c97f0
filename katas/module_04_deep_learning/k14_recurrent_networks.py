"""Recurrent networks

**Before you start.**  You need the chain rule for matrices, tanh and nn.Module; no other kata.  If
these are new: Goodfellow et al. 2016, "Deep Learning", section 10.2.

**The idea.**  A sentence has any length, but a layer has a fixed size.  So read one item at a time,
and keep what you have read in a state: a vector that each step changes.  All steps share one set
of weights.  To train them, unroll the loop and send the gradient back through every step.

**The formulas.**  For the input x_t (d features) and the state h (m features):

    h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)

    W_ih (m, d)   W_hh (m, m)   b_ih, b_hh (m,)   h_{-1} is given

           ┌──────┐ h₀  ┌──────┐ h₁  ┌──────┐
    h₋₁ ──▶│ step ├──┬─▶│ step ├──┬─▶│ step ├──┬──▶ h₂, the last state
           └──────┘  │  └──────┘  │  └──────┘  │
              ▲      ▼     ▲      ▼     ▲      ▼
              x₀     y₀    x₁     y₁    x₂     y₂       y_t is h_t

*Backpropagation through time.*  Let u_t be the gradient of the loss that reaches h_t from y_t, g_t
the whole gradient at h_t, and a_t the one inside the tanh.  ⊙ multiplies entry by entry.  Go from
the last step to the first, where nothing comes from a later step:

    g_t  = u_t + W_hhᵀ a_{t+1}        what comes from y_t, and from the step after
    a_t  = g_t ⊙ (1 - h_t²)           through tanh
    ∂W_ih += a_t x_tᵀ    ∂W_hh += a_t h_{t-1}ᵀ    ∂b_ih += a_t    ∂b_hh += a_t
    ∂x_t = W_ihᵀ a_t     ∂h₋₁ = W_hhᵀ a_0

*Truncation.*  A long text is cut into windows of k steps.  The state goes on into the next
window, the gradient doesn't go back: a state that enters a window counts as a constant.

    k is 3:   h₋₁ ⇄ h₀ ⇄ h₁ ⇄ h₂ ──▶ h₃ ⇄ h₄ ⇄ h₅ ──▶ h₆     ⇄ with gradient
              └──────────────┘       └──────────┘            ──▶ without

*Both directions.*  A second set of weights reads from the last item to the first.  The output at t
is the forward state there, followed by the backward one.

    length 3 of 4     a    b    c    ·        · is padding: never read
    forward           1 ─▶ 2 ─▶ 3             its last state is at c
    backward          3 ◀─ 2 ◀─ 1             its last state is at a
    output            both both both 0

**Why do gradients vanish?**  On its way from h_t to h_{t-1} the gradient is multiplied by W_hhᵀ,
and by 1 - h_t², which is at most 1.  If W_hh shrinks every vector by the factor 0.9, at most 2.7e-5
of the gradient is left after 100 steps.  If W_hh stretches vectors, the gradient may explode.
`gradient_reach` measures how much of it is left.

**Why does a padded row need its length?**  The forward direction would go on into the padding and
change its last state.  The backward direction would begin there.

**Worked by hand**, d = m = 1, W_ih = 1, W_hh = 0.5, no biases, h₋₁ = 0, x = [1 0]:

    h₀ = tanh(1) = 0.762    h₁ = tanh(0.381) = 0.363    the loss is h₁, so u = [0 1]
    a₁ = 1 - 0.363² = 0.868             ∂W_hh = 0.868 · 0.762 + 0 = 0.661
    g₀ = 0.5 · 0.868 = 0.434            a₀ = 0.434 · (1 - 0.762²) = 0.182
    ∂W_ih = 0.868 · 0 + 0.182 · 1 = 0.182,  ∂b = 1.050,  ∂h₋₁ = 0.5 · 0.182 = 0.091
    cut into windows of 1 step:  ∂W_ih = 0,  ∂W_hh = 0.661,  ∂h₋₁ = 0

**Shapes**: x (b, n, d) with b, n ≥ 1, states (b, n, m).  All tensors of a call share a device and a
dtype, float32 or float64, and so does the answer.  No function or method changes its arguments.

**Steps.**

    rnn_step         5 min   one formula, any leading dimensions
    rnn_forward      5 min   the state goes from step to step
    rnn_backward    20 min   which state belongs to ∂W_hh? where does a window begin?
    gradient_reach   5 min   the same way back, without the weights
    RNN             25 min   padding changes no state

Sources: Elman 1990, "Finding Structure in Time"; Werbos 1990, "Backpropagation Through Time: What
It Does and How to Do It"; Pascanu et al. 2013, "On the difficulty of training recurrent neural
networks"; PyTorch's documentation of nn.RNN.

From scratch: torch.nn.RNN, torch.nn.RNNCell, torch.nn.RNNBase, torch.nn.LSTM, torch.nn.GRU,
torch.rnn_tanh, torch.rnn_tanh_cell, torch.autograd, torch.func and torch.Tensor.backward may not
be used.
"""

from typing import NamedTuple

from torch import Tensor, nn


class Weights(NamedTuple):
    """The weights of a step, or their gradients."""

    w_ih: Tensor  # (m, d)
    w_hh: Tensor  # (m, m)
    b_ih: Tensor  # (m,)
    b_hh: Tensor  # (m,)


def rnn_step(x: Tensor, h: Tensor, weights: Weights) -> Tensor:
    """The next state (..., m), from the input x (..., d) and the state h (..., m).

    Gradients reach x, h and the weights.
    """
    raise NotImplementedError


def rnn_forward(x: Tensor, h0: Tensor, weights: Weights) -> Tensor:
    """All states (b, n, m): entry t is the state after x[:, t].

    - x (b, n, d); h0 (b, m) is the state before the first step (h₋₁ in the lesson).
    - Gradients reach x, h0 and the weights.
    """
    raise NotImplementedError


def rnn_backward(
    x: Tensor, h0: Tensor, weights: Weights, states: Tensor, upstream: Tensor, truncate: int | None = None
) -> tuple[Tensor, Tensor, Weights]:
    """Backpropagation through time by hand: the gradients of x (b, n, d), h0 (b, m) and the weights.

    - `states` (b, n, m) is what rnn_forward gave.  `upstream` (b, n, m) is u, the gradient that
      reaches each state from outside; more than the last may be other than 0.
    - The gradients of the weights are sums over the batch and over time.
    - `truncate` is k, the steps of a window; windows begin at 0, k, 2k, …, and the last one
      may be shorter.  h0 gets its gradient from the first window alone.  None: one window.
    - No argument requires a gradient, and no answer does.

    Raises ValueError, naming `truncate`, if it is below 1.
    """
    raise NotImplementedError


def gradient_reach(states: Tensor, w_hh: Tensor, upstream: Tensor) -> Tensor:
    """How much of the last state's gradient reaches each state: norms (n,).

    A loss that depends on the last state alone has the gradient `upstream` (b, m) there.  Entry t
    is the Euclidean norm, over batch and features together, of the loss's gradient with respect to
    states[:, t].  The last entry is the norm of `upstream` itself.  `states` is (b, n, m).
    """
    raise NotImplementedError


class RNN(nn.Module):
    """A layer that reads in one direction or in both, with the parameters of nn.RNN(batch_first=True).

    weight_ih_l0 (m, d), weight_hh_l0 (m, m), bias_ih_l0 and bias_hh_l0 (m,); if bidirectional also
    the same with `_reverse` at the end of their names; no other parameter or buffer.
    So nn.RNN's state dict can be loaded.
    """

    def __init__(self, d: int, m: int, bidirectional: bool = False) -> None:
        """Each parameter is drawn on its own, uniformly from -1/√m to 1/√m, the biases, too."""
        raise NotImplementedError

    def forward(self, x: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The outputs (b, n, D·m) and the last states (D, b, m), where D is 1, or 2 if bidirectional.

        - x (b, n, d); h0 (D, b, m), forward first, None for zeros.
        - lengths (b,) int64, on the device of x: of row i only the first lengths[i] items are read,
          in either direction.  Outputs beyond them are 0.  None: all n are.
        - The last states are those after the last item that each direction reads.
        - The padding may hold any numbers of moderate size.  Nothing depends on them.
        - Gradients reach x, h0 and the parameters.
        - A call doesn't depend on earlier ones: states are carried only through h0.

        Raises ValueError, naming the length and n, for one that is below 1 or above n.
        """
        raise NotImplementedError
