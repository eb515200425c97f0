"""Judges k16_audio_features against torch.stft, scipy and librosa, against sums written out, and against least squares."""

import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from katas.module_11_multimodal.k16_audio_features import (
    cut_frames,
    decibels,
    griffin_lim,
    hann,
    hz_to_mel,
    inverse_stft,
    mel_filters,
    mel_to_hz,
    mfcc,
    stft,
)

pytestmark = [
    from_scratch(
        "torch.stft",
        "torch.istft",
        "torch.Tensor.stft",
        "torch.Tensor.istft",
        "torch.hann_window",
        "torch.signal",
        "torchaudio",
        "scipy",
        "librosa",
    ),
    pure(),
]

INSTALL = "needs the extra `multimodal`: pip install -c constraints.txt -e '.[multimodal]'"


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype)


def torchs_window(size: int) -> torch.Tensor:
    return torch.hann_window(size, dtype=torch.float64)


def uneven(size: int) -> torch.Tensor:
    """A window that is neither symmetric nor 0 anywhere."""
    return 0.2 + torch.rand(size, dtype=torch.float64)


HAND = numbers(3, 1, 4, 1, 5, 9)
HAND_WINDOW = numbers(0, 0.5, 1, 0.5)


class TestHann:
    def test_the_example_worked_by_hand(self):
        assert_close(hann(4, torch.float64), HAND_WINDOW)

    @pytest.mark.parametrize("size", [2, 5, 16, 401])
    def test_matches_torchs_periodic_window(self, size):
        assert_close(hann(size, torch.float64), torchs_window(size))

    def test_is_float32_by_default(self):
        assert_close(hann(6), torch.hann_window(6))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_is_exact_in_a_rough_dtype(self, dtype):
        assert_close(hann(700, dtype), torchs_window(700).to(dtype))


class TestCutFrames:
    def test_the_example_worked_by_hand(self):
        assert_close(cut_frames(HAND, 4, 2), torch.stack([numbers(3, 1, 4, 1), numbers(4, 1, 5, 9)]))

    @pytest.mark.parametrize(("length", "size", "hop"), [(10, 3, 2), (11, 3, 2), (9, 9, 4), (17, 4, 1), (20, 3, 7)])
    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_each_frame_is_a_slice(self, lead, length, size, hop):
        x = noise(*lead, length)
        starts = range(0, length - size + 1, hop)
        assert_close(cut_frames(x, size, hop), torch.stack([x[..., s : s + size] for s in starts], dim=-2))

    @pytest.mark.parametrize(("length", "size"), [(4, 5), (7, 23)])
    def test_refuses_a_signal_without_a_frame(self, length, size):
        with raises(ValueError, length, size):
            cut_frames(noise(2, length), size, 3)

    def test_gradients(self):
        assert torch.autograd.gradcheck(lambda x: cut_frames(x, 4, 3), noise(2, 11).requires_grad_())


class TestStft:
    def test_the_example_worked_by_hand(self):
        expected = torch.tensor([[5, 10], [-4, -5 + 4j], [3, 0]], dtype=torch.complex128)
        assert_close(stft(HAND, HAND_WINDOW, 2, center=False), expected)

    def test_is_the_sum_of_the_formula(self):
        x, window = noise(13), uneven(5)
        k, b = torch.arange(5, dtype=torch.float64), torch.arange(3, dtype=torch.float64)[:, None]
        wave = torch.polar(torch.ones(3, 5, dtype=torch.float64), -2 * math.pi * b * k / 5)
        expected = torch.stack([(wave * window * x[i : i + 5]).sum(-1) for i in (0, 3, 6)], dim=-1)
        assert_close(stft(x, window, 3, center=False), expected)

    @pytest.mark.parametrize("center", [True, False])
    @pytest.mark.parametrize(("length", "size", "hop"), [(40, 8, 2), (41, 8, 3), (33, 7, 3), (30, 10, 10), (29, 6, 11)])
    def test_matches_torch(self, length, size, hop, center):
        x, window = noise(2, length), uneven(size)
        expected = torch.stft(x, size, hop, window=window, center=center, return_complex=True)
        assert_close(stft(x, window, hop, center), expected, rtol=1e-11, atol=1e-11)

    def test_is_centred_by_default(self):
        x, window = noise(30), torchs_window(8)
        assert_close(stft(x, window, 4), torch.stft(x, 8, 4, window=window, return_complex=True))

    def test_a_frame_has_its_middle_at_its_sample(self):
        x = torch.zeros(50, dtype=torch.float64)
        x[21] = 1.0
        strength = stft(x, torchs_window(10), 7).abs().sum(0)
        assert_equal(int(strength.argmax()), 3)

    @pytest.mark.parametrize("center", [True, False])
    @pytest.mark.parametrize("lead", [(1,), (2, 3), (2, 1, 3)])
    def test_each_clip_by_itself(self, lead, center):
        x, window = noise(*lead, 26), uneven(8)
        flat = torch.stft(x.reshape(-1, 26), 8, 3, window=window, center=center, return_complex=True)
        assert_close(stft(x, window, 3, center), flat.reshape(*lead, *flat.shape[1:]))

    def test_keeps_single_precision(self):
        x, window = noise(30, dtype=torch.float32), torch.hann_window(8)
        assert_close(stft(x, window, 4), torch.stft(x, 8, 4, window=window, return_complex=True))

    def test_the_shortest_signal_that_can_be_mirrored(self):
        x, window = noise(5), uneven(8)
        assert_close(stft(x, window, 2), torch.stft(x, 8, 2, window=window, return_complex=True))

    @pytest.mark.parametrize(("length", "size", "half"), [(4, 8, 4), (6, 25, 12)])
    def test_refuses_to_mirror_a_short_signal(self, length, size, half):
        with raises(ValueError, length, half):
            stft(noise(length), uneven(size), 2)

    def test_refuses_a_signal_without_a_frame(self):
        with raises(ValueError, 9, 12):
            stft(noise(9), uneven(12), 2, center=False)

    @pytest.mark.parametrize("center", [True, False])
    def test_gradients(self, center):
        window = uneven(4)
        x = noise(2, 9).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: torch.view_as_real(stft(x, window, 3, center)), x)


class TestInverseStft:
    def test_the_example_worked_by_hand(self):
        spectrum = torch.tensor([[5, 10], [-4, -5 + 4j], [3, 0]], dtype=torch.complex128)
        assert_close(inverse_stft(spectrum, HAND_WINDOW, 2, 4), numbers(4, 1, 5, 9))

    def test_the_example_with_a_window_that_sees_the_first_sample(self):
        spectrum = torch.tensor([[5, 10], [-4, -5 + 4j], [3, 0]], dtype=torch.complex128)
        window = HAND_WINDOW + 0.25
        y = torch.stack([numbers(0, 0.5, 4, 0.5), numbers(0, 0.5, 5, 4.5)]) * window
        w = window.square()
        top = torch.cat([y[0, :2], y[0, 2:] + y[1, :2], y[1, 2:]])
        assert_close(
            inverse_stft(spectrum, window, 2, 6, center=False),
            top / torch.cat([w[:2], w[2:] + w[:2], w[2:]]),
        )

    @pytest.mark.parametrize(("size", "hop"), [(8, 2), (8, 3), (9, 4), (12, 6), (16, 1)])
    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_brings_a_signal_back(self, lead, size, hop):
        x, window = noise(*lead, 48), torchs_window(size)
        flat = torch.stft(x.reshape(-1, 48), size, hop, window=window, return_complex=True)
        spectrum = flat.reshape(*lead, *flat.shape[1:])
        assert_close(inverse_stft(spectrum, window, hop, 48), x)

    @pytest.mark.parametrize(("size", "hop", "frames", "length"), [(8, 3, 9, 20), (7, 2, 6, 9), (10, 10, 4, 27)])
    def test_any_spectrum_matches_torch(self, size, hop, frames, length):
        window = uneven(size)
        spectrum = torch.complex(noise(2, size // 2 + 1, frames), noise(2, size // 2 + 1, frames))
        expected = torch.istft(spectrum, size, hop, window=window, length=length)
        assert_close(inverse_stft(spectrum, window, hop, length), expected, rtol=1e-11, atol=1e-11)

    @pytest.mark.parametrize(("size", "hop", "frames"), [(6, 2, 4), (5, 3, 3)])
    def test_is_the_signal_with_the_nearest_frames(self, size, hop, frames):
        window, total = uneven(size), (frames - 1) * hop + size
        spectrum = torch.complex(noise(size // 2 + 1, frames), noise(size // 2 + 1, frames))
        goal = torch.fft.irfft(spectrum.T, n=size).reshape(-1)
        rows = torch.zeros(frames * size, total, dtype=torch.float64)  # signal to windowed frames
        for i in range(frames):
            rows[i * size : (i + 1) * size, i * hop : i * hop + size] = torch.diag(window)
        nearest = torch.linalg.lstsq(rows, goal[:, None]).solution[:, 0]
        assert_close(inverse_stft(spectrum, window, hop, total, center=False), nearest)

    @pytest.mark.parametrize("center", [True, False])
    def test_as_long_as_asked_for(self, center):
        x, window = noise(30), uneven(8)
        spectrum = torch.stft(x, 8, 2, window=window, center=center, return_complex=True)
        for length in (30, 17, 1):
            assert_close(inverse_stft(spectrum, window, 2, length, center), x[:length])

    def test_up_to_the_last_sample_that_there_is(self):
        window = uneven(8)
        spectrum = torch.complex(noise(5, 4), noise(5, 4))
        found = inverse_stft(spectrum, window, 3, 13)  # 3 · 3 + 8 - 4
        last = torch.fft.irfft(spectrum.T, n=8)[-1, -1] / window[-1]
        assert_close(found[-1], last)

    def test_is_centred_by_default(self):
        x, window = noise(24), torchs_window(8)
        spectrum = torch.stft(x, 8, 4, window=window, return_complex=True)
        assert_close(inverse_stft(spectrum, window, 4, 24), x)

    def test_matches_scipy(self):
        from scipy import signal

        x, window = noise(64), torchs_window(16)
        short = signal.ShortTimeFFT(window.numpy(), 4, 1.0, fft_mode="onesided", phase_shift=None)
        spectrum = torch.from_numpy(short.stft(x.numpy()))
        start = -short.p_min * 4  # the first frame has its middle that far before sample 0
        found = inverse_stft(spectrum, window, 4, start + 60)
        assert_close(found[start:], x[:60])

    def test_keeps_single_precision(self):
        x, window = noise(30, dtype=torch.float32), torch.hann_window(8)
        spectrum = torch.stft(x, 8, 4, window=window, return_complex=True)
        assert_close(inverse_stft(spectrum, window, 4, 30), x)

    @pytest.mark.parametrize(("bins", "size", "right"), [(6, 8, 5), (11, 25, 13)])
    def test_refuses_bins_of_another_window(self, bins, size, right):
        with raises(ValueError, bins, right):
            inverse_stft(torch.zeros(2, bins, 3, dtype=torch.complex128), uneven(size), 2, 4)

    @pytest.mark.parametrize(("center", "there"), [(True, 13), (False, 17)])
    def test_refuses_more_than_there_is(self, center, there):
        spectrum = torch.complex(noise(5, 4), noise(5, 4))
        for length in (there + 1, 31):
            with raises(ValueError, there, length):
                inverse_stft(spectrum, uneven(8), 3, length, center)

    def test_refuses_the_lost_sample_of_the_example(self):
        spectrum = torch.tensor([[5, 10], [-4, -5 + 4j], [3, 0]], dtype=torch.complex128)
        with raises(ValueError, 0):
            inverse_stft(spectrum, HAND_WINDOW, 2, 6, center=False)

    @pytest.mark.parametrize(("center", "size", "hop", "first"), [(False, 3, 5, 3), (True, 4, 6, 2), (True, 14, 40, 7)])
    def test_refuses_gaps_between_frames(self, center, size, hop, first):
        spectrum = torch.complex(noise(size // 2 + 1, 3), noise(size // 2 + 1, 3))
        with raises(ValueError, first):
            inverse_stft(spectrum, uneven(size), hop, hop + 1, center)

    def test_a_small_weight_is_no_gap(self):
        x, window = noise(18), torch.full((6,), 4e-5, dtype=torch.float64)  # Σ w² is 1.6e-9 at the ends
        spectrum = torch.stft(x, 6, 3, window=window, center=False, return_complex=True)
        assert_close(inverse_stft(spectrum, window, 3, 18, center=False), x)

    def test_a_tiny_weight_is_a_gap(self):
        spectrum = torch.complex(noise(4, 3), noise(4, 3))
        window = uneven(6)
        window[4] = 2e-6
        inverse_stft(spectrum, window, 5, 4, center=False)
        with raises(ValueError, 4):
            inverse_stft(spectrum, window, 5, 16, center=False)

    def test_a_gap_after_the_end_doesnt_matter(self):
        spectrum = torch.complex(noise(2, 3, 2), noise(2, 3, 2))
        window = uneven(4)
        y = torch.fft.irfft(spectrum.transpose(1, 2), n=4)[:, 0] / window
        assert_close(inverse_stft(spectrum, window, 6, 2), y[:, 2:])
        assert_close(inverse_stft(spectrum, window, 6, 4, center=False), y)

    @pytest.mark.parametrize("center", [True, False])
    def test_gradients(self, center):
        window = uneven(5)
        parts = noise(2, 3, 4, 2).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda parts: inverse_stft(torch.view_as_complex(parts), window, 2, 7, center), parts
        )


SCALES = ["slaney", "htk"]


class TestHzToMel:
    def test_the_example_worked_by_hand(self):
        assert_close(hz_to_mel(numbers(440, 6400)), numbers(6.6, 42))
        assert_close(hz_to_mel(numbers(700), "htk"), numbers(2595 * math.log10(2)))

    @pytest.mark.parametrize("scale", SCALES)
    def test_both_scales(self, scale):
        hz = numbers(0, 13.7, 250, 999, 1000, 1001, 3456.7, 22050)
        if scale == "htk":
            expected = [2595 * math.log10(1 + f / 700) for f in hz.tolist()]
        else:
            expected = [3 * f / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4) for f in hz.tolist()]
        assert_close(hz_to_mel(hz, scale), numbers(*expected))
        assert_close(hz_to_mel(hz.reshape(2, 4), scale), numbers(*expected).reshape(2, 4))
        assert_close(hz_to_mel(hz[6], scale), numbers(*expected)[6])

    @pytest.mark.parametrize("scale", SCALES)
    def test_keeps_single_precision(self, scale):
        hz = torch.tensor([20.0, 1500.0])
        assert_close(hz_to_mel(hz, scale), hz_to_mel(hz.double(), scale).float(), rtol=1e-5)  # 1 + f / 700

    @pytest.mark.parametrize("scale", ["mel", "HTK", "bark"])
    def test_refuses_other_scales(self, scale):
        with raises(ValueError, scale):
            hz_to_mel(numbers(100.0), scale)


class TestMelToHz:
    def test_the_example_worked_by_hand(self):
        assert_close(mel_to_hz(numbers(6.6, 42)), numbers(440, 6400))
        assert_close(mel_to_hz(numbers(2595 * math.log10(2)), "htk"), numbers(700))

    @pytest.mark.parametrize("scale", SCALES)
    def test_brings_back_what_hz_to_mel_made(self, scale):
        hz = numbers(0, 13.7, 250, 999, 1000, 1001, 3456.7, 22050)
        if scale == "htk":
            mel = [2595 * math.log10(1 + f / 700) for f in hz.tolist()]
        else:
            mel = [3 * f / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4) for f in hz.tolist()]
        assert_close(mel_to_hz(numbers(*mel).reshape(2, 4), scale), hz.reshape(2, 4), rtol=1e-10)

    @pytest.mark.parametrize("scale", SCALES)
    def test_keeps_single_precision(self, scale):
        mel = torch.tensor([3.0, 21.0])
        assert_close(mel_to_hz(mel, scale), mel_to_hz(mel.double(), scale).float(), rtol=1e-4)  # 10^… - 1

    @pytest.mark.parametrize("scale", ["mel", "HTK", "bark"])
    def test_refuses_other_scales(self, scale):
        with raises(ValueError, scale):
            mel_to_hz(numbers(10.0), scale)


def triangle(hz: float, left: float, top: float, right: float) -> float:
    if hz <= left or hz >= right:
        return 0.0
    return (hz - left) / (top - left) if hz <= top else (right - hz) / (right - top)


def filters_by_hand(rate, size, bands, low, high, scale, area) -> torch.Tensor:
    """Number by number, with the scales written once more."""
    if scale == "htk":
        there, back = lambda f: 2595 * math.log10(1 + f / 700), lambda m: 700 * (10 ** (m / 2595) - 1)
    else:
        there = lambda f: 0.015 * f if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)  # noqa: E731
        back = lambda m: m / 0.015 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27)  # noqa: E731
    a, b = there(low), there(high)
    corners = [back(a + (b - a) * i / (bands + 1)) for i in range(bands + 2)]
    rows = []
    for left, top, right in zip(corners, corners[1:], corners[2:], strict=False):
        height = 2 / (right - left) if area else 1.0
        rows.append([height * triangle(b * rate / size, left, top, right) for b in range(size // 2 + 1)])
    return torch.tensor(rows, dtype=torch.float64)


class TestMelFilters:
    def test_the_example_worked_by_hand(self):
        expected = torch.stack([numbers(0, 0.75, 0.5, 0, 0), numbers(0, 0, 0.5, 0.75, 0)])
        found = mel_filters(800, 8, 2, 0.0, 400.0, "slaney", area=False, dtype=torch.float64)
        assert_close(found, expected)
        found = mel_filters(800, 8, 2, 0.0, 400.0, "slaney", area=True, dtype=torch.float64)
        assert_close(found, expected * 2 / (800 / 3))

    @pytest.mark.parametrize("area", [True, False])
    @pytest.mark.parametrize("scale", SCALES)
    @pytest.mark.parametrize(
        ("rate", "size", "bands", "low", "high"),
        [(8000, 256, 12, 0.0, 4000.0), (16000, 401, 20, 60.0, 7600.0), (22050, 64, 5, 1200.0, 9000.0)],
    )
    def test_both_scales_and_both_heights(self, rate, size, bands, low, high, scale, area):
        found = mel_filters(rate, size, bands, low, high, scale, area, dtype=torch.float64)
        assert_close(found, filters_by_hand(rate, size, bands, low, high, scale, area))

    def test_the_defaults_are_slaneys(self):
        expected = filters_by_hand(8000, 128, 9, 0.0, 4000.0, "slaney", True)
        assert_close(mel_filters(8000, 128, 9), expected.float())
        assert_close(mel_filters(8000, 128, 9, dtype=torch.float64), expected)

    def test_low_alone_and_high_alone(self):
        expected = filters_by_hand(8000, 128, 9, 300.0, 4000.0, "slaney", True)
        assert_close(mel_filters(8000, 128, 9, low=300.0, dtype=torch.float64), expected)
        expected = filters_by_hand(8000, 128, 9, 0.0, 2700.0, "slaney", True)
        assert_close(mel_filters(8000, 128, 9, high=2700.0, dtype=torch.float64), expected)

    @pytest.mark.parametrize("rate", [11025, 15])
    def test_half_of_an_odd_rate(self, rate):
        expected = filters_by_hand(rate, 128, 9, 0.0, rate / 2, "slaney", True)
        assert_close(mel_filters(rate, 128, 9, dtype=torch.float64), expected)
        assert_close(mel_filters(rate, 128, 9, high=rate / 2, dtype=torch.float64), expected)

    def test_a_narrow_filter_may_miss_all_bins(self):
        expected = filters_by_hand(8000, 16, 12, 0.0, 4000.0, "htk", False)
        found = mel_filters(8000, 16, 12, scale="htk", area=False, dtype=torch.float64)
        assert_close(found, expected)
        assert_equal(bool((expected.sum(1) == 0).any()), True)

    @pytest.mark.parametrize(
        ("low", "high"), [(500.0, 500.0), (700.0, 300.0), (-20.0, 300.0), (10.0, 4001.0), (4500.0, None)]
    )
    def test_refuses_frequencies_out_of_order(self, low, high):
        with raises(ValueError, low, 4000.0 if high is None else high):
            mel_filters(8000, 64, 4, low, high)

    @pytest.mark.parametrize("scale", ["mel", "HTK"])
    def test_refuses_other_scales(self, scale):
        with raises(ValueError, scale):
            mel_filters(8000, 64, 4, scale=scale)


class TestDecibels:
    def test_the_example_worked_by_hand(self):
        power = numbers(100, 1, 1e-12).reshape(3, 1)
        assert_close(decibels(power, span=None), numbers(20, 0, -100).reshape(3, 1))
        assert_close(decibels(power), numbers(20, 0, -60).reshape(3, 1))

    @pytest.mark.parametrize("span", [None, 0.0, 12.0, 35.0])
    @pytest.mark.parametrize("floor", [1e-10, 1e-3, 0.2])
    def test_floor_and_span(self, floor, span):
        power = 10 ** (3 * noise(5, 7))
        values = [10 * math.log10(max(p, floor)) for p in power.flatten().tolist()]
        lowest = -math.inf if span is None else max(values) - span
        expected = numbers(*(max(v, lowest) for v in values)).reshape(5, 7)
        assert_close(decibels(power, floor, span), expected)

    @pytest.mark.parametrize("lead", [(4,), (2, 3)])
    def test_each_clip_has_its_own_highest_value(self, lead):
        power = 10 ** noise(*lead, 3, 5) * 1000 ** noise(*lead, 1, 1)
        clips = [decibels(clip, 1e-8, 9.0) for clip in power.reshape(-1, 3, 5)]
        assert_close(decibels(power, 1e-8, 9.0), torch.stack(clips).reshape(power.shape))
        lowest = [(clip.max() - clip.min()).item() for clip in clips]
        assert_equal(max(lowest) <= 9.0 + 1e-9, True)

    def test_silence_is_at_the_floor(self):
        assert_close(decibels(torch.zeros(2, 3, 4), 1e-5), torch.full((2, 3, 4), -50.0))

    @pytest.mark.parametrize("floor", [0.0, -0.25])
    def test_refuses_a_floor_that_isnt_above_0(self, floor):
        with raises(ValueError, floor):
            decibels(torch.ones(2, 3), floor)

    def test_gradients(self):
        power = (10 ** noise(2, 3, 4)).requires_grad_()
        assert torch.autograd.gradcheck(lambda power: decibels(power, 1e-9, 15.0), power)


class TestMfcc:
    def test_the_example_worked_by_hand(self):
        root = math.sqrt(2 / 3)
        expected = numbers(6 / math.sqrt(3), -root * math.cos(math.pi / 6), root * -1.5).reshape(3, 1)
        assert_close(mfcc(numbers(1, 3, 2).reshape(3, 1), 3), expected)

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize(("bands", "n"), [(7, 7), (12, 5), (20, 13), (1, 1)])
    def test_matches_scipy(self, bands, n, lead):
        from scipy.fft import dct

        levels = noise(*lead, bands, 4)
        expected = torch.from_numpy(dct(levels.numpy(), type=2, norm="ortho", axis=-2))[..., :n, :]
        assert_close(mfcc(levels, n), expected)

    def test_all_coefficients_keep_the_length(self):
        levels = noise(11, 6)
        assert_close(mfcc(levels, 11).norm(dim=0), levels.norm(dim=0))

    def test_keeps_single_precision(self):
        levels = noise(8, 3)
        assert_close(mfcc(levels.float(), 4), mfcc(levels, 4).float())

    @pytest.mark.parametrize(("n", "bands"), [(0, 7), (8, 7), (30, 13), (-2, 5)])
    def test_refuses_too_many_and_too_few(self, n, bands):
        with raises(ValueError, n, bands):
            mfcc(noise(bands, 3), n)

    def test_gradients(self):
        assert torch.autograd.gradcheck(lambda levels: mfcc(levels, 3), noise(2, 5, 4).requires_grad_())


def melody(length: int = 2000, rate: int = 8000) -> torch.Tensor:
    """Two notes, one after the other, with overtones, and a glide above them."""
    t = torch.arange(length, dtype=torch.float64) / rate
    pitch = torch.where(t < length / rate / 2, 220.0, 330.0)
    tones = sum(torch.sin(2 * math.pi * pitch * k * t) / k for k in range(1, 5))
    return tones + 0.5 * torch.sin(2 * math.pi * (1500 * t + 2000 * t.square()))


def griffin_lim_of_torch(magnitude, phase, window, hop, length, steps, momentum) -> torch.Tensor:
    size, before = len(window), 0.0
    for _ in range(steps):
        x = torch.istft(magnitude * torch.exp(1j * phase), size, hop, window=window, length=length)
        now = torch.stft(x, size, hop, window=window, return_complex=True)
        phase, before = torch.angle((1 + momentum) * now - momentum * before), now
    return torch.istft(magnitude * torch.exp(1j * phase), size, hop, window=window, length=length)


def distance(x: torch.Tensor, magnitude: torch.Tensor, window: torch.Tensor, hop: int) -> float:
    """How far the magnitudes of x are from those wanted, as a share."""
    found = torch.stft(x, len(window), hop, window=window, return_complex=True).abs()
    return ((found - magnitude).norm() / magnitude.norm()).item()


class TestGriffinLim:
    def test_no_steps_are_the_inverse_alone(self):
        window = torchs_window(16)
        magnitude, phase = noise(9, 11).abs(), 6 * noise(9, 11)
        spectrum = magnitude * torch.exp(1j * phase)
        expected = torch.istft(spectrum, 16, 4, window=window, length=41)
        assert_close(griffin_lim(magnitude, phase, window, 4, 41, 0), expected)

    @pytest.mark.parametrize("momentum", [0.0, 0.4, 0.99])
    @pytest.mark.parametrize("steps", [1, 2, 5])
    @pytest.mark.parametrize(("size", "hop", "length"), [(16, 4, 41), (15, 5, 55)])
    def test_matches_the_same_steps_with_torchs_transforms(self, size, hop, length, steps, momentum):
        window, frames = torchs_window(size), (length + 2 * (size // 2) - size) // hop + 1
        shape = (2, size // 2 + 1, frames)
        magnitude, phase = 0.5 + noise(*shape).abs(), 6 * noise(*shape)
        expected = griffin_lim_of_torch(magnitude, phase, window, hop, length, steps, momentum)
        assert_close(griffin_lim(magnitude, phase, window, hop, length, steps, momentum), expected)

    def test_no_momentum_by_default(self):
        window = torchs_window(16)
        magnitude, phase = 0.5 + noise(9, 11).abs(), 6 * noise(9, 11)
        expected = griffin_lim_of_torch(magnitude, phase, window, 4, 41, 3, 0.0)
        assert_close(griffin_lim(magnitude, phase, window, 4, 41, 3), expected)

    @pytest.mark.parametrize("lead", [(), (2, 3)])
    def test_each_clip_by_itself(self, lead):
        window = torchs_window(8)
        magnitude, phase = 0.5 + noise(*lead, 5, 9).abs(), 6 * noise(*lead, 5, 9)
        flat = griffin_lim_of_torch(magnitude.reshape(-1, 5, 9), phase.reshape(-1, 5, 9), window, 3, 25, 4, 0.5)
        assert_close(griffin_lim(magnitude, phase, window, 3, 25, 4, 0.5), flat.reshape(*lead, 25))

    @pytest.mark.parametrize("momentum", [0.0, 0.99])
    def test_right_phases_stay(self, momentum):
        x, window = melody(400), torchs_window(64)
        spectrum = torch.stft(x, 64, 16, window=window, return_complex=True)
        found = griffin_lim(spectrum.abs(), spectrum.angle(), window, 16, 400, 6, momentum)
        assert_close(found, x)

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_random_phases_come_near(self, seed):
        window, x = torchs_window(128), melody()
        magnitude = torch.stft(x, 128, 32, window=window, return_complex=True).abs()
        chance = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        at = [
            distance(griffin_lim(magnitude, 2 * math.pi * chance, window, 32, 2000, *how), magnitude, window, 32)
            for how in ((0,), (8,), (40,), (40, 0.99))
        ]
        if not (at[0] > 1.5 * at[1] > 1.5 * at[2] and at[3] < at[2] and at[2] < 0.2):
            fail(
                f"The magnitudes are off by {at[0]:.2f} at first, by {at[1]:.2f} after 8 steps, by {at[2]:.2f} after "
                f"40, and by {at[3]:.2f} with momentum 0.99; each was expected to be well below the one before.",
                evidence=tuple(round(a, 2) for a in at),
            )

    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_silence_gives_silence(self, momentum):
        window = torchs_window(8)
        phase = 6 * noise(2, 5, 9)
        magnitude = 0.5 + noise(2, 5, 9).abs()
        magnitude[1] = 0
        found = griffin_lim(magnitude, phase, window, 2, 16, 5, momentum)
        assert_close(found[1], torch.zeros(16, dtype=torch.float64))
        expected = griffin_lim_of_torch(magnitude[:1], phase[:1], window, 2, 16, 5, momentum)
        assert_close(found[:1], expected)

    def test_keeps_single_precision(self):
        window = torch.hann_window(8)
        magnitude, phase = noise(5, 9).abs().float(), noise(5, 9).float()
        expected = griffin_lim_of_torch(magnitude.double(), phase.double(), window.double(), 2, 16, 1, 0.0)
        found = griffin_lim(magnitude, phase, window, 2, 16, 1)
        assert_close(found, expected.float(), atol=1e-3)  # a phase near 0 doubles its error each step

    @pytest.mark.parametrize(("frames", "length", "right"), [(9, 18, 10), (13, 61, 31), (11, 18, 10)])
    @pytest.mark.parametrize("steps", [0, 2])
    def test_refuses_another_number_of_frames(self, frames, length, right, steps):
        with raises(ValueError, frames, right):
            griffin_lim(noise(5, frames).abs(), noise(5, frames), torchs_window(8), 2, length, steps)


class TestLibrosa:
    """A second opinion, where it is installed."""

    @pytest.mark.slow  # librosa compiles when it is imported
    @pytest.mark.deadline(120)
    @pytest.mark.parametrize("norm", ["slaney", None])
    @pytest.mark.parametrize("scale", SCALES)
    def test_has_the_same_filters(self, scale, norm):
        librosa = pytest.importorskip("librosa", reason=INSTALL)
        expected = librosa.filters.mel(
            sr=8000, n_fft=256, n_mels=20, fmin=50, fmax=3800, htk=scale == "htk", norm=norm, dtype="float64"
        )
        found = mel_filters(8000, 256, 20, 50.0, 3800.0, scale, norm == "slaney", dtype=torch.float64)
        assert_close(found, torch.from_numpy(expected))

    @pytest.mark.slow
    @pytest.mark.deadline(120)
    def test_has_the_same_coefficients(self):
        librosa = pytest.importorskip("librosa", reason=INSTALL)
        options = dict(sr=8000, n_mfcc=13, n_fft=256, hop_length=64, n_mels=20, pad_mode="reflect")
        x = melody(4000)
        power = stft(x, hann(256, torch.float64), 64).abs().square()
        levels = decibels(mel_filters(8000, 256, 20, dtype=torch.float64) @ power)
        expected = torch.from_numpy(librosa.feature.mfcc(y=x.numpy(), **options))
        assert_close(mfcc(levels, 13), expected, atol=1e-3)  # its filters are in float32


class TestOnTheGpu:
    def test_hann(self, gpu):
        window = hann(7, torch.float64, gpu.device)
        assert_equal(window.device.type, gpu.device.type)
        assert_close(window.cpu(), torchs_window(7))

    def test_cut_frames(self, gpu):
        gpu.check(cut_frames, noise(2, 11).requires_grad_(), 4, 3)

    @pytest.mark.parametrize("center", [True, False])
    def test_stft(self, gpu, center):
        gpu.check(stft, noise(2, 3, 20), uneven(8), 3, center)

    @pytest.mark.parametrize("center", [True, False])
    def test_inverse_stft(self, gpu, center):
        spectrum = torch.complex(noise(2, 5, 6), noise(2, 5, 6))
        gpu.check(inverse_stft, spectrum, uneven(8), 3, 15, center)

    @pytest.mark.parametrize("scale", SCALES)
    def test_hz_to_mel(self, gpu, scale):
        gpu.check(hz_to_mel, numbers(10, 990, 2000), scale)

    @pytest.mark.parametrize("scale", SCALES)
    def test_mel_to_hz(self, gpu, scale):
        gpu.check(mel_to_hz, numbers(3, 14, 40), scale)

    def test_mel_filters(self, gpu):
        found = mel_filters(8000, 32, 5, dtype=torch.float64, device=gpu.device)
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), filters_by_hand(8000, 32, 5, 0.0, 4000.0, "slaney", True))

    def test_decibels(self, gpu):
        gpu.check(decibels, (10 ** noise(2, 3, 4)).requires_grad_(), 1e-3, 20.0)

    def test_mfcc(self, gpu):
        gpu.check(mfcc, noise(2, 6, 4).requires_grad_(), 3)

    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    def test_griffin_lim(self, gpu, momentum):
        gpu.check(griffin_lim, 0.5 + noise(2, 5, 9).abs(), 6 * noise(2, 5, 9), torchs_window(8), 3, 25, 3, momentum)
