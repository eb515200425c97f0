"""Judges k03_losses against torch.nn.functional and closed forms, values and gradients, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_04_deep_learning.k03_losses import (
    bce_with_logits,
    cross_entropy,
    focal_loss,
    hinge_loss,
    huber_loss,
    kl_divergence,
    log_softmax,
    mse_loss,
    reduce,
    triplet_loss,
)

pytestmark = [
    from_scratch(
        "torch.nn",
        "torch.log_softmax",
        "torch.special.log_softmax",
        "torch.Tensor.log_softmax",
        "torch.logsumexp",
        "torch.special.logsumexp",
        "torch.Tensor.logsumexp",
        "torch.binary_cross_entropy_with_logits",
        "torch.kl_div",
        "torch.triplet_margin_loss",
    ),
    pure(),
]

REDUCTIONS = ["none", "sum", "mean"]
SHAPES = [(2, 3, 4), ()]
INF = math.inf
NEAR_10_000 = 2e-3
"""A tolerance for logits of 10,000 in float32, where numbers are 0.001 apart."""


def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64) * scale


def flat(*shape: int) -> torch.Tensor:
    """Normal numbers (n, m) whose columns lie side by side in memory, not their rows."""
    return normal(*reversed(shape)).T


def both(mine: torch.Tensor, theirs: torch.Tensor, *inputs: torch.Tensor, atol: float | None = None) -> None:
    """Value and gradients, under random upstream gradients, are those of the oracle."""
    assert_close(mine, theirs.detach(), atol=atol)
    upstream = torch.randn_like(theirs)
    expected = torch.autograd.grad(theirs, inputs, upstream)
    assert_close(torch.autograd.grad(mine, inputs, upstream), expected, atol=atol)


def refuses_other_shapes(loss) -> None:
    for one, other in [((4, 1), (4,)), ((3,), (2, 3)), ((5,), (1,))]:
        with raises(ValueError, one, other):
            loss(torch.zeros(one), torch.zeros(other))


def refuses_other_reductions(loss, *inputs: torch.Tensor) -> None:
    for name in ("average", "batchmean"):
        with raises(ValueError, name):
            loss(*inputs, reduction=name)


def assert_dtypes(loss, *inputs: torch.Tensor, **options) -> None:
    """The loss has the dtype of what goes in."""
    for dtype in (torch.float32, torch.float64):
        cast = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
        assert_equal(str(loss(*cast, **options).dtype), str(dtype))


class TestReduce:
    @pytest.mark.parametrize("shape", [(5,), (2, 3), ()])
    def test_mean_sum_and_none(self, shape):
        losses = normal(*shape) + 2
        assert_close(reduce(losses, "none"), losses)
        assert_close(reduce(losses, "sum"), losses.sum())
        assert_close(reduce(losses, "mean"), losses.sum() / losses.numel())

    @pytest.mark.parametrize("name", ["average", "Mean", ""])
    def test_another_reduction_is_refused(self, name):
        with raises(ValueError, name):
            reduce(torch.ones(3), name)

    def test_gradients_pass(self):
        losses = normal(2, 3).requires_grad_()
        assert_close(torch.autograd.grad(reduce(losses, "mean"), losses)[0], torch.full((2, 3), 1 / 6).double())


class TestMseLoss:
    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_torch(self, shape, reduction):
        predictions, targets = normal(*shape).requires_grad_(), normal(*shape)
        both(
            mse_loss(predictions, targets, reduction),
            F.mse_loss(predictions, targets, reduction=reduction),
            predictions,
        )

    def test_the_mean_by_default(self):
        assert_close(mse_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])), torch.tensor(4.5))

    def test_what_would_broadcast_is_refused(self):
        refuses_other_shapes(mse_loss)

    def test_another_reduction_is_refused(self):
        refuses_other_reductions(mse_loss, torch.zeros(3), torch.zeros(3))

    def test_keeps_the_dtype(self):
        assert_dtypes(mse_loss, normal(3), normal(3))


class TestHuberLoss:
    def test_the_example_worked_by_hand(self):
        found = huber_loss(torch.tensor([0.5, 3.0, -3.0]), torch.zeros(3), reduction="none")
        assert_close(found, torch.tensor([0.125, 2.5, 2.5]))

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("delta", [0.3, 2.5])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_torch(self, shape, delta, reduction):
        predictions, targets = normal(*shape, scale=2).requires_grad_(), normal(*shape)
        expected = F.huber_loss(predictions, targets, reduction=reduction, delta=delta)
        both(huber_loss(predictions, targets, delta, reduction), expected, predictions)

    def test_its_defaults(self):
        assert_close(huber_loss(torch.tensor([0.5, 3.0]), torch.zeros(2)), torch.tensor(2.625 / 2))

    def test_the_gradient_at_0(self):
        predictions = torch.tensor([1.0, -2.0], requires_grad=True)
        loss = huber_loss(predictions, predictions.detach().clone(), reduction="sum")
        assert_close(torch.autograd.grad(loss, predictions)[0], torch.zeros(2))

    @pytest.mark.parametrize("error", [1e30, -1e30, 1e22])
    def test_a_huge_error_keeps_value_and_gradient(self, error):
        predictions = torch.tensor([error, 0.5], requires_grad=True)
        losses = huber_loss(predictions, torch.zeros(2), 2.0, "none")
        assert_close(losses, torch.tensor([2 * abs(error), 0.125]))
        assert_close(torch.autograd.grad(losses.sum(), predictions)[0], torch.tensor([math.copysign(2, error), 0.5]))

    def test_what_would_broadcast_is_refused(self):
        refuses_other_shapes(huber_loss)

    def test_another_reduction_is_refused(self):
        refuses_other_reductions(huber_loss, torch.zeros(3), torch.zeros(3))

    def test_keeps_the_dtype(self):
        assert_dtypes(huber_loss, normal(3, scale=3), normal(3))


class TestLogSoftmax:
    @pytest.mark.parametrize("dim", [0, 1, -1, -2])
    def test_matches_torch_along_any_axis(self, dim):
        x = normal(4, 5, 6, scale=3).requires_grad_()
        both(log_softmax(x, dim), F.log_softmax(x, dim), x)

    def test_the_last_axis_by_default(self):
        x = normal(3, 4)
        assert_close(log_softmax(x), F.log_softmax(x, -1))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_extreme_logits(self, dtype):
        x = torch.tensor(
            [[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [-1e4, -1e4 + 1, -1e4 - 1]], dtype=dtype, requires_grad=True
        )
        upstream = torch.randn(3, 3).to(dtype)
        found = log_softmax(x)
        # float32's numbers near 10,000 are 0.001 apart.
        assert_close(found, F.log_softmax(x, -1).detach(), atol=NEAR_10_000 if dtype == torch.float32 else None)
        expected = torch.autograd.grad(F.log_softmax(x, -1), x, upstream)
        assert_close(torch.autograd.grad(found, x, upstream), expected)

    def test_each_row_has_its_own_largest_logit(self):
        x = torch.tensor([[1e4, 1e4 - 1], [-1e4, -1e4 - 1]])
        expected = torch.log_softmax(torch.tensor([[0.0, -1.0]] * 2), -1)
        assert_close(log_softmax(x), expected, atol=NEAR_10_000, rtol=0)  # the spacing of float32's numbers there

    def test_a_class_that_is_ruled_out_disturbs_no_other(self):
        x = torch.tensor([[0.0, -INF, 1.0], [-INF, 2.0, -INF]], dtype=torch.float64, requires_grad=True)
        found = log_softmax(x)
        assert_close(found, F.log_softmax(x, -1).detach())
        (gradient,) = torch.autograd.grad(found[0, 0] + 2 * found[0, 2] + found[1, 1], x)
        p = torch.tensor([0.0, 1.0], dtype=torch.float64).softmax(0)
        assert_close(gradient, torch.tensor([[1 - 3 * p[0], 0, 2 - 3 * p[1]], [0.0, 0.0, 0.0]], dtype=torch.float64))


def some_classes(*shape: int, classes: int, ignore_index: int = -100) -> torch.Tensor:
    """Targets, about a third of which are ignored, but never the first."""
    targets = torch.randint(0, classes, shape)
    ignored = torch.rand(shape) < 0.35
    ignored.view(-1)[0] = False
    return targets.masked_fill(ignored, ignore_index)


class TestCrossEntropy:
    LOGITS = torch.tensor([[0.5, 0.25, 0.125, 0.125]] * 2).log()

    def test_the_example_worked_by_hand(self):
        assert_close(cross_entropy(self.LOGITS[:1], torch.tensor([1])), torch.tensor(1.3863), atol=1e-4, rtol=0)

    def test_smoothing_as_worked_by_hand(self):
        found = cross_entropy(self.LOGITS[:1], torch.tensor([1]), label_smoothing=0.2)
        assert_close(found, torch.tensor(1.4210), atol=1e-4, rtol=0)  # 4 digits

    def test_weights_as_worked_by_hand(self):
        found = cross_entropy(self.LOGITS, torch.tensor([1, 0]), torch.tensor([1.0, 3, 1, 1]))
        assert_close(found, torch.tensor(1.2130), atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize(("n", "classes"), [(1, 3), (4, 6)])
    def test_matches_torch(self, n, classes, reduction):
        logits, targets = normal(n, classes, scale=2).requires_grad_(), torch.randint(0, classes, (n,))
        expected = F.cross_entropy(logits, targets, reduction=reduction)
        both(cross_entropy(logits, targets, reduction=reduction), expected, logits)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_weights_match_torch(self, reduction):
        logits, targets, weight = normal(7, 4).requires_grad_(), torch.randint(0, 4, (7,)), torch.rand(4).double() * 3
        expected = F.cross_entropy(logits, targets, weight, reduction=reduction)
        both(cross_entropy(logits, targets, weight, reduction=reduction), expected, logits)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("ignore_index", [-1, 0, 2, 99])
    def test_an_ignored_example_counts_nowhere(self, ignore_index, reduction):
        logits, targets = normal(9, 4).requires_grad_(), some_classes(9, classes=4, ignore_index=ignore_index)
        if ignore_index in (0, 2):
            targets[0] = 1
        expected = F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction=reduction)
        both(cross_entropy(logits, targets, ignore_index=ignore_index, reduction=reduction), expected, logits)

    def test_it_ignores_minus_100_by_default(self):
        logits, targets = normal(9, 4).requires_grad_(), some_classes(9, classes=4)
        both(cross_entropy(logits, targets), F.cross_entropy(logits, targets), logits)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("label_smoothing", [0.1, 0.6])
    def test_smoothing_matches_torch(self, label_smoothing, reduction):
        logits, targets = normal(6, 5).requires_grad_(), torch.randint(0, 5, (6,))
        expected = F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction=reduction)
        both(cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction=reduction), expected, logits)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
    @pytest.mark.parametrize("ignore_index", [-100, 2])
    def test_all_options_together_match_torch(self, ignore_index, label_smoothing, reduction):
        logits, weight = normal(8, 5).requires_grad_(), torch.rand(5).double() * 3 + 0.1
        targets = some_classes(8, classes=5, ignore_index=ignore_index)
        targets[0] = 1
        given = (logits, targets, weight)
        options = dict(ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction)
        both(cross_entropy(*given, **options), F.cross_entropy(*given, **options), logits)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("shape", [(5,), (2, 3)])
    def test_images_have_their_classes_on_axis_1(self, shape, reduction):
        logits, weight = normal(4, 5, *shape).requires_grad_(), torch.rand(5).double() + 0.1
        targets = some_classes(4, *shape, classes=5)
        expected = F.cross_entropy(logits, targets, weight, label_smoothing=0.2, reduction=reduction)
        both(cross_entropy(logits, targets, weight, -100, 0.2, reduction), expected, logits)

    def test_of_one_class_alone(self):
        logits, targets = normal(3, 1).requires_grad_(), torch.tensor([0, -100, 0])
        both(cross_entropy(logits, targets), F.cross_entropy(logits, targets), logits)

    def test_rows_need_not_lie_side_by_side(self):
        logits, targets = flat(6, 4).requires_grad_(), torch.randint(0, 4, (12,))[::2]
        both(cross_entropy(logits, targets), F.cross_entropy(logits, targets), logits)

    def test_if_all_are_ignored(self):
        logits, targets = normal(3, 4).requires_grad_(), torch.full((3,), -100)
        assert_close(cross_entropy(logits, targets), torch.tensor(math.nan).double())
        loss = cross_entropy(logits, targets, reduction="sum")
        assert_close(loss, torch.tensor(0.0).double())
        assert_close(torch.autograd.grad(loss, logits)[0], torch.zeros(3, 4).double())

    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
    def test_extreme_logits(self, label_smoothing):
        logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]], requires_grad=True)
        targets = torch.tensor([1, 2, 0])
        mine = cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
        theirs = F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
        both(mine, theirs, logits, atol=NEAR_10_000)  # the spacing of float32's numbers there

    @pytest.mark.parametrize("weight", [None, [1.0, 2, 1]])
    def test_a_class_that_is_ruled_out_does_no_harm(self, weight):
        logits = torch.tensor([[1.0, 0.5, -INF], [-INF, 2.0, 1.0]], dtype=torch.float64, requires_grad=True)
        targets = torch.tensor([0, 2])
        weight = weight and torch.tensor(weight, dtype=torch.float64)
        loss = cross_entropy(logits, targets, weight)
        assert_close(loss, F.cross_entropy(logits, targets, weight).detach())
        pair = torch.tensor([[1.0, 0.5], [1.0, 2.0]], dtype=torch.float64).softmax(-1)
        expected = torch.zeros(2, 3, dtype=torch.float64)
        expected[0, 0], expected[0, 1] = pair[0, 0] - 1, pair[0, 1]
        expected[1, 2], expected[1, 1] = pair[1, 0] - 1, pair[1, 1]
        assert_close(torch.autograd.grad(loss, logits)[0], expected / 2)

    def test_nor_does_it_where_the_example_is_ignored(self):
        logits = torch.tensor([[1.0, 0.5], [-INF, 2.0]], dtype=torch.float64, requires_grad=True)
        loss = cross_entropy(logits, torch.tensor([0, -100]))
        assert_close(loss, F.cross_entropy(logits[:1], torch.tensor([0])).detach())
        (gradient,) = torch.autograd.grad(loss, logits)
        p = torch.tensor([1.0, 0.5], dtype=torch.float64).softmax(-1)
        assert_close(gradient, torch.stack([p - torch.tensor([1.0, 0.0]).double(), torch.zeros(2).double()]))

    @pytest.mark.parametrize(("target", "ignore_index"), [(4, -100), (-1, -100), (-100, -1), (120, 4), (-4, 0)])
    def test_a_target_that_is_no_class_is_refused(self, target, ignore_index):
        targets = torch.tensor([0, 3, target, 1, ignore_index])
        for given in (targets, torch.stack([targets, targets.flip(0)])):
            logits = torch.zeros(given.shape[0], 4, *given.shape[1:])
            with raises(ValueError, target):
                cross_entropy(logits, given, ignore_index=ignore_index)

    def test_a_negative_target_is_refused_among_many_classes(self):
        with raises(ValueError, -100):
            cross_entropy(torch.zeros(2, 200), torch.tensor([5, -100]), ignore_index=0)

    def test_another_reduction_is_refused(self):
        refuses_other_reductions(cross_entropy, torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))

    def test_keeps_the_dtype(self):
        assert_dtypes(cross_entropy, normal(3, 4), torch.tensor([0, 3, 1]), label_smoothing=0.1)

    def test_gradients(self):
        targets, weight = torch.tensor([1, -100, 0, 3]), torch.rand(4).double() + 0.1
        function = lambda x: cross_entropy(x, targets, weight, label_smoothing=0.2)  # noqa: E731
        assert torch.autograd.gradcheck(function, normal(4, 4).requires_grad_())


class TestHingeLoss:
    def test_the_example_worked_by_hand(self):
        found = hinge_loss(torch.tensor([[3.0, 1.0, 2.5]]), torch.tensor([0]))
        assert_close(found, torch.tensor(0.1667), atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize(("n", "classes", "margin"), [(6, 4, 0.5), (1, 3, 2.5), (3, 5, 1.5)])
    def test_matches_torch(self, n, classes, margin, reduction):
        logits, targets = normal(n, classes, scale=2).requires_grad_(), torch.randint(0, classes, (n,))
        expected = F.multi_margin_loss(logits, targets, margin=margin, reduction=reduction)
        both(hinge_loss(logits, targets, margin, reduction), expected, logits)

    def test_its_defaults(self):
        logits, targets = normal(6, 4), torch.randint(0, 4, (6,))
        assert_close(hinge_loss(logits, targets), F.multi_margin_loss(logits, targets))

    def test_nothing_is_lost_beyond_the_margin(self):
        logits = torch.tensor([[9.0, 1.0, 2.0], [1e4, -1e4, 0.0]], requires_grad=True)
        losses = hinge_loss(logits, torch.tensor([0, 0]), reduction="none")
        assert_close(losses, torch.zeros(2))
        assert_close(torch.autograd.grad(losses.sum(), logits)[0], torch.zeros(2, 3))

    @pytest.mark.parametrize("target", [3, -1, -100])
    def test_a_target_that_is_no_class_is_refused(self, target):
        with raises(ValueError, target):
            hinge_loss(torch.zeros(3, 3), torch.tensor([2, target, 0]))

    def test_another_reduction_is_refused(self):
        refuses_other_reductions(hinge_loss, torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))

    def test_keeps_the_dtype(self):
        assert_dtypes(hinge_loss, normal(3, 4), torch.tensor([0, 3, 1]))


class TestBceWithLogits:
    def test_the_example_worked_by_hand(self):
        logits, targets = torch.full((2,), math.log(3)), torch.tensor([1.0, 0.0])
        found = bce_with_logits(logits, targets, reduction="none")
        assert_close(found, torch.tensor([0.2877, 1.3863]), atol=1e-4, rtol=0)  # 4 digits
        found = bce_with_logits(logits, targets, torch.tensor(2.0), "none")
        assert_close(found, torch.tensor([0.5754, 1.3863]), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_torch(self, shape, reduction):
        logits, targets = normal(*shape, scale=3).requires_grad_(), torch.rand(shape).double()
        expected = F.binary_cross_entropy_with_logits(logits, targets, reduction=reduction)
        both(bce_with_logits(logits, targets, reduction=reduction), expected, logits)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("of", [(4,), (3, 1), (), (3, 4)])
    def test_weights_of_positives_match_torch(self, of, reduction):
        logits, targets = normal(3, 4, scale=2).requires_grad_(), torch.rand(3, 4).double()
        weight = torch.rand(of).double() * 4 + 0.2
        expected = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction=reduction)
        both(bce_with_logits(logits, targets, weight, reduction), expected, logits)

    def test_the_mean_by_default(self):
        logits, targets = normal(5), torch.rand(5).double()
        assert_close(bce_with_logits(logits, targets), F.binary_cross_entropy_with_logits(logits, targets))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("weight", [None, 2.5])
    def test_extreme_logits(self, dtype, weight):
        logits = torch.tensor([1e4, 1e4, -1e4, -1e4, 60.0, 60.0, -200.0, -200.0], dtype=dtype, requires_grad=True)
        targets = torch.tensor([0.0, 1.0] * 4, dtype=dtype)
        v = weight or 1.0
        losses = bce_with_logits(logits, targets, weight and torch.tensor(weight, dtype=dtype), "none")
        assert_close(losses, torch.tensor([1e4, 0, 0, v * 1e4, 60, 0, 0, v * 200], dtype=dtype))
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert_close(gradient, torch.tensor([1, 0, 0, -v, 1, 0, 0, -v], dtype=dtype))

    @pytest.mark.parametrize("v", [1.0, 3.0])
    def test_the_gradient_at_a_logit_of_0(self, v):
        logits, targets = (
            torch.zeros(3, dtype=torch.float64, requires_grad=True),
            torch.tensor([0.0, 1.0, 0.3]).double(),
        )
        loss = bce_with_logits(logits, targets, torch.tensor(v).double(), "sum")
        (gradient,) = torch.autograd.grad(loss, logits)
        assert_close(gradient, (1 - targets) / 2 - v * targets / 2)

    def test_what_would_broadcast_is_refused(self):
        refuses_other_shapes(bce_with_logits)

    def test_another_reduction_is_refused(self):
        refuses_other_reductions(bce_with_logits, torch.zeros(3), torch.zeros(3))

    def test_keeps_the_dtype(self):
        assert_dtypes(bce_with_logits, normal(3), torch.tensor([0.0, 1, 0.5]))


def focal_by_formula(logits, targets, gamma, alpha):
    p = 1 / (1 + (-logits).exp())
    p_t = torch.where(targets == 1, p, 1 - p)
    alpha_t = 1.0 if alpha is None else torch.where(targets == 1, alpha, 1.0 - alpha)
    return -alpha_t * (1 - p_t) ** gamma * p_t.log()


class TestFocalLoss:
    def test_the_example_worked_by_hand(self):
        found = focal_loss(torch.tensor([math.log(9)]), torch.tensor([1.0]))
        assert_close(found, torch.tensor(0.000263), atol=1e-6, rtol=0)  # 3 digits

    @pytest.mark.parametrize("alpha", [0.7, None])
    @pytest.mark.parametrize("gamma", [2.0, 0.5, 3.0])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_the_formula(self, shape, gamma, alpha):
        logits, targets = normal(*shape, scale=2).requires_grad_(), torch.randint(0, 2, shape).double()
        expected = focal_by_formula(logits, targets, gamma, alpha)
        both(focal_loss(logits, targets, gamma, alpha, "none"), expected, logits)

    @pytest.mark.parametrize("alpha", [0.3, 0.0])
    @pytest.mark.parametrize("target", [0.0, 1.0])
    def test_alpha_weighs_the_two_answers(self, target, alpha):
        logits, targets = normal(6), torch.full((6,), target).double()
        plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        assert_close(focal_loss(logits, targets, 0.0, alpha, "none"), (alpha if target else 1 - alpha) * plain)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_without_focus_and_balance_it_is_bce(self, reduction):
        logits, targets = normal(3, 4).requires_grad_(), torch.randint(0, 2, (3, 4)).double()
        expected = F.binary_cross_entropy_with_logits(logits, targets, reduction=reduction)
        both(focal_loss(logits, targets, 0.0, None, reduction), expected, logits)

    def test_its_defaults(self):
        logits, targets = normal(7), torch.randint(0, 2, (7,)).double()
        assert_close(focal_loss(logits, targets), focal_by_formula(logits, targets, 2.0, 0.25).mean())

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
    def test_extreme_logits(self, dtype, gamma):
        logits = torch.tensor([1e4, 1e4, -1e4, -1e4, 60.0, -60.0], dtype=dtype, requires_grad=True)
        targets = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 1.0], dtype=dtype)
        losses = focal_loss(logits, targets, gamma, None, "none")
        assert_close(losses, torch.tensor([1e4, 0, 0, 1e4, 0, 60], dtype=dtype))
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert_close(gradient, torch.tensor([1, 0, 0, -1, 0, -1], dtype=dtype))

    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
    def test_the_gradient_at_a_logit_of_0(self, gamma):
        logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        targets = torch.tensor([0.0, 1.0]).double()
        (gradient,) = torch.autograd.grad(focal_loss(logits, targets, gamma, None, "sum"), logits)
        expected = torch.autograd.grad(focal_by_formula(logits, targets, gamma, None).sum(), logits)[0]
        assert_close(gradient, expected)

    def test_what_would_broadcast_is_refused(self):
        refuses_other_shapes(focal_loss)

    def test_another_reduction_is_refused(self):
        refuses_other_reductions(focal_loss, torch.zeros(3), torch.zeros(3))

    def test_keeps_the_dtype(self):
        assert_dtypes(focal_loss, normal(3), torch.tensor([0.0, 1, 0]))


class TestKlDivergence:
    def test_the_example_worked_by_hand(self):
        found = kl_divergence(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]]).log())
        assert_close(found, torch.tensor(0.1438), atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
    def test_matches_torch(self, lead, reduction):
        p = normal(*lead, 5).softmax(-1).requires_grad_()
        log_q = normal(*lead, 5).log_softmax(-1).requires_grad_()
        rows = F.kl_div(log_q, p, reduction="none").sum(-1)
        expected = {"none": rows, "sum": rows.sum(), "mean": rows.mean()}[reduction]
        both(kl_divergence(p, log_q, reduction), expected, p, log_q)

    def test_its_mean_is_torchs_batchmean(self):
        p, log_q = normal(4, 5).softmax(-1), normal(4, 5).log_softmax(-1)
        assert_close(kl_divergence(p, log_q), F.kl_div(log_q, p, reduction="batchmean"))

    def test_of_equal_distributions(self):
        p = normal(3, 6).softmax(-1)
        assert_close(kl_divergence(p, p.log(), "none"), torch.zeros(3).double())

    def test_a_sure_answer_leaves_the_cross_entropy(self):
        log_q = normal(4, 5).log_softmax(-1).requires_grad_()
        targets = torch.tensor([1, 0, 4, 2])
        p = F.one_hot(targets, 5).double()
        both(kl_divergence(p, log_q), F.nll_loss(log_q, targets), log_q)

    def test_both_may_be_0(self):
        p = torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]], dtype=torch.float64)
        log_q = torch.tensor([[0.25, 0.0, 0.75], [0.0, 0.5, 0.5]], dtype=torch.float64).log().requires_grad_()
        rows = kl_divergence(p, log_q, "none")
        assert_close(rows, torch.tensor([0.5 * math.log(2) + 0.5 * math.log(2 / 3), math.log(2)], dtype=torch.float64))
        assert_close(torch.autograd.grad(rows.sum(), log_q)[0], -p)

    def test_where_q_alone_is_0_it_is_infinite(self):
        p, log_q = torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]]).log()
        assert_close(kl_divergence(p, log_q, "none"), torch.tensor([INF, 0.0]))

    def test_a_gradient_towards_p_beside_a_0(self):
        p = torch.tensor([[0.25, 0.0, 0.75]], dtype=torch.float64, requires_grad=True)
        log_q = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
        (gradient,) = torch.autograd.grad(kl_divergence(p, log_q), p)
        expected = torch.tensor([math.log(0.5) + 1, math.log(3) + 1], dtype=torch.float64)
        assert_close(gradient[0, [0, 2]], expected)

    def test_another_reduction_is_refused(self):
        refuses_other_reductions(kl_divergence, torch.full((2, 2), 0.5), torch.full((2, 2), 0.5).log())

    def test_keeps_the_dtype(self):
        assert_dtypes(kl_divergence, normal(3, 4).softmax(-1), normal(3, 4).log_softmax(-1))


def by_torch(anchor, positive, negative, margin, reduction):
    distance = lambda x, y: torch.linalg.vector_norm(x - y, dim=-1)  # noqa: E731
    return F.triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, reduction=reduction
    )


class TestTripletLoss:
    def test_the_example_worked_by_hand(self):
        a, p, n = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 6.0]])
        assert_close(triplet_loss(a, p, n, 2.0), torch.tensor(1.0))

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize(("lead", "margin"), [((5,), 0.2), ((2, 3), 3.0), ((1,), 1.5), ((), 2.0)])
    def test_matches_torch(self, lead, margin, reduction):
        given = [normal(*lead, 4).requires_grad_() for _ in range(3)]
        both(triplet_loss(*given, margin, reduction), by_torch(*given, margin, reduction), *given)

    def test_its_defaults(self):
        given = [normal(6, 4) for _ in range(3)]
        assert_close(triplet_loss(*given), by_torch(*given, 1.0, "mean"))

    def test_a_far_negative_costs_nothing(self):
        given = [torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[9.0, 1.0]])]
        assert_close(triplet_loss(*given), torch.tensor(0.0))

    def test_equal_embeddings_have_a_gradient_of_0(self):
        a, n = normal(3, 4).requires_grad_(), normal(3, 4).requires_grad_()
        p = a.detach().clone().requires_grad_()
        loss = triplet_loss(a, p, n, 30.0, "sum")
        unit = (a - n).detach() / torch.linalg.vector_norm((a - n).detach(), dim=-1, keepdim=True)
        assert_close(torch.autograd.grad(loss, [a, p, n]), [-unit, torch.zeros_like(unit), unit])

    def test_if_all_three_are_equal_the_margin_is_left(self):
        x = normal(2, 3).requires_grad_()
        loss = triplet_loss(x, x.detach().clone(), x.detach().clone(), 0.7)
        assert_close(loss, torch.tensor(0.7).double())
        assert_close(torch.autograd.grad(loss, x)[0], torch.zeros(2, 3).double())

    def test_another_reduction_is_refused(self):
        refuses_other_reductions(triplet_loss, *torch.zeros(3, 2, 2))

    def test_keeps_the_dtype(self):
        assert_dtypes(triplet_loss, normal(3, 4), normal(3, 4), normal(3, 4))


class TestOnTheGpu:
    def test_reduce(self, gpu):
        gpu.check(reduce, normal(4).requires_grad_(), "mean")

    @pytest.mark.parametrize("loss", [mse_loss, huber_loss, bce_with_logits, focal_loss])
    def test_losses_of_two_arguments(self, gpu, loss):
        gpu.check(loss, normal(3, 4, scale=2).requires_grad_(), torch.randint(0, 2, (3, 4)).double())

    def test_weights_of_positives(self, gpu):
        gpu.check(bce_with_logits, normal(3, 4).requires_grad_(), torch.rand(3, 4).double(), torch.rand(4).double())

    def test_log_softmax(self, gpu):
        gpu.check(log_softmax, normal(3, 4).requires_grad_())

    @pytest.mark.parametrize("weight", [None, [0.5, 2.0, 1.0, 3.0]])
    def test_cross_entropy(self, gpu, weight):
        weight = weight and torch.tensor(weight, dtype=torch.float64)
        gpu.check(cross_entropy, normal(3, 4).requires_grad_(), torch.tensor([1, -100, 3]), weight, label_smoothing=0.1)

    def test_hinge_loss(self, gpu):
        gpu.check(hinge_loss, normal(3, 4).requires_grad_(), torch.tensor([1, 0, 3]))

    def test_kl_divergence(self, gpu):
        gpu.check(kl_divergence, normal(3, 4).softmax(-1), normal(3, 4).log_softmax(-1).requires_grad_())

    def test_triplet_loss(self, gpu):
        gpu.check(triplet_loss, normal(3, 4).requires_grad_(), normal(3, 4), normal(3, 4))
