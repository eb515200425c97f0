"""Speech recognition: the reference."""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from katas.module_03_language_models.k06_text_metrics import error_rate
from katas.module_11_multimodal.k16_audio_features import hann, mel_filters, stft

NEVER = -1e30
"""The log of a probability of 0.  Unlike -inf it has gradients of 0, not NaN."""


def log_mel(x: Tensor, rate: int, bands: int = 40) -> Tensor:
    size, hop = rate // 40, rate // 100
    power = stft(x, hann(size, x.dtype, x.device), hop).abs().square()
    levels = torch.log(mel_filters(rate, size, bands, dtype=x.dtype, device=x.device) @ power + 1e-6)
    levels = levels.mT
    # Over frames and bands together: the shape of the spectrum must stay, only loudness goes.
    mean = levels.mean((-2, -1), keepdim=True)
    spread = (levels - mean).square().mean((-2, -1), keepdim=True).sqrt()
    return (levels - mean) / (spread + 1e-5)


def collapse(path: Sequence[int], blank: int = 0) -> list[int]:
    # First merge, then drop: a blank between two equal symbols keeps both.
    return [symbol for symbol, _ in groupby(path) if symbol != blank]


def frames_needed(target: Sequence[int]) -> int:
    return len(target) + sum(a == b for a, b in pairwise(target))


def ctc_loss(log_probs: Tensor, targets: Tensor, lengths: Tensor, target_lengths: Tensor, blank: int = 0) -> Tensor:
    b, frames, _ = log_probs.shape
    inside = torch.arange(targets.shape[1], device=targets.device) < target_lengths[:, None]
    if (inside & (targets == blank)).any():
        raise ValueError(f"a target has the symbol {blank}, which is the blank")
    states = targets.new_full((b, 2 * targets.shape[1] + 1), blank)
    states[:, 1::2] = targets.masked_fill(~inside, blank)
    emit = log_probs.gather(2, states[:, None].expand(-1, frames, -1))
    # A blank is left out between two different symbols, but not between equal ones; blanks are equal as well.
    skips = F.pad(states[:, 2:] != states[:, :-2], (2, 0))[:, : states.shape[1]]
    start = torch.arange(states.shape[1], device=states.device) < 2
    alpha = emit[:, 0].masked_fill(~start, NEVER)
    for t in range(1, frames):
        before = F.pad(alpha, (2, 0), value=NEVER)
        jump = before[:, :-2].masked_fill(~skips, NEVER)
        after = torch.stack([alpha, before[:, 1:-1], jump]).logsumexp(0) + emit[:, t]
        alpha = torch.where((t < lengths)[:, None], after, alpha)
    ends = F.pad(alpha, (1, 0), value=NEVER)  # so that an empty target has a state before its only blank
    places = 2 * target_lengths[:, None] + torch.arange(2, device=alpha.device)
    total = ends.gather(1, places).logsumexp(1)
    return torch.where(total > NEVER / 2, -total, math.inf)


def greedy_decode(log_probs: Tensor, lengths: Tensor, blank: int = 0) -> list[list[int]]:
    best = log_probs.argmax(-1).tolist()
    return [collapse(path[:n], blank) for path, n in zip(best, lengths.tolist(), strict=True)]


def prefix_beam_search(log_probs: Tensor, width: int, blank: int = 0) -> list[tuple[tuple[int, ...], float]]:
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    # Of each prefix: the log-probabilities of its alignments that end in a blank, and that end in its last symbol.
    beam = {(): [0.0, -math.inf]}
    for frame in log_probs.tolist():
        after: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])

        def add(prefix: tuple[int, ...], kind: int, mass: float, after: dict = after) -> None:
            after[prefix][kind] = float(np.logaddexp(after[prefix][kind], mass))

        for prefix, (in_blank, in_symbol) in beam.items():
            both = float(np.logaddexp(in_blank, in_symbol))
            for symbol, score in enumerate(frame):
                if symbol == blank:
                    add(prefix, 0, both + score)
                elif prefix[-1:] == (symbol,):
                    add(prefix, 1, in_symbol + score)  # the same sound goes on
                    add((*prefix, symbol), 1, in_blank + score)  # said again
                else:
                    add((*prefix, symbol), 1, both + score)
        ranked = sorted(after.items(), key=lambda item: -np.logaddexp(*item[1]))
        beam = dict(ranked[:width])
    scored = [(prefix, float(np.logaddexp(*masses))) for prefix, masses in beam.items()]
    return [(prefix, score) for prefix, score in scored if score > -math.inf]


class Recogniser(nn.Module):
    def __init__(self, bands: int, width: int, symbols: int) -> None:
        super().__init__()
        self.down = nn.Conv1d(bands, width, 5, stride=2, padding=2)
        self.mix = nn.Conv1d(width, width, 9, padding=4)
        self.out = nn.Linear(width, symbols)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        # Each convolution looks over the end of a clip, so what lies there must be 0 before both.
        hidden = F.relu(self.down(_cut(x, lengths).mT)).mT
        lengths = (lengths + 1) // 2
        hidden = F.relu(self.mix(_cut(hidden, lengths).mT)).mT
        return self.out(hidden).log_softmax(-1), lengths


def _cut(x: Tensor, lengths: Tensor) -> Tensor:
    inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    return x.masked_fill(~inside[..., None], 0)


def keyword_chances(log_probs: Tensor, lengths: Tensor, keywords: Sequence[Sequence[int]], blank: int = 0) -> Tensor:
    losses = []
    for word in keywords:
        targets = torch.tensor([word], device=log_probs.device, dtype=torch.int64).expand(len(log_probs), -1)
        losses.append(ctc_loss(log_probs, targets, lengths, torch.full_like(lengths, len(word)), blank))
    table = torch.stack(losses, 1)
    if (none := table.isinf().all(1)).any():
        raise ValueError(f"no keyword fits into the frames of clip {none.long().argmax().item()}")
    return torch.softmax(-table, 1)


def word_error_rate(
    log_probs: Tensor, lengths: Tensor, references: Sequence[str], alphabet: str, blank: int = 0
) -> float:
    texts = ["".join(alphabet[i] for i in symbols) for symbols in greedy_decode(log_probs, lengths, blank)]
    return error_rate([text.split() for text in references], [text.split() for text in texts])
