"""Judges k03_qlora by search among NF4's published values, autograd on the dequantized matrix, and counted bytes."""

import copy
import gc
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from fixtures.adam_steps import adam_steps
from fixtures.one_thread import on_one_thread  # noqa: F401
from katas.module_10_fine_tuning.k03_qlora import (
    PagedStates,
    QLoRALinear,
    dequantize_nf4,
    double_dequantize,
    double_quantize,
    inject_qlora,
    quantize_nf4,
    training_bytes,
)

pytestmark = [from_scratch("bitsandbytes", "peft", "torchao"), pure()]

# As published in appendix E of the paper.
NF4 = torch.tensor(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    dtype=torch.float64,
)


def floats(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_known_codes(blocks: int, block: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes, absmax, and weights near to what they stand for: none is near the middle between two values."""
    codes = torch.randint(1, 15, (blocks, block))
    codes[torch.arange(blocks), torch.randint(block, (blocks,))] = 15 * torch.randint(2, (blocks,))
    absmax = torch.rand(blocks) * 3 + 0.25
    shift = (torch.rand(blocks, block) - 0.5) * 0.06
    shift[(codes == 0) | (codes == 15)] = 0
    return codes, absmax, ((NF4[codes].float() + shift) * absmax[:, None])


def unpacked(packed: torch.Tensor) -> torch.Tensor:
    return torch.stack([packed // 16, packed % 16], -1).flatten().long()


def written_out(w: torch.Tensor, block: int, group: int) -> torch.Tensor:
    """Ŵ of the lesson's formulas, in float64, by search."""
    blocks = w.detach().double().reshape(-1, block)
    absmax = blocks.abs().amax(-1)
    codes = (blocks[..., None] / absmax[:, None, None] - NF4).abs().argmin(-1)
    mean = absmax.mean()
    restored = []
    for part in (absmax - mean).split(group):
        s = part.abs().max() / 127
        restored.append(torch.round(part / s) * s + mean)
    return (NF4[codes] * torch.cat(restored)[:, None]).reshape(w.shape)


def a_layer(
    inputs: int = 16,
    outputs: int = 12,
    r: int = 3,
    alpha: float = 7.0,
    block: int = 8,
    group: int = 5,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
) -> tuple[QLoRALinear, nn.Linear]:
    """A layer whose B isn't 0, and the linear that it was made of."""
    linear = nn.Linear(inputs, outputs, bias=bias, dtype=dtype)
    layer = QLoRALinear(linear, r, alpha, block, group)
    with torch.no_grad():
        layer.lora_B.weight.copy_(torch.randn(outputs, r, dtype=dtype))
    return layer, linear


def of_a_large_257th_block() -> nn.Linear:
    """512 blocks of 64; the groups' scales tell whether the large one is the first of the second group."""
    linear = nn.Linear(256, 128)
    with torch.no_grad():
        linear.weight.view(-1, 64)[256] *= 5
    return linear


def answer(layer: QLoRALinear, linear: nn.Linear, x: torch.Tensor, scaling: float, weight: torch.Tensor):
    return F.linear(x, weight, linear.bias) + scaling * x @ layer.lora_A.weight.T @ layer.lora_B.weight.T


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.q = nn.Linear(16, 16)
        self.xq = nn.Linear(16, 16)
        self.up = nn.Linear(16, 24, bias=False)
        self.down = nn.Linear(24, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + torch.tanh(self.q(x) * self.xq(x))
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(16, 11, bias=False)
        self.head.weight = self.embedding.weight  # tied
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class TestQuantizeNF4:
    def test_the_example_worked_by_hand(self):
        packed, absmax = quantize_nf4(floats(0.5, -2, 1, 0), 4)
        assert_close(packed, torch.tensor([160, 199], dtype=torch.uint8))
        assert_close(absmax, floats(2))

    @pytest.mark.parametrize(("blocks", "block"), [(5, 64), (3, 8), (1, 2), (40, 32)])
    def test_finds_the_nearest_value(self, blocks, block):
        codes, absmax, w = of_known_codes(blocks, block)
        packed, found = quantize_nf4(w, block)
        assert_close(found, absmax)
        assert_close(unpacked(packed), codes.flatten())

    def test_changes_codes_in_the_middle_between_two_values(self):
        middles = ((NF4[1:] + NF4[:-1]) / 2).float()
        for sign, expected in ((-1e-4, range(15)), (1e-4, range(1, 16))):
            w = torch.cat([middles + sign, floats(1)]) * 3
            assert_close(unpacked(quantize_nf4(w, 16)[0]), torch.tensor([*expected, 15]))

    @pytest.mark.parametrize("shape", [(64,), (4, 16), (2, 4, 8)])
    def test_goes_row_by_row(self, shape):
        codes, absmax, w = of_known_codes(8, 8)
        packed, found = quantize_nf4(w.reshape(shape), 8)
        assert_close((unpacked(packed), found), (codes.flatten(), absmax))

    def test_rows_that_lie_otherwise_in_memory(self):
        codes, absmax, w = of_known_codes(8, 8)
        packed, found = quantize_nf4(w.reshape(4, 16).T.contiguous().T, 8)
        assert_close((unpacked(packed), found), (codes.flatten(), absmax))

    def test_a_block_may_go_over_rows(self):
        codes, absmax, w = of_known_codes(6, 8)
        packed, found = quantize_nf4(w.reshape(12, 4), 8)
        assert_close((unpacked(packed), found), (codes.flatten(), absmax))

    def test_blocks_of_64_by_default(self):
        codes, absmax, w = of_known_codes(3, 64)
        packed, found = quantize_nf4(w)
        assert_close((unpacked(packed), found), (codes.flatten(), absmax))

    def test_a_block_of_zeros(self):
        packed, absmax = quantize_nf4(floats(0, 0, 0, 0, 0, 0.5, 0, 0), 4)
        assert_close(packed, torch.tensor([119, 119, 127, 119], dtype=torch.uint8))
        assert_close(absmax, floats(0, 0.5))

    @pytest.mark.parametrize("small", [1e-30, 1e30])
    def test_any_size_of_weights(self, small):
        codes, absmax, w = of_known_codes(3, 8)
        packed, found = quantize_nf4(w * small, 8)
        assert_close(unpacked(packed), codes.flatten())
        assert_close(found, absmax * small, rtol=1e-5, atol=0)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_other_floats_are_taken_as_float32(self, dtype):
        codes, _, w = of_known_codes(4, 16)
        packed, absmax = quantize_nf4(w.to(dtype), 16)
        assert_close(absmax, w.to(dtype).float().abs().amax(-1))
        assert_close(unpacked(packed), codes.flatten())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_the_quotient_is_float32s_too(self, dtype):
        w = torch.randn(64, 64).to(dtype)
        assert_equal(
            [bool((a == b).all()) for a, b in zip(quantize_nf4(w), quantize_nf4(w.float()), strict=True)], [True] * 2
        )

    def test_a_parameter_leaves_no_graph(self):
        packed, absmax = quantize_nf4(nn.Parameter(of_known_codes(4, 8)[2]), 8)
        assert_equal((packed.requires_grad, absmax.requires_grad), (False, False))

    @pytest.mark.parametrize(("n", "block"), [(30, 8), (6, 64)])
    def test_refuses_parts_of_a_block(self, n, block):
        with raises(ValueError, n, block):
            quantize_nf4(torch.ones(n), block)


class TestDequantizeNF4:
    def test_the_example_worked_by_hand(self):
        found = dequantize_nf4(torch.tensor([160, 199], dtype=torch.uint8), floats(2))
        assert_close(found, 2 * floats(0.2461123, -1, 0.44070983, 0))

    @pytest.mark.parametrize(("blocks", "block"), [(5, 64), (3, 8), (1, 2), (7, 6)])
    def test_each_code_and_its_blocks_absmax(self, blocks, block):
        codes, absmax = torch.randint(16, (blocks, block)), torch.rand(blocks) + 0.5
        pairs = codes.flatten().reshape(-1, 2)
        packed = (pairs[:, 0] * 16 + pairs[:, 1]).to(torch.uint8)
        assert_close(dequantize_nf4(packed, absmax), (NF4[codes].float() * absmax[:, None]).flatten())

    def test_there_and_back_is_near(self):
        w = torch.randn(40, 64, dtype=torch.float32)
        error = dequantize_nf4(*quantize_nf4(w, 64)).reshape(40, 64) - w
        # Half the widest gap, 0.3038, of the block's largest.
        assert_equal(bool((error.abs() <= 0.152 * w.abs().amax(-1, keepdim=True)).all()), True)


class TestDoubleQuantize:
    def test_the_example_worked_by_hand(self):
        codes, scales, mean = double_quantize(floats(1, 4, 2, 6))
        assert_close(codes, torch.tensor([-104, 35, -58, 127], dtype=torch.int8))
        assert_close(scales, floats(2.75 / 127))
        assert_close(mean, torch.tensor(3.25))

    @pytest.mark.parametrize(("n", "group"), [(12, 4), (13, 5), (3, 8), (1, 4), (600, 256), (9, 1)])
    def test_matches_the_formula_group_by_group(self, n, group):
        absmax = torch.rand(n) * 5
        codes, scales, mean = double_quantize(absmax, group)
        assert_equal((str(codes.dtype), str(scales.dtype), str(mean.dtype)), ("torch.int8", *["torch.float32"] * 2))
        assert_equal((tuple(codes.shape), tuple(scales.shape), tuple(mean.shape)), ((n,), (math.ceil(n / group),), ()))
        assert_close(mean, absmax.mean())
        expected = torch.stack([part.abs().max() / 127 for part in (absmax - absmax.mean()).split(group)])
        assert_close(scales, expected)
        # Half a step is the most that rounding may cost.
        steps = (absmax - mean) / expected.repeat_interleave(group)[:n].clamp(min=1e-9)
        assert_equal(bool(((codes - steps).abs() <= 0.5 + 1e-3).all()), True)

    def test_groups_of_256_by_default(self):
        absmax = torch.rand(700) * 5
        assert_close(double_quantize(absmax), double_quantize(absmax, 256))
        assert_equal(tuple(double_quantize(absmax)[1].shape), (3,))

    @pytest.mark.parametrize("value", [0.0, 2.5])
    def test_a_group_that_is_the_mean(self, value):
        codes, scales, mean = double_quantize(torch.full((5,), value), 3)
        assert_close((codes, scales), (torch.zeros(5, dtype=torch.int8), torch.zeros(2)))
        assert_close(mean, torch.tensor(value))

    def test_one_group_that_is_the_mean_among_others(self):
        codes, scales, _ = double_quantize(floats(3, 3, 1, 5, 3, 3), 2)
        assert_close(codes, torch.tensor([0, 0, -127, 127, 0, 0], dtype=torch.int8))
        assert_close(scales, floats(0, 2 / 127, 0))


class TestDoubleDequantize:
    def test_the_example_worked_by_hand(self):
        codes = torch.tensor([-104, 35, -58, 127], dtype=torch.int8)
        found = double_dequantize(codes, floats(2.75 / 127), torch.tensor(3.25))
        assert_close(found, floats(0.99803, 4.007874, 1.994094, 6), rtol=1e-5)

    @pytest.mark.parametrize(("n", "group"), [(12, 4), (13, 5), (3, 8), (1, 4)])
    def test_each_group_has_its_scale(self, n, group):
        codes = torch.randint(-127, 128, (n,), dtype=torch.int8)
        scales, mean = torch.rand(math.ceil(n / group)) + 0.1, torch.tensor(1.75)
        expected = torch.stack([codes[i] * scales[i // group] + 1.75 for i in range(n)])
        assert_close(double_dequantize(codes, scales, mean, group), expected)

    def test_groups_of_256_by_default(self):
        codes, scales = torch.randint(-127, 128, (700,), dtype=torch.int8), floats(1, 2, 3)
        expected = codes * torch.tensor([1.0] * 256 + [2.0] * 256 + [3.0] * 188) + 0.5
        assert_close(double_dequantize(codes, scales, torch.tensor(0.5)), expected)


class TestQLoRALinear:
    @pytest.mark.parametrize(("block", "group"), [(8, 5), (16, 256), (32, 2), (6, 4)])
    @pytest.mark.parametrize("bias", [True, False])
    def test_the_weight_matches_the_formulas(self, block, group, bias):
        layer, linear = a_layer(block=block, group=group, bias=bias)
        # Of numbers near the middle of two values or codes there are few: a step of a code is 1 % of absmax.
        expected = written_out(linear.weight.float(), block, group)
        assert_close(layer.weight(), expected, rtol=0.02, atol=1e-3)
        assert_close(float((layer.weight() - expected).abs().median()), 0.0, atol=1e-6)

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("lead", [(), (2,), (2, 3), (0,)])
    def test_matches_the_formula(self, lead, bias):
        layer, linear = a_layer(bias=bias)
        x = torch.randn(*lead, 16, dtype=torch.float64)
        assert_close(layer(x).detach(), answer(layer, linear, x, 7 / 3, layer.weight()).detach())

    @pytest.mark.parametrize(("r", "alpha"), [(1, 2.0), (4, 6.0), (40, 10.0)])
    def test_the_scale_is_alpha_over_r(self, r, alpha):
        layer, linear = a_layer(r=r, alpha=alpha)
        x = torch.randn(3, 16, dtype=torch.float64)
        assert_close(layer(x).detach(), answer(layer, linear, x, alpha / r, layer.weight()).detach())

    def test_blocks_of_64_and_groups_of_256_by_default(self):
        linear = of_a_large_257th_block()
        layer, same = QLoRALinear(linear, 2, 4.0), QLoRALinear(linear, 2, 4.0, 64, 256)
        assert_close(layer.weight(), same.weight())
        for group in (255, 257, 512):
            other = QLoRALinear(linear, 2, 4.0, 64, group)
            assert_equal(torch.equal(layer.weight(), other.weight()), False)

    def test_starts_at_the_quantized_base(self):
        linear, x = nn.Linear(16, 12).double(), torch.randn(3, 16, dtype=torch.float64)
        layer = QLoRALinear(linear, 2, 8.0, 8)
        assert_close(layer(x).detach(), F.linear(x, layer.weight(), linear.bias).detach())
        assert_close(layer.lora_B.weight.detach(), torch.zeros(12, 2).double())

    def test_a_is_uniform_up_to_one_over_the_root_of_in(self):
        layer = QLoRALinear(nn.Linear(64, 2).double(), 160, 1.0, generator=seeded(3))
        a = layer.lora_A.weight.detach() * 8  # from -1 to 1; five standard errors each
        assert_close(float(a.square().mean()), 1 / 3, atol=5 * 0.298 / 100)
        assert_close(float(a.mean()), 0.0, atol=5 * 0.577 / 100)
        assert_close(float(a.abs().max()), 1.0, atol=0.02)

    def test_a_is_drawn_from_the_generator(self):
        linear, found = nn.Linear(16, 12), []
        for seed, own in ((3, 1), (3, 2), (4, 1)):
            torch.manual_seed(own)
            found.append(QLoRALinear(linear, 3, 1.0, generator=seeded(seed)).lora_A.weight.detach())
        assert_close(found[1], found[0])
        assert_equal(bool((found[2] - found[0]).abs().max() > 1e-3), True)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_keeps_the_linears_dtype(self, dtype):
        layer, _ = a_layer(dtype=dtype)
        x = torch.randn(2, 16, dtype=dtype, requires_grad=True)
        found = layer(x)
        found.sum().backward()
        parts = (found, layer.weight(), layer.lora_A.weight, layer.lora_B.weight, x.grad)
        assert_equal([str(part.dtype) for part in parts], [str(dtype)] * 5)

    def test_gradients_reach_x_and_the_adapters(self):
        layer, linear = a_layer()
        x = torch.randn(2, 5, 16, dtype=torch.float64, requires_grad=True)
        upstream = torch.randn(2, 5, 12, dtype=torch.float64)
        (layer(x) * upstream).sum().backward()
        found = [x.grad, layer.lora_A.weight.grad, layer.lora_B.weight.grad]
        weight = layer.weight()
        again = [t.detach().clone().requires_grad_() for t in (x, layer.lora_A.weight, layer.lora_B.weight)]
        out = F.linear(again[0], weight, linear.bias.detach()) + 7 / 3 * again[0] @ again[1].T @ again[2].T
        (out * upstream).sum().backward()
        assert_close(found, [t.grad for t in again])

    def test_and_nothing_else(self):
        layer, linear = a_layer()
        layer(torch.randn(5, 16, dtype=torch.float64)).sum().backward()
        trained = [name for name, parameter in layer.named_parameters() if parameter.requires_grad]
        assert_equal(sorted(trained), ["lora_A.weight", "lora_B.weight"])
        assert_equal([layer.weight().requires_grad, linear.weight.grad, linear.bias.grad], [False, None, None])
        frozen = [p.grad for p in layer.parameters() if not p.requires_grad]
        assert_equal(frozen, [None] * len(frozen))

    def test_two_calls_before_the_backward_pass(self):
        layer, linear = a_layer()
        x = torch.randn(5, 16, dtype=torch.float64, requires_grad=True)
        layer(layer(x)[:, :4].repeat(1, 4)).sum().backward()
        found = x.grad.clone()
        y = x.detach().clone().requires_grad_()
        inner = answer(layer, linear, y, 7 / 3, layer.weight())
        answer(layer, linear, inner[:, :4].repeat(1, 4), 7 / 3, layer.weight()).sum().backward()
        assert_close(found, y.grad)

    @pytest.mark.parametrize("block", [64, 32])
    @pytest.mark.parametrize("bias", [True, False])
    def test_holds_four_bits_a_weight_and_a_little(self, bias, block):
        layer = QLoRALinear(nn.Linear(160, 128, bias=bias), 2, 4.0, block, 256)
        blocks = 160 * 128 // block
        expected = 160 * 128 // 2 + blocks + 4 * math.ceil(blocks / 256) + 4 + (4 * 128 if bias else 0)
        held = [*layer.parameters(), *layer.buffers()]
        assert_equal(sum(t.nbytes for t in held if not t.requires_grad), expected)

    def test_keeps_neither_the_linear_nor_its_weight(self):
        linear = nn.Linear(16, 12)
        refs = [weakref.ref(linear), weakref.ref(linear.weight)]
        layer = QLoRALinear(linear, 2, 4.0, 8)
        layer(torch.randn(3, 16)).sum().backward()
        del linear
        gc.collect()
        assert_equal([ref() is None for ref in refs], [True, True])
        assert_equal(tuple(layer.weight().shape), (12, 16))

    def test_the_linear_stays_as_it_is(self):
        linear = nn.Linear(16, 12)
        before = state(linear)
        layer = QLoRALinear(linear, 2, 4.0, 8)
        assert_close(state(linear), before)
        assert_equal((linear.weight.requires_grad, linear.bias.requires_grad), (True, True))
        x = torch.randn(3, 16)
        expected = layer(x).detach()
        with torch.no_grad():
            linear.weight.zero_()
            linear.bias.zero_()
        assert_close(layer(x).detach(), expected)

    @pytest.mark.parametrize("needs", [True, False])
    def test_no_floats_of_the_weights_size_wait_for_the_backward_pass(self, needs):
        layer = QLoRALinear(nn.Linear(104, 56), 2, 4.0)
        x = torch.randn(3, 104, requires_grad=needs)
        largest = 0

        def saved(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal largest
            if tensor.is_floating_point():
                largest = max(largest, tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
            out = layer(x)
        assert_equal(largest < 104 * 56, True)
        gc.collect()
        around = [t for t in gc.get_objects() if type(t) is torch.Tensor and t.numel() >= 104 * 56]
        assert_equal([t.dtype for t in around if t.is_floating_point() and t.numel() == 104 * 56], [])
        out.sum().backward()
        assert_equal(bool(layer.lora_B.weight.grad.abs().max() > 0), True)

    def test_a_layer_that_loads_its_state_answers_alike(self):
        layer, _ = a_layer()
        other, _ = a_layer()
        x = torch.randn(3, 16, dtype=torch.float64)
        other.load_state_dict(state(layer))
        assert_close(other(x).detach(), layer(x).detach())
        assert_close(copy.deepcopy(layer)(x).detach(), layer(x).detach())

    def test_loading_an_adapter_alone(self):
        layer, _ = a_layer()
        with torch.no_grad():
            layer.lora_A.weight.fill_(0.5)
        x = torch.randn(3, 16, dtype=torch.float64)
        expected = x @ layer.lora_A.weight.T @ layer.lora_B.weight.T * 7 / 3
        without = copy.deepcopy(layer)
        with torch.no_grad():
            without.lora_B.weight.zero_()
        assert_close((layer(x) - without(x)).detach(), expected.detach())

    def test_refuses_parts_of_a_block(self):
        with raises(ValueError, 15, 8):
            QLoRALinear(nn.Linear(5, 3), 2, 4.0, 8)


class TestInjectQLoRA:
    def test_puts_layers_in_place_by_name(self):
        model = Model()
        found = inject_qlora(model, ["up", "q"], 2, 4.0, 16)
        assert_equal(found, ["blocks.0.q", "blocks.0.up", "blocks.1.q", "blocks.1.up"])
        assert_equal([name for name, m in model.named_modules() if isinstance(m, QLoRALinear)], found)

    @pytest.mark.parametrize(
        ("targets", "expected"),
        [
            (["1.q"], ["blocks.1.q"]),
            (["blocks.0.down", "down"], ["blocks.0.down", "blocks.1.down"]),
            (["head"], ["head"]),
        ],
    )
    def test_a_name_or_its_end_after_a_dot(self, targets, expected):
        assert_equal(inject_qlora(Model(), targets, 2, 4.0, 16), expected)

    def test_each_has_the_weights_of_its_linear(self):
        model = Model()
        before = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
        for name in inject_qlora(model, ["q", "down"], 2, 4.0, 16, 3):
            layer = model.get_submodule(name)
            assert_close(layer.weight(), QLoRALinear(before[name], 2, 4.0, 16, 3).weight())

    @pytest.mark.parametrize("training", [True, False])
    def test_also_where_a_part_is_in_the_other_mode(self, training):
        model = Model().train(training)
        model.blocks[1].train(not training)
        names = inject_qlora(model, ["q"], 2, 4.0, 16)
        found = [{m.training for m in model.get_submodule(name).modules()} for name in names]
        assert_equal(found, [{training}] * 2)

    def test_hands_on_its_options(self):
        model, other = Model(), Model()
        inject_qlora(model, ["q"], 3, 7.0, 16, 5, seeded(4))
        inject_qlora(other, ["q"], 3, 7.0, 16, 5, seeded(4))
        layer, x = model.blocks[1].q, torch.randn(2, 16)
        assert_equal(tuple(layer.lora_A.weight.shape), (3, 16))
        assert_close(other.blocks[1].q.lora_A.weight.detach(), layer.lora_A.weight.detach())
        without = layer(x).detach()
        with torch.no_grad():
            layer.lora_B.weight.fill_(0.5)
        expected = 7 / 3 * x @ layer.lora_A.weight.T @ layer.lora_B.weight.T
        assert_close((layer(x) - without).detach(), expected.detach(), atol=1e-5)

    def test_blocks_of_64_and_groups_of_256_by_default(self):
        model = nn.Sequential(of_a_large_257th_block())
        same = copy.deepcopy(model)
        inject_qlora(model, ["0"], 2, 4.0)
        inject_qlora(same, ["0"], 2, 4.0, 64, 256)
        assert_close(model[0].weight(), same[0].weight())

    def test_gradients_reach_the_adapters_only(self):
        model = Model()
        ids = torch.randint(11, (2, 5))
        model(ids).sum().backward()
        names = inject_qlora(model, ["q", "up"], 2, 4.0, 16)
        expected = sorted(f"{name}.{part}.weight" for name in names for part in ("lora_A", "lora_B"))
        assert_equal(sorted(n for n, p in model.named_parameters() if p.requires_grad), expected)
        assert_equal([n for n, p in model.named_parameters() if p.grad is not None], [])
        for layer in model.modules():
            if isinstance(layer, QLoRALinear):
                nn.init.normal_(layer.lora_B.weight)
        model(ids).square().sum().backward()
        reached = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
        assert_equal(sorted(reached), expected)

    @pytest.mark.parametrize("training", [True, False])
    def test_new_layers_are_in_the_models_mode(self, training):
        model = Model().train(training)
        inject_qlora(model, ["q"], 2, 4.0, 16)
        assert_equal({module.training for module in model.modules()}, {training})

    @pytest.mark.parametrize("wrong", ["k", "norm", "s.0.q", "blocks"])
    def test_refuses_a_target_that_names_no_linear(self, wrong):
        model = Model()
        before = list(model.named_modules())
        with raises(ValueError, wrong):
            inject_qlora(model, ["up", wrong], 2, 4.0, 16)
        assert_equal(list(model.named_modules()) == before, True)
        assert_equal({p.requires_grad for p in model.parameters()}, {True})

    def test_refuses_parts_of_a_block(self):
        model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
        before = list(model.named_modules())
        with raises(ValueError, 24, 16):
            inject_qlora(model, ["0", "1"], 2, 4.0, 16)
        assert_equal(list(model.named_modules()) == before, True)
        assert_equal({p.requires_grad for p in model.parameters()}, {True})


class TestTrainingBytes:
    def test_of_a_model_that_is_trained_in_part(self):
        model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 2, bias=False))
        model[0].requires_grad_(False)
        # Batch norm has two buffers of 3 float32, and an int64.
        expected = {"frozen": 4 * 18 + 24 + 8, "trained": 4 * 12, "gradients": 4 * 12, "optimizer": 8 * 12}
        assert_equal(training_bytes(model), expected)

    @pytest.mark.parametrize("state", [2, 4, 12])
    def test_the_optimizers_bytes_are_per_number(self, state):
        model = nn.Linear(5, 3).bfloat16()
        expected = {"frozen": 0, "trained": 36, "gradients": 36, "optimizer": 18 * state}
        assert_equal(training_bytes(model, state), expected)

    def test_buffers_that_arent_saved_count_too(self):
        model = nn.Linear(5, 3, bias=False)
        model.register_buffer("cache", torch.zeros(7), persistent=False)
        assert_equal(training_bytes(model)["frozen"], 28)

    @pytest.mark.parametrize("frozen", [True, False])
    def test_a_shared_parameter_counts_once(self, frozen):
        model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        model[1].weight = model[0].weight
        model.requires_grad_(not frozen)
        trained = 0 if frozen else 64
        expected = {"frozen": 64 - trained, "trained": trained, "gradients": trained, "optimizer": 2 * trained}
        assert_equal(training_bytes(model), expected)

    def test_of_a_model_of_four_bits(self):
        model = nn.Sequential(nn.Linear(128, 128, bias=False), nn.Tanh(), nn.Linear(128, 10))
        inject_qlora(model, ["0"], 4, 8.0)
        frozen = 8192 + 256 + 4 + 4 + 4 * 1290
        expected = {"frozen": frozen, "trained": 4096, "gradients": 4096, "optimizer": 8192}
        assert_equal(training_bytes(model), expected)

    def test_a_model_without_tensors(self):
        assert_equal(training_bytes(nn.Tanh()), dict.fromkeys(["frozen", "trained", "gradients", "optimizer"], 0))


class Books:
    """The same books, kept the long way: when each was touched, and where each is."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.clock, self.reserved, self.moved_in, self.moved_out = capacity, 0, 0, 0, 0
        self.size: dict[str, int] = {}
        self.at: dict[str, int] = {}
        self.here: dict[str, bool] = {}

    def resident(self) -> list[str]:
        return sorted((n for n in self.size if self.here[n]), key=lambda n: self.at[n])

    def used(self) -> int:
        return self.reserved + sum(self.size[n] for n in self.resident())

    def touch(self, name: str, size: int) -> None:
        if not self.here.get(name):
            self.room(size)
            if name in self.size:
                self.moved_in += size
        self.clock += 1
        self.size[name], self.at[name], self.here[name] = size, self.clock, True

    def room(self, size: int) -> None:
        while self.used() + size > self.capacity:
            oldest = self.resident()[0]
            self.here[oldest] = False
            self.moved_out += self.size[oldest]

    def reserve(self, size: int) -> None:
        self.room(size)
        self.reserved += size

    def release(self, size: int) -> None:
        self.reserved -= size


def numbers_of(books) -> tuple[list[str], int, int, int, int]:
    return books.resident(), books.used(), books.reserved, books.moved_in, books.moved_out


class TestPagedStates:
    def test_the_example_worked_by_hand(self):
        pages, found = PagedStates(10), []
        for name, size in (("a", 4), ("b", 5), ("a", 4), ("c", 3)):
            pages.touch(name, size)
            found.append(pages.resident())
        pages.reserve(5)
        found.append(pages.resident())
        pages.release(5)
        pages.touch("b", 5)
        found.append(pages.resident())
        assert_equal(found, [["a"], ["a", "b"], ["b", "a"], ["a", "c"], ["c"], ["c", "b"]])
        assert_equal((pages.moved_in, pages.moved_out), (5, 9))

    def test_is_empty_at_first(self):
        assert_equal(numbers_of(PagedStates(7)), ([], 0, 0, 0, 0))

    def test_what_fits_exactly_stays(self):
        pages = PagedStates(10)
        pages.touch("a", 6)
        pages.touch("b", 4)
        assert_equal(numbers_of(pages), (["a", "b"], 10, 0, 0, 0))
        pages.touch("c", 1)
        assert_equal(numbers_of(pages), (["b", "c"], 5, 0, 0, 6))

    def test_several_go_for_a_large_one(self):
        pages = PagedStates(10)
        for name, size in (("a", 3), ("b", 3), ("c", 3), ("d", 6)):
            pages.touch(name, size)
        assert_equal(numbers_of(pages), (["c", "d"], 9, 0, 0, 6))

    def test_what_is_reserved_counts(self):
        pages = PagedStates(10)
        pages.reserve(3)
        pages.reserve(2)
        pages.touch("a", 5)
        assert_equal(numbers_of(pages), (["a"], 10, 5, 0, 0))
        pages.touch("b", 2)
        assert_equal(numbers_of(pages), (["b"], 7, 5, 0, 5))

    def test_nothing_comes_back_untouched(self):
        pages = PagedStates(10)
        pages.touch("a", 8)
        pages.reserve(9)
        pages.release(7)
        assert_equal(numbers_of(pages), ([], 2, 2, 0, 8))
        pages.touch("a", 8)
        assert_equal(numbers_of(pages), (["a"], 10, 2, 8, 8))

    def test_states_of_no_bytes(self):
        pages = PagedStates(0)
        pages.touch("a", 0)
        pages.touch("b", 0)
        assert_equal(numbers_of(pages), (["a", "b"], 0, 0, 0, 0))

    @pytest.mark.parametrize("seed", range(6))
    def test_matches_books_kept_the_long_way(self, seed):
        draw = torch.Generator().manual_seed(seed)

        def number(below: int) -> int:
            return int(torch.randint(below, (), generator=draw))

        sizes = [number(40) for _ in range(8)]
        pages, books = PagedStates(100), Books(100)
        for _ in range(120):
            kind, name = number(4), number(8)
            if kind == 0 and books.reserved < 40:
                size = number(20)
                pages.reserve(size)
                books.reserve(size)
            elif kind == 1:
                size = number(books.reserved + 1)
                pages.release(size)
                books.release(size)
            else:
                pages.touch(f"state {name}", sizes[name])
                books.touch(f"state {name}", sizes[name])
            assert_equal(numbers_of(pages), numbers_of(books))

    def test_two_devices_have_their_own_books(self):
        one, other = PagedStates(10), PagedStates(20)
        one.touch("a", 4)
        one.reserve(2)
        assert_equal(numbers_of(other), ([], 0, 0, 0, 0))
        other.touch("a", 5)
        assert_equal(numbers_of(one), (["a"], 6, 2, 0, 0))

    def test_the_list_is_its_own(self):
        pages = PagedStates(10)
        pages.touch("a", 4)
        pages.resident().append("b")
        assert_equal(pages.resident(), ["a"])

    def test_refuses_another_size(self):
        pages = PagedStates(20)
        pages.touch("momentum", 4)
        with raises(ValueError, "momentum", 4, 6):
            pages.touch("momentum", 6)
        pages.touch("b", 2)
        pages.reserve(19)  # both are out
        with raises(ValueError, "momentum", 4, 6):
            pages.touch("momentum", 6)
        assert_equal(numbers_of(pages), ([], 19, 19, 0, 6))

    def test_refuses_what_can_never_fit(self):
        pages = PagedStates(10)
        pages.touch("a", 4)
        with raises(MemoryError, 11, 10):
            pages.touch("b", 11)
        pages.reserve(3)
        with raises(MemoryError, 8, 10):
            pages.touch("b", 8)
        assert_equal(numbers_of(pages), (["a"], 7, 3, 0, 0))
        pages.touch("b", 7)  # it had no size before
        assert_equal(numbers_of(pages), (["b"], 10, 3, 0, 4))

    def test_refuses_to_reserve_more_than_there_is(self):
        pages = PagedStates(10)
        pages.touch("a", 4)
        pages.reserve(2)
        with raises(MemoryError, 9, 10):
            pages.reserve(9)
        assert_equal(numbers_of(pages), (["a"], 6, 2, 0, 0))
        pages.reserve(8)
        assert_equal(numbers_of(pages), ([], 10, 10, 0, 4))

    def test_refuses_to_release_more_than_is_reserved(self):
        pages = PagedStates(10)
        pages.reserve(3)
        with raises(ValueError, 5, 3):
            pages.release(5)
        pages.release(3)
        assert_equal(numbers_of(pages), ([], 0, 0, 0, 0))


@pytest.mark.learning
@pytest.mark.deadline(30)
class TestLearnsToReadLyingDigits:
    """A network of digits in 4 bits learns to read them when they lie on their side."""

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_it_beats_training_the_last_layer_in_floats(self, digits, seed):
        images, labels = (torch.tensor(part) for part in digits)
        order = torch.randperm(len(images), generator=seeded(seed))
        x, y = images[order].float() / 16, labels[order]
        lying = x.view(-1, 8, 8).flip(1).transpose(1, 2).reshape(-1, 64)
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
        adam_steps(model, x[:1200], y[:1200], 0.01, seeded(seed))

        def accuracy(one: nn.Module, of: torch.Tensor) -> float:
            return float((one(of[1200:]).argmax(-1) == y[1200:]).double().mean())

        last, before = copy.deepcopy(model), accuracy(model, x)
        for parameter in last[:4].parameters():
            parameter.requires_grad_(False)
        adam_steps(last, lying[:1200], y[:1200], 0.01, seeded(seed))

        inject_qlora(model, ["0", "2"], 4, 8.0, generator=seeded(seed))
        assert_equal(accuracy(model, x) > before - 0.05, True)  # 4 bits cost little
        adam_steps(model, lying[:1200], y[:1200], 0.02, seeded(seed))
        # Six seeds: 0.6 to 0.9, against 0.26 to 0.45.
        assert_equal(accuracy(model, lying) > accuracy(last, lying) + 0.15, True)


class TestOnTheGpu:
    def test_there_and_back(self, gpu):
        w = of_known_codes(6, 8)[2]
        packed, absmax = gpu.check(quantize_nf4, w, 8)
        gpu.check(dequantize_nf4, *quantize_nf4(w, 8))
        gpu.check(double_quantize, torch.rand(13) * 5, 5)
        gpu.check(double_dequantize, *double_quantize(torch.rand(13) * 5, 5), 5)
        assert_equal({packed.device.type, absmax.device.type}, {gpu.device.type})

    @pytest.mark.parametrize("bias", [True, False])
    def test_a_layer(self, gpu, bias):
        layer, _ = a_layer(bias=bias)
        # The pretended device can't make a tensor from a list within a backward pass, where Ŵ is made anew.
        gpu.check(layer, torch.randn(2, 3, 16, dtype=torch.float64, requires_grad=not gpu.pretended))
        gpu.check(layer.weight)

    def test_a_layer_made_there(self, gpu):
        linear = nn.Linear(16, 12).double()
        layer = QLoRALinear(gpu(linear), 2, 4.0, 8, 5, gpu.generator(3))
        held = [*layer.parameters(), *layer.buffers()]
        assert_equal({t.device.type for t in held}, {gpu.device.type})
        assert_close(layer.weight().cpu(), QLoRALinear(linear, 2, 4.0, 8, 5).weight())

    def test_a_model(self, gpu):
        model = gpu(Model())
        inject_qlora(model, ["q", "up"], 2, 4.0, 16, generator=gpu.generator(3))
        held = [*model.parameters(), *model.buffers()]
        assert_equal({t.device.type for t in held}, {gpu.device.type})
        other = Model()
        inject_qlora(other, ["q", "up"], 2, 4.0, 16)
        assert_equal(training_bytes(model), training_bytes(other))
