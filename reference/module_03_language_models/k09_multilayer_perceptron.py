"""Multilayer perceptron: the reference."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

Layers = list[tuple[np.ndarray, np.ndarray]]
Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


def init_layers(sizes: Sequence[int], rng: np.random.Generator, bias: float = 0.0) -> Layers:
    if len(sizes) < 2:
        raise ValueError(f"a network needs at least two sizes, got {len(sizes)}")
    return [
        (rng.standard_normal((n_in, n_out)) * np.sqrt(2 / n_in), np.full(n_out, bias))
        for n_in, n_out in pairwise(sizes)
    ]


def forward(layers: Layers, x: np.ndarray) -> list[np.ndarray]:
    if x.shape[1] != len(layers[0][0]):
        raise ValueError(f"x has the width {x.shape[1]}, the first layer takes {len(layers[0][0])}")
    stages = [x]
    for weight, bias in layers[:-1]:
        stages.append(np.maximum(stages[-1] @ weight + bias, 0.0))
    weight, bias = layers[-1]
    # No relu here: an output may be negative.
    return [*stages, stages[-1] @ weight + bias]


def squared_error(output: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    if output.shape != target.shape:
        raise ValueError(f"the output has the shape {output.shape}, the target {target.shape}")
    off = output - target
    return float((off**2).mean()), 2 * off / off.size


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    n, c = logits.shape
    wrong = labels[(labels < 0) | (labels >= c)]
    if len(wrong):
        raise ValueError(f"a label is {wrong[0]}; with c = {c} it is from 0 to {c - 1}")
    # softmax doesn't change with a constant, and below 0 nothing overflows.
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    grad = np.exp(log_p)
    grad[np.arange(n), labels] -= 1
    return float(-log_p[np.arange(n), labels].mean()), grad / n


def backprop(layers: Layers, stages: list[np.ndarray], grad: np.ndarray) -> Layers:
    gradients = []
    for (weight, _), before in zip(reversed(layers), reversed(stages[:-1]), strict=True):
        gradients.append((before.T @ grad, grad.sum(axis=0)))
        # What came out of relu as 0 doesn't depend on what went in.  (Below the first layer, this is
        # computed in vain.)
        grad = (grad @ weight.T) * (before > 0)
    return gradients[::-1]


def minibatches(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    if size < 1:
        raise ValueError(f"a batch needs at least one row, got a size of {size}")
    order = rng.permutation(n)
    return [order[start : start + size] for start in range(0, n, size)]


def sgd_step(layers: Layers, gradients: Layers, rate: float) -> Layers:
    return [
        (weight - rate * of_weight, bias - rate * of_bias)
        for (weight, bias), (of_weight, of_bias) in zip(layers, gradients, strict=True)
    ]


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
    losses = []
    for _ in range(epochs):
        for rows in minibatches(len(x), size, rng):
            stages = forward(layers, x[rows])
            _, grad = loss(stages[-1], y[rows])
            layers = sgd_step(layers, backprop(layers, stages, grad), rate)
        losses.append(loss(forward(layers, x)[-1], y)[0])
    return layers, losses


def predict(layers: Layers, x: np.ndarray) -> np.ndarray:
    return forward(layers, x)[-1].argmax(axis=1)
