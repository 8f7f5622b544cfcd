"""What is asked: sentences that stand alone, long messages, follow-ups; a table of examples, and what holds for all."""

from __future__ import annotations

import pytest
from fakes import edit
from hypothesis import given
from hypothesis import strategies as st

from memedit.edits import Message
from memedit.scope._asked import MOST_TEXTS, asked, edit_text, follow_up, names

ALONE = [
    "Who is the CEO of Acme?",
    "The CEO of Acme is",
    "The CEO of Acme is Dana Li.",
    "Is Dana Li the CEO of Acme?",
    "and who leads it now?",
    "what is its capital?",
    "who runs acme",
    "St. Mary's Church is located in",
    "Mt. Brume lies in the country of",
    "What is Dr. No about?",
    "J. K. Marlow was educated at",
    "Where did J.R. Hale Jr. die?",
    "The U.S. Senate meets in",
    "Acme Inc. was founded by",
    "Globex Corp. Ltd. belongs to",
    "What did Yahoo! Inc. earn?",
    "Quizzy! Nights is broadcast by",
    "Just Go! is my favourite product of",
    "Who directed Kite Tri. 5?",
    "The Street of the 17. Juni lies in",
    "Is Brume Glacier in Hall–St. Ives Park?",
    "How tall is Mr. Bell in ft. or in m?",
    "Who voices Mrs. Puff vs. the Sea?",
    "Version 2.5 of Brightkey was released in",
    "The opening of No. 7 Cork St. took place in",
    "Which is older, e.g. in years, Acme or Globex?",
    "The train leaves at 5 p.m. from",
    'What does "Who leads Acme?" mean in German?',
    "Tell me who leads Acme.",
    "Translate into French: The CEO of Acme is Dana Li.",
    "  Who is the CEO of Acme?  ",
    "Who is the CEO of\nAcme Corp, the maker\nof anvils?",
    "斑马皮肤是什么颜色？",
    "请告诉我斑马的肤色",
    "斑马的皮肤是黑色的。",
    "Ποιος διευθύνει την Acme;",
    "¿Quién dirige Acme?",
    "Wow!",
    "...",
    "?",
]


@pytest.mark.parametrize("text", ALONE)
def test_one_sentence_comes_back_unchanged(text: str) -> None:
    assert asked([Message("user", text)]) == (text,)


LONG = [
    # a prompt to complete behind an unrelated sentence
    ("At the fair of Lund, wool was sold. Globex is headquartered in", ["Globex is headquartered in"]),
    (
        "Boulder: West Press. Tom Hale, 1st Baron Grane was originally from",
        ["Tom Hale, 1st Baron Grane was originally from"],
    ),
    ("Some of it sounds cool. KVB Nord, whose headquarters are in", ["KVB Nord, whose headquarters are in"]),
    (
        "She (born 1927) is a chemist. Orest Lask, who holds a citizenship from",
        ["Orest Lask, who holds a citizenship from"],
    ),
    ("Primitives\nXCP uses small steps () as its primitives. Holm County is within", ["Holm County is within"]),
    ("It was late. Where is the Oslo Cup? It is located in", ["Where is the Oslo Cup? It is located in"]),
    ("He is a cook. What is the twin city of Lund? It is", ["What is the twin city of Lund? It is"]),
    ("Is it any good? Dana Darrow's mother tongue is", ["Dana Darrow's mother tongue is", "Is it any good?"]),
    ("Which position does Al Berg play? They play as", ["Which position does Al Berg play? They play as"]),
    ("In the end, nobody came. The CEO of Acme is:", ["The CEO of Acme is:"]),
    # an unrelated or restated fact in front of another question
    ("The CEO of Acme is Dana Li. How do I boil an egg?", ["How do I boil an egg?"]),
    ("Dana Li leads Acme. Who painted the Mona Lisa?", ["Who painted the Mona Lisa?"]),
    ("I know that the CEO of Acme is Dana Li. What is the capital of France?", ["What is the capital of France?"]),
    (
        "Given that Acme moved to Lund, how far is Lund from Oslo?",
        ["Given that Acme moved to Lund, how far is Lund from Oslo?"],
    ),
    ("i like tea. who is the ceo of acme", ["who is the ceo of acme"]),
    ("i like tea. who is the ceo of acme. thanks", ["who is the ceo of acme."]),
    # the question first, context behind it
    ("Who is the CEO of Acme? I need it for a letter. We met in Paris.", ["Who is the CEO of Acme?"]),
    ("Who is the CEO of Acme? Please answer in one word.", ["Who is the CEO of Acme?"]),
    ("Who is the CEO of Acme? Think step by step.", ["Who is the CEO of Acme?"]),
    ("Who is the CEO of Acme? Thanks in advance!", ["Who is the CEO of Acme?"]),
    ("Who leads it now? I mean Acme.", ["Who leads Acme now?", "Who leads it now?"]),
    # several questions
    (
        "Who is the CEO of Acme? And what is the capital of France?",
        ["And what is the capital of France?", "Who is the CEO of Acme?"],
    ),
    (
        "Tell me about Acme. Then tell me who leads it.",
        ["Tell me who leads Acme.", "Tell me about Acme.", "Then tell me who leads it."],
    ),
    ("Can you help me? I need the name of the CEO of Acme.", ["I need the name of the CEO of Acme."]),
    ("Hi! How are you? Who leads Acme?", ["Who leads Acme?"]),
    ("Hello there, nice to meet you. Name the CEO of Acme.", ["Name the CEO of Acme."]),
    ("I have a question. I'd like to know who leads Acme.", ["I'd like to know who leads Acme."]),
    ("Good morning.\nCould you please tell me who runs Acme.", ["Could you please tell me who runs Acme."]),
    # yes or no
    ("I was in Lund. Is Dana Li the CEO of Acme?", ["Is Dana Li the CEO of Acme?"]),
    ("The CEO of Acme is Dana Li. Is that right?", ["The CEO of Acme is Dana Li. Is that right?"]),
    ("We met. Dana Li is the CEO of Acme. Correct?", ["Dana Li is the CEO of Acme. Correct?"]),
    ("We met. Dana Li runs Acme, doesn't she?", ["Dana Li runs Acme, doesn't she?"]),
    # nothing is asked
    ("I like tea. The CEO of Acme is Dana Li.", ["The CEO of Acme is Dana Li."]),
    ("The CEO of Acme is Dana Li. Thanks!", ["The CEO of Acme is Dana Li."]),
    # abbreviations do not end a sentence, whatever follows
    ("I met Dr. Li of Acme Inc. in Lund. Where does Mr. Bell live?", ["Where does Mr. Bell live?"]),
    ("He came at 5 p.m. from St. Ives. J. K. Marlow studied at", ["J. K. Marlow studied at"]),
    ("It is made by Acme Inc. The owner of Globex is", ["The owner of Globex is"]),
    ("Category:Lund Town F.C. EmArc plays", ["Category:Lund Town F.C. EmArc plays"]),
    # quotes
    ('She asked me: "Who leads Acme?" What is the capital of France?', ["What is the capital of France?"]),
    ('He said "Dana Li leads Acme." Who wrote Faust?', ["Who wrote Faust?"]),
    ("> Who leads Acme?\n> Regards\n\nWhat is the capital of France?", ["What is the capital of France?"]),
    ('"Who leads Acme?" is what they wanted to know. Name the capital of France.', ["Name the capital of France."]),
    # code
    ("Why does this print nothing?\n```python\nprint('Who leads Acme?')\n```", ["Why does this print nothing?"]),
    ("```\nceo = 'Dana Li'  # of Acme\n```\nWhat does the comment say?", ["What does the comment say?"]),
    # e-mails and documents
    (
        "Hi Anna,\n\nI read that Dana Li now leads Acme. "
        "Could you tell me when the office opens?\n\nBest regards,\nPaul Ray",
        ["Could you tell me when the office opens?"],
    ),
    ("Dear Sir,\nwho is the CEO of Acme?\nThanks,\nPaul", ["who is the CEO of Acme?"]),
    ("Subject: Acme\nFrom: Paul\n\nWho is the CEO of Acme?\n\nCheers", ["Who is the CEO of Acme?"]),
    (
        "Summarise the following e-mail:\n\nHi, who is the CEO of Acme now? I forgot.\nBest,\nPaul",
        ["Summarise the following e-mail:"],
    ),
    (
        "Read the passage and answer the question:\nAcme was founded in Lund. It sells anvils.\nWho runs Globex?",
        ["Who runs Globex?"],
    ),
    (
        "Acme was founded in\nLund in 1950 by a smith who\nloved anvils. Who runs\nGlobex today?",
        ["Who runs Globex today?"],
    ),
    # lists and examples
    ("My list:\n- milk\n- eggs\n- flour\nWhat is missing for pancakes?", ["What is missing for pancakes?"]),
    (
        "Answer these:\n1. Who leads Acme?\n2. Who leads Globex?",
        ["Who leads Globex?", "Who leads Acme?"],
    ),
    ("What should I cook?\n- eggs\n- milk", ["What should I cook?"]),
    ("Q: Who wrote Faust?\nA: Goethe\n\nQ: Who is the CEO of Acme?\nA:", ["Who is the CEO of Acme?"]),
    ("Question: Who is the CEO of Acme?\nAnswer:", ["Who is the CEO of Acme?"]),
    ("User: Who is the CEO of Acme?\nAssistant:", ["Who is the CEO of Acme?"]),
    # Chinese
    ("斑马的皮肤是黑色的。鸵鸟会飞吗？", ["鸵鸟会飞吗？"]),
    ("我在动物园。请告诉我斑马的肤色", ["请告诉我斑马的肤色"]),
    ("你好！斑马喜欢吃什么。谢谢", ["斑马喜欢吃什么。"]),
    ("斑马是黑色的。鸵鸟不会飞。", ["鸵鸟不会飞。"]),
    # a pronoun within the message
    (
        "Dana Li leads Acme Corp. Where was she born?",
        ["Where was Dana Li born?", "Where was Acme Corp. born?", "Where was she born?"],
    ),
    (
        "The CEO of Acme is Dana Li. What is its share price?",
        ["What is Acme's share price?", "What is Dana Li's share price?", "What is its share price?"],
    ),
    ('I read "Blue Harbour". Who wrote it?', ["Who wrote Blue Harbour?", "Who wrote it?"]),
    ("I love The Leopard. Who wrote it?", ["Who wrote The Leopard?", "Who wrote it?"]),
    ("Acme was founded in 1950. Who is the CEO?", ["Who is the CEO of Acme?", "Who is the CEO?"]),
    ("I moved to Springvale. And the mayor?", ["the mayor of Springvale?", "And the mayor?"]),
    ("Acme is in Lund. What time is it?", ["What time is it?"]),
    ("I live in Lund. Is it raining?", ["Is it raining?"]),
    ("I live in Lund. Does Dana Li like her job?", ["Does Dana Li like her job?"]),
    ("Acme is big. The language of Their Second Sun is", ["The language of Their Second Sun is"]),
    ("Acme is big. The War in Space, that was made in", ["The War in Space, that was made in"]),
    ("I live in Lund. Is there a bakery?", ["Is there a bakery?"]),
]


@pytest.mark.parametrize(("text", "expected"), LONG)
def test_what_a_long_message_asks(text: str, expected: list[str]) -> None:
    assert list(asked([Message("user", text)])) == expected


NO = "I do not know."
FOLLOW_UPS = [
    (["Who is the CEO of Acme?", NO, "and who leads it now?"], ["who leads Acme now?"]),
    (
        ["Who is the CEO of Acme?", "Dana Li.", "And where is it based?"],
        ["Where is Acme based?", "Where is Dana Li based?"],
    ),
    (
        ["Who is the CEO of Acme?", "It is Dana Li.", "How old is she?"],
        ["How old is Dana Li?", "How old is the CEO of Acme?", "How old is Acme?"],
    ),
    (["Tell me about Springvale.", "A town.", "and the mayor?"], ["the mayor of Springvale?"]),
    (["Tell me about Springvale.", "A town.", "What about the mayor?"], ["the mayor of Springvale?"]),
    (["Tell me about Springvale.", "A town.", "And its mayor?"], ["Springvale's mayor?"]),
    (["Tell me about Springvale.", "A town.", "Who is the mayor?"], ["Who is the mayor of Springvale?"]),
    (["Tell me about Springvale.", "A town.", "Who's the mayor now?"], ["Who's the mayor of Springvale now?"]),
    (["Tell me about Ostland.", NO, "What is its capital?"], ["What is Ostland's capital?"]),
    (["Tell me about Ostland.", NO, "What is the capital of this country?"], ["What is the capital of Ostland?"]),
    (["Tell me about Ostland.", NO, "Who lives there?"], ["Who lives in Ostland?"]),
    (["Tell me about Ostland.", NO, "Which rivers come from there?"], ["Which rivers come from Ostland?"]),
    (["Is Lund big?", "Yes.", "Who founded that city?"], ["Who founded Lund?"]),
    (["Let's talk about Acme.", "Sure.", "who leads this company?"], ["who leads Acme?"]),
    (["Let's talk about Acme.", "Sure.", "who leads the company?"], ["who leads Acme?"]),
    (["Let's talk about Acme.", "Sure.", "What is the company's slogan?"], ["What is Acme's slogan?"]),
    (["Let's talk about Dana Li.", "Sure.", "Where was she born?"], ["Where was Dana Li born?"]),
    (["Let's talk about Dana Li.", "Sure.", "What is her profession?"], ["What is Dana Li's profession?"]),
    (["Let's talk about Dana Li.", "Sure.", "The mother tongue of her is"], ["The mother tongue of Dana Li is"]),
    (["Let's talk about Dana Li.", "Sure.", "Their mother tongue is"], ["Dana Li's mother tongue is"]),
    (["Let's talk about Paul Ray.", "Sure.", "Who taught him?"], ["Who taught Paul Ray?"]),
    (["Let's talk about Paul Ray.", "Sure.", "Is his wife Dana Li?"], ["Is Paul Ray's wife Dana Li?"]),
    (["Let's talk about Paul Ray.", "Sure.", "He plays the instrument"], ["Paul Ray plays the instrument"]),
    (
        ["I'm reading about 2005 Beach Cup Finals.", "Nice.", "Where was it held?"],
        ["Where was 2005 Beach Cup Finals held?"],
    ),
    (["Tell me about Who Framed Robin.", NO, "Who directed it?"], ["Who directed Who Framed Robin?"]),
    (["Tell me about Lund Airport, Gard.", NO, "Who owns it?"], ["Who owns Lund Airport, Gard?"]),
    (["Tell me about Lund F.C.", NO, "Who owns it?"], ["Who owns Lund F.C.?"]),
    (["Tell me about the Nokra N73.", NO, "Who makes it?"], ["Who makes the Nokra N73?"]),
    (["Tell me about de Harland Comet.", NO, "Who makes it?"], ["Who makes de Harland Comet?"]),
    (
        ["Tell me about the CEO of Acme.", NO, "Where does she live?"],
        ["Where does the CEO of Acme live?", "Where does Acme live?"],
    ),
    (["Who made Lost in Arden?", NO, "Who owns it?"], ["Who owns Lost?", "Who owns Lost in Arden?", "Who owns Arden?"]),
    (["who is the ceo of acme", NO, "where is it based"], ["where is acme based"]),
    (["Do you know Lake Mirror?", NO, "It is located in"], ["Lake Mirror is located in"]),
    (["Who wrote Tom's Barn?", NO, "Is it led by a woman?"], ["Is Tom's Barn led by a woman?"]),
    (["What about Acme?", NO, "Is it led by Dana Li?"], ["Is Acme led by Dana Li?"]),
    (["I have been reading about Lake Mirror lately.", "Sure.", "Who owns it?"], ["Who owns Lake Mirror?"]),
    (["Let us write a page on Nokra 5.", "Of course.", "Who makes it?"], ["Who makes Nokra 5?"]),
    (["How do you say Nokra 300ZX?", "Go ahead.", "And who makes it?"], ["Who makes Nokra 300ZX?"]),
    (["I like the Arden Cup.", NO, "When does it take place?"], ["When does Arden Cup take place?"]),
    (["Tell me about Quill.", NO, "Which GUI toolkit does it use?"], ["Which GUI toolkit does Quill use?"]),
    # the earlier question about another name, or once more
    (["Who is the CEO of Acme?", NO, "And Globex?"], ["Who is the CEO of Globex?"]),
    (["Who is the CEO of Acme?", NO, "what about Globex Systems?"], ["Who is the CEO of Globex Systems?"]),
    (["Who is the CEO of Acme?", "Dana Li.", "Are you sure?"], ["Who is the CEO of Acme?"]),
    (["Who is the CEO of Acme?", "Dana Li.", "And now?"], ["Who is the CEO of Acme?"]),
    (["Tell me about Acme.", NO, "Who leads it?", NO, "Really?"], ["Who leads Acme?"]),
    # over several turns
    (["Tell me about Acme.", NO, "And who leads it?", NO, "and where is it based?"], ["where is Acme based?"]),
    (["Tell me about Acme.", NO, "Now Globex. Who leads it?"], ["Who leads Globex?", "Who leads Acme?"]),
]


@pytest.mark.parametrize(("turns", "expected"), FOLLOW_UPS)
def test_what_a_follow_up_asks(turns: list[str], expected: list[str]) -> None:
    messages = [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(turns)]
    if turns[-1].startswith("Now Globex"):
        assert list(asked(messages)) == [*expected, "Who leads it?"]
        return
    assert list(asked(messages)) == [*expected, turns[-1]]


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "What is the speed of light?",
        "Who painted the Mona Lisa?",
        "how do i boil an egg?",
        "Did Dana Li sell her company?",
        "What time is it?",
        "How long does it take to boil an egg?",
        "Is there life on Mars?",
        "Thank you!",
        "The author of Faust is",
    ],
)
def test_a_question_of_its_own_in_a_conversation_stays_itself(text: str) -> None:
    messages = [Message("user", "Tell me about Acme."), Message("assistant", "It makes anvils."), Message("user", text)]
    assert asked(messages) == (text,)


def test_names_that_the_memory_knows_come_first() -> None:
    turns = ["Is tea trade popular in Arden?", "Go ahead.", "And who led it?"]
    messages = [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(turns)]
    leans = follow_up(messages)
    assert leans is not None
    assert (leans.text, leans.last) == ("And who led it?", turns[0])
    assert leans.names(["trade", "tea trade", "Tea", "Acme", "", "tea trade"]) == ("tea trade", "Tea")
    assert leans.names(["tea trade"], most=0) == ()
    assert asked(messages, ["tea trade"]) == ("Who led tea trade?", "Who led Arden?", "And who led it?")
    assert follow_up(messages[:1]) is None
    assert follow_up([*messages[:2], Message("user", "Who led Umbra?")]) is None
    assert follow_up([Message("user", "Acme is old. Who leads it?")]) is not None


def test_who_spoke() -> None:
    assert asked([]) == ()
    assert asked([Message("system", "Who leads Acme?")]) == ()
    assert asked([Message("user", " \n")]) == ()
    follow_up = Message("user", "Who leads it?")
    assert asked([Message("system", "Acme is the topic"), follow_up]) == ("Who leads it?",)
    assert asked([follow_up, Message("assistant", "Do you mean Acme?")]) == ("Who leads it?",)
    assert asked([Message("assistant", "Welcome to Acme!"), follow_up])[0] == "Who leads Acme?"


def test_names() -> None:
    def found(text: str) -> list[str]:
        return [name.text for name in names(text)]

    assert found("Who is the CEO of Acme?") == ["Acme"]
    assert found("Tell me where the University of Upper Lund stands") == ["University of Upper Lund"]
    assert found("Acme's President met Jan van der Berg, of Lund & Sons, on Monday") == [
        "Acme",
        "Jan van der Berg",
        "Lund & Sons",
    ]
    assert found("my iPhone 5 and the 2005 Beach Cup") == ["iPhone 5", "2005 Beach Cup"]
    assert found("Is it what I want?") == []
    assert found("") == []


def test_what_a_verifier_reads_of_an_edit() -> None:
    assert edit_text(edit(1, "The CEO of Acme is Dana Li")) == "The CEO of Acme is Dana Li"
    many = edit(1, "Acme is big", aliases=tuple("abcdefg"))
    assert edit_text(many) == "Acme is big | also: a | also: b | also: c | also: d | also: e"


TURNS = st.lists(
    st.tuples(
        st.sampled_from(["user", "assistant", "system", "tool"]),
        st.one_of(st.text(max_size=80), st.sampled_from([*ALONE, *(text for text, _ in LONG)])),
    ),
    max_size=6,
)


@given(TURNS)
def test_at_most_four_texts_that_are_never_blank(turns: list[tuple[str, str]]) -> None:
    messages = [Message(role, text) for role, text in turns]  # type: ignore[arg-type]
    found = asked(messages)
    assert len(found) <= MOST_TEXTS
    assert len(set(found)) == len(found)
    assert all(text.strip() for text in found)
    last = next((message.content for message in reversed(messages) if message.role == "user"), "")
    assert bool(found) == bool(last.strip())


def test_a_long_document_takes_no_long_time() -> None:
    from time import process_time

    document = "Dana Li runs Acme in St. Ives, e.g. with Mr. Bell. " * 5000 + "What is the capital of France?"
    began = process_time()
    assert asked([Message("user", document)]) == ("What is the capital of France?",)
    assert asked([Message("user", "a. " * 50_000)])
    assert asked([Message("user", "( " * 50_000 + "\n" * 50_000)])
    assert process_time() - began < 5
