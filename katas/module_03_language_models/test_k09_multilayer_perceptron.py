"""Judges k09_multilayer_perceptron against torch, finite differences, and simpler models on real digits."""

import itertools
import math
import warnings

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_03_language_models.k09_multilayer_perceptron import (
    backprop,
    cross_entropy,
    forward,
    init_layers,
    minibatches,
    predict,
    sgd_step,
    squared_error,
    train,
)

pytestmark = [from_scratch("torch", "jax", "autograd", "sklearn", "scipy"), pure()]

HAND_X = np.array([[1.0, 2.0]])


def hand_layers():
    return [
        (np.array([[1.0, -1.0], [1.0, 0.0]]), np.array([0.0, 0.5])),
        (np.array([[2.0], [5.0]]), np.array([1.0])),
    ]


def random_layers(rng, sizes):
    """A network with biases that aren't 0."""
    return [(rng.normal(size=(n_in, n_out)), rng.normal(size=n_out)) for n_in, n_out in itertools.pairwise(sizes)]


def flat(layers):
    return [array for layer in layers for array in layer]


SIZES = [[3, 2], [3, 5, 2], [4, 6, 5, 3], [2, 3, 4, 5, 1]]


class TestInitLayers:
    @pytest.mark.parametrize("sizes", [[5, 3], [2, 7, 4], (6, 5, 4, 3), [1, 1]])
    def test_a_weight_and_a_bias_for_each_two_neighbours(self, rng, sizes):
        layers = init_layers(sizes, rng)
        assert_equal(len(layers), len(sizes) - 1)
        shapes = [tuple(np.shape(array) for array in layer) for layer in layers]
        assert_equal(shapes, [((a, b), (b,)) for a, b in itertools.pairwise(sizes)])
        assert_close([bias for _, bias in layers], [np.zeros(b) for b in sizes[1:]])

    @pytest.mark.parametrize("bias", [0.01, -0.5])
    def test_all_biases_may_start_from_another_number(self, rng, bias):
        assert_close([b for _, b in init_layers([3, 4, 2], rng, bias)], [np.full(4, bias), np.full(2, bias)])

    @pytest.mark.parametrize(("n_in", "n_out"), [(20, 1000), (500, 40)])
    def test_weights_have_hes_variance(self, rng, n_in, n_out):
        for weight, _ in init_layers([n_in, n_out, n_in], rng):
            z = weight * math.sqrt(len(weight) / 2)
            # Of 20,000 Gaussians the mean has deviation 0.007, the square's 0.01, the fourth power's 0.07.
            assert_close([float((z**k).mean()) for k in (1, 2)], [0.0, 1.0], atol=0.06, rtol=0)
            assert_close(float((z**4).mean()), 3.0, atol=0.5, rtol=0)

    def test_a_deep_network_keeps_the_size_of_its_signal(self, rng):
        stages = forward(init_layers([256] * 22, rng), rng.normal(size=(100, 256)))
        ratio = float((stages[-2] ** 2).mean() / (stages[1] ** 2).mean())
        # 19 layers: each multiplies by 1, give or take a sixth.
        if not 1 / 20 < ratio < 20:
            fail(
                f"19 layers multiply the mean square of the signal by {ratio:.2g}; about 1 was expected", evidence=ratio
            )

    def test_it_draws_from_the_generator(self, rng):
        first, second = np.random.default_rng(3), np.random.default_rng(3)
        one, same = init_layers([4, 3, 2], first), init_layers([4, 3, 2], second)
        assert_close(flat(one), flat(same))
        other = init_layers([4, 3, 2], first)
        assert_equal([bool((a == b).all()) for (a, _), (b, _) in zip(one, other, strict=True)], [False, False])

    @pytest.mark.parametrize("sizes", [[], [7]])
    def test_rejects_fewer_than_two_sizes(self, rng, sizes):
        with raises(ValueError, len(sizes)):
            init_layers(sizes, rng)


class TestForward:
    def test_the_example_worked_by_hand(self):
        assert_close(forward(hand_layers(), HAND_X), [HAND_X, np.array([[3.0, 0.0]]), np.array([[7.0]])])

    @pytest.mark.parametrize("sizes", SIZES)
    @pytest.mark.parametrize("n", [1, 7])
    def test_matches_torch(self, rng, sizes, n):
        import torch

        layers, x = random_layers(rng, sizes), rng.normal(size=(n, sizes[0]))
        expected = [torch.tensor(x)]
        for i, (weight, bias) in enumerate(layers):
            z = torch.nn.functional.linear(expected[-1], torch.tensor(weight.T.copy()), torch.tensor(bias))
            expected.append(z if i == len(layers) - 1 else z.relu())
        assert_close(forward(layers, x), [stage.numpy() for stage in expected])

    def test_an_output_may_be_negative(self):
        assert_close(forward([(np.array([[2.0]]), np.array([-9.0]))], np.array([[1.0]]))[-1], np.array([[-7.0]]))

    @pytest.mark.parametrize("width", [2, 4])
    def test_rejects_another_width(self, rng, width):
        with raises(ValueError, width, 3):
            forward(random_layers(rng, [3, 5, 2]), np.ones((6, width)))


class TestSquaredError:
    def test_the_example_worked_by_hand(self):
        assert_close(squared_error(np.array([[7.0]]), np.array([[5.0]])), (4.0, np.array([[4.0]])))

    @pytest.mark.parametrize("shape", [(5, 1), (4, 3), (2,)])
    def test_matches_torch(self, rng, shape):
        import torch

        output, target = rng.normal(size=shape), rng.normal(size=shape)
        leaf = torch.tensor(output, requires_grad=True)
        wanted = torch.nn.functional.mse_loss(leaf, torch.tensor(target))
        wanted.backward()
        assert_close(squared_error(output, target), (wanted.item(), leaf.grad.numpy()))

    @pytest.mark.parametrize("shape", [(4,), (1, 4), (1, 1), (5, 1)])
    def test_rejects_another_shape(self, shape):
        with raises(ValueError, (4, 1), shape):
            squared_error(np.ones((4, 1)), np.ones(shape))


class TestCrossEntropy:
    def test_of_equal_logits(self):
        loss, grad = cross_entropy(np.zeros((2, 4)), np.array([3, 0]))
        assert_close(loss, math.log(4))
        assert_close(grad, np.array([[0.125, 0.125, 0.125, -0.375], [-0.375, 0.125, 0.125, 0.125]]))

    @pytest.mark.parametrize(("n", "c"), [(1, 2), (5, 3), (3, 7)])
    def test_matches_torch(self, rng, n, c):
        import torch

        logits, labels = 3 * rng.normal(size=(n, c)), rng.integers(0, c, n)
        leaf = torch.tensor(logits, requires_grad=True)
        wanted = torch.nn.functional.cross_entropy(leaf, torch.tensor(labels))
        wanted.backward()
        assert_close(cross_entropy(logits, labels), (wanted.item(), leaf.grad.numpy()))

    def test_of_large_logits(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            logits = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [0.0, 1e4, 1e4]])
            loss, grad = cross_entropy(logits, np.array([1, 2, 1]))
        assert_close(loss, (1e4 + math.log(3) + math.log(2)) / 3)
        third = 1 / 3
        assert_close(3 * grad, np.array([[1, -1, 0], [third, third, third - 1], [0, -0.5, 0.5]]))

    @pytest.mark.parametrize("label", [3, -1, 7])
    def test_rejects_a_label_that_is_no_class(self, label):
        assert_close(cross_entropy(np.zeros((2, 3)), np.array([2, 0]))[0], math.log(3))
        with raises(ValueError, label, 3):
            cross_entropy(np.zeros((2, 3)), np.array([1, label]))


class TestBackprop:
    def test_the_example_worked_by_hand(self):
        layers = hand_layers()
        got = backprop(layers, forward(layers, HAND_X), np.array([[4.0]]))
        expected = [np.array([[8.0, 0], [16, 0]]), np.array([8.0, 0]), np.array([[12.0], [0]]), np.array([4.0])]
        assert_close(flat(got), expected)

    @pytest.mark.parametrize("sizes", SIZES)
    @pytest.mark.parametrize("n", [1, 7])
    def test_matches_torch(self, rng, sizes, n):
        import torch

        layers, x, grad = random_layers(rng, sizes), rng.normal(size=(n, sizes[0])), rng.normal(size=(n, sizes[-1]))
        leaves = [torch.tensor(array, requires_grad=True) for array in flat(layers)]
        out = torch.tensor(x)
        for i in range(0, len(leaves), 2):
            out = (out if i == 0 else out.relu()) @ leaves[i] + leaves[i + 1]
        expected = torch.autograd.grad(out, leaves, torch.tensor(grad))
        got = backprop(layers, forward(layers, x), grad)
        assert_equal([len(layer) for layer in got], [2] * len(layers))
        assert_close(flat(got), [g.numpy() for g in expected])

    @pytest.mark.parametrize("sizes", [[3, 4, 2], [2, 5, 4, 3]])
    def test_matches_finite_differences(self, rng, sizes):
        h, near = 1e-6, 0.0
        while near < 1e-4:  # a unit so near its bend that a step crosses it has no difference
            layers, x = random_layers(rng, sizes), rng.normal(size=(5, sizes[0]))
            near, stage = np.inf, x
            for weight, bias in layers[:-1]:
                z = stage @ weight + bias
                near, stage = min(near, float(np.abs(z).min())), np.maximum(z, 0)
        y = rng.integers(0, sizes[-1], 5)

        def loss():
            return cross_entropy(forward(layers, x)[-1], y)

        gradients = backprop(layers, forward(layers, x), loss()[1])
        for array, got in zip(flat(layers), flat(gradients), strict=True):
            expected = np.zeros(array.shape)
            for place in np.ndindex(array.shape):
                value = array[place]
                array[place] = value + h
                above = loss()[0]
                array[place] = value - h
                expected[place] = (above - loss()[0]) / (2 * h)
                array[place] = value
            assert_close(got, expected, atol=1e-6, rtol=1e-6)  # a difference quotient

    def test_nothing_passes_where_a_hidden_number_is_zero(self):
        # The hidden unit stands exactly on its bend.
        layers = [(np.array([[1.0]]), np.array([-1.0])), (np.array([[3.0]]), np.array([0.0]))]
        got = backprop(layers, forward(layers, np.array([[1.0]])), np.array([[2.0]]))
        assert_close(flat(got), [np.array([[0.0]]), np.array([0.0]), np.array([[0.0]]), np.array([2.0])])

    def test_inputs_below_zero_count(self):
        layers = [(np.array([[2.0], [1.0]]), np.array([0.5]))]
        got = backprop(layers, forward(layers, np.array([[-3.0, 0.0]])), np.array([[1.0]]))
        assert_close(flat(got), [np.array([[-3.0], [0.0]]), np.array([1.0])])


class TestMinibatches:
    @pytest.mark.parametrize(("n", "size"), [(10, 3), (12, 4), (5, 1), (4, 9), (6, 6), (1, 2), (0, 3)])
    def test_each_row_once(self, rng, n, size):
        batches = minibatches(n, size, rng)
        assert_equal([len(b) for b in batches], [size] * (n // size) + [n % size] * (n % size > 0))
        assert_equal(sorted(int(row) for b in batches for row in b), list(range(n)))
        assert_equal([np.asarray(b).dtype.kind in "iu" for b in batches], [True] * len(batches))

    def test_every_order_is_as_likely(self, rng):
        counts = dict.fromkeys(itertools.permutations(range(4)), 0)
        for _ in range(2400):
            counts[tuple(np.concatenate(minibatches(4, 3, rng)).tolist())] += 1
        # 100 for each of the 24 orders, with deviation 10.
        assert_close(list(counts.values()), [100.0] * 24, atol=55, rtol=0)

    def test_each_call_draws_a_new_order_from_the_generator(self):
        first, second = np.random.default_rng(8), np.random.default_rng(8)
        one, same, other = (np.concatenate(minibatches(50, 20, g)) for g in (first, second, first))
        assert_equal(one.tolist(), same.tolist())
        assert_equal(one.tolist() == other.tolist(), False)

    @pytest.mark.parametrize("size", [0, -2])
    def test_rejects_a_size_below_one(self, rng, size):
        with raises(ValueError, size):
            minibatches(5, size, rng)


class TestSgdStep:
    def test_the_example_worked_by_hand(self):
        layers = hand_layers()
        gradients = backprop(layers, forward(layers, HAND_X), np.array([[4.0]]))
        expected = [np.array([[0.2, -1], [-0.6, 0]]), np.array([-0.8, 0.5]), np.array([[0.8], [5]]), np.array([0.6])]
        assert_close(flat(sgd_step(layers, gradients, 0.1)), expected)

    @pytest.mark.parametrize("rate", [0.3, 2.0])
    def test_goes_against_the_gradient(self, rng, rate):
        layers, gradients = random_layers(rng, [3, 4, 2]), random_layers(rng, [3, 4, 2])
        got = sgd_step(layers, gradients, rate)
        assert_equal(len(got), 2)
        assert_close(flat(got), [p - rate * g for p, g in zip(flat(layers), flat(gradients), strict=True)])

    def test_makes_new_arrays(self, rng):
        layers, gradients = random_layers(rng, [3, 2]), random_layers(rng, [3, 2])
        before = [array.copy() for array in flat(layers)]
        got = sgd_step(layers, gradients, 0.5)
        for array in flat(got):
            array += 100.0
        assert_close(flat(layers), before)


def torch_steps(layers, x, y, batches, rate, classify):
    """The parameters after one step of torch's SGD for each of `batches`."""
    import torch

    leaves = [torch.tensor(array, requires_grad=True) for array in flat(layers)]
    optimizer = torch.optim.SGD(leaves, lr=rate)
    measure = torch.nn.functional.cross_entropy if classify else torch.nn.functional.mse_loss
    for rows in batches:
        out = torch.tensor(x[list(rows)])
        for i in range(0, len(leaves), 2):
            out = (out if i == 0 else out.relu()) @ leaves[i] + leaves[i + 1]
        optimizer.zero_grad()
        measure(out, torch.tensor(y[list(rows)])).backward()
        optimizer.step()
    return [leaf.detach().numpy() for leaf in leaves]


class TestTrain:
    @pytest.mark.parametrize("classify", [True, False])
    @pytest.mark.parametrize(("epochs", "rate"), [(1, 0.5), (6, 0.1)])
    def test_on_all_rows_at_once_matches_torch(self, rng, classify, epochs, rate):
        layers, x = random_layers(rng, [3, 6, 4]), rng.normal(size=(9, 3))
        y = rng.integers(0, 4, 9) if classify else rng.normal(size=(9, 4))
        loss = cross_entropy if classify else squared_error
        got, losses = train(layers, x, y, loss, epochs, 20, rate, rng)
        expected = [torch_steps(layers, x, y, [range(9)] * k, rate, classify) for k in range(1, epochs + 1)]
        assert_close(flat(got), expected[-1])
        pairs = [[(arrays[i], arrays[i + 1]) for i in (0, 2)] for arrays in expected]
        assert_close(losses, [loss(forward(network, x)[-1], y)[0] for network in pairs])
        assert_equal([isinstance(value, float) for value in losses], [True] * epochs)

    @pytest.mark.parametrize(("n", "size"), [(3, 1), (3, 2), (4, 2)])
    def test_an_epoch_takes_each_batch_once(self, rng, n, size):
        layers, x, y = random_layers(rng, [2, 5, 3]), rng.normal(size=(n, 2)), rng.integers(0, 3, n)
        got, losses = train(layers, x, y, cross_entropy, 1, size, 0.3, rng)
        orders = {
            tuple(tuple(sorted(order[start : start + size])) for start in range(0, n, size))
            for order in itertools.permutations(range(n))
        }
        mine = flat(got)
        apart = []
        for batches in sorted(orders):
            wanted = torch_steps(layers, x, y, batches, 0.3, True)
            apart.append(max(float(np.abs(a - b).max()) for a, b in zip(mine, wanted, strict=True)))
        if min(apart) > 1e-9:
            fail(
                f"the network after an epoch is that of none of the {len(orders)} ways to take {n} rows in batches "
                f"of {size}: it is off by {min(apart):.2g} at least",
                evidence=mine,
            )
        assert_close(losses, [cross_entropy(forward(got, x)[-1], y)[0]])

    def test_each_epoch_draws_its_batches_anew(self, rng):
        asked = []

        def loss(output, target):
            if len(target) < 20:
                asked.append(target[:, 0].astype(int).tolist())
            return squared_error(output, target)

        x, y = rng.normal(size=(20, 2)), np.arange(20.0)[:, None]
        train(random_layers(rng, [2, 3, 1]), x, y, loss, 2, 10, 1e-6, rng)
        assert_equal([len(rows) for rows in asked], [10, 10, 10, 10])
        assert_equal([sorted(asked[0] + asked[1]), sorted(asked[2] + asked[3])], [list(range(20))] * 2)
        assert_equal(asked[:2] == asked[2:], False)

    def test_no_epoch_changes_nothing(self, rng):
        layers = random_layers(rng, [2, 3])
        got, losses = train(layers, rng.normal(size=(5, 2)), rng.integers(0, 3, 5), cross_entropy, 0, 2, 0.1, rng)
        assert_close(flat(got), flat(layers))
        assert_equal(losses, [])

    @pytest.mark.parametrize("again", range(5))
    def test_fits_a_sine(self, rng, again):
        x = rng.uniform(-1, 1, (300, 1))
        y = np.sin(math.pi * x)
        layers, losses = train(init_layers([1, 32, 32, 1], rng), x, y, squared_error, 50, 20, 0.03, rng)
        # The best straight line, by least squares.
        line = x ** np.arange(2)
        baseline = float(((line @ np.linalg.lstsq(line, y)[0] - y) ** 2).mean())
        new = np.linspace(-0.95, 0.95, 200)[:, None]
        error = float(((forward(layers, new)[-1] - np.sin(math.pi * new)) ** 2).mean())
        if not (error < baseline / 8 and losses[-1] < baseline / 8):
            fail(
                f"the squared error on a sine is {error:.2g}, that of the best straight line {baseline:.2g}; "
                "expected less than an eighth of that",
                evidence=("sine", error),
            )


class TestPredict:
    def test_the_largest_output_wins(self):
        layers = [(np.array([[1.0, -1.0, 0.0]]), np.array([0.0, 0.0, 0.5]))]
        got = predict(layers, np.array([[2.0], [-3.0], [0.1], [0.5]]))
        assert_equal((np.asarray(got).dtype.kind in "iu", np.asarray(got).tolist()), (True, [0, 1, 2, 0]))

    @pytest.mark.parametrize("again", range(5))
    def test_learns_digits(self, rng, again, digits):
        self.learn(rng, digits[0] / 16, digits[1], 1400, [64, 32, 10], 15, 0.91)

    def test_learns_mnist(self, rng, mnist):
        # Means over 2 × 2 pixels: 14 rows and columns.
        x = mnist[0].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196) / 255
        self.learn(rng, x, mnist[1], 4000, [196, 32, 10], 3, 0.84)

    def learn(self, rng, x, y, n, sizes, epochs, floor):
        """Train on n shuffled rows, and compare the accuracy on the rest with that of the nearest class mean."""
        order = rng.permutation(len(x))
        x, y = x[order], y[order]
        means = np.stack([x[:n][y[:n] == digit].mean(axis=0) for digit in range(10)])
        nearest = ((x[n:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
        baseline = float((nearest == y[n:]).mean())
        layers, losses = train(init_layers(sizes, rng), x[:n], y[:n], cross_entropy, epochs, 32, 0.1, rng)
        accuracy = float((np.asarray(predict(layers, x[n:])) == y[n:]).mean())
        if not (accuracy > max(floor, baseline) and losses[-1] < losses[0]):
            fail(
                f"the network is right for {accuracy:.1%} of new digits; expected more than {floor:.0%}, and more than "
                f"the nearest class mean's {baseline:.1%}",
                evidence=("digits", accuracy),
            )
