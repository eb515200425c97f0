"""Mechanistic interpretability: the reference."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Generator, Tensor, nn

Change = Callable[[Tensor], Tensor | None]


def hooked(model: nn.Module, changes: Mapping[str, Change]) -> AbstractContextManager[None]:
    modules = dict(model.named_modules())
    for name in changes:
        if name not in modules:
            raise ValueError(f"the model has no submodule {name!r}")
    return _hooked({modules[name]: change for name, change in changes.items()})


@contextmanager
def _hooked(changes: dict[nn.Module, Change]) -> Iterator[None]:
    with ExitStack() as stack:  # it removes all hooks, whatever happens in the block
        for module, change in changes.items():
            # What a hook returns takes the place of the output, unless it is None.
            hook = module.register_forward_hook(lambda module, inputs, output, change=change: change(output))
            stack.callback(hook.remove)
        yield


def capture(model: nn.Module, names: Sequence[str], *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    kept: dict[str, Tensor] = {}

    def keeper(name: str) -> Change:
        def keep(output: Tensor) -> None:
            kept[name] = output.clone()  # a later layer may work in place

        return keep

    with torch.no_grad(), hooked(model, {name: keeper(name) for name in names}):
        return model(*inputs), kept


def logit_lens(residuals: Sequence[Tensor], norm: Callable[[Tensor], Tensor], unembed: Tensor) -> Tensor:
    return torch.stack([norm(residual) @ unembed.T for residual in residuals])


def settles(logits: Tensor, target: Tensor) -> Tensor:
    right = logits.argmax(-1) == target
    # From the last layer down: right there, and in all later ones.
    run = right.flip(0).long().cumprod(0)
    return len(logits) - run.sum(0)


def direct_logit_attribution(
    parts: Mapping[str, Tensor], gain: Tensor, eps: float, unembed: Tensor, target: Tensor
) -> dict[str, Tensor]:
    whole = sum(parts.values())
    scale = (whole.square().mean(-1, keepdim=True) + eps).rsqrt()  # of the whole stream, alike for all parts
    reads = gain * unembed[target] * scale
    return {name: (part * reads).sum(-1) for name, part in parts.items()}


def activation_patching(
    model: nn.Module,
    clean: Tensor,
    corrupt: Tensor,
    names: Sequence[str],
    metric: Callable[[Tensor], Tensor],
) -> Tensor:
    logits, kept = capture(model, names, clean)
    with torch.no_grad():
        best, worst = metric(logits), metric(model(corrupt))
        if best == worst:
            raise ValueError(f"the metric is {float(best)} for both, clean and corrupt: nothing to recover")
        found = []
        for name in names:
            for position in range(clean.shape[1]):

                def patch(output: Tensor, name: str = name, position: int = position) -> Tensor:
                    output = output.clone()
                    output[:, position] = kept[name][:, position]
                    return output

                with hooked(model, {name: patch}):
                    found.append((metric(model(corrupt)) - worst) / (best - worst))
    return torch.stack(found).view(len(names), -1)


def unit_ablation(model: nn.Module, name: str, inputs: Tensor, metric: Callable[[Tensor], Tensor]) -> Tensor:
    logits, kept = capture(model, [name], inputs)
    means = kept[name].flatten(0, -2).mean(0)
    found = []
    with torch.no_grad():
        for unit in range(len(means)):

            def ablate(output: Tensor, unit: int = unit) -> Tensor:
                output = output.clone()
                output[..., unit] = means[unit]
                return output

            with hooked(model, {name: ablate}):
                found.append(metric(model(inputs)) - metric(logits))
    return torch.stack(found)


def repeated_tokens(batch: int, n: int, vocab: int, generator: Generator) -> Tensor:
    if n > vocab:
        raise ValueError(f"{n} different tokens can't be drawn from {vocab}")
    half = torch.stack([torch.randperm(vocab, generator=generator)[:n] for _ in range(batch)])
    return torch.cat([half, half], 1)


def induction_scores(attention: Tensor) -> Tensor:
    n = attention.shape[-1] // 2
    # Position i of the second half looks at i - n + 1: what followed the same token before.
    return attention.diagonal(1 - n, -2, -1)[..., 1:].mean((0, 2))


def previous_token_scores(attention: Tensor) -> Tensor:
    return attention.diagonal(-1, -2, -1).mean((0, 2))


def ov_circuit(embed: Tensor, w_v: Tensor, w_o: Tensor, unembed: Tensor) -> Tensor:
    return embed @ w_v @ w_o @ unembed.T


def copying_score(circuit: Tensor) -> float:
    own = torch.eye(len(circuit), dtype=torch.bool, device=circuit.device)
    others = circuit.masked_fill(own, -torch.inf).amax(1)
    return float((circuit.diagonal() > others).double().mean())
