"""Judges k17_masked_pretraining by round trips, by counts, by the frequencies of what is drawn, and on real digits."""

import itertools
import math
from collections import Counter

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.data import digits  # noqa: F401
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, gradcheck, normal, number, seeded
from katas.module_12_research.k17_masked_pretraining import (
    corrupt_spans,
    electra_loss,
    mae_loss,
    patch_targets,
    random_masking,
    random_spans,
    replace_tokens,
    restore_order,
    restore_spans,
    sentence_pairs,
)

pytestmark = [from_scratch("transformers", "einops", "torchvision"), pure()]


def equally_likely(found: Counter, cases: int) -> bool:
    """Each of `cases` was found about as often: within five standard errors, which happens by chance once in 10⁶."""
    total = sum(found.values())
    expected = total / cases
    return len(found) == cases and all(abs(n - expected) < 5 * math.sqrt(expected) for n in found.values())


class TestRandomMasking:
    @pytest.mark.parametrize(("n", "keep"), [(7, 2), (7, 6), (5, 5), (4, 1), (1, 1)])
    def test_kept_mask_and_restore_fit(self, n, keep):
        x = normal(3, n, 4)
        kept, mask, restore = random_masking(x, keep, seeded(n))
        assert_equal((tuple(kept.shape), mask.dtype, restore.dtype), ((3, keep, 4), torch.bool, torch.int64))
        assert_equal(restore.sort(1).values, torch.arange(n).expand(3, n))
        assert_equal(mask, restore >= keep)
        for b in range(3):
            for i in range(n):
                if restore[b, i] < keep:
                    assert_close(kept[b, restore[b, i]], x[b, i])

    def test_all_permutations_are_equally_likely(self):
        _, _, restore = random_masking(normal(6000, 4, 1), 2, seeded(1))
        found = Counter(map(tuple, restore.tolist()))
        if len(found) == 1:
            fail("All 6000 rows have the same order.", evidence="one for all")
        if not equally_likely(found, 24):
            fail(f"Some orders of four tokens come more often than others; of 24 came {len(found)}.", evidence=len(found))

    @pytest.mark.parametrize("keep", [0, 6, -1])
    def test_refuses_to_keep_too_few_or_too_many(self, keep):
        with raises(ValueError, keep, 5):
            random_masking(normal(2, 5, 3), keep, seeded(0))

    def test_gradients_reach_what_is_kept(self):
        x = normal(2, 5, 3).requires_grad_()
        kept, mask, _ = random_masking(x, 2, seeded(0))
        kept.sum().backward()
        assert_close(x.grad, (~mask)[..., None].expand(2, 5, 3).double())

    def test_on_the_gpu(self, gpu):
        x = gpu(normal(2, 5, 3))
        assert_equal([t.device.type for t in random_masking(x, 2, gpu.generator(0))], [x.device.type] * 3)


class TestRestoreOrder:
    def test_the_example_worked_by_hand(self):
        kept, token = f64([[30], [10]]), f64(-1)
        assert_close(restore_order(kept, token, torch.tensor([[1, 3, 0, 2]])), f64([[10], [-1], [30], [-1]]))

    @pytest.mark.parametrize(("n", "keep"), [(7, 2), (5, 5), (4, 1)])
    def test_place_by_place(self, n, keep):
        kept, token = normal(3, keep, 4), normal(4, seed=1)
        restore = torch.stack([torch.randperm(n, generator=seeded(i)) for i in range(3)])
        found = restore_order(kept, token, restore)
        for b, i in itertools.product(range(3), range(n)):
            assert_close(found[b, i], kept[b, restore[b, i]] if restore[b, i] < keep else token)

    def test_gradients_and_gpu(self, gpu):
        kept, token = normal(2, 3, 4).requires_grad_(), normal(4, seed=1).requires_grad_()
        restore = torch.stack([torch.randperm(5, generator=seeded(i)) for i in range(2)])
        assert gradcheck(lambda kept, token: restore_order(kept, token, restore), (kept, token))
        gpu.check(restore_order, kept, token, restore)


class TestPatchTargets:
    def test_the_example_worked_by_hand(self):
        assert_close(patch_targets(f64([[1, 3]]), 0.0), f64([[-1, 1]]) / math.sqrt(2))

    @pytest.mark.parametrize("eps", [0.0, 0.5])
    def test_patch_by_patch(self, eps):
        patches = 2 * normal(2, 3, 5) + 1
        rows = []
        for patch in patches.flatten(0, 1).tolist():
            mean = sum(patch) / 5
            variance = sum((x - mean) ** 2 for x in patch) / 4
            rows.append([(x - mean) / math.sqrt(variance + eps) for x in patch])
        assert_close(patch_targets(patches, eps), f64(*rows).view(2, 3, 5))

    def test_eps_unless_told(self):
        assert_close(patch_targets(f64([[0, 2e-3]])), f64([[-1e-3, 1e-3]]) / math.sqrt(3e-6))

    def test_a_patch_of_one_color(self):
        assert_close(patch_targets(torch.full((1, 2, 5), 3.0, dtype=F64)), torch.zeros(1, 2, 5, dtype=F64))

    def test_on_the_gpu(self, gpu):
        gpu.check(patch_targets, normal(2, 3, 5))


class TestMaeLoss:
    def test_the_example_worked_by_hand(self):
        mask = torch.tensor([[True, False, True]])
        found = mae_loss(f64([[1, 1], [0, 0], [2, 0]]), torch.zeros(1, 3, 2, dtype=F64), mask)
        assert_close(found, number(1.5))

    @pytest.mark.parametrize("seed", range(3))
    def test_patch_by_patch(self, seed):
        prediction, target = normal(3, 4, 5), normal(3, 4, 5, seed=1)
        # Rows with unlike numbers of hidden patches.
        mask = torch.rand(3, 4, generator=seeded(seed)) < torch.tensor([[0.2], [0.5], [0.9]])
        mask[0, 1] = True
        losses = [((prediction[b, i] - target[b, i]) ** 2).mean().item() for b, i in mask.nonzero().tolist()]
        assert_close(mae_loss(prediction, target, mask), number(sum(losses) / len(losses)))

    def test_gradients_and_gpu(self, gpu):
        x, mask = [normal(2, 3, 5, seed=i).requires_grad_() for i in range(2)], torch.tensor([[True, False, True], [False, True, False]])
        assert gradcheck(lambda a, b: mae_loss(a, b, mask), x)
        gpu.check(mae_loss, *x, mask)


def runs(mask: list[bool]) -> list[tuple[bool, int]]:
    return [(hidden, len(list(group))) for hidden, group in itertools.groupby(mask)]


class TestRandomSpans:
    @pytest.mark.parametrize(("length", "masked", "spans"), [(20, 6, 3), (7, 3, 3), (8, 4, 4), (9, 5, 1), (2, 1, 1), (10, 8, 2)])
    def test_counts(self, length, masked, spans):
        for seed in range(5):
            mask = random_spans(length, masked, spans, seeded(seed))
            assert_equal((tuple(mask.shape), mask.dtype, int(mask.sum())), ((length,), torch.bool, masked))
            assert_equal([hidden for hidden, _ in runs(mask.tolist())], [False, True] * spans)

    @pytest.mark.parametrize(("length", "masked", "spans", "cases"), [(7, 3, 2, 6), (8, 5, 3, 6), (6, 3, 2, 4)])
    def test_all_are_equally_likely(self, length, masked, spans, cases):
        generator = seeded(2)
        found = Counter(tuple(random_spans(length, masked, spans, generator).tolist()) for _ in range(150 * cases))
        if not equally_likely(found, cases):
            fail(f"The {cases} masks aren't equally likely: they came {sorted(found.values())} times.", evidence=len(found))

    @pytest.mark.parametrize(("length", "masked", "spans"), [(10, 3, 4), (10, 7, 4), (9, 4, 0), (6, 6, 1), (5, 0, 1)])
    def test_refuses_what_doesnt_fit(self, length, masked, spans):
        with raises(ValueError, length, masked, spans):
            random_spans(length, masked, spans, seeded(0))


class TestCorruptSpans:
    def test_the_example_worked_by_hand(self):
        mask = [False, True, True, False, False, True]
        found = corrupt_spans([11, 12, 13, 14, 15, 16], mask, 99)
        assert_equal(tuple(found), ([11, 99, 14, 15, 98], [99, 12, 13, 98, 16, 97]))

    @pytest.mark.parametrize("mask", ["1100110", "0111111", "1111111", "1010101", "0101010", "0000001"])
    def test_span_by_span(self, mask):
        ids, hidden = [50, 7, 7, 23, 8, 50, 31], [c == "1" for c in mask]
        inputs, targets, place, k = [], [], 0, 0
        for is_hole, length in runs(hidden):
            piece = ids[place : place + length]
            if is_hole:
                inputs.append(200 - k)
                targets += [200 - k, *piece]
                k += 1
            else:
                inputs += piece
            place += length
        assert_equal(tuple(corrupt_spans(ids, hidden, 200)), (inputs, [*targets, 200 - k]))

    def test_nothing_hidden(self):
        assert_equal(tuple(corrupt_spans([4, 5], [False, False], 99)), ([4, 5], [99]))
        assert_equal(tuple(corrupt_spans([], [], 99)), ([], [99]))


class TestRestoreSpans:
    def test_the_example_worked_by_hand(self):
        assert_equal(restore_spans([11, 99, 14, 15, 98], [99, 12, 13, 98, 16, 97], 99), [11, 12, 13, 14, 15, 16])

    @pytest.mark.parametrize("seed", range(20))
    def test_the_round_trip(self, seed):
        generator = seeded(seed)
        n = int(torch.randint(12, (), generator=generator))
        ids = torch.randint(60, (n,), generator=generator).tolist()
        inputs, targets, k = [], [], 0
        mask = (torch.rand(n, generator=generator) < 0.5).tolist()
        for i, (token, hidden) in enumerate(zip(ids, mask, strict=True)):
            if hidden and (i == 0 or not mask[i - 1]):
                inputs.append(99 - k)
                targets.append(99 - k)
                k += 1
            (targets if hidden else inputs).append(token)
        assert_equal(restore_spans(inputs, [*targets, 99 - k], 99), ids)

    def test_an_empty_hole(self):
        assert_equal(restore_spans([1, 99, 2, 98, 3], [99, 98, 5, 6, 97], 99), [1, 2, 5, 6, 3])

    def test_what_stands_before_the_first_sentinel_is_no_hole(self):
        assert_equal(restore_spans([1, 99, 2], [7, 7, 99, 5, 98, 8], 99), [1, 5, 2])

    def test_no_sentinel(self):
        assert_equal(restore_spans([1, 2], [99], 99), [1, 2])

    @pytest.mark.parametrize(
        ("targets", "missing"),
        [([99, 5, 98, 6], 97), ([99, 5, 97], 98), ([98, 6, 97], 99), ([], 99), ([99, 5], 98), ([98, 5, 99, 6, 97], 98)],
    )
    def test_refuses_a_hole_that_isnt_there(self, targets, missing):
        with raises(ValueError, missing):
            restore_spans([1, 99, 2, 98, 3], targets, 99)


DOCUMENTS = [["a0", "a1", "a2", "a3"], ["b0"], ["c0", "c1", "c2"]]


def owner(sentence: str) -> str:
    return sentence[0]


class TestSentencePairs:
    def test_one_for_each_sentence_but_the_last(self):
        for seed in range(5):
            pairs = sentence_pairs(DOCUMENTS, seeded(seed))
            assert_equal([first for first, _, _ in pairs], ["a0", "a1", "a2", "c0", "c1"])

    def test_true_is_the_next_one_false_is_from_another_document(self):
        follower = {"a0": "a1", "a1": "a2", "a2": "a3", "c0": "c1", "c1": "c2"}
        for seed in range(40):
            for first, second, follows in sentence_pairs(DOCUMENTS, seeded(seed)):
                if follows:
                    assert_equal(second, follower[first])
                else:
                    assert_equal((owner(second) in "abc", owner(second) != owner(first)), (True, True))

    def test_types(self):
        kinds = {tuple(map(type, pair)) for pair in sentence_pairs(DOCUMENTS, seeded(0))}
        assert_equal(kinds, {(str, str, bool)})

    def test_how_often(self):
        documents = [["x"] * 2001, ["b0"], ["c0", "c1", "c2"]]
        pairs = sentence_pairs(documents, seeded(3))
        share = sum(follows for _, _, follows in pairs) / len(pairs)
        if abs(share - 0.5) > 0.06:
            fail(f"{share:.0%} of the pairs follow; it should be half of them.", evidence=round(share, 1))
        drawn = Counter(second for first, second, follows in pairs if first == "x" and not follows)
        total = sum(drawn.values())
        # Half of them are of the one-sentence document; the others share the rest.
        expected = {"b0": total / 2, "c0": total / 6, "c1": total / 6, "c2": total / 6}
        if any(abs(drawn[key] - n) > 5 * math.sqrt(n) for key, n in expected.items()):
            fail("A document isn't drawn first, each one alike, and then one of its sentences.", evidence=drawn["b0"] > total / 3)

    @pytest.mark.parametrize("n", [0, 1])
    def test_refuses_a_single_document(self, n):
        with raises(ValueError, n):
            sentence_pairs(DOCUMENTS[:n], seeded(0))


def sure(words: list[list[int]], vocabulary: int = 12) -> torch.Tensor:
    """Logits of a generator that is sure."""
    return 200.0 * nn.functional.one_hot(torch.tensor(words), vocabulary).double()


class TestReplaceTokens:
    def test_the_example_worked_by_hand(self):
        found = replace_tokens(
            torch.tensor([[5, 7, 9]]), torch.tensor([[False, True, True]]), sure([[4, 7, 2]]), seeded(0)
        )
        assert_equal(tuple(found), (torch.tensor([[5, 7, 2]]), torch.tensor([[False, False, True]])))

    def test_row_by_row(self):
        ids, words = torch.randint(12, (3, 5), generator=seeded(1)), torch.randint(12, (3, 5), generator=seeded(2))
        chosen = torch.rand(3, 5, generator=seeded(3)) < 0.6
        corrupted, replaced = replace_tokens(ids, chosen, sure(words.tolist()), seeded(0))
        expected = torch.where(chosen, words, ids)
        assert_equal((corrupted, replaced), (expected, expected != ids))

    def test_words_come_as_often_as_the_softmax_says(self):
        logits = f64(0.0, 1.0, -1.0, 2.0).expand(2, 4000, 4)
        ids = torch.zeros(2, 4000, dtype=torch.long)
        corrupted, replaced = replace_tokens(ids, torch.ones(2, 4000, dtype=torch.bool), logits, seeded(4))
        chances = logits[0, 0].softmax(0)
        shares = torch.bincount(corrupted.flatten(), minlength=4) / 8000
        # Five standard errors of a share near 1/2.
        assert_close(shares.double(), chances, atol=0.03, rtol=0)
        assert_equal(replaced, corrupted != 0)

    def test_no_gradient(self):
        logits = normal(2, 3, 4).requires_grad_()
        found = replace_tokens(torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.bool), logits, seeded(0))
        assert_equal([t.requires_grad for t in found], [False, False])

    def test_on_the_gpu(self, gpu):
        ids, chosen = torch.tensor([[5, 7, 9]]), torch.tensor([[False, True, True]])
        found = replace_tokens(*gpu((ids, chosen, sure([[4, 7, 2]]))), gpu.generator(0))
        assert_equal([t.device.type for t in found], [gpu.device.type] * 2)
        assert_equal([t.cpu() for t in found], [torch.tensor([[5, 7, 2]]), torch.tensor([[False, False, True]])])


def to_judge() -> list[torch.Tensor]:
    ids = torch.randint(6, (2, 5), generator=seeded(1))
    chosen = torch.tensor([[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()
    replaced = torch.tensor([[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    return [normal(2, 5, 6), normal(2, 5, seed=2), ids, chosen, replaced, real]


class TestElectraLoss:
    def test_the_example_worked_by_hand(self):
        yes, ids = torch.ones(1, 3, dtype=torch.bool), torch.tensor([[1, 2, 3]])
        found = electra_loss(torch.zeros(1, 3, 4, dtype=F64), torch.zeros(1, 3, dtype=F64), ids, yes, yes, yes)
        assert_close(found, number(math.log(4) + 50 * math.log(2)))

    @pytest.mark.parametrize("weight", [0.0, 1.0, 7.5])
    def test_token_by_token(self, weight):
        words, scores, ids, chosen, replaced, real = to_judge()
        first, second = [], []
        for b, i in itertools.product(range(2), range(5)):
            if chosen[b, i]:
                powers = [math.exp(x) for x in words[b, i].tolist()]
                first.append(-math.log(powers[ids[b, i]] / sum(powers)))
            if real[b, i]:
                chance = 1 / (1 + math.exp(-scores[b, i].item()))
                second.append(-math.log(chance if replaced[b, i] else 1 - chance))
        expected = sum(first) / len(first) + weight * sum(second) / len(second)
        assert_close(electra_loss(*to_judge(), weight), number(expected))

    def test_sure_answers_give_no_infinity(self):
        words, scores, *rest = to_judge()
        x = [(500 * words).requires_grad_(), (500 * scores).requires_grad_()]
        found = electra_loss(*x, *rest)
        found.backward()
        assert_equal([bool(t.isfinite().all()) for t in (found, x[0].grad, x[1].grad)], [True] * 3)

    def test_gradients_and_gpu(self, gpu):
        words, scores, *rest = to_judge()
        x = [words.requires_grad_(), scores.requires_grad_()]
        assert gradcheck(lambda a, b: electra_loss(a, b, *rest, 3.0), x)
        gpu.check(electra_loss, *x, *rest, 3.0)


class Autoencoder(nn.Module):
    """Digits of 16 patches, each of 2 × 2 pixels; the encoder sees those that are kept."""

    def __init__(self, keep: int) -> None:
        super().__init__()
        self.keep = keep
        self.embed, self.positions = nn.Linear(4, 16), nn.Parameter(0.3 * torch.randn(16, 16))
        self.mask_token = nn.Parameter(torch.zeros(16))
        self.encoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
        self.decoder = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 64))

    def forward(self, patches: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        kept, mask, restore = random_masking(self.embed(patches) + self.positions, self.keep, generator)
        row = restore_order(self.encoder(kept), self.mask_token, restore)
        return self.decoder(row.flatten(1)).unflatten(1, (16, 4)), mask


def two_errors(pixels, seed: int) -> tuple[float, float]:
    """Squared errors at hidden patches of digits never seen: of the mean patch at each place, and of the model."""
    torch.manual_seed(seed)
    generator = seeded(seed)
    patches = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
    train, test, model = patches[:-500], patches[-500:], Autoencoder(5)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(250):
        batch = train[torch.randint(len(train), (64,), generator=generator)]
        prediction, mask = model(batch, generator)
        optimizer.zero_grad()
        mae_loss(prediction, batch, mask).backward()
        optimizer.step()
    with torch.no_grad():
        prediction, mask = model(test, generator)
        return (train.mean(0) - test).square().mean(-1)[mask].mean().item(), mae_loss(prediction, test, mask).item()


@pytest.mark.learning
@pytest.mark.deadline(60)
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_hidden_patches_are_found_from_the_others(self, seed, digits):  # noqa: F811
        mean, model = two_errors(digits[0], seed)
        if model > 0.85 * mean:
            fail(f"The error at hidden patches is {model:.4f}; the mean patch of each place has {mean:.4f}.", evidence="digits")
