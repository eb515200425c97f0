"""Batched generation

**Before you start.**  You need attention with a mask, and GPT with its learned positions.  The
model that is given here is made of GPT, imported already (the reference's is used until yours is
green):

    from katas.module_05_transformers.k10_gpt import GPT

The katas kv_cache and paged_cache go well with this one, but you don't need them.

**The idea.**  A GPU writes a token for one text or for eight texts in nearly the same time.  So
several users should share a pass of the model.  Three things stand in the way.

*Prompts differ in length*, but a tensor is a rectangle.  So fill up the short ones with *padding*.
Fill them on the left: then the last column holds the last token of every text, and new tokens go
behind it.

    prompts                   ids                          positions
    the cat                   ░░░  ░░░  the  cat           -2   -1    0    1
    a dog sat on              a    dog  sat  on             0    1    2    3

The model must not notice the padding.  The first real token has position 0, and nobody looks at
padding.  Each text then comes out as if it were alone.

*Answers differ in length, too.*  In a static batch, all wait for the longest one.  But each step
starts from the texts alone, so between two steps you may change who takes part.  That is
*continuous batching*: who has ended leaves, and who waits comes in.

    a, b, c and d write 5, 2, 1 and 3 tokens, two places

    static batches                        continuous batching
              ┌────────────────────┐                ┌────────────────────┐
    place 1   │ a  a  a  a  a      │      place 1   │ a  a  a  a  a      │
    place 2   │ b  b  ·  ·  ·      │      place 2   │ b  b  c  d  d  d   │
              └────────────────────┘                └────────────────────┘
              ┌────────────┐
              │ c  ·  ·    │
              │ d  d  d    │
              └────────────┘
              8 passes                              6 passes

*The memory is limited.*  The cache holds keys and values of so many tokens: that is its *budget*.
A request may start only if there is room for all that it can become.  Then nobody has to be
thrown out halfway.  vLLM is bolder: it starts more, and takes one back if the memory runs out.

**The formulas.**

    position of a token      its column - the padding in its row; padding gets -1, -2, …
    query i sees key j       if 0 ≤ position j ≤ position i, or if i = j
    passes, static           the sum over all batches of their largest number of new tokens
    cache of a request       prompt + new tokens - 1

**Who comes next?**  The first in the queue, you'd say.  But a large request at the front would
hold up small ones that fit.  And if small ones may always pass it, it may never find
room: it *starves*.  So small ones may pass, but only `patience` times.

There is another unfairness.  If ann sends 1,000 requests, bob waits behind all of them.  So each
user has a queue, and a *bill*: the tokens that were reserved for this user so far.  The smallest
bill comes first.

    heads of the queues
                        ╭── is any of them due?  the oldest of them, or nobody
    ann  2  bill 6      │
    bob  1  bill 0 ─────┤
    cid  3  bill 0      │
                        ╰── else: of those that fit, the smallest bill

**Why does padding see itself?**  A softmax over nothing is 0/0, which is NaN.  In the next layer
others multiply that NaN by a weight of 0, and get NaN.  So a padding token sees one token: itself.

**Why - 1?**  The last new token is never run.  Nobody asks what comes after it.

**Why is a bill lifted?**  Bob comes back after a quiet night.  His bill is small, so he would come
first for hours.  Nobody should save up such a right.  So his bill is lifted to the smallest bill of
those who wait.

**Worked by hand**

    the two prompts above, as 5 6 and 7 8 9 1, with 0 for padding
        ids        0 0 5 6             positions  -2 -1  0  1
                   7 8 9 1                         0  1  2  3
        mask of the first row          1 0 0 0
                                       0 1 0 0
                                       0 0 1 0
                                       0 0 1 1
    static passes for 5, 2, 1 and 3 new tokens, two at a time        5 + 3 = 8
    cache of a prompt of 4 tokens with 3 new ones                    4 + 3 - 1 = 6

    a budget of 10 tokens, 4 may run, patience 2
        submit    ann 6, bob 8, ann 3, cid 2: these are requests 0, 1, 2 and 3
        admit     0, as all bills are 0.  1 doesn't fit, 3 does.  Now bob's 1 has been passed
                  over twice: it is due, and nobody passes it any more        [0, 3]    free 2
        finish 3  2 would fit, but it may not pass                            []        free 4
        finish 0  bob's request comes, and ann's 2 must wait for it           [1]       free 2
        finish 1                                                              [2]       free 7

**Shapes**

    ids, positions (b, n) int64      mask (b, n, n) bool, [row, query, key]
    logits (b, n, vocab_size)        prompts and texts: lists of ints, each with one token or more

A `model` is called as model(ids, positions, mask) and returns the logits.  PaddedGPT is one.  It
has no cache: each pass runs the texts from their beginning.  With one, it would run the new
tokens alone, and all else would stay as it is.

All numbers of new tokens are 1 or more.  No function changes its arguments.

Tensors that you make are on `device`, or on that of the argument.

**Steps.**  A good place to pause is before Scheduler.

    left_pad         6 min   the longest prompt sets the width
    batch_mask       6 min   compare positions, not columns
    next_tokens      6 min   one pass for all
    generate_batch  10 min   who has ended?
    static_passes    3 min   batch by batch
    cache_tokens     2 min   the last token is never run
    Scheduler       28 min   8 for submit, 16 for admit, 4 for finish
    Engine          16 min   admit, run, give back

Sources: Yu et al. 2022, "Orca" (a schedule for each iteration); Kwon et al. 2023, "PagedAttention",
section 4.5 (what to do when memory runs out); Sheng et al. 2024, "Fairness in Serving Large
Language Models" (bills, and why they are lifted).

From scratch: transformers may not be used.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from katas.module_05_transformers.k10_gpt import GPT

Model = Callable[[Tensor, Tensor, Tensor], Tensor]


class PaddedGPT(GPT):
    """GPT for rows with padding.  This class is given."""

    @torch.no_grad()
    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Given to you: the logits (b, n, vocab_size) for ids and positions (b, n) and a mask (b, n, n)."""
        x = self.token_embedding(ids) + self.position_embedding(positions.clamp(min=0))
        for block in self.blocks:
            x = x + block.attention(block.norm1(x), mask=mask[:, None])[0]
            x = x + block.feed_forward(block.norm2(x))
        return self.norm(x) @ self.token_embedding.weight.T


def left_pad(prompts: Sequence[Sequence[int]], pad: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """The prompts, at least one, as a rectangle: (ids, positions), both (b, n) int64 on `device`.

    - n is the length of the longest prompt.  Shorter ones have the token `pad` before them.
    - A prompt's first token has position 0, the next one 1, and so on.  To the left of it positions go on
      with -1, -2, …
    - A prompt may hold the token `pad` itself.  There it is a token like others.
    """
    raise NotImplementedError


def batch_mask(positions: Tensor) -> Tensor:
    """Who sees whom, for positions (b, n) as left_pad makes them: (b, n, n) bool, [row, query, key].

    - A query sees the keys of its row at positions from 0 to its own.
    - Padding, at a negative position, is seen by nobody else.  It sees itself, and nothing more.
    """
    raise NotImplementedError


def next_tokens(
    model: Model, texts: Sequence[Sequence[int]], pad: int, device: torch.device | str = "cpu"
) -> list[int]:
    """The next token of each text, at least one: that with the largest logit.  A list of ints.

    The model is called once, with the texts padded on the left.
    """
    raise NotImplementedError


def generate_batch(
    model: Model,
    prompts: Sequence[Sequence[int]],
    new_tokens: Sequence[int],
    stop: int | None = None,
    pad: int = 0,
    device: torch.device | str = "cpu",
) -> list[list[int]]:
    """A static batch: the new tokens alone, a list for each prompt, in their order.

    - Prompt i gets new_tokens[i] tokens, or fewer: it ends with the token `stop`, which is part of the result.
      In the prompt that token stops nothing.
    - Each pass brings all texts that haven't ended one token further.  So there are as many calls of the model as
      the longest answer has tokens.  Whether texts that have ended stay in the batch is open.
    - Without prompts the result is empty, and the model isn't called.
    """
    raise NotImplementedError


def static_passes(new_tokens: Sequence[int], size: int) -> int:
    """The passes of static batches: the first `size` requests are a batch, then the next `size`, and so on.

    Request i writes new_tokens[i] tokens.  The last batch may be smaller.  Without requests it is 0.
    """
    raise NotImplementedError


def cache_tokens(prompt: int, new_tokens: int) -> int:
    """How many tokens of the cache a request may take at most, with so many tokens in its prompt and so many new ones."""
    raise NotImplementedError


class Scheduler:
    """Who may run, within a budget of tokens.

    The attribute `free` is the part of the budget that no running request holds; at first all of it.

    Every user has a queue, and a bill that is 0 at first.  The *head* of a queue is the oldest of the user's requests
    that wait.  The smaller its number, the older a request.
    """

    def __init__(self, budget: int, max_running: int, patience: int) -> None:
        """At most `max_running` ≥ 1 requests run at a time, and they hold `budget` tokens together at most.

        A head that was passed over `patience` ≥ 0 times is *due*.  With a patience of 0, all heads always are.
        """
        raise NotImplementedError

    def submit(self, user: str, tokens: int) -> int:
        """A request of that user, who will hold `tokens` ≥ 1 of the budget; returns its number: 0, 1, 2, …

        - It waits at the end of the user's queue, even if it could run at once.
        - If the user has no other request that waits, the user's bill is lifted: to the smallest bill of the
          users who have one that waits, if that is larger.

        Raises ValueError, naming the tokens and the budget, if it could never run.  Then nothing has changed,
        and no number is used up.
        """
        raise NotImplementedError

    def admit(self) -> list[int]:
        """Let as many run as may; returns their numbers in the order in which they were admitted.

        Repeat, as long as fewer than `max_running` run:

        1. If any head is due, the oldest of those is next.  If its tokens are more than `free`, admit nobody more.
        2. If none is due, look at the heads whose tokens are at most `free`.  Next is the one with the smallest bill, and
           of equal bills the oldest.  If there is none, admit nobody more.
        3. Admit it: it holds its tokens, which are added to its user's bill.  All other heads have been passed over
           once more, those of larger bills, too.

        A request that becomes a head by this admission hasn't been passed over.
        """
        raise NotImplementedError

    def finish(self, number: int) -> None:
        """A running request has ended: what it held is free again.  Bills stay.

        Raises KeyError, naming the number, if that request doesn't run.
        """
        raise NotImplementedError


class Engine:
    """Continuous batching: a step writes one token of every text that runs.

    texts   {number: the list of its new tokens so far}, for every request from `submit` on
    ended   the set of the numbers of those that have ended
    """

    def __init__(
        self,
        model: Model,
        scheduler: Any,
        stop: int | None = None,
        pad: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """`scheduler` is a new Scheduler, or any object with submit, admit and finish, which the engine alone uses."""
        raise NotImplementedError

    def submit(self, user: str, prompt: Sequence[int], new_tokens: int) -> int:
        """Hand in a request for up to `new_tokens` tokens; returns the scheduler's number.

        - It is submitted with what `cache_tokens` says, and the model isn't called.
        - The prompt is copied: later changes of the caller's list don't matter.
        - What the scheduler raises is raised, and nothing has changed.
        """
        raise NotImplementedError

    def step(self) -> dict[int, int]:
        """Admit whom the scheduler admits, and write a token of each that runs; returns {number: token}.

        - The model is called once, with all that run, the new ones among them.  The order of the rows is open.  If
          nobody runs, it isn't called, and the result is empty.
        - A request ends after `stop`, which is part of its text, or with its last token.  It is finished at once,
          so that what it held is free for the next step.
        - If the model raises, so does step, and no text has changed.  The next step tries again.
        """
        raise NotImplementedError
