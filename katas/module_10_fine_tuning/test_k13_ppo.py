"""Judges k13_ppo against sums written out, updates repeated by hand, and a small task over seeds."""

import copy
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.walk import corridor
from katas.module_10_fine_tuning.k13_ppo import (
    Batch,
    approximate_kl,
    entropy,
    make_batch,
    minibatches,
    policy_loss,
    ppo_loss,
    ppo_update,
    train_ppo,
    value_loss,
)

pytestmark = [
    from_scratch("gymnasium", "torchrl", "stable_baselines3", "trl", "torch.distributions"),
    pure("minibatches", "ppo_update", "train_ppo"),
]


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(shape, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


class TestEntropy:
    def test_the_example_worked_by_hand(self):
        assert_close(entropy(f64(2, 1, 1).log()), torch.tensor(1.5 * math.log(2), dtype=torch.float64))

    @pytest.mark.parametrize("shape", [(4,), (6, 3), (2, 3, 5)])
    def test_matches_torch(self, shape):
        logits = some(shape, 1) * 2
        assert_close(entropy(logits), torch.distributions.Categorical(logits=logits).entropy())

    def test_a_certain_action(self):
        assert_close(entropy(f64(2000, 0, -5)), torch.tensor(0.0, dtype=torch.float64))

    def test_an_action_that_is_ruled_out(self):
        logits = some((3, 2), 5)
        wide = torch.cat([logits, torch.full((3, 1), -math.inf, dtype=torch.float64)], 1).requires_grad_()
        found = entropy(wide)
        assert_close(found, entropy(logits))
        found.sum().backward()
        assert_equal(bool(wide.grad.isfinite().all()), True)

    def test_the_gradient(self):
        """∂H / ∂logit_a = -p_a (log p_a + H)."""
        logits = some((4, 3), 6).requires_grad_()
        upstream = some(4, 7)
        entropy(logits).backward(upstream)
        log_p = logits.detach().log_softmax(-1)
        h = -(log_p.exp() * log_p).sum(-1, keepdim=True)
        assert_close(logits.grad, -log_p.exp() * (log_p + h) * upstream[:, None])


def policy_loss_by_rows(log_probs, old, advantages, clip):
    total = log_probs.new_zeros(())
    for new, before, advantage in zip(log_probs, old, advantages, strict=True):
        ratio = (new - before).exp()
        if advantage > 0:
            ratio = ratio if ratio < 1 + clip else ratio * 0 + 1 + clip
        else:
            ratio = ratio if ratio > 1 - clip else ratio * 0 + 1 - clip
        total = total - ratio * advantage
    return total / len(log_probs)


class TestPolicyLoss:
    def case(self):
        old = f64(-0.5, -1, -1.5, -2)
        return (old + f64(1.5, 0.5, 1.5, 0.5).log()).requires_grad_(), old, f64(2, 2, -2, -2)

    def test_the_example_worked_by_hand(self):
        assert_close(policy_loss(*self.case(), 0.2).detach(), torch.tensor(0.3, dtype=torch.float64))

    def test_only_gains_are_hidden(self):
        log_probs, *rest = self.case()
        policy_loss(log_probs, *rest, 0.2).backward()
        assert_close(log_probs.grad, f64(0, -0.25, 0.75, 0))

    @pytest.mark.parametrize("clip", [0.2, 0.5, 0.05])
    @pytest.mark.parametrize("n", [11, 1])
    def test_move_by_move(self, n, clip):
        for seed in range(4):
            log_probs, old, advantages = some(n, seed) * 0.5 - 1, some(n, seed + 10) * 0.5 - 1, some(n, seed + 20)
            twin = log_probs.clone().requires_grad_()
            log_probs.requires_grad_()
            found, expected = (
                policy_loss(log_probs, old, advantages, clip),
                policy_loss_by_rows(twin, old, advantages, clip),
            )
            assert_close(found, expected)
            found.backward()
            expected.backward()
            assert_close(log_probs.grad, twin.grad if twin.grad is not None else torch.zeros(n, dtype=torch.float64))

    def test_the_first_step_is_a_policy_gradient(self):
        log_probs, advantages = (some(6, 1) - 2).requires_grad_(), some(6, 2)
        policy_loss(log_probs, log_probs.detach().clone(), advantages, 0.3).backward()
        assert_close(log_probs.grad, -advantages / 6)

    def test_the_gradient_reaches_the_new_ones_alone(self):
        leaves = [one.requires_grad_() for one in (some(5, 1) * 0.1, some(5, 2) * 0.1, some(5, 3))]
        policy_loss(*leaves, 0.2).backward()
        assert_equal([one.grad is None for one in leaves], [False, True, True])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_dtype_stays(self, dtype):
        assert_equal(policy_loss(*(some(3, s).to(dtype) for s in range(3)), 0.2).dtype, dtype)


def value_loss_by_rows(values, old, targets, clip):
    total = values.new_zeros(())
    for v, before, target in zip(values, old, targets, strict=True):
        error = (v - target) ** 2
        if clip is not None:
            step = float((v - before).detach())
            near = v if abs(step) <= clip else v * 0 + before + math.copysign(clip, step)
            if (near - target) ** 2 > error:
                error = (near - target) ** 2
        total = total + error
    return total / len(values)


class TestValueLoss:
    @pytest.mark.parametrize(("target", "expected"), [(3.0, 2.25), (0.0, 4.0)])
    def test_the_example_worked_by_hand(self, target, expected):
        assert_close(value_loss(f64(2), f64(1), f64(target), 0.5), torch.tensor(expected, dtype=torch.float64))

    @pytest.mark.parametrize("clip", [None, 0.2, 0.8])
    @pytest.mark.parametrize("n", [12, 1])
    def test_move_by_move(self, n, clip):
        for seed in range(4):
            values, old, targets = some(n, seed), some(n, seed + 10), some(n, seed + 20) * 2
            assert_close(value_loss(values, old, targets, clip), value_loss_by_rows(values, old, targets, clip))

    def test_plain_by_default(self):
        assert_close(value_loss(f64(5, 1), f64(0, 0), f64(6, 3)), torch.tensor(2.5, dtype=torch.float64))

    @pytest.mark.parametrize(
        ("value", "target", "slope"), [(2.0, 3.0, 0.0), (2.0, 0.0, 4.0), (1.2, 3.0, -3.6), (-1.0, -2.0, 0.0)]
    )
    def test_the_gradient(self, value, target, slope):
        """Where V went far in the right direction it is gone; where it went wrong it pulls back."""
        values = f64(value).requires_grad_()
        value_loss(values, f64(1), f64(target), 0.5).backward()
        assert_close(values.grad, f64(slope))

    @pytest.mark.parametrize("clip", [None, 0.4])
    def test_the_gradient_reaches_the_values_alone(self, clip):
        leaves = [one.requires_grad_() for one in (some(6, 1), some(6, 2), some(6, 3))]
        value_loss(*leaves, clip).backward()
        assert_equal([one.grad is None for one in leaves], [False, True, True])


class TestApproximateKl:
    def test_the_example_worked_by_hand(self):
        old = f64(-1, -3)
        expected = (1.5 - 1 - math.log(1.5) + 0.5 - 1 - math.log(0.5)) / 2
        assert_close(approximate_kl(old + f64(1.5, 0.5).log(), old), torch.tensor(expected, dtype=torch.float64))

    @pytest.mark.parametrize("seed", range(3))
    def test_its_mean_over_the_old_policy_is_the_kl(self, seed):
        old, new = some(5, seed).log_softmax(0), some(5, seed + 10).log_softmax(0)
        mean = sum(old[a].exp() * approximate_kl(new[a : a + 1], old[a : a + 1]) for a in range(5))
        assert_close(mean, (old.exp() * (old - new)).sum())

    def test_one_move_gives_no_negative_one(self):
        found = [approximate_kl(f64(-1 + x), f64(-1)).item() for x in (-2.0, -0.3, 0.4, 1.5)]
        assert_close(found, [math.exp(x) - 1 - x for x in (-2.0, -0.3, 0.4, 1.5)])

    def test_no_gradient(self):
        assert_equal(approximate_kl(some(3, 1).requires_grad_(), some(3, 2).requires_grad_()).requires_grad, False)


class Rollout(NamedTuple):
    states: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    next_states: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor


class Model(nn.Module):
    """A linear policy and a linear value over flattened states."""

    def __init__(self, inputs: int = 4, actions: int = 3, seed: int = 0, dtype=torch.float64):
        super().__init__()
        self.policy = nn.Parameter(some((inputs, actions), seed).to(dtype))
        self.value = nn.Parameter(some(inputs, seed + 1).to(dtype))

    def forward(self, states):
        flat = states.flatten(1) if states.dim() > 2 else states
        return flat @ self.policy, flat @ self.value


def some_rollout(moves: int, seed: int, shape=(4,), terminated=0.2, truncated=0.2) -> Rollout:
    g = seeded(seed + 500)
    return Rollout(
        some((moves, *shape), seed), torch.randint(0, 3, (moves,), generator=g), some(moves, seed + 1),
        some((moves, *shape), seed + 2), torch.rand(moves, generator=g) < terminated,
        torch.rand(moves, generator=g) < truncated,
    )  # fmt: skip


def batch_by_hand(rollouts, model, gamma, lam) -> Batch:
    """A_t = Σ_k (γλ)^k δ_{t+k} up to the end of the episode or of the rollout, written out."""
    columns = [[] for _ in range(6)]
    for rollout in rollouts:
        logits, values = (one.detach() for one in model(rollout.states))
        following = model(rollout.next_states)[1].detach()
        n = len(rollout.actions)
        delta = [
            rollout.rewards[t] + (0.0 if rollout.terminated[t] else gamma * following[t]) - values[t] for t in range(n)
        ]
        for t in range(n):
            total = delta[t] * 0
            for k in range(t, n):
                total = total + (gamma * lam) ** (k - t) * delta[k]
                if rollout.terminated[k] or rollout.truncated[k]:
                    break
            row = (
                rollout.states[t], rollout.actions[t], logits[t].log_softmax(0)[rollout.actions[t]], values[t],
                total, total + values[t],
            )  # fmt: skip
            for column, one in zip(columns, row, strict=True):
                column.append(one)
    return Batch(*(torch.stack(column) for column in columns))


class TestMakeBatch:
    @pytest.mark.parametrize(("gamma", "lam"), [(0.9, 0.8), (0.5, 1.0), (1.0, 0.3)])
    @pytest.mark.parametrize("lengths", [(7,), (6, 6), (5, 1, 8)])
    def test_move_by_move(self, lengths, gamma, lam):
        rollouts, model = [some_rollout(n, 10 * i) for i, n in enumerate(lengths)], Model()
        found = make_batch(rollouts, model, gamma, lam)
        assert_equal(type(found).__name__, "Batch")
        assert_close(tuple(found), tuple(batch_by_hand(rollouts, model, gamma, lam)))

    def test_rollouts_dont_meet(self):
        """No episode ends here: the first rollout's last advantage is its own δ alone."""
        one, other = (some_rollout(3, seed, terminated=0.0, truncated=0.0) for seed in (1, 2))
        both, alone = make_batch([one, other], Model(), 0.9, 0.95), make_batch([one], Model(), 0.9, 0.95)
        assert_close(both.advantages[:3], alone.advantages)
        assert_close(both.targets[:3], alone.targets)

    @pytest.mark.parametrize("kind", ["terminated", "truncated"])
    def test_two_kinds_of_ends(self, kind):
        rollout = some_rollout(4, 3, terminated=0.0, truncated=0.0)
        ended = rollout._replace(**{kind: torch.tensor([False, True, False, False])})
        found = make_batch([ended], Model(), 0.9, 0.8)
        assert_close(tuple(found), tuple(batch_by_hand([ended], Model(), 0.9, 0.8)))

    def test_states_of_any_shape(self):
        rollouts = [some_rollout(3, 1, (2, 2)), some_rollout(2, 5, (2, 2))]
        found = make_batch(rollouts, Model(), 0.9, 0.8)
        assert_close(tuple(found), tuple(batch_by_hand(rollouts, Model(), 0.9, 0.8)))

    def test_no_gradient(self):
        assert_equal([one.requires_grad for one in make_batch([some_rollout(3, 1)], Model(), 0.9, 0.8)], [False] * 6)


DEFAULTS = {"clip": 0.2, "value_clip": None, "value_weight": 0.5, "entropy_weight": 0.01}
OTHERS = [
    {"clip": 0.1, "value_clip": 0.3, "value_weight": 2.0, "entropy_weight": 0.3},
    {"clip": 0.4, "value_clip": None, "value_weight": 0.0, "entropy_weight": 1.0},
    {"clip": 0.4, "value_clip": 0.1, "value_weight": 1.0, "entropy_weight": 0.0},
]


def loss_by_rows(model, batch, clip=0.2, value_clip=None, value_weight=0.5, entropy_weight=0.01):
    """The loss and the KL, move by move."""
    logits, values = model(batch.states)
    log_p = torch.stack([row.softmax(0).log() for row in logits])
    log_probs = torch.stack([row[a] for row, a in zip(log_p, batch.actions, strict=True)])
    h = torch.stack([-(row.exp() * row).sum() for row in log_p]).mean()
    loss = policy_loss_by_rows(log_probs, batch.log_probs, batch.advantages, clip) - entropy_weight * h
    loss = loss + value_weight * value_loss_by_rows(values, batch.values, batch.targets, value_clip)
    x = (log_probs - batch.log_probs).detach()
    return loss, (x.exp() - 1 - x).mean()


def some_batch(n: int = 9, seed: int = 0, inputs: int = 4, actions: int = 3) -> Batch:
    g = seeded(seed + 900)
    return Batch(
        some((n, inputs), seed), torch.randint(0, actions, (n,), generator=g), some(n, seed + 1) * 0.3 - 1.2,
        some(n, seed + 2), some(n, seed + 3) * 3 + 1, some(n, seed + 4) * 2,
    )  # fmt: skip


class TestPpoLoss:
    @pytest.mark.parametrize("options", [DEFAULTS, *OTHERS])
    @pytest.mark.parametrize("n", [9, 1])
    def test_move_by_move(self, n, options):
        found, kl = ppo_loss(Model(), some_batch(n), **options)
        expected, expected_kl = loss_by_rows(Model(), some_batch(n), **options)
        assert_close(found.detach(), expected.detach())
        assert_close(kl, expected_kl)

    def test_the_defaults(self):
        found, expected = ppo_loss(Model(), some_batch(30)), loss_by_rows(Model(), some_batch(30), **DEFAULTS)
        assert_close(found[0].detach(), expected[0].detach())

    @pytest.mark.parametrize("options", OTHERS)
    def test_gradients_reach_the_model_alone(self, options):
        one, twin = Model(), Model()
        batch = Batch(*(x.requires_grad_() if x.is_floating_point() else x for x in some_batch()))
        loss, kl = ppo_loss(one, batch, **options)
        loss.backward()
        loss_by_rows(twin, some_batch(), **options)[0].backward()
        zero = torch.zeros_like(one.value)
        assert_close(one.policy.grad, twin.policy.grad)
        assert_close(zero if one.value.grad is None else one.value.grad, twin.value.grad)
        assert_equal([x.grad is None for x in batch[2:]], [True] * 4)
        assert_equal(kl.requires_grad, False)


class TestMinibatches:
    @pytest.mark.parametrize(
        ("n", "size", "sizes"),
        [
            (10, 3, [3, 3, 3, 1]),
            (6, 6, [6]),
            (5, 9, [5]),
            (4, 1, [1, 1, 1, 1]),
            (8, 4, [4, 4]),
            (1, 1, [1]),
            (0, 3, []),
        ],
    )
    def test_every_number_once(self, n, size, sizes):
        found = minibatches(n, size, seeded(1))
        assert_equal([len(piece) for piece in found], sizes)
        assert_equal(sorted(i for piece in found for i in piece.tolist()), list(range(n)))

    def test_types(self):
        found = minibatches(5, 2, seeded(1))
        assert_equal((type(found), {str(piece.dtype) for piece in found}), (list, {"torch.int64"}))

    def test_every_order_comes_alike(self):
        g, count = seeded(2), {}
        for _ in range(1800):
            order = tuple(i for piece in minibatches(3, 2, g) for i in piece.tolist())
            count[order] = count.get(order, 0) + 1
        if len(count) != 6 or not all(230 <= times <= 370 for times in count.values()):
            fail(
                f"In 1800 tries the six orders of 0, 1, 2 come {count} times; expected about 300.", evidence=len(count)
            )

    def test_the_generator_decides(self):
        orders = [torch.cat(minibatches(30, 7, seeded(seed))).tolist() for seed in (1, 1, 2)]
        assert_equal((orders[0] == orders[1], orders[0] == orders[2]), (True, False))

    @pytest.mark.parametrize("size", [0, -4])
    def test_refuses_a_size_below_1(self, size):
        with raises(ValueError, size):
            minibatches(5, size, seeded(1))


class Table(nn.Module):
    """Logits and a value of its own for each of n one-hot states, so that gradients tell which rows were used."""

    def __init__(self, n: int, seed: int = 0, actions: int = 3):
        super().__init__()
        self.logits = nn.Parameter(some((n, actions), seed))
        self.values = nn.Parameter(some(n, seed + 1))

    def forward(self, states):
        return states @ self.logits, states @ self.values


def table_batch(model: Table, seed: int = 0) -> Batch:
    """One move in each state, made by the model."""
    n = len(model.values)
    states, actions = torch.eye(n, dtype=torch.float64), torch.randint(0, 3, (n,), generator=seeded(seed + 40))
    log_probs = model.logits.detach().log_softmax(-1)[torch.arange(n), actions]
    return Batch(
        states, actions, log_probs, model.values.detach().clone(), some(n, seed + 5) * 3 + 1, some(n, seed + 6)
    )


def watched(model: nn.Module, rate: float):
    """An SGD optimizer, and a list that gets the gradients of each of its steps."""
    optimizer, seen = torch.optim.SGD(model.parameters(), lr=rate), []

    def look(optimizer, args, kwargs):
        seen.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()])

    optimizer.register_step_pre_hook(look)
    return optimizer, seen


def rows_used(gradients) -> list[int]:
    return (sum(g.reshape(len(g), -1).abs().sum(1) for g in gradients) > 0).nonzero()[:, 0].tolist()


def whitened(batch: Batch) -> Batch:
    a = batch.advantages
    return batch._replace(advantages=(a - a.mean()) / (a.std(correction=0) + 1e-8))


def step_by_hand(model, optimizer, batch, rows, max_norm, options) -> None:
    loss, _ = loss_by_rows(model, Batch(*(x[torch.tensor(rows)] for x in batch)), **options)
    optimizer.zero_grad()
    loss.backward()
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None))
    for p in model.parameters():
        if p.grad is not None and norm > max_norm:
            p.grad *= max_norm / norm
    optimizer.step()


class TestPpoUpdate:
    @pytest.mark.parametrize(("n", "size", "epochs"), [(10, 3, 2), (8, 4, 3), (5, 9, 4), (6, 1, 1)])
    def test_each_epoch_uses_every_row_once(self, n, size, epochs):
        model = Table(n)
        optimizer, seen = watched(model, 0.0)
        found = ppo_update(model, optimizer, table_batch(model), epochs, size, seeded(1), entropy_weight=0.1)
        pieces = math.ceil(n / size)
        assert_equal((found.steps, found.stopped, len(seen)), (epochs * pieces, False, epochs * pieces))
        for k in range(epochs):
            used = [rows_used(gradients) for gradients in seen[k * pieces : (k + 1) * pieces]]
            assert_equal(sorted(i for rows in used for i in rows), list(range(n)))
            assert_equal(sorted(map(len, used)), sorted(min(size, n - i) for i in range(0, n, size)))

    def test_each_epoch_has_a_new_order(self):
        model = Table(40)
        optimizer, seen = watched(model, 0.0)
        ppo_update(model, optimizer, table_batch(model), 4, 20, seeded(1), entropy_weight=0.1)
        assert_equal(len({tuple(rows_used(seen[2 * k])) for k in range(4)}), 4)

    @pytest.mark.parametrize("max_norm", [0.5, 0.05, 100.0])
    @pytest.mark.parametrize(
        "options",
        [{**DEFAULTS, "entropy_weight": 0.1}, OTHERS[0], {"clip": 0.1, "value_weight": 1.5, "entropy_weight": 0.2}],
    )
    def test_steps_repeated_by_hand(self, options, max_norm):
        """Which rows each step used is read off its gradients; then the steps are repeated."""
        model = Table(11, 3)
        twin, batch = copy.deepcopy(model), table_batch(model, 3)
        optimizer, seen = watched(model, 1.5)
        ppo_update(model, optimizer, batch, 4, 4, seeded(2), max_norm=max_norm, **options)
        again = torch.optim.SGD(twin.parameters(), lr=1.5)
        for gradients in seen:
            step_by_hand(twin, again, whitened(batch), rows_used(gradients), max_norm, options)
            for p, gradient in zip(twin.parameters(), gradients, strict=True):
                assert_close(gradient, p.grad, rtol=1e-4, atol=1e-7)  # torch scales by norm + 1e-6
        assert_close(dict(model.state_dict()), dict(twin.state_dict()), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("epochs", [1, 5])
    def test_the_defaults(self, epochs):
        model, batch = Model(), some_batch(20)
        twin = copy.deepcopy(model)
        ppo_update(model, torch.optim.SGD(model.parameters(), lr=0.5), batch, epochs, 20, seeded(1))
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.5)
        for _ in range(epochs):
            step_by_hand(twin, optimizer, whitened(batch), list(range(20)), 0.5, DEFAULTS)
        assert_close(dict(model.state_dict()), dict(twin.state_dict()), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("target_kl", [None, 0.02, 0.2, 0.5])
    def test_the_kl_stops_it(self, target_kl):
        """The minibatch is the whole batch, so that each KL can be computed by hand."""
        model = Table(7, 5)
        twin, batch = copy.deepcopy(model), table_batch(model, 5)
        found = ppo_update(
            model,
            torch.optim.SGD(model.parameters(), lr=2.0),
            batch,
            12,
            7,
            seeded(1),
            max_norm=1.0,
            target_kl=target_kl,
        )
        optimizer, steps, stopped = torch.optim.SGD(twin.parameters(), lr=2.0), 0, False
        for _ in range(12):
            kl = float(loss_by_rows(twin, whitened(batch), **DEFAULTS)[1])
            if target_kl is not None and kl > target_kl:
                stopped = True
                break
            step_by_hand(twin, optimizer, whitened(batch), list(range(7)), 1.0, DEFAULTS)
            steps += 1
        assert_equal((found.steps, found.stopped), (steps, stopped))
        assert_close(found.kl, kl, rtol=1e-4, atol=1e-7)
        assert_close(dict(model.state_dict()), dict(twin.state_dict()), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("seed", range(6))
    def test_a_stop_ends_every_epoch(self, seed):
        """State 0 moves far at once, state 1 has a fixed policy: its minibatches alone would never stop."""

        class Half(nn.Module):
            def __init__(self):
                super().__init__()
                self.logits = nn.Parameter(torch.zeros(1, 2))

            def forward(self, states):
                return states[:, :1] * self.logits, states[:, 0] * 0

        model, half = Half(), torch.full((2,), math.log(0.5))
        batch = Batch(
            torch.eye(2), torch.tensor([0, 1]), half, torch.zeros(2), torch.tensor([2.0, 1.0]), torch.zeros(2)
        )
        optimizer, seen = watched(model, 3.0)
        found = ppo_update(model, optimizer, batch, 50, 1, seeded(seed), max_norm=10.0, target_kl=0.05)
        assert_equal((found.steps in (2, 3), found.stopped, len(seen) == found.steps), (True, True, True))

    def test_gradients_from_before_dont_count(self):
        model, batch = Model(), some_batch(6)
        twin = copy.deepcopy(model)
        for p in model.parameters():
            p.grad = torch.full_like(p, 5.0)
        for one in (model, twin):
            ppo_update(one, torch.optim.SGD(one.parameters(), lr=0.1), batch, 1, 6, seeded(1))
        assert_close(dict(model.state_dict()), dict(twin.state_dict()))

    def test_the_batch_stays_as_it_is(self):
        model, batch = Model(), some_batch(8)
        ppo_update(model, torch.optim.SGD(model.parameters(), lr=0.1), batch, 2, 3, seeded(1))
        assert_close(tuple(batch), tuple(some_batch(8)))

    def test_a_kl_that_is_the_target_isnt_above_it(self):
        measured = ppo_update(*self.one_step())
        found = ppo_update(*self.one_step(), target_kl=measured.kl)
        assert_equal((found.steps, found.stopped, found.kl == measured.kl), (1, False, True))

    def one_step(self):
        model = Model()
        return model, torch.optim.SGD(model.parameters(), lr=0.1), some_batch(8), 1, 8, seeded(1)

    @pytest.mark.parametrize("target_kl", [None, 1e-9])
    def test_types(self, target_kl):
        found = ppo_update(*self.one_step(), target_kl=target_kl)
        assert_equal([type(found).__name__, *(type(one).__name__ for one in found)], ["Update", "int", "bool", "float"])


def rollout_of(log) -> Rollout:
    before, actions, rewards, after, terminated, truncated = (torch.tensor(column) for column in zip(*log, strict=True))
    return Rollout(F.one_hot(before, 7).float(), actions, rewards, F.one_hot(after, 7).float(), terminated, truncated)


class TestTrainPpo:
    @pytest.mark.parametrize(
        ("gamma", "lam", "envs", "options"),
        [
            (0.9, 0.8, 3, {"clip": 0.1, "entropy_weight": 0.2, "max_norm": 5.0}),
            (0.6, 0.3, 1, {"value_clip": 0.1, "value_weight": 2.0}),
        ],
    )
    def test_each_round_by_its_moves(self, gamma, lam, envs, options):
        """The rounds are repeated by hand on the moves that the envs have logged."""
        model, walks = Model(7, 2, 5, torch.float32), [corridor(limit=5 + i, left=-0.7) for i in range(envs)]
        twin = copy.deepcopy(model)
        means = train_ppo(
            walks,
            model,
            torch.optim.SGD(model.parameters(), lr=0.3),
            3,
            9,
            2,
            9 * envs,
            gamma,
            lam,
            seeded(4),
            **options,
        )
        assert_equal([len(walk.log) for walk in walks], [27] * envs)
        optimizer, expected = torch.optim.SGD(twin.parameters(), lr=0.3), []
        options = dict(options)
        max_norm = options.pop("max_norm", 0.5)
        for k in range(3):
            logs = [walk.log[9 * k : 9 * k + 9] for walk in walks]
            batch = whitened(batch_by_hand([rollout_of(log) for log in logs], twin, gamma, lam))
            for _ in range(2):
                step_by_hand(twin, optimizer, batch, list(range(9 * envs)), max_norm, options)
            expected.append(float(np.mean([move[2] for log in logs for move in log])))
        assert_close(dict(model.state_dict()), dict(twin.state_dict()), rtol=1e-3, atol=1e-4)
        assert_close(means, expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(("epochs", "size", "steps"), [(3, 4, 18), (1, 5, 4), (2, 50, 4)])
    def test_epochs_and_minibatches(self, epochs, size, steps):
        """Two rounds of ten moves each."""
        model = Model(7, 2, 5, torch.float32)
        optimizer, seen = watched(model, 0.1)
        train_ppo([corridor(), corridor()], model, optimizer, 2, 5, epochs, size, 0.9, 0.8, seeded(1))
        assert_equal(len(seen), steps)

    def test_a_round_goes_on_where_the_last_one_stopped(self):
        class Counting:
            """Its state has the number of the move, and it never ends."""

            def reset(self):
                self.moves = 0
                return np.zeros(7, np.float32), {}

            def step(self, action):
                self.moves += 1
                return np.full(7, self.moves, np.float32), 0.0, False, False, {}

        model, learned = Model(7, 2, 5, torch.float32), []

        def note(module, args):
            if torch.is_grad_enabled() and args[0].dim() == 2 and len(args[0]) == 3:
                learned.append(sorted(int(state[0]) for state in args[0]))

        model.register_forward_pre_hook(note)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        train_ppo([Counting()], model, optimizer, 3, 3, 1, 3, 0.9, 0.8, seeded(1))
        assert_equal(
            [group for i, group in enumerate(learned) if group not in learned[:i]], [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
        )

    def test_the_kl_stop_is_handed_on(self):
        model = Model(7, 2, 5, torch.float32)
        optimizer, seen = watched(model, 5.0)
        train_ppo([corridor()], model, optimizer, 1, 30, 20, 30, 0.9, 0.8, seeded(1), target_kl=1e-3)
        assert_equal(len(seen) < 20, True)

    def test_every_env_is_reset_once_at_the_start(self):
        model, walks = Model(7, 2, 5, torch.float32), [corridor(limit=100), corridor(limit=100)]
        train_ppo(walks, model, torch.optim.SGD(model.parameters(), lr=0.0), 5, 2, 1, 4, 0.9, 0.8, seeded(1))
        assert_equal([walk.resets for walk in walks], [1 + sum(move[4] for move in walk.log) for walk in walks])

    def test_no_rounds(self):
        model = Model(7, 2, 5, torch.float32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        assert_equal(train_ppo([corridor()], model, optimizer, 0, 2, 1, 4, 0.9, 0.8, seeded(1)), [])

    def test_means_are_floats(self):
        model = Model(7, 2, 5, torch.float32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        found = train_ppo([corridor()], model, optimizer, 2, 3, 1, 4, 0.9, 0.8, seeded(1))
        assert_equal((type(found), [type(one) for one in found]), (list, [float, float]))


class Net(nn.Module):
    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.trunk, self.policy, self.value = nn.Linear(7, 16), nn.Linear(16, 2), nn.Linear(16, 1)

    def forward(self, states):
        hidden = torch.tanh(self.trunk(states))
        return self.policy(hidden), self.value(hidden).squeeze(-1)


@pytest.mark.learning
@pytest.mark.deadline(60)  # half a second, but for a busy machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(5))
    def test_it_earns_more_than_a_random_walk(self, seed):
        model, generator = Net(seed), np.random.default_rng(seed)
        env, paid = corridor(), []
        for _ in range(2000):
            if env.over:
                env.reset()
            paid.append(env.step(int(generator.integers(2)))[1])
        random = float(np.mean(paid))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        means = train_ppo(
            [corridor() for _ in range(4)], model, optimizer, 12, 25, 6, 25, 0.9, 0.9, seeded(seed), target_kl=0.1
        )
        found = float(np.mean(means[-3:]))
        if found < 2.5 * random:
            fail(
                f"After 12 rounds a move earns {found:.3f}; a random walk earns {random:.3f}, the best policy 0.333.",
                evidence=("walk", round(found, 1)),
            )


class TestOnTheGpu:
    def test_the_parts_of_the_loss(self, gpu):
        gpu.check(entropy, some((4, 3)).requires_grad_())
        gpu.check(policy_loss, (some(5) * 0.3).requires_grad_(), some(5, 1) * 0.3, some(5, 2), 0.2)
        gpu.check(value_loss, some(5).requires_grad_(), some(5, 1), some(5, 2), 0.2)
        gpu.check(approximate_kl, some(5) * 0.3, some(5, 1) * 0.3)

    def test_batches_and_their_loss(self, gpu):
        model = gpu(Model())
        rollouts = [some_rollout(4, 1), some_rollout(3, 9)]
        batch = make_batch(gpu(rollouts), model, 0.9, 0.8)
        assert_equal({one.device.type for one in batch}, {gpu.device.type})
        expected = batch_by_hand(rollouts, Model(), 0.9, 0.8)
        for found, one in zip(batch, expected, strict=True):
            assert_close(found.cpu(), one)
        found = ppo_loss(model, gpu(some_batch()), 0.2, 0.3)
        assert_equal([one.device.type for one in found], [gpu.device.type] * 2)
        assert_close(found[0].detach().cpu(), ppo_loss(Model(), some_batch(), 0.2, 0.3)[0].detach())

    def test_minibatches(self, gpu):
        found = minibatches(7, 3, gpu.generator(1))
        assert_equal({piece.device.type for piece in found}, {gpu.device.type})
        assert_equal(sorted(i for piece in found for i in piece.tolist()), list(range(7)))

    def test_training(self, gpu):
        model, twin = gpu(Model()), Model()
        for one, batch, generator in ((model, gpu(some_batch()), gpu.generator(1)), (twin, some_batch(), seeded(1))):
            ppo_update(one, torch.optim.SGD(one.parameters(), lr=0.1), batch, 2, 9, generator, target_kl=1.0)
        assert_equal({p.device.type for p in model.parameters()}, {gpu.device.type})
        assert_close(model.policy.detach().cpu(), twin.policy.detach(), rtol=1e-4, atol=1e-5)
        walker = gpu(Model(7, 2, 5, torch.float32))
        train_ppo(
            [corridor()], walker, torch.optim.SGD(walker.parameters(), lr=0.1), 2, 4, 2, 3, 0.9, 0.8, gpu.generator(1)
        )
        assert_equal({p.device.type for p in walker.parameters()}, {gpu.device.type})
