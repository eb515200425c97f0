"""Judges k16_sharded_optimizer by real ranks against torch.optim.AdamW on one process, by the bytes that are alive on
each rank, and by the bytes that it sends."""

import copy
import gc
import time
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k16_sharded_optimizer import (
    Zero1,
    Zero2,
    Zero3,
    gather,
    memory_per_rank,
    reduce_mean,
    shard,
)

pytestmark = [
    from_scratch(
        "torch.distributed.optim",
        "torch.distributed.fsdp",
        "torch.distributed.tensor",
        "torch.nn.parallel",
    ),
    pure(),
]

SETTINGS = {
    "defaults": {},
    "strong": {"lr": 0.05, "betas": (0.8, 0.95), "eps": 0.3, "weight_decay": 0.2},
    "other": {"lr": 0.02, "betas": (0.5, 0.9), "eps": 0.01, "weight_decay": 0.7},
}


def storages(tree):
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


LARGEST = 32 * 32 * 4  # bytes of a parameter of `deep`
SLACK = 2 * LARGEST + 1000


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that were made under it and are still alive."""

    def __init__(self):
        super().__init__()
        self.made = {}  # a weak reference to each storage, and its size when it was made
        self.most = self.peak = 0
        gc.freeze()  # in this rank alone: what was there before is looked through no more

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = {id(storage) for storage in storages((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        for storage in storages(out):
            if id(storage) not in before:  # neither a view nor in place
                ref = weakref.ref(storage, self.forget)
                self.made[ref] = storage.nbytes()
                self.most += self.made[ref]
        if self.most > self.peak:  # a storage may have shrunk since: only now is it worth a look
            self.peak = max(self.peak, self.now())
        return out

    def forget(self, ref):
        self.most -= self.made.pop(ref)

    def now(self):
        return sum(storage.nbytes() for ref in list(self.made) if (storage := ref()) is not None)

    def held(self, enough):
        """The bytes that are alive, once they are down to `enough`, or half a second later."""
        gc.collect()
        end = time.monotonic() + 0.5
        while (now := self.now()) > enough and time.monotonic() < end:
            time.sleep(0.005)  # gloo's threads let go of what a collective has carried a moment later
        return now


def traffic(ranks, rank, n):
    """The bytes that the calls of a rank cost it on a ring."""
    cost = {"send": 1.0, "all_gather": n - 1.0, "all_reduce": 2 * (n - 1) / n}
    return sum(cost.get(call.op, (n - 1) / n) * call.bytes for call in ranks.calls[rank])


def check_traffic(ranks, n, limit, what):
    for rank in range(n):
        if (sent := traffic(ranks, rank, n)) > limit + 0.5:
            fail(f"Rank {rank} of {n} sends {sent:.0f} bytes where {limit:.0f} do for {what}.", evidence=(n, sent))


def check_memory(bytes, limit, what, parts=1):
    if bytes > limit:
        fail(f"{what}, a rank holds {bytes} bytes where {limit} are enough.", evidence=(what, parts * bytes // limit))


def part_bytes(layers, n):
    """One part of every parameter."""
    return sum(p.element_size() * -(-p.numel() // n) for layer in layers for p in layer.parameters())


def small():
    """Two layers with parameters of sizes that neither 2 nor 3 divides, none of them 0 or 1."""
    layers = [nn.Sequential(nn.Linear(5, 7), nn.Tanh()), nn.Sequential(nn.LayerNorm(7), nn.Linear(7, 3))]
    for layer in layers:
        layer.double()
        for p in layer.parameters():
            nn.init.uniform_(p, -1, 1)
    return layers


def small_views():
    """As `small`, in float32, and with a weight that is a transposed view."""
    layers = [layer.float() for layer in small()]
    layers[0][0].weight = nn.Parameter(torch.rand(5, 7).T - 0.5)
    return layers


def deep(depth=16, width=32):
    """In float32, where a state in float64 would be twice as much."""
    return [nn.Sequential(nn.Linear(width, width, bias=False), nn.Tanh()) for _ in range(depth)]


def batches(n, steps, *shape, dtype=torch.float64):
    """For each step one batch a rank."""
    return [[torch.randn(shape, dtype=dtype) for _ in range(n)] for _ in range(steps)]


def start(kind, layers, *args, **settings):
    """The model to call and the one to step."""
    if kind == "Zero3":
        model = Zero3(layers, *args, **settings)
        return model, model
    model = nn.Sequential(*layers)
    return model, {"Zero1": Zero1, "Zero2": Zero2}[kind](model.parameters(), *args, **settings)


def loss_of(out):
    return (out * out.detach().roll(1, -1) + out.pow(3) / 3).mean() + out.mean()


def expected_outputs(layers, data, probe, settings, every=1):
    """AdamW on one process: the losses of each rank, and what the trained model makes of `probe` and what it is."""
    model = nn.Sequential(*copy.deepcopy(layers))
    adamw = torch.optim.AdamW(model.parameters(), **settings)
    losses = []
    for step, batch in enumerate(data, 1):
        each = [loss_of(model(x)) for x in batch]
        (sum(each) / len(each)).backward()
        losses.append([loss.detach() for loss in each])
        if step % every == 0:
            adamw.step()
            adamw.zero_grad()
    return losses, model(probe).detach(), [p.detach() for p in model.parameters()]


def adamw_step(model, **settings):
    """AdamW on one process: a function that takes a step."""
    adamw = torch.optim.AdamW(model.parameters(), **settings)

    def step():
        adamw.step()
        adamw.zero_grad()

    return step


def check_training(ranks, kind, n, settings=None, *, steps=4, every=1, positional=False, layers=None):
    """Train on n ranks, and compare with one process that has all the data."""
    settings = settings or {}
    layers = layers or small()
    dtype = next(layers[0].parameters()).dtype
    data, probe = batches(n, steps, 4, 5, dtype=dtype), torch.randn(6, 5, dtype=dtype)

    def work(rank):
        own = copy.deepcopy(layers)
        args, named = ([*settings.values()], {}) if positional else ([], settings)
        model, optimizer = start(kind, iter(own) if kind == "Zero3" else own, *args, **named)
        if ranks.here:
            fail(f"{kind} sends {ranks.here[0].op} before the first backward.", evidence=len(ranks.here))
        params = [] if kind == "Zero3" else [p for layer in own for p in layer.parameters()]
        places = [p.data_ptr() for p in params]
        losses = []
        for step, batch in enumerate(data, 1):
            loss = loss_of(model(batch[rank]))
            loss.backward()
            losses.append(loss.detach())
            if step % every == 0:
                optimizer.step()
        if [p.data_ptr() for p in params] != places:
            fail(f"{kind} gives the parameters other memory: they are to be updated in place.", evidence=kind)
        with torch.no_grad():
            out = model(probe)
        return losses, out, [p.detach() for p in params]

    answers = ranks(n, work)
    losses, out, params = expected_outputs(layers, data, probe, settings, every)
    for rank, answer in enumerate(answers):
        assert_close(answer[1], out)
        assert_close(answer[0], [step[rank] for step in losses])
        if kind != "Zero3":
            assert_close(answer[2], params)


@pytest.fixture(scope="module")
def optimizers():
    """The first optimizer makes torch import for seconds: once, before the ranks are forked, not in each of them."""
    torch.optim.AdamW([torch.zeros(1)])


class TestMemoryPerRank:
    def test_the_figures_of_the_paper(self):
        figures = [memory_per_rank(7.5e9, 64, stage) / 1e9 for stage in range(4)]
        assert_close(figures, [120.0, 31.40625, 16.640625, 1.875])

    @pytest.mark.parametrize(("numel", "n"), [(1000, 1), (1001, 3), (10, 8)])
    def test_each_stage_divides_one_kind_more(self, numel, n):
        figures = [memory_per_rank(numel, n, stage) for stage in range(4)]
        each = [[2, 2, 12], [2, 2, 12 / n], [2, 2 / n, 12 / n], [2 / n, 2 / n, 12 / n]]
        assert_close(figures, [sum(bytes) * float(numel) for bytes in each])
        assert_equal([type(figure) for figure in figures], [float] * 4)

    @pytest.mark.parametrize("stage", [-1, 4, 1.5])
    def test_another_stage_is_named(self, stage):
        with raises(ValueError, stage):
            memory_per_rank(10, 2, stage)


def whole(n, x):
    """The parts of x, by hand."""
    size = -(-x.numel() // n)
    numbers = x.flatten().tolist() + [0.0] * (n * size - x.numel())
    return [torch.tensor(numbers[r * size : (r + 1) * size], dtype=x.dtype) for r in range(n)]


def tensors():
    """Whole, padded, a scalar, fewer elements than ranks, a view that isn't contiguous, float32."""
    f64 = torch.float64
    return [
        torch.randn(3, 4, dtype=f64),
        torch.randn(5, 7, dtype=f64),
        torch.randn((), dtype=f64),
        torch.randn(2, dtype=f64),
        torch.randn(3, 5, dtype=f64).T,
        torch.randn(2, 3, 5),
    ]


class TestShard:
    def test_the_example_worked_by_hand(self, ranks):
        answers = ranks(3, lambda rank: shard(torch.arange(1.0, 8.0)))
        assert_close(answers, [torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5, 6]), torch.tensor([7.0, 0, 0])])

    @pytest.mark.parametrize("n", [1, 2, 4])
    def test_rank_r_gets_part_r_in_memory_of_its_own(self, ranks, n):
        xs = tensors()

        def work(rank):
            parts = [shard(x.requires_grad_()) for x in xs]
            for part, x in zip(parts, xs, strict=True):
                size = part.untyped_storage().nbytes()
                if size != part.numel() * part.element_size() or part.data_ptr() == x.data_ptr():
                    fail(f"A part of {part.numel()} numbers keeps a memory of {size} bytes alive.", evidence=(n, size))
                assert_equal(part.requires_grad, False)
            return parts

        answers = ranks(n, work)
        assert_equal(sum(len(calls) for calls in ranks.calls), 0)
        for rank in range(n):
            assert_close(answers[rank], [whole(n, x.detach())[rank] for x in xs])


class TestGather:
    @pytest.mark.parametrize("n", [1, 3, 4])
    def test_puts_the_parts_together_without_the_padding(self, ranks, n):
        xs = tensors()

        def work(rank):
            parts = [whole(n, x)[rank].requires_grad_(i == 0) for i, x in enumerate(xs)]
            answers = [gather(part, x.shape) for part, x in zip(parts, xs, strict=True)]
            assert_equal([out.requires_grad for out in answers], [False] * len(xs))
            return answers

        answers = ranks(n, work)
        for answer in answers:
            assert_close(answer, [x.contiguous() for x in xs])
        parts = sum(whole(n, x)[0].numel() * x.element_size() for x in xs)
        check_traffic(ranks, n, (n - 1) * parts, "an all-gather")


class TestReduceMean:
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_rank_r_gets_part_r_of_the_mean(self, ranks, n):
        xs = [tensors() for _ in range(n)]
        answers = ranks(n, lambda rank: [reduce_mean(x) for x in xs[rank]])
        means = [torch.stack(x).mean(0) for x in zip(*xs, strict=True)]
        for rank in range(n):
            assert_close(answers[rank], [whole(n, mean)[rank] for mean in means])
        parts = sum(whole(n, x)[0].numel() * x.element_size() for x in xs[0])
        check_traffic(ranks, n, (n - 1) * parts, "a reduce-scatter")


@pytest.mark.usefixtures("optimizers")
class TestZero1:
    @pytest.mark.parametrize(("n", "settings"), [(2, "defaults"), (3, "strong"), (1, "other")])
    def test_trains_as_adamw_on_one_process(self, ranks, n, settings):
        check_training(ranks, "Zero1", n, SETTINGS[settings])

    def test_arguments_in_adamw_s_order_and_two_backwards_a_step(self, ranks):
        check_training(ranks, "Zero1", 2, SETTINGS["other"], every=2, positional=True)

    @pytest.mark.parametrize("n", [3])
    def test_holds_a_part_of_the_state_and_sends_no_more_than_it_must(self, ranks, n):
        layers, data = deep(8), batches(n, 2, 1, 32, dtype=torch.float32)
        part = part_bytes(layers, n)
        enough = part_bytes(layers, 1) + 3 * part + SLACK

        def work(rank):
            with Live() as live:
                own = copy.deepcopy(layers)
                model, optimizer = start("Zero1", own)
                before = live.held(enough)
                for batch in data:
                    model(batch[rank]).sum().backward()
                    optimizer.step()
                    assert_equal([p.grad for p in model.parameters()], [None] * 8)
                return before, live.held(enough)

        for before, after in ranks(n, work):
            check_memory(before, enough, "Before the first step of stage 1")
            check_memory(after, enough, "After a step of stage 1")
        check_traffic(ranks, n, 2 * 3 * (n - 1) * part, "two steps of stage 1")

    @pytest.mark.gpu
    def test_over_nccl(self, ranks):
        check_nccl(ranks, "Zero1")


@pytest.mark.usefixtures("optimizers")
class TestZero2:
    @pytest.mark.parametrize(("n", "settings"), [(3, "defaults"), (2, "strong"), (1, "other")])
    def test_trains_as_adamw_on_one_process(self, ranks, n, settings):
        check_training(ranks, "Zero2", n, SETTINGS[settings])

    def test_arguments_in_adamw_s_order_and_two_backwards_a_step(self, ranks):
        check_training(ranks, "Zero2", 2, SETTINGS["other"], every=2, positional=True)

    @pytest.mark.parametrize("n", [3])
    def test_holds_a_part_of_state_and_gradients_and_sends_no_more_than_it_must(self, ranks, n):
        layers, data = deep(), batches(n, 2, 1, 32, dtype=torch.float32)
        part = part_bytes(layers, n)
        enough = part_bytes(layers, 1) + 4 * part + SLACK

        def work(rank):
            with Live() as live:
                own = copy.deepcopy(layers)
                model, optimizer = start("Zero2", own)
                held, grown = [live.held(enough)], []
                for batch in data:
                    live.peak = 0
                    model(batch[rank]).sum().backward()
                    grown.append(live.peak - held[-1])
                    left = sum(p.grad is not None for p in model.parameters())
                    if left:
                        fail(f"After a backward of stage 2, {left} of 16 gradients are still whole.", evidence=left)
                    held.append(live.held(enough))
                    optimizer.step()
                    held.append(live.held(enough))
                return max(held), max(grown)

        activations = 16 * 4 * 32 * 4
        for held, grown in ranks(n, work):
            check_memory(held, enough, "After a backward or a step of stage 2")
            check_memory(grown, part + 6 * LARGEST + activations, "For a backward of stage 2")
        check_traffic(ranks, n, 2 * 2 * (n - 1) * part, "two steps of stage 2")

    @pytest.mark.gpu
    def test_over_nccl(self, ranks):
        check_nccl(ranks, "Zero2")


@pytest.mark.usefixtures("optimizers")
class TestZero3:
    @pytest.mark.parametrize(("n", "settings"), [(2, "defaults"), (3, "strong"), (1, "other")])
    def test_trains_as_adamw_on_one_process(self, ranks, n, settings):
        check_training(ranks, "Zero3", n, SETTINGS[settings])

    def test_arguments_in_adamw_s_order_and_two_backwards_a_step(self, ranks):
        check_training(ranks, "Zero3", 2, SETTINGS["other"], every=2, positional=True)

    def test_the_gradient_of_the_input_is_the_rank_s_own(self, ranks):
        layers, xs = small(), batches(2, 1, 4, 2, 5)[0]
        upstream = batches(2, 1, 4, 2, 3)[0]

        def work(rank):
            x = xs[rank].clone().requires_grad_()
            out = Zero3(copy.deepcopy(layers))(x)
            out.backward(upstream[rank])
            own = x.grad.clone()
            Zero3(copy.deepcopy(layers))(2 * x).backward(upstream[rank])
            data = xs[rank].clone()
            Zero3(copy.deepcopy(layers))(data).sum().backward()
            assert_equal((data.requires_grad, data.grad), (False, None))
            return out.detach(), own, x.grad

        model = nn.Sequential(*layers)
        for rank, answer in enumerate(ranks(2, work)):
            x = xs[rank].clone().requires_grad_()
            out = model(x)
            out.backward(upstream[rank])
            own = x.grad.clone()
            model(2 * x).backward(upstream[rank])
            assert_close(answer, (out.detach(), own, x.grad))

    def test_two_calls_before_one_backward(self, ranks):
        layers, data = small(), batches(2, 2, 4, 5)

        def work(rank):
            model = Zero3(copy.deepcopy(layers), **SETTINGS["strong"])
            (loss_of(model(data[0][rank])) + 3 * loss_of(model(data[1][rank]))).backward()
            model.step()
            with torch.no_grad():
                return model(data[0][0])

        model = nn.Sequential(*copy.deepcopy(layers))
        adamw = torch.optim.AdamW(model.parameters(), **SETTINGS["strong"])
        sum((loss_of(model(a)) + 3 * loss_of(model(b))) / 2 for a, b in zip(*data, strict=True)).backward()
        adamw.step()
        for answer in ranks(2, work):
            assert_close(answer, model(data[0][0]).detach())

    @pytest.mark.parametrize("n", [3])
    def test_holds_a_part_of_everything_and_one_layer_at_a_time(self, ranks, n):
        layers, data = deep(), batches(n, 2, 1, 32, dtype=torch.float32)
        part = part_bytes(layers, n)
        activations = 16 * 4 * 32 * 4
        enough, meanwhile = 4 * part + SLACK, 2 * LARGEST + activations

        def work(rank):
            with Live() as live:
                own = copy.deepcopy(layers)
                model, _ = start("Zero3", own)
                held, between, grown = [live.held(enough)], [], []
                for batch in data:
                    live.peak = 0
                    out = model(batch[rank])
                    between.append(live.held(held[-1] + meanwhile) - held[-1])
                    out.sum().backward()
                    grown.append(live.peak - held[-1])
                    del out
                    model.step()
                    held.append(live.held(enough))
                return max(held), max(between), max(grown)

        for held, between, grown in ranks(n, work):
            check_memory(held, enough, "Between the steps of stage 3", parts=4)
            check_memory(between, meanwhile, "From forward to backward of stage 3")
            check_memory(grown, part + 8 * LARGEST + activations, "For a forward and backward of stage 3")
        check_traffic(ranks, n, 2 * 3 * (n - 1) * part, "two steps of stage 3")

    def test_without_gradients_each_layer_is_gathered_once(self, ranks):
        layers, x = deep(4), torch.randn(3, 2, 32)

        def work(rank):
            model = Zero3(copy.deepcopy(layers))
            with torch.no_grad():
                return model(x)

        for answer in ranks(3, work):
            assert_close(answer, nn.Sequential(*layers)(x).detach())
        check_traffic(ranks, 3, 2 * part_bytes(layers, 3), "a forward without gradients")

    @pytest.mark.gpu
    def test_over_nccl(self, ranks):
        check_nccl(ranks, "Zero3")


@pytest.mark.usefixtures("optimizers")
@pytest.mark.parametrize("kind", ["Zero1", "Zero2", "Zero3"])
def test_the_default_eps_counts_where_gradients_are_tiny(ranks, kind):
    layers, x = small(), torch.randn(4, 5, dtype=torch.float64)

    def steps(model, step):
        for _ in range(3):
            (1e-8 * loss_of(model(x))).backward()
            step()
        with torch.no_grad():
            return model(x)

    def work(rank):
        model, optimizer = start(kind, copy.deepcopy(layers))
        return steps(model, optimizer.step)

    model = nn.Sequential(*copy.deepcopy(layers))
    assert_close(ranks(1, work)[0], steps(model, adamw_step(model)))


@pytest.mark.usefixtures("optimizers")
@pytest.mark.parametrize("kind", ["Zero1", "Zero2"])
def test_a_frozen_parameter_stays_as_it_is(ranks, kind):
    layers = small()
    for p in (layers[0][0].bias, layers[1][1].weight):  # not the last one, so that places can get mixed up
        p.requires_grad_(False)
    check_training(ranks, kind, 2, SETTINGS["other"], layers=layers)


@pytest.mark.usefixtures("optimizers")
@pytest.mark.parametrize("kind", ["Zero1", "Zero2", "Zero3"])
def test_parameters_may_be_float32_and_views(ranks, kind):
    # With a large eps, as an update is its gradient's sign alone where that is no larger than the rounding.
    check_training(ranks, kind, 2, SETTINGS["strong"], layers=small_views())


@pytest.mark.usefixtures("optimizers")
@pytest.mark.parametrize("kind", ["Zero1", "Zero2", "Zero3"])
def test_two_models_that_take_turns_keep_their_states_apart(ranks, kind):
    both, x = (small(), small()), torch.randn(4, 5, dtype=torch.float64)

    def take_turns(pairs):
        for _ in range(3):
            for model, step in pairs:
                loss_of(model(x)).backward()
                step()
        with torch.no_grad():
            return [model(x) for model, _ in pairs]

    def work(rank):
        pairs = [start(kind, copy.deepcopy(layers), **SETTINGS["strong"]) for layers in both]
        return take_turns([(model, optimizer.step) for model, optimizer in pairs])

    models = [nn.Sequential(*copy.deepcopy(layers)) for layers in both]
    expected = take_turns([(model, adamw_step(model, **SETTINGS["strong"])) for model in models])
    assert_close(ranks(1, work)[0], expected)


def check_nccl(ranks, kind):
    layers, data = small(), batches(2, 3, 4, 5)
    probe = torch.randn(6, 5, dtype=torch.float64)

    def work(rank):
        model, optimizer = start(kind, [layer.cuda() for layer in copy.deepcopy(layers)])
        for batch in data:
            loss_of(model(batch[rank].cuda())).backward()
            optimizer.step()
        with torch.no_grad():
            return model(probe.cuda()).cpu()

    _, out, _ = expected_outputs(layers, data, probe, {})
    for answer in ranks(2, work, backend="nccl"):
        assert_close(answer, out)
