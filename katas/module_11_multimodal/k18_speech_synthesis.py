"""Speech synthesis: from text to phonemes, and from phonemes to sound

**Before you start.**  You need regular expressions, a GRU and the STFT.  Spectra and phases come
from audio_features.  You may use yours; the reference's are lent until yours are green:

    from .k16_audio_features import griffin_lim, hann, stft

Speech is new to you?  Read Jurafsky and Martin, "Speech and Language Processing", the chapters on
phonetics and on text to speech.

**The idea.**  You want a machine that reads aloud.  Text doesn't say how it sounds: `$5` are two
words, and `one` begins with a w.  So you work in stages.  *Normalise* the text until only words
are left.  Turn letters into *phonemes*, the sounds of a language.  Decide how long each one
lasts.  Then make sound.  You will do that in two ways.  The old one imitates a throat: pulses go
through a tube with resonances.  The new one gets a mel spectrogram from a network, and finds a
signal for it.

**The formulas.**  GRU: x is the input, h the state, σ the logistic function, ⊙ the product
element by element.

    gates      r = σ(W_r x + b_r + U_r h + c_r)      z alike      W_r, W_z, W_n are stacked in w_ih
    state      n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n))            h' = (1 - z) ⊙ n + z ⊙ h
    duration   max(1, ⌊e^d / speed + ½⌋) frames for a log-duration d
    source     φ[t] = Σ f[s] / rate over s ≤ t
               a pulse of height √(rate / f[t]) where ⌊φ⌋ rises
    resonator  y[t] = (1 - a - b) x[t] + a y[t-1] + b y[t-2],   a = 2 ρ cos θ,   b = -ρ²
               ρ = e^(-π·bandwidth / rate),   θ = 2π·frequency / rate
    power      max(0, F⁺ M)       F⁺: the pseudo-inverse of the mel filters F.   M: the mel powers
    losses     A = √max(|STFT|², 1e-7)
               convergence    ‖A_target - A‖ / ‖A_target‖
               log magnitude  mean of |ln A_target - ln A|
    MCD        10·√2 / ln 10 · mean over frames of √ Σₖ (c[k] - d[k])²,  k from 1 on

U_r, U_z, U_n are stacked in w_hh, the b in b_ih, the c in b_hh: first r, then z, then n.

**A drawing**

    "$2 now" ─▶ two dollars now ─▶ T UW . D AA L ER Z … ─▶ frames ─▶ sound
             words             GRU                     durations

    pitch  ──▶  │    │    │    │     pulses ╲
                                             ├──▶ resonators ──▶  vowels, nasals
    no pitch    ≈≈≈≈≈≈≈≈≈≈≈≈≈≈≈≈     noise  ╱    one a formant   s, f, sh

**Why pulses and resonators?**  The vocal folds open and shut: that is the pulse train, and you
hear its rate as pitch.  Mouth and throat resonate at a few frequencies, the *formants*.  They
make an `ee` an `ee`, whoever says it.  So pitch and vowel can be set apart from each other.

**Why two spectral losses?**  Convergence looks at the loud parts, as the squares are large there.
The logarithm counts soft ones just as much, and the ear hears these.  Several frame sizes are
averaged: a long frame sees pitch, a short one sees when things happen.

**Why is c[0] left out of MCD?**  It is the loudness of the frame.  You ask how a voice sounds,
not how loudly it was recorded.

**Worked by hand**

    numbers      21 twenty-one    105 one hundred five    12,304 twelve thousand three hundred four
    text         "Dr. Lee paid $1,250.50 -- 20% off!"  becomes  doctor lee paid one thousand two
                 hundred fifty point five zero dollars twenty percent off
    GRU          one number each: x 1, h 0.5, w_ih 0 0 1, w_hh 0 0 1, no bias: r and z are ½
                 n = tanh(1 + ½ · ½) = 0.8483      h' = ½ · 0.8483 + ½ · 0.5 = 0.6742
    durations    e^d 2 0.2 3.4 at speed 1: 2 1 3 frames.  At speed 2: 1 1 2
    source       rate 8, pitch 3, 8 samples: φ .375 .75 1.125 1.5 1.875 2.25 2.625 3
                 pulses of √(8/3) = 1.633 at samples 2, 5 and 7
    resonator    rate 8, frequency 2, θ = π/2, bandwidth so that ρ = ½: a = 0, b = -¼
                 1 0 0 0 0 becomes 1.25 0 -0.3125 0 0.078125
    MCD          c 9 1 2, d 0 1 1: √(0 + 1) · 6.1419 = 6.1419

**Shapes**: numpy arrays are float64, signals have the shape (T,).  The last three functions take
torch tensors; there results have their dtype and device, and gradients flow through
spectral_losses.  No function changes its arguments.

**Steps.**  A good place to pause is after letters_to_phonemes.

    spell_number              8 min   thousands, hundreds, tens
    normalise                11 min   one pattern for all numbers
    gru_step                  6 min   r goes before the sum
    letters_to_phonemes       9 min   read, then write
    length_regulator          6 min   how long is each?
    source                    9 min   pulses and noise
    resonate                  8 min   one filter after the other
    speak                     8 min   put it together
    mel_to_signal             7 min   a pseudo-inverse, and Griffin–Lim
    spectral_losses           8 min   several frame sizes
    mel_cepstral_distortion   4 min   without loudness

Sources: Klatt 1980, "Software for a cascade/parallel formant synthesizer"; Sutskever, Vinyals and
Le 2014, "Sequence to Sequence Learning with Neural Networks"; Ren et al. 2019, "FastSpeech" (the
length regulator); Yamamoto, Song and Kim 2020, "Parallel WaveGAN" (the two losses); Kubichek 1993
(MCD).

From scratch: scipy, librosa, num2words, inflect, torchaudio, torch.nn.GRU, torch.nn.GRUCell,
torch.stft, torch.istft and torch.Tensor.stft may not be used.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

ABBREVIATIONS = {"dr.": "doctor", "mr.": "mister", "mrs.": "missus", "no.": "number", "etc.": "et cetera"}


class Phone(NamedTuple):
    """A sound of speech."""

    formants: tuple[float, ...]  # Hz: one resonator each, in this order; none leave the source as it is
    bandwidths: tuple[float, ...]  # Hz, one for each formant
    voiced: bool
    frames: float  # its length at speed 1, above 0
    loudness: float = 1.0  # the source is multiplied by it


def spell_number(n: int) -> str:
    """A number from 0 to 999,999 in English words, without "and": "twelve thousand three hundred four".

    A hyphen stands between tens and ones: "forty-two".

    Raises ValueError, naming n, for any other number.
    """
    raise NotImplementedError


def normalise(text: str) -> str:
    """The words of a text, in lower case, with one space between them and none at the ends.

    The text is ASCII.  Do these things in this order:

    - A part between white space that is an abbreviation, in any case, becomes its words.  "Dr.," is none.
    - A number is digits, with or without commas for thousands ("1,250"), then perhaps a point and more digits.
      Its words are those of spell_number, then, if there is a point, "point" and each digit behind it by itself.
      A comma belongs to it if just three digits follow, and a point if a digit follows.
    - "$" right before it: "dollars" follows the words, or "dollar" if it is a 1 without a point.
    - "%" right behind it: "percent" follows the words.  Not both "$" and "%" come with one number.
    - A number is a word of its own: "b2b" becomes "b two b".
    - All but letters and apostrophes becomes a space, hyphens as well: "twenty one".

    Raises what spell_number raises.
    """
    raise NotImplementedError


def gru_step(
    x: np.ndarray, h: np.ndarray, w_ih: np.ndarray, w_hh: np.ndarray, b_ih: np.ndarray, b_hh: np.ndarray
) -> np.ndarray:
    """The next state (m,), from x (d,) and h (m,); w_ih (3m, d), w_hh (3m, m), b_ih and b_hh (3m,)."""
    raise NotImplementedError


def letters_to_phonemes(word: str, weights: Mapping[str, np.ndarray], longest: int = 20) -> list[int]:
    """The phonemes of a word in lower case, as numbers: the most probable one each time.

    Two GRUs, as in the package g2p-en.  Both begin a step with an embedding, a row of *_emb:

    - Letters have the numbers 3 (a) to 28 (z), all else is 1, and 2 ends the word.
    - The encoder begins with a state of zeros and reads the word, then the 2.  Its last state goes to the decoder.
    - The decoder reads 2 first, then each phoneme that it has said.  After a step the logits are fc_w h + fc_b.
    - The phoneme with the largest logit is said.  Phoneme 3 ends it and isn't in the result.
    - After `longest` phonemes it stops, too.  longest is at least 1.

    weights  enc_emb (29, d), enc_w_ih, enc_w_hh, enc_b_ih, enc_b_hh, dec_emb (k, d), dec_w_ih, dec_w_hh, dec_b_ih,
             dec_b_hh, fc_w (k, m), fc_b (k,)
    """
    raise NotImplementedError


def length_regulator(features: np.ndarray, log_durations: np.ndarray, speed: float = 1.0) -> np.ndarray:
    """Each row of features (n, d) as often as its duration says: (frames, d).  n may be 0; the dtype stays.

    Raises ValueError, naming the speed, if it is 0 or below.
    """
    raise NotImplementedError


def source(pitch: np.ndarray, hop: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """The sound of the throat, (n · hop,), for n frames with these pitches in Hz: (n,), from 0 to rate / 2.

    - f is the pitch of the frame, for each of its `hop` samples.  φ before the first sample is 0.
    - Frames with a pitch of 0 have independent standard normal noise from `rng`, and φ stands still.
    - Voiced samples without a pulse are 0.  φ goes on over frames.  Its rounding may move a pulse by a sample.
    """
    raise NotImplementedError


def resonate(x: np.ndarray, formants: Sequence[float], bandwidths: Sequence[float], rate: int) -> np.ndarray:
    """x through one resonator after the other, in float64.  Before the start all y are 0.

    Raises ValueError, naming it, for a formant that isn't between 0 and rate / 2, both excluded.
    Raises ValueError, naming both numbers, if there aren't as many bandwidths as formants.
    """
    raise NotImplementedError


def speak(
    phones: Sequence[Phone], pitch: float, rate: int, hop: int, rng: np.random.Generator, speed: float = 1.0
) -> np.ndarray:
    """The sound of n ≥ 1 phones in a row.

    - Each lasts as many frames as the lesson says for d = ln(its frames).
    - One source for all, with `pitch` where a phone is voiced and 0 elsewhere.
    - Each phone's samples of it, times the loudness, go through its own resonators, which begin anew.

    Raises ValueError, naming the speed, if it is 0 or below.
    """
    raise NotImplementedError


def mel_to_signal(
    mel: Tensor, filters: Tensor, phase: Tensor, window: Tensor, hop: int, length: int, steps: int
) -> Tensor:
    """A signal (length,) with these mel powers (bands, frames): the lesson's power, its root, then griffin_lim.

    filters  (bands, bins)
    phase    (bins, frames): where Griffin–Lim begins.  Its momentum is 0

    Raises ValueError, naming both numbers of bands, if they differ.  Raises what griffin_lim raises.
    """
    raise NotImplementedError


def spectral_losses(x: Tensor, target: Tensor, sizes: Sequence[int] = (512, 128)) -> tuple[Tensor, Tensor]:
    """Spectral convergence and the log-magnitude loss of signals x and target (..., T), both without axes.

    - For each size: a centred STFT with a periodic Hann window of that size, and a hop of a quarter of it.
      Sizes are multiples of 4.
    - ‖ ‖ is the root of the sum of squares over all axes together; the mean is over all of them, too.
    - Each loss is the mean over the sizes.
    - No NaN in the gradient, for silence as well.

    Raises ValueError, naming both lengths, if x and target differ in T.
    """
    raise NotImplementedError


def mel_cepstral_distortion(c: Tensor, d: Tensor) -> float:
    """The MCD, in dB, of coefficients c and d (n, frames), as mfcc gives them: n ≥ 2 with k = 0 first.

    Raises ValueError, naming both numbers of frames, if they differ.
    """
    raise NotImplementedError
