"""Masked generation: guess what is hidden, keep what is sure, fill holes from both sides

**Before you start.**  You need a transformer encoder, cross-entropy and conditional probability.
No other kata is imported; torch's own encoder layers may be used.  If masked training is new,
read Alammar, "The Illustrated BERT".

**The idea.**  An autoregressive model draws an image of 256 tokens in 256 steps, one after the
other.  You want it in eight.  So train the model to guess *any* hidden tokens from those that are
visible, wherever they are.  To draw, hide everything.  Guess all tokens at once, keep the guesses
that the model is most sure of, hide the others again, and repeat.

The same model fills holes.  A text model that reads from left to right can't use what stands
behind the hole.  This one looks from both sides.

**The formulas.**  There are N places and K levels.  A place holds a token from 0 to K - 1, or the
number K, which means *hidden*.

    masking rate    γ(r) is cos(π r / 2), or 1 - r (linear), or 1 - r² (square)
    training        r is uniform from 0 to 1; ⌈N cos(π r / 2)⌉ places are hidden
    loss            mean of -log p(token | visible) over the hidden places
    drawing         after step t of T, ⌊n γ(t / T) + 10⁻⁹⌋ of n places are still hidden
    confidence      log p(guess) + τ G,       G = -log(-log u),  u uniform from 0 to 1
    any order       log p(x) = Σ log p(x_i | those before it in the order)

n is the number of places that were hidden at the start.  τ is the temperature: at step t of T it
is temperature · (1 - t / T).  The 10⁻⁹ keeps rounding from losing a place.

**A drawing**

    hidden ▒         step 1             step 2             step 3
    ▒ ▒ ▒ ▒          3 ▒ ▒ ▒            3 ▒ 1 ▒            3 0 1 0
    ▒ ▒ ▒ ▒    ─▶    ▒ ▒ ▒ ▒      ─▶    ▒ 2 ▒ ▒      ─▶    1 2 2 1
    ▒ ▒ ▒ ▒          ▒ ▒ ▒ 3            1 ▒ ▒ 3            1 2 2 3
                     ⌊12 cos 30°⌋       ⌊12 cos 60°⌋       all
                     are hidden: 10     are hidden: 6

**Why few tokens first, and many at the end?**  Guesses of one step don't know of each other.  At
the start nearly everything is open, and two guesses easily clash.  Later the visible tokens
settle the rest, and many can be guessed at once.  The cosine does this.

**Why may one step go wrong although every guess is right?**  Take two tokens that are always
equal, 0 0 or 1 1.  Each alone is 0 or 1 with chance ½, and the model says so.  Guess both at
once, and half of your images are 0 1 or 1 0.  One token at a time, in any order that doesn't
depend on the guesses, is exact.

**Why noise in the confidence?**  Without it the surest guesses always win.  These are the dull
ones: flat background is easy.  Noise gives the others a chance.  At the end it is gone.

**Worked by hand**

    schedule       n = 10, T = 4.   cosine 9 7 3 0      linear 7 5 2 0      square 9 7 4 0
    training       N = 10, r = ½: ⌈7.07⌉, so 8 places are hidden
    loss           the two hidden tokens have p = ½ and ¼:  (0.6931 + 1.3863) / 2 = 1.0397
    table          p(0 0) = .4, p(0 1) = .1, p(1 0) = .1, p(1 1) = .4
                   both hidden: .5 .5 at each place;  first is 0: the second is .8 .2
    any order      0 0 costs log .5 + log .8 = log .4, from the left and from the right
    a step         p is .9 .1 at the first place and .6 .4 at the second, the guesses are 0 and 0
                   log .9 is above log .6.  If one place stays hidden, it is the second

**Shapes**: tokens (B, N) in int64, logits (B, N, K), masks (B, N) of bool.  Results have the
dtype and the device of what comes in.  No function changes its arguments.

**Steps.**  A good place to pause is after MaskedTransformer.

    mask_schedule          7 min   three curves
    random_mask            9 min   how many, and which
    masked_loss            5 min   hidden places alone
    MaskedTransformer     12 min   no causal mask
    exact_conditionals    12 min   slice the table, sum the rest
    order_log_likelihood   9 min   uncover one after the other
    confident_step        14 min   guess all, hide the least sure
    infill                10 min   the loop

Sources: Chang et al. 2022, "MaskGIT: Masked Generative Image Transformer"; Devlin et al. 2019,
"BERT"; Uria, Murray and Larochelle 2014, "A Deep and Tractable Density Estimator" (any order).

From scratch: torch.distributions, torch.nn.functional.gumbel_softmax and transformers may not be
used.
"""

from collections.abc import Callable, Sequence

from torch import Generator, Tensor, nn


def mask_schedule(n: int, steps: int, kind: str = "cosine") -> list[int]:
    """How many of n places are still hidden after each of the steps: `steps` numbers, the last is 0.

    kind  "cosine", "linear" or "square"

    Raises ValueError, naming steps, if there is less than one, and naming the kind, if it is another.
    """
    raise NotImplementedError


def random_mask(batch: int, n: int, generator: Generator) -> Tensor:
    """(batch, n) of bool, on the generator's device: True where a token is hidden for training.

    Each row draws its own r, uniform from 0 to 1 (1 excluded).  It hides the lesson's number of places, at least
    one.  All sets of that many places are equally likely.
    """
    raise NotImplementedError


def masked_loss(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """The loss (), with its gradient: logits (B, N, K), the right tokens (B, N), mask (B, N).

    The mean goes over all hidden places of the batch together.  Raises ValueError if no place is hidden.
    """
    raise NotImplementedError


class MaskedTransformer(nn.Module):
    """Logits for every place from all places, hidden ones included."""

    def __init__(self, levels: int, length: int, width: int, layers: int, heads: int) -> None:
        """levels is K, length is N, heads divides width.

        - How it is built inside is up to you: a transformer without dropout.  Every place sees every other, if layers is
          at least 1.  Its last layer is `head`, an nn.Linear (width, levels) with a bias.
        - Each place has a vector of its own, which is added to its token's.  Let both start as nn.Embedding does, normal
          with deviation 1: small positions drown in the tokens and learn slowly.
        """
        raise NotImplementedError

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N) from 0 to K, where K is hidden, to logits (B, N, K): nothing is ever guessed to be hidden."""
        raise NotImplementedError


def exact_conditionals(table: Tensor, tokens: Tensor) -> Tensor:
    """What a perfect model says: (B, N, K), the chance of each level at each place, given the visible tokens.

    table   p(x) of all images: N axes of K numbers, which sum to 1; an axis for each place
    tokens  (B, N) from 0 to K, where K is hidden

    A visible place has chance 1 for its token.  The result has the table's dtype.

    Raises ValueError, naming the first such row's number, if its visible tokens have probability 0.
    """
    raise NotImplementedError


def order_log_likelihood(model: Callable[[Tensor], Tensor], tokens: Tensor, levels: int, order: Sequence[int]) -> Tensor:
    """log p (B,) of tokens (B, N) without hidden places, in nats, uncovering the places in this order.

    The model maps tokens to logits; `levels` is its K.  It is called N times, first with everything hidden.  The gradient
    stays.
    Raises ValueError, naming the order, if it doesn't hold each of 0 … N - 1 once.
    """
    raise NotImplementedError


def confident_step(
    logits: Tensor, tokens: Tensor, left: int, generator: Generator, temperature: float = 0.0
) -> Tensor:
    """The tokens (B, N) after one step: logits (B, N, K), tokens with K where a place is hidden.

    - At each hidden place a guess is drawn from softmax(logits).  The temperature has no part in this; its noise is drawn
      apart.
    - In each row the `left` hidden places of the lowest confidence stay hidden; the others take their guess.  The
      temperature is τ as it is, and at 0 there is no noise.  Of equally sure places any may stay.
    - A row with fewer hidden places than `left` keeps them all.  Visible tokens stay as they are.

    The generator is on the logits' device.  No gradient is needed.
    """
    raise NotImplementedError


def infill(
    model: Callable[[Tensor], Tensor],
    tokens: Tensor,
    levels: int,
    steps: int,
    generator: Generator,
    temperature: float = 0.0,
    kind: str = "cosine",
) -> Tensor:
    """The tokens (B, N) with all hidden places filled: `steps` times logits and `confident_step`.

    - After step t as many places of a row are hidden as `mask_schedule` says.  n is the largest number of hidden
      places in a row; a row that has fewer begins when its turn comes.
    - The confidence of step t, from 1 to `steps`, has the noise temperature · (1 - t / steps).
    - The model is called once a step, without gradients.

    Raises what mask_schedule raises.
    """
    raise NotImplementedError
