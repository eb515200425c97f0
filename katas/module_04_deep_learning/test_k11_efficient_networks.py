"""Judges k11_efficient_networks against torch's functions, torch's own flop counter, and real weights that know a cat."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k11_efficient_networks import (
    DepthwiseSeparable,
    EfficientNetLite0,
    MBConv,
    SqueezeExcite,
    multiply_adds,
    same_pad,
)

pytestmark = [
    from_scratch("torchvision", "transformers", "torch.utils.flop_counter"),
    pure(),
    pytest.mark.deadline(30),  # a network of 16 blocks is made and run several times
]

CATS = range(281, 286)


def lively(module: nn.Module) -> nn.Module:
    """The module in float64 with random parameters and running statistics: those of 0 and 1 hide mistakes."""
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.5 / math.sqrt(parameter[0].numel()))
            else:
                parameter.normal_(std=0.7).add_(0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.2, 2)
    return module


# --- the same blocks, written with torch's functions on a dict of tensors ---------------------------------


def conv(state: dict, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    weight = state[f"{name}.weight"]
    kernel, (h, w) = weight.shape[2], x.shape[2:]
    for axis, n in ((2, h), (3, w)):
        windows, after = math.ceil(n / stride), True
        while x.shape[axis] < (windows - 1) * stride + kernel:  # zeros one by one, the first one after
            zeros = torch.zeros_like(x.narrow(axis, 0, 1))
            x = torch.cat([x, zeros] if after else [zeros, x], dim=axis)
            after = not after
    return F.conv2d(x, weight, None, stride, 0, 1, x.shape[1] // weight.shape[1])


def norm(state: dict, name: str, x: torch.Tensor, training: bool = False) -> torch.Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    if training and f"{name}.num_batches_tracked" in state:
        state[f"{name}.num_batches_tracked"] += 1
    return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], training, 0.01, 1e-3)


def separable(state: dict, x, stride, activation, training=False):
    x = activation(norm(state, "depthwise_norm", conv(state, "depthwise_conv", x, stride), training))
    return activation(norm(state, "pointwise_norm", conv(state, "pointwise_conv", x), training))


def squeezed(state: dict, at: str, x, activation):
    def linear(name, m):
        weight = state[f"{at}{name}.weight"]
        return m @ weight.reshape(weight.shape[:2]).T + state[f"{at}{name}.bias"]

    weights = linear("expand", activation(linear("reduce", x.flatten(2).sum(2) / x[0, 0].numel())))
    return x / (1 + torch.exp(-weights))[:, :, None, None]


def mbconv(state: dict, at: str, x, stride, activation=F.relu6, training=False):
    out = x
    if f"{at}expand_conv.weight" in state:
        out = activation(norm(state, f"{at}expand_norm", conv(state, f"{at}expand_conv", out), training))
    out = activation(norm(state, f"{at}depthwise_norm", conv(state, f"{at}depthwise_conv", out, stride), training))
    if f"{at}squeeze_excite.reduce.weight" in state:
        out = squeezed(state, f"{at}squeeze_excite.", out, activation)
    out = norm(state, f"{at}project_norm", conv(state, f"{at}project_conv", out), training)
    return x + out if stride == 1 and x.shape == out.shape else out


# Kernel, stride, expansion, channels in and out of each of the 16 blocks.
BLOCKS = [(3, 1, 1, 32, 16), (3, 2, 6, 16, 24), (3, 1, 6, 24, 24), (5, 2, 6, 24, 40), (5, 1, 6, 40, 40), (3, 2, 6, 40, 80),
          (3, 1, 6, 80, 80), (3, 1, 6, 80, 80), (5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112), (5, 2, 6, 112, 192),
          (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (3, 1, 6, 192, 320)]  # fmt: skip


def lite0(state: dict, x: torch.Tensor) -> torch.Tensor:
    x = F.relu6(norm(state, "stem_norm", conv(state, "stem_conv", x, 2)))
    for i, (_, stride, _, _, _) in enumerate(BLOCKS):
        x = mbconv(state, f"blocks.{i}.", x, stride)
    x = F.relu6(norm(state, "head_norm", conv(state, "head_conv", x)))
    return x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]


def copied(module: nn.Module) -> dict:
    """A state dict of its own; the parameters are leaves."""
    state = {name: value.detach().clone() for name, value in module.state_dict().items()}
    for name, _ in module.named_parameters():
        state[name].requires_grad_()
    return state


def assert_like(module: nn.Module, oracle, x: torch.Tensor) -> None:
    """In both modes: answers, gradients of x and of every parameter, and what the norms remember."""
    for training in (False, True):
        module.train(training)
        module.zero_grad()
        state, mine, theirs = copied(module), x.clone().requires_grad_(), x.clone().requires_grad_()
        found, expected = module(mine), oracle(state, theirs, training)
        assert_close(found, expected.detach())
        upstream = torch.randn_like(found)
        found.backward(upstream)
        expected.backward(upstream)
        assert_close(mine.grad, theirs.grad)
        gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
        assert_close(gradients, {name: state[name].grad for name in gradients})
        assert_close(dict(module.named_buffers()), {name: state[name] for name, _ in module.named_buffers()})


def assert_names(
    module: nn.Module, convolutions: dict[str, tuple], norms: dict[str, int], biased: dict[str, tuple]
) -> None:
    expected = {f"{name}.weight": shape for name, shape in {**convolutions, **biased}.items()}
    expected |= {f"{name}.bias": (shape[0],) for name, shape in biased.items()}
    for name, n in norms.items():
        expected |= {f"{name}.{leaf}": (n,) for leaf in ("weight", "bias", "running_mean", "running_var")}
        expected[f"{name}.num_batches_tracked"] = ()
    found = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name in sorted(set(found) | set(expected)):
        if found.get(name) != expected.get(name):
            was, should = found.get(name, "not there"), expected.get(name, "not there")
            fail(f"{name} of the state dict is {was}, expected {should}.", evidence=(name, was, should))


def assert_leaves_its_input(module: nn.Module, x: torch.Tensor) -> None:
    before = x.clone()
    module.eval()
    first = module(x).detach().clone()
    assert_close(x, before)
    # Without gradients torch lets a sum be written into what still belongs to the caller.
    with torch.no_grad():
        assert_close(module(x), first)
    assert_close(x, before)
    module(torch.randn(1, x.shape[1], 3, 4, dtype=torch.float64))
    assert_close(module(x), first)


class TestSamePad:
    def test_the_examples_worked_by_hand(self):
        x = torch.ones(1, 1, 6, 7)
        expected = torch.zeros(1, 1, 7, 9)
        expected[:, :, :6, 1:8] = 1
        assert_close(same_pad(x, 3, 2), expected)

    @pytest.mark.parametrize("kernel", [1, 2, 3, 5])
    @pytest.mark.parametrize("stride", [1, 2, 3])
    @pytest.mark.parametrize("shape", [(2, 3, 7, 4), (1, 1, 9, 6), (3, 2, 1, 5)])
    def test_matches_the_formula(self, kernel, stride, shape):
        x = torch.rand(*shape, dtype=torch.float64) + 1
        sides = []
        for n in shape[2:]:
            total = max((math.ceil(n / stride) - 1) * stride + kernel - n, 0)
            sides.append((math.floor(total / 2), math.ceil(total / 2)))
        (above, below), (left, right) = sides
        expected = torch.zeros(*shape[:2], shape[2] + above + below, shape[3] + left + right, dtype=torch.float64)
        expected[:, :, above : above + shape[2], left : left + shape[3]] = x
        assert_close(same_pad(x, kernel, stride), expected)

    def test_nothing_to_pad(self):
        x = torch.rand(2, 3, 4, 5)
        assert_close(same_pad(x, 1, 2), x)

    def test_gradients(self):
        x = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: same_pad(x, 5, 2), x)


# Channels in and out, kernel, stride, height, width.
SEPARABLE = [(3, 5, 3, 1, 6, 5), (4, 4, 3, 2, 6, 7), (2, 6, 5, 2, 8, 5), (5, 3, 5, 1, 3, 4), (1, 2, 3, 2, 1, 1)]


class TestDepthwiseSeparable:
    @pytest.mark.parametrize("case", SEPARABLE)
    def test_its_names_and_shapes(self, case):
        into, out, kernel, stride, _, _ = case
        convolutions = {"depthwise_conv": (into, 1, kernel, kernel), "pointwise_conv": (out, into, 1, 1)}
        block = DepthwiseSeparable(into, out, kernel, stride)
        assert_names(block, convolutions, {"depthwise_norm": into, "pointwise_norm": out}, {})

    @pytest.mark.parametrize("case", SEPARABLE)
    @pytest.mark.parametrize("activation", [F.relu6, F.silu])
    def test_matches_torchs_functions(self, case, activation):
        into, out, kernel, stride, height, width = case
        block = lively(DepthwiseSeparable(into, out, kernel, stride, activation))
        x = 2 * torch.randn(3, into, height, width, dtype=torch.float64)
        assert_like(block, lambda state, x, training: separable(state, x, stride, activation, training), x)

    def test_3_by_3_without_stride_and_relu6_unless_told_otherwise(self):
        block = lively(DepthwiseSeparable(3, 5))
        assert_names(
            block,
            {"depthwise_conv": (3, 1, 3, 3), "pointwise_conv": (5, 3, 1, 1)},
            {"depthwise_norm": 3, "pointwise_norm": 5},
            {},
        )
        x = 9 * torch.randn(2, 3, 5, 6, dtype=torch.float64)
        assert_close(block.eval()(x), separable(copied(block), x, 1, F.relu6).detach())

    def test_the_weights_counted_by_hand(self):
        block = DepthwiseSeparable(64, 128)
        assert_equal(sum(p.numel() for p in block.parameters() if p.dim() == 4), 8_768)

    def test_changes_neither_its_input_nor_itself(self):
        assert_leaves_its_input(lively(DepthwiseSeparable(4, 4)), torch.randn(2, 4, 5, 6, dtype=torch.float64))


class TestSqueezeExcite:
    @pytest.mark.parametrize(("channels", "inside"), [(6, 2), (3, 5), (4, 1)])
    def test_its_names_and_shapes(self, channels, inside):
        biased = {"reduce": (inside, channels, 1, 1), "expand": (channels, inside, 1, 1)}
        assert_names(SqueezeExcite(channels, inside), {}, {}, biased)

    @pytest.mark.parametrize(("channels", "inside"), [(6, 2), (3, 5), (4, 1)])
    @pytest.mark.parametrize("activation", [F.relu, F.silu, F.relu6])
    def test_matches_the_formula(self, channels, inside, activation):
        module = lively(SqueezeExcite(channels, inside, activation))
        x = 2 * torch.randn(3, channels, 4, 5, dtype=torch.float64)
        assert_like(module, lambda state, x, training: squeezed(state, "", x, activation), x)

    def test_relu_unless_told_otherwise(self):
        module = lively(SqueezeExcite(4, 3))
        x = 20 * torch.randn(2, 4, 3, 3, dtype=torch.float64)
        assert_close(module(x), squeezed(copied(module), "", x, F.relu).detach())

    def test_weights_a_half_of_nothing_known(self):
        module = SqueezeExcite(3, 2)
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
        x = torch.randn(2, 3, 4, 4)
        assert_close(module(x), x / 2)

    def test_changes_neither_its_input_nor_itself(self):
        assert_leaves_its_input(lively(SqueezeExcite(4, 2)), torch.randn(2, 4, 5, 6, dtype=torch.float64))


# Channels in and out, kernel, stride, expansion, squeezed, height, width.
MBCONVS = [(4, 4, 3, 1, 6, 0, 6, 5), (4, 4, 3, 2, 2, 0, 6, 7), (3, 5, 5, 1, 3, 0, 5, 6), (4, 4, 5, 1, 1, 0, 4, 7),
           (2, 6, 3, 2, 1, 3, 8, 5), (3, 3, 3, 1, 4, 2, 5, 5), (5, 2, 5, 2, 2, 1, 1, 1),
           (3, 3, 3, 2, 2, 0, 1, 1)]  # fmt: skip


class TestMBConv:
    @pytest.mark.parametrize("case", MBCONVS)
    def test_its_names_and_shapes(self, case):
        into, out, kernel, stride, expansion, inside, _, _ = case
        wide = into * expansion
        block = MBConv(into, out, kernel, stride, expansion, inside)
        convolutions = {"depthwise_conv": (wide, 1, kernel, kernel), "project_conv": (out, wide, 1, 1)}
        norms, biased = {"depthwise_norm": wide, "project_norm": out}, {}
        if expansion > 1:
            convolutions["expand_conv"], norms["expand_norm"] = (wide, into, 1, 1), wide
        if inside:
            biased = {"squeeze_excite.reduce": (inside, wide, 1, 1), "squeeze_excite.expand": (wide, inside, 1, 1)}
        assert_names(block, convolutions, norms, biased)
        absent = [block.expand_conv is None, block.expand_norm is None, block.squeeze_excite is None]
        assert_equal(absent, [expansion == 1, expansion == 1, inside == 0])

    @pytest.mark.parametrize("case", MBCONVS)
    @pytest.mark.parametrize("activation", [F.relu6, F.silu])
    def test_matches_torchs_functions(self, case, activation):
        into, out, kernel, stride, expansion, inside, height, width = case
        block = lively(MBConv(into, out, kernel, stride, expansion, inside, activation))
        x = 2 * torch.randn(3, into, height, width, dtype=torch.float64)
        assert_like(block, lambda state, x, training: mbconv(state, "", x, stride, activation, training), x)

    def test_3_by_3_6_times_as_wide_and_relu6_unless_told_otherwise(self):
        block = lively(MBConv(2, 3))
        assert_equal(tuple(block.depthwise_conv.weight.shape), (12, 1, 3, 3))
        assert_equal(block.squeeze_excite is None, True)
        x = 9 * torch.randn(2, 2, 5, 6, dtype=torch.float64)
        assert_close(block.eval()(x), mbconv(copied(block), "", x, 1).detach())

    def test_changes_neither_its_input_nor_itself(self):
        assert_leaves_its_input(lively(MBConv(4, 4, squeezed=2)), torch.randn(2, 4, 5, 6, dtype=torch.float64))


def published(name: str) -> str:
    """The published name of an entry of the state dict."""
    around = {
        "stem_conv": "_conv_stem",
        "stem_norm": "_bn0",
        "head_conv": "_conv_head",
        "head_norm": "_bn1",
        "fc": "_fc",
    }
    inside = {"expand_conv": "_expand_conv", "expand_norm": "_bn0", "depthwise_conv": "_depthwise_conv",
              "depthwise_norm": "_bn1", "project_conv": "_project_conv", "project_norm": "_bn2"}  # fmt: skip
    parts = name.split(".")
    if parts[0] == "blocks":
        return f"_blocks.{parts[1]}.{inside[parts[2]]}.{parts[3]}"
    return f"{around[parts[0]]}.{parts[1]}"


def net_shapes() -> tuple[dict, dict]:
    convolutions, norms = (
        {"stem_conv": (32, 3, 3, 3), "head_conv": (1280, 320, 1, 1)},
        {"stem_norm": 32, "head_norm": 1280},
    )
    for i, (kernel, _, expansion, into, out) in enumerate(BLOCKS):
        at, wide = f"blocks.{i}.", into * expansion
        if expansion > 1:
            convolutions[f"{at}expand_conv"], norms[f"{at}expand_norm"] = (wide, into, 1, 1), wide
        convolutions |= {f"{at}depthwise_conv": (wide, 1, kernel, kernel), f"{at}project_conv": (out, wide, 1, 1)}
        norms |= {f"{at}depthwise_norm": wide, f"{at}project_norm": out}
    return convolutions, norms


def some_state() -> dict[str, torch.Tensor]:
    """Random tensors under the published names."""
    convolutions, norms = net_shapes()
    state = {
        f"{name}.weight": torch.randn(shape) / math.sqrt(math.prod(shape[1:])) for name, shape in convolutions.items()
    }
    for name, n in norms.items():
        state |= {
            f"{name}.weight": torch.rand(n) + 0.5,
            f"{name}.bias": torch.randn(n),
            f"{name}.running_mean": torch.randn(n),
        }
        state |= {f"{name}.running_var": torch.rand(n) + 0.5, f"{name}.num_batches_tracked": torch.tensor(n)}
    state |= {"fc.weight": torch.randn(1000, 1280) / 36, "fc.bias": torch.randn(1000)}
    return {published(name): value for name, value in state.items()}


def network(classes: int = 1000) -> nn.Module:
    """The network; one that is many times too large, as with no groups, is told before it fills the memory."""
    with torch.device("meta"):
        size = sum(p.numel() for p in EfficientNetLite0(classes).parameters())
    if size > 20_000_000:
        fail(f"the network has {size:,} parameters, with 1000 classes 4,652,008 were expected.", evidence=size)
    return EfficientNetLite0(classes)


@pytest.fixture
def knowing(efficientnet_lite0) -> dict[str, torch.Tensor]:
    """The published weights by their published names."""
    return torch.load(efficientnet_lite0, weights_only=True)


def prepared(photo) -> torch.Tensor:
    """The central square of a photo (h, w, 3), resized by Pillow: (1, 3, 224, 224), as the lesson says."""
    import numpy as np
    from PIL import Image

    height, width, _ = photo.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = (photo[top : top + side, left : left + side] * 255).round().astype(np.uint8)
    resized = np.asarray(Image.fromarray(square).resize((224, 224), Image.Resampling.BILINEAR))
    return (torch.from_numpy(resized.copy()).permute(2, 0, 1)[None].float() - 127) / 128


class TestEfficientNetLite0:
    @pytest.mark.parametrize("classes", [1000, 7])
    def test_its_names_and_shapes(self, classes):
        with torch.device("meta"):
            net = EfficientNetLite0(classes)
        assert_names(net, *net_shapes(), {"fc": (classes, 1280)})

    def test_has_the_published_size_unless_told_otherwise(self):
        with torch.device("meta"):
            net = EfficientNetLite0()
        assert_equal(sum(p.numel() for p in net.parameters()), 4_652_008)

    @pytest.mark.parametrize(("height", "width"), [(45, 61), (1, 1)])
    def test_logits_match_torchs_functions(self, height, width):
        net = lively(network(5)).eval()
        x = torch.randn(2, 3, height, width, dtype=torch.float64)
        assert_close(net(x), lite0(copied(net), x).detach())

    def test_every_parameter_learns(self):
        net = lively(network(3)).eval()
        state, x, upstream = copied(net), torch.randn(2, 3, 33, 40).double(), torch.randn(2, 3).double()
        net(x).backward(upstream)
        lite0(state, x).backward(upstream)
        gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
        assert_close(gradients, {name: state[name].grad for name in gradients})

    def test_the_blocks_are_yours(self):
        with torch.device("meta"):
            net = EfficientNetLite0()
        assert_equal([type(block) is MBConv for block in net.blocks], [True] * 16)

    def test_reads_published_names(self):
        net, state = network(), some_state()
        net.load_published(dict(reversed(state.items())) | {"_swish.beta": torch.ones(3)})
        for name, value in net.state_dict().items():
            if not torch.equal(value, state[published(name)]):
                fail(f"{name} isn't what {published(name)} was.", evidence=name)

    def test_reading_keeps_parameters_and_shares_no_memory(self):
        net, state = network().double(), some_state()
        before, copies = dict(net.named_parameters()), {name: value.clone() for name, value in state.items()}
        net.load_published(state)
        after = dict(net.named_parameters())
        assert_equal([name for name in before if after[name] is not before[name]], [])
        assert_equal({(str(p.dtype), p.requires_grad) for p in after.values()}, {("torch.float64", True)})
        with torch.no_grad():
            for tensor in net.state_dict().values():
                tensor.zero_()
        assert_close(state, copies)
        net = network()
        net.load_published(state)
        with torch.no_grad():
            for tensor in net.state_dict().values():
                tensor.zero_()
        assert_close(state, copies)

    @pytest.mark.parametrize("missing", ["_blocks.3._bn1.running_var", "_fc.bias", "_conv_stem.weight"])
    def test_refuses_a_state_that_lacks_an_entry(self, missing):
        net, state = network(), some_state()
        del state[missing]
        with raises(ValueError, missing):
            net.load_published(state)

    def test_published_weights_fit_and_answer_as_torchs_functions(self, knowing, cat):
        net = network()
        net.load_published(knowing)
        state = {name: knowing[published(name)].double() for name in net.state_dict()}
        x = prepared(cat).double()
        with torch.no_grad():
            assert_close(net.double().eval()(x), lite0(state, x))

    def test_a_cat_is_a_cat(self, knowing, cat):
        net = network()
        net.load_published(knowing)
        with torch.no_grad():
            chances = net.eval()(prepared(cat)).softmax(-1)[0]
        best = chances.argmax().item()
        if best not in CATS or not chances[list(CATS)].sum() > 0.7:
            fail(f"the photo of a cat is taken for class {best}; cats are {CATS[0]} to {CATS[-1]}.", evidence=best)

    def test_a_temple_is_no_cat(self, knowing, photo):
        net = network()
        net.load_published(knowing)
        with torch.no_grad():
            chances = net.eval()(prepared(photo)).softmax(-1)[0]
        # 698 is a palace.
        if 698 not in chances.topk(5).indices or chances[list(CATS)].sum() > 0.05:
            fail(
                f"the photo of a temple is taken for class {chances.argmax().item()}.", evidence=chances.argmax().item()
            )


class Twice(nn.Module):
    """Calls one layer twice and another never."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.other = nn.Linear(5, 5), nn.Linear(7, 7)

    def forward(self, x):
        return self.layer(self.layer(x))


class Blank(nn.Module):
    """Answers anything with an image on the device "meta"."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return torch.empty(self.shape, device="meta")


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x):
        self.layer(x)
        raise KeyError("broken on purpose")


class Watching(nn.Module):
    """Notes how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[bool, bool, int]] = []
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        self.calls.append((self.training, torch.is_grad_enabled(), len(x)))
        return self.layer(x)


def counted(model: nn.Module, x: torch.Tensor) -> int:
    """Half of what torch's own counter says: it counts a product and its sum as two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() // 2


def assert_counts(model: nn.Module, x: torch.Tensor, expected: int) -> None:
    found = multiply_adds(model, x)
    assert_equal((type(found).__name__, found), ("int", expected))


class TestMultiplyAdds:
    def test_of_single_layers(self):
        # 5 · 6 places of each of 2 images.
        assert_counts(nn.Conv2d(4, 8, 3, padding=1, bias=False), torch.rand(2, 4, 5, 6), 2 * 30 * 9 * 4 * 8)
        assert_counts(nn.Conv2d(4, 8, 3, padding=1, groups=2), torch.rand(2, 4, 5, 6), 2 * 30 * 9 * 2 * 8)
        assert_counts(nn.Conv2d(4, 4, (1, 5), stride=(2, 1), groups=4), torch.rand(1, 4, 5, 6), 3 * 2 * 5 * 4)
        assert_counts(nn.Conv1d(3, 7, 4, dilation=2), torch.rand(2, 3, 11), 2 * 5 * 4 * 3 * 7)
        assert_counts(nn.Linear(5, 3), torch.rand(2, 4, 5), 8 * 5 * 3)
        assert_counts(nn.Linear(5, 1), torch.rand(4, 5), 4 * 5)

    def test_depthwise_and_pointwise_cost_an_eighth(self):
        x = torch.rand(1, 64, 7, 7)
        ordinary, separate = (
            multiply_adds(nn.Conv2d(64, 128, 3, padding=1), x),
            multiply_adds(DepthwiseSeparable(64, 128), x),
        )
        assert_equal((ordinary, separate), (49 * 73_728, 49 * 8_768))

    def test_of_the_network_by_torchs_counter(self):
        with torch.device("meta"):
            net = nn.Sequential(Blank(2, 3, 224, 200), EfficientNetLite0()).eval()
        x = torch.zeros(2)
        assert_counts(net, x, counted(net, x))

    def test_other_layers_do_not_count(self):
        layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 2)
        )
        assert_counts(layers, torch.rand(1, 3, 6, 6), 16 * 27 * 4 + 128)
        assert_counts(nn.ReLU(), torch.rand(2, 3), 0)

    def test_subclasses_count(self):
        class Scaled(nn.Linear):
            def forward(self, x):
                return 2 * super().forward(x)

        assert_counts(
            nn.Sequential(Scaled(5, 3), nn.Sequential(nn.Sequential(Scaled(3, 2)))), torch.rand(4, 5), 60 + 24
        )

    def test_each_call_counts(self):
        assert_counts(Twice(), torch.rand(3, 5), 2 * 75)

    def test_a_second_count_starts_anew(self):
        layer, other = nn.Linear(5, 3), nn.Linear(2, 2)
        assert_counts(layer, torch.rand(4, 5), 60)
        assert_counts(layer, torch.rand(1, 5), 15)
        assert_counts(other, torch.rand(1, 2), 4)

    @pytest.mark.parametrize("on", [True, False])
    def test_runs_once_in_evaluation_mode_without_gradients(self, on):
        model = Watching()
        with torch.set_grad_enabled(on):
            assert_counts(model, torch.rand(3, 4), 24)
            assert_equal(torch.is_grad_enabled(), on)
        assert_equal(model.calls, [(False, False, 3)])

    def test_every_module_keeps_its_mode(self):
        net = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.Dropout(0.5))
        net[1].eval()
        modes = [module.training for module in net.modules()]
        multiply_adds(net, torch.rand(3, 4))
        assert_equal([module.training for module in net.modules()], modes)
        net.eval()
        multiply_adds(net, torch.rand(3, 4))
        assert_equal([module.training for module in net.modules()], [False] * len(modes))

    def test_leaves_statistics_gradients_and_hooks_as_they_were(self):
        net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        calls: list[int] = []
        net[0].register_forward_hook(lambda *given: calls.append(1))
        before = {name: value.clone() for name, value in net.state_dict().items()}
        x = torch.rand(3, 4, requires_grad=True)
        multiply_adds(net, x)
        assert_close(dict(net.state_dict()), before)
        hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()]
        assert_equal((hooks, calls), ([0, 1, 0], [1]))
        assert_equal([p.grad for p in net.parameters()], [None] * 4)

    def test_leaves_no_trace_where_the_model_raises(self):
        model = Broken()
        with raises(KeyError, "on purpose"):
            multiply_adds(model, torch.rand(2, 5))
        traces = model.training, model.layer.training, len(model.layer._forward_hooks), torch.is_grad_enabled()
        assert_equal(traces, (True, True, 0, True))


class TestOnTheGpu:
    def test_same_pad(self, gpu):
        gpu.check(same_pad, torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True), 3, 2)

    @pytest.mark.parametrize("training", [True, False])
    def test_depthwise_separable(self, gpu, training):
        block = lively(DepthwiseSeparable(3, 5, 3, 2)).train(training)
        gpu.check(block, torch.randn(2, 3, 6, 5, dtype=torch.float64, requires_grad=True))

    def test_squeeze_excite(self, gpu):
        gpu.check(lively(SqueezeExcite(4, 2)), torch.randn(2, 4, 3, 5, dtype=torch.float64, requires_grad=True))

    @pytest.mark.parametrize("case", [(4, 4, 3, 1, 2, 2), (3, 5, 5, 2, 1, 0)])
    def test_mbconv(self, gpu, case):
        gpu.check(lively(MBConv(*case)), torch.randn(2, case[0], 6, 5, dtype=torch.float64, requires_grad=True))

    @pytest.mark.deadline(90)  # the pretended device is slow
    def test_network(self, gpu):
        gpu.check(lively(network(3)).eval(), torch.randn(1, 3, 33, 20, dtype=torch.float64))

    def test_load_published(self, gpu):
        net, state = gpu(network()), some_state()
        net.load_published(state)  # from the CPU
        wrong = [
            name for name, value in net.state_dict().items() if not torch.equal(value.cpu(), state[published(name)])
        ]
        assert_equal((wrong, {value.device.type for value in net.state_dict().values()}), ([], {gpu.device.type}))

    def test_multiply_adds(self, gpu):
        assert_counts(gpu(nn.Linear(3, 4)), gpu(torch.rand(2, 3)), 24)
