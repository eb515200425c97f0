"""Judges k07_systolic_array against numpy, closed-form timing and curves, and all placements tried."""

import itertools
import math
import operator

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k07_systolic_array import (
    SystolicArray,
    lif_neuron,
    place_operators,
    systolic_matmul,
    tiled_cycles,
    utilisation,
)

pytestmark = [
    from_scratch("@", "numpy.matmul", "numpy.dot", "numpy.einsum", "numpy.tensordot", "numpy.inner", "scipy"),
    pure(),
]

# m, k, n
SIZES = [(3, 4, 5), (5, 2, 3), (1, 4, 2), (2, 5, 1), (6, 1, 4), (1, 1, 1), (2, 7, 3), (3, 53, 2)]
# m, k, n, rows, cols
TILINGS = [
    (7, 5, 6, 5, 6),
    (3, 10, 9, 5, 3),
    (4, 11, 7, 5, 3),
    (9, 2, 3, 4, 6),
    (1, 9, 4, 4, 6),
    (20, 4, 13, 6, 4),
]


def check_cycles(cycles, expected) -> None:
    """A whole number, of an int's type: Python's or numpy's."""
    assert_equal(cycles, expected)
    try:
        operator.index(cycles)
    except TypeError:
        fail(f"the cycles must be an int, got a {type(cycles).__name__}")


class TestSystolicArray:
    def test_the_example_worked_by_hand(self):
        array = SystolicArray(np.array([[1.0, 0, 2], [5, 1, 0]]))
        inputs = np.array([[1.0, 0], [3, 2], [0, 4], [0, 0], [0, 0]])
        bottom = np.stack([array.step(row)[-1] for row in inputs])
        assert_close(bottom, np.array([[0.0, 0, 0], [11, 0, 0], [23, 2, 0], [0, 4, 2], [0, 0, 6]]))

    @pytest.mark.parametrize("row", [0, 1, 3])
    def test_an_impulse_moves_right_and_its_sums_move_down(self, row, rng):
        w = rng.normal(size=(4, 3))
        array = SystolicArray(w)
        for t in range(9):
            expected = np.zeros((4, 3))
            for i, j in itertools.product(range(row, 4), range(3)):
                if t == j + i - row:
                    expected[i, j] = w[row, j]
            assert_close(array.step(np.eye(4)[row] * (t == 0)), expected)

    @pytest.mark.parametrize(("k", "n"), [(4, 3), (2, 5), (1, 3), (3, 1), (1, 1)])
    def test_every_cell_at_every_cycle(self, k, n, rng):
        w, inputs = rng.normal(size=(k, n)), rng.normal(size=(12, k))
        array = SystolicArray(w)
        for t in range(12):
            expected = np.zeros((k, n))
            for r, c, i in itertools.product(range(k), range(n), range(k)):
                started = t - c - (r - i)
                if i <= r and started >= 0:
                    expected[r, c] += inputs[started, i] * w[i, c]
            assert_close(array.step(inputs[t]), expected)

    def test_a_step_changes_neither_its_inputs_nor_what_earlier_steps_returned(self, rng):
        array = SystolicArray(rng.normal(size=(2, 3)))
        inputs = rng.normal(size=2)
        kept = inputs.copy()
        first = array.step(inputs)
        before = first.copy()
        array.step(np.ones(2))
        assert_close(inputs, kept)
        assert_close(first, before)

    def test_two_arrays_share_nothing(self, rng):
        w = rng.normal(size=(2, 3))
        busy, fresh = SystolicArray(w), SystolicArray(w)
        busy.step(np.ones(2))
        assert_close(fresh.step(np.zeros(2)), np.zeros((2, 3)))


class TestSystolicMatmul:
    def test_the_example_worked_by_hand(self):
        y, cycles = systolic_matmul(np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0, 2], [5, 1, 0]]))
        assert_close(y, np.array([[11.0, 2, 2], [23, 4, 6]]))
        check_cycles(cycles, 5)

    @pytest.mark.parametrize(("m", "k", "n"), SIZES)
    def test_matches_numpy_in_the_fewest_cycles(self, m, k, n, rng):
        x, w = rng.normal(size=(m, k)), rng.normal(size=(k, n))
        y, cycles = systolic_matmul(x, w)
        assert_close(y, x @ w, rtol=1e-10, atol=1e-12)  # float32 on the way would show
        check_cycles(cycles, m + k + n - 2)

    @pytest.mark.parametrize(("m", "k", "n"), SIZES)
    def test_feeds_the_array_one_skewed_row_of_inputs_a_cycle(self, m, k, n, rng, monkeypatch):
        x, w = rng.normal(size=(m, k)), rng.normal(size=(k, n))
        fed, step = [], SystolicArray.step

        def spy(self, inputs):
            fed.append(np.array(inputs))
            return step(self, inputs)

        monkeypatch.setattr(SystolicArray, "step", spy)
        systolic_matmul(x, w)
        cycles = m + k + n - 2
        expected = np.zeros((cycles, k))
        for r, i in itertools.product(range(m), range(k)):
            expected[r + i, i] = x[r, i]
        assert_equal(len(fed), cycles)
        assert_close(np.stack(fed), expected)

    def test_the_product_is_what_the_bottom_row_says(self, rng, monkeypatch):
        x, w = rng.normal(size=(3, 4)), rng.normal(size=(4, 5))
        step = SystolicArray.step
        monkeypatch.setattr(SystolicArray, "step", lambda self, inputs: -3.0 * step(self, inputs))
        assert_close(systolic_matmul(x, w)[0], -3.0 * (x @ w))

    @pytest.mark.parametrize(("k", "rows"), [(4, 5), (7, 3), (1, 4), (6, 1)])
    def test_rejects_widths_that_disagree(self, k, rows):
        with raises(ValueError, k, rows):
            systolic_matmul(np.ones((2, k)), np.ones((rows, 6)))


def timed(m: int, k: int, n: int, rows: int, cols: int, double_buffered: bool) -> int:
    """Cycles until the last cell of the last tile has seen the last row, tile by tile."""
    total = 0
    for tile, _ in enumerate(itertools.product(range(0, k, rows), range(0, n, cols))):
        if tile == 0 or not double_buffered:
            total += rows
        total += 1 + max(r + i + j for r, i, j in itertools.product(range(m), range(rows), range(cols)))
    return total


class TestTiledCycles:
    def test_the_example_worked_by_hand(self):
        check_cycles(tiled_cycles(100, 300, 300, 256, 256), 3464)
        check_cycles(tiled_cycles(100, 300, 300, 256, 256, True), 2696)

    @pytest.mark.parametrize(("m", "k", "n", "rows", "cols"), TILINGS)
    @pytest.mark.parametrize("double_buffered", [False, True])
    def test_matches_timing_tile_by_tile(self, m, k, n, rows, cols, double_buffered):
        expected = timed(m, k, n, rows, cols, double_buffered)
        check_cycles(tiled_cycles(m, k, n, rows, cols, double_buffered=double_buffered), expected)

    @pytest.mark.parametrize(("m", "k", "n", "rows", "cols"), TILINGS)
    def test_is_not_double_buffered_unless_asked(self, m, k, n, rows, cols):
        assert_equal(tiled_cycles(m, k, n, rows, cols), timed(m, k, n, rows, cols, False))


class TestUtilisation:
    def test_the_example_worked_by_hand(self):
        assert_close(utilisation(100, 300, 300, 256, 256), 0.0396, atol=1e-4, rtol=0)
        assert_close(utilisation(100, 300, 300, 256, 256, True), 0.0509, atol=1e-4, rtol=0)

    @pytest.mark.parametrize(("m", "k", "n", "rows", "cols"), TILINGS)
    @pytest.mark.parametrize("double_buffered", [False, True])
    def test_is_the_share_of_useful_products(self, m, k, n, rows, cols, double_buffered):
        available = rows * cols * timed(m, k, n, rows, cols, double_buffered)
        share = utilisation(m, k, n, rows, cols, double_buffered=double_buffered)
        assert_close(share, m * k * n / available)

    @pytest.mark.parametrize(("m", "k", "n", "rows", "cols"), TILINGS)
    def test_is_not_double_buffered_unless_asked(self, m, k, n, rows, cols):
        available = rows * cols * timed(m, k, n, rows, cols, False)
        assert_close(utilisation(m, k, n, rows, cols), m * k * n / available)


class TestLifNeuron:
    def test_the_example_worked_by_hand(self):
        potentials, spikes = lif_neuron(np.full(5, 1.6), 2.0, 1.0, -0.4, 2 * math.log(2))
        assert_close(potentials, np.array([0.8, -0.4, 0.6, -0.4, 0.6]))
        assert_close(spikes, np.array([False, True, False, True, False]))

    @pytest.mark.parametrize(("tau", "dt"), [(10.0, 1.0), (0.02, 0.003), (3.0, 5.0)])
    @pytest.mark.parametrize("current", [0.9, -2.0])
    def test_below_the_threshold_follows_the_closed_form_curve(self, current, tau, dt):
        potentials, spikes = lif_neuron(np.full(40, current), tau, 1.0, 0.3, dt)
        curve = current * (1 - np.exp(-dt * np.arange(1, 41) / tau))
        assert_close(potentials, curve, rtol=1e-10, atol=1e-12)  # float32 on the way would show
        assert_close(spikes, np.zeros(40, dtype=bool))

    def test_leaks_back_to_rest_when_the_current_stops(self):
        potentials, _ = lif_neuron(np.repeat([0.8, 0.0], [10, 30]), 7.0, 1.0, -0.2, 0.5)
        peak = 0.8 * (1 - math.exp(-5 / 7))
        assert_close(potentials[10:], peak * np.exp(-0.5 * np.arange(1, 31) / 7))

    @pytest.mark.parametrize("reset", [-0.7, 0.0, 0.45])
    @pytest.mark.parametrize(("current", "threshold"), [(2.3, 1.0), (3.1, 2.2)])
    @pytest.mark.parametrize(("tau", "dt"), [(11.0, 0.13), (5.0, 0.4)])
    def test_fires_at_the_closed_form_rate(self, reset, current, threshold, tau, dt):
        def steps(start):
            return math.ceil(tau * math.log((current - start) / (current - threshold)) / dt)

        potentials, spikes = lif_neuron(np.full(700, current), tau, threshold, reset, dt)
        expected = np.arange(steps(0.0) - 1, 700, steps(reset))
        assert len(expected) >= 5
        assert_close(np.flatnonzero(spikes), expected)
        assert_close(potentials[spikes], np.full(len(expected), reset))

    @pytest.mark.parametrize("start", [0.0, 0.7])
    def test_follows_a_current_that_changes(self, start, rng):
        # The sum over all past steps since the last spike, each leaked since it came in.
        current = rng.uniform(-1.0, 3.0, size=60) + start
        potentials, spikes = lif_neuron(current, 4.0, 1.0, -0.3, 1.5)
        keep, last, base = math.exp(-1.5 / 4), -1, 0.0
        expected, fired = np.zeros(60), np.zeros(60, dtype=bool)
        for t in range(60):
            ages = t - np.arange(last + 1, t + 1)
            since = (current[last + 1 : t + 1] * keep**ages).sum()
            expected[t] = base * keep ** (t - last) + (1 - keep) * since
            if expected[t] >= 1.0:
                expected[t], fired[t], last, base = -0.3, True, t, -0.3
        assert_close(potentials, expected)
        assert_close(spikes, fired)

    def test_reaching_the_threshold_exactly_is_a_spike(self):
        # e^-1000 is 0 in float64, so v is the current itself.
        current = np.array([1.0, 0.75, 1.5, 1 - 1e-9])
        potentials, spikes = lif_neuron(current, 1.0, 1.0, 0.25, 1000.0)
        assert_close(spikes, np.array([True, False, True, False]))
        assert_close(potentials, np.array([0.25, 0.75, 0.25, 1 - 1e-9]))

    def test_may_spike_in_one_step_after_the_other(self):
        potentials, spikes = lif_neuron(np.array([1.25, 1.5, 2.0, 0.5]), 1.0, 1.0, 0.25, 1000.0)
        assert_close(spikes, np.array([True, True, True, False]))
        assert_close(potentials, np.array([0.25, 0.25, 0.25, 0.5]))


def latency_of(placement, cpu, accelerator, transfer) -> float:
    seconds = sum(a if there else c for there, c, a in zip(placement, cpu, accelerator, strict=True))
    return seconds + transfer * sum(a != b for a, b in itertools.pairwise([False, *placement, False]))


def judge(cpu, accelerator, memory, budget, transfer, least) -> None:
    """The latency is the least, and the placement fits and has it."""
    placement, latency = place_operators(cpu, accelerator, memory, budget, transfer)
    assert_close(latency, least)
    assert_equal([type(there) for there in placement], [bool] * len(cpu))
    used = sum(size for size, there in zip(memory, placement, strict=True) if there)
    if used > budget:
        fail(f"What is placed on the accelerator takes {used} of memory, where the budget is {budget}.", evidence=used)
    assert_close(latency_of(placement, cpu, accelerator, transfer), least)


class TestPlaceOperators:
    def test_the_example_worked_by_hand(self):
        placement, latency = place_operators([5.0, 4.0, 5.0], [1.0, 2.0, 2.0], [6, 4, 4], 8, 0.5)
        assert_close(latency, 10.0)
        assert_equal(placement, [False, True, True])

    def test_the_transfers_in_and_out_count(self):
        assert_equal(place_operators([3.0], [1.0], [1], 1, 0.75), ([True], 2.5))
        assert_equal(place_operators([3.0], [1.0], [1], 1, 1.25), ([False], 3.0))

    def test_memory_may_fill_the_budget_but_not_exceed_it(self):
        assert_equal(place_operators([3.0, 3.0], [1.0, 1.0], [4, 3], 7, 0.25)[0], [True, True])
        assert_equal(place_operators([3.0, 4.0], [1.0, 1.0], [4, 3], 6, 0.25)[0], [False, True])
        assert_equal(place_operators([3.0, 4.0], [1.0, 1.0], [4, 0], 0, 0.25)[0], [False, True])

    def test_a_slower_operator_may_save_two_transfers(self):
        assert_equal(place_operators([9.0, 1.0, 9.0], [1.0, 2.0, 1.0], [1, 1, 1], 3, 2.0), ([True] * 3, 8.0))

    @pytest.mark.parametrize("transfer", [0.0, 0.3, 2.0])
    @pytest.mark.parametrize("n", [1, 2, 5, 8])
    # In the last case memory is counted in another unit, with large numbers that aren't round.
    @pytest.mark.parametrize(("budget", "unit"), [(0, 1), (7, 1), (15, 1), (60, 1), (15, 1001)])
    def test_no_placement_is_faster(self, budget, unit, n, transfer, rng):
        cpu, accelerator = rng.uniform(1, 6, size=n).tolist(), rng.uniform(0.2, 3, size=n).tolist()
        memory = (unit * rng.integers(0, 9, size=n)).tolist()
        least = min(
            latency_of(placement, cpu, accelerator, transfer)
            for placement in itertools.product([False, True], repeat=n)
            if sum(itertools.compress(memory, placement)) <= unit * budget
        )
        judge(cpu, accelerator, memory, unit * budget, transfer, least)

    def test_forty_operators_are_placed_exactly(self, rng):
        from scipy.optimize import Bounds, LinearConstraint, milp

        # Sixteenths of a second: two different latencies differ by far more than the solver's own gap.
        n, budget, transfer = 40, 200, 0.8125
        cpu, accelerator = rng.integers(16, 96, size=n) / 16, rng.integers(3, 64, size=n) / 16
        memory = rng.integers(3, 25, size=n)
        # n placements and n + 1 changes of device; a change is at least ± the difference of its two sides.
        difference = np.eye(n + 1, n) - np.eye(n + 1, n, k=-1)
        changes = -np.eye(n + 1)
        rows = np.block([[memory, np.zeros(n + 1)], [difference, changes], [-difference, changes]])
        found = milp(
            np.concatenate([accelerator - cpu, np.full(n + 1, transfer)]),
            integrality=np.repeat([1, 0], [n, n + 1]),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(rows, ub=np.concatenate([[budget], np.zeros(2 * n + 2)])),
            options={"mip_rel_gap": 0.0},
        )
        chosen = [bool(there) for there in found.x[:n] > 0.5]
        least = latency_of(chosen, cpu.tolist(), accelerator.tolist(), transfer)
        judge(cpu.tolist(), accelerator.tolist(), memory.tolist(), budget, transfer, least)
