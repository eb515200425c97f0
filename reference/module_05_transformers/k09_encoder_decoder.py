"""The encoder-decoder Transformer: the reference."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from katas.module_05_transformers.k01_attention import causal_mask
from katas.module_05_transformers.k02_multi_head_attention import MultiHeadAttention
from katas.module_05_transformers.k06_normalization_layers import LayerNorm
from katas.module_05_transformers.k07_feed_forward import FeedForward
from katas.module_05_transformers.k08_encoder import Encoder


class DecoderBlock(nn.Module):
    def __init__(self, d_model: int, heads: int, d_ff: int, pre_norm: bool = False) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attention = MultiHeadAttention(d_model, heads)
        self.cross_attention = MultiHeadAttention(d_model, heads)
        self.feed_forward = FeedForward(d_model, d_ff, "relu")
        self.norm1 = LayerNorm(d_model)
        self.norm2 = LayerNorm(d_model)
        self.norm3 = LayerNorm(d_model)

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        # memory_mask hides the source's padding: only cross-attention sees the memory, and only it needs the mask.
        n = x.shape[-2]
        causal = causal_mask(n, n).to(x.device)
        if self.pre_norm:
            x = x + self.self_attention(self.norm1(x), mask=causal)[0]
            x = x + self.cross_attention(self.norm2(x), memory, memory_mask)[0]
            return x + self.feed_forward(self.norm3(x))
        x = self.norm1(x + self.self_attention(x, mask=causal)[0])
        x = self.norm2(x + self.cross_attention(x, memory, memory_mask)[0])
        return self.norm3(x + self.feed_forward(x))


class Transformer(nn.Module):
    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        d_model: int,
        heads: int,
        layers: int,
        d_ff: int,
        pre_norm: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(max_length, d_model)
        self.encoder = Encoder(layers, d_model, heads, d_ff, pre_norm)
        self.blocks = nn.ModuleList(DecoderBlock(d_model, heads, d_ff, pre_norm) for _ in range(layers))
        self.norm = LayerNorm(d_model) if pre_norm else None
        self.head = nn.Linear(d_model, vocab_size)

    def _embed(self, ids: Tensor) -> Tensor:
        n, longest = ids.shape[-1], self.positions.num_embeddings
        if n > longest:
            raise ValueError(f"at most max_length = {longest} tokens have positions, got {n}")
        return self.embedding(ids) + self.positions.weight[:n]

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        return self.encoder(self._embed(source), source_mask)

    def decode(self, inputs: Tensor, memory: Tensor, source_mask: Tensor | None = None) -> Tensor:
        x = self._embed(inputs)
        for block in self.blocks:
            x = block(x, memory, source_mask)
        return self.head(x if self.norm is None else self.norm(x))

    def forward(self, source: Tensor, inputs: Tensor, source_mask: Tensor | None = None) -> Tensor:
        return self.decode(inputs, self.encode(source, source_mask), source_mask)


def shift_right(targets: Tensor, start: int) -> Tensor:
    return F.pad(targets[..., :-1], (1, 0), value=start)


def teacher_forcing_loss(
    model: Transformer,
    source: Tensor,
    targets: Tensor,
    start: int,
    source_mask: Tensor | None = None,
) -> Tensor:
    logits = model(source, shift_right(targets, start), source_mask)
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten())


@torch.no_grad()
def greedy_decode(
    model: Transformer, source: Tensor, steps: int, start: int, source_mask: Tensor | None = None
) -> Tensor:
    # The source doesn't change while the target grows, so it is encoded once.
    memory = model.encode(source, source_mask)
    ids = source.new_full((*source.shape[:-1], 1), start)
    for _ in range(steps):
        logits = model.decode(ids, memory, source_mask)[..., -1, :]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], -1)
    return ids[..., 1:]
