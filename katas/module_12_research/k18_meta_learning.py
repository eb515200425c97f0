"""Meta-learning: practise learning, so that five examples are enough

**Before you start.**  You need nn.Module, cross-entropy and torch.autograd.grad.  You import no
other kata.  If a causal mask is new, do `attention_masks` of module 05 first.

**The idea.**  You show a child one giraffe, and it knows giraffes.  A network wants thousands.
The child has seen many animals before: it has learnt how to learn an animal.

So train on *tasks*, not on examples.  A task has a few examples to learn from, the *support*, and
some to be judged by, the *query*.  Draw thousands of small tasks, and reward what does well on
the query after having seen the support.  Three ways to do it:

- *Prototypical networks* learn a space where each class forms a cluster.  A new class is the mean
  of its few examples, and nothing is trained any more.
- *MAML* learns weights from which one or two steps of gradient descent are enough.
- *In-context learners* read the examples as a sequence.  No weight changes: the forward pass is
  the learning.

**The formulas.**  θ are the weights, φ those that were adapted to one task, α and ε rates.

    prototype    c_k = mean of the support of class k
    logits       -|q - c_k|²                                   for an embedded query q
    sine tasks   y = A sin(x - p)       A from 0.1 to 5,  p from 0 to π,  x from -5 to 5, uniform
    inner loop   φ_0 = θ,   φ_{s+1} = φ_s - α ∇L_support(φ_s)                 L: squared, mean
    MAML         minimise over θ   mean over tasks of  L_query(φ_steps)
    first order  the same, but ∇L_support counts as a constant when θ's gradient is computed
    Reptile      θ ← θ + ε (mean over tasks of φ_steps - θ)
    in context   predict y_k from  x_1 y_1 … x_{k-1} y_{k-1} x_k

**A drawing**

    θ ──▶ φ₁ ──▶ φ₂ ──▶ loss on the query     inner loop: on the support
    ▲                        │
    └────────────────────────┘                outer loop: through all of it

    tokens      (x₁, 0) (0, y₁) (x₂, 0) (0, y₂)   what an in-context learner reads
    answers       ŷ₁              ŷ₂              from what stands at or before the x

**Why second order?**  φ depends on θ in two ways: it starts there, and the slope was taken there.
The gradient of θ goes through both.  The second way needs derivatives of derivatives:
create_graph=True keeps what they need.  First order leaves that way out.  It costs half, and it
often does well.  But it is another gradient: don't mistake one for the other.

**Why must the query not be in the support?**  Then remembering is enough.  You would reward
weights that fit five points, not weights that learn the curve.

**Why the squared distance?**  |q|² is the same for all classes and cancels, so the class is
decided by a linear rule, and the mean is the point that has the least sum of squared distances to
the support.

**Worked by hand**

    prototypes     support of class 0: 0 and 2, of class 1: 4 and 6.  The means are 1 and 5.
                   Query 2 has the logits -1 and -9
    adapt          ŷ = w x, w = 1, one point x = 1, y = 3:  the slope is 2 (1 - 3) = -4.
                   With α = 0.1:  φ = 1.4
    MAML           judged at x = 2, y = 6:  (2.8 - 6)² = 10.24
      its slope    second order:  2 (2.8 - 6) · 2 · (1 - 0.1 · 2) = -10.24
                   first order:   2 (2.8 - 6) · 2 = -12.8
    Reptile        with ε = 0.5:  w = 1 + 0.5 · (1.4 - 1) = 1.2
    tokens         x = 7, y = 8:  (7, 0) and (0, 8)

**Shapes**: labels (M,) of integers; support (ways, shots, F) and query (ways, queries, F) are
embeddings, class by class; tasks x (T, n, …) and y (T, n, …).  Results have the dtype and the
device of what comes in.  No function changes its arguments, except the model in reptile_step.
Nothing draws from the global generator but the start of InContextLearner.

**Steps.**  A good place to pause is after sine_tasks.

    sample_episode      10 min   different examples, different classes
    prototype_logits     6 min   a mean, a distance, a sign
    prototypical_loss    6 min   row k is class k
    sine_tasks           6 min   one amplitude a task
    adapt               14 min   weights that remember where they come from
    maml_loss           10 min   learn here, be judged there
    reptile_step         8 min   no second derivative at all
    interleave           6 min   questions and answers take turns
    InContextLearner    14 min   see the past, and x_k

Sources: Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-Shot Learning"; Finn,
Abbeel and Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks";
Nichol, Achiam and Schulman 2018, "On First-Order Meta-Learning Algorithms"; Garg et al. 2022,
"What Can Transformers Learn In-Context?".

From scratch: learn2learn, higher and torch.optim may not be used.  torch.func may.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Episode(NamedTuple):
    """A small task, in places of the data set: int64.

    classes   (ways,): which labels it is about
    support   (ways, shots): row k has examples of classes[k] to learn from
    query     (ways, queries): row k has examples of classes[k] to be judged by
    """

    classes: Tensor
    support: Tensor
    query: Tensor


def sample_episode(labels: Tensor, ways: int, shots: int, queries: int, generator: torch.Generator) -> Episode:
    """An episode from examples with the labels (M,), any integers.

    Only classes with at least shots + queries examples take part.  Each set of `ways` of them is equally likely, and
    so is each choice of examples within a class.  No example stands twice.  All numbers are at least 1.

    Raises ValueError, naming ways and the number of classes that could take part, if these are too few.
    """
    raise NotImplementedError


def prototype_logits(support: Tensor, query: Tensor) -> Tensor:
    """Logits (..., ways) of embedded queries (..., F) from embedded examples (ways, shots, F)."""
    raise NotImplementedError


def prototypical_loss(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy over all queries (ways, queries, F), and the accuracy; both without axes.

    Row k of the query belongs to row k of the support.  The share has the query's dtype.
    """
    raise NotImplementedError


def sine_tasks(count: int, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x and y (count, points, 1) of `count` tasks, float32, on the generator's device: a sine each."""
    raise NotImplementedError


def adapt(
    model: nn.Module, x: Tensor, y: Tensor, rate: float, steps: int, first_order: bool = False
) -> dict[str, Tensor]:
    """φ by name (as in model.named_parameters) after `steps` of the inner loop on x (n, …) and y (n, …).    The model stays as it is; it has no buffers, such as a batch norm's.  φ is connected with the model's weights: gradients flow from it to them, through the
    slopes as well unless first_order.  With no steps φ is θ.
    """
    raise NotImplementedError


def maml_loss(
    model: nn.Module, x: Tensor, y: Tensor, shots: int, rate: float, steps: int, first_order: bool = False
) -> Tensor:
    """MAML's loss, without axes, of tasks x (T, n, …) and y (T, n, …).

    The first `shots` points of a task are its support, the others its query.
    """
    raise NotImplementedError


def reptile_step(model: nn.Module, x: Tensor, y: Tensor, rate: float, steps: int, outer_rate: float) -> None:
    """One step of Reptile: changes the model's weights in place.  All points of a task are its support; ε is outer_rate."""
    raise NotImplementedError


def interleave(x: Tensor, y: Tensor) -> Tensor:
    """Tokens (B, 2n, d + 1) of x (B, n, d) and y (B, n): x_k followed by a 0, then d zeros followed by y_k."""
    raise NotImplementedError


class InContextLearner(nn.Module):
    """A causal transformer that predicts each y from what it has read.

    read        nn.Linear(features + 1, width)
    positions   nn.Parameter (2 * max_examples, width), normal with deviation 0.02; added to what is read
    layers      nn.ModuleList of nn.TransformerEncoderLayer(width, heads, 4 * width), without dropout, with "gelu",
                batch_first and norm_first: their norms stand before attention and MLP
    norm        nn.LayerNorm(width), after the layers
    write       nn.Linear(width, 1)
    """

    def __init__(self, features: int, width: int, heads: int, layers: int, max_examples: int) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Predictions (B, n) for x (B, n, d) and y (B, n).  That for y_k is read at the token of x_k.

        Raises ValueError, naming n and max_examples, if n is larger.
        """
        raise NotImplementedError
