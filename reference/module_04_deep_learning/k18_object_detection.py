"""Object detection: the reference."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST = math.log(1000 / 16)


def _area(boxes: Tensor) -> Tensor:
    # Corners in the wrong order are an overlap that isn't there.  Each side is cut off at 0 by itself:
    # two negative sides would have a positive product.
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return width * height


def _overlap_and_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = a[:, None], b[None]
    overlap = _area(torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], dim=-1))
    return overlap, _area(a) + _area(b) - overlap


def _quotient(above: Tensor, below: Tensor) -> Tensor:
    # What isn't divided has no NaN in its gradient; whatever has no area below has none above.
    return above / below.where(below > 0, 1.0)


def iou(a: Tensor, b: Tensor) -> Tensor:
    return _quotient(*_overlap_and_union(a, b))


def giou(a: Tensor, b: Tensor) -> Tensor:
    overlap, union = _overlap_and_union(a, b)
    a, b = a[:, None], b[None]
    around = _area(torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], dim=-1))
    return _quotient(overlap, union) - _quotient(around - union, around)


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    order = scores.argsort(descending=True, stable=True)
    removes = (iou(boxes, boxes) > threshold) & (labels[:, None] == labels)
    # The loop asks for one number a turn, which on a GPU waits for the device each time: ask once, before it.
    removes, alive, kept = removes.cpu(), torch.ones(len(boxes), dtype=torch.bool), []
    for i in order.tolist():
        if alive[i]:
            kept.append(i)
            alive &= ~removes[i]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)


def anchors(
    height: int,
    width: int,
    stride: float,
    sizes: Sequence[float],
    ratios: Sequence[float],
    device: torch.device | None = None,
) -> Tensor:
    half = torch.tensor([[s / math.sqrt(r) / 2, s * math.sqrt(r) / 2] for s in sizes for r in ratios], device=device)
    y = (torch.arange(height, device=device) + 0.5) * stride
    x = (torch.arange(width, device=device) + 0.5) * stride
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    centre = torch.stack([columns, rows], dim=-1).reshape(-1, 1, 2)
    return torch.cat([centre - half, centre + half], dim=-1).reshape(-1, 4)


def match_anchors(anchors: Tensor, boxes: Tensor, low: float, high: float) -> Tensor:
    matched = torch.full((len(anchors),), -1, device=anchors.device)
    if len(boxes) == 0:
        return matched
    overlaps = iou(anchors, boxes)
    best, which = overlaps.max(dim=1)
    matched[best >= low] = -2
    matched = torch.where(best >= high, which, matched)
    # One after the other: an assignment at equal indices has no order on a GPU.
    for box, (most, anchor) in enumerate(zip(*overlaps.max(dim=0), strict=True)):
        if most > 0:
            matched[anchor] = box
    return matched


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + size / 2, size


def encode(anchors: Tensor, boxes: Tensor) -> Tensor:
    (centre_a, size_a), (centre, size) = _centres(anchors), _centres(boxes)
    return torch.cat([(centre - centre_a) / size_a, (size / size_a).log()], dim=1)


def decode(anchors: Tensor, codes: Tensor) -> Tensor:
    centre_a, size_a = _centres(anchors)
    centre = centre_a + codes[:, :2] * size_a
    half = size_a * codes[:, 2:].clamp(max=LARGEST).exp() / 2
    return torch.cat([centre - half, centre + half], dim=1)


def average_precision(scores: Tensor, hits: Tensor, truths: int) -> float:
    if truths < 1:
        raise ValueError(f"average precision needs at least one true box, got {truths}")
    hits = hits[scores.argsort(descending=True, stable=True)].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1, device=hits.device)
    # The largest from here on: a running maximum from the end.
    best = precision.flip(0).cummax(0).values.flip(0)
    # Recall grows by 1 / truths at each hit and stands still at a miss.
    return (best * hits).sum().item() / truths


def mean_average_precision(
    predictions: Sequence[tuple[Tensor, Tensor, Tensor]],
    truths: Sequence[tuple[Tensor, Tensor]],
    threshold: float = 0.5,
) -> float:
    if len(predictions) != len(truths):
        raise ValueError(f"predictions are of {len(predictions)} images, truths of {len(truths)}")
    classes = {label for _, labels in truths for label in labels.tolist()}
    if not classes:
        raise ValueError("no image has a true box")
    found = []
    for label in classes:
        scores, hits, count = [], [], 0
        for (boxes, score, labels), (true_boxes, true_labels) in zip(predictions, truths, strict=True):
            mine, theirs = labels == label, true_boxes[true_labels == label]
            scores.append(score[mine])
            hits.append(_hits(boxes[mine], score[mine], theirs, threshold))
            count += len(theirs)
        found.append(average_precision(torch.cat(scores), torch.cat(hits), count))
    return sum(found) / len(found)


def _hits(boxes: Tensor, scores: Tensor, truths: Tensor, threshold: float) -> Tensor:
    """Whether each detection of one class in one image finds a true box of its own.  Other images don't matter."""
    hits = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if len(truths) == 0:
        return hits
    overlaps = iou(boxes, truths)
    for i in scores.argsort(descending=True, stable=True).tolist():
        largest, which = overlaps[i].max(dim=0)
        if largest >= threshold:
            hits[i] = True
            overlaps[:, which] = -1  # taken
    return hits
