"""Words as phones and phones as sound targets, for the synthesiser in `speech`.

Formants of vowels are the men's means of Peterson & Barney (1952), "Control methods used in a study of the vowels";
loci, bursts and hiss of consonants follow Klatt (1980), "Software for a cascade/parallel formant synthesizer".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

#: A source that is off, in dB.
OFF = -90.0


@dataclass(frozen=True)
class Segment:
    """A stretch of sound with one target.

    Attributes:
        seconds: how long it lasts at the usual tempo.
        formants: F1 to F3 in Hz for a man's vocal tract; None takes the neighbour's.
        voice: level of the glottal pulses, dB.
        breath: level of noise made in the glottis, dB.
        hiss: level of noise made in the mouth, dB.
        hiss_hz: the middle of that noise, Hz.
        hiss_band: its bandwidth, Hz.
        nasal: whether the nose damps the formants.
        vowel: whether a syllable's accent falls on it.
        stressed: whether that syllable is stressed.
    """

    seconds: float
    formants: tuple[float, float, float] | None
    voice: float = OFF
    breath: float = OFF
    hiss: float = OFF
    hiss_hz: float = 4000.0
    hiss_band: float = 2000.0
    nasal: bool = False
    vowel: bool = False
    stressed: bool = False


#: A pause between sentences.
SILENCE = Segment(0.28, None)

_VOWELS = {
    "IY": ((270, 2290, 3010), None, 0.100),
    "IH": ((390, 1990, 2550), None, 0.075),
    "EH": ((530, 1840, 2480), None, 0.085),
    "AE": ((660, 1720, 2410), None, 0.120),
    "AH": ((640, 1190, 2390), None, 0.080),
    "AA": ((730, 1090, 2440), None, 0.125),
    "AO": ((570, 840, 2410), None, 0.125),
    "UH": ((440, 1020, 2240), None, 0.080),
    "UW": ((300, 870, 2240), None, 0.105),
    "ER": ((490, 1350, 1690), None, 0.110),
    "AX": ((500, 1450, 2450), None, 0.055),
    "AY": ((720, 1150, 2450), (390, 1990, 2550), 0.150),
    "EY": ((530, 1840, 2480), (290, 2250, 2900), 0.130),
    "OW": ((560, 950, 2400), (380, 850, 2250), 0.130),
    "AW": ((720, 1250, 2450), (420, 950, 2250), 0.150),
    "OY": ((560, 860, 2400), (370, 2000, 2550), 0.150),
}

_SONORANTS = {
    "M": Segment(0.065, (260, 1000, 2200), voice=-7, nasal=True),
    "N": Segment(0.060, (260, 1500, 2500), voice=-7, nasal=True),
    "NG": Segment(0.065, (270, 1950, 2600), voice=-8, nasal=True),
    "L": Segment(0.060, (350, 1100, 2700), voice=-4),
    "R": Segment(0.060, (350, 1150, 1550), voice=-4),
    "W": Segment(0.060, (300, 680, 2200), voice=-5),
    "Y": Segment(0.055, (270, 2200, 3000), voice=-4),
}

_LABIAL, _DENTAL, _ALVEOLAR, _PALATAL, _VELAR = (
    (320, 950, 2250),
    (320, 1300, 2500),
    (320, 1750, 2600),
    (310, 1950, 2550),
    (310, 2050, 2400),
)

_FRICATIVES = {
    "S": Segment(0.095, _ALVEOLAR, hiss=-9, hiss_hz=5600, hiss_band=1800),
    "SH": Segment(0.095, _PALATAL, hiss=-8, hiss_hz=3000, hiss_band=1200),
    "F": Segment(0.085, _LABIAL, hiss=-22, hiss_hz=6200, hiss_band=5000),
    "TH": Segment(0.080, _DENTAL, hiss=-24, hiss_hz=5600, hiss_band=4500),
    "Z": Segment(0.070, _ALVEOLAR, voice=-13, hiss=-15, hiss_hz=5600, hiss_band=1800),
    "V": Segment(0.055, _LABIAL, voice=-9, hiss=-27, hiss_hz=6000, hiss_band=5000),
    "DH": Segment(0.045, _DENTAL, voice=-8, hiss=-29, hiss_hz=5600, hiss_band=4500),
    "HH": Segment(0.060, None, breath=-13),
}

#: Place, voiced or not, and the burst's middle and bandwidth.
_STOPS = {
    "P": (_LABIAL, False, 1100, 2500),
    "T": (_ALVEOLAR, False, 4600, 2500),
    "K": (_VELAR, False, 2100, 900),
    "B": (_LABIAL, True, 1000, 2500),
    "D": (_ALVEOLAR, True, 4200, 2500),
    "G": (_VELAR, True, 1900, 900),
}


def _vowel(name: str, stressed: bool) -> tuple[Segment, ...]:
    begin, end, seconds = _VOWELS[name]
    seconds *= 1.15 if stressed else 0.85
    first = Segment(seconds, begin, voice=0.0 if stressed else -2.5, vowel=True, stressed=stressed)
    if end is None:
        return (first,)
    return (replace(first, seconds=0.55 * seconds), replace(first, seconds=0.45 * seconds, formants=end, vowel=False))


def _stop(name: str) -> tuple[Segment, ...]:
    place, voiced, hertz, band = _STOPS[name]
    closure = Segment(0.045 if voiced else 0.055, place, voice=-20 if voiced else OFF)
    burst = Segment(0.012, place, hiss=-14 if voiced else -9, hiss_hz=hertz, hiss_band=band)
    if voiced:
        return (closure, burst)
    return (closure, burst, Segment(0.030, None, breath=-15))


@cache
def segments(phone: str) -> tuple[Segment, ...]:
    """The segments of one phone; a vowel that ends in `1` is stressed.

    Raises:
        KeyError: there is no such phone.
    """
    name = phone.rstrip("1")
    if name in _VOWELS:
        return _vowel(name, phone.endswith("1"))
    if name in _STOPS:
        return _stop(name)
    if name in ("CH", "JH"):
        hush = replace(_FRICATIVES["SH"], seconds=0.065)
        if name == "JH":
            hush = replace(hush, seconds=0.045, voice=-14, hiss=-13)
        return (_stop("T" if name == "CH" else "D")[0], hush)
    return ((_SONORANTS | _FRICATIVES)[name],)


_WORDS = """
a AX | again AX G EH1 N | all AO1 L | and AX N D | are AA R | at AE T | away AX W EY1 | back B AE1 K | be B IY
been B IH N | before B IH F AO1 R | bring B R IH1 NG | brother B R AH1 DH ER | but B AX T | call K AO1 L
came K EY1 M | can K AE N | car K AA1 R | children CH IH1 L D R AX N | come K AH1 M | did D IH1 D | do D UW
door D AO1 R | evening IY1 V N IH NG | every EH1 V R IY | for F ER | friend F R EH1 N D | garden G AA1 R D AX N
give G IH1 V | go G OW1 | going G OW1 IH NG | good G UH1 D | have HH AE V | he HH IY | hear HH IY1 R | here HH IY1 R
home HH OW1 M | house HH AW1 S | how HH AW1 | i AY | if IH F | in IH N | is IH Z | it IH T | just JH AH S T
keep K IY1 P | kitchen K IH1 CH AX N | know N OW1 | last L AE1 S T | late L EY1 T | leave L IY1 V | left L EH1 F T
letter L EH1 T ER | like L AY1 K | listen L IH1 S AX N | long L AO1 NG | me M IY | money M AH1 N IY | more M AO1 R
morning M AO1 R N IH NG | my M AY | never N EH1 V ER | new N UW1 | night N AY1 T | no N OW1 | not N AA1 T
nothing N AH1 TH IH NG | now N AW1 | of AX V | office AO1 F IH S | oh OW1 | okay OW K EY1 | old OW1 L D | on AO N
open OW1 P AX N | people P IY1 P AX L | please P L IY1 Z | right R AY1 T | said S EH1 D | same S EY1 M | saw S AO1
say S EY1 | see S IY1 | she SH IY | should SH UH D | sister S IH1 S T ER | so S OW | some S AH M | stay S T EY1
still S T IH1 L | story S T AO1 R IY | street S T R IY1 T | summer S AH1 M ER | table T EY1 B AX L | take T EY1 K
talk T AO1 K | tell T EH1 L | that DH AE T | the DH AX | then DH EH N | there DH EH1 R | they DH EY
think TH IH1 NG K | this DH IH S | time T AY1 M | to T AX | today T AX D EY1 | together T AX G EH1 DH ER
told T OW1 L D | tomorrow T AX M AO1 R OW | took T UH1 K | town T AW1 N | train T R EY1 N | us AX S | wait W EY1 T
waiting W EY1 T IH NG | want W AA1 N T | was W AX Z | water W AO1 T ER | we W IY | well W EH1 L | went W EH1 N T
what W AH1 T | when W EH N | where W EH1 R | will W IH L | window W IH1 N D OW | with W IH TH | work W ER1 K
would W UH D | year Y IY1 R | yes Y EH1 S | you Y UW | your Y AO R
"""

#: Every word's phones.
LEXICON: dict[str, tuple[str, ...]] = {
    word: tuple(phones)
    for entry in _WORDS.replace("\n", "|").split("|")
    if entry.strip()
    for word, *phones in [entry.split()]
}

#: What is said, in every corpus, by every speaker and in every class; long and short, so that any tempo can fill any
#: duration.
SENTENCES = tuple(
    """
yes
no
oh
right
well
okay
not now
i know
come here
listen
go away
tell me now
never again
we will see
i told you so
what did you say
where have you been
they are here today
you never told me that
please open the door
give me some more time
the train is late again
we went home in the evening
i think that it is going to work
she left the letter on the table
the children are still in the garden
you said that you would call me today
my brother took the car to the office
they told us the same story every year
we will be waiting for you at the house
there was nothing in the kitchen but water
i saw your sister with a friend in the street
he came back last night and went away in the morning
when the summer is here we should all go to the old town
if you keep the window open you can hear the people talk
""".strip().splitlines()
)


@cache
def spoken(sentence: str) -> tuple[Segment, ...]:
    """A sentence's segments.

    Raises:
        KeyError: a word is not in `LEXICON`.
    """
    return tuple(segment for word in sentence.split() for phone in LEXICON[word] for segment in segments(phone))


@cache
def natural_seconds(sentence: str) -> float:
    """How long a sentence lasts at the usual tempo."""
    return sum(segment.seconds for segment in spoken(sentence))
