"""A model that sees, served: from a request with a picture to its answer, on llama.cpp."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from projectors import grid_of, picture, write_oracle
from running import RunningServer
from tiny_models import write_gguf

from nitro.config import ServeConfig

TOKENS = (301, 302, 303, 304, 305)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Its projector is found beside it."""
    folder = tmp_path_factory.mktemp("seeing")
    model = write_gguf(folder / "tiny.gguf")
    write_oracle(model, folder / "mmproj-tiny.gguf", TOKENS)
    with RunningServer(ServeConfig(engine="llama", model=str(model), port=0, context=512, parallel=4)) as server:
        yield server.ready()


def question(data: bytes, text: str = "What is it?") -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}], "max_tokens": 6, "temperature": 0}


def test_a_picture_is_seen(server: RunningServer) -> None:
    assert server.engine.info.media and server.engine.info.media.image
    client = server.client()
    first, other = (client.chat.completions.create(**question(picture(grid_of(seed)))) for seed in (0, 1))
    assert first.usage.prompt_tokens_details.image_tokens == 16
    assert first.choices[0].message.content and other.choices[0].message.content
    again = client.chat.completions.create(**question(picture(grid_of(0)), "What is it? Say more."))
    assert again.usage.prompt_tokens_details.cached_tokens > 16
    assert other.usage.prompt_tokens_details.cached_tokens < 16


def test_eight_about_one_picture(server: RunningServer) -> None:
    """It is computed once: all but the first find it in the cache."""
    client = server.client()
    bodies = [question(picture(grid_of(5)), f"Say {number}.") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: client.chat.completions.create(**body), bodies))
    cached = sorted(answer.usage.prompt_tokens_details.cached_tokens for answer in answers)
    assert cached[0] < 16 and cached[1] > 16


def test_what_cannot_be_read_is_named(server: RunningServer) -> None:
    whole = picture(grid_of(2))
    with pytest.raises(openai.BadRequestError) as error:
        server.client().chat.completions.create(**question(whole[: len(whole) - 60]))
    assert "image_url" in str(error.value.param)
    assert server.client().chat.completions.create(**question(whole)).choices
