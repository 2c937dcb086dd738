"""The word lint: banned words of the writing guide in documentation, docstrings and text for operators."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

import pytest

from tests.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A banned pattern and what to write instead.
BANNED: Final = (
    (r"tell(s|ing)?|told|untold", "report, deliver, notify; delivered, known"),
    (r"(is|are) wanted|wanted:|wants an?", "must be, requires; required"),
    (r"writ(e|es|ing|ten) down|takes? in|taken in|lets? out", "record, store; deliver"),
    (r"(a|one|the|each|next|first|last|full|this) looks?|looks? (at|back)", "poll, query, observation"),
    (r"hint(s|ed)?", "notification; remedy"),
    (r"r(i|a|u)ng|rings|bell", "notify, notification"),
    (r"(?<!dead )(?<!dead-)letters?", "dead letter, delivery"),
    (r"in hand|under way", "in flight, in progress"),
    (r"taken|takes? (runs|it|them|nothing)|took", "accepted, delivered; accepts"),
    (r"given? up|gives? up", "dropped, abandoned, released"),
    (r"set(s|ting)? (aside|apart)", "skip; quarantine"),
    (r"(?<!connection )refuse[sd]?", "reject, rejected"),
    (r"mend(s|ed)?|put right|see to", "fix, repair, check"),
    (r"troubles?|alas|befall|lest", "problem, error; otherwise"),
    (r"somebody|nobody|everybody|whoever|whom", "the operator, the backend, another process"),
    (r"we|us|ours?", "the daemon, slurmsyncd"),
    (r"strangers?|ancestor|namesake", "unknown cluster or sender; cc-slurm-adapter; same name"),
    (r"(is|are) to be|(can|cannot|could not) be had|shall", "must be; available, obtain; must"),
    (r"for ever|at once|anew|likewise|in vain|by itself|so long", "indefinitely, immediately, again"),
    (r"believed", "trusted, valid"),
    (r"is no|are none", "is not a, none are"),
    (r"goes on|went on", "continues"),
    (r"lets? go(?: of)?", "close, release"),
    (r"all is well|how it is doing|not as it should be", "ok, health, problem"),
    (r"the whole (path|story|look-back)|all that is known", "full details"),
)
WORDS: Final = tuple((re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), better) for pattern, better in BANNED)
#: How a docstring must not begin.
BEGINNING: Final = re.compile(r"(Give|Tell|Say)s?\b")
#: Calls whose string arguments an operator reads.
SPOKEN: Final = frozenset({"print", "print_line", "fail", "add_parser"})
KEYWORDS: Final = frozenset({"help", "description", "epilog", "remedy", "detail"})
PAGES: Final = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**/*.md",
    "hooks/*",
    "systemd/*",
)
ALLOWED: Final = ROOT / "tests" / "data" / "words-allowed.txt"


def _pages() -> list[Path]:
    return sorted({path for pattern in PAGES for path in ROOT.glob(pattern) if path.is_file()})


def _modules() -> list[Path]:
    return sorted(path for folder in ("slurmsyncd", "tests") for path in (ROOT / folder).rglob("*.py"))


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page without code."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield number, re.sub(r"`[^`]*`|\]\([^)]*\)", " ", line)


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield docstrings and the strings that an operator reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if (text := ast.get_docstring(node)) is not None:
                yield node.body[0].lineno, text
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from _strings(node.exc.args)
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield from _strings(word.value for word in node.keywords if word.arg in KEYWORDS)
            if name in SPOKEN:
                yield from _strings(node.args)


def _strings(nodes: object) -> Iterator[tuple[int, str]]:
    for root in nodes:  # type: ignore[attr-defined]
        for node in ast.walk(root):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, node.value


def problems_of(path: Path) -> list[str]:
    """Return the banned words of a file, each with its line and what to write instead."""
    text = path.read_text(encoding="utf-8")
    is_code = path.suffix == ".py"
    found: list[str] = []
    for line, prose in _texts(ast.parse(text)) if is_code else _prose(text):
        plain = re.sub(r"``[^`]*``|`[^`]*`", " ", prose)
        if is_code and BEGINNING.match(plain.strip()):
            found.append(f"{line}: begins with {plain.split()[0]}: write Return, Report, Send")
        found += [
            f"{line}: {hit.group(0)}: write {better}"
            for word, better in WORDS
            for hit in word.finditer(plain)
        ]
    return found


def allowed() -> list[str]:
    """Return the files that are not checked yet; the list only shrinks."""
    return ALLOWED.read_text(encoding="utf-8").split() if ALLOWED.exists() else []


CHECKED = [
    path.relative_to(ROOT).as_posix()
    for path in (*_pages(), *_modules())
    if path.relative_to(ROOT).as_posix() not in allowed() and path.name != "test_words.py"
]


@pytest.mark.parametrize("name", CHECKED)
def test_a_file_uses_the_words_of_the_writing_guide(name: str) -> None:
    """A page, docstring or message contains none of the banned words."""
    assert problems_of(ROOT / name) == []


def test_the_allow_list_only_names_files_that_need_it() -> None:
    """A file leaves the allow-list as soon as it contains no banned word."""
    assert [name for name in allowed() if not (ROOT / name).exists() or not problems_of(ROOT / name)] == []


if __name__ == "__main__":
    import sys
    from pathlib import Path

    for name in sys.argv[1:]:
        for problem in problems_of(Path(name)):
            sys.stdout.write(f"{name}:{problem}\n")
