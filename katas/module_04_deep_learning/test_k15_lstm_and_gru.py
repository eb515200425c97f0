"""Judges k15_lstm_and_gru against nn.LSTM, nn.GRU and their cells with the same weights."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure
from katas.module_04_deep_learning.k15_lstm_and_gru import GRU, LSTM, Weights, gru_step, lstm_step, set_forget_bias

pytestmark = [
    from_scratch(
        "torch.nn.LSTM",
        "torch.nn.LSTMCell",
        "torch.nn.GRU",
        "torch.nn.GRUCell",
        "torch.nn.RNNBase",
        "torch.lstm",
        "torch.gru",
        "torch.lstm_cell",
        "torch.gru_cell",
    ),
    pure("set_forget_bias"),
]

DTYPES = [torch.float64, torch.float32]


def randn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype)


def some_weights(gates: int, d: int, m: int, dtype: torch.dtype = torch.float64) -> Weights:
    rows = gates * m
    matrices = randn(rows, d, dtype=dtype), randn(rows, m, dtype=dtype)
    return Weights(*matrices, randn(rows, dtype=dtype), randn(rows, dtype=dtype))


def biases_only(b_ih: list[float], b_hh: list[float]) -> Weights:
    """d = m = 1 and matrices of zeros."""
    zeros = torch.zeros(len(b_ih), 1, dtype=torch.float64)
    biases = (torch.tensor(b, dtype=torch.float64) for b in (b_ih, b_hh))
    return Weights(zeros, zeros.clone(), *biases)


class TestLstmStep:
    def test_the_example_worked_by_hand(self):
        one = torch.ones(1, 1, dtype=torch.float64)
        h, c = lstm_step(one, (0 * one, one), biases_only([0, 2, 1, 0], [0, 0, 0, 0]))
        assert_close([h.item(), c.item()], [0.426, 1.262], atol=1e-3, rtol=0)  # 3 digits

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(("batch", "d", "m"), [(4, 3, 5), (1, 6, 2), (3, 4, 4)])
    def test_matches_torchs_cell(self, batch, d, m, dtype):
        weights = some_weights(4, d, m, dtype)
        x, h, c = randn(batch, d, dtype=dtype), randn(batch, m, dtype=dtype), 2 * randn(batch, m, dtype=dtype)
        assert_close(list(lstm_step(x, (h, c), weights)), list(torch.lstm_cell(x, (h, c), *weights)))

    @pytest.mark.parametrize("lead", [(), (2, 3)])
    def test_any_leading_dimensions(self, lead):
        weights = some_weights(4, 3, 5)
        x, h, c = randn(*lead, 3), randn(*lead, 5), randn(*lead, 5)
        flat = torch.lstm_cell(x.reshape(-1, 3), (h.reshape(-1, 5), c.reshape(-1, 5)), *weights)
        assert_close(list(lstm_step(x, (h, c), weights)), [t.reshape(*lead, 5) for t in flat])

    def test_large_inputs_saturate(self):
        weights = Weights(1e4 * torch.eye(4), torch.zeros(4, 1), torch.zeros(4), torch.zeros(4))
        h, c = lstm_step(torch.tensor([1.0, -1.0, -1.0, 1.0]), (torch.zeros(1), torch.tensor([7.0])), weights)
        assert_close([h.item(), c.item()], [math.tanh(-1), -1.0], atol=1e-6, rtol=0)  # float32

    def test_gradients_reach_everything(self):
        inputs = [t.requires_grad_() for t in (randn(2, 3), randn(2, 4), randn(2, 4), *some_weights(4, 3, 4))]
        x, h, c, *weights = inputs
        upstream = [randn(2, 4), randn(2, 4)]
        expected = torch.autograd.grad(torch.lstm_cell(x, (h, c), *weights), inputs, upstream)
        assert_close(
            list(torch.autograd.grad(lstm_step(x, (h, c), Weights(*weights)), inputs, upstream)), list(expected)
        )


class TestGruStep:
    def test_the_example_worked_by_hand(self):
        one = torch.ones(1, 1, dtype=torch.float64)
        found = gru_step(one, one, biases_only([0, 1, 0.2], [0, 0, 1]))
        assert_close(found.item(), 0.894, atol=1e-3, rtol=0)  # 3 digits

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(("batch", "d", "m"), [(4, 3, 5), (1, 6, 2), (3, 4, 4)])
    def test_matches_torchs_cell(self, batch, d, m, dtype):
        weights = some_weights(3, d, m, dtype)
        x, h = randn(batch, d, dtype=dtype), randn(batch, m, dtype=dtype)
        assert_close(gru_step(x, h, weights), torch.gru_cell(x, h, *weights))

    @pytest.mark.parametrize("lead", [(), (2, 3)])
    def test_any_leading_dimensions(self, lead):
        weights = some_weights(3, 3, 5)
        x, h = randn(*lead, 3), randn(*lead, 5)
        expected = torch.gru_cell(x.reshape(-1, 3), h.reshape(-1, 5), *weights).reshape(*lead, 5)
        assert_close(gru_step(x, h, weights), expected)

    def test_gradients_reach_everything(self):
        inputs = [t.requires_grad_() for t in (randn(2, 3), randn(2, 4), *some_weights(3, 3, 4))]
        x, h, *weights = inputs
        upstream = randn(2, 4)
        expected = torch.autograd.grad(torch.gru_cell(x, h, *weights), inputs, upstream)
        assert_close(list(torch.autograd.grad(gru_step(x, h, Weights(*weights)), inputs, upstream)), list(expected))


class TestSetForgetBias:
    @pytest.mark.parametrize("value", [1.0, -2.5, 0.0])
    @pytest.mark.parametrize(("m", "layers", "bidirectional"), [(5, 1, False), (3, 3, True)])
    def test_both_biases_together_are_the_value(self, m, layers, bidirectional, value):
        lstm = nn.LSTM(4, m, layers, batch_first=True, bidirectional=bidirectional)
        before = {name: p.detach().clone() for name, p in lstm.named_parameters()}
        answer = set_forget_bias(lstm, value)
        assert answer is None, "set_forget_bias changes the module in place and returns nothing"
        names = [name.removeprefix("bias_ih") for name in before if name.startswith("bias_ih")]
        found = {
            end: (lstm.get_parameter(f"bias_ih{end}") + lstm.get_parameter(f"bias_hh{end}")).detach() for end in names
        }
        whole = {end: before[f"bias_ih{end}"] + before[f"bias_hh{end}"] for end in names}
        for bias in whole.values():
            bias[m : 2 * m] = value
        assert_close(found, whole)

    def test_all_other_numbers_stay(self):
        lstm = nn.LSTM(4, 3, 2, bidirectional=True)
        before = {name: p.detach().clone() for name, p in lstm.named_parameters()}
        set_forget_bias(lstm, 1.5)
        gates = [0, 1, 2, 6, 7, 8, 9, 10, 11]
        now = {name: p.detach() for name, p in lstm.named_parameters()}
        assert_close(
            {name: p[gates] if p.dim() == 1 else p for name, p in now.items()},
            {name: p[gates] if p.dim() == 1 else p for name, p in before.items()},
        )

    def test_the_parameters_stay_the_same_objects_and_can_be_trained(self):
        lstm = nn.LSTM(2, 3, batch_first=True)
        before = list(lstm.parameters())
        set_forget_bias(lstm, 1.0)
        assert_equal([p is old for p, old in zip(lstm.parameters(), before, strict=True)], [True] * 4)
        assert_equal(
            [(p.requires_grad, p.is_leaf, p.grad is None) for p in lstm.parameters()], [(True, True, True)] * 4
        )
        lstm(torch.randn(2, 4, 2))[0].sum().backward()
        assert_equal([p.grad is not None for p in lstm.parameters()], [True] * 4)

    def test_works_on_your_lstm(self):
        lstm = LSTM(2, 3, 2).double()
        set_forget_bias(lstm, 4.0)
        for k in range(2):
            whole = lstm.get_parameter(f"bias_ih_l{k}") + lstm.get_parameter(f"bias_hh_l{k}")
            assert_close(whole[3:6].detach(), torch.full((3,), 4.0, dtype=torch.float64))


def torchs(kind: str, *sizes, **options) -> nn.Module:
    return {"lstm": nn.LSTM, "gru": nn.GRU}[kind](*sizes, batch_first=True, **options)


def mine(kind: str, *sizes) -> nn.Module:
    return {"lstm": LSTM, "gru": GRU}[kind](*sizes)


def both(
    kind: str, d: int, m: int, layers: int, bidirectional: bool, dtype: torch.dtype = torch.float64
) -> tuple[nn.Module, nn.Module]:
    """The learner's layers and torch's, with the same weights: large enough that no gate is at ½."""
    theirs = torchs(kind, d, m, layers, bidirectional=bidirectional).to(dtype)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.8)
    own = mine(kind, d, m, layers, bidirectional).to(dtype)
    own.load_state_dict(theirs.state_dict())
    return own, theirs


def a_state(kind: str, *shape: int):
    return (randn(*shape), randn(*shape)) if kind == "lstm" else randn(*shape)


def flat(answer, detach: bool = True) -> list[torch.Tensor]:
    """Outputs and last states as a list."""
    output, last = answer
    parts = [output, *(last if isinstance(last, tuple | list) else [last])]
    return [t.detach() for t in parts] if detach else parts


def packed(theirs: nn.Module, x: torch.Tensor, state, lengths: torch.Tensor):
    """What torch's layers make of rows of these lengths, padded with 0."""
    rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    output, last = theirs(rows, state)
    return pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])[0], last


STACKS = [(1, False), (1, True), (2, False), (3, True)]


class Layers:
    """What is asked of LSTM and of GRU."""

    kind = ""

    @pytest.mark.parametrize(("layers", "bidirectional"), STACKS)
    def test_has_torchs_parameters(self, layers, bidirectional):
        own, theirs = (
            mine(self.kind, 3, 5, layers, bidirectional),
            torchs(self.kind, 3, 5, layers, bidirectional=bidirectional),
        )
        shapes = [{name: tuple(p.shape) for name, p in layer.named_parameters()} for layer in (own, theirs)]
        assert_equal(shapes[0], shapes[1])
        assert_equal(sorted(own.state_dict()), sorted(theirs.state_dict()))

    def test_one_layer_and_one_direction_unless_told_otherwise(self):
        layer = mine(self.kind, 3, 5)
        assert_equal(len(list(layer.parameters())), 4)
        assert_equal([tuple(t.shape) for t in flat(layer(torch.zeros(2, 4, 3)))][:2], [(2, 4, 5), (1, 2, 5)])

    @pytest.mark.parametrize("m", [16, 100])
    def test_starts_uniformly(self, m):
        layer, limit = mine(self.kind, 300, m, 2, True), 1 / math.sqrt(m)
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
            error = 6 * limit / math.sqrt(3 * parameter.numel())  # six standard errors
            assert_close(parameter.mean().item(), 0.0, atol=error, rtol=0)
        drawn = [p.detach().flatten()[:8].tolist() for p in layer.parameters()]
        assert_equal(len({tuple(row) for row in drawn}), 16)

    @pytest.mark.parametrize(("layers", "bidirectional"), STACKS)
    @pytest.mark.parametrize(("batch", "n", "d", "m"), [(3, 4, 2, 4), (1, 1, 3, 2), (2, 3, 3, 3)])
    def test_matches_torch(self, batch, n, d, m, layers, bidirectional):
        own, theirs = both(self.kind, d, m, layers, bidirectional)
        x = randn(batch, n, d)
        assert_close(flat(own(x)), flat(theirs(x)))

    def test_in_float32(self):
        own, theirs = both(self.kind, 3, 5, 1, True, torch.float32)
        x = randn(2, 4, 3, dtype=torch.float32)
        assert_close(flat(own(x)), flat(theirs(x)))

    @pytest.mark.parametrize(("layers", "bidirectional"), STACKS)
    def test_begins_with_the_given_state(self, layers, bidirectional):
        own, theirs = both(self.kind, 3, 4, layers, bidirectional)
        x, state = randn(2, 5, 3), a_state(self.kind, layers * (1 + bidirectional), 2, 4)
        assert_close(flat(own(x, state)), flat(theirs(x, state)))

    def test_two_halves_with_a_carried_state_are_the_whole(self):
        own, _ = both(self.kind, 3, 4, 2, False)
        x = randn(2, 7, 3)
        whole = flat(own(x))
        output, state = own(x[:, :3])
        second, last = own(x[:, 3:], state)
        assert_close(flat((torch.cat([output, second], 1), last)), whole)

    @pytest.mark.parametrize("given", [False, True])
    @pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
    @pytest.mark.parametrize("lengths", [[4, 5, 1], [5, 5, 5], [2, 3, 4]])
    def test_matches_torch_on_rows_of_different_lengths(self, lengths, layers, bidirectional, given):
        own, theirs = both(self.kind, 2, 4, layers, bidirectional)
        x, lengths = randn(3, 5, 2), torch.tensor(lengths)
        state = a_state(self.kind, layers * (1 + bidirectional), 3, 4) if given else None
        assert_close(flat(own(x, state, lengths)), flat(packed(theirs, x, state, lengths)))

    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_the_padding_changes_nothing(self, bidirectional):
        own, _ = both(self.kind, 2, 4, 2, bidirectional)
        x, lengths = randn(3, 6, 2), torch.tensor([4, 6, 1])
        other = x.clone()
        other[0, 4:], other[2, 1:] = 1e6, -1e6
        assert_close(flat(own(other, None, lengths)), flat(own(x, None, lengths)))

    @pytest.mark.parametrize("lengths", [None, [4, 6, 1]])
    @pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
    def test_gradients_match_torchs(self, layers, bidirectional, lengths):
        own, theirs = both(self.kind, 2, 4, layers, bidirectional)
        x, state = randn(3, 6, 2).requires_grad_(), a_state(self.kind, layers * (1 + bidirectional), 3, 4)
        states = [part.requires_grad_() for part in (state if self.kind == "lstm" else [state])]
        lengths = None if lengths is None else torch.tensor(lengths)
        answers = flat(theirs(x, state) if lengths is None else packed(theirs, x, state, lengths), detach=False)
        upstream = [torch.randn_like(t) for t in answers]
        names = [name for name, _ in theirs.named_parameters()]
        expected = torch.autograd.grad(answers, [x, *states, *theirs.parameters()], upstream)
        parameters = dict(own.named_parameters())
        inputs = [x, *states, *(parameters[name] for name in names)]
        found = torch.autograd.grad(flat(own(x, state, lengths), detach=False), inputs, upstream)
        labels = ["x", "h0", "c0"][: 1 + len(states)] + names
        assert_close(dict(zip(labels, found, strict=True)), dict(zip(labels, expected, strict=True)))

    def test_a_call_owes_nothing_to_earlier_ones(self):
        own, _ = both(self.kind, 3, 4, 2, True)
        x = randn(2, 5, 3)
        before = [t.clone() for t in flat(own(x))]
        own(randn(2, 5, 3), a_state(self.kind, 4, 2, 4))
        own(randn(4, 3, 3), None, torch.tensor([1, 3, 2, 2]))
        assert_close(flat(own(x)), before)

    def test_the_given_state_stays(self):
        own, _ = both(self.kind, 3, 4, 1, False)
        state = a_state(self.kind, 1, 2, 4)
        before = [part.clone() for part in (state if self.kind == "lstm" else [state])]
        own(randn(2, 5, 3), state, torch.tensor([5, 2]))
        assert_close(list(state if self.kind == "lstm" else [state]), before)


class TestLSTM(Layers):
    kind = "lstm"

    def test_an_open_forget_gate_remembers(self):
        lstm = nn.LSTM(2, 8, batch_first=True)  # torch's draw, so that only the layers are judged
        own = LSTM(2, 8)
        own.load_state_dict(lstm.state_dict())
        with torch.no_grad():
            own.bias_ih_l0[8:16], own.bias_hh_l0[8:16] = 12.0, 0.0
            own.bias_ih_l0[:8], own.bias_hh_l0[:8] = -12.0, 0.0  # and nothing new comes in
        c0 = torch.randn(1, 3, 8)
        c = own(torch.randn(3, 100, 2), (torch.zeros(1, 3, 8), c0))[1][1]
        assert_close(c, c0, atol=0.02, rtol=0.01)  # 100 steps of gates that are open but for a few 1e-5


class TestGRU(Layers):
    kind = "gru"


@pytest.mark.deadline(30)  # the pretended device is slow, for solutions in plain loops above all
class TestOnTheGpu:
    def test_steps(self, gpu):
        weights = Weights(*(w.requires_grad_() for w in some_weights(4, 3, 4)))
        gpu.check(lstm_step, randn(2, 3).requires_grad_(), (randn(2, 4), randn(2, 4)), weights)
        gpu.check(gru_step, randn(2, 3), randn(2, 4).requires_grad_(), some_weights(3, 3, 4))

    def test_set_forget_bias(self, gpu):
        lstm = gpu(LSTM(2, 3, 2, True).double())
        set_forget_bias(lstm, 1.25)
        for name in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
            whole = lstm.get_parameter(f"bias_ih{name}") + lstm.get_parameter(f"bias_hh{name}")
            assert_close(whole[3:6].detach().cpu(), torch.full((3,), 1.25, dtype=torch.float64))

    @pytest.mark.parametrize("kind", ["lstm", "gru"])
    def test_layers(self, gpu, kind):
        own, _ = both(kind, 3, 4, 2, True)
        gpu.check(own, randn(2, 2, 3).requires_grad_())
        gpu.check(own, randn(2, 3, 3), a_state(kind, 4, 2, 4), torch.tensor([1, 3]))
