"""Anonymise a file's fields, and check that nothing is left. The dice are an argument."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from slurmsyncd.commands.capture.field_kinds import EXEMPT, SCONTROL, FieldKind, parts
from slurmsyncd.commands.capture.formats import FileFormat, strings
from slurmsyncd.commands.capture.pseudonyms import LETTERS, WORDS, Pseudonyms

if TYPE_CHECKING:
    from random import Random

_LEAST: Final = 3
"""Letters of a word that is looked for outside the fields where names are."""

_LEAST_DIGITS: Final = 5

_PART_LEAST: Final = 5
"""Letters of a name that is looked for within other words."""

_NAMES: Final = re.compile(r"user|person|account|host|cluster|nodes?$|group", re.IGNORECASE)
_VOCABULARY: Final = frozenset(
    LETTERS.findall(
        "cpu mem node billing gres gpu license energy pages vmem disk shard mps bb fs ic ofed IDX CNT null "
        "gpumem gpuutil craynetwork None assigned Unknown dev root by of as is at sec min ReqNodeNotAvail "
        "Configuration data Slurmctld primary backup UP DOWN MPI Plugins " + " ".join([*EXEMPT, *SCONTROL])
    )
)


class FieldScanner:
    """
    Notes what is somebody's and what is Slurm's own, field by field; changes nothing.

    Attributes:
        secrets: Word → name of the field where it was first.
        own: Words that Slurm itself prints.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.own: set[str] = set(_VOCABULARY)

    def __call__(self, kind: FieldKind, name: str, text: str) -> str:
        """Note a field."""
        for part, piece in parts(kind, text):
            if piece not in EXEMPT:
                self._note(part, name, piece)
        return text

    def _note(self, kind: FieldKind, name: str, text: str) -> None:
        for word in WORDS.findall(text):
            # Numbers stay but in what people wrote; of MIXED words nobody knows yet whose they are.
            number = word.isdecimal()
            if kind in (FieldKind.TEXT, FieldKind.UID) or (kind is FieldKind.STEM and not number):
                self.secrets.setdefault(word, name)
            elif number or kind is FieldKind.OWN:
                self.own.add(word)


class Anonymiser:
    """Replaces what is somebody's, field by field."""

    def __init__(self, seen: FieldScanner, dice: Random, *, shift: bool = False) -> None:
        self.mapping = Pseudonyms(dice, frozenset(seen.secrets) | seen.own, shift=shift)
        self._open = {
            word for word in seen.secrets if len(word) >= _LEAST
        } - seen.own  # M is a unit, n a host

    def __call__(self, kind: FieldKind, name: str, text: str) -> str:  # noqa: ARG002 - a Visit
        """Return a field's stand-in."""
        return "".join(self._piece(part, piece) for part, piece in parts(kind, text))

    def _piece(self, kind: FieldKind, text: str) -> str:
        if text in EXEMPT or kind is FieldKind.OWN:
            return text
        if kind is FieldKind.TEXT:
            return self.mapping.text(text)
        if kind is FieldKind.STEM:
            return self.mapping.stem(text)
        if kind is FieldKind.MIXED:
            return LETTERS.sub(self._known, text)
        return self._number(kind, text)

    def _known(self, found: re.Match[str]) -> str:
        return self.mapping.word(found[0]) if found[0] in self._open else found[0]

    def _number(self, kind: FieldKind, text: str) -> str:
        if not (text.isascii() and text.isdecimal()):
            return self.mapping.text(text) if kind is FieldKind.UID else LETTERS.sub(self._known, text)
        change = {
            FieldKind.UID: self.mapping.uid,
            FieldKind.TIME: self.mapping.time,
            FieldKind.JOB_ID: self.mapping.job_id,
        }
        return str(change[kind](int(text)))


class LeakChecker:
    """
    Looks for what must not be in a file that is to be kept; knows nothing of fields.

    Args:
        seen: What was there before.
        issued: Stand-ins; they may be there.
        token: Ends each column; it would join the words beside it.
    """

    def __init__(self, seen: FieldScanner, issued: set[str], token: str) -> None:
        self._token = token
        self._secrets = {
            word: name
            for word, name in seen.secrets.items()
            if len(word) >= (_LEAST_DIGITS if word.isdecimal() else _LEAST) and word not in seen.own
        }
        self._fine = seen.own | issued
        names = [word for word, name in self._secrets.items() if _NAMES.search(name)]
        names = [word for word in names if len(word) >= _PART_LEAST]
        self._names = re.compile("|".join(map(re.escape, sorted(names)))) if names else None

    def leak(self, form: FileFormat, text: str) -> str:
        """Return the name of a field whose content is still there, empty if there is none."""
        for part in strings(text) if form is FileFormat.JSON else text.split(self._token):
            for word in WORDS.findall(part):
                if word in self._fine:
                    continue
                if word in self._secrets:
                    return self._secrets[word]
                if self._names and (found := self._names.search(word)):
                    return self._secrets[found[0]]
        return ""
