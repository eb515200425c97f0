"""The unigram tokenizer: the reference."""

import math
import random
from collections import Counter
from collections.abc import Mapping

NEVER = -math.inf


def _arcs(text: str, model: Mapping[str, float]) -> list[tuple[int, int]]:
    """The places [i, j) where a piece stands, by rising j."""
    longest = max(map(len, model), default=0)
    return [
        (i, j)
        for j in range(len(text) + 1)
        for i in range(max(0, j - longest), j)
        if text[i:j] in model
    ]


def _log_add(a: float, b: float) -> float:
    # The larger one is taken out, so that exp can't vanish for both; -inf - -inf would be NaN.
    high, low = max(a, b), min(a, b)
    return high if low == NEVER else high + math.log1p(math.exp(low - high))


def _forward(text: str, model: Mapping[str, float]) -> list[float]:
    """log α of every position."""
    alpha = [0.0] + [NEVER] * len(text)
    for i, j in _arcs(text, model):
        alpha[j] = _log_add(alpha[j], alpha[i] + model[text[i:j]])
    return alpha


def _no_way(text: str) -> ValueError:
    return ValueError(f"no pieces of the model make up {text!r}")


def viterbi(text: str, model: Mapping[str, float]) -> list[str]:
    best = [0.0] + [NEVER] * len(text)
    start: dict[int, int] = {}
    for i, j in _arcs(text, model):
        score = best[i] + model[text[i:j]]
        if score > best[j]:
            best[j], start[j] = score, i
    if best[-1] == NEVER:
        raise _no_way(text)
    pieces = []
    j = len(text)
    while j:
        pieces.append(text[start[j] : j])
        j = start[j]
    return pieces[::-1]


def log_likelihood(text: str, model: Mapping[str, float]) -> float:
    return _forward(text, model)[-1]


def expected_counts(text: str, model: Mapping[str, float]) -> dict[str, float]:
    alpha = _forward(text, model)
    if alpha[-1] == NEVER:
        raise _no_way(text)
    beta = [NEVER] * len(text) + [0.0]
    counts: dict[str, float] = {}
    # By falling j, and every place that begins at j comes before those that end there: β(j) is complete.
    for i, j in reversed(_arcs(text, model)):
        piece = text[i:j]
        beta[i] = _log_add(beta[i], model[piece] + beta[j])
        used = math.exp(alpha[i] + model[piece] + beta[j] - alpha[-1])
        if used:
            counts[piece] = counts.get(piece, 0.0) + used
    return counts


def em_step(words: Mapping[str, int], model: Mapping[str, float]) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for word, number in words.items():
        for piece, count in expected_counts(word, model).items():
            counts[piece] += number * count
    total = math.log(sum(counts.values()))
    return {piece: math.log(count) - total for piece, count in counts.items()}


def prune(words: Mapping[str, int], model: Mapping[str, float], keep: int) -> dict[str, float]:
    def missed(piece: str) -> float:
        # Only the words that the piece stands in become less likely.
        without = {other: log_p for other, log_p in model.items() if other != piece}
        return sum(
            number * (log_likelihood(word, model) - log_likelihood(word, without))
            for word, number in words.items()
            if piece in word
        )

    # max, as a negative end of the slice would count from the back and keep longer pieces.
    single = [piece for piece in model if len(piece) == 1]
    longer = sorted((piece for piece in model if len(piece) > 1), key=lambda piece: (-missed(piece), piece))
    kept = {*single, *longer[: max(0, keep - len(single))]}
    return {piece: log_p for piece, log_p in model.items() if piece in kept}


def sample(text: str, model: Mapping[str, float], alpha: float, seed: int) -> list[str]:
    draw = random.Random(seed)  # its own: the global generator is somebody else's
    flattened = {piece: alpha * log_p for piece, log_p in model.items()}
    forward = _forward(text, flattened)
    if forward[-1] == NEVER:
        raise _no_way(text)
    arcs = _arcs(text, model)
    pieces = []
    j = len(text)
    while j:
        starts = [i for i, end in arcs if end == j]
        weights = [math.exp(forward[i] + flattened[text[i:j]] - forward[j]) for i in starts]
        (i,) = draw.choices(starts, weights)
        pieces.append(text[i:j])
        j = i
    return pieces[::-1]
