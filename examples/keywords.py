"""Spoken keywords by espeak-ng: many voices, none of which is in both training and test.

Needs the program ``espeak-ng`` (a package of that name in Debian). Nothing is downloaded.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.signal import resample_poly

WORDS = ("yes", "no", "up", "down", "stop", "go")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029")
TIMBRES = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5")
HELD_OUT = ("m3", "m6", "f2")  # timbres that only the test set speaks with
SPEEDS = (130, 160, 190)  # words a minute

RATE = 16_000
WINDOW, STEP, FRAMES, MEL, COEFFICIENTS = 640, 320, 49, 40, 10  # as in MLPerf Tiny: 40 ms every 20

Split = tuple[NDArray[np.float32], NDArray[np.int64]]


def available() -> bool:
    """Whether espeak-ng is installed."""
    return shutil.which("espeak-ng") is not None


def load(words: tuple[str, ...] = WORDS, quick: bool = False) -> tuple[Split, Split]:
    """((x, y), (x_test, y_test)): MFCCs float32 [n, 49, 10, 1]; the test voices are held out."""
    accents, speeds = (ACCENTS[:2], SPEEDS[:2]) if quick else (ACCENTS, SPEEDS)
    spoken = list(product(words, accents, TIMBRES, speeds))
    rng = np.random.default_rng(0)
    seeds = rng.integers(0, 2**31, len(spoken))
    copies = 1 if quick else 4  # of each clip, with another shift, loudness and noise

    def clips(item: tuple[tuple[str, str, str, int], int]) -> list[NDArray[np.float32]]:
        (word, accent, timbre, speed), seed = item
        own = np.random.default_rng(seed)
        sound = speak(word, f"{accent}+{timbre}", speed)
        return [mfcc(_disturbed(sound, own)) for _ in range(copies)]

    with ThreadPoolExecutor() as pool:
        made = list(pool.map(clips, zip(spoken, seeds, strict=True)))
    x = np.array([m for each in made for m in each], np.float32)[..., None]
    y = np.repeat([words.index(word) for word, *_ in spoken], copies)
    held = np.repeat([timbre in HELD_OUT for _, _, timbre, _ in spoken], copies)
    order = rng.permutation(len(x))
    x, y, held = x[order], y[order].astype(np.int64), held[order]
    mean, spread = x[~held].mean(axis=0), x[~held].std(axis=0) + 1e-3
    x = (x - mean) / spread
    return (x[~held], y[~held]), (x[held], y[held])


def speak(word: str, voice: str, speed: int) -> NDArray[np.float32]:
    """float32 [samples], -1 … 1, at 16 kHz.

    Raises:
        subprocess.CalledProcessError: espeak-ng has no such voice.
    """
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["espeak-ng", "-v", voice, "-s", str(speed), "-w", file.name, word]
        subprocess.run(command, check=True, capture_output=True)
        with wave.open(str(Path(file.name))) as sound:
            rate = sound.getframerate()
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    divisor = int(np.gcd(rate, RATE))
    resampled = resample_poly(samples / 32768.0, RATE // divisor, rate // divisor)
    return resampled.astype(np.float32)


def _disturbed(sound: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """One second of it, somewhere, at some loudness, with white noise 5 to 30 dB below."""
    second = np.zeros(RATE, np.float32)
    sound = sound[:RATE]
    start = rng.integers(0, RATE - len(sound) + 1)
    second[start : start + len(sound)] = sound * rng.uniform(0.3, 1)
    power = float(np.mean(second**2))
    level = np.sqrt(power / 10 ** (rng.uniform(5, 30) / 10))
    return (second + rng.normal(0, level, RATE)).astype(np.float32)


def mfcc(second: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [49, 10]: mel-frequency cepstral coefficients of one second at 16 kHz."""
    starts = STEP * np.arange(FRAMES)
    frames = second[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, 1024)) ** 2
    mel = np.log(power @ _mel_filters() + 1e-6)
    return dct(mel, norm="ortho")[:, :COEFFICIENTS].astype(np.float32)


def _mel_filters() -> NDArray[np.float64]:
    """float64 [513, 40]: triangles evenly spaced on the mel scale, 20 Hz to 4 kHz."""
    edges = np.linspace(*(2595 * np.log10(1 + np.array([20, 4000]) / 700)), MEL + 2)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    bins = np.fft.rfftfreq(1024, 1 / RATE)[:, None]
    rising = (bins - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - bins) / (hertz[2:] - hertz[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
