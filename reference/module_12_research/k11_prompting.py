"""Prompting: the reference."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import NamedTuple, TypeVar

import numpy as np

Example = TypeVar("Example")


class Spread(NamedTuple):
    mean: float
    std: float
    worst: float
    best: float


def fill(template: str, values: Mapping[str, str]) -> str:
    unused = set(values)

    def put(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        name = found[1]
        if name is None:
            raise ValueError(f"a single {found[0]} at {found.start()}; double it, or name a value")
        if name not in values:
            raise ValueError(f"there is no value for {name}")
        unused.discard(name)
        return values[name]

    # One pass: what a value holds is never read as a template.
    text = re.sub(r"\{\{|\}\}|\{(\w+)\}|[{}]", put, template)
    if unused:
        raise ValueError(f"the template has no place for {', '.join(sorted(unused))}")
    return text


def few_shot(instruction: str, examples: Sequence[tuple[str, str]], query: str) -> str:
    blocks = [instruction] if instruction else []
    blocks += [f"Input: {x}\nOutput: {y}" for x, y in examples]
    return "\n\n".join([*blocks, f"Input: {query}\nOutput:"])


def cot_prompt(question: str, examples: Sequence[tuple[str, str, str]] = ()) -> str:
    blocks = [f"Q: {q}\nA: {reasoning} The answer is {a}." for q, reasoning, a in examples]
    start = "A:" if examples else "A: Let's think step by step."
    return "\n\n".join([*blocks, f"Q: {question}\n{start}"])


def extract_answer(reply: str) -> str | None:
    # A model that only continues texts goes on with questions of its own.
    own = re.split(r"^Q:", reply, maxsplit=1, flags=re.MULTILINE)[0]
    _, *behind = re.split(r"the answer is:?", own, flags=re.IGNORECASE)
    if not behind:
        return None
    answer = behind[-1].partition("\n")[0].strip().rstrip(".").rstrip()
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", answer) or None


def self_consistency(sample: Callable[[str, int], str], prompt: str, n: int) -> tuple[str | None, float]:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    answers = [extract_answer(sample(prompt, seed)) for seed in range(n)]
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return None, 0.0
    # max and Counter keep the order of the first votes, so a tie goes to the answer that came first.
    winner = max(votes, key=lambda answer: votes[answer])
    return winner, votes[winner] / n


def majority_accuracy(p: float, n: int) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"p must be from 0 to 1, got {p}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    chances = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    tie = chances[n // 2] / 2 if n % 2 == 0 else 0.0
    return sum(chances[n // 2 + 1 :]) + tie


def label_probabilities(score: Callable[[str, str], float], prompt: str, labels: Sequence[str]) -> np.ndarray:
    logs = np.array([score(prompt, label) for label in labels], dtype=np.float64)
    weights = np.exp(logs - logs.max())  # the largest becomes 1: nothing underflows to 0 / 0
    return weights / weights.sum()


def calibrate(probabilities: np.ndarray, content_free: np.ndarray) -> np.ndarray:
    bias = np.mean(content_free, axis=0, dtype=np.float64)
    if not bias.all():
        raise ValueError(f"label {int(np.argmin(bias))} never has a probability above 0 without content")
    corrected = np.asarray(probabilities, dtype=np.float64) / bias
    return corrected / corrected.sum(axis=-1, keepdims=True)


def search_prompts(
    templates: Sequence[str], examples: Sequence[tuple[str, str]], model: Callable[[str], str], first: int = 4
) -> tuple[str, float]:
    left, right = list(range(len(templates))), [0] * len(templates)
    seen, goal = 0, first
    while True:
        for x, y in examples[seen:goal]:
            for i in left:
                right[i] += model(fill(templates[i], {"input": x})).strip() == y
        seen = min(goal, len(examples))
        left = sorted(left, key=lambda i: (-right[i], i))[: (len(left) + 1) // 2]
        if len(left) == 1 or seen == len(examples):
            return templates[left[0]], right[left[0]] / seen
        goal = 2 * seen


def order_sensitivity(
    examples: Sequence[Example],
    evaluate: Callable[[list[Example]], float],
    limit: int = 24,
    rng: np.random.Generator | None = None,
) -> Spread:
    n = len(examples)
    if math.factorial(n) <= limit:
        orders = list(permutations(range(n)))
    elif rng is None:
        raise ValueError(f"{n} examples have more than {limit} orders: an rng is needed to draw some")
    else:
        drawn: set[tuple[int, ...]] = set()
        while len(drawn) < limit:
            drawn.add(tuple(rng.permutation(n).tolist()))
        orders = sorted(drawn)
    scores = [float(evaluate([examples[i] for i in order])) for order in orders]
    return Spread(float(np.mean(scores)), float(np.std(scores)), min(scores), max(scores))
