"""Matrix factorization

A table of ratings, users by items, is nearly empty: few users rate few items.
Guess the rest from what the given ones have in common (Koren, Bell and Volinsky):

    r̂ᵤᵢ = mean + bᵤ + cᵢ + pᵤ·qᵢ

The biases bᵤ and cᵢ say who is generous and what is good.  They carry most of
it.  pᵤ and qᵢ are k numbers each, a user's tastes and an item's traits: the
product of two thin matrices stands in for a large one, of rank k.  Unlike in an
SVD only the ratings that were given count.  Filling the gaps, with the mean for
example, teaches the model the filling.

Few ratings mean little evidence, so every number is held back towards 0:

    minimise  ∑ (r - r̂)² + reg · ∑ (numbers)²      over the given ratings

- The biases, roughly but in closed form: first each item's, from how far its
  ratings are from the mean, then each user's, from what is left of them.
  Dividing by (reg + how many) instead of how many is what holds them back.
- ALS: with all q fixed, each pᵤ is a small ridge regression of its own,
  (∑ qᵢqᵢᵀ + reg I) pᵤ = ∑ qᵢ rest, over the items that u rated.  Solve all the
  users', then, with these fixed, all the items', and so on in turn: the loss
  never rises.  What is left for it is the rest, r - mean - bᵤ - cᵢ.
- SGD: for one rating at a time, with error e = r - r̂, all from the old values:
      bᵤ += rate (e - reg bᵤ)          pᵤ += rate (e qᵢ - reg pᵤ)
      cᵢ += rate (e - reg cᵢ)          qᵢ += rate (e pᵤ - reg qᵢ)

Cold start: of somebody new nothing is known, so the guess has no bᵤ and no pᵤ·qᵢ
in it.  For a new user and a new item it is the mean.

Worked by hand:

    ratings (user, item): (0, 0) 5 stars, (0, 1) 2, (1, 0) 5;  mean 4, reg = 1
    items: c = [(1 + 1)/(1 + 2), -2/(1 + 1)] = [2/3, -1]
    users: b = [(1/3 - 1)/(1 + 2), (1/3)/(1 + 1)] = [-2/9, 1/6]
    ridge, k = 1: q = [1 2], rests [3 1], reg = 1:   (1 + 4 + 1) p = 3 + 2,  p = 5/6
    SGD, k = 1: r = 4, mean 3, no biases, p = 1, q = 2: r̂ = 5, e = -1;
        rate 0.1, reg 0.5:  b = c = -0.1,  p = 1 + 0.1(-2 - 0.5) = 0.75,  q = 2 + 0.1(-1 - 1) = 1.8

Shapes: `users` and `items` (n,) hold ids from 0, `stars` (n,) the ratings.
Answers are float64.  No function changes its arguments, nor the arrays of the
Factors that it is given.

Sources: Koren, Bell and Volinsky 2009, "Matrix Factorization Techniques for
Recommender Systems"; Koren 2010, "Factor in the Neighbors", section 2.1.

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

    The mean is that of all ratings.  The biases are (n_users,) and (n_items,);
    whoever has no ratings gets 0.
    """
    raise NotImplementedError


def predict(factors: Factors, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The guessed ratings of users[j] for items[j], (n,).  They aren't clipped.

    An id that `factors` has no numbers for is new: -1 or any other below 0, and
    n_users (or n_items) and all above it.
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
    """Half a sweep of ALS: the best factors (n_rows, k) of the rows, with those of the columns fixed.

    For entry j, targets[j] is what row_factors[rows[j]] · column_factors[columns[j]]
    should come near.  reg > 0.  A row without entries gets zeros.
    """
    raise NotImplementedError


def als(
    start: Factors, users: np.ndarray, items: np.ndarray, stars: np.ndarray, reg: float, sweeps: int
) -> Factors:
    """Alternating least squares from start.item_factors: `sweeps` ≥ 1 times users, then items.

    The mean and the biases stay those of `start`.
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

    Each of the `epochs` visits every rating once, in a new random order drawn
    from `rng`.  The mean stays that of `start`.  Users and items without any
    rating keep their bias and end with factors of zeros, as with ALS: their
    random start would be noise.
    """
    raise NotImplementedError
