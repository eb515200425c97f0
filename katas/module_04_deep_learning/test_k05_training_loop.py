"""Judges k05_training_loop against torch's DataLoader, loops written out, and by what a network learns of MNIST."""

import copy
import math
from collections import Counter
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k05_training_loop import (
    DataLoader,
    EarlyStopping,
    TensorDataset,
    collate,
    evaluate,
    fit,
    train_epoch,
)

pytestmark = [from_scratch("torch.utils.data"), pure()]


class Squares:
    """A dataset of numbers that are not their own index; it notes what was fetched."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.fetched: list[int] = []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.n:
            raise IndexError(index)
        self.fetched.append(index)
        return index * index + 7


def numbers(*batches: torch.Tensor) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


class TestTensorDataset:
    def test_a_sample_is_a_row_of_each(self):
        x, y, z = torch.randn(5, 2, 3), torch.tensor([4, 0, 2, 9, 1]), torch.randn(5, 1)
        dataset = TensorDataset(x, y, z)
        for i in (0, 3, 4, -1):
            assert_close(dataset[i], (x[i], y[i], z[i]))

    @pytest.mark.parametrize("n", [0, 1, 6])
    def test_its_length(self, n):
        assert_equal(len(TensorDataset(torch.zeros(n, 3), torch.zeros(n))), n)

    def test_of_one_tensor(self):
        assert_equal(len(TensorDataset(torch.tensor([4.0, 5.0]))), 2)
        sample = TensorDataset(torch.tensor([4.0, 5.0]))[1]
        assert_equal(isinstance(sample, tuple), True)
        assert_close(sample, (torch.tensor(5.0),))

    def test_ends_behind_the_last_sample(self):
        dataset = TensorDataset(torch.tensor([4.0, 5.0]))
        assert_close([row for (row,) in dataset], [torch.tensor(4.0), torch.tensor(5.0)])
        with raises(IndexError):
            dataset[2]

    @pytest.mark.parametrize("lengths", [(4, 3), (4, 6), (4, 4, 6), (4, 4, 3)])
    def test_refuses_tensors_of_different_lengths(self, lengths):
        with raises(ValueError, 4, lengths[-1]):
            TensorDataset(*(torch.zeros(n, 2) for n in lengths))


class TestCollate:
    @pytest.mark.parametrize(
        "samples",
        [
            [torch.randn(2, 3), torch.randn(2, 3), torch.randn(2, 3)],
            [torch.tensor(3), torch.tensor(5)],
            [torch.randn(2).bfloat16()],
            [3, -1, 7, 2**40],
            [0.5, 1 / 3],
            [True, False, True],
            [(torch.randn(3), 4), (torch.randn(3), 0)],
            [(torch.randn(3),)],
            [{"x": torch.randn(2), "y": 1}, {"y": 8, "x": torch.randn(2)}],
            [({"a": 1.5}, (2, torch.ones(1))), ({"a": 2.5}, (3, torch.zeros(1)))],
        ],
        ids=["tensors", "scalars", "one", "ints", "floats", "bools", "tuples", "short", "dicts", "nested"],
    )
    def test_matches_torch(self, samples):
        from torch.utils.data import default_collate

        assert_close(collate(samples), default_collate(samples))

    def test_strings_stay_a_list(self):
        assert_equal(collate(["b", "a", "c"]), ["b", "a", "c"])
        text, number = collate([("b", 1), ("a", 2)])
        assert_equal(text, ["b", "a"])
        assert_close(number, torch.tensor([1, 2]))

    def test_tuples_become_a_tuple(self):
        batch = collate([(1, (2.0, "a")), (3, (4.0, "b"))])
        assert_equal((type(batch).__name__, type(batch[1]).__name__), ("tuple", "tuple"))


class TestDataLoader:
    def test_the_example_worked_by_hand(self):
        assert_equal(len(DataLoader(Squares(10), 4)), 3)
        assert_equal(len(DataLoader(Squares(10), 4, drop_last=True)), 2)

    @pytest.mark.parametrize("n", [0, 1, 3, 8, 9])
    @pytest.mark.parametrize("size", [1, 3, 4, 20])
    @pytest.mark.parametrize("drop_last", [True, False])
    def test_matches_torch(self, n, size, drop_last):
        from torch.utils.data import DataLoader as Theirs

        mine, theirs = (kind(Squares(n), batch_size=size, drop_last=drop_last) for kind in (DataLoader, Theirs))
        assert_equal(numbers(*mine), numbers(*theirs))
        assert_equal(len(mine), len(theirs))

    def test_in_order_and_one_by_one_unless_told_otherwise(self):
        assert_equal(numbers(*DataLoader(Squares(4))), [[7], [8], [11], [16]])

    def test_arguments_in_their_order(self):
        found = list(DataLoader(Squares(7), 2, True, True, sorted, torch.Generator().manual_seed(1)))
        assert_equal([len(batch) for batch in found], [2, 2, 2])
        assert_equal([batch == sorted(batch) for batch in found], [True] * 3)

    def test_batches_of_a_tensor_dataset(self):
        x, y = torch.randn(5, 2), torch.tensor([4, 0, 2, 9, 1])
        found = list(DataLoader(TensorDataset(x, y), batch_size=2))
        assert_close(found, [(x[:2], y[:2]), (x[2:4], y[2:4]), (x[4:], y[4:])])

    def test_a_pass_can_be_made_again(self):
        loader = DataLoader(Squares(5), 2)
        first = numbers(*loader)
        assert_equal((first, numbers(*loader)), ([[7, 8], [11, 16], [23]],) * 2)

    def test_collates_as_it_is_told(self):
        loader = DataLoader(Squares(5), 3, collate_fn=lambda samples: ("a batch", samples))
        assert_equal(list(loader), [("a batch", [7, 8, 11]), ("a batch", [16, 23])])

    @pytest.mark.parametrize("drop_last", [True, False])
    def test_shuffled_each_sample_is_there_once(self, drop_last):
        loader = DataLoader(Squares(11), 4, shuffle=True, drop_last=drop_last)
        for _ in range(3):
            batches = numbers(*loader)
            assert_equal([len(batch) for batch in batches], [4, 4] if drop_last else [4, 4, 3])
            seen = Counter(number for batch in batches for number in batch)
            assert_equal(max(seen.values()), 1)
            assert_equal(set(seen) <= {i * i + 7 for i in range(11)}, True)

    def test_drop_last_leaves_others_out_each_time(self):
        loader = DataLoader(Squares(5), 4, shuffle=True, drop_last=True)
        seen = {number for _ in range(100) for batch in numbers(*loader) for number in batch}
        # Each is left out of all 100 passes once in 5¹⁰⁰ times.
        assert_equal(seen, {i * i + 7 for i in range(5)})

    def test_every_order_comes_up(self):
        loader = DataLoader(Squares(3), 3, shuffle=True, generator=torch.Generator().manual_seed(5))
        orders = {tuple(batch) for _ in range(200) for batch in numbers(*loader)}
        # One of six is missing once in 10¹⁵ times.
        assert_equal(len(orders), 6)

    def test_all_orders_are_equally_likely(self):
        generator = torch.Generator().manual_seed(7)
        loader, passes = DataLoader(Squares(3), 3, shuffle=True, collate_fn=tuple, generator=generator), 4800
        orders = Counter(order for _ in range(passes) for order in loader)
        expected = passes / 6
        chi_squared = sum((orders[order] - expected) ** 2 / expected for order in permutations(Squares(3)))
        # 5 degrees of freedom: a fair shuffle is above 35 once in 600,000 times.
        if chi_squared > 35:
            counts = sorted(orders.values())
            fail(f"In {passes} passes the 6 orders of 3 samples came {counts} times; about {expected:.0f} each was expected.",
                 evidence=("unfair", round(chi_squared, -1)))  # fmt: skip

    def test_the_generator_decides(self):
        def two_passes(seed):
            loader = DataLoader(Squares(50), 50, shuffle=True, generator=torch.Generator().manual_seed(seed))
            return numbers(*loader) + numbers(*loader)

        first = two_passes(3)
        torch.rand(5)  # torch's own generator has no say
        assert_equal(two_passes(3), first)
        if first == two_passes(4):
            fail("Generators of seeds 3 and 4 give the same orders.", evidence=("seed",))
        if first[0] == first[1]:
            fail("Both passes have the same order. Each pass needs a new one.", evidence=("same order",))

    def test_torchs_own_generator_is_left_alone(self):
        before = torch.get_rng_state()
        list(DataLoader(Squares(9), 2, shuffle=True, generator=torch.Generator().manual_seed(2)))
        list(DataLoader(Squares(9), 2))
        assert_close(torch.get_rng_state(), before)

    def test_without_a_generator_torchs_own_decides(self):
        loader, passes = DataLoader(Squares(50), 50, shuffle=True), []
        for _ in range(2):
            torch.manual_seed(3)
            passes.append(numbers(*loader))
        assert_equal(passes[0], passes[1])

    def test_fetches_a_sample_once_and_not_too_early(self):
        dataset = Squares(7)
        loader = DataLoader(dataset, 3)
        a_pass = iter(loader)
        assert_equal(dataset.fetched, [])
        next(a_pass)
        assert_equal(dataset.fetched, [0, 1, 2])
        assert_equal(numbers(*a_pass), [[16, 23, 32], [43]])
        assert_equal(dataset.fetched, [0, 1, 2, 3, 4, 5, 6])

    @pytest.mark.parametrize("shuffle", [True, False])
    def test_two_passes_at_once(self, shuffle):
        loader = DataLoader(Squares(5), 2, shuffle=shuffle)
        pairs = list(zip(loader, loader, strict=True))
        for side in (0, 1):
            assert_equal(sorted(n for pair in pairs for n in pair[side].tolist()), [7, 8, 11, 16, 23])

    @pytest.mark.parametrize("size", [0, -2])
    def test_refuses_batches_of_no_sample(self, size):
        with raises(ValueError, size):
            DataLoader(Squares(5), size)


class Net(nn.Module):
    """Two layers with batch norm and dropout between; it notes in which mode, and with which gradient, it is called."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(3, 6)
        self.norm = nn.BatchNorm1d(6)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(6, 4)
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, x):
        self.calls.append((self.training, torch.is_grad_enabled()))
        return self.last(self.dropout(self.norm(self.first(x)).tanh()))


def some_batches(*sizes: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(n, 3, dtype=torch.float64), torch.randint(0, 4, (n,))) for n in sizes]


class Scripted(nn.Module):
    """A model that answers its inputs: the loss of a batch is then whatever the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return x + self.nothing


def first_logit(logits, targets):
    return logits[:, 0].mean()


def of_losses(*losses_and_sizes):
    """Batches whose mean loss by `first_logit` is as given."""
    return [
        (torch.full((n, 2), loss, dtype=torch.float64), torch.zeros(n, dtype=torch.long))
        for loss, n in losses_and_sizes
    ]


class TestEvaluate:
    def test_the_example_worked_by_hand(self):
        loss, _ = evaluate(Scripted(), of_losses((1.0, 4), (1.0, 4), (6.0, 2)), first_logit)
        assert_close(loss, 2.0)

    @pytest.mark.parametrize("sizes", [(7,), (4, 4, 3), (1, 1, 5), (2, 2)])
    def test_loss_and_accuracy_over_all_samples(self, sizes):
        model, batches = Net().double().eval(), some_batches(*sizes)
        x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
        logits = model(x).detach()
        expected = (F.cross_entropy(logits, y).item(), (logits.max(1).indices == y).double().mean().item())
        assert_close(evaluate(model, batches, F.cross_entropy), expected)

    def test_accuracy_counts_right_answers(self):
        x = torch.tensor([[0.1, 0.9, 0.3], [2.0, -1, 1], [-3, -2, -1], [0, 5, 1]], dtype=torch.float64)
        batches = [(x[:3], torch.tensor([1, 2, 2])), (x[3:], torch.tensor([1]))]
        assert_close(evaluate(Scripted(), batches, F.cross_entropy)[1], 0.75)

    def test_of_a_loader_without_length(self):
        batches = some_batches(4, 2)

        class Stream:
            def __iter__(self):
                return iter(batches)

        model = Net().double().eval()
        logits = model(torch.cat([x for x, _ in batches])).detach()
        expected = F.cross_entropy(logits, torch.cat([y for _, y in batches])).item()
        assert_close(evaluate(model, Stream(), F.cross_entropy)[0], expected)

    def test_takes_the_loss_that_it_is_given(self):
        model, batches = Net().double().eval(), some_batches(5)
        expected = F.multi_margin_loss(model(batches[0][0]), batches[0][1]).item()
        assert_close(evaluate(model, batches, F.multi_margin_loss)[0], expected)

    def test_runs_in_evaluation_mode_and_without_gradient(self):
        model = Net(dropout=0.5).double()
        evaluate(model, some_batches(4, 3), F.cross_entropy)
        assert_equal(model.calls, [(False, False)] * 2)
        assert_equal(torch.is_grad_enabled(), True)

    def test_changes_no_buffer_and_no_gradient(self):
        model, batches = Net(dropout=0.5).double(), some_batches(4, 3)
        F.cross_entropy(model(batches[0][0]), batches[0][1]).backward()
        before = copy.deepcopy(([p.grad for p in model.parameters()], dict(model.state_dict())))
        evaluate(model, batches, F.cross_entropy)
        assert_close(([p.grad for p in model.parameters()], dict(model.state_dict())), before)

    @pytest.mark.parametrize("training", [True, False])
    def test_leaves_the_model_in_its_mode(self, training):
        model = Net().double().train(training)
        evaluate(model, some_batches(4), F.cross_entropy)
        assert_equal([module.training for module in model.modules()], [training] * 5)

    @pytest.mark.parametrize("training", [True, False])
    def test_leaves_each_module_in_its_own_mode(self, training):
        model = Net().double().train(training)
        model.norm.train(not training)
        evaluate(model, some_batches(4), F.cross_entropy)
        modes = {name: module.training for name, module in model.named_children()}
        expected = {"first": training, "norm": not training, "dropout": training, "last": training}
        assert_equal(modes, expected)

    def test_gives_plain_numbers(self):
        found = evaluate(Net().double(), some_batches(4), F.cross_entropy)
        assert_equal([type(number).__name__ for number in found], ["float", "float"])


def by_hand(model, batches, optimizer) -> float:
    """An epoch written out, for a model in training mode without gradients."""
    losses = []
    for x, y in batches:
        for parameter in model.parameters():
            parameter.grad = None
        logits = model(x)
        nats = F.cross_entropy(logits, y, reduction="none")
        nats.mean().backward()
        optimizer.step()
        losses += nats.tolist()
    return sum(losses) / len(losses)


OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.3),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam": lambda parameters: torch.optim.AdamW(parameters, lr=0.05),
}


class TestTrainEpoch:
    @pytest.mark.parametrize("sizes", [(5,), (4, 4, 2), (3, 6, 2, 5)])
    @pytest.mark.parametrize("kind", list(OPTIMIZERS))
    def test_matches_an_epoch_written_out(self, sizes, kind):
        model, batches = Net().double(), some_batches(*sizes)
        twin = copy.deepcopy(model)
        expected = by_hand(twin, batches, OPTIMIZERS[kind](twin.parameters()))
        found = train_epoch(model, batches, F.cross_entropy, OPTIMIZERS[kind](model.parameters()))
        assert_close(found, expected)
        assert_close(dict(model.state_dict()), dict(twin.state_dict()))

    def test_the_loss_is_a_mean_over_samples(self):
        model = Scripted()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        assert_close(train_epoch(model, of_losses((1.0, 4), (1.0, 4), (6.0, 2)), first_logit, optimizer), 2.0)

    def test_gradients_from_before_do_not_count(self):
        model, batches = Net().double(), some_batches(4, 3)
        twin = copy.deepcopy(model)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 5.0)
        by_hand(twin, batches, OPTIMIZERS["sgd"](twin.parameters()))
        train_epoch(model, batches, F.cross_entropy, OPTIMIZERS["sgd"](model.parameters()))
        assert_close([p.detach() for p in model.parameters()], [p.detach() for p in twin.parameters()])

    def test_one_epoch_after_the_other(self):
        model, batches = Net().double(), some_batches(4, 3)
        twin = copy.deepcopy(model)
        mine, theirs = (OPTIMIZERS["momentum"](m.parameters()) for m in (model, twin))
        for _ in range(3):
            expected = by_hand(twin, batches, theirs)
            assert_close(train_epoch(model, batches, F.cross_entropy, mine), expected)

    def test_takes_the_loss_that_it_is_given(self):
        model, batches = Net().double(), some_batches(5)
        twin = copy.deepcopy(model)
        F.multi_margin_loss(twin(batches[0][0]), batches[0][1]).backward()
        torch.optim.SGD(twin.parameters(), lr=0.3).step()
        train_epoch(model, batches, F.multi_margin_loss, torch.optim.SGD(model.parameters(), lr=0.3))
        assert_close([p.detach() for p in model.parameters()], [p.detach() for p in twin.parameters()])

    def test_puts_every_module_in_training_mode(self):
        model = Net(dropout=0.5).double().eval()
        train_epoch(model, some_batches(4, 3), F.cross_entropy, OPTIMIZERS["sgd"](model.parameters()))
        assert_equal(model.calls, [(True, True)] * 2)
        assert_equal([module.training for module in model.modules()], [True] * 5)

    def test_puts_a_module_in_training_mode_whose_model_is_in_it(self):
        model = Net(dropout=0.5).double().train()
        model.first.eval()
        train_epoch(model, some_batches(4), F.cross_entropy, OPTIMIZERS["sgd"](model.parameters()))
        assert_equal([module.training for module in model.modules()], [True] * 5)

    def test_a_frozen_parameter_stays(self):
        model = Net().double()
        model.first.weight.requires_grad_(False)
        before = model.first.weight.clone()
        train_epoch(model, some_batches(4, 3), F.cross_entropy, OPTIMIZERS["adam"](model.parameters()))
        assert_close(model.first.weight, before, rtol=0, atol=0)

    def test_gives_a_plain_number(self):
        model = Net().double()
        found = train_epoch(model, some_batches(4), F.cross_entropy, OPTIMIZERS["sgd"](model.parameters()))
        assert_equal(type(found).__name__, "float")


class TestEarlyStopping:
    def test_the_example_of_the_lesson(self):
        stopping = EarlyStopping(2)
        found = [(stopping.step(loss), stopping.wait, stopping.best) for loss in (5.0, 3.0, 4.0, 2.0, 2.0, 3.0)]
        stops, waits, bests = ([step[i] for step in found] for i in range(3))
        assert_equal(waits, [0, 0, 1, 0, 1, 2])
        assert_equal(bests, [5.0, 3.0, 3.0, 2.0, 2.0, 2.0])
        assert_equal([bool(stop) for stop in stops], [False] * 5 + [True])

    def test_at_the_start(self):
        stopping = EarlyStopping(4)
        assert_equal((stopping.best, stopping.wait), (math.inf, 0))

    @pytest.mark.parametrize("patience", [1, 2, 4])
    def test_stops_after_so_many_in_a_row(self, patience):
        stopping = EarlyStopping(patience)
        stops = [bool(stopping.step(loss)) for loss in (3.0, 2.0, 2.5, 1.0, 1.0, 1.5, 1.0, 1.25, 1.0)]
        wait = [0, 0, 1, 0, 1, 2, 3, 4, 5]
        assert_equal(stops, [waited >= patience for waited in wait])

    def test_a_worse_loss_is_no_improvement(self):
        stopping = EarlyStopping(9, min_delta=0.5)
        stopping.step(1.0)
        stopping.step(1.25)
        assert_equal((stopping.wait, stopping.best), (1, 1.0))

    def test_an_improvement_must_be_larger_than_min_delta(self):
        stopping = EarlyStopping(9, min_delta=0.25)
        waits = []
        for loss in (1.0, 0.75, 0.875, 0.5, 0.25, 0.125, 0.0):
            stopping.step(loss)
            waits.append((stopping.wait, stopping.best))
        expected = [(0, 1.0), (1, 1.0), (2, 1.0), (0, 0.5), (1, 0.5), (0, 0.125), (1, 0.125)]
        assert_equal(waits, expected)

    def test_losses_below_0(self):
        stopping = EarlyStopping(2, min_delta=0.5)
        waits = []
        for loss in (-1.0, -1.25, -2.0, -1.0):
            stopping.step(loss)
            waits.append(stopping.wait)
        assert_equal(waits, [0, 1, 0, 1])

    def test_nan_is_never_better(self):
        stopping = EarlyStopping(3)
        stops = [bool(stopping.step(loss)) for loss in (math.nan, 2.0, math.nan, 1.0, math.nan, math.nan, math.nan)]
        assert_equal((stops, stopping.best), ([False] * 6 + [True], 1.0))


class Counting(nn.Module):
    """Its weight, and a buffer, count the steps of training: after epoch 0 they are 1, and so on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x):
        if self.training:
            self.steps += 1
        return x * 0 + self.weight


class Script:
    """A loss that moves Counting's weight by 1 a step, and in evaluation is the next of `losses`."""

    def __init__(self, *losses: float) -> None:
        self.losses = losses

    def __call__(self, logits, targets):
        if logits.requires_grad:
            return -logits[0, 0]
        return torch.tensor(self.losses[round(logits[0, 0].item()) - 1], dtype=torch.float64)


def counted(losses, epochs, patience):
    """fit() on a Counting model whose validation losses are scripted: the model and the history."""
    model, batch = Counting(), [(torch.zeros(3, 2, dtype=torch.float64), torch.tensor([0, 1, 0]))]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return model, fit(model, batch, batch, Script(*losses), optimizer, epochs, patience)


class Passes(list):
    """A list that counts how often it was gone through."""

    count = 0

    def __iter__(self):
        self.count += 1
        return super().__iter__()


class TestFit:
    def test_the_example_of_the_lesson(self):
        model, history = counted([5.0, 3, 4, 2, 2, 3, 0, 0], epochs=8, patience=2)
        assert_equal([epoch["valid_loss"] for epoch in history], [5.0, 3, 4, 2, 2, 3])
        assert_equal(model.weight.item(), 4.0)

    @pytest.mark.parametrize(
        ("losses", "epochs", "patience", "run", "best"),
        [
            ([4.0, 3, 2, 1, 0.5], 5, 2, 5, 5),
            ([4.0, 3, 2, 1, 0.5], 3, 2, 3, 3),
            ([1.0, 2, 3, 4, 5], 5, 1, 2, 1),
            ([1.0, 2, 3, 4, 5], 5, 3, 4, 1),
            ([1.0, 2, 3, 4, 5], 2, 5, 2, 1),
            ([2.0, 3, 1, 3, 1, 3, 0], 7, 3, 6, 3),
            ([math.nan, 3, math.nan, 2, math.nan, 9], 6, 2, 6, 4),
            ([7.0], 1, 1, 1, 1),
        ],
    )
    def test_stops_and_brings_the_best_back(self, losses, epochs, patience, run, best):
        model, history = counted(losses, epochs, patience)
        assert_equal(len(history), run)
        assert_equal(model.weight.item(), float(best))
        assert_equal(int(model.steps), best)

    def test_without_a_single_number_the_model_is_as_before(self):
        model, history = counted([math.nan] * 5, 5, 2)
        assert_equal((len(history), model.weight.item(), int(model.steps)), (2, 0.0, 0))

    def test_matches_epochs_written_out(self):
        train, valid = some_batches(4, 5, 2), some_batches(6, 3)
        model = Net().double()
        twin = copy.deepcopy(model)
        optimizer = OPTIMIZERS["momentum"](twin.parameters())
        x, y = (torch.cat(parts) for parts in zip(*valid, strict=True))
        expected, best = [], (math.inf, None)
        for _ in range(6):
            train_loss = by_hand(twin.train(), train, optimizer)
            logits = twin.eval()(x).detach()
            loss, accuracy = F.cross_entropy(logits, y).item(), (logits.argmax(1) == y).double().mean().item()
            expected.append({"train_loss": train_loss, "valid_loss": loss, "valid_accuracy": accuracy})
            if loss < best[0]:
                best = loss, copy.deepcopy(dict(twin.state_dict()))
        history = fit(model, train, valid, F.cross_entropy, OPTIMIZERS["momentum"](model.parameters()), 6, 6)
        assert_close(history, expected)
        assert_close(dict(model.state_dict()), best[1])

    def test_goes_through_each_loader_once_an_epoch(self):
        train, valid = Passes(some_batches(4)), Passes(some_batches(3))
        model = Net().double()
        history = fit(model, train, valid, F.cross_entropy, OPTIMIZERS["sgd"](model.parameters()), 3, 3)
        assert_equal((train.count, valid.count), (len(history), len(history)))

    def test_keeps_the_parameters(self):
        model = Net().double()
        before = dict(model.named_parameters())
        fit(model, some_batches(4), some_batches(3), F.cross_entropy, OPTIMIZERS["sgd"](model.parameters()), 2, 2)
        after = dict(model.named_parameters())
        assert_equal({name: after[name] is before[name] for name in before}, dict.fromkeys(before, True))

    def test_gives_plain_numbers(self):
        model = Net().double()
        optimizer = OPTIMIZERS["sgd"](model.parameters())
        history = fit(model, some_batches(4), some_batches(3), F.cross_entropy, optimizer, 2, 2)
        assert_equal({type(number).__name__ for epoch in history for number in epoch.values()}, {"float"})


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small matrices are quicker on one thread than on several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.deadline(60)  # some seconds on a quiet machine, and right solutions in plain loops
@pytest.mark.learning
class TestLearning:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_handwritten_digits(self, mnist, seed):
        """A small network reads digits better than comparing them with the mean image of each class."""
        torch.manual_seed(seed)
        order = torch.randperm(5000)
        x, y = torch.tensor(mnist[0][order.numpy()]).float() / 255, torch.tensor(mnist[1][order.numpy()])
        train, valid, test = (TensorDataset(x[a:b], y[a:b]) for a, b in ((0, 2500), (2500, 3000), (3000, 5000)))
        means = torch.stack([x[:2500][y[:2500] == digit].mean(0) for digit in range(10)])
        baseline = (torch.cdist(x[3000:], means).argmin(1) == y[3000:]).double().mean().item()
        model = nn.Sequential(nn.Linear(784, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        batches = DataLoader(train, 64, shuffle=True, generator=torch.Generator().manual_seed(seed))
        history = fit(model, batches, DataLoader(valid, 250), F.cross_entropy, optimizer, epochs=6, patience=2)
        _, accuracy = evaluate(model, DataLoader(test, 500), F.cross_entropy)
        if accuracy < baseline + 0.05:
            fail(
                f"The network reads {accuracy:.1%} of the digits; 5 % more than the {baseline:.1%} of comparing with "
                "mean images was expected.",
                evidence=("digits", round(accuracy, 2)),
            )
        if not history[-1]["train_loss"] < history[0]["train_loss"] / 2:
            fail("The training loss didn't fall to half of that of the first epoch.", evidence=("no fall",))


class TestOnTheGpu:
    def test_collate(self, gpu):
        samples = [(torch.randn(3), torch.tensor(i)) for i in (4, 2, 7)]
        gpu.check(collate, samples)

    def test_evaluate(self, gpu):
        model, batches = Net().double(), some_batches(4, 3)
        expected = evaluate(model, batches, F.cross_entropy)
        assert_close(evaluate(gpu(model), batches, F.cross_entropy), expected)

    def test_train_epoch(self, gpu):
        model, batches = Net().double(), some_batches(4, 3)
        moved = gpu(model)
        found = train_epoch(moved, batches, F.cross_entropy, OPTIMIZERS["sgd"](moved.parameters()))
        expected = train_epoch(model, batches, F.cross_entropy, OPTIMIZERS["sgd"](model.parameters()))
        assert_close(found, expected)
        assert_close([p.detach().cpu() for p in moved.parameters()], [p.detach() for p in model.parameters()])

    def test_fit(self, gpu):
        model, train, valid = Net().double(), some_batches(4, 3), some_batches(5)
        moved = gpu(model)
        found = fit(moved, train, valid, F.cross_entropy, OPTIMIZERS["sgd"](moved.parameters()), 3, 3)
        expected = fit(model, train, valid, F.cross_entropy, OPTIMIZERS["sgd"](model.parameters()), 3, 3)
        assert_close(found, expected)
        assert_equal({p.device.type for p in moved.parameters()}, {gpu.device.type})
        assert_close([p.detach().cpu() for p in moved.parameters()], [p.detach() for p in model.parameters()])
