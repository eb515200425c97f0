"""Visual question answering: the reference."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def compositional_split(scenes: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    for axis, name in ((1, "color"), (0, "shape")):
        lost = held.all(axis)
        if lost.any():
            raise ValueError(f"all pairs of {name} {lost.long().argmax().item()} are held out")
    test = held[scenes[..., 0], scenes[..., 1]].any(1)
    return ~test, test


def spatial_relations(centers: Tensor) -> dict[str, Tensor]:
    row, column = centers.unbind(-1)
    above = (row[..., :, None] < row[..., None, :]).to(centers.dtype)
    left = (column[..., :, None] < column[..., None, :]).to(centers.dtype)
    # i is right of j where j is left of i.
    return {"left": left, "right": left.mT, "above": above, "below": above.mT}


def exist(mask: Tensor) -> Tensor:
    # Not the sum: chances of 0.5 and 0.5 are no certainty.
    return 1 - (1 - mask).prod(-1)


def relate(mask: Tensor, relation: Tensor) -> Tensor:
    # For each object i: is there an object j that is meant and to which i is in that relation?
    return exist(mask[..., None, :] * relation)


def query(mask: Tensor, chances: Tensor) -> Tensor:
    total = mask.sum(-1, keepdim=True)
    # Divide by 1 where nothing is meant: 0 / 0 would put NaN into the gradients, too.
    share = mask / torch.where(total > 0, total, 1)
    return (share[..., None] * chances).sum(-2)


def describe(words: list[str]) -> list[tuple[str, str]]:
    if "or" in words:
        cut = words.index("or")
        return [*describe(words[:cut]), *describe(words[cut + 1 :]), ("or", "")]
    for place, word in enumerate(words):
        if word in ("left", "right", "above", "below"):
            # What stands behind the relation is found first.
            program = [*describe(words[place + 1 :]), ("relate", word)]
            words = words[:place]
            break
    else:
        program = [("scene", "")]
    values = [word.removesuffix("s") for word in words]
    return program + [("filter", value) for value in values if value != "object"]


def parse(question: str) -> list[tuple[str, str]]:
    words = [word for word in question.removesuffix("?").split() if word not in ("a", "the", "of")]
    match words:
        case ["how", "many", *phrase, "are", "there"]:
            return [*describe(phrase), ("count", "")]
        case ["is", "there", *phrase]:
            return [*describe(phrase), ("exist", "")]
        case ["what", attribute, "is", *phrase]:
            return [*describe(phrase), ("query", attribute)]
    raise ValueError(f"not a question of the three forms: {question!r}")


def execute(
    program: list[tuple[str, str]],
    values: dict[str, list[str]],
    attributes: dict[str, Tensor],
    relations: dict[str, Tensor],
) -> Tensor:
    place = {value: (attribute, k) for attribute, names in values.items() for k, value in enumerate(names)}
    stack: list[Tensor] = []
    for step, argument in program:
        match step:
            case "scene":
                stack.append(torch.ones_like(next(iter(attributes.values()))[..., 0]))
            case "filter" if argument in place:
                attribute, k = place[argument]
                stack.append(stack.pop() * attributes[attribute][..., k])
            case "relate" if argument in relations:
                stack.append(relate(stack.pop(), relations[argument]))
            case "or":
                stack.append(exist(torch.stack([stack.pop(), stack.pop()], -1)))
            case "count":
                stack.append(stack.pop().sum(-1))
            case "exist":
                stack.append(exist(stack.pop()))
            case "query" if argument in attributes:
                stack.append(query(stack.pop(), attributes[argument]))
            case _:
                raise ValueError(f"unknown step {step!r} with argument {argument!r}")
    return stack.pop()


class FiLMFinder(nn.Module):
    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.film = nn.Linear(width, 2 * width)
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        gamma, beta = self.film(self.embed(words))[..., None, :].chunk(2, -1)
        # 1 + γ: a word that says nothing leaves the features as they are.
        return self.score(F.relu((1 + gamma) * x + beta)).squeeze(-1)


class VQAModel(nn.Module):
    def __init__(self, channels: int, patch: int, places: int, width: int, words: int, answers: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, patch, stride=patch)
        self.finder = FiLMFinder(width, words)
        self.positions = nn.Parameter(0.5 * torch.randn(places, width))
        self.head = nn.Linear(width, answers)

    def forward(self, images: Tensor, questions: Tensor) -> Tensor:
        x = self.stem(images).flatten(2).mT
        # Each word looks by itself; their scores add up.  So a new pair of words is no new case.
        scores = self.finder(x[:, None], questions)
        total = (scores * (questions != 0)[..., None]).sum(1)
        return self.head(total.softmax(1) @ self.positions)
