"""Int8 on one thread, within a memory limit

**Before you start.**  You need to know what an ONNX graph is: the kata onnx_export builds one.  You
won't import it.  Install the extra `serving`: it brings onnx and onnxruntime.

**The idea.**  An edge device is small: one slow core, little memory, no GPU.  You have a model in
ONNX, and it must run there.  Three things make it fit.

1. *Quantize* the weights: whole numbers of 8 bits take a quarter of the memory of float32.
2. *Plan* the memory: how many bytes are alive at the worst moment?  It depends on the batch.
3. *Cut* the input into batches so small that the plan stays within the limit.

**Quantization, as a graph.**  A matrix product is replaced by five nodes.  Weights are quantized
once, now.  The input is quantized at each run, by its own range: that is *dynamic* quantization.

    before    x ──▶ MatMul(x, W) ──▶ y

    after     x ──▶ DynamicQuantizeLinear ──┬─▶ q   uint8
                                            ├─▶ s   its scale
                                            └─▶ z   its zero point
              q, W8, z  ──▶ MatMulInteger ──▶ int32 ──▶ Cast ──┐
              s, scales ──▶ Mul ───────────────────────────────┴▶ Mul ──▶ y

**The formulas.**  W is (in, out).  Each column j has a scale of its own:

    scale_j = max over i of |W_ij| / limit         1 if the column is all 0
    W8_ij   = round(W_ij / scale_j)                an int8 from -limit to limit
    y       ≈ s · scale_j · Σ (q - z) · W8         exact but for the two roundings

**The memory plan.**  A tensor is alive from the node that makes it to the last node that reads it.
The caller's inputs are alive all the time.  Outputs stay to the end.  So look at each node in turn,
and add up what is alive *while it runs*: all that is still needed, its inputs, and what it makes.
The peak is the largest of these sums, plus the weights.

    nodes            x    a    b    c    y      alive while it runs
    a = MatMul(x)    ■    ■                     x + a
    b = Relu(a)      ■    ■    ■                x + a + b
    c = MatMul(b)    ■         ■    ■           x + b + c
    y = Add(c, b)    ■         ■    ■    ■      x + b + c + y

**Why one scale for each column?**  One column with large weights would make the steps coarse for
all others.  A column's scale can be multiplied in after the sum over i, so it costs nothing.

**Why is there a limit other than 127?**  Some older processors add two products in 16 bits, and cut
off what is too large.  255 · 127 · 2 doesn't fit there, 255 · 63 · 2 does.  For these you
quantize with a limit of 63.

**Why keep the arena?**  onnxruntime keeps memory that it has used once, and takes the next batch's
tensors from it.  You might turn this *arena* off to save memory.  Then each batch asks the system,
and small results that stay leave holes between the large ones.  Measured for this lesson: 8192 rows
in batches of 254 took 4 MB with the arena, 64 MB without.

**Does a batch change the answer?**  Slightly, if the model is quantized dynamically.  The scale s
comes from all rows of a batch.  Other rows, other roundings.

**Worked by hand**

    W = [[1, 0, -2], [-0.5, 0, 4]], limit 100:   scales 0.01, 1, 0.04
                                                 W8 = [[100, 0, -50], [-50, 0, 100]]
    the plan above, 10 rows; x, a, b, c, y have 2, 4, 4, 4, 4 columns of float32
        x = 80 bytes, the others 160 each;  560 while Add runs
        weights (2, 4) and (4, 4): 96 bytes;  the peak is 656
        a limit of 656 allows 10 rows, one of 655 allows 9

**Shapes**: a model has one input and one output.  Axis 0 of the input is the batch.  x is float32.
No function changes its arguments.

**Steps.**  A good place to pause is after quantize.

    quantize       22 min   new nodes, new names, and what nobody reads any more
    edge_session    5 min   four options
    peak_bytes     18 min   shapes, then the last reader of each tensor
    largest_batch   8 min   the peak needn't be a straight line
    run_within      6 min   cut, run, put together

Sources: onnx.ai, "ONNX Operators" (DynamicQuantizeLinear, MatMulInteger); onnxruntime.ai,
"Quantize ONNX models" and "Thread management"; Jacob et al. 2018, "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference".

From scratch: onnxruntime.quantization may not be used.
"""

import onnx
import onnxruntime
from torch import Tensor


def quantize(model: onnx.ModelProto, limit: int = 127) -> onnx.ModelProto:
    """A new model in which each MatMul with a constant matrix is done in int8, as the lesson draws it.

    - A MatMul is replaced if its second input is an initializer of float32 with two axes.  Its five nodes stand
      in its place, and the tensor that it made keeps its name.  All other nodes and initializers stay as they are.
    - The int8 weights and the scales (out,) are initializers.  The zero point of the weights is 0: leave it out.
    - A float matrix that no node reads any more isn't in the new model, unless it is an output.
    - An input, a matrix, or both may be shared by several MatMuls.  All names are new and different.
    - limit   from 1 to 127: the largest absolute value of an int8 weight
    """
    raise NotImplementedError


def edge_session(model: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU for a small device.

    - `threads` threads within an operator, and one across operators: they run one after the other.
    - The arena for the CPU's memory is on.
    - Threads that wait don't spin: the config entry "session.intra_op.allow_spinning" is "0".
    """
    raise NotImplementedError


def peak_bytes(model: onnx.ModelProto, axes: dict[str, int]) -> int:
    """The bytes that are alive at the worst moment, by the lesson's plan, nodes in the order of the graph.

    axes   the size of each named axis of the input

    - All initializers count, once, all the time.
    - Each tensor counts with its own type: a uint8 takes 1 byte a number, a float32 takes 4.
    - What a node makes and nobody reads is alive while that node runs, unless it is an output.
    - An empty name "" is no tensor.
    - `onnx.shape_inference.infer_shapes` finds all shapes and types, once the input's axes are numbers.
    """
    raise NotImplementedError


def largest_batch(model: onnx.ModelProto, limit: int, most: int) -> int:
    """The largest number of rows, from 1 to `most`, whose peak is at most `limit` bytes.

    The input's axis 0 has a name, and no other axis has one.  More rows never need less.  `most` may be a million:
    look at few sizes.

    Raises ValueError, naming the limit and the peak of one row, if not even one row fits.
    """
    raise NotImplementedError


def run_within(model: onnx.ModelProto, x: Tensor, limit: int) -> Tensor:
    """The output for the rows x, 1 or more, never running more at once than the limit allows.

    - It runs batches of `largest_batch` rows, in order; the last one may be smaller.  It is opened once, by
      edge_session, with one thread.
    - The answer is on the device of x, and has no gradient.

    Raises ValueError where largest_batch does.
    """
    raise NotImplementedError
