"""Judges k16_group_relative_policy by closed forms, and by enumeration of all that a policy can say."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_10_fine_tuning.k16_group_relative_policy import (
    aggregate,
    clipped_loss,
    group_advantages,
    grpo_loss,
    informative,
    kl_estimate,
    leave_one_out,
    sample_group,
    token_log_probs,
    verify,
)

pytestmark = [from_scratch("trl", "torch.distributions"), pure()]

NAN = math.nan


def numbers(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mask_of(*rows: str) -> torch.Tensor:
    return torch.tensor([[c == "1" for c in row] for row in rows])


class Table(nn.Module):
    """The next token depends on the last one alone: row i of the table has the probabilities after token i."""

    def __init__(self, *rows: list[float]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(rows).clamp(min=1e-30).log())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        # Another constant at each place: logits aren't log-probs.
        return self.table[tokens] + 3.0 + torch.arange(tokens.shape[1]).unsqueeze(1)


class Counter(nn.Module):
    """Says the last token + 1, for certain.  It looks at the last place alone."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits = torch.full((*tokens.shape, 10), -200.0)
        return logits.scatter(-1, (tokens + 1).clamp(max=9).unsqueeze(-1), 50.0)


class Adder(nn.Module):
    """Says the sum of all tokens so far, modulo 10, for certain."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits = torch.full((*tokens.shape, 10), -200.0)
        return logits.scatter(-1, (tokens.cumsum(1) % 10).unsqueeze(-1), 50.0)


class TestSampleGroup:
    def test_a_model_that_counts(self):
        tokens, mask = sample_group(Counter(), torch.tensor([[9, 2], [0, 5]]), 2, 4, 4, seeded(1))
        assert_equal(mask, mask_of("001100", "001100", "001111", "001111"))
        assert_equal(tokens, torch.tensor([[9, 2, 3, 4, 4, 4]] * 2 + [[0, 5, 6, 7, 8, 9]] * 2))

    @pytest.mark.parametrize("group", [1, 3])
    def test_rows_of_a_prompt_stand_together(self, group):
        prompts = torch.tensor([[1], [4], [2]])
        tokens, _ = sample_group(Counter(), prompts, group, 2, 0, seeded(1))
        expected = [[a, a + 1, a + 2] for a in (1, 4, 2) for _ in range(group)]
        assert_equal(tokens, torch.tensor(expected))

    @pytest.mark.parametrize("length", [1, 2, 5])
    def test_so_many_tokens_even_if_all_have_ended(self, length):
        tokens, mask = sample_group(Counter(), torch.tensor([[6]]), 2, length, 7, seeded(1))
        assert_equal(tokens, torch.tensor([[6] + [7] * length] * 2))
        assert_equal(mask, torch.tensor([[False, True] + [False] * (length - 1)] * 2))

    def test_an_end_token_in_the_prompt_stops_nothing(self):
        tokens, mask = sample_group(Counter(), torch.tensor([[3, 1]]), 1, 2, 3, seeded(1))
        assert_equal((tokens, mask), (torch.tensor([[3, 1, 2, 3]]), mask_of("0011")))

    def test_the_model_sees_prompt_and_all_that_was_drawn(self):
        tokens, _ = sample_group(Adder(), torch.tensor([[3, 4]]), 1, 4, 0, seeded(1))
        assert_equal(tokens, torch.tensor([[3, 4, 7, 4, 8, 6]]))

    def test_dtypes(self):
        tokens, mask = sample_group(Counter(), torch.tensor([[3]]), 1, 2, 0, seeded(1))
        assert_equal((tokens.dtype, mask.dtype), (torch.int64, torch.bool))

    @pytest.mark.parametrize("p", [[0.5, 0.3, 0.2], [0.1, 0.15, 0.75]])
    def test_draws_from_the_softmax(self, p):
        model = Table(p, p, p)
        tokens, _ = sample_group(model, torch.tensor([[0], [1]]), 2000, 1, 2, seeded(7))
        share = torch.bincount(tokens[:, 1], minlength=3) / 4000
        worst = ((share - torch.tensor(p)).abs() / torch.tensor([math.sqrt(q * (1 - q) / 4000) for q in p])).max()
        if worst > 5:
            fail(f"Tokens come in shares {share.tolist()}, the policy has {p}.", evidence=tuple(share.tolist()))

    def test_the_second_token_depends_on_the_first(self):
        model = Table([0.5, 0.5, 0.0], [0.0, 0.2, 0.8], [0.3, 0.3, 0.4])
        tokens, _ = sample_group(model, torch.tensor([[0]]), 4000, 2, 2, seeded(5))
        ones = tokens[tokens[:, 1] == 1]
        share = (ones[:, 2] == 2).double().mean().item()
        if abs(share - 0.8) > 5 * math.sqrt(0.16 / len(ones)):
            fail(f"After token 1 comes token 2 in {share:.3f} of all cases, the policy has 0.8.", evidence=share)

    def test_rows_are_drawn_by_themselves(self):
        model = Table([0.5, 0.5, 0.0], [0.5, 0.5, 0.0])
        tokens, _ = sample_group(model, torch.tensor([[0], [0]]), 500, 3, 2, seeded(5))
        distinct = len({tuple(row) for row in tokens.tolist()})
        if distinct < 8:
            fail(f"1000 completions of three coins show {distinct} of 8 patterns.", evidence=distinct)
        a, b = tokens[:500, 1], tokens[500:, 1]
        alike = (a == b).double().mean().item()
        if abs(alike - 0.5) > 5 * math.sqrt(0.25 / 500):
            fail(f"Two prompts' first tokens are alike in {alike:.2f} of all cases.", evidence=alike)

    def test_draws_from_the_generator_alone(self):
        model, prompts = Table([0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3]), torch.tensor([[0], [1]])
        torch.manual_seed(1)
        first = sample_group(model, prompts, 20, 3, 2, seeded(3))[0]
        torch.manual_seed(2)
        second = sample_group(model, prompts, 20, 3, 2, seeded(3))[0]
        other = sample_group(model, prompts, 20, 3, 2, seeded(4))[0]
        assert_equal(second, first)
        assert_equal(torch.equal(other, first), False)

    @pytest.mark.parametrize("training", [True, False])
    def test_the_model_stays_as_it_is(self, training):
        model = nn.Sequential(nn.Embedding(4, 4), nn.Dropout(0.5)).train(training)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        sample_group(model, torch.tensor([[1]]), 3, 2, 0, seeded(1))
        assert_equal([m.training for m in model.modules()], [training] * 3)
        assert_equal([(p.requires_grad, p.grad) for p in model.parameters()], [(True, None)])
        assert_close(dict(model.state_dict()), before)


class TestVerify:
    def test_the_drawing(self):
        tokens = torch.tensor([[1, 4, 9, 9], [1, 7, 9, 9], [1, 4, 4, 4]])
        assert_equal(verify(tokens, mask_of("0110", "0110", "0111"), [[4]] * 3, 9), torch.tensor([1.0, 0.0, 0.0]))

    @pytest.mark.parametrize(
        ("completion", "expected"),
        [
            ([5, 6, 0], 1.0),
            ([5, 6], 0.0),  # no end
            ([5, 0], 0.0),
            ([6, 5, 0], 0.0),
            ([5, 6, 7, 0], 0.0),
            ([5, 6, 0, 0], 0.0),
            ([2, 5, 6, 0], 0.0),
            ([0], 0.0),
        ],
    )
    def test_an_answer_of_two(self, completion, expected):
        row = [3, 2, *completion] + [8] * (4 - len(completion))
        mask = torch.tensor([[False] * 2 + [True] * len(completion) + [False] * (4 - len(completion))])
        assert_equal(verify(torch.tensor([row]), mask, [[5, 6]], 0), torch.tensor([expected]))

    def test_each_row_has_its_own_answer(self):
        tokens = torch.tensor([[1, 4, 9], [1, 7, 9], [1, 7, 9]])
        answer = verify(tokens, mask_of("011", "011", "011"), [[4], [7], [4]], 9)
        assert_equal(answer, torch.tensor([1.0, 1.0, 0.0]))

    def test_an_empty_answer(self):
        answer = verify(torch.tensor([[4, 9, 9], [4, 4, 9]]), mask_of("010", "011"), [[], []], 9)
        assert_equal(answer, torch.tensor([1.0, 0.0]))

    @pytest.mark.parametrize("count", [1, 5])
    def test_another_number_of_answers(self, count):
        with raises(ValueError, 3, count):
            verify(torch.zeros(3, 4, dtype=torch.long), torch.ones(3, 4, dtype=torch.bool), [[1]] * count, 0)


def a_batch(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    logits, tokens = 2 * torch.randn(3, 5, 4, dtype=dtype), torch.randint(4, (3, 5))
    return logits, tokens, mask_of("01110", "00111", "01001")


def looped(logits: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    zero = torch.zeros((), dtype=logits.dtype)
    rows = [
        [
            logits[i, t - 1][tokens[i, t]] - torch.logsumexp(logits[i, t - 1], 0) if t and mask[i, t] else zero
            for t in range(tokens.shape[1])
        ]
        for i in range(len(tokens))
    ]
    return torch.stack([torch.stack(row) for row in rows])


class TestTokenLogProbs:
    def test_one_row(self):
        logits = numbers([0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.3, 0.6, 0.1]).log().unsqueeze(0)
        answer = token_log_probs(logits, torch.tensor([[0, 2, 1]]), mask_of("011"))
        assert_close(answer, numbers([0.0, math.log(0.25), math.log(0.1)]))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_token_by_token(self, dtype):
        batch = a_batch(dtype)
        assert_close(token_log_probs(*batch), looped(*batch))

    @pytest.mark.parametrize("other", [-100, 77])
    def test_tokens_that_arent_masked_may_be_anything(self, other):
        logits, tokens, mask = a_batch()
        assert_close(token_log_probs(logits, tokens.masked_fill(~mask, other), mask), looped(logits, tokens, mask))

    def test_the_first_column_is_0(self):
        logits, tokens, mask = a_batch()
        mask[:, 0] = True
        assert_close(token_log_probs(logits, tokens, mask)[:, 0], torch.zeros(3, dtype=torch.float64))

    def test_large_logits(self):
        logits, tokens, mask = a_batch()
        logits = logits.sign() * 1000 + logits
        assert_close(token_log_probs(logits, tokens, mask), looped(logits, tokens, mask))

    def test_gradients(self):
        logits, tokens, mask = a_batch()
        mine, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        upstream = torch.randn(3, 5, dtype=torch.float64)
        answer = token_log_probs(mine, tokens, mask)
        if not answer.requires_grad:
            fail("The log-probs have no gradient.", evidence="detached")
        answer.backward(upstream)
        looped(theirs, tokens, mask).backward(upstream)
        assert_close(mine.grad, theirs.grad)


REWARDS = [[1.0, 0.0, 0.0, 0.0], [0.3, 2.0, -1.0, 0.4], [5.0, 5.5, 4.0, 9.0]]


class TestGroupAdvantages:
    def test_the_example_worked_by_hand(self):
        high, low = 0.75 / (math.sqrt(3) / 4 + 1e-4), -0.25 / (math.sqrt(3) / 4 + 1e-4)
        assert_close(group_advantages(numbers([1.0, 0.0, 0.0, 0.0])), numbers([high, low, low, low]))

    @pytest.mark.parametrize("eps", [1e-4, 0.1, 2.0])
    def test_each_group_by_its_own_mean_and_deviation(self, eps):
        expected = []
        for row in REWARDS:
            mean = sum(row) / 4
            deviation = math.sqrt(sum((r - mean) ** 2 for r in row) / 4)
            expected.append([(r - mean) / (deviation + eps) for r in row])
        assert_close(group_advantages(numbers(*REWARDS), eps), numbers(*expected))

    @pytest.mark.parametrize("eps", [1e-4, 0.5])
    def test_without_whitening(self, eps):
        expected = [[r - sum(row) / 4 for r in row] for row in REWARDS]
        assert_close(group_advantages(numbers(*REWARDS), eps, whiten=False), numbers(*expected))

    @pytest.mark.parametrize("whiten", [True, False])
    @pytest.mark.parametrize("reward", [0.0, 1.0, -2.5])
    def test_equal_rewards(self, reward, whiten):
        rewards = numbers([reward] * 4, [1.0, 0.0, 0.0, 1.0])
        assert_close(group_advantages(rewards, whiten=whiten)[0], torch.zeros(4, dtype=torch.float64))

    def test_a_group_of_one(self):
        assert_close(group_advantages(numbers([3.0], [7.0])), numbers([0.0], [0.0]))

    def test_keeps_the_dtype(self):
        assert_equal(group_advantages(torch.rand(2, 3)).dtype, torch.float32)


class TestLeaveOneOut:
    def test_the_example_worked_by_hand(self):
        third = -1 / 3
        assert_close(leave_one_out(numbers([1.0, 0.0, 0.0, 0.0])), numbers([1.0, third, third, third]))

    @pytest.mark.parametrize("group", [2, 3, 4])
    def test_the_mean_of_the_others(self, group):
        rows = [row[:group] for row in REWARDS]
        expected = [[r - (sum(row) - r) / (group - 1) for r in row] for row in rows]
        assert_close(leave_one_out(numbers(*rows)), numbers(*expected))

    def test_the_policy_gradient_is_unbiased(self):
        """Over all groups of two that the policy can draw, the mean estimate is the gradient of E[reward]."""
        logits, rewards = numbers(0.4, -0.3, 1.1), numbers(2.0, -1.0, 0.5)
        p = logits.softmax(0)
        estimate = torch.zeros(3, dtype=torch.float64)
        for i, j in itertools.product(range(3), repeat=2):
            a = leave_one_out(torch.stack([rewards[i], rewards[j]]).unsqueeze(0))[0]
            for k, advantage in ((i, a[0]), (j, a[1])):
                estimate += p[i] * p[j] * advantage / 2 * (torch.eye(3, dtype=torch.float64)[k] - p)
        assert_close(estimate, p * (rewards - p @ rewards))

    def test_a_group_of_one(self):
        with raises(ValueError, 1):
            leave_one_out(numbers([2.0], [3.0]))

    def test_keeps_the_dtype(self):
        assert_equal(leave_one_out(torch.rand(2, 3)).dtype, torch.float32)


class TestInformative:
    def test_which_groups_differ(self):
        rewards = numbers([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.5, 0.2, 0.5])
        assert_equal(informative(rewards), torch.tensor([False, False, True, True, True]))

    @pytest.mark.parametrize("row", [[-1.0, 1.0], [2.0, 2.0 + 1e-9], [0.0, -3.0]])
    def test_any_difference_counts(self, row):
        assert_equal(informative(numbers(row)), torch.tensor([True]))

    def test_a_group_of_one(self):
        assert_equal(informative(numbers([3.0], [0.0])), torch.tensor([False, False]))


class TestKlEstimate:
    @pytest.mark.parametrize(("kind", "expected"), [("k1", 0.69314718), ("k2", 0.24022651), ("k3", 0.19314718)])
    def test_the_example_worked_by_hand(self, kind, expected):
        assert_close(kl_estimate(numbers(0.5).log(), numbers(0.25).log(), kind), numbers(expected), atol=1e-7)

    @pytest.mark.parametrize("shape", [(7,), (2, 3), ()])
    @pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
    def test_each_token(self, kind, shape):
        policy, reference = (-torch.rand(shape, dtype=torch.float64) - shift for shift in (0.1, 0.8))
        d = policy - reference
        expected = {"k1": d, "k2": d * d / 2, "k3": (-d).exp() - 1 + d}[kind]
        assert_close(kl_estimate(policy, reference, kind), expected)

    def test_k3_by_default(self):
        policy, reference = numbers(-0.5, -2.0), numbers(-1.5, -0.3)
        assert_close(kl_estimate(policy, reference), (reference - policy).exp() - 1 - (reference - policy))

    @pytest.mark.parametrize("kind", ["k1", "k3"])
    def test_unbiased_over_a_small_vocabulary(self, kind):
        """The mean over all tokens, each with its probability, is the divergence itself."""
        policy, reference = (torch.randn(6, dtype=torch.float64).log_softmax(0) for _ in range(2))
        mean = (policy.exp() * kl_estimate(policy, reference, kind)).sum()
        assert_close(mean, F.kl_div(reference, policy, reduction="sum", log_target=True))

    @pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
    def test_gradients(self, kind):
        policy, reference = numbers(-0.5, -2.0).requires_grad_(), numbers(-1.5, -0.3).requires_grad_()
        values = kl_estimate(policy, reference, kind)
        if not values.requires_grad:
            fail("The estimate has no gradient.", evidence="detached")
        (values * numbers(1.0, 2.0)).sum().backward()
        d = (policy - reference).detach()
        slope = {"k1": torch.ones_like(d), "k2": d, "k3": 1 - (-d).exp()}[kind] * numbers(1.0, 2.0)
        assert_close([policy.grad, reference.grad], [slope, -slope])

    @pytest.mark.parametrize("kind", ["k4", "K1", "kl"])
    def test_another_kind(self, kind):
        with raises(ValueError, kind):
            kl_estimate(numbers(-0.5), numbers(-1.0), kind)


def clipped_by_hand(new, old, advantages, low: float, high: float) -> torch.Tensor:
    rows = []
    for row, before, a in zip(new.tolist(), old.tolist(), advantages.tolist(), strict=True):
        ratios = [math.exp(x - y) for x, y in zip(row, before, strict=True)]
        rows.append([-min(r * a, min(max(r, 1 - low), 1 + high) * a) for r in ratios])
    return numbers(*rows)


def log_probs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ratios on both sides of both bounds, for advantages of both signs."""
    ratios = numbers([1.5, 0.5, 1.0, 1.25, 0.85], [1.6, 0.6, 1.1, 1.3, 0.75], [0.2, 3.0, 0.9, 1.15, 1.0])
    old = -torch.rand(3, 5, dtype=torch.float64) - 0.3
    return old + ratios.log(), old, numbers(2.0, -1.0, 0.7)


class TestClippedLoss:
    def test_the_example_worked_by_hand(self):
        new, old = numbers([1.5, 0.5], [1.5, 0.5]).log(), numbers([1.0, 1.0], [1.0, 1.0]).log()
        assert_close(clipped_loss(new, old, numbers(2.0, -1.0)), numbers([-2.56, -1.0], [1.5, 0.8]))

    @pytest.mark.parametrize(("low", "high"), [(0.2, 0.28), (0.2, 0.2), (0.05, 0.6), (0.3, 0.1), (0.5, 2.5)])
    def test_each_token(self, low, high):
        batch = log_probs()
        assert_close(clipped_loss(*batch, low, high), clipped_by_hand(*batch, low, high))

    def test_bounds_by_default(self):
        batch = log_probs()
        assert_close(clipped_loss(*batch), clipped_by_hand(*batch, 0.2, 0.28))

    def test_gradients(self):
        new, old, advantages = (t.requires_grad_() for t in (t.clone() for t in log_probs()))
        losses = clipped_loss(new, old, advantages, 0.2, 0.28)
        if not losses.requires_grad:
            fail("The loss has no gradient.", evidence="detached")
        weights = torch.arange(1.0, 16.0, dtype=torch.float64).view(3, 5)
        (losses * weights).sum().backward()
        a = advantages.detach().unsqueeze(1)
        ratio = (new - old).detach().exp()
        free = torch.where(a > 0, ratio < 1.28, ratio > 0.8)
        assert_close(new.grad, torch.where(free, -a * ratio * weights, 0.0))
        assert_equal((old.grad, advantages.grad), (None, None))

    def test_the_first_step_is_the_policy_gradient(self):
        new, _, advantages = log_probs()
        new = new.requires_grad_()
        clipped_loss(new, new.detach(), advantages).sum().backward()
        assert_close(new.grad, -advantages.unsqueeze(1).expand(3, 5))

    def test_keeps_the_dtype(self):
        assert_equal(clipped_loss(*(t.float() for t in log_probs())).dtype, torch.float32)

    @pytest.mark.parametrize("low", [0.0, -0.5, 1.0, 1.75])
    def test_a_lower_bound_out_of_range(self, low):
        with raises(ValueError, "low", low):
            clipped_loss(*log_probs(), low, 0.3)

    @pytest.mark.parametrize("high", [0.0, -0.5])
    def test_an_upper_bound_out_of_range(self, high):
        with raises(ValueError, "high", high):
            clipped_loss(*log_probs(), 0.3, high)


def some_values() -> tuple[torch.Tensor, torch.Tensor]:
    mask = mask_of("01110", "00010", "01101")
    return torch.randn(3, 5, dtype=torch.float64) + 1, mask


def aggregated(values: torch.Tensor, mask: torch.Tensor, how: str, longest: int | None = None) -> float:
    rows = [
        [v for v, there in zip(*row, strict=True) if there] for row in zip(values.tolist(), mask.tolist(), strict=True)
    ]
    total = sum(map(sum, rows))
    if how == "sequence":
        return sum(sum(row) / max(1, len(row)) for row in rows) / len(rows)
    return total / max(1, sum(map(len, rows))) if how == "token" else total / (len(rows) * longest)


class TestAggregate:
    @pytest.mark.parametrize(("how", "expected"), [("sequence", 3.0), ("token", 2.5), ("constant", 1.0)])
    def test_the_example_worked_by_hand(self, how, expected):
        values = numbers([7.0, 1.0, 2.0, 3.0], [8.0, 4.0, 9.0, 9.0])
        assert_close(aggregate(values, mask_of("0111", "0100"), how, 5), scalar(expected))

    @pytest.mark.parametrize("longest", [4, 9])
    @pytest.mark.parametrize("how", ["sequence", "token", "constant"])
    def test_of_three_rows(self, how, longest):
        values, mask = some_values()
        assert_close(aggregate(values, mask, how, longest), scalar(aggregated(values, mask, how, longest)))

    @pytest.mark.parametrize("how", ["sequence", "token"])
    def test_without_longest(self, how):
        values, mask = some_values()
        assert_close(aggregate(values, mask, how), scalar(aggregated(values, mask, how)))

    def test_by_sequence_by_default(self):
        values, mask = some_values()
        assert_close(aggregate(values, mask), scalar(aggregated(values, mask, "sequence")))

    @pytest.mark.parametrize("how", ["sequence", "token", "constant"])
    def test_a_row_without_tokens(self, how):
        values, mask = some_values()
        mask[1] = False
        assert_close(aggregate(values, mask, how, 4), scalar(aggregated(values, mask, how, 4)))

    @pytest.mark.parametrize(("how", "expected"), [("sequence", 1.5), ("token", 3.0), ("constant", 0.375)])
    def test_a_single_token(self, how, expected):
        values = numbers([7.0, 3.0, 2.0, 5.0], [8.0, 4.0, 9.0, 9.0])
        assert_close(aggregate(values, mask_of("0100", "0000"), how, 4), scalar(expected))

    @pytest.mark.parametrize("how", ["sequence", "token", "constant"])
    def test_no_tokens_at_all(self, how):
        values, mask = some_values()
        assert_close(aggregate(values, mask & False, how, 4), scalar(0.0))

    @pytest.mark.parametrize("other", [NAN, math.inf, 1e30])
    @pytest.mark.parametrize("how", ["sequence", "token", "constant"])
    def test_values_that_arent_masked_may_be_anything(self, how, other):
        values, mask = some_values()
        changed = values.masked_fill(~mask, other)
        assert_close(aggregate(changed, mask, how, 4), scalar(aggregated(values, mask, how, 4)))

    @pytest.mark.parametrize("how", ["sequence", "token", "constant"])
    def test_gradients(self, how):
        values, mask = some_values()
        leaf = values.requires_grad_()
        answer = aggregate(leaf, mask, how, 4)
        if not answer.requires_grad:
            fail("The mean has no gradient.", evidence="detached")
        answer.backward()
        share = {"sequence": mask / mask.sum(1, keepdim=True) / 3, "token": mask / 7, "constant": mask / 12}[how]
        assert_close(leaf.grad, share.double(), atol=1e-7)

    def test_keeps_the_dtype(self):
        values, mask = some_values()
        assert_equal(
            {aggregate(values.float(), mask, how, 4).dtype for how in ("sequence", "token", "constant")},
            {torch.float32},
        )

    @pytest.mark.parametrize("how", ["mean", "Token"])
    def test_another_way(self, how):
        with raises(ValueError, how):
            aggregate(*some_values(), how)

    def test_constant_without_longest(self):
        with raises(ValueError, "longest"):
            aggregate(*some_values(), "constant")


def grpo_by_hand(new, old, reference, advantages, mask, low=0.2, high=0.28, beta=0.04, how="sequence", longest=None):
    d = reference - new
    losses = clipped_by_hand(new, old, advantages, low, high) + beta * (d.exp() - 1 - d)
    return scalar(aggregated(losses, mask, how, longest))


def a_step() -> tuple[torch.Tensor, ...]:
    new, old, advantages = log_probs()
    reference = -torch.rand(3, 5, dtype=torch.float64) - 0.3
    return new, old, reference, advantages, mask_of("01110", "00011", "01101")


class TestGrpoLoss:
    def test_by_default(self):
        batch = a_step()
        assert_close(grpo_loss(*batch), grpo_by_hand(*batch))

    @pytest.mark.parametrize(("low", "high"), [(0.2, 0.5), (0.4, 0.1)])
    @pytest.mark.parametrize("beta", [0.0, 0.7, 3.0])
    @pytest.mark.parametrize("how", ["sequence", "token", "constant"])
    def test_all_arguments(self, how, beta, low, high):
        batch = a_step()
        expected = grpo_by_hand(*batch, low, high, beta, how, 6)
        assert_close(grpo_loss(*batch, low=low, high=high, beta=beta, how=how, longest=6), expected)

    def test_without_a_reference(self):
        new, old, reference, advantages, mask = a_step()
        expected = grpo_by_hand(new, old, reference, advantages, mask, beta=0.0)
        assert_close(grpo_loss(new, old, None, advantages, mask, beta=0.0), expected)

    def test_gradients(self):
        new, old, reference, advantages, mask = a_step()
        leaves = [t.clone().requires_grad_() for t in (new, old, reference, advantages)]
        loss = grpo_loss(*leaves, mask, 0.2, 0.28, 0.7, "token")
        if not loss.requires_grad:
            fail("The loss has no gradient.", evidence="detached")
        loss.backward()
        a, ratio = advantages.unsqueeze(1), (new - old).exp()
        free = torch.where(a > 0, ratio < 1.28, ratio > 0.8)
        slope = torch.where(free, -a * ratio, 0.0) + 0.7 * (1 - (reference - new).exp())
        assert_close(leaves[0].grad, slope * mask / mask.sum())
        assert_equal([leaf.grad for leaf in leaves[1:]], [None, None, None])

    @pytest.mark.parametrize("which", range(3))
    @pytest.mark.parametrize("other", [1e6, -1e6])
    def test_what_isnt_masked_has_no_influence(self, which, other):
        batch = list(a_step())
        expected = grpo_by_hand(*batch)
        batch[which] = batch[which].masked_fill(~batch[-1], other)
        batch[0] = batch[0].requires_grad_()
        loss = grpo_loss(*batch)
        assert_close(loss.detach(), expected)
        loss.backward()
        assert_close(batch[0].grad[~batch[-1]], torch.zeros(7, dtype=torch.float64))

    def test_no_reference_but_a_penalty(self):
        new, old, _, advantages, mask = a_step()
        with raises(ValueError, "reference"):
            grpo_loss(new, old, None, advantages, mask, beta=0.1)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"low": 1.5}, ("low", 1.5)),
            ({"high": -0.5}, ("high", -0.5)),
            ({"how": "mean"}, ("mean",)),
            ({"how": "constant"}, ("longest",)),
        ],
    )
    def test_what_its_parts_refuse(self, given, words):
        with raises(ValueError, *words):
            grpo_loss(*a_step(), **given)

    def test_keeps_the_dtype(self):
        *floats, mask = a_step()
        assert_equal(grpo_loss(*(t.float() for t in floats), mask).dtype, torch.float32)


class TinyGPT(nn.Module):
    def __init__(self, vocabulary: int, context: int, width: int = 32) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        q, k, v = self.qkv(F.layer_norm(x, x.shape[-1:])).chunk(3, -1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        x = x + self.feed(F.layer_norm(x, x.shape[-1:]))
        return self.head(x)


class Adam:
    """By hand: torch's optimizers take seconds to import what is never used here."""

    def __init__(self, model: nn.Module, rate: float) -> None:
        self.rate = rate
        self.states = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()]

    @torch.no_grad()
    def step(self) -> None:
        for p, first, second in self.states:
            first.mul_(0.8).add_(p.grad, alpha=0.2)
            second.mul_(0.95).add_(p.grad**2, alpha=0.05)
            p -= self.rate * first / (second.sqrt() + 1e-4)


@pytest.mark.learning
@pytest.mark.deadline(60)  # less than a second on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_tiny_gpt_learns_which_number_is_larger(self, seed):
        """Prompts are two digits from 0 to 4, 5 ends.  It must beat the best answer that is always the same."""
        torch.manual_seed(seed)
        model, rng, end, group = TinyGPT(6, 4), seeded(seed), 5, 16
        optimizer = Adam(model, 0.01)
        prompts = torch.cartesian_prod(torch.arange(5), torch.arange(5))
        larger = prompts.amax(1)
        answers = [[x] for x in larger.repeat_interleave(group).tolist()]
        for _ in range(60):
            tokens, mask = sample_group(model, prompts, group, 2, end, rng)
            advantages = group_advantages(verify(tokens, mask, answers, end).view(-1, group)).flatten()
            new = token_log_probs(model(tokens), tokens, mask)
            model.zero_grad()
            grpo_loss(new, new.detach(), None, advantages, mask, beta=0.0).backward()
            optimizer.step()
        tokens, mask = sample_group(model, prompts, group, 2, end, rng)
        accuracy = verify(tokens, mask, answers, end).mean().item()
        constant = (torch.bincount(larger).max() / len(larger)).item()
        if not accuracy > constant + 0.2:
            fail(f"It is right in {accuracy:.2f}, always the same answer in {constant:.2f}.", evidence=accuracy)


@pytest.mark.deadline(60)  # the pretended device takes a busy machine a while
class TestOnTheGpu:
    def test_sampling(self, gpu):
        model = gpu(Table([0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3]))
        model.forward = lambda tokens: model.table[tokens]
        tokens, mask = sample_group(model, gpu(torch.tensor([[0], [1]])), 2, 3, 2, gpu.generator(1))
        assert_equal({tokens.device.type, mask.device.type}, {gpu.device.type})

    def test_verifying(self, gpu):
        gpu.check(verify, torch.tensor([[1, 4, 9], [1, 7, 9]]), mask_of("011", "011"), [[4], [4]], 9)

    def test_log_probs(self, gpu):
        logits, tokens, mask = a_batch()
        gpu.check(token_log_probs, logits.requires_grad_(), tokens, mask)

    def test_advantages(self, gpu):
        gpu.check(group_advantages, numbers(*REWARDS))
        gpu.check(leave_one_out, numbers(*REWARDS))
        gpu.check(informative, numbers(*REWARDS))

    @pytest.mark.parametrize("how", ["sequence", "token", "constant"])
    def test_losses(self, gpu, how):
        new, old, reference, advantages, mask = a_step()
        gpu.check(kl_estimate, new, reference, "k3")
        gpu.check(clipped_loss, new, old, advantages)
        gpu.check(aggregate, new, mask, how, 6)
        gpu.check(grpo_loss, new.clone().requires_grad_(), old, reference, advantages, mask, how=how, longest=6)
