"""Image captioning: from a picture to a sentence, and a score for it

**Before you start.**  You need the Transformer's encoder and decoder.  You may use yours (the
reference's are used until yours are green):

    from katas.module_05_transformers.k08_encoder import Encoder
    from katas.module_05_transformers.k09_encoder_decoder import DecoderBlock

Encoder(layers, d, heads, d_ff, pre_norm=True, activation="gelu")(x) and DecoderBlock(d, heads,
d_ff, pre_norm=True)(x, memory) give tokens in the shape of x; pre_norm is False by default.  The
block is causal: each token of x sees itself, the tokens before it, and all of the memory.

**The idea.**  A picture is cut into patches, and an encoder makes tokens of them: the memory.  A
decoder writes the caption word by word.  At each word it looks at the memory, and at what it has
written so far.  It is a translation whose source is a picture.

The simplest way to write is greedy: take the likeliest word each time.  It can walk into a dead
end: the first word looks good, and nothing likely follows.  *Beam search* keeps the likeliest few
beginnings at each step.

To judge a caption, compare it with what people wrote.  Not all words tell you equally much: "a"
is in every caption, "zebra" in few.  *CIDEr* counts n-grams and weighs them by how rare they are.

**The formulas.**  A caption has the words w_1 … w_m.  START and END are tokens of their own.

    inputs       START  w_1  w_2  …  w_m
    targets      w_1    w_2  …  w_m  END             at each place: the next token
    loss         mean over all targets but padding of  -log softmax(logits)[target]
    tokens       patch vector + its position, then the encoder
    decoder      x = embedding[input] + position, then the blocks, then head(norm(x))
    score        ( sum of log p(token) ) / length^penalty      length counts END, not START
    df(g)        number of images with the n-gram g in at least one of their references
    weight       count of g in the caption · log( images / max(1, df(g)) )
    CIDEr_n      mean over the image's references r of cos( weights of c, weights of r )
    CIDEr        mean of CIDEr_n over n = 1 … N, and CIDEr-D that of CIDEr-D_n
    CIDEr-D_n    10 · mean over r of  e^( -δ² / 2σ² ) · ( min(c, r) · r ) / ( |c| |r| )

c and r stand for the vectors of weights.  cos is c · r / (|c| |r|), and 0 if either is all zeros;
so is the quotient of CIDEr-D.  min is taken n-gram by n-gram.  δ is the number of words of the
caption minus that of the reference.

**A drawing**

    picture ─▶ patches ─▶ encoder ─▶ memory ───┐
                                               ▼
    START  a    red ─▶ embedding + place ─▶ decoder ─▶ head ─▶ logits
                                                               │
      a   red   dot ◀──────────────────────────────────────────┘

    beam of 2           a  .5 ─┬─ END .4    0.20
    START ─┬─▶          b  .4 ─┼─ END .9    0.36   ◀ wins, greedy never sees it
           └─ END .1           └─ …

**Why divide by the length?**  Each token multiplies the probability by something below 1.  So
short captions win, and the empty one most easily.  With penalty 1 you compare the mean log p of a
token.  Penalty 0 doesn't divide.

**Why a clipped score?**  For n = 1, "dot dot dot" points in the same direction as "dot", so
CIDEr_1 is 1 for both.  CIDEr-D clips each weight at the reference's, and lowers the score the
more the lengths differ.  CIDEr lies between 0 and 1, CIDEr-D between 0 and 10.

**Worked by hand**

    batch        captions 5 6 and 7, START 0, END 1, padding 2
                 inputs  0 5 6 / 0 7 2          targets  5 6 1 / 7 1 2
    beam         the drawing, 2 beams, limit 2, penalty 0:  b END  log 0.36 = -1.0217,
                 then a END  log 0.2 = -1.6094;     penalty 1: -0.5108 and -0.8047
    n-grams      of a b a b, n = 2:  a b twice, b a once
    CIDEr        N = 1, two images: "a red dot" and "a red bar".  df: a 2, red 2, dot 1, bar 1
                 weights: dot and bar log 2 = 0.6931, the others 0
                 "a dot" for the first image: cos 1.  "a red bar": 0.   "dot dot": 1
    CIDEr-D      "a dot": 10 e^(-1/72) = 9.8621.
                 "dot dot": min is 0.6931, ½ in place of 1:  4.9310

**Shapes**: images (B, C, S, S), memory (B, P, d) of P patches, row by row, inputs (B, n), int64,
logits (B, n, words).  Results have the device of what comes in.  A model, for the two searches,
has encode(images) and decode(inputs, memory), as Captioner has; nothing else of it is used.  No
function changes its arguments.

**Steps.**  A good place to pause is after Captioner.

    caption_batch        6 min   START here, END there
    caption_loss         4 min   padding isn't a word
    ImageEncoder        10 min   a convolution that never overlaps
    Captioner           12 min   words in, logits out
    greedy_captions     10 min   each row ends for itself
    beam_captions       18 min   a flat list of all extensions
    ngrams               3 min   count them
    document_frequency   4 min   once an image
    cider               10 min   weights, then a cosine
    cider_d              8 min   clip, and mind the length

Sources: Vinyals et al. 2015, "Show and Tell"; Xu et al. 2015, "Show, Attend and Tell"; Vedantam,
Zitnick and Parikh 2015, "CIDEr: Consensus-based Image Description Evaluation".

From scratch: torch.nn.TransformerDecoder, torch.nn.TransformerDecoderLayer, torch.nn.Transformer,
transformers and pycocoevalcap may not be used.
"""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor, nn

Words = Sequence[str] | Sequence[int]


def caption_batch(captions: Sequence[Sequence[int]], start: int, end: int, pad: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (B, n), int64, on the CPU, of one caption or more; n is 1 more than the longest has words.

    A caption may be empty.  Shorter rows are filled with `pad` on the right.
    """
    raise NotImplementedError


def caption_loss(logits: Tensor, targets: Tensor, pad: int) -> Tensor:
    """The loss (), with its gradient, of logits (B, n, words): one mean over all targets (B, n) that aren't `pad`.

    You may assume that at least one target isn't `pad`.
    """
    raise NotImplementedError


class ImageEncoder(nn.Module):
    """A picture as tokens.

    patches     nn.Conv2d, channels to d, kernel and stride `patch`, with bias
    positions   nn.Parameter (P, d)
    encoder     the Encoder of the lesson, pre-norm, with gelu

    It has no other parameters.  How they start is up to you.
    """

    def __init__(self, channels: int, size: int, patch: int, d: int, heads: int, layers: int, d_ff: int) -> None:
        """Images have size · size pixels.

        Raises ValueError, naming patch and size, unless patch divides size.
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, channels, size, size) to the memory (B, P, d), patches row by row."""
        raise NotImplementedError


class Captioner(nn.Module):
    """An encoder of images, and a decoder of words.

    encoder     as it is given
    embedding   nn.Embedding(words, d)
    positions   nn.Parameter (longest, d)
    blocks      nn.ModuleList of `layers` DecoderBlock, pre-norm
    norm        nn.LayerNorm(d)
    head        nn.Linear(d, words), with bias

    It has no other parameters.  How they start is up to you, but it has to learn.
    """

    def __init__(
        self, encoder: nn.Module, words: int, longest: int, d: int, heads: int, layers: int, d_ff: int
    ) -> None:
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """The memory, as the encoder gives it."""
        raise NotImplementedError

    def decode(self, inputs: Tensor, memory: Tensor) -> Tensor:
        """Logits (B, n, words) of inputs (B, n) and a memory (B, P, d).

        Raises ValueError, naming both, if n is above longest.
        """
        raise NotImplementedError

    def forward(self, images: Tensor, inputs: Tensor) -> Tensor:
        """The logits of inputs (B, n) for images, which are encoded first."""
        raise NotImplementedError


def greedy_captions(model: Captioner, images: Tensor, start: int, end: int, limit: int) -> list[list[int]]:
    """For each image the likeliest token, one after the other, until END or `limit` tokens; limit is at least 1.

    - Lists of Python ints: what the model wrote before END.  The START in front isn't part of it.
    - START and padding are tokens like others here: if the model writes one, it stays.
    - The images are encoded once, and the model is asked at most `limit` times.  No gradient is kept.
    """
    raise NotImplementedError


def beam_captions(
    model: Captioner, image: Tensor, start: int, end: int, beams: int, limit: int, length_penalty: float = 1.0
) -> list[tuple[list[int], float]]:
    """Captions of one image (C, S, S), as (words, score), the best score first.

    - Start with one live caption: START alone.  At each step, extend every live caption by every token.  Keep the `beams`
      extensions with the largest sum of log p; all, if there are fewer.  Don't divide by the length here.
    - Of those that you keep, what ends with END is finished and no longer extended.  The others are live.
    - After step `limit`, which is at least 1, live captions count as finished, too.  It stops sooner if none is live.
    - The result: of all that is finished, the `beams` best by the lesson's score.  Words are Python ints, without
      the START in front and without END.  Ties may come in any order.
    - The image is encoded once, as a batch of one.  No gradient is kept.

    Raises ValueError, naming beams, if it is below 1.
    """
    raise NotImplementedError


def ngrams(words: Words, n: int) -> Counter:
    """How often each n-gram stands in the words, as tuples of n words.  n is at least 1; fewer words than n have none."""
    raise NotImplementedError


def document_frequency(references: Sequence[Sequence[Words]], n: int) -> Counter:
    """df of every n-gram; references[i] are the captions of image i."""
    raise NotImplementedError


def cider(candidates: Sequence[Words], references: Sequence[Sequence[Words]], longest: int = 4) -> list[float]:
    """The CIDEr of each image's candidate, with N = `longest`, as Python floats.  df is that of `references`.

    Raises ValueError, naming both numbers, unless there is one candidate for each image, and naming the first image
    (from 0) that has no reference.
    """
    raise NotImplementedError


def cider_d(
    candidates: Sequence[Words], references: Sequence[Sequence[Words]], longest: int = 4, sigma: float = 6.0
) -> list[float]:
    """The CIDEr-D of each image's candidate.  All else is as in `cider`."""
    raise NotImplementedError
