"""LlamaIndex's `OpenAILike`: completions, chats, streams, tools, structured output; `OpenAILikeEmbedding`."""

import os

from llama_index.core import VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field
from steps import run, says, step

# what you change
llm = OpenAILike(
    api_base=os.environ["NITRO_URL"],
    api_key="none",
    model=os.environ["NITRO_MODEL"],
    is_chat_model=True,
    is_function_calling_model=True,
    # end of what you change
    context_window=2048,
    temperature=0,
    max_tokens=100,
)

CAPITAL = says("Paris.") + "The capital of France is"
CALL = says('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>')
MESSAGES = [ChatMessage(role="system", content="You answer in one word."), ChatMessage(role="user", content=CAPITAL)]


def get_weather(city: str) -> str:
    """The weather in a city."""
    return says(f"It is cold in {city}.")


class Person(BaseModel):
    """A person."""

    name: str = Field(pattern="^[A-Z][a-z]{1,10}$")
    age: int = Field(ge=0, le=120)


TOOL = FunctionTool.from_defaults(get_weather)


@step("`complete`, by chat", "scripted", "llama", "mlx")
def complete() -> None:
    assert "Paris" in llm.complete(CAPITAL).text


@step("`complete`, by text completions", "llama")
def complete_text() -> None:
    plain = llm.model_copy(update={"is_chat_model": False, "max_tokens": 8})
    assert "Paris" in plain.complete("The capital of France is").text
    assert "".join(each.delta for each in plain.stream_complete("The capital of France is")).strip()


@step("`chat`", "scripted", "llama")
def chat() -> None:
    assert "Paris" in llm.chat(MESSAGES).message.content


@step("`stream_chat` and `stream_complete`", "scripted", "llama")
def stream() -> None:
    parts = list(llm.stream_chat(MESSAGES))
    assert "".join(part.delta for part in parts) == parts[-1].message.content and "Paris" in parts[-1].message.content
    assert "Paris" in list(llm.stream_complete(CAPITAL))[-1].text


@step("`achat` and `astream_chat`", "scripted", "llama")
async def asynchronous() -> None:
    stream = await llm.astream_chat(MESSAGES)
    said = "".join([part.delta async for part in stream])
    assert "Paris" in said and "Paris" in (await llm.achat(MESSAGES)).message.content


@step("`chat_with_tools`: a call, its result, the answer", "scripted")
def tools() -> None:
    history = [ChatMessage(role="user", content=CALL + "What is the weather in Oslo?")]
    reply = llm.chat_with_tools([TOOL], chat_history=history)
    (call,) = llm.get_tool_calls_from_response(reply)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"city": "Oslo"})
    result = ChatMessage(role="tool", content=get_weather("Oslo"), additional_kwargs={"tool_call_id": call.tool_id})
    reply = llm.chat_with_tools([TOOL], chat_history=[*history, reply.message, result])
    assert reply.message.content == "It is cold in Oslo."


@step("`predict_and_call`", "scripted")
def predict_and_call() -> None:
    assert "It is cold in Oslo." in llm.predict_and_call([TOOL], CALL).response


@step("a tool that must be called", "scripted", "llama", "mlx")
def forced() -> None:
    reply = llm.chat_with_tools([TOOL], user_msg=CALL + "What is the weather in Oslo?", tool_required=True)
    (call,) = llm.get_tool_calls_from_response(reply)
    assert call.tool_name == "get_weather" and isinstance(call.tool_kwargs["city"], str)


@step("`as_structured_llm`", "scripted", "llama")
def structured() -> None:
    call = '<tool_call>\n{"name": "Person", "arguments": {"name": "Anna", "age": 30}}\n</tool_call>'
    reply = llm.as_structured_llm(Person).complete(says(call) + "Anna is 30 years old.")
    assert isinstance(reply.raw, Person)


TEXTS = ["A man is eating food.", "The stock market fell.", "Oslo is cold."]


def embedder() -> OpenAILikeEmbedding:
    url, model = os.environ["NITRO_URL"], os.environ["NITRO_MODEL"]
    return OpenAILikeEmbedding(api_base=url, api_key="none", model_name=model, embed_batch_size=2)


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@step("`OpenAILikeEmbedding`: a query, texts in batches", "llama")
def embeddings() -> None:
    query, texts = embedder().get_query_embedding(TEXTS[0]), embedder().get_text_embedding_batch(TEXTS)
    assert len(texts) == 3 and likeness(query, texts[0]) > 0.999 > likeness(query, texts[1])


@step("`OpenAILikeEmbedding`, asynchronously", "llama")
async def async_embeddings() -> None:
    texts = await embedder().aget_text_embedding_batch(TEXTS)
    assert likeness(texts[2], await embedder().aget_query_embedding(TEXTS[2])) > 0.999


@step("a `VectorStoreIndex`, and what it retrieves", "llama")
def index() -> None:
    nodes = [TextNode(text=text) for text in TEXTS]
    retriever = VectorStoreIndex(nodes, embed_model=embedder()).as_retriever(similarity_top_k=2)
    for text in TEXTS:
        first, second = retriever.retrieve(text)
        assert first.text == text and first.score > 0.999 > second.score


run()
