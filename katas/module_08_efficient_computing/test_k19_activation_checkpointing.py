"""Judges k19_activation_checkpointing against torch.utils.checkpoint, counted saved tensors, and brute force."""

import gc
import math
from itertools import combinations, pairwise, product

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k19_activation_checkpointing import (
    best_segments,
    checkpoint,
    checkpoint_sequential,
    choose_recompute,
    imbalance,
    partition,
)

pytestmark = [from_scratch("torch.utils.checkpoint"), pure()]


def randn(*shape, grad=True):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


class Kept:
    """Bytes of float64 tensors that autograd keeps: now and at most."""

    class Held:
        def __init__(self, owner, tensor):
            self.owner, self.tensor = owner, tensor
            self.bytes = 8 * tensor.numel() if tensor.dtype == torch.float64 else 0
            owner.now += self.bytes
            owner.peak = max(owner.peak, owner.now)

        def __del__(self):
            self.owner.now -= self.bytes

    def __init__(self):
        self.now = self.peak = 0

    def __enter__(self):
        pack, unpack = lambda tensor: Kept.Held(self, tensor), lambda held: held.tensor
        self.hooks = torch.autograd.graph.saved_tensors_hooks(pack, unpack)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error):
        self.hooks.__exit__(*error)


class Net(nn.Module):
    """Dropout between two Linear layers."""

    def __init__(self, p=0.4):
        super().__init__()
        self.up, self.down, self.p = nn.Linear(4, 6).double(), nn.Linear(6, 3).double(), p

    def forward(self, x):
        return self.down(F.dropout(torch.tanh(self.up(x)), self.p, self.training))


def trained(run, function, args, parameters=(), seed=11):
    """The outputs, the gradients of args and parameters, and numbers drawn before and after backward."""
    args = [a.detach().clone().requires_grad_(a.requires_grad) if isinstance(a, torch.Tensor) else a for a in args]
    for p in parameters:
        p.grad = None
    torch.manual_seed(seed)
    out = run(function, *args)
    outs = out if isinstance(out, tuple) else (out,)
    before = torch.rand(5)
    wanted = [y for y in outs if y.requires_grad and y.is_floating_point()]
    upstream = [torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y) for y in wanted]
    torch.autograd.backward(wanted, upstream)
    for what, tensors in (("argument", args), ("parameter", parameters)):
        without = [isinstance(t, torch.Tensor) and t.requires_grad and t.grad is None for t in tensors]
        if any(without):
            fail(f"No gradient reaches {what} {without.index(True)}, which requires one.", evidence=(what, without))
    grads = [a.grad for a in args if isinstance(a, torch.Tensor)] + [p.grad for p in parameters]
    return [y.detach() for y in outs], grads, before, torch.rand(5)


def let_go(storage):
    """Whether nothing holds the numbers any more: neither the tensor itself nor a detached copy."""
    if not storage.expired():
        gc.collect()  # slow: only where a cycle may hold them
    return storage.expired()


def plain(function, *args):
    return function(*args)


class TestCheckpoint:
    def test_the_example_worked_by_hand(self):
        w, x = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (3.0, 5.0))
        y = checkpoint(lambda x: (w * x) ** 2, x)
        assert_close(y, torch.tensor(225.0, dtype=torch.float64))
        y.backward()
        assert_close((x.grad, w.grad), tuple(torch.tensor(g, dtype=torch.float64) for g in (90.0, 150.0)))

    @pytest.mark.parametrize("reentrant", [True, False])
    def test_outputs_gradients_and_random_numbers_are_those_of_torch(self, reentrant):
        from torch.utils.checkpoint import checkpoint as oracle

        net, x, scale = Net(), randn(5, 4), randn(5, 1)

        def function(x, scale):
            return net(x * scale)

        expected = trained(
            lambda f, *args: oracle(f, *args, use_reentrant=reentrant), function, (x, scale), [*net.parameters()]
        )
        outs, grads, before, after = trained(checkpoint, function, (x, scale), [*net.parameters()])
        assert_close(outs, expected[0])
        assert_close(grads, expected[1])
        assert_close(before, expected[2])
        assert_close(after, expected[3])

    @pytest.mark.parametrize("seed", [3, 1234])
    @pytest.mark.parametrize("training", [True, False])
    def test_random_numbers_come_as_without_the_checkpoint(self, training, seed):
        net, x = Net().train(training), randn(2, 3, 4)
        expected = trained(plain, net, [x], [*net.parameters()], seed)
        outs, grads, before, after = trained(checkpoint, net, [x], [*net.parameters()], seed)
        assert_close(outs, expected[0])
        assert_close(before, expected[2])
        assert_close(after, expected[3])
        assert_close(grads, expected[1])

    def test_each_call_of_one_function_has_its_own_random_numbers(self):
        drop, x = nn.Dropout(0.5), torch.ones(40, dtype=torch.float64, requires_grad=True)
        out = checkpoint(drop, x) + checkpoint(drop, x)
        out.sum().backward()
        assert_close(x.grad, out.detach())  # of ones, both are what the masks let through

    def test_arguments_of_any_kind_come_in_their_order(self):
        x, y, still, index = randn(3, 4), randn(4), randn(3, 4, grad=False), torch.tensor([2, 0])

        def function(power, x, nothing, y, words, index, still):
            assert_equal([nothing, words], [None, ["a", "b"]])
            return ((x**power - y) * still)[index]

        args = (3, x, None, y, ["a", "b"], index, still)
        outs, grads, *_ = trained(checkpoint, function, args)
        expected, expected_grads, *_ = trained(plain, function, args)
        assert_close(outs, expected)
        assert_close(grads[:2], expected_grads[:2])
        assert_equal(grads[2:], [None, None])

    def test_gradients_pass_on_to_what_the_input_was_computed_from(self):
        a, b = randn(3, 2), randn(3, 2)
        upstream = torch.randn(3, 2, dtype=torch.float64)
        checkpoint(lambda x, y: torch.sin(x) * y, a * b, b.exp()).backward(upstream)
        if a.grad is None or b.grad is None:
            fail("No gradient reaches what the arguments were computed from.", evidence=(a.grad is None, b.grad is None))
        grads, a.grad, b.grad = (a.grad, b.grad), None, None
        (torch.sin(a * b) * b.exp()).backward(upstream)
        assert_close(grads, (a.grad, b.grad))

    def test_an_argument_that_is_returned_as_it_is_has_its_gradient(self):
        x = randn(3)
        same, twice = checkpoint(lambda x: (x, 2 * x), x)
        (same * twice.detach() + twice).sum().backward()
        assert_close(x.grad, 2 * x.detach() + 2)

    def test_the_same_tensor_may_be_given_twice(self):
        x = randn(3)
        checkpoint(lambda a, b: a**2 * b, x, x).sum().backward()
        assert_close(x.grad, 3 * x.detach() ** 2)

    def test_gradients_are_those_of_finite_differences(self):
        x, y = randn(2, 3), randn(3)
        assert torch.autograd.gradcheck(lambda x, y: checkpoint(lambda a, k, b: torch.sin(k * a) * b, x, 2.5, y), [x, y])

    def test_parameters_get_gradients_where_no_argument_needs_one(self):
        embedding, net, ids = nn.Embedding(7, 4).double(), Net(), torch.tensor([[4, 1, 4], [6, 0, 1]])
        parameters = [*embedding.parameters(), *net.parameters()]

        def function(ids):
            return net(embedding(ids))

        outs, grads, *_ = trained(checkpoint, function, [ids], parameters)
        expected, expected_grads, *_ = trained(plain, function, [ids], parameters)
        assert_close(outs, expected)
        assert_equal(grads[0], None)
        assert_close(grads[1:], expected_grads[1:])

    def test_gradients_of_parameters_are_added_to_those_that_are_there(self):
        net, x = Net(0.0), randn(5, 4, grad=False)
        net(x).sum().backward()
        once = [p.grad.clone() for p in net.parameters()]
        checkpoint(net, x).sum().backward()
        assert_close([p.grad for p in net.parameters()], [2 * g for g in once])

    def test_several_outputs_each_get_their_gradient(self):
        x, y = randn(3, 4), randn(4)

        def function(x, y):
            return x * y, torch.sin(x), (x.exp() * y).sum(0)

        outs, grads, *_ = trained(checkpoint, function, (x, y))
        expected, expected_grads, *_ = trained(plain, function, (x, y))
        assert_close(outs, expected)
        assert_close(grads, expected_grads)

    @pytest.mark.parametrize("used", [0, 1, 2])
    def test_an_output_may_go_unused(self, used):
        x = randn(3, 4)
        checkpoint(lambda x: (x**2, x**3, x.sum()), x)[used].sum().backward()
        assert_close(x.grad, [2 * x.detach(), 3 * x.detach() ** 2, torch.ones_like(x)][used])

    def test_a_tuple_of_one_stays_a_tuple(self):
        out = checkpoint(lambda x: (2 * x,), randn(3))
        if not isinstance(out, tuple):
            fail(f"The function returns a tuple of one tensor, its checkpoint a {type(out).__name__}.", evidence=str(type(out)))
        assert_equal(len(out), 1)

    def test_outputs_that_need_no_gradient_add_none(self):
        x = randn(3, 5)

        def function(x):
            values, indices = x.sort(-1)
            return x.exp().detach(), indices, values**2

        still, indices, values = checkpoint(function, x)
        assert_close((still, indices), (x.detach().exp(), x.detach().argsort(-1)))
        (values.sum() + (still.sum() if still.requires_grad else 0)).backward()
        assert_close(x.grad, 2 * x.detach())

    def test_a_frozen_part_lets_the_backward_pass_through(self):
        x, z = randn(3, grad=False), randn(3)
        (checkpoint(torch.sin, x) * z).sum().backward()
        assert_close(z.grad, torch.sin(x))
        assert_equal(x.grad, None)

    @pytest.mark.parametrize("grad", [True, False])
    @pytest.mark.parametrize("n", [5, 9])
    def test_autograd_keeps_the_arguments_and_nothing_else(self, n, grad):
        net, x, y = Net(), randn(n, 4, grad=grad), randn(n, 1, grad=False)
        with Kept() as without:
            held = net(x * y).sin()
        with Kept() as kept:
            out = checkpoint(lambda x, y: net(x * y).sin(), x, y)
            now = kept.now
            out.sum().backward()
        if without.now <= now or now != 8 * 5 * n:
            fail(
                f"Autograd keeps {now} bytes; the arguments have {8 * 5 * n}, and without a checkpoint "
                f"{without.now} are kept.",
                evidence=(n, now),
            )
        assert_equal(kept.now, 0)
        del held

    def test_arguments_are_let_go_after_the_backward_pass(self):
        a = randn(3)
        x = a * 2
        held = StorageWeakRef(x.untyped_storage())
        out = checkpoint(lambda x, k: torch.sin(k * x), x, 3.0)
        del x
        out.sum().backward()
        if not let_go(held):
            fail("The argument is still held after the backward pass, as long as the output lives.", evidence="held")
        assert_close(out.detach(), torch.sin(6 * a).detach())

    def test_the_result_is_let_go_as_soon_as_nobody_uses_it(self):
        out = checkpoint(lambda x: x.sin().exp(), randn(3))
        held = StorageWeakRef(out.untyped_storage())
        loss = out.sum()
        del out
        if not let_go(held):
            fail("The result is still held before the backward pass: keep the arguments alone.", evidence="held")
        assert_equal(loss.requires_grad, True)

    def test_the_function_runs_once_forward_and_once_backward(self):
        calls, x = [], randn(3)

        def function(x):
            calls.append(1)
            return x.sin().exp()

        out = checkpoint(function, x)
        assert_equal(len(calls), 1)
        out.sum().backward()
        assert_equal(len(calls), 2)

    def test_a_second_backward_adds_the_same_gradients_again(self):
        net, x = Net(), randn(5, 4)
        out = checkpoint(net, x)
        out.sum().backward(retain_graph=True)
        once = [t.grad.clone() for t in (x, *net.parameters())]
        out.sum().backward()
        assert_close([t.grad for t in (x, *net.parameters())], [2 * g for g in once])

    @pytest.mark.parametrize("grad", [True, False])
    def test_an_argument_changed_in_place_is_noticed(self, grad):
        x, y = randn(3), randn(3, grad=grad)
        out = checkpoint(lambda x, y: x * y, x, y)
        with torch.no_grad():
            y.add_(1.0)
        with raises(RuntimeError):
            out.sum().backward()

    def test_checkpoints_nest(self):
        inner, outer, x, calls = Net(), Net(), randn(5, 4), []

        def inside(x, factor):
            calls.append("inside")
            return F.dropout(inner(x) * factor, 0.3)

        def function(run):
            def outside(x):
                return outer(torch.cat([run(inside, x.sin(), 1.5), x[:, :1]], 1))

            return outside

        parameters = [*inner.parameters(), *outer.parameters()]
        outs, grads, before, after = trained(checkpoint, function(checkpoint), [x], parameters)
        assert_equal(len(calls), 3)  # forward, again for the outer checkpoint, and again for the inner one
        expected = trained(plain, function(plain), [x], parameters)
        assert_close(outs, expected[0])
        assert_close(grads, expected[1])
        assert_close((before, after), expected[2:])

    def test_without_gradients_the_value_is_the_same(self):
        net, x = Net(0.0), randn(5, 4)
        with torch.no_grad():
            out = checkpoint(net, x)
        assert_equal(out.requires_grad, False)
        assert_close(out, net(x).detach())

    def test_arguments_keep_whether_they_require_gradients(self):
        x, y = randn(3), randn(3, grad=False)
        checkpoint(lambda x, y: x * y, x, y).sum().backward()
        assert_equal([x.requires_grad, y.requires_grad, y.grad], [True, False, None])


def logged(n):
    """n layers that keep their input alone, and the list of their calls."""
    calls = []

    def layer(i):
        def apply(h):
            calls.append(i)
            return torch.sin(h)

        return apply

    return [layer(i) for i in range(n)], calls


class TestCheckpointSequential:
    def test_four_segments_of_four_layers_keep_eight_activations(self):
        x = randn(3, 5)
        layers, _ = logged(16)
        with Kept() as kept:
            out = checkpoint_sequential(layers, x, 4)
            if kept.now != 4 * x.nbytes:
                fail(
                    f"Before the backward pass {kept.now / x.nbytes:g} activations are kept, "
                    "not the inputs of the 4 segments.",
                    evidence=kept.now,
                )
            out.sum().backward()
        if kept.peak > 8 * x.nbytes:
            fail(f"{kept.peak / x.nbytes:g} activations are kept at once, not 8.", evidence=kept.peak)

    @pytest.mark.parametrize(("n", "segments"), [(7, 1), (7, 2), (7, 3), (7, 7), (10, 4), (8, 3), (1, 1), (11, 6)])
    def test_segments_are_neighbours_and_differ_by_one_at_most(self, n, segments):
        x = randn(2, 3)
        layers, calls = logged(n)
        out = checkpoint_sequential(layers, x, segments)
        assert_equal(calls, list(range(n)))
        out.sum().backward()
        again = calls[n:]
        assert_equal(sorted(again), list(range(n)))
        # The backward pass recomputes the last segment first: where the number falls, a new one begins.
        starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(again)) if b < a), n]
        lengths = sorted(b - a for a, b in pairwise(starts))
        assert_equal(lengths, sorted(len(range(i, n, segments)) for i in range(segments)))

    @pytest.mark.parametrize("segments", [1, 2, 3, 5])
    @pytest.mark.parametrize("kind", ["list", "Sequential"])
    def test_outputs_and_gradients_are_those_of_the_plain_layers(self, kind, segments):
        net = nn.Sequential(
            nn.Linear(4, 6), nn.Dropout(0.3), nn.Tanh(), nn.Linear(6, 5), nn.Dropout(0.2)
        ).double()
        layers = net if kind == "Sequential" else list(net)
        x, parameters = randn(3, 4), [*net.parameters()]
        got = trained(lambda layers, x: checkpoint_sequential(layers, x, segments), layers, [x], parameters)
        expected = trained(lambda _, x: net(x), None, [x], parameters)
        assert_close(got[0], expected[0])
        assert_close(got[1], expected[1])
        assert_close(got[2:], expected[2:])

    def test_layers_learn_where_the_input_needs_no_gradient(self):
        net, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double(), randn(3, 4, grad=False)
        got = trained(lambda _, x: checkpoint_sequential(net, x, 2), None, [x], [*net.parameters()])
        expected = trained(lambda _, x: net(x), None, [x], [*net.parameters()])
        assert_close(got[1][1:], expected[1][1:])

    @pytest.mark.parametrize("segments", [0, -2, 6])
    def test_rejects_fewer_than_one_segment_or_more_than_layers(self, segments):
        with raises(ValueError, segments, 5):
            checkpoint_sequential(logged(5)[0], randn(2), segments)

    @pytest.mark.parametrize(("n", "segments"), [(9, 3), (30, 5), (64, 8), (100, 10)])
    def test_memory_grows_with_the_root_of_the_depth(self, n, segments):
        x = randn(4, 3)
        layers, _ = logged(n)
        with Kept() as without:
            h = x
            for layer in layers:
                h = layer(h)
            h.sum().backward()
        with Kept() as kept:
            checkpoint_sequential(layers, x, segments).sum().backward()
        assert_equal(without.peak // x.nbytes, n)
        if kept.peak > math.ceil(2 * math.sqrt(n)) * x.nbytes:
            fail(
                f"Of {n} activations {kept.peak / x.nbytes:g} are kept at once: "
                f"the √n schedule needs {math.ceil(2 * math.sqrt(n))}.",
                evidence=(n, kept.peak),
            )


class TestBestSegments:
    @pytest.mark.parametrize("numbers", [[1], [2], [3], [7], [16], range(4, 150), [1000, 1023, 1024, 4097]], ids=str)
    def test_no_other_number_keeps_fewer(self, numbers):
        for n in numbers:
            s = best_segments(n)
            assert_equal(type(s), int)
            least = min(k + math.ceil(n / k) for k in range(1, n + 1))
            kept = s + math.ceil(n / s) if 1 <= s <= n else "too many or too few"
            if kept != least:
                fail(f"{n} layers in {s} segments keep {kept}, where {least} is possible.", evidence=(n, s))


def check_choice(chosen, sizes, seconds, budget, least):
    """`chosen` must be legal, fit, and take the least time."""
    n = len(sizes)
    if not isinstance(chosen, list) or chosen != sorted(set(chosen)) or not set(chosen) <= set(range(n)):
        fail(f"{chosen} is no rising list of layers from 0 to {n - 1}.", evidence=str(chosen))
    kept = sum(sizes[i] for i in range(n) if i not in chosen)
    if kept > budget:
        fail(f"Recomputing {chosen} keeps {kept} bytes: the budget is {budget}.", evidence=(kept, budget))
    assert_close(float(sum(seconds[i] for i in chosen)), float(least))


class TestChooseRecompute:
    def test_the_example_worked_by_hand(self):
        assert_equal(choose_recompute([6, 5, 5], [5.0, 4.5, 4.5], 6), [1, 2])

    @pytest.mark.parametrize("n", [1, 2, 5, 9])
    @pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
    def test_matches_brute_force(self, rng, share, n):
        sizes = [int(s) for s in rng.integers(1, 40, n)]
        seconds = [float(t) for t in rng.uniform(0.1, 3.0, n)]
        budget = int(share * sum(sizes))
        legal = (
            sum(seconds[i] for i in chosen)
            for k in range(n + 1)
            for chosen in combinations(range(n), k)
            if sum(sizes) - sum(sizes[i] for i in chosen) <= budget
        )
        check_choice(choose_recompute(sizes, seconds, budget), sizes, seconds, budget, min(legal))

    @pytest.mark.parametrize("share", [0.15, 0.4, 0.6, 0.85])
    @pytest.mark.parametrize("trial", range(3))  # swapping a few layers finds the best choice of most, not of all
    def test_forty_layers_are_solved_exactly(self, rng, trial, share):
        sizes, seconds = rng.integers(1, 21, 40).tolist(), rng.uniform(0.1, 3.0, 40).tolist()
        budget = int(share * sum(sizes))
        least = [0.0] * (budget + 1)  # by the room that is left
        for size, time in zip(sizes, seconds, strict=True):
            kept = [math.inf] * size + least
            least = [min(recomputed + time, kept[room]) for room, recomputed in enumerate(least)]
        check_choice(choose_recompute(sizes, seconds, budget), sizes, seconds, budget, least[budget])

    def test_small_differences_in_time_count(self):
        assert_equal(choose_recompute([5, 5], [0.0011, 0.001], 5), [1])
        assert_equal(choose_recompute([5, 5], [1.0e-6, 1.1e-6], 5), [0])

    @pytest.mark.parametrize(("budget", "chosen"), [(30, []), (16, []), (15, [1]), (0, [0, 1, 2])])
    def test_only_as_much_is_recomputed_as_the_budget_asks(self, budget, chosen):
        assert_equal(choose_recompute([7, 4, 5], [3.0, 1.0, 2.0], budget), chosen)

    def test_no_layers_need_no_choice(self):
        assert_equal(choose_recompute([], [], 3), [])


def check_partition(parts, costs, workers):
    """`parts` must hold each job once; returns the loads in rising order."""
    if len(parts) != workers:
        fail(
            f"There are {len(parts)} lists for {workers} workers: each has one, if only an empty one.",
            evidence=len(parts),
        )
    assert_equal(sorted(job for part in parts for job in part), list(range(len(costs))))
    return sorted(float(sum(costs[job] for job in part)) for part in parts)


def lpt(costs, workers):
    """The loads that the rule gives, in rising order; ties change nothing in them."""
    loads = [0.0] * workers
    for cost in sorted(costs, reverse=True):
        loads = sorted([loads[0] + cost, *loads[1:]])
    return loads


class TestPartition:
    def test_the_example_worked_by_hand(self):
        costs = [3, 5, 3, 4, 3]
        assert_equal(check_partition(partition(costs, 2), costs, 2), [8.0, 10.0])

    @pytest.mark.parametrize("workers", [1, 2, 3, 7])
    @pytest.mark.parametrize("jobs", [5, 12, 40])
    def test_loads_are_those_of_the_rule(self, rng, jobs, workers):
        whole = [int(c) for c in rng.integers(0, 9, jobs)]  # with ties, and jobs without cost
        assert_equal(check_partition(partition(whole, workers), whole, workers), lpt(whole, workers))
        costs = [float(c) for c in rng.exponential(3.0, jobs)]
        assert_close(check_partition(partition(costs, workers), costs, workers), lpt(costs, workers))

    def test_more_workers_than_jobs_leave_some_idle(self):
        assert_equal(check_partition(partition([2.5, 4.0], 4), [2.5, 4.0], 4), [0.0, 0.0, 2.5, 4.0])
        assert_equal(check_partition(partition([], 3), [], 3), [0.0, 0.0, 0.0])

    @pytest.mark.parametrize(("workers", "jobs"), [(2, 8), (3, 7)])
    def test_the_largest_load_is_near_the_best(self, rng, workers, jobs):
        costs = [int(c) for c in rng.integers(1, 30, jobs)]
        best = min(
            max(sum(c for c, w in zip(costs, owners, strict=True) if w == worker) for worker in range(workers))
            for owners in product(range(workers), repeat=jobs)
        )
        largest = check_partition(partition(costs, workers), costs, workers)[-1]
        if not best <= largest <= best * (4 / 3 - 1 / (3 * workers)) + 1e-9:
            fail(f"The largest load is {largest:g} where {best} is possible: LPT comes nearer.", evidence=largest)


class TestImbalance:
    def test_the_example_worked_by_hand(self):
        assert_close(imbalance([8, 10]), 10 / 9)

    @pytest.mark.parametrize("loads", [[2.0, 6.0, 1.0], [0, 0, 5, 0], [7], [4.5, 3.0]])
    def test_is_the_largest_load_over_the_mean(self, loads):
        import numpy as np

        assert_close(imbalance(loads), float(np.max(loads) / np.mean(loads)))

    def test_equal_loads_are_balanced(self):
        assert_close(imbalance([3, 3, 3]), 1.0)


class Checkpointed(nn.Module):
    """Net, without dropout, in one checkpoint or in segments of its layers."""

    def __init__(self, segments):
        super().__init__()
        self.segments, self.net = segments, Net(p=0.0)

    def forward(self, x, shift):
        if self.segments is None:
            return checkpoint(lambda x, shift: (self.net(x) + shift, x.detach().argmax(-1)), x, shift)
        return checkpoint_sequential([self.net.up, torch.tanh, self.net.down], x + shift, self.segments)


class TestOnTheGpu:
    @pytest.mark.parametrize("requires_grad", [True, False])
    def test_checkpoint(self, gpu, requires_grad):
        gpu.check(Checkpointed(None), randn(5, 4, grad=requires_grad), randn(3, grad=requires_grad), what="checkpoint")

    @pytest.mark.parametrize("segments", [1, 2, 3])
    def test_checkpoint_sequential(self, gpu, segments):
        gpu.check(Checkpointed(segments), randn(5, 4), randn(4), what="checkpoint_sequential")
