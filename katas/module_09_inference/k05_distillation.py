"""Knowledge distillation

**Before you start.**  You need the softmax, cross-entropy and a training loop in torch; no other
kata.  If the Kullback–Leibler divergence is new: Bishop, "Pattern Recognition and Machine
Learning", section 1.6.1.

**The idea.**  A large model is good, but too slow or too big to serve.  A small one, trained on the
same labels, is worse.  *Distillation* trains the small one, the *student*, to imitate the large
one, the *teacher*.  The student then comes out better than it would alone.

Why does that help?  A label says "this is a 7", and no more.  The teacher's probabilities say: a 7,
perhaps a 1, surely no 0.  So each example tells the student how all classes relate.  That is called
*dark knowledge*.  The tests show it: a student that never saw a 3 learns to recognise it.

**A drawing.**  The teacher is too sure of itself, and the small probabilities hold the knowledge.
Divide its logits by a *temperature* T before the softmax:

    digit    T = 1                      T = 4
      7      ████████████████  .95      ████████        .45
      1      ▌                 .04      ███▌            .20
      9      ▏                 .01      ██▌             .15
      0                        .00      ▌               .03

A text needs one thing more.  A student that has only read the teacher's texts meets its own
mistakes for the first time when it is served.  *On-policy* distillation lets the student write,
and the teacher judges each token:

    prompt ──▶ student writes ──▶ ids ──┬──▶ student's logits ──┐
                                        │                       ├──▶ loss
                                        └──▶ teacher's logits ──┘

    positions      0   1   2   3   4        prompt of 2 tokens, 3 new ones
    tokens         p   p   a   b   c
    logits for     p   a   b   c   ·        those at 1, 2 and 3 count

**The formulas.**  p is the teacher's distribution, q the student's, s and t are their logits.

    KL(p ‖ q)      = Σ p · (log p - log q)
    distillation   = T² · mean of KL(softmax(t / T) ‖ softmax(s / T))
    combined       = α · distillation + (1 - α) · cross-entropy(s, labels)
    hidden states  = mean of (W h - h')²      h the student's, h' the teacher's
    generalized JS = β · KL(p ‖ m) + (1 - β) · KL(q ‖ m),     m = β p + (1 - β) q
                     at β = 0 it is KL(p ‖ q), at β = 1 KL(q ‖ p)

W is a matrix that the student learns along with its weights.  It is needed because the teacher's
states are wider than the student's.  After training it is thrown away.

**Why T²?**  The gradient of the distillation loss shrinks as 1/T².  Without T² a larger temperature
would also mean a smaller weight beside the labels, and you would have to tune both at once.

**Why two directions of KL?**  KL(p ‖ q) punishes the student where the teacher has probability
and the student has none.  A small student then spreads out, and writes things that the teacher
never would.  KL(q ‖ p), the *reverse*, punishes what the student says and the teacher wouldn't.
The student then keeps to what it can do well.  β moves between the two.

**Why isn't sampling differentiated?**  A drawn token is a whole number, and has no gradient.  So
the text counts as given.  The gradient comes from the student's logits along that text alone.

**Worked by hand**

    teacher [2 ln 3, 0], student [0, 0], T = 2
        p = softmax([ln 3, 0]) = [3/4, 1/4]        q = [1/2, 1/2]
        KL = 3/4 · ln(3/2) + 1/4 · ln(1/2) = 0.1308;  times T² = 0.5232
        with label 0 and α = 0.5:  0.5 · 0.5232 + 0.5 · ln 2 = 0.6082
    p = [3/4, 1/4], q = [1/2, 1/2]
        β = 0: 0.1308      β = 1: 0.1438      β = 0.5: m = [5/8, 3/8], 0.0338
    4 layers of 12, counted from 0:  (0, 2)  (1, 5)  (2, 8)  (3, 11)

**Shapes**

    logits (…, classes)      labels and masks (…)      ids (b, n) int64
    hidden states (b, n, width)            a model of text: ids ↦ logits (b, n, vocabulary)

A row is one distribution along the last axis; there is at least one.  Losses are tensors without
axes, of the dtype and on the device of the student's logits.  No gradient ever reaches a teacher.
No function changes its arguments, but for `distill`, which trains the student.

**Steps.**  A good place to pause is before generalized_js.

    distillation_loss   10 min   mind -∞, and which is p
    combined_loss        7 min   rows without a label
    match_layers         4 min   one line of whole numbers
    HiddenStateLoss     11 min   select what the mask leaves
    generalized_js      12 min   the ends are special, the mixture is in logarithms
    sample               6 min   the last position's logits
    on_policy_loss       9 min   which positions count?
    distill              8 min   a training loop

Sources: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network"; Jiao et al.
2020, "TinyBERT" (hidden states); Agarwal et al. 2024, "On-Policy Distillation of Language Models"
(generalized JS); Gu et al. 2024, "MiniLLM" (reverse KL).

From scratch: torch.nn.functional.kl_div and torch.nn.KLDivLoss may not be used.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """T² times the mean over all rows of KL(teacher ‖ student), both softened by the temperature.

    - Both are logits (…, classes); they may be as large as 10,000.
    - A teacher's logit may be -∞: it rules the class out, which adds 0 to the sum.  The student's are finite.

    Raises ValueError, naming both shapes, if they differ; or naming the temperature, unless it is above 0.
    """
    raise NotImplementedError


def combined_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float = 2.0, alpha: float = 0.5
) -> Tensor:
    """α times the distillation loss of all rows, plus (1 - α) times the mean cross-entropy of the labelled ones.

    labels   (…) int64: a class, or -100 for a row that has no label

    - The cross-entropy has no temperature.
    - If no row has a label, its part is 0.
    """
    raise NotImplementedError


def match_layers(student: int, teacher: int) -> list[tuple[int, int]]:
    """Which layer of the teacher each of the student's imitates: pairs (student's, teacher's), counted from 0.

    Layer i of the student gets the teacher's layer (i + 1) · teacher / student - 1, with the quotient rounded down.

    Raises ValueError, naming both numbers, unless 1 ≤ student ≤ teacher.
    """
    raise NotImplementedError


class HiddenStateLoss(nn.Module):
    """How far the student's hidden states, projected to the teacher's width, are from the teacher's."""

    def __init__(self, student_width: int, teacher_width: int, pairs: Sequence[tuple[int, int]]) -> None:
        """Makes `projections`, an nn.ModuleList with one nn.Linear a pair, in their order, without biases.

        Each goes from student_width to teacher_width, also where the two are equal.  To change the list of pairs
        later plays no role.
        """
        raise NotImplementedError

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """The mean over the pairs of the mean squared difference.

        student, teacher   the states after each layer, (b, n, student_width) and (b, n, teacher_width)
        mask               (b, n) boolean, True where a token counts; None: all count

        - A pair's mean is over the tokens that count and the features.  If no token counts it is 0.
        - What is masked may hold anything, NaN too.
        """
        raise NotImplementedError


def generalized_js(student: Tensor, teacher: Tensor, beta: float = 0.5, mask: Tensor | None = None) -> Tensor:
    """The mean over the rows of the generalized Jensen–Shannon divergence between teacher p and student q.

    student, teacher   logits (…, classes), finite; they may be as large as 10,000
    mask               (…) boolean, True where a row counts; None: all count.  If none does, the loss is 0.

    At β = 0 and β = 1 it is one of the two KLs, as in the lesson.

    Raises ValueError, naming beta, unless 0 ≤ beta ≤ 1.
    """
    raise NotImplementedError


def sample(model: Model, prompts: Tensor, new_tokens: int, generator: torch.Generator | None = None) -> Tensor:
    """Let the model write: prompts (b, n) with `new_tokens` ≥ 0 more tokens each, (b, n + new_tokens) int64.

    - Each token is drawn from the softmax of the logits at the last position, given all tokens before it.
    - Draw with `generator`, so that the same seed gives the same text.
    - Nothing is recorded for gradients.
    """
    raise NotImplementedError


def on_policy_loss(
    student: Model,
    teacher: Model,
    prompts: Tensor,
    new_tokens: int,
    beta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The mean generalized JS over the tokens that the student writes after the prompts (b, n).

    - The text is that of your `sample` with the student, new_tokens ≥ 1 and the generator; it is drawn once.
    - Each new token counts: compare the logits that the two give for it.  The prompt's tokens don't count.
    - The gradient reaches the student by its logits along the finished text.
    """
    raise NotImplementedError


def distill(
    student: nn.Module,
    x: Tensor,
    labels: Tensor,
    teacher: Tensor | None = None,
    steps: int = 150,
    lr: float = 0.01,
    temperature: float = 4.0,
    alpha: float = 0.9,
) -> list[float]:
    """Train the student in place; returns the loss of each step, from before its update.

    - Each step takes all rows of x.  The optimizer is torch.optim.Adam with this lr, and its defaults.
    - teacher   the teacher's logits for x: the loss is combined_loss with this temperature and alpha.  None: it
      is the mean cross-entropy of the labelled rows, whatever alpha is.
    """
    raise NotImplementedError
