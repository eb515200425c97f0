"""Group-relative policy optimization

**Before you start.**  You need log-softmax, how a language model's logits predict the next token,
and the idea of the policy gradient: raise the log-probability of what went better than expected.
No other kata.  If these are new: Shao et al. 2024, section 4.1.

**The idea.**  You want a model that solves problems whose answers can be checked: sums, proofs,
programs.  You need no reward model, a checker will do.  But "better than expected" needs an
expectation.  PPO trains a second network for it, as large as the policy.  GRPO (group-relative
policy optimization) just asks the model several times.  The mean reward of this *group* is what
you could expect.  Answers above it become more likely, answers below it less.

**The formulas.**  r_i are the rewards of one prompt's G answers.  π, old and ref are log-probs of a
token that was sampled: under the policy now, the policy when it was sampled, and the reference.

    GRPO          A_i = (r_i - mean r) / (std r + eps)         std divides by G
    Dr. GRPO      A_i = r_i - mean r
    RLOO          A_i = r_i - mean of the other G - 1          (leave one out)

    ratio         ρ = exp(π - old)
    clipped       -min(ρ A, clip(ρ, 1 - low, 1 + high) · A)    for each token
    k1, k2        π - ref,    (π - ref)² / 2
    k3            exp(ref - π) - 1 - (ref - π)
    loss          clipped + β · k3, averaged over the tokens

    sequence      mean over completions of each one's mean over its tokens      (GRPO)
    token         sum over all tokens / number of all tokens                    (DAPO)
    constant      sum over all tokens / (number of completions · longest)       (Dr. GRPO)

**A drawing**: prompt P, G = 3, at most 3 tokens; e is the end token, * what the mask marks.

                 ┌──▶  P  4* e* e    reward 1    A =  1.41
    prompt P ────┼──▶  P  7* e* e    reward 0    A = -0.71
                 └──▶  P  4* 4* 4*   reward 0    A = -0.71    never ended: wrong

                 an e without * only fills the row up

**Why are some groups useless?**  If all answers are right, or all wrong, nobody is above the mean.
All advantages are 0.  DAPO draws other prompts instead.

**Why divide by the standard deviation, and why not?**  Divided, every prompt pulls equally hard.
But a prompt that is nearly always solved has a small std, so it pulls harder than it deserves.
Dr. GRPO leaves the division out.

**Why is 1 + high not 1 + low?**  A rare token with probability 0.01 may grow to 0.012 only, one
with 0.9 hits no bound.  So plain clipping keeps the rare ones rare, and the policy stops
exploring.  DAPO's "clip-higher" gives more room upwards.

**Why k3?**  All three look at tokens that the policy sampled.  The mean of k1 is KL(policy ‖
ref), but single values may be below 0 and far off.  The added term exp(ref - π) - 1 has mean 0.
So k3 has the same mean, is never below 0, and varies less when the two are close.  k2 isn't
unbiased.

**Why does it matter how you average?**  With "sequence" each token of a long answer counts less.
So a long wrong answer is punished less per token, and answers grow.  The other two treat tokens
alike.

**Worked by hand**

    rewards 1 0 0 0        mean 0.25, std 0.4330:  GRPO 1.7317 -0.5772 -0.5772 -0.5772
                           Dr. GRPO 0.75 -0.25 …      RLOO 1 -1/3 -1/3 -1/3
    π = log 0.5, ref = log 0.25      k1 = 0.6931   k2 = 0.2402   k3 = 0.5 - 1 + 0.6931 = 0.1931
    clipped, low 0.2, high 0.28      A = 2:   ρ = 1.5 gives -1.28 · 2 = -2.56;  ρ = 0.5 gives -1
                                     A = -1:  ρ = 1.5 gives 1.5;  ρ = 0.5 gives 0.8
    values 1 2 3 and 4     sequence (2 + 4) / 2 = 3;  token 10 / 4;  constant, longest 5: 10 / 10

**Shapes**: n prompts of P tokens, G completions each, m = n · G rows of L = P + length tokens.
Rewards are (n, G) for advantages; log-probs, values and masks are (m, L), advantages then (m,).
Floats are float32 or float64, and come out in the same dtype, on the same device.  Nothing is
empty.  No function changes its arguments.

**Steps.**

    sample_group      14 min   stop at the end token, and mark it
    verify             6 min   an answer that never ends is wrong
    token_log_probs    8 min   shift by one
    group_advantages   6 min   mean and std of the prompt's own group
                               (a good place for a pause)
    leave_one_out      5 min   the mean of the others
    informative        3 min   which groups teach anything?
    kl_estimate        5 min   mind the sign in k3
    clipped_loss       8 min   min of two, with two bounds
    aggregate          8 min   three ways to average
    grpo_loss          8 min   all together

In the tests a tiny GPT learns with your functions which of two numbers is the larger.  Nobody shows
it an answer: it is told only whether its own is right.

Sources: Shao et al. 2024, "DeepSeekMath" (GRPO); Ahmadian et al. 2024, "Back to Basics" (RLOO);
Yu et al. 2025, "DAPO"; Liu et al. 2025, "Understanding R1-Zero-Like Training" (Dr. GRPO); Schulman
2020, "Approximating KL Divergence".

From scratch: trl and torch.distributions may not be used.
"""

from torch import Generator, Tensor, nn


def sample_group(
    model: nn.Module, prompts: Tensor, group: int, length: int, end: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw `group` completions for each prompt: the tokens (m, L), int64, and their mask (m, L), bool.

    model    gives logits (b, t, V) for tokens (b, t) of any t; those at the last place are about the next token
    prompts  (n, P), int64, P ≥ 1.  They may contain `end`; that stops nothing

    - Rows i · G … i · G + G - 1 belong to prompt i.  Each begins with its prompt.
    - Each token is drawn from softmax(logits), and from `generator` alone, each row by itself.
    - A completion stops after its first `end`, or after `length` tokens.  L is always P + length: the rest is
      filled with `end`.
    - The mask is True at each drawn token of a completion, its first `end` included, and False elsewhere.
    - The model stays as it is, its mode included.
    """
    raise NotImplementedError


def verify(tokens: Tensor, mask: Tensor, answers: list[list[int]], end: int) -> Tensor:
    """The reward (m,), float32, of each row: 1 where its masked tokens are its answer and then `end`, else 0.

    - answers[i] is that of row i, without `end`.  It may be an empty list.
    - More than the answer, less, or no `end` is wrong.

    Raises ValueError, naming both numbers, if there aren't as many answers as rows.
    """
    raise NotImplementedError


def token_log_probs(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """The log-probability (m, L) of each masked token; 0 where the mask is False.

    - logits[:, t] predicts tokens[:, t + 1].  The first column is 0: nothing predicts it.
    - A token that isn't masked may be any integer, such as -100.
    - Gradients flow to the logits.  Logits of ±1000 must do no harm.
    """
    raise NotImplementedError


def group_advantages(rewards: Tensor, eps: float = 1e-4, whiten: bool = True) -> Tensor:
    """The advantages (n, G) of GRPO; without `whiten` those of Dr. GRPO.  G is at least 1, eps above 0.

    A group of equal rewards gets zeros, up to rounding.
    """
    raise NotImplementedError


def leave_one_out(rewards: Tensor) -> Tensor:
    """The advantages (n, G) of RLOO.

    Raises ValueError, naming G, if G is below 2.
    """
    raise NotImplementedError


def informative(rewards: Tensor) -> Tensor:
    """Whether the rewards of a group aren't all equal: bool (n,), for rewards (n, G)."""
    raise NotImplementedError


def kl_estimate(policy: Tensor, reference: Tensor, kind: str = "k3") -> Tensor:
    """An estimate of KL(policy ‖ reference) from each token, "k1", "k2" or "k3".

    Log-probs of any shape, the same for both, under the policy that sampled the tokens and the reference.
    Gradients flow to both.

    Raises ValueError, naming it, for any other kind.
    """
    raise NotImplementedError


def clipped_loss(new: Tensor, old: Tensor, advantages: Tensor, low: float = 0.2, high: float = 0.28) -> Tensor:
    """The clipped loss (m, L) of each token; advantages (m,) hold for all tokens of a row.

    No gradient flows to `old` or `advantages`, even if they require one.

    Raises ValueError, naming low or high and its value, unless 0 < low < 1 and high > 0.
    """
    raise NotImplementedError


def aggregate(values: Tensor, mask: Tensor, how: str = "sequence", longest: int | None = None) -> Tensor:
    """One number, of shape (), from values (m, L): the `how` is "sequence", "token" or "constant".

    - Values where the mask is False may be anything, NaN included.  They have no influence.
    - A row without a masked token counts as one with mean 0 in "sequence", and as a row in "constant".
      In "token" it adds nothing.  No masked token at all gives 0.
    - `longest` is used by "constant" alone.

    Raises ValueError, naming it, for any other `how`, and with the word "longest" if "constant" has none.
    """
    raise NotImplementedError


def grpo_loss(
    new: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    low: float = 0.2,
    high: float = 0.28,
    beta: float = 0.04,
    how: str = "sequence",
    longest: int | None = None,
) -> Tensor:
    """clipped_loss + beta · k3, aggregated: a tensor of shape ().

    - Gradients flow to `new` alone, also through k3.
    - Log-probs where the mask is False may be any finite numbers, ±1e6 included.  They have no influence, and
      their gradient is 0.
    - With beta = 0 `reference` isn't looked at, and may be None.

    Raises ValueError, with the word "reference", if it is None and beta isn't 0; and what `clipped_loss` and
    `aggregate` raise.
    """
    raise NotImplementedError
