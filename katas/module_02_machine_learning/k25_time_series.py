"""Time series

**Before you start.**  You need means, least squares and systems of linear equations; no other kata.
Forecasting is new to you?  Read Hyndman and Athanasopoulos (below), chapters 3, 5 and 8, free at
otexts.com/fpp3.

**The idea.**  You know a series up to today and want the values of tomorrow.  Rows in time aren't
exchangeable: whatever you compute for time t may use values before t alone, and a test must come
after its training rows.  A model is only worth its name if it beats the simplest forecast: what
was one season ago.

**The formulas**, for values y₀ … yₙ₋₁, a period m (12 for months), a horizon h = 1, 2, …:

    seasonal naive  the last season again: ŷ at n, n + 1, … is yₙ₋ₘ, …, yₙ₋₁, yₙ₋ₘ, …
    MASE            mean |actual - forecast| / mean |yₜ - yₜ₋ₘ|     the mean below is over training
    decomposition   yₜ = trend + seasonal + remainder
                    trend: the mean of the m values around t; for an even m, of m + 1 values,
                    of which the first and the last count half
    Holt–Winters    ŷₜ = l + b + sₜ₋ₘ       with l and b from t - 1; then
                    l′ = α (yₜ - sₜ₋ₘ) + (1 - α)(l + b)
                    b′ = β (l′ - l) + (1 - β) b
                    sₜ = γ (yₜ - l - b) + (1 - γ) sₜ₋ₘ
                    forecast: l + h b + the latest s of that place in the season
    AR(p)           yₜ = c + φ₁ yₜ₋₁ + … + φₚ yₜ₋ₚ + noise
    Yule–Walker     ∑ⱼ r_|i-j| φⱼ = rᵢ for i = 1 … p,     σ² = r₀ - ∑ φᵢ rᵢ
                    rₖ = ∑ₜ (yₜ - ȳ)(yₜ₊ₖ - ȳ)/n           ȳ is the mean, n not n - k

- *Holt–Winters* smooths a level l, a slope b and a season s.  α, β and γ in [0, 1] say how fast
  each follows the data.  It starts, before y₀, from the first two seasons: l is the mean of the
  first; b is the mean of the second less that, over m; and s is the first season less l.
- *Autoregression* (AR) predicts from the last p values.  Least squares fits φ to the rows as they
  are.  Yule–Walker fits it to the autocovariances rₖ.  Forecasts further ahead use forecasts.

Walk-forward validation: each split trains on the past (■) and tests on what comes next (□):

    rows 0       5         10
         ■ ■ ■ ■ ■ □ □ · · · ·      first 5, horizon 2,
         ■ ■ ■ ■ ■ ■ ■ □ □ · ·      step 2
         ■ ■ ■ ■ ■ ■ ■ ■ ■ □ □

**Why divide by n in rₖ?**  With n - k, a short series can give a matrix that no process has, and
forecasts that explode.  With n, the fitted process is always stable: forecasts tend to a mean.

**Why MASE?**  An error in ppm or in dollars says nothing by itself.  Below 1 you beat the seasonal
naive forecast's typical error on the training rows.

**Worked by hand**, y = [1 5 3 7 5 9], m = 2:

    decomposition   trend [– 3.5 4.5 5.5 6.5 –], seasonal [-1.5 1.5 -1.5 …], remainder 0
    Holt–Winters    l = 3, b = (5 - 3)/2 = 1, s = [-2 2];   α = β = γ = ½
                    ŷ₀ = 3 + 1 - 2 = 2, l′ = 3.5, b′ = 0.75, s₀ = -2.5
                    ŷ₁ = 3.5 + 0.75 + 2 = 6.25
    MASE, m = 2     train [1 5 3 7], actual [5 9], forecast [4 8]:   1/2
    AR(1)           of [1 2 4 8 16], least squares: c = 0, φ = 2; next 32, 64
    Yule–Walker     of [1 1 3 3]: r₀ = 1, r₁ = ¼;  φ = ¼, σ² = 15/16

**Shapes**: y (n,) without gaps, one value for each step of time.  Answers are float64, with NaN
where it says so; integers are fine as input.  No function changes its arguments.

**Steps.**

    lag_features      5 min   what np.roll does wrong
    rolling_features  7 min   the value at t isn't known at t
    seasonal_naive    3 min   more steps than a season
    mase              5 min   which rows scale the error?
    walk_forward      7 min   the last split must fit
    decompose        12 min   the even period
    holt_winters     15 min   the old level in three places
    fit_ar            8 min   which rows have all their lags?
    yule_walker      10 min   a matrix of |i - j|
    forecast_ar       5 min   the latest value comes first

Sources: Hyndman and Athanasopoulos 2021, "Forecasting: Principles and Practice", third edition;
Winters 1960, "Forecasting Sales by Exponentially Weighted Moving Averages"; Hyndman and Koehler
2006, "Another Look at Measures of Forecast Accuracy"; Yule 1927 and Walker 1931.

From scratch: scipy, pandas, sklearn and statsmodels may not be used.
"""

from collections.abc import Sequence

import numpy as np


def lag_features(y: np.ndarray, lags: Sequence[int]) -> np.ndarray:
    """A column for each lag: (n, number of lags).  Row t holds y[t - lag], or NaN if t < lag.

    Lags may stand in any order, and may be longer than y.
    Raises ValueError, naming the lag, if it is below 1: that would be the present or the future.
    """
    raise NotImplementedError


def rolling_features(y: np.ndarray, window: int) -> np.ndarray:
    """The mean and the standard deviation of the `window` values before t, without y[t]: (n, 2).

    - The deviation is divided by `window`.
    - Rows t < window are NaN.  The window may be longer than y.
    - There is no Python loop over the rows, and values around 1e8 keep their digits: means of
      squares less squared means lose them.

    Raises ValueError, naming it, if the window is below 1.
    """
    raise NotImplementedError


def seasonal_naive(y: np.ndarray, period: int, steps: int) -> np.ndarray:
    """The forecast of the next `steps` ≥ 0 values: the last season, over and over: (steps,).

    Raises ValueError, naming both, if y has fewer values than a period.
    """
    raise NotImplementedError


def mase(actual: np.ndarray, forecast: np.ndarray, train: np.ndarray, period: int = 1) -> float:
    """The mean absolute error of `forecast` (h,), over that of the seasonal naive one on `train`.

    Below, the absolute differences train[t] - train[t - period] are averaged over t ≥ period.

    Raises ValueError

    - naming both shapes, if those of actual and forecast differ;
    - naming the length of train and the period, if no difference can be taken;
    - saying "zero", if all differences are 0.
    """
    raise NotImplementedError


def walk_forward(
    n: int,
    first: int,
    horizon: int,
    step: int | None = None,
    window: int | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits of rows 0 … n - 1 into (training rows, test rows), both arrays of integers.

    - The tests begin at row first, first + step, first + 2 step, …, and each has `horizon` rows.
      A split whose test doesn't fit is left out.
    - A step of None is `horizon`: the tests follow each other without overlap.
    - The training rows are all before the test, or with `window` the last so many of them (fewer
      where there aren't so many).

    Raises ValueError, naming n and first + horizon, if not even the first split fits.
    """
    raise NotImplementedError


def decompose(y: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The trend, the seasonal part and the remainder of y, each (n,): they sum to y where there is a trend.

    - The trend is the lesson's centred moving average, and NaN for period // 2 rows at both ends.
      There the remainder is NaN as well.
    - The seasonal part of a place in the season is the mean of y less trend over its rows, those
      with a trend.  Then the mean of the m places is taken away, so that a season sums to 0.

    Raises ValueError, naming n and the period, if y is shorter than two periods.
    """
    raise NotImplementedError


def holt_winters(
    y: np.ndarray,
    period: int,
    alpha: float,
    beta: float,
    gamma: float,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Holt–Winters' additive method: ŷ₀ … ŷₙ₋₁ (n,), then the forecast of `steps` ≥ 0 values.

    - ŷₜ is the forecast of yₜ made at t - 1, from the lesson's start on.
    - Steps may be more than a period.

    Raises ValueError, naming n and the period, if y is shorter than two periods; and naming the value,
    if alpha, beta or gamma isn't in [0, 1].
    """
    raise NotImplementedError


def fit_ar(y: np.ndarray, order: int) -> tuple[float, np.ndarray]:
    """c and φ (order,) of an AR process by least squares; φ[0] belongs to the value before.

    All rows count that have `order` ≥ 1 values before them.  Where many c and φ are equally good, as
    for a straight line, any of them will do, and there is no error.
    Raises ValueError, naming n and 2 · order + 1, if y has fewer values than that: there would be
    fewer rows than unknowns.
    """
    raise NotImplementedError


def yule_walker(y: np.ndarray, order: int) -> tuple[np.ndarray, float]:
    """φ (order,) and the noise's variance σ² by the Yule–Walker equations.

    Raises ValueError, naming the order, if it isn't from 1 to n - 1; and saying "constant", if all
    values of y are the same.
    """
    raise NotImplementedError


def forecast_ar(y: np.ndarray, intercept: float, coefs: np.ndarray, steps: int) -> np.ndarray:
    """The next `steps` ≥ 0 values of an AR process after y, without noise: (steps,).

    `coefs` (p,) are φ₁ … φₚ.  Each forecast is used for the next.
    Raises ValueError, naming n and p, if y has fewer than p values.
    """
    raise NotImplementedError
