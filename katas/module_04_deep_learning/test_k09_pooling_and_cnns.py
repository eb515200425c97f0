"""Judges k09_pooling_and_cnns against torch's pooling, measured receptive fields, published sizes, and what a CNN learns."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k09_pooling_and_cnns import (
    TextCNN,
    adaptive_avg_pool2d,
    architecture,
    avg_pool2d,
    build,
    feature_maps,
    max_pool2d,
    receptive_field,
)

pytestmark = [
    from_scratch(
        "torchvision",
        "torch.nn.functional.max_pool1d",
        "torch.nn.functional.max_pool2d",
        "torch.nn.functional.avg_pool1d",
        "torch.nn.functional.avg_pool2d",
        "torch.nn.functional.adaptive_avg_pool1d",
        "torch.nn.functional.adaptive_avg_pool2d",
        "torch.nn.functional.adaptive_max_pool2d",
        "torch.nn.functional.lp_pool2d",
        "torch.nn.functional.interpolate",
        "torch.max_pool1d",
        "torch.max_pool2d",
        "torch.nn.MaxPool1d",
        "torch.nn.MaxPool2d",
        "torch.nn.AvgPool1d",
        "torch.nn.AvgPool2d",
        "torch.nn.AdaptiveAvgPool1d",
        "torch.nn.AdaptiveAvgPool2d",
        "torch.nn.AdaptiveMaxPool2d",
    ),
    pure(),
]

HAND = torch.tensor([[[[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 8, 7, 6], [5, 4, 3, 2]]]])

# Shapes, then kernel, stride and padding.
POOLS = [
    ((2, 3, 4, 6), (2, None, 0)),
    ((1, 2, 5, 7), (2, None, 0)),
    ((2, 1, 6, 5), (3, 1, 0)),
    ((1, 2, 7, 8), (3, 2, 0)),
    ((1, 2, 5, 6), (3, 2, 1)),
    ((1, 1, 4, 5), (2, 1, 1)),
    ((1, 2, 3, 3), (5, 3, 2)),
    ((2, 2, 7, 5), (2, 3, 0)),
    ((1, 2, 3, 4), (1, None, 0)),
    ((1, 2, 3, 4), (3, None, 0)),
]


def some(*shape: int, requires_grad: bool = False) -> torch.Tensor:
    """Random float64 numbers that are mostly below 0, where a padding of zeros would win."""
    return (torch.randn(shape, dtype=torch.float64) - 2).requires_grad_(requires_grad)


def with_gradient(function, x):
    """The answer for x, and the gradient of x under a random upstream gradient."""
    out = function(x)
    upstream = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(7))
    return out.detach(), torch.autograd.grad(out, x, upstream)[0]


class TestMaxPool2d:
    def test_the_example_worked_by_hand(self):
        assert_close(max_pool2d(HAND, 2), torch.tensor([[[[6.0, 8], [9, 7]]]]))

    @pytest.mark.parametrize(("shape", "how"), POOLS)
    def test_matches_torch(self, shape, how):
        x = some(*shape)
        assert_close(max_pool2d(x, *how), F.max_pool2d(x, *how))

    @pytest.mark.parametrize(("shape", "how"), POOLS[::2])
    def test_gradients_match_torch(self, shape, how):
        x = some(*shape, requires_grad=True)
        expected = with_gradient(lambda x: F.max_pool2d(x, *how), x)
        assert_close(with_gradient(lambda x: max_pool2d(x, *how), x), expected)

    def test_of_an_image_that_is_not_contiguous(self):
        x = some(2, 6, 10, 3).permute(0, 3, 2, 1)[:, :, ::2]
        assert_close(max_pool2d(x, 2, 1), F.max_pool2d(x, 2, 1))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_keeps_the_dtype(self, dtype):
        x = some(1, 2, 4, 5).to(dtype)
        assert_close(max_pool2d(x, 3, 2, 1), F.max_pool2d(x.double(), 3, 2, 1).to(dtype))

    @pytest.mark.parametrize(("kernel", "padding"), [(2, 2), (3, 2), (4, 7)])
    def test_refuses_more_padding_than_half_of_the_kernel(self, kernel, padding):
        with raises(ValueError, kernel, padding):
            max_pool2d(torch.ones(1, 1, 9, 9), kernel, 1, padding)

    def test_half_of_the_kernel_is_allowed(self):
        x = some(1, 1, 4, 4)
        assert_close(max_pool2d(x, 4, 1, 2), F.max_pool2d(x, 4, 1, 2))


class TestAvgPool2d:
    def test_the_example_worked_by_hand(self):
        assert_close(avg_pool2d(HAND, 2), torch.tensor([[[[3.5, 5.5], [6.5, 4.5]]]]))

    @pytest.mark.parametrize("count_padding", [True, False])
    @pytest.mark.parametrize(("shape", "how"), POOLS)
    def test_matches_torch(self, shape, how, count_padding):
        x = some(*shape)
        expected = F.avg_pool2d(x, *how, count_include_pad=count_padding)
        assert_close(avg_pool2d(x, *how, count_padding=count_padding), expected)

    def test_zeros_of_the_image_are_pixels(self):
        x = torch.tensor([[[[0.0, 6, 0], [0, 0, 3], [9, 0, 0]], [[0.0] * 3] * 3]])
        assert_close(avg_pool2d(x, 2, 1, 1, False), F.avg_pool2d(x, 2, 1, 1, count_include_pad=False))

    def test_counts_padding_unless_told_otherwise(self):
        x = some(1, 2, 5, 6)
        assert_close(avg_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1))

    @pytest.mark.parametrize("count_padding", [True, False])
    def test_gradients_match_torch(self, count_padding):
        x = some(1, 2, 5, 6, requires_grad=True)
        expected = with_gradient(lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=count_padding), x)
        assert_close(with_gradient(lambda x: avg_pool2d(x, 3, 2, 1, count_padding), x), expected)

    def test_of_an_image_that_is_not_contiguous(self):
        x = some(2, 6, 10, 3).permute(0, 3, 2, 1)[:, :, ::2]
        assert_close(avg_pool2d(x, 2, 1), F.avg_pool2d(x, 2, 1))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        x = some(1, 2, 4, 5).to(dtype)
        assert_equal([str(avg_pool2d(x, 3, 2, 1, count).dtype) for count in (True, False)], [str(dtype)] * 2)

    @pytest.mark.parametrize(("kernel", "padding"), [(2, 2), (3, 2)])
    def test_refuses_more_padding_than_half_of_the_kernel(self, kernel, padding):
        with raises(ValueError, kernel, padding):
            avg_pool2d(torch.ones(1, 1, 9, 9), kernel, 1, padding)
        x = some(1, 1, 4, 4)
        assert_close(avg_pool2d(x, 4, 1, 2), F.avg_pool2d(x, 4, 1, 2))


class TestAdaptiveAvgPool2d:
    def test_the_example_worked_by_hand(self):
        x = torch.tensor([[[[1.0, 2, 3, 4, 5]]]])
        assert_close(adaptive_avg_pool2d(x, (1, 3)), torch.tensor([[[[1.5, 3, 4.5]]]]))

    @pytest.mark.parametrize("shape", [(2, 3, 6, 8), (1, 2, 7, 5), (1, 1, 1, 3)])
    @pytest.mark.parametrize("size", [(1, 1), (3, 4), (5, 2), (7, 9), (2, 3)])
    def test_matches_torch(self, shape, size):
        x = some(*shape)
        assert_close(adaptive_avg_pool2d(x, size), F.adaptive_avg_pool2d(x, size))

    def test_gradients_match_torch(self):
        x = some(2, 2, 7, 5, requires_grad=True)
        expected = with_gradient(lambda x: F.adaptive_avg_pool2d(x, (3, 4)), x)
        assert_close(with_gradient(lambda x: adaptive_avg_pool2d(x, (3, 4)), x), expected)

    def test_of_an_image_that_is_not_contiguous(self):
        x = some(2, 6, 10, 3).permute(0, 3, 2, 1)[:, :, ::2]
        assert_close(adaptive_avg_pool2d(x, (3, 2)), F.adaptive_avg_pool2d(x, (3, 2)))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        assert_equal(str(adaptive_avg_pool2d(some(1, 2, 4, 5).to(dtype), (2, 3)).dtype), str(dtype))


def measured(layers) -> tuple[int, int]:
    """The receptive field and the step of these layers, by which inputs have a gradient."""

    def last_input(x, i):
        y = x
        for kernel, stride, dilation in layers:
            y = F.conv1d(y, torch.ones(1, 1, kernel, dtype=torch.float64), stride=stride, dilation=dilation)
        places = torch.autograd.grad(y[0, 0, i], x)[0][0, 0].nonzero().flatten()
        return int(places[0]), int(places[-1])

    x = torch.ones(1, 1, 300, dtype=torch.float64, requires_grad=True)
    (first, last), (second, _) = last_input(x, 0), last_input(x, 1)
    return last - first + 1, second - first


class TestReceptiveField:
    def test_the_drawing_of_the_lesson(self):
        assert_equal(tuple(receptive_field([(3, 1, 1), (2, 2, 1), (3, 1, 1)])), (8, 2))

    @pytest.mark.parametrize(
        "layers",
        [
            [(5, 1, 1)],
            [(4, 3, 1)],
            [(3, 1, 2)],
            [(3, 2, 1), (3, 2, 1), (3, 2, 1)],
            [(5, 2, 2), (1, 1, 1), (2, 2, 1), (3, 1, 3)],
            [(2, 2, 1), (3, 3, 1), (4, 1, 2)],
        ],
    )
    def test_is_what_gradients_measure(self, layers):
        # Strides no larger than kernels: every input of a field is seen but where a kernel is dilated.
        assert_equal(tuple(receptive_field(layers)), measured(layers))

    def test_without_layers(self):
        assert_equal(tuple(receptive_field([])), (1, 1))

    def test_of_alexnet_and_vgg16_as_published(self):
        alexnet = [(11, 4, 1), (3, 2, 1), (5, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 1)]
        vgg16 = [layer for n in (2, 2, 3, 3, 3) for layer in [(3, 1, 1)] * n + [(2, 2, 1)]]
        assert_equal(tuple(receptive_field(alexnet)), (195, 32))
        assert_equal(tuple(receptive_field(vgg16)), (212, 32))

    def test_gives_whole_numbers(self):
        assert_equal([type(n).__name__ for n in receptive_field([(3, 2, 1)])], ["int", "int"])


def twins(config, shape, theirs):
    """The learner's network and one of torch's layers, in float64, with the same parameters."""
    mine, theirs = build(config, shape).double(), theirs.double()
    sizes = [tuple(p.shape) for p in theirs.parameters()]
    assert_equal([tuple(p.shape) for p in mine.parameters()], sizes)
    with torch.no_grad():
        for parameter, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            parameter.copy_(other.normal_(std=0.3))
    return mine, theirs


def parameters_on_meta(name: str, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    with torch.device("meta"):
        model = build(architecture(name), shape)
    assert_equal({p.device.type for p in model.parameters()}, {"meta"})
    return model, sum(p.numel() for p in model.parameters())


class TestBuild:
    CASES = (
        ("c5", (2, 6, 7), lambda: [nn.Conv2d(2, 5, 3, padding=1)]),
        ("c5k2", (2, 6, 7), lambda: [nn.Conv2d(2, 5, 2, padding=1)]),
        ("c5s2", (2, 6, 7), lambda: [nn.Conv2d(2, 5, 3, 2, 1)]),
        ("c5p0", (2, 6, 7), lambda: [nn.Conv2d(2, 5, 3)]),
        ("c12k4s3p2", (2, 6, 7), lambda: [nn.Conv2d(2, 12, 4, 3, 2)]),
        ("c4 c3k1", (2, 5, 6), lambda: [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)]),
        ("c4 m2", (2, 5, 6), lambda: [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]),
        ("m3s2", (2, 7, 8), lambda: [nn.MaxPool2d(3, 2)]),
        ("m3", (2, 7, 8), lambda: [nn.MaxPool2d(3)]),
        ("v2", (2, 7, 8), lambda: [nn.AvgPool2d(2)]),
        ("v3s1", (2, 7, 8), lambda: [nn.AvgPool2d(3, 1)]),
        ("a3", (2, 7, 8), lambda: [nn.AdaptiveAvgPool2d(3)]),
        ("f l5", (2, 3, 4), lambda: [nn.Flatten(), nn.Linear(24, 5)]),
        ("f l7 l5", (2, 3, 4), lambda: [nn.Flatten(), nn.Linear(24, 7), nn.ReLU(), nn.Linear(7, 5)]),
        ("f l7 d l5", (2, 3, 4), lambda: [nn.Flatten(), nn.Linear(24, 7), nn.ReLU(), nn.Dropout(), nn.Linear(7, 5)]),
        ("f l7 d", (2, 3, 4), lambda: [nn.Flatten(), nn.Linear(24, 7), nn.ReLU(), nn.Dropout()]),
        ("v2 f l5", (3, 7, 9), lambda: [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 5)]),
        ("m3s2 f l5", (3, 7, 9), lambda: [nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(36, 5)]),
        ("a2 f l5", (3, 7, 9), lambda: [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5)]),
        ("c4p0 f l5", (2, 4, 5), lambda: [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5)]),
        ("c4k5 f l5", (2, 4, 3), lambda: [nn.Conv2d(2, 4, 5, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)]),
        ("c4k5s2p1 f l5", (2, 8, 9), lambda: [nn.Conv2d(2, 4, 5, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)]),
        (
            "  c4   f\tl5 ",
            (2, 4, 3),
            lambda: [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)],
        ),
    )

    @pytest.mark.parametrize(("config", "shape", "layers"), CASES, ids=[case[0] for case in CASES])
    def test_words_are_torchs_layers(self, config, shape, layers):
        mine, theirs = twins(config, shape, nn.Sequential(*layers()))
        x = some(3, *shape)
        assert_close(mine.eval()(x), theirs.eval()(x))

    def test_is_a_sequence_of_modules(self):
        assert_equal(isinstance(build("c4 m2 f l3", (1, 4, 4)), nn.Sequential), True)

    def test_dropout_works_in_training_alone(self):
        model, x = build("f d", (1, 40, 50)), torch.ones(1, 1, 40, 50)
        assert_close(model.eval()(x), torch.ones(1, 2000))
        kept = (model.train()(x) != 0).double().mean().item()
        assert_close(kept, 0.5, atol=0.07, rtol=0)  # six standard errors of 2000 coins
        assert_close(model(x).unique(), torch.tensor([0.0, 2.0]))

    def test_starts_as_torchs_layers_do(self):
        weights = [p.detach() for p in build("c64k5 f l300", (8, 6, 6)).parameters()]
        for weight, bias in zip(weights[::2], weights[1::2], strict=True):
            # torch draws both uniformly up to 1/√inputs.
            limit = weight[0].numel() ** -0.5
            assert_close(weight.abs().max().item(), limit, rtol=0.02, atol=0)  # the largest of 12,800 numbers
            assert_close(bias.abs().max().item(), limit, rtol=0.25, atol=0)  # of 64 numbers
            assert_close(weight.std().item(), limit / 3**0.5, rtol=0.05, atol=0)  # six standard errors and more

    def test_gradients_match_torch(self):
        layers = [
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.AvgPool2d(2, 1),
            nn.AdaptiveAvgPool2d(2),
        ]
        layers += [nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3)]
        mine, theirs = twins("c4 m2 v2s1 a2 f l6 l3", (2, 7, 8), nn.Sequential(*layers))
        x, upstream = some(3, 2, 7, 8), torch.randn(3, 3, dtype=torch.float64)
        expected = torch.autograd.grad(theirs(x), list(theirs.parameters()), upstream)
        assert_close(torch.autograd.grad(mine(x), list(mine.parameters()), upstream), expected)

    @pytest.mark.parametrize("word", ["x3", "c", "m", "l", "c4q2", "c4p1k3", "7", "C4", "m2p1", "fc", "d5", "cm2"])
    def test_refuses_a_word_that_it_does_not_know(self, word):
        with raises(ValueError, word):
            build(f"c4 {word} m2", (1, 8, 8))


class TestArchitecture:
    @pytest.mark.deadline(30)  # who finds shapes by running what there is, with pooling in loops, takes 7 s for a VGG
    @pytest.mark.parametrize(
        ("name", "shape", "parameters"),
        [
            ("lenet", (1, 28, 28), 61_706),
            ("alexnet", (3, 224, 224), 61_100_840),
            ("vgg11", (3, 224, 224), 132_863_336),
            ("vgg16", (3, 224, 224), 138_357_544),
            ("vgg19", (3, 224, 224), 143_667_240),
        ],
    )
    def test_has_the_published_number_of_parameters(self, name, shape, parameters):
        model, count = parameters_on_meta(name, shape)
        assert_equal(count, parameters)
        # Of the larger ones the words are compared below: a right loop over their windows would take too long.
        if name == "lenet":
            assert_equal(tuple(model(torch.zeros(2, *shape, device="meta")).shape), (2, 10))

    def test_lenet_layer_by_layer(self):
        layers = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        layers += [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
        mine, theirs = twins(architecture("lenet"), (1, 28, 28), nn.Sequential(*layers))
        x = some(2, 1, 28, 28)
        assert_close(mine(x), theirs(x))

    @pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg16", "vgg19"])
    def test_what_no_parameter_tells(self, name):
        """Strides, paddings, pooling and dropout have none: the words say them."""
        if name == "alexnet":
            expected = (
                "c64k11s4p2 m3s2 c192k5s1p2 m3s2 c384k3s1p1 c256k3s1p1 c256k3s1p1 m3s2 a6 f d l4096 d l4096 l1000"
            )
        else:
            groups = {"vgg11": (1, 1, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}[name]
            widths = (64, 128, 256, 512, 512)
            expected = " ".join(f"c{c}k3s1p1 " * n + "m2s2" for n, c in zip(groups, widths, strict=True))
            expected += " a7 f l4096 d l4096 d l1000"
        assert_equal(
            [spelled_out(word) for word in architecture(name).split()], [spelled_out(w) for w in expected.split()]
        )

    @pytest.mark.parametrize("name", ["resnet", "vgg13", ""])
    def test_refuses_another_name(self, name):
        with raises(ValueError, name):
            architecture(name)


def spelled_out(word: str) -> str:
    """A word with its defaults written out, so that all ways to write a layer are alike."""
    import re

    if match := re.fullmatch(r"c(\d+)(?:k(\d+))?(?:s(\d+))?(?:p(\d+))?", word):
        outputs, k, s, p = match.groups()
        k = int(k or 3)
        return f"c{outputs}k{k}s{int(s or 1)}p{k // 2 if p is None else int(p)}"
    if match := re.fullmatch(r"([mv])(\d+)(?:s(\d+))?", word):
        return f"{match[1]}{match[2]}s{match[3] or match[2]}"
    return word


class TestTextCNN:
    def make(self, widths=(2, 3, 4), classes=3):
        torch.manual_seed(4)
        return TextCNN(20, 5, widths, 6, classes).double().eval()

    def expected(self, model, rows):
        """The logits of texts without padding, row by row."""
        logits = []
        for row in rows:
            words = model.embedding.weight[row]
            strongest = []
            for conv in model.convolutions:
                width = conv.weight.shape[-1]
                scores = [
                    torch.einsum("wd,cdw->c", words[t : t + width], conv.weight) + conv.bias
                    for t in range(len(row) - width + 1)
                ]
                strongest.append(torch.stack(scores).clamp(min=0).max(0).values)
            logits.append(model.output(torch.cat(strongest)))
        return torch.stack(logits)

    @pytest.mark.parametrize(("widths", "n"), [((2, 3, 4), 7), ((1,), 4), ((3, 2), 3), ((2, 2), 5)])
    def test_each_phrase_counts_once_and_most(self, widths, n):
        model, ids = self.make(widths), torch.randint(0, 20, (4, n))
        assert_close(model(ids), self.expected(model, ids))

    def test_its_parts(self):
        shapes = {name: tuple(p.shape) for name, p in self.make((2, 4)).named_parameters()}
        expected = {"embedding.weight": (20, 5), "output.weight": (3, 12), "output.bias": (3,)}
        for i, width in enumerate((2, 4)):
            expected |= {f"convolutions.{i}.weight": (6, 5, width), f"convolutions.{i}.bias": (6,)}
        assert_equal(shapes, expected)

    def test_what_follows_a_text_has_no_influence(self):
        model, lengths = self.make(), torch.tensor([4, 9, 6])
        ids = torch.randint(0, 20, (3, 9))
        expected = torch.cat([self.expected(model, [row[:n]]) for row, n in zip(ids, lengths.tolist(), strict=True)])
        assert_close(model(ids, lengths), expected)
        other = ids.clone()
        for row, n in zip(other, lengths.tolist(), strict=True):
            row[n:] = (row[n:] + 7) % 20
        assert_close(model(other, lengths), expected)

    def test_of_texts_that_are_all_shorter_than_the_rows(self):
        model, ids = self.make(), torch.randint(0, 20, (2, 12))
        expected = torch.cat([self.expected(model, [ids[0, :5]]), self.expected(model, [ids[1, :4]])])
        assert_close(model(ids, torch.tensor([5, 4])), expected)

    def test_gradients_reach_all_parameters_and_no_padding(self):
        model, ids = self.make(), torch.arange(16).reshape(2, 8)
        upstream = torch.randn(2, 3, dtype=torch.float64)
        found = torch.autograd.grad(model(ids, torch.tensor([6, 5])), list(model.parameters()), upstream)
        expected = torch.cat([self.expected(model, [ids[0, :6]]), self.expected(model, [ids[1, :5]])])
        assert_close(found, torch.autograd.grad(expected, list(model.parameters()), upstream))

    @pytest.mark.parametrize("p", [0.5, 0.2, None])
    def test_dropout_in_training_mode(self, p):
        model = TextCNN(20, 5, (2, 3), 400, 1, **({} if p is None else {"dropout": p})).double()
        with torch.no_grad():
            for conv in model.convolutions:
                conv.weight.zero_()
                conv.bias.fill_(1.0)
            model.output.weight.fill_(1 / 800)
            model.output.bias.zero_()
        ids = torch.randint(0, 20, (1, 6))
        assert_close(model.eval()(ids).item(), 1.0)
        model.train()
        found = torch.stack([model(ids).detach() for _ in range(100)])
        # The mean of 800 channels, each 1 / (1 - p) with probability 1 - p and else 0: its mean is 1.
        spread = ((p or 0.5) / (1 - (p or 0.5)) / 800) ** 0.5
        mean, ratio = found.mean().item(), found.std().item() / spread
        if abs(mean - 1) > 6 * spread / 10:  # six standard errors
            fail(
                f"Under dropout the channels' mean is {mean:.2f} times what it was.", evidence=("mean", round(mean, 1))
            )
        if not 0.6 < ratio < 1.4:  # more than five standard errors of a spread of 100 numbers
            fail(
                f"Dropout makes the channels' mean scatter {ratio:.1f} times as it should.",
                evidence=("spread", round(ratio, 1)),
            )

    def test_channels_are_dropped_whole(self):
        model = TextCNN(20, 5, (2, 3), 8, 16).double()
        with torch.no_grad():
            model.output.weight.copy_(torch.eye(16))
            model.output.bias.zero_()
        ids = torch.randint(0, 20, (3, 6))
        expected = 2 * model.eval()(ids).detach()
        found = model.train()(ids).detach()
        # Each logit is a channel: it is gone, or twice what it was.
        assert_close(found.where(found != 0, expected), expected)

    @pytest.mark.parametrize(
        ("n", "lengths", "shortest"), [(3, None, 3), (9, [9, 3], 3), (9, [2, 4], 2), (9, [1, 4], 1)]
    )
    def test_refuses_a_text_shorter_than_a_kernel(self, n, lengths, shortest):
        model, ids = self.make((2, 4, 3)), torch.randint(0, 20, (2, n))
        with raises(ValueError, shortest, 4):
            model(ids, None if lengths is None else torch.tensor(lengths))
        assert_close(
            model(torch.ones(1, 4, dtype=torch.long)), self.expected(model, torch.ones(1, 4, dtype=torch.long))
        )


class Branched(nn.Module):
    """A model with a name inside a name, an in-place layer, and a part that can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 16, 5))
        self.fails = False

    def forward(self, x):
        x = self.relu(self.stem(x))
        if self.fails:
            raise ArithmeticError("no")
        return self.head(x)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


class TestFeatureMaps:
    def test_of_a_sequence(self):
        model, x = (
            nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)).double(),
            some(2, 1, 4, 4),
        )
        expected, y = {}, x
        for i, layer in enumerate(model):
            y = expected[str(i)] = layer(y).detach()
        assert_close(feature_maps(model, x, ["0", "1", "2", "3"]), expected)
        assert_close(feature_maps(model, x, ["2", "0"]), {name: expected[name] for name in ("2", "0")})

    def test_names_inside_names_and_layers_in_place(self):
        model, x = Branched().double().eval(), some(2, 1, 4, 4)
        stem = model.stem(x).detach()
        expected = {"stem": stem, "head.0": stem.clamp(min=0).flatten(1), "head": model(x).detach()}
        assert_close(feature_maps(model, x, ["stem", "head.0", "head"]), expected)

    def test_of_no_module(self):
        assert_equal(feature_maps(Branched().double(), some(2, 1, 4, 4), []), {})

    def test_values_hold_no_graph(self):
        found = feature_maps(Branched().double(), some(2, 1, 4, 4), ["stem", "head.2"])
        assert_equal([value.requires_grad for value in found.values()], [False, False])

    @pytest.mark.parametrize("training", [True, False])
    def test_the_model_stays_in_its_mode(self, training):
        model = Branched().double().train(training)
        torch.manual_seed(2)
        found = feature_maps(model, some(1, 1, 4, 4).abs(), ["head.0", "head.1"])
        assert_equal(model.training and model.head[1].training, training)
        changed = bool((found["head.0"] != found["head.1"]).any())
        assert_equal(changed, training)

    def test_no_hook_stays_behind(self):
        model = Branched().double()
        feature_maps(model, some(2, 1, 4, 4), ["stem", "head.2"])
        assert_equal(hooks_of(model), 0)

    def test_hooks_of_others_stay(self):
        model, seen = Branched().double(), []
        model.stem.register_forward_hook(lambda module, inputs, output: seen.append(1))
        feature_maps(model, some(2, 1, 4, 4), ["stem"])
        model(some(2, 1, 4, 4))
        assert_equal((hooks_of(model), len(seen)), (1, 2))

    def test_no_hook_stays_behind_a_model_that_raises(self):
        model = Branched().double()
        model.fails = True
        with raises(ArithmeticError, "no"):
            feature_maps(model, some(2, 1, 4, 4), ["stem", "head.2"])
        assert_equal(hooks_of(model), 0)

    def test_gradients_go_on_afterwards(self):
        model, x = Branched().double(), some(2, 1, 4, 4)
        feature_maps(model, x, ["stem"])
        assert_equal((torch.is_grad_enabled(), model(x).requires_grad), (True, True))

    @pytest.mark.parametrize("name", ["steam", "head.7", "2"])
    def test_refuses_a_name_that_is_not_there(self, name):
        model = Branched().double()
        with raises(ValueError, name):
            feature_maps(model, some(2, 1, 4, 4), ["stem", name])
        assert_equal(hooks_of(model), 0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small matrices are quicker on one thread than on several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.deadline(60)  # some seconds on a quiet machine, and right solutions in plain loops
@pytest.mark.learning
class TestLearning:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_handwritten_digits(self, mnist, seed):
        """A small CNN reads digits better than comparing them with the mean image of each class."""
        torch.manual_seed(seed)
        order = torch.randperm(5000)
        x = torch.tensor(mnist[0][order.numpy()]).float().reshape(-1, 1, 28, 28) / 255
        y = torch.tensor(mnist[1][order.numpy()])
        means = torch.stack([x[:2000][y[:2000] == digit].mean(0) for digit in range(10)]).flatten(1)
        baseline = (torch.cdist(x[4000:].flatten(1), means).argmin(1) == y[4000:]).double().mean().item()
        model = build("c8k5s2 m2 c16 v2 f l10", (1, 28, 28))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(2):
            for batch in torch.randperm(2000).split(25):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
        with torch.no_grad():
            accuracy = (model(x[4000:]).argmax(1) == y[4000:]).double().mean().item()
        if accuracy < baseline + 0.05:
            fail(
                f"The network reads {accuracy:.1%} of the digits; 5 % more than the {baseline:.1%} of comparing with "
                "mean images was expected.",
                evidence=("digits", round(accuracy, 2)),
            )


class TestOnTheGpu:
    def test_max_pool2d(self, gpu):
        gpu.check(max_pool2d, some(2, 3, 5, 6, requires_grad=True), 3, 2, 1)

    @pytest.mark.parametrize("count_padding", [True, False])
    def test_avg_pool2d(self, gpu, count_padding):
        gpu.check(avg_pool2d, some(2, 3, 5, 6, requires_grad=True), 3, 2, 1, count_padding)

    def test_adaptive_avg_pool2d(self, gpu):
        gpu.check(adaptive_avg_pool2d, some(2, 3, 5, 7, requires_grad=True), (2, 3))

    def test_build(self, gpu):
        model = build("c4 m2 v2s1 a2 f l6 d l3", (2, 8, 7)).double().eval()
        gpu.check(model, some(3, 2, 8, 7, requires_grad=True))

    @pytest.mark.parametrize("lengths", [None, [4, 7]])
    def test_text_cnn(self, gpu, lengths):
        model = TextCNN(20, 5, (2, 3), 6, 3).double().eval()
        gpu.check(model, torch.randint(0, 20, (2, 7)), None if lengths is None else torch.tensor(lengths))

    def test_feature_maps(self, gpu):
        model, x = Branched().double().eval(), some(2, 1, 4, 4)
        found = feature_maps(gpu(model), gpu(x), ["stem", "head.2"])
        assert_equal({value.device.type for value in found.values()}, {gpu.device.type})
        assert_close({name: value.cpu() for name, value in found.items()}, feature_maps(model, x, ["stem", "head.2"]))
