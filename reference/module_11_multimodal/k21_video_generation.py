"""Video generation: the reference."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .k11_ddpm import ddim_sample, diffusion_loss


def warp(image: Tensor, flow: Tensor) -> Tensor:
    height, width = image.shape[2:]
    # Places beyond the far borders are cut by `pixels`, where both neighbours are the last one.
    x = (torch.arange(width, device=flow.device) + flow[:, 0]).clamp(min=0)
    y = (torch.arange(height, device=flow.device)[:, None] + flow[:, 1]).clamp(min=0)
    left, top = x.floor(), y.floor()
    # What is fractional carries the gradient to the flow; floor has none.
    across, down = (x - left)[:, None], (y - top)[:, None]

    def pixels(row: Tensor, column: Tensor) -> Tensor:
        index = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)
        index = index.long().flatten(1)[:, None].expand(-1, image.shape[1], -1)
        return image.flatten(2).gather(2, index).view_as(image)

    above = (1 - across) * pixels(top, left) + across * pixels(top, left + 1)
    below = (1 - across) * pixels(top + 1, left) + across * pixels(top + 1, left + 1)
    return (1 - down) * above + down * below


def lucas_kanade(first: Tensor, second: Tensor, window: int, threshold: float = 1e-4) -> Tensor:
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be odd and at least 1, got {window}")
    # Slopes of the mean of both frames: then the error of second order cancels, and any quadratic image is exact.
    around = F.pad((first + second) / 2, (1, 1, 1, 1), mode="replicate")
    dx = (around[:, :, 1:-1, 2:] - around[:, :, 1:-1, :-2]) / 2
    dy = (around[:, :, 2:, 1:-1] - around[:, :, :-2, 1:-1]) / 2
    dt = second - first
    products = torch.stack([dx * dx, dx * dy, dy * dy, dx * dt, dy * dt], 1).sum(2)
    # The sum over the window; zeros stand outside the image.
    xx, xy, yy, xt, yt = (F.avg_pool2d(products, window, 1, window // 2) * window**2).unbind(1)
    smaller = (xx + yy) / 2 - ((xx - yy).square() / 4 + xy.square()).sqrt()
    # Cramer's rule, for two equations in two unknowns.
    flow = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], 1) / (xx * yy - xy * xy)[:, None]
    return torch.where(smaller[:, None] > threshold, flow, torch.zeros_like(flow))


def refine_flow(first: Tensor, second: Tensor, window: int, rounds: int, threshold: float = 1e-4) -> Tensor:
    flow = torch.zeros_like(first[:, :1]).repeat(1, 2, 1, 1)
    for _ in range(rounds):
        # What is left of the motion is small, and for small motions the method is right.
        flow = flow + lucas_kanade(first, warp(second, flow), window, threshold)
    return flow


class NextFrame(nn.Module):
    def __init__(self, channels: int, context: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(context * channels, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.head = nn.Conv2d(hidden, 2 + channels, 3, padding=1)
        # No motion and no change: training begins at the baseline, the last frame once more.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, context: Tensor) -> Tensor:
        hidden = self.second(self.first(context.flatten(1, 2)).relu()).relu()
        out = self.head(hidden)
        return warp(context[:, -1], out[:, :2]) + out[:, 2:]


def rollout(model: Callable[[Tensor], Tensor], context: Tensor, steps: int) -> Tensor:
    frames = context
    for _ in range(steps):
        new = model(frames[:, -context.shape[1] :])
        frames = torch.cat([frames, new[:, None]], 1)
    return frames[:, context.shape[1] :]


def shared_noise(video: Tensor, share: float, generator: Generator) -> Tensor:
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}")
    common = torch.randn(video[:, :1].shape, generator=generator, dtype=video.dtype)
    own = torch.randn(video.shape, generator=generator, dtype=video.dtype)
    # Variances add up, so the roots of the shares are the weights.
    return (share**0.5 * common + (1 - share) ** 0.5 * own).to(video.device)


class TemporalMix(nn.Module):
    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, size, padding=size // 2)
        # At the start each frame goes through unchanged: a trained model of images stays one.
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, _, height, width = x.shape
        # Every place is a row of its own: (B · H · W, C, T).
        rows = x.permute(0, 3, 4, 2, 1).flatten(0, 2)
        return x + self.conv(rows).unflatten(0, (batch, height, width)).permute(0, 4, 3, 1, 2)


def video_loss(
    model: Callable[[Tensor, Tensor], Tensor],
    video: Tensor,
    t: Tensor,
    bars: Tensor,
    share: float,
    generator: Generator,
) -> Tensor:
    return diffusion_loss(model, video, t, shared_noise(video, share, generator), bars, "velocity")


def sample_video(
    model: Callable[[Tensor, Tensor], Tensor],
    like: Tensor,
    bars: Tensor,
    times: list[int],
    share: float,
    generator: Generator,
) -> Tensor:
    # The start must have the share that the model was trained with: it is the noise that the model knows.
    return ddim_sample(model, shared_noise(like, share, generator), bars, times, "velocity")


def flicker(video: Tensor, flow: Tensor) -> Tensor:
    height, width = video.shape[3:]
    x = torch.arange(width, device=flow.device) + flow[:, :, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, :, 1]
    # What has left the image has no partner.
    inside = ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))[:, :, None]
    back = warp(video[:, 1:].flatten(0, 1), flow.flatten(0, 1)).view_as(video[:, 1:])
    errors = (back - video[:, :-1]).square() * inside
    return errors.sum() / (inside.sum() * video.shape[2]).clamp(min=1)


def frechet_distance(first: Tensor, second: Tensor) -> Tensor:
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise ValueError(f"two rows or more of as many features are needed, got {first.shape} and {second.shape}")
    apart = (first.mean(0) - second.mean(0)).square().sum()
    one, two = (torch.cov(rows.T).reshape(2 * rows.shape[1:]) for rows in (first, second))
    # With Σ₁ = R Rᵀ, the symmetric Rᵀ Σ₂ R has the eigenvalues of Σ₁ Σ₂.  Rounding may put a 0 a little below.
    values, vectors = torch.linalg.eigh(one)
    root = vectors * values.clamp(min=0).sqrt()
    common = torch.linalg.eigvalsh(root.T @ two @ root).clamp(min=0).sqrt().sum()
    return apart + one.trace() + two.trace() - 2 * common
