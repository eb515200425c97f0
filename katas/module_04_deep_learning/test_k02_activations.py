"""Judges k02_activations against torch.nn.functional and autograd, in both precisions, in the tails and near 0."""

import math

import pytest
import torch
import torch.nn.functional as F

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_04_deep_learning.k02_activations import (
    dead_units,
    gelu,
    leaky_relu,
    relu,
    saturation,
    sigmoid,
    silu,
    softplus,
    tanh,
)

pytestmark = [
    from_scratch(
        "torch.nn",
        "torch.autograd",
        "torch.func",
        "torch.sigmoid",
        "torch.tanh",
        "torch.relu",
        "torch.special.expit",
        "torch.Tensor.sigmoid",
        "torch.Tensor.tanh",
        "torch.Tensor.relu",
        "torch.Tensor.backward",
    ),
    pure(),
]

SHAPES = [(), (7,), (2, 3, 4)]
LOG3 = torch.tensor(math.log(3), dtype=torch.float64)


def by_torch(function, x: torch.Tensor, *args, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and derivative as torch and autograd have them."""
    x = x.clone().requires_grad_()
    value = function(x, *args, **kwargs)
    (derivative,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), derivative


def some(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64) * 3


def assert_is(found, expected, **tolerances) -> None:
    assert_close(found, tuple(expected), **tolerances)


def digits4(found, *expected: float) -> None:
    """`found` is the numbers of the lesson, which has four digits."""
    assert_is(found, [torch.tensor(x, dtype=torch.float64) for x in expected], atol=1e-4, rtol=0)


def right_to_4_digits(found, value: torch.Tensor, derivative: torch.Tensor) -> None:
    """Relative to each number, however small it is: the lesson's 10⁻⁴."""
    assert_is(found, (value.float(), derivative.float()), rtol=1e-4, atol=0)


TAILS = torch.tensor([-30.0, -20.0, -15.0, -9.0, 9.0, 15.0, 20.0, 30.0])
NEAR_0 = torch.tensor([-1e-3, -1e-6, -1e-12, 1e-12, 1e-6, 1e-3])
GELU_TAILS = torch.tensor([-8.0, -7.0, -6.0, -5.0, 5.0, 6.0, 8.0])
FAR = [-1e4, -1e3, -120.0, 120.0, 1e3, 1e4]


def far(dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(FAR, dtype=dtype)


def lines(x: torch.Tensor, left: float = 0.0, right: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """What is left of an activation far out: a line through 0 on either side, and its slope."""
    slope = torch.where(x > 0, torch.full_like(x, right), torch.full_like(x, left))
    return slope * x, slope


class TestSigmoid:
    def test_the_example_worked_by_hand(self):
        digits4(sigmoid(LOG3), 0.75, 0.1875)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_torch(self, shape):
        x = some(*shape)
        assert_is(sigmoid(x), by_torch(torch.sigmoid, x))

    def test_at_0(self):
        assert_is(sigmoid(torch.zeros(2)), (torch.full((2,), 0.5), torch.full((2,), 0.25)))

    def test_digits_in_the_tails(self):
        wide = TAILS.double()
        right_to_4_digits(sigmoid(TAILS), torch.sigmoid(wide), torch.sigmoid(wide) * torch.sigmoid(-wide))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_far_from_0(self, dtype):
        x = far(dtype)
        assert_is(sigmoid(x), ((x > 0).to(dtype), torch.zeros_like(x)))

    def test_rows_need_not_lie_side_by_side(self):
        x = some(4, 3).T
        assert_is(sigmoid(x), by_torch(torch.sigmoid, x))


class TestTanh:
    def test_the_example_worked_by_hand(self):
        digits4(tanh(LOG3), 0.8, 0.36)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_torch(self, shape):
        x = some(*shape)
        assert_is(tanh(x), by_torch(torch.tanh, x))

    def test_at_0(self):
        assert_is(tanh(torch.zeros(2)), (torch.zeros(2), torch.ones(2)))

    def test_digits_in_the_tails(self):
        wide = TAILS.double()
        right_to_4_digits(tanh(TAILS), torch.tanh(wide), 1 / torch.cosh(wide) ** 2)

    def test_digits_near_0(self):
        wide = NEAR_0.double()
        right_to_4_digits(tanh(NEAR_0), torch.tanh(wide), 1 / torch.cosh(wide) ** 2)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_far_from_0(self, dtype):
        x = far(dtype)
        assert_is(tanh(x), (x.sign(), torch.zeros_like(x)))


class TestRelu:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_torch(self, shape):
        x = some(*shape)
        assert_is(relu(x), by_torch(torch.relu, x))

    def test_its_derivative_at_0_is_0(self):
        assert_is(relu(torch.tensor([0.0, -0.0])), (torch.zeros(2), torch.zeros(2)))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_far_from_0(self, dtype):
        assert_is(relu(far(dtype)), lines(far(dtype)))


class TestLeakyRelu:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("negative_slope", [0.2, 0.0, 1.5, -0.5])
    def test_matches_torch(self, shape, negative_slope):
        x = some(*shape)
        assert_is(leaky_relu(x, negative_slope), by_torch(F.leaky_relu, x, negative_slope))

    def test_its_default(self):
        x = some(6)
        assert_is(leaky_relu(x), by_torch(F.leaky_relu, x, 0.01))

    def test_its_derivative_at_0_is_the_negative_slope(self):
        assert_is(leaky_relu(torch.tensor([0.0, -0.0]), 0.3), (torch.zeros(2), torch.full((2,), 0.3)))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_far_from_0(self, dtype):
        assert_is(leaky_relu(far(dtype), 0.3), lines(far(dtype), left=0.3))


class TestSoftplus:
    def test_the_example_worked_by_hand(self):
        digits4(softplus(LOG3), 1.3863, 0.75)

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("beta", [1.0, 0.4, 3.0])
    def test_matches_torch(self, shape, beta):
        x = some(*shape)
        # torch goes over to a line from a threshold on: far out, so that it is never met here.
        assert_is(softplus(x, beta), by_torch(F.softplus, x, beta, 1e9))

    def test_its_default(self):
        x = some(6)
        assert_is(softplus(x), by_torch(F.softplus, x, 1.0, 1e9))

    @pytest.mark.parametrize("beta", [1.0, 2.0])
    def test_digits_in_the_tails(self, beta):
        wide = TAILS.double()
        x = TAILS / beta
        right_to_4_digits(
            softplus(x, beta), torch.logaddexp(torch.zeros(()).double(), wide) / beta, torch.sigmoid(wide)
        )

    @pytest.mark.parametrize("beta", [1.0, 0.5])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_far_from_0(self, dtype, beta):
        x = far(dtype) / beta
        assert_is(softplus(x, beta), lines(x))


class TestSilu:
    def test_the_example_worked_by_hand(self):
        digits4(silu(LOG3), 0.8240, 0.9560)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_torch(self, shape):
        x = some(*shape)
        assert_is(silu(x), by_torch(F.silu, x))

    def test_digits_in_the_tails(self):
        wide = TAILS.double()
        s = torch.sigmoid(wide)
        right_to_4_digits(silu(TAILS), wide * s, s + wide * s * torch.sigmoid(-wide))

    def test_digits_near_0(self):
        right_to_4_digits(silu(NEAR_0), *by_torch(F.silu, NEAR_0.double()))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_far_from_0(self, dtype):
        assert_is(silu(far(dtype)), lines(far(dtype)))


class TestGelu:
    def test_the_example_worked_by_hand(self):
        one = torch.ones((), dtype=torch.float64)
        digits4(gelu(one), 0.8413, 1.0833)
        digits4(gelu(one, "tanh"), 0.8412, 1.0830)

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("approximate", ["none", "tanh"])
    def test_matches_torch(self, shape, approximate):
        x = some(*shape)
        assert_is(gelu(x, approximate), by_torch(F.gelu, x, approximate=approximate))

    def test_the_exact_form_by_default(self):
        x = some(9)
        assert_is(gelu(x), by_torch(F.gelu, x))

    def test_digits_in_the_tails(self):
        wide = GELU_TAILS.double()
        cumulative = torch.tensor([math.erfc(-x / math.sqrt(2)) / 2 for x in wide.tolist()], dtype=torch.float64)
        density = torch.distributions.Normal(0.0, 1.0).log_prob(wide).exp()
        right_to_4_digits(gelu(GELU_TAILS), wide * cumulative, cumulative + wide * density)

    def test_digits_in_the_tails_of_the_tanh_form(self):
        wide = GELU_TAILS.double()
        u = math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)
        du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * wide**2)
        half, slope = torch.sigmoid(2 * u), 2 * torch.sigmoid(2 * u) * torch.sigmoid(-2 * u)
        right_to_4_digits(gelu(GELU_TAILS, "tanh"), wide * half, half + wide * slope * du)

    @pytest.mark.parametrize("approximate", ["none", "tanh"])
    def test_digits_near_0(self, approximate):
        expected = by_torch(F.gelu, NEAR_0.double(), approximate=approximate)
        right_to_4_digits(gelu(NEAR_0, approximate), *expected)

    @pytest.mark.parametrize("approximate", ["none", "tanh"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_far_from_0(self, dtype, approximate):
        assert_is(gelu(far(dtype), approximate), lines(far(dtype)))

    @pytest.mark.parametrize("approximate", ["sigmoid", "Tanh", "exact"])
    def test_another_form_is_refused(self, approximate):
        with raises(ValueError, approximate):
            gelu(torch.zeros(2), approximate)


class TestSaturation:
    def test_a_share_for_each_unit(self):
        derivatives = torch.tensor([[0.2, 0.001, 0.0], [0.25, 0.3, 0.0], [0.005, 0.009, 0.0], [1.0, 0.0, 0.0]])
        assert_close(saturation(derivatives), torch.tensor([0.25, 0.75, 1.0]))

    def test_its_bound_isnt_saturated(self):
        derivatives = torch.tensor([[0.25, -0.25, 0.125], [0.5, 0.25, 0.375]], dtype=torch.float64)
        assert_close(saturation(derivatives, 0.25), torch.tensor([0.0, 0.0, 0.5]).double())

    def test_a_negative_derivative_may_be_large(self):
        derivatives = torch.tensor([[-0.1, -1.5], [-0.001, -0.02]])
        assert_close(saturation(derivatives), torch.tensor([0.5, 0.0]))

    @pytest.mark.parametrize("lead", [(), (6,), (2, 3), (4, 2, 3)])
    @pytest.mark.parametrize("threshold", [0.3, 1.2])
    def test_examples_along_all_other_axes(self, lead, threshold):
        derivatives = torch.randn(*lead, 5, dtype=torch.float64)
        rows = derivatives.reshape(-1, 5).tolist()
        expected = [sum(abs(row[j]) < threshold for row in rows) / len(rows) for j in range(5)]
        assert_close(saturation(derivatives, threshold), torch.tensor(expected, dtype=torch.float64))

    def test_a_wide_sigmoid_layer(self):
        # σ' is below 0.01 from |x| = 4.6 on: for a normal x of standard deviation 10 that is the case in 65 of 100.
        x = torch.randn(4000, 3, dtype=torch.float64) * torch.tensor([0.5, 1.0, 10.0])
        s = torch.sigmoid(x)
        # Six standard deviations of a share of 4000.
        assert_close(saturation(s * (1 - s)), torch.tensor([0.0, 0.0, 0.6457]).double(), atol=0.045, rtol=0)


class TestDeadUnits:
    def test_for_every_example(self):
        derivatives = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        assert_equal(dead_units(derivatives).tolist(), [True, False, False])

    @pytest.mark.parametrize("lead", [(), (6,), (2, 3), (4, 2, 3)])
    def test_examples_along_all_other_axes(self, lead):
        derivatives = (torch.rand(*lead, 8) < 0.2).double()
        rows = derivatives.reshape(-1, 8).tolist()
        found = dead_units(derivatives)
        assert_equal(str(found.dtype), "torch.bool")
        assert_equal(found.tolist(), [all(row[j] == 0 for row in rows) for j in range(8)])

    def test_small_isnt_dead(self):
        derivatives = torch.tensor([[1e-30, -1e-9, 0.0, 0.5], [0.0, 1e-9, 0.0, -0.5]])
        assert_equal(dead_units(derivatives).tolist(), [False, False, True, False])


class TestOnTheGpu:
    @pytest.mark.parametrize("activation", [sigmoid, tanh, relu, leaky_relu, softplus, silu, gelu])
    def test_activations(self, gpu, activation):
        gpu.check(activation, some(3, 4))

    def test_the_tanh_form(self, gpu):
        gpu.check(gelu, some(3, 4), "tanh")

    @pytest.mark.parametrize("report", [saturation, dead_units])
    def test_reports(self, gpu, report):
        gpu.check(report, torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 1.0]]))
