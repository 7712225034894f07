"""A generator for `generator=external` in plain Python, to be copied and changed.

    augrun generator=external generator.program=my_generator.py

It is started as `python my_generator.py REQUESTS REPLY`. Each line of REQUESTS is a JSON object:

    {"sample_id": "003-00017", "file": "003-00017.wav", "label": "happy", "labels": ["happy"], "seconds": 10.0,
     "samples": 160000, "sample_rate": 16000, "seed": 1234, "prime": "/…/003-00017.wav", "prime_seconds": 4.0,
     "reconstruct": false}

For each it writes a WAV file of `samples` samples beside REPLY and, once that is whole, adds a line to REPLY:
{"sample_id": …, "file": …}, or {"sample_id": …, "error": "why there is none"}. The file's name is free, as long as it
stays in that folder. What it prints is shown. Whatever is random comes from `seed`, so that a run that was killed and
taken up again ends as one that was not.

This one plays the prime and goes on with pieces of it, each faded into the next.
"""

import array
import json
import math
import os
import random
import sys
import wave

PIECE_S = 0.5  # seconds between the starts of two pieces; each is twice as long, and at most half of the prime


def main(requests_path, reply_path):
    folder = os.path.dirname(os.path.abspath(reply_path))
    with open(requests_path, encoding="utf-8") as file:
        requests = [json.loads(line) for line in file]
    with open(reply_path, "a", encoding="utf-8") as reply:
        for number, request in enumerate(requests, 1):
            prime = read(request["prime"])
            sound = prime if request["reconstruct"] else continued(prime, request)
            write(os.path.join(folder, request["file"]), sound[: request["samples"]], request["sample_rate"])
            reply.write(json.dumps({"sample_id": request["sample_id"], "file": request["file"]}) + "\n")
            reply.flush()
            print(f"{number} of {len(requests)}: {request['label']}")


def continued(prime, request):
    """The prime, and pieces from anywhere in it until there are enough samples."""
    chance = random.Random(request["seed"])
    step = max(1, min(int(PIECE_S * request["sample_rate"]), len(prime) // 4))
    fade = [math.sin(math.pi * (place + 0.5) / (2 * step)) ** 2 for place in range(step)]  # and its mirror add up to 1
    sound = array.array("h", prime)
    last = prime[-step:]
    while len(sound) < request["samples"]:
        start = chance.randrange(max(1, len(prime) - 2 * step))
        piece = (prime + prime)[start : start + 2 * step]
        sound.extend(int(last[n] * fade[-1 - n] + piece[n] * fade[n]) for n in range(step))
        last = piece[step:]
    return sound


def read(path):
    """The samples of a mono 16-bit WAV file, which every prime is."""
    with wave.open(path, "rb") as file:
        samples = array.array("h", file.readframes(file.getnframes()))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def write(path, samples, sample_rate):
    samples = array.array("h", samples)
    if sys.byteorder == "big":
        samples.byteswap()
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
