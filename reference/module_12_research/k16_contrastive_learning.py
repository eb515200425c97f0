"""Contrastive learning: the reference."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    n = len(first)
    z = F.normalize(torch.cat([first, second]), dim=1)
    # Nothing is compared with itself: exp(-inf) is 0.
    itself = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    scores = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(scores, partner)


def moco_loss(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    q, k = F.normalize(queries, dim=1), F.normalize(keys, dim=1).detach()
    positive = (q * k).sum(1, keepdim=True)
    scores = torch.cat([positive, q @ queue.detach().T], 1) / temperature
    return -scores.log_softmax(1)[:, 0].mean()


class KeyQueue(nn.Module):
    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, width), dim=1))

    def forward(self, queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
        if len(keys) > len(self.keys):
            raise ValueError(f"{len(keys)} keys don't fit into a queue of {len(self.keys)}")
        # The loss first: once a key is in the queue, it would be among its own negatives.
        loss = moco_loss(queries, keys, self.keys, temperature)
        # A new tensor: the backward pass still needs the old one.
        self.keys = torch.cat([self.keys[len(keys) :], F.normalize(keys, dim=1).detach()])
        return loss


@torch.no_grad()
def momentum_update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    for mine, other in zip(target.parameters(), online.parameters(), strict=True):
        mine.mul_(momentum).add_(other, alpha=1 - momentum)
    for mine, other in zip(target.buffers(), online.buffers(), strict=True):
        mine.copy_(other)


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    cosines = (F.normalize(prediction, dim=1) * F.normalize(target, dim=1).detach()).sum(1)
    return (2 - 2 * cosines).mean()


class BYOL(nn.Module):
    def __init__(self, encoder: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.online = encoder
        self.predictor = predictor
        self.target = copy.deepcopy(encoder).requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        one = byol_loss(self.predictor(self.online(first)), self.target(second))
        return one + byol_loss(self.predictor(self.online(second)), self.target(first))

    def update(self, momentum: float) -> None:
        momentum_update(self.target, self.online, momentum)


def alignment(first: Tensor, second: Tensor, alpha: float = 2.0) -> Tensor:
    return (first - second).norm(dim=1).pow(alpha).mean()


def uniformity(x: Tensor, t: float = 2.0) -> Tensor:
    i, j = torch.triu_indices(len(x), len(x), 1, device=x.device)
    squares = (x[i] - x[j]).square().sum(1)
    # The mean in the logarithm: exp(-t · 4) may be too small for a float where t is large.
    return (-t * squares).logsumexp(0) - math.log(len(i))


def feature_spread(z: Tensor) -> Tensor:
    unit = F.normalize(z, dim=1)
    return unit.std(0, correction=0).mean() * math.sqrt(z.shape[1])


def rotations(images: Tensor) -> tuple[Tensor, Tensor]:
    n, _, height, width = images.shape
    if height != width:
        raise ValueError(f"only square images can be turned, got {height} by {width}")
    turned = torch.cat([images.rot90(quarter, (2, 3)) for quarter in range(4)])
    return turned, torch.arange(4, device=images.device).repeat_interleave(n)
