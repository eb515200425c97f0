"""Judges k05_distillation against torch's kl_div, by exact texts and chances, and by what students learn of digits."""

import copy
import math

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_09_inference.k05_distillation import (
    HiddenStateLoss,
    combined_loss,
    distill,
    distillation_loss,
    generalized_js,
    match_layers,
    on_policy_loss,
    sample,
)

pytestmark = [
    from_scratch("torch.nn.functional.kl_div", "torch.nn.KLDivLoss"),
    pure("distill"),
    pytest.mark.deadline(60),  # torch imports its compiler at the first optimizer, which takes a busy machine a while
]

F64 = torch.float64
LN3 = math.log(3)


def rand(*shape: int, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(shape, dtype=F64)


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL(p ‖ q) of each row, of two tensors of logits."""
    rows = torch.nn.functional.kl_div(q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="none")
    return rows.sum(-1)


def gradient(function, leaf: torch.Tensor, *others, **options) -> torch.Tensor:
    leaf = leaf.detach().clone().requires_grad_()
    return torch.autograd.grad(function(leaf, *others, **options), leaf)[0]


class TestDistillationLoss:
    def test_the_example_worked_by_hand(self):
        found = distillation_loss(torch.zeros(1, 2), torch.tensor([[2 * LN3, 0.0]]), 2.0)
        assert_close(found, torch.tensor(4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))))

    @pytest.mark.parametrize("shape", [(7, 5), (1, 3), (2, 3, 4), (6,)])
    @pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 20.0])
    def test_matches_torch(self, shape, temperature):
        s, t = rand(*shape), rand(*shape)
        expected = temperature**2 * kl(t / temperature, s / temperature).mean()
        assert_close(distillation_loss(s, t, temperature), expected)

    def test_the_temperature_is_2_by_default(self):
        s, t = rand(4, 5), rand(4, 5)
        assert_close(distillation_loss(s, t), 4 * kl(t / 2, s / 2).mean())

    @pytest.mark.parametrize("temperature", [1.0, 5.0])
    def test_its_gradient(self, temperature):
        s, t = rand(4, 3), rand(4, 3)
        # By the calculus: T² · 1/T · (q - p) for each of the rows.
        expected = temperature * ((s / temperature).softmax(-1) - (t / temperature).softmax(-1)) / 4
        assert_close(gradient(distillation_loss, s, t, temperature), expected)

    def test_the_gradient_doesnt_shrink_with_the_temperature(self):
        s, t = rand(5, 4), rand(5, 4)
        apart = (s - s.mean(-1, keepdim=True)) - (t - t.mean(-1, keepdim=True))
        # At a high temperature it is the mean squared difference of the centred logits: Hinton's section 2.1.
        found = gradient(distillation_loss, s, t, 1e4)
        assert_close(found, apart / 20, rtol=1e-2, atol=1e-3)

    def test_no_gradient_reaches_the_teacher(self):
        s, t = rand(4, 3).requires_grad_(), rand(4, 3).requires_grad_()
        distillation_loss(s, t, 3.0).backward()
        assert_equal((s.grad is None, t.grad is None), (False, True))

    def test_0_for_a_perfect_student(self):
        t = rand(6, 4)
        assert_close(distillation_loss(t - 3.0, t, 2.0), torch.tensor(0.0, dtype=F64), atol=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_large_logits(self, dtype):
        s, t = torch.tensor([[0.0, 10_000.0]], dtype=dtype), torch.tensor([[10_000.0, 0.0]], dtype=dtype)
        assert_close(distillation_loss(s, t, 2.0), torch.tensor(20_000.0, dtype=dtype))
        assert_equal(gradient(distillation_loss, s, t, 2.0).isfinite().all().item(), True)

    def test_a_class_that_the_teacher_rules_out(self):
        s, t = rand(3, 4), rand(3, 4)
        t[0, 1], t[2, 0], t[2, 3] = -math.inf, -math.inf, -math.inf
        p, log_q = (t / 2).softmax(-1), (s / 2).log_softmax(-1)
        assert_close(distillation_loss(s, t, 2.0), 4 * (torch.special.xlogy(p, p) - p * log_q).sum(-1).mean())
        assert_close(gradient(distillation_loss, s, t, 2.0), 2 * (log_q.exp() - p) / 3)

    @pytest.mark.parametrize(("one", "other"), [((4, 3), (4, 5)), ((4, 3), (1, 3)), ((6, 3), (3,)), ((2, 7), (7, 2))])
    def test_refuses_other_shapes(self, one, other):
        with raises(ValueError, one, other):
            distillation_loss(torch.zeros(one), torch.zeros(other))

    @pytest.mark.parametrize("temperature", [0, -1.5])
    def test_refuses_temperatures_that_arent_above_0(self, temperature):
        with raises(ValueError, temperature):
            distillation_loss(torch.zeros(2, 3), torch.zeros(2, 3), temperature)

    def test_on_the_gpu(self, gpu):
        gpu.check(distillation_loss, rand(4, 3).requires_grad_(), rand(4, 3), 3.0)


class TestCombinedLoss:
    def test_the_example_worked_by_hand(self):
        found = combined_loss(torch.zeros(1, 2), torch.tensor([[2 * LN3, 0.0]]), torch.tensor([0]), 2.0, 0.5)
        soft = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
        assert_close(found, torch.tensor(0.5 * soft + 0.5 * math.log(2)))

    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    @pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
    def test_matches_torch(self, alpha, temperature):
        s, t, labels = rand(7, 5), rand(7, 5), torch.randint(5, (7,))
        soft = temperature**2 * kl(t / temperature, s / temperature).mean()
        hard = torch.nn.functional.cross_entropy(s, labels)
        assert_close(combined_loss(s, t, labels, temperature, alpha), alpha * soft + (1 - alpha) * hard)

    def test_leading_axes(self):
        s, t, labels = rand(2, 3, 4), rand(2, 3, 4), torch.randint(4, (2, 3))
        labels[1, 0] = -100
        hard = torch.nn.functional.cross_entropy(s.flatten(0, 1), labels.flatten())
        assert_close(combined_loss(s, t, labels, 3.0, 0.3), 0.3 * 9 * kl(t / 3, s / 3).mean() + 0.7 * hard)

    def test_its_defaults(self):
        s, t, labels = rand(4, 5), rand(4, 5), torch.randint(5, (4,))
        assert_close(combined_loss(s, t, labels), combined_loss(s, t, labels, 2.0, 0.5))
        hard = torch.nn.functional.cross_entropy(s, labels)
        assert_close(combined_loss(s, t, labels), 2 * kl(t / 2, s / 2).mean() + 0.5 * hard)

    def test_a_row_without_a_label_counts_in_the_soft_part_alone(self):
        s, t, labels = rand(6, 5), rand(6, 5), torch.tensor([2, -100, -100, 0, 4, -100])
        hard = torch.nn.functional.cross_entropy(s[[0, 3, 4]], labels[[0, 3, 4]])
        assert_close(combined_loss(s, t, labels, 3.0, 0.25), 0.25 * 9 * kl(t / 3, s / 3).mean() + 0.75 * hard)

    def test_no_label_at_all(self):
        s, t, labels = rand(4, 5), rand(4, 5), torch.full((4,), -100)
        assert_close(combined_loss(s, t, labels, 3.0, 0.25), 0.25 * 9 * kl(t / 3, s / 3).mean())
        expected = 0.25 * gradient(distillation_loss, s, t, 3.0)
        assert_close(gradient(combined_loss, s, t, labels, 3.0, 0.25), expected)

    def test_its_gradient(self):
        s, t, labels = rand(3, 4), rand(3, 4), torch.tensor([1, 3, 0])
        soft = 3 * ((s / 3).softmax(-1) - (t / 3).softmax(-1)) / 3
        hard = (s.softmax(-1) - torch.eye(4, dtype=F64)[labels]) / 3
        assert_close(gradient(combined_loss, s, t, labels, 3.0, 0.4), 0.4 * soft + 0.6 * hard)

    def test_no_gradient_reaches_the_teacher(self):
        s, t = rand(4, 3).requires_grad_(), rand(4, 3).requires_grad_()
        combined_loss(s, t, torch.tensor([0, 1, 2, 0])).backward()
        assert_equal((s.grad is None, t.grad is None), (False, True))

    def test_on_the_gpu(self, gpu):
        labels = torch.tensor([0, -100, 2, 1])
        gpu.check(combined_loss, rand(4, 3).requires_grad_(), rand(4, 3), labels, 3.0, 0.3)


class TestMatchLayers:
    def test_the_example_worked_by_hand(self):
        found = torch.tensor([list(pair) for pair in match_layers(4, 12)])
        assert_equal(found, torch.tensor([[0, 2], [1, 5], [2, 8], [3, 11]]))

    @pytest.mark.parametrize(
        ("student", "teacher", "theirs"),
        [
            (1, 1, [0]),
            (1, 6, [5]),
            (3, 3, [0, 1, 2]),
            (3, 10, [2, 5, 9]),
            (4, 6, [0, 2, 3, 5]),
            (5, 7, [0, 1, 3, 4, 6]),
        ],
    )
    def test_rounded_down(self, student, teacher, theirs):
        assert_equal([tuple(pair) for pair in match_layers(student, teacher)], list(enumerate(theirs)))

    @pytest.mark.parametrize("student", range(1, 9))
    def test_the_last_meets_the_last_and_none_meets_two(self, student):
        for teacher in range(student, 20):
            pairs = match_layers(student, teacher)
            assert_equal(tuple(pairs[-1]), (student - 1, teacher - 1))
            assert_equal(len({theirs for _, theirs in pairs}), student)

    @pytest.mark.parametrize(("student", "teacher"), [(5, 4), (0, 3), (-2, 3)])
    def test_refuses_numbers_that_dont_fit(self, student, teacher):
        with raises(ValueError, student, teacher):
            match_layers(student, teacher)


class TestHiddenStateLoss:
    def states(self, width: int, layers: int) -> list[torch.Tensor]:
        return [rand(2, 3, width) for _ in range(layers)]

    def made(self, pairs, student: int = 4, teacher: int = 5) -> HiddenStateLoss:
        torch.manual_seed(8)
        return HiddenStateLoss(student, teacher, pairs).double()

    def test_one_token_by_hand(self):
        loss = HiddenStateLoss(2, 3, [(0, 0)])
        with torch.no_grad():
            loss.projections[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
        # W h = [1, 4, 3], so the differences are 1, 0 and 3.
        found = loss([torch.tensor([[[1.0, 2.0]]])], [torch.tensor([[[0.0, 4.0, 0.0]]])])
        assert_close(found, torch.tensor(10 / 3))

    def test_its_projections(self):
        loss = HiddenStateLoss(4, 5, [(0, 1), (1, 3), (2, 5)])
        assert_equal(isinstance(loss.projections, nn.ModuleList), True)
        assert_equal([(p.in_features, p.out_features, p.bias is None) for p in loss.projections], [(4, 5, True)] * 3)
        assert_equal(sum(p.numel() for p in loss.parameters()), 60)
        assert_equal(len({id(p.weight) for p in loss.projections}), 3)

    def test_its_list_of_pairs_may_be_changed(self):
        pairs = [(0, 1)]
        loss, mine, theirs = self.made(pairs), self.states(4, 2), self.states(5, 2)
        expected = loss(mine, theirs).detach()
        pairs[0] = (1, 0)
        assert_close(loss(mine, theirs).detach(), expected)

    @pytest.mark.parametrize("counting", [None, [[1, 1, 0], [1, 0, 0]]])
    def test_states_stay_as_they_were(self, counting):
        loss, mine, theirs = self.made([(0, 1), (1, 0)]), self.states(4, 2), self.states(5, 2)
        before = [state.clone() for state in mine + theirs]
        loss(mine, theirs, None if counting is None else torch.tensor(counting).bool())
        assert_equal((len(mine), len(theirs)), (2, 2))
        assert_close(mine + theirs, before, rtol=0, atol=0)

    def test_a_projection_where_the_widths_are_equal(self):
        loss = HiddenStateLoss(4, 4, [(0, 0)])
        assert_equal([tuple(p.weight.shape) for p in loss.projections], [(4, 4)])
        with torch.no_grad():
            loss.projections[0].weight.copy_(2 * torch.eye(4))
        x = torch.randn(1, 2, 4)
        assert_close(loss([x], [2 * x]), torch.tensor(0.0))

    @pytest.mark.parametrize("pairs", [[(0, 0)], [(0, 2), (1, 3)], [(2, 0), (0, 3), (1, 1)], [(1, 2), (1, 0)]])
    def test_matches_torch(self, pairs):
        loss, mine, theirs = self.made(pairs), self.states(4, 3), self.states(5, 4)
        mse = torch.nn.functional.mse_loss
        each = [mse(project(mine[i]), theirs[j]) for (i, j), project in zip(pairs, loss.projections, strict=True)]
        assert_close(loss(mine, theirs).detach(), torch.stack(each).mean().detach())

    @pytest.mark.parametrize("counting", [[[1, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 1, 0]], [[1, 1, 1], [1, 1, 1]]])
    def test_only_what_the_mask_leaves_counts(self, counting):
        loss, mine, theirs = self.made([(0, 1), (1, 0)]), self.states(4, 2), self.states(5, 2)
        mask = torch.tensor(counting).bool()
        projected = [loss.projections[0](mine[0]) - theirs[1], loss.projections[1](mine[1]) - theirs[0]]
        expected = torch.stack([apart[mask].square().mean() for apart in projected]).mean()
        assert_close(loss(mine, theirs, mask).detach(), expected.detach())

    def test_what_is_masked_may_be_nan(self):
        loss, mine, theirs = self.made([(0, 0)]), self.states(4, 1), self.states(5, 1)
        mask = torch.tensor([[True, False, True], [True, True, False]])
        expected = loss(mine, theirs, mask)
        (before,) = torch.autograd.grad(expected, loss.projections[0].weight)
        mine[0][0, 1], theirs[0][1, 2], mine[0][1, 2] = math.nan, math.nan, math.inf
        mine[0].requires_grad_()
        found = loss(mine, theirs, mask)
        assert_close(found.detach(), expected.detach())
        found.backward()
        assert_close(loss.projections[0].weight.grad, before)
        assert_equal(mine[0].grad.isfinite().all().item(), True)

    def test_0_if_no_token_counts(self):
        loss, mine, theirs = self.made([(0, 0), (1, 1)]), self.states(4, 2), self.states(5, 2)
        found = loss(mine, theirs, torch.zeros(2, 3, dtype=torch.bool))
        assert_close(found.detach(), torch.tensor(0.0, dtype=F64))

    def test_gradients(self):
        loss, mine, theirs = self.made([(0, 0)]), self.states(4, 1), self.states(5, 1)
        leaves = [mine[0].requires_grad_(), theirs[0].requires_grad_()]
        loss(mine, theirs).backward()
        weight = loss.projections[0].weight
        apart = (leaves[0] @ weight.T - leaves[1]).detach()
        assert_close(leaves[0].grad, 2 / 30 * apart @ weight.detach())
        assert_close(weight.grad, 2 / 30 * torch.einsum("bno,bni->oi", apart, leaves[0].detach()))
        assert_equal(leaves[1].grad is None, True)

    def test_on_the_gpu(self, gpu):
        loss, mine, theirs = self.made([(0, 1), (1, 0)]), self.states(4, 2), self.states(5, 2)
        mask = torch.tensor([[True, False, True], [True, True, False]])
        gpu.check(loss, mine, theirs, mask)


class TestGeneralizedJs:
    def test_the_example_worked_by_hand(self):
        s, t = torch.zeros(1, 2, dtype=F64), torch.tensor([[LN3, 0.0]], dtype=F64)
        found = [generalized_js(s, t, beta).item() for beta in (0.0, 1.0, 0.5)]
        assert_close(found, [0.1308, 0.1438, 0.0338], atol=5e-5, rtol=0)  # rounded to 4 digits

    @pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (6,)])
    @pytest.mark.parametrize("beta", [0.1, 0.5, 0.8])
    def test_matches_torch_between_the_ends(self, beta, shape):
        s, t = rand(*shape), rand(*shape)
        mixture = (beta * t.softmax(-1) + (1 - beta) * s.softmax(-1)).log()
        expected = beta * kl(t, mixture).mean() + (1 - beta) * kl(s, mixture).mean()
        assert_close(generalized_js(s, t, beta), expected)

    def test_float64_keeps_its_digits(self):
        s, t = rand(5, 4), rand(5, 4)
        mixture = (0.3 * t.softmax(-1) + 0.7 * s.softmax(-1)).log()
        expected = 0.3 * kl(t, mixture).mean() + 0.7 * kl(s, mixture).mean()
        assert_close(generalized_js(s, t, 0.3), expected, rtol=1e-10, atol=0)

    def test_half_and_half_is_scipys(self):
        from scipy.spatial.distance import jensenshannon

        s, t = rand(4, 6), rand(4, 6)
        expected = jensenshannon(t.softmax(-1).numpy(), s.softmax(-1).numpy(), axis=1) ** 2
        assert_close(generalized_js(s, t), torch.tensor(expected.mean()))

    @pytest.mark.parametrize("beta", [0, 0.0])
    def test_the_forward_end(self, beta):
        s, t = rand(5, 4), rand(5, 4)
        assert_close(generalized_js(s, t, beta), kl(t, s).mean())

    @pytest.mark.parametrize("beta", [1, 1.0])
    def test_the_reverse_end(self, beta):
        s, t = rand(5, 4), rand(5, 4)
        assert_close(generalized_js(s, t, beta), kl(s, t).mean())

    @pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
    def test_gradients(self, beta):
        s, t = rand(3, 4), rand(3, 4)
        assert torch.autograd.gradcheck(lambda s: generalized_js(s, t, beta), s.clone().requires_grad_())
        leaves = [s.clone().requires_grad_(), t.clone().requires_grad_()]
        generalized_js(*leaves, beta).backward()
        assert_equal((leaves[0].grad is None, leaves[1].grad is None), (False, True))

    @pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
    def test_large_logits(self, beta):
        s = torch.tensor([[0.0, 10_000.0, 0.0]], dtype=F64, requires_grad=True)
        t = torch.tensor([[10_000.0, 0.0, 0.0]], dtype=F64)
        found = generalized_js(s, t, beta)
        # The two have nothing in common, so the mixture is β or 1 - β where they are.
        ends = {0.0: 10_000.0, 1.0: 10_000.0, 0.25: -0.25 * math.log(0.25) - 0.75 * math.log(0.75)}
        assert_close(found.detach(), torch.tensor(ends[beta], dtype=F64))
        found.backward()
        assert_equal(s.grad.isfinite().all().item(), True)

    @pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
    def test_only_what_the_mask_leaves_counts(self, beta):
        s, t = rand(2, 3, 4), rand(2, 3, 4)
        mask = torch.tensor([[True, False, False], [True, True, False]])
        assert_close(generalized_js(s, t, beta, mask), generalized_js(s[mask], t[mask], beta))
        expected = torch.stack([generalized_js(s[i, j], t[i, j], beta) for i, j in ((0, 0), (1, 0), (1, 1))]).mean()
        assert_close(generalized_js(s, t, beta, mask), expected)

    @pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
    def test_0_if_no_row_counts(self, beta):
        found = generalized_js(rand(2, 3, 4), rand(2, 3, 4), beta, torch.zeros(2, 3, dtype=torch.bool))
        assert_close(found, torch.tensor(0.0, dtype=F64))

    @pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
    def test_the_dtype_is_the_students(self, beta):
        s, t = torch.randn(3, 4), torch.randn(3, 4)
        assert_equal(generalized_js(s, t, beta).dtype, torch.float32)
        assert_close(generalized_js(s, t, beta), generalized_js(s.double(), t.double(), beta).float())

    @pytest.mark.parametrize("beta", [-0.1, 1.5])
    def test_refuses_betas_outside(self, beta):
        with raises(ValueError, beta):
            generalized_js(torch.zeros(2, 3), torch.zeros(2, 3), beta)

    @pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
    def test_on_the_gpu(self, gpu, beta):
        mask = torch.tensor([True, False, True, True])
        gpu.check(generalized_js, rand(4, 3).requires_grad_(), rand(4, 3), beta, mask)


class Bigram(nn.Module):
    """Logits that depend on the last token alone."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(logits.clone())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.weight[ids]


class Sums(nn.Module):
    """Logits that depend on all tokens so far: on their sum and their number, modulo the vocabulary."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(logits.clone())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        at = torch.arange(ids.shape[1], device=ids.device)
        return self.weight[(ids.cumsum(1) + 2 * at) % self.weight.shape[0]]


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def certain(vocabulary: int) -> torch.Tensor:
    """Logits that leave no choice: token 3 i + 1 after i."""
    return 1000.0 * torch.eye(vocabulary, dtype=F64)[(3 * torch.arange(vocabulary) + 1) % vocabulary]


class TestSample:
    def test_a_model_that_leaves_no_choice(self):
        found = sample(Bigram(certain(7)), torch.tensor([[2, 0], [0, 5]]), 4)
        assert_equal(found, torch.tensor([[2, 0, 1, 4, 6, 5], [0, 5, 2, 0, 1, 4]]))

    def test_it_looks_at_all_tokens_so_far(self):
        weight = certain(7)
        ids, prompts = [[2, 0, 3], [1, 1, 6]], torch.tensor([[2, 0, 3], [1, 1, 6]])
        for row in ids:
            for _ in range(5):
                row.append(int(weight[(sum(row) + 2 * (len(row) - 1)) % 7].argmax()))
        assert_equal(sample(Sums(weight), prompts, 5), torch.tensor(ids))

    def test_its_chances(self):
        model = Bigram(torch.tensor([[0.0, 1.0, 2.0], [1.5, 0.0, -1.0], [0.0, 0.0, 0.0]], dtype=F64))
        rows = 20_000
        found = sample(model, torch.zeros(rows, 1, dtype=torch.int64), 2, seeded())
        step = model.weight.detach().softmax(-1)
        expected = step[0][:, None] * step  # of the pairs
        counted = torch.zeros(3, 3, dtype=F64)
        for i in range(3):
            for j in range(3):
                counted[i, j] = ((found[:, 1] == i) & (found[:, 2] == j)).sum()
        chi2 = ((counted - rows * expected) ** 2 / (rows * expected)).sum().item()
        if chi2 > 40:  # of 8 degrees of freedom: by chance once in 300,000 times
            fail(f"The tokens aren't drawn with the chances of the softmax: χ² = {chi2:.0f}.", evidence=round(chi2, 3))

    def test_the_same_seed_gives_the_same_text(self):
        model, prompts = Sums(rand(5, 5)), torch.tensor([[1, 2], [3, 4], [0, 0]])
        one, other = sample(model, prompts, 12, seeded(3)), sample(model, prompts, 12, seeded(3))
        assert_equal(one, other)
        assert_equal(torch.equal(one, sample(model, prompts, 12, seeded(4))), False)

    def test_it_draws_from_no_other_generator(self):
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        sample(Sums(rand(5, 5)), torch.tensor([[1, 2]]), 4, seeded())
        torch.manual_seed(1)
        assert_equal(torch.equal(torch.random.get_rng_state(), before), True)

    @pytest.mark.parametrize(("rows", "n", "new"), [(1, 1, 1), (3, 2, 5), (2, 4, 0)])
    def test_its_shape_and_the_prompt(self, rows, n, new):
        prompts = torch.randint(5, (rows, n))
        found = sample(Bigram(rand(5, 5)), prompts, new)
        assert_equal((tuple(found.shape), found.dtype), ((rows, n + new), torch.int64))
        assert_equal(found[:, :n], prompts)

    def test_nothing_is_recorded(self):
        recorded = []

        def model(ids):
            recorded.append(torch.is_grad_enabled())
            return weight[ids]

        weight = rand(5, 5).requires_grad_()
        sample(model, torch.tensor([[1]]), 3)
        assert_equal(any(recorded), False)
        assert_equal(torch.is_grad_enabled(), True)

    def test_on_the_gpu(self, gpu):
        model = Bigram(certain(7))
        found = sample(gpu(model), gpu(torch.tensor([[2, 0]])), 3, gpu.generator(1))
        assert_equal(found.device.type, gpu.device.type)
        assert_equal(found.cpu(), torch.tensor([[2, 0, 1, 4, 6]]))


class TestOnPolicyLoss:
    PROMPTS = torch.tensor([[2, 0, 3], [1, 4, 4]])

    def test_a_student_that_leaves_no_choice(self):
        # It says the expected tokens surely: the reverse KL is minus the teacher's log chance of each.
        teacher, weight = Bigram(rand(5, 5)), certain(5)
        ids = sample(Bigram(weight), self.PROMPTS, 3)
        log_p = teacher.weight.detach().log_softmax(-1)
        expected = -log_p[ids[:, 2:-1], ids[:, 3:]].mean()
        assert_close(on_policy_loss(Bigram(weight), teacher, self.PROMPTS, 3).detach(), expected)

    @pytest.mark.parametrize("kind", [Bigram, Sums])
    @pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("new", [1, 4])
    def test_the_divergence_at_each_new_token(self, new, beta, kind):
        student, teacher = kind(rand(5, 5)), kind(rand(5, 5))
        ids = sample(student, self.PROMPTS, new, seeded())
        mine, theirs = student(ids)[:, 2:-1].detach(), teacher(ids)[:, 2:-1].detach()
        found = on_policy_loss(student, teacher, self.PROMPTS, new, beta, seeded())
        assert_close(found.detach(), generalized_js(mine, theirs, beta))

    def test_the_reverse_kl_by_default(self):
        student, teacher = Sums(rand(5, 5)), Sums(rand(5, 5))
        ids = sample(student, self.PROMPTS, 4, seeded())
        expected = kl(student(ids)[:, 2:-1].detach(), teacher(ids)[:, 2:-1].detach()).mean()
        found = on_policy_loss(student, teacher, self.PROMPTS, 4, generator=seeded())
        assert_close(found.detach(), expected)

    def test_a_prompt_of_one_token(self):
        student, teacher, prompts = Sums(rand(5, 5)), Sums(rand(5, 5)), torch.tensor([[3], [0]])
        ids = sample(student, prompts, 2, seeded())
        expected = kl(student(ids)[:, :-1].detach(), teacher(ids)[:, :-1].detach()).mean()
        assert_close(on_policy_loss(student, teacher, prompts, 2, 1.0, seeded()).detach(), expected)

    def test_the_text_is_the_students(self):
        # The teacher never says a 0, the student says nothing else: then only row 0 of either is looked at.
        mine, theirs = rand(3, 3), rand(3, 3)
        mine[0, 0], mine[1, 0], mine[2, 0] = 200.0, 200.0, 200.0
        theirs[:, 0] = -200.0
        student, teacher = Bigram(mine), Bigram(theirs)
        on_policy_loss(student, teacher, torch.tensor([[0, 0]]), 6, 0.5, seeded()).backward()
        assert_equal(student.weight.grad[1:].abs().max().item(), 0.0)

    @pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
    def test_its_gradient_is_that_of_the_logits_alone(self, beta):
        student, teacher = Sums(rand(5, 5)), Sums(rand(5, 5))
        ids = sample(student, self.PROMPTS, 4, seeded())
        generalized_js(student(ids)[:, 2:-1], teacher(ids)[:, 2:-1].detach(), beta).backward()
        expected, student.weight.grad = student.weight.grad.clone(), None
        on_policy_loss(student, teacher, self.PROMPTS, 4, beta, seeded()).backward()
        assert_close(student.weight.grad, expected)
        assert_equal(teacher.weight.grad is None, True)

    def test_a_student_learns_from_its_own_text(self):
        student, teacher = Bigram(torch.zeros(4, 4)), Bigram(2 * torch.eye(4).roll(1, 0))
        optimizer, prompts = torch.optim.Adam([student.weight], lr=0.1), torch.arange(4).repeat(8)[:, None]
        for step in range(80):
            optimizer.zero_grad()
            on_policy_loss(student, teacher, prompts, 3, 1.0, seeded(step)).backward()
            optimizer.step()
        apart = (student.weight.softmax(-1) - teacher.weight.softmax(-1)).abs().max().item()
        if apart > 0.05:  # it is below 0.01 for each of 20 seeds, and 0.43 at the start
            fail(
                f"After 80 steps a chance of the student is still {apart:.2f} away from the teacher's.", evidence=apart
            )

    def test_on_the_gpu(self, gpu):
        student, teacher = Bigram(certain(5) / 20), Bigram(rand(5, 5))
        here = gpu(student)
        found = on_policy_loss(here, gpu(teacher), gpu(self.PROMPTS), 3, 1.0, gpu.generator(1))
        assert_equal(found.device.type, gpu.device.type)
        found.backward()
        assert_equal(here.weight.grad.device.type, gpu.device.type)
        expected = on_policy_loss(student, teacher, self.PROMPTS, 3, 1.0, seeded(1))
        assert_close(found.detach().cpu(), expected.detach())


def network(hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


class TestDistill:
    def trained(self, student, x, labels, teacher, steps, lr, temperature, alpha) -> list[float]:
        """The loop, written once more."""
        optimizer = torch.optim.Adam(student.parameters(), lr=lr)
        losses = []
        for _ in range(steps):
            s = student(x)
            loss = torch.nn.functional.cross_entropy(s, labels)
            if teacher is not None:
                soft = temperature**2 * kl(teacher / temperature, s / temperature).mean()
                loss = alpha * soft + (1 - alpha) * loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    @pytest.mark.parametrize("with_teacher", [False, True])
    @pytest.mark.parametrize(("steps", "lr", "temperature", "alpha"), [(5, 0.02, 3.0, 0.4), (9, 0.005, 1.5, 0.8)])
    def test_matches_a_loop_of_its_own(self, with_teacher, steps, lr, temperature, alpha):
        student = nn.Linear(6, 4).double()
        twin, x, labels = copy.deepcopy(student), rand(8, 6), torch.randint(4, (8,))
        labels[3] = -100
        teacher = rand(8, 4) if with_teacher else None
        found = distill(student, x, labels, teacher, steps, lr, temperature, alpha)
        expected = self.trained(twin, x, labels, teacher, steps, lr, temperature, alpha)
        assert_close(found, expected)
        assert_close([p.detach() for p in student.parameters()], [p.detach() for p in twin.parameters()])

    @pytest.mark.parametrize("with_teacher", [False, True])
    def test_its_defaults(self, with_teacher):
        student = nn.Linear(6, 4).double()
        twin, x, labels = copy.deepcopy(student), rand(8, 6), torch.randint(4, (8,))
        teacher = rand(8, 4) if with_teacher else None
        found = distill(student, x, labels, teacher)
        assert_close(found, self.trained(twin, x, labels, teacher, 150, 0.01, 4.0, 0.9))

    def test_gradients_from_before_dont_count(self):
        student = nn.Linear(6, 4).double()
        twin, x, labels = copy.deepcopy(student), rand(8, 6), torch.randint(4, (8,))
        student(x).sum().backward()
        assert_close(distill(student, x, labels, None, 3), self.trained(twin, x, labels, None, 3, 0.01, 1.0, 0.5))

    def test_plain_floats(self):
        found = distill(nn.Linear(3, 2), torch.randn(4, 3), torch.tensor([0, 1, 1, 0]), None, 2)
        assert_equal([type(loss) for loss in found], [float, float])

    def test_it_leaves_its_data(self):
        x, labels, teacher = rand(4, 3), torch.tensor([0, 1, -100, 0]), rand(4, 2)
        before = copy.deepcopy((x, labels, teacher))
        distill(nn.Linear(3, 2).double(), x, labels, teacher, 2)
        assert_equal((x, labels, teacher), before)

    def test_on_the_gpu(self, gpu):
        student, x, labels, teacher = nn.Linear(6, 4), torch.randn(8, 6), torch.randint(4, (8,)), torch.randn(8, 4)
        here = gpu(student)
        found = distill(here, gpu(x), gpu(labels), gpu(teacher), 3)
        assert_equal({p.device.type for p in here.parameters()}, {gpu.device.type})
        assert_close(found, distill(student, x, labels, teacher, 3), rtol=1e-4)


@pytest.mark.learning
class TestOnDigits:
    """A teacher that knows 1000 images, and students of 16 units: alone, and taught."""

    def split(self, digits, seed: int):
        x, y = torch.tensor(digits[0], dtype=torch.float32) / 16, torch.tensor(digits[1])
        order = torch.randperm(len(x), generator=seeded(seed))
        train, test = order[:1000], order[1000:]
        return x[train], y[train], x[test], y[test]

    def student(self, seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        return network(16)

    def right(self, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
        return (model(x).argmax(-1) == y).double().mean().item()

    def teacher(self, seed: int, x: torch.Tensor, y: torch.Tensor) -> nn.Sequential:
        torch.manual_seed(100 + seed)
        model = network(64)
        distill(model, x, y, None, 100)
        return model

    @pytest.mark.parametrize("seed", range(3))
    def test_a_student_beats_itself_without_a_teacher(self, digits, seed):
        x, y, test_x, test_y = self.split(digits, seed)
        teacher = self.teacher(seed, x, y)
        # 20 images have a label; the teacher answers for all of them.
        labels = torch.where(torch.arange(1000) < 20, y, -100)
        alone, taught = self.student(seed), self.student(seed)
        distill(alone, x[:20], y[:20])
        distill(taught, x, labels, teacher(x).detach())
        gained = self.right(taught, test_x, test_y) - self.right(alone, test_x, test_y)
        if gained < 0.1:  # it was 22 % or more over 12 seeds
            fail(f"The student has {gained:.1%} more right with a teacher; expected 10 % or more.", evidence=gained)

    @pytest.mark.parametrize("seed", range(3))
    def test_a_student_knows_a_digit_that_it_never_saw(self, digits, seed):
        x, y, test_x, test_y = self.split(digits, seed)
        logits = self.teacher(seed, x, y)(x).detach()
        seen, threes = y != 3, test_y == 3
        alone, taught = self.student(seed), self.student(seed)
        distill(alone, x[seen], y[seen])
        distill(taught, x[seen], y[seen], logits[seen], 300, 0.01, 10.0, 1.0)
        assert_equal(self.right(alone, test_x[threes], test_y[threes]), 0.0)
        found = self.right(taught, test_x[threes], test_y[threes])
        if found < 0.5:  # it was 79 % to 96 % over 8 seeds
            fail(f"The taught student knows {found:.0%} of the threes; expected 50 % or more.", evidence=found)
