"""The training loop

**Before you start.**  You need backward passes, torch.optim, and the two modes of an nn.Module; no
other kata.  If these are new: the PyTorch tutorial "Learn the Basics", sections "Datasets and
DataLoaders" and "Optimizing Model Parameters".

**The idea.**  Nearly every network is trained by the same few dozen lines: draw batches, step,
measure on data that you don't train on, keep the best weights, stop in time.  An error in these
lines doesn't crash.  It costs a few percent, and nobody notices.  So write them once, and get them
exactly right.

**The formulas.**  *One step* of training on a batch has five calls, in this order:

    zero the gradients ─▶ forward ─▶ loss ─▶ backward ─▶ optimizer.step()

*The loss of an epoch.*  Each batch i has a mean loss Lᵢ over its nᵢ samples.  The last batch is
often smaller, so weight each loss by its batch's size:

    loss = ∑ nᵢ Lᵢ / ∑ nᵢ          accuracy = right answers / ∑ nᵢ

*An epoch* goes through all samples once, in a new order each time:

    order      7 2 9 0 4 1 8 3 6 5         batch_size 4
    batches  │ 7 2 9 0 │ 4 1 8 3 │ 6 5 │   drop_last leaves out the third

*Early stopping.*  A validation loss counts as better if it is smaller than the best one so far by
more than min_delta.  Stop after `patience` epochs in a row that weren't better, and bring back the
weights of the best one.  ● marks an epoch whose weights are kept:

    epoch      0   1   2   3   4   5
    loss       5   3   4   2   2   3
    kept       ●   ●       ●               the weights of epoch 3 come back
    wait       0   0   1   0   1   2   ◀── wait is 2, the patience: stop

**Why both evaluation mode and no_grad?**  They do different things.  model.eval() switches dropout
off and lets batch norm use its running statistics.  torch.no_grad() builds no graph, which saves
memory and time.  You need both.

**Why copy the best weights?**  state_dict() holds the very tensors that the next step changes.
Without a copy you keep the last weights and believe that they are the best.

**Worked by hand**:

    batches of 4, 4 and 2 samples with mean losses 1, 1 and 6: (4 + 4 + 12) / 10 = 2
    (the mean of the means would be 2.67)
    10 samples in batches of 4: 3 batches; with drop_last 2

**Shapes**: inputs (b, …), targets (b,) int64, logits (b, classes).

- A `loader` is any iterable of batches (inputs, targets) over which you can loop more than once.
  It may be a list, and needs no length.
- `loss_fn(logits, targets)` is a mean over the batch.  The model has at least one parameter.
- train_epoch, evaluate and fit move each batch to the device of the model's parameters.  collate
  leaves tensors where they are.
- No function or method changes its arguments, except the model and the optimizer in train_epoch
  and fit.

**Steps.**

    TensorDataset   5 min   one row of each tensor
    collate        10 min   from a list of rows to columns
    DataLoader     15 min   the incomplete batch, and a new order each time
    evaluate       10 min   put back the mode that each module had
    train_epoch    10 min   the order of the five calls
    EarlyStopping   5 min   what does a NaN do?
    fit            15 min   a copy of the best weights

The tests train a small network on handwritten digits with your loop.

Sources: Goodfellow, Bengio and Courville 2016, "Deep Learning", section 7.8; the documentation of
torch.utils.data.

From scratch: torch.utils.data may not be used.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


class TensorDataset:
    """Samples made of the rows of tensors: sample i is a tuple of each tensor's row i."""

    def __init__(self, *tensors: Tensor) -> None:
        """One or more tensors.  Raises ValueError, naming both lengths, if two differ in length."""
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of samples."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Sample `index`; negative ones count from the end.  Raises IndexError for one beyond either end."""
        raise NotImplementedError


def collate(samples: list[Any]) -> Any:
    """One batch out of a list of one or more samples, which are all built alike.

    - Tensors of one shape are stacked along a new first axis.
    - Python numbers become a tensor: of ints int64, of floats float64, of bools bool.
    - Strings stay a list.
    - Tuples become a tuple: its first entry is the collated first entries, and so on.
    - Dicts become a dict with the same keys.  Tuples and dicts may stand inside each other.
    """
    raise NotImplementedError


class DataLoader:
    """Goes through a dataset in batches, anew for each `for` loop."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] = collate,
        generator: torch.Generator | None = None,
    ) -> None:
        """`dataset` has a length, and sample i is dataset[i] for i from 0 on.

        - With `shuffle` each pass has a new order; all orders are equally likely.  They are drawn
          from `generator`, and torch's own is left alone; with None they are drawn from torch's own.
        - `drop_last` leaves the last batch out if it is incomplete.

        Raises ValueError, naming it, for a batch_size below 1.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of batches in a pass."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        """A pass: `collate_fn` of each batch's samples.

        - Each sample is in one batch, except those that drop_last leaves out.
        - Each sample is fetched once a pass, and not before its batch is asked for.
        - Several passes over one loader may run side by side.
        """
        raise NotImplementedError


def evaluate(
    model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], loss_fn: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, float]:
    """The mean loss and the accuracy over all samples, two floats.

    The model's answer for a sample is the class with the largest logit.

    - The model runs in evaluation mode and without gradient; no gradient (.grad) changes.
    - Afterwards each of its modules is in the mode that it was in.  They may differ.
    """
    raise NotImplementedError


def train_epoch(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
) -> float:
    """Train for one epoch: a step for each batch of the loader, in its order.

    Returns the mean loss over all samples as a float; the loss of each batch is the one before its step.

    - The model, with all its modules, is put in training mode.
    - Gradients that an earlier backward left behind don't count.
    """
    raise NotImplementedError


class EarlyStopping:
    """Says when a loss has stopped falling.

    best    the best loss so far, infinity at the start
    wait    how many losses since then weren't better, 0 at the start
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        """`patience` is 1 or more, `min_delta` 0 or more."""
        raise NotImplementedError

    def step(self, loss: float) -> bool:
        """Note the loss of one more epoch.  Returns whether `wait` is at least `patience`.

        - A loss is better if it is smaller than best - min_delta.  Only then is it the new `best`.
        - NaN is never better.
        """
        raise NotImplementedError


def fit(
    model: nn.Module,
    train_loader: Iterable[tuple[Tensor, Tensor]],
    valid_loader: Iterable[tuple[Tensor, Tensor]],
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    epochs: int,
    patience: int,
) -> list[dict[str, float]]:
    """Train for at most `epochs` ≥ 1 epochs, and keep the best model.

    After each epoch the model is evaluated on `valid_loader`.  Training stops as EarlyStopping says
    of that loss, with this patience and min_delta 0.

    Returns a dict for each epoch that was run, with the floats train_loss, valid_loss and
    valid_accuracy.

    - In the end the model's state_dict is that of the best epoch: the one with the smallest validation
      loss, and the first of several that tie.  If no validation loss is finite, it is that before training.
    - The parameters stay the same objects.
    - Each loader is gone through once an epoch.
    """
    raise NotImplementedError
