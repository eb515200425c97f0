"""Wrong answers, each with what the diagnosis must say of it.

A case is a wrong function for the playground (tests/playground), which takes
the place of the reference's.  `says` must stand in what the learner is told;
where it is "", the case is one that nothing is known about: no mistake's
sentence and no relation may be claimed, only the plain numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    name: str
    says: str
    code: str


MISTAKES = [
    Case(
        "rows in place of columns", "those of the rows", "def standardize(X): return ((X.T - X.mean(1)) / X.std(1)).T"
    ),
    Case(
        "rows in a loop",
        "those of the rows",
        """
def standardize(X):
    rows = []
    for row in X:
        rows.append((row - sum(row) / len(row)) / np.sqrt(sum((row - row.mean()) ** 2) / len(row)))
    return np.array(rows)
""",
    ),
    Case(
        "products of what isn't centred",
        "mean isn't taken away",
        "def covariance(X): return np.einsum('ni,nj->ij', X, X) / (len(X) - 1)",
    ),
    Case(
        "weights that don't sum to 1",
        "aren't divided by their sum",
        """
def attend(q, k, v):
    return np.exp(q @ k.T / q.shape[1] ** 0.5).dot(v)
""",
    ),
    Case("0 ln 0", "0 ln 0 gives NaN", "def entropy(p): return float(-np.sum(p * np.log(p)))"),
    Case(
        "every row's every label",
        "one entry a row is wanted",
        "def loss(p, labels): return -float(np.mean([np.log(row[c]) for row in p for c in labels]))",
    ),
    Case(
        "argsort for ranks",
        "their ranks are its inverse",
        "def ranks(x): return np.array(sorted(range(len(x)), key=lambda i: x[i]))",
    ),
    Case("at least for above", "isn't above it", "def above(x, limit): return ~(x < limit)"),
    Case(
        "capitals kept",
        "keep their capitals",
        "def words(text):\n    if not text:\n        raise ValueError('length 0')\n    return text.split(' ')",
    ),
]

FACTS = [
    Case(
        "a list for an array",
        "must be a numpy array, got a list",
        "def ranks(x): return x.argsort().argsort().tolist()",
    ),
    Case("nothing returned", "got None: is a `return` missing?", "def covariance(X): X.T @ X"),
    Case("one number for two", "must be a tuple of 2, got a float", "def bounds(x): return float(x.min())"),
    Case("three numbers for two", "has 3 elements, expected 2", "def bounds(x): return x.min(), x.mean(), x.max()"),
    Case("an array for a number", "must be one number, got", "def entropy(p): return -(p * np.log(p))"),
    Case(
        "the axes swapped",
        "the transpose would have the right shape",
        "def attend(q, k, v):\n    w = np.exp(q @ k.T / 3)\n    return (w / w.sum(1, keepdims=True) @ v).T",
    ),
    Case("an axis of length 1", "An axis of length 1 is too many", "def above(x, limit): return (x > limit)[:, None]"),
    Case(
        "a sum that is missing",
        "is a sum or a mean over it missing?",
        "def above(x, limit): return np.stack([x > limit] * 3)",
    ),
    Case(
        "numbers for truth values",
        "has dtype int64, expected bool",
        "def above(x, limit): return (x > limit).astype(int)",
    ),
    Case(
        "single precision",
        "has dtype float32, expected float64",
        "def standardize(X): return ((X - X.mean(0)) / X.std(0)).astype(np.float32)",
    ),
    Case(
        "whole numbers as floats",
        "has dtype float64, expected int64",
        "def ranks(x): return x.argsort().argsort() * 1.0",
    ),
    Case("not a number", "values are NaN", "def standardize(X): return np.sqrt(-np.abs(X))"),
    Case(
        "infinite",
        "values are infinite",
        "def covariance(X):\n    with np.errstate(all='ignore'):\n        c = X - X.mean(0)\n        return np.abs(c.T @ c) / (0 * len(X))",
    ),
    Case("no error", "must raise ValueError, but it raised nothing", "def words(text): return text.lower().split()"),
    Case("another error", "but it raised IndexError", "def words(text):\n    text[0]\n    return text.lower().split()"),
    Case(
        "an error that says too little",
        "must name 0 in its ValueError",
        "def words(text):\n    if not text:\n        raise ValueError('an empty text')\n    return text.lower().split()",
    ),
    Case("a missing word", "has 3 elements, expected 4", "def words(text): return text.lower().split()[:3]"),
    Case(
        "another word",
        "[2] is wrong",
        "def words(text): return [w if w != 'OR' else 'xor' for w in text.lower().replace('or', 'OR').split()]",
    ),
    Case(
        "the input changed",
        "changed its argument `X`",
        "def standardize(X):\n    X -= X.mean(0)\n    return X / X.std(0)",
    ),
    Case("a forbidden function", "uses numpy.cov", "def covariance(X): return np.cov(X, rowvar=False)"),
    Case("a crash", "ZeroDivisionError", "def loss(p, labels): return 1 / 0"),
    Case("an endless loop", "Not done after", "def bounds(x):\n    while True:\n        pass"),
    Case("a name that isn't there", "NameError", "def entropy(p): return -nump.sum(p)"),
    Case("a call without end", "calls itself without end", "def bounds(x): return bounds(x)"),
    Case(
        "an answer of another kind",
        "must be a tuple of 2, got a dict",
        "def bounds(x): return {'low': x.min(), 'high': x.max()}",
    ),
]

RELATIONS = [
    Case("no √d", "4 times the expected", "def scores(q, k): return q @ k.T"),
    Case("d for √d", "0.25 times the expected", "def scores(q, k): return q @ k.T / q.shape[1]"),
    Case("transposed", "transpose of the expected", "def scores(q, k): return k @ q.T / 4"),
    Case(
        "1/n for 1/(n−1)",
        "0.857143 times the expected",
        "def covariance(X):\n    c = X - X.mean(0)\n    return c.T @ c / len(X)",
    ),
    Case(
        "a sum for a mean of products",
        "6 times the expected",
        "def covariance(X):\n    c = X - X.mean(0)\n    return c.T @ c",
    ),
    Case("bits for nats", "1/ln 2", "def entropy(p):\n    p = p[p > 0]\n    return float(-(p * np.log2(p)).sum())"),
    Case(
        "the sign of the entropy",
        "negative of the expected",
        "def entropy(p):\n    p = p[p > 0]\n    return float((p * np.log(p)).sum())",
    ),
    Case(
        "the sign of the loss",
        "negative of the expected",
        "def loss(p, labels): return float(np.log(p[np.arange(len(labels)), labels]).mean())",
    ),
    Case("ranks from 1", "Every value is 1 more than expected", "def ranks(x): return x.argsort().argsort() + 1"),
    Case("ranks from the top", "another order", "def ranks(x): return (-x).argsort().argsort()"),
    Case("below", "opposite", "def above(x, limit): return x <= limit"),
    Case(
        "half precision",
        "float16",
        "def standardize(X): return ((X - X.mean(0)) / X.std(0)).astype(np.float16).astype(float)",
    ),
    Case(
        "the std with n−1",
        "0.968246 times the expected",
        "def scores(q, k): return q @ k.T / 4 * np.sqrt(15 / 16)",
    ),
    Case("all zeros", "all zeros", "def standardize(X): return np.zeros_like(X)"),
    Case(
        "the first row is wrong",
        "Right everywhere but at 0 along axis 0",
        "def scores(q, k):\n    s = q @ k.T / 4\n    s[0] = np.sort(s[0])[::-1] + 0.3\n    return s",
    ),
    Case(
        "the last column is wrong",
        "(the last) along axis 1",
        "def attend(q, k, v):\n    w = np.exp(q @ k.T / 3)\n    out = w / w.sum(1, keepdims=True) @ v\n    out[:, -1] = out[:, -1] ** 2\n    return out",
    ),
    Case("back to front", "back to front along axis 0", "def scores(q, k): return (q @ k.T / 4)[::-1]"),
    Case("moved by one", "moved forward by one", "def scores(q, k): return np.roll(q @ k.T / 4, 1, axis=1)"),
    Case("smallest and largest swapped", "is wrong", "def bounds(x): return x.max(), x.min()"),
]

# What nobody can name: another formula, two slips at once, noise.  The plain numbers are all there is to say.
UNKNOWN = [
    Case(
        "a sum for a mean, of which there is one number",
        "",
        "def loss(p, labels): return float(-np.log(p[np.arange(len(labels)), labels]).sum())",
    ),
    Case("a square too many", "", "def scores(q, k): return (q @ k.T / 4) ** 2"),
    Case("noise", "", "def scores(q, k): return q @ k.T / 4 + np.random.default_rng(0).normal(size=(len(q), len(k)))"),
    Case("two slips at once", "", "def standardize(X): return ((X.T - X.mean(1)) / X.var(1)).T"),
    Case("the median for the mean", "", "def standardize(X): return (X - np.median(X, 0)) / X.std(0)"),
    Case("another divergence", "", "def entropy(p): return float(1 - (p ** 2).sum())"),
    Case("a tanh", "", "def attend(q, k, v):\n    w = np.tanh(q @ k.T / 3)\n    return w @ v"),
    Case("a wrong constant", "", "def entropy(p): return 0.7"),
    Case("random ranks", "", "def ranks(x): return np.array([1, 1, 4, 2, 7, 0, 3, 5])"),
    Case("one truth value", "", "def above(x, limit): return np.array([True, True, False, True])"),
    Case(
        "a loss by squares",
        "",
        "def loss(p, labels): return float(((1 - p[np.arange(len(labels)), labels]) ** 2).mean())",
    ),
    Case(
        "cosines",
        "",
        "def scores(q, k): return q @ k.T / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(k, axis=1)",
    ),
]

CASES = [*MISTAKES, *FACTS, *RELATIONS, *UNKNOWN]
