"""Planned: a planner turns the question into a name and a chain of relations, which is walked hop by hop.

Each hop is a question about one name: the memory answers where it holds an edit for it, found by name and relation or,
through the scope, by wording; else the base model does. So a model that cannot follow a chain by itself still reaches
its end, and an edit anywhere on the way is obeyed. The planner is the small trained one (`memedit/planning.py`); with
`planner="chat"` the base model itself is asked for the chain, for relations that the small one was not taught: as
structured output where it is a LangChain model that has it, else, and where that fails, as JSON in its reply.

Where MeLLo (Zhong et al. 2023) lets the model go on from what it has written so far, here the whole way is known before
the first step, so that it can be weighed against the memory and, where a hop finds no answer, given up for the next
best; what the memory holds may add a reading (`_suggested.py`). Where the planner is unsure, and where no edit lies on
the way, the question is handed back to the base model.
"""

from __future__ import annotations

import json
import logging
import math
import unicodedata
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from memedit.answerers import HandBack, Retriever
from memedit.answerers._suggested import relations_of, suggested
from memedit.answerers.ike import Ike, as_line
from memedit.edits import DEFAULT_NAMESPACE, Decision, Edit, Hit, Message
from memedit.models import BaseModel
from memedit.models._asynchronous import in_thread
from memedit.parsing import normalise, parse, parse_question
from memedit.planning import Hop, Plan, Reading, load_planner
from memedit.prompts import prompt
from memedit.relations import fill, relations
from memedit.scope._held import last_user

if TYPE_CHECKING:
    from memedit.memory import EditMemory

log = logging.getLogger("memedit")

LONGEST_ANSWER = 200
"""Characters of a hop's answer that go into the next hop's question."""
_NO_ANSWER = frozenset(
    [
        "",
        "?",
        "…",
        "n/a",
        "none",
        "nobody",
        "no one",
        "no answer",
        "unknown",
        "not known",
        "i don't know",
        "i do not know",
    ]
)


_NEAR = (
    frozenset({"occupation", "field_of_work"}),  # "works in the field of nursing"
    frozenset({"country", "citizenship", "country_of_origin"}),  # a place, a person and a work have one of them each
)
"""Relations that are said in one another's words, and that no subject is likely to have two of."""


DOUBT = 0.1
"""Share of a plan's probability from which a reading without one of its hops casts doubt on that hop's answer."""
SEVERAL = 0.99
"""Probability of several hops from which the planner is believed where the scope has a fact in it.

Of zsRE's, HalluEditBench's and KnowEdit's questions with a fact in scope 59 of 3,445 that take one hop are several to
the planner (5 at this probability), and 24 that do take several (16); of MQuAKE's 1,200 none has a fact in scope.
"""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The chain of a question, hop by hop: from memory where an edit fits, else from the base model."""

    planner: Literal["small", "chat"] = "small"
    """Who plans: the small trained planner, or the base model, by structured output or by JSON in its reply."""
    attempts: int = 3
    """How many plans are walked, at most."""
    hops: int = 5
    """How many hops a plan of the base model may have."""
    edit_bonus: float = 1.5
    """By how much, in nats, an edit on the first hops speaks for a plan: people ask about what was changed."""
    floor: float = 0.3
    """Plans less likely than this share of the likeliest are not walked."""
    unedited: bool = False
    """Answer by the chain even if no edit lies on the way, instead of handing back."""
    retrieve: Retriever | None = field(default=None, compare=False, repr=False)
    name: str = field(default="planned", init=False)

    wants: ClassVar[frozenset[str]] = frozenset({"multi_hop", "none"})
    """Also where the scope sees no hops: the planner looks for itself, in a few milliseconds."""

    def with_retriever(self, retrieve: Retriever) -> Planned:
        return replace(self, retrieve=retrieve)

    def foresees(self, question: str, in_scope: bool = False) -> bool:
        """Whether this is a question for the planner: it takes several hops, by its words or by what the memory holds,
        or one and goes by an alias. Where a fact is `in_scope`, and so answers it by itself, its words must leave
        hardly a doubt (`SEVERAL`).

        The small planner alone tells, in a few milliseconds; no base model is asked. An edit is looked for by name and
        relation, so that its alias finds it whatever the scope makes of the wording; a model that is shown the fact
        under its subject's name may not know that both are one.
        """
        if self.planner != "small":
            return False
        reading, facts = load_planner().read(question), _Facts(self.retrieve)
        sure = reading.sure and (not in_scope or reading.several >= SEVERAL)
        if sure or suggested(question, reading, facts.about, self.floor):
            return True
        edit = self._kept(reading, facts)
        return edit is not None and normalise(edit.subject or "") not in {normalise(p.entity) for p in reading.single}

    def stream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> Iterator[str]:
        question = decision.query or last_user(messages)
        walk = _Walk(self, model, memory, parameters)
        answer, reason = walk.answer(question, decision, trace)
        if answer is not None:
            yield answer
            return
        edit = self._kept(load_planner().read(question), walk.facts) if self.planner == "small" else None
        if edit is not None and model.style == "completion":
            trace.append({"step": "hop", "hop": 1, "entity": edit.subject, "relation": edit.relation, "from": "memory",
                          "question": question, "answer": edit.target, "edits": [edit.id]})  # fmt: skip
            yield edit.target or ""
            return
        if edit is not None and all(hit.edit.id != edit.id for hit in decision.hits):
            decision = replace(decision, hits=(Hit(edit=edit, score=1.0, probability=1.0), *decision.hits))
        if not decision.hits:
            raise HandBack(reason)
        # One hop after all: the model puts the fact into words.
        yield from Ike(retrieve=self.retrieve).stream(messages, decision, model, memory, trace, **parameters)

    def _kept(self, reading: Reading, facts: _Facts) -> Edit | None:
        """The edit that answers a question of one hop, by name and relation."""
        found = (facts.by_relation(plan.entity, plan.hops[0]) for plan in reading.single)
        return next((edit for edit in found if edit is not None), None)

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


class _MadeUp(Exception):  # noqa: N818 - not an error: another way is taken
    """A way leads over a name that the base model made up; `rather` is the way without it."""

    def __init__(self, reason: str, rather: Plan) -> None:
        super().__init__(reason)
        self.rather = rather


@dataclass(frozen=True)
class _Found:
    """A hop's answer: from an edit, or from the base model."""

    text: str
    edit: Edit | None = None


class _Facts:
    """The memory as one call sees it, by name; what was read is not read again."""

    def __init__(self, retrieve: Retriever | None, memory: EditMemory | None = None) -> None:
        self.memory = retrieve.memory if retrieve is not None else memory
        self.namespace, self.as_of = (retrieve.namespace, retrieve.as_of) if retrieve else (DEFAULT_NAMESPACE, None)
        self._about: dict[str, list[Edit]] = {}

    def about(self, name: str) -> list[Edit]:
        """The current facts about a name or alias, the newest first."""
        key = normalise(name)
        if key not in self._about:
            memory = self.memory if key else None
            found = memory.list(subject=name, namespace=self.namespace, as_of=self.as_of) if memory else []
            self._about[key] = [edit for edit in found if edit.kind == "fact"]
        return self._about[key]

    def by_relation(self, name: str, hop: Hop) -> Edit | None:
        """The newest edit of this name or alias and one of the hop's relations; else, one that is near these."""
        told = [edit for edit in self.about(name) if edit.target]
        near = _near(hop)
        return next(
            (edit for wanted in (frozenset(hop.names), near) for edit in told if relations_of(edit) & wanted), None
        )

    @property
    def empty(self) -> bool:
        return self.as_of is None and (self.memory is None or not self.memory.journal.any_live(self.namespace))


class _Walk:
    """One question's way: what was asked of the model and of the memory before is not asked again."""

    def __init__(self, settings: Planned, model: BaseModel, memory: EditMemory, parameters: dict[str, Any]) -> None:
        self.settings = settings
        self.model = model
        self.parameters = parameters
        self.marks = tuple(getattr(model, "special_tokens", ()))
        self.facts = _Facts(settings.retrieve, memory)
        self._readings: tuple[Plan, ...] = ()
        self._replies: dict[str, str] = {}
        self._worded: dict[str, Edit | None] = {}

    def answer(self, question: str, decision: Decision, trace: list[dict[str, object]]) -> tuple[str | None, str]:
        """The answer, or None and why there is none."""
        if self.facts.empty and not self.settings.unedited:
            return None, "the memory holds no facts"
        plans, reason = self._plans(question, trace)
        plans = self._ranked(self._with_known_names(plans, question, decision))
        unedited: str | None = None
        answered = False
        ways = list(plans[: self.settings.attempts])
        while ways:
            plan = ways.pop(0)
            # Where a likelier reading has an answer, another must begin with an edit: with enough of them in memory
            # there is one for whatever name a model makes up on a way that was not meant.
            if answered and not self._edited(plan):
                continue
            since = len(trace)
            try:
                reached = self._follow(plan, trace)
            except _MadeUp as made_up:
                reached, reason = None, str(made_up)
                ways = [made_up.rather, *(way for way in ways if way.hops != made_up.rather.hops)]
            else:
                reason = "no edit lies on the way" if reached is not None else "a hop found no answer"
            answered = answered or reached is not None
            if reached is not None and any(step.get("edits") for step in trace[since:]):
                return reached, ""
            if reached is not None and self.settings.unedited and unedited is None:
                unedited = reached
                continue
            for step in trace[since:]:
                step["left"] = reason
                if "edits" in step:
                    step["considered"] = step.pop("edits")
        return unedited, reason

    # --- plans

    def _plans(self, question: str, trace: list[dict[str, object]]) -> tuple[list[Plan], str]:
        if self.settings.planner == "chat":
            return self._chat_plans(question, trace)
        reading = load_planner().read(question)
        trace.append(
            {
                "step": "plan",
                "planner": "small",
                "several": round(reading.several, 4),
                "sure": reading.sure,
                "plans": [_shown(plan) for plan in reading.plans[:3]],
            }
        )
        self._readings = reading.plans
        own = suggested(question, reading, self.facts.about, self.settings.floor)
        if own:
            trace.append({"step": "plan", "planner": "memory", "plans": [_shown(plan) for plan in own[:3]]})
        if not reading.sure:
            return own, "the planner is unsure how to break the question down"
        likeliest = reading.plans[0].probability
        return [*own, *(plan for plan in reading.plans if plan.probability >= self.settings.floor * likeliest)], ""

    def _chat_plans(self, question: str, trace: list[dict[str, object]]) -> tuple[list[Plan], str]:
        most = self.settings.hops
        asked = prompt("planned_chat").substitute(question=as_line(question, self.marks), hops=most)
        given = [Message("user", asked)]
        told = self._structured(given, trace)
        form = "text" if told is None else "structured"
        if told is None:
            told = "".join(self.model.stream(given, **self.parameters))
        plan = read_plan(told, question, most) if isinstance(told, str) else plan_of(told, question, most)
        shown = [_shown(plan)] if plan else []
        trace.append({"step": "plan", "planner": "chat", "form": form, "plans": shown, "reply": str(told)[:500]})
        return ([plan], "") if plan else ([], "the planner is unsure: the base model gave no plan that can be followed")

    def _structured(self, given: Sequence[Message], trace: list[dict[str, object]]) -> object:
        """The reply to a request for structured output: the arguments of the tool that was called, else the text.

        None where the model is not LangChain's, has no structured output, or fails at it.
        """
        runnable: Any = getattr(self.model, "runnable", None)
        if not hasattr(runnable, "with_structured_output"):
            return None
        from memedit.models.langchain import to_langchain  # late: such a model has brought LangChain already

        parameters = dict(self.parameters)
        config = parameters.pop("config", getattr(self.model, "config", None))
        try:
            # The model alone, without LangChain's parser, which takes minutes over a long reply that is no JSON.
            asked = runnable.with_structured_output(_SCHEMA).steps[0]
        except Exception as error:  # that it has none is said in as many ways as there are providers
            log.info("%s has no structured output, so a plan is asked for in text: %s", self.model.name, error)
            return None
        trace.append({"step": "model", "model": self.model.name, "messages": len(given), "untouched": False})
        try:
            reply = asked.invoke([to_langchain(message) for message in given], config, **parameters)
        except Exception as error:
            log.info("no plan by structured output, so one is asked for in text: %s", error)
            return None
        calls = getattr(reply, "tool_calls", None)
        return calls[0].get("args") if calls else str(getattr(reply, "text", ""))

    def _with_known_names(self, plans: Sequence[Plan], question: str, decision: Decision) -> list[Plan]:
        """The plans, each name written as the nearest edits' subjects are, where such a one stands in the question."""
        folded = question.casefold()
        known = {
            name
            for hit in decision.candidates
            for name in (hit.edit.subject, *hit.edit.aliases)
            if name and name.casefold() in folded
        }
        made = []
        for plan in plans:
            like = [name for name in known if _whole(name, plan.entity)]
            made.append(
                replace(plan, entity=max(like, key=len)) if like and not self.facts.about(plan.entity) else plan
            )
        return made

    def _ranked(self, plans: Sequence[Plan]) -> list[Plan]:
        def score(plan: Plan) -> float:
            return math.log(max(plan.probability, 1e-9)) + self.settings.edit_bonus * self._edited(plan)

        return sorted(plans, key=score, reverse=True)

    def _edited(self, plan: Plan) -> int:
        """How many hops from the first on edits answer by name and relation."""
        name = plan.entity
        for number, hop in enumerate(plan.hops):
            edit = self.facts.by_relation(name, hop)
            if edit is None:
                return number
            name = edit.target or ""
        return len(plan.hops)

    # --- hops

    def _follow(self, plan: Plan, trace: list[dict[str, object]]) -> str | None:
        """The end of the way, a step in the trace for each hop; None where a hop finds no answer."""
        name, before = plan.entity, ""
        for number, hop in enumerate(plan.hops, 1):
            question = fill(hop.question, name)
            step: dict[str, object] = {
                "step": "hop",
                "hop": number,
                "entity": name,
                "relation": hop.names[0] if hop.names else None,
                "question": question,
            }
            found = self._hop(name, hop, question)
            trace.append(step)
            step["answer"] = found.text if found else None
            if found is None:
                return None
            step["from"] = "memory" if found.edit else "model"
            step["edits"] = [found.edit.id] if found.edit else []
            if found.edit and before and (rather := self._doubted(plan, number, before, name)) is not None:
                raise _MadeUp(f"the model made {name!r} up, as what it says of {before!r} itself shows", rather)
            name, before = as_line(found.text, self.marks)[:LONGEST_ANSWER], "" if found.edit else name
        return found.text if found else None

    def _doubted(self, plan: Plan, number: int, before: str, name: str) -> Plan | None:
        """The plan without hop `number` - 1, about `before`, where the base model made up its answer `name`; else None.

        It is asked only where the question may be read so ("the sport that Ann practises", by her position or
        outright): then the model says the same of `before` itself as of `name`, or does not know `before`.
        """
        hops = tuple(hop for at, hop in enumerate(plan.hops, 1) if at != number - 1)
        likely, hop = plan.probability * DOUBT, plan.hops[number - 1]
        rather = next((each for each in self._readings if each.hops == hops and each.probability >= likely), None)
        if rather is None or self.facts.by_relation(before, hop) is not None:
            return None
        told = [self._asked(fill(hop.question, of)) for of in (before, name)]
        if not all(map(_tells, told)):
            return None
        own, of_name = map(_letters, told)
        return None if own in of_name or of_name in own else replace(rather, entity=plan.entity)

    def _hop(self, name: str, hop: Hop, question: str) -> _Found | None:
        edit = self.facts.by_relation(name, hop) or self._by_wording(name, hop, question)
        if edit is not None and edit.target:
            return _Found(edit.target, edit)
        reply = self._asked(question)
        return _Found(reply) if _tells(reply) else None

    def _by_wording(self, name: str, hop: Hop, question: str) -> Edit | None:
        """The edit that the scope finds for the hop's question, if it fits."""
        if self.settings.retrieve is None:
            return None
        if question not in self._worded:
            hits = self.settings.retrieve(question).hits
            self._worded[question] = next((hit.edit for hit in hits if _fits(hit.edit, name, hop)), None)
        return self._worded[question]

    def _asked(self, question: str) -> str:
        """The base model's answer to a hop's question, as a name."""
        if question not in self._replies:
            given = [Message("user", question)]
            if self.model.style == "chat":
                given.insert(0, Message("system", prompt("planned_hop").template))
            self._replies[question] = _bare("".join(self.model.stream(given, **self.parameters)), question)
        return self._replies[question]


def _tells(reply: str) -> bool:
    return reply.casefold().rstrip(".") not in _NO_ANSWER


def _bare(reply: str, question: str) -> str:
    """The name in a reply: its first line; of a whole sentence that is understood, what it says of the subject."""
    line = next((line.strip() for line in reply.splitlines() if line.strip()), "")
    asked = parse_question(question)
    if line.count(" ") > 3 and asked is not None:
        said = parse(line)
        if said.target and said.subject and normalise(said.subject) == normalise(asked[0]):
            return said.target
    line = line[:LONGEST_ANSWER].strip('"“”*` ')
    return line.removesuffix(".") if line.count(".") == 1 else line


def _fits(edit: Edit, name: str, hop: Hop) -> bool:
    """Whether a fact that the scope gave is about this very name, and by no other known relation than the hop's.

    A name within a name is another ("England" and "Kingdom of England").
    """
    if edit.kind != "fact" or not edit.target:
        return False
    if hop.names and edit.relation in relations() and edit.relation not in _near(hop):
        return False
    return any(_letters(own) == _letters(name) for own in (edit.subject, *edit.aliases) if own)


def _near(hop: Hop) -> frozenset[str]:
    """The hop's relations and those that are said in the same words."""
    names = frozenset(hop.names)
    return names.union(*(group for group in _NEAR if group & names))


def _letters(name: str) -> str:
    """A name without accents, blanks and punctuation; as it is compared where it has nothing else."""
    plain = unicodedata.normalize("NFKD", normalise(name))
    return "".join(letter for letter in plain if letter.isalnum()) or plain


def _whole(name: str, part: str) -> bool:
    """Whether `part`, a planner's cut, may have been meant for `name`: words of it, or its plural."""
    long, short = f" {normalise(name)} ", f" {normalise(part)} "
    return short in long or short == f"{long[:-1]}s "


def _shown(plan: Plan) -> dict[str, object]:
    return {
        "entity": plan.entity,
        "relations": [hop.names[0] if hop.names else hop.question for hop in plan.hops],
        "probability": round(plan.probability, 4),
    }


_SCHEMA = {
    "title": "Plan",
    "description": "A question broken down into steps, each a question about the answer of the step before.",
    "type": "object",
    "properties": {
        "entity": {
            "type": "string",
            "description": "the name in the question that the first step asks about; empty where there are no steps",
        },
        "hops": {
            "type": "array",
            "items": {"type": "string"},
            "description": "each step's question, with {} once for the name it asks about; empty for a single step",
        },
    },
    "required": ["entity", "hops"],
}


def read_plan(reply: str, question: str, most: int) -> Plan | None:
    """The plan in a chat model's reply: the first JSON object with an entity and 2 to `most` hops; else None.

    The entity must stand in the question, each hop hold {} once: whatever else a reply says is no plan.
    """
    at = reply.find("{")
    while at >= 0:
        try:
            found, _ = json.JSONDecoder().raw_decode(reply, at)
        except (ValueError, RecursionError):
            at = reply.find("{", at + 1)
            continue
        return plan_of(found, question, most)
    return None


def plan_of(found: object, question: str, most: int) -> Plan | None:
    """The plan in what a chat model gives as JSON, by the rules of `read_plan`; else None."""
    entity, hops = (found.get(key) for key in ("entity", "hops")) if isinstance(found, dict) else (None, None)
    if not isinstance(entity, str) or not entity.strip() or entity.casefold() not in question.casefold():
        return None
    if not isinstance(hops, list) or not 2 <= len(hops) <= most:
        return None
    if not all(isinstance(hop, str) and hop.count("{}") == 1 and len(hop) <= LONGEST_ANSWER for hop in hops):
        return None
    return Plan(entity.strip(), tuple(_hop_of(hop) for hop in hops), 1.0)


def _hop_of(question: str) -> Hop:
    """A hop in a chat model's words; its relations where the wording is a known one."""
    asked = parse_question(question.replace("{}", "Xyzzy"))
    wording = question.replace("{}", "{subject}")
    if asked is None or asked[0] != "Xyzzy":
        return Hop((), wording)
    relation = relations()[asked[1]]
    same = [r.name for r in relations().values() if relation.wikidata and r.wikidata == relation.wikidata]
    return Hop(tuple(dict.fromkeys([relation.name, *same])), wording)
