"""BERT: the reference."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from katas.module_05_transformers.k02_multi_head_attention import MultiHeadAttention
from katas.module_05_transformers.k06_normalization_layers import LayerNorm
from katas.module_05_transformers.k07_feed_forward import FeedForward, gelu

IGNORED = -100  # what cross_entropy leaves out


@dataclass(frozen=True)
class BertConfig:
    vocab_size: int
    context: int
    segments: int
    d_model: int
    d_ff: int
    layers: int
    heads: int
    eps: float


class Block(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(config.d_model, config.heads)
        self.norm1 = LayerNorm(config.d_model, config.eps)
        self.feed_forward = FeedForward(config.d_model, config.d_ff)
        self.norm2 = LayerNorm(config.d_model, config.eps)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.norm1(x + self.attention(x, mask=mask)[0])
        return self.norm2(x + self.feed_forward(x))


class Bert(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.context = config.context
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.context, config.d_model)
        self.segments = nn.Embedding(config.segments, config.d_model)
        self.norm = LayerNorm(config.d_model, config.eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(
        self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        n = ids.shape[1]
        if n > self.context:
            raise ValueError(f"the context has room for {self.context} tokens, got {n}")
        if segments is None:
            segments = torch.zeros_like(ids)
        if mask is not None:
            mask = mask.bool()[:, None, None, :]  # for every head and every query
        x = self.norm(self.tokens(ids) + self.positions.weight[:n] + self.segments(segments))
        for block in self.blocks:
            x = block(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))

    @torch.no_grad()
    def load_hf(self, state: Mapping[str, Tensor]) -> None:
        for part, name in ((self.tokens, "word"), (self.positions, "position"), (self.segments, "token_type")):
            part.weight.copy_(state[f"embeddings.{name}_embeddings.weight"])
        _copy(self.norm, state, "embeddings.LayerNorm")
        for i, block in enumerate(self.blocks):
            at = f"encoder.layer.{i}"
            _copy(block.attention.q_proj, state, f"{at}.attention.self.query")
            _copy(block.attention.k_proj, state, f"{at}.attention.self.key")
            _copy(block.attention.v_proj, state, f"{at}.attention.self.value")
            _copy(block.attention.out_proj, state, f"{at}.attention.output.dense")
            _copy(block.norm1, state, f"{at}.attention.output.LayerNorm")
            _copy(block.feed_forward.up_proj, state, f"{at}.intermediate.dense")
            _copy(block.feed_forward.down_proj, state, f"{at}.output.dense")
            _copy(block.norm2, state, f"{at}.output.LayerNorm")
        _copy(self.pooler, state, "pooler.dense")


def _copy(part: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    part.weight.copy_(state[f"{name}.weight"])
    part.bias.copy_(state[f"{name}.bias"])


class BertForPretraining(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = Bert(config)
        self.transform = nn.Linear(config.d_model, config.d_model)
        self.norm = LayerNorm(config.d_model, config.eps)
        self.token_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.next = nn.Linear(config.d_model, 2)

    def forward(
        self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        states, pooled = self.bert(ids, segments, mask)
        transformed = self.norm(gelu(self.transform(states)))
        return F.linear(transformed, self.bert.tokens.weight, self.token_bias), self.next(pooled)

    @torch.no_grad()
    def load_hf(self, state: Mapping[str, Tensor]) -> None:
        self.bert.load_hf({name.removeprefix("bert."): value for name, value in state.items()})
        _copy(self.transform, state, "cls.predictions.transform.dense")
        _copy(self.norm, state, "cls.predictions.transform.LayerNorm")
        self.token_bias.copy_(state["cls.predictions.bias"])
        _copy(self.next, state, "cls.seq_relationship")


def mask_tokens(
    ids: Tensor,
    special: Tensor,
    mask_id: int,
    vocab_size: int,
    rate: float = 0.15,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    # Two draws: whether a token is chosen says nothing about its fate.
    chosen = (torch.rand(ids.shape, generator=generator, device=ids.device) < rate) & ~special
    fate = torch.rand(ids.shape, generator=generator, device=ids.device)
    other = torch.randint(vocab_size, ids.shape, generator=generator, dtype=ids.dtype, device=ids.device)
    labels = ids.masked_fill(~chosen, IGNORED)
    inputs = ids.masked_fill(chosen & (fate < 0.8), mask_id)
    return torch.where(chosen & (fate >= 0.9), other, inputs), labels


def pretraining_loss(
    token_logits: Tensor, next_logits: Tensor, labels: Tensor, follows: Tensor
) -> Tensor:
    token_loss = F.cross_entropy(token_logits.flatten(0, 1), labels.flatten())
    return token_loss + F.cross_entropy(next_logits, follows)


def sentence_vectors(states: Tensor, mask: Tensor) -> Tensor:
    # The sum over the real tokens has the direction of their mean; the length is set anyway.
    total = (states * mask[..., None]).sum(1)
    return total / total.norm(dim=1, keepdim=True)
