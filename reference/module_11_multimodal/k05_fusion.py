"""Fusion: the reference."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

from katas.module_05_transformers.k02_multi_head_attention import MultiHeadAttention
from katas.module_05_transformers.k07_feed_forward import FeedForward
from katas.module_05_transformers.k08_encoder import Encoder


def early_fusion(features: Sequence[Tensor], present: Tensor) -> Tensor:
    # where, not a product: 0 · NaN is NaN.  The flags tell a missing part from one that is zero.
    known = [torch.where(present[:, i, None], x, 0) for i, x in enumerate(features)]
    return torch.cat([*known, present], 1)


def late_fusion(logits: Tensor, present: Tensor) -> Tensor:
    _refuse_empty(present)
    # Absent ones are cleared before the softmax, or a NaN would come back in its gradient.
    each = torch.where(present[:, :, None], logits, 0).log_softmax(2)
    total = each.masked_fill(~present[:, :, None], -torch.inf).logsumexp(1)
    return total - present.sum(1, keepdim=True).log()


def modality_dropout(present: Tensor, p: float, generator: Generator) -> Tensor:
    if not 0 <= p < 1:
        raise ValueError(f"p must be at least 0 and below 1, got {p}")
    kept = present & (torch.rand(present.shape, generator=generator, device=present.device) >= p)
    return torch.where(kept.any(1, keepdim=True), kept, present)


class GatedFusion(nn.Module):
    def __init__(self, widths: Sequence[int], d: int) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Linear(width, d) for width in widths)
        self.gate = nn.Linear(sum(widths) + len(widths), len(widths))

    def forward(self, features: Sequence[Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        _refuse_empty(present)
        scores = self.gate(early_fusion(features, present))
        gates = scores.masked_fill(~present, -torch.inf).softmax(1)
        known = [torch.where(present[:, i, None], x, 0) for i, x in enumerate(features)]
        hidden = torch.stack([project(x).tanh() for project, x in zip(self.projects, known, strict=True)], 1)
        return (gates[:, :, None] * hidden).sum(1), gates


class GatedCrossAttention(nn.Module):
    def __init__(self, d: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.context_project = nn.Linear(context_width, d)
        self.attention = MultiHeadAttention(d, heads)
        # tanh(0) is 0: a language model that gets this layer says at first what it said without.
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            mask = torch.ones(context.shape[:2], dtype=torch.bool, device=x.device)
        found, _ = self.attention(self.norm(x), self.context_project(context), mask[:, None, None, :])
        # Whoever sees nothing gets the bias of the last projection, which must not be added.
        return x + self.gate.tanh() * torch.where(mask.any(1)[:, None, None], found, 0)


class ResamplerBlock(nn.Module):
    def __init__(self, d: int, heads: int, d_ff: int) -> None:
        super().__init__()
        self.media_norm, self.latent_norm, self.ff_norm = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.attention = MultiHeadAttention(d, heads)
        self.feed_forward = FeedForward(d, d_ff)

    def forward(self, latents: Tensor, media: Tensor, mask: Tensor | None = None) -> Tensor:
        queries = self.latent_norm(latents)
        seen = torch.cat([self.media_norm(media), queries], 1)
        if mask is not None:
            always = torch.ones(queries.shape[:2], dtype=torch.bool, device=mask.device)
            mask = torch.cat([mask, always], 1)[:, None, None, :]
        latents = latents + self.attention(queries, seen, mask)[0]
        return latents + self.feed_forward(self.ff_norm(latents))


class PerceiverResampler(nn.Module):
    def __init__(self, d: int, count: int, layers: int, heads: int, d_ff: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(count, d))
        self.blocks = nn.ModuleList(ResamplerBlock(d, heads, d_ff) for _ in range(layers))
        self.norm = nn.LayerNorm(d)

    def forward(self, media: Tensor, mask: Tensor | None = None) -> Tensor:
        latents = self.latents.expand(len(media), -1, -1)
        for block in self.blocks:
            latents = block(latents, media, mask)
        return self.norm(latents)


class UnifiedEncoder(nn.Module):
    def __init__(self, widths: Sequence[int], d: int, layers: int, heads: int, d_ff: int) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Linear(width, d) for width in widths)
        self.modalities = nn.Parameter(torch.randn(len(widths), d))
        self.encoder = Encoder(layers, d, heads, d_ff, pre_norm=True, activation="gelu")

    def forward(self, sequences: Sequence[Tensor], masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        mask = torch.cat(masks, 1)
        _refuse_empty(mask)
        parts = zip(self.projects, sequences, self.modalities, strict=True)
        states = self.encoder(torch.cat([project(x) + kind for project, x, kind in parts], 1), mask[:, None, None, :])
        visible = mask[:, :, None]
        return states, (states * visible).sum(1) / visible.sum(1)


def ablation(
    predict: Callable[[Sequence[Tensor], Tensor], Tensor],
    features: Sequence[Tensor],
    present: Tensor,
    labels: Tensor,
) -> list[float]:
    shares = []
    for without in (None, *range(present.shape[1])):
        left = present.clone()
        if without is not None:
            left[:, without] = False
        rows = left.any(1)
        right = 0
        if rows.any():
            answers = predict([x[rows] for x in features], left[rows]).argmax(1)
            right = (answers == labels[rows]).sum().item()
        shares.append(right / len(labels))
    return shares


def _refuse_empty(present: Tensor) -> None:
    if not present.any(1).all():
        raise ValueError(f"row {present.any(1).long().argmin().item()} has nothing present")
