"""A model with a chat template of its own for requests with tools: where it may lie, that it is used, and what it says
of the model."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import CEILING
from tiny_models import write_folder, write_gguf

from nitro.checkpoints import files
from nitro.convert import gguf_to_mlx, mlx_to_hf
from nitro.gguf import header

PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
TOOLS = (
    "{# <tool_call> <tools> tool_calls #}{% for tool in tools %}{{ tool.function.name }}{% endfor %}"
    "{% for m in messages %}{{ m.content }}{% endfor %}"
)
SEVERAL = [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": TOOLS}]
TOLD = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


def in_configuration(folder: Path) -> None:
    _configure(folder, SEVERAL)


def in_files(folder: Path) -> None:
    _configure(folder, None)
    (folder / "chat_template.jinja").write_text(PLAIN)
    _beside(folder)


def beside_the_configuration(folder: Path) -> None:
    _configure(folder, PLAIN)
    _beside(folder)


def _beside(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(TOOLS)


def _configure(folder: Path, templates: Any) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": templates}))


PLACES = (in_configuration, in_files, beside_the_configuration)


def asked(server: Any) -> tuple[int, int, dict[str, Any]]:
    """How many prompt tokens a request has without tools and with them, and what is told of the model."""
    lengths = []
    with httpx.Client(base_url=server.url, timeout=CEILING) as client:
        for more in ({}, {"tools": [TOLD]}):
            body = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, **more}
            reply = client.post("/v1/chat/completions", json=body)
            assert reply.status_code == 200, reply.text
            lengths.append(reply.json()["usage"]["prompt_tokens"])
        told = client.get("/v1/models").json()["data"][0]
    return lengths[0], lengths[1], told


def check(server: Any) -> None:
    plain, with_tools, told = asked(server)
    assert plain < with_tools < plain + 30  # the name of the tool, and not a sentence about it
    assert (told["tool_format"], told["capabilities"]["native_tools"]) == ("hermes", True)


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_in_a_gguf(engine: str, serve: Any, tmp_path: Path) -> None:
    if engine == "mlx":
        pytest.importorskip("mlx.core")
    check(serve(engine=engine, model=str(write_gguf(tmp_path / "tiny.gguf", templates=SEVERAL)), context=256).ready())


@pytest.mark.parametrize("place", PLACES)
def test_in_a_folder(place: Any, serve: Any, tmp_path: Path) -> None:
    pytest.importorskip("mlx.core")
    folder = write_folder(tmp_path / "model", "plain")
    place(folder)
    check(serve(engine="mlx", model=str(folder), context=256).ready())


def test_a_template_of_the_user_is_for_all_requests(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(PLAIN)
    file = write_gguf(tmp_path / "tiny.gguf", templates=SEVERAL)
    server = serve(engine="llama", model=str(file), context=512, chat_template=tmp_path / "own.jinja").ready()
    _, _, told = asked(server)
    assert told["tool_format"] == "generic"


# Conversion


def templates(folder: Path) -> dict[str, str]:
    return files.chat_templates(folder, json.loads((folder / "tokenizer_config.json").read_text()))


def test_they_come_along_from_gguf(tmp_path: Path) -> None:
    folder = tmp_path / "mlx"
    folder.mkdir()
    gguf_to_mlx.convert(write_gguf(tmp_path / "tiny.gguf", templates=SEVERAL), folder)
    assert templates(folder) == {"default": PLAIN, "tool_use": TOOLS}
    target = tmp_path / "hf"
    target.mkdir()
    mlx_to_hf.convert(folder, target)
    assert templates(target) == {"default": PLAIN, "tool_use": TOOLS}


def test_no_name_of_a_template_is_a_path(tmp_path: Path) -> None:
    """Names come with models from anywhere."""
    file = write_gguf(tmp_path / "tiny.gguf", templates=[*SEVERAL, {"name": "rag", "template": "R"}])
    head = header.read_all(file)
    from nitro.gguf import folder

    head.metadata["tokenizer.chat_template.../../out"] = "X"
    made = folder.files(head, {})
    names = sorted(name for name in made if name.endswith(".jinja"))
    beside = [f"additional_chat_templates/{name}.jinja" for name in ("rag", "tool_use")]
    assert names == [*beside, "chat_template.jinja"]


@pytest.mark.convert
@pytest.mark.parametrize("place", PLACES)
def test_they_come_along_to_gguf(place: Any, smollm: Path, tmp_path: Path) -> None:
    """By llama.cpp's own converter, which finds several in some of the places only."""
    from nitro.convert import environments, llama_cpp_converter
    from nitro.convert.routes import several_templates

    whole = tmp_path / "whole"
    whole.mkdir()
    gguf_to_mlx.convert(smollm, whole)
    folder = tmp_path / "folder"
    folder.mkdir()
    for file in whole.iterdir():
        if file.name != "chat_template.jinja":
            shutil.move(file, folder / file.name)
    place(folder)
    request = {
        "converter": llama_cpp_converter.folder(print),
        "source": folder,
        "target": tmp_path / "vocabulary.gguf",
        "outtype": "f16",
        "name": "tiny",
        "check": True,
        "templates": several_templates(folder),
    }
    environments.run("converter", "hf_to_gguf", request)
    head = header.read_all(tmp_path / "vocabulary.gguf")
    assert (head.get(header.TEMPLATE), head.get(f"{header.TEMPLATE}.tool_use")) == (PLAIN, TOOLS)
