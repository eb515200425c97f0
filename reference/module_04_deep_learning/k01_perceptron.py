"""The perceptron, and what one layer can't do: the reference."""

import torch
from torch import Tensor, nn


def with_bias(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def predict(x: Tensor, w: Tensor) -> Tensor:
    # Not sign(): that has a third class, 0.
    return torch.where(x @ w > 0, 1, -1)


def _check_labels(y: Tensor) -> None:
    wrong = (y != 1) & (y != -1)
    if wrong.any():
        raise ValueError(f"labels must be +1 or -1, got {y[wrong][0].item()}")


def _epoch(x: Tensor, y: Tensor, w: Tensor) -> list[tuple[Tensor, bool]]:
    """For each example in turn: w after the rule, and whether there was a mistake."""
    run = []
    for row, label in zip(x, y, strict=True):
        # A score of 0 is a mistake: else w = 0 would never change.
        mistake = bool(label * (row @ w) <= 0)
        if mistake:
            w = w + label * row
        run.append((w, mistake))
    return run


def perceptron(x: Tensor, y: Tensor, epochs: int) -> tuple[Tensor, list[int]]:
    _check_labels(y)
    w, counts = x.new_zeros(x.shape[1]), []
    for _ in range(epochs):
        run = _epoch(x, y, w)
        w = run[-1][0]
        counts.append(sum(mistake for _, mistake in run))
        if counts[-1] == 0:
            break
    return w, counts


def averaged_perceptron(x: Tensor, y: Tensor, epochs: int) -> Tensor:
    _check_labels(y)
    w = total = x.new_zeros(x.shape[1])
    for _ in range(epochs):
        run = _epoch(x, y, w)
        w = run[-1][0]
        total = total + torch.stack([at for at, _ in run]).sum(0)
    return total / (epochs * len(x))


def margin(x: Tensor, y: Tensor, w: Tensor) -> float:
    length = torch.linalg.vector_norm(w)
    if length == 0:
        raise ValueError("w is zero: it has no line")
    return ((y * (x @ w)).min() / length).item()


def mistake_bound(x: Tensor, y: Tensor, w: Tensor) -> float:
    gamma = margin(x, y, w)
    if gamma <= 0:
        raise ValueError(f"w doesn't separate the classes: its margin is {gamma}")
    return (torch.linalg.vector_norm(x, dim=1).max().item() / gamma) ** 2


class MLP(nn.Module):
    def __init__(self, d: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(d, hidden)
        self.second = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        # (n, 1) times labels (n,) would broadcast to (n, n).
        return self.second(self.first(x).relu()).squeeze(-1)


def xor_by_hand() -> MLP:
    model = MLP(2, 2)
    with torch.no_grad():
        # Both units see x₁ + x₂; the second from 1 on.
        model.first.weight.fill_(1)
        model.first.bias.copy_(torch.tensor([0.0, -1.0]))
        model.second.weight.copy_(torch.tensor([[1.0, -2.0]]))
        model.second.bias.fill_(-0.5)
    return model


def fit(model: nn.Module, x: Tensor, y: Tensor, steps: int, lr: float) -> list[float]:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    losses = []
    for _ in range(steps):
        # log(1 + e^-z), without an e^-z that overflows.
        loss = nn.functional.softplus(-y * model(x)).mean()
        # grad() hands the gradients out; backward() would add them to .grad.
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= lr * gradient
        losses.append(loss.item())
    return losses
