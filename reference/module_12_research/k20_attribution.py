"""Attribution: the reference."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

Model = Callable[[Tensor], Tensor]


def gradients(model: Model, x: Tensor, target: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        # The rows don't know of each other, so the gradient of the sum holds that of each.
        score = _own(model(x), target).sum()
        # Unlike backward(), this leaves the parameters' .grad alone.
        return torch.autograd.grad(score, x)[0]


def _own(scores: Tensor, target: Tensor) -> Tensor:
    return scores.gather(1, target[:, None])[:, 0]


def saliency(model: Model, images: Tensor, target: Tensor) -> Tensor:
    return gradients(model, images, target).abs().amax(1)


def smooth_grad(model: Model, x: Tensor, target: Tensor, noise: float, samples: int, generator: Generator) -> Tensor:
    total = torch.zeros_like(x)
    for _ in range(samples):
        moved = x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        total += gradients(model, moved, target)
    return total / samples


def integrated_gradients(
    model: Model, x: Tensor, target: Tensor, baseline: Tensor | None = None, steps: int = 32
) -> Tensor:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    start, x = _start(x, baseline), x.detach()
    total = torch.zeros_like(x)
    for k in range(steps):
        # The middle of each piece: exact where the gradient is linear along the path.
        total += gradients(model, start + (k + 0.5) / steps * (x - start), target)
    return (x - start) * total / steps


def _start(x: Tensor, baseline: Tensor | None) -> Tensor:
    return torch.zeros_like(x) if baseline is None else baseline.detach().expand_as(x)


def completeness_gap(
    model: Model, x: Tensor, target: Tensor, attributions: Tensor, baseline: Tensor | None = None
) -> Tensor:
    with torch.no_grad():
        gained = _own(model(x), target) - _own(model(_start(x, baseline)), target)
        return attributions.flatten(1).sum(1) - gained


def until_complete(
    model: Model,
    x: Tensor,
    target: Tensor,
    baseline: Tensor | None = None,
    tolerance: float = 1e-3,
    most: int = 1024,
) -> tuple[Tensor, int]:
    steps = 8
    while steps <= most:
        found = integrated_gradients(model, x, target, baseline, steps)
        if completeness_gap(model, x, target, found, baseline).abs().max() <= tolerance:
            return found, steps
        steps *= 2
    raise ValueError(f"the attributions aren't complete to {tolerance} with {most} steps")


def grad_cam(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    try:
        with torch.enable_grad():
            # With an input that requires a gradient, frozen layers have one, too.
            score = _own(model(images.detach().requires_grad_()), target).sum()
            slopes = torch.autograd.grad(score, kept[0])[0]
    finally:
        hook.remove()
    weights = slopes.mean((2, 3), keepdim=True)
    return (weights * kept[0]).sum(1).relu().detach()


def attention_rollout(attentions: Sequence[Tensor], residual: float = 0.5) -> Tensor:
    found = torch.eye(attentions[0].shape[-1], dtype=attentions[0].dtype, device=attentions[0].device)
    mixed = found
    for attention in attentions:
        mixed = (residual * found + (1 - residual) * attention.mean(1)) @ mixed  # later layers stand to the left
    return mixed


def deletion_curve(
    model: Model, x: Tensor, target: Tensor, attributions: Tensor, baseline: Tensor | None = None
) -> Tensor:
    order = attributions.flatten(1).argsort(descending=True, stable=True)
    left, start = x.detach().flatten(1).clone(), _start(x, baseline).flatten(1)
    curve = []
    with torch.no_grad():
        for k in range(order.shape[1] + 1):
            if k:
                gone = order[:, k - 1 : k]
                left.scatter_(1, gone, start.gather(1, gone))
            curve.append(_own(model(left.view_as(x)).softmax(1), target))
    return torch.stack(curve, 1)


def curve_area(curve: Tensor) -> Tensor:
    return torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)
