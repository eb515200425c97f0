"""Batched generation: the reference."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from katas.module_05_transformers.k10_gpt import GPT

Model = Callable[[Tensor, Tensor, Tensor], Tensor]


class PaddedGPT(GPT):
    """GPT for rows with padding.  This class is given."""

    @torch.no_grad()
    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Given to you: the logits (b, n, vocab_size) for ids and positions (b, n) and a mask (b, n, n)."""
        x = self.token_embedding(ids) + self.position_embedding(positions.clamp(min=0))
        for block in self.blocks:
            x = x + block.attention(block.norm1(x), mask=mask[:, None])[0]
            x = x + block.feed_forward(block.norm2(x))
        return self.norm(x) @ self.token_embedding.weight.T


def left_pad(prompts: Sequence[Sequence[int]], pad: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    n = max(len(prompt) for prompt in prompts)
    rows = [[pad] * (n - len(prompt)) + list(prompt) for prompt in prompts]
    padding = torch.tensor([n - len(prompt) for prompt in prompts], device=device)
    return torch.tensor(rows, device=device), torch.arange(n, device=device) - padding[:, None]


def batch_mask(positions: Tensor) -> Tensor:
    query, key = positions[:, :, None], positions[:, None, :]
    # The diagonal is for the padding alone: a softmax over nothing would be NaN, and spread from layer to layer.
    itself = torch.eye(positions.shape[1], dtype=torch.bool, device=positions.device)
    return (key >= 0) & (key <= query) | itself


def next_tokens(
    model: Model, texts: Sequence[Sequence[int]], pad: int, device: torch.device | str = "cpu"
) -> list[int]:
    ids, positions = left_pad(texts, pad, device)
    # Padded on the left, all texts end in the last column.
    return model(ids, positions, batch_mask(positions))[:, -1].argmax(dim=-1).tolist()


def generate_batch(
    model: Model,
    prompts: Sequence[Sequence[int]],
    new_tokens: Sequence[int],
    stop: int | None = None,
    pad: int = 0,
    device: torch.device | str = "cpu",
) -> list[list[int]]:
    new: list[list[int]] = [[] for _ in prompts]
    live = list(range(len(prompts)))
    while live:
        tokens = next_tokens(model, [[*prompts[i], *new[i]] for i in live], pad, device)
        for i, token in zip(live, tokens, strict=True):
            new[i].append(token)
        live = [i for i in live if new[i][-1] != stop and len(new[i]) < new_tokens[i]]
    return new


def static_passes(new_tokens: Sequence[int], size: int) -> int:
    return sum(max(new_tokens[start : start + size]) for start in range(0, len(new_tokens), size))


def cache_tokens(prompt: int, new_tokens: int) -> int:
    return prompt + new_tokens - 1


class Scheduler:
    def __init__(self, budget: int, max_running: int, patience: int) -> None:
        self.budget, self.max_running, self.patience = budget, max_running, patience
        self.free = budget
        self.users: list[str] = []  # of request 0, 1, …
        self.tokens: list[int] = []
        self.passed: list[int] = []
        self.queues: dict[str, deque[int]] = {}
        self.bills: dict[str, int] = {}
        self.running: set[int] = set()

    def submit(self, user: str, tokens: int) -> int:
        if tokens > self.budget:
            raise ValueError(f"the request takes {tokens} tokens, but the budget is {self.budget}")
        number = len(self.tokens)
        self.users.append(user)
        self.tokens.append(tokens)
        self.passed.append(0)
        queue = self.queues.setdefault(user, deque())
        bill = self.bills.setdefault(user, 0)
        if not queue:
            # Who was away has no right to the time that was not used.
            waiting = [self.bills[other] for other, theirs in self.queues.items() if theirs]
            self.bills[user] = max(bill, min(waiting, default=0))
        queue.append(number)
        return number

    def admit(self) -> list[int]:
        admitted: list[int] = []
        while len(self.running) < self.max_running and (number := self._next()) is not None:
            user = self.users[number]
            # All other heads are counted, whatever their bills.  Otherwise an endless stream of new users with
            # small bills would keep an old request waiting for ever.
            for head in self._heads():
                self.passed[head] += head != number
            self.queues[user].popleft()
            self.free -= self.tokens[number]
            self.bills[user] += self.tokens[number]
            self.running.add(number)
            admitted.append(number)
        return admitted

    def _heads(self) -> list[int]:
        return [queue[0] for queue in self.queues.values() if queue]

    def _next(self) -> int | None:
        """The head to be admitted next, or None."""
        due = [head for head in self._heads() if self.passed[head] >= self.patience]
        # A due one that doesn't fit keeps the others out: the memory that gets free is saved up for it.
        candidates = [min(due)] if due else self._heads()
        fitting = [head for head in candidates if self.tokens[head] <= self.free]
        return min(fitting, key=lambda head: (self.bills[self.users[head]], head), default=None)

    def finish(self, number: int) -> None:
        self.running.remove(number)
        self.free += self.tokens[number]


class Engine:
    def __init__(
        self,
        model: Model,
        scheduler: Any,
        stop: int | None = None,
        pad: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.model, self.scheduler, self.stop, self.pad, self.device = model, scheduler, stop, pad, device
        self.prompts: dict[int, list[int]] = {}
        self.limits: dict[int, int] = {}
        self.texts: dict[int, list[int]] = {}
        self.running: list[int] = []
        self.ended: set[int] = set()

    def submit(self, user: str, prompt: Sequence[int], new_tokens: int) -> int:
        number = self.scheduler.submit(user, cache_tokens(len(prompt), new_tokens))
        self.prompts[number], self.limits[number], self.texts[number] = list(prompt), new_tokens, []
        return number

    def step(self) -> dict[int, int]:
        self.running += self.scheduler.admit()
        if not self.running:
            return {}
        texts = [self.prompts[number] + self.texts[number] for number in self.running]
        written = dict(zip(self.running, next_tokens(self.model, texts, self.pad, self.device), strict=True))
        for number, token in written.items():
            self.texts[number].append(token)
            if token == self.stop or len(self.texts[number]) == self.limits[number]:
                self.running.remove(number)
                self.ended.add(number)
                self.scheduler.finish(number)
        return written
