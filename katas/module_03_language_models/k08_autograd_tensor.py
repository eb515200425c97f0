"""Autograd for arrays

**Before you start.**  You need numpy's broadcasting and indexing, and the graph of
`autograd_scalar`.  Use its sort (until yours is green, the import gives a finished one):

    from .k07_autograd_scalar import topological_order

First time?  Read the PyTorch tutorial "A Gentle Introduction to torch.autograd".

**The idea.**  A network is a few operations on large arrays, so let the nodes of the graph be
arrays.  Forward and backward pass stay as they were.  What changes is the edge.  The partials of an
array with respect to an array fill a *Jacobian* J: a layer from 1,000 numbers to 1,000, with 100
rows, has 10¹⁰ of them.  Nobody builds it.  Each operation brings a function instead, the
*vector-Jacobian product* (vjp): it maps the gradient of the output, G, to that of each input, G J.

Most of it follows from one rule: **what the forward pass copies, the backward pass adds up**, and
what it adds up, the backward pass copies.  b (3,) beside an x of (2, 3):

        forward                              backward
                   ┌───────────┐                             ┌─────────────┐
              ┌──▶ │ 1   2   3 │                        ┌─── │ .1   .2  .3 │
    [1 2 3] ──┤    ├───────────┤    [ .5  .7  .9 ] ◀── + ─── ├─────────────┤
       b      └──▶ │ 1   2   3 │       grad of b        └─── │ .4   .5  .6 │
                   └───────────┘                             └─────────────┘
                     beside x                                 G, that of x + b

**The formulas**: G is the gradient of the output, in its shape.

    a + b         grad a = G                   grad b = G             both un-broadcast:
    a · b         grad a = G · b               grad b = G · a         summed to their shapes
    f(a)          grad a = G · f′(a)           entry by entry
    C = A B       grad A = G Bᵀ                grad B = Aᵀ G
    sum           grad a = G, copied along the axes that were summed
    max           grad a = G where a is largest, in equal parts where several are
    reshape       grad a = G in a's shape      transpose: with the axes put back
    a[key]        grad a = 0, and each entry of G added where it was taken from

The derivatives f′: n aⁿ⁻¹ of aⁿ, eᵃ, 1/a of log, 1 - tanh² a, and of relu 1 where a > 0, else 0.

**Why G Bᵀ?**  C_ij = ∑ₖ A_ik B_kj, so A_ik changes the entries C_ij of its row, at the rates B_kj:
∑ⱼ G_ij B_kj.  The shapes know it, too: of (n, m) and (k, m) only G Bᵀ makes (n, k).

**Why a random G in gradcheck?**  With G = 1 you check the gradient of the sum of all outputs.  A
softmax sums to 1 whatever goes in, so that gradient is 0: twice the right answer passes as well.

**Worked by hand**:

    x = [1 2; 3 4], b = [10 20], G = [1 0; 2 5] of x · b:
        grad x = [10 0; 20 100], grad b = [1·1 + 2·3, 0·2 + 5·4] = [7 20]
    a = [5 6 7], a[[0, 2, 0]] = [5 7 5], G = [1 2 4]:   grad a = [1+4 0 2] = [5 0 2]
    max of [3 8 8] is 8, G = 6:   grad [0 3 3]

**Shapes**: any, () included.  All data and gradients are float64.  No function changes its
arguments, nor the data of a Tensor.

**Steps.**  Good places to pause are after relu, and after index.

    unbroadcast   7 min   new axes in front, and axes of length 1
    add           2 min   like exp, with two parents
    multiply      2 min   which factor is whose derivative?
    power         3 min   n may be 0
    log           2 min   one line each
    tanh          2 min
    relu          2 min
    matmul       12 min   vectors are the hard part
    sum_over      5 min   put the axes back before you copy
    max_over      6 min   ties
    reshape       2 min
    transpose     3 min   the inverse of a permutation
    index         4 min   a place may be taken twice
    backward     10 min   one array may reach two parents
    gradcheck    12 min   each entry by itself
    Function      9 min   a fresh object for each call
    Softplus      4 min   without overflow

Sources: Baydin et al. 2018, "Automatic Differentiation in Machine Learning: a Survey", section
3.2; Giles 2008, "Collected Matrix Derivative Results for Forward and Reverse Mode Algorithmic
Differentiation", section 2; PyTorch's notes "Autograd mechanics" and "Extending PyTorch".

From scratch: torch, jax, autograd, sympy and scipy may not be used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


class Tensor:
    """An array that remembers how it was made.  This class is given to you; it calls what you write.

    data     the numbers, a float64 array
    grad     the derivative of the result with respect to each; zeros until `backward`
    parents  the Tensors that it was made of, in the order of the arguments; () for a leaf
    vjp      maps the gradient of this Tensor, in its shape, to a tuple: for each parent the
             gradient that reaches it from here, in the parent's shape; None for a leaf
    """

    __array_ufunc__ = None  # so that numpy leaves array * tensor to the Tensor

    def __init__(
        self,
        data: ArrayLike,
        parents: tuple[Tensor, ...] = (),
        vjp: Callable[[np.ndarray], tuple[np.ndarray, ...]] | None = None,
    ) -> None:
        """Given to you: `data` is copied."""
        self.data = np.array(data, dtype=np.float64)
        self.grad = np.zeros(self.data.shape)
        self.parents = parents
        self.vjp = vjp

    def __add__(self, other: Tensor | ArrayLike) -> Tensor:
        """Given to you."""
        return add(self, as_tensor(other))

    def __mul__(self, other: Tensor | ArrayLike) -> Tensor:
        """Given to you."""
        return multiply(self, as_tensor(other))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Tensor:
        """Given to you."""
        return self * -1.0

    def __sub__(self, other: Tensor | ArrayLike) -> Tensor:
        """Given to you."""
        return self + -as_tensor(other)

    def __rsub__(self, other: ArrayLike) -> Tensor:
        """Given to you."""
        return as_tensor(other) - self

    def __truediv__(self, other: Tensor | ArrayLike) -> Tensor:
        """Given to you."""
        return self * as_tensor(other) ** -1.0

    def __rtruediv__(self, other: ArrayLike) -> Tensor:
        """Given to you."""
        return as_tensor(other) / self

    def __pow__(self, exponent: float) -> Tensor:
        """Given to you."""
        return power(self, exponent)

    def __matmul__(self, other: Tensor | ArrayLike) -> Tensor:
        """Given to you."""
        return matmul(self, as_tensor(other))

    def __rmatmul__(self, other: ArrayLike) -> Tensor:
        """Given to you."""
        return matmul(as_tensor(other), self)

    def __getitem__(self, key: Any) -> Tensor:
        """Given to you."""
        return index(self, key)


def as_tensor(x: Tensor | ArrayLike) -> Tensor:
    """Given to you: an array or a number as a leaf, a Tensor as it is."""
    return x if isinstance(x, Tensor) else Tensor(x)


def exp(a: Tensor) -> Tensor:
    """e to the power of each entry: given to you, as an example of all that follow."""
    e = np.exp(a.data)

    def vjp(grad: np.ndarray) -> tuple[np.ndarray]:
        return (grad * e,)

    return Tensor(e, (a,), vjp)


def unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `grad` over the axes along which numpy would copy an array of `shape` to grad's shape.

    The result has `shape`, which may be grad's own.  Lengths of 0 are allowed.
    """
    raise NotImplementedError


# Each function below makes one new Tensor of its arguments: its parents are the Tensors among them, in
# order, and its vjp maps G (a float64 array in the shape of the result) to one gradient for each.  The
# same Tensor may be both arguments.  A vjp may be called any number of times, and leaves G as it is.


def add(a: Tensor, b: Tensor) -> Tensor:
    """a + b, of shapes that broadcast."""
    raise NotImplementedError


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a · b entry by entry, of shapes that broadcast."""
    raise NotImplementedError


def power(a: Tensor, exponent: float) -> Tensor:
    """Each entry to the power of a plain number.

    Of a whole exponent, entries may be negative, and from 0 up also 0: 0⁰ is 1, and the
    derivative of a power 0 is 0 everywhere.  None of these warns.
    """
    raise NotImplementedError


def log(a: Tensor) -> Tensor:
    """The natural logarithm of each entry, all above 0."""
    raise NotImplementedError


def tanh(a: Tensor) -> Tensor:
    """The hyperbolic tangent of each entry."""
    raise NotImplementedError


def relu(a: Tensor) -> Tensor:
    """Each entry, or 0 where it is below; at 0 the derivative is 0."""
    raise NotImplementedError


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b as numpy has it, of one axis or more each.

    - (..., n, k) and (..., k, m): leading axes broadcast, so one may have more of them.
    - A vector (k,) is a row on the left, a column on the right, and its axis isn't in the result:
      (k,) @ (k,) is (), (k,) @ (..., k, m) is (..., m), (..., n, k) @ (k,) is (..., n).
    """
    raise NotImplementedError


def sum_over(a: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """The sum over one axis of a, several, or (None) all, as np.sum: axes may be negative."""
    raise NotImplementedError


def max_over(a: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """The largest entry over these axes, as np.max.

    Where several are largest, each gets an equal part of the gradient, as in torch.amax.
    """
    raise NotImplementedError


def reshape(a: Tensor, shape: int | tuple[int, ...]) -> Tensor:
    """As np.reshape: one length may be -1."""
    raise NotImplementedError


def transpose(a: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """As np.transpose: axis i of the result is axis axes[i] of a, which may be negative; None reverses."""
    raise NotImplementedError


def index(a: Tensor, key: Any) -> Tensor:
    """a[key], for whatever numpy takes: numbers, slices, ..., None, integer or boolean arrays, lists, and tuples of these.

    A place that is taken several times adds up the gradients of all its copies.
    """
    raise NotImplementedError


def backward(root: Tensor, grad: ArrayLike | None = None) -> None:
    """Add to the `grad` of each Tensor of root's graph the gradient that reaches it.

    - `grad` is that of root itself, in its shape; integers are fine.  None stands for 1, if root has
      exactly one entry.
    - Every call adds to what is there, of all Tensors: after two equal calls all is doubled.
    - Each Tensor's `grad` is an array of its own: whoever changes one in place changes no other,
      and not the array that was given as `grad`.
    - Chains of 5,000 Tensors work, and the time grows with the number of edges, not of paths.

    Raises ValueError, naming root's shape, if `grad` is None and root has more or less than one
    entry; naming both shapes, if grad's isn't root's.
    """
    raise NotImplementedError


def gradcheck(
    f: Callable[..., Tensor], inputs: Sequence[np.ndarray], rng: np.random.Generator, h: float = 1e-5
) -> float:
    """The largest error of f's gradients at `inputs`: some 1e-9 if they are right.

    `f` takes as many Tensors and returns one, of any shape.  With weights G in its shape, drawn
    from `rng` (Gaussian), and for every single entry x of every input:

        analytic   grad of x, after backward(f(...), G)
        numeric    (∑ G · f(x + h) - ∑ G · f(x - h)) / 2h       all other entries as they are
        error      |analytic - numeric| / max(1, |analytic|, |numeric|)

    - Inputs may be of integers: f gets float64 all the same.  Each call gets new Tensors.
    - A gradient that is NaN isn't right: then the result isn't a finite number.
    - Without any entry the result is 0.
    """
    raise NotImplementedError


class Function:
    """An operation of your own: a subclass says what goes forward and what goes back.

        forward(self, *arrays, **options)   the result, of the data of its Tensors
        backward(self, grad)                a tuple, the gradient for each Tensor; of a single Tensor
                                            the array alone will do.  grad is float64

    Whatever `backward` needs, `forward` keeps in self.
    """

    @classmethod
    def apply(cls, *tensors: Tensor, **options: Any) -> Tensor:
        """The Tensor that `forward` computes, with `tensors` as its parents.

        - Each call makes an object of its own, cls(), for its forward and backward: two calls of
          one class in a graph don't mix what they keep.
        - Options go to `forward`, by name.

        Its vjp raises ValueError, naming both numbers, if `backward` returns more or fewer
        gradients than there are Tensors; naming both shapes, if one isn't in the shape of its Tensor.
        """
        raise NotImplementedError


class Softplus(Function):
    """log(1 + eˣ), a smooth relu, as a Function of one Tensor: Softplus.apply(x).

    Right for x of any size: 1000 at 1000, 0 at -1000, and no warning of an overflow.
    """

    def forward(self, x: np.ndarray) -> np.ndarray:
        """log(1 + eˣ) of each entry."""
        raise NotImplementedError

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad times the derivative, the sigmoid 1 / (1 + e⁻ˣ)."""
        raise NotImplementedError
