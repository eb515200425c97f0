"""Judges k07_feed_forward against torch's activations and transformers' LlamaMLP and GPT2MLP, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_05_transformers.k07_feed_forward import FeedForward, GatedFeedForward, gelu, hidden_size

pytestmark = [
    from_scratch(
        "torch.nn.GELU",
        "torch.nn.SiLU",
        "torch.nn.functional.gelu",
        "torch.nn.functional.silu",
        "torch.nn.functional.glu",
    ),
    pure(),
]

LEADS = [(), (3,), (2, 5)]


def randomized(module: nn.Module) -> nn.Module:
    """The module in float64 with weights large enough that the activation's form shows."""
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def same_gradients(module: nn.Module, x: torch.Tensor, expected_of) -> None:
    """Gradients of x and of every parameter under a random upstream gradient equal those of `expected_of`."""
    x = x.clone().requires_grad_()
    inputs = [x, *module.parameters()]
    out, expected = module(x), expected_of(x)
    upstream = torch.randn_like(out)
    assert_close(torch.autograd.grad(out, inputs, upstream), torch.autograd.grad(expected, inputs, upstream))


class TestGelu:
    def test_the_example_worked_by_hand(self):
        one = torch.tensor([1.0])
        assert_close(gelu(one), torch.tensor([0.8413]), atol=1e-4, rtol=0)  # 4 digits
        assert_close(gelu(one, "tanh"), torch.tensor([0.8412]), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("approximate", ["none", "tanh"])
    def test_matches_torch(self, approximate):
        x = torch.linspace(-6, 6, 97, dtype=torch.float64).reshape(1, 97)
        assert_close(gelu(x, approximate), F.gelu(x, approximate=approximate))

    def test_exact_unless_told_otherwise(self):
        x = torch.randn(4, 5, dtype=torch.float64) * 2
        assert_close(gelu(x), F.gelu(x))

    @pytest.mark.parametrize("approximate", ["none", "tanh"])
    def test_far_out_it_is_x_or_nothing(self, approximate):
        x = torch.tensor([-1e4, -30.0, 0.0, 30.0, 1e4])
        assert_close(gelu(x, approximate), torch.tensor([0.0, 0.0, 0.0, 30.0, 1e4]))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
    @pytest.mark.parametrize("approximate", ["none", "tanh"])
    def test_keeps_the_dtype(self, approximate, dtype):
        x = torch.linspace(-3, 3, 25).to(dtype)
        expected = F.gelu(x.double(), approximate=approximate).to(dtype)
        # Some roundings in the type itself, of numbers up to 3.
        bits = 8 * torch.finfo(dtype).eps
        assert_close(gelu(x, approximate), expected, atol=bits, rtol=bits)

    @pytest.mark.parametrize("approximate", ["none", "tanh"])
    def test_gradients(self, approximate):
        x = torch.randn(7, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda y: gelu(y, approximate), x)

    @pytest.mark.parametrize("approximate", ["sigmoid", "exact"])
    def test_another_form_is_named(self, approximate):
        with raises(ValueError, approximate):
            gelu(torch.ones(2), approximate)


ACTIVATIONS = {"relu": torch.relu, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh")}


class TestFeedForward:
    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("activation", list(ACTIVATIONS))
    def test_up_through_the_activation_and_down(self, lead, activation):
        layer = randomized(FeedForward(5, 12, activation))
        x = torch.randn(*lead, 5, dtype=torch.float64)
        up, down = layer.up_proj, layer.down_proj
        hidden = ACTIVATIONS[activation](F.linear(x, up.weight, up.bias))
        assert_close(layer(x), F.linear(hidden, down.weight, down.bias))

    def test_the_shapes_of_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in FeedForward(6, 9).named_parameters()}
        expected = {"up_proj.weight": (9, 6), "up_proj.bias": (9,), "down_proj.weight": (6, 9), "down_proj.bias": (6,)}
        assert_equal(shapes, expected)

    def test_exact_gelu_unless_told_otherwise(self):
        layer = randomized(FeedForward(3, 30))
        x = torch.randn(8, 3, dtype=torch.float64)
        assert_close(layer(x), layer.down_proj(F.gelu(layer.up_proj(x))))

    def test_matches_gpt2s(self):
        from transformers import GPT2Config
        from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

        theirs = randomized(GPT2MLP(20, GPT2Config(n_embd=6, resid_pdrop=0.0)))
        layer = FeedForward(6, 20, "gelu_tanh").double()
        for mine, other in ((layer.up_proj, theirs.c_fc), (layer.down_proj, theirs.c_proj)):
            mine.load_state_dict({"weight": other.weight.mT, "bias": other.bias})  # Conv1D keeps the transpose
        x = torch.randn(2, 4, 6, dtype=torch.float64)
        assert_close(layer(x), theirs(x))

    @pytest.mark.parametrize("activation", list(ACTIVATIONS))
    def test_gradients_reach_x_and_every_parameter(self, activation):
        layer = randomized(FeedForward(4, 7, activation))
        up, down = layer.up_proj, layer.down_proj
        same_gradients(
            layer,
            torch.randn(2, 3, 4, dtype=torch.float64),
            lambda x: F.linear(ACTIVATIONS[activation](F.linear(x, up.weight, up.bias)), down.weight, down.bias),
        )

    @pytest.mark.parametrize("activation", ["silu", "swish"])
    def test_another_activation_is_named(self, activation):
        with raises(ValueError, activation, "relu", "gelu", "gelu_tanh"):
            FeedForward(2, 3, activation)


GATES = {"silu": F.silu, "gelu": F.gelu}


class TestGatedFeedForward:
    def test_the_example_worked_by_hand(self):
        layer = GatedFeedForward(1, 1)
        for parameter in layer.parameters():
            nn.init.ones_(parameter)
        assert_close(layer(torch.tensor([2.0])), torch.tensor([3.5232]), atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("activation", list(GATES))
    def test_the_gate_multiplies_what_goes_up(self, lead, activation):
        layer = randomized(GatedFeedForward(5, 12, activation))
        x = torch.randn(*lead, 5, dtype=torch.float64)
        gate, up = x @ layer.gate_proj.weight.T, x @ layer.up_proj.weight.T
        assert_close(layer(x), (GATES[activation](gate) * up) @ layer.down_proj.weight.T)

    def test_the_shapes_of_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in GatedFeedForward(6, 9).named_parameters()}
        assert_equal(shapes, {"gate_proj.weight": (9, 6), "up_proj.weight": (9, 6), "down_proj.weight": (6, 9)})

    @pytest.mark.parametrize("activation", list(GATES))
    def test_a_far_gate_is_closed_or_wide_open(self, activation):
        layer = GatedFeedForward(2, 2, activation)
        with torch.no_grad():
            for part in (layer.gate_proj, layer.up_proj, layer.down_proj):
                part.weight.copy_(torch.eye(2))
            layer.up_proj.weight.copy_(torch.eye(2) * 1e-4)
        assert_close(layer(torch.tensor([-1e4, 1e4])).detach(), torch.tensor([0.0, 1e4]))

    @pytest.mark.parametrize("activation", list(GATES))
    def test_the_gradient_of_a_far_gate(self, activation):
        layer = GatedFeedForward(2, 2, activation)
        with torch.no_grad():
            for part in (layer.gate_proj, layer.up_proj, layer.down_proj):
                part.weight.copy_(torch.eye(2))
            layer.up_proj.weight.copy_(torch.eye(2) * 1e-4)
        x = torch.tensor([-1e4, 1e4], requires_grad=True)
        layer(x).sum().backward()
        # Wide open it is x · x / 1e4, whose derivative is 2 at 1e4.
        assert_close(x.grad, torch.tensor([0.0, 2.0]))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
    def test_keeps_the_dtype(self, dtype):
        assert_equal(str(GatedFeedForward(4, 6).to(dtype)(torch.ones(3, 4, dtype=dtype)).dtype), str(dtype))

    def test_matches_llamas(self):
        from transformers import LlamaConfig
        from transformers.models.llama.modeling_llama import LlamaMLP

        theirs = randomized(LlamaMLP(LlamaConfig(hidden_size=6, intermediate_size=16, num_attention_heads=2)))
        layer = GatedFeedForward(6, 16).double()
        layer.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 4, 6, dtype=torch.float64)
        assert_close(layer(x), theirs(x))

    @pytest.mark.parametrize("activation", list(GATES))
    def test_gradients_reach_x_and_every_parameter(self, activation):
        layer = randomized(GatedFeedForward(4, 7, activation))
        gate, up, down = layer.gate_proj.weight, layer.up_proj.weight, layer.down_proj.weight
        same_gradients(
            layer,
            torch.randn(2, 3, 4, dtype=torch.float64),
            lambda x: F.linear(GATES[activation](F.linear(x, gate)) * F.linear(x, up), down),
        )

    @pytest.mark.parametrize("activation", ["relu", "gelu_tanh"])
    def test_another_activation_is_named(self, activation):
        with raises(ValueError, activation, "silu", "gelu"):
            GatedFeedForward(2, 3, activation)


class TestHiddenSize:
    @pytest.mark.parametrize(
        ("d_model", "multiple_of", "d_ff"),
        [
            (512, 256, 1536),
            (4096, 256, 11008),  # Llama 7B
            (5120, 256, 13824),  # Llama 13B
            (6656, 256, 17920),  # Llama 30B
            (96, 256, 256),
            (97, 256, 512),
            (96, 1, 256),
            (10, 1, 27),
            (3, 8, 8),
            (9, 4, 24),
            (4, 11, 11),
            (3 * 10**17 + 3, 8, 8 * 10**17 + 8),  # has no exact float
        ],
    )
    def test_eight_thirds_rounded_up(self, d_model, multiple_of, d_ff):
        assert_equal(hidden_size(d_model, multiple_of), d_ff)


class TestOnTheGpu:
    @pytest.mark.parametrize("approximate", ["none", "tanh"])
    def test_gelu(self, gpu, approximate):
        gpu.check(gelu, torch.randn(3, 4, dtype=torch.float64, requires_grad=True), approximate)

    @pytest.mark.parametrize("make", [FeedForward, GatedFeedForward])
    def test_networks(self, gpu, make):
        gpu.check(randomized(make(4, 6)), torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True))
