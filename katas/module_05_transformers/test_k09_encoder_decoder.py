"""Judges k09_encoder_decoder against torch's nn.TransformerEncoder and nn.TransformerDecoder, in float64.

The weights are the same on both sides.  The last test trains a small model to reverse digits.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_05_transformers.k09_encoder_decoder import (
    DecoderBlock,
    Transformer,
    greedy_decode,
    shift_right,
    teacher_forcing_loss,
)

pytestmark = [
    from_scratch(
        "torch.nn.Transformer",
        "torch.nn.TransformerEncoder",
        "torch.nn.TransformerEncoderLayer",
        "torch.nn.TransformerDecoder",
        "torch.nn.TransformerDecoderLayer",
        "torch.nn.MultiheadAttention",
    ),
    pure(),
]

SIZES = [(12, 3, 20), (8, 2, 5)]


@pytest.fixture
def one_thread():
    """Small products run faster on one thread, above all where others use the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def randomize(module, lively=False):
    """The module in float64 with random parameters, those too that start at 0 or 1.

    A lively one has larger matrices and no random norms and biases: what a model
    writes then hangs on its source, where otherwise its biases often decide alone.
    """
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            if lively and parameter.ndim == 2:
                parameter.normal_()
            elif not lively:
                parameter.normal_(std=0.5)
    return module


def torch_names(block):
    """Torch's name of each parameter of a layer, and the learner's parameters that it packs."""
    names = {}
    attentions = {"self_attn": "attention", "multihead_attn": "cross_attention"}
    if hasattr(block, "cross_attention"):
        attentions["self_attn"] = "self_attention"
    for theirs, mine in attentions.items():
        if hasattr(block, mine):
            attention = getattr(block, mine)
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            names[f"{theirs}.in_proj_weight"] = [p.weight for p in projections]
            names[f"{theirs}.in_proj_bias"] = [p.bias for p in projections]
            names[f"{theirs}.out_proj.weight"] = [attention.out_proj.weight]
            names[f"{theirs}.out_proj.bias"] = [attention.out_proj.bias]
    layers = {"linear1": block.feed_forward.up_proj, "linear2": block.feed_forward.down_proj}
    layers |= {name: getattr(block, name) for name in ("norm1", "norm2", "norm3") if hasattr(block, name)}
    for name, layer in layers.items():
        names |= {f"{name}.weight": [layer.weight], f"{name}.bias": [layer.bias]}
    return names


def copy_weights(block, layer):
    with torch.no_grad():
        for name, parts in torch_names(block).items():
            for part, value in zip(parts, layer.get_parameter(name).chunk(len(parts)), strict=True):
                part.copy_(value)


def hidden_ahead(n):
    """Torch's mask of n tokens: True where a query may *not* look."""
    return torch.ones(n, n).triu(1).bool()


def block_pair(d_model, heads, d_ff, pre_norm=False):
    """The learner's block and torch's, with the same random weights."""
    layer = nn.TransformerDecoderLayer(d_model, heads, d_ff, 0.0, batch_first=True, norm_first=pre_norm)
    randomize(layer)
    block = DecoderBlock(d_model, heads, d_ff, pre_norm).double()
    copy_weights(block, layer)
    return block, layer


class Oracle(nn.Module):
    """Torch's layers put together as the lesson says, with the weights of the learner's `model`."""

    def __init__(self, model, d_model, heads, layers, d_ff, pre_norm, lively=False):
        super().__init__()
        options = {"dropout": 0.0, "batch_first": True, "norm_first": pre_norm}
        norms = [nn.LayerNorm(d_model) if pre_norm else None for _ in range(2)]
        encoder = nn.TransformerEncoderLayer(d_model, heads, d_ff, **options)
        decoder = nn.TransformerDecoderLayer(d_model, heads, d_ff, **options)
        self.encoder = nn.TransformerEncoder(encoder, layers, norms[0], enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, layers, norms[1])
        randomize(self, lively)
        self.embedding = model.embedding.weight.detach().clone().requires_grad_()
        self.positions = model.positions.weight.detach().clone().requires_grad_()
        self.head = [p.detach().clone().requires_grad_() for p in (model.head.weight, model.head.bias)]
        self.layers = [*self.encoder.layers, *self.decoder.layers]
        for block, layer in zip([*model.encoder.blocks, *model.blocks], self.layers, strict=True):
            copy_weights(block, layer)
        if pre_norm:
            for mine, theirs in zip((model.encoder.norm, model.norm), norms, strict=True):
                mine.load_state_dict(theirs.state_dict())

    def embed(self, ids):
        return self.embedding[ids] + self.positions[: ids.shape[-1]]

    def encode(self, source, mask=None):
        return self.encoder(self.embed(source), src_key_padding_mask=None if mask is None else ~mask[:, 0, 0])

    def forward(self, source, inputs, mask=None):
        hidden = None if mask is None else ~mask[:, 0, 0]
        x = self.decoder(
            self.embed(inputs),
            self.encode(source, mask),
            tgt_mask=hidden_ahead(inputs.shape[-1]),
            memory_key_padding_mask=hidden,
        )
        return F.linear(x, *self.head)


def model_pair(d_model=12, heads=3, layers=2, d_ff=20, pre_norm=False, lively=False):
    """The learner's model with 11 tokens and 7 positions, and the oracle, with the same random weights."""
    mine = randomize(Transformer(11, 7, d_model, heads, layers, d_ff, pre_norm), lively)
    return mine, Oracle(mine, d_model, heads, layers, d_ff, pre_norm, lively)


def sample(n=6, m=4, batch=(3,)):
    """Random source ids, target ids and a padding mask."""
    lengths = torch.randint(1, n, (*batch, 1, 1, 1))
    return (
        torch.randint(11, (*batch, n)),
        torch.randint(11, (*batch, m)),
        torch.arange(n) < lengths,
    )


class TestDecoderBlock:
    @pytest.mark.parametrize(("pre_norm", "expected"), [(False, [[-1.0, 1]]), (True, [[4.0, 7]])])
    def test_the_example_worked_by_hand(self, pre_norm, expected):
        block = DecoderBlock(2, 1, 2, pre_norm)
        with torch.no_grad():
            for name, parts in torch_names(block).items():
                for part in parts:
                    part.copy_(torch.eye(2) if part.ndim == 2 else torch.full((2,), float("norm" in name)))
                    if name.endswith("bias"):
                        part.zero_()
        out = block(torch.tensor([[3.0, 1]]), torch.tensor([[0.0, 6]]))
        # atol: the norms' eps moves the hand-made numbers by about 1e-5.
        assert_close(out.detach(), torch.tensor(expected), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("pre_norm", [False, True])
    @pytest.mark.parametrize(("n", "m"), [(6, 4), (3, 5), (1, 2)])
    @pytest.mark.parametrize("size", SIZES)
    def test_matches_torch(self, size, n, m, pre_norm):
        block, layer = block_pair(*size, pre_norm=pre_norm)
        x, memory = randn(2, m, size[0]), randn(2, n, size[0])
        assert_close(block(x, memory), layer(x, memory, tgt_mask=hidden_ahead(m)))

    def test_is_post_norm_by_default(self):
        _, layer = block_pair(8, 2, 5)
        block = DecoderBlock(8, 2, 5).double()
        copy_weights(block, layer)
        x, memory = randn(2, 4, 8), randn(2, 3, 8)
        assert_close(block(x, memory), layer(x, memory, tgt_mask=hidden_ahead(4)))

    @pytest.mark.parametrize("pre_norm", [False, True])
    @pytest.mark.parametrize("shape", [(2, 1, 1, 6), (4, 6), (2, 3, 4, 6)])
    def test_hides_masked_memory(self, shape, pre_norm):
        block, layer = block_pair(12, 3, 20, pre_norm)
        x, memory = randn(2, 4, 12), randn(2, 6, 12)
        mask = torch.rand(shape) > 0.5
        mask[..., 2] = True
        theirs = ~mask.expand(2, 3, 4, 6).flatten(0, 1)
        assert_close(block(x, memory, mask), layer(x, memory, hidden_ahead(4), theirs))

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_takes_any_leading_dimensions(self, pre_norm):
        block, layer = block_pair(8, 2, 5, pre_norm)
        x, memory = randn(2, 3, 4, 8), randn(2, 3, 6, 8)
        expected = layer(x.flatten(0, 1), memory.flatten(0, 1), tgt_mask=hidden_ahead(4)).unflatten(0, (2, 3))
        assert_close(block(x, memory), expected)
        assert_close(block(x[1, 2], memory[1, 2]), expected[1, 2])

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_gradients_match_torch(self, pre_norm):
        block, layer = block_pair(12, 3, 20, pre_norm)
        upstream = randn(2, 4, 12)
        mine = randn(2, 4, 12).requires_grad_(), randn(2, 6, 12).requires_grad_()
        theirs = [t.detach().clone().requires_grad_() for t in mine]
        block(*mine).backward(upstream)
        layer(*theirs, tgt_mask=hidden_ahead(4)).backward(upstream)
        assert_close([t.grad for t in mine], [t.grad for t in theirs])
        for name, parts in torch_names(block).items():
            assert_close(torch.cat([part.grad for part in parts]), layer.get_parameter(name).grad)

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_leaves_its_inputs_unchanged(self, pre_norm):
        block, _ = block_pair(8, 2, 5, pre_norm)
        inputs = randn(2, 4, 8), randn(2, 6, 8), torch.rand(4, 6) > 0.5
        before = [t.clone() for t in inputs]
        block(*inputs)
        assert_close(list(inputs), before)


class TestTransformer:
    @pytest.mark.parametrize("pre_norm", [False, True])
    @pytest.mark.parametrize(("layers", "size"), [(1, SIZES[0]), (2, SIZES[1]), (3, SIZES[0])])
    def test_matches_torch(self, layers, size, pre_norm):
        mine, theirs = model_pair(size[0], size[1], layers, size[2], pre_norm)
        source, inputs, _ = sample()
        assert_close(mine(source, inputs), theirs(source, inputs))

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_encode_matches_torch(self, pre_norm):
        mine, theirs = model_pair(pre_norm=pre_norm)
        source, _, mask = sample()
        assert_close(mine.encode(source), theirs.encode(source))
        assert_close(mine.encode(source, mask), theirs.encode(source, mask))

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_padding_is_hidden_from_encoder_and_decoder(self, pre_norm):
        mine, theirs = model_pair(pre_norm=pre_norm)
        source, inputs, mask = sample()
        assert_close(mine(source, inputs, mask), theirs(source, inputs, mask))
        assert_close(mine.decode(inputs, theirs.encode(source, mask), mask), theirs(source, inputs, mask))

    def test_forward_is_encode_then_decode(self):
        mine, theirs = model_pair()
        source, inputs, _ = sample()
        assert_close(mine.decode(inputs, mine.encode(source)), theirs(source, inputs))

    def test_is_post_norm_by_default(self):
        model = Transformer(11, 7, 8, 2, 2, 5)
        assert_equal((model.norm, model.encoder.norm), (None, None))
        randomize(model)
        theirs = Oracle(model, 8, 2, 2, 5, False)
        source, inputs, _ = sample()
        assert_close(model(source, inputs), theirs(source, inputs))

    def test_tables_have_the_sizes_given(self):
        model = Transformer(11, 7, 8, 2, 1, 5)
        assert_equal(tuple(model.embedding.weight.shape), (11, 8))
        assert_equal(tuple(model.positions.weight.shape), (7, 8))
        assert_equal(tuple(model.head.weight.shape), (11, 8))

    def test_takes_any_leading_dimensions(self):
        mine, theirs = model_pair(pre_norm=True)
        source, inputs, mask = sample(batch=(2, 3))
        flat = [t.flatten(0, 1) for t in (source, inputs, mask)]
        expected = theirs(*flat).unflatten(0, (2, 3))
        assert_close(mine(source, inputs, mask), expected)
        assert_close(mine(source[1, 0], inputs[1, 0], mask[1, 0]), expected[1, 0])

    @pytest.mark.parametrize("max_length", [5, 7])
    def test_takes_texts_as_long_as_max_length_and_rejects_longer_ones(self, max_length):
        model = Transformer(11, max_length, 8, 2, 1, 5)
        longest, short = torch.ones(2, max_length).long(), torch.ones(2, 3).long()
        assert_equal(tuple(model(longest, longest).shape), (2, max_length, 11))
        too_long = torch.ones(2, max_length + 2).long()
        with raises(ValueError, max_length, max_length + 2):
            model.encode(too_long)
        with raises(ValueError, max_length, max_length + 2):
            model.decode(too_long, model.encode(short))
        with raises(ValueError, max_length, max_length + 1):
            model(short, too_long[:, 1:])

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_a_second_call_owes_nothing_to_the_first(self, pre_norm):
        mine, theirs = model_pair(pre_norm=pre_norm)
        mine(*sample())
        source, inputs, _ = sample()
        assert_close(mine(source, inputs), theirs(source, inputs))
        source, inputs, _ = sample(n=4, m=5, batch=(2,))
        assert_close(mine(source, inputs), theirs(source, inputs))

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_gradients_of_all_parameters_match_torch(self, pre_norm):
        mine, theirs = model_pair(pre_norm=pre_norm)
        source, inputs, mask = sample()
        upstream = randn(3, 4, 11)
        mine(source, inputs, mask).backward(upstream)
        theirs(source, inputs, mask).backward(upstream)
        assert_close(mine.embedding.weight.grad, theirs.embedding.grad)
        assert_close(mine.positions.weight.grad, theirs.positions.grad)
        assert_close([mine.head.weight.grad, mine.head.bias.grad], [p.grad for p in theirs.head])
        for block, layer in zip([*mine.encoder.blocks, *mine.blocks], theirs.layers, strict=True):
            for name, parts in torch_names(block).items():
                assert_close(torch.cat([part.grad for part in parts]), layer.get_parameter(name).grad)
        if pre_norm:
            assert_close(mine.norm.weight.grad, theirs.decoder.norm.weight.grad)
            assert_close(mine.norm.bias.grad, theirs.decoder.norm.bias.grad)

    def test_leaves_its_inputs_unchanged(self):
        mine, _ = model_pair()
        inputs = sample()
        before = [t.clone() for t in inputs]
        mine(*inputs)
        memory = mine.encode(inputs[0], inputs[2]).detach()
        kept = memory.clone()
        mine.decode(inputs[1], memory, inputs[2])
        assert_close([*inputs, memory], [*before, kept])


class TestShiftRight:
    def test_the_example_worked_by_hand(self):
        assert_close(shift_right(torch.tensor([3, 1, 2]), 9), torch.tensor([9, 3, 1]))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize(("m", "start"), [(1, 5), (4, 0), (6, 12)])
    def test_puts_start_first_and_drops_the_last(self, lead, m, start):
        targets = torch.randint(20, (*lead, m))
        first = torch.full((*lead, 1), start)
        assert_close(shift_right(targets, start), torch.cat([first, targets[..., : m - 1]], -1))

    def test_keeps_the_dtype(self):
        targets = torch.tensor([[4, 2], [7, 7]], dtype=torch.int32)
        assert_close(shift_right(targets, 3), torch.tensor([[3, 4], [3, 7]], dtype=torch.int32))


class TestTeacherForcingLoss:
    @pytest.mark.parametrize(("batch", "start"), [((3,), 10), ((2, 3), 4), ((), 0)])
    def test_matches_torch_on_the_shifted_targets(self, batch, start):
        mine, theirs = model_pair(pre_norm=True)
        source, targets, _ = sample(batch=batch)
        flat = source.reshape(-1, 6), targets.reshape(-1, 4)
        inputs = torch.cat([torch.full((len(flat[1]), 1), start), flat[1][:, :-1]], 1)
        chances = theirs(flat[0], inputs).softmax(-1).gather(-1, flat[1][..., None])
        assert_close(teacher_forcing_loss(mine, source, targets, start), -chances.log().mean())

    def test_hands_on_the_mask(self):
        mine, theirs = model_pair()
        source, targets, mask = sample()
        inputs = torch.cat([torch.full((3, 1), 10), targets[:, :-1]], 1)
        expected = F.cross_entropy(theirs(source, inputs, mask).flatten(0, 1), targets.flatten())
        assert_close(teacher_forcing_loss(mine, source, targets, 10, mask), expected)

    def test_is_finite_where_logits_are_large(self):
        model = Transformer(11, 7, 12, 3, 1, 20).double()
        with torch.no_grad():
            model.head.weight.zero_()
            model.head.bias.copy_(torch.arange(11) * 1000)
        source, targets, _ = sample()
        expected = ((10 - targets) * 1000).double().mean()
        assert_close(teacher_forcing_loss(model, source, targets, 10).detach(), expected)

    def test_its_gradient_matches_torch(self):
        mine, theirs = model_pair()
        source, targets, _ = sample()
        inputs = torch.cat([torch.full((3, 1), 10), targets[:, :-1]], 1)
        teacher_forcing_loss(mine, source, targets, 10).backward()
        F.cross_entropy(theirs(source, inputs).flatten(0, 1), targets.flatten()).backward()
        assert_close(mine.embedding.weight.grad, theirs.embedding.grad)
        assert_close(mine.head.weight.grad, theirs.head[0].grad)


class TestGreedyDecode:
    @pytest.mark.parametrize(("batch", "start"), [((30,), 10), ((5, 6), 4), ((), 0)])
    @pytest.mark.parametrize("steps", [1, 4, 7])
    @pytest.mark.parametrize("masked", [False, True])
    def test_each_token_is_the_likeliest_after_those_before_it(self, batch, start, steps, masked):
        mine, theirs = model_pair(pre_norm=True, lively=True)
        source, _, mask = sample(batch=batch)
        hidden = mask if masked else None
        flat = source.reshape(-1, 6), None if hidden is None else hidden.reshape(-1, 1, 1, 6)
        ids = torch.full((len(flat[0]), 1), start)
        for _ in range(steps):
            ids = torch.cat([ids, theirs(flat[0], ids, flat[1])[:, -1:].argmax(-1)], 1)
        written = greedy_decode(mine, source, steps, start, hidden)
        assert_close(written, ids[:, 1:].reshape(*batch, steps))

    def test_gives_int64_for_a_source_of_another_dtype(self):
        mine, theirs = model_pair(pre_norm=True, lively=True)
        source, _, _ = sample()
        ids = torch.full((3, 1), 10)
        for _ in range(3):
            ids = torch.cat([ids, theirs(source, ids)[:, -1:].argmax(-1)], 1)
        assert_close(greedy_decode(mine, source.int(), 3, 10), ids[:, 1:])

    @pytest.mark.parametrize("on", [True, False])
    def test_leaves_gradients_on_or_off_as_they_were(self, on):
        mine, _ = model_pair()
        with torch.set_grad_enabled(on):
            greedy_decode(mine, sample()[0], 2, 10)
            assert_equal(torch.is_grad_enabled(), on)

    def test_leaves_gradients_on_where_the_model_raises(self):
        mine, _ = model_pair()
        with pytest.raises(ValueError):
            greedy_decode(mine, torch.ones(2, 9).long(), 2, 10)
        assert_equal(torch.is_grad_enabled(), True)

    def test_encodes_once_and_builds_no_graph(self):
        mine, _ = model_pair()
        memories, outputs = [], []
        mine.encoder.register_forward_hook(lambda module, inputs, out: memories.append(out))
        mine.head.register_forward_hook(lambda module, inputs, out: outputs.append(out))
        greedy_decode(mine, sample()[0], 5, 10)
        assert_equal(len(memories), 1)
        assert_equal([out.requires_grad for out in (*memories, *outputs)], [False] * (1 + len(outputs)))

    def test_a_trained_model_reverses_digits_that_it_has_not_seen(self, one_thread):
        length, start = 4, 10
        texts = torch.randperm(10**length)[:, None] // 10 ** torch.arange(length) % 10
        held_out, train = texts[:500], texts[500:]
        model = Transformer(11, length, 32, 4, 1, 64, pre_norm=True)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        # Torch's own initial values need about 60 steps, a normal of 0.02 about 150, whatever the seed.
        for _ in range(400):
            batch = train[torch.randint(len(train), (64,))]
            loss = teacher_forcing_loss(model, batch, batch.flip(-1), start)
            if loss.item() < 0.005:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = (greedy_decode(model, held_out, length, start) == held_out.flip(-1)).all(-1).double().mean().item()
        # The baseline copies the text: right where it reads the same backwards.
        copied = (held_out == held_out.flip(-1)).all(-1).double().mean().item()
        if not right >= 0.99 > copied + 0.5:
            fail(f"{right:.1%} of the held-out texts are reversed after training (copying: {copied:.1%}), not 99%")


class TestOnTheGpu:
    def test_decoder_block(self, gpu):
        block = randomize(DecoderBlock(8, 2, 5))
        gpu.check(block, randn(2, 4, 8).requires_grad_(), randn(2, 6, 8).requires_grad_())

    @pytest.mark.parametrize("pre_norm", [True, False])
    def test_transformer(self, gpu, pre_norm):
        mine, _ = model_pair(8, 2, 2, 5, pre_norm)
        gpu.check(mine, *sample())

    def test_its_loss(self, gpu):
        mine, _ = model_pair(8, 2, 1, 5)
        source, targets, mask = sample()
        loss = teacher_forcing_loss(mine, source, targets, 2, mask)
        moved = gpu(mine)
        found = teacher_forcing_loss(moved, gpu(source), gpu(targets), 2, gpu(mask))
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.detach().cpu(), loss.detach())

    def test_shift_right(self, gpu):
        gpu.check(shift_right, torch.tensor([[4, 1, 3], [0, 2, 2]]), 5)

    def test_greedy_decode(self, gpu):
        mine, _ = model_pair(8, 2, 1, 5, lively=True)
        source, _, mask = sample()
        expected = greedy_decode(mine, source, 3, 1, mask)
        found = greedy_decode(gpu(mine), gpu(source), 3, 1, gpu(mask))
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), expected)
