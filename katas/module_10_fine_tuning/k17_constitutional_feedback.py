"""Constitutional feedback: a model that criticises, revises and judges by written principles

**Before you start.**  You need the sigmoid, log-odds and logistic regression; no other kata.  If
these are new: Hastie et al., "The Elements of Statistical Learning", section 4.4.  It helps to know
why reward models learn from comparisons (the kata reward_modelling).

**The idea.**  People who label answers are slow and expensive, and they have to read awful things.
So write down what you want, in some *principles*: "Be polite."  "Don't give medical advice."  Then
let a model apply them.

- *Critique and revise.*  A model reads its own answer and says what breaks a principle.  Then it
  writes a better one, and so on.  You train on the last versions.
- *AI preference labels.*  A model reads two answers and says which is better by a principle.  Such
  labels train a reward model.
- *Rules.*  Some things need no model at all: the answer has at most 100 words, it holds no phone
  number.  A program checks them.

None of the three can be trusted blindly.  A critic may never be satisfied.  A judge may like
whatever it reads first.  So the loop needs a stopping rule, and each pair is judged in both orders.

**The formulas.**  σ is the sigmoid.  A judge gives the log-probs a and b of "the first is better"
and "the second is better".

    asked first, second      x = a - b         the log-odds that the first answer is better
    asked second, first      y = b' - a'       the same, when it stands in the second place
    probability              p = σ((x + y) / 2)
    position bias            (x - y) / 2       the log-odds that the first place gets for nothing
    label                    mean of p over the principles, cut to low … high
    rule reward              Σ weights of the rules that hold
    distilled reward         w minimises  Σ -(p log σ(w·Δ) + (1 - p) log σ(-w·Δ)) + l2/2 · |w|²
                             Δ: the features of the first answer minus those of the second

**A drawing**

    ┌────────┐   ┌───────────────────────┐ none
    │ answer ├──▶│ critic, once for each ├───────▶ "satisfied"
    └────────┘   │ principle: complaints │
         ▲       └───────────┬───────────┘
         │                   │ some
         │                   ▼       yes
         │          was it the last ─────────────▶ "rounds"
         │          round?
         │                   │ no
         │                   ▼       yes
         └────────── reviser: an ────────────────▶ "repeated"
            no       old version?

    two orders    ┌───────┬───────┐                 ┌───────┬───────┐
                  │ good  │ bad   │  x = 1.5        │ bad   │ good  │  y = 0.4
                  └───────┴───────┘                 └───────┴───────┘
                  the better one: (1.5 + 0.4) / 2   the place: (1.5 - 0.4) / 2

**Why not simply return the last version?**  A critic that always finds something makes you revise
for ever.  Each revision may also spoil what was good.  So count the complaints about each version,
and return the version with the fewest.  With equal counts the earliest wins: you change an answer
only if somebody is happier with it.  A critic that is never satisfied then changes nothing.

**Why does an unclear verdict count as a complaint?**  A critic that rambles hasn't said that all is
well.  If rambling meant "fine", the loop would pass whatever it couldn't judge.

**Why average log-odds?**  Say that the judge adds 0.55 to the log-odds of the first place, whatever
stands there.  In x it helps your answer, in y it hurts.  In the mean of the two it is gone.

**Why cut labels to 0.4 … 0.6?**  A model that first writes down its reasons is nearly always too
sure: 0.99 or 0.01.  Bai et al. cut such labels, so that the reward model doesn't learn certainty
where there is none.

**Why soft labels in the loss?**  A label of 0.6 says that the judge was nearly undecided.  Round it
to 1, and this pair pulls as hard as a clear one.

**Worked by hand**

    verdict      "It is rude.\\nVerdict: revise"  →  False;  "Looks good to me."  →  None
    the loop     complaints about three versions: 2, 1, 2, with rounds = 3
                 the second version is returned, stopped by "rounds"
    two orders   (-0.2, -1.7), then (-0.9, -0.5):  x = 1.5, y = 0.4, p = σ(0.95) = 0.7211
                 position bias (1.5 - 0.4) / 2 = 0.55;  both say "the first": consistent
    a label      p = 0.7211 and 0.9 by two principles:  0.8106;  cut to 0.4 … 0.6:  0.6
    rules        polite (1.0) holds, short (0.5) doesn't, sells something (-2.0) holds:  -1.0
                 if a hard rule is broken:  -1 - (1.0 + 0.5 + 2.0) = -4.5
    distilled    Δ = 1 in four pairs, labels 0.9 0.6 0.7 0.8, l2 near 0:  σ(w) = 0.75, w = log 3
    accuracy     labels 0.8 0.5 0.3 0.9, truth 1 -1 1 0:  (1 + 0.5 + 0) / 3 = 0.5

**Shapes**: n pairs, d features.  Arrays are float64 NumPy arrays; those that come out, too.  Single
numbers are Python floats.  Log-probs are finite, and may be far below 0.  A pair is (prompt, first
answer, second answer).  No function changes its arguments.

**Steps.**

    read_verdict          6 min   the last line that counts
    critique_and_revise  18 min   three ways to stop, and which version to return
    compare               8 min   whose log-prob is whose?
    position_bias         6 min   the other half of the two orders
    ai_labels             7 min   first the mean, then the cut
                                  (a good place for a pause)
    rule_reward           6 min   what is below everything?
    fit_preference       12 min   Newton's method, or any that gets to the minimum
    preference_accuracy   5 min   pairs without a truth

In the tests a judge with a position bias labels pairs by a rule that you can't see.  Your labels,
and a reward that was fitted to them, must find it out.

Sources: Bai et al. 2022, "Constitutional AI: Harmlessness from AI Feedback"; Lee et al. 2023,
"RLAIF" (both orders); Glaese et al. 2022, "Improving alignment of dialogue agents via targeted
human judgements" and Mu et al. 2024, "Rule Based Rewards for Language Model Safety" (rules);
Wang et al. 2023, "Large Language Models are not Fair Evaluators" (position bias).

From scratch: sklearn and scipy may not be used.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Critic = Callable[[str, str, str], str]
"""A prompt, an answer and a principle make a critique."""
Reviser = Callable[[str, str, list[str]], str]
"""A prompt, an answer and the critiques that complain about it make another answer."""
Judge = Callable[[str, str, str, str], tuple[float, float]]
"""A prompt, two answers and a principle make the log-probs of "the first is better" and "the second is better"."""
Pair = tuple[str, str, str]
"""A prompt, the first answer, the second answer."""


class Revision(NamedTuple):
    """What critique_and_revise returns, given.

    answer      the version that it chose
    versions    all versions that the critic has read, the original one first
    complaints  how many complaints each of them got
    stopped     "satisfied", "repeated" or "rounds"
    """

    answer: str
    versions: list[str]
    complaints: list[int]
    stopped: str


class Preference(NamedTuple):
    """What compare returns, given.

    probability  that the first answer is better
    consistent   whether both orders say the same
    """

    probability: float
    consistent: bool


class Rule(NamedTuple):
    """Something that a program can check, given.

    name    what it is called
    holds   says for a prompt and an answer whether the rule holds
    weight  what the reward gets if it does; may be negative
    hard    whether it must hold; its weight then doesn't count
    """

    name: str
    holds: Callable[[str, str], bool]
    weight: float
    hard: bool = False


def read_verdict(critique: str) -> bool | None:
    """What a critique ends in: True for "fine", False for "revise", None if it is unclear.

    - The verdict is on a line that begins with "verdict:".  Of several such lines the last counts, alone.
    - Capitals don't matter, nor do blanks around the line or around what follows the colon.
    - One full stop at its end may follow "fine" or "revise".  Anything else there is unclear, such as "fine, I think".
    - A line that begins otherwise, such as "My verdict: fine", is no verdict.  Without any, it is unclear.

    Lines end in "\\n" or "\\r\\n".
    """
    raise NotImplementedError


def critique_and_revise(
    critic: Critic, reviser: Reviser, prompt: str, answer: str, principles: Sequence[str], rounds: int
) -> Revision:
    """Criticise and revise `answer` until all are satisfied, or until it makes no sense to go on.

    In each round, of which there are at most `rounds`:

    1. The critic reads the current version once for each principle, in their order.  A critique whose verdict isn't
       True is a complaint; so is an unclear one.
    2. Without a complaint it ends: "satisfied".
    3. In the last round it ends: "rounds".
    4. The reviser gets the prompt, the current version and a list of the complaints, whole texts, in their order.
       It makes a new version.
    5. If that is equal to any version before, it ends: "repeated".  The critic doesn't read it again, and it isn't
       added to the versions.

    The answer that is returned is the version with the fewest complaints, the earliest of several.
    Models cost money: nothing else is asked of the critic and the reviser.

    Without principles every answer is satisfying.
    Raises ValueError, naming rounds and its value, unless it is at least 1.
    """
    raise NotImplementedError


def compare(judge: Judge, prompt: str, first: str, second: str, principle: str) -> Preference:
    """The probability that the first answer is better, from both orders, and whether they agree.

    The judge is asked twice: once with `first` before `second`, once with `second` before `first`.
    They agree if x and y, the two log-odds of the lesson, are both above 0, both below 0, or both 0.
    Log-odds of ±10 000 are right, too, and give no warning.
    """
    raise NotImplementedError


def position_bias(judge: Judge, pairs: Sequence[Pair], principle: str) -> tuple[float, float]:
    """How much the judge likes the first place: (mean position bias, share of pairs that aren't consistent).

    The bias of each pair is (x - y) / 2, in log-odds.  It is above 0 if the first place is preferred.
    The judge is asked twice for each pair.

    Raises ValueError, with the word "pair", if there is none.
    """
    raise NotImplementedError


def ai_labels(
    judge: Judge, pairs: Sequence[Pair], principles: Sequence[str], low: float = 0.0, high: float = 1.0
) -> Array:
    """The label (n,) of each pair: the probability that its first answer is better.

    It is the mean of `compare`'s probability over the principles.  After that it is cut to the range low … high.
    The judge is asked twice for each pair and principle.  No pairs: an array of shape (0,).

    Raises ValueError, naming both bounds, unless 0 ≤ low ≤ high ≤ 1.
    Raises ValueError, with the word "principle", if there is none.
    """
    raise NotImplementedError


def rule_reward(prompt: str, answer: str, rules: Sequence[Rule]) -> float:
    """The reward of an answer by rules: the sum of the weights of those that hold, the hard ones left out.

    If a hard rule is broken, it is -1 minus the sum of the absolute weights of all rules that aren't hard.
    So it is worse than anything that the others can give.
    Without rules it is 0.0.
    """
    raise NotImplementedError


def fit_preference(first: Array, second: Array, labels: Array, l2: float) -> Array:
    """The weights w (d,) of the distilled reward, from features (n, d) and labels (n,), each from 0 to 1.

    - The loss is a sum over pairs, no mean.  There is no intercept: no pair has a first place any more.
    - Each weight is right to 1e-5.  The method is yours to choose.
    - n may be below d, and 0.  The features may be small (0.01) or large (300), l2 may be 1e-6, and labels may be
      exactly 0 or 1.

    Raises ValueError, naming l2 and its value, if l2 isn't above 0.
    """
    raise NotImplementedError


def preference_accuracy(labels: Array, truth: Array) -> float:
    """The share of pairs whose label is right.

    labels  (n,): the probability that the first answer is better; so is a reward's σ(w·Δ)
    truth   (n,): 1 if the first is better, -1 if the second is, 0 if nobody can say

    A label above 0.5 says "the first", one below 0.5 "the second".  One of exactly 0.5 is half right.
    Pairs with truth 0 are left out.
    Raises ValueError, with the word "pair", if none is left.
    """
    raise NotImplementedError
