"""Counterfactual: a small model answers from the fact alone, in place of the base model.

SERAC (Mitchell et al. 2022, "Memory-Based Model Editing at Scale"): no prompt reaches the base model, so that an edit
works offline, and with a base model that refuses or ignores its context. The small model is the pocket model, trained
to read `Given only: FACT` and to answer straight, backwards, with yes or no, or "unknown" where the fact does not tell;
then the question is handed back. Where the form of the question and the fact's own parts settle it, the model is not
asked (`settled`): a question in scope that names the target and not the subject is asked backwards, and the subject
answers it; asked of an alias in the edit's own words, its target. IKE, beside it, shows the fact to the base model.

With `published=True` the gate and the mixing are those of the paper: of all edits the nearest is taken; it applies if
s = exp(-d²) > 0.5; and where both models share a vocabulary on this machine each token is drawn from
(1 - s) p_base + s p_counterfactual (the paper mixes so in training, and switches when it answers; `mixing=False` does).
What differs from it still: the encoder is the memory's, and the small model was not trained per base model.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from memedit.answerers import HandBack, Retriever
from memedit.answerers._fitting import fits, in_own_words
from memedit.answerers._named import by_subject
from memedit.answerers.ike import as_line, standing, stopped
from memedit.declarative import plainly
from memedit.edits import Decision, Edit, Hit, Message
from memedit.errors import ModelError
from memedit.models import BaseModel, load_model
from memedit.models._asynchronous import in_thread
from memedit.parsing import askings, normalise, parse
from memedit.prompts import prompt
from memedit.relations import fill, relations
from memedit.scope._held import last_user

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memedit.memory import EditMemory

UNKNOWN = "unknown"
GATE = 0.5
"""SERAC's threshold on exp(-d²)."""
LONGEST_REPLY = 40
"""Tokens of a mixed reply."""


@runtime_checkable
class Local(Protocol):
    """What mixing needs of a model: its next token's probabilities. `HuggingFace` and the pocket model have it."""

    @property
    def vocabulary(self) -> dict[str, int]: ...

    @property
    def ends(self) -> frozenset[int]: ...

    def probabilities(self, messages: Sequence[Message], drawn: Sequence[int] = ()) -> NDArray[np.float64]: ...

    def text_of(self, tokens: Sequence[int]) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """Each fact in scope, the most probable first, is given to the small model until one tells."""

    model: str | BaseModel = "pocket"
    """The small model: one that was trained on the format above."""
    facts: int = 3
    """How many facts are tried, at most, each by itself."""
    published: bool = False
    """SERAC's own gate and mixing rule, for comparison; the scope's decision is then not looked at."""
    mixing: bool = True
    """With `published`: mix the probabilities where both models are local; else only switch."""
    retrieve: Retriever | None = field(default=None, compare=False, repr=False)
    name: str = field(default="counterfactual", init=False)

    @property
    def wants(self) -> frozenset[str]:
        """As published it has a gate of its own, and is asked about everything."""
        return frozenset({"none", "multi_hop"}) if self.published else frozenset()

    def with_retriever(self, retrieve: Retriever) -> Counterfactual:
        return replace(self, retrieve=retrieve)

    def stream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> Iterator[str]:
        # The parameters are meant for the base model, whose words they may be; the small one is asked greedily.
        if self.published:
            yield from self._as_published(messages, decision, model, memory, trace)
            return
        query = decision.query or last_user(messages)
        tried = sorted(standing(decision.hits), key=_probability, reverse=True)[: self.facts]
        for hit in tried:
            by_form = settled(query, hit.edit)
            reply = by_form or self._reply(hit.edit, query)
            if reply is None:
                asked = replace(decision, query=query)
                yield from in_own_words([hit], messages, asked, self._small, memory, trace, name=self.name)
                return
            follows = _follows(reply, hit.edit, query)
            trace.append(
                {
                    "step": "counterfactual",
                    "answerer": self.name,
                    "model": None if by_form else self._small.name,
                    "reply": reply,
                    "edits" if follows else "considered": [hit.edit.id],
                }
            )
            if follows:
                yield _worded(reply, hit.edit, query)
                return
        raise HandBack(
            f"the counterfactual model {self._small.name} finds no answer in the fact" if tried else "no fact in scope"
        )

    def astream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> AsyncIterator[str]:
        return in_thread(self.stream(messages, decision, model, memory, trace, **parameters))

    @property
    def _small(self) -> BaseModel:
        return _loaded(self.model) if isinstance(self.model, str) else self.model

    def _reply(self, edit: Edit, query: str) -> str | None:
        """What the small model says; None where its context does not hold the fact."""
        try:
            given = self._given(edit, query)
            return "".join(self._small.stream(given)).strip() if fits(given, self._small, edit) else None
        except ModelError as error:
            raise HandBack(f"the counterfactual model could not be asked: {error}") from error

    def _given(self, edit: Edit, query: str) -> list[Message]:
        """Fact and query in the small model's format; a prompt to complete becomes the question it stands for."""
        marks = tuple(getattr(self._small, "special_tokens", ()))
        statement = stopped(as_line(plainly(edit), marks))
        asked = as_question(by_subject(as_line(query, marks), edit), edit)
        if asked is None:  # to be completed, and no question is known that it stands for
            return [Message("system", prompt("new_fact").substitute(statement=statement)), Message("user", query)]
        return [Message("system", prompt("given_only").substitute(statement=statement)), Message("user", asked)]

    # As published

    def _as_published(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
    ) -> Iterator[str]:
        query = last_user(messages)
        near = self.retrieve.nearest(query) if self.retrieve is not None and query.strip() else []
        if not near:
            raise HandBack("nothing is remembered")
        edit, similarity = near[0].edit, near[0].probability or 0.0
        step: dict[str, object] = {"step": "counterfactual", "answerer": self.name, "model": self._small.name}
        step |= {"published": True, "similarity": similarity, "threshold": GATE, "edits": [edit.id]}
        trace.append(step)
        if similarity <= GATE:
            raise HandBack(f"exp(-d²) to the nearest edit is {similarity:.3f}, not above {GATE}")
        given, small = self._given(edit, query), self._small
        if not fits(given, small, edit):
            asked = replace(decision, query=query)
            yield from in_own_words(near, messages, asked, small, memory, trace, name=self.name)
            return
        step["mixed"] = self.mixing and _mixable(model, small)
        if step["mixed"]:
            yield from mixed(cast("Local", model), messages, cast("Local", small), given, similarity)
        else:
            yield from small.stream(given)


@cache
def _loaded(spec: str) -> BaseModel:
    """One per process: loading takes longer than a hundred replies."""
    return load_model(spec)


def as_question(query: str, edit: Edit) -> str | None:
    """The query if it is a sentence; for a prompt to complete the question that it stands for, if one is known."""
    if query.rstrip().endswith((".", "?", "!", ":", "？", "。")):
        return query
    known = relations().get(edit.relation or "")
    cut = {normalise(edit.prompt)} if edit.prompt else set()
    if known is not None and edit.subject:
        ends = (wording.removesuffix("{target}") for wording in known.completions)
        cut |= {normalise(fill(end, edit.subject)) for end in ends}
    return edit.question if normalise(query) in cut else None


_YES_OR_NO = re.compile(
    r"^(?:(?:and|but|so|or)[\s,]+)?(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|isn['’]t|"
    r"aren['’]t|wasn['’]t|weren['’]t|doesn['’]t|didn['’]t|hasn['’]t)\s(?!you\b)",
    re.IGNORECASE,
)


_CHOICE = re.compile(r"\sor\s(?!not\b)", re.IGNORECASE)


def asks_yes_or_no(query: str, edit: Edit | None = None) -> bool:
    """Whether it is an English question of that form: "Is it true that …?", "Did Ada Quill write it?".

    "Is Ada Quill a poet or a painter?" is none; an "or" in a name of `edit` does not count.
    """
    rest = query.strip()
    for name in (edit.subject, *edit.aliases, edit.target) if edit is not None else ():
        rest = re.sub(re.escape(name), "it", rest, flags=re.IGNORECASE) if name else rest
    return rest.endswith("?") and _YES_OR_NO.match(rest) is not None and _CHOICE.search(rest) is None


_TURNS_ROUND = re.compile(
    r"n['’]t\b|\b(?:not|never|no|former|formerly|previous|previously|predecessor|before|until|instead|other|another|"
    r"else|besides|only|except|without|unlike)\b",
    re.IGNORECASE,
)


def by_wording(query: str, edit: Edit) -> str | None:
    """What the very wording of a question about an edit settles, where it goes by an alias or backwards; else None.

    The target, where the edit's own question or prompt, or a known wording of its relation, is put with an alias for
    the subject; the subject, where such a wording, backwards or of the inverse relation, is put with the target. A
    small model that is shown the fact under the subject's name does not know that both names are one.
    """
    if not edit.subject or not edit.target:
        return None
    said, subject = normalise(_unmarked(query)), normalise(edit.subject)
    for alias in edit.aliases:
        named = normalise(alias) != subject and normalise(alias) in said
        if named and said in {normalise(_unmarked(own)) for own in _put(edit, alias)}:
            return edit.target
    if not any(normalise(name) in said for name in (edit.target, *edit.aliases)):
        return None
    aliases, target = {normalise(alias) for alias in edit.aliases} - {subject}, normalise(edit.target)
    for asking in askings(query):
        given = normalise(asking.name)
        if given in aliases and (asking.relation, asking.wants) == (edit.relation, "target"):
            return edit.target
        if given == target and asking.backwards(edit.relation):
            return edit.subject
    return None


def _put(edit: Edit, alias: str) -> Iterator[str]:
    """The edit's own question and prompt, about an alias."""
    subject = edit.subject or ""
    return (own.replace(subject, alias, 1) for own in (edit.prompt, edit.question) if own and subject in own)


def _unmarked(text: str) -> str:
    return text.rstrip(" ?？.。:")


def settled(query: str, edit: Edit) -> str | None:
    """What the question's form and the parts of an edit in its scope settle: "yes", "no", a name; else None.

    "Is Dana Li the CEO of Acme?" names the target, "Is Bob Ray the CEO of Acme?" another one for the same place, and
    "Dana Li is the CEO of what?" the target and not the subject; besides, what `by_wording` settles. Any word that may
    turn the question round leaves it to the model, and so does a known wording that asks something else of the target:
    "Who is the mother of Bea Lo?" where Bea Lo is the mother of Ann.
    """
    if (found := by_wording(query, edit)) is not None:
        return found
    asked = _words(query)
    if not edit.subject or not edit.target or not query.rstrip().endswith("?") or _TURNS_ROUND.search(query):
        return None
    named = any(_words(name) in asked for name in (edit.subject, *edit.aliases))
    if _words(edit.target) in asked:
        if asks_yes_or_no(query, edit):
            return "yes" if named else None
        if named:
            return None
        target = normalise(edit.target)
        elsewhere = edit.relation in relations() and any(
            normalise(asking.name) == target and asking.relation == edit.relation for asking in askings(query)
        )
        return edit.subject if not elsewhere else None
    return "no" if named and asks_yes_or_no(query, edit) and _says_another(query, edit) else None


_ASSERTS = re.compile(
    r"^(?:is|was)\s+(?:it\s+(?:true|right|correct|the case)\s+that\s+(.+)|(.+?))\s*\?\s*$", re.IGNORECASE
)


def _says_another(query: str, edit: Edit) -> bool:
    """Whether a yes-or-no question says of the subject, by the edit's single-valued relation, another target."""
    relation = relations().get(edit.relation or "")
    match = _ASSERTS.match(" ".join(query.split()))
    if relation is None or relation.cardinality != "single" or match is None:
        return False
    clause, rest = match.groups()
    # "Is A B?" says that A is B, wherever A ends: each place before a word is tried.
    words = (rest or "").split()
    splits = (f"{' '.join(words[:at])} is {' '.join(words[at:])}" for at in range(1, len(words)))
    names = {normalise(name) for name in (edit.subject, *edit.aliases) if name}
    for said in [clause] if clause else splits:
        found = parse(said)
        if found.relation == edit.relation and found.subject and found.target and normalise(found.subject) in names:
            return normalise(found.target) != normalise(edit.target or "")
    return False


def _words(text: str) -> str:
    """The words of a text in one case, a blank around each, so that one text is found whole in another."""
    return " ".join(["", *re.findall(r"[^\W_]+", normalise(text)), ""])


def _follows(reply: str, edit: Edit, query: str) -> bool:
    """Whether a reply may stand: not "unknown", and no "yes" to a question that does not name what the fact says."""
    said = normalise(reply)
    if said == "yes" and edit.target and _words(edit.target) not in _words(query):
        return False
    return said not in ("", UNKNOWN)


def _worded(reply: str, edit: Edit, query: str) -> str:
    """The reply as a user reads it: the target as the edit writes it; a full stop where a sentence was completed."""
    bare = reply.rstrip(".")
    if edit.target and normalise(bare) == normalise(edit.target):
        bare = edit.target
    elif normalise(bare) in ("yes", "no"):
        bare = bare.capitalize()
    return bare if query.rstrip().endswith((".", "?", "!", ":", "？", "。")) else f"{bare.rstrip('.')}."


def _probability(hit: Hit) -> float:
    return hit.score if hit.probability is None else hit.probability


def _mixable(base: BaseModel, small: BaseModel) -> bool:
    """Whether both show their probabilities over the same tokens."""
    # A witness stands before the base model: what it passes on is asked for by name.
    shows = all(hasattr(base, name) for name in ("probabilities", "vocabulary", "ends", "text_of"))
    return shows and isinstance(small, Local) and cast("Local", base).vocabulary == small.vocabulary


def mixed(base: Local, asked: Sequence[Message], small: Local, given: Sequence[Message], share: float) -> Iterator[str]:
    """The likeliest token of (1 - share) p_base(asked) + share p_small(given), again and again, to an end or a newline.

    `share` in [0, 1]: 0 gives the base model's greedy reply, 1 the small model's.
    """
    drawn: list[int] = []
    shown = ""
    while len(drawn) < LONGEST_REPLY:
        both = (1 - share) * base.probabilities(asked, drawn) + share * small.probabilities(given, drawn)
        token = int(both.argmax())
        if token in base.ends:
            return
        drawn.append(token)
        text = base.text_of(drawn).lstrip()
        if "\n" in text:
            return
        if not text.endswith("�"):
            yield text[len(shown) :]
            shown = text
