"""Speech synthesis: the reference."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from katas.module_11_multimodal.k16_audio_features import griffin_lim, hann, stft

ABBREVIATIONS = {"dr.": "doctor", "mr.": "mister", "mrs.": "missus", "no.": "number", "etc.": "et cetera"}

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NUMBER = re.compile(r"(\$?)(\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.(\d+))?(%?)")


class Phone(NamedTuple):
    formants: tuple[float, ...]
    bandwidths: tuple[float, ...]
    voiced: bool
    frames: float
    loudness: float = 1.0


def spell_number(n: int) -> str:
    if not 0 <= n < 1_000_000:
        raise ValueError(f"only numbers from 0 to 999,999 can be spelled, got {n}")
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10 - 2] + (f"-{ONES[n % 10]}" if n % 10 else "")
    size, name = (1000, "thousand") if n >= 1000 else (100, "hundred")
    rest = f" {spell_number(n % size)}" if n % size else ""
    return f"{spell_number(n // size)} {name}{rest}"


def _say_number(found: re.Match[str]) -> str:
    dollar, whole, digits, percent = found.groups()
    words = [spell_number(int(whole.replace(",", "")))]
    if digits:
        words += ["point", *(ONES[int(digit)] for digit in digits)]
    if dollar:
        words.append("dollar" if words == ["one"] else "dollars")
    if percent:
        words.append("percent")
    return f" {' '.join(words)} "


def normalise(text: str) -> str:
    text = " ".join(ABBREVIATIONS.get(part, part) for part in text.lower().split())
    return " ".join(re.sub("[^a-z']", " ", NUMBER.sub(_say_number, text)).split())


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(x / 2)) / 2  # 1 / (1 + e^-x) without an overflow


def gru_step(
    x: np.ndarray, h: np.ndarray, w_ih: np.ndarray, w_hh: np.ndarray, b_ih: np.ndarray, b_hh: np.ndarray
) -> np.ndarray:
    x_r, x_z, x_n = np.split(w_ih @ x + b_ih, 3)
    h_r, h_z, h_n = np.split(w_hh @ h + b_hh, 3)
    r, z = _sigmoid(x_r + h_r), _sigmoid(x_z + h_z)
    return (1 - z) * np.tanh(x_n + r * h_n) + z * h


def letters_to_phonemes(word: str, weights: Mapping[str, np.ndarray], longest: int = 20) -> list[int]:
    encoder, decoder = (
        [weights[f"{side}_{name}"] for name in ("w_ih", "w_hh", "b_ih", "b_hh")] for side in ("enc", "dec")
    )
    h = np.zeros(encoder[1].shape[1])
    for number in [*(ord(c) - 94 if "a" <= c <= "z" else 1 for c in word), 2]:
        h = gru_step(weights["enc_emb"][number], h, *encoder)
    said, last = [], 2
    while len(said) < longest:
        h = gru_step(weights["dec_emb"][last], h, *decoder)
        last = int((weights["fc_w"] @ h + weights["fc_b"]).argmax())
        if last == 3:
            break
        said.append(last)
    return said


def length_regulator(features: np.ndarray, log_durations: np.ndarray, speed: float = 1.0) -> np.ndarray:
    if speed <= 0:
        raise ValueError(f"the speed must be above 0, got {speed}")
    frames = np.maximum(1, np.floor(np.exp(log_durations) / speed + 0.5)).astype(int)
    return np.repeat(features, frames, axis=0)


def source(pitch: np.ndarray, hop: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    f = np.repeat(pitch, hop)
    phase = np.floor(np.cumsum(f / rate))
    # Twice as many pulses of 1/√2 of the height have the same power.
    height = np.sqrt(rate / np.where(f > 0, f, 1))
    pulses = np.where(np.diff(phase, prepend=0) > 0, height, 0)
    return np.where(f > 0, pulses, rng.standard_normal(len(f)))


def resonate(x: np.ndarray, formants: Sequence[float], bandwidths: Sequence[float], rate: int) -> np.ndarray:
    if len(formants) != len(bandwidths):
        raise ValueError(f"there are {len(formants)} formants, but {len(bandwidths)} bandwidths")
    y = np.asarray(x, dtype=float)
    for frequency, bandwidth in zip(formants, bandwidths, strict=True):
        if not 0 < frequency < rate / 2:
            raise ValueError(f"a formant must be between 0 and {rate / 2}, got {frequency}")
        radius = math.exp(-math.pi * bandwidth / rate)
        a, b = 2 * radius * math.cos(2 * math.pi * frequency / rate), -(radius**2)
        before, earlier, filtered = 0.0, 0.0, []
        for value in y.tolist():
            # 1 - a - b: a gain of 1 at 0 Hz, so that a cascade doesn't grow with each formant.
            before, earlier = (1 - a - b) * value + a * before + b * earlier, before
            filtered.append(before)
        y = np.array(filtered)
    return y


def speak(
    phones: Sequence[Phone], pitch: float, rate: int, hop: int, rng: np.random.Generator, speed: float = 1.0
) -> np.ndarray:
    numbers = np.arange(len(phones))
    which = length_regulator(numbers, np.log([phone.frames for phone in phones]), speed)
    sound = source(np.array([pitch if phones[i].voiced else 0.0 for i in which]), hop, rate, rng)
    parts = np.split(sound, np.cumsum(np.bincount(which) * hop)[:-1])
    return np.concatenate(
        [resonate(p.loudness * part, p.formants, p.bandwidths, rate) for p, part in zip(phones, parts, strict=True)]
    )


def mel_to_signal(
    mel: Tensor, filters: Tensor, phase: Tensor, window: Tensor, hop: int, length: int, steps: int
) -> Tensor:
    if len(mel) != len(filters):
        raise ValueError(f"the spectrogram has {len(mel)} bands, the filters have {len(filters)}")
    power = (torch.linalg.pinv(filters) @ mel).clamp(min=0)
    return griffin_lim(power.sqrt(), phase, window, hop, length, steps)


def spectral_losses(x: Tensor, target: Tensor, sizes: Sequence[int] = (512, 128)) -> tuple[Tensor, Tensor]:
    if x.shape[-1] != target.shape[-1]:
        raise ValueError(f"the signals have {x.shape[-1]} and {target.shape[-1]} samples")
    convergence, logarithmic = [], []
    for size in sizes:
        window = hann(size, x.dtype, x.device)
        # Squares are clamped before the root: the root of 0 has no gradient.
        ours, theirs = (
            torch.view_as_real(stft(one, window, size // 4)).square().sum(-1).clamp(min=1e-7).sqrt()
            for one in (x, target)
        )
        convergence.append((theirs - ours).square().sum().clamp(min=1e-30).sqrt() / theirs.square().sum().sqrt())
        logarithmic.append((theirs.log() - ours.log()).abs().mean())
    return torch.stack(convergence).mean(), torch.stack(logarithmic).mean()


def mel_cepstral_distortion(c: Tensor, d: Tensor) -> float:
    if c.shape[1] != d.shape[1]:
        raise ValueError(f"c has {c.shape[1]} frames, d has {d.shape[1]}: align them first")
    distance = (c[1:] - d[1:]).square().sum(0).sqrt().mean()
    return (10 * math.sqrt(2) / math.log(10) * distance).item()
