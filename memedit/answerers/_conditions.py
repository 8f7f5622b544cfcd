"""Whether a message meets a condition in plain words: the gate g(x) of language patches.

A scope asks whether a question falls under a fact, and is trained for that; here the condition is a kind of message
(“the user asks for another person's address”), and what is asked about is not in it. So a condition is compared with
what else is said: its cosine with the message counts by how far it stands out among those of ordinary messages, in
their standard deviations. `language_patch.json` turns the false-fire rate that the user picks into a bound on that
score, for so many patches (`python -m memedit.training.patches`). A condition that names words (“the message mentions
Acme”) is met by the words. Not an entry of the registry, hence the underscore.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from memedit.edits import Edit, Message
from memedit.patches import conditional_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memedit.encoders import Encoder
    from memedit.scope._calibration import Calibration

LONGEST = 500
"""Characters of the whole message that are judged beside the sentences that ask."""

MOST_KEPT = 2000
"""Vectors that are kept for each encoder."""

_WHO = r"(?:the\s+)?(?:user|users|message|question|person|customer|someone|somebody|anyone|anybody|they|he|she|i)"
_LEAD = re.compile(
    rf"(?:{_WHO}\s+)?(?:(?:is|are|gets|am)\s+)?"
    r"(?:asks?|asked|asking|wants?|wonders?|inquires?|talks?|complains?|is\s+about|are\s+about|speaks?|requests?)\b"
    r"(?:\s+(?:you|us|me))?(?:\s+(?:about|for|to|how\s+to|whether|if|that))?\s+",
    re.I,
)
_NAMES = re.compile(
    rf"(?:{_WHO}\s+)?(?:mentions?|contains?|names?|includes?|uses?)\s+(?:the\s+)?(?:words?|names?|phrase|term)?\s*"
    r"(?P<words>.+)",
    re.I,
)
_QUOTES = "“”\"'‘’«»"


@dataclass(frozen=True, slots=True)
class Judged:
    """A patch against a message. `score` is in standard deviations above ordinary messages (inf where its words are
    met, -inf where they are not); it `holds` from the bound on."""

    edit: Edit
    score: float
    holds: bool


def judged(
    messages: Sequence[Message], edits: Sequence[Edit], encoder: Encoder, false_fire: float
) -> tuple[list[Judged], float]:
    """Each patch against the last user message, the surest first, and the bound in force."""
    from memedit.scope._asked import asked

    whole = next((message.content for message in reversed(messages) if message.role == "user"), "")
    texts = [text[:LONGEST] for text in dict.fromkeys([*asked(messages), " ".join(whole.split())[:LONGEST]])]
    keys = [_keys(edit) for edit in edits]
    bound = figures().score(false_fire, sum(map(len, keys)))  # each wording may fire by mistake
    if not whole.strip():
        return [], bound
    scores = dict(zip(edits, scored(texts, keys, encoder), strict=True))
    for edit in edits:
        words = words_named(conditional_of(edit).condition)
        if words is not None:
            scores[edit] = math.inf if _says(whole, words) else -math.inf
    ranked = sorted(scores.items(), key=lambda pair: (-pair[1], -pair[0].seq))
    return [Judged(edit, score, score >= bound) for edit, score in ranked], bound


def scored(texts: Sequence[str], conditions: Sequence[Sequence[str]], encoder: Encoder) -> list[float]:
    """For each condition, given by its wordings, the best score of any text against any wording."""
    import numpy as np

    if not conditions:
        return []
    asked = encoder.encode(texts)
    ordinary = vectors(ordinary_messages(), encoder)
    best = []
    for wordings in conditions:
        said = vectors(wordings, encoder)
        usual = ordinary @ said.T  # (ordinary messages, wordings)
        best.append(float(((asked @ said.T - usual.mean(0)) / np.maximum(usual.std(0), 1e-3)).max()))
    return best


def bare(condition: str) -> str:
    """The condition without “the user asks for”: what a message that meets it is about."""
    text = " ".join(condition.split()).rstrip(".")
    return _LEAD.sub("", text, count=1) or text


def words_named(condition: str) -> tuple[str, ...] | None:
    """The words of which a message must hold one, where the condition is that; None where it is about meaning."""
    found = _NAMES.fullmatch(" ".join(condition.split()).rstrip("."))
    if found is None:
        return None
    parts = re.split(r"\s*,\s*(?:or\s+)?|\s+or\s+", found["words"])
    exact = all((part[:1] in _QUOTES and part[-1:] in _QUOTES) or part[:1].isupper() for part in parts if part)
    return tuple(part.strip(_QUOTES) for part in parts if part.strip(_QUOTES)) if exact else None


@cache
def figures() -> Calibration:
    """The calibration in force."""
    from memedit.scope._calibration import load_calibration

    with as_file(files("memedit.answerers") / "language_patch.json") as path:
        # Scores are deviations, not cosines, so that no ceiling is theirs; many patches are patches of fewer.
        return replace(load_calibration(path), ceiling=math.inf, growth="union")


@cache
def ordinary_messages() -> tuple[str, ...]:
    """Messages that meet no condition in particular."""
    return tuple((files("memedit.answerers") / "ordinary_messages.txt").read_text(encoding="utf-8").splitlines())


def _keys(edit: Edit) -> list[str]:
    """The wordings of a patch's condition: itself, and the examples that were given with it."""
    return [bare(conditional_of(edit).condition), *edit.aliases]


def _says(text: str, words: Sequence[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.I) for word in words)


_known: dict[str, dict[str, NDArray[np.float32]]] = {}


def vectors(texts: Sequence[str], encoder: Encoder) -> NDArray[np.float32]:
    """(len(texts), dimension) unit vectors, kept for the next time: of what is compared with every message."""
    import numpy as np

    known = _known.setdefault(encoder.identity, {})
    new = [text for text in dict.fromkeys(texts) if text not in known]
    found = dict(known)
    if new:
        found.update(zip(new, encoder.encode(new), strict=True))
        # Whole, so that another thread sees the old or the new; begun anew when conditions have come and gone.
        _known[encoder.identity] = found if len(found) <= MOST_KEPT else {text: found[text] for text in texts}
    return np.stack([found[text] for text in texts])
