"""Service monitoring: counters, a percentile sketch, and alerts on a budget of errors

**Before you start.**  You need dicts, logarithms and percentiles; no other kata.  If monitoring is
new: the pages "Metric types" and "Histograms and summaries" of Prometheus' documentation.

**The idea.**  Your users notice every failure, and you want to notice it before they do.  So the
service counts: requests, errors, seconds.  Every minute a monitor reads these numbers from a page
of plain text.  Here you write both ends.  The service's end is a counter, a histogram, and the
text that Prometheus reads.  For percentiles you write a *sketch*.  It is a few hundred numbers.
It gives any percentile of any number of values, with an error that is promised beforehand.  The
monitor's end reads the counters, and wakes somebody only when it matters.

**The formulas.**  α is the promised relative error, such as 0.01.  The sketch puts a value x > 0
into the bucket i.  Of all values in there it says "about x_i":

    γ = (1 + α) / (1 - α)        i = ⌈log x / log γ⌉        x_i = 2 γ^i / (γ + 1)

    error rate  =  increase of the errors / increase of the requests
    burn rate   =  error rate / (1 - objective)

An objective of 0.999 says: 99.9% of the requests shall be answered well.  Then 0.1% may fail.
This is the *error budget*.  A burn rate of 1 uses it up exactly in time.  At 10 it is gone ten
times as fast.

**A drawing** of the buckets, of a histogram and of a sketch.  A histogram counts everything up to
a bound.  A sketch has buckets of equal *ratio*:

    histogram                    sketch
    0.1 │███            3        ┃  i=1  ┃    i=2    ┃      i=3       ┃
    0.5 │███████        7        ┃   █   ┃  █  █  █  ┃    █     █     ┃
    +Inf│████████       8        γ⁰      γ¹          γ²               γ³

And of a counter, read each minute.  The service restarted after the third reading, and began at 0:

    readings    100  160  190 ╳  20   50
    increase       60   30     20   30     = 140, and not 50 - 100

And of an alert with `hold` 3 and `keep` 2, updated each second:

    active      ·  ▲  ▲  ·  ▲  ▲  ▲  ▲  ▲  ·  ·  ·
                   ├──┤     ├─ hold ─▶     ├─keep▶
    state       in pe pe in pe pe pe fi fi fi fi in

**Why count up, and not reset each minute?**  A monitor may miss a reading, and two monitors may
read the same page.  With a number that only grows nothing is lost.  The difference of two readings
is what happened in between.

**Why x_i, and not the middle of the bucket?**  A bucket reaches from γ^(i-1) to γ^i.  At both ends
x_i is off by exactly the share α.  Try it: x_i / γ^i = 1 - α, and x_i / γ^(i-1) = 1 + α.

**Why not the mean of two machines' percentiles?**  One machine is quick and the other slow.  The
mean of their medians is the median of nothing.  But bucket counts can be added, so sketches merge
without any loss.

**Why two windows?**  An hour is long enough to tell an incident from a hiccup.  But it stays bad
for an hour after the repair.  The last five minutes forget quickly.  Ask both: it *was* bad for
long, and it is bad *now*.

**Worked by hand**

    a counter "jobs_total" after inc(2, kind="a") and inc(kind="b"):
        jobs_total{kind="a"} 2.0
        jobs_total{kind="b"} 1.0
    a histogram "wait" with bounds 0.1 and 0.5, after 0.05, 0.1, 0.3, 2:
        buckets 0.1: 2   0.5: 3   +Inf: 4     sum 2.45   count 4
    a sketch with α = 0.2, so γ = 1.5, after 1, 2, 3, 10:
        buckets i = 0, 2, 3, 6     x_i = 0.8, 1.8, 2.7, 9.1125
        quantile(0.5): ⌊0.5 · 3⌋ = 1, which is the second smallest: about 1.8
    readings 100, 160, 190, 20, 50 at 0, 60, 120, 180, 240:
        the increase from 0 to 240 is 60 + 30 + 20 + 30 = 140
        at 240 with a window of 60: 30
    objective 0.75, 40 requests more and 20 errors more: 0.5 / 0.25 = burn rate 2

**Shapes**: no arrays.  Times are seconds, given by the caller: no function looks at a clock.
Values are finite.  No function changes its arguments; a `merge` changes its own sketch.

**Steps.**  A good place to pause is before Sketch.

    Counter      8 min   which calls are the same series?
    Histogram   10 min   every bucket counts what the smaller ones count
    exposition  10 min   what must be escaped, and where?
    Sketch      18 min   zeros have no logarithm
    increase     8 min   the counter may start again
    burn_rate    5 min   nothing happened: no error either
    burning      5 min   two windows
    Alert       10 min   since when?

Sources: "Exposition formats" in Prometheus' documentation; Masson, Rim and Lee 2019, "DDSketch: A
Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees"; Beyer et al. 2018, "The
Site Reliability Workbook", chapter 5 (burn rates).

From scratch: prometheus_client and ddsketch may not be used.
"""

from collections.abc import Iterable, Sequence
from typing import Any

Sample = tuple[str, dict[str, str], float]
"""A line of the page: its name, its labels, its value."""

Reading = tuple[float, float]
"""When a counter was read, and what it showed then."""


class Counter:
    """A number that only goes up, for each combination of labels.  Such a combination is a *series*.

    Attributes: `name` and `help` as they were given, and `kind`, which is "counter".
    """

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        """`name` ends in "_total"; `labels` are the names of its labels.  To change that list later plays no role.

        Without labels there is one series from the start, at 0.  With labels a series begins when it is first
        increased.
        """
        raise NotImplementedError

    def inc(self, amount: float = 1.0, **labels: Any) -> None:
        """Increase the series of these labels; by 0 is allowed, and begins a series.

        - A label's value is taken as text, by str: 200 and "200" are the same.
        - The order in which labels are written plays no role.

        Raises ValueError, naming the amount, if it is below 0; and ValueError, naming the names that `labels` has
        and those that were given, if they aren't the same.  Then nothing is changed.
        """
        raise NotImplementedError

    def samples(self) -> list[Sample]:
        """One (name, labels, value) for each series, the series in any order.

        The labels are a new dict from names to texts; it is empty where there are no labels.
        """
        raise NotImplementedError


class Histogram:
    """Counts how many values are up to each of some bounds, for each combination of labels.

    Attributes: `name` and `help` as they were given, and `kind`, which is "histogram".
    """

    def __init__(self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        """`bounds` are finite.  Another bucket, for all values, is added to them.  To change the lists later plays no
        role.

        Without labels there is one series from the start, of zeros.

        Raises ValueError, saying "bounds", if there are none, or if they don't get larger from each to the next.
        """
        raise NotImplementedError

    def observe(self, value: float, **labels: Any) -> None:
        """Count a value in the series of these labels, which are taken as in Counter.inc.

        Raises ValueError, naming the names that `labels` has and those that were given, if they aren't the same.
        """
        raise NotImplementedError

    def samples(self) -> list[Sample]:
        """For each series its buckets, its sum and its count, one series after the other, the series in any order.

        - First come the buckets, in the order of their bounds: the name with "_bucket" after it, the series'
          labels and one more, "le".  The value is how many values were at most the bound.
        - "le" is the bound as a text that float() reads back; in the last bucket it is "+Inf".
        - Then the name with "_sum": the sum of the values.  Then the name with "_count": how many there were.
        - All labels are new dicts.
        """
        raise NotImplementedError


def exposition(metrics: Iterable[Any]) -> str:
    r"""The page that Prometheus reads.  "" if there are no metrics.

    A metric is any object with `name`, `help`, `kind` and `samples()`, as Counter and Histogram have them.
    For each metric, in the order given, these lines, each with a line feed after it:

        # HELP name help
        # TYPE name kind
        sample{label="value",other="value"} 2.0          one for each sample, in their order

    - A sample without labels has no braces.
    - The value is any text that float() reads back as the very same number; infinity is "+Inf".
    - In a help text a backslash is written as \\ and a line feed as \n.
    - In a label's value these two are written so as well, and a double quote as \".
    """
    raise NotImplementedError


class Sketch:
    """Percentiles of numbers, with a promised relative error, in little memory."""

    def __init__(self, accuracy: float = 0.01) -> None:
        """`accuracy` is α, above 0 and below 1.

        The attribute `accuracy` has it, and the attribute `count` says how many values have been added.

        Raises ValueError, naming it, for any other accuracy.
        """
        raise NotImplementedError

    def add(self, value: float) -> None:
        """Take in a value: 0, or a number from 1e-300 to 1e300.

        Raises ValueError, naming it, for a value below 0.  Then nothing is changed.

        The values themselves aren't kept: the memory grows with the number of buckets alone.
        """
        raise NotImplementedError

    def buckets(self) -> dict[int, int]:
        """How many values are in each bucket that has any, by the formula's i; zeros are in none of them.

        It is a copy.  Values that lie on a bound but for rounding may fall on either side; the value 1 is in
        bucket 0.
        """
        raise NotImplementedError

    def quantile(self, q: float) -> float:
        """About the ⌊q · (count - 1)⌋-th smallest value, counted from 0, as a float.

        - It is x_i of the bucket where that value is, and 0.0 if the value is a zero.
        - NaN if nothing has been added.

        Raises ValueError, naming q, for a q outside 0 to 1, also if the sketch is empty.
        """
        raise NotImplementedError

    def merge(self, other: "Sketch") -> None:
        """Take in all that `other` has, as if its values had been added here.  `other` isn't changed, now or later.

        A sketch may be merged into itself: then each value counts twice.

        Raises ValueError, naming both, if the accuracies differ.
        """
        raise NotImplementedError


def increase(readings: Sequence[Reading], at: float, window: float) -> float:
    """By how much a counter grew from `at - window` to `at`, both included, by its readings in that time.

    - The readings are in the order of time.  Those outside, also later ones, play no role.
    - Sum the differences from each reading to the next.  Where a reading is below the one before, the counter
      began again at 0: it grew by the whole reading.
    - With fewer than two readings the answer is 0.0.

    Prometheus' own `increase` also guesses what happened up to the window's edges.  Yours doesn't.
    """
    raise NotImplementedError


def burn_rate(
    errors: Sequence[Reading], requests: Sequence[Reading], objective: float, at: float, window: float
) -> float:
    """How many times too fast the error budget is used up, in the window before `at`: by the formula.

    0.0 if no request came in that time.  The objective is above 0 and below 1.
    """
    raise NotImplementedError


def burning(
    errors: Sequence[Reading],
    requests: Sequence[Reading],
    objective: float,
    at: float,
    long: float,
    short: float,
    factor: float,
) -> bool:
    """Whether the burn rate is above `factor` both in the `long` and in the `short` window; equal isn't above."""
    raise NotImplementedError


class Alert:
    """Decides when to call somebody."""

    def __init__(self, hold: float = 0.0, keep: float = 0.0) -> None:
        """Seconds that a condition must hold before the alert fires, and that it is kept up afterwards."""
        raise NotImplementedError

    def update(self, at: float, active: bool) -> str:
        """Tell whether the condition is `active` at the time `at`; returns "inactive", "pending" or "firing".

        The times never go down.  The answer changes at updates alone: an alert begins to fire, or ends, at the first
        update at which the seconds are over.

        - An alert that doesn't fire becomes "pending" when its condition becomes active, and "inactive" when it isn't
          active any more: the next time counts from the beginning.
        - It is "firing" if the condition is active and became so `hold` seconds ago or more; at once if `hold` is 0.
        - An alert that fires becomes "inactive" if the condition isn't active, and the first update that said so is
          `keep` seconds ago or more; at once if `keep` is 0.  An update before that which says that it is active
          again keeps it firing, however late it comes, and the seconds count anew the next time.
        """
        raise NotImplementedError
