"""Autograd for arrays: the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .k07_autograd_scalar import topological_order


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
    # Broadcasting aligns shapes at their ends: axes in front are new, and axes of length 1 were copied.
    new = grad.ndim - len(shape)
    copied = tuple(new + i for i, n in enumerate(shape) if n == 1)
    return grad.sum(axis=(*range(new), *copied)).reshape(shape)


def add(a: Tensor, b: Tensor) -> Tensor:
    def vjp(grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return unbroadcast(grad, a.data.shape), unbroadcast(grad, b.data.shape)

    return Tensor(a.data + b.data, (a, b), vjp)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    def vjp(grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return unbroadcast(grad * b.data, a.data.shape), unbroadcast(grad * a.data, b.data.shape)

    return Tensor(a.data * b.data, (a, b), vjp)


def power(a: Tensor, exponent: float) -> Tensor:
    def vjp(grad: np.ndarray) -> tuple[np.ndarray]:
        # At 0 the rule would ask for 0⁻¹ if the exponent is 0.
        slope = exponent * a.data ** (exponent - 1) if exponent != 0 else np.zeros(a.data.shape)
        return (grad * slope,)

    return Tensor(a.data**exponent, (a,), vjp)


def log(a: Tensor) -> Tensor:
    return Tensor(np.log(a.data), (a,), lambda grad: (grad / a.data,))


def tanh(a: Tensor) -> Tensor:
    t = np.tanh(a.data)
    return Tensor(t, (a,), lambda grad: (grad * (1 - t * t),))


def relu(a: Tensor) -> Tensor:
    return Tensor(np.maximum(a.data, 0.0), (a,), lambda grad: (grad * (a.data > 0),))


def matmul(a: Tensor, b: Tensor) -> Tensor:
    def vjp(grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # With a vector as the matrix that it stands for, one rule serves for all cases.
        left = a.data[None, :] if a.data.ndim == 1 else a.data
        right = b.data[:, None] if b.data.ndim == 1 else b.data
        if b.data.ndim == 1:
            grad = grad[..., None]
        if a.data.ndim == 1:
            grad = grad[..., None, :]
        # Leading axes were broadcast, too.
        grad_left = unbroadcast(grad @ right.swapaxes(-1, -2), left.shape)
        grad_right = unbroadcast(left.swapaxes(-1, -2) @ grad, right.shape)
        return grad_left.reshape(a.data.shape), grad_right.reshape(b.data.shape)

    return Tensor(a.data @ b.data, (a, b), vjp)


def spread(x: np.ndarray, shape: tuple[int, ...], axis: int | tuple[int, ...] | None, keepdims: bool) -> np.ndarray:
    """What a reduction over `axis` of an array of `shape` gave, copied back to that shape."""
    if axis is not None and not keepdims:
        x = np.expand_dims(x, axis)
    return np.broadcast_to(x, shape)


def sum_over(a: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    return Tensor(
        a.data.sum(axis=axis, keepdims=keepdims), (a,), lambda grad: (spread(grad, a.data.shape, axis, keepdims),)
    )


def max_over(a: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    largest = a.data.max(axis=axis, keepdims=keepdims)

    def vjp(grad: np.ndarray) -> tuple[np.ndarray]:
        hits = a.data == spread(largest, a.data.shape, axis, keepdims)
        return (spread(grad, a.data.shape, axis, keepdims) * hits / hits.sum(axis=axis, keepdims=True),)

    return Tensor(largest, (a,), vjp)


def reshape(a: Tensor, shape: int | tuple[int, ...]) -> Tensor:
    return Tensor(a.data.reshape(shape), (a,), lambda grad: (grad.reshape(a.data.shape),))


def transpose(a: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    order = range(a.data.ndim)[::-1] if axes is None else [axis % a.data.ndim for axis in axes]
    # argsort inverts a permutation.
    return Tensor(a.data.transpose(order), (a,), lambda grad: (grad.transpose(np.argsort(order)),))


def index(a: Tensor, key: Any) -> Tensor:
    def vjp(grad: np.ndarray) -> tuple[np.ndarray]:
        total = np.zeros(a.data.shape)
        # total[key] += grad would keep one of several that go to the same place.
        np.add.at(total, key, grad)
        return (total,)

    return Tensor(a.data[key], (a,), vjp)


def backward(root: Tensor, grad: ArrayLike | None = None) -> None:
    if grad is None:
        if root.data.size != 1:
            raise ValueError(f"only a Tensor of one entry needs no `grad`; this one has the shape {root.data.shape}")
        grad = np.ones(root.data.shape)
    if np.shape(grad) != root.data.shape:
        raise ValueError(f"`grad` has the shape {np.shape(grad)}, the Tensor {root.data.shape}")
    flow = {id(root): np.asarray(grad, dtype=np.float64)}
    for node in reversed(topological_order(root)):
        arrived = flow[id(node)]
        node.grad += arrived  # in place: this array is nobody else's
        if node.vjp is not None:
            for parent, part in zip(node.parents, node.vjp(arrived), strict=True):
                # Not in place: add's vjp, say, may hand one and the same array to both parents.
                flow[id(parent)] = flow[id(parent)] + part if id(parent) in flow else part


def gradcheck(
    f: Callable[..., Tensor], inputs: Sequence[np.ndarray], rng: np.random.Generator, h: float = 1e-5
) -> float:
    arrays = [np.array(x, dtype=np.float64) for x in inputs]
    tensors = [Tensor(x) for x in arrays]
    result = f(*tensors)
    weights = rng.standard_normal(result.data.shape)
    backward(result, weights)

    def value() -> float:
        return float((weights * f(*(Tensor(x) for x in arrays)).data).sum())

    errors = [0.0]
    for array, tensor in zip(arrays, tensors, strict=True):
        for place in np.ndindex(array.shape):
            x = array[place]
            array[place] = x + h
            above = value()
            array[place] = x - h
            below = value()
            array[place] = x
            analytic, numeric = tensor.grad[place], (above - below) / (2 * h)
            errors.append(abs(analytic - numeric) / max(1.0, abs(analytic), abs(numeric)))
    # np.max, unlike max, doesn't pass over NaN.
    return float(np.max(errors))


class Function:
    @classmethod
    def apply(cls, *tensors: Tensor, **options: Any) -> Tensor:
        call = cls()

        def vjp(grad: np.ndarray) -> tuple[np.ndarray, ...]:
            grads = call.backward(grad)
            grads = grads if isinstance(grads, tuple) else (grads,)
            if len(grads) != len(tensors):
                raise ValueError(f"{cls.__name__}.backward gives {len(grads)} gradients for {len(tensors)} Tensors")
            for part, tensor in zip(grads, tensors, strict=True):
                if np.shape(part) != tensor.data.shape:
                    raise ValueError(
                        f"{cls.__name__}.backward gives the shape {np.shape(part)} for a Tensor of {tensor.data.shape}"
                    )
            return grads

        return Tensor(call.forward(*(tensor.data for tensor in tensors), **options), tensors, vjp)


class Softplus(Function):
    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        # log(e⁰ + eˣ): numpy takes the larger power out of the logarithm.
        self.result = np.logaddexp(0.0, x)
        return self.result

    def backward(self, grad: np.ndarray) -> np.ndarray:
        # eˣ / (1 + eˣ), and the exponent is never above 0.
        return grad * np.exp(self.x - self.result)
