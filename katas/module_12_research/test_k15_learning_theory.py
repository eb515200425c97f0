"""Judges k15_learning_theory by brute force over dichotomies, by simulation, and by the training of a wide net."""

import itertools
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure
from fixtures.without_warnings import without_warnings
from katas.module_12_research.k15_learning_theory import (
    box_dichotomies,
    descent_risk,
    empirical_rademacher,
    halfplane_dichotomies,
    hoeffding_gap,
    kernel_training,
    minimum_norm,
    ntk,
    samples_needed,
    train_wide_net,
    vc_dimension,
    vc_gap,
)

pytestmark = [from_scratch("numpy.linalg.pinv", "numpy.linalg.lstsq", "scipy.linalg", "sklearn"), pure()]


class TestHoeffdingGap:
    def test_the_example_worked_by_hand(self):
        assert_close(hoeffding_gap(100, 1, 0.05), 0.1358, atol=5e-5, rtol=0)

    @pytest.mark.parametrize(("n", "hypotheses", "delta"), [(7, 3, 0.2), (5000, 10**12, 0.01)])
    def test_each_hypothesis_gets_its_share_of_delta(self, n, hypotheses, delta):
        gap = hoeffding_gap(n, hypotheses, delta)
        assert_close(2 * math.exp(-2 * n * gap**2) * hypotheses, delta)

    @pytest.mark.parametrize("delta", [0.05, 0.3])
    def test_holds_in_simulation_for_all_at_once(self, delta, rng):
        gap = hoeffding_gap(50, 8, delta)
        broken = int((np.abs(rng.binomial(50, 0.5, (2000, 8)) / 50 - 0.5).max(1) > gap).sum())
        if broken > 2000 * delta + 5 * math.sqrt(2000 * delta):
            fail(f"with δ = {delta} the bound is broken in {broken} of 2000 experiments", evidence=broken)


class TestVcGap:
    def test_the_example_worked_by_hand(self):
        assert_close(vc_gap(1000, 3, 0.05), 0.2333, atol=5e-5, rtol=0)

    @pytest.mark.parametrize(("n", "dimension", "delta"), [(9, 4, 0.3), (200, 1, 0.01), (10**9, 3, 0.05), (3000, 1500, 0.1)])
    def test_the_formula(self, n, dimension, delta):
        growth, term = 1, 1
        for i in range(1, dimension + 1):
            term = term * (n - i + 1) // i
            growth += term
        expected = (2 * math.log(growth) / n) ** 0.5 + (-math.log(delta) / (2 * n)) ** 0.5
        assert_close(vc_gap(n, dimension, delta), expected, rtol=1e-7, atol=1e-12)

    @pytest.mark.parametrize(("n", "dimension"), [(1, 5), (4, 4), (6, 9)])
    def test_up_to_the_dimension_everything_is_possible(self, n, dimension):
        assert_close(vc_gap(n, dimension, 0.1), math.sqrt(2 * math.log(2)) + math.sqrt(math.log(10) / (2 * n)))

    def test_holds_in_simulation(self, rng):
        # Thresholds on the line, VC dimension 1; labels are coins, so each one's true error is ½.
        gap, broken = vc_gap(40, 1, 0.3), 0
        for _ in range(400):
            labels = rng.integers(0, 2, 40)
            ones = np.concatenate([[0], np.cumsum(labels)])
            errors = ones + np.arange(41)[::-1] - (ones[-1] - ones)  # left of the cut 0 is said, right of it 1
            broken += bool(0.5 - errors.min() / 40 > gap)
        if broken > 120 + 48:
            fail(f"with δ = 0.3 the bound is broken in {broken} of 400 experiments", evidence=broken)


class TestSamplesNeeded:
    def test_the_example_worked_by_hand(self):
        assert_equal(samples_needed(lambda n: math.sqrt(math.log(2 * 1000 / 0.05) / (2 * n)), 0.05), 2120)

    @pytest.mark.parametrize("least", [1, 2, 3, 4, 5, 63, 64, 65, 1_000_000_007])
    def test_the_smallest_within_200_calls(self, least):
        calls = []

        def gap_of(n):
            calls.append(n)
            return 0.3 if n < least else 0.25 if n == least else 0.2

        assert_equal(samples_needed(gap_of, 0.25), least)
        assert_equal((len(calls) <= 200, min(calls) >= 1), (True, True))

    def test_a_bound_with_steps(self):
        found = samples_needed(lambda n: 1 / (n // 10 + 1), 0.2)
        assert_equal(found, 40)

    def test_of_the_vc_bound(self):
        n = samples_needed(lambda n: vc_gap(n, 4, 0.05), 0.1)
        assert_equal((vc_gap(n, 4, 0.05) <= 0.1, vc_gap(n - 1, 4, 0.05) > 0.1), (True, True))


def plain(found) -> set:
    return {tuple(bool(value) for value in row) for row in found}


def boxes_by_force(points) -> set:
    """A labelling is possible if the smallest box around its points holds no other point."""
    n, found = len(points), set()
    for labels in itertools.product([False, True], repeat=n):
        inside = [points[i] for i in range(n) if labels[i]]
        if inside:
            low, high = np.min(inside, axis=0), np.max(inside, axis=0)
            box = tuple(bool((low <= p).all() and (p <= high).all()) for p in points)
        found |= {labels} if not inside or box == labels else set()
    return found


LINE = np.array([[2.0], [5.0], [3.0]])
SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


class TestBoxDichotomies:
    def test_the_example_worked_by_hand(self):
        # The middle one of the three is the last.
        assert_equal(plain(box_dichotomies(LINE)), set(itertools.product([False, True], repeat=3)) - {(True, True, False)})

    @pytest.mark.parametrize("n", [1, 2, 5, 8])
    def test_intervals_grow_like_a_square(self, n, rng):
        points = rng.normal(0, 1, (n, 1))
        found = plain(box_dichotomies(points))
        assert_equal((len(found), found), (n * (n + 1) // 2 + 1, boxes_by_force(points)))

    @pytest.mark.parametrize("n", [1, 4, 7])
    def test_rectangles_by_brute_force(self, n, rng):
        points = rng.normal(0, 1, (n, 2))
        assert_equal(plain(box_dichotomies(points)), boxes_by_force(points))

    def test_points_with_equal_coordinates(self):
        grid = np.array([[x, y] for x in (0, 1, 5) for y in (2, 3)])
        assert_equal(plain(box_dichotomies(grid)), boxes_by_force(grid))


def separable(points, labels) -> bool:
    from scipy.optimize import linprog

    sign = np.where(labels, -1.0, 1.0)[:, None]
    # Is there (w, b) with sign · (b - w·x) at least 1 on the right side of each?
    rows = sign * np.concatenate([points, -np.ones((len(points), 1))], axis=1)
    return linprog(np.zeros(3), A_ub=rows, b_ub=-np.ones(len(points)), bounds=[(None, None)] * 3).status == 0


def halfplanes_by_force(points) -> set:
    return {labels for labels in itertools.product([False, True], repeat=len(points)) if separable(points, np.array(labels))}


class TestHalfplaneDichotomies:
    def test_the_example_worked_by_hand(self):
        diagonals = {(True, False, True, False), (False, True, False, True)}
        assert_equal(plain(halfplane_dichotomies(SQUARE)), set(itertools.product([False, True], repeat=4)) - diagonals)

    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_by_linear_programs(self, n, rng):
        points = rng.normal(0, 1, (n, 2))
        found = plain(halfplane_dichotomies(points))
        assert_equal((len(found), found), (n * (n - 1) + 2, halfplanes_by_force(points)))

    @pytest.mark.parametrize("n", [6, 8])
    def test_how_they_grow(self, n, rng):
        angles = np.sort(rng.random(n)) + np.arange(n)
        found = halfplane_dichotomies(np.stack([np.cos(angles * 2 * np.pi / n), np.sin(angles * 2 * np.pi / n)], 1))
        assert_equal(len(plain(found)), n * (n - 1) + 2)

    @pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (3.0, -7.0)])
    def test_points_on_one_line(self, direction):
        points = np.array([1.0, 4.0, 2.0, 7.0])[:, None] * np.array(direction) + np.array([1.0, -3.0])
        assert_equal(plain(halfplane_dichotomies(points)), halfplanes_by_force(points))

    def test_three_on_a_line_and_one_beside(self):
        points = np.array([[1.0, 3.0], [2.0, 6.0], [7.0, 21.0], [10.0, 4.0]])
        assert_equal(plain(halfplane_dichotomies(points)), halfplanes_by_force(points))


class TestVcDimension:
    def test_the_example_worked_by_hand(self):
        diamond = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, -1.0], [-1.0, 0.1], [0.05, 0.02]])
        found = [vc_dimension(boxes_by_force, np.array([[1.0], [4.0], [2.0], [7.0]])), vc_dimension(boxes_by_force, diamond)]
        found.append(vc_dimension(halfplanes_of_five, diamond))
        assert_equal(found, [2, 4, 3])

    @pytest.mark.parametrize("d", [0, 1, 3])
    def test_at_most_d_points_inside(self, d):
        def few(points):
            return {row for row in itertools.product([False, True], repeat=len(points)) if sum(row) <= d}

        assert_equal(vc_dimension(few, np.arange(5.0)[:, None]), d)

    def test_only_one_subset_is_shattered(self):
        # The class knows the points 3, 5 and 8 in every combination, and says no to all others.
        def special(points):
            choices = [[False, True] if p in (3, 5, 8) else [False] for p in points[:, 0]]
            return set(itertools.product(*choices))

        assert_equal(vc_dimension(special, np.array([[1.0], [8.0], [2.0], [5.0], [9.0], [3.0]])), 3)

    def test_all_points(self):
        def everything(points):
            return set(itertools.product([False, True], repeat=len(points)))

        assert_equal(vc_dimension(everything, np.arange(4.0)[:, None]), 4)


def halfplanes_of_five(points) -> set:
    """Half-planes by a thousand random lines and all directions in between: enough for a handful of points."""
    angles = np.linspace(0, np.pi, 721)[:-1] + 1e-4
    found = set()
    for direction in np.stack([np.cos(angles), np.sin(angles)], 1):
        order = np.argsort(points @ direction)
        for cut in range(len(points) + 1):
            side = np.zeros(len(points), dtype=bool)
            side[order[:cut]] = True
            found |= {tuple(side.tolist()), tuple((~side).tolist())}
    return found


def all_signs(n: int) -> np.ndarray:
    return np.array(list(itertools.product([-1, 1], repeat=n)))


class TestEmpiricalRademacher:
    def test_the_example_worked_by_hand(self):
        assert_close(empirical_rademacher(np.array([[1, 1], [-1, -1]]), all_signs(2)), 0.5)

    @pytest.mark.parametrize(("hypotheses", "n", "count"), [(1, 4, 3), (5, 3, 7), (4, 6, 20)])
    def test_one_by_one(self, hypotheses, n, count, rng):
        outputs, signs = rng.normal(0, 1, (hypotheses, n)), rng.choice([-1, 1], (count, n))
        expected = sum(max(sum(s * h for s, h in zip(row, output, strict=True)) / n for output in outputs) for row in signs) / count
        assert_close(empirical_rademacher(outputs, signs), float(expected))

    def test_one_hypothesis_fits_no_noise_and_all_of_them_fit_it_all(self):
        assert_close(empirical_rademacher(np.array([[1.0, -2.0, 0.5]]), all_signs(3)), 0.0)
        assert_close(empirical_rademacher(all_signs(4), all_signs(4)), 1.0)

    def test_massarts_bound(self, rng):
        outputs = rng.choice([-1, 1], (6, 8))
        assert_equal(0 < empirical_rademacher(outputs, all_signs(8)) <= math.sqrt(2 * math.log(6) / 8), True)


class TestMinimumNorm:
    def test_the_example_worked_by_hand(self):
        assert_close(minimum_norm(np.array([[1.0, 1.0]]), np.array([2.0])), np.array([1.0, 1.0]))

    @pytest.mark.parametrize(("n", "p"), [(9, 4), (5, 5), (4, 9), (1, 3), (3, 1)])
    def test_matches_numpy(self, n, p, rng):
        x, y = rng.normal(0, 1, (n, p)), rng.normal(0, 1, n)
        assert_close(minimum_norm(x, y), np.linalg.pinv(x) @ y, rtol=1e-6)

    @pytest.mark.parametrize(("n", "p"), [(6, 4), (4, 6)])
    def test_columns_that_repeat(self, n, p, rng):
        x, y = rng.normal(0, 1, (n, 2)) @ rng.normal(0, 1, (2, p)), rng.normal(0, 1, n)
        assert_close(minimum_norm(x, y), np.linalg.pinv(x, rcond=1e-8) @ y, rtol=1e-5)

    @pytest.mark.parametrize(("small", "counts"), [(1e-8, True), (1e-11, False)])
    def test_what_counts_as_0(self, small, counts):
        # Relative to the largest one, 1000.
        found = minimum_norm(np.diag([1000.0, 1000 * small]), np.array([1.0, 1.0]))
        assert_close(found, np.array([1e-3, 1 / (1000 * small) if counts else 0.0]))

    def test_zeros(self):
        with without_warnings():
            found = minimum_norm(np.zeros((2, 3)), np.array([1.0, 2.0]))
        assert_close(found, np.zeros(3))


ONES = np.ones(20)


class TestDescentRisk:
    def test_the_example_worked_by_hand(self):
        found = [descent_risk(10, p, ONES, 1.0) for p in (0, 5, 10, 15, 20)]
        assert_close(found, [21.0, 36.0, math.inf, 26.0, 10 + 1 + 10 / 9])

    @pytest.mark.parametrize("p", [4, 5, 6, 7, 8, 9, 10])
    def test_around_the_peak(self, p):
        beta = np.array([3.0, 0, 1, 2, 0.5, 1, 1, 1, 2, 1, 3, 1])
        used, rest = float((beta[:p] ** 2).sum()), float((beta[p:] ** 2).sum()) + 0.25
        expected = {
            4: rest * (1 + 4 / 2),
            5: rest * (1 + 5 / 1),
            9: used * (1 - 7 / 9) + rest * (1 + 7 / 1),
            10: used * (1 - 7 / 10) + rest * (1 + 7 / 2),
        }.get(p, math.inf)
        assert_close(descent_risk(7, p, beta, 0.5), expected)

    @pytest.mark.parametrize("p", [0, 3, 9, 25, 40])
    def test_is_what_least_norm_does_on_average(self, p, rng):
        n, noise = 15, 0.7
        beta = np.linspace(1.2, 0.2, 40)
        risks = []
        for _ in range(500):
            x = rng.normal(0, 1, (n, 40))
            y = x @ beta + rng.normal(0, noise, n)
            w = np.zeros(40)
            w[:p] = np.linalg.pinv(x[:, :p]) @ y if p else 0
            risks.append(float(np.sum((w - beta) ** 2)) + noise**2)
        # The mean of 500 has a standard error of 1 to 3%.
        assert_close(float(np.mean(risks)), descent_risk(n, p, beta, noise), rtol=0.15, atol=0)

    def test_integers(self):
        assert_close(descent_risk(4, 1, np.array([2, 1], dtype=np.uint8), 2), 5 * 1.5)


class TestNtk:
    def test_the_example_worked_by_hand(self):
        assert_close(ntk(np.array([[1.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 0.0]])), np.array([[0.375, 0.5]]))

    @pytest.mark.parametrize(("n", "k", "d"), [(3, 4, 2), (5, 1, 6)])
    def test_one_by_one(self, n, k, d, rng):
        x, z = 3 * rng.normal(0, 1, (n, d)), rng.normal(0, 1, (k, d))
        expected = [[p @ q * (np.pi - np.arccos(p @ q / np.sqrt(p @ p) / np.sqrt(q @ q))) / (2 * np.pi) for q in z] for p in x]
        assert_close(ntk(x, z), np.array(expected))

    def test_with_itself_and_its_opposite(self, rng):
        x = rng.normal(0, 1, (200, 3))
        with without_warnings():
            same, opposite = np.diag(ntk(x, x)), np.diag(ntk(x, -2 * x))
        assert_close(same, (x * x).sum(1) / 2, rtol=1e-6)  # the arccos is steep there
        assert_close(opposite, np.zeros(200), atol=1e-6)

    def test_zeros(self):
        with without_warnings():
            found = ntk(np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[3.0, 1.0], [0.0, 0.0]]))
        assert_close(found[[0, 0, 1], [0, 1, 1]], np.zeros(3))

    def test_is_the_mean_over_random_units(self, rng):
        x = rng.normal(0, 1, (4, 3))
        w = rng.normal(0, 1, (40_000, 3))
        on = (x @ w.T > 0).astype(float)
        assert_close(ntk(x, x), x @ x.T * (on @ on.T) / 40_000, atol=0.1, rtol=0)


def net(x, w, a):
    return np.array([sum(a[j] * max(0.0, float(w[j] @ row)) for j in range(len(a))) / math.sqrt(len(a)) for row in x])


class TestTrainWideNet:
    def test_the_example_worked_by_hand(self):
        one = np.ones((1, 1))
        found = train_wide_net(2 * one, np.zeros(1), one, np.ones(1), 0.1, 1)
        assert_close(found, (np.array([1.2]), np.array([[0.6]])))

    @pytest.mark.parametrize("steps", [1, 3])
    @pytest.mark.parametrize("lr", [0.05, 0.4])
    def test_the_gradient_by_finite_differences(self, steps, lr, rng):
        x, y = rng.normal(0, 1, (4, 3)), rng.normal(0, 1, 4)
        w, a = rng.normal(0, 1, (5, 3)), rng.normal(0, 1, 5)
        expected = w.copy()
        for _ in range(steps):
            slope = np.zeros_like(w)
            for place in np.ndindex(w.shape):
                for side in (1e-6, -1e-6):
                    moved = expected.copy()
                    moved[place] += side
                    slope[place] += np.sum((net(x, moved, a) - y) ** 2) / 2 / (2 * side)
            expected = expected - lr * slope
        f, found = train_wide_net(x, y, w, a, lr, steps)
        assert_close((f, found), (net(x, expected, a), expected), rtol=1e-5, atol=1e-6)  # of finite differences

    def test_no_steps(self, rng):
        x, w, a = rng.normal(0, 1, (3, 2)), rng.normal(0, 1, (4, 2)), rng.normal(0, 1, 4)
        f, found = train_wide_net(x, np.zeros(3), w, a, 0.1, 0)
        assert_close((f, found), (net(x, w, a), w))

    def test_a_unit_at_0_is_off(self):
        _, found = train_wide_net(np.ones((1, 2)), np.array([5.0]), np.array([[1.0, -1.0]]), np.ones(1), 0.1, 1)
        assert_close(found, np.array([[1.0, -1.0]]))

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    def test_a_wide_net_is_its_kernel(self, rng):
        x = rng.normal(0, 1, (6, 4))
        x /= np.sqrt((x * x).sum(1, keepdims=True))
        y = rng.normal(0, 1, 6)
        dots = np.clip(x @ x.T, -1, 1)
        kernel = dots * (np.pi - np.arccos(dots)) / (2 * np.pi)
        apart = []
        for width in (20, 20_000):
            differences = []
            for _ in range(4 if width < 1000 else 1):
                w, a = rng.normal(0, 1, (width // 2, 4)), np.repeat([1.0, -1.0], width // 2)
                f, _ = train_wide_net(x, y, np.concatenate([w, w]), a, 0.3, 60)  # in pairs: it starts from f = 0
                linear = np.zeros(6)
                for _ in range(60):
                    linear = linear - 0.3 * kernel @ (linear - y)
                differences.append(float(np.abs(f - linear).max()))
            apart.append(float(np.mean(differences)))
        if not (apart[1] < 0.06 and apart[1] < apart[0] / 2):
            fail(f"with 20 units the net is {apart[0]:.3f} away from its kernel, with 20,000 {apart[1]:.3f}", evidence=apart[1])


class TestKernelTraining:
    def test_the_example_worked_by_hand(self):
        one = np.ones(1)
        found = [kernel_training(np.array([[2.0]]), one, 0 * one, 0.25, steps) for steps in (1, 2)]
        assert_close(found, [np.array([0.5]), np.array([0.75])])

    @pytest.mark.parametrize("steps", [0, 1, 7])
    @pytest.mark.parametrize("lr", [0.02, 0.1])
    def test_the_closed_form(self, steps, lr, rng):
        root = rng.normal(0, 1, (4, 4))
        kernel, y, start = root @ root.T, rng.normal(0, 1, 4), rng.normal(0, 1, 4)
        expected = y + np.linalg.matrix_power(np.eye(4) - lr * kernel, steps) @ (start - y)
        assert_close(kernel_training(kernel, y, start, lr, steps), expected)

    def test_integers(self):
        found = kernel_training(np.array([[1, 0], [0, 2]]), np.array([1, 1]), np.array([0, 3]), 0.25, 1)
        assert_close(found, np.array([0.25, 2.0]))

    def test_slow_directions_are_learned_last(self):
        found = kernel_training(np.diag([1.0, 0.01]), np.ones(2), np.zeros(2), 0.5, 20)
        assert_equal((found[0] > 0.999, found[1] < 0.11), (True, True))
