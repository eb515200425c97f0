"""Judges k16_pretraining against torch's own tools, and by what a small GPT learns of Hamlet beside n-gram models."""

import io
import math
from collections import Counter, defaultdict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_05_transformers.k16_pretraining import (
    Trainer,
    clip_gradients,
    evaluate,
    learning_rate,
    parameter_groups,
    windows,
)

pytestmark = [
    from_scratch("torch.nn.utils.clip_grad_norm_", "torch.nn.utils.clip_grad_norm", "torch.optim.lr_scheduler", "transformers"),
    pure("clip_gradients"),
]


class Toy(nn.Module):
    """A model of ids (b, n) that is quick: an embedding, a norm, a matrix, and dropout where it is asked for."""

    def __init__(self, vocab: int = 11, d: int = 6, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, d)
        self.norm = nn.LayerNorm(d)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(d, vocab)

    def forward(self, ids):
        return self.head(self.dropout(self.norm(self.embedding(ids))))


def some_tokens(n: int = 200, vocab: int = 11) -> torch.Tensor:
    return torch.randint(0, vocab, (n,))


def a_trainer(model=None, **changes) -> Trainer:
    torch.manual_seed(5)
    arguments = dict(tokens=some_tokens(), batch=4, length=9, peak=0.05, warmup=3, total=20, weight_decay=0.3, max_norm=0.7, seed=8)
    return Trainer(model or Toy().double(), **(arguments | changes))


class TestWindows:
    @pytest.mark.parametrize("length", [1, 5])
    def test_targets_are_the_tokens_one_on(self, length):
        tokens = some_tokens(30, 1000)
        starts = torch.tensor([7, 0, 29 - length, 7])
        inputs, targets = windows(tokens, starts, length)
        assert_close(targets, torch.stack([tokens[s + 1 : s + 1 + length] for s in starts.tolist()]))
        assert_close(inputs, torch.stack([tokens[s : s + length] for s in starts.tolist()]))

    @pytest.mark.parametrize(("total", "length"), [(30, 4), (20, 1)])
    def test_a_window_without_its_last_target_is_refused(self, total, length):
        start = total - length
        with raises(ValueError, start, total):
            windows(some_tokens(total), torch.tensor([3, start, 2]), length)
        with raises(ValueError, total + 7, total):
            windows(some_tokens(total), torch.tensor([total + 7]), length)
        assert_equal(tuple(windows(some_tokens(total), torch.tensor([start - 1]), length)[1].shape), (1, length))


class TestParameterGroups:
    def test_matrices_and_all_others(self):
        model = nn.Sequential(nn.Embedding(5, 3), nn.Conv1d(3, 2, 4), nn.LayerNorm(3), nn.Linear(3, 2))
        model.scale = nn.Parameter(torch.ones(()))
        decayed, others = parameter_groups(model)
        shapes = [sorted(tuple(p.shape) for p in group) for group in (decayed, others)]
        assert_equal(shapes, [[(2, 3), (2, 3, 4), (5, 3)], [(), (2,), (2,), (3,), (3,)]])

    def test_the_models_own_a_tied_one_once(self):
        model = Toy(6, 6)
        model.head.weight = model.embedding.weight
        decayed, others = parameter_groups(model)
        assert_equal(len(decayed), 1)
        assert_equal({id(p) for p in [*decayed, *others]}, {id(p) for p in model.parameters()})


class TestLearningRate:
    def test_the_example_worked_by_hand(self):
        found = [learning_rate(s, 1.0, 4, 12, 0.1) for s in (0, 1, 2, 3, 4, 5, 6, 8, 12, 13, 99)]
        expected = [0.25, 0.5, 0.75, 1.0, 1.0, 0.966, 0.868, 0.55, 0.1, 0.1, 0.1]
        assert_close(found, expected, atol=1e-3, rtol=0)  # 3 digits

    @pytest.mark.parametrize(("peak", "warmup", "total"), [(0.3, 5, 40), (2.0, 0, 10), (0.01, 1, 7)])
    def test_a_half_cosine_to_0_unless_told_otherwise(self, peak, warmup, total):
        after = [learning_rate(s, peak, warmup, total) for s in range(warmup, total + 3)]
        expected = [peak / 2 * (1 + math.cos(math.pi * min(s, total - warmup) / (total - warmup))) for s in range(total + 3 - warmup)]
        assert_close(after, expected)

    def test_matches_torchs_schedulers(self):
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.2)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30, eta_min=0.05)
        for step in range(30):
            assert_close(learning_rate(step + 6, 0.2, 6, 36, 0.05), optimizer.param_groups[0]["lr"])
            optimizer.step()
            cosine.step()


class TestClipGradients:
    def with_gradients(self, *gradients):
        parameters = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        return parameters

    def test_the_example_worked_by_hand(self):
        parameters = self.with_gradients(torch.tensor([3.0]), torch.tensor([0.0, 4.0]))
        assert_close(clip_gradients(parameters, 1.0), 5.0)
        assert_close([p.grad for p in parameters], [torch.tensor([0.6]), torch.tensor([0.0, 0.8])])

    @pytest.mark.parametrize("max_norm", [0.5, 3.0, 1000.0])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_matches_torch(self, max_norm, dtype):
        gradients = [torch.randn(3, 4, dtype=dtype), torch.randn(5, dtype=dtype)]
        mine, theirs = self.with_gradients(*gradients), self.with_gradients(*gradients)
        norm = nn.utils.clip_grad_norm_(theirs, max_norm)
        # In float32 the squares are added in another order.
        assert_close(clip_gradients(iter(mine), max_norm), norm.item(), rtol=1e-5 if dtype == torch.float32 else None, atol=1e-7 if dtype == torch.float32 else None)
        # Theirs divides by the norm and 1e-6 more.
        assert_close([p.grad for p in mine], [p.grad for p in theirs], rtol=1e-5, atol=0)

    @pytest.mark.parametrize("max_norm", [0.1, 10.0])
    def test_gives_a_plain_number(self, max_norm):
        norm = clip_gradients(self.with_gradients(torch.ones(3)), max_norm)
        assert_equal(type(norm).__name__, "float")

    def test_gradients_of_zeros_stay(self):
        parameters = self.with_gradients(torch.zeros(2), torch.zeros(3, 1))
        assert_close(clip_gradients(parameters, 1.0), 0.0)
        assert_close([p.grad for p in parameters], [torch.zeros(2), torch.zeros(3, 1)])

    def test_small_gradients_and_missing_ones_stay(self):
        parameters = [nn.Parameter(torch.ones(2)), *self.with_gradients(torch.tensor([0.3, 0.4]))]
        assert_close(clip_gradients(parameters, 1.0), 0.5)
        assert_close(parameters[1].grad, torch.tensor([0.3, 0.4]))
        assert_equal(parameters[0].grad is None, True)
        assert_close(clip_gradients([parameters[0]], 1.0), 0.0)


class TestEvaluate:
    @pytest.mark.parametrize(("n", "length"), [(41, 5), (40, 5), (17, 16), (30, 7)])
    def test_the_mean_over_windows_side_by_side(self, n, length):
        model, tokens = Toy().double(), some_tokens(n)
        with torch.no_grad():
            nats = []
            for start in range(0, n - length, length):
                log_p = model(tokens[None, start : start + length]).log_softmax(-1)[0]
                nats += [-log_p[i, tokens[start + i + 1]] for i in range(length)]
        assert_close(evaluate(model, tokens, length), (sum(nats) / len(nats)).item())

    @pytest.mark.parametrize("training", [True, False])
    def test_in_evaluation_mode_and_back(self, training):
        model = Toy(dropout=0.5).double().train(training)
        tokens = some_tokens(60)
        assert_close(evaluate(model, tokens, 9), evaluate(model, tokens, 9))
        assert_equal(model.training, training)
        assert_equal(model.dropout.training, training)

    def test_gives_a_plain_number(self):
        assert_equal(type(evaluate(Toy(), some_tokens(30), 5)).__name__, "float")

    def test_no_gradient_is_kept(self):
        model, seen = Toy(), []
        model.register_forward_hook(lambda _, inputs, out: seen.append(out.requires_grad))
        evaluate(model, some_tokens(30), 6)
        assert_equal(any(seen), False)


def by_hand(model, tokens, starts, length, peak, warmup, total, weight_decay, max_norm):
    """The lesson's loop with torch's own tools, on windows at the starts given for each step."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95))
    losses = []
    for step, begin in enumerate(starts):
        x = torch.stack([tokens[s : s + length] for s in begin])
        y = torch.stack([tokens[s + 1 : s + length + 1] for s in begin])
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(list(model.parameters()), max_norm)
        for group in optimizer.param_groups:
            rate = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
            group["lr"] = peak * rate
        optimizer.step()
        losses.append(loss.item())
    return losses


class Recorder(Toy):
    """Notes the ids of every call; no two of its tokens are alike, so that they say where they stood."""

    def __init__(self, *args):
        super().__init__(*args)
        self.seen = []

    def forward(self, ids):
        self.seen.append(ids.clone())
        return super().forward(ids)


class TestTrainer:
    @pytest.mark.parametrize("changes", [{}, {"max_norm": 50.0, "weight_decay": 0.0, "warmup": 6}, {"peak": 0.5, "total": 9}])
    def test_matches_the_loop_by_hand(self, changes):
        tokens = torch.randperm(60)
        torch.manual_seed(1)
        model, twin = Recorder(60).double(), Toy(60).double()
        twin.load_state_dict(model.state_dict())
        arguments = dict(peak=0.05, warmup=3, total=20, weight_decay=0.3, max_norm=0.2) | changes
        losses = Trainer(model, tokens, batch=4, length=9, **arguments).train(8)
        place = {token: i for i, token in enumerate(tokens.tolist())}
        starts = [[place[int(row[0])] for row in ids] for ids in model.seen]
        assert_equal([len(begin) for begin in starts], [4] * 8)
        # Clipping by torch divides by 1e-6 more than the norm.
        assert_close(losses, by_hand(twin, tokens, starts, 9, **arguments), rtol=1e-4, atol=1e-5)
        assert_close([p.detach() for p in model.parameters()], [p.detach() for p in twin.parameters()], rtol=1e-3, atol=1e-4)

    def test_decay_and_clipping_unless_told_otherwise(self):
        def trained(**more):
            torch.manual_seed(2)
            model = Toy().double()
            with torch.no_grad():
                model.head.weight.mul_(30)  # gradients beyond any limit that is near 1
            tokens = some_tokens(80)
            Trainer(model, tokens, batch=3, length=5, peak=0.05, warmup=2, total=9, **more).train(4)
            return [p.detach() for p in model.parameters()]

        assert_close(trained(), trained(weight_decay=0.1, max_norm=1.0, seed=0))

    def test_every_start_is_drawn(self):
        tokens = torch.randperm(30)
        model = Recorder(30)
        Trainer(model, tokens, batch=50, length=4, peak=1e-3, warmup=1, total=30).train(12)
        place = {token: i for i, token in enumerate(tokens.tolist())}
        drawn = Counter(place[int(row[0])] for ids in model.seen for row in ids)
        # 600 draws of 26 starts: each is missing once in 10¹⁰ times.
        assert_equal(sorted(drawn), list(range(26)))

    def test_gives_plain_numbers(self):
        assert_equal([type(loss).__name__ for loss in a_trainer().train(2)], ["float"] * 2)

    def test_a_frozen_parameter_stays(self):
        model = Toy().double()
        model.embedding.weight.requires_grad_(False)
        before = model.embedding.weight.clone()
        a_trainer(model).train(3)
        assert_close(model.embedding.weight, before, rtol=0, atol=0)

    def test_a_parameter_that_is_frozen_between_steps_stays_from_then_on(self):
        model = Toy().double()
        trainer = a_trainer(model)
        trainer.train(2)
        model.embedding.weight.requires_grad_(False)
        before = model.embedding.weight.clone()
        trainer.train(3)
        assert_close(model.embedding.weight, before, rtol=0, atol=0)

    def test_torchs_own_generator_is_left_alone(self):
        model, tokens = Toy(), some_tokens()
        before = torch.get_rng_state()
        Trainer(model, tokens, batch=3, length=5, peak=0.05, warmup=2, total=9, seed=4).train(2)
        assert_close(torch.get_rng_state(), before)

    def test_the_seed_decides(self):
        same = [a_trainer(seed=8).train(5), a_trainer(seed=8).train(5)]
        assert_close(same[0], same[1])
        if same[0] == a_trainer(seed=9).train(5):
            fail("Seeds 8 and 9 draw the same windows.", evidence=("seed",))

    @pytest.mark.parametrize("stop", [0, 1, 7])
    def test_a_resumed_run_equals_the_unbroken_one(self, stop):
        unbroken = a_trainer()
        expected = unbroken.train(12)
        first = a_trainer()
        losses = first.train(stop)
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        torch.manual_seed(99)
        second = a_trainer(Toy().double())
        second.load_state_dict(torch.load(file, weights_only=True))
        torch.rand(3)  # the generator of all of torch is not the trainer's
        losses += second.train(12 - stop)
        # To the last bit: the same numbers in the same order.
        assert_close(losses, expected, rtol=0, atol=0)
        found = {name: p.detach() for name, p in second.model.named_parameters()}
        assert_close(found, {name: p.detach() for name, p in unbroken.model.named_parameters()}, rtol=0, atol=0)

    def test_a_state_stays_as_it_was_taken(self):
        trainer = a_trainer()
        trainer.train(3)
        state = trainer.state_dict()
        rest = trainer.train(4)
        again = a_trainer()
        again.load_state_dict(state)
        assert_close(again.train(4), rest, rtol=0, atol=0)
        third = a_trainer()
        third.load_state_dict(state)
        assert_close(third.train(4), rest, rtol=0, atol=0)
        # And one that has gone on goes back.
        trainer.load_state_dict(state)
        assert_close(trainer.train(4), rest, rtol=0, atol=0)


def witten_bell(train: str, held: str, order: int) -> float:
    """Nats a character of an interpolated n-gram model, Witten–Bell smoothed, on `held`."""
    counts = [defaultdict(Counter) for _ in range(order)]
    for n in range(order):
        for i in range(n, len(train)):
            counts[n][train[i - n : i]][train[i]] += 1
    vocab = len(set(train + held))

    def p(context: str, c: str, n: int) -> float:
        if n < 0:
            return 1 / vocab
        seen = counts[n].get(context[len(context) - n :])
        lower = p(context, c, n - 1)
        if not seen:
            return lower
        total, kinds = sum(seen.values()), len(seen)
        return (seen[c] + kinds * lower) / (total + kinds)

    context = order - 1
    return -sum(math.log(p(held[i - context : i], held[i], context)) for i in range(context, len(held))) / (len(held) - context)


@pytest.fixture
def one_thread():
    """Small matrices are quicker on one thread than on several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train_on_hamlet(hamlet: str, seed: int, d: int, layers: int, context: int, batch: int, steps: int, peak: float):
    """A GPT-2 of transformers' trained by the learner's loop: its loss on the last tenth, and that of n-grams."""
    from transformers import GPT2Config, GPT2LMHeadModel

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            config = GPT2Config(vocab_size=len(letters), n_positions=context, n_embd=d, n_head=4, n_layer=layers, bos_token_id=None, eos_token_id=None, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
            self.gpt = GPT2LMHeadModel(config)

        def forward(self, ids):
            return self.gpt(ids, use_cache=False).logits

    torch.manual_seed(seed)
    letters = sorted(set(hamlet))
    ids = torch.tensor([letters.index(c) for c in hamlet])
    cut = len(hamlet) * 9 // 10
    model = Model()
    Trainer(model, ids[:cut], batch=batch, length=context, peak=peak, warmup=20, total=steps, seed=seed).train(steps)
    return evaluate(model, ids[cut:], context), cut


@pytest.mark.learning
class TestLearning:
    def test_a_table_of_successors(self, hamlet, one_thread):
        """The toy sees one character at a time, and so can become a bigram model: far below counting letters."""
        torch.manual_seed(4)
        letters = sorted(set(hamlet))
        ids = torch.tensor([letters.index(c) for c in hamlet[:40_000]])
        model = Toy(len(letters), 24)
        Trainer(model, ids[:36_000], batch=32, length=32, peak=0.05, warmup=10, total=150).train(150)
        loss = evaluate(model, ids[36_000:], 100)
        unigram = witten_bell(hamlet[:36_000], hamlet[36_000:40_000], 1)
        if loss > unigram - 0.4:
            fail(f"The model needs {loss:.2f} nats a character; 0.4 less than the {unigram:.2f} of counting letters was expected.", evidence=("unigram", round(loss, 1)))

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_hamlet_beyond_bigrams(self, hamlet, one_thread, seed):
        loss, cut = train_on_hamlet(hamlet, seed, d=48, layers=2, context=32, batch=24, steps=550, peak=1e-2)
        bigram = witten_bell(hamlet[:cut], hamlet[cut:], 2)
        if loss > bigram - 0.2:
            fail(f"The model needs {loss:.2f} nats a character; 0.2 less than the bigram model's {bigram:.2f} was expected.", evidence=("bigram", round(loss, 1)))

    @pytest.mark.slow
    @pytest.mark.deadline(600)
    def test_hamlet_beyond_trigrams(self, hamlet, one_thread):
        loss, cut = train_on_hamlet(hamlet, 1, d=64, layers=3, context=64, batch=24, steps=1500, peak=6e-3)
        trigram = witten_bell(hamlet[:cut], hamlet[cut:], 3)
        if loss > trigram:
            fail(f"The model needs {loss:.2f} nats a character; less than the trigram model's {trigram:.2f} was expected.", evidence=("trigram", round(loss, 1)))


class TestOnTheGpu:
    def test_windows(self, gpu):
        gpu.check(windows, some_tokens(30), torch.tensor([4, 0, 20]), 7)

    def test_clip_gradients(self, gpu):
        model = gpu(Toy().double())
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        norm = clip_gradients(model.parameters(), 0.5)
        count = sum(parameter.numel() for parameter in model.parameters())
        assert_close(norm, math.sqrt(count))
        left = sum(parameter.grad.square().sum().item() for parameter in model.parameters())
        assert_close(math.sqrt(left), 0.5)

    def test_training_and_evaluation(self, gpu):
        torch.manual_seed(3)
        model, tokens = Toy().double(), some_tokens()
        moved = gpu(model)
        found = a_trainer(moved, tokens=gpu(tokens)).train(3)
        assert_close(found, a_trainer(model, tokens=tokens).train(3), rtol=1e-6, atol=0)  # sums in another order
        assert_close(evaluate(moved, gpu(tokens), 9), evaluate(model, tokens, 9), rtol=1e-6, atol=0)
