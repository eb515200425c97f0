"""Judges k16_char_rnn against torch's modules, a loop by hand, frequencies, and n-gram models of Hamlet."""

import math
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k16_char_rnn import Alphabet, CharRNN, evaluate, sample, streams, train_epoch

pytestmark = [from_scratch("transformers", "torchtext"), pure("train_epoch")]


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices are quicker on one thread than on several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Reader(nn.Module):
    """A model whose logits depend on all it has read, and a record of its calls.

    kind       "lstm" has a tuple of two as its state, "gru" a tensor
    calls      of each call: ids, the state it was given, the mode, whether gradients were on, its new state
    """

    def __init__(self, vocab: int = 7, kind: str = "lstm", dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, 5)
        self.cell = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](5, 6, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(6, vocab)
        self.calls: list[dict] = []
        with torch.no_grad():
            self.head.weight.mul_(4)
            self.embedding.weight.mul_(2)

    def forward(self, ids, state=None):
        read, new = self.cell(self.embedding(ids), state)
        self.calls.append(
            {
                "ids": ids.clone(),
                "state": state,
                "training": self.training,
                "gradients": torch.is_grad_enabled(),
                "new": new,
            }
        )
        return self.head(self.dropout(read)), new


def parts(state) -> list[torch.Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


def a_reader(kind: str = "lstm", dropout: float = 0.0, vocab: int = 7) -> Reader:
    torch.manual_seed(3)
    return Reader(vocab, kind, dropout).double()


def some_ids(n: int, vocab: int = 7) -> torch.Tensor:
    return torch.randint(0, vocab, (n,))


class TestAlphabet:
    def test_letters_are_sorted_and_there_once(self):
        alphabet = Alphabet("to be,\nor not")
        assert_equal(alphabet.letters, ["\n", " ", ",", "b", "e", "n", "o", "r", "t"])
        assert_equal(len(alphabet), 9)

    def test_encodes_and_decodes(self):
        alphabet = Alphabet("cabbage ü")
        assert_close(alphabet.encode("bad cüb".replace("d", "")), torch.tensor([2, 1, 0, 3, 6, 2]))
        assert_equal(alphabet.decode(torch.tensor([3, 1, 2, 6])), "cabü")
        assert_equal(alphabet.decode([5, 1, 5]), "gag")

    def test_a_whole_play_comes_back(self, hamlet):
        alphabet = Alphabet(hamlet)
        assert_equal((len(alphabet), alphabet.letters), (66, sorted(set(hamlet))))
        ids = alphabet.encode(hamlet)
        assert_equal((tuple(ids.shape), int(ids.max())), ((175_176,), 65))
        assert_equal(alphabet.decode(ids[5000:9000]), hamlet[5000:9000])

    def test_nothing_is_an_empty_tensor_of_ids(self):
        found = Alphabet("ab").encode("")
        assert_close(found, torch.zeros(0, dtype=torch.int64))
        assert_equal(Alphabet("ab").decode([]), "")

    @pytest.mark.parametrize("character", ["z", "A", "é"])
    def test_an_unknown_character_is_refused(self, character):
        alphabet = Alphabet("abc")
        try:
            found = alphabet.encode(f"ab{character}c").tolist()
        except Exception:
            with raises(ValueError, character):
                alphabet.encode(f"ab{character}c")
        else:
            fail(
                f"encode() lets {character!r} through: ab{character}c becomes {found}. ValueError was expected.",
                evidence=found,
            )

    def test_two_alphabets_are_apart(self):
        first, second = Alphabet("abc"), Alphabet("xyz")
        assert_equal((first.letters, second.letters), (["a", "b", "c"], ["x", "y", "z"]))
        assert_close(first.encode("b"), torch.tensor([1]))


class TestStreams:
    def test_the_example_worked_by_hand(self):
        alphabet = Alphabet("abcdefghijkl")
        found = [
            [[alphabet.decode(row) for row in part] for part in pair]
            for pair in streams(alphabet.encode("abcdefghijkl"), 2, 2)
        ]
        expected = [[["ab", "fg"], ["bc", "gh"]], [["cd", "hi"], ["de", "ij"]], [["e", "j"], ["f", "k"]]]
        assert_equal(found, expected)

    @pytest.mark.parametrize(
        ("n", "batch", "length"),
        [(30, 3, 4), (31, 3, 5), (32, 3, 5), (33, 3, 100), (17, 1, 4), (9, 8, 3), (41, 4, 1), (25, 2, 12)],
    )
    def test_rows_go_on_and_targets_are_one_on(self, n, batch, length):
        ids = torch.randperm(1000)[:n]
        per_row = (n - 1) // batch
        windows = list(streams(ids, batch, length))
        assert_equal(
            [tuple(x.shape) for x, _ in windows], [(batch, min(length, per_row - s)) for s in range(0, per_row, length)]
        )
        assert_close(
            torch.cat([x for x, _ in windows], 1),
            torch.stack([ids[r * per_row : (r + 1) * per_row] for r in range(batch)]),
        )
        assert_close(
            torch.cat([y for _, y in windows], 1),
            torch.stack([ids[r * per_row + 1 : (r + 1) * per_row + 1] for r in range(batch)]),
        )

    @pytest.mark.parametrize(("n", "batch"), [(4, 4), (1, 1), (8, 30)])
    def test_too_short_a_text_is_refused(self, n, batch):
        with raises(ValueError, n, batch):
            list(streams(some_ids(n), batch, 3))
        assert_equal(len(list(streams(some_ids(batch + 1), batch, 3))), 1)


def torchs(letters: int, d: int, m: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {"embedding": nn.Embedding(letters, d), "lstm": nn.LSTM(d, m, batch_first=True), "head": nn.Linear(m, letters)}
    )


class TestCharRNN:
    @pytest.mark.parametrize("sizes", [(9, 4, 6), (5, 7, 3)])
    def test_has_these_parameters(self, sizes):
        shapes = [
            {name: tuple(p.shape) for name, p in model.named_parameters()}
            for model in (CharRNN(*sizes), torchs(*sizes))
        ]
        assert_equal(shapes[0], shapes[1])

    @pytest.mark.parametrize(("batch", "n"), [(3, 5), (1, 1)])
    @pytest.mark.parametrize("given", [False, True])
    def test_matches_torchs_modules(self, batch, n, given):
        model, twin = CharRNN(9, 4, 6).double(), torchs(9, 4, 6).double()
        twin.load_state_dict(model.state_dict())
        ids = torch.randint(0, 9, (batch, n))
        state = tuple(torch.randn(1, batch, 6, dtype=torch.float64) for _ in range(2)) if given else None
        read, last = twin["lstm"](twin["embedding"](ids), state)
        logits, new = model(ids, state)
        assert_close(
            [logits.detach(), *(s.detach() for s in new)], [twin["head"](read).detach(), *(s.detach() for s in last)]
        )

    def test_a_text_in_two_parts_is_the_whole(self):
        model = CharRNN(9, 4, 6).double()
        ids = torch.randint(0, 9, (2, 8))
        whole, end = model(ids)
        first, state = model(ids[:, :3])
        second, last = model(ids[:, 3:], state)
        assert_close(
            [torch.cat([first, second], 1).detach(), *(s.detach() for s in last)],
            [whole.detach(), *(s.detach() for s in end)],
        )
        assert_close(model(ids)[0].detach(), whole.detach())

    def test_every_parameter_gets_torchs_gradient(self):
        model, twin = CharRNN(9, 4, 6).double(), torchs(9, 4, 6).double()
        twin.load_state_dict(model.state_dict())
        ids, upstream = torch.randint(0, 9, (3, 5)), torch.randn(3, 5, 9, dtype=torch.float64)
        model(ids)[0].backward(upstream)
        twin["head"](twin["lstm"](twin["embedding"](ids))[0]).backward(upstream)
        assert_close({n: p.grad for n, p in model.named_parameters()}, {n: p.grad for n, p in twin.named_parameters()})


class Fixed(nn.Module):
    """Has the given mean loss in each window, on letters 0 and 1 that alternate."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.losses = iter(losses)
        self.nothing = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, ids, state=None):
        x = math.log(math.expm1(next(self.losses)))
        return x * F.one_hot(ids, 2).double() + self.nothing, self.nothing * torch.ones(1, len(ids), 1)


def by_hand(model: Reader, rate: float, ids: torch.Tensor, batch: int, length: int, max_norm: float) -> float:
    """The lesson's epoch with plain gradient descent."""
    per_row = (len(ids) - 1) // batch
    state, losses = None, []
    for start in range(0, per_row, length):
        columns = range(start, min(start + length, per_row))
        x = torch.stack([ids[[r * per_row + c for c in columns]] for r in range(batch)])
        y = torch.stack([ids[[r * per_row + c + 1 for c in columns]] for r in range(batch)])
        logits, state = model(x, state)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        nats = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        gradients = torch.autograd.grad(nats.mean(), list(model.parameters()))
        norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                p -= rate * g * min(1.0, max_norm / norm)
        losses.append(nats.detach())
    return torch.cat(losses).mean().item()


def parameters(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()}


class TestTrainEpoch:
    def test_the_example_worked_by_hand(self):
        # Letters alternate, so that the next one is always the other one: its logit is 0, that of the letter
        # itself is x, and the loss is log(1 + eˣ).
        model, ids = Fixed([3.0, 2.0, 1.0]), torch.tensor([0, 1] * 3)
        assert_close(train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), ids, 1, 2, 1.0), 2.2)

    @pytest.mark.parametrize("kind", ["lstm", "gru"])
    @pytest.mark.parametrize(
        ("n", "batch", "length", "max_norm"), [(60, 3, 6, 0.3), (47, 2, 5, 1e9), (30, 1, 50, 0.05), (29, 4, 1, 0.5)]
    )
    def test_matches_the_loop_by_hand(self, n, batch, length, max_norm, kind):
        model, twin, ids = a_reader(kind), a_reader(kind), some_ids(n)
        found = train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), ids, batch, length, max_norm)
        expected = by_hand(twin, 0.5, ids, batch, length, max_norm)
        # Clipping by torch divides by 1e-6 more than the norm.
        assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert_close(parameters(model), parameters(twin), rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("kind", ["lstm", "gru"])
    def test_the_state_is_carried_exactly_and_its_graph_is_cut(self, kind):
        model = a_reader(kind)
        train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), some_ids(60), 3, 6, 1.0)
        calls = model.calls
        assert_equal([call["state"] is None for call in calls], [True] + [False] * (len(calls) - 1))
        for before, call in pairwise(calls):
            assert_close(
                [p.detach() for p in parts(call["state"])], [p.detach() for p in parts(before["new"])], rtol=0, atol=0
            )
            if any(p.requires_grad for p in parts(call["state"])):
                fail("The state that enters a window still has the graph of the window before.", evidence=("attached",))

    def test_each_epoch_begins_anew(self):
        model = a_reader()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            model.calls.clear()
            train_epoch(model, optimizer, some_ids(40), 2, 6, 1.0)
            assert_equal(model.calls[0]["state"] is None, True)

    def test_older_gradients_are_forgotten(self):
        model, twin, ids = a_reader(), a_reader(), some_ids(40)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), ids, 2, 6, 0.5)
        by_hand(twin, 0.5, ids, 2, 6, 0.5)
        assert_close(parameters(model), parameters(twin), rtol=1e-3, atol=1e-5)  # clipping, as above

    @pytest.mark.parametrize("training", [True, False])
    def test_in_training_mode(self, training):
        model = a_reader().train(training)
        train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), some_ids(40), 2, 6, 1.0)
        assert_equal([call["training"] for call in model.calls], [True] * len(model.calls))
        assert_equal(model.training, True)

    def test_gives_a_plain_number(self):
        model = a_reader()
        found = train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), some_ids(40), 2, 6, 1.0)
        assert_equal(type(found).__name__, "float")


class TestEvaluate:
    @pytest.mark.parametrize("length", [1, 4, 9, 10, 500])
    @pytest.mark.parametrize("kind", ["lstm", "gru"])
    def test_the_length_of_the_windows_changes_nothing(self, kind, length):
        model, ids = a_reader(kind), some_ids(38)
        with torch.no_grad():
            expected = F.cross_entropy(model(ids[None, :-1])[0][0], ids[1:]).item()
        assert_close(evaluate(model, ids, length), expected)

    def test_a_text_of_two_letters(self):
        model, ids = a_reader(), torch.tensor([3, 5])
        with torch.no_grad():
            expected = -model(ids[None, :1])[0][0, 0].log_softmax(-1)[5].item()
        assert_close(evaluate(model, ids, 4), expected)

    @pytest.mark.parametrize("training", [True, False])
    def test_in_evaluation_mode_and_back(self, training):
        model, ids = a_reader(dropout=0.5).train(training), some_ids(50)
        assert_close(evaluate(model, ids, 8), evaluate(model, ids, 8))
        assert_equal({call["training"] for call in model.calls}, {False})
        assert_equal((model.training, model.dropout.training), (training, training))

    @pytest.mark.parametrize("training", [True, False])
    def test_a_part_keeps_a_mode_of_its_own(self, training):
        model = a_reader(dropout=0.5).train(training)
        model.dropout.train(not training)
        evaluate(model, some_ids(30), 8)
        assert_equal((model.training, model.dropout.training), (training, not training))

    def test_no_gradient_is_kept(self):
        model = a_reader()
        evaluate(model, some_ids(30), 8)
        kept = [p.requires_grad for call in model.calls for p in parts(call["new"])]
        assert_equal(
            (any(kept), [p.grad is None for p in model.parameters()]), (False, [True] * len(list(model.parameters())))
        )
        assert_equal(torch.is_grad_enabled(), True)

    def test_gives_a_plain_number(self):
        assert_equal(type(evaluate(a_reader(), some_ids(20), 6)).__name__, "float")


class Dice(nn.Module):
    """The same logits whatever it has read."""

    def __init__(self, logits: list[float], dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits, dtype=dtype))

    def forward(self, ids, state=None):
        return self.logits.expand(*ids.shape, -1), torch.zeros(1, len(ids), 1)


LETTERS = "abcdefg"


def greedily(model: Reader, prompt: str, count: int) -> str:
    """The likeliest letter again and again, each time reading everything from the start."""
    text = prompt
    for _ in range(count):
        with torch.no_grad():
            logits = model(torch.tensor([[LETTERS.index(c) for c in text]]))[0]
        text += LETTERS[logits[0, -1].argmax().item()]
    return text[len(prompt) :]


class TestSample:
    @pytest.mark.parametrize(
        ("temperature", "expected"),
        [(None, [0.665, 0.090, 0.245]), (0.5, [0.867, 0.016, 0.117]), (3.0, [0.448, 0.230, 0.321])],
    )
    def test_draws_have_the_right_frequencies(self, temperature, expected):
        more = {} if temperature is None else {"temperature": temperature}
        text = sample(Dice([2.0, 0.0, 1.0]), Alphabet("abc"), "a", 3000, **more)
        # A frequency's standard deviation is at most 0.5 / √3000 = 0.009: six of them.
        assert_close([text.count(c) / 3000 for c in "abc"], expected, rtol=0, atol=0.055)

    @pytest.mark.parametrize("kind", ["lstm", "gru"])
    @pytest.mark.parametrize(("prompt", "count"), [("a", 12), ("gfedcba", 9), ("cab", 1), ("bb", 0)])
    def test_temperature_0_is_greedy_and_remembers_everything(self, prompt, count, kind):
        model = a_reader(kind)
        expected = greedily(model, prompt, count)
        assert_equal(sample(model, Alphabet(LETTERS), prompt, count, 0.0), expected)

    def test_the_next_letter_depends_on_the_one_that_was_drawn(self):
        model, alphabet = a_reader(), Alphabet(LETTERS)
        text = sample(model, alphabet, "ca", 40, 1.5, torch.Generator().manual_seed(5))
        read = torch.cat([call["ids"][0] for call in model.calls])
        assert_equal(alphabet.decode(read[: 2 + 39]), "ca" + text[:39])

    def test_each_letter_is_read_once(self):
        model = a_reader()
        sample(model, Alphabet(LETTERS), "cabbage", 20, 1.0)
        read = sum(call["ids"].numel() for call in model.calls)
        if read not in (7 + 19, 7 + 20):
            fail(
                f"The model read {read} letters; 26 or 27 were expected, 7 of the prompt and the new ones.",
                evidence=("read", read),
            )
        assert_equal([len(call["ids"]) for call in model.calls], [1] * len(model.calls))
        for before, call in pairwise(model.calls):
            assert_close(
                [p.detach() for p in parts(call["state"])], [p.detach() for p in parts(before["new"])], rtol=0, atol=0
            )

    @pytest.mark.parametrize(
        ("temperature", "dtype"), [(1e-3, torch.float32), (1e-37, torch.float32), (1e-4, torch.float16)]
    )
    def test_close_to_0_it_is_greedy_and_overflows_nowhere(self, temperature, dtype):
        assert_equal(sample(Dice([3.0, 5.0, 4.0], dtype), Alphabet("abc"), "c", 3, temperature), "bbb")
        assert_equal(sample(Dice([-90.0, -95.0, -80.0], dtype), Alphabet("abc"), "a", 2, temperature), "cc")

    def test_all_randomness_is_the_generators(self):
        model, alphabet = Dice([0.0] * 7), Alphabet(LETTERS)
        before = torch.get_rng_state()
        first = sample(model, alphabet, "a", 60, 1.0, torch.Generator().manual_seed(3))
        if not torch.equal(torch.get_rng_state(), before):
            fail("sample() draws from torch's own generator though it was given another.", evidence=("own generator",))
        torch.rand(17)
        assert_equal(sample(model, alphabet, "a", 60, 1.0, torch.Generator().manual_seed(3)), first)
        assert sample(model, alphabet, "a", 60, 1.0, torch.Generator().manual_seed(4)) != first
        assert sample(model, alphabet, "a", 60) != sample(model, alphabet, "a", 60)

    @pytest.mark.parametrize("training", [True, False])
    def test_in_evaluation_mode_and_back(self, training):
        model = a_reader(dropout=0.5).train(training)
        sample(model, Alphabet(LETTERS), "abc", 5, 1.0)
        assert_equal({call["training"] for call in model.calls}, {False})
        assert_equal((model.training, model.dropout.training), (training, training))

    @pytest.mark.parametrize("training", [True, False])
    def test_a_part_keeps_a_mode_of_its_own(self, training):
        model = a_reader(dropout=0.5).train(training)
        model.dropout.train(not training)
        sample(model, Alphabet(LETTERS), "abc", 5, 1.0)
        assert_equal((model.training, model.dropout.training), (training, not training))

    def test_no_gradient_is_kept(self):
        model = a_reader()
        sample(model, Alphabet(LETTERS), "abc", 5, 1.0)
        assert_equal([p.requires_grad for call in model.calls for p in parts(call["new"])].count(True), 0)
        assert_equal(torch.is_grad_enabled(), True)

    @pytest.mark.parametrize("temperature", [-0.5, -2.0])
    def test_a_negative_temperature_is_refused(self, temperature):
        with raises(ValueError, temperature):
            sample(a_reader(), Alphabet(LETTERS), "a", 3, temperature)


def witten_bell(train: str, held: str, order: int) -> float:
    """Nats a letter of an interpolated n-gram model, Witten–Bell smoothed, on `held`."""
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
    return -sum(math.log(p(held[i - context : i], held[i], context)) for i in range(context, len(held))) / (
        len(held) - context
    )


def assert_learns(hamlet: str, seed: int, size: int, epochs: int, m: int, order: int, margin: float) -> None:
    train, held = hamlet[:size], hamlet[size : size + 8000]
    alphabet = Alphabet(hamlet)
    torch.manual_seed(seed)
    model = CharRNN(len(alphabet), 24, m)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - epoch / (epochs + 1))
        train_epoch(model, optimizer, alphabet.encode(train), 32, 32, 1.0)
    loss, grams = evaluate(model, alphabet.encode(held), 100), witten_bell(train, held, order)
    if loss > grams - margin:
        fail(
            f"The model needs {loss:.2f} nats a letter; {margin} less than the {grams:.2f} of counting {order} letters was expected.",
            evidence=("loss", round(loss, 1)),
        )


@pytest.mark.deadline(60)  # some seconds on a quiet machine, and right solutions in plain loops
@pytest.mark.learning
class TestLearning:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_hamlet_beyond_bigrams(self, hamlet, seed):
        assert_learns(hamlet, seed, size=40_000, epochs=2, m=64, order=2, margin=0.15)

    @pytest.mark.slow
    @pytest.mark.deadline(120)
    def test_hamlet_beyond_trigrams(self, hamlet):
        assert_learns(hamlet, 1, size=150_000, epochs=4, m=128, order=3, margin=0.1)


@pytest.mark.deadline(30)  # the pretended device is slow, for solutions in plain loops above all
class TestOnTheGpu:
    def test_streams(self, gpu):
        for (x, y), (a, b) in zip(streams(gpu(torch.arange(40)), 3, 5), streams(torch.arange(40), 3, 5), strict=True):
            assert_equal((x.device.type, y.device.type), (gpu.device.type, gpu.device.type))
            assert_close([x.cpu(), y.cpu()], [a, b])

    def test_the_model(self, gpu):
        gpu.check(CharRNN(9, 4, 6).double(), torch.randint(0, 9, (2, 5)))

    def test_training_and_evaluation(self, gpu):
        model, ids = a_reader(), some_ids(25)
        moved = gpu(model)
        found = [
            train_epoch(m, torch.optim.SGD(m.parameters(), lr=0.3), i, 2, 5, 0.5)
            for m, i in ((moved, gpu(ids)), (model, ids))
        ]
        assert_close(found[0], found[1], rtol=1e-6, atol=0)  # sums in another order
        assert_close(evaluate(moved, gpu(ids), 9), evaluate(model, ids, 9), rtol=1e-6, atol=0)

    def test_sample(self, gpu):
        model, alphabet = a_reader(), Alphabet(LETTERS)
        assert_equal(sample(gpu(model), alphabet, "cab", 6, 0.0), sample(model, alphabet, "cab", 6, 0.0))
        assert_equal(len(sample(gpu(model), alphabet, "cab", 6, 0.8, gpu.generator(4))), 6)
