"""Judges k06_regularization against torch's optimizers, expectations, and closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k06_regularization import (
    Adam,
    Dropout,
    EarlyStopping,
    decay_groups,
    dropout,
    max_norm_,
    smooth_labels,
)

pytestmark = [
    from_scratch(
        "torch.optim",
        "torch.nn.Dropout",
        "torch.nn.functional.dropout",
        "torch.dropout",
        "torch.native_dropout",
        "torch.renorm",
        "torch.Tensor.renorm",
        "torch.Tensor.renorm_",
    ),
    pure("max_norm_"),
]


def kept_share(y: torch.Tensor) -> float:
    return (y != 0).double().mean().item()


def assert_drops(apply, p: float, shape: tuple[int, ...] = (100, 200)) -> None:
    """`apply` keeps entries with probability 1 - p, each by itself, and divides them by 1 - p."""
    x = torch.rand(shape, dtype=torch.float64) + 0.5
    y = apply(x)
    kept = y != 0
    assert_close(y, torch.where(kept, x / (1 - p), 0.0))
    # Six standard deviations of a share.
    assert_close(kept_share(y), 1 - p, atol=6 * math.sqrt(p * (1 - p) / x.numel()), rtol=0)
    # Were whole rows or columns dropped together, their shares would scatter more than independent entries do.
    for axis in (0, 1):
        shares, n = kept.double().mean(axis), shape[axis]
        worst = (shares - (1 - p)).abs().max().item()
        if worst > 7 * math.sqrt(p * (1 - p) / n):
            fail(
                f"entries along axis {axis} are dropped together: a share of {1 - p + worst:.2f} is kept or dropped.",
                evidence=("together", axis),
            )


class TestDropout:
    def test_the_example_worked_by_hand(self):
        y = dropout(torch.full((50,), 4.0, dtype=torch.float64), 0.2)
        assert_equal(sorted({round(v, 9) for v in y.tolist()} | {0.0}), [0.0, 5.0])

    @pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
    def test_each_entry_by_itself(self, p):
        assert_drops(lambda x: dropout(x, p), p)

    def test_half_by_default(self):
        assert_drops(dropout, 0.5)

    @pytest.mark.parametrize("p", [0.3, 0.8])
    def test_the_mean_stays(self, p):
        y = dropout(torch.ones(40_000, dtype=torch.float64), p)
        # Six standard deviations of the mean of 40,000.
        assert_close(y.mean().item(), 1.0, atol=6 * math.sqrt(p / (1 - p) / 40_000), rtol=0)

    def test_a_new_mask_at_every_call(self):
        x = torch.ones(200)
        assert_equal(bool((dropout(x, 0.5) != dropout(x, 0.5)).any()), True)

    @pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
    def test_nothing_happens_in_evaluation(self, p):
        x = torch.randn(3, 4)
        assert_close(dropout(x, p, training=False), x, rtol=0, atol=0)

    def test_p_of_0_keeps_everything(self):
        x = torch.randn(3, 500)
        assert_close(dropout(x, 0.0), x)

    def test_p_of_1_drops_everything(self):
        x = torch.randn(3, 4, requires_grad=True)
        y = dropout(x, 1.0)
        assert_close(y.detach() + 0.0, torch.zeros(3, 4))
        if not y.requires_grad:
            fail("with p = 1 the answer has no gradient; expected one of 0, as with any p", evidence="no gradient")
        assert_close(torch.autograd.grad(y.sum(), x)[0], torch.zeros(3, 4))

    @pytest.mark.parametrize("p", [0.25, 0.75])
    def test_the_gradient_goes_through_the_same_mask(self, p):
        x = (torch.rand(5, 40, dtype=torch.float64) + 0.5).requires_grad_()
        y = dropout(x, p)
        upstream = torch.randn(5, 40, dtype=torch.float64)
        assert_close(torch.autograd.grad(y, x, upstream)[0], upstream * (y.detach() != 0) / (1 - p))

    def test_a_generator_decides_alone(self):
        x, before = torch.ones(300), torch.get_rng_state()
        one, same, other = (dropout(x, 0.5, True, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
        assert_close(one, same)
        assert_equal(bool((one != other).any()), True)
        assert_equal(bool((torch.get_rng_state() == before).all()), True)

    def test_torchs_own_generator_decides_without_one(self):
        x = torch.ones(300)
        torch.manual_seed(7)
        one = dropout(x, 0.5)
        torch.manual_seed(7)
        assert_close(dropout(x, 0.5), one)

    @pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_keeps_shape_and_dtype(self, dtype, shape):
        for p in (0.5, 1.0):
            y = dropout(torch.ones(shape, dtype=dtype), p)
            assert_equal((tuple(y.shape), str(y.dtype)), (shape, str(dtype)))

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("p", [-0.1, 1.5])
    def test_other_probabilities_are_refused(self, p, training):
        with raises(ValueError, p):
            dropout(torch.ones(3), p, training)


class TestDropoutLayer:
    @pytest.mark.parametrize("p", [0.2, 0.7])
    def test_drops_in_training_mode(self, p):
        assert_drops(Dropout(p), p)

    def test_half_by_default(self):
        assert_drops(Dropout(), 0.5)

    def test_nothing_happens_in_evaluation_mode(self):
        layer, x = Dropout(0.6), torch.randn(20, 20)
        layer(x)
        layer.eval()
        assert_close(layer(x), x, rtol=0, atol=0)
        assert_drops(layer.train(), 0.6)

    def test_it_follows_the_network_around_it(self):
        net = nn.Sequential(Dropout(0.5), nn.Sequential(Dropout(0.5))).eval()
        x = torch.randn(20, 20)
        assert_close(net(x), x, rtol=0, atol=0)
        share = kept_share(net.train()(torch.ones(100, 200)))
        assert_close(share, 0.25, atol=0.02, rtol=0)  # six standard deviations of a share of 20,000

    def test_a_new_mask_at_every_call_of_any_shape(self):
        layer = Dropout(0.5)
        x = torch.ones(200)
        assert_equal(bool((layer(x) != layer(x)).any()), True)
        assert_equal(tuple(layer(torch.ones(3, 5)).shape), (3, 5))

    @pytest.mark.parametrize("training", [True, False])
    def test_the_gradient_goes_through_it(self, training):
        x = (torch.rand(5, 40, dtype=torch.float64) + 0.5).requires_grad_()
        y, upstream = Dropout(0.25).train(training)(x), torch.randn(5, 40, dtype=torch.float64)
        expected = upstream * (y.detach() != 0) / 0.75 if training else upstream
        assert_close(torch.autograd.grad(y, x, upstream)[0], expected)

    def test_no_parameters(self):
        assert_equal(list(Dropout(0.3).parameters()), [])

    @pytest.mark.parametrize("p", [-0.2, 1.01])
    def test_other_probabilities_are_refused(self, p):
        with raises(ValueError, p):
            Dropout(p)
        assert_equal([tuple(Dropout(ok)(torch.ones(2)).shape) for ok in (0.0, 1.0)], [(2,), (2,)])


class TestSmoothLabels:
    def test_the_example_worked_by_hand(self):
        assert_close(smooth_labels(torch.tensor([1]), 4, 0.2), torch.tensor([[0.05, 0.85, 0.05, 0.05]]))

    @pytest.mark.parametrize("lead", [(), (6,), (2, 3)])
    @pytest.mark.parametrize(("classes", "epsilon"), [(5, 0.1), (3, 0.6), (4, 0.0), (4, 1.0)])
    def test_its_cross_entropy_is_torchs(self, classes, epsilon, lead):
        targets = torch.randint(0, classes, lead)
        logits = torch.randn(*lead, classes).reshape(-1, classes)
        smooth = smooth_labels(targets, classes, epsilon)
        assert_equal(tuple(smooth.shape), (*lead, classes))
        expected = F.cross_entropy(logits, targets.reshape(-1), label_smoothing=epsilon)
        assert_close(F.cross_entropy(logits, smooth.reshape(-1, classes)), expected)

    def test_each_row_adds_up_to_1(self):
        smooth = smooth_labels(torch.randint(0, 7, (4, 5)), 7, 0.35)
        assert_close(smooth.sum(-1), torch.ones(4, 5))
        assert_close(smooth.amax(-1), torch.full((4, 5), 0.65 + 0.05))


class TestMaxNorm:
    def test_the_example_worked_by_hand(self):
        weight = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
        max_norm_(weight, 2.5)
        assert_close(weight, torch.tensor([[1.5, 2.0], [0.0, 2.0]]))

    @pytest.mark.parametrize("shape", [(6, 4), (5, 3, 2, 2), (7,), (4, 1)])
    @pytest.mark.parametrize("limit", [0.7, 2.0])
    def test_rows_are_at_most_as_long_as_the_limit(self, limit, shape):
        weight = torch.randn(shape, dtype=torch.float64)
        expected = weight.clone()
        for i, row in enumerate(weight):
            length = row.square().sum().sqrt()
            if length > limit:
                expected[i] = row * limit / length
        max_norm_(weight, limit)
        assert_close(weight, expected)

    def test_shorter_rows_stay_to_the_last_bit(self):
        weight = torch.randn(50, 3) * 0.1
        weight[7] = 0
        weight[8] = torch.tensor([3.0, 0.0, 4.0])  # exactly 5
        before = weight.clone()
        max_norm_(weight, 5.0)
        assert_close(weight, before, rtol=0, atol=0)

    def test_a_parameter_stays_one(self):
        layer = nn.Linear(4, 3)
        with torch.no_grad():
            layer.weight.mul_(100)
        layer(torch.randn(2, 4)).sum().backward()
        weight, gradient = layer.weight, layer.weight.grad.clone()
        direction = (weight / weight.norm(dim=1, keepdim=True)).detach()
        found = max_norm_(layer.weight, 1.5)
        assert_equal(
            (found is None, layer.weight is weight, weight.is_leaf, weight.requires_grad), (True, True, True, True)
        )
        assert_close(weight.detach(), 1.5 * direction)
        assert_close(weight.grad, gradient)

    def test_rows_need_not_lie_side_by_side(self):
        storage = torch.randn(4, 6, dtype=torch.float64) * 5
        weight, expected = storage.T, storage.T.clone()
        max_norm_(weight, 1.0)
        assert_close(storage.T, expected / expected.norm(dim=1, keepdim=True).clamp(min=1))

    @pytest.mark.parametrize("limit", [0.0, -1.5])
    def test_other_limits_are_refused(self, limit):
        weight = torch.ones(2, 2)
        with raises(ValueError, limit):
            max_norm_(weight, limit)
        assert_close(weight, torch.ones(2, 2))


class Several(nn.Module):
    """Parameters of no, one, two and four axes, one of them shared, one frozen of each kind."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.LayerNorm(4)
        self.embedding = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6)
        self.head.weight = self.embedding.weight
        self.frozen = nn.Linear(3, 3).requires_grad_(False)


class TestDecayGroups:
    def names(self, model: nn.Module, groups: list[dict]) -> list[list[str]]:
        known = {id(p): name for name, p in model.named_parameters()}
        return [[known.get(id(p), "?") for p in group["params"]] for group in groups]

    @pytest.mark.parametrize("weight_decay", [0.1, 0.02])
    def test_matrices_decay_and_vectors_dont(self, weight_decay):
        model = Several()
        groups = decay_groups(model, weight_decay)
        matrices = ["conv.weight", "embedding.weight"]
        vectors = ["scale", "conv.bias", "norm.weight", "norm.bias", "head.bias"]
        assert_equal(self.names(model, groups), [matrices, vectors])
        assert_equal([group["weight_decay"] for group in groups], [weight_decay, 0.0])

    def test_both_groups_are_always_there(self):
        for model, lengths in [(nn.LayerNorm(3), [0, 2]), (nn.Linear(3, 3, bias=False), [1, 0]), (nn.ReLU(), [0, 0])]:
            assert_equal([len(group["params"]) for group in decay_groups(model, 0.1)], lengths)

    def test_an_optimizer_of_torch_takes_them(self):
        model = nn.Linear(3, 2)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer = torch.optim.AdamW(decay_groups(model, 0.5), lr=0.1)
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        assert_close(model.weight.detach(), before["weight"] * 0.95)
        assert_close(model.bias.detach(), before["bias"])


def weights() -> list[torch.Tensor]:
    return [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in [(3, 4), (5,), ()]]


def twins() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    mine = weights()
    return mine, [w.detach().clone().requires_grad_() for w in mine]


def give_gradients(*groups: list[torch.Tensor], scale: float = 1.0, skip: int | None = None) -> None:
    """The same random gradients to each list of parameters; none to number `skip`."""
    for i, same in enumerate(zip(*groups, strict=True)):
        gradient = torch.randn_like(same[0]) * scale
        for w in same:
            w.grad = None if i == skip else gradient.clone()


class TestAdam:
    @pytest.mark.parametrize(("options", "expected"), [({}, 1.9), ({"l2": 0.5}, 1.9), ({"weight_decay": 0.5}, 1.8)])
    def test_the_example_worked_by_hand(self, options, expected):
        w = torch.tensor([2.0], requires_grad=True)
        w.grad = torch.tensor([1.0])
        Adam([w], lr=0.1, eps=0.0, **options).step()
        assert_close(w.detach(), torch.tensor([expected]))

    @pytest.mark.parametrize("options", [{"lr": 0.1}, {"lr": 0.02, "betas": (0.7, 0.9)}, {"lr": 0.1, "eps": 0.3}])
    def test_matches_torchs_adam(self, options):
        mine, theirs = twins()
        one, other = Adam(mine, **options), torch.optim.Adam(theirs, **options)
        for _ in range(6):
            give_gradients(mine, theirs)
            one.step()
            other.step()
            assert_close(mine, theirs)

    def test_its_defaults(self):
        mine, theirs = twins()
        one, other = Adam(mine), torch.optim.Adam(theirs)
        for scale in (1e-8, 3e-8, 1.0):  # small gradients show the default eps
            give_gradients(mine, theirs, scale=scale)
            one.step()
            other.step()
            # Steps of 1e-3 must be right to a thousandth.
            assert_close(mine, theirs, rtol=0, atol=1e-9)

    def test_two_of_them_side_by_side(self):
        few, many = ([torch.ones(2, requires_grad=True) for _ in range(n)] for n in (1, 3))
        for optimizer, weights in [(Adam(few, lr=0.5, eps=0.0), few), (Adam(many, lr=0.25, eps=0.0), many)]:
            for w in weights:
                w.grad = torch.full_like(w, 3.0)
            optimizer.step()
        assert_close([w.detach() for w in few + many], [torch.full((2,), 0.5)] + [torch.full((2,), 0.75)] * 3)

    @pytest.mark.parametrize("l2", [0.1, 0.5])
    def test_l2_matches_torchs_adam(self, l2):
        mine, theirs = twins()
        one, other = (
            Adam(mine, 0.1, (0.8, 0.95), 0.1, l2=l2),
            torch.optim.Adam(theirs, 0.1, (0.8, 0.95), 0.1, weight_decay=l2),
        )
        for _ in range(6):
            give_gradients(mine, theirs)
            one.step()
            other.step()
            assert_close(mine, theirs)

    @pytest.mark.parametrize("weight_decay", [0.1, 0.5])
    def test_weight_decay_matches_torchs_adamw(self, weight_decay):
        mine, theirs = twins()
        given = (0.1, (0.8, 0.95), 0.1)
        one, other = (
            Adam(mine, *given, weight_decay=weight_decay),
            torch.optim.AdamW(theirs, *given, weight_decay=weight_decay),
        )
        for _ in range(6):
            give_gradients(mine, theirs)
            one.step()
            other.step()
            assert_close(mine, theirs)

    def test_both_together(self):
        mine, theirs = twins()
        one, other = Adam(mine, 0.1, l2=0.3, weight_decay=0.2), torch.optim.AdamW(theirs, 0.1, weight_decay=0.2)
        for _ in range(4):
            give_gradients(mine, theirs)
            for w in theirs:
                w.grad += 0.3 * w.detach()
            one.step()
            other.step()
        assert_close(mine, theirs)

    def test_a_parameter_without_gradient_stays_and_doesnt_count(self):
        mine, theirs = twins()
        one = Adam(mine, 0.1, l2=0.1, weight_decay=0.2)
        other = torch.optim.AdamW(theirs, 0.1, weight_decay=0.2)
        for skip in (1, 1, 0, None, 2, None):
            before = [w.detach().clone() for w in mine]
            give_gradients(mine, theirs, skip=skip)
            for w in theirs:
                if w.grad is not None:
                    w.grad += 0.1 * w.detach()
            one.step()
            other.step()
            assert_close(mine, theirs)
            if skip is not None:
                assert_close(mine[skip].detach(), before[skip], rtol=0, atol=0)

    def test_the_gradients_stay_as_they_are(self):
        mine = weights()
        give_gradients(mine)
        before = [w.grad.clone() for w in mine]
        held = [w.grad for w in mine]
        Adam(mine, 0.1, l2=0.3, weight_decay=0.2).step()
        assert_close([w.grad for w in mine], before)
        assert_close(held, before)

    def test_the_parameters_stay_leaves(self):
        mine = weights()
        places = [w.data_ptr() for w in mine]
        give_gradients(mine)
        Adam(mine, 0.1, l2=0.1, weight_decay=0.1).step()
        kept = [(w.is_leaf, w.requires_grad, w.data_ptr() == place) for w, place in zip(mine, places, strict=True)]
        assert_equal(kept, [(True, True, True)] * len(mine))

    def test_a_schedule_may_change_lr(self):
        mine, theirs = twins()
        one, other = Adam(mine, 0.1, weight_decay=0.3), torch.optim.AdamW(theirs, 0.1, weight_decay=0.3)
        assert_close(one.lr, 0.1)
        for lr in (0.1, 0.02, 0.3):
            one.lr = other.param_groups[0]["lr"] = lr
            give_gradients(mine, theirs)
            one.step()
            other.step()
        assert_close(mine, theirs)

    def test_two_optimizers_dont_meet(self):
        mine, theirs = twins()
        one, other = Adam(mine, 0.1), Adam(theirs, 0.1)
        give_gradients(mine, theirs)
        one.step()
        other.step()
        assert_close(mine, theirs)
        give_gradients(mine, theirs)
        one.step()
        fresh = [w.detach().clone() for w in theirs]
        other.step()
        assert_close(mine, theirs)
        assert_equal([bool((a != b).any()) for a, b in zip(fresh, theirs, strict=True)], [True] * 3)

    def test_it_trains_a_network(self):
        net = nn.Linear(3, 1).double()
        x = torch.randn(40, 3, dtype=torch.float64)
        y = x @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64) + 1
        optimizer = Adam(net.parameters(), lr=0.1)
        for _ in range(300):
            net.zero_grad()
            (net(x) - y).square().mean().backward()
            optimizer.step()
        # Far along, though not at the end: Adam circles around it.
        assert_close(net.weight.detach(), torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64), atol=0.05, rtol=0)


def follow(stopping, losses: list[float]) -> list[bool]:
    return [stopping.update(loss) for loss in losses]


class TestEarlyStopping:
    def test_the_example_worked_by_hand(self):
        stopping = EarlyStopping(2)
        assert_equal(follow(stopping, [5.0, 3.0, 4.0, 3.0]), [False, False, False, True])
        assert_equal((stopping.best, stopping.best_epoch), (3.0, 1))

    @pytest.mark.parametrize("patience", [1, 2, 4])
    def test_it_waits_as_long_as_it_is_told(self, patience):
        stopping = EarlyStopping(patience)
        assert_equal(follow(stopping, [1.0] + [2.0] * 6), [i >= patience for i in range(7)])

    def test_an_improvement_resets_the_patience(self):
        stopping = EarlyStopping(3)
        found = follow(stopping, [5.0, 6.0, 6.0, 4.0, 4.5, 4.5, 3.9, 5.0, 5.0, 5.0])
        assert_equal(found, [False] * 9 + [True])
        assert_equal((stopping.best, stopping.best_epoch), (3.9, 6))

    def test_better_than_the_last_isnt_better_than_the_best(self):
        assert_equal(follow(EarlyStopping(3), [1.0, 5.0, 4.0, 3.0]), [False, False, False, True])

    def test_a_worse_loss_is_no_improvement(self):
        stopping = EarlyStopping(3, 0.5)
        follow(stopping, [4.0, 4.25])
        assert_equal((stopping.best, stopping.best_epoch), (4.0, 0))

    @pytest.mark.parametrize("min_delta", [0.25, 0.5])
    def test_an_improvement_must_exceed_min_delta(self, min_delta):
        stopping = EarlyStopping(2, min_delta)
        # By min_delta exactly: none.  Two small ones in a row are measured from the best, and add up.
        small = 0.75 * min_delta
        assert_equal(follow(stopping, [4.0, 4.0 - min_delta]), [False, False])
        assert_equal((stopping.best, stopping.best_epoch), (4.0, 0))
        assert_equal(follow(stopping, [4.0 - 2 * small]), [False])
        assert_equal((stopping.best, stopping.best_epoch), (4.0 - 2 * small, 2))
        assert_equal(follow(stopping, [4.0 - 2 * small, 4.0 - 3 * small]), [False, True])
        assert_equal(stopping.best_epoch, 2)

    def test_before_any_improvement(self):
        stopping = EarlyStopping(3)
        assert_equal((stopping.best, stopping.best_epoch), (math.inf, -1))
        assert_equal(follow(stopping, [math.nan, math.inf, 9.0, math.nan, 9.0, 8.0]), [False] * 6)
        assert_equal((stopping.best, stopping.best_epoch), (8.0, 5))

    def test_nan_never_improves(self):
        stopping = EarlyStopping(2)
        assert_equal(follow(stopping, [math.nan, math.nan]), [False, True])
        stopping = EarlyStopping(2)
        assert_equal(follow(stopping, [3.0, math.nan, 2.0, math.nan, math.nan]), [False, False, False, False, True])
        assert_equal((stopping.best, stopping.best_epoch), (2.0, 2))

    def test_losses_below_0(self):
        stopping = EarlyStopping(2, 0.5)
        assert_equal(follow(stopping, [-1.0, -2.0, -2.25, -2.25]), [False, False, False, True])
        assert_equal((stopping.best, stopping.best_epoch), (-2.0, 1))

    def test_after_the_end(self):
        assert_equal(
            follow(EarlyStopping(2), [1.0, 2.0, 2.0, 2.0, 0.5, 1.0, 1.0]),
            [False, False, True, True, False, False, True],
        )

    def test_two_of_them_dont_meet(self):
        one, other = EarlyStopping(1), EarlyStopping(1)
        one.update(1.0)
        assert_equal((other.update(5.0), other.best), (False, 5.0))

    @pytest.mark.parametrize("patience", [0, -2])
    def test_no_patience_is_refused(self, patience):
        with raises(ValueError, patience):
            EarlyStopping(patience)


class TestOnTheGpu:
    @pytest.mark.parametrize("p", [0.4, 1.0])
    def test_dropout(self, gpu, p):
        gpu.check(dropout, torch.randn(4, 5, dtype=torch.float64).requires_grad_(), p, random=True)

    def test_dropout_by_a_generator(self, gpu):
        x = gpu(torch.ones(50))
        one, same = (dropout(x, 0.5, True, gpu.generator(5)) for _ in range(2))
        assert_equal((one.device.type, bool((one == same).all())), (gpu.device.type, True))

    def test_the_layer(self, gpu):
        gpu.check(Dropout(0.4), torch.randn(4, 5).requires_grad_(), random=True)

    def test_smooth_labels(self, gpu):
        gpu.check(smooth_labels, torch.tensor([2, 0, 1]), 4, 0.3)

    def test_max_norm(self, gpu):
        weight = torch.randn(4, 5, dtype=torch.float64)
        there = gpu(weight)
        max_norm_(weight, 1.0)
        max_norm_(there, 1.0)
        assert_equal(there.device.type, gpu.device.type)
        assert_close(there.cpu(), weight)

    def test_adam(self, gpu):
        on_cpu = torch.randn(3, 4, dtype=torch.float64).requires_grad_()
        there = gpu(on_cpu)
        one, other = Adam([on_cpu], 0.1, l2=0.1, weight_decay=0.2), Adam([there], 0.1, l2=0.1, weight_decay=0.2)
        for _ in range(3):
            on_cpu.grad = torch.randn(3, 4, dtype=torch.float64)
            there.grad = gpu(on_cpu.grad)
            one.step()
            other.step()
        assert_close(there.detach().cpu(), on_cpu.detach())
