"""What is asked: from a conversation to the few texts that a scope judges, and from an edit to what is read of it.

A long message is mostly context; what counts is what is asked. A sentence that restates an edit in front of a question
about something else is no reason to fire. And a follow-up ("and who leads it now?") asks about a name that stands in
the sentences or turns before. Both are rules over plain text, without a model: they cost microseconds, and a sentence
that stands alone is never touched. Which names a memory knows, it is told (`FollowUp`, `known`): they come before those
that rules find. It is not an entry of the registry, hence the underscore.

    message ─► pieces: sentences, each of which asks, asks weakly ("Can you help me?"), states, or is filler
            ─► those that ask, the likeliest first
            ─► pronouns replaced by the names before them, the nearest first
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from memedit.edits import Edit, Message

MOST_TEXTS = 4
MOST_TOPICS = 3
MOST_ALIASES = 5
LONGEST = 20_000
"""Characters of a message that are read; of a longer one, half from its beginning and half from its end."""
TURNS = 12
"""Turns before the last message in which a follow-up's topic is looked for."""

ASKS, WEAK, STATES, FILLER = range(4)


def edit_text(edit: Edit) -> str:
    """What a verifier reads of an edit: the statement, then at most five aliases, each as " | also: ALIAS"."""
    return edit.statement + "".join(f" | also: {alias}" for alias in edit.aliases[:MOST_ALIASES])


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A question that leans on what was said before it."""

    text: str
    """The question as it stands."""
    said: str
    """What was said before it, in the order of the turns."""
    last: str
    """Of that, what the user said last."""

    @property
    def of_person(self) -> bool:
        """Whether it asks about somebody: "he", "her"."""
        return any(_kind(spot) == "person" for spot in _PRONOUN.finditer(self.text))

    def names(self, candidates: Iterable[str], most: int = MOST_TOPICS) -> tuple[str, ...]:
        """Those of some names that were said before, in their order, each once; a part of a longer one is left out."""
        said, found = self.said.casefold(), []
        for name in dict.fromkeys(candidates):
            at = said.find(name.casefold()) if len(name) > 1 else -1
            if at >= 0 and re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", said[at:]):
                found.append(name)
        whole = [one for one in found if not any(one != other and one in other for other in found)]
        return tuple(whole[:most])


def follow_up(messages: Sequence[Message]) -> FollowUp | None:
    """The question of the last user message, where it leans on what was said before; None where it stands alone."""
    before, leads, _ = _read(messages)
    if not leads:
        return None
    text, context, behind = leads[0]
    if not (before or context or behind) or _form(text.strip(), "") is None:
        return None
    turns = [turn.content[:LONGEST] for turn in before]
    users = [turn.content[-400:] for turn in before if turn.role == "user"]
    said = " ".join([*turns, *context, *behind])
    return FollowUp(text, said, context[-1] if context else users[-1] if users else "")


def asked(messages: Sequence[Message], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The texts to judge, the best guess first, at most four; () where the last user message is blank or missing.

    A message of one sentence is itself, unchanged, unless it follows up what was said before. Of several sentences
    those count that ask: questions, requests, and a last piece without a full stop, which is a prompt to complete;
    where none does, the last. In a follow-up the pronoun is replaced by up to three topics, `known` names first; the
    sentence as it stands is kept, and comes last.
    """
    before, leads, alone = _read(messages)
    if not leads:
        return ()
    found = [_resolved(text, before, context, behind, known) for text, context, behind in leads]
    best, others = found[0], [texts[0] for texts in found[1:]]
    if alone or len(best) == 1:
        return tuple(dict.fromkeys([*best, *others]))[:MOST_TEXTS]
    *topics, original = best
    # One place is for the sentence as it stands, and one, where more is asked, for that.
    topics = topics[: MOST_TEXTS - 1 - min(1, len(others))]
    return (*tuple(dict.fromkeys([*topics, *others]))[: MOST_TEXTS - 1], original)


_Lead = tuple[str, Sequence[str], Sequence[str]]
"""A sentence that asks, the sentences of its message before it, and those behind it that tell."""


def _read(messages: Sequence[Message]) -> tuple[list[Message], list[_Lead], bool]:
    """(the turns before the last user message, what that one asks, the likeliest first, whether it is one sentence)"""
    place = next((at for at in range(len(messages) - 1, -1, -1) if messages[at].role == "user"), -1)
    if place < 0 or not messages[place].content.strip():
        return [], [], False
    content = messages[place].content
    before = [turn for turn in messages[max(0, place - TURNS) : place] if turn.role in ("user", "assistant")]
    if not _MAY_END.search(content.strip()):  # nothing to split
        return before, [(content, (), ())], True
    pieces = split(content)
    if len(pieces) == 1:
        text = content if pieces[0].text == " ".join(content.split()) else pieces[0].text
        return before, [(text, (), ())], True
    leads: list[_Lead] = [
        (
            pieces[at].text,
            [piece.text for piece in pieces[:at]],
            [piece.text for piece in pieces[at + 1 :] if piece.asks == STATES],
        )
        for at in _chosen(pieces)
    ]
    return before, leads, False


# From a message to pieces


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


@dataclass(frozen=True, slots=True)
class Piece:
    """A sentence of a message; `asks` is one of ASKS, WEAK, STATES and FILLER, the weightiest first."""

    text: str
    asks: int
    open: bool = False


_MAY_END = re.compile(r"[.!?…][\"”’')\]]*\s+\S|\n\s*\S|[。？！；]\s*\S|```|(?:\bQ|\bquestion|\bA)\s*:", re.I)
_FENCE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.S)
_LATIN_END = re.compile(r"[.!?…]+[\"”’')\]]*(?=\s)|[。？！；]+[」』”\"）]*")
_LIST = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,2}[.)]|\(?[a-z]\))\s+")
_LABEL = re.compile(r"^\s*(?:q|question|prompt|query|user|input|task|me)\s*\d*\s*[:.]\s+(?=\S)", re.I)
_REPLY = re.compile(r"^\s*(?:a|answer|response|assistant|output|ai|bot)\s*\d*\s*:\s*", re.I)
_HEADER = re.compile(r"^\s*(?:subject|from|to|cc|bcc|date|sent|re|fwd?|title|category|file|tags?)\s*:", re.I)
_SIGN_OFF = re.compile(
    r"^(?:(?:with )?(?:best|kind|warm|many)?\s*(?:regards|wishes|thanks)|best|cheers|yours(?: \w+)?|"
    r"sincerely(?: yours)?|"
    r"thanks(?: a lot| so much| in advance)?|thank you(?: very much| so much| in advance)?|love|ciao|xx?)\s*[,.!]*$",
    re.I,
)
_FILLER = re.compile(
    r"^(?:(?:hi|hello|hey|dear|good (?:morning|afternoon|evening|day)|greetings)\b[^?]{0,40}|ok(?:ay)?|"
    r"thanks?\b[^?]{0,50}|"
    r"thank you\b[^?]{0,50}|many thanks|please|pls|sorry|excuse me|great|cool|nice|i see|yes|no|cheers|bye|"
    r"i have (?:a|another|one more|a quick) question\b[^?]{0,30}|(?:just )?(?:a )?quick question|one more thing|"
    r"你好|您好|谢谢|多谢|https?://\S+)[\s,.!:;…。！]*$",
    re.I,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NEVER_END = _set(
    "mr mrs ms dr prof st mt ft fr sr. messrs gen col lt sgt capt cmdr rev hon gov sen rep pres supt no nos vol "
    "vols fig figs eq ch sec pp p cf vs v e.g i.e viz ca approx est al ed eds trans feat"
)
_SELDOM_END = _set(
    "jr sr inc ltd co corp bros etc dept univ ave blvd rd u.s u.k u.s.a u.n e.u a.m p.m b.c a.d ph.d b.a m.a m.d "
    "d.c f.c a.c s.c jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun"
)
_STARTERS = _set(
    "who whom whose what when where which why how is are was were do does did has have had can could will would "
    "should shall may might the this that these those there it its he his she her they their we our you your my i "
    "i'm i'd i've in on at by for from to with after before as if but and or so then also now today yesterday "
    "please tell name give according while since because although however let lets let's a an"
)
_ASKERS = _set("who whom whose what when where which why how please tell can could i")
_QUESTION = re.compile(
    r"^(?:(?:and|but|so|also|then|now|well|ok(?:ay)?|hey|hi|please|sorry|actually|by the way|btw)[\s,:]+)*"
    r"(?:(?:(?:in|at|on|to|from|by|of|for|with|under|about|into|after)\s+)?"
    r"(?:who(?:m|se)?|what|when|where|which(?! is why)|why|how)(?:['’]?s|['’]re)?\s+(?!an?\b)(?:\w+\s+){0,4}?"
    r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|might|may|leads?|runs?|owns?|"
    r"wrote|made|"
    r"\w+ed|\w+s)\b"
    r"|(?:who|what|where|when|how)['’]?(?:s|re|d)\s"
    r"|(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should)(?:n['’]t)?\s+"
    r"(?!you (?:very )?much))",
    re.I,
)
_CHINESE_QUESTION = re.compile(r"[吗呢么][。！]?$|谁|什么|哪|多少|几|怎么|怎样|为什么|为何|如何|是否|是不是|有没有")
_REQUEST = re.compile(
    r"^(?:(?:and|but|so|also|then|now|ok(?:ay)?|hi|hey|please|pls|kindly|first|next|finally|just)[\s,:]+)*"
    r"(?:(?:could|can|would|will) you\s+(?:please\s+)?)?"
    r"(?:tell|name|give|list|say|state|explain|describe|find|show|identify|complete|finish|continue|translate|write|"
    r"summari[sz]e|rewrite|paraphrase|proofread|fix|correct|help|provide|remind|inform|define|compare|compute|"
    r"calculate|"
    r"solve|draft|compose|generate|create|make|recommend|suggest|guess|look up|check|verify|confirm|classify|"
    r"analy[sz]e|"
    r"review|improve|convert|sort|count|spell|answer|let me know|let us know|enlighten|share|discuss|outline|imagine|"
    r"i(?:['’]d| would)? (?:want|like|need|love|wish) (?:you )?to (?:know|ask|find out|learn|hear)|i (?:need|"
    r"want) (?:the|a|an)|i(?:['’]m| am)? wonder"
    r"(?:ing)?|i(?:['’]m| am) (?:curious|asking|looking for)|i (?:don['’]t|do not) (?:know|remember|"
    r"recall) (?:who|what|"
    r"where|when|which|how|why)|do you (?:happen to )?know|any idea)\b"
    r"|^(?:请|請|告诉|告訴|帮我|说说|說說|列出|解释|介绍)",
    re.I,
)
_ABOUT_THE_ANSWER = re.compile(
    r"^(?:please\s+|kindly\s+|just\s+)*(?:"
    r"(?:answer|reply|respond)\b(?!.*\b(?:who|what|when|where|which)\b)|"
    r"(?:explain|show|give|provide|justify) (?:me )?(?:your|the) (?:answer|reasoning|work|steps|sources?)\b|"
    r"(?:think|work) (?:it |this )?(?:through )?step by step|let['’]?s think|be (?:brief|concise|short|precise|"
    r"honest)|"
    r"keep (?:it|the|your)\b|(?:use|write|answer in) (?:only |just |at most )?(?:one|a few|\d+) (?:words?|"
    r"sentences?)|"
    r"(?:do not|don['’]t)\b|no (?:explanations?|preamble)|only (?:the|give|say)\b|let (?:me|us) know[.!]*$|"
    r"help(?: me)?(?: out)?[.!]*$|tell me[.!]*$)",
    re.I,
)
_EMPTY_QUESTION = re.compile(
    r"^(?:hi[,!]?\s+|hey[,!]?\s+)?(?:(?:can|could|would|will) (?:you|anyone|somebody|"
    r"someone) (?:please )?(?:help|assist)"
    r"(?: me| us)?(?: out)?(?: (?:with )?(?:this|something|a question|please))*|can i ask (?:you )?(?:something|"
    r"a question)|"
    r"may i ask (?:you )?(?:something|a question)|do you know|any (?:ideas?|thoughts?|clue|help|guess(?:es)?)|"
    r"how are you"
    r"(?: doing)?(?: today)?|what['’]?s up|how(?:['’]s| is) it going|are you there|you know|guess what|"
    r"what do you think|does (?:that|this|it) make sense|why do i ask|sound good|ok(?:ay)?|got it|please)\s*[?？!.]*$",
    re.I,
)
_CONFIRMS = re.compile(
    r"^(?:and |but |or )?(?:right|correct|true|yes|no|really|isn['’]t (?:it|he|she|that)(?: so)?|aren['’]t they|"
    r"is(?:n['’]t)? (?:that|this|it) (?:right|correct|true|so|the case|accurate)|am i (?:right|correct)|"
    r"true or false|is (?:that|this) still (?:right|correct|true|so|the case)|对吗|对不对|是吗|是不是)\s*[?？]+$",
    re.I,
)
_QUOTES_WHAT_FOLLOWS = re.compile(
    r"\b(?:summari[sz]e|translate|proofread|rewrite|rephrase|paraphrase|fix|edit|classify|review|analy[sz]e|"
    r"improve|correct|"
    r"shorten|extract|reply to|respond to|comment on|look at|feedback on|the following|this (?:text|e-?mail|"
    r"article|code|"
    r"paragraph|passage|letter|document|message|report|note|poem|review))\b",
    re.I,
)
_GOES_ON = re.compile(r"^(?:it|its|it['’]s|he|his|she|her|they|their|them|this|that|these|those|there)\b", re.I)
_DANGLING = _set("of the a an in on at to for and or by with from is are was were as that this its , -")
_CLOSING = "\"”’')]」』）»"


def split(content: str) -> list[Piece]:
    """A message in pieces, in order; of one that is not blank, at least one. Code and quoted lines are left out."""
    text = content if len(content) <= LONGEST else f"{content[: LONGEST // 2]}\n\n{content[-LONGEST // 2 :]}"
    text = _FENCE.sub("\n\n", text)
    pieces: list[Piece] = []
    quoted = False
    units = [(unit, item) for block, item in _blocks(text) for unit in _sentences(block)]
    for number, (unit, item) in enumerate(units):
        if reply := _REPLY.match(unit):
            if reply.end() == len(unit):
                continue
            if pieces and pieces[-1].asks <= WEAK:  # an example: asked and answered
                pieces[-1] = Piece(pieces[-1].text, FILLER)
        last = number == len(units) - 1 or all(_REPLY.fullmatch(rest) for rest, _ in units[number + 1 :])
        piece = _piece(_LABEL.sub("", unit), last, item)
        if quoted:
            piece = Piece(piece.text, FILLER)
        elif piece.asks <= WEAK and unit.endswith(":") and not last and _introduces(unit):
            quoted = True
        if pieces and not quoted:
            if _CONFIRMS.match(piece.text) and pieces[-1].asks == STATES:
                pieces[-1] = Piece(f"{pieces[-1].text} {piece.text}", ASKS)
                continue
            if piece.open and pieces[-1].asks <= WEAK and pieces[-1].text[-1] in "?？" and _GOES_ON.match(piece.text):
                pieces[-1] = Piece(f"{pieces[-1].text} {piece.text}", ASKS, open=True)
                continue
        pieces.append(piece)
    return pieces or [Piece(content.strip(), STATES)]


def _introduces(unit: str) -> bool:
    """Whether what follows is a text to work on rather than something that is asked."""
    return bool(_QUOTES_WHAT_FOLLOWS.search(unit)) and not re.search(
        r"\b(?:answer|question|complete|continue)", unit, re.I
    )


def _chosen(pieces: Sequence[Piece]) -> list[int]:
    """The places of the pieces that are asked, the likeliest first."""
    for weight in (ASKS, WEAK):
        at = [place for place, piece in enumerate(pieces) if piece.asks == weight]
        if at:
            # What is to be completed, then the latest: what stands before it is oftener a part of the context.
            return sorted(at, key=lambda place: (not pieces[place].open, -place))[:MOST_TEXTS]
    stated = [place for place, piece in enumerate(pieces) if piece.asks == STATES]
    return [stated[-1] if stated else len(pieces) - 1]


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Lines that belong together, as one line each, and whether it is an item of a list."""
    block: list[str] = []
    item = signed = False
    for line in text.split("\n"):
        bare = line.strip()
        starts_item = bool(_LIST.match(line))
        if not bare or bare.startswith(">") or (block and _breaks(block[-1], bare, starts_item)):
            if block:
                yield " ".join(block), item
            block, item = [], False
        if not bare or bare.startswith(">"):
            continue
        if signed and len(bare) < 40 and bare[-1] not in "?？":
            continue  # the name below a letter
        if _SIGN_OFF.match(bare):
            signed = True
            continue
        if not block:
            item = starts_item
        block.append(_LIST.sub("", line).strip() if starts_item else bare)
    if block:
        yield " ".join(block), item


def _breaks(line: str, following: str, starts_item: bool) -> bool:
    """Whether a line ends what it says, rather than being wrapped in the middle of a sentence."""
    if starts_item or line[-1] in ".!?…:;。？！" or line.rstrip(_CLOSING)[-1:] in (".", "!", "?", "。", "？"):
        return True
    if _LABEL.match(following) or _REPLY.match(following) or _HEADER.match(following) or _SIGN_OFF.match(following):
        return True
    if _HEADER.match(line):
        return True
    tail = line.split()[-1].lower()
    if tail in _DANGLING or tail[-1] in ",-":
        return len(line) < 25 and tail[-1] == ","  # "Dear Anna,"
    fragment = re.split(r"[.!?]\s+", line)[-1]
    if _QUESTION.match(fragment) and not _QUESTION.match(following):
        return False  # "Who runs / Globex today?"
    return len(line) < 50 and (not following[0].islower() or bool(_QUESTION.match(following)))


def _sentences(block: str) -> Iterator[str]:
    start = 0
    for end in _LATIN_END.finditer(block):
        if end.start() >= start and _ends(block, start, end):
            sentence = block[start : end.end()].strip()
            if sentence:
                yield sentence
            start = end.end()
    rest = block[start:].strip()
    if rest:
        yield rest


def _ends(block: str, start: int, end: re.Match[str]) -> bool:
    """Whether the mark at `end` closes the sentence that begins at `start`."""
    mark = end.group()[0]
    if mark in "。？！；":
        return True
    after = block[end.end() : end.end() + 60].lstrip()
    if not after:
        return True
    following = re.match(r"[\"“‘'(\[«]*([^\s,.!?;:)]+)", after)
    word = following.group(1) if following else ""
    starter = word.lower() in _STARTERS
    if end.group()[-1] in _CLOSING and word[:1].islower():
        return False  # '"Who leads Acme?" is what they asked.'
    if mark == "?":
        return starter or not word[:1].islower()
    if mark == "!":
        if word[:1].islower():
            return word.lower() in _ASKERS  # "Just Go! is sold by"
        said = block[start : end.start()]
        alone = " " not in said and said[:1].isupper() and not _FILLER.match(said)
        return starter or not (alone or _QUESTION.match(f"{said} "))  # "Yahoo! Inc. was", "What did Yahoo! Inc. earn?"
    if mark == "…" or end.group().startswith(".."):
        return starter or not word[:1].islower()
    before = block[max(start, end.start() - 40) : end.start()].rsplit(None, 1)[-1:] or [""]
    token = re.split(r"[-–—/]", before[0].lstrip("\"“‘'([«"))[-1].lower()
    if token in _NEVER_END:
        return False
    if token in _SELDOM_END or re.fullmatch(r"(?:[^\W\d_]\.)*[^\W\d_]", token):  # "Inc.", "J.", "U.S."
        return starter and word[:1].isupper() and word != "I"
    if (token.isdigit() and len(token) < 3) or (word[:1].isdigit() and len(token) < 5):
        return starter  # "1. Acme", "17. Juni"; "Tri. 5"
    return starter or not word[:1].islower() or len(token) > 3


def _piece(text: str, last: bool, item: bool) -> Piece:
    bare = text.rstrip(_CLOSING + " ")
    if _HEADER.match(text) and not (last and not item and bare[-1:] not in ".!"):
        return Piece(text, STATES)
    if _FILLER.match(text) or _SIGN_OFF.match(text):
        return Piece(text, FILLER)
    if _REPLY.match(text):
        return Piece(text, STATES)
    if bare[-1:] in ("?", "？", "؟"):
        if _EMPTY_QUESTION.match(text):
            return Piece(text, WEAK)
        # "She asked me: 'Who leads Acme?'" reports a question.
        reported = len(bare) < len(text) and text[0] not in "\"“‘'(「『«" and not _QUESTION.match(text)
        return Piece(text, WEAK if reported else ASKS)
    if _ABOUT_THE_ANSWER.match(text):
        return Piece(text, WEAK)
    if _REQUEST.match(text) or _QUESTION.match(text) or _CHINESE_QUESTION.search(text):
        return Piece(text, ASKS, open=last and bare[-1:] not in ("", ".", "!", "…", "。", "！"))
    if last and bare[-1:] not in ("", ".", "!", "…", "。", "！", "；"):
        return Piece(text, WEAK if item or len(text) < 4 else ASKS, open=True)
    return Piece(text, STATES)


# From a follow-up to the names that it leans on

_NOUNS = (
    "company|firm|business|organi[sz]ation|corporation|brand|group|city|town|village|country|state|nation|"
    "region|province|"
    "county|island|river|mountain|lake|place|building|stadium|airport|station|museum|bridge|church|person|man|"
    "woman|guy|"
    "lady|player|actor|actress|singer|author|writer|director|politician|artist|scientist|athlete|musician|"
    "composer|team|"
    "club|band|book|novel|film|movie|show|series|album|song|game|language|university|school|college|product|"
    "device|car|"
    "ship|plane|phone|software|program|website|newspaper|magazine|party|war|battle|event|award|species|animal|plant|"
    "project|town|subject|drug|disease|painting|sculpture|play|opera|league|programme|network|channel"
)
_PERSONS = (
    "person|man|woman|guy|lady|player|actor|actress|singer|author|writer|director|politician|artist|scientist|"
    "athlete|musician|composer"
)
_PRONOUN = re.compile(
    r"(?P<own>\b(?:its|his|their)\b(?!['’])|\bher\b(?=\s+(?!(?:is|was|in|on|at|to|from|by|for|with|and|or|now|"
    r"today|then|as|"
    r"again|before|after|when|while|if)\b)[^\W\d_]))"
    rf"|(?P<noun>\b(?:this|that|these|those|the said|said|the same)\s+(?-i:{_NOUNS})s?\b(?P<nounown>['’]s)?)"
    rf"|(?P<the>\bthe\s+(?-i:{_NOUNS})\b(?P<theown>['’]s)?(?=\s*(?:[?.!,]|$|['’]s|now\b|today\b|based\b|located\b|"
    rf"founded\b|"
    r"in\b(?!\s+which)|is\b|was\b|owned\b)))"
    r"|(?P<plain>\b(?:it|he|him|she|her|they|them|hers)\b)"
    r"|(?P<there>\b(?:from|in|over|out|up|down)\s+there\b|\bthere(?=\s*(?:[?.!,]|$|now\b|today\b|nowadays\b)))"
    r"|(?P<that>(?<=\bis )(?:that|this)(?=\s+(?:in|located|based|near|at|from|the|a|an|called)\b)|"
    r"\b(?:of|about|in|for|from|to|by|like)\s+(?:that|this)(?=\s*(?:[?.!,]|$))|"
    r"\b(?:that|this)(?=\s*(?:[?.!]|$)))",
    re.I,
)
_NOT_A_PRONOUN = re.compile(  # "what time is it", "is it true that", "how long does it take", "it is raining"
    r"\b(?:time|day|date|year|month|weather) is it\b|\bis it (?:true|possible|ok|okay|safe|legal|correct|right|"
    r"raining|cold|"
    r"hot|worth|far|better|normal|bad|good|necessary|too late)\b|\b(?:does|did|will|would) it "
    r"(?:take(?! (?:place|part|over)\b)|cost to|"
    r"matter|mean|hurt)\b|"
    r"\bit (?:is|was|would be|seems|takes)\b (?:true|possible|clear|known|said|to|that)|\bhow is it (?:going|"
    r"possible)\b|"
    r"\bhow it works\b|\b(?:how )?far is it\b",
    re.I,
)
_WANTED = re.compile(
    r"^(?:(?:and|but|so|or|then|also)[\s,]+)*(?:(?:in|at|on|to|from|by|of|for|with|under|during)\s+)?"
    r"(?:which|what|whose|how (?:many|much))\s+[^?]*?"
    r"\b(?:is|was|are|were|do|does|did|has|have|had|can|could|will|would)\b",
    re.I,
)
_LEAD = re.compile(r"^(?:(?:and|but|so|or|then|also|ok(?:ay)?|well|now)[\s,]+)+", re.I)
_ABOUT = re.compile(
    r"^(?:(?:and|but|so|ok(?:ay)?)[\s,]+)?(?:what|how) about\s+|^and\s+(?=\S)|^(?:what|and) of\s+", re.I
)
_PART = re.compile(r"^(?:the|a|an)\s+[^\W_]+(?:[\s-][^\W_]+){0,2}\s*[?？.!]*$", re.I)
_WHO_IS_THE = re.compile(
    r"^(?:who|what|where|when|which|how (?:big|large|old|high|long|tall))(?:['’]s|\s+(?:is|was|are|were))\s+the\s+"
    r"(?:[^\W_]+(?:[-\s][^\W_]+){0,2}?)(?P<end>(?:\s+(?:now|today|currently|then|there|nowadays|"
    r"these days))?\s*[?？.!]*$)",
    re.I,
)
_AGAIN = re.compile(
    r"^(?:and |but |so )*(?:now|today|currently|nowadays|at present|are you (?:sure|certain)|really|is (?:that|this) "
    r"(?:right|correct|true|so)|who|which one|say (?:that|it) again|come again|pardon|who is it(?: now| today)?|"
    r"who(?:'s| is) that|can you repeat that|and (?:now|today)|what is it(?: now| today)?|"
    r"(?:who|what) (?:was|is) it again|who again|what again)\s*[?？.!]*$",
    re.I,
)
_ROLES = _set(
    "ceo cfo cto coo cio president presidents mayor governor chairman chairwoman chair chairperson director "
    "minister prime premier queen king pope emperor empress secretary manager coach head founder chancellor "
    "captain senator vice deputy general executive chief officer treasurer ambassador dean principal rector "
    "speaker leader owner editor"
)
_NO_NAMES = _STARTERS | _set(
    "i'll you're we're it's that's what's who's where's he's she's there's isn't don't doesn't didn't can't yes "
    "no ok okay hi hello hey dear thanks thank monday tuesday wednesday thursday friday saturday sunday january "
    "february march april june july august september october november december say list explain describe find "
    "show just first next finally speaking regarding about of not all some many most every each any one two three "
    "yesterday tomorrow recently last here when once during under over between among through only even still "
    "maybe perhaps sure well actually really q question answer context note write summarise summarize translate "
    "everyone everybody nobody people someone welcome congratulations imagine consider suppose based given unlike "
    "compared read see check remember using use think somebody something nothing everything good great nice sorry "
    "me him them us mine yours both either neither go sources gladly certainly absolutely ask feel"
)
_INSIDE = _set("of the de da di do dos das del della van von der den du la le el al bin ibn af zu & y")
_ORGANISATION = _set(
    "inc corp corporation ltd llc company co group university college school institute city town county state "
    "river lake mount mountain mountains island islands airport station stadium museum bridge church club united "
    "fc party league street road avenue park records bank systems motors airlines railway the hotel times house "
    "festival cup war battle republic kingdom north south east west new saint san los las rio"
)
_QUOTED = re.compile(r"[\"“«「『《]([^\"”»」』》]{2,80})[\"”»」』》]|(?<!\w)[‘']([A-Z][^'’]{1,60})[’'](?!\w)")
_HOLDER = re.compile(
    rf"\bthe (?:\w+ )?(?:{'|'.join(sorted(_ROLES))}) of (?:the )?[A-Z][\w&’'-]*(?: [A-Z][\w&’'-]*)*", re.I
)
"""Who holds an office, where the name is not said: what "she" stands for after "the CEO of Acme"."""
_SMALL = re.compile(r",?\s+(?:(?:in|into|and|with|on|at|for|to|from|by|the|a|an|of|og|und|et)\s+)*\"?", re.I)
_LATE = re.compile(
    r"(?:\s+(?:lately|recently|today|tonight|yesterday|again|now|please|earlier|before|online|"
    r"(?:all|the whole|every) day|(?:these|those) days|(?:last|this) (?:week|month|year|morning|night)|"
    r"for (?:a while|years|weeks|days|hours)))+$",
    re.I,
)
_TITLES = _set("mr mrs ms dr prof sir lady lord dame saint st")


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a text. `person` and `place` are guesses from its form and from the word before it."""

    text: str
    start: int
    person: bool
    place: bool


def names(text: str) -> list[Name]:
    """The capitalised and quoted spans of a text, in order; neither the first word for being first, nor roles."""
    found: list[Name] = []
    quoted = [match for match in _QUOTED.finditer(text) if not match.group().rstrip(_CLOSING).endswith(("?", ".", "!"))]
    for match in quoted:
        found.append(Name((match.group(1) or match.group(2)).strip(), match.start(), False, False))
        text = text[: match.start()] + " " * len(match.group()) + text[match.end() :]
    tokens = [(match.start(), match.group()) for match in re.finditer(r"\S+", text)]
    at = 0
    while at < len(tokens):
        until, name = _name_from(tokens, at)
        if name:
            earlier = tokens[at - 1][1].lower().strip(",.;:") if at else ""
            words = name.replace("-", " ").split()
            person = bool(words) and (
                words[0].lower().rstrip(".") in _TITLES
                or (
                    2 <= len(words) <= 4
                    and all(word[0].isalpha() for word in words)
                    and not any(word.lower().strip(".,") in _ORGANISATION for word in words)
                    and earlier not in ("in", "at", "from", "to", "of")
                )
            )
            found.append(Name(name, tokens[at][0], person, earlier in ("in", "at", "from", "to", "near", "of")))
        at = max(until, at + 1)
    return sorted(found, key=lambda name: name.start)


def _name_from(tokens: Sequence[tuple[int, str]], at: int) -> tuple[int, str]:
    """(where the span that begins at token `at` ends, its text); ("" where none begins)."""
    words: list[str] = []
    place, end = at, at
    while place < len(tokens):
        raw = tokens[place][1]
        word = raw.lstrip("([{*_\"“‘'«").rstrip(")]}*_\"”’'»,;:!?。？！")
        if len(word) > 1 and word.endswith(".") and (word[:-1].isdigit() or not _abbreviated(word)):
            word = word.rstrip(".")
        closed = raw != raw.rstrip(",;:!?)]}。？！") or (raw.endswith(".") and not word.endswith("."))
        if not word:
            break
        own = re.search(r"['’]s$", word)
        bare = word[: own.start()] if own else word
        lower = bare.lower()
        if not words:
            first = place == 0 or tokens[place - 1][1][-1] in ".!?:。？！"
            following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
            titled = lower == "the" and bare[0] == "T" and not first and _capital(following)  # "I read The Leopard"
            numbered = bare[:1].isdigit() and _capital(following) and following[0].isalpha()  # "2005 Beach Volleyball"
            if not (titled or numbered or (_capital(bare) and lower not in _NO_NAMES)):
                return at + 1, ""
        elif not (_capital(bare) or bare[:1].isdigit()):
            ahead = [tokens[next_][1] for next_ in range(place, min(place + 3, len(tokens)))]
            joins = lower in _INSIDE and any(
                _capital(one.lstrip("\"“'(")) and all(mid.lower() in _INSIDE for mid in ahead[:number])
                for number, one in enumerate(ahead)
                if number
            )
            if not joins or closed or (lower == "of" and all(one.lower() in _ROLES for one in words)):
                break
        elif lower in _NO_NAMES and lower not in _INSIDE and len(bare) > 1 and lower in ("who", "what", "i'm", "i've"):
            break
        words.append(bare)
        place += 1
        end = place
        following = tokens[place][1] if place < len(tokens) else ""
        titled = _capital(following) and following.lower().rstrip(".,;:!?") not in _ROLES  # "Tom's Barn", "Acme's CEO"
        if closed or (own and not titled):
            break
        if own:
            words[-1] = word
    if not words or all(word.lower() in _ROLES for word in words):
        return max(end, at + 1), ""
    while words and words[-1].lower() in _INSIDE:
        words.pop()
    if len(words) == 1 and (words[0].isdigit() or words[0] in ("I", "A")):
        return end, ""
    return end, " ".join(words)


def _capital(word: str) -> bool:
    word = word.lstrip("([\"“‘'«")
    return word[:1].isupper() or (word[1:2].isupper() and word[:1].islower())  # "Acme"; "iPhone"


def _abbreviated(word: str) -> bool:
    bare = word[:-1].lower()
    return bare in _NEVER_END or bare in _SELDOM_END or len(bare) == 1 or "." in bare


def _phrase(text: str) -> str:
    """What a sentence without names is about: the words after "about" or "of", else ""."""
    places = list(re.finditer(r"\b(?:about|of)\s+(?!(?:it|its|him|his|her|them|their|that|this|course)\b)", text, re.I))
    if not places:
        return ""
    rest = re.split(
        r"[,.;:!?。？！()\"]|\s(?:is|are|was|were|has|have|and|or|but|in|on|at|that|who|which|now|today|please|"
        r"work|live)\b",
        text[places[-1].end() :],
    )[0]
    words = rest.split()
    return " ".join(words) if 0 < len(words) <= 6 else ""


def _introduced(text: str) -> str:
    """The whole of what comes after "about" at a sentence's end, whatever its letters: "Tell me about the leopard."."""
    match = re.search(r"\babout\s+([^;:?!]+?)\s*[.?!…]*$", text[-300:], re.I)
    words = _LATE.sub("", match.group(1)).split() if match else []
    if not words or len(words) > 10 or words[0].lower() in ("it", "him", "her", "them", "this", "that", "me", "you"):
        return ""
    if any(part[:1].islower() for part in " ".join(words).split(", ")[1:]):
        return ""  # a comma within a name is followed by a capital: "Oslo Airport, Gardermoen"
    if any(word in ("is", "was", "are", "were", "that", "who", "which", "how", "what") for word in words):
        return ""
    dotted = re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]|Jr|Sr|Inc|Ltd|Co|Corp", words[-1])  # a full stop of its own
    return " ".join(words).strip("\"“”'‘’") + ("." if dotted else "")


def _joined(text: str, here: Sequence[Name]) -> str:
    """The names that end a question as one, where only little words part them: "Lost in Arden", "Lund, Ostland"."""
    if len(here) < 2 or not text.endswith("?"):
        return ""
    ends = [name.start + len(name.text) for name in here]
    gaps = [text[end : name.start] for end, name in zip(ends, here[1:], strict=False)]
    whole = all(_SMALL.fullmatch(gap) for gap in gaps) and not text[ends[-1] :].strip('?.!"”’ ')
    return text[here[0].start : ends[-1]] if whole else ""


def _topics(
    kind: str, before: Sequence[Message], context: Sequence[str], behind: Sequence[str], own: Iterable[str]
) -> list[str]:
    """At most three names that a pronoun of a kind ("person", "thing", "place", "any") stands for, likeliest first."""
    near: list[tuple[int, str]] = [(0, text) for text in reversed(context)]
    for turn in reversed(before):
        # What the user asked about outlives what the answer brought up, but a person is oftenest the answer.
        late = int(turn.role == "assistant" and kind != "person")
        sentences = [piece.text for piece in split(turn.content)] if turn.content.strip() else []
        near += [(late, text) for text in reversed(sentences)]
    near += [(2, text) for text in behind]
    known = {name.casefold() for name in own}
    found: dict[str, tuple[tuple[int, int], str]] = {}
    for late, text in islice(near, 40):
        here = names(text)
        introduced = _introduced(text)
        if introduced and not any(name.text == introduced for name in here):
            inside = [name for name in here if name.text in introduced]
            lead = introduced.partition(" ")[0]
            if lead[0].islower() and lead not in _INSIDE and len(inside) == 1:
                introduced = ""  # "about the CEO of Acme" is about Acme
            elif " of " in introduced and inside and introduced.split()[0].islower():
                introduced = ""
            else:
                here = [name for name in here if name not in inside]
                here.insert(0, Name(introduced, 0, False, False))
        if joined := _joined(text, here):
            here.insert(1, Name(joined, here[0].start, False, False))
        if not here and (phrase := _phrase(text)):
            here = [Name(phrase, 0, False, False)]
        if kind == "person" and (holder := _HOLDER.search(text)):
            found.setdefault(holder.group().casefold(), ((late, 1), holder.group()))
        for name in here:
            key = name.text.casefold()
            if key not in known and key not in found:
                fits = {"person": name.person, "thing": not name.person, "place": name.place or not name.person}
                found[key] = ((late, 0 if fits.get(kind, True) else 2), name.text)
    # Whether it fits counts more than how near it is.
    ranked = sorted(found.values(), key=lambda entry: (entry[0][1], entry[0][0]))
    return [name for _, name in ranked[:MOST_TOPICS]]


def _resolved(
    text: str, before: Sequence[Message], context: Sequence[str], behind: Sequence[str], known: Sequence[str]
) -> tuple[str, ...]:
    """The sentence with each likely topic in its pronoun's place, then as it stands; alone, where it has none."""
    if not before and not context and not behind:
        return (text,)
    bare = text.strip()
    earlier = _earlier_question(before, context) if _AGAIN.match(bare) or _ABOUT.match(bare) else ""
    if _AGAIN.match(bare) and earlier:
        return (earlier, text)
    form = _form(bare, earlier)
    if form is None:
        return (text,)
    topics = [] if form.whole else _topics(form.kind, before, context, behind, form.own)
    return _variants(
        text, [form.put(topic) for topic in dict.fromkeys([*known, *topics] or [""]) if topic or form.whole]
    )


@dataclass(frozen=True, slots=True)
class _Form:
    """How a sentence leans on what was said before: what kind of topic it wants, and itself with one put in."""

    kind: str
    put: Callable[[str], str]
    own: tuple[str, ...] = ()
    whole: bool = False
    """It needs no topic: an earlier question with another name."""


def _form(bare: str, earlier: str) -> _Form | None:
    own = names(bare)
    elliptic = _ABOUT.match(bare)
    if elliptic and len(bare.split()) <= 8:
        rest = bare[elliptic.end() :]
        named = names(f"the {rest}")
        if (
            named
            and rest.rstrip("?？.! ").endswith(named[0].text)
            and len(rest.split()) <= len(named[0].text.split()) + 1
        ):
            swapped = _swapped(earlier, named[0]) if earlier else ""
            return _Form("any", lambda _: swapped, whole=True) if swapped else None
        if _PART.match(rest):
            end = rest[len(rest.rstrip("?？.! ")) :]
            part = rest.rstrip("?？.! ")
            return _Form("thing", lambda topic: f"{part} of {topic}{end}")
    first = _LEAD.match(bare)
    begin = first.end() if first else 0
    # A name in "Which GUI toolkit does it use?" is of what is asked for; "it" does not stand for it.
    wanted = _WANTED.match(bare)
    named_until = wanted.end() if wanted else 0
    bar = next((name.start for name in own if name.start >= named_until), len(bare))
    spots = [
        spot
        for spot in _PRONOUN.finditer(bare)
        if spot.start() < bar and (spot.start() <= begin or spot.group()[0].islower())
    ]
    if spots and not _NOT_A_PRONOUN.search(bare):
        return _Form(_kind(spots[0]), lambda topic: _replaced(bare, spots, topic), tuple(name.text for name in own))
    if not own and (match := _WHO_IS_THE.match(bare)) and " of " not in bare:
        at = match.start("end")
        return _Form("thing", lambda topic: _led(f"{bare[:at]} of {topic}{bare[at:]}"))
    return None


def _variants(text: str, resolved: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*resolved, text]))


def _kind(spot: re.Match[str]) -> str:
    word = spot.group().lower()
    if spot.group("there"):
        return "place"
    if spot.group("noun") or spot.group("the"):
        return "person" if re.search(rf"\b(?:{_PERSONS})\b", word) else "thing"
    if word in ("he", "his", "him", "she", "her", "hers"):
        return "person"
    return "any" if word in ("they", "them", "their") else "thing"


def _replaced(text: str, spots: Sequence[re.Match[str]], topic: str) -> str:
    kind = _kind(spots[0])
    parts, at = [], 0
    for spot in spots:
        same = _kind(spot)
        if same != kind and "any" not in (same, kind):
            continue  # "it" and "she" in one sentence stand for two
        owns = spot.group("own") or spot.group("nounown") or spot.group("theown")
        word = f"{topic}'s" if owns else topic
        if (spot.group("there") or spot.group("that")) and " " in spot.group():
            word = f"{spot.group().split()[0]} {topic}"  # "from there", "about that"
        elif spot.group("there"):
            word = f"in {topic}"
        parts += [text[at : spot.start()], word]
        at = spot.end()
    return _led("".join([*parts, text[at:]]))


def _led(text: str) -> str:
    """Without the "and" that joined it to what came before."""
    rest = _LEAD.sub("", text)
    return rest[:1].upper() + rest[1:] if rest and text[:1].isupper() else rest or text


def _earlier_question(before: Sequence[Message], context: Sequence[str]) -> str:
    """What was asked last, pronouns replaced, or ""."""
    for text in reversed(context):
        if text.endswith(("?", "？")):
            return text
    places = [at for at, turn in enumerate(before) if turn.role == "user"]
    if not places:
        return ""
    found = asked(before[: places[-1] + 1])
    return found[0].strip() if found else ""


def _swapped(question: str, name: Name) -> str:
    """The question about another name, or "" where it has none to put it in the place of."""
    there = names(question)
    like = [one for one in there if one.person == name.person] or there
    old = like[-1].text if like else _phrase(question)
    return question.replace(old, name.text, 1) if old and old in question else ""
