"""Video understanding: what moves, and which way

**Before you start.**  You need a transformer block with multi-head attention.  You may use yours
(the reference's is used until yours is green):

    from katas.module_05_transformers.k02_multi_head_attention import MultiHeadAttention

MultiHeadAttention(width, heads) maps (rows, n, width) to a pair: the tokens, of the same shape,
and the attention weights.  If patches as tokens are new, do vision_transformer first.

**The idea.**  You want to know what happens in a video: does the door open, or does it close?
No single frame can tell.  The order of the frames tells.  So the model has to look at several
frames at once.

A long video has too many frames.  You pick a few: spread over the whole video, or one short clip
with even gaps.  From these you cut *tubelets*: patches that go on through a few frames.  Each is
a token that holds a bit of motion already.  It is the same as a 3-D convolution whose stride is
its kernel.

Then attention looks further.  All tokens with all tokens is dear.  Divided attention does it in
two cheap moves.  First each place looks through time.  Then each frame looks at its own places.
At the end you cut several clips from a long video and let them vote.

**The formulas.**  T is the number of frames, K is how many you want, i runs from 0 to K - 1.
⌊ ⌋ rounds down.

    segments     the middle    f_i = ⌊(i + 1/2) · T/K⌋
                 at random     f_i = ⌊(i + u_i) · T/K⌋,     each u_i uniform from 0 to 1
    clip         f_i = min(start + i · stride, T - 1)
    convolution  y[b, o, t, r, s] = bias[o] + sum over c, i, j, k of
                    weight[o, c, i, j, k] · x̃[b, c, t S_t + i, r S_r + j, s S_s + k]
    block        x ← x + time(norm_time(x))
                 x ← x + space(norm_space(x))
                 x ← x + down(gelu(up(norm_mlp(x))))
    positions    z[t, n] = W tubelet[t, n] + b + time_positions[t] + space_positions[n]
    logits       head(mean over t and n of norm(x[t, n]))
    vote         mean over the clips of softmax(logits of the clip)

x̃ is the video with zeros around it: `padding` of them at both ends of each axis.  S_t, S_r and
S_s are the strides.  The kernel isn't flipped.  gelu is the exact one, with the error function.

**A drawing**

    tubelets of 2 frames and side 2, in 4 frames of 4 × 4:

       frames 0, 1          frames 2, 3
      ┌─────┬─────┐        ┌─────┬─────┐
      │ 0,0 │ 0,1 │        │ 1,0 │ 1,1 │      token t,n
      ├─────┼─────┤        ├─────┼─────┤      t counts groups of frames
      │ 0,2 │ 0,3 │        │ 1,2 │ 1,3 │      n counts places, row by row
      └─────┴─────┘        └─────┴─────┘

      over time, 0,1 sees      0,1 ─── 1,1            the same place
      over space, 0,1 sees     0,0 ─ 0,1 ─ 0,2 ─ 0,3  the same frames

**Why divided?**  Take 8 frames with 196 places each.  All with all is 1568², about 2.5 million
scores.  Divided, each token looks at 8 and then at 196 others: 1568 · 204, about 0.32 million.
Two moves still reach everything: first to the right frame, then to the right place.

**Why inflate?**  Images with labels are plentiful, videos aren't.  So you start with a kernel that
was trained on images and give it a third axis.  Spread it evenly over the frames, or put it at
the middle frame and zeros elsewhere.  On a video that stands still, both give what the image gave.

**Why chances and not logits?**  Logits have no scale of their own.  One clip with huge logits
would outvote all others.  Chances lie between 0 and 1, so each clip has one vote.

**Worked by hand**

    segments      T = 10, K = 4: the middles 1.25, 3.75, 6.25, 8.75, so frames 1 3 6 8
    clip          T = 10, start 2, length 4, stride 3: 2 5 8, and 9 in place of 11
    convolution   one pixel over four frames: 1 2 4 7, with the kernel -1 1 in time
                  1 2 3;  with stride 2: 1 3;  with padding 1: 1 1 2 3 -7
    inflate       the kernel 6 over 3 frames: 2 2 2, or central 0 6 0;  over 4: 0 0 6 0
    tubelets      two frames of 2 × 4: 0 … 7 and 8 … 15, tubelets of 2 frames and side 2
                  0 1 4 5 8 9 12 13   and   2 3 6 7 10 11 14 15
    attention     that takes the mean of all it sees, frames of three places 1 2 3 and 5 8 11
                  over time 3 5 7 and 3 5 7;  over space 2 2 2 and 8 8 8
    vote          two clips with chances 0.9 0.1 and 0.2 0.8: 0.55 0.45

**Shapes**: videos (B, C, T, H, W), tokens (B, T', N, D).  Results have the dtype and the device
of what comes in.  Gradients flow through all but the choice of frames.  No function changes its
arguments.

**Steps.**  A good place to pause is after tubelets.

    segment_frames      7 min   one frame from each part, in whole numbers
    clip_frames         3 min   what if the video ends?
    conv3d             12 min   windows along three axes, then one sum
    inflate             6 min   where does the new axis go?
    tubelets            8 min   eight axes, in the right order
    attend_over_space   4 min   frames join the batch
    attend_over_time    5 min   places join the batch
    DividedBlock        8 min   time, space, mlp
    VideoTransformer   12 min   all together
    vote                8 min   clips from the first to the last

Sources: Wang et al. 2016, "Temporal Segment Networks"; Carreira and Zisserman 2017, "Quo Vadis,
Action Recognition?" (inflation); Bertasius et al. 2021, "Is Space-Time Attention All You Need for
Video Understanding?" (divided attention); Arnab et al. 2021, "ViViT" (tubelets).

From scratch: torch.conv3d, torch.nn.functional.conv3d, torch.nn.Conv3d, torch.conv2d,
torch.nn.functional.conv2d, torch.nn.Conv2d, torch.convolution, transformers, torchvision and
einops may not be used.  The method `unfold` of a tensor, torch.nn.functional.pad,
torch.nn.LayerNorm and torch.nn.functional.gelu may.
"""

from collections.abc import Callable

from torch import Generator, Tensor, nn


def segment_frames(total: int, count: int, generator: Generator | None = None) -> list[int]:
    """`count` frames out of `total`, one from each of `count` equal segments, as ints in rising order.

    - Without a generator: the frame in the middle of each segment, exact for any size of the numbers.
    - With one (on the CPU): a uniform place in each segment, drawn anew for each, rounded down to its frame.  A frame
      that lies half in a segment is drawn half as often as one that lies in it wholly.
    - count may be above total.  Then frames repeat.

    Raises ValueError, naming total and count, if either is below 1.
    """
    raise NotImplementedError


def clip_frames(total: int, length: int, stride: int, start: int = 0) -> list[int]:
    """`length` frames from `start`, `stride` apart, as ints.  After the video's end its last frame stands still.

    length and stride are at least 1.
    Raises ValueError, naming start and total, unless start is one of 0 … total - 1.
    """
    raise NotImplementedError


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[int, int, int] = (0, 0, 0),
) -> Tensor:
    """The 3-D convolution (B, O, T', H', W') of x (B, C, T, H, W) with weight (O, C, kt, kh, kw) and bias (O,).

    stride and padding are for time, height and width.  The padded video is at least as large as the kernel.  What no
    whole window covers at the end of an axis is left out.

    Raises ValueError, naming both numbers, if x and weight differ in their channels.
    """
    raise NotImplementedError


def inflate(kernel: Tensor, frames: int, mode: str = "average") -> Tensor:
    """A kernel for images (O, C, h, w) as one for videos, (O, C, frames, h, w).  frames is at least 1.

    "average": every frame gets the kernel divided by `frames`.
    "central": frame frames // 2, counted from 0, gets the kernel, the others get 0.
    Raises ValueError, naming mode, if it is neither.
    """
    raise NotImplementedError


def tubelets(video: Tensor, frames: int, patch: int) -> Tensor:
    """Cut a video (B, C, T, H, W) into tokens (B, T / frames, N, C · frames · patch²).

    N is (H / patch)(W / patch); places are counted row by row.  Within a token the order is channel, frame, row, column:
    as in a kernel of conv3d that is flattened.

    Raises ValueError, naming T, H, W, frames and patch, unless frames divides T and patch divides H and W.
    """
    raise NotImplementedError


def attend_over_space(x: Tensor, attention: Callable[[Tensor], Tensor]) -> Tensor:
    """Tokens x (B, T, N, D), after each has looked at the N tokens of its own frame.  Same shape.

    attention maps (rows, n, D) to the same shape, each row by itself.  It is called once.
    """
    raise NotImplementedError


def attend_over_time(x: Tensor, attention: Callable[[Tensor], Tensor]) -> Tensor:
    """Tokens x (B, T, N, D), after each has looked at the T tokens of its own place.  Same shape.

    attention is as for `attend_over_space`, and it is called once.  It sees the frames in their order.
    """
    raise NotImplementedError


class DividedBlock(nn.Module):
    """A transformer block that attends over time, then over space.

    norm_time, norm_space, norm_mlp   nn.LayerNorm(width), as torch makes it
    time, space                       MultiHeadAttention(width, heads) of the lesson, without a mask
    up, down                          nn.Linear from width to 4 · width and back, with bias

    It has no other parameters.  How they start is up to you.
    """

    def __init__(self, width: int, heads: int) -> None:
        """heads divides width."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, T, N, width) to tokens of the same shape, by the three lines of the lesson."""
        raise NotImplementedError


class VideoTransformer(nn.Module):
    """A recogniser of actions.

    embed             nn.Linear, a tubelet to width, with bias
    time_positions    nn.Parameter (T / frames, width)
    space_positions   nn.Parameter (N, width)
    blocks            nn.ModuleList of `depth` DividedBlock
    norm              nn.LayerNorm(width)
    head              nn.Linear, width to classes, with bias

    It has no other parameters.  How they start is up to you, but it has to learn.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        frames: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        classes: int,
    ) -> None:
        """shape is (C, T, H, W) of the videos; frames and patch are those of the tubelets, and fit."""
        raise NotImplementedError

    def forward(self, video: Tensor) -> Tensor:
        """The logits (B, classes) of videos (B, C, T, H, W) of the model's shape."""
        raise NotImplementedError


def vote(model: Callable[[Tensor], Tensor], video: Tensor, length: int, stride: int, clips: int) -> Tensor:
    """The chances (classes,) of one video (C, T, H, W): the mean over `clips` clips of `length` frames.

    - The last possible start is L = T - 1 - (length - 1) · stride, or 0 where that is negative.
    - Clip i starts at ⌊i · L / (clips - 1)⌋: the first at 0, the last at L.  A single clip starts at ⌊L / 2⌋.
    - The frames of a clip are those of `clip_frames`.
    - The model is called once, with all clips in this order as a batch (clips, C, length, H, W), and gives logits.

    Raises ValueError, naming clips, if there is less than one.
    """
    raise NotImplementedError
