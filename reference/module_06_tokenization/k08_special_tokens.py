"""Special tokens, padding, truncation and chats: the reference."""

from collections.abc import Mapping, Sequence

import numpy as np

IGNORED = -100  # what cross-entropy leaves out, in torch as in transformers


def add_special(ids: Sequence[int], bos: int | None = None, eos: int | None = None) -> list[int]:
    # Both look at `ids` as given: where bos and eos are the same, the one isn't taken for the other.
    before = [bos] if bos is not None and list(ids[:1]) != [bos] else []
    after = [eos] if eos is not None and list(ids[-1:]) != [eos] else []
    return [*before, *ids, *after]


def windows(ids: Sequence[int], length: int, stride: int = 0) -> list[list[int]]:
    if not 0 <= stride < length:
        raise ValueError(f"the stride must be at least 0 and below the length, got {stride} and {length}")
    # A window that begins where only the overlap is left would lie inside the one before.
    starts = range(0, max(1, len(ids) - stride), length - stride)
    return [list(ids[start : start + length]) for start in starts]


def truncate_pair(
    first: Sequence[int], second: Sequence[int], limit: int, strategy: str = "longest_first"
) -> tuple[list[int], list[int]]:
    n, m = len(first), len(second)
    if strategy not in ("longest_first", "only_first", "only_second"):
        raise ValueError(f"strategy must be longest_first, only_first or only_second, got {strategy!r}")
    if strategy == "longest_first":
        # Numbers to keep; where all fits, they are no smaller than the lengths.
        shorter = min(n, m, limit // 2)
        n, m = (shorter, limit - shorter) if n <= m else (limit - shorter, shorter)
    else:
        uncut = m if strategy == "only_first" else n
        if uncut > limit:
            raise ValueError(f"the sequence that {strategy} leaves uncut has {uncut} tokens, but the limit is {limit}")
        n, m = (limit - m, m) if strategy == "only_first" else (n, limit - n)
    return list(first[:n]), list(second[:m])


def pad_batch(
    sequences: Sequence[Sequence[int]], pad: int, side: str = "right", multiple_of: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    if side not in ("left", "right"):
        raise ValueError(f"side must be left or right, got {side!r}")
    longest = max(map(len, sequences))
    # Minus the floor of the negated is the ceiling, in whole numbers.
    length = -(-longest // multiple_of) * multiple_of
    ids = np.full((len(sequences), length), pad, dtype=np.int64)
    mask = np.zeros((len(sequences), length), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        start = 0 if side == "right" else length - len(sequence)
        ids[row, start : start + len(sequence)] = sequence
        mask[row, start : start + len(sequence)] = 1
    return ids, mask


def render_chat(
    messages: Sequence[Mapping[str, str]],
    add_generation_prompt: bool = False,
    default_system: str | None = None,
) -> tuple[str, list[tuple[int, int]]]:
    conversation = list(messages)
    if default_system is not None and (not conversation or conversation[0]["role"] != "system"):
        conversation.insert(0, {"role": "system", "content": default_system})
    text = ""
    spans = []
    for message in conversation:
        text += f"<|im_start|>{message['role']}\n"
        start = len(text)
        text += f"{message['content']}<|im_end|>"  # learned with the answer, or the model never stops
        if message["role"] == "assistant":
            spans.append((start, len(text)))
        text += "\n"
    if add_generation_prompt:
        text += "<|im_start|>assistant\n"
    return text, spans


def labels(
    ids: Sequence[int], offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]
) -> list[int]:
    return [
        token if any(start <= begin < end for start, end in spans) else IGNORED
        for token, (begin, _) in zip(ids, offsets, strict=True)
    ]
