"""Matrices: the reference."""

from itertools import product

import numpy as np


def _check_shapes(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"a's columns must be as many as b's rows, got shapes {a.shape} and {b.shape}")


def matmul_by_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    _check_shapes(a, b)
    return np.array([(row[:, None] * b).sum(axis=0) for row in a])


def matmul_by_columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    _check_shapes(a, b)
    return np.stack([(a * column).sum(axis=1) for column in b.T], axis=1)


def matmul_by_outer_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    _check_shapes(a, b)
    return multiply_blocks(a, b)


def multiply_blocks(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return sum(np.outer(column, row) for column, row in zip(a.T, b, strict=True))


def matmul_by_blocks(a: np.ndarray, b: np.ndarray, size: int) -> np.ndarray:
    _check_shapes(a, b)
    (n, k), m = a.shape, b.shape[1]
    c = np.zeros((n, m))
    for i, j, l in product(range(0, n, size), range(0, m, size), range(0, k, size)):
        # A slice that runs past the end stops there, so blocks at the ends are smaller by themselves.
        rows, columns, inner = slice(i, i + size), slice(j, j + size), slice(l, l + size)
        c[rows, columns] += multiply_blocks(a[rows, inner], b[inner, columns])
    return c


def trace_of_product(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape[::-1]:
        raise ValueError(f"b's shape must be a's in reverse, got {a.shape} and {b.shape}")
    # Entry (i, j) of a meets entry (j, i) of b: that is all the diagonal needs.
    return float((a * b.T).sum())


def update_inverse(inverse: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    left = (inverse * u).sum(axis=1)  # A⁻¹u
    right = (inverse * v[:, None]).sum(axis=0)  # vᵀA⁻¹
    divisor = 1 + (v * left).sum()
    if abs(divisor) < 1e-12:
        raise np.linalg.LinAlgError(f"A + u vᵀ has no inverse: 1 + vᵀA⁻¹u is {divisor}")
    return inverse - np.outer(left, right) / divisor


def chain_cost(dims: list[int]) -> int:
    return _cheapest(dims)[0]


def chain_order(dims: list[int]) -> str:
    return _cheapest(dims)[1]


def _cheapest(dims: list[int]) -> tuple[int, str]:
    """The cost of the cheapest way, and the way, from a table that grows from short chains to long ones."""
    if len(dims) < 2:
        raise ValueError(f"a chain needs at least two dims, got {len(dims)}")
    count = len(dims) - 1
    best = {(i, i): (0, chr(ord("A") + i)) for i in range(count)}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            ways = []
            for s in range(i, j):
                (left, first), (right, second) = best[i, s], best[s + 1, j]
                ways.append((left + right + dims[i] * dims[s + 1] * dims[j + 1], f"({first}{second})"))
            best[i, j] = min(ways)
    return best[0, count - 1]
