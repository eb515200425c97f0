"""Matrix factorization

**Before you start.**  You need matrix products, ridge regression, and gradient descent.  Use
numpy.linalg.solve, or yours (until it is green, the import gives a finished one):

    from .k06_linear_systems import solve

Are recommenders new to you?  Read Koren, Bell and Volinsky 2009 (below), eight pages.

**The idea.**  A shop knows a few ratings by each customer and wants to guess all others.  Fit two
thin matrices, tastes of users and traits of items, whose product stands in for the table:

               items                                      items
           ┌──────────────┐              ┌─────┐     ┌──────────────┐
           │ 5  .  .  2 . │              │ p₀  │     │ q₀  q₁  q₂ … │  k rows
     users │ .  .  4  . . │    ▶   users │ p₁  │  ×  └──────────────┘
           │ 1  .  .  . 5 │              │ p₂  │
           └──────────────┘              └─────┘     plus the mean
           a dot: not rated             k columns    and two biases

**The formula** for the rating of item i by user u:

    r̂ᵤᵢ = mean + bᵤ + cᵢ + pᵤ·qᵢ

The biases bᵤ and cᵢ say who is generous and what is good.  pᵤ and qᵢ are k numbers each.  Few
ratings are little evidence, so `reg` pulls every number towards 0:

    minimise  ∑ (r - r̂)² + reg · ∑ (numbers)²      over the given ratings

- *Biases*.  First each item's: sum r - mean over its ratings, and divide by (reg + how many).  Then
  each user's, in the same way, from r - mean - cᵢ.
- *ALS*, alternating least squares.  With all q fixed, each pᵤ is a small ridge regression of its
  own.  Solve for all users; then fix these and solve for all items.  Repeat: the loss never rises.
- *SGD*, stochastic gradient descent, takes one rating at a time.  Its `reg` acts once for each
  rating, and so more strongly than the same `reg` in ALS.

In formulas, with the rest = r - mean - bᵤ - cᵢ and the error e = r - r̂:

    ridge    (∑ qᵢqᵢᵀ + reg I) pᵤ = ∑ qᵢ rest            sums over the items that u rated
    SGD      bᵤ += rate (e - reg bᵤ)          pᵤ += rate (e qᵢ - reg pᵤ)
             cᵢ += rate (e - reg cᵢ)          qᵢ += rate (e pᵤ - reg qᵢ)    all from old values

**Why not fill the gaps with the mean, and take an SVD?**  Then the model learns the filling.

**What if a user is new** (cold start)?  Leave out bᵤ and pᵤ·qᵢ.  For a new item, leave out cᵢ and
pᵤ·qᵢ.  If both are new, the guess is the mean.

**Worked by hand**:

    ratings (user, item): (0, 0) 5 stars, (0, 1) 2, (1, 0) 5;  mean 4, reg = 1
    items: c = [(1 + 1)/(1 + 2), -2/(1 + 1)] = [2/3, -1]
    users: b = [(1/3 - 1)/(1 + 2), (1/3)/(1 + 1)] = [-2/9, 1/6]
    ridge, k = 1: q = [1 2], rests [3 1], reg = 1:   (1 + 4 + 1) p = 3 + 2,  p = 5/6
    SGD, k = 1: r = 4, mean 3, no biases, p = 1, q = 2: r̂ = 5, e = -1;
        rate 0.1, reg 0.5:  b = c = -0.1,  p = 1 + 0.1(-2 - 0.5) = 0.75,  q = 2 + 0.1(-1 - 1) = 1.8

**Shapes**: `users` and `items` (n,) hold ids from 0, `stars` (n,) the ratings.  Answers are
float64.  No function changes its arguments, nor the arrays of the Factors that it is given.

**Steps.**  The class Factors is given.

    biases      10 min   items first, then users from what is left
    predict     10 min   -1 must not mean the last row
    ridge_rows  10 min   one small system a row
    als          5 min   users and items trade places
    sgd         15 min   old values on the right; a new order each epoch

Sources: Koren, Bell and Volinsky 2009, "Matrix Factorization Techniques for
Recommender Systems"; Koren 2010, "Factor in the Neighbors", section 2.1 (the biases).

From scratch: scipy and sklearn may not be used.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(eq=False)
class Factors:
    """What a rating is made of; see the lesson's formula.  This class is complete."""

    mean: float
    user_bias: np.ndarray  # (n_users,), b
    item_bias: np.ndarray  # (n_items,), c
    user_factors: np.ndarray  # (n_users, k), p
    item_factors: np.ndarray  # (n_items, k), q


def biases(
    users: np.ndarray, items: np.ndarray, stars: np.ndarray, n_users: int, n_items: int, reg: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """(mean, user_bias, item_bias) as in the lesson, items first; reg > 0.

    - The mean is that of all ratings.
    - The biases are (n_users,) and (n_items,); whoever has no ratings gets 0.
    """
    raise NotImplementedError


def predict(factors: Factors, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The guessed ratings of users[j] for items[j], (n,).  They aren't clipped.

    - An id that `factors` has no numbers for is new: -1 or any other below 0, and n_users (or
      n_items) and all above it.
    - n may be 0.
    """
    raise NotImplementedError


def ridge_rows(
    rows: np.ndarray,
    columns: np.ndarray,
    targets: np.ndarray,
    column_factors: np.ndarray,
    n_rows: int,
    reg: float,
) -> np.ndarray:
    """Half a sweep of ALS: the best factors (n_rows, k) of the rows, those of the columns fixed.

    - For entry j, targets[j] is what row_factors[rows[j]] · column_factors[columns[j]] should come
      near.
    - reg > 0; it isn't multiplied by the number of entries.
    - A row without entries gets zeros.
    """
    raise NotImplementedError


def als(
    start: Factors, users: np.ndarray, items: np.ndarray, stars: np.ndarray, reg: float, sweeps: int
) -> Factors:
    """Alternating least squares from start.item_factors: `sweeps` ≥ 1 times users, then items.

    - The mean and the biases stay those of `start`.
    - Users and items without any rating get factors of zeros.
    """
    raise NotImplementedError


def sgd(
    start: Factors,
    users: np.ndarray,
    items: np.ndarray,
    stars: np.ndarray,
    rate: float,
    reg: float,
    epochs: int,
    rng: np.random.Generator,
) -> Factors:
    """Stochastic gradient descent from `start`.

    - Each of the `epochs` ≥ 0 visits every rating once, in a new random order drawn from `rng`.
    - All that is random comes from `rng`: numpy's global generator stays as it is.
    - The mean stays that of `start`.
    - Users and items without any rating keep their bias and end with factors of zeros, as with
      ALS, even after 0 epochs: their random start would be noise.
    """
    raise NotImplementedError
