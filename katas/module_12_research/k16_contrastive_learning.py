"""Contrastive learning: learn without labels, and notice when nothing is learned

**Before you start.**  You need cosine similarity, cross-entropy and a training step in torch; you
import no other kata.  If contrastive learning is new: Weng, "Contrastive Representation Learning"
(a post on her blog).

**The idea.**  You have a million photos and no labels.  But you know one thing: two crops of the
same photo show the same.  So train a network that puts two *views* of an image near each other.

There is a trap.  A network that gives the same vector for everything makes all views agree.  That
is *collapse*, with a perfect loss and no use.  You will build three ways out.

- *SimCLR* pushes away the other images of the batch.
- *MoCo* pushes away those of earlier batches, which wait in a queue.  So the batch may be small.
- *BYOL* pushes nothing away.  One network predicts what a second, slower one sees.

Then you measure: do views agree, are the vectors spread out, has it collapsed?  And you build an
older task without labels: turn an image, and ask by how much.

**The formulas.**  z are vectors, u(z) = z / |z|, τ is the temperature.

    NT-Xent      z has 2n rows: n first views, then n second views;  s_ij = u(z_i) · u(z_j) / τ
                 loss_i = -log ( exp(s_ip) / Σ_{j ≠ i} exp(s_ij) )       p: the other view of i
                 the mean over all 2n rows
    MoCo         s_0 = u(q) · u(k) / τ,   s_j = u(q) · queue_j / τ
                 loss = -log ( exp(s_0) / (exp(s_0) + Σ_j exp(s_j)) ),   the mean over the batch
    momentum     θ_target ← m θ_target + (1 - m) θ_online
    BYOL         loss(p, z) = 2 - 2 u(p) · u(z), the mean over the batch
                 total = loss(predictor(online(x₁)), target(x₂))
                       + loss(predictor(online(x₂)), target(x₁))
    alignment    mean of |x_i - y_i|^α
    uniformity   log of the mean over all pairs i < j of exp(-t |x_i - x_j|²)
    spread       √d · mean over the d columns of the standard deviation of u(z)      n below

No gradient flows into the keys and the queue of MoCo, nor into BYOL's target: there you *stop*
it.  The queue holds vectors of length 1.  The positive stands in both sums below the fraction
bar.  The row itself never does.

**A drawing**, NT-Xent for two images, first views 0 1 and second views 2 3

             0   1   2   3
        0    ·   -   +   -         + the other view, pulled
        1    -   ·   -   +         - another image, pushed
        2    +   -   ·   -         · itself, not in the sum
        3    -   +   -   ·

**Why a queue and a slow network?**  Many negatives make the task hard enough.  A queue gives
thousands, but its keys come from older weights.  If the key network moves slowly, old keys are
still comparable.  Put a key into the queue *after* its loss.  Else it meets itself as a negative.

**Why does BYOL not collapse?**  If gradients reached the target, both sides could shrink to a
point together.  With the gradient stopped, only the predictor's side moves.  Why this is enough
is only partly understood.  So measure the spread.

**How do I read the measures?**  Alignment is 0 if all views agree.  Uniformity is 0 for collapse,
and falls as vectors spread over the sphere.  You want both low.  The spread is near 1 if the
directions lie evenly around the origin, and 0 for collapse.

**Worked by hand**

    NT-Xent      first (1, 0), (0, 1), second (1, 0), (0, 1), τ = 1:  each row has e¹ over
                 e¹ + e⁰ + e⁰, so the loss is log(e + 2) - 1 = 0.5514
    MoCo         q = (1, 0), k = (0.6, 0.8), queue (0, 1), (-1, 0), τ = 1:  scores 0.6 0 -1
                 log(1.8221 + 1 + 0.3679) - 0.6 = 0.5600
    momentum     m = 0.9, target 1, online 3:  1.2
    BYOL         p = (1, 0), z = (0.6, 0.8):  2 - 1.2 = 0.8
    alignment    the same two:  |(0.4, -0.8)|² = 0.8,  with α = 1  0.8944
    uniformity   (1, 0), (0, 1), (-1, 0), t = 2:  squares 2 4 2,
                 log((e⁻⁴ + e⁻⁸ + e⁻⁴) / 3) = -4.3963
    spread       (1, 0), (-1, 0), (0, 1), (0, -1):  deviations 0.7071 0.7071, so 1
    rotation     rows 1 2 and 3 4, a quarter turn:  rows 2 4 and 1 3

**Shapes**: vectors are (n, d), images (n, c, h, w).  Losses have no axes.  Results have the dtype
and the device of what comes in.  Gradients flow, except where you stop them.  No function changes
its arguments, except momentum_update, which changes target.

**Steps.**  A good place to pause is after byol_loss.

    nt_xent           12 min   who is whose partner?
    moco_loss          8 min   stop the gradient
    KeyQueue          10 min   when may a key go in?
    momentum_update    6 min   buffers, too
    byol_loss          5 min   stop it again
    BYOL              12 min   two networks, one learns
    alignment          3 min   a power of a length
    uniformity         7 min   pairs, each once
    feature_spread     5 min   directions, not lengths
    rotations          6 min   which way, which order

Sources: Chen et al. 2020, "A Simple Framework for Contrastive Learning" (SimCLR); He et al. 2020,
"Momentum Contrast" (MoCo); Grill et al. 2020, "Bootstrap Your Own Latent"; Wang and Isola 2020
(alignment and uniformity); Gidaris et al. 2018 (rotations).

From scratch: torch.nn.functional.cosine_similarity, torch.cosine_similarity,
torch.nn.CosineSimilarity, torch.optim.swa_utils, torchvision, lightly and pytorch_metric_learning
may not be used.
"""

from torch import Tensor, nn


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The loss of n ≥ 1 images; row i of both (n, d) is a view of image i.  With n = 1 there are no negatives: it is 0."""
    raise NotImplementedError


def moco_loss(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """The loss for queries (n, d) with keys (n, d), one for each, and a queue (m, d); m ≥ 1."""
    raise NotImplementedError


class KeyQueue(nn.Module):
    """The keys of earlier batches.

    keys   a buffer (size, width), the oldest first; at the start random vectors of length 1
    """

    def __init__(self, size: int, width: int) -> None:
        raise NotImplementedError

    def forward(self, queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
        """The loss against the keys of earlier calls.  Then the new keys push out as many of the oldest.

        - They are kept with length 1, without gradients, the last row as the newest.
        - backward works after the call, and after a second call.

        Raises ValueError, naming both numbers, if there are more keys than `size`.
        """
        raise NotImplementedError


def momentum_update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move target's parameters towards online's, in place and without gradients.  Buffers are copied.

    Both modules are built alike.  online isn't changed.
    """
    raise NotImplementedError


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """loss(p, z) of two (n, d).  No gradient flows into target."""
    raise NotImplementedError


class BYOL(nn.Module):
    """Two networks and a predictor.

    online      the encoder that is given
    predictor   the predictor that is given
    target      a copy of the encoder as it is given, whose parameters need no gradient
    """

    def __init__(self, encoder: nn.Module, predictor: nn.Module) -> None:
        raise NotImplementedError

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The total of two views of n images."""
        raise NotImplementedError

    def update(self, momentum: float) -> None:
        """Move the target towards the online network."""
        raise NotImplementedError


def alignment(first: Tensor, second: Tensor, alpha: float = 2.0) -> Tensor:
    """The alignment of x and y (n, d).  Vectors are taken as they are: nothing is normalised."""
    raise NotImplementedError


def uniformity(x: Tensor, t: float = 2.0) -> Tensor:
    """The uniformity of x (n, d), n ≥ 2, taken as they are.  Finite also for t = 1000."""
    raise NotImplementedError


def feature_spread(z: Tensor) -> Tensor:
    """The spread of z (n, d)."""
    raise NotImplementedError


def rotations(images: Tensor) -> tuple[Tensor, Tensor]:
    """All images turned by 0, 1, 2 and 3 quarter turns counterclockwise: (4n, c, h, w), and labels (4n,), int64.

    First all n images without a turn, then all n with one, and so on.  The label is the number of quarter turns.

    Raises ValueError, naming height and width, if they differ.
    """
    raise NotImplementedError
