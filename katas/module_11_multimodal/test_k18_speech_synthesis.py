"""Judges k18_speech_synthesis by reading numbers back, by torch's GRU, by scipy's filters and spectra, and by ear: ten digits."""

import importlib.util
import itertools
import math
import string
from pathlib import Path

import numpy as np
import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, normal
from katas.module_11_multimodal.k18_speech_synthesis import (
    Phone,
    gru_step,
    length_regulator,
    letters_to_phonemes,
    mel_cepstral_distortion,
    mel_to_signal,
    normalise,
    resonate,
    source,
    speak,
    spectral_losses,
    spell_number,
)

pytestmark = [
    from_scratch(
        "scipy", "librosa", "num2words", "inflect", "torchaudio", "torch.nn.GRU", "torch.nn.GRUCell", "torch.stft",
        "torch.istft", "torch.Tensor.stft",
    ),
    pure(),
]  # fmt: skip

SMALL = {w: i for i, w in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"])}  # fmt: skip
TENS = {w: 10 * i for i, w in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)}


def read_number(words: str) -> int:
    """The other way: words to a number."""
    total = part = 0
    for word in words.split(" "):
        if word == "thousand":
            total, part = total + 1000 * part, 0
        elif word == "hundred":
            part *= 100
        elif "-" in word:
            ten, one = word.split("-")
            part += TENS[ten] + SMALL[one]
        else:
            part += TENS[word] if word in TENS else SMALL[word]
    return total + part


class TestSpellNumber:
    @pytest.mark.parametrize(
        ("n", "words"),
        [
            (0, "zero"), (13, "thirteen"), (19, "nineteen"), (20, "twenty"), (21, "twenty-one"), (40, "forty"),
            (99, "ninety-nine"), (100, "one hundred"), (105, "one hundred five"), (110, "one hundred ten"),
            (999, "nine hundred ninety-nine"), (1000, "one thousand"), (1001, "one thousand one"),
            (12304, "twelve thousand three hundred four"), (100_000, "one hundred thousand"),
            (999_999, "nine hundred ninety-nine thousand nine hundred ninety-nine"),
        ],
    )  # fmt: skip
    def test_by_hand(self, n, words):
        assert_equal(spell_number(n), words)

    def test_read_back(self):
        for n in [*range(1300), *range(1999, 1_000_000, 7919)]:
            words = spell_number(n)
            assert_equal((n, read_number(words)), (n, n))
            if n % 1000 and "zero" in words:
                fail(f"{n} is spelled {words!r}: no part of a larger number is zero.", evidence=n)

    @pytest.mark.parametrize("n", [-1, 1_000_000, 2_500_000])
    def test_refuses_others(self, n):
        with raises(ValueError, n):
            spell_number(n)


class TestNormalise:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (
                "Dr. Lee paid $1,250.50 -- 20% off!",
                "doctor lee paid one thousand two hundred fifty point five zero dollars twenty percent off",
            ),
            ("It's 9 o'clock.", "it's nine o'clock"),
            ("  A\tB\n\nc ", "a b c"),
            ("", ""),
            (" ?! ", ""),
            ("$1 and $1.00 and $2", "one dollar and one point zero zero dollars and two dollars"),
            ("$0, $1,000", "zero dollars one thousand dollars"),
            ("well-known: 21", "well known twenty one"),
            ("b2b", "b two b"),
            ("007", "seven"),
            ("3.14159.", "three point one four one five nine"),
            ("We have 3. You have 4.", "we have three you have four"),
            ("1,2 and 1,234 and 12,345,6", "one two and one thousand two hundred thirty four and twelve thousand three hundred forty five six"),
            ("1,2345", "one two thousand three hundred forty five"),
            ("in 1999, 5%.", "in one thousand nine hundred ninety nine five percent"),
            ("0.5%", "zero point five percent"),
            ("MR. X, Mrs. Y; no. 5 etc.", "mister x missus y number five et cetera"),
            ("no. No.: etc., (mr.", "number no etc mr"),
            ("5 % or $ 5", "five or five"),
            ("a_b/c@d", "a b c d"),
        ],
    )  # fmt: skip
    def test_by_hand(self, text, words):
        assert_equal(normalise(text), words)

    @pytest.mark.parametrize("seed", range(3))
    def test_only_words_are_left(self, seed):
        draws = np.random.default_rng(seed)
        text = "".join(draws.choice(list(string.printable)) for _ in range(200)).replace("$", "").replace("%", "")
        found = normalise(text)
        assert_equal(set(found) <= set(string.ascii_lowercase + "' "), True)
        assert_equal(found, " ".join(found.split()))

    @pytest.mark.parametrize("number", [1_000_000, 12_345_678])
    def test_refuses_what_cant_be_spelled(self, number):
        with raises(ValueError, number):
            normalise(f"over {number:,} sold")


def gru_weights(d: int, m: int, seed: int) -> list[np.ndarray]:
    draws = np.random.default_rng(seed)
    return [draws.normal(size=shape) for shape in ((3 * m, d), (3 * m, m), (3 * m,), (3 * m,))]


def torchs_gru(d: int, m: int, w_ih, w_hh, b_ih, b_hh) -> torch.nn.GRUCell:
    cell = torch.nn.GRUCell(d, m, dtype=F64)
    with torch.no_grad():
        for name, value in (("weight_ih", w_ih), ("weight_hh", w_hh), ("bias_ih", b_ih), ("bias_hh", b_hh)):
            getattr(cell, name).copy_(torch.as_tensor(np.asarray(value)))
    return cell


class TestGruStep:
    def test_the_example_worked_by_hand(self):
        w, zeros = np.array([[0.0], [0.0], [1.0]]), np.zeros(3)
        n = math.tanh(1.25)
        assert_close(gru_step(np.array([1.0]), np.array([0.5]), w, w, zeros, zeros), np.array([n / 2 + 0.25]))

    @pytest.mark.parametrize(("d", "m"), [(4, 3), (2, 5), (1, 1)])
    @pytest.mark.parametrize("seed", range(3))
    def test_torchs_gru(self, d, m, seed):
        weights, draws = gru_weights(d, m, seed), np.random.default_rng(seed + 10)
        x, h = draws.normal(size=d), draws.normal(size=m)
        expected = torchs_gru(d, m, *weights)(torch.tensor(x), torch.tensor(h)).detach().numpy()
        assert_close(gru_step(x, h, *weights), expected)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("size", [2000.0, -2000.0])
    def test_large_inputs(self, size):
        weights = gru_weights(2, 3, 5)
        found = gru_step(np.array([size, size / 3]), np.zeros(3), *weights)
        assert_equal(bool(np.isfinite(found).all()), True)


def seq2seq_weights(d: int, m: int, k: int, seed: int) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(seed)
    weights = {"enc_emb": draws.normal(size=(29, d)), "dec_emb": draws.normal(size=(k, d))}
    for side, offset in (("enc", 0), ("dec", 1)):
        names = (f"{side}_{name}" for name in ("w_ih", "w_hh", "b_ih", "b_hh"))
        weights |= dict(zip(names, gru_weights(d, m, 10 * seed + offset), strict=True))
    return weights | {"fc_w": draws.normal(size=(k, m)), "fc_b": draws.normal(size=k)}


def said_by_torch(word: str, weights, longest: int) -> list[int]:
    cells = []
    for side in ("enc", "dec"):
        parts = [weights[f"{side}_{name}"] for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
        cells.append(torchs_gru(parts[0].shape[1], parts[1].shape[1], *parts))
    tables = [torch.as_tensor(np.asarray(weights[name])).double() for name in ("enc_emb", "dec_emb", "fc_w", "fc_b")]
    h = torch.zeros(tables[2].shape[1], dtype=F64)
    alphabet = string.ascii_lowercase
    for number in [alphabet.index(c) + 3 if c in alphabet else 1 for c in word] + [2]:
        h = cells[0](tables[0][number], h)
    said, last = [], 2
    for _ in range(longest):
        h = cells[1](tables[1][last], h)
        last = int((tables[2] @ h + tables[3]).argmax())
        if last == 3:
            return said
        said.append(last)
    return said


class TestLettersToPhonemes:
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("word", ["", "a", "zebra", "o'clock", "b2b"])
    def test_torchs_grus(self, word, seed):
        weights = seq2seq_weights(4, 6, 9, seed)
        for longest in (1, 3, 20):
            assert_equal(letters_to_phonemes(word, weights, longest), said_by_torch(word, weights, longest))

    def test_twenty_unless_told(self):
        weights = seq2seq_weights(3, 5, 7, 1)
        weights["fc_b"][3] = -100.0
        assert_equal(len(letters_to_phonemes("abc", weights)), 20)

    @pytest.mark.parametrize("stop", [True, False])
    def test_where_it_stops(self, stop):
        weights = seq2seq_weights(3, 5, 7, 2)
        weights["fc_b"][3 if stop else 5] = 100.0
        assert_equal(letters_to_phonemes("abc", weights, 4), [] if stop else [5, 5, 5, 5])

    @pytest.mark.parametrize("word", ["apple", "synthesis", "dojo"])
    def test_real_weights(self, word):
        spec = importlib.util.find_spec("g2p_en")
        if spec is None:
            pytest.skip("needs the weights of g2p-en: pip install --no-deps -r fixtures/requirements-optional.txt")
        weights = dict(np.load(Path(spec.submodule_search_locations[0]) / "checkpoint20.npz"))
        found = letters_to_phonemes(word, weights)
        assert_equal(found, said_by_torch(word, {k: v.astype(float) for k, v in weights.items()}, 20))


class TestLengthRegulator:
    @pytest.mark.parametrize(("speed", "frames"), [(1.0, [2, 1, 3]), (2.0, [1, 1, 2]), (0.5, [4, 1, 7])])
    def test_the_example_worked_by_hand(self, speed, frames):
        features = np.arange(6.0).reshape(3, 2) ** 2 + 7
        expected = np.array([row for row, n in zip(features, frames, strict=True) for _ in range(n)])
        assert_close(length_regulator(features, np.log([2, 0.2, 3.4]), speed), expected)

    def test_features_are_repeated_as_they_are(self):
        features = np.array([[0.1, 1 / 3], [math.pi, -2e-3]])
        assert_close(length_regulator(features, np.log([2, 1])), features[[0, 0, 1]])

    @pytest.mark.parametrize(("duration", "frames"), [(2.4999, 2), (2.5001, 3), (0.01, 1), (1.501, 2), (40.2, 40)])
    def test_rounding(self, duration, frames):
        assert_close(length_regulator(np.array([[3.5]]), np.log([duration])), np.full((frames, 1), 3.5))

    @pytest.mark.parametrize(("speed", "frames"), [(0.4, 3), (2 / 9, 5), (2 / 3, 2)])
    def test_a_half_is_rounded_up(self, speed, frames):
        """Durations of 1 at these speeds are 2.5, 4.5 and 1.5 frames, exactly."""
        assert_close(length_regulator(np.array([[3.5]]), np.zeros(1), speed), np.full((frames, 1), 3.5))

    def test_nothing(self):
        assert_close(length_regulator(np.zeros((0, 4)), np.zeros(0), 2.0), np.zeros((0, 4)))

    @pytest.mark.parametrize("speed", [0.0, -1.5])
    def test_refuses_a_speed_that_isnt_above_0(self, speed):
        with raises(ValueError, speed):
            length_regulator(np.ones((2, 3)), np.zeros(2), speed)


class TestSource:
    def test_the_example_worked_by_hand(self, rng):
        expected = np.zeros(8)
        expected[[2, 5, 7]] = math.sqrt(8 / 3)
        assert_close(source(np.array([3.0]), 8, 8, rng), expected)

    @pytest.mark.parametrize("hop", [1, 7, 50])
    def test_sample_by_sample(self, hop, rng):
        pitch = 130 + 90 * np.sin(np.arange(400 // hop) / 3.7)
        phase, expected = 0.0, []
        for f in pitch:
            for _ in range(hop):
                before, phase = phase, phase + f / 1001
                expected.append(math.sqrt(1001 / f) if math.floor(phase) > math.floor(before) else 0.0)
        assert_close(source(pitch, hop, 1001, rng), np.array(expected))

    def test_its_power_doesnt_depend_on_the_pitch(self, rng):
        powers = [np.mean(source(np.full(100, pitch), 80, 8000, rng) ** 2) for pitch in (90.3, 200.7, 411.1)]
        assert_close(powers, [1.0, 1.0, 1.0], rtol=0.02, atol=0.0)  # whole pulses

    def test_a_pitch_below_one_hertz(self, rng):
        expected = np.zeros(16)
        expected[[7, 15]] = math.sqrt(8)
        assert_close(source(np.full(4, 0.5), 4, 4, rng), expected)

    def test_noise_where_there_is_no_pitch(self, rng):
        pitch = np.array([0.0] * 60 + [100.0] * 60 + [0.0] * 60)
        found = source(pitch, 100, 8000, rng)
        noise = np.concatenate([found[:6000], found[12000:]])
        # 12,000 draws: six standard deviations.
        if abs(noise.mean()) > 0.055 or abs(noise.std() - 1) > 0.039:
            fail(f"The noise has the mean {noise.mean():.2f} and the deviation {noise.std():.2f}.", evidence=round(noise.std(), 1))
        if abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) > 0.055 or len(np.unique(noise)) < 11_990:
            fail("The noise isn't independent from sample to sample.", evidence="dependent")
        assert_equal(int((found[6000:12000] != 0).sum()) in (74, 75), True)

    def test_the_phase_stands_still_in_noise(self, rng):
        voiced = np.array([3.0, 0.0, 3.0])
        found = source(voiced, 4, 8, rng)
        # φ is 1.5 after the first frame, and 1.875 at sample 8.
        assert_close(found[[0, 1, 2, 3, 8, 9, 10, 11]], math.sqrt(8 / 3) * np.array([0, 0, 1, 0, 0, 1, 0, 1.0]))

    def test_the_generator_decides(self):
        first, again, other = (source(np.zeros(3), 5, 8, np.random.default_rng(s)) for s in (1, 1, 2))
        assert_close(first, again)
        assert_equal(bool(np.any(first != other)), True)


class TestResonate:
    def test_the_example_worked_by_hand(self):
        x = np.array([1.0, 0, 0, 0, 0])
        found = resonate(x, (2.0,), (8 * math.log(2) / math.pi,), 8)
        assert_close(found, np.array([1.25, 0, -0.3125, 0, 0.078125]))

    @pytest.mark.parametrize("formants", [(700.0,), (300.0, 2300.0), (500.0, 1500.0, 2500.0)])
    def test_scipys_filter(self, formants, rng):
        from scipy.signal import lfilter

        x, bandwidths = rng.normal(size=300), (60.0, 90.0, 200.0)[: len(formants)]
        expected = x
        for f, width in zip(formants, bandwidths, strict=True):
            pole = np.exp((-math.pi * width + 2j * math.pi * f) / 8000)
            denominator = np.poly([pole, pole.conjugate()]).real
            expected = lfilter([denominator.sum()], denominator, expected)
        assert_close(resonate(x, formants, bandwidths, 8000), expected)

    def test_no_formants_and_integers(self):
        assert_close(resonate(np.array([1, 2, 3]), (), (), 8), np.array([1.0, 2, 3]))

    def test_a_formant_below_one_hertz(self):
        """At 0.5 Hz of 4 Hz the pole is real part and imaginary part alike."""
        radius = math.exp(-math.pi * 0.1 / 4)
        a, b = 2 * radius * math.cos(math.pi / 4), -(radius**2)
        gain = 1 - a - b
        assert_close(resonate(np.array([1.0, 0, 0]), (0.5,), (0.1,), 4), np.array([gain, a * gain, (a * a + b) * gain]))

    @pytest.mark.parametrize(("f1", "f2"), [(700.0, 1800.0), (300.0, 2500.0)])
    def test_its_peaks(self, f1, f2):
        click = np.zeros(8000)
        click[0] = 1.0
        strength = np.abs(np.fft.rfft(resonate(click, (f1, f2), (50.0, 50.0), 8000)))
        for f, low, high in ((f1, 100, 1000), (f2, 1500, 3500)):
            peak = low + int(strength[low:high].argmax())
            if abs(peak - f) > 20:
                fail(f"The spectrum has its peak at {peak} Hz, the formant is at {f:.0f}.", evidence=(f, peak))
        assert_close(strength[0], 1.0)

    def test_no_formants(self, rng):
        x = rng.normal(size=9)
        assert_close(resonate(x, (), (), 8000), x)

    @pytest.mark.parametrize("dtype", [np.float32, np.int64])
    def test_in_double_precision(self, dtype):
        x = np.array([3, -1, 2, 5]).astype(dtype)
        assert_close(resonate(x, (100.0,), (30.0,), 1000), resonate(x.astype(float), (100.0,), (30.0,), 1000))

    @pytest.mark.parametrize("formant", [0.0, -5.0, 4000.0, 5000.0])
    def test_refuses_formants_outside(self, formant):
        with raises(ValueError, formant):
            resonate(np.ones(4), (500.0, formant), (50.0, 50.0), 8000)

    @pytest.mark.parametrize("widths", [(50.0,), (50.0, 60.0, 70.0)])
    def test_refuses_other_numbers(self, widths):
        with raises(ValueError, 2, len(widths)):
            resonate(np.ones(4), (500.0, 900.0), widths, 8000)


A = Phone((700.0, 1200.0), (60.0, 80.0), True, 5.2)
I = Phone((300.0, 2300.0), (60.0, 80.0), True, 3.4, 0.5)
S = Phone((3000.0,), (400.0,), False, 4, 0.3)


class TestSpeak:
    def test_phones_are_loud_unless_told(self):
        assert_equal(Phone((500.0,), (80.0,), True, 5).loudness, 1.0)

    @pytest.mark.parametrize(("speed", "frames"), [(1.0, (5, 3)), (2.0, (3, 2)), (0.5, (10, 7)), (9.0, (1, 1))])
    def test_two_vowels(self, speed, frames, rng):
        hop, rate = 40, 8000
        throat = source(np.full(sum(frames), 111.0), hop, rate, rng)
        cut = frames[0] * hop
        first = resonate(throat[:cut], A.formants, A.bandwidths, rate)
        second = resonate(0.5 * throat[cut:], I.formants, I.bandwidths, rate)
        assert_close(speak([A, I], 111.0, rate, hop, rng, speed), np.concatenate([first, second]))

    def test_speed_1_unless_told(self, rng):
        assert_close(speak([I], 100.0, 8000, 20, rng), speak([I], 100.0, 8000, 20, rng, 1.0))

    def test_a_hiss_has_no_pitch(self, rng):
        hop, rate = 50, 8000
        found = speak([A, S._replace(formants=(), bandwidths=()), A], 100.0, rate, hop, rng)
        assert_equal(len(found), 14 * hop)
        hiss = found[250:450]
        # 200 draws of normal noise, 0.3 of it: six standard deviations.
        if not 0.2 < hiss.std() < 0.4 or (hiss == 0).any():
            fail(f"The hiss has a deviation of {hiss.std():.2f}, not about 0.3.", evidence=round(hiss.std(), 1))
        throat = source(np.array([100.0] * 5 + [0.0] * 4 + [100.0] * 5), hop, rate, rng)
        assert_close(found[450:], resonate(throat[450:], A.formants, A.bandwidths, rate))

    @pytest.mark.parametrize("speed", [0.0, -2.0])
    def test_refuses_a_speed_that_isnt_above_0(self, speed, rng):
        with raises(ValueError, speed):
            speak([A], 100.0, 8000, 20, rng, speed)

    def test_pitch_and_vowel_are_apart(self, rng):
        """At another pitch the harmonics move and the formants stay."""
        for pitch in (100.0, 160.0):
            strength = np.abs(np.fft.rfft(speak([A._replace(frames=100)], pitch, 8000, 80, rng))) ** 2
            low, high = (strength[a:b].sum() for a, b in ((500, 900), (2100, 2500)))
            harmonic = 100 + int(strength[70:1000].argmax()) - 30
            if low < 20 * high or min(harmonic % pitch, pitch - harmonic % pitch) > 3:
                fail(f"At {pitch} Hz the spectrum has its peak at {harmonic} Hz.", evidence=(pitch, harmonic))


def speech(n: int = 400, seed: int = 3) -> torch.Tensor:
    t = torch.arange(n, dtype=F64)
    return torch.sin(t * 0.31) + 0.5 * torch.sin(t * 0.07 + t**2 / 4000) + 0.05 * normal(n, seed=seed)


def spectrum(x: torch.Tensor, size: int, hop: int) -> torch.Tensor:
    window = torch.hann_window(size, dtype=x.dtype)
    return torch.stft(x, size, hop, window=window, pad_mode="reflect", return_complex=True)


class TestMelToSignal:
    @pytest.mark.parametrize("bands", [5, 9, 17])
    def test_without_steps_it_is_the_inverse_stft(self, bands):
        filters, window = normal(bands, 9).abs(), torch.hann_window(16, dtype=F64)
        mel, phase = normal(bands, 21, seed=1).abs(), 3 * normal(9, 21, seed=2)
        power = torch.from_numpy(np.linalg.pinv(filters.numpy()) @ mel.numpy()).clamp(min=0)
        expected = torch.istft(torch.polar(power.sqrt(), phase), 16, 4, window=window, length=80)
        assert_close(mel_to_signal(mel, filters, phase, window, 4, 80, 0), expected)

    def test_steps_bring_it_nearer(self):
        x, window, filters = speech(), torch.hann_window(64, dtype=F64), torch.eye(33, dtype=F64)
        power = spectrum(x, 64, 16).abs() ** 2
        away = []
        for steps in (0, 5, 60):
            found = mel_to_signal(power, filters, 3 * normal(33, 26), window, 16, 400, steps)
            away.append(((spectrum(found, 64, 16).abs() - power.sqrt()).norm() / power.sqrt().norm()).item())
        if not (away[1] < 0.8 * away[0] and away[2] < 0.8 * away[1]):
            fail(f"After 0, 5 and 60 steps the spectrum is {away} away.", evidence=tuple(round(a, 1) for a in away))

    def test_refuses_other_bands(self):
        with raises(ValueError, 5, 6):
            mel_to_signal(torch.ones(5, 21), torch.ones(6, 9), torch.zeros(9, 21), torch.hann_window(16), 4, 80, 1)

    def test_refuses_other_frames(self):
        with raises(ValueError, 21, 26):
            mel_to_signal(torch.ones(5, 21), torch.ones(5, 9), torch.zeros(9, 21), torch.hann_window(16), 4, 100, 1)


def losses_by_torch(x: torch.Tensor, target: torch.Tensor, sizes) -> tuple[torch.Tensor, torch.Tensor]:
    rows = []
    for size in sizes:
        ours, theirs = ((spectrum(s, size, size // 4).abs() ** 2).clamp(min=1e-7).sqrt() for s in (x, target))
        rows.append(((theirs - ours).norm() / theirs.norm(), (theirs.log() - ours.log()).abs().mean()))
    return tuple(torch.stack(column).mean() for column in zip(*rows, strict=True))


class TestSpectralLosses:
    @pytest.mark.parametrize("sizes", [(64,), (32, 128), (16, 64, 256)])
    def test_torchs_stft(self, sizes):
        x, target = speech(), speech(seed=4) * 1.7
        assert_close(spectral_losses(x, target, sizes), losses_by_torch(x, target, sizes))

    def test_in_single_precision(self):
        x, target = speech().float(), (speech(seed=4) * 1.7).float()
        expected = losses_by_torch(x.double(), target.double(), (32, 128))
        assert_close(spectral_losses(x, target, (32, 128)), [loss.float() for loss in expected], rtol=1e-4)

    def test_two_sizes_unless_told(self):
        x, target = speech(900), 0.3 * speech(900, seed=4)
        assert_close(spectral_losses(x, target), losses_by_torch(x, target, (512, 128)))

    def test_leading_axes(self):
        x, target = normal(2, 3, 300), normal(2, 3, 300, seed=1)
        expected = losses_by_torch(x.reshape(6, 300), target.reshape(6, 300), (32,))
        assert_close(spectral_losses(x, target, (32,)), expected)

    def test_the_floor(self):
        x, target = 1e-4 * speech(), 2e-4 * speech(seed=4)
        assert_close(spectral_losses(x, target, (64, 16)), losses_by_torch(x, target, (64, 16)))

    def test_their_gradients(self):
        x, target = speech(200).requires_grad_(), speech(200, seed=4).requires_grad_()
        for i in (0, 1):
            expected = torch.autograd.grad(losses_by_torch(x, target, (32, 64))[i], (x, target))
            assert_close(torch.autograd.grad(spectral_losses(x, target, (32, 64))[i], (x, target)), expected)

    @pytest.mark.parametrize("silent", [True, False])
    def test_no_nan_in_the_gradient(self, silent):
        target = torch.zeros(200, dtype=F64) if silent else speech(200)
        x = target.clone().requires_grad_()
        found = spectral_losses(x, target, (32,))
        assert_close([one.item() for one in found], [0.0, 0.0], atol=1e-7)
        sum(found).backward()
        assert_equal(bool(x.grad.isfinite().all()), True)

    @pytest.mark.parametrize("n", [199, 201])
    def test_refuses_other_lengths(self, n):
        with raises(ValueError, n, 200):
            spectral_losses(torch.ones(n), torch.ones(200), (16,))


class TestMelCepstralDistortion:
    def test_the_example_worked_by_hand(self):
        c, d = torch.tensor([[9.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [1.0]])
        assert_close(mel_cepstral_distortion(c, d), 10 * math.sqrt(2) / math.log(10), rtol=1e-6)  # float32

    @pytest.mark.parametrize(("n", "frames"), [(2, 1), (13, 7), (5, 20)])
    def test_frame_by_frame(self, n, frames):
        c, d = normal(n, frames), normal(n, frames, seed=1)
        rows = [math.sqrt(sum((c[k, t] - d[k, t]).item() ** 2 for k in range(1, n))) for t in range(frames)]
        found = mel_cepstral_distortion(c, d)
        assert_close(found, 10 * math.sqrt(2) / math.log(10) * sum(rows) / frames)
        assert_equal(type(found), float)

    @pytest.mark.parametrize("frames", [1, 4])
    def test_refuses_other_frames(self, frames):
        with raises(ValueError, frames, 3):
            mel_cepstral_distortion(normal(5, frames), normal(5, 3))


# Formants after Peterson and Barney's men, rounded; consonants are crude, but differ.
VOWELS = {
    "iy": (270, 2290, 3010), "ih": (390, 1990, 2550), "eh": (530, 1840, 2480), "ah": (640, 1190, 2390),
    "aa": (730, 1090, 2440), "ao": (570, 840, 2410), "uw": (300, 870, 2240), "er": (490, 1350, 1690),
    "n": (280, 1700, 2600), "w": (290, 610, 2150), "r": (310, 1060, 1380), "v": (220, 1100, 2080),
    "z": (240, 1390, 3400),
}  # fmt: skip
HISSES = {"s": 3600, "f": 1200, "th": 2400, "t": 3000, "k": 1800}
WORDS = {
    "zero": "z iy r ao uw", "one": "w ah n", "two": "t uw", "three": "th r iy", "four": "f ao er",
    "five": "f aa iy v", "six": "s ih k s", "seven": "s eh v ah n", "eight": "eh iy t", "nine": "n aa iy n",
}  # fmt: skip


def phones(word: str) -> list[Phone]:
    return [
        Phone(tuple(map(float, VOWELS[p])), (60.0, 90.0, 150.0), True, 9)
        if p in VOWELS
        else Phone((float(HISSES[p]),), (500.0,), False, 6, 0.4)
        for p in WORDS[word].split()
    ]


def without_formants(word: str) -> list[Phone]:
    return [phone._replace(formants=(), bandwidths=()) for phone in phones(word)]


def cepstra(x: np.ndarray, size: int = 256, hop: int = 80) -> np.ndarray:
    """(frames, 12): broad shapes of log spectra, without pitch."""
    power = spectrum(torch.from_numpy(x), size, hop).abs() ** 2
    edges = np.unique(np.round(np.geomspace(3, 128, 25)).astype(int))
    bands = torch.stack([power[a:b].mean(0) for a, b in itertools.pairwise(edges)])
    logs = torch.log(bands + 1e-3 * power.mean()).T.numpy()
    m = np.arange(logs.shape[1])
    return logs @ np.cos(np.pi * np.outer(m + 0.5, np.arange(1, 13)) / logs.shape[1])


def warped_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Dynamic time warping: the cheapest way to lay two rows of frames side by side."""
    cost = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).tolist()
    last = [0.0] + [math.inf] * len(b)
    for row in cost:
        now = [math.inf]
        for j, c in enumerate(row):
            now.append(c + min(last[j], last[j + 1], now[j]))
        last = now
    return last[-1] / (len(a) + len(b))


@pytest.mark.learning
@pytest.mark.deadline(60)  # half a second each on a quiet machine
class TestTenDigits:
    @pytest.mark.parametrize(("pitch", "speed"), [(95.0, 0.9), (150.0, 1.2), (200.0, 1.0)])
    def test_a_spotter_tells_them_apart(self, pitch, speed, rng):
        """It has heard each digit once, at another pitch.  The baseline hears the throat alone, without resonances."""
        right = {}
        for name, cut in (("spoken", phones), ("throat", without_formants)):
            known = {word: cepstra(speak(cut(word), 120.0, 8000, 80, rng)) for word in WORDS}
            right[name] = 0
            for word in WORDS:
                heard = cepstra(speak(cut(word), pitch, 8000, 80, rng, speed))
                right[name] += min(known, key=lambda other, heard=heard: warped_distance(heard, known[other])) == word
        # Measured: all ten, and one or two by the throat alone.
        if right["spoken"] < 9 or right["spoken"] <= right["throat"] + 1:
            fail(f"{right['spoken']} of ten digits are told apart, and {right['throat']} by the throat alone.", evidence=right["spoken"])


class TestOnTheGpu:
    @pytest.mark.parametrize("steps", [0, 3])
    def test_mel_to_signal(self, gpu, steps):
        window = torch.hann_window(16, dtype=F64)
        gpu.check(mel_to_signal, normal(5, 21).abs(), normal(5, 9).abs(), normal(9, 21), window, 4, 80, steps)

    def test_the_losses(self, gpu):
        gpu.check(lambda x, y: spectral_losses(x, y, (32, 16)), normal(2, 100).requires_grad_(), normal(2, 100, seed=1))
        c, d = normal(4, 3), normal(4, 3, seed=1)
        assert_close(mel_cepstral_distortion(gpu(c), gpu(d)), mel_cepstral_distortion(c, d))
