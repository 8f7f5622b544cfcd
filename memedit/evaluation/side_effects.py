"""What edits do to what they are not about, once all are in force: other facts, PIQA, the perplexity of ordinary text.

Questions beside an edit (its neighbours, other attributes of its subject) belong to its case and are asked there; here
stand those that belong to none. One line per item, of the same form as a case's as far as it goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memedit.edits import Case
from memedit.errors import InputError, NotFoundError
from memedit.evaluation.asking import is_known
from memedit.matching import gives

if TYPE_CHECKING:
    from memedit.evaluation.systems import Base, System, TargetScore

Line = dict[str, Any]

TEXTS = ("text/xquad_en.json", "xquad_en.json", "text/*.txt")
"""Places of held-out text below the data folder: in SQuAD's form, or plain with a paragraph per line."""
BEGINNING = 8
"""Words of a paragraph that are given; the rest is scored."""


def upstream(system: System, base: Base, beside: Sequence[Case], data: Path | None, count: int) -> Iterator[Line]:
    """Facts that are not edited and that the unedited model answers rightly: are they still?"""
    known = [case for case in beside[:count] if is_known(case, base)]
    if beside and not any(case.old for case in beside[:count]):
        raise NotFoundError("the dataset has no old answers, so nothing tells which facts the unedited model knows")
    if not known:
        raise NotFoundError("the unedited model knows none of the cases beside the edited ones")
    prompts = [case.prompt for case in known]
    for case, before, reply in zip(known, base.answer(prompts), system.answer(prompts), strict=True):
        figures = {
            "upstream_retention": float(gives(reply, case.old)),
            "upstream_unchanged": float(reply == before),
        }
        yield _line("upstream", case.id, free=figures)


def piqa(system: System, base: Base, beside: Sequence[Case], data: Path | None, count: int) -> Iterator[Line]:
    """PIQA's choices by the log-probability of each solution as the answer to the goal (summed over its tokens)."""
    from memedit.datasets.piqa import choices

    asked = list(choices(data, count))
    pairs = [(choice.goal, solution) for choice in asked for solution in choice.solutions]
    old, new = _scored(base, system, pairs)
    for number, choice in enumerate(asked):
        here = slice(2 * number, 2 * number + 2)
        before, after = _choice(old[here]), _choice(new[here])
        both = zip(old[here], new[here], strict=True)
        drift = sum(abs(a.log_probability - b.log_probability) / a.tokens for a, b in both) / 2
        figures = {
            "piqa_accuracy": float(after == choice.right),
            "piqa_agreement": float(after == before),
            "piqa_drift": round(drift, 6),
        }
        yield _line("piqa", choice.id, teacher_forced=figures)


def text(system: System, base: Base, beside: Sequence[Case], data: Path | None, count: int) -> Iterator[Line]:
    """The log-probability of paragraphs behind their first words; `rows` makes perplexities of the sums."""
    pairs = [(" ".join(words[:BEGINNING]).rstrip(".?!:"), " ".join(words[BEGINNING:])) for words in _texts(data, count)]
    old, new = _scored(base, system, pairs)
    for number, (before, after) in enumerate(zip(old, new, strict=True)):
        sums = {"before": round(before.log_probability, 6), "after": round(after.log_probability, 6)}
        yield {**_line("text", str(number)), "log_probability": sums, "tokens": after.tokens}


Effect = Callable[["System", "Base", Sequence[Case], "Path | None", int], Iterator[Line]]

SIDE_EFFECTS: dict[str, Effect] = {"upstream": upstream, "piqa": piqa, "text": text}
"""By the `kind` of their lines. Each raises NotFoundError where it has nothing to ask; that is recorded, not fatal."""


def files(data: Path | None) -> list[Path]:
    """What is read below the data folder besides the dataset: PIQA with its labels, held-out text."""
    from memedit.datasets import parts

    try:
        questions = [path for part in parts("piqa:valid", data) for path in part.paths]
    except NotFoundError:
        questions = []
    labels = [path for one in questions if (path := one.with_name(f"{one.stem}-labels.lst")).is_file()]
    return [*questions, *labels, *_text_files(data)]


def _line(
    kind: str, item: str, free: dict[str, float] | None = None, teacher_forced: dict[str, float] | None = None
) -> Line:
    return {"kind": kind, "item": item, "metrics": {"free": free or {}, "teacher_forced": teacher_forced or {}}}


def _scored(
    base: Base, system: System, pairs: Sequence[tuple[str, str]]
) -> tuple[list[TargetScore], list[TargetScore]]:
    """Scores by the unedited and by the edited model. Raises NotFoundError where either has no probabilities."""
    prompts, targets = [prompt for prompt, _ in pairs], [target for _, target in pairs]
    both = [[score for score in one.score(prompts, targets) if score is not None] for one in (base, system)]
    if any(len(scores) != len(pairs) for scores in both):
        raise NotFoundError("this system gives no probabilities")
    return both[0], both[1]


def _choice(scores: Sequence[TargetScore]) -> int:
    first, second = (score.log_probability for score in scores)
    return int(second > first)


def _texts(data: Path | None, count: int) -> list[list[str]]:
    """The words of the first paragraphs that are long enough to be cut."""
    paths = _text_files(data)
    if not paths:
        raise NotFoundError(f"there is no {' or '.join(TEXTS)} in the data folder")
    paragraphs = (paragraph.split() for path in paths for paragraph in _paragraphs(path))
    found = [words for words in paragraphs if len(words) > 2 * BEGINNING]
    return found[:count]


def _text_files(data: Path | None) -> list[Path]:
    return [path for place in TEXTS for path in sorted(data.glob(place))] if data else []


def _paragraphs(path: Path) -> list[str]:
    whole = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return whole.splitlines()
    try:
        return [one["context"] for article in json.loads(whole)["data"] for one in article["paragraphs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no text in SQuAD's form: {error!r}") from error
