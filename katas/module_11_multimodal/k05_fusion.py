"""Fusion: one answer from several senses, some of which may be missing

**Before you start.**  You need attention and the Transformer's encoder.  You may use yours (the
reference's are used until yours are green):

    from katas.module_05_transformers.k02_multi_head_attention import MultiHeadAttention
    from katas.module_05_transformers.k07_feed_forward import FeedForward
    from katas.module_05_transformers.k08_encoder import Encoder

MultiHeadAttention(d, heads)(x, context, mask) gives (output, weights); FeedForward(d, d_ff,
"gelu") and Encoder(layers, d, heads, d_ff, pre_norm=True, activation="gelu")(x, mask) give their
output.  A mask is True where a query may look at a key, and broadcasts against (b, heads,
queries, keys).  A survey: Baltrušaitis et al. 2019, "Multimodal Machine Learning".

**The idea.**  A film has pictures, sound and subtitles.  You want one answer from all of them.
The question is *where* they meet.  Early: put the features side by side, one model sees
everything.  Late: a model for each, and an average of their answers.  In between: attention,
where one looks things up in the other.

In real data something is often missing: no sound, no caption.  A model must know what is
missing.  It must not read the garbage that stands there.  And it should have met such cases in
training.

**The formulas.**  m modalities, x_i the features of modality i, a_i is 1 if it is present and 0
if not.

    early       [ a_1 x_1, …, a_m x_m, a_1, …, a_m ]                side by side
    late        log( mean over the present i of softmax(l_i) )      l_i: logits of modality i
    dropout     a_i ← a_i · [u_i ≥ p],  u_i uniform in [0, 1);  whoever would lose all keeps all
    gated       z = sum of g_i tanh(W_i x_i + b_i),   g = softmax over the present of W early + b
    cross       x ← x + tanh(α) · attention(norm(x), W c + b)       c: context, α = 0 at the start
    resampler   q = latent_norm(l),  l ← l + attention(q, [media_norm(x); q]),
                l ← l + feed_forward(ff_norm(l));   at the end norm(l)
    unified     Encoder of [ W_1 x_1 + b_1 + e_1; …; W_m x_m + b_m + e_m ]
                e_i: a learned vector of modality i

**A drawing**

    early      x1 ─┐                  late     x1 ─▶ model ─┐
               x2 ─┼─▶ model ─▶ y              x2 ─▶ model ─┼─▶ mean ─▶ y
               x3 ─┘                           x3 ─▶ model ─┘

    resampler  media, any number           x x x x x x x x . .      . is hidden
                                           │ │ │ │ │ │ │ │
               latents, always k  l l l ─▶ keys: media and latents ─▶ l l l

**Why the flags?**  Zeros can be real data, too.  With the flags, a model can tell a silent film
from one whose sound is lost.

**Why does a new layer begin with tanh(0)?**  You put cross-attention into a language model that
works.  At the start it should say what it said before.  α = 0 switches the layer off, and
training opens it slowly.  α has a gradient from the first step on.

**Why a resampler?**  A film has thousands of patches, a photo a few hundred.  Cross-attention to
all of them is expensive.  A fixed number of learned latents asks for what matters.  Later layers
see only these latents.

**Worked by hand**

    early      x_1 = [3 4] is there, x_2 = [5] is missing:  3 4 0 1 0
    late       p_1 = [.9 .1], p_2 = [.5 .5]: mean [.7 .3], log [-.3567 -1.2040]
               without p_2: log [.9 .1]
    gated      W_i = 1, b_i = 0, scores equal, x_1 = 1, x_2 = -2
               (tanh 1 + tanh -2) / 2 = (.7616 - .9640) / 2 = -.1012
    ablation   labels 0 1 1 0;  the model says what x_1 says where that is there, else what x_2
               says.  x_1 says 0 1 1 1, x_2 says 0 0 1 1
               with all 3/4, without x_1 2/4, without x_2 3/4

**Shapes**: features is a list of m tensors, x_i (b, d_i); present (b, m), bool.  A sequence of
modality i is (b, n_i, d_i) with a mask (b, n_i), True where a token is visible; n_i may be 0.

What is absent or hidden has no influence and its gradient is 0.  In early_fusion, late_fusion and
GatedFusion it may hold NaN; elsewhere it is finite.  Results have the dtype and the device of the
features, and gradients flow. No function changes its arguments.  How parameters start is up to
you, except for α.

**Steps.**  A good place to pause is after GatedFusion.

    early_fusion          5 min   NaN times 0 is NaN
    late_fusion           8 min   a mean of probabilities, in logarithms
    modality_dropout      6 min   never all of a row
    GatedFusion          12 min   a softmax over those that are there
    GatedCrossAttention  10 min   off at first; nothing to see changes nothing
    ResamplerBlock       10 min   keys are media and latents
    PerceiverResampler    6 min   a stack of these
    UnifiedEncoder       12 min   one sequence of everything
    ablation              8 min   take one away, and count

Sources: Arevalo et al. 2017, "Gated Multimodal Units for Information Fusion"; Neverova et al.
2016, "ModDrop" (modality dropout); Jaegle et al. 2021, "Perceiver"; Alayrac et al. 2022,
"Flamingo" (gated cross-attention and the resampler).

From scratch: torch.nn.MultiheadAttention, torch.nn.TransformerDecoderLayer,
torch.nn.TransformerEncoderLayer and transformers may not be used.
"""

from collections.abc import Callable, Sequence

from torch import Generator, Tensor, nn


def early_fusion(features: Sequence[Tensor], present: Tensor) -> Tensor:
    """The features side by side, with zeros for what is absent, then the m flags: (b, d_1 + … + d_m + m)."""
    raise NotImplementedError


def late_fusion(logits: Tensor, present: Tensor) -> Tensor:
    """The logarithms (b, classes) of the mean of the probabilities of those present.

    logits   (b, m, classes).  Logits of ±1000 give no NaN and no infinity

    Raises ValueError, naming the first such row, if nothing is present in a row.
    """
    raise NotImplementedError


def modality_dropout(present: Tensor, p: float, generator: Generator) -> Tensor:
    """A new `present` (b, m): each True becomes False with chance p, independently.  A False stays False.

    - A row that would lose all that it has keeps all that it has.  A row with nothing stays so.
    - `generator` is on the device of `present`.

    Raises ValueError, naming p, unless 0 ≤ p < 1.
    """
    raise NotImplementedError


class GatedFusion(nn.Module):
    """A mixture of modalities, with weights that depend on all of them.

    projects   an nn.ModuleList: for each modality an nn.Linear(width, d)
    gate       an nn.Linear from the early fusion (d_1 + … + d_m + m) to m scores
    """

    def __init__(self, widths: Sequence[int], d: int) -> None:
        """widths   d_1 … d_m"""
        raise NotImplementedError

    def forward(self, features: Sequence[Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """z (b, d), and the gates g (b, m), 0 for what is absent.

        Raises ValueError, naming the first such row, if nothing is present in a row.
        """
        raise NotImplementedError


class GatedCrossAttention(nn.Module):
    """A sequence looks things up in another modality.

    norm              an nn.LayerNorm(d)
    context_project   an nn.Linear(context_width, d)
    attention         a MultiHeadAttention(d, heads)
    gate              α, a Parameter without axes, 0 at the start
    """

    def __init__(self, d: int, context_width: int, heads: int) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """The new x (b, n, d), of x and the context (b, k, context_width).

        mask   (b, k): which tokens of the context are visible; None: all.  Where none is, x stays as it is
        """
        raise NotImplementedError


class ResamplerBlock(nn.Module):
    """One round of questions of the latents.

    media_norm, latent_norm, ff_norm   an nn.LayerNorm(d) each
    attention                          a MultiHeadAttention(d, heads)
    feed_forward                       a FeedForward(d, d_ff, "gelu")
    """

    def __init__(self, d: int, heads: int, d_ff: int) -> None:
        raise NotImplementedError

    def forward(self, latents: Tensor, media: Tensor, mask: Tensor | None = None) -> Tensor:
        """The new latents (b, k, d), of latents (b, k, d) and media (b, n, d).

        mask   (b, n): which media tokens are visible; None: all.  Latents always see all latents
        """
        raise NotImplementedError


class PerceiverResampler(nn.Module):
    """As many media tokens as there are become `count` of them.

    latents   a Parameter (count, d)
    blocks    an nn.ModuleList of ResamplerBlock
    norm      an nn.LayerNorm(d), at the end
    """

    def __init__(self, d: int, count: int, layers: int, heads: int, d_ff: int) -> None:
        raise NotImplementedError

    def forward(self, media: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (b, count, d) of the media (b, n, d); mask as in ResamplerBlock."""
        raise NotImplementedError


class UnifiedEncoder(nn.Module):
    """One encoder for the tokens of all modalities.

    projects     an nn.ModuleList: for each modality an nn.Linear(width, d)
    modalities   a Parameter (m, d): e_1 … e_m
    encoder      the Encoder of the lesson, pre-norm, with gelu
    """

    def __init__(self, widths: Sequence[int], d: int, layers: int, heads: int, d_ff: int) -> None:
        raise NotImplementedError

    def forward(self, sequences: Sequence[Tensor], masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What the encoder gives, (b, n_1 + … + n_m, d), and its mean over the visible tokens, (b, d).

        - The modalities follow each other in their order.
        - At hidden tokens the first answer may be anything finite.

        Raises ValueError, naming the first such row, if no token of a row is visible in any modality.
        """
        raise NotImplementedError


def ablation(
    predict: Callable[[Sequence[Tensor], Tensor], Tensor],
    features: Sequence[Tensor],
    present: Tensor,
    labels: Tensor,
) -> list[float]:
    """The accuracy with all, and that without modality 0, 1, … m - 1: m + 1 Python floats.

    predict   predict(features, present) gives logits (rows, classes) of some rows, at least one
    labels    (b,), int64, b ≥ 1

    "Without" means that it isn't present in any row.  A row in which nothing is present then is not handed to
    predict, and counts as wrong.
    """
    raise NotImplementedError
