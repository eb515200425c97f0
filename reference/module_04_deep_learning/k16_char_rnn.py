"""A character model: the reference."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


class Alphabet:
    def __init__(self, text: str) -> None:
        # Sorted, since the order of a set changes from one run of Python to the next.
        self.letters = sorted(set(text))
        self._ids = {letter: i for i, letter in enumerate(self.letters)}

    def __len__(self) -> int:
        return len(self.letters)

    def encode(self, text: str) -> Tensor:
        for letter in text:
            if letter not in self._ids:
                raise ValueError(f"{letter!r} isn't among the {len(self)} letters of this alphabet")
        return torch.tensor([self._ids[letter] for letter in text], dtype=torch.int64)

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        return "".join(self.letters[int(i)] for i in ids)


def streams(ids: Tensor, batch: int, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    per_row = (len(ids) - 1) // batch  # the last id is a target only
    if per_row == 0:
        raise ValueError(f"{len(ids)} ids are too few for {batch} rows of at least one id and its target")
    inputs = ids[: batch * per_row].reshape(batch, per_row)
    targets = ids[1 : batch * per_row + 1].reshape(batch, per_row)
    for start in range(0, per_row, length):
        yield inputs[:, start : start + length], targets[:, start : start + length]


class CharRNN(nn.Module):
    def __init__(self, letters: int, d: int, m: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(letters, d)
        self.lstm = nn.LSTM(d, m, batch_first=True)
        self.head = nn.Linear(m, letters)

    def forward(self, ids: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        read, state = self.lstm(self.embedding(ids), state)
        return self.head(read), state


def _detached(state: Any) -> Any:
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, ids: Tensor, batch: int, length: int, max_norm: float
) -> float:
    model.train()
    state, total, count = None, 0.0, 0
    for inputs, targets in streams(ids, batch, length):
        logits, state = model(inputs, state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        # Its numbers go on; its graph doesn't, or the next backward pass would walk through this window too.
        state = _detached(state)
        # The last window may be shorter, so that a mean of means would count its letters more.
        total += loss.item() * targets.numel()
        count += targets.numel()
    return total / count


def _put_back(modes: list[tuple[nn.Module, bool]]) -> None:
    # Not by train(): it would give every part the mode of the whole.
    for module, training in modes:
        module.training = training


@torch.no_grad()
def evaluate(model: nn.Module, ids: Tensor, length: int) -> float:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    state, total = None, 0.0
    for inputs, targets in streams(ids, 1, length):
        logits, state = model(inputs, state)
        total += F.cross_entropy(logits[0], targets[0], reduction="sum").item()
    _put_back(modes)
    return total / (len(ids) - 1)


@torch.no_grad()
def sample(
    model: nn.Module,
    alphabet: Alphabet,
    prompt: str,
    count: int,
    temperature: float = 1.0,
    generator: Generator | None = None,
) -> str:
    if temperature < 0:
        raise ValueError(f"the temperature is {temperature}; expected 0 or more")
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    device = next(model.parameters()).device
    read, state, new = alphabet.encode(prompt).to(device), None, []
    for _ in range(count):
        # The state remembers what was read, so only what is new goes in.
        logits, state = model(read[None], state)
        last = logits[0, -1]
        if temperature == 0:
            read = last.argmax(keepdim=True)
        else:
            probs = ((last - last.max()) / temperature).softmax(-1)
            read = torch.multinomial(probs, 1, generator=generator)
        new.append(read.item())
    _put_back(modes)
    return alphabet.decode(new)
