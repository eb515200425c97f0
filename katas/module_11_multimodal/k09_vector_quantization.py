"""Vector quantization: a codebook, a gradient that jumps over it, and VQGAN's losses

**Before you start.**  You need an autoencoder, nearest neighbours and autograd's `detach`; no
other kata is imported.  If k-means is new, read Bishop, "Pattern Recognition and Machine
Learning", section 9.1.

**The idea.**  Transformers want tokens.  An image has none.  So let an encoder turn patches into
vectors, and replace each vector by the nearest of K *codes*.  Its number is the token.  256
numbers then stand for an image, a transformer can learn to write them, and a decoder paints what
they mean.

Two things are hard.  "The nearest" has no derivative, and the encoder has to learn all the same.
And codes that nobody uses die: they get no gradient, so nobody ever will use them.

**The formulas.**  z is a vector of the encoder with D numbers, e_k are the codes.  sg is the
*stop-gradient*: the value stays, its derivative is 0.

    token            k = the number of the nearest code, ‖z - e_k‖ smallest
    quantized        q = e_k
    straight through z + sg(q - z)
    codebook loss    mean of (sg(z) - q)²            mean over all numbers
    commitment       mean of (z - sg(q))²
    VQ loss          codebook loss + β · commitment
    usage            p_k = share of the tokens that are k
    perplexity       exp( -Σ p_k ln p_k )            from 1 to K

*Codes as moving averages* need no codebook loss.  n_k is how many vectors of a batch chose code
k, and m_k is the sum of these.  γ is the decay, near 1:

    N_k ← γ N_k + (1 - γ) n_k            M_k ← γ M_k + (1 - γ) m_k
    N = Σ N_k,   Ñ_k = (N_k + ε) / (N + K ε) · N,      e_k = M_k / Ñ_k

*VQGAN* adds a discriminator that gives each patch a score, high for real ones:

    discriminator    ½ mean [1 - real]₊ + ½ mean [1 + fake]₊
    adversary        -mean fake
    adaptive weight  λ = ‖∇ rec‖ / (‖∇ adversary‖ + 10⁻⁴), at most 10⁴
    VQGAN            rec + VQ loss + λ · adversary         without the last before step `start`

∇ is the gradient by the weights of the decoder's last layer, ‖·‖ the root of its sum of squares.
[x]₊ is x, or 0 if x is below 0.

**A drawing**

    forward     x ──▶ encoder ──▶ z ──▶ nearest ──▶ q ──▶ decoder ──▶ rec
                                  │                 │
    backward    x ◀── encoder ◀───┴─── copied ◀─────┴─── decoder ◀─── loss

    codes ●, vectors ·          · ·●·            ●
                                 ·             the right one is dead:
                               ●··             nobody is near to it

**Why does copying the gradient work?**  q lies near z.  If the decoder wants q to move up, moving
z up is a good guess.  The commitment keeps it one: it holds z near its code.

**Why two losses with stop-gradients?**  Both are the same number.  One moves the code to the
vectors, the other the vectors to the code.  With β you say which is to move faster.

**Why the ε?**  A code that nobody chose has N_k near 0, and M_k / N_k is noise.  ε gives each
code a tiny share of the whole, and the sum over all stays N.

**Why the adaptive weight?**  At the decoder's last layer both losses then pull equally hard,
whatever their scales are.

**Worked by hand**

    codes        (0 0) and (4 0)
    tokens       z = (1 1) is at distances √2 and √10: token 0.   (3 -1): token 1
    losses       of these two: codebook (1 + 1 + 1 + 1) / 4 = 1, commitment 1.  β = ¼: 1.25
    averages     γ = ½, ε = 0, N = 1 1, M = (0 0) (4 0).  The batch: (1 1) (1 -1) (3 0)
                 N = 1.5 1,  M = (1 0) (3.5 0),  codes (⅔ 0) (3.5 0)
                 with ε = ½, N = 2.5: Ñ = 2/3.5 · 2.5 = 1.4286 and 1.0714,  codes (0.7 0) (3.2667 0)
    perplexity   tokens 0 0 0 1: exp(0.5623) = 1.7548
    hinges       real 2 0.5, fake -3 0:  ½ · 0.25 + ½ · 0.5 = 0.375;  the adversary 1.5
    weight       ∇ rec = (3 4), ∇ adversary = (0 2):  5 / 2.0001 = 2.49988

**Shapes**: vectors (…, D) with any leading axes, tokens (…) in int64, codes (K, D).  Results have
the dtype and the device of what comes in.  No function changes its arguments, but for the
book that restart_dead is given.

**Steps.**  A good place to pause is after VectorQuantizer.

    nearest_codes        7 min   squares by a product
    straight_through     3 min   one line, two gradients
    vq_losses            5 min   which side stands still?
    perplexity           5 min   0 · ln 0 is 0
    VectorQuantizer      9 min   the three together
    EMACodebook         14 min   two averages, no gradient
    restart_dead         9 min   new codes from the batch
    hinge_losses         5 min   two opponents
    adaptive_weight      9 min   gradients inside a loss
    vqgan_loss           6 min   all of it, from a step on

Sources: van den Oord, Vinyals and Kavukcuoglu 2017, "Neural Discrete Representation Learning";
Razavi et al. 2019, "Generating Diverse High-Fidelity Images with VQ-VAE-2"; Esser, Rombach and
Ommer 2021, "Taming Transformers for High-Resolution Image Synthesis" (VQGAN).

From scratch: torch.nn.functional.hinge_embedding_loss, sklearn and scipy may not be used.
"""

from torch import Generator, Tensor, nn


def nearest_codes(z: Tensor, codebook: Tensor) -> Tensor:
    """The token of each vector: z (…, D) to (…).  Of equally near codes the first.

    What depends on the order of nearly equal distances may go either way; no gradient is needed.
    """
    raise NotImplementedError


def straight_through(z: Tensor, quantized: Tensor) -> Tensor:
    """The value of `quantized` (…, D), up to rounding.  The gradient goes to z (…, D), unchanged, and not to `quantized`."""
    raise NotImplementedError


def vq_losses(z: Tensor, quantized: Tensor) -> tuple[Tensor, Tensor]:
    """(codebook loss, commitment), both ().  The first moves `quantized` alone, the second z alone."""
    raise NotImplementedError


def perplexity(tokens: Tensor, codes: int) -> float:
    """How many of the codes are in use, as an effective number, from tokens (…) below `codes`.  A Python float."""
    raise NotImplementedError


class VectorQuantizer(nn.Module):
    """A codebook that learns by gradient."""

    def __init__(self, codes: int, width: int, beta: float = 0.25) -> None:
        """codebook: an nn.Parameter (codes, width), uniform from -1 / codes to 1 / codes at the start."""
        raise NotImplementedError

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(quantized, tokens, loss) of z (…, width): straight through, the tokens, and the VQ loss ()."""
        raise NotImplementedError


class EMACodebook(nn.Module):
    """A codebook of moving averages.  It has buffers and no parameters."""

    def __init__(self, codes: Tensor, decay: float = 0.99, epsilon: float = 1e-5) -> None:
        """Begins with a copy of codes (K, D), to which no gradient flows.

        Buffers: codebook (K, D), counts (K,), which are N_k = 1, sums (K, D), M_k = e_k.
        """
        raise NotImplementedError

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(quantized, tokens, commitment) of z (…, D).

        quantized is straight through.  In training mode the averages move afterwards: the result is from before.  In
        evaluation mode nothing moves.
        """
        raise NotImplementedError

    def update(self, z: Tensor, tokens: Tensor) -> None:
        """Move counts, sums and codebook by one batch, in place: vectors (…, D) and their tokens (…).  No gradient."""
        raise NotImplementedError


def restart_dead(book: EMACodebook, z: Tensor, least: float, generator: Generator) -> int:
    """Give each code whose count is below `least` a vector of the batch z (…, D); returns how many.  Changes `book`.

    Each dead code gets another vector, drawn without replacement.  If there are fewer vectors than dead codes, the
    first dead ones get one each and the rest stay.  What is drawn becomes its row of codebook and sums, and its count
    becomes 1.  The generator is on the CPU.
    """
    raise NotImplementedError


def hinge_losses(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """(discriminator, adversary), both (), of scores of any two shapes."""
    raise NotImplementedError


def adaptive_weight(rec: Tensor, adversary: Tensor, last: Tensor) -> Tensor:
    """λ (), of two losses () that depend on the weights `last`.  It has no gradient.

    The losses can still be used for backward() afterwards, and no gradient is left on `last`.
    """
    raise NotImplementedError


def vqgan_loss(rec: Tensor, vq: Tensor, fake: Tensor, last: Tensor, step: int, start: int) -> Tensor:
    """The whole loss of encoder and decoder, (), from rec () and vq (), and the scores `fake` of what was painted.

    The adversary counts from step `start` on; before it, `fake` isn't looked at.
    """
    raise NotImplementedError
