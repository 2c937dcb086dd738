"""
The secret of one capture: which word stands for which. Lives in memory only.

Words are runs of letters and runs of digits; what is between them stays, so newlines, delimiters, quotes and
broken UTF-8 survive, and the same word is the same everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from slurmsyncd.commands.capture.field_kinds import EXEMPT

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

LETTERS: Final = re.compile(r"[^\W\d_]+")
WORDS: Final = re.compile(r"[^\W\d_]+|\d+")
_VOWELS, _CONSONANTS = "aeiou", "bdfghjklmnprstvwz"
_WEEK_S: Final = 7 * 86400
_TIMES: Final = range(1_000_000_000, 4_294_967_000)
_IDS: Final = range(1, 4_294_967_000)
_TRIES: Final = 50


class Pseudonyms:
    """
    Gives each word its stand-in.

    Args:
        dice: Where the stand-ins come from.
        avoid: No stand-in of three letters or more is one of these.
        shift: Move times and job ids, too.

    Attributes:
        issued: All stand-ins so far.
    """

    def __init__(self, dice: Random, avoid: frozenset[str] = frozenset(), *, shift: bool = False) -> None:
        self.issued: set[str] = set()
        self._dice = dice
        self._avoid = avoid
        self._words: dict[str, str] = {}
        self._uids: dict[int, int] = {}
        self._digits = _ring(dice, 0)
        self._ascii_digits = _ring(dice, 1)  # none becomes "0", which alone is Slurm's and stays
        self._shift_s = -dice.randrange(1, 150) * _WEEK_S if shift else 0
        self._shift_ids = dice.randrange(1000, 1_000_000) if shift else 0

    def text(self, text: str) -> str:
        """Replace each word."""
        return WORDS.sub(lambda found: self.word(found[0]), text)

    def stem(self, text: str) -> str:
        """Replace letters and keep numbers: ``node[01-16]`` stays a list of sixteen hosts."""
        return LETTERS.sub(lambda found: self.word(found[0]), text)

    def word(self, word: str) -> str:
        """Return a word's stand-in, always the same."""
        if word not in self._words:
            self._words[word] = self._new(word)
        return self._words[word]

    def uid(self, uid: int) -> int:
        """Return a user's or group's number another; root and "nobody said" stay."""
        if uid not in range(1, 4_294_967_000):
            return uid
        while uid not in self._uids:
            new = self._dice.randrange(10_000, 60_000 + 2 * len(self._uids))
            if new != uid and str(new) not in self.issued | self._avoid:
                self._uids[uid] = new
                self.issued.add(str(new))
        return self._uids[uid]

    def time(self, at: int) -> int:
        """Move an instant (epoch seconds); what is none stays."""
        return at + self._shift_s if at in _TIMES else at

    def job_id(self, job_id: int) -> int:
        """Move a job id; what is none stays."""
        return (job_id + self._shift_ids) % _IDS.stop if job_id in _IDS else job_id

    def _new(self, word: str) -> str:
        invent: Callable[[str], str] = self._number if word.isdecimal() else self._name
        if len(word) == 1 and word.isdecimal() and word != "0":
            value = unicodedata.decimal(word)
            digits = self._ascii_digits if word.isascii() else self._digits
            return chr(ord(word) + digits[value] - value)
        model = "00" if word == "0" else word
        for tries in range(10_000):
            new = invent(model)
            taken = new in self.issued or new in EXEMPT or (len(new) > 2 and new in self._avoid)
            if new != word and not taken:
                break
            if tries % _TRIES == _TRIES - 1:
                model += "1" if word.isdecimal() else "a"  # there are but 26 names of one letter
        self.issued.add(new)
        return new

    def _number(self, word: str) -> str:
        values = [(char, unicodedata.decimal(char)) for char in word]
        lows = [int(at == 0 and value > 0) for at, (_, value) in enumerate(values)]
        return "".join(
            chr(ord(char) - value + self._dice.randrange(low, 10))
            for low, (char, value) in zip(lows, values, strict=True)
        )

    def _name(self, word: str) -> str:
        odd = self._dice.randrange(2)
        return "".join(self._letter(char, (at + odd) % 2) for at, char in enumerate(word))

    def _letter(self, char: str, odd: int) -> str:
        if char.isascii():
            new = self._dice.choice(_VOWELS if odd else _CONSONANTS)
            return new.upper() if char.isupper() else new
        # Of the same script, as a rule, and of as many bytes.
        row = ord(char) & ~63
        alike = [chr(code) for code in range(row, row + 64) if _alike(chr(code), char)]
        return self._dice.choice(alike or [char])


def _alike(char: str, other: str) -> bool:
    return char != other and unicodedata.category(char) == unicodedata.category(other)


def _ring(dice: Random, first: int) -> list[int]:
    """Return each digit from the first another."""
    order = list(range(first, 10))
    dice.shuffle(order)
    found = [0] * 10
    for at, digit in enumerate(order):
        found[digit] = order[at - 1]
    return found
