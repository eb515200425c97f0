"""Judges k10_residual_networks against transformers' ResNet with the same weights, and the published sizes."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k10_residual_networks import (
    BasicBlock,
    Bottleneck,
    ResNet,
    count_parameters,
    resnet,
)

pytestmark = [
    from_scratch("torchvision", "transformers"),
    pure(),
    pytest.mark.deadline(60),  # the first test imports transformers' ResNet, which takes a busy machine a while
]

# Channels in and out (before the expansion), stride, height, width; sizes odd and even, one of a single pixel.
BASIC = [(6, 6, 1, 5, 8), (4, 7, 1, 6, 5), (5, 5, 2, 7, 4), (3, 8, 2, 6, 9), (4, 4, 2, 1, 1)]
DEEP = [(8, 2, 1, 5, 6), (5, 2, 1, 4, 7), (12, 3, 2, 7, 6), (6, 4, 2, 5, 5), (4, 2, 2, 2, 1)]


def lively(module: nn.Module) -> nn.Module:
    """The module in float64 with random parameters and running statistics: those of 0 and 1 hide mistakes."""
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.7)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return module


def theirs_of(name: str) -> str:
    """transformers' name for an entry of the state dict of a block or of the network."""
    if name.startswith("fc."):
        return name.replace("fc.", "classifier.1.")
    found = re.match(r"layer(\d)\.(\d+)\.", name)
    if found:
        stage = f"resnet.encoder.stages.{int(found[1]) - 1}.layers.{found[2]}."
        return stage + theirs_of(name[found.end() :])
    name = re.sub(r"^conv(\d)\.", lambda m: f"layer.{int(m[1]) - 1}.convolution.", name)
    name = re.sub(r"^bn(\d)\.", lambda m: f"layer.{int(m[1]) - 1}.normalization.", name)
    return name.replace("downsample.0.", "shortcut.convolution.").replace("downsample.1.", "shortcut.normalization.")


def their_state(state: dict, whole: bool) -> dict:
    stem = {"conv1.": "resnet.embedder.embedder.convolution.", "bn1.": "resnet.embedder.embedder.normalization."}
    return {
        next((new + name.removeprefix(old) for old, new in stem.items() if whole and name.startswith(old)), None)
        or theirs_of(name): value.clone()
        for name, value in state.items()
    }


def load(theirs: nn.Module, state: dict, whole: bool = False) -> nn.Module:
    """transformers' module with the learner's weights; fails where the names aren't those that the stub lists."""
    translated = their_state(state, whole)
    missing, strange = (
        sorted(set(theirs.state_dict()) - set(translated)),
        sorted(set(translated) - set(theirs.state_dict())),
    )
    if missing or strange:
        back = {new: old for old, new in zip(state, translated, strict=True)}
        names = [back[name] for name in strange]
        fail(
            f"the state dict's names aren't those of the lesson: {len(missing)} are missing, unknown {names[:4]}.",
            evidence=(len(missing), names),
        )
    theirs.load_state_dict(translated)
    return theirs


def their_block(deep: bool, in_channels: int, channels: int, stride: int) -> nn.Module:
    from transformers.models.resnet.modeling_resnet import ResNetBasicLayer, ResNetBottleNeckLayer

    if deep:
        return ResNetBottleNeckLayer(in_channels, 4 * channels, stride, downsample_in_bottleneck=False).double()
    return ResNetBasicLayer(in_channels, channels, stride).double()


def assert_like_theirs(block: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    """In both modes: answers, gradients of x and of every parameter, and what the norms remember."""
    for training in (False, True):
        block.train(training)
        theirs.train(training)
        answers, mine, ours = [], x.clone().requires_grad_(), x.clone().requires_grad_()
        for module, leaf in ((block, mine), (theirs, ours)):
            module.zero_grad()
            answers.append(module(leaf))
        assert_close(answers[0], answers[1].detach())
        upstream = torch.randn_like(answers[0])
        for answer in answers:
            answer.backward(upstream)
        assert_close(mine.grad, ours.grad)
        expected = {name: p.grad for name, p in theirs.named_parameters()}
        assert_close({theirs_of(name): p.grad for name, p in block.named_parameters()}, expected)
        assert_close({theirs_of(name): b for name, b in block.named_buffers()}, dict(theirs.named_buffers()))


def assert_has_no_side_effect(block: nn.Module, x: torch.Tensor) -> None:
    before = x.clone()
    first = block(x).detach().clone()
    assert_close(x, before)
    block(torch.randn(1, *x.shape[1:2], 3, 4, dtype=torch.float64))
    assert_close(block(x), first)


class TestBasicBlock:
    @pytest.mark.parametrize("case", BASIC)
    def test_matches_transformers(self, case):
        in_channels, channels, stride, height, width = case
        block = lively(BasicBlock(in_channels, channels, stride))
        theirs = load(their_block(False, in_channels, channels, stride), block.state_dict())
        assert_like_theirs(block, theirs, torch.randn(3, in_channels, height, width, dtype=torch.float64))

    def test_a_stride_of_1_unless_told_otherwise(self):
        block = BasicBlock(3, 5)
        assert_equal(tuple(block(torch.randn(2, 3, 6, 7)).shape), (2, 5, 6, 7))

    @pytest.mark.parametrize("case", BASIC)
    def test_its_shortcut_is_the_identity_where_it_can_be(self, case):
        in_channels, channels, stride, _, _ = case
        block = BasicBlock(in_channels, channels, stride)
        assert_equal(block.downsample is None, in_channels == channels and stride == 1)

    def test_starts_as_the_identity(self):
        block = BasicBlock(4, 4)
        x, upstream = torch.rand(2, 4, 5, 6, requires_grad=True), torch.randn(2, 4, 5, 6)
        for training in (True, False):
            out = block.train(training)(x)
            assert_close(out, x.detach())
            assert_close(torch.autograd.grad(out, x, upstream)[0], upstream)

    def test_its_other_layers_start_as_torchs_do(self):
        block = BasicBlock(4, 6, 2)
        assert_close(block.bn1.weight, torch.ones(6))
        assert_close(block.downsample[1].weight, torch.ones(6))
        assert_close([block.bn1.bias, block.bn2.bias], [torch.zeros(6)] * 2)

    def test_the_weights_counted_by_hand(self):
        assert_equal(sum(p.numel() for p in BasicBlock(256, 256).parameters()), 1_180_672)

    def test_one_image(self):
        block = lively(BasicBlock(3, 4, 2)).eval()
        x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
        assert_close(block(x[1:2]), block(x)[1:2].detach())

    def test_changes_neither_its_input_nor_itself(self):
        assert_has_no_side_effect(lively(BasicBlock(4, 4)).eval(), torch.randn(2, 4, 5, 6, dtype=torch.float64))


class TestBottleneck:
    @pytest.mark.parametrize("case", DEEP)
    def test_matches_transformers(self, case):
        in_channels, channels, stride, height, width = case
        block = lively(Bottleneck(in_channels, channels, stride))
        theirs = load(their_block(True, in_channels, channels, stride), block.state_dict())
        assert_like_theirs(block, theirs, torch.randn(3, in_channels, height, width, dtype=torch.float64))

    def test_a_stride_of_1_unless_told_otherwise(self):
        block = Bottleneck(3, 5)
        assert_equal(tuple(block(torch.randn(2, 3, 6, 7)).shape), (2, 20, 6, 7))

    @pytest.mark.parametrize("case", DEEP)
    def test_its_shortcut_is_the_identity_where_it_can_be(self, case):
        in_channels, channels, stride, _, _ = case
        block = Bottleneck(in_channels, channels, stride)
        assert_equal(block.downsample is None, in_channels == 4 * channels and stride == 1)

    def test_starts_as_the_identity(self):
        block = Bottleneck(8, 2)
        x, upstream = torch.rand(2, 8, 5, 6, requires_grad=True), torch.randn(2, 8, 5, 6)
        for training in (True, False):
            out = block.train(training)(x)
            assert_close(out, x.detach())
            assert_close(torch.autograd.grad(out, x, upstream)[0], upstream)

    def test_its_other_layers_start_as_torchs_do(self):
        block = Bottleneck(4, 3, 2)
        assert_close(
            [block.bn1.weight, block.bn2.weight, block.downsample[1].weight], [torch.ones(3)] * 2 + [torch.ones(12)]
        )
        assert_close([block.bn1.bias, block.bn2.bias, block.bn3.bias], [torch.zeros(3)] * 2 + [torch.zeros(12)])

    def test_the_weights_counted_by_hand(self):
        assert_equal(sum(p.numel() for p in Bottleneck(256, 64).parameters()), 70_400)

    def test_the_stride_sees_every_pixel(self):
        block = lively(Bottleneck(4, 3, 2)).eval()
        x = torch.randn(1, 4, 6, 6, dtype=torch.float64, requires_grad=True)
        block(x).backward(torch.randn(1, 12, 3, 3, dtype=torch.float64))
        unseen = int((x.grad.abs().sum(1) == 0).sum())
        if unseen:
            fail(f"{unseen} of 36 pixels have no part in the answer of a bottleneck of stride 2.", evidence=unseen)

    def test_one_image(self):
        block = lively(Bottleneck(3, 4, 2)).eval()
        x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
        assert_close(block(x[1:2]), block(x)[1:2].detach())

    def test_changes_neither_its_input_nor_itself(self):
        assert_has_no_side_effect(lively(Bottleneck(8, 2)).eval(), torch.randn(2, 8, 5, 6, dtype=torch.float64))


# Whether blocks are bottlenecks, blocks a stage, classes, channels, w.
NETS = [(False, [1, 2, 1, 1], 5, 3, 4), (True, [2, 1, 3, 1], 7, 1, 2), (False, [2, 1, 1, 2], 3, 2, 3)]


def small(case: tuple) -> nn.Module:
    deep, layers, classes, in_channels, width = case
    return ResNet(Bottleneck if deep else BasicBlock, layers, classes, in_channels, width)


def their_net(case: tuple) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    deep, layers, classes, in_channels, width = case
    config = ResNetConfig(
        num_channels=in_channels,
        embedding_size=width,
        hidden_sizes=[width * 2**i * (4 if deep else 1) for i in range(4)],
        depths=layers,
        layer_type="bottleneck" if deep else "basic",
        downsample_in_first_stage=False,
        downsample_in_bottleneck=False,
        num_labels=classes,
    )
    return ResNetForImageClassification(config).double()


def tamed(net: nn.Module) -> nn.Module:
    """Random throughout, but with answers of a moderate size after many layers."""
    net = lively(net)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.normal_(std=1 / math.sqrt(module.weight[0].numel()))
    return net


class TestResNet:
    @pytest.mark.parametrize("case", NETS)
    def test_has_the_names_and_shapes_of_published_weights(self, case):
        net, theirs = small(case), their_net(case)
        load(theirs, net.state_dict(), whole=True)
        expected = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
        assert_equal({n: tuple(v.shape) for n, v in their_state(net.state_dict(), True).items()}, expected)

    @pytest.mark.parametrize("case", NETS)
    @pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 50), (17, 9)])
    def test_logits_match_transformers(self, case, height, width):
        net = tamed(small(case)).eval()
        theirs = load(their_net(case), net.state_dict(), whole=True).eval()
        x = torch.randn(2, case[3], height, width, dtype=torch.float64)
        assert_close(net(x), theirs(x).logits.detach())

    @pytest.mark.parametrize("case", NETS)
    def test_features_match_transformers(self, case):
        net = tamed(small(case)).eval()
        theirs = load(their_net(case), net.state_dict(), whole=True).eval()
        x = torch.randn(2, case[3], 40, 51, dtype=torch.float64)
        # The first of theirs is the stem's.
        expected = [h.detach() for h in theirs(x, output_hidden_states=True).hidden_states[1:]]
        assert_close(net.features(x), expected)

    @pytest.mark.parametrize("case", NETS)
    def test_learns_as_transformers_does(self, case):
        net = tamed(small(case)).train()
        theirs = load(their_net(case), net.state_dict(), whole=True).train()
        x, upstream = torch.randn(4, case[3], 33, 40, dtype=torch.float64), torch.randn(4, case[2], dtype=torch.float64)
        mine, expected = net(x), theirs(x).logits
        assert_close(mine, expected.detach())
        mine.backward(upstream)
        expected.backward(upstream)
        gradients = their_state({name: p.grad for name, p in net.named_parameters()}, True)
        assert_close(gradients, {name: p.grad for name, p in theirs.named_parameters()})
        assert_close(their_state(dict(net.named_buffers()), True), dict(theirs.named_buffers()))

    @pytest.mark.parametrize(("block", "layers", "parameters"), [
        (BasicBlock, [2, 2, 2, 2], 11_689_512), (Bottleneck, [3, 4, 6, 3], 25_557_032),
    ])  # fmt: skip
    def test_has_the_published_size_unless_told_otherwise(self, block, layers, parameters):
        with torch.device("meta"):
            net = ResNet(block, layers)
        assert_equal(sum(p.numel() for p in net.parameters()), parameters)

    def test_its_convolutions_start_with_the_lessons_variance(self):
        net = ResNet(Bottleneck, [1, 2, 1, 1], width=16)
        weights = {name: p.detach() for name, p in net.named_parameters() if p.dim() == 4}
        wrong = []
        for name, weight in weights.items():
            out, into, k, _ = weight.shape
            # What else is drawn with: fan in, Glorot's, torch's own, and half or all of the lesson's.
            usual = [
                math.sqrt(2 / (k * k * out)), math.sqrt(2 / (k * k * into)), math.sqrt(2 / (k * k * (into + out))),
                1 / math.sqrt(3 * k * k * into), 1 / math.sqrt(k * k * out), 0.02, 0.01,
            ]  # fmt: skip
            found, error = weight.std().item(), 6 / math.sqrt(2 * weight.numel())  # six standard errors
            if not abs(found / usual[0] - 1) <= error:
                near = min(range(1, len(usual)), key=lambda i: abs(math.log(max(found, 1e-9) / usual[i])))
                wrong.append((near, f"{name} has a standard deviation of {found:.4f}, expected {usual[0]:.4f}."))
            # A normal variable's mean distance from 0, which tells it from a uniform one.
            elif not abs(weight.abs().mean().item() / usual[0] - math.sqrt(2 / math.pi)) <= error:
                wrong.append((-1, f"{name} isn't drawn from a normal distribution."))
        if wrong:
            fail(wrong[0][1], evidence=sorted({near for near, _ in wrong}))

    def test_the_last_norm_of_each_block_starts_with_0(self):
        for block, last in ((BasicBlock, "bn2"), (Bottleneck, "bn3")):
            net = ResNet(block, [1, 2, 1, 1], width=2)
            norms = {
                name: p.detach() for name, p in net.named_parameters() if p.dim() == 1 and not name.startswith("fc")
            }
            is_last = re.compile(rf"layer\d\.\d\.{last}\.weight")
            expected = {
                n: torch.zeros_like(p) if n.endswith("bias") or is_last.fullmatch(n) else torch.ones_like(p)
                for n, p in norms.items()
            }
            assert_close(norms, expected)

    def test_fc_starts_as_linear_does(self):
        fc = ResNet(BasicBlock, [1, 1, 1, 1], classes=400, width=8).fc
        bound = 1 / math.sqrt(64)
        largest = max(fc.weight.abs().max().item(), fc.bias.abs().max().item())
        if not 0.9 * bound < largest <= bound or not fc.bias.abs().max() > 0.5 * bound:
            fail(
                f"fc's weights and biases reach up to {largest:.4f}; nn.Linear draws up to {bound:.4f}.",
                evidence=round(largest, 2),
            )

    def test_a_fresh_stage_of_50_blocks_hands_gradients_through(self):
        net = ResNet(BasicBlock, [50, 1, 1, 1], classes=2, width=4)
        x, upstream = torch.rand(2, 4, 6, 6, requires_grad=True), torch.randn(2, 4, 6, 6)
        out = net.layer1(x)
        assert_close(out, x.detach())
        assert_close(torch.autograd.grad(out, x, upstream)[0], upstream)

    def test_one_image_of_one_pixel(self):
        net = tamed(small(NETS[0])).eval()
        theirs = load(their_net(NETS[0]), net.state_dict(), whole=True).eval()
        x = torch.randn(1, 3, 1, 1, dtype=torch.float64)
        assert_close(net(x), theirs(x).logits.detach())

    def test_learns_digits(self, mnist):
        """1000 digits, 5 passes: better than the nearest of ten mean images."""
        order = torch.randperm(5000)
        images = torch.from_numpy(mnist[0].copy()).float().reshape(-1, 1, 28, 28)[order] / 255
        labels = torch.from_numpy(mnist[1].copy())[order]
        x, y, test_x, test_y = images[:1000], labels[:1000], images[1000:1800], labels[1000:1800]
        means = torch.stack([x[y == digit].mean(0) for digit in range(10)])
        baseline = (torch.cdist(test_x.flatten(1), means.flatten(1)).argmin(1) == test_y).double().mean().item()
        net = ResNet(BasicBlock, [1, 1, 1, 1], classes=10, in_channels=1, width=8)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100)
        for _ in range(5):
            for batch in torch.randperm(1000).split(50):
                optimizer.zero_grad()
                F.cross_entropy(net(x[batch]), y[batch]).backward()
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            accuracy = (net.eval()(test_x).argmax(1) == test_y).double().mean().item()
        # It finds 9 of 10, the nearest mean 8; 800 images tell this to 2 %.
        if not accuracy > baseline + 0.03:
            fail(
                f"the network names {accuracy:.1%} of the digits, the nearest mean {baseline:.1%}.",
                evidence="not better",
            )


SIZES = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


class TestResnet:
    @pytest.mark.parametrize("depth", SIZES)
    def test_has_the_published_size(self, depth):
        with torch.device("meta"):
            net = resnet(depth)
        assert_equal(count(net), SIZES[depth])
        # Convolutions on the way from end to end, and fc: what the depth counts.
        kinds = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in name]
        assert_equal(len(kinds) + 1, depth)

    @pytest.mark.parametrize(("depth", "widest"), [(34, 512), (101, 2048)])
    def test_other_classes(self, depth, widest):
        with torch.device("meta"):
            net = resnet(depth, classes=10)
        assert_equal(count(net), SIZES[depth] - 990 * (widest + 1))
        assert_equal(tuple(net(torch.zeros(2, 3, 64, 64, device="meta")).shape), (2, 10))

    @pytest.mark.parametrize("depth", [20, 0, 51])
    def test_other_depths_are_refused(self, depth):
        with raises(ValueError, depth):
            resnet(depth)


class TestCountParameters:
    @pytest.mark.parametrize("depth", [18, 152])
    def test_of_a_published_network(self, depth):
        with torch.device("meta"):
            net = resnet(depth)
        assert_equal(count_parameters(net), SIZES[depth])

    def test_buffers_do_not_count(self):
        assert_equal(count_parameters(nn.BatchNorm2d(7)), 14)

    def test_shared_ones_count_once(self):
        layer = nn.Linear(3, 4)
        other = nn.Linear(3, 4)
        other.weight = layer.weight
        assert_equal(count_parameters(nn.Sequential(layer, layer, other)), 12 + 4 + 4)

    def test_frozen_ones_count_unless_told_otherwise(self):
        net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        net[0].weight.requires_grad_(False)
        assert_equal(count_parameters(net), 12 + 4 + 8 + 2)
        assert_equal(count_parameters(net, trainable=True), 4 + 8 + 2)
        assert_equal([p.requires_grad for p in net.parameters()], [False, True, True, True])

    def test_of_nothing(self):
        found = count_parameters(nn.ReLU())
        assert_equal((type(found).__name__, found), ("int", 0))


class TestOnTheGpu:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("case", [(4, 4, 1), (3, 5, 2)])
    def test_basic_block(self, gpu, case, training):
        block = lively(BasicBlock(*case)).train(training)
        gpu.check(block, torch.randn(2, case[0], 5, 4, dtype=torch.float64, requires_grad=True))

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("case", [(8, 2, 1), (3, 2, 2)])
    def test_bottleneck(self, gpu, case, training):
        block = lively(Bottleneck(*case)).train(training)
        gpu.check(block, torch.randn(2, case[0], 5, 4, dtype=torch.float64, requires_grad=True))

    def test_resnet(self, gpu):
        gpu.check(tamed(small((True, [1, 1, 1, 1], 3, 3, 2))), torch.randn(2, 3, 33, 32, dtype=torch.float64))

    def test_features(self, gpu):
        net = tamed(small((False, [1, 1, 1, 1], 3, 3, 2)))
        gpu.check(net.features, torch.randn(2, 3, 33, 32, dtype=torch.float64))

    def test_made_on_the_gpu(self, gpu):
        with torch.device(gpu.device):
            net = ResNet(BasicBlock, [1, 1, 1, 1], classes=2, width=2)
        places = {tensor.device.type for tensor in net.state_dict().values()}
        assert_equal(places, {gpu.device.type})

    def test_count_parameters(self, gpu):
        assert_equal(count_parameters(gpu(nn.Linear(3, 4))), 16)
