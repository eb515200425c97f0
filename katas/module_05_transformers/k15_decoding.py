"""Decoding: sampling, filters, penalties, beam search

**Before you start.**  You need softmax, sorting and gathering in torch, no other kata.
Pictures: von Platen 2020, "How to generate text".

**The idea.**  A language model gives a logit for every token.  Decoding is the choice.  Greedy
takes the largest, and repeats itself on long texts.  Sampling draws from the probabilities.  But
thousands of unlikely tokens are likely together, and one of them can spoil a text.  So filters
cut that tail off, penalties punish repetition, and beam search looks for one text that is
likely as a whole.

**The formulas.**  *Temperature*: draw from softmax(logits / T).  T < 1 sharpens, T > 1
flattens, T = 0 stands for greedy.

*Filters* set logits to -inf: softmax gives 0 there, and filters can be chained.

    top-k    keep the k most likely tokens
    top-p    keep a token if those ranked before it hold less than p
    min-p    keep tokens with probability ≥ p · (the largest probability)

    probability            top-k 2    top-p 0.7            min-p 0.2
    A  ██████████  .50     stays      stays    0 before    stays
    B  ██████      .30     stays      stays  .50 before    stays
    C  ███         .15                       .80 before    stays    .10 or more
    D  █           .05                       .95 before

*A repetition penalty r* makes seen tokens less likely:

    l → l / r  for l > 0        l → l · r  for l ≤ 0

*Beam search* keeps several texts alive.  Each step

    1. extends every live beam by every token
    2. keeps the `beams` extensions with the largest Σ log p
    3. sets aside those of them that end in eos: finished, never extended.  The next step
       keeps `beams` live ones again

It ends when none lives, or new_tokens are written.  Then all, set aside or alive, compete by

    score = Σ log p / length^length_penalty

where length counts the new tokens, eos too, as in transformers.

               ┌─ A .6 ──┬─ .5    .30    greedy ends here
     prompt ───┤         └─ .4    .24
               └─ B .4 ──┬─ .9    .36    two beams find this
                         └─ .1    .04

**Why two cases in the penalty?**  Dividing a negative logit, as the paper does, makes its token
more likely.

**Why divide by the length?**  Every token adds a negative number: plain sums favour short texts.

**Worked by hand**, probabilities [0.5, 0.3, 0.15, 0.05]:

    top-k 2 keeps 2.  top-p 0.7 keeps 2 (0.5 < 0.7 ≤ 0.8), top-p 0.9 keeps 3.
    min-p 0.2 keeps 3, those of at least 0.1.
    T = 0.5 squares: [0.25, 0.09, 0.0225, 0.0025] / 0.365 = [0.685, 0.247, 0.062, 0.007]

As drawn: greedy finds 0.6 · 0.5 = 0.30, two beams 0.4 · 0.9 = 0.36.

**Shapes**: logits (..., V) with any leading dimensions.  Filters and penalty return the same
shape and dtype; a token that stays keeps its logit and its gradient.  Which of equally likely
tokens is taken isn't tested.  No function changes its arguments.

A model is a function from ids, int64 (b, n), to logits (b, n, V); those at position i predict
token i + 1.

Answers are on the device of the logits, where a generator is, too.  generate and beam_search
take ids as a list, and run models that are on the CPU.  No row of logits is -inf throughout.

**Steps.**  A good place to pause is before generate.

    top_k                 5 min   what if k is larger than V?
    top_p                10 min   from ranks back to tokens
    min_p                 5 min   relative to the largest
    penalize_repetition   5 min   each token once
    sample               10 min   any leading dimensions
    generate             15 min   stop sequences in the new tokens alone
    beam_search          30 min   all extensions as one flat list

Sources: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration" (top-p); Keskar et
al. 2019, "CTRL", section 4.1; Nguyen et al. 2024 (min-p), "Turning Up the Heat"; Wu et al. 2016,
"Google's Neural Machine Translation System", section 7 (beam search).

From scratch: transformers may not be used.
"""

from collections.abc import Callable

from torch import Generator, Tensor


def top_k(logits: Tensor, k: int) -> Tensor:
    """`logits` with all but the k ≥ 1 largest at -inf; k > V keeps everything.

    Tokens that tie with the k-th largest may all stay: it isn't tested.
    """
    raise NotImplementedError


def top_p(logits: Tensor, p: float) -> Tensor:
    """`logits` with all but the top-p set at -inf; 0 < p < 1.

    The likeliest token always stays.  Where the mass before a token equals p, rounding
    decides: it isn't tested.
    """
    raise NotImplementedError


def min_p(logits: Tensor, p: float) -> Tensor:
    """`logits` with every token below p times the largest probability at -inf; 0 < p < 1.

    Where a probability equals that bound, rounding decides: it isn't tested.
    """
    raise NotImplementedError


def penalize_repetition(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """`logits` (..., V) with the penalty r > 0 on every token in `ids` (..., n).

    Once, however often the token stands there.  A filtered token stays at -inf.
    """
    raise NotImplementedError


def sample(logits: Tensor, temperature: float = 1.0, generator: Generator | None = None) -> Tensor:
    """One token per row: int64 of shape `...`, drawn from softmax(logits / temperature).

    - Temperature 0 takes the largest logit; close to 0 (1e-37) nothing overflows.
    - A filtered token is never drawn.
    - All randomness comes from `generator` if there is one, and from torch's own if not.

    Raises ValueError, naming the temperature, if it is negative.
    """
    raise NotImplementedError


def generate(
    model: Callable[[Tensor], Tensor],
    ids: list[int],
    new_tokens: int,
    choose: Callable[[Tensor, Tensor], Tensor] | None = None,
    stop: list[list[int]] | None = None,
) -> list[int]:
    """Continue the prompt `ids` by up to `new_tokens` tokens; returns the new ones alone.

    - The model sees prompt and new tokens as one row (1, n).
    - choose(logits (1, V) of the last position, ids (1, n) so far) returns the next token,
      (1,); None takes the most likely.
    - As soon as the new tokens (the prompt doesn't count) end in one of the sequences in
      `stop`, none of them empty, generation ends, and that sequence is cut off: the longest,
      if several end there.
    - Gradients are off while the model runs, and afterwards as they were before; in `choose` they
      may be on or off.
    """
    raise NotImplementedError


def beam_search(
    model: Callable[[Tensor], Tensor],
    ids: list[int],
    new_tokens: int,
    beams: int,
    eos: int,
    length_penalty: float = 1.0,
) -> tuple[list[int], float]:
    """The best continuation of `ids` by beam search as above, and its score as a float.

    - The tokens are the new ones alone, with eos if the text ends in it.
    - Where there are fewer extensions than `beams`, all are kept.  All log p are finite; which of equally
      likely tokens, beams or texts wins isn't tested.
    - The model never gets an empty batch.
    - new_tokens ≥ 1.  Gradients as in `generate`.
    """
    raise NotImplementedError
