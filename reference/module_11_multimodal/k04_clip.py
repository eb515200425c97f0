"""CLIP: the reference."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from katas.module_05_transformers.k08_encoder import Encoder


def similarity_logits(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    return log_scale.exp() * F.normalize(images) @ F.normalize(texts).T


def contrastive_loss(logits: Tensor) -> Tensor:
    n, m = logits.shape
    if n != m:
        raise ValueError(f"logits must be square, got {n} images and {m} texts")
    own = torch.arange(n, device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


class TextEncoder(nn.Module):
    def __init__(
        self, vocabulary: int, context: int, d_model: int, layers: int, heads: int, d_ff: int, end: int
    ) -> None:
        super().__init__()
        self.end = end
        self.embedding = nn.Embedding(vocabulary, d_model)
        self.positions = nn.Parameter(0.02 * torch.randn(context, d_model))
        self.encoder = Encoder(layers, d_model, heads, d_ff, pre_norm=True, activation="gelu")

    def forward(self, ids: Tensor) -> Tensor:
        n = ids.shape[1]
        is_end = ids == self.end
        if not is_end.any(1).all():
            row = is_end.any(1).long().argmin()
            raise ValueError(f"text {row} has no end token {self.end}")
        # Causal: what stands behind the end token can't reach it, so padding needs no mask.
        causal = torch.ones(n, n, dtype=torch.bool, device=ids.device).tril()
        x = self.encoder(self.embedding(ids) + self.positions[:n], causal)
        return x[torch.arange(len(ids)), is_end.long().argmax(1)]


class Clip(nn.Module):
    def __init__(
        self,
        image_tower: nn.Module,
        text_tower: nn.Module,
        image_width: int,
        text_width: int,
        width: int,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        self.image_tower, self.text_tower = image_tower, text_tower
        self.image_project = nn.Linear(image_width, width, bias=False)
        self.text_project = nn.Linear(text_width, width, bias=False)
        # The logarithm is learned: a step multiplies the scale, and it can't become negative.
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def encode_images(self, images: Tensor) -> Tensor:
        return F.normalize(self.image_project(self.image_tower(images)))

    def encode_texts(self, ids: Tensor) -> Tensor:
        return F.normalize(self.text_project(self.text_tower(ids)))

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        return similarity_logits(self.encode_images(images), self.encode_texts(ids), self.log_scale)

    @torch.no_grad()
    def limit_scale(self, highest: float = 100.0) -> None:
        self.log_scale.clamp_(max=math.log(highest))


def zero_shot_classifier(texts: Tensor) -> Tensor:
    # Directions are averaged: without the first normalising, a long vector would outvote the others.
    return F.normalize(F.normalize(texts, dim=2).mean(1))


def classify(images: Tensor, classifier: Tensor, log_scale: Tensor) -> Tensor:
    return similarity_logits(images, classifier, log_scale).softmax(1)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, upstream: Tensor) -> Tensor:
        # My rows stand in the loss of every rank, so every rank has a part of their gradient.
        total = upstream.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def gather(x: Tensor) -> Tensor:
    return _Gather.apply(x) if dist.is_initialized() else x


def distributed_loss(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    n = len(images)
    first = n * dist.get_rank() if dist.is_initialized() else 0
    own = torch.arange(first, first + n, device=images.device)
    by_image = F.cross_entropy(similarity_logits(images, gather(texts), log_scale), own)
    by_text = F.cross_entropy(similarity_logits(texts, gather(images), log_scale), own)
    return (by_image + by_text) / 2
