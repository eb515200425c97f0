"""Detectors: a YOLO head and a DETR head

**Before you start.**  You need boxes, their overlap, and the kata object_detection.  You may use
yours (the reference's is used until yours is green):

    from .k18_object_detection import giou, iou

You also need torch's cross-entropy and nn.TransformerDecoderLayer.  Pictures: Redmon et al. 2016,
figures 1 and 2; Carion et al. 2020, figures 1 and 2.

**The idea.**  A network gives numbers in a fixed order; the objects in a picture have none, and
nobody knows how many there are.  YOLO's way: each cell of a grid answers for the object whose
centre lies in it.  DETR's way: a few queries say what they found, in any order, and a matching
decides which query is judged by which object.

**The formulas.**  A *YOLO* head gives 5 + C numbers for each cell (row r, column c) of a grid of
`stride` pixels:

    channel   0 1       2 3       4            5 …
              x y       w h       objectness   C classes
    centre    x = (c + σ(raw₀)) · stride       y = (r + σ(raw₁)) · stride
    size      w = exp(raw₂) · stride           h = exp(raw₃) · stride
    score     σ(raw₄) · (largest softmax of the classes)

    one digit, stride 8          its cell is (row 1, column 2):
    ┌───┬───┬───┬───┐            centre (21, 10) / 8 is (2.625, 1.25)
    ├───┼───╔═══╗───┤            code x .625  y .25
    ├───┼───║─•─║───┤            size (12, 16) / 8: code ln 1.5, ln 2
    └───┴───╚═══╝───┘            class 7

Its loss is a sum over images, divided by their number.  For each image:

      5 · Σ over cells with an object of (σ(raw₀) - x)² + (σ(raw₁) - y)² + (raw₂ - w)² + (raw₃ - h)²
    + Σ over cells with an object of -ln σ(raw₄) + cross-entropy of the class
    + ½ · Σ over the others, but for ignored ones, of -ln(1 - σ(raw₄))

where x, y, w, h are the codes of the cell's box.  A cell without an object is *ignored* if the
box that it predicts has an IoU above `ignore` with any true box of the image.

A *DETR* head gives for each of q queries C + 1 logits, the last for "nothing", and a box
(x, y, w, h): centre and size as fractions of the image.  A query i costs for an object j

    cost = -p_i(class of j) + 5 · |b_i - b_j|₁ - 2 · GIoU(b_i, b_j)

with p the softmax.  Match each object to a query of its own so that the sum is smallest.  Then

    loss = cross-entropy over all queries, "nothing" for those without an object, its weight 0.1
         + Σ over pairs of 5 · |b_i - b_j|₁ + 2 · (1 - GIoU(b_i, b_j)), / (objects in the batch)

The cross-entropy is the weighted mean: Σ weight · loss / Σ weight.

**Why are cells ignored?**  A neighbour that finds the object, too, isn't wrong.  Punishing it
fights against what the right cell learns.  Non-maximum suppression removes it later.

**Why does DETR need no suppression?**  The loss pays only one query for an object and tells all
others "nothing".  They see each other through self-attention, and learn to divide the picture.

**Worked by hand.**  Cells, codes: see the drawing.  Matching: costs of two queries for two objects

    query 0   -9  -8       The best for query 0 alone is object 0: -9 - 1 = -10 in total.
    query 1   -7  -1       The best for all: -8 - 7 = -15: query 0 takes object 1.

**Shapes.**  A truth is (boxes (m, 4), labels (m,) int64), one for each image; m differs and may
be 0.  YOLO's boxes are corners in pixels, DETR's are (x, y, w, h) as above.  All have an area, and
centres inside the grid.  Boxes and raw share a dtype.  No function or method changes its arguments.
Answers are on the device of the input, and a module moved by .to works where it is.

**Steps.**  A good place to pause is before match_set.

    yolo_targets  10 min   x is the column
    yolo_decode    5 min   the same, backwards
    yolo_loss     15 min   three kinds of cells
    YoloHead       5 min   start with "nothing here"
    match_set     10 min   a table of costs
    detr_loss     15 min   what is divided by what
    detr_decode    5 min   "nothing" is no class
    DetrHead      15 min   where is a token, and which query is this?

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

    - A centre between two cells belongs to the right or lower one; on the last edge of the grid to
      the last cell.
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

    - Which cells are ignored is no part of the gradient.
    - Exact for raw values of ±300 in the channels but 2 and 3: nothing overflows.
    """
    raise NotImplementedError


class YoloHead(nn.Module):
    """A convolution of 1 × 1 from features to raw: attribute `conv`."""

    def __init__(self, channels: int, classes: int) -> None:
        """Weights as torch draws them.  Biases are 0, but that of the objectness is -ln 99.

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
    - m may be 0, or larger than q: then some objects go without.
    - It may be called with inputs that require gradients.
    """
    raise NotImplementedError


def detr_loss(logits: Tensor, boxes: Tensor, truths: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The lesson's loss of logits (n, q, C + 1) and boxes (n, q, 4): a scalar.

    - Matched by `match_set`, image by image.
    - "Objects in the batch" counts all, also those that go without a query, and is at least 1.
    - The matching is no part of the gradient.
    """
    raise NotImplementedError


def detr_decode(logits: Tensor, boxes: Tensor, height: float, width: float) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (n, q, 4) as corners in pixels, scores (n, q), labels (n, q), for images of height · width.

    - The score is the largest probability among the C classes, of a softmax over all C + 1; the
      label is that class.
    - No query is left out.  Boxes and scores are differentiable.
    """
    raise NotImplementedError


class DetrHead(nn.Module):
    """Queries that look at a map of features.

    1. A 1 × 1 convolution brings each place of the map to `width` numbers; what tells its place is added.
    2. `queries` learned vectors go through `layers` decoder layers: attention among themselves,
       attention to the places, a feed-forward layer.
    3. A linear layer makes logits of each, a small MLP and a sigmoid make boxes.

    nn.TransformerDecoderLayer may be used, without dropout.  How places are told is yours: learned from
    (x, y), or sine waves.
    """

    def __init__(self, channels: int, classes: int, queries: int = 8, width: int = 64, layers: int = 2) -> None:
        """`width` is a multiple of 8; 4 heads.  Queries are drawn at random, so that no two are alike."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, queries, classes + 1) and boxes (n, queries, 4) in [0, 1] of (n, channels, h, w).

        - h and w may differ from call to call.
        - What an image gets doesn't depend on the others of its batch.
        - It matters where something is: exchanging two places of the map changes the answers.
        - Different queries give different answers, and with two or more queries and places
          every weight is trained.
        - The same in training and evaluation mode.
        """
        raise NotImplementedError
