"""Judges k08_hnsw by walks in plain lists, by exhaustive searches, and by counting distances on 2000 points."""

import copy
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_12_research.k08_hnsw import (
    Index,
    delete,
    descend,
    draw_level,
    insert,
    load,
    save,
    search,
    search_layer,
    select_neighbours,
    unreachable,
)

pytestmark = [
    from_scratch("hnswlib", "faiss", "scipy", "sklearn", "networkx", "pickle", "marshal"),
    pure("insert", "search", "delete"),
]


class Places:
    """Points, and the distances from one of them; it remembers which were asked for."""

    def __init__(self, points, query=None):
        self.points = np.atleast_2d(np.asarray(points, dtype=float).T).T
        self.query = np.zeros(self.points.shape[1]) if query is None else np.asarray(query, dtype=float)
        self.asked = []

    def __call__(self, ids):
        self.asked += [int(i) for i in ids]
        return ((self.points[list(ids)] - self.query) ** 2).sum(1)

    def between(self, node, ids):
        return ((self.points[list(ids)] - self.points[node]) ** 2).sum(1)


def line(n):
    return {i: [j for j in (i - 1, i + 1) if 0 <= j < n] for i in range(n)}


def some_layer(rng, n, edges=3):
    return {i: sorted({int(j) for j in rng.integers(n, size=edges)} - {i}) for i in range(n)}


def walk(entries, ef, layer, points, query, deleted=()):
    """search_layer with sorted lists in place of heaps.  Returns what is kept, and what was measured."""
    d = {i: sum((float(a) - float(b)) ** 2 for a, b in zip(points[i], query, strict=True)) for i in layer}
    measured, expanded = list(entries), set()
    while True:
        kept = sorted((d[i], i) for i in measured if i not in deleted)[:ef]
        opened = sorted((d[i], i) for i in measured if i not in expanded)
        if not opened or (len(kept) == ef and opened[0][0] > kept[-1][0]):
            return kept, measured
        node = opened[0][1]
        expanded.add(node)
        measured += [i for i in layer[node] if i not in measured]


class TestDrawLevel:
    @pytest.mark.parametrize("m", [2, 3, 8])
    def test_one_in_m_rises_a_level(self, rng, m):
        levels = [draw_level(m, rng) for _ in range(4000)]
        assert_equal({type(level) for level in levels}, {int})
        for l in range(4):
            share, p = sum(level >= l for level in levels) / 4000, m**-l
            # More than five standard deviations.
            if abs(share - p) > 5.5 * math.sqrt(p * (1 - p) / 4000) + 1e-12:
                fail(f"Of all levels, m to the power of -l should be at least l; at m = {m} they aren't.", evidence=(m, l, round(share, 1)))

    def test_levels_vary(self, rng):
        assert_equal(len({draw_level(2, rng) for _ in range(200)}) > 3, True)


HAND = {0: [1, 2], 1: [0, 3], 2: [0], 3: [1]}


class TestSearchLayer:
    @pytest.mark.parametrize(("ef", "found"), [(1, [(9.0, 0)]), (2, [(1.0, 3), (9.0, 0)]), (9, [(1.0, 3), (9.0, 0), (16.0, 1), (25.0, 2)])])
    def test_the_example_worked_by_hand(self, ef, found):
        assert_close(search_layer([0], ef, HAND, Places([3, -4, 5, 1])), found)

    @pytest.mark.parametrize("ef", [1, 2, 5, 12, 60])
    @pytest.mark.parametrize("entries", [[0], [7, 3], [5, 1, 30, 8, 22, 11]])
    def test_step_by_step(self, rng, ef, entries):
        for _ in range(5):
            layer, places = some_layer(rng, 40), Places(rng.normal(size=(40, 2)))
            kept, measured = walk(entries, ef, layer, places.points, places.query)
            assert_close(search_layer(entries, ef, layer, places), kept)
            assert_equal(sorted(places.asked), sorted(measured))

    @pytest.mark.parametrize("ef", [1, 3, 8])
    def test_walks_through_deleted_nodes(self, rng, ef):
        for _ in range(5):
            layer, places = some_layer(rng, 40), Places(rng.normal(size=(40, 2)))
            deleted = {int(i) for i in rng.permutation(40)[:25]}
            kept, measured = walk([4], ef, layer, places.points, places.query, deleted)
            assert_close(search_layer([4], ef, layer, places, deleted), kept)
            assert_equal(sorted(places.asked), sorted(measured))

    def test_stops_early(self):
        """The question is where it starts.  Far ends of the line are never looked at."""
        places = Places(np.arange(30), query=[14.2])
        found = search_layer([14], 3, line(30), places)
        assert_equal([node for _, node in found], [14, 15, 13])
        assert_equal(len(places.asked) <= 6, True)

    def test_more_entries_than_ef(self):
        places = Places([5, 4, 3, 2, 1, 0])
        assert_close(search_layer([0, 1, 2], 2, {0: [], 1: [], 2: []}, places), [(9.0, 2), (16.0, 1)])

    def test_all_deleted(self):
        assert_equal(search_layer([0], 2, line(4), Places([1, 2, 3, 4]), {0, 1, 2, 3}), [])


class TestDescend:
    def test_layer_by_layer(self):
        layers = [{0: [9], 9: [0]}, {0: [4], 4: [0, 9], 9: [4, 12], 12: [9]}, line(20)]
        places = Places(np.arange(20), query=[11.3])
        for n, end in ((0, 0), (1, 9), (2, 12), (3, 11)):
            assert_equal(descend(0, layers[:n], places), end)

    def test_goes_to_the_nearest_neighbour(self):
        # From 0 the way through 1 is nearer at first; it ends at 1.
        layer = {0: [2, 1], 1: [0], 2: [0, 3], 3: [2]}
        assert_equal(descend(0, [layer], Places([10, 4, 5, 0])), 1)

    def test_step_by_step(self, rng):
        for _ in range(20):
            layers, places = [some_layer(rng, 40) for _ in range(2)], Places(rng.normal(size=(40, 2)))
            node = 5
            for layer in layers:
                d = (places.points**2).sum(1)
                while layer[node] and min(d[j] for j in layer[node]) < d[node]:
                    node = min(layer[node], key=lambda j: d[j])
            assert_equal(descend(5, layers, places), node)


def heuristic(candidates, m, between):
    kept = []
    for d, node in sorted(candidates):
        if len(kept) < m and all(between(node, [k])[0] >= d for k in kept):
            kept.append(node)
    return kept


class TestSelectNeighbours:
    def test_the_example_worked_by_hand(self):
        places = Places([1, 2, -3])
        assert_equal(select_neighbours([(1.0, 0), (4.0, 1), (9.0, 2)], 2, places.between), [0, 2])

    def test_near_to_one_kept_is_enough(self):
        # 2 is nearer to the second kept one, far from the first.
        places = Places([[-2, 0], [2.5, 0], [4, 0]])
        assert_equal(select_neighbours([(4.0, 0), (6.25, 1), (16.0, 2)], 5, places.between), [0, 1])

    @pytest.mark.parametrize("m", [1, 2, 4, 30])
    def test_one_by_one(self, rng, m):
        for _ in range(10):
            places = Places(rng.integers(-4, 5, size=(20, 2)))
            candidates = [(float(d), i) for i, d in enumerate(places(range(20)))]
            shuffled = [candidates[i] for i in rng.permutation(20)]
            assert_equal(select_neighbours(shuffled, m, places.between), heuristic(candidates, m, places.between))

    def test_fewer_than_m_are_sifted_as_well(self):
        assert_equal(select_neighbours([(1.0, 0), (4.0, 1)], 5, Places([1, 2]).between), [0])

    def test_as_near_to_a_kept_one_is_kept(self):
        assert_equal(select_neighbours([(1.0, 0), (4.0, 1)], 5, Places([[1, 0], [1, 2]]).between), [0, 1])

    def test_compares_with_all_kept_ones(self):
        # 2 is nearer to the first kept one, not to the last.
        places = Places([[2, 0], [-2.5, 0], [4, 0]])
        assert_equal(select_neighbours([(4.0, 0), (6.25, 1), (16.0, 2)], 5, places.between), [0, 1])

    def test_of_none(self):
        assert_equal(select_neighbours([], 3, Places([1]).between), [])


def built(points, levels, m=3, ef=200) -> Index:
    index = Index(len(points[0]), m, ef)
    for vector, level in zip(points, levels, strict=True):
        insert(index, np.asarray(vector, dtype=float), level)
    return index


def built_by_hand(points, levels, m, ef):
    """The same graph with plain lists: (layers, entry)."""
    points = [[float(v) for v in p] for p in points]
    layers, entry = [], None

    def d(i, j):
        return sum((a - b) ** 2 for a, b in zip(points[i], points[j], strict=True))

    def sift(node, ids, limit):
        return heuristic([(d(node, i), i) for i in ids], limit, lambda a, bs: [d(a, b) for b in bs])

    for new, level in enumerate(levels):
        top, entries = len(layers) - 1, [] if entry is None else [entry]
        for depth in range(top, level, -1):
            ((_, node),), _ = walk(entries, 1, layers[depth], points, points[new])
            entries = [node]
        layers += [{} for _ in range(level - top)]
        for depth in range(level, -1, -1):
            layer = layers[depth]
            if depth > top:
                layer[new] = []
                continue
            kept, _ = walk(entries, ef, layer, points, points[new])
            entries = [i for _, i in kept]
            layer[new] = sift(new, entries, m)
            for i in layer[new]:
                layer[i].append(new)
                limit = m if depth else 2 * m
                if len(layer[i]) > limit:
                    layer[i] = sift(i, layer[i], limit)
        if level > top:
            entry = new
    return layers, entry


def edges(layers):
    return [{i: sorted(ids) for i, ids in layer.items()} for layer in layers]


class TestInsert:
    def test_the_example_worked_by_hand(self):
        index = built([[0], [4], [3]], [0, 0, 0], m=1)
        assert_equal(edges(index.layers), [{0: [1], 1: [0, 2], 2: [1]}])
        assert_equal(insert(index, np.array([6.0]), 0), 3)
        assert_equal(edges(index.layers), [{0: [1], 1: [2, 3], 2: [1], 3: [1]}])
        assert_close(index.vectors, np.array([[0.0], [4], [3], [6]]))

    def test_the_first_one(self):
        index = Index(2)
        assert_equal(insert(index, np.array([1.0, 2.0]), 2), 0)
        assert_equal((index.layers, index.entry), ([{0: []}, {0: []}, {0: []}], 0))

    def test_all_that_was_found_leads_down(self):
        """Each edge in layer 0 is found only from one of the nodes that layer 1 finds."""
        places = np.array([[5.0], [1], [2], [-3], [-0.5], [-1]])
        index = Index(1, 4, 10, vectors=places, entry=0)
        index.layers = [{0: [], 1: [], 2: [4], 3: [5], 4: [], 5: []}, {0: [1, 2, 3], 1: [], 2: [], 3: []}, {0: []}]
        insert(index, np.array([0.0]), 1)
        assert_equal(sorted(index.layers[1][6]), [1, 3])
        assert_equal(sorted(index.layers[0][6]), [1, 4])
        expected = [{0: [], 1: [6], 2: [4], 3: [5], 4: [6], 5: [], 6: [1, 4]}, {0: [1, 2, 3], 1: [6], 2: [], 3: [6], 6: [1, 3]}, {0: []}]
        assert_equal(edges(index.layers), expected)

    @pytest.mark.parametrize("m", [4, 2, 1])
    @pytest.mark.parametrize("ef", [4, 1, 200])
    def test_edge_by_edge(self, rng, m, ef):
        points = rng.normal(size=(40, 2))
        levels = [int(level) for level in rng.permutation([0] * 28 + [1] * 8 + [2] * 3 + [4])]
        index = built(points, levels, m, ef)
        layers, entry = built_by_hand(points, levels, m, ef)
        assert_equal([sorted(layer) for layer in index.layers], [sorted(layer) for layer in layers])
        assert_equal(edges(index.layers), edges(layers))
        assert_equal(index.entry, entry)

    def test_lists_keep_their_limits(self, rng):
        index = built(rng.normal(size=(60, 2)), [i % 5 == 0 for i in range(60)], m=2)
        assert_equal([max(map(len, layer.values())) for layer in index.layers], [4, 2])

    def test_the_entry_is_of_the_highest_layer(self):
        entries, index = [], Index(1, 2)
        for place, level in enumerate([0, 1, 1, 3, 2, 3, 0]):
            insert(index, np.array([float(place)]), level)
            entries.append(index.entry)
        assert_equal((entries, len(index.layers)), ([0, 1, 1, 3, 3, 3, 3], 4))

    def test_goes_through_deleted_nodes(self, rng):
        points, levels = rng.normal(size=(30, 2)), [0] * 30
        index = built(points[:20], levels[:20])
        index.deleted |= set(range(0, 20, 2))
        for vector in points[20:]:
            insert(index, vector, 0)
        assert_equal(edges(index.layers), edges(built_by_hand(points, levels, 3, 200)[0]))
        assert_equal(index.deleted, set(range(0, 20, 2)))

    def test_measures_by_the_index(self):
        index = built([[0.0], [4.0]], [0, 0])
        assert_equal(index.computed >= 1, True)

    def test_copies_the_vector(self):
        index, vector = Index(2), np.array([1.0, 2.0])
        insert(index, vector, 0)
        vector[:] = 9
        assert_close(index.vectors, np.array([[1.0, 2.0]]))

    @pytest.mark.parametrize("width", [1, 4])
    def test_refuses_another_width(self, width):
        with raises(ValueError, 3, width):
            insert(Index(3), np.ones(width), 0)


class TestSearch:
    @pytest.mark.parametrize(("k", "ef"), [(1, 200), (7, 200), (50, 10), (100, 1)])
    def test_with_a_large_ef_it_is_exact(self, rng, k, ef):
        points = rng.normal(size=(50, 3))
        index, query = built(points, [i % 4 == 0 for i in range(50)], m=8), rng.normal(size=3)
        exact = sorted((float(((p - query) ** 2).sum()), i) for i, p in enumerate(points))
        assert_close(search(index, query, k, ef)[: k if ef > k else 3], exact[: k if ef > k else 3])
        assert_equal(len(search(index, query, k, ef)), min(k, 50))

    @pytest.mark.parametrize(("k", "ef"), [(1, 1), (3, 1), (2, 6)])
    def test_descends_then_keeps_ef(self, rng, k, ef):
        for _ in range(10):
            points, query = rng.normal(size=(60, 2)), rng.normal(size=2)
            index = Index(2, vectors=points, entry=5)
            index.layers = [some_layer(rng, 60, 2), {i: [(i + 25) % 60, (i + 10) % 60] for i in range(0, 60, 5)}, {5: [20], 20: [5]}]
            index.deleted = {3, 8, 12, 31}
            entry = 5
            for layer in index.layers[:0:-1]:
                entry = walk([entry], 1, layer, points, query)[0][0][1]
            kept, _ = walk([entry], max(k, ef), index.layers[0], points, query, index.deleted)
            assert_close(search(index, query, k, ef), kept[:k])

    def test_40_unless_told(self, rng):
        points = rng.normal(size=(300, 2))
        for _ in range(5):
            index = Index(2, vectors=points, entry=0, layers=[some_layer(rng, 300, 4)])
            query = rng.normal(size=2)
            before = index.computed
            search(index, query, 3)
            default = index.computed - before
            assert_equal(default, len(walk([0], 40, index.layers[0], points, query)[1]))

    def test_of_an_empty_index(self):
        assert_equal(search(Index(3), np.zeros(3), 2), [])

    @pytest.mark.parametrize("k", [0, -1])
    def test_refuses_k_below_1(self, k):
        with raises(ValueError, k):
            search(built([[1.0]], [0]), np.zeros(1), k)

    def test_refuses_k_below_1_of_an_empty_index(self):
        with raises(ValueError, -2):
            search(Index(1), np.zeros(1), -2)


class TestDelete:
    def test_isnt_found_any_more(self, rng):
        points = rng.normal(size=(40, 2))
        index = built(points, [0] * 40, m=4)
        before = copy.deepcopy(index.layers)
        for gone in range(0, 40, 3):
            assert_equal(delete(index, gone), None)
        assert_equal((index.deleted, index.layers, len(index.vectors)), (set(range(0, 40, 3)), before, 40))
        found = [node for _, node in search(index, points[3], 10, 60)]
        d = ((points - points[3]) ** 2).sum(1)
        assert_equal(found, sorted((i for i in range(40) if i % 3), key=lambda i: d[i])[:10])

    def test_the_entry_too(self):
        index = built([[0.0], [1.0], [2.0]], [0, 1, 0])
        delete(index, 1)
        assert_equal([node for _, node in search(index, np.array([1.1]), 3)], [2, 0])
        delete(index, 0)
        delete(index, 2)
        assert_equal(search(index, np.array([1.1]), 3), [])

    @pytest.mark.parametrize("node", [3, 7, -1])
    def test_refuses_an_unknown_id(self, node):
        index = built([[0.0], [1.0], [2.0]], [0, 0, 0])
        with raises(KeyError, node):
            delete(index, node)

    def test_refuses_one_that_is_deleted(self):
        index = built([[0.0], [1.0], [2.0]], [0, 0, 0])
        delete(index, 2)
        with raises(KeyError, 2):
            delete(index, 2)


class TestUnreachable:
    def test_edges_have_a_direction(self):
        layer = {0: [1], 1: [0], 5: [0], 6: [5, 7], 7: [6]}
        assert_equal([unreachable(layer, entry) for entry in (0, 5, 6)], [{5, 6, 7}, {6, 7}, set()])

    def test_by_repeated_rounds(self, rng):
        for n in (1, 8, 40):
            layer = some_layer(rng, n, 2)
            reached = {0}
            for _ in range(n):
                reached |= {j for i in reached for j in layer[i]}
            assert_equal(unreachable(layer, 0), set(range(n)) - reached)

    def test_a_long_way(self):
        assert_equal(unreachable(line(3000), 0), set())


def all_of(index: Index) -> tuple:
    return index.width, index.m, index.ef_construction, index.vectors, index.layers, index.entry, index.deleted


class TestSave:
    @pytest.mark.parametrize("name", ["index", "index.bin", "index.npz", "my.index.json"])
    def test_writes_one_file_of_that_name(self, tmp_path, name):
        index = built([[0.0, 1.0], [2.0, 3.0]], [0, 1])
        save(index, tmp_path / name)
        assert_equal([path.name for path in tmp_path.iterdir()], [name])

    def test_replaces_what_was_there(self, tmp_path):
        path = tmp_path / "index"
        path.write_text("an older one, and longer" * 1000)
        index = built([[0.0, 1.0], [2.0, 3.0]], [0, 1])
        save(index, path)
        assert_close(all_of(load(path)), all_of(index))


class TestLoad:
    def test_all_fields(self, rng, tmp_path):
        index = built(rng.normal(size=(30, 3)) / 3, [i % 4 == 0 for i in range(30)], m=5, ef=17)
        index.deleted |= {4, 20}
        before = copy.deepcopy(index)
        save(index, tmp_path / "index")
        found = load(tmp_path / "index")
        assert_equal(type(found), Index)
        assert_equal(all_of(found), all_of(before))
        assert_equal((all_of(index), found.computed), (all_of(before), 0))
        assert_equal(({type(i) for layer in found.layers for i in layer}, {type(i) for i in found.deleted}), ({int}, {int}))

    def test_an_empty_one(self, tmp_path):
        save(Index(4, 3, 9), tmp_path / "index")
        found = load(tmp_path / "index")
        assert_close(all_of(found), all_of(Index(4, 3, 9)))

    def test_goes_on_as_before(self, rng, tmp_path):
        points = rng.normal(size=(40, 2))
        index = built(points[:30], [i % 4 == 0 for i in range(30)])
        delete(index, 3)
        save(index, tmp_path / "index")
        found = load(tmp_path / "index")
        for one in (index, found):
            for vector in points[30:]:
                insert(one, vector, 0)
            delete(one, 35)
        assert_equal(all_of(found), all_of(index))
        assert_close(search(found, points[3], 5), search(index, points[3], 5))


def large_index(points, query, m, ef, sizes):
    """The index of all points, and for each size (recall of 10, share of the distances) when it had as many."""
    index, levels = Index(points.shape[1], m, ef), np.random.default_rng(1)
    shares = []
    for n, vector in enumerate(points, 1):
        insert(index, vector, int(-math.log(1 - levels.random()) / math.log(m)))
        if n in sizes:
            truth = ((query[:, None] - points[None, :n]) ** 2).sum(2).argsort(1)[:, :10]
            index.computed = 0
            found = [{node for _, node in search(index, q, 10, 40)} for q in query]
            hits = sum(len(f & set(t)) for f, t in zip(found, truth.tolist(), strict=True))
            shares.append((hits / truth.size, index.computed / len(query) / n))
    return index, shares


@pytest.mark.learning
@pytest.mark.deadline(60)
class TestTwoThousandPoints:
    """Points and levels are always the same, so that every right solution builds this graph."""

    def test_most_are_found_with_few_distances(self):
        # Of these points none gets lost.  Of others a few do, in any HNSW, where a list is cut.
        data = np.random.default_rng(5)
        points, query = data.normal(size=(2000, 8)), data.normal(size=(40, 8))
        index, ((early, first), (recall, share)) = large_index(points, query, 6, 30, (500, 2000))
        if not (recall >= 0.95 and early >= 0.95):
            fail("The search should find 95% of the neighbours.", evidence=recall)
        if not share <= 0.2:
            fail("The search should measure at most a fifth of all distances.", evidence=share)
        if not share < 0.6 * first:
            fail("The share of the distances should fall as points are added.", evidence=(first, share))
        assert_equal([len(unreachable(layer, index.entry)) for layer in index.layers], [0] * len(index.layers))

    def test_as_good_as_faiss(self):
        faiss = pytest.importorskip("faiss")
        faiss.omp_set_num_threads(1)
        data = np.random.default_rng(2)
        points, query = data.normal(size=(800, 8)), data.normal(size=(40, 8))
        theirs = faiss.IndexHNSWFlat(8, 6)
        theirs.hnsw.efConstruction, theirs.hnsw.efSearch = 30, 40
        theirs.add(points.astype(np.float32))
        _, labels = theirs.search(query.astype(np.float32), 10)
        truth = ((query[:, None] - points[None]) ** 2).sum(2).argsort(1)[:, :10]
        hits = sum(len(set(a) & set(b)) for a, b in zip(labels.tolist(), truth.tolist(), strict=True))
        _, ((recall, _),) = large_index(points, query, 6, 30, (800,))
        if not recall >= hits / truth.size - 0.03:
            fail("The recall should be that of faiss, up to 3%.", evidence=recall)
