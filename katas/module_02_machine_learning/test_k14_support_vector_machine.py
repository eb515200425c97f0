"""Judges k14_support_vector_machine against scikit-learn's optima, finite differences, KKT and fine grids."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k14_support_vector_machine import (
    SVC,
    dual_objective,
    hinge_gradient,
    hinge_loss,
    kkt_violation,
    margin_width,
    pegasos,
    polynomial_kernel,
    rbf_kernel,
    smo,
    smo_step,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]

TWO_X, TWO_Y = np.array([[0.0], [2.0]]), np.array([-1, 1])
TWO_K = np.array([[0.0, 0.0], [0.0, 4.0]])


def clouds(rng, n=40, d=2, apart=1.0):
    """Two clouds that overlap, and their signs, of unequal numbers."""
    y = np.where(rng.permutation(n) < n // 3, 1, -1)
    return rng.normal(size=(n, d)) + apart * y[:, None], y


def objective(w, b, x, y, lam):
    losses = [
        max(0.0, 1 - label * (sum(p * q for p, q in zip(row, w, strict=True)) + b))
        for row, label in zip(x, y, strict=True)
    ]
    return float(lam / 2 * sum(v * v for v in w) + sum(losses) / len(losses))


def violations(alpha, b, y, k, c):
    """How far each row is from the Karush-Kuhn-Tucker conditions, one case after the other."""
    out = []
    for i in range(len(y)):
        margin = y[i] * (sum(alpha[j] * y[j] * k[i, j] for j in range(len(y))) + b)
        if alpha[i] <= 0:
            out.append(max(0.0, 1 - margin))
        elif alpha[i] >= c:
            out.append(max(0.0, margin - 1))
        else:
            out.append(abs(1 - margin))
    return np.array(out, dtype=float)


class TestHingeLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(hinge_loss(np.array([0.5]), 0.0, TWO_X, TWO_Y, 0.4), 0.55)

    @pytest.mark.parametrize(("n", "d"), [(9, 3), (4, 6)])
    @pytest.mark.parametrize(("lam", "b"), [(0.1, 0.7), (3.0, -1.2), (0.0, 0.0)])
    def test_matches_the_sum_term_by_term(self, rng, n, d, lam, b):
        x, y = clouds(rng, n, d)
        w = rng.normal(size=d)
        assert_close(hinge_loss(w, b, x, y, lam), objective(w, b, x, y, lam))


class TestHingeGradient:
    def test_the_example_worked_by_hand(self):
        # The second row lies on the margin exactly, and doesn't pull.
        assert_close(hinge_gradient(np.array([0.5]), 0.0, TWO_X, TWO_Y, 0.4), (np.array([0.2]), 0.5))

    @pytest.mark.parametrize(("n", "d"), [(9, 3), (5, 6)])
    @pytest.mark.parametrize(("lam", "b"), [(0.1, 0.7), (3.0, -1.2)])
    def test_matches_finite_differences(self, rng, n, d, lam, b):
        x, y = clouds(rng, n, d)
        w = rng.normal(size=d)
        # Away from the kinks; within 1e-6 of one the difference would mix two slopes.
        w, b = next((v, b) for v in (w, 1.1 * w, 0.7 * w) if np.abs(1 - y * (x @ v + b)).min() > 1e-4)
        h = 1e-6
        slopes = [
            (objective(w + h * e, b, x, y, lam) - objective(w - h * e, b, x, y, lam)) / (2 * h) for e in np.eye(d)
        ]
        slope_b = (objective(w, b + h, x, y, lam) - objective(w, b - h, x, y, lam)) / (2 * h)
        # The truncation is 0 for a piecewise quadratic; rounding over h leaves 1e-9.
        assert_close(hinge_gradient(w, b, x, y, lam), (np.array(slopes), float(slope_b)), atol=1e-6)

    def test_rows_beyond_the_margin_do_not_pull(self):
        got = hinge_gradient(np.array([2.0]), 0.0, np.array([[1.0], [-3.0]]), TWO_Y[::-1].copy(), 0.5)
        assert_close(got, (np.array([1.0]), 0.0))


class TestPegasos:
    @pytest.mark.parametrize(("steps", "expected"), [(0, 0), (1, 2), (2, 1), (3, 2 / 3), (4, 1)])
    def test_the_example_worked_by_hand(self, rng, steps, expected):
        assert_close(pegasos(np.array([[1]]), np.array([1]), 0.5, steps, rng), np.array([float(expected)]))

    @pytest.mark.parametrize(("lam", "steps"), [(0.1, 30), (2.0, 17)])
    def test_follows_the_recursion(self, rng, lam, steps):
        # Rows that are each other's mirror image make one and the same step, whichever is drawn.
        row = rng.normal(size=3)
        x, y = np.stack([row, -row, -row]), np.array([1, -1, -1])
        w = np.zeros(3)
        for t in range(1, steps + 1):
            hit = float(row @ w < 1)
            w = w - (lam * w - hit * row) / (lam * t)
        assert_close(pegasos(x, y, lam, steps, rng), w)

    @pytest.mark.parametrize("lam", [0.1, 0.5])
    def test_comes_near_the_lowest_loss(self, rng, lam):
        from sklearn.svm import LinearSVC

        x, y = clouds(rng, 60, 3, 0.7)
        best = LinearSVC(C=1 / (lam * 60), loss="hinge", fit_intercept=False, tol=1e-8, max_iter=100_000).fit(x, y)
        lowest = objective(best.coef_[0], 0.0, x, y, lam)
        got = objective(pegasos(x, y, lam, 3000, rng), 0.0, x, y, lam)
        if not lowest - 1e-6 <= got <= lowest + 0.1:
            fail(f"after 3000 steps the loss is {got:.3f}, the lowest is {lowest:.3f}", evidence=("far", round(got, 1)))

    def test_equal_generators_agree(self, rng):
        x, y = clouds(rng)
        first, again, other = (pegasos(x, y, 0.3, 50, np.random.default_rng(s)) for s in (4, 4, 5))
        assert_close(first, again)
        if np.array_equal(first, other):
            fail("two generators give the same w; draw the rows with rng", evidence="not random")


class TestPolynomialKernel:
    def test_the_defaults(self):
        assert_close(polynomial_kernel(np.array([[1, 2]]), np.array([[3, 4], [0, -1]])), np.array([[12.0**3, -1.0]]))

    @pytest.mark.parametrize(("degree", "constant"), [(1, 0.0), (2, 1.0), (3, 0.5), (4, 2.0)])
    def test_matches_scikit_learn(self, rng, degree, constant):
        from sklearn.metrics.pairwise import polynomial_kernel as oracle

        a, b = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
        assert_close(polynomial_kernel(a, b, degree, constant), oracle(a, b, degree, 1.0, constant))

    def test_integers_do_not_overflow(self):
        a = np.array([[3000, 1]])
        assert_close(polynomial_kernel(a, a), np.array([[9_000_002.0**3]]))
        small = np.array([[100, 27]], np.int8)
        assert_close(polynomial_kernel(small, small, 1), np.array([[10_730.0]]))


class TestRbfKernel:
    def test_one_by_default(self):
        assert_close(rbf_kernel(np.array([[0, 1]]), np.array([[1, 3], [0, 1]])), np.array([[math.exp(-5), 1.0]]))

    @pytest.mark.parametrize("gamma", [0.2, 3.0])
    def test_matches_scikit_learn(self, rng, gamma):
        from sklearn.metrics.pairwise import rbf_kernel as oracle

        a, b = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
        assert_close(rbf_kernel(a, b, gamma), oracle(a, b, gamma))

    def test_small_integers_do_not_wrap_around(self):
        a, b = np.array([[100, 3]], dtype=np.int8), np.array([[-100, 3], [90, 3]], dtype=np.int8)
        assert_close(rbf_kernel(a, b, 1e-4), np.exp(np.array([[-4.0, -0.01]])))

    @pytest.mark.parametrize("far", [1e7, -1e8])
    def test_far_from_the_origin_distances_keep_their_digits(self, far):
        x = np.array([[far, 2.0], [far + 1, 2.0], [far + 1, 2.5]])
        expected = np.exp(-np.array([[0, 1, 1.25], [1, 0, 0.25], [1.25, 0.25, 0]]))
        assert_close(rbf_kernel(x, x), expected)


class TestDualObjective:
    def test_the_example_worked_by_hand(self):
        assert_close(dual_objective(np.array([0.5, 0.5]), TWO_Y, TWO_K), 0.5)

    @pytest.mark.parametrize("n", [3, 8])
    def test_matches_the_double_sum(self, rng, n):
        x, y = clouds(rng, n)
        k, alpha = np.exp(x @ x.T / 9), rng.random(n)
        double = sum(alpha[i] * alpha[j] * y[i] * y[j] * k[i, j] for i in range(n) for j in range(n))
        assert_close(dual_objective(alpha, y, k), float(alpha.sum() - double / 2))


class TestKktViolation:
    @pytest.mark.parametrize(("b", "expected"), [(-1.0, [0.0, 0.0]), (0.0, [1.0, 1.0]), (-1.25, [0.25, 0.25])])
    def test_the_example_worked_by_hand(self, b, expected):
        assert_close(kkt_violation(np.array([0.5, 0.5]), b, TWO_Y, TWO_K, 1.0), np.array(expected))

    @pytest.mark.parametrize(("alpha", "b", "expected"), [
        (0.0, 0.25, 0.75), (0.0, 1.0, 0.0), (0.0, 3.0, 0.0),
        (2.0, -1.75, 0.0), (2.0, -1.0, 0.0), (2.0, 1.0, 2.0),
        (0.5, 0.0, 0.5), (0.5, 1.0, 0.5), (0.5, 0.5, 0.0),
        (1e-10, 3.0, 2.0), (2 - 1e-10, -1.75, 0.75),
    ])  # fmt: skip
    def test_each_case_by_itself(self, alpha, b, expected):
        # One row of class 1 with K = 1 and c = 2: its margin is alpha + b.
        got = kkt_violation(np.array([alpha]), b, np.array([1]), np.ones((1, 1)), 2.0)
        assert_close(got, np.array([expected]))

    @pytest.mark.parametrize("c", [0.7, 4.0])
    def test_matches_the_conditions_row_by_row(self, rng, c):
        x, y = clouds(rng, 12)
        alpha = rng.choice([0.0, 0.3, c], 12)
        k = x @ x.T
        assert_close(kkt_violation(alpha, 0.4, y, k, c), violations(alpha, 0.4, y, k, c))


class TestSmoStep:
    def test_alphas_may_be_integers_and_stay_as_they_were(self):
        alpha = np.array([0, 0])
        assert_close(smo_step(alpha, TWO_Y, TWO_K, 1.0, 0, 1), np.array([0.5, 0.5]))
        assert_equal(alpha.tolist(), [0, 0])

    def test_nothing_to_gain_is_a_new_array_as_well(self):
        alpha = np.array([0.5, 0.5])
        got = smo_step(alpha, TWO_Y, TWO_K, 1.0, 0, 1)
        assert_close(got, np.array([0.5, 0.5]))
        got[:] = 9.0
        assert_equal(alpha.tolist(), [0.5, 0.5])
        equal = np.ones((2, 2))  # two equal rows of one class
        assert_equal(str(smo_step(np.array([1, 2]), np.array([1, 1]), equal, 5.0, 0, 1).dtype), "float64")

    @pytest.mark.parametrize(("i", "j"), [(0, 1), (1, 0)])
    @pytest.mark.parametrize(("c", "expected"), [(1.0, 0.5), (0.25, 0.25)])
    def test_the_example_worked_by_hand(self, i, j, c, expected):
        assert_close(smo_step(np.zeros(2), TWO_Y, TWO_K, c, i, j), np.array([expected, expected]))

    @pytest.mark.parametrize("c", [0.6, 5.0])
    @pytest.mark.parametrize(
        ("signs", "start"), [((1, -1), (0.2, 0.4)), ((1, 1), (0.1, 0.5)), ((-1, -1), (0.6, 0.0)), ((-1, 1), (0.0, 0.6))]
    )
    def test_is_the_highest_point_of_the_line(self, rng, c, signs, start):
        x, y = clouds(rng, 7)
        y[[4, 2]] = signs
        alpha = rng.uniform(0, 0.5, 7)
        alpha[[4, 2]] = start
        k = np.exp(-((x[:, None] - x) ** 2).sum(axis=2))
        moves = np.linspace(-c, c, 20_001)
        lines = np.tile(alpha, (len(moves), 1))
        lines[:, 4] += signs[0] * moves
        lines[:, 2] -= signs[1] * moves
        allowed = ((lines[:, [4, 2]] >= -1e-12) & (lines[:, [4, 2]] <= c + 1e-12)).all(axis=1)
        signed = lines * y
        heights = np.where(allowed, lines.sum(axis=1) - ((signed @ k) * signed).sum(axis=1) / 2, -np.inf)
        # The grid's spacing is c/10,000.
        assert_close(smo_step(alpha, y, k, c, 4, 2), lines[heights.argmax()], atol=c * 1.5e-4, rtol=0)

    @pytest.mark.parametrize(("start", "expected"), [((0.0, 0.0), (2.0, 2.0)), ((1.5, 1.0), (2.0, 1.5))])
    def test_two_equal_rows_of_unequal_classes_go_to_the_end(self, start, expected):
        k, y = np.ones((2, 2)), np.array([-1, 1])
        assert_close(smo_step(np.array(start), y, k, 2.0, 0, 1), np.array(expected))

    def test_two_equal_rows_of_one_class_stay(self):
        alpha = np.array([0.3, 0.6])
        assert_close(smo_step(alpha, np.array([1, 1]), np.ones((2, 2)), 2.0, 0, 1), alpha)

    def test_all_other_alphas_stay_and_so_does_the_sum(self, rng):
        x, y = clouds(rng, 9)
        alpha = rng.uniform(0, 1, 9)
        new = smo_step(alpha, y, x @ x.T + np.eye(9), 1.0, 3, 8)
        assert_close(np.delete(new, [3, 8]), np.delete(alpha, [3, 8]))
        assert_close(float(new @ y), float(alpha @ y))

    @pytest.mark.parametrize("first", [0.2208, 0.2832])
    @pytest.mark.parametrize(("i", "j"), [(0, 1), (1, 0)])
    def test_rounding_leads_no_alpha_past_its_bound(self, i, j, first):
        # Here 0.2208 + (1.3 - 0.2208) is a little above 1.3, and 0.2832 + (1.3 - 0.2832) a little below.
        start, y = np.array([first, 0.125]), np.array([1, -1])
        got = smo_step(start, y, np.eye(2) / 100, 1.3, i, j)
        assert_equal(float(got[0]), 1.3)
        assert_close(float(got[1]), 1.3 - first + 0.125)

    def test_a_clipped_alpha_is_exactly_at_its_bound(self, rng):
        for _ in range(50):
            x, y = clouds(rng, 5)
            y[:2] = 1, -1
            alpha = rng.uniform(0, 0.1, 5)
            new = smo_step(alpha, y, x @ x.T / 100, 0.1, 0, 1)
            near = np.minimum(np.abs(new), np.abs(new - 0.1))[:2]
            if ((near > 0) & (near < 1e-12)).any() or (new < 0).any() or (new > 0.1).any():
                fail(
                    f"alpha is {new[:2].tolist()} with c = 0.1; set it to 0 or c itself where it is clipped",
                    evidence="near",
                )


def kernels(x, kind):
    if kind == "linear":
        return x @ x.T
    return np.exp(-0.5 * ((x[:, None] - x) ** 2).sum(axis=2)) if kind == "rbf" else (x @ x.T / 4 + 1) ** 2


class TestSmo:
    @pytest.mark.parametrize(
        ("kind", "c"), [("linear", 0.1), ("rbf", 1.0), ("polynomial", 1.0), ("linear", 5.0), ("rbf", 5.0)]
    )
    def test_reaches_scikit_learns_dual_objective(self, rng, kind, c):
        from sklearn.svm import SVC as Oracle

        x, y = clouds(rng, 45, 2, 0.8)
        k = kernels(x, kind)
        oracle = Oracle(kernel="precomputed", C=c, tol=1e-10).fit(k, y)
        signed = np.zeros(45)
        signed[oracle.support_] = oracle.dual_coef_[0]
        highest = float(np.abs(signed).sum() - signed @ k @ signed / 2)
        alpha, b = smo(y, k, c, 1e-7)
        assert_close(float(alpha.sum() - (alpha * y) @ k @ (alpha * y) / 2), highest, rtol=1e-6, atol=1e-6)
        assert_close(float(alpha @ y), 0.0)
        assert_equal((bool((alpha >= 0).all()), bool((alpha <= c).all())), (True, True))
        worst = float(violations(alpha, b, y, k, c).max())
        if worst > 1.01e-7:
            fail(f"a row violates its condition by {worst:.1e}; go on until none is above tol = 1e-7", evidence="kkt")

    @pytest.mark.parametrize("tol", [1e-1, 1e-4, None])
    def test_ends_when_no_row_is_off_by_more_than_tol(self, rng, tol):
        x, y = clouds(rng, 30)
        k = kernels(x, "rbf")
        alpha, b = smo(y, k, 2.0) if tol is None else smo(y, k, 2.0, tol)
        worst, tol = float(violations(alpha, b, y, k, 2.0).max()), tol or 1e-6
        if worst > tol * 1.01:
            fail(f"a row violates its condition by {worst:.1e}; go on until none is above tol = {tol}", evidence="kkt")

    def test_the_example_worked_by_hand(self):
        assert_close(smo(TWO_Y, TWO_K, 1.0), (np.array([0.5, 0.5]), -1.0), atol=1e-5)  # tol is 1e-6

    def test_the_default_tolerance(self, rng):
        # Where a search ends is a matter of chance: of thirty, some would end between 1e-6 and 2e-6.
        worst = 0.0
        for _ in range(30):
            x, y = clouds(rng, 12)
            k = kernels(x, "rbf")
            worst = max(worst, float(violations(*smo(y, k, 5.0), y, k, 5.0).max()))
        if worst > 1.01e-6:
            fail(f"a row violates its condition by {worst:.1e}; go on until none is above tol = 1e-6", evidence="kkt")

    def test_the_offset_where_no_alpha_is_free(self):
        # Both at c = 0.25, so w = 0.5: a margin of 1 or less is asked of both, 0 - b ≤ 1 and 1 + b ≤ 1.
        alpha, b = smo(TWO_Y, TWO_K, 0.25)
        assert_close(alpha, np.array([0.25, 0.25]))
        assert_equal(-1 - 1e-5 <= b <= 1e-5, True)

    def test_equal_rows_of_unequal_classes(self):
        k, y = np.ones((4, 4)), np.array([1, -1, 1, 1])
        alpha, b = smo(y, k, 1.5)
        assert_close((float(alpha.sum()), float(alpha @ y)), (3.0, 0.0), atol=1e-5)
        assert_close(violations(alpha, b, y, k, 1.5), np.zeros(4), atol=1e-5)

    def test_max_steps_ends_it(self, rng):
        x, y = clouds(rng, 30)
        assert_close(smo(y, x @ x.T, 1.0, max_steps=0)[0], np.zeros(30))
        alpha, _ = smo(y, x @ x.T, 1.0, max_steps=1)
        assert_equal(int((alpha > 0).sum()) <= 2, True)
        alpha, _ = smo(y, x @ x.T, 1.0, max_steps=3)
        assert_equal(int((alpha > 0).sum()) <= 6, True)


class TestMarginWidth:
    def test_the_example_worked_by_hand(self):
        assert_close(margin_width(np.array([0.5, 0.5]), TWO_Y, TWO_K), 2.0)

    def test_is_two_over_the_length_of_w(self, rng):
        x, y = clouds(rng, 8, 3)
        alpha = rng.random(8)
        w = (alpha * y) @ x
        assert_close(margin_width(alpha, y, x @ x.T), float(2 / np.sqrt((w**2).sum())))


def rbf(a, b):
    return np.exp(-0.3 * ((a[:, None] - b) ** 2).sum(axis=2))


def line(a, b):
    return a @ b.T


class TestSVC:
    @pytest.mark.parametrize(
        ("kernel", "c", "names"), [(line, 0.5, (3, 8)), (rbf, 1.0, ("cat", "ant")), (rbf, 8.0, (-1, 1))]
    )
    def test_decides_as_scikit_learn(self, rng, kernel, c, names):
        from sklearn.svm import SVC as Oracle

        x, signs = clouds(rng, 40, 3, 0.6)
        y = np.where(signs > 0, names[1], names[0])
        new = rng.normal(size=(15, 3))
        model = SVC(kernel, c, 1e-8)
        model.fit(x, y)
        oracle = Oracle(kernel=kernel, C=c, tol=1e-10).fit(x, y)
        assert_equal(model.classes.tolist(), sorted(names))
        assert_close(model.decision(new), oracle.decision_function(new), atol=1e-5)  # tol is 1e-8
        assert_equal(model.predict(new), oracle.predict(new))
        assert_equal(model.alpha.shape, (40,))
        assert_close(float(model.b), float(oracle.intercept_[0]), atol=1e-5)
        assert_equal(model.support, np.flatnonzero(model.alpha > 0))

    @pytest.mark.parametrize("tol", [None, 1e-2, 1e-9])
    def test_no_row_is_off_by_more_than_tol(self, rng, tol):
        x, y = clouds(rng, 30)
        model = SVC(rbf, 2.0) if tol is None else SVC(rbf, 2.0, tol)
        model.fit(x, y)
        worst, limit = float(violations(model.alpha, model.b, y, rbf(x, x), 2.0).max()), tol or 1e-6
        if worst > limit * 1.01:
            fail(f"a row violates its condition by {worst:.1e}; go on until none is above tol = {limit}", evidence="kkt")

    def test_a_second_fit_forgets_the_first(self, rng):
        x, y = clouds(rng, 20)
        model, fresh = SVC(rbf, 2.0), SVC(rbf, 2.0)
        model.fit(rng.normal(size=(30, 2)), np.arange(30) % 2 + 5)
        model.fit(x, y)
        fresh.fit(x, y)
        assert_close(model.decision(x), fresh.decision(x), atol=1e-5)
        assert_equal(model.classes.tolist(), [-1, 1])

    def test_the_rows_may_change_after_the_fit(self, rng):
        x, y = clouds(rng, 20)
        model = SVC(rbf)
        model.fit(x, y)
        before, new = model.decision(x), x.copy()
        x[:] = 0
        y[:] = 1
        assert_close(model.decision(new), before)

    def test_c_is_one_by_default(self, rng):
        x, y = clouds(rng, 40, 2, 0.2)
        model = SVC(line)
        model.fit(x, y)
        assert_close(float(model.alpha.max()), 1.0)

    @pytest.mark.parametrize("y", [[4, 4, 4], [4, 5, 6]])
    def test_rejects_other_than_two_classes(self, y):
        with raises(ValueError, len(set(y))):
            SVC(line).fit(np.arange(3.0)[:, None], np.array(y))

    def test_tells_tumours_apart(self, cancer):
        from sklearn.svm import SVC as Oracle

        x, y = cancer
        x = (x - x.mean(axis=0)) / x.std(axis=0)

        def kernel(a, b):
            return np.exp(-((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T) / 30)

        model = SVC(kernel, 1.0, 1e-4)
        model.fit(x[:250], y[:250])
        oracle = Oracle(kernel="rbf", gamma=1 / 30).fit(x[:250], y[:250])
        right = (model.predict(x[250:]) == y[250:]).mean()
        assert_close(float(right), float(oracle.score(x[250:], y[250:])), atol=0.015, rtol=0)  # rows at the boundary
