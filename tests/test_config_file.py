"""nitro.toml: what it may say, what it may not, who wins, and what `nitro config` shows of it."""

import json
import math
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from running import RunningServer
from test_cli import OPTIONS, SWITCHES, variable
from tiny_models import write_gguf

from nitro.cli import config_file, toml_lines
from nitro.cli.main import main
from nitro.config import ServeConfig
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.errors import ConfigError
from nitro.launch import Launch
from nitro.models.settings import ModelSettings

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [
        name for name in os.environ if name.startswith("NITRO_") and name not in ("NITRO_STORES", "NITRO_DATA")
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def run(text: str) -> Path:
        file = tmp_path / "nitro.toml"
        file.write_text(text)
        file.chmod(0o600)
        return file

    return run


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ServeConfig]:
    ran: list[ServeConfig] = []
    monkeypatch.setattr("nitro.cli.serve.run", ran.append)

    def run(*arguments: str, **variables: str) -> ServeConfig:
        result = invoke("serve", *arguments, **variables)
        assert result.exit_code == 0, result.output
        return ran.pop()

    return run


Serve = Callable[..., ServeConfig]


def invoke(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(main, arguments, env=variables, terminal_width=300)


def toml(field: str, text: str, value: Any) -> str:
    """An option's value in a file."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps([*map(str, value)] if isinstance(value, tuple) else str(value), ensure_ascii=False)


# The server's options


@pytest.mark.parametrize("flag, field, text, meant, other, other_meant", OPTIONS)
def test_every_option_can_be_set_and_flags_and_variables_win(
    serve: Serve, write: Write, flag: str, field: str, text: str, meant: Any, other: str, other_meant: Any
) -> None:
    if isinstance(meant, Path):
        meant = Path("/in/file")
    elif field == "models":
        meant = (Path("/in/file"), Path("/and/another"))
    file = str(write(f"[server]\n{flag.strip('-')} = {toml(field, text, meant)}\n"))
    assert getattr(serve("--config", file), field) == meant
    assert getattr(serve(NITRO_CONFIG=file), field) == meant
    assert getattr(serve("--config", file, **{variable(flag): other}), field) == other_meant
    assert getattr(serve("--config", file, flag, other), field) == other_meant
    assert getattr(serve("--config", file, flag, other, **{variable(flag): text}), field) == other_meant


@pytest.mark.parametrize("flag, field", SWITCHES)
def test_a_switch(serve: Serve, write: Write, flag: str, field: str) -> None:
    on = str(write(f"[server]\n{flag.strip('-')} = true\n"))
    assert getattr(serve("--config", on), field) is True
    assert getattr(serve("--config", on, **{variable(flag): "0"}), field) is False
    assert getattr(serve("--config", str(write(f"[server]\n{flag.strip('-')} = false\n")), flag), field) is True


def test_every_field_has_a_name_here() -> None:
    names = {flag.strip("-") for flag, *_ in [*OPTIONS, *SWITCHES]}
    assert set(config_file.SERVER_OPTIONS) == names | {"model", "api-key-file"}


def test_the_model_and_files_beside_the_file(serve: Serve, write: Write, tmp_path: Path) -> None:
    (tmp_path / "small.gguf").touch()
    text = '[server]\nmodel = "small.gguf"\ndraft = "org/name"\nchat-template = "a.jinja"\nlora = ["a=b.gguf"]\n'
    config = serve("--config", str(write(text)))
    assert (config.model, config.draft) == (str(tmp_path / "small.gguf"), "org/name")
    assert config.chat_template == tmp_path / "a.jinja"
    assert config.lora == (f"a={tmp_path / 'b.gguf'}",)
    assert serve("x.gguf", "--config", str(write(text))).model == "x.gguf"


def test_a_home_is_found(serve: Serve, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    file = str(write('[server]\nchat-template = "~/a.jinja"\n[models.m]\npath = "~/m.gguf"\n'))
    config = serve("--config", file)
    assert config.chat_template == Path("/home/me/a.jinja")
    assert config.model_settings["m"].path == Path("/home/me/m.gguf")


def test_defaults_as_a_table(serve: Serve, write: Write) -> None:
    file = str(write("[server.defaults]\ntemperature = 0.7\nrepeat_penalty = 1\n"))
    assert serve("--config", file).defaults == "repetition_penalty=1.0,temperature=0.7"


def test_a_number_where_a_text_can_be_one(serve: Serve, write: Write) -> None:
    assert serve("--config", str(write("[server]\nwired-limit = 24576\n"))).wired_limit == "24576"


# Keys


def test_a_key_of_the_file_gives_way(serve: Serve, write: Write, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from the file\n")
    (tmp_path / "mine").write_text("mine\n")
    mine = str(tmp_path / "mine")
    for line, key in (('api-key = " secret "', "secret"), ('api-key-file = "key"', "from the file")):
        file = str(write(f"[server]\n{line}\n"))
        assert serve("--config", file).api_key == key
        assert serve("--config", file, "--api-key-file", mine).api_key == "mine"
        assert serve("--config", file, NITRO_API_KEY_FILE=mine).api_key == "mine"
        assert serve("--config", file, "--api-key", "flag").api_key == "flag"
    assert "NITRO_API_KEY: it is empty" in invoke("serve", "--config", file, NITRO_API_KEY="").output


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_key_that_others_can_read(serve: Serve, write: Write, mode: int, warns: bool) -> None:
    file = write('[server]\napi-key = "secret"\n')
    file.chmod(mode)
    output = invoke("config", "--config", str(file)).stderr
    assert (f"chmod 600 {file}" in output) is warns and "secret" not in output


# Single models


def test_a_model(serve: Serve, write: Write, tmp_path: Path) -> None:
    file = write(
        """\
[models."qwen3:4b"]
path = "weights/qwen.gguf"
alias = "qwen"
engine = "llama"
ctx = 4096
flash-attn = "on"
chat-template = "a.jinja"
tool-format = "hermes"
keep-alive = "5m"
pin = true
defaults = {temperature = 0.5, top_k = 4}
[models.other]
keep-alive = -1
defaults = "top_p=0.5"
[models.plain]
"""
    )
    assert serve("--config", str(file)).model_settings == {
        "qwen3:4b": ModelSettings(
            path=tmp_path / "weights" / "qwen.gguf",
            alias="qwen",
            options={"engine": "llama", "context": 4096, "flash_attn": "on"},
            chat_template=tmp_path / "a.jinja",
            tool_format="hermes",
            keep_alive=300.0,
            pin=True,
            defaults=SamplingDefaults(temperature=0.5, top_k=4),
        ),
        "other": ModelSettings(keep_alive=math.inf, defaults=SamplingDefaults(top_p=0.5)),
        "plain": ModelSettings(),
    }


@pytest.mark.parametrize("flag, field, text, meant, other, other_meant", OPTIONS)
def test_a_model_takes_the_options_of_its_engine(
    write: Write, flag: str, field: str, text: str, meant: Any, other: str, other_meant: Any
) -> None:
    if flag.strip("-") not in config_file.MODEL_OPTIONS or field in ("keep_alive", "pin"):
        return
    file = config_file.read(write(f"[models.m]\n{flag.strip('-')} = {toml(field, text, meant)}\n"))
    settings = file.models["m"]
    expected = SamplingDefaults(top_k=4) if field == "defaults" else meant
    expected = file.path.parent / expected if isinstance(expected, Path) else expected
    assert settings.options.get(field, getattr(settings, field, None)) == expected


def test_what_is_typed_wins_over_a_model_s_settings(serve: Serve, write: Write) -> None:
    text = """\
[models.one]
ctx = 4096
parallel = 2
chat-template = "a.jinja"
keep-alive = 60
defaults = {temperature = 0.5, top_k = 4}
[models.two]
alias = "second"
ctx = 2048
chat-template = "b.jinja"
"""
    file = str(write(text))
    typed = ("--ctx", "512", "--chat-template", "c.jinja", "--defaults", "top_k=9", "--alias", "me")
    config = serve("one", "--config", file, *typed, NITRO_KEEP_ALIVE="5m")
    one, two = config.model_settings["one"], config.model_settings["two"]
    assert one == ModelSettings(options={"parallel": 2}, defaults=SamplingDefaults(temperature=0.5, top_k=9))
    assert two.options == {} and two.alias == "second", "the name is MODEL's"
    assert two.chat_template == Path(file).parent / "b.jinja", "and so is the template"


def test_a_model_or_none_is_what_the_better_source_says(serve: Serve, write: Write) -> None:
    """So `nitro 1 127.0.0.1 3928`, which says --no-model, runs beside a file or a variable with a model."""
    mine, none = str(write('[server]\nmodel = "mine"\n')), {"NITRO_NO_MODEL": "1"}

    def says(*arguments: str, **variables: str) -> tuple[str | None, bool]:
        config = serve(*arguments, **variables)
        return config.model, config.no_model

    assert says("--no-model", NITRO_CONFIG=mine) == says("--no-model", NITRO_MODEL="m") == (None, True)
    assert says(NITRO_CONFIG=mine, **none) == (None, True)
    assert says("m", **none) == says("m", NITRO_CONFIG=mine, **none) == ("m", False)
    assert says("m", "--no-model") == ("m", True), "which the server refuses"
    assert "no-model = true" in invoke("config", "--no-model", NITRO_CONFIG=mine).output
    assert 'model = "mine"' not in invoke("config", "--no-model", NITRO_CONFIG=mine).output
    write("[server]\nno-model = true\n")
    assert says("m", NITRO_CONFIG=mine) == says(NITRO_CONFIG=mine, NITRO_MODEL="m") == ("m", False)
    assert says(NITRO_CONFIG=mine) == (None, True)


def test_the_settings_of_the_model_to_start_with(write: Write, smollm: Path) -> None:
    file = write(
        f"""\
[models.mine]
path = "{smollm}"
alias = "little"
ctx = 2048
parallel = 2
[models.SmolLM2-135M-Instruct]
threads = 1
"""
    )
    settings = config_file.read(file).models
    for model in ("mine", "Little"):
        config = ServeConfig(model=model, model_settings=settings, parallel=4, threads=2, port=0)
        with Launch(config) as launch:
            assert launch.source and launch.spec
            assert (launch.source.path, launch.source.id) == (str(smollm), "little")
            assert (launch.spec.context, launch.spec.parallel, launch.spec.threads) == (2048, 2, 2)
    with Launch(ServeConfig(model_settings=settings, threads=2, port=0)) as launch:
        assert launch.spec and launch.spec.threads == 1


def test_a_server_offers_the_files_of_its_settings(write: Write, tmp_path: Path) -> None:
    """Two models, one of them under two names, from nitro.toml alone."""
    files = [write_gguf(tmp_path / f"{name}.gguf") for name in ("first", "second")]
    file = write(
        f"""\
[server]
model = "one"
[models.one]
path = "{files[0]}"
ctx = 512
[models.two]
path = "{files[1]}"
alias = "zwei"
ctx = 256
defaults = {{temperature = 0.25}}
"""
    )
    settings = config_file.read(file)
    config = ServeConfig(model="one", model_settings=settings.models, port=0, engine="llama", parallel=2)
    with RunningServer(config) as server:
        client = server.ready().client()
        assert sorted(model.id for model in client.models.list()) == ["one", "zwei"]
        for name in ("two", "zwei"):
            assert client.completions.create(model=name, prompt="a", max_tokens=1).model == "zwei"
        found = {model.id: model.model_extra for model in client.models.list()}
        assert {name: model["context_length"] for name, model in found.items()} == {"one": 512, "zwei": 256}
        assert found["zwei"]["default_sampling"]["temperature"] == 0.25
        with pytest.raises(openai.NotFoundError, match="three"):
            client.completions.create(model="three", prompt="a", max_tokens=1)


# What is wrong


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", ", line 2: [server] prot: there is no such setting. Did you mean port?"),
        ("[server]\nmax_queue = 1", ", line 2: [server] max_queue: there is no such setting. Did you mean max-queue?"),
        ("[server]\nzzz = 1", "[server] zzz: there is no such setting. There are model, engine, ctx,"),
        ("port = 1", ", line 1: port: there is no such setting. It belongs under [server]."),
        ("[sever]", ", line 1: sever: there is no such setting. Did you mean server?"),
        ("[models.x]\nctxx = 1", ", line 2: [models.x] ctxx: there is no such setting. Did you mean ctx?"),
        ("[models.x]\nport = 1", ", line 2: [models.x] port: there is no such setting."),
        ('models."a.b".zzz = 1', ', line 1: [models."a.b"] zzz: there is no such setting.'),
        ("[models]\nx = 1", ", line 2: [models] x: expected a table, as in [models.x]."),
        ("server = 1", ", line 1: server: expected a table, as in [server]."),
        ('[models.""]', "a model needs a name."),
        ('[server]\n\nport = "1"', ', line 3: [server] port: expected a whole number, not "1".'),
        ("[server]\nport = 1.0", "[server] port: expected a whole number, not 1.0."),
        ("[server]\nport = true", "[server] port: expected a whole number, not true."),
        ("[server]\nport = 70000", "[server] port: 70000 is not in the range 0<=x<=65535."),
        ("[server]\nctx = 15", "[server] ctx: 15 is not in the range x>=16."),
        ("[server]\nrope-scale = 0", "[server] rope-scale: 0"),
        ("[server]\nrope-scale = nan", "[server] rope-scale: nan is not valid. It must be a number."),
        ("[server]\nhost = 1", "[server] host: expected a string, not 1."),
        ('[server]\nmlock = "yes"', '[server] mlock: expected true or false, not "yes".'),
        ('[server]\nlog-level = "loud"', "[server] log-level: 'loud' is not one of 'debug', 'info'"),
        ('[server]\nallow-host = "x"', '[server] allow-host: expected a list of strings, not "x".'),
        ("[server]\nallow-host = [1]", "[server] allow-host: expected a list of strings, not [1]."),
        ('[server]\nwired-limit = "on"', "[server] wired-limit: 'on' is not valid. It must be off, recommended, or"),
        ("[server]\nwired-limit = 0", "[server] wired-limit: '0' is not valid."),
        ('[server]\nengine = "lama"', "[server] engine: there is no such engine; there are auto, mlx, llama."),
        ('[models.x]\nengine = "lama"', "[models.x] engine: there is no such engine"),
        ('[server]\napi-key = ""', "[server] api-key: it is empty"),
        ('[server]\napi-key = "a"\napi-key-file = "b"', "api-key and api-key-file do not go together."),
        ("[server.defaults]\ntemprature = 1", "defaults: there is no temprature. Did you mean temperature?"),
        ("[server]\ndefaults = 1", "[server] defaults: expected a table of sampling parameters, or a string"),
        ('[models.x]\ndefaults = "top_p=2"', "[models.x] defaults: top_p must be between 0 and 1, not 2.0."),
        ("[models.x.defaults]\ntop_p = true", "[models.x] defaults: True is not a value for top_p."),
        ("[models.x]\nkeep-alive = true", "[models.x] keep-alive: expected seconds, or a duration such as 5m"),
        ('[models.x]\nkeep-alive = "soon"', "[models.x] keep-alive: expected seconds, or a duration such as 5m"),
        ('[models.x]\npin = "yes"', '[models.x] pin: expected true or false, not "yes".'),
        ('[models.x]\n[models.y]\nalias = "x"', ", line 3: [models.y] alias: 'x' is a name of [models.x] already."),
        ("port", " is not TOML: "),
        ('[models.a]\npath = ""', ', line 2: [models.a] path: expected a path, not "".'),
        ("[server]\nport = 1\nport = 2", " is not TOML: "),
        ("[server]\nport = 1979-05-27", "[server] port: expected a whole number, not 1979-05-27."),
    ],
)
def test_what_is_wrong_is_told_with_its_place(write: Write, text: str, words: str) -> None:
    file = write(text + "\n")
    result = invoke("serve", "--config", str(file))
    assert result.exit_code == 2
    line = result.output.splitlines()[-1]
    assert line.startswith(f"Error: {file}") and words in line


@pytest.mark.parametrize("command", [["serve"], ["config"]])
def test_files_that_cannot_be_read(tmp_path: Path, command: list[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "latin").write_bytes(b'[server]\nalias = "\xe9"\n')
    (tmp_path / "long").write_bytes(b"#" * 2**21)
    words = {
        "nowhere": "No such file",
        "latin": "is not TOML",
        "long": "longer than",
        ".": "no regular file",
        "fifo": "no regular file",
    }
    for name, word in words.items():
        result = invoke(*command, "--config", str(tmp_path / name))
        assert result.exit_code == 2 and word in result.output, name


def test_deep_nonsense_is_no_crash(write: Write) -> None:
    with pytest.raises(ConfigError):
        config_file.read(write("a = " + "[" * 20_000 + "]" * 20_000))


# Where it lies


def test_the_usual_place(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert serve() == ServeConfig()
    (tmp_path / "settings" / "nitro").mkdir(parents=True)
    (tmp_path / "settings" / "nitro" / "nitro.toml").write_text("[server]\nport = 7\n")
    assert serve() == ServeConfig(port=7)
    assert serve(NITRO_CONFIG=os.devnull) == serve("--config", os.devnull) == ServeConfig()
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert config_file.usual_place() == Path("/home/me/.config/nitro/nitro.toml")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert config_file.usual_place() == Path("/home/me/Library/Application Support/nitro/nitro.toml")


def test_one_in_the_working_folder_is_not_read(
    serve: Serve, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("[server]\nport = 7\n")
    monkeypatch.chdir(tmp_path)
    assert serve() == ServeConfig()
    assert f"# {tmp_path / 'nitro.toml'} is not read: name it with --config" in invoke("config").output
    assert serve("--config", "nitro.toml") == ServeConfig(port=7)
    assert "is not read" not in invoke("config", "--config", "nitro.toml").output


def test_a_byte_order_mark_is_no_part_of_it(write: Write) -> None:
    assert config_file.read(write("\ufeff[server]\nport = 5\n")).server == {"port": 5}


def test_no_file_costs_no_toml(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    monkeypatch.setattr(config_file, "read", None)
    assert serve() == ServeConfig()


# nitro config


def test_what_holds_and_from_where(write: Write, tmp_path: Path) -> None:
    file = write(
        '# mine\n[server]\nport = 1\nctx = 99\nhost = "::1"\napi-key = "secret"\n[models."a b"]\nctx = 2048\n'
        "defaults = {top_k = 4}\n"
    )
    arguments = ("config", "x.gguf", "--config", str(file), "--port", "2", "--mlock")
    result = invoke(*arguments, NITRO_CTX="512", NITRO_ALIAS="me")
    assert result.exit_code == 0 and "secret" not in result.output
    lines = dict(
        line.split("  #")[0].strip() and line.rsplit(" # ", 1) for line in result.output.splitlines() if " # " in line
    )
    found = {key.strip(): place for key, place in lines.items()}
    assert found == found | {
        'model = "x.gguf"': "MODEL",
        "port = 2": "--port",
        "mlock = true": "--mlock",
        "ctx = 512": "NITRO_CTX",
        'alias = "me"': "NITRO_ALIAS",
        'host = "::1"': f"{file}:5",
        '# api-key = "***"': f"{file}:6",
        "# parallel = 8": "default",
        "# threads": "not set",
        "ctx = 2048": f"{file}:8",
        'defaults = {"top_k" = 4}': f"{file}:9",
    }
    assert tomllib.loads(result.output) == {
        "server": {"model": "x.gguf", "port": 2, "mlock": True, "ctx": 512, "alias": "me", "host": "::1"},
        "models": {"a b": {"ctx": 2048, "defaults": {"top_k": 4}}},
    }
    shown = json.loads(invoke(*arguments, "--json", NITRO_CTX="512").stdout)
    assert shown["file"] == str(file)
    assert shown["server"]["ctx"] == {"value": 512, "from": "variable", "where": "NITRO_CTX"}
    assert shown["server"]["port"] == {"value": 2, "from": "flag", "where": "--port"}
    assert shown["server"]["host"] == {"value": "::1", "from": "file", "where": f"{file}:5"}
    assert shown["server"]["parallel"] == {"value": 8, "from": "default", "where": None}
    assert shown["server"]["api-key"]["value"] == "***"
    assert shown["server"]["models"] == {"value": [], "from": "default", "where": None}
    assert shown["models"] == {
        "a b": {
            "ctx": {"value": 2048, "from": "file", "where": f"{file}:8"},
            "defaults": {"value": {"top_k": 4}, "from": "file", "where": f"{file}:9"},
        }
    }


def test_its_output_is_a_file_that_says_the_same(serve: Serve, write: Write, tmp_path: Path) -> None:
    arguments = [part for flag, _, text, *_ in OPTIONS if flag != "--api-key" for part in (flag, text)]
    switches = [flag for flag, _ in SWITCHES]
    whole = serve(*arguments, *switches)
    kept = Path("kept").absolute()
    files = {"chat_template": "a.jinja", "keys": "k.toml", "tls_cert": "c.pem", "tls_key": "k.pem", "uds": "n.sock"}
    places = {name: Path(file).absolute() for name, file in files.items()}
    places |= {"state": kept, "record": kept, "prefix_cache": kept}
    whole = replace(whole, models=(Path("shelf").absolute(),), **places)
    shown = invoke("config", *arguments, *switches).output
    assert serve("--config", str(write(shown))) == whole


def test_a_key_from_a_file_is_told_as_such(write: Write, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    file = write('[server]\napi-key-file = "key"\n')
    shown = json.loads(invoke("config", "--config", str(file), "--json").output)
    assert shown["server"]["api-key"] == {"value": "***", "from": "file", "where": f"{file}:2"}


def test_where_it_is_looked_for(write: Write, tmp_path: Path) -> None:
    assert invoke("config", "--path").output == f"{tmp_path}/settings/nitro/nitro.toml\n"
    file = write("")
    assert invoke("config", "--path", NITRO_CONFIG=str(file)).output == f"{file}\n"


# Lines


def test_lines_of_keys() -> None:
    text = '''\
# port = 0
[server] # it
port = 1
host = """
port = 5
[no]
"""
'a = b' = 1
defaults.top_p = 1
[models."x.y"]
ctx = 1
ctx.x = 1
[[list]]
server = 1
'''
    assert toml_lines.find(text) == {
        ("server",): 2,
        ("server", "port"): 3,
        ("server", "host"): 4,
        ("server", "a = b"): 8,
        ("server", "defaults", "top_p"): 9,
        ("models", "x.y"): 10,
        ("models", "x.y", "ctx"): 11,
        ("models", "x.y", "ctx", "x"): 12,
        ("list",): 13,
        ("list", "server"): 14,
    }
