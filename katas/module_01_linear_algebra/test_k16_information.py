"""Judges k16_information against scipy, sums term by term, and every prefix-free code there is."""

import itertools
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_01_linear_algebra.k16_information import (
    cross_entropy,
    entropy,
    expected_length,
    huffman_code,
    js_divergence,
    kl_divergence,
    mutual_information,
    through_channel,
)

pytestmark = [from_scratch("scipy", "sklearn"), pure()]

HALF = np.array([0.5, 0.25, 0.25])
OTHER = np.array([0.25, 0.5, 0.25])
NOISY_BIT = np.array([[0.375, 0.125], [0.125, 0.375]])


def distributions(rng, *shape):
    return rng.dirichlet(np.full(shape[-1], 0.7), shape[:-1])


class TestEntropy:
    def test_the_example_worked_by_hand(self):
        assert_close(entropy(HALF, 2), 1.5)

    @pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 7)])
    def test_matches_scipy_slice_by_slice(self, shape, rng):
        from scipy.stats import entropy as oracle

        p = distributions(rng, *shape)
        assert_close(entropy(p), oracle(p, axis=-1))

    @pytest.mark.parametrize("base", [2, 10, 3.5])
    def test_to_another_base(self, base, rng):
        from scipy.stats import entropy as oracle

        p = distributions(rng, 6)
        assert_close(entropy(p, base), oracle(p, base=base))

    @pytest.mark.parametrize("n", [1, 2, 3, 8])
    def test_nothing_is_added_inside_of_the_logarithm(self, n):
        # Exact but for the last digits: 1e-12 beside a probability would change the twelfth.
        p = np.concatenate([np.full(n, 1 / n), np.zeros(3)])
        assert_close(entropy(p), math.log(n), rtol=1e-14, atol=1e-14)

    def test_zeros_count_for_nothing(self):
        assert_close(entropy(np.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])), np.array([math.log(2), 0.0]))


class TestCrossEntropy:
    def test_the_example_worked_by_hand(self):
        assert_close(cross_entropy(HALF, OTHER) / math.log(2), 1.75)

    @pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 7)])
    def test_matches_the_sum_term_by_term(self, shape, rng):
        p, q = distributions(rng, *shape), distributions(rng, *shape)
        rows = zip(p.reshape(-1, shape[-1]), q.reshape(-1, shape[-1]), strict=True)
        expected = np.array([-sum(a * math.log(b) for a, b in zip(x, y, strict=True)) for x, y in rows])
        assert_close(cross_entropy(p, q), expected.reshape(shape[:-1]) if len(shape) > 1 else expected[0])

    def test_zeros(self):
        p = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
        q = np.array([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        assert_close(cross_entropy(p, q), np.array([1.5 * math.log(2), math.inf, 0.0]))

    @pytest.mark.parametrize("tiny", [1e-12, 1e-300, 5e-324])
    def test_a_tiny_probability_is_no_zero(self, tiny):
        p, q = np.array([0.5, 0.5]), np.array([tiny, 1 - tiny])
        assert_close(cross_entropy(p, q), -0.5 * math.log(tiny))

    def test_a_tiny_share_of_what_is_impossible(self):
        assert_close(cross_entropy(np.array([1e-300, 1.0]), np.array([0.0, 1.0])), math.inf)

    @pytest.mark.parametrize(("p", "q"), [((2, 3), (2, 4)), ((3, 2), (1, 2)), ((1, 2), (3, 2)), ((5,), (4,))])
    def test_rejects_two_shapes(self, p, q):
        with raises(ValueError, p, q):
            cross_entropy(np.full(p, 1 / p[-1]), np.full(q, 1 / q[-1]))


class TestKLDivergence:
    def test_the_example_worked_by_hand(self):
        assert_close(kl_divergence(HALF, OTHER) / math.log(2), 0.25)

    @pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 7)])
    def test_matches_scipy_slice_by_slice(self, shape, rng):
        from scipy.stats import entropy as oracle

        p, q = distributions(rng, *shape), distributions(rng, *shape)
        assert_close(kl_divergence(p, q), oracle(p, q, axis=-1))

    def test_zeros(self):
        p = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
        q = np.array([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        assert_close(kl_divergence(p, q), np.array([0.5 * math.log(2), math.inf, 0.0]))

    @pytest.mark.parametrize("tiny", [1e-12, 1e-300, 5e-324])
    def test_a_tiny_probability_is_no_zero(self, tiny):
        p, q = np.array([0.5, 0.5]), np.array([tiny, 1 - tiny])
        assert_close(kl_divergence(p, q), -0.5 * math.log(tiny) - math.log(2))

    def test_nothing_between_equals(self, rng):
        p = distributions(rng, 3, 5)
        assert_close(kl_divergence(p, p), np.zeros(3))

    @pytest.mark.parametrize(("p", "q"), [((3, 2), (1, 2)), ((1, 2), (4, 2)), ((2, 3), (2, 5))])
    def test_rejects_two_shapes(self, p, q):
        with raises(ValueError, p, q):
            kl_divergence(np.full(p, 1 / p[-1]), np.full(q, 1 / q[-1]))


class TestJSDivergence:
    def test_the_example_worked_by_hand(self):
        # m = [⅜ ⅜ ¼]: ½ (½ log 4/3 + ¼ log 2/3) for p, and as much for q.
        assert_close(js_divergence(HALF, OTHER), 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3))

    @pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 7)])
    def test_matches_scipy_slice_by_slice(self, shape, rng):
        from scipy.spatial.distance import jensenshannon

        p, q = distributions(rng, *shape), distributions(rng, *shape)
        assert_close(js_divergence(p, q), jensenshannon(p, q, axis=-1) ** 2)

    def test_at_most_log_2_where_nothing_is_shared(self):
        p, q = np.array([[0.5, 0.5, 0.0, 0.0]]), np.array([[0.0, 0.0, 0.25, 0.75]])
        assert_close(js_divergence(p, q), np.array([math.log(2)]))

    def test_is_symmetric(self, rng):
        p, q = distributions(rng, 4, 5), distributions(rng, 4, 5)
        assert_close(js_divergence(q, p), js_divergence(p, q))

    @pytest.mark.parametrize(("p", "q"), [((2,), (3,)), ((4, 2), (1, 2)), ((1, 2), (4, 2))])
    def test_rejects_two_shapes(self, p, q):
        with raises(ValueError, p, q):
            js_divergence(np.full(p, 1 / p[-1]), np.full(q, 1 / q[-1]))


class TestMutualInformation:
    def test_the_example_worked_by_hand(self):
        assert_close(mutual_information(NOISY_BIT), math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25))

    @pytest.mark.parametrize("shape", [(2, 3), (5, 4), (1, 6)])
    def test_matches_the_sum_cell_by_cell(self, shape, rng):
        counts = rng.integers(0, 20, shape)
        counts[0, 0] = 3  # the table isn't empty
        joint = counts / counts.sum()
        expected = 0.0
        for x, y in np.ndindex(shape):
            if counts[x, y]:
                expected += joint[x, y] * math.log(joint[x, y] / (joint[x].sum() * joint[:, y].sum()))
        assert_close(mutual_information(joint), expected)

    def test_none_between_independent_variables(self, rng):
        joint = np.outer(distributions(rng, 3), distributions(rng, 5))
        assert_close(mutual_information(joint), 0.0)

    def test_what_never_happens_counts_for_nothing(self):
        joint = np.array([[0.375, 0.0, 0.125], [0.0, 0.0, 0.0], [0.125, 0.0, 0.375]])
        assert_close(mutual_information(joint), math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25))

    def test_all_of_it_between_a_variable_and_itself(self, rng):
        p = distributions(rng, 5)
        assert_close(mutual_information(np.diag(p)), float(-(p * np.log(p)).sum()))


class TestChannel:
    def test_a_noisy_bit_sent_on_with_the_same_noise(self):
        flips = np.array([[0.75, 0.25], [0.25, 0.75]])
        assert_close(through_channel(NOISY_BIT, flips), np.array([[0.3125, 0.1875], [0.1875, 0.3125]]))

    def test_matches_the_sum_over_y(self, rng):
        joint = distributions(rng, 12).reshape(3, 4)
        channel = distributions(rng, 4, 2)
        expected = [[sum(joint[x, y] * channel[y, z] for y in range(4)) for z in range(2)] for x in range(3)]
        assert_close(through_channel(joint, channel), np.array(expected))

    def test_data_processing_adds_no_information(self, rng):
        for _ in range(20):
            joint = distributions(rng, 12).reshape(3, 4)
            before = mutual_information(joint)
            after = mutual_information(through_channel(joint, distributions(rng, 4, 5)))
            assert -1e-9 < after <= before + 1e-9


def shortest(weights):
    """The least expected length of a prefix-free code, over all lengths that Kraft's inequality allows."""
    n = len(weights)
    heaviest_first = sorted(weights, reverse=True)
    every = itertools.combinations_with_replacement(range(1, n), n)
    fits = (ls for ls in every if sum(2.0**-length for length in ls) <= 1)
    return min(sum(w * length for w, length in zip(heaviest_first, ls, strict=True)) for ls in fits) / sum(weights)


def bits(weights, code):
    return sum(w * len(code[s]) for s, w in weights.items()) / sum(weights.values())


class TestHuffman:
    def test_the_example_worked_by_hand(self):
        code = huffman_code({"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1})
        assert_equal({symbol: len(word) for symbol, word in code.items()}, {"a": 1, "b": 2, "c": 3, "d": 3})

    @pytest.mark.parametrize("n", [2, 3, 5, 6])
    def test_no_code_is_shorter(self, n, rng):
        weights = dict(zip("uvwxyz", rng.gamma(0.5, 1.0, n).tolist(), strict=False))
        assert_close(bits(weights, huffman_code(weights)), shortest(list(weights.values())))

    @pytest.mark.parametrize(
        "weights",
        [
            {"a": 15, "b": 7, "c": 6, "d": 6, "e": 5},  # where halving the total from the top (Fano) is too long
            {"a": 3, "b": 3, "c": 2, "d": 2, "e": 2, "f": 2},
            {"a": 2, "b": 13, "c": 3, "d": 21, "e": 5, "f": 1, "g": 8},
            dict.fromkeys("abcdefg", 0.5),
        ],
    )
    def test_no_code_is_shorter_where_halving_or_counting_off_is_not_the_best(self, weights):
        assert_close(bits(weights, huffman_code(weights)), shortest(list(weights.values())))

    @pytest.mark.parametrize(
        "weights",
        [
            {"e": 12, "t": 9, "a": 8, "o": 7.5, "n": 7, "q": 0.1, "z": 0.1, "x": 0.2},
            dict.fromkeys("abcdefgh", 1.0),
            {"a": 1, "b": 1, "c": 2, "d": 4, "e": 8, "f": 16},
            dict.fromkeys("abcde", 2),
        ],
    )
    def test_no_word_begins_another_and_none_is_wasted(self, weights):
        code = huffman_code(weights)
        assert_equal(set(code), set(weights))
        assert_equal(set("".join(code.values())), {"0", "1"})
        clashes = [(a, b) for a, b in itertools.permutations(code.values(), 2) if b.startswith(a)]
        assert_equal(clashes, [])
        assert_close(float(sum(2.0 ** -len(word) for word in code.values())), 1.0)

    def test_between_the_entropy_and_one_bit_more(self, rng):
        p = distributions(rng, 26)
        weights = {chr(97 + i): float(x) + 1e-9 for i, x in enumerate(p)}
        entropy_in_bits = -sum(x * math.log2(x) for x in weights.values())
        assert entropy_in_bits - 1e-6 <= bits(weights, huffman_code(weights)) < entropy_in_bits + 1

    def test_words_longer_than_the_recursion_limit(self):
        # Each weight exceeds the sum of all smaller ones, so the tree is one long branch.
        n = 1100
        code = huffman_code({f"s{i}": 2.01 ** (i - 600) for i in range(n)})
        assert_equal([len(code[f"s{i}"]) for i in range(n)], [n - 1, *range(n - 1, 0, -1)])

    def test_symbols_may_be_any_text(self):
        code = huffman_code({"": 1, "the": 5, "0": 2})
        assert_equal({symbol: len(word) for symbol, word in code.items()}, {"": 2, "the": 1, "0": 2})

    def test_a_lone_symbol_has_a_word(self):
        assert_equal(huffman_code({"a": 3.0}), {"a": "0"})

    def test_rejects_no_symbol_at_all(self):
        with raises(ValueError):
            huffman_code({})


class TestExpectedLength:
    def test_the_example_worked_by_hand(self):
        code = {"a": "0", "b": "10", "c": "110", "d": "111"}
        assert_close(expected_length({"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}, code), 1.9)

    def test_in_another_order_than_the_weights(self):
        assert_close(expected_length({"u": 1, "v": 3}, {"v": "1", "u": "000"}), 1.5)

    def test_weights_need_not_sum_to_one(self):
        assert_close(expected_length({"x": 6, "y": 1}, {"y": "01", "x": "1", "z": "0000"}), 8 / 7)
