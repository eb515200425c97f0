"""CLIP: images and captions in one space

**Before you start.**  You need cross-entropy and the Transformer's encoder.  You may use yours
(the reference's is used until yours is green):

    from katas.module_05_transformers.k08_encoder import Encoder

Encoder(layers, d_model, heads, d_ff, pre_norm=True, activation="gelu")(x, mask) maps (b, n,
d_model) to the same shape and ends in a LayerNorm; mask (n, n) is True where a query (row) may
look at a key.  For the last two steps you need torch.distributed; collectives, a kata of module
08, is a good start.  If contrastive learning is new, read Weng, "Contrastive Representation
Learning" (a post on her blog).

**The idea.**  You want a classifier for classes that nobody has labelled.  The web is full of
images with captions.  So train two encoders: one for images, one for texts.  In a batch of n
pairs, each image must find its own caption among all n, and each caption its own image.
Everything else in the batch is a wrong answer, for free.

Afterwards a class is only a text: "a photo of a cat".  Encode one text for each class.  An image
belongs to the class whose text is nearest.  That is *zero-shot* classification.

**The formulas.**  f_i and g_j are the vectors of image i and text j, n pairs, τ the temperature.

    logits       l_ij  = exp(s) · cos(f_i, g_j)               s = log(1/τ) is learned
    loss         L     = ( L_images + L_texts ) / 2
                 L_images = mean over i of  -log softmax of row i at i
                 L_texts  = mean over j of  -log softmax of column j at j
    class        w_c   = unit( mean over t of unit(g_ct) )      g_ct: class c in template t
    zero-shot    p     = softmax over c of  exp(s) · cos(f, w_c)
    on ranks     L     = mean over ranks of their own rows' loss, against all columns

unit(x) is x divided by its length.  cos of a vector of zeros is 0.

**A drawing**

              text 0  text 1  text 2
            ┌────────────────────────┐    L_images   each row: the diagonal wins
    image 0 │   ●       ·       ·    │    L_texts    each column: the same
    image 1 │   ·       ●       ·    │
    image 2 │   ·       ·       ●    │    one matrix, read in two directions
            └────────────────────────┘

    on two ranks, two pairs each:             texts   0  1 │ 2  3
                                             image 0  ●  · │ ·  ·    rank 0 has
    a rank has its own images and texts.     image 1  ·  ● │ ·  ·    these rows
    It gathers the vectors of all, and       ──────────────┼──────
    its diagonal begins at rank · n.         image 2  ·  · │ ●  ·    rank 1 has
                                             image 3  ·  · │ ·  ●    these

**Why learn the logarithm of the scale?**  Cosines lie between -1 and 1.  A softmax of those is
nearly flat, so they need a factor: about 14 at first (τ = 0.07).  How large is best changes
during training, so it is learned.  As a logarithm it stays positive, and equal steps change it by
equal shares.  Without a limit it may grow until training breaks, so after each step it is cut at
100.

**Why does gathering need a gradient?**  Rank 1's loss contains the texts of rank 0 as wrong
answers.  So rank 0's texts have a gradient from rank 1 as well.  A plain all_gather drops it.
Yours adds up, for its own rows, what all ranks hand back.  Then average parameters' gradients
over the ranks, as data parallel training does: the result is the gradient of one large batch.

**Why normalise before and after the mean?**  Templates ("a photo of a {}", "a drawing of a {}")
vote by direction.  A long vector would count more, so each gets length 1 first.  Their mean is
shorter than 1, so it is normalised again.

**Worked by hand**

    logits   cosines of rows [1 0] [.6 .8], with exp(s) = 2:  rows [2 0] [1.2 1.6]
    loss     rows      log(1 + e^-2) = 0.1269,   log(1 + e^-0.4) = 0.5130     mean 0.3200
             columns   log(1 + e^-0.8) = 0.3711, log(1 + e^-1.6) = 0.1839     mean 0.2775
             L = 0.2987
    class    texts [3 4] and [0 2]: units [.6 .8] [0 1], mean [.3 .9], unit [.3162 .9487]

**Shapes**: image vectors (n, d), text vectors (m, d), logits (n, m) with images as rows.  Results
have the dtype and the device of what comes in, and gradients flow.  No function changes its
arguments.

**Steps.**  A good place to pause is after Clip.

    similarity_logits      5 min   which of exp, log, division?
    contrastive_loss       6 min   both directions
    TextEncoder           15 min   causal, read at the end token
    Clip                  12 min   two towers, two projections, a scale
    zero_shot_classifier   5 min   unit, mean, unit
    classify               3 min   a softmax over classes
    gather                12 min   all_gather that hands gradients back
    distributed_loss      10 min   where my diagonal begins

Sources: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
Supervision".

From scratch: torch.nn.functional.cosine_similarity, torch.cosine_similarity,
torch.nn.CosineSimilarity, torch.distributed.nn and transformers may not be used.
"""

from torch import Tensor, nn


def similarity_logits(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """The logits (n, m) of image vectors (n, d) and text vectors (m, d) of any lengths.

    log_scale   s, a tensor without axes
    A vector of zeros gives logits of 0, and no NaN in its gradient.
    """
    raise NotImplementedError


def contrastive_loss(logits: Tensor) -> Tensor:
    """The lesson's L, without axes, of logits (n, n), n ≥ 1: pair i is on the diagonal.

    Logits of ±1000 give no NaN and no infinity.

    Raises ValueError, naming both sizes, if the matrix isn't square.
    """
    raise NotImplementedError


class TextEncoder(nn.Module):
    """A causal Transformer that reads a text and hands on what it knows at the end token.

    embedding    an nn.Embedding(vocabulary, d_model)
    positions    a Parameter (context, d_model), added to the embeddings
    encoder      the Encoder of the lesson, pre-norm, with gelu
    end          the id of the end token

    It has no other parameters.  How they start is up to you.
    """

    def __init__(
        self, vocabulary: int, context: int, d_model: int, layers: int, heads: int, d_ff: int, end: int
    ) -> None:
        raise NotImplementedError

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors (b, d_model) of token ids (b, n), int64, n ≤ context.

        - A token sees itself and those before it.
        - The vector is the encoder's output at the first end token.  What stands behind that has no influence.

        Raises ValueError, naming the first such row and the id of the end token, if a text has none.
        """
        raise NotImplementedError


class Clip(nn.Module):
    """Two towers, two projections, and the scale.

    image_tower, text_tower       as given: they give (n, image_width) and (m, text_width)
    image_project, text_project   the nn.Linear to `width`, without bias
    log_scale                     s, a Parameter without axes
    """

    def __init__(
        self,
        image_tower: nn.Module,
        text_tower: nn.Module,
        image_width: int,
        text_width: int,
        width: int,
        temperature: float = 0.07,
    ) -> None:
        """temperature   τ at the start, so log_scale starts at log(1/τ)"""
        raise NotImplementedError

    def encode_images(self, images: Tensor) -> Tensor:
        """Projected vectors of length 1, (n, width)."""
        raise NotImplementedError

    def encode_texts(self, ids: Tensor) -> Tensor:
        """Projected vectors of length 1, (m, width)."""
        raise NotImplementedError

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """The logits (n, m)."""
        raise NotImplementedError

    def limit_scale(self, highest: float = 100.0) -> None:
        """Cut the scale exp(log_scale) at `highest`, in place, so that an optimizer that holds log_scale still does.

        A scale that is lower stays as it is.
        """
        raise NotImplementedError


def zero_shot_classifier(texts: Tensor) -> Tensor:
    """One vector of length 1 for each class, (classes, d), of text vectors (classes, templates, d) of any lengths."""
    raise NotImplementedError


def classify(images: Tensor, classifier: Tensor, log_scale: Tensor) -> Tensor:
    """The probabilities (n, classes) of image vectors (n, d), of any lengths, for the class vectors (classes, d)."""
    raise NotImplementedError


def gather(x: Tensor) -> Tensor:
    """The rows of all ranks, (ranks · n, d), in the order of the ranks; x (n, d) is mine, n is the same everywhere.

    - The gradient of x is the sum over the ranks of what each one's result hands back for my rows.
    - Every rank runs its backward pass, each through its own result.  The gradient that comes in there isn't changed.
    - Without a process group (torch.distributed.is_initialized() is False) there is one rank, and x comes back.
    """
    raise NotImplementedError


def distributed_loss(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """My share of the loss, without axes: my n images against the texts of all ranks, my n texts against all images.

    images, texts   vectors (n, d) of my n pairs, of any lengths; n is the same on all ranks

    The mean over the ranks is contrastive_loss of the whole batch.  So is the mean over the ranks of a
    parameter's gradient, with every rank calling backward on its own share.  Without a process group it is
    contrastive_loss of my pairs.
    """
    raise NotImplementedError
