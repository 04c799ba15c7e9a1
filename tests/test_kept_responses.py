"""Responses that are kept: asked for again, gone on with, forgotten; by the OpenAI SDK."""

import openai
import pytest
from asking import SAYING

from nitro.config import ServeConfig


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A server of which a model answers what it is told to, with a folder of its own."""
    from asking import TEMPLATE
    from running import RunningServer

    folder = tmp_path_factory.mktemp("state")
    (template := folder / "hermes.jinja").write_text(TEMPLATE)
    config = ServeConfig(engine=SAYING, port=0, chat_template=template, state=folder / "state", context=8192)
    with RunningServer(config) as server:
        yield server.ready()


def say(text: str) -> str:
    """A user's words on which the model says this."""
    return f"␂{text}␃"


def create(server, script: str = "Hi", **options):
    return server.client().responses.create(**{"model": "", "input": say(script), **options})


def events(server, **options) -> list:
    return list(create(server, stream=True, **options))


def missing(call, code: str | None = None, status: int = 404) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    assert (caught.value.status_code, caught.value.code) == (status, code), caught.value
    return caught.value


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_is_asked_for_again(kept, stream):
    client = kept.client()
    made = events(kept, metadata={"a": "b"})[-1].response if stream else create(kept, metadata={"a": "b"})
    assert made.status == "completed" and made.output_text == "Hi" and made.store is True
    again = client.responses.retrieve(made.id)
    assert again == made and again.metadata == {"a": "b"}
    listed = client.responses.input_items.list(made.id)
    assert [(item.role, item.content[0].text) for item in listed.data] == [("user", say("Hi"))]
    client.responses.delete(made.id)
    missing(lambda: client.responses.retrieve(made.id))
    missing(lambda: client.responses.delete(made.id))
    missing(lambda: create(kept, previous_response_id=made.id), "previous_response_not_found")


# Going on


def test_a_conversation_goes_on_from_a_response(kept):
    client = kept.client()
    first = create(kept, "One", instructions="Be brief.")
    second = create(kept, "Two", previous_response_id=first.id)
    third = create(kept, "Three", previous_response_id=second.id, max_output_tokens=2)
    assert (second.output_text, second.previous_response_id) == ("Two", first.id)
    assert (third.status, third.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    items = client.responses.input_items.list(third.id, order="asc").data
    texts = [(item.role, item.content[0].text) for item in items]
    assert texts == [
        ("user", say("One")),
        ("assistant", "One"),
        ("user", say("Two")),
        ("assistant", "Two"),
        ("user", say("Three")),
    ]


def test_what_went_on_is_read_by_the_model(kept):
    """The prompt has what was said before, without its instructions: it is as long as if the items were sent."""
    first = create(kept, "One", instructions="Be brief.")
    sent = [
        {"role": "user", "content": say("One")},
        {"role": "assistant", "content": "One"},
        {"role": "user", "content": say("Two")},
    ]
    whole = kept.client().responses.create(model="", input=sent, store=False)
    second = create(kept, "Two", previous_response_id=first.id)
    assert second.usage.input_tokens == whole.usage.input_tokens and second.output_text == whole.output_text


def test_one_response_goes_on_in_two_ways(kept):
    first = create(kept, "One")
    two, other = (create(kept, text, previous_response_id=first.id) for text in ("Two", "Other"))
    items = kept.client().responses.input_items
    assert [item.content[0].text for item in items.list(other.id, order="asc").data][:2] == [say("One"), "One"]
    assert len(items.list(two.id).data) == len(items.list(other.id).data) == 3


def test_calls_go_on(kept):
    """A call is kept, and its output alone answers it."""
    tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
    script = '<tool_call>{"name": "look", "arguments": {}}</tool_call>'
    first = create(kept, script, tools=[tool])
    (call,) = first.output
    assert call.type == "function_call"
    output = [{"type": "function_call_output", "call_id": call.call_id, "output": say("Seen")}]
    second = kept.client().responses.create(model="", input=output, previous_response_id=first.id, tools=[tool])
    assert second.output_text == "Seen"
    kinds = [item.type for item in kept.client().responses.input_items.list(second.id, order="asc").data]
    assert kinds == ["message", "function_call", "function_call_output"]


def test_items_are_named(kept):
    """An item_reference stands for the item of a response that was kept."""
    first = create(kept, "One")
    asked = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": say("Two")}]
    second = kept.client().responses.create(model="", input=asked)
    assert second.output_text == "Two"
    items = kept.client().responses.input_items.list(second.id, order="asc").data
    assert [item.content[0].text for item in items] == ["One", say("Two")]
    unknown = [{"type": "item_reference", "id": "msg_none"}]
    assert missing(lambda: kept.client().responses.create(model="", input=unknown)).param == "input[0].id"


def test_an_id_that_is_no_text(kept):
    """It is refused, whatever is to become of the item."""
    client = kept.client()
    for id in (5, ["msg"], True):
        item = [{"role": "user", "content": "Hi", "id": id}]
        for options in ({}, {"store": False}, {"background": True}, {"stream": True}):
            ask = lambda item=item, options=options: client.responses.create(model="", input=item, **options)  # noqa: E731
            assert missing(ask, "invalid_type", 400).param == "input[0].id"
        ask = lambda item=item: client.conversations.create(items=item)  # noqa: E731
        assert missing(ask, "invalid_type", 400).param == "items[0].id"


def test_items_come_in_pages(kept):
    client = kept.client()
    made = client.responses.create(model="", input=[{"role": "user", "content": f"{i}"} for i in range(5)])
    listing = client.responses.input_items
    assert [item.content[0].text for item in listing.list(made.id, limit=2)] == list("43210")  # page by page
    page = listing.list(made.id, limit=2, order="asc")
    assert page.has_more and [item.content[0].text for item in page.data] == ["0", "1"]
    assert page.first_id == page.data[0].id and page.last_id == page.data[1].id
    rest = listing.list(made.id, order="asc", after=page.last_id)
    assert not rest.has_more and [item.content[0].text for item in rest.data] == ["2", "3", "4"]
    before = listing.list(made.id, order="asc", extra_query={"before": page.last_id})
    assert [item.content[0].text for item in before.data] == ["0"]
    for query, param in (
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "msg_none"}, "after"),
        ({"include": ["everything"]}, "include"),
    ):
        error = missing(lambda query=query: listing.list(made.id, extra_query=query), "invalid_value", 400)
        assert error.param == param
    assert listing.list(made.id, include=["message.output_text.logprobs"]).data


# What is not kept


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_stored_is_gone(kept, stream):
    options = {"store": False, "stream": stream}
    made = list(create(kept, **options))[-1].response if stream else create(kept, **options)
    assert made.store is False and made.output_text == "Hi"
    missing(lambda: kept.client().responses.retrieve(made.id))
    missing(lambda: create(kept, previous_response_id=made.id), "previous_response_not_found")


def test_a_response_whose_client_leaves_is_cancelled(serve, gate, tmp_path):
    server = serve(engine="runners:GatedRunner", model=gate.path, state=tmp_path)
    gate.accept()
    stream = create(server, stream=True)
    id = next(iter(stream)).response.id
    assert server.client().responses.retrieve(id).status == "in_progress"
    error = missing(lambda: create(server, previous_response_id=id), "invalid_value", 400)
    assert "has not ended" in str(error) and error.param == "previous_response_id"
    stream.close()
    while "client=left" not in server.log_line():
        pass
    gate.open()
    assert server.client().responses.retrieve(id).status == "cancelled"
    error = missing(lambda: create(server, previous_response_id=id), "invalid_value", 400)
    assert "is cancelled" in str(error)


def test_an_engine_that_dies_is_told_and_kept(serve, tmp_path):
    server = serve(engine="runners:FaultyRunner", state=tmp_path).ready()
    *_, last = server.client().responses.create(model="", input="!step", stream=True)
    assert last.type == "response.failed" and "made-up fault" in last.response.error.message
    again = server.client().responses.retrieve(last.response.id)
    assert again.status == "failed" and again.error.message == last.response.error.message
    missing(lambda: server.client().responses.create(model="", input="!step"), None, 500)


def test_a_server_that_keeps_nothing(serve):
    server = serve(no_state=True).ready()
    made = server.client().responses.create(model="", input="Hi")
    assert made.status == "completed" and made.store is False
    assert missing(lambda: server.client().responses.retrieve(made.id)).message
    missing(lambda: create(server, previous_response_id=made.id), "previous_response_not_found")
    missing(lambda: create(server, conversation="conv_1"))
    for name in ("store", "background"):
        error = missing(lambda name=name: create(server, **{name: True}), "unsupported_parameter", 400)
        assert error.param == name and "--no-state" in str(error)


def test_requests_that_contradict_themselves(kept):
    for options, param in (
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "previous_response_id"),
        ({"background": True, "store": False}, "store"),
        ({"conversation": "conv_1", "store": False}, "store"),
        ({"conversation": 3}, "conversation"),
        ({"conversation": {"name": "x"}}, "conversation"),
        ({"previous_response_id": 3}, "previous_response_id"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"metadata": {"x" * 65: "x"}}, None),
        ({"metadata": {"x": "x" * 513}}, "metadata.x"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            create(kept, **options)
        assert param in (None, caught.value.param), (options, caught.value)
    assert create(kept, metadata={f"{i:02}" + "k" * 62: "v" * 512 for i in range(16)}).status == "completed"


# Conversations


def test_a_conversation_gets_what_its_responses_say(kept):
    client = kept.client()
    start = [{"type": "message", "role": "user", "content": "Hello"}]
    talk = client.conversations.create(metadata={"topic": "x"}, items=start)
    first = create(kept, "One", conversation=talk.id)
    assert first.conversation.id == talk.id
    second = events(kept, conversation={"id": talk.id})[-1].response
    items = client.conversations.items.list(talk.id, order="asc")
    texts = [(item.role, item.content[0].text) for item in items]
    said = [("user", "Hello"), ("user", say("One")), ("assistant", "One"), ("user", say("Hi")), ("assistant", "Hi")]
    assert texts == said
    assert [item.content[0].text for item in client.responses.input_items.list(second.id, order="asc").data] == [
        say("Hi")
    ]
    assert client.conversations.retrieve(talk.id) == talk and talk.metadata == {"topic": "x"}
    client.conversations.delete(talk.id)
    missing(lambda: client.conversations.retrieve(talk.id))
    missing(lambda: client.conversations.items.list(talk.id))
    gone = missing(lambda: create(kept, conversation=talk.id))
    assert gone.param == "conversation" and f"Conversation with id '{talk.id}'" in str(gone)
    assert "Conversation with id 'x'" in str(missing(lambda: create(kept, conversation="x")))
    assert client.responses.retrieve(first.id).output_text == "One"


def test_items_of_a_conversation(kept):
    client = kept.client()
    talk = client.conversations.create()
    assert client.conversations.update(talk.id, metadata={"a": "b"}).metadata == {"a": "b"}
    items = [{"role": "user", "content": f"{i}"} for i in range(3)]
    items.append({"type": "function_call_output", "call_id": "call_1", "output": "x"})
    added = client.conversations.items.create(talk.id, items=items)
    assert len({item.id for item in added.data}) == 4 and added.first_id == added.data[0].id
    second = added.data[1]
    assert client.conversations.items.retrieve(second.id, conversation_id=talk.id) == second
    assert client.conversations.items.delete(second.id, conversation_id=talk.id).id == talk.id
    left = client.conversations.items.list(talk.id, order="asc").data
    assert [item.id for item in left] == [added.data[i].id for i in (0, 2, 3)]
    missing(lambda: client.conversations.items.retrieve(second.id, conversation_id=talk.id))
    gone = missing(lambda: client.conversations.items.delete(second.id, conversation_id=talk.id))
    assert "Item with id" in str(gone)
    error = missing(lambda: create(kept, conversation=talk.id), None, 400)  # the output of no call
    assert error.param == "conversation[2].call_id"
    for items, param in (
        ([{"role": "user", "content": "x"}] * 21, "items"),
        ([{"role": "nobody", "content": "x"}], "items[0].role"),
        ([{"type": "no_such_item"}], "items[0].type"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.conversations.items.create(talk.id, items=items)
        assert caught.value.param == param
    missing(lambda: client.conversations.items.create(talk.id, items=[]), "missing_required_parameter", 400)
    missing(lambda: client.conversations.create(metadata={"x": 3}), "invalid_value", 400)
    missing(lambda: client.conversations.update("conv_none", metadata={}))
    empty = lambda: client.conversations.update(talk.id, metadata=openai.omit)  # noqa: E731
    missing(empty, "missing_required_parameter", 400)
    assert client.conversations.retrieve(talk.id).metadata == {"a": "b"}


def test_one_response_at_a_time_works_on_a_conversation(serve, gate, tmp_path):
    server = serve(engine="runners:GatedRunner", model=gate.path, state=tmp_path)
    gate.accept()
    client = server.client()
    talk = client.conversations.create()
    stream = iter(client.responses.create(model="", input="Hi", conversation=talk.id, stream=True))
    next(stream)
    locked = lambda: client.responses.create(model="", input="Hi", conversation=talk.id)  # noqa: E731
    assert missing(locked, "conversation_locked", 400).param == "conversation"
    add = lambda: client.conversations.items.create(talk.id, items=[{"role": "user", "content": "x"}])  # noqa: E731
    missing(add, "conversation_locked", 400)
    gate.open()
    assert list(stream)[-1].type == "response.completed"
    assert locked().status == "completed"
    assert len(client.conversations.items.list(talk.id).data) == 4


def test_paths_and_methods(kept):
    http = kept.client()._client
    for path, allow in (
        ("/v1/responses", "OPTIONS, POST"),
        ("/responses/resp_1", "DELETE, GET, HEAD, OPTIONS"),
        ("/v1/responses/resp_1/cancel", "OPTIONS, POST"),
        ("/v1/responses/resp_1/input_items", "GET, HEAD, OPTIONS"),
        ("/v1/conversations/conv_1/items/msg_1", "DELETE, GET, HEAD, OPTIONS"),
    ):
        wrong = http.put(f"{kept.url}{path}")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, allow), path
    made = create(kept)
    assert http.get(f"{kept.url}/responses/{made.id}").json()["id"] == made.id
    assert http.get(f"{kept.url}/v1/responses/{made.id}?stream=true").status_code == 400
    assert http.get(f"{kept.url}/v1/responses/{made.id}?starting_after=1").status_code == 400
    assert http.get(f"{kept.url}/v1/responses/{made.id}?stream=perhaps").status_code == 400
