"""Judges k07_vector_search by plain loops, by counting distances, and against faiss where it is installed."""

import itertools

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_12_research.k07_vector_search import (
    IVF,
    IVFPQ,
    ProductQuantizer,
    flat_search,
    kmeans,
    recall,
    recall_curve,
    rerank,
    train_codebooks,
)

pytestmark = [from_scratch("faiss", "sklearn", "scipy"), pure()]

ROWS = np.array([[0, 0], [2, 0], [0, 2], [6, 6], [8, 6]])
ASKED = np.array([[5, 4]])
CELLS = np.array([[1.0, 0.0], [7.0, 6.0]])
BOOKS = np.array([[[0.0], [2.0], [7.0]], [[0.0], [2.0], [6.0]]])
INF = np.inf


def squared(a, b) -> float:
    return float(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def nearest(point, rows) -> int:
    return min(range(len(rows)), key=lambda j: (squared(point, rows[j]), j))


def first(pairs, k) -> tuple[list[float], list[int]]:
    """The k smallest of (distance, id), filled up."""
    best = sorted(pairs)[:k] + [(INF, -1)] * k
    return [d for d, _ in best[:k]], [i for _, i in best[:k]]


def answers(rows) -> tuple[np.ndarray, np.ndarray]:
    return np.array([d for d, _ in rows], dtype=np.float64), np.array([i for _, i in rows], dtype=np.int64)


def whole(rng, *shape, most: int = 4) -> np.ndarray:
    """Whole numbers, so that many distances are equal and exact."""
    return rng.integers(-most, most + 1, shape).astype(np.float64)


def a_faiss():
    faiss = pytest.importorskip("faiss")
    faiss.omp_set_num_threads(1)
    return faiss


class TestFlatSearch:
    def test_the_example_worked_by_hand(self):
        found = flat_search(ROWS, ASKED, 5)
        assert_close(found, (np.array([[5.0, 13, 25, 29, 41]]), np.array([[3, 4, 1, 2, 0]])))

    @pytest.mark.parametrize("metric", ["l2", "ip"])
    @pytest.mark.parametrize("k", [1, 4, 13])
    def test_one_by_one_with_ties(self, rng, metric, k):
        base, queries = whole(rng, 13, 3), whole(rng, 6, 3)
        rows = []
        for q in queries:
            scores = [squared(q, x) if metric == "l2" else -sum(q * x) for x in base]
            d, ids = first([(s, i) for i, s in enumerate(scores)], k)
            rows.append((d if metric == "l2" else [-s for s in d], ids))
        assert_close(flat_search(base, queries, k, metric), answers(rows))

    def test_squared_distances_unless_told(self, rng):
        base, queries = rng.normal(size=(9, 3)), rng.normal(size=(2, 3))
        assert_close(flat_search(base, queries, 3), flat_search(base, queries, 3, "l2"))

    def test_many_equal_rows(self):
        base = np.tile([[1.0, 2.0], [0.0, 0.0]], (60, 1))
        _, ids = flat_search(base, np.array([[1.0, 2.0]]), 60)
        assert_equal(ids[0].tolist(), list(range(0, 120, 2)))

    @pytest.mark.parametrize("kind", [np.uint8, np.int8, np.float32])
    @pytest.mark.parametrize("metric", ["l2", "ip"])
    def test_computes_in_float64(self, kind, metric):
        base, queries = np.array([[100, 3], [1, 120]], dtype=kind), np.array([[3, 101], [120, 7]], dtype=kind)
        expected = flat_search(base.astype(np.float64), queries.astype(np.float64), 2, metric)
        assert_close(flat_search(base, queries, 2, metric), expected)

    def test_matches_faiss(self, rng):
        faiss = a_faiss()
        base, queries = rng.normal(size=(300, 8)).astype(np.float32), rng.normal(size=(20, 8)).astype(np.float32)
        for metric, index in (("l2", faiss.IndexFlatL2(8)), ("ip", faiss.IndexFlatIP(8))):
            index.add(base)
            scores, ids = index.search(queries, 5)
            found = flat_search(base, queries, 5, metric)
            # faiss computes in float32; of 300 random rows no two are that near.
            assert_close(found[0], scores.astype(np.float64), rtol=1e-4, atol=1e-4)
            assert_equal(found[1], ids)

    @pytest.mark.parametrize("k", [0, 6, -1])
    def test_refuses_a_k_out_of_range(self, k):
        with raises(ValueError, k, 5):
            flat_search(ROWS, ASKED, k)

    @pytest.mark.parametrize("metric", ["cosine", "L2"])
    def test_refuses_another_metric(self, metric):
        with raises(ValueError, metric):
            flat_search(ROWS, ASKED, 1, metric)


class TestRecall:
    def test_the_example_worked_by_hand(self):
        assert_close(recall(np.array([[3, 4, -1]]), np.array([[3, 4, 1]])), 2 / 3)

    @pytest.mark.parametrize(("found", "expected"), [(3, 3), (5, 3), (2, 3), (4, 2)])
    def test_sets_not_positions(self, rng, found, expected):
        f = np.stack([rng.permutation(8)[:found] for _ in range(7)])
        t = np.stack([rng.permutation(8)[:expected] for _ in range(7)])
        f[0, 1:] = -1
        hits = sum(len(set(a) & set(b)) for a, b in zip(f.tolist(), t.tolist(), strict=True))
        assert_close(recall(f, t), hits / (7 * expected))

    def test_none_and_all(self):
        truth = np.array([[3, 1], [0, 2]])
        assert_close([recall(truth[:, ::-1], truth), recall(np.full((2, 4), -1), truth)], [1.0, 0.0])


def lloyd(x, start, steps) -> np.ndarray:
    centroids = [list(map(float, row)) for row in start]
    for _ in range(steps):
        cells = [nearest(row, centroids) for row in x]
        for j in range(len(centroids)):
            mine = [row for row, cell in zip(x, cells, strict=True) if cell == j]
            if mine:
                centroids[j] = [sum(map(float, column)) / len(mine) for column in zip(*mine, strict=True)]
    return np.array(centroids)


class TestKmeans:
    def test_without_steps_different_rows(self, rng):
        x = np.arange(20.0).reshape(10, 2)
        for k in (1, 4, 10):
            found = kmeans(x, k, rng, steps=0)
            numbers = [row[0] for row in found.tolist()]
            assert_equal((found.shape, len(set(numbers)), set(numbers) <= set(x[:, 0])), ((k, 2), k, True))

    def test_every_choice_of_rows_is_equally_likely(self, rng):
        x = np.array([[0.0], [1.0], [2.0], [3.0]])
        counts = {}
        for _ in range(1200):
            chosen = tuple(sorted(kmeans(x, 2, rng, steps=0)[:, 0].tolist()))
            counts[chosen] = counts.get(chosen, 0) + 1
        # 200 each, with a deviation of 13: 70 is more than five of these.
        if len(counts) != 6 or any(abs(n - 200) > 70 for n in counts.values()):
            fail("Every choice of k rows should be equally likely as a start.", evidence=len(counts))

    @pytest.mark.parametrize("steps", [1, 2, 3])
    def test_some_start_leads_there_step_by_step(self, rng, steps):
        x = rng.normal(size=(7, 2))
        found = kmeans(x, 3, rng, steps)
        ends = [lloyd(x, x[list(start)], steps) for start in itertools.permutations(range(7), 3)]
        closest = min(ends, key=lambda end: np.abs(end - found).max())
        assert_close(found, closest)

    @pytest.mark.parametrize(("offset", "scale"), [(0.0, 1e-6), (2.0**13, 2.0**-10)])
    def test_small_moves_count(self, rng, offset, scale):
        """Numbers that are small, or near to each other and far from 0: each step still moves the centroids."""
        x = offset + scale * rng.normal(size=(9, 2))
        ends = np.stack([lloyd(x, x[list(start)], 3) for start in itertools.permutations(range(9), 3)])
        for _ in range(10):
            found = kmeans(x, 3, rng, 3)
            closest = ends[np.abs(ends - found).max(axis=(1, 2)).argmin()]
            assert_close((found - offset) / scale, (closest - offset) / scale, atol=1e-6)

    def test_20_steps_unless_told(self, rng):
        """The same draw, with as many steps.  1500 rows are hardly settled by then."""
        x = np.linspace(0, 1, 1500)[:, None]
        for seed in range(4):
            by_default, told = (kmeans(x, 40, np.random.default_rng(seed), *steps) for steps in ((), (20,)))
            assert_close(by_default, told)

    def test_two_groups_from_any_start(self, rng):
        x = np.array([[0.0], [10.0], [1.0], [11.0]])
        for _ in range(10):
            assert_close(np.sort(kmeans(x, 2, rng), axis=0), np.array([[0.5], [10.5]]))

    def test_a_centroid_without_rows_stays(self, rng):
        x = np.array([[2, 1], [2, 1], [5, 7]])
        found = kmeans(x, 3, rng)
        assert_close(found[np.lexsort(found.T[::-1])], np.array([[2.0, 1], [2, 1], [5, 7]]))

    def test_computes_in_float64(self, rng):
        x = np.array([[200, 1], [250, 2]], dtype=np.uint8)
        assert_close(kmeans(x, 1, rng), np.array([[225.0, 1.5]]))

    @pytest.mark.parametrize("k", [0, 6])
    def test_refuses_a_k_out_of_range(self, rng, k):
        with raises(ValueError, k, 5):
            kmeans(ROWS, k, rng)


def ivf_by_hand(centroids, x, queries, k, probes, measure=None):
    """Everything in plain loops.  `measure(query, id, cell)` gives the distance; the exact one unless told."""
    cell_of = [nearest(row, centroids) for row in x]
    rows, computed = [], 0
    for q in queries:
        visited = sorted(range(len(centroids)), key=lambda j: (squared(q, centroids[j]), j))[:probes]
        ids = [i for i, cell in enumerate(cell_of) if cell in visited]
        rows.append(first([(measure(q, i, cell_of[i]) if measure else squared(q, x[i]), i) for i in ids], k))
        computed += len(centroids) + len(ids)
    return *answers(rows), computed


class TestIVF:
    @pytest.mark.parametrize(
        ("probes", "distances", "ids", "computed"), [(1, [5, 13, INF], [3, 4, -1], 4), (2, [5, 13, 25], [3, 4, 1], 7)]
    )
    def test_the_example_worked_by_hand(self, probes, distances, ids, computed):
        index = IVF(CELLS)
        index.add(ROWS)
        assert_equal(index.lists, [np.array([0, 1, 2]), np.array([3, 4])])
        assert_close(index.search(ASKED, 3, probes), (np.array([distances], dtype=float), np.array([ids]), computed))

    @pytest.mark.parametrize("probes", [1, 2, 5])
    @pytest.mark.parametrize("k", [1, 6, 40])
    def test_one_by_one_with_ties(self, rng, probes, k):
        centroids, x, queries = whole(rng, 5, 3, most=2), whole(rng, 30, 3), whole(rng, 4, 3)
        index = IVF(centroids)
        index.add(x)
        assert_close(index.search(queries, k, probes), ivf_by_hand(centroids, x, queries, k, probes))

    def test_ids_count_on(self, rng):
        centroids, x, queries = whole(rng, 4, 3, most=2), whole(rng, 30, 3), whole(rng, 4, 3)
        index = IVF(centroids)
        for part in (x[:11], x[11:12], x[12:]):
            index.add(part)
        assert_close(index.search(queries, 5, 2), ivf_by_hand(centroids, x, queries, 5, 2))
        cells = [nearest(row, centroids) for row in x]
        assert_equal(index.lists, [np.array([i for i, c in enumerate(cells) if c == j], dtype=np.int64) for j in range(4)])

    def test_one_probe_unless_told(self):
        index = IVF(CELLS)
        index.add(ROWS)
        assert_close(index.search(ASKED, 2), index.search(ASKED, 2, 1))

    def test_without_rows(self):
        index = IVF(CELLS)
        assert_equal(index.lists, [np.empty(0, dtype=np.int64)] * 2)
        assert_close(index.search(ASKED, 2, 2), (np.array([[INF, INF]]), np.array([[-1, -1]]), 2))

    def test_keeps_its_own_copy(self, rng):
        centroids, x, queries = rng.normal(size=(4, 3)), rng.normal(size=(30, 3)), rng.normal(size=(4, 3))
        index, expected = IVF(centroids), ivf_by_hand(centroids, x, queries, 3, 2)
        changed, moved = x.copy(), centroids.copy()
        index = IVF(moved)
        moved[:] = 0
        index.add(changed)
        changed[:] = 7
        assert_close(index.search(queries, 3, 2), expected)

    @pytest.mark.parametrize("kind", [np.uint8, np.float32])
    def test_computes_in_float64(self, kind):
        x, queries = np.array([[200, 3], [1, 120], [90, 90]], dtype=kind), np.array([[3, 201], [120, 7]], dtype=kind)
        index = IVF(np.array([[200, 0], [0, 100]], dtype=kind))
        index.add(x)
        assert_close(index.centroids, np.array([[200.0, 0], [0, 100]]))
        assert_close(index.search(queries, 2, 2), ivf_by_hand(index.centroids, x, queries, 2, 2))

    def test_matches_faiss(self, rng):
        faiss = a_faiss()
        x, queries = rng.normal(size=(500, 6)).astype(np.float32), rng.normal(size=(20, 6)).astype(np.float32)
        index, coarse = IVF(x[:12]), faiss.IndexFlatL2(6)
        index.add(x)
        coarse.add(x[:12])
        theirs = faiss.IndexIVFFlat(coarse, 6, 12)
        theirs.is_trained = True
        theirs.add(x)
        theirs.nprobe = 3
        distances, ids = theirs.search(queries, 5)
        found = index.search(queries, 5, 3)
        # faiss computes in float32.
        assert_close(found[0], distances.astype(np.float64), rtol=1e-4, atol=1e-4)
        assert_equal(found[1], ids)

    @pytest.mark.parametrize("probes", [0, 3])
    def test_refuses_probes_out_of_range(self, probes):
        index = IVF(CELLS)
        index.add(ROWS)
        with raises(ValueError, probes, 2):
            index.search(ASKED, 1, probes)


class TestTrainCodebooks:
    def test_a_code_for_every_row_gives_the_rows(self, rng):
        x = rng.normal(size=(6, 4))
        for parts in (1, 2, 4):
            books = train_codebooks(x, parts, 6, rng)
            assert_equal(books.shape, (parts, 6, 4 // parts))
            for m, book in enumerate(books):
                part = x[:, m * 4 // parts : (m + 1) * 4 // parts]
                assert_close(book[np.argsort(book[:, 0])], part[np.argsort(part[:, 0])])

    def test_two_groups_in_each_part(self, rng):
        x = np.array([[0, 50, 3], [1, 60, 4], [20, 51, 13], [21, 61, 14]])
        books = np.sort(train_codebooks(x, 3, 2, rng, steps=5), axis=1)
        assert_close(books[..., 0], np.array([[0.5, 20.5], [50.5, 60.5], [3.5, 13.5]]))

    def test_hands_on_the_steps(self, rng):
        x = np.array([[0.0], [1.0], [10.0], [11.0]])
        assert_equal(set(train_codebooks(x, 1, 2, rng, steps=0).flatten().tolist()) <= {0.0, 1.0, 10.0, 11.0}, True)
        x = np.linspace(0, 1, 1500)[:, None]
        for seed in range(4):
            by_default, told = (train_codebooks(x, 1, 40, np.random.default_rng(seed), *steps) for steps in ((), (20,)))
            assert_close(by_default, told)

    @pytest.mark.parametrize(("columns", "parts"), [(6, 4), (3, 2), (2, 4)])
    def test_refuses_parts_of_different_widths(self, rng, columns, parts):
        with raises(ValueError, columns, parts):
            train_codebooks(rng.normal(size=(9, columns)), parts, 2, rng)

    def test_refuses_more_codes_than_rows(self, rng):
        with raises(ValueError, 6, 5):
            train_codebooks(ROWS, 2, 6, rng)


def a_quantizer(rng, parts=3, codes=4, width=2, most=3) -> ProductQuantizer:
    return ProductQuantizer(whole(rng, parts, codes, width, most=most))


def codes_by_hand(books, x) -> list[list[int]]:
    width = books.shape[2]
    return [[nearest(row[m * width : (m + 1) * width], book) for m, book in enumerate(books)] for row in x]


def decoded_by_hand(books, codes) -> np.ndarray:
    return np.array([[float(v) for book, j in zip(books, row, strict=True) for v in book[j]] for row in codes])


class TestProductQuantizer:
    def test_the_example_worked_by_hand(self):
        quantizer = ProductQuantizer(BOOKS)
        codes = quantizer.encode(ROWS)
        assert_equal(codes, np.array([[0, 0], [1, 0], [0, 1], [2, 2], [2, 2]], dtype=np.uint8))
        assert_close(quantizer.decode(codes)[2:], np.array([[0.0, 2], [7, 6], [7, 6]]))
        assert_close(quantizer.tables(ASKED), np.array([[[25.0, 9, 4], [16, 4, 4]]]))
        assert_close(quantizer.search(ASKED, codes, 2), (np.array([[8.0, 8.0]]), np.array([[3, 4]])))

    @pytest.mark.parametrize(("parts", "codes", "width"), [(3, 4, 2), (1, 5, 4), (4, 2, 1), (2, 1, 3)])
    def test_codes_one_by_one(self, rng, parts, codes, width):
        quantizer, x = a_quantizer(rng, parts, codes, width), whole(rng, 25, parts * width)
        expected = codes_by_hand(quantizer.codebooks, x)
        found = quantizer.encode(x)
        assert_equal((found.dtype.name, found.tolist()), ("uint8", expected))
        assert_close(quantizer.decode(found), decoded_by_hand(quantizer.codebooks, expected))

    def test_tables_one_by_one(self, rng):
        quantizer, q = a_quantizer(rng), rng.normal(size=(5, 6))
        expected = [[[squared(row[2 * m : 2 * m + 2], b) for b in book] for m, book in enumerate(quantizer.codebooks)] for row in q]
        assert_close(quantizer.tables(q), np.array(expected))

    @pytest.mark.parametrize("k", [1, 7, 20])
    def test_searches_asymmetrically(self, rng, k):
        quantizer, q, x = a_quantizer(rng), whole(rng, 5, 6), whole(rng, 20, 6)
        codes = quantizer.encode(x)
        decoded = decoded_by_hand(quantizer.codebooks, codes)
        rows = [first([(squared(row, v), i) for i, v in enumerate(decoded)], k) for row in q]
        assert_close(quantizer.search(q, codes, k), answers(rows))

    def test_256_codes(self):
        books = np.arange(512.0).reshape(2, 256, 1)
        quantizer = ProductQuantizer(books)
        x = np.array([[255.0, 256.0], [200.2, 511.0]])
        codes = quantizer.encode(x)
        assert_equal(codes.tolist(), [[255, 0], [200, 255]])
        assert_close(quantizer.decode(codes), np.array([[255.0, 256], [200, 511]]))
        with raises(ValueError, 257):
            ProductQuantizer(np.zeros((2, 257, 1)))

    def test_computes_in_float64(self):
        quantizer = ProductQuantizer(BOOKS.astype(np.uint8))
        assert_close(quantizer.codebooks, BOOKS)
        assert_close(quantizer.tables(np.array([[200, 0]], dtype=np.uint8)), np.array([[[200.0**2, 198**2, 193**2], [0, 4, 36]]]))

    def test_of_no_rows(self):
        codes = ProductQuantizer(BOOKS).encode(np.empty((0, 2)))
        assert_equal((codes.shape, codes.dtype.name), ((0, 2), "uint8"))
        assert_close(ProductQuantizer(BOOKS).decode(codes), np.empty((0, 2)))

    def test_keeps_its_own_copy(self):
        books = BOOKS.copy()
        quantizer = ProductQuantizer(books)
        books[:] = 0
        assert_equal(quantizer.encode(ROWS[3:]).tolist(), [[2, 2], [2, 2]])

    def test_matches_faiss(self, rng):
        faiss = a_faiss()
        books = rng.normal(size=(3, 256, 2)).astype(np.float32)
        theirs = faiss.ProductQuantizer(6, 3, 8)
        faiss.copy_array_to_vector(books.ravel(), theirs.centroids)
        x = rng.normal(size=(200, 6)).astype(np.float32)
        codes = theirs.compute_codes(x)
        quantizer = ProductQuantizer(books)
        found = quantizer.encode(x)
        # In float32 two entries may be equally near: so compare the distances, not the codes.
        error = ((quantizer.decode(found) - x) ** 2).sum(1)
        assert_close(error, ((theirs.decode(codes).astype(np.float64) - x) ** 2).sum(1), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("columns", [5, 7, 4])
    def test_refuses_other_columns(self, rng, columns):
        quantizer = a_quantizer(rng)
        for method in (quantizer.encode, quantizer.tables):
            with raises(ValueError, columns, 6):
                method(np.zeros((2, columns)))

    @pytest.mark.parametrize("k", [0, 6])
    def test_refuses_a_k_out_of_range(self, k):
        quantizer = ProductQuantizer(BOOKS)
        with raises(ValueError, k, 5):
            quantizer.search(ASKED, quantizer.encode(ROWS), k)


class TestIVFPQ:
    def test_the_example_worked_by_hand(self):
        # The residuals are (-1, 0) (1, 0) (-1, 2) (-1, 0) (1, 0).
        index = IVFPQ(CELLS, ProductQuantizer(np.array([[[-2.0], [1.0]], [[0.0], [3.0]]])))
        index.add(ROWS)
        assert_equal(index.lists, [np.array([0, 1, 2]), np.array([3, 4])])
        # The question's residual is (-2, -2) in the second cell; decoded (-2, 0) and (1, 0).
        assert_close(index.search(ASKED, 3), (np.array([[4.0, 13, INF]]), np.array([[3, 4, -1]]), 4))

    @pytest.mark.parametrize("probes", [1, 2, 4])
    @pytest.mark.parametrize("k", [1, 6, 40])
    def test_one_by_one_with_ties(self, rng, probes, k):
        centroids, x, queries = whole(rng, 4, 6, most=2), whole(rng, 30, 6), whole(rng, 4, 6)
        quantizer = a_quantizer(rng)
        cells = [nearest(row, centroids) for row in x]
        codes = codes_by_hand(quantizer.codebooks, [row - centroids[c] for row, c in zip(x, cells, strict=True)])
        decoded = decoded_by_hand(quantizer.codebooks, codes)
        index = IVFPQ(centroids, quantizer)
        for part in (x[:13], x[13:]):
            index.add(part)
        expected = ivf_by_hand(centroids, x, queries, k, probes, lambda q, i, c: squared(q - centroids[c], decoded[i]))
        assert_close(index.search(queries, k, probes), expected)

    def test_whole_numbers_of_a_byte(self, rng):
        centroids, x = np.array([[200, 0], [0, 100]], dtype=np.uint8), np.array([[190, 3], [1, 90]], dtype=np.uint8)
        index = IVFPQ(centroids, ProductQuantizer(np.array([[[-10.0], [1.0]], [[-10.0], [3.0]]])))
        index.add(x)
        assert_close(index.search(x, 1), (np.zeros((2, 1)), np.array([[0], [1]]), 6))

    def test_without_rows(self):
        index = IVFPQ(CELLS, ProductQuantizer(BOOKS))
        assert_close(index.search(ASKED, 1), (np.array([[INF]]), np.array([[-1]]), 2))

    @pytest.mark.parametrize("probes", [0, 3])
    def test_refuses_probes_out_of_range(self, probes):
        index = IVFPQ(CELLS, ProductQuantizer(BOOKS))
        with raises(ValueError, probes, 2):
            index.search(ASKED, 1, probes)


class TestRerank:
    def test_the_example_goes_on(self):
        assert_close(rerank(ROWS, ASKED, np.array([[4, 3]]), 2), (np.array([[5.0, 13.0]]), np.array([[3, 4]])))

    @pytest.mark.parametrize("k", [1, 3, 8])
    def test_one_by_one_with_ties(self, rng, k):
        base, queries = whole(rng, 30, 3), whole(rng, 6, 3)
        ids = np.stack([rng.permutation(30)[:6] for _ in queries])
        ids[1, 2:4] = ids[2, :] = ids[3, 0] = -1
        rows = [first([(squared(q, base[i]), int(i)) for i in row if i >= 0], k) for q, row in zip(queries, ids, strict=True)]
        assert_close(rerank(base, queries, ids, k), answers(rows))

    def test_of_equal_distances_the_smaller_id(self):
        base = np.array([[1, 0], [5, 5], [0, 1], [-1, 0]])
        assert_close(rerank(base, np.array([[0, 0]]), np.array([[3, 1, 2, 0]]), 3), (np.ones((1, 3)), np.array([[0, 2, 3]])))

    def test_computes_in_float64(self):
        base, queries = np.array([[200, 3], [1, 120]], dtype=np.uint8), np.array([[3, 201]], dtype=np.uint8)
        assert_close(rerank(base, queries, np.array([[0, 1]]), 1), (np.array([[4.0 + 81**2]]), np.array([[1]])))


class TestRecallCurve:
    def test_by_hand(self):
        index = IVF(CELLS)
        index.add(ROWS)
        queries = np.array([[5, 4], [1, 1]])
        truth = np.array([[3, 4, 1], [0, 1, 2]])
        assert_close(recall_curve(index, queries, truth, [2, 1]), np.array([[7.0, 1.0], [4.5, 5 / 6]]))

    def test_of_any_index(self):
        index = IVFPQ(CELLS, ProductQuantizer(BOOKS))
        index.add(ROWS)
        _, ids, computed = index.search(ASKED, 2, 1)
        assert_close(recall_curve(index, ASKED, np.array([[3, 1]]), [1]), np.array([[computed, recall(ids, np.array([[3, 1]]))]]))


@pytest.mark.learning
@pytest.mark.deadline(60)
class TestSpeed:
    """2000 rows in 40 groups."""

    def data(self, rng):
        centers = rng.normal(size=(40, 16)) * 3
        x = centers[rng.integers(40, size=2000)] + rng.normal(size=(2000, 16))
        queries = centers[rng.integers(40, size=50)] + rng.normal(size=(50, 16))
        return x, queries, flat_search(x, queries, 10)[1]

    def test_a_quarter_of_the_distances_finds_most(self, rng):
        x, queries, truth = self.data(rng)
        index = IVF(kmeans(x, 40, rng, 8))
        index.add(x)
        curve = recall_curve(index, queries, truth, [1, 4, 40])
        assert_equal((curve[0, 0] < curve[1, 0], curve[0, 1] < curve[2, 1]), (True, True))
        assert_close(curve[2], np.array([2040.0, 1.0]))
        if not (curve[1, 0] < 500 and curve[1, 1] > 0.85):
            fail("4 of 40 cells should find most neighbours with a quarter of the distances.", evidence=curve[1].tolist())

    def test_codes_find_candidates_and_exact_distances_the_best_of_them(self, rng):
        x, queries, truth = self.data(rng)
        centroids = kmeans(x, 40, rng, 8)
        cells = flat_search(centroids, x, 1)[1][:, 0]
        books = train_codebooks(x - centroids[cells], 8, 16, rng, 8)
        index = IVFPQ(centroids, ProductQuantizer(books))
        index.add(x)
        coded = index.search(queries, 50, 8)[1]
        exact = rerank(x, queries, coded, 10)[1]
        before, after = recall(coded[:, :10], truth), recall(exact, truth)
        if not (before > 0.35 and after > before + 0.1 and after > 0.8):
            fail("Re-ranking should lift the recall of coded candidates.", evidence=(before, after))
