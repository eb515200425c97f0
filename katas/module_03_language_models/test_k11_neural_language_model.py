"""Judges k11_neural_language_model against torch's autograd and Adagrad, and n-grams counted on names and on Hamlet."""

import itertools
import math
import re
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_03_language_models.k11_neural_language_model import (
    adagrad_step,
    build_vocabulary,
    encode,
    evaluate,
    initial_parameters,
    logits,
    loss_and_gradients,
    sample,
    train,
    windows,
)

pytestmark = [from_scratch("torch", "tensorflow", "jax", "autograd", "sklearn", "scipy"), pure()]

SIZES = [(9, 7, 3, 2, 5), (4, 3, 1, 4, 2), (6, 11, 2, 3, 3)]


def a_model(rng, v, c, d, h, scale=1.0):
    """Parameters of any scale, in another order than the lesson's; biases aren't 0."""
    shapes = {
        "output_bias": (v,),
        "hidden_weight": (c * d, h),
        "embedding": (v, d),
        "hidden_bias": (h,),
        "output_weight": (h, v),
    }
    return {name: rng.normal(size=shape) * scale for name, shape in shapes.items()}


def in_torch(parameters, x):
    """The tensors, and the logits that torch computes from them."""
    import torch

    p = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
    flat = p["embedding"][torch.tensor(x)].flatten(1)
    return p, torch.tanh(flat @ p["hidden_weight"] + p["hidden_bias"]) @ p["output_weight"] + p["output_bias"]


def torch_loss(parameters, x, y):
    import torch
    import torch.nn.functional as F

    p, scores = in_torch(parameters, x)
    return p, F.cross_entropy(scores, torch.tensor(y))


class TestBuildVocabulary:
    def test_the_example_worked_by_hand(self):
        assert_equal(build_vocabulary(["bab", "cab"], 2), ["<s>", "<unk>", "b", "a"])

    @pytest.mark.parametrize(
        ("min_count", "expected"),
        [(1, ["to", "be", "or", "the", "not"]), (2, ["to", "be", "or", "the"]), (3, ["to"]), (4, [])],
    )
    def test_words_by_falling_count(self, min_count, expected):
        lines = [["to", "be", "or"], ["not", "to", "be"], [], ["the", "or", "the", "to"]]
        assert_equal(build_vocabulary(lines, min_count), ["<s>", "<unk>", *expected])

    def test_equal_counts_in_sorted_order(self):
        assert_equal(build_vocabulary(["zebra", "Zaxb"]), ["<s>", "<unk>", "a", "b", "Z", "e", "r", "x", "z"])

    def test_keeps_all_unless_told_otherwise(self):
        assert_equal(build_vocabulary([["x"], ["y", "x"]]), ["<s>", "<unk>", "x", "y"])

    @pytest.mark.parametrize("wrong", [0, -3])
    def test_rejects_a_count_below_one(self, wrong):
        with raises(ValueError, wrong):
            build_vocabulary(["ab"], wrong)


class TestEncode:
    def test_the_example_worked_by_hand(self):
        assert_equal(encode(["cab"], ["<s>", "<unk>", "b", "a"]), [[1, 3, 2]])

    def test_sequence_by_sequence(self):
        vocabulary = ["<s>", "<unk>", "sea", "the", "of"]
        got = encode([["the", "sea", "of", "troubles"], [], ["Sea", "sea"]], vocabulary)
        assert_equal(got, [[3, 2, 4, 1], [], [1, 2]])


class TestWindows:
    def test_the_example_worked_by_hand(self):
        assert_close(windows([[3, 2]], 2), (np.array([[0, 0], [0, 3], [3, 2]]), np.array([3, 2, 0])))

    def test_the_lessons_drawing(self):
        x, y = windows([[5, 9, 9]], 3)
        assert_close(x, np.array([[0, 0, 0], [0, 0, 5], [0, 5, 9], [5, 9, 9]]))
        assert_close(y, np.array([5, 9, 9, 0]))

    def test_no_window_crosses_a_boundary(self):
        x, y = windows([[4, 5], [6], [7, 8]], 2)
        assert_close(x, np.array([[0, 0], [0, 4], [4, 5], [0, 0], [0, 6], [0, 0], [0, 7], [7, 8]]))
        assert_close(y, np.array([4, 5, 0, 6, 0, 7, 8, 0]))

    def test_sequences_may_be_tuples(self):
        assert_close(windows([(3, 2)], 2), (np.array([[0, 0], [0, 3], [3, 2]]), np.array([3, 2, 0])))

    @pytest.mark.parametrize("context", [1, 4])
    def test_matches_slices_of_each_padded_sequence(self, rng, context):
        encoded = [rng.integers(1, 50, n).tolist() for n in (3, 0, 7, 1)]
        x, y = [], []
        for ids in encoded:
            for i in range(len(ids) + 1):
                x.append(([0] * context + ids[:i])[-context:])
                y.append([*ids, 0][i])
        assert_close(windows(encoded, context), (np.array(x), np.array(y)))

    def test_an_empty_sequence(self):
        assert_close(windows([[]], 2), (np.array([[0, 0]]), np.array([0])))

    def test_no_sequences(self):
        x, y = windows([], 3)
        assert_equal((x.shape, y.shape), ((0, 3), (0,)))
        assert_equal([np.issubdtype(one.dtype, np.integer) for one in (x, y)], [True, True])

    @pytest.mark.parametrize("wrong", [0, -2])
    def test_rejects_a_context_below_one(self, wrong):
        with raises(ValueError, wrong):
            windows([[2, 3]], wrong)


class TestInitialParameters:
    @pytest.mark.parametrize(("v", "context", "d", "h"), [(9, 3, 2, 5), (4, 1, 7, 3)])
    def test_their_shapes(self, rng, v, context, d, h):
        parameters = initial_parameters(rng.integers(0, 9, v), context, d, h, rng)
        expected = {
            "embedding": (v, d),
            "hidden_weight": (context * d, h),
            "hidden_bias": (h,),
            "output_weight": (h, v),
            "output_bias": (v,),
        }
        assert_equal(
            {name: parameters[name].shape for name in sorted(parameters)},
            {name: expected[name] for name in sorted(expected)},
        )
        assert_equal({value.dtype.name for value in parameters.values()}, {"float64"})

    @pytest.mark.parametrize(("context", "d", "h"), [(3, 30, 60), (5, 20, 90)])
    @pytest.mark.parametrize("name", ["embedding", "hidden_weight", "output_weight"])
    def test_their_spread(self, rng, name, context, d, h):
        value = initial_parameters(np.ones(300, dtype=int), context, d, h, rng)[name]
        spread = {"embedding": 1, "hidden_weight": 1 / math.sqrt(context * d), "output_weight": 0.1 / math.sqrt(h)}[
            name
        ]
        # 5400 numbers and more: their mean and spread are right to some percent.
        assert_close(value.std() / spread, 1.0, rtol=0, atol=0.08)
        assert_close(value.mean() / spread, 0.0, rtol=0, atol=0.1)
        assert_equal(len(np.unique(value)), value.size)

    @pytest.mark.parametrize("counts", [[3, 0, 1], [0, 0, 250, 6, 39, 1]])
    def test_biases(self, rng, counts):
        parameters = initial_parameters(np.array(counts), 2, 3, 4, rng)
        assert_close(parameters["hidden_bias"], np.zeros(4))
        total = sum(counts) + len(counts)
        assert_close(parameters["output_bias"], np.array([math.log((count + 1) / total) for count in counts]))

    def test_the_rng_decides(self):
        counts = np.arange(5)
        one, same, other = (initial_parameters(counts, 2, 3, 4, np.random.default_rng(seed)) for seed in (1, 1, 2))
        for name in ("embedding", "hidden_weight", "output_weight"):
            assert_close(same[name], one[name])
            if (other[name] == one[name]).any():
                fail(f"two generators give the same {name}; draw with `rng`", evidence=name)


class TestLogits:
    def test_of_numbers_that_are_known(self):
        # tanh(log 2 / 2) is 1/3, and tanh(log 3 / 2) is 1/2.
        parameters = {
            "embedding": np.array([[0.0], [math.log(2)], [math.log(3)]]),
            "hidden_weight": np.array([[0.5, 0.0], [0.0, 0.5]]),
            "hidden_bias": np.zeros(2),
            "output_weight": np.array([[3.0, 0.0, 6.0], [0.0, 2.0, 4.0]]),
            "output_bias": np.array([10.0, 20.0, 30.0]),
        }
        assert_close(logits(parameters, np.array([[1, 2], [2, 0]])), np.array([[11.0, 21, 34], [11.5, 20, 33]]))

    @pytest.mark.parametrize(("n", "v", "c", "d", "h"), SIZES)
    def test_matches_torch(self, rng, n, v, c, d, h):
        parameters, x = a_model(rng, v, c, d, h), rng.integers(0, v, (n, c))
        assert_close(logits(parameters, x), in_torch(parameters, x)[1].detach().numpy())

    def test_does_not_loop_over_rows(self, rng):
        parameters, x = a_model(rng, 9, 3, 2, 5), rng.integers(0, 9, (200, 3))
        if python_steps(logits, parameters, x) > python_steps(logits, parameters, x[:9]) + 100:
            fail("the lines of Python that run grow with the rows; use whole-array operations", evidence="loop")


class TestLossAndGradients:
    @pytest.mark.parametrize(("n", "v", "c", "d", "h"), SIZES)
    def test_matches_autograd(self, rng, n, v, c, d, h):
        parameters, x, y = a_model(rng, v, c, d, h), rng.integers(0, v, (n, c)), rng.integers(0, v, n)
        p, loss = torch_loss(parameters, x, y)
        loss.backward()
        got, gradients = loss_and_gradients(parameters, x, y)
        assert_close(got, loss.item())
        assert_equal(sorted(gradients), sorted(parameters))
        assert_close([gradients[name] for name in sorted(p)], [p[name].grad.numpy() for name in sorted(p)])

    def test_a_word_that_stands_in_every_window(self, rng):
        parameters = a_model(rng, 5, 3, 2, 4)
        x, y = np.array([[2, 2, 2], [2, 0, 2]]), np.array([1, 3])
        p, loss = torch_loss(parameters, x, y)
        loss.backward()
        assert_close(loss_and_gradients(parameters, x, y)[1]["embedding"], p["embedding"].grad.numpy())

    def test_does_not_loop_over_rows(self, rng):
        parameters, x, y = a_model(rng, 9, 3, 2, 5), rng.integers(0, 9, (200, 3)), rng.integers(0, 9, 200)
        if (
            python_steps(loss_and_gradients, parameters, x, y)
            > python_steps(loss_and_gradients, parameters, x[:9], y[:9]) + 100
        ):
            fail("the lines of Python that run grow with the rows; use whole-array operations", evidence="loop")


class TestEvaluate:
    @pytest.mark.parametrize("batch_size", [1, 4, 5, 10, 64])
    def test_the_mean_over_windows_however_they_are_cut(self, rng, batch_size):
        parameters, x, y = a_model(rng, 7, 2, 3, 4), rng.integers(0, 7, (10, 2)), rng.integers(0, 7, 10)
        assert_close(evaluate(parameters, x, y, batch_size), torch_loss(parameters, x, y)[1].item())

    def test_its_default_is_1024(self, rng):
        parameters, x, y = a_model(rng, 7, 2, 3, 4), rng.integers(0, 7, (2100, 2)), rng.integers(0, 7, 2100)
        assert_close(evaluate(parameters, x, y), torch_loss(parameters, x, y)[1].item())

    @pytest.mark.parametrize(("batch_size", "megabytes"), [(50, 6), (None, 60)])
    def test_holds_the_logits_of_a_batch_alone(self, rng, batch_size, megabytes):
        parameters, x, y = a_model(rng, 600, 2, 3, 4), rng.integers(0, 600, (20_000, 2)), rng.integers(0, 600, 20_000)
        more = () if batch_size is None else (batch_size,)
        tracemalloc.start()
        try:
            loss = evaluate(parameters, x, y, *more)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        if peak > megabytes * 1e6:
            # One table of logits is 0.24 or 4.9 MB; all rows at once would be 96 MB.
            fail(
                f"evaluate() holds {peak / 1e6:.0f} MB at once; take {batch_size or 1024} windows at a time",
                evidence=round(peak / 1e7),
            )
        assert_equal(math.isfinite(loss), True)


class TestAdagradStep:
    def test_the_example_worked_by_hand(self):
        first = adagrad_step({"w": np.array([1.0])}, {"w": np.array([3.0])}, {"w": np.array([0.0])}, 0.5)
        assert_close(first, ({"w": np.array([0.5])}, {"w": np.array([9.0])}))
        second = adagrad_step({"w": np.array([0.5])}, {"w": np.array([4.0])}, {"w": np.array([9.0])}, 0.25)
        assert_close(second, ({"w": np.array([0.3])}, {"w": np.array([25.0])}))

    @pytest.mark.parametrize("learning_rate", [0.1, 0.7])
    def test_matches_torch_over_several_steps(self, rng, learning_rate):
        import torch

        shapes = {"a": (3, 2), "b": (4,)}
        parameters = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        squares = {name: np.zeros(shape) for name, shape in shapes.items()}
        tensors = {name: torch.tensor(value) for name, value in parameters.items()}
        optimizer = torch.optim.Adagrad(tensors.values(), lr=learning_rate, eps=1e-10)
        for _ in range(4):
            gradients = {name: rng.normal(size=shapes[name]) for name in ("b", "a")}
            for name, tensor in tensors.items():
                tensor.grad = torch.tensor(gradients[name])
            optimizer.step()
            parameters, squares = adagrad_step(parameters, gradients, squares, learning_rate)
            assert_close({name: parameters[name] for name in shapes}, {name: t.numpy() for name, t in tensors.items()})

    def test_no_gradient_moves_nothing(self):
        got, squares = adagrad_step({"w": np.array([2.0, 3.0])}, {"w": np.array([0.0, 1e-3])}, {"w": np.zeros(2)}, 0.5)
        assert_close(got["w"], np.array([2.0, 2.5]))
        assert_close(squares["w"], np.array([0.0, 1e-6]))


def full_batches(parameters, x, y, rates):
    """What torch's Adagrad makes of whole batches, one with each learning rate; and the loss before each."""
    import torch
    import torch.nn.functional as F

    p, _ = in_torch(parameters, x)
    optimizer = torch.optim.Adagrad(p.values(), lr=1.0, eps=1e-10)
    losses = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        flat = p["embedding"][torch.tensor(x)].flatten(1)
        scores = torch.tanh(flat @ p["hidden_weight"] + p["hidden_bias"]) @ p["output_weight"] + p["output_bias"]
        optimizer.zero_grad()
        loss = F.cross_entropy(scores, torch.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {name: tensor.detach().numpy() for name, tensor in p.items()}, losses


def batches_of_rows(rng, n, batch_size, epochs):
    """For each row the number of the batch that it was in, epoch by epoch (n, epochs); train() doesn't tell, but
    each row has a word of its own here, and a first step of Adagrad moves its vector by η = η₀ (1 - t/T).

    With a tiny η₀ the second gradient equals the first, so that step is η/√2.
    """
    eta = 1e-11
    parameters = a_model(rng, n + 1, 1, 5, 3, scale=0.3)
    x, y = np.arange(1, n + 1)[:, None], np.zeros(n, dtype=int)
    trained, _ = train(parameters, x, y, epochs, batch_size, eta, rng)
    # The median, as a number whose gradient is 0 by chance doesn't move.
    moved = np.median(np.abs(trained["embedding"] - parameters["embedding"])[1:], axis=1) / eta
    each = -(-n // batch_size)
    total = each * epochs
    found = []
    for distance in moved:
        # Which batches, one an epoch, add up to this distance?
        ways = itertools.product(*(range(e * each, (e + 1) * each) for e in range(epochs)))
        best = min(
            ways, key=lambda way: abs(sum((1 - t / total) / math.sqrt(e + 1) for e, t in enumerate(way)) - distance)
        )
        gap = abs(sum((1 - t / total) / math.sqrt(e + 1) for e, t in enumerate(best)) - distance)
        if gap > 1e-3:
            fail(
                "a row's vector isn't moved by one step in each epoch, with η₀ (1 - t/T): each row stands in one batch of an epoch",
                evidence="not once",
            )
        found.append([t - e * each for e, t in enumerate(best)])
    return np.array(found)


def smoothed(sequences, held_out, v, n):
    """The held-out loss of an n-gram model with k added to each count, for the k that suits it best."""
    counts, contexts = Counter(), Counter()
    for ids in sequences:
        padded = [0] * (n - 1) + ids + [0]
        for i in range(n - 1, len(padded)):
            gram = tuple(padded[i - n + 1 : i + 1])
            counts[gram] += 1
            contexts[gram[:-1]] += 1
    padded = [[0] * (n - 1) + ids + [0] for ids in held_out]
    grams = [tuple(ids[i - n + 1 : i + 1]) for ids in padded for i in range(n - 1, len(ids))]
    seen, before = np.array([(counts[gram], contexts[gram[:-1]]) for gram in grams]).T
    return min(-np.log((seen + k) / (before + k * v)).mean() for k in (0.3, 0.1, 0.03, 0.01))


def beats_the_bigram(rng, sequences, min_count, sizes, margin):
    """Train on nine tenths of the sequences; the held-out loss must be below the best smoothed bigram's."""
    from threadpoolctl import threadpool_limits

    context, d, h = sizes
    shuffled = [sequences[i] for i in rng.permutation(len(sequences))]
    cut = len(shuffled) // 10
    vocabulary = build_vocabulary(shuffled[cut:], min_count)
    held_out, training = encode(shuffled[:cut], vocabulary), encode(shuffled[cut:], vocabulary)
    v = len(vocabulary)
    x, y = windows(training, context)
    start = initial_parameters(np.bincount(y, minlength=v), context, d, h, rng)
    with threadpool_limits(1):  # threads take longer to meet than such small products to be computed
        trained, losses = train(start, x, y, 3, 128, 0.2, rng)
        loss = evaluate(trained, *windows(held_out, context))
    bigram, trigram = (smoothed(training, held_out, v, n) for n in (2, 3))
    told = f"held-out loss in nats: network {loss:.3f}, smoothed bigram {bigram:.3f}, smoothed trigram {trigram:.3f}"
    print(f"{v} tokens, losses of the epochs {', '.join(f'{one:.3f}' for one in losses)}; {told}")
    if not loss < bigram - margin:
        fail(f"{told}; expected the network's below the bigram's by {margin}", evidence=round(loss, 1))


class TestTrain:
    def test_the_squares_add_up_from_batch_to_batch(self, rng):
        # All rows are alike, so that their order makes no difference.
        parameters, x, y = a_model(rng, 6, 2, 3, 4), np.tile(rng.integers(0, 6, 2), (8, 1)), np.full(8, 3)
        expected, _ = full_batches(parameters, x[:4], y[:4], [0.5, 0.25])
        trained, _ = train(parameters, x, y, 1, 4, 0.5, rng)
        assert_close({name: trained[name] for name in expected}, expected)

    @pytest.mark.parametrize(("epochs", "rates"), [(1, [0.5]), (2, [0.5, 0.25]), (4, [0.5, 0.375, 0.25, 0.125])])
    def test_full_batches(self, rng, epochs, rates):
        parameters, x, y = a_model(rng, 6, 2, 3, 4), rng.integers(0, 6, (8, 2)), rng.integers(0, 6, 8)
        expected, losses = full_batches(parameters, x, y, rates)
        trained, got = train(parameters, x, y, epochs, 8, 0.5, rng)
        assert_close(got, losses)
        assert_equal(sorted(trained), sorted(expected))
        assert_close({name: trained[name] for name in expected}, expected)

    def test_a_batch_larger_than_the_data(self, rng):
        parameters, x, y = a_model(rng, 6, 2, 3, 4), rng.integers(0, 6, (7, 2)), rng.integers(0, 6, 7)
        expected, losses = full_batches(parameters, x, y, [0.2])
        trained, got = train(parameters, x, y, 1, 100, 0.2, rng)
        assert_close((got, {name: trained[name] for name in expected}), (losses, expected))

    @pytest.mark.parametrize(
        ("n", "batch_size", "sizes"), [(12, 4, [4, 4, 4]), (11, 4, [3, 4, 4]), (9, 1, [1] * 9), (10, 7, [3, 7])]
    )
    def test_each_row_is_in_one_batch(self, rng, n, batch_size, sizes):
        batches = batches_of_rows(rng, n, batch_size, 1)[:, 0]
        assert_equal(sorted(Counter(batches.tolist()).values()), sizes)
        assert_equal(int((batches == len(sizes) - 1).sum()), n - batch_size * (len(sizes) - 1))

    def test_a_new_random_order_in_each_epoch(self, rng):
        first, second = batches_of_rows(rng, 40, 4, 2).T
        for order in (first, second):
            assert_equal(sorted(Counter(order.tolist()).values()), [4] * 10)
            if (order == np.arange(40) // 4).all():
                fail("the rows are taken in the order of x; shuffle them in each epoch", evidence="in order")
        if (first == second).all():
            fail("both epochs have the same batches; draw a new order in each epoch", evidence="same order")

    def test_an_epochs_loss_is_the_mean_over_its_rows(self, rng):
        # With a tiny η nothing moves: the loss is that of the start, though the last batch is smaller.
        parameters, x, y = a_model(rng, 6, 2, 3, 4), rng.integers(0, 6, (9, 2)), rng.integers(0, 6, 9)
        _, losses = train(parameters, x, y, 3, 4, 1e-12, rng)
        assert_close(losses, [torch_loss(parameters, x, y)[1].item()] * 3)

    def test_the_rng_decides(self):
        rng = np.random.default_rng(3)
        parameters, x, y = a_model(rng, 6, 2, 3, 4), rng.integers(0, 6, (20, 2)), rng.integers(0, 6, 20)
        one, same, other = (
            train(parameters, x, y, 1, 3, 0.1, np.random.default_rng(s))[0]["embedding"] for s in (1, 1, 2)
        )
        assert_close(same, one)
        if np.array_equal(other, one):
            fail("two generators give the same order; draw it with `rng`", evidence="rng ignored")

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("trial", [1, 2, 3])
    def test_letters_of_names_beat_the_bigram(self, rng, names, trial):
        both = sorted({*names[0], *names[1]})
        beats_the_bigram(rng, both, 1, (3, 8, 64), margin=0.1)

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("trial", [1, 2, 3])
    def test_words_of_hamlet_beat_the_bigram(self, rng, hamlet, trial):
        lines = [re.findall(r"[a-z']+|[.,;:!?]", line) for line in hamlet.lower().splitlines()]
        beats_the_bigram(rng, [line for line in lines if line], 10, (2, 16, 32), margin=0.02)


def a_chain(tables, v):
    """A model whose logits are the sum of tables[j][j-th id of the window], for tables (c, v, v)."""
    c = len(tables)
    embedding = np.eye(v) * 40.0  # tanh(40) is 1
    hidden = np.zeros((c * v, c * v))
    hidden[np.arange(c * v), np.arange(c * v)] = 1.0
    return {
        "output_bias": np.zeros(v),
        "embedding": embedding,
        "hidden_weight": hidden,
        "hidden_bias": np.zeros(c * v),
        "output_weight": np.concatenate(tables).astype(float),
    }


def chances(tables, temperature, max_length):
    """The probability of each sequence, by brute force."""
    v, found, open_ = tables[0].shape[0], Counter(), {(): 1.0}
    for _ in range(max_length):
        longer = {}
        for ids, p in open_.items():
            window = ([0] * len(tables) + list(ids))[-len(tables) :]
            z = sum(table[i] for table, i in zip(tables, window, strict=True)) / temperature
            share = np.exp(z - z.max())
            share /= share.sum()
            found[ids] += p * share[0]
            longer |= {(*ids, w): p * share[w] for w in range(1, v)}
        open_ = longer
    return found + Counter(open_)


class TestSample:
    def test_follows_a_chain_that_is_certain(self, rng):
        # From 0 to 3, to 1, to 2, and to the end.
        table = np.full((4, 4), -50.0)
        table[[0, 3, 1, 2], [3, 1, 2, 0]] = 50.0
        assert_equal(sample(a_chain([table], 4), rng), [3, 1, 2])

    def test_each_id_of_the_window_has_its_place(self, rng):
        # The older id decides: after "0 0" comes 2, after "0 2" comes 2, after "2 2" comes 3, after "2 3", too.
        older = np.full((4, 4), -50.0)
        older[[0, 2, 3], [2, 3, 0]] = 50.0
        assert_equal(sample(a_chain([older, np.zeros((4, 4))], 4), rng), [2, 2, 3, 3])

    @pytest.mark.parametrize("max_length", [1, 5, 100])
    def test_stops_at_the_longest(self, rng, max_length):
        table = np.full((3, 3), -50.0)
        table[:, 2] = 50.0
        assert_equal(sample(a_chain([table], 3), rng, max_length=max_length), [2] * max_length)

    def test_the_longest_is_100_unless_told_otherwise(self, rng):
        table = np.full((3, 3), -50.0)
        table[:, 1] = 50.0
        assert_equal(len(sample(a_chain([table, table, table], 3), rng)), 100)

    def test_may_be_empty(self, rng):
        table = np.full((3, 3), -50.0)
        table[:, 0] = 50.0
        assert_equal(sample(a_chain([table], 3), rng), [])

    def test_a_low_temperature_takes_the_likeliest(self, rng):
        table = np.zeros((4, 4))
        table[[0, 2, 1], [2, 1, 0]] = 0.1
        assert_equal(sample(a_chain([table], 4), rng, temperature=1e-3), [2, 1])

    @pytest.mark.parametrize(("temperature", "max_length"), [(None, 3), (2.0, 2), (0.5, 3)])
    def test_frequencies(self, rng, temperature, max_length):
        from scipy.stats import chisquare

        tables = [rng.normal(size=(3, 3)), rng.normal(size=(3, 3))]
        model = a_chain(tables, 3)
        more = {} if temperature is None else {"temperature": temperature}
        drawn = Counter(tuple(sample(model, rng, max_length=max_length, **more)) for _ in range(1000))
        expected = chances(tables, temperature or 1.0, max_length)
        if strange := sorted(set(drawn) - set(expected)):
            fail(f"sample() drew {list(strange[0])}, which can't be", evidence=strange[:3])
        # Sequences by falling probability; where fewer than 30 are expected, all the rest is counted together.
        common = [ids for ids, p in expected.most_common() if p > 0.02]
        counts, shares = [drawn[ids] for ids in common], [expected[ids] for ids in common]
        if sum(shares) < 0.999:
            counts, shares = [*counts, 1000 - sum(counts)], [*shares, 1 - sum(shares)]
        else:
            shares = [share / sum(shares) for share in shares]
        if chisquare(counts, np.array(shares) * sum(counts)).pvalue < 1e-9:
            worst = max(range(len(common)), key=lambda i: abs(counts[i] / 1000 - shares[i]))
            fail(
                f"{list(common[worst])} is drawn {counts[worst]} times in 1000; "
                f"about {1000 * shares[worst]:.0f} were expected",
                evidence=[round(count / 1000, 3) for count in counts],
            )

    def test_the_worked_temperature(self, rng):
        # At τ = 2 the logits 0 and log 4 have probabilities 1/3 and 2/3.
        table = np.full((3, 3), -1e3)
        table[0, 1:] = 0.0, math.log(4)
        ones = sum(sample(a_chain([table], 3), rng, temperature=2.0, max_length=1) == [1] for _ in range(900))
        # 300 ± 14 on average.
        if abs(ones - 300) > 90:
            fail(
                f"of logits 0 and log 4 at temperature 2, the first is drawn {ones} times in 900; expected about 300",
                evidence=round(ones / 30),
            )

    @pytest.mark.parametrize("wrong", [0.0, -0.5])
    def test_rejects_a_temperature_that_is_not_above_zero(self, rng, wrong):
        with raises(ValueError, wrong):
            sample(a_model(rng, 4, 2, 3, 3), rng, temperature=wrong)

    def test_a_temperature_just_above_zero(self, rng):
        table = np.array([[3.0, 900.0, -900.0], [7.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
        assert_equal(sample(a_chain([table], 3), rng, temperature=1e-3), [1])
