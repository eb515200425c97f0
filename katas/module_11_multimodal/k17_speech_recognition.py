"""Speech recognition: CTC, beams of prefixes, and a spotter of keywords

**Before you start.**  You need logsumexp, 1-D convolution and dynamic programming.  Sound becomes
frames with the functions of audio_features, and errors are counted by text_metrics.  You may use
yours; the reference's are lent until yours are green:

    from .k16_audio_features import hann, mel_filters, stft
    from katas.module_03_language_models.k06_text_metrics import error_rate

CTC is new to you?  Read Hannun, "Sequence Modeling with CTC" (Distill, 2017).

**The idea.**  You have recordings and their texts, but nobody wrote down *when* each letter was
said.  A clip has 100 frames and its text 5 letters.  CTC (connectionist temporal classification)
lets a network say one symbol a frame, or *blank* for nothing new.  A row of these is an
alignment. Merge what repeats, drop the blanks, and a text is left.  Many alignments give the same
text.  CTC adds up the probabilities of all of them.  The network then learns by itself when
letters are said.

**The formulas.**  There are T frames and k symbols, one of which is the blank, written `-`. p[t,
c] is the probability of symbol c in frame t.  y is a target with L symbols, none of them blank.

    collapse    merge equal neighbours, then drop blanks:   - a a - a b  →  a a b
    P(y)        Σ over all alignments π with collapse(π) = y of  Πₜ p[t, πₜ]
    loss        -log P(y)
    states      z = -  y₁  -  y₂  -  …  y_L  -              2L + 1 of them, numbered from 0
    start       α₀[0] = p[0, -]    α₀[1] = p[0, y₁]    α₀[s] = 0 for the others
    step        αₜ[s] = p[t, zₛ] · (αₜ₋₁[s] + αₜ₋₁[s-1] + αₜ₋₁[s-2])
                the last term only if zₛ isn't blank and zₛ ≠ zₛ₋₂
    end         P(y) = α[2L] + α[2L - 1] in the last frame
    features    log(mel power + 1e-6), then minus its mean m, divided by (its std + 1e-5)
    chances     P(keyword i) / Σⱼ P(keyword j)

All of it is done with logarithms: 100 factors of 0.01 are too small for a float.

**A drawing**, of the states for the text `a b` in the worked example; ╲ leaves out the blank

    frame       0           1           2
    z₀ -      .50  ──▶    .10  ──▶    …
                  ╲           ╲
    z₁ a      .40  ──▶    .45  ──▶    …
                │ ╲         │ ╲
    z₂ -       0  ──▶     .08  ──▶    …
                  ╲         ╲ ╲
    z₃ b       0  ──▶     .12  ──▶   .39    ◀ ends here
                  ╲           ╲
    z₄ -       0  ──▶      0   ──▶   .036   ◀ or here

**Why a blank?**  Without it no text could have a double letter: `t t` would merge.  With one in
between it stays: `t - t`.  So the way from a letter straight to the next is closed if both are
equal.  The blank also fills the time in which nobody speaks.

**Why not take the best symbol of each frame?**  That is greedy decoding, and it finds the most
probable *alignment*.  A text with many alignments can be more probable as a whole.  A beam of
prefixes adds up alignments as it goes.  For each prefix it keeps two numbers: the mass of its
alignments that end in a blank, and of those that end in its last symbol.  Only after a blank can
the same symbol be said again.

**Why can CTC spot keywords?**  Your recogniser knows letters, not words.  But P(y) can be asked
for any y.  Ask for each keyword, and compare.  A new keyword needs no training.

**Worked by hand**, with the symbols - a b and three frames

    p[0]  .5 .4 .1      p[1]  .2 .5 .3      p[2]  .3 .1 .6
    y is a b      a a b  .12     a b b  .072     - a b  .15     a - b  .048     a b -  .036
                  together .426: the loss is .8533, and αs are in the drawing
    y is a a      only a - a: .4 · .2 · .1 = .008        the loss is 4.828
    y is empty    only - - -: .5 · .2 · .3 = .03         the loss is 3.507
    chances       of these three:  .426 .008 .03 divided by .464:  .9181 .0172 .0647
    beam          two frames, each - .6 and a .4:  greedy says nothing, and has .36
                  width 2:  a has .16 + .24 + .24 or .64, the empty text .36
                  width 1:  a is dropped after the first frame; the empty text stays, with .36
    frames        l e t t e r needs 7: six letters and a blank between the two t
    word errors   `one two` heard as `one too`: one of two words is wrong, 0.5

**Shapes**: a batch is b clips, padded to T frames: log_probs (b, T, k), lengths (b,) int64, each
from 1 to T.  Only the first lengths[i] frames of clip i count.  The padding may be any finite
numbers and changes nothing.  log_probs are finite unless said otherwise; they need not be
normalised.  Results have the dtype and the device of what comes in.  No function changes its
arguments.

**Steps.**  A good place to pause is after ctc_loss.

    log_mel              8 min   frames of 25 ms, every 10 ms
    collapse             4 min   merge first
    frames_needed        3 min   double letters
    ctc_loss            22 min   a trellis in logarithms, for a batch
    greedy_decode        4 min   without the padding
    prefix_beam_search  20 min   two masses a prefix
    Recogniser          12 min   convolutions look over the end
    keyword_chances      7 min   ask for each word
    word_error_rate      5 min   words, not letters

Sources: Graves, Fernández, Gomez and Schmidhuber 2006, "Connectionist Temporal Classification";
Hannun, Maas, Jurafsky and Ng 2014, "First-Pass Large Vocabulary Continuous Speech Recognition
using Bi-Directional Recurrent DNNs" (prefix beam search).

From scratch: torch.nn.functional.ctc_loss, torch.ctc_loss, torch.nn.CTCLoss, torchaudio, librosa,
scipy and jiwer may not be used.
"""

from collections.abc import Sequence

from torch import Tensor, nn


def log_mel(x: Tensor, rate: int, bands: int = 40) -> Tensor:
    """The features (..., frames, bands) of signals x (..., T) with `rate` samples a second.

    - The centred STFT (mirrored ends) with a periodic Hann window of rate // 40 samples and a hop of rate // 100.
    - Its squared magnitude goes through mel filters: the slaney scale, each of area 1, from 0 Hz to rate / 2.
    - Then the lesson's formula, with the natural logarithm.  m and std belong to one clip, over all its frames and
      bands together; the std is that with n below.  Leading axes are clips by themselves.
    - Silence gives zeros, to eight digits in float64.
    """
    raise NotImplementedError


def collapse(path: Sequence[int], blank: int = 0) -> list[int]:
    """The symbols that an alignment says.  An empty one says nothing: []."""
    raise NotImplementedError


def frames_needed(target: Sequence[int]) -> int:
    """The length of the shortest alignment of a target without blanks.  0 for an empty one."""
    raise NotImplementedError


def ctc_loss(log_probs: Tensor, targets: Tensor, lengths: Tensor, target_lengths: Tensor, blank: int = 0) -> Tensor:
    """The losses -log P(y), (b,), one for each clip: neither summed nor divided by anything.

    targets         (b, S), int64.  Only the first target_lengths[i] of row i count; the padding may be any
                    integers, also such that are no symbols, like -100.  S may be 0
    target_lengths  (b,), int64, from 0 to S

    - Gradients flow into log_probs.  The padding gets 0.
    - A target that has no alignment in its clip has the loss inf, and gives a gradient of 0, not NaN.
    - 300 frames with log-probabilities of -50 neither overflow nor underflow.

    Raises ValueError, naming the blank's number, if a target has it among the symbols that count.
    """
    raise NotImplementedError


def greedy_decode(log_probs: Tensor, lengths: Tensor, blank: int = 0) -> list[list[int]]:
    """For each clip, what the most probable symbols of its frames say.  Of equal ones any will do."""
    raise NotImplementedError


def prefix_beam_search(log_probs: Tensor, width: int, blank: int = 0) -> list[tuple[tuple[int, ...], float]]:
    """The most probable texts of one clip, log_probs (T, k), T ≥ 1, with their log-probabilities, the best first.

    - It begins with the empty prefix, of probability 1.  Each frame extends all prefixes of the beam by all symbols.
      Then the `width` prefixes with the largest sums of both masses stay.  The others are dropped with their masses.
    - Alignments that lead to the same prefix are added up, whichever prefixes of the beam they come from.
    - A prefix that was dropped may come up again, from a shorter one; it has the new mass alone.
    - Here log_probs may be -inf.  What has the probability 0 isn't in the result, so it may have fewer than `width`.
    - Log-probabilities are Python floats.  Of equal ones at the border of the beam any will do.

    Raises ValueError, naming width, if it is below 1.
    """
    raise NotImplementedError


class Recogniser(nn.Module):
    """Two convolutions over time and a linear layer: a small network that says one symbol for two frames."""

    def __init__(self, bands: int, width: int, symbols: int) -> None:
        """Makes three layers, with biases:

        down  nn.Conv1d, bands to width, kernel 5, stride 2, 2 zeros of padding at each end
        mix   nn.Conv1d, width to width, kernel 9, 4 zeros of padding at each end
        out   nn.Linear, width to symbols
        """
        raise NotImplementedError

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """x (b, T, bands), padded, to the log-probabilities (b, ⌈T/2⌉, symbols) and their lengths (b,), int64.

        - down, ReLU, mix, ReLU, out; then log-softmax over the symbols.
        - A clip with n frames has ⌈n/2⌉ frames afterwards.
        - Each clip gets what it would get alone, without its padding.  What comes out for the padding is open, but finite.
        """
        raise NotImplementedError


def keyword_chances(
    log_probs: Tensor, lengths: Tensor, keywords: Sequence[Sequence[int]], blank: int = 0
) -> Tensor:
    """The lesson's chances (b, n), of n ≥ 1 keywords for each clip.

    keywords  lists of symbols without blanks, which may differ in length

    A keyword that has no alignment has the chance 0.  Very small P(keyword) give no NaN.  Gradients flow.

    Raises ValueError, naming the first such clip's number, counted from 0, if no keyword has an alignment in it.
    """
    raise NotImplementedError


def word_error_rate(
    log_probs: Tensor, lengths: Tensor, references: Sequence[str], alphabet: str, blank: int = 0
) -> float:
    """All word errors by all words of the references, with greedy decoding.  A Python float.

    references  the b texts that were said
    alphabet    k characters: symbol i is alphabet[i].  That of the blank never comes out

    Words are what stands between white space.

    Raises what error_rate raises: a ValueError with both numbers of texts if they differ, or if there is no word.
    """
    raise NotImplementedError
