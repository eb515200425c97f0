"""Object detection: overlap, suppression, anchors, average precision

**Before you start.**  You need broadcasting and sorting in torch, and precision and recall; no
other kata.  Pictures: Zhang et al., "Dive into Deep Learning", sections 14.3 and 14.4.

**The idea.**  A detector says what is in an image and where.  Its answer is a set of boxes, each
with a class and a score, and a set is harder to judge than a single label.  You need four tools: a
measure of how well two boxes agree, a way to drop the tenth box around the same dog, a coding of
boxes that a network can predict, and one number for the quality of all answers.

**The formulas.**  A box is given by its corners (x1, y1, x2, y2) with x1 ≤ x2 and y1 ≤ y2; y grows
downwards.  For boxes a and b, C is the smallest box around both, |·| is an area, and 0/0 counts as
0.  IoU is short for intersection over union, and the G of GIoU for generalized:

    IoU(a, b)  = |a ∩ b| / |a ∪ b|              from 0 to 1
    GIoU(a, b) = IoU - (|C| - |a ∪ b|) / |C|    from -1 to 1

*Non-maximum suppression* (NMS) drops duplicates.  Go through the boxes by falling score.  Keep a
box, unless its IoU with a box of the same class that you have kept is above the threshold.

*Anchors* are boxes laid out in advance around the centre of each cell of a grid.  An anchor of
size s, with the ratio r of height to width, has the area s²:

    w = s / √r        h = s · √r

*Box coding* describes a box (centre x, y, width w, height h) relative to an anchor (xa, ya, wa,
ha).  A network predicts these four numbers:

    tx = (x - xa) / wa    ty = (y - ya) / ha    tw = ln(w / wa)    th = ln(h / ha)

*Average precision* (AP) of one class: sort the detections by falling score.  A detection that finds
a true box is a hit.  After the first k, precision is hits / k, and recall is hits / truths, where
`truths` is the number of true boxes.  At each recall take the best precision at this recall or a
higher one.  AP is the area under that staircase: each hit is a step of width 1 / truths.  mAP is
the mean of AP over the classes.

    precision
    1    ┌─────┐                   detections   hit   miss  hit   hit
     .75 │     └───────────┐       precision    1     .5    .67   .75
     .5  │                 │       recall       .25   .25   .5    .75
         └─────┴─────┴─────┴─────  4 truths: one is never found
        0     .25   .5    .75   1  recall

**Why GIoU?**  Boxes that don't touch have IoU 0, however far apart they are, so a loss of 1 - IoU
has no gradient there.  GIoU falls as the gap grows.

**Why the logarithm of sizes?**  A network's output can be any number.  exp makes a positive size of
it.  And a box twice as wide as its anchor is coded as far from 0 as one half as wide.

**Worked by hand**, a = (0, 0, 4, 4), b = (2, 2, 6, 4):

    |a ∩ b| 2 · 2 = 4     |a ∪ b| 16 + 8 - 4 = 20     |C| 6 · 4 = 24
    IoU 4/20 = 0.2        GIoU 0.2 - 4/24 = 0.0333
    b coded by a:  tx (4 - 2)/4 = 0.5   ty (3 - 2)/4 = 0.25   tw ln 1 = 0   th ln ½ = -0.693

The staircase above: AP = ¼ · 1 + ¼ · 0.75 + ¼ · 0.75 + ¼ · 0 = 0.625.

**Shapes.**  Boxes (n, 4) of float32 or float64; results have their dtype and are on their device.
scores (n,) are floating-point and finite, labels (n,) int64.  n may be 0.  Where a docstring says
`float`, the answer is a plain Python float.  No function changes its arguments.

**Steps.**  A good place to pause is before average_precision.

    iou                     5 min   how wide is an overlap that isn't there?
    giou                    5 min   the smallest box around both
    nms                    10 min   a box that was removed removes nothing
    anchors                 5 min   x goes with the column, y with the row
    match_anchors          10 min   two passes: anchors choose, then boxes choose
    encode                  5 min   from corners to centres
    decode                  5 min   and back
    average_precision      10 min   the best precision from here on
    mean_average_precision 20 min   each true box is found only once

Sources: Rezatofighi et al. 2019, "Generalized Intersection over Union"; Ren et al. 2015,
"Faster R-CNN", section 3.1; Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC)
Challenge", section 4.2.

From scratch: torchvision may not be used.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of every box of a (n, 4) with every box of b (m, 4): (n, m).

    - Boxes that only touch have 0.  So has a box without area, even with itself.
    - Differentiable in a and b; gradients are finite, also for boxes without area.
    """
    raise NotImplementedError


def giou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU of every box of a (n, 4) with every box of b (m, 4): (n, m).

    - 0/0 counts as 0 in both quotients: two boxes that are the same point have 0.
    - Differentiable in a and b; gradients are finite, also for boxes without area.
    """
    raise NotImplementedError


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """The indices of the boxes (n, 4) that non-maximum suppression keeps: int64 (k,).

    - Boxes are visited and returned in the order of falling score.  Of equal scores the smaller index
      comes first.
    - Boxes of two classes never remove each other.
    - A box that was removed removes none.
    - An IoU of exactly `threshold` doesn't remove (tested at ¼, ½ and ¾); 0 ≤ threshold ≤ 1.  Coordinates may be negative.
    """
    raise NotImplementedError


def anchors(
    height: int,
    width: int,
    stride: float,
    sizes: Sequence[float],
    ratios: Sequence[float],
    device: torch.device | None = None,
) -> Tensor:
    """The anchors of a grid: float32 (height · width · len(sizes) · len(ratios), 4), as corners.

    - Cell (row i, column j) has its centre at x = (j + ½) · stride, y = (i + ½) · stride.
    - Rows change slowest, then columns, then sizes; ratios change fastest.
    - Anchors may reach beyond the image: they aren't clipped.
    - On `device`, or on the CPU if it is None.
    """
    raise NotImplementedError


def match_anchors(anchors: Tensor, boxes: Tensor, low: float, high: float) -> Tensor:
    """Which true box each anchor has to predict: int64 (n,) for anchors (n, 4), boxes (m, 4).

    Each entry is an index into `boxes`, -1 for background, or -2 for an anchor that isn't trained.

    1. An anchor's best IoU with any box decides: at least `high` gives that box, less than `low`
       gives -1, and anything between gives -2.  Of boxes that tie, the first counts.
    2. Then every box takes the anchor with which it has the largest IoU, whatever step 1 said, so that
       a box which every anchor fits badly has one, too.  Of anchors that tie, it takes the first.  A box that overlaps no anchor
       takes none.

    - Two boxes may want the same anchor in step 2: it goes to the later one.
    - Without boxes all is background.  There is at least one anchor; 0 < low ≤ high.
    """
    raise NotImplementedError


def encode(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Code each box (n, 4) by the anchor (n, 4) in the same row: (tx, ty, tw, th), (n, 4).

    All boxes and anchors have an area.  Differentiable in both.
    """
    raise NotImplementedError


def decode(anchors: Tensor, codes: Tensor) -> Tensor:
    """The boxes (n, 4), as corners, that `codes` (n, 4) describe relative to `anchors` (n, 4): encode's inverse.

    - tw and th above ln(1000/16) = 4.135… are taken as ln(1000/16): an untrained network's
      sizes don't overflow.
    - Differentiable in both.
    """
    raise NotImplementedError


def average_precision(scores: Tensor, hits: Tensor, truths: int) -> float:
    """The interpolated average precision of one class.

    scores (n,), in any order; hits (n,) bool, whether each detection found a true box of its
    own; `truths` is the number of true boxes, those that weren't found included.

    - Equal scores count in the order of their indices.
    - Without detections it is 0.

    Raises ValueError, naming `truths`, if it is below 1.
    """
    raise NotImplementedError


def mean_average_precision(
    predictions: Sequence[tuple[Tensor, Tensor, Tensor]],
    truths: Sequence[tuple[Tensor, Tensor]],
    threshold: float = 0.5,
) -> float:
    """mAP over a set of images: entry i of both sequences belongs to image i.

    predictions  (boxes (n, 4), scores (n,), labels (n,)) of each image; n may differ, and be 0
    truths       (boxes (m, 4), labels (m,)) of each image; m may differ, and be 0

    - By falling score, a detection takes from the true boxes of its image and class that are
      still free the one with the largest IoU, if that is at least `threshold`: a hit.
      Otherwise it is a miss.  Of boxes that tie, it takes the first; 0 < threshold ≤ 1.
    - The average precision of a class is over all images at once.  Equal scores count in the
      order of the images, then of the indices.
    - The mean is over the classes that have a true box in some image.  Detections of other
      classes don't count.

    Raises ValueError if the sequences differ in length, naming both lengths, or if no image has a
    true box.
    """
    raise NotImplementedError
