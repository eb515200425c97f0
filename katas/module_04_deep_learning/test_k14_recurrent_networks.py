"""Judges k14_recurrent_networks against nn.RNN and nn.RNNCell with the same weights, and against autograd."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k14_recurrent_networks import (
    RNN,
    Weights,
    gradient_reach,
    rnn_backward,
    rnn_forward,
    rnn_step,
)

pytestmark = [
    from_scratch(
        "torch.nn.RNN",
        "torch.nn.RNNCell",
        "torch.nn.RNNBase",
        "torch.nn.LSTM",
        "torch.nn.GRU",
        "torch.rnn_tanh",
        "torch.rnn_tanh_cell",
        "torch.autograd",
        "torch.func",
        "torch.Tensor.backward",
    ),
    pure(),
]

DTYPES = [torch.float64, torch.float32]


def randn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype)


def some_weights(d: int, m: int, dtype: torch.dtype = torch.float64) -> Weights:
    """Random ones, the biases different from each other; states neither tiny nor saturated."""
    scale = 1 / math.sqrt(m)
    return Weights(
        scale * randn(m, d, dtype=dtype),
        scale * randn(m, m, dtype=dtype),
        0.4 * randn(m, dtype=dtype),
        0.3 * randn(m, dtype=dtype),
    )


def hand() -> tuple[torch.Tensor, torch.Tensor, Weights]:
    """The lesson's x, h₋₁ and weights."""
    zero = torch.zeros(1, dtype=torch.float64)
    weights = Weights(
        torch.ones(1, 1, dtype=torch.float64), torch.full((1, 1), 0.5, dtype=torch.float64), zero, zero.clone()
    )
    return torch.tensor([[[1.0], [0.0]]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64), weights


def torchs_cell(weights: Weights) -> nn.RNNCell:
    m, d = weights.w_ih.shape
    cell = nn.RNNCell(d, m).to(weights.w_ih.dtype)
    cell.load_state_dict(dict(zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), weights, strict=True)))
    return cell


def torchs_states(x: torch.Tensor, h0: torch.Tensor, weights: Weights, truncate: int | None = None) -> torch.Tensor:
    """All states by torch's formula in a loop; a state that enters a window is detached."""
    h, states = h0, []
    for t in range(x.shape[1]):
        if truncate and t and t % truncate == 0:
            h = h.detach()
        h = torch.rnn_tanh_cell(x[:, t], h, weights.w_ih, weights.w_hh, weights.b_ih, weights.b_hh)
        states.append(h)
    return torch.stack(states, 1)


class TestRnnStep:
    def test_the_example_worked_by_hand(self):
        x, h0, weights = hand()
        first = rnn_step(x[:, 0], h0, weights)
        assert_close(first, torch.tensor([[0.762]], dtype=torch.float64), atol=1e-3, rtol=0)  # 3 digits
        second = rnn_step(x[:, 1], torch.full((1, 1), math.tanh(1), dtype=torch.float64), weights)
        assert_close(second, torch.tensor([[0.363]], dtype=torch.float64), atol=1e-3, rtol=0)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(("batch", "d", "m"), [(4, 3, 5), (1, 6, 2), (3, 4, 4)])
    def test_matches_torchs_cell(self, batch, d, m, dtype):
        weights = some_weights(d, m, dtype)
        x, h = randn(batch, d, dtype=dtype), randn(batch, m, dtype=dtype)
        assert_close(rnn_step(x, h, weights), torchs_cell(weights)(x, h).detach())

    @pytest.mark.parametrize("lead", [(), (2, 3)])
    def test_any_leading_dimensions(self, lead):
        weights = some_weights(3, 5)
        x, h = randn(*lead, 3), randn(*lead, 5)
        expected = torchs_cell(weights)(x.reshape(-1, 3), h.reshape(-1, 5)).reshape(*lead, 5).detach()
        assert_close(rnn_step(x, h, weights), expected)

    def test_gradients_reach_everything(self):
        x, h, weights = randn(2, 3), randn(2, 4), some_weights(3, 4)
        inputs = [t.clone().requires_grad_() for t in (x, h, *weights)]
        upstream = randn(2, 4)
        expected = torch.autograd.grad(torch.rnn_tanh_cell(*inputs), inputs, upstream)
        found = torch.autograd.grad(rnn_step(inputs[0], inputs[1], Weights(*inputs[2:])), inputs, upstream)
        assert_close(list(found), list(expected))


class TestRnnForward:
    def test_the_example_worked_by_hand(self):
        found = rnn_forward(*hand())
        assert_close(found, torch.tensor([[[0.762], [0.363]]], dtype=torch.float64), atol=1e-3, rtol=0)  # 3 digits

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(("batch", "n", "d", "m"), [(2, 5, 3, 4), (3, 1, 2, 6), (1, 4, 5, 2), (4, 4, 4, 4)])
    def test_matches_torch(self, batch, n, d, m, dtype):
        weights = some_weights(d, m, dtype)
        x, h0 = randn(batch, n, d, dtype=dtype), randn(batch, m, dtype=dtype)
        layer = nn.RNN(d, m, batch_first=True).to(dtype)
        with torch.no_grad():
            for parameter, value in zip(layer.parameters(), weights, strict=True):
                parameter.copy_(value)
        assert_close(rnn_forward(x, h0, weights), layer(x, h0[None])[0].detach())

    def test_two_halves_with_a_carried_state_are_the_whole(self):
        weights, x, h0 = some_weights(3, 4), randn(2, 7, 3), randn(2, 4)
        whole = rnn_forward(x, h0, weights)
        first = rnn_forward(x[:, :3], h0, weights)
        second = rnn_forward(x[:, 3:], first[:, -1], weights)
        assert_close(torch.cat([first, second], 1), whole)

    def test_gradients_reach_everything(self):
        inputs = [t.requires_grad_() for t in (randn(2, 4, 3), randn(2, 5), *some_weights(3, 5))]
        upstream = randn(2, 4, 5)
        expected = torch.autograd.grad(torchs_states(inputs[0], inputs[1], Weights(*inputs[2:])), inputs, upstream)
        found = torch.autograd.grad(rnn_forward(inputs[0], inputs[1], Weights(*inputs[2:])), inputs, upstream)
        assert_close(list(found), list(expected))


def assert_gradients(found, expected) -> None:
    """(dx, dh0, Weights), one after the other, so that a failure says which is wrong."""
    names = ("x", "h0", "w_ih", "w_hh", "b_ih", "b_hh")
    assert_close(
        dict(zip(names, (found[0], found[1], *found[2]), strict=True)), dict(zip(names, expected, strict=True))
    )


class TestRnnBackward:
    def test_the_example_worked_by_hand(self):
        x, h0, weights = hand()
        states = torch.tanh(torch.tensor([[[1.0], [0.5 * math.tanh(1)]]], dtype=torch.float64))
        upstream = torch.tensor([[[0.0], [1.0]]], dtype=torch.float64)
        dx, dh0, gradients = rnn_backward(x, h0, weights, states, upstream)
        found = [t.item() for t in (dx[0, 0], dx[0, 1], dh0, *gradients)]
        assert_close(found, [0.182, 0.868, 0.091, 0.182, 0.661, 1.050, 1.050], atol=1e-3, rtol=0)  # 3 digits
        dx, dh0, gradients = rnn_backward(x, h0, weights, states, upstream, 1)
        found = [t.item() for t in (dx[0, 0], dx[0, 1], dh0, *gradients)]
        assert_close(found, [0.0, 0.868, 0.0, 0.0, 0.661, 0.868, 0.868], atol=1e-3, rtol=0)  # 3 digits

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(("batch", "n", "d", "m"), [(3, 5, 2, 4), (1, 6, 3, 2), (2, 1, 4, 3), (3, 3, 3, 3)])
    def test_matches_autograd(self, batch, n, d, m, dtype):
        inputs = [
            t.requires_grad_()
            for t in (randn(batch, n, d, dtype=dtype), randn(batch, m, dtype=dtype), *some_weights(d, m, dtype))
        ]
        upstream = randn(batch, n, m, dtype=dtype)
        states = torchs_states(inputs[0], inputs[1], Weights(*inputs[2:]))
        expected = torch.autograd.grad(states, inputs, upstream)
        x, h0, *weights = [t.detach() for t in inputs]
        found = rnn_backward(x, h0, Weights(*weights), states.detach(), upstream)
        assert_gradients(found, expected)

    @pytest.mark.parametrize(("n", "truncate"), [(7, 1), (7, 2), (7, 3), (6, 3), (7, 6), (5, 5), (4, 9)])
    def test_truncated_it_stops_where_a_window_begins(self, n, truncate):
        inputs = [t.requires_grad_() for t in (randn(2, n, 3), randn(2, 4), *some_weights(3, 4))]
        upstream = randn(2, n, 4)
        states = torchs_states(inputs[0], inputs[1], Weights(*inputs[2:]), truncate)
        expected = torch.autograd.grad(states, inputs, upstream)
        x, h0, *weights = [t.detach() for t in inputs]
        found = rnn_backward(x, h0, Weights(*weights), states.detach(), upstream, truncate)
        assert_gradients(found, expected)

    def test_a_loss_of_the_last_state_alone(self):
        for n in (2, 5):  # each call is one window, whatever the call before had
            inputs = [t.requires_grad_() for t in (randn(2, n, 3), randn(2, 4), *some_weights(3, 4))]
            states = torchs_states(inputs[0], inputs[1], Weights(*inputs[2:]))
            upstream = torch.zeros(2, n, 4, dtype=torch.float64)
            upstream[:, -1] = randn(2, 4)
            expected = torch.autograd.grad(states, inputs, upstream)
            x, h0, *weights = [t.detach() for t in inputs]
            assert_gradients(rnn_backward(x, h0, Weights(*weights), states.detach(), upstream), expected)

    def test_each_bias_has_a_gradient_of_its_own(self):
        x, h0, weights = randn(2, 3, 2), randn(2, 4), some_weights(2, 4)
        states = torchs_states(x, h0, weights)
        gradients = rnn_backward(x, h0, weights, states, randn(2, 3, 4))[2]
        before = gradients.b_hh.clone()
        gradients.b_ih.zero_()
        assert_close(gradients.b_hh, before)

    @pytest.mark.parametrize("truncate", [0, -3])
    def test_a_window_of_no_steps_is_refused(self, truncate):
        x, h0, weights = randn(2, 3, 2), randn(2, 4), some_weights(2, 4)
        with raises(ValueError, truncate):
            rnn_backward(x, h0, weights, torchs_states(x, h0, weights), randn(2, 3, 4), truncate)


class TestGradientReach:
    def test_the_example_worked_by_hand(self):
        states = torch.tanh(torch.tensor([[[1.0], [0.5 * math.tanh(1)]]], dtype=torch.float64))
        found = gradient_reach(
            states, torch.full((1, 1), 0.5, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
        )
        assert_close(found, torch.tensor([0.434, 1.0], dtype=torch.float64), atol=1e-3, rtol=0)  # 3 digits

    @pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
    def test_it_vanishes_or_explodes_with_the_size_of_w_hh(self, factor):
        # States of 0, where tanh has slope 1, and a rotation, which keeps lengths, times the factor.
        rotation = torch.linalg.qr(randn(5, 5))[0]
        upstream = randn(3, 5)
        found = gradient_reach(torch.zeros(3, 101, 5, dtype=torch.float64), factor * rotation, upstream)
        steps = torch.arange(100, -1, -1, dtype=torch.float64)
        assert_close(found, upstream.norm() * factor**steps)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(("batch", "n", "m"), [(3, 5, 4), (1, 3, 2), (2, 1, 3)])
    def test_matches_autograd(self, batch, n, m, dtype):
        weights = some_weights(2, m, dtype)
        x, h, upstream = randn(batch, n, 2, dtype=dtype), randn(batch, m, dtype=dtype), randn(batch, m, dtype=dtype)
        states = []
        h.requires_grad_()
        for t in range(n):
            h = torch.rnn_tanh_cell(x[:, t], h, weights.w_ih, weights.w_hh, weights.b_ih, weights.b_hh)
            states.append(h)
        expected = torch.stack([g.norm() for g in torch.autograd.grad(states[-1], states, upstream)])
        assert_close(gradient_reach(torch.stack(states, 1).detach(), weights.w_hh, upstream), expected)


def both(d: int, m: int, bidirectional: bool, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, nn.RNN]:
    """The learner's layer and torch's, with the same weights."""
    mine = RNN(d, m, bidirectional).to(dtype)
    theirs = nn.RNN(d, m, batch_first=True, bidirectional=bidirectional).to(dtype)
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


def packed(
    theirs: nn.RNN, x: torch.Tensor, h0: torch.Tensor | None, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What torch's layer makes of rows of these lengths, padded with 0."""
    rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    output, last = theirs(rows, h0)
    return pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])[0], last


LENGTHS = [[4, 6, 1], [6, 6, 6], [2, 3, 5], [1, 1, 1]]


class TestRNN:
    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_has_torchs_parameters(self, bidirectional):
        mine, theirs = RNN(3, 5, bidirectional), nn.RNN(3, 5, batch_first=True, bidirectional=bidirectional)
        shapes = [{name: tuple(p.shape) for name, p in layer.named_parameters()} for layer in (mine, theirs)]
        assert_equal(shapes[0], shapes[1])
        assert_equal(sorted(mine.state_dict()), sorted(theirs.state_dict()))

    def test_reads_in_one_direction_unless_told_otherwise(self):
        assert_equal(tuple(RNN(3, 5)(torch.zeros(2, 4, 3))[0].shape), (2, 4, 5))

    @pytest.mark.parametrize("m", [16, 100])
    def test_starts_uniformly(self, m):
        layer, limit = RNN(300, m, bidirectional=True), 1 / math.sqrt(m)
        for name, parameter in layer.named_parameters():
            largest, spread = parameter.abs().max().item(), parameter.std(unbiased=False).item()
            if largest > limit:
                fail(
                    f"{name} starts with {largest:.3f}; expected numbers from {-limit:.3f} to {limit:.3f}.",
                    evidence=(name, "large"),
                )
            # A uniform variable has the standard deviation limit / √3, and over n numbers an error of about 0.45 / √n of it.
            if not abs(spread * math.sqrt(3) / limit - 1) < 6 * 0.45 / math.sqrt(parameter.numel()):
                fail(
                    f"{name} starts with a standard deviation of {spread:.4f}; {limit / math.sqrt(3):.4f} was expected.",
                    evidence=(name, "spread"),
                )
            assert_close(
                parameter.mean().item(), 0.0, atol=6 * limit / math.sqrt(3 * parameter.numel()), rtol=0
            )  # six standard errors
        drawn = [p.detach().flatten()[:8].tolist() for p in layer.parameters()]
        assert_equal(len({tuple(row) for row in drawn}), 8)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("bidirectional", [False, True])
    @pytest.mark.parametrize(("batch", "n", "d", "m"), [(3, 6, 2, 4), (1, 1, 3, 2), (2, 4, 3, 3)])
    def test_matches_torch(self, batch, n, d, m, bidirectional, dtype):
        mine, theirs = both(d, m, bidirectional, dtype)
        x = randn(batch, n, d, dtype=dtype)
        assert_close(list(mine(x)), [t.detach() for t in theirs(x)])

    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_begins_with_the_given_state(self, bidirectional):
        mine, theirs = both(3, 4, bidirectional)
        x, h0 = randn(2, 5, 3), randn(1 + bidirectional, 2, 4)
        assert_close(list(mine(x, h0)), [t.detach() for t in theirs(x, h0)])

    @pytest.mark.parametrize("given", [False, True])
    @pytest.mark.parametrize("bidirectional", [False, True])
    @pytest.mark.parametrize("lengths", LENGTHS)
    def test_matches_torch_on_rows_of_different_lengths(self, lengths, bidirectional, given):
        mine, theirs = both(2, 4, bidirectional)
        x, lengths = randn(3, 6, 2), torch.tensor(lengths)
        h0 = randn(1 + bidirectional, 3, 4) if given else None
        assert_close(list(mine(x, h0, lengths)), [t.detach() for t in packed(theirs, x, h0, lengths)])

    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_a_row_is_what_it_is_alone(self, bidirectional):
        mine, _ = both(2, 4, bidirectional)
        x, h0, lengths = randn(3, 6, 2), randn(1 + bidirectional, 3, 4), [4, 6, 1]
        output, last = mine(x, h0, torch.tensor(lengths))
        for i, length in enumerate(lengths):
            alone, end = mine(x[i : i + 1, :length], h0[:, i : i + 1].contiguous())
            assert_close([output[i, :length], last[:, i]], [alone[0].detach(), end[:, 0].detach()])

    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_the_padding_changes_nothing(self, bidirectional):
        mine, _ = both(2, 4, bidirectional)
        x, lengths = randn(3, 6, 2), torch.tensor([4, 6, 1])
        other = x.clone()
        other[0, 4:], other[2, 1:] = 1e6, -1e6
        assert_close(list(mine(other, None, lengths)), [t.detach() for t in mine(x, None, lengths)])

    @pytest.mark.parametrize("lengths", [None, [4, 6, 1]])
    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_gradients_match_torchs(self, bidirectional, lengths):
        mine, theirs = both(2, 4, bidirectional)
        x, h0 = randn(3, 6, 2).requires_grad_(), randn(1 + bidirectional, 3, 4).requires_grad_()
        upstream = [randn(3, 6, 4 + 4 * bidirectional), randn(1 + bidirectional, 3, 4)]
        lengths = None if lengths is None else torch.tensor(lengths)
        expected = theirs(x, h0) if lengths is None else packed(theirs, x, h0, lengths)
        gradients = torch.autograd.grad(expected, [x, h0, *theirs.parameters()], upstream)
        names = ["x", "h0", *(name for name, _ in theirs.named_parameters())]
        own = dict(mine.named_parameters())
        found = torch.autograd.grad(mine(x, h0, lengths), [x, h0, *(own[name] for name in names[2:])], upstream)
        assert_close(dict(zip(names, found, strict=True)), dict(zip(names, gradients, strict=True)))

    def test_a_call_owes_nothing_to_earlier_ones(self):
        mine, _ = both(3, 4, True)
        x = randn(2, 5, 3)
        before = [t.detach().clone() for t in mine(x)]
        mine(randn(2, 5, 3), randn(2, 2, 4))
        mine(randn(4, 3, 3), None, torch.tensor([1, 3, 2, 2]))
        assert_close(list(mine(x)), before)

    @pytest.mark.parametrize(
        ("n", "lengths", "wrong"), [(5, [3, 0, 2], 0), (5, [6, 1, 5], 6), (3, [1, 2, -4], -4), (3, [1, 2, 4], 4)]
    )
    def test_a_length_outside_the_row_is_refused(self, n, lengths, wrong):
        layer = RNN(2, 4)
        with raises(ValueError, wrong, n):
            layer(torch.zeros(3, n, 2), None, torch.tensor(lengths))
        output, _ = layer(torch.zeros(3, n, 2), None, torch.tensor([1, n, n - 1]))
        assert_equal(tuple(output.shape), (3, n, 4))


@pytest.mark.deadline(30)  # the pretended device is slow, for solutions in plain loops above all
class TestOnTheGpu:
    def test_step_and_forward(self, gpu):
        weights = Weights(*(w.requires_grad_() for w in some_weights(3, 4)))
        gpu.check(rnn_step, randn(2, 3).requires_grad_(), randn(2, 4), weights)
        gpu.check(rnn_forward, randn(2, 5, 3), randn(2, 4).requires_grad_(), weights)

    @pytest.mark.parametrize("truncate", [None, 2])
    def test_backward(self, gpu, truncate):
        x, h0, weights = randn(2, 5, 3), randn(2, 4), some_weights(3, 4)
        gpu.check(rnn_backward, x, h0, weights, torchs_states(x, h0, weights), randn(2, 5, 4), truncate)

    def test_gradient_reach(self, gpu):
        gpu.check(gradient_reach, randn(2, 5, 4).tanh(), randn(4, 4), randn(2, 4))

    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_the_layer(self, gpu, bidirectional):
        layer, _ = both(3, 4, bidirectional)
        gpu.check(layer, randn(2, 5, 3).requires_grad_())
        gpu.check(layer, randn(2, 5, 3), randn(1 + bidirectional, 2, 4).requires_grad_(), torch.tensor([2, 5]))
