"""Judges k08_encoder against torch's nn.TransformerEncoder with the same weights, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_05_transformers.k08_encoder import Encoder, EncoderBlock, padding_mask

pytestmark = [
    from_scratch(
        "torch.nn.TransformerEncoderLayer", "torch.nn.TransformerEncoder", "torch.nn.MultiheadAttention"
    ),
    pure(),
]

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh")}
SIZES = [(12, 3, 20), (8, 2, 5)]


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def randomize(module):
    """The module in float64 with random parameters, those too that start at 0 or 1."""
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return module


def torch_names(block):
    """Torch's name of each parameter of an encoder layer, and the learner's parameters that it packs."""
    attention, network = block.attention, block.feed_forward
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    return {
        "self_attn.in_proj_weight": [p.weight for p in projections],
        "self_attn.in_proj_bias": [p.bias for p in projections],
        "self_attn.out_proj.weight": [attention.out_proj.weight],
        "self_attn.out_proj.bias": [attention.out_proj.bias],
        "linear1.weight": [network.up_proj.weight],
        "linear1.bias": [network.up_proj.bias],
        "linear2.weight": [network.down_proj.weight],
        "linear2.bias": [network.down_proj.bias],
        "norm1.weight": [block.norm1.weight],
        "norm1.bias": [block.norm1.bias],
        "norm2.weight": [block.norm2.weight],
        "norm2.bias": [block.norm2.bias],
    }


def torch_layer(d_model, heads, d_ff, pre_norm=False, activation="relu"):
    return nn.TransformerEncoderLayer(
        d_model, heads, d_ff, 0.0, ACTIVATIONS[activation], batch_first=True, norm_first=pre_norm
    )


def copy_weights(block, layer):
    with torch.no_grad():
        for name, parts in torch_names(block).items():
            for part, value in zip(parts, layer.get_parameter(name).chunk(len(parts)), strict=True):
                part.copy_(value)


def block_pair(*args, **kwargs):
    """The learner's block and torch's, with the same random weights."""
    layer = randomize(torch_layer(*args, **kwargs))
    block = EncoderBlock(*args, **kwargs).double()
    copy_weights(block, layer)
    return block, layer


def encoder_pair(layers, d_model, *args, **kwargs):
    """The learner's stack and torch's, with the same random weights, others in each layer."""
    norm = nn.LayerNorm(d_model) if kwargs.get("pre_norm") else None
    layer = torch_layer(d_model, *args, **kwargs)
    theirs = randomize(nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False))
    mine = Encoder(layers, d_model, *args, **kwargs).double()
    for block, other in zip(mine.blocks, theirs.layers, strict=True):
        copy_weights(block, other)
    if norm is not None:
        with torch.no_grad():
            mine.norm.weight.copy_(theirs.norm.weight)
            mine.norm.bias.copy_(theirs.norm.bias)
    return mine, theirs


class TestPaddingMask:
    def test_is_true_at_the_text_and_false_at_the_padding(self):
        expected = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
        assert_close(padding_mask(torch.tensor([3, 1, 4]), 4), expected[:, None, None])

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize("n", [5, 7])
    def test_keeps_the_leading_dimensions(self, lead, n):
        lengths = torch.randint(1, n + 1, lead)
        rows = [torch.arange(n) < length for length in lengths.flatten().tolist()]
        assert_close(padding_mask(lengths, n), torch.stack(rows).reshape(*lead, 1, 1, n))

    def test_takes_lengths_of_another_integer_dtype(self):
        expected = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
        assert_close(padding_mask(torch.tensor([2, 3], dtype=torch.int32), 3), expected[:, None, None])

    @pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
    def test_n_may_be_larger_than_the_dtype_of_the_lengths_holds(self, dtype):
        expected = torch.arange(300) < torch.tensor([[100], [7]])
        assert_close(padding_mask(torch.tensor([100, 7], dtype=dtype), 300), expected[:, None, None])

    @pytest.mark.parametrize(("length", "n"), [(0, 5), (6, 5), (-2, 7), (9, 7)])
    def test_rejects_a_length_outside_the_text(self, length, n):
        with raises(ValueError, length, n):
            padding_mask(torch.tensor([2, length]), n)


class TestEncoderBlock:
    @pytest.mark.parametrize(("pre_norm", "expected"), [(False, [[1.0, -1]]), (True, [[5.0, 0]])])
    def test_the_example_worked_by_hand(self, pre_norm, expected):
        block = EncoderBlock(2, 1, 2, pre_norm)
        with torch.no_grad():
            for name, parts in torch_names(block).items():
                for part in parts:
                    part.copy_(torch.eye(2) if part.ndim == 2 else torch.full((2,), float("norm" in name)))
                    if name.endswith("bias"):
                        part.zero_()
        # atol: the norms' eps moves the hand-made numbers by about 1e-5.
        assert_close(block(torch.tensor([[3.0, 1]])).detach(), torch.tensor(expected), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    @pytest.mark.parametrize("pre_norm", [False, True])
    @pytest.mark.parametrize("size", SIZES)
    def test_matches_torch(self, size, pre_norm, activation):
        block, layer = block_pair(*size, pre_norm=pre_norm, activation=activation)
        x = randn(2, 5, size[0])
        assert_close(block(x), layer(x))

    def test_is_post_norm_with_relu_by_default(self):
        block, layer = block_pair(12, 3, 20)
        x = randn(2, 5, 12)
        assert_close(block(x), layer(x))

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_the_eps_of_its_norms_shows_where_tokens_are_tiny(self, pre_norm):
        block, layer = block_pair(12, 3, 20, pre_norm=pre_norm)
        with torch.no_grad():
            for p in (block.attention.out_proj, layer.self_attn.out_proj):
                p.weight.mul_(1e-3)
                p.bias.zero_()
        x = randn(2, 5, 12) * 1e-3
        assert_close(block(x), layer(x))

    @pytest.mark.parametrize("pre_norm", [False, True])
    @pytest.mark.parametrize("shape", [(5, 5), (2, 1, 1, 5), (2, 3, 5, 5)])
    def test_matches_torch_under_a_mask(self, shape, pre_norm):
        block, layer = block_pair(12, 3, 20, pre_norm=pre_norm)
        x = randn(2, 5, 12)
        mask = torch.rand(shape) > 0.5
        mask[..., 1] = True
        theirs = ~mask.expand(2, 3, 5, 5).flatten(0, 1)
        assert_close(block(x, mask), layer(x, src_mask=theirs))

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_takes_any_leading_dimensions(self, pre_norm):
        block, layer = block_pair(8, 2, 5, pre_norm=pre_norm)
        x, mask = randn(2, 3, 4, 8), torch.ones(4, 4).tril().bool()
        expected = layer(x.flatten(0, 1), src_mask=~mask).unflatten(0, (2, 3))
        assert_close(block(x, mask), expected)
        assert_close(block(x[0, 1], mask), expected[0, 1])

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_gradients_match_torch(self, pre_norm):
        block, layer = block_pair(12, 3, 20, pre_norm=pre_norm)
        x, upstream = randn(2, 5, 12), randn(2, 5, 12)
        mask = padding_lengths([3, 5], 5)
        mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        block(mine, mask).backward(upstream)
        layer(theirs, src_key_padding_mask=~mask[:, 0, 0]).backward(upstream)
        assert_close(mine.grad, theirs.grad)
        for name, parts in torch_names(block).items():
            assert_close(torch.cat([part.grad for part in parts]), layer.get_parameter(name).grad)

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_leaves_its_inputs_unchanged(self, pre_norm):
        block, _ = block_pair(8, 2, 5, pre_norm=pre_norm)
        x, mask = randn(2, 4, 8), padding_lengths([3, 4], 4)
        before = x.clone(), mask.clone()
        block(x, mask)
        assert_close((x, mask), before)


def padding_lengths(lengths, n):
    """A padding mask (batch, 1, 1, n) that isn't the learner's."""
    return torch.tensor([[j < length for j in range(n)] for length in lengths])[:, None, None]


class TestEncoder:
    @pytest.mark.parametrize("pre_norm", [False, True])
    @pytest.mark.parametrize(("layers", "size"), [(1, SIZES[0]), (2, SIZES[1]), (3, SIZES[0])])
    def test_matches_torch(self, layers, size, pre_norm):
        mine, theirs = encoder_pair(layers, *size, pre_norm=pre_norm)
        x = randn(2, 5, size[0])
        assert_close(mine(x), theirs(x))

    @pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
    def test_hands_the_activation_to_its_blocks(self, activation):
        mine, theirs = encoder_pair(2, 8, 2, 5, activation=activation)
        x = randn(2, 5, 8)
        assert_close(mine(x), theirs(x))

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_the_mask_holds_in_every_block(self, pre_norm):
        mine, theirs = encoder_pair(3, 12, 3, 20, pre_norm=pre_norm)
        x, mask = randn(2, 5, 12), torch.rand(2, 3, 5, 5) > 0.5
        mask[..., 1] = True
        assert_close(mine(x, mask), theirs(x, mask=~mask.flatten(0, 1)))

    def test_only_pre_norm_ends_in_a_norm(self):
        assert_equal(Encoder(2, 8, 2, 5).norm, None)
        assert_equal(Encoder(2, 8, 2, 5, pre_norm=False).norm, None)
        assert_equal(tuple(Encoder(2, 8, 2, 5, pre_norm=True).norm.weight.shape), (8,))

    @pytest.mark.parametrize("layers", [1, 3])
    def test_every_block_has_weights_of_its_own(self, layers):
        encoder = Encoder(layers, 8, 2, 5)
        assert_equal(len(encoder.blocks), layers)
        one = sum(parameter.numel() for parameter in EncoderBlock(8, 2, 5).parameters())
        assert_equal(sum(parameter.numel() for parameter in encoder.parameters()), layers * one)

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_gradients_match_torch(self, pre_norm):
        mine, theirs = encoder_pair(2, 12, 3, 20, pre_norm=pre_norm)
        x, upstream = randn(2, 5, 12), randn(2, 5, 12)
        mine(x).backward(upstream)
        theirs(x).backward(upstream)
        for block, layer in zip(mine.blocks, theirs.layers, strict=True):
            for name, parts in torch_names(block).items():
                assert_close(torch.cat([part.grad for part in parts]), layer.get_parameter(name).grad)
        if pre_norm:
            assert_close(mine.norm.weight.grad, theirs.norm.weight.grad)
            assert_close(mine.norm.bias.grad, theirs.norm.bias.grad)

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_a_padded_text_comes_out_as_if_it_stood_alone(self, pre_norm):
        encoder = randomize(Encoder(2, 8, 2, 5, pre_norm=pre_norm))
        x, lengths = randn(3, 6, 8), torch.tensor([4, 6, 1])
        out = encoder(x, padding_mask(lengths, 6))
        for text, whole, length in zip(x, out, lengths.tolist(), strict=True):
            assert_close(whole[:length], encoder(text[:length]))

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_what_the_padding_holds_makes_no_difference(self, pre_norm):
        encoder = randomize(Encoder(2, 8, 2, 5, pre_norm=pre_norm))
        x = randn(2, 6, 8)
        mask = padding_lengths([4, 4], 6)
        before = encoder(x, mask)[:, :4]
        other = x.clone()
        other[:, 4:] = randn(2, 2, 8) * 1e3
        assert_close(encoder(other, mask)[:, :4], before)

    def test_a_second_call_without_a_mask_hides_nothing(self):
        mine, theirs = encoder_pair(2, 8, 2, 5)
        x = randn(2, 5, 8)
        mine(x, padding_lengths([3, 4], 5))
        assert_close(mine(x), theirs(x))
        assert_close(mine(x[:, :2]), theirs(x[:, :2]))

    def test_without_positions_the_order_of_the_tokens_makes_no_difference(self):
        encoder = randomize(Encoder(2, 12, 3, 20))
        x, order = randn(2, 6, 12), torch.tensor([4, 0, 5, 2, 1, 3])
        assert_close(encoder(x[:, order]), encoder(x)[:, order])

    @pytest.mark.parametrize("pre_norm", [False, True])
    def test_leaves_its_input_unchanged(self, pre_norm):
        encoder = randomize(Encoder(2, 8, 2, 5, pre_norm=pre_norm))
        x = randn(2, 4, 8)
        before = x.clone()
        encoder(x)
        assert_close(x, before)


class TestOnTheGpu:
    def test_padding_mask(self, gpu):
        gpu.check(padding_mask, torch.tensor([[2, 5], [1, 3]]), 5)

    @pytest.mark.parametrize("pre_norm", [True, False])
    def test_encoder(self, gpu, pre_norm):
        encoder = randomize(Encoder(2, 8, 2, 5, pre_norm))
        gpu.check(encoder, randn(2, 4, 8).requires_grad_(), torch.arange(4) < torch.tensor([3, 4])[:, None, None, None])
