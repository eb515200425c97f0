"""Backpropagation by hand: the reference."""

import numpy as np


def linear_backward(grad: np.ndarray, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # As one long matrix of rows: W and b are shared by all leading axes, so their gradients sum over them.
    rows, grads = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    return grad @ weight.T, rows.T @ grads, grads.sum(axis=0)


def tanh_backward(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    return grad * (1 - y**2)


def embedding_backward(grad: np.ndarray, ids: np.ndarray, rows: int) -> np.ndarray:
    _check_range(ids, rows, "id")
    out = np.zeros((rows, grad.shape[-1]))
    # out[ids] += grad would keep only the last of an id's gradients; add.at adds them all.
    np.add.at(out, ids, grad)
    return out


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    _check_targets(logits, targets)
    # The largest logit becomes 0, which changes no ratio: exp can't overflow, and the sum is at least 1.
    shifted = logits - logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    return float((np.log(np.exp(shifted).sum(axis=-1)) - chosen).mean())


def cross_entropy_backward(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    _check_targets(logits, targets)
    grad = np.exp(logits - logits.max(axis=-1, keepdims=True))
    grad /= grad.sum(axis=-1, keepdims=True)
    # p - onehot(t), without a table of zeros and ones.
    picked = targets[..., None]
    np.put_along_axis(grad, picked, np.take_along_axis(grad, picked, axis=-1) - 1, axis=-1)
    return grad / targets.size


def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    normal, _ = _normalized(x, eps)
    return gamma * normal + beta


def batch_norm_backward(
    grad: np.ndarray, x: np.ndarray, gamma: np.ndarray, eps: float = 1e-5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    normal, spread = _normalized(x, eps)
    rows = tuple(range(x.ndim - 1))
    # Taken away: what would shift the whole feature, and what would stretch it.  Neither changes y.
    inner = grad - grad.mean(axis=rows) - normal * (grad * normal).mean(axis=rows)
    return gamma / spread * inner, (grad * normal).sum(axis=rows), grad.sum(axis=rows)


def loss_and_gradients(
    parameters: dict[str, np.ndarray], ids: np.ndarray, targets: np.ndarray, eps: float = 1e-5
) -> tuple[float, dict[str, np.ndarray]]:
    p = parameters
    # Forward: keep what each layer's gradient will ask for.
    embedded = p["embedding"][ids]
    flat = embedded.reshape(len(ids), -1)
    hidden = flat @ p["hidden_weight"]
    active = np.tanh(batch_norm(hidden, p["gamma"], p["beta"], eps))
    logits = active @ p["output_weight"] + p["output_bias"]

    # Backward: the same layers, last to first.
    grad = cross_entropy_backward(logits, targets)
    grad, output_weight, output_bias = linear_backward(grad, active, p["output_weight"])
    grad = tanh_backward(grad, active)
    grad, gamma, beta = batch_norm_backward(grad, hidden, p["gamma"], eps)
    grad, hidden_weight, _ = linear_backward(grad, flat, p["hidden_weight"])
    embedding = embedding_backward(grad.reshape(embedded.shape), ids, len(p["embedding"]))
    return cross_entropy(logits, targets), {
        "embedding": embedding,
        "hidden_weight": hidden_weight,
        "gamma": gamma,
        "beta": beta,
        "output_weight": output_weight,
        "output_bias": output_bias,
    }


def _normalized(x: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """x̂ (..., d), and √(σ² + ε) (d,)."""
    rows = tuple(range(x.ndim - 1))
    spread = np.sqrt(x.var(axis=rows) + eps)
    return (x - x.mean(axis=rows)) / spread, spread


def _check_range(numbers: np.ndarray, limit: int, what: str) -> None:
    # A negative index would count from the end, in silence.
    outside = numbers[(numbers < 0) | (numbers >= limit)]
    if outside.size:
        raise ValueError(f"each {what} must be from 0 to {limit - 1}, as there are {limit}; got {outside[0]}")


def _check_targets(logits: np.ndarray, targets: np.ndarray) -> None:
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"targets {targets.shape} must have the shape of logits {logits.shape} without the last axis")
    _check_range(targets, logits.shape[-1], "target")
