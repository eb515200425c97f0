"""A mixture of experts

**Before you start.**  You need softmax and the gated feed-forward layer.  You may use yours
(the reference's is used until yours is green):

    from .k07_feed_forward import GatedFeedForward

More: Sanseviero et al. 2023, "Mixture of Experts Explained".

**The idea.**  A model knows more if it has more weights, and is slower if it uses them all.
So have many and use few.  A router picks k of E feed-forward layers, the experts, for each
token.  Only those run.

**The formula.**  p are the probabilities of the E experts for a token x:

    p = softmax(x W_routerᵀ)
    y = Σ over the k largest:  p_e / (sum of the k) · expert_e(x)

The weights of the chosen ones sum to 1, as in Mixtral.  With k = E it is a plain weighted sum: a
good check.

     token     p            choices            queues, capacity 2
     t₀   [ .6 .3 .1 ]       0   1        expert 0    t₀   t₁  │  t₂ dropped
     t₁   [ .5 .1 .4 ]  ──▶  0   2   ──▶  expert 1    t₀   t₂  │
     t₂   [ .7 .2 .1 ]       0   1        expert 2    t₁       │

*Dispatch.*  Loop over the experts, not over the tokens: gather the rows in an expert's queue,
run it once, and add its weighted results where the rows came from.

*Balance.*  Left alone, the router sends all to a few experts, and only those learn.  fₑ is the
share of the T tokens' k·T choices that went to expert e, Pₑ the mean of pₑ over the tokens:

    loss = E · k · Σₑ fₑ Pₑ

It is k if all is even, and up to E if it isn't.  fₑ has no gradient; Pₑ carries it.

*Capacity.*  Each expert takes at most C choices, so that none is overrun:

    C = ⌈factor · k · T / E⌉

Places are given in order: all first choices before any second one, and among those the earlier
token first.  A choice that finds its expert full is dropped.  It adds nothing, and its weight isn't
given to the others.

**Why not k = 1?**  A single weight, scaled to sum to 1, is always 1: y teaches the router
nothing.  Switch Transformers have k = 1, and multiply by p as it is.

**Worked by hand**, E = 2, k = 1, three tokens with p = [0.8 0.2], [0.6 0.4], [0.3 0.7]:

    experts [0 0 1]      f = [2/3 1/3]      P = [0.5667 0.4333]
    balance loss = 2 · 1 · (2/3 · 0.5667 + 1/3 · 0.4333) = 1.0444
    factor 0.7: capacity ⌈0.7 · 1 · 3 / 2⌉ = 2, nothing is dropped
    factor 0.5: capacity ⌈0.5 · 1 · 3 / 2⌉ = 1, token 1 is dropped

**Shapes**: x (..., d_model) in float32 or float64, with at least one leading dimension; T ≥ 1
is the product of these.  No function or method changes its arguments.

Answers are on the device of the input, and a module moved by .to works where it is.

**Steps.**

    route              5 min   softmax of what?
    balance_loss      10 min   f is a count, P a mean
    kept_choices      10 min   each choice's place in its queue
    MixtureOfExperts  25 min   gather, run once, add back

Sources: Shazeer et al. 2017, "Outrageously Large Neural Networks"; Fedus et al. 2021, "Switch
Transformers", section 2.2; Jiang et al. 2024, "Mixtral of Experts".

From scratch: transformers may not be used.
"""

from torch import Tensor, nn


def route(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k experts of each token and their weights, from the router's logits (T, E).

    Returns the experts, int64 (T, k), the likeliest first, and their weights (T, k), which sum
    to 1 for each token.  Equal logits aren't tested; logits of ±1e3 are.

    Raises ValueError, naming k and E, unless 1 ≤ k ≤ E.
    """
    raise NotImplementedError


def balance_loss(logits: Tensor, experts: Tensor) -> Tensor:
    """The loss of the lesson, from logits (T, E) and the choices (T, k).

    A scalar with a gradient for the logits.
    """
    raise NotImplementedError


def kept_choices(experts: Tensor, capacity: int) -> Tensor:
    """Boolean (T, k): True for those of the choices (T, k) that find room.

    Each expert takes `capacity` ≥ 0 choices, handed out as the lesson says.  An expert that
    nobody chose is fine.
    """
    raise NotImplementedError


class MixtureOfExperts(nn.Module):
    """A feed-forward layer of several experts.

    router     nn.Linear without bias from d_model to n_experts
    experts    an nn.ModuleList of `n_experts` GatedFeedForward layers (SwiGLU)
    dropped    after a call: an int, the number of that call's choices that found no room
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        n_experts: int,
        k: int,
        capacity_factor: float | None = None,
    ) -> None:
        """Each token goes to `k` experts; without a `capacity_factor` > 0 there is room for all.

        Where rounding in floats decides about a capacity, it isn't tested.

        Raises ValueError, naming k and n_experts, unless 1 ≤ k ≤ n_experts.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output, of the shape of x (..., d_model), and the router's logits (T, n_experts).

        - Each expert is called at most once, with the rows that chose it and were kept, and
          not at all if there is none.  That is what makes it cheap.
        - Gradients reach x, the experts, and the router: through the logits and, for k > 1, through
          the output.
        """
        raise NotImplementedError
