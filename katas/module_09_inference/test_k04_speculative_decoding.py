"""Judges k04_speculative_decoding by the target's own distribution (chi-squared), and by its greedy text without a draft."""

import itertools
import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_09_inference.k04_speculative_decoding import (
    acceptance,
    best_draft_length,
    distribution,
    expected_tokens,
    propose,
    residual,
    speculate,
    verify,
)

pytestmark = [from_scratch("transformers"), pure(), pytest.mark.deadline(60)]


def numbers(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_probs(*shape: int, seed: int = 0) -> torch.Tensor:
    """Distributions (..., V) that are far from each other and from even."""
    return (1.3 * torch.randn(*shape, dtype=torch.float64, generator=generator(seed))).softmax(-1)


def judge(found: list, law: dict, what: str) -> None:
    """Whether the outcomes `found` come from the law {outcome: probability}: a chi-squared test.

    A right solution fails it once in 10⁹ seeds; a wrong one here is off by thousands.
    """
    from scipy.stats import chi2

    counts = dict.fromkeys(law, 0)
    for outcome in found:
        if outcome not in law or law[outcome] == 0:
            fail(f"{what}: {outcome} came out, whose probability is 0", evidence=("impossible", outcome))
        counts[outcome] += 1
    # Rare outcomes are counted together: each cell has 8 or more, as the test wants it.
    cells, seen, expected = [], 0, 0.0
    for outcome in sorted((o for o in law if law[o] > 0), key=law.__getitem__):
        seen, expected = seen + counts[outcome], expected + law[outcome] * len(found)
        if expected >= 8:
            cells.append((seen, expected))
            seen, expected = 0, 0.0
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in cells)
    if chi2.sf(statistic, max(1, len(cells) - 1)) < 1e-9:
        worst = max(law, key=lambda o: abs(counts[o] - law[o] * len(found)) / math.sqrt(law[o] * len(found) + 1))
        fail(
            f"{what}: {worst} came {counts[worst]} times in {len(found)}, expected about {law[worst] * len(found):.0f}",
            evidence=tuple(counts.values()),
        )


class Table:
    """A model whose logits hang on the last two tokens and on the place; `seen` has the texts of all calls."""

    def __init__(self, vocabulary: int, seed: int, spread: float = 1.3) -> None:
        draw = generator(seed)
        self.table = spread * torch.randn(vocabulary, vocabulary, 3, vocabulary, dtype=torch.float64, generator=draw)
        self.seen: list[list[int]] = []
        self.gradients: list[bool] = []

    def logits(self, text: list[int]) -> torch.Tensor:
        """What comes after a text, (V,)."""
        return self.table[text[-1], text[-2] if len(text) > 1 else 0, len(text) % 3]

    def __call__(self, ids):
        self.seen += ids.tolist()
        self.gradients.append(torch.is_grad_enabled())
        table = self.table.to(ids.device)
        before = torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], 1)
        places = torch.arange(1, ids.shape[1] + 1, device=ids.device) % 3
        return table[ids, before, places]


def greedy(model: Table, prompt: list[int], new_tokens: int, stop: int | None = None) -> list[int]:
    """The target alone, token by token."""
    text = list(prompt)
    for _ in range(new_tokens):
        text.append(int(model.logits(text).argmax()))
        if text[-1] == stop:
            break
    return text


def law_of_texts(model: Table, prompt: list[int], new_tokens: int, temperature: float, stop: int | None = None) -> dict:
    """{the new tokens: their probability} under the target alone."""
    law, live = {}, {(): 1.0}
    for _ in range(new_tokens):
        grown = {}
        for new, prob in live.items():
            row = (model.logits([*prompt, *new]) / temperature).softmax(-1).tolist()
            for token, p in enumerate(row):
                (law if token == stop else grown)[(*new, token)] = prob * p
        live = grown
    return law | live


class Transformer(torch.nn.Module):
    """A small causal transformer with learned positions, which needs no other kata."""

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        block = torch.nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)
        self.tokens, self.places = torch.nn.Embedding(vocabulary, width), torch.nn.Embedding(20, width)
        self.blocks = torch.nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(std=0.5)

    def forward(self, ids):
        n = ids.shape[1]
        x = self.tokens(ids) + self.places.weight[:n]
        hidden = torch.ones(n, n, dtype=torch.bool).triu(1)
        return self.blocks(x, mask=hidden) @ self.tokens.weight.T


class TestDistribution:
    @pytest.mark.parametrize("temperature", [1.0, 0.5, 2.5])
    @pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
    def test_is_a_softmax(self, lead, temperature):
        logits = 3 * torch.randn(*lead, 5, dtype=torch.float64)
        assert_close(distribution(logits, temperature), torch.softmax(logits / temperature, -1))

    @pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
    def test_at_temperature_0_the_largest_logit_has_all(self, lead):
        logits = torch.randn(*lead, 5, dtype=torch.float64)
        expected = torch.nn.functional.one_hot(logits.argmax(-1), 5).double()
        assert_close(distribution(logits, 0.0), expected)
        assert_close(distribution(logits, 0), expected)

    def test_of_several_largest_one_is_taken(self):
        found = distribution(numbers(1, 4, 4, 0, 4), 0.0)
        assert_equal((sorted(found.tolist()), found[[0, 3]].tolist()), ([0, 0, 0, 0, 1], [0, 0]))

    @pytest.mark.parametrize("temperature", [0.0, 0.7])
    def test_a_logit_of_minus_infinity_has_probability_0(self, temperature):
        found = distribution(numbers(-math.inf, 1.0, -math.inf, 1.5), temperature)
        expected = numbers(0, 0, 0, 1) if temperature == 0 else numbers(0, *(numbers(1, 1.5) / 0.7).softmax(-1), 0)
        if temperature:
            expected = expected[[0, 1, 3, 2]]
        assert_close(found, expected)

    @pytest.mark.parametrize(("logits", "temperature"), [((3e38, -3e38, 2e38), 1.0), ((5.0, 4.0, -2.0), 1e-40)])
    def test_no_nan_however_large_the_quotient(self, logits, temperature):
        assert_equal(distribution(torch.tensor(logits), temperature).tolist(), [1.0, 0.0, 0.0])

    @pytest.mark.parametrize("temperature", [0.0, 0.5])
    def test_keeps_the_dtype(self, temperature):
        assert_equal(distribution(torch.randn(2, 3), temperature).dtype, torch.float32)

    @pytest.mark.parametrize("temperature", [-1.0, -0.25])
    def test_refuses_a_negative_temperature(self, temperature):
        with raises(ValueError, temperature):
            distribution(numbers(1, 2), temperature)


P, Q = (0.3, 0.4, 0.3), (0.6, 0.3, 0.1)


class TestAcceptance:
    def test_the_example_worked_by_hand(self):
        assert_close(acceptance(numbers(*P), numbers(*Q)), numbers(0.7)[0])

    @pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
    def test_is_the_mean_of_what_is_accepted(self, lead):
        p, q = some_probs(*lead, 6, seed=1), some_probs(*lead, 6, seed=2)
        assert_close(acceptance(p, q), (q * (p / q).clamp(max=1)).sum(-1))

    def test_is_1_for_equal_ones_and_0_for_those_apart(self):
        p, q = numbers((0.2, 0.8, 0.0), (0, 0, 1)), numbers((0.2, 0.8, 0.0), (0.5, 0.5, 0))
        assert_close(acceptance(p, q), numbers(1, 0))


class TestResidual:
    def test_the_example_worked_by_hand(self):
        assert_close(residual(numbers(*P), numbers(*Q)), numbers(0, 1 / 3, 2 / 3))

    @pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
    def test_fills_up_the_gaps(self, lead):
        p, q = some_probs(*lead, 6, seed=3), some_probs(*lead, 6, seed=4)
        accepted = torch.minimum(p, q)
        found = residual(p, q)
        assert_close(accepted + (1 - accepted.sum(-1, keepdim=True)) * found, p)
        assert_close(found.sum(-1), torch.ones(lead, dtype=torch.float64))

    def test_where_p_and_q_are_equal_it_is_p(self):
        p, q = numbers(P, (0.2, 0.0, 0.8), (0, 1, 0)), numbers(Q, (0.2, 0.0, 0.8), (0, 1, 0))
        assert_close(residual(p, q), numbers((0, 1 / 3, 2 / 3), (0.2, 0, 0.8), (0, 1, 0)))

    def test_without_a_draft_it_is_p(self):
        p = some_probs(2, 5)
        assert_close(residual(p, torch.zeros_like(p)), p)

    def test_keeps_the_dtype(self):
        p, q = torch.tensor(P), torch.tensor(Q)
        assert_equal([residual(p, q).dtype, acceptance(p, q).dtype], [torch.float32] * 2)


class TestExpectedTokens:
    def test_the_example_worked_by_hand(self):
        assert_close(expected_tokens(0.8, 4), 3.3616)

    @pytest.mark.parametrize("alpha", [0.0, 0.3, 0.95, 1.0])
    @pytest.mark.parametrize("k", [0, 1, 2, 7])
    def test_is_the_mean_over_all_ends(self, alpha, k):
        # i accepted and then a rejection, or all k accepted
        expected = sum((i + 1) * alpha**i * (1 - alpha) for i in range(k)) + (k + 1) * alpha**k
        assert_close(expected_tokens(alpha, k), expected)


class TestBestDraftLength:
    def test_the_example_worked_by_hand(self):
        assert_equal(best_draft_length(0.8, 0.05, 20), 8)

    @pytest.mark.parametrize(
        ("alpha", "cost", "most", "k"),
        [
            (0.8, 0.05, 3, 3),  # no more are allowed
            (0.9, 0.2, 30, 7),
            (0.3, 0.5, 10, 0),  # the draft doesn't pay
            (0.0, 0.01, 10, 0),
            (1.0, 0.1, 12, 12),
            (0.6, 0.0, 9, 9),  # for free
            (0.7, 0.1, 0, 0),
        ],
    )
    def test_the_largest_speed_up(self, alpha, cost, most, k):
        assert_equal(best_draft_length(alpha, cost, most), k)

    @pytest.mark.parametrize(("alpha", "cost"), [(0.5, 0.5), (0.25, 0.25), (0.0, 0.0), (1.0, 1.0)])
    def test_the_smallest_of_several(self, alpha, cost):
        # 1 token in 1 pass without a draft, and 1 + α in 1 + cost with one
        assert_equal(best_draft_length(alpha, cost, 5), 0)


class TestPropose:
    @pytest.mark.parametrize("temperature", [1.0, 0.6])
    @pytest.mark.parametrize("k", [1, 2, 5])
    def test_gives_the_distribution_of_each_token(self, k, temperature):
        model, prompt = Table(4, 5), [3, 0, 2]
        tokens, q = propose(model, torch.tensor(prompt), k, temperature, generator(1))
        assert_equal(
            (tuple(tokens.shape), tokens.dtype, tuple(q.shape), q.dtype), ((k,), torch.int64, (k, 4), torch.float64)
        )
        texts = [prompt + tokens[:i].tolist() for i in range(k)]
        assert_close(q, torch.stack([(model.logits(text) / temperature).softmax(-1) for text in texts]))

    def test_at_temperature_0_it_is_the_greedy_text(self):
        model = Table(6, 7)
        tokens, q = propose(model, torch.tensor([1, 4]), 5, 0.0, generator(2))
        assert_equal(tokens.tolist(), greedy(model, [1, 4], 5)[2:])
        assert_close(q, torch.nn.functional.one_hot(tokens, 6).double())

    def test_a_token_a_call(self):
        model = Table(4, 8)
        tokens = propose(model, torch.tensor([2, 1]), 3, 1.0, generator(3))[0].tolist()
        assert_equal(model.seen, [[2, 1], [2, 1, tokens[0]], [2, 1, *tokens[:2]]])
        assert_equal(any(model.gradients), False)

    @pytest.mark.parametrize("temperature", [1.0, 0.5])
    def test_tokens_are_drawn_from_it(self, temperature):
        model, draw, ids = Table(3, 9, 0.8), generator(4), torch.tensor([1, 2])
        found = [tuple(propose(model, ids, 2, temperature, draw)[0].tolist()) for _ in range(400)]
        judge(found, law_of_texts(model, [1, 2], 2, temperature), "propose() draws two tokens")

    def test_all_random_numbers_come_from_the_generator(self):
        model, ids, before = Table(5, 10), torch.tensor([1]), torch.get_rng_state()
        first = propose(model, ids, 9, 1.0, generator(5))[0].tolist()
        second = propose(model, ids, 9, 1.0, generator(5))[0].tolist()
        assert_equal((first == second, torch.equal(before, torch.get_rng_state())), (True, True))


def law_of_verdicts(p: torch.Tensor, q: torch.Tensor, drafts: list[int]) -> dict:
    """{(accepted, following): probability} of one row with these drafted tokens, by the rules of the lesson."""
    law, reached = {}, 1.0
    for i, x in enumerate(drafts):
        keep = min(1.0, float(p[i, x] / q[i, x]))
        gaps = [max(float(a - b), 0.0) for a, b in zip(p[i], q[i], strict=True)]
        for t, gap in enumerate(gaps):
            law[i, t] = reached * (1 - keep) * gap / sum(gaps) if keep < 1 else 0.0
        reached *= keep
    for t, prob in enumerate(p[-1].tolist()):
        law[len(drafts), t] = reached * prob
    return law


def rows_of(n: int, *tensors: torch.Tensor) -> list[torch.Tensor]:
    return [one.expand(n, *one.shape).clone() for one in tensors]


def verdicts(p, q, drafts, seed: int) -> list[tuple[int, int]]:
    accepted, following = verify(p, q, drafts, generator(seed))
    assert_equal([tuple(accepted.shape), tuple(following.shape)], [(len(p),)] * 2)
    assert_equal([accepted.dtype, following.dtype], [torch.int64, torch.int64])
    return list(zip(accepted.tolist(), following.tolist(), strict=True))


N = 2_000


class TestVerify:
    @pytest.mark.parametrize(("token", "keep"), [(0, 0.5), (1, 1.0), (2, 1.0)])
    def test_the_example_worked_by_hand(self, token, keep):
        p, q = numbers(P, (0.2, 0.3, 0.5)), numbers(Q)
        law = {(0, 1): (1 - keep) / 3, (0, 2): (1 - keep) * 2 / 3} | {(1, t): keep * float(p[1, t]) for t in range(3)}
        judge(verdicts(*rows_of(N, p, q, torch.tensor([token])), 1), law, f"verify() on the token {'abc'[token]}")

    @pytest.mark.parametrize("drafts", [(1, 3), (0, 0), (2, 1), (3, 2), (1, 0, 2), (3, 3, 3)])
    def test_the_verdicts_on_given_tokens(self, drafts):
        k = len(drafts)
        p, q = some_probs(k + 1, 4, seed=11), some_probs(k, 4, seed=12)
        p, q = 0.7 * p + 0.075, 0.7 * q + 0.075  # nothing is too rare to be judged
        found = verdicts(*rows_of(2 * N, p, q, torch.tensor(drafts)), 2)
        judge(found, law_of_verdicts(p, q, list(drafts)), f"verify() on the tokens {drafts}")

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_the_first_token_has_the_distribution_of_the_target(self, seed):
        p, q = some_probs(3, 5, seed=20 + seed), some_probs(2, 5, seed=30 + seed)
        p, q = 0.8 * p + 0.04, 0.8 * q + 0.04
        drafts = torch.multinomial(q, N, replacement=True, generator=generator(seed)).T.contiguous()
        found = verdicts(*rows_of(N, p, q), drafts, seed)
        first = [x if accepted else t for (accepted, t), x in zip(found, drafts[:, 0].tolist(), strict=True)]
        judge(first, dict(enumerate(p[0].tolist())), "the first token")

    def test_each_row_is_judged_by_its_own_numbers(self):
        p, q = some_probs(2, 3, 4, seed=40), some_probs(2, 2, 4, seed=41)
        p, q = 0.8 * p + 0.05, 0.8 * q + 0.05
        drafts = torch.tensor([[2, 1], [0, 3]])
        found = verdicts(p.repeat(N, 1, 1), q.repeat(N, 1, 1), drafts.repeat(N, 1), 3)
        for row in (0, 1):
            law = law_of_verdicts(p[row], q[row], drafts[row].tolist())
            judge(found[row::2], law, f"verify() on row {row}")

    def test_what_the_target_never_writes_is_never_accepted(self):
        p = numbers((0.0, 0.6, 0.4), (0.5, 0.0, 0.5), (0.2, 0.3, 0.5))
        q = numbers((0.9, 0.05, 0.05), (0.1, 0.8, 0.1))
        found = verdicts(*rows_of(300, p, q, torch.tensor([0, 1])), 4)
        assert_equal(({a for a, _ in found}, {t for _, t in found}), ({0}, {1, 2}))
        found = verdicts(*rows_of(300, p, q, torch.tensor([1, 1])), 5)
        assert_equal(({a for a, _ in found}, {t for _, t in found}), ({1}, {0, 2}))

    def test_nothing_behind_a_rejection_is_accepted(self):
        p = numbers((0.0, 1.0), (1.0, 0.0), (1.0, 0.0), (0.5, 0.5))
        q = numbers((0.5, 0.5), (0.5, 0.5), (0.5, 0.5))
        assert_equal(set(verdicts(*rows_of(50, p, q, torch.tensor([0, 0, 0])), 6)), {(0, 1)})

    @pytest.mark.parametrize("k", [1, 3])
    def test_a_draft_like_the_target_is_always_accepted(self, k):
        p = some_probs(k + 1, 4, seed=50)
        drafts = torch.multinomial(p[:-1], 500, replacement=True, generator=generator(7)).T.contiguous()
        found = verdicts(*rows_of(500, p, p[:-1]), drafts, 8)
        assert_equal({a for a, _ in found}, {k})
        judge([t for _, t in found], dict(enumerate(p[-1].tolist())), "the token behind all accepted ones")

    def test_at_temperature_0_it_compares_with_the_targets_choice(self):
        hot = torch.nn.functional.one_hot
        chosen = torch.tensor([[2, 0, 3], [2, 0, 3], [1, 1, 0], [3, 2, 1]])
        drafts = torch.tensor([[2, 0], [2, 1], [0, 1], [0, 0]])
        found = verdicts(hot(chosen, 4).double(), hot(drafts, 4).double(), drafts, 9)
        assert_equal(found, [(2, 3), (1, 0), (0, 1), (0, 3)])

    def test_nothing_was_drafted(self):
        p = some_probs(1, 4, seed=60)
        found = verdicts(*rows_of(N, p, p[:0]), torch.empty(N, 0, dtype=torch.int64), 10)
        judge(found, {(0, t): prob for t, prob in enumerate(p[0].tolist())}, "without drafted tokens verify()")

    def test_rows_are_independent_of_each_other(self):
        p, q = numbers((0.5, 0.5), (0.5, 0.5)), numbers((1.0, 0.0))
        found = verdicts(*rows_of(N, p, q, torch.tensor([0])), 11)
        pairs = [(a, b) for (a, _), (b, _) in zip(found[::2], found[1::2], strict=True)]
        judge(pairs, dict.fromkeys(itertools.product((0, 1), repeat=2), 0.25), "how many two rows accept")

    def test_float32_as_well(self):
        p, q = torch.tensor([P, P]), torch.tensor([Q])
        law = {(0, 1): 0.5 / 3, (0, 2): 1 / 3} | {(1, t): 0.5 * P[t] for t in range(3)}
        judge(verdicts(*rows_of(N, p, q, torch.tensor([0])), 12), law, "verify() in float32")

    def test_all_random_numbers_come_from_the_generator(self):
        p, q = some_probs(40, 3, 4, seed=70), some_probs(40, 2, 4, seed=71)
        drafts, before = torch.zeros(40, 2, dtype=torch.int64), torch.get_rng_state()
        first, second = verdicts(p, q, drafts, 13), verdicts(p, q, drafts, 13)
        assert_equal((first == second, torch.equal(before, torch.get_rng_state())), (True, True))


def run(target, draft, prompt, new_tokens, k, temperature=0.0, seed=1, stop=None) -> list[int]:
    found = speculate(target, draft, torch.tensor(prompt), new_tokens, k, temperature, generator(seed), stop)
    assert_equal(found.dtype, torch.int64)
    return found.tolist()


class TestSpeculate:
    @pytest.mark.parametrize("k", [1, 2, 4, 9])
    @pytest.mark.parametrize("draft", [2, 3])
    def test_the_greedy_text_whatever_the_draft(self, draft, k):
        target, prompt = Table(4, 1), [3, 1]
        assert_equal(run(target, Table(4, draft), prompt, 12, k), greedy(target, prompt, 12))

    def test_the_greedy_text_of_a_transformer(self):
        target, draft, text = Transformer(13, 16, 2), Transformer(13, 8, 1), torch.tensor([5, 0, 12])
        found = speculate(target, draft, text, 10, 3, 0.0, generator(1))
        for _ in range(10):  # the target alone
            text = torch.cat([text, target(text[None])[0, -1].argmax(keepdim=True)]).detach()
        assert_equal((found, found.requires_grad), (text, False))

    @pytest.mark.parametrize(("prompt", "new_tokens"), [([2], 1), ([2], 5), ([0, 1, 2, 3, 0], 2), ([1, 3], 0)])
    def test_as_many_tokens_as_asked_for(self, prompt, new_tokens):
        target = Table(4, 1)
        assert_equal(run(target, target, prompt, new_tokens, 3), greedy(target, prompt, new_tokens))

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    @pytest.mark.parametrize(("new_tokens", "k", "rounds"), [(12, 3, 3), (13, 3, 4), (5, 4, 1), (3, 9, 1), (4, 1, 2)])
    def test_a_perfect_draft_brings_k_plus_1_tokens_a_round(self, new_tokens, k, rounds, temperature):
        target, draft = Table(5, 1), Table(5, 1)
        run(target, draft, [2, 4], new_tokens, k, temperature)
        assert_equal((len(target.seen), len(draft.seen)), (rounds, new_tokens - rounds))

    def test_a_draft_that_is_always_wrong_brings_one(self):
        target, draft = Table(5, 1), Table(5, 1)
        draft.table = -draft.table  # it chooses what the target likes least
        assert_equal(run(target, draft, [2], 6, 3), greedy(target, [2], 6))
        assert_equal((len(target.seen), len(draft.seen)), (6, 3 + 3 + 3 + 2 + 1))

    def test_one_pass_judges_the_text_and_the_drafted_tokens(self):
        target, draft = Table(5, 1), Table(5, 1)
        text = run(target, draft, [2, 4], 8, 3)
        assert_equal(target.seen, [text[:5], text[:9]])
        assert_equal(draft.seen, [text[:n] for n in (2, 3, 4, 6, 7, 8)])
        assert_equal(any(target.gradients + draft.gradients), False)

    @pytest.mark.parametrize("seed", [1, 2])
    @pytest.mark.parametrize("k", [1, 4, 20])
    def test_no_model_sees_more_than_it_must(self, k, seed):
        target, draft = Table(4, 1), Table(4, seed)
        run(target, draft, [2, 3, 1], 7, k, 1.0, seed)
        assert_equal(max(map(len, target.seen)) <= 9 and max(map(len, draft.seen), default=0) <= 8, True)

    @pytest.mark.parametrize("draft", [1, 2, 3])
    @pytest.mark.parametrize("stop", [0, 1, 2, 3])
    def test_the_text_ends_with_the_stop_token(self, stop, draft):
        target, prompt = Table(4, 6), [3, 1]
        assert_equal(run(target, Table(4, draft), prompt, 14, 4, stop=stop), greedy(target, prompt, 14, stop))

    @pytest.mark.parametrize("stop", range(6))
    @pytest.mark.parametrize("k", [2, 7])
    def test_what_was_accepted_behind_the_stop_token_is_dropped(self, k, stop):
        target, draft = Table(6, 4), Table(6, 4)
        assert_equal(run(target, draft, [5, 0], 14, k, stop=stop), greedy(target, [5, 0], 14, stop))

    def test_nothing_is_run_after_the_stop_token(self):
        target, draft = Table(6, 4), Table(6, 4)
        text = greedy(target, [5, 0], 3)
        run(target, draft, [5, 0], 30, 2, stop=text[-1])
        assert_equal(len(target.seen), 1)

    def test_a_stop_token_in_the_prompt_stops_nothing(self):
        target = Table(6, 4)
        text = greedy(target, [5, 0], 5)
        stop = next(t for t in range(6) if t not in text[2:])
        prompt = [stop, 5, 0]
        assert_equal(run(target, Table(6, 4), prompt, 3, 2, stop=stop), greedy(target, prompt, 3, stop))

    @pytest.mark.parametrize(("temperature", "k", "seed"), [(1.0, 2, 1), (0.6, 4, 2)])
    def test_texts_have_the_distribution_of_the_target(self, temperature, k, seed):
        target, draft, draw, ids = Table(3, 21, 0.8), Table(3, 22, 0.8), generator(seed), torch.tensor([1, 2])
        found = [tuple(speculate(target, draft, ids, 3, k, temperature, draw)[2:].tolist()) for _ in range(400)]
        judge(found, law_of_texts(target, [1, 2], 3, temperature), f"three tokens at temperature {temperature}")

    def test_a_draft_that_leaves_tokens_out_changes_nothing(self):
        target, draft, draw, ids = Table(3, 23, 0.7), Table(3, 24, 0.7), generator(4), torch.tensor([0, 2])
        draft.table[..., 1] = -math.inf
        target.table[..., 0, 2] = -math.inf
        found = [tuple(speculate(target, draft, ids, 2, 2, 1.0, draw)[2:].tolist()) for _ in range(400)]
        judge(found, law_of_texts(target, [0, 2], 2, 1.0), "two tokens, with a draft that never says 1")

    def test_a_text_with_a_stop_token_has_the_distribution_of_the_target(self):
        target, draft, draw, ids = Table(3, 25, 0.5), Table(3, 26, 0.5), generator(5), torch.tensor([2, 1])
        found = [tuple(speculate(target, draft, ids, 3, 2, 1.0, draw, 1)[2:].tolist()) for _ in range(400)]
        judge(found, law_of_texts(target, [2, 1], 3, 1.0, stop=1), "texts that end with the token 1")

    def test_all_random_numbers_come_from_the_generator(self):
        target, draft, before = Table(5, 1), Table(5, 2), torch.get_rng_state()
        first = run(target, draft, [2, 4], 12, 3, 1.0, seed=3)
        second = run(target, draft, [2, 4], 12, 3, 1.0, seed=3)
        assert_equal((first == second, torch.equal(before, torch.get_rng_state())), (True, True))
        others = {tuple(run(target, draft, [2, 4], 12, 3, 1.0, seed=seed)) for seed in range(4, 8)}
        assert_equal(len(others) > 1, True)

    @pytest.mark.parametrize("k", [0, -3])
    @pytest.mark.parametrize("new_tokens", [4, 0])
    def test_refuses_to_draft_nothing(self, k, new_tokens):
        with raises(ValueError, k):
            run(Table(4, 1), Table(4, 2), [1], new_tokens, k)


class TestOnTheGpu:
    @pytest.mark.parametrize("temperature", [0.0, 0.7])
    def test_distribution(self, gpu, temperature):
        gpu.check(distribution, numbers((1, 3, 2), (0.5, -1, -2)), temperature)

    def test_acceptance(self, gpu):
        gpu.check(acceptance, numbers(P, Q), numbers(Q, Q))

    def test_residual(self, gpu):
        gpu.check(residual, numbers(P, Q), numbers(Q, Q))

    def test_propose(self, gpu):
        model = Table(4, 5)
        tokens, q = propose(model, torch.tensor([3, 0]).to(gpu.device), 3, 0.8, gpu.generator(1))
        assert_equal([tokens.device.type, q.device.type], [gpu.device.type] * 2)
        tokens = tokens.cpu().tolist()
        expected = [(model.logits([3, 0, *tokens[:i]]) / 0.8).softmax(-1) for i in range(3)]
        assert_close(q.cpu(), torch.stack(expected))

    def test_verify(self, gpu):
        one = torch.nn.functional.one_hot
        chosen, drafts = torch.tensor([[2, 0, 3], [2, 0, 3], [1, 1, 0]]), torch.tensor([[2, 0], [2, 1], [0, 1]])
        there = [t.to(gpu.device) for t in (one(chosen, 4).double(), one(drafts, 4).double(), drafts)]
        found = verify(*there, gpu.generator(2))
        assert_equal([t.device.type for t in found], [gpu.device.type] * 2)
        assert_equal([t.cpu().tolist() for t in found], [[2, 1, 0], [3, 0, 1]])

    def test_speculate(self, gpu):
        target = Table(4, 1)
        found = speculate(target, Table(4, 2), torch.tensor([3, 1]).to(gpu.device), 6, 2, 0.0, gpu.generator(3))
        assert_equal((found.device.type, found.cpu().tolist()), (gpu.device.type, greedy(target, [3, 1], 6)))
