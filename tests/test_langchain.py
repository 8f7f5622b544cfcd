"""memedit inside LangChain: the same gate in a chain, a chat model, an agent, a retriever and tools."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import Named
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel, FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.integration_tests import RetrieversIntegrationTests, ToolsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests, ToolsUnitTests
from pydantic import BaseModel, Field

from memedit import EditMemory, Editor
from memedit.answerers import HandBack
from memedit.answerers.verbatim import Verbatim
from memedit.errors import InputError
from memedit.integrations.langchain import (
    ANSWER,
    EVENT,
    BaseModelChat,
    EditRetriever,
    MemEditChatModel,
    MemEditMiddleware,
    confirm_by_interrupt,
    memory_tools,
    with_edits,
)
from memedit.models.scripted import Scripted

IN, OUT = "Who runs Acme?", "How high is the moon?"


class Obeying(BaseChatModel):
    """Answers what a system message tells it, streams word by word, calls a tool if asked to, and records its calls."""

    seen: list[Any] = Field(default_factory=list)
    model_name: str = "obeying-1"

    @property
    def _llm_type(self) -> str:
        return "obeying"

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        kwargs.pop("ls_structured_output_format", None)
        return self.bind(tools=[convert_to_openai_tool(each) for each in tools], tool_choice=tool_choice, **kwargs)

    def _reply(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        self.seen.append((messages, kwargs))
        if kwargs.get("tools") and not isinstance(messages[-1], ToolMessage):
            name = kwargs["tools"][0]["function"]["name"]
            call = {"name": name, "args": {"name": "Dana Li"}, "id": "call-1"}
            return AIMessage("", tool_calls=[call])  # type: ignore[list-item]
        told = any("Dana Li" in str(m.content) for m in messages if isinstance(m, SystemMessage))
        return AIMessage("Dana Li runs it" if told else "I do not know")

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages, {"stop": stop, **kwargs}))])

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        reply = self._reply(messages, {"stop": stop, **kwargs})
        if reply.tool_calls:
            yield ChatGenerationChunk(message=AIMessageChunk("", tool_calls=reply.tool_calls))
            return
        for word in str(reply.content).split():
            yield ChatGenerationChunk(message=AIMessageChunk(f"{word} "))


class Seen(BaseCallbackHandler):
    """Records decisions and accounts of answers, and tokens as they are reported."""

    def __init__(self) -> None:
        self.decisions: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.tokens: list[Any] = []

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        if name == EVENT:
            self.decisions.append(data)
        if name == ANSWER:
            self.answers.append(data)

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        if token:
            self.tokens.append(token)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as opened:
        opened.add("The CEO of Acme is Dana Li", subject="Acme", relation="ceo", target="Dana Li")
        opened.add("The CEO of Beta is Dana Li", subject="Beta", target="Dana Li", namespace="tenant")
        yield opened


@pytest.fixture
def llm() -> Obeying:
    return Obeying(seen=[])


@pytest.fixture
def editor(memory: EditMemory, llm: Obeying) -> Editor:
    return Editor(memory, llm, scope=Named())


# --------------------------------------------------------------------------------------------------------- with_edits


def test_in_a_chain_in_and_out_of_scope(editor: Editor, llm: Obeying) -> None:
    prompt = ChatPromptTemplate([("system", "Be brief."), ("human", "{question}")])
    chain = prompt | editor.wrap(llm) | StrOutputParser()
    assert chain.invoke({"question": IN}) == "Dana Li runs it"
    assert chain.invoke({"question": OUT}) == "I do not know"
    assert list(chain.stream({"question": IN})) == ["Dana ", "Li ", "runs ", "it ", ""]
    assert list(chain.stream({"question": OUT})) == ["I ", "do ", "not ", "know ", ""]
    assert chain.batch([{"question": IN}, {"question": OUT}]) == ["Dana Li runs it", "I do not know"]
    told = llm.seen[0][0]
    assert [type(message) for message in told] == [SystemMessage, HumanMessage]
    assert str(told[0].content).startswith("Be brief.\n\n")


async def test_in_a_chain_asynchronously(editor: Editor, llm: Obeying) -> None:
    chain = ChatPromptTemplate([("human", "{question}")]) | editor.wrap(llm) | StrOutputParser()
    assert await chain.ainvoke({"question": IN}) == "Dana Li runs it"
    assert await chain.ainvoke({"question": OUT}) == "I do not know"
    assert [piece async for piece in chain.astream({"question": IN})] == ["Dana ", "Li ", "runs ", "it ", ""]
    assert await chain.abatch([{"question": IN}, {"question": OUT}]) == ["Dana Li runs it", "I do not know"]


@pytest.mark.parametrize("given", [OUT, [HumanMessage(OUT)], [("user", OUT)], ChatPromptTemplate([OUT]).invoke({})])
async def test_out_of_scope_the_very_same_input_goes_on(editor: Editor, given: Any) -> None:
    got: list[Any] = []
    wrapped = with_edits(RunnableLambda(lambda received: got.append(received) or "mine"), editor)
    assert wrapped.invoke(given) == "mine"
    assert list(wrapped.stream(given)) == ["mine"]
    assert await wrapped.ainvoke(given) == "mine"
    assert [piece async for piece in wrapped.astream(given)] == ["mine"]
    assert len(got) == 4
    assert all(received is given for received in got)


@pytest.mark.parametrize("given", [IN, [HumanMessage(IN)], [{"role": "user", "content": IN}]])
def test_in_scope_from_any_form_of_input(editor: Editor, llm: Obeying, given: Any) -> None:
    assert editor.wrap(llm).invoke(given).content == "Dana Li runs it"


def test_the_callers_messages_stay_the_callers(editor: Editor, llm: Obeying) -> None:
    picture = HumanMessage([{"type": "text", "text": IN}, {"type": "image", "url": "http://x/y.png"}], id="m1")
    own = SystemMessage([{"type": "text", "text": "Be brief."}])
    called = AIMessage("", tool_calls=[{"name": "t", "args": {}, "id": "1"}])
    result = ToolMessage("done", tool_call_id="1")
    with_edits(RunnableLambda(lambda got: llm.seen.append(got)), editor).invoke([own, picture, called, result])
    told = llm.seen[0]
    assert told[1] is picture
    assert told[2] is called
    assert told[3] is result
    assert told[0].content[0] == {"type": "text", "text": "Be brief."}
    assert "Dana Li" in told[0].content[1]["text"]
    assert own.content == [{"type": "text", "text": "Be brief."}]


def test_parameters_and_bound_tools_pass_through(editor: Editor, llm: Obeying) -> None:
    @tool
    def greet(name: str) -> str:
        """Greet somebody."""
        return f"hello {name}"

    wrapped = editor.wrap(llm).bind_tools([greet], tool_choice="any")
    reply = wrapped.invoke(OUT, stop=["x"], temperature=0.2)
    assert reply.tool_calls[0]["name"] == "greet"
    parameters = llm.seen[0][1]
    assert parameters["stop"] == ["x"]
    assert parameters["temperature"] == 0.2
    assert parameters["tool_choice"] == "any"
    structured = editor.wrap(llm).with_structured_output({"title": "Person", "description": "who", "type": "object"})
    assert structured.invoke(IN) == {"name": "Dana Li"}


def test_callbacks_see_the_decision_and_the_namespace_is_the_calls(editor: Editor, llm: Obeying) -> None:
    seen = Seen()
    wrapped = editor.wrap(llm)
    assert wrapped.invoke(IN, {"callbacks": [seen]}).content == "Dana Li runs it"
    assert wrapped.invoke("Who runs Beta?", {"callbacks": [seen]}).content == "I do not know"
    tenant: Any = {"callbacks": [seen], "configurable": {"memedit_namespace": "tenant"}}
    assert wrapped.invoke("Who runs Beta?", tenant).content == "Dana Li runs it"
    assert [decision["in_scope"] for decision in seen.decisions] == [True, False, True]
    assert seen.decisions[0]["edits"][0]["statement"] == "The CEO of Acme is Dana Li"
    with pytest.raises(InputError, match="must be a string"):
        wrapped.invoke(IN, {"configurable": {"memedit_namespace": 7}})


async def test_events_show_the_tokens_and_the_decision(editor: Editor, llm: Obeying) -> None:
    events = [event async for event in editor.wrap(llm).astream_events(IN, version="v2")]
    kinds = [event["event"] for event in events]
    assert kinds.count("on_chat_model_stream") >= 4
    decision = next(event for event in events if event["event"] == "on_custom_event")
    assert decision["name"] == EVENT
    assert decision["data"]["in_scope"]


def test_inputs_that_cannot_be_read(editor: Editor, llm: Obeying) -> None:
    with pytest.raises(InputError, match="prompt \\| with_edits"):
        editor.wrap(llm).invoke({"question": IN})
    with pytest.raises(InputError, match="scope already"):
        with_edits(llm, editor, scope="similarity")


def test_memedits_own_models_and_completion_models(memory: EditMemory) -> None:
    scripted = Scripted(lambda messages, **_: str(len(messages)))
    wrapped = with_edits(scripted, memory, scope=Named())
    assert wrapped.invoke(IN).content == "2"
    assert wrapped.invoke(OUT).content == "1"
    assert isinstance(wrapped.inner, BaseModelChat)
    given: list[str] = []

    class Completing(FakeListLLM):
        def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
            given.append(prompt)
            return super()._call(prompt, *args, **kwargs)

    completing = with_edits(Completing(responses=["a", "b"]), memory, scope=Named())
    assert completing.invoke("The CEO of Acme is") == "a"
    *examples, asked = given[0].split("\n\n")
    assert asked == "New fact: The CEO of Acme is Dana Li.\nThe CEO of Acme is"
    assert len(examples) == 8  # a model that only completes is shown how a fact is used


class Twofold:
    """An answerer that does more than prompt: it asks the model twice."""

    name = "twofold"

    def stream(self, messages: Any, decision: Any, model: Any, memory: Any, trace: Any, **given: Any) -> Iterator[str]:
        for _ in range(2):
            yield from model.stream(messages, **given)

    async def astream(
        self, messages: Any, decision: Any, model: Any, memory: Any, trace: Any, **given: Any
    ) -> AsyncIterator[str]:
        for _ in range(2):
            async for piece in model.astream(messages, **given):
                yield piece


async def test_an_answerer_that_does_more_than_prompt(memory: EditMemory, llm: Obeying) -> None:
    editor = Editor(memory, llm, scope=Named(), answerer=Twofold())
    pieces = ["I ", "do ", "not ", "know "] * 2
    assert [chunk.content for chunk in editor.wrap(llm).stream(IN) if chunk.content] == pieces
    assert [chunk.content async for chunk in editor.wrap(llm).astream(IN) if chunk.content] == pieces
    model = MemEditChatModel(editor=editor, llm=llm)
    assert [chunk.content for chunk in model.stream(IN) if chunk.content] == pieces
    assert (await model.ainvoke(IN)).content == "".join(pieces)
    agent = create_agent(llm, [], middleware=[MemEditMiddleware(editor)])
    assert agent.invoke({"messages": [HumanMessage(IN)]})["messages"][-1].content == "".join(pieces)


# ------------------------------------------------------------------------------- an answerer in the model's place


class Person(BaseModel):
    """A person."""

    name: str


class Loud(StrOutputParser):
    """A parser of text that shows that it ran."""

    def parse(self, text: str) -> str:
        return text.upper()


@pytest.fixture
def verbatim(memory: EditMemory, llm: Obeying) -> Editor:
    """Its answerer makes the reply itself, and asks no model."""
    return Editor(memory, llm, scope=Named(), answerer=Verbatim(source=False))


async def every_way(runnable: Runnable[Any, Any], question: str, config: Any = None) -> list[Any]:
    """What comes of invoke, ainvoke, stream, astream (each joined), batch and abatch."""
    pieces = list(runnable.stream(question, config))
    apieces = [piece async for piece in runnable.astream(question, config)]
    joined = [functools.reduce(lambda a, b: a + b, some) for some in (pieces, apieces)]
    single = [runnable.invoke(question, config), await runnable.ainvoke(question, config)]
    many = [*runnable.batch([question], config), *await runnable.abatch([question], config)]
    return [*single, *joined, *many]


async def test_a_parser_behind_the_model_still_runs(verbatim: Editor, llm: Obeying) -> None:
    around = [
        llm | Loud(),
        (llm | Loud()).with_config(tags=["x"]),
        llm.bind(stop=["x"]) | Loud(),
        llm.with_retry() | Loud(),
        llm.with_fallbacks([llm]) | Loud(),
        RunnableLambda(lambda given: given) | llm | Loud(),
    ]
    for chain in around:
        edited = with_edits(chain, verbatim)
        assert await every_way(edited, IN) == ["DANA LI"] * 6
        assert edited.invoke(OUT) == "I DO NOT KNOW"
    assert all(not any("Dana Li" in str(m.content) for m in messages) for messages, _ in llm.seen)  # none was asked
    length = with_edits(llm | RunnableLambda(lambda message: len(message.content)), verbatim)
    assert length.invoke(IN) == len("Dana Li")


async def test_a_model_that_completes_text_gives_text(verbatim: Editor) -> None:
    edited = with_edits(FakeListLLM(responses=["mine"]), verbatim)
    assert await every_way(edited, IN) == ["Dana Li"] * 6
    assert edited.invoke(OUT) == "mine"
    assert with_edits(FakeListLLM(responses=["mine"]) | Loud(), verbatim).invoke(IN) == "DANA LI"


async def test_structured_output_is_of_its_schema_whoever_answers(verbatim: Editor, llm: Obeying) -> None:
    plain = with_edits(llm, verbatim).with_structured_output(Person)
    inside = with_edits(llm.with_structured_output(Person), verbatim)
    model = MemEditChatModel(editor=verbatim, llm=llm).with_structured_output(Person)
    for structured in (plain, inside, model):
        assert structured.invoke(IN) == Person(name="Dana Li")
        assert await structured.ainvoke(IN) == Person(name="Dana Li")
        assert list(structured.stream(IN))[-1] == Person(name="Dana Li")
    raw: Any = with_edits(llm, verbatim).with_structured_output(Person, include_raw=True).invoke(IN)
    assert raw["parsed"] == Person(name="Dana Li")
    for messages, _ in llm.seen:  # the answerer's reply is before the model as a known answer
        assert "<answer>\nDana Li\n</answer>" in str(messages[0].content)
        assert messages[1].content == IN


def test_what_is_no_plain_chain_gets_the_reply_as_a_known_answer(verbatim: Editor) -> None:
    got: list[Any] = []
    function = with_edits(RunnableLambda(lambda given: got.append(given) or 7), verbatim)
    assert function.invoke(IN) == 7
    assert "<answer>\nDana Li\n</answer>" in got[0][0].content
    json_text = GenericFakeChatModel(messages=iter([AIMessage('{"name": "Dana Li"}')]))
    assert with_edits(json_text | JsonOutputParser(), verbatim).invoke(IN) == {"name": "Dana Li"}


def test_an_answerer_asks_in_plain_words_where_a_form_is_due(memory: EditMemory, llm: Obeying) -> None:
    editor = Editor(memory, llm, scope=Named(), answerer=Twofold())
    model = MemEditChatModel(editor=editor, llm=llm).with_structured_output(Person)
    for structured in (editor.wrap(llm).with_structured_output(Person), model):  # type: ignore[attr-defined]
        llm.seen.clear()
        assert structured.invoke(IN) == Person(name="Dana Li")
        asked = [bool(parameters.get("tools")) for _, parameters in llm.seen]
        assert asked == [False, False, True]
        assert "I do not know I do not know" in str(llm.seen[-1][0][0].content)


def test_an_agent_with_a_response_format(verbatim: Editor, llm: Obeying) -> None:
    agent = create_agent(llm, [], middleware=[MemEditMiddleware(verbatim)], response_format=ToolStrategy(Person))
    state = agent.invoke({"messages": [HumanMessage(IN)]})
    assert state["structured_response"] == Person(name="Dana Li")
    assert len(llm.seen) == 1
    assert "<answer>\nDana Li\n</answer>" in str(llm.seen[0][0][0].content)


def test_an_empty_reply_is_a_reply(memory: EditMemory, llm: Obeying) -> None:
    editor = Editor(memory, llm, scope=Named(), answerer=Silent())
    assert "".join(str(piece.content) for piece in editor.wrap(llm).stream(IN)) == ""
    assert list(with_edits(FakeListLLM(responses=["mine"]), editor).stream(IN)) == [""]
    structured = editor.wrap(llm).with_structured_output(Person)  # type: ignore[attr-defined]
    assert structured.invoke(IN) == Person(name="Dana Li")  # as the model answers by itself
    assert [type(message) for message in llm.seen[-1][0]] == [HumanMessage]


class Silent:
    """An answerer that says nothing."""

    name = "silent"

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[str]:
        return iter(())

    async def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[str]:
        for nothing in ():
            yield nothing


class Stepping(Twofold):
    """An answerer that says in a step which edit it used, although none is in scope by itself."""

    name = "stepping"
    wants = frozenset({"none"})

    def __init__(self, id_: str) -> None:
        self.id = id_

    def stream(self, messages: Any, decision: Any, model: Any, memory: Any, trace: Any, **given: Any) -> Iterator[str]:
        if "moon" not in decision.query:
            raise HandBack("it is not about the moon")
        yield "so "
        trace.append({"step": "hop", "edits": [self.id]})  # known only once it is on its way
        yield "high"

    async def astream(
        self, messages: Any, decision: Any, model: Any, memory: Any, trace: Any, **given: Any
    ) -> AsyncIterator[str]:
        for piece in self.stream(messages, decision, model, memory, trace, **given):
            yield piece


def marks_of(outputs: list[Any]) -> list[Any]:
    return [output.response_metadata.get("memedit") for output in outputs]


async def test_what_an_answerer_used_is_told_when_its_reply_is_through(memory: EditMemory, llm: Obeying) -> None:
    id_ = memory.list()[0].id
    editor = Editor(memory, llm, scope=Named(), answerer=Stepping(id_))
    for runnable in (editor.wrap(llm), MemEditChatModel(editor=editor, llm=llm)):
        seen = Seen()
        outputs = await every_way(runnable, OUT, {"callbacks": [seen]})
        assert [output.content for output in outputs] == ["so high"] * 6
        assert len(seen.decisions) == len(seen.answers) == 6
        for told in (*seen.answers, *marks_of(outputs)):
            assert told["answerer"] == "stepping"
            assert [edit["id"] for edit in told["edits"]] == [id_]
            assert told["edits"][0]["statement"] == "The CEO of Acme is Dana Li"
            assert told["steps"] == [{"step": "hop", "edits": [id_]}]
            assert told["in_scope"]
        assert not any(decision["in_scope"] for decision in seen.decisions)
        seen = Seen()
        handed_back = await every_way(runnable, IN, {"callbacks": [seen]})
        assert marks_of(handed_back) == [None] * 6
        assert [told["edits"] for told in seen.answers] == [[]] * 6
        assert seen.answers[0]["steps"][-1]["reason"] == "it is not about the moon"
    text = (llm | StrOutputParser()).with_config(run_name="text")
    seen = Seen()
    assert await every_way(with_edits(text, editor), OUT, {"callbacks": [seen]}) == ["so high"] * 6
    assert [edit["id"] for told in seen.answers for edit in told["edits"]] == [id_] * 6


async def test_what_a_prompter_used_is_told(editor: Editor, llm: Obeying) -> None:
    for runnable in (editor.wrap(llm), MemEditChatModel(editor=editor, llm=llm)):
        seen = Seen()
        outputs = await every_way(runnable, IN, {"callbacks": [seen]})
        for told in (*seen.answers, *marks_of(outputs)):
            assert told["answerer"] == "ike"
            assert [edit["statement"] for edit in told["edits"]] == ["The CEO of Acme is Dana Li"]
        assert len(seen.answers) == 6
        seen = Seen()
        assert marks_of(await every_way(runnable, OUT, {"callbacks": [seen]})) == [None] * 6
        assert seen.answers == []  # nobody was asked


async def test_an_agent_tells_what_was_used(memory: EditMemory, llm: Obeying) -> None:
    id_ = memory.list()[0].id
    for answerer, question, name in (("auto", IN, "ike"), (Stepping(id_), OUT, "stepping")):
        middleware = MemEditMiddleware(memory, scope=Named(), answerer=answerer)
        if name == "stepping":  # with nothing in scope an agent asks patches alone
            memory.add("If the user asks about the moon, then be brief", kind="patch")
        agent = create_agent(llm, [], middleware=[middleware])
        seen = Seen()
        config: Any = {"callbacks": [seen]}
        states = [
            agent.invoke({"messages": [HumanMessage(question)]}, config),
            await agent.ainvoke({"messages": [HumanMessage(question)]}, config),
        ]
        for told in (*seen.answers, *marks_of([state["messages"][-1] for state in states])):
            assert told["answerer"] == name
            assert [edit["id"] for edit in told["edits"]] == [id_]
        assert len(seen.answers) == 2


def test_a_cache_of_langchains_keeps_no_answer(verbatim: Editor, llm: Obeying, memory: EditMemory) -> None:
    from langchain_core.caches import InMemoryCache
    from langchain_core.globals import get_llm_cache, set_llm_cache

    before = get_llm_cache()
    set_llm_cache(InMemoryCache())
    try:
        assert with_edits(llm, verbatim).invoke(IN).content == "Dana Li"
        memory.replace(memory.list()[0].id, "The CEO of Acme is Eve Wu", subject="Acme", target="Eve Wu")
        assert with_edits(llm, verbatim).invoke(IN).content == "Eve Wu"
    finally:
        set_llm_cache(before)


# --------------------------------------------------------------------------------------------------------- chat model


@pytest.fixture(params=[True, False], ids=["in", "out"])
def asked(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    return (IN, ["Dana ", "Li ", "runs ", "it "]) if request.param else (OUT, ["I ", "do ", "not ", "know "])


async def test_chat_model_every_way(editor: Editor, llm: Obeying, asked: tuple[str, list[str]]) -> None:
    question, pieces = asked
    model = MemEditChatModel(editor=editor, llm=llm)
    seen = Seen()
    config: Any = {"callbacks": [seen]}
    assert str(model.invoke(question, config).content).split() == "".join(pieces).split()
    assert [c.content for c in model.stream(question, config) if c.content] == pieces
    assert seen.tokens == pieces  # once, although there is a model in a model
    assert str((await model.ainvoke(question, config)).content).split() == "".join(pieces).split()
    assert [c.content async for c in model.astream(question, config) if c.content] == pieces
    assert [str(r.content).split() for r in model.batch([question] * 2, config)] == ["".join(pieces).split()] * 2
    assert [decision["in_scope"] for decision in seen.decisions] == [question == IN] * 6
    mark = model.invoke(question).response_metadata.get("memedit")
    assert bool(mark) == (question == IN)


async def test_chat_model_namespace_and_events(editor: Editor, llm: Obeying) -> None:
    model = MemEditChatModel(editor=editor, llm=llm)
    tenant: Any = {"configurable": {"memedit_namespace": "tenant"}}
    question = "Who runs Beta?"
    assert model.invoke(question).content == "I do not know"
    assert model.invoke(question, tenant).content == "Dana Li runs it"
    assert "".join(str(c.content) for c in model.stream(question, tenant)) == "Dana Li runs it "
    assert (await model.ainvoke(question, tenant)).content == "Dana Li runs it"
    chain = RunnableLambda(lambda text: text) | model
    assert chain.invoke(question, tenant).content == "Dana Li runs it"
    events = [event async for event in chain.astream_events(question, tenant, version="v2")]
    decisions = [event for event in events if event["event"] == "on_custom_event" and event["name"] == EVENT]
    assert [event["data"]["in_scope"] for event in decisions] == [True]
    events = [event async for event in model.astream_events(question, tenant, version="v2")]
    assert any(event["event"] == "on_custom_event" and event["data"]["in_scope"] for event in events)
    assert model.bind(memedit_namespace="tenant").invoke(question).content == "Dana Li runs it"
    assert "memedit_namespace" not in llm.seen[-1][1]
    if hasattr(BaseChatModel, "stream_events"):  # langchain-core has it since 1.5 or so
        assert str(model.stream_events(question, tenant, version="v3").output.text) == "Dana Li runs it "


def test_chat_model_tools_structured_output_and_parameters(editor: Editor, llm: Obeying) -> None:
    model = MemEditChatModel(editor=editor, llm=llm, temperature=0.5, max_tokens=7)
    structured = model.with_structured_output({"title": "Person", "description": "who", "type": "object"})
    assert structured.invoke(IN) == {"name": "Dana Li"}
    messages, parameters = llm.seen[0]
    assert isinstance(messages[0], SystemMessage)
    assert parameters["temperature"] == 0.5
    assert parameters["max_tokens"] == 7
    assert model.model_name == "obeying-1"
    model.invoke(OUT, temperature=0.9)
    assert llm.seen[1][1]["temperature"] == 0.9


def test_chat_model_over_a_model_that_cannot_stream(memory: EditMemory) -> None:
    class Whole(Obeying):
        _stream = BaseChatModel._stream

    model = MemEditChatModel(editor=Editor(memory, Whole(), scope=Named()), llm=Whole())
    assert "".join(str(c.content) for c in model.stream(IN)) == "Dana Li runs it"


def test_chat_model_is_made_of_something(memory: EditMemory, editor: Editor) -> None:
    assert MemEditChatModel(editor=editor).llm is editor.model.runnable  # type: ignore[attr-defined]
    assert MemEditChatModel(memory=memory, llm=Scripted()).invoke(OUT).content == "…"
    for wrong in ({}, {"memory": memory}, {"memory": memory, "llm": RunnableLambda(len)}):
        with pytest.raises(ValueError, match=r"give|no chat model"):
            MemEditChatModel(**wrong)


class TestChatModelStandard(ChatModelUnitTests):
    @pytest.fixture(autouse=True)
    def _memory(self, tmp_path: Path) -> Iterator[None]:
        with EditMemory.open(tmp_path, encoder="letters", store="exact") as memory:
            self.editor = Editor(memory, Obeying(seen=[]), scope=Named())
            yield

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return MemEditChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"editor": self.editor, "llm": Obeying(seen=[])}


# --------------------------------------------------------------------------------------------------------- middleware


@tool
def phone_book(name: str) -> str:
    """The number of a person."""
    return "555"


async def test_agent_with_a_tool_loop_is_judged_once(memory: EditMemory, llm: Obeying) -> None:
    scope = Named()
    seen = Seen()
    agent = create_agent(llm, [phone_book], middleware=[MemEditMiddleware(memory, scope=scope)], system_prompt="Brief.")
    state = agent.invoke({"messages": [HumanMessage(IN)]}, {"callbacks": [seen]})
    assert state["messages"][-1].content == "Dana Li runs it"
    assert scope.asked == [IN]
    assert len(llm.seen) == 2  # before and after the tool, both told
    for messages, _ in llm.seen:
        assert str(messages[0].content).startswith("Brief.\n\n")
        assert "Dana Li" in messages[0].content
    assert state["memedit"]["in_scope"]
    assert [decision["in_scope"] for decision in seen.decisions] == [True]
    state = await agent.ainvoke({"messages": [HumanMessage(OUT)]})
    assert state["messages"][-1].content == "I do not know"
    assert not state["memedit"]["in_scope"]


async def test_agent_streams_token_by_token(memory: EditMemory, llm: Obeying) -> None:
    agent = create_agent(llm, [], middleware=[MemEditMiddleware(memory, scope=Named())])
    asked: Any = {"messages": [HumanMessage(IN)]}
    pieces = ["Dana ", "Li ", "runs ", "it "]
    assert [c.content for c, _ in agent.stream(asked, stream_mode="messages") if c.content] == pieces  # type: ignore[union-attr]
    chunks = [c async for c, _ in agent.astream(asked, stream_mode="messages")]
    assert [c.content for c in chunks if c.content] == pieces  # type: ignore[union-attr]
    tenant: Any = {"configurable": {"memedit_namespace": "tenant"}}
    state = await agent.ainvoke({"messages": [HumanMessage("Who runs Beta?")]}, tenant)
    assert state["messages"][-1].content == "Dana Li runs it"


def test_agent_out_of_scope_passes_the_very_same_request(memory: EditMemory) -> None:
    middleware = MemEditMiddleware(memory, scope=Named(), tools=memory_tools(memory))
    assert [each.name for each in middleware.tools] == ["look_up"]
    got: list[Any] = []

    request: Any = SimpleNamespace(state={"messages": [HumanMessage(OUT)], "memedit": {"edits": []}})
    middleware.wrap_model_call(request, lambda received: got.append(received))  # type: ignore[arg-type, return-value]
    assert got == [request]


def test_an_edit_removed_during_the_loop_is_gone(memory: EditMemory, llm: Obeying) -> None:
    @tool
    def phone_book(name: str) -> str:
        """The number of a person."""
        memory.remove(memory.list()[0].id)
        return "555"

    agent = create_agent(llm, [phone_book], middleware=[MemEditMiddleware(memory, scope=Named())])
    assert agent.invoke({"messages": [HumanMessage(IN)]})["messages"][-1].content == "I do not know"


# ------------------------------------------------------------------------------------------------ retriever and tools


class TestRetrieverStandard(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _memory(self, tmp_path: Path) -> Iterator[None]:
        with EditMemory.open(tmp_path, encoder="letters", store="exact") as self.memory:
            for n in range(5):
                self.memory.add(f"The harbour of Isle {n} is Port {n}")
            yield

    @property
    def retriever_constructor(self) -> type[EditRetriever]:
        return EditRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"memory": self.memory}

    @property
    def retriever_query_example(self) -> str:
        return "Which port has Isle 3?"


async def test_retriever(memory: EditMemory, editor: Editor) -> None:
    retriever = EditRetriever(memory=memory)
    (document,) = retriever.invoke(OUT)
    assert document.page_content == "The CEO of Acme is Dana Li"
    assert document.id == memory.list()[0].id
    assert document.metadata["subject"] == "Acme"
    tenant: Any = {"configurable": {"memedit_namespace": "tenant"}}
    assert retriever.invoke(OUT, tenant)[0].page_content == "The CEO of Beta is Dana Li"
    assert (await retriever.ainvoke(OUT, tenant))[0].page_content == "The CEO of Beta is Dana Li"
    with pytest.raises(ValueError, match="give a memory"):
        EditRetriever()
    gated = EditRetriever(editor=editor)
    assert gated.memory is memory
    assert gated.invoke(OUT) == []
    assert len(gated.invoke(IN)) == 1


class _LookUp:
    """Both of LangChain's suites for tools, each of which wants a class to itself."""

    @pytest.fixture(autouse=True)
    def _memory(self, tmp_path: Path) -> Iterator[None]:
        with EditMemory.open(tmp_path, encoder="letters", store="exact") as self.memory:
            yield

    @property
    def tool_constructor(self) -> BaseTool:
        return memory_tools(self.memory)[0]

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"question": IN}


class TestToolStandard(_LookUp, ToolsUnitTests):
    pass


class TestToolStandardIntegration(_LookUp, ToolsIntegrationTests):
    pass


def test_tools_write_only_when_confirmed(memory: EditMemory) -> None:
    assert [each.name for each in memory_tools(memory)] == ["look_up"]
    with pytest.raises(InputError, match="need confirm="):
        memory_tools(memory, write=True)
    asked: list[dict[str, Any]] = []
    replies = iter([False, True, False, True])

    def confirm(action: dict[str, Any]) -> bool:
        asked.append(action)
        return next(replies)

    look_up, remember, forget = memory_tools(memory, write=True, confirm=confirm, author="agent")
    statement = {"statement": "The CEO of Gamma is Eve"}
    assert "declined" in remember.invoke(statement)
    assert memory.count() == 1
    assert remember.invoke(statement).startswith("Remembered as e-")
    edit = memory.list()[0]
    assert (edit.statement, edit.author, edit.source) == ("The CEO of Gamma is Eve", "agent", "tool")
    assert edit.id in look_up.invoke({"question": "Gamma"})
    assert "declined" in forget.invoke({"id": edit.id})
    assert forget.invoke({"id": edit.id}) == "Forgot: The CEO of Gamma is Eve"
    assert memory.count() == 1
    assert [action["action"] for action in asked] == ["remember", "remember", "forget", "forget"]
    other = memory.list(namespace="tenant")[0]
    assert forget.invoke({"id": other.id}) == f"There is no fact {other.id}."
    assert "no fact" in forget.invoke({"id": "nonsense"})


def test_what_a_model_gives_amiss_is_told_to_it_before_anyone_is_asked(memory: EditMemory) -> None:
    asked: list[Any] = []
    tools = memory_tools(memory, write=True, confirm=lambda action: asked.append(action) or True)  # type: ignore[func-returns-value]
    look_up, remember, forget = tools
    assert "statement is empty" in remember.invoke({"statement": "  "})
    assert "at most 10,000" in remember.invoke({"statement": "x" * 20_000})
    gone = memory.add("The CEO of Gamma is Eve").id
    memory.remove(gone)
    assert forget.invoke({"id": gone}) == f"Nothing was forgotten: {gone} is removed already."
    assert asked == []
    assert memory.count() == 1
    with pytest.raises(InputError, match="must be a string"):  # the caller's own mistake
        remember.invoke({"statement": "x is y"}, {"configurable": {"memedit_namespace": 7}})

    calls = [{"name": "remember", "args": {"statement": ""}, "id": "1"}]

    class Calling(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    agent = create_agent(Calling(messages=iter([AIMessage("", tool_calls=calls), AIMessage("done")])), tools)  # type: ignore[arg-type]
    said = agent.invoke({"messages": [HumanMessage("Remember it")]})["messages"]
    assert "statement is empty" in said[-2].content
    assert said[-1].content == "done"
    assert isinstance(look_up.invoke({"question": ""}), str)


def test_one_that_goes_while_the_user_is_asked(memory: EditMemory) -> None:
    id_ = memory.list()[0].id
    forget = memory_tools(memory, write=True, confirm=lambda action: memory.remove(id_) is not None)[2]
    assert forget.invoke({"id": id_}).startswith("Nothing was forgotten: ")


def test_confirming_by_interrupting_the_graph(memory: EditMemory) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command

    calls = [{"name": "remember", "args": {"statement": "The CEO of Gamma is Eve"}, "id": "1"}]

    class Calling(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    replies = iter([AIMessage("", tool_calls=calls), AIMessage("done")])  # type: ignore[arg-type]
    tools = memory_tools(memory, write=True, confirm=confirm_by_interrupt)
    agent = create_agent(Calling(messages=replies), tools, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    state = agent.invoke({"messages": [HumanMessage("Remember it")]}, config)
    assert state["__interrupt__"][0].value["statement"] == "The CEO of Gamma is Eve"
    assert memory.count() == 1
    agent.invoke(Command(resume=True), config)
    assert memory.count() == 2
