"""Mechanistic interpretability: find the circuit, and break it to be sure

**Before you start.**  You need the transformer: residual stream, heads, unembedding (gpt), and
forward hooks in torch.  You import no other kata.  If the subject is new: Elhage et al., "A
Mathematical Framework for Transformer Circuits", up to the part on two layers.

**The idea.**  A language model reads "… Mr Dursley … Mr" and says "Dursley".  Which of its parts
did that, and how?  You can look at every number inside.  The trouble is that there are millions.

A transformer makes it easier than it looks.  All layers read from one *residual stream* and add
to it.  So the final logits are a sum, with one term for each head and each MLP.  You can read the
stream after any layer as if it were the last: the *logit lens*.  You can split a logit into what
each part has added: *direct logit attribution*.

But a part that adds nothing itself may feed one that does.  To find causes, you must intervene.
Run the model on a corrupted input, put back *one* activation of the clean run, and see whether
the answer comes back.  That is *activation patching*.

The best-known circuit has two heads.  The *previous-token head* marks each position with the
token before it.  The *induction head* looks for positions that are marked with the current token,
and copies the token that stands there.

**The formulas.**

    lens          logits_l = norm(residual_l) U^T
    stream        x = Σ_p part_p            logit of token t = ( x / rms(x) · g ) · U_t
    attribution   of part p:                ( part_p / rms(x) · g ) · U_t
    rms           sqrt( mean of x² + eps )
    patching      ( m(patched) - m(corrupt) ) / ( m(clean) - m(corrupt) )
    ablation      m(unit j replaced by its mean) - m(unchanged)
    induction     mean over i = n … 2n - 1 of  attention from i to i - n + 1
    previous      mean over i = 1 … m - 1 of  attention from i to i - 1
    OV circuit    E W_v W_o U^T             row: the token attended to, column: the logit it raises
    copying       share of tokens whose own logit is above all others of its row

U (V, d) holds a row for each token, E (V, d) as well.  g is the gain of the last RMSNorm.  W_v
and W_o are a head's value and output matrices.  Position i - n + 1 stands behind the first copy
of token i.  m is a metric: any number made of the logits, such as the right one minus a wrong
one.

**A drawing**: an induction head at work, on  a b c a b c  (n is 3).  It reads the second a.

    position     0     1     2     3
    token        a     b     c     a  ─── looks for a position marked with a
    mark         -     a     b     c
                       │           ▲
                       └───────────┘     finds position 1, copies its token: b

**Why patch the clean activation into the corrupted run?**  You could delete a part instead.  But
zero is not neutral: later layers have never seen it.  A clean activation is one that the model
makes itself.  Only what differs between the two inputs is moved.  For the same reason an ablation
replaces a unit by its mean.

**Why is rms(x) the same for all parts?**  The norm depends on the whole stream.  Taking each
part's own would answer another question, and the parts would no longer sum to the logit.

**Why random tokens?**  On real text a head may look at the right place for many reasons.  In
random tokens, repeated once, there is only one way to know what comes next.

**Worked by hand**

    attribution   parts (3, 0) and (1, 4), g = (1, 2), eps = 0, U_t = (1, 1)
                  x = (4, 4), rms 4:   3/4  and  1/4 + 2 = 9/4;   together 3
    patching      m is 5 clean, 1 corrupt, 4 patched:   3/4
    settles       the best token by layer: 7 2 7 7, target 7:   from layer 2 on
    induction     n = 3:  attention from 3 to 1, from 4 to 2, from 5 to 3
    copying       rows 2 1 / 3 3:  only the first is above, 1/2

**Shapes**: residuals and parts (B, n, d), logits (B, n, V), attention (B, H, m, m): row i of the
last two axes is where position i looks.  A hook point is a submodule of any nn.Module, named as
in `named_modules()`, that runs once and returns one tensor.  Results have the dtype and the
device of what comes in.  No function changes its arguments; hooks are gone afterwards.

**Steps.**  A good place to pause is after activation_patching.

    hooked                    10 min   a context manager that cleans up
    capture                    5 min   copies
    logit_lens                 4 min   the norm belongs to it
    settles                    7 min   from which layer on
    direct_logit_attribution   9 min   one scale for all
    activation_patching       15 min   one position at a time
    unit_ablation              9 min   means, not zeros
    repeated_tokens            4 min   no token twice
    induction_scores           6 min   which diagonal
    previous_token_scores      3 min   the one below
    ov_circuit                 4 min   four matrices
    copying_score              4 min   strictly the largest

Sources: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al.
2022, "In-context Learning and Induction Heads"; nostalgebraist 2020, "interpreting GPT: the logit
lens"; Meng et al. 2022, "Locating and Editing Factual Associations in GPT" (causal tracing).

From scratch: transformer_lens and nnsight may not be used.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from torch import Generator, Tensor, nn

Change = Callable[[Tensor], Tensor | None]


def hooked(model: nn.Module, changes: Mapping[str, Change]) -> AbstractContextManager[None]:
    """`with hooked(model, {"layers.0": f}):` calls f on that submodule's output whenever it runs in the block.

    What f returns takes the place of the output; if it returns None, the output stays.  After the block, also if it
    raises, the hooks are gone.  Hooks that were there before stay.

    Raises ValueError, naming the name, if there is no such submodule.  Then no hook is left.
    """
    raise NotImplementedError


def capture(model: nn.Module, names: Sequence[str], *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The model's output for the inputs, and by name the output of each named submodule.

    Nothing carries a graph.  The outputs are copies, made when the submodule returns: a later layer that works in
    place doesn't change them.
    """
    raise NotImplementedError


def logit_lens(residuals: Sequence[Tensor], norm: Callable[[Tensor], Tensor], unembed: Tensor) -> Tensor:
    """The logits (L, B, n, V) that the model would give after each of L ≥ 1 layers; unembed is U.  Gradients flow."""
    raise NotImplementedError


def settles(logits: Tensor, target: Tensor) -> Tensor:
    """The first layer (B, n), int64, from which on the best token is the target in every layer up to the last.

    logits  (L, B, n, V)
    target  (B, n), int64

    If it isn't the target in the last layer, the answer is L.
    """
    raise NotImplementedError


def direct_logit_attribution(
    parts: Mapping[str, Tensor], gain: Tensor, eps: float, unembed: Tensor, target: Tensor
) -> dict[str, Tensor]:
    """By name what each part (B, n, d) adds to the target's logit, (B, n).  Their sum is that logit.  Gradients flow.

    gain     (d,): g
    eps      above 0 or 0, inside the root
    target   (B, n), int64
    """
    raise NotImplementedError


def activation_patching(
    model: nn.Module,
    clean: Tensor,
    corrupt: Tensor,
    names: Sequence[str],
    metric: Callable[[Tensor], Tensor],
) -> Tensor:
    """The lesson's `patching` (len(names), n): in row r, column i, only position i of the output of names[r] is patched.

    model           takes tokens (B, n), gives logits; the named outputs are (B, n, …)
    clean, corrupt  tokens (B, n), of one shape
    metric          takes the logits, gives a number without axes

    The result carries no graph.

    Raises ValueError, naming the metric's value, if it is the same for clean and corrupt.
    """
    raise NotImplementedError


def unit_ablation(model: nn.Module, name: str, inputs: Tensor, metric: Callable[[Tensor], Tensor]) -> Tensor:
    """The lesson's `ablation` (width,) for each unit of a submodule whose output is (…, width).

    Unit j is [..., j].  Everywhere it is replaced by its mean over all other axes, in the unchanged run on these
    inputs.  The result carries no graph.
    """
    raise NotImplementedError


def repeated_tokens(batch: int, n: int, vocab: int, generator: Generator) -> Tensor:
    """Tokens (batch, 2n), int64 on the CPU: in each row n random ones, and then the same n again.

    No token stands twice among the n.  Every token, at every place, is equally likely; rows are drawn apart.

    Raises ValueError, naming n and vocab, if n is larger.
    """
    raise NotImplementedError


def induction_scores(attention: Tensor) -> Tensor:
    """For each head its induction score (H,), the mean over the batch as well; attention is (B, H, 2n, 2n)."""
    raise NotImplementedError


def previous_token_scores(attention: Tensor) -> Tensor:
    """For each head its score (H,) as a previous-token head, the mean over the batch as well; m is at least 2."""
    raise NotImplementedError


def ov_circuit(embed: Tensor, w_v: Tensor, w_o: Tensor, unembed: Tensor) -> Tensor:
    """The OV circuit (V, V) of a head with w_v (d, k) and w_o (k, d), which multiply from the right.  Gradients flow."""
    raise NotImplementedError


def copying_score(circuit: Tensor) -> float:
    """The copying score of an OV circuit (V, V), V ≥ 2, a Python float.  A tie isn't above."""
    raise NotImplementedError
