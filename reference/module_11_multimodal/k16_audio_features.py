"""Audio features: the reference."""

import math

import torch
from torch import Tensor


def hann(size: int, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Tensor:
    # In float64 first: 2πk/N in half precision would be off by more than the window's own digits.
    k = torch.arange(size, dtype=torch.float64, device=device)
    return ((1 - torch.cos(2 * math.pi * k / size)) / 2).to(dtype)


def cut_frames(x: Tensor, size: int, hop: int) -> Tensor:
    if x.shape[-1] < size:
        raise ValueError(f"a signal of {x.shape[-1]} samples has no frame of {size}")
    return x.unfold(-1, size, hop)


def _mirrored(x: Tensor, pad: int) -> Tensor:
    """x with `pad` samples more at each end; torch's own padding takes only some numbers of axes."""
    if x.shape[-1] <= pad:
        raise ValueError(f"a signal of {x.shape[-1]} samples can't be mirrored by {pad}: it needs more than that")
    head, tail = x[..., 1 : pad + 1].flip(-1), x[..., -pad - 1 : -1].flip(-1)
    return torch.cat([head, x, tail], dim=-1)


def stft(x: Tensor, window: Tensor, hop: int, center: bool = True) -> Tensor:
    size = len(window)
    if center:
        x = _mirrored(x, size // 2)
    return torch.fft.rfft(cut_frames(x, size, hop) * window).mT


def inverse_stft(spectrum: Tensor, window: Tensor, hop: int, length: int, center: bool = True) -> Tensor:
    size, (bins, n) = len(window), spectrum.shape[-2:]
    if bins != size // 2 + 1:
        raise ValueError(f"the spectrum has {bins} bins, a window of {size} samples gives {size // 2 + 1}")
    # Without n= an odd size would come back even.
    frames = torch.fft.irfft(spectrum.mT, n=size) * window
    start, total = size // 2 if center else 0, (n - 1) * hop + size
    if total - start < length:
        raise ValueError(f"{n} frames make {total - start} samples, fewer than the {length} asked for")
    # Where sample k of frame i belongs.  index_add adds up what falls on the same place.
    places = (torch.arange(n, device=window.device)[:, None] * hop + torch.arange(size, device=window.device)).flatten()
    signal = frames.new_zeros(*frames.shape[:-2], total).index_add(-1, places, frames.flatten(-2))
    weight = window.new_zeros(total).index_add(0, places, window.square().repeat(n))
    signal, weight = signal[..., start : start + length], weight[start : start + length]
    if (unseen := weight < 1e-11).any():
        raise ValueError(f"no window sees sample {int(unseen.nonzero()[0])}: Σ w² is 0 there")
    return signal / weight


_LINEAR, _KNEE, _STEP = 200 / 3, 1000.0, math.log(6.4) / 27
"""Slaney's scale: 66⅔ Hz a mel up to 1000 Hz, and from there on a factor of 6.4 in 27 mel."""


def _check_scale(scale: str) -> None:
    if scale not in ("slaney", "htk"):
        raise ValueError(f"the scale must be 'slaney' or 'htk', got {scale!r}")


def hz_to_mel(hz: Tensor, scale: str = "slaney") -> Tensor:
    _check_scale(scale)
    if scale == "htk":
        return 2595 * torch.log10(1 + hz / 700)
    # Both pieces are computed everywhere: where log(0) is -inf, the other one is taken.
    above = _KNEE / _LINEAR + torch.log(hz / _KNEE) / _STEP
    return torch.where(hz < _KNEE, hz / _LINEAR, above)


def mel_to_hz(mel: Tensor, scale: str = "slaney") -> Tensor:
    _check_scale(scale)
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    knee = _KNEE / _LINEAR
    return torch.where(mel < knee, mel * _LINEAR, _KNEE * torch.exp((mel - knee) * _STEP))


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
    high = rate / 2 if high is None else high
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"low and high must be in order, from 0 to {rate / 2}, got {low} and {high}")
    ends = hz_to_mel(torch.tensor([low, high], dtype=torch.float64), scale)
    corners = mel_to_hz(torch.linspace(*ends, bands + 2, dtype=torch.float64), scale)
    left, top, right = (corners[i : i + bands, None] for i in range(3))
    hz = torch.arange(size // 2 + 1, dtype=torch.float64) * rate / size
    # The lower of the rising and the falling line, and nothing below 0.
    filters = torch.minimum((hz - left) / (top - left), (right - hz) / (right - top)).clamp(min=0)
    if area:
        filters = filters * 2 / (right - left)
    return filters.to(dtype=dtype, device=device)


def decibels(power: Tensor, floor: float = 1e-10, span: float | None = 80.0) -> Tensor:
    if floor <= 0:
        raise ValueError(f"the floor must be above 0, got {floor}")
    levels = 10 * torch.log10(power.clamp(min=floor))
    if span is None:
        return levels
    # Over the last two axes only: a loud clip mustn't change a soft one that is in the same batch.
    return torch.maximum(levels, levels.amax(dim=(-2, -1), keepdim=True) - span)


def mfcc(levels: Tensor, n: int) -> Tensor:
    bands = levels.shape[-2]
    if not 1 <= n <= bands:
        raise ValueError(f"n must be from 1 to the {bands} bands, got {n}")
    k = torch.arange(n, dtype=torch.float64, device=levels.device)[:, None]
    m = torch.arange(bands, device=levels.device)
    basis = torch.cos(math.pi * k * (m + 0.5) / bands) * math.sqrt(2 / bands)
    basis[0] /= math.sqrt(2)  # so that every row has the length 1
    return basis.to(levels.dtype) @ levels


def griffin_lim(
    magnitude: Tensor, phase: Tensor, window: Tensor, hop: int, length: int, steps: int, momentum: float = 0.0
) -> Tensor:
    size, n = len(window), magnitude.shape[-1]
    expected = (length + 2 * (size // 2) - size) // hop + 1
    if n != expected:
        raise ValueError(f"a signal of {length} samples has {expected} frames, the magnitudes have {n}")
    before: Tensor | int = 0
    for _ in range(steps):
        now = stft(inverse_stft(torch.polar(magnitude, phase), window, hop, length), window, hop)
        # The angle, not a division by the absolute value: that would be 0/0 in silence.
        phase = (now + momentum * (now - before)).angle()
        before = now
    return inverse_stft(torch.polar(magnitude, phase), window, hop, length)
