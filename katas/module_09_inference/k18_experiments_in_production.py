"""Experiments in production: who gets which model, and which one is better?

**Before you start.**  You need means, variances, the normal distribution, and what a p-value is;
no other kata.  If these are new: Wasserman 2004, "All of Statistics", chapters 6 and 10.

**The idea.**  The new model is better on your test set.  Is it better for your users?  Only they
can tell.  Give the old model to one half of them and the new one to the other half, and count who
clicks.  That is an A/B test.  Four things go wrong with it, and here you write the remedies.

- A user sees the old model today and the new one tomorrow.  So *hash* the user's name.
- The halves aren't halves, since one variant loses users by a bug.  So *check the ratio* first.
- The test is too small to see anything.  So compute its *size* beforehand.
- You look every day and stop on the first good one.  Chance has good days, too.  So use a
  *sequential test*, whose p-value holds however often you look.

Sometimes you would rather earn than know.  Then *Thompson sampling* gives more and more users to
the better variant, while the experiment is running.

**The formulas.**  Φ is the normal distribution function, and z = Φ⁻¹(1 - α/2), 1.96 for α = 0.05.

*Buckets*: SHA-256 of the text "salt:unit", in UTF-8, is taken as one big number, its first byte
the highest.  The bucket is this number modulo the number of buckets.

*Ratio*, for counts a and b, where a share s should be in a, and N = a + b:

    χ² = (a - s N)² / (s N) + (b - (1 - s) N)² / ((1 - s) N)          p = erfc(√(χ² / 2))

*z-test*, for x successes among n and y among m.  p₁ = x/n, p₂ = y/m, p̄ = (x + y)/(n + m):

    p-value     erfc(|p₂ - p₁| / (σ₀ √2))            σ₀² = p̄ (1 - p̄) (1/n + 1/m)
    interval    p₂ - p₁ ± z σ₁                       σ₁² = p₁ (1 - p₁)/n + p₂ (1 - p₂)/m

*Power*: how probable it is that the test is significant, if the rates are p₁ and p₂, with n users
in each group.  Here p̄ = (p₁ + p₂)/2, and σ₀ and σ₁ are those above, with m = n:

    power = Φ((|p₂ - p₁| - z σ₀) / σ₁)

*Sequential test* (mSPRT), after n differences with the mean d, of variance V each:

    Λ_n = √(V / (V + n τ²)) · exp(n² τ² d² / (2 V (V + n τ²)))
    p_n = the smallest of 1, 1/Λ_1, …, 1/Λ_n
    interval    d ± √(V (V + n τ²) / (n² τ²) · (2 ln(1/α) + ln((V + n τ²)/V)))

τ is about how large a difference you expect.  A wrong τ costs time, and never the promise.

*Thompson sampling*: an arm with s successes and f failures has the posterior Beta(a + s, b + f).
Draw one number from each arm's posterior, and choose the arm with the largest.

**A drawing** of 10,000 buckets, at the beginning and a week later.  The new model grows to the
right and keeps everybody whom it had:

    Monday   │new│    nobody       │        old         │
             0  500                                  10000
    Friday   │new    │   nobody    │        old         │
             0      2000

And of p-values while data come in, without any difference.  z-tests wander, and sooner or later one
is below 0.05.  The always-valid p only falls, and seldom gets there:

    1    ┤ ▪▪▪▪▪▪▪▪
         │  ╱╲    ▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪   always valid
         │ ╱  ╲  ╱╲    ╱╲    ╱╲
    0.05 ┤┄┄┄┄┄╲╱┄┄╲┄┄╱┄┄╲┄┄╱┄┄╲┄┄┄┄┄┄
         │          ╲╱    ╲╱    z-test, looked at each day

**Why the salt?**  Without it the same users would be in the first half of every experiment.  They
would get all new things at once.  With a salt for each experiment, the halves cut across each
other.

**Why not Python's hash()?**  It is salted anew in each process.  Two servers would disagree.

**Why check the ratio?**  If the new model times out for slow phones, these users vanish from its
group.  The rest look happier.  A ratio with p below 0.001 means: don't read the results, look for
the bug.

**Why may you look at Λ all the time?**  Λ says how much better "a difference of about τ" explains
the data than "no difference".  If there is none, Λ is like your money in a fair game: you begin
with 1, and on average you keep 1.  Whoever plays so, for however long, ever has 20 in at most one
of 20 games.  So 1/Λ falls to 0.05 in at most 5% of the experiments, whenever you look.  This is
exact for normal differences with a known V, and a good approximation for clicks.

**Why two different σ?**  The p-value asks what happens if both rates are equal.  Then all data
together give the best estimate of that one rate.  The interval doesn't suppose this.

**Worked by hand**

    bucket("ada", "ranker") = 6623, bucket("ada", "colour") = 5474
    "ada" in "colour": with {"new": 5000, "old": 4000} she is between the two, so None;
        with {"new": 6000, "old": 4000} she gets "new"
    ratio 5200 to 4800, share 0.5: χ² = 8 + 8 = 16, p = 0.0000633
    z-test, 40 of 200 and 60 of 200: p̄ = 0.25, σ₀ = 0.0433, p = 0.0209
        the difference is 0.1, from 0.0157 to 0.1843
    power for 0.2 and 0.3 with 200 in each group: 0.6375
        a power of 0.8 takes 294 in each group
    sequential test, V = 1, τ = 1, differences 1, 3, -4:
        1/Λ = 1.1014, 0.1203, 2         p = 1, 0.1203, 0.1203
        after two of them the 95% interval is 2 ± 2.306
    Thompson: Beta(1, 1), and then two successes and a failure: Beta(3, 2)

**Shapes**: no arrays.  Counts are whole numbers, rates are above 0 and below 1, answers are floats
where nothing else is said.  No function changes its arguments, but for `rng`, which is drawn from.

**Steps.**  A good place to pause is before SequentialTest.

    bucket            5 min   the same on every machine
    assign            8 min   where does each variant begin?
    ratio_p_value     5 min   expected counts from the share
    z_test           10 min   two σ; no success at all
    power             7 min   which σ divides?
    sample_size       6 min   solve for n, then round up
    SequentialTest   16 min   exp overflows
    Thompson         12 min   draw anew each time

Sources: Kohavi, Tang and Xu 2020, "Trustworthy Online Controlled Experiments"; Fabijan et al. 2019,
"Diagnosing Sample Ratio Mismatch in Online Controlled Experiments"; Johari, Pekelis and Walsh 2015,
"Always Valid Inference"; Thompson 1933; Chapelle and Li 2011, "An Empirical Evaluation of Thompson
Sampling".

From scratch: scipy and statsmodels may not be used.  statistics.NormalDist may: it has Φ and Φ⁻¹.
"""

import numpy as np


def bucket(unit: str, salt: str, buckets: int = 10_000) -> int:
    """The bucket of a unit, such as a user's name, in the experiment `salt`: from 0 to buckets - 1, by the formula."""
    raise NotImplementedError


def assign(unit: str, salt: str, variants: dict[str, int]) -> str | None:
    """The variant that a unit gets, or None if it takes no part.

    - `variants` says how many of the 10,000 buckets each variant has.  There is at least one; it may have 0 buckets.
    - The variants but for the last take their buckets from 0 up, in the dict's order: the first one from 0 on,
      each next one right after it.  The last one takes its buckets from the upper end: its last is 9,999.
    - A single variant is a last one.  Units in the buckets between take no part.

    Raises ValueError, naming the sum, if the variants have more than 10,000 buckets together; and ValueError, naming
    the variant, if one has less than 0.
    """
    raise NotImplementedError


def ratio_p_value(a: int, b: int, share: float = 0.5) -> float:
    """How probable counts as far from the planned ratio as a and b are, by the formula.

    share   how much of all should be in a

    At least one of the counts is above 0.
    """
    raise NotImplementedError


def z_test(x: int, n: int, y: int, m: int, alpha: float = 0.05) -> tuple[float, float, tuple[float, float]]:
    """The difference p₂ - p₁, the p-value, and the interval (low, high), for x successes among n and y among m.

    - n and m are 1 or more.  If nobody or everybody has success in both groups, the p-value is 1.0.
    - A p-value of 1e-30 keeps its digits: erfc gives them, 1 - Φ doesn't.
    """
    raise NotImplementedError


def power(rate: float, other: float, n: int, alpha: float = 0.05) -> float:
    """How probable it is that the z-test is significant at the level alpha, with n in each group, by the formula."""
    raise NotImplementedError


def sample_size(rate: float, other: float, alpha: float = 0.05, wanted: float = 0.8) -> int:
    """The smallest n, an int, for which `power` is at least `wanted`, which is from 0.5 to below 1.

    It may be in the billions: don't try one n after the other.

    Raises ValueError, naming the rate, if both rates are equal.
    """
    raise NotImplementedError


class SequentialTest:
    """A test for whether the mean of a stream of differences is 0.  You may look after each of them."""

    def __init__(self, variance: float, tau: float) -> None:
        """`variance` is V, that of one difference; `tau` is τ.

        For two variants whose users come in pairs, a difference is 1, 0 or -1, and V is about 2 p (1 - p).

        Raises ValueError, naming it, if one of the two isn't above 0.
        """
        raise NotImplementedError

    def update(self, difference: float) -> float:
        """Take the next difference; returns p_n.  It never rises, and nothing overflows, whatever d is."""
        raise NotImplementedError

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """(low, high), which holds the true mean with 1 - alpha, at all times together; changes nothing.

        It is that of now: it isn't cut with those of before.  Before the first difference it is (-inf, inf).
        """
        raise NotImplementedError


class Thompson:
    """Chooses between arms whose rates of success aren't known."""

    def __init__(self, arms: int, rng: np.random.Generator, a: float = 1.0, b: float = 1.0) -> None:
        """`arms` is their number; Beta(a, b) is what is believed of each before the first trial.

        Raises ValueError, naming it, if there are fewer than 2 arms.
        """
        raise NotImplementedError

    def choose(self) -> int:
        """The arm to try next, from 0 on: an int.  Each call draws a new number for each arm, from `rng`.

        It changes nothing else: whether you tried the arm is for `update` to say.
        """
        raise NotImplementedError

    def update(self, arm: int, success: bool) -> None:
        """Note how a trial of an arm went.  Any arm may be updated at any time, also one that wasn't chosen.

        Raises IndexError, naming it, if there is no such arm; -1 is none.
        """
        raise NotImplementedError

    def posterior(self, arm: int) -> tuple[float, float]:
        """The two parameters of the arm's Beta.  Raises IndexError as `update` does."""
        raise NotImplementedError
