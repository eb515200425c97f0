"""Sequence labelling: the reference."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from katas.module_04_deep_learning.k15_lstm_and_gru import LSTM

Span = tuple[str, int, int]


class Crf(NamedTuple):
    """The scores of a CRF that don't depend on the words."""

    transitions: Tensor
    start: Tensor
    end: Tensor


def _parts(tag: str) -> tuple[str, str]:
    """ "B", "I" or "O", and the kind."""
    if tag == "O":
        return "O", ""
    # Only at the first "-": a kind such as "work-of-art" holds some itself.
    prefix, _, kind = tag.partition("-")
    if prefix not in ("B", "I") or not kind:
        raise ValueError(f'expected "O", or "B-" or "I-" and a kind, got {tag!r}')
    return prefix, kind


def spans(tags: Sequence[str]) -> list[Span]:
    found: list[Span] = []
    for place, tag in enumerate(tags):
        prefix, kind = _parts(tag)
        if prefix == "O":
            continue
        goes_on = bool(found) and found[-1][0] == kind and found[-1][2] == place
        if prefix == "I" and goes_on:
            found[-1] = (kind, found[-1][1], place + 1)
        else:
            # An I- that continues nothing still says that here is a name: it begins one.
            found.append((kind, place, place + 1))
    return found


def to_bio(spans: Sequence[Span], n: int) -> list[str]:
    in_order = sorted(spans, key=lambda span: span[1:])
    for _, start, end in in_order:
        if not 0 <= start < end <= n:
            raise ValueError(f"the span from {start} to {end} doesn't lie in 0 … {n}, or is empty")
    for (_, start, end), (_, later, _) in pairwise(in_order):
        if later < end:
            raise ValueError(f"the spans that start at {start} and {later} overlap")
    tags = ["O"] * n
    for kind, start, end in in_order:
        tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return tags


def entity_f1(true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> tuple[float, float, float]:
    if len(true) != len(predicted):
        raise ValueError(f"{len(true)} true sentences, but {len(predicted)} predicted ones")
    right = wanted = given = 0
    for expected, found in zip(true, predicted, strict=True):
        if len(expected) != len(found):
            raise ValueError(f"a sentence has {len(expected)} true tags, but {len(found)} predicted ones")
        # Sentence by sentence: the same place in another sentence is another span.
        right_ones, ours = set(spans(expected)), set(spans(found))
        right += len(right_ones & ours)
        wanted += len(right_ones)
        given += len(ours)
    precision = right / given if given else 0.0
    recall = right / wanted if wanted else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return precision, recall, f1


def _real(emissions: Tensor, lengths: Tensor) -> Tensor:
    """(b, n): True for words, False in the padding."""
    return torch.arange(emissions.shape[1], device=emissions.device) < lengths[:, None]


def path_score(emissions: Tensor, tags: Tensor, lengths: Tensor, crf: Crf) -> Tensor:
    real = _real(emissions, lengths)
    tags = tags.where(real, 0)  # -100 is no index
    own = emissions.gather(2, tags[..., None]).squeeze(2).where(real, 0)
    # The step into word t exists if word t does.
    steps = crf.transitions[tags[:, :-1], tags[:, 1:]].where(real[:, 1:], 0)
    last = tags.gather(1, lengths[:, None] - 1).squeeze(1)
    return crf.start[tags[:, 0]] + own.sum(1) + steps.sum(1) + crf.end[last]


def _forward(emissions: Tensor, lengths: Tensor, crf: Crf) -> list[Tensor]:
    """α of each word, (b, k); in the padding that of the last word."""
    alphas = [crf.start + emissions[:, 0]]
    for t in range(1, emissions.shape[1]):
        new = (alphas[-1][:, :, None] + crf.transitions).logsumexp(1) + emissions[:, t]
        alphas.append(torch.where((t < lengths)[:, None], new, alphas[-1]))
    return alphas


def log_partition(emissions: Tensor, lengths: Tensor, crf: Crf) -> Tensor:
    return (_forward(emissions, lengths, crf)[-1] + crf.end).logsumexp(1)


def marginals(emissions: Tensor, lengths: Tensor, crf: Crf) -> Tensor:
    alphas = _forward(emissions, lengths, crf)
    last = crf.end.expand_as(alphas[0])
    betas = [last]
    for t in reversed(range(1, emissions.shape[1])):
        new = (crf.transitions + (emissions[:, t] + betas[-1])[:, None, :]).logsumexp(2)
        # A row's backward pass begins at its own last word, not at that of the longest row.
        betas.append(torch.where((t < lengths)[:, None], new, last))
    log_z = (alphas[-1] + crf.end).logsumexp(1)
    log_p = torch.stack(alphas, 1) + torch.stack(betas[::-1], 1) - log_z[:, None, None]
    return log_p.exp().where(_real(emissions, lengths)[..., None], 0)


def viterbi(emissions: Tensor, lengths: Tensor, crf: Crf) -> list[list[int]]:
    best = crf.start + emissions[:, 0]
    backs = []
    for t in range(1, emissions.shape[1]):
        into, back = (best[:, :, None] + crf.transitions).max(1)
        best = torch.where((t < lengths)[:, None], into + emissions[:, t], best)
        backs.append(back.tolist())
    paths = []
    for row, (tag, length) in enumerate(zip((best + crf.end).argmax(1).tolist(), lengths.tolist(), strict=True)):
        path = [tag]
        for t in reversed(range(length - 1)):
            path.append(backs[t][row][path[-1]])
        paths.append(path[::-1])
    return paths


def allowed_transitions(labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    parts = [_parts(label) for label in labels]
    pairs = [[now != "I" or (then in ("B", "I") and was == kind) for now, kind in parts] for then, was in parts]
    return torch.tensor(pairs), torch.tensor([now != "I" for now, _ in parts])


class Tagger(nn.Module):
    def __init__(self, words: int, labels: Sequence[str], d: int, m: int) -> None:
        super().__init__()
        k = len(labels)
        self.labels = tuple(labels)
        self.embedding = nn.Embedding(words, d)
        self.lstm = LSTM(d, m, bidirectional=True)
        self.head = nn.Linear(2 * m, k)
        self.transitions = nn.Parameter(torch.zeros(k, k))
        self.start = nn.Parameter(torch.zeros(k))
        self.end = nn.Parameter(torch.zeros(k))

    @property
    def _crf(self) -> Crf:
        return Crf(self.transitions, self.start, self.end)

    def emissions(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(tokens), lengths=lengths)
        return self.head(states)

    def loss(self, tokens: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        emissions = self.emissions(tokens, lengths)
        right = path_score(emissions, tags, lengths, self._crf)
        return (log_partition(emissions, lengths, self._crf) - right).mean()

    @torch.no_grad()
    def predict(self, tokens: Tensor, lengths: Tensor) -> list[list[str]]:
        pairs, first = (mask.to(tokens.device) for mask in allowed_transitions(self.labels))
        never = float("-inf")
        crf = Crf(self.transitions.masked_fill(~pairs, never), self.start.masked_fill(~first, never), self.end)
        paths = viterbi(self.emissions(tokens, lengths), lengths, crf)
        return [[self.labels[tag] for tag in path] for path in paths]
