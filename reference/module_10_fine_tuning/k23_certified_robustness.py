"""Certified robustness: the reference."""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

ABSTAIN = -1

Predict = Callable[[list[list[str]]], Tensor]


def noisy_counts(
    model: nn.Module, x: Tensor, n: int, sigma: float, generator: Generator, batch_size: int = 1000
) -> Tensor:
    counts: Tensor | None = None
    while n > 0:
        m = min(n, batch_size)
        n -= m
        noise = torch.randn((m, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
        with torch.no_grad():
            logits = model(x + sigma * noise)
        found = torch.bincount(logits.argmax(-1), minlength=logits.shape[-1])
        counts = found if counts is None else counts + found
    assert counts is not None
    return counts


def _tail(k: int, n: int) -> Callable[[float], float]:
    """P(X ≥ k) of a binomial (n, p) as a function of p, from 0 to 1 exclusive."""
    # In logarithms, as C(n, i) is too large for a float.  They don't depend on p, so they are made once.
    i = torch.arange(k, n + 1, dtype=torch.float64)
    whole = torch.tensor(n + 1.0, dtype=torch.float64)
    log_choose = torch.lgamma(whole) - torch.lgamma(i + 1) - torch.lgamma(n - i + 1)
    return lambda p: (log_choose + i * math.log(p) + (n - i) * math.log1p(-p)).exp().sum().item()


def _possible(k: int, n: int) -> None:
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"expected 0 ≤ k ≤ n and n ≥ 1, got k = {k} of n = {n}")


def binomial_test(k: int, n: int) -> float:
    _possible(k, n)
    # By symmetry both tails are alike.  Where they meet in the middle, the middle would count twice.
    return min(1.0, 2 * _tail(max(k, n - k), n)(0.5))


def predict_smoothed(
    model: nn.Module,
    x: Tensor,
    n: int,
    sigma: float,
    alpha: float,
    generator: Generator,
    batch_size: int = 1000,
) -> int:
    counts = noisy_counts(model, x, n, sigma, generator, batch_size)
    (first, second), (best, _) = (top.tolist() for top in counts.topk(2))
    return best if binomial_test(first, first + second) <= alpha else ABSTAIN


def lower_confidence_bound(k: int, n: int, alpha: float) -> float:
    _possible(k, n)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    if k == 0:
        return 0.0
    # The tail grows with p, so bisection finds where it is alpha.
    tail = _tail(k, n)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if tail(middle) < alpha:
            low = middle
        else:
            high = middle
    return low


def certified_radius(lower: float, sigma: float, upper: float | None = None) -> float:
    def quantile(p: float) -> float:
        if 0 < p < 1:
            return NormalDist().inv_cdf(p)
        return math.inf if p >= 1 else -math.inf

    if upper is None:
        # Φ⁻¹(1 - p) = -Φ⁻¹(p), so both halves are the same: no subtraction from 1 costs digits.
        return max(0.0, sigma * quantile(lower))
    if lower <= upper:
        return 0.0
    return sigma / 2 * (quantile(lower) - quantile(upper))


def certify(
    model: nn.Module,
    x: Tensor,
    n0: int,
    n: int,
    sigma: float,
    alpha: float,
    generator: Generator,
    batch_size: int = 1000,
) -> tuple[int, float]:
    # Two samples: had one chosen the class and counted it too, the bound would be too high.
    choice = int(noisy_counts(model, x, n0, sigma, generator, batch_size).argmax())
    k = int(noisy_counts(model, x, n, sigma, generator, batch_size)[choice])
    lower = lower_confidence_bound(k, n, alpha)
    if lower <= 0.5:
        return ABSTAIN, 0.0
    return choice, certified_radius(lower, sigma)


def certified_accuracy(results: list[tuple[int, float]], y: list[int], radii: list[float]) -> list[float]:
    if len(results) != len(y) or not y:
        raise ValueError(f"got {len(results)} results and {len(y)} classes; expected as many, and some")
    held = [radius for (found, radius), true in zip(results, y, strict=True) if found == true]
    return [sum(one >= radius for one in held) / len(y) for radius in radii]


def noise_training(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: torch.optim.Optimizer,
    sigma: float,
    epochs: int,
    batch_size: int,
    generator: Generator,
) -> list[float]:
    means = []
    model.train()
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator, device=x.device).split(batch_size):
            clean = x[rows]
            # New noise each time: the network can't learn it by heart.
            noise = torch.randn(clean.shape, generator=generator, dtype=x.dtype, device=x.device)
            loss = F.cross_entropy(model(clean + sigma * noise), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        means.append(total / len(x))
    model.eval()
    return means


def word_importance(predict: Predict, words: list[str], label: int, whole: float) -> Tensor:
    without = [words[:i] + words[i + 1 :] for i in range(len(words))]
    return whole - predict(without)[:, label]


def substitution_attack(
    predict: Predict, words: list[str], label: int, synonyms: dict[str, list[str]], budget: int
) -> dict[str, Any]:
    if budget < 1:
        raise ValueError(f"budget must be 1 or more, got {budget}")
    words, changed, queries = list(words), [], 1
    first = predict([words])[0]
    if first.argmax() != label:
        return {"outcome": "skipped", "words": words, "changed": changed, "queries": queries}
    now = first[label].item()
    importance = word_importance(predict, words, label, now).tolist()
    queries += len(words)
    outcome = "failure"
    # sorted is stable, so that equal ones keep their order.
    for i in sorted(range(len(words)), key=lambda i: -importance[i]):
        if outcome == "success" or len(changed) == budget:
            break
        choices = synonyms.get(words[i])
        if not choices:
            continue
        texts = [[*words[:i], choice, *words[i + 1 :]] for choice in choices]
        found = predict(texts)
        queries += len(texts)
        left, wrong = found[:, label].tolist(), (found.argmax(-1) != label).tolist()
        # One that turns the class comes before all that don't.
        best = min(range(len(texts)), key=lambda j: (not wrong[j], left[j]))
        if wrong[best] or left[best] < now:
            words, now = texts[best], left[best]
            changed.append(i)
            outcome = "success" if wrong[best] else outcome
    return {"outcome": outcome, "words": words, "changed": changed, "queries": queries}


def attack_summary(results: list[dict[str, Any]]) -> dict[str, float]:
    if not results:
        raise ValueError("there are no results")

    def mean(values: list[int]) -> float:
        return sum(values) / len(values) if values else math.nan

    attacked = [one for one in results if one["outcome"] != "skipped"]
    won = [one for one in attacked if one["outcome"] == "success"]
    return {
        "accuracy": len(attacked) / len(results),
        "under_attack": (len(attacked) - len(won)) / len(results),
        "success": mean([one["outcome"] == "success" for one in attacked]),
        "changed": mean([len(one["changed"]) for one in won]),
        "queries": mean([one["queries"] for one in attacked]),
    }
