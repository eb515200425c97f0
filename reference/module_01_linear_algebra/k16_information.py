"""Information: the reference."""

import heapq
import math
from collections.abc import Mapping
from itertools import count

import numpy as np


def entropy(p: np.ndarray, base: float = math.e) -> np.ndarray:
    return cross_entropy(p, p) / math.log(base)


def cross_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    if p.shape != q.shape:
        raise ValueError(f"p and q must have one shape, got {p.shape} and {q.shape}")
    # With 1 in its place, a q that doesn't matter adds 0 · log 1.
    with np.errstate(divide="ignore"):
        return -(p * np.log(np.where(p > 0, q, 1))).sum(axis=-1)


def kl_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return cross_entropy(p, q) - entropy(p)


def js_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    middle = (p + q) / 2
    return (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2


def mutual_information(joint: np.ndarray) -> float:
    # Were X and Y independent, this would be their table.
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    return float(kl_divergence(joint.ravel(), independent.ravel()))


def through_channel(joint: np.ndarray, channel: np.ndarray) -> np.ndarray:
    return joint @ channel


def huffman_code(weights: Mapping[str, float]) -> dict[str, str]:
    if not weights:
        raise ValueError("expected at least one symbol, got none")
    if len(weights) == 1:
        return dict.fromkeys(weights, "0")
    # The counter decides between equal weights, so that the heap never compares lists of symbols.
    order = count()
    heap = [(weight, next(order), [symbol]) for symbol, weight in weights.items()]
    heapq.heapify(heap)
    code = dict.fromkeys(weights, "")
    while len(heap) > 1:
        # A join is nearer to the root than all joins before it, so its bit goes in front.
        (light, _, left), (heavy, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        for bit, side in (("0", left), ("1", right)):
            for symbol in side:
                code[symbol] = bit + code[symbol]
        heapq.heappush(heap, (light + heavy, next(order), left + right))
    return code


def expected_length(weights: Mapping[str, float], code: Mapping[str, str]) -> float:
    bits = sum(weight * len(code[symbol]) for symbol, weight in weights.items())
    return bits / sum(weights.values())
