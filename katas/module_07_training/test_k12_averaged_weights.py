"""Judges k12_averaged_weights against safetensors and torch.optim.swa_utils."""

import copy
import json
import math
import struct

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from fixtures.training_checks import through_torch
from katas.module_07_training.k12_averaged_weights import (
    WeightAverage,
    from_safetensors,
    to_safetensors,
    update_batch_norm,
)

pytestmark = [
    from_scratch("safetensors", "torch.optim.swa_utils"),
    pure("update_batch_norm"),
    pytest.mark.deadline(30),  # a busy machine takes a while to load the pretended GPU, or torch.optim.swa_utils
]

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


def some_tensors() -> dict[str, torch.Tensor]:
    """Tensors that lie in memory in many ways."""
    return {
        "plain": torch.randn(3, 5),
        "transposed": torch.randn(4, 3).T,
        "every other": torch.arange(20, dtype=torch.int64)[1::2],
        "expanded": torch.randn(1, 3, dtype=torch.float64).expand(2, 3),
        "no axes": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.zeros(0, 4),
        "odd": torch.tensor([7, -1, 3], dtype=torch.int8),
        "größe": torch.randn(2).bfloat16(),
        "learned": nn.Parameter(torch.randn(2, 2)),
    }


def header_of(data: bytes) -> dict:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])


class TestToSafetensors:
    def test_the_example_worked_by_hand(self):
        data = to_safetensors({"w": torch.tensor([1, 2], dtype=torch.int8)})
        assert_equal(header_of(data), {"w": {"dtype": "I8", "shape": [2], "data_offsets": [0, 2]}})
        assert_equal(list(data[-2:]), [1, 2])

    def test_safetensors_reads_it(self):
        from safetensors.torch import load

        tensors = some_tensors()
        assert_close(load(to_safetensors(tensors)), {name: t.detach() for name, t in tensors.items()}, rtol=0, atol=0)

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_every_dtype(self, dtype):
        from safetensors.torch import load

        tensors = {"x": (3 * torch.randn(2, 3)).to(dtype), "y": torch.ones((), dtype=dtype)}
        assert_close(load(to_safetensors(tensors)), tensors, rtol=0, atol=0)

    def test_metadata(self, tmp_path):
        from safetensors import safe_open

        for metadata in ({"epoch": "3", "note": "größer"}, {}):
            (tmp_path / "x").write_bytes(to_safetensors({"a": torch.ones(2)}, metadata))
            with safe_open(tmp_path / "x", "pt") as file:
                assert_equal(file.metadata() or {}, metadata)

    def test_no_metadata_unless_given(self):
        assert_equal(sorted(header_of(to_safetensors({"a": torch.ones(2), "b": torch.ones(1)}))), ["a", "b"])

    @pytest.mark.parametrize("name", ["w", "ww", "www", "wwww", "a longer name"])
    def test_the_first_tensor_begins_at_a_multiple_of_8(self, name):
        data = to_safetensors({name: torch.ones(3)})
        (length,) = struct.unpack("<Q", data[:8])
        text = data[8 : 8 + length].decode()
        assert_equal((length % 8, len(data) - 8 - length), (0, 12))
        assert_equal(len(text) - len(text.rstrip(" ")) < 8, True)

    def test_no_tensors(self):
        from safetensors.torch import load

        assert_equal(load(to_safetensors({})), {})


class TestFromSafetensors:
    def test_a_file_without_tensors(self):
        assert_equal(from_safetensors(to_safetensors({}, {"a": "b"})), ({}, {"a": "b"}))
        assert_equal(from_safetensors(to_safetensors({})), ({}, {}))

    def test_reads_what_safetensors_writes(self):
        from safetensors.torch import save

        tensors = {name: t.detach().contiguous() for name, t in some_tensors().items()}
        found, metadata = from_safetensors(save(tensors, {"a": "b", "ü": ""}))
        assert_close(dict(sorted(found.items())), dict(sorted(tensors.items())), rtol=0, atol=0)
        assert_equal(metadata, {"a": "b", "ü": ""})

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_every_dtype(self, dtype):
        from safetensors.torch import save

        tensors = {"x": (3 * torch.randn(2, 3)).to(dtype), "y": torch.ones((), dtype=dtype)}
        assert_close(from_safetensors(save(tensors))[0], tensors, rtol=0, atol=0)

    def test_without_metadata(self):
        from safetensors.torch import save

        assert_equal(from_safetensors(save({"a": torch.ones(1)}))[1], {})

    def test_the_order_of_the_header_isnt_that_of_the_tensors(self):
        header = {
            "late": {"dtype": "I8", "shape": [2], "data_offsets": [1, 3]},
            "early": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        }
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + bytes([200, 5, 255])
        found, _ = from_safetensors(data)
        assert_equal({name: t.tolist() for name, t in found.items()}, {"late": [5, -1], "early": [200]})

    def test_tensors_can_be_changed(self):
        data = to_safetensors({"a": torch.ones(3), "b": torch.ones(2)})
        found, _ = from_safetensors(data)
        found["a"] += 1
        assert_close(found, {"a": 2 * torch.ones(3), "b": torch.ones(2)})
        assert_close(from_safetensors(data)[0]["a"], torch.ones(3))

    def test_a_file_cut_anywhere_is_refused(self):
        data = to_safetensors({"a": torch.ones(3), "b": torch.ones(2, dtype=torch.int8)}, {"k": "v"})
        for length in range(len(data)):
            with raises(ValueError):
                from_safetensors(data[:length])

    def test_a_file_that_goes_on_is_refused(self):
        data = to_safetensors({"a": torch.ones(3)})
        with raises(ValueError):
            from_safetensors(data + b"\0")


class Tied(nn.Module):
    """Shared weights, a frozen parameter, float and integer buffers, and one that state_dict leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4)
        self.head.weight = self.embedding.weight
        self.norm = nn.BatchNorm1d(3)
        self.frozen = nn.Parameter(torch.randn(2), requires_grad=False)
        self.register_buffer("hidden", torch.zeros(2), persistent=False)

    def shake(self) -> None:
        with torch.no_grad():
            for tensor in (*self.parameters(), self.norm.running_mean, self.norm.running_var, self.hidden):
                tensor.copy_(torch.rand_like(tensor))
            self.norm.num_batches_tracked += 3


def everything(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.detach().clone() for name, t in (*model.named_parameters(), *model.named_buffers())}


def saved(model: nn.Module) -> dict[str, torch.Tensor]:
    """What a state_dict has: a buffer that isn't persistent doesn't come back."""
    return {name: tensor for name, tensor in everything(model).items() if name != "hidden"}


class TestWeightAverage:
    @pytest.mark.parametrize(("decay", "expected"), [(0.9, [1.0, 1.1, 1.29]), (None, [1.0, 1.5, 2.0])])
    def test_the_example_worked_by_hand(self, decay, expected):
        model = nn.Linear(1, 1, bias=False).double()
        average, found = WeightAverage(model, decay), []
        for weight in (1.0, 2.0, 3.0):
            nn.init.constant_(model.weight, weight)
            average.update(model)
            found.append(average.model.weight.item())
        assert_close(found, expected)
        assert_equal(average.count, 3)

    @pytest.mark.parametrize("decay", [None, 0.0, 0.3, 0.99])
    def test_matches_torch(self, decay):
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        model = Tied().double()
        mine = WeightAverage(model, decay)
        theirs = AveragedModel(model, multi_avg_fn=None if decay is None else get_ema_multi_avg_fn(decay))
        for _ in range(6):
            model.shake()
            mine.update(model)
            theirs.update_parameters(model)
            assert_close(everything(mine.model), everything(theirs.module))

    def test_it_is_a_copy(self):
        model = Tied()
        before = everything(model)
        average = WeightAverage(model)
        assert_equal({name for name, p in model.named_parameters() if not p.requires_grad}, {"frozen"})
        assert_equal([p.requires_grad for p in average.model.parameters()], [False] * 5)
        assert_equal(average.model.head.weight is average.model.embedding.weight, True)
        assert_equal((average.count, average.model is model), (0, False))
        average.update(model)
        average.update(model)
        assert_close(everything(model), before, rtol=0, atol=0)
        model.shake()
        assert_close(everything(average.model), before)

    def test_no_graph_grows(self):
        model = nn.Linear(2, 2)
        average = WeightAverage(model, 0.5)
        for _ in range(2):
            average.update(model)
        assert_equal([p.grad_fn is None and p.is_leaf for p in average.model.parameters()], [True, True])

    @pytest.mark.parametrize("decay", [None, 0.7])
    @pytest.mark.parametrize("updates", [0, 1, 3])
    def test_goes_on_where_it_was(self, decay, updates, tmp_path):
        model = Tied().double()
        average = WeightAverage(model, decay)
        for _ in range(updates):
            model.shake()
            average.update(model)
        state = average.state_dict()
        model.shake()
        model.shake()
        kept = copy.deepcopy(model)
        average.update(model)
        expected = saved(average.model)
        for _ in range(2):  # twice: the first must not have changed the state
            back = WeightAverage(Tied().double(), decay)
            back.load_state_dict(through_torch(state, tmp_path))
            back.update(kept)
            assert_close(saved(back.model), expected)
            assert_equal(back.count, updates + 1)
            again = WeightAverage(Tied().double(), decay)
            again.load_state_dict(state)
            again.update(model)
            model.shake()
            again.update(model)

    @pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
    def test_other_decays_are_refused(self, decay):
        with raises(ValueError, decay):
            WeightAverage(nn.Linear(1, 1), decay)

    def test_buffers_are_copied(self):
        model = nn.BatchNorm1d(2)
        average = WeightAverage(model, 0.5)
        for shift in (1.0, 5.0):
            model.running_mean.fill_(shift)
            model.num_batches_tracked.fill_(int(shift))
            average.update(model)
            assert_close((average.model.running_mean, model.running_mean), (torch.full((2,), shift),) * 2)
            assert_equal(int(average.model.num_batches_tracked), int(shift))


class TestUpdateBatchNorm:
    def nets(self, momentum: float | None = 0.1) -> tuple[nn.Module, nn.Module]:
        net = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, momentum=momentum), nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4)
        ).double()
        with torch.no_grad():
            for norm in (net[1], net[4]):
                norm.running_mean.normal_()
                norm.running_var.uniform_()
                norm.num_batches_tracked += 7
        return net, copy.deepcopy(net)

    def test_the_example_worked_by_hand(self):
        norm = nn.BatchNorm1d(1).double()
        update_batch_norm(norm, [torch.tensor([[1.0], [3.0]]).double(), torch.tensor([[2.0], [6.0], [10.0]]).double()])
        assert_close((norm.running_mean.item(), norm.running_var.item()), (4.0, 9.0))

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("momentum", [0.1, 0.6, None])
    def test_matches_torch(self, momentum, training):
        from torch.optim.swa_utils import update_bn

        mine, theirs = self.nets(momentum)
        mine.train(training)
        loader = [torch.randn(size, 2, 4, 4, dtype=torch.float64) + size for size in (5, 3, 8)]
        update_batch_norm(mine, loader)
        update_bn(loader, theirs)
        assert_close(dict(mine.named_buffers()), dict(theirs.named_buffers()))
        assert_equal((mine[1].momentum, mine[4].momentum), (momentum, 0.1))

    def test_what_was_there_before_counts_for_nothing(self):
        norm = nn.BatchNorm1d(1).double()
        norm.running_mean.fill_(math.nan)
        norm.running_var.fill_(math.inf)
        update_batch_norm(norm, [torch.tensor([[1.0], [3.0]]).double()])
        assert_close((norm.running_mean.item(), norm.running_var.item()), (2.0, 2.0))

    @pytest.mark.parametrize("training", [True, False])
    def test_each_module_keeps_its_mode(self, training):
        net, _ = self.nets()
        net.train(training)
        net[1].train(not training)
        net[3].train(not training)
        before = [module.training for module in net.modules()]
        update_batch_norm(net, [torch.randn(5, 2, 4, 4, dtype=torch.float64) for _ in range(2)])
        assert_equal([module.training for module in net.modules()], before)
        assert_equal(net[1].num_batches_tracked.item(), 2)

    def test_weights_and_gradients_stay(self):
        net, _ = self.nets()
        for p in net.parameters():
            p.grad = torch.randn_like(p)
        before = [(p.detach().clone(), p.grad.clone()) for p in net.parameters()]
        graphs = []
        net.register_forward_hook(lambda module, args, out: graphs.append(out.requires_grad))
        update_batch_norm(net, [torch.randn(5, 2, 4, 4, dtype=torch.float64) for _ in range(3)])
        assert_close([(p.detach(), p.grad) for p in net.parameters()], before, rtol=0, atol=0)
        assert_equal(graphs, [False] * 3)

    def test_averaged_weights_need_it(self, digits):
        """Of averaged weights of handwritten digits, accuracy with old statistics and with new ones."""
        x = torch.tensor(digits[0], dtype=torch.float32) / 16
        y = torch.tensor(digits[1])
        torch.manual_seed(int(torch.randint(1000, ())))
        net = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32, momentum=0.01), nn.ReLU(), nn.Linear(32, 10))
        average = WeightAverage(net)
        for step in range(60):
            rows = torch.randint(len(x), (64,))
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            # By hand: torch.optim takes seconds to load what its first step needs.
            with torch.no_grad():
                for p, gradient in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters())), strict=True):
                    p -= 0.5 * gradient
            if step >= 30:
                average.update(net)
        update_batch_norm(average.model, x.split(200))
        average.model.eval()
        assert_equal((average.model(x).argmax(1) == y).float().mean().item() > 0.9, True)
        hidden = average.model[0](x)
        # Batches of 200 and a last one of 197, each counting alike: nearly the mean over all.
        assert_close(average.model[1].running_mean, hidden.mean(0), atol=0.02, rtol=0)


class TestOnTheGpu:
    def test_to_safetensors(self, gpu):
        tensors = {"a": torch.randn(3, 2).T, "b": torch.tensor([True, False]), "c": torch.randn(2).bfloat16()}
        assert_equal(to_safetensors(gpu(tensors)) == to_safetensors(tensors), True)

    @pytest.mark.parametrize("decay", [None, 0.6])
    def test_weight_average(self, gpu, decay):
        net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        there = gpu(net)
        mine, other = WeightAverage(net, decay), WeightAverage(there, decay)
        for _ in range(3):
            with torch.no_grad():
                for here, far in zip(net.parameters(), there.parameters(), strict=True):
                    here.normal_()
                    far.copy_(here)
            mine.update(net)
            other.update(there)
        tensors = [*other.model.parameters(), *other.model.buffers()]
        assert_equal({t.device.type for t in tensors}, {gpu.device.type})
        assert_close([t.cpu() for t in tensors], [*mine.model.parameters(), *mine.model.buffers()])

    def test_update_batch_norm(self, gpu):
        net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        there, loader = gpu(net), [torch.randn(4, 2), torch.randn(3, 2)]
        update_batch_norm(net, loader)
        update_batch_norm(there, gpu(loader))
        assert_equal({b.device.type for b in there.buffers()}, {gpu.device.type})
        assert_close([b.cpu() for b in there.buffers()], list(net.buffers()))
