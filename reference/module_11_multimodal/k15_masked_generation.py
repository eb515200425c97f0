"""Masked generation: the reference."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

CURVES = {
    "cosine": lambda r: math.cos(math.pi * r / 2),
    "linear": lambda r: 1 - r,
    "square": lambda r: 1 - r**2,
}


def mask_schedule(n: int, steps: int, kind: str = "cosine") -> list[int]:
    if steps < 1:
        raise ValueError(f"there must be at least one step, got {steps}")
    if kind not in CURVES:
        raise ValueError(f"the kind must be one of {', '.join(CURVES)}, got {kind!r}")
    return [math.floor(n * CURVES[kind](t / steps) + 1e-9) for t in range(1, steps + 1)]


def random_mask(batch: int, n: int, generator: Generator) -> Tensor:
    r = torch.rand(batch, 1, generator=generator, device=generator.device)
    hidden = (n * torch.cos(math.pi * r / 2)).ceil()
    # The ranks of random numbers are a random order: the first so many of them are a random set.
    ranks = torch.rand(batch, n, generator=generator, device=generator.device).argsort(1).argsort(1)
    return ranks < hidden


def masked_loss(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    if not mask.any():
        raise ValueError("no place is hidden, so there is nothing to guess")
    return F.cross_entropy(logits[mask], tokens[mask])


class MaskedTransformer(nn.Module):
    def __init__(self, levels: int, length: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(levels + 1, width)  # one more for what is hidden
        # As large as the tokens: what is hidden looks alike everywhere, and only the place tells it apart.
        self.positions = nn.Parameter(torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, levels)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(tokens) + self.positions))


def exact_conditionals(table: Tensor, tokens: Tensor) -> Tensor:
    levels, places = len(table), table.dim()
    found = []
    for b, row in enumerate(tokens.tolist()):
        # Images that disagree with a visible token can't be: their probability is set to 0.
        possible = table
        for place, token in enumerate(row):
            if token < levels:
                shape = [levels if axis == place else 1 for axis in range(places)]
                agrees = torch.arange(levels, device=table.device) == token
                possible = possible * agrees.reshape(shape)
        total = possible.sum()
        if total == 0:
            raise ValueError(f"the visible tokens of row {b} have probability 0: {row}")
        # Without a list of other axes, as for a single place, torch would sum over all of them.
        marginals = [possible.movedim(place, 0).flatten(1).sum(1) if places > 1 else possible for place in range(places)]
        found.append(torch.stack(marginals) / total)
    return torch.stack(found)


def order_log_likelihood(model: Callable[[Tensor], Tensor], tokens: Tensor, levels: int, order: Sequence[int]) -> Tensor:
    if sorted(order) != list(range(tokens.shape[1])):
        raise ValueError(f"the order must hold each of the {tokens.shape[1]} places once, got {list(order)}")
    visible = torch.full_like(tokens, levels)
    parts = []
    for place in order:
        log_probabilities = model(visible)[:, place].log_softmax(1)
        parts.append(log_probabilities.gather(1, tokens[:, place, None])[:, 0])
        visible = visible.clone()  # the model may have kept the tensor for its backward pass
        visible[:, place] = tokens[:, place]
    return torch.stack(parts).sum(0)


@torch.no_grad()
def confident_step(
    logits: Tensor, tokens: Tensor, left: int, generator: Generator, temperature: float = 0.0
) -> Tensor:
    hidden = tokens == logits.shape[2]
    log_probabilities = logits.log_softmax(2)
    guesses = torch.multinomial(log_probabilities.exp().flatten(0, 1), 1, generator=generator).reshape(tokens.shape)
    confidence = log_probabilities.gather(2, guesses[..., None])[..., 0]
    if temperature:
        u = torch.rand(tokens.shape, generator=generator, dtype=torch.float64, device=tokens.device)
        confidence = confidence - temperature * (-u.log()).log()
    # Visible places are surer than any guess, so that they come last.
    ranks = confidence.masked_fill(~hidden, math.inf).argsort(1).argsort(1)
    return torch.where(hidden & (ranks >= left), guesses, tokens)


@torch.no_grad()
def infill(
    model: Callable[[Tensor], Tensor],
    tokens: Tensor,
    levels: int,
    steps: int,
    generator: Generator,
    temperature: float = 0.0,
    kind: str = "cosine",
) -> Tensor:
    n = int((tokens == levels).sum(1).max())
    for t, left in enumerate(mask_schedule(n, steps, kind), 1):
        tokens = confident_step(model(tokens), tokens, left, generator, temperature * (1 - t / steps))
    return tokens
