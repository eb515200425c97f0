"""Judges k08_convolution against torch's own convolutions, forward and backward, scipy's, and as adjoints of each other."""

import random

import pytest
import torch
import torch.nn.functional as F

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_04_deep_learning.k08_convolution import (
    col2im,
    conv1d,
    conv2d,
    conv2d_backward,
    conv_transpose2d,
    im2col,
    output_size,
)

pytestmark = [
    from_scratch(
        "scipy",
        "torch.nn.functional.conv1d",
        "torch.nn.functional.conv2d",
        "torch.nn.functional.conv3d",
        "torch.nn.functional.conv_transpose1d",
        "torch.nn.functional.conv_transpose2d",
        "torch.nn.functional.conv_transpose3d",
        "torch.nn.functional.unfold",
        "torch.nn.functional.fold",
        "torch.conv1d",
        "torch.conv2d",
        "torch.conv3d",
        "torch.conv_transpose1d",
        "torch.conv_transpose2d",
        "torch.conv_transpose3d",
        "torch.convolution",
        "torch.nn.Conv1d",
        "torch.nn.Conv2d",
        "torch.nn.Conv3d",
        "torch.nn.ConvTranspose1d",
        "torch.nn.ConvTranspose2d",
        "torch.nn.ConvTranspose3d",
        "torch.nn.Unfold",
        "torch.nn.Fold",
        "torch.nn.grad",
        "torch.func",
        "torch.autograd.grad",
        "torch.autograd.backward",
        "torch.autograd.functional",
        "torch.Tensor.backward",
    ),
    pure(),
]

SQUARE = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
WINDOWS = torch.tensor([[1.0, 2, 4, 5], [2, 3, 5, 6], [4, 5, 7, 8], [5, 6, 8, 9]])

# Shapes (b, c, n, o, k), then what isn't a default.
LINES = [
    ((2, 3, 7, 4, 3), {}),
    ((1, 1, 5, 1, 1), {}),
    ((2, 2, 8, 3, 4), {}),
    ((1, 2, 4, 3, 4), {}),
    ((2, 3, 9, 2, 3), {"stride": 2}),
    ((1, 2, 10, 3, 2), {"stride": 3}),
    ((2, 2, 5, 3, 3), {"padding": 1}),
    ((1, 3, 4, 2, 3), {"padding": 4}),
    ((2, 2, 9, 3, 3), {"dilation": 2}),
    ((1, 2, 11, 3, 4), {"dilation": 3}),
    ((2, 4, 6, 6, 3), {"groups": 2}),
    ((2, 6, 5, 3, 2), {"groups": 3}),
    ((1, 3, 5, 6, 2), {"groups": 3}),
    ((2, 4, 11, 6, 3), {"stride": 3, "padding": 2, "dilation": 2, "groups": 2}),
]

# Shapes (b, c, (h, w), (kh, kw)), then what isn't a default.
WINDOW = [
    ((2, 3, (4, 6), (2, 3)), {}),
    ((1, 2, (5, 4), (1, 1)), {}),
    ((2, 1, (3, 5), (3, 5)), {}),
    ((1, 2, (7, 6), (3, 2)), {"stride": 2}),
    ((2, 1, (6, 8), (2, 3)), {"stride": (1, 3)}),
    ((1, 2, (3, 4), (3, 2)), {"padding": 2}),
    ((2, 1, (4, 3), (2, 3)), {"padding": (0, 2)}),
    ((1, 2, (6, 7), (3, 2)), {"dilation": 2}),
    ((1, 2, (4, 8), (2, 3)), {"dilation": (1, 3)}),
    ((2, 2, (7, 9), (2, 3)), {"stride": (3, 2), "padding": (1, 2), "dilation": (2, 1)}),
]

# Shapes (b, c, (h, w), (kh, kw), o, groups): WINDOW's in two groups, and some others.
IMAGES = [
    *(((b, 2 * c, size, kernel, 2 * (c % 3 + 1), 2), kwargs) for (b, c, size, kernel), kwargs in WINDOW),
    ((2, 3, (5, 4), (2, 3), 4, 1), {}),
    ((1, 2, (7, 8), (3, 2), 3, 1), {"stride": (2, 3), "padding": (2, 1), "dilation": (1, 2)}),
    ((2, 3, (4, 5), (3, 2), 6, 3), {"padding": 1}),
    ((1, 6, (4, 4), (2, 2), 3, 3), {}),
]


def line(shape, grouped=None, requires_grad=False):
    """Random x, weight and bias for conv1d, in float64."""
    b, c, n, o, k = shape
    shapes = [(b, c, n), (o, c // (grouped or 1), k), (o,)]
    return [torch.randn(s, dtype=torch.float64, requires_grad=requires_grad) for s in shapes]


def image(shape, requires_grad=False):
    """Random x, weight and bias for conv2d, in float64."""
    b, c, (h, w), (kh, kw), o, groups = shape
    shapes = [(b, c, h, w), (o, c // groups, kh, kw), (o,)]
    return [torch.randn(s, dtype=torch.float64, requires_grad=requires_grad) for s in shapes]


def gradients(out, inputs):
    """The gradients of `inputs` under a random upstream gradient, the same for every `out` of this shape."""
    upstream = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(3))
    return torch.autograd.grad(out, inputs, upstream)


def on_many_shapes(check):
    """Let hypothesis look for shapes and arguments of conv2d that `check` fails on."""
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st

    small = st.integers(1, 3)
    pair = st.tuples(small, small)

    @st.composite
    def case(draw):
        g, (kh, kw), d, p = draw(st.integers(1, 2)), draw(pair), draw(pair), draw(st.tuples(*[st.integers(0, 2)] * 2))
        h = draw(st.integers(0, 3)) + max(1, d[0] * (kh - 1) + 1 - 2 * p[0])
        w = draw(st.integers(0, 3)) + max(1, d[1] * (kw - 1) + 1 - 2 * p[1])
        shape = (draw(st.integers(1, 2)), g * draw(st.integers(1, 2)), (h, w), (kh, kw), g * draw(st.integers(1, 2)), g)
        return shape, {"stride": draw(pair), "padding": p, "dilation": d, "groups": g}

    quiet = settings(
        deadline=None, max_examples=25, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    seed(random.getrandbits(32))(quiet(given(case())(lambda drawn: check(*drawn))))()


class TestOutputSize:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((7, 3), 5),
            ((3, 3), 1),
            ((5, 1), 5),
            ((5, 3, 2), 2),
            ((6, 3, 2), 2),
            ((7, 3, 2), 3),
            ((5, 3, 7), 1),
            ((4, 3, 1, 1), 4),
            ((4, 3, 1, 5), 12),
            ((9, 3, 1, 0, 2), 5),
            ((4, 3, 1, 1, 2), 2),
            ((224, 11, 4, 2), 55),
            ((28, 5, 3, 4, 6), 4),
        ],
    )
    def test_counts_the_places_of_the_kernel(self, arguments, expected):
        assert_equal(output_size(*arguments), expected)

    def test_gives_the_size_that_torch_gives(self):
        for n in range(1, 12):
            for kernel in range(1, 4):
                for stride, padding, dilation in [(1, 0, 1), (2, 1, 1), (3, 2, 2), (4, 0, 3)]:
                    if n + 2 * padding > dilation * (kernel - 1):
                        y = F.conv1d(torch.zeros(1, 1, n), torch.zeros(1, 1, kernel), None, stride, padding, dilation)
                        assert_equal(output_size(n, kernel, stride, padding, dilation), y.shape[-1])

    @pytest.mark.parametrize(
        ("arguments", "reach", "room"),
        [((4, 5), 5, 4), ((4, 9, 1, 2), 9, 8), ((8, 5, 3, 0, 2), 9, 8), ((6, 4, 2, 1, 3), 10, 8), ((1, 30), 30, 1)],
    )
    def test_refuses_a_kernel_that_does_not_fit(self, arguments, reach, room):
        with raises(ValueError, reach, room):
            output_size(*arguments)


class TestConv1d:
    @pytest.mark.parametrize(
        ("kwargs", "expected"), [({}, [-2.0, 1, -1, 0]), ({"stride": 2}, [-2.0, -1]), ({"dilation": 2}, [-3.0, 1])]
    )
    def test_the_example_worked_by_hand(self, kwargs, expected):
        x, w = torch.tensor([[[1.0, 2, 0, 3]]]), torch.tensor([[[1.0, 0, -1]]])
        assert_close(conv1d(x, w, padding=1, **kwargs), torch.tensor([[expected]]))

    @pytest.mark.parametrize(("shape", "kwargs"), LINES)
    def test_matches_torch(self, shape, kwargs):
        x, weight, bias = line(shape, kwargs.get("groups"))
        assert_close(conv1d(x, weight, **kwargs), F.conv1d(x, weight, **kwargs))
        assert_close(conv1d(x, weight, bias, **kwargs), F.conv1d(x, weight, bias, **kwargs))

    @pytest.mark.parametrize(("shape", "kwargs"), LINES[-1:] + LINES[::4])
    def test_gradients_match_torch(self, shape, kwargs):
        inputs = line(shape, kwargs.get("groups"), requires_grad=True)
        assert_close(gradients(conv1d(*inputs, **kwargs), inputs), gradients(F.conv1d(*inputs, **kwargs), inputs))

    def test_arguments_in_their_order(self):
        x, weight, bias = line((2, 4, 12, 6, 3), 2)
        assert_close(conv1d(x, weight, bias, 3, 1, 2, 2), F.conv1d(x, weight, bias, 3, 1, 2, 2))

    def test_of_tensors_that_are_not_contiguous(self):
        x = torch.randn(2, 9, 3, dtype=torch.float64).mT
        weight = torch.randn(3, 8, 4, dtype=torch.float64).permute(2, 0, 1)[..., ::2]
        assert_close(conv1d(x, weight), F.conv1d(x, weight))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        x, weight, bias = (t.to(dtype) for t in line((2, 3, 5, 4, 2)))
        assert_equal(str(conv1d(x, weight, bias).dtype), str(dtype))

    @pytest.mark.parametrize(("channels", "groups"), [(5, 1), (6, 1), (3, 2), (7, 2), (8, 2)])
    def test_refuses_channels_that_do_not_fit(self, channels, groups):
        with raises(ValueError, channels):
            conv1d(torch.ones(1, channels, 9), torch.ones(4, 3, 2), groups=groups)

    def test_refuses_outputs_that_cannot_be_cut_into_groups(self):
        with raises(ValueError, 5, 2):
            conv1d(torch.ones(1, 6, 9), torch.ones(5, 3, 2), groups=2)

    def test_refuses_a_kernel_that_does_not_fit(self):
        with raises(ValueError, 9, 8):
            conv1d(torch.ones(1, 3, 6), torch.ones(4, 3, 5), padding=1, dilation=2)


class TestIm2col:
    def test_the_example_of_the_lesson(self):
        assert_close(im2col(SQUARE[None, None], (2, 2)), WINDOWS[None])

    @pytest.mark.parametrize(("shape", "kwargs"), WINDOW)
    def test_matches_torch(self, shape, kwargs):
        b, c, size, kernel = shape
        x = torch.randn(b, c, *size, dtype=torch.float64)
        assert_close(im2col(x, kernel, **kwargs), F.unfold(x, kernel, **kwargs))

    def test_arguments_in_their_order(self):
        x = torch.randn(2, 3, 7, 8, dtype=torch.float64)
        expected = F.unfold(x, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 3))
        assert_close(im2col(x, (3, 2), (2, 1), (1, 0), (1, 3)), expected)

    def test_gradients_match_torch(self):
        x = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
        arguments = dict(stride=(2, 1), padding=(1, 2))
        expected = gradients(F.unfold(x, (3, 2), **arguments), [x])
        assert_close(gradients(im2col(x, (3, 2), **arguments), [x]), expected)

    def test_of_an_image_that_is_not_contiguous(self):
        x = torch.randn(2, 6, 10, 3, dtype=torch.float64).permute(0, 3, 2, 1)[:, :, ::2]
        assert_close(im2col(x, (2, 3)), F.unfold(x.contiguous(), (2, 3)))

    @pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        x = torch.arange(24).reshape(1, 2, 3, 4)
        expected = F.unfold(x.double(), (2, 3), padding=1).to(dtype)
        assert_close(im2col(x.to(dtype), (2, 3), padding=1), expected)

    def test_refuses_a_kernel_that_does_not_fit(self):
        with raises(ValueError, 5, 4):
            im2col(torch.ones(1, 1, 4, 9), (5, 2))
        with raises(ValueError, 7, 6):
            im2col(torch.ones(1, 1, 8, 4), (2, 4), padding=1, dilation=2)


class TestCol2im:
    def test_the_example_worked_by_hand(self):
        expected = torch.tensor([[[[1.0, 4, 3], [8, 20, 12], [7, 16, 9]]]])
        assert_close(col2im(WINDOWS[None], (3, 3), (2, 2)), expected)

    @pytest.mark.parametrize(("shape", "kwargs"), WINDOW)
    def test_matches_torch(self, shape, kwargs):
        b, c, size, kernel = shape
        columns = torch.randn_like(F.unfold(torch.zeros(b, c, *size, dtype=torch.float64), kernel, **kwargs))
        assert_close(col2im(columns, size, kernel, **kwargs), F.fold(columns, size, kernel, **kwargs))

    def test_arguments_in_their_order(self):
        columns = torch.randn(2, 3 * 6, 4 * 5, dtype=torch.float64)
        expected = F.fold(columns, (7, 8), (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 3))
        assert_close(col2im(columns, (7, 8), (3, 2), (2, 1), (1, 0), (1, 3)), expected)

    def test_gradients_match_torch(self):
        columns = torch.randn(2, 12, 15, dtype=torch.float64, requires_grad=True)
        arguments = dict(stride=(2, 1), padding=(1, 1))
        expected = gradients(F.fold(columns, (6, 4), (3, 2), **arguments), [columns])
        assert_close(gradients(col2im(columns, (6, 4), (3, 2), **arguments), [columns]), expected)

    def test_of_columns_that_are_not_contiguous(self):
        columns = torch.randn(2, 6, 12, dtype=torch.float64).mT
        assert_close(col2im(columns, (3, 4), (2, 2)), F.fold(columns.contiguous(), (3, 4), (2, 2)))

    @pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        columns = torch.arange(48).reshape(1, 8, 6) % 7
        expected = F.fold(columns.double(), (3, 4), (2, 2)).to(dtype)
        assert_close(col2im(columns.to(dtype), (3, 4), (2, 2)), expected)

    def test_is_the_adjoint_of_im2col(self):
        def check(shape, kwargs):
            b, c, size, kernel, _, _ = shape
            arguments = {name: value for name, value in kwargs.items() if name != "groups"}
            x = torch.randn(b, c, *size, dtype=torch.float64)
            columns = torch.randn_like(F.unfold(x, kernel, **arguments))
            back = col2im(columns, size, kernel, **arguments)
            assert_close((x * back).sum(), (im2col(x, kernel, **arguments) * columns).sum())

        on_many_shapes(check)


class TestConv2d:
    def test_the_example_worked_by_hand(self):
        weight = torch.tensor([[1.0, 2], [3, 4]])
        assert_close(conv2d(SQUARE[None, None], weight[None, None]), torch.tensor([[[[37.0, 47], [67, 77]]]]))

    @pytest.mark.parametrize(("shape", "kwargs"), IMAGES)
    def test_matches_torch(self, shape, kwargs):
        x, weight, bias = image(shape)
        groups = shape[-1]
        assert_close(conv2d(x, weight, groups=groups, **kwargs), F.conv2d(x, weight, groups=groups, **kwargs))
        expected = F.conv2d(x, weight, bias, groups=groups, **kwargs)
        assert_close(conv2d(x, weight, bias, groups=groups, **kwargs), expected)

    def test_arguments_in_their_order(self):
        x, weight, bias = image((2, 4, (7, 8), (2, 3), 6, 2))
        arguments = ((2, 1), (0, 1), (3, 2), 2)
        assert_close(conv2d(x, weight, bias, *arguments), F.conv2d(x, weight, bias, *arguments))

    @pytest.mark.parametrize(("shape", "kwargs"), IMAGES[::3])
    def test_gradients_match_torch(self, shape, kwargs):
        inputs, groups = image(shape, requires_grad=True), shape[-1]
        expected = gradients(F.conv2d(*inputs, groups=groups, **kwargs), inputs)
        assert_close(gradients(conv2d(*inputs, groups=groups, **kwargs), inputs), expected)

    def test_matches_torch_on_shapes_that_hypothesis_finds(self):
        def check(shape, kwargs):
            x, weight, bias = image(shape)
            assert_close(conv2d(x, weight, bias, **kwargs), F.conv2d(x, weight, bias, **kwargs))

        on_many_shapes(check)

    def test_of_tensors_that_are_not_contiguous(self):
        x = torch.randn(2, 6, 5, 3, dtype=torch.float64).permute(0, 3, 1, 2)
        weight = torch.randn(3, 2, 2, 4, dtype=torch.float64).permute(3, 0, 2, 1)
        assert_close(conv2d(x, weight), F.conv2d(x, weight))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        x, weight, bias = (t.to(dtype) for t in image((2, 3, (4, 5), (2, 3), 4, 1)))
        assert_equal(str(conv2d(x, weight, bias).dtype), str(dtype))

    def test_finds_the_edges_of_a_photo(self, photo):
        from scipy.signal import correlate2d

        gray = photo[100:124, 300:330].mean(-1)
        sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float64)
        across, down = (torch.from_numpy(correlate2d(gray, kernel.numpy(), mode="same")) for kernel in (sobel, sobel.T))
        edges = conv2d(torch.tensor(gray)[None, None], torch.stack([sobel, sobel.T])[:, None], padding=1)
        assert_close(edges[0], torch.stack([across, down]))

    @pytest.mark.parametrize(("channels", "groups"), [(5, 1), (3, 2), (7, 2), (8, 2)])
    def test_refuses_channels_that_do_not_fit(self, channels, groups):
        with raises(ValueError, channels):
            conv2d(torch.ones(1, channels, 9, 9), torch.ones(4, 3, 2, 2), groups=groups)

    def test_refuses_outputs_that_cannot_be_cut_into_groups(self):
        with raises(ValueError, 5, 2):
            conv2d(torch.ones(1, 6, 9, 9), torch.ones(5, 3, 4, 4), groups=2)

    def test_refuses_a_kernel_that_does_not_fit(self):
        with raises(ValueError, 7, 6):
            conv2d(torch.ones(1, 1, 8, 4), torch.ones(1, 1, 2, 4), padding=(0, 1), dilation=(1, 2))


class TestConv2dBackward:
    @pytest.mark.parametrize(("shape", "kwargs"), IMAGES)
    def test_matches_autograd(self, shape, kwargs):
        inputs, groups = image(shape, requires_grad=True), shape[-1]
        out = F.conv2d(*inputs, groups=groups, **kwargs)
        upstream = torch.randn_like(out)
        expected = torch.autograd.grad(out, inputs, upstream)
        x, weight = inputs[0].detach(), inputs[1].detach()
        assert_close(conv2d_backward(upstream, x, weight, groups=groups, **kwargs), expected)

    def test_arguments_in_their_order(self):
        inputs = image((2, 4, (7, 8), (2, 3), 6, 2), requires_grad=True)
        arguments = ((2, 1), (0, 1), (3, 2), 2)
        out = F.conv2d(*inputs, *arguments)
        upstream = torch.randn_like(out)
        expected = torch.autograd.grad(out, inputs, upstream)
        x, weight = inputs[0].detach(), inputs[1].detach()
        assert_close(conv2d_backward(upstream, x, weight, *arguments), expected)

    def test_a_pixel_that_no_window_covers_gets_0(self):
        x, weight = torch.ones(1, 1, 6, 7), torch.ones(1, 1, 2, 2)
        to_x, _, _ = conv2d_backward(torch.ones(1, 1, 2, 2), x, weight, stride=(4, 3))
        expected = torch.zeros(6, 7)
        for row in (0, 1, 4, 5):
            expected[row, [0, 1, 3, 4]] = 1
        assert_close(to_x[0, 0], expected)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        x, weight, _ = (t.to(dtype) for t in image((2, 3, (4, 5), (2, 3), 4, 1)))
        found = conv2d_backward(torch.ones(2, 4, 3, 3, dtype=dtype), x, weight)
        assert_equal([str(gradient.dtype) for gradient in found], [str(dtype)] * 3)

    def test_an_upstream_gradient_that_is_not_contiguous(self):
        inputs = image((2, 3, (4, 5), (2, 3), 4, 1), requires_grad=True)
        upstream = torch.randn(2, 3, 3, 4, dtype=torch.float64).permute(0, 3, 1, 2)
        expected = torch.autograd.grad(F.conv2d(*inputs), inputs, upstream)
        assert_close(conv2d_backward(upstream, inputs[0].detach(), inputs[1].detach()), expected)


class TestConvTranspose2d:
    @pytest.mark.parametrize(("padding", "expected"), [(0, [1.0, 10, 102, 20, 200]), ((0, 1), [10.0, 102, 20])])
    def test_the_example_worked_by_hand(self, padding, expected):
        x, weight = torch.tensor([[[[1.0, 2]]]]), torch.tensor([[[[1.0, 10, 100]]]])
        assert_close(conv_transpose2d(x, weight, stride=(1, 2), padding=padding), torch.tensor([[[expected]]]))

    # Shapes (b, c, (h, w), (kh, kw), o, groups).
    CASES = (
        ((2, 3, (3, 4), (2, 3), 4, 1), {}),
        ((1, 2, (2, 3), (1, 1), 3, 1), {}),
        ((1, 2, (3, 2), (3, 2), 3, 1), {"stride": 2}),
        ((2, 1, (2, 3), (2, 3), 2, 1), {"stride": (1, 3)}),
        ((1, 2, (4, 5), (3, 2), 1, 1), {"padding": 1}),
        ((1, 2, (5, 4), (2, 3), 2, 1), {"padding": (2, 1)}),
        ((1, 2, (3, 4), (2, 3), 3, 1), {"dilation": 2}),
        ((1, 2, (4, 3), (3, 2), 2, 1), {"dilation": (1, 3)}),
        ((2, 2, (3, 4), (2, 3), 3, 1), {"stride": 2, "output_padding": 1}),
        ((1, 2, (3, 3), (2, 2), 3, 1), {"stride": (2, 3), "output_padding": (0, 2)}),
        ((1, 2, (3, 3), (3, 3), 3, 1), {"stride": (2, 3), "padding": 1, "output_padding": (1, 2)}),
        ((2, 4, (3, 2), (2, 3), 6, 2), {}),
        ((1, 3, (2, 3), (2, 2), 6, 3), {"padding": 1}),
        ((1, 6, (2, 3), (2, 2), 3, 3), {"stride": 2}),
        (
            (2, 4, (3, 4), (2, 3), 6, 2),
            {"stride": (3, 2), "padding": (1, 2), "dilation": (2, 1), "output_padding": (2, 1)},
        ),
    )

    def inputs(self, shape, requires_grad=False):
        b, c, (h, w), (kh, kw), o, groups = shape
        shapes = [(b, c, h, w), (c, o // groups, kh, kw), (o,)]
        return [torch.randn(s, dtype=torch.float64, requires_grad=requires_grad) for s in shapes]

    @pytest.mark.parametrize(("shape", "kwargs"), CASES)
    def test_matches_torch(self, shape, kwargs):
        x, weight, bias = self.inputs(shape)
        kwargs = kwargs | {"groups": shape[-1]}
        assert_close(conv_transpose2d(x, weight, **kwargs), F.conv_transpose2d(x, weight, **kwargs))
        assert_close(conv_transpose2d(x, weight, bias, **kwargs), F.conv_transpose2d(x, weight, bias, **kwargs))

    @pytest.mark.parametrize(("shape", "kwargs"), CASES[-1:] + CASES[::5])
    def test_gradients_match_torch(self, shape, kwargs):
        inputs, kwargs = self.inputs(shape, requires_grad=True), kwargs | {"groups": shape[-1]}
        expected = gradients(F.conv_transpose2d(*inputs, **kwargs), inputs)
        assert_close(gradients(conv_transpose2d(*inputs, **kwargs), inputs), expected)

    def test_arguments_in_their_order(self):
        inputs = self.inputs((2, 4, (3, 4), (2, 3), 6, 2))
        arguments = ((3, 2), (1, 2), (2, 0), 2, (2, 1))
        assert_close(conv_transpose2d(*inputs, *arguments), F.conv_transpose2d(*inputs, *arguments))

    def test_is_the_adjoint_of_conv2d(self):
        def check(shape, kwargs):
            x, weight, _ = image(shape)
            forth = conv2d(x, weight, **kwargs)
            y = torch.randn_like(forth)
            # So many rows and columns at the end were in no window, and the way back must add them.
            axes = zip(shape[2], shape[3], kwargs["stride"], kwargs["padding"], kwargs["dilation"], strict=True)
            rest = tuple((n + 2 * p - d * (k - 1) - 1) % s for n, k, s, p, d in axes)
            back = conv_transpose2d(y, weight, output_padding=rest, **kwargs)
            assert_equal(tuple(back.shape), tuple(x.shape))
            assert_close((x * back).sum(), (forth * y).sum())

        on_many_shapes(check)

    def test_of_tensors_that_are_not_contiguous(self):
        x = torch.randn(2, 3, 4, 5, dtype=torch.float64).permute(0, 3, 1, 2)
        weight = torch.randn(3, 2, 2, 5, dtype=torch.float64).permute(3, 0, 2, 1)
        assert_close(conv_transpose2d(x, weight), F.conv_transpose2d(x, weight))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        x, weight, bias = (t.to(dtype) for t in self.inputs((2, 3, (4, 5), (2, 3), 4, 1)))
        assert_equal(str(conv_transpose2d(x, weight, bias).dtype), str(dtype))

    def test_refuses_channels_that_do_not_fit(self):
        with raises(ValueError, 5, 3):
            conv_transpose2d(torch.ones(1, 5, 4, 4), torch.ones(3, 5, 2, 2))

    def test_refuses_channels_that_cannot_be_cut_into_groups(self):
        with raises(ValueError, 5, 2):
            conv_transpose2d(torch.ones(1, 5, 4, 4), torch.ones(5, 3, 4, 4), groups=2)

    def test_refuses_an_output_padding_as_large_as_the_stride(self):
        x, weight = torch.ones(1, 2, 4, 4), torch.ones(2, 1, 2, 2)
        with raises(ValueError, 3, 2):
            conv_transpose2d(x, weight, stride=(4, 2), output_padding=3)
        with raises(ValueError, 2):
            conv_transpose2d(x, weight, stride=2, output_padding=(2, 0))
        with raises(ValueError, 1):
            conv_transpose2d(x, weight, output_padding=(0, 1), dilation=2)
        assert_equal(tuple(conv_transpose2d(x, weight, stride=(4, 2), output_padding=(3, 1)).shape), (1, 1, 17, 9))


class TestOnTheGpu:
    ARGUMENTS = dict(stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)

    def test_conv1d(self, gpu):
        inputs = line((2, 4, 9, 6, 3), 2, requires_grad=True)
        gpu.check(conv1d, *inputs, stride=2, padding=1, dilation=2, groups=2)

    def test_im2col(self, gpu):
        x = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
        gpu.check(im2col, x, (3, 2), (2, 1), (1, 0), (1, 2))

    def test_col2im(self, gpu):
        columns = torch.randn(2, 12, 15, dtype=torch.float64, requires_grad=True)
        gpu.check(col2im, columns, (6, 4), (3, 2), (2, 1), (1, 1))

    def test_conv2d(self, gpu):
        inputs = image((2, 4, (5, 6), (3, 2), 6, 2), requires_grad=True)
        gpu.check(conv2d, *inputs, **self.ARGUMENTS)

    def test_conv2d_backward(self, gpu):
        x, weight, _ = image((2, 4, (5, 6), (3, 2), 6, 2))
        upstream = torch.randn_like(F.conv2d(x, weight, **self.ARGUMENTS))
        gpu.check(conv2d_backward, upstream, x, weight, **self.ARGUMENTS)

    def test_conv_transpose2d(self, gpu):
        inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in [(2, 4, 3, 4), (4, 3, 3, 2), (6,)]]
        gpu.check(conv_transpose2d, *inputs, output_padding=(1, 0), **self.ARGUMENTS)
