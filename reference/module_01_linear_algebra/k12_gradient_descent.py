"""Gradient descent: the reference."""

from collections.abc import Callable
from itertools import combinations

import numpy as np


def gradient_descent(
    gradient: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    rate: float,
    steps: int,
    momentum: float = 0.0,
) -> np.ndarray:
    x = np.asarray(start, dtype=np.float64)
    velocity = np.zeros_like(x)
    path = [x]
    for _ in range(steps):
        # New arrays, not +=: the path keeps the old ones.
        velocity = momentum * velocity - rate * gradient(x)
        x = x + velocity
        path.append(x)
    return np.stack(path)


def backtracking(
    f: Callable[[np.ndarray], float],
    x: np.ndarray,
    gradient: np.ndarray,
    direction: np.ndarray,
    step: float = 1.0,
    shrink: float = 0.5,
    share: float = 1e-4,
) -> float:
    slope = gradient @ direction
    if slope >= 0:
        raise ValueError(f"direction must be one of descent, but f rises along it: its slope is {slope:.4g}")
    before = f(x)
    # `not <=` rather than `>`: NaN compares as False, and a step to NaN is too long.
    while not f(x + step * direction) <= before + share * step * slope:
        step *= shrink
    return step


def newton(
    gradient: Callable[[np.ndarray], np.ndarray],
    hessian: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    tol: float = 1e-10,
    max_steps: int = 50,
) -> np.ndarray:
    x = np.asarray(start, dtype=np.float64)
    path = [x]
    for _ in range(max_steps):
        g = gradient(x)
        if np.linalg.norm(g) <= tol:
            break
        # H⁻¹ g is the solution of H s = g.
        x = x - np.linalg.solve(hessian(x), g)
        path.append(x)
    return np.stack(path)


def project_ball(x: np.ndarray, radius: float) -> np.ndarray:
    length = np.linalg.norm(x)
    return x * (radius / length if length > radius else 1.0)


def projected_gradient(
    gradient: Callable[[np.ndarray], np.ndarray],
    project: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    rate: float,
    steps: int,
) -> np.ndarray:
    x = project(np.asarray(start, dtype=np.float64))
    path = [x]
    for _ in range(steps):
        x = project(x - rate * gradient(x))
        path.append(x)
    return np.stack(path)


def constrained_quadratic(
    q: np.ndarray, c: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    d, m = len(c), len(b)
    # Both conditions, that nothing can be gained and that a x = b, are linear in x and λ: one system.
    system = np.block([[q, a.T], [a, np.zeros((m, m))]])
    solution = np.linalg.solve(system, np.concatenate([-c, b]))
    return solution[:d], solution[d:]


def convexity_violation(f: Callable[[np.ndarray], float], points: np.ndarray) -> float:
    return max(f((x + y) / 2) - (f(x) + f(y)) / 2 for x, y in combinations(points, 2))
