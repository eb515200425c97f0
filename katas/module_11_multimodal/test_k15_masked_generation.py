"""Judges k15_masked_generation on tables whose answers are exact, and on pictures that are their own mirror."""

import itertools
import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_11_multimodal.k15_masked_generation import (
    MaskedTransformer,
    confident_step,
    exact_conditionals,
    infill,
    mask_schedule,
    masked_loss,
    order_log_likelihood,
    random_mask,
)

pytestmark = [
    from_scratch("torch.distributions", "torch.nn.functional.gumbel_softmax", "transformers"),
    pure(),
]


def drawn(*shape: int, levels: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(levels, shape, generator=seeded(seed))


EQUAL = torch.tensor([[0.4, 0.1], [0.1, 0.4]], dtype=F64)


def a_table(levels: int, places: int, seed: int = 0) -> torch.Tensor:
    table = torch.rand((levels,) * places, generator=seeded(seed), dtype=F64) ** 2
    return table / table.sum()


class TestMaskSchedule:
    @pytest.mark.parametrize(("kind", "expected"), [("cosine", [9, 7, 3, 0]), ("linear", [7, 5, 2, 0]), ("square", [9, 7, 4, 0])])
    def test_the_example_worked_by_hand(self, kind, expected):
        assert_equal(mask_schedule(10, 4, kind), expected)

    @pytest.mark.parametrize("kind", ["cosine", "linear", "square"])
    @pytest.mark.parametrize(("n", "steps"), [(1, 1), (256, 8), (12, 3), (5, 9), (0, 3), (64, 64)])
    def test_step_by_step(self, n, steps, kind):
        curve = {"cosine": lambda r: math.cos(math.pi / 2 * r), "linear": lambda r: 1 - r, "square": lambda r: 1 - r * r}[kind]
        expected = [math.floor(n * curve(t / steps) + 1e-9) for t in range(1, steps + 1)]
        assert_equal(mask_schedule(n, steps, kind), expected)

    def test_the_cosine_unless_given(self):
        assert_equal(mask_schedule(12, 3), [10, 6, 0])

    @pytest.mark.parametrize(("n", "steps"), [(10, 10), (49, 7), (100, 20)])
    def test_no_place_is_lost_by_rounding(self, n, steps):
        assert_equal(mask_schedule(n, steps, "linear"), [n * (steps - t) // steps for t in range(1, steps + 1)])

    @pytest.mark.parametrize("steps", [0, -2])
    def test_less_than_one_step(self, steps):
        with raises(ValueError, steps):
            mask_schedule(5, steps)

    def test_another_kind(self):
        with raises(ValueError, "cubic"):
            mask_schedule(5, 2, "cubic")


class TestRandomMask:
    @pytest.mark.parametrize(("batch", "n"), [(1, 1), (3, 7), (5, 5)])
    def test_shape_and_dtype(self, batch, n):
        mask = random_mask(batch, n, seeded(1))
        assert_equal((tuple(mask.shape), mask.dtype), ((batch, n), torch.bool))

    def test_at_least_one_place_is_hidden(self):
        assert_equal(int(random_mask(20_000, 3, seeded(2)).sum(1).min()), 1)

    @pytest.mark.parametrize("n", [4, 10])
    def test_how_many_are_hidden(self, n):
        """⌈n cos(π r / 2)⌉ ≤ k means cos(π r / 2) ≤ k / n, and r is uniform."""
        rows = 20_000
        counts = random_mask(rows, n, seeded(3)).sum(1)
        off = 0.0
        for k in range(1, n):
            p = 1 - 2 / math.pi * math.acos(k / n)
            off = max(off, abs((counts <= k).double().mean().item() - p) / math.sqrt(p * (1 - p) / rows))
        if off > 5:
            fail(f"How many places are hidden is {off:.0f} deviations away from ⌈N cos(π r / 2)⌉.", evidence=round(off))

    def test_all_sets_are_equally_likely(self):
        mask = random_mask(40_000, 4, seeded(4))
        pairs = mask[mask.sum(1) == 2]
        sets = list(itertools.combinations(range(4), 2))
        found = [tuple(row.nonzero()[:, 0].tolist()) for row in pairs]
        n, p = len(found), 1 / len(sets)
        off = max(abs(found.count(s) / n - p) for s in sets) / math.sqrt(p * (1 - p) / n)
        if off > 5:
            most = max(sets, key=found.count)
            fail(f"Pairs of places differ in how often they are hidden, by {off:.0f} deviations.", evidence=[round(off), *most])

    def test_a_single_row(self):
        draws = seeded(8)
        masks = torch.cat([random_mask(1, 5, draws) for _ in range(2000)])
        # Every place is hidden equally often.  5 deviations of a share of 2000 are 0.05.
        assert_close(masks.double().mean(0), torch.full((5,), masks.double().mean().item(), dtype=F64), atol=0.05, rtol=0)

    def test_rows_differ(self):
        counts = random_mask(200, 50, seeded(5)).sum(1)
        assert_equal(len(counts.unique()) > 10, True)
        assert_equal(len(random_mask(200, 50, seeded(5)).unique(dim=0)) > 150, True)

    def test_the_generator_decides(self):
        masks = [random_mask(4, 9, seeded(seed)) for seed in (6, 6, 7)]
        assert_equal((torch.equal(masks[0], masks[1]), torch.equal(masks[0], masks[2])), (True, False))

    def test_on_the_gpu(self, gpu):
        assert_equal(random_mask(3, 5, gpu.generator(0)).device.type, gpu.device.type)


class TestMaskedLoss:
    def test_the_example_worked_by_hand(self):
        p = torch.tensor([[[0.5, 0.25, 0.25], [0.9, 0.1, 0.0], [0.25, 0.5, 0.25]]], dtype=F64)
        tokens, mask = torch.tensor([[0, 1, 2]]), torch.tensor([[True, False, True]])
        assert_close(masked_loss(p.log(), tokens, mask), torch.tensor(1.5 * math.log(2), dtype=F64))

    @pytest.mark.parametrize(("batch", "n", "levels"), [(2, 5, 3), (3, 3, 3), (1, 4, 6)])
    def test_token_by_token(self, batch, n, levels):
        logits, tokens = normal(batch, n, levels), drawn(batch, n, levels=levels)
        mask = torch.rand(batch, n, generator=seeded(1)) < 0.5
        mask[0, 0] = True
        parts = []
        for b, i in mask.nonzero().tolist():
            row = logits[b, i].tolist()
            parts.append(math.log(sum(math.exp(v) for v in row)) - row[tokens[b, i]])
        assert_close(masked_loss(logits, tokens, mask), torch.tensor(sum(parts) / len(parts), dtype=F64))

    def test_the_gradient_is_0_where_nothing_is_hidden(self):
        logits, mask = normal(2, 3, 4).requires_grad_(), torch.tensor([[True, False, False], [True, True, False]])
        tokens = drawn(2, 3, levels=4)
        masked_loss(logits, tokens, mask).backward()
        one_hot = torch.nn.functional.one_hot(tokens, 4).double()
        expected = (logits.detach().softmax(-1) - one_hot) * mask[..., None] / 3
        assert_close(logits.grad, expected)

    def test_nothing_hidden(self):
        with pytest.raises(ValueError):
            masked_loss(normal(2, 3, 4), drawn(2, 3, levels=4), torch.zeros(2, 3, dtype=torch.bool))

    def test_on_the_gpu(self, gpu):
        gpu.check(masked_loss, torch.randn(2, 3, 4, requires_grad=True), drawn(2, 3, levels=4), torch.eye(2, 3).bool())


def a_model(levels: int = 3, length: int = 5, layers: int = 1) -> MaskedTransformer:
    torch.manual_seed(5)
    return MaskedTransformer(levels, length, 8, layers, 2).double()


class TestMaskedTransformer:
    @pytest.mark.parametrize(("levels", "length", "layers"), [(3, 5, 1), (2, 7, 2), (6, 1, 1)])
    def test_logits_for_every_place(self, levels, length, layers):
        tokens = drawn(4, length, levels=levels + 1)  # hidden ones among them
        found = a_model(levels, length, layers)(tokens)
        assert_equal((tuple(found.shape), found.dtype), ((4, length, levels), F64))

    def test_every_place_sees_every_other(self):
        model, tokens = a_model(), drawn(1, 5, levels=3)
        before = model(tokens).detach()
        for j in range(5):
            changed = tokens.clone()
            changed[0, j] = (changed[0, j] + 1) % 3
            moved = (model(changed).detach() - before).abs().amax(2)[0] > 1e-9
            assert_equal(moved.tolist(), [True] * 5)

    def test_places_are_told_apart(self):
        model = a_model()
        hidden = model(torch.full((1, 5), 3)).detach()[0]
        assert_equal(len({tuple(round(v, 6) for v in row) for row in hidden.tolist()}), 5)

    def test_hidden_is_a_token_of_its_own(self):
        model = a_model()
        found = model(torch.tensor([[0, 1, 2, 3, 0], [0, 1, 2, 0, 0], [0, 1, 2, 1, 0], [0, 1, 2, 2, 0]])).detach()
        assert_equal([bool((found[0] - found[i]).abs().max() > 1e-6) for i in (1, 2, 3)], [True] * 3)

    def test_the_head_makes_the_logits(self):
        model = a_model()
        with torch.no_grad():
            model.head.weight.zero_()
            model.head.bias.copy_(f64(1, -2, 3))
        assert_close(model(drawn(2, 5, levels=4)).detach(), f64(1, -2, 3).expand(2, 5, 3))

    def test_images_dont_mix(self):
        model, tokens = a_model(), drawn(3, 5, levels=4)
        assert_close(model(tokens)[1:2].detach(), model(tokens[1:2]).detach())

    def test_no_dropout(self):
        model, tokens = a_model().train(), drawn(2, 5, levels=4)
        assert_close(model(tokens).detach(), model(tokens).detach())

    def test_all_of_it_is_trained(self):
        model = a_model(3, 5, 2)
        tokens = torch.tensor([[0, 1, 2, 3, 0], [2, 2, 3, 1, 0]])
        (model(tokens) * normal(2, 5, 3)).sum().backward()
        assert_equal([name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()], [])

    def test_on_the_gpu(self, gpu):
        gpu.check(a_model().float(), drawn(2, 5, levels=4))


def conditionals_by_hand(table: torch.Tensor, row: list[int]) -> list[list[float]]:
    levels = len(table)
    found = [[0.0] * levels for _ in row]
    for image in itertools.product(range(levels), repeat=len(row)):
        if all(t in (levels, v) for t, v in zip(row, image, strict=True)):
            for place, v in enumerate(image):
                found[place][v] += table[image].item()
    return [[v / sum(chances) for v in chances] for chances in found]


class TestExactConditionals:
    def test_the_example_worked_by_hand(self):
        found = exact_conditionals(EQUAL, torch.tensor([[2, 2], [0, 2], [2, 1]]))
        expected = [[[0.5, 0.5], [0.5, 0.5]], [[1, 0], [0.8, 0.2]], [[0.2, 0.8], [0, 1]]]
        assert_close(found, torch.tensor(expected, dtype=F64))

    @pytest.mark.parametrize(("levels", "places"), [(2, 3), (3, 3), (4, 2), (2, 5), (3, 1)])
    def test_image_by_image(self, levels, places):
        table, tokens = a_table(levels, places), drawn(6, places, levels=levels + 1, seed=1)
        expected = [conditionals_by_hand(table, row) for row in tokens.tolist()]
        assert_close(exact_conditionals(table, tokens), torch.tensor(expected, dtype=F64))

    def test_all_hidden_and_none(self):
        table = a_table(3, 2)
        found = exact_conditionals(table, torch.tensor([[3, 3], [2, 1]]))
        expected = torch.stack([torch.stack([table.sum(1), table.sum(0)]), torch.eye(3, dtype=F64)[[2, 1]]])
        assert_close(found, expected)

    def test_impossible_tokens(self):
        table = torch.tensor([[0.5, 0.5, 0.0], [0.0] * 3, [0.0] * 3], dtype=F64)
        assert_close(exact_conditionals(table, torch.tensor([[3, 1]])), torch.tensor([[[1.0, 0, 0], [0, 1, 0]]], dtype=F64))
        with raises(ValueError, 2):
            exact_conditionals(table, torch.tensor([[3, 3], [0, 3], [1, 3]]))
        with raises(ValueError, 1):  # nothing is hidden in that row
            exact_conditionals(table, torch.tensor([[0, 0], [2, 0]]))

    def test_on_the_gpu(self, gpu):
        gpu.check(exact_conditionals, a_table(2, 3).float(), drawn(2, 3, levels=3))


def perfect(table: torch.Tensor):
    """A model that knows the table."""
    return lambda tokens: exact_conditionals(table, tokens).clamp(min=1e-300).log()


class TestOrderLogLikelihood:
    def test_the_example_worked_by_hand(self):
        for order in ([0, 1], [1, 0]):
            found = order_log_likelihood(perfect(EQUAL), torch.tensor([[0, 0]]), 2, order)
            assert_close(found, torch.tensor([math.log(0.4)], dtype=F64))

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_a_perfect_model_gives_the_table_in_any_order(self, order):
        table = a_table(3, 3, seed=2)
        every = torch.tensor(list(itertools.product(range(3), repeat=3)))
        assert_close(order_log_likelihood(perfect(table), every, 3, order), table.flatten().log())

    @pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
    def test_what_the_model_is_shown(self, order):
        shown, tokens = [], torch.tensor([[5, 6, 7, 8], [0, 1, 2, 3]])

        def model(seen):
            shown.append(seen.tolist())
            return torch.zeros(2, 4, 9, dtype=F64)

        found = order_log_likelihood(model, tokens, 9, order)
        expected = [[[row[i] if i in order[:k] else 9 for i in range(4)] for row in tokens.tolist()] for k in range(4)]
        assert_equal(shown, expected)
        assert_close(found, torch.full((2,), -4 * math.log(9), dtype=F64))

    @pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
    def test_an_imperfect_model(self, order):
        """Its logits depend on how many places are hidden, so that each order has its own sum."""
        base, tokens = normal(3, 4), drawn(2, 3, levels=4)

        def model(seen):
            return (base * (1 + (seen == 4).sum(1))[:, None, None]).clone()

        expected = [sum((base[p] * (4 - k)).log_softmax(0)[row[p]].item() for k, p in enumerate(order)) for row in tokens.tolist()]
        assert_close(order_log_likelihood(model, tokens, 4, order), torch.tensor(expected, dtype=F64))

    def test_the_gradient_reaches_the_model(self):
        model = a_model(3, 4)
        order_log_likelihood(model, drawn(2, 4, levels=3), 3, [2, 0, 3, 1]).sum().backward()
        assert_equal([name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()], [])

    @pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [0, 1, 3], [0, 1, 2, 0]])
    def test_an_order_that_is_none(self, order):
        with raises(ValueError, *order):
            order_log_likelihood(perfect(a_table(2, 3)), drawn(1, 3, levels=2), 2, order)

    def test_on_the_gpu(self, gpu):
        model, tokens = gpu(a_model(3, 4).float()), gpu(drawn(2, 4, levels=3))
        assert_equal(order_log_likelihood(model, tokens, 3, [1, 0, 3, 2]).device.type, gpu.device.type)


def sure(*chances: float) -> torch.Tensor:
    """Logits (1, N, 3) that give level 1 these chances at each place, level 0 the rest, and level 2 none."""
    p = torch.tensor(chances, dtype=F64)
    return torch.stack([1 - p, p, torch.zeros_like(p)], -1).clamp(min=1e-300).log()[None]


class TestConfidentStep:
    def test_the_surest_guess_is_kept(self):
        """Chances so near to 1 that the guesses are known."""
        logits = sure(1 - 1e-9, 1 - 1e-12, 1 - 1e-6, 1 - 1e-3 * 1e-4)
        hidden = torch.full((1, 4), 3)
        found = [confident_step(logits, hidden, left, seeded(1))[0].tolist() for left in (0, 1, 2, 3, 4)]
        assert_equal(found, [[1, 1, 1, 1], [1, 1, 3, 1], [1, 1, 3, 3], [3, 1, 3, 3], [3, 3, 3, 3]])

    def test_visible_tokens_stay(self):
        tokens = torch.tensor([[2, 3, 0, 3, 2]])
        found = confident_step(sure(1 - 1e-9, 1 - 1e-9, 1 - 1e-9, 1 - 1e-6, 1 - 1e-9), tokens, 1, seeded(1))
        assert_equal(found.tolist(), [[2, 1, 0, 3, 2]])

    def test_row_by_row(self):
        logits = torch.cat([sure(1 - 1e-6, 1 - 1e-9, 1 - 1e-12), sure(1 - 1e-12, 1 - 1e-9, 1 - 1e-6)])
        found = confident_step(logits, torch.full((2, 3), 3), 2, seeded(1))
        assert_equal(found.tolist(), [[3, 3, 1], [1, 3, 3]])

    def test_a_row_with_fewer_hidden_places(self):
        tokens = torch.tensor([[3, 2, 2], [3, 3, 3]])
        found = confident_step(sure(1 - 1e-9, 1 - 1e-12, 1 - 1e-6).repeat(2, 1, 1), tokens, 2, seeded(1))
        assert_equal(found.tolist(), [[3, 2, 2], [3, 1, 3]])

    @pytest.mark.parametrize("temperature", [0.0, 5.0])
    def test_guesses_are_drawn(self, temperature):
        """Not the most probable level: every level by its chance, whatever the temperature."""
        n = 20_000
        logits = torch.tensor([0.5, 0.3, 0.2], dtype=F64).log().expand(n, 1, 3)
        found = confident_step(logits, torch.full((n, 1), 3), 0, seeded(2), temperature)
        shares = found[:, 0].bincount(minlength=3).double() / n
        # 5 deviations of a share of a half: 5 / (2 √20000)
        assert_close(shares, torch.tensor([0.5, 0.3, 0.2], dtype=F64), atol=0.018, rtol=0)

    def test_confidence_is_that_of_the_guess(self):
        """The first place guesses one of two levels; the second one of 0.6, which is surer, or of 0.2, which isn't.

        Its most probable level would make the second always surer, and its larger entropy never.
        """
        n = 20_000
        logits = f64([0.5, 0.5, 1e-300], [0.6, 0.2, 0.2]).log().expand(n, 2, 3)
        found = confident_step(logits, torch.full((n, 2), 3), 1, seeded(3))
        # 5 deviations of a share of a half: 5 / (2 √20000)
        assert_close((found != 3).double().mean(0), f64(0.4, 0.6), atol=0.018, rtol=0)

    @pytest.mark.parametrize("temperature", [0.5, 2.0])
    def test_noise(self, temperature):
        """With Gumbel noise τ G place i wins with chance p_i^(1/τ) / Σ p_j^(1/τ), where p is the chance of its guess.

        The first place guesses one of two levels, the others one of eight: p is 1/2 and 1/8 whatever they guess.
        """
        n, places = 20_000, 6
        logits = torch.zeros(places, 8, dtype=F64)
        logits[0, 2:] = -1000
        found = confident_step(logits.expand(n, places, 8), torch.full((n, places), 8), places - 1, seeded(4), temperature)
        wins = (found != 8).double().mean(0)
        weights = f64(0.5, *[0.125] * 5) ** (1 / temperature)
        # 5 deviations of a share of a half: 5 / (2 √20000)
        assert_close(wins, weights / weights.sum(), atol=0.018, rtol=0)

    @pytest.mark.parametrize("temperature", [0.0, 2.0])
    def test_the_generator_decides(self, temperature):
        """Guesses at 0, and the noise as well at 2, where all places are equally sure."""
        logits, hidden = torch.zeros(40, 5, 4, dtype=F64), torch.full((40, 5), 4)
        found = [confident_step(logits, hidden, 2, seeded(seed), temperature) for seed in (1, 1, 2)]
        assert_equal((torch.equal(found[0], found[1]), torch.equal(found[0], found[2])), (True, False))

    def test_no_noise_unless_asked_for(self):
        logits, hidden = sure(1 - 1e-9, 1 - 1e-12).expand(50, 2, 3), torch.full((50, 2), 3)
        assert_equal(confident_step(logits, hidden, 1, seeded(5)), torch.tensor([[3, 1]]).repeat(50, 1))

    def test_on_the_gpu(self, gpu):
        logits, tokens = gpu(torch.randn(2, 4, 3)), gpu(drawn(2, 4, levels=4))
        found = confident_step(logits, tokens, 1, gpu.generator(0), 1.0)
        assert_equal(found.device.type, gpu.device.type)


def shares_of(found: torch.Tensor, levels: int) -> torch.Tensor:
    places = found.shape[1]
    powers = levels ** torch.arange(places - 1, -1, -1)
    return (found * powers).sum(1).bincount(minlength=levels**places).double() / len(found)


class TestInfill:
    def test_one_token_at_a_time_in_a_random_order_is_exact(self):
        """So much noise that the order doesn't depend on the guesses."""
        n, table = 8000, a_table(2, 3, seed=3)
        found = infill(perfect(table), torch.full((n, 3), 2), 2, 3, seeded(1), 1e9, "linear")
        # 5 deviations of a share of a half
        assert_close(shares_of(found, 2), table.flatten(), atol=0.028, rtol=0)

    def test_all_at_once_is_a_product(self):
        n = 8000
        found = infill(perfect(EQUAL), torch.full((n, 2), 2), 2, 1, seeded(2))
        assert_close(shares_of(found, 2), torch.full((4,), 0.25, dtype=F64), atol=0.028, rtol=0)

    def test_holes_are_filled_from_both_sides(self):
        """Only the middle is hidden: its chances follow from its two neighbours."""
        n, table = 6000, a_table(3, 3, seed=4)
        found = infill(perfect(table), torch.tensor([[2, 3, 1]]).repeat(n, 1), 3, 1, seeded(3))
        assert_equal(found[:, [0, 2]].unique(dim=0).tolist(), [[2, 1]])
        expected = table[2, :, 1] / table[2, :, 1].sum()
        assert_close(found[:, 1].bincount(minlength=3).double() / n, expected, atol=0.033, rtol=0)

    @pytest.mark.parametrize("kind", ["cosine", "linear", "square"])
    @pytest.mark.parametrize("steps", [1, 3, 5])
    def test_how_many_are_hidden_after_each_step(self, steps, kind):
        seen = []

        def model(tokens):
            seen.append(((tokens == 4).sum(1).tolist(), torch.is_grad_enabled()))
            return normal(*tokens.shape, 4, seed=len(seen))

        tokens = drawn(2, 9, levels=4)
        tokens[0, 1:8] = 4
        tokens[1, 3:6] = 4
        found = infill(model, tokens, 4, steps, seeded(4), 1.0, kind)
        left = [7, *mask_schedule(7, steps, kind)]
        assert_equal(seen, [([k, min(k, 3)], False) for k in left[:-1]])
        assert_equal((int((found == 4).sum()), found[tokens != 4].tolist()), (0, tokens[tokens != 4].tolist()))

    def test_the_cosine_and_no_noise_unless_given(self):
        chances = [1 - 10.0 ** -k for k in (9, 12, 6, 11, 7, 10, 8, 5, 13, 6.5, 5.5, 8.5)]
        steps = []

        def model(tokens):
            steps.append((tokens[0] != 3).nonzero()[:, 0].tolist())
            return sure(*chances)

        infill(model, torch.full((1, 12), 3), 3, 3, seeded(5))
        surest = sorted(range(12), key=lambda i: -chances[i])
        assert_equal(steps, [[], sorted(surest[:2]), sorted(surest[:6])])

    def test_the_noise_falls_with_the_steps(self):
        """Three places, a place a step: which one is first has 2/3 of the temperature as noise, which is next 1/3."""
        n, temperature, p = 20_000, 1.0, f64(0.95, 0.5, 0.8)
        logits = torch.stack([p, 1 - p], -1).log()
        seen = []

        def model(tokens):
            seen.append(tokens)
            return logits.expand(n, 3, 2)

        infill(model, torch.full((n, 3), 2), 2, 3, seeded(6), temperature, "linear")
        first, next_ = ((before == 2) & (after != 2) for before, after in itertools.pairwise(seen))
        found = first.double().T @ next_.double() / n

        def chances(places: list[int], tau: float) -> dict[int, float]:
            wins = dict.fromkeys(places, 0.0)
            for guesses in itertools.product(range(2), repeat=len(places)):
                own = [logits[i, g].exp().item() for i, g in zip(places, guesses, strict=True)]
                for place, chance in zip(places, own, strict=True):
                    wins[place] += math.prod(own) * chance ** (1 / tau) / sum(c ** (1 / tau) for c in own)
            return wins

        expected = torch.zeros(3, 3, dtype=F64)
        for i, chance in chances([0, 1, 2], temperature * 2 / 3).items():
            for j, then in chances([j for j in range(3) if j != i], temperature / 3).items():
                expected[i, j] = chance * then
        # 5 deviations of a share of a half
        assert_close(found, expected, atol=0.018, rtol=0)

    def test_nothing_to_fill(self):
        tokens = drawn(2, 4, levels=3)
        assert_equal(infill(perfect(a_table(3, 4)), tokens, 3, 2, seeded(7)), tokens)

    def test_it_refuses_what_the_schedule_refuses(self):
        with raises(ValueError, 0):
            infill(perfect(EQUAL), torch.full((1, 2), 2), 2, 0, seeded(8))
        with raises(ValueError, "cubic"):
            infill(perfect(EQUAL), torch.full((1, 2), 2), 2, 2, seeded(8), 0.0, "cubic")

    def test_on_the_gpu(self, gpu):
        model, tokens = gpu(a_model(3, 4).float()), gpu(torch.full((2, 4), 3))
        assert_equal(infill(model, tokens, 3, 2, gpu.generator(0), 1.0).device.type, gpu.device.type)


def mirrored(n: int, generator: torch.Generator) -> torch.Tensor:
    """Rows of 6 tokens that read alike from both ends."""
    half = torch.randint(3, (n, 3), generator=generator)
    return torch.cat([half, half.flip(1)], 1)


@pytest.mark.learning
@pytest.mark.deadline(60)  # two seconds each on a quiet machine
class TestItLearns:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_both_halves_from_each_other(self, seed):
        torch.manual_seed(seed)
        generator = seeded(seed)
        model = MaskedTransformer(3, 6, 32, 1, 4)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(300):
            tokens = mirrored(64, generator)
            mask = random_mask(64, 6, generator)
            optimizer.zero_grad()
            masked_loss(model(tokens.masked_fill(mask, 3)), tokens, mask).backward()
            optimizer.step()
        held_out = mirrored(200, generator)
        for side, hidden in (("right", slice(3, 6)), ("left", slice(0, 3))):
            holes = held_out.clone()
            holes[:, hidden] = 3
            filled = infill(model, holes, 3, 3, generator)
            right = (filled == held_out)[:, hidden].double().mean().item()
            # Without the other half there is nothing better than the most frequent token.
            train = mirrored(1000, generator)[:, hidden]
            guess = (train.mode(0).values == held_out[:, hidden]).double().mean().item()
            if right < 0.9 or right < guess + 0.4:
                fail(f"{right:.0%} of the {side} half are right; the most frequent token has {guess:.0%}.", evidence=round(right, 1))
        mirror = [
            (image == image.flip(1)).all(1).double().mean().item()
            for image in (infill(model, torch.full((200, 6), 3), 3, steps, generator) for steps in (1, 6))
        ]
        if mirror[1] < mirror[0] + 0.4:
            fail(f"{mirror[1]:.0%} of the rows drawn in 6 steps are mirrored, {mirror[0]:.0%} of those drawn in one.", evidence=round(mirror[1], 1))
