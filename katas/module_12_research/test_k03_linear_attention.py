"""Judges k03_linear_attention: every form by sums over pairs of tokens, and the forms by each other."""

import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from fixtures.largest_tensor import Largest
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, gradcheck, leaves, normal
from katas.module_12_research.k03_linear_attention import (
    chunked_attention,
    chunked_delta_rule,
    delta_rule,
    elu_features,
    linear_attention,
    positive_random_features,
    quadratic_attention,
    recurrent_attention,
)

pytestmark = [
    from_scratch(
        "torch.nn.functional.elu", "torch.nn.ELU", "transformers", "fla",
        "torch.nn.functional.scaled_dot_product_attention",
    ),
    pure(),
]  # fmt: skip


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return normal(*shape, seed=seed).abs() + 0.1


def some(lead: tuple[int, ...] = (), n: int = 7, m: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q, k and v with 3 features and values of 4 numbers."""
    return features(*lead, n, 3), features(*lead, m, 3, seed=1), normal(*lead, m, 4, seed=2)


def by_pairs(q, k, v, causal: bool) -> torch.Tensor:
    rows = []
    for i in range(len(q)):
        seen = range(i + 1) if causal else range(len(k))
        weights = [sum(x * y for x, y in zip(q[i].tolist(), k[j].tolist(), strict=True)) for j in seen]
        rows.append(sum(w * v[j] for w, j in zip(weights, seen, strict=True)) / sum(weights))
    return torch.stack(rows)


def each(function, *args) -> torch.Tensor:
    """`function` for each place of the leading axes."""
    lead = args[0].shape[:-2]
    flat = [x.reshape(-1, *x.shape[len(lead) :]) for x in args]
    found = torch.stack([function(*parts) for parts in zip(*flat, strict=True)])
    return found.reshape(*lead, *found.shape[1:])


HAND = f64([1, 1], [2, 1]), f64([1, 0], [1, 1]), f64([2], [5])
LEADS = [(), (2,), (2, 3)]


class TestEluFeatures:
    def test_the_example_worked_by_hand(self):
        assert_close(elu_features(f64(-1, 0, 2)), f64(math.exp(-1), 1, 3))

    def test_number_by_number(self):
        x = normal(2, 3, 5)
        expected = [y + 1 if y > 0 else math.exp(y) for y in x.flatten().tolist()]
        assert_close(elu_features(x), f64(*expected).reshape(x.shape))

    @pytest.mark.parametrize("size", [1000.0, -1000.0])
    def test_the_gradient_is_finite(self, size):
        x = f64(size, 0.5).requires_grad_()
        elu_features(x).sum().backward()
        assert_close(x.grad, f64(1 if size > 0 else 0, 1))

    def test_gradients_and_gpu(self, gpu):
        x = normal(3, 4).requires_grad_()
        assert gradcheck(elu_features, x)
        assert_equal(elu_features(x.float()).dtype, torch.float32)
        gpu.check(elu_features, x)


class TestPositiveRandomFeatures:
    def test_the_example_worked_by_hand(self):
        found = positive_random_features(f64([1, 2]), f64([1, 0], [0, 1]))
        assert_close(found, f64([math.exp(-1.5), math.exp(-0.5)]) / math.sqrt(2))

    @pytest.mark.parametrize("lead", LEADS)
    def test_number_by_number(self, lead):
        x, w = normal(*lead, 5, 3), normal(4, 3, seed=1)

        def one(x):
            rows = [[math.exp((r @ y).item() - (y @ y).item() / 2) / 2 for r in w] for y in x]
            return f64(*rows)

        assert_close(positive_random_features(x, w), each(one, x))

    def test_their_product_is_exp_on_average(self):
        q, k, w = normal(4, 3) / 2, normal(5, 3, seed=1) / 2, normal(40_000, 3, seed=2)
        found = positive_random_features(q, w) @ positive_random_features(k, w).T
        # Of 40,000 rows the mean is off by 1 % or so.
        assert_close(found, (q @ k.T).exp(), rtol=0.06, atol=0.02)

    def test_gradients_and_gpu(self, gpu):
        x = leaves(normal(2, 4, 3), normal(5, 3, seed=1))
        assert gradcheck(positive_random_features, x)
        gpu.check(positive_random_features, *x)


class TestQuadraticAttention:
    def test_the_example_worked_by_hand(self):
        assert_close(quadratic_attention(*HAND, causal=True), f64([2], [3.8]))
        assert_close(quadratic_attention(*HAND)[:1], f64([4]))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("n", "m", "causal"), [(5, 5, True), (1, 1, True), (5, 5, False), (4, 6, False)])
    def test_pair_by_pair(self, n, m, causal, lead):
        q, k, v = some(lead, n, m)
        expected = each(lambda q, k, v: by_pairs(q, k, v, causal), q, k, v)
        assert_close(quadratic_attention(q, k, v, causal), expected)

    @pytest.mark.parametrize(("n", "m"), [(4, 6), (5, 3)])
    def test_causal_refuses_other_lengths(self, n, m):
        with raises(ValueError, n, m):
            quadratic_attention(*some((), n, m), causal=True)

    def test_gradients_and_gpu(self, gpu):
        x = leaves(*some((2,), 3, 3))
        for causal in (True, False):
            assert gradcheck(lambda *x, causal=causal: quadratic_attention(*x, causal), x)
            gpu.check(quadratic_attention, *x, causal)


class TestLinearAttention:
    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 6), (1, 1)])
    def test_pair_by_pair(self, n, m, lead):
        q, k, v = some(lead, n, m)
        assert_close(linear_attention(q, k, v), each(lambda q, k, v: by_pairs(q, k, v, False), q, k, v))

    def test_the_example_worked_by_hand(self):
        assert_close(linear_attention(*HAND), f64([4], [3.8]))

    def test_with_them_it_comes_near_to_softmax_attention(self):
        q, k, v, w = normal(4, 3), normal(6, 3, seed=1), normal(6, 2, seed=2), normal(40_000, 3, seed=3)
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        found = linear_attention(*(positive_random_features(x / 3**0.25, w) for x in (q, k)), v)
        assert_close(found, expected, atol=0.1, rtol=0)

    def test_makes_no_scores(self):
        args = some((), 200, 150)
        with Largest() as seen:
            linear_attention(*args)
        if seen.entries >= 200 * 150:
            fail(f"A tensor of {seen.entries} entries is made for 200 queries and 150 keys.")

    def test_gradients_and_gpu(self, gpu):
        x = leaves(*some((2,), 3, 4))
        assert gradcheck(linear_attention, x)
        gpu.check(linear_attention, *x)


def a_state(*lead: int) -> tuple[torch.Tensor, torch.Tensor]:
    return normal(*lead, 3, 4, seed=5), features(*lead, 3, seed=6)


def from_state(q, k, v, memory, total):
    """Causal attention, pair by pair, after what the state holds."""
    rows = []
    for i in range(len(q)):
        weights = [q[i] @ k[j] for j in range(i + 1)]
        above = sum(w * v[j] for j, w in enumerate(weights)) + q[i] @ memory
        rows.append(above / (sum(weights) + q[i] @ total))
    return torch.stack(rows)


def last_state(k, v, memory=0, total=0):
    return memory + torch.einsum("...nd,...ne->...de", k, v), total + k.sum(-2)


class TestRecurrentAttention:
    def test_the_example_worked_by_hand(self):
        out, (memory, total) = recurrent_attention(*HAND)
        assert_close((out, memory, total), (f64([2], [3.8]), f64([7], [5]), f64(2, 1)))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("n", [1, 6])
    def test_pair_by_pair(self, n, lead):
        q, k, v = some(lead, n, n)
        out, state = recurrent_attention(q, k, v)
        assert_close(out, each(lambda q, k, v: by_pairs(q, k, v, True), q, k, v))
        assert_close(tuple(state), last_state(k, v))

    @pytest.mark.parametrize("lead", [(), (2, 3)])
    def test_goes_on_from_a_state(self, lead):
        (q, k, v), (memory, total) = some(lead), a_state(*lead)
        out, state = recurrent_attention(q, k, v, (memory, total))
        flat = [x.reshape(-1, *x.shape[len(lead) :]) for x in (q, k, v, memory, total)]
        expected = torch.stack([from_state(*parts) for parts in zip(*flat, strict=True)]).reshape(v.shape)
        assert_close((out, *state), (expected, *last_state(k, v, memory, total)))

    def test_the_gradient_goes_on_through_the_state(self):
        q, k, v = some()
        whole, part = leaves(q, k, v), leaves(q, k, v)
        recurrent_attention(*whole)[0][4:].sum().backward()
        _, state = recurrent_attention(*(x[:4] for x in part))
        recurrent_attention(*(x[4:] for x in part), state)[0].sum().backward()
        assert_close([x.grad for x in part], [x.grad for x in whole])

    def test_gradients_and_gpu(self, gpu):
        x = leaves(*some((2,), 3, 3), *a_state(2))

        def call(q, k, v, memory, total):
            out, state = recurrent_attention(q, k, v, (memory, total))
            return out, *state

        assert gradcheck(call, x)
        gpu.check(call, *x)
        gpu.check(recurrent_attention, *x[:3])


class TestChunkedAttention:
    def test_the_gradient_goes_on_through_the_state(self):
        q, k, v = some()
        whole, part = leaves(q, k, v), leaves(q, k, v)
        chunked_attention(*whole, 3)[0][4:].sum().backward()
        _, state = chunked_attention(*(x[:4] for x in part), 3)
        chunked_attention(*(x[4:] for x in part), 3, state)[0].sum().backward()
        assert_close([x.grad for x in part], [x.grad for x in whole])

    def test_the_example_worked_by_hand(self):
        for size in (1, 2, 3):
            assert_close(chunked_attention(*HAND, size)[0], f64([2], [3.8]))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 10])
    def test_pair_by_pair(self, size, lead):
        q, k, v = some(lead)
        out, state = chunked_attention(q, k, v, size)
        assert_close(out, each(lambda q, k, v: by_pairs(q, k, v, True), q, k, v))
        assert_close(tuple(state), last_state(k, v))

    @pytest.mark.parametrize("size", [2, 7, 9])
    def test_goes_on_from_a_state(self, size):
        (q, k, v), (memory, total) = some(), a_state()
        out, state = chunked_attention(q, k, v, size, (memory, total))
        expected = from_state(q, k, v, memory, total)
        assert_close((out, *state), (expected, *last_state(k, v, memory, total)))

    def test_makes_no_scores_of_the_whole_text(self):
        args = some((), 256, 256)
        with Largest() as seen:
            chunked_attention(*args, 8)
        if seen.entries >= 256**2:
            fail(f"A tensor of {seen.entries} entries is made for 256 tokens in chunks of 8.", evidence=seen.entries)

    def test_walks_over_the_chunks(self):
        few = python_steps(chunked_attention, *some((), 64, 64), 64)
        many = python_steps(chunked_attention, *some((), 512, 512), 512)
        if many > 2 * few + 20:
            fail("One chunk of 512 tokens runs many more lines than one of 64: there is a loop over the tokens.")

    @pytest.mark.parametrize("size", [0, -2])
    def test_refuses_chunks_of_nothing(self, size):
        with raises(ValueError, size):
            chunked_attention(*some(), size)

    def test_gradients_and_gpu(self, gpu):
        x = leaves(*some((2,), 3, 3), *a_state(2))

        def call(q, k, v, memory, total):
            out, state = chunked_attention(q, k, v, 2, (memory, total))
            return out, *state

        assert gradcheck(call, x)
        gpu.check(call, *x)
        gpu.check(chunked_attention, *x[:3], 2)


KEYS = f64([1, 0], [0.6, 0.8], [1, 0])
DELTA = f64([1, 0], [1, 0], [1, 0]), KEYS, f64([2], [5], [7]), f64(1, 0.5, 1)


def some_delta(lead: tuple[int, ...] = (), n: int = 7):
    """q, k and v of any sign, keys of length 1 but for one, and β."""
    k = torch.nn.functional.normalize(normal(*lead, n, 3, seed=1), dim=-1)
    return normal(*lead, n, 3), 1.2 * k, normal(*lead, n, 4, seed=2), normal(*lead, n, seed=3).sigmoid()


def delta_by_loops(q, k, v, beta, memory=None):
    s = [[0.0] * v.shape[-1] for _ in range(k.shape[-1])] if memory is None else memory.tolist()
    rows = []
    for query, key, value, rate in zip(q.tolist(), k.tolist(), v.tolist(), beta.tolist(), strict=True):
        for c in range(len(value)):
            wrong = value[c] - sum(key[f] * s[f][c] for f in range(len(key)))
            for f in range(len(key)):
                s[f][c] += rate * key[f] * wrong
        rows.append([sum(query[f] * s[f][c] for f in range(len(key))) for c in range(len(value))])
    return torch.cat([f64(*rows), f64(*s)])


def for_each(lead, *args):
    """delta_by_loops for each place of the leading axes: outputs and memory."""
    flat = [x.reshape(-1, *x.shape[len(lead) :]) for x in args]
    found = torch.stack([delta_by_loops(*parts) for parts in zip(*flat, strict=True)])
    found = found.reshape(*lead, *found.shape[1:])
    return found[..., :-3, :], found[..., -3:, :]


@pytest.mark.parametrize("function", [delta_rule, lambda *given: chunked_delta_rule(*given[:4], 3, *given[4:])])
def test_the_gradient_goes_on_through_the_memory_of_the_delta_rule(function):
    q, k, v = some()
    beta = features(7, seed=4)
    whole, part = leaves(q, k, v, beta), leaves(q, k, v, beta)
    function(*whole)[0][4:].sum().backward()
    _, memory = function(*(x[:4] for x in part))
    function(*(x[4:] for x in part), memory)[0].sum().backward()
    assert_close([x.grad for x in part], [x.grad for x in whole])


class TestDeltaRule:
    def test_the_example_worked_by_hand(self):
        out, memory = delta_rule(*DELTA)
        assert_close((out, memory), (f64([2], [3.14], [7]), f64([7], [1.52])))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("n", [1, 6])
    def test_number_by_number(self, n, lead):
        args, memory = some_delta(lead, n), normal(*lead, 3, 4, seed=7)
        assert_close(delta_rule(*args), for_each(lead, *args))
        assert_close(delta_rule(*args, memory), for_each(lead, *args, memory))

    def test_a_new_value_replaces_the_old_one(self):
        _, key, _, _ = some_delta((), 1)
        key, v = (key / key.norm()).expand(4, 3), normal(4, 5, seed=2)
        out, memory = delta_rule(key, key, v, torch.ones(4, dtype=F64), normal(3, 5, seed=7))
        assert_close(out, v)
        assert_close(key[0] @ memory, v[3])

    def test_without_beta_nothing_is_written(self):
        q, k, v, beta = some_delta()
        memory = normal(3, 4, seed=7)
        assert_close(delta_rule(q, k, v, 0 * beta, memory), (q @ memory, memory))

    def test_gradients_and_gpu(self, gpu):
        x = leaves(*some_delta((2,), 3), normal(2, 3, 4, seed=7))
        assert gradcheck(delta_rule, x)
        gpu.check(delta_rule, *x)
        gpu.check(delta_rule, *x[:4])


class TestChunkedDeltaRule:
    def test_the_example_worked_by_hand(self):
        for size in (1, 2, 3):
            assert_close(chunked_delta_rule(*DELTA, size), (f64([2], [3.14], [7]), f64([7], [1.52])))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 10])
    def test_number_by_number(self, size, lead):
        args, memory = some_delta(lead), normal(*lead, 3, 4, seed=7)
        assert_close(chunked_delta_rule(*args, size), for_each(lead, *args))
        assert_close(chunked_delta_rule(*args, size, memory), for_each(lead, *args, memory))

    def test_walks_over_the_chunks(self):
        few = python_steps(chunked_delta_rule, *some_delta((), 64), 64)
        many = python_steps(chunked_delta_rule, *some_delta((), 256), 256)
        if many > 2 * few + 20:
            fail("One chunk of 256 tokens runs many more lines than one of 64: there is a loop over the tokens.")

    @pytest.mark.parametrize("size", [0, -2])
    def test_refuses_chunks_of_nothing(self, size):
        with raises(ValueError, size):
            chunked_delta_rule(*some_delta(), size)

    def test_gradients_and_gpu(self, gpu):
        x = leaves(*some_delta((2,), 3), normal(2, 3, 4, seed=7))

        def call(q, k, v, beta, memory):
            return chunked_delta_rule(q, k, v, beta, 2, memory)

        assert gradcheck(call, x)
        gpu.check(call, *x)
        gpu.check(chunked_delta_rule, *x[:4], 2)
