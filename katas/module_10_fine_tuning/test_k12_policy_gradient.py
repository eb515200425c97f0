"""Judges k12_policy_gradient against sums written out, the closed form of a bandit, and a small task over seeds."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure
from fixtures.walk import corridor
from katas.module_10_fine_tuning.k12_policy_gradient import (
    ActorCritic,
    actor_critic_loss,
    collect,
    gae,
    reinforce_loss,
    returns_to_go,
    train_actor_critic,
    whiten,
)

pytestmark = [
    from_scratch("gymnasium", "torchrl", "stable_baselines3", "torch.distributions"),
    pure("collect", "train_actor_critic"),
]

SHAPES = [(9,), (1,), (7, 3), (6, 1)]


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(shape, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def ends(shape, seed: int, share: float = 0.3) -> torch.Tensor:
    return torch.rand(shape, generator=seeded(seed + 70)) < share


def by_columns(function, *tensors):
    """What `function` gives for each env on its own, beside each other."""
    if tensors[0].dim() == 1:
        return torch.stack(function(*tensors))
    return torch.stack([torch.stack(function(*(t[:, n] for t in tensors))) for n in range(tensors[0].shape[1])], 1)


class TestReturnsToGo:
    def test_the_example_worked_by_hand(self):
        over = torch.tensor([False, False, True])
        assert_close(returns_to_go(f64(1, 0, 2), over, 0.5), f64(1.5, 1, 2))

    @pytest.mark.parametrize("gamma", [0.9, 0.5, 1.0, 0.0])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_the_sum_of_what_comes_later(self, shape, gamma):
        rewards, over = some(shape, 1), ends(shape, 2)

        def slow(r, stop):
            found = []
            for t in range(len(r)):
                total, k = r[t] * 0, t
                while True:
                    total = total + gamma ** (k - t) * r[k]
                    if stop[k] or k == len(r) - 1:
                        break
                    k += 1
                found.append(total)
            return found

        assert_close(returns_to_go(rewards, over, gamma), by_columns(slow, rewards, over))

    def test_each_env_has_its_own_ends(self):
        rewards = torch.stack([f64(1, 2, 4), f64(8, 16, 32)], 1)
        over = torch.tensor([[True, False], [False, True], [False, False]])
        assert_close(returns_to_go(rewards, over, 0.5), torch.stack([f64(1, 4, 4), f64(16, 16, 32)], 1))

    def test_the_last_episode_may_go_on(self):
        over = torch.tensor([False, True, False, False])
        assert_close(returns_to_go(f64(1, 2, 4, 8), over, 0.5), f64(2, 2, 8, 8))

    @pytest.mark.parametrize("shape", [(0,), (0, 3)])
    def test_no_moves(self, shape):
        assert_close(returns_to_go(torch.zeros(shape), torch.zeros(shape, dtype=torch.bool), 0.9), torch.zeros(shape))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_dtype_stays(self, dtype):
        assert_equal(returns_to_go(torch.ones(3, dtype=dtype), torch.zeros(3, dtype=torch.bool), 0.9).dtype, dtype)


class TestWhiten:
    def test_the_example_worked_by_hand(self):
        assert_close(whiten(f64(1, 3)), f64(-1, 1), atol=1e-6)

    @pytest.mark.parametrize("eps", [1e-8, 0.5])
    @pytest.mark.parametrize("shape", [(7,), (4, 3)])
    def test_matches_numpy(self, shape, eps):
        x = some(shape, 2) * 3 + 5
        expected = (x.numpy() - x.numpy().mean()) / (x.numpy().std() + eps)
        assert_close(whiten(x, eps), torch.tensor(expected))

    def test_eps_is_small_by_default(self):
        assert_close(whiten(f64(1.0, 1.0 + 2e-8)), f64(-0.5, 0.5), atol=1e-3)

    @pytest.mark.parametrize("values", [[4.0], [2.5, 2.5, 2.5]])
    def test_equal_ones_give_0(self, values):
        assert_close(whiten(f64(*values)), torch.zeros(len(values), dtype=torch.float64))


class TestReinforceLoss:
    def test_is_minus_the_mean(self):
        assert_close(reinforce_loss(f64(-1.5, -0.25, -2), f64(2, -4, 0.5)), torch.tensor(1.0, dtype=torch.float64))

    @pytest.mark.parametrize("shift", [0.0, 2.0, -7.0])
    def test_the_gradient_of_a_bandit_with_any_baseline(self, shift):
        """Six pulls in the very proportions of the policy: their mean is the expectation."""
        logits = f64(1, 2, 3).log().requires_grad_()
        pulls, rewards = torch.tensor([0, 1, 1, 2, 2, 2]), f64(6, 3, 0)
        reinforce_loss(logits.log_softmax(0)[pulls], rewards[pulls] - shift).backward()
        assert_close(-logits.grad, f64(4 / 6, 2 / 6, -1))

    def test_any_numbers(self):
        log_probs, weights = some(7, 3), some(7, 4)
        assert_close(reinforce_loss(log_probs, weights), -(log_probs @ weights) / 7)

    def test_no_gradient_into_the_weights(self):
        log_probs, weights = some(5, 1).requires_grad_(), some(5, 2).requires_grad_()
        reinforce_loss(log_probs, weights).backward()
        assert_equal(weights.grad, None)
        assert_close(log_probs.grad, -weights.detach() / 5)


def gae_by_sums(r, v, nv, terminated, truncated, gamma, lam):
    """A_t = Σ_k (γλ)^k δ_{t+k} up to the end of the episode, written out; of one env."""
    delta = [r[t] + (0.0 if terminated[t] else gamma * nv[t]) - v[t] for t in range(len(r))]
    found = []
    for t in range(len(r)):
        total = r[t] * 0
        for k in range(t, len(r)):
            total = total + (gamma * lam) ** (k - t) * delta[k]
            if terminated[k] or truncated[k]:
                break
        found.append(total)
    return found


def case(shape, seed: int = 0):
    return some(shape, seed), some(shape, seed + 1), some(shape, seed + 2), ends(shape, seed), ends(shape, seed + 3)


class TestGae:
    def test_the_example_worked_by_hand(self):
        no, end = torch.zeros(3, dtype=torch.bool), torch.tensor([False, False, True])
        advantages, targets = gae(f64(1, 0, 2), f64(1, 2, 1), f64(2, 1, 9), end, no, 0.5, 0.5)
        assert_close(advantages, f64(0.6875, -1.25, 1))
        assert_close(targets, f64(1.6875, 0.75, 2))

    @pytest.mark.parametrize(("gamma", "lam"), [(0.9, 0.8), (0.5, 1.0), (1.0, 0.3), (0.7, 0.0)])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_the_sum_written_out(self, shape, gamma, lam):
        for seed in (0, 10):
            r, v, nv, terminated, truncated = case(shape, seed)
            advantages, targets = gae(r, v, nv, terminated, truncated, gamma, lam)
            expected = by_columns(lambda *one: gae_by_sums(*one, gamma, lam), r, v, nv, terminated, truncated)
            assert_close(advantages, expected)
            assert_close(targets, expected + v)

    @pytest.mark.parametrize("kind", ["terminated", "truncated"])
    def test_each_env_has_its_own_ends(self, kind):
        no, over = torch.zeros(2, 2, dtype=torch.bool), torch.tensor([[True, False], [False, False]])
        masks = (over, no) if kind == "terminated" else (no, over)
        r, v, nv = torch.tensor([[[1, 3], [10, 7]], [[2, 6], [5, 9]], [[8, 4], [8, 6]]], dtype=torch.float64)
        advantages, targets = gae(r, v, nv, *masks, 0.5, 0.5)
        last = f64(10 + 4 - 5, 7 + 3 - 9)
        first = f64(1 - 2 + 4 * (kind == "truncated"), 3 + 2 - 6 + 0.25 * 1)  # only env 1 goes on
        assert_close(advantages, torch.stack([first, last]))
        assert_close(targets, torch.stack([first, last]) + v)

    def test_truncated_keeps_its_last_value(self):
        no, cut = torch.zeros(2, dtype=torch.bool), torch.tensor([True, False])
        advantages, _ = gae(f64(1, 10), f64(2, 5), f64(8, 3), no, cut, 0.5, 0.9)
        assert_close(advantages, f64(1 + 4 - 2, 10 + 1.5 - 5))

    def test_terminated_doesnt(self):
        no, end = torch.zeros(2, dtype=torch.bool), torch.tensor([True, False])
        advantages, _ = gae(f64(1, 10), f64(2, 5), f64(8, 3), end, no, 0.5, 0.9)
        assert_close(advantages, f64(1 - 2, 10 + 1.5 - 5))

    def test_both_ends_count_as_terminated(self):
        end = torch.tensor([True, False])
        advantages, _ = gae(f64(1, 10), f64(2, 5), f64(8, 3), end, end, 0.5, 0.9)
        assert_close(advantages, f64(1 - 2, 10 + 1.5 - 5))

    def test_with_lambda_1_the_return_minus_the_value(self):
        r, v, end = some(8, 5), some(8, 6), torch.tensor([False] * 7 + [True])
        advantages, targets = gae(r, v, torch.cat([v[1:], f64(0)]), end, torch.zeros_like(end), 0.9, 1.0)
        g = torch.stack([sum(0.9 ** (k - t) * r[k] for k in range(t, 8)) for t in range(8)])
        assert_close((advantages, targets), (g - v, g))

    @pytest.mark.parametrize("value", [math.inf, math.nan])
    def test_what_follows_an_end_doesnt_count_at_all(self, value):
        r, v, nv, terminated, truncated = case((9,), 20)
        terminated[4] = True
        expected = gae(r, v, nv, terminated, truncated, 0.9, 0.8)[0]
        found = gae(r, v, nv.masked_fill(terminated, value), terminated, truncated, 0.9, 0.8)[0]
        assert_close(found, expected)
        assert_equal(bool(found.isfinite().all()), True)

    def test_no_gradient(self):
        r, v, nv, terminated, truncated = case((5,))
        leaves = (one.requires_grad_() for one in (r, v, nv))
        found = gae(*leaves, terminated, truncated, 0.9, 0.8)
        assert_equal([one.requires_grad for one in found], [False, False])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_dtype_stays(self, dtype):
        r, v, nv, terminated, truncated = case((5, 2))
        found = gae(r.to(dtype), v.to(dtype), nv.to(dtype), terminated, truncated, 0.9, 0.8)
        assert_equal([one.dtype for one in found], [dtype, dtype])


class TestActorCritic:
    @pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
    def test_both_heads_on_one_trunk(self, lead):
        torch.manual_seed(1)
        model, x = ActorCritic(5, 8, 3), torch.randn(*lead, 5)
        hidden = torch.tanh(x @ model.trunk.weight.T + model.trunk.bias)
        logits, values = model(x)
        assert_close(logits, hidden @ model.policy.weight.T + model.policy.bias)
        assert_close(values, hidden @ model.value.weight[0] + model.value.bias[0])

    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in ActorCritic(5, 8, 3).named_parameters()}
        assert_equal(
            shapes,
            {
                "trunk.weight": (8, 5), "trunk.bias": (8,), "policy.weight": (3, 8), "policy.bias": (3,),
                "value.weight": (1, 8), "value.bias": (1,),
            },
        )  # fmt: skip

    def test_both_heads_reach_the_trunk(self):
        for head in (0, 1):
            model = ActorCritic(4, 6, 2)
            model(torch.randn(3, 4))[head].sum().backward()
            assert_equal(bool((model.trunk.weight.grad != 0).any()), True)


def loss_case(n: int = 6, actions: int = 4, seed: int = 0):
    taken = torch.randint(0, actions, (n,), generator=seeded(seed))
    return some((n, actions), seed), some(n, seed + 1), taken, some(n, seed + 2), some(n, seed + 3)


def loss_by_rows(logits, values, actions, advantages, targets, value_weight, entropy_weight):
    n, total = len(values), 0.0
    for t in range(n):
        p = logits[t].softmax(0)
        entropy = -(p * p.log()).sum()
        total = total - p[actions[t]].log() * advantages[t] - entropy_weight * entropy
        total = total + value_weight * (values[t] - targets[t]) ** 2
    return total / n


class TestActorCriticLoss:
    @pytest.mark.parametrize(("value_weight", "entropy_weight"), [(0.5, 0.01), (2.0, 0.3), (0.0, 1.0), (1.0, 0.0)])
    @pytest.mark.parametrize("n", [6, 1])
    def test_move_by_move(self, n, value_weight, entropy_weight):
        args = loss_case(n)
        assert_close(
            actor_critic_loss(*args, value_weight, entropy_weight), loss_by_rows(*args, value_weight, entropy_weight)
        )

    def test_the_default_weights(self):
        args = loss_case(7, 3, 9)
        assert_close(actor_critic_loss(*args), loss_by_rows(*args, 0.5, 0.01))

    def test_gradients(self):
        logits, values, actions, advantages, targets = loss_case(5, 3, 4)
        leaves = [one.requires_grad_() for one in (logits, values, advantages, targets)]
        actor_critic_loss(logits, values, actions, advantages, targets, 0.7, 0.2).backward()
        found = [one.grad for one in leaves]
        assert_equal(found[2:], [None, None])
        twins = [one.detach().clone().requires_grad_() for one in (logits, values)]
        loss_by_rows(*twins, actions, advantages.detach(), targets.detach(), 0.7, 0.2).backward()
        assert_close(found[:2], [one.grad for one in twins])

    def test_an_action_that_is_ruled_out(self):
        logits, values, actions, advantages, targets = loss_case(3, 2, 5)
        wide = torch.cat([logits, torch.full((3, 1), -math.inf, dtype=torch.float64)], 1).requires_grad_()
        found = actor_critic_loss(wide, values, actions, advantages, targets, 0.5, 0.3)
        assert_close(found, actor_critic_loss(logits, values, actions, advantages, targets, 0.5, 0.3))
        found.backward()
        assert_equal(bool(wide.grad.isfinite().all()), True)


class Fixed(nn.Module):
    """A policy that is the same in each state."""

    def __init__(self, *logits: float):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, states):
        return self.logits.expand(*states.shape[:-1], len(self.logits)), states.sum(-1) * 0


def one_hot(states) -> torch.Tensor:
    return F.one_hot(torch.tensor(states), 7).float()


class TestCollect:
    @pytest.mark.parametrize(("limit", "steps"), [(4, 30), (20, 60), (1, 5), (20, 1)])
    def test_the_log_of_moves(self, limit, steps):
        env = corridor(limit)
        rollout, state = collect(env, Fixed(0.0, 0.0), env.reset()[0], steps, seeded(1))
        assert_equal(type(rollout).__name__, "Rollout")
        before, actions, rewards, after, terminated, truncated = (list(column) for column in zip(*env.log, strict=True))
        assert_close(rollout.states, one_hot(before))
        assert_equal(rollout.actions, torch.tensor(actions))
        assert_close(rollout.rewards, torch.tensor(rewards))
        assert_close(rollout.next_states, one_hot(after))
        assert_equal(rollout.terminated, torch.tensor(terminated))
        assert_equal(rollout.truncated, torch.tensor(truncated))
        assert_close(torch.as_tensor(state, dtype=torch.float32), one_hot(env.state))
        assert_equal(env.resets, 1 + sum(terminated) + sum(truncated))

    def test_float32_of_an_env_of_float64(self):
        env = corridor(dtype=np.float64)
        rollout, _ = collect(env, Fixed(0.0, 0.0), env.reset()[0], 9, seeded(1))
        before, _, rewards, after, _, _ = zip(*env.log, strict=True)
        found = rollout.states, rollout.rewards, rollout.next_states
        assert_close(found, (one_hot(before), torch.tensor(rewards), one_hot(after)))

    def test_it_goes_on_where_it_stopped(self):
        env, g = corridor(), seeded(2)
        first, state = collect(env, Fixed(0.0, 0.0), env.reset()[0], 1, g)
        second, _ = collect(env, Fixed(0.0, 0.0), state, 1, g)
        assert_close(second.states[0], first.next_states[-1])
        assert_equal(env.resets, 1)

    @pytest.mark.parametrize("chance", [0.2, 0.7])
    def test_actions_come_by_their_probabilities(self, chance):
        env = corridor()
        model = Fixed(math.log(1 - chance) + 1.5, math.log(chance) + 1.5)
        rollout, _ = collect(env, model, env.reset()[0], 1500, seeded(3))
        share = rollout.actions.double().mean().item()
        if abs(share - chance) > 0.06:
            fail(f"An action of probability {chance} is taken in {share:.0%} of the moves.", evidence=round(share, 1))

    def test_the_generator_decides(self):
        found = []
        for seed in (1, 1, 2):
            env = corridor()
            found.append(collect(env, Fixed(0.0, 0.0), env.reset()[0], 40, seeded(seed))[0].actions.tolist())
        assert_equal(found[0], found[1])
        assert_equal(found[0] == found[2], False)

    def test_the_first_state_stays_as_it_is(self):
        env = corridor()
        state = env.reset()[0].copy()
        collect(env, Fixed(0.0, 0.0), state, 5, seeded(1))
        assert_equal(state, np.eye(7, dtype=np.float32)[3])

    def test_no_gradient(self):
        env = corridor()
        rollout, _ = collect(env, ActorCritic(7, 4, 2), env.reset()[0], 3, seeded(1))
        assert_equal([one.requires_grad for one in rollout], [False] * 6)


def by_hand(log, model, optimizer, gamma, lam, entropy_weight) -> None:
    """One round on the moves of the log."""
    before, actions, rewards, after, terminated, truncated = (list(column) for column in zip(*log, strict=True))
    logits, values = model(one_hot(before))
    following = model(one_hot(after))[1].detach()
    parts = torch.tensor(rewards), values.detach(), following, terminated, truncated
    advantages = torch.stack(gae_by_sums(*parts, gamma, lam))
    targets = advantages + values.detach()
    advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
    loss = loss_by_rows(logits, values, torch.tensor(actions), advantages, targets, 0.5, entropy_weight)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


class TestTrainActorCritic:
    @pytest.mark.parametrize(("gamma", "lam", "entropy_weight"), [(0.9, 0.8, 0.05), (0.6, 0.3, 0.5)])
    def test_each_round_by_its_moves(self, gamma, lam, entropy_weight):
        """The rounds are repeated by hand on the moves that the env has logged."""
        torch.manual_seed(5)
        model, env = ActorCritic(7, 6, 2), corridor(limit=5, left=-0.7)
        twin = copy.deepcopy(model)
        means = train_actor_critic(
            env, model, torch.optim.SGD(model.parameters(), lr=0.3), 4, 13, gamma, lam, seeded(4), entropy_weight
        )
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.3)
        for k in range(4):
            by_hand(env.log[13 * k : 13 * k + 13], twin, optimizer, gamma, lam, entropy_weight)
        assert_equal(len(env.log), 52)
        assert_close(dict(model.state_dict()), dict(twin.state_dict()), rtol=1e-4, atol=1e-5)
        expected = [float(np.mean([move[2] for move in env.log[13 * k : 13 * k + 13]])) for k in range(4)]
        assert_close(means, expected, rtol=1e-5, atol=1e-6)

    def test_the_default_entropy_weight(self):
        torch.manual_seed(6)
        model, env = ActorCritic(7, 6, 2), corridor()
        twin = copy.deepcopy(model)
        train_actor_critic(env, model, torch.optim.SGD(model.parameters(), lr=0.5), 1, 9, 0.9, 0.8, seeded(4))
        by_hand(env.log, twin, torch.optim.SGD(twin.parameters(), lr=0.5), 0.9, 0.8, 0.01)
        assert_close(dict(model.state_dict()), dict(twin.state_dict()), rtol=1e-5, atol=1e-6)

    def test_the_env_is_reset_once_at_the_start(self):
        model, env = ActorCritic(7, 6, 2), corridor(limit=100)
        train_actor_critic(env, model, torch.optim.SGD(model.parameters(), lr=0.0), 5, 2, 0.9, 0.8, seeded(1))
        assert_equal(env.resets, 1 + sum(move[4] for move in env.log))

    def test_no_rounds(self):
        model, env = ActorCritic(7, 6, 2), corridor()
        assert_equal(
            train_actor_critic(env, model, torch.optim.SGD(model.parameters(), lr=0.1), 0, 2, 0.9, 0.8, seeded(1)), []
        )

    def test_means_are_floats(self):
        model = ActorCritic(7, 6, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        found = train_actor_critic(corridor(), model, optimizer, 2, 3, 0.9, 0.8, seeded(1))
        assert_equal((type(found), [type(one) for one in found]), (list, [float, float]))


@pytest.mark.learning
class TestLearning:
    @pytest.mark.parametrize("seed", range(5))
    def test_it_earns_more_than_a_random_walk(self, seed):
        torch.manual_seed(seed)
        model, env = ActorCritic(7, 16, 2), corridor()
        start = env.reset()[0]
        random = collect(env, Fixed(0.0, 0.0), start, 400, seeded(seed))[0].rewards.mean().item()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
        means = train_actor_critic(corridor(), model, optimizer, 30, 40, 0.9, 0.9, seeded(seed))
        found = float(np.mean(means[-5:]))
        if found < 2.5 * random:
            fail(
                f"After 30 rounds a move earns {found:.3f}; a random walk earns {random:.3f}, the best policy 0.333.",
                evidence=("walk", round(found, 1)),
            )


class TestOnTheGpu:
    def test_returns_and_gae(self, gpu):
        r, v, nv, terminated, truncated = case((6, 2))
        gpu.check(returns_to_go, r, terminated, 0.9)
        gpu.check(gae, r, v, nv, terminated, truncated, 0.9, 0.8)

    def test_whiten_and_losses(self, gpu):
        gpu.check(whiten, some(5))
        gpu.check(reinforce_loss, some(5).requires_grad_(), some(5, 1))
        logits, values, *rest = loss_case()
        gpu.check(actor_critic_loss, logits.requires_grad_(), values.requires_grad_(), *rest)

    def test_the_model(self, gpu):
        gpu.check(ActorCritic(5, 8, 3), torch.randn(4, 5))

    def test_training(self, gpu):
        torch.manual_seed(1)
        model, env = gpu(ActorCritic(7, 4, 2)), corridor()
        rollout, _ = collect(env, model, env.reset()[0], 3, gpu.generator(1))
        assert_equal({one.device.type for one in rollout}, {gpu.device.type})
        train_actor_critic(corridor(), model, torch.optim.SGD(model.parameters(), lr=0.1), 2, 4, 0.9, 0.8, gpu.generator(1))
        assert_equal({p.device.type for p in model.parameters()}, {gpu.device.type})
