"""Pretraining: the reference."""

import copy
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def windows(tokens: Tensor, starts: Tensor, length: int) -> tuple[Tensor, Tensor]:
    begins = starts.tolist()
    for start in begins:
        if start + length >= len(tokens):
            raise ValueError(f"a window of {length} from {start} needs a token after it, but there are {len(tokens)}")
    cut = torch.stack([tokens[start : start + length + 1] for start in begins])
    return cut[:, :-1], cut[:, 1:]


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    # parameters() names a shared parameter once; the number of axes tells matrices from biases and norms.
    parameters = list(model.parameters())
    return [p for p in parameters if p.dim() >= 2], [p for p in parameters if p.dim() < 2]


def learning_rate(step: int, peak: float, warmup: int, total: int, floor: float = 0.0) -> float:
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / (total - warmup))
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
    if norm > max_norm:
        for gradient in gradients:
            gradient.mul_(max_norm / norm)
    return norm


def _loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


@torch.no_grad()
def evaluate(model: nn.Module, tokens: Tensor, length: int) -> float:
    was_training = model.training
    model.eval()
    inputs, targets = windows(tokens, torch.arange(0, len(tokens) - length, length), length)
    # All windows are equally long, so that the mean over them is the mean over tokens.
    losses = [_loss(model, i[None], t[None]) for i, t in zip(inputs, targets, strict=True)]
    model.train(was_training)
    return torch.stack(losses).mean().item()


class Trainer:
    def __init__(
        self,
        model: nn.Module,
        tokens: Tensor,
        batch: int,
        length: int,
        peak: float,
        warmup: int,
        total: int,
        weight_decay: float = 0.1,
        max_norm: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.model, self.tokens = model, tokens
        self.batch, self.length = batch, length
        self.peak, self.warmup, self.total = peak, warmup, total
        self.max_norm = max_norm
        decayed, others = parameter_groups(model)
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
        # Its own generator: torch's is moved by whoever draws, and a resumed run would see other windows.
        self.generator = torch.Generator().manual_seed(seed)
        self.step = 0

    def train(self, steps: int) -> list[float]:
        return [self._one_step() for _ in range(steps)]

    def _one_step(self) -> float:
        starts = torch.randint(len(self.tokens) - self.length, (self.batch,), generator=self.generator)
        loss = _loss(self.model, *windows(self.tokens, starts, self.length))
        self.optimizer.zero_grad()
        loss.backward()
        clip_gradients(self.model.parameters(), self.max_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.peak, self.warmup, self.total)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def state_dict(self) -> dict:
        # A copy: the state dicts of torch share their tensors with the model and the optimizer.
        return copy.deepcopy(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "generator": self.generator.get_state(),
                "step": self.step,
            }
        )

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        # The optimizer keeps the tensors that it is given, and changes them at its next step.
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.generator.set_state(state["generator"])
        self.step = state["step"]
