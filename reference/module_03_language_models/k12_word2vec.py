"""word2vec: the reference."""

import numpy as np


def keep_probabilities(counts: np.ndarray, threshold: float) -> np.ndarray:
    share = counts / counts.sum()
    # Below the threshold the root would exceed 1; this also spares the division by 0.
    return np.sqrt(threshold / np.maximum(share, threshold))


def subsample(sentences: list[list[int]], keep: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
    return [[word for word in sentence if rng.random() < keep[word]] for sentence in sentences]


def skipgram_pairs(
    sentences: list[list[int]], window: int, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    _check_window(window)
    centers, contexts = [], []
    for sentence in sentences:
        for i, center in enumerate(sentence):
            reach = window if rng is None else int(rng.integers(1, window + 1))
            around = _around(sentence, i, reach)
            centers += [center] * len(around)
            contexts += around
    return np.array(centers, dtype=int), np.array(contexts, dtype=int)


def negative_distribution(counts: np.ndarray, power: float = 0.75) -> np.ndarray:
    # 0⁰ is 1, but what never occurs is no noise.
    weights = np.where(counts > 0, counts**power, 0.0)
    return weights / weights.sum()


def draw_negatives(probabilities: np.ndarray, positives: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    others = np.count_nonzero(probabilities) - (probabilities[positives] > 0)
    if not others.all():
        raise ValueError(f"no word but the true one, {positives[others.argmin()]}, has a probability above 0")
    drawn = rng.choice(len(probabilities), size=(len(positives), k), p=probabilities)
    # To draw again until it fits gives what is left its shares, in proportion.
    while (hits := drawn == positives[:, None]).any():
        drawn[hits] = rng.choice(len(probabilities), size=hits.sum(), p=probabilities)
    return drawn


def skipgram_loss_and_gradients(
    inputs: np.ndarray, outputs: np.ndarray, centers: np.ndarray, contexts: np.ndarray, negatives: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    loss, grad_hidden, grad_outputs = _guess(inputs[centers], outputs, contexts, negatives)
    grad_inputs = np.zeros(inputs.shape)
    np.add.at(grad_inputs, centers, grad_hidden)
    return loss, grad_inputs, grad_outputs


def cbow_windows(sentences: list[list[int]], window: int) -> tuple[np.ndarray, np.ndarray]:
    _check_window(window)
    contexts, centers = [], []
    for sentence in sentences:
        for i, center in enumerate(sentence):
            if around := _around(sentence, i, window):
                contexts.append(around + [-1] * (2 * window - len(around)))
                centers.append(center)
    return np.array(contexts, dtype=int).reshape(-1, 2 * window), np.array(centers, dtype=int)


def cbow_loss_and_gradients(
    inputs: np.ndarray, outputs: np.ndarray, contexts: np.ndarray, centers: np.ndarray, negatives: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    # Each neighbour's part of the mean; 0 where there is none, so the vector that -1 picks doesn't count.
    present = contexts >= 0
    part = present / present.sum(axis=1, keepdims=True)
    hidden = (part[:, :, None] * inputs[contexts]).sum(axis=1)
    loss, grad_hidden, grad_outputs = _guess(hidden, outputs, centers, negatives)
    grad_inputs = np.zeros(inputs.shape)
    np.add.at(grad_inputs, contexts, part[:, :, None] * grad_hidden[:, None])
    return loss, grad_inputs, grad_outputs


def train(
    inputs: np.ndarray,
    outputs: np.ndarray,
    given: np.ndarray,
    targets: np.ndarray,
    probabilities: np.ndarray,
    k: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    loss_and_gradients = skipgram_loss_and_gradients if given.ndim == 1 else cbow_loss_and_gradients
    starts = range(0, len(targets), batch_size)
    step, steps = 0, epochs * len(starts)
    for _ in range(epochs):
        order = rng.permutation(len(targets))
        for start in starts:
            rows = order[start : start + batch_size]
            negatives = draw_negatives(probabilities, targets[rows], k, rng)
            _, grad_inputs, grad_outputs = loss_and_gradients(inputs, outputs, given[rows], targets[rows], negatives)
            rate = learning_rate * (1 - step / steps)
            inputs, outputs = inputs - rate * grad_inputs, outputs - rate * grad_outputs
            step += 1
    return inputs, outputs


def _check_window(window: int) -> None:
    if window < 1:
        raise ValueError(f"the window must be 1 or more, got {window}")


def _around(sentence: list[int], i: int, reach: int) -> list[int]:
    # A negative start would count from the end.
    return [*sentence[max(0, i - reach) : i], *sentence[i + 1 : i + 1 + reach]]


def _guess(
    hidden: np.ndarray, outputs: np.ndarray, true: np.ndarray, negatives: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The loss of guessing from `hidden` (n, d), and its gradients with respect to `hidden` and `outputs`."""
    words = np.concatenate([true[:, None], negatives], axis=1)  # the true word first
    scores = np.einsum("nd,nkd->nk", hidden, outputs[words])
    # -log σ(s) is log(1 + e⁻ˢ), and logaddexp never overflows.
    loss = np.logaddexp(0, -scores[:, 0]).sum() + np.logaddexp(0, scores[:, 1:]).sum()
    grad_scores = (1 + np.tanh(scores / 2)) / 2  # σ(s), for scores of any size
    grad_scores[:, 0] -= 1
    grad_outputs = np.zeros(outputs.shape)
    np.add.at(grad_outputs, words, grad_scores[:, :, None] * hidden[:, None])
    return float(loss), np.einsum("nk,nkd->nd", grad_scores, outputs[words]), grad_outputs
