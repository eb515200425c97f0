"""Judges k03_image_tokens pixel by pixel, by round trips, and on a photo and real digits."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_11_multimodal.k03_image_tokens import (
    cost,
    decode,
    dither,
    encode,
    frequent,
    hilbert,
    lloyd,
    order_costs,
    to_tokens,
    train_counts,
)

pytestmark = [
    from_scratch("scipy", "sklearn", "PIL", "skimage", "torch"),
    pure(),
]


def grey(*values) -> np.ndarray:
    return np.repeat(np.array(values, dtype=float)[..., None], 3, axis=-1)


BLACK_AND_WHITE = grey(0, 1)


def nearest(colour, palette) -> int:
    distances = [sum((a - b) ** 2 for a, b in zip(colour, other, strict=True)) for other in palette]
    return distances.index(min(distances))


class TestToTokens:
    @pytest.mark.parametrize("lead", [(), (5,), (3, 4), (2, 3, 2)])
    @pytest.mark.parametrize("k", [1, 3, 7])
    def test_pixel_by_pixel(self, rng, lead, k):
        image, palette = rng.random((*lead, 3)), rng.random((k, 3))
        rows = [nearest(pixel, palette.tolist()) for pixel in image.reshape(-1, 3).tolist()]
        assert_equal(np.asarray(to_tokens(image, palette)).tolist(), np.array(rows).reshape(lead).tolist())

    def test_of_equally_near_colours_the_first(self):
        palette = np.array([[1.0, 0, 0], [0.5, 0, 0], [0, 0, 0], [0.5, 0, 0]])
        assert_equal(to_tokens(np.array([[0.25, 0, 0], [0.75, 0, 0], [0.5, 0, 0]]), palette).tolist(), [1, 0, 1])

    def test_bright_colours_arent_nearer(self):
        assert_equal(to_tokens(grey(0.3), np.array([[1.0, 1, 1], [0.2, 0.2, 0.2]])).tolist(), [1])

    def test_dtype(self, rng):
        assert_equal(to_tokens(rng.random((2, 2, 3)), BLACK_AND_WHITE).dtype, np.dtype(np.int64))


class TestLloyd:
    def test_the_example_worked_by_hand(self):
        assert_close(lloyd(grey(0, 0.1, 0.2, 0.9, 1), grey(0, 0.5), 1), grey(0.1, 0.95))

    @pytest.mark.parametrize("steps", [0, 1, 4])
    @pytest.mark.parametrize("k", [2, 3, 5])
    def test_step_by_step(self, rng, k, steps):
        pixels, palette = rng.random((40, 3)), rng.random((k, 3))
        expected = palette.tolist()
        for _ in range(steps):
            groups = [[p for p in pixels.tolist() if nearest(p, expected) == j] for j in range(k)]
            expected = [[sum(c) / len(g) for c in zip(*g, strict=True)] if g else old for g, old in zip(groups, expected, strict=True)]
        assert_close(lloyd(pixels, palette, steps), np.array(expected))

    @pytest.mark.filterwarnings("error")
    def test_a_colour_that_nobody_wants_stays(self):
        palette = np.array([[0.2, 0.2, 0.2], [5.0, 6.0, 7.0], [0.9, 0.9, 0.9]])
        found = lloyd(grey(0.1, 0.2, 0.8), palette, 3)
        assert_close(found, np.array([[0.15] * 3, [5.0, 6.0, 7.0], [0.8] * 3]))

    def test_no_steps_are_a_copy(self):
        palette = grey(0, 0.5)
        found = lloyd(grey(0.1), palette, 0)
        assert_close(found, palette)
        assert_equal(np.shares_memory(found, palette), False)

    def test_scikit_learn(self, rng):
        from sklearn.cluster import KMeans

        pixels = np.concatenate([rng.normal(c, 0.03, (30, 3)) for c in (0.2, 0.5, 0.8)])
        start = pixels[[0, 30, 60]]
        theirs = KMeans(3, init=start, n_init=1, max_iter=50, tol=0).fit(pixels).cluster_centers_
        assert_close(lloyd(pixels, start, 50), theirs)

    def test_a_photo_loses_less(self, photo):
        pixels = photo[::16, ::16].reshape(-1, 3)
        start = pixels[:: len(pixels) // 16][:16].copy()
        errors = [float(((pixels - p[to_tokens(pixels, p)]) ** 2).mean()) for p in (start, lloyd(pixels, start, 8))]
        if errors[1] > 0.8 * errors[0]:
            fail(f"The error falls from {errors[0]:.4f} to {errors[1]:.4f} only.", evidence=round(errors[1], 3))


def dithered(image, palette) -> list[list[int]]:
    """With a list of what is handed on."""
    height, width = image.shape[:2]
    wanted = {(y, x): image[y, x].tolist() for y in range(height) for x in range(width)}
    tokens = [[0] * width for _ in range(height)]
    for y, x in itertools.product(range(height), range(width)):
        token = nearest(wanted[y, x], palette.tolist())
        tokens[y][x] = token
        for dy, dx, share in ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1)):
            if (y + dy, x + dx) in wanted:
                for c in range(3):
                    wanted[y + dy, x + dx][c] += (wanted[y, x][c] - palette[token, c]) * share / 16
    return tokens


class TestDither:
    def test_the_example_worked_by_hand(self):
        assert_equal(dither(grey([0.4, 0.4, 0.4]), BLACK_AND_WHITE).tolist(), [[0, 1, 0]])

    @pytest.mark.parametrize(("height", "width"), [(5, 7), (1, 6), (6, 1), (4, 4), (1, 1)])
    @pytest.mark.parametrize("k", [2, 5])
    def test_pixel_by_pixel(self, rng, height, width, k):
        image, palette = rng.random((height, width, 3)), rng.random((k, 3))
        found = dither(image, palette)
        assert_equal(found.tolist(), dithered(image, palette))
        assert_equal(found.dtype, np.dtype(np.int64))

    @pytest.mark.parametrize("level", [0.2, 0.35, 0.8])
    def test_the_mean_stays(self, level):
        found = dither(np.full((30, 30, 3), level), BLACK_AND_WHITE)
        # What is lost at the border is less than a pixel's worth for each border pixel
        assert_close(float(found.mean()), level, atol=0.03, rtol=0)

    def test_what_was_handed_on_isnt_clipped(self):
        """A palette of dark colours: the error grows along the row."""
        image, palette = np.repeat(np.linspace(0.5, 1, 12).reshape(2, 6, 1), 3, axis=2), grey(0.0, 0.3, 2.5)
        assert_equal(dither(image, palette).tolist(), dithered(image, palette))

    def test_the_image_stays(self, rng):
        image = rng.random((3, 4, 3))
        before = image.copy()
        dither(image, BLACK_AND_WHITE)
        assert_equal(image, before)

    def test_colours_of_the_palette_stay(self, rng):
        palette = rng.random((4, 3))
        tokens = rng.integers(0, 4, (5, 6))
        assert_equal(dither(palette[tokens], palette), tokens)


def patches_of(image, p: int) -> list[tuple]:
    height, width = image.shape
    return [
        tuple(int(image[y + i, x + j]) for i in range(p) for j in range(p))
        for y in range(0, height, p)
        for x in range(0, width, p)
    ]


class TestFrequent:
    @pytest.mark.parametrize(("patch", "shape", "size"), [(2, (6, 4, 6), 5), (1, (2, 3, 5), 2), (3, (9, 3, 6), 40), (2, (8, 8, 2), 1)])
    def test_by_counting(self, rng, patch, shape, size):
        images = rng.integers(0, 2, shape)
        every = [found for image in images for found in patches_of(image, patch)]
        expected = sorted(set(every), key=lambda found: (-every.count(found), found))[:size]
        assert_equal(frequent(images, patch, size), expected)

    def test_equally_frequent_ones_in_order(self):
        images = np.array([[[2, 1], [0, 1]], [[0, 2], [2, 1]]])
        assert_equal(frequent(images, 1, 3), [(1,), (2,), (0,)])
        assert_equal(frequent(images, 2, 9), [(0, 2, 2, 1), (2, 1, 0, 1)])

    def test_row_by_row(self):
        assert_equal(frequent(np.array([[[0, 1], [2, 3]]]), 2, 1), [(0, 1, 2, 3)])


KNOWN = [(0, 1, 1, 0), (1, 1, 1, 1)]


class TestEncode:
    def test_the_example_worked_by_hand(self):
        image = np.array([[0, 1, 1, 1], [1, 0, 0, 0]])
        assert_equal(encode(image, 2, 2, [(0, 1, 1, 0)]), [3, 2, 1, 1, 0, 0])

    @pytest.mark.parametrize(("patch", "shape", "levels"), [(2, (4, 6), 3), (1, (2, 3), 5), (3, (3, 6), 2), (2, (6, 2), 4)])
    def test_patch_by_patch(self, rng, patch, shape, levels):
        image = rng.integers(0, levels, shape)
        known = [*patches_of(image, patch)[1:2], (0,) * patch**2]
        expected = []
        for found in patches_of(image, patch):
            expected += [levels + 1 + known.index(found)] if found in known else [levels, *found]
        assert_equal(encode(image, patch, levels, list(dict.fromkeys(known))), expected)

    def test_one_level_everywhere(self):
        assert_equal(encode(np.full((2, 4), 2), 2, 3, [(2, 2, 2, 2)]), [4, 4])
        assert_equal(encode(np.zeros((1, 2), dtype=np.int64), 1, 1, []), [1, 0, 1, 0])

    def test_nothing_known(self):
        assert_equal(encode(np.array([[1, 0]]), 1, 2, []), [2, 1, 2, 0])

    @pytest.mark.parametrize(("level", "levels"), [(3, 3), (-1, 4), (9, 2)])
    def test_a_level_that_isnt_one(self, level, levels):
        with raises(ValueError, level, levels):
            encode(np.array([[0, level], [1, 1]]), 2, levels, KNOWN)

    @pytest.mark.parametrize("level", [300, -300])
    def test_the_level_is_named_in_a_large_picture(self, level):
        """numpy's text of a large array leaves its middle out."""
        image = np.zeros((60, 60), dtype=np.int64)
        image[30, 30] = level
        with raises(ValueError, level, 7):
            encode(image, 2, 7, [])

    @pytest.mark.parametrize(("height", "width"), [(3, 4), (4, 5)])
    def test_a_patch_that_doesnt_fit(self, height, width):
        with raises(ValueError, height, width, 2):
            encode(np.zeros((height, width), dtype=np.int64), 2, 2, KNOWN)


class TestDecode:
    @pytest.mark.parametrize(("patch", "shape", "levels", "size"), [(2, (4, 6), 3, 4), (1, (2, 3), 5, 2), (3, (3, 6), 2, 0), (2, (8, 2), 2, 9)])
    def test_any_image_comes_back_exactly(self, rng, patch, shape, levels, size):
        for _ in range(5):
            image = rng.integers(0, levels, shape)
            known = frequent(rng.integers(0, levels, (6, *shape)), patch, size)
            found = decode(encode(image, patch, levels, known), *shape, patch, levels, known)
            assert_equal(found, image)
            assert_equal(found.dtype, np.dtype(np.int64))

    def test_real_digits(self, digits):
        images = digits[0].reshape(-1, 8, 8).astype(np.int64) // 4
        known = frequent(images[:1000], 2, 64)
        lengths = []
        for image in images[1000:1040]:
            codes = encode(image, 2, 5, known)
            assert_equal(decode(codes, 8, 8, 2, 5, known), image)
            lengths.append(len(codes))
        if sum(lengths) / len(lengths) > 64:
            fail(f"A digit takes {sum(lengths) / len(lengths):.0f} codes; its pixels are 64.", evidence=sum(lengths))

    def test_known_and_spelled(self):
        found = decode([4, 2, 1, 0, 0, 1], 4, 2, 2, 2, KNOWN)
        assert_equal(found, np.array([[1, 1], [1, 1], [1, 0], [0, 1]]))

    def test_no_patch_begins_inside_another(self):
        with raises(ValueError, 3):
            decode([3, 3], 1, 1, 1, 3, [])

    @pytest.mark.parametrize(
        ("codes", "named"),
        [([1, 3], 1), ([3, 0, 3], 0), ([2, 1, 3], 3), ([2, 1, 2], 2), ([5, 3], 5), ([-1, 3], -1), ([2, 0, -4], -4)],
    )
    def test_a_code_where_it_cant_stand(self, codes, named):
        with raises(ValueError, named):
            decode(codes, 2, 4, 2, 2, KNOWN)

    @pytest.mark.parametrize(
        ("codes", "told"),
        [([], 0), ([3], 1), ([3, 4, 3], 3), ([3, 2, 1, 1, 0], 1), ([3, 4, 2, 1], 2), ([3, 2, 1, 1, 1, 1, 4, 4], 4)],
    )
    def test_too_early_or_too_many(self, codes, told):
        with raises(ValueError, told, 2):
            decode(codes, 2, 4, 2, 2, KNOWN)


class TestHilbert:
    def test_the_drawing(self):
        one = np.zeros((2, 2), dtype=np.int64)
        two = np.zeros((4, 4), dtype=np.int64)
        for grid, n in ((one, 1), (two, 2)):
            for i, (row, column) in enumerate(hilbert(n).tolist()):
                grid[row, column] = i
        assert_equal(one.tolist(), [[0, 3], [1, 2]])
        assert_equal(two.tolist(), [[0, 1, 14, 15], [3, 2, 13, 12], [4, 7, 8, 11], [5, 6, 9, 10]])

    @pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
    def test_every_pixel_once_and_no_jump(self, n):
        found = hilbert(n)
        assert_equal((found.shape, found.dtype), ((4**n, 2), np.dtype(np.int64)))
        side = 2**n
        assert_equal(sorted(map(tuple, found.tolist())), [(r, c) for r in range(side) for c in range(side)])
        assert_equal(set(np.abs(np.diff(found, axis=0)).sum(1).tolist()), {1} if n else set())

    @pytest.mark.parametrize("n", [1, 2, 3, 4])
    def test_quarter_by_quarter(self, n):
        found, smaller, m = hilbert(n), hilbert(n - 1).tolist(), 2 ** (n - 1)
        expected = [(c, r) for r, c in smaller] + [(m + r, c) for r, c in smaller]
        expected += [(m + r, m + c) for r, c in smaller] + [(m - 1 - c, 2 * m - 1 - r) for r, c in smaller]
        assert_equal(list(map(tuple, found.tolist())), expected)


def counted(sequences, levels: int, context: int) -> dict:
    found: dict = {}
    for sequence in sequences.tolist():
        for i, token in enumerate(sequence):
            before = tuple(sequence[j] if j >= 0 else levels for j in range(i - context, i))
            found.setdefault(before, [0] * levels)[token] += 1
    return found


class TestTrainCounts:
    def test_the_example_worked_by_hand(self):
        found = train_counts(np.array([[0, 0, 1]]), 2, 1)
        assert_equal({key: list(map(int, value)) for key, value in found.items()}, {(2,): [1, 0], (0,): [1, 1]})

    @pytest.mark.parametrize("context", [0, 1, 2, 4])
    @pytest.mark.parametrize(("m", "length", "levels"), [(3, 6, 2), (5, 4, 3), (1, 3, 7)])
    def test_one_by_one(self, rng, m, length, levels, context):
        sequences = rng.integers(0, levels, (m, length))
        found = train_counts(sequences, levels, context)
        assert_equal({key: list(map(int, value)) for key, value in found.items()}, counted(sequences, levels, context))


class TestCost:
    def test_the_example_worked_by_hand(self):
        counts = train_counts(np.array([[0, 0, 1]]), 2, 1)
        assert_close(cost(counts, np.array([[0, 1]]), 2, 1), (math.log(1.5) + math.log(2)) / 2)

    @pytest.mark.parametrize("alpha", [1.0, 0.1, 3.0])
    @pytest.mark.parametrize("context", [0, 1, 3])
    def test_with_fractions(self, rng, context, alpha):
        train, test = rng.integers(0, 3, (6, 5)), rng.integers(0, 3, (4, 6))
        counts = train_counts(train, 3, context)
        known, total = counted(train, 3, context), 0.0
        for sequence in test.tolist():
            for i, token in enumerate(sequence):
                before = tuple(sequence[j] if j >= 0 else 3 for j in range(i - context, i))
                seen = known.get(before, [0, 0, 0])
                a = Fraction(alpha)
                total -= math.log((seen[token] + a) / (sum(seen) + 3 * a))
        found = cost(counts, test, 3, context, alpha)
        assert_close(found, total / test.size)
        assert_equal(isinstance(found, float), True)

    def test_one_unless_given(self, rng):
        counts, test = train_counts(rng.integers(0, 2, (3, 5)), 2, 1), rng.integers(0, 2, (2, 5))
        assert_close(cost(counts, test, 2, 1), cost(counts, test, 2, 1, 1.0))

    @pytest.mark.parametrize("levels", [2, 7])
    def test_what_never_came_up_costs_a_guess(self, levels):
        assert_close(cost({}, np.array([[0, 1, 1]]), levels, 2), math.log(levels))

    def test_the_counts_stay(self):
        counts = train_counts(np.array([[0, 0, 1]]), 2, 1)
        cost(counts, np.array([[1, 1, 0]]), 2, 1)
        assert_equal(sorted(counts), [(0,), (2,)])

    def test_the_chances_of_all_sequences_sum_to_1(self, rng):
        counts = train_counts(rng.integers(0, 3, (5, 4)), 3, 2)
        total = sum(math.exp(-3 * cost(counts, np.array([s]), 3, 2, 0.5)) for s in itertools.product(range(3), repeat=3))
        assert_close(total, 1.0)


def blobs(rng, n: int) -> np.ndarray:
    """8 × 8 images, white within a random disc."""
    y, x = np.mgrid[:8, :8]
    centres, radii = rng.uniform(1, 7, (n, 2, 1, 1)), rng.uniform(1.5, 4, (n, 1, 1))
    return ((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2 < radii**2).astype(np.int64)


class TestOrderCosts:
    @pytest.mark.parametrize(("side", "levels", "context"), [(4, 3, 2), (2, 2, 1), (8, 2, 3), (1, 2, 1)])
    def test_each_order_with_its_own_model(self, rng, side, levels, context):
        train, test = rng.integers(0, levels, (9, side, side)), rng.integers(0, levels, (4, side, side))
        found = order_costs(train, test, levels, context, 0.5)
        assert_equal(set(found), {"raster", "hilbert"})
        places = {"raster": [(r, c) for r in range(side) for c in range(side)], "hilbert": hilbert(side.bit_length() - 1).tolist()}
        for name, order in places.items():
            rows = [np.array([[image[r, c] for r, c in order] for image in images]) for images in (train, test)]
            expected = cost(train_counts(rows[0], levels, context), rows[1], levels, context, 0.5)
            assert_close(found[name], expected)

    def test_one_unless_given(self, rng):
        train, test = rng.integers(0, 2, (5, 4, 4)), rng.integers(0, 2, (3, 4, 4))
        assert_close(order_costs(train, test, 2, 2), order_costs(train, test, 2, 2, 1.0))

    def test_stripes_are_cheaper_in_raster_order(self, rng):
        images = np.repeat(rng.integers(0, 2, (300, 8, 1)), 8, axis=2)
        found = order_costs(images[:200], images[200:], 2, 2)
        assert_equal(found["raster"] < 0.8 * found["hilbert"], True)

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_upright_stripes_and_discs_are_cheaper_in_hilberts(self, seed):
        rng = np.random.default_rng(seed)
        upright = np.repeat(rng.integers(0, 2, (300, 1, 8)), 8, axis=1)
        for images in (upright, blobs(rng, 900)):
            found = order_costs(images[:200], images[200:], 2, 2)
            if found["hilbert"] > 0.97 * found["raster"]:
                fail(f"Hilbert's order costs {found['hilbert']:.3f} nats, raster order {found['raster']:.3f}.", evidence=tuple(found.values()))
