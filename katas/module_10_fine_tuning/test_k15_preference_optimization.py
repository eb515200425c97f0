"""Judges k15_preference_optimization by loops over tokens, closed forms, and the policy that is known to be the best."""

import copy
import math

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_10_fine_tuning.k15_preference_optimization import (
    completion_log_probs,
    dpo_loss,
    frozen_reference,
    ipo_loss,
    kto_baseline,
    kto_loss,
    orpo_loss,
    pair_batch,
    preference_metrics,
    simpo_loss,
)

pytestmark = [from_scratch("trl"), pure()]


def numbers(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def sigmoid(x: float) -> float:
    return math.exp(log_sigmoid(x))


def by_pair(formula, *tensors: torch.Tensor) -> torch.Tensor:
    """`formula` on the numbers of each pair."""
    return numbers(*(formula(*row) for row in zip(*(t.tolist() for t in tensors), strict=True)))


def four(n: int = 6, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Log-probs of n pairs: policy and reference, chosen and rejected."""
    return [-5 * torch.rand(n, dtype=dtype) - shift for shift in (0.5, 1.5, 1.0, 0.2)]


def means(n: int = 6, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [-2 * torch.rand(n, dtype=dtype) - shift for shift in (0.1, 0.4)]


def gradients(loss, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Those of the losses, each with a weight of its own; zeros where none flows."""
    leaves = [t.clone().requires_grad_() for t in tensors]
    losses = loss(*leaves)
    if not losses.requires_grad:
        fail("The loss has no gradient: something is detached.", evidence="detached")
    (losses * (1 + torch.arange(losses.numel(), dtype=losses.dtype))).sum().backward()
    return [torch.zeros_like(t) if t.grad is None else t.grad for t in leaves]


HAND = [numbers(-2.0), numbers(-3.5), numbers(-2.6), numbers(-3.1)]


class TestPairBatch:
    def test_the_drawing(self):
        tokens, mask = pair_batch([[7, 8, 9]], [[1, 2]], [[3, 4, 5, 6]], 0)
        assert_equal(tokens, torch.tensor([[7, 8, 9, 1, 2, 0, 0], [7, 8, 9, 3, 4, 5, 6]]))
        assert_equal(mask, torch.tensor([[0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1]]).bool())

    @pytest.mark.parametrize("pad", [0, 13])
    def test_chosen_ones_first_then_rejected_ones(self, pad):
        prompts, chosen, rejected = [[5], [6, 7, 8]], [[1, 2, 3], [9]], [[4, 4], [2, 3]]
        tokens, mask = pair_batch(prompts, chosen, rejected, pad)
        p = pad
        assert_equal(tokens, torch.tensor([[5, 1, 2, 3, p], [6, 7, 8, 9, p], [5, 4, 4, p, p], [6, 7, 8, 2, 3]]))
        assert_equal(mask.int().tolist(), [[0, 1, 1, 1, 0], [0, 0, 0, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]])

    def test_the_longest_may_be_a_chosen_one(self):
        tokens, _ = pair_batch([[5, 5], [6]], [[1, 2, 3, 4], [1]], [[2], [3]], 9)
        assert_equal(
            tokens, torch.tensor([[5, 5, 1, 2, 3, 4], [6, 1, 9, 9, 9, 9], [5, 5, 2, 9, 9, 9], [6, 3] + [9] * 4])
        )

    def test_a_real_token_that_equals_pad(self):
        tokens, mask = pair_batch([[2, 3, 2]], [[4, 2]], [[2, 2, 5]], 2)
        assert_equal(tokens, torch.tensor([[2, 3, 2, 4, 2, 2], [2, 3, 2, 2, 2, 5]]))
        assert_equal(mask.int().tolist(), [[0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1]])

    def test_prompt_tokens_that_stand_in_the_completion(self):
        _, mask = pair_batch([[1, 2]], [[1, 2]], [[2, 1, 2]], 0)
        assert_equal(mask.int().tolist(), [[0, 0, 1, 1, 0], [0, 0, 1, 1, 1]])

    def test_dtypes(self):
        tokens, mask = pair_batch([[1]], [[2]], [[3]], 0)
        assert_equal((tokens.dtype, mask.dtype), (torch.int64, torch.bool))
        assert_equal((tuple(tokens.shape), tuple(mask.shape)), ((2, 2), (2, 2)))

    @pytest.mark.parametrize(("n", "c", "r"), [(2, 3, 2), (2, 2, 3), (3, 2, 2), (4, 3, 2), (0, 1, 1)])
    def test_numbers_that_differ(self, n, c, r):
        with raises(ValueError, n, c, r):
            pair_batch([[1]] * n, [[2]] * c, [[3]] * r, 0)

    def test_no_pairs(self):
        with raises(ValueError, "pairs"):
            pair_batch([], [], [], 0)

    @pytest.mark.parametrize("which", range(3))
    def test_an_empty_part(self, which):
        parts = [[[11]] * 6, [[12]] * 6, [[13]] * 6]
        parts[which] = [[11], [12], [13], [14], [], []]
        with raises(ValueError, 4):
            pair_batch(*parts, 0)

    def test_the_first_empty_part_of_several(self):
        with raises(ValueError, 5):
            pair_batch([[8]] * 6 + [[]], [[8]] * 7, [[8]] * 5 + [[], [8]], 0)


def looped(logits: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor, average: bool) -> torch.Tensor:
    """Token by token, from the formula."""
    rows = []
    for i in range(len(tokens)):
        found = []
        for t in range(1, tokens.shape[1]):
            if mask[i, t]:
                row = logits[i, t - 1]
                found.append(row[tokens[i, t]] - torch.logsumexp(row, 0))
        total = sum(found, torch.zeros((), dtype=logits.dtype))
        rows.append(total / len(found) if average and found else total)
    return torch.stack(rows)


def a_batch(n: int = 3, length: int = 6, vocabulary: int = 5, dtype=torch.float64) -> tuple[torch.Tensor, ...]:
    """Masks of different sizes, with gaps, the last row's up to the end."""
    logits = 2 * torch.randn(n, length, vocabulary, dtype=dtype)
    tokens = torch.randint(vocabulary, (n, length))
    mask = torch.zeros(n, length, dtype=torch.bool)
    for i in range(n):
        mask[i, 2 + i % 2 : 4 + i % (length - 3)] = True
    mask[0, -1] = True
    return logits, tokens, mask


class TestCompletionLogProbs:
    @pytest.mark.parametrize("average", [False, True])
    def test_the_example_worked_by_hand(self, average):
        logits = numbers([0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.3, 0.6, 0.1]).log().unsqueeze(0)
        answer = completion_log_probs(
            logits, torch.tensor([[0, 2, 1]]), torch.tensor([[False, True, True]]), average=average
        )
        assert_close(answer, numbers((math.log(0.25) + math.log(0.1)) / (2 if average else 1)))

    @pytest.mark.parametrize("average", [False, True])
    @pytest.mark.parametrize("n", [1, 3, 4])
    def test_token_by_token(self, n, average):
        batch = a_batch(n)
        assert_close(completion_log_probs(*batch, average), looped(*batch, average))

    def test_sums_by_default(self):
        batch = a_batch()
        assert_close(completion_log_probs(*batch), looped(*batch, False))

    @pytest.mark.parametrize("average", [False, True])
    def test_masked_tokens_up_to_the_last(self, average):
        logits, tokens, _ = a_batch()
        mask = torch.ones(3, 6, dtype=torch.bool)
        mask[:, :4] = False
        assert_close(completion_log_probs(logits, tokens, mask, average), looped(logits, tokens, mask, average))

    @pytest.mark.parametrize("average", [False, True])
    def test_the_mask_of_the_first_token_isnt_looked_at(self, average):
        logits, tokens, mask = a_batch()
        first = mask.clone()
        first[:, 0] = True
        assert_close(completion_log_probs(logits, tokens, first, average), looped(logits, tokens, mask, average))

    @pytest.mark.parametrize("other", [-100, -1, 77])
    def test_tokens_that_arent_masked_may_be_anything(self, other):
        logits, tokens, mask = a_batch()
        changed = tokens.masked_fill(~mask, other)
        assert_close(completion_log_probs(logits, changed, mask), looped(logits, tokens, mask, False))
        assert_close(completion_log_probs(logits, changed, mask, True), looped(logits, tokens, mask, True))

    def test_a_masked_token_0(self):
        logits, tokens, mask = a_batch()
        tokens = torch.zeros_like(tokens)
        assert_close(completion_log_probs(logits, tokens, mask), looped(logits, tokens, mask, False))

    @pytest.mark.parametrize("average", [False, True])
    def test_a_row_without_a_masked_token(self, average):
        logits, tokens, mask = a_batch()
        mask[1] = False
        mask[1, 0] = True
        leaf = logits.requires_grad_()
        answer = completion_log_probs(leaf, tokens, mask, average)
        assert_close(answer.detach(), looped(logits, tokens, mask, average).detach())
        answer.sum().backward()
        assert_close(leaf.grad[1], torch.zeros(6, 5, dtype=torch.float64))

    @pytest.mark.parametrize("average", [False, True])
    def test_gradients(self, average):
        logits, tokens, mask = a_batch()
        mine, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        upstream = numbers(0.7, -1.3, 2.1)
        answer = completion_log_probs(mine, tokens, mask, average)
        if not answer.requires_grad:
            fail("The log-probs have no gradient.", evidence="detached")
        answer.backward(upstream)
        looped(theirs, tokens, mask, average).backward(upstream)
        assert_close(mine.grad, theirs.grad)

    def test_large_logits(self):
        logits, tokens, mask = a_batch()
        logits = logits.sign() * 1000 + logits
        assert_close(completion_log_probs(logits, tokens, mask), looped(logits, tokens, mask, False))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_keeps_the_dtype(self, dtype):
        batch = a_batch(dtype=dtype)
        assert_close(completion_log_probs(*batch, True), looped(*batch, True))

    def test_padding_changes_nothing(self):
        logits, tokens, mask = a_batch()
        more = torch.cat([logits, 50 * torch.randn(3, 2, 5, dtype=torch.float64)], 1)
        longer = torch.cat([tokens, torch.full((3, 2), 4)], 1)
        wider = torch.cat([mask, torch.zeros(3, 2, dtype=torch.bool)], 1)
        for average in (False, True):
            assert_close(completion_log_probs(more, longer, wider, average), looped(logits, tokens, mask, average))


class Policy(nn.Module):
    """A bigram model with dropout, which would show if it were left on."""

    def __init__(self, vocabulary: int = 8, dropout: float = 0.5) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 6)
        self.drop = nn.Sequential(nn.Dropout(dropout), nn.Dropout(dropout))
        self.head = nn.Linear(6, vocabulary)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.embed(tokens))) * self.scale


class TestFrozenReference:
    def test_answers_as_the_policy_does_without_dropout(self):
        policy = Policy().train()
        reference = frozen_reference(policy)
        tokens = torch.arange(8).repeat(2, 3)
        assert_close(reference(tokens).detach(), copy.deepcopy(policy).eval()(tokens).detach())

    def test_every_submodule_is_in_evaluation_mode(self):
        assert_equal({module.training for module in frozen_reference(Policy().train()).modules()}, {False})

    def test_no_parameter_requires_a_gradient(self):
        assert_equal([p.requires_grad for p in frozen_reference(Policy()).parameters()], [False] * 3)

    def test_it_has_no_gradient_through_what_it_answers(self):
        assert_equal(frozen_reference(Policy())(torch.arange(5)).requires_grad, False)

    @pytest.mark.parametrize("training", [True, False])
    def test_the_policy_stays_as_it_is(self, training):
        policy = Policy().train(training)
        policy.drop[1].train(not training)
        policy.embed.weight.requires_grad_(False)
        before = {name: value.clone() for name, value in policy.state_dict().items()}
        frozen_reference(policy)
        assert_equal([m.training for m in policy.modules()], [training] * 4 + [not training, training])
        assert_equal([p.requires_grad for p in policy.parameters()], [False, True, True])
        assert_close(dict(policy.state_dict()), before)

    def test_training_the_policy_doesnt_move_it(self):
        policy = Policy()
        reference = frozen_reference(policy)
        before = {name: value.clone() for name, value in reference.state_dict().items()}
        with torch.no_grad():
            for value in policy.state_dict().values():
                value += 1.0
        assert_close(dict(reference.state_dict()), before)

    def test_two_references_are_apart(self):
        policy = Policy()
        early = frozen_reference(policy)
        with torch.no_grad():
            policy.head.bias += 1.0
        late = frozen_reference(policy)
        assert_close(late.head.bias - early.head.bias, torch.ones(8))


def dpo_by_hand(beta: float, smoothing: float = 0.0):
    def loss(a: float, b: float, c: float, d: float) -> float:
        h = (a - c) - (b - d)
        return -(1 - smoothing) * log_sigmoid(beta * h) - smoothing * log_sigmoid(-beta * h)

    return loss


class TestDpoLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(dpo_loss(*HAND, 0.5), numbers(0.47407698), atol=1e-7)
        assert_close(dpo_loss(*HAND, 0.5, 0.1), numbers(0.52407698), atol=1e-7)

    @pytest.mark.parametrize("beta", [0.1, 0.5, 3.0])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
    def test_each_pair(self, beta, smoothing):
        tensors = four()
        assert_close(dpo_loss(*tensors, beta, smoothing), by_pair(dpo_by_hand(beta, smoothing), *tensors))

    def test_no_smoothing_by_default(self):
        tensors = four()
        assert_close(dpo_loss(*tensors, 0.7), by_pair(dpo_by_hand(0.7), *tensors))

    def test_log_2_where_the_policy_is_the_reference(self):
        chosen, rejected, *_ = four()
        assert_close(dpo_loss(chosen, rejected, chosen, rejected, 0.3), numbers(*[math.log(2)] * 6))

    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_gradients(self, smoothing):
        tensors, beta = four(), 0.6
        h = (tensors[0] - tensors[2]) - (tensors[1] - tensors[3])
        slope = -beta * ((1 - smoothing) * torch.sigmoid(-beta * h) - smoothing * torch.sigmoid(beta * h))
        slope = slope * torch.arange(1, 7)
        found = gradients(lambda *t: dpo_loss(*t, beta, smoothing), tensors)
        assert_close(found, [slope, -slope, torch.zeros_like(slope), torch.zeros_like(slope)])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_large_differences(self, dtype):
        zero = torch.zeros(2, dtype=dtype)
        far = torch.tensor([10_000.0, -10_000.0], dtype=dtype)
        assert_close(dpo_loss(far, zero, zero, zero, 0.5), torch.tensor([0.0, 5000.0], dtype=dtype))
        assert_close(dpo_loss(far, zero, zero, zero, 0.5, 0.2), torch.tensor([1000.0, 4000.0], dtype=dtype))
        slope, _ = gradients(lambda a, b: dpo_loss(a, b, zero, zero, 0.5), [far, zero])
        assert_close(slope, torch.tensor([0.0, -1.0], dtype=dtype))

    def test_keeps_the_dtype(self):
        assert_equal(dpo_loss(*four(dtype=torch.float32), 0.3).dtype, torch.float32)

    @pytest.mark.parametrize("beta", [0.0, -0.25])
    def test_a_beta_that_isnt_above_0(self, beta):
        with raises(ValueError, "beta", beta):
            dpo_loss(*four(), beta)

    @pytest.mark.parametrize("smoothing", [0.5, 0.75, -0.125])
    def test_a_smoothing_out_of_range(self, smoothing):
        with raises(ValueError, "smoothing", smoothing):
            dpo_loss(*four(), 0.3, smoothing)

    @pytest.mark.parametrize("beta", [0.5, 2.0])
    def test_the_best_policy_is_the_one_that_the_rewards_ask_for(self, beta):
        """π* ∝ ref · exp(reward / β); pairs by Bradley-Terry.  The mean loss is flat there, and nowhere near."""
        rewards, reference = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64).log_softmax(0)
        first, second = torch.tensor([(i, j) for i in range(5) for j in range(5) if i != j]).T
        share = torch.sigmoid(rewards[first] - rewards[second])

        def slope(logits: torch.Tensor) -> torch.Tensor:
            leaf = logits.clone().requires_grad_()
            policy = leaf.log_softmax(0)
            losses = dpo_loss(policy[first], policy[second], reference[first], reference[second], beta)
            (share * losses).sum().backward()
            return leaf.grad

        assert_close(slope(reference + rewards / beta), torch.zeros(5, dtype=torch.float64))
        if slope(reference).abs().max() < 1e-3:
            fail("The mean loss is flat at the reference, too: the pairs have no influence.", evidence="flat")


class TestIpoLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(ipo_loss(*HAND, 0.2), numbers(2.25))

    @pytest.mark.parametrize("tau", [0.1, 0.8])
    def test_each_pair(self, tau):
        tensors = four()
        expected = by_pair(lambda a, b, c, d: ((a - c) - (b - d) - 1 / (2 * tau)) ** 2, *tensors)
        assert_close(ipo_loss(*tensors, tau), expected)

    def test_gradients(self):
        tensors, tau = four(), 0.3
        h = (tensors[0] - tensors[2]) - (tensors[1] - tensors[3])
        slope = 2 * (h - 1 / (2 * tau)) * torch.arange(1, 7)
        found = gradients(lambda *t: ipo_loss(*t, tau), tensors)
        assert_close(found, [slope, -slope, torch.zeros_like(slope), torch.zeros_like(slope)])

    @pytest.mark.parametrize("tau", [0.0, -0.25])
    def test_a_tau_that_isnt_above_0(self, tau):
        with raises(ValueError, "tau", tau):
            ipo_loss(*four(), tau)


class TestKtoBaseline:
    def test_the_mean_log_ratio(self):
        policy, reference = numbers(-2.0, -3.5, -1.0), numbers(-2.6, -3.1, -2.3)
        assert_close(kto_baseline(policy, reference), torch.tensor(0.5, dtype=torch.float64))

    def test_any_numbers(self):
        policy, reference = numbers(-2.1, -3.7, -1.3), numbers(-2.6, -3.1, -2.3)
        assert_close(kto_baseline(policy, reference), torch.tensor(0.3, dtype=torch.float64))

    def test_single_ones_may_be_below_0(self):
        policy, reference = numbers(-2.0, -9.0, -1.0), numbers(-6.0, -7.0, -2.0)
        assert_close(kto_baseline(policy, reference), torch.tensor(1.0, dtype=torch.float64))

    def test_never_below_0(self):
        assert_close(kto_baseline(numbers(-5.0, -2.0), numbers(-3.0, -3.5)), torch.tensor(0.0, dtype=torch.float64))

    def test_no_gradient(self):
        policy = numbers(-2.0, -3.0).requires_grad_()
        assert_equal(kto_baseline(policy, numbers(-3.0, -4.5)).requires_grad, False)

    def test_of_one_in_float32(self):
        assert_close(kto_baseline(torch.tensor([-1.0]), torch.tensor([-1.75])), torch.tensor(0.75))


def kto_by_hand(z: float, beta: float, up: float = 1.0, down: float = 1.0):
    def loss(policy: float, reference: float, desirable: bool) -> float:
        r = policy - reference
        return up * (1 - sigmoid(beta * (r - z))) if desirable else down * (1 - sigmoid(beta * (z - r)))

    return loss


def kto_example() -> tuple[torch.Tensor, ...]:
    policy, _, reference, _ = four()
    thumbs = torch.tensor([True, False, False, True, True, False])
    return policy, reference, thumbs, torch.tensor(0.35, dtype=torch.float64)


class TestKtoLoss:
    def test_the_example_worked_by_hand(self):
        answer = kto_loss(
            numbers(-2.0, -3.5),
            numbers(-2.6, -3.1),
            torch.tensor([True, False]),
            torch.tensor(0.2, dtype=torch.float64),
            0.5,
            undesirable_weight=2.0,
        )
        assert_close(answer, numbers(0.45016600, 0.85111497), atol=1e-7)

    @pytest.mark.parametrize("beta", [0.1, 1.7])
    @pytest.mark.parametrize(("up", "down"), [(1.0, 1.0), (1.5, 0.8), (0.6, 3.0)])
    def test_each_completion(self, beta, up, down):
        policy, reference, thumbs, z = kto_example()
        expected = by_pair(kto_by_hand(0.35, beta, up, down), policy, reference, thumbs)
        assert_close(kto_loss(policy, reference, thumbs, z, beta, up, down), expected)

    def test_weights_of_1_by_default(self):
        policy, reference, thumbs, z = kto_example()
        expected = by_pair(kto_by_hand(0.35, 0.9), policy, reference, thumbs)
        assert_close(kto_loss(policy, reference, thumbs, z, 0.9), expected)

    @pytest.mark.parametrize("thumb", [True, False])
    def test_all_alike(self, thumb):
        policy, reference, thumbs, z = kto_example()
        thumbs = torch.full_like(thumbs, thumb)
        expected = by_pair(kto_by_hand(0.35, 0.9, 1.25, 0.75), policy, reference, thumbs)
        assert_close(kto_loss(policy, reference, thumbs, z, 0.9, 1.25, 0.75), expected)

    def test_gradients(self):
        policy, reference, thumbs, z = kto_example()
        beta, up, down = 0.7, 1.5, 0.8
        s = torch.sigmoid(beta * (policy - reference - z))
        slope = torch.where(thumbs, -up, down) * beta * s * (1 - s) * torch.arange(1, 7)
        found = gradients(lambda p, r, b: kto_loss(p, r, thumbs, b, beta, up, down), [policy, reference, z])
        assert_close(found, [slope, torch.zeros_like(slope), torch.zeros_like(z)])

    def test_keeps_the_dtype(self):
        policy, reference, thumbs, z = kto_example()
        assert_equal(kto_loss(policy.float(), reference.float(), thumbs, z.float(), 0.3).dtype, torch.float32)

    @pytest.mark.parametrize("beta", [0.0, -0.25])
    def test_a_beta_that_isnt_above_0(self, beta):
        with raises(ValueError, "beta", beta):
            kto_loss(*kto_example(), beta)


def orpo_by_hand(weight: float):
    def loss(c: float, r: float) -> float:
        odds = (c - math.log(-math.expm1(c))) - (r - math.log(-math.expm1(r)))
        return -c - weight * log_sigmoid(odds)

    return loss


class TestOrpoLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(orpo_loss(numbers(0.5).log(), numbers(0.2).log(), 0.5), numbers(0.80471896), atol=1e-7)

    @pytest.mark.parametrize("weight", [0.0, 0.1, 2.5])
    def test_each_pair(self, weight):
        chosen, rejected = means()
        assert_close(orpo_loss(chosen, rejected, weight), by_pair(orpo_by_hand(weight), chosen, rejected))

    @pytest.mark.parametrize("near", [-1e-12, -1e-9, -1000.0])
    def test_extreme_log_probs(self, near):
        ends, middle = numbers(near, near), numbers(-0.7, -3e-9)
        assert_close(orpo_loss(ends, middle, 0.5), by_pair(orpo_by_hand(0.5), ends, middle))
        assert_close(orpo_loss(middle, ends, 0.5), by_pair(orpo_by_hand(0.5), middle, ends))

    def test_gradients(self):
        chosen, rejected = means()
        weight = 0.8
        p, q = chosen.exp(), rejected.exp()
        s = torch.sigmoid(-(torch.logit(p) - torch.logit(q)))  # 1 - σ of the difference
        scale = torch.arange(1, 7)
        expected = [(-1 - weight * s / (1 - p)) * scale, weight * s / (1 - q) * scale]
        assert_close(gradients(lambda c, r: orpo_loss(c, r, weight), [chosen, rejected]), expected)

    def test_keeps_the_dtype(self):
        assert_equal(orpo_loss(*means(dtype=torch.float32), 0.3).dtype, torch.float32)


class TestSimpoLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(simpo_loss(numbers(-0.5), numbers(-0.9), 2.0, 0.5), numbers(0.55435524), atol=1e-7)

    @pytest.mark.parametrize("beta", [0.5, 2.5])
    @pytest.mark.parametrize("gamma", [0.0, 0.3, 1.6])
    def test_each_pair(self, beta, gamma):
        chosen, rejected = means()
        expected = by_pair(lambda c, r: -log_sigmoid(beta * (c - r) - gamma), chosen, rejected)
        assert_close(simpo_loss(chosen, rejected, beta, gamma), expected)

    def test_gradients(self):
        chosen, rejected = means()
        slope = -1.5 * torch.sigmoid(-(1.5 * (chosen - rejected) - 0.4)) * torch.arange(1, 7)
        found = gradients(lambda c, r: simpo_loss(c, r, 1.5, 0.4), [chosen, rejected])
        assert_close(found, [slope, -slope])

    def test_large_differences(self):
        far, zero = numbers(10_000.0, -10_000.0), numbers(0.0, 0.0)
        assert_close(simpo_loss(far, zero, 2.0, 3.0), numbers(0.0, 20_003.0))

    def test_keeps_the_dtype(self):
        assert_equal(simpo_loss(*means(dtype=torch.float32), 0.3, 0.1).dtype, torch.float32)

    @pytest.mark.parametrize("beta", [0.0, -0.25])
    def test_a_beta_that_isnt_above_0(self, beta):
        with raises(ValueError, "beta", beta):
            simpo_loss(*means(), beta, 0.1)


class TestPreferenceMetrics:
    @pytest.mark.parametrize("beta", [0.5, 2.0])
    def test_three_pairs_and_a_tie(self, beta):
        chosen, rejected = numbers(-2.0, -4.0, -1.0, -5.0), numbers(-3.5, -2.0, -3.0, -6.0)
        reference_chosen, reference_rejected = numbers(-2.6, -3.0, -1.5, -5.5), numbers(-3.1, -2.25, -2.5, -6.5)
        # Rewards over β: 0.6 -1 0.5 0.5 and -0.4 0.25 -0.5 0.5.
        expected = {
            "chosen": beta * 0.15,
            "rejected": beta * -0.0375,
            "margin": beta * 0.1875,
            "accuracy": 0.5,
        }
        assert_close(preference_metrics(chosen, rejected, reference_chosen, reference_rejected, beta), expected)

    def test_the_reference_counts(self):
        """The policy prefers the rejected ones, but less than the reference does."""
        answer = preference_metrics(numbers(-5.0), numbers(-2.0), numbers(-9.0), numbers(-3.0), 0.1)
        assert_close(answer, {"chosen": 0.4, "rejected": 0.1, "margin": 0.3, "accuracy": 1.0})

    def test_python_floats(self):
        answer = preference_metrics(*[t.float().requires_grad_() for t in four()], 0.3)
        assert_equal({key: type(value) for key, value in answer.items()}, dict.fromkeys(answer, float))

    @pytest.mark.parametrize("beta", [0.0, -0.25])
    def test_a_beta_that_isnt_above_0(self, beta):
        with raises(ValueError, "beta", beta):
            preference_metrics(*four(), beta)


def hidden_rule(n: int, vocabulary: int, rng: torch.Generator) -> tuple[list, list, list]:
    """Chosen completions step by +1 or +2, rejected ones by +3 to +6; lengths say nothing."""

    def walk(start: int, low: int, high: int) -> list[int]:
        length = int(torch.randint(2, 6, (), generator=rng))
        steps = torch.randint(low, high + 1, (length,), generator=rng).cumsum(0)
        return ((start + steps) % vocabulary).tolist()

    prompts = torch.randint(vocabulary, (n, 2), generator=rng).tolist()
    return prompts, [walk(p[-1], 1, 2) for p in prompts], [walk(p[-1], 3, 6) for p in prompts]


def descend(loss: torch.Tensor, model: nn.Module, rate: float) -> None:
    """One step of gradient descent.  An optimizer of torch takes seconds to import what it never uses here."""
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= rate * parameter.grad


@pytest.mark.learning
@pytest.mark.deadline(60)  # less than a second on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_beats_the_longer_one_on_new_pairs(self, seed):
        rng = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        train, test = hidden_rule(64, 8, rng), hidden_rule(64, 8, rng)
        policy = Policy(8, dropout=0.1)
        reference = frozen_reference(policy)
        tokens, mask = pair_batch(*train, 0)
        with torch.no_grad():
            fixed = completion_log_probs(reference(tokens), tokens, mask).chunk(2)
        for _ in range(60):
            mine = completion_log_probs(policy(tokens), tokens, mask).chunk(2)
            loss = dpo_loss(*mine, *fixed, 0.5).mean()
            descend(loss, policy, 1.0)
        tokens, mask = pair_batch(*test, 0)
        policy.eval()
        with torch.no_grad():
            mine, fixed = (completion_log_probs(m(tokens), tokens, mask).chunk(2) for m in (policy, reference))
        accuracy = preference_metrics(*mine, *fixed, 0.5)["accuracy"]
        longer = sum((len(c) > len(r)) + (len(c) == len(r)) / 2 for c, r in zip(*test[1:], strict=True)) / 64
        if not accuracy > longer + 0.2:
            fail(f"On new pairs it is right in {accuracy:.2f}, 'the longer one' in {longer:.2f}.", evidence=accuracy)


@pytest.mark.deadline(60)  # the pretended device takes a busy machine a while
class TestOnTheGpu:
    @pytest.mark.parametrize("average", [False, True])
    def test_log_probs(self, gpu, average):
        logits, tokens, mask = a_batch()
        gpu.check(completion_log_probs, logits.requires_grad_(), tokens, mask, average)

    def test_the_reference(self, gpu):
        reference = frozen_reference(gpu(Policy()))
        assert_equal({value.device.type for value in reference.state_dict().values()}, {gpu.device.type})

    def test_losses_of_pairs(self, gpu):
        tensors = [t.requires_grad_() for t in four()]
        gpu.check(dpo_loss, *tensors, 0.3, 0.1)
        gpu.check(ipo_loss, *tensors, 0.3)

    def test_kto(self, gpu):
        policy, reference, thumbs, z = kto_example()
        gpu.check(kto_baseline, policy, reference)
        gpu.check(kto_loss, policy.requires_grad_(), reference, thumbs, z, 0.3, 1.5, 0.8)

    def test_losses_of_means(self, gpu):
        tensors = [t.requires_grad_() for t in means()]
        gpu.check(orpo_loss, *tensors, 0.3)
        gpu.check(simpo_loss, *tensors, 0.3, 0.1)

    def test_metrics(self, gpu):
        tensors = four()
        assert_close(preference_metrics(*gpu(tensors), 0.3), preference_metrics(*tensors, 0.3))
