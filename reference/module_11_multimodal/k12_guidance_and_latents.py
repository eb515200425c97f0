"""Guidance and latent diffusion: the reference."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from .k11_ddpm import ddim_sample, diffusion_loss

Model = Callable[[Tensor, Tensor, Tensor], Tensor]

PAD, UNKNOWN = 0, 1


def prompt_tokens(prompts: list[str], vocabulary: list[str], length: int) -> Tensor:
    numbers = {word: i for i, word in enumerate(vocabulary, start=UNKNOWN + 1)}
    rows = []
    for prompt in prompts:
        words = prompt.lower().split()
        if len(words) > length:
            raise ValueError(f"a prompt has {len(words)} words, at most {length} are allowed: {prompt!r}")
        rows.append([numbers.get(word, UNKNOWN) for word in words] + [PAD] * (length - len(words)))
    return torch.tensor(rows)


def drop_prompts(tokens: Tensor, probability: float, generator: Generator) -> Tensor:
    # rand is below 1 and may be 0: `<` never drops at probability 0, and always at 1.
    dropped = torch.rand(len(tokens), generator=generator) < probability
    return tokens.masked_fill(dropped.to(tokens.device)[:, None], PAD)


class PromptEncoder(nn.Module):
    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(size, width)
        self.empty = nn.Parameter(0.1 * torch.randn(width))

    def forward(self, tokens: Tensor) -> Tensor:
        real = (tokens != PAD)[..., None]
        count = real.sum(1)
        # An empty prompt has no mean; the clamp keeps NaN out of the gradient of the branch that isn't taken.
        mean = (self.words(tokens) * real).sum(1) / count.clamp(min=1)
        return torch.where(count > 0, mean, self.empty)


def latent_scale(latents: Tensor) -> Tensor:
    return 1 / latents.std(correction=0)


class LatentSpace(nn.Module):
    def __init__(self, pictures: Tensor, width: int) -> None:
        super().__init__()
        self.shape = pictures.shape[1:]
        flat = pictures.flatten(1)
        self.register_buffer("mean", flat.mean(0))
        # The first right singular vectors of the centred pictures lose the least: PCA.
        self.register_buffer("basis", torch.linalg.svd(flat - self.mean, full_matrices=False)[2][:width])
        self.register_buffer("scale", latent_scale((flat - self.mean) @ self.basis.T))

    def encode(self, pictures: Tensor) -> Tensor:
        return (pictures.flatten(1) - self.mean) @ self.basis.T * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        return (latents / self.scale @ self.basis + self.mean).unflatten(1, self.shape)


def guided_loss(
    model: Model, latents: Tensor, tokens: Tensor, bars: Tensor, probability: float, generator: Generator
) -> Tensor:
    seen = drop_prompts(tokens, probability, generator)
    t = torch.randint(1, len(bars), (len(latents),), generator=generator).to(latents.device)
    noise = torch.randn(latents.shape, generator=generator, dtype=latents.dtype).to(latents.device)
    return diffusion_loss(lambda x, time: model(x, time, seen), latents, t, noise, bars, "velocity")


def guide(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    return unconditional + scale * (conditional - unconditional)


def rescale_guidance(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    axes = tuple(range(1, guided.ndim))
    # In a quotient it makes no difference whether both deviations are by n or by n - 1.
    ratio = conditional.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
    return share * ratio * guided + (1 - share) * guided


def guided_model(
    model: Model, tokens: Tensor, scale: float, negative: Tensor | None = None, share: float = 0.0
) -> Callable[[Tensor, Tensor], Tensor]:
    without = torch.zeros_like(tokens) if negative is None else negative
    both = torch.cat([without, tokens])

    def guided(x: Tensor, t: Tensor) -> Tensor:
        unconditional, conditional = model(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        return rescale_guidance(guide(unconditional, conditional, scale), conditional, share)

    return guided


def draw(
    model: Model,
    space: LatentSpace,
    tokens: Tensor,
    bars: Tensor,
    times: list[int],
    scale: float,
    generator: Generator,
    negative: Tensor | None = None,
    share: float = 0.0,
) -> Tensor:
    start = torch.randn(len(tokens), len(space.basis), generator=generator, dtype=space.mean.dtype)
    guided = guided_model(model, tokens, scale, negative, share)
    return space.decode(ddim_sample(guided, start.to(space.mean.device), bars, times, "velocity"))
