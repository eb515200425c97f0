"""Recommenders

**Before you start.**  You need ridge regression, matrix factorization, and logarithms.
Recommenders are new to you?  Read Google's course "Recommendation Systems",
developers.google.com/machine-learning/recommendation, the part on matrix factorization.

**The idea.**  A shop knows who took what, not who liked what.  Such *implicit* feedback has no
dislikes: a blank may mean no or not yet.  Give every user and every item a short vector of factors,
so that products of vectors are large where something was taken.  Then recommend, of what a user
hasn't taken, what scores best.  And compare with the simplest rule there is: the same best-sellers
for everybody.

**The formulas**, for users u, items i, counts r_ui ≥ 0, factors x_u and y_i:

    preference    p_ui = 1 if r_ui > 0 else 0        confidence   c_ui = 1 + α r_ui
    ALS           L = ∑ c_ui (p_ui - x_u·y_i)² + λ (∑ ‖x_u‖² + ∑ ‖y_i‖²)
    a half step   x_u = (YᵀY + ∑_met α r_ui y_i y_iᵀ + λ I)⁻¹ ∑_met c_ui y_i
    BPR           mean of  -ln σ(x_u·(y_i - y_j)) + λ (‖x_u‖² + ‖y_i‖² + ‖y_j‖²)

- L's first sum runs over all pairs, blanks too.  With the items fixed, each user's factors solve a
  ridge regression.  With the users fixed, so do the items': take turns.
- Y (items, f) holds the y_i as rows.  `met` are the items with r_ui > 0.
- BPR's triples (u, i, j): u has taken i but not j.  Only the order of the two scores matters.

Of a list of k items, with hits at some ranks, and R relevant items of that user:

    recall        hits / R
    NDCG          ∑_hits 1/log₂(rank + 1)  /  ∑_ranks ≤ min(k, R) 1/log₂(rank + 1)
    AP            ∑_hits (hits up to this rank)/rank  /  min(k, R)      MAP is its mean

Each is averaged over the users with R ≥ 1.

                   items                             f        items
            ┌ 3 0 0 1 0 0 ┐                       ┌ ▪ ▪ ┐  ┌ ▪ ▪ ▪ ▪ ▪ ▪ ┐
    users   │ 0 0 2 0 0 5 │   ≈ 1 where r > 0     │ ▪ ▪ │  └ ▪ ▪ ▪ ▪ ▪ ▪ ┘
            └ 1 0 0 0 4 0 ┘                       └ ▪ ▪ ┘    Y transposed
                  r                                  X

**Why is a half step cheap?**  c_ui is 1 for all blanks.  So the sum over all items is YᵀY, the same
for every user, and a few terms for what this user has met.

**Where do you start?**  From small random factors.  Zeros would stay zeros: every half step solves
to 0 from there.

**Why hold out?**  What a user has taken is known to the model.  So hide one interaction of each,
train on the rest, and see whether it comes back.  What was seen in training isn't recommended.

**Worked by hand**:

    recommended 2, 7, 5 and relevant {2, 5}:   recall 1, AP = (1/1 + 2/3)/2 = 0.833
        NDCG = (1 + 1/2)/(1 + 0.631) = 0.920
    r = [1 0], y = 1 and 2, α = 1, λ = 2:   x = (2·1)/(1 + 4 + 1 + 2) = 0.25
        L = 2(1 - 0.25)² + (0 - 0.5)² + 2(0.0625 + 1 + 4) = 11.5
    BPR with x = 1, y_i = 2, y_j = 1, λ = 0:   ln(1 + e⁻¹) = 0.3133

**Shapes**: r (users, items) dense; x (users, f); y (items, f); recommended (users, k) of item
numbers, -1 for no item; relevant and seen (users, items) bool.  No function changes its arguments.

**Steps.**

    hold_out                8 min   one of each user's, at random
    popularity              2 min   a count
    recommend               8 min   what was seen, ties, and too few
    recall_at_k             6 min   users without relevant items
    ndcg_at_k              10 min   the ideal list
    mean_average_precision  8 min   precision at each hit
    solve_factors          12 min   YᵀY once, then each user
    als_loss                5 min   all pairs, blanks too
    implicit_als            6 min   take turns
    bpr_loss                8 min   overflow

Sources: Hu, Koren and Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets";
Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback"; Järvelin and
Kekäläinen 2002, "Cumulated Gain-Based Evaluation of IR Techniques".

From scratch: scipy and sklearn may not be used.
"""

import numpy as np


def hold_out(users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which interactions to hide, from the user of each, `users` (m,): bool (m,).

    - One of each user with two or more, each as probable; none of the others.
    - User numbers may have gaps.  All randomness comes from `rng`.
    """
    raise NotImplementedError


def popularity(items: np.ndarray, n_items: int) -> np.ndarray:
    """How often each item occurs among the interactions' `items` (m,): float64 (n_items,)."""
    raise NotImplementedError


def recommend(scores: np.ndarray, seen: np.ndarray, k: int) -> np.ndarray:
    """The k items of largest score that each user hasn't `seen`, best first: (users, k).

    - `scores` is (users, items), or (items,) if they are the same for all.  They are finite, and may
      be integers, uint8 too.
    - At a tie the lower item number comes first.
    - A user with fewer than k unseen items gets -1 in the places that are left.

    Raises ValueError, naming k and the number of items, unless 1 ≤ k ≤ items.
    """
    raise NotImplementedError


def recall_at_k(recommended: np.ndarray, relevant: np.ndarray) -> float:
    """The mean recall.  -1 in `recommended` is a miss; other items occur once in a list.

    Raises ValueError, naming "relevant", if no user has a relevant item.
    """
    raise NotImplementedError


def ndcg_at_k(recommended: np.ndarray, relevant: np.ndarray) -> float:
    """The mean NDCG.  -1 in `recommended` is a miss, and keeps its rank.  Raises as above."""
    raise NotImplementedError


def mean_average_precision(recommended: np.ndarray, relevant: np.ndarray) -> float:
    """MAP, the mean of the lesson's AP.  -1 is a miss, and keeps its rank.  Raises as above."""
    raise NotImplementedError


def solve_factors(r: np.ndarray, y: np.ndarray, alpha: float, reg: float) -> np.ndarray:
    """The x (users, f) for which the loss of `r` (users, items) and `y` (items, f) is smallest.

    - `alpha` is α, `reg` is λ > 0.  A user without items gets zeros.
    - `r` and `y` may be integers.  The answer is float64.
    - For items, call it with r.T and x: the two halves are alike.
    """
    raise NotImplementedError


def als_loss(r: np.ndarray, x: np.ndarray, y: np.ndarray, alpha: float, reg: float) -> float:
    """The lesson's L, over all pairs of users and items."""
    raise NotImplementedError


def implicit_als(
    r: np.ndarray, start: np.ndarray, alpha: float, reg: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """x (users, f) and y (items, f) after `steps` ≥ 1 steps, from y = `start` (items, f).

    A step solves for the users first, then for the items.
    """
    raise NotImplementedError


def bpr_loss(x: np.ndarray, y: np.ndarray, triples: np.ndarray, reg: float) -> float:
    """The lesson's mean over `triples` (m, 3), rows (u, i, j), m ≥ 1; `reg` is λ.

    Finite for differences of scores up to 1e6 in either direction.
    """
    raise NotImplementedError
