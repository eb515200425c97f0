"""Judges k05_fusion by hand, token by token, with parts that are missing, and on a question that needs two senses."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_11_multimodal.k05_fusion import (
    GatedCrossAttention,
    GatedFusion,
    PerceiverResampler,
    ResamplerBlock,
    UnifiedEncoder,
    ablation,
    early_fusion,
    late_fusion,
    modality_dropout,
)
from reference.module_05_transformers.k08_encoder import Encoder

pytestmark = [
    from_scratch(
        "torch.nn.MultiheadAttention", "torch.nn.TransformerDecoderLayer", "torch.nn.TransformerEncoderLayer", "transformers",
    ),
    pure(),
]  # fmt: skip

NAN = float("nan")


def flags(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def untrained(module: nn.Module) -> list[str]:
    # Where all keys get the same, the softmax doesn't change: biases of keys have no gradient.
    return [
        name
        for name, p in module.named_parameters()
        if "k_proj.bias" not in name and (p.grad is None or not p.grad.abs().sum() > 0)
    ]


PRESENT = flags([1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 0], [1, 1, 0])


def three(seed: int = 0) -> list[torch.Tensor]:
    return [normal(5, width, seed=seed + width) for width in (2, 4, 3)]


def spoiled(features: list[torch.Tensor], present: torch.Tensor, value: float) -> list[torch.Tensor]:
    """With `value` wherever nothing is present."""
    return [torch.where(present[:, i, None], x, value) for i, x in enumerate(features)]


class TestEarlyFusion:
    def test_the_example_worked_by_hand(self):
        assert_close(early_fusion([f64([3, 4]), f64([5])], flags([1, 0])), f64([3, 4, 0, 1, 0]))

    @pytest.mark.parametrize("value", [7.0, NAN, float("inf")])
    def test_row_by_row(self, value):
        features = three()
        expected = []
        for row in range(5):
            line = [v if PRESENT[row, i] else 0.0 for i, x in enumerate(features) for v in x[row].tolist()]
            expected.append(line + [float(v) for v in PRESENT[row]])
        assert_close(early_fusion(spoiled(features, PRESENT, value), PRESENT), torch.tensor(expected, dtype=F64))

    def test_gradients_reach_what_is_present(self):
        features = [x.requires_grad_() for x in spoiled(three(), PRESENT, NAN)]
        upstream = normal(5, 12, seed=1)
        (early_fusion(features, PRESENT)[:, :9] * upstream[:, :9]).sum().backward()
        parts = upstream[:, :9].split([2, 4, 3], 1)
        expected = [torch.where(PRESENT[:, i, None], part, 0) for i, part in enumerate(parts)]
        assert_close([x.grad for x in features], expected)

    def test_one_modality_in_float32(self):
        assert_close(early_fusion([torch.ones(2, 3)], flags([1], [0])), torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]]))


class TestLateFusion:
    def test_the_example_worked_by_hand(self):
        logits = f64([[0.9, 0.1], [0.5, 0.5]], [[0.9, 0.1], [0.5, 0.5]]).log()
        assert_close(late_fusion(logits, flags([1, 1], [1, 0])).exp(), f64([0.7, 0.3], [0.9, 0.1]))

    @pytest.mark.parametrize("classes", [2, 4])
    @pytest.mark.parametrize("value", [0.0, 50.0, NAN])
    def test_row_by_row(self, classes, value):
        logits = 2 * normal(5, 3, classes)
        expected = [
            torch.stack([logits[row, i].softmax(0) for i in range(3) if PRESENT[row, i]]).mean(0).log() for row in range(5)
        ]
        given = torch.where(PRESENT[:, :, None], logits, value)
        assert_close(late_fusion(given, PRESENT), torch.stack(expected))

    def test_the_gradient(self):
        logits = normal(5, 3, 4).masked_fill(~PRESENT[:, :, None], NAN).requires_grad_()
        upstream = normal(5, 4, seed=1)
        (late_fusion(logits, PRESENT) * upstream).sum().backward()
        plain = normal(5, 3, 4).requires_grad_()
        shares = PRESENT / PRESENT.sum(1, keepdim=True)
        ((plain.softmax(2) * shares[:, :, None]).sum(1).log() * upstream).sum().backward()
        assert_close(logits.grad, plain.grad)

    def test_large_logits(self):
        logits = f64([[1000, -1000], [0, 0]], [[1000, -1000], [1000, -1000]]).requires_grad_()
        found = late_fusion(logits, flags([1, 1], [1, 1]))
        found.sum().backward()
        assert_close(found.detach(), f64([math.log(0.75), math.log(0.25)], [0, -2000]))
        assert_equal(bool(logits.grad.isfinite().all()), True)

    @pytest.mark.parametrize("row", [0, 2])
    def test_refuses_a_row_with_nothing(self, row):
        present = PRESENT.clone()
        present[row] = present[3] = False
        with raises(ValueError, row):
            late_fusion(normal(5, 3, 2), present)


class TestModalityDropout:
    @pytest.mark.parametrize("p", [0.2, 0.7])
    def test_how_often(self, p):
        """Of three: each of the seven sets that aren't empty has its chance; what loses all keeps all."""
        n = 20000
        found = modality_dropout(torch.ones(n, 3, dtype=torch.bool), p, seeded(1))
        counts = torch.bincount((found * torch.tensor([1, 2, 4])).sum(1), minlength=8) / n
        expected = [(1 - p) ** size * p ** (3 - size) for size in (bin(i).count("1") for i in range(8))]
        expected[7], expected[0] = expected[7] + expected[0], 0.0
        # Four standard deviations of a share in 20000 are below 0.015.
        assert_close(counts, torch.tensor(expected), atol=0.015, rtol=0)

    @pytest.mark.parametrize("p", [0.3, 0.9])
    def test_nothing_comes_back_and_nobody_loses_all(self, p):
        present = (torch.rand(2000, 4, generator=seeded(2)) < 0.5) & (torch.arange(2000) % 5 > 0)[:, None]
        found = modality_dropout(present, p, seeded(3))
        assert_equal((found.dtype, bool((found & ~present).any())), (torch.bool, False))
        assert_equal(found.any(1), present.any(1))

    def test_what_would_lose_all_keeps_all(self):
        present = flags([1, 1, 0, 1]).expand(3000, 4).clone()
        found = modality_dropout(present, 0.9, seeded(4))
        share = (found == present).all(1).double().mean().item()
        # 0.9³ lose all, 0.1³ lose nothing: 0.73; four standard deviations are 0.033.
        if abs(share - 0.73) > 0.035:
            fail(f"{share:.2f} of the rows keep all that they have; expected 0.73.", evidence=round(share, 1))

    def test_with_p_0_nothing_is_lost(self):
        assert_equal(modality_dropout(PRESENT, 0.0, seeded(1)), PRESENT)

    def test_the_generator_decides(self):
        present = torch.ones(50, 4, dtype=torch.bool)
        torch.manual_seed(1)
        first = modality_dropout(present, 0.5, seeded(2))
        torch.manual_seed(2)
        assert_equal(modality_dropout(present, 0.5, seeded(2)), first)
        assert_equal(torch.equal(modality_dropout(present, 0.5, seeded(3)), first), False)

    @pytest.mark.parametrize("p", [-0.1, 1.0, 1.5])
    def test_refuses_another_p(self, p):
        with raises(ValueError, p):
            modality_dropout(PRESENT, p, seeded(1))


def a_fusion(d: int = 6, seed: int = 0) -> GatedFusion:
    return named_weights(GatedFusion([2, 4, 3], d), 0.5, seed)


class TestGatedFusion:
    def test_the_example_worked_by_hand(self):
        model = GatedFusion([1, 1], 1).double()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.fill_(1.0 if name.startswith("projects") and name.endswith("weight") else 0.0)
        found, gates = model([f64([1]), f64([-2])], flags([1, 1]))
        assert_close((found.detach(), gates.detach()), (f64([(math.tanh(1) - math.tanh(2)) / 2]), f64([0.5, 0.5])))

    @pytest.mark.parametrize("d", [1, 6])
    @pytest.mark.parametrize("value", [3.0, NAN])
    def test_row_by_row(self, d, value):
        model, features = a_fusion(d), three()
        found, gates = model(spoiled(features, PRESENT, value), PRESENT)
        with torch.no_grad():
            scores = model.gate(early_fusion(features, PRESENT))
            for row in range(5):
                there = [i for i in range(3) if PRESENT[row, i]]
                weights = scores[row, there].softmax(0)
                hidden = [torch.tanh(model.projects[i](features[i][row])) for i in there]
                assert_close(found[row].detach(), sum(w * h for w, h in zip(weights, hidden, strict=True)))
                expected = torch.zeros(3, dtype=F64)
                expected[there] = weights
                assert_close(gates[row].detach(), expected)

    @pytest.mark.parametrize(("widths", "d"), [([2, 4, 3], 6), ([5, 1], 3)])
    def test_its_parameters(self, widths, d):
        shapes = {name: tuple(p.shape) for name, p in GatedFusion(widths, d).named_parameters()}
        m = len(widths)
        expected = {"gate.weight": (m, sum(widths) + m), "gate.bias": (m,)}
        for i, width in enumerate(widths):
            expected |= {f"projects.{i}.weight": (d, width), f"projects.{i}.bias": (d,)}
        assert_equal(shapes, expected)

    def test_what_is_absent_has_no_gradient(self):
        model, features = a_fusion(), [x.requires_grad_() for x in spoiled(three(), PRESENT, NAN)]
        found, gates = model(features, PRESENT)
        ((found * normal(5, 6, seed=1)).sum() + (gates * normal(5, 3, seed=2)).sum()).backward()
        absent = [x.grad[~PRESENT[:, i]] for i, x in enumerate(features)]
        assert_equal(all(bool((x == 0).all()) for x in absent), True)
        assert_equal(all(bool((x.grad[PRESENT[:, i]] != 0).all()) for i, x in enumerate(features)), True)
        assert_equal(untrained(model), [])
        assert_equal(all(bool(p.grad.isfinite().all()) for p in model.parameters()), True)

    def test_the_mixture_and_the_gates_each_train_the_gate(self):
        for answer, upstream in ((0, normal(5, 6, seed=1)), (1, normal(5, 3, seed=2))):
            model = a_fusion()
            found = model(three(), PRESENT)[answer]
            if not found.requires_grad:
                fail(f"Answer {answer} is detached: no gradient flows from it.", evidence=answer)
            (found * upstream).sum().backward()
            assert_equal([name for name in untrained(model) if name.startswith("gate")], [])

    @pytest.mark.parametrize("row", [0, 2])
    def test_refuses_a_row_with_nothing(self, row):
        present = PRESENT.clone()
        present[row] = present[3] = False
        with raises(ValueError, row):
            a_fusion()(three(), present)


def attended(attention: nn.Module, queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Multi-head attention by torch's own function, with the parameters of `attention`; mask (b, k)."""
    q, k, v = (
        project(x).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for project, x in ((attention.q_proj, queries), (attention.k_proj, keys), (attention.v_proj, keys))
    )
    found = F.scaled_dot_product_attention(q, k, v, mask[:, None, None, :])
    return attention.out_proj(found.transpose(1, 2).flatten(2))


MASK = flags([1, 1, 1, 1, 0], [1, 0, 1, 0, 0])


def a_cross(seed: int = 0) -> GatedCrossAttention:
    return with_heads(named_weights(GatedCrossAttention(6, 4, 2), 0.5, seed), 2)


def with_heads(module: nn.Module, heads: int) -> nn.Module:
    """With the number of heads noted where the oracle reads it."""
    for inner in module.modules():
        if hasattr(inner, "q_proj") and hasattr(inner, "out_proj"):
            inner.heads = heads
    return module


class TestGatedCrossAttention:
    def test_token_by_token(self):
        model, x, context = a_cross(), normal(2, 3, 6), normal(2, 5, 4, seed=1)
        with torch.no_grad():
            found = attended(model.attention, model.norm(x), model.context_project(context), MASK)
            expected = x + torch.tanh(model.gate) * found
        assert_close(model(x, context, MASK).detach(), expected)

    def test_all_is_visible_unless_told(self):
        model, x, context = a_cross(), normal(2, 3, 6), normal(2, 5, 4, seed=1)
        everything = torch.ones(2, 5, dtype=torch.bool)
        assert_close(model(x, context).detach(), model(x, context, everything).detach())

    def test_contexts_of_several_lengths(self):
        model, x = a_cross(), normal(2, 3, 6)
        for n in (5, 1, 8):
            context, everything = normal(2, n, 4, seed=n), torch.ones(2, n, dtype=torch.bool)
            assert_close(model(x, context).detach(), model(x, context, everything).detach())

    def test_changes_nothing_at_the_start(self):
        model, x = GatedCrossAttention(6, 4, 2), normal(2, 3, 6).float()
        assert_equal(tuple(model.gate.shape), ())
        found = model(x, normal(2, 5, 4, seed=1).float(), MASK)
        assert_close(found.detach(), x)
        (found * normal(2, 3, 6, seed=2).float()).sum().backward()
        assert_equal(model.gate.grad.abs().item() > 1e-4, True)

    def test_where_nothing_is_visible_nothing_changes(self):
        model, x, context = a_cross(), normal(2, 3, 6), normal(2, 5, 4, seed=1).requires_grad_()
        mask = MASK.clone()
        mask[1] = False
        found = model(x, context, mask)
        (found * normal(2, 3, 6, seed=3)).sum().backward()
        assert_close(found[1].detach(), x[1])
        assert_close(found[0].detach(), model(x, context, MASK)[0].detach())
        assert_equal(bool(context.grad.isfinite().all()), True)
        assert_equal(bool((context.grad[1] == 0).all()), True)

    def test_what_is_hidden_has_no_influence(self):
        model, x, context = a_cross(), normal(2, 3, 6), normal(2, 5, 4, seed=1)
        other = torch.where(MASK[:, :, None], context, 100.0)
        assert_close(model(x, other, MASK).detach(), model(x, context, MASK).detach())

    def test_all_of_it_is_trained(self):
        model, x = a_cross(), normal(2, 3, 6).requires_grad_()
        (model(x, normal(2, 5, 4, seed=1), MASK) * normal(2, 3, 6, seed=2)).sum().backward()
        assert_equal((untrained(model), bool((x.grad != 0).all())), ([], True))


def one_round(block: nn.Module, latents: torch.Tensor, media: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    queries = block.latent_norm(latents)
    keys = torch.cat([block.media_norm(media), queries], 1)
    seen = torch.cat([mask, torch.ones(latents.shape[:2], dtype=torch.bool)], 1)
    latents = latents + attended(block.attention, queries, keys, seen)
    return latents + block.feed_forward(block.ff_norm(latents))


def a_block(seed: int = 0) -> ResamplerBlock:
    return with_heads(named_weights(ResamplerBlock(6, 2, 7), 0.5, seed), 2)


class TestResamplerBlock:
    @pytest.mark.parametrize("mask", [MASK, torch.ones(2, 5, dtype=torch.bool), torch.zeros(2, 5, dtype=torch.bool)])
    def test_token_by_token(self, mask):
        block, latents, media = a_block(), normal(2, 3, 6), normal(2, 5, 6, seed=1)
        with torch.no_grad():
            expected = one_round(block, latents, media, mask)
        assert_close(block(latents, media, mask).detach(), expected)

    def test_all_is_visible_unless_told(self):
        block, latents, media = a_block(), normal(2, 3, 6), normal(2, 5, 6, seed=1)
        with torch.no_grad():
            expected = one_round(block, latents, media, torch.ones(2, 5, dtype=torch.bool))
        assert_close(block(latents, media).detach(), expected)

    def test_what_is_hidden_has_no_influence(self):
        block, latents, media = a_block(), normal(2, 3, 6), normal(2, 5, 6, seed=1)
        other = torch.where(MASK[:, :, None], media, -80.0)
        assert_close(block(latents, other, MASK).detach(), block(latents, media, MASK).detach())

    def test_all_of_it_is_trained(self):
        block, latents, media = a_block(), normal(2, 3, 6).requires_grad_(), normal(2, 5, 6, seed=1).requires_grad_()
        (block(latents, media, MASK) * normal(2, 3, 6, seed=2)).sum().backward()
        assert_equal((untrained(block), bool((latents.grad != 0).all())), ([], True))
        assert_equal((media.grad != 0).all(2), MASK)


def a_resampler(layers: int = 2, count: int = 3, seed: int = 0) -> PerceiverResampler:
    return with_heads(named_weights(PerceiverResampler(6, count, layers, 2, 7), 0.5, seed), 2)


class TestPerceiverResampler:
    @pytest.mark.parametrize(("layers", "count"), [(1, 4), (3, 2)])
    def test_block_after_block(self, layers, count):
        model, media = a_resampler(layers, count), normal(2, 5, 6)
        assert_equal(len(model.blocks), layers)
        with torch.no_grad():
            latents = torch.stack([model.latents] * 2)
            for block in model.blocks:
                latents = one_round(block, latents, media, MASK)
            expected = model.norm(latents)
        assert_close(model(media, MASK).detach(), expected)

    @pytest.mark.parametrize("n", [1, 4, 20])
    def test_as_many_tokens_whatever_comes_in(self, n):
        assert_equal(tuple(a_resampler()(normal(2, n, 6)).shape), (2, 3, 6))

    def test_each_row_of_a_batch_by_itself(self):
        model, media = a_resampler(), normal(3, 4, 6)
        alone = torch.cat([model(row[None]).detach() for row in media])
        assert_close(model(media).detach(), alone)

    def test_the_order_of_the_media_doesnt_count(self):
        model, media = a_resampler(), normal(2, 5, 6)
        assert_close(model(media.flip(1), MASK.flip(1)).detach(), model(media, MASK).detach())

    def test_all_of_it_is_trained(self):
        model = a_resampler()
        (model(normal(2, 5, 6), MASK) * normal(2, 3, 6, seed=2)).sum().backward()
        assert_equal((untrained(model), tuple(model.latents.shape)), ([], (3, 6)))


MASKS = [flags([1, 1, 0], [1, 0, 0]), flags([1, 1], [0, 0])]


def a_unified(seed: int = 0) -> UnifiedEncoder:
    return named_weights(UnifiedEncoder([4, 5], 6, 2, 2, 9), 0.5, seed)


def sequences(seed: int = 0) -> list[torch.Tensor]:
    return [normal(2, 3, 4, seed=seed), normal(2, 2, 5, seed=seed + 1)]


class TestUnifiedEncoder:
    def test_one_sequence_of_everything(self):
        model, parts = a_unified(), sequences()
        with torch.no_grad():
            tokens = torch.cat([model.projects[i](parts[i]) + model.modalities[i] for i in range(2)], 1)
            mask = torch.cat(MASKS, 1)
            expected = model.encoder(tokens, mask[:, None, None, :])
        states, mean = model(parts, MASKS)
        assert_close(states.detach()[mask], expected[mask])
        assert_close(mean.detach(), torch.stack([expected[i][mask[i]].mean(0) for i in range(2)]))

    def test_the_encoder_is_that_of_the_lesson(self):
        """Pre-norm and with gelu: one made here, with the same weights, says the same."""
        model, x = a_unified(), normal(2, 3, 6)
        twin = Encoder(2, 6, 2, 9, pre_norm=True, activation="gelu").double()
        twin.load_state_dict(model.encoder.state_dict())
        assert_close(model.encoder(x, None).detach(), twin(x, None).detach())

    @pytest.mark.parametrize("widths", [(3,), (2, 4, 3)])
    def test_as_many_modalities_as_widths(self, widths):
        for several in (widths, (5, 1)):  # one after the other: neither may be kept for the next
            model = named_weights(UnifiedEncoder(several, 6, 1, 2, 9), 0.5)
            parts = [normal(2, 2, width, seed=width) for width in several]
            states, _ = model(parts, [torch.ones(2, 2, dtype=torch.bool)] * len(several))
            tokens = torch.cat([model.projects[i](x) + model.modalities[i] for i, x in enumerate(parts)], 1)
            assert_close(states.detach(), model.encoder(tokens, None).detach())

    def test_what_is_hidden_has_no_influence(self):
        model, parts = a_unified(), sequences()
        other = [torch.where(mask[:, :, None], x, 60.0) for mask, x in zip(MASKS, parts, strict=True)]
        assert_close(model(other, MASKS)[1].detach(), model(parts, MASKS)[1].detach())

    def test_a_row_comes_out_as_if_it_were_cut_to_what_is_visible(self):
        model, (first, second) = a_unified(), sequences()
        short = [first[1:, :1], second[1:, :0]]
        alone = model(short, [flags([1]), torch.zeros(1, 0, dtype=torch.bool)])
        assert_close(model([first, second], MASKS)[1][1:].detach(), alone[1].detach())

    def test_a_modality_is_known_by_its_vector(self):
        """Alike in width and content, two modalities differ by e alone."""
        model = named_weights(UnifiedEncoder([4, 4], 6, 1, 2, 9), 0.5)
        with torch.no_grad():
            model.projects[1].load_state_dict(model.projects[0].state_dict())
        x, here, away = normal(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)
        one, other = model([x, x], [here, away])[1], model([x, x], [away, here])[1]
        assert_equal(torch.allclose(one, other, atol=1e-4), False)
        with torch.no_grad():
            model.modalities[1] = model.modalities[0]
        assert_close(model([x, x], [away, here])[1].detach(), one.detach())

    def test_all_of_it_is_trained(self):
        model, parts = a_unified(), [x.requires_grad_() for x in sequences()]
        (model(parts, MASKS)[1] * normal(2, 6, seed=2)).sum().backward()
        assert_equal((untrained(model), tuple(model.modalities.shape)), ([], (2, 6)))
        assert_equal([(x.grad != 0).all(2) for x in parts], MASKS)

    @pytest.mark.parametrize("row", [0, 1])
    def test_refuses_a_row_with_nothing(self, row):
        masks = [mask.clone() for mask in MASKS]
        for mask in masks:
            mask[row] = False
        with raises(ValueError, row):
            a_unified()(sequences(), masks)


def first_that_is_there(features, present):
    """What x_1 says where it is present, else what x_2 says."""
    said = torch.where(present[:, 0, None], features[0], features[1])
    return F.one_hot(said[:, 0].long(), 2).double()


class TestAblation:
    def test_the_example_worked_by_hand(self):
        features, labels = [f64([0], [1], [1], [1]), f64([0], [0], [1], [1])], torch.tensor([0, 1, 1, 0])
        found = ablation(first_that_is_there, features, torch.ones(4, 2, dtype=torch.bool), labels)
        assert_close(found, [0.75, 0.5, 0.75])
        assert_equal({type(value) for value in found}, {float})

    def test_row_by_row(self):
        features, labels = three(), torch.tensor([0, 1, 1, 0, 1])

        def predict(parts, present):
            if not bool(present.any(1).all()):
                fail("predict gets a row in which nothing is present.", evidence=present)
            total = sum(torch.where(present[:, i], x.sum(1), 0) for i, x in enumerate(parts))
            return torch.stack([-total, total], 1)

        expected = []
        for without in (None, 0, 1, 2):
            right = 0
            for row in range(5):
                there = [i for i in range(3) if PRESENT[row, i] and i != without]
                total = sum(features[i][row].sum().item() for i in there)
                right += bool(there) and int(total > 0) == labels[row].item()
            expected.append(right / 5)
        assert_close(ablation(predict, features, PRESENT, labels), expected)

    def test_where_nothing_is_left_all_is_wrong(self):
        def predict(parts, present):
            if not len(present):
                fail("predict is called without rows.", evidence=0)
            return torch.tensor([[1.0, 0.0]]).expand(len(present), 2)

        found = ablation(predict, [normal(3, 2)], flags([1], [1], [0]), torch.tensor([0, 0, 0]))
        assert_close(found, [2 / 3, 0.0])


def bits(n: int, seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """One bit to see and one to hear, each in six or four noisy numbers.  Are they alike?"""
    draws = seeded(seed)
    both = torch.randint(2, (n, 2), generator=draws)
    features = []
    for i, width in enumerate((6, 4)):
        direction = F.normalize(torch.randn(width, generator=seeded(50 + i)), dim=0)
        features.append((4.0 * both[:, i, None] - 2) * direction + 0.5 * torch.randn(n, width, generator=draws))
    return features, (both[:, 0] == both[:, 1]).long()


def trained(model: nn.Module, answer, features, labels, seed: int) -> None:
    optimizer, draws = torch.optim.Adam(model.parameters(), 0.02), seeded(seed)
    for _ in range(120):
        rows = torch.randint(len(labels), (64,), generator=draws)
        loss = F.cross_entropy(answer([x[rows] for x in features], torch.ones(64, 2, dtype=torch.bool)), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.learning
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_question_that_needs_both(self, seed):
        """Early fusion answers it.  Take one away, or meet late, and it's a coin."""
        torch.manual_seed(seed)
        (features, labels), (new, answers) = bits(600, seed), bits(400, seed + 1000)
        everything = torch.ones(400, 2, dtype=torch.bool)
        early = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 2))
        late = nn.ModuleList(nn.Sequential(nn.Linear(w, 32), nn.ReLU(), nn.Linear(32, 2)) for w in (6, 4))

        def by_early(parts, present):
            return early(early_fusion(parts, present))

        def by_late(parts, present):
            return late_fusion(torch.stack([model(x) for model, x in zip(late, parts, strict=True)], 1), present)

        trained(early, by_early, features, labels, seed)
        trained(late, by_late, features, labels, seed)
        with torch.no_grad():
            found = ablation(by_early, new, everything, answers)
            baseline = (by_late(new, everything).argmax(1) == answers).float().mean().item()
        if found[0] < baseline + 0.25 or max(found[1:]) > found[0] - 0.25:
            fail(
                f"Early fusion has {found[0]:.2f}, without one part {found[1]:.2f} and {found[2]:.2f}; late fusion has {baseline:.2f}.",
                evidence=[round(v, 1) for v in found],
            )


class TestOnTheGpu:
    def test_the_functions(self, gpu):
        features = [x.requires_grad_() for x in three()]
        gpu.check(early_fusion, features, PRESENT)
        gpu.check(late_fusion, normal(5, 3, 2).requires_grad_(), PRESENT)
        found = modality_dropout(gpu(PRESENT), 0.5, gpu.generator(1))
        assert_equal((found.device.type, found.dtype), (gpu.device.type, torch.bool))
        labels = gpu(torch.tensor([0, 1, 1, 0]))
        parts = [gpu(f64([0], [1], [1], [1])), gpu(f64([0], [0], [1], [1]))]
        everything = gpu(torch.ones(4, 2, dtype=torch.bool))
        assert_close(ablation(first_that_is_there, parts, everything, labels), [0.75, 0.5, 0.75])

    def test_the_modules(self, gpu):
        gpu.check(a_fusion(), three(), PRESENT)
        gpu.check(a_cross(), normal(2, 3, 6).requires_grad_(), normal(2, 5, 4, seed=1))
        gpu.check(a_cross(), normal(2, 3, 6), normal(2, 5, 4, seed=1), MASK)
        gpu.check(a_block(), normal(2, 3, 6), normal(2, 5, 6, seed=1), MASK)
        gpu.check(a_resampler(1), normal(2, 5, 6).requires_grad_())
        gpu.check(a_unified(), sequences(), MASKS)
