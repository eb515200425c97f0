"""Judges k25_graph_networks by dense matrices, by plain loops over nodes, and on a karate club that splits."""

import itertools
import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_12_research.k25_graph_networks import (
    GATConv,
    GCNConv,
    SAGEConv,
    aggregate,
    dirichlet_energy,
    edge_softmax,
    gcn_weights,
    hold_out_edges,
    link_loss,
    negative_pairs,
    sample_neighbours,
)

pytestmark = [from_scratch("torch_geometric", "dgl", "networkx", "scipy", "torch.sparse"), pure()]

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
DIRECTED = torch.tensor([[0, 2, 3, 3, 1, 0, 4], [1, 1, 1, 0, 4, 4, 3]])
"""Of six nodes: 2 has no edge that ends there, and 5 has none at all."""
NONE = torch.empty(2, 0, dtype=torch.int64)


def dense(edges: torch.Tensor, nodes: int) -> torch.Tensor:
    """Row i has a 1 for each j with an edge j → i."""
    matrix = torch.zeros(nodes, nodes, dtype=F64)
    for j, i in edges.T.tolist():
        matrix[i, j] = 1
    return matrix


def random_graph(nodes: int, share: float, seed: int) -> torch.Tensor:
    """An undirected graph, its edges in a mixed order."""
    pairs = torch.tensor(list(itertools.combinations(range(nodes), 2))).T
    pairs = pairs[:, torch.rand(pairs.shape[1], generator=seeded(seed)) < share]
    both = torch.cat([pairs, pairs.flip(0)], 1)
    return both[:, torch.randperm(both.shape[1], generator=seeded(seed + 1))]


def as_pairs(edges: torch.Tensor) -> list[tuple[int, int]]:
    return sorted(map(tuple, edges.T.tolist()))


class TestAggregate:
    @pytest.mark.parametrize(("how", "expected"), [("sum", (0, 3, 0)), ("mean", (0, 1.5, 0)), ("max", (0, 2, 0))])
    def test_the_example_worked_by_hand(self, how, expected):
        messages = f64(1, 0, 2, 0)[:, None]  # to the nodes 1, 0, 1, 2 in turn
        target = torch.tensor([1, 0, 1, 2])
        assert_close(aggregate(messages, target, 3, how), f64(*expected)[:, None])

    @pytest.mark.parametrize("how", ["sum", "mean", "max"])
    @pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
    def test_node_by_node(self, shape, how):
        messages, target = normal(7, *shape) - 1, DIRECTED[1]
        reduce = {"sum": lambda m: m.sum(0), "mean": lambda m: m.mean(0), "max": lambda m: m.amax(0)}[how]
        rows = [messages[target == i] for i in range(6)]
        expected = torch.stack([reduce(m) if len(m) else torch.zeros(shape, dtype=F64) for m in rows])
        assert_close(aggregate(messages, target, 6, how), expected)

    def test_a_sum_unless_told(self):
        messages = normal(7, 2)
        assert_close(aggregate(messages, DIRECTED[1], 6), aggregate(messages, DIRECTED[1], 6, "sum"))

    @pytest.mark.parametrize("how", ["sum", "mean", "max"])
    def test_no_edges(self, how):
        assert_close(aggregate(normal(0, 2), NONE[1], 3, how), torch.zeros(3, 2, dtype=F64))

    @pytest.mark.parametrize("how", ["sum", "mean", "max"])
    def test_keeps_float32(self, how):
        messages = normal(7, 2).float()
        assert_close(aggregate(messages, DIRECTED[1], 6, how), aggregate(messages.double(), DIRECTED[1], 6, how).float())

    @pytest.mark.parametrize("how", ["sum", "mean", "max"])
    def test_gradients(self, how):
        messages = normal(7, 2).requires_grad_()
        assert torch.autograd.gradcheck(lambda m: aggregate(m, DIRECTED[1], 6, how), messages)

    @pytest.mark.parametrize("how", ["median", "Sum"])
    def test_refuses_another_way(self, how):
        with raises(ValueError, how):
            aggregate(normal(7, 2), DIRECTED[1], 6, how)

    @pytest.mark.parametrize("how", ["sum", "mean", "max"])
    def test_on_the_gpu(self, gpu, how):
        gpu.check(lambda m, t: aggregate(m, t, 6, how), normal(7, 2).requires_grad_(), DIRECTED[1])


class TestGcnWeights:
    def test_the_example_worked_by_hand(self):
        edges, weights = gcn_weights(PATH, 3, F64)
        assert_equal(edges, torch.tensor([[0, 1, 1, 2, 0, 1, 2], [1, 0, 2, 1, 0, 1, 2]]))
        assert_close(weights, f64(*[1 / math.sqrt(6)] * 4, 1 / 2, 1 / 3, 1 / 2))

    def test_only_the_edges_that_end_at_a_node_are_counted(self):
        edges, weights = gcn_weights(DIRECTED, 6, F64)
        degree = [2, 4, 1, 2, 3, 1]
        assert_equal(edges, torch.cat([DIRECTED, torch.arange(6).expand(2, -1)], 1))
        assert_close(weights, f64(*[1 / math.sqrt(degree[j] * degree[i]) for j, i in edges.T.tolist()]))

    def test_float32_unless_told(self):
        assert_close(gcn_weights(PATH, 3)[1], gcn_weights(PATH, 3, F64)[1].float())

    def test_no_edges(self):
        edges, weights = gcn_weights(NONE, 2)
        assert_equal(edges, torch.tensor([[0, 1], [0, 1]]))
        assert_close(weights, torch.ones(2))

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda e: gcn_weights(e, 6), DIRECTED)


def of_dense_gcn(layer: nn.Module, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    matrix = dense(edges, len(x)) + torch.eye(len(x), dtype=F64)
    scale = torch.diag(matrix.sum(1) ** -0.5)
    return scale @ matrix @ scale @ x @ layer.linear.weight.T + layer.bias


class LayerChecks:
    """What holds for each kind of layer."""

    def layer(self, features: int = 4, outputs: int = 3) -> nn.Module:
        raise NotImplementedError

    def test_the_numbers_of_nodes_mean_nothing(self):
        layer, x, edges = self.layer(), normal(7, 4), random_graph(7, 0.4, 3)
        place = torch.tensor([3, 0, 6, 1, 5, 2, 4])  # node i becomes place[i]
        moved = torch.empty_like(x)
        moved[place] = x
        y, other = layer(x, edges), layer(moved, place[edges])
        assert_close(other[place], y)

    def test_the_order_of_edges_means_nothing(self):
        layer, x = self.layer(), normal(6, 4)
        assert_close(layer(x, DIRECTED[:, [4, 6, 0, 2, 5, 1, 3]]), layer(x, DIRECTED))

    def test_a_node_hears_of_its_neighbours_alone(self):
        layer, x = self.layer(), normal(6, 4).requires_grad_()
        (slope,) = torch.autograd.grad(layer(x, DIRECTED)[1].sum(), x)
        heard = (slope != 0).any(1).tolist()
        if heard != [True, True, True, True, False, False]:
            fail(
                f"the output of node 1, whose edges come from 0, 2 and 3, depends on the nodes "
                f"{[i for i, one in enumerate(heard) if one]}; it should be those three and itself",
                evidence=heard,
            )

    def test_no_edges(self):
        layer, x = self.layer(), normal(3, 4)
        assert_close(layer(x, NONE), torch.cat([layer(x[i : i + 1], NONE) for i in range(3)]))

    def test_gradients(self):
        layer, x = self.layer(), normal(6, 4).requires_grad_()
        assert torch.autograd.gradcheck(lambda x, *_: layer(x, DIRECTED), (x, *layer.parameters()))

    def test_on_the_gpu(self, gpu):
        gpu.check(self.layer(), normal(6, 4).requires_grad_(), DIRECTED)


class TestGCNConv(LayerChecks):
    def layer(self, features: int = 4, outputs: int = 3) -> nn.Module:
        return named_weights(GCNConv(features, outputs))

    def test_its_parameters(self):
        layer = GCNConv(4, 3)
        assert_equal({name: tuple(p.shape) for name, p in layer.named_parameters()}, {"linear.weight": (3, 4), "bias": (3,)})
        assert_close(layer.bias.detach(), torch.zeros(3))

    def test_the_example_worked_by_hand(self):
        layer = GCNConv(1, 1).double()
        nn.init.ones_(layer.linear.weight)
        assert_close(layer(f64([1], [0], [2]), PATH).detach(), f64([0.5], [3 / math.sqrt(6)], [1]))

    @pytest.mark.parametrize("edges", [PATH, DIRECTED, random_graph(6, 0.5, 1)], ids=["path", "directed", "undirected"])
    def test_matches_dense_algebra(self, edges):
        layer, x = self.layer(), normal(6, 4)
        assert_close(layer(x, edges), of_dense_gcn(layer, x, edges))

    def test_in_double_precision(self):
        layer, x = self.layer(), normal(6, 4)
        assert_close(layer(x, DIRECTED), of_dense_gcn(layer, x, DIRECTED), rtol=1e-12, atol=1e-12)

    def test_keeps_float32(self):
        layer, x = self.layer(), normal(6, 4)
        expected = of_dense_gcn(layer, x, DIRECTED).float()
        assert_close(layer.float()(x.float(), DIRECTED), expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    def test_two_told_sides_split_the_karate_club(self):
        """Two of 34 are labelled.  Most others are told right; without edges, no more than by chance."""
        club = pytest.importorskip("networkx").karate_club_graph()
        pairs = torch.tensor(list(club.edges)).T
        edges = torch.cat([pairs, pairs.flip(0)], 1)
        side = torch.tensor([int(club.nodes[i]["club"] == "Officer") for i in club])
        told, x = torch.tensor([0, 33]), torch.eye(34)
        for seed in range(3):
            share = {}
            for name, links in [("with", edges), ("without", NONE)]:
                torch.manual_seed(seed)
                layers = nn.ModuleList([GCNConv(34, 16), GCNConv(16, 2)])
                optimizer = torch.optim.Adam(layers.parameters(), lr=0.02, weight_decay=5e-4)
                for _ in range(120):
                    y = layers[1](layers[0](x, links).relu(), links)
                    loss = F.cross_entropy(y[told], side[told])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                share[name] = (y.argmax(1) == side)[1:33].double().mean().item()
            if share["with"] < 0.8 or share["with"] < share["without"] + 0.15:
                fail(
                    f"with edges {share['with']:.2f} of the unlabelled are told right, without edges "
                    f"{share['without']:.2f}; it should be at least 0.8, and 0.15 more than without"
                )


class TestSampleNeighbours:
    def test_few_are_kept_whole(self):
        assert_equal(as_pairs(sample_neighbours(DIRECTED, 3, seeded(0))), as_pairs(DIRECTED))
        assert_equal(as_pairs(sample_neighbours(DIRECTED, 20, seeded(0))), as_pairs(DIRECTED))

    def test_a_source_may_be_kept_often(self):
        star = torch.tensor([[0, 0, 0], [1, 2, 3]])
        assert_equal(as_pairs(sample_neighbours(star, 1, seeded(0))), as_pairs(star))

    @pytest.mark.parametrize("fanout", [1, 2])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_as_many_as_asked_for(self, seed, fanout):
        kept = as_pairs(sample_neighbours(DIRECTED, fanout, seeded(seed)))
        if not set(kept) <= set(as_pairs(DIRECTED)) or len(set(kept)) < len(kept):
            fail("what is kept should be edges of the graph, each at most once", evidence=kept)
        count, whole = Counter(i for _, i in kept), Counter(DIRECTED[1].tolist())
        assert_equal(count, Counter({i: min(n, fanout) for i, n in whole.items()}))

    def test_each_set_is_equally_likely(self):
        """Five edges end at node 0: ten sets of two."""
        edges = torch.tensor([[1, 2, 3, 4, 5, 0, 0], [0, 0, 0, 0, 0, 1, 2]])
        generator, found = seeded(4), Counter()
        for _ in range(2000):
            kept = sample_neighbours(edges, 2, generator)
            found[tuple(sorted(kept[0, kept[1] == 0].tolist()))] += 1
        expected = list(itertools.combinations(range(1, 6), 2))
        worst = max(abs(found[pair] - 200) for pair in expected)
        if worst > 70 or set(found) - set(expected):  # five deviations of √(2000 · 0.1 · 0.9)
            fail(f"each of ten pairs of neighbours should be drawn about 200 times of 2000; one is {worst} off", evidence=0)

    def test_the_same_generator_gives_the_same(self):
        edges = random_graph(9, 0.7, 0)
        first, second = (as_pairs(sample_neighbours(edges, 2, seeded(7))) for _ in range(2))
        assert_equal(first, second)

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        sample_neighbours(DIRECTED, 2, seeded(0))
        assert_equal(torch.get_rng_state(), before)

    def test_no_edges(self):
        assert_equal(sample_neighbours(NONE, 2, seeded(0)), NONE)

    @pytest.mark.parametrize("fanout", [0, -3])
    def test_refuses_no_neighbours(self, fanout):
        with raises(ValueError, fanout):
            sample_neighbours(DIRECTED, fanout, seeded(0))

    def test_on_the_gpu(self, gpu):
        kept = sample_neighbours(gpu(DIRECTED), 2, gpu.generator(0))
        assert_equal(kept.device, gpu.device)
        assert_equal(kept.shape, (2, 6))


class TestSAGEConv(LayerChecks):
    def layer(self, features: int = 4, outputs: int = 3, normalize: bool = True) -> nn.Module:
        return named_weights(SAGEConv(features, outputs, normalize))

    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in SAGEConv(4, 3).named_parameters()}
        assert_equal(shapes, {"own.weight": (3, 4), "own.bias": (3,), "near.weight": (3, 4)})

    def test_the_example_worked_by_hand(self):
        layer = SAGEConv(1, 1, normalize=False).double()
        for parameter, value in zip((layer.own.weight, layer.own.bias, layer.near.weight), (1, 0, 1), strict=True):
            nn.init.constant_(parameter, value)
        assert_close(layer(f64([1], [0], [2]), PATH).detach(), f64([1], [1.5], [2]))

    @pytest.mark.parametrize("normalize", [True, False])
    def test_matches_dense_algebra(self, normalize):
        layer, x, matrix = self.layer(normalize=normalize), normal(6, 4), dense(DIRECTED, 6)
        mean = matrix @ x / matrix.sum(1, keepdim=True).clamp(min=1)
        y = x @ layer.own.weight.T + layer.own.bias + mean @ layer.near.weight.T
        assert_close(layer(x, DIRECTED), y / y.square().sum(1, keepdim=True).sqrt() if normalize else y)

    def test_normalised_unless_told(self):
        x = normal(6, 4)
        assert_close(named_weights(SAGEConv(4, 3))(x, DIRECTED), self.layer()(x, DIRECTED))

    def test_a_row_of_zeros_stays(self):
        layer = self.layer()
        nn.init.zeros_(layer.own.bias)
        assert_close(layer(torch.zeros(3, 4, dtype=F64), PATH).detach(), torch.zeros(3, 3, dtype=F64))

    def test_a_sample_is_right_on_average(self):
        """The mean over 3000 samples of two neighbours is near the mean over all five."""
        layer = self.layer(normalize=False)
        edges = torch.tensor([[1, 2, 3, 4, 5], [0, 0, 0, 0, 0]])
        x, generator = normal(6, 4), seeded(2)
        y = torch.stack([layer(x, sample_neighbours(edges, 2, generator))[0] for _ in range(3000)]).detach()
        error = (y.mean(0) - layer(x, edges)[0].detach()).abs() / (y.std(0) / math.sqrt(3000))
        if error.max() > 5:
            fail("the mean over many samples of neighbours should be the output with all of them", evidence=0)


class TestEdgeSoftmax:
    def test_the_example_worked_by_hand(self):
        assert_close(edge_softmax(f64(0, math.log(3), 7), torch.tensor([1, 1, 0]), 3), f64(0.25, 0.75, 1))

    @pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
    def test_target_by_target(self, shape):
        scores, target = normal(7, *shape), DIRECTED[1]
        expected = torch.empty_like(scores)
        for i in range(6):
            expected[target == i] = scores[target == i].softmax(0)
        assert_close(edge_softmax(scores, target, 6), expected)

    def test_large_scores(self):
        """One target has scores near 1000, another near -1000."""
        scores, target = f64(1000, 1001, -1000, -1001, 0), torch.tensor([0, 0, 1, 1, 2])
        one = 1 / (1 + math.e)
        assert_close(edge_softmax(scores, target, 4), f64(one, 1 - one, 1 - one, one, 1))

    def test_no_edges(self):
        assert_close(edge_softmax(normal(0, 2), NONE[1], 3), normal(0, 2))

    def test_gradients(self):
        scores = normal(7, 2).requires_grad_()
        assert torch.autograd.gradcheck(lambda s: edge_softmax(s, DIRECTED[1], 6), scores)

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda s, t: edge_softmax(s, t, 6), normal(7, 2).requires_grad_(), DIRECTED[1])


class TestGATConv(LayerChecks):
    def layer(self, features: int = 4, outputs: int = 3, heads: int = 2) -> nn.Module:
        return named_weights(GATConv(features, outputs, heads))

    def test_its_parameters(self):
        layer = GATConv(4, 3, 2)
        shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
        assert_equal(shapes, {"linear.weight": (6, 4), "source": (2, 3), "target": (2, 3)})
        if not (layer.source != 0).all() or not (layer.target != 0).all():
            fail("source and target should start at random numbers that aren't 0")

    @pytest.mark.parametrize(("heads", "outputs"), [(1, 3), (2, 3), (3, 2)])
    def test_matches_dense_attention(self, heads, outputs):
        layer, x = self.layer(4, outputs, heads), 3 * normal(6, 4)
        allowed = (dense(DIRECTED, 6) + torch.eye(6, dtype=F64)).bool()
        found = []
        for head in range(heads):
            h = x @ layer.linear.weight[head * outputs : (head + 1) * outputs].T
            scores = (h @ layer.target[head])[:, None] + (h @ layer.source[head])[None]
            scores = torch.where(scores > 0, scores, 0.2 * scores).masked_fill(~allowed, -math.inf)
            found.append(scores.softmax(1) @ h)
        assert_close(layer(x, DIRECTED), torch.cat(found, 1))

    def test_one_head_unless_told(self):
        x = normal(6, 4)
        assert_close(named_weights(GATConv(4, 3))(x, DIRECTED), self.layer(heads=1)(x, DIRECTED))

    def test_keeps_float32(self):
        layer, x = self.layer(), normal(6, 4)
        expected = layer(x, DIRECTED).float()
        assert_close(layer.float()(x.float(), DIRECTED), expected, rtol=1e-4, atol=1e-5)


class TestDirichletEnergy:
    def test_the_example_worked_by_hand(self):
        assert_close(dirichlet_energy(f64([1], [0], [2]), PATH), f64(2.5).squeeze())
        assert_close(dirichlet_energy(f64([2], [3], [2]).sqrt(), PATH), f64(0.0).squeeze())

    def test_matches_the_laplacian(self):
        """E is the trace of xᵀ (I - Â) x."""
        edges, x = random_graph(8, 0.4, 5), normal(8, 3)
        matrix = dense(edges, 8) + torch.eye(8, dtype=F64)
        scale = torch.diag(matrix.sum(1) ** -0.5)
        laplacian = torch.eye(8, dtype=F64) - scale @ matrix @ scale
        assert_close(dirichlet_energy(x, edges), (x.T @ laplacian @ x).trace())

    def test_it_falls_with_every_layer(self):
        """GCN's layers without weights smooth a graph flat: what is left is √(d + 1)."""
        edges, x = random_graph(9, 0.5, 6), normal(9, 2)
        layer = GCNConv(2, 2).double()
        nn.init.eye_(layer.linear.weight)
        energies = []
        for _ in range(60):
            energies.append(dirichlet_energy(x, edges).item())
            x = layer(x, edges).detach()
        if any(b > a for a, b in itertools.pairwise(energies[:20])) or energies[-1] > 1e-9 * energies[0]:
            fail("the energy should fall with every layer, towards 0", evidence=[round(e, 6) for e in energies[:3]])

    def test_keeps_float32(self):
        edges, x = random_graph(8, 0.4, 5), normal(8, 3)
        assert_close(dirichlet_energy(x.float(), edges), dirichlet_energy(x, edges).float(), rtol=1e-5)

    def test_no_edges(self):
        assert_close(dirichlet_energy(normal(3, 2), NONE), f64(0.0).squeeze())

    def test_gradients(self):
        assert torch.autograd.gradcheck(lambda x: dirichlet_energy(x, PATH), normal(3, 2).requires_grad_())

    def test_on_the_gpu(self, gpu):
        gpu.check(dirichlet_energy, normal(3, 2).requires_grad_(), PATH)


class TestHoldOutEdges:
    @pytest.mark.parametrize("count", [0, 1, 4])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_both_directions_go(self, seed, count):
        edges = random_graph(7, 0.5, seed)
        kept, held = hold_out_edges(edges, count, seeded(seed))
        once = as_pairs(held)
        assert_equal(tuple(held.shape), (2, count))
        if any(i >= j for i, j in once):
            fail("a held-out edge should be given with the smaller node first", evidence=once)
        assert_equal(sorted(as_pairs(kept) + once + [(j, i) for i, j in once]), as_pairs(edges))

    def test_all_of_them(self):
        kept, held = hold_out_edges(PATH, 2, seeded(0))
        assert_equal((kept, as_pairs(held)), (NONE, [(0, 1), (1, 2)]))

    def test_each_set_is_equally_likely(self):
        """Five edges round a ring: ten pairs of them."""
        ring = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
        edges, generator, found = torch.cat([ring, ring.flip(0)], 1), seeded(1), Counter()
        for _ in range(2000):
            found[tuple(as_pairs(hold_out_edges(edges, 2, generator)[1]))] += 1
        if len(found) != 10 or max(abs(n - 200) for n in found.values()) > 70:
            fail("each two of five edges should be held out about 200 times of 2000", evidence=0)

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        hold_out_edges(PATH, 1, seeded(0))
        assert_equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("count", [5, 3])
    def test_refuses_more_than_there_are(self, count):
        with raises(ValueError, count, 2):
            hold_out_edges(PATH, count, seeded(0))

    def test_on_the_gpu(self, gpu):
        kept, held = hold_out_edges(gpu(PATH), 1, gpu.generator(0))
        assert_equal((kept.device, held.device), (gpu.device, gpu.device))
        assert_equal((tuple(kept.shape), tuple(held.shape)), ((2, 2), (2, 1)))


class TestNegativePairs:
    def test_the_example_worked_by_hand(self):
        assert_equal(negative_pairs(PATH, 3, 1, seeded(0)), torch.tensor([[0], [2]]))

    @pytest.mark.parametrize("seed", [0, 1])
    def test_no_edge_no_loop_none_twice(self, seed):
        edges = random_graph(7, 0.5, seed)
        free = [p for p in itertools.combinations(range(7), 2) if p not in as_pairs(edges)]
        for count in (0, 2, len(free)):
            found = as_pairs(negative_pairs(edges, 7, count, seeded(seed)))
            if len(found) != count or len(set(found)) < count or not set(found) <= set(free):
                fail(
                    f"{count} different pairs that aren't edges were asked for, the smaller node first; "
                    f"the graph has the edges {[p for p in as_pairs(edges) if p[0] < p[1]]}, and the answer is {found}",
                    evidence=(count, len(found), sorted(set(found) - set(free))),
                )

    def test_nodes_without_edges_count(self):
        assert_equal(as_pairs(negative_pairs(PATH, 4, 4, seeded(0))), [(0, 2), (0, 3), (1, 3), (2, 3)])

    def test_no_edges(self):
        assert_equal(as_pairs(negative_pairs(NONE, 3, 3, seeded(0))), [(0, 1), (0, 2), (1, 2)])

    def test_each_set_is_equally_likely(self):
        """Five pairs are free round a ring of five: ten sets of two."""
        ring = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
        edges, generator, found = torch.cat([ring, ring.flip(0)], 1), seeded(1), Counter()
        for _ in range(2000):
            found[tuple(as_pairs(negative_pairs(edges, 5, 2, generator)))] += 1
        if len(found) != 10 or max(abs(n - 200) for n in found.values()) > 70:
            fail("each two of five free pairs should be drawn about 200 times of 2000", evidence=0)

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        negative_pairs(PATH, 4, 2, seeded(0))
        assert_equal(torch.get_rng_state(), before)

    def test_refuses_more_than_there_are(self):
        with raises(ValueError, 7, 4):
            negative_pairs(PATH, 4, 7, seeded(0))

    def test_on_the_gpu(self, gpu):
        found = negative_pairs(gpu(PATH), 4, 4, gpu.generator(0))
        assert_equal((found.device, tuple(found.shape)), (gpu.device, (2, 4)))


class TestLinkLoss:
    def test_the_example_worked_by_hand(self):
        z = f64([1], [2], [0])
        expected = (math.log(1 + math.exp(-2)) + math.log(2)) / 2
        assert_close(link_loss(z, torch.tensor([[0], [1]]), torch.tensor([[0], [2]])), f64(expected).squeeze())

    @pytest.mark.parametrize(("positive", "negative"), [(2, 5), (3, 0), (0, 4)])
    def test_pair_by_pair(self, positive, negative):
        z = normal(6, 3)
        pairs = torch.tensor(list(itertools.combinations(range(6), 2))).T
        edges, others = pairs[:, :positive], pairs[:, 8 : 8 + negative]
        p = [1 / (1 + math.exp(-(z[i] @ z[j]).item())) for i, j in edges.T.tolist()]
        q = [1 - 1 / (1 + math.exp(-(z[i] @ z[j]).item())) for i, j in others.T.tolist()]
        expected = -sum(map(math.log, p + q)) / (positive + negative)
        assert_close(link_loss(z, edges, others), f64(expected).squeeze())

    def test_large_products(self):
        """The edge has the product -1000, the other 1000."""
        z, edge, other = f64([100], [-10], [10]), torch.tensor([[0], [1]]), torch.tensor([[0], [2]])
        assert_close(link_loss(z, edge, other), f64(1000.0).squeeze())

    def test_gradients(self):
        z = normal(4, 2).requires_grad_()
        assert torch.autograd.gradcheck(lambda z: link_loss(z, PATH[:, :2], torch.tensor([[0, 1], [2, 3]])), z)

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    def test_held_out_links_are_found(self):
        """Two groups, 25 nodes each, with more links within: embeddings rank held-out links above non-edges."""
        for seed in range(3):
            group = torch.arange(50) // 25
            pairs = torch.tensor(list(itertools.combinations(range(50), 2))).T
            chance = torch.where(group[pairs[0]] == group[pairs[1]], 0.5, 0.03)
            pairs = pairs[:, torch.rand(pairs.shape[1], generator=seeded(seed)) < chance]
            edges = torch.cat([pairs, pairs.flip(0)], 1)
            kept, held = hold_out_edges(edges, 40, seeded(seed))
            others = negative_pairs(edges, 50, 400, seeded(seed + 10))
            torch.manual_seed(seed)
            layers = nn.ModuleList([GCNConv(50, 16), GCNConv(16, 8)])
            optimizer = torch.optim.Adam(layers.parameters(), lr=0.02)
            for _ in range(80):
                z = layers[1](layers[0](torch.eye(50), kept).relu(), kept)
                loss = link_loss(z, kept[:, kept[0] < kept[1]], others[:, :200])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            right, wrong = ((z[p[0]] * z[p[1]]).sum(1) for p in (held, others[:, 200:]))
            area = (right[:, None] > wrong).double().mean().item()
            if area < 0.7:
                fail(f"a held-out link should score above a non-edge in most cases; here in {area:.2f}, at least 0.7 expected")

    def test_on_the_gpu(self, gpu):
        gpu.check(link_loss, normal(4, 2).requires_grad_(), PATH[:, :2], torch.tensor([[0, 1], [2, 3]]))
