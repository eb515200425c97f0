"""Detectors: the reference."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from katas.module_04_deep_learning.k18_object_detection import giou, iou


def yolo_targets(
    boxes: Tensor, labels: Tensor, height: int, width: int, stride: float
) -> tuple[Tensor, Tensor, Tensor]:
    mine = torch.zeros(height, width, dtype=torch.bool, device=boxes.device)
    codes = boxes.new_zeros(4, height, width)
    classes = torch.full((height, width), -1, device=boxes.device)
    sizes = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / stride
    # A box is written over by whatever comes later: the largest last, and of equal ones the first last.
    for i in sizes.prod(1).argsort(descending=True, stable=True).flip(0).tolist():
        column, row = min(int(centres[i, 0]), width - 1), min(int(centres[i, 1]), height - 1)
        mine[row, column] = True
        codes[:2, row, column] = centres[i] - centres.new_tensor([column, row])
        codes[2:, row, column] = (sizes[i] / stride).log()
        classes[row, column] = labels[i]
    return mine, codes, classes


def yolo_decode(raw: Tensor, stride: float) -> tuple[Tensor, Tensor, Tensor]:
    _, _, height, width = raw.shape
    column = torch.arange(width, device=raw.device)
    row = torch.arange(height, device=raw.device)[:, None]
    x, y = (column + raw[:, 0].sigmoid()) * stride, (row + raw[:, 1].sigmoid()) * stride
    w, h = raw[:, 2].exp() * stride, raw[:, 3].exp() * stride
    boxes = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1)
    best, labels = raw[:, 5:].softmax(1).max(dim=1)
    return boxes.flatten(1, 2), (raw[:, 4].sigmoid() * best).flatten(1), labels.flatten(1)


def yolo_loss(raw: Tensor, truths: Sequence[tuple[Tensor, Tensor]], stride: float, ignore: float = 0.5) -> Tensor:
    _, _, height, width = raw.shape
    # Which cells are ignored is a choice, not a quantity to be learned.
    predicted = yolo_decode(raw.detach(), stride)[0]
    total = raw.new_zeros(())
    for out, found, (boxes, labels) in zip(raw, predicted, truths, strict=True):
        mine, codes, classes = yolo_targets(boxes, labels, height, width, stride)
        near = torch.zeros_like(mine)
        if len(boxes):
            near = (iou(found, boxes).amax(1) > ignore).reshape(height, width)
        place = torch.cat([out[:2].sigmoid(), out[2:4]])[:, mine]
        objectness = F.binary_cross_entropy_with_logits(out[4], mine.to(out.dtype), reduction="none")
        total = total + 5 * (place - codes[:, mine]).square().sum()
        total = total + objectness[mine].sum() + 0.5 * objectness[~mine & ~near].sum()
        total = total + F.cross_entropy(out[5:, mine].T, classes[mine], reduction="sum")
    return total / len(raw)


class YoloHead(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 5 + classes, 1)
        # Nearly all cells are empty: start by saying so, or the first steps do nothing but learn this.
        with torch.no_grad():
            self.conv.bias.zero_()
            self.conv.bias[4] = -torch.log(torch.tensor(99.0))

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(features)


def _corners(boxes: Tensor) -> Tensor:
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


@torch.no_grad()
def match_set(logits: Tensor, boxes: Tensor, true_boxes: Tensor, true_labels: Tensor) -> tuple[Tensor, Tensor]:
    cost = -logits.softmax(-1)[:, true_labels]
    cost = cost + 5 * torch.cdist(boxes, true_boxes, p=1)
    cost = cost - 2 * giou(_corners(boxes), _corners(true_boxes))
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(rows, device=boxes.device), torch.as_tensor(columns, device=boxes.device)


def detr_loss(logits: Tensor, boxes: Tensor, truths: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    none = logits.shape[-1] - 1
    target = torch.full(logits.shape[:2], none, device=logits.device)
    distance = logits.new_zeros(())
    for i, (true_boxes, true_labels) in enumerate(truths):
        rows, columns = match_set(logits[i], boxes[i], true_boxes, true_labels)
        target[i, rows] = true_labels[columns]
        found, wanted = boxes[i, rows], true_boxes[columns]
        overlap = giou(_corners(found), _corners(wanted)).diagonal()
        distance = distance + 5 * (found - wanted).abs().sum() + 2 * (1 - overlap).sum()
    # "Nothing" is nearly every query's answer: it would drown the rest.
    weight = torch.ones(none + 1, dtype=logits.dtype, device=logits.device)
    weight[none] = 0.1
    classes = F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight)
    return classes + distance / max(1, sum(len(labels) for _, labels in truths))


def detr_decode(logits: Tensor, boxes: Tensor, height: float, width: float) -> tuple[Tensor, Tensor, Tensor]:
    scores, labels = logits.softmax(-1)[..., :-1].max(dim=-1)
    return _corners(boxes) * boxes.new_tensor([width, height, width, height]), scores, labels


class DetrHead(nn.Module):
    def __init__(self, channels: int, classes: int, queries: int = 8, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1)
        self.position = nn.Linear(2 * 8, width)
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True) for _ in range(layers)
        )
        self.classify = nn.Linear(width, classes + 1)
        self.locate = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        n, _, height, width = features.shape
        y = (torch.arange(height, device=features.device) + 0.5) / height
        x = (torch.arange(width, device=features.device) + 0.5) / width
        place = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).to(features.dtype)
        angles = place[..., None] * torch.pi * 2 ** torch.arange(4, device=features.device)
        waves = torch.cat([angles.sin(), angles.cos()], -1).flatten(2)
        tokens = (self.project(features).permute(0, 2, 3, 1) + self.position(waves)).flatten(1, 2)
        out = self.queries.expand(n, -1, -1)
        for layer in self.decoder:
            out = layer(out, tokens)
        return self.classify(out), self.locate(out).sigmoid()
