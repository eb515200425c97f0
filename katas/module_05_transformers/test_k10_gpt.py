"""Judges k10_gpt against transformers' GPT2LMHeadModel: logits, loss and gradients with the same weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_05_transformers.k10_gpt import GPT, GPTConfig, next_token_loss

pytestmark = [
    from_scratch("transformers", "torch.nn.TransformerEncoderLayer", "torch.nn.TransformerDecoderLayer"),
    pure(),
    pytest.mark.deadline(60),  # the first test imports transformers' GPT-2, which takes a busy machine a while
]

SIZES = [(61, 12, 24, 4, 2), (17, 9, 10, 1, 3), (30, 7, 18, 6, 1)]


def sizes(case: tuple[int, ...]) -> dict:
    return dict(zip(("vocab_size", "context", "d_model", "heads", "layers"), case, strict=True))


def gpt2(case: tuple[int, ...]) -> nn.Module:
    """transformers' model of these sizes in float64, all parameters random: biases and norms, too."""
    from transformers import GPT2Config, GPT2LMHeadModel

    vocab_size, context, d_model, heads, layers = case
    config = GPT2Config(
        vocab_size=vocab_size, n_positions=context, n_embd=d_model, n_head=heads, n_layer=layers,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager",
    )  # fmt: skip
    model = GPT2LMHeadModel(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model


def both(case: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """The learner's model and transformers', with the same weights."""
    theirs = gpt2(case)
    model = GPT(GPTConfig(**sizes(case))).double()
    model.load_gpt2(theirs.state_dict())
    return model, theirs


def some_ids(case: tuple[int, ...], batch: int, n: int) -> torch.Tensor:
    return torch.randint(0, case[0], (batch, n))


def lively(case: tuple[int, ...]) -> nn.Module:
    """The learner's model in float64 with random parameters, those too that start at 0 or 1."""
    model = GPT(GPTConfig(**sizes(case))).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model


class TestNextTokenLoss:
    def test_the_example_worked_by_hand(self):
        loss = next_token_loss(torch.zeros(2, 3, 4), torch.tensor([[3, 0, 1], [2, 2, 0]]))
        assert_close(loss, torch.tensor(1.3863), atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize(("batch", "n", "vocab"), [(1, 2, 5), (3, 6, 4)])
    def test_each_row_predicts_the_token_after_it(self, batch, n, vocab):
        logits = torch.randn(batch, n, vocab, dtype=torch.float64) * 2
        ids = torch.randint(0, vocab, (batch, n))
        p = logits.softmax(-1)
        nats = [-p[b, t, ids[b, t + 1]].log() for b in range(batch) for t in range(n - 1)]
        assert_close(next_token_loss(logits, ids), sum(nats) / len(nats))

    def test_large_logits_do_not_overflow(self):
        logits = torch.tensor([[[1e4, -1e4, 0.0], [-1e4, 0.0, 1e4], [0.0, 0.0, 0.0]]])
        assert_close(next_token_loss(logits, torch.tensor([[2, 0, 1]])), torch.tensor(5e3))

    def test_gradients(self):
        logits = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
        ids = torch.randint(0, 3, (2, 4))
        assert torch.autograd.gradcheck(lambda y: next_token_loss(y, ids), logits)

    @pytest.mark.parametrize("n", [1, 0])
    def test_a_row_of_one_token_is_refused(self, n):
        with raises(ValueError, n):
            next_token_loss(torch.zeros(5, n, 4), torch.zeros(5, n, dtype=torch.long))


class TestStart:
    @pytest.mark.parametrize("layers", [2, 8])
    def test_matrices_of_002_and_smaller_ones_on_the_stream(self, layers):
        matrices = {n: p.detach() for n, p in GPT(GPTConfig(300, 200, 64, 4, layers)).named_parameters() if p.dim() == 2}
        small = 0.02 / math.sqrt(2 * layers)
        # What others draw with: torch's embeddings, its linear layers of 64 and 256 inputs, and √layers.
        usual = [0.02, small, 0.02 / math.sqrt(layers), 1.0, 1 / math.sqrt(3 * 64), 1 / math.sqrt(3 * 256)]
        expected = {n: small if n.endswith(("out_proj.weight", "down_proj.weight")) else 0.02 for n in matrices}
        wrong = []
        for name, matrix in matrices.items():
            found, std = matrix.std().item(), expected[name]
            # Six standard errors of a standard deviation over so many numbers.
            if not abs(found - std) <= 6 * std / math.sqrt(2 * matrix.numel()):
                near = min(range(len(usual)), key=lambda i: abs(math.log(max(found, 1e-9) / usual[i])))
                wrong.append((name, near, f"{name} has a standard deviation of {found:.4f}, expected {std:.4f}"))
        if wrong:
            fail(wrong[0][2], evidence=[(name, near) for name, near, _ in wrong])
        for name, matrix in matrices.items():
            std, n = expected[name], matrix.numel()
            assert_close(matrix.mean().item(), 0.0, atol=6 * std / math.sqrt(n), rtol=0)  # six standard errors
            # A normal variable's mean distance from 0, which tells it from a uniform one.
            distance, error = std * math.sqrt(2 / math.pi), 6 * std * math.sqrt((1 - 2 / math.pi) / n)
            assert_close(matrix.abs().mean().item(), distance, atol=error, rtol=0)

    def test_biases_of_0_and_norms_of_1(self):
        vectors = {n: p.detach() for n, p in GPT(GPTConfig(30, 8, 12, 3, 2)).named_parameters() if p.dim() == 1}
        expected = {n: torch.ones_like(p) if n.endswith("weight") else torch.zeros_like(p) for n, p in vectors.items()}
        assert_close(vectors, expected)

    @pytest.mark.parametrize("case", SIZES)
    def test_has_as_many_parameters_as_transformers(self, case):
        count = sum(p.numel() for p in GPT(GPTConfig(**sizes(case))).parameters())
        assert_equal(count, sum(p.numel() for p in gpt2(case).parameters()))

    def test_a_fresh_model_knows_nothing(self):
        model = GPT(GPTConfig(50, 16, 32, 4, 2))
        ids = torch.randint(0, 50, (8, 16))
        # Logits of about 0.02 · √32 = 0.11 make a loss of about log 50 + 0.11² / 2, and its mean over 120
        # tokens scatters by 0.01.
        loss = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        assert_close(loss.item(), math.log(50), atol=0.1, rtol=0)


class TestForward:
    def test_tokens_see_only_what_stands_before_them(self):
        model = lively(SIZES[0])
        ids = some_ids(SIZES[0], 2, 10)
        other = ids.clone()
        other[:, 6:] = (other[:, 6:] + 1) % 61
        first, second = model(ids), model(other)
        assert_close(second[:, :6], first[:, :6])
        assert_equal(bool((second[:, 6] - first[:, 6]).abs().max() > 1e-3), True)

    @pytest.mark.parametrize("case", SIZES)
    def test_a_row_longer_than_the_context_is_refused(self, case):
        model = GPT(GPTConfig(**sizes(case)))
        context = case[1]
        with raises(ValueError, context + 1, context):
            model(some_ids(case, 1, context + 1))
        assert_equal(tuple(model(some_ids(case, 1, context)).shape), (1, context, case[0]))

    def test_embeddings_and_logits_share_one_matrix(self):
        model = lively(SIZES[0])
        ids = torch.full((1, 3), 5)
        before = model(ids)
        with torch.no_grad():
            model.token_embedding.weight[40] *= 3  # not among the ids: only its logit can change
        after = model(ids)
        rest = [i for i in range(61) if i != 40]
        assert_close(after[..., rest], before[..., rest])
        assert_close(after[..., 40], 3 * before[..., 40])

    def test_a_second_call_owes_nothing_to_the_first(self):
        model = lively(SIZES[0])
        ids = some_ids(SIZES[0], 2, 8)
        first = model(ids)
        model(some_ids(SIZES[0], 3, 12))
        assert_close(model(ids[:, :5]), first[:, :5])
        assert_close(model(ids), first)


class TestLoadGpt2:
    @pytest.mark.parametrize("case", SIZES)
    @pytest.mark.parametrize("batch", [1, 3])
    @pytest.mark.parametrize("n", [1, 5, 7])
    def test_logits_match_transformers(self, case, batch, n):
        model, theirs = both(case)
        ids = some_ids(case, batch, n)
        assert_close(model(ids), theirs(ids).logits.detach())

    @pytest.mark.parametrize("case", SIZES)
    def test_gradients_of_every_parameter_match_transformers(self, case):
        model, theirs = both(case)
        ids = some_ids(case, 3, case[1])
        out = theirs(ids, labels=ids)
        loss = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        assert_close(loss.float(), out.loss)  # they compute it in float32
        expected = F.cross_entropy(out.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        expected.backward()
        # Their gradients, put where the learner's model keeps the weights.
        gradients = GPT(GPTConfig(**sizes(case))).double()
        gradients.load_gpt2({name: parameter.grad for name, parameter in theirs.named_parameters()})
        expected = {name: parameter.detach() for name, parameter in gradients.named_parameters()}
        assert_close({name: parameter.grad for name, parameter in model.named_parameters()}, expected)

    def test_gradients_under_a_random_upstream_gradient(self):
        model, theirs = both(SIZES[2])
        ids = some_ids(SIZES[2], 2, 6)
        upstream = torch.randn(2, 6, 30, dtype=torch.float64)
        expected = torch.autograd.grad(theirs(ids).logits, theirs.transformer.wte.weight, upstream)
        assert_close(torch.autograd.grad(model(ids), model.token_embedding.weight, upstream), expected)

    def test_leaves_the_state_as_it_is(self):
        theirs = gpt2(SIZES[2])
        state = {name: value.clone() for name, value in theirs.state_dict().items()}
        model = GPT(GPTConfig(**sizes(SIZES[2]))).double()
        model.load_gpt2(state)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert_close(state, dict(theirs.state_dict()))

    def test_reads_the_state_by_name_over_an_earlier_one(self):
        model, _ = both(SIZES[2])
        theirs = gpt2(SIZES[2])
        state = dict(reversed(theirs.state_dict().items())) | {"transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}
        model.load_gpt2(state)
        ids = some_ids(SIZES[2], 2, 6)
        assert_close(model(ids), theirs(ids).logits.detach())

    def test_keeps_the_parameters_and_their_dtype(self):
        model = GPT(GPTConfig(**sizes(SIZES[2])))
        before = dict(model.named_parameters())
        model.load_gpt2(gpt2(SIZES[2]).state_dict())
        after = dict(model.named_parameters())
        assert_equal({name: after[name] is before[name] for name in before}, dict.fromkeys(before, True))
        assert_equal({(p.dtype, p.requires_grad) for p in after.values()}, {(torch.float32, True)})

    @pytest.mark.gpu
    def test_on_a_gpu(self):
        model, _ = both(SIZES[0])
        ids = some_ids(SIZES[0], 2, 8)
        expected = model(ids)
        assert_close(model.cuda()(ids.cuda()).cpu(), expected)


class TestOnTheGpu:
    def test_next_token_loss(self, gpu):
        logits = torch.randn(2, 4, 9, dtype=torch.float64, requires_grad=True)
        gpu.check(next_token_loss, logits, torch.randint(0, 9, (2, 4)))

    def test_gpt(self, gpu):
        gpu.check(lively(SIZES[1]), some_ids(SIZES[1], 2, 5))
