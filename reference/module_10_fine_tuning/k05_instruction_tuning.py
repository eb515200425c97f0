"""Instruction tuning: the reference."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

START, END = "<|im_start|>", "<|im_end|>"
IGNORE = -100

Messages = Sequence[Mapping[str, str]]


class Packed(NamedTuple):
    """A batch of packed rows; all are int64 (rows, size)."""

    tokens: Tensor
    targets: Tensor
    positions: Tensor
    documents: Tensor


def _checked(messages: Messages, default_system: str | None) -> list[tuple[str, str]]:
    """Role and content of each message, the default system message included."""
    found = [(message["role"], message["content"]) for message in messages]
    for role, content in found:
        if role not in ("system", "user", "assistant"):
            raise ValueError(f'a role is "system", "user" or "assistant", got {role!r}')
        for marker in (START, END):
            # The user could end the own message and write the assistant's answer.
            if marker in content:
                raise ValueError(f"the content of a message by {role} holds {marker}")
    if default_system is not None and found and found[0][0] != "system":
        found.insert(0, ("system", default_system))
    return found


def encode_prompt(
    messages: Messages, encode: Callable[[str], list[int]], default_system: str | None = None
) -> list[int]:
    ids, _ = encode_chat(messages, encode, default_system)
    return ids + list(encode(f"{START}assistant\n"))


def encode_chat(
    messages: Messages,
    encode: Callable[[str], list[int]],
    default_system: str | None = None,
    last_only: bool = False,
) -> tuple[list[int], list[bool]]:
    said = _checked(messages, default_system)
    answers = [place for place, (role, _) in enumerate(said) if role == "assistant"]
    learned = set(answers[-1:] if last_only else answers)
    ids: list[int] = []
    mask: list[bool] = []
    for place, (role, content) in enumerate(said):
        # END is learned with the answer: nothing else tells the model to stop.
        for text, counts in ((f"{START}{role}\n", False), (content, True), (END, True), ("\n", False)):
            piece = encode(text)
            ids += piece
            mask += [counts and place in learned] * len(piece)
    return ids, mask


def next_targets(ids: Sequence[int], mask: Sequence[bool]) -> list[int]:
    if len(ids) != len(mask):
        raise ValueError(f"{len(ids)} ids, but a mask of {len(mask)}")
    # The header's last token predicts the answer's first, so the mask is that of the token that comes next.
    following = [id if learned else IGNORE for id, learned in zip(ids[1:], mask[1:], strict=True)]
    return following + [IGNORE] * bool(len(ids))


def answer_loss(logits: Tensor, targets: Tensor, total: int | None = None) -> Tensor:
    count = int((targets != IGNORE).sum()) if total is None else total
    loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE, reduction="sum")
    # Without a target the sum is 0, and 0 / 0 would poison all weights.
    return loss / max(1, count)


def pack(lengths: Sequence[int], size: int) -> list[list[int]]:
    rows: list[list[int]] = []
    room: list[int] = []
    for example in sorted(range(len(lengths)), key=lambda i: -lengths[i]):  # stable: the lower number first
        length = lengths[example]
        if length > size:
            raise ValueError(f"an example of {length} tokens doesn't fit in a row of {size}")
        place = next((row for row, left in enumerate(room) if length <= left), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(size)
        rows[place].append(example)
        room[place] -= length
    return rows


def packed_batch(
    examples: Sequence[tuple[Sequence[int], Sequence[int]]], rows: Sequence[Sequence[int]], size: int, pad: int
) -> Packed:
    batch = []
    for row in rows:
        tokens: list[int] = []
        targets: list[int] = []
        positions: list[int] = []
        documents: list[int] = []
        for number in row:
            ids, wanted = examples[number]
            tokens += ids
            targets += wanted
            positions += range(len(ids))
            documents += [number] * len(ids)
        if len(tokens) > size:
            raise ValueError(f"a row has {len(tokens)} tokens, but the size is {size}")
        left = size - len(tokens)
        filled = ((tokens, pad), (targets, IGNORE), (positions, 0), (documents, -1))
        batch.append([values + [filler] * left for values, filler in filled])
    table = torch.tensor(batch, dtype=torch.int64).reshape(len(rows), 4, size)
    return Packed(*table.unbind(1))


def packed_mask(documents: Tensor) -> Tensor:
    n = documents.shape[-1]
    places = torch.arange(n, device=documents.device)
    same = documents[..., :, None] == documents[..., None, :]
    real = (documents >= 0)[..., None]
    itself = places[:, None] == places
    return (same & (places[:, None] >= places) & real) | itself


def mixture_weights(sizes: Sequence[int], temperature: float = 1.0, limit: int | None = None) -> list[float]:
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    capped = [size if limit is None else min(size, limit) for size in sizes]
    # Shares of the largest are at most 1, so that no power overflows.
    largest = max(capped)
    powers = [(size / largest) ** (1 / temperature) for size in capped]
    return [power / sum(powers) for power in powers]


def mixed(sizes: Sequence[int], weights: Sequence[float], generator: np.random.Generator) -> Iterator[tuple[int, int]]:
    if len(sizes) != len(weights):
        raise ValueError(f"{len(sizes)} sizes, but {len(weights)} weights")
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        if weight > 0 and size == 0:
            raise ValueError(f"data set {number} is empty, but its weight is {weight}")
    share = np.array(weights, dtype=float) / sum(weights)
    left: list[list[int]] = [[] for _ in sizes]
    while True:
        number = int(generator.choice(len(sizes), p=share))
        if not left[number]:
            left[number] = generator.permutation(sizes[number]).tolist()
        yield number, left[number].pop()
