"""Llama

The decoder that most open models follow.  It is GPT with four parts exchanged,
each of which you have written:

    LayerNorm                →  RMSNorm, without biases anywhere
    learned positions        →  RoPE, inside attention
    multi-head attention     →  grouped-query attention
    FFN with GELU            →  SwiGLU

    x = E[ids]
    x = x + attention(input_layernorm(x))               L times
    x = x + mlp(post_attention_layernorm(x))
    logits = W norm(x)

W is a matrix of its own (`lm_head`), or, in small models, E itself.

With that you can run real weights.  A checkpoint is a config, which names the sizes,
and a dict from names to tensors.  SmolLM2-135M has 30 layers, 9 heads of 64 that
share 3 key-value heads, and 134,515,008 parameters; your code gives the same logits
as `transformers`, and so writes the same text.

**Greedy decoding** asks for the logits of the last token, takes the largest, appends
it, and asks again.

Worked by hand, the parameters of SmolLM2-135M, d = 576, hidden 1536, tied:

    embeddings   49,152 · 576                              = 28,311,552
    a layer      2·576·576 + 2·192·576 + 3·1536·576 + 2·576 =  3,540,096
    in all       28,311,552 + 30 · 3,540,096 + 576          = 134,515,008

Shapes: ids (b, n) int64, logits (b, n, vocab_size).  No function or method changes
its arguments.

Source: Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models",
section 2.2; Allal et al. 2025, "SmolLM2".

From scratch: transformers and torch.nn.functional.scaled_dot_product_attention may not be used.
Builds on k06_normalization_layers, k07_feed_forward and k12_grouped_query_attention,
whose RMSNorm, GatedFeedForward and GroupedQueryAttention you may import.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes of a model; `tied` says that the logits are made with the embeddings."""

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
    """The sizes from a checkpoint's config.json.

    They stand there as vocab_size, hidden_size, intermediate_size, num_hidden_layers,
    num_attention_heads, num_key_value_heads, head_dim, rms_norm_eps and
    tie_word_embeddings; θ as "rope_theta" inside "rope_parameters", or, in older
    files, beside the others.  num_key_value_heads may be missing (then it is
    num_attention_heads), as may head_dim (hidden_size / num_attention_heads) and
    tie_word_embeddings (false).

    Raises ValueError, naming it, if "model_type" isn't "llama".
    """
    raise NotImplementedError


class Llama(nn.Module):
    """The model of the lesson.  The names of its parts are yours to choose."""

    def __init__(self, config: LlamaConfig) -> None:
        """A model of these sizes with any weights."""
        raise NotImplementedError

    def forward(self, ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """The logits (b, n, vocab_size) of the tokens that follow ids (b, n).

        `positions` (n,) are where the tokens stand, 0 … n - 1 where they aren't given.
        """
        raise NotImplementedError

    def load_hf(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of a Hugging Face state dict of the same sizes.

        For layer i, `model.layers.{i}.` followed by input_layernorm.weight,
        self_attn.{q,k,v,o}_proj.weight, post_attention_layernorm.weight and
        mlp.{gate,up,down}_proj.weight; around them model.embed_tokens.weight,
        model.norm.weight, and, unless the model is tied, lm_head.weight.  Other
        entries are left alone; the weights are converted to the model's own dtype.

        Raises ValueError, naming it, if one of these is missing, or if it has another
        shape than the model's, naming both shapes.
        """
        raise NotImplementedError


def greedy(model: nn.Module, ids: Tensor, new_tokens: int, stop: int | None = None) -> Tensor:
    """The prompt ids (n,) and the up to `new_tokens` tokens that a model of ids (b, n) goes on with.

    Stops after the token `stop`, which is part of the result.  Needs no gradient.
    """
    raise NotImplementedError
