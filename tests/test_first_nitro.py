"""The first Nitro's dialogues, as its documents, its end-to-end script and nitro-node have them: real processes."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import fast
import httpx
import openai
import pytest
from running import CEILING, RunningServer, until

from nitro.system.held_port import held_port

ID = r'"id":"[A-Za-z0-9]{20}"'
FRAME = re.compile(
    rf'data: {{"choices":\[{{"delta":{{"content":"(.*)"}},"finish_reason":(null|"stop"),"index":0}}\],'
    rf'"created":[0-9]+,{ID},"model":"_","object":"chat.completion.chunk"}}'
)
WHOLE = re.compile(
    r'{"choices":\[{"finish_reason":null,"index":0,"message":{"content":"(.*)","role":"assistant"}}\],"created":[0-9]+,'
    rf'{ID},"model":"_","object":"chat.completion","system_fingerprint":"_",'
    r'"usage":{"completion_tokens":[0-9]+,"prompt_tokens":[0-9]+,"total_tokens":[0-9]+}}'
)
NOT_LOADED = '{"message":"Model has not been loaded, please load model into nitro"}'
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}


def spoken(stream: str) -> str:
    """The text of a stream, each of whose bytes is as it was."""
    *frames, done, nothing = stream.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    found = [FRAME.fullmatch(frame) for frame in frames]
    assert all(found), frames
    finishes = [match[2] for match in found if match]
    assert finishes[-1] == '"stop"' and set(finishes[:-1]) <= {"null"} and found[-1] and found[-1][1] == ""
    ids = re.findall(ID, stream)
    assert len(set(ids)) == len(frames)
    return "".join(json.loads(f'"{match[1]}"') for match in found if match)


class FirstNitro:
    """`nitro 1 127.0.0.1 PORT`, as programs start it."""

    def __init__(self, *arguments: str):
        fast.skip_server()
        self._held = ExitStack()
        self.port = self._held.enter_context(held_port())
        command = [sys.executable, "-P", "-m", "nitro", "1", "127.0.0.1", str(self.port), *arguments]
        self.process = subprocess.Popen(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=CEILING)

    def lines(self, last: str) -> list[str]:
        """What it prints, up to a line that begins so. By then its port takes connections."""
        assert self.process.stdout
        said = []
        for line in self.process.stdout:
            said.append(line.rstrip())
            if line.startswith(last):
                return said
        raise AssertionError(f"it ended: {said}")

    def close(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        self._held.close()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def nitro() -> Iterator[Callable[..., FirstNitro]]:
    started: list[FirstNitro] = []

    def start(*arguments: str) -> FirstNitro:
        started.append(FirstNitro(*arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_the_old_documents(nitro: Callable[..., FirstNitro], smollm: Path) -> None:
    """Start, health, load, ask, unload; their curl commands, with the commas that they have behind the last item."""
    server = nitro("uploads")
    lines = server.lines("Number of thread is:")
    assert lines[-5].startswith("Nitro version: ")
    assert lines[-4:-1] == [
        f"Server started, listening at: 127.0.0.1:{server.port}",
        "Please load your model",
        "Drogon uploads folder is at: uploads",
    ]
    client = server.client
    alive = client.get("/healthz")
    assert (alive.status_code, alive.text) == (200, "Nitro is alive!!!")
    assert (asked := client.post("/inferences/llamacpp/chat_completion", json=HELLO)).status_code == 409
    assert asked.text == client.get("/inferences/llamacpp/modelstatus").text == NOT_LOADED

    load = f'{{"llama_model_path": "{smollm}", "ctx_len": 512, "ngl": 100, "embedding": false,}}'
    assert client.post("/inferences/llamacpp/loadmodel", content=load).text == '{"message":"Model loaded successfully"}'
    again = client.post("/inferences/llamacpp/loadmodel", content=load)
    assert (again.status_code, again.text) == (409, '{"message":"Model already loaded"}')

    body = """{
        "messages": [
          {"role": "system", "content": "You are a helpful assistant."},
          {"role": "user", "content": "What is the capital of France?"},
        ],
        "temperature": 0, "max_tokens": 12,
      }"""
    reply = client.post("/inferences/llamacpp/chat_completion", content=body)
    match = WHOLE.fullmatch(reply.text)
    assert reply.status_code == 200 and match and "Paris" in match[1]
    stream = client.post("/inferences/llamacpp/chat_completion", content=body.replace('"max', '"stream": true, "max'))
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["content-disposition"] == "attachment; filename=chat_completions.txt"
    assert spoken(stream.text) == json.loads(f'"{match[1]}"')

    status = client.get("/inferences/llamacpp/modelstatus").json()
    data = json.loads(status["model_data"])
    assert status["model_loaded"] is True and len(data) == 27
    told = {name: data[name] for name in ("model", "n_ctx", "n_predict", "temperature", "stream", "repeat_last_n")}
    assert told == {
        "model": str(smollm),
        "n_ctx": 512,
        "n_predict": 12,
        "temperature": 0,
        "stream": True,
        "repeat_last_n": 32,
    }
    assert client.get("/inferences/llamacpp/unloadmodel").text == '{"message":"Model unloaded successfully"}'
    gone = client.get("/inferences/llamacpp/unloadmodel")
    assert (gone.status_code, gone.text) == (409, NOT_LOADED)
    assert client.post("/inferences/llamacpp/loadmodel", content=load).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(CEILING) == 0


def test_a_load_knows_nothing_of_the_one_before(nitro: Callable[..., FirstNitro], smollm: Path, tmp_path: Path) -> None:
    """Its grammar, prompts and sampling end with it."""
    server = nitro()
    server.lines("Number")
    ask, body = partial(server.client.post, "/inferences/llamacpp/chat_completion"), {**HELLO, "seed": 1}
    path = {"llama_model_path": str(smollm)}
    assert server.client.post("/inferences/llamacpp/loadmodel", json=path).status_code == 200
    plain = ask(json=body).json()["choices"]
    server.client.get("/inferences/llamacpp/unloadmodel")
    (grammar := tmp_path / "seven.gbnf").write_text('root ::= "seven"')
    special = {"grammar_file": str(grammar), "user_prompt": "Q: ", "repeat_last_n": 5, "ctx_len": 256}
    assert server.client.post("/inferences/llamacpp/loadmodel", json={**path, **special}).status_code == 200
    assert ask(json=body).json()["choices"][0]["message"]["content"] == "seven"
    server.client.get("/inferences/llamacpp/unloadmodel")
    grammar.write_text("root ::= (")
    refused = server.client.post("/inferences/llamacpp/loadmodel", json={**path, **special})
    assert refused.status_code == 400 and refused.json()["message"].startswith("Invalid value for 'grammar_file': ")
    assert server.client.get("/inferences/llamacpp/modelstatus").text == NOT_LOADED
    assert server.client.post("/inferences/llamacpp/loadmodel", json=path).status_code == 200
    listed = server.client.get("/v1/models").json()["data"]
    assert [model["state"] for model in listed if "SmolLM2" in model["id"]] == ["ok"], "once, though a store has it"
    assert ask(json=body).json()["choices"] == plain
    data = json.loads(server.client.get("/inferences/llamacpp/modelstatus").json()["model_data"])
    assert (data["grammar"], data["n_ctx"], data["repeat_last_n"], data["stop"]) == ("", 2048, 32, ["<|im_end|>"])


def test_the_end_to_end_script(nitro: Callable[..., FirstNitro], smollm: Path) -> None:
    """Of janhq/cortex.cpp."""
    server = nitro()
    server.lines("Number")
    base = "/inferences/server"
    load = {"llama_model_path": str(smollm), "ctx_len": 50, "ngl": 32, "embedding": False}
    statuses = [server.client.post(f"{base}/loadModel", json=load).status_code]
    chat = {
        "messages": [
            {"content": "Hello there", "role": "assistant"},
            {"content": "Write a long and sad story for me", "role": "user"},
        ],
        "stream": True,
        "model": "gpt-3.5-turbo",
        "max_tokens": 50,
        "stop": ["hello"],
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "temperature": 0.1,
    }
    headers = {"Accept": "text/event-stream", "Access-Control-Allow-Origin": "*"}
    for path in ("/v1/chat/completions", f"{base}/chat_completion", "/inferences/llamacpp/chat_completion"):
        statuses.append(server.client.post(path, json=chat, headers=headers).status_code)
    statuses.append(server.client.post(f"{base}/unloadModel", json={"llama_model_path": "/tmp/testllm"}).status_code)
    load |= {"embedding": True, "model_type": "embedding"}
    statuses.append(server.client.post(f"{base}/loadModel", json=load).status_code)
    assert statuses == [200] * 6
    refused = server.client.post(f"{base}/chat_completion", json=HELLO)
    assert (refused.status_code, refused.text) == (400, '{"message":"Not support completion for embedding model"}')
    embedded = server.client.post(f"{base}/embedding", json={"input": "Hello"})
    assert embedded.status_code == 200 and len(embedded.json()["data"][0]["embedding"]) == 576


def test_nitro_node(nitro: Callable[..., FirstNitro], smollm: Path) -> None:
    """It sends prompts that it has made of a template, as ChatML's; and it wants the port back soon."""
    server = nitro()
    server.lines("Please load your model")
    socket.create_connection(("127.0.0.1", server.port), CEILING).close()
    settings = {
        "system_prompt": "<|im_start|>system\n",
        "user_prompt": "<|im_end|>\n<|im_start|>user\n",
        "ai_prompt": "<|im_end|>\n<|im_start|>assistant\n",
        "llama_model_path": str(smollm),
        "cpu_threads": 2,
    }
    assert server.client.post("/inferences/llamacpp/loadmodel", json=settings).status_code == 200
    assert server.client.get("/inferences/llamacpp/modelstatus").json()["model_loaded"] is True
    system = {"role": "system", "content": "You are a helpful AI assistant. Be brief and correct."}
    body = {**HELLO, "messages": [system, {"role": "user", "content": "What is the capital of France?"}]}
    stream = server.client.post("/inferences/llamacpp/chat_completion", json={**body, "stream": True})
    assert "Paris" in spoken(stream.text)
    assert server.client.delete("/processmanager/destroy").status_code == 200
    server.process.terminate()
    until(lambda: is_free(server.port))
    server.process.wait(CEILING)


def is_free(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    except (ConnectionResetError, TimeoutError):  # it has just been closed
        pass
    return False


def test_destroy_ends_the_process(nitro: Callable[..., FirstNitro]) -> None:
    server = nitro()
    server.lines("Number")
    reply = server.client.delete("/ProcessManager/Destroy")
    assert (reply.status_code, reply.text) == (200, '{"message":"Nitro is stopping"}')
    assert server.process.wait(CEILING) == 0


def test_a_port_in_use(nitro: Callable[..., FirstNitro]) -> None:
    """It does not say that it listens."""
    server = nitro()
    server.lines("Number")
    command = [sys.executable, "-P", "-m", "nitro", "1", "127.0.0.1", str(server.port)]
    other = subprocess.run(command, capture_output=True, text=True, timeout=CEILING)
    assert other.returncode == 1 and not other.stdout and "Cannot listen on" in other.stderr


# On a server that has started with a model, here one that counts on from its prompt's last character


def test_replies_of_a_server_with_a_model(serve: Callable[..., RunningServer]) -> None:
    url = serve().ready().url
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "temperature": 0}
    path = f"{url}/inferences/llamaCPP/chat_completion"
    assert WHOLE.fullmatch(httpx.post(path, json=body).text)
    assert spoken(httpx.post(path, json={**body, "stream": True}).text)
    refused = httpx.post(path, json={**body, "temperature": -1})
    assert refused.status_code == 400 and list(refused.json()) == ["message"]
    ignored = httpx.post(path, json={**body, "tools": [], "n_probs": 3})
    assert ignored.headers["x-nitro-ignored"] == "tools, n_probs"
    long = httpx.post(path, json={**body, "messages": [{"role": "user", "content": "x" * 5_000}]})
    assert long.status_code == 400 and "maximum context length" in long.json()["message"]
    assert httpx.post(f"{url}/inferences/llamacpp/loadmodel").status_code == 409


@pytest.mark.parametrize("stream", [True, False])
def test_an_engine_that_dies(serve: Callable[..., RunningServer], stream: bool) -> None:
    """A stream just ends; a whole reply has the old words."""
    server = serve(engine="runners:FaultyRunner").ready()
    body = {"messages": [{"role": "user", "content": "!exit"}], "stream": stream}
    reply = httpx.post(f"{server.url}/inferences/llamacpp/chat_completion", json=body, timeout=CEILING)
    assert reply.status_code == 200
    assert reply.text == ("" if stream else '{"message":"Internal error during inference"}')


def test_both_apis_on_one_model(nitro: Callable[..., FirstNitro], smollm: Path) -> None:
    """The old load, and the new requests: any name means the model that is loaded."""
    server = nitro()
    server.lines("Number")
    body = {"llama_model_path": str(smollm), "user_prompt": "Question: ", "ai_prompt": "\nAnswer: "}
    assert server.client.post("/inferences/llamacpp/loadmodel", json=body).status_code == 200
    sdk = openai.OpenAI(base_url=f"{server.client.base_url}/v1", api_key="none", max_retries=0, timeout=CEILING)
    messages: Any = [{"role": "user", "content": "Name a colour."}]
    answer = sdk.chat.completions.create(model="gpt-3.5-turbo", messages=messages, max_tokens=8, temperature=0, seed=1)
    assert answer.usage and answer.choices[0].finish_reason in ("stop", "length")
    text = sdk.completions.create(
        model="", prompt="Question: Name a colour.\nAnswer: ", max_tokens=8, temperature=0, stop=["Question:"]
    )
    assert answer.choices[0].message.content == text.choices[0].text
    sdk.close()
