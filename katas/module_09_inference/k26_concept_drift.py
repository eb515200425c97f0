"""Concept drift: when the right answers change

**Before you start.**  You need running means and the standard deviation of a share; no other kata.
If these are new: Wasserman 2004, "All of Statistics", chapter 3.  The kata drift_detection compares
two samples of inputs; this one watches what comes one by one.

**The idea.**  Words that meant spam last year are harmless today.  The inputs look as before, but
the *right answers* have changed.  This is concept drift, and a model shows it by its errors.  They
come one by one, and you want to know soon.  But each look at a stream of errors is one more chance
of a false alarm, and there are thousands of looks.  So you write two detectors that watch a stream.
Then you write what every detector needs: a trial on streams whose change you planted yourself.

- *Page–Hinkley* adds up how far the values lie above their mean.  It takes any numbers: losses,
  waiting times, or 0 and 1.
- *DDM*, the drift detection method, watches a rate of errors.  It says "warning" before it says
  "drift", so that you can gather new data in time.

**The formulas.**  Page–Hinkley, for the values x_1, x_2, …, with x̄_t the mean of the first t:

    m_t = ∑ (x_i - x̄_i - δ), i = 1 … t          M_t = min(m_1, …, m_t)
    alarm if t ≥ warmup and m_t - M_t > threshold

DDM, with p_t the share of errors among the first t answers:

    s_t = √(p_t (1 - p_t) / t)
    p_min and s_min: the p_t and s_t of the time t ≥ warmup at which p_t + s_t was smallest
    drift      if p_t + s_t > p_min + 3 s_min
    warning    if it isn't drift, and p_t + s_t > p_min + 2 s_min

**A drawing** of m_t, with its lowest point M_t:

    m_t  ╲                             ●  alarm: more than the threshold above M
          ╲╱╲    ╱╲                   ╱ ↕
             ╲╱╲╱  ╲    ╱╲           ╱  ↕
                    ╲╱╲╱  ╲      ╱╲╱    ↕
                           ╲╱╲╱╲╱┄┄┄┄┄┄┄┄┄  M_t
         ├── all is well: δ pulls it down ──┤├── change ──┤

And of the two zones of DDM:

    p + s
         │                                  ╱   drift
         ├┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄╱┄┄  p_min + 3 s_min
         │ ╲                            ╱╱      warning
         ├┄┄╲┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄╱┄┄┄┄┄┄┄  p_min + 2 s_min
         │   ╲___╱╲_______╱╲_________╱╱          stable

**Why δ?**  Without it m_t goes up and down by chance, and in the end reaches any threshold.  With
it, m_t falls in quiet times.  Take about half of the smallest change that you want to find.

**Why the minimum in DDM, and not the mean?**  A model that goes on learning gets better at first.
The best time so far says what it can do.  A rate far above it means that the world has changed.

**Why aren't three deviations rare?**  At a single look they are.  But DDM looks after each answer.
On 1,000 answers with a steady rate of 10% errors, it raises a false alarm in four of ten runs.  So
don't trust a rule of thumb.  Run the detector on streams without a change, and count.  Then choose
the threshold.

**Why not the smallest delay?**  A detector that always raises the alarm has no delay.  Delay and
false alarms belong together: fix the one, then compare the other.

**Worked by hand**

    Page–Hinkley, δ = 0.5, threshold 3, warmup 1, values 1 1 1 5 5:
        x̄      1     1     1     2     2.6
        m     -0.5  -1    -1.5   1     2.9         M stays at -1.5
        m - M  0     0     0     2.5   4.4         alarm at the fifth
    DDM, warmup 4, answers 0 1 0 0 0 0 0 0 0 0 1 1 1, 1 for an error:
        after 10: p = 0.1, s = 0.0949; p + s = 0.1949 is the smallest
        the borders are 0.1 + 2 · 0.0949 = 0.2897 and 0.1 + 3 · 0.0949 = 0.3846
        after 11: 0.1818 + 0.1163 = 0.2981    warning, recent = 1
        after 12: 0.25   + 0.125  = 0.375     warning, recent = 2
        after 13: 0.3077 + 0.1280 = 0.4357    drift, recent = 3
    judge: first alarms at 7, 30, 12 and none; the changes were at 10, 20, None and 20:
        7 is too early, 12 had no change: false 2/4
        found 1 of the 3 changes, with a delay of 10

**Shapes**: no arrays.  Places in a stream count from 0.  No function changes its arguments, but for
detectors that it updates.

**Steps.**

    PageHinkley  12 min   the mean with the newest value in it
    DDM          15 min   what is remembered, and when it is forgotten
    first_alarm   4 min   a warning is no alarm
    judge        10 min   too early isn't found
    calibrate     6 min   the smallest that is good enough

Sources: Page 1954, "Continuous Inspection Schemes"; Gama, Medas, Castillo and Rodrigues 2004,
"Learning with Drift Detection" (DDM); Gama et al. 2014, "A Survey on Concept Drift Adaptation".

From scratch: river may not be used.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any


class PageHinkley:
    """Raises the alarm when the mean of a stream has risen.  For one that falls, give it the negative values."""

    def __init__(self, delta: float, threshold: float, warmup: int = 30) -> None:
        """`delta` ≥ 0 and `threshold` > 0 as in the formula; no alarm comes before the value number `warmup` ≥ 1."""
        raise NotImplementedError

    def update(self, value: float) -> bool:
        """Take the next value; returns whether it raises the alarm.

        - The values before `warmup` count for the mean, for m and for M.
        - After an alarm all begins anew: the next value is x_1, and there is a new warm-up.
        - It takes the same time and memory however many values there were.
        """
        raise NotImplementedError


class DDM:
    """Watches the errors of a model, and says "stable", "warning" or "drift".

    The attribute `recent` is the number of answers that came since the warning began, the present one
    included.  These are the data to train on again.  It is 0 while all is stable.  A drift that no warning came before
    has 1.
    """

    def __init__(self, warmup: int = 30, warning: float = 2.0, drift: float = 3.0) -> None:
        """All is "stable" before the answer number `warmup` ≥ 1.  `warning` ≤ `drift` are the formula's 2 and 3."""
        raise NotImplementedError

    def update(self, error: bool) -> str:
        """Take in whether the next answer was wrong (True or 1) or right (False or 0); returns the state.

        - If p_t + s_t is at most the smallest so far, this time is the new best one, before the borders are
          looked at.  Times before `warmup` are never the best.
        - When the rate is below the borders again, the state is "stable", and `recent` is 0.
        - After "drift" all begins anew with the next answer: it is the first one, and there is a new warm-up.
          Until then `recent` stays.
        - It takes the same time and memory however many answers there were.
        """
        raise NotImplementedError


def first_alarm(detector: Any, stream: Iterable[Any]) -> int | None:
    """The place of the value at which a detector raises its first alarm, or None.

    An alarm is an answer of detector.update(value) that is True or "drift".  "warning" is none.
    The stream may be without an end: nothing is taken from it after the alarm.
    """
    raise NotImplementedError


def judge(
    make: Callable[[], Any], streams: Sequence[Iterable[Any]], changes: Sequence[int | None]
) -> tuple[float, float, float]:
    """How good a detector is on streams with planted changes: (false, found, delay).

    make     gives a new detector; each stream has its own
    changes  for each stream the place of the first value after its change; None if it has no change

    Only the first alarm of each stream counts.

    - false: the share of all streams whose alarm came before the change, or that have no change and had an alarm.
    - found: the share of the streams with a change whose alarm came at the change or later.  NaN if none has a change.
    - delay: the mean of (place of the alarm - change) over those that were found.  NaN if none was.

    Raises ValueError, naming both numbers, if there aren't as many changes as streams, or no streams.
    """
    raise NotImplementedError


def calibrate(
    make: Callable[[float], Any], thresholds: Iterable[float], streams: Sequence[Sequence[Any]], rate: float
) -> float:
    """The smallest of the thresholds, in any order, whose share of streams with an alarm is at most `rate`.

    make     gives a new detector with a threshold
    streams  have no change: every alarm is a false one.  There is at least one.

    Raises ValueError, naming the rate, if no threshold is good enough.
    """
    raise NotImplementedError
