"""Privacy: noise that protects people, and an accountant that counts what is left

**Before you start.**  You need gradient descent, the normal distribution, and logarithms of sums;
no other kata.  More: Dwork and Roth 2014, "The Algorithmic Foundations of Differential Privacy"
(free on the web), chapters 2 and 3.

**The idea.**  A model remembers the people it was trained on.  Whoever holds it can sometimes
tell whether you were among them.  Dropping the names isn't enough: age, postcode and sex single
out most people.

*k-anonymity* asks for tables in which everybody looks like k - 1 others.  It says nothing about
what all of them share.  *Differential privacy* promises more.  With your data or without, each
result has nearly the same probability: the two differ by a factor of at most e^ε.  δ is a small
slack: roughly, the chance that this fails.  Noise pays for the promise.

*Randomized response* adds the noise at each person's own device.  *DP-SGD* adds it to the
gradients of training: first it clips each example's gradient, so that no person counts for much.
Then an *accountant* adds up what all steps together give away.  *Federated averaging* leaves the
data where they are, and sends models.  The *membership attack* checks what all this is worth.

**The formulas.**

    k-anonymity   size of the smallest group of rows that are equal
    l-diversity   smallest number of different sensitive values in such a group
    (ε, δ)        P(result) ≤ e^ε P'(result) + δ  for each set of results;  P with you, P' without
    response      keep the answer with the chance p = e^ε / (1 + e^ε), else turn it
    estimate      share = (r - (1 - p)) / (2p - 1)       error = √(r (1 - r)/n) / (2p - 1)
    clip          g · min(1, C / ‖g‖)                    each example by itself
    DP-SGD        w ← w - lr · (Σ clipped + z) / L       z: normal, deviation σ C in each coordinate
                  L = q n
    RDP           R(α) = ln( Σ_{k=0…α} binom(α, k) (1 - q)^(α-k) q^k e^((k² - k)/(2σ²)) ) / (α - 1)
    accountant    ε = min over α of  T R(α) + ln(1/δ) / (α - 1)
    federated     w = Σ_c n_c w_c / Σ_c n_c
    attack        says "member" if loss ≤ t;  advantage = max over t of  TPR - FPR
    AUC           P(a member's loss < an outsider's) + ½ P(they are equal)

r is the share of "yes" among n responses; below, n is the number of examples.  C is the clipping
bound, σ the noise multiplier.  In each step every one of the n examples is drawn with the chance
q, independently.  Those drawn are the *lot*; its expected size is L.  RDP is Rényi differential
privacy: R(α) bounds the Rényi divergence of order α, here a whole number from 2, between a step's
results with you and without.  T steps cost T R(α).  TPR is the share of members that are found,
FPR the share of outsiders that are accused.

**A drawing**

    example 1   ─▶ gradient ─▶ clip to C ─┐
    example 2   ─▶ gradient ─▶ clip to C ─┼─▶ sum ─▶ + noise σ C ─▶ / L ─▶ step
    example 3   ─▶ gradient ─▶ clip to C ─┘
                   one person moves the      the noise hides a move
                   sum by at most C          of C, and knows no data

**Why clip each one, and not the batch?**  The promise is about one person.  If you clip the mean,
one huge gradient can still decide its direction.

**Why noise after clipping?**  Noise that is clipped with the gradient shrinks where the gradient
is large.  Then its size depends on the data, and that gives something away.

**Why divide by L, and not by the batch's size?**  The size itself depends on who is in the data.
L is its expectation, a constant.

**Why an accountant?**  If each of T steps costs ε, all together cost at most Tε.  That bound is
far too pessimistic: what each step gives away is random, and much of it cancels.  RDP adds it up
before it turns it into an ε, and counts that a step sees you only with the chance q.

**Worked by hand**

    table       (30s, 803) twice, (40s, 803) three times: k = 2
                sensitive: flu flu, flu cancer flu: l = 1
    response    ε = ln 3: p = 0.75.  40 of 100 say yes: share 0.15/0.5 = 0.3, error 0.098
    clip        C = 1:  (3, 4) → (0.6, 0.8);  (0.3, 0.4) stays
    DP-SGD      these two, σ = 0, L = 4:  (0.225, 0.3)
    RDP         q = 0.5, σ = 1, α = 2:  ln(0.25 + 0.5 + 0.25 e) = 0.3574.   q = 1: α/(2σ²)
    accountant  q = 1, σ = 2, T = 1, δ = 1e-5:  11/8 + 11.513/10 = 2.5263, at α = 11
                q = 0.01, σ = 4, T = 10000, δ = 1e-5:  1.26, as Abadi et al. report
    federated   sizes 30 and 10, weights 1 and 5:  2
    attack      members .1 .2 .9, outsiders .3 .8 1:  at t = 0.2 it is 2/3 - 0.  AUC 7/9

**Shapes**: gradients (b, p), one row an example; answers (n,) of 0 and 1, as integers, floats or
booleans; losses (n,) and (m,).  Results are float64 where nothing else is said.  No function
changes its arguments, but for `rng`, which is drawn from.  All that is random comes from `rng`.

**Steps.**  A good place to pause is after train_privately.

    k_anonymity         4 min   count equal rows
    l_diversity         5 min   count values within them
    respond             6 min   each answer alone
    estimate_share      6 min   undo the noise
    clip_each           5 min   a gradient of zeros
    private_gradient    8 min   the order: clip, sum, noise, divide
    train_privately    10 min   who is in the lot?
    subsampled_rdp     10 min   a sum of huge terms
    epsilon_spent       6 min   the best order
    federated_average   6 min   weighted by size
    membership_attack  10 min   all thresholds

Sources: Sweeney 2002, "k-Anonymity"; Warner 1965, "Randomized Response"; Abadi et al. 2016, "Deep
Learning with Differential Privacy"; Mironov 2017, "Rényi Differential Privacy"; Mironov, Talwar
and Zhang 2019, "Rényi Differential Privacy of the Sampled Gaussian Mechanism"; McMahan et al.
2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data"; Yeom et al.
2018, "Privacy Risk in Machine Learning".

From scratch: opacus, dp_accounting, tensorflow_privacy and sklearn may not be used.
scipy.special may.
"""

from collections.abc import Callable, Sequence

import numpy as np


def k_anonymity(rows: np.ndarray) -> int:
    """The k of a table (n, c) of strings or integers; n is at least 1.  Rows are equal if all their columns are."""
    raise NotImplementedError


def l_diversity(rows: np.ndarray, sensitive: np.ndarray) -> int:
    """The l of a table (n, c) with sensitive values (n,), strings or integers; n is at least 1."""
    raise NotImplementedError


def respond(answers: np.ndarray, epsilon: float, rng: np.random.Generator) -> np.ndarray:
    """Randomized responses (n,), int64, to `answers` (n,); each is drawn alone.  epsilon is at least 0, and may be 1000."""
    raise NotImplementedError


def estimate_share(responses: np.ndarray, epsilon: float) -> tuple[float, float]:
    """(share, its standard error) of those whose true answer is 1.  The share isn't cut to 0 … 1.

    epsilon may be 1000.  Raises ValueError, naming it, unless it is above 0: such responses say nothing.
    """
    raise NotImplementedError


def clip_each(gradients: np.ndarray, bound: float) -> np.ndarray:
    """Each row (b, p) shortened to at most the length C = `bound` > 0.  Zeros stay zeros, without a warning."""
    raise NotImplementedError


def private_gradient(
    gradients: np.ndarray, bound: float, noise: float, lot: float, rng: np.random.Generator
) -> np.ndarray:
    """(Σ clipped + z) / L, (p,), with σ = `noise` and L = `lot`.  With b = 0 it is noise alone."""
    raise NotImplementedError


def train_privately(
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray],
    start: np.ndarray,
    n: int,
    rate: float,
    steps: int,
    lr: float,
    bound: float,
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The weights (p,) after `steps` steps of DP-SGD from `start` (p,).

    gradient   called once a step as gradient(w, indices), gives the gradients (b, p) of the examples `indices` (b,),
               integers from 0 to n - 1.  It is called with no index, too: then it gives (0, p)
    start      may be integers
    rate       q.  The lot holds each example with this chance, independently, and at most once
    """
    raise NotImplementedError


def subsampled_rdp(rate: float, noise: float, order: int) -> float:
    """R(α) for q = `rate`, above 0 and at most 1, σ = `noise` and α = `order`.

    - Nothing overflows, with orders of 256 and a noise of 0.3 neither.
    - Raises ValueError, naming the order, if it is below 2.
    """
    raise NotImplementedError


def epsilon_spent(
    rate: float, noise: float, steps: int, delta: float, orders: Sequence[int] = range(2, 257)
) -> tuple[float, int]:
    """(ε, the order α that gives it), with the smallest ε of all `orders`, in whatever sequence they stand."""
    raise NotImplementedError


def federated_average(clients: list[dict[str, np.ndarray]], sizes: list[int]) -> dict[str, np.ndarray]:
    """The average of the clients' weights, weighted by their numbers of examples, name by name.

    - All clients have the same names, and weights of any shape.  They may be integers.
    - A client with 0 examples counts for nothing.
    - Raises ValueError if all sizes are 0.
    """
    raise NotImplementedError


def membership_attack(members: np.ndarray, outsiders: np.ndarray) -> tuple[float, float]:
    """(advantage, AUC) of the attack, from losses of members (n,) and outsiders (m,), at least one of each.

    Equal losses are on the same side of every t.  t may be below all losses, so the advantage is at least 0.
    """
    raise NotImplementedError
