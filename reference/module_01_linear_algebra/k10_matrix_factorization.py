"""Matrix factorization: the reference."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(eq=False)
class Factors:
    """What a rating is made of; see the lesson for the formula."""

    mean: float
    user_bias: np.ndarray
    item_bias: np.ndarray
    user_factors: np.ndarray
    item_factors: np.ndarray


def biases(
    users: np.ndarray, items: np.ndarray, stars: np.ndarray, n_users: int, n_items: int, reg: float
) -> tuple[float, np.ndarray, np.ndarray]:
    mean = float(stars.mean())
    rest = stars - mean
    # bincount sums and counts by id.  reg in the divisor holds back who has few ratings, and 0/reg is 0.
    item_bias = np.bincount(items, rest, n_items) / (reg + np.bincount(items, minlength=n_items))
    rest = rest - item_bias[items]
    user_bias = np.bincount(users, rest, n_users) / (reg + np.bincount(users, minlength=n_users))
    return mean, user_bias, item_bias


def predict(factors: Factors, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    old_user = (users >= 0) & (users < len(factors.user_bias))
    old_item = (items >= 0) & (items < len(factors.item_bias))
    # Whoever is new borrows the numbers of id 0, which are then multiplied by 0.
    u, i = users * old_user, items * old_item
    both = (factors.user_factors[u] * factors.item_factors[i]).sum(1) * (old_user & old_item)
    return factors.mean + factors.user_bias[u] * old_user + factors.item_bias[i] * old_item + both


def ridge_rows(
    rows: np.ndarray,
    columns: np.ndarray,
    targets: np.ndarray,
    column_factors: np.ndarray,
    n_rows: int,
    reg: float,
) -> np.ndarray:
    k = column_factors.shape[1]
    answer = np.empty((n_rows, k))
    for row in range(n_rows):
        mine = rows == row  # none: reg·I x = 0, so zeros
        q = column_factors[columns[mine]]
        answer[row] = np.linalg.solve(q.T @ q + reg * np.eye(k), q.T @ targets[mine])
    return answer


def als(
    start: Factors, users: np.ndarray, items: np.ndarray, stars: np.ndarray, reg: float, sweeps: int
) -> Factors:
    # What mean and biases leave unexplained is all that the factors are for.
    rest = stars - start.mean - start.user_bias[users] - start.item_bias[items]
    p, q = start.user_factors, start.item_factors
    for _ in range(sweeps):
        p = ridge_rows(users, items, rest, q, len(p), reg)
        q = ridge_rows(items, users, rest, p, len(q), reg)
    return replace(start, user_factors=p, item_factors=q)


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
    user_bias, item_bias = start.user_bias.copy(), start.item_bias.copy()
    p, q = start.user_factors.copy(), start.item_factors.copy()
    # Those without ratings are never visited; their random numbers would be mere noise.
    p[np.bincount(users, minlength=len(p)) == 0] = 0
    q[np.bincount(items, minlength=len(q)) == 0] = 0
    for _ in range(epochs):
        for j in rng.permutation(len(stars)):
            u, i = users[j], items[j]
            error = stars[j] - (start.mean + user_bias[u] + item_bias[i] + p[u] @ q[i])
            user_bias[u] += rate * (error - reg * user_bias[u])
            item_bias[i] += rate * (error - reg * item_bias[i])
            # Both from the old values: the right-hand side is complete before either is stored.
            p[u], q[i] = p[u] + rate * (error * q[i] - reg * p[u]), q[i] + rate * (error * p[u] - reg * q[i])
    return Factors(start.mean, user_bias, item_bias, p, q)
