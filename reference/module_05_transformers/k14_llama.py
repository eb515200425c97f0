"""Llama: the reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from katas.module_05_transformers.k01_attention import causal_mask
from katas.module_05_transformers.k06_normalization_layers import RMSNorm
from katas.module_05_transformers.k07_feed_forward import GatedFeedForward
from katas.module_05_transformers.k12_grouped_query_attention import GroupedQueryAttention


@dataclass(frozen=True)
class LlamaConfig:
    vocab_size: int
    d_model: int
    d_ff: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    theta: float
    eps: float
    tied: bool


def read_config(config: Mapping[str, Any]) -> LlamaConfig:
    if config.get("model_type") != "llama":
        raise ValueError(f"model_type must be 'llama', got {config.get('model_type')!r}")
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters", config)
    return LlamaConfig(
        vocab_size=config["vocab_size"],
        d_model=config["hidden_size"],
        d_ff=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads", heads),
        head_dim=config.get("head_dim", config["hidden_size"] // heads),
        theta=rope["rope_theta"],
        eps=config["rms_norm_eps"],
        tied=config.get("tie_word_embeddings", False),
    )


class Block(nn.Module):
    """Parts are named as in Hugging Face's checkpoints, so that loading is a matter of names."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.d_model, config.eps)
        self.self_attn = GroupedQueryAttention(
            config.d_model, config.heads, config.kv_heads, config.head_dim, config.theta
        )
        self.post_attention_layernorm = RMSNorm(config.d_model, config.eps)
        self.mlp = GatedFeedForward(config.d_model, config.d_ff)

    def forward(self, x: Tensor, mask: Tensor, positions: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), mask, positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.d_model, config.eps)
        self.lm_head = None if config.tied else nn.Linear(config.d_model, config.vocab_size, bias=False)

    def forward(self, ids: Tensor, positions: Tensor | None = None) -> Tensor:
        mask = causal_mask(ids.shape[1], ids.shape[1]).to(ids.device)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, mask, positions)
        x = self.norm(x)
        # A tied model has no second matrix: the embeddings give the logits, too.
        return x @ self.embed_tokens.weight.T if self.lm_head is None else self.lm_head(x)

    @torch.no_grad()
    def load_hf(self, state: Mapping[str, Tensor]) -> None:
        for name, parameter in self.named_parameters():
            key = name if name.startswith("lm_head.") else f"model.{name}"
            if key not in state:
                raise ValueError(f"the state dict has no {key}")
            # copy_ would broadcast a smaller tensor over the parameter without a word.
            if state[key].shape != parameter.shape:
                raise ValueError(
                    f"{key} must have the shape {tuple(parameter.shape)}, got {tuple(state[key].shape)}"
                )
            parameter.copy_(state[key])


@torch.no_grad()
def greedy(model: nn.Module, ids: Tensor, new_tokens: int, stop: int | None = None) -> Tensor:
    for _ in range(new_tokens):
        following = model(ids[None])[0, -1].argmax(keepdim=True)
        ids = torch.cat([ids, following])
        if following == stop:
            break
    return ids
