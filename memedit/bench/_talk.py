"""Follow-ups and long messages, made of a dataset's records by fixed rules.

A follow-up is a conversation whose first turn names the subject without asking for what the edit says, and whose last
asks for it with a pronoun in the subject's place. Its negative asks for something else in the same way. A long message
has the question somewhere among sentences that only tell; they may mention the subject, or state another edit. Its
negative states the very edit in front of a question about something else: only what is asked counts.

All sentences around the question are written here, and which are taken depends on the record's number alone.
"""

from __future__ import annotations

import re
from random import Random

from memedit.bench._records import Record, says
from memedit.edits import Message
from memedit.parsing import Parse, parse
from memedit.relations import fill, relations

Talk = tuple[Message, ...]

OPENERS = (
    "I have been reading about {subject} lately.",
    "Have you heard of {subject}?",
    "Let us talk about {subject}.",
    "My daughter has to write a page on {subject}.",
    "Can you help me with something about {subject}?",
    "Yesterday somebody mentioned {subject} to me.",
)
REPLIES = (
    "Of course. What would you like to know?",
    "Yes, gladly. Go ahead.",
    "A little. What is it that interests you?",
    "Sure, I will do my best.",
)
UNSURE = ("I could not say for certain.", "That I do not know, I am afraid.", "Sources differ on that one.")
BEFORE = (
    "I am preparing a quiz for Friday and have been at it for hours.",
    "Sorry for the long message, it has been quite a day.",
    "We had a lively argument at dinner and nobody had a phone at hand.",
    "My notes are a mess, so please bear with me.",
    "Our club meets every second week, and this time it is my turn to bring something.",
    "The printer gave up this morning, so I am typing all this on the train.",
)
MENTIONS = (
    "My neighbour keeps talking about {subject}.",
    "Last week I saw a documentary about {subject}.",
    "There is a poster about {subject} in our hallway.",
    "I once wrote a paper on {subject}, though I forgot most of it.",
)
AFTER = (
    "Thank you in advance.",
    "A short answer will do.",
    "I could not find it in my notes.",
    "No hurry, I will look again tonight.",
)

_OTHER: dict[str, tuple[tuple[str, str], ...]] = {
    "person": (
        ("How tall is {subject}?", "tall height"),
        ("How many children does {subject} have?", "child children son daughter father mother"),
        ("What is the favourite colour of {subject}?", "favourite colour color"),
        ("When was {subject} born?", "born birth birthday date old age year"),
        ("What does {subject} like to eat?", "eat food"),
        ("Does {subject} have any brothers or sisters?", "brother sister sibling"),
    ),
    "place": (
        ("How many people live in {subject}?", "population people live inhabitants"),
        ("What is the weather like in {subject}?", "weather climate"),
        ("What time zone is {subject} in?", "time zone"),
        ("How large is the area of {subject}?", "area large size"),
        ("What food is typical of {subject}?", "food dish cuisine"),
    ),
    "thing": (
        ("How do you pronounce {subject}?", "pronounce name"),
        ("Where can I read more about {subject}?", "read"),
        ("What do critics say about {subject}?", "critics reception"),
        ("Is {subject} popular with young people?", "popular"),
        ("What makes {subject} so special?", "special known"),
    ),
}
"""Questions that an edit seldom answers, by the kind of subject, each with words of edits that it might be close to."""

_PERSON = {"person", "player", "musician", "singer"}
_PLACE = {"place", "country", "city"}
_PERSONAL = re.compile(
    r"\b(born|birth|die[ds]?|death|father|mother|spouse|wife|husband|married|sister|brother|educated|attend|citizen|"
    r"occupation|profession|mother tongue|position|university|religion|war|sex|gender|team|son|daughter|child|"
    r"serve[ds]?|live[ds]?|play(?:s|ed)?|rank|noble|nationality)\b",
    re.IGNORECASE,
)


def kind(record: Record) -> str:
    """What the subject is: "person", "place" or "thing", by the data, by the relation, else by the question's words."""
    if record.kind:
        return record.kind
    relation = relations().get(_parsed(record).relation or "")
    if relation is not None:
        of = relation.subject_type
        return "person" if of in _PERSON else "place" if of in _PLACE else "thing"
    return "person" if _PERSONAL.search(record.edit.question or record.edit.statement) else "thing"


def question(record: Record) -> str | None:
    """A whole question that the edit answers and that names the subject once; None where there is none."""
    text = record.plainly or record.edit.question or _parsed(record).question
    if text is None or not text.endswith("?") or text.count("?") > 1 or text.count(record.subject) != 1:
        return None
    return text


def told(record: Record) -> str:
    """The edit as a sentence that states it."""
    read = _parsed(record)
    relation = relations().get(read.relation or "")
    if relation is not None and read.target:
        return fill(relation.statements[0], record.subject, read.target) + "."
    if "?" not in record.edit.statement:
        return record.edit.statement.rstrip(".") + "."
    return f"As far as {record.subject} goes, they told me that the answer is {record.edit.target}."


def other(record: Record, number: int) -> str:
    """A question of ours about the subject that the edit does not answer."""
    near = {word[:4].casefold() for text in (record.edit.statement, question(record) or "") for word in text.split()}
    fit = [text for text, close in _OTHER[kind(record)] if not near & {word[:4] for word in close.split()}]
    return (fit or [_OTHER["thing"][0][0]])[number % max(1, len(fit))].replace("{subject}", record.subject)


def follow_up(record: Record, number: int, asked: str | None = None) -> Talk | None:
    """A conversation whose last turn asks what the edit answers, or `asked`; None where no pronoun fits.

    `asked` is a question that names the subject; it makes the negative.
    """
    random = Random(f"follow-up {number} {record.subject}")
    text = asked or question(record)
    if text is None:
        return None
    person = kind(record) == "person"
    # The data does not say who is a woman and who a man; each pronoun has its turn.
    pronoun = ("he", "she", "they")[number % 3] if person else "it"
    last = shortened(text, record.subject) if number % 4 == 3 else None
    last = last or pronouned(text, record.subject, pronoun, there=kind(record) == "place")
    if last is None:
        return None
    if number % 3 == 0 and not last.startswith("And "):
        last = f"And {last[0].lower()}{last[1:]}"
    first = other(record, number + 1) if random.random() < 0.3 else ""
    if first and first not in (text, asked):
        turns = first, random.choice(UNSURE), last
    else:
        turns = random.choice(OPENERS).replace("{subject}", record.subject), random.choice(REPLIES), last
    return Message("user", turns[0]), Message("assistant", turns[1]), Message("user", turns[2])


def long_message(record: Record, number: int, another: str) -> str | None:
    """A message in which what the edit answers is asked; `another` is a sentence that states another edit."""
    random = Random(f"long {number} {record.subject}")
    text = question(record)
    if text is None:
        return None
    mention = random.choice(MENTIONS).replace("{subject}", record.subject)
    told_before = [random.choice(BEFORE), (another, mention, f"{another} {mention}")[number % 3]]
    random.shuffle(told_before)
    after = (random.choice(AFTER), random.choice(AFTER[:2]), "")[number % 3]
    pieces = [*told_before, text, after] if number % 4 else [text, *told_before]
    return " ".join(piece for piece in pieces if piece)


def long_other(record: Record, number: int, asked: str) -> str:
    """A message that states the edit and asks something else; `asked` may be a prompt to complete, and so comes last"""
    random = Random(f"long other {number} {record.subject}")
    pieces = [told(record), asked]
    if number % 2:
        pieces.insert(number // 2 % 2, random.choice(BEFORE))
    if number % 3 == 0 and asked.rstrip().endswith("?"):
        pieces.append(random.choice(AFTER))
    return " ".join(pieces)


_FORMS = {
    "he": ("he", "him", "his"),
    "she": ("she", "her", "her"),
    "they": ("they", "them", "their"),
    "it": ("it", "it", "its"),
}
_BEFORE_SUBJECT = re.compile(
    r"(?:^|\b(?:is|was|are|were|does|did|do|has|had|can|could|will|would|should|that|which|where|when|who|whom) )$",
    re.IGNORECASE,
)
_AGREE = {"is": "are", "was": "were", "does": "do", "has": "have"}


def pronouned(text: str, subject: str, pronoun: str, *, there: bool = False) -> str | None:
    """The text with a pronoun or possessive in the subject's place; None where the subject is not in it just once.

    "What is the capital of Alba?" -> "What is its capital?"; "Where was Ann Li born?" -> "Where was she born?".
    `there`: "in Alba" becomes "there".
    """
    they, them, their = _FORMS[pronoun]
    name = rf"(?:\bthe )?(?<!\w){re.escape(subject)}(?!\w)"
    found = re.findall(name, text, re.IGNORECASE)
    if len(found) != 1:
        return None
    tries = [
        (rf"{name}(?:['’]s|(?<=s)['’])(?!\w)", their),
        (rf"\bthe ((?:(?!the\b)[\w'’-]+ ){{1,6}}?)of {name}(?!['’]s)", rf"{their} \1"),
        *([(rf"\b(?:in|at) {name}", "there")] if there else []),
    ]
    for pattern, put in tries:
        made, count = re.subn(pattern, put, text, count=1, flags=re.IGNORECASE)
        if count:
            break
    else:
        place = re.search(name, text, re.IGNORECASE)
        assert place is not None
        before, after = text[: place.start()], text[place.end() :]
        if "," in subject:  # the comma that closes "Emich, Prince of L., held"
            after = after.removeprefix(",")
        nominative = bool(_BEFORE_SUBJECT.search(before)) and not re.match(r"\s*$", after)
        made = before + (they if nominative else them) + after
    made = re.sub(r"\s+([?.,])", r"\1", re.sub(r" {2,}", " ", made))
    if pronoun == "they":
        made = re.sub(
            r"\b(is|was|does|has) they\b|\bthey (is|was|does|has)\b",
            lambda m: f"{_AGREE[m[1].lower()]} they" if m[1] else f"they {_AGREE[m[2].lower()]}",
            made,
            flags=re.IGNORECASE,
        )
    return made[0].upper() + made[1:]


def shortened(text: str, subject: str) -> str | None:
    """From "What is the capital of Alba?" to "And the capital?"; None for a question of another form."""
    found = re.fullmatch(
        rf"(?:What|Who|Where|When) (?:is|was|are|were) (the [\w' -]{{3,40}}) (?:of|in) (?:the )?{re.escape(subject)}\?",
        text,
    )
    return f"And {found[1]}?" if found and not says(found[1], subject) else None


def _parsed(record: Record) -> Parse:
    edit = record.edit
    return parse(edit.statement, subject=edit.subject, target=edit.target, prompt=edit.prompt)
