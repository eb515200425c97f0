"""Judges k06_image_captioning by enumeration, by counting in plain loops, and on scenes that it draws."""

import itertools
import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, normal, seeded
from katas.module_11_multimodal.k06_image_captioning import (
    Captioner,
    ImageEncoder,
    beam_captions,
    caption_batch,
    caption_loss,
    cider,
    cider_d,
    document_frequency,
    greedy_captions,
    ngrams,
)

pytestmark = [
    from_scratch(
        "torch.nn.TransformerDecoder", "torch.nn.TransformerDecoderLayer", "torch.nn.Transformer", "transformers",
        "pycocoevalcap",
    ),
    pure(),
]  # fmt: skip

START, END, PAD = 0, 1, 2


def said(text: str) -> list[str]:
    return text.split()


def untrained(module: nn.Module) -> list[str]:
    # Where all keys get the same, the softmax doesn't change: biases of keys have no gradient.
    return [
        name for name, p in module.named_parameters() if "k_proj.bias" not in name and (p.grad is None or not p.grad.any())
    ]


class TestCaptionBatch:
    def test_the_example_worked_by_hand(self):
        inputs, targets = caption_batch([[5, 6], [7]], START, END, PAD)
        assert_equal((inputs, targets), (torch.tensor([[0, 5, 6], [0, 7, 2]]), torch.tensor([[5, 6, 1], [7, 1, 2]])))

    def test_other_tokens_and_an_empty_caption(self):
        inputs, targets = caption_batch([[], [3, 4, 5], [9]], 11, 12, 0)
        assert_equal(inputs, torch.tensor([[11, 0, 0, 0], [11, 3, 4, 5], [11, 9, 0, 0]]))
        assert_equal(targets, torch.tensor([[12, 0, 0, 0], [3, 4, 5, 12], [9, 12, 0, 0]]))

    def test_one_empty_caption(self):
        assert_equal(caption_batch([()], START, END, PAD), (torch.tensor([[0]]), torch.tensor([[1]])))


class TestCaptionLoss:
    @pytest.mark.parametrize("pad", [2, 0])
    def test_one_mean_over_all_tokens(self, pad):
        logits = normal(3, 4, 5)
        targets = torch.tensor([[3, 1, pad, pad], [4, 3, 4, 1], [1, pad, pad, pad]])
        costs = [
            -logits[i, j].log_softmax(0)[targets[i, j]].item() for i in range(3) for j in range(4) if targets[i, j] != pad
        ]
        assert_close(caption_loss(logits, targets, pad).item(), sum(costs) / len(costs))

    def test_the_gradient(self):
        targets = torch.tensor([[3, 1, PAD], [1, PAD, PAD]])
        assert torch.autograd.gradcheck(lambda x: caption_loss(x, targets, PAD), normal(2, 3, 4).requires_grad_())

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda x, t: caption_loss(x, t, PAD), normal(2, 2, 4).requires_grad_(), torch.tensor([[3, 1], [1, PAD]]))


def an_encoder(channels: int = 3, size: int = 6, patch: int = 2, d: int = 8, layers: int = 1) -> ImageEncoder:
    return named_weights(ImageEncoder(channels, size, patch, d, 2, layers, 12))


class TestImageEncoder:
    @pytest.mark.parametrize(("channels", "size", "patch"), [(3, 6, 2), (1, 6, 3), (2, 4, 1), (2, 4, 4)])
    def test_patch_by_patch(self, channels, size, patch):
        model, images = an_encoder(channels, size, patch), normal(2, channels, size, size)
        weight, n = model.patches.weight.flatten(1), size // patch
        tokens = [
            images[:, :, patch * r : patch * r + patch, patch * c : patch * c + patch].flatten(1) @ weight.T + model.patches.bias
            for r in range(n)
            for c in range(n)
        ]
        expected = model.encoder(torch.stack(tokens, 1) + model.positions)
        assert_close(model(images).detach(), expected.detach())

    @pytest.mark.parametrize(("size", "patch", "d", "layers"), [(6, 2, 8, 2), (8, 4, 4, 0)])
    def test_its_parameters(self, size, patch, d, layers):
        model = ImageEncoder(3, size, patch, d, 2, layers, 12)
        own = {name: tuple(p.shape) for name, p in model.named_parameters() if not name.startswith("encoder.")}
        places = (size // patch) ** 2
        assert_equal(own, {"patches.weight": (d, 3, patch, patch), "patches.bias": (d,), "positions": (places, d)})

    def test_its_encoder_is_pre_norm_with_gelu_and_as_deep_as_told(self):
        from reference.module_05_transformers.k08_encoder import Encoder

        model = an_encoder(layers=2)
        theirs = Encoder(2, 8, 2, 12, pre_norm=True, activation="gelu").double()
        theirs.load_state_dict(model.encoder.state_dict())
        x = normal(2, 5, 8)
        assert_close(model.encoder(x).detach(), theirs(x).detach())

    def test_all_of_it_is_trained(self):
        model = an_encoder()
        (model(normal(2, 3, 6, 6)) * normal(2, 9, 8, seed=1)).sum().backward()
        assert_equal(untrained(model), [])

    @pytest.mark.parametrize(("size", "patch"), [(6, 4), (5, 2)])
    def test_refuses_a_patch_that_doesnt_divide(self, size, patch):
        with raises(ValueError, patch, size):
            ImageEncoder(3, size, patch, 8, 2, 1, 12)

    def test_on_the_gpu(self, gpu):
        gpu.check(an_encoder(), normal(2, 3, 6, 6).requires_grad_())


def a_captioner(layers: int = 2, longest: int = 6) -> Captioner:
    return named_weights(Captioner(an_encoder(), 7, longest, 8, 2, layers, 12))


INPUTS = torch.tensor([[0, 5, 3, 6], [0, 4, 4, 2]])


class TestCaptioner:
    @pytest.mark.parametrize("layers", [1, 3])
    def test_the_formula(self, layers):
        model, memory = a_captioner(layers), normal(2, 9, 8)
        assert_equal(len(model.blocks), layers)
        x = F.embedding(INPUTS, model.embedding.weight) + model.positions[:4]
        for block in model.blocks:
            x = block(x, memory)
        x = F.layer_norm(x, (8,), model.norm.weight, model.norm.bias)
        expected = x @ model.head.weight.T + model.head.bias
        assert_close(model.decode(INPUTS, memory).detach(), expected.detach())

    def test_its_blocks_are_pre_norm(self):
        from reference.module_05_transformers.k09_encoder_decoder import DecoderBlock

        model, x, memory = a_captioner(), normal(2, 4, 8), normal(2, 9, 8, seed=1)
        theirs = DecoderBlock(8, 2, 12, pre_norm=True).double()
        theirs.load_state_dict(model.blocks[1].state_dict())
        assert_close(model.blocks[1](x, memory).detach(), theirs(x, memory).detach())

    def test_images_are_encoded_first(self):
        model, images = a_captioner(), normal(2, 3, 6, 6)
        assert_close(model.encode(images).detach(), model.encoder(images).detach())
        assert_close(model(images, INPUTS).detach(), model.decode(INPUTS, model.encoder(images)).detach())

    def test_no_word_sees_a_later_one(self):
        model, memory = a_captioner(), normal(2, 9, 8)
        other = INPUTS.clone()
        other[:, 2:] = 1
        found, moved = model.decode(INPUTS, memory).detach(), model.decode(other, memory).detach()
        assert_close(moved[:, :2], found[:, :2])
        assert_equal(bool((moved[:, 2:] != found[:, 2:]).all()), True)

    def test_its_parameters(self):
        model = Captioner(nn.Identity(), 7, 6, 8, 2, 1, 12)
        own = {name: tuple(p.shape) for name, p in model.named_parameters() if not name.startswith("blocks.")}
        expected = {"embedding.weight": (7, 8), "positions": (6, 8), "norm.weight": (8,), "norm.bias": (8,)}
        assert_equal(own, expected | {"head.weight": (7, 8), "head.bias": (7,)})

    @pytest.mark.parametrize("n", [7, 9])
    def test_refuses_more_words_than_places(self, n):
        with raises(ValueError, 6, n):
            a_captioner().decode(torch.zeros(2, n, dtype=torch.int64), normal(2, 9, 8))

    def test_as_many_words_as_places(self):
        assert_equal(tuple(a_captioner().decode(torch.zeros(2, 6, dtype=torch.int64), normal(2, 9, 8)).shape), (2, 6, 7))

    def test_all_of_it_is_trained(self):
        model = a_captioner()
        (model(normal(2, 3, 6, 6), INPUTS) * normal(2, 4, 7, seed=1)).sum().backward()
        assert_equal(untrained(model), [])

    def test_on_the_gpu(self, gpu):
        gpu.check(a_captioner(), normal(2, 3, 6, 6), INPUTS)


class Table:
    """A model that says what stands in a table: logits by what has been written, for each image by its first pixel."""

    def __init__(self, tables: list[dict[tuple[int, ...], list[float]]], words: int, start: int = START) -> None:
        self.tables, self.words, self.start = tables, words, start
        self.encoded: list[tuple[int, ...]] = []
        self.asked: list[tuple[int, ...]] = []

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        self.encoded.append(tuple(images.shape))
        return images[:, 0, 0, :1, None] + torch.zeros(len(images), 4, 3, dtype=images.dtype)

    def decode(self, inputs: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        self.asked.append(tuple(inputs.shape))
        assert_equal((len(memory), tuple(memory.shape[1:])), (len(inputs), (4, 3)))
        out = torch.zeros(*inputs.shape, self.words, dtype=memory.dtype)
        for i, row in enumerate(inputs.tolist()):
            begin = int(row[0] == self.start)  # without START in front all tokens count as words
            for j in range(len(row)):
                out[i, j] = torch.tensor(self.at(round(memory[i, 0, 0].item()), tuple(row[begin : j + 1])))
        return out

    def at(self, image: int, written: tuple[int, ...]) -> list[float]:
        return self.tables[image].get(written, [0.0] * self.words)


def logs(**chances: float) -> list[float]:
    """Logits of START, END, a, b, with a constant that the softmax takes off again."""
    return [math.log(chances.get(name, 1e-9)) + 0.7 for name in ("start", "end", "a", "b")]


A, B = 2, 3
HAND = {(): logs(end=0.1, a=0.5, b=0.4), (A,): logs(end=0.4, a=0.3, b=0.3), (B,): logs(end=0.9, a=0.05, b=0.05)}


def numbered(n: int) -> torch.Tensor:
    """Images whose first pixel is their number."""
    return torch.arange(n, dtype=F64)[:, None, None, None].expand(n, 1, 2, 2).clone()


class TestGreedyCaptions:
    def test_it_walks_into_the_dead_end(self):
        assert_equal(greedy_captions(Table([HAND], 4), numbered(1), START, END, 5), [[A]])

    def test_each_row_ends_for_itself(self):
        long = {(): logs(b=0.9), (B,): logs(a=0.9), (B, A): logs(b=0.9), (B, A, B): logs(end=0.9)}
        none = {(): logs(end=0.9), (END,): logs(b=0.9)}
        model = Table([long, none, HAND], 4)
        assert_equal(greedy_captions(model, numbered(3), START, END, 9), [[B, A, B], [], [A]])
        assert_equal((model.encoded, len(model.asked)), ([(3, 1, 2, 2)], 4))

    @pytest.mark.parametrize("limit", [1, 3])
    def test_no_longer_than_the_limit(self, limit):
        endless = {tuple([A] * n): logs(a=0.9) for n in range(9)}
        model = Table([endless, HAND], 4)
        assert_equal(greedy_captions(model, numbered(2), START, END, limit), [[A] * limit, [A]])
        assert_equal(len(model.asked) <= limit, True)

    def test_other_tokens_for_start_and_end(self):
        table = {(): [0.0, 1.0, 3.0, 2.0], (2,): [5.0, 1.0, 3.0, 2.0]}
        model = Table([table], 4, 3)
        found = greedy_captions(model, numbered(1), 3, 0, 4)
        assert_equal((found, model.asked[0]), ([[2]], (1, 1)))

    def test_plain_ints_and_no_gradient(self):
        model, images = a_captioner(), normal(2, 3, 6, 6).requires_grad_()
        found = greedy_captions(model, images, START, END, 4)
        assert_equal({type(word) for row in found for word in row} <= {int}, True)
        assert_equal([tuple(p.shape) for p in model.parameters() if p.grad is not None], [])

    def test_on_the_gpu(self, gpu):
        model, images = a_captioner(), normal(2, 3, 6, 6)
        assert_equal(greedy_captions(gpu(model), gpu(images), START, END, 4), greedy_captions(a_captioner(), images, START, END, 4))


def searched(table: Table, beams: int, limit: int, penalty: float) -> list[tuple[list[int], float]]:
    """Beam search with lists and sorted()."""
    live, finished = [((), 0.0)], []
    for step in range(1, limit + 1):
        extended = []
        for written, total in live:
            logits = table.at(0, written)
            norm = math.log(sum(math.exp(x) for x in logits))
            extended += [((*written, w), total + x - norm) for w, x in enumerate(logits)]
        kept = sorted(extended, key=lambda pair: -pair[1])[:beams]
        finished += [(words, total / step**penalty) for words, total in kept if words[-1] == END or step == limit]
        live = [(words, total) for words, total in kept if words[-1] != END]
        if not live:
            break
    best = sorted(finished, key=lambda pair: -pair[1])[:beams]
    return [([w for w in words if w != END], score) for words, score in best]


def a_table(words: int, depth: int, seed: int) -> Table:
    draws, table = seeded(seed), {}
    for n in range(depth):
        for written in itertools.product(range(words), repeat=n):
            table[written] = (2 * torch.randn(words, generator=draws, dtype=F64)).tolist()
    return Table([table], words)


class TestBeamCaptions:
    @pytest.mark.parametrize(("penalty", "scores"), [(0.0, (-1.0217, -1.6094)), (1.0, (-0.5108, -0.8047))])
    def test_the_example_worked_by_hand(self, penalty, scores):
        found = beam_captions(Table([HAND], 4), numbered(1)[0], START, END, 2, 2, penalty)
        assert_equal([words for words, _ in found], [[B], [A]])
        assert_close([score for _, score in found], list(scores), atol=1e-4)  # four digits are given

    @pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
    @pytest.mark.parametrize("limit", [1, 2, 4])
    @pytest.mark.parametrize("beams", [1, 2, 3, 7])
    def test_step_by_step(self, beams, limit, penalty):
        for seed in range(3):
            table = a_table(4, 4, seed)
            found = beam_captions(table, numbered(1)[0], START, END, beams, limit, penalty)
            expected = searched(table, beams, limit, penalty)
            assert_equal([words for words, _ in found], [words for words, _ in expected])
            assert_close([score for _, score in found], [score for _, score in expected])
            assert_equal(table.encoded, [(1, 1, 2, 2)])

    def test_wide_enough_it_finds_the_best_of_all(self):
        table = a_table(4, 3, 5)
        complete = []
        for n in range(4):
            for written in itertools.product([0, 2, 3], repeat=n):
                total, tokens = 0.0, [*written, END][:3]
                for i, token in enumerate(tokens):
                    total += torch.tensor(table.at(0, tuple(tokens[:i])), dtype=F64).log_softmax(0)[token].item()
                complete.append((total / len(tokens), list(written)))
        score, words = max(complete)
        assert_close(beam_captions(table, numbered(1)[0], START, END, 64, 3)[0], (words, score))

    def test_one_beam_is_greedy(self):
        for seed in range(4):
            table = a_table(5, 4, seed)
            greedy = greedy_captions(table, numbered(1), START, END, 4)[0]
            assert_equal(beam_captions(table, numbered(1)[0], START, END, 1, 4)[0][0], greedy)

    def test_the_length_is_divided_out_unless_told(self):
        table = a_table(4, 3, 8)
        image = numbered(1)[0]
        assert_close(beam_captions(table, image, START, END, 3, 3), beam_captions(table, image, START, END, 3, 3, 1.0))

    def test_other_tokens_for_start_and_end(self):
        table = {(): [0.0, 1.0, 3.0, 2.0], (2,): [5.0, 1.0, 3.0, 2.0]}
        found = beam_captions(Table([table], 4, 3), numbered(1)[0], 3, 0, 1, 4)
        assert_equal(found[0][0], [2])

    def test_plain_numbers(self):
        found = beam_captions(a_captioner(), normal(3, 6, 6), START, END, 2, 3)
        kinds = {type(word) for words, _ in found for word in words} | {type(score) for _, score in found}
        assert_equal(kinds <= {int, float}, True)

    @pytest.mark.parametrize("beams", [0, -2])
    def test_refuses_no_beams(self, beams):
        with raises(ValueError, beams):
            beam_captions(Table([HAND], 4), numbered(1)[0], START, END, beams, 2)

    def test_on_the_gpu(self, gpu):
        image = normal(3, 6, 6)
        found = beam_captions(gpu(a_captioner()), gpu(image), START, END, 2, 3)
        assert_close(found, beam_captions(a_captioner(), image, START, END, 2, 3))


class TestNgrams:
    def test_the_example_worked_by_hand(self):
        assert_equal(dict(ngrams(said("a b a b"), 2)), {("a", "b"): 2, ("b", "a"): 1})

    @pytest.mark.parametrize("n", [1, 3, 5, 6])
    def test_place_by_place(self, n):
        words = [4, 4, 7, 4, 4]
        expected: dict = {}
        for i in range(5):
            if i + n <= 5:
                expected[tuple(words[i : i + n])] = expected.get(tuple(words[i : i + n]), 0) + 1
        assert_equal(dict(ngrams(words, n)), expected)

    def test_what_never_came_counts_0(self):
        assert_equal(ngrams(["a"], 1)[("b",)], 0)


REFERENCES = [
    [said("a red dot"), said("a dot a dot")],
    [said("a red bar on a dot")],
    [said("the bar"), said("a bar"), said("red")],
]


class TestDocumentFrequency:
    def test_the_example_worked_by_hand(self):
        found = document_frequency([[said("a red dot")], [said("a red bar")]], 1)
        assert_equal(dict(found), {("a",): 2, ("red",): 2, ("dot",): 1, ("bar",): 1})

    @pytest.mark.parametrize("n", [1, 2, 4])
    def test_once_an_image(self, n):
        expected: Counter = Counter()
        for captions in REFERENCES:
            there = {tuple(words[i : i + n]) for words in captions for i in range(len(words) - n + 1)}
            for gram in there:
                expected[gram] += 1
        assert_equal(dict(document_frequency(REFERENCES, n)), dict(expected))

    def test_what_never_came_counts_0(self):
        assert_equal(document_frequency(REFERENCES, 1)[("cat",)], 0)


def scored(candidates, references, longest: int, sigma: float | None) -> list[float]:
    """CIDEr (sigma None) or CIDEr-D over the list of all n-grams, vector by vector."""
    scores = []
    for candidate, captions in zip(candidates, references, strict=True):
        of_n = []
        for n in range(1, longest + 1):
            def grams(words, n=n):
                return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

            known = sorted({g for one in references for c in one for g in grams(c)} | set(grams(candidate)))
            df = [max(1, sum(any(g in grams(c) for c in one) for one in references)) for g in known]
            idf = [math.log(len(references) / d) for d in df]
            vector = [grams(candidate).count(g) * w for g, w in zip(known, idf, strict=True)]
            found = []
            for caption in captions:
                other = [grams(caption).count(g) * w for g, w in zip(known, idf, strict=True)]
                size = math.sqrt(sum(v * v for v in vector)) * math.sqrt(sum(v * v for v in other))
                top = vector if sigma is None else [min(v, o) for v, o in zip(vector, other, strict=True)]
                value = sum(v * o for v, o in zip(top, other, strict=True)) / size if size else 0.0
                if sigma is not None:
                    value *= 10 * math.exp(-((len(candidate) - len(caption)) ** 2) / (2 * sigma**2))
                found.append(value)
            of_n.append(sum(found) / len(found))
        scores.append(sum(of_n) / longest)
    return scores


CANDIDATES = [said("a dot a red dot a"), said("red bar on a cat"), said("the bar red")]


class TestCider:
    def test_the_example_worked_by_hand(self):
        references = [[said("a red dot")], [said("a red bar")]]
        assert_close(cider([said("a dot"), said("a red bar")], references, 1), [1.0, 1.0])
        assert_close(cider([said("a red bar"), []], references, 1), [0.0, 0.0])
        assert_close(cider([["dot", "dot"], ["a"]], references, 1), [1.0, 0.0])

    @pytest.mark.parametrize("longest", [1, 2, 4])
    def test_vector_by_vector(self, longest):
        assert_close(cider(CANDIDATES, REFERENCES, longest), scored(CANDIDATES, REFERENCES, longest, None))

    def test_four_unless_told_and_numbers_for_words(self):
        numbers = {word: i for i, word in enumerate(sorted({w for one in REFERENCES for c in one for w in c} | {"cat"}))}
        candidates = [[numbers[w] for w in c] for c in CANDIDATES]
        references = [[[numbers[w] for w in c] for c in one] for one in REFERENCES]
        found = cider(candidates, references)
        assert_close(found, scored(CANDIDATES, REFERENCES, 4, None))
        assert_equal({type(score) for score in found}, {float})

    def test_of_one_image_all_words_are_common(self):
        assert_close(cider([said("a dot")], [[said("a dot")]]), [0.0])

    def test_refuses_what_doesnt_fit(self):
        with raises(ValueError, 2, 3):
            cider(CANDIDATES[:2], REFERENCES)
        with raises(ValueError, 1):
            cider(CANDIDATES, [REFERENCES[0], [], []])


class TestCiderD:
    def test_the_example_worked_by_hand(self):
        references = [[said("a red dot")], [said("a red bar")]]
        found = cider_d([said("a dot"), ["bar", "bar"]], references, 1)
        assert_close(found, [10 * math.exp(-1 / 72), 5 * math.exp(-1 / 72)])

    @pytest.mark.parametrize("sigma", [1.5, 6.0])
    @pytest.mark.parametrize("longest", [1, 3])
    def test_vector_by_vector(self, longest, sigma):
        assert_close(cider_d(CANDIDATES, REFERENCES, longest, sigma), scored(CANDIDATES, REFERENCES, longest, sigma))

    def test_4_and_6_unless_told(self):
        assert_close(cider_d(CANDIDATES, REFERENCES), scored(CANDIDATES, REFERENCES, 4, 6.0))

    def test_refuses_what_doesnt_fit(self):
        with raises(ValueError, 1, 3):
            cider_d(CANDIDATES[:1], REFERENCES)
        with raises(ValueError, 2):
            cider_d(CANDIDATES, [*REFERENCES[:2], []])


# Scenes: two things in a grid of 2 × 2, each one of three shapes in one of three colours.
COLOURS = torch.tensor([[1, 0.2, 0.2], [0.2, 1, 0.2], [0.2, 0.2, 1]])
SHAPES = torch.tensor([[1, 1, 1, 1, 0, 1, 1, 1, 1], [0, 1, 0, 1, 1, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 1, 0, 1.0]]).view(3, 3, 3)
RELATIONS = {(0, 1): 0, (2, 3): 0, (0, 2): 1, (1, 3): 1}  # the cells of both: left of, above


def scenes(n: int, held_out: bool, generator: torch.Generator) -> tuple[torch.Tensor, list[list[int]]]:
    """Images (n, 3, 8, 8), and captions like "red ring left of blue cross".  Every fourth pair of things is held out."""
    images, captions = 0.05 * torch.randn(n, 3, 8, 8, generator=generator), []
    while len(captions) < n:
        one, other, which, *jitter = torch.randint(72, (7,), generator=generator).tolist()
        one, other = one % 9, other % 9
        if ((one + 2 * other) % 4 == 0) != held_out:
            continue
        cells = list(RELATIONS)[which % 4]
        for thing, cell, dy, dx in zip((one, other), cells, jitter[::2], jitter[1::2], strict=True):
            y, x = 4 * (cell // 2) + dy % 2, 4 * (cell % 2) + dx % 2
            images[len(captions), :, y : y + 3, x : x + 3] += COLOURS[thing // 3][:, None, None] * SHAPES[thing % 3]
        captions.append([3 + one // 3, 6 + one % 3, 9 + RELATIONS[cells], 3 + other // 3, 6 + other % 3])
    return images, captions


@pytest.mark.learning
@pytest.mark.deadline(60)  # four seconds each on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_describes_pairs_that_it_never_saw(self, seed):
        """The blind baseline says the most frequent caption of the new scenes, always."""
        torch.manual_seed(seed)
        images, captions = scenes(3000, False, seeded(seed))
        new, truths = scenes(150, True, seeded(seed + 100))
        inputs, targets = caption_batch(captions, START, END, PAD)
        model = Captioner(ImageEncoder(3, 8, 4, 32, 4, 0, 64), 11, 6, 32, 4, 1, 64)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        schedule, draws = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=250), seeded(seed)
        for _ in range(250):
            rows = torch.randint(3000, (32,), generator=draws)
            loss = caption_loss(model(images[rows], inputs[rows]), targets[rows], PAD)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        found = greedy_captions(model, new, START, END, 6)
        exact = sum(a == b for a, b in zip(found, truths, strict=True)) / len(truths)
        ((frequent, times),) = Counter(map(tuple, truths)).most_common(1)
        score, blind = (
            sum(cider_d(some, [[truth] for truth in truths])) / len(truths) for some in (found, [frequent] * len(truths))
        )
        if exact < 0.6 or exact < times / len(truths) + 0.3 or score < 2 * blind:
            fail(
                f"{exact:.2f} of the new scenes are described exactly, blindly {times / len(truths):.2f}; "
                f"CIDEr-D {score:.1f} against {blind:.1f}.",
                evidence=round(exact, 1),
            )
