"""Judges k07_visual_question_answering against sets of objects, sums over all worlds, and signs nobody has seen."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_11_multimodal.k07_visual_question_answering import (
    FiLMFinder,
    VQAModel,
    compositional_split,
    execute,
    exist,
    parse,
    query,
    relate,
    spatial_relations,
)

pytestmark = [from_scratch("transformers", "torchvision", "einops"), pure()]

VALUES = {"color": ["red", "green", "blue"], "shape": ["square", "circle", "star", "cross"]}
NAMES = ("left", "right", "above", "below")


def chances(*shape: int, seed: int = 0) -> torch.Tensor:
    """Between 0.05 and 0.95."""
    return 0.05 + 0.9 * torch.rand(shape, generator=seeded(seed), dtype=F64)


class TestCompositionalSplit:
    def test_the_example_worked_by_hand(self):
        held = torch.tensor([[False, True], [False, False]])
        train, test = compositional_split(torch.tensor([[[0, 0], [1, 1]], [[1, 0], [0, 1]]]), held)
        assert_equal((train, test), (torch.tensor([True, False]), torch.tensor([False, True])))

    @pytest.mark.parametrize(("colors", "shapes", "objects"), [(3, 4, 2), (5, 3, 4), (4, 4, 1)])
    def test_scene_by_scene(self, colors, shapes, objects):
        generator = seeded(colors)
        scenes = torch.stack([torch.randint(k, (60, objects), generator=generator) for k in (colors, shapes)], -1)
        held = torch.zeros(colors, shapes, dtype=torch.bool)
        held[0, 1] = held[2, 0] = held[1, 2] = True
        seen = [any(held[c, s].item() for c, s in scene) for scene in scenes.tolist()]
        train, test = compositional_split(scenes, held)
        assert_equal(test, torch.tensor(seen))
        assert_equal(train, ~torch.tensor(seen))

    @pytest.mark.parametrize("lost", [2, 4])
    def test_refuses_a_color_that_nobody_could_learn(self, lost):
        held = torch.zeros(5, 3, dtype=torch.bool)
        held[lost] = True
        with raises(ValueError, lost):
            compositional_split(torch.zeros(1, 1, 2, dtype=torch.int64), held)

    @pytest.mark.parametrize("lost", [1, 3])
    def test_refuses_a_shape_that_nobody_could_learn(self, lost):
        held = torch.zeros(2, 4, dtype=torch.bool)
        held[:, lost] = True
        with raises(ValueError, lost):
            compositional_split(torch.zeros(1, 1, 2, dtype=torch.int64), held)

    def test_one_pair_left_is_enough(self):
        held = ~torch.eye(3, dtype=torch.bool)
        train, _ = compositional_split(torch.tensor([[[0, 0]], [[0, 2]]]), held)
        assert_equal(train, torch.tensor([True, False]))

    def test_on_the_gpu(self, gpu):
        held = torch.eye(3, dtype=torch.bool)
        gpu.check(compositional_split, torch.tensor([[[0, 1], [2, 2]], [[1, 0], [0, 2]]]), held)


class TestSpatialRelations:
    def test_the_example_worked_by_hand(self):
        found = spatial_relations(f64([1, 1], [3, 2], [2, 4]))
        assert_close(found["left"], f64([0, 1, 1], [0, 0, 1], [0, 0, 0]))
        assert_close(found["above"], f64([0, 1, 1], [0, 0, 0], [0, 1, 0]))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_pair_by_pair_with_ties(self, lead):
        centers = torch.randint(4, (*lead, 5, 2), generator=seeded(1)).to(F64)
        found = spatial_relations(centers)
        expected = {name: torch.zeros(*lead, 5, 5, dtype=F64) for name in NAMES}
        for at in itertools.product(*map(range, lead)):
            for i, j in itertools.product(range(5), repeat=2):
                (row, column), (other_row, other_column) = centers[at][i].tolist(), centers[at][j].tolist()
                for name, holds in zip(
                    NAMES,
                    (column < other_column, column > other_column, row < other_row, row > other_row),
                    strict=True,
                ):
                    expected[name][(*at, i, j)] = float(holds)
        assert_close(found, expected)

    def test_the_dtype_of_the_centers(self):
        assert_equal(spatial_relations(torch.ones(2, 2))["below"].dtype, torch.float32)

    def test_on_the_gpu(self, gpu):
        gpu.check(spatial_relations, normal(4, 2))


def at_least_one(mask: list[float]) -> float:
    """Sum over all worlds in which at least one object is there."""
    worlds = itertools.product((0, 1), repeat=len(mask))
    return sum(math.prod(m if w else 1 - m for m, w in zip(mask, world, strict=True)) for world in worlds if any(world))


class TestExist:
    def test_the_examples_worked_by_hand(self):
        assert_close(exist(f64([0.5, 0.5, 0], [0.5, 0, 1])), f64(0.75, 1))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_all_worlds(self, lead):
        mask = chances(*lead, 4)
        expected = [at_least_one(row) for row in mask.reshape(-1, 4).tolist()]
        assert_close(exist(mask), torch.tensor(expected, dtype=F64).reshape(lead))

    def test_no_objects(self):
        assert_close(exist(torch.zeros(3, 0, dtype=F64)), torch.zeros(3, dtype=F64))

    def test_gradients(self):
        torch.autograd.gradcheck(exist, [chances(2, 3).requires_grad_()])

    def test_on_the_gpu(self, gpu):
        gpu.check(exist, chances(2, 3).requires_grad_())


class TestRelate:
    def test_the_example_worked_by_hand(self):
        left = f64([0, 1, 1], [0, 0, 1], [0, 0, 0])
        assert_close(relate(f64(0, 0.5, 1), left), f64(1, 1, 0))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_object_by_object(self, lead):
        mask, relation = chances(*lead, 4), chances(*lead, 4, 4, seed=1)
        rows = (mask[..., None, :] * relation).reshape(-1, 4).tolist()
        expected = torch.tensor([at_least_one(row) for row in rows], dtype=F64).reshape(*lead, 4)
        assert_close(relate(mask, relation), expected)

    def test_nothing_meant(self):
        assert_close(relate(torch.zeros(3, dtype=F64), chances(3, 3)), torch.zeros(3, dtype=F64))

    def test_gradients(self):
        leaves = [chances(2, 3).requires_grad_(), chances(2, 3, 3, seed=1).requires_grad_()]
        torch.autograd.gradcheck(relate, leaves)

    def test_on_the_gpu(self, gpu):
        gpu.check(relate, chances(2, 3).requires_grad_(), chances(2, 3, 3, seed=1).requires_grad_())


class TestQuery:
    def test_the_example_worked_by_hand(self):
        assert_close(query(f64(0.2, 0.6), f64([1, 0], [0.5, 0.5])), f64(0.625, 0.375))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_value_by_value(self, lead):
        mask, table = chances(*lead, 4), chances(*lead, 4, 3, seed=1)
        expected = [
            [sum(m * row[v] for m, row in zip(ms, rows, strict=True)) / sum(ms) for v in range(3)]
            for ms, rows in zip(mask.reshape(-1, 4).tolist(), table.reshape(-1, 4, 3).tolist(), strict=True)
        ]
        assert_close(query(mask, table), torch.tensor(expected, dtype=F64).reshape(*lead, 3))

    def test_small_chances_count_as_much(self):
        mask, table = chances(4), chances(4, 3, seed=1)
        assert_close(query(1e-12 * mask, table), query(mask, table))

    def test_nothing_meant(self):
        mask = torch.zeros(2, 3, dtype=F64).requires_grad_()
        found = query(mask, chances(2, 3, 4))
        assert_close(found.detach(), torch.zeros(2, 4, dtype=F64))
        found.sum().backward()
        assert_equal(bool(mask.grad.isfinite().all()), True)

    def test_gradients(self):
        torch.autograd.gradcheck(query, [chances(2, 3).requires_grad_(), chances(2, 3, 4, seed=1).requires_grad_()])

    def test_on_the_gpu(self, gpu):
        gpu.check(query, chances(2, 3).requires_grad_(), chances(2, 3, 4, seed=1).requires_grad_())


WORDS = [*VALUES["color"], *VALUES["shape"][:3]]


def a_world(seed: int, n: int = 6) -> tuple[list[set[str]], list[tuple[float, float]]]:
    """What each object is, and its row and column."""
    generator = seeded(seed)
    colors, shapes = (torch.randint(3, (n,), generator=generator).tolist() for _ in range(2))
    what = [{VALUES["color"][c], VALUES["shape"][s]} for c, s in zip(colors, shapes, strict=True)]
    return what, [tuple(center) for center in torch.randint(4, (n, 2), generator=generator).tolist()]


def stands(name: str, one: tuple[float, float], other: tuple[float, float]) -> bool:
    return {
        "left": one[1] < other[1],
        "right": one[1] > other[1],
        "above": one[0] < other[0],
        "below": one[0] > other[0],
    }[name]


def run(program, what, centers):
    """A program on sets of objects: what `execute` does where everything is sure."""
    stack = []
    for step, argument in program:
        if step == "scene":
            stack.append(set(range(len(what))))
        elif step == "filter":
            stack.append({i for i in stack.pop() if argument in what[i]})
        elif step == "relate":
            meant = stack.pop()
            stack.append({i for i in range(len(what)) if any(stands(argument, centers[i], centers[j]) for j in meant)})
        elif step == "or":
            stack.append(stack.pop() | stack.pop())
        elif step == "count":
            stack.append(len(stack.pop()))
        elif step == "exist":
            stack.append(bool(stack.pop()))
        elif step == "query":
            meant = stack.pop()
            stack.append(sorted(v for i in meant for v in what[i] if v in VALUES[argument]))
        else:
            fail(f"parse() gives a step that doesn't exist: {step!r}", evidence=step)
    return stack


QUESTIONS = {
    "how many objects are there?": "scene; count",
    "how many red squares are there?": "scene; filter red; filter square; count",
    "is there a green star": "scene; filter green; filter star; exist",
    "what color is the square left of the circle?": "scene; filter circle; relate left; filter square; query color",
    "what shape is the object right of the red star?": "scene; filter red; filter star; relate right; query shape",
    "how many blue objects above a square are there?": "scene; filter square; relate above; filter blue; count",
    "how many stars below the circle left of a red square are there?": (
        "scene; filter red; filter square; relate left; filter circle; relate below; filter star; count"
    ),
    "is there a star or a blue circle?": "scene; filter star; scene; filter blue; filter circle; or; exist",
    "how many squares above a circle or stars are there?": (
        "scene; filter circle; relate above; filter square; scene; filter star; or; count"
    ),
    "how many reds or stars left of a green object or blue circles are there?": (
        "scene; filter red; scene; filter green; relate left; filter star; or; scene; filter blue; filter circle; or; count"
    ),
    "what color is the object": "scene; query color",
}


def steps(text: str) -> list[tuple[str, str]]:
    return [(step.split()[0], " ".join(step.split()[1:])) for step in text.split("; ")]


class TestParse:
    @pytest.mark.parametrize("question", QUESTIONS)
    def test_the_program_answers_the_question(self, question):
        program = parse(question)
        for seed in range(40):
            world = a_world(seed)
            assert_equal(run(program, *world), run(steps(QUESTIONS[question]), *world))

    def test_steps_are_pairs_of_texts(self):
        program = parse("how many red squares left of a star or circles are there?")
        assert_equal({(type(step), type(argument)) for step, argument in program}, {(str, str)})

    @pytest.mark.parametrize("question", ["why is the square red?", "how many squares?", "what color the square"])
    def test_refuses_other_questions(self, question):
        with raises(ValueError, question):
            parse(question)


def tables(what, centers):
    """The same world as `execute` takes it."""
    attributes = {
        name: torch.tensor([[float(v in object_) for v in values] for object_ in what], dtype=F64)
        for name, values in VALUES.items()
    }
    sides = {
        name: torch.tensor([[float(stands(name, a, b)) for b in centers] for a in centers], dtype=F64) for name in NAMES
    }
    return attributes, sides


def unsure(*lead: int, n: int = 4):
    attributes = {"color": chances(*lead, n, 3, seed=1), "shape": chances(*lead, n, 4, seed=2)}
    return attributes, {name: chances(*lead, n, n, seed=3 + k) for k, name in enumerate(NAMES)}


class TestExecute:
    def test_an_attribute_with_a_single_value(self):
        sure = torch.ones(2, 3, 1, dtype=F64)
        found = execute([("scene", ""), ("count", "")], {"color": ["red"]}, {"color": sure}, {})
        assert_close(found, torch.full((2,), 3.0, dtype=F64))

    @pytest.mark.parametrize("text", QUESTIONS.values())
    def test_where_everything_is_sure(self, text):
        for seed in range(10):
            what, centers = a_world(seed)
            found = execute(steps(text), VALUES, *tables(what, centers))
            (expected,) = run(steps(text), what, centers)
            if isinstance(expected, list):
                names = VALUES[steps(text)[-1][1]]
                expected = torch.tensor([expected.count(v) / max(len(expected), 1) for v in names], dtype=F64)
            else:
                expected = torch.tensor(float(expected), dtype=F64)
            assert_close(found, expected)

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_with_chances(self, lead):
        attributes, sides = unsure(*lead)
        red, star = attributes["color"][..., 0], attributes["shape"][..., 2]
        blue = attributes["color"][..., 2]
        beside = 1 - (1 - star[..., None, :] * sides["right"]).prod(-1)
        meant = 1 - (1 - beside * red) * (1 - blue)
        text = "scene; filter star; relate right; filter red; scene; filter blue; or; "
        assert_close(execute(steps(text + "count"), VALUES, attributes, sides), meant.sum(-1))
        assert_close(execute(steps(text + "exist"), VALUES, attributes, sides), 1 - (1 - meant).prod(-1))
        expected = (meant[..., None] * attributes["shape"]).sum(-2) / meant.sum(-1, keepdim=True)
        assert_close(execute(steps(text + "query shape"), VALUES, attributes, sides), expected)

    @pytest.mark.parametrize("wrong", ["glue", "filter purple", "relate behind", "query weight"])
    def test_refuses_what_it_doesnt_know(self, wrong):
        with raises(ValueError, wrong.split()[-1]):
            execute([("scene", ""), *steps(wrong)], VALUES, *unsure())

    def test_gradients_reach_the_detector(self):
        attributes, sides = unsure()
        program = steps("scene; filter star; relate above; filter red; count")

        def answer(color, shape, above):
            return execute(program, VALUES, {"color": color, "shape": shape}, sides | {"above": above})

        leaves = [t.requires_grad_() for t in (attributes["color"], attributes["shape"], sides["above"])]
        torch.autograd.gradcheck(answer, leaves)

    @pytest.mark.parametrize("last", ["count", "exist", "query shape"])
    def test_on_the_gpu(self, gpu, last):
        attributes, sides = unsure(2)
        leaves = {name: t.requires_grad_() for name, t in attributes.items()}
        program = steps("scene; filter star; relate left; scene; filter red; or; " + last)
        gpu.check(lambda a, r: execute(program, VALUES, a, r), leaves, sides, what="execute")


def scores_by_hand(finder: FiLMFinder, x: torch.Tensor, word: int) -> torch.Tensor:
    """Of places x (N, width)."""
    both = finder.film.weight @ finder.embed.weight[word] + finder.film.bias
    width = x.shape[1]
    hidden = torch.stack([(x[n] + both[:width] * x[n] + both[width:]).clamp_min(0) for n in range(len(x))])
    return hidden @ finder.score.weight[0] + finder.score.bias


class TestFiLMFinder:
    @pytest.mark.parametrize(("width", "words"), [(3, 5), (6, 4)])
    def test_place_by_place(self, width, words):
        finder, x = named_weights(FiLMFinder(width, words)), normal(2, 5, width)
        with torch.no_grad():
            found = finder(x, torch.tensor([1, 3]))
            assert_close(found, torch.stack([scores_by_hand(finder, x[0], 1), scores_by_hand(finder, x[1], 3)]))

    def test_leading_axes_broadcast(self):
        finder, x = named_weights(FiLMFinder(4, 6)), normal(2, 1, 5, 4)
        words = torch.tensor([[1, 2, 5], [0, 3, 4]])
        with torch.no_grad():
            expected = [[scores_by_hand(finder, x[b, 0], w) for w in row] for b, row in enumerate(words.tolist())]
            assert_close(finder(x, words), torch.stack([torch.stack(row) for row in expected]))
            assert_close(finder(x[0, 0], words[0, 1]), expected[0][1])

    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in FiLMFinder(3, 5).named_parameters()}
        expected = {"embed.weight": (5, 3), "film.weight": (6, 3), "film.bias": (6,), "score.weight": (1, 3)}
        assert_equal(shapes, expected | {"score.bias": (1,)})

    def test_all_of_it_is_trained(self):
        finder, x = named_weights(FiLMFinder(4, 3)), normal(3, 5, 4).requires_grad_()
        (finder(x, torch.tensor([0, 1, 2])) * normal(3, 5, seed=1)).sum().backward()
        without = [name for name, p in finder.named_parameters() if p.grad is None or not p.grad.any()]
        assert_equal((without, bool(x.grad.any())), ([], True))

    def test_on_the_gpu(self, gpu):
        gpu.check(named_weights(FiLMFinder(4, 6)), normal(3, 5, 4).requires_grad_(), torch.tensor([1, 5, 0]))


def a_model(seed: int = 0) -> VQAModel:
    """Of 3 channels, six patches of side 2, and 7 words."""
    return named_weights(VQAModel(3, 2, 6, 5, 7, 4), seed=seed)


ASKED = torch.tensor([[1, 4, 0, 0], [3, 0, 6, 2]])


class TestVQAModel:
    def test_step_by_step(self):
        model, images = a_model(), normal(2, 3, 4, 6)
        with torch.no_grad():
            expected = []
            for image, question in zip(images, ASKED.tolist(), strict=True):
                patches = [image[:, r : r + 2, c : c + 2] for r in (0, 2) for c in (0, 2, 4)]
                kernel = model.stem.weight
                x = torch.stack([(kernel * patch).sum((1, 2, 3)) + model.stem.bias for patch in patches])
                total = sum(scores_by_hand(model.finder, x, word) for word in question if word)
                attended = (total.softmax(0)[:, None] * model.positions).sum(0)
                expected.append(model.head.weight @ attended + model.head.bias)
            assert_close(model(images, ASKED), torch.stack(expected))

    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in VQAModel(3, 2, 6, 5, 7, 4).named_parameters()}
        expected = {
            "stem.weight": (5, 3, 2, 2), "stem.bias": (5,), "positions": (6, 5), "head.weight": (4, 5), "head.bias": (4,),
            "finder.embed.weight": (7, 5), "finder.film.weight": (10, 5), "finder.film.bias": (10,),
            "finder.score.weight": (1, 5), "finder.score.bias": (1,),
        }  # fmt: skip
        assert_equal(shapes, expected)

    def test_positions_at_the_start(self):
        positions = VQAModel(3, 2, 100, 50, 7, 4).positions.detach()
        # 5000 numbers: the standard errors are 0.007 and 0.005.
        if abs(positions.mean()) > 0.04 or abs(positions.std() - 0.5) > 0.03:
            fail("positions aren't normal with deviation 0.5 at the start.", evidence=round(positions.std().item(), 1))

    def test_filling_says_nothing(self):
        model, images = a_model(), normal(2, 3, 4, 6)
        longer = torch.cat([torch.zeros(2, 1, dtype=torch.int64), ASKED, torch.zeros(2, 3, dtype=torch.int64)], 1)
        assert_close(model(images, longer).detach(), model(images, ASKED).detach())

    def test_all_of_it_is_trained(self):
        model, images = a_model(), normal(2, 3, 4, 6).requires_grad_()
        (model(images, ASKED) * normal(2, 4, seed=1)).sum().backward()
        # A softmax doesn't change where all scores get the same.
        without = [
            name
            for name, p in model.named_parameters()
            if name != "finder.score.bias" and (p.grad is None or not p.grad.any())
        ]
        assert_equal((without, bool(images.grad.any())), ([], True))

    def test_on_the_gpu(self, gpu):
        gpu.check(a_model(), normal(2, 3, 4, 6).requires_grad_(), ASKED)


SHAPES = torch.tensor(
    [[float(c) for c in shape] for shape in ("111101111", "010111010", "101010101", "111010010")]
).view(4, 1, 3, 3)
COLORS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
HELD = torch.eye(4, dtype=torch.bool)


def signs(n: int, generator: torch.Generator, new: bool = False, single: bool = False):
    """Images (n, 3, 10, 10) of four signs, questions (n, 2), and where the sign is that is asked for.

    A sign has a frame of one of four colors and one of four shapes in white.  Words 1 to 4 are colors, 5 to 8 shapes.
    Its color stands in the scene once more, and so does its shape: one word alone doesn't tell.  new: it is of a pair
    that is held out.  single: the question is one word, and the signs differ in it.
    """
    kept: list[torch.Tensor] = []
    while sum(map(len, kept)) < n:
        color, shape = (torch.randint(4, (4 * n, 4), generator=generator) for _ in range(2))
        if single:
            color, shape = (torch.rand(4 * n, 4, generator=generator).argsort(1) for _ in range(2))
        else:
            color[:, 1], shape[:, 2] = color[:, 0], shape[:, 0]
        pairs = torch.stack([color, shape], -1)
        alone = (pairs[:, 1:] != pairs[:, :1]).any(-1).all(1)
        held = HELD[color, shape]
        kept.append(pairs[alone & (held[:, 0] if new else ~held.any(1))])
    pairs = torch.cat(kept)[:n]
    place = torch.rand(n, 4, generator=generator).argsort(1)
    tiles = COLORS[pairs[..., 0]][..., None, None].repeat(1, 1, 1, 5, 5)
    tiles[..., 1:4, 1:4] = SHAPES[pairs[..., 1]]
    images = tiles[torch.arange(n)[:, None], place.argsort(1)].view(n, 2, 2, 3, 5, 5).permute(0, 3, 1, 4, 2, 5)
    images = images.reshape(n, 3, 10, 10) + 0.1 * torch.randn(n, 3, 10, 10, generator=generator)
    questions = pairs[:, 0] + torch.tensor([1, 5])
    if single:
        questions = questions * F.one_hot(torch.randint(2, (n,), generator=generator), 2)
    return images, questions, place[:, 0]


def train(model, data, generator: torch.Generator, turns: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(turns):
        chosen = torch.randint(len(data[0]), (64,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(data[0][chosen], data[1][chosen]), data[2][chosen]).backward()
        optimizer.step()


class Blind(nn.Module):
    """Sees the question alone."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, images: torch.Tensor, questions: torch.Tensor) -> torch.Tensor:
        return self.head(self.words(questions).sum(1).relu())


def learn(seed: int) -> tuple[float, float]:
    """How many questions about pairs never seen are right: blind, and with the picture."""
    torch.manual_seed(seed)
    generator = seeded(seed)
    kinds = [signs(1500, generator), signs(1500, generator, single=True)]
    data = [torch.cat(parts) for parts in zip(*kinds, strict=True)]
    images, questions, answers = signs(400, generator, new=True)
    found = []
    for model in (Blind(), VQAModel(3, 5, 4, 32, 9, 4)):
        train(model, data, generator, 150)
        with torch.no_grad():
            found.append((model(images, questions).argmax(1) == answers).double().mean().item())
    return found[0], found[1]


@pytest.mark.learning
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_finds_signs_of_pairs_it_has_never_seen(self, seed):
        blind, seeing = learn(seed)
        # Chance is 0.25, and 400 questions have a standard error of 0.022.
        if blind > 0.36:
            fail(f"The question alone gives {blind:.0%}: it gives its answer away.", evidence="blind")
        if seeing < blind + 0.4:
            fail(f"{seeing:.0%} of the new pairs are found; blind it is {blind:.0%}.", evidence=round(seeing, 1))
