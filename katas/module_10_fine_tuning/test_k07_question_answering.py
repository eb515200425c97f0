"""Judges k07_question_answering by SQuAD's rules, and against every span and every threshold one by one."""

import itertools
import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import one_thread
from katas.module_10_fine_tuning.k07_question_answering import (
    SpanHead,
    Window,
    answer_f1,
    best_span,
    best_threshold,
    exact_match,
    find_answer,
    normalize_answer,
    span_loss,
    span_targets,
    windows,
)

pytestmark = [from_scratch("transformers", "torchmetrics"), pure()]

F64 = torch.float64
NEVER = float("-inf")


class TestNormalizeAnswer:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("The Eiffel Tower, in  Paris!", "eiffel tower in paris"),
            ("a cat an owl the dog", "cat owl dog"),
            ("Theatre and another Anthem", "theatre and another anthem"),
            ("it's the U.S.A.", "its usa"),
            ("well-known a-b", "wellknown ab"),
            (" \t one\n two ", "one two"),
            ("snake_case $5.20 (50%)", "snakecase 520 50"),
            ("the the a", ""),
            ("!?", ""),
            ("", ""),
            ("«a» – the—end", "« » – —end"),
            ("ÉCOLE Straße", "école straße"),
            ("The.", ""),
            ("t.h.e cat", "cat"),
        ],
    )
    def test_squads_rules(self, text, expected):
        assert_equal(normalize_answer(text), expected)


class TestExactMatch:
    @pytest.mark.parametrize(
        ("prediction", "truths", "expected"),
        [
            ("the Eiffel Tower!", ["Eiffel tower"], 1.0),
            ("Eiffel Tower in Paris", ["Eiffel tower"], 0.0),
            ("tower Eiffel", ["Eiffel tower"], 0.0),
            ("Paris", ["Rome", "in Paris", "paris."], 1.0),
            ("Paris", [], 0.0),
            ("", [], 1.0),
            ("The", [], 1.0),
            ("", ["Rome"], 0.0),
            ("", ["the", "Rome"], 0.0),
            ("", ["the", ""], 1.0),
            ("x", ["the"], 0.0),
        ],
    )
    def test_squads_rules(self, prediction, truths, expected):
        found = exact_match(prediction, truths)
        assert_close(found, expected)
        assert_equal(type(found), float)


def squads_f1(prediction: str, truth: str) -> float:
    """SQuAD's F1 of one true answer: both lists are crossed off word by word."""
    ours, theirs = normalize_answer(prediction).split(), normalize_answer(truth).split()
    if not ours or not theirs:
        return float(ours == theirs)
    left, common = list(theirs), 0
    for word in ours:
        if word in left:
            left.remove(word)
            common += 1
    if not common:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


class TestAnswerF1:
    def test_the_example_worked_by_hand(self):
        assert_close(answer_f1("The Eiffel Tower, in Paris", ["Eiffel Tower"]), 2 / 3)

    @pytest.mark.parametrize(
        ("prediction", "truths", "expected"),
        [
            ("to be or not to be", ["to be to to"], 6 / 10),
            ("w x y z", ["x", "z y", "w a b c d"], 2 / 3),
            ("tower eiffel", ["eiffel tower"], 1.0),
            ("rome", ["paris"], 0.0),
            ("rome", [], 0.0),
            ("", [], 1.0),
            ("the", ["an", ""], 1.0),
            ("", ["rome"], 0.0),
            ("", ["the", "rome"], 0.0),
            ("paris rome", ["the", "rome"], 2 / 3),
        ],
    )
    def test_squads_rules(self, prediction, truths, expected):
        assert_close(answer_f1(prediction, truths), expected)

    @pytest.mark.parametrize("seed", range(3))
    def test_any_words(self, seed):
        draw = random.Random(seed)
        for _ in range(60):
            prediction, *truths = (
                " ".join(draw.choices(["Red", "red", "blue", "the", "sea."], k=draw.randint(1, 6))) + " x" * (i > 0)
                for i in range(draw.randint(2, 4))
            )
            assert_close(answer_f1(prediction, truths), max(squads_f1(prediction, truth) for truth in truths))

    def test_is_a_float(self):
        assert_equal({type(answer_f1(p, ["a b"])) for p in ("", "b", "b c", "q")}, {float})


CLS, SEP = 901, 902
DRAWN = ([71, 72], [10, 11, 12, 13, 14, 15, 16], 9, 2, CLS, SEP)


class TestWindows:
    def test_the_drawing(self):
        found = windows(*DRAWN)
        head = [CLS, 71, 72, SEP]
        assert_equal([w.ids for w in found], [[*head, *range(10 + k, min(14 + k, 17)), SEP] for k in (0, 2, 4)])
        assert_equal([w.segments for w in found], [[0] * 4 + [1] * 5, [0] * 4 + [1] * 5, [0] * 4 + [1] * 4])
        assert_equal([(w.start, w.first, w.length) for w in found], [(0, 4, 4), (2, 4, 4), (4, 4, 3)])

    def test_a_context_that_fits(self):
        for size in (12, 40):
            (found,) = windows([71, 72], [10, 11, 12, 13, 14, 15, 16], size, 3, CLS, SEP)
            assert_equal(found.ids, [CLS, 71, 72, SEP, 10, 11, 12, 13, 14, 15, 16, SEP])
            assert_equal((found.start, found.first, found.length), (0, 4, 7))

    def test_no_overlap_if_the_stride_is_the_room(self):
        found = windows([71], [10, 11, 12, 13, 14, 15], 7, 3, CLS, SEP)
        assert_equal([w.ids[w.first : w.first + w.length] for w in found], [[10, 11, 12], [13, 14, 15]])

    def test_an_empty_context(self):
        (found,) = windows([71, 72], [], 9, 2, CLS, SEP)
        assert_equal(found.ids, [CLS, 71, 72, SEP, SEP])
        assert_equal((found.segments, found.start, found.first, found.length), ([0, 0, 0, 0, 1], 0, 4, 0))

    def test_an_empty_question(self):
        found = windows([], [10, 11, 12], 5, 1, CLS, SEP)
        assert_equal([w.ids for w in found], [[CLS, SEP, 10, 11, SEP], [CLS, SEP, 11, 12, SEP]])
        assert_equal([w.first for w in found], [2, 2])

    @pytest.mark.parametrize("n", [1, 5, 11, 12, 13, 31])
    @pytest.mark.parametrize(("size", "stride"), [(10, 1), (10, 3), (10, 5), (16, 4), (16, 11)])
    def test_every_token_and_no_window_too_many(self, n, size, stride):
        context = [1000 + 7 * i % 501 for i in range(n)]
        found = windows([71, 72], context, size, stride, CLS, SEP)
        room = size - 5
        assert_equal([w.start for w in found], [k * stride for k in range(len(found))])
        for w in found:
            assert_equal(w.ids, [CLS, 71, 72, SEP, *context[w.start : w.start + room], SEP])
            assert_equal(w.length, len(context[w.start : w.start + room]))
            assert_equal(w.segments, [0] * 4 + [1] * (w.length + 1))
        ends = [w.start + w.length for w in found]
        assert_equal(ends.count(n), 1)
        assert_equal(ends[-1], n)

    @pytest.mark.parametrize(("size", "stride", "room"), [(11, 7, 6), (9, 0, 4), (9, -2, 4), (5, 3, 0), (4, 8, -1)])
    def test_refuses_a_stride_that_leaves_tokens_out(self, size, stride, room):
        with raises(ValueError, stride, room):
            windows([71, 72], list(range(20)), size, stride, CLS, SEP)

    def test_windows_share_no_lists(self):
        found = windows(*DRAWN)
        found[0].ids[0] = found[0].segments[0] = 5
        assert_equal([(w.ids[0], w.segments[0]) for w in found[1:]], [(CLS, 0)] * 2)


class TestSpanTargets:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            ((0, 1), [(4, 4), (0, 0), (0, 0)]),
            ((1, 4), [(5, 7), (0, 0), (0, 0)]),
            ((3, 4), [(7, 7), (5, 5), (0, 0)]),
            ((2, 6), [(0, 0), (4, 7), (0, 0)]),
            ((4, 7), [(0, 0), (0, 0), (4, 6)]),
            ((6, 7), [(0, 0), (0, 0), (6, 6)]),
            ((1, 6), [(0, 0)] * 3),
            ((3, 5), [(0, 0), (5, 6), (0, 0)]),
            (None, [(0, 0)] * 3),
        ],
    )
    def test_in_the_windows_of_the_drawing(self, answer, expected):
        made = [
            Window([CLS, 71, 72, SEP, *range(10 + k, min(14 + k, 17)), SEP], [], k, 4, min(4, 7 - k)) for k in (0, 2, 4)
        ]
        assert_equal([span_targets(window, answer) for window in made], expected)

    def test_another_question(self):
        assert_equal(span_targets(Window([], [], 20, 9, 15), (22, 25)), (11, 13))

    def test_an_empty_part(self):
        assert_equal(span_targets(Window([CLS, SEP, SEP], [0, 0, 1], 0, 2, 0), (0, 1)), (0, 0))


def head_and_batch(dtype: torch.dtype = F64):
    hidden = torch.randn(3, 5, 4, dtype=dtype)
    mask = torch.tensor([[1, 0, 1, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    return SpanHead(4).to(dtype), hidden, mask


class TestSpanHead:
    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in SpanHead(6).named_parameters()}
        assert_equal(shapes, {"out.weight": (2, 6), "out.bias": (2,)})

    @pytest.mark.parametrize("dtype", [torch.float32, F64])
    def test_its_scores(self, dtype):
        head, hidden, mask = head_and_batch(dtype)
        expected = F.linear(hidden, head.out.weight, head.out.bias).masked_fill(~mask[..., None], NEVER)
        start, end = head(hidden, mask)
        assert_close(start, expected[..., 0])
        assert_close(end, expected[..., 1])

    def test_masked_features_have_no_influence(self):
        head, hidden, mask = head_and_batch()
        other = torch.where(mask[..., None], hidden, 1e6)
        assert_close(list(head(other, mask)), list(head(hidden, mask)))

    def test_gradients_are_finite_through_the_mask(self):
        head, hidden, mask = head_and_batch()
        hidden.requires_grad_()
        start, end = head(hidden, mask)
        span_loss(start, end, torch.tensor([[2, 3], [0, 0], [4, 1]])).backward()
        for gradient in (hidden.grad, head.out.weight.grad):
            assert_equal((bool(gradient.isfinite().all()), bool(gradient.abs().sum() > 0)), (True, True))
        # A bias shifts all places alike, which no softmax sees: its gradient is 0 up to rounding.
        assert_close(head.out.bias.grad, torch.zeros(2, dtype=F64))
        assert_close(hidden.grad[~mask], torch.zeros(int((~mask).sum()), 4, dtype=F64))


class TestSpanLoss:
    def test_a_window(self):
        start = torch.tensor([[0.0, math.log(3), NEVER]], dtype=F64)
        end = torch.tensor([[math.log(2), 0.0, 0.0]], dtype=F64)
        expected = (math.log(4 / 3) + math.log(4)) / 2
        assert_close(span_loss(start, end, torch.tensor([[1, 2]])), torch.tensor(expected, dtype=F64))

    @pytest.mark.parametrize("dtype", [torch.float32, F64])
    @pytest.mark.parametrize(("b", "n"), [(1, 4), (3, 6)])
    def test_the_mean_over_windows(self, b, n, dtype):
        start, end = torch.randn(b, n, dtype=dtype), torch.randn(b, n, dtype=dtype)
        targets = torch.randint(0, n, (b, 2))
        total = sum(
            -(start[i].log_softmax(0)[targets[i, 0]] + end[i].log_softmax(0)[targets[i, 1]]) / 2 for i in range(b)
        )
        assert_close(span_loss(start, end, targets), total / b)

    def test_large_scores(self):
        start, end = torch.tensor([[1e4, -1e4, NEVER]]), torch.tensor([[-1e4, 1e4, 0.0]])
        assert_close(span_loss(start, end, torch.tensor([[1, 1]])), torch.tensor(1e4))

    def test_gradients(self):
        inputs = [torch.randn(3, 4, dtype=F64, requires_grad=True) for _ in range(2)]
        targets = torch.tensor([[1, 2], [0, 0], [3, 3]])
        assert torch.autograd.gradcheck(lambda s, e: span_loss(s, e, targets), inputs)


def brute_force(start: list[float], end: list[float], first: int, length: int, limit: int):
    """The best of all pairs, the first of equals."""
    pairs = [(i, j) for i in range(first, first + length) for j in range(i, min(i + limit, first + length))]
    return max(pairs, key=lambda pair: start[pair[0]] + end[pair[1]])


class TestBestSpan:
    def test_the_example_worked_by_hand(self):
        start = torch.tensor([9.0, 8.0, 1.0, 0.0, 3.0, 2.0, 9.0], dtype=F64)
        end = torch.tensor([9.0, 7.0, 4.0, 2.0, 0.0, 1.0, 9.0], dtype=F64)
        assert_equal(best_span(start, end, 2, 4, 2), (2, 2, 5.0))
        end[2] = 0.5
        assert_equal(best_span(start, end, 2, 4, 2), (4, 5, 4.0))

    def test_many_better_starts_and_ends_that_make_no_span(self):
        start, end = torch.full((100,), -100.0, dtype=F64), torch.full((100,), -100.0, dtype=F64)
        start[:50], end[60:], start[70] = 10.0, 10.0, 0.0
        assert_equal(best_span(start, end, 0, 100, 3), (70, 70, 10.0))

    @pytest.mark.parametrize("limit", [1, 2, 3, 50])
    @pytest.mark.parametrize(("n", "first", "length"), [(9, 2, 5), (12, 4, 8), (6, 3, 1), (7, 1, 5)])
    @pytest.mark.parametrize("seed", range(3))
    def test_the_best_of_all_pairs(self, n, first, length, limit, seed):
        start, end = torch.randn(n, dtype=F64), torch.randn(n, dtype=F64)
        outside = [t for t in range(n) if not first <= t < first + length]
        start[outside[::2]] = end[outside[::2]] = NEVER
        start[outside[1::2]] = end[outside[1::2]] = 30.0
        i, j, score = best_span(start, end, first, length, limit)
        assert_equal((i, j), brute_force(start.tolist(), end.tolist(), first, length, limit))
        assert_close(score, float(start[i] + end[j]))

    @pytest.mark.parametrize("limit", [1, 3, 9])
    @pytest.mark.parametrize("seed", range(6))
    def test_ties_go_to_the_left(self, limit, seed):
        start, end = torch.randint(0, 3, (8,)).to(F64), torch.randint(0, 3, (8,)).to(F64)
        found = best_span(start, end, 1, 6, limit)
        assert_equal(found[:2], brute_force(start.tolist(), end.tolist(), 1, 6, limit))

    def test_all_alike(self):
        zeros = torch.zeros(5)
        assert_equal(best_span(zeros, zeros, 2, 3, 2), (2, 2, 0.0))

    def test_scores_below_0(self):
        start, end = torch.full((6,), -2e4), torch.full((6,), -3e4)
        end[4] = -1e4
        assert_equal(best_span(start, end, 2, 3, 3), (2, 4, -3e4))

    def test_nothing_to_choose_from(self):
        assert_equal(best_span(torch.zeros(5), torch.zeros(5), 4, 0, 3), None)

    @pytest.mark.parametrize("limit", [0, -3])
    @pytest.mark.parametrize("length", [0, 4])
    def test_refuses_a_limit_below_1(self, limit, length):
        with raises(ValueError, limit):
            best_span(torch.zeros(6), torch.zeros(6), 2, length, limit)

    def test_gives_plain_numbers(self):
        found = best_span(torch.randn(6, requires_grad=True), torch.randn(6), 2, 3, 2)
        assert_equal([type(part) for part in found], [int, int, float])


def scored(nulls: list[float], extra: int = 0):
    """The windows of the drawing; scores of places within, the nulls at 0, and padding that looks good."""
    made = [
        Window([CLS, 71, 72, SEP, *range(10 + k, min(14 + k, 17)), SEP], [0] * 4 + [1] * 5, k, 4, min(4, 7 - k))
        for k in (0, 2, 4)
    ]
    starts, ends = [], []
    for window, null in zip(made, nulls, strict=True):
        for side, share in ((starts, 0.25), (ends, 0.75)):
            scores = torch.full((len(window.ids) + extra,), 50.0, dtype=F64)
            scores[window.first : window.first + window.length] = torch.randn(window.length, dtype=F64)
            scores[0] = null * share
            side.append(scores)
    return made, starts, ends


class TestFindAnswer:
    @pytest.mark.parametrize(
        ("threshold", "answered"), [(-1.5, True), (0.0, True), (-1.6, False), (-1.4, True), (NEVER, False)]
    )
    def test_the_example_worked_by_hand(self, threshold, answered):
        made, starts, ends = scored([6.0, 3.5, 4.0])
        for scores in (*starts, *ends):
            scores[4:8] = -5.0
        starts[1][5], ends[1][6] = 1.0, 4.0
        expected = ((3, 5) if answered else None, -1.5)
        found = find_answer(made, starts, ends, 4, threshold)
        assert_equal(found[0], expected[0])
        assert_close(found[1], expected[1])

    @pytest.mark.parametrize("extra", [0, 3])
    @pytest.mark.parametrize("limit", [1, 2, 9])
    @pytest.mark.parametrize("seed", range(5))
    def test_the_best_of_all_windows(self, extra, limit, seed):
        made, starts, ends = scored(torch.randn(3).tolist(), extra)
        best, expected = -math.inf, None
        for window, start, end in zip(made, starts, ends, strict=True):
            i, j = brute_force(start.tolist(), end.tolist(), window.first, window.length, limit)
            if float(start[i] + end[j]) > best:
                best = float(start[i] + end[j])
                expected = (i - window.first + window.start, j - window.first + window.start + 1)
        null = min(float(start[0] + end[0]) for start, end in zip(starts, ends, strict=True))
        found, margin = find_answer(made, starts, ends, limit, math.inf)
        assert_equal(found, expected)
        assert_close(margin, null - best)
        assert_equal(find_answer(made, starts, ends, limit, null - best - 0.01)[0], None)
        assert_equal(find_answer(made, starts, ends, limit, null - best + 0.01)[0], expected)

    def test_of_equally_good_windows_the_first(self):
        made, starts, ends = scored([0.0, 0.0, 0.0])
        for scores in (*starts, *ends):
            scores[4:8] = -1.0
        starts[1][6] = starts[2][5] = ends[1][6] = ends[2][5] = 2.0
        starts[0][6] = ends[0][7] = 2.0
        assert_equal(find_answer(made, starts, ends, 3, 0.0), ((2, 4), -4.0))

    @pytest.mark.parametrize("threshold", [0.0, math.inf])
    def test_an_empty_context(self, threshold):
        scores = torch.zeros(4)
        assert_equal(
            find_answer([Window([CLS, 5, SEP, SEP], [0, 0, 0, 1], 0, 3, 0)], [scores], [scores], 5, threshold),
            (None, math.inf),
        )

    def test_gives_plain_numbers(self):
        made, starts, ends = scored([1.0, 2.0, 3.0])
        span, margin = find_answer(made, [s.requires_grad_() for s in starts], ends, 2, 99.0)
        assert_equal([type(part) for part in (*span, margin)], [int, int, float])


def try_all(margins, answered, abstained) -> tuple[float, float]:
    """Each threshold anew; the lowest of the best."""

    def mean(threshold: float) -> float:
        scores = [a if m <= threshold else b for m, a, b in zip(margins, answered, abstained, strict=True)]
        return sum(scores) / len(scores)

    return max(((t, mean(t)) for t in [-math.inf, *sorted(margins)]), key=lambda pair: pair[1])


class TestBestThreshold:
    def test_the_example_worked_by_hand(self):
        assert_close(best_threshold([-2.0, 0.5, 3.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]), (-2.0, 2 / 3))

    def test_in_any_order(self):
        assert_close(best_threshold([3.5, -1.5, 0.5, 7.0], [1.0, 0.75, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]), (3.5, 13 / 16))

    def test_nobody_is_answered(self):
        found = best_threshold([1.0, 2.0], [0.0, 0.5], [1.0, 1.0])
        assert_equal(found, (-math.inf, 1.0))

    def test_everybody_is_answered(self):
        assert_close(best_threshold([1.5, -2.5], [0.5, 1.0], [0.0, 0.0]), (1.5, 0.75))

    def test_the_lowest_of_equally_good_ones(self):
        assert_close(best_threshold([1.0, 2.0, 3.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]), (1.0, 1 / 3))
        assert_equal(best_threshold([1.0, 2.0], [0.5, 1.0], [0.5, 1.0]), (-math.inf, 0.75))

    def test_equal_margins_go_together(self):
        # One of the two alone would be better than both, or none.
        assert_equal(best_threshold([4.0, 4.0], [1.0, 0.0], [0.0, 1.0]), (-math.inf, 0.5))
        assert_equal(best_threshold([4.0, 4.0], [0.0, 1.0], [1.0, 0.0]), (-math.inf, 0.5))

    @pytest.mark.parametrize("seed", range(8))
    def test_the_best_of_all_thresholds(self, seed):
        draw = random.Random(seed)
        for _ in range(20):
            n = draw.randint(1, 9)
            margins = [draw.randint(-4, 4) / 2 for _ in range(n)]
            answered, abstained = ([draw.randint(0, 4) / 4 for _ in range(n)] for _ in range(2))
            assert_close(best_threshold(margins, answered, abstained), try_all(margins, answered, abstained))

    @pytest.mark.parametrize("lengths", [(3, 4, 4), (5, 2, 5), (6, 6, 7)])
    def test_refuses_lists_of_different_lengths(self, lengths):
        with raises(ValueError, *lengths):
            best_threshold(*([0.5] * n for n in lengths))

    def test_gives_floats(self):
        assert_equal([type(part) for part in best_threshold([2, 1], [1, 1], [0, 1])], [float, float])


WORDS, KEYS, STOP = 40, range(3, 11), 2
"""A toy language: words 11 …, keys that a question asks for, and 2 behind each answer."""


def question(draw: random.Random):
    """A key, a context with three keys and their values, and where the asked one's value stands, or None."""
    keys = draw.sample(KEYS, 4)
    context, places = [], {}
    for key in keys[:3]:
        context += [draw.randint(11, WORDS - 1) for _ in range(draw.randint(0, 5))]
        value = [draw.randint(11, WORDS - 1) for _ in range(draw.randint(1, 3))]
        places[key] = (len(context) + 1, len(context) + 1 + len(value))
        context += [key, *value, STOP]
    asked = draw.choice(keys)
    return [asked], context, places.get(asked)


class Reader(nn.Module):
    """Two convolutions over embeddings that know where the question's word stands, and the learner's head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 23)
        self.mix = nn.Sequential(nn.Conv1d(24, 32, 5, padding=2), nn.ReLU(), nn.Conv1d(32, 32, 5, padding=2), nn.ReLU())
        self.head = SpanHead(32)

    def forward(self, ids, segments):
        same = ((ids == ids[:, 1:2]) & (segments == 1)).float()[..., None]
        x = self.mix(torch.cat([self.words(ids), same], -1).mT).mT
        x = torch.cat([(x * segments[..., None]).amax(1, keepdim=True), x[:, 1:]], 1)
        mask = (segments == 1) & (ids > 1)
        mask[:, 0] = True
        return self.head(x, mask)


def padded(made: list[Window]) -> tuple[torch.Tensor, torch.Tensor]:
    n = max(len(w.ids) for w in made)
    sides = [w.ids for w in made], [w.segments for w in made]
    return tuple(torch.tensor([row + [0] * (n - len(row)) for row in side]) for side in sides)


class TestTogether:
    @pytest.mark.deadline(60)  # half a second on a quiet machine
    @pytest.mark.learning
    @pytest.mark.parametrize("seed", range(3))
    def test_finds_answers_and_says_when_there_is_none(self, seed):
        draw = random.Random(seed)
        torch.manual_seed(seed)
        train, known, test = ([question(draw) for _ in range(n)] for n in (500, 100, 150))
        cut = [(w, span_targets(w, span)) for q, c, span in train for w in windows(q, c, 16, 6, 1, 0)]
        ids, segments = padded([w for w, _ in cut])
        targets = torch.tensor([target for _, target in cut])
        reader = Reader()
        optimizer = torch.optim.Adam(reader.parameters(), lr=0.01)
        with one_thread():
            for _ in range(5):
                for rows in torch.randperm(len(ids)).split(64):
                    optimizer.zero_grad()
                    span_loss(*reader(ids[rows], segments[rows]), targets[rows]).backward()
                    optimizer.step()

        def answers(data, threshold):
            with torch.no_grad():
                made = [windows(q, c, 16, 6, 1, 0) for q, c, _ in data]
                start, end = reader(*padded(list(itertools.chain(*made))))
            at = itertools.accumulate((len(one) for one in made), initial=0)
            return [
                find_answer(one, start[k : k + len(one)], end[k : k + len(one)], 4, threshold)
                for one, k in zip(made, at, strict=False)
            ]

        found = answers(known, math.inf)
        right = [float(span == truth) for (span, _), (_, _, truth) in zip(found, known, strict=True)]
        none = [float(truth is None) for _, _, truth in known]
        threshold, _ = best_threshold([margin for _, margin in found], right, none)
        score = sum(span == truth for (span, _), (_, _, truth) in zip(answers(test, threshold), test, strict=True))
        # The baseline knows where every value stands, and guesses among the three, or that there is none.
        guessed = sum(draw.random() < 0.25 for _ in test)
        if not score > guessed + 0.5 * len(test):
            fail(f"{score} of {len(test)} are right, guessing gets {guessed}; expected 75 more", evidence=score)


class TestOnTheGpu:
    def test_head(self, gpu):
        head, hidden, mask = head_and_batch(torch.float32)
        gpu.check(head, hidden.requires_grad_(), torch.ones_like(mask))
        start, _ = gpu(head)(gpu(hidden.detach()), gpu(mask))
        assert_equal(start.isinf().cpu().tolist(), (~mask).tolist())

    def test_span_loss(self, gpu):
        start, end = (torch.randn(2, 4, requires_grad=True) for _ in range(2))
        gpu.check(span_loss, start, end, torch.tensor([[1, 2], [0, 0]]))

    def test_best_span(self, gpu):
        gpu.check(best_span, torch.randn(8), torch.randn(8), 2, 5, 3)

    def test_find_answer(self, gpu):
        gpu.check(find_answer, *scored([1.0, 2.0, 3.0]), 2, 0.0)
