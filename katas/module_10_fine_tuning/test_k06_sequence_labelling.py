"""Judges k06_sequence_labelling against every path one by one, seqeval, and a list of names."""

import itertools
import math
import random
import re

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_10_fine_tuning.k06_sequence_labelling import (
    Crf,
    Tagger,
    allowed_transitions,
    entity_f1,
    log_partition,
    marginals,
    path_score,
    spans,
    to_bio,
    viterbi,
)

pytestmark = [from_scratch("seqeval", "torchcrf"), pure()]

F64 = torch.float64
NEVER = float("-inf")
TUNING = "needs the extra `tuning`: pip install -c constraints.txt -e '.[tuning]'"

HAND = (
    torch.tensor([[[1.0, 0.5], [0.2, 0.9]]], dtype=F64),
    torch.tensor([2]),
    Crf(*(torch.tensor(x, dtype=F64) for x in ([[0.3, -0.4], [0.1, 0.6]], [0.2, 0.0], [0.0, 0.1]))),
)


def random_crf(k: int, dtype: torch.dtype = F64) -> Crf:
    return Crf(torch.randn(k, k, dtype=dtype), torch.randn(k, dtype=dtype), torch.randn(k, dtype=dtype))


def batch(k: int, lengths: list[int], dtype: torch.dtype = F64) -> tuple[torch.Tensor, torch.Tensor, Crf]:
    """Random emissions whose padding is far from 0, the lengths, and random scores."""
    emissions = torch.randn(len(lengths), max(lengths), k, dtype=dtype)
    for row, length in enumerate(lengths):
        emissions[row, length:] = 50 + 10 * torch.randn(max(lengths) - length, k, dtype=dtype)
    return emissions, torch.tensor(lengths), random_crf(k, dtype)


def score_of(emissions: list[list[float]], path: tuple[int, ...], crf: Crf) -> float:
    """One path, term by term."""
    total = crf.start[path[0]].item() + crf.end[path[-1]].item()
    total += sum(emissions[t][tag] for t, tag in enumerate(path))
    return total + sum(crf.transitions[i, j].item() for i, j in itertools.pairwise(path))


def all_paths(emissions: torch.Tensor, length: int, crf: Crf) -> dict[tuple[int, ...], float]:
    """The score of every path of one row."""
    row, k = emissions[:length].tolist(), emissions.shape[-1]
    return {path: score_of(row, path, crf) for path in itertools.product(range(k), repeat=length)}


def log_sum(scores) -> float:
    top = max(scores)
    return top + math.log(sum(math.exp(score - top) for score in scores))


LENGTHS = [[4], [1], [3, 5, 1], [2, 4, 4, 1], [1, 1]]


class TestSpans:
    def test_the_example_worked_by_hand(self):
        assert_equal(spans(["B-PER", "I-PER", "O", "B-LOC", "O"]), [("PER", 0, 2), ("LOC", 3, 4)])
        assert_equal(spans(["B-PER", "O", "O", "B-LOC", "B-LOC"]), [("PER", 0, 1), ("LOC", 3, 4), ("LOC", 4, 5)])

    @pytest.mark.parametrize(
        ("tags", "expected"),
        [
            (["I-A", "I-A", "O"], [("A", 0, 2)]),
            (["O", "O", "I-A", "I-A", "I-A"], [("A", 2, 5)]),
            (["B-A", "I-B", "I-B", "I-A"], [("A", 0, 1), ("B", 1, 3), ("A", 3, 4)]),
            (["B-A", "O", "I-A"], [("A", 0, 1), ("A", 2, 3)]),
        ],
    )
    def test_an_i_that_continues_nothing_begins_a_span(self, tags, expected):
        assert_equal(spans(tags), expected)

    def test_spans_of_a_kind_may_touch(self):
        assert_equal(spans(["O", "B-A", "I-A", "B-A", "B-A", "I-A"]), [("A", 1, 3), ("A", 3, 4), ("A", 4, 6)])

    def test_a_span_may_end_with_the_sentence(self):
        assert_equal(spans(["O", "B-A", "I-A"]), [("A", 1, 3)])

    def test_a_kind_may_hold_dashes(self):
        assert_equal(spans(["B-work-of-art", "I-work-of-art"]), [("work-of-art", 0, 2)])
        assert_equal(spans(["B-a-x", "I-b-x"]), [("a-x", 0, 1), ("b-x", 1, 2)])

    @pytest.mark.parametrize("tags", [[], ["O"], ["O"] * 4])
    def test_no_span(self, tags):
        assert_equal(spans(tags), [])

    @pytest.mark.parametrize("tag", ["PER", "B", "I-", "E-PER", "BPER", "o", "", "O-PER", "b-PER"])
    def test_refuses_another_tag(self, tag):
        with raises(ValueError, tag):
            spans(["B-LOC", tag, "O"])

    @pytest.mark.parametrize("seed", range(5))
    def test_matches_seqeval(self, seed):
        pytest.importorskip("seqeval", reason=TUNING)
        from seqeval.metrics.sequence_labeling import get_entities

        draw = random.Random(seed)
        for _ in range(40):
            tags = draw.choices(["O", "B-X", "I-X", "B-YZ", "I-YZ"], k=draw.randint(1, 9))
            assert_equal(spans(tags), [(kind, start, end + 1) for kind, start, end in get_entities(tags)])


class TestToBio:
    def test_the_example_worked_by_hand(self):
        assert_equal(to_bio([("PER", 0, 2), ("LOC", 3, 4)], 5), ["B-PER", "I-PER", "O", "B-LOC", "O"])

    def test_any_order_and_touching(self):
        expected = ["B-A", "I-A", "I-A", "B-A", "B-B", "I-B", "O"]
        assert_equal(to_bio([("B", 4, 6), ("A", 3, 4), ("A", 0, 3)], 7), expected)

    @pytest.mark.parametrize("n", [0, 1, 4])
    def test_no_span(self, n):
        assert_equal(to_bio([], n), ["O"] * n)

    def test_a_span_of_all_words(self):
        assert_equal(to_bio([("A", 0, 3)], 3), ["B-A", "I-A", "I-A"])

    @pytest.mark.parametrize(
        ("start", "end", "n"), [(3, 3, 5), (4, 2, 5), (-2, 3, 5), (3, 7, 6), (8, 9, 6), (0, 1, 0), (-3, -1, 6)]
    )
    def test_refuses_a_span_that_is_empty_or_outside(self, start, end, n):
        with raises(ValueError, start, end):
            to_bio([("A", start, end)], n)

    @pytest.mark.parametrize(
        ("one", "other"), [((1, 4), (3, 6)), ((2, 7), (4, 5)), ((5, 8), (2, 6)), ((2, 4), (2, 4)), ((3, 4), (3, 7))]
    )
    @pytest.mark.parametrize("kind", ["A", "B"])
    def test_refuses_two_that_overlap(self, one, other, kind):
        with raises(ValueError, one[0], other[0]):
            to_bio([("A", *one), (kind, *other)], 9)

    def test_refuses_two_that_overlap_with_another_between_them(self):
        with raises(ValueError, 1, 3):
            to_bio([("A", 1, 5), ("B", 7, 8), ("C", 3, 4)], 9)

    @pytest.mark.parametrize("seed", range(5))
    def test_is_the_way_back(self, seed):
        draw = random.Random(seed)
        for _ in range(20):
            tags = draw.choices(["O", "B-X", "I-X", "B-Y", "I-Y"], k=draw.randint(0, 9))
            found = spans(tags)
            assert_equal(spans(to_bio(draw.sample(found, len(found)), len(tags))), found)


class TestEntityF1:
    def test_the_example_worked_by_hand(self):
        true, predicted = ["B-PER", "I-PER", "O", "B-LOC", "O"], ["B-PER", "O", "O", "B-LOC", "B-LOC"]
        assert_close(entity_f1([true], [predicted]), (1 / 3, 1 / 2, 0.4))

    def test_counts_over_all_sentences(self):
        true = [["B-A", "O", "B-A", "B-B"], ["O", "B-B"], ["O"]]
        predicted = [["B-A", "O", "B-A", "O"], ["B-B", "B-A"], ["B-A"]]
        assert_close(entity_f1(true, predicted), (2 / 5, 2 / 4, 4 / 9))

    def test_the_kind_counts(self):
        assert_close(entity_f1([["B-A", "O", "B-B"]], [["B-B", "O", "B-B"]]), (0.5, 0.5, 0.5))

    @pytest.mark.parametrize("predicted", [["B-A", "I-A", "I-A", "O"], ["O", "B-A", "I-A", "I-A"]])
    def test_both_ends_count(self, predicted):
        assert_close(entity_f1([["B-A", "I-A", "O", "O"]], [predicted]), (0.0, 0.0, 0.0))

    def test_the_same_place_in_another_sentence_is_another_span(self):
        assert_close(entity_f1([["B-A", "O"], ["O", "O"]], [["O", "O"], ["B-A", "O"]]), (0.0, 0.0, 0.0))

    def test_spans_are_compared_and_not_tags(self):
        assert_close(entity_f1([["B-A", "I-A", "O"]], [["I-A", "I-A", "O"]]), (1.0, 1.0, 1.0))

    @pytest.mark.parametrize(
        ("true", "predicted"), [([], []), ([["O"]], [["O"]]), ([["B-A"]], [["O"]]), ([["O"]], [["B-A"]]), ([[]], [[]])]
    )
    def test_nothing_to_divide_by(self, true, predicted):
        assert_close(entity_f1(true, predicted), (0.0, 0.0, 0.0))

    def test_refuses_another_number_of_sentences(self):
        with raises(ValueError, 3, 2):
            entity_f1([["O"], ["O"], ["O"]], [["O"], ["O"]])

    def test_refuses_a_sentence_of_another_length(self):
        with raises(ValueError, 5, 4):
            entity_f1([["O"] * 2, ["O"] * 5], [["O"] * 2, ["O"] * 4])

    @pytest.mark.parametrize("seed", range(3))
    def test_matches_seqeval(self, seed):
        pytest.importorskip("seqeval", reason=TUNING)
        from seqeval.metrics import f1_score, precision_score, recall_score

        draw = random.Random(seed)
        lengths = [draw.randint(1, 6) for _ in range(30)]
        true, predicted = (
            [draw.choices(["O", "O", "B-X", "I-X", "B-YZ", "I-YZ"], k=n) for n in lengths] for _ in range(2)
        )
        expected = tuple(float(f(true, predicted)) for f in (precision_score, recall_score, f1_score))
        assert_close(entity_f1(true, predicted), expected)


class TestPathScore:
    @pytest.mark.parametrize(("path", "expected"), [([0, 0], 1.7), ([0, 1], 1.8), ([1, 0], 0.8), ([1, 1], 2.1)])
    def test_the_example_worked_by_hand(self, path, expected):
        emissions, lengths, crf = HAND
        assert_close(path_score(emissions, torch.tensor([path]), lengths, crf), torch.tensor([expected], dtype=F64))

    @pytest.mark.parametrize("padding", [0, -100, 99])
    @pytest.mark.parametrize("lengths", LENGTHS)
    @pytest.mark.parametrize("k", [1, 3])
    def test_term_by_term(self, k, lengths, padding):
        emissions, n, crf = batch(k, lengths)
        tags = torch.randint(0, k, emissions.shape[:2])
        expected = [
            score_of(emissions[row].tolist(), tuple(tags[row, :length].tolist()), crf)
            for row, length in enumerate(lengths)
        ]
        for row, length in enumerate(lengths):
            tags[row, length:] = padding
        assert_close(path_score(emissions, tags, n, crf), torch.tensor(expected, dtype=F64))

    def test_gradients(self):
        emissions, lengths, crf = batch(3, [4, 2, 1])
        tags = torch.tensor([[2, 0, 1, 1], [1, 2, -100, -100], [0, -100, -100, -100]])
        inputs = [x.requires_grad_() for x in (emissions, *crf)]
        assert torch.autograd.gradcheck(lambda e, *scores: path_score(e, tags, lengths, Crf(*scores)), inputs)

    def test_keeps_the_dtype(self):
        emissions, lengths, crf = batch(3, [4, 2], torch.float32)
        assert_equal(path_score(emissions, torch.ones(2, 4, dtype=torch.int64), lengths, crf).dtype, torch.float32)


class TestLogPartition:
    def test_the_example_worked_by_hand(self):
        expected = math.log(sum(math.exp(x) for x in (1.7, 1.8, 0.8, 2.1)))
        assert_close(log_partition(*HAND), torch.tensor([expected], dtype=F64))

    @pytest.mark.parametrize("lengths", LENGTHS)
    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_sums_over_all_paths(self, k, lengths):
        emissions, n, crf = batch(k, lengths)
        expected = [log_sum(all_paths(e, length, crf).values()) for e, length in zip(emissions, lengths, strict=True)]
        assert_close(log_partition(emissions, n, crf), torch.tensor(expected, dtype=F64))

    @pytest.mark.parametrize("size", [1e4, -1e4])
    def test_large_scores_do_not_overflow(self, size):
        emissions, lengths, crf = batch(3, [4, 2], torch.float32)
        emissions[0] += size
        emissions[1, :2] += size
        crf = Crf(crf.transitions, crf.start + size, crf.end)
        expected = [
            log_sum(all_paths(e.double(), length, Crf(*(x.double() for x in crf))).values())
            for e, length in zip(emissions, (4, 2), strict=True)
        ]
        assert_close(log_partition(emissions, lengths, crf), torch.tensor(expected))

    def test_a_long_sentence(self):
        emissions, lengths, crf = torch.zeros(1, 300, 4, dtype=F64), torch.tensor([300]), random_crf(4)
        crf = Crf(*(torch.zeros_like(x) for x in crf))
        assert_close(log_partition(emissions, lengths, crf), torch.tensor([300 * math.log(4)], dtype=F64))

    def test_gradients(self):
        emissions, lengths, crf = batch(3, [4, 2, 1])
        inputs = [x.requires_grad_() for x in (emissions, *crf)]
        assert torch.autograd.gradcheck(lambda e, *scores: log_partition(e, lengths, Crf(*scores)), inputs)


class TestMarginals:
    def test_the_example_worked_by_hand(self):
        e = [math.exp(x) for x in (1.7, 1.8, 0.8, 2.1)]
        first, second = (e[2] + e[3]) / sum(e), (e[1] + e[3]) / sum(e)
        assert_close(marginals(*HAND), torch.tensor([[[1 - first, first], [1 - second, second]]], dtype=F64))

    @pytest.mark.parametrize("lengths", LENGTHS)
    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_match_the_paths_through_each_tag(self, k, lengths):
        emissions, n, crf = batch(k, lengths)
        expected = torch.zeros_like(emissions)
        for row, length in enumerate(lengths):
            scores = all_paths(emissions[row], length, crf)
            log_z = log_sum(scores.values())
            for path, score in scores.items():
                for t, tag in enumerate(path):
                    expected[row, t, tag] += math.exp(score - log_z)
        assert_close(marginals(emissions, n, crf), expected)

    def test_the_padding_is_exactly_0(self):
        emissions, lengths, crf = batch(3, [5, 2, 1])
        found = marginals(emissions, lengths, crf)
        assert_equal([found[row, n:].abs().sum().item() for row, n in enumerate([5, 2, 1])], [0.0, 0.0, 0.0])

    @pytest.mark.parametrize("size", [1e4, -1e4])
    def test_large_scores(self, size):
        emissions, lengths, crf = batch(3, [4, 4])
        expected = marginals(emissions, lengths, crf)
        assert_close(marginals(emissions + size, lengths, Crf(crf[0] + size, crf[1], crf[2])), expected, atol=1e-6)

    def test_keep_the_dtype(self):
        assert_equal(marginals(*batch(3, [4, 2], torch.float32)).dtype, torch.float32)


def assert_best(found: list[list[int]], emissions: torch.Tensor, lengths: list[int], crf: Crf) -> None:
    """Whether each path is as good as the best of all."""
    assert_equal([len(path) for path in found], lengths)
    scores = [score_of(e.tolist(), tuple(path), crf) for e, path in zip(emissions, found, strict=True)]
    best = [max(all_paths(e, length, crf).values()) for e, length in zip(emissions, lengths, strict=True)]
    assert_close(scores, best)


class TestViterbi:
    def test_the_example_worked_by_hand(self):
        assert_equal(viterbi(*HAND), [[1, 1]])

    @pytest.mark.parametrize("lengths", LENGTHS)
    @pytest.mark.parametrize("k", [1, 2, 4])
    def test_finds_the_best_of_all_paths(self, k, lengths):
        emissions, n, crf = batch(k, lengths)
        assert_best(viterbi(emissions, n, crf), emissions, lengths, crf)

    @pytest.mark.parametrize("seed", range(4))
    def test_where_transitions_decide(self, seed):
        emissions, n, crf = batch(3, [5, 4, 2, 5])
        crf = Crf(4 * crf.transitions, 3 * crf.start, 3 * crf.end)
        assert_best(viterbi(emissions, n, crf), emissions, [5, 4, 2, 5], crf)

    def test_ties(self):
        emissions, lengths, crf = torch.zeros(2, 3, 2, dtype=F64), torch.tensor([3, 2]), random_crf(2)
        crf = Crf(*(torch.zeros_like(x) for x in crf))
        assert_best(viterbi(emissions, lengths, crf), emissions, [3, 2], crf)

    def test_never_uses_a_score_of_minus_infinity(self):
        emissions, lengths, crf = batch(3, [5, 3, 1])
        crf.transitions[0, 1] = crf.transitions[2, 2] = crf.start[2] = crf.end[0] = NEVER
        emissions[..., 0] += 3
        emissions[..., 2] += 2
        assert_best(viterbi(emissions, lengths, crf), emissions, [5, 3, 1], crf)

    def test_small_differences_of_large_scores(self):
        emissions, lengths, crf = batch(2, [3, 1])
        crf = Crf(*(torch.zeros_like(x) for x in crf))
        best = [[1, 0, 1], [0]]
        for row, path in enumerate(best):
            emissions[row] = 1e4
            for t, tag in enumerate(path):
                emissions[row, t, tag] += 1e-5
        assert_equal(viterbi(emissions, lengths, crf), best)

    def test_gives_plain_numbers(self):
        assert_equal({type(tag) for path in viterbi(*batch(3, [4, 2])) for tag in path}, {int})


class TestAllowedTransitions:
    def test_one_kind(self):
        pairs, first = allowed_transitions(["O", "B-PER", "I-PER"])
        assert_close(pairs, torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 1]]).bool())
        assert_close(first, torch.tensor([1, 1, 0]).bool())

    @pytest.mark.parametrize("seed", range(4))
    def test_two_kinds_in_any_order(self, seed):
        labels = ["B-A", "I-A", "O", "I-B-A", "B-B-A"]
        random.Random(seed).shuffle(labels)
        pairs, first = allowed_transitions(labels)
        before = {"I-A": {"B-A", "I-A"}, "I-B-A": {"B-B-A", "I-B-A"}}
        expected = [[then in before.get(now, labels) for now in labels] for then in labels]
        assert_close(pairs, torch.tensor(expected))
        assert_close(first, torch.tensor([now not in before for now in labels]))

    def test_a_label_alone(self):
        assert_close(allowed_transitions(["O"]), (torch.tensor([[True]]), torch.tensor([True])))


LABELS = ["I-A", "O", "B-A", "B-B"]


def tagger_and_batch(dtype: torch.dtype = F64):
    """A tagger with scores that aren't 0, and three sentences with their padding."""
    tagger = Tagger(7, LABELS, 5, 3).to(dtype)
    with torch.no_grad():
        for scores in (tagger.transitions, tagger.start, tagger.end):
            scores.copy_(torch.randn(scores.shape, dtype=dtype))
    tokens, lengths = torch.randint(0, 7, (3, 4)), torch.tensor([2, 4, 1])
    return tagger, tokens, lengths


def torchs_emissions(tagger, tokens, lengths):
    """The emissions by torch's own layers, row by row."""
    d, m = tagger.embedding.weight.shape[1], tagger.head.in_features // 2
    lstm = nn.LSTM(d, m, batch_first=True, bidirectional=True).to(tagger.head.weight.dtype)
    lstm.load_state_dict(tagger.lstm.state_dict())
    rows = [row[:length] for row, length in zip(tokens, lengths.tolist(), strict=True)]
    return [
        nn.functional.linear(lstm(tagger.embedding.weight[row][None])[0][0], tagger.head.weight, tagger.head.bias)
        for row in rows
    ]


class TestTagger:
    def test_its_parameters(self):
        tagger = Tagger(11, LABELS, 5, 3)
        shapes = {name: tuple(p.shape) for name, p in tagger.named_parameters() if not name.startswith("lstm.")}
        expected = {"embedding.weight": (11, 5), "head.weight": (4, 6), "head.bias": (4,)}
        assert_equal(shapes, expected | {"transitions": (4, 4), "start": (4,), "end": (4,)})
        names = {name.removeprefix("lstm.") for name, _ in tagger.named_parameters() if name.startswith("lstm.")}
        assert_equal(names, {name for name, _ in nn.LSTM(5, 3, bidirectional=True).named_parameters()})
        for scores in (tagger.transitions, tagger.start, tagger.end):
            assert_close(scores.detach(), torch.zeros(scores.shape))

    def test_its_emissions_match_torch(self):
        tagger, tokens, lengths = tagger_and_batch()
        found = tagger.emissions(tokens, lengths)
        assert_equal(tuple(found.shape), (3, 4, 4))
        for row, expected in enumerate(torchs_emissions(tagger, tokens, lengths)):
            assert_close(found[row, : len(expected)], expected)

    def test_its_loss_is_the_mean_over_sentences(self):
        tagger, tokens, lengths = tagger_and_batch()
        tags = torch.tensor([[0, 2, -100, -100], [1, 1, 0, 3], [3, -100, -100, -100]])
        crf = Crf(tagger.transitions.detach(), tagger.start.detach(), tagger.end.detach())
        losses = []
        for row, emissions in enumerate(torchs_emissions(tagger, tokens, lengths)):
            scores = all_paths(emissions.detach(), len(emissions), crf)
            losses.append(log_sum(scores.values()) - scores[tuple(tags[row, : len(emissions)].tolist())])
        assert_close(tagger.loss(tokens, tags, lengths), torch.tensor(sum(losses) / 3, dtype=F64))

    def test_the_padding_does_not_count(self):
        tagger, tokens, lengths = tagger_and_batch()
        tags = torch.randint(0, 4, (3, 4))
        padding = torch.arange(4) >= lengths[:, None]
        before = tagger.loss(tokens, tags, lengths)
        other = tokens.where(~padding, (tokens + 3) % 7), tags.where(~padding, (tags + 1) % 4)
        assert_close(tagger.loss(*other, lengths), before)

    def test_every_parameter_gets_a_gradient(self):
        tagger, tokens, lengths = tagger_and_batch()
        tagger.loss(tokens, torch.randint(0, 4, (3, 4)), lengths).backward()
        without = [name for name, p in tagger.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert_equal(without, [])

    @pytest.mark.parametrize("label", ["O", "B-B"])
    def test_never_goes_on_with_what_did_not_begin(self, label):
        tagger, tokens, lengths = tagger_and_batch()
        with torch.no_grad():
            tagger.start[LABELS.index(label)] += 200.0
            tagger.head.bias[0] += 30.0  # I-A
            tagger.head.bias[2] += 20.0  # B-A, the next best
        expected = [[label, "B-A", "I-A", "I-A"][:n] for n in lengths.tolist()]
        assert_equal(tagger.predict(tokens, lengths), expected)

    @pytest.mark.parametrize("seed", range(3))
    def test_predicts_the_best_allowed_path(self, seed):
        tagger, _, _ = tagger_and_batch()
        tokens, lengths = torch.randint(0, 7, (12, 4)), torch.arange(12) % 4 + 1
        with torch.no_grad():
            for weights in (tagger.embedding.weight, tagger.head.weight, *tagger.lstm.parameters()):
                weights *= 3.0  # so that neighbours count
            tagger.head.bias[0] += 1.0  # I-A would stand everywhere
        pairs = [[j != 0 or i in (0, 2) for j in range(4)] for i in range(4)]
        crf = Crf(
            tagger.transitions.detach().masked_fill(~torch.tensor(pairs), NEVER),
            tagger.start.detach().masked_fill(torch.tensor([True, False, False, False]), NEVER),
            tagger.end.detach(),
        )
        found = [[LABELS.index(label) for label in path] for path in tagger.predict(tokens, lengths)]
        emissions = [e.detach() for e in torchs_emissions(tagger, tokens, lengths)]
        assert_best(found, emissions, lengths.tolist(), crf)

    def test_predicting_changes_nothing_and_forgets_nothing(self):
        tagger, tokens, lengths = tagger_and_batch()
        before = {name: value.clone() for name, value in tagger.state_dict().items()}
        first = tagger.predict(tokens, lengths)
        assert_equal(tagger.predict(tokens, lengths), first)
        assert_close(dict(tagger.state_dict()), before)
        with torch.no_grad():
            tagger.head.bias[3] += 100.0
        assert_equal(tagger.predict(tokens, lengths), [["B-B"] * n for n in lengths.tolist()])

    def test_keeps_its_labels(self):
        labels = ["O", "B-A"]
        tagger = Tagger(3, labels, 2, 2)
        labels[:] = ["B-X", "B-Y"]
        found = tagger.predict(torch.tensor([[0, 1, 2]]), torch.tensor([3]))
        assert_equal({label in ("O", "B-A") for label in found[0]}, {True})

    @pytest.mark.deadline(60)  # a second on a quiet machine
    @pytest.mark.learning
    @pytest.mark.parametrize("seed", range(3))
    def test_beats_a_list_of_names_on_film_sentences(self, seed, reviews, names):
        draw = random.Random(seed)
        texts = [re.findall(r"[a-z']+", text.lower()) for text in draw.sample(reviews[0], 3000)]
        texts = [words for words in texts if 3 <= len(words) <= 9]
        people = sorted({*names[0], *names[1]})
        data = [planted(words, people, draw) for words in texts[:500]]
        train, test = data[:350], data[350:]
        true = [tags for _, tags in test]
        _, _, by_list = entity_f1(true, name_list(train, [words for words, _ in test]))
        _, _, learned = entity_f1(true, learn(train, [words for words, _ in test], seed))
        if not learned > by_list + 0.2:
            fail(
                f"the tagger's F1 is {learned:.2f}, a list of the names seen in training has {by_list:.2f}: "
                "expected at least 0.2 more",
                evidence=round(learned, 2),
            )


def planted(words: list[str], people: list[str], draw: random.Random) -> tuple[list[str], list[str]]:
    """A sentence with "starring" or "by director" and one or two names somewhere, and its tags."""
    cue = draw.choice([["starring"], ["by", "director"]])
    name = draw.sample(people, draw.randint(1, 2))
    at = draw.randint(0, len(words))
    start = at + len(cue)
    tagged = ["O"] * start + ["B-PER"] + ["I-PER"] * (len(name) - 1) + ["O"] * (len(words) - at)
    return words[:at] + cue + name + words[at:], tagged


def name_list(train, sentences) -> list[list[str]]:
    """The baseline: runs of words that were more often a name than not in training."""
    votes: dict[str, int] = {}
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            votes[word] = votes.get(word, 0) + (1 if tag != "O" else -1)
    return [["I-PER" if votes.get(word, 0) > 0 else "O" for word in words] for words in sentences]


def learn(train, sentences, seed: int) -> list[list[str]]:
    """The tags that a tagger gives which was trained for a second or two."""
    labels = ["O", "B-PER", "I-PER"]
    seen = [word for words, _ in train for word in words]
    known = {word: i for i, word in enumerate(sorted({word for word in seen if seen.count(word) > 1}), 1)}

    def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([len(row) for row in rows])
        return torch.tensor([row + [0] * (int(lengths.max()) - len(row)) for row in rows]), lengths

    tokens, lengths = padded([[known.get(word, 0) for word in words] for words, _ in train])
    tags, _ = padded([[labels.index(tag) for tag in row] for _, row in train])
    torch.manual_seed(seed)
    tagger = Tagger(len(known) + 1, labels, 16, 16)
    optimizer = torch.optim.Adam(tagger.parameters(), lr=0.03)
    for _ in range(5):
        for rows in torch.randperm(len(tokens)).split(50):
            optimizer.zero_grad()
            tagger.loss(tokens[rows], tags[rows], lengths[rows]).backward()
            optimizer.step()
    return tagger.predict(*padded([[known.get(word, 0) for word in words] for words in sentences]))


class TestOnTheGpu:
    def test_path_score(self, gpu):
        emissions, lengths, crf = batch(3, [4, 2])
        gpu.check(path_score, emissions.requires_grad_(), torch.randint(0, 3, (2, 4)), lengths, crf)

    def test_log_partition(self, gpu):
        emissions, lengths, crf = batch(3, [4, 2])
        gpu.check(log_partition, emissions.requires_grad_(), lengths, crf)

    def test_marginals(self, gpu):
        gpu.check(marginals, *batch(3, [4, 2]))

    def test_viterbi(self, gpu):
        gpu.check(viterbi, *batch(3, [4, 2]))

    def test_tagger(self, gpu):
        tagger, tokens, lengths = tagger_and_batch()
        gpu.check(tagger.loss, tokens, torch.randint(0, 4, (3, 4)), lengths)
        gpu.check(tagger.predict, tokens, lengths)
