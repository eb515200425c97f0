"""Linear attention: a memory of fixed size, three ways to compute it, and the delta rule

**Before you start.**  You need attention (the kata attention) and products of batches of
matrices; you import no other kata.  If linear attention is new: Katharopoulos et al. 2020,
section 3.

**The idea.**  You want attention over 100,000 tokens.  Softmax attention compares every query
with every key: 10 billion scores.  And when it writes a text, it keeps all keys and values.

Replace the similarity exp(q · k) by a product of *features*, φ(q) · φ(k).  Now you can move the
brackets.  (φ(q) φ(k)ᵀ) v becomes φ(q) (φ(k)ᵀ v).  The product on the right is one small matrix,
the *memory*.  It doesn't grow with the text.

With a causal mask, each token adds its key and value to the memory, and then reads.  That is a
recurrence: good for writing, slow for training.  The quadratic form is fast on a GPU, but grows
with n².  The *chunked* form is between them: quadratic inside a chunk, a memory from chunk to
chunk.  All three give the same numbers.

A sum never forgets.  Write two values under one key, and you read a mix.  The *delta rule* first
reads what the memory holds under the key.  Then it writes the difference only.  So the new value
replaces the old one.

**The formulas.**  From here on q and k are features: φ is applied already.  Row i is token i.

    elu + 1       φ(x) = x + 1 for x > 0,   exp(x) otherwise                     entry by entry
    random        φ(x)_i = exp(w_i · x - |x|² / 2) / √m                 w_i is row i of m rows
    attention     o_i = Σ_j (q_i · k_j) v_j / Σ_j (q_i · k_j)           causal: j ≤ i
    recurrent     S_i = S_{i-1} + k_i v_iᵀ,   z_i = z_{i-1} + k_i
                  o_i = q_i S_i / (q_i · z_i)                           S_{-1} = 0, z_{-1} = 0
    chunked       O = (M V + Q S) / (Σ_j M_ij + q_i · z)                M is Q Kᵀ with 0 for j > i
                  then S ← S + Kᵀ V,   z ← z + Σ_j k_j
    delta rule    S_i = S_{i-1} + β_i k_i (v_i - k_iᵀ S_{i-1})
                  o_i = q_i S_i                                         no normaliser
    its chunks    (I + A) U = diag(β) (V - K S)                     A_ij = β_i k_i · k_j for j < i
                  O = Q S + M U,   then S ← S + Kᵀ U                A_ij = 0 for j ≥ i

S is (d, e): d features, values of e numbers.  z is (d,).  In the chunked forms Q, K and V are the
rows of one chunk, S and z are what came before it.  β_i, from 0 to 1, says how much is replaced.
The delta rule expects keys of length 1.  It doesn't make them so.

If the rows w are normal, φ(q) · φ(k) is exp(q · k) on average.  So random features come near to
softmax attention.  For its scores q · k / √d, divide q and k by d^¼ first.

**A drawing**, chunks of two tokens

          keys    0 1   2 3   4          S holds, when chunk c is read
    queries 0     M .   . .   .          chunk 0   nothing
            1     M M   . .   .          chunk 1   keys 0 1
            2     S S   M .   .          chunk 2   keys 0 1 2 3
            3     S S   M M   .
            4     S S   S S   M          M from scores, S from the memory

**Why must features be positive?**  The weights are divided by their sum.  With mixed signs the
sum may come near 0, and the output is anything.

**Why does U solve a system?**  U_i is what token i really writes: β_i times its value, less what
it finds under its key.  Part of what it finds was written by the tokens before it in the same
chunk.  So U_i depends on U_0 … U_{i-1}.  Written as one equation, that is a triangular system.

**Worked by hand**

    elu + 1      -1 0 2:  0.3679 1 3
    random       w = (1, 0), (0, 1), x = (1, 2):  exp(-1.5)/√2 = 0.1578,  exp(-0.5)/√2 = 0.4289
    attention    k = (1, 0), (1, 1),  v = 2, 5,  q = (1, 1), (2, 1)
                 causal: o_0 = 2,   o_1 = (2 · 2 + 3 · 5) / 5 = 3.8
                 not causal: o_0 = (1 · 2 + 2 · 5) / 3 = 4
    recurrent    S = (7, 5), z = (2, 1):  o_1 = 19 / 5 = 3.8
    delta rule   k = (1, 0), (0.6, 0.8), (1, 0),  v = 2, 5, 7,  β = 1, 0.5, 1,  q = (1, 0)
                 S = (2, 0):  reads 2
                 key 1 finds 1.2, writes 0.5 · 3.8 = 1.9 times its key: S = (3.14, 1.52), reads 3.14
                 key 2 finds 3.14, writes 3.86: S = (7, 1.52), reads 7.  The 2 is gone
    its chunk    row 1 of A is 0.3:  U_1 = 0.5 · 5 - 0.3 · 2 = 1.9

**Shapes**: q is (..., n, d), k (..., m, d), v (..., m, e), with the same leading axes; n = m,
except in quadratic_attention and linear_attention.  β is (..., n).  n and m are at least 1.
Results have the dtype and the device of what comes in, and gradients flow.  No function changes
its arguments.

**Steps.**  A good place to pause is after recurrent_attention.

    elu_features               5 min   infinity times 0
    positive_random_features   7 min   two axes that differ
    quadratic_attention        7 min   mask, then normalise
    linear_attention           6 min   move the brackets
    recurrent_attention       10 min   write, then read
    chunked_attention         14 min   M and S together
    delta_rule                10 min   read before you write
    chunked_delta_rule        15 min   a triangular system

Sources: Katharopoulos et al. 2020, "Transformers are RNNs"; Choromanski et al. 2020, "Rethinking
Attention with Performers"; Schlag, Irie and Schmidhuber 2021, "Linear Transformers Are Secretly
Fast Weight Programmers"; Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule
over Sequence Length".

From scratch: torch.nn.functional.elu, torch.nn.ELU, transformers, fla and
torch.nn.functional.scaled_dot_product_attention may not be used.  torch.linalg may.
"""

from torch import Tensor

State = tuple[Tensor, Tensor]


def elu_features(x: Tensor) -> Tensor:
    """φ of elu + 1.  The gradient is finite for every finite x, also for 1000 and -1000."""
    raise NotImplementedError


def positive_random_features(x: Tensor, projection: Tensor) -> Tensor:
    """The random features (..., n, m) of x (..., n, d); projection is (m, d), its rows are the w."""
    raise NotImplementedError


def quadratic_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """o (..., n, e) from all scores.

    Raises ValueError, naming n and m, if it is causal and they differ.
    """
    raise NotImplementedError


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What quadratic_attention gives without a mask; makes no tensor with n · m entries or more, if d and e are small."""
    raise NotImplementedError


def recurrent_attention(q: Tensor, k: Tensor, v: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Causal: o (..., n, e), and the state (S, z) after the last token, (..., d, e) and (..., d).

    state   S and z before the first token; None: zeros
    """
    raise NotImplementedError


def chunked_attention(q: Tensor, k: Tensor, v: Tensor, size: int, state: State | None = None) -> tuple[Tensor, State]:
    """What recurrent_attention gives, by chunks of `size` tokens.  The last one may be shorter.

    - Walks over the chunks, not over the tokens.
    - Makes no tensor with n² entries or more, if d, e and size are small.

    Raises ValueError, naming size, if it is below 1.
    """
    raise NotImplementedError


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """o (..., n, e) of the delta rule, token by token, and the last S (..., d, e).

    memory   S before the first token; None: zeros
    """
    raise NotImplementedError


def chunked_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, size: int, memory: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What delta_rule gives, by chunks of `size` tokens.  The last one may be shorter.

    Walks over the chunks, not over the tokens.  torch.linalg solves the system.

    Raises ValueError, naming size, if it is below 1.
    """
    raise NotImplementedError
