"""GANs: the reference."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def minimax_losses(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    # log σ(l) = -softplus(-l) and log(1 - σ(l)) = -softplus(l): neither overflows.
    caught = F.softplus(fake).mean()
    return F.softplus(-real).mean() + caught, -caught


def non_saturating_loss(fake: Tensor) -> Tensor:
    return F.softplus(-fake).mean()


def optimal_value(p: Tensor, q: Tensor) -> Tensor:
    # p · log(p / s) is p · log p - p · log s; both sums together share s · log s.
    s = p + q
    return (torch.xlogy(p, p) + torch.xlogy(q, q) - torch.xlogy(s, s)).sum(-1)


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    t = mix.detach().reshape(-1, *[1] * (real.dim() - 1))
    between = (t * real.detach() + (1 - t) * fake.detach()).requires_grad_()
    # Scores don't depend on each other, so the gradient of their sum holds each one's own.
    (slopes,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    # vector_norm's derivative at 0 is 0; that of a plain square root would be infinite.
    return (torch.linalg.vector_norm(slopes.flatten(1), dim=1) - 1).square().mean()


def wgan_gp_losses(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor, weight: float = 10.0
) -> tuple[Tensor, Tensor]:
    penalty = gradient_penalty(critic, real, fake, mix)
    of_critic = critic(fake.detach()).mean() - critic(real.detach()).mean() + weight * penalty
    return of_critic, -critic(fake).mean()


class SpectralLinear(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        plain = nn.Linear(inputs, outputs)
        self.weight, self.bias = plain.weight, plain.bias
        self.register_buffer("u", F.normalize(torch.randn(outputs), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            v = F.normalize(self.u @ self.weight, dim=0)
            u = F.normalize(self.weight @ v, dim=0)
            if self.training:
                self.u = u
        sigma = u @ self.weight @ v
        return F.linear(x, self.weight / sigma, self.bias)


def gan_step(
    generator: nn.Module,
    discriminator: nn.Module,
    optimizer_g: torch.optim.Optimizer,
    optimizer_d: torch.optim.Optimizer,
    real: Tensor,
    noise: Tensor,
) -> tuple[float, float]:
    # The detach spares a pass back through the generator.
    loss_d, _ = minimax_losses(discriminator(real), discriminator(generator(noise[0]).detach()))
    optimizer_d.zero_grad()
    loss_d.backward()
    optimizer_d.step()

    loss_g = non_saturating_loss(discriminator(generator(noise[1])))
    optimizer_g.zero_grad()
    loss_g.backward()  # leaves gradients in the discriminator as well; its next step clears them
    optimizer_g.step()
    return loss_d.item(), loss_g.item()


def mode_score(samples: Tensor, centres: Tensor, radius: float) -> tuple[int, float, float]:
    distance, nearest = torch.cdist(samples, centres, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    good = distance <= radius
    counts = nearest[good].bincount(minlength=len(centres))
    if not good.any():
        return 0, 0.0, math.log(len(centres))
    shares = counts / counts.sum()
    kl = torch.xlogy(shares, len(centres) * shares).sum()
    return int((counts > 0).sum()), good.double().mean().item(), kl.item()


def feature_gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    n = len(features)
    if n < 2:
        raise ValueError(f"a covariance needs at least n = 2 rows of features, got n = {n}")
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (n - 1)


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    # Rounding makes the eigenvalues of singular covariances slightly negative.
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap
    return distance.clamp(min=0)
