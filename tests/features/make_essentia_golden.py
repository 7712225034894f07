"""Writes essentia_golden.npz: MTG-Jamendo's own extraction (scripts/melspectrograms.py there) of made-up sounds.

Run it in an environment of its own (`pip install essentia numpy`); the project does not need Essentia:

    python tests/features/make_essentia_golden.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np


def sound(rate: int, seconds: float) -> np.ndarray:
    """A chirp over noise, with a silent stretch; every value follows from a formula, so that nothing need be stored."""
    n = np.arange(int(rate * seconds), dtype=np.int64)
    at = n / rate
    noise = ((n * 1103515245 + 12345) % 65536) / 65536 - 0.5
    chirp = np.sin(2 * np.pi * (100 * at + 0.5 * 2500 * at**2))
    made = 0.5 * chirp + 0.01 * noise
    made[(at > 0.6) & (at < 0.75)] = 0.0
    return made.astype(np.float32)


def main() -> None:
    import essentia.standard as es

    def mel(samples: np.ndarray) -> np.ndarray:
        window, spectrum = es.Windowing(type="hann", normalized=False), es.Spectrum()
        bands = es.MelBands(
            numberBands=96,
            sampleRate=12000,
            lowFrequencyBound=0,
            highFrequencyBound=6000,
            inputSize=257,
            weighting="linear",
            normalize="unit_tri",
            warpingFormula="slaneyMel",
            type="power",
        )
        decibels = es.UnaryOperator(type="lin2db", scale=2)
        frames = es.FrameGenerator(samples, frameSize=512, hopSize=256, startFromZero=False)
        return np.array([decibels(bands(spectrum(window(frame)))) for frame in frames])

    other_rate = es.Resample(inputSampleRate=44100, outputSampleRate=12000, quality=4)(sound(44100, 1.0))
    np.savez_compressed(
        Path(__file__).with_name("essentia_golden.npz"),
        at_12000=mel(sound(12000, 1.5)),
        at_44100=mel(other_rate),
    )


if __name__ == "__main__":
    main()
