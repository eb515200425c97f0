"""A mixture of experts

A model knows more if it has more weights, and is slower if it uses them all.  A
mixture of experts has both: E feed-forward layers, the experts, of which a router
picks k for each token.

    p = softmax(x W_routerᵀ)                        over the E experts
    y = Σ over the k largest:  p_e / (sum of the k) · expert_e(x)

The weights of the chosen ones are scaled to sum to 1.  With k = E every expert is
used, and that is a plain weighted sum: a good check.

**Dispatch.**  A loop over tokens is slow.  Loop over the experts: gather the rows
that chose this one, run it once, and add its results, weighted, where the rows
came from.

**Balance.**  Left alone, the router sends all to a few experts that are then the
only ones to learn.  With fₑ the share of the k·T choices that went to expert e, and
Pₑ the mean of pₑ over the T tokens, the loss

    E · k · Σₑ fₑ Pₑ

is k if all is even and up to E if it isn't.  fₑ has no gradient; Pₑ carries it.

**Capacity.**  So that every expert does equally much, each takes at most
C = ⌈factor · k · T / E⌉ choices.  They are handed out in order: all first choices
before any second one, and among those the earlier token first.  A choice that
finds its expert full is dropped: it adds nothing, and its weight isn't given to
the others.

Worked by hand, E = 2, k = 1, three tokens with p = [0.8 0.2], [0.6 0.4], [0.3 0.7]:

    experts [0 0 1]      f = [2/3 1/3]      P = [0.5667 0.4333]
    balance loss = 2 · 1 · (2/3 · 0.5667 + 1/3 · 0.4333) = 1.0444
    capacity with factor 0.7: ⌈0.7 · 1 · 3 / 2⌉ = 2, so nothing is dropped; with 0.5, 1: token 1 is

Shapes: x (..., d_model) in float32 or float64; T is the product of the leading
dimensions.  No function or method changes its arguments.

Sources: Shazeer et al. 2017, "Outrageously Large Neural Networks"; Fedus et al.
2021, "Switch Transformers", section 2.2; Jiang et al. 2024, "Mixtral of Experts".

From scratch: transformers may not be used.
Builds on k07_feed_forward, whose GatedFeedForward you may import.
"""

from torch import Tensor, nn


def route(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k experts of each token and their weights, from the router's logits (T, E).

    Returns the experts, int64 (T, k), the likeliest first, and their weights (T, k),
    which sum to 1 for each token.
    Raises ValueError, naming k and E, unless 1 ≤ k ≤ E.
    """
    raise NotImplementedError


def balance_loss(logits: Tensor, experts: Tensor) -> Tensor:
    """The loss of the lesson, a number with a gradient, from logits (T, E) and the choices (T, k)."""
    raise NotImplementedError


def kept_choices(experts: Tensor, capacity: int) -> Tensor:
    """Boolean (T, k): True for those of the choices (T, k) that find room in experts of that capacity."""
    raise NotImplementedError


class MixtureOfExperts(nn.Module):
    """A feed-forward layer of several experts.

    Its parts: `router`, nn.Linear without bias from d_model to n_experts, and
    `experts`, an nn.ModuleList of `n_experts` GatedFeedForward layers (SwiGLU).
    After a call, `dropped` is the number of choices that found no room.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        n_experts: int,
        k: int,
        capacity_factor: float | None = None,
    ) -> None:
        """Each token goes to `k` experts; without a `capacity_factor` there is room for all.

        Raises ValueError, naming k and n_experts, unless 1 ≤ k ≤ n_experts.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's output, of the shape of x (..., d_model), and the router's logits (T, n_experts).

        Each expert is called at most once, with the rows that chose it and were kept,
        and not at all if there is none.
        """
        raise NotImplementedError
