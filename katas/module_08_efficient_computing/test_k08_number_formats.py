"""Judges k08_number_formats against torch's dtypes over every code, and small formats against brute force."""

import itertools

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps
from katas.module_08_efficient_computing.k08_number_formats import (
    BF16,
    E4M3,
    E5M2,
    FP16,
    Format,
    decode,
    encode,
    relative_error,
    spacing,
    stochastic_round,
)

pytestmark = [from_scratch("torch", "ml_dtypes", "struct", "numpy.float16", "numpy.half"), pure()]

names = pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
SMALLS = [(2, 3), (3, 4), (4, 4), (4, 4, False), (3, 2, False), (2, 10), (6, 2, False)]
SMALLS += [(2, 5), (5, 3), (7, 3, False), (7, 8), (7, 8, False), (8, 2), (8, 5)]
smalls = pytest.mark.parametrize("fields", SMALLS)
shapes = pytest.mark.parametrize("shape", [(), (2,), (2, 3)])


def of(name):
    """The learner's format for a dtype of torch."""
    return {"float16": FP16, "bfloat16": BF16, "float8_e4m3fn": E4M3, "float8_e5m2": E5M2}[name]


def torch_decode(codes, name):
    """What torch takes the codes for, as float32."""
    import torch

    return torch.from_numpy(codes.copy()).view(getattr(torch, name)).float().numpy()


def torch_encode(values, name):
    """The codes of torch's cast of float32 values."""
    import torch

    unsigned = torch.uint8 if name.startswith("float8") else torch.uint16
    return torch.from_numpy(values.copy()).to(getattr(torch, name)).view(unsigned).numpy()


def every_code(name):
    return np.arange(256).astype(np.uint8) if name.startswith("float8") else np.arange(65536).astype(np.uint16)


def positives(name):
    """Every finite value of a torch format from 0 on, rising, as float32."""
    values = torch_decode(every_code(name)[: len(every_code(name)) // 2], name)
    return values[np.isfinite(values)]


def brute_force(exponent_bits, mantissa_bits, has_infinity=True):
    """The value of every sign-less code of a format, one at a time from the definition."""
    table = []
    for e, m in itertools.product(range(2**exponent_bits), range(2**mantissa_bits)):
        full = e == 2**exponent_bits - 1
        if full and (m == 2**mantissa_bits - 1 if not has_infinity else m > 0):
            table.append(float("nan"))
        elif full and has_infinity:
            table.append(float("inf"))
        else:
            part = m / 2**mantissa_bits
            bias = 2 ** (exponent_bits - 1) - 1
            table.append((1 + part) * 2.0 ** (e - bias) if e else part * 2.0 ** (1 - bias))
    return np.array(table, np.float32)


def code_dtype(table):
    """The dtype of codes whose sign-less ones are as many as `table` is long."""
    return np.uint8 if len(table) <= 128 else np.uint16


def check_codes(codes, expected, is_nan):
    """The codes are `expected`, but where the value is NaN any code may stand that is one."""
    assert_close(np.where(is_nan, expected, codes).astype(codes.dtype), expected)


class TestFormat:
    @names
    def test_limits_are_those_of_torch(self, name):
        import torch

        info, form = torch.finfo(getattr(torch, name)), of(name)
        assert_close(form.epsilon, info.eps, rtol=0, atol=0)
        assert_close(form.smallest_normal, info.smallest_normal, rtol=0, atol=0)
        assert_close(form.largest, info.max, rtol=0, atol=0)

    @smalls
    def test_limits_of_other_formats(self, fields):
        form, table = Format(*fields), brute_force(*fields)
        one = np.flatnonzero(table == 1)[0]
        assert_equal(form.bias, 2 ** (fields[0] - 1) - 1)
        assert_equal(form.epsilon, float(table[one + 1] - 1))
        assert_equal(form.smallest_normal, float(table[2 ** fields[1]]))
        assert_equal(form.largest, float(table[np.isfinite(table)].max()))

    def test_biases(self):
        assert_equal([form.bias for form in (FP16, BF16, E4M3, E5M2)], [15, 127, 7, 15])


class TestDecode:
    def test_the_example_worked_by_hand(self):
        assert_close(decode(np.array([0x1D], np.uint8), E4M3), np.array([0.1015625], np.float32))
        assert_close(decode(np.array([0x2E], np.uint8), E5M2), np.array([0.09375], np.float32))

    def test_the_values_of_the_drawing(self):
        values = np.array([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, np.inf], np.float32)
        assert_close(decode(np.arange(13, dtype=np.uint8), Format(2, 2)), values)

    @names
    def test_every_code_is_torchs(self, name):
        codes = every_code(name)
        values, expected = decode(codes, of(name)), torch_decode(codes, name)
        # Tolerance 0: a subnormal is below any other.
        assert_close(values, expected, rtol=0, atol=0)
        known = ~np.isnan(expected)
        assert_close(np.signbit(values)[known], np.signbit(expected)[known])

    @smalls
    def test_other_formats_as_defined(self, fields):
        table = brute_force(*fields)
        codes = np.arange(2 * len(table)).astype(code_dtype(table))
        assert_close(decode(codes, Format(*fields)), np.concatenate([table, -table]), rtol=0, atol=0)

    @shapes
    def test_keeps_the_shape(self, rng, shape):
        codes = rng.integers(0, 0x7000, shape).astype(np.uint16)
        assert_close(decode(codes, FP16), torch_decode(codes.reshape(-1), "float16").reshape(shape), rtol=0, atol=0)


class TestEncode:
    @pytest.mark.parametrize(("name", "code"), [("float8_e4m3fn", 0x1D), ("float8_e5m2", 0x2E), ("float16", 0x2E66), ("bfloat16", 0x3DCD)])
    def test_the_example_worked_by_hand(self, name, code):
        dtype = np.uint8 if name.startswith("float8") else np.uint16
        assert_close(encode(np.array([0.1], np.float32), of(name)), np.array([code], dtype))

    @names
    def test_every_value_gets_its_code_back(self, name):
        values = torch_decode(every_code(name), name)
        check_codes(encode(values, of(name)), every_code(name), np.isnan(values))

    @names
    def test_ties_go_to_the_even_code(self, name):
        values = positives(name)
        middles = values[:-1] + np.diff(values) / 2
        ties = np.concatenate([middles, -middles])
        assert_close(encode(ties, of(name)), torch_encode(ties, name))

    @names
    @pytest.mark.parametrize("toward", ["above", "below"])
    def test_beside_a_tie_the_nearer_wins(self, name, toward):
        values = positives(name)
        middles = values[:-1] + np.diff(values) / 2
        beside = np.nextafter(middles, np.float32(np.inf if toward == "above" else 0))
        beside = np.concatenate([beside, -beside])
        assert_close(encode(beside, of(name)), torch_encode(beside, name))

    @names
    def test_around_and_beyond_the_largest(self, name):
        values = positives(name)
        half = (values[-1] - values[-2]) / 2
        edge = values[-1] + half * np.array([0.5, 1, 1.25, 1.75], np.float32)
        below = np.nextafter(edge[1], np.float32(0))
        beyond = np.array([1.5 * 2.0**127, np.finfo(np.float32).max, np.inf], np.float32)
        values = np.concatenate([edge, [below, values[-1]], beyond]).astype(np.float32)
        values = np.concatenate([values, -values])
        assert_close(encode(values, of(name)), torch_encode(values, name))

    @names
    def test_any_bits_of_float32(self, rng, name):
        values = rng.integers(0, 2**32, 50_000, dtype=np.uint32).view(np.float32)
        check_codes(encode(values, of(name)), torch_encode(values, name), np.isnan(values))

    @names
    def test_common_values(self, rng, name):
        values = (rng.standard_normal(20_000) * 2.0 ** rng.integers(-26, 10, 20_000)).astype(np.float32)
        assert_close(encode(values, of(name)), torch_encode(values, name))

    @names
    def test_nan_stays_nan(self, name):
        nans = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001, 0x7FFFFFFF], np.uint32).view(np.float32)
        assert_close(np.isnan(torch_decode(encode(nans, of(name)), name)), np.ones(5, bool))

    @names
    def test_keeps_the_sign_of_zero(self, name):
        values = np.array([0.0, -0.0, 1e-45, -1e-45], np.float32)
        assert_close(encode(values, of(name)), torch_encode(values, name))

    @smalls
    def test_other_formats_find_the_nearest(self, rng, fields):
        table = brute_force(*fields)
        finite = table[np.isfinite(table)].astype(np.float64)
        middles = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
        beside = [np.nextafter(middles, np.float32(end)) for end in (0, np.inf)]
        values = np.concatenate([finite, middles, *beside, rng.uniform(0, finite[-1], 200)]).astype(np.float32)
        low = np.searchsorted(finite, values, side="right") - 1
        high = np.minimum(low + 1, len(finite) - 1)
        below, above = values - finite[low], finite[high] - values
        # The nearer of the two; at a tie the even code.
        expected = np.where((above < below) | ((above == below) & (high % 2 == 0)), high, low)
        dtype = code_dtype(table)
        assert_close(encode(values, Format(*fields)), expected.astype(dtype))
        assert_close(encode(-values, Format(*fields)), (expected + len(table)).astype(dtype))

    @pytest.mark.parametrize(
        ("fields", "dtype"),
        [((5, 2), "uint8"), ((2, 5), "uint8"), ((4, 4, False), "uint16"), ((6, 2), "uint16"), ((8, 7), "uint16")],
    )
    def test_codes_take_one_byte_up_to_8_bits_else_two(self, rng, fields, dtype):
        codes = encode(rng.standard_normal(5).astype(np.float32), Format(*fields))
        assert_equal(str(codes.dtype), dtype)

    @smalls
    def test_other_formats_overflow(self, fields):
        table = brute_force(*fields)
        finite = table[np.isfinite(table)]
        half = (finite[-1] - finite[-2]) / 2
        edge = finite[-1] + half
        kept = [finite[-1] + half / 2, np.nextafter(edge, np.float32(0))]
        values = np.array([*kept, edge, edge + half / 2, np.finfo(np.float32).max, np.inf], np.float32)
        beyond = len(finite) if Format(*fields).has_infinity else len(finite) - 1
        expected = np.array([len(finite) - 1] * 2 + [beyond] * 4)
        assert_close(encode(values, Format(*fields)), expected.astype(code_dtype(table)))
        assert_close(encode(-values, Format(*fields)), (expected + len(table)).astype(code_dtype(table)))

    @smalls
    def test_nan_stays_nan_in_other_formats(self, fields):
        table = brute_force(*fields)
        codes = encode(np.array([np.nan, -np.nan, 0], np.float32), Format(*fields))
        if codes.max() >= 2 * len(table):
            fail("encode() gives NaN a code of more bits than the format has")
        assert_close(np.isnan(np.concatenate([table, table])[codes]), np.array([True, True, False]))

    @shapes
    def test_keeps_the_shape(self, rng, shape):
        values = rng.standard_normal(shape).astype(np.float32).reshape(shape)
        assert_close(encode(values, BF16), torch_encode(values.reshape(-1), "bfloat16").reshape(shape))


class TestSpacing:
    @names
    def test_is_the_gap_to_the_next_value(self, name):
        values = positives(name)
        gaps = np.append(np.diff(values), values[-1] - values[-2])
        assert_close(spacing(values, of(name)), gaps, rtol=0, atol=0)
        assert_close(spacing(-values, of(name)), gaps, rtol=0, atol=0)

    @names
    def test_between_two_values_is_their_gap(self, name):
        values = positives(name)
        gaps = np.diff(values)
        assert_close(spacing(values[:-1] + gaps / 2, of(name)), gaps, rtol=0, atol=0)
        assert_close(spacing(-np.nextafter(values[1:], np.float32(0)), of(name)), gaps, rtol=0, atol=0)

    @smalls
    def test_other_formats_have_the_gaps_of_their_values(self, fields):
        table = brute_force(*fields)
        values = table[np.isfinite(table)]
        gaps = np.diff(values)
        assert_close(spacing(values, Format(*fields)), np.append(gaps, gaps[-1]), rtol=0, atol=0)
        assert_close(spacing(-values[:-1] - gaps / 2, Format(*fields)), gaps, rtol=0, atol=0)

    @shapes
    def test_keeps_the_shape(self, shape):
        assert_close(spacing(np.full(shape, 3, np.float32), E5M2), np.full(shape, 0.5, np.float32))


class TestStochasticRound:
    def test_the_example_worked_by_hand(self, rng):
        values = stochastic_round(np.full(40_000, 0.1, np.float32), E4M3, rng)
        assert_close(np.unique(values), np.array([0.09375, 0.1015625], np.float32))
        # The share has a deviation of √(0.8 · 0.2 / 40 000) = 0.002; seven of them.
        assert_close((values > 0.1).mean(), 0.8, rtol=0, atol=0.014)

    @names
    @pytest.mark.parametrize("sign", [1, -1])
    def test_gives_one_of_the_two_neighbours(self, rng, name, sign):
        values = positives(name)
        low, high = values[:-1], values[1:]
        # Near the lower end too: noise added to the value would fall below a power of two there.
        for part in (np.float32(1 / 32), rng.random(len(low), dtype=np.float32) * np.float32(0.9)):
            between = low + (high - low) * part
            size = sign * stochastic_round(sign * between, of(name), rng)
            assert_close(size, np.where(size > between, high, low), rtol=0, atol=0)

    @names
    def test_a_value_of_the_format_stays(self, rng, name):
        values = np.concatenate([positives(name), -positives(name)])
        assert_close(stochastic_round(values, of(name), rng), values, rtol=0, atol=0)

    @names
    @pytest.mark.parametrize("part", [1 / 16, 0.25, 0.5, 0.875])
    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize("where", ["subnormal", "normal", "at the end"])
    def test_the_mean_is_the_value(self, rng, name, part, sign, where):
        values = positives(name)
        k = {"subnormal": 1, "normal": len(values) // 2 + 1, "at the end": len(values) - 2}[where]
        low, gap = float(values[k]), float(values[k + 1]) - float(values[k])
        many = np.full((100, 200), sign * (low + part * gap), np.float32)
        rounded = sign * stochastic_round(many, of(name), rng).astype(np.float64)
        # Seven deviations of a share of 20 000 draws.
        share = ((rounded - low) / gap).mean()
        assert_close(share, part, rtol=0, atol=7 * (part * (1 - part) / 20_000) ** 0.5)

    @smalls
    def test_other_formats_stay_or_go_to_a_neighbour(self, rng, fields):
        table = brute_force(*fields)
        values = table[np.isfinite(table)]
        assert_close(stochastic_round(values, Format(*fields), rng), values, rtol=0, atol=0)
        low, high = values[:-1], values[1:]
        between = low + (high - low) * np.float32(0.625)
        rounded = -stochastic_round(-between, Format(*fields), rng)
        assert_close(rounded, np.where(rounded > between, high, low), rtol=0, atol=0)

    @pytest.mark.parametrize("near", ["low", "high"])
    def test_a_rare_step_is_taken_as_often_as_it_should(self, rng, near):
        # 2⁻¹⁹ from a neighbour, in a gap of 2⁻⁷: the other one has a chance of 2⁻¹², which coarse noise can't give.
        value = 1 + 2.0**-19 if near == "low" else 1 + 2.0**-7 - 2.0**-19
        rounded = stochastic_round(np.full(1_000_000, value, np.float32), BF16, rng)
        far = int((rounded != (1 if near == "low" else 1 + 2.0**-7)).sum())
        # 244 expected, with a deviation of 15.6; seven of them.
        assert_close(far / 1_000_000, 2.0**-12, rtol=0, atol=110e-6)

    def test_every_entry_is_drawn_on_its_own(self, rng):
        up = stochastic_round(np.full((40, 50), 1.125, np.float32), E5M2, rng) > 1
        # A column or row that shares its draw is all 0 or 1; else such a one has a chance of 2⁻⁴⁰.
        assert_close(np.r_[up.any(0), up.any(1), ~up.all(0), ~up.all(1)], np.ones(180, bool))

    def test_all_chance_comes_from_rng(self):
        values = np.linspace(-3, 3, 999, dtype=np.float32)
        first, again, other = (stochastic_round(values, E4M3, np.random.default_rng(seed)) for seed in (5, 5, 6))
        assert_close(again, first)
        assert_equal(bool((other != first).any()), True)

    def test_a_second_call_draws_anew(self, rng):
        values = np.linspace(-3, 3, 999, dtype=np.float32)
        if (stochastic_round(values, E4M3, rng) == stochastic_round(values, E4M3, rng)).all():
            fail("two calls with one generator round alike: draw from `rng` itself, so that it moves on")

    def test_small_steps_arrive_that_rounding_to_the_nearest_loses(self, rng):
        step = np.float32(2**-10)
        stochastic = np.ones(2000, np.float32)
        # A step that changes nothing leaves all later ones without effect as well.
        assert_close(decode(encode(stochastic + step, BF16), BF16), stochastic)
        for _ in range(32):
            stochastic = stochastic_round(stochastic + step, BF16, rng)
        # 32 steps of variance 2⁻¹⁴ · 7/64 in 2000 entries: their mean has a deviation of 0.00033; nine of them.
        assert_close(stochastic.mean(dtype=np.float64), 1 + 32 / 1024, rtol=0, atol=0.003)

    @shapes
    def test_keeps_the_shape(self, rng, shape):
        values = np.full(shape, 1.75, np.float32)
        assert_close(stochastic_round(values, E5M2, rng), values)


class TestRelativeError:
    def test_the_example_worked_by_hand(self):
        # 0.1 isn't exact in float32.
        assert_close(relative_error(np.array([0.1], np.float32), E4M3), np.array([0.015625]), rtol=1e-6)

    @names
    def test_matches_torch(self, rng, name):
        import torch

        values = (rng.standard_normal(2000) * 10 ** rng.uniform(-5, 2, 2000)).astype(np.float32)
        values[:3] = 3e-35, 1.1e-38, 1e-40  # no value but 0 is too small to divide by
        exact = torch.from_numpy(values).double()
        rounded = torch.from_numpy(values).to(getattr(torch, name)).double()
        expected = ((rounded - exact).abs() / exact.abs()).numpy()
        # float32 is off by 6e-8 of the error; in float64, rounded / exact - 1 is off by 2e-16.
        assert_close(relative_error(values, of(name)), expected, rtol=1e-9, atol=1e-15)

    def test_zero_has_none_and_overflow_counts(self):
        values = np.array([0.0, -0.0, 1e6, -1e6], np.float32)
        assert_close(relative_error(values, FP16), np.array([0, 0, np.inf, np.inf]))
        assert_close(relative_error(values, E4M3), np.array([0, 0, 1 - 448e-6, 1 - 448e-6]))

    @names
    def test_is_within_half_an_epsilon_and_comes_near_it(self, rng, name):
        form = of(name)
        values = np.exp2(rng.uniform(-6, 8, 50_000)).astype(np.float32)
        worst = relative_error(values, form).max()
        # A tie just above a power of two: half a spacing over 1 + epsilon / 2.
        least, most = 0.95 * (form.epsilon / 2) / (1 + form.epsilon / 2), form.epsilon / 2
        if not least < worst <= most:
            fail(f"The worst of 50,000 errors is {worst:.4g}: it lies between {least:.4g} and {most:.4g}.", evidence=float(worst))

    @shapes
    def test_keeps_the_shape(self, shape):
        assert_close(relative_error(np.full(shape, 1.125, np.float32), E5M2), np.full(shape, 1 / 9))


class TestWholeArrays:
    @pytest.mark.parametrize(
        "call",
        [
            lambda values: decode(values.view(np.uint16), FP16),
            lambda values: encode(values, FP16),
            lambda values: spacing(values, FP16),
            lambda values: stochastic_round(values, FP16, np.random.default_rng(0)),
            lambda values: relative_error(values, FP16),
        ],
        ids=["decode", "encode", "spacing", "stochastic_round", "relative_error"],
    )
    def test_python_does_not_go_entry_by_entry(self, rng, call):
        few, many = (rng.standard_normal(n).astype(np.float32) for n in (10, 1000))
        grown = python_steps(call, many) - python_steps(call, few)
        # A loop over entries takes a line of Python for each at least; half of that leaves room for loops over bits.
        if grown > 990 / 2:
            fail("Python goes through the array entry by entry: work on the whole array")
