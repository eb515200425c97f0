"""Full fine-tuning

**Before you start.**  You need a training loop in torch, requires_grad, the two modes of an
nn.Module and parameter groups; no other kata.  If these are new: the PyTorch tutorials "Optimizing
Model Parameters" and "Transfer Learning for Computer Vision".

**The idea.**  You have 200 labelled film reviews, too few to learn English from.  A pretrained
transformer knows English already.  Put a new head on it that says "liked" or "didn't like", and
train all of it a little more.  The danger: the new head is random and sends wild gradients, and
200 reviews are soon known by heart.  Four old tricks help: small steps below, a warm-up,
frozen layers, and stopping in time.

**The formulas.**  The model is a list of *stages*: the embeddings, then the layers, then the head.
Stage i of 0 … L-1 has the rate

    rateᵢ = lr · decay^(L - 1 - i)                  the head has lr
    factor(t) = t / warm                            t < warm
              = (total - t) / (total - warm)        then, and 0 from t = total on
    pooled = mean of the states of the real tokens  the mask is 1 there, 0 at padding
    logits = W · dropout(pooled) + b                W from N(0, 0.02²), b = 0

**A drawing**

             stages       rate, decay 0.5       the factor of all rates
        ┌──────────────┐
        │     head     │  ████████  lr                1 ┤   ╱╲
        ├──────────────┤                                │  ╱   ╲
        │   layer 2    │  ████      lr / 2              │ ╱      ╲
        ├──────────────┤                                │╱         ╲
        │   layer 1    │  ██        lr / 4            0 ┼───┬───────┬─▶ t
        ├──────────────┤                                0  warm   total
        │  embeddings  │  frozen: run once, and cached
        └──────────────┘

**Why cache?**  A frozen stage gives the same states in each epoch.  So you run the frozen stages
once, keep what they give, and train the rest on it.  This is exact if they are in evaluation
mode: dropout would give other states each time.

**Why no weight decay for vectors?**  Decay pulls weights to 0.  A matrix near 0 is a simpler
function.  But a norm's scale near 0 switches its layer off, and a bias near 0 isn't simpler.

**Why stop early?**  Accuracy on the training rows rises to the end.  On other rows it rises, and
then falls.  So after each epoch you look at rows that aren't trained on.  You keep the best
weights, and stop when they haven't been beaten for `patience` epochs.

**Worked by hand**

    pooled    states [1 3], [5 7], [9 9] with mask 1 1 0:  [3 5]
    rates     three stages, lr 0.1, decay 0.5:  0.025, 0.05, 0.1
    factor    warm 2, total 6:  0, 1/2, 1, 3/4, 1/2, 1/4, then 0
    stopping  patience 2, accuracies 0.6, 0.7, 0.7, 0.65: stops at the fourth, and brings back
              the weights of the second

**Shapes**: ids (b, n) int64, mask (b, n) of 1 and 0 or True and False, states (b, n, width), labels
(b,) int64.  Each row has a real token.  stages[0] is called with ids, every other stage with
(states, mask).  All are on one device, and so are the answers.  No function changes its arguments,
but for the modules that are there to be frozen or trained.

**Steps.**

    ClassificationHead  10 min   the mean of the real tokens alone
    freeze_lower         5 min   what do two stages share?
    cache_states        10 min   in batches, in evaluation mode, without gradient
    layerwise_groups    12 min   two kinds of parameters in each stage
    warmup_linear        5 min   mind warm = total
    EarlyStopping       10 min   a tie is no improvement
    predict              6 min   as cache_states
    fine_tune           20 min   all of it in a loop

In the tests, the last layer of MiniLM is tuned on 200 film reviews.  It beats a classifier of words
(TF-IDF and logistic regression) that learns from the same 200.

Sources: Devlin et al. 2019, "BERT", section 4; Howard and Ruder 2018, "Universal Language Model
Fine-tuning for Text Classification" (rates by layer); Mosbach et al. 2021, "On the Stability of
Fine-tuning BERT" (warm-up).

From scratch: transformers and sklearn may not be used.
"""

from collections.abc import Sequence
from typing import Any

from torch import Generator, Tensor, nn


class ClassificationHead(nn.Module):
    """The mean of the real tokens' states, dropout, and a linear layer `linear`: an nn.Linear with a bias."""

    def __init__(self, width: int, classes: int, dropout: float = 0.1, generator: Generator | None = None) -> None:
        """A new head, float32 on the CPU.

        - The weight is drawn from a normal distribution of mean 0 and standard deviation 0.02, the bias is 0.
        - The weight is drawn from `generator` (of the CPU), or, without one, from torch's own.  The same state
          gives the same weight.
        """
        raise NotImplementedError

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """The logits (b, classes), with the lesson's formula.

        What stands at the padding has no influence, even if it is NaN.  Dropout drops in training mode alone.
        """
        raise NotImplementedError


def freeze_lower(stages: Sequence[nn.Module], count: int) -> None:
    """Freeze the first `count` stages, and make all the others trained, whatever they were before.

    - Frozen parameters require no gradient, and their .grad is None.
    - A parameter that a trained stage shares with a frozen one is trained.

    Raises ValueError, naming count and the number of stages, if count isn't from 0 to that.
    """
    raise NotImplementedError


def cache_states(stages: Sequence[nn.Module], ids: Tensor, mask: Tensor, batch_size: int = 64) -> Tensor:
    """What the last of these stages gives for all rows, in their order: (b, n, width), b ≥ 1.

    stages  at least one; as the lesson says, the first is called with ids

    - The stages are given at most `batch_size` rows at a time, and each row once.
    - They run in evaluation mode and without gradient; the result holds no graph.
    - Afterwards each of their modules is in the mode that it was in.  They may differ.
    """
    raise NotImplementedError


def layerwise_groups(
    stages: Sequence[nn.Module], lr: float, decay: float, weight_decay: float = 0.01
) -> list[dict[str, Any]]:
    """Groups {"params": [...], "lr": rate, "weight_decay": strength} for an optimizer.

    - A stage's parameters have the lesson's rate for its place among `stages`.
    - Those of two or more axes have `weight_decay`, the others 0.
    - Frozen parameters are left out.  Their stages count as stages.
    - A parameter that stages share is there once, with the rate of the last of them.
    - How many groups there are, and in which order, is yours to choose; none is empty.
    """
    raise NotImplementedError


def warmup_linear(t: int, warm: int, total: int) -> float:
    """The lesson's factor at step t = 0, 1, 2, …  0 ≤ warm ≤ total; both may be 0.

    From t = total on it is 0.
    """
    raise NotImplementedError


class EarlyStopping:
    """Keeps the best weights, and says when to stop.

    best    the best metric so far, -∞ at first
    waited  how many calls of `step` in a row brought no improvement
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        """Raises ValueError, naming patience, if it is below 1.  min_delta ≥ 0."""
        raise NotImplementedError

    def step(self, metric: float, modules: Sequence[nn.Module]) -> bool:
        """Take note of a metric, where higher is better, of the modules as they are now.

        - It is an improvement if it is above best + min_delta.  A tie and a NaN are none.
        - At an improvement, copies of all parameters and buffers are kept, those of the state_dict.  Whether
          buffers that it lacks (persistent=False) are kept as well is open.

        Returns True if `waited` is now `patience` or more.  One may go on nevertheless.
        """
        raise NotImplementedError

    def restore(self, modules: Sequence[nn.Module]) -> None:
        """Bring the best parameters and buffers back into the modules, the same ones as in `step`.

        The Parameters remain the same objects.  What is kept stays: restoring again gives the same.

        Raises ValueError, naming "best", if there was no improvement yet.
        """
        raise NotImplementedError


def predict(stages: Sequence[nn.Module], head: nn.Module, states: Tensor, mask: Tensor, batch_size: int = 64) -> Tensor:
    """The logits (b, classes) of the head after all `stages`, for states (b, n, width), b ≥ 1.

    Each stage, and the head, is called with (states, mask); there may be no stage.  Batches, modes and
    gradients as in `cache_states`.
    """
    raise NotImplementedError


def fine_tune(
    stages: Sequence[nn.Module],
    head: nn.Module,
    train: tuple[Tensor, Tensor, Tensor],
    valid: tuple[Tensor, Tensor, Tensor],
    epochs: int,
    batch_size: int,
    lr: float,
    decay: float = 1.0,
    warm: float = 0.1,
    patience: int = 2,
    clip: float = 1.0,
    generator: Generator | None = None,
) -> list[float]:
    """Train the upper `stages` (called with states and mask) and the head with cross-entropy.

    train, valid  states, mask and labels each, with at least one row
    warm          this share of all steps is the warm-up, rounded down
    generator     on the device of the labels

    Each epoch goes through all rows of `train` once, in training mode and in a new random order from
    `generator`, in batches of `batch_size`; the last one may be smaller.  For each batch:

    - the gradients, clipped together to the norm `clip` (torch.nn.utils.clip_grad_norm_),
    - a step of torch.optim.AdamW, made once, with the groups of `layerwise_groups` (the head is the last
      stage; weight decay 0.01) and its other defaults.  Step t = 0, 1, … has its rates times
      `warmup_linear`; the total is that of all `epochs`.

    After an epoch comes the accuracy on `valid`, as a share, and `EarlyStopping` decides on it.

    - Frozen parameters stay as they are.  Gradients from before don't count.
    - In the end the best weights are back, and all modules are in evaluation mode.

    Returns the accuracies, a float for each epoch that was run.
    """
    raise NotImplementedError
