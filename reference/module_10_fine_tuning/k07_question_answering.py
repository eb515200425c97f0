"""Question answering: the reference."""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Window(NamedTuple):
    """A part of the context, with the question before it."""

    ids: list[int]
    segments: list[int]
    start: int
    first: int
    length: int


def normalize_answer(text: str) -> str:
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _normalized(truths: Sequence[str]) -> list[str]:
    """The true answers that count; [""] for a question without one."""
    return [clean for clean in map(normalize_answer, truths) if clean] or [""]


def exact_match(prediction: str, truths: Sequence[str]) -> float:
    return float(normalize_answer(prediction) in _normalized(truths))


def answer_f1(prediction: str, truths: Sequence[str]) -> float:
    ours = Counter(normalize_answer(prediction).split())
    best = 0.0
    for truth in _normalized(truths):
        theirs = Counter(truth.split())
        if not ours or not theirs:
            best = max(best, float(ours == theirs))
        else:
            common = (ours & theirs).total()  # each word as often as in the one that has fewer of it
            # 2 P R / (P + R) with P = common / ours and R = common / theirs.
            best = max(best, 2 * common / (ours.total() + theirs.total()))
    return best


def windows(
    question: Sequence[int], context: Sequence[int], size: int, stride: int, cls: int, sep: int
) -> list[Window]:
    room = size - len(question) - 3
    if not 1 <= stride <= room:
        raise ValueError(f"the stride must be from 1 to the room of {room}, got {stride}")
    head = [cls, *question, sep]
    found = []
    start = 0
    while True:
        part = list(context[start : start + room])
        segments = [0] * len(head) + [1] * (len(part) + 1)
        found.append(Window([*head, *part, sep], segments, start, len(head), len(part)))
        # Another window would hold nothing that this one doesn't.
        if start + room >= len(context):
            return found
        start += stride


def span_targets(window: Window, answer: tuple[int, int] | None) -> tuple[int, int]:
    if answer is None:
        return 0, 0
    start, end = (place - window.start for place in answer)
    # Half an answer is none: the model would learn to cut.
    if start < 0 or end > window.length:
        return 0, 0
    return window.first + start, window.first + end - 1


class SpanHead(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.out = nn.Linear(d, 2)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        start, end = self.out(hidden).masked_fill(~mask[..., None], float("-inf")).unbind(-1)
        return start, end


def span_loss(start: Tensor, end: Tensor, targets: Tensor) -> Tensor:
    return (F.cross_entropy(start, targets[:, 0]) + F.cross_entropy(end, targets[:, 1])) / 2


def best_span(start: Tensor, end: Tensor, first: int, length: int, limit: int) -> tuple[int, int, float] | None:
    if limit < 1:
        raise ValueError(f"a span has at least 1 token, got the limit {limit}")
    if length == 0:
        return None
    context = slice(first, first + length)
    scores = start[context, None] + end[context]
    places = torch.arange(length, device=start.device)
    ahead = places - places[:, None]  # j - i
    scores = scores.masked_fill((ahead < 0) | (ahead >= limit), float("-inf"))
    # Row by row from the left: the first of the largest has the smallest i, then the smallest j.
    top = int((scores == scores.max()).flatten().int().argmax())
    i, j = divmod(top, length)
    return first + i, first + j, scores[i, j].item()


def find_answer(
    windows: Sequence[Window], starts: Sequence[Tensor], ends: Sequence[Tensor], limit: int, threshold: float
) -> tuple[tuple[int, int] | None, float]:
    null, best, answer = math.inf, -math.inf, None
    for window, start, end in zip(windows, starts, ends, strict=True):
        null = min(null, (start[0] + end[0]).item())
        span = best_span(start, end, window.first, window.length, limit)
        if span is not None and span[2] > best:
            i, j, best = span
            shift = window.start - window.first
            answer = (i + shift, j + shift + 1)
    if answer is None:
        return None, math.inf
    margin = null - best
    return (None if margin > threshold else answer), margin


def best_threshold(
    margins: Sequence[float], answered: Sequence[float], abstained: Sequence[float]
) -> tuple[float, float]:
    if not len(margins) == len(answered) == len(abstained):
        raise ValueError(f"{len(margins)} margins, {len(answered)} scores answered, {len(abstained)} abstained")
    score = best = float(sum(abstained))
    threshold = -math.inf
    order = sorted(range(len(margins)), key=lambda i: margins[i])
    for place, i in enumerate(order):
        score += answered[i] - abstained[i]
        # Questions with the same margin are answered together.
        last = place + 1 == len(order) or margins[order[place + 1]] > margins[i]
        if last and score > best:
            best, threshold = score, float(margins[i])
    return threshold, best / len(margins)
