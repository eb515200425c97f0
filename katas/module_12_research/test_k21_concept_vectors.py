"""Judges k21_concept_vectors by scikit-learn, by scipy's exact test, and by concepts that were planted."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_12_research.k21_concept_vectors import (
    SparseAutoencoder,
    concept_slopes,
    concept_vector,
    control_labels,
    dead_features,
    fit_probe,
    permutation_p,
    recovery,
    sae_loss,
    selectivity,
    tcav_scores,
    train_sae,
)

pytestmark = [from_scratch("sklearn", "scipy", "captum"), pure("train_sae", "normalize")]


def some_data(n: int = 60, d: int = 4, seed: int = 0, gap: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    x = normal(n, d, seed=seed) + 0.7
    y = (gap * x[:, 0] - x[:, 1] + normal(n, seed=seed + 1) > 0.3).long()
    return x, y


def cost_slope(x: torch.Tensor, y: torch.Tensor, l2: float, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The gradient of the lesson's cost in w and b."""
    w, b = w.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    s = 2 * y.double() - 1
    cost = -F.logsigmoid(s * (x @ w + b)).mean() + l2 / 2 * (w * w).sum()
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(cost, (w, b))])


class TestFitProbe:
    def test_the_example_worked_by_hand(self):
        w, b = fit_probe(f64([-1], [1]), torch.tensor([0, 1]), 1 / (1 + math.e))
        assert_close((w, b), (f64(1.0), torch.tensor(0.0, dtype=F64)), rtol=0, atol=2e-5)  # the stub's 1e-6, through a bend of 0.4

    @pytest.mark.parametrize("l2", [0.001, 0.05, 2.0])
    @pytest.mark.parametrize(("n", "d"), [(60, 4), (30, 7), (200, 1), (8, 12)])
    def test_the_minimum_of_the_cost(self, n, d, l2):
        x, y = some_data(n, max(d, 2), seed=n)
        x = x[:, :d]
        w, b = fit_probe(x, y, l2)
        assert_equal((tuple(w.shape), tuple(b.shape)), ((d,), ()))
        assert_close(cost_slope(x, y, l2, w, b), torch.zeros(d + 1, dtype=F64), rtol=0, atol=2e-6)

    @pytest.mark.parametrize("l2", [0.02, 0.5])
    def test_matches_scikit_learn(self, l2):
        from sklearn.linear_model import LogisticRegression

        x, y = some_data()
        known = LogisticRegression(C=1 / (len(x) * l2), tol=1e-10, max_iter=1000).fit(x.numpy(), y.numpy())
        w, b = fit_probe(x, y, l2)
        # two searches that stop at a gradient of 1e-6
        assert_close((w, b), (torch.tensor(known.coef_[0]), torch.tensor(known.intercept_[0])), rtol=1e-3, atol=2e-4)

    @pytest.mark.parametrize("scale", [20.0, 300.0])
    def test_of_large_numbers_that_can_be_told_apart(self, scale):
        """A search that steps too far doesn't come back."""
        x = scale * torch.cat([normal(20, 3) - 2, normal(20, 3, seed=1) + 2])
        y = torch.arange(40) >= 20
        w, b = fit_probe(x, y, 0.01)
        assert_close(cost_slope(x, y, 0.01, w, b), torch.zeros(4, dtype=F64), rtol=0, atol=2e-6)

    def test_the_bias_is_free(self):
        """Far from 0 a penalised bias would show."""
        x, y = some_data(80, 2, seed=3)
        w, b = fit_probe(x + 50, y, 0.3)
        near, away = fit_probe(x, y, 0.3)
        assert_close((w, b), (near, away - 50 * near.sum()), rtol=1e-3, atol=1e-3)  # the search's 1e-6, times 50²

    @pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64, torch.uint8])
    def test_labels_of_any_kind(self, dtype):
        x, y = some_data()
        assert_close(fit_probe(x, y.to(dtype), 0.1), fit_probe(x, y, 0.1), rtol=1e-4, atol=1e-5)  # the search's 1e-6

    def test_inside_no_grad_and_without_a_graph(self):
        x, y = some_data()
        w, b = fit_probe(x.requires_grad_(), y, 0.1)
        with torch.no_grad():
            again = fit_probe(x, y, 0.1)
        assert_close(again, (w, b), rtol=1e-4, atol=1e-5)  # the search's 1e-6
        assert_equal((w.requires_grad, b.requires_grad, x.grad), (False, False, None))

    @pytest.mark.parametrize("label", [0, 1])
    def test_refuses_one_class(self, label):
        with raises(ValueError, label):
            fit_probe(normal(5, 2), torch.full((5,), label), 0.1)

    def test_on_the_gpu(self, gpu):
        x, y = some_data(20, 2)
        gpu.check(lambda x, y: tuple(part.float() for part in fit_probe(x, y, 0.5)), x, y)


class TestConceptVector:
    @pytest.mark.parametrize("l2", [0.01, 1.0])
    @pytest.mark.parametrize(("n", "m"), [(20, 20), (15, 40)])
    def test_the_probes_direction(self, n, m, l2):
        from sklearn.linear_model import LogisticRegression

        concept, others = normal(n, 3) + f64(1.0, 0.0, -0.5), normal(m, 3, seed=1)
        x, y = torch.cat([concept, others]).numpy(), [1] * n + [0] * m
        w = torch.tensor(LogisticRegression(C=1 / ((n + m) * l2), tol=1e-10, max_iter=1000).fit(x, y).coef_[0])
        assert_close(concept_vector(concept, others, l2), w / w.norm(), rtol=1e-3, atol=2e-4)  # two searches to 1e-6

    def test_has_length_1_and_points_to_the_concept(self):
        concept, others = normal(12, 3) + 3 * f64(0.6, 0.8, 0.0), normal(12, 3, seed=1)
        v = concept_vector(concept, others, 0.1)
        assert_close(v.norm(), torch.tensor(1.0, dtype=F64))
        assert_equal(bool((concept.mean(0) - others.mean(0)) @ v > 1), True)
        assert_close(concept_vector(others, concept, 0.1), -v, rtol=1e-3, atol=1e-4)  # the search's 1e-6

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda a, b: concept_vector(a, b, 0.5).float(), normal(9, 2) + 1, normal(9, 2, seed=1))


def product(h: torch.Tensor) -> torch.Tensor:
    return torch.stack([-2 * h[:, 0], h[:, 0] * h[:, 1]], 1)


def a_head(h: torch.Tensor) -> torch.Tensor:
    return torch.stack([(h @ normal(3, seed=8)).tanh(), h.pow(2).sum(1), (h[:, 0] * h[:, 1]).sin() + h[:, 2]], 1)


class TestConceptSlopes:
    def test_the_example_worked_by_hand(self):
        assert_close(concept_slopes(product, f64([2, 3]), 1, f64(0.6, 0.8)), f64(3.4))
        assert_close(concept_slopes(product, f64([2, 3]), 0, f64(0.6, 0.8)), f64(-1.2))

    @pytest.mark.parametrize("target", [0, 1, 2])
    def test_finite_differences(self, target):
        h, v = normal(7, 3), normal(3, seed=5)
        expected = (a_head(h + 1e-5 * v) - a_head(h - 1e-5 * v))[:, target] / 2e-5
        assert_close(concept_slopes(a_head, h, target, v), expected, rtol=1e-6, atol=1e-7)  # differences

    def test_inside_no_grad_and_without_a_graph(self):
        h, v = normal(4, 3).requires_grad_(), normal(3, seed=5)
        found = concept_slopes(a_head, h, 2, v)
        with torch.no_grad():
            assert_close(concept_slopes(a_head, h.detach(), 2, v), found)
        assert_equal((found.requires_grad, h.grad), (False, None))

    def test_weights_keep_their_gradients(self):
        head = named_weights(torch.nn.Linear(3, 2))
        concept_slopes(head, normal(4, 3), 1, normal(3))
        assert_equal([p.grad for p in head.parameters()], [None, None])

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda h, v: concept_slopes(product, h, 1, v), normal(4, 2), normal(2, seed=1))


class TestTcavScores:
    def test_the_share_of_positive_slopes_for_each_set(self):
        h, concept = normal(11, 3), normal(20, 3, seed=1) + f64(1.0, 0.5, 0.0)
        others = [normal(20, 3, seed=2 + i) for i in range(4)]
        expected = []
        for other in others:
            slopes = concept_slopes(a_head, h, 2, concept_vector(concept, other, 0.3)).tolist()
            expected.append(sum(s > 0 for s in slopes) / 11)
        found = tcav_scores(a_head, h, 2, concept, others, 0.3)
        assert_close(found, torch.tensor(expected, dtype=F64))
        assert_equal((tuple(found.shape), found.requires_grad), ((4,), False))

    def test_a_slope_of_zero_doesnt_count(self):
        """The head is flat where its input is below 0."""
        head = lambda h: F.relu(h[:, :1])  # noqa: E731
        concept, others = normal(10, 2) + f64(4.0, 0.0), [normal(10, 2, seed=1)]
        assert_close(tcav_scores(head, f64([1, 0], [-1, 0], [-2, 3]), 0, concept, others, 0.1), f64(1 / 3))

    def test_float32_stays(self):
        found = tcav_scores(product, normal(5, 2).float(), 1, normal(9, 2).float() + 1, [normal(9, 2, seed=1).float()], 0.1)
        assert_equal(found.dtype, torch.float32)

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda h, a, b: tcav_scores(product, h, 1, a, [b], 0.5), normal(4, 2), normal(9, 2) + 1, normal(9, 2, seed=1))


class TestPermutationP:
    def test_the_example_worked_by_hand(self):
        assert_close(permutation_p(f64(0.9, 0.8), f64(0.4, 0.5)), 1 / 3)

    @pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (2, 5), (6, 3), (5, 5)])
    @pytest.mark.parametrize("shift", [0.0, 0.8, -1.5])
    def test_matches_scipys_exact_test(self, n, m, shift):
        from scipy.stats import permutation_test

        a, b = normal(n, seed=n) + shift, normal(m, seed=m + 20)
        pool, observed = torch.cat([a, b]), abs(float(a.mean() - b.mean()))
        known = sum(
            abs(float(pool[list(group)].mean() - pool[[i for i in range(n + m) if i not in group]].mean())) >= observed - 1e-9
            for group in itertools.combinations(range(n + m), n)
        ) / math.comb(n + m, n)
        assert_close(permutation_p(a, b), known)
        if n == m > 1:  # scipy's two-sided p is twice the smaller side, which is the same for equal sizes
            both = permutation_test((a.numpy(), b.numpy()), lambda x, y: x.mean() - y.mean(), n_resamples=math.inf)
            assert_close(permutation_p(a, b), min(1.0, both.pvalue))

    def test_equal_numbers(self):
        """0.1 + 0.2 and 0.3 are equal but for rounding."""
        assert_close(permutation_p(f64(0.1, 0.2, 0.3), f64(0.3, 0.1, 0.2)), 1.0)
        assert_close(permutation_p(f64(0.5, 0.5), f64(0.5, 0.5, 0.5)), 1.0)
        assert_close(permutation_p(f64(1.0, 1.0, 0.9), f64(0.9, 0.9, 0.9)), 0.4)

    def test_it_is_a_python_float(self):
        assert_equal(type(permutation_p(f64(0.9, 0.8), f64(0.4, 0.5))), float)
        assert_equal(isinstance(permutation_p(f64(0.9, 0.8).float(), f64(0.4, 0.5).float()), float), True)

    @pytest.mark.parametrize(("n", "m"), [(0, 3), (2, 0)])
    def test_refuses_an_empty_group(self, n, m):
        with raises(ValueError, n, m):
            permutation_p(normal(n), normal(m))

    def test_on_the_gpu(self, gpu):
        gpu.check(permutation_p, f64(0.9, 0.8), f64(0.4, 0.5))

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("seed", range(3))
    def test_a_planted_concept_is_significant(self, seed):
        """The score of class 0 grows with the first direction.  Eight sets of others against eight random concepts."""
        draw = lambda n, s: normal(n, 12, seed=1000 * seed + s)  # noqa: E731
        direction = F.normalize(draw(1, 1)[0], dim=0)
        head = lambda h: torch.stack([(h @ direction).tanh() + 0.5 * h[:, 0] * h[:, 1], h.sum(1)], 1)  # noqa: E731
        h, sets = draw(40, 2), [draw(30, 10 + i) for i in range(16)]
        concept = draw(30, 3) + 3 * direction
        scores = tcav_scores(head, h, 0, concept, sets[:8], 0.1)
        null = torch.cat([tcav_scores(head, h, 0, one, [other], 0.1) for one, other in zip(sets[:8], sets[8:], strict=True)])
        p = permutation_p(scores, null)
        if p > 0.05 or scores.mean() < 0.8:
            fail(f"The planted concept has TCAV scores of {scores.mean():.2f} on average, and p = {p:.3f}.", evidence=round(p, 2))


class TestControlLabels:
    @pytest.mark.parametrize("types", [1, 2, 5, 12, 101])
    def test_half_of_the_types(self, types):
        labels = control_labels(types, seeded(types))
        expected = (torch.int64, (types,), types // 2, types - types // 2)
        assert_equal((labels.dtype, tuple(labels.shape), int((labels == 1).sum()), int((labels == 0).sum())), expected)

    def test_all_choices_are_equally_likely(self):
        """Ten ways to choose two of five, 3000 draws: each 300 times, six deviations are 99."""
        generator, counts = seeded(1), {}
        for _ in range(3000):
            key = tuple(control_labels(5, generator).tolist())
            counts[key] = counts.get(key, 0) + 1
        assert_equal(len(counts), 10)
        assert_equal(all(201 <= n <= 399 for n in counts.values()), True)

    def test_the_generator_decides(self):
        torch.manual_seed(1)
        first = control_labels(40, seeded(2))
        torch.manual_seed(2)
        assert_equal(control_labels(40, seeded(2)), first)


def words(n: int, seed: int, vectors: torch.Tensor, labels: torch.Tensor, noise: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """n samples of the words that have these vectors and labels."""
    types = torch.randint(len(vectors), (n,), generator=seeded(seed))
    return vectors[types] + noise * normal(n, vectors.shape[1], seed=seed + 1), types, labels[types]


class TestSelectivity:
    @pytest.mark.parametrize("seed", range(3))
    def test_counted_one_by_one(self, seed):
        vectors = normal(10, 4, seed=seed)
        labels = (vectors[:, 0] > 0).long()
        labels[0], labels[1] = 0, 1
        train, test = words(60, seed, vectors, labels, 0.5), words(40, seed + 9, vectors, labels, 0.5)
        control = control_labels(10, seeded(5))
        expected = []
        for y, held in ((train[2], test[2]), (control[train[1]], control[test[1]])):
            w, b = fit_probe(train[0], y, 0.2)
            said = [float(row @ w + b) > 0 for row in test[0]]
            expected.append(sum(one == bool(right) for one, right in zip(said, held, strict=True)) / 40)
        found = selectivity(train, test, 0.2, seeded(5))
        assert_close(tuple(found), tuple(expected))
        assert_equal([type(part) for part in found], [float, float])

    def test_types_that_only_the_test_set_has(self):
        vectors, labels = normal(10, 4), torch.arange(10) % 2
        train, test = words(60, 0, vectors[:6], labels[:6], 0.5), words(40, 9, vectors, labels, 0.5)
        task, control = selectivity(train, test, 0.2, seeded(5))
        assert_equal((0 <= task <= 1, 0 <= control <= 1), (True, True))
        w, b = fit_probe(train[0], control_labels(10, seeded(5))[train[1]], 0.2)
        said = (test[0] @ w + b > 0).long()
        assert_close(control, float((said == control_labels(10, seeded(5))[test[1]]).double().mean()))

    @pytest.mark.parametrize("seed", range(3))
    def test_a_probe_that_memorises_is_caught(self, seed):
        """The layer knows the first label in both cases.  With a dimension for each word, a probe knows any label."""
        words_, flat = 24, normal(24, 3, seed=seed)
        labels = (flat[:, 0] > flat[:, 0].median()).long()
        few, many = flat, torch.cat([flat, 4 * torch.eye(words_, dtype=F64)], 1)
        found = [
            selectivity(words(240, seed, vectors, labels, 0.1), words(200, seed + 9, vectors, labels, 0.1), 1e-3, seeded(seed)) for vectors in (few, many)
        ]
        (task, control), (easy, memorised) = found
        if task < 0.85 or control > task - 0.1 or easy < 0.95 or memorised < 0.95:
            fail(f"Task and control: {task:.2f} and {control:.2f} in 3 dimensions, {easy:.2f} and {memorised:.2f} in 27.", evidence=found)

    def test_on_the_gpu(self, gpu):
        vectors, labels = normal(6, 2), torch.arange(6) % 2
        train, test = words(30, 0, vectors, labels, 0.5), words(20, 9, vectors, labels, 0.5)
        gpu.check(lambda a, b: selectivity(a, b, 0.5, seeded(1)), train, test)


def by_hand() -> SparseAutoencoder:
    sae = SparseAutoencoder(2, 2, seeded(0)).double()
    with torch.no_grad():
        for name, value in (("encoder", torch.eye(2)), ("decoder", torch.eye(2)), ("encoder_bias", f64(-1, 0)), ("center", f64(0, 0))):
            getattr(sae, name).copy_(value)
    return sae


class TestSparseAutoencoder:
    def test_the_example_worked_by_hand(self):
        rebuilt, features = by_hand()(f64([3, -2]))
        assert_close((rebuilt.detach(), features.detach()), (f64([2, 0]), f64([2, 0])))

    def test_at_the_start(self):
        sae = SparseAutoencoder(5, 9, seeded(1))
        shapes = {name: tuple(p.shape) for name, p in sae.named_parameters()}
        assert_equal(shapes, {"encoder": (9, 5), "encoder_bias": (9,), "decoder": (9, 5), "center": (5,)})
        assert_close(sae.decoder.detach().norm(dim=1), torch.ones(9))
        assert_equal(sae.encoder.detach(), sae.decoder.detach())
        assert_equal((sae.encoder_bias.abs().sum().item(), sae.center.abs().sum().item()), (0.0, 0.0))
        with torch.no_grad():
            sae.encoder.add_(1)
        assert_close(sae.decoder.detach().norm(dim=1), torch.ones(9))  # two parameters, not one

    def test_directions_are_random(self):
        """2000 directions in three dimensions: no side is preferred; five deviations of a mean are 0.065."""
        rows = SparseAutoencoder(3, 2000, seeded(2)).decoder.detach()
        assert_close(rows.mean(0), torch.zeros(3), rtol=0, atol=0.065)
        assert_close((rows.T @ rows) / 2000, torch.eye(3) / 3, rtol=0, atol=0.04)
        assert_equal(bool((SparseAutoencoder(3, 4, seeded(3)).decoder != SparseAutoencoder(3, 4, seeded(4)).decoder).any()), True)
        torch.manual_seed(1)
        first = SparseAutoencoder(3, 4, seeded(3)).decoder.detach()
        torch.manual_seed(2)
        assert_equal(SparseAutoencoder(3, 4, seeded(3)).decoder.detach(), first)

    def test_feature_by_feature(self):
        sae, x = named_weights(SparseAutoencoder(3, 5, seeded(0)), 0.7), normal(4, 3)
        encoder, bias, decoder, center = (getattr(sae, name).detach() for name in ("encoder", "encoder_bias", "decoder", "center"))
        features = torch.zeros(4, 5, dtype=F64)
        rebuilt = torch.zeros(4, 3, dtype=F64)
        for i in range(4):
            for j in range(5):
                features[i, j] = max(0.0, float((x[i] - center) @ encoder[j] + bias[j]))
            rebuilt[i] = center + sum(features[i, j] * decoder[j] for j in range(5))
        assert_close(sae.encode(x).detach(), features)
        found = sae(x)
        assert_close((found[0].detach(), found[1].detach()), (rebuilt, features))

    def test_all_of_it_is_trained(self):
        sae, x = named_weights(SparseAutoencoder(3, 5, seeded(0)), 0.7), normal(4, 3)
        rebuilt, features = sae(x)
        ((rebuilt * normal(4, 3, seed=1)).sum() + (features * normal(4, 5, seed=2)).sum()).backward()
        assert_equal([name for name, p in sae.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0], [])

    def test_normalize(self):
        sae = named_weights(SparseAutoencoder(3, 5, seeded(0)), 2.0)
        before = {name: p.detach().clone() for name, p in sae.named_parameters()}
        same = sae.decoder
        sae.normalize()
        assert_equal((sae.decoder is same, sae.decoder.requires_grad, sae.decoder.is_leaf), (True, True, True))
        lengths = torch.tensor([[math.sqrt(sum(v * v for v in row))] for row in before["decoder"].tolist()], dtype=F64)
        assert_close(sae.decoder.detach(), before["decoder"] / lengths)
        for name in ("encoder", "encoder_bias", "center"):
            assert_equal((name, getattr(sae, name).detach()), (name, before[name]))

    def test_on_the_gpu(self, gpu):
        gpu.check(named_weights(SparseAutoencoder(3, 5, seeded(0))), normal(4, 3))
        gpu.check(named_weights(SparseAutoencoder(3, 5, seeded(0))).encode, normal(4, 3))


class TestSaeLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(sae_loss(f64([3, -2]), f64([2, 0]), f64([2, 0]), 0.5), torch.tensor(6.0, dtype=F64))

    @pytest.mark.parametrize("l1", [0.0, 0.3, 2.0])
    def test_number_by_number(self, l1):
        x, rebuilt, features = normal(4, 3), normal(4, 3, seed=1), normal(4, 5, seed=2).relu()
        total = sum((a - b) ** 2 for a, b in zip(x.flatten().tolist(), rebuilt.flatten().tolist(), strict=True))
        assert_close(sae_loss(x, rebuilt, features, l1), torch.tensor((total + l1 * sum(features.flatten().tolist())) / 4, dtype=F64))

    def test_gradients(self):
        x, rebuilt, features = normal(4, 3), normal(4, 3, seed=1).requires_grad_(), (normal(4, 5, seed=2).abs() + 0.1).requires_grad_()
        sae_loss(x, rebuilt, features, 0.3).backward()
        assert_close((rebuilt.grad, features.grad), (2 * (rebuilt - x).detach() / 4, torch.full((4, 5), 0.3 / 4, dtype=F64)))

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda x, r, f: sae_loss(x, r, f, 0.3), normal(4, 3), normal(4, 3, seed=1).requires_grad_(), normal(4, 5).relu())


def planted(seed: int, width: int = 16, truth: int = 24, n: int = 3000) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples that are sums of few of 24 directions in 16 dimensions, and the directions."""
    generator = seeded(seed)
    directions = F.normalize(torch.randn(truth, width, generator=generator), dim=1)
    on = (torch.rand(n, truth, generator=generator) < 0.08) * (0.5 + torch.rand(n, truth, generator=generator))
    return on @ directions + 0.3, directions


class TestTrainSae:
    def test_one_step(self):
        """Of one sample over and over, a batch is known, and Adam's first step is the rate, by the gradient's sign."""
        x = normal(1, 3).expand(10, 3)
        sae, same = (named_weights(SparseAutoencoder(3, 5, seeded(0)), 0.7) for _ in range(2))
        loss = sae_loss(x[:4], *same(x[:4]), 0.2)
        loss.backward()
        expected = {name: p.detach() - 0.01 * torch.where(p.grad.abs() > 1e-12, p.grad.sign(), 0.0) for name, p in same.named_parameters()}
        expected["decoder"] = expected["decoder"] / expected["decoder"].norm(dim=1, keepdim=True)
        losses = train_sae(sae, x, 0.2, 1, 4, 0.01, seeded(1))
        assert_close(losses, [loss.item()])
        assert_equal(type(losses[0]), float)
        # Adam adds 1e-8 to the root of the square
        assert_close({name: p.detach() for name, p in sae.named_parameters()}, expected, rtol=0, atol=1e-6)

    def test_rows_have_length_1_and_losses_are_listed(self):
        x, _ = planted(5, n=200)
        sae = SparseAutoencoder(16, 20, seeded(6))
        losses = train_sae(sae, x, 0.2, 30, 64, 0.01, seeded(7))
        assert_equal((len(losses), all(isinstance(loss, float) for loss in losses)), (30, True))
        assert_close(sae.decoder.detach().norm(dim=1), torch.ones(20))
        assert_equal(sum(losses[-5:]) < 0.8 * sum(losses[:5]), True)

    def test_samples_are_drawn_with_the_generator(self):
        x, _ = planted(5, n=200)
        found = []
        for outer, seed in [(1, 3), (2, 3), (1, 4)]:
            torch.manual_seed(outer)
            found.append(train_sae(SparseAutoencoder(16, 20, seeded(6)), x, 0.2, 3, 10, 0.01, seeded(seed)))
        assert_equal((found[0] == found[1], found[0] == found[2]), (True, False))

    def test_all_samples_are_drawn(self):
        """The loss of a batch of one sample tells which sample it was: 400 draws of 20."""
        x = torch.arange(1, 21, dtype=F64)[:, None]
        sae = named_weights(SparseAutoencoder(1, 1, seeded(0)))
        losses = train_sae(sae, x, 0.0, 400, 1, 0.0, seeded(1))
        assert_equal(len({round(loss, 6) for loss in losses}), 20)

    def test_on_the_gpu(self, gpu):
        sae, x = gpu(SparseAutoencoder(3, 5, seeded(0))), gpu(normal(20, 3).float())
        train_sae(sae, x, 0.2, 2, 4, 0.01, seeded(1))
        assert_equal({p.device.type for p in sae.parameters()}, {gpu.device.type})


class TestDeadFeatures:
    def test_the_example_worked_by_hand(self):
        assert_equal(dead_features(f64([0, 2], [0, 0])), torch.tensor([True, False]))

    def test_never_on(self):
        features = normal(6, 7, seed=3).relu()
        features[:, [2, 5]] = 0
        features[4, 5] = 1e-30
        features[:, 0] = 1.0
        expected = torch.tensor([all(v == 0 for v in column) for column in features.T.tolist()])
        assert_equal(dead_features(features), expected)

    def test_on_the_gpu(self, gpu):
        gpu.check(dead_features, normal(3, 4).relu())


class TestRecovery:
    def test_the_example_worked_by_hand(self):
        assert_close(recovery(f64([2, 0], [-1, -1]), f64([1, 1])), f64(1 / math.sqrt(2)))

    @pytest.mark.parametrize(("k", "t"), [(6, 3), (2, 5), (1, 1)])
    def test_cosine_by_cosine(self, k, t):
        rows, truth = 3 * normal(k, 4), normal(t, 4, seed=1)
        expected = [max(float(a @ b / a.norm() / b.norm()) for b in rows) for a in truth]
        assert_close(recovery(rows, truth), torch.tensor(expected, dtype=F64))

    def test_the_other_way_doesnt_count(self):
        assert_close(recovery(f64([-1, 0]), f64([3, 0])), f64(-1.0))

    def test_on_the_gpu(self, gpu):
        gpu.check(recovery, normal(3, 4), normal(2, 4, seed=1))

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("seed", range(3))
    def test_planted_directions_are_found(self, seed):
        """Ten seeds: 0.92 to 0.98 on average, principal axes 0.59 to 0.63, directions at the start 0.50 to 0.58."""
        x, truth = planted(seed)
        sae = SparseAutoencoder(16, 48, seeded(seed + 1000))
        train_sae(sae, x, 0.2, 500, 256, 0.01, seeded(seed))
        axes = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2]
        found, baseline = (float(recovery(rows, truth).mean()) for rows in (sae.decoder.detach(), torch.cat([axes, -axes])))
        if found < baseline + 0.15:
            fail(f"The mean recovery is {found:.2f}; the principal axes have {baseline:.2f}.", evidence=round(found, 1))

    @pytest.mark.learning
    def test_a_penalty_that_is_too_large_kills_features(self):
        """Six seeds: none dead with 0.05, 5 to 12 with 6."""
        x, _ = planted(3, n=500)
        dead = []
        for l1 in (0.05, 6.0):
            sae = SparseAutoencoder(16, 24, seeded(4))
            train_sae(sae, x, l1, 120, 128, 0.02, seeded(5))
            dead.append(int(dead_features(sae.encode(x)).sum()))
        if dead[0] > 1 or dead[1] < 3:
            fail(f"Of 24 features {dead[0]} are dead with l1 = 0.05, and {dead[1]} with 6.", evidence=dead)
