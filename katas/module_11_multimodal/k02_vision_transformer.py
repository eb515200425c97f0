"""The Vision Transformer: an image is a sentence of patches

**Before you start.**  You need the Transformer's encoder.  You may use yours (the reference's is
used until yours is green):

    from katas.module_05_transformers.k08_encoder import Encoder

Encoder(layers, d_model, heads, d_ff, pre_norm=True, activation="gelu") maps (b, n, d_model) to
the same shape and ends in a LayerNorm.  If Transformers are new, read Alammar, "The Illustrated
Transformer".

**The idea.**  You have an encoder that reads sentences, and you want it to read images.  Cut the
image into square patches and treat each patch as a word.  A linear layer turns the pixels of a
patch into a token.  Everything after that is the encoder that you know.

Two things are missing.  Attention doesn't know where a token stands, so each place on the grid
gets a *position*, a vector that is learned and added.  And the encoder gives one vector a token,
where you want one for the image.  So you put a *class token* in front: a learned vector that
belongs to no patch. What comes out in its place is the image's vector.

Later you may want larger images.  They have more patches than there are positions.  You don't
train again: you resize the grid of positions as you would resize a small picture.

**The formulas.**  The image is (c, h, w), p is the side of a patch, n = (h/p)·(w/p).

    patches     x_i      the c·p·p pixels of patch i, in the order channel, row, column
    embedding   e_i      = W x_i + b
    tokens      z        = [class; e_1; …; e_n] + positions            (1 + n, d_model)
    features    f        = Encoder(z)                                  (1 + n, d_model)
    logits      class    head(f_0)           mean    head(mean of f_1 … f_n)
    rollout     R        = M_L … M_2 M_1,    M_l = (A_l + 1) / 2

Patches are counted row by row, from the top left.  A_l is the mean over the heads of layer l's
attention weights (queries are rows), and 1 is the identity matrix.

**A drawing**

    ┌───────┬───────┐
    │ 0   1 │ 2   3 │     patch 0   0 1 4 5          position 0   class token
    │ 4   5 │ 6   7 │     patch 1   2 3 6 7          position 1   patch 0
    ├───────┼───────┤     patch 2   8 9 12 13        position 2   patch 1
    │ 8   9 │10  11 │     patch 3   10 11 14 15      position 3   patch 2
    │12  13 │14  15 │                                position 4   patch 3
    └───────┴───────┘

    image ─▶ patchify ─▶ Linear ─▶ class token in front ─▶ + positions ─┐
                                                                        ▼
           logits ◀─ head ◀─ token 0, or the mean of the others ◀─ Encoder

**Why isn't a reshape enough?**  In memory a whole row of the image comes before the next one.  A
bare reshape would cut rows into pieces, and a "patch" would hold pixels from far apart.  So first
split both sides into (how many patches, place in the patch), then move the axes, then flatten.

**Why does the class token keep out of the resizing?**  It stands nowhere on the grid.  Take its
position off, resize the others, and put it back in front.

**What does attention rollout tell?**  Attention weights of the last layer say which *tokens* it
looks at.  But those tokens are already mixtures.  Rollout multiplies the layers, and half of each
layer is the residual connection, which hands a token on as it is.  Row 0 then says which patches
reach the class token.

**Worked by hand**

    patchify      the 4×4 image above with p = 2: see the drawing
    positions     of width 1, a grid of 1×4 with 0 16 32 32, the class token's is 7
                  to a grid of 1×2: each new one lies midway between two old ones, where the
                  bicubic weights are -3/32, 19/32, 19/32, -3/32;  the border is repeated
                  first    -3/32·0 + 19/32·0 + 19/32·16 - 3/32·32     6.5
                  second   -3/32·16 + 19/32·32 + 19/32·32 - 3/32·32   33.5
                  result   7 6.5 33.5
    rollout       one head,  A_1 of rows [.5 .5] [0 1],  A_2 of rows [0 1] [1 0]
                  M_1 of rows [.75 .25] [0 1],  M_2 of rows [.5 .5] [.5 .5]
                  R of rows [.375 .625] [.375 .625]

**Shapes**: images (b, c, h, w) of the model's dtype, patches (b, n, c·p·p), tokens (b, 1 + n,
d_model). Results have the dtype and the device of what comes in.  Gradients flow through
everything.  No function changes its arguments.

**Steps.**

    patchify                8 min   five axes, in the right order
    unpatchify              8 min   the same way back
    PatchEmbedding          4 min   one Linear
    interpolate_positions  10 min   the class token stays out; axes for F.interpolate
    VisionTransformer      20 min   everything together
    attention_rollout       8 min   which side does the next layer stand on?

Sources: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words"; Abnar and Zuidema 2020,
"Quantifying Attention Flow in Transformers" (rollout).

From scratch: torch.nn.functional.unfold, torch.nn.functional.fold, torch.nn.Unfold,
torch.nn.Fold, torch.nn.functional.pixel_unshuffle, torch.nn.PixelUnshuffle, transformers,
torchvision and einops may not be used.  torch.nn.functional.interpolate may.
"""

from collections.abc import Sequence

from torch import Tensor, nn


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images (..., c, h, w), with any leading dimensions, into patches (..., n, c·patch·patch).

    Sides needn't be equal.  Patches are counted row by row; within one the order is channel, row, column.

    Raises ValueError, naming h, w and patch, if patch doesn't divide both sides.
    """
    raise NotImplementedError


def unpatchify(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    """patchify undone: (..., n, c·patch·patch) to (..., c, height, width).

    Raises ValueError, naming n, patch, height and width, unless patch divides both and there are n patches.
    """
    raise NotImplementedError


class PatchEmbedding(nn.Module):
    """Patches of an image as tokens.

    project    the nn.Linear from c·patch·patch to d_model, with bias
    """

    def __init__(self, patch: int, channels: int, d_model: int) -> None:
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (b, n, d_model) of images (b, channels, h, w)."""
        raise NotImplementedError


def interpolate_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Resize positions (1 + rows·columns, d) of the grid `old` to those of the grid `new`; both are (rows, columns).

    - The first is the class token's and stays as it is.
    - The others are resized by torch.nn.functional.interpolate, bicubic, with align_corners=False and without
      antialias: that is how pretrained models are resized.
    - With new equal to old, nothing changes.

    Raises ValueError, naming both numbers of `old` and the number of positions, if they don't fit.
    """
    raise NotImplementedError


class VisionTransformer(nn.Module):
    """A classifier of images.

    embed          a PatchEmbedding
    class_token    a Parameter (d_model,)
    positions      a Parameter (1 + n, d_model) for images of `size`; the first is the class token's
    encoder        the Encoder of the lesson, with pre_norm=True and activation="gelu"
    head           an nn.Linear from d_model to classes, with bias

    The model has no other parameters.  How they start is up to you.
    """

    def __init__(
        self,
        size: tuple[int, int],
        patch: int,
        channels: int,
        d_model: int,
        layers: int,
        heads: int,
        d_ff: int,
        classes: int,
        pool: str = "class",
    ) -> None:
        """size   (height, width) of the images that the positions are made for; patch divides both
        pool   "class": the head reads the class token;  "mean": the mean of the patches, without the class token

        Raises ValueError, naming pool, if it is neither.
        """
        raise NotImplementedError

    def tokens(self, images: Tensor) -> Tensor:
        """What the encoder gives, (b, 1 + n, d_model), class token first.

        Images may have another size than `size`: then the positions are interpolated for this call.
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """The logits (b, classes) of images (b, channels, h, w), of `size` or another."""
        raise NotImplementedError


def attention_rollout(weights: Sequence[Tensor]) -> Tensor:
    """R (..., n, n) of the attention weights (..., heads, n, n), one tensor a layer, the first layer first.

    There is at least one layer.  Every layer has the same shape.
    """
    raise NotImplementedError
