"""Guidance and latent diffusion: from a prompt to a picture

**Before you start.**  You need the diffusion of ddpm, and the singular value decomposition.  You
may import from ddpm; until yours is green, the reference's is used:

    from .k11_ddpm import ddim_sample, diffusion_loss

If guidance is new: Dieleman, "Guidance: a cheat code for diffusion models" (a post on his blog).

**The idea.**  You want to type "a bold seven" and get a picture of it.  A diffusion model can
take the prompt as one more input.  Trained so, it draws roughly what you ask for, and often
misses.

*Classifier-free guidance* makes it listen.  In training, hide some of the prompts.  So one
network learns two things: what is likely for this prompt, and what is likely at all.  When you
draw, ask for both.  The difference points to what the prompt adds.  Go further in that direction
than the model itself would.

Drawing in pixels is costly.  *Latent diffusion* squeezes each picture into a few numbers first,
its latents, and runs the diffusion there.  Only the finished latents become a picture.

**The formulas.**  v is what the model predicts for x_t, its velocity.

    prompt       v_c = model(x_t, t, tokens)           its mean word vector steers the model
    no prompt    v_u = model(x_t, t, zeros)
    guidance     v = v_u + w · (v_c - v_u)                             w is the scale
    rescaling    v ← φ · v · dev(v_c) / dev(v) + (1 - φ) · v           φ is the share
    space        flat picture p,  mean picture m,  basis B with orthonormal rows
                 z = scale · B (p - m)         p ≈ Bᵀ (z / scale) + m
    scale        1 / √( mean of (number - mean)² )    over all numbers of the unscaled latents
    training     hide some prompts, draw t and ε, then (model(x_t, t, tokens) - velocity)²

dev is a sample's standard deviation, over all axes but the first.  The rows of B are the
directions in which the training pictures vary most, the strongest first (PCA).

**A drawing**

    "a bold seven" ─▶ 2 3 5 0 ─▶ model ─▶ v_c ─┐
                         x_t ─▶ both           ├─▶ guide ─▶ rescale ─▶ DDIM
    ""             ─▶ 0 0 0 0 ─▶ model ─▶ v_u ─┘

    x_T noise ─▶ … ─▶ x₀ latents ─▶ decode ─▶ picture

     v_u              v_c           guided
      ●────────────────●────────────────●─────────────▶  w
      0                1                2

**Why does it work?**  At a given x_t the velocity is an affine function of the score, the slope
of the log density.  So you mix the slopes of log p(x | c) and log p(x), where x is the noisy x_t,
with weights w and 1 - w. The mix is the slope of the log of this density, up to a factor:

    p(x) · ( p(x | c) / p(x) )^w          and p(x | c) / p(x) is proportional to p(c | x)

That is a classifier's opinion, and nobody trained a classifier.  At w = 0 it has no say.  At 1
you have the plain model.  Beyond 1 you get fewer misses and less variety.  Stable Diffusion's
usual scale is 7.5.  Some papers call w - 1 the scale; here it is w.

**Why rescale?**  A large w makes predictions too large, and pictures too bright.  Rescaling gives
them back the spread of v_c.  With φ = 1 it does so in full, with φ = 0 not at all.

**Why scale the latents?**  The noise schedule was made for data with deviation 1.  Smaller
latents drown early in the noise, larger ones too late.  One number repairs it: Stable Diffusion's
0.18215.

**Worked by hand**

    tokens       vocabulary a bold light seven, length 4: "A bold seven" is 2 3 5 0
                 "a green seven" is 2 1 5 0, and "" is 0 0 0 0
    encoder      word 2 has the vector (1, 3), word 3 has (3, 5): tokens 2 3 0 give (2, 4)
    scale        latents 1, 3, 5, 7: mean 4, variance 20 / 4, so 1 / √5 = 0.4472
    space        pictures (1, 1) and (3, 3), width 1: mean (2, 2), basis ±(0.7071, 0.7071)
                 unscaled ±1.4142, so scale 0.7071; (3, 3) has latent ±1
                 (3, 1) has latent 0, and comes back as (2, 2)
    guidance     v_u = 1, v_c = 3:  w = 0 gives 1, w = 1 gives 3, w = 2 gives 5
    score        p(x | c) has mean 2, variance 1, and p(x) has mean 0, variance 4
                 w = 2:  x/4 - 2 (x - 2) = -1.75 (x - 2.2857), a narrower bell, further away
    rescaling    v = (0, 8), v_c = (1, 3):  the deviations are 4 and 1
                 φ = 1 gives (0, 2), and φ = 0.5 gives (0, 5)

**Shapes**: tokens (n, L) int64, pictures (n, ...), latents (n, width), t (n,) int64 from 1 to T,
bars (T + 1,) as in ddpm.  A model is any callable: model(x, t, tokens) has the shape of x.
Results have the dtype and the device of what comes in.  A generator lies on the CPU, even if the
rest doesn't.  No function changes its arguments.

**Steps.**  A good place to pause is after LatentSpace.

    prompt_tokens       7 min   0 and 1 are taken
    drop_prompts        5 min   a whole prompt or none of it
    PromptEncoder      10 min   a mean without the padding
    latent_scale        3 min   n or n - 1?
    LatentSpace        12 min   there and back
    guided_loss         9 min   three draws
    guide               3 min   one line; mind its sign
    rescale_guidance    7 min   each sample by itself
    guided_model       10 min   two questions in one call
    draw               10 min   all together

In the tests your functions learn to draw digits.  A classifier that never saw them counts hits.

Sources: Ho and Salimans 2022, "Classifier-Free Diffusion Guidance"; Rombach et al. 2022,
"High-Resolution Image Synthesis with Latent Diffusion Models"; Lin et al. 2023, "Common Diffusion
Noise Schedules and Sample Steps Are Flawed" (rescaling).

From scratch: diffusers, transformers, sklearn and torch.pca_lowrank may not be used. torch.linalg
may.
"""

from collections.abc import Callable

from torch import Generator, Tensor, nn

Model = Callable[[Tensor, Tensor, Tensor], Tensor]


def prompt_tokens(prompts: list[str], vocabulary: list[str], length: int) -> Tensor:
    """The prompts as numbers, int64 (n, length), on the CPU; there is at least one prompt.

    - Words are what stands between white space.  Capitals don't count; the vocabulary is in lower case, without repeats.
    - The word at index i of the vocabulary has number i + 2.  Any other word has number 1.
    - Each row is filled up with 0 at its end.  An empty prompt is all 0.

    Raises ValueError, naming how many words a prompt has and the length, if it has more than that.
    """
    raise NotImplementedError


def drop_prompts(tokens: Tensor, probability: float, generator: Generator) -> Tensor:
    """The tokens (n, L), where each prompt by itself, with this probability (0 to 1), is replaced by zeros."""
    raise NotImplementedError


class PromptEncoder(nn.Module):
    """A vector for each prompt: the mean of its words' vectors, unknown words among them."""

    def __init__(self, size: int, width: int) -> None:
        """For tokens below `size`.  The parameters, with any start:

        words   nn.Embedding (size, width); its row 0 has no influence on what comes out
        empty   nn.Parameter (width,): what an empty prompt gives
        """
        raise NotImplementedError

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (n, L) to vectors (n, width).  Tokens that are 0 don't count, wherever they stand."""
        raise NotImplementedError


def latent_scale(latents: Tensor) -> Tensor:
    """The lesson's scale, without axes and with its gradient, of unscaled latents (n, ...) that aren't all alike."""
    raise NotImplementedError


class LatentSpace(nn.Module):
    """A linear autoencoder with scaled latents; nothing in it is trained by gradients."""

    def __init__(self, pictures: Tensor, width: int) -> None:
        """Fitted to pictures (n, ...); width is from 1 to what n - 1 and the size of a picture allow.  The buffers:

        mean    (size,), the mean of the flat pictures
        basis   (width, size); the sign of each row is open
        scale   (), by latent_scale from the latents of all pictures
        """
        raise NotImplementedError

    def encode(self, pictures: Tensor) -> Tensor:
        """Scaled latents (n, width) of pictures (n, ...): of other ones, too."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (n, ...), not clipped, of scaled latents (n, width)."""
        raise NotImplementedError


def guided_loss(
    model: Model, latents: Tensor, tokens: Tensor, bars: Tensor, probability: float, generator: Generator
) -> Tensor:
    """The loss (), the mean over all numbers of the batch, with its gradient.

    - Prompts are dropped with this probability.  Each sample has its own t, uniform from 1 to T, and normal noise.
    - All draws come from `generator`.
    - The model is called once, with (x_t, t, tokens); its target is the velocity.
    """
    raise NotImplementedError


def guide(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """The lesson's guidance, for predictions (n, ...); scale is any number, below 0 as well."""
    raise NotImplementedError


def rescale_guidance(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    """The lesson's rescaling, for predictions (n, ...) with two numbers a sample or more; share is φ, from 0 to 1.

    The numbers of a guided sample aren't all alike.
    """
    raise NotImplementedError


def guided_model(
    model: Model, tokens: Tensor, scale: float, negative: Tensor | None = None, share: float = 0.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of (x, t), x (n, ...) and t (n,), that gives the guided and rescaled prediction for tokens (n, L).

    - `negative` (n, L) takes the place of the zeros: a prompt to get away from.
    - A call of the function calls the model once, with 2n rows, whatever the scale.  Their order is open.
    """
    raise NotImplementedError


def draw(
    model: Model,
    space: LatentSpace,
    tokens: Tensor,
    bars: Tensor,
    times: list[int],
    scale: float,
    generator: Generator,
    negative: Tensor | None = None,
    share: float = 0.0,
) -> Tensor:
    """Pictures (n, ...) for tokens (n, L), not clipped.

    - It starts from standard normal latents, drawn with `generator`; their dtype and device are those of space.mean.
    - The guided model predicts velocities.  DDIM goes through `times`, which fall, and then to 0, without fresh noise.
    - The latents of time 0 are decoded.  The same state of the generator gives the same pictures.
    """
    raise NotImplementedError
