"""Masked pretraining: the reference."""

import itertools

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def random_masking(x: Tensor, keep: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    batch, n, width = x.shape
    if not 1 <= keep <= n:
        raise ValueError(f"keep must be from 1 to {n}, got {keep}")
    order = torch.rand(batch, n, generator=generator, device=x.device).argsort(1)
    # The inverse of a permutation is what sorts it.
    restore = order.argsort(1)
    kept = x.gather(1, order[:, :keep, None].expand(-1, -1, width))
    return kept, restore >= keep, restore


def restore_order(kept: Tensor, mask_token: Tensor, restore: Tensor) -> Tensor:
    batch, keep, width = kept.shape
    missing = mask_token.expand(batch, restore.shape[1] - keep, width)
    return torch.cat([kept, missing], 1).gather(1, restore[..., None].expand(-1, -1, width))


def patch_targets(patches: Tensor, eps: float = 1e-6) -> Tensor:
    variance, mean = torch.var_mean(patches, -1, keepdim=True)
    return (patches - mean) / (variance + eps).sqrt()


def mae_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    return (prediction - target).square().mean(-1)[mask].mean()


def _cut(total: int, parts: int, generator: Generator) -> list[int]:
    """`total` as a sum of `parts` numbers from 1 up; every such sum is equally likely."""
    cuts = (torch.randperm(total - 1, generator=generator)[: parts - 1] + 1).sort().values.tolist()
    return [high - low for low, high in zip([0, *cuts], [*cuts, total], strict=True)]


def random_spans(length: int, masked: int, spans: int, generator: Generator) -> Tensor:
    if not 1 <= spans <= min(masked, length - masked):
        raise ValueError(f"{masked} of {length} tokens can't be masked in {spans} spans")
    gaps, holes = _cut(length - masked, spans, generator), _cut(masked, spans, generator)
    pieces = torch.tensor([[gap, hole] for gap, hole in zip(gaps, holes, strict=True)]).flatten()
    return torch.tensor([False, True]).repeat(spans).repeat_interleave(pieces)


def corrupt_spans(ids: list[int], mask: list[bool], sentinel: int) -> tuple[list[int], list[int]]:
    inputs, targets, before = [], [], False
    for token, hidden in zip(ids, mask, strict=True):
        if hidden and not before:
            inputs.append(sentinel)
            targets.append(sentinel)
            sentinel -= 1
        (targets if hidden else inputs).append(token)
        before = hidden
    return inputs, [*targets, sentinel]


def _find(sentinel: int, targets: list[int], start: int) -> int:
    if sentinel not in targets[start:]:
        raise ValueError(f"the targets lack the sentinel {sentinel}")
    return targets.index(sentinel, start)


def restore_spans(inputs: list[int], targets: list[int], sentinel: int) -> list[int]:
    found, end = [], 0
    for token in inputs:
        if token != sentinel:
            found.append(token)
            continue
        place = _find(sentinel, targets, end)
        sentinel -= 1
        end = _find(sentinel, targets, place)
        found += targets[place + 1 : end]
    return found


def sentence_pairs(documents: list[list[str]], generator: Generator) -> list[tuple[str, str, bool]]:
    if len(documents) < 2:
        raise ValueError(f"at least 2 documents are needed, got {len(documents)}")

    def draw(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    pairs = []
    for i, document in enumerate(documents):
        for first, second in itertools.pairwise(document):
            real = draw(2) == 1
            if not real:
                # A step of 1 to n - 1 round the circle: never back to this document.
                other = documents[(i + 1 + draw(len(documents) - 1)) % len(documents)]
                second = other[draw(len(other))]
            pairs.append((first, second, real))
    return pairs


def replace_tokens(ids: Tensor, chosen: Tensor, logits: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    chances = logits.detach().softmax(-1).flatten(0, -2)
    drawn = chances.multinomial(1, generator=generator).view(ids.shape)
    corrupted = torch.where(chosen, drawn, ids)
    # By chance the original may be drawn: then nothing was replaced.
    return corrupted, corrupted != ids


def electra_loss(
    generator_logits: Tensor,
    discriminator_logits: Tensor,
    ids: Tensor,
    chosen: Tensor,
    replaced: Tensor,
    real: Tensor,
    weight: float = 50.0,
) -> Tensor:
    generator = F.cross_entropy(generator_logits[chosen], ids[chosen])
    scores = discriminator_logits[real]
    discriminator = F.binary_cross_entropy_with_logits(scores, replaced[real].to(scores.dtype))
    return generator + weight * discriminator
