"""Pipeline parallelism by send and receive: the reference."""

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import Tensor, nn

Action = tuple[str, int]  # ("F", i) or ("B", i)


def split_layers(costs: Sequence[float], stages: int) -> list[tuple[int, int]]:
    """The cut whose dearest stage is cheapest: best cuts of the first j layers, one stage more at a time."""
    n = len(costs)
    if not 1 <= stages <= n:
        raise ValueError(f"{n} layers can't be cut into {stages} stages of at least one layer")
    best = {0: (0, [])}  # layers → cost of the slowest stage, and the stages
    for done in range(stages):
        best = {
            j: min((max(best[i][0], sum(costs[i:j])), [*best[i][1], (i, j)]) for i in best if i < j)
            for j in range(done + 1, n + 1)
        }
    return best[n][1]


def gpipe_schedule(stages: int, micro_batches: int) -> list[list[Action]]:
    """All forwards, then all backwards in reverse."""
    order = range(micro_batches)
    return [[("F", i) for i in order] + [("B", i) for i in reversed(order)] for _ in range(stages)]


def one_f_one_b_schedule(stages: int, micro_batches: int) -> list[list[Action]]:
    """Warm up until the first backward can come, then one backward for each forward."""
    schedules = []
    for stage in range(stages):
        warm = min(micro_batches, stages - 1 - stage)
        actions = [("F", i) for i in range(warm)]
        for i in range(warm, micro_batches):
            actions += [("F", i), ("B", i - warm)]
        actions += [("B", i) for i in range(micro_batches - warm, micro_batches)]
        schedules.append(actions)
    return schedules


def simulate(
    schedules: Sequence[Sequence[Action]], forward: float = 1.0, backward: float = 2.0
) -> tuple[float, list[float]]:
    """Do what can be done until nothing is left; an action starts when its stage and its needs are ready."""
    cost = {"F": forward, "B": backward}
    ends: dict[tuple[str, int, int], float] = {}  # (kind, micro-batch, stage) → when it was done
    clock = [0.0] * len(schedules)
    left = [list(schedule) for schedule in schedules]
    while any(left):
        before = len(ends)
        for stage, actions in enumerate(left):
            if not actions:
                continue
            kind, i = actions[0]
            if kind == "F":
                needs = [("F", i, stage - 1)] if stage > 0 else []
            else:
                needs = [("F", i, stage)] + ([("B", i, stage + 1)] if stage + 1 < len(left) else [])
            if all(need in ends for need in needs):
                clock[stage] = max([clock[stage], *(ends[need] for need in needs)]) + cost[kind]
                ends[kind, i, stage] = clock[stage]
                actions.pop(0)
        if len(ends) == before:
            kind, i = left[0][0]  # of stage 0: its backwards come after those of all others, so it isn't done, either
            raise ValueError(f"deadlock: stage 0 waits for ever to do {kind} of micro-batch {i}")
    makespan = max(clock)
    return makespan, [makespan - sum(cost[kind] for kind, _ in schedule) for schedule in schedules]


def in_flight(schedule: Sequence[Action]) -> int:
    """The highest that forwards run ahead of backwards."""
    return max(accumulate(1 if kind == "F" else -1 for kind, _ in schedule))


def run_pipeline(
    stage: nn.Module,
    schedule: Sequence[Action],
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    inputs: Sequence[Tensor] | None,
    targets: Sequence[Tensor] | None,
    arriving: Tensor | None,
) -> Tensor | None:
    """Forwards and backwards of the schedule, sending without waiting."""
    rank, last = dist.get_rank(), dist.get_world_size() - 1
    held = {}  # micro-batch → its input, its output and the sending of its output
    sending, loss = [], None
    for kind, i in schedule:
        if kind == "F":
            if rank == 0:
                x = inputs[i].detach()
            else:
                x = torch.empty_like(arriving)
                dist.recv(x, rank - 1)
                x.requires_grad_()
            out, sent = stage(x), None  # x is a leaf: its .grad is what goes back to the rank before
            if rank == last:
                out = loss_fn(out, targets[i]) / len(targets)
                loss = out.detach() if loss is None else loss + out.detach()
            else:
                sent = dist.isend(out.detach().contiguous(), rank + 1)
            held[i] = x, out, sent
        else:
            x, out, sent = held.pop(i)
            if rank == last:
                out.backward()
            else:
                upstream = torch.empty_like(out, memory_format=torch.contiguous_format)
                dist.recv(upstream, rank + 1)
                sent.wait()  # at once: the gradient couldn't have come otherwise
                out.backward(upstream)
            if rank > 0:
                sending.append(dist.isend(x.grad, rank - 1))
    for request in sending:
        request.wait()
    return loss
