"""The command line: flags and variables into a ServeConfig, help, refusals, and that help needs no server."""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from nitro import __version__
from nitro.cli import serve as serve_command
from nitro.cli.main import main
from nitro.config import ServeConfig
from nitro.engines.backends import registry
from nitro.errors import StartError
from nitro.server import Server
from nitro.system import program

ROOT = Path(__file__).parent.parent

# flag without a value, its field
SWITCHES = [
    ("--require-gpu", "require_gpu"),
    ("--pipeline", "pipeline"),
    ("--deterministic", "deterministic"),
    ("--strict", "strict"),
    ("--exit-on-engine-failure", "exit_on_engine_failure"),
    ("--no-mmap", "no_mmap"),
    ("--mlock", "mlock"),
    ("--insecure-network", "insecure_network"),
    ("--rpc-insecure-network", "rpc_insecure_network"),
    ("--no-pull", "no_pull"),
    ("--no-model", "no_model"),
    ("--no-state", "no_state"),
    ("--allow-remote-media", "allow_remote_media"),
]

# flag, its field, a value as text, what it means; another value as text, what that means
OPTIONS: list[tuple[str, str, str, Any, str, Any]] = [
    ("--defaults", "defaults", "top_k=4", "top_k=4", "min_p=0.1", "min_p=0.1"),
    ("--engine", "engine", "llama", "llama", "my.module:Runner", "my.module:Runner"),
    ("--host", "host", "0.0.0.0", "0.0.0.0", "::1", "::1"),
    ("--port", "port", "9000", 9000, "0", 0),
    ("--ctx", "context", "4096", 4096, "16", 16),
    ("--parallel", "parallel", "1", 1, "128", 128),
    ("--threads", "threads", "3", 3, "1", 1),
    ("--gpu-layers", "gpu_layers", "0", 0, "99", 99),
    ("--draft", "draft", "small.gguf", "small.gguf", "ř.gguf", "ř.gguf"),
    ("--lora", "lora", "poet=/a/b=c.gguf", ("poet=/a/b=c.gguf",), "cook=/c", ("cook=/c",)),
    ("--hosts", "hosts", "hosts.json", "hosts.json", "/no/b", "/no/b"),
    ("--mmproj", "mmproj", "mmproj.gguf", "mmproj.gguf", "off", "off"),
    ("--image-max-tokens", "image_max_tokens", "256", 256, "1", 1),
    ("--wired-limit", "wired_limit", "recommended", "recommended", "24576", "24576"),
    ("--cache-type-k", "cache_type_k", "q8_0", "q8_0", "f32", "f32"),
    ("--cache-type-v", "cache_type_v", "q4_0", "q4_0", "iq4_nl", "iq4_nl"),
    ("--flash-attn", "flash_attn", "on", "on", "off", "off"),
    ("--split-mode", "split_mode", "none", "none", "tensor", "tensor"),
    ("--tensor-split", "tensor_split", "3,1", "3,1", "0.5,0,1.25", "0.5,0,1.25"),
    ("--main-gpu", "main_gpu", "1", 1, "7", 7),
    ("--n-cpu-moe", "n_cpu_moe", "1", 1, "60", 60),
    ("--rpc", "rpc", "127.0.0.1:50052", "127.0.0.1:50052", "a:1,b.lan:2", "a:1,b.lan:2"),
    ("--override-tensor", "override_tensor", "ffn_up=CPU", "ffn_up=CPU", "a=CPU,b[0-9]+=CUDA0", "a=CPU,b[0-9]+=CUDA0"),
    ("--rope-scaling", "rope_scaling", "none", "none", "yarn", "yarn"),
    ("--rope-scale", "rope_scale", "4", 4.0, "0.5", 0.5),
    ("--rope-freq-base", "rope_freq_base", "10000", 10000.0, "1e6", 1e6),
    ("--rope-freq-scale", "rope_freq_scale", "0.25", 0.25, "1", 1.0),
    ("--yarn-orig-ctx", "yarn_orig_ctx", "4096", 4096, "1", 1),
    ("--yarn-ext-factor", "yarn_ext_factor", "0", 0.0, "1.5", 1.5),
    ("--yarn-attn-factor", "yarn_attn_factor", "1", 1.0, "0.7", 0.7),
    ("--yarn-beta-fast", "yarn_beta_fast", "32", 32.0, "16.5", 16.5),
    ("--yarn-beta-slow", "yarn_beta_slow", "1", 1.0, "2.5", 2.5),
    ("--lookup", "lookup", "off", "off", "on", "on"),
    ("--alias", "alias", "gpt-4", "gpt-4", "ř 😀", "ř 😀"),
    ("--api-key", "api_key", "secret", "secret", " s e c\n", "s e c"),
    ("--allow-origin", "allow_origin", "https://a.example", ("https://a.example",), "*", ("*",)),
    ("--allow-host", "allow_host", "box.lan", ("box.lan",), "*", ("*",)),
    ("--chat-template", "chat_template", "a.jinja", Path("a.jinja"), "/no/b", Path("/no/b")),
    ("--tool-format", "tool_format", "hermes", "hermes", "none of them", "none of them"),
    ("--models", "models", "shelf", (Path("shelf"),), "/no/b", (Path("/no/b"),)),
    ("--models-max", "models_max", "1", 1, "20", 20),
    ("--memory", "memory", "12G", "12G", "4096", "4096"),
    ("--keep-alive", "keep_alive", "5m", "5m", "-1", "-1"),
    ("--pin", "pin", "anna", ("anna",), "org/name:Q4_K_M", ("org/name:Q4_K_M",)),
    ("--state", "state", "kept", Path("kept"), "/no/b", Path("/no/b")),
    ("--state-days", "state_days", "1", 1, "400", 400),
    ("--state-size", "state_size", "1", 1, "1000", 1000),
    ("--prefix-cache", "prefix_cache", "kept", Path("kept"), "/no/b", Path("/no/b")),
    ("--prefix-cache-size", "prefix_cache_size", "20G", "20G", "512", "512"),
    ("--max-file", "max_file", "1", 1, "1000", 1000),
    ("--files-size", "files_size", "1", 1, "1000", 1000),
    ("--record", "record", "kept", Path("kept"), "/no/b", Path("/no/b")),
    ("--record-size", "record_size", "1", 1, "1000", 1000),
    ("--record-files", "record_files", "1", 1, "100", 100),
    ("--max-queue", "max_queue", "0", 0, "1000", 1000),
    ("--grace", "grace", "0", 0.0, "600.5", 600.5),
    ("--metrics-names", "metrics_names", "vllm", "vllm", "both", "both"),
    ("--max-body", "max_body", "1", 1, "1000", 1000),
    ("--remote-media-seconds", "remote_media_seconds", "1", 1, "60", 60),
    ("--max-media", "max_media", "0", 0, "500", 500),
    ("--max-media-size", "max_media_size", "1", 1, "64", 64),
    ("--max-image-pixels", "max_image_pixels", "1", 1, "1000000", 1_000_000),
    ("--max-audio-seconds", "max_audio_seconds", "1", 1, "60", 60),
    ("--engine-memory", "engine_memory", "12G", "12G", "4096", "4096"),
    ("--stall-timeout", "stall_timeout", "120", 120.0, "0.5", 0.5),
    ("--max-head", "max_head", "8", 8, "1024", 1024),
    ("--head-seconds", "head_seconds", "0.5", 0.5, "3600", 3600.0),
    ("--body-seconds", "body_seconds", "0.5", 0.5, "60", 60.0),
    ("--unread-seconds", "unread_seconds", "1", 1.0, "86400", 86400.0),
    ("--min-rate", "min_rate", "1", 1, "100000", 100_000),
    ("--max-unread", "max_unread", "1", 1, "1000", 1000),
    ("--max-connections", "max_connections", "1", 1, "65536", 65536),
    ("--read-seconds", "read_seconds", "0.5", 0.5, "60", 60.0),
    ("--read-memory", "read_memory", "256", 256, "8192", 8192),
    ("--compile-seconds", "compile_seconds", "0.5", 0.5, "60", 60.0),
    ("--compile-memory", "compile_memory", "16", 16, "8192", 8192),
    ("--tokenize-seconds", "tokenize_seconds", "0.5", 0.5, "60", 60.0),
    ("--tokenize-memory", "tokenize_memory", "16", 16, "8192", 8192),
    ("--embedding-overflow", "embedding_overflow", "truncate", "truncate", "mean", "mean"),
    ("--tls-cert", "tls_cert", "c.pem", Path("c.pem"), "d.pem", Path("d.pem")),
    ("--tls-key", "tls_key", "k.pem", Path("k.pem"), "l.pem", Path("l.pem")),
    ("--uds", "uds", "n.sock", Path("n.sock"), "/run/n.sock", Path("/run/n.sock")),
    ("--uds-mode", "uds_mode", "660", "660", "0666", "0666"),
    ("--root-path", "root_path", "/nitro", "/nitro", "a/b", "a/b"),
    ("--trust-proxy", "trust_proxy", "127.0.0.1", ("127.0.0.1",), "unix,10.0.0.0/8", ("unix,10.0.0.0/8",)),
    ("--keys", "keys", "k.toml", Path("k.toml"), "l.toml", Path("l.toml")),
    ("--log-level", "log_level", "debug", "debug", "error", "error"),
]


def variable(flag: str) -> str:
    return "NITRO_" + flag.strip("-").replace("-", "_").upper()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for flag, *_ in [*OPTIONS, *SWITCHES]:
        monkeypatch.delenv(variable(flag), raising=False)
    monkeypatch.delenv("NITRO_MODEL", raising=False)
    monkeypatch.delenv("NITRO_API_KEY_FILE", raising=False)


def invoke(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(main, arguments, env=variables)


Serve = Callable[..., ServeConfig]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """`nitro serve ARGUMENTS` with these variables, which serves nothing: the config it would serve with."""
    ran: list[ServeConfig] = []
    monkeypatch.setattr("nitro.cli.serve.run", ran.append)

    def run(*arguments: str, **variables: str) -> ServeConfig:
        result = invoke("serve", *arguments, **variables)
        assert result.exit_code == 0, result.output
        return ran.pop()

    return run


# Flags and variables


def test_nothing_is_the_default_of_everything(serve: Serve) -> None:
    assert serve() == ServeConfig()


def test_every_field_can_be_set() -> None:
    assert {field for _, field, *_ in [*OPTIONS, *SWITCHES]} | {"model", "model_settings"} == {
        f.name for f in msgspec.structs.fields(ServeConfig)
    }


@pytest.mark.parametrize("flag, field, text, meant, other, other_meant", OPTIONS)
def test_a_flag_a_variable_and_which_of_them_wins(
    serve: Serve, flag: str, field: str, text: str, meant: Any, other: str, other_meant: Any
) -> None:
    def expected(value: Any) -> ServeConfig:
        return msgspec.structs.replace(ServeConfig(), **{field: value})

    assert serve(flag, text) == expected(meant)
    assert serve(f"{flag}={other}") == expected(other_meant)
    assert serve(**{variable(flag): text}) == expected(meant)
    assert serve(flag, text, **{variable(flag): other}) == expected(meant)
    assert serve(flag, other, **{variable(flag): text}) == expected(other_meant)


@pytest.mark.parametrize("flag, field", SWITCHES)
def test_a_switch(serve: Serve, flag: str, field: str) -> None:
    on = msgspec.structs.replace(ServeConfig(), **{field: True})
    assert serve(flag) == serve(**{variable(flag): "1"}) == serve(flag, **{variable(flag): "0"}) == on
    assert serve(**{variable(flag): "0"}) == ServeConfig()


def test_the_model(serve: Serve) -> None:
    assert serve("a.gguf").model == "a.gguf"
    assert serve(NITRO_MODEL="b.gguf").model == "b.gguf"
    assert serve("a.gguf", NITRO_MODEL="b.gguf").model == "a.gguf"
    assert serve("--port", "1", "a.gguf", "--ctx", "99") == ServeConfig(model="a.gguf", port=1, context=99)
    assert serve("--", "-a.gguf").model == "-a.gguf"


@pytest.mark.parametrize("flag", [flag for flag, *_ in [*OPTIONS, *SWITCHES] if flag not in ("--api-key", "--keys")])
def test_an_empty_variable_is_none(serve: Serve, flag: str) -> None:
    assert serve(**{variable(flag): ""}, NITRO_MODEL="") == ServeConfig()


def test_many_at_once(serve: Serve) -> None:
    arguments = [part for flag, _, text, *_ in OPTIONS for part in (flag, text)]
    variables = {variable(flag): text for flag, _, text, *_ in OPTIONS}
    whole = ServeConfig(model="m", **{field: meant for _, field, _, meant, *_ in OPTIONS})
    assert serve("m", *arguments) == serve(NITRO_MODEL="m", **variables) == whole


# Keys


@pytest.mark.parametrize("content", ["secret", "secret\n", "\n secret\r\n"])
def test_a_key_in_a_file(serve: Serve, tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    (tmp_path / "link").symlink_to("key")
    path = str(tmp_path / "link")
    assert serve("--api-key-file", path) == serve(NITRO_API_KEY_FILE=path) == ServeConfig(api_key="secret")


def test_credentials_of_a_service(serve: Serve, tmp_path: Path) -> None:
    """They are found where nothing else says where keys are."""
    (tmp_path / "nitro.api-key").write_text("secret\n")
    (tmp_path / "nitro.keys").write_text("")
    folder = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert serve(**folder) == ServeConfig(api_key="secret", keys=tmp_path / "nitro.keys")
    assert serve("--api-key", "x", NITRO_KEYS="k", **folder) == ServeConfig(api_key="x", keys=Path("k"))
    assert serve(CREDENTIALS_DIRECTORY=str(tmp_path / "none")) == ServeConfig()
    shown = json.loads(invoke("config", "--json", **folder).output)["server"]
    assert shown["api-key"] == {"value": "***", "from": "credential", "where": str(tmp_path / "nitro.api-key")}
    assert shown["keys"]["from"] == "credential" and "secret" not in invoke("config", **folder).output
    (tmp_path / "nitro.api-key").write_text("\n")
    refused = invoke("serve", **folder)
    assert refused.exit_code == 2 and "nitro.api-key: it is empty" in " ".join(refused.output.split())


@pytest.mark.usefixtures("serves_nothing")
def test_an_empty_name_of_a_file_of_keys_is_refused() -> None:
    refused = invoke("serve", NITRO_KEYS="")
    assert refused.exit_code == 2 and "NITRO_KEYS: it is empty" in refused.output


def test_a_key_that_is_no_text(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    assert serve("--api-key-file", str(tmp_path / "key")).api_key == "\udcff\udcfe"


@pytest.mark.parametrize("command", [["serve"], ["bench", "http://localhost:1"]])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"NITRO_API_KEY": ""}, "NITRO_API_KEY: it is empty"),
        ({"NITRO_API_KEY": " \n"}, "it is empty"),
        ({"NITRO_API_KEY_FILE": ""}, "NITRO_API_KEY_FILE: it is empty"),
        (["--api-key", ""], "it is empty"),
        (["--api-key", "one\ntwo"], "it holds a line break"),
        (["--api-key", "one\ttwo"], "control character"),
        (["--api-key-file", "{}/nowhere"], "nowhere: No such file"),
        (["--api-key-file", "{}"], "no regular file"),
        (["--api-key-file", "/dev/zero"], "/dev/zero: it is no regular file"),
        (["--api-key-file", "{}/fifo"], "fifo: it is no regular file"),
        (["--api-key-file", "{}/empty"], "empty: it is empty"),
        (["--api-key-file", "{}/two"], "two: it holds a line break"),
        (["--api-key-file", "{}/long"], "long: it is longer than 4096 bytes"),
        (["--api-key-file", "{}/one", "--api-key", "x"], "do not go together"),
    ],
)
@pytest.mark.usefixtures("serves_nothing")
def test_a_key_that_is_none(tmp_path: Path, command: list[str], given: Any, words: str) -> None:
    """Whoever gives one wants a locked door."""
    os.mkfifo(tmp_path / "fifo")
    for name, content in {"empty": "\n", "one": "1", "two": "1\n2\n", "long": "a" * 5_000}.items():
        (tmp_path / name).write_text(content)
    variables = given if isinstance(given, dict) else {}
    flags = [] if variables else [part.format(tmp_path) for part in given]
    result = invoke(*command, *flags, **variables)
    assert result.exit_code == 2 and words in " ".join(result.output.split())


# Help and version


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help_names_the_command(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 0
    for command in ("serve", "doctor"):
        assert re.search(rf"^\s+{command}\b", result.output, re.MULTILINE)


@pytest.mark.parametrize("argument", ["--help", "-h"])
def test_help_lists_every_option_with_its_variable(argument: str) -> None:
    result = invoke("serve", argument)
    said = " ".join(result.output.split())
    assert result.exit_code == 0 and "[MODEL]" in said
    for flag, *_ in [*OPTIONS, *SWITCHES]:
        assert re.search(rf"(?<!\S){flag}\b[^-].*?env var: {variable(flag)}\b", said), flag


def test_help_tells_the_defaults() -> None:
    said = " ".join(invoke("serve", "--help").output.split())
    for name in ("engine", "host", "port", "parallel", "max_queue", "log_level"):
        assert (
            f"default: {getattr(ServeConfig(), name)};" in said or f"default: {getattr(ServeConfig(), name)}]" in said
        )


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.output) == (0, f"nitro, version {__version__}\n")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


# Refusals


@pytest.fixture
def serves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that would start after all, instead of refusing, ends at once."""

    async def fails(_: Server) -> None:
        raise AssertionError("it started")

    monkeypatch.setattr(Server, "serve", fails)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--port", "-1"],
        ["--port", "http"],
        ["--port"],
        ["--port="],
        ["--wired-limit", "on"],
        ["--wired-limit", "0"],
        ["--wired-limit", "-1"],
        ["--wired-limit", "4.5"],
        ["--ctx", "15"],
        ["--ctx", "4k"],
        ["--ctx", "4096.0"],
        ["--parallel", "0"],
        ["--parallel", "129"],
        ["--threads", "0"],
        ["--gpu-layers", "-1"],
        ["--max-queue", "-1"],
        ["--max-body", "0"],
        ["--max-body", "1.5"],
        ["--log-level", "loud"],
        ["--cache-type-k", "q4_k"],
        ["--cache-type-v", "8"],
        ["--flash-attn", "yes"],
        ["--split-mode", "rows"],
        ["--tensor-split", "3,,1"],
        ["--tensor-split", "-1,1"],
        ["--main-gpu", "-1"],
        ["--n-cpu-moe", "-1"],
        ["--rpc", "worker"],
        ["--rpc", "a:1,b"],
        ["--override-tensor", "ffn_up"],
        ["--rope-scaling", "longrope"],
        ["--rope-scale", "0"],
        ["--rope-freq-base", "inf"],
        ["--rope-freq-scale", "nan"],
        ["--yarn-orig-ctx", "0"],
        ["--yarn-ext-factor", "-1"],
        ["--models-max", "0"],
        ["--memory", "much"],
        ["--memory", "-1"],
        ["--keep-alive", "soon"],
        ["--keep-alive", "5d"],
        ["--nowhere"],
        ["a.gguf", "b.gguf"],
    ],
)
@pytest.mark.usefixtures("serves_nothing")
def test_bad_values_are_refused_by_name(arguments: list[str]) -> None:
    result = invoke("serve", *arguments)
    assert result.exit_code == 2
    assert "Error: " in result.output
    assert arguments[-1 if arguments[-1].endswith("gguf") else 0].rstrip("=") in result.output


@pytest.mark.parametrize("flag, text", [("--port", "x"), ("--parallel", "0"), ("--log-level", "loud"), ("--ctx", "1")])
@pytest.mark.usefixtures("serves_nothing")
def test_bad_variables_are_refused_by_name(flag: str, text: str) -> None:
    result = invoke("serve", **{variable(flag): text})
    assert result.exit_code == 2
    assert flag in result.output


def test_unknown_commands_are_refused() -> None:
    result = invoke("server")
    assert result.exit_code == 2 and "server" in result.output


def start_error(*arguments: str) -> str:
    """What `nitro serve`, which cannot start, says in its one line."""
    result = invoke("serve", "--engine", "nitro.engines.backends.fake:FakeRunner", "--port", "0", *arguments)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("nitro: ")
    return line


def test_any_start_error_is_one_line_and_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: ServeConfig) -> None:
        raise StartError("It cannot be [bold]started[/bold].")

    monkeypatch.setattr("nitro.cli.serve.run", run)
    assert start_error() == "nitro: It cannot be [bold]started[/bold]."


@pytest.mark.parametrize("name", ["foo", "", "Llama"])
@pytest.mark.usefixtures("serves_nothing")
def test_an_engine_that_is_none(name: str) -> None:
    """Said before anything is loaded."""
    line = start_error("--engine", name)
    assert line == f"nitro: --engine {name}: there is no such engine; there are auto, mlx, llama."


@pytest.mark.parametrize("text", ["{% if %}", "a\n{{ x\n", "{% for x in y %}\n\n{{ 1 }}", "{% nowhere %}"])
def test_a_bad_template(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.jinja").write_text(text)
    assert "bad.jinja" in start_error("--chat-template", str(tmp_path / "bad.jinja"))


@pytest.mark.usefixtures("serves_nothing")
def test_a_template_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "bad.jinja").write_bytes(b"\xff\xfe")
    assert "bad.jinja" in start_error("--chat-template", str(tmp_path / "bad.jinja"))


@pytest.mark.usefixtures("serves_nothing")
def test_a_template_that_never_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jinja")
    assert "is a pipe" in start_error("--chat-template", str(tmp_path / "pipe.jinja"))
    assert "is a device" in start_error("--chat-template", "/dev/zero")


@pytest.mark.parametrize("name", ["nowhere.jinja", ""])
@pytest.mark.usefixtures("serves_nothing")
def test_a_missing_template(tmp_path: Path, name: str) -> None:
    assert "--chat-template" in start_error("--chat-template", str(tmp_path / name))


@pytest.mark.usefixtures("serves_nothing")
def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = start_error("--port", port)
    assert f"127.0.0.1:{port}" in line and "--port" in line


@pytest.mark.parametrize("host", ["203.0.113.1", "a" * 70, ".example"])
@pytest.mark.usefixtures("serves_nothing")
def test_an_address_that_is_not_ours(host: str) -> None:
    assert host in start_error("--host", host)


# As a process of its own


def nitro(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nitro", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_a_start_error_shows_no_traceback() -> None:
    done = nitro("serve", "/nowhere/model.gguf")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "nitro: /nowhere/model.gguf: no such file.\n")


def test_help_and_version_import_nothing_that_serves() -> None:
    script = """
import sys
from nitro.cli.main import main
for arguments in (["--help"], ["serve", "--help"], ["doctor", "--help"], ["--version"]):
    try:
        main(arguments)
    except SystemExit as done:
        assert not done.code
heavy = {"litestar", "uvicorn", "uvloop", "jinja2", "asyncio", "rich", "llama_cpp", "numpy", "mlx"}
heavy |= {"nitro.server", "nitro.api", "nitro.doctor"}
print(*heavy & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "\n")
    assert "--gpu-layers" in done.stdout


def test_help_says_what_auto_takes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that auto never takes is named among the engines only."""
    never = dataclasses.replace(registry.LLAMA, name="third", library="Third", automatic=frozenset())
    monkeypatch.setattr(serve_command, "ENGINES", (*registry.ENGINES, never))
    assert serve_command._automatic() == "auto takes MLX on Apple Silicon if it opens MODEL, else llama.cpp."


# How it is called


@pytest.mark.parametrize(
    ("started", "on_the_path", "name"),
    [
        ("{}/bin/nitro", "{}/bin", "nitro"),
        ("{}/bin/nitro", "{}/other", "{}/bin/nitro"),
        ("{}/bin/nitro", "{}", "{}/bin/nitro"),
        ("/x/nitro/__main__.py", "{}/bin", "python -m nitro"),
        ("pytest", "{}", "nitro"),
    ],
)
def test_a_command_to_copy_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: str, on_the_path: str, name: str
) -> None:
    for folder in ("bin", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "nitro").touch(mode=0o755)
    monkeypatch.setenv("PATH", on_the_path.format(tmp_path))
    assert program.name([started.format(tmp_path)]) == name.format(tmp_path)
