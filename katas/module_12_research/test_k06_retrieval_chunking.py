"""Judges k06_retrieval_chunking by reading character by character, by rebuilding the text, and by MiniLM."""

import json
import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64
from katas.module_12_research.k06_retrieval_chunking import (
    Chunk,
    embed,
    fixed_chunks,
    mean_pool,
    rebuild,
    recursive_chunks,
    semantic_chunks,
    sentence_chunks,
    span_recall,
    split_sentences,
    with_overlap,
)

pytestmark = [
    from_scratch("langchain", "langchain_text_splitters", "nltk", "spacy", "transformers", "sentence_transformers"),
    pure(),
]

RAIN = "It rains. We stay in. Why not?"
PARTS = ["A", "ox", "Dr.", "e.g.", "ran", "home.", "Why?!", '"Oh!"', "(so.)", "’t…”", "3.5", "x.y", "No.", "9", "É.", "é", "wow!)]'"]
GAPS = [" ", " ", " ", "  ", "\n", "\n\n", " \n \n", "\t"]
SHORT = {"Dr.", "e.g.", "No."}


def cut(text: str, spans) -> list[Chunk]:
    return [Chunk(text[a:b], a, b) for a, b in spans]


def spans_of(chunks) -> list[tuple[int, int]]:
    return [(chunk.start, chunk.end) for chunk in chunks]


def some_text(rng, n: int) -> str:
    words = [str(rng.choice(PARTS)) + str(rng.choice(GAPS)) for _ in range(n)]
    return str(rng.choice(["", " ", "\n\n"])) + "".join(words) + str(rng.choice(["", "End", "end."]))


def sentences_by_hand(text: str, abbreviations=()) -> list[tuple[int, int]]:
    """Character by character."""
    starts, word, lines, done = [0], "", 0, ""
    for i, c in enumerate(text):
        if c.isspace():
            done, word = word or done, ""
            lines += c == "\n"
            continue
        if done and not word:
            bare = done.rstrip("\"')]”’")
            over = bare != "" and bare[-1] in ".!?…" and done not in abbreviations and not c.islower()
            if over or lines > 1:
                starts.append(i)
        word, lines = word + c, 0
    return [(a, b) for a, b in zip(starts, [*starts[1:], len(text)], strict=True) if a < b]


class TestSplitSentences:
    def test_the_example_worked_by_hand(self):
        assert_equal(split_sentences(RAIN), [(0, 10), (10, 22), (22, 30)])

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Dr. Ox left.", ["Dr. ", "Ox left."]),
            ("He said no. and went.", ["He said no. and went."]),
            ('"Oh!" She ran?! (Why.) He fell…” Yes', ['"Oh!" ', "She ran?! ", "(Why.) ", "He fell…” ", "Yes"]),
            ("Pi is 3.14 or so. 2 more", ["Pi is 3.14 or so. ", "2 more"]),
            ("A title\n\nthen text", ["A title\n\n", "then text"]),
            ("A line\nthen text. \n \nmore", ["A line\nthen text. \n \n", "more"]),
            ("  \n\n It is. Yes.  \n", ["  \n\n It is. ", "Yes.  \n"]),
            ("one", ["one"]),
            ("Why.\tSo.\nOh", ["Why.\t", "So.\n", "Oh"]),
            ('" It', ['" It']),
        ],
    )
    def test_ends_where_a_sentence_ends(self, text, expected):
        assert_equal([text[a:b] for a, b in split_sentences(text)], expected)

    def test_abbreviations_end_nothing(self):
        text = "See Dr. Ox. No. 5 e.g. X (Dr. Y). dr. Z"
        found = [text[a:b] for a, b in split_sentences(text, ["Dr.", "e.g."])]
        assert_equal(found, ["See Dr. Ox. ", "No. ", "5 e.g. X (Dr. ", "Y). dr. ", "Z"])

    def test_a_blank_line_after_an_abbreviation_ends_it(self):
        assert_equal(split_sentences("By Dr.\n\nOx", {"Dr."}), [(0, 8), (8, 10)])

    def test_of_nothing_and_of_white_space(self):
        assert_equal((split_sentences(""), split_sentences(" \n\n ")), ([], [(0, 4)]))

    @pytest.mark.parametrize("abbreviations", [(), SHORT])
    def test_character_by_character(self, rng, abbreviations):
        for _ in range(30):
            text = some_text(rng, int(rng.integers(1, 15)))
            assert_equal(split_sentences(text, abbreviations), sentences_by_hand(text, abbreviations))


class TestFixedChunks:
    def test_the_example_worked_by_hand(self):
        assert_equal(fixed_chunks(RAIN, 12, 4), cut(RAIN, [(0, 12), (8, 20), (16, 28), (24, 30)]))

    @pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 10, 11, 16, 23])
    @pytest.mark.parametrize(("size", "overlap"), [(8, 0), (8, 3), (8, 7), (1, 0)])
    def test_one_after_the_other(self, length, size, overlap):
        text, expected = "".join(chr(97 + i) for i in range(length)), [0]
        while expected[-1] + size < length:
            expected.append(expected[-1] + size - overlap)
        assert_equal(fixed_chunks(text, size, overlap), cut(text, [(a, min(a + size, length)) for a in expected]))

    def test_no_overlap_unless_told(self):
        assert_equal(fixed_chunks("abcdefg", 3), cut("abcdefg", [(0, 3), (3, 6), (6, 7)]))

    def test_of_nothing(self):
        assert_equal(fixed_chunks("", 5, 2), [])

    @pytest.mark.parametrize(("size", "overlap"), [(5, 5), (5, 7), (5, -1), (0, 0)])
    def test_refuses_an_overlap_that_never_moves_on(self, size, overlap):
        with raises(ValueError, size, overlap):
            fixed_chunks(RAIN, size, overlap)


def packed_by_hand(text: str, size: int, overlap: int, abbreviations=()) -> list[tuple[int, int]]:
    spans, found, new = sentences_by_hand(text, abbreviations), [], 0
    length = [b - a for a, b in spans]
    while new < len(spans):
        repeated = max(k for k in range(min(overlap, new) + 1) if k == 0 or sum(length[new - k : new + 1]) <= size)
        last = new
        while last + 1 < len(spans) and sum(length[new - repeated : last + 2]) <= size:
            last += 1
        found.append((spans[new - repeated][0], spans[last][1]))
        new = last + 1
    return found


class TestSentenceChunks:
    def test_the_example_worked_by_hand(self):
        assert_equal(sentence_chunks(RAIN, 22), cut(RAIN, [(0, 22), (22, 30)]))
        assert_equal(sentence_chunks(RAIN, 22, 1), cut(RAIN, [(0, 22), (10, 30)]))

    def test_a_sentence_that_is_too_long_stands_alone(self):
        text = "So. This one is much too long. Yes. No."
        assert_equal(sentence_chunks(text, 8, 1), cut(text, [(0, 4), (4, 31), (31, 39)]))

    def test_fewer_are_repeated_where_the_next_wouldnt_fit(self):
        text = "A b. C d. E f. Long one."
        assert_equal(sentence_chunks(text, 15, 2), cut(text, [(0, 15), (10, 24)]))

    @pytest.mark.parametrize("size", [1, 9, 10, 25, 60])
    @pytest.mark.parametrize("overlap", [0, 1, 3])
    def test_one_after_the_other(self, rng, size, overlap):
        for abbreviations in [(), SHORT] * 4:
            text = some_text(rng, int(rng.integers(1, 25)))
            expected = cut(text, packed_by_hand(text, size, overlap, abbreviations))
            assert_equal(sentence_chunks(text, size, overlap, abbreviations), expected)

    def test_of_nothing(self):
        assert_equal(sentence_chunks("", 5, 2), [])


def recursive_by_hand(text: str, size: int, separators) -> list[str]:
    """A stack in place of a recursion, and cuts found by looking at each place."""
    stack, done = [(text, tuple(separators))], []
    while stack:
        piece, left = stack.pop()
        while left and left[0] not in piece:
            left = left[1:]
        if len(piece) <= size:
            done.append(piece)
        elif not left:
            stack += [(piece[size:], ()), (piece[:size], ())]
        else:
            small, place = [""], 0
            while place < len(piece):
                at = piece.startswith(left[0], place)
                step = left[0] if at else piece[place]
                small[-1] += step
                place += len(step)
                if at and not piece.startswith(left[0], place):
                    small.append("")
            joined = [""]
            for part in small:
                joined[-1:] = [joined[-1] + part] if len(joined[-1] + part) <= size else [joined[-1], part]
            stack += [(part, left[1:]) for part in reversed(joined)]
    return [part for part in done if part]


class TestRecursiveChunks:
    def test_the_example_worked_by_hand(self):
        found = recursive_chunks(RAIN, 10, [". ", " "])
        assert_equal(found, cut(RAIN, [(0, 10), (10, 18), (18, 22), (22, 30)]))

    def test_what_fits_is_left_whole(self):
        assert_equal(recursive_chunks(RAIN, 30), [Chunk(RAIN, 0, 30)])

    def test_parts_of_a_long_piece_arent_joined_with_its_neighbours(self):
        text = "a\n\nbbbb cccc d\n\ne"
        assert_equal([c.text for c in recursive_chunks(text, 6)], ["a\n\n", "bbbb ", "cccc ", "d\n\n", "e"])

    def test_a_run_of_separators_is_one(self):
        text = "aa   bb\n\n\n\n\ncc"
        assert_equal([c.text for c in recursive_chunks(text, 6)], ["aa   ", "bb\n\n\n\n", "\ncc"])
        assert_equal([c.text for c in recursive_chunks(text, 3, [" "])], ["aa ", "  ", "bb\n", "\n\n\n", "\ncc"])

    def test_neighbours_are_joined_before_long_ones_are_cut(self):
        text = "a. b. c.\n\nd\n\nee ff"
        assert_equal([c.text for c in recursive_chunks(text, 13)], ["a. b. c.\n\nd\n\n", "ee ff"])

    @pytest.mark.parametrize("size", [1, 2, 5, 12, 40])
    @pytest.mark.parametrize("separators", [None, ["\n\n", " "], ["aa"], [". ", "\n", "o"], []])
    def test_one_after_the_other(self, rng, size, separators):
        for _ in range(8):
            text = some_text(rng, int(rng.integers(1, 25))) + "aaaaa o"
            used = ["\n\n", "\n", ". ", " "] if separators is None else separators
            found = recursive_chunks(text, size) if separators is None else recursive_chunks(text, size, separators)
            assert_equal([chunk.text for chunk in found], recursive_by_hand(text, size, used))
            assert_equal(found, cut(text, spans_of(found)))

    def test_of_nothing(self):
        assert_equal(recursive_chunks("", 5), [])

    @pytest.mark.parametrize("size", [0, -2])
    @pytest.mark.parametrize("text", ["a b", ""])
    def test_refuses_a_size_below_1(self, text, size):
        with raises(ValueError, size):
            recursive_chunks(text, size)


class TestWithOverlap:
    def test_the_example_worked_by_hand(self):
        chunks = cut(RAIN, [(0, 10), (10, 22), (22, 30)])
        assert_equal(with_overlap(RAIN, chunks, 8), cut(RAIN, [(0, 10), (3, 22), (18, 30)]))

    @pytest.mark.parametrize("overlap", [0, 1, 3, 7, 12, 100])
    def test_begins_with_a_word(self, rng, overlap):
        for _ in range(10):
            text = some_text(rng, 12)
            before = cut(text, [(a, min(a + 9, len(text))) for a in range(0, len(text), 9)])
            expected = []
            for chunk in before:
                words = [i for i in range(len(text)) if not text[i].isspace() and not text[max(i - 1, 0) : i].strip()]
                inside = [i for i in words if chunk.start - overlap <= i < chunk.start]
                expected.append((inside[0] if inside else chunk.start, chunk.end))
            assert_equal(with_overlap(text, before, overlap), cut(text, expected))

    def test_reaches_over_more_than_one_chunk(self):
        text = "one two three"
        assert_equal(with_overlap(text, cut(text, [(0, 3), (3, 8), (8, 13)]), 50), cut(text, [(0, 3), (0, 8), (0, 13)]))

    def test_of_no_chunks(self):
        assert_equal(with_overlap("", [], 3), [])


class TestRebuild:
    def test_gives_back_what_was_cut(self, rng):
        for _ in range(10):
            text = some_text(rng, 20)
            for chunks in (fixed_chunks(text, 9, 4), sentence_chunks(text, 30, 2), recursive_chunks(text, 8)):
                assert_equal(rebuild(chunks), text)
            assert_equal(rebuild(with_overlap(text, recursive_chunks(text, 8), 11)), text)

    def test_in_any_order(self, rng):
        chunks = cut(RAIN, [(0, 12), (8, 20), (16, 28), (16, 18), (9, 11), (24, 30), (8, 20)])
        for _ in range(10):
            assert_equal(rebuild([chunks[i] for i in rng.permutation(7)]), RAIN)

    def test_of_nothing(self):
        assert_equal(rebuild([]), "")

    @pytest.mark.parametrize(
        ("spans", "place"), [([(3, 10), (10, 30)], 0), ([(0, 9), (10, 30)], 9), ([(0, 20), (2, 8), (22, 30)], 20)]
    )
    def test_refuses_a_gap(self, spans, place):
        with raises(ValueError, place):
            rebuild(cut(RAIN, spans))

    def test_chunks_that_touch_are_no_gap(self):
        assert_equal(rebuild(cut(RAIN, [(9, 30), (0, 9)])), RAIN)

    @pytest.mark.parametrize(("text", "start"), [("sxwe", 7), ("x", 7), ("It stains", 0)])
    def test_refuses_a_contradiction(self, text, start):
        with raises(ValueError, start):
            rebuild([*cut(RAIN, [(0, 12), (12, 30)]), Chunk(text, start, start + len(text))])


class TestSpanRecall:
    def test_the_example_worked_by_hand(self):
        bare, spans = cut(RAIN, [(0, 10), (10, 22), (22, 30)]), [(3, 8), (18, 30)]
        overlapping = cut(RAIN, [(0, 10), (3, 22), (18, 30)])
        assert_close([span_recall(bare, spans), span_recall(overlapping, spans)], [0.5, 1.0])

    def test_a_span_needs_one_chunk_that_holds_all_of_it(self):
        chunks = cut(RAIN, [(4, 9), (9, 15), (12, 20)])
        spans = [(4, 9), (3, 9), (4, 10), (9, 15), (12, 20), (10, 16), (14, 19), (20, 21), (0, 30), (4, 20)]
        assert_close(span_recall(chunks, spans), 0.4)

    def test_of_no_chunks(self):
        assert_equal(span_recall([], [(0, 1)]), 0.0)


class TestMeanPool:
    def test_the_example_worked_by_hand(self):
        assert_close(mean_pool(f64([2, 0], [4, 2], [9, 9])[None], torch.tensor([[1, 1, 0]])), f64([3, 1]))

    @pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
    def test_one_by_one(self, kind):
        states = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
        mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [1, 0, 0, 0, 0]])
        rows = [[[x.item() for x in s] for s, m in zip(a, b, strict=True) if m] for a, b in zip(states, mask, strict=True)]
        expected = [[sum(column) / len(row) for column in zip(*row, strict=True)] for row in rows]
        assert_close(mean_pool(states, mask.to(kind)), torch.tensor(expected, dtype=F64))

    def test_what_is_masked_doesnt_count_even_if_it_is_nan(self):
        states = f64([1, 2], [math.nan, math.inf], [3, 5])[None].requires_grad_()
        found = mean_pool(states, torch.tensor([[True, False, True]]))
        (found * f64(1, 3)).sum().backward()
        assert_close(found.detach(), f64([2, 3.5]))
        assert_close(states.grad, f64([0.5, 1.5], [0, 0], [0.5, 1.5])[None])

    def test_a_row_without_tokens_gives_zeros(self):
        states = torch.ones(2, 3, 4, dtype=F64)
        assert_close(mean_pool(states, torch.tensor([[0, 0, 0], [0, 0, 1]])), f64([0] * 4, [1] * 4))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_a_row_without_tokens_in_half_precision(self, dtype):
        states = torch.ones(2, 3, 4, dtype=dtype)
        found = mean_pool(states, torch.tensor([[0, 0, 0], [0, 1, 1]]))
        assert_close(found, torch.tensor([[0.0] * 4, [1.0] * 4], dtype=dtype))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        found = mean_pool(torch.ones(1, 3, 2, dtype=dtype), torch.tensor([[1, 1, 0]]))
        assert_close(found, torch.ones(1, 2, dtype=dtype))

    def test_on_the_gpu(self, gpu):
        states = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=F64).requires_grad_()
        gpu.check(mean_pool, states, torch.tensor([[True, True, False], [False, False, False]]))


class Recorder:
    """A model whose states can be told by hand: (id, place + 1, 1) for each token; padding gives 1000."""

    def __init__(self):
        self.calls, self.encoded = [], []

    def encode(self, text: str) -> list[int]:
        self.encoded.append(text)
        return [ord(c) - 64 for c in text]

    def __call__(self, ids, mask):
        self.calls.append((ids.clone(), mask.clone()))
        places = torch.arange(1.0, ids.shape[1] + 1, dtype=F64).expand(ids.shape)
        states = torch.stack([ids.double(), places, torch.ones_like(places)], -1)
        return states.masked_fill(~mask[..., None], 1000.0)


TEXTS = ["BAD", "C", "FEEDBACK", "AGE", "DC", "FABLED"]


def vectors_by_hand(texts) -> torch.Tensor:
    rows = []
    for text in texts:
        n = len(text)
        row = [sum(ord(c) - 64 for c in text) / n, (n + 1) / 2, 1.0]
        rows.append([x / math.sqrt(sum(y * y for y in row)) for x in row])
    return torch.tensor(rows, dtype=F64)


class TestEmbed:
    @pytest.mark.parametrize("batch_size", [1, 2, 4, 6, 32])
    def test_in_the_order_of_the_texts(self, batch_size):
        model = Recorder()
        assert_close(embed(TEXTS, model.encode, model, batch_size), vectors_by_hand(TEXTS))

    def test_an_order_that_isnt_its_own_inverse(self):
        model = Recorder()
        assert_close(embed(["A", "BCD", "EF"], model.encode, model), vectors_by_hand(["A", "BCD", "EF"]))

    def test_texts_of_like_length_go_together(self):
        model = Recorder()
        embed(TEXTS, model.encode, model, batch_size=2)
        assert_equal([tuple(ids.shape) for ids, _ in model.calls], [(2, 8), (2, 3), (2, 2)])

    def test_the_longest_come_first(self):
        model = Recorder()
        embed(TEXTS[:5], model.encode, model, batch_size=3)
        assert_equal([tuple(ids.shape) for ids, _ in model.calls], [(3, 8), (2, 2)])

    def test_pads_on_the_right_and_says_so(self):
        model = Recorder()
        embed(["CAB", "D"], model.encode, model)
        (ids, mask), = model.calls
        assert_equal((ids, mask), (torch.tensor([[3, 1, 2], [4, 0, 0]]), torch.tensor([[True] * 3, [True, False, False]])))

    def test_encodes_each_text_once(self):
        model = Recorder()
        embed(TEXTS, model.encode, model, batch_size=2)
        assert_equal(sorted(model.encoded), sorted(TEXTS))

    @pytest.mark.parametrize("count", [32, 33])
    def test_batches_of_32_unless_told(self, count):
        model = Recorder()
        embed(["AB"] * count, model.encode, model)
        assert_equal([len(ids) for ids, _ in model.calls], [32] if count == 32 else [32, 1])

    @pytest.mark.parametrize(("limit", "i", "n"), [(5, 2, 8), (7, 2, 8)])
    def test_refuses_a_text_over_the_limit(self, limit, i, n):
        model = Recorder()
        with raises(ValueError, i, n):
            embed(TEXTS[:5], model.encode, model, limit=limit)

    def test_the_limit_itself_is_allowed(self):
        model = Recorder()
        assert_close(embed(TEXTS, model.encode, model, limit=8), vectors_by_hand(TEXTS))
        assert_close(embed(["A" * 256], model.encode, model), vectors_by_hand(["A" * 256]))
        with raises(ValueError, 1, 257):
            embed(["A", "A" * 257], model.encode, model)


def scripted(table):
    """An embedder of few sentences, and what it was asked."""
    asked = []

    def vectors(texts):
        asked.append(list(texts))
        return torch.tensor([table.get(text, (1, 1)) for text in texts], dtype=F64)

    return vectors, asked


FOUR = "One cat. Two cats.\nA dog! Dogs?"
TABLE = {"One cat.": (1, 0), "Two cats.": (0.8, 0.6), "A dog!": (0, 1), "Dogs?": (0, 2)}


class TestSemanticChunks:
    def test_the_example_worked_by_hand(self):
        vectors, asked = scripted(TABLE)
        assert_equal(semantic_chunks(FOUR, vectors, 50), cut(FOUR, [(0, 19), (19, 31)]))
        assert_equal(asked, [["One cat.", "Two cats.", "A dog!", "Dogs?"]])

    @pytest.mark.parametrize(
        ("percentile", "spans"),
        [(0, [(0, 9), (9, 19), (19, 31)]), (49, [(0, 9), (9, 19), (19, 31)]), (51, [(0, 19), (19, 31)]), (99, [(0, 19), (19, 31)]), (100, [(0, 31)])],
    )
    def test_cuts_above_the_percentile(self, percentile, spans):
        vectors, _ = scripted(TABLE)
        assert_equal(semantic_chunks(FOUR, vectors, percentile), cut(FOUR, spans))

    def test_lengths_dont_count(self):
        table = {"A.": (0.1, 0), "B.": (0.1, 0), "C.": (9, 9), "D.": (1, 9)}
        vectors, _ = scripted(table)
        assert_equal(semantic_chunks("A. B. C. D.", vectors, 30), cut("A. B. C. D.", [(0, 6), (6, 9), (9, 11)]))

    def test_90_unless_told(self):
        # Of 21 distances two are large.  The 90th percentile is the third largest, so both cut; the 95th is the second.
        table = {f"S{i}.": (1, 0) if i < 7 else (0, 1) if i < 15 else (-1, 1e-3 * i) for i in range(22)}
        text = " ".join(table)
        vectors, _ = scripted(table)
        assert_equal([c.text[:3] for c in semantic_chunks(text, vectors)], ["S0.", "S7.", "S15"])
        assert_equal(len(semantic_chunks(text, vectors, 95)), 2)

    def test_equal_distances_make_no_cut(self):
        table = {"A.": (1, 0, 0), "B.": (0, 2, 0), "C.": (0, 0, 1), "D.": (1, 0, 0)}
        vectors, _ = scripted(table)
        assert_equal(semantic_chunks("A. B. C. D.", vectors, 20), cut("A. B. C. D.", [(0, 11)]))

    @pytest.mark.parametrize(
        ("window", "expected"),
        [
            (1, ["A. B.", "A. B.\nC.", "B.\nC.  D.", "C.  D."]),
            (2, ["A. B.\nC.", "A. B.\nC.  D.", "A. B.\nC.  D.", "B.\nC.  D."]),
        ],
    )
    def test_embeds_a_sentence_with_its_neighbours(self, window, expected):
        vectors, asked = scripted(dict.fromkeys(expected, (1, 0)) | {expected[3]: (0, 1)})
        text = " A. B.\nC.  D. "
        found = semantic_chunks(text, vectors, 60, window=window)
        assert_equal((len(asked), asked[0][::-1]), (1, expected[::-1]))
        assert_equal(found, cut(text, [(0, 11), (11, 14)]))

    def test_abbreviations_end_nothing(self):
        table = {"Dr. A.": (1, 0), "B.": (0, 1), "C.": (0, 1), "Dr.": (0, 1), "A.": (1, 0)}
        vectors, _ = scripted(table)
        assert_equal(semantic_chunks("Dr. A. B. C.", vectors, 50, 0, {"Dr."}), cut("Dr. A. B. C.", [(0, 7), (7, 12)]))

    @pytest.mark.parametrize(("text", "spans"), [("", []), ("Only one.", [(0, 9)])])
    def test_nothing_to_embed(self, text, spans):
        vectors, asked = scripted({})
        assert_equal((semantic_chunks(text, vectors), asked), (cut(text, spans), []))

    @pytest.mark.parametrize("percentile", [-1, 100.5])
    def test_refuses_a_percentile_that_is_none(self, percentile):
        vectors, _ = scripted(TABLE)
        with raises(ValueError, percentile):
            semantic_chunks(FOUR, vectors, percentile)


@pytest.mark.learning
@pytest.mark.deadline(60)
class TestOnMiniLM:
    TEXT = (
        "Bread dough needs flour and water. Knead the dough until it is smooth. Bake the bread in a hot oven. "
        "The moon circles the Earth in a month. Tides follow the moon. Astronomers measure the moon's orbit."
    )

    @pytest.fixture
    def pair(self, minilm):
        from safetensors.torch import load_file
        from transformers import AutoTokenizer

        from reference.module_05_transformers.k11_bert import Bert, BertConfig

        c = json.loads((minilm / "config.json").read_text())
        names = ["vocab_size", "max_position_embeddings", "type_vocab_size", "hidden_size", "intermediate_size"]
        names += ["num_hidden_layers", "num_attention_heads", "layer_norm_eps"]
        bert = Bert(BertConfig(*(c[name] for name in names)))
        bert.load_hf(load_file(minilm / "model.safetensors"))
        tokenizer = AutoTokenizer.from_pretrained(minilm)

        def model(ids, mask):
            with torch.no_grad():
                return bert(ids, mask=mask)[0]

        return (lambda text: tokenizer(text)["input_ids"]), model

    def test_the_vectors_of_transformers(self, pair, minilm):
        from transformers import AutoTokenizer, BertModel

        texts = self.TEXT.split(". ")
        encoded = AutoTokenizer.from_pretrained(minilm)(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            states = BertModel.from_pretrained(minilm, attn_implementation="eager").eval()(**encoded).last_hidden_state
        mask = encoded["attention_mask"][..., None]
        mean = (states * mask).sum(1) / mask.sum(1)
        # Six layers of float32, summed in another order.
        assert_close(embed(texts, *pair, batch_size=4), mean / mean.norm(dim=1, keepdim=True), atol=1e-4, rtol=1e-4)

    def test_cuts_where_the_subject_changes(self, pair):
        chunks = semantic_chunks(self.TEXT, lambda texts: embed(texts, *pair), 80)
        if [chunk.text[:8] for chunk in chunks] != ["Bread do", "The moon"]:
            fail("The text goes from bread to the moon; the only cut should be there.", evidence=spans_of(chunks))

    def test_finds_the_chunk_that_answers(self, pair):
        chunks = sentence_chunks(self.TEXT, 75)
        vectors = embed([chunk.text for chunk in chunks], *pair)
        question = embed(["How long does the moon take to go around the Earth?"], *pair)
        best = chunks[int((vectors @ question[0]).argmax())]
        assert_equal("circles the Earth in a month" in best.text, True)
