"""Judges k07_batch_normalization against torch's own norms, in both modes, forward, backward and in what they remember."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_04_deep_learning.k07_batch_normalization import (
    BatchNorm,
    GroupNorm,
    batch_norm_backward,
    fold,
    instance_norm,
)

pytestmark = [
    from_scratch(
        "torch.nn.BatchNorm1d",
        "torch.nn.BatchNorm2d",
        "torch.nn.BatchNorm3d",
        "torch.nn.SyncBatchNorm",
        "torch.nn.GroupNorm",
        "torch.nn.InstanceNorm1d",
        "torch.nn.InstanceNorm2d",
        "torch.nn.LayerNorm",
        "torch.nn.functional.batch_norm",
        "torch.nn.functional.group_norm",
        "torch.nn.functional.instance_norm",
        "torch.nn.functional.layer_norm",
        "torch.batch_norm",
        "torch.group_norm",
        "torch.instance_norm",
        "torch.layer_norm",
        "torch.native_batch_norm",
        "torch.native_group_norm",
        "torch.native_layer_norm",
        "torch.nn.utils.fusion",
        "torch.nn.utils.fuse_conv_bn_eval",
        "torch.func",
        "torch.autograd.grad",
        "torch.autograd.backward",
        "torch.autograd.functional",
        "torch.Tensor.backward",
    ),
    pure(),
]

HAND = torch.tensor([[0.0], [0], [3], [3]])
SHAPES = [(5, 3), (4, 3, 5), (2, 3, 4, 5), (1, 3, 2, 4), (2, 3, 2, 1, 3)]


def some(*shape: int, requires_grad: bool = False) -> torch.Tensor:
    """Random float64 numbers, each channel with a mean and a spread of its own."""
    channels = torch.arange(shape[1], dtype=torch.float64).reshape(-1, *[1] * (len(shape) - 2))
    x = torch.randn(shape, dtype=torch.float64) * (1 + channels) + 2 * channels - 1
    return x.requires_grad_(requires_grad)


def lively(norm: nn.Module) -> nn.Module:
    """The norm in float64 with random parameters and running statistics, as a weight of 1 or a mean of 0 hides mistakes."""
    norm = norm.double()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        if "running_mean" in norm.state_dict():
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 3)
    return norm


def torchs(norm: nn.Module, dims: int, momentum: float | None = 0.1, eps: float = 1e-5) -> nn.Module:
    """torch's batch norm for x of so many axes, in the same state."""
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[dims]
    theirs = kind(len(norm.weight), eps, momentum).double()
    theirs.load_state_dict(norm.state_dict())
    return theirs


def memory(norm: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.detach().clone() for name, buffer in norm.named_buffers()}


class TestBatchNorm:
    def one_channel(self) -> nn.Module:
        norm = BatchNorm(1, eps=0.0)
        with torch.no_grad():
            norm.weight.fill_(3.0)
            norm.bias.fill_(1.0)
        return norm

    def test_the_example_worked_by_hand(self):
        norm = self.one_channel()
        assert_close(norm(HAND), torch.tensor([[-2.0], [-2], [4], [4]]))
        expected = {"running_mean": [0.15], "running_var": [1.2]}
        assert_close({name: memory(norm)[name] for name in expected}, {n: torch.tensor(v) for n, v in expected.items()})

    def test_what_it_holds_at_the_start(self):
        state = BatchNorm(4).state_dict()
        ones, zeros = torch.ones(4), torch.zeros(4)
        expected = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
        assert_close(dict(state), {**expected, "num_batches_tracked": torch.tensor(0)})

    def test_its_parameters_are_weight_and_bias(self):
        assert_equal(sorted(name for name, _ in BatchNorm(4).named_parameters()), ["bias", "weight"])

    @pytest.mark.parametrize("shape", [*SHAPES, (2, 3), (1, 3, 2)])
    @pytest.mark.parametrize("eps", [1e-5, 0.7])
    def test_training_matches_torch(self, shape, eps):
        norm = lively(BatchNorm(3, eps))
        theirs, x = torchs(norm, len(shape), eps=eps), some(*shape)
        assert_close(norm(x), theirs(x))

    @pytest.mark.parametrize("shape", [*SHAPES, (1, 3), (1, 3, 1)])
    @pytest.mark.parametrize("eps", [1e-5, 0.7])
    def test_evaluation_matches_torch(self, shape, eps):
        norm = lively(BatchNorm(3, eps)).eval()
        theirs, x = torchs(norm, len(shape), eps=eps).eval(), some(*shape)
        assert_close(norm(x), theirs(x))

    @pytest.mark.parametrize("momentum", [0.1, 0.4, 1.0, 0.0])
    @pytest.mark.parametrize("shapes", [[(5, 3)], [(4, 3, 5), (2, 3, 2)], [(2, 3, 4, 5), (1, 3, 2, 2), (3, 3, 1, 1)]])
    def test_running_statistics_match_torch(self, shapes, momentum):
        norm = lively(BatchNorm(3, momentum=momentum))
        theirs = torchs(norm, len(shapes[0]), momentum)
        for shape in shapes:
            x = some(*shape)
            norm(x)
            theirs(x)
            assert_close(memory(norm), memory(theirs))

    def test_its_defaults(self):
        norm, x = BatchNorm(3).double(), some(4, 3) * 1e-2
        theirs = torchs(norm, 2)
        assert_close(norm(x), theirs(x))
        assert_close(memory(norm), memory(theirs))

    def test_momentum_none_is_the_average_over_all_batches(self):
        norm = BatchNorm(3, momentum=None).double()
        batches = [some(n, 3, 2) for n in (4, 2, 5)]
        for x in batches:
            norm(x)
        found = memory(norm)
        assert_close(found["running_mean"], torch.stack([x.mean((0, 2)) for x in batches]).mean(0))
        assert_close(found["running_var"], torch.stack([x.var((0, 2)) for x in batches]).mean(0))

    def test_momentum_none_goes_on_from_a_loaded_state(self):
        first = BatchNorm(3, momentum=None).double()
        theirs = torchs(first, 2, None)
        for _ in range(2):
            x = some(4, 3)
            first(x)
            theirs(x)
        second, x = BatchNorm(3, momentum=None).double(), some(6, 3)
        second.load_state_dict(first.state_dict())
        second(x)
        theirs(x)
        assert_close(memory(second), memory(theirs))

    def test_evaluation_changes_nothing(self):
        norm = lively(BatchNorm(3)).eval()
        before = memory(norm)
        norm(some(4, 3, 2))
        assert_close(memory(norm), before)

    def test_each_image_by_itself_in_evaluation(self):
        norm, x = lively(BatchNorm(3)), some(4, 3, 2)
        norm(x)
        norm.eval()
        expected = torchs(norm, 3).eval()(x)
        assert_close(torch.cat([norm(x[i : i + 1]) for i in range(4)]), expected)

    def test_back_and_forth_between_the_modes(self):
        norm = lively(BatchNorm(3))
        theirs = torchs(norm, 2)
        for training in (True, False, True, True, False):
            norm.train(training)
            theirs.train(training)
            x = some(5, 3)
            assert_close(norm(x), theirs(x))

    def test_statistics_are_kept_without_gradients_too(self):
        norm, x = lively(BatchNorm(3)), some(4, 3)
        theirs = torchs(norm, 2)
        with torch.no_grad():
            norm(x)
            theirs(x)
        assert_close(memory(norm), memory(theirs))

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4, 5)])
    def test_gradients_match_torch(self, shape, training):
        norm = lively(BatchNorm(3, 0.3)).train(training)
        theirs = torchs(norm, len(shape), eps=0.3).train(training)
        x, upstream = some(*shape, requires_grad=True), torch.randn(shape, dtype=torch.float64)
        expected = torch.autograd.grad(theirs(x), [x, theirs.weight, theirs.bias], upstream)
        assert_close(torch.autograd.grad(norm(x), [x, norm.weight, norm.bias], upstream), expected)

    def test_one_batch_after_the_other_can_be_differentiated(self):
        norm = lively(BatchNorm(3))
        theirs = torchs(norm, 2)
        for _ in range(3):
            x, upstream = some(4, 3, requires_grad=True), torch.randn(4, 3, dtype=torch.float64)
            expected = torch.autograd.grad(theirs(x), [x], upstream)
            assert_close(torch.autograd.grad(norm(x), [x], upstream), expected)
        assert_equal([buffer.requires_grad for buffer in norm.buffers()], [False] * 3)

    def test_torchs_module_can_load_its_state_and_it_theirs(self):
        theirs = lively(nn.BatchNorm2d(3))
        theirs(some(2, 3, 4, 4))
        norm, x = BatchNorm(3).double(), some(2, 3, 4, 5)
        norm.load_state_dict(theirs.state_dict())
        assert_close(norm.eval()(x), theirs.eval()(x))

    def test_of_a_tensor_that_is_not_contiguous(self):
        norm, x = lively(BatchNorm(3)), some(2, 3, 4, 5).to(memory_format=torch.channels_last)[..., ::2]
        theirs = torchs(norm, 4)
        assert_close(norm(x), theirs(x))

    def test_a_large_mean_costs_no_digits(self):
        x = torch.randn(40, 3) + 2000
        expected = F.batch_norm(x.double(), None, None, training=True).float()
        # The mean of numbers near 2000 is right to 1e-4 in float32, and the channels have a spread of 1.
        assert_close(BatchNorm(3)(x), expected, atol=3e-3, rtol=0)

    @pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1)])
    def test_refuses_to_train_on_one_value_a_channel(self, shape):
        norm = lively(BatchNorm(3))
        before = memory(norm)
        with raises(ValueError, shape):
            norm(torch.ones(shape, dtype=torch.float64))
        assert_close(memory(norm), before)

    @pytest.mark.parametrize("training", [True, False])
    def test_refuses_another_number_of_channels(self, training):
        norm = lively(BatchNorm(3)).train(training)
        before = memory(norm)
        for channels in (1, 4):
            with raises(ValueError, channels, 3):
                norm(torch.ones(2, channels, 5, dtype=torch.float64))
        assert_close(memory(norm), before)


class TestBatchNormBackward:
    def test_the_example_worked_by_hand(self):
        upstream = torch.tensor([[4.0], [0], [0], [0]])
        expected = [torch.tensor([[4.0], [-4], [0], [0]]), torch.tensor([-4.0]), torch.tensor([4.0])]
        assert_close(batch_norm_backward(upstream, HAND, torch.tensor([3.0]), eps=0.0), expected)

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("eps", [1e-5, 0.7])
    def test_matches_autograd(self, shape, eps):
        x = some(*shape, requires_grad=True)
        weight, bias = torch.randn(2, 3, dtype=torch.float64).unbind()
        leaves = [x, weight.clone().requires_grad_(), bias.requires_grad_()]
        upstream = torch.randn(shape, dtype=torch.float64) + 0.5
        y = F.batch_norm(leaves[0], None, None, leaves[1], leaves[2], training=True, eps=eps)
        expected = torch.autograd.grad(y, leaves, upstream)
        assert_close(batch_norm_backward(upstream, x.detach(), weight, eps), expected)

    def test_its_default_eps(self):
        x = (some(5, 3) * 1e-2).requires_grad_()
        weight, upstream = torch.randn(3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
        expected = torch.autograd.grad(F.batch_norm(x, None, None, weight, training=True), x, upstream)[0]
        assert_close(batch_norm_backward(upstream, x.detach(), weight)[0], expected)

    def test_of_tensors_that_are_not_contiguous(self):
        x = some(2, 3, 5, 4).mT.requires_grad_()
        weight, upstream = torch.randn(3, dtype=torch.float64), torch.randn(2, 4, 5, 3, dtype=torch.float64)
        upstream = upstream.permute(0, 3, 1, 2)
        expected = torch.autograd.grad(F.batch_norm(x, None, None, weight, training=True), x, upstream)[0]
        assert_close(batch_norm_backward(upstream, x.detach(), weight)[0], expected)


class TestGroupNorm:
    def test_the_example_worked_by_hand(self):
        x = torch.tensor([[1.0, 3, 10, 14]])
        assert_close(GroupNorm(2, 4, eps=0.0)(x), torch.tensor([[-1.0, 1, -1, 1]]))

    @pytest.mark.parametrize("shape", [(3, 6), (2, 6, 5), (2, 6, 3, 4), (1, 6, 2, 1, 3)])
    @pytest.mark.parametrize(("groups", "eps"), [(1, 1e-5), (2, 0.6), (3, 1e-5)])
    def test_matches_torch(self, shape, groups, eps):
        norm, x = lively(GroupNorm(groups, 6, eps)), some(*shape)
        assert_close(norm(x), F.group_norm(x, groups, norm.weight, norm.bias, eps))

    def test_a_group_for_each_channel(self):
        norm, x = lively(GroupNorm(4, 4)), some(2, 4, 3, 2)
        assert_close(norm(x), F.group_norm(x, 4, norm.weight, norm.bias))

    def test_its_default_eps(self):
        x = some(4, 6, 3) * 1e-2
        assert_close(GroupNorm(2, 6).double()(x), F.group_norm(x, 2))

    def test_starts_with_weight_1_and_bias_0(self):
        state = {name: value.detach() for name, value in GroupNorm(2, 6).state_dict().items()}
        assert_close(state, {"weight": torch.ones(6), "bias": torch.zeros(6)})

    def test_is_the_same_in_both_modes(self):
        norm, x = lively(GroupNorm(2, 6)), some(3, 6, 4)
        expected = F.group_norm(x, 2, norm.weight, norm.bias)
        assert_close(norm.train()(x), expected)
        assert_close(norm.eval()(x), expected)
        assert_close(norm.eval()(x[:1]), expected[:1])

    def test_gradients_match_torch(self):
        norm, x = lively(GroupNorm(3, 6, 0.3)), some(2, 6, 4, requires_grad=True)
        leaves, upstream = [x, norm.weight, norm.bias], torch.randn(2, 6, 4, dtype=torch.float64)
        expected = torch.autograd.grad(F.group_norm(x, 3, norm.weight, norm.bias, 0.3), leaves, upstream)
        assert_close(torch.autograd.grad(norm(x), leaves, upstream), expected)

    def test_its_input_stays_as_it_is(self):
        x = some(3, 6, 4)
        before = x.clone()
        lively(GroupNorm(2, 6))(x)
        assert_close(x, before)

    def test_of_a_tensor_that_is_not_contiguous(self):
        norm, x = lively(GroupNorm(2, 6)), some(2, 6, 4, 5).to(memory_format=torch.channels_last)[..., ::2]
        assert_close(norm(x), F.group_norm(x, 2, norm.weight, norm.bias))

    def test_a_large_mean_costs_no_digits(self):
        x = torch.randn(3, 4, 20) + 2000
        expected = F.group_norm(x.double(), 2).float()
        # The mean of numbers near 2000 is right to 1e-4 in float32, and the groups have a spread of 1.
        assert_close(GroupNorm(2, 4)(x), expected, atol=3e-3, rtol=0)

    @pytest.mark.parametrize(("groups", "channels"), [(4, 6), (3, 2), (0, 6), (-2, 6)])
    def test_refuses_channels_that_cannot_be_cut(self, groups, channels):
        with raises(ValueError, groups, channels):
            GroupNorm(groups, channels)

    @pytest.mark.parametrize("channels", [3, 8])
    def test_refuses_another_number_of_channels(self, channels):
        norm = GroupNorm(2, 6)
        with raises(ValueError, channels, 6):
            norm(torch.ones(2, channels, 5))


class TestInstanceNorm:
    def test_each_channel_of_each_image(self):
        x = torch.tensor([[[0.0, 2], [10, 30]], [[5, 1], [-1, 0]]])
        assert_close(instance_norm(x, eps=0.0), torch.tensor([[[-1.0, 1], [-1, 1]], [[1, -1], [-1, 1]]]))

    @pytest.mark.parametrize("shape", [(3, 2, 5), (2, 3, 4, 5), (1, 2, 2, 3, 2)])
    @pytest.mark.parametrize("eps", [1e-5, 0.7])
    def test_matches_torch(self, shape, eps):
        x = some(*shape)
        assert_close(instance_norm(x, eps), F.instance_norm(x, eps=eps))

    def test_its_default_eps(self):
        x = some(2, 3, 4) * 1e-2
        assert_close(instance_norm(x), F.instance_norm(x))

    def test_gradients_match_torch(self):
        x, upstream = some(2, 3, 4, 2, requires_grad=True), torch.randn(2, 3, 4, 2, dtype=torch.float64)
        expected = torch.autograd.grad(F.instance_norm(x, eps=0.3), x, upstream)
        assert_close(torch.autograd.grad(instance_norm(x, 0.3), x, upstream), expected)

    def test_of_a_tensor_that_is_not_contiguous(self):
        x = some(2, 3, 4, 5).to(memory_format=torch.channels_last)[..., ::2]
        assert_close(instance_norm(x), F.instance_norm(x))

    def test_a_large_mean_costs_no_digits(self):
        x = torch.randn(2, 3, 40) + 2000
        # The mean of numbers near 2000 is right to 1e-4 in float32, and the channels have a spread of 1.
        assert_close(instance_norm(x), F.instance_norm(x.double()).float(), atol=3e-3, rtol=0)


SETTINGS = [
    {},
    {"bias": False},
    {"stride": 2, "padding": (1, 0)},
    {"dilation": 2, "padding": 2, "bias": False},
    {"groups": 2},
    {"padding": 1, "padding_mode": "reflect"},
    {"padding": "same"},
]


class TestFold:
    def test_the_example_worked_by_hand(self):
        conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)
        values = {conv.weight: 3.0, conv.bias: 1.0, norm.weight: 6.0, norm.bias: 5.0}
        values |= {norm.running_mean: 2.0, norm.running_var: 4.0}
        with torch.no_grad():
            for tensor, value in values.items():
                tensor.fill_(value)
        folded = fold(conv, norm)
        assert_close(folded.weight.detach(), torch.full((1, 1, 1, 1), 9.0))
        assert_close(folded.bias.detach(), torch.tensor([2.0]))

    @pytest.mark.parametrize("settings", SETTINGS)
    @pytest.mark.parametrize("eps", [1e-5, 0.5])
    def test_answers_as_the_two_do(self, settings, eps):
        conv = nn.Conv2d(4, 6, (3, 5), **settings).double()
        norm, x = lively(nn.BatchNorm2d(6, eps)), some(2, 4, 7, 6)
        assert_close(fold(conv, norm)(x), norm.eval()(conv(x)))

    def test_folds_your_batch_norm(self):
        conv, norm, x = nn.Conv2d(3, 5, 2).double(), lively(BatchNorm(5, 0.4)), some(2, 3, 4, 5)
        norm(some(3, 5, 2, 2))
        expected = torchs(norm, 4, eps=0.4).eval()(conv(x))
        assert_close(fold(conv, norm)(x), expected)

    @pytest.mark.parametrize("training", [True, False])
    def test_folds_running_statistics_in_either_mode(self, training):
        conv, norm, x = nn.Conv2d(3, 5, 2).double(), lively(nn.BatchNorm2d(5)).train(training), some(2, 3, 4, 5)
        folded = fold(conv, norm)
        assert_equal(norm.training, training)
        assert_close(folded(x), norm.eval()(conv(x)))

    @pytest.mark.parametrize("bias", [True, False])
    def test_conv_and_norm_stay_as_they_are(self, bias):
        conv, norm, x = nn.Conv2d(3, 5, 2, bias=bias).double(), lively(nn.BatchNorm2d(5)), some(2, 3, 4, 5)
        before = copy.deepcopy([dict(conv.state_dict()), dict(norm.state_dict())])
        folded = fold(conv, norm)
        assert_close([dict(conv.state_dict()), dict(norm.state_dict())], before)
        expected = norm.eval()(conv(x))
        with torch.no_grad():
            for tensor in [*conv.parameters(), *norm.parameters(), *list(norm.buffers())[:2]]:
                tensor.mul_(2)
        assert_close(folded(x), expected)

    @pytest.mark.parametrize("bias", [True, False])
    def test_is_a_convolution_that_can_be_trained(self, bias):
        folded = fold(nn.Conv2d(3, 5, 2, bias=bias), nn.BatchNorm2d(5))
        assert_equal(type(folded).__name__, "Conv2d")
        parameters = dict(folded.named_parameters())
        assert_equal({name: tuple(p.shape) for name, p in parameters.items()}, {"weight": (5, 3, 2, 2), "bias": (5,)})
        assert_equal([p.is_leaf and p.requires_grad for p in parameters.values()], [True, True])

    def test_keeps_the_dtype(self):
        folded = fold(nn.Conv2d(3, 5, 2, bias=False).double(), lively(nn.BatchNorm2d(5)))
        assert_equal([str(p.dtype) for p in folded.parameters()], ["torch.float64"] * 2)


class TestOnTheGpu:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 2)])
    def test_batch_norm(self, gpu, shape, training):
        gpu.check(lively(BatchNorm(3)).train(training), some(*shape, requires_grad=True))

    @pytest.mark.parametrize("momentum", [0.3, None])
    def test_running_statistics(self, gpu, momentum):
        norm, batches = lively(BatchNorm(3, momentum=momentum)), [some(4, 3, 2), some(2, 3, 5)]
        moved, theirs = gpu(norm), torchs(norm, 3, momentum)
        for x in batches:
            moved(gpu(x))
            theirs(x)
        assert_equal({buffer.device.type for buffer in moved.buffers()}, {gpu.device.type})
        assert_close({name: buffer.cpu() for name, buffer in memory(moved).items()}, memory(theirs))

    def test_batch_norm_backward(self, gpu):
        x, upstream = some(2, 3, 4, 2), torch.randn(2, 3, 4, 2, dtype=torch.float64)
        gpu.check(batch_norm_backward, upstream, x, torch.randn(3, dtype=torch.float64))

    def test_group_norm(self, gpu):
        gpu.check(lively(GroupNorm(2, 4)), some(3, 4, 5, requires_grad=True))

    def test_instance_norm(self, gpu):
        gpu.check(instance_norm, some(2, 3, 4, 2, requires_grad=True))

    @pytest.mark.parametrize("bias", [True, False])
    def test_fold(self, gpu, bias):
        conv, norm, x = nn.Conv2d(3, 5, 2, bias=bias).double(), lively(nn.BatchNorm2d(5)), some(2, 3, 4, 5)
        folded = fold(gpu(conv), gpu(norm))
        assert_equal({p.device.type for p in folded.parameters()}, {gpu.device.type})
        assert_close(folded(gpu(x)).detach().cpu(), norm.eval()(conv(x)).detach())
