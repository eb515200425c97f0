"""Adapters, prefixes, prompts and IA³

**Before you start.**  You need nn.Module with its named modules, requires_grad, and attention with
heads; no other kata.  If attention is new: Vaswani et al. 2017, sections 3.1 to 3.2.2.

**The idea.**  You have one large model and twenty tasks.  You want a small file per task, and the
same frozen model for all.  There are four places where a few new weights can steer a transformer.

- *Adapters*: a small network after a sublayer.  It squeezes the states and widens them again.
- *IA³*: a number for each key, each value and each hidden unit.  It turns that channel up or down.
- *A soft prompt*: vectors before the first token, as if they were words.  You learn the vectors.
- *A prefix*: keys and values before those of the tokens, in every layer.

**The formulas.**  The model is frozen.  All else is trained: D, U and their biases, ℓ, P, K', V'.

    adapter    y = h + U · relu(D h + d) + u    h = sublayer(x), D (size, width), U (width, size)
    IA³        y = ℓ ⊙ (W x + b)                of keys and values: ℓ is as long as y
               y = W (ℓ ⊙ x) + b                of the feed-forward's second matrix: as long as x
    prompt     states = [P; token embeddings]   P (length, width)
    prefix     y = softmax(q [K'; K]ᵀ / √d) [V'; V]     K', V' (length, d), for each head

**A drawing**: one block of the transformer, and where each method sits.

    [P P P] x x x        P: the soft prompt, before the first block
            │
            ├───────────────────────────────────────────────────────┐
            ├─▶ q ──────────────────────────┐                       │
            ├─▶ k ─▶ · ℓ ─▶ [K' K' k k k] ──┼─▶ attend ─▶ adapter ─▶ +
            └─▶ v ─▶ · ℓ ─▶ [V' V' v v v] ──┘                       │
            ┌───────────────────────────────────────────────────────┘
            ├───────────────────────────────────────────────────────┐
            └─▶ W1 ─▶ relu ─▶ · ℓ ─▶ W2 ─────────────▶ adapter ────▶ +
                                                                    │
                                                                    ▼

Houlsby et al. put an adapter at both places.  Pfeiffer et al. keep the second alone: half the
weights, nearly the same results.

**Why start at the identity?**  On the first step the model should be the one that you have.  An
adapter with U = 0 and u = 0 adds nothing.  IA³ with ℓ = 1 changes nothing.

**Why can't a prefix start there?**  Softmax shares out a weight of 1.  A prefix takes its share λ,
and the tokens keep 1 - λ:  y = (1 - λ) · y of the tokens + λ · y of the prefix.  A prefix of zeros
has the score 0, not -∞.  So it takes a share, too, and pulls y towards 0.  A soft prompt is read
just as tokens are.  So begin with the vectors of real words.

**Why a network that makes the prefix?**  Training K' and V' directly is unstable.  So a small
vector for each place goes through two layers that give all keys and values.  Once trained, you
compute these one time, keep them, and throw the network away.

**What costs time afterwards?**  IA³ can be multiplied into W, and costs nothing.  An adapter has
relu in it, so it can't be merged.  A prompt or a prefix makes every sequence longer.

**Worked by hand**

    adapter   h = [2 5], D = [1 -1], d = 4, U = [0.1; 0.2], u = [0 1]:
              relu(2 - 5 + 4) = 1,  y = [2 5] + [0.1 0.2] + [0 1] = [2.1 6.2]
              h = [0 5]:  relu(-1) = 0,  y = [0 6]
    IA³       W = [1 0; 2 1], b = [0.5 0], x = [2 5], ℓ = [2 0.1]:
              on the outputs  ℓ ⊙ [2.5 9] = [5 0.9]     merged: W = [2 0; 0.2 0.1], b = [1 0]
              on the inputs   W [4 0.5] + b = [4.5 8.5] merged: W = [2 0; 4 0.1], b as it was
    prefix    q = 1, keys 0 and log 2, values 3 and 6:  (1 · 3 + 2 · 6) / 3 = 5
              K' = log 3, V' = 1:  (3 · 1 + 1 · 3 + 2 · 6) / 6 = 3;  λ = 3/6
              K' = 0, V' = 0:      (1 · 0 + 1 · 3 + 2 · 6) / 4 = 3.75
    counts    2 layers, width 4, ff 8, size 1, length 3, hidden 5:  Houlsby 52, Pfeiffer 26,
              IA³ 32, prompt 12, prefix 48, and with its network 133
              Llama 7B, size 64, length 20:  Pfeiffer 16.9 million, prefix 5.2 million,
              IA³ 614 400, prompt 81 920

**Shapes**: n texts of L tokens.  States are (n, L, width).  Whatever is made from a module or from
tensors has their dtype and device.  No function changes its arguments, but for what is there to be
changed: the base that is frozen, and the model.

**Steps.**

    AdapterLayer       8 min   what is 0 at first?
    insert_adapters   10 min   which names match?  check all before you change anything
    IA3Linear          6 min   two places for one vector
    insert_ia3         6 min   as insert_adapters
    merge_ia3          5 min   the bias, too
                               (a good place for a pause)
    SoftPrompt        10 min   mask and labels get longer, too
    Prefix            14 min   one row holds all layers
    prefix_attention   6 min   one softmax over both
    parameter_counts   5 min   biases count
    adapter_state      6 min   the new weights alone

In the tests, a small transformer learns four tasks, each with a word of its own.  Then it loses its
words.  Each of your methods finds the task again, from examples.

Sources: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP"; Pfeiffer et al. 2021,
"AdapterFusion"; Li and Liang 2021, "Prefix-Tuning"; Lester et al. 2021, "The Power of Scale for
Parameter-Efficient Prompt Tuning"; Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is
Better and Cheaper than In-Context Learning" (IA³); He et al. 2022, "Towards a Unified View of
Parameter-Efficient Transfer Learning" (the share λ); the library peft.

From scratch: peft and transformers may not be used.
"""

from collections.abc import Sequence

from torch import Generator, Tensor, nn


class AdapterLayer(nn.Module):
    """A sublayer, frozen, with an adapter after it.

    base      the module that it was given, itself, no copy
    down, up  two nn.Linear with bias: from `width` to `size`, and from `size` to `width`

    Its state_dict() has the base's entries as base.…, and down.weight, down.bias, up.weight and up.bias.
    """

    def __init__(self, base: nn.Module, width: int, size: int, generator: Generator | None = None) -> None:
        """Freeze `base`, whose states are `width` wide, and put an adapter of `size` after it.

        - Frozen: no parameter of the base requires a gradient, and their .grad is None.  Those of `down` and
          `up` require one.
        - down.weight is drawn uniformly from -1/√width to 1/√width, from `generator`: the same state gives the
          same weights.  Without one it is drawn from torch's own.  Both biases and up.weight are 0.
        - dtype and device are those of the base's first parameter.  It has one.

        Raises ValueError if size < 1, naming "size" and its value.  The base stays as it is then.
        """
        raise NotImplementedError

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        """y (..., width).  The base is called once, with all that came, and gives h (..., width)."""
        raise NotImplementedError


def insert_adapters(
    model: nn.Module, targets: list[str], width: int, size: int, generator: Generator | None = None
) -> list[str]:
    """Put an AdapterLayer in the place of each module of `model` that `targets` names, and freeze all else.

    - A target names a module if it is the module's whole name, or its end after a dot.  "mlp" and "0.mlp" name
      "blocks.0.mlp"; neither "lp" nor "blocks.0" does.  The model itself has no name.
    - A module that several targets name gets one adapter.
    - Afterwards the parameters of `down` and `up` alone require a gradient.  The .grad of all that is frozen is
      None.
    - Each layer draws its own weights, from the one `generator`.

    No module stands in two places, and of two modules that are named none holds the other.

    Returns the full names of the adapted modules, in the order of model.named_modules().

    Raises ValueError, for the first of these, and leaves the model as it was,
    - naming "targets" if the list is empty,
    - naming "already" if the model has an AdapterLayer or an IA3Linear in it,
    - naming the target if no module has that name,
    - as AdapterLayer does for `size`.
    """
    raise NotImplementedError


class IA3Linear(nn.Module):
    """An nn.Linear, frozen, with a factor for each of its outputs, or for each of its inputs.

    base    the nn.Linear that it was given, itself, no copy
    inputs  whether the factors are those of the inputs
    ia3_l   the factors: a Parameter (out, 1), or (1, in) if `inputs`.  These are peft's shapes

    Its state_dict() has base.weight, base.bias if there is one, and ia3_l.
    """

    def __init__(self, base: nn.Linear, inputs: bool = False) -> None:
        """Freeze `base` as AdapterLayer does.  All factors are 1, and require a gradient."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """y (..., out) for x (..., in), with the lesson's formula for outputs, or for inputs."""
        raise NotImplementedError


def insert_ia3(model: nn.Module, outputs: list[str], inputs: list[str]) -> list[str]:
    """Put an IA3Linear in the place of each nn.Linear of `model` that is named, and freeze all else.

    outputs  targets whose outputs get the factors: of a transformer, the keys and the values
    inputs   targets whose inputs get them: the second matrix of the feed-forward.  One list may be empty

    - Targets name a layer as in `insert_adapters`, but nn.Linear alone, subclasses included.  Other modules of
      that name are left in place.
    - Afterwards the factors alone require a gradient.  The .grad of all that is frozen is None.

    The model itself is no nn.Linear, none stands in two places, and no weight of theirs is shared.

    Returns the full names of the layers, in the order of model.named_modules().

    Raises ValueError, for the first of these, and leaves the model as it was,
    - naming "outputs" and "inputs" if both lists are empty,
    - naming "already" if the model has an AdapterLayer or an IA3Linear in it,
    - naming the target if no nn.Linear has that name,
    - naming the layer, by its full name, if both lists name it.  Of several name one.
    """
    raise NotImplementedError


def merge_ia3(model: nn.Module) -> None:
    """Multiply all factors into their bases, and put each base back in its layer's place.

    - `model` gives the same answers as before, but for rounding, and has its old names.
    - The bases are the same objects, and so are their Parameters, which stay frozen.
    - AdapterLayers stay, and a model without an IA3Linear stays as it is.
    """
    raise NotImplementedError


class SoftPrompt(nn.Module):
    """Vectors that stand before those of the tokens.

    weight  a Parameter (length, width), the only one, and the only entry of the state_dict()
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        length: int,
        ids: Sequence[int] | None = None,
        generator: Generator | None = None,
    ) -> None:
        """Begin with the vectors of real tokens.

        - With `ids`: their rows of `embedding`, in order.  If there are fewer than `length`, begin again with the
          first; if there are more, take the first `length`.
        - Without: each row is that of a token that is drawn from `generator`, or without one from torch's own.
          All tokens of the vocabulary are as likely, and one may come twice.
        - The rows are copies.  `embedding` isn't changed, and isn't frozen either.

        Raises ValueError, naming "length" and its value, if it isn't at least 1; naming "ids" if they are an empty
        sequence; and naming the first of `ids` that isn't in 0 … vocabulary - 1.
        """
        raise NotImplementedError

    def forward(
        self, states: Tensor, mask: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the model gets instead of the tokens' own.

        states  (n, L, width): the embeddings of the tokens
        mask    (n, L): 1 or True at real tokens
        labels  (n, L), int64, or None

        Returns (states, mask, labels), each with length + L in place of L.  The prompt stands first, also where
        padding follows.  Its mask is 1 (True), of the dtype of `mask`, and its labels are -100: no loss there.
        Without labels the third is None.
        """
        raise NotImplementedError


class Prefix(nn.Module):
    """Keys and values of `length` places that aren't there, for every layer.

    embedding  an nn.Embedding (length, layers · 2 · width); with `hidden`: (length, width)
    transform  with `hidden` alone: nn.Sequential of a Linear from width to hidden, Tanh, and a Linear from hidden
               to layers · 2 · width

    The state_dict() has the parameters of these two, and nothing else.  These are peft's names.
    """

    def __init__(
        self,
        layers: int,
        heads: int,
        width: int,
        length: int,
        hidden: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        """Make a prefix in torch's default dtype, on the CPU.  `width` is that of all heads together.

        All weights are drawn from `generator`, or without one from torch's own.  The same state gives the same
        weights.  How they are drawn is yours to choose, but the keys differ from place to place.

        Raises ValueError, naming "width", "heads" and both values, if heads doesn't divide width.
        """
        raise NotImplementedError

    def forward(self, n: int) -> list[tuple[Tensor, Tensor]]:
        """For each layer its keys and its values, both (n, heads, length, width/heads), the same for all n texts.

        A place has a row of layers · 2 · width numbers: that of `embedding`, or what `transform` makes of it.  In
        this row stand the key of layer 0, its value, the key of layer 1, its value, and so on, `width` numbers
        each.  These are cut into heads: first those of head 0, then those of head 1, and so on.
        """
        raise NotImplementedError

    def baked(self) -> "Prefix":
        """A Prefix without `hidden` that gives the same keys and values.  This is what you keep of a prefix.

        It has the same dtype and is on the same device.  It shares no memory with this one, and its weights
        require a gradient.  Without `hidden` it is a copy.
        """
        raise NotImplementedError


def prefix_attention(
    q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Attention (..., L, e) with a prefix before the tokens.

    q                   (..., L, d)
    k, v                (..., M, d) and (..., M, e)
    prefix_k, prefix_v  (..., length, d) and (..., length, e).  length may be 0 if no query is blind
    mask                bool, of a shape that broadcasts to (..., L, M): True where a query may look at a token.
                        None: at all

    Every query sees the whole prefix.  One whose mask is False everywhere sees the prefix alone.
    All leading dimensions of the tensors are equal.
    """
    raise NotImplementedError


def parameter_counts(layers: int, width: int, ff: int, size: int, length: int, hidden: int) -> dict[str, int]:
    """How many numbers each method trains, for a transformer of `layers` blocks.

    width   of states, keys and values; ff that of the feed-forward's inner layer
    size    of an adapter; length of a prompt or prefix; hidden of the network that makes a prefix

    The keys are "houlsby", "pfeiffer", "ia3", "prompt", "prefix" (without hidden), "prefix_hidden" (all that is
    trained with it).  IA³ has factors for keys, values, and the inputs of the second matrix.  Biases count.
    """
    raise NotImplementedError


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The new weights alone: those of AdapterLayers (`down` and `up`), IA3Linears, SoftPrompts and Prefixes.

    - The names are those of model.state_dict().  So model.load_state_dict(state, strict=False) brings them back.
    - They are copies, without gradient, of the same dtype and on the same device.
    - It doesn't matter what requires a gradient.  `model` may be one of these modules itself.
    - A model without them has {}.
    """
    raise NotImplementedError
