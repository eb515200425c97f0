"""Judges k15_decoding against transformers' logits processors, frequencies, and exhaustive search on small trees."""

import itertools
import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_05_transformers.k15_decoding import (
    beam_search,
    generate,
    min_p,
    penalize_repetition,
    sample,
    top_k,
    top_p,
)

pytestmark = [
    from_scratch("transformers"),
    pure(),
    pytest.mark.deadline(60),  # the first test imports transformers, which takes a busy machine a while
]

LEADS = [(), (2,), (2, 3)]
PROBS = [0.5, 0.3, 0.15, 0.05]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def random_logits(*shape: int) -> torch.Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64)


def kept(filtered: torch.Tensor) -> list[int]:
    return torch.nonzero(filtered > -math.inf).flatten().tolist()


def warped(warper, logits: torch.Tensor, ids: torch.Tensor | None = None) -> torch.Tensor:
    """What a logits processor of transformers makes of `logits` (..., V)."""
    rows = logits.reshape(-1, logits.shape[-1])
    ids = torch.zeros(len(rows), 1, dtype=torch.long) if ids is None else ids.reshape(len(rows), -1)
    return warper(ids, rows.clone()).reshape(logits.shape)


def assert_passes_gradients(function) -> None:
    """Kept logits have gradient 1 times the upstream one, dropped ones 0."""
    logits = random_logits(2, 9).requires_grad_()
    out = function(logits)
    stays = out > -math.inf
    upstream = torch.randn(2, 9, dtype=torch.float64)
    out.masked_fill(~stays, 0).backward(upstream)
    assert_close(logits.grad, upstream * stays)


def assert_keeps_dtype_and_logits(function, dtype: torch.dtype, stay: list[int]) -> None:
    """The result has the dtype of the logits, and what stays is the very number."""
    logits = torch.tensor(PROBS).log()[[2, 0, 3, 1]].to(dtype)
    expected = torch.full_like(logits, -math.inf)
    expected[stay] = logits[stay]
    assert_close(function(logits), expected, rtol=0, atol=0)


class TestTopK:
    def test_the_example_worked_by_hand(self):
        logits = torch.tensor(PROBS).log()[[2, 0, 3, 1]]
        assert_equal(kept(top_k(logits, 2)), [1, 3])

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("k", [1, 3, 10])
    def test_matches_transformers(self, lead, k):
        from transformers import TopKLogitsWarper

        logits = random_logits(*lead, 11)
        assert_close(top_k(logits, k), warped(TopKLogitsWarper(k), logits))

    def test_a_k_beyond_the_vocabulary_keeps_everything(self):
        logits = random_logits(2, 5)
        assert_close(top_k(logits, 5), logits)
        assert_close(top_k(logits, 50), logits)

    def test_filters_can_be_chained(self):
        logits = random_logits(3, 20)
        three = top_k(logits, 3)
        assert_close(top_k(three, 6), three)
        assert_close(top_k(top_k(logits, 6), 3), three)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_keeps_dtype_and_logits(self, dtype):
        assert_keeps_dtype_and_logits(lambda logits: top_k(logits, 2), dtype, [1, 3])

    def test_gradients_pass(self):
        assert_passes_gradients(lambda logits: top_k(logits, 4))


class TestTopP:
    def test_the_example_worked_by_hand(self):
        logits = torch.tensor(PROBS).log()[[2, 0, 3, 1]]
        assert_equal(kept(top_p(logits, 0.7)), [1, 3])
        assert_equal(kept(top_p(logits, 0.9)), [0, 1, 3])

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("p", [0.2, 0.6, 0.95])
    def test_matches_transformers(self, lead, p):
        from transformers import TopPLogitsWarper

        logits = random_logits(*lead, 13)
        assert_close(top_p(logits, p), warped(TopPLogitsWarper(p), logits))

    @pytest.mark.parametrize(("p", "stay"), [(0.2, 1), (0.3, 2), (0.6, 3), (0.8, 4)])
    def test_ends_once_the_mass_is_reached(self, p, stay):
        assert_equal(len(kept(top_p(torch.zeros(4), p))), stay)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_keeps_dtype_and_logits(self, dtype):
        assert_keeps_dtype_and_logits(lambda logits: top_p(logits, 0.7), dtype, [1, 3])

    def test_the_likeliest_token_always_stays(self):
        assert_equal(kept(top_p(torch.tensor([0.0, 9.0, 1.0]), 0.01)), [1])

    def test_filters_can_be_chained(self):
        from transformers import TopPLogitsWarper

        logits = random_logits(3, 20)
        cut = top_k(logits, 6)
        assert_close(top_p(cut, 0.7), warped(TopPLogitsWarper(0.7), cut))

    def test_gradients_pass(self):
        assert_passes_gradients(lambda logits: top_p(logits, 0.8))


class TestMinP:
    def test_the_example_worked_by_hand(self):
        assert_equal(kept(min_p(torch.tensor(PROBS).log()[[2, 0, 3, 1]], 0.2)), [0, 1, 3])

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
    def test_matches_transformers(self, lead, p):
        from transformers import MinPLogitsWarper

        logits = random_logits(*lead, 13)
        assert_close(min_p(logits, p), warped(MinPLogitsWarper(p), logits))

    def test_filters_can_be_chained(self):
        from transformers import MinPLogitsWarper

        cut = top_k(random_logits(3, 20), 6)
        assert_close(min_p(cut, 0.3), warped(MinPLogitsWarper(0.3), cut))

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_keeps_dtype_and_logits(self, dtype):
        assert_keeps_dtype_and_logits(lambda logits: min_p(logits, 0.2), dtype, [0, 1, 3])

    def test_gradients_pass(self):
        assert_passes_gradients(lambda logits: min_p(logits, 0.1))


class TestPenalizeRepetition:
    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("penalty", [1.3, 5.0, 0.5])
    def test_matches_transformers(self, lead, penalty):
        from transformers import RepetitionPenaltyLogitsProcessor

        logits, ids = random_logits(*lead, 9), torch.randint(9, (*lead, 6))
        expected = warped(RepetitionPenaltyLogitsProcessor(penalty), logits, ids)
        assert_close(penalize_repetition(logits, ids, penalty), expected)

    def test_lowers_either_sign_and_counts_a_token_once(self):
        logits = torch.tensor([[3.0, -3.0, 1.0]])
        found = penalize_repetition(logits, torch.tensor([[1, 0, 0, 1]]), 2.0)
        assert_close(found, torch.tensor([[1.5, -6.0, 1.0]]))

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_keeps_the_dtype_and_filtered_tokens(self, dtype):
        logits = torch.tensor([3.0, -3.0, -math.inf, 1.0, -math.inf], dtype=dtype)
        expected = torch.tensor([1.5, -6.0, -math.inf, 1.0, -math.inf], dtype=dtype)
        assert_close(penalize_repetition(logits, torch.tensor([1, 0, 2]), 2.0), expected, rtol=0, atol=0)

    def test_gradients_pass(self):
        logits = torch.tensor([3.0, -3.0, 1.0], requires_grad=True)
        penalize_repetition(logits, torch.tensor([1, 0]), 2.0).backward(torch.tensor([1.0, 10.0, 100.0]))
        assert_close(logits.grad, torch.tensor([0.5, 20.0, 100.0]))


class TestSample:
    DRAWS = 40_000

    @pytest.mark.parametrize("temperature", [None, 0.5, 1.0, 3.0])
    def test_draws_have_the_right_frequencies(self, temperature):
        logits = torch.tensor(PROBS, dtype=torch.float64).log()
        rows = logits.expand(self.DRAWS, 4)
        drawn = sample(rows) if temperature is None else sample(rows, temperature)
        expected = (logits / (temperature or 1.0)).softmax(-1)
        # A frequency's standard deviation is at most 0.5 / √40,000 = 0.0025: six of them.
        assert_close(drawn.bincount(minlength=4).double() / self.DRAWS, expected, rtol=0, atol=0.015)

    def test_half_the_temperature_as_worked_by_hand(self):
        drawn = sample(torch.tensor(PROBS).log().expand(self.DRAWS, 4), 0.5)
        # As above.
        expected = torch.tensor([0.685, 0.247, 0.062, 0.007])
        assert_close(drawn.bincount(minlength=4) / self.DRAWS, expected, rtol=0, atol=0.016)

    @pytest.mark.parametrize("lead", LEADS)
    def test_one_token_a_row(self, lead):
        sure = torch.randint(7, lead)
        logits = torch.randn(*lead, 7).scatter(-1, sure[..., None], 60.0)
        assert_close(sample(logits), sure)

    @pytest.mark.parametrize("lead", LEADS)
    def test_temperature_0_is_greedy(self, lead):
        logits = random_logits(*lead, 50) / 10
        assert_close(sample(logits, 0.0), logits.argmax(-1))

    @pytest.mark.parametrize(("temperature", "dtype"), [(1e-3, torch.float32), (1e-37, torch.float32), (1e-4, torch.float16)])
    def test_close_to_0_it_is_greedy_and_overflows_nowhere(self, temperature, dtype):
        logits = torch.tensor([[3.0, 5.0, 4.0], [-90.0, -95.0, -80.0]], dtype=dtype)
        assert_close(sample(logits, temperature), torch.tensor([1, 2]))

    def test_a_filtered_token_is_never_drawn(self):
        logits = torch.tensor([0.0, -math.inf, 0.0, -math.inf]).expand(2000, 4)
        assert_equal(set(sample(logits, 5.0).tolist()), {0, 2})

    def test_all_randomness_is_the_generators(self):
        logits = torch.zeros(200, 10)
        before = torch.get_rng_state()
        first = sample(logits, 1.0, torch.Generator().manual_seed(3))
        if not torch.equal(torch.get_rng_state(), before):
            fail("sample() draws from torch's own generator though it was given another.", evidence=("own generator",))
        torch.rand(17)
        if not torch.equal(sample(logits, 1.0, torch.Generator().manual_seed(3)), first):
            fail("sample() draws other tokens from a generator with the same seed.", evidence=("unseeded",))
        assert (sample(logits, 1.0, torch.Generator().manual_seed(4)) != first).any()
        assert (sample(logits) != sample(logits)).any()

    @pytest.mark.parametrize("temperature", [-0.5, -2.0])
    def test_rejects_a_negative_temperature(self, temperature):
        with raises(ValueError, temperature):
            sample(torch.zeros(3), temperature)


class Model:
    """Logits that depend on all tokens so far and their order, and a record of the calls."""

    def __init__(self, vocabulary: int, spread: float = 1.5) -> None:
        self.table = spread * torch.randn(211, vocabulary, dtype=torch.float64)
        self.calls: list[torch.Tensor] = []
        self.known: dict[tuple[int, ...], list[float]] = {}

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        assert ids.ndim == 2 and len(ids) > 0 and ids.dtype == torch.int64, "a model takes int64 (b, n), b ≥ 1"
        assert not torch.is_grad_enabled(), "a model must run under torch.no_grad()"
        self.calls.append(ids.clone())
        return self.table[((ids + 1) * torch.arange(2, ids.shape[1] + 2) ** 2).cumsum(-1) % 211]

    def log_probs(self, ids: list[int]) -> list[float]:
        if tuple(ids) not in self.known:
            with torch.no_grad():
                self.known[tuple(ids)] = self(torch.tensor([ids]))[0, -1].log_softmax(-1).tolist()
        return self.known[tuple(ids)]


def greedily(model: Model, ids: list[int], steps: int) -> list[int]:
    new: list[int] = []
    for _ in range(steps):
        row = model.log_probs(ids + new)
        new.append(row.index(max(row)))
    return new


class TestGenerate:
    @pytest.mark.parametrize(("prompt", "steps"), [([5], 9), ([3, 1, 16, 2], 4), ([8, 8], 0)])
    def test_greedy_unless_told_otherwise(self, prompt, steps):
        model = Model(17)
        assert_equal(generate(model, prompt, steps), greedily(model, prompt, steps))

    @pytest.mark.parametrize("on", [True, False])
    def test_leaves_gradients_on_or_off_as_they_were(self, on):
        with torch.set_grad_enabled(on):
            generate(Model(9), [4, 2], 2)
            assert_equal(torch.is_grad_enabled(), on)

    def test_writes_long_texts(self):
        def model(ids):
            return torch.nn.functional.one_hot((ids + 1) % 7, 7).double()

        assert_equal(generate(model, [2], 1500, stop=[[0, 0]]), [(3 + i) % 7 for i in range(1500)])

    def test_does_not_change_the_prompt(self):
        prompt = [4, 2]
        generate(Model(9), prompt, 3)
        assert_equal(prompt, [4, 2])

    def test_choose_sees_the_last_logits_and_all_ids(self):
        model, script, seen = Model(9), iter([7, 0, 7]), []

        def choose(logits, ids):
            seen.append((logits.clone(), ids.clone()))
            return torch.tensor([next(script)])

        assert_equal(generate(model, [4, 2], 3, choose), [7, 0, 7])
        for (logits, ids), row in zip(seen, [[4, 2], [4, 2, 7], [4, 2, 7, 0]], strict=True):
            assert_close(ids, torch.tensor([row]))
            assert_close(logits.log_softmax(-1), torch.tensor([model.log_probs(row)], dtype=torch.float64))

    STOPS = {
        "at one token": ([[6]], [1, 4]),
        "at a sequence": ([[4, 6, 6]], [1]),
        "at the first that comes": ([[3], [6, 6]], [1, 4]),
        "at its first token": ([[1, 4, 6]], []),
        "not at a part of one": ([[6, 4], [1, 6]], [1, 4, 6, 6, 3]),
        "at the longest of several": ([[6], [4, 6], [1]], []),
        "cutting the longest of several": ([[6], [4, 6]], [1]),
        "whatever their order": ([[4, 6], [6]], [1]),
        "at the last token": ([[6, 3]], [1, 4, 6]),
        "not in the prompt": ([[2, 1], [8, 2], [8, 2, 1]], [1, 4, 6, 6, 3]),
    }

    @pytest.mark.parametrize("case", STOPS)
    def test_stops(self, case):
        stop, expected = self.STOPS[case]
        script = iter([1, 4, 6, 6, 3])
        found = generate(Model(9), [8, 2], 5, lambda logits, ids: torch.tensor([next(script)]), stop)
        assert_equal(found, expected)

    def test_asks_the_model_no_more_once_stopped(self):
        model, script = Model(9), iter([1, 4, 6, 6, 3])
        generate(model, [8, 2], 5, lambda logits, ids: torch.tensor([next(script)]), [[4, 6]])
        assert_equal(len(model.calls), 3)


def by_definition(model: Model, ids: list[int], steps: int, beams: int, eos: int, length_penalty: float):
    """Beam search as the lesson says it, with lists."""
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    aside: list[tuple[float, list[int]]] = []
    for _ in range(steps):
        every = [(s + lp, [*new, t]) for s, new in live for t, lp in enumerate(model.log_probs(ids + new))]
        best = sorted(every, reverse=True)[:beams]
        aside += [text for text in best if text[1][-1] == eos]
        live = [text for text in best if text[1][-1] != eos]
    return max((s / len(new) ** length_penalty, new) for s, new in aside + live)


def exhaustively(model: Model, ids: list[int], steps: int, vocabulary: int, eos: int, length_penalty: float):
    """The best of all texts that end in their first eos or have `steps` tokens without one."""
    scores = {}
    for full in itertools.product(range(vocabulary), repeat=steps):
        new = list(full[: full.index(eos) + 1] if eos in full else full)
        if tuple(new) not in scores:
            total = sum(model.log_probs(ids + new[:i])[t] for i, t in enumerate(new))
            scores[tuple(new)] = total / len(new) ** length_penalty
    best = max(scores, key=scores.get)
    return scores[best], list(best)


def assert_found(found, expected) -> None:
    tokens, score = found
    assert isinstance(score, float), "the score is a float"
    assert_equal(tokens, expected[1])
    # The log-probabilities may be added up in float32.
    assert_close(score, expected[0], rtol=1e-5, atol=1e-5)


class TestBeamSearch:
    def test_the_example_worked_by_hand(self):
        chances = {(2,): [0.6, 0.4, 0.0], (2, 0): [0.5, 0.4, 0.1], (2, 1): [0.9, 0.05, 0.05]}

        def model(ids):
            last = torch.tensor([chances[tuple(row)] for row in ids.tolist()]).log()
            return torch.stack([torch.zeros_like(last)] * (ids.shape[1] - 1) + [last], dim=1)

        assert_found(beam_search(model, [2], 2, 1, eos=2, length_penalty=0.0), (math.log(0.30), [0, 0]))
        assert_found(beam_search(model, [2], 2, 2, eos=2, length_penalty=0.0), (math.log(0.36), [1, 0]))

    @pytest.mark.parametrize("length_penalty", [0.0, 0.5, 2.0])
    @pytest.mark.parametrize("prompt", [[1], [0, 2, 3]])
    def test_with_enough_beams_it_is_exhaustive(self, prompt, length_penalty):
        model = Model(4)
        expected = exhaustively(model, prompt, 4, 4, 3, length_penalty)
        assert_found(beam_search(model, prompt, 4, 256, 3, length_penalty), expected)

    @pytest.mark.parametrize("length_penalty", [0.0, 0.7, 3.0])
    @pytest.mark.parametrize(("vocabulary", "beams"), [(3, 1), (7, 2), (3, 3), (7, 5)])
    @pytest.mark.parametrize("eos", [0, 1, 2])
    def test_keeps_the_best_beams(self, vocabulary, beams, length_penalty, eos):
        model = Model(vocabulary)
        expected = by_definition(model, [2, 1], 6, beams, eos, length_penalty)
        assert_found(beam_search(model, [2, 1], 6, beams, eos, length_penalty), expected)

    def test_a_length_penalty_of_1_unless_told_otherwise(self):
        for _ in range(10):
            model = Model(4)
            assert_found(beam_search(model, [1], 5, 4, 0), by_definition(model, [1], 5, 4, 0, 1.0))

    @pytest.mark.parametrize("on", [True, False])
    def test_leaves_gradients_on_or_off_as_they_were(self, on):
        with torch.set_grad_enabled(on):
            beam_search(Model(5), [1, 2], 3, 2, 0)
            assert_equal(torch.is_grad_enabled(), on)

    def test_ends_when_no_beam_lives(self):
        model = Model(5)
        model.table[:, 3] += 50
        assert_equal(beam_search(model, [1, 2], 9, 1, 3)[0], [3])
        assert_equal(len(model.calls), 1)


class TestOnTheGpu:
    @pytest.mark.parametrize(("function", "limit"), [(top_k, 2), (top_p, 0.7), (min_p, 0.2)])
    def test_filters(self, gpu, function, limit):
        gpu.check(function, random_logits(3, 7), limit)

    def test_penalize_repetition(self, gpu):
        gpu.check(penalize_repetition, random_logits(2, 7).requires_grad_(), torch.tensor([[1, 4], [6, 6]]), 1.7)

    def test_sample(self, gpu):
        gpu.check(sample, random_logits(2, 7), 0.0)
        drawn = sample(gpu(random_logits(2, 7)), 0.8, gpu.generator(4))
        assert_equal(drawn.device.type, gpu.device.type)
