"""Judges k04_clip by hand, against transformers' CLIP, on real ranks, and on captions of coloured shapes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_11_multimodal.k04_clip import (
    Clip,
    TextEncoder,
    classify,
    contrastive_loss,
    distributed_loss,
    gather,
    similarity_logits,
    zero_shot_classifier,
)

pytestmark = [
    from_scratch(
        "torch.nn.functional.cosine_similarity", "torch.cosine_similarity", "torch.nn.CosineSimilarity",
        "torch.distributed.nn", "transformers",
    ),
    pure(),
    pytest.mark.deadline(60),  # the first test that imports transformers takes a busy machine a while
]  # fmt: skip


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64)


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, with all parameters random, those too that start at 0 or 1."""
    return named_weights(module, 0.4, seed)


class TestSimilarityLogits:
    def test_the_example_worked_by_hand(self):
        found = similarity_logits(f64([1, 0], [0.6, 0.8]), f64([1, 0], [0, 1]), number(math.log(2)))
        assert_close(found, f64([2, 0], [1.2, 1.6]))

    @pytest.mark.parametrize(("n", "m", "d"), [(3, 3, 4), (2, 5, 3), (6, 1, 2)])
    @pytest.mark.parametrize("log_scale", [0.0, -0.7, 2.5])
    def test_cosines_one_by_one(self, n, m, d, log_scale):
        images, texts = 3 * normal(n, d), normal(m, d, seed=1)
        length = [[math.sqrt(sum(v * v for v in row)) for row in one.tolist()] for one in (images, texts)]
        expected = [
            [math.exp(log_scale) * (images[i] @ texts[j]).item() / length[0][i] / length[1][j] for j in range(m)]
            for i in range(n)
        ]
        assert_close(similarity_logits(images, texts, number(log_scale)), torch.tensor(expected, dtype=F64))

    def test_the_slope_of_the_scale(self):
        log_scale = number(1.5).requires_grad_()
        found = similarity_logits(normal(3, 4), normal(2, 4, seed=1), log_scale)
        upstream = normal(3, 2, seed=2)
        (found * upstream).sum().backward()
        assert_close(log_scale.grad, (found.detach() * upstream).sum())

    def test_gradients_flow(self):
        leaves = [normal(3, 4).requires_grad_(), normal(2, 4, seed=1).requires_grad_(), number(0.5).requires_grad_()]
        torch.autograd.gradcheck(similarity_logits, leaves)

    def test_a_vector_of_zeros(self):
        images = torch.cat([torch.zeros(1, 4, dtype=F64), normal(2, 4)]).requires_grad_()
        texts = torch.cat([normal(2, 4, seed=1), torch.zeros(1, 4, dtype=F64)]).requires_grad_()
        found = similarity_logits(images, texts, number(2.0))
        found.sum().backward()
        assert_close((found[0].detach(), found[:, 2].detach()), (torch.zeros(3, dtype=F64), torch.zeros(3, dtype=F64)))
        assert_equal((bool(images.grad.isfinite().all()), bool(texts.grad.isfinite().all())), (True, True))


def loss_by_hand(logits: list[list[float]]) -> float:
    n, total = len(logits), 0.0
    for i in range(n):
        row, column = logits[i], [line[i] for line in logits]
        for values in (row, column):
            total += math.log(sum(math.exp(v - values[i]) for v in values))
    return total / (2 * n)


class TestContrastiveLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(contrastive_loss(f64([2, 0], [1.2, 1.6])), number(0.2987), atol=1e-4)  # four digits are given

    @pytest.mark.parametrize("n", [2, 3, 7])
    def test_one_by_one(self, n):
        logits = 2 * normal(n, n, seed=n)
        assert_close(contrastive_loss(logits), number(loss_by_hand(logits.tolist())))

    def test_a_single_pair_costs_nothing(self):
        assert_close(contrastive_loss(f64([-3.0])), number(0.0))

    def test_all_alike_costs_log_n(self):
        assert_close(contrastive_loss(torch.full((5, 5), 0.7, dtype=F64)), number(math.log(5)))

    def test_turned_around_it_is_the_same(self):
        logits = 3 * normal(4, 4)
        assert_close(contrastive_loss(logits.T.contiguous()), contrastive_loss(logits))

    def test_the_gradient(self):
        logits = normal(4, 4).requires_grad_()
        (3 * contrastive_loss(logits)).backward()
        x, one = logits.detach(), torch.eye(4, dtype=F64)
        assert_close(logits.grad, 3 * (x.softmax(1) + x.softmax(0) - 2 * one) / 8)

    @pytest.mark.parametrize("size", [1000.0, -1000.0])
    def test_large_logits(self, size):
        logits = (size * torch.eye(3, dtype=F64)).requires_grad_()
        loss = contrastive_loss(logits)
        loss.backward()
        assert_close(loss.detach(), number(0.0 if size > 0 else 1000 + math.log(2)))
        assert_equal(bool(logits.grad.isfinite().all()), True)

    @pytest.mark.parametrize(("n", "m"), [(2, 3), (5, 4)])
    def test_refuses_what_isnt_square(self, n, m):
        with raises(ValueError, n, m):
            contrastive_loss(normal(n, m))


TEXT = {
    "small": dict(vocabulary=13, context=7, d_model=12, layers=2, heads=3, d_ff=20, end=11),
    "other": dict(vocabulary=9, context=5, d_model=8, layers=1, heads=2, d_ff=6, end=0),
}


def transformers_clip(case: str, images: int = 8) -> nn.Module:
    """transformers' model of these sizes in float64, all parameters random."""
    from transformers import CLIPConfig, CLIPModel

    s = TEXT[case]
    texts = dict(
        vocab_size=s["vocabulary"], max_position_embeddings=s["context"], hidden_size=s["d_model"],
        num_hidden_layers=s["layers"], num_attention_heads=s["heads"], intermediate_size=s["d_ff"], hidden_act="gelu",
        layer_norm_eps=1e-5, eos_token_id=s["end"], bos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    pictures = dict(
        hidden_size=10, num_hidden_layers=1, num_attention_heads=2, intermediate_size=14, image_size=images, patch_size=4
    )
    config = CLIPConfig(text_config=texts, vision_config=pictures, projection_dim=6)
    return randomized(CLIPModel(config), 5).eval()


RENAMED = {
    "embeddings.token_embedding.": "embedding.", "embeddings.position_embedding.weight": "positions",
    "encoder.layers.": "encoder.blocks.", "self_attn.": "attention.", "layer_norm1": "norm1", "layer_norm2": "norm2",
    "mlp.fc1": "feed_forward.up_proj", "mlp.fc2": "feed_forward.down_proj", "final_layer_norm": "encoder.norm",
}  # fmt: skip


def load_texts(model: nn.Module, theirs: nn.Module) -> None:
    own = {}
    for name, value in theirs.text_model.state_dict().items():
        if name.endswith("position_ids"):
            continue
        name = name.removeprefix("text_model.")
        for before, after in RENAMED.items():
            name = name.replace(before, after)
        own[name] = value
    parts = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert_equal(parts, {name: tuple(value.shape) for name, value in own.items()})
    model.load_state_dict(own)


def texts_of(case: str, b: int, n: int, seed: int = 0) -> torch.Tensor:
    """Ids with the end token at several places, and now and then once more behind it."""
    s = TEXT[case]
    ids = torch.randint(2, s["vocabulary"] - 2, (b, n), generator=seeded(seed))
    for i in range(b):
        ids[i, i % n] = s["end"]
        ids[i, n - 1] = s["end"]
    return ids


class TestTextEncoder:
    @pytest.mark.parametrize("case", list(TEXT))
    @pytest.mark.parametrize("n", [2, 5])
    def test_the_vectors_are_those_of_transformers(self, case, n):
        theirs = transformers_clip(case)
        model = TextEncoder(**TEXT[case]).double()
        load_texts(model, theirs)
        ids = texts_of(case, 6, n)
        assert_close(model(ids).detach(), theirs.text_model(ids).pooler_output.detach())

    def test_what_stands_behind_the_end_has_no_influence(self):
        model, ids = randomized(TextEncoder(**TEXT["small"])), texts_of("small", 5, 6)
        other = ids.clone()
        for i in range(5):
            other[i, i + 1 :] = 3
        assert_close(model(other).detach(), model(ids).detach())
        assert_close(model(ids[2:3, :3]).detach(), model(ids)[2:3].detach())

    def test_all_that_stands_before_has_some(self):
        model, ids = randomized(TextEncoder(**TEXT["small"])), texts_of("small", 1, 6)
        ids[0] = torch.tensor([4, 5, 6, 7, 11, 8])
        for place in range(4):
            other = ids.clone()
            other[0, place] = 2
            if torch.allclose(model(other), model(ids), atol=1e-6):
                fail(f"A text doesn't change with its token {place}.", evidence=place)

    def test_the_order_counts(self):
        model = randomized(TextEncoder(**TEXT["small"]))
        vectors = model(torch.tensor([[4, 5, 6, 11], [5, 4, 6, 11]]))
        assert_equal(torch.allclose(vectors[0], vectors[1], atol=1e-6), False)

    def test_every_parameter_is_trained(self):
        model = randomized(TextEncoder(**TEXT["small"]))
        (model(texts_of("small", 5, 7)) * normal(5, 12)).sum().backward()
        without = [
            name
            for name, p in model.named_parameters()
            if "k_proj.bias" not in name and (p.grad is None or not p.grad.abs().sum() > 0)
        ]
        assert_equal(without, [])

    @pytest.mark.parametrize("row", [0, 2])
    @pytest.mark.parametrize("case", list(TEXT))
    def test_refuses_a_text_without_an_end(self, row, case):
        ids = texts_of(case, 4, 5)
        ids[:, 0] = 4
        ids[(row + 1) % 3, 0] = TEXT[case]["end"]
        ids[row] = ids[3] = 4
        with raises(ValueError, row, TEXT[case]["end"]):
            TextEncoder(**TEXT[case])(ids)


def a_clip(seed: int = 0, temperature: float = 0.07) -> Clip:
    tower = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh())
    model = Clip(tower, TextEncoder(**TEXT["small"]), 9, 12, 5, temperature)
    start = model.log_scale.item()
    model = randomized(model, seed)
    with torch.no_grad():
        model.log_scale.fill_(start)
    return model


class Pooled(nn.Module):
    """A tower of transformers'."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tower(x).pooler_output


class TestClip:
    @pytest.mark.parametrize("case", list(TEXT))
    def test_logits_and_loss_are_those_of_transformers(self, case):
        theirs = transformers_clip(case)
        texts = TextEncoder(**TEXT[case])
        model = Clip(Pooled(theirs.vision_model), texts, 10, TEXT[case]["d_model"], 6).double()
        load_texts(texts, theirs)
        with torch.no_grad():
            model.image_project.weight.copy_(theirs.visual_projection.weight)
            model.text_project.weight.copy_(theirs.text_projection.weight)
            model.log_scale.copy_(theirs.logit_scale)
        images, ids = normal(4, 3, 8, 8), texts_of(case, 4, 5)
        expected = theirs(input_ids=ids, pixel_values=images, return_loss=True)
        logits = model(images, ids)
        assert_close(logits.detach(), expected.logits_per_image.detach())
        assert_close(contrastive_loss(logits).detach(), expected.loss.detach())
        assert_close(model.encode_images(images).detach(), expected.image_embeds.detach())
        assert_close(model.encode_texts(ids).detach(), expected.text_embeds.detach())

    @pytest.mark.parametrize(("n", "m"), [(3, 5), (4, 2)])
    def test_images_are_rows(self, n, m):
        model, images, ids = a_clip(), normal(n, 3, 4), texts_of("small", m, 6)
        one = model.image_project(model.image_tower(images))
        other = model.text_project(model.text_tower(ids))
        cosines = [[(f @ g / f.norm() / g.norm()).item() for g in other] for f in one]
        assert_close(model(images, ids).detach(), torch.tensor(cosines, dtype=F64) / 0.07, rtol=1e-5)  # a float32 start

    @pytest.mark.parametrize(("temperature", "expected"), [(0.07, 2.6592600), (0.5, 0.6931472), (2.0, -0.6931472)])
    def test_the_scale_at_the_start(self, temperature, expected):
        found = Clip(nn.Identity(), nn.Identity(), 3, 4, 2, temperature).log_scale
        assert_close(found.detach(), torch.tensor(expected))

    def test_the_temperature_unless_told(self):
        assert_close(Clip(nn.Identity(), nn.Identity(), 3, 4, 2).log_scale.detach(), torch.tensor(2.65926))

    @pytest.mark.parametrize("width", [2, 6])
    def test_its_parameters(self, width):
        model = Clip(nn.Identity(), nn.Identity(), 3, 4, width)
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        expected = {"image_project.weight": (width, 3), "text_project.weight": (width, 4), "log_scale": ()}
        assert_equal(shapes, expected)

    def test_all_of_it_is_trained(self):
        model = a_clip()
        contrastive_loss(model(normal(4, 3, 4), texts_of("small", 4, 7))).backward()
        without = [
            name
            for name, p in model.named_parameters()
            if "k_proj.bias" not in name and (p.grad is None or not p.grad.abs().sum() > 0)
        ]
        assert_equal(without, [])

    @pytest.mark.parametrize(("scale", "expected"), [(250.0, 100.0), (100.5, 100.0), (99.0, 99.0), (0.01, 0.01)])
    def test_the_limit_of_the_scale(self, scale, expected):
        model = a_clip(temperature=1 / scale)
        kept = model.log_scale
        model.limit_scale()
        assert_equal((model.log_scale is kept, kept.requires_grad), (True, True))
        assert_close(kept.detach().exp(), number(expected), rtol=1e-5)  # it was made in float32

    @pytest.mark.parametrize("highest", [3.0, 40.0])
    def test_another_limit(self, highest):
        model = a_clip(temperature=0.01)
        model.limit_scale(highest)
        assert_close(model.log_scale.detach().exp(), number(highest), rtol=1e-5)


class TestZeroShotClassifier:
    def test_the_example_worked_by_hand(self):
        assert_close(zero_shot_classifier(f64([[3, 4], [0, 2]])), f64([1, 3]) / math.sqrt(10))

    @pytest.mark.parametrize(("classes", "templates"), [(3, 4), (1, 1), (5, 2)])
    def test_class_by_class(self, classes, templates):
        texts = normal(classes, templates, 6) * torch.arange(1.0, templates + 1)[:, None]
        expected = []
        for rows in texts:
            mean = sum(row / math.sqrt(row @ row) for row in rows) / templates
            expected.append(mean / math.sqrt(mean @ mean))
        assert_close(zero_shot_classifier(texts), torch.stack(expected))

    def test_gradients_flow(self):
        torch.autograd.gradcheck(zero_shot_classifier, [normal(2, 3, 4).requires_grad_()])


class TestClassify:
    @pytest.mark.parametrize("log_scale", [0.0, 3.0])
    @pytest.mark.parametrize(("n", "classes"), [(4, 3), (2, 6)])
    def test_one_by_one(self, n, classes, log_scale):
        images, classifier = 2 * normal(n, 5), zero_shot_classifier(normal(classes, 2, 5, seed=1))
        expected = []
        for image in images:
            weights = [math.exp(math.exp(log_scale) * (image @ c / image.norm()).item()) for c in classifier]
            expected.append([w / sum(weights) for w in weights])
        assert_close(classify(images, classifier, number(log_scale)), torch.tensor(expected, dtype=F64))

    def test_class_vectors_of_any_length(self):
        images, classifier = normal(3, 4), normal(5, 4, seed=1)
        expected = classify(images, classifier / classifier.norm(dim=1, keepdim=True), number(1.0))
        assert_close(classify(images, 7 * classifier, number(1.0)), expected)

    def test_gradients_flow(self):
        leaves = [normal(3, 4).requires_grad_(), normal(2, 4, seed=1).requires_grad_(), number(0.5).requires_grad_()]
        torch.autograd.gradcheck(classify, leaves)


def rows_of(rank: int, n: int, d: int, seed: int = 0) -> torch.Tensor:
    return normal(n, d, seed=seed + 10 * rank)


class TestGather:
    @pytest.mark.parametrize("n", [1, 3])
    def test_the_rows_of_all_ranks(self, ranks, n):
        expected = torch.cat([rows_of(rank, 2, 4) for rank in range(n)])
        for found in ranks(n, lambda rank: gather(rows_of(rank, 2, 4))):
            assert_close(found, expected)

    def test_the_gradient_is_the_sum_over_the_ranks(self, ranks):
        def work(rank):
            x = rows_of(rank, 2, 4).requires_grad_()
            (gather(x) * normal(6, 4, seed=50 + rank)).sum().backward()
            return x.grad

        total = sum(normal(6, 4, seed=50 + rank) for rank in range(3))
        assert_close(torch.cat(ranks(3, work)), total)

    def test_rows_that_arent_contiguous(self, ranks):
        def work(rank):
            x = rows_of(rank, 4, 2).T.requires_grad_()
            found = gather(x)
            found.sum().backward()
            return found.detach(), x.grad

        rows = torch.cat([rows_of(rank, 4, 2).T for rank in range(2)])
        for found, gradient in ranks(2, work):
            assert_close((found, gradient), (rows, torch.full((2, 4), 2.0, dtype=F64)))

    def test_the_gradient_that_comes_in_stays_as_it_is(self, ranks):
        def work(rank):
            upstream = normal(4, 4, seed=50 + rank)
            gather(rows_of(rank, 2, 4).requires_grad_()).backward(upstream)
            return upstream

        for rank, found in enumerate(ranks(2, work)):
            assert_close(found, normal(4, 4, seed=50 + rank))

    def test_without_a_process_group(self):
        x = normal(3, 4).requires_grad_()
        found = gather(x)
        (found * normal(3, 4, seed=1)).sum().backward()
        assert_close((found.detach(), x.grad), (x.detach(), normal(3, 4, seed=1)))


class TestDistributedLoss:
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_the_mean_over_ranks_is_the_loss_of_the_whole_batch(self, ranks, n):
        def work(rank):
            images, texts = rows_of(rank, 2, 4), 3 * rows_of(rank, 2, 4, seed=3)
            loss = distributed_loss(images, texts, number(1.2))
            assert_equal(loss.shape, torch.Size([]))
            return loss

        images, texts = (torch.cat([rows_of(rank, 2, 4, seed) for rank in range(n)]) for seed in (0, 3))
        expected = loss_by_hand(similarity_logits(images, texts, number(1.2)).tolist())
        assert_close(torch.stack(ranks(n, work)).mean(), number(expected))

    def test_each_rank_has_its_own_rows(self, ranks):
        def work(rank):
            return distributed_loss(rows_of(rank, 2, 4), rows_of(rank, 2, 4, seed=3), number(1.2))

        images, texts = (torch.cat([rows_of(rank, 2, 4, seed) for rank in range(3)]) for seed in (0, 3))
        logits = similarity_logits(images, texts, number(1.2))
        each = -(logits.log_softmax(1).diagonal() + logits.log_softmax(0).diagonal()) / 2
        assert_close(torch.stack(ranks(3, work)), each.reshape(3, 2).mean(1))

    def test_the_mean_gradient_is_that_of_the_whole_batch(self, ranks):
        """Towers of one matrix each, the same on all ranks."""

        def parameters():
            return [normal(5, 4, seed=7).requires_grad_(), normal(6, 4, seed=8).requires_grad_(), number(0.8).requires_grad_()]

        def work(rank):
            f, g, log_scale = parameters()
            distributed_loss(rows_of(rank, 2, 5) @ f, rows_of(rank, 2, 6, seed=3) @ g, log_scale).backward()
            return f.grad, g.grad, log_scale.grad

        found = ranks(3, work)
        f, g, log_scale = parameters()
        images, texts = (torch.cat([rows_of(rank, 2, d, seed) for rank in range(3)]) for d, seed in ((5, 0), (6, 3)))
        logits = log_scale.exp() * F.normalize(images @ f, dim=1) @ F.normalize(texts @ g, dim=1).T
        loss = -(logits.log_softmax(1).diagonal().mean() + logits.log_softmax(0).diagonal().mean()) / 2
        loss.backward()
        for i, leaf in enumerate((f, g, log_scale)):
            assert_close(torch.stack([one[i] for one in found]).mean(0), leaf.grad)

    @pytest.mark.parametrize("n", [1, 5])
    def test_without_a_process_group(self, n):
        images, texts, log_scale = normal(n, 4), normal(n, 4, seed=1), number(0.7)
        expected = loss_by_hand(similarity_logits(images, texts, log_scale).tolist())
        assert_close(distributed_loss(images, texts, log_scale), number(expected))


SHAPES = torch.tensor(
    [[[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[1, 0, 1], [0, 1, 0], [1, 0, 1]], [[1, 1, 1], [1, 0, 1], [1, 1, 1]], [[1, 1, 1], [0, 1, 0], [0, 1, 0]]]
)  # fmt: skip
COLOURS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
CAPTIONS = torch.tensor([[0, 1 + i // 4, 5 + i % 4, 9] for i in range(16)])  # start, colour, shape, end


def photos(copies: int, seed: int) -> torch.Tensor:
    """(copies, 16, 3, 9, 9): each of 4 colours and 4 shapes, somewhere in the image, under noise."""
    draws = seeded(seed)
    images = 0.2 * torch.randn(copies, 16, 3, 9, 9, generator=draws)
    places = torch.randint(7, (copies, 16, 2), generator=draws).tolist()
    for k in range(copies):
        for i, (row, column) in enumerate(places[k]):
            images[k, i, :, row : row + 3, column : column + 3] += COLOURS[i // 4][:, None, None] * SHAPES[i % 4]
    return images


@pytest.mark.learning
@pytest.mark.deadline(60)  # a few seconds each on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_tells_new_photos_by_captions(self, seed):
        torch.manual_seed(seed)
        images, new, labels = photos(40, seed), photos(20, seed + 1000), torch.arange(16)
        tower = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 32))
        model = Clip(tower, TextEncoder(10, 4, 16, 1, 2, 16, 9), 32, 16, 16)
        optimizer, draws = torch.optim.Adam(model.parameters(), 0.005), seeded(seed)
        for _ in range(160):
            batch = images[torch.randint(40, (16,), generator=draws), labels]
            loss = contrastive_loss(model(batch, CAPTIONS))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.limit_scale()
        # The baseline: the best linear map from pixels to the 16 classes.
        x, y = (torch.cat([s.flatten(0, 1).flatten(1), torch.ones(16 * len(s), 1)], 1) for s in (images, new))
        line = torch.linalg.lstsq(x, F.one_hot(labels.repeat(40), 16).float()).solution
        linear = ((y @ line).argmax(1) == labels.repeat(20)).float().mean().item()
        with torch.no_grad():
            classifier = zero_shot_classifier(model.encode_texts(CAPTIONS)[:, None])
            chances = classify(model.encode_images(new.flatten(0, 1)), classifier, model.log_scale)
            learned = (chances.argmax(1) == labels.repeat(20)).float().mean().item()
        # Ten seeds: 0.61 to 0.94 of new photos, and 0.17 to 0.23 for the linear map.
        if learned < linear + 0.25:
            fail(
                f"{learned:.2f} of new photos are told right by captions; a linear map has {linear:.2f}.",
                evidence=round(learned, 1),
            )


class TestOnTheGpu:
    def test_the_functions(self, gpu):
        images, texts = normal(4, 5).requires_grad_(), normal(4, 5, seed=1).requires_grad_()
        log_scale = number(0.5).requires_grad_()
        gpu.check(similarity_logits, images, texts, log_scale)
        gpu.check(contrastive_loss, normal(4, 4).requires_grad_())
        gpu.check(zero_shot_classifier, normal(3, 2, 5).requires_grad_())
        gpu.check(classify, images, normal(3, 5).requires_grad_(), log_scale)
        gpu.check(gather, images)
        gpu.check(distributed_loss, images, texts, log_scale)

    def test_the_modules(self, gpu):
        ids = texts_of("small", 4, 6)
        gpu.check(randomized(TextEncoder(**TEXT["small"])), ids)
        gpu.check(a_clip(), normal(4, 3, 4).requires_grad_(), ids)

    def test_the_limit_of_the_scale(self, gpu):
        model = gpu(a_clip(temperature=0.001))
        model.limit_scale(5.0)
        assert_close(model.log_scale.detach().exp().cpu(), number(5.0), rtol=1e-5)  # it was made in float32
