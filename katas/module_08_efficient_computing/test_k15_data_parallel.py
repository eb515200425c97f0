"""Judges k15_data_parallel by real ranks against the gradients and updates of one process on the whole batch
and against torch's DistributedDataParallel, and by what is sent, in which order, and when."""

import importlib

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, raises
from katas.module_08_efficient_computing.k15_data_parallel import (
    DataParallel,
    broadcast_parameters,
    loss_factor,
    make_buckets,
)

pytestmark = from_scratch(
    "torch.nn.parallel.DistributedDataParallel",
    "torch.nn.DataParallel",
    "torch.distributed.fsdp",
    "torch.distributed.algorithms",
)


class Net(nn.Module):
    """Three layers, of which the middle one may be left out."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.middle, self.last = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.register_buffer("shift", torch.randn(3))
        self.double()

    def forward(self, x, middle=True):
        x = torch.tanh(self.first(x))
        if middle:
            x = torch.tanh(self.middle(x))
        return self.last(x) + self.shift


class Tied(nn.Module):
    """Two layers with one weight, first and last, and a middle layer."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.middle, self.last = nn.Linear(5, 3, bias=False), nn.Linear(3, 5), nn.Linear(5, 3, bias=False)
        self.last.weight = self.first.weight
        self.double()

    def forward(self, x):
        return self.last(torch.tanh(self.middle(self.first(x))))


def batch(n):
    return torch.randn(n, 5, dtype=torch.float64), torch.randn(n, 3, dtype=torch.float64)


def gradients(net):
    return {name: parameter.grad for name, parameter in net.named_parameters()}


def alone(x, y, seed=0, middle=True):
    """The gradients that one process gets from the whole batch."""
    net = Net(seed)
    F.mse_loss(net(x, middle), y).backward()
    return gradients(net)


def check(answers, expected):
    for answer in answers:
        assert_close(answer, expected)


@pytest.fixture(scope="module")
def ddp():
    """The first DistributedDataParallel makes torch import for seconds: once, before the ranks are forked."""
    importlib.import_module("torch._dynamo")


class TestBroadcastParameters:
    @pytest.mark.parametrize(("n", "root"), [(3, 2), (2, 0)])
    def test_all_get_the_root_s_parameters_and_buffers(self, ranks, n, root):
        def work(rank):
            net = Net(seed=rank)
            net.middle.weight.requires_grad_(False)
            before = [p.data_ptr() for p in net.parameters()]
            broadcast_parameters(net, root)
            assert_equal([p.is_leaf for p in net.parameters()], [True] * 6)
            if [p.data_ptr() for p in net.parameters()] != before:
                fail("The parameters have got other memory: their values are to be changed in place.")
            return net.state_dict()

        check(ranks(n, work), Net(seed=root).state_dict())

    def test_rank_0_is_the_root_unless_told_otherwise(self, ranks):
        def work(rank):
            net = Net(seed=rank)
            broadcast_parameters(net)
            return net.state_dict()

        check(ranks(2, work), Net(seed=0).state_dict())

    def test_buffers_of_all_kinds_are_sent_too(self, ranks):
        def net(rank):
            net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
            net[0].running_mean += rank
            net[0].num_batches_tracked += 2**24 + rank  # on the root one more than a float32 can tell
            net[0].register_buffer("mask", torch.tensor([rank == 1, True, rank != 1]))
            nn.init.constant_(net[1].weight, rank)
            nn.init.constant_(net[1].bias, rank)
            return net

        def tensors(net):
            return {**dict(net.named_parameters()), **dict(net.named_buffers())}

        def work(rank):
            mine = net(rank)
            broadcast_parameters(mine, 1)
            return tensors(mine)

        check(ranks(2, work), tensors(net(1)))

    def test_buffers_that_the_state_dict_leaves_out_are_sent_too(self, ranks):
        def work(rank):
            net = nn.Linear(2, 2)
            net.register_buffer("positions", torch.arange(3) + rank, persistent=False)
            broadcast_parameters(net, 1)
            return net.positions

        check(ranks(2, work), torch.arange(3) + 1)

    def test_tied_weights_are_sent_once(self, ranks):
        def work(rank):
            net = Tied(seed=rank)
            broadcast_parameters(net, 1)
            return net.state_dict()

        answers = ranks(2, work)
        check(answers, Tied(seed=1).state_dict())
        sent = sum(call.bytes for call in ranks.calls[1])
        # The same parameters, none of them in two places, tell what this way of sending takes.
        ranks(2, lambda rank: broadcast_parameters(nn.ParameterList(Tied(seed=rank).parameters()), 1))
        needed = sum(call.bytes for call in ranks.calls[1])
        if sent > needed:
            fail(f"{sent} bytes are sent of a model whose parameters, tied weights once, take {needed}.", evidence=sent)


class TestMakeBuckets:
    def test_the_example_worked_by_hand(self):
        parameters = [torch.zeros(n) for n in (10, 2, 6, 25)]
        assert_equal(make_buckets(parameters, 50), [[3], [2, 1], [0]])

    def test_a_bucket_may_be_full(self):
        parameters = [torch.zeros(n) for n in (10, 2, 6, 25)]
        assert_equal(make_buckets(parameters, 32), [[3], [2, 1], [0]])
        assert_equal(make_buckets(parameters, 31), [[3], [2], [1], [0]])
        assert_equal(make_buckets(parameters, 72), [[3], [2, 1, 0]])
        assert_equal(make_buckets(parameters, 172), [[3, 2, 1, 0]])

    def test_after_a_parameter_that_is_too_large_a_new_bucket_begins(self):
        parameters = [torch.zeros(n) for n in (1, 1, 50, 1, 1)]
        assert_equal(make_buckets(parameters, 16), [[4, 3], [2], [1, 0]])

    def test_bytes_are_counted_and_not_numbers(self):
        parameters = [torch.zeros(2, 3, dtype=torch.float64)] * 3
        assert_equal(make_buckets(parameters, 96), [[2, 1], [0]])
        assert_equal(make_buckets([p.half() for p in parameters], 24), [[2, 1], [0]])

    def test_no_parameters(self):
        assert_equal(make_buckets([], 100), [])


class TestLossFactor:
    def test_the_example_worked_by_hand(self, ranks):
        assert_close(ranks(2, lambda rank: loss_factor([3, 1][rank])), [1.5, 0.5])

    def test_ranks_may_have_none(self, ranks):
        assert_close(ranks(3, lambda rank: loss_factor([4, 0, 3][rank])), [12 / 7, 0.0, 9 / 7])

    def test_one_rank_at_least_needs_an_example(self, ranks):
        def work(rank):
            with raises(ValueError):
                loss_factor(0)

        ranks(2, work)


class TestDataParallel:
    def test_it_is_applied_with_all_its_arguments(self, ranks):
        x, _ = batch(4)

        def work(rank):
            net = Net(seed=0)
            calls = []
            net.register_forward_hook(lambda *_: calls.append(1))
            model = DataParallel(net)
            assert_equal(model.module is net, True)
            assert_equal([p is q for p, q in zip(model.parameters(), net.parameters(), strict=True)], [True] * 6)
            answers = model(x), model(x, middle=False)
            if len(calls) != 2:
                fail(f"Of 2 calls, the module's forward hook is told of {len(calls)}: call the module, not its forward.")
            return answers

        net = Net(seed=0)
        check(ranks(1, work), (net(x).detach(), net(x, middle=False).detach()))

    def test_all_begin_with_rank_0_s_parameters_and_buffers(self, ranks):
        check(ranks(2, lambda rank: DataParallel(Net(seed=rank + 3)).module.state_dict()), Net(seed=3).state_dict())


class TestGradients:
    @pytest.mark.parametrize("n", [1, 2, 4])
    @pytest.mark.parametrize("bucket_bytes", [1, 200, 10**6])
    def test_they_are_those_of_the_whole_batch(self, ranks, n, bucket_bytes):
        x, y = batch(12)

        def work(rank):
            model = DataParallel(Net(seed=rank), bucket_bytes)
            F.mse_loss(model(x[rank::n]), y[rank::n]).backward()
            model.synchronize()
            return gradients(model.module)

        check(ranks(n, work), alone(x, y))

    @pytest.mark.usefixtures("ddp")
    def test_they_are_those_of_torch(self, ranks):
        x, y = batch(9)

        def work(rank):
            mine, theirs = DataParallel(Net(seed=rank), 150), nn.parallel.DistributedDataParallel(Net(seed=rank))
            for model in (mine, theirs):
                F.mse_loss(model(x[rank::3]), y[rank::3]).backward()
            mine.synchronize()
            assert_close(gradients(mine.module), gradients(theirs.module))

        ranks(3, work)

    def test_steps_are_those_of_one_process(self, ranks):
        x, y = batch(8)

        def train(model, x, y, synchronize):
            for _ in range(4):
                F.mse_loss(model(x), y).backward()
                synchronize()
                for parameter in model.parameters():
                    parameter.data -= 0.3 * parameter.grad
                    parameter.grad = None

        def work(rank):
            model = DataParallel(Net(seed=rank), 200)
            train(model, x[rank::2], y[rank::2], model.synchronize)
            return model.module.state_dict()

        net = Net(seed=0)
        train(net, x, y, lambda: None)
        check(ranks(2, work), net.state_dict())

    def test_uneven_parts_with_the_factor_of_the_loss(self, ranks):
        x, y = batch(7)
        parts = [slice(0, 4), slice(4, 4), slice(4, 7)]  # the second rank has run out of examples

        def work(rank):
            model = DataParallel(Net(seed=rank), 200)
            mine = parts[rank]
            factor = loss_factor(mine.stop - mine.start)
            if factor:
                (factor * F.mse_loss(model(x[mine]), y[mine])).backward()
            model.synchronize()
            return gradients(model.module)

        check(ranks(3, work), alone(x, y))

    @pytest.mark.parametrize("bucket_bytes", [1, 250])
    def test_a_layer_that_one_rank_does_not_use(self, ranks, bucket_bytes):
        x, y = batch(6)

        def work(rank):
            model = DataParallel(Net(seed=rank), bucket_bytes)
            F.mse_loss(model(x[rank::2], middle=rank == 1), y[rank::2]).backward()
            model.synchronize()
            return gradients(model.module)

        without, with_it = alone(x[::2], y[::2], middle=False), alone(x[1::2], y[1::2])
        zeros = {name: torch.zeros_like(grad) for name, grad in with_it.items()}
        check(ranks(2, work), {name: ((without[name] if without[name] is not None else zeros[name]) + with_it[name]) / 2 for name in zeros})

    @pytest.mark.parametrize(("n", "dtype"), [(1, "float64"), (2, "float32")])
    def test_a_layer_that_no_rank_uses_gets_zeros(self, ranks, n, dtype):
        dtype = getattr(torch, dtype)
        x, y = (part.to(dtype) for part in batch(4))

        def work(rank):
            model = DataParallel(Net(seed=rank).to(dtype))
            grads = []
            for middle in (False, True, False):  # in the last step after one that has used it
                model.zero_grad()
                F.mse_loss(model(x, middle), y).backward()
                model.synchronize()
                grads.append(model.module.middle.weight.grad.clone())
            return grads[0], grads[2]

        check(ranks(n, work), (torch.zeros(4, 4, dtype=dtype),) * 2)

    def test_parameters_without_a_gradient_stay_out_of_it(self, ranks):
        x, y = batch(6)

        def work(rank):
            net = Net(seed=rank)
            net.first.requires_grad_(False)
            model = DataParallel(net, 50)
            F.mse_loss(model(x[rank::2]), y[rank::2]).backward()
            model.synchronize()
            assert_equal(model.buckets, [[3], [2], [1], [0]])
            assert_equal(net.first.weight.grad, None)
            return net.last.weight.grad

        check(ranks(2, work), alone(x, y)["last.weight"])

    def test_tied_weights_are_one_parameter(self, ranks):
        x, y = batch(6)

        def work(rank):
            model = DataParallel(Tied(seed=rank), 120)
            before = len(ranks.here)
            F.mse_loss(model(x[rank::2]), y[rank::2]).backward()
            model.synchronize()
            # 15 numbers of the shared weight, 15 and 5 of the middle layer.
            assert_equal(model.buckets, [[2], [1], [0]])
            sent = [(call.op, call.bytes) for call in ranks.here[before:]]
            if sent != [("all_reduce", size) for size in (40, 120, 120)]:
                fail(f"{sent} is sent, where the three parameters have 40, 120 and 120 bytes.", evidence=sent)
            return gradients(model.module)

        net = Tied(seed=0)
        F.mse_loss(net(x), y).backward()
        check(ranks(2, work), gradients(net))

    def test_gradients_add_up_until_they_are_cleared(self, ranks):
        x, y = batch(6)

        def work(rank):
            model = DataParallel(Net(seed=rank), 200)
            for _ in range(2):
                F.mse_loss(model(x[rank::2]), y[rank::2]).backward()
                model.synchronize()
            return gradients(model.module)

        check(ranks(2, work), {name: 2 * grad for name, grad in alone(x, y).items()})

    def test_two_models_in_one_backward_pass(self, ranks):
        x, y = batch(6)

        def work(rank):
            models = DataParallel(Net(seed=rank), 200), DataParallel(Net(seed=rank + 5), 100)
            sum(F.mse_loss(model(x[rank::2]), y[rank::2]) for model in models).backward()
            for model in models:
                model.synchronize()
            return [gradients(model.module) for model in models]

        check(ranks(2, work), [alone(x, y, seed=0), alone(x, y, seed=5)])

    @pytest.mark.gpu
    def test_over_nccl(self, ranks):
        x, y = batch(6)

        def work(rank):
            model = DataParallel(Net(seed=rank).cuda(), 200)
            F.mse_loss(model(x[rank::2].cuda()), y[rank::2].cuda()).backward()
            model.synchronize()
            return {name: grad.cpu() for name, grad in gradients(model.module).items()}

        check(ranks(2, work, backend="nccl"), alone(x, y))


class TestWhatIsSent:
    # Bytes of first.weight, first.bias, middle.weight, middle.bias, last.weight and last.bias.
    SIZES = (160, 32, 128, 32, 96, 24)

    def test_one_all_reduce_for_each_bucket_from_the_last_layer_to_the_first(self, ranks):
        x, y = batch(4)

        def work(rank):
            model = DataParallel(Net(seed=rank), 160)
            before = len(ranks.here)
            for _ in range(2):
                F.mse_loss(model(x), y).backward()
                model.synchronize()
            assert_equal(model.buckets, [[5, 4, 3], [2, 1], [0]])
            return [(call.op, call.bytes) for call in ranks.here[before:]]

        expected = [("all_reduce", size) for size in (24 + 96 + 32, 128 + 32, 160)] * 2
        for sent in ranks(2, work):
            if sent != expected:
                fail(f"In two passes {sent} is sent; the buckets are {expected}.", evidence=sent)

    def test_a_bucket_has_25_mebibytes_unless_told_otherwise(self, ranks):
        def work(rank):
            layers = [nn.Linear(1, mebibytes * 2**18, bias=False) for mebibytes in (1, 12, 13)]
            return DataParallel(nn.Sequential(*layers)).buckets

        check(ranks(1, work), [[2, 1], [0]])

    def test_reducing_begins_before_the_backward_pass_is_over(self, ranks):
        x, y = batch(4)

        def work(rank):
            net = Net(seed=rank)
            model = DataParallel(net, 160)
            sent_by_then = []
            before = len(ranks.here)
            hidden = net.first.register_full_backward_hook(lambda *_: sent_by_then.append(len(ranks.here) - before))
            loss = F.mse_loss(model(x.requires_grad_()), y)
            loss.backward()
            hidden.remove()
            at_the_end = len(ranks.here) - before
            model.synchronize()
            return sent_by_then[0], at_the_end

        for before_the_first_layer, at_the_end in ranks(2, work):
            if before_the_first_layer < 1 or at_the_end != 3:
                fail(
                    f"{before_the_first_layer} of 3 buckets are on their way when the first layer's turn comes, and "
                    f"{at_the_end} when the backward pass is over: the last layers' should be, and then all.",
                    evidence=(before_the_first_layer, at_the_end),
                )

    def test_reducing_is_not_waited_for(self, ranks):
        x, y = batch(4)

        def work(rank):
            import torch.distributed as dist

            model = DataParallel(Net(seed=rank), 160)
            # Rank 1 takes its part only after rank 0 has come through its backward pass.
            if rank == 1:
                dist.recv(torch.zeros(1), 0)
            F.mse_loss(model(x), y).backward()
            if rank == 0:
                dist.send(torch.zeros(1), 1)
            model.synchronize()
            return gradients(model.module)

        check(ranks(2, work), alone(x, y))


class TestNoSync:
    @pytest.mark.parametrize("middle", [True, False])
    def test_nothing_is_sent_and_the_sum_is_reduced_at_the_end(self, ranks, middle):
        x, y = batch(12)

        def work(rank):
            model = DataParallel(Net(seed=rank), 200)
            mine_x, mine_y = x[rank::2], y[rank::2]
            before = len(ranks.here)
            with model.no_sync():
                for part in (slice(0, 2), slice(2, 4)):
                    (F.mse_loss(model(mine_x[part]), mine_y[part]) / 3).backward()
            assert_equal(len(ranks.here), before)
            (F.mse_loss(model(mine_x[4:], middle), mine_y[4:]) / 3).backward()
            model.synchronize()
            assert_equal(len(ranks.here) - before, len(model.buckets))
            return gradients(model.module)

        net = Net(seed=0)
        (F.mse_loss(net(x[:8]), y[:8]) * 2 / 3 + F.mse_loss(net(x[8:], middle), y[8:]) / 3).backward()
        check(ranks(2, work), gradients(net))

    def test_an_error_in_the_block_ends_it_as_well(self, ranks):
        x, y = batch(6)

        def work(rank):
            model = DataParallel(Net(seed=rank), 200)

            def sent():
                before = len(ranks.here)
                F.mse_loss(model(x[rank::2]), y[rank::2]).backward()
                on_the_way = len(ranks.here) - before
                model.synchronize()
                return on_the_way

            first = sent()
            with raises(KeyError), model.no_sync():
                raise KeyError("of the data")
            assert_equal((first, sent()), (len(model.buckets), len(model.buckets)))

        ranks(2, work)

    def test_the_end_of_an_inner_block_does_not_end_the_outer(self, ranks):
        x, y = batch(6)

        def work(rank):
            model = DataParallel(Net(seed=rank), 200)
            before = len(ranks.here)
            with model.no_sync():
                with model.no_sync():
                    pass
                F.mse_loss(model(x[rank::2]), y[rank::2]).backward()
            assert_equal(len(ranks.here), before)
            model.synchronize()
            return gradients(model.module)

        check(ranks(2, work), alone(x, y))

    def test_a_pass_in_the_block_alone_can_be_synchronized(self, ranks):
        x, y = batch(6)

        def work(rank):
            model = DataParallel(Net(seed=rank), 200)
            with model.no_sync():
                F.mse_loss(model(x[rank::2]), y[rank::2]).backward()
            model.synchronize()
            return gradients(model.module)

        check(ranks(2, work), alone(x, y))
