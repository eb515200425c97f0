"""Pretraining

**Before you start.**  You need cross-entropy, backward passes and AdamW; no other kata.  The
loop in another hand: Karpathy, nanoGPT, train.py.

**The idea.**  A model that predicts the next token of plain text learns whatever helps to
predict it.  The same loop trains a hundred thousand weights and a hundred billion.

**The formulas.**  *The loop*: each step

    1. cuts windows out of the token stream; targets are shifted by one token
    2. computes the loss and its gradient
    3. clips the gradient:  g ← g · min(1, max_norm / ‖g‖), ‖g‖ over all parameters
    4. sets the learning rate, and lets AdamW move the weights

    tokens           │ T  o  _  b  e  ,  _  o  r  _  n  o  t
    start 3, inputs  │          b  e  ,  _
             targets │             e  ,  _  o

*The learning rate* of step s rises over the first `warmup` steps, then falls along a half cosine
to `floor`:

    lr(s) = peak · (s + 1) / warmup                                     s < warmup
    lr(s) = floor + (peak - floor) · ½ (1 + cos(π (s - warmup) / (total - warmup)))
    lr(s) = floor                                                       s ≥ total

     peak ┤       ●──●
          │     ●      ●
          │   ●          ●
          │ ●              ●
    floor ┤                  ●──●──●──●──▶
          └────────┬─────────┬───────────  step
                 warmup    total

*A checkpoint* holds all that the next step depends on: weights, the optimizer's averages, the
step, and the state of the generator that draws the windows.  Without dropout, a resumed run goes
on to the last bit as if it had never stopped.

*Is it learning?*  Under `pytest --slow` your loop trains a small GPT on Hamlet, to a lower loss
than a trigram model's 1.97 nats per character.

**Why warm up?**  Adam divides by an average of squared gradients.  At first that is a bad
estimate, and full steps throw the weights about.

**Why decay matrices alone?**  Weight decay pulls towards 0.  A norm's weight belongs near
1; at 0 its feature is off.  Biases are few.

**Worked by hand**, peak 1, warmup 4, total 12, floor 0.1:

    lr = 0.25 0.5 0.75 1 | 1 0.966 0.868 …  0.55 at step 8 … | 0.1 from step 12 on
    gradients [3] and [0 4], max_norm 1: ‖g‖ = 5, so they become [0.6] and [0 0.8]

**Shapes**: tokens (N,) int64, windows (b, length), logits (b, n, V).  No function or method
changes its arguments, but for `clip_gradients` and what a Trainer does to its model.

Answers are on the device of the tokens, and a Trainer trains where its model and tokens are.

**Steps.**

    windows            5 min   the last target must exist
    parameter_groups   5 min   by the number of axes
    learning_rate      5 min   three pieces
    clip_gradients     5 min   one norm over all
    evaluate          10 min   the mode before, and after
    Trainer           30 min   20 for the loop, 10 for the checkpoint: what does torch share?

Sources: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"; Brown et al. 2020,
"Language Models are Few-Shot Learners", appendix B.

From scratch: torch.nn.utils.clip_grad_norm_, torch.nn.utils.clip_grad_norm,
torch.optim.lr_scheduler and transformers may not be used.  torch.optim.AdamW may.
"""

from collections.abc import Iterable

from torch import Tensor, nn


def windows(tokens: Tensor, starts: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (b, length), cut out of `tokens` (N,) at each of `starts` (b,) ≥ 0.

    Raises ValueError, naming the start and N, for one whose last target lies beyond the end.
    """
    raise NotImplementedError


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters with two or more axes, which are decayed, and all others.

    A parameter that the model uses twice is there once.
    """
    raise NotImplementedError


def learning_rate(step: int, peak: float, warmup: int, total: int, floor: float = 0.0) -> float:
    """The learning rate of a step, counted from 0, as in the lesson.

    0 ≤ warmup < total.
    """
    raise NotImplementedError


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients in place so that their common norm is at most `max_norm`.

    Returns the norm before, as a float.

    - Smaller gradients stay as they are, those of zeros, too.
    - Parameters without a gradient are passed over; if there is none at all, the norm is 0.
    """
    raise NotImplementedError


def evaluate(model: nn.Module, tokens: Tensor, length: int) -> float:
    """The mean loss, in nats per token, over windows that follow each other without overlap.

    The first begins at token 0, the next at token `length`, and so on, as many as fit whole
    with their targets; at least one does.  `model` maps ids (b, n) to logits (b, n, V).

    - Keeps no gradient.
    - Runs in evaluation mode, and leaves the model in the mode it was in.
    """
    raise NotImplementedError


class Trainer:
    """Trains a model, which maps ids (b, n) to logits (b, n, V), on a stream of tokens."""

    def __init__(
        self,
        model: nn.Module,
        tokens: Tensor,
        batch: int,
        length: int,
        peak: float,
        warmup: int,
        total: int,
        weight_decay: float = 0.1,
        max_norm: float = 1.0,
        seed: int = 0,
    ) -> None:
        """A run that hasn't begun.

        - AdamW has betas (0.9, 0.95).  The first of `parameter_groups` is decayed, by
          `weight_decay`, the second isn't.
        - The learning rate follows the schedule from `peak` to 0.
        - Each step trains on `batch` windows of `length` tokens.  Every start that has its
          last target in `tokens` is equally likely.
        - Starts are drawn from a generator of the Trainer's own, seeded with `seed`.  torch's own
          is left alone, and isn't part of the state, even if the model's dropout draws from it.
        - A parameter frozen at any time (requires_grad False) stays as it is from then on.
        """
        raise NotImplementedError

    def train(self, steps: int) -> list[float]:
        """Do `steps` further steps; the loss of each, as it was before that step's update.

        The losses are floats.  The mode of the model, training or evaluation, stays as it is.
        """
        raise NotImplementedError

    def state_dict(self) -> dict:
        """All that the next step depends on, but for dropout's random state.

        Later steps don't change what was returned.

        It can be saved with torch.save and loaded with weights_only=True.
        """
        raise NotImplementedError

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state` was taken.

        - The Trainer was made with the same arguments.  It may be new, or have trained.
        - Later steps don't change `state`, so that it can be loaded again.
        """
        raise NotImplementedError
