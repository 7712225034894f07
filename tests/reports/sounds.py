"""Sounds that tests of reports listen to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def tone(path: Path, hz: float, seconds: float, rate: int = 16000, level: float = 0.5) -> Path:
    at = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, level * np.sin(2 * np.pi * hz * at), rate, subtype="FLOAT")
    return path


def noise(path: Path, seconds: float, rate: int = 44100) -> Path:
    soundfile.write(path, 0.2 * np.random.default_rng(0).standard_normal(round(seconds * rate)), rate)
    return path


def loudest_hz(samples: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))
