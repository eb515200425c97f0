"""Judges k25_time_series against loops, closed forms and statsmodels if installed, and against looking ahead."""

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_02_machine_learning.k25_time_series import (
    decompose,
    fit_ar,
    forecast_ar,
    holt_winters,
    lag_features,
    mase,
    rolling_features,
    seasonal_naive,
    walk_forward,
    yule_walker,
)

pytestmark = [from_scratch("scipy", "pandas", "sklearn", "statsmodels"), pure()]

Y = np.array([1, 5, 3, 7, 5, 9])
INSTALL = "needs statsmodels: pip install -c constraints.txt -e '.[classics]'"


def seasons(rng, n=30, period=4):
    """A slope, a season and noise."""
    t = np.arange(n)
    return 10 + 0.7 * t + 5 * np.sin(2 * np.pi * t / period + 1) + rng.normal(size=n)


def monthly(co2):
    """The mean of each month of the weekly measurements, those without one filled in by a straight line."""
    dates, ppm = co2
    months = dates // 100
    means = np.array(
        [np.nanmean(ppm[months == m]) if np.isfinite(ppm[months == m]).any() else np.nan for m in np.unique(months)]
    )
    place = np.arange(len(means))
    known = np.isfinite(means)
    return np.interp(place, place[known], means[known])


class TestLagFeatures:
    def test_each_row_holds_earlier_values(self):
        nan = np.nan
        expected = np.array([[nan, nan], [1, nan], [5, nan], [3, 1], [7, 5], [5, 3]])
        assert_close(lag_features(Y, [1, 3]), expected)

    @pytest.mark.parametrize("lags", [[1], [5, 2], [7, 1, 15, 30], [12]])
    def test_matches_a_loop(self, rng, lags):
        y = rng.normal(size=12)
        expected = [[y[t - lag] if t >= lag else np.nan for lag in lags] for t in range(12)]
        assert_close(lag_features(y, lags), np.array(expected))

    def test_does_not_look_ahead(self, rng):
        y, other = rng.normal(size=20), rng.normal(size=20)
        for t in (3, 11, 19):
            changed = np.concatenate([y[:t], other[t:]])
            assert_close(lag_features(changed, (2, 1))[: t + 1], lag_features(y, (2, 1))[: t + 1])

    @pytest.mark.parametrize("lag", [0, -2])
    def test_rejects_the_present_and_the_future(self, lag):
        with raises(ValueError, lag):
            lag_features(Y, [3, lag])


class TestRollingFeatures:
    def test_of_two_values_before(self):
        nan = np.nan
        expected = np.array([[nan, nan], [nan, nan], [3, 2], [4, 1], [5, 2], [6, 1]])
        assert_close(rolling_features(Y, 2), expected)

    @pytest.mark.parametrize("window", [1, 3, 8, 12, 20])
    def test_matches_a_loop(self, rng, window):
        y = rng.normal(5, 2, 12)
        expected = [
            [y[t - window : t].mean(), y[t - window : t].std()] if t >= window else [np.nan] * 2 for t in range(12)
        ]
        assert_close(rolling_features(y, window), np.array(expected))

    def test_does_not_look_ahead(self, rng):
        y, other = rng.normal(size=20), rng.normal(size=20)
        for t in (3, 11, 19):
            changed = np.concatenate([y[:t], other[t:]])
            assert_close(rolling_features(changed, 3)[: t + 1], rolling_features(y, 3)[: t + 1])

    def test_pure_noise_is_not_foreseen(self, rng):
        y = rng.normal(size=5000)
        known = rolling_features(y, 4)[4:, 0]
        score = float(np.corrcoef(known, y[4:])[0, 1])
        if abs(score) > 5 / np.sqrt(4996):
            fail(f"the mean before t correlates with y[t] of pure noise, by {score:.2f}", evidence=score)

    def test_large_values_keep_their_digits(self, rng):
        y = 1e8 + rng.normal(size=50)
        expected = [[y[t - 5 : t].mean(), y[t - 5 : t].std()] for t in range(5, 50)]
        assert_close(rolling_features(y, 5)[5:], np.array(expected), rtol=0, atol=1e-6)  # of values around 1e8

    def test_no_loop_over_the_rows(self):
        few, many = (python_steps(rolling_features, np.arange(float(n)), 6) for n in (100, 3000))
        if many > few + 500:
            fail(f"{many} lines of Python ran for 3000 rows, {few} for 100", evidence="loop")

    def test_of_bytes(self):
        got = rolling_features(np.array([200, 100, 7], np.uint8), 2)
        assert_close(got[2], np.array([150.0, 50.0]))

    @pytest.mark.parametrize("window", [0, -3])
    def test_rejects_windows_below_one(self, window):
        with raises(ValueError, window):
            rolling_features(Y, window)

    def test_series_of_several_lengths(self):
        nan = np.nan
        assert_close(rolling_features(np.array([1.0, 3.0, 5.0]), 2), np.array([[nan, nan], [nan, nan], [2.0, 1.0]]))
        assert_close(rolling_features(np.array([1.0, 3.0]), 2), np.full((2, 2), nan))
        assert_close(rolling_features(np.array([4.0]), 2), np.full((1, 2), nan))


class TestSeasonalNaive:
    @pytest.mark.parametrize(
        ("period", "steps", "expected"),
        [(2, 5, [5, 9, 5, 9, 5]), (3, 2, [7, 5]), (1, 3, [9, 9, 9]), (6, 6, Y), (4, 0, []), (4, 5, [3, 7, 5, 9, 3])],
    )
    def test_repeats_the_last_season(self, period, steps, expected):
        assert_close(seasonal_naive(Y, period, steps), np.array(expected, dtype=float))

    def test_keeps_all_digits(self):
        assert_close(seasonal_naive(np.array([7.0, 0.1, 1234.567]), 2, 3), np.array([0.1, 1234.567, 0.1]), rtol=1e-15)

    @pytest.mark.parametrize("period", [7, 12])
    def test_rejects_less_than_a_season(self, period):
        with raises(ValueError, 6, period):
            seasonal_naive(Y, period, 3)


class TestMase:
    def test_the_example_worked_by_hand(self):
        assert_close(mase(np.array([5, 9]), np.array([4, 8]), Y[:4], 2), 0.5)

    @pytest.mark.parametrize("period", [1, 3, 7])
    def test_matches_a_loop(self, rng, period):
        train, actual, forecast = rng.normal(size=15), rng.normal(size=4), rng.normal(2, 1, 4)
        naive = [abs(train[t] - train[t - period]) for t in range(period, 15)]
        error = sum(abs(actual - forecast)) / 4
        assert_close(mase(actual, forecast, train, period), float(error / (sum(naive) / len(naive))))

    def test_the_default_period(self, rng):
        train, actual = rng.normal(size=15), rng.normal(size=4)
        assert_close(mase(actual, actual + 1, train), float(1 / np.abs(np.diff(train)).mean()))

    def test_the_naive_forecast_itself_scores_about_one(self, rng):
        y = rng.normal(size=4000)
        score = mase(y[2000:], y[1996:3996], y[:2000], 4)
        # Both are means of 2000 absolute differences of deviation 0.85 around 1.13, each value in two of them.
        assert abs(score - 1) < 0.2

    def test_of_bytes(self):
        got = mase(np.array([3, 200], np.uint8), np.array([5, 100], np.uint8), np.array([200, 100, 7], np.uint8))
        assert_close(got, 51 / ((100 + 93) / 2))

    @pytest.mark.parametrize(("actual", "forecast"), [((4,), (4, 1)), ((3,), (5,))])
    def test_rejects_other_shapes(self, actual, forecast):
        with raises(ValueError, *actual, *forecast):
            mase(np.ones(actual), np.zeros(forecast), Y)

    @pytest.mark.parametrize("period", [6, 9])
    def test_rejects_too_few_training_values(self, period):
        with raises(ValueError, 6, period):
            mase(np.ones(2), np.zeros(2), Y, period)

    def test_rejects_differences_that_are_all_zero(self):
        with raises(ValueError, "zero"):
            mase(np.ones(2), np.zeros(2), np.array([1, 2, 1, 2]), 2)


def as_lists(splits):
    return [(np.asarray(train).tolist(), np.asarray(test).tolist()) for train, test in splits]


class TestWalkForward:
    def test_the_drawing(self):
        expected = [(list(range(5)), [5, 6]), (list(range(7)), [7, 8]), (list(range(9)), [9, 10])]
        assert_equal(as_lists(walk_forward(11, 5, 2)), expected)

    @pytest.mark.parametrize(("n", "first", "horizon"), [(12, 5, 2), (10, 3, 3), (7, 6, 1)])
    @pytest.mark.parametrize("step", [None, 1, 3])
    @pytest.mark.parametrize("window", [None, 1, 4])
    def test_matches_a_loop(self, n, first, horizon, step, window):
        expected = []
        begin = first
        while begin + horizon <= n:
            train = [t for t in range(n) if t < begin and (window is None or t >= begin - window)]
            expected.append((train, list(range(begin, begin + horizon))))
            begin += horizon if step is None else step
        assert_equal(as_lists(walk_forward(n, first, horizon, step, window)), expected)

    def test_rows_index_an_array(self):
        (train, test), *_ = walk_forward(6, 4, 2)
        assert_equal((Y[train].tolist(), Y[test].tolist()), ([1, 5, 3, 7], [5, 9]))

    @pytest.mark.parametrize(("n", "first", "horizon"), [(7, 5, 3), (4, 9, 2)])
    def test_rejects_a_series_without_a_split(self, n, first, horizon):
        with raises(ValueError, n, first + horizon):
            walk_forward(n, first, horizon)


class TestDecompose:
    def test_the_example_worked_by_hand(self):
        nan = np.nan
        trend, seasonal, remainder = decompose(Y, 2)
        assert_close(trend, np.array([nan, 3.5, 4.5, 5.5, 6.5, nan]))
        assert_close(seasonal, np.array([-1.5, 1.5] * 3))
        assert_close(remainder, np.array([nan, 0, 0, 0, 0, nan]))

    @pytest.mark.parametrize(("n", "period"), [(30, 4), (31, 5), (16, 7), (14, 7), (12, 6), (9, 2), (8, 1)])
    def test_matches_a_loop(self, rng, n, period):
        y = seasons(rng, n, period)
        trend = np.full(n, np.nan)
        for t in range(period // 2, n - period // 2):
            around = y[t - period // 2 : t + period // 2 + 1].copy()
            if period % 2 == 0:
                around[[0, -1]] /= 2
            trend[t] = around.sum() / period
        places = np.array(
            [
                np.mean([y[t] - trend[t] for t in range(n) if t % period == p and trend[t] == trend[t]])
                for p in range(period)
            ]
        )
        seasonal = np.array([places[t % period] - places.mean() for t in range(n)])
        assert_close(decompose(y, period), (trend, seasonal, y - trend - seasonal))

    @pytest.mark.parametrize("period", [4, 7, 12])
    def test_matches_statsmodels(self, rng, period):
        sm = pytest.importorskip("statsmodels.tsa.seasonal", reason=INSTALL)
        y = seasons(rng, 50, period)
        expected = sm.seasonal_decompose(y, period=period)
        assert_close(decompose(y, period), (expected.trend, expected.seasonal, expected.resid))

    def test_finds_a_line_and_a_season_exactly(self):
        t, season = np.arange(40), np.array([3.0, -1.0, 4.0, -6.0])
        trend, seasonal, _ = decompose(2 * t + season[t % 4], 4)
        assert_close(trend[2:-2], 2.0 * t[2:-2])
        assert_close(seasonal, season[t % 4])

    def test_on_carbon_dioxide(self, co2):
        trend, seasonal, remainder = decompose(monthly(co2), 12)
        inside = np.isfinite(trend)
        assert (np.diff(trend[inside][::12]) > 0).all(), "the trend rises from year to year"
        # Plants take it up in the northern summer: the season swings by some 6 ppm, far above the remainder.
        assert 5 < np.ptp(seasonal) < 7
        assert np.nanstd(remainder) < 1

    @pytest.mark.parametrize(("n", "period"), [(7, 4), (11, 6)])
    def test_rejects_less_than_two_periods(self, rng, n, period):
        with raises(ValueError, n, period):
            decompose(rng.normal(size=n), period)


def states(y, period, alpha, beta, gamma, steps):
    """Holt–Winters with every state in a table of its own."""
    n = len(y)
    l, b, s = {-1: y[:period].mean()}, {}, {}
    b[-1] = (y[period : 2 * period].mean() - l[-1]) / period
    for p in range(period):
        s[p - period] = y[p] - l[-1]
    fitted = []
    for t in range(n):
        fitted.append(l[t - 1] + b[t - 1] + s[t - period])
        l[t] = alpha * (y[t] - s[t - period]) + (1 - alpha) * (l[t - 1] + b[t - 1])
        b[t] = beta * (l[t] - l[t - 1]) + (1 - beta) * b[t - 1]
        s[t] = gamma * (y[t] - l[t - 1] - b[t - 1]) + (1 - gamma) * s[t - period]
    forecast = [l[n - 1] + h * b[n - 1] + s[n - period + (h - 1) % period] for h in range(1, steps + 1)]
    return np.array(fitted), np.array(forecast, dtype=float)


class TestHoltWinters:
    def test_the_example_worked_by_hand(self):
        fitted, _ = holt_winters(Y, 2, 0.5, 0.5, 0.5, 0)
        assert_close(fitted[:2], np.array([2.0, 6.25]))

    @pytest.mark.parametrize(("n", "period", "steps"), [(30, 4, 9), (17, 7, 3), (8, 4, 0), (11, 1, 4)])
    @pytest.mark.parametrize("weights", [(0.5, 0.2, 0.7), (0.1, 0.9, 0.3), (1, 0, 1), (0, 1, 0)])
    def test_follows_its_equations(self, rng, n, period, steps, weights):
        y = seasons(rng, n, max(period, 2))
        assert_close(holt_winters(y, period, *weights, steps), states(y, period, *weights, steps))

    @pytest.mark.parametrize("weights", [(0.5, 0.2, 0.3), (0.3, 0.1, 0.6)])
    def test_matches_statsmodels(self, rng, weights):
        sm = pytest.importorskip("statsmodels.tsa.holtwinters", reason=INSTALL)
        y = seasons(rng, 40, 4)
        level = y[:4].mean()
        model = sm.ExponentialSmoothing(
            y,
            trend="add",
            seasonal="add",
            seasonal_periods=4,
            initialization_method="known",
            initial_level=level,
            initial_trend=(y[4:8].mean() - level) / 4,
            initial_seasonal=y[:4] - level,
        )
        alpha, beta, gamma = weights
        fit = model.fit(smoothing_level=alpha, smoothing_trend=beta, smoothing_seasonal=gamma, optimized=False)
        # Of the last place in the season it forecasts with a season's value that is one season old: compare the others.
        assert_close(holt_winters(y, 4, *weights, 3), (fit.fittedvalues, fit.forecast(3)))

    def test_continues_a_line_with_a_season(self):
        t, season = np.arange(36), np.array([3.0, -1.0, 4.0, -6.0])
        series = 2 * t + season[t % 4]
        _, forecast = holt_winters(series[:24], 4, 0.4, 0.3, 0.6, 12)
        # It starts from rough states, and needs a few seasons to find the true ones.
        assert_close(forecast, series[24:], rtol=0, atol=2.5)

    def test_does_not_look_ahead(self, rng):
        y, other = seasons(rng), seasons(rng)
        for t in (9, 15, 29):
            changed = np.concatenate([y[:t], other[t:]])
            assert_close(
                holt_winters(changed, 4, 0.5, 0.2, 0.4, 0)[0][: t + 1], holt_winters(y, 4, 0.5, 0.2, 0.4, 0)[0][: t + 1]
            )

    def test_beats_the_seasonal_naive_forecast_of_carbon_dioxide(self, co2):
        y = monthly(co2)
        ours, naive = [], []
        for train, test in walk_forward(len(y), 240, 24):
            ours.append(mase(y[test], holt_winters(y[train], 12, 0.5, 0.05, 0.3, 24)[1], y[train], 12))
            naive.append(mase(y[test], seasonal_naive(y[train], 12, 24), y[train], 12))
        assert np.mean(ours) < 0.6 * np.mean(naive)

    @pytest.mark.parametrize(("n", "period"), [(7, 4), (11, 6)])
    def test_rejects_less_than_two_periods(self, rng, n, period):
        with raises(ValueError, n, period):
            holt_winters(rng.normal(size=n), period, 0.5, 0.5, 0.5, 2)

    @pytest.mark.parametrize("place", [0, 1, 2])
    @pytest.mark.parametrize("value", [-0.25, 1.5])
    def test_rejects_weights_that_are_no_shares(self, place, value):
        weights = [0.5, 0.5, 0.5]
        weights[place] = value
        with raises(ValueError, value):
            holt_winters(Y, 2, *weights, 1)


def simulated(rng, coefs, n=60, mean=5.0):
    y = [mean] * len(coefs)
    for _ in range(n + 50):
        y.append(mean * (1 - sum(coefs)) + sum(c * v for c, v in zip(coefs, reversed(y), strict=False)) + rng.normal())
    return np.array(y[-n:])


class TestFitAr:
    @pytest.mark.parametrize("order", [2, 3])
    def test_where_many_are_equally_good(self, order):
        y = 3.0 + 2 * np.arange(12)
        c, phi = fit_ar(y, order)
        fitted = [c + phi @ y[t - order : t][::-1] for t in range(order, 12)]
        assert_close(np.array(fitted), y[order:], rtol=1e-6, atol=1e-6)  # any of many solutions

    def test_the_example_worked_by_hand(self):
        assert_close(fit_ar(np.array([1, 2, 4, 8, 16]), 1), (0.0, np.array([2.0])))

    def test_as_many_rows_as_unknowns_are_enough(self):
        assert_close(fit_ar(np.array([1, 2, 4]), 1), (0.0, np.array([2.0])))

    @pytest.mark.parametrize(("n", "order"), [(60, 1), (60, 3), (14, 4)])
    def test_matches_least_squares_row_by_row(self, rng, n, order):
        y = simulated(rng, [0.5, -0.3], n)
        rows = [[1.0, *(y[t - i] for i in range(1, order + 1))] for t in range(order, n)]
        theta = np.linalg.lstsq(np.array(rows), y[order:], rcond=None)[0]
        # Ten rows for five unknowns may be badly conditioned.
        assert_close(fit_ar(y, order), (float(theta[0]), theta[1:]), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("order", [1, 3])
    def test_matches_statsmodels(self, rng, order):
        sm = pytest.importorskip("statsmodels.tsa.ar_model", reason=INSTALL)
        y = simulated(rng, [0.6, -0.2])
        params = sm.AutoReg(y, order, trend="c").fit().params
        assert_close(fit_ar(y, order), (float(params[0]), params[1:]), rtol=1e-6, atol=1e-6)

    def test_of_bytes(self):
        y = np.array([200, 100, 7, 90, 250, 3], np.uint8)
        assert_close(fit_ar(y, 2), fit_ar(y.astype(float), 2))

    def test_beats_the_last_value_on_sunspots(self, sunspots):
        _, y = sunspots
        ours, naive = [], []
        for train, test in walk_forward(len(y), 150, 1, step=3):
            c, phi = fit_ar(y[train], 9)
            ours.append(abs(c + phi @ y[train][-1:-10:-1] - y[test][0]))
            naive.append(abs(y[train][-1] - y[test][0]))
        assert np.mean(ours) < 0.75 * np.mean(naive)

    @pytest.mark.parametrize(("n", "order"), [(2, 1), (8, 4)])
    def test_rejects_fewer_rows_than_unknowns(self, rng, n, order):
        with raises(ValueError, n, 2 * order + 1):
            fit_ar(rng.normal(size=n), order)


class TestYuleWalker:
    def test_the_example_worked_by_hand(self):
        assert_close(yule_walker(np.array([1, 1, 3, 3]), 1), (np.array([0.25]), 15 / 16))

    @pytest.mark.parametrize(("n", "order"), [(60, 1), (60, 4), (6, 5)])
    def test_fulfils_the_equations(self, rng, n, order):
        y = simulated(rng, [0.5, -0.3], n)
        r = [sum((y[t] - y.mean()) * (y[t + k] - y.mean()) for t in range(n - k)) / n for k in range(order + 1)]
        matrix = np.array([[r[abs(i - j)] for j in range(order)] for i in range(order)])
        coefs = np.linalg.inv(matrix) @ r[1:]
        assert_close(yule_walker(y, order), (coefs, float(r[0] - coefs @ r[1:])))

    @pytest.mark.parametrize("order", [1, 3, 6])
    def test_matches_statsmodels(self, rng, order):
        sm = pytest.importorskip("statsmodels.regression.linear_model", reason=INSTALL)
        y = simulated(rng, [0.6, -0.2])
        rho, sigma = sm.yule_walker(y, order, method="mle", result_object=False)
        assert_close(yule_walker(y, order), (rho, float(sigma) ** 2))

    @pytest.mark.parametrize("n", [4, 9, 30])
    def test_is_always_stable(self, rng, n):
        y = np.cumsum(rng.normal(size=n)) ** 3
        coefs, variance = yule_walker(y, 3)
        # The process is stable if all roots of z³ - φ₁ z² - φ₂ z - φ₃ lie inside of the unit circle.
        assert np.abs(np.roots([1.0, *-coefs])).max() < 1
        assert variance > 0

    def test_finds_the_process_that_made_the_series(self, rng):
        coefs, variance = yule_walker(simulated(rng, [0.6, -0.3], 4000), 2)
        assert_close(coefs, np.array([0.6, -0.3]), rtol=0, atol=0.08)  # five standard errors of 1/√4000
        assert_close(variance, 1.0, rtol=0, atol=0.12)

    def test_of_bytes(self):
        y = np.array([200, 100, 7, 90, 250, 3], np.uint8)
        assert_close(yule_walker(y, 2), yule_walker(y.astype(float), 2))

    @pytest.mark.parametrize("order", [0, -1, 6, 8])
    def test_rejects_orders_out_of_range(self, order):
        with raises(ValueError, order):
            yule_walker(Y, order)

    @pytest.mark.parametrize("value", [0.1, 4.0])
    def test_rejects_a_constant_series(self, value):
        with raises(ValueError, "constant"):
            yule_walker(np.full(7, value), 2)


class TestForecastAr:
    def test_the_example_worked_by_hand(self):
        assert_close(forecast_ar(np.array([1, 2, 4, 8, 16]), 0.0, np.array([2.0]), 2), np.array([32.0, 64.0]))

    def test_the_latest_value_comes_first(self):
        # 10 + 2·9 - 5 = 23, then 10 + 2·23 - 9 = 47.
        assert_close(forecast_ar(Y, 10, np.array([2, -1]), 2), np.array([23.0, 47.0]))

    @pytest.mark.parametrize(("p", "steps"), [(1, 5), (3, 8), (6, 2), (2, 0)])
    def test_is_a_power_of_the_companion_matrix(self, rng, p, steps):
        y, c, coefs = rng.normal(size=6), 0.7, rng.uniform(-0.5, 0.5, p)
        companion = np.zeros((p + 1, p + 1))
        companion[0] = [*coefs, c]
        companion[1:p, : p - 1] = np.eye(p - 1)
        companion[p, p] = 1.0
        state = np.append(y[::-1][:p], 1.0)
        expected = [(np.linalg.matrix_power(companion, h) @ state)[0] for h in range(1, steps + 1)]
        assert_close(forecast_ar(y, c, coefs, steps), np.array(expected, dtype=float))

    def test_forecasts_of_integers_are_not_cut(self):
        assert_close(forecast_ar(Y, 0.5, np.array([0.25]), 2), np.array([2.75, 1.1875]))

    def test_of_a_stable_process_tends_to_its_mean(self):
        got = forecast_ar(np.array([9.0, -4.0]), 2.0, np.array([0.5, -0.3]), 80)
        assert_close(got[-1], 2.0 / (1 - 0.5 + 0.3))

    def test_further_than_recursion_reaches(self):
        assert_close(forecast_ar(np.array([0.0]), 1.0, np.array([1.0]), 3000)[[0, -1]], np.array([1.0, 3000.0]))

    @pytest.mark.parametrize(("n", "p"), [(2, 3), (1, 5)])
    def test_rejects_too_few_values(self, n, p):
        with raises(ValueError, n, p):
            forecast_ar(np.ones(n), 0.0, np.ones(p), 2)
