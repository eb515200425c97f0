"""Transfer learning

**Before you start.**  You need a training loop, requires_grad, and the two modes of an nn.Module;
no other kata.  If these are new: the PyTorch tutorial "Transfer Learning for Computer Vision".

**The idea.**  You have thirty labelled images, and a network needs thousands.  But most of what it
must learn, such as edges, strokes and loops, isn't special to your task.  So take a network that
was trained on another task, and change as little of it as you can.

**The formulas.**  The network is L *stages*, one after another.  The last one is the *head*, which
turns features into classes.  A *frozen* stage isn't trained.

*A linear probe* trains only a head, on the features fᵢ that the frozen stages before it compute.
Minimise

    loss = 1/n ∑ cross-entropy(W fᵢ + b, yᵢ)  +  penalty/2 · ‖W‖²       b isn't penalised

This loss is convex: it has one smallest value, and any good optimizer finds it.

*Discriminative rates.*  Early stages change less.  Stage i of 0 … L-1 has the learning rate
lr · decay^(L - 1 - i), so the head has lr.

*Gradual unfreezing.*  In epoch e the last 1 + ⌊e / every⌋ stages are trained, the others frozen.
If `every` is 0, all are trained from the start:

    every is 1   stage 0   stage 1   stage 2   head
    epoch 0        ░         ░         ░        █         ░  frozen
    epoch 1        ░         ░         █        █         █  trained
    epoch 2        ░         █         █        █
    epoch 3        █         █         █        █

**Why unfreeze from the end?**  A new head is random, and so are the gradients that it sends back.
They would destroy the features before the head can use them.  Besides, late stages are about the
old task, and early ones about images in general.

**Why is requires_grad = False not enough?**  Batch norm's running statistics are no parameters.  In
training mode they follow the new data, frozen or not, and dropout drops.  So a frozen module
belongs in evaluation mode.  model.train() would put all modules in training mode; you write
training_mode, which knows which are frozen.

**Why set the gradients of frozen parameters to None?**  An optimizer skips a parameter whose .grad
is None.  It moves one that has a gradient, even an old one.

**Worked by hand**:

    rates         three stages, lr 0.1, decay 0.5: 0.025, 0.05, 0.1
    unfreezing    three stages, every = 2: epochs 0, 1, 2, … train 1, 1, 2, 2, 3, 3, 3, … stages
    probe         four rows with features 0, three of class 0, one of class 1: softmax(b) = ¾, ¼,
                  W = 0, and the loss is ¾ log 4/3 + ¼ log 4 = 0.5623

**Shapes**: inputs x (n, …), features (n, d), labels (n,) int64.  Model and inputs are on one
device, and so are the answers.  No function changes its arguments, except the modules that freeze,
training_mode, thaw and fine_tune are there to change.

**Steps.**

    replace_head       5 min   work on a copy
    freeze             5 min   two things for each parameter
    training_mode     10 min   which modules are frozen as a whole?
    extract_features  10 min   in batches; put back each module's mode
    linear_probe      15 min   you need an optimizer that converges: LBFGS
    parameter_groups  10 min   a shared parameter belongs to the last stage
    thaw               5 min   freeze all, then unfreeze some
    fine_tune         20 min   all of it in a loop

In the tests, a network that was trained on scanned digits of 1998 learns those of MNIST from three
examples of each.

Sources: Yosinski et al. 2014, "How transferable are features in deep neural networks?"; Howard and
Ruder 2018, "Universal Language Model Fine-tuning for Text Classification" (rates, unfreezing).

From scratch: sklearn, torchvision, transformers and timm may not be used.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


def replace_head(model: nn.Sequential, classes: int) -> nn.Sequential:
    """A copy of `model` whose last layer, an nn.Linear, is replaced by a new one to `classes` classes.

    - The new layer has a bias, starts as torch's do, has the old one's inputs, dtype and device,
      and can be trained, even if the old one is frozen.
    - All else is copied: `model` stays as it is and shares no memory with the copy.

    Raises ValueError, naming the type of the last layer, if that is no nn.Linear.
    """
    raise NotImplementedError


def freeze(module: nn.Module) -> None:
    """Freeze the parameters of `module`: they require no gradient, and their .grad is None."""
    raise NotImplementedError


def training_mode(model: nn.Module) -> None:
    """Put `model` in training mode, and what is frozen in it in evaluation mode.

    A module is frozen if it has parameters, its submodules' included, and none requires a gradient.
    Then it is in evaluation mode with all its submodules.  All others are in training mode.
    """
    raise NotImplementedError


def extract_features(body: nn.Module, x: Tensor, batch_size: int = 256) -> Tensor:
    """What `body` makes of x (n, …), n ≥ 1: its results in the order of the rows, joined along the first axis.

    - The body is given at most `batch_size` rows at a time, and each row once.
    - It runs in evaluation mode and without gradient; the result holds no graph.
    - Afterwards each of its modules is in the mode that it was in.  They may differ.
    """
    raise NotImplementedError


def linear_probe(features: Tensor, labels: Tensor, classes: int, penalty: float) -> nn.Linear:
    """The linear layer from d features to `classes` that makes the lesson's loss smallest.

    - The loss is at most 0.001 above the smallest possible.  `penalty` is above 0; features are of
      moderate size.
    - There may be classes without a label.
    - The layer has the features' dtype, float32 or float64.
    """
    raise NotImplementedError


def parameter_groups(stages: Sequence[nn.Module], lr: float, decay: float) -> list[dict[str, Any]]:
    """A group {"params": [...], "lr": rate} for each stage, first stage first, for an optimizer.

    - Frozen parameters are there, too: they may be thawed later.
    - A stage without parameters has no group, but counts as a stage.
    - A parameter that stages share is there once, in the last of them.  A stage that is left without
      a parameter has no group.
    """
    raise NotImplementedError


def thaw(stages: Sequence[nn.Module], epoch: int, every: int = 1) -> int:
    """Freeze and unfreeze `stages` for this epoch, counted from 0, as in the lesson.

    - A parameter that a trained stage shares with a frozen one is trained.
    - The .grad of parameters that are frozen is None.
    - Parameters that were frozen before, whoever did it, are trained if their stage is.

    Returns how many stages are trained: at most all of them.
    """
    raise NotImplementedError


def fine_tune(
    model: nn.Sequential,
    x: Tensor,
    y: Tensor,
    epochs: int,
    batch_size: int,
    lr: float,
    decay: float = 1.0,
    every: int = 1,
    seed: int = 0,
) -> list[float]:
    """Train `model`, whose stages are its children, on x (n, …) and labels y (n,) with cross-entropy.

    Each epoch thaws stages, puts the model in `training_mode`, and goes through all rows once in a
    new random order, in batches of `batch_size`; the last one may be smaller.

    - torch.optim.AdamW, made once, with the rates of `parameter_groups` and its other defaults.
    - What is frozen stays as it is to the last bit, buffers included.
    - Orders are drawn from a generator of its own, seeded with `seed`.  torch's own is left alone,
      except that the model's dropout draws from it.
    - In the end the model is in evaluation mode.

    Returns the mean loss over all rows for each epoch, as floats; the loss of each batch is the one
    before its step.
    """
    raise NotImplementedError
