"""Multilayer perceptron

**Before you start.**  You need matrix products, the softmax, and gradient descent; no other kata.
First time?  Read Nielsen, "Neural Networks and Deep Learning", chapters 1 and 2, free at
neuralnetworksanddeeplearning.com.

**The idea.**  A linear model draws straight lines.  To draw any curve, put a bend between two
linear maps: h = relu(x W₁ + b₁), then h W₂ + b₂.  Each hidden unit is a straight line with one
bend, and enough of them add up to any curve.  You train all weights at once by gradient descent.
Here no autograd does the work: you write the backward pass by hand, once, for any depth.

      forward ──▶
      x ──┬───▶ x W₁ + b₁ ──▶ relu ──▶ h ──┬───▶ h W₂ + b₂ ──▶ out ──▶ loss
          │ kept                           │ kept                       │
          ▼                                ▼                            │
       xᵀ G₁                            hᵀ G₂                           │
       for W₁  ◀──── G₁, 0 where h is 0 ◀──── G₂ W₂ᵀ ◀──── G₂  ◀────────┘
                                                             ◀── backward

**The formulas**, for layers 1 … L, with h₀ = x; Gₖ is the gradient of the loss with respect to
hₖ₋₁ Wₖ + bₖ:

    forward         hₖ = relu(hₖ₋₁ Wₖ + bₖ)            out = h_{L-1} W_L + b_L, without relu
    backward        grad Wₖ = hₖ₋₁ᵀ Gₖ                 grad bₖ = the sum of Gₖ's rows
                    Gₖ₋₁ = Gₖ Wₖᵀ where hₖ₋₁ > 0, else 0
    squared error   loss = mean of (out - y)²          G_L = 2 (out - y) / number of entries
    cross-entropy   loss = mean of -log p_label        G_L = (p - onehot) / n,  p = softmax(out)
    step            W ← W - η grad W                   b ← b - η grad b
    He              W ~ N(0, 2/n_in)                   b = 0

**Why 2/n_in?**  A sum of n_in products with weights of variance 1/n_in is as large as its inputs.
relu then cuts half of it off.  The 2 makes up for that, so that the signal neither fades nor
explodes in a deep network.

**Why not start from zeros?**  All hidden units would compute the same, get the same gradient, and
stay the same.  Random weights make them different.

**Why mini-batches?**  The gradient of 32 random rows points, on average, where that of all rows
does.  It costs a fraction, so you take many steps in a pass over the data: an *epoch*.

**Worked by hand**, one row:

    x = [1 2], W₁ = [1 -1; 1 0], b₁ = [0 .5]:     x W₁ + b₁ = [3 -.5], h = [3 0]
    W₂ = [2; 5], b₂ = 1:                          out = 7
    y = 5:  loss (7 - 5)² = 4, G₂ = 2·2 = 4
    grad W₂ = hᵀ·4 = [12; 0], grad b₂ = 4
    G₁ = 4·[2 5] where h > 0 = [8 0]
    grad W₁ = xᵀ G₁ = [8 0; 16 0], grad b₁ = [8 0]
    a step with η = 0.1:  W₂ = [.8; 5], b₂ = .6, W₁ = [.2 -1; -.6 0], b₁ = [-.8 .5]

**Shapes**: x (n, d) with n ≥ 1, h (n, m), out and G₂ (n, c).  A layer is a pair, weight
(n_in, n_out) and bias (n_out,); a network is a list of layers.  All arrays are float64, labels
are integers.  No function changes its arguments.

**Steps.**

    init_layers     6 min   one pair for each two neighbours
    forward         6 min   the last layer has no relu
    squared_error   4 min   (n, 1) - (n,) is a table
    cross_entropy  10 min   stable for large outputs
    backprop       14 min   from the last layer to the first
    minibatches     5 min   each row once an epoch
    sgd_step        3 min   new arrays
    train           9 min   everything together
    predict         2 min   one line

Sources: Rumelhart, Hinton and Williams 1986, "Learning Representations by Back-propagating Errors";
He et al. 2015, "Delving Deep into Rectifiers", section 2.2.

From scratch: torch, jax, autograd, sklearn and scipy may not be used.
"""

from collections.abc import Callable, Sequence

import numpy as np

Layers = list[tuple[np.ndarray, np.ndarray]]
Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


def init_layers(sizes: Sequence[int], rng: np.random.Generator, bias: float = 0.0) -> Layers:
    """A network with `sizes` numbers in each stage: [64, 32, 10] has two layers.

    Each weight is (n_in, n_out), drawn by `rng` as He does; each bias (n_out,) is full of `bias`.
    Some start from 0.01, so that at first more units are on the slope of relu.

    Raises ValueError, naming how many there are, if there are fewer than two sizes.
    """
    raise NotImplementedError


def forward(layers: Layers, x: np.ndarray) -> list[np.ndarray]:
    """All stages of the network at rows `x` (n, d): x itself, the hidden ones after relu, the output (n, c).

    Raises ValueError, naming both widths, if x has another width than the first weight takes.
    """
    raise NotImplementedError


def squared_error(output: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean of (output - target)² over all entries, and its gradient with respect to `output`.

    Raises ValueError, naming both shapes, unless they are equal: (n, 1) and (n,) would broadcast.
    """
    raise NotImplementedError


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean of -log p_label over the rows of `logits` (n, c), and its gradient (n, c).

    - `labels` (n,) are integers from 0 to c - 1.
    - Finite, and without a warning, for logits of ±10,000, too.

    Raises ValueError, naming one such label and c, if a label is another number: -1, too.
    """
    raise NotImplementedError


def backprop(layers: Layers, stages: list[np.ndarray], grad: np.ndarray) -> Layers:
    """The gradients of all weights and biases, in the order and shapes of `layers`.

    `stages` is what `forward` gave, `grad` (n, c) the gradient of a loss with respect to the output.
    Where a hidden number is 0, nothing passes.
    """
    raise NotImplementedError


def minibatches(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The row numbers 0 … n - 1 in a random order, cut into integer arrays of `size` each.

    - Each number is there exactly once.  The last array has the rest, and is never empty.
    - Every order is as likely as any other, and each call draws a new one from `rng`.

    Raises ValueError, naming it, if `size` is below 1.
    """
    raise NotImplementedError


def sgd_step(layers: Layers, gradients: Layers, rate: float) -> Layers:
    """The network one step of gradient descent further: new arrays, in a new list."""
    raise NotImplementedError


def train(
    layers: Layers,
    x: np.ndarray,
    y: np.ndarray,
    loss: Loss,
    epochs: int,
    size: int,
    rate: float,
    rng: np.random.Generator,
) -> tuple[Layers, list[float]]:
    """The trained network, and the loss of all rows after each of the `epochs` ≥ 0.

    - An epoch takes one step for each of `minibatches(n, size, rng)`, drawn anew.
    - `loss(output, y)` gives a loss and its gradient, as squared_error and cross_entropy do; of a
      batch it gets those rows of `y`.
    """
    raise NotImplementedError


def predict(layers: Layers, x: np.ndarray) -> np.ndarray:
    """The class with the largest output for each row of x, integers (n,); of equals the first."""
    raise NotImplementedError
