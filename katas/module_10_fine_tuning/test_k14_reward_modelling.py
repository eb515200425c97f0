"""Judges k14_reward_modelling by loops over pairs, and against scikit-learn's logistic regression."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.choices import journeys_or_skip
from katas.module_10_fine_tuning.k14_reward_modelling import (
    RewardModel,
    bradley_terry_loss,
    calibration_error,
    fit_reward,
    fit_temperature,
    length_report,
    ranking_accuracy,
    ranking_loss,
    remove_length,
)

pytestmark = [from_scratch("sklearn", "scipy", "trl"), pure()]

NAN = math.nan


def numbers(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def rewards_of_pairs(n: int = 7, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, dtype=dtype) + 0.4, torch.randn(n, dtype=dtype)


def needs_gradient(value: torch.Tensor) -> torch.Tensor:
    if not value.requires_grad:
        fail("No gradient flows: something is detached.", evidence="detached")
    return value


class TestBradleyTerryLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(bradley_terry_loss(numbers(1.2), numbers(0.4)), numbers(0.37110067), atol=1e-7)
        assert_close(bradley_terry_loss(numbers(1.2), numbers(0.4), 0.5), numbers(0.55435524), atol=1e-7)

    def test_each_pair(self):
        chosen, rejected = rewards_of_pairs()
        expected = numbers(*(-log_sigmoid(c - r) for c, r in zip(chosen.tolist(), rejected.tolist(), strict=True)))
        assert_close(bradley_terry_loss(chosen, rejected), expected)

    @pytest.mark.parametrize("margin", [0.3, 2.0])
    def test_one_margin_for_all(self, margin):
        chosen, rejected = rewards_of_pairs()
        differences = (chosen - rejected).tolist()
        expected = numbers(*(-log_sigmoid(d - margin) for d in differences))
        assert_close(bradley_terry_loss(chosen, rejected, margin), expected)

    def test_a_margin_for_each_pair(self):
        chosen, rejected = rewards_of_pairs()
        margin = torch.rand(7, dtype=torch.float64) * 3
        rows = zip((chosen - rejected).tolist(), margin.tolist(), strict=True)
        assert_close(bradley_terry_loss(chosen, rejected, margin), numbers(*(-log_sigmoid(d - m) for d, m in rows)))

    def test_gradients(self):
        chosen, rejected = (t.requires_grad_() for t in rewards_of_pairs())
        weights = torch.arange(1, 8)
        (needs_gradient(bradley_terry_loss(chosen, rejected, 0.7)) * weights).sum().backward()
        slope = -torch.sigmoid(-(chosen - rejected - 0.7)).detach() * weights
        assert_close([chosen.grad, rejected.grad], [slope, -slope])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_large_differences(self, dtype):
        far = torch.tensor([10_000.0, -10_000.0], dtype=dtype).requires_grad_()
        losses = bradley_terry_loss(far, torch.zeros(2, dtype=dtype))
        losses.sum().backward()
        assert_close(losses.detach(), torch.tensor([0.0, 10_000.0], dtype=dtype))
        assert_close(far.grad, torch.tensor([0.0, -1.0], dtype=dtype))


def ranking_by_hand(rewards: torch.Tensor, ranks: torch.Tensor) -> float:
    prompts = []
    for row, order in zip(rewards.tolist(), ranks.tolist(), strict=True):
        pairs = [
            -log_sigmoid(row[a] - row[b]) for a in range(len(row)) for b in range(len(row)) if 0 <= order[a] < order[b]
        ]
        if pairs:
            prompts.append(sum(pairs) / len(pairs))
    return sum(prompts) / len(prompts)


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


class TestRankingLoss:
    def test_the_example_worked_by_hand(self):
        answer = ranking_loss(numbers([2.0, 1.0, 0.5]), torch.tensor([[0, 1, 1]]))
        assert_close(answer, scalar(0.25733745), atol=1e-7)

    def test_full_rankings(self):
        rewards = torch.randn(3, 4, dtype=torch.float64)
        ranks = torch.stack([torch.randperm(4) for _ in range(3)])
        assert_close(ranking_loss(rewards, ranks), scalar(ranking_by_hand(rewards, ranks)))

    @pytest.mark.parametrize(
        "ranks",
        [
            [[0, 1, 1, 2, 0], [3, 1, 2, 0, 4]],
            [[0, 5, 9, 9, 9], [70, 20, 20, 1, 20]],
            [[2, 2, 2, 2, 7], [0, 0, 1, 1, 2]],
        ],
    )
    def test_ties_and_ranks_with_gaps(self, ranks):
        rewards, ranks = torch.randn(2, 5, dtype=torch.float64), torch.tensor(ranks)
        assert_close(ranking_loss(rewards, ranks), scalar(ranking_by_hand(rewards, ranks)))

    def test_prompts_with_fewer_completions_weigh_the_same(self):
        rewards = torch.randn(3, 4, dtype=torch.float64)
        ranks = torch.tensor([[0, 1, 2, 3], [1, -1, 0, -1], [-1, 2, 0, 1]])
        assert_close(ranking_loss(rewards, ranks), scalar(ranking_by_hand(rewards, ranks)))

    @pytest.mark.parametrize("absent", [-1, -7])
    def test_any_rank_below_0_is_no_completion(self, absent):
        rewards, ranks = torch.randn(2, 3, dtype=torch.float64), torch.tensor([[absent, 0, 1], [2, 0, absent]])
        assert_close(ranking_loss(rewards, ranks), scalar(ranking_by_hand(rewards, ranks)))

    def test_prompts_without_a_pair_are_left_out(self):
        rewards = torch.randn(4, 3, dtype=torch.float64)
        ranks = torch.tensor([[1, 1, 1], [2, 0, 1], [-1, 0, -1], [-1, -1, -1]])
        assert_close(ranking_loss(rewards, ranks), scalar(ranking_by_hand(rewards, ranks)))

    @pytest.mark.parametrize("absent", [NAN, math.inf, 1e30])
    def test_rewards_of_no_completion_have_no_influence(self, absent):
        rewards = numbers([0.4, absent, -0.3], [absent, 1.2, 0.9]).requires_grad_()
        ranks = torch.tensor([[0, -1, 1], [-1, 1, 0]])
        loss = ranking_loss(rewards, ranks)
        assert_close(loss.detach(), scalar((-log_sigmoid(0.7) - log_sigmoid(-0.3)) / 2))
        needs_gradient(loss).backward()
        a, b = 0.5 / (1 + math.exp(0.7)), 0.5 / (1 + math.exp(-0.3))
        assert_close(rewards.grad, numbers([-a, 0.0, a], [0.0, b, -b]))

    def test_large_differences(self):
        rewards = numbers([0.0, 3000.0], [5000.0, 0.0]).requires_grad_()
        loss = ranking_loss(rewards, torch.tensor([[0, 1], [0, 1]]))
        loss.backward()
        assert_close(loss.detach(), scalar(1500.0))
        assert_close(rewards.grad, numbers([-0.5, 0.5], [0.0, 0.0]))

    @pytest.mark.parametrize("ranks", [[[1, 1], [0, -1]], [[-1, -1], [3, 3]]])
    def test_no_pair_at_all(self, ranks):
        with raises(ValueError, "pair"):
            ranking_loss(torch.randn(2, 2), torch.tensor(ranks))

    def test_keeps_the_dtype(self):
        assert_equal(ranking_loss(torch.randn(1, 2), torch.tensor([[1, 0]])).dtype, torch.float32)


class Backbone(nn.Module):
    """Each position's vector is the sum of what stands there and before, as in a causal model."""

    def __init__(self, vocabulary: int = 9, width: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.embed(tokens).cumsum(1))


def a_model() -> RewardModel:
    return RewardModel(Backbone(), 4).double()


def mask_of(*rows: str) -> torch.Tensor:
    return torch.tensor([[c == "1" for c in row] for row in rows])


class TestRewardModel:
    @pytest.mark.parametrize(
        ("mask", "last"),
        [
            (mask_of("11100", "11111", "10000"), [2, 4, 0]),
            (mask_of("00111", "11111", "00001"), [4, 4, 4]),
            (mask_of("01100", "10110", "01000"), [2, 3, 1]),
        ],
        ids=["right", "left", "between"],
    )
    def test_reads_at_the_last_real_token(self, mask, last):
        model, tokens = a_model(), torch.randint(9, (3, 5))
        hidden = model.backbone(tokens).detach()
        expected = torch.stack([hidden[i, t] @ model.head.weight[0] for i, t in enumerate(last)])
        assert_close(model(tokens, mask).detach(), expected.detach())

    def test_padding_changes_nothing(self):
        model, tokens = a_model(), torch.randint(9, (2, 4))
        mask = torch.ones(2, 4, dtype=torch.bool)
        longer = torch.cat([tokens, torch.randint(9, (2, 3))], 1)
        wider = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], 1)
        assert_close(model(longer, wider).detach(), model(tokens, mask).detach())

    def test_its_parts(self):
        backbone = Backbone()
        model = RewardModel(backbone, 4)
        assert_equal(model.backbone is backbone, True)
        assert_equal(sorted(model.state_dict()), ["backbone.embed.weight", "head.weight"])
        assert_equal(tuple(model.head.weight.shape), (1, 4))
        assert_equal([p.requires_grad for p in model.parameters()], [True, True])

    @pytest.mark.parametrize("n", [1, 3])
    def test_one_reward_a_row(self, n):
        model, tokens = a_model(), torch.randint(9, (n, 5))
        answer = model(tokens, torch.ones(n, 5, dtype=torch.bool))
        assert_equal((tuple(answer.shape), answer.dtype), ((n,), torch.float64))

    def test_gradients(self):
        model, tokens = a_model(), torch.tensor([[3, 1, 7, 0], [2, 5, 0, 0]])
        upstream = numbers(0.7, -1.9)
        needs_gradient(model(tokens, mask_of("1110", "1100"))).backward(upstream)
        mine = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        hidden = model.backbone(tokens)[[0, 1], [2, 1]]
        (hidden @ model.head.weight[0]).backward(upstream)
        assert_close(mine, [p.grad for p in model.parameters()])

    @pytest.mark.parametrize(("rows", "which"), [(["0000", "1100"], 0), (["1000"] * 4 + ["0000"] * 2, 4)])
    def test_a_row_without_a_real_token(self, rows, which):
        with raises(ValueError, which):
            a_model()(torch.zeros(len(rows), 4, dtype=torch.long), mask_of(*rows))


def by_sklearn(differences: np.ndarray, l2: float) -> torch.Tensor:
    """Each difference stands there twice, with both signs, so that the loss does, too: C is half of 1/l2."""
    from sklearn.linear_model import LogisticRegression

    x = np.concatenate([differences, -differences])
    y = np.repeat([1, 0], len(differences))
    model = LogisticRegression(C=0.5 / l2, fit_intercept=False, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    return torch.tensor(model.fit(x, y).coef_[0])


def preferences(n: int, d: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of pairs whose choice follows a hidden reward, with noise."""
    hidden = torch.randn(d, dtype=torch.float64)
    first, second = 1.3 + torch.randn(2, n, d, dtype=torch.float64)
    wins = torch.rand(n, dtype=torch.float64) < torch.sigmoid((first - second) @ hidden)
    chosen = torch.where(wins.unsqueeze(1), first, second)
    rejected = torch.where(wins.unsqueeze(1), second, first)
    return chosen * scale, rejected * scale


class TestFitReward:
    def test_the_example_worked_by_hand(self):
        chosen, rejected = numbers([3.0], [5.0], [1.5], [1.0]), numbers([2.0], [4.0], [0.5], [2.0])
        assert_close(fit_reward(chosen, rejected, 1e-9), numbers(math.log(3)), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("l2", [0.01, 1.0, 20.0])
    @pytest.mark.parametrize(("n", "d"), [(40, 3), (9, 5), (4, 7), (1, 2)])
    def test_matches_logistic_regression(self, n, d, l2):
        chosen, rejected = preferences(n, d)
        expected = by_sklearn((chosen - rejected).numpy(), l2)
        assert_close(fit_reward(chosen, rejected, l2), expected, rtol=1e-5, atol=1e-5)  # the stub promises so much

    @pytest.mark.parametrize("l2", [0.01, 1.0, 20.0])
    @pytest.mark.parametrize("scale", [1.0, 0.01, 30.0])
    def test_is_the_minimum(self, l2, scale):
        chosen, rejected = preferences(30, 4, scale)
        x = chosen - rejected
        w = fit_reward(chosen, rejected, l2)
        p = torch.sigmoid(-(x @ w))
        slope = l2 * w - x.T @ p
        curve = x.T @ (x * (p * (1 - p)).unsqueeze(1)) + l2 * torch.eye(4, dtype=torch.float64)
        # How far Newton's method would still go.
        assert_close(w, w - torch.linalg.solve(curve, slope), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(
        ("rows", "l2"),
        [
            ([[52.9, 61.4], [-0.1, -0.1], [5.0, -6.1], [70.3, -299.6]], 0.095),
            ([[95.1, 13.3], [0.7, -0.6], [-41.4, -12.8], [-51.0, -72.9]], 0.0055),
        ],
    )
    def test_differences_of_unlike_sizes(self, rows, l2):
        """Newton's method without a check of its steps runs away here."""
        x = numbers(*rows)
        expected = by_sklearn(x.numpy(), l2)
        assert_close(fit_reward(x, torch.zeros_like(x), l2), expected, rtol=1e-5, atol=1e-5)

    def test_pairs_without_a_mistake(self):
        """One feature tells them all apart: w solves l2 · w = Σ x · σ(-w x)."""
        x = numbers([1.0], [2.0], [400.0])
        w = fit_reward(x, torch.zeros_like(x), 0.001).item()
        pull = sum(value * math.exp(log_sigmoid(-w * value)) for value in (1.0, 2.0, 400.0))
        assert_close(0.001 * w, pull, atol=1e-5)

    @pytest.mark.parametrize("l2", [0.0, -0.25])
    def test_an_l2_that_isnt_above_0(self, l2):
        with raises(ValueError, "l2", l2):
            fit_reward(*preferences(4, 2), l2)


class TestRankingAccuracy:
    def test_the_example_worked_by_hand(self):
        assert_close(ranking_accuracy(numbers(3.0, 1.5, 0.1, -2.0), numbers(1.0, 0.5, 0.5, -2.0)), 0.625)

    @pytest.mark.parametrize(("c", "r", "expected"), [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.5)])
    def test_of_one_pair(self, c, r, expected):
        assert_close(ranking_accuracy(numbers(c), numbers(r)), expected)

    def test_a_third(self):
        assert_close(ranking_accuracy(numbers(3.0, 1.5, 0.1), numbers(1.0, 2.5, 0.5)), 1 / 3)

    def test_a_python_float(self):
        answer = ranking_accuracy(*(t.requires_grad_() for t in rewards_of_pairs(dtype=torch.float32)))
        assert_equal(type(answer), float)


def error_by_hand(chosen: torch.Tensor, rejected: torch.Tensor, bins: int) -> float:
    inside: dict[int, list[tuple[float, float]]] = {}
    for d in (chosen - rejected).tolist():
        confidence = math.exp(log_sigmoid(abs(d)))
        place = min(int((confidence - 0.5) / (0.5 / bins)), bins - 1)
        inside.setdefault(place, []).append((confidence, 1.0 if d > 0 else 0.0 if d < 0 else 0.5))
    gaps = [
        len(rows) * abs(sum(q for q, _ in rows) / len(rows) - sum(right for _, right in rows) / len(rows))
        for rows in inside.values()
    ]
    return sum(gaps) / len(chosen)


class TestCalibrationError:
    def test_the_example_worked_by_hand(self):
        assert_close(calibration_error(numbers(3.0, 1.5, 0.1), numbers(1.0, 0.5, 0.5), 2), 0.14964972, atol=1e-7)

    @pytest.mark.parametrize("bins", [1, 2, 5, 10, 100])
    def test_over_all_pairs(self, bins):
        chosen, rejected = rewards_of_pairs(60)
        assert_close(calibration_error(2 * chosen, 2 * rejected, bins), error_by_hand(2 * chosen, 2 * rejected, bins))

    def test_certain_pairs_are_in_the_last_bin(self):
        chosen, rejected = numbers(500.0, -900.0, 700.0, 2.0), numbers(0.0, 100.0, 0.0, 0.0)
        assert_close(calibration_error(chosen, rejected, 4), error_by_hand(chosen, rejected, 4))

    def test_ties_are_well_calibrated(self):
        assert_close(calibration_error(numbers(1.0, 2.0), numbers(1.0, 2.0), 3), 0.0)

    def test_a_tie_and_another(self):
        chosen, rejected = numbers(1.0, 1.0), numbers(1.0, 0.9)
        assert_close(calibration_error(chosen, rejected, 5), error_by_hand(chosen, rejected, 5))

    def test_gaps_in_two_bins_dont_cancel(self):
        chosen, rejected = numbers(2.0, 0.2), numbers(0.0, 0.4)
        assert_close(calibration_error(chosen, rejected, 2), error_by_hand(chosen, rejected, 2))

    def test_a_python_float(self):
        answer = calibration_error(*(t.requires_grad_() for t in rewards_of_pairs(dtype=torch.float32)), 3)
        assert_equal(type(answer), float)

    @pytest.mark.parametrize("bins", [0, -3])
    def test_too_few_bins(self, bins):
        with raises(ValueError, "bins", bins):
            calibration_error(*rewards_of_pairs(), bins)


class TestFitTemperature:
    def test_the_example_worked_by_hand(self):
        z = 1.5213797068045676  # the root of z³ - z - 2
        assert_close(fit_temperature(numbers(2.5, 0.0), numbers(0.5, 1.0)), 1 / math.log(z), rtol=1e-6, atol=0)

    @pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
    @pytest.mark.parametrize("n", [12, 80])
    def test_the_slope_is_0_there(self, n, scale):
        d = torch.cat([torch.randn(n, dtype=torch.float64) + 0.6, numbers(-0.5, 2.0)])
        temperature = fit_temperature(d * scale, torch.zeros_like(d))
        if not isinstance(temperature, float) or not temperature > 0:
            fail(f"The temperature must be a float above 0, got {temperature!r}.", evidence=temperature)
        b = scale / temperature
        s = torch.sigmoid(-b * d)
        slope, curve = -(d * s).mean(), (d**2 * s * (1 - s)).mean()
        # How far Newton's method would still go in log b, against the millionth that the stub promises.
        assert_close((slope / (curve * b)).item(), 0.0, atol=1e-6)

    @pytest.mark.parametrize("factor", [0.2, 7.0])
    def test_rewards_times_a_factor(self, factor):
        chosen, rejected = numbers(2.0, 1.0, 0.5, -0.5, 0.1), numbers(0.0, 0.3, 0.9, -1.0, 0.2)
        once, more = fit_temperature(chosen, rejected), fit_temperature(factor * chosen, factor * rejected)
        assert_close(more, factor * once, rtol=3e-6, atol=0)

    def test_nearly_no_difference_on_average(self):
        """c - r = 1 and -0.9: T is large.  The root is where 1 · σ(-b) = 0.9 · σ(0.9 b)."""
        temperature = fit_temperature(numbers(1.0, 0.0), numbers(0.0, 0.9))
        b = 1 / temperature
        assert_close(math.exp(log_sigmoid(-b)), 0.9 * math.exp(log_sigmoid(0.9 * b)), rtol=1e-6)

    @pytest.mark.parametrize("d", [(-1.0, 1.0), (0.0, 0.0), (-3.0, 1.0), (-2.0, -0.5)])
    def test_a_mean_that_isnt_above_0(self, d):
        with raises(ValueError, "mean"):
            fit_temperature(numbers(*d), numbers(0.0, 0.0))

    @pytest.mark.parametrize("d", [(1.0, 2.0), (0.0, 0.5)])
    def test_no_pair_is_wrong(self, d):
        with raises(ValueError, "wrong"):
            fit_temperature(numbers(*d), numbers(0.0, 0.0))


def lengths(*values: int) -> torch.Tensor:
    return torch.tensor(values)


class TestLengthReport:
    def test_an_example(self):
        chosen, rejected = numbers(3.0, 1.0, 0.5, 2.0, 1.0, 0.0), numbers(1.0, 2.0, 0.5, 1.0, 3.0, 0.25)
        long, short = lengths(9, 8, 7, 3, 2, 5), lengths(4, 6, 5, 8, 6, 5)
        rewards, differences = [2.0, -1.0, 0.0, 1.0, -2.0, -0.25], [5, 2, 2, -5, -4, 0]
        expected = {"longer": 0.5, "shorter": 0.5, "correlation": float(np.corrcoef(rewards, differences)[0, 1])}
        assert_close(length_report(chosen, rejected, long, short), expected)

    def test_a_model_that_likes_length(self):
        chosen, rejected = numbers(5.0, 6.0, 1.0, 2.0, 2.0), numbers(1.0, 3.0, 3.0, 8.0, 2.0)
        answer = length_report(chosen, rejected, lengths(50, 60, 10, 20, 7), lengths(10, 30, 30, 80, 9))
        assert_close(answer["longer"], 1.0)
        assert_close(answer["shorter"], 0.5 / 3)

    def test_correlation_of_many(self):
        chosen, rejected = rewards_of_pairs(30)
        a, b = torch.randint(200, (2, 30))
        expected = float(np.corrcoef((chosen - rejected).numpy(), (a - b).numpy())[0, 1])
        assert_close(length_report(chosen, rejected, a, b)["correlation"], expected)

    def test_no_longer_ones(self):
        answer = length_report(numbers(1.0, 2.0), numbers(0.0, 3.0), lengths(2, 3), lengths(5, 9))
        assert_close(answer, {"longer": NAN, "shorter": 0.5, "correlation": 1.0})

    def test_equal_lengths_are_neither(self):
        answer = length_report(numbers(1.0, 2.0), numbers(0.0, 3.0), lengths(5, 3), lengths(5, 3))
        assert_close(answer, {"longer": NAN, "shorter": NAN, "correlation": NAN})

    def test_equal_differences_of_rewards(self):
        answer = length_report(numbers(1.0, 2.5), numbers(0.5, 2.0), lengths(5, 3), lengths(4, 4))
        assert_close(answer, {"longer": 1.0, "shorter": 1.0, "correlation": NAN})

    def test_equal_differences_that_have_no_exact_mean(self):
        answer = length_report(numbers(0.1, 0.1, 0.1), numbers(0.0, 0.0, 0.0), lengths(5, 3, 9), lengths(4, 4, 1))
        assert_close(answer["correlation"], NAN)

    def test_equal_differences_of_lengths(self):
        answer = length_report(numbers(1.0, 2.5), numbers(0.5, 4.0), lengths(5, 3), lengths(4, 2))
        assert_close(answer, {"longer": 0.5, "shorter": NAN, "correlation": NAN})

    def test_one_pair(self):
        answer = length_report(numbers(1.0), numbers(0.5), lengths(5), lengths(4))
        assert_close(answer, {"longer": 1.0, "shorter": NAN, "correlation": NAN})

    def test_python_floats(self):
        chosen, rejected = (t.requires_grad_() for t in rewards_of_pairs(dtype=torch.float32))
        answer = length_report(chosen, rejected, torch.arange(7), torch.arange(7).flip(0))
        assert_equal({key: type(value) for key, value in answer.items()}, dict.fromkeys(answer, float))


class TestRemoveLength:
    def test_the_example_worked_by_hand(self):
        assert_close(remove_length(numbers(1.0, 2.0, 4.5), lengths(10, 20, 30)), numbers(2.75, 2.0, 2.75))

    @pytest.mark.parametrize("n", [2, 9])
    def test_matches_polyfit(self, n):
        rewards = torch.randn(n, dtype=torch.float64) + 3
        long = torch.randperm(500)[:n]
        slope, intercept = np.polyfit(long.numpy(), rewards.numpy(), 1)
        expected = rewards - (slope * long + intercept) + rewards.mean()
        assert_close(remove_length(rewards, long), expected)

    def test_lengths_that_differ_by_one(self):
        assert_close(remove_length(numbers(1.0, 4.0), lengths(6, 5)), numbers(2.5, 2.5))

    def test_equal_lengths(self):
        rewards = torch.randn(4, dtype=torch.float64)
        assert_close(remove_length(rewards, lengths(7, 7, 7, 7)), rewards)

    def test_of_one(self):
        assert_close(remove_length(numbers(2.5), lengths(3)), numbers(2.5))

    def test_keeps_the_dtype(self):
        assert_equal(remove_length(torch.randn(4), lengths(7, 1, 3, 9)).dtype, torch.float32)


def counts_of_words(texts: list[str], words: list[str]) -> torch.Tensor:
    place = {word: i for i, word in enumerate(words)}
    found = torch.zeros(len(texts), len(words), dtype=torch.float64)
    for i, text in enumerate(texts):
        for word in text.lower().split():
            if word in place:
                found[i, place[word]] += 1
    return found


def descend(loss: torch.Tensor, model: nn.Module, rate: float) -> None:
    """One step of gradient descent.  An optimizer of torch takes seconds to import what it never uses here."""
    model.zero_grad()
    needs_gradient(loss).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= rate * parameter.grad


@pytest.mark.learning
@pytest.mark.deadline(60)  # less than a second on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_model_learns_a_hidden_taste(self, seed):
        """Answers with more of the tokens 0 and 1 are better.  Held out: it must beat "the longer one"."""
        rng = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)

        def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
            tokens = torch.randint(9, (n, 2, 8), generator=rng)
            mask = torch.arange(8) < torch.randint(3, 9, (n, 2, 1), generator=rng)
            score = ((tokens < 2) & mask).sum(2) + 0.1 * torch.rand(n, 2, generator=rng)
            order = score.argsort(1, descending=True).unsqueeze(2)
            return tokens.take_along_dim(order, 1), mask.take_along_dim(order, 1)

        (tokens, mask), (new, new_mask) = draw(200), draw(200)
        model = RewardModel(Backbone(9, 8), 8)
        for _ in range(120):
            loss = bradley_terry_loss(*(model(tokens[:, k], mask[:, k]) for k in range(2))).mean()
            descend(loss, model, 1.0)
        with torch.no_grad():
            accuracy = ranking_accuracy(*(model(new[:, k], new_mask[:, k]) for k in range(2)))
        longer = ranking_accuracy(*(new_mask[:, k].sum(1).double() for k in range(2)))
        if not accuracy > longer + 0.1:
            fail(f"On new pairs it is right in {accuracy:.2f}, 'the longer one' in {longer:.2f}.", evidence=accuracy)

    @pytest.mark.parametrize("seed", range(3))
    def test_liked_films_against_disliked_ones(self, seed, reviews):
        texts, liked = reviews
        rng = np.random.default_rng(seed)
        fresh, rotten = (rng.permutation(np.flatnonzero(liked == k))[:1500] for k in (1, 0))
        common: dict[str, int] = {}
        for i in np.concatenate([fresh[:1000], rotten[:1000]]):
            for word in set(texts[i].lower().split()):
                common[word] = common.get(word, 0) + 1
        words = sorted(common, key=common.get, reverse=True)[:200]
        chosen, rejected = (counts_of_words([texts[i] for i in rows], words) for rows in (fresh, rotten))
        w = fit_reward(chosen[:1000], rejected[:1000], 5.0)
        accuracy = ranking_accuracy(chosen[1000:] @ w, rejected[1000:] @ w)
        longer = ranking_accuracy(*(c[1000:].sum(1) for c in (chosen, rejected)))
        if not accuracy > longer + 0.05:
            fail(f"On new reviews it is right in {accuracy:.3f}, 'the longer one' in {longer:.3f}.", evidence=accuracy)

    @pytest.mark.parametrize("seed", range(3))
    def test_choices_of_travellers(self, seed):
        """A linear reward of journeys, fitted to some people's choices, foretells those of other people."""
        chosen, rejected, persons = journeys_or_skip()
        held = np.isin(persons, np.random.default_rng(seed).permutation(np.unique(persons))[:80])
        # In ten guilders, hours, changes, and steps of comfort.
        chosen, rejected = (torch.tensor(journeys / [1000, 60, 1, 1]) for journeys in (chosen, rejected))
        w = fit_reward(chosen[~held], rejected[~held], 1.0)
        assert_equal([weight < 0 for weight in w.tolist()], [True] * 4)  # nobody likes any of the four
        accuracy = ranking_accuracy(chosen[held] @ w, rejected[held] @ w)
        cheaper = ranking_accuracy(-chosen[held, 0], -rejected[held, 0])
        # Five seeds: 0.67 to 0.71, against 0.62 to 0.65; never less than 0.05 apart.
        if not accuracy > cheaper + 0.02:
            fail(f"Of new people it is right in {accuracy:.3f}, 'the cheaper one' in {cheaper:.3f}.", evidence=accuracy)


@pytest.mark.deadline(60)  # the pretended device takes a busy machine a while
class TestOnTheGpu:
    def test_losses(self, gpu):
        chosen, rejected = (t.requires_grad_() for t in rewards_of_pairs())
        gpu.check(bradley_terry_loss, chosen, rejected, 0.3)
        ranks = torch.tensor([[0, 1, -1], [1, 1, 1], [2, 0, 1]])
        gpu.check(ranking_loss, torch.randn(3, 3, dtype=torch.float64, requires_grad=True), ranks)

    def test_a_model(self, gpu):
        gpu.check(a_model(), torch.randint(9, (2, 5)), mask_of("11100", "01110"))

    def test_a_linear_reward(self, gpu):
        gpu.check(fit_reward, *preferences(12, 3), 0.5)

    def test_numbers(self, gpu):
        pair = (numbers(2.0, 1.0, 0.5, -0.5), numbers(0.0, 0.3, 0.9, -1.0))
        here = gpu(pair)
        assert_close(ranking_accuracy(*here), ranking_accuracy(*pair))
        assert_close(calibration_error(*here, 3), calibration_error(*pair, 3))
        assert_close(fit_temperature(*here), fit_temperature(*pair), rtol=3e-6)
        both = (lengths(5, 2, 7, 1), lengths(4, 6, 1, 1))
        assert_close(length_report(*here, *gpu(both)), length_report(*pair, *both))

    def test_without_length(self, gpu):
        gpu.check(remove_length, numbers(2.0, 1.0, 0.5), lengths(3, 9, 5))
