"""GPT: the reference."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from katas.module_05_transformers.k01_attention import causal_mask
from katas.module_05_transformers.k02_multi_head_attention import MultiHeadAttention
from katas.module_05_transformers.k06_normalization_layers import LayerNorm
from katas.module_05_transformers.k07_feed_forward import FeedForward


@dataclass(frozen=True)
class GPTConfig:
    vocab_size: int
    context: int
    d_model: int
    heads: int
    layers: int


def next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    if ids.shape[1] < 2:
        raise ValueError(f"a next token needs rows of at least 2 tokens, got {ids.shape[1]}")
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm1 = LayerNorm(config.d_model)
        self.attention = MultiHeadAttention(config.d_model, config.heads)
        self.norm2 = LayerNorm(config.d_model)
        self.feed_forward = FeedForward(config.d_model, 4 * config.d_model, "gelu_tanh")

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), mask=mask)[0]
        return x + self.feed_forward(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.context = config.context
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.context, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.d_model)
        # 2·layers matrices add to the stream: drawn smaller, they leave its variance the same at any depth.
        residual_std = 0.02 / (2 * config.layers) ** 0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                is_residual = name.endswith(("out_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=residual_std if is_residual else 0.02)
            elif name.endswith("proj.bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids: Tensor) -> Tensor:
        n = ids.shape[1]
        if n > self.context:
            raise ValueError(f"the context has room for {self.context} tokens, got {n}")
        x = self.token_embedding(ids) + self.position_embedding.weight[:n]
        mask = causal_mask(n, n).to(ids.device)
        for block in self.blocks:
            x = block(x, mask)
        # Tied: the matrix that read the tokens predicts them, too.
        return self.norm(x) @ self.token_embedding.weight.T

    @torch.no_grad()
    def load_gpt2(self, state: Mapping[str, Tensor]) -> None:
        self.token_embedding.weight.copy_(state["transformer.wte.weight"])
        self.position_embedding.weight.copy_(state["transformer.wpe.weight"])
        _copy(self.norm, state, "transformer.ln_f")
        for i, block in enumerate(self.blocks):
            at = f"transformer.h.{i}."
            _copy(block.norm1, state, at + "ln_1")
            _copy(block.norm2, state, at + "ln_2")
            attention = block.attention
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            weights = state[at + "attn.c_attn.weight"].chunk(3, dim=1)
            biases = state[at + "attn.c_attn.bias"].chunk(3)
            for projection, weight, bias in zip(projections, weights, biases, strict=True):
                projection.weight.copy_(weight.T)
                projection.bias.copy_(bias)
            _copy(attention.out_proj, state, at + "attn.c_proj")
            _copy(block.feed_forward.up_proj, state, at + "mlp.c_fc")
            _copy(block.feed_forward.down_proj, state, at + "mlp.c_proj")


def _copy(part: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Copy weight and bias; Conv1D's matrices are the transpose of nn.Linear's, a norm's vector is its own."""
    part.weight.copy_(state[f"{name}.weight"].mT if part.weight.dim() == 2 else state[f"{name}.weight"])
    part.bias.copy_(state[f"{name}.bias"])
