"""Regular expressions that users write: made ready where that can be stopped, and refused where they match everything.

`regex` has a time limit for matching and none for compiling, and it unrolls counted repetitions: nineteen characters,
`(((|){99}){99}){99}`, end the process that compiles them, others keep it busy for years. So what is not cheap is
compiled first in a process of its own that has little time, memory and stack, and here only if that one lived.

A pattern is cheap if its length times all numbers in its {…} is at most CHEAP: then nothing that is unrolled, however
the repetitions are nested, is longer than that, and takes some hundredths of a second.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from memedit.errors import InputError

if TYPE_CHECKING:
    from regex import Pattern

CHEAP = 20_000
SECONDS = 1
"""Processor time that compiling a pattern may take."""
PATIENCE = 20.0
"""Seconds after which it is stopped whatever its processor time was: the machine may be busy."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_COUNT = re.compile(r"(\d{0,6}),?(\d{0,6})")
_NAME = re.compile(r"[A-Za-z_=^: -]*")  # \p{Script=Greek}, \N{LATIN SMALL LETTER A}: no digit, no comment

# What is compiled is what `ready` compiles. A thread's stack is smaller than the main one's, and some systems give it
# no more than this; a pattern that fits here fits wherever a question is answered.
_TRIAL = f"""
import sys, threading
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS} + 1, {SECONDS} + 1))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, ValueError, OSError):
    pass
sys.path.append(sys.argv[1])
import regex
pattern = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
done = []
def trial():
    try:
        regex.compile(pattern)
    except MemoryError:
        return
    except Exception:
        pass
    done.append(True)
threading.stack_size(512 * 1024)
thread = threading.Thread(target=trial)
thread.start()
thread.join()
sys.exit(0 if done else 1)
"""

PROBES = (
    "The quick brown fox jumps over the lazy dog, and why should it not do so?",
    "- 1, 2, 3! (4.50 + 6) * 7 = 73.50; 8 / 9 % 0 & # @",
    "天気はどうですか、今日は雨が降りますか。明日はどこへ行きますか",
    " …  — !? «» " * 10,
    "\u0417\u0430\u0447\u0435\u043c \u043d\u0430\u043c \u044d\u0442\u043e\u0442 \u0434\u043e\u0436\u0434\u044c? " * 20,
)
"""Texts of one line that have nothing in common, long and short: what matches all of each is about nothing."""


def ready(pattern: str) -> Pattern[str]:
    """The pattern compiled by `regex`.

    Raises `regex.error` where it is no pattern, InputError where it is too deep or costs too much to be made ready.
    """
    import regex  # late: only patches need it

    if not _is_cheap(pattern) and not _is_bearable(pattern):
        raise InputError(
            "the pattern takes too long to be made ready: its repetitions {…} multiply to too many; use smaller "
            "numbers, or * and +"
        )
    try:
        return regex.compile(pattern)
    except RecursionError as error:
        raise InputError("the pattern is nested too deeply; use fewer groups inside groups") from error
    except (OverflowError, MemoryError) as error:
        raise InputError("the pattern holds a number that is too large") from error


def _is_cheap(pattern: str) -> bool:
    braces = _BRACES.findall(pattern)
    if len(braces) != pattern.count("{"):
        return False
    size = len(pattern)
    for inside in braces:
        count = _COUNT.fullmatch(inside)
        if count is not None:
            size *= max(1, *(int(number or 0) for number in count.groups()))
        elif not _NAME.fullmatch(inside):
            return False  # errors allowed, or blanks and comments that hide a number
    return size <= CHEAP


@lru_cache(maxsize=1000)
def _is_bearable(pattern: str) -> bool:
    """Whether another process survives compiling it."""
    import regex

    where = str(Path(regex.__file__).parents[1])
    try:
        given = pattern.encode("utf-8", "surrogatepass")
        command = [sys.executable, "-I", "-c", _TRIAL, where]
        return subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE, check=False).returncode == 0
    except (subprocess.TimeoutExpired, OSError):
        return False


def everywhere(made: Pattern[str], texts: Sequence[str] = PROBES) -> bool:
    """Whether it matches every piece of every text, or nothing between all characters.

    Raises TimeoutError where it cannot be told in a quarter of a second of processor time for a text.
    """
    return all(_covers(made, text) for text in texts)


def _covers(made: Pattern[str], text: str) -> bool:
    covered = 0  # every character before here is in a match, or has an empty one at its side
    for start, end in sorted(match.span() for match in made.finditer(text, timeout=0.25)):
        empty = start == end
        if start > covered + empty:
            return False
        covered = max(covered, end + empty)
    return covered >= len(text)
