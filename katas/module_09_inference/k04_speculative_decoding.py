"""Speculative decoding

**Before you start.**  You need softmax, sampling with a temperature, and a language model that
gives logits for every place of a text: Llama or GPT of module 05.  No other kata is imported.  New
to sampling?  Read the lesson of the kata decoding (module 05).

**The idea.**  A large model writes one token a pass, and each pass is slow.  But a pass over five
tokens takes hardly longer than a pass over one: reading the weights from memory is what takes
the time.  So let a small model guess the next four tokens.  This is the *draft*.  Then the large
model, the *target*, judges all four in one pass.  Right guesses are kept.  At the first wrong one
the target puts its own token.  You get several tokens for one pass of the target.

And the text is as good as the target's own, not nearly, but exactly.  Each token comes with the
target's probability, whatever the draft guesses.  A bad draft costs time, never quality.

    text so far        the cat
    the draft writes            sat     on      his     hat
    one pass of the     ╭───────┴───────┴───────┴───────┴───────╮
    target gives        p₀      p₁      p₂      p₃      p₄
    judged              ✓       ✓       ✗       the rest isn't looked at
    text                the cat sat on │ my       drawn from the residual of p₂

Row p₂ is the target's distribution after "the cat sat on".  One pass gives all of them: that is how
a transformer is trained, too.

**The formulas.**  q is the draft's distribution at a place, p the target's, x the drafted token:

    accept x with probability     min(1, p(x) / q(x))
    if rejected, draw from        residual(t) = max(p(t) - q(t), 0) / sum of these
    if all are accepted           draw one token more, from the last p
    share accepted                α = Σ min(p(t), q(t))
    tokens for a pass             (1 - α^(k+1)) / (1 - α), for k drafted ones
    speed-up                      tokens for a pass / (k · cost + 1)

`cost` is the time of a draft's pass, in passes of the target.  Both distributions are
softmax(logits / temperature).

**Why is that the target's distribution?**  Look at one place, with three tokens:

    token   q     p      █ accepted   ░ rejected   ▒ comes from the residual
    a      0.6   0.3     ██████░░░░░░    half of these are rejected
    b      0.3   0.4     ██████▒▒        always accepted, and 0.1 is missing
    c      0.1   0.3     ██▒▒▒▒          always accepted, and 0.2 is missing

What is rejected is 0.3 in all.  What is missing is 0.1 + 0.2, also 0.3.  The residual fills up
exactly the gaps.  Don't draw from p after a rejection: then a comes too often.

**Why does the judging end at the first ✗?**  Row p₃ holds for a text that goes on with "his".
With "my" in its place, it is about another text.

**And without sampling?**  At temperature 0 all the probability is on the largest logit.  The same
rules then accept a token exactly if the target had chosen it.  So you write one function for both.

**What about caches?**  The target ran over "his" and "hat", too.  In a real system both caches hold
keys and values of them, which have to be cut off.  That is what `truncate` in the kata kv_cache is
for.  Here the models have no cache.

**Worked by hand**, with the three tokens above:

    accepted                0.3 + 0.3 + 0.1 = 0.7
    a is accepted with      0.3 / 0.6 = 0.5
    residual                0, 0.1, 0.2 divided by 0.3 = 0, 1/3, 2/3
    how often a comes       0.6 · 0.5 = 0.3
    how often c comes       0.1 · 1 + 0.3 · 2/3 = 0.3
    tokens for a pass       α = 0.8, k = 4: (1 - 0.32768) / 0.2 = 3.3616
    speed-up                cost 0.05: 3.3616 / 1.2 = 2.80.  Best are 8 drafted tokens, with 3.09

**Shapes**

    logits, p, q (..., V)          ids (n,) int64, n ≥ 1
    in verify      p (b, k + 1, V), q (b, k, V), drafts (b, k) int64

A `model` takes ids (1, n) int64 and returns logits (1, n, V).  Row t is about the token after
ids[0, t].  Target and draft have the same tokens.  A logit may be -inf, but not all of a row.

`generator` is a torch.Generator on the device of the tensors.  All random numbers come from it, in
whatever order and number you like.  torch's own generator isn't used.

No function changes its arguments, but for the generator's state.  Answers are on the device of the
input, and probabilities have its dtype.

**Steps.**  A good place to pause is before verify.

    distribution       6 min   temperature 0, and very large logits
    acceptance         3 min   one line
    residual           6 min   what if nothing is left?
    expected_tokens    5 min   what if α is 1?
    best_draft_length  6 min   try them all
    propose            9 min   a token a pass, and its distribution
    verify            20 min   all rows at once; what goes before the first ✗?
    speculate         20 min   how many to draft at the end, and where to stop

Sources: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding"; Chen et
al. 2023, "Accelerating Large Language Model Decoding with Speculative Sampling".

From scratch: transformers may not be used.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]


def distribution(logits: Tensor, temperature: float) -> Tensor:
    """softmax(logits / temperature) along the last axis, for logits (..., V).

    - At temperature 0 the largest logit has probability 1, and the others 0.  Of several that are the largest one is
      taken; which one is open.
    - For logits of any finite size and any temperature above 0 there is no NaN.  A logit of -inf has probability 0.

    Raises ValueError, naming it, if the temperature is negative.
    """
    raise NotImplementedError


def acceptance(p: Tensor, q: Tensor) -> Tensor:
    """The probability that a token drawn from q is accepted: (...,) for p and q (..., V)."""
    raise NotImplementedError


def residual(p: Tensor, q: Tensor) -> Tensor:
    """What to draw from after a rejection: (..., V), each row sums to 1.

    Where nothing is left of p - q, as p and q are equal, the row is p itself.
    """
    raise NotImplementedError


def expected_tokens(alpha: float, k: int) -> float:
    """The mean number of tokens for a pass of the target, if each of k ≥ 0 drafted ones is accepted with probability alpha.

    alpha is from 0 to 1, and both may occur.
    """
    raise NotImplementedError


def best_draft_length(alpha: float, cost: float, most: int) -> int:
    """The k from 0 to `most` with the largest speed-up; the smallest of several.  cost ≥ 0."""
    raise NotImplementedError


def propose(model: Model, ids: Tensor, k: int, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Let the draft go on with ids (n,) by k ≥ 1 tokens: (tokens (k,) int64, q (k, V)).

    - Token i is drawn from q[i], which is the model's distribution after ids and the tokens before.
    - The model is called k times, each time with one text, and gets no gradient.
    """
    raise NotImplementedError


def verify(p: Tensor, q: Tensor, drafts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Judge the drafted tokens of b rows: (accepted (b,) int64, following (b,) int64).

    p       (b, k + 1, V): p[:, i] is the target's distribution where drafts[:, i] stands, p[:, k] the one after them
    q       (b, k, V): q[:, i] is the distribution that drafts[:, i] was drawn from, so its probability isn't 0
    drafts  (b, k), k ≥ 0

    - `accepted` is how many drafted tokens of the row are kept: those before the first that is rejected.
    - `following` is the token behind them: from the residual at the place of the rejection, or from p[:, k] if all
      were accepted.
    - Rows are independent of each other, and so are the places of a row.
    """
    raise NotImplementedError


def speculate(
    target: Model,
    draft: Model,
    ids: Tensor,
    new_tokens: int,
    k: int,
    temperature: float,
    generator: torch.Generator,
    stop: int | None = None,
) -> Tensor:
    """The prompt ids (n,) and up to new_tokens ≥ 0 new tokens, distributed as the target alone would write them: (n + …,).

    - A round drafts min(k, left - 1) tokens, where `left` is how many may still come.  More would be of no use, as
      the target adds one.  If that is 0, the draft isn't called.
    - The target is called once a round, with one text: all so far, and the drafted tokens.  So neither model
      ever sees more than n + new_tokens - 1 tokens.
    - The text ends with the token `stop`, which is part of the result.  What was accepted behind it is dropped.  In the
      prompt that token stops nothing.  Whether you draft on behind a drafted `stop` is open.
    - No gradient is kept.

    Raises ValueError, naming k, if it is below 1.
    """
    raise NotImplementedError
