"""Judges k18_object_detection against counted pixels, lists walked in plain Python, and staircases drawn by hand."""

import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k18_object_detection import (
    anchors,
    average_precision,
    decode,
    encode,
    giou,
    iou,
    match_anchors,
    mean_average_precision,
    nms,
)

pytestmark = [from_scratch("torchvision"), pure()]

A, B = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[2.0, 2, 6, 4]])
GRID = 14


def box(*corners: float) -> torch.Tensor:
    return torch.tensor([corners], dtype=torch.float64)


def pixel_boxes(n: int, low: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Boxes with an area whose corners are whole numbers from `low` to low + GRID."""
    corner = torch.randint(0, GRID - 1, (n, 2))
    size = 1 + (torch.rand(n, 2) * (GRID - corner)).long()
    return (torch.cat([corner, torch.minimum(corner + size, torch.tensor(GRID))], dim=1) + low).to(dtype)


def some_boxes(n: int, spread: float = 8.0) -> torch.Tensor:
    corner = (torch.rand(n, 2, dtype=torch.float64) - 0.5) * spread
    return torch.cat([corner, corner + 0.5 + 4 * torch.rand(n, 2, dtype=torch.float64)], dim=1)


def pixels(boxes: torch.Tensor) -> torch.Tensor:
    """Which pixels of a grid each box covers: (n, GRID, GRID)."""
    at = torch.arange(GRID)
    x1, y1, x2, y2 = (side[:, None] for side in boxes.unbind(1))
    return ((at >= y1) & (at < y2))[:, :, None] & ((at >= x1) & (at < x2))[:, None, :]


def plain_iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = width * height if width > 0 and height > 0 else 0.0
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return overlap / (both - overlap) if both > 0 else 0.0


class TestIou:
    def test_the_example_worked_by_hand(self):
        assert_close(iou(A, B), torch.tensor([[0.2]]))

    @pytest.mark.parametrize(("n", "m"), [(5, 7), (1, 6), (8, 1)])
    def test_counts_the_pixels_that_boxes_share(self, n, m):
        a, b = pixel_boxes(n), pixel_boxes(m)
        in_a, in_b = pixels(a)[:, None], pixels(b)[None]
        shared, together = (in_a & in_b).sum((2, 3)), (in_a | in_b).sum((2, 3))
        assert_close(iou(a, b), shared.double() / together)

    def test_boxes_apart_on_both_axes_have_0(self):
        assert_close(iou(A, torch.tensor([[5.0, 6, 9, 8], [-3, -3, -1, -1], [5, 0, 9, 4]])), torch.zeros(1, 3))

    def test_boxes_that_touch_have_0(self):
        assert_close(iou(A, torch.tensor([[4.0, 0, 6, 4], [0, 4, 4, 5], [4, 4, 5, 5]])), torch.zeros(1, 3))

    def test_a_box_inside_another(self):
        assert_close(iou(A, torch.tensor([[1.0, 1, 3, 2]])), torch.tensor([[2 / 16]]))

    def test_a_box_and_itself(self):
        boxes = some_boxes(4)
        assert_close(iou(boxes, boxes).diagonal(), torch.ones(4, dtype=torch.float64))

    def test_boxes_without_area_have_0(self):
        flat = torch.tensor([[1.0, 1, 1, 3], [2, 2, 2, 2], [0, 1, 4, 1]])
        assert_close(iou(flat, torch.cat([A, flat])), torch.zeros(3, 4))

    def test_tiny_boxes_count_in_full(self):
        # A small number added to the union would be half of it.
        assert_close(iou(A * 1e-4, B * 1e-4), torch.tensor([[0.2]]))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_keeps_the_dtype(self, dtype):
        assert_close(iou(A.to(dtype), B.to(dtype)), torch.tensor([[0.2]], dtype=dtype))

    @pytest.mark.parametrize(("n", "m"), [(0, 3), (2, 0), (0, 0)])
    def test_no_boxes(self, n, m):
        assert_close(iou(A[:0].expand(0, 4) if n == 0 else A.repeat(n, 1), B.repeat(m, 1)), torch.zeros(n, m))

    def test_gradients(self):
        a, b = some_boxes(3, 2.0).requires_grad_(), some_boxes(4, 2.0).requires_grad_()
        assert torch.autograd.gradcheck(iou, (a, b))

    def test_gradients_are_finite_without_an_area(self):
        assert_finite_gradients(iou)


def assert_finite_gradients(overlap) -> None:
    """Points, lines and a box, each with each: 0/0 that is replaced afterwards has a gradient of NaN all the same."""
    boxes = torch.tensor([[1.0, 1, 1, 3], [2, 2, 2, 2], [5, 4, 5, 4], [0, 1, 4, 1], [0, 0, 4, 4]], dtype=torch.float64)
    a, b = boxes.clone().requires_grad_(), boxes.clone().requires_grad_()
    overlap(a, b).sum().backward()
    assert_equal([a.grad.isfinite().all().item(), b.grad.isfinite().all().item()], [True, True])


class TestGiou:
    def test_the_example_worked_by_hand(self):
        assert_close(giou(A, B), torch.tensor([[0.2 - 4 / 24]]))

    @pytest.mark.parametrize(("n", "m"), [(5, 7), (1, 6), (8, 1)])
    def test_counts_the_pixels_around_both(self, n, m):
        a, b = pixel_boxes(n), pixel_boxes(m)
        in_a, in_b = pixels(a)[:, None], pixels(b)[None]
        shared, together = (in_a & in_b).sum((2, 3)).double(), in_a | in_b
        # The smallest box around: from the first row and column with a pixel to the last.
        around = torch.zeros(n, m, dtype=torch.float64)
        for i in range(n):
            for j in range(m):
                rows, columns = together[i, j].any(1).nonzero(), together[i, j].any(0).nonzero()
                around[i, j] = float((rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1))
        union = together.sum((2, 3)).double()
        assert_close(giou(a, b), shared / union - (around - union) / around)

    def test_falls_with_the_gap(self):
        apart = torch.tensor([[0.0, 10, 4, 14], [0, 100, 4, 104], [0, 1000, 4, 1004]])
        expected = torch.tensor([[32 / 56 - 1, 32 / 416 - 1, 32 / 4016 - 1]])
        assert_close(giou(A, apart), expected)

    def test_equals_iou_where_the_union_is_a_box(self):
        whole, part = box(0, 0, 4, 2), box(0, 0, 3, 2)
        assert_close(giou(whole, part), torch.tensor([[0.75]], dtype=torch.float64))

    def test_boxes_without_area(self):
        point, line = torch.tensor([[2.0, 2, 2, 2]]), torch.tensor([[2.0, 0, 2, 4]])
        assert_close(giou(point, torch.cat([point, line])), torch.zeros(1, 2))
        # Two points apart: nothing of the box around them is covered.
        assert_close(giou(point, torch.tensor([[3.0, 5, 3, 5]])), torch.tensor([[-1.0]]))

    def test_tiny_boxes_count_in_full(self):
        assert_close(giou(A * 1e-4, B * 1e-4), torch.tensor([[0.2 - 4 / 24]]))

    @pytest.mark.parametrize(("n", "m"), [(0, 3), (2, 0)])
    def test_no_boxes(self, n, m):
        assert_close(giou(A.repeat(n, 1), B.repeat(m, 1)), torch.zeros(n, m))

    def test_gradients(self):
        a, b = some_boxes(3).requires_grad_(), some_boxes(4).requires_grad_()
        assert torch.autograd.gradcheck(giou, (a, b))

    def test_gradients_are_finite_without_an_area(self):
        assert_finite_gradients(giou)

    def test_boxes_apart_have_a_gradient(self):
        a = torch.tensor([[0.0, 0, 2, 2]], dtype=torch.float64, requires_grad=True)
        giou(a, box(6, -1, 8, 3)).backward()
        # GIoU is |union| / |C| - 1 with |union| = (x2 - x1) (y2 - y1) + 8 = 12 and |C| = 4 (8 - x1) = 32.
        assert_close(a.grad, torch.tensor([[-2 / 32 + 12 * 4 / 32**2, -2 / 32, 2 / 32, 2 / 32]]).double())


def by_definition(boxes, scores, labels, threshold: float) -> list[int]:
    """Non-maximum suppression as the lesson says it, with lists."""
    boxes, scores, labels = boxes.tolist(), scores.tolist(), labels.tolist()
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(labels[i] != labels[j] or plain_iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def found_by_nms(*args) -> list[int]:
    kept = nms(*args)
    assert_equal((type(kept).__name__, str(kept.dtype)), ("Tensor", "torch.int64"))
    return kept.tolist()


class TestNms:
    def test_keeps_the_best_of_those_that_overlap(self):
        boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 1, 10, 11]])
        scores, labels = torch.tensor([0.6, 0.9, 0.3, 0.8]), torch.zeros(4, dtype=torch.int64)
        # Its IoU with box 0 is 90/110, with box 3 81/119 = 0.68.
        assert_equal(found_by_nms(boxes, scores, labels, 0.5), [1, 2])
        assert_equal(found_by_nms(boxes, scores, labels, 0.7), [1, 3, 2])

    @pytest.mark.parametrize("classes", [1, 3])
    @pytest.mark.parametrize("threshold", [0.05, 0.3, 0.6])
    def test_matches_the_definition(self, classes, threshold):
        boxes = some_boxes(40)
        scores, labels = torch.rand(40), torch.randint(0, classes, (40,))
        assert_equal(found_by_nms(boxes, scores, labels, threshold), by_definition(boxes, scores, labels, threshold))

    def test_what_was_removed_removes_none(self):
        # Each overlaps the next by half, none the one after: 0 removes 1, so 1 can't remove 2.
        boxes = torch.tensor([[0.0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4]])
        scores, labels = torch.tensor([0.9, 0.8, 0.7]), torch.ones(3, dtype=torch.int64)
        assert_equal(found_by_nms(boxes, scores, labels, 0.3), [0, 2])

    def test_classes_do_not_remove_each_other(self):
        boxes = A.repeat(4, 1)
        scores, labels = torch.tensor([0.1, 0.4, 0.3, 0.2]), torch.tensor([7, 3, 7, 3])
        assert_equal(found_by_nms(boxes, scores, labels, 0.5), [1, 2])

    def test_negative_coordinates(self):
        # Classes that are moved apart by the largest coordinate meet again: these reach to -100.
        boxes = torch.tensor([[-100.0, -100, 2, 2], [-97, -97, 5, 5], [-94, -94, 8, 8], [-91, -91, 11, 11]])
        scores, labels = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 1, 2, 3])
        for shift in (0.0, -11.0, -50.0):
            assert_equal(found_by_nms(boxes + shift, scores, labels, 0.3), [0, 1, 2, 3])

    @pytest.mark.parametrize(("threshold", "kept"), [(0.5, [0, 1]), (0.499, [0]), (0.501, [0, 1])])
    def test_an_overlap_of_exactly_the_threshold_stays(self, threshold, kept):
        boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2]])
        assert_equal(found_by_nms(boxes, torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64), threshold), kept)

    @pytest.mark.parametrize(("threshold", "kept"), [(0.0, [0, 2]), (1.0, [0, 1, 2])])
    def test_the_ends_of_the_threshold(self, threshold, kept):
        boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [4, 0, 8, 4]])
        scores = torch.tensor([0.9, 0.8, 0.7])
        assert_equal(found_by_nms(boxes, scores, torch.zeros(3, dtype=torch.int64), threshold), kept)

    def test_of_equal_scores_the_smaller_index_comes_first(self):
        boxes = torch.tensor([[3.0, 0, 4, 1], [0, 0, 1, 1], [0, 0, 1, 1], [6, 0, 7, 1], [3, 0, 4, 1]]).repeat(8, 1)
        kept = found_by_nms(boxes, torch.full((40,), 0.5), torch.zeros(40, dtype=torch.int64), 0.5)
        assert_equal(kept, [0, 1, 3])

    def test_scores_may_be_negative(self):
        boxes = torch.tensor([[0.0, 0, 1, 1], [5, 0, 6, 1], [0, 0, 1, 1]])
        kept = found_by_nms(boxes, torch.tensor([-3.0, -2.0, -1.0]), torch.zeros(3, dtype=torch.int64), 0.5)
        assert_equal(kept, [2, 1])

    @pytest.mark.parametrize("n", [0, 1])
    def test_no_box_and_a_single_one(self, n):
        assert_equal(found_by_nms(A[:n], torch.rand(n), torch.zeros(n, dtype=torch.int64), 0.5), list(range(n)))


class TestAnchors:
    def test_around_the_centres_of_two_cells(self):
        expected = torch.tensor([[2.0, 2, 6, 6], [0, 3, 8, 5], [10, 2, 14, 6], [8, 3, 16, 5]])
        assert_close(anchors(1, 2, 8, [4], [1.0, 0.25]), expected)

    @pytest.mark.parametrize(("height", "width", "stride"), [(2, 3, 16), (4, 1, 2.5), (1, 1, 1)])
    @pytest.mark.parametrize(("sizes", "ratios"), [([8, 20, 3.5], [0.5, 2.0]), ([5], [1.0, 3.0, 0.3])])
    def test_matches_loops(self, height, width, stride, sizes, ratios):
        rows = []
        for i in range(height):
            for j in range(width):
                for size in sizes:
                    for ratio in ratios:
                        # h / w is the ratio, h · w is size².
                        h = math.sqrt(size * size * ratio)
                        w, x, y = h / ratio, (j + 0.5) * stride, (i + 0.5) * stride
                        rows.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        assert_close(anchors(height, width, stride, sizes, ratios), torch.tensor(rows))

    def test_they_may_reach_beyond_the_image(self):
        assert_close(anchors(1, 1, 2, [6], [1.0]), torch.tensor([[-2.0, -2, 4, 4]]))


def matched_by_definition(prior: torch.Tensor, boxes: torch.Tensor, low: float, high: float) -> list[int]:
    table = [[plain_iou(a, b) for b in boxes.tolist()] for a in prior.tolist()]
    found = []
    for row in table:
        best = max(row)
        found.append(row.index(best) if best >= high else -1 if best < low else -2)
    for j in range(len(boxes)):
        column = [row[j] for row in table]
        if max(column) > 0:
            found[column.index(max(column))] = j
    return found


class TestMatchAnchors:
    PRIOR = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [0, 0, 4, 2], [0, 0, 4, 1], [8, 8, 12, 12], [20, 0, 24, 4]])

    def test_box_background_or_neither(self):
        # IoUs with the box: 1, 3/4, 1/2, 1/4, 0, 0.
        assert_close(match_anchors(self.PRIOR, A, 0.4, 0.7), torch.tensor([0, 0, -2, -1, -1, -1]))

    def test_the_bounds_belong_to_what_is_above(self):
        assert_close(match_anchors(self.PRIOR, A, 0.5, 0.75), torch.tensor([0, 0, -2, -1, -1, -1]))
        assert_close(match_anchors(self.PRIOR, A, 0.25, 0.25), torch.tensor([0, 0, 0, 0, -1, -1]))

    def test_a_box_without_a_good_anchor_takes_its_best(self):
        # The second box's best IoU is 1/16; the third overlaps nothing.
        boxes = torch.tensor([[0.0, 0, 4, 4], [11, 11, 12, 12], [50, 50, 51, 51]])
        assert_close(match_anchors(self.PRIOR, boxes, 0.4, 0.7), torch.tensor([0, 0, -2, -1, 1, -1]))

    def test_an_anchor_that_two_boxes_want_goes_to_the_later(self):
        # IoUs 1/4 and 1/16: neither is enough for step 1.
        boxes = torch.tensor([[0.0, 0, 4, 1], [0, 3, 1, 4]])
        prior = torch.tensor([[0.0, 0, 4, 4], [30, 30, 34, 34]])
        assert_close(match_anchors(prior, boxes, 0.4, 0.7), torch.tensor([1, -1]))
        assert_close(match_anchors(prior, boxes.flip(0), 0.4, 0.7), torch.tensor([1, -1]))

    def test_a_box_takes_its_best_anchor_from_another_box(self):
        # Anchor 0 fits box 0 best (IoU 1), but box 1 (IoU 1/2) has no better anchor.
        boxes = torch.tensor([[0.0, 0, 4, 4], [0, 2, 4, 6]])
        prior = torch.tensor([[0.0, 0, 4, 4], [30, 30, 34, 34]])
        assert_close(match_anchors(prior, boxes, 0.4, 0.7), torch.tensor([1, -1]))

    def test_of_ties_the_first_counts(self):
        boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]])
        prior = torch.tensor([[9.0, 9, 10, 10], [0, 0, 4, 2], [0, 2, 4, 4], [0, 0, 4, 2]])
        # Each anchor's boxes tie, and each box's anchors: both boxes want anchor 1, which goes to the later box.
        assert_close(match_anchors(prior, boxes, 0.4, 0.5), torch.tensor([-1, 1, 0, 0]))

    @pytest.mark.parametrize(("n", "m", "low", "high"), [(60, 5, 0.3, 0.5), (25, 9, 0.1, 0.4), (7, 1, 0.2, 0.2)])
    def test_matches_the_definition(self, n, m, low, high):
        prior, boxes = some_boxes(n), some_boxes(m)
        expected = torch.tensor(matched_by_definition(prior, boxes, low, high))
        assert_close(match_anchors(prior, boxes, low, high), expected)

    def test_without_boxes_all_is_background(self):
        assert_close(match_anchors(self.PRIOR, A[:0], 0.4, 0.7), torch.full((6,), -1))


class TestEncode:
    def test_the_example_worked_by_hand(self):
        assert_close(encode(A, B), torch.tensor([[0.5, 0.25, 0.0, -math.log(2)]]))

    def test_matches_the_formula(self):
        prior, boxes = some_boxes(6), some_boxes(6)
        rows = []
        for (a1, b1, a2, b2), (x1, y1, x2, y2) in zip(prior.tolist(), boxes.tolist(), strict=True):
            wa, ha, w, h = a2 - a1, b2 - b1, x2 - x1, y2 - y1
            tx, ty = ((x1 + x2) / 2 - (a1 + a2) / 2) / wa, ((y1 + y2) / 2 - (b1 + b2) / 2) / ha
            rows.append([tx, ty, math.log(w / wa), math.log(h / ha)])
        assert_close(encode(prior, boxes), torch.tensor(rows, dtype=torch.float64))

    def test_no_boxes(self):
        assert_close(encode(A[:0], B[:0]), torch.zeros(0, 4))

    def test_gradients(self):
        assert torch.autograd.gradcheck(encode, (some_boxes(3).requires_grad_(), some_boxes(3).requires_grad_()))


class TestDecode:
    def test_the_example_worked_by_hand(self):
        assert_close(decode(A, torch.tensor([[0.5, 0.25, 0.0, -math.log(2)]])), B)

    def test_zeros_are_the_anchor(self):
        prior = some_boxes(4)
        assert_close(decode(prior, torch.zeros(4, 4, dtype=torch.float64)), prior)

    def test_undoes_encode(self):
        prior, boxes = some_boxes(6), some_boxes(6)
        codes = [
            [(b[0] + b[2] - a[0] - a[2]) / 2 / (a[2] - a[0]), (b[1] + b[3] - a[1] - a[3]) / 2 / (a[3] - a[1]),
             math.log((b[2] - b[0]) / (a[2] - a[0])), math.log((b[3] - b[1]) / (a[3] - a[1]))]
            for a, b in zip(prior.tolist(), boxes.tolist(), strict=True)
        ]  # fmt: skip
        assert_close(decode(prior, torch.tensor(codes, dtype=torch.float64)), boxes)

    @pytest.mark.parametrize("large", [4.2, 50.0, 1e4])
    def test_large_sizes_do_not_overflow(self, large):
        half_w, half_h = 2 * 1000 / 16, 1 * 1000 / 16
        codes = torch.tensor([[0.0, 0, large, large]], dtype=torch.float64)
        expected = torch.tensor([[4 - half_w, 3 - half_h, 4 + half_w, 3 + half_h]], dtype=torch.float64)
        assert_close(decode(box(2, 2, 6, 4), codes), expected)

    def test_sizes_below_the_limit_and_places_are_not_cut(self):
        codes = torch.tensor([[9.0, -9, 4.1, -9]], dtype=torch.float64)
        w, h = 4 * math.exp(4.1), 2 * math.exp(-9)
        expected = torch.tensor([[40 - w / 2, -15 - h / 2, 40 + w / 2, -15 + h / 2]], dtype=torch.float64)
        assert_close(decode(box(2, 2, 6, 4), codes), expected)

    def test_no_boxes(self):
        assert_close(decode(A[:0], B[:0]), torch.zeros(0, 4))

    def test_gradients(self):
        codes = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(decode, (some_boxes(3).requires_grad_(), codes))


def staircase(hits: list[bool], truths: int) -> float:
    """The area under the interpolated curve: at each of `truths` recalls the best precision from there on."""
    points = [(sum(hits[: k + 1]), sum(hits[: k + 1]) / (k + 1)) for k in range(len(hits))]
    return sum(max((p for found, p in points if found >= step), default=0.0) for step in range(1, truths + 1)) / truths


def assert_number(found, expected: float) -> None:
    assert_equal(type(found).__name__, "float")
    # Precisions may be computed in float32.
    assert_close(found, expected, rtol=1e-6, atol=1e-6)


class TestAveragePrecision:
    HITS = torch.tensor([True, False, True, True])
    SCORES = torch.tensor([0.9, 0.8, 0.7, 0.6])

    def test_the_example_worked_by_hand(self):
        assert_number(average_precision(self.SCORES, self.HITS, 4), 0.625)

    def test_sorts_by_score(self):
        order = torch.tensor([2, 0, 3, 1])
        assert_number(average_precision(self.SCORES[order], self.HITS[order], 4), 0.625)

    @pytest.mark.parametrize(("n", "truths"), [(9, 6), (30, 30), (1, 3), (50, 20)])
    def test_matches_the_staircase(self, n, truths):
        scores, hits = torch.randn(n), torch.zeros(n, dtype=torch.bool)
        hits[torch.randperm(n)[: min(n, truths) * 2 // 3]] = True
        ranked = hits[scores.argsort(descending=True)].tolist()
        assert_number(average_precision(scores, hits, truths), staircase(ranked, truths))

    def test_a_precision_that_rises_lifts_what_stands_before(self):
        # Precisions 0, 1/2, 2/3, 3/4: at every recall up to 3/3 the best from here on is 3/4.
        hits = torch.tensor([False, True, True, True])
        assert_number(average_precision(self.SCORES, hits, 3), 0.75)

    def test_truths_that_are_not_found_count(self):
        assert_number(average_precision(self.SCORES, torch.ones(4, dtype=torch.bool), 16), 0.25)

    def test_misses_after_the_last_hit_cost_nothing(self):
        hits = torch.tensor([True, True, False, False])
        assert_number(average_precision(self.SCORES, hits, 2), 1.0)

    @pytest.mark.parametrize("hits", [torch.arange(60) % 3 == 1, torch.arange(60) < 20, torch.arange(60) % 7 < 2])
    def test_equal_scores_count_in_the_order_of_their_indices(self, hits):
        assert_number(average_precision(torch.full((60,), 0.5), hits, 20), staircase(hits.tolist(), 20))

    @pytest.mark.parametrize("n", [0, 3])
    def test_nothing_found(self, n):
        assert_number(average_precision(torch.rand(n), torch.zeros(n, dtype=torch.bool), 5), 0.0)

    @pytest.mark.parametrize("truths", [0, -1])
    def test_without_truths_there_is_nothing_to_find(self, truths):
        with raises(ValueError, truths):
            average_precision(self.SCORES, self.HITS, truths)


def truth(boxes: torch.Tensor, *labels: int) -> tuple[torch.Tensor, torch.Tensor]:
    return boxes, torch.tensor(labels, dtype=torch.int64)


def detected(boxes: torch.Tensor, scores: list[float], *labels: int):
    return boxes, torch.tensor(scores), torch.tensor(labels, dtype=torch.int64)


def map_by_definition(predictions, truths, threshold: float) -> float:
    """All detections of a class in one list, best first, walked over all images."""
    classes = {label for _, labels in truths for label in labels.tolist()}
    total = 0.0
    for label in classes:
        every = [
            (score, image, i, boxes[i])
            for image, (boxes, scores, labels) in enumerate(
                [(b.tolist(), s.tolist(), l.tolist()) for b, s, l in predictions]
            )
            for i, score in enumerate(scores)
            if labels[i] == label
        ]
        free = {
            (image, i): b
            for image, (boxes, labels) in enumerate(truths)
            for i, b in enumerate(boxes.tolist())
            if labels[i] == label
        }
        count, hits = len(free), []
        for _, image, _, at in sorted(every, key=lambda d: (-d[0], d[1], d[2])):
            fits = {key: plain_iou(at, b) for key, b in free.items() if key[0] == image}
            best = max(fits, key=fits.get, default=None)
            hits.append(best is not None and fits[best] >= threshold)
            if hits[-1]:
                del free[best]
        total += staircase(hits, count)
    return total / len(classes)


class TestMeanAveragePrecision:
    FAR = torch.tensor([[50.0, 50, 54, 54]])

    def test_two_classes_in_one_image(self):
        # Class 1: hit, then a miss: 1.  Class 2: a miss, then a hit: ½.
        boxes = torch.cat([A, self.FAR, self.FAR, B])
        predictions = [detected(boxes, [0.9, 0.8, 0.7, 0.6], 1, 1, 2, 2)]
        assert_number(mean_average_precision(predictions, [truth(torch.cat([A, B]), 1, 2)]), 0.75)

    @pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7])
    @pytest.mark.parametrize("classes", [1, 3])
    def test_matches_the_definition(self, threshold, classes):
        predictions, truths = [], []
        for n in (4, 0, 7, 2):
            boxes, labels = some_boxes(n), torch.randint(0, classes, (n,))
            # Each box found up to twice, more or less exactly, and a few elsewhere.
            near = torch.cat([boxes, boxes]) + 0.5 * torch.randn(2 * n, 4, dtype=torch.float64)
            near[:, 2:] = torch.maximum(near[:, 2:], near[:, :2] + 0.1)
            predicted = torch.cat([near, some_boxes(3)])
            predictions.append(
                (predicted, torch.rand(2 * n + 3), torch.cat([labels, labels, torch.randint(0, classes, (3,))]))
            )
            truths.append((boxes, labels))
        expected = map_by_definition(predictions, truths, threshold)
        assert_number(mean_average_precision(predictions, truths, threshold), expected)

    def test_a_threshold_of_a_half_unless_told_otherwise(self):
        # IoUs of exactly 1/2 and of 3/8: the first is a hit.
        predictions = [detected(torch.tensor([[0.0, 0, 4, 2], [50, 50, 54, 51.5]]), [0.5, 0.9], 0, 1)]
        truths = [truth(torch.cat([A, self.FAR]), 0, 1)]
        assert_number(mean_average_precision(predictions, truths), 0.5)
        assert_number(mean_average_precision(predictions, truths, 0.375), 1.0)
        assert_number(mean_average_precision(predictions, truths, 0.51), 0.0)

    def test_each_truth_is_found_once(self):
        # Three detections of one box, then one of another: hit, miss, miss, hit.
        predictions = [detected(torch.cat([A, A, A, B]), [0.9, 0.8, 0.7, 0.6], 0, 0, 0, 0)]
        truths = [truth(torch.cat([A, B]), 0, 0)]
        assert_number(mean_average_precision(predictions, truths), 0.5 * 1 + 0.5 * 2 / 4)

    def test_a_taken_box_leaves_the_next_best(self):
        # Both detections fit the first truth best; the second one overlaps the other truth enough, too.
        truths = [truth(torch.tensor([[0.0, 0, 10, 10], [0, 2, 10, 12]]), 0, 0)]
        predictions = [detected(torch.tensor([[0.0, 0, 10, 10], [0, 0.5, 10, 10.5]]), [0.9, 0.8], 0, 0)]
        assert_number(mean_average_precision(predictions, truths), 1.0)

    def test_the_higher_score_chooses_first(self):
        # The better fitting one comes later and finds the box taken.
        truths = [truth(A, 0)]
        predictions = [detected(torch.cat([A, torch.tensor([[0.0, 0, 4, 3]])]), [0.3, 0.9], 0, 0)]
        assert_number(mean_average_precision(predictions, truths), 1.0)
        assert_number(mean_average_precision(predictions, truths, 0.8), 0.5)

    def test_a_class_is_ranked_over_all_images(self):
        # Of three images: the miss has the middle score.  Image by image it would be first or last.
        predictions = [detected(A, [0.2], 4), detected(self.FAR, [0.5], 4), detected(A, [0.9], 4)]
        truths = [truth(A, 4), truth(A, 4), truth(A, 4)]
        assert_number(mean_average_precision(predictions, truths), (1 + 2 / 3) / 3)

    def test_boxes_of_other_images_are_not_found(self):
        predictions = [detected(A, [0.9], 0), detected(self.FAR, [0.8], 0)]
        assert_number(mean_average_precision(predictions, [truth(self.FAR, 0), truth(A, 0)]), 0.0)

    def test_boxes_of_another_class_are_not_found(self):
        predictions = [detected(torch.cat([A, self.FAR]), [0.9, 0.8], 0, 0)]
        assert_number(mean_average_precision(predictions, [truth(torch.cat([A, self.FAR]), 1, 0)]), 0.25)

    def test_classes_that_are_nowhere_do_not_count(self):
        predictions = [detected(torch.cat([A, self.FAR]), [0.9, 0.8], 5, 6)]
        assert_number(mean_average_precision(predictions, [truth(A, 5)]), 1.0)

    def test_a_class_that_is_never_predicted_has_0(self):
        predictions = [detected(A, [0.9], 5)]
        assert_number(mean_average_precision(predictions, [truth(torch.cat([A, B]), 5, 8)]), 0.5)

    def test_classes_weigh_alike(self):
        many = torch.cat([A + 10 * i for i in range(6)])
        predictions = [detected(many, [0.9] * 6, *[1] * 6)]
        truths = [truth(torch.cat([many, self.FAR]), *[1] * 6, 2)]
        assert_number(mean_average_precision(predictions, truths), 0.5)

    def test_equal_scores_choose_in_the_order_of_their_indices(self):
        # All fit the only truth: the first of them takes it.
        predictions = [detected(A.expand(40, 4), [0.5] * 40, *[0] * 40)]
        assert_number(mean_average_precision(predictions, [truth(A, 0)]), 1.0)

    def test_equal_scores_count_in_the_order_of_images(self):
        predictions = [detected(torch.cat([self.FAR, A]), [0.5, 0.5], 0, 0) for _ in range(10)]
        truths = [truth(A, 0)] * 10
        # Miss, hit, miss, hit …: the precision never exceeds ½, and is ½ at the end.
        assert_number(mean_average_precision(predictions, truths), 0.5)

    def test_no_detection_at_all(self):
        predictions = [detected(A[:0], []), detected(A[:0], [])]
        assert_number(mean_average_precision(predictions, [truth(A, 0), truth(A[:0])]), 0.0)

    @pytest.mark.parametrize(("images", "known"), [(3, 2), (1, 2)])
    def test_sequences_of_two_lengths_are_refused(self, images, known):
        with raises(ValueError, images, known):
            mean_average_precision([detected(A, [0.9], 0)] * images, [truth(A, 0)] * known)

    @pytest.mark.parametrize("images", [0, 2])
    def test_without_truths_there_is_nothing_to_find(self, images):
        with raises(ValueError):
            mean_average_precision([detected(A, [0.9], 0)] * images, [truth(A[:0])] * images)

    def test_on_boxes_around_real_digits(self, mnist):
        """Two digits side by side; a detector that cuts the ink out finds all, one that is a third off finds none."""
        images = torch.from_numpy(mnist[0].copy()).reshape(-1, 28, 28)
        truths, exact, shifted = [], [], []
        for i in torch.randperm(len(images))[:40].reshape(20, 2).tolist():
            boxes = []
            for place, n in enumerate(i):
                rows, columns = (images[n] > 0).any(1).nonzero(), (images[n] > 0).any(0).nonzero()
                corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                boxes.append(torch.stack(corners) + torch.tensor([28 * place, 0, 28 * place, 0]))
            boxes = torch.stack(boxes).double()
            labels = torch.from_numpy(mnist[1][i].copy())
            move = (boxes[:, 2:] - boxes[:, :2])[:, :1] * torch.tensor([0.4, 0, 0.4, 0])
            truths.append((boxes, labels))
            exact.append((boxes.flip(0), torch.rand(2), labels.flip(0)))
            shifted.append((boxes + move, torch.rand(2), labels))
        assert_number(mean_average_precision(exact, truths), 1.0)
        # 0.6 of the width is shared: 0.6 / 1.4 = 0.43.
        assert_number(mean_average_precision(shifted, truths), 0.0)
        assert_number(mean_average_precision(shifted, truths, 0.4), 1.0)


class TestOnTheGpu:
    def test_iou(self, gpu):
        gpu.check(iou, some_boxes(3).requires_grad_(), some_boxes(4))

    def test_giou(self, gpu):
        gpu.check(giou, some_boxes(3).requires_grad_(), some_boxes(4))

    def test_nms(self, gpu):
        gpu.check(nms, some_boxes(12), torch.rand(12), torch.randint(0, 2, (12,)), 0.2)

    def test_nms_of_nothing(self, gpu):
        gpu.check(nms, some_boxes(0), torch.rand(0), torch.randint(0, 2, (0,)), 0.2)

    def test_anchors(self, gpu):
        found = anchors(2, 3, 8, [4, 9], [1.0, 0.5], device=gpu.device)
        if found.device.type != gpu.device.type:
            fail(f"anchors() made its boxes on {found.device}, asked for {gpu.device}.", evidence=found.device.type)
        assert_close(found.cpu(), anchors(2, 3, 8, [4, 9], [1.0, 0.5]))

    @pytest.mark.parametrize("m", [4, 0])
    def test_match_anchors(self, gpu, m):
        gpu.check(match_anchors, some_boxes(12), some_boxes(m), 0.2, 0.4)

    def test_encode(self, gpu):
        gpu.check(encode, some_boxes(3), some_boxes(3).requires_grad_())

    def test_decode(self, gpu):
        gpu.check(decode, some_boxes(3), torch.randn(3, 4, dtype=torch.float64, requires_grad=True))

    def test_average_precision(self, gpu):
        gpu.check(average_precision, torch.rand(9), torch.rand(9) > 0.4, 8)

    def test_mean_average_precision(self, gpu):
        boxes, labels = some_boxes(6), torch.randint(0, 2, (6,))
        predictions = [(boxes + 0.1, torch.rand(6), labels), (some_boxes(0), torch.rand(0), labels[:0])]
        gpu.check(mean_average_precision, predictions, [(boxes, labels), (boxes[:2], labels[:2])])
