"""Prompting: measure what you ask

**Before you start.**  You need regular expressions, and the binomial distribution.  You import no
other kata.  If few-shot prompts are new: Brown et al. 2020, "Language Models are Few-Shot
Learners", section 2.

**The idea.**  A language model does what its prompt makes likely.  So the prompt is a part of
your program, and it deserves what other parts get: no injection through inputs, tests, and
numbers instead of taste.

You build prompts: from templates, with examples (*few-shot*) or without (*zero-shot*), and with
reasoning before the answer (*chain of thought*).  Then you correct for what is known to go wrong:

- one sample may be unlucky: sample several chains and take a vote (*self-consistency*);
- a model prefers some labels whatever the input: divide that out (*contextual calibration*);
- which wording is best, nobody knows: search by score;
- the order of the examples matters: measure how much.

The *model* is a function here.  The tests hand you scripted ones and look at what you sent.

**The formulas.**  p is the chance that one sample is right, n the number of samples.

    vote         P(right) = Σ over k > n/2 of C(n, k) pᵏ (1 - p)ⁿ⁻ᵏ   + half of the term k = n/2
    labels       P(y) = exp s(y) / Σ exp s(y')          s is the log-probability of label y
    calibrated   q(y) ∝ P(y) / P₀(y)                    Σ q(y) is 1
    bias         P₀(y) = mean of P(y) over inputs without content, such as "N/A"
    halving      after round r those left have seen first · 2ʳ examples; the better half stays
    spread       mean, deviation (std with n), worst and best score over the orders

**A drawing**

    halving, 5 templates, 16 examples, first is 4         asked

    A  B  C  D  E     examples 0 … 3                      5 · 4
    │     │     │
    A     C     E     examples 4 … 7                      3 · 4
    │           │
    A           E     examples 8 … 15                     2 · 8
                │
                E     score over all 16                   48, not 80

**Why does a vote help?**  If the samples err independently and p is above 1/2, the majority is
right more often than one of them, and with growing n almost always.  If p is below 1/2, a vote of
three or more makes it worse.  And samples of one model share its errors: the formula is an upper
limit in practice.

**Why "N/A"?**  An input without content gives no reason to prefer a label.  What the model
prefers all the same is its bias: from the prompt, the examples, their order.  The same bias is in
its answer to a real input, so divide by it.

**Why no space at the end of a prompt?**  In most models a word's token includes the space before
it: " yes" is one token.  After "Output: " with its space the model has to go on with "yes", which
it has hardly ever seen there.

**Worked by hand**

    fill         "{{{x}}} is {y}" with x = "{y}", y = "2":   "{{y}} is 2"
    few-shot     "Input: 2\\nOutput: even\\n\\nInput: 3\\nOutput:"
    answer       "So 1,200 + 34. The answer is 1,234.":   "1234"
    vote         answers 7 8 none 8 7:  7 came first, share 2/5
    majority     p = 0.6: n = 1 0.6,  n = 2 0.36 + 0.48/2 = 0.6,  n = 3 0.216 + 0.432 = 0.648
    labels       scores ln 6 and ln 2:  0.75 0.25
    calibrated   0.7 0.3 with a bias of 0.8 0.2:  0.875 and 1.5, so 0.3684 0.6316
    spread       scores 1 0.5 0.5 0:  mean 0.5, std 0.3536, worst 0, best 1

**Shapes**: prompts and replies are strings.  Probabilities are float64 (k,) or (n, k), a label a
column.  Other numbers are Python floats.  No function changes its arguments.

**Steps.**  A good place to pause is after self_consistency.

    fill                 14 min   one pass: doubled, paired and stray braces
    few_shot              6 min   blocks and empty lines
    cot_prompt            6 min   with examples, and without
    extract_answer        8 min   the last one, but not one of the model's own questions
    self_consistency      9 min   ties, and replies without an answer
    majority_accuracy     8 min   even n
    label_probabilities   5 min   very small probabilities
    calibrate             6 min   divide, then normalise
    search_prompts       14 min   nothing is asked twice
    order_sensitivity    10 min   all orders, or some

Sources: Wei et al. 2022, "Chain-of-Thought Prompting Elicits Reasoning in Large Language Models";
Kojima et al. 2022, "Large Language Models are Zero-Shot Reasoners"; Wang et al. 2023,
"Self-Consistency Improves Chain of Thought Reasoning in Language Models"; Zhao et al. 2021,
"Calibrate Before Use"; Lu et al. 2022, "Fantastically Ordered Prompts and Where to Find Them";
Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization" (halving).

From scratch: str.format, str.format_map, string.Formatter, string.Template, jinja2, langchain and
scipy may not be used.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

Example = TypeVar("Example")


class Spread(NamedTuple):
    """Given to you: how scores are spread."""

    mean: float
    std: float
    worst: float
    best: float


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with each {name} replaced by values["name"].

    - A name is one or more word characters (re's \\w).  {{ stands for {, and }} for }.  Read from left to right: {{
      and }} first, then names.
    - Values go in as they are: braces in them mean nothing.

    Raises ValueError, naming

    - the name, if there is no value for it;
    - the value's name, if the template has no place for it: a text that never reaches the model is a bug;
    - the place of the brace, counted from 0, if a single { or } isn't part of a placeholder.
    """
    raise NotImplementedError


def few_shot(instruction: str, examples: Sequence[tuple[str, str]], query: str) -> str:
    """A prompt of blocks with an empty line between:

        Say whether the number is even or odd.

        Input: 2
        Output: even

        Input: 3
        Output:

    - First the instruction, if it isn't empty; then a block for each example (input, output); then the query.
    - There is nothing behind the last colon.  Without examples the prompt is zero-shot.
    """
    raise NotImplementedError


def cot_prompt(question: str, examples: Sequence[tuple[str, str, str]] = ()) -> str:
    """A prompt for a chain of thought, with an empty line between blocks.

    examples   (question, reasoning, answer); each becomes

        Q: I have 3 bags of 4 nuts. How many nuts?
        A: 3 times 4 is 12. The answer is 12.

    The last block is "Q: …" and a line "A:".  Without examples that line is "A: Let's think step by step."
    """
    raise NotImplementedError


def extract_answer(reply: str) -> str | None:
    """The answer in a chain of thought; None if there is none.

    1. Drop everything from the first line on that begins with "Q:".  It is a question of the model's own.
    2. Take what follows the last "the answer is", in any case, up to the end of its line.  A colon directly behind it
       doesn't belong to it.
    3. Take off white space at both ends, and full stops and white space at the end.
    4. Take out each comma that has a digit before it, and exactly three digits behind it: 1,234,567 is 1234567.
    5. If nothing is left, it is None.
    """
    raise NotImplementedError


def self_consistency(sample: Callable[[str, int], str], prompt: str, n: int) -> tuple[str | None, float]:
    """(answer, share): the answer that most of n samples give, and its votes divided by n.

    sample(prompt, seed)   a reply.  Ask with the seeds 0 to n - 1, each once, in this order

    - Answers are what extract_answer gives.  A reply without one has no vote.  If none has one: (None, 0.0).
    - Of equal votes the answer that came first wins.

    Raises ValueError, naming n, if it is below 1.
    """
    raise NotImplementedError


def majority_accuracy(p: float, n: int) -> float:
    """The lesson's vote: the chance that the majority of n independent samples is right, if a tie is decided by a coin.

    Each sample is right or wrong.  Raises ValueError, naming p unless it is from 0 to 1, naming n if it is below 1.
    """
    raise NotImplementedError


def label_probabilities(score: Callable[[str, str], float], prompt: str, labels: Sequence[str]) -> np.ndarray:
    """The probabilities (k,) of k ≥ 1 labels.

    score(prompt, label)   the log-probability s of the label after the prompt.  Ask once for each label

    Scores may be far below -1000, and -inf (but not all of them), which gives 0.
    """
    raise NotImplementedError


def calibrate(probabilities: np.ndarray, content_free: np.ndarray) -> np.ndarray:
    """The calibrated probabilities, of the shape of `probabilities`, (k,) or (n, k).

    content_free   (m, k): the probabilities for m ≥ 1 inputs without content; their mean is the bias

    Raises ValueError, naming the label's number from 0, if a label's bias is 0.
    """
    raise NotImplementedError


def search_prompts(
    templates: Sequence[str], examples: Sequence[tuple[str, str]], model: Callable[[str], str], first: int = 4
) -> tuple[str, float]:
    """(template, accuracy): the best of one or more templates by successive halving, on one or more examples.

    Each example is (input, output).  Ask the model with fill(template, {"input": …}); its reply is right if it is the
    output, white space around the reply aside.

    1. Ask all templates with the first `first` examples (all, if there are fewer).
    2. Keep the better half, rounded up, by the number of right replies so far.  Of equal ones the earlier template is
       better.
    3. If one is left, or no example is left, return the best, and its share of right replies on all that it was asked.
    4. Otherwise ask those that are left with as many further examples as they have seen (or all that there are), and go
       to 2.

    Ask no template with the same example twice.
    """
    raise NotImplementedError


def order_sensitivity(
    examples: Sequence[Example],
    evaluate: Callable[[list[Example]], float],
    limit: int = 24,
    rng: np.random.Generator | None = None,
) -> Spread:
    """How the score depends on the order of the examples.

    evaluate(examples)   a score, higher is better, for a list of all examples in some order

    - If there are at most `limit` orders, take all: n! for n examples, equal ones or not.
    - Otherwise draw `limit` different ones from rng, every choice equally likely.  Raises ValueError, naming n and
      limit, if rng is None then.
    - Evaluate each order once.
    """
    raise NotImplementedError
