"""Decoding, cutting, resampling and writing of sound files, with errors that name the file.

Decoding is libsndfile's (WAV, FLAC, Ogg, MP3, SPHERE, ...) through `soundfile`; resampling is
`torchaudio.functional.resample`, and torch is imported only where a rate really changes.
"""

from __future__ import annotations

import math
import os
import struct
import tempfile
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import soundfile

from augrun.core.errors import AugrunError
from augrun.core.files import atomic_path

#: Suffixes that `soundfile` decodes and that corpora use.
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".sph", ".aiff", ".aif", ".au", ".opus")

#: Lossy containers promise lengths that are off by some frames; a loss below this share of a file is no damage.
TOLERATED_LOSS = 0.01

#: Half width of the resampling kernel, in zero crossings. At torchaudio's default of 6, what lies 10 % beyond the new
#: Nyquist frequency folds back at -14 dB; at 32 it is below -50 dB, and costs next to nothing more.
ZERO_CROSSINGS = 32

#: An MP3 frame may draw on bits of some ten frames before it: this many samples are decoded ahead of a window and
#: dropped, else its beginning would be silence or noise.
_MPEG_LEAD = 32 * 1152

#: How libmpg123's remarks begin, which it writes to the console itself.
_MPEG_REMARKS = (b"Note: ", b"Warning: Xing", b"Warning: Encountered")

#: Encodings whose samples need not be finite; integers always are, and so is what lossy decoders make.
_MAY_BE_NAN = ("FLOAT", "DOUBLE")

#: Lengths above this (2^40 samples, 290 days at 44.1 kHz) are libsndfile's way of saying "not stated".
_UNSTATED = 1 << 40


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file's header says.

    Attributes:
        seconds: duration.
        sample_rate: samples a second, per channel.
        channels: number of channels.
        frames: samples per channel.
    """

    seconds: float
    sample_rate: int
    channels: int
    frames: int


def probe(path: Path | str, check_end: bool = True) -> AudioInfo:
    """Reads a file's header and, cheaply, whether its end is there.

    Args:
        path: a sound file.
        check_end: look for truncation as well: sizes that WAV, Ogg and MP3 state are compared with the
            file's, and the last block of any other format is decoded.

    Raises:
        AugrunError: the file is missing, empty, no sound, of zero length, or cut off.
    """
    path = Path(path)
    _require_content(path)
    if check_end:
        _check_stated_size(path)
    with _open(path) as sound:
        info = _info(path, sound)
        if check_end and sound.format not in ("MP3", "OGG", "WAV"):
            _check_last_block(path, sound, info)
    return info


def read(
    path: Path | str,
    sample_rate: int | None = None,
    start_s: float = 0.0,
    seconds: float | None = None,
    mono: bool = True,
) -> np.ndarray:
    """Decodes a sound file, or a window of it without decoding what lies outside.

    A window that starts on a common multiple of both sampling periods equals the same samples of the
    whole resampled file, because the resampler sees the window's surroundings.

    Args:
        path: a sound file.
        sample_rate: resample to this rate; None keeps the file's.
        start_s: where the window starts, in seconds.
        seconds: how long it is; None reads to the end. A window that passes the end is returned shorter.
        mono: mix the channels to one.

    Returns:
        float32 in [-1, 1]: shape (samples,), or (channels, samples) where `mono` is false.

    Raises:
        AugrunError: the file is missing, empty, no sound, cut off, holds NaN or infinite samples, or the
            window starts after its end.
    """
    path = Path(path)
    samples, rate, window = _read(path, sample_rate, start_s, seconds)
    target, lead, count, wanted = window
    samples = mix(samples)[None] if mono else np.ascontiguousarray(samples.T)
    samples = resample(samples, rate, target)
    begin = lead * target // rate
    whole = math.ceil(count * target / rate)
    if seconds is not None and count == wanted:
        whole = round(seconds * target)
    samples = np.ascontiguousarray(samples[:, begin : begin + whole])
    return samples[0] if mono else samples


def read_native(path: Path | str, start_s: float = 0.0, seconds: float | None = None) -> tuple[np.ndarray, int]:
    """Decodes a sound file, or a window of it, at its own rate; see `read`.

    Returns:
        float32 (frames, channels), and the rate in Hz.
    """
    samples, rate, _ = _read(Path(path), None, start_s, seconds)
    return samples, rate


def _read(
    path: Path, sample_rate: int | None, start_s: float, seconds: float | None
) -> tuple[np.ndarray, int, tuple[int, int, int, int]]:
    """Frames (frames, channels) of a window and its margins, their rate, and (target rate, lead, count, wanted)."""
    _require_content(path)
    _check_stated_size(path)
    with _open(path) as sound:
        info = _info(path, sound)
        rate = info.sample_rate
        target = sample_rate or rate
        first = round(start_s * rate)
        if not 0 <= first < info.frames:
            raise AugrunError(f"{path}: a window from {start_s:g} s on lies outside its {info.seconds:.3f} s")
        wanted = info.frames - first if seconds is None else math.ceil(seconds * rate - 1e-6)
        count = min(wanted, info.frames - first)
        if count <= 0:
            raise AugrunError(f"{path}: a window of {seconds:g} s holds no sample")
        lead, tail = _margins(first, info.frames - first - count, rate, target)
        return _decode(path, sound, first - lead, lead + count + tail), rate, (target, lead, count, wanted)


def mix(samples: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The mean of the channels of (frames, channels); one channel, or (frames,), stays as it is.

    A sum over strided columns is three times as fast as `mean`.

    Args:
        samples: float32.
        out: where to put it, shape (frames,).
    """
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    if channels == 1:
        if out is None:
            return np.ascontiguousarray(samples.reshape(-1))
        out[:] = samples.reshape(-1)
        return out
    total = np.add(samples[:, 0], samples[:, 1], out=out)
    for channel in range(2, channels):
        total += samples[:, channel]
    total *= np.float32(1 / channels)
    return total


def resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Band-limited resampling of float32 (..., samples); ceil(samples · target / rate) samples come out."""
    if rate == target:
        return samples
    import torch
    from torchaudio.functional import resample as sinc

    with torch.inference_mode():
        return sinc(
            torch.from_numpy(np.ascontiguousarray(samples)), rate, target, lowpass_filter_width=ZERO_CROSSINGS
        ).numpy()


def write(path: Path | str, samples: np.ndarray, sample_rate: int, subtype: str | None = "PCM_16") -> None:
    """Writes a sound file whole or not at all; the suffix names the format.

    Args:
        path: where to; its folder exists.
        samples: shape (samples,) or (channels, samples); values beyond ±1 are clipped by integer formats.
        sample_rate: samples a second.
        subtype: libsndfile's name of the encoding, None for the format's default; ignored for MP3 and Ogg.

    Raises:
        AugrunError: the samples are not finite, or the place cannot be written.
    """
    path = Path(path)
    samples = np.asarray(samples)
    if not np.isfinite(samples).all():
        raise AugrunError(f"{path}: not written, the samples hold NaN or infinite values")
    kind = path.suffix[1:].upper()
    if kind in ("MP3", "OGG"):
        subtype = None
    try:
        with atomic_path(path) as fresh:
            soundfile.write(fresh, samples.T, sample_rate, subtype=subtype, format=kind)
    except (OSError, soundfile.LibsndfileError) as error:
        raise AugrunError(f"{path}: cannot be written ({error}); check the folder and the free disk") from None


def _require_content(path: Path) -> None:
    """Raises the plain errors that libsndfile has no good words for."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise AugrunError(f"{path}: cannot be read ({error.strerror})") from None
    if not path.is_file():
        raise AugrunError(f"{path}: is no file")
    if size == 0:
        raise AugrunError(f"{path}: the file is empty")


def _open(path: Path) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
        if "does not exist" in reason:  # what libsndfile says of an MP3 name without an MPEG frame behind it
            reason = "Format not recognised"
        raise AugrunError(f"{path}: is no sound file that can be decoded ({reason})") from None


def _info(path: Path, sound: soundfile.SoundFile) -> AudioInfo:
    if sound.frames == 0:
        raise AugrunError(f"{path}: holds no audio (zero length)")
    if sound.frames > _UNSTATED:
        raise AugrunError(f"{path}: its header does not state its length; encode it again")
    return AudioInfo(sound.frames / sound.samplerate, sound.samplerate, sound.channels, sound.frames)


def _margins(before: int, after: int, rate: int, target: int) -> tuple[int, int]:
    """Frames to decode before and after a window so that resampling it has no edges, whole periods of both rates."""
    if rate == target:
        return 0, 0
    block = rate // math.gcd(rate, target)
    reach = math.ceil((ZERO_CROSSINGS + 2) * max(1.0, rate / target))
    margin = math.ceil(reach / block) * block
    return min(margin, before // block * block), min(margin, after)


def _decode(path: Path, sound: soundfile.SoundFile, first: int, count: int) -> np.ndarray:
    """Frames [first, first + count), shape (frames, channels), float32."""
    windowed_mpeg = sound.format == "MP3" and count < sound.frames
    ahead = min(first, _MPEG_LEAD) if windowed_mpeg else 0
    try:
        with _HUSH if windowed_mpeg else nullcontext():
            sound.seek(first - ahead)
            samples = sound.read(ahead + count, dtype="float32", always_2d=True)[ahead:]
    except soundfile.LibsndfileError as error:
        raise AugrunError(f"{path}: damaged or cut off ({error.error_string.strip().rstrip('.')})") from None
    if len(samples) < count * (1 - TOLERATED_LOSS) and _states_length(path, sound):
        have, rate = (first + len(samples)) / sound.samplerate, sound.samplerate
        raise AugrunError(f"{path}: cut off at {have:.2f} s, its header promises {sound.frames / rate:.2f} s")
    if sound.subtype in _MAY_BE_NAN and not np.isfinite(samples).all():
        raise AugrunError(f"{path}: holds NaN or infinite samples")
    if len(samples) == 0:
        raise AugrunError(f"{path}: no audio could be decoded")
    return samples


class _Hush:
    """Keeps libmpg123's remarks on the frames around a window off the console; whatever else is written is passed on.

    The standard error of the whole process is set aside while any thread is within.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._console = -1
        self._heard: IO[bytes] | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                with suppress(OSError):  # a program without a console has nothing to keep clean
                    self._heard = tempfile.TemporaryFile()
                    self._console = os.dup(2)
                    os.dup2(self._heard.fileno(), 2)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside or self._heard is None or self._console < 0:
                return
            os.dup2(self._console, 2)
            self._heard.seek(0)
            others = [line for line in self._heard if not line.startswith(_MPEG_REMARKS) and b"/libmpg123/" not in line]
            if others:
                os.write(2, b"".join(others))
            os.close(self._console)
            self._heard.close()
            self._console, self._heard = -1, None


_HUSH = _Hush()


def _states_length(path: Path, sound: soundfile.SoundFile) -> bool:
    """Whether the length is stated rather than guessed from the bit rate, as it is for an MP3 without a Xing header."""
    if sound.format != "MP3":
        return True
    with path.open("rb") as file:
        return _mpeg_bytes(file) is not None


def _check_last_block(path: Path, sound: soundfile.SoundFile, info: AudioInfo) -> None:
    """Decodes the end: the one check that every seekable format allows."""
    count = min(info.frames, 1024)
    try:
        sound.seek(info.frames - count)
        got = len(sound.read(count, dtype="float32"))
    except soundfile.LibsndfileError:
        got = 0
    if got < count:
        raise AugrunError(f"{path}: cut off, its header promises {info.seconds:.2f} s but the end does not decode")


def _check_stated_size(path: Path) -> None:
    """Compares the bytes that the container promises with the file's size."""
    check = _STATED_SIZE.get(path.suffix.lower())
    if check is None:
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        promised = check(file)
    if promised is not None and promised > size:
        raise AugrunError(f"{path}: cut off, {size:,} of at least {promised:,} bytes are there")


def _riff_bytes(file: BinaryIO) -> int | None:
    """Where a RIFF/WAVE file's data chunk says that it ends; None where it does not say."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    while len(chunk := file.read(8)) == 8:
        name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        if name == b"data":
            # Programs that write to a pipe leave the largest number, or none.
            return None if size >= 0x7FFFFFFF - 4096 else file.tell() + size
        file.seek(size + size % 2, os.SEEK_CUR)
    return None


def _ogg_bytes(file: BinaryIO) -> int | None:
    """Where an Ogg file's last page says that it ends (RFC 3533, section 6)."""
    size = file.seek(0, os.SEEK_END)
    # A page has at most 65,307 bytes, so the last page's head lies within the last of them.
    begin = max(0, size - 65_307)
    file.seek(begin)
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0:
        return None
    table = tail[at + 27 :]
    segments = tail[at + 26] if len(tail) > at + 26 else 255
    if len(table) < segments:
        return begin + at + 27 + segments + 1
    return begin + at + 27 + segments + sum(table[:segments])


def _mpeg_bytes(file: BinaryIO, tolerate: float = 0.0) -> int | None:
    """Where an MP3 file's Xing or Info header says that it ends; None where there is none."""
    file.seek(0)
    head = file.read(10)
    begin = 0
    if head[:3] == b"ID3" and len(head) == 10:
        begin = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    file.seek(begin)
    frame = file.read(256)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 16:
        return None
    flags, *fields = struct.unpack(">III", frame[at + 4 : at + 16])
    if not flags & 2:
        return None
    # The count of frames, where there, comes before the count of bytes.
    return begin + int(fields[flags & 1] * (1 - tolerate))


def _sphere_bytes(file: BinaryIO) -> int | None:
    """Where a NIST SPHERE file's header says that it ends; None where the sound is compressed or nothing is said."""
    if file.read(8) != b"NIST_1A\n":
        return None
    size = file.read(8).strip()
    if not size.isdigit():
        return None
    file.seek(0)
    fields = [line.split(maxsplit=2) for line in file.read(int(size)).decode("latin-1").splitlines()]
    stated = {field[0]: field[2] for field in fields if len(field) == 3}
    if stated.get("sample_coding", "pcm") not in ("pcm", "ulaw", "alaw"):  # "pcm,embedded-shorten-v2.00" is compressed
        return None
    try:
        counts = [int(stated[name]) for name in ("sample_count", "sample_n_bytes")]
        return int(size) + counts[0] * counts[1] * int(stated.get("channel_count", "1"))
    except (KeyError, ValueError):
        return None


_STATED_SIZE: dict[str, Callable[[BinaryIO], int | None]] = {
    ".wav": _riff_bytes,
    ".ogg": _ogg_bytes,
    ".sph": _sphere_bytes,
    ".mp3": partial(_mpeg_bytes, tolerate=TOLERATED_LOSS),
}
