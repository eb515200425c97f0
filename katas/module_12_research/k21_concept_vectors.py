"""Concept vectors: what a layer knows, and whether you only think so

**Before you start.**  You need logistic regression, gradients and a training loop in torch.  You
import no other kata.  If probes are new: Belinkov, "Probing Classifiers" (2022), sections 1 to 4.

**The idea.**  A network doesn't store "stripes" anywhere that you could point to.  But the
activations of a layer are vectors, and a concept may be a *direction* among them.  You look for
it in three ways.

*A probe* is a linear classifier on activations.  If it can read the part of speech, it is
tempting to say that the layer knows it.  But a probe with many weights may learn the task
itself.  So you give it a *control task*: every word gets a random label, the same wherever it
stands.  A probe that does that just as well has memorised words, and proves nothing.

*A concept vector* is the direction from "others" to "striped".  Move an activation along it: does
the score of "zebra" rise?  TCAV counts for how many inputs it does.  Then it asks whether random
"concepts" do as well.

*A sparse autoencoder* looks for directions without being told any.  It writes an activation as a
sum of few out of many directions.

**The formulas.**

    probe          minimise  mean of -log σ(s_i (w · x_i + b))  +  λ/2 |w|²,   s_i is 1 or -1
    concept        v = w / |w|, of the probe with y = 1 for the concept and 0 for the others
    slope          S_i = ∇ score(h_i) · v
    TCAV           share of the inputs with S_i > 0
    permutation    p = share of all ways to split the pooled numbers into groups of these sizes with
                   |mean a - mean b| ≥ the observed one
    selectivity    accuracy on the task minus accuracy on the control task
    encode         f = [(x - c) E^T + e]₊
    decode         x̂ = f D + c                          each row of D has the length 1
    loss           mean over samples of  |x - x̂|² + l1 · Σ_j f_j
    dead           f_j is 0 for all samples
    recovery       for each true direction the largest cosine with a row of D

σ is the logistic function, λ is l2.  s_i is 1 for the label 1, and -1 for 0.  h is an activation,
and score the class's output of the rest of the network, the *head*.  c is the center, E the
encoder, e its bias, D the decoder.

**A drawing**

    activations                          sparse autoencoder

      │   ▲ striped                       x ──▶ E ──▶ 0 3 0 0 1 0 ──▶ D ──▶ x̂
      │  ▲ ▲       v points from ○ to ▲               many features,
      │ ▲   ↖                                         few of them on
      │    ○  ○
      │  ○  ○      and the head's gradient
      └──────────  says: with v, or against it?

**Why random concepts?**  In 500 dimensions a plane tells almost any two sets of a few hundred
pictures apart.  So every set has a "concept vector", and its TCAV score may be far from 1/2.
Only the comparison with random sets says anything.  The paper uses a t-test.  You use a
permutation test: it needs no table and no normal distribution.

**Why must rows of D have length 1?**  The penalty is on f.  Halve f and double D: x̂ is the same,
and the penalty is half.  Without a fixed length the penalty would do nothing.

**Why a linear probe?**  A probe with hidden layers could compute the concept itself.  The simpler
the probe, the more its success says about the layer.

**Worked by hand**

    probe        x = -1, 1 with y = 0, 1 and l2 = 0.26894:  b = 0, w = 1, as σ(-1) = 0.26894 · 1
    slope        score h₁ h₂ at (2, 3), v = (0.6, 0.8):  3 · 0.6 + 2 · 0.8 = 3.4
    TCAV         of slopes 3.4, -1, 0:  1/3, as 0 doesn't count
    permutation  a = .9 .8, b = .4 .5:  0.4 apart.  Two of six splits are: p = 1/3
    autoencoder  E = D = identity, e = (-1, 0), c = 0, x = (3, -2), l1 = 0.5
                 f = (2, 0), x̂ = (2, 0), loss 1 + 4 + 0.5 · 2 = 6
    dead         of f = 0 2 / 0 0:  the first
    recovery     truth (1, 1), rows (2, 0) and (-1, -1):  0.7071

**Shapes**: activations x (n, d), labels (n,) of 0 and 1, in any number type or bool.  Results
have the dtype and the device of x.  Apart from the autoencoder and its training, no result
carries a graph, and everything works inside torch.no_grad().  No function changes its arguments,
but train_sae trains, and normalize normalises.

**Steps.**  A good place to pause is after permutation_p.

    fit_probe          14 min   Newton's method, or any other to the minimum
    concept_vector      4 min   a probe, normalised
    concept_slopes      6 min   one gradient, one product
    tcav_scores         6 min   a vector for each set
    permutation_p       8 min   all splits
    control_labels      4 min   half of the types
    selectivity         9 min   the same labels in both sets
    SparseAutoencoder  10 min   four parameters
    sae_loss            4 min   sums inside, a mean outside
    train_sae           8 min   and normalise
    dead_features       3 min   never on
    recovery            4 min   cosines

Sources: Kim et al. 2018, "Interpretability Beyond Feature Attribution: Quantitative Testing with
Concept Activation Vectors"; Hewitt and Liang 2019, "Designing and Interpreting Probes with
Control Tasks"; Cunningham et al. 2023, "Sparse Autoencoders Find Highly Interpretable Features in
Language Models"; Bricken et al. 2023, "Towards Monosemanticity".

From scratch: sklearn, scipy and captum may not be used.
"""

from collections.abc import Callable, Sequence

from torch import Generator, Tensor, nn


def fit_probe(x: Tensor, y: Tensor, l2: float) -> tuple[Tensor, Tensor]:
    """The weights w (d,) and the bias b, without axes, that minimise the lesson's cost; l2 is above 0.

    b isn't penalised.  In float64 the gradient of the cost is below 1e-6 in every number.

    Raises ValueError, naming the class, if all labels are the same.
    """
    raise NotImplementedError


def concept_vector(concept: Tensor, others: Tensor, l2: float) -> Tensor:
    """The concept vector v (d,), of length 1, that points towards concept (n, d) and away from others (m, d)."""
    raise NotImplementedError


def concept_slopes(head: Callable[[Tensor], Tensor], activations: Tensor, target: int, vector: Tensor) -> Tensor:
    """The slopes S (n,) along a vector (d,).

    head    takes activations (n, d), gives scores (n, classes); each row counts for itself
    target  the class whose score is meant
    """
    raise NotImplementedError


def tcav_scores(
    head: Callable[[Tensor], Tensor],
    activations: Tensor,
    target: int,
    concept: Tensor,
    others: Sequence[Tensor],
    l2: float,
) -> Tensor:
    """The TCAV scores (r,) of a concept, one for each of r ≥ 1 sets of others: each gives a concept vector."""
    raise NotImplementedError


def permutation_p(a: Tensor, b: Tensor) -> float:
    """The p-value of the exact two-sided permutation test of a (n,) against b (m,), for a few numbers each.

    All ways to choose n of the n + m numbers count, the observed one as well.  Differences within 1e-9 are equal.

    Raises ValueError, naming both lengths, if one of them is 0.
    """
    raise NotImplementedError


def control_labels(types: int, generator: Generator) -> Tensor:
    """A random label for each type, (types,), int64 on the CPU: exactly types // 2 of them are 1, the others 0.

    All such choices are equally likely.
    """
    raise NotImplementedError


def selectivity(
    train: tuple[Tensor, Tensor, Tensor], test: tuple[Tensor, Tensor, Tensor], l2: float, generator: Generator
) -> tuple[float, float]:
    """The accuracies on the test set, on the task and on the control task, each by a probe fitted on the train set.

    train, test  x (n, d), the type of each sample (n,), int64, from 0 to the largest in either set, and y (n,)
    generator    on the CPU, for control_labels, which is called once

    A probe says 1 where w · x + b > 0.  In the control task a sample's label is that of its type, in both sets.
    """
    raise NotImplementedError


class SparseAutoencoder(nn.Module):
    """The autoencoder of the lesson.  Its only parameters are

    encoder       nn.Parameter (features, width): E.  At the start it is equal to the decoder
    encoder_bias  nn.Parameter (features,): e.  Zeros at the start
    decoder       nn.Parameter (features, width): D.  At the start rows of random directions, of length 1
    center        nn.Parameter (width,): c.  Zeros at the start
    """

    def __init__(self, width: int, features: int, generator: Generator) -> None:
        """A direction is a normal vector, drawn with the generator, divided by its length."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """The features f (n, features) of x (n, width)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x̂ (n, width), and the features."""
        raise NotImplementedError

    def normalize(self) -> None:
        """Divides each row of the decoder by its length, in place, outside of any graph."""
        raise NotImplementedError


def sae_loss(x: Tensor, rebuilt: Tensor, features: Tensor, l1: float) -> Tensor:
    """The lesson's loss, without axes; gradients flow to `rebuilt` and `features`."""
    raise NotImplementedError


def train_sae(
    sae: SparseAutoencoder, x: Tensor, l1: float, steps: int, batch: int, rate: float, generator: Generator
) -> list[float]:
    """Trains with Adam for `steps` steps, and returns the loss of each batch before its step, as Python floats.

    A batch is `batch` samples, drawn with the generator, which is on the CPU.  After each step comes normalize().
    """
    raise NotImplementedError


def dead_features(features: Tensor) -> Tensor:
    """Which features (n, k) are dead: (k,), bool."""
    raise NotImplementedError


def recovery(decoder: Tensor, truth: Tensor) -> Tensor:
    """The recovery (t,) of true directions (t, width) by a decoder's rows (k, width).

    Neither need have length 1, and none is 0.  A row that points the other way doesn't count: signs stay.
    """
    raise NotImplementedError
