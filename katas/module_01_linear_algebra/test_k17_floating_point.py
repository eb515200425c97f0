"""Judges k17_floating_point against numpy's own floats, math.fsum, scipy and scikit-learn."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_01_linear_algebra.k17_floating_point import (
    add_wrapping,
    decode_float32,
    encode_float32,
    from_twos_complement,
    kahan_sum,
    logsumexp,
    min_max_scale,
    robust_scale,
    round_to_bfloat16,
    to_twos_complement,
    ulp,
    z_score,
)

pytestmark = [
    from_scratch(
        "struct", "numpy.float32", "numpy.spacing", "numpy.nextafter", "math.ulp", "math.nextafter",
        "math.fsum", "builtins.sum", "numpy.sum", "numpy.logaddexp", "scipy", "sklearn",
    ),
    pure(),
]  # fmt: skip


def as_float32(bits):
    """What numpy makes of patterns of 32 bits."""
    return np.asarray(bits, dtype=np.uint32).view(np.float32)


def pattern(x) -> int:
    """numpy's pattern of the float32 nearest to x."""
    with np.errstate(over="ignore", under="ignore"):
        return int(np.float32(x).view(np.uint32))


class TestDecode:
    def test_the_example_worked_by_hand(self):
        assert_close(decode_float32(0xBE200000), -0.15625)

    def test_matches_numpy_on_random_patterns(self, rng):
        bits = rng.integers(0, 255 << 23, 300) | rng.integers(0, 2, 300) << 31
        got = np.array([decode_float32(int(b)) for b in bits])
        assert_close(got, as_float32(bits).astype(np.float64), rtol=0, atol=0)  # exact: float64 holds every float32

    @pytest.mark.parametrize(
        "bits", [1, 2, 0x123456, 0x7FFFFF, 0x800000, 0x800001, 0x80000001, 0x807FFFFF, 0x7F7FFFFF, 0xFF7FFFFF]
    )
    def test_subnormal_numbers_and_the_ends_of_the_range(self, bits):
        # In units of the smallest float32, as these numbers are far below any tolerance.
        assert_close(math.ldexp(decode_float32(bits), 149), math.ldexp(float(as_float32(bits)), 149))

    def test_zeros_keep_their_sign(self):
        assert_close(math.copysign(1.0, decode_float32(0x00000000)), 1.0)
        assert_close(math.copysign(1.0, decode_float32(0x80000000)), -1.0)
        assert_close(decode_float32(0x80000000), 0.0)

    @pytest.mark.parametrize("bits", [0x7F800000, 0xFF800000, 0x7F800001, 0x7FC00000, 0xFFFFFFFF, 0xFF800001])
    def test_infinity_and_nan(self, bits):
        assert_close(decode_float32(bits), float(as_float32(bits)))


class TestEncode:
    def test_the_example_worked_by_hand(self):
        assert_equal(encode_float32(-0.15625), 0xBE200000)

    def test_rounds_to_the_nearest_as_numpy_does(self, rng):
        x = rng.normal(size=200) * 10.0 ** rng.integers(-44, 38, 200)
        assert_equal([encode_float32(float(v)) for v in x], [pattern(v) for v in x])

    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize(
        "x",
        [
            1 + 2**-24, 1 + 3 * 2**-24, 1 + 5 * 2**-24, 16777217.0, 16777219.0, 2 - 2**-24,
            2.0**-149, 2.0**-150, 3 * 2.0**-150, 5 * 2.0**-150, 2.0**-126, 2.0**-126 - 2.0**-150, 5e-324,
        ],
    )  # fmt: skip
    def test_halfway_goes_to_the_even_one(self, sign, x):
        assert_equal(encode_float32(sign * x), pattern(sign * x))

    @pytest.mark.parametrize("x", [2.0**128 - 2.0**103, 2.0**128, 1e300, math.inf, -math.inf, -1e39])
    def test_past_the_largest_is_infinite(self, x):
        assert_equal(encode_float32(x), 0x7F800000 if x > 0 else 0xFF800000)

    def test_just_below_is_the_largest(self):
        assert_equal(encode_float32(math.nextafter(2.0**128 - 2.0**103, 0)), 0x7F7FFFFF)
        assert_equal(encode_float32(-(2.0**128 - 2.0**104)), 0xFF7FFFFF)

    def test_zeros_and_nan(self):
        assert_equal(encode_float32(0.0), 0)
        assert_equal(encode_float32(-0.0), 0x80000000)
        assert_equal(encode_float32(math.nan), 0x7FC00000)
        assert_equal(encode_float32(-math.nan), 0x7FC00000)

    def test_decoding_gives_the_number_back(self, rng):
        bits = [int(b) for b in rng.integers(0, 255 << 23, 100)]
        assert_equal([encode_float32(float(as_float32(b))) for b in bits], bits)


class TestUlp:
    def test_the_examples_worked_by_hand(self):
        assert_close(ulp(1.0) * 2**52, 1.0)
        assert_close(ulp(1000.0) * 2**43, 1.0)

    @pytest.mark.parametrize("x", [0.1, -0.1, 0.5, math.nextafter(1, 0), math.nextafter(4, 0), -math.nextafter(2.0**52, 0), 3.0, -4.0, 12345.678, 1e-300, 1.7e308])
    def test_matches_the_gap_to_the_next_float(self, x):
        # As a ratio: the gaps themselves are below any tolerance.
        assert_close(ulp(x) / float(np.spacing(abs(x))), 1.0)

    @pytest.mark.parametrize("x", [0.0, -0.0, 5e-324, 1e-310, 2.0**-1022, 2.0**-1021])
    def test_near_zero_it_stays_at_the_smallest_float(self, x):
        assert_close(ulp(x) / 5e-324, float(np.spacing(abs(x))) / 5e-324)


class TestBfloat16:
    def test_the_example_worked_by_hand(self):
        assert_close(round_to_bfloat16(np.array([0x3F808000], np.uint32)), np.array([0x3F80], np.uint16))

    def test_the_nearest_of_two_neighbours(self, rng):
        bits = rng.integers(0, 0x7F7F0000, (20, 15)).astype(np.uint32)
        below = bits >> 16
        down = as_float32(bits).astype(np.float64) - as_float32(below << 16)
        up = as_float32(below + 1 << 16).astype(np.float64) - as_float32(bits)
        expected = np.where((up < down) | ((up == down) & (below % 2 == 1)), below + 1, below)
        assert_close(round_to_bfloat16(bits), expected.astype(np.uint16))

    def test_negative_numbers_and_ties(self):
        bits = np.array([0xBF808000, 0x3F818000, 0xBF818000, 0x3F808001, 0x3F807FFF, 0x3F81C000, 0x00008000], np.uint32)
        expected = np.array([0xBF80, 0x3F82, 0xBF82, 0x3F81, 0x3F80, 0x3F82, 0x0000], np.uint16)
        assert_close(round_to_bfloat16(bits), expected)

    def test_carries_into_the_exponent_and_into_infinity(self):
        bits = np.array([0x3FFFFFFF, 0x7F7FFFFF, 0xFF7F8000, 0x7F7F7FFF, 0x7F800000, 0xFF800000], np.uint32)
        expected = np.array([0x4000, 0x7F80, 0xFF80, 0x7F7F, 0x7F80, 0xFF80], np.uint16)
        assert_close(round_to_bfloat16(bits), expected)

    def test_every_nan_is_the_same(self):
        bits = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000], np.uint32)
        assert_close(round_to_bfloat16(bits), np.full(5, 0x7FC0, np.uint16))

    def test_gives_uint16(self):
        assert_equal(str(round_to_bfloat16(np.zeros((2, 3), np.uint32)).dtype), "uint16")


WIDTHS = [(8, np.int8), (16, np.int16), (32, np.int32), (64, np.int64)]


def some_integers(width, rng):
    """The ends of the range, the numbers around 0, and some more."""
    return [-(2 ** (width - 1)), -1, 0, 1, 2 ** (width - 1) - 1, *map(int, rng.integers(-128, 128, 20))]


class TestToTwosComplement:
    def test_the_example_worked_by_hand(self):
        assert_equal(to_twos_complement(-3, 4), 13)

    @pytest.mark.parametrize(("width", "dtype"), WIDTHS)
    def test_matches_numpys_integers(self, width, dtype, rng):
        numbers = some_integers(width, rng)
        patterns = [int(np.array(n, dtype).view(f"u{width // 8}")) for n in numbers]
        assert_equal([to_twos_complement(n, width) for n in numbers], patterns)

    def test_a_single_bit(self):
        assert_equal([to_twos_complement(n, 1) for n in (0, -1)], [0, 1])

    @pytest.mark.parametrize(("n", "width"), [(128, 8), (-129, 8), (4, 3), (-5, 3), (1000, 8), (1, 1), (-77, 5)])
    def test_what_does_not_fit_is_an_error(self, n, width):
        with raises(OverflowError, n, -(2 ** (width - 1)), 2 ** (width - 1) - 1):
            to_twos_complement(n, width)


class TestFromTwosComplement:
    def test_the_example_worked_by_hand(self):
        assert_equal(from_twos_complement(13, 4), -3)

    @pytest.mark.parametrize(("width", "dtype"), WIDTHS)
    def test_matches_numpys_integers(self, width, dtype, rng):
        numbers = some_integers(width, rng)
        patterns = [int(np.array(n, dtype).view(f"u{width // 8}")) for n in numbers]
        assert_equal([from_twos_complement(p, width) for p in patterns], numbers)

    @pytest.mark.parametrize(("width", "numbers"), [(1, [0, -1]), (3, [0, 1, 2, 3, -4, -3, -2, -1])])
    def test_every_pattern(self, width, numbers):
        assert_equal([from_twos_complement(p, width) for p in range(2**width)], numbers)


class TestAddWrapping:
    @pytest.mark.parametrize(
        ("a", "b", "width", "expected"),
        [
            (127, 1, 8, -128), (-128, -1, 8, 127), (100, 27, 8, 127), (-100, -100, 8, 56), (5, -7, 4, -2), (7, 7, 4, -2),
            (1000, 1000, 8, -48), (2**70, 3, 16, 3), (0, 1, 1, -1),
        ],
    )  # fmt: skip
    def test_sums_wrap_around(self, a, b, width, expected):
        assert_equal(add_wrapping(a, b, width), expected)


class TestKahanSum:
    def test_many_small_ones_beside_a_large_one(self):
        values = [1.0] + [1e-16] * 10_000
        # The plain sum gives exactly 1.
        assert_close(kahan_sum(values) - 1.0, 1e-12, rtol=1e-3, atol=0)  # within an ulp of 1, which is 2.2e-16

    @pytest.mark.parametrize("n", [1, 2, 1000])
    def test_right_to_two_ulps(self, n, rng):
        values = rng.random(n) * 10.0 ** rng.integers(-8, 8, n)
        exact = math.fsum(values)
        assert_close(kahan_sum(list(values)), exact, rtol=0, atol=2 * math.ulp(exact))  # as the stub promises

    def test_a_tenth_ten_million_times_less_often(self):
        assert_close(kahan_sum([0.1] * 30_000), 3000.0, rtol=0, atol=2 * math.ulp(3000.0))  # as the stub promises

    def test_of_both_signs_from_a_generator(self):
        assert_close(kahan_sum(x for x in [2.5, -0.75, 1.5]), 3.25)

    def test_of_nothing(self):
        assert_close(kahan_sum([]), 0.0)

    def test_one_sum_knows_nothing_of_the_one_before(self):
        assert_close([kahan_sum([1.0, 1e-16, 1e-16]), kahan_sum([0.5])], [1.0, 0.5])


class TestLogSumExp:
    def test_the_example_worked_by_hand(self):
        assert_close(logsumexp(np.array([1000.0, 1000.0])), 1000 + math.log(2))

    @pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
    def test_matches_scipy_along_any_axis(self, axis, rng):
        from scipy.special import logsumexp as oracle

        x = 5 * rng.normal(size=(3, 4, 5))
        assert_close(logsumexp(x, axis), oracle(x, axis=axis))

    @pytest.mark.parametrize(("shape", "axis"), [((1, 4, 1), 1), ((2, 1, 5), 2), ((3, 1), 1)])
    def test_only_that_axis_is_gone(self, shape, axis, rng):
        from scipy.special import logsumexp as oracle

        x = rng.normal(size=shape)
        assert_close(logsumexp(x, axis), oracle(x, axis=axis))

    def test_the_last_axis_unless_told_otherwise(self, rng):
        from scipy.special import logsumexp as oracle

        x = rng.normal(size=(3, 4))
        assert_close(logsumexp(x), oracle(x, axis=1))

    def test_neither_overflows_nor_underflows(self):
        x = np.array([[1e4, 1e4 - 1, 0.0], [-1e4, -1e4 - 2, -1e5]])
        expected = np.array([1e4 + math.log1p(math.exp(-1)), -1e4 + math.log1p(math.exp(-2))])
        assert_close(logsumexp(x), expected)

    def test_infinities(self):
        inf = math.inf
        x = np.array([[-inf, -inf], [-inf, 2.5], [inf, 3.0], [inf, -inf], [inf, inf]])
        assert_close(logsumexp(x), np.array([-inf, 2.5, inf, inf, inf]))


@pytest.fixture
def table(rng):
    """Columns of different places and widths, with an outlier, and one that is constant."""
    x = rng.normal([5, -300, 0.25], [2, 50, 0.001], (11, 3))
    x[3, 1] = 4e4
    return np.column_stack([x, np.full(11, 3.0)])


# Of one of these lengths at least the mean isn't the value, however it is summed.
LENGTHS = [10, 11, 13, 19]


class TestMinMaxScale:
    def test_matches_scikit_learn(self, table):
        from sklearn.preprocessing import minmax_scale

        assert_close(min_max_scale(table), minmax_scale(table))

    @pytest.mark.parametrize("n", [1, 4, 6])
    def test_a_constant_column_is_0(self, n):
        x = np.column_stack([np.full(n, 0.3), np.arange(n) * 1.0])
        assert_close(min_max_scale(x)[:, 0], np.zeros(n))

    @pytest.mark.parametrize("n", [4, 6])
    def test_other_numbers_of_rows(self, n, rng):
        x = rng.gamma(2.0, 3.0, (n, 2))
        assert_close(min_max_scale(x), (x - x.min(0)) / (x.max(0) - x.min(0)))

    def test_hardly_varying_is_not_constant(self):
        assert_close(min_max_scale(np.array([[1.0], [1 + 2.0**-52], [1.0]])), np.array([[0.0], [1.0], [0.0]]))

    def test_small_integers_do_not_overflow(self):
        assert_close(min_max_scale(np.array([[-128], [-1], [127]], np.int8)), np.array([[0.0], [127 / 255], [1.0]]))


class TestZScore:
    def test_matches_scikit_learn(self, table):
        from sklearn.preprocessing import scale

        assert_close(z_score(table), scale(table))

    @pytest.mark.parametrize("value", [0.3, -0.7, 1 / 3])
    @pytest.mark.parametrize("n", LENGTHS)
    def test_a_constant_column_is_0_though_its_mean_is_rounded(self, value, n):
        x = np.column_stack([np.full(n, value), np.arange(n) * 1.0])
        assert_close(z_score(x)[:, 0], np.zeros(n))

    @pytest.mark.parametrize("n", [4, 6])
    def test_other_numbers_of_rows(self, n, rng):
        x = rng.gamma(2.0, 3.0, (n, 2))
        assert_close(z_score(x), (x - x.mean(0)) / x.std(0))

    def test_a_large_mean_costs_no_digits(self):
        x = np.array([[1e8 + 1], [1e8 + 2], [1e8 + 3]])
        assert_close(z_score(x), np.sqrt(1.5) * np.array([[-1.0], [0.0], [1.0]]))

    def test_small_integers_do_not_overflow(self):
        assert_close(z_score(np.array([[-128], [-128], [127], [127]], np.int8)), np.array([[-1.0], [-1.0], [1.0], [1.0]]))


class TestRobustScale:
    def test_the_example_worked_by_hand(self):
        x = np.array([[1.0], [2.0], [3.0], [4.0], [100.0]])
        assert_close(robust_scale(x), np.array([[-1.0], [-0.5], [0.0], [0.5], [48.5]]))

    def test_matches_scikit_learn(self, table):
        from sklearn.preprocessing import robust_scale as oracle

        assert_close(robust_scale(table), oracle(table))

    def test_where_the_quartiles_are_equal(self):
        x = np.array([[7.0, 1.0], [7.0, 2.0], [7.0, 4.0], [7.0, 8.0], [9.5, 16.0]])
        assert_close(robust_scale(x)[:, 0], np.array([0.0, 0.0, 0.0, 0.0, 2.5]))

    @pytest.mark.parametrize("n", [4, 6])
    def test_other_numbers_of_rows(self, n, rng):
        x = rng.gamma(2.0, 3.0, (n, 2))
        low, median, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
        assert_close(robust_scale(x), (x - median) / (high - low))

    def test_small_integers_do_not_overflow(self):
        # Quartiles -128 and 127.
        x = np.array([[-128], [-128], [0], [127], [127]], np.int8)
        assert_close(robust_scale(x), x / 255)
