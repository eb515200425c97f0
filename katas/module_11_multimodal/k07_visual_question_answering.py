"""Visual question answering: a question, a scene, and the steps to the answer

**Before you start.**  You need embeddings and a training step in torch, and what a softmax does;
no other kata.  A short book section on chances helps: independent events.

**The idea.**  You want to ask a picture a question.  "What color is the square left of the
circle?"  The answer takes steps: find the circle, look to its left, keep the squares, read the
color.  You will turn the question into such a *program* and execute it on a table of objects.

Each step works on a *mask*: for each object the chance that it is meant.  With chances of 0 and 1
this is plain logic.  With the chances of a detector it still works, and gradients pass through.

Then you build a model that learns from pixels.  Each word of the question changes how the model
looks at the picture: it scales and shifts the features.  That is FiLM, feature-wise linear
modulation.  Its attention points at a place, and the place gives the answer.

How do you know that it understands?  Train without any red square, and ask for red squares.
That is a *compositional split*.  And always ask a *blind* model, which sees the question alone.
If that one does well, the questions give their answers away.

**The formulas.**  m_i is the chance that object i is meant, p_i that it has a value, r_ij that
object i is in a relation to object j.

    filter       m_i ← m_i p_i
    exist        1 - product over i of (1 - m_i)
    relate       m_i ← 1 - product over j of (1 - m_j r_ij)
    or           m_i ← 1 - (1 - m_i)(1 - m'_i)
    count        sum over i of m_i
    query        sum over i of m_i / (sum over j of m_j) · p_iv       for each value v
    FiLM         score_n(w) = score(relu((1 + γ_w) ⊙ x_n + β_w)),     (γ_w, β_w) = film(embed(w))
    attention    a = softmax over n of  sum over the words w of score_n(w)
    answer       head(sum over n of a_n positions_n)

⊙ multiplies entry by entry.  x_n are the features of place n.  In the sum over the words, number
0 isn't a word: it fills up short questions.

**A drawing**

    "what color is the square left of the circle?"

    scene ──▶ filter circle ──▶ relate left ──▶ filter square ──▶ query color
    1 1 1        0 0 1             1 1 0            0 1 0           blue

**Why backwards?**  You can't look left of the circle before you have found it.  So the last words
come first in the program.

**Why add the scores?**  A sum of scores is a product of chances: both words must fit.  No word
knows of the others.  So a pair of words that never stood together is no new case.

**Why not sum in exist?**  Two objects with 0.5 each sum to 1, but both may be absent.  At least
one is there with 1 - 0.5 · 0.5, that is 0.75.

**Worked by hand**

    relations   centers (row, column) 1 1, 3 2, 2 4: object 0 is left of 1 and 2, 1 is left of 2
                object 0 is above 1 and 2, 2 is above 1
    exist       0.5 0.5: 0.75;  0.5 0 1: 1
    relate      mask 0 0.5 1, left: 0.5 · 1 and 1 · 1 for object 0: 1;  object 1: 1;  object 2: 0
    query       mask 0.2 0.6, chances 1 0 and 0.5 0.5: 0.25 · 1 + 0.75 · 0.5, so 0.625 0.375
    split       held out: color 0 with shape 1.  The scene 0 0, 1 1 is for training,
                the scene 1 0, 0 1 is for the test

**Shapes**: masks are (..., n), chances of one value (..., n), of an attribute (..., n, V),
relations (..., n, n), with any leading axes.  All are floats.  Results have the dtype and the
device of what comes in, and gradients flow.  No function changes its arguments.

**Steps.**  A good place to pause is after parse.

    compositional_split   8 min   what must never be seen together
    spatial_relations     7 min   rows run down
    exist                 3 min   not a sum
    relate                5 min   who stands where?
    query                 6 min   what if nothing is meant?
    parse                15 min   the last words first
    execute              15 min   a stack of masks
    FiLMFinder           10 min   scale and shift
    VQAModel             10 min   each word looks, then the softmax

Sources: Johnson et al. 2017, "CLEVR"; Perez et al. 2018, "FiLM: Visual Reasoning with a General
Conditioning Layer"; Yang et al. 2016, "Stacked Attention Networks for Image Question Answering";
Mao et al. 2019, "The Neuro-Symbolic Concept Learner".

From scratch: transformers, torchvision and einops may not be used.
"""

from torch import Tensor, nn


def compositional_split(scenes: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Which scenes are for training and which for the test: two bool tensors (N,).

    scenes  (N, n, 2), int64: the numbers of the color and the shape of each of n objects
    held    (C, S), bool: which pairs of color and shape are held out

    A scene is for the test if at least one of its objects has such a pair, for training if none has.

    Raises ValueError, naming the number of the color or of the shape, if all pairs of one are held out: nobody could
    learn it.  Colors are looked at before shapes, and smaller numbers first.
    """
    raise NotImplementedError


def spatial_relations(centers: Tensor) -> dict[str, Tensor]:
    """A dict of "left", "right", "above" and "below", (..., n, n) each: 1 at [i, j] if i is that of j, else 0.

    centers (..., n, 2) holds row and column.  Rows are counted from the top down, columns from the left.
    Two objects in the same column are neither left nor right of each other; so with rows.
    The results have the dtype of centers, and no gradient.
    """
    raise NotImplementedError


def exist(mask: Tensor) -> Tensor:
    """The chance (...) that at least one object of mask (..., n) is there, each by itself.  0 if n = 0."""
    raise NotImplementedError


def relate(mask: Tensor, relation: Tensor) -> Tensor:
    """The mask (..., n) of the objects that are in the relation (..., n, n) to at least one that is meant."""
    raise NotImplementedError


def query(mask: Tensor, chances: Tensor) -> Tensor:
    """What the object that is meant is like: chances (..., V), from those of all objects (..., n, V).

    If the mask is all 0, the result is 0 for each value, and the gradient holds no NaN and no infinity.
    """
    raise NotImplementedError


def parse(question: str) -> list[tuple[str, str]]:
    """The program of a question: steps (name, argument), in the order in which they are executed.

    A question is in lower case and has one of three forms.  A question mark at the end may be missing.

        how many PHRASE are there         ends with ("count", "")
        is there PHRASE                   ends with ("exist", "")
        what ATTRIBUTE is PHRASE          ends with ("query", ATTRIBUTE)

    A PHRASE is a PART, or several joined by "or".  A PART is some values and "object" in any number and order, as in
    "red square", and then perhaps a relation and another PART: "left of", "right of", "above" or "below".  So "or"
    binds most loosely: "a square above a circle or a star" are squares above a circle, and stars anywhere.
    The words "a", "the" and "of" say nothing, wherever they stand.  A value and "object" may have an s at the end, as in
    "red squares"; no value ends in s itself.  "object" filters nothing.

    The steps of a phrase are ("scene", ""), ("filter", VALUE), ("relate", RELATION) in one word, and ("or", ""), as
    `execute` takes them.  "how many red squares left of the circle are there?" may become
    scene, filter circle, relate left, filter red, filter square, count.  Any program that gives the same answers is right.

    Raises ValueError, naming the question, if it has none of the three forms.
    """
    raise NotImplementedError


def execute(
    program: list[tuple[str, str]],
    values: dict[str, list[str]],
    attributes: dict[str, Tensor],
    relations: dict[str, Tensor],
) -> Tensor:
    """The answer of a program: (...) for count and exist, (..., V) for query.

    values      the values of each attribute: {"color": ["red", "blue"], …}.  No value belongs to two
    attributes  the chances of these values, in this order: {"color": (..., n, 2), …}
    relations   by name, (..., n, n) each

    Masks lie on a stack, which is empty at first.

    - scene: put a mask of ones (..., n) on the stack.
    - filter VALUE, relate RELATION: change the mask on top.
    - or: take two masks off, and put one on.
    - count, exist, query ATTRIBUTE: take a mask off, and put the answer on.  It is the last step.

    Raises ValueError, naming it, if a step, a value, a relation or an attribute is unknown.
    """
    raise NotImplementedError


class FiLMFinder(nn.Module):
    """Where is what a word means?

    embed   nn.Embedding(words, width)
    film    nn.Linear(width, 2 · width): the first half of its outputs is γ, the second β
    score   nn.Linear(width, 1)
    """

    def __init__(self, width: int, words: int) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """The scores (..., N), of N places with features x (..., N, width), for the words (...), int64.

        The leading axes of x and those of words broadcast: x (B, 1, N, width) and words (B, L) give (B, L, N).
        """
        raise NotImplementedError


class VQAModel(nn.Module):
    """Answers where something is, from pixels.

    stem        nn.Conv2d(channels, width, patch, stride=patch), nothing behind it
    finder      FiLMFinder(width, words)
    positions   nn.Parameter (places, width), normal with deviation 0.5 at the start
    head        nn.Linear(width, answers)

    It has no other parameters.
    """

    def __init__(self, channels: int, patch: int, places: int, width: int, words: int, answers: int) -> None:
        """places is the number of patches of an image."""
        raise NotImplementedError

    def forward(self, images: Tensor, questions: Tensor) -> Tensor:
        """The logits (B, answers) of images (B, channels, H, W) and questions (B, L), int64; places row by row.

        Number 0 may stand anywhere in a question, and says nothing.
        """
        raise NotImplementedError
