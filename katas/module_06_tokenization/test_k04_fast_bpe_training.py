"""Judges k04_fast_bpe_training against counting anew for each merge, and against tokenizers' BpeTrainer."""

import json
import random
import re
from collections import Counter
from itertools import pairwise

import pytest

from dojo.testing import assert_equal, fail, from_scratch, pure, python_steps
from katas.module_06_tokenization.k04_fast_bpe_training import MergeQueue, merge_word, train_bpe

pytestmark = [from_scratch("tokenizers", "transformers", "sentencepiece"), pure()]

HAND = {b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}


def random_counts(letters: bytes, words: int, longest: int) -> dict[bytes, int]:
    return {bytes(random.choices(letters, k=random.randint(0, longest))): random.randint(1, 5) for _ in range(words)}


def replaced(word: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """Brute force: each id as a character, and str.replace."""
    joined = "".join(map(chr, word)).replace("".join(map(chr, pair)), chr(new))
    return [ord(c) for c in joined]


def brute_force(counts: dict[bytes, int], merges: int, min_count: int) -> list[tuple[bytes, bytes]]:
    words, tokens, learned = {word: list(word) for word in counts}, [bytes([byte]) for byte in range(256)], []
    while len(learned) < merges:
        pairs = Counter(pair for word, ids in words.items() for pair in pairwise(ids) for _ in range(counts[word]))
        if not pairs or max(pairs.values()) < min_count:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        words = {word: replaced(ids, best, len(tokens)) for word, ids in words.items()}
        learned.append((tokens[best[0]], tokens[best[1]]))
        tokens.append(b"".join(learned[-1]))
    return learned


def oracle(counts: dict[bytes, int], merges: int) -> list[tuple[bytes, bytes]]:
    """What tokenizers learns, each byte written as the character of the same number."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    trainer = BpeTrainer(
        vocab_size=256 + merges,
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=[chr(byte) for byte in range(256)],
    )
    texts = [word.decode("latin-1") for word, count in counts.items() for _ in range(count)]
    tokenizer.train_from_iterator(texts, trainer)
    learned = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(first.encode("latin-1"), second.encode("latin-1")) for first, second in learned]


class Counted(int):
    """A count that notes how often it is compared."""

    compared = 0

    def __neg__(self):
        return Counted(-int(self))

    def __add__(self, other):
        return Counted(int(self) + int(other))

    __radd__ = __add__

    def __lt__(self, other):
        Counted.compared += 1
        return int(self) < int(other)

    def __gt__(self, other):
        Counted.compared += 1
        return int(self) > int(other)

    def __eq__(self, other):
        Counted.compared += 1
        return int(self) == int(other)

    __hash__ = int.__hash__


class TestMergeWord:
    def test_the_example_worked_by_hand(self):
        word, changes = merge_word([98, 97, 110, 97, 110, 97], (97, 110), 256)
        assert_equal(word, [98, 256, 256, 97])
        expected = {(98, 97): -1, (97, 110): -2, (110, 97): -2, (98, 256): 1, (256, 256): 1, (256, 97): 1}
        assert_equal(dict(changes), expected)

    @pytest.mark.parametrize(
        ("word", "pair", "merged", "expected"),
        [
            ([5, 3], (5, 3), [9], {(5, 3): -1}),
            ([4, 5, 3], (5, 3), [4, 9], {(4, 5): -1, (5, 3): -1, (4, 9): 1}),
            ([5, 3, 4], (5, 3), [9, 4], {(5, 3): -1, (3, 4): -1, (9, 4): 1}),
            ([5, 3, 4, 5, 3], (5, 3), [9, 4, 9], {(5, 3): -2, (3, 4): -1, (4, 5): -1, (9, 4): 1, (4, 9): 1}),
            ([7, 7, 7], (7, 7), [9, 7], {(7, 7): -2, (9, 7): 1}),
            ([7, 7, 7, 7], (7, 7), [9, 9], {(7, 7): -3, (9, 9): 1}),
            ([2, 7, 7, 7, 2], (7, 7), [2, 9, 7, 2], {(2, 7): -1, (7, 7): -2, (2, 9): 1, (9, 7): 1}),
        ],
    )
    def test_small_words(self, word, pair, merged, expected):
        result, changes = merge_word(word, pair, 9)
        assert_equal(result, merged)
        assert_equal(dict(changes), expected)

    @pytest.mark.parametrize("word", [[], [5], [3, 5], [5, 4, 3]])
    def test_a_word_without_the_pair_stays(self, word):
        result, changes = merge_word(word, (5, 3), 256)
        assert_equal(result, word)
        assert_equal(dict(changes), {})

    def test_long_words_need_no_recursion(self):
        result, changes = merge_word([5, 3] * 3000, (5, 3), 9)
        assert_equal(result, [9] * 3000)
        assert_equal(dict(changes), {(5, 3): -3000, (3, 5): -2999, (9, 9): 2999})

    @pytest.mark.parametrize("ids", [[3, 8], [3, 8, 300], list(range(40, 46))])
    def test_matches_counting_before_and_after(self, ids):
        for _ in range(150):
            word, pair, new = random.choices(ids, k=random.randint(0, 15)), tuple(random.choices(ids, k=2)), 1000
            merged = replaced(word, pair, new)
            expected = Counter(pairwise(merged))
            expected.subtract(pairwise(word))
            result, changes = merge_word(word, pair, new)
            assert_equal(result, merged)
            assert_equal(dict(changes), {pair: change for pair, change in expected.items() if change})


class TestMergeQueue:
    def test_the_largest_count_is_best_and_stays(self):
        queue = MergeQueue()
        for pair, count in {(4, 1): 3, (2, 9): 8, (7, 7): 5}.items():
            queue.add(pair, count)
        assert_equal(queue.best(), ((2, 9), 8))
        assert_equal(queue.best(), ((2, 9), 8))

    def test_an_empty_queue_has_none(self):
        assert_equal(MergeQueue().best(), None)

    def test_changes_add_up(self):
        queue = MergeQueue()
        queue.add((1, 2), 5)
        queue.add((3, 4), 4)
        queue.add((3, 4), 2)
        assert_equal(queue.best(), ((3, 4), 6))
        queue.add((3, 4), -2)
        assert_equal(queue.best(), ((1, 2), 5))
        queue.add((1, 2), -4)
        assert_equal(queue.best(), ((3, 4), 4))
        queue.add((1, 2), 4)
        assert_equal(queue.best(), ((1, 2), 5))

    def test_ties_go_to_the_smallest_pair(self):
        queue = MergeQueue()
        for pair in [(3, 1), (2, 9), (2, 300), (10, 0), (2, 10)]:
            queue.add(pair, 6)
        assert_equal(queue.best(), ((2, 9), 6))
        queue.add((2, 9), -1)
        assert_equal(queue.best(), ((2, 10), 6))

    def test_what_is_down_to_0_is_gone(self):
        queue = MergeQueue()
        queue.add((5, 6), 3)
        queue.add((5, 6), -3)
        assert_equal(queue.best(), None)
        queue.add((5, 6), 0)
        assert_equal(queue.best(), None)
        queue.add((5, 6), 1)
        assert_equal(queue.best(), ((5, 6), 1))

    def test_queues_are_independent(self):
        first, second = MergeQueue(), MergeQueue()
        first.add((1, 2), 3)
        assert_equal(second.best(), None)

    def test_matches_a_search_of_all_counts(self):
        for _ in range(20):
            queue, counts = MergeQueue(), Counter()
            for _ in range(60):
                pair = (random.randint(0, 3), random.randint(0, 3))
                change = random.randint(-min(counts[pair], 5), 5)
                counts[pair] += change
                queue.add(pair, change)
                if random.random() < 0.5:
                    pair = min(counts, key=lambda pair: (-counts[pair], pair))
                    assert_equal(queue.best(), (pair, counts[pair]) if counts[pair] else None)

    def test_does_not_look_at_all_pairs(self):
        queue, n = MergeQueue(), 2000
        for i in random.sample(range(n), n):
            queue.add((i, i + 1), Counted(n + i))

        def work() -> None:
            for _ in range(20):
                pair, count = queue.best()
                queue.add(pair, Counted(-int(count)))

        Counted.compared = 0
        steps = python_steps(work)
        if max(steps, Counted.compared) > 20 * n / 2:
            message = f"20 times best() in a queue of {n} pairs took {steps} lines and {Counted.compared} comparisons: use a heap."
            fail(message, evidence=("scan",))


class TestTrainBPE:
    def test_the_example_of_the_paper(self):
        expected = [(b"e", b"s"), (b"es", b"t"), (b"l", b"o"), (b"lo", b"w"), (b"e", b"w")]
        assert_equal(train_bpe(HAND, 5), expected)

    @pytest.mark.parametrize(
        ("counts", "expected"),
        [
            ({b"dx": 3, b"cy": 3}, [(b"c", b"y"), (b"d", b"x")]),
            ({b"cy": 3, b"cx": 3}, [(b"c", b"x"), (b"c", b"y")]),
            ({b"ab": 9, b"abq": 2, b"zy": 2}, [(b"a", b"b"), (b"z", b"y"), (b"ab", b"q")]),
            ({b"zz": 20, b"aa": 9, b"aa!": 2, b"zz!": 2}, [(b"z", b"z"), (b"a", b"a"), (b"zz", b"!"), (b"aa", b"!")]),
        ],
    )
    def test_ties_go_to_the_smallest_ids(self, counts, expected):
        assert_equal(train_bpe(counts, 9), expected)
        assert_equal(train_bpe(dict(reversed(counts.items())), 9), expected)

    @pytest.mark.parametrize("merges", [0, 1, 3])
    def test_learns_so_many_merges(self, merges):
        expected = [(b"e", b"s"), (b"es", b"t"), (b"l", b"o")]
        assert_equal(train_bpe(HAND, merges), expected[:merges])

    def test_counts_change_as_often_as_the_word_occurs(self):
        # ab takes 8 of the 10 places of bc: xy has more then
        counts = {b"abc": 8, b"ab": 4, b"bc": 2, b"xy": 5}
        assert_equal(train_bpe(counts, 3), [(b"a", b"b"), (b"ab", b"c"), (b"x", b"y")])
        assert_equal(train_bpe({b"abc": 8, b"ab": 4, b"bc": 2, b"xy": 9}, 2), [(b"a", b"b"), (b"x", b"y")])

    def test_overlapping_places_count(self):
        assert_equal(train_bpe({b"zzz": 3, b"bc": 5}, 1), [(b"z", b"z")])

    @pytest.mark.parametrize(("min_count", "learned"), [(1, 4), (2, 3), (3, 3), (4, 2), (5, 1), (6, 0)])
    def test_rare_pairs_are_not_merged(self, min_count, learned):
        counts = {b"ab": 5, b"cd": 4, b"ef": 3, b"gh": 1}
        expected = [(b"a", b"b"), (b"c", b"d"), (b"e", b"f"), (b"g", b"h")]
        assert_equal(train_bpe(counts, 9, min_count), expected[:learned])
        assert_equal(train_bpe(counts, 9, min_count=min_count), expected[:learned])

    def test_twice_is_enough_by_default(self):
        assert_equal(train_bpe({b"ab": 2, b"cd": 1}, 9), [(b"a", b"b")])

    def test_ends_where_words_are_single_tokens(self):
        assert_equal(train_bpe({b"abc": 7, b"": 3, b"d": 9}, 99), [(b"a", b"b"), (b"ab", b"c")])
        assert_equal(train_bpe({}, 99), [])

    @pytest.mark.parametrize(("letters", "longest"), [(b"a", 30), (b"ab", 20), (b"ab\xe9", 9), (bytes(range(256)), 5)])
    def test_matches_counting_anew(self, letters, longest):
        for _ in range(20):
            counts = random_counts(letters, random.randint(1, 12), longest)
            min_count = random.randint(1, 4)
            assert_equal(train_bpe(counts, 30, min_count), brute_force(counts, 30, min_count))

    @pytest.mark.parametrize("letters", [4, 40])
    def test_a_merge_costs_nothing_for_other_words(self, letters):
        def cost(others: int) -> int:
            """What 20 merges in 24 words cost, beside so many words in which none of them stands."""
            counts = {bytes([2 * i, 2 * i + 1, 90 + i]): 5000 + i for i in range(24)}
            while len(counts) < 24 + others:
                counts[bytes(random.choices(range(200, 200 + letters), k=7))] = 1
            return python_steps(train_bpe, counts, 22) - python_steps(train_bpe, counts, 2)

        few, many = cost(50), cost(800)
        if many > 2 * few:
            message = f"20 merges took {few} lines beside 50 other words, but {many} beside 800: visit only the words of the pair."
            fail(message, evidence=("grows with words", letters))

    def test_matches_tokenizers_on_a_play(self, hamlet):
        counts = Counter(word.encode() for word in re.findall(r" ?\w+|\W", hamlet[:60_000]))
        assert_equal(train_bpe(counts, 800), oracle(counts, 800))
