"""Judges k11_derivatives against derivatives that are known, scipy and sympy."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, from_scratch, pure, raises
from katas.module_01_linear_algebra.k11_derivatives import (
    Dual,
    Expr,
    derivative,
    differentiate,
    directional_derivative,
    evaluate,
    exp,
    gradient,
    hessian,
    jacobian,
    log,
    sin,
)

pytestmark = [from_scratch("numpy.gradient", "scipy", "sympy"), pure()]

# The error of a central difference: h²/6 of the third derivative, and 1e-16/h from rounding.
NEAR = {"rtol": 1e-7, "atol": 1e-7}
# Four points: h²/3 of the fourth derivatives, and 1e-16/h² from rounding, with h = 1e-4.
SECOND = {"rtol": 1e-5, "atol": 1e-5}


def waves(x):
    """A function of any number of variables, without symmetry."""
    return float(np.sin(x[0]) * np.exp(0.3 * x[-1]) + np.sum(np.arange(1, len(x) + 1) * x**2) / 7)


def waves_gradient(x):
    slopes = 2 * np.arange(1, len(x) + 1) * x / 7
    slopes[0] += np.cos(x[0]) * np.exp(0.3 * x[-1])
    slopes[-1] += 0.3 * np.sin(x[0]) * np.exp(0.3 * x[-1])
    return slopes


class TestGradient:
    def test_the_example_worked_by_hand(self):
        got = gradient(lambda x: x[0] ** 2 * x[1], np.array([3.0, 2.0]))
        assert_close(got, np.array([12.0, 9.0]), **NEAR)  # a difference quotient

    @pytest.mark.parametrize("n", [2, 3, 6])
    def test_matches_the_known_gradient(self, n, rng):
        x = rng.normal(size=n)
        assert_close(gradient(waves, x), waves_gradient(x), **NEAR)  # a difference quotient

    @pytest.mark.parametrize("h", [0.5, 0.25])
    def test_the_step_is_the_one_given_and_to_both_sides(self, h):
        # (x + h)³ - (x - h)³ over 2h is 3x² + h², exactly.
        got = gradient(lambda x: float(np.sum(x**3)), np.array([1.0, -2.0, 0.5]), h)
        assert_close(got, 3 * np.array([1.0, 4.0, 0.25]) + h**2)

    def test_matches_scipy(self, rng):
        from scipy.optimize import rosen, rosen_der

        x = rng.uniform(-1, 1, 4)
        assert_close(gradient(rosen, x), rosen_der(x), rtol=1e-6, atol=1e-6)  # its third derivative is 2400


class TestDirectionalDerivative:
    def test_the_example_worked_by_hand(self):
        got = directional_derivative(lambda x: x[0] ** 2 * x[1], np.array([3.0, 2.0]), np.array([1.0, -1.0]))
        assert_close(got, 3.0, **NEAR)  # a difference quotient

    def test_grows_with_the_direction(self, rng):
        x, v = rng.normal(size=4), 3 * rng.normal(size=4)
        assert_close(directional_derivative(waves, x, v), float(waves_gradient(x) @ v), rtol=1e-6, atol=1e-6)  # h·|v|

    @pytest.mark.parametrize("h", [0.5, 0.125])
    def test_the_step_is_h_times_v(self, h):
        got = directional_derivative(lambda x: float(x[0] ** 3), np.array([1.0, 5.0]), np.array([2.0, 0.0]), h)
        assert_close(got, 6 + 8 * h**2)

    def test_calls_the_function_twice(self, rng):
        calls = []
        directional_derivative(lambda x: calls.append(1) or 1.0, rng.normal(size=5), rng.normal(size=5))
        assert_close(len(calls), 2)


class TestJacobian:
    def test_of_polar_coordinates(self):
        got = jacobian(lambda x: np.array([x[0] * np.cos(x[1]), x[0] * np.sin(x[1])]), np.array([2.0, 0.5]))
        c, s = math.cos(0.5), math.sin(0.5)
        assert_close(got, np.array([[c, -2 * s], [s, 2 * c]]), **NEAR)  # a difference quotient

    @pytest.mark.parametrize(("m", "n"), [(2, 3), (4, 2), (1, 3)])
    def test_of_a_linear_map_is_its_matrix(self, m, n, rng):
        a, x = rng.normal(size=(m, n)), rng.normal(size=n)
        assert_close(jacobian(lambda z: a @ z, x), a, **NEAR)  # a difference quotient

    @pytest.mark.parametrize("h", [0.5, 0.25])
    def test_the_step_is_the_one_given(self, h):
        got = jacobian(lambda x: x**3, np.array([1.0, -2.0]), h)
        assert_close(got, np.diag([3 + h**2, 12 + h**2]))


class TestHessian:
    def test_the_example_worked_by_hand(self):
        got = hessian(lambda x: x[0] ** 2 * x[1], np.array([3.0, 2.0]))
        assert_close(got, np.array([[4.0, 6.0], [6.0, 0.0]]), **SECOND)  # a second difference

    @pytest.mark.parametrize("n", [2, 4])
    def test_matches_scipy(self, n, rng):
        from scipy.optimize import rosen, rosen_hess

        x = rng.uniform(-1, 1, n)
        assert_close(hessian(rosen, x), rosen_hess(x), rtol=1e-4, atol=1e-3)  # its fourth derivatives are 2400

    @pytest.mark.parametrize("h", [0.5, 0.25])
    def test_the_formula_and_the_step_are_those_given(self, h):
        # ((x+2h)⁴ - 2x⁴ + (x-2h)⁴) / 4h² = 12x² + 8h²; mixed, of x³y: 3x² + h².
        got = hessian(lambda x: float(x[0] ** 4 + x[0] ** 3 * x[1]), np.array([1.0, 2.0]), h)
        assert_close(got, np.array([[12 + 8 * h**2 + 12, 3 + h**2], [3 + h**2, 0.0]]))


class TestDefaultSteps:
    @pytest.mark.parametrize(
        ("name", "farthest"), [("gradient", 1e-5), ("directional", 1e-5), ("jacobian", 1e-5), ("hessian", 2e-4)]
    )
    def test_how_far_from_x_the_function_is_called(self, name, farthest):
        places = []

        def f(x):
            places.append(float(np.abs(x).max()))
            return x * 1.0 if name == "jacobian" else 1.0

        run = {
            "gradient": lambda x: gradient(f, x),
            "directional": lambda x: directional_derivative(f, x, np.array([0.0, 1.0])),
            "jacobian": lambda x: jacobian(f, x),
            "hessian": lambda x: hessian(f, x),
        }[name]
        run(np.zeros(2))
        assert_close(max(places) / farthest, 1.0)


class TestWhatIsHandedIn:
    @pytest.mark.parametrize("name", ["gradient", "directional", "jacobian", "hessian"])
    def test_cannot_change_x(self, name):
        x = np.array([3.0, 2.0, 0.5])

        def f(z):
            value = z**2 if name == "jacobian" else float(z @ z)
            z[:] = 77.0
            return value

        run = {
            "gradient": lambda: gradient(f, x),
            "directional": lambda: directional_derivative(f, x, np.array([0.0, 1.0, 0.0])),
            "jacobian": lambda: jacobian(f, x),
            "hessian": lambda: hessian(f, x),
        }[name]
        run()
        assert_close(x, np.array([3.0, 2.0, 0.5]))


OPERATIONS = {
    "x + y": (lambda x, y: x + y, lambda x, y, dx, dy: dx + dy),
    "x - y": (lambda x, y: x - y, lambda x, y, dx, dy: dx - dy),
    "x * y": (lambda x, y: x * y, lambda x, y, dx, dy: dx * y + x * dy),
    "x / y": (lambda x, y: x / y, lambda x, y, dx, dy: dx / y - x * dy / y**2),
    "x + 3": (lambda x, y: x + 3, lambda x, y, dx, dy: dx),
    "3 + x": (lambda x, y: 3 + x, lambda x, y, dx, dy: dx),
    "x - 3": (lambda x, y: x - 3, lambda x, y, dx, dy: dx),
    "3 - x": (lambda x, y: 3 - x, lambda x, y, dx, dy: -dx),
    "x * 3": (lambda x, y: x * 3, lambda x, y, dx, dy: 3 * dx),
    "3 * x": (lambda x, y: 3 * x, lambda x, y, dx, dy: 3 * dx),
    "x / 3": (lambda x, y: x / 3, lambda x, y, dx, dy: dx / 3),
    "3 / x": (lambda x, y: 3 / x, lambda x, y, dx, dy: -3 * dx / x**2),
    "-x": (lambda x, y: -x, lambda x, y, dx, dy: -dx),
    "x ** 3": (lambda x, y: x**3, lambda x, y, dx, dy: 3 * x**2 * dx),
    "x ** 0.5": (lambda x, y: x**0.5, lambda x, y, dx, dy: 0.5 * x**-0.5 * dx),
    "x ** -2": (lambda x, y: x**-2, lambda x, y, dx, dy: -2 * x**-3 * dx),
    "x ** 1": (lambda x, y: x**1, lambda x, y, dx, dy: dx),
    "x / int64": (lambda x, y: x / np.int64(3), lambda x, y, dx, dy: dx / 3),
    "x * int64": (lambda x, y: x * np.int64(3), lambda x, y, dx, dy: 3 * dx),
    "float64 - x": (lambda x, y: np.float64(3) - x, lambda x, y, dx, dy: -dx),
    "float64 / x": (lambda x, y: np.float64(3) / x, lambda x, y, dx, dy: -3 * dx / x**2),
    "x * x": (lambda x, y: x * x, lambda x, y, dx, dy: 2 * x * dx),
    "x / x": (lambda x, y: x / x, lambda x, y, dx, dy: 0.0),
    "x - x": (lambda x, y: x - x, lambda x, y, dx, dy: 0.0),
}


class TestDual:
    def test_the_example_worked_by_hand(self):
        got = Dual(3.0, 1.0) * Dual(3.0, 1.0) * 2
        assert_close((got.value, got.slope), (18.0, 12.0))

    @pytest.mark.parametrize("name", OPERATIONS)
    def test_value_and_slope_of(self, name, rng):
        run, slope = OPERATIONS[name]
        x, y, dx, dy = (float(z) for z in rng.uniform(0.5, 2, 4))
        got = run(Dual(x, dx), Dual(y, dy))
        assert_close((got.value, got.slope), (run(x, y), slope(x, y, dx, dy)))

    def test_no_operation_changes_its_operands(self):
        x, y = Dual(2.0, 1.0), Dual(5.0, -3.0)
        for run, _ in OPERATIONS.values():
            run(x, y)
        assert_close([x.value, x.slope, y.value, y.slope], [2.0, 1.0, 5.0, -3.0])

    @pytest.mark.parametrize("value", [-2.0, 4])
    def test_quotients_of_negative_values_and_of_integers(self, value):
        got = Dual(3.0, 1.0) / Dual(value, 2.0)
        assert_close((got.value, got.slope), (3 / value, 1 / value - 6 / value**2))

    def test_a_number_has_slope_0(self):
        assert_close(Dual(2.5).slope, 0.0)
        assert_close(Dual(2.5).value, 2.5)

    @pytest.mark.parametrize(("power", "value", "slope"), [(0, 1.0, 0.0), (1, 0.0, 2.0), (2, 0.0, 0.0)])
    def test_powers_of_zero(self, power, value, slope):
        got = Dual(0.0, 2.0) ** power
        assert_close((got.value, got.slope), (value, slope))

    @pytest.mark.parametrize(
        ("power", "value", "slope"),
        [(0, 1.0, 0.0), (1, -1.5, 2.0), (2, 2.25, -6.0), (3, -3.375, 13.5), (-1, -2 / 3, -8 / 9)],
    )
    def test_whole_powers_of_a_negative_value(self, power, value, slope):
        got = Dual(-1.5, 2.0) ** power
        assert_close((got.value, got.slope), (value, slope))

    @pytest.mark.parametrize("name", ["sin", "exp", "log"])
    def test_functions(self, name, rng):
        run = {"sin": sin, "exp": exp, "log": log}[name]
        x, dx = (float(z) for z in rng.uniform(0.5, 2, 2))
        expected = {"sin": math.cos(x) * dx, "exp": math.exp(x) * dx, "log": dx / x}[name]
        got = run(Dual(x, dx))
        assert_close((got.value, got.slope), (getattr(math, name)(x), expected))


class TestDerivative:
    def test_of_a_chain_matches_sympy(self, rng):
        import sympy

        z = sympy.Symbol("z")
        formula = sympy.exp(sympy.sin(z**2) / (3 + z)) - 2 / sympy.log(z + 2)
        x = float(rng.uniform(0.5, 2))
        got = derivative(lambda t: exp(sin(t**2) / (3 + t)) - 2 / log(t + 2), x)
        assert_close(got, float(formula.diff(z).subs(z, x)))

    def test_is_exact_where_a_difference_is_not(self):
        # A small step would lose most digits here.
        assert_close(derivative(lambda t: sin(1e6 * t) * 1e-6, 0.3) / math.cos(3e5), 1.0)

    def test_of_a_constant(self):
        assert_close(derivative(lambda t: 7.0, 2.0), 0.0)

    def test_of_x_itself(self):
        assert_close(derivative(lambda t: t, 2.0), 1.0)

    def test_of_a_function_with_a_loop(self):
        def power(t):
            product = 1
            for _ in range(5):
                product = product * t
            return product

        assert_close(derivative(power, -2.0), 80.0)


def const(number):
    return Expr("const", (number,))


def var(name):
    return Expr("var", (name,))


def add(a, b):
    return Expr("+", (a, b))


def mul(a, b):
    return Expr("*", (a, b))


# Trees are made when a test asks for them, of the class that is judged then.
TREES = {
    "x + y + 2": lambda x, y: add(add(x, y), const(2.0)),
    "x*x*y": lambda x, y: mul(mul(x, x), y),
    "sin(x)": lambda x, y: Expr("sin", (x,)),
    "exp(x)": lambda x, y: Expr("exp", (x,)),
    "sin(3*x*y)": lambda x, y: Expr("sin", (mul(const(3.0), mul(x, y)),)),
    "exp(x*sin(y))*(x + -2)": lambda x, y: mul(Expr("exp", (mul(x, Expr("sin", (y,))),)), add(x, const(-2.0))),
    "sin(sin(x) + x*exp(x*y))": lambda x, y: Expr("sin", (add(Expr("sin", (x,)), mul(x, Expr("exp", (mul(x, y),)))),)),
    "7": lambda x, y: const(7.0),
}


def tree(name):
    return TREES[name](var("x"), var("y"))


def chain(depth):
    """A tree that is nested `depth` times: x + 1 + 1 …"""
    formula = var("x")
    for _ in range(depth - 1):
        formula = add(formula, const(1.0))
    return formula


class TestEvaluate:
    def test_the_example_worked_by_hand(self):
        assert_close(evaluate(mul(mul(var("x"), var("x")), var("y")), {"x": 3.0, "y": 2.0}), 18.0)

    @pytest.mark.parametrize("name", TREES)
    def test_matches_sympy(self, name, rng):
        import sympy

        at = {"x": float(rng.uniform(-1, 1)), "y": float(rng.uniform(-1, 1))}
        assert_close(evaluate(tree(name), at), float(sympy.sympify(name).subs(at)))

    def test_a_variable_may_be_zero(self):
        assert_close(evaluate(add(var("x"), const(0)), {"x": 0.0}), 0.0)

    def test_a_deep_tree(self):
        assert_close(evaluate(chain(150), {"x": 0.5}), 149.5)

    @pytest.mark.parametrize("values", [{"x": 1.0}, {"x": 0.0, "Speed": 3.0}])
    def test_a_variable_without_a_value_is_an_error(self, values):
        with raises(ValueError, "speed"):
            evaluate(add(var("speed"), var("x")), values)


class TestDifferentiate:
    @pytest.mark.parametrize(("by", "slope"), [("x", 12.0), ("y", 9.0)])
    def test_the_example_worked_by_hand(self, by, slope):
        product = mul(mul(var("x"), var("x")), var("y"))
        assert_close(evaluate(differentiate(product, by), {"x": 3.0, "y": 2.0}), slope)

    @pytest.mark.parametrize("name", TREES)
    @pytest.mark.parametrize("by", ["x", "y"])
    def test_matches_sympy(self, name, by, rng):
        import sympy

        at = {"x": float(rng.uniform(-1, 1)), "y": float(rng.uniform(-1, 1))}
        assert_close(evaluate(differentiate(tree(name), by), at), float(sympy.sympify(name).diff(by).subs(at)))

    def test_second_derivatives(self):
        twice = differentiate(differentiate(Expr("sin", (mul(var("x"), var("x")),)), "x"), "x")
        assert_close(evaluate(twice, {"x": 0.7}), 2 * math.cos(0.49) - 4 * 0.49 * math.sin(0.49))

    def test_a_variable_that_is_not_there_is_constant(self):
        assert_close(evaluate(differentiate(tree("sin(x)"), "z"), {"x": 0.3}), 0.0)

    def test_a_deep_tree(self):
        assert_close(evaluate(differentiate(chain(150), "x"), {"x": 0.5}), 1.0)
