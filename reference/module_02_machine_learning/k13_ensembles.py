"""Ensembles: the reference."""

import math
from collections.abc import Callable, Sequence

import numpy as np

Predict = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray], Predict]
WeightedFit = Callable[[np.ndarray, np.ndarray, np.ndarray], Predict]


def majority_error(members: int, error: float, correlation: float = 0.0) -> float:
    alone = 0.0
    for wrong in range(members + 1):
        chance = math.comb(members, wrong) * error**wrong * (1 - error) ** (members - wrong)
        if 2 * wrong > members:
            alone += chance
        elif 2 * wrong == members:
            # A coin decides a tie.
            alone += chance / 2
    return correlation * error + (1 - correlation) * alone


def hard_vote(votes: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    labels = np.unique(votes)
    weights = np.ones(len(votes)) if weights is None else np.asarray(weights, dtype=np.float64)
    # (labels, members, rows): what each label gets; argmax takes the first of equal ones.
    ballots = (votes == labels[:, None, None]) * weights[:, None]
    return labels[ballots.sum(axis=1).argmax(axis=0)]


def soft_vote(probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    return np.average(probabilities, axis=0, weights=weights)


def bag(fit: Fit, x: np.ndarray, y: np.ndarray, members: int, rng: np.random.Generator) -> list[Predict]:
    models = []
    for _ in range(members):
        rows = rng.integers(len(x), size=len(x))
        models.append(fit(x[rows], y[rows]))
    return models


def fit_stump(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Predict:
    labels, codes = np.unique(y, return_inverse=True)
    mass = np.eye(len(labels))[codes] * np.asarray(weights, dtype=np.float64)[:, None]
    total = mass.sum(axis=0)
    # Without a split, everything is the heaviest label.
    best, feature, threshold, below, above = total.max(), 0, np.inf, total.argmax(), total.argmax()
    for j in range(x.shape[1]):
        order = np.argsort(x[:, j])
        values = np.asarray(x[order, j], dtype=np.float64)
        left = np.cumsum(mass[order], axis=0)[:-1]
        right = total - left
        # What is right: the heaviest label of each side.
        score = np.where(values[:-1] < values[1:], left.max(axis=1) + right.max(axis=1), -np.inf)
        if len(score) and score.max() > best:
            i = int(score.argmax())
            best, feature, threshold = score[i], j, values[i]
            below, above = left[i].argmax(), right[i].argmax()

    def predict(new: np.ndarray) -> np.ndarray:
        return labels[np.where(new[:, feature] <= threshold, below, above)]

    return predict


class AdaBoost:
    def __init__(self, fit: WeightedFit, rounds: int = 50, rate: float = 1.0) -> None:
        self.fit_member, self.rounds, self.rate = fit, rounds, rate

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        self.classes = np.unique(y)
        k = len(self.classes)
        if k < 2:
            raise ValueError(f"y needs 2 labels or more, got {k}")
        self.members: list[Predict] = []
        self.alphas: list[float] = []
        weights = np.full(len(y), 1 / len(y))
        for _ in range(self.rounds):
            member = self.fit_member(x, y, weights)
            wrong = member(x) != y
            error = float(weights[wrong].sum())
            if error >= 1 - 1 / k:
                if not self.members:
                    raise ValueError(f"the first member errs on {error:.4g} of the weight: no better than chance")
                break
            self.members.append(member)
            if not wrong.any():
                # Its alpha would be infinite.
                self.alphas.append(1.0)
                break
            # log(k - 1) moves the zero from an error of ½ to that of guessing among k labels.
            alpha = self.rate * (math.log((1 - error) / error) + math.log(k - 1))
            self.alphas.append(alpha)
            weights = weights * np.exp(alpha * wrong)
            weights /= weights.sum()

    def predict(self, x: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(x), len(self.classes)))
        for member, alpha in zip(self.members, self.alphas, strict=True):
            scores += alpha * (member(x)[:, None] == self.classes)
        return self.classes[scores.argmax(axis=1)]


def out_of_fold(fit: Fit, x: np.ndarray, y: np.ndarray, folds: np.ndarray) -> np.ndarray:
    answers = None
    for fold in np.unique(folds):
        inside = folds == fold
        part = fit(x[~inside], y[~inside])(x[inside])
        if answers is None:
            answers = np.empty((len(x), *part.shape[1:]), dtype=np.float64)
        answers[inside] = part
    return answers


class Stacking:
    def __init__(self, fits: Sequence[Fit], final: Fit, passthrough: bool = False) -> None:
        self.fits, self.final, self.passthrough = list(fits), final, passthrough

    def fit(self, x: np.ndarray, y: np.ndarray, folds: np.ndarray) -> None:
        if len(np.unique(folds)) < 2:
            raise ValueError(f"stacking needs 2 folds or more, got {len(np.unique(folds))}")
        self.meta = self._columns([out_of_fold(fit, x, y, folds) for fit in self.fits], x)
        self.judge = self.final(self.meta, y)
        # For new rows, no row needs to be left out: use all of them.
        self.members = [fit(x, y) for fit in self.fits]

    def _columns(self, answers: list[np.ndarray], x: np.ndarray) -> np.ndarray:
        parts = [np.reshape(answer, (len(x), -1)) for answer in answers]
        return np.concatenate([*parts, x] if self.passthrough else parts, axis=1).astype(np.float64)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.judge(self._columns([member(x) for member in self.members], x))
