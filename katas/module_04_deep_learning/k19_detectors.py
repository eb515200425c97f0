"""Detectors: a YOLO head and a DETR head

**Before you start.**  You need boxes, their overlap, and the kata object_detection.  You may use
yours (the reference's is used until yours is green):

    from .k18_object_detection import giou, iou

You also need torch's cross-entropy and nn.TransformerDecoderLayer.  Pictures: Redmon et al. 2016,
figures 1 and 2; Carion et al. 2020, figures 1 and 2.

**The idea.**  A detector must find any number of objects, in no particular order.  But a network's
outputs have a fixed number and a fixed order.  So which output answers for which object?  YOLO's
way: each cell of a grid answers for the object whose centre lies in it.  DETR's way: a few queries
say what they found, in any order, and a matching decides which query is judged by which object.

**The formulas.**  A *YOLO* head gives 5 + C numbers, raw₀ to raw₄ and C logits, for each cell of a
grid.  A cell is `stride` pixels wide and high; r is its row and c its column:

    channel   0 1       2 3       4            5 …
              x y       w h       objectness   C classes
    centre    x = (c + σ(raw₀)) · stride       y = (r + σ(raw₁)) · stride
    size      w = exp(raw₂) · stride           h = exp(raw₃) · stride
    score     σ(raw₄) · (largest softmax of the classes)

In the target the numbers of a cell with an object are coded the same way: x and y are the fractions
of the cell, w and h the logarithms of the size in cells.

    ┌───────┬───────┬───────┬───────┐     a digit 7 in a picture of 32 × 24
    │       │      ╔═══════════╗    │     pixels, stride 8
    │       │      ║│       │  ║    │
    │       │      ║│       │  ║    │     corners (15, 2, 27, 18)
    ├───────┼──────║┼───────┼──║────┤     centre (21, 10) / 8 is (2.625, 1.25)
    │       │      ║│░░░░●░░│  ║    │     its cell: row 1, column 2
    │       │      ║│░░░░░░░│  ║    │
    │       │      ║│░░░░░░░│  ║    │     codes: x .625  y .25
    ├───────┼──────║┼───────┼──║────┤     size (12, 16) / 8 is (1.5, 2)
    │       │      ╚═══════════╝    │     codes: w ln 1.5  h ln 2
    │       │       │       │       │
    │       │       │       │       │     class 7
    └───────┴───────┴───────┴───────┘

The loss is the mean over images of this sum:

      5 · Σ over cells with an object of (σ(raw₀) - x)² + (σ(raw₁) - y)² + (raw₂ - w)² + (raw₃ - h)²
    + Σ over cells with an object of -ln σ(raw₄) + cross-entropy of the class
    + ½ · Σ over all others that aren't ignored of -ln(1 - σ(raw₄))

where x, y, w, h are the codes of the cell's object.  A cell without an object is *ignored* if the
box that it predicts has an IoU above `ignore` with any true box of the image.

A *DETR* head has q queries.  For each it gives C + 1 logits, the last one for "nothing", and a box
b of (x, y, w, h): centre and size as fractions of the image.  The cost of matching query i with
object j is

    cost = -p_i(class of j) + 5 · |b_i - b_j|₁ - 2 · GIoU(b_i, b_j)

where p_i is the softmax of its logits, and |·|₁ the sum of absolute values.  Match each object to a
query of its own so that the sum of costs is smallest.  The loss has two terms:

    loss = cross-entropy over all queries of the batch; without an object the target is "nothing"
         + (1 / objects) · Σ over pairs of  5 · |b_i - b_j|₁ + 2 · (1 - GIoU(b_i, b_j))

`objects` is their number in the whole batch.  The cross-entropy is the weighted mean
Σ weight · loss / Σ weight: queries whose target is "nothing" have weight 0.1, all others 1.

**Why are cells ignored?**  A neighbour that also finds the object isn't wrong.  Punishing it would
work against what the right cell learns.  Non-maximum suppression removes its box later.

**Why does DETR need no suppression?**  The loss rewards one query for each object and teaches all
others "nothing".  Queries see each other through self-attention, and learn to share the picture.

**Worked by hand.**  Cell and codes: see the drawing.  Matching: the costs of two queries for two
objects, a column for each object:

    query 0   -9  -8       If query 0 takes its best, object 0:  -9 - 1 = -10 in total.
    query 1   -7  -1       The smallest sum:  -8 - 7 = -15, query 0 takes object 1.

**Shapes.**  A truth is (boxes (m, 4), labels (m,) int64).  There is one for each image; m differs
and may be 0.

- YOLO's boxes are corners in pixels, DETR's are (x, y, w, h) as above.  All have an area, and
  centres inside the grid.  Boxes and raw share a dtype.
- Answers are on the device of the input, and a module moved by .to works where it is.
- No function or method changes its arguments.

**Steps.**  A good place to pause is before match_set.

    yolo_targets  10 min   x goes with the column, y with the row
    yolo_decode    5 min   the same, backwards
    yolo_loss     15 min   three kinds of cells
    YoloHead       5 min   start with "nothing here"
    match_set     10 min   a table of costs, from corners for GIoU
    detr_loss     15 min   each term has its own divisor
    detr_decode    5 min   "nothing" is no class
    DetrHead      15 min   attention must know where each place is

Sources: Redmon et al. 2016, "You Only Look Once"; Redmon and Farhadi 2018, "YOLOv3: An Incremental
Improvement", section 2.1; Carion et al. 2020, "End-to-End Object Detection with Transformers".

From scratch: torchvision and transformers may not be used.
scipy.optimize.linear_sum_assignment may.
"""

from collections.abc import Sequence

from torch import Tensor, nn


def yolo_targets(
    boxes: Tensor, labels: Tensor, height: int, width: int, stride: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What the cells of a grid (height, width) should answer for one image.

    Returns (mine, codes, classes):

    mine     bool (height, width): whether an object's centre lies in the cell
    codes    (4, height, width) of the boxes' dtype: x, y as fractions of the cell, and the
             logarithms of w / stride and h / stride; 0 where there is no object
    classes  int64 (height, width): the label, -1 where there is no object

    - A centre on the line between two cells belongs to the right or lower one; on the last edge of the
      grid it belongs to the last cell.
    - Of several objects in a cell the one with the largest area is taken; of equal ones the first.
    """
    raise NotImplementedError


def yolo_decode(raw: Tensor, stride: float) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (n, h · w, 4) as corners, scores (n, h · w) and labels (n, h · w) of raw (n, 5 + C, h, w).

    - Cells in the order of rows, then columns.
    - Boxes and scores are differentiable in raw.
    """
    raise NotImplementedError


def yolo_loss(raw: Tensor, truths: Sequence[tuple[Tensor, Tensor]], stride: float, ignore: float = 0.5) -> Tensor:
    """The lesson's loss of raw (n, 5 + C, h, w): a scalar.

    - No gradient flows through the choice of the cells that are ignored.
    - Exact for raw values of ±300 in all channels but 2 and 3: nothing overflows.
    """
    raise NotImplementedError


class YoloHead(nn.Module):
    """A convolution of 1 × 1 from features to raw: attribute `conv`."""

    def __init__(self, channels: int, classes: int) -> None:
        """Weights as torch draws them.  Biases are 0, except that of the objectness, which is -ln 99.

        So every cell starts with an objectness of about 1 %: nearly all are empty.
        """
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, 5 + classes, h, w)."""
        raise NotImplementedError


def match_set(logits: Tensor, boxes: Tensor, true_boxes: Tensor, true_labels: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest matching for one image: (queries, objects), both int64 (min(q, m),).

    logits (q, C + 1), boxes (q, 4), true_boxes (m, 4), true_labels (m,).

    - Query queries[k] is matched to object objects[k]; queries are in rising order.
    - m may be 0, or larger than q: then some objects get no query.
    - It may be called with inputs that require gradients.
    """
    raise NotImplementedError


def detr_loss(logits: Tensor, boxes: Tensor, truths: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The lesson's loss of logits (n, q, C + 1) and boxes (n, q, 4): a scalar.

    - Matched by `match_set`, image by image.
    - `objects` in the lesson's formula counts all objects of the batch, also those that get no query, and is at
      least 1.
    - No gradient flows through the matching.
    """
    raise NotImplementedError


def detr_decode(logits: Tensor, boxes: Tensor, height: float, width: float) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (n, q, 4) as corners in pixels, scores (n, q), labels (n, q), for images of `height` by `width` pixels.

    - The score is the largest probability among the C classes, of a softmax over all C + 1; the
      label is that class.
    - No query is left out.  Boxes and scores are differentiable.
    """
    raise NotImplementedError


class DetrHead(nn.Module):
    """Queries that look at a map of features.

    1. A 1 × 1 convolution brings each place of the map to `width` numbers.  You add a vector that says
       which place it is.
    2. `queries` learned vectors go through `layers` decoder layers: attention among themselves,
       attention to the places, a feed-forward layer.
    3. A linear layer makes the logits of each query, a small MLP and a sigmoid make its box.

    nn.TransformerDecoderLayer may be used, without dropout.  How you encode a place is up to you: learned
    from (x, y), or sine waves.
    """

    def __init__(self, channels: int, classes: int, queries: int = 8, width: int = 64, layers: int = 2) -> None:
        """`width` is a multiple of 8; 4 heads.  Queries are drawn at random, so that no two are alike."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, queries, classes + 1) and boxes (n, queries, 4) in [0, 1] of (n, channels, h, w).

        - h and w may differ from call to call.
        - The answers for an image don't depend on the others of its batch.
        - It matters where something is: exchanging two places of the map changes the answers.
        - Different queries give different answers, and with two or more queries and places
          every weight is trained.
        - The same in training and evaluation mode.
        - Differentiable in the features.
        """
        raise NotImplementedError
