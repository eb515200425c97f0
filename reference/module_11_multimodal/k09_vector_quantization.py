"""Vector quantization: the reference."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


def nearest_codes(z: Tensor, codebook: Tensor) -> Tensor:
    # cdist in its plain form: by a matrix product near codes would lose their digits.
    distances = torch.cdist(z.reshape(-1, z.shape[-1]), codebook, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.argmin(1).reshape(z.shape[:-1])


def straight_through(z: Tensor, quantized: Tensor) -> Tensor:
    return z + (quantized - z).detach()


def vq_losses(z: Tensor, quantized: Tensor) -> tuple[Tensor, Tensor]:
    return F.mse_loss(quantized, z.detach()), F.mse_loss(z, quantized.detach())


def perplexity(tokens: Tensor, codes: int) -> float:
    shares = tokens.flatten().bincount(minlength=codes).double() / tokens.numel()
    return torch.special.entr(shares).sum().exp().item()


class VectorQuantizer(nn.Module):
    def __init__(self, codes: int, width: int, beta: float = 0.25) -> None:
        super().__init__()
        self.beta = beta
        self.codebook = nn.Parameter(torch.empty(codes, width).uniform_(-1 / codes, 1 / codes))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = nearest_codes(z, self.codebook)
        quantized = self.codebook[tokens]
        codebook_loss, commitment = vq_losses(z, quantized)
        return straight_through(z, quantized), tokens, codebook_loss + self.beta * commitment


class EMACodebook(nn.Module):
    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, codes: Tensor, decay: float = 0.99, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.decay, self.epsilon = decay, epsilon
        self.register_buffer("codebook", codes.detach().clone())
        self.register_buffer("counts", torch.ones(len(codes)).to(codes))
        self.register_buffer("sums", codes.detach().clone())

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = nearest_codes(z, self.codebook)
        quantized = self.codebook[tokens]
        _, commitment = vq_losses(z, quantized)
        if self.training:
            self.update(z, tokens)
        return straight_through(z, quantized), tokens, commitment

    @torch.no_grad()
    def update(self, z: Tensor, tokens: Tensor) -> None:
        z, tokens = z.flatten(0, -2), tokens.flatten()
        n = tokens.bincount(minlength=len(self.counts)).to(z)
        m = torch.zeros_like(self.sums).index_add(0, tokens, z)
        self.counts.lerp_(n, 1 - self.decay)
        self.sums.lerp_(m, 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + self.epsilon) / (total + len(n) * self.epsilon) * total
        self.codebook.copy_(self.sums / smoothed[:, None])


@torch.no_grad()
def restart_dead(book: EMACodebook, z: Tensor, least: float, generator: Generator) -> int:
    z = z.flatten(0, -2)
    dead = (book.counts < least).nonzero()[:, 0][: len(z)]
    chosen = z[torch.randperm(len(z), generator=generator)[: len(dead)]]
    book.codebook[dead] = chosen
    book.sums[dead] = chosen
    book.counts[dead] = 1
    return len(dead)


def hinge_losses(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2, -fake.mean()


def adaptive_weight(rec: Tensor, adversary: Tensor, last: Tensor) -> Tensor:
    # autograd.grad and not backward: nothing may be left on the parameters, and both graphs are needed again.
    of_rec, of_adversary = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (rec, adversary))
    return (of_rec.norm() / (of_adversary.norm() + 1e-4)).clamp(max=1e4)


def vqgan_loss(rec: Tensor, vq: Tensor, fake: Tensor, last: Tensor, step: int, start: int) -> Tensor:
    if step < start:
        return rec + vq
    adversary = -fake.mean()
    return rec + vq + adaptive_weight(rec, adversary, last) * adversary
