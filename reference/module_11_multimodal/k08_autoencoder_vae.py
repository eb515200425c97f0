"""Autoencoders and the VAE: the reference."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def kl_to_standard(mean: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(-1)


def reparameterise(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    # The noise has no parameters, so z is a smooth function of mean and logvar.
    return mean + (logvar / 2).exp() * noise


def gaussian_log_density(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    squares = (z - mean).square() * (-logvar).exp()
    return -0.5 * (squares + logvar + math.log(2 * math.pi)).sum(-1)


def bernoulli_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    # x · log σ(l) + (1 - x) · log(1 - σ(l)) = x · l - log(1 + eˡ), which doesn't overflow.
    return (x * logits - F.softplus(logits)).sum(-1)


class VAE(nn.Module):
    def __init__(self, pixels: int, hidden: int, latents: int) -> None:
        super().__init__()
        self.enter = nn.Linear(pixels, hidden)
        self.to_mean = nn.Linear(hidden, latents)
        self.to_logvar = nn.Linear(hidden, latents)
        self.leave = nn.Linear(latents, hidden)
        self.to_logits = nn.Linear(hidden, pixels)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.enter(x).relu()
        return self.to_mean(h), self.to_logvar(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.to_logits(self.leave(z).relu())

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encode(x)
        return self.decode(reparameterise(mean, logvar, noise)), mean, logvar


def elbo(model: VAE, x: Tensor, noise: Tensor, beta: float = 1.0) -> Tensor:
    logits, mean, logvar = model(x, noise)
    likelihood = bernoulli_log_likelihood(logits, x).mean(0)  # over the K draws
    return likelihood - beta * kl_to_standard(mean, logvar)


def iwae_bound(model: VAE, x: Tensor, noise: Tensor) -> Tensor:
    mean, logvar = model.encode(x)
    z = reparameterise(mean, logvar, noise)
    prior = gaussian_log_density(z, torch.zeros_like(z), torch.zeros_like(z))
    log_weights = bernoulli_log_likelihood(model.decode(z), x) + prior - gaussian_log_density(z, mean, logvar)
    return log_weights.logsumexp(0) - math.log(len(noise))


def train_step(model: VAE, optimizer: torch.optim.Optimizer, x: Tensor, noise: Tensor, beta: float = 1.0) -> float:
    loss = -elbo(model, x, noise, beta).mean()  # an optimizer goes down
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def psnr(a: Tensor, b: Tensor, peak: float = 1.0) -> Tensor:
    error = (a - b).square().mean((-2, -1))
    return 10 * (peak**2 / error).log10()


def ssim(a: Tensor, b: Tensor, size: int = 7, peak: float = 1.0) -> Tensor:
    height, width = a.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(f"size must be from 1 to {min(height, width)}, the image's smaller side, got {size}")

    def average(image: Tensor) -> Tensor:
        return image.unfold(-2, size, 1).unfold(-2, size, 1).mean((-2, -1))

    mean_a, mean_b = average(a), average(b)
    var_a, var_b = average(a * a) - mean_a**2, average(b * b) - mean_b**2
    cov = average(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * cov + c2) / (var_a + var_b + c2)
    return (light * structure).mean((-2, -1))
