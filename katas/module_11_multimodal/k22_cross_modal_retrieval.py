"""Cross-modal retrieval: one space for two senses, hard negatives, and hubs

**Before you start.**  You need cosine similarity and a training step in torch; no other kata.  If
contrastive learning is new, do clip first, or read Weng, "Contrastive Representation Learning" (a
post on her blog).

**The idea.**  You have photos and captions, or films and their sound.  You want to ask with one
and find the other.  So you train two encoders that put both into *one space*: what belongs
together lies near.  Then a search is a sorted list of similarities.

You will build the space, train it with the mistakes that hurt most, and measure a search.  At the
end you meet a nuisance of spaces with many dimensions.  Some items are near to everything and come
up for every question.  They are called *hubs*, and there is a simple cure.

**The formulas.**  s is the matrix of cosines: row i is question i, column j is item j.

    recall@k        share of questions with a right item among the k most similar ones
    hinges          in row i  [m - s_ii + s_ij]₊,  in column i  [m - s_ii + s_ji]₊,  for j ≠ i
    hardest         mean over i of  ( largest hinge in row i + largest hinge in column i )
    all             mean over i of  ( sum of the hinges in row i + sum of those in column i )
    correspondence  σ(scale · cos + bias) is the chance that two belong together
    k-occurrence    N(j) = number of questions that have item j among their k most similar
    skewness        mean of ((N - mean N) / std N)³                   std with n below
    CSLS            c_ij = 2 s_ij - rows_i - columns_j

[x]₊ is x, or 0 if x is below 0.  rows_i is the mean of the k largest similarities in row i,
columns_j that of the k largest in column j.

**A drawing**

    photos ──▶ tower ──▶ project ──▶ length 1 ──┐
                                                ├──▶ s      columns: captions
    captions ─▶ tower ──▶ project ──▶ length 1 ─┘
                                                        ┌──────────────────┐
    the diagonal belongs together.  In row 1 the        │  .8   .3   .7    │
    hardest negative is 0.6, the column above has       │  .2   .5   .6 ●  │
    0.3, and m = 0.2 asks for a gap of that much:       │  .1   .0   .9    │
    [0.2 - 0.5 + 0.6]₊ + [0.2 - 0.5 + 0.3]₊             └──────────────────┘

**Why the hardest negatives?**  Most wrong items are easy: they lie far away and add nothing.
With the sum, many small hinges can outweigh the one item that really stands before the right one.
The largest hinge is about that item alone, and recall@1 asks for nothing else.  Early in training
this can be too hard, and the sum is safer.

**Why is a gap enough?**  If the right item is nearer by m than any other, a search finds it.  The
loss is 0 then, and the model can spend its weights on other rows.

**What is correspondence?**  A film needs no labels: its pictures and its sound belong together.
Pair half of the pictures with the sound of another film, and ask which pairs are real.  Whoever
can tell has learned what things sound like.

**What is a hub?**  In many dimensions some points lie near the middle of all others.  They are
among the neighbours of very many questions, and most items are among those of none.  Then N is
*skewed*.  CSLS, cross-domain similarity local scaling, takes off how near a question and an item
are to everything.  What remains is how near they are to each other.

**Worked by hand**, with the matrix in the drawing, m = 0.2

    ranks      row 0: .8 is first, 1;  row 1: .6 is before .5, 2;  row 2: 1
    recall     at 1: 2/3;  at 2: 1
    hinges     row 0: 0, 0.1        row 1: 0, 0.3        row 2: 0, 0
               column 0: 0, 0       column 1: 0, 0       column 2: 0, 0
    hardest    (0.1 + 0.3 + 0) / 3 = 0.1333, and the sum of all is the same here
    N          at k = 1:  1 0 2;  at k = 2:  2 1 3
    skewness   of 0 0 3:  away from the mean -1 -1 2, std √2;  (-1 - 1 + 8) / 3 / √8 = 0.7071
    CSLS       k = 2: rows .75 .55 .5, columns .5 .4 .8
               row 0: .35 -.55 -.15     row 1: -.65 .05 -.15     row 2: -.8 -.9 .5

Look at row 1: item 1 is first now.  Item 2 is near to all three, and CSLS takes that off.

**Shapes**: similarities are (n, m) floats; loss functions take (n, n), with the right ones on the
diagonal.  Results have the dtype and the device of what comes in.  No function changes its
arguments.

**Steps.**  A good place to pause is after hinge_loss.

    JointEmbedding         8 min   two towers, one space
    ranks                 10 min   several right items, ties
    recall_at             4 min    share of ranks
    hardest_negatives      6 min   right items must not win
    hinge_loss            12 min   rows and columns, the diagonal out
    mismatched             7 min   nobody keeps his own
    correspondence_loss    6 min   a logistic regression on cosines
    occurrences            7 min   count the neighbours
    skewness               4 min   the third moment
    csls                   8 min   two means

Sources: Faghri et al. 2018, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives";
Arandjelović and Zisserman 2017, "Look, Listen and Learn" (correspondence); Radovanović et al.
2010, "Hubs in Space"; Conneau et al. 2018, "Word Translation Without Parallel Data" (CSLS).

From scratch: torch.nn.functional.cosine_similarity, torch.cosine_similarity,
torch.nn.CosineSimilarity, torch.nn.functional.triplet_margin_loss,
torch.nn.functional.margin_ranking_loss, scipy and sklearn may not be used.
"""

from torch import Generator, Tensor, nn


class JointEmbedding(nn.Module):
    """Two towers whose outputs are projected into one space."""

    def __init__(self, first: nn.Module, second: nn.Module, first_width: int, second_width: int, width: int) -> None:
        """Keeps the towers as `first` and `second`.

        first, second               give (n, first_width) and (n, second_width)
        first_project, second_project  the projections that are made: nn.Linear to `width`, without bias
        """
        raise NotImplementedError

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The cosines (n, m) of a (n, …), which goes through the first tower, and b (m, …), through the second.

        A vector of zeros has the cosine 0 with everything, and no NaN in its gradient.
        """
        raise NotImplementedError


def ranks(similarities: Tensor, right: Tensor) -> Tensor:
    """The rank (n,) of the best right item for each question, int64: 1 if it comes first.

    right  (n, m), bool: which items are right for which question

    Items come in the order of falling similarity; of equal ones the one with the smaller index first.

    Raises ValueError, naming the first such row, if a question has no right item.
    """
    raise NotImplementedError


def recall_at(k: int, similarities: Tensor, right: Tensor) -> float:
    """recall@k, a Python float, for n ≥ 1 questions.  k may be above m.

    Raises ValueError, naming k, if it is below 1.  Raises what `ranks` raises.
    """
    raise NotImplementedError


def hardest_negatives(similarities: Tensor, right: Tensor) -> Tensor:
    """For each question the index (n,), int64, of the most similar item that isn't right.

    Of equal ones it is the smallest index.

    Raises ValueError, naming the first such row, if all items are right for a question.
    """
    raise NotImplementedError


def hinge_loss(similarities: Tensor, margin: float = 0.2, hardest: bool = True) -> Tensor:
    """The lesson's loss, without axes, with the hardest negatives or with all; similarities (n, n), n ≥ 1.

    With n = 1 there are no negatives, and the loss is 0.

    Raises ValueError, naming both sizes, if the matrix isn't square.
    """
    raise NotImplementedError


def mismatched(n: int, generator: Generator) -> Tensor:
    """For each of n films the number of another one, (n,), int64 on the CPU: a permutation that moves every film.

    Every film can get every other one.  Which distribution among these permutations is open.

    Raises ValueError, naming n, if it is below 2.
    """
    raise NotImplementedError


def correspondence_loss(cosines: Tensor, labels: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """The mean of the cross-entropies of n ≥ 1 pairs, without axes.

    cosines  (n,)
    labels   (n,), bool or of any number type: 1 if the two belong together
    scale, bias  numbers without axes, which are trained along.  Products of ±1000 give no NaN and no infinity
    """
    raise NotImplementedError


def occurrences(similarities: Tensor, k: int) -> Tensor:
    """N (m,), int64: for each item the number of questions that have it among their k most similar.

    Equal similarities at the border of the k aren't judged.

    Raises ValueError, naming k and m, unless 1 ≤ k ≤ m.
    """
    raise NotImplementedError


def skewness(counts: Tensor) -> float:
    """The skewness of counts (m,), m ≥ 1, of any number type, as a Python float.  0.0 if all are equal."""
    raise NotImplementedError


def csls(similarities: Tensor, k: int) -> Tensor:
    """The corrected similarities (n, m).  Gradients flow.

    A row has m numbers and a column n.  Raises ValueError, naming k and the smaller of both, unless k is from 1 to it.
    """
    raise NotImplementedError
