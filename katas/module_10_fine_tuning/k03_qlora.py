"""QLoRA

**Before you start.**  You need LoRA (k02_lora: frozen W, thin A and B) and NF4's 16 values.  For
these you may use yours (the reference's are used until yours are green):

    from katas.module_08_efficient_computing.k11_weight_only_quantization import nf4_codebook

It gives a numpy array of 16 float64.  You also need torch.autograd.Function; if it is new, read
"Extending PyTorch" in torch's documentation.

**The idea.**  LoRA trains few weights, but the frozen ones still fill the memory: 14 GB for 7
billion in float16.  QLoRA keeps them in 4 bits, which takes 3.6 GB.  Each call makes the floats of
one layer, uses them and drops them.  The adapters stay in floats, and they alone are trained.

**The formulas.**  The weights are taken row by row, in blocks of 64.  c holds the 16 values of NF4.

    absmax = max |w| of the block
    q = index of the c nearest to w / absmax          ŵ = absmax · c[q]

*Double quantization.*  One float32 absmax for 64 weights is half a bit per weight.  So the absmax
are quantized, too, in groups of 256, around the mean m of all of them:

    s = max |absmax - m| / 127 of the group     k = round((absmax - m) / s)     absmax' = s · k + m

k is an int8.  (The paper uses 8-bit floats here; whole numbers do the same job.)  The layer:

    y = x Ŵᵀ + b + alpha / r · B (A x)            Ŵ from q and absmax', made anew at each call

**A drawing** of what is stored, and what is made for a moment:

      4 bits a weight       1 byte a block     float32 a group, and m
    ┌────────────────┐     ┌─────────────┐     ┌──────────────┐
    │ q0 q1 │ q2 q3 …│     │  k0  k1  …  │     │  s0 s1 …   m │
    └───────┬────────┘     └──────┬──────┘     └──────┬───────┘
            │                     └──▶ absmax' ◀──────┘
            └─────────▶ Ŵ ◀──────────────┘
              (out, in) floats, made in forward, dropped,
                 and made again in backward

**Why is Ŵ made twice?**  The gradient of x is g Ŵ, so autograd would keep Ŵ until the backward
pass.  With all layers waiting, the whole model would stand there in floats.  An autograd.Function
of your own keeps the layer instead, and makes Ŵ again.  W itself needs no gradient.

**Why subtract the mean?**  An absmax is never negative.  Without m, the codes from -127 to -1 would
never be used.

**Why pages?**  A long text needs much memory for a moment, for activations.  Meanwhile the states
of the optimizer (Adam's averages) need not be on the device.  So they are kept in pages.  When
room is needed, pages move to the CPU, the longest unused first.  They come back when they are
touched.

**Worked by hand**

    one block of 4: w = [0.5 -2 1 0], absmax 2  →  w / absmax = [0.25 -1 0.5 0]
      q = [10 0 12 7], two to a byte, the first one high: 10 · 16 + 0 = 160, 12 · 16 + 7 = 199
      ŵ = 2 · [0.2461 -1 0.4407 0]
    absmax = [1 4 2 6]: m = 3.25, s = 2.75 / 127, k = [-104 35 -58 127]
      absmax' = [0.998 4.008 1.994 6]
    bytes of 4096 × 4096 weights:  8,388,608 for q,  262,144 for k,  1024 · 4 for s,  4 for m:
      4.127 bits a weight.  With a float32 absmax it would be 4.5.
    pages on a device of 10 bytes:
      touch a (4)   touch b (5)   touch a     touch c (3)       reserve 5
      [a]           [a b]         [b a]       [a c], b is out   [c], a is out
      release 5, touch b (5): [c b], 5 bytes have moved in and 9 out

**Shapes**: w is a tensor of any shape.  Scales, absmax and m are float32 whatever w is.  What comes
out is on the device of what went in.  No function changes its arguments; inject_qlora changes the
model.

**Steps.**  A good place to pause is after double_dequantize.

    quantize_nf4        10 min   the nearest of 16; two codes to a byte
    dequantize_nf4       6 min   the way back
    double_quantize      8 min   the last group may be shorter
    double_dequantize    4 min   the way back
    QLoRALinear         25 min   what may the graph keep?
    inject_qlora         8 min   as in k02_lora
    training_bytes       6 min   what a training step holds
    PagedStates         15 min   which page has to go?

Sources: Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs", section 3.

From scratch: bitsandbytes, peft and torchao may not be used.
"""

from torch import Generator, Tensor, nn


def quantize_nf4(w: Tensor, block: int = 64) -> tuple[Tensor, Tensor]:
    """The codes of w, row by row, packed two to a byte, and the absmax of each block.

    w      any shape and float dtype, finite, taken as float32; at least one block
    block  so many weights share an absmax; an even number

    - Packed: uint8 (numel / 2,).  The first code of a pair is in the high four bits.
    - absmax: float32 (numel / block,), without a graph.
    - What is midway between two values, but for rounding, may get either code.
    - A block of zeros has absmax 0, and the code of 0, which is 7.

    Raises ValueError, naming both numbers, if w's number of weights isn't a multiple of block.
    """
    raise NotImplementedError


def dequantize_nf4(packed: Tensor, absmax: Tensor) -> Tensor:
    """The weights ŵ, float32, in one row: (2 · len(packed),).

    All blocks have the same length, which follows from the number of absmax.
    """
    raise NotImplementedError


def double_quantize(absmax: Tensor, group: int = 256) -> tuple[Tensor, Tensor, Tensor]:
    """The codes k, int8 (n,), the scales s, float32 (⌈n / group⌉,), and m, float32 of shape ().

    absmax  float32 (n,), n ≥ 1

    - The last group may be shorter; its s is the largest of its own.
    - What is midway between two codes, but for rounding, may get either.
    - A group whose absmax are all m has s = 0 and codes 0.
    """
    raise NotImplementedError


def double_dequantize(codes: Tensor, scales: Tensor, mean: Tensor, group: int = 256) -> Tensor:
    """The absmax', float32 (n,), of what `double_quantize` gave for the same `group`."""
    raise NotImplementedError


class QLoRALinear(nn.Module):
    """A linear layer whose frozen weight has 4 bits, and an adapter beside it.

    lora_A, lora_B  two nn.Linear without bias, with weights (r, in) and (out, r)

    They are its only parameters that require a gradient.
    """

    def __init__(
        self,
        linear: nn.Linear,
        r: int,
        alpha: float,
        block: int = 64,
        group: int = 256,
        generator: Generator | None = None,
    ) -> None:
        """Quantize the weight of `linear` twice, and make an adapter of rank r ≥ 1.

        - A is uniform from -1/√in to 1/√in, drawn from `generator` (torch's own if None); B is 0.
        - A, B and the bias have the dtype and device of linear's weight.  The bias, if there is one,
          is a frozen copy.
        - What it holds of W: q, k, s and m, in the lesson's bytes, no more.  `linear` isn't changed and
          isn't kept, nor is its weight.
        - All that it holds moves with .to(device), and is in state_dict().  The names are yours, but for
          lora_A.weight and lora_B.weight.  A layer of the same sizes that loads it answers alike.

        Raises ValueError, naming both numbers, if out · in isn't a multiple of block.
        """
        raise NotImplementedError

    def weight(self) -> Tensor:
        """Ŵ (out, in), in the dtype of A, and without a graph.  It is made anew at each call."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """y (..., out) for x (..., in) of A's dtype, with the lesson's formula.

        - Gradients reach x, A and B.
        - Between forward and backward nothing of the size of Ŵ is kept in floats, neither in the graph
          nor in the layer.
        """
        raise NotImplementedError


def inject_qlora(
    model: nn.Module,
    targets: list[str],
    r: int,
    alpha: float,
    block: int = 64,
    group: int = 256,
    generator: Generator | None = None,
) -> list[str]:
    """Put a QLoRALinear in the place of each nn.Linear that `targets` names, and freeze all else.

    - A target names a layer if it is the layer's whole name, or its end after a dot.
    - Afterwards the A's and B's alone require a gradient.  The .grad of all that is frozen is None.
    - New layers are in the mode of `model`, training or evaluation.

    `targets` isn't empty, the model has no adapters yet, and no nn.Linear stands in two places.

    Returns the full names of the new layers, in the order of model.named_modules().

    Raises ValueError, and leaves the model as it was, naming the target if no nn.Linear has that name,
    and as QLoRALinear does.
    """
    raise NotImplementedError


def training_bytes(model: nn.Module, state: int = 8) -> dict[str, int]:
    """The bytes that training holds besides activations, under these keys:

    "frozen"     parameters that require no gradient, and buffers
    "trained"    parameters that require one
    "gradients"  a number of the same dtype for each that is trained
    "optimizer"  `state` bytes for each that is trained: 8 are Adam's two averages in float32

    A tensor that stands in two places counts once.  Works on every nn.Module.
    """
    raise NotImplementedError


class PagedStates:
    """Books about which states are on the device.  It moves nothing itself.

    reserved   bytes that are set aside, for activations
    moved_in   bytes that came back from the CPU so far
    moved_out  bytes that went to the CPU so far
    """

    def __init__(self, capacity: int) -> None:
        """A device of `capacity` bytes, empty."""
        raise NotImplementedError

    def resident(self) -> list[str]:
        """The names of the states on the device, the one that was touched longest ago first.

        It is a list of its own: changing it changes nothing here.
        """
        raise NotImplementedError

    def used(self) -> int:
        """The bytes of the states on the device, and what is reserved."""
        raise NotImplementedError

    def touch(self, name: str, size: int) -> None:
        """Use the state `name` of `size` ≥ 0 bytes: afterwards it is on the device, touched last.

        - It is made on the device at its first touch: then nothing moves in.
        - If there isn't room enough, states are moved out, the one that was touched longest ago first, and
          no more of them than necessary.

        Raises, and changes nothing:
        - ValueError, naming `name` and both sizes, if it had another size before
        - MemoryError, naming size and capacity, if it and what is reserved exceed the capacity
        """
        raise NotImplementedError

    def reserve(self, size: int) -> None:
        """Set `size` ≥ 0 more bytes aside.  States are moved out for them as in `touch`.

        Raises MemoryError, naming size and capacity, if all that is reserved would exceed the capacity.
        Nothing changes then.
        """
        raise NotImplementedError

    def release(self, size: int) -> None:
        """Give `size` ≥ 0 reserved bytes back.  No state comes back before it is touched.

        Raises ValueError, naming size and what is reserved, if it is more than that.  Nothing changes then.
        """
        raise NotImplementedError
