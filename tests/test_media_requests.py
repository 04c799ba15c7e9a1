"""Images and sounds in requests, over HTTP, on a model that has no weights: where they stand, and what is counted."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pictures import base64_of, flac, image_part, mp3, picture, sound, sound_part, uri
from running import CEILING, RunningServer

from nitro.config import ServeConfig

SEER = "nitro.engines.backends.fake:FakeSeer"
PNG, JPEG = picture(), picture((8, 8), "JPEG")
HERE = "<__media__>"


@pytest.fixture(scope="module")
def seeing() -> Iterator[RunningServer]:
    with RunningServer(ServeConfig(engine=SEER, port=0, no_state=True)) as server:
        yield server.ready()


def post(server: RunningServer, path: str, **body: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=CEILING)


def chat(server: RunningServer, *parts: Any, **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": list(parts)}], "max_tokens": 3, **more}
    reply = post(server, "/v1/chat/completions", **body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def prompt(server: RunningServer, *parts: Any) -> str:
    reply = post(server, "/apply-template", messages=[{"role": "user", "content": list(parts)}])
    assert reply.status_code == 200, reply.text
    return reply.json()["prompt"]


def tokens(data: bytes) -> int:
    """That the fake model makes of a file, with the marks around it."""
    return len(data) // 16 + 3


def test_an_image_is_counted_and_answered(seeing: RunningServer) -> None:
    reply = chat(seeing, {"type": "text", "text": "a"}, image_part(PNG), {"type": "text", "text": "b"})
    usage = reply["usage"]
    assert usage["prompt_tokens_details"]["image_tokens"] == tokens(PNG)
    assert usage["prompt_tokens"] == len("<user>ab<assistant>") + tokens(PNG)
    assert "audio_tokens" not in usage["prompt_tokens_details"]


def test_the_same_picture_is_found_in_the_cache(seeing: RunningServer) -> None:
    said = [image_part(picture((16, 16))), {"type": "text", "text": "what is that, once more?"}]
    chat(seeing, *said)
    usage = chat(seeing, *said)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1


def test_another_picture_is_not(seeing: RunningServer) -> None:
    chat(seeing, image_part(picture((16, 16), mode="L")), {"type": "text", "text": "look"})
    usage = chat(seeing, image_part(picture((16, 17), mode="L")), {"type": "text", "text": "look"})["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] <= len("<user>(")


def test_images_and_sounds_stand_among_texts_in_any_order(seeing: RunningServer) -> None:
    parts = ["a", image_part(PNG), sound_part(sound()), "b", "c", image_part(JPEG)]
    assert prompt(seeing, *parts) == f"<user>a{HERE}{HERE}bc{HERE}<assistant>"
    details = chat(seeing, *parts, "d")["usage"]["prompt_tokens_details"]
    assert details["image_tokens"] == tokens(PNG) + tokens(JPEG)
    assert details["audio_tokens"] == tokens(sound())


def test_a_users_own_placeholder_is_text(seeing: RunningServer) -> None:
    assert prompt(seeing, "<image>", image_part(PNG), "<audio>") == f"<user><image>{HERE}<audio><assistant>"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": uri(PNG)},
        {"type": "image_url", "image_url": {"url": base64_of(PNG), "detail": "auto"}},
        {"type": "image_url", "image_url": {"url": uri(PNG, "text/plain"), "detail": "high"}, "uuid": "a"},
        {"type": "input_image", "image_url": uri(PNG), "detail": "original"},
        {"type": "image", "image": base64_of(PNG)},
        {"image_url": {"url": uri(PNG)}},
    ],
)
def test_forms_of_an_image(seeing: RunningServer, part: dict[str, Any]) -> None:
    assert chat(seeing, part, "a")["usage"]["prompt_tokens_details"]["image_tokens"] == tokens(PNG)


@pytest.mark.parametrize("data", [sound(), mp3(), flac()])
@pytest.mark.parametrize(
    "form",
    [
        lambda data: sound_part(data, "mp3"),
        lambda data: {"type": "input_audio", "input_audio": {"url": uri(data, "audio/wav")}},
        lambda data: {"type": "audio_url", "audio_url": {"url": uri(data, "audio/mpeg")}},
        lambda data: {"type": "audio_url", "audio_url": base64_of(data)},
    ],
)
def test_forms_of_a_sound(seeing: RunningServer, data: bytes, form: Any) -> None:
    assert chat(seeing, form(data), "a")["usage"]["prompt_tokens_details"]["audio_tokens"] == tokens(data)


def test_media_in_a_tools_result_and_in_history(seeing: RunningServer) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": [image_part(PNG), "a"]},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": ["d", image_part(JPEG)]},
    ]
    reply = post(seeing, "/v1/chat/completions", messages=messages, max_tokens=2)
    assert reply.json()["usage"]["prompt_tokens_details"]["image_tokens"] == tokens(PNG) + tokens(JPEG)


def test_responses(seeing: RunningServer) -> None:
    content = [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": uri(PNG), "detail": "auto"}]
    items = [
        {"role": "user", "content": content},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": uri(JPEG)}]},
        {"role": "user", "content": "b"},
    ]
    reply = post(seeing, "/v1/responses", input=items, max_output_tokens=16)
    assert reply.status_code == 200, reply.text
    assert reply.json()["usage"]["input_tokens"] > tokens(PNG) + tokens(JPEG)


def test_messages(seeing: RunningServer) -> None:
    def image(data: bytes) -> dict[str, Any]:
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64_of(data)}}

    messages = [
        {"role": "user", "content": [image(PNG), {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [image(JPEG)]}]},
    ]
    body = {"messages": messages, "model": "m"}
    reply = post(seeing, "/v1/messages", max_tokens=2, **body)
    assert reply.status_code == 200, reply.text
    usage = reply.json()["usage"]
    counted = usage["input_tokens"] + usage["cache_read_input_tokens"]
    assert counted > tokens(PNG) + tokens(JPEG)
    assert post(seeing, "/v1/messages/count_tokens", **body).json()["input_tokens"] == counted


def test_a_prefix_that_ends_with_an_image_is_kept(seeing: RunningServer) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": base64_of(PNG)}
    image = {"type": "image", "source": source, "cache_control": {"type": "ephemeral"}}

    def usage(last: str) -> dict[str, Any]:
        content = [{"type": "text", "text": "kept" * 20}, image, {"type": "text", "text": last}]
        body = {"messages": [{"role": "user", "content": content}], "model": "m", "max_tokens": 2}
        return post(seeing, "/v1/messages", **body).json()["usage"]

    before, with_image = len("<user>" + "kept" * 20), tokens(PNG)
    assert before + with_image - 1 <= usage("one")["cache_creation_input_tokens"] <= before + with_image
    assert usage("two")["cache_read_input_tokens"] >= before + with_image - 1


def test_ollama(seeing: RunningServer) -> None:
    said = {"role": "user", "content": "a", "images": [base64_of(PNG), base64_of(JPEG)]}
    reply = post(seeing, "/api/chat", messages=[said], stream=False, options={"num_predict": 2})
    assert reply.json()["prompt_eval_count"] == len("<user>a<assistant>") + tokens(PNG) + tokens(JPEG)
    reply = post(seeing, "/api/generate", prompt="b", images=[base64_of(PNG)], stream=False)
    assert reply.json()["prompt_eval_count"] == len("<user>b<assistant>") + tokens(PNG)


def test_what_a_model_can_is_told(seeing: RunningServer, fake_server: RunningServer) -> None:
    for server, sees in ((seeing, True), (fake_server, False)):
        abilities = httpx.get(f"{server.url}/v1/models").json()["data"][0]["capabilities"]
        assert (abilities["vision"], abilities["audio"]) == (sees, sees)
    name = httpx.get(f"{seeing.url}/api/tags").json()["models"][0]["name"]
    assert {"vision", "audio"} <= set(post(seeing, "/api/show", model=name).json()["capabilities"])


@pytest.mark.parametrize(
    "path, body, param",
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [image_part(PNG)]}]}, ".content[0].type"),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "a"}]}]}, None),
        ("/api/chat", {"messages": [{"role": "user", "content": "a", "images": ["a"]}]}, "messages[0].images[0]"),
        ("/api/generate", {"prompt": "a", "images": ["a"]}, "images[0]"),
    ],
)
def test_a_model_that_does_not_see_refuses_by_name(
    fake_server: RunningServer, path: str, body: dict[str, Any], param: str | None
) -> None:
    reply = post(fake_server, path, **body)
    assert reply.status_code == 400
    assert "This model takes text only" in reply.text
    if path.startswith("/v1/chat"):
        assert reply.json()["error"]["param"] == f"messages[0]{param}"
        assert reply.json()["error"]["code"] == "unsupported_content"
    elif param:
        assert param in reply.text or "images" in reply.text


def test_what_the_engine_cannot_read_is_the_clients_fault(seeing: RunningServer) -> None:
    damaged = sound()[:44] + b"!unreadable" * 100
    reply = post(seeing, "/v1/chat/completions", messages=[{"role": "user", "content": ["a", sound_part(damaged)]}])
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "messages[0].content[1].input_audio")


def test_a_stream_and_several_answers(seeing: RunningServer) -> None:
    client = seeing.client()
    messages: Any = [{"role": "user", "content": [image_part(PNG), {"type": "text", "text": "a"}]}]
    whole = client.chat.completions.create(model="m", messages=messages, n=3, max_tokens=4)
    assert len({choice.message.content for choice in whole.choices}) == 1
    stream = client.chat.completions.create(model="m", messages=messages, stream=True, max_tokens=4)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert said == whole.choices[0].message.content
