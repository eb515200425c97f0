"""Judges k09_vector_quantization by plain loops, by gradients that must and must not flow, and on patches of digits."""

import math

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_11_multimodal.k09_vector_quantization import (
    EMACodebook,
    VectorQuantizer,
    adaptive_weight,
    hinge_losses,
    nearest_codes,
    perplexity,
    restart_dead,
    straight_through,
    vq_losses,
    vqgan_loss,
)

pytestmark = [
    from_scratch("torch.nn.functional.hinge_embedding_loss", "sklearn", "scipy"),
    pure(),
]


CODES = f64([0, 0], [4, 0])


def nearest_by_hand(z: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    rows = []
    for vector in z.reshape(-1, z.shape[-1]).tolist():
        distances = [sum((a - b) ** 2 for a, b in zip(vector, code, strict=True)) for code in codes.tolist()]
        rows.append(distances.index(min(distances)))
    return torch.tensor(rows).reshape(z.shape[:-1])


class TestNearestCodes:
    def test_the_example_worked_by_hand(self):
        assert_equal(nearest_codes(f64([1, 1], [3, -1]), CODES), torch.tensor([0, 1]))

    @pytest.mark.parametrize("lead", [(5,), (2, 3), (2, 3, 2), ()])
    @pytest.mark.parametrize(("codes", "width"), [(7, 3), (3, 3), (1, 2), (20, 1)])
    def test_vector_by_vector(self, lead, codes, width):
        z, book = normal(*lead, width), normal(codes, width, seed=1)
        found = nearest_codes(z, book)
        assert_equal(found, nearest_by_hand(z, book))
        assert_equal(found.dtype, torch.int64)

    def test_long_codes_arent_nearer(self):
        """A product of z with a long code is large, its distance as well."""
        assert_equal(nearest_codes(f64([1, 1]), f64([100, 100], [0, 1], [-3, 2])), torch.tensor([1]))

    def test_near_codes_far_from_the_origin(self):
        """Forty codes a hundredth apart near 1000, in single precision."""
        book = 1000 + torch.arange(40.0)[:, None] / 100
        order = torch.randperm(40, generator=seeded(3))
        assert_equal(nearest_codes(book[order] + 0.002, book), order)

    def test_of_equally_near_codes_the_first(self):
        book = f64([5, 0], [1, 0], [-1, 0], [1, 0])
        assert_equal(nearest_codes(f64([0, 0], [1, 0], [0, 7]), book), torch.tensor([1, 1, 1]))

    def test_on_the_gpu(self, gpu):
        gpu.check(nearest_codes, torch.randn(2, 3, 4), torch.randn(5, 4))


class TestStraightThrough:
    @pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 3)])
    def test_the_value_is_the_codes(self, shape):
        z, q = normal(*shape), normal(*shape, seed=1)
        assert_close(straight_through(z, q), q)

    def test_the_gradient_goes_to_z_unchanged(self):
        z, q, upstream = normal(2, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_(), normal(2, 3, seed=2)
        straight_through(z, q).backward(upstream)
        assert_close(z.grad, upstream)
        assert_equal(q.grad is None or not bool(q.grad.any()), True)

    def test_on_the_gpu(self, gpu):
        gpu.check(straight_through, torch.randn(2, 3, requires_grad=True), torch.randn(2, 3))


class TestVqLosses:
    def test_the_example_worked_by_hand(self):
        assert_close(tuple(vq_losses(f64([1, 1], [3, -1]), CODES)), (torch.tensor(1.0, dtype=F64), torch.tensor(1.0, dtype=F64)))

    @pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 3, 4)])
    def test_a_mean_over_all_numbers(self, shape):
        z, q = normal(*shape), normal(*shape, seed=1)
        expected = sum((a - b) ** 2 for a, b in zip(z.flatten().tolist(), q.flatten().tolist(), strict=True)) / z.numel()
        assert_close(tuple(vq_losses(z, q)), (torch.tensor(expected, dtype=F64),) * 2)

    @pytest.mark.parametrize("which", [0, 1])
    def test_each_moves_one_side(self, which):
        z, q = normal(3, 2).requires_grad_(), normal(3, 2, seed=1).requires_grad_()
        vq_losses(z, q)[which].backward()
        moved, still = (q, z) if which == 0 else (z, q)
        other = z if which == 0 else q
        assert_close(moved.grad, (moved - other).detach() * 2 / 6)
        assert_equal(still.grad is None or not bool(still.grad.any()), True)

    def test_on_the_gpu(self, gpu):
        gpu.check(vq_losses, torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True))


class TestPerplexity:
    def test_the_example_worked_by_hand(self):
        assert_close(perplexity(torch.tensor([0, 0, 0, 1]), 2), math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))

    @pytest.mark.parametrize(("shape", "codes"), [((50,), 4), ((3, 5), 9), ((2, 2, 2), 30)])
    def test_the_formula(self, shape, codes):
        tokens = torch.randint(codes, shape, generator=seeded(1))
        flat = tokens.flatten().tolist()
        shares = [flat.count(k) / len(flat) for k in set(flat)]
        found = perplexity(tokens, codes)
        assert_close(found, math.exp(-sum(p * math.log(p) for p in shares)))
        assert_equal(isinstance(found, float), True)

    @pytest.mark.parametrize("codes", [1, 5, 64])
    def test_its_ends(self, codes):
        assert_close(perplexity(torch.arange(codes).repeat(3), codes), float(codes))
        assert_close(perplexity(torch.full((7,), codes - 1), codes), 1.0)

    def test_on_the_gpu(self, gpu):
        tokens = gpu(torch.tensor([0, 2, 2]))
        assert_close(perplexity(tokens, 4), perplexity(torch.tensor([0, 2, 2]), 4))


def a_quantizer(codes: int = 5, width: int = 3, **kwargs) -> VectorQuantizer:
    torch.manual_seed(2)
    quantizer = VectorQuantizer(codes, width, **kwargs).double()
    with torch.no_grad():
        quantizer.codebook.copy_(normal(codes, width, seed=7))
    return quantizer


class TestVectorQuantizer:
    @pytest.mark.parametrize("beta", [0.25, 2.0, 0.0])
    @pytest.mark.parametrize("lead", [(4,), (2, 3)])
    def test_what_it_returns(self, lead, beta):
        quantizer, z = a_quantizer(beta=beta), normal(*lead, 3)
        quantized, tokens, loss = quantizer(z)
        expected = nearest_by_hand(z, quantizer.codebook.detach())
        q = quantizer.codebook.detach()[expected]
        assert_equal(tokens, expected)
        assert_close(quantized.detach(), q)
        assert_close(loss.detach(), (1 + beta) * ((z - q) ** 2).mean())

    def test_a_quarter_unless_given(self):
        z = normal(6, 3)
        assert_close(a_quantizer()(z)[2].detach(), a_quantizer(beta=0.25)(z)[2].detach())

    @pytest.mark.parametrize("beta", [0.25, 2.0])
    def test_gradients_of_the_loss(self, beta):
        quantizer, z = a_quantizer(beta=beta), normal(6, 3).requires_grad_()
        _, tokens, loss = quantizer(z)
        loss.backward()
        away = (z - quantizer.codebook[tokens]).detach()
        expected = torch.zeros(5, 3, dtype=F64)
        for token, row in zip(tokens.tolist(), away, strict=True):
            expected[token] -= 2 * row / 18
        assert_close(quantizer.codebook.grad, expected)
        assert_close(z.grad, beta * 2 * away / 18)

    def test_the_decoders_gradient_goes_to_z_and_not_to_the_codes(self):
        quantizer, z, upstream = a_quantizer(), normal(6, 3).requires_grad_(), normal(6, 3, seed=1)
        quantizer(z)[0].backward(upstream)
        assert_close(z.grad, upstream)
        assert_equal(quantizer.codebook.grad is None or not bool(quantizer.codebook.grad.any()), True)

    @pytest.mark.parametrize(("codes", "width"), [(4, 500), (50, 40)])
    def test_how_the_codes_start(self, codes, width):
        torch.manual_seed(3)
        quantizer = VectorQuantizer(codes, width)
        assert_equal(([name for name, _ in quantizer.named_parameters()], tuple(quantizer.codebook.shape)), (["codebook"], (codes, width)))
        scaled = quantizer.codebook.detach().double().flatten() * codes
        assert_equal((float(scaled.abs().max()) <= 1 + 1e-6, float(scaled.abs().max()) > 0.97), (True, True))
        # 2000 uniform numbers from -1 to 1: a mean of 0 within 5 deviations of 0.577 / √2000, a variance of ⅓
        assert_close((float(scaled.mean()), float(scaled.var())), (0.0, 1 / 3), atol=0.07, rtol=0)

    def test_on_the_gpu(self, gpu):
        gpu.check(a_quantizer().float(), torch.randn(2, 4, 3, requires_grad=True))


def averaged_by_hand(book, z: torch.Tensor, tokens: torch.Tensor, decay: float, epsilon: float):
    """counts, sums and codes after one batch, from those before."""
    counts, sums = book.counts.tolist(), book.sums.tolist()
    flat, chosen = z.reshape(-1, z.shape[-1]).tolist(), tokens.flatten().tolist()
    for k in range(len(counts)):
        mine = [row for row, token in zip(flat, chosen, strict=True) if token == k]
        counts[k] = decay * counts[k] + (1 - decay) * len(mine)
        sums[k] = [decay * s + (1 - decay) * sum(row[d] for row in mine) for d, s in enumerate(sums[k])]
    total = sum(counts)
    smooth = [(c + epsilon) / (total + len(counts) * epsilon) * total for c in counts]
    codes = [[s / n for s in row] for row, n in zip(sums, smooth, strict=True)]
    return f64(*counts), f64(*sums), f64(*codes)


class TestEMACodebook:
    @pytest.mark.parametrize(("epsilon", "expected"), [(0.0, [[2 / 3, 0], [3.5, 0]]), (0.5, [[0.7, 0], [3.5 / (1.5 / 3.5 * 2.5), 0]])])
    def test_the_example_worked_by_hand(self, epsilon, expected):
        book = EMACodebook(f64([0, 0], [4, 0]), 0.5, epsilon)
        book.update(f64([1, 1], [1, -1], [3, 0]), torch.tensor([0, 0, 1]))
        assert_close((book.counts, book.sums, book.codebook), (f64(1.5, 1), f64([1, 0], [3.5, 0]), f64(*expected)))

    @pytest.mark.parametrize("lead", [(9,), (2, 4), (1, 2, 3)])
    @pytest.mark.parametrize(("decay", "epsilon"), [(0.9, 0.3), (0.6, 1e-5)])
    def test_batch_after_batch(self, lead, decay, epsilon):
        book = EMACodebook(normal(4, 3, seed=5), decay, epsilon)
        for seed in (1, 2, 3):
            z = normal(*lead, 3, seed=seed)
            tokens = torch.randint(3, lead, generator=seeded(seed))  # nobody chooses the last code
            expected = averaged_by_hand(book, z, tokens, decay, epsilon)
            book.update(z, tokens)
            assert_close((book.counts, book.sums, book.codebook), expected)

    def test_decay_and_epsilon_unless_given(self):
        z, tokens = normal(6, 3), torch.tensor([0, 1, 1, 2, 0, 1])
        book = EMACodebook(normal(3, 3, seed=5))
        expected = averaged_by_hand(book, z, tokens, 0.99, 1e-5)
        book.update(z, tokens)
        assert_close((book.counts, book.sums, book.codebook), expected)

    def test_a_small_epsilon_shows_at_a_code_that_nobody_chooses(self):
        """With a decay of 1e-5 its count is 1e-5 as well."""
        z, tokens, codes = normal(6, 3), torch.tensor([0, 1, 1, 0, 0, 1]), normal(3, 3, seed=5)
        books = [EMACodebook(codes, 1e-5), EMACodebook(codes, 1e-5, 1e-5)]
        for book in books:
            book.update(z, tokens)
        assert_close(books[0].codebook, books[1].codebook)

    def test_no_gradient_reaches_the_codes_it_starts_from(self):
        book = EMACodebook(normal(3, 2).requires_grad_())
        assert_equal([value.requires_grad for value in book.buffers()], [False] * 3)

    def test_its_state(self):
        codes = f64([0, 0], [4, 0])
        book = EMACodebook(codes)
        state = {name: value.tolist() for name, value in book.state_dict().items()}
        assert_equal(state, {"codebook": codes.tolist(), "counts": [1.0, 1.0], "sums": codes.tolist()})
        assert_equal(list(book.parameters()), [])
        book.update(f64([1, 1]), torch.tensor([0]))
        assert_equal(codes.tolist(), [[0, 0], [4, 0]])

    def test_forward_answers_from_before_and_then_moves(self):
        book, z = EMACodebook(normal(4, 3, seed=5), 0.8, 0.1), normal(2, 5, 3)
        before = book.codebook.clone()
        tokens = nearest_by_hand(z, before)
        expected = averaged_by_hand(book, z, tokens, 0.8, 0.1)
        quantized, found, commitment = book(z)
        assert_equal(found, tokens)
        assert_close((quantized, commitment), (before[tokens], ((z - before[tokens]) ** 2).mean()))
        assert_close((book.counts, book.sums, book.codebook), expected)

    def test_in_evaluation_nothing_moves(self):
        book = EMACodebook(normal(4, 3, seed=5)).eval()
        before = {name: value.clone() for name, value in book.state_dict().items()}
        book(normal(6, 3))
        assert_close(book.state_dict(), before)

    def test_gradients(self):
        book, z, upstream = EMACodebook(normal(4, 3, seed=5)), normal(6, 3).requires_grad_(), normal(6, 3, seed=1)
        before = book.codebook.clone()
        quantized, tokens, commitment = book(z)
        (gradient,) = torch.autograd.grad(quantized, z, upstream, retain_graph=True)
        assert_close(gradient, upstream)
        commitment.backward()
        assert_close(z.grad, 2 * (z.detach() - before[tokens]) / 18)
        assert_equal((book.codebook.requires_grad, book.sums.requires_grad), (False, False))

    def test_on_the_gpu(self, gpu):
        gpu.check(EMACodebook(torch.randn(4, 3)), torch.randn(2, 5, 3, requires_grad=True))


def a_book(*counts: float) -> EMACodebook:
    book = EMACodebook(100 + normal(len(counts), 2, seed=6))
    book.counts.copy_(f64(*counts))
    book.sums.copy_(book.codebook * book.counts[:, None])
    return book


class TestRestartDead:
    @pytest.mark.parametrize("lead", [(8,), (2, 4)])
    def test_dead_codes_get_vectors_of_the_batch(self, lead):
        book, z = a_book(3, 0.1, 2, 0.4, 0.5), normal(*lead, 2)
        before = {name: value.clone() for name, value in book.state_dict().items()}
        assert_equal(restart_dead(book, z, 0.5, seeded(1)), 2)
        rows = z.reshape(-1, 2).tolist()
        new = [book.codebook[k].tolist() for k in (1, 3)]
        assert_equal(([row in rows for row in new], new[0] == new[1]), ([True, True], False))
        assert_close((book.sums[[1, 3]], book.counts[[1, 3]]), (book.codebook[[1, 3]], f64(1, 1)))
        for name in before:
            assert_equal(getattr(book, name)[[0, 2, 4]], before[name][[0, 2, 4]])

    def test_the_generator_decides(self):
        rows = []
        for start, seed in [(0, 1), (1, 1)]:
            torch.manual_seed(start)
            book = a_book(0, 0, 3, 0)
            restart_dead(book, normal(9, 2), 1.0, seeded(seed))
            rows.append(book.codebook.clone())
        assert_equal(rows[0], rows[1])

    @pytest.mark.parametrize("n", [1, 3])
    def test_a_few_vectors_for_many_dead_codes(self, n):
        assert_equal(restart_dead(a_book(0, 0, 0, 0, 0), normal(n, 2), 1.0, seeded(2)), n)

    def test_no_dead_codes(self):
        book = a_book(3, 1, 0.5)
        before = book.codebook.clone()
        assert_equal(restart_dead(book, normal(4, 2), 0.5, seeded(1)), 0)
        assert_equal(book.codebook, before)

    def test_fewer_vectors_than_dead_codes(self):
        book, z = a_book(0, 5, 0, 0, 0), normal(2, 2)
        before = book.codebook.clone()
        assert_equal(restart_dead(book, z, 1.0, seeded(2)), 2)
        assert_equal(sorted(book.codebook[[0, 2]].tolist()), sorted(z.tolist()))
        assert_equal((book.codebook[[1, 3, 4]], book.counts.tolist()), (before[[1, 3, 4]], [1, 5, 1, 0, 0]))

    def test_every_vector_is_drawn_as_often(self):
        z, drawn = normal(5, 2), [0] * 5
        for seed in range(500):
            book = a_book(0, 0, 3)
            restart_dead(book, z, 1.0, seeded(seed))
            assert_equal(bool((book.codebook[0] == book.codebook[1]).all()), False)
            for k in (0, 1):
                drawn[z.tolist().index(book.codebook[k].tolist())] += 1
        # 200 each on average, with a deviation of about 11
        assert_equal(min(drawn) > 140 and max(drawn) < 260, True)

    def test_on_the_gpu(self, gpu):
        book = gpu(a_book(0, 2, 0))
        assert_equal(restart_dead(book, gpu(normal(4, 2)), 1.0, seeded(1)), 2)
        assert_equal(book.codebook.device.type, gpu.device.type)


class TestHingeLosses:
    def test_the_example_worked_by_hand(self):
        found = hinge_losses(f64(2, 0.5), f64(-3, 0))
        assert_close(tuple(found), (torch.tensor(0.375, dtype=F64), torch.tensor(1.5, dtype=F64)))

    @pytest.mark.parametrize(("real", "fake"), [((7,), (4,)), ((2, 1, 3, 3), (2, 1, 3, 3)), ((2, 3), (5,))])
    def test_score_by_score(self, real, fake):
        real, fake = normal(*real), normal(*fake, seed=1)
        r, f = real.flatten().tolist(), fake.flatten().tolist()
        critic = sum(max(0.0, 1 - v) for v in r) / len(r) / 2 + sum(max(0.0, 1 + v) for v in f) / len(f) / 2
        assert_close(tuple(hinge_losses(real, fake)), (torch.tensor(critic, dtype=F64), torch.tensor(-sum(f) / len(f), dtype=F64)))

    def test_gradients(self):
        real, fake = f64(2, 0.5, -4).requires_grad_(), f64(-3, 0).requires_grad_()
        critic, adversary = hinge_losses(real, fake)
        critic.backward(retain_graph=True)
        assert_close((real.grad, fake.grad), (f64(0, -1 / 6, -1 / 6), f64(0, 0.25)))
        fake.grad = None
        adversary.backward()
        assert_close(fake.grad, f64(-0.5, -0.5))

    def test_on_the_gpu(self, gpu):
        gpu.check(hinge_losses, torch.randn(4, requires_grad=True), torch.randn(3, requires_grad=True))


def two_losses(last: torch.Tensor, rec: torch.Tensor, adversary: torch.Tensor):
    """Losses whose gradients by `last` are `rec` and `adversary`."""
    return (last * rec).sum(), (last * adversary).sum()


class TestAdaptiveWeight:
    def test_the_example_worked_by_hand(self):
        last = nn.Parameter(f64(1, 1))
        found = adaptive_weight(*two_losses(last, f64(3, 4), f64(0, 2)), last)
        assert_close(found, torch.tensor(5 / 2.0001, dtype=F64))

    @pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 3, 1, 2)])
    def test_the_root_of_the_sum_of_squares(self, shape):
        last, a, b = nn.Parameter(normal(*shape)), normal(*shape, seed=1), 0.01 * normal(*shape, seed=2)
        norms = [math.sqrt(sum(v * v for v in g.flatten().tolist())) for g in (a, b)]
        found = adaptive_weight(*two_losses(last, a, b), last)
        assert_close(found, torch.tensor(norms[0] / (norms[1] + 1e-4), dtype=F64))

    def test_at_most_10_000(self):
        last = nn.Parameter(f64(1, 1))
        assert_close(adaptive_weight(*two_losses(last, f64(300, 400), f64(0, 1e-9)), last), torch.tensor(1e4, dtype=F64))

    def test_the_losses_can_still_be_used_and_nothing_is_left(self):
        last = nn.Parameter(normal(3))
        rec, adversary = (last**2).sum(), (last**3).sum()
        found = adaptive_weight(rec, adversary, last)
        assert_equal((last.grad is None, found.requires_grad), (True, False))
        (rec + found * adversary).backward()
        assert_close(last.grad, 2 * last.detach() + found * 3 * last.detach() ** 2)

    def test_other_parameters_get_nothing(self):
        last, other = nn.Parameter(normal(3)), nn.Parameter(normal(3, seed=1))
        adaptive_weight((last * other).sum(), (last * other**2).sum(), last)
        assert_equal(other.grad is None, True)

    def test_on_the_gpu(self, gpu):
        last = gpu(torch.randn(3).requires_grad_())
        found = adaptive_weight((last**2).sum(), (last**3).sum(), last)
        assert_equal(found.device.type, gpu.device.type)


def painted(seed: int = 0):
    """rec, vq and fake that depend on `last`."""
    last = nn.Parameter(normal(4, 2, seed=seed))
    return (last**2).mean(), (last.sum() / 10) ** 2, last @ normal(2, 3, seed=seed + 1), last


class TestVqganLoss:
    @pytest.mark.parametrize(("step", "start"), [(5, 5), (9, 5), (0, 0)])
    def test_with_the_adversary(self, step, start):
        rec, vq, fake, last = painted()
        of_rec = 2 * last.detach() / 8
        of_adversary = torch.autograd.grad(-fake.mean(), last, retain_graph=True)[0]
        weight = of_rec.norm() / (of_adversary.norm() + 1e-4)
        found = vqgan_loss(rec, vq, fake, last, step, start)
        assert_close(found.detach(), (rec + vq - weight * fake.mean()).detach())
        (gradient,) = torch.autograd.grad(found, last, retain_graph=True)
        (expected,) = torch.autograd.grad(rec + vq - weight * fake.mean(), last)
        assert_close(gradient, expected)

    @pytest.mark.parametrize(("step", "start"), [(4, 5), (0, 1)])
    def test_before_its_start(self, step, start):
        rec, vq, fake, last = painted()
        found = vqgan_loss(rec, vq, torch.full_like(fake.detach(), math.nan), last, step, start)
        assert_close(found.detach(), (rec + vq).detach())

    def test_on_the_gpu(self, gpu):
        last = gpu(torch.randn(3).requires_grad_())
        found = vqgan_loss((last**2).sum(), last.sum() ** 2, last, last, 1, 0)
        assert_equal(found.device.type, gpu.device.type)


def patches_of(images: torch.Tensor) -> torch.Tensor:
    """8 × 8 digits as 16 patches of 2 × 2."""
    return images.reshape(-1, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).reshape(-1, 4)


@pytest.mark.learning
@pytest.mark.deadline(60)  # two seconds each on a quiet machine
class TestItLearns:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_patches_of_digits(self, digits, seed):
        images = torch.from_numpy(digits[0].copy()).double() / 16
        order = torch.randperm(len(images), generator=seeded(seed))
        train, held_out = patches_of(images[order[:1300]]), patches_of(images[order[1300:]])
        start = train[torch.randperm(len(train), generator=seeded(seed))[:32]]
        book = EMACodebook(start, 0.9)
        for step in range(200):
            rows = train[torch.randint(len(train), (256,), generator=seeded(1000 * seed + step))]
            book(rows)
            if step % 20 == 19:
                restart_dead(book, rows, 0.2, seeded(step))
        book.eval()
        before = float((held_out - start[nearest_codes(held_out, start)]).square().mean())
        _, tokens, error = book(held_out)
        if float(error) > 0.75 * before:
            fail(f"Trained codes are off by {float(error):.4f}, 32 patches of the data by {before:.4f}.", evidence=round(float(error), 3))
        if perplexity(tokens, 32) < 12:
            fail(f"Only {perplexity(tokens, 32):.0f} of 32 codes are in use.", evidence=round(perplexity(tokens, 32)))
