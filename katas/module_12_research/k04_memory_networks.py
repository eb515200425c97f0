"""Memory networks: look up by key, by content and by place, and a machine that copies

**Before you start.**  You need softmax, cosine similarity and a layer in torch; you import no
other kata.  If recurrent networks are new: the kata recurrent_networks.

**The idea.**  A recurrent network keeps all it knows in one vector.  A long list doesn't fit.  So
give it a table beside it: a *memory* of N slots.  The network learns where to read and write.

You can't take gradients of "read slot 5".  So a read is soft.  It has a weight for each slot, all
weights sum to 1, and what you read is the weighted mean.  Now everything has a gradient.

First you build a *key-value memory*.  A question is compared with the keys, and you get a mix of
the values.  One lookup is a *hop*.  A second hop asks with what the first one found: "Where is
the ball?  Mary has it.  Where is Mary?"

Then you build a *Neural Turing Machine*, which also writes.  It finds a slot in two ways: by its
content, or by its place, as the neighbour of the last one.  With the right weights it copies a
list, as a program would.  A test sets the weights of its layers, and your machine has to copy.

**The formulas.**  M is the memory, row M_i is slot i.  w has one weight for each slot.

    hop          p = softmax over i of (q · key_i),    o = Σ_i p_i value_i,    q ← R (q + o)
    content      c_i = softmax over i of ( β · k · M_i / (|k| |M_i| + ε) )
    gate         w_i ← g c_i + (1 - g) w_i             the w on the right is that of the step before
    shift        w_i ← Σ_s kernel_s w_{i-s}            s = -reach … reach, i - s modulo N
    sharpen      w_i ← w_i^γ / Σ_j w_j^γ
    read         r = Σ_i w_i M_i
    write        M_i ← M_i ⊙ (1 - w_i e) + w_i a

R is a matrix, another one for each hop.  β is the strength, e the erase vector with numbers from
0 to 1, a the add vector.  ⊙ multiplies entry by entry.  The kernel's middle number is for s = 0,
the last one is for a step forward, to the slot with the next number.

A *head* makes all of this from the controller's output h, with one linear layer each:

    k = key(h)                   β = softplus(strength(h))      g = σ(gate(h))
    kernel = softmax(kernel(h))  γ = 1 + softplus(gamma(h))

One step of the machine, in this order.  M and r are zeros at first, and both w are 1 in the last
slot, 0 elsewhere.  (Any other slot would do for both: they stand in a circle.)

    h = tanh(controller([x, r]))             r of the step before
    writing ← write_head(h, M, writing)      then write, with e = σ(erase(h)) and a = add(h)
    reading ← read_head(h, M, reading)       then r is what it reads
    out = output([h, r])                     the new r

**A drawing**

    h ──▶ key, β ──▶ content ──┐
                               ├─▶ gate ──▶ shift ──▶ sharpen ──▶ w
    w of the step before ──────┘

           ▁ █ ▁ ▁              ▁ █ ▁ ▁    ▁ ▂ ▇ ▁    ▁ ▁ █ ▁
           by content           or stay    one on     and clear again

**Why shift and sharpen?**  A list has an order, and its entries may be equal.  Content can't tell
two equal entries apart; a step to the neighbour can.  But a soft shift blurs a little each time.
After ten steps the weights would be spread over all slots.  Sharpening undoes this.

**Why erase and add?**  Adding alone never forgets.  With e = 1 and a weight of 1 the slot is
emptied first, so it holds the new vector exactly.

**Worked by hand**

    hop       q = (1, 0), keys (0.6931, 0), (0, 5), values 3, 6:  weights 2/3 1/3, so o = 4
    content   M = (1, 0), (0, 2), (-1, 0), k = (1, 0), β = 0.6931, ε = 0:
              cosines 1 0 -1, so 2 1 0.5 over 3.5:  0.5714 0.2857 0.1429
    shift     w = 0.7 0.2 0.1, kernel 0 0.1 0.9:
              slot 0: 0.1 · 0.7 + 0.9 · 0.1 = 0.16,   and 0.65 0.19
    sharpen   γ = 2:  0.0256 0.4225 0.0361 over 0.4842:  0.0529 0.8726 0.0746
    write     M = (2, 4), (6, 8), w = 0.5 0, e = (1, 0.5), a = (1, 1):
              (2 · 0.5 + 0.5, 4 · 0.75 + 0.5) = (1.5, 3.5),   the other row stays (6, 8)

**Shapes**: memories and keys are (..., N, W), values (..., N, V), vectors (..., W), weights (...,
N), β and γ (...,), with the same leading axes.  Results have the dtype and the device of what
comes in, and gradients flow.  No function changes its arguments.

**Steps.**  A good place to pause is after sharpen.

    key_value_read     8 min   a mask for slots that aren't there
    KeyValueMemory     7 min   question and answer are added
    content_weights    8 min   a slot of zeros has no direction
    shift              8 min   round the circle, and which way
    sharpen            7 min   small numbers to high powers
    read_memory        3 min   a weighted mean
    write_memory       6 min   an outer product, twice
    Head              12 min   five layers, four steps
    NTM               14 min   write, then read

Sources: Graves, Wayne and Danihelka 2014, "Neural Turing Machines"; Miller et al. 2016,
"Key-Value Memory Networks for Directly Reading Documents"; Sukhbaatar et al. 2015, "End-To-End
Memory Networks".

From scratch: torch.nn.functional.cosine_similarity, torch.cosine_similarity,
torch.nn.CosineSimilarity and torch.nn.functional.scaled_dot_product_attention may not be used.
"""

from torch import Tensor, nn


def key_value_read(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """o (..., V) for the query (..., W), keys (..., N, W) and values (..., N, V).  The scores aren't scaled.

    mask   bool (..., N): False where there is no memory; such a slot gets the weight 0.  None: all are there

    Raises ValueError, naming the place of the first such row if the leading axes are taken as one, if a row of mask
    has no True.
    """
    raise NotImplementedError


class KeyValueMemory(nn.Module):
    """Several hops.

    maps   nn.ModuleList of one nn.Linear(width, width) a hop, without bias: the R
    """

    def __init__(self, width: int, hops: int) -> None:
        raise NotImplementedError

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """The question (..., width) after all hops; keys and values are (..., N, width), mask as in key_value_read."""
        raise NotImplementedError


def content_weights(memory: Tensor, key: Tensor, strength: Tensor, eps: float = 1e-6) -> Tensor:
    """c (..., N).  eps is the ε.  Slots or keys of zeros give the cosine 0, and no NaN in any gradient."""
    raise NotImplementedError


def shift(weights: Tensor, kernel: Tensor) -> Tensor:
    """The shifted weights (..., N); kernel is (..., 2 · reach + 1), and may be longer than N.

    Raises ValueError, naming the number of its entries, if that is even.
    """
    raise NotImplementedError


def sharpen(weights: Tensor, gamma: Tensor) -> Tensor:
    """The sharpened weights (..., N); weights are at least 0, and one of a row is above 0.

    A gamma of 1000 gives no NaN and no infinity, neither here nor in the gradients: also where all weights are small,
    and where some are 0.
    """
    raise NotImplementedError


def read_memory(memory: Tensor, weights: Tensor) -> Tensor:
    """r (..., W)."""
    raise NotImplementedError


def write_memory(memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """The memory (..., N, W) after erasing and adding."""
    raise NotImplementedError


class Head(nn.Module):
    """Where to read or to write.

    key, strength, gate, kernel, gamma   nn.Linear from `hidden` to width, 1, 1, 2 · reach + 1 and 1, with biases
    """

    def __init__(self, hidden: int, width: int, reach: int = 1) -> None:
        raise NotImplementedError

    def forward(self, h: Tensor, memory: Tensor, previous: Tensor) -> Tensor:
        """The weights (B, N), from h (B, hidden), memory (B, N, width) and the weights (B, N) of the step before."""
        raise NotImplementedError


class NTM(nn.Module):
    """A Neural Turing Machine with one head for reading and one for writing, both with a reach of 1.

    controller              nn.Linear(inputs + width, hidden)
    read_head, write_head   Head
    erase, add              nn.Linear(hidden, width)
    output                  nn.Linear(hidden + width, outputs)

    All have biases.  Memory and weights at the start aren't trained.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, slots: int, width: int) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, inputs), T ≥ 1, to (B, T, outputs).  Every call begins with an empty memory."""
        raise NotImplementedError
