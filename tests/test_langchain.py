"""memedit inside LangChain: the same gate in a chain, a chat model, an agent, a retriever and tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import Named
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel, FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.integration_tests import RetrieversIntegrationTests, ToolsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests, ToolsUnitTests
from pydantic import Field

from memedit import EditMemory, Editor
from memedit.errors import InputError
from memedit.integrations.langchain import (
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
    """Records decisions, and tokens as they are reported."""

    def __init__(self) -> None:
        self.decisions: list[dict[str, Any]] = []
        self.tokens: list[Any] = []

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        if name == EVENT:
            self.decisions.append(data)

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
    assert [event["data"]["in_scope"] for event in events if event["event"] == "on_custom_event"] == [True]
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
    gated = EditRetriever(memory=memory, editor=editor)
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
