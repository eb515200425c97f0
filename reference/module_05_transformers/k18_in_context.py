"""In-context learning: the reference."""

import torch
from torch import Tensor


def few_shot_prompt(
    examples: list[tuple[str, str]],
    query: str,
    input_label: str = "Input",
    output_label: str = "Output",
    separator: str = "\n\n",
    instruction: str = "",
) -> str:
    blocks = [instruction] if instruction else []
    blocks += [f"{input_label}: {given}\n{output_label}: {answer}" for given, answer in examples]
    # No space after the last colon: it belongs to the token that the model is to write.
    blocks.append(f"{input_label}: {query}\n{output_label}:")
    return separator.join(blocks)


def instruction_prompt(instruction: str, context: str = "", response: str = "") -> str:
    paired = ", paired with an input that provides further context" if context else ""
    blocks = [
        f"Below is an instruction that describes a task{paired}. "
        "Write a response that appropriately completes the request.",
        f"### Instruction:\n{instruction}",
    ]
    if context:
        blocks.append(f"### Input:\n{context}")
    blocks.append(f"### Response:\n{response}")
    return "\n\n".join(blocks)


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q @ k.mT @ v


def regression_layer(tokens: Tensor, n: int, rate: float) -> Tensor:
    x, y = tokens[..., :-1], tokens[..., -1:]
    # Keys and values are the examples alone: a query's y slot is no target to learn from.
    explained = rate / n * linear_attention(x, x[..., :n, :], y[..., :n, :])
    return torch.cat([x, y - explained], dim=-1)


def in_context_regression(
    x: Tensor, y: Tensor, queries: Tensor, rate: float, layers: int = 1
) -> Tensor:
    n = x.shape[-2]
    slots = torch.cat([y, torch.zeros_like(queries[..., 0])], dim=-1)
    tokens = torch.cat([torch.cat([x, queries], dim=-2), slots[..., None]], dim=-1)
    for _ in range(layers):
        tokens = regression_layer(tokens, n, rate)
    return -tokens[..., n:, -1]  # a query started at 0 and lost its prediction


def induction_score(maps: Tensor, period: int) -> Tensor:
    n = maps.shape[-1]
    if not 1 <= period < n:
        raise ValueError(f"the period must lie between 1 and n - 1, got period {period} and n = {n}")
    i = torch.arange(period, n, device=maps.device)
    return maps[..., i, i - period + 1].mean(-1)


def induction_head(ids: Tensor) -> tuple[Tensor, Tensor]:
    positions = torch.arange(ids.shape[-1], device=ids.device)
    earlier = (ids[..., :, None] == ids[..., None, :]) & (positions < positions[:, None])
    # The largest earlier position with the same id; -1 where there is none.
    last = positions.where(earlier, -1).amax(-1)
    found = last >= 0
    target = last + 1
    pattern = (positions == target[..., None]) & found[..., None]
    return pattern.float(), ids.gather(-1, target).where(found, -1)
