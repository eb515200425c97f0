"""A systolic array, a spiking neuron, and placement on an edge device: the reference."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray


class SystolicArray:
    def __init__(self, w: NDArray):
        self.w = w
        self.inputs = np.zeros(w.shape)
        self.sums = np.zeros(w.shape)

    def step(self, inputs: NDArray) -> NDArray:
        # Both shifts read the registers of the cycle before: all cells work at once.
        self.inputs = np.column_stack([inputs, self.inputs[:, :-1]])
        above = np.vstack([np.zeros(self.w.shape[1]), self.sums[:-1]])
        self.sums = above + self.inputs * self.w
        return self.sums


def systolic_matmul(x: NDArray, w: NDArray) -> tuple[NDArray, int]:
    (m, k), (rows, n) = x.shape, w.shape
    if k != rows:
        raise ValueError(f"x must have as many columns as w has rows, got {k} and {rows}")
    cycles = m + k + n - 2
    skewed = np.zeros((cycles, k))
    for i in range(k):
        skewed[i : i + m, i] = x[:, i]
    array = SystolicArray(w)
    bottom = np.stack([array.step(inputs)[-1] for inputs in skewed])
    # Column j is reached j cycles after column 0, whose first sum is done in cycle k - 1.
    return np.stack([bottom[k - 1 + j : k - 1 + j + m, j] for j in range(n)], axis=1), cycles


def tiled_cycles(m: int, k: int, n: int, rows: int, cols: int, double_buffered: bool = False) -> int:
    tiles = -(-k // rows) * -(-n // cols)
    loads = 1 if double_buffered else tiles  # loads that nothing else hides
    return loads * rows + tiles * (m + rows + cols - 2)


def utilisation(m: int, k: int, n: int, rows: int, cols: int, double_buffered: bool = False) -> float:
    return m * k * n / (rows * cols * tiled_cycles(m, k, n, rows, cols, double_buffered))


def lif_neuron(
    current: NDArray, tau: float, threshold: float, reset: float, dt: float
) -> tuple[NDArray, NDArray]:
    decay = math.exp(-dt / tau)  # exact for any step, however long: no Euler
    v = 0.0
    potentials, spikes = [], []
    for i in current:
        v = i + (v - i) * decay
        spikes.append(v >= threshold)
        if spikes[-1]:
            v = reset
        potentials.append(v)
    return np.array(potentials), np.array(spikes)


def place_operators(
    cpu: list[float], accelerator: list[float], memory: list[int], budget: int, transfer: float
) -> tuple[list[bool], float]:
    # What the operators from i on cost depends on the past only through the device that
    # holds the data and the memory left: few states, each solved once.
    @cache
    def best(i: int, on_accelerator: bool, left: int) -> tuple[float, tuple[bool, ...]]:
        if i == len(cpu):
            return transfer * on_accelerator, ()
        options = []
        for there, seconds, need in ((False, cpu[i], 0), (True, accelerator[i], memory[i])):
            if need <= left:
                rest, placement = best(i + 1, there, left - need)
                options.append((seconds + transfer * (there != on_accelerator) + rest, (there, *placement)))
        return min(options)

    latency, placement = best(0, on_accelerator=False, left=budget)
    return list(placement), latency
