"""Judges k18_pipeline_parallel by real ranks against the gradients of one process, by the messages and the
graphs that each rank keeps alive; schedules against closed forms, cuts against brute force."""

import itertools
import time
import weakref

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k18_pipeline_parallel import (
    gpipe_schedule,
    in_flight,
    one_f_one_b_schedule,
    run_pipeline,
    simulate,
    split_layers,
)

FORBIDDEN = "pipelining rpc nn"
pytestmark = [from_scratch(*(f"torch.distributed.{name}" for name in FORBIDDEN.split())), pure()]

SIZES = [(1, 1), (1, 4), (2, 3), (3, 2), (3, 8), (4, 4), (5, 3), (6, 11)]


def gpipe(m):
    """One stage's schedule in GPipe."""
    return [("F", i) for i in range(m)] + [("B", i) for i in range(m)][::-1]


def limited(m, limit):
    """Forwards as long as there are any and fewer than `limit` are in flight, else a backward."""
    actions, f, b = [], 0, 0
    while b < m:
        if f < m and f - b < limit:
            actions, f = [*actions, ("F", f)], f + 1
        else:
            actions, b = [*actions, ("B", b)], b + 1
    return actions


def text(actions):
    """A schedule in one line: F0 F1 B0 …"""
    return " ".join(f"{kind}{i}" for kind, i in actions)


def check_cut(parts, costs, stages):
    """`parts` are contiguous, cover all layers and none is empty; the cost of the dearest."""
    assert_equal(len(parts), stages)
    bounds = [bound for part in parts for bound in part]
    if bounds[0] != 0 or bounds[-1] != len(costs) or bounds[1:-1:2] != bounds[2::2]:
        fail(
            f"The stages {list(parts)} don't follow one another from layer 0 to layer {len(costs)}.", evidence=(bounds,)
        )
    if any(stop <= start for start, stop in parts):
        fail(f"A stage of {list(parts)} has no layers.", evidence=(bounds,))
    return max(sum(costs[start:stop]) for start, stop in parts)


class TestSplitLayers:
    def test_the_example_worked_by_hand(self):
        parts = split_layers([1, 1, 1, 5, 2, 2], 3)
        assert_equal([list(part) for part in parts], [[0, 3], [3, 4], [4, 6]])

    @pytest.mark.parametrize(("n", "stages"), [(1, 1), (5, 1), (5, 5), (6, 2), (8, 3), (9, 4), (10, 7)])
    @pytest.mark.parametrize(("high", "trial"), [(3, 0), (9, 0), (9, 1), (9, 2), (30, 0), (30, 1)])
    def test_no_other_cut_has_a_cheaper_slowest_stage(self, rng, high, trial, n, stages):
        costs = rng.integers(1, high, n).tolist()
        cuts = itertools.combinations(range(1, n), stages - 1)
        edges = ([0, *cut, n] for cut in cuts)
        best = min(max(sum(costs[a:b]) for a, b in itertools.pairwise(edge)) for edge in edges)
        assert_equal(check_cut(split_layers(costs, stages), costs, stages), best)

    @pytest.mark.parametrize(
        ("costs", "stages", "best"), [([1, 7, 3, 3], 3, 7), ([8, 3, 2, 9, 3], 3, 11), ([9, 9, 8, 3, 5, 8], 3, 17)]
    )
    def test_the_slowest_stage_counts_and_not_the_spread(self, costs, stages, best):
        assert_equal(check_cut(split_layers(costs, stages), costs, stages), best)

    @pytest.mark.parametrize("unit", [1.0, 1e-6])
    def test_costs_that_are_not_whole_numbers(self, unit):
        costs = [cost * unit for cost in [0.03, 0.04, 0.05, 0.13, 0.02, 0.01]]
        assert_close(check_cut(split_layers(costs, 2), costs, 2) / unit, 0.16)
        assert_close(check_cut(split_layers(costs, 3), costs, 3) / unit, 0.13)

    def test_many_layers(self, rng):
        costs = rng.integers(1, 1000, 60).tolist()
        slowest = check_cut(split_layers(costs, 8), costs, 8)
        # Filling each stage up to one less than that must need more than 8 stages.
        needed, filled = 1, 0
        for cost in costs:
            needed, filled = (needed, filled + cost) if filled + cost < slowest else (needed + 1, cost)
        if needed <= 8 and max(costs) < slowest:
            fail(f"The slowest stage costs {slowest}, which isn't the least.", evidence=(slowest,))

    @pytest.mark.parametrize("stages", [4, 0, -1])
    def test_more_stages_than_layers_or_none_are_named(self, stages):
        with raises(ValueError, 3, stages):
            split_layers([1, 2, 5], stages)


class TestGpipeSchedule:
    @pytest.mark.parametrize(("stages", "m"), SIZES)
    def test_all_forwards_and_then_all_backwards_in_reverse(self, stages, m):
        assert_equal(gpipe_schedule(stages, m), [gpipe(m)] * stages)

    def test_each_stage_has_a_list_of_its_own(self):
        schedules = gpipe_schedule(2, 3)
        schedules[0].clear()
        assert_equal(schedules[1], gpipe(3))


class TestOneFOneBSchedule:
    def test_the_example_worked_by_hand(self):
        expected = [
            [("F", 0), ("F", 1), ("B", 0), ("F", 2), ("B", 1), ("B", 2)],
            [("F", 0), ("B", 0), ("F", 1), ("B", 1), ("F", 2), ("B", 2)],
        ]
        assert_equal(one_f_one_b_schedule(2, 3), expected)

    @pytest.mark.parametrize(("stages", "m"), SIZES)
    def test_a_backward_as_soon_as_p_minus_s_are_in_flight(self, stages, m):
        assert_equal(one_f_one_b_schedule(stages, m), [limited(m, stages - stage) for stage in range(stages)])


class TestSimulate:
    def test_the_example_worked_by_hand(self):
        for schedules in ([limited(3, 2), limited(3, 1)], [gpipe(3), gpipe(3)]):
            makespan, idle = simulate(schedules)
            assert_close(makespan, 12.0)
            assert_close(idle, [3.0, 3.0])

    @pytest.mark.parametrize(("stages", "m"), SIZES)
    @pytest.mark.parametrize(("f", "b"), [(1.0, 1.0), (0.3, 2.9), (2.1, 0.7)])
    @pytest.mark.parametrize("kind", ["GPipe", "1F1B"])
    def test_gpipe_and_1f1b_have_the_bubble_of_the_closed_form(self, kind, stages, m, f, b):
        schedules = [gpipe(m) if kind == "GPipe" else limited(m, stages - stage) for stage in range(stages)]
        makespan, idle = simulate(schedules, f, b)
        assert_close(makespan, (m + stages - 1) * (f + b))
        assert_close(idle, [(stages - 1) * (f + b)] * stages, check_dtype=False)
        assert_close(idle[0] / makespan, (stages - 1) / (m + stages - 1), check_dtype=False)

    @pytest.mark.parametrize(("stages", "m"), [(2, 3), (3, 2), (4, 5)])
    def test_one_micro_batch_after_the_other_is_as_slow_as_one_rank(self, stages, m):
        makespan, idle = simulate([limited(m, 1)] * stages, forward=1.5, backward=4.0)
        assert_close(makespan, m * stages * 5.5)
        assert_close(idle, [m * (stages - 1) * 5.5] * stages)

    @pytest.mark.parametrize("trial", range(8))
    def test_any_schedule_against_the_clock(self, trial):
        """Tick by tick in whole numbers: at each tick a stage goes on, or begins what it may begin."""
        schedules, f, b = self.some_schedules(3, 5), *torch.randint(1, 5, (2,)).tolist()
        place, until, done, now, running = [0] * 3, [0] * 3, set(), 0, [None] * 3
        while any(place[s] < 10 or running[s] for s in range(3)):
            for s in range(3):
                if running[s] and until[s] == now:
                    done.add((*running[s], s))
                    running[s] = None
            for s in range(3):
                if not running[s] and place[s] < 10:
                    kind, i = schedules[s][place[s]]
                    after = (kind, i, s - 1 if kind == "F" else s + 1)
                    if after[2] in (-1, 3) or after in done:
                        running[s], until[s], place[s] = (kind, i), now + (f if kind == "F" else b), place[s] + 1
            now += 1
        makespan, idle = simulate(schedules, float(f), float(b))
        assert_close(makespan, float(now - 1))
        assert_close(idle, [now - 1 - 5.0 * (f + b)] * 3)

    @staticmethod
    def some_schedules(stages, m):
        """Schedules that can't deadlock: a walk through all actions in an order that their needs allow."""
        schedules, done = [[] for _ in range(stages)], set()
        todo = {(kind, i, s) for kind in "FB" for i in range(m) for s in range(stages)}
        while todo:
            ready = []
            for kind, i, s in sorted(todo):
                needs = [("F", i, s - 1)] if kind == "F" else [("F", i, s), ("B", i, s + 1)]
                if all(need in done for need in needs if 0 <= need[2] < stages):
                    ready.append((kind, i, s))
            kind, i, s = ready[int(torch.randint(len(ready), ()))]
            todo.remove((kind, i, s))
            done.add((kind, i, s))
            schedules[s].append((kind, i))
        return schedules

    def test_schedules_that_come_to_a_stand_are_named(self):
        with raises(ValueError, 0, 5):  # stage 0 wants micro-batch 5 back before it sends 7, which stage 1 wants first
            simulate([[("F", 5), ("B", 5), ("F", 7), ("B", 7)], [("F", 7), ("B", 7), ("F", 5), ("B", 5)]])
        # What stage 0 did last is another micro-batch, 7.
        with raises(ValueError, 0, 5):
            simulate(
                [
                    [("F", 5), ("F", 7), ("B", 5), ("F", 9), ("B", 7), ("B", 9)],
                    [("F", 9), ("B", 9), ("F", 5), ("B", 5), ("F", 7), ("B", 7)],
                ]
            )
        # Far in: stage 1 wants 6 back before it sends 9, which stage 2 wants first; stage 0 waits for 4.
        with raises(ValueError, 0, 4):
            simulate(
                [
                    [("F", 5), ("B", 5), ("F", 6), ("F", 9), ("F", 4), ("B", 4), ("B", 6), ("B", 9)],
                    [("F", 5), ("B", 5), ("F", 6), ("B", 6), ("F", 9), ("B", 9), ("F", 4), ("B", 4)],
                    [("F", 5), ("B", 5), ("F", 6), ("F", 9), ("B", 6), ("B", 9), ("F", 4), ("B", 4)],
                ]
            )
        with raises(ValueError, 0, 3):
            simulate([[("B", 3), ("F", 3)]])


class TestInFlight:
    def test_any_schedule(self):
        assert_equal(in_flight([("F", 0), ("F", 1), ("B", 0), ("F", 2), ("B", 1), ("B", 2)]), 2)
        assert_equal(in_flight([("F", 1), ("B", 1), ("F", 0), ("B", 0)]), 1)
        late = [("F", 3), ("F", 0), ("B", 0), ("F", 1), ("F", 2), ("B", 3), ("B", 2), ("B", 1)]
        assert_equal(in_flight(late), 3)

    @pytest.mark.parametrize(("stages", "m"), SIZES)
    def test_gpipe_holds_all_and_1f1b_no_more_than_stages_to_come(self, stages, m):
        assert_equal(in_flight(gpipe(m)), m)
        held = [in_flight(limited(m, stages - stage)) for stage in range(stages)]
        assert_equal(held, [min(m, stages - stage) for stage in range(stages)])


class Packed:
    """What autograd saved of one micro-batch."""

    def __init__(self, tensor, owner):
        self.tensor, self.owner = tensor, owner


class Watched(nn.Module):
    """Some layers, and what is done with them: the order of actions, and how much lives at once.

    graphs  the micro-batches of which autograd has saved something, at most
    kept    the most outputs, graphs, and activations that came from another rank, alive when one more is made
    """

    def __init__(self, layers, schedule, first):
        super().__init__()
        self.layers = layers
        self.order = [i for kind, i in schedule if kind == "F"]
        self.actions, self.calls, self.graphs, self.saved = [], 0, 0, weakref.WeakSet()
        # By their storage: a detached copy of the tensor keeps it as well.  A hook lives as long as its graph.
        self.alive = {"outputs": set(), "graphs": weakref.WeakSet()} | ({} if first else {"inputs": set()})
        self.kept = dict.fromkeys(self.alive, 0)

    def forward(self, x):
        calls = self.calls
        i = self.order[calls % len(self.order)]
        self.calls += 1

        def backward(_):
            self.actions.append(("B", i))

        def pack(tensor):
            packed = Packed(tensor, calls)
            self.saved.add(packed)
            return packed

        with saved_tensors_hooks(pack, lambda packed: packed.tensor):
            out = self.layers(x)
        self.actions.append(("F", i))
        if out.requires_grad:
            out.register_hook(backward)
        self.graphs = max(self.graphs, len({packed.owner for packed in self.saved}))
        self.alive["outputs"].add(StorageWeakRef(out.untyped_storage()))
        self.alive["graphs"].add(backward)
        if "inputs" in self.alive:
            self.alive["inputs"].add(StorageWeakRef(x.untyped_storage()))
        for what, ever in self.alive.items():
            here = len(ever) if what == "graphs" else sum(not storage.expired() for storage in ever)
            self.kept[what] = max(self.kept[what], here)
        return out


class Request:
    """What isend or irecv returns.  One that dies before anything was waited for since it was made has been lost.

    Without this the ranks would wait for ever, busily, and nobody could say for what.
    """

    uses, lost = 0, False

    def __init__(self, work):
        self.work, self.made = work, Request.uses

    def __getattr__(self, name):
        Request.uses += 1
        return getattr(self.work, name)

    def __del__(self):
        Request.lost |= self.made == Request.uses

    @staticmethod
    def check():
        if Request.lost:
            fail("A request isn't kept: without it, what isend sends may never arrive.", evidence="lost")

    @staticmethod
    def mind():
        """Called in a rank, so that nothing has to be put back."""

        def minded(method):
            def call(*args, **kwargs):
                Request.check()
                return Request(method(*args, **kwargs))

            return call

        dist.ProcessGroup.send, dist.ProcessGroup.recv = map(minded, (dist.ProcessGroup.send, dist.ProcessGroup.recv))


class Sideways(nn.Module):
    """A layer that puts out a view, and gives its input a gradient that is one."""

    def __init__(self, width, out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, width, dtype=torch.float64) / 2)

    def forward(self, x):
        return (self.weight @ x.mT).tanh().mT


def layers(*widths, dtype=torch.float64):
    """A layer for each two neighbours of `widths`."""
    return [nn.Sequential(nn.Linear(a, b, dtype=dtype), nn.Tanh()) for a, b in itertools.pairwise(widths)]


def whole(stages, inputs, targets, loss_fn, times=1):
    """Loss and gradients, one list a stage, of the whole batch in one process.

    Called before the ranks are forked: torch's first backward from a gradient imports for half a second.
    """
    model = nn.Sequential(*stages)
    loss = loss_fn(model(torch.cat(inputs)), torch.cat(targets))
    gradients = iter(torch.autograd.grad(loss, list(model.parameters()), torch.ones_like(loss)))
    return loss.detach(), [[next(gradients) * times for _ in stage.parameters()] for stage in stages]


def arrays(stages, x):
    """What arrives at each stage, full of rubbish; None at the first."""
    arriving = [None]
    for stage in stages[:-1]:
        x = stage(x).detach()
        arriving.append(torch.full(x.shape, float("nan"), dtype=x.dtype))
    return arriving


def check(ranks, n, stages, schedules, inputs, targets, loss_fn=F.mse_loss, **how):
    """Run it on n ranks; compare gradients, loss and messages.  Returns what each rank saw of its stage."""
    right_loss, right = whole(stages, inputs, targets, loss_fn)
    arriving = arrays(stages, inputs[0])
    m = len(inputs)

    def work(rank):
        Request.mind()
        stage = Watched(stages[rank], schedules[rank], rank == 0)
        mine = inputs if rank == 0 else None
        loss = run_pipeline(
            stage, schedules[rank], loss_fn, mine, targets if rank == n - 1 else None, arriving[rank]
        )
        Request.check()
        if mine is not None and any(x.requires_grad or x.grad is not None for x in mine):
            fail("The inputs of rank 0 were made to require gradients: they are an argument, which isn't changed.")
        gradients = [parameter.grad for parameter in stage.parameters()]
        return loss, gradients, stage.actions, stage.graphs, stage.kept

    answers = ranks(n, work, **how)
    for rank, (loss, gradients, *_) in enumerate(answers):
        assert_close(gradients, right[rank])
        assert_close(loss, right_loss if rank == n - 1 else None)
        if loss is not None:
            assert_equal(loss.requires_grad, False)
        sizes = [0 if here is None else here.numel() * here.element_size() for here in [*arriving, None]]
        expected = [(rank - 1, sizes[rank])] * m * (rank > 0) + [(rank + 1, sizes[rank + 1])] * m * (rank < n - 1)
        calls = ranks.calls[rank]
        assert_equal([call.op for call in calls], ["send"] * len(expected))
        assert_equal(sorted((call.peer, call.bytes) for call in calls), expected)
    return [answer[2:] for answer in answers]


def problem(n, m, widths):
    """A stage for each rank, the last of two layers, and m micro-batches of 3 samples."""
    model = layers(*widths)
    stages = [nn.Sequential(*model[r : r + 1 if r < n - 1 else None]) for r in range(n)]
    inputs = [torch.randn(3, widths[0], dtype=torch.float64) for _ in range(m)]
    targets = [torch.randn(3, widths[-1], dtype=torch.float64) for _ in range(m)]
    return stages, inputs, targets


class TestTwoRanks:
    def test_in_1f1b_one_sends_down_while_the_other_sends_up(self, ranks):
        stages, inputs, targets = problem(2, 2, [3, 5, 4, 2])
        check(ranks, 2, stages, [limited(2, 2), limited(2, 1)], inputs, targets, idle=1.0)


class TestRunPipeline:
    @pytest.mark.parametrize(("n", "m"), [(2, 3), (3, 4), (4, 2)])
    def test_gpipe_gives_the_gradients_of_one_process_and_holds_all_graphs(self, ranks, n, m):
        stages, inputs, targets = problem(n, m, [5, 7, 3, 6, 4, 2][: n + 2])
        seen = check(ranks, n, stages, [gpipe(m)] * n, inputs, targets)
        for actions, graphs, _ in seen:
            assert_equal(text(actions), text(gpipe(m)))
            assert_equal(f"graphs held at once: {graphs}", f"graphs held at once: {m}")

    @pytest.mark.parametrize(("n", "m"), [(2, 6), (3, 2), (4, 7)])
    def test_1f1b_gives_them_as_well_and_holds_no_more_than_p_minus_s(self, ranks, n, m):
        stages, inputs, targets = problem(n, m, [5, 7, 3, 6, 4, 2][: n + 2])
        schedules = [limited(m, n - rank) for rank in range(n)]
        seen = check(ranks, n, stages, schedules, inputs, targets)
        for rank, (actions, graphs, kept) in enumerate(seen):
            held = min(m, n - rank)
            assert_equal(text(actions), text(schedules[rank]))
            assert_equal(f"graphs held at once by stage {rank}: {graphs}", f"graphs held at once by stage {rank}: {held}")
            for what, count in kept.items():
                if count > held + 2:  # two may hang on a local name of the loop
                    fail(
                        f"Stage {rank} of {n} keeps {count} {what} alive with {held} in flight.",
                        evidence=(n, m, rank, what, count),
                    )

    def test_micro_batches_in_any_order(self, ranks):
        stages, inputs, targets = problem(2, 4, [3, 5, 4, 2])
        schedules = [
            [("F", 2), ("F", 0), ("B", 0), ("F", 3), ("F", 1), ("B", 2), ("B", 1), ("B", 3)],
            [("F", 2), ("F", 0), ("B", 0), ("B", 2), ("F", 3), ("F", 1), ("B", 1), ("B", 3)],
        ]
        seen = check(ranks, 2, stages, schedules, inputs, targets)
        assert_equal([text(actions) for actions, *_ in seen], [text(actions) for actions in schedules])

    def test_outputs_and_gradients_that_are_not_contiguous(self, ranks):
        stages = [Sideways(4, 5), Sideways(5, 2), Sideways(2, 3)]
        inputs = [torch.randn(2, 6, 4, dtype=torch.float64) for _ in range(2)]
        targets = [torch.randn(2, 6, 3, dtype=torch.float64) for _ in range(2)]
        check(ranks, 3, stages, [limited(2, 3 - rank) for rank in range(3)], inputs, targets)

    def test_a_gradient_that_comes_before_the_next_activation(self, ranks):
        class Late(nn.Module):
            def forward(self, x):
                time.sleep(0.2)  # meanwhile the stage after the next has sent a gradient
                return x

        stages, inputs, targets = problem(3, 3, [4, 4, 4, 4, 4])
        stages[0] = nn.Sequential(stages[0], Late())
        check(ranks, 3, stages, [limited(3, 3 - rank) for rank in range(3)], inputs, targets)

    def test_token_ids_and_float32(self, ranks):
        stages = [nn.Sequential(nn.Embedding(11, 6), nn.Tanh()), nn.Sequential(nn.Linear(6, 11), nn.Tanh())]
        inputs = [torch.randint(11, (2, 5)) for _ in range(3)]
        targets = [torch.randint(11, (2, 5)) for _ in range(3)]

        def loss_fn(out, target):
            return F.cross_entropy(out.flatten(0, 1), target.flatten())

        check(ranks, 2, stages, [limited(3, 2 - rank) for rank in range(2)], inputs, targets, loss_fn)

    def test_gradients_are_added_to_those_that_are_there(self, ranks):
        stages, inputs, targets = problem(2, 3, [3, 5, 4, 2])
        arriving = arrays(stages, inputs[0])
        _, right = whole(stages, inputs, targets, F.l1_loss, times=3)

        def work(rank):
            Request.mind()
            for schedule in (gpipe(3), limited(3, 2 - rank), gpipe(3)):
                run_pipeline(
                    stages[rank], schedule, F.l1_loss, None if rank else inputs, targets if rank else None, arriving[rank]
                )
            return [parameter.grad for parameter in stages[rank].parameters()]

        assert_close(ranks(2, work), right)

    def test_messages_too_large_to_be_kept_by_the_network(self, ranks):
        stages, inputs, targets = problem(2, 2, [2, 70_000, 1, 1])
        check(ranks, 2, stages, [limited(2, 2), limited(2, 1)], inputs, targets)

    def test_one_rank_alone(self, ranks):
        stages, inputs, targets = problem(1, 4, [3, 5, 2])
        ((actions, graphs, _),) = check(ranks, 1, stages, [limited(4, 1)], inputs, targets)
        assert_equal(text(actions), text(limited(4, 1)))
        assert_equal(graphs, 1)

    @pytest.mark.gpu
    def test_over_nccl(self, ranks):
        stages, inputs, targets = problem(2, 5, [3, 5, 4, 2])
        arriving = arrays(stages, inputs[0])

        def work(rank):
            stage = stages[rank].cuda()
            mine = None if rank else [x.cuda() for x in inputs]
            theirs = [x.cuda() for x in targets] if rank else None
            here = arriving[rank].cuda() if rank else None
            run_pipeline(stage, limited(5, 2 - rank), F.mse_loss, mine, theirs, here)
            return [parameter.grad.cpu() for parameter in stage.parameters()]

        answers = ranks(2, work, backend="nccl")
        assert_close(answers, whole(stages, inputs, targets, F.mse_loss)[1])
