"""A neural language model

**Before you start.**  You need bigrams, and the layers' gradients.  Import yours (the reference's
until yours is green):

    from .k10_backprop_by_hand import cross_entropy, cross_entropy_backward
    from .k10_backprop_by_hand import embedding_backward, linear_backward, tanh_backward

New to you?  Watch Andrej Karpathy's "Building makemore Part 2: MLP".

**The idea.**  An n-gram table knows only what it has counted.  "The cat is walking in the bedroom"
teaches it nothing about "A dog was running in a room".  Bengio's network gives each word a vector,
and predicts the next word from the vectors of the last c words.  Training moves words with similar
uses to similar vectors.  Then a sentence about cats teaches something about dogs.

Letters of names or words of a play: the model is the same.  A text is a list of *sequences* (names,
lines) of *tokens* (letters, words).  Id 0 is `<s>`, the boundary before and after each sequence;
id 1 is `<unk>`, which stands for every rare word.  A window of c ids slides over each sequence:

    "ann", c 3        <s> <s> <s>  a   n   n  <s>
                       └───┴───┘   ▲                     x <s> <s> <s>    y  a
                           └───┴───┘   ▲                   <s> <s>  a        n
                               └───┴───┘   ▲               <s>  a   n        n
                                   └───┴───┘   ▲            a   n   n       <s>

    x ─▶ embed ─▶ side by side ─▶ linear ─▶ tanh ─▶ linear ─▶ softmax ─▶ P(y)
    (n, c) (n, c, d)  (n, c·d)    (n, h)    (n, h)  (n, v)              (n, v)

**The formulas**, for a window w₁ … w_c and v tokens; E, H, b, U and u are trained:

    e = [E[w₁] … E[w_c]]        a = tanh(e H + b)        z = a U + u
    P(w | w₁ … w_c) = softmax(z)[w]
    loss = -1/n ∑ log P(yᵢ | xᵢ)
    Adagrad, for each number θ with gradient g:   s ← s + g²     θ ← θ - η g/(√s + 1e-10)
    η at step t of T, t = 0 … T - 1:   η₀ (1 - t/T)
    sampling at temperature τ:   softmax(z/τ)

**Why Adagrad?**  A frequent word's vector gets a gradient in each batch, a rare one's now and then.
Adagrad divides by what each number has seen so far, so rare words take larger steps.

**Why start there?**  U starts small and u at the log shares of the tokens, so the first P is the
share of each token: a unigram model.  No step is spent on learning which tokens are frequent.
Large U would be sure of random answers, and the first hundred steps would only take that back.

**Worked by hand**:

    sequences "bab", "cab", min_count 2: a and b stand 2 and 3 times, c once
        vocabulary  <s> <unk> b a         "cab" is 1 3 2
    windows of [3, 2], c 2:    x [0 0], [0 3], [3 2]    y 3, 2, 0
    Adagrad, θ 1, g 3 with η ½:       s = 9,  θ = 1 - ½ · 3/3 = 0.5
             then g 4 with η ¼:       s = 25, θ = 0.5 - ¼ · 4/5 = 0.3
    two full batches, η₀ ½: T is 2, so η is ½, then ¼
    z [0, log 4] at τ = 2: weights 1 and 2, so P is ⅓ and ⅔

**Shapes**: x (n, c) and y (n,) are integers.  The parameters are a dict, in any order, of float64:

    embedding E (v, d)    hidden_weight H (c·d, h)    hidden_bias b (h,)
                          output_weight U (h, v)      output_bias u (v,)

No function changes its arguments.  `logits` and `loss_and_gradients` don't loop over rows in
Python: the tests train 3 models on names and 3 on Hamlet, in a second or two each.

**Steps.**  A good place to pause is after evaluate.

    build_vocabulary     5 min   ties in the order
    encode               3 min   one look-up a token
    windows             10 min   no window crosses a boundary
    initial_parameters   6 min   three scales, and where u starts
    logits               5 min   three lines
    loss_and_gradients  12 min   backprop_by_hand, put together
    evaluate             6 min   the last batch is smaller
    adagrad_step         5 min   two lines
    train               15 min   shuffle, cut, step
    sample              12 min   the window moves on

Sources: Bengio et al. 2003, "A Neural Probabilistic Language Model", sections 1 and 2; Duchi, Hazan
and Singer 2011, "Adaptive Subgradient Methods".

From scratch: torch, tensorflow, jax, autograd, sklearn and scipy may not be used.
"""

from collections.abc import Sequence

import numpy as np

BOUNDARY, UNKNOWN = 0, 1

Parameters = dict[str, np.ndarray]


def build_vocabulary(sequences: Sequence[Sequence[str]], min_count: int = 1) -> list[str]:
    """The tokens by their ids: "<s>", "<unk>", then each token that occurs `min_count` times or more.

    - The most frequent first, equally frequent ones in sorted order.
    - A sequence is a text (its tokens are letters) or a list of words.

    The sequences don't contain "<s>" or "<unk>".
    Raises ValueError, naming it, if min_count is below 1.
    """
    raise NotImplementedError


def encode(sequences: Sequence[Sequence[str]], vocabulary: list[str]) -> list[list[int]]:
    """The id of each token of each sequence; 1 for a token that isn't in the vocabulary."""
    raise NotImplementedError


def windows(encoded: Sequence[Sequence[int]], context: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of all sequences in their order: x (n, context) the ids before each id of y (n,).

    - A sequence of k ids gives k + 1 windows, as the boundary after it is predicted, too.  An empty
      one gives 1.
    - Before a sequence stand boundaries alone.
    - Without sequences, x is (0, context) and y (0,), both of integers.

    Raises ValueError, naming it, if context is below 1.
    """
    raise NotImplementedError


def initial_parameters(counts: np.ndarray, context: int, d: int, h: int, rng: np.random.Generator) -> Parameters:
    """The lesson's five parameters, for tokens that occur `counts` (v,) times, integers.

    - The weights are drawn by `rng`, independently, with mean 0 and standard deviations: embedding 1,
      hidden_weight 1/√(context·d), output_weight 0.1/√h.  Any continuous distribution will do.
    - hidden_bias is 0.  output_bias is the log of each token's share, with 1 added to each count.
    """
    raise NotImplementedError


def logits(parameters: Parameters, x: np.ndarray) -> np.ndarray:
    """z (n, v) for the windows `x` (n, c)."""
    raise NotImplementedError


def loss_and_gradients(parameters: Parameters, x: np.ndarray, y: np.ndarray) -> tuple[float, Parameters]:
    """The loss of n ≥ 1 windows in nats, and a dict with its gradient with respect to each parameter, by its name."""
    raise NotImplementedError


def evaluate(parameters: Parameters, x: np.ndarray, y: np.ndarray, batch_size: int = 1024) -> float:
    """The loss over all n ≥ 1 windows, computed for at most `batch_size` of them at a time.

    - It is the mean over windows, whether or not `batch_size` divides n.
    - Memory: all logits of Hamlet at once are 100 MB and more.
    """
    raise NotImplementedError


def adagrad_step(
    parameters: Parameters, gradients: Parameters, squares: Parameters, learning_rate: float
) -> tuple[Parameters, Parameters]:
    """(parameters, squares) after one step of Adagrad with η = learning_rate: new dicts of new arrays.

    `squares` has the s of each number.  All three dicts have the same keys, in any order.
    """
    raise NotImplementedError


def train(
    parameters: Parameters,
    x: np.ndarray,
    y: np.ndarray,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> tuple[Parameters, list[float]]:
    """(trained parameters, loss of each of the `epochs` ≥ 0): mini-batches and Adagrad, with s = 0 at the start.

    - Each epoch draws a new random order of the n ≥ 1 windows, by `rng`, and cuts it into batches of
      `batch_size`.  The last one may be smaller.
    - T counts the batches of all epochs; η falls from η₀ = learning_rate over all of them.
    - An epoch's loss is the mean over its windows, each as its own batch saw it before its step.
    """
    raise NotImplementedError


def sample(
    parameters: Parameters, rng: np.random.Generator, temperature: float = 1.0, max_length: int = 100
) -> list[int]:
    """The ids of a new sequence, drawn token by token, each from the c before it.

    - It starts after c boundaries, and ends where a boundary is drawn, which isn't returned, or
      after `max_length` ids.
    - c is hidden_weight's rows divided by d.
    - Any temperature above 0 works, 1e-3 too, without overflow.

    Raises ValueError, naming it, if the temperature isn't above 0.
    """
    raise NotImplementedError
