"""Backpropagation by hand

**Before you start.**  You need the chain rule (derivatives) and matrix products.  Is
backpropagation new to you?  Watch Andrej Karpathy's "Building makemore Part 4: Becoming a Backprop
Ninja".

**The idea.**  An autograd engine records every small operation, and walks back over all of them.
For a whole layer you can do better: work out the gradient on paper, and it often shrinks to one
line.  Softmax followed by cross-entropy takes a dozen recorded operations.  Its gradient is a
subtraction.  Libraries ship such formulas as *fused* layers: faster, and free of overflow.

Each layer gets g, the gradient of the loss with respect to its output.  It returns the gradient
with respect to each of its inputs.  So the layers chain, from the last to the first:

    ids ─▶ embedding ─▶ linear ─▶ batch norm ─▶ tanh ─▶ linear ─▶ cross-entropy
           (n, c·d)     (n, h)      (n, h)     (n, h)   (n, k)          │
                                                                        ▼
      ∂E ◀──── g ◀──────── g ◀──────── g ◀─────── g ◀────── g ◀─────── loss
                           ∂W        ∂γ ∂β               ∂W ∂b

**The formulas.**  x is the input, y the output, ∂a the gradient with respect to a.  Sums and
means run over the rows, n of them:

    linear          y = x W + b           ∂x = g Wᵀ     ∂W = xᵀ g     ∂b = ∑ g
    tanh            y = tanh x            ∂x = g (1 - y²)
    embedding       yᵢ = E[idᵢ]           ∂E[v] = ∑ gᵢ over all i with idᵢ = v
    cross-entropy   p = softmax(z)        L = -1/n ∑ᵢ log p[i, tᵢ]    ∂z = (p - onehot(t))/n
    batch norm      x̂ = (x - μ)/√(σ² + ε),   y = γ x̂ + β
                    ∂γ = ∑ g x̂     ∂β = ∑ g
                    ∂x = γ/√(σ² + ε) · (g - mean(g) - x̂ · mean(g x̂))

μ and σ² are each feature's mean and variance over the rows; the variance divides by n.  z are
the logits, t the targets.

**Why p - onehot(t)?**  log p[t] = z[t] - log ∑ exp z.  The derivative of the first term is
onehot(t).  That of the second is p.  No division by p is left, so nothing overflows.

**Why two extra terms in batch norm?**  Each x also moves μ and σ², and so every row's output.
Shift a feature by a constant: y stays.  So ∂x has to sum to 0, and mean(g) is taken away.
Stretch a feature around its mean: with ε = 0, y stays again.  So ∂x has to be orthogonal to x̂,
and the last term takes that part away.

**Why has the first linear layer no bias?**  Batch norm takes the mean away, and any bias with it.
Its gradient would be 0; β does its work.

**Worked by hand**:

    linear         x = [1 2], W = [3 0; 1 -1], g = [3 1]
                   ∂x = [3·3 + 1·0, 3·1 - 1·1] = [9 2]    ∂W = [3 1; 6 2]    ∂b = [3 1]
    embedding      ids 2, 0, 2 of 3 rows, g = [1 0], [0 1], [5 5]
                   ∂E = [0 1], [0 0], [6 5]
    cross-entropy  z = [0, log 3], t = 0: p = [¼ ¾], L = log 4 = 1.386, ∂z = [-¾ ¾]
    batch norm     one feature, x = 0, 0, 3, 3, γ = 3, β = 1, ε = 0
                   μ = σ = 1.5, x̂ = -1, -1, 1, 1, y = -2, -2, 4, 4
                   g = 4, 0, 0, 0: mean(g) = 1, mean(g x̂) = -1
                   ∂x = 2 · ([3 -1 -1 -1] + [-1 -1 1 1]) = [4 -4 0 0]    ∂γ = -4    ∂β = 4

**Shapes.**  The rows may have any leading axes `...`: (n,), (batch, time), and none at all where
a docstring doesn't ask for one.  n is their product.  Arrays are float64; ids and targets are of
any integer dtype.  No function changes its arguments.  None loops over rows, features or classes
in Python.

**Steps.**

    linear_backward         10 min   shapes leave you one choice for each product
    tanh_backward            3 min   it gets y, not x
    embedding_backward       8 min   an id may stand there twice
    cross_entropy            8 min   without overflow
    cross_entropy_backward   6 min   one subtraction
    batch_norm               5 min   over all leading axes
    batch_norm_backward     15 min   the long formula
    loss_and_gradients      15 min   chain them, last to first

Sources: Rumelhart, Hinton and Williams 1986, "Learning Representations by Back-Propagating
Errors"; Ioffe and Szegedy 2015, "Batch Normalization", section 3.

From scratch: torch, tensorflow, jax, autograd, tinygrad, micrograd, sympy and scipy may not be
used, and neither may your own autograd_scalar and autograd_tensor: write each gradient in closed
form.
"""

import numpy as np


def linear_backward(grad: np.ndarray, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients (∂x, ∂W, ∂b) of y = x W + b.

    grad     g, the gradient with respect to y (..., d_out)
    x        (..., d_in), also a single row (d_in,)
    weight   W (d_in, d_out)

    Shapes (..., d_in), (d_in, d_out) and (d_out,).
    """
    raise NotImplementedError


def tanh_backward(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient ∂x of y = tanh(x), from `grad`, g, and the *output* `y`; all of one shape."""
    raise NotImplementedError


def embedding_backward(grad: np.ndarray, ids: np.ndarray, rows: int) -> np.ndarray:
    """The gradient ∂E (rows, d) of y = E[ids], for a table E with `rows` rows.

    grad   g (..., d)
    ids    (...), integers; may repeat, and may be empty: then ∂E is 0

    Raises ValueError, naming the id and `rows`, unless 0 ≤ id < rows for every id.
    """
    raise NotImplementedError


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """The loss L, in nats, of `logits` (..., k) for `targets` (...): the mean over all targets.

    - Right for any finite logits, ±1e4 included.
    - A logit may be -inf where its class isn't the target: that class has probability 0.

    Raises ValueError, naming both shapes, unless targets.shape is logits.shape[:-1];
    and naming the target and k, unless 0 ≤ target < k for every target.
    """
    raise NotImplementedError


def cross_entropy_backward(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The gradient ∂z (..., k) of `cross_entropy`, with the same arguments, promises and errors."""
    raise NotImplementedError


def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """y (..., d), for `x` (..., d) with at least one leading axis, `gamma` γ (d,), `beta` β (d,).

    - Each feature has one mean and one variance, over *all* leading axes.
    - A large mean costs no digits: E[x²] - E[x]² would.
    """
    raise NotImplementedError


def batch_norm_backward(
    grad: np.ndarray, x: np.ndarray, gamma: np.ndarray, eps: float = 1e-5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients (∂x, ∂γ, ∂β) of `batch_norm`, (..., d), (d,) and (d,); `grad` is g (..., d).

    With ε > 0 a constant feature, whose σ² is 0, has a gradient all the same: with x̂ = 0.
    """
    raise NotImplementedError


def loss_and_gradients(
    parameters: dict[str, np.ndarray], ids: np.ndarray, targets: np.ndarray, eps: float = 1e-5
) -> tuple[float, dict[str, np.ndarray]]:
    """The loss of the network in the drawing, and the gradient of each of its parameters.

    parameters   embedding (v, d), hidden_weight (c·d, h), gamma (h,), beta (h,),
                 output_weight (h, k), output_bias (k,); the dict may be in any order
    ids          (n, c); the c vectors of a row are laid side by side, in the order of its ids
    targets      (n,)
    eps          batch norm's ε

    The gradients are a dict with the keys of `parameters`; each has its parameter's shape.
    """
    raise NotImplementedError
