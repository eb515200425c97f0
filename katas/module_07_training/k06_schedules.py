"""Schedules for the learning rate

**Before you start.**  You need stochastic gradient descent and the groups of a torch optimizer
(`optimizer.param_groups`); no other kata.  If these are new: the documentation of torch.optim,
sections "Per-parameter options" and "How to adjust learning rate".

**The idea.**  A large learning rate gets you far, a small one gets you close.  So nearly every run
changes its rate on the way: a short warm-up while the gradients are still wild, then large steps,
then small ones.  Here a schedule is a plain function: it takes the step t = 0, 1, 2, … and returns
a *factor*.  The rate is the optimizer's own rate times the factor.

**The formulas.**  u is the share of a curve that is done.  h(u) = (1 + cos πu) / 2 falls from 1 at
u = 0 to 0 at u = 1.  `low` is the factor at the bottom.  WSD is warm-up, stable, decay.

    step decay       γ^(number of milestones ≤ t)
    cosine           low + (1 - low) · h(t / steps)               low from t = steps on
    warm restarts    the same cosine again and again, each `mult` times as long as the last
    cyclic           low + (1 - low) · height · shrink^c          in cycle c; height: 0, 1, 0
    one cycle        from 1/div up to 1, then down to 1/(div · final_div), each along h
    WSD              t / warm, then 1, then low + (1 - low) · (1 - u) or · (1 - √u)
    warm-up          (start + (1 - start) · t / steps) · factor(0), then factor(t - steps)

**A drawing**

    cosine                warm restarts, mult 2        cyclic, shrink 0.5
    ●─╮                   ●╮ ●─╮  ●                     ╱╲
       ╲                   ╲ │ ╲  │                    ╱  ╲    ╱╲
        ╰──●───────         ○│  ╰─○                   ●    ●──╱  ╲──●
    0     steps           0  first 3·first            0   up+down

    ○ isn't reached: at that step the next cosine starts, at 1

    one cycle             warm-up, stable, decay       warm-up of any schedule
        ╭●╮                  ●──────●                     ●─╮
       ╱   ╲                ╱        ╲                   ╱   ╲  its step 0
      ●     ╲              ●          ●────             ●     ╰─   is at `steps`
             ╰──●
      0      total-1       0 warm  +stable +decay       0  steps

**Why does `one_cycle` stop at total - 1?**  A run of `total` steps has t = 0, …, total - 1, and the
last of them should get the smallest rate.  The peak is at p = warm · total - 1, which may lie
between two steps: then no step gets the factor 1.  The way up goes along t / p while t ≤ p, the
way down along (t - p) / (total - 1 - p).  That is how torch counts.

**Why from the base, and not from the last rate?**  You could multiply the rate at each step.  But
rounding adds up, and a rate that was 0 once stays 0.  So `Scheduler` keeps the rates of the
beginning, and each step computes base · factor(t).

**Why is the base in the state?**  You resume a run: a new optimizer loads its old state, and its
rate is now that of the middle.  A scheduler that you make then takes this rate for the base.
Loading the scheduler's own state must put that right.

**Worked by hand**

    step decay, milestones [3, 5], γ = 0.1:   1  1  1  0.1  0.1  0.01
    cosine, 4 steps, low = 0.2:               0.2 + 0.8 · 0.5 = 0.6 at t = 2;  0.2 at 4, 5, …
    warm restarts, first 2, mult 2:           1  0.5;  1  0.854  0.5  0.146;  1 …
    cyclic, up 2, down 4, low 0.2, shrink 0.5:  0.2  0.6  1  0.8  0.6  0.4;  0.2  0.4  0.6  0.5 …
    one cycle, total 10, warm 0.5, div 4, final_div 5:   0.25 at 0, 1 at the peak 4, 0.05 at 9
    WSD, warm 2, stable 3, decay 4, "sqrt":   0  0.5;  1  1  1;  1  0.5  0.293  0.134;  0  0 …
    warm-up over 4 steps from 0.2:            0.2  0.4  0.6  0.8, then the schedule's step 0

**Shapes**: t is an int ≥ 0.  A schedule has no memory: any t may follow any.  Factors are floats.
Numbers
of steps are ints ≥ 1 unless said otherwise; `low` and `start` are from 0 to 1; γ, shrink, div and
final_div are above 0.  No function changes its arguments, and a Scheduler changes its optimizer's
rates alone.

**Steps.**

    step_decay       4 min   a milestone counts at its own step
    cosine           6 min   what comes after the end?
    warm_restarts   10 min   which cycle is t in?
    cyclic           8 min   up and down differ in length
    one_cycle       12 min   the two ends, and a peak between steps
    wsd             10 min   any of the three parts may have length 0
    warmup           6 min   a function that returns a function
    Scheduler       14 min   what must the state hold?

Sources: Loshchilov and Hutter 2017, "SGDR" (cosine, warm restarts); Smith 2017, "Cyclical Learning
Rates"; Smith and Topin 2018, "Super-Convergence" (one cycle); Hu et al. 2024, "MiniCPM" (WSD);
Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations"
(1 - √u).

From scratch: torch.optim.lr_scheduler and transformers may not be used.
"""

from collections.abc import Callable
from typing import Any

Factor = Callable[[int], float]


def step_decay(t: int, milestones: list[int], gamma: float) -> float:
    """γ to the number of milestones that are reached at step t, t = milestone included.

    `milestones` may be empty, in any order, and name a step twice: then it counts twice.
    """
    raise NotImplementedError


def cosine(t: int, steps: int, low: float = 0.0) -> float:
    """Half a cosine from 1 at t = 0 to `low` at t = steps.  After that it stays at `low`."""
    raise NotImplementedError


def warm_restarts(t: int, first: int, mult: int = 1, low: float = 0.0) -> float:
    """Cosines one after the other: the first has `first` steps, each next one `mult` times as many as the last.

    The step after a cosine's last one is a restart, with the factor 1; `low` itself is never reached.
    """
    raise NotImplementedError


def cyclic(t: int, up: int, down: int, low: float, shrink: float = 1.0) -> float:
    """A straight line up in `up` steps, and one down in `down` steps, again and again.

    In cycle c, counted from 0, it goes from `low` to low + (1 - low) · shrink^c and back.
    """
    raise NotImplementedError


def one_cycle(t: int, total: int, warm: float = 0.3, div: float = 25.0, final_div: float = 1e4) -> float:
    """Up from 1/div to 1 and down to 1/(div · final_div), both along half cosines, in `total` steps.

    The peak is at warm · total - 1, which is above 0 and below total - 1.

    Raises ValueError, naming t and total, for a t of total or more.
    """
    raise NotImplementedError


def wsd(t: int, warm: int, stable: int, decay: int, low: float = 0.0, shape: str = "sqrt") -> float:
    """Warm-up, stable, decay: three parts of `warm`, `stable` and `decay` steps; each may be 0.

    - Warm-up: t / warm, so that step 0 has the factor 0.
    - Stable: 1.
    - Decay: from 1 at its first step towards `low`; u goes from 0 to 1 in `decay` steps.  The `shape`
      "linear" goes along 1 - u, "sqrt" along 1 - √u.
    - After that: `low`.

    Raises ValueError, naming it, for any other shape, at any t.
    """
    raise NotImplementedError


def warmup(factor: Factor, steps: int, start: float = 0.0) -> Factor:
    """The schedule `factor`, with a linear warm-up of `steps` ≥ 0 steps before it.

    The warm-up goes from start · factor(0) at t = 0 to factor(0) at t = steps.
    The function that is returned may be wrapped again.
    """
    raise NotImplementedError


class Scheduler:
    """Sets the rates of an optimizer: base · factor(t) for each group.

    The attribute `t` is the number of steps so far.
    """

    def __init__(self, optimizer: Any, factor: Factor | list[Factor]) -> None:
        """Sets the rates for t = 0.

        optimizer  has a list `param_groups` of dicts with the key "lr", as every torch optimizer has.  The
                   rates found there now are the groups' bases.
        factor     a function for all groups, or a list with one for each

        Raises ValueError, naming both numbers, if there are not as many functions as groups.
        """
        raise NotImplementedError

    def step(self) -> None:
        """Go to the next t and set the rates.  Call it after optimizer.step().

        - A rate that somebody changed since is overwritten.
        - The optimizer's load_state_dict puts new dicts into `param_groups`: they are the ones to change.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to resume, but the functions: numbers, texts, and lists and dicts of them, as json takes.

        It is a copy: later steps don't change it.
        """
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the scheduler of `state` was, with its bases, and set the rates for its t.

        - The result is the same whether the optimizer's own state was loaded before this scheduler was made,
          or before or after this call.
        - `state` isn't changed, now or later.

        Raises ValueError, naming both numbers, if it had another number of groups.
        """
        raise NotImplementedError
