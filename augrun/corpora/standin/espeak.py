"""The voices of espeak-ng, for stand-ins that are asked for with `voice=espeak`.

Pitch, its range, tempo and pauses follow the manner; the voice's quality is espeak's own.
"""

from __future__ import annotations

import math
import shutil
import subprocess

import numpy as np
from scipy.signal import resample_poly

from augrun.core.errors import AugrunError, RequestError
from augrun.corpora.standin.phones import SILENCE
from augrun.corpora.standin.speech import MARGIN, Manner, Voice

PROGRAM = "espeak-ng"

#: Variants of the English voice that sound like people.
_WOMEN = ("f1", "f2", "f3", "f4")
_MEN = ("m1", "m2", "m3", "m4", "m7")

#: The fundamental frequencies that `-p 50` has, Hz, and how far a step of it goes, in semitones.
_USUAL_HERTZ = {True: 190.0, False: 105.0}
_STEP_SEMITONES = 0.2

#: Words a minute of espeak's usual tempo, and what it can do.
_USUAL_SPEED = 175
_SPEEDS = (80, 450)

#: What lies this far below the peak, in dB, before and after is silence.
_QUIET_DB = -45.0


def program() -> str:
    """Where espeak-ng is.

    Raises:
        RequestError: it is not installed.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise RequestError(
            f"voice=espeak: {PROGRAM} is not installed; "
            f"install it (on Debian: apt install {PROGRAM}), or take voice=own"
        )
    return found


def say(
    sentences: tuple[str, ...],
    seconds: float,
    voice: Voice,
    female: bool,
    manner: Manner,
    level_db: float,
    rate: int,
) -> np.ndarray:
    """Lets espeak-ng say some sentences; the tempo is chosen so that they last so long, the rest is silence.

    Args:
        sentences: what.
        seconds: how long the sound is to be.
        voice: for its pitch and tempo.
        female: whether a woman's voice is taken.
        manner: how.
        level_db: root mean square of the whole, in dB of full scale.
        rate: samples a second.

    Returns:
        Mono float32, shape (round(seconds · rate),), within ±1.

    Raises:
        RequestError: espeak-ng is not installed.
        AugrunError: it failed.
    """
    speed = _USUAL_SPEED * voice.tempo * manner.tempo
    room = seconds - 2 * MARGIN
    sound, given = _run(sentences, voice, female, manner, speed)
    said = len(sound) / given
    if abs(said / room - 1) > 0.03:
        sound, given = _run(sentences, voice, female, manner, speed * said / room)
    sound = resample_poly(sound, rate // math.gcd(rate, given), given // math.gcd(rate, given))
    count = round(seconds * rate)
    begin = min(round(MARGIN * rate), count // 10)
    sound = sound[: count - begin]
    fade = min(len(sound), rate // 50)
    sound[len(sound) - fade :] *= np.linspace(1, 0, fade)
    whole = np.zeros(count)
    whole[begin : begin + len(sound)] = sound
    whole *= 10 ** (level_db / 20) / max(float(np.sqrt(np.mean(whole**2))), 1e-9)
    return np.tanh(whole).astype(np.float32)


def _run(
    sentences: tuple[str, ...], voice: Voice, female: bool, manner: Manner, speed: float
) -> tuple[np.ndarray, int]:
    """What espeak-ng says, without the silence around it, and its sample rate."""
    variants = _WOMEN if female else _MEN
    variant = variants[round(voice.tract * 1e4) % len(variants)]
    semitones = 12 * math.log2(voice.hertz / _USUAL_HERTZ[female]) + manner.pitch
    pitch = int(np.clip(50 + semitones / _STEP_SEMITONES, 0, 99))
    pause = f'<break time="{round(1000 * SILENCE.seconds * manner.pauses)}ms"/>'
    text = f'<speak><prosody range="{round(100 * manner.span)}%">{pause.join(sentences)}</prosody></speak>'
    command = [program(), "-v", f"en+{variant}", "-p", str(pitch), "-s", str(int(np.clip(speed, *_SPEEDS)))]
    try:
        done = subprocess.run([*command, "-m", "--stdout", text], capture_output=True, check=True, timeout=60)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip() or f"exit code {error.returncode}"
        raise AugrunError(f"voice=espeak: {PROGRAM} failed ({reason}); try voice=own") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AugrunError(f"voice=espeak: {PROGRAM} failed ({error}); try voice=own") from None
    return _decoded(done.stdout)


def _decoded(wav: bytes) -> tuple[np.ndarray, int]:
    """The samples of a WAV that came through a pipe, whose header therefore states no length."""
    at = wav.find(b"data")
    if wav[:4] != b"RIFF" or at < 0:
        raise AugrunError(f"voice=espeak: {PROGRAM} gave no WAV; try voice=own")
    body = wav[at + 8 :]
    samples = np.frombuffer(body[: len(body) // 2 * 2], dtype="<i2") / 32768.0
    loud = np.flatnonzero(np.abs(samples) > 10 ** (_QUIET_DB / 20) * np.abs(samples).max(initial=1e-4))
    if not len(loud):
        raise AugrunError(f"voice=espeak: {PROGRAM} gave silence; try voice=own")
    return samples[loud[0] : loud[-1] + 1], int.from_bytes(wav[24:28], "little")
