"""Video generation: what moves goes on moving

**Before you start.**  You need convolutions, and diffusion as in ddpm.  You may use yours (the
reference's is used until yours is green):

    from .k11_ddpm import ddim_sample, diffusion_loss

**The idea.**  You want the next frames of a video.  Drawing each anew is wasteful, and it
flickers: two frames that were drawn apart don't agree.  Nearly all of a frame is in the frame
before, a little to the side.  So find out what moved where, and move it.

The *flow* says for each pixel where it goes.  Lucas and Kanade find it by least squares in small
windows.  *Warping* moves a frame by a flow.  A network predicts a flow and a correction for what
a flow can't explain.  Feed its frames back to it, and you get a video of any length.

Diffusion draws all frames at once.  Two things make them agree: layers that mix over time, and
noise that the frames have in part in common.

**The formulas.**  v = (v_x, v_y) is the flow from a first to a second frame, in pixels.  x runs
to the right, y runs down.

    meaning      first(x, y) = second(x + v_x, y + v_y)
    warp         out(x, y) = image(x + v_x, y + v_y), between pixels bilinear;
                 x + v_x is cut to 0 … W - 1 first, y + v_y to 0 … H - 1
    slopes       m = (first + second) / 2
                 m_x = (m(x + 1, y) - m(x - 1, y)) / 2, and m_y likewise
                 d = second - first
    equations    m_x v_x + m_y v_y = -d       one for each pixel and channel of the window
    least        (Σ m_x m_x) v_x + (Σ m_x m_y) v_y = -Σ m_x d
    squares      (Σ m_x m_y) v_x + (Σ m_y m_y) v_y = -Σ m_y d
    refine       v ← v + lucas_kanade(first, warp(second, v)),      from v = 0
    next frame   warp(last, v) + r,          v and r from a network that saw the context
    noise        √ρ · common + √(1 - ρ) · own              common is the same in all frames
    mix          x + convolution of x over time, with zeros around
    flicker      mean of (warp(frame t + 1, v from t to t + 1) - frame t)²
    Fréchet      |μ₁ - μ₂|² + tr Σ₁ + tr Σ₂ - 2 tr √(Σ₁ Σ₂)

Outside the image the edge's pixel stands for the slopes.  Σ runs over the window's pixels within
the image, and over the channels.  ρ is `share`.  μ and Σ are means and covariances (n - 1) of
features of two sets of videos.  tr √(Σ₁ Σ₂) is the sum of the roots of the eigenvalues of Σ₁ Σ₂.

**A drawing**

    context             frame 0   frame 1
                           └────┬────┘
                             network ─────────▶ v, r
                                                │
    frame 2             frame 1 ────▶ warp ────▶ + ────▶ frame 2

    rollout             0 1 ▶ 2         the oldest leaves, the new one joins
                          1 2 ▶ 3
                            2 3 ▶ 4

**Why warp backwards?**  Push each pixel of a frame to its new place, and some places get two,
some none.  Ask each new pixel where it comes from, and each gets just one answer.

**Why might a window have no answer?**  If it shows one straight edge, you don't see motion along
it.  Then the matrix of the four sums has an eigenvalue near 0.  In a flat window both are.  The
flow is set to 0 there.

**Why not many rounds?**  Two are enough here.  Each warp reads the last round's flow, errors
included, and over many rounds the small ones grow.

**Why share noise?**  Frames of a video are nearly alike, independent noise isn't.  With ρ > 0 the
noise is as alike as the frames, and the network has less to make agree.  Train and draw with the
same ρ: another noise is one that the network hasn't seen.

**Worked by hand**

    warp         one row 10 20 40 80;  v_x = 0.5: 15 30 60 80;  v_x = -0.25: 10 17.5 35 70
                 rows 0 4 and 8 16, at the top left v = (0.25, 0.5): between 1 and 10 is 5.5
    Lucas and    3 × 3, channels 4x and 2y;  the second frame is lower by 2 and by 0.5
    Kanade       window 1, in the middle: 16 v_x = 8, 4 v_y = 1, so v = (0.5, 0.25)
                 at the left the slope is 2, so v_x = 1
    rollout      the model adds its two frames: 1 1 ▶ 2 3 5 8
    noise        ρ = 0.36: weights 0.6 and 0.8;  two frames have the correlation 0.36
    mix          1 2 4 over time, kernel -1 0 1:  1 2 4 + 2 3 -2 = 3 5 2
    flicker      frames 1 3 and 2 5: (1 + 4) / 2 = 2.5
                 v_x = 0.5: 3.5 against 1, and the other pixel leaves the image: 6.25
    Fréchet      one feature, 0 2 and 1 5:  (1 - 3)² + 2 + 8 - 2 √16 = 6

**Shapes**: images (B, C, H, W), flows (B, 2, H, W) with v_x first, videos (B, T, C, H, W): here
time comes before the channels.  Results have the dtype and the device of what comes in. Gradients
flow to all tensors and parameters, but for `lucas_kanade`, `refine_flow` and `frechet_distance`,
where that is open.  No function changes its arguments.

**Steps.**  A good place to pause is after rollout.

    warp               13 min   four neighbours, and the border
    lucas_kanade       15 min   five sums, two unknowns
    refine_flow         5 min   which frame is warped?
    NextFrame          10 min   it starts as a copy of the last frame
    rollout             5 min   the window moves on
    shared_noise        5 min   roots of the shares
    TemporalMix         8 min   each place is a row
    video_loss          3 min   ddpm, with other noise
    sample_video        4 min   the same share
    flicker             8 min   what has left doesn't count
    frechet_distance    8 min   a root of a product of matrices

In the tests NextFrame learns blobs that move, and must beat a copy of the last frame.  A small
diffusion with TemporalMix must beat one without it.

Sources: Lucas and Kanade 1981, "An Iterative Image Registration Technique"; Shi and Tomasi 1994,
"Good Features to Track" (the smaller eigenvalue); Ge et al. 2023, "Preserve Your Own Correlation"
(shared noise); Blattmann et al. 2023, "Align your Latents" (temporal layers in a model of
images); Unterthiner et al. 2018, "Towards Accurate Generative Models of Video" (FVD).

From scratch: torch.nn.functional.grid_sample, torch.grid_sampler, torch.grid_sampler_2d, cv2,
scipy, skimage, torchvision, kornia and diffusers may not be used.  Convolutions, pooling,
padding, torch.cov and torch.linalg may.
"""

from collections.abc import Callable

from torch import Generator, Tensor, nn


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """The image (B, C, H, W), read at each pixel's place plus its flow (B, 2, H, W).  Same shape as the image.

    - A place between pixels is the bilinear mix of its four neighbours.  Places outside are cut to the border.
    - H and W may be 1.
    - Gradients flow to the image and to the flow.  At whole numbers, that of the flow may be from either side.
    """
    raise NotImplementedError


def lucas_kanade(first: Tensor, second: Tensor, window: int, threshold: float = 1e-4) -> Tensor:
    """The flow (B, 2, H, W) from first to second, both (B, C, H, W), in one round without warping.

    - The window is a square of side `window` around each pixel, cut off at the image's border.  All in it weigh alike.
    - The flow is 0 where the smaller eigenvalue of the matrix of sums (sums, not means) isn't above the threshold.
    - threshold is above 0.  The result has no NaN.

    Raises ValueError, naming window, if it is even or below 1.
    """
    raise NotImplementedError


def refine_flow(first: Tensor, second: Tensor, window: int, rounds: int, threshold: float = 1e-4) -> Tensor:
    """The flow (B, 2, H, W) after `rounds` ≥ 1 rounds: each adds what `lucas_kanade` still finds after warping.

    The second frame is warped, anew in each round from the original.  One round is `lucas_kanade` itself.
    """
    raise NotImplementedError


class NextFrame(nn.Module):
    """A network that predicts the next frame.

    first     nn.Conv2d, context · channels to hidden
    second    nn.Conv2d, hidden to hidden
    head      nn.Conv2d, hidden to 2 + channels: v_x, v_y, then the correction r

    All are 3 × 3 with padding 1 and bias.  A relu follows first and second.  It has no other parameters.
    The head starts at zero, weight and bias: a new network gives the last frame, exactly.
    """

    def __init__(self, channels: int, context: int, hidden: int) -> None:
        raise NotImplementedError

    def forward(self, context: Tensor) -> Tensor:
        """The next frame (B, channels, H, W) after the frames (B, context, channels, H, W), which come in order.

        `first` sees all channels of the oldest frame, then those of the next.
        """
        raise NotImplementedError


def rollout(model: Callable[[Tensor], Tensor], context: Tensor, steps: int) -> Tensor:
    """The `steps` ≥ 1 frames (B, steps, C, H, W) that follow the context (B, K, C, H, W).  It isn't among them.

    - The model maps K frames (B, K, C, H, W) to the next, (B, C, H, W).  It is called `steps` times.
    - Each time it sees the last K frames, in order, its own among them.
    - Gradients flow back through all steps.
    """
    raise NotImplementedError


def shared_noise(video: Tensor, share: float, generator: Generator) -> Tensor:
    """Noise in the shape, dtype and on the device of a video (B, T, C, H, W), whose values don't matter.

    - Each number is standard normal.  The same place in two frames of one video has the correlation `share`.
    - All else is independent: channels, places, videos.
    - Both are drawn by torch.randn on the CPU, in the dtype of the video: first `common` (B, 1, C, H, W), then `own`
      (B, T, C, H, W), also where a weight is 0.  The generator lies on the CPU.  No gradient flows.

    Raises ValueError, naming share, unless it is from 0 to 1, both allowed.
    """
    raise NotImplementedError


class TemporalMix(nn.Module):
    """A layer that mixes the frames at each place: a convolution over time, added to what comes in.

    conv    nn.Conv1d, channels to channels, kernel `size`, with bias.  It has no other parameters.

    conv starts at zero, weight and bias: a new layer changes nothing.
    """

    def __init__(self, channels: int, size: int) -> None:
        """size is odd.  size // 2 frames of zeros stand at both ends."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, channels, H, W) to the same shape.  Places don't mix, channels do."""
        raise NotImplementedError


def video_loss(
    model: Callable[[Tensor, Tensor], Tensor],
    video: Tensor,
    t: Tensor,
    bars: Tensor,
    share: float,
    generator: Generator,
) -> Tensor:
    """The loss of ddpm, kind "velocity", for clean videos (B, T, C, H, W), with fresh noise of `shared_noise`.

    t is (B,) int64, one time for all frames of a video.  bars are those of ddpm, (steps + 1,).
    The model is called once, with (noisy video, t), and returns the shape of the video.
    """
    raise NotImplementedError


def sample_video(
    model: Callable[[Tensor, Tensor], Tensor],
    like: Tensor,
    bars: Tensor,
    times: list[int],
    share: float,
    generator: Generator,
) -> Tensor:
    """Videos by DDIM without fresh noise (η = 0), with a model of kind "velocity".

    - The start, at times[0], is `shared_noise` in the shape, dtype and on the device of `like`.
    - times and bars are as for `ddim_sample` of ddpm.
    """
    raise NotImplementedError


def flicker(video: Tensor, flow: Tensor) -> Tensor:
    """How much a video (B, T, C, H, W) changes beyond its motion, one number without axes.  T is at least 2.

    - flow (B, T - 1, 2, H, W) leads from each frame to the next.  With zeros it is the plain change.
    - Pixels whose place plus flow lies outside 0 … W - 1 or 0 … H - 1 don't count, neither above nor below.
    - The mean is over all pixels that count, in all videos, frames and channels together.  If none counts, it is 0.
    """
    raise NotImplementedError


def frechet_distance(first: Tensor, second: Tensor) -> Tensor:
    """The Fréchet distance (squared, as is usual) of features (n, D) and (m, D), one number without axes.

    n and m may differ, and may be below D; D may be 1.  It is symmetric.

    Raises ValueError, naming both shapes, if they differ in D or either has less than two rows.
    """
    raise NotImplementedError
