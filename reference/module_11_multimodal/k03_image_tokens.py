"""Image tokens: the reference."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

Array = np.ndarray
Patch = tuple[int, ...]
Context = tuple[int, ...]


def to_tokens(image: Array, palette: Array) -> Array:
    return ((image[..., None, :] - palette) ** 2).sum(-1).argmin(-1)


def lloyd(pixels: Array, palette: Array, steps: int) -> Array:
    palette = palette.copy()
    for _ in range(steps):
        tokens = to_tokens(pixels, palette)
        for k in np.unique(tokens):  # a colour that nobody wants isn't among them
            palette[k] = pixels[tokens == k].mean(0)
    return palette


def dither(image: Array, palette: Array) -> Array:
    height, width, _ = image.shape
    # A column more at each side and a row more below take what is handed over the border.
    wanted = np.pad(image, ((0, 1), (1, 1), (0, 0)))
    tokens = np.empty((height, width), dtype=np.int64)
    for y, x in np.ndindex(height, width):
        colour = wanted[y, x + 1]
        tokens[y, x] = to_tokens(colour, palette)
        error = (colour - palette[tokens[y, x]]) / 16
        wanted[y, x + 2] += 7 * error
        wanted[y + 1, x] += 3 * error
        wanted[y + 1, x + 1] += 5 * error
        wanted[y + 1, x + 2] += error
    return tokens


def frequent(images: Array, patch: int, size: int) -> list[Patch]:
    counts = Counter(found for image in images for found in _patches(image, patch))
    return sorted(counts, key=lambda found: (-counts[found], found))[:size]


def encode(image: Array, patch: int, levels: int, known: list[Patch]) -> list[int]:
    height, width = image.shape
    if height % patch or width % patch:
        raise ValueError(f"a patch of {patch} doesn't divide {height} x {width} pixels")
    if image.size and not 0 <= image.min() <= image.max() < levels:
        worst = image.min() if image.min() < 0 else image.max()
        raise ValueError(f"levels are from 0 to {levels - 1}, as there are {levels}; got {worst}")
    number = {found: levels + 1 + j for j, found in enumerate(known)}
    codes = []
    for found in _patches(image, patch):
        codes += [number[found]] if found in number else [levels, *found]
    return codes


def decode(codes: Iterable[int], height: int, width: int, patch: int, levels: int, known: list[Patch]) -> Array:
    told: list[Sequence[int]] = []
    spelled: list[int] | None = None  # the levels of a patch that is being spelled out
    for code in codes:
        if spelled is not None and 0 <= code < levels:
            spelled.append(code)
            if len(spelled) == patch * patch:
                told.append(spelled)
                spelled = None
        elif spelled is None and code == levels:
            spelled = []
        elif spelled is None and levels < code <= levels + len(known):
            told.append(known[code - levels - 1])
        else:
            raise ValueError(f"code {code} can't stand here")
    rows, columns = height // patch, width // patch
    if len(told) != rows * columns or spelled is not None:
        raise ValueError(f"{len(told)} whole patches were told, {rows * columns} are needed")
    grid = np.array(told).reshape(rows, columns, patch, patch)
    return grid.transpose(0, 2, 1, 3).reshape(height, width)


def hilbert(n: int) -> Array:
    if n == 0:
        return np.zeros((1, 2), dtype=np.int64)
    smaller, m = hilbert(n - 1), 2 ** (n - 1)
    exchanged, down, right = smaller[:, ::-1], [m, 0], [0, m]
    return np.concatenate([exchanged, smaller + down, smaller + down + right, m - 1 - exchanged + right])


def train_counts(sequences: Array, levels: int, context: int) -> dict[Context, Array]:
    counts: dict[Context, Array] = defaultdict(lambda: np.zeros(levels, dtype=np.int64))
    for before, token in _contexts(sequences, levels, context):
        counts[before][token] += 1
    return dict(counts)


def cost(counts: dict[Context, Array], sequences: Array, levels: int, context: int, alpha: float = 1.0) -> float:
    nobody = np.zeros(levels)
    nats = []
    for before, token in _contexts(sequences, levels, context):
        seen = counts.get(before, nobody)
        nats.append(-math.log((seen[token] + alpha) / (seen.sum() + alpha * levels)))
    return math.fsum(nats) / len(nats)


def order_costs(train: Array, test: Array, levels: int, context: int, alpha: float = 1.0) -> dict[str, float]:
    side = train.shape[1]
    rows, columns = hilbert(side.bit_length() - 1).T
    found = {}
    for name, places in (("raster", np.arange(side**2)), ("hilbert", rows * side + columns)):
        ours, theirs = (images.reshape(len(images), side**2)[:, places] for images in (train, test))
        found[name] = cost(train_counts(ours, levels, context), theirs, levels, context, alpha)
    return found


def _patches(image: Array, patch: int) -> Iterator[Patch]:
    """The patches as one reads, each a tuple of Python's integers."""
    height, width = image.shape
    for top in range(0, height, patch):
        for left in range(0, width, patch):
            yield tuple(image[top : top + patch, left : left + patch].flatten().tolist())


def _contexts(sequences: Array, levels: int, context: int) -> Iterator[tuple[Context, int]]:
    """Each token with the `context` tokens before it."""
    for sequence in sequences.tolist():
        padded = [levels] * context + sequence
        for i, token in enumerate(sequence):
            yield tuple(padded[i : i + context]), token
