"""Llama

**Before you start.**  You need GPT's architecture, RMSNorm, the gated feed-forward layer and
grouped-query attention.  You may use yours (the reference's are used until yours are green):

    from .k01_attention import causal_mask
    from .k06_normalization_layers import RMSNorm
    from .k07_feed_forward import GatedFeedForward
    from .k12_grouped_query_attention import GroupedQueryAttention

Sizes and reasons: Touvron et al. 2023, section 2.2.

**The idea.**  Most open models follow this decoder.  Your code can run their weights, and writes
the same text as `transformers`.  It is GPT with four parts exchanged; you have all four.

         GPT                     Llama
    ids ─▶ E + P            ids ─▶ E               positions come in attention
             │                     │
             ├─▶ LayerNorm         ├─▶ RMSNorm     input_layernorm
             │   attention         │   attention   grouped-query, with RoPE
             + ◀─┘                 + ◀─┘
             ├─▶ LayerNorm         ├─▶ RMSNorm     post_attention_layernorm
             │   gelu layer        │   SwiGLU      mlp
             + ◀─┘                 + ◀─┘
             ▼                     ▼
           LayerNorm             RMSNorm           norm
           × Eᵀ                  × Wᵀ              lm_head, or E itself

**The formula**, without a bias anywhere:

    x = E[ids]
    x = x + attention(input_layernorm(x))               L times, causal
    x = x + mlp(post_attention_layernorm(x))
    logits = norm(x) Wᵀ

W is a matrix of its own (`lm_head`), or, in small models, E itself.

*A checkpoint* is a config, which names the sizes, and a dict from names to tensors.

*Greedy decoding* takes the last token's largest logit, appends its token, and asks again.

**Why "post-attention"?**  The norm stands after attention, before the feed-forward layer.  It
does not norm what attention gives.

**Worked by hand**, the parameters of SmolLM2-135M: 30 layers, d_model = 576, d_ff = 1536, 9
heads of 64 that share 3 key-value heads, tied:

    embeddings   49,152 · 576                              = 28,311,552
    a layer      2·576·576 + 2·192·576 + 3·1536·576 + 2·576 =  3,540,096
    in total     28,311,552 + 30 · 3,540,096 + 576          = 134,515,008

**Shapes**: ids (b, n) int64, logits (b, n, vocab_size).  No function or method changes its
arguments.

Answers are on the device of the input, and a module moved by .to works where it is.

**Steps.**

    read_config  10 min   what may be missing
    Llama        35 min   20 for the model, 15 for load_hf: choose names that match
    greedy        5 min   the stop token is part of the result

Sources: Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models", section
2.2; Allal et al. 2025, "SmolLM2".

From scratch: transformers and torch.nn.functional.scaled_dot_product_attention may not be used.
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

        vocab_size, hidden_size, intermediate_size, num_hidden_layers
                                 vocab_size, d_model, d_ff, layers
        num_attention_heads      heads
        num_key_value_heads      kv_heads; as many as heads where it is missing
        head_dim                 hidden_size / num_attention_heads where it is missing
        rms_norm_eps             eps
        tie_word_embeddings      tied; false where it is missing
        rope_theta               θ, inside "rope_parameters"; in older files at the top level

    What is there isn't null, and θ is in one of the two places.

    Raises ValueError, naming the type that it has and "llama", if "model_type" isn't "llama".
    """
    raise NotImplementedError


class Llama(nn.Module):
    """The model of the lesson.  The names of its parts are yours to choose."""

    def __init__(self, config: LlamaConfig) -> None:
        """A model of these sizes with any weights."""
        raise NotImplementedError

    def forward(self, ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """The logits (b, n, vocab_size) of the tokens that follow ids (b, n).

        - `positions` (n,) are where the tokens stand, for RoPE; 0 … n - 1 where they aren't
          given.
        - Row t depends on the tokens of rows 0 … t alone, in whatever order the positions are.
        - Only the positions' distances matter, also far away: RoPE's angles are float64.
        """
        raise NotImplementedError

    def load_hf(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of a Hugging Face state dict of the same sizes.

            model.embed_tokens.weight                E
            model.norm.weight                        norm
            lm_head.weight                           W, unless the model is tied

        and for layer i, `model.layers.{i}.` followed by

            input_layernorm.weight
            self_attn.q_proj.weight, and k_proj, v_proj, o_proj
            post_attention_layernorm.weight
            mlp.gate_proj.weight, and up_proj, down_proj

        - `state` may be in any order; other entries are ignored.
        - The weights are converted to the model's own dtype.  No memory is shared.

        Raises ValueError, naming it, if one of these is missing, or if it has another shape
        than the model's, naming both shapes.  The model may be half loaded then.
        """
        raise NotImplementedError


def greedy(model: nn.Module, ids: Tensor, new_tokens: int, stop: int | None = None) -> Tensor:
    """The prompt `ids` (n,) followed by up to `new_tokens` new tokens: (n + …,).

    - The model takes ids (b, n) and gives logits (b, n, vocab_size).
    - It stops after the token `stop`, which is part of the result.  In the prompt that token
      stops nothing.
    - Gradients are off while the model runs, and afterwards as they were before.
    """
    raise NotImplementedError
