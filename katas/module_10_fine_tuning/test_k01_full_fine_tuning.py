"""Judges k01_full_fine_tuning by loops written out, and by MiniLM on film reviews against TF-IDF."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from katas.module_10_fine_tuning.k01_full_fine_tuning import (
    ClassificationHead,
    EarlyStopping,
    cache_states,
    fine_tune,
    freeze_lower,
    layerwise_groups,
    predict,
    warmup_linear,
)

pytestmark = [from_scratch("transformers", "sklearn"), pure()]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(13, 6)
        self.drop = nn.Dropout(0.5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.drop(self.words(ids))


class Layer(nn.Module):
    """Mixes the real tokens of a row; counts its calls and rows; has a buffer that training moves."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.seen: list[tuple[bool, bool, torch.Tensor]] = []

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        self.seen.append((self.training, torch.is_grad_enabled(), x.detach().clone()))
        self.calls += self.training
        weights = mask.to(x.dtype)[..., None]
        mean = (x * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)
        return self.norm(x + self.drop(torch.tanh(self.linear(x + mean))))


def lower() -> list[nn.Module]:
    """Embeddings and two layers, with dropout, in several modes."""
    stages = [Embeddings().double(), Layer(0.5).double(), Layer(0.5).double()]
    stages[1].eval()
    stages[2].drop.eval()
    return stages


def rows(n: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and a mask; the padding is at the end."""
    lengths = torch.randint(1, 6, (n,))
    return torch.randint(0, 13, (n, 5)), (torch.arange(5) < lengths[:, None]).long()


def data(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States that show their label of three, but not plainly; each row has its own."""
    labels = torch.randint(0, 3, (n,))
    states = torch.randn(n, 5, 6, dtype=torch.float64)
    states[..., 0] += labels[:, None] - 1.0
    return states, rows(n)[1], labels


def upper(dropout: float = 0.0) -> tuple[list[nn.Module], nn.Module]:
    head = ClassificationHead(6, 3, dropout).double()
    return [Layer(dropout).double(), Layer(dropout).double()], head


def modes(modules) -> list[bool]:
    return [part.training for module in modules for part in module.modules()]


def state(*modules: nn.Module) -> list[dict[str, torch.Tensor]]:
    return [{name: value.detach().clone() for name, value in m.state_dict().items()} for m in modules]


def weights(*modules: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for module in modules for parameter in module.parameters()]


class TestClassificationHead:
    def test_the_example_worked_by_hand(self):
        head = ClassificationHead(2, 2).double().eval()
        with torch.no_grad():
            head.linear.weight.copy_(torch.eye(2))
            head.linear.bias.copy_(numbers(10, 20))
        states = numbers([1, 3], [5, 7], [9, 9])[None]
        assert_close(head(states, torch.tensor([[1, 1, 0]])).detach(), numbers([13, 25]))

    @pytest.mark.parametrize("boolean", [True, False])
    def test_matches_a_loop(self, boolean):
        head = ClassificationHead(6, 3).double().eval()
        states, mask = torch.randn(4, 5, 6, dtype=torch.float64), torch.rand(4, 5) > 0.4
        mask[:, 2] = True
        expected = torch.stack([head.linear(states[i][mask[i]].mean(0)) for i in range(4)])
        assert_close(head(states, mask if boolean else mask.long()).detach(), expected.detach())

    def test_the_padding_has_no_influence(self):
        head = ClassificationHead(6, 3).double().eval()
        states, mask = torch.randn(4, 5, 6, dtype=torch.float64), rows(4)[1]
        expected = head(states, mask).detach()
        states = states.masked_fill(mask[..., None] == 0, float("nan")).requires_grad_()
        found = head(states, mask)
        assert_close(found.detach(), expected)
        found.sum().backward()
        assert_equal(bool(torch.isfinite(states.grad[mask == 1]).all()), True)

    def test_its_first_weights(self):
        head = ClassificationHead(100, 100, generator=seeded(3))
        w = head.linear.weight.detach() * 50  # of standard deviation 1; five standard errors each
        assert_close(float(w.square().mean()), 1.0, atol=5 * 1.414 / 100)
        assert_close(float(w.mean()), 0.0, atol=5 / 100)
        assert_close(float((w.abs() < 1).double().mean()), 0.6827, atol=5 * 0.466 / 100)
        assert_close(head.linear.bias.detach(), torch.zeros(100))

    def test_weights_are_drawn_from_the_generator(self):
        found = []
        for seed, own in ((3, 1), (3, 2), (4, 1)):
            torch.manual_seed(own)
            found.append(ClassificationHead(6, 3, generator=seeded(seed)).linear.weight.detach())
        assert_close(found[1], found[0])
        assert_equal(bool((found[2] - found[0]).abs().max() > 1e-4), True)

    @pytest.mark.parametrize("dropout", [0.25, 0.6])
    def test_drops_from_the_mean_in_training_mode_alone(self, dropout):
        head = ClassificationHead(40, 40, dropout).double()
        with torch.no_grad():
            head.linear.weight.copy_(torch.eye(40))
            head.linear.bias.fill_(3)
        states, mask = torch.rand(250, 2, 40, dtype=torch.float64) + 1, torch.ones(250, 2)
        kept = ((head(states, mask) - 3) / states.mean(1)).detach()  # 0 or 1 / (1 - dropout)
        dropped = kept.abs() < 1e-9
        assert_close(kept, torch.where(dropped, 0.0, 1 / (1 - dropout)).double())
        assert_close(float(dropped.double().mean()), dropout, atol=0.03)  # six standard errors
        assert_close(head.eval()(states, mask).detach(), states.mean(1) + 3)

    def test_drops_a_tenth_by_default(self):
        head = ClassificationHead(200, 1)
        with torch.no_grad():
            head.linear.weight.copy_(torch.ones(1, 200))
        found = head(torch.ones(500, 1, 200), torch.ones(500, 1)).detach()
        assert_close(float(found.var()), 200 * 0.1 / 0.9, rtol=0.35)

    def test_gradients_reach_states_and_weights(self):
        head = ClassificationHead(6, 3).double().eval()
        states = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
        mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
        assert_equal(torch.autograd.gradcheck(lambda s: head(s, mask), (states,)), True)
        head(states, mask).square().sum().backward()
        assert_equal([bool(p.grad.abs().max() > 0) for p in head.parameters()], [True, True])


class TestFreezeLower:
    @pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
    def test_the_first_are_frozen_and_the_others_trained(self, count):
        stages = [nn.Linear(3, 3) for _ in range(4)]
        freeze_lower(stages, count)
        found = [[p.requires_grad for p in stage.parameters()] for stage in stages]
        assert_equal(found, [[i >= count] * 2 for i in range(4)])

    def test_whatever_they_were_before(self):
        stages = [nn.Linear(3, 3).requires_grad_(i % 2 == 0) for i in range(4)]
        freeze_lower(stages, 3)
        freeze_lower(stages, 1)
        assert_equal([stage.weight.requires_grad for stage in stages], [False, True, True, True])

    def test_frozen_parameters_have_no_gradient(self):
        stages = [nn.Linear(3, 3) for _ in range(3)]
        for stage in stages:
            stage(torch.ones(1, 3)).sum().backward()
        freeze_lower(stages, 2)
        assert_equal([p.grad is None for stage in stages[:2] for p in stage.parameters()], [True] * 4)

    def test_what_a_trained_stage_shares_is_trained(self):
        stages = [nn.Linear(3, 3) for _ in range(3)]
        stages[2].weight = stages[0].weight
        freeze_lower(stages, 2)
        assert_equal([stages[0].weight.requires_grad, stages[0].bias.requires_grad], [True, False])

    @pytest.mark.parametrize("count", [-1, 4, 9])
    def test_refuses_other_counts(self, count):
        stages = [nn.Linear(3, 3) for _ in range(3)]
        with raises(ValueError, count, 3):
            freeze_lower(stages, count)
        assert_equal([stage.weight.requires_grad for stage in stages], [True] * 3)


class TestCacheStates:
    def expected(self, stages, ids, mask) -> torch.Tensor:
        """Row by row, in evaluation mode."""
        stages = [copy.deepcopy(stage).eval() for stage in stages]
        found = []
        for i in range(len(ids)):
            x = stages[0](ids[i : i + 1])
            for stage in stages[1:]:
                x = stage(x, mask[i : i + 1])
            found.append(x)
        return torch.cat(found).detach()

    @pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 64])
    def test_matches_row_by_row(self, batch_size):
        stages, (ids, mask) = lower(), rows()
        assert_close(cache_states(stages, ids, mask, batch_size), self.expected(stages, ids, mask))

    def test_the_embeddings_alone(self):
        stages, (ids, mask) = lower()[:1], rows()
        assert_close(cache_states(stages, ids, mask), self.expected(stages, ids, mask))

    @pytest.mark.parametrize(("batch_size", "sizes"), [(3, [3, 3, 1]), (7, [7]), (4, [4, 3])])
    def test_each_row_once_in_small_batches(self, batch_size, sizes):
        stages, (ids, mask) = lower(), rows()
        cache_states(stages, ids, mask, batch_size)
        found = [len(x) for _, _, x in stages[2].seen]
        assert_equal((sum(found), max(found)), (7, max(sizes)))

    def test_64_rows_by_default(self):
        stages, (ids, mask) = lower(), rows(130)
        cache_states(stages, ids, mask)
        assert_equal(max(len(x) for _, _, x in stages[2].seen) <= 64, True)

    def test_without_gradient_in_evaluation_mode(self):
        stages, (ids, mask) = lower(), rows()
        found = cache_states(stages, ids, mask, 4)
        assert_equal((found.requires_grad, found.grad_fn), (False, None))
        assert_equal([seen[:2] for seen in stages[1].seen], [(False, False)] * len(stages[1].seen))
        assert_equal(int(stages[2].calls), 0)

    def test_each_module_is_in_its_mode_again(self):
        stages, (ids, mask) = lower(), rows()
        before = modes(stages)
        cache_states(stages, ids, mask)
        assert_equal(modes(stages), before)
        assert_equal(torch.is_grad_enabled(), True)


class TestLayerwiseGroups:
    def table(self, groups, stages) -> list[list[tuple[float, float]]]:
        """The rate and the decay of each parameter, stage by stage."""
        found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
        return [[found.get(id(p), (-1.0, -1.0)) for p in stage.parameters()] for stage in stages]

    def test_the_example_worked_by_hand(self):
        stages = [nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)]
        found = self.table(layerwise_groups(stages, 0.1, 0.5), stages)
        assert_close(found, [[(rate, 0.01), (rate, 0.0)] for rate in (0.025, 0.05, 0.1)])

    @pytest.mark.parametrize(("lr", "decay", "strength"), [(0.3, 0.8, 0.2), (1e-4, 1.0, 0.05), (2.0, 0.1, 0.0)])
    def test_rates_and_decays(self, lr, decay, strength):
        stages = [Embeddings(), Layer(), Layer(), nn.Conv1d(2, 3, 4)]
        found = self.table(layerwise_groups(stages, lr, decay, strength), stages)
        kinds = [[True], [True, False, False, False], [True, False, False, False], [True, False]]
        expected = [
            [(lr * decay ** (3 - i), strength if matrix else 0.0) for matrix in kind] for i, kind in enumerate(kinds)
        ]
        assert_close(found, expected)

    def test_frozen_parameters_are_left_out(self):
        stages = [nn.Linear(3, 3) for _ in range(3)]
        stages[0].requires_grad_(False)
        stages[2].weight.requires_grad_(False)
        found = self.table(layerwise_groups(stages, 0.1, 0.5), stages)
        none = (-1.0, -1.0)
        assert_close(found, [[none, none], [(0.05, 0.01), (0.05, 0.0)], [none, (0.1, 0.0)]])

    def test_a_stage_without_parameters_counts(self):
        stages = [nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)]
        found = self.table(layerwise_groups(stages, 0.1, 0.5), stages)
        assert_close(found[0], [(0.025, 0.01), (0.025, 0.0)])

    def test_a_shared_parameter_has_the_rate_of_the_last(self):
        stages = [nn.Linear(3, 3) for _ in range(4)]
        stages[2].weight = stages[0].weight
        groups = layerwise_groups(stages, 0.1, 0.5)
        assert_close(self.table(groups, stages)[0], [(0.05, 0.01), (0.0125, 0.0)])
        assert_equal(sum(len(group["params"]) for group in groups), 7)

    def test_no_group_is_empty_and_an_optimizer_takes_them(self):
        stages = [nn.Embedding(3, 2), nn.Tanh(), nn.LayerNorm(2), nn.Linear(2, 2, bias=False)]
        groups = layerwise_groups(stages, 0.1, 0.5)
        assert_equal([len(group["params"]) > 0 for group in groups], [True] * len(groups))
        optimizer = torch.optim.AdamW(groups)
        assert_equal(sum(len(group["params"]) for group in optimizer.param_groups), 4)


class TestWarmupLinear:
    def test_the_example_worked_by_hand(self):
        found = [warmup_linear(t, 2, 6) for t in range(9)]
        assert_close(found, [0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0, 0])

    @pytest.mark.parametrize(("warm", "total"), [(0, 5), (1, 9), (4, 5), (10, 35), (3, 1000)])
    def test_two_straight_lines(self, warm, total):
        up = [t / warm for t in range(warm)]
        down = [(total - t) / (total - warm) for t in range(warm, total)]
        assert_close([warmup_linear(t, warm, total) for t in range(total + 3)], [*up, *down, 0, 0, 0])

    @pytest.mark.parametrize("total", [0, 1, 4])
    def test_no_way_down(self, total):
        expected = [*(t / total for t in range(total)), 0, 0]
        assert_close([warmup_linear(t, total, total) for t in range(total + 2)], expected)


class TestEarlyStopping:
    def steps(self, stopping: EarlyStopping, metrics) -> list[tuple[bool, float, int]]:
        module = nn.Linear(2, 2)
        return [(stopping.step(m, [module]), stopping.best, stopping.waited) for m in metrics]

    def test_the_example_worked_by_hand(self):
        found = self.steps(EarlyStopping(2), [0.6, 0.7, 0.7, 0.65])
        assert_close(found, [(False, 0.6, 0), (False, 0.7, 0), (False, 0.7, 1), (True, 0.7, 2)])

    @pytest.mark.parametrize("patience", [1, 3])
    def test_waits_for_its_patience(self, patience):
        found = [stop for stop, _, _ in self.steps(EarlyStopping(patience), [5.0, 4.0, 3.0, 2.0, 1.0])]
        assert_equal(found, [i >= patience for i in range(5)])

    def test_an_improvement_starts_the_wait_anew(self):
        found = [w for _, _, w in self.steps(EarlyStopping(3), [1.0, 0.5, 0.7, 1.5, 1.2, 1.4, 1.6, 1.0])]
        assert_equal(found, [0, 1, 2, 0, 1, 2, 0, 1])

    def test_one_may_go_on_after_the_stop(self):
        found = self.steps(EarlyStopping(1), [1.0, 0.5, 0.2, 3.0])
        assert_close(found, [(False, 1.0, 0), (True, 1.0, 1), (True, 1.0, 2), (False, 3.0, 0)])

    @pytest.mark.parametrize(("min_delta", "waits"), [(0.25, [0, 1, 0, 1]), (0.125, [0, 0, 0, 0])])
    def test_little_is_no_improvement(self, min_delta, waits):
        found = self.steps(EarlyStopping(9, min_delta), [1.0, 1.25, 1.5, 1.75])
        assert_equal([w for _, _, w in found], waits)
        assert_equal(found[1][1], 1.0 if waits[1] else 1.25)

    def test_negative_metrics(self):
        found = self.steps(EarlyStopping(2), [-5.0, -3.0, -4.0])
        assert_close(found, [(False, -5.0, 0), (False, -3.0, 0), (False, -3.0, 1)])

    def test_a_nan_is_no_improvement(self):
        nan = float("nan")
        found = self.steps(EarlyStopping(2), [nan, 0.5, nan, nan])
        assert_equal([w for _, _, w in found], [1, 0, 1, 2])
        assert_equal((found[3][0], found[3][1]), (True, 0.5))

    def test_starts_below_all(self):
        stopping = EarlyStopping(2)
        assert_equal((stopping.best, stopping.waited), (-math.inf, 0))

    def test_restores_the_best_weights_and_buffers(self):
        modules = [nn.Linear(3, 2), nn.BatchNorm1d(2)]
        stopping, kept = EarlyStopping(5), []
        for metric in (0.3, 0.9, 0.9, 0.4):
            with torch.no_grad():
                for parameter in [*modules[0].parameters(), *modules[1].parameters()]:
                    parameter.add_(1)
            modules[1](torch.randn(4, 2))
            kept.append(state(*modules))
            stopping.step(metric, modules)
        before = [p for module in modules for p in module.parameters()]
        stopping.restore(modules)
        assert_close(state(*modules), kept[1])
        after = [p for module in modules for p in module.parameters()]
        assert_equal([a is b for a, b in zip(after, before, strict=True)], [True] * 4)

    def test_restores_again_after_more_training(self):
        module, stopping = nn.Linear(3, 2), EarlyStopping(5)
        stopping.step(0.5, [module])
        best = state(module)
        stopping.restore([module])
        with torch.no_grad():
            module.weight.add_(1)
        stopping.restore([module])
        assert_close(state(module), best)

    def test_two_of_them_keep_apart(self):
        module, one, other = nn.Linear(3, 2), EarlyStopping(5), EarlyStopping(5)
        one.step(0.5, [module])
        best = state(module)
        with torch.no_grad():
            module.weight.add_(1)
        other.step(0.9, [module])
        one.restore([module])
        assert_close(state(module), best)
        assert_equal(one.best, 0.5)

    def test_refuses_to_restore_nothing(self):
        stopping = EarlyStopping(2)
        stopping.step(float("nan"), [nn.Linear(2, 2)])
        with raises(ValueError, "best"):
            stopping.restore([nn.Linear(2, 2)])

    @pytest.mark.parametrize("patience", [0, -2])
    def test_refuses_no_patience(self, patience):
        with raises(ValueError, "patience", patience):
            EarlyStopping(patience)


class TestPredict:
    def expected(self, stages, head, states, mask) -> torch.Tensor:
        stages, head = [copy.deepcopy(stage).eval() for stage in stages], copy.deepcopy(head).eval()
        found = []
        for i in range(len(states)):
            x = states[i : i + 1]
            for stage in stages:
                x = stage(x, mask[i : i + 1])
            found.append(head(x, mask[i : i + 1]))
        return torch.cat(found).detach()

    @pytest.mark.parametrize("count", [0, 1, 2])
    @pytest.mark.parametrize("batch_size", [1, 3, 64])
    def test_matches_row_by_row(self, batch_size, count):
        (stages, head), (states, mask, _) = upper(0.5), data(7)
        found = predict(stages[:count], head, states, mask, batch_size)
        assert_close(found, self.expected(stages[:count], head, states, mask))
        assert_equal(found.requires_grad, False)

    def test_in_batches_without_gradient_and_each_in_its_mode_again(self):
        (stages, head), (states, mask, _) = upper(0.5), data(130)
        stages[0].eval()
        head.dropout.eval() if hasattr(head, "dropout") else None
        before = modes([*stages, head])
        predict(stages, head, states, mask)
        assert_equal(modes([*stages, head]), before)
        assert_equal({seen[:2] for seen in stages[1].seen}, {(False, False)})
        sizes = [len(x) for _, _, x in stages[1].seen]
        assert_equal((max(sizes) <= 64, sum(sizes)), (True, 130))

    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_in_batches_of_the_size_given(self, batch_size):
        (stages, head), (states, mask, _) = upper(), data(7)
        predict(stages, head, states, mask, batch_size)
        sizes = [len(x) for _, _, x in stages[0].seen]
        assert_equal((max(sizes) <= batch_size, sum(sizes)), (True, 7))


def written_out(stages, head, train, valid, epochs, batch_size, lr, decay=1.0, warm=0.1, patience=2, clip=1.0):
    """The lesson's loop for batches whose order makes no difference; the accuracies."""
    modules = [*stages, head]
    steps = math.ceil(len(train[2]) / batch_size)
    total = epochs * steps
    before = [math.floor(warm * total), total]
    groups = []
    for depth, module in enumerate(reversed(modules)):
        for parameter in module.parameters():
            if parameter.requires_grad:
                strength = 0.01 if parameter.dim() > 1 else 0.0
                groups.append({"params": [parameter], "lr": lr * decay**depth, "weight_decay": strength})
    rates = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups)
    history, best, waited, t = [], -1.0, 0, 0
    for _ in range(epochs):
        for module in modules:
            module.train()
        for _ in range(steps):
            up = t / before[0] if t < before[0] else (total - t) / (total - before[0])
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * up
            optimizer.zero_grad()
            x = train[0]
            for stage in stages:
                x = stage(x, train[1])
            F.cross_entropy(head(x, train[1]), train[2]).backward()
            nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], clip)
            optimizer.step()
            t += 1
        for module in modules:
            module.eval()
        with torch.no_grad():
            x = valid[0]
            for stage in stages:
                x = stage(x, valid[1])
            history.append(float((head(x, valid[1]).argmax(-1) == valid[2]).double().mean()))
        waited = 0 if history[-1] > best else waited + 1
        if history[-1] > best:
            best, kept = history[-1], state(*modules)
        if waited >= patience:
            break
    for module, one in zip(modules, kept, strict=True):
        module.load_state_dict(one)
    return history


class TestFineTune:
    @pytest.mark.parametrize(
        "options",
        [
            {"lr": 0.01},
            {"lr": 0.03, "decay": 0.3},
            {"lr": 0.02, "warm": 0.55},
            {"lr": 0.02, "warm": 0.0, "decay": 0.5},
            {"lr": 0.02, "clip": 0.01},
            {"lr": 0.02, "clip": 1000.0},
        ],
    )
    def test_matches_the_loop_written_out(self, options):
        stages, head = upper()
        with torch.no_grad():
            head.linear.weight.mul_(50)  # gradients worth clipping
        train, valid = data(12), data(8)
        mine = copy.deepcopy((stages, head))
        options = {"epochs": 7, "batch_size": 12, "patience": 9} | options
        expected = written_out(stages, head, train, valid, **options)
        found = fine_tune(*mine, train, valid, **options)
        assert_close(found, expected)
        assert_close(weights(*mine[0], mine[1]), weights(*stages, head), rtol=1e-6, atol=1e-8)

    def test_with_its_defaults(self):
        stages, head = upper()
        train, valid = data(12), data(8)
        mine = copy.deepcopy((stages, head))
        expected = written_out(stages, head, train, valid, 12, 12, 0.02)
        assert_close(fine_tune(*mine, train, valid, 12, 12, 0.02), expected)
        assert_close(weights(*mine[0], mine[1]), weights(*stages, head), rtol=1e-6, atol=1e-8)

    def test_the_total_counts_a_smaller_last_batch(self):
        stages, head = upper()
        one = data(1)
        train = tuple(part.expand(5, *part.shape[1:]) for part in one)  # five alike: any batch has the same loss
        valid, mine = data(8), copy.deepcopy((stages, head))
        # ⌈5/2⌉ = 3 steps an epoch.
        expected = written_out(stages, head, train, valid, 4, 2, 0.02, warm=0.1, patience=9)
        assert_close(fine_tune(*mine, train, valid, 4, 2, 0.02, warm=0.1, patience=9), expected)
        assert_close(weights(*mine[0], mine[1]), weights(*stages, head), rtol=1e-6, atol=1e-8)

    @pytest.mark.parametrize("patience", [1, 2, 3])
    def test_stops_early_with_the_best_weights(self, patience):
        stages, head = upper()
        train = data(12)
        with torch.no_grad():
            train[0][..., 0] += 4 * train[2][:, None]
        valid = (train[0], train[1], (train[2] + 1) % 3)  # all wrong: the more is learnt, the worse
        with torch.no_grad():
            head.linear.weight.mul_(50)
        mine = copy.deepcopy((stages, head))
        expected = written_out(stages, head, train, valid, 30, 12, 0.05, patience=patience)
        found = fine_tune(*mine, train, valid, 30, 12, 0.05, patience=patience)
        assert_close(found, expected)
        assert_equal(len(found) < 30, True)
        assert_close(state(*mine[0], mine[1]), state(*stages, head), rtol=1e-6, atol=1e-8)

    @pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (9, 3), (5, 64)])
    def test_each_epoch_sees_all_rows_once_in_a_new_order(self, n, batch_size):
        (stages, head), train, valid = upper(), data(n), data(3)
        fine_tune(stages, head, train, valid, 4, batch_size, 0.01, patience=9, generator=seeded(3))
        batches = [x for training, _, x in stages[0].seen if training]
        assert_equal([len(x) <= batch_size for x in batches], [True] * len(batches))
        per_epoch = math.ceil(n / batch_size)
        assert_equal(len(batches), 4 * per_epoch)
        order = [int((train[0] == x).all(-1).all(-1).nonzero()[0, 0]) for x in torch.cat(batches)]
        epochs = [order[i * n : (i + 1) * n] for i in range(4)]
        assert_equal([sorted(epoch) for epoch in epochs], [list(range(n))] * 4)
        assert_equal(len({tuple(epoch) for epoch in epochs}) > 1, True)

    def test_states_masks_and_labels_go_together(self):
        stages, head = upper()
        train, valid = data(12), data(40)
        with torch.no_grad():
            train[0][..., 0] += 4 * train[2][:, None]
            valid[0][..., 0] += 4 * valid[2][:, None]
        found = fine_tune(stages, head, train, valid, 40, 4, 0.05, patience=40, generator=seeded(1))
        assert_equal(max(found) > 0.8, True)

    def test_the_order_comes_from_the_generator(self):
        train, valid, start, found = data(9), data(3), upper(), []
        for seed, own in ((3, 1), (3, 2), (4, 1)):
            torch.manual_seed(own)
            stages, head = copy.deepcopy(start)
            fine_tune(stages, head, train, valid, 2, 2, 0.05, generator=seeded(seed))
            found.append(torch.cat([x for training, _, x in stages[0].seen if training]))
        assert_close(found[1], found[0])
        assert_equal(bool((found[2] - found[0]).abs().max() > 0), True)

    @pytest.mark.parametrize("before", [True, False])
    def test_dropout_drops_in_training_and_not_at_the_end(self, before):
        (stages, head), train, valid = upper(0.5), data(12), data(8)
        for module in [*stages, head]:
            module.train(before)
        fine_tune(stages, head, train, valid, 3, 6, 0.01, patience=9)
        assert_equal({training for training, grad, _ in stages[1].seen if grad}, {True})
        assert_equal({training for training, grad, _ in stages[1].seen if not grad}, {False})
        assert_equal(set(modes([*stages, head])), {False})

    def test_the_last_accuracy_is_of_the_weights_that_are_back(self):
        (stages, head), train, valid = upper(0.3), data(30), data(20)
        found = fine_tune(stages, head, train, valid, 8, 6, 0.03, patience=9, generator=seeded(2))
        x = valid[0]
        for stage in stages:
            x = stage(x, valid[1])
        right = (head(x, valid[1]).argmax(-1) == valid[2]).double().mean()
        assert_close(float(right), max(found))

    def test_frozen_parameters_stay_as_they_are(self):
        (stages, head), train, valid = upper(), data(12), data(8)
        for parameter in stages[0].parameters():
            parameter.grad = torch.ones_like(parameter)
            parameter.requires_grad_(False)
        stages[1].linear.bias.requires_grad_(False)
        frozen = [*stages[0].parameters(), stages[1].linear.bias]
        before = [p.detach().clone() for p in frozen]
        fine_tune(stages, head, train, valid, 3, 4, 0.05)
        assert_close([p.detach() for p in frozen], before)

    def test_gradients_from_before_dont_count(self):
        start, train, valid = upper(), data(12), data(8)
        mine, other = copy.deepcopy(start), copy.deepcopy(start)
        for parameter in [*mine[0][0].parameters(), *mine[1].parameters()]:
            parameter.grad = torch.full_like(parameter, 100.0)
        for one in (mine, other):
            fine_tune(*one, train, valid, 2, 12, 0.02)
        assert_close(weights(*mine[0], mine[1]), weights(*other[0], other[1]), rtol=1e-6, atol=1e-8)

    def test_without_upper_stages(self):
        head = ClassificationHead(6, 3, 0.0).double()
        mine, train, valid = copy.deepcopy(head), data(12), data(8)
        expected = written_out([], head, train, valid, 5, 12, 0.1)
        assert_close(fine_tune([], mine, train, valid, 5, 12, 0.1), expected)
        assert_close(weights(mine), weights(head), rtol=1e-6, atol=1e-8)


class TestOnTheGpu:
    def test_the_head(self, gpu):
        head = ClassificationHead(6, 3, 0.0).double()
        gpu.check(head, torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True), torch.tensor([[1, 1, 0]] * 2))

    def test_cached_states_and_logits(self, gpu):
        stages, (ids, mask) = lower(), rows()
        found = cache_states(gpu(stages), gpu(ids), gpu(mask), 3)
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), cache_states(stages, ids, mask, 3))
        (stages, head), (states, mask, _) = upper(), data(7)
        found = predict(gpu(stages), gpu(head), gpu(states), gpu(mask), 3)
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), predict(stages, head, states, mask, 3))

    def test_frozen_and_grouped_there(self, gpu):
        stages = gpu([nn.Linear(3, 3) for _ in range(3)])
        freeze_lower(stages, 2)
        groups = layerwise_groups(stages, 0.1, 0.5)
        assert_equal({p.device.type for group in groups for p in group["params"]}, {gpu.device.type})

    def test_fine_tuned_there(self, gpu):
        (stages, head), train, valid = upper(), data(6), data(4)
        moved = gpu(stages), gpu(head)
        there = fine_tune(*moved, gpu(train), gpu(valid), 2, 6, 0.02, generator=gpu.generator(3))
        assert_close(there, fine_tune(stages, head, train, valid, 2, 6, 0.02, generator=seeded(3)))
        assert_equal({p.device.type for m in [*moved[0], moved[1]] for p in m.parameters()}, {gpu.device.type})
        assert_close([w.cpu() for w in weights(*moved[0], moved[1])], weights(*stages, head), rtol=1e-6, atol=1e-8)

    def test_the_best_weights_come_back_there(self, gpu):
        module = gpu(nn.Linear(3, 2).double())
        stopping, best = EarlyStopping(2), weights(module)
        stopping.step(0.5, [module])
        with torch.no_grad():
            module.weight.add_(1)
        stopping.restore([module])
        assert_equal(module.weight.device.type, gpu.device.type)
        assert_close([w.cpu() for w in weights(module)], [w.cpu() for w in best])


class MiniLMEmbeddings(nn.Module):
    def __init__(self, loaded: dict[str, torch.Tensor]) -> None:
        super().__init__()
        of = {name.removeprefix("embeddings."): value for name, value in loaded.items()}
        self.words = nn.Embedding.from_pretrained(of["word_embeddings.weight"], freeze=False)
        self.places = nn.Parameter(of["position_embeddings.weight"] + of["token_type_embeddings.weight"][0])
        self.norm = nn.LayerNorm(384, 1e-12)
        self.norm.load_state_dict({part: of[f"LayerNorm.{part}"] for part in ("weight", "bias")})

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.norm(self.words(ids) + self.places[: ids.shape[1]])


class MiniLMLayer(nn.Module):
    """torch's own layer with the weights of layer `i`."""

    def __init__(self, loaded: dict[str, torch.Tensor], i: int) -> None:
        super().__init__()
        self.inner = nn.TransformerEncoderLayer(384, 12, 1536, 0.1, "gelu", 1e-12, batch_first=True)
        of = {name.removeprefix(f"encoder.layer.{i}."): value for name, value in loaded.items()}
        names = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        mine = {f"{a}.{part}": of[f"{b}.{part}"] for a, b in names.items() for part in ("weight", "bias")}
        for part in ("weight", "bias"):
            parts = [of[f"attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            mine[f"self_attn.in_proj_{part}"] = torch.cat(parts)
        self.inner.load_state_dict(mine)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.inner(x, src_key_padding_mask=mask == 0)


def accuracies_on_reviews(folder, reviews, labelled: int, trained: int, length: int) -> tuple[float, list[float]]:
    """On 600 held-out reviews: of TF-IDF and logistic regression, and of MiniLM with two seeds.

    labelled  so many reviews are learnt from, by both
    trained   so many layers of the six
    length    so many tokens of a review are read by MiniLM
    """
    from safetensors.torch import load_file
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from tokenizers import Tokenizer

    torch.set_num_threads(1)
    texts, labels = reviews
    some = torch.randperm(len(texts), generator=seeded(0))[: labelled + 660].tolist()
    texts, y = [texts[i] for i in some], torch.tensor([int(labels[i]) for i in some])
    learnt, valid, held = slice(0, labelled), slice(labelled, labelled + 60), slice(labelled + 60, None)

    vectors = TfidfVectorizer(sublinear_tf=True)
    known = vectors.fit_transform(texts[learnt])
    unknown = vectors.transform(texts[held])
    # The better of three strengths, chosen on the very reviews that count: an advantage for the baseline.
    baseline = max(LogisticRegression(C=c).fit(known, y[learnt]).score(unknown, y[held]) for c in (1, 10, 100))

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    encoded = tokenizer.encode_batch(texts)
    ids, mask = (torch.tensor([getattr(e, name) for e in encoded]) for name in ("ids", "attention_mask"))
    loaded = load_file(folder / "model.safetensors")
    below = [MiniLMEmbeddings(loaded), *(MiniLMLayer(loaded, i) for i in range(6 - trained))]
    states = cache_states(below, ids, mask)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        generator = seeded(seed)
        stages = [MiniLMLayer(loaded, i) for i in range(6 - trained, 6)]
        head = ClassificationHead(384, 2, generator=generator)
        parts = [(states[part], mask[part], y[part]) for part in (learnt, valid)]
        fine_tune(stages, head, *parts, 3, 16, 0.01, 0.01, generator=generator)
        right = predict(stages, head, states[held], mask[held]).argmax(-1) == y[held]
        found.append(float(right.double().mean()))
    return baseline, found


@pytest.mark.learning
class TestMiniLMOnReviews:
    @pytest.mark.deadline(240)
    def test_beats_words_on_the_same_200_labels(self, minilm, reviews):
        baseline, found = accuracies_on_reviews(minilm, reviews, 200, 1, 24)
        assert_equal([accuracy > baseline + 0.02 for accuracy in found], [True, True])

    @pytest.mark.slow
    @pytest.mark.deadline(900)
    def test_and_on_the_same_1000(self, minilm, reviews):
        baseline, found = accuracies_on_reviews(minilm, reviews, 1000, 2, 48)
        assert_equal([accuracy > baseline + 0.02 for accuracy in found], [True, True])
