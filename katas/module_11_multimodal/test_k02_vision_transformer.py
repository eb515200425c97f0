"""Judges k02_vision_transformer pixel by pixel, against transformers' ViT, and on pairs of shapes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_11_multimodal.k02_vision_transformer import (
    PatchEmbedding,
    VisionTransformer,
    attention_rollout,
    interpolate_positions,
    patchify,
    unpatchify,
)

pytestmark = [
    from_scratch(
        "torch.nn.functional.unfold", "torch.nn.functional.fold", "torch.nn.Unfold", "torch.nn.Fold",
        "torch.nn.functional.pixel_unshuffle", "torch.nn.PixelUnshuffle", "transformers", "torchvision", "einops",
    ),
    pure(),
    pytest.mark.deadline(60),  # the first test that imports transformers takes a busy machine a while
]  # fmt: skip


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, with all parameters random, those too that start at 0 or 1."""
    return named_weights(module, 0.4, seed)


SIZES = [(3, 4, 6, 2), (1, 6, 3, 3), (2, 5, 10, 5), (4, 3, 2, 1)]  # channels, height, width, patch


def cut_by_hand(image: torch.Tensor, p: int) -> list[list[float]]:
    c, h, w = image.shape
    return [
        [image[k, top + i, left + j].item() for k in range(c) for i in range(p) for j in range(p)]
        for top in range(0, h, p)
        for left in range(0, w, p)
    ]


class TestPatchify:
    def test_the_example_worked_by_hand(self):
        image = torch.arange(16.0).reshape(1, 4, 4)
        expected = torch.tensor([[0.0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])
        assert_equal(patchify(image, 2), expected)

    @pytest.mark.parametrize(("c", "h", "w", "p"), SIZES)
    def test_pixel_by_pixel(self, c, h, w, p):
        image = normal(c, h, w, seed=h)
        assert_equal(patchify(image, p), torch.tensor(cut_by_hand(image, p), dtype=F64))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_leading_dimensions(self, lead):
        images = normal(*lead, 3, 4, 6)
        found = patchify(images, 2)
        assert_equal(tuple(found.shape), (*lead, 6, 12))
        expected = [cut_by_hand(image, 2) for image in images.reshape(-1, 3, 4, 6)]
        assert_equal(found.reshape(-1, 6, 12), torch.tensor(expected, dtype=F64))

    def test_images_that_arent_contiguous(self):
        images = normal(2, 6, 4, 3).permute(0, 3, 2, 1)
        assert_equal(patchify(images, 2), patchify(images.clone(memory_format=torch.contiguous_format), 2))

    def test_the_gradient_goes_back_to_its_pixels(self):
        images = normal(2, 3, 4, 6).requires_grad_()
        upstream = normal(2, 6, 12, seed=1)
        (patchify(images, 2) * upstream).sum().backward()
        expected = torch.zeros(2, 3, 4, 6, dtype=F64)
        for b in range(2):
            for n in range(6):
                for k in range(12):
                    channel, i, j = k // 4, k % 4 // 2, k % 2
                    expected[b, channel, n // 3 * 2 + i, n % 3 * 2 + j] = upstream[b, n, k]
        assert_equal(images.grad, expected)

    @pytest.mark.parametrize(("h", "w", "p"), [(9, 8, 4), (8, 9, 4), (7, 11, 3), (2, 2, 5)])
    def test_refuses_sides_that_patches_dont_fill(self, h, w, p):
        with raises(ValueError, h, w, p):
            patchify(torch.zeros(1, h, w), p)


class TestUnpatchify:
    def test_the_example_worked_by_hand(self):
        patches = torch.tensor([[0.0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])
        assert_equal(unpatchify(patches, 2, 4, 4), torch.arange(16.0).reshape(1, 4, 4))

    @pytest.mark.parametrize(("c", "h", "w", "p"), SIZES)
    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_pixel_by_pixel(self, c, h, w, p, lead):
        images = normal(*lead, c, h, w, seed=w)
        cut = [cut_by_hand(image, p) for image in images.reshape(-1, c, h, w)]
        patches = torch.tensor(cut, dtype=F64).reshape(*lead, h // p * (w // p), c * p * p)
        assert_equal(unpatchify(patches, p, h, w), images)

    def test_gradients_flow(self):
        patches = normal(6, 12).requires_grad_()
        upstream = normal(3, 4, 6, seed=1)
        (unpatchify(patches, 2, 4, 6) * upstream).sum().backward()
        assert_equal(patches.grad, torch.tensor(cut_by_hand(upstream, 2), dtype=F64))

    @pytest.mark.parametrize(("n", "p", "h", "w"), [(5, 2, 4, 6), (7, 2, 4, 6), (6, 4, 8, 14), (6, 4, 9, 12)])
    def test_refuses_what_doesnt_fit(self, n, p, h, w):
        with raises(ValueError, n, p, h, w):
            unpatchify(torch.zeros(n, p * p), p, h, w)


class TestPatchEmbedding:
    @pytest.mark.parametrize(("c", "h", "w", "p"), SIZES)
    def test_the_same_as_a_convolution_with_strides(self, c, h, w, p):
        model = randomized(PatchEmbedding(p, c, 5))
        images = normal(2, c, h, w, seed=1)
        kernel = model.project.weight.detach().reshape(5, c, p, p)
        expected = F.conv2d(images, kernel, model.project.bias.detach(), stride=p).flatten(2).transpose(1, 2)
        assert_close(model(images).detach(), expected)

    @pytest.mark.parametrize(("p", "c", "d"), [(2, 3, 5), (3, 1, 7)])
    def test_one_linear(self, p, c, d):
        shapes = {name: tuple(value.shape) for name, value in PatchEmbedding(p, c, d).state_dict().items()}
        assert_equal(shapes, {"project.weight": (d, c * p * p), "project.bias": (d,)})

    def test_gradients_flow(self):
        model, images = randomized(PatchEmbedding(2, 3, 5)), normal(2, 3, 4, 6).requires_grad_()
        upstream = normal(2, 6, 5, seed=1)
        (model(images) * upstream).sum().backward()
        found = images.grad
        expected = F.conv_transpose2d(
            upstream.transpose(1, 2).unflatten(2, (2, 3)), model.project.weight.detach().reshape(5, 3, 2, 2), stride=2
        )
        assert_close(found, expected)
        assert_close(model.project.bias.grad, upstream.sum((0, 1)))


def cubic(x: float) -> float:
    """Keys' cubic kernel with a = -3/4, which torch's bicubic uses."""
    x, a = abs(x), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def along(n: int, m: int) -> torch.Tensor:
    """The matrix (m, n) that resizes n samples to m."""
    matrix = torch.zeros(m, n, dtype=F64)
    for i in range(m):
        place = (i + 0.5) * n / m - 0.5
        floor = int(place // 1)
        for j in range(floor - 1, floor + 3):
            matrix[i, min(max(j, 0), n - 1)] += cubic(place - j)
    return matrix


class TestInterpolatePositions:
    def test_the_example_worked_by_hand(self):
        found = interpolate_positions(f64(7, 0, 16, 32, 32)[:, None], (1, 4), (1, 2))
        assert_close(found, f64(7, 6.5, 33.5)[:, None])

    @pytest.mark.parametrize(
        ("old", "new"), [((2, 3), (4, 5)), ((4, 2), (3, 6)), ((3, 3), (6, 6)), ((5, 4), (2, 2)), ((1, 1), (2, 3))]
    )
    @pytest.mark.parametrize("d", [1, 4])
    def test_by_the_cubic_kernel(self, old, new, d):
        positions = normal(1 + old[0] * old[1], d, seed=d)
        grid = positions[1:].reshape(*old, d)
        expected = torch.einsum("ar,bc,rcd->abd", along(old[0], new[0]), along(old[1], new[1]), grid).reshape(-1, d)
        assert_close(interpolate_positions(positions, old, new), torch.cat([positions[:1], expected]))

    @pytest.mark.parametrize("grid", [(2, 3), (4, 4)])
    def test_the_same_grid_changes_nothing(self, grid):
        positions = normal(1 + grid[0] * grid[1], 3)
        assert_close(interpolate_positions(positions, grid, grid), positions)

    def test_the_class_token_neither_gives_nor_takes(self):
        positions = normal(7, 3).requires_grad_()
        found = interpolate_positions(positions, (2, 3), (5, 4))
        weights = normal(21, 3, seed=1)
        (found * weights).sum().backward()
        assert_close(positions.grad[0], weights[0])
        other = torch.cat([positions[:1] + 100, positions[1:]]).detach()
        assert_close(interpolate_positions(other, (2, 3), (5, 4))[1:], found[1:].detach())

    def test_gradients_flow(self):
        positions = normal(3, 1).requires_grad_()
        torch.autograd.gradcheck(lambda x: interpolate_positions(x, (1, 2), (2, 3)), [positions])

    @pytest.mark.parametrize(("n", "old"), [(6, (2, 3)), (8, (2, 3)), (12, (3, 4))])
    def test_refuses_a_grid_that_doesnt_fit(self, n, old):
        with raises(ValueError, n, *old):
            interpolate_positions(normal(n, 2), old, (2, 2))


CASES = {
    "square": dict(size=(8, 8), patch=4, channels=3, d_model=12, layers=2, heads=3, d_ff=20, classes=5),
    "more": dict(size=(9, 9), patch=3, channels=1, d_model=10, layers=3, heads=2, d_ff=7, classes=4),
}


def from_transformers(case: str) -> tuple[VisionTransformer, nn.Module]:
    """The learner's model, and transformers' with the same random weights."""
    from transformers import ViTConfig, ViTForImageClassification

    s = CASES[case]
    config = ViTConfig(
        hidden_size=s["d_model"], num_hidden_layers=s["layers"], num_attention_heads=s["heads"], intermediate_size=s["d_ff"],
        hidden_act="gelu", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, layer_norm_eps=1e-5,
        image_size=s["size"][0], patch_size=s["patch"], num_channels=s["channels"], num_labels=s["classes"],
    )  # fmt: skip
    theirs = randomized(ViTForImageClassification(config)).eval()
    own = {}
    for name, value in theirs.state_dict().items():
        # Releases of transformers differ in how they call the parts of a layer.
        for theirs_calls, we_call in (
            ("vit.embeddings.cls_token", "class_token"), ("vit.embeddings.position_embeddings", "positions"),
            ("vit.embeddings.patch_embeddings.projection", "embed.project"), ("vit.layernorm.", "encoder.norm."),
            ("vit.encoder.layer.", "encoder.blocks."), ("vit.layers.", "encoder.blocks."), ("classifier.", "head."),
            ("layernorm_before", "norm1"), ("layernorm_after", "norm2"), ("attention.attention.", "attention."),
            ("attention.output.dense", "attention.out_proj"), ("attention.o_proj", "attention.out_proj"),
            ("attention.query", "attention.q_proj"), ("attention.key", "attention.k_proj"),
            ("attention.value", "attention.v_proj"), ("mlp.fc1", "feed_forward.up_proj"), ("mlp.fc2", "feed_forward.down_proj"),
            ("intermediate.dense", "feed_forward.up_proj"), ("output.dense", "feed_forward.down_proj"),
        ):  # fmt: skip
            name = name.replace(theirs_calls, we_call)
        own[name] = value
    own["class_token"] = own["class_token"].flatten()
    own["positions"] = own["positions"][0]
    own["embed.project.weight"] = own["embed.project.weight"].flatten(1)
    model = VisionTransformer(**s).double()
    parts = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert_equal(parts, {name: tuple(value.shape) for name, value in own.items()})
    model.load_state_dict(own)
    return model, theirs


def a_model(pool: str = "class", seed: int = 0, size: tuple[int, int] = (4, 6)) -> VisionTransformer:
    return randomized(VisionTransformer(size, 2, 3, 8, 2, 2, 12, 5, pool), seed)


class TestVisionTransformer:
    @pytest.mark.parametrize("case", list(CASES))
    def test_the_tokens_are_those_of_transformers(self, case):
        model, theirs = from_transformers(case)
        images = normal(3, CASES[case]["channels"], *CASES[case]["size"], seed=1)
        assert_close(model.tokens(images).detach(), theirs.vit(images).last_hidden_state.detach())

    @pytest.mark.parametrize("case", list(CASES))
    def test_the_logits_are_those_of_transformers(self, case):
        model, theirs = from_transformers(case)
        images = normal(3, CASES[case]["channels"], *CASES[case]["size"], seed=1)
        assert_close(model(images).detach(), theirs(images).logits.detach())

    @pytest.mark.parametrize("more", [(2, 1), (1, 3), (-1, 0)])
    def test_images_of_another_size(self, more):
        model, theirs = from_transformers("more")
        images = normal(2, 1, 9 + 3 * more[0], 9 + 3 * more[1], seed=1)
        expected = theirs(images, interpolate_pos_encoding=True).logits
        assert_close(model(images).detach(), expected.detach())

    def test_gradients_are_those_of_transformers(self):
        model, theirs = from_transformers("square")
        images, upstream = normal(3, 3, 8, 8, seed=1).requires_grad_(), normal(3, 5, seed=2)
        (model(images) * upstream).sum().backward()
        mine, images.grad = images.grad, None
        (theirs(images).logits * upstream).sum().backward()
        assert_close(mine, images.grad)
        assert_close(model.positions.grad, theirs.vit.embeddings.position_embeddings.grad[0])
        assert_close(model.class_token.grad, theirs.vit.embeddings.cls_token.grad.flatten())

    @pytest.mark.parametrize("pool", ["class", "mean"])
    @pytest.mark.parametrize("size", [(4, 6), (6, 2)])
    def test_the_image_is_one_token_or_the_mean_of_the_patches(self, pool, size):
        model, images = a_model(pool, size=size), normal(2, 3, 4, 6, seed=1)
        tokens = model.tokens(images)
        assert_equal(tuple(tokens.shape), (2, 7, 8))
        image = tokens[:, 0] if pool == "class" else torch.stack([tokens[:, i] for i in range(1, 7)]).mean(0)
        assert_close(model(images).detach(), model.head(image).detach())

    def test_the_class_token_unless_told(self):
        model = VisionTransformer((4, 6), 2, 3, 8, 2, 2, 12, 5).double()
        model.load_state_dict(a_model("class").state_dict())
        images = normal(2, 3, 4, 6, seed=1)
        assert_close(model(images).detach(), a_model("class")(images).detach())

    @pytest.mark.parametrize(("rows", "columns"), [(6, 1), (1, 6), (3, 2)])
    def test_another_grid_of_as_many_patches(self, rows, columns):
        """From two rows of three to others of six patches: no number tells that, only the two sides do."""
        model, images = a_model(), normal(2, 3, 2 * rows, 2 * columns, seed=1)
        moved = a_model(size=(2 * rows, 2 * columns))
        moved.load_state_dict(model.state_dict())
        with torch.no_grad():
            grid = model.positions[1:].reshape(2, 3, 8)
            resized = torch.einsum("ar,bc,rcd->abd", along(2, rows), along(3, columns), grid).reshape(-1, 8)
            moved.positions.copy_(torch.cat([model.positions[:1], resized]))
        assert_close(model(images).detach(), moved(images).detach())

    @pytest.mark.parametrize("pool", ["class", "mean"])
    def test_every_parameter_is_trained(self, pool):
        model = a_model(pool)
        (model(normal(2, 3, 4, 6)) * normal(2, 5, seed=1)).sum().backward()
        # Where all keys get the same, the softmax doesn't change: biases of keys have no gradient.
        without = [
            name
            for name, p in model.named_parameters()
            if "k_proj.bias" not in name and (p.grad is None or not p.grad.abs().sum() > 0)
        ]
        assert_equal(without, [])

    def test_images_of_a_batch_dont_mix(self):
        model, images = a_model(), normal(3, 3, 4, 6)
        assert_close(model(images)[1:2].detach(), model(images[1:2]).detach())

    def test_a_larger_image_doesnt_change_the_model(self):
        model, images = a_model(), normal(2, 3, 4, 6)
        before = model(images).detach()
        model(normal(1, 3, 10, 8))
        assert_close(model(images).detach(), before)
        assert_equal(tuple(model.positions.shape), (7, 8))

    def test_works_in_float32(self):
        assert_equal(a_model().float()(normal(2, 3, 4, 6).float()).dtype, torch.float32)

    @pytest.mark.parametrize("pool", ["max", "cls"])
    def test_refuses_another_pool(self, pool):
        with raises(ValueError, pool):
            VisionTransformer((4, 6), 2, 3, 8, 2, 2, 12, 5, pool)


def rollout_by_hand(weights: list[torch.Tensor]) -> torch.Tensor:
    """All paths from a token down to the pixels: stay or look, layer by layer."""
    n = weights[0].shape[-1]
    seen = [[float(i == j) for j in range(n)] for i in range(n)]
    for layer in weights:
        mean = layer.mean(0).tolist()
        seen = [
            [0.5 * seen[i][j] + 0.5 * sum(mean[i][k] * seen[k][j] for k in range(n)) for j in range(n)]
            for i in range(n)
        ]
    return torch.tensor(seen, dtype=F64)


class TestAttentionRollout:
    def test_the_example_worked_by_hand(self):
        first, second = f64([0.5, 0.5], [0, 1]), f64([0, 1], [1, 0])
        assert_close(attention_rollout([first[None], second[None]]), f64([0.375, 0.625], [0.375, 0.625]))

    @pytest.mark.parametrize(("layers", "heads", "n"), [(1, 2, 3), (2, 1, 4), (4, 3, 5)])
    def test_step_by_step(self, layers, heads, n):
        weights = [normal(heads, n, n, seed=i).softmax(-1) for i in range(layers)]
        assert_close(attention_rollout(weights), rollout_by_hand(weights))

    @pytest.mark.parametrize("lead", [(2,), (2, 3)])
    def test_leading_dimensions(self, lead):
        weights = [normal(*lead, 2, 4, 4, seed=i).softmax(-1) for i in range(3)]
        flat = [layer.reshape(-1, 2, 4, 4) for layer in weights]
        expected = torch.stack([rollout_by_hand([layer[i] for layer in flat]) for i in range(len(flat[0]))])
        assert_close(attention_rollout(weights), expected.reshape(*lead, 4, 4))

    def test_every_row_is_a_distribution(self):
        weights = [normal(3, 6, 6, seed=i).mul(3).softmax(-1) for i in range(5)]
        assert_close(attention_rollout(weights).sum(-1), torch.ones(6, dtype=F64))

    def test_gradients_flow(self):
        weights = [normal(2, 3, 3, seed=i).softmax(-1).requires_grad_() for i in range(3)]
        torch.autograd.gradcheck(lambda *layers: attention_rollout(layers), weights)

    def test_in_float32(self):
        assert_equal(attention_rollout([torch.full((2, 3, 3), 1 / 3)]).dtype, torch.float32)


SHAPES = torch.tensor([[[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], [[1, 0, 1], [0, 1, 0], [1, 0, 1]]])


def pairs(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two shapes, a plus or a cross each, at two of 16 places; are they alike?"""
    draws = seeded(seed)
    which = torch.randint(2, (n, 2), generator=draws)
    places = torch.rand(n, 16, generator=draws).argsort(1)[:, :2]
    tiles = torch.zeros(n, 16, 9)
    tiles.scatter_(1, places[:, :, None].expand(-1, -1, 9), 2 * SHAPES.flatten(1)[which])
    images = tiles.reshape(n, 4, 4, 3, 3).transpose(2, 3).reshape(n, 1, 12, 12)
    return images + 0.3 * torch.randn(n, 1, 12, 12, generator=draws), (which[:, 0] == which[:, 1]).long()


@pytest.mark.learning
@pytest.mark.deadline(60)  # a few seconds each on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_tells_pairs_of_equal_shapes_from_others(self, seed):
        torch.manual_seed(seed)
        (images, labels), (new, answers) = pairs(1500, seed), pairs(500, seed + 1000)
        model = VisionTransformer((12, 12), 3, 1, 32, 1, 4, 64, 2, "mean")
        optimizer, draws = torch.optim.Adam(model.parameters(), 0.005), seeded(seed)
        low = 0
        for _ in range(400):  # ten seeds need 40 to 160
            rows = torch.randint(1500, (48,), generator=draws)
            loss = F.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            low = low + 1 if loss.item() < 0.1 else 0
            if low == 3:
                break
        # The baseline: the best linear map from pixels.
        ones = torch.ones(1500, 1)
        line = torch.linalg.lstsq(torch.cat([images.flatten(1), ones], 1), 2.0 * labels[:, None] - 1).solution
        linear = ((torch.cat([new.flatten(1), ones[:500]], 1) @ line)[:, 0] > 0) == answers
        with torch.no_grad():
            learned = (model(new).argmax(1) == answers).float().mean().item()
        if learned < linear.float().mean().item() + 0.25:
            fail(
                f"{learned:.2f} of new pairs are told right; a linear map has {linear.float().mean():.2f}.",
                evidence=round(learned, 1),
            )


class TestOnTheGpu:
    def test_the_functions(self, gpu):
        gpu.check(lambda x: patchify(x, 2), normal(2, 3, 4, 6).requires_grad_(), what="patchify")
        gpu.check(lambda x: unpatchify(x, 2, 4, 6), normal(2, 6, 12).requires_grad_(), what="unpatchify")
        positions = normal(7, 4).requires_grad_()
        gpu.check(lambda x: interpolate_positions(x, (2, 3), (4, 2)), positions, what="interpolate_positions")
        weights = [normal(2, 4, 4, seed=i).softmax(-1).requires_grad_() for i in range(2)]
        gpu.check(attention_rollout, weights)

    def test_the_modules(self, gpu):
        gpu.check(randomized(PatchEmbedding(2, 3, 5)), normal(2, 3, 4, 6).requires_grad_())
        gpu.check(a_model("class"), normal(2, 3, 4, 6).requires_grad_())
        gpu.check(a_model("mean"), normal(2, 3, 6, 8).requires_grad_())
