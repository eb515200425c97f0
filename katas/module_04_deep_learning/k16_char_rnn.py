"""A character model

**Before you start.**  You need cross-entropy, a training loop and the LSTM's state; no other kata.
Read first: Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks".

**The idea.**  A model that predicts the next letter of a play well must learn words, names and how
a scene is set.  It needs no tokenizer and no labels: any text will do.  A recurrent network reads
the text in short windows, and its state carries what it has read into the next window.  Afterwards
it can write: draw a letter, feed it back, draw the next.

**The formulas.**  Each letter has a number, its id.  A text of N ids gives N - 1 pairs: each id and
the one that follows it, its target.

*Streams.*  Cut the text into `batch` rows of P = ⌊(N - 1) / batch⌋ ids, which are read side by
side.  Cut the rows into windows of `length`.  Row r of a window goes on where row r of the window
before ended:

    ids          a b c d e f g h i j k l          N is 12, batch 2, so P is 5
                 └ row 0 ┘ └ row 1 ┘ └─┴── in no row; k is only a target

                 window 0      window 1       window 2 (shorter)
    row 0        a b           c d            e
      targets    b c           d e            f
    row 1        f g           h i            j
      targets    g h           i j            k
                    └─ state ─▶   └─ state ─▶

*The loss* of a text is the mean of -log p(next letter) over all its pairs; log is the natural
logarithm, so the unit is the nat.

*Sampling.*  Draw the next letter from softmax(logits / T), with the temperature T.  T < 1 makes
likely letters likelier, T > 1 evens them out, and T = 0 means: take the likeliest letter.

**Why detach the state?**  It comes with the graph of the window before.  If you left that attached,
the next backward pass would run through all windows so far.  Keep the numbers, and cut the graph.

**Why weight the windows by their size?**  The last one may be shorter.  A mean of the windows'
means would count its letters more than the others.

**Worked by hand**: logits [2 0 1] for three letters:

    T = 1:    e² = 7.389, e⁰ = 1, e¹ = 2.718    probabilities [0.665 0.090 0.245]
    T = 0.5:  logits [4 0 2]                    probabilities [0.867 0.016 0.117]
    windows of 2, 2 and 1 letters with mean losses 3, 2 and 1:
    (2 · 3 + 2 · 2 + 1 · 1) / 5 = 2.2, not (3 + 2 + 1) / 3 = 2

**Shapes**: ids (N,) and (b, n) int64, logits (b, n, V) for V letters.

- A *model* here is any nn.Module with parameters.  model(ids (b, n), state) returns the logits and
  the next state, which is a tensor or a tuple of tensors.  State None begins a text.
- Models and ids share a device, and answers are on it.
- No function or method changes its arguments, except train_epoch, which trains its model.

Under `pytest --slow` your model trains longer, and beats a trigram model.

**Steps.**

    Alphabet      10 min   the same ids in every run
    streams       15 min   which id begins row 1, and what is its last target?
    CharRNN       10 min   three modules
    train_epoch   15 min   carry the state, cut its graph
    evaluate      10 min   one stream; put back the mode of each module
    sample        15 min   after the prompt, feed only the newest letter

Sources: Graves 2013, "Generating Sequences With Recurrent Neural Networks", sections 2 and 3;
Karpathy 2015, as above.

From scratch: transformers and torchtext may not be used.  torch.nn.LSTM and
torch.nn.utils.clip_grad_norm_ may.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor, nn


class Alphabet:
    """The letters of a text, and a number for each.

    letters    list[str]: each character of the text once, in sorted order; its place is its id
    """

    def __init__(self, text: str) -> None:
        """`text` has at least one character."""
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of letters."""
        raise NotImplementedError

    def encode(self, text: str) -> Tensor:
        """The ids of `text`, int64 (len(text),), on the CPU; an empty text gives an empty tensor.

        Raises ValueError, naming the character, for one that isn't among the letters.
        """
        raise NotImplementedError

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text of `ids` (n,), a tensor or a list; the inverse of encode."""
        raise NotImplementedError


def streams(ids: Tensor, batch: int, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The windows in their order, each as inputs and targets, both (batch, up to `length`).

    - Rows and windows are as in the lesson's drawing.  The last window may be shorter, and isn't left out.
    - Up to `batch` - 1 pairs at the end of the text, too few for another column, are left out.
    - batch and length are at least 1.  An iterator, a generator or a list will do.

    Raises ValueError, naming N and `batch`, if P is below 1; at the latest when the first window is asked for.
    """
    raise NotImplementedError


class CharRNN(nn.Module):
    """The model: logits = head(lstm(embedding(ids))).

    embedding    nn.Embedding(letters, d)
    lstm         nn.LSTM(d, m, batch_first=True)
    head         nn.Linear(m, letters)

    There is no further parameter.
    """

    def __init__(self, letters: int, d: int, m: int) -> None:
        """Drawn as torch draws them."""
        raise NotImplementedError

    def forward(self, ids: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The logits (b, n, letters) for ids (b, n), and the state (h, c) after the last id.

        The state, in and out, is nn.LSTM's, both (1, b, m); None stands for zeros.
        A call doesn't depend on earlier ones: states are carried only through `state`.
        """
        raise NotImplementedError


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, ids: Tensor, batch: int, length: int, max_norm: float
) -> float:
    """Train on every window of `streams` once, in order; the mean loss over all their letters, as a float.

    - The first window begins with state None, each later one with the values of the state after the
      window before.  No gradient flows from one window to another.
    - For each window, take the gradient of the mean loss over its letters (nothing is left of older
      gradients), clip it to the norm `max_norm` over all parameters together, and make one step of `optimizer`.
    - Each window's loss is that before its step.  A letter of a short window counts as much as any other.
    - The model runs in training mode, and is left in it.
    """
    raise NotImplementedError


def evaluate(model: nn.Module, ids: Tensor, length: int) -> float:
    """The loss of the text `ids` (N,), N ≥ 2, in nats per letter, as a float.

    - It is read as one stream, in windows of `length` with the state carried on: so `length`
      changes memory and time, not the answer.  All N - 1 pairs count.
    - No gradient is kept.  The model runs in evaluation mode; each of its modules is left in the mode it was in.
    """
    raise NotImplementedError


def sample(
    model: nn.Module,
    alphabet: Alphabet,
    prompt: str,
    count: int,
    temperature: float = 1.0,
    generator: Generator | None = None,
) -> str:
    """Read `prompt`, at least one letter, and write `count` more.  Returns only the new ones.

    - Each letter is drawn from softmax(logits / temperature); temperature 0 takes the likeliest.
      Close to 0 (1e-37) nothing overflows, whatever finite logits there are.  Of equal logits any may be taken.
    - The model reads each letter once: it is never given one again, and its state is carried on.
      The last new letter need not be read.
    - All randomness comes from `generator` if there is one, and from torch's own if not.
    - No gradient is kept.  The model runs in evaluation mode; each of its modules is left in the mode it was in.

    Raises ValueError, naming the temperature, if it is negative.
    """
    raise NotImplementedError
