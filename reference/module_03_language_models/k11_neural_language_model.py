"""A neural language model: the reference."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from .k10_backprop_by_hand import (
    cross_entropy,
    cross_entropy_backward,
    embedding_backward,
    linear_backward,
    tanh_backward,
)

BOUNDARY, UNKNOWN = 0, 1

Parameters = dict[str, np.ndarray]


def build_vocabulary(sequences: Sequence[Sequence[str]], min_count: int = 1) -> list[str]:
    if min_count < 1:
        raise ValueError(f"min_count must be 1 or more, got {min_count}")
    counts = Counter(token for sequence in sequences for token in sequence)
    frequent = [token for token, count in counts.items() if count >= min_count]
    return ["<s>", "<unk>", *sorted(frequent, key=lambda token: (-counts[token], token))]


def encode(sequences: Sequence[Sequence[str]], vocabulary: list[str]) -> list[list[int]]:
    ids = {token: i for i, token in enumerate(vocabulary)}
    return [[ids.get(token, UNKNOWN) for token in sequence] for sequence in sequences]


def windows(encoded: Sequence[Sequence[int]], context: int) -> tuple[np.ndarray, np.ndarray]:
    if context < 1:
        raise ValueError(f"context must be 1 or more, got {context}")
    x, y = [], []
    for ids in encoded:
        # Each sequence is padded by itself, so no window sees the one before it.
        padded = [BOUNDARY] * context + list(ids) + [BOUNDARY]
        for i in range(context, len(padded)):
            x.append(padded[i - context : i])
            y.append(padded[i])
    return np.array(x, dtype=int).reshape(-1, context), np.array(y, dtype=int)


def initial_parameters(counts: np.ndarray, context: int, d: int, h: int, rng: np.random.Generator) -> Parameters:
    v, width = len(counts), context * d
    return {
        "embedding": rng.normal(size=(v, d)),
        # A sum of `width` terms of variance 1 is scaled back to variance 1, where tanh isn't flat.
        "hidden_weight": rng.normal(scale=1 / np.sqrt(width), size=(width, h)),
        "hidden_bias": np.zeros(h),
        "output_weight": rng.normal(scale=0.1 / np.sqrt(h), size=(h, v)),
        # The softmax of this is a unigram model; a count of 0 would give -∞.
        "output_bias": np.log((counts + 1) / (counts.sum() + v)),
    }


def logits(parameters: Parameters, x: np.ndarray) -> np.ndarray:
    _, active = _hidden(parameters, x)
    return active @ parameters["output_weight"] + parameters["output_bias"]


def loss_and_gradients(parameters: Parameters, x: np.ndarray, y: np.ndarray) -> tuple[float, Parameters]:
    flat, active = _hidden(parameters, x)
    scores = active @ parameters["output_weight"] + parameters["output_bias"]
    grad = cross_entropy_backward(scores, y)
    grad, output_weight, output_bias = linear_backward(grad, active, parameters["output_weight"])
    grad, hidden_weight, hidden_bias = linear_backward(tanh_backward(grad, active), flat, parameters["hidden_weight"])
    v, d = parameters["embedding"].shape
    return cross_entropy(scores, y), {
        "embedding": embedding_backward(grad.reshape(*x.shape, d), x, v),
        "hidden_weight": hidden_weight,
        "hidden_bias": hidden_bias,
        "output_weight": output_weight,
        "output_bias": output_bias,
    }


def evaluate(parameters: Parameters, x: np.ndarray, y: np.ndarray, batch_size: int = 1024) -> float:
    total = 0.0
    for start in range(0, len(x), batch_size):
        rows = slice(start, start + batch_size)
        # Back from the batch's mean to its sum, as the last batch may be smaller.
        total += cross_entropy(logits(parameters, x[rows]), y[rows]) * len(y[rows])
    return total / len(x)


def adagrad_step(
    parameters: Parameters, gradients: Parameters, squares: Parameters, learning_rate: float
) -> tuple[Parameters, Parameters]:
    squares = {name: squares[name] + gradients[name] ** 2 for name in parameters}
    moved = {
        name: value - learning_rate * gradients[name] / (np.sqrt(squares[name]) + 1e-10)
        for name, value in parameters.items()
    }
    return moved, squares


def train(
    parameters: Parameters,
    x: np.ndarray,
    y: np.ndarray,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> tuple[Parameters, list[float]]:
    squares = {name: np.zeros(value.shape) for name, value in parameters.items()}
    starts = range(0, len(x), batch_size)
    step, steps = 0, epochs * len(starts)
    losses = []
    for _ in range(epochs):
        order = rng.permutation(len(x))
        total = 0.0
        for start in starts:
            rows = order[start : start + batch_size]
            loss, gradients = loss_and_gradients(parameters, x[rows], y[rows])
            rate = learning_rate * (1 - step / steps)
            parameters, squares = adagrad_step(parameters, gradients, squares, rate)
            total += loss * len(rows)
            step += 1
        losses.append(total / len(x))
    return parameters, losses


def sample(
    parameters: Parameters, rng: np.random.Generator, temperature: float = 1.0, max_length: int = 100
) -> list[int]:
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    v, d = parameters["embedding"].shape
    context = len(parameters["hidden_weight"]) // d
    ids = [BOUNDARY] * context
    while len(ids) < context + max_length:
        z = logits(parameters, np.array([ids[-context:]]))[0]
        # The largest becomes 0 before it is divided, so that no temperature makes exp overflow.
        weights = np.exp((z - z.max()) / temperature)
        token = int(rng.choice(v, p=weights / weights.sum()))
        if token == BOUNDARY:
            break
        ids.append(token)
    return ids[context:]


def _hidden(parameters: Parameters, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of each window side by side, (n, c·d), and tanh's output (n, h)."""
    flat = parameters["embedding"][x].reshape(len(x), -1)
    return flat, np.tanh(flat @ parameters["hidden_weight"] + parameters["hidden_bias"])
