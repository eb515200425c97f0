"""Instruction tuning: answers, packing, and mixtures

**Before you start.**  You need next-token prediction, causal attention masks, and cross entropy.
Chat templates as texts are in the kata special_tokens.  Here they become ids; nothing is imported.
Fine-tuning on instructions is new to you?  Read Wei et al. 2021, "Finetuned Language Models Are
Zero-Shot Learners", sections 1 and 2.

**The idea.**  A pretrained model goes on with any text.  You want one that answers.  So you show it
conversations and train it as before, on the next token, with three changes.  Only the answers
count in the loss: the model needn't learn to ask questions.  Short conversations are packed into
one row, as padding costs as much time as text.  And several data sets are mixed, so that a big one
doesn't drown a small one.

**The formulas.**  Place t has the token xₜ, and mₜ is 1 if that token is to be learned.

    targets    yₜ = xₜ₊₁ if mₜ₊₁ = 1, else ignored
    loss       - ∑ log p(yₜ) / total        over the places t that have a target
    packing    place i sees place j  if  j ≤ i  and  document(i) = document(j)
    mixture    wᵢ ∝ min(sizeᵢ, limit)^(1/temperature)

A *document* here is one conversation in a packed row.  `total` is how many targets there are.

**A drawing.**  Each box is a token, ⏎ a line break; the last two rows are what you compute:

           ┌───────┬──────┬────┬───────┬───┬───────┬───────────┬───┬───────┬───┐
    tokens │<start>│user⏎ │2+3?│ <end> │ ⏎ │<start>│assistant⏎ │ 5 │ <end> │ ⏎ │
           └───────┴──────┴────┴───────┴───┴───────┴───────────┴───┴───────┴───┘
    mask       -      -     -      -     -     -         -       ✓     ✓     -
    target     -      -     -      -     -     -         5     <end>   -     -

    packed:   documents   3 3 3 3 3 0 0 0  -1       3 and 0 in one row,
              positions   0 1 2 3 4 0 1 2   0       the last place is padding

    mask      3 │ ●                         each document has its own triangle:
              3 │ ● ●                       no place sees another document
              3 │ ● ● ●
              3 │ ● ● ● ●
              3 │ ● ● ● ● ●
              0 │           ●
              0 │           ● ●
              0 │           ● ● ●
             -1 │                 ●

**Why is <end> learned?**  Because nothing else ends the answer.  A model that never learned <end>
goes on talking, often with a question that it then answers itself.

**Why is the header encoded apart from the answer?**  When you use the model, it sees the header
first, and the answer comes token by token.  If you encode them together, a tokenizer may merge the
header's line break with one in the answer.  Then the model is trained on a header that it never
gets.

**Why `total`?**  One step may be spread over several small batches.  In the mean of their means, a
token of a batch with few targets counts more.  So divide each batch's sum by the number of targets
of the whole step, and add.

**Why is nothing lost by packing?**  A token sees the same tokens as alone, at the same positions.
So its logits are the same, and so are all losses and gradients.  That is a test.

**Worked by hand**

    loss:     logits [0 0 ln 2], [5 1 2], [ln 3 0 0] with the targets 2, ignored, 0
              p = 2/4 and 3/5:  (0.693 + 0.511) / 2 = 0.602,  with total = 4: 0.301
    packing:  lengths [3 7 2 5 4] into rows of 8.  By length: examples 1 3 4 0 2
              7 → row 0;  5 → row 1;  4 → row 2;  3 → row 1 (5 + 3);  2 → row 2 (4 + 2)
              rows [1], [3 0], [4 2]
    mixture:  sizes [100 900 4000], limit 1600, temperature 2
              √100 √900 √1600 = 10 30 40, divided by 80: 0.125  0.375  0.5

**Shapes** are in each docstring.  No function changes its arguments, except that `mixed` draws from
its generator.

**Steps.**  A good place to pause is before pack.

    encode_prompt     10 min   four pieces a message, and one header more
    encode_chat        7 min   share the walk with encode_prompt
    next_targets       4 min   the mask moves with the ids
    answer_loss        8 min   no target, yet a gradient
    pack               8 min   sort, then the first row with room
    packed_batch      10 min   four lists that grow together
    packed_mask        6 min   what may padding see?
    mixture_weights    6 min   large powers overflow
    mixed             10 min   a pass for each set

Sources: Ouyang et al. 2022, "Training language models to follow instructions with human feedback";
Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination"; Raffel et al. 2020,
"Exploring the Limits of Transfer Learning", section 3.5.2 (mixing with a limit and a temperature);
the chat template of SmolLM2-135M-Instruct.

From scratch: transformers, trl and torch.nn.utils.rnn may not be used.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

START, END = "<|im_start|>", "<|im_end|>"
IGNORE = -100

Messages = Sequence[Mapping[str, str]]


class Packed(NamedTuple):
    """A batch of packed rows; all are int64 (rows, size)."""

    tokens: Tensor
    targets: Tensor
    positions: Tensor
    documents: Tensor


def encode_prompt(
    messages: Messages, encode: Callable[[str], list[int]], default_system: str | None = None
) -> list[int]:
    """The ids of a conversation, and of the header that asks the assistant for an answer.

    messages  each has a "role" and a "content".  A message becomes START role⏎ content END ⏎, with a line break
              "\\n" for each ⏎.  After the last one comes START assistant⏎.
    encode    gives the ids of any text.  START and END become one id each.  It may keep the lists that it gives out:
              don't change them

    - Header, content, END and the last ⏎ are encoded apart, each by a call of its own:
      encode(START + role + "\\n"), encode(content), encode(END), encode("\\n").
    - If `default_system` is given, even as "", and the first message isn't by "system", a system message with that
      text comes first.  Without any message nothing comes first.

    Raises ValueError, naming the role, if it isn't "system", "user" or "assistant".
    Raises ValueError, naming the marker, if a content holds START or END: it could forge a message.  Whether
    `default_system` is looked at where it isn't used is open.
    """
    raise NotImplementedError


def encode_chat(
    messages: Messages,
    encode: Callable[[str], list[int]],
    default_system: str | None = None,
    last_only: bool = False,
) -> tuple[list[int], list[bool]]:
    """The ids of a conversation, and for each whether the model is to learn to write it.

    - The ids are those of encode_prompt without the header at the end.  The same errors are raised.
    - Learned are the content of each message by "assistant" and the END behind it.  Its header and the ⏎ behind
      END aren't, and nothing of other messages is.
    - last_only: of the messages by "assistant" only the last one is learned, even if others follow it.
    """
    raise NotImplementedError


def next_targets(ids: Sequence[int], mask: Sequence[bool]) -> list[int]:
    """For each place the id that comes next, if that one is to be learned, else IGNORE.

    The last place has IGNORE.  No ids give no targets.

    Raises ValueError, naming both lengths, if they differ.
    """
    raise NotImplementedError


def answer_loss(logits: Tensor, targets: Tensor, total: int | None = None) -> Tensor:
    """The sum of -log p(target) over all places with a target, divided by `total`; ().

    logits   (..., n, v), float32 or float64; the loss has their dtype
    targets  (..., n) int64, IGNORE where there is none
    total    a number ≥ 1; None: the number of places with a target.  If there are none, the loss is 0

    Gradients reach the logits, also if there is no target: then they are 0.  Logits of ±1e4 don't overflow.
    """
    raise NotImplementedError


def pack(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Which example goes into which row: first fit decreasing.  A list of examples' numbers for each row.

    - The longest example comes first; of equally long ones the one with the lower number.
    - Each goes to the end of the first row in which there is room, or else begins a new row at the end.
    - All lengths are ≥ 1.  No examples give no rows.

    Raises ValueError, naming its length and `size`, if an example is longer than `size`.
    """
    raise NotImplementedError


def packed_batch(
    examples: Sequence[tuple[Sequence[int], Sequence[int]]], rows: Sequence[Sequence[int]], size: int, pad: int
) -> Packed:
    """The rows as tensors on the CPU, the examples one behind the other, in the order of `rows`.

    examples   (ids, targets) of each, equally long
    rows       as pack gives them.  An example that isn't in any row is left out
    tokens     the ids, then `pad`
    targets    the targets, then IGNORE
    positions  0, 1, 2, … anew for each example; 0 in the padding
    documents  the number of the example; -1 in the padding

    No rows give tensors (0, size).

    Raises ValueError, naming the sum of its lengths and `size`, if a row doesn't fit.
    """
    raise NotImplementedError


def packed_mask(documents: Tensor) -> Tensor:
    """Which place may look at which, boolean (..., n, n), from `documents` (..., n).

    A place sees those of its own document up to and including itself.  Padding, -1, sees itself alone, so that no
    softmax is over nothing.
    """
    raise NotImplementedError


def mixture_weights(sizes: Sequence[int], temperature: float = 1.0, limit: int | None = None) -> list[float]:
    """The share of each data set, proportional to min(size, limit)^(1/temperature); they sum to 1.

    - Sizes are ≥ 0, and one of them is above 0.  An empty set has the share 0.0.
    - limit ≥ 1; None: there is none.
    - Sizes up to 1e12 with temperatures from 0.01 to 1e6 don't overflow.

    Raises ValueError, naming it, for a temperature that isn't above 0.
    """
    raise NotImplementedError


def mixed(sizes: Sequence[int], weights: Sequence[float], generator: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Pairs (data set, example), both ints, without end.

    - Each pair's data set is drawn independently, with probability weight / sum of the weights.
    - A set's examples come in passes.  In each pass every example comes once, in a new random order.
    - Only `generator` is drawn from: the same state gives the same pairs.
    - Weights are ≥ 0, and one of them is above 0.

    Raises ValueError, at the first pair at the latest: naming both numbers, if there are more or fewer weights than
    sizes; and, naming the set's number, if a set of size 0 has a weight above 0.
    """
    raise NotImplementedError
