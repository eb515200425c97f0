"""Audio features: spectrograms, mel bands, MFCCs, and the way back

**Before you start.**  You need the Fourier transform of a list of numbers (`torch.fft.rfft`) and
complex numbers in torch; no other kata.  If these are new: Jurafsky and Martin, "Speech and
Language Processing", in the chapter on speech recognition the section on log mel spectra.

**The idea.**  A sound file is a long row of numbers, some 16,000 a second.  A vowel and its echo
look quite different there, yet they sound alike.  What you hear is which frequencies are strong,
and when.  So you cut the row into short overlapping frames and take the spectrum of each.  That is
the short-time Fourier transform, the *STFT*.  Nearly every model of sound begins with it.
Then you keep what the ear keeps: the strength but not the phase, in bands that widen upwards, on
a logarithmic scale.  And you will walk back: from the STFT exactly, from its strength alone nearly.

**The formulas.**  x is the signal, w the window with N numbers, h the hop.  p is N // 2.

    window     w[k] = (1 - cos(2πk / N)) / 2                               k = 0, …, N - 1
    STFT       S[b, i] = Σₖ w[k] · x'[i·h + k] · e^(-2πi·b·k / N)          b = 0, …, N // 2
    inverse    x'[t] = Σᵢ w[t - i·h] · yᵢ[t - i·h]  /  Σᵢ w[t - i·h]²      yᵢ: frame i's inverse FFT
    mel        "htk"      2595 · log₁₀(1 + f / 700)
               "slaney"   3·f / 200 below 1000 Hz, from there on 15 + 27 · ln(f / 1000) / ln 6.4
    decibels   10 · log₁₀(power)
    DCT        c[k] = s[k] · Σₘ L[m] · cos(π·k·(m + ½) / M)       s[0] = √(1/M), other s[k] = √(2/M)

x' is x, with p samples more at each end if it is *centred*.  They mirror the signal without
repeating its end: 3 1 4 1 becomes 4 1 3 1 4 1 4 1 for p = 2.  Then frame i has its middle at
sample i·h of x.

    x'         ╭──p──╮━━━━━━━━━━━━━━━━ x ━━━━━━━━━━━━━━━━╭──p──╮
    frame 0    ▁▂▄▇█▇▄▂                                         middle at x[0]
    frame 1        ▁▂▄▇█▇▄▂                                     middle at x[h]
    frame 2            ▁▂▄▇█▇▄▂                                 middle at x[2h]
                   ╰h─╯

*Mel filters* are M triangles.  Their M + 2 corners are equally far apart on the mel scale, from
`low` to `high`.  Filter m rises from corner m to 1 at corner m + 1 and falls to 0 at corner m + 2.
It is read at the frequency of each bin, b · rate / N.

    filter 0   ●────▲──────●                                 ● 0    ▲ its top
    filter 1        ●──────▲─────────●
    filter 2               ●─────────▲──────────────●     wider and wider, in Hz
              low                                 high

*Two conventions* are common, and they don't mix.  HTK and many speech toolkits use the "htk" scale
and triangles of height 1.  Slaney's toolbox, librosa by default and Whisper use the "slaney"
scale and triangles of area 1: the height is 2 / (corner m + 2 - corner m), in hertz.

*Griffin–Lim* finds a signal for given magnitudes A.  Start with some phases φ, then repeat:

    x  ← inverse STFT of A · e^(iφ)           the nearest signal
    c  ← STFT of x                            its phases fit together, its magnitudes aren't A
    φ  ← phase of c + μ · (c - c before)      c before is 0 at first

**Why a window?**  A frame cut with sharp edges has jumps there, and a jump has all frequencies.
The window fades the frame in and out.

**Why divide by Σ w² on the way back?**  Going there weighs a sample with w, and coming back weighs
it again.  Without the division the sum swells and fades with the hop.  With it you get the signal
whose frames are nearest to the given ones, which is what Griffin–Lim needs.

**Why two logarithms?**  You hear the step from 200 to 400 Hz as large as that from 2000 to 4000.
And ten times the power is one step louder, wherever you start.

**Why the DCT?**  Neighbouring bands rise and fall together.  The first few coefficients describe
the broad shape of the spectrum, which tells vowels apart; pitch and detail are in the later ones.

**Worked by hand**, with N = 4, h = 2, and x = 3 1 4 1 5 9, not centred

    window         0 0.5 1 0.5
    frames         3 1 4 1  and  4 1 5 9
    windowed       0 0.5 4 0.5  and  0 0.5 5 4.5
    STFT           bins 5, -4, 3  and  10, -5 + 4i, 0
    back           Σ w·y = 0 0.25 4 0.5 5 2.25     Σ w² = 0 0.25 1 0.5 1 0.25
                   the quotient is ? 1 4 1 5 9: the first sample is lost, as no window sees it
                   were it centred, the first two would be cut off: 4 1 5 9
    mel            slaney: 440 Hz is 6.6, 6400 Hz is 42; htk: 700 Hz is 2595 · log₁₀ 2 = 781.17
    filters        rate 800, N = 8, M = 2, 0 to 400 Hz, slaney: corners 0 133⅓ 266⅔ 400
                   at 0 100 200 300 400 Hz: 0 ¾ ½ 0 0  and  0 0 ½ ¾ 0; of area 1: times 2 / 266⅔
    decibels       powers 100, 1 and 10⁻¹², floor 10⁻¹⁰: 20, 0, -100; span 80: 20, 0, -60
    MFCC           bands 1 3 2: 6/√3 = 3.464,  √(2/3) · (1 - 2) · cos 30° = -0.707,  -1.225

**Shapes**: signals are (..., T), spectra (..., bins, frames), with any leading axes, each clip by
itself.  Results have the device of what comes in, and its precision: float64 belongs with
complex128.  Windows have the dtype of what they meet.  Gradients flow through cut_frames, stft,
inverse_stft, decibels and mfcc.  No function changes its arguments.

**Steps.**  A good place to pause is after inverse_stft.

    hann            3 min   a period of N, not N - 1
    cut_frames      5 min   how many fit?
    stft            9 min   mirror any leading axes
    inverse_stft   14 min   add up, divide, cut off
    hz_to_mel       6 min   two pieces that meet
    mel_to_hz       5 min   the way back
    mel_filters    13 min   M + 2 corners, in hertz
    decibels        5 min   each clip has its own loudest
    mfcc            7 min   the first row differs
    griffin_lim    12 min   silence has no phase

Sources: Griffin and Lim 1984, "Signal Estimation from Modified Short-Time Fourier Transform";
Perraudin et al. 2013, "A Fast Griffin–Lim Algorithm" (the momentum); Davis and Mermelstein 1980
(MFCC); Slaney 1998, "Auditory Toolbox".

From scratch: torch.stft, torch.istft, torch.Tensor.stft, torch.Tensor.istft, torch.hann_window,
torch.signal, torchaudio, scipy and librosa may not be used.  torch.fft may.
"""

import torch
from torch import Tensor


def hann(size: int, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Tensor:
    """The periodic Hann window, (size,): it begins with 0, and would come back to 0 at k = size.

    Its values are right to the precision of `dtype`.
    """
    raise NotImplementedError


def cut_frames(x: Tensor, size: int, hop: int) -> Tensor:
    """x (..., T) to (..., frames, size): frame i is x[..., i · hop : i · hop + size].

    There are as many as fit; samples at the end that fill no frame are left out.  The hop may be larger
    than the size.  Whether the frames share memory with x is open.

    Raises ValueError, naming T and size, if not even one fits.
    """
    raise NotImplementedError


def stft(x: Tensor, window: Tensor, hop: int, center: bool = True) -> Tensor:
    """x (..., T), real, to its STFT, complex, (..., N // 2 + 1, frames), where `window` has N numbers.

    With `center` x is mirrored by N // 2 samples at each end first, as drawn.  N may be odd.

    Raises ValueError, naming T and N // 2, if x is too short to be mirrored: T must be above N // 2.
    Raises ValueError, naming T and N, if `center` is False and not even one frame fits.
    """
    raise NotImplementedError


def inverse_stft(spectrum: Tensor, window: Tensor, hop: int, length: int, center: bool = True) -> Tensor:
    """The signal (..., length) for a spectrum (..., N // 2 + 1, frames): the formula, then the first `length` samples.

    - With `center` the N // 2 mirrored samples at the start are cut off first.
    - Any spectrum will do, also one that no signal has.

    Raises ValueError, naming the spectrum's bins and those of the window, if they differ.
    Raises ValueError, naming `length` and the number of samples from the result's first to the
    last frame's end, if there are fewer.
    Raises ValueError, naming the first such sample, where Σ w² is below 1e-11.  It is counted in the
    result, from 0; what is cut off isn't looked at.
    """
    raise NotImplementedError


def hz_to_mel(hz: Tensor, scale: str = "slaney") -> Tensor:
    """Frequencies of any shape, at least 0, in mel.  The scale is "slaney" or "htk".

    Raises ValueError, naming it, for another scale.
    """
    raise NotImplementedError


def mel_to_hz(mel: Tensor, scale: str = "slaney") -> Tensor:
    """The inverse of hz_to_mel, with the same scales and the same error."""
    raise NotImplementedError


def mel_filters(
    rate: int,
    size: int,
    bands: int,
    low: float = 0.0,
    high: float | None = None,
    scale: str = "slaney",
    area: bool = True,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """The triangles (bands, size // 2 + 1), for spectra of frames of `size` samples, `rate` samples a second.

    `high` is rate / 2 unless given.  With `area` each has the area 1, otherwise the height 1 at its top;
    the top may lie between two bins, and a narrow filter may miss all of them and be 0.
    The values are right to the precision of `dtype`.

    Raises ValueError, naming low and high, unless 0 ≤ low < high ≤ rate / 2.
    Raises ValueError, naming it, for a scale that hz_to_mel doesn't know.
    """
    raise NotImplementedError


def decibels(power: Tensor, floor: float = 1e-10, span: float | None = 80.0) -> Tensor:
    """Powers (..., bands, frames), at least 0, in decibels.

    - A power below `floor` counts as `floor`.
    - With a span, nothing in a clip stays lower than `span` below the clip's highest value: lower values
      are raised to there.  A clip is the last two axes; what else is in the batch changes nothing.
      With span None nothing is raised.

    Raises ValueError, naming it, for a floor of 0 or below.
    """
    raise NotImplementedError


def mfcc(levels: Tensor, n: int) -> Tensor:
    """The first n coefficients of the DCT over the bands: (..., bands, frames) to (..., n, frames).

    Raises ValueError, naming n and the bands, unless 1 ≤ n ≤ bands.
    """
    raise NotImplementedError


def griffin_lim(
    magnitude: Tensor, phase: Tensor, window: Tensor, hop: int, length: int, steps: int, momentum: float = 0.0
) -> Tensor:
    """A signal (..., length) whose centred STFT has nearly the given magnitudes (..., bins, frames).

    phase     the phases to begin with, in radians, in the shape of `magnitude`
    steps     how often all three lines are done; then the first line once more makes the result, so that
              0 steps give the inverse STFT of A · e^(iφ)
    momentum  μ, from 0 to 1

    Where the sum in the third line is 0, any phase will do: silence gives silence, not NaN.

    Raises ValueError, naming both numbers of frames, if a signal of `length` has another number than `magnitude`.
    Raises what inverse_stft raises.
    """
    raise NotImplementedError
