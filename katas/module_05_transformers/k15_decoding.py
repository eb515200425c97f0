"""Decoding: sampling, filters, penalties, beam search

A language model gives a logit for every token of the vocabulary; decoding is
the choice.  Greedy takes the largest, which repeats itself on long texts.
Sampling draws from softmax(logits / T): a temperature T < 1 sharpens, T > 1
flattens, T = 0 stands for greedy.  Draws from the long tail spoil texts, since
thousands of unlikely tokens are likely together, so filters cut it off:

    top-k    keep the k most likely tokens
    top-p    keep the most likely tokens until their mass reaches p:
             a token stays if those ranked before it hold less than p
    min-p    keep tokens with probability ≥ p · (the largest probability)

A filtered token's logit is -inf, so that softmax gives it 0 and filters can be
chained.  A repetition penalty r makes seen tokens less likely.  It must lower
the logit whatever its sign, hence l / r for l > 0 and l · r for l ≤ 0.

Beam search looks for one likely text.  Each step extends every live beam by
every token; of all these the `beams` with the largest total log-probability are
kept.  Those that end in eos are finished: set aside, never extended, and they
take no place in later steps.  The rest live on.  When none lives, or new_tokens
are written, everything set aside or still alive competes by

    score = Σ log p / length^length_penalty

where length counts the new tokens, eos too.  Why divide?  Every token adds a
negative number, so plain sums favour short texts.

Worked by hand, probabilities [0.5, 0.3, 0.15, 0.05]:

    top-k 2 keeps 2.  top-p 0.7 keeps 2 (0.5 < 0.7 ≤ 0.8), top-p 0.9 keeps 3.
    min-p 0.2 keeps 3, those of at least 0.1.
    T = 0.5 squares: [0.25, 0.09, 0.0225, 0.0025] / 0.365 = [0.685, 0.247, 0.062, 0.007]

A first token is A (0.6) or B (0.4); after A the best has 0.5, after B 0.9.
Greedy finds 0.6 · 0.5 = 0.30.  Two beams find B: 0.4 · 0.9 = 0.36.

Shapes: logits (..., V) with any leading dimensions.  Filters return the same
shape and dtype; a token that stays keeps its logit and its gradient.  Which of
equally likely tokens is taken isn't judged.  No function changes its arguments.

A model is a function from ids, int64 (b, n), to logits (b, n, V): those at
position i predict token i + 1.  Models run under torch.no_grad(), and never on
an empty batch.

Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration"
(top-p); Keskar et al. 2019, "CTRL", section 4.1 (penalty); Nguyen et al. 2024,
"Turning Up the Heat" (min-p); Wu et al. 2016, section 7 (beam search).

From scratch: transformers may not be used.
"""

from collections.abc import Callable

from torch import Generator, Tensor


def top_k(logits: Tensor, k: int) -> Tensor:
    """`logits` with all but the k ≥ 1 largest at -inf; k > V keeps everything."""
    raise NotImplementedError


def top_p(logits: Tensor, p: float) -> Tensor:
    """`logits` with all but the top-p set at -inf; 0 < p < 1. The likeliest token always stays."""
    raise NotImplementedError


def min_p(logits: Tensor, p: float) -> Tensor:
    """`logits` with every token below p times the largest probability at -inf; 0 < p < 1.

    Where a probability equals that bound, rounding decides: it isn't judged.
    """
    raise NotImplementedError


def penalize_repetition(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """`logits` (..., V) with the penalty on every token in `ids` (..., n): once, however often it stands there."""
    raise NotImplementedError


def sample(logits: Tensor, temperature: float = 1.0, generator: Generator | None = None) -> Tensor:
    """One token a row: int64 of shape `...`, drawn from softmax(logits / temperature).

    Temperature 0 takes the largest logit.  All randomness comes from
    `generator` if there is one.
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

    The model sees prompt and new tokens as one row (1, n).  choose(logits (1, V) of the last position,
    ids (1, n) so far) returns the next token (1,); None takes the most likely.

    As soon as the new tokens (the prompt doesn't count) end in one of the
    sequences in `stop`, none of them empty, generation ends, and that sequence
    is cut off: the longest, if several end there.
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

    The tokens are the new ones alone, with eos if the text ends in it.  Where
    there are fewer extensions than `beams`, all are kept.  new_tokens ≥ 1.
    """
    raise NotImplementedError
