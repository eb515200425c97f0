"""Judges k11_bert against transformers' BertModel and BertForPreTraining; with MiniLM's real weights."""

import json

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_05_transformers.k11_bert import (
    Bert,
    BertConfig,
    BertForPretraining,
    mask_tokens,
    pretraining_loss,
    sentence_vectors,
)

pytestmark = [
    from_scratch("transformers", "torch.nn.TransformerEncoderLayer", "torch.nn.TransformerEncoder"),
    pure(),
    pytest.mark.deadline(60),  # the first test imports transformers, which takes a busy machine a while
]

SIZES = {
    "small": dict(vocab_size=43, context=16, segments=2, d_model=24, d_ff=20, layers=2, heads=4, eps=1e-12),
    "other": dict(vocab_size=19, context=9, segments=3, d_model=10, d_ff=36, layers=3, heads=2, eps=0.1),
}


def transformers_bert(case: str, kind: str = "BertModel") -> nn.Module:
    """transformers' model of these sizes in float64, all parameters random."""
    import transformers

    s = SIZES[case]
    config = transformers.BertConfig(
        vocab_size=s["vocab_size"], max_position_embeddings=s["context"], type_vocab_size=s["segments"],
        hidden_size=s["d_model"], intermediate_size=s["d_ff"], num_hidden_layers=s["layers"], num_attention_heads=s["heads"],
        layer_norm_eps=s["eps"], hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager",
    )  # fmt: skip
    model = getattr(transformers, kind)(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def both(case: str) -> tuple[nn.Module, nn.Module]:
    theirs = transformers_bert(case)
    model = Bert(BertConfig(**SIZES[case])).double()
    model.load_hf(theirs.state_dict())
    return model, theirs


def batch(case: str, b: int, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids, segments, and a mask with padding of several lengths; without id 0, whose embedding has no gradient in theirs."""
    s = SIZES[case]
    lengths = torch.randint(1, n + 1, (b, 1))
    return torch.randint(1, s["vocab_size"], (b, n)), torch.randint(0, s["segments"], (b, n)), torch.arange(n) < lengths


class TestBert:
    @pytest.mark.parametrize("case", list(SIZES))
    @pytest.mark.parametrize(("b", "n"), [(1, 1), (3, 9)])
    def test_matches_transformers(self, case, b, n):
        model, theirs = both(case)
        ids, segments, _ = batch(case, b, n)
        expected = theirs(ids, token_type_ids=segments)
        assert_close(model(ids, segments), (expected.last_hidden_state.detach(), expected.pooler_output.detach()))

    @pytest.mark.parametrize("case", list(SIZES))
    @pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
    def test_matches_transformers_with_padding(self, case, dtype):
        model, theirs = both(case)
        ids, segments, mask = batch(case, 4, 8)
        expected = theirs(ids, attention_mask=mask.long(), token_type_ids=segments)
        states, pooled = model(ids, segments, mask.to(dtype))
        assert_close(pooled, expected.pooler_output.detach())
        # What stands at the padding is of no interest.
        assert_close(states[mask], expected.last_hidden_state.detach()[mask])

    def test_all_in_segment_0_and_all_real_unless_told_otherwise(self):
        model, theirs = both("small")
        ids, _, _ = batch("small", 2, 7)
        expected = theirs(ids)
        assert_close(model(ids), (expected.last_hidden_state.detach(), expected.pooler_output.detach()))

    def test_padding_has_no_influence(self):
        model, _ = both("small")
        ids, segments, _ = batch("small", 2, 9)
        mask = torch.arange(9).expand(2, 9) < 6
        other = ids.clone()
        other[:, 6:] = 0
        assert_close(model(other, segments, mask)[0][:, :6], model(ids, segments, mask)[0][:, :6])
        assert_close(model(ids[:, :6], segments[:, :6])[0], model(ids, segments, mask)[0][:, :6])

    def test_padding_has_no_influence_however_high_its_scores(self):
        theirs = transformers_bert("small")
        with torch.no_grad():
            for block in theirs.encoder.layer:
                block.attention.self.query.weight.mul_(30)
                block.attention.self.key.weight.mul_(30)
        model = Bert(BertConfig(**SIZES["small"])).double()
        model.load_hf(theirs.state_dict())
        ids, segments, _ = batch("small", 8, 9)
        mask = torch.arange(9).expand(8, 9) < 4
        assert_close(model(ids, segments, mask)[0][:, :4], model(ids[:, :4], segments[:, :4])[0])

    @pytest.mark.parametrize("case", list(SIZES))
    def test_gradients_match_transformers(self, case):
        model, theirs = both(case)
        ids, segments, mask = batch(case, 3, 7)
        states, pooled = model(ids, segments, mask)
        expected = theirs(ids, attention_mask=mask.long(), token_type_ids=segments)
        upstream = torch.randn_like(states) * mask[..., None], torch.randn_like(pooled)
        torch.autograd.backward([states, pooled], upstream)
        torch.autograd.backward([expected.last_hidden_state, expected.pooler_output], upstream)
        gradients = Bert(BertConfig(**SIZES[case])).double()
        gradients.load_hf({name: parameter.grad for name, parameter in theirs.named_parameters()})
        found = {n: p.grad for n, p in model.named_parameters()}
        assert_close(found, {n: p.detach() for n, p in gradients.named_parameters()})

    @pytest.mark.parametrize("case", list(SIZES))
    def test_as_many_parameters_as_transformers(self, case):
        count = sum(p.numel() for p in Bert(BertConfig(**SIZES[case])).parameters())
        assert_equal(count, sum(p.numel() for p in transformers_bert(case).parameters()))

    def test_a_second_call_owes_nothing_to_the_first(self):
        model, theirs = both("small")
        model(*batch("small", 3, 9))
        ids, _, _ = batch("small", 2, 5)
        expected = theirs(ids)
        assert_close(model(ids), (expected.last_hidden_state.detach(), expected.pooler_output.detach()))

    def test_reads_the_state_by_name_over_an_earlier_one(self):
        model, _ = both("small")
        theirs = transformers_bert("small")
        state = dict(reversed(theirs.state_dict().items())) | {"embeddings.position_ids": torch.arange(16)[None]}
        model.load_hf(state)
        ids, segments, _ = batch("small", 2, 7)
        assert_close(model(ids, segments)[0], theirs(ids, token_type_ids=segments).last_hidden_state.detach())

    def test_loading_leaves_the_state_as_it_is(self):
        theirs = transformers_bert("small")
        state = {name: value.clone() for name, value in theirs.state_dict().items()}
        model = Bert(BertConfig(**SIZES["small"])).double()
        model.load_hf(state)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert_close(state, dict(theirs.state_dict()))

    @pytest.mark.parametrize("case", list(SIZES))
    def test_a_row_longer_than_the_context_is_refused(self, case):
        model = Bert(BertConfig(**SIZES[case]))
        context = SIZES[case]["context"]
        with raises(ValueError, context + 1, context):
            model(torch.zeros(1, context + 1, dtype=torch.long))
        assert_equal(tuple(model(torch.zeros(1, context, dtype=torch.long))[0].shape), (1, context, SIZES[case]["d_model"]))


class TestBertForPretraining:
    @pytest.mark.parametrize("case", list(SIZES))
    def test_matches_transformers(self, case):
        theirs = transformers_bert(case, "BertForPreTraining")
        model = BertForPretraining(BertConfig(**SIZES[case])).double()
        model.load_hf(theirs.state_dict())
        ids, segments, mask = batch(case, 3, 8)
        tokens, follows = model(ids, segments, mask)
        expected = theirs(ids, attention_mask=mask.long(), token_type_ids=segments)
        assert_close(tokens[mask], expected.prediction_logits.detach()[mask])
        assert_close(follows, expected.seq_relationship_logits.detach())

    def test_without_segments_and_mask(self):
        theirs = transformers_bert("small", "BertForPreTraining")
        model = BertForPretraining(BertConfig(**SIZES["small"])).double()
        model.load_hf(theirs.state_dict())
        ids, _, _ = batch("small", 2, 5)
        assert_close(model(ids)[0], theirs(ids).prediction_logits.detach())

    @pytest.mark.parametrize("case", list(SIZES))
    def test_as_many_parameters_as_transformers(self, case):
        count = sum(p.numel() for p in BertForPretraining(BertConfig(**SIZES[case])).parameters())
        assert_equal(count, sum(p.numel() for p in transformers_bert(case, "BertForPreTraining").parameters()))

    def test_loading_leaves_the_state_as_it_is(self):
        theirs = transformers_bert("small", "BertForPreTraining")
        state = {name: value.clone() for name, value in theirs.state_dict().items()}
        model = BertForPretraining(BertConfig(**SIZES["small"])).double()
        model.load_hf(state)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert_close(state, dict(theirs.state_dict()))

    def test_reads_the_state_by_name(self):
        theirs = transformers_bert("small", "BertForPreTraining")
        model = BertForPretraining(BertConfig(**SIZES["small"])).double()
        model.load_hf(dict(reversed(theirs.state_dict().items())))
        ids, _, _ = batch("small", 2, 5)
        assert_close(model(ids)[0], theirs(ids).prediction_logits.detach())

    def test_every_parameter_learns(self):
        model = BertForPretraining(BertConfig(**SIZES["small"])).double()
        ids, segments, _ = batch("small", 3, 8)
        tokens, follows = model(ids, segments)
        nn.functional.cross_entropy(tokens.flatten(0, 1), ids.flatten()).backward(retain_graph=True)
        nn.functional.cross_entropy(follows, torch.tensor([0, 1, 1])).backward()
        # The bias of the keys changes every score of a query alike, which softmax doesn't see.
        dead = [n for n, p in model.named_parameters() if p.grad is None or (not p.grad.any() and "k_proj.bias" not in n)]
        assert_equal(dead, [])


class TestMaskTokens:
    VOCAB, MASK = 50, 47

    def draw(self, rate, generator=None, shape=(400, 100)):
        ids = torch.randint(0, 40, shape)
        special = torch.rand(shape) < 0.2
        inputs, labels = mask_tokens(ids, special, self.MASK, self.VOCAB, rate, generator)
        return ids, special, inputs, labels

    @pytest.mark.parametrize("rate", [0.15, 0.5])
    def test_shares(self, rate):
        ids, special, inputs, labels = self.draw(rate)
        chosen = labels != -100
        masked = inputs == self.MASK
        other = chosen & ~masked & (inputs != ids)
        n, k = (~special).sum().item(), chosen.sum().item()

        def share(what, count, of, p):
            found = count / of
            if abs(found - p) > 6 * (p * (1 - p) / of) ** 0.5:  # six standard deviations
                # In tenths of what was asked, so that other draws of the same mistake are seen as the same.
                tenths = round(10 * found / rate) if what == "are chosen" else round(10 * found)
                fail(f"{found:.3f} of the tokens {what}, expected {p:.3f}", evidence=(what, tenths))

        share("are chosen", k, n, rate)
        # A random token is [MASK] once in 50 times, and the token itself as often.
        share("that were chosen become [MASK]", (masked & chosen).sum().item(), k, 0.8 + 0.1 / self.VOCAB)
        share("that were chosen become random ones", other.sum().item(), k, 0.1 * (self.VOCAB - 2) / self.VOCAB)

    def test_special_tokens_are_never_chosen(self):
        ids, special, inputs, labels = self.draw(1.0)
        assert_close(inputs[special], ids[special])
        assert_close(labels, ids.masked_fill(special, -100))

    def test_what_was_not_chosen_stays_and_labels_are_the_tokens(self):
        ids, _, inputs, labels = self.draw(0.3)
        chosen = labels != -100
        assert_close(inputs[~chosen], ids[~chosen])
        assert_close(labels[chosen], ids[chosen])

    def test_random_tokens_are_any_of_the_vocabulary(self):
        ids, _, inputs, labels = self.draw(1.0, shape=(800, 100))
        drawn = inputs[(labels != -100) & (inputs != self.MASK) & (inputs != ids)]
        counts = torch.bincount(drawn, minlength=self.VOCAB).double()
        # Those that no text has (40 and more) come a little more often, as none of them is left out as unchanged.
        expected = torch.full((self.VOCAB,), len(drawn) / (self.VOCAB - 1.8), dtype=torch.float64)
        expected[self.MASK] = 0
        expected[:40] *= 39 / 40
        expected *= len(drawn) / expected.sum()
        statistic = ((counts - expected) ** 2 / expected.clamp_min(1)).sum().item()
        # 48 degrees of freedom: above 130 once in 10⁹ times.
        if statistic > 130:
            fail(f"Random tokens are uneven: some come {int(counts.max())} times, some {int(counts[counts > 0].min())}.", evidence=("uneven", len(drawn) > 0))

    def test_fifteen_percent_unless_told_otherwise(self):
        ids = torch.randint(0, 40, (400, 100))
        labels = mask_tokens(ids, torch.zeros(400, 100).bool(), self.MASK, self.VOCAB)[1]
        assert_close((labels != -100).double().mean().item(), 0.15, atol=6 * (0.15 * 0.85 / 40_000) ** 0.5, rtol=0)

    def test_each_token_is_chosen_independently_of_the_others(self):
        rows, n, rate = 600, 100, 0.3
        ids = torch.randint(0, 40, (rows, n))
        labels = mask_tokens(ids, torch.zeros(rows, n).bool(), self.MASK, self.VOCAB, rate)[1]
        for counts, of in (((labels != -100).sum(1), n), ((labels != -100).sum(0), rows)):
            expected = of * rate * (1 - rate)
            variance = counts.double().var().item()
            # A variance of k counts is known to √(2/(k - 1)): six of these.
            if abs(variance / expected - 1) > 6 * (2 / (len(counts) - 1)) ** 0.5:
                fail(
                    f"The numbers of chosen tokens have a variance of {variance:.1f}; of independent choices, "
                    f"{expected:.1f} was expected.",
                    evidence=("dependent", variance > expected),
                )

    @pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
    def test_keeps_the_dtype(self, dtype):
        ids = torch.randint(0, 40, (20, 30)).to(dtype)
        inputs, labels = mask_tokens(ids, torch.zeros(20, 30).bool(), self.MASK, self.VOCAB, 0.5)
        assert_equal((str(inputs.dtype), str(labels.dtype)), (str(dtype), str(dtype)))

    def test_the_generator_decides_alone(self):
        ids, special = torch.randint(0, 40, (20, 30)), torch.zeros(20, 30).bool()

        def drawn(seed):
            return mask_tokens(ids, special, self.MASK, self.VOCAB, 0.5, torch.Generator().manual_seed(seed))

        before = torch.get_rng_state()
        same = [torch.equal(*both) for both in zip(drawn(3), drawn(3), strict=True)]
        if not all(same):
            fail("Two generators with the same seed give different riddles.", evidence=("unseeded", same))
        assert_equal(torch.equal(torch.get_rng_state(), before), True)
        if torch.equal(drawn(3)[1], drawn(4)[1]):
            fail("Generators with seeds 3 and 4 choose the same tokens.", evidence=("generator",))

    def test_each_call_draws_anew(self):
        ids, special = torch.randint(0, 40, (20, 30)), torch.zeros(20, 30).bool()
        generator = torch.Generator().manual_seed(3)
        first, second = (mask_tokens(ids, special, self.MASK, self.VOCAB, 0.5, generator)[1] for _ in range(2))
        if torch.equal(first, second):
            fail("Two calls with one generator choose the same tokens.", evidence=("reseeded",))


class TestPretrainingLoss:
    def test_matches_transformers(self):
        theirs = transformers_bert("small", "BertForPreTraining").float()
        ids, segments, _ = batch("small", 4, 9)
        labels = torch.where(torch.rand(4, 9) < 0.4, ids, torch.full_like(ids, -100))
        labels[0, 0] = ids[0, 0]
        follows = torch.tensor([0, 1, 1, 0])
        out = theirs(ids, token_type_ids=segments, labels=labels, next_sentence_label=follows)
        found = pretraining_loss(out.prediction_logits, out.seq_relationship_logits, labels, follows)
        assert_close(found.detach(), out.loss.detach())

    def test_means_of_both(self):
        tokens, nexts = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
        labels, follows = torch.tensor([[4, -100, -100], [-100, 1, 2]]), torch.tensor([1, 0])
        log_p, log_q = tokens.log_softmax(-1), nexts.log_softmax(-1)
        expected = -(log_p[0, 0, 4] + log_p[1, 1, 1] + log_p[1, 2, 2]) / 3 - (log_q[0, 1] + log_q[1, 0]) / 2
        assert_close(pretraining_loss(tokens, nexts, labels, follows), expected)

    def test_gradients(self):
        tokens = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
        nexts = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
        labels, follows = torch.tensor([[4, -100, 3], [-100, 1, 2]]), torch.tensor([1, 0])
        assert torch.autograd.gradcheck(lambda *a: pretraining_loss(*a, labels, follows), (tokens, nexts))


class TestSentenceVectors:
    def test_the_example_worked_by_hand(self):
        states = torch.tensor([[[1.0, 3], [5, 7], [100, -100]]])
        found = sentence_vectors(states, torch.tensor([[True, True, False]]))
        assert_close(found, torch.tensor([[0.5145, 0.8575]]), atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
    def test_the_mean_over_the_real_tokens(self, dtype):
        states = torch.randn(3, 5, 7, dtype=torch.float64)
        lengths = [5, 1, 3]
        mask = torch.arange(5) < torch.tensor(lengths)[:, None]
        means = torch.stack([states[i, :n].mean(0) for i, n in enumerate(lengths)])
        assert_close(sentence_vectors(states, mask.to(dtype)), means / means.norm(dim=1)[:, None])

    def test_gradients(self):
        states = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
        mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).bool()
        assert torch.autograd.gradcheck(lambda y: sentence_vectors(y, mask), states)


class TestMiniLM:
    """Real weights: all-MiniLM-L6-v2, tuned for the similarity of sentences."""

    SENTENCES = [
        "A man is playing a guitar.",
        "Someone plays an instrument.",
        "The stock market fell sharply today.",
        "Shares lost much of their value.",
        "A cat sleeps on the warm windowsill in the afternoon sun.",
    ]

    @pytest.fixture
    def pair(self, minilm):
        from safetensors.torch import load_file
        from transformers import AutoTokenizer, BertModel

        c = json.loads((minilm / "config.json").read_text())
        config = BertConfig(
            c["vocab_size"], c["max_position_embeddings"], c["type_vocab_size"], c["hidden_size"],
            c["intermediate_size"], c["num_hidden_layers"], c["num_attention_heads"], c["layer_norm_eps"],
        )  # fmt: skip
        model = Bert(config)
        model.load_hf(load_file(minilm / "model.safetensors"))
        encoded = AutoTokenizer.from_pretrained(minilm)(self.SENTENCES, padding=True, return_tensors="pt")
        return model, BertModel.from_pretrained(minilm, attn_implementation="eager").eval(), encoded

    def test_the_states_of_transformers(self, pair):
        model, theirs, encoded = pair
        mask = encoded["attention_mask"].bool()
        with torch.no_grad():
            states, _ = model(encoded["input_ids"], encoded["token_type_ids"], mask)
            expected = theirs(**encoded).last_hidden_state
        # Six layers of float32, summed in another order.
        assert_close(states[mask], expected[mask], atol=1e-4, rtol=1e-4)

    def test_sentences_that_mean_alike_are_near(self, pair):
        model, _, encoded = pair
        with torch.no_grad():
            states, _ = model(encoded["input_ids"], mask=encoded["attention_mask"])
        vectors = sentence_vectors(states, encoded["attention_mask"])
        similarity = vectors @ vectors.T
        assert_equal([int(row.topk(2).indices[1]) for row in similarity[:4]], [1, 0, 3, 2])
        assert_equal(bool(similarity[0, 1] > 0.5 and similarity[2, 3] > 0.5 and similarity[0, 2] < 0.2), True)


class TestOnTheGpu:
    def test_bert(self, gpu):
        gpu.check(Bert(BertConfig(**SIZES["other"])).double(), *batch("other", 2, 5))

    def test_bert_for_pretraining(self, gpu):
        gpu.check(BertForPretraining(BertConfig(**SIZES["other"])).double(), *batch("other", 2, 5))

    def test_mask_tokens(self, gpu):
        ids = torch.randint(5, 40, (6, 12))
        inputs, labels = mask_tokens(gpu(ids), gpu(ids < 9), 4, 40, 0.5, gpu.generator(3))
        assert_equal({inputs.device.type, labels.device.type}, {gpu.device.type})
        assert_equal(bool((labels != -100).any()) and not bool((labels != -100)[gpu(ids < 9)].any()), True)

    def test_loss_and_vectors(self, gpu):
        token_logits = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
        next_logits = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
        labels = torch.tensor([[1, -100, 3], [-100, 0, -100]])
        gpu.check(pretraining_loss, token_logits, next_logits, labels, torch.tensor([1, 0]))
        states = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
        gpu.check(sentence_vectors, states, torch.tensor([[1, 1, 0], [1, 1, 1]]))
