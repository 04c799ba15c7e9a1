"""`nitro chat` without a terminal: what is typed, what is said to a real server, and what a conversation keeps."""

import io
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from runners import Gate
from running import CEILING, FAKE, RunningServer
from terminal import Terminal
from tiny_models import write_gguf

from nitro.chat import commands
from nitro.chat.client import Answer, Client, End, Refused, Unreachable
from nitro.chat.connection import Connection, Wanted, at_url, connect
from nitro.chat.conversation import Conversation, from_json, parameter
from nitro.chat.input_line import InputLine, _Commands
from nitro.chat.session import ChatSession, summary
from nitro.errors import ChatError
from nitro.system.held_port import held_port

GATED = "runners:GatedRunner"


class Screen(io.StringIO):
    """A file for a terminal. `answers` once an answer of the fake engine shows: it says "?@A"."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()

    def write(self, text: str) -> int:
        if "@" in text:
            self.answers.set()
        return super().write(text)


class Talk:
    """A session whose terminal is a file."""

    def __init__(self, url: str, **options: bool):
        self.screen = self._file = Screen()
        console = Console(file=self._file, force_terminal=True, width=100, highlight=False)
        client = Client(url)
        self.session = ChatSession(Connection(client, client.models()[0]["id"]), Conversation(), console, **options)
        self.session.names = [model["id"] for model in client.models()]
        self._seen = 0

    def take(self, text: str) -> list[str]:
        """What the terminal shows of it."""
        self.session.take(text)
        new = self._file.getvalue()[self._seen :]
        self._seen += len(new)
        return Terminal(100).feed(new.replace("\n", "\r\n")).lines

    @property
    def kept(self) -> list[tuple[str, str]]:
        return [(message["role"], message["content"]) for message in self.session.conversation.messages]


@pytest.fixture
def talk(saying: RunningServer) -> Talk:
    return Talk(saying.url)


def script(text: str) -> str:
    return f"␂{text}␃"


# Saying something


def test_an_answer_is_shown_and_kept(talk: Talk) -> None:
    *shown, last = talk.take(script("It **is**.\n\nSo it is."))
    assert shown == ["It is.", "", "So it is."]
    assert " tokens · " in last and " tokens/s · first after " in last
    assert talk.kept == [("user", script("It **is**.\n\nSo it is.")), ("assistant", "It **is**.\n\nSo it is.")]


def test_reasoning_is_shown_and_not_kept(saying: RunningServer) -> None:
    for fold, first in ((False, "I see"), (True, "thought for ")):
        talk = Talk(saying.url, fold=fold)
        talk.session.conversation.parameters["reasoning_effort"] = "high"
        shown = talk.take(script("I see</think>Yes"))
        assert shown[0].startswith(first) and "Yes" in shown
        assert talk.kept[1] == ("assistant", "Yes")


def test_an_error_is_a_line_and_the_conversation_goes_on(talk: Talk) -> None:
    assert talk.take(script("yes"))[0] == "yes"
    kept = talk.kept
    talk.session.conversation.parameters["top_p"] = 2
    assert talk.take("x") == ["Invalid value for 'top_p': expected at most 1, got 2.0."]
    assert talk.kept == kept
    talk.session.conversation.parameters.clear()
    assert talk.take(script("no"))[0] == "no" and len(talk.kept) == 4


def test_a_server_that_is_gone(talk: Talk) -> None:
    with held_port() as port:
        talk.session.connection = Connection(Client(f"127.0.0.1:{port}"), "")
        assert talk.take("x") == [f"127.0.0.1:{port} cannot be reached: Connection refused."]
        assert talk.take("/model") == talk.take("/set top_k 1") == talk.take("x")


@contextmanager
def answering(*parts: bytes) -> Iterator[str]:
    """A server that answers the one request that it gets with these bytes, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                length = 0
                while (line := stream.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split()[1])
                stream.read(length)
                for part in parts:
                    connection.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(CEILING)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
CHUNKED = HEAD.replace(b"connection: close", b"transfer-encoding: chunked")
WORD = b'data: {"choices": [{"delta": {"content": "word"}}]}\n\n'
LAST = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'


@pytest.mark.parametrize(
    ("parts", "content", "error"),
    [
        ([HEAD, WORD, LAST, b"data: [DONE]\n\n"], "word", None),
        ([HEAD, WORD[:9], WORD[9:] + LAST[:30], LAST[30:]], "word", None),
        ([HEAD.replace(b"\r\n", b"\n"), b": keepalive\n\n", WORD.replace(b"\n", b"\r\n"), LAST], "word", None),
        ([HEAD, WORD], "word", "The connection was closed before the answer's end."),
        ([CHUNKED, b"%x\r\n" % len(WORD), WORD], "word", "The connection was closed before the answer's end."),
        ([HEAD, WORD, b'data: {"error": {"message": "It broke."}}\n\n'], "word", "It broke."),
        ([HEAD, b"data: nonsense\n\n"], "", "cannot be reached: JSON is malformed"),
        ([b"HTTP/1.1 429 Too Many\r\ncontent-length: 0\r\n\r\n"], "", "The server answers with status 429."),
        ([b'HTTP/1.1 400 Bad\r\n\r\n{"error": "no"}'], "", "no"),
        ([b'HTTP/1.1 400 Bad\r\n\r\n["no"]'], "", "The server answers with status 400."),
        ([b"SSH-2.0\r\n\r\n"], "", "cannot be reached: SSH-2.0"),
        ([b""], "", "cannot be reached: Remote end closed connection"),
    ],
)
def test_answers_of_other_servers(parts: list[bytes], content: str, error: str | None) -> None:
    with answering(*parts) as url:
        stream = Client(url).ask({})
        while not isinstance(came := stream.next(CEILING), End):
            assert came is not None
    assert stream.answer.content == content
    assert (error or "") in str(came.error or "") and bool(error) is bool(came.error)


def test_ctrl_c_stops_the_answer_and_keeps_it(serve: Callable[..., RunningServer], gate: Gate) -> None:
    """A real signal, sent when the answer shows."""
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    talk = Talk(server.url)

    def step() -> None:
        gate.step(3)
        talk.screen.answers.wait(CEILING)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=step)
    thread.start()
    before = signal.getsignal(signal.SIGINT)
    shown = talk.take("hi")
    thread.join(CEILING)
    assert signal.getsignal(signal.SIGINT) is before
    assert shown[-1].endswith("· stopped")
    assert talk.kept[0] == ("user", "hi") and "?@A".startswith(talk.kept[1][1])
    gate.open()
    assert server.log_line()
    assert talk.take("hi")[0].endswith("~")


def test_ctrl_c_before_the_first_word_keeps_nothing(serve: Callable[..., RunningServer], gate: Gate) -> None:
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    talk = Talk(server.url)
    threading.Thread(target=lambda: (gate.wait_inside(), os.kill(os.getpid(), signal.SIGINT))).start()
    assert talk.take("hi")[-1].endswith("stopped") and talk.kept == []
    gate.open()


def test_the_line_under_an_answer() -> None:
    whole = Answer(content="x", finish="stop", tokens=11, ttft=0.5, duration=1.5)
    assert summary(whole) == "11 tokens · 10.0 tokens/s · first after 0.50 s"
    assert summary(Answer(finish="length", tokens=1, ttft=0.5, duration=0.5, ignored=("user",))) == (
        "1 token · first after 0.50 s · cut: no room for more tokens · without effect: user"
    )
    assert summary(Answer(pieces=3, ttft=1, duration=2)) == "3 tokens · 2.0 tokens/s · first after 1.00 s · stopped"


# Commands


def test_parameters_are_checked_by_the_server(talk: Talk) -> None:
    assert talk.take("/set") == ["no parameter is set"]
    assert talk.take("/set temperature 0.2") == ["temperature = 0.2"]
    assert talk.take("/set top_k=4") == ["temperature = 0.2, top_k = 4"]
    assert talk.take('/set stop ["a", "b"]') == ['temperature = 0.2, top_k = 4, stop = ["a", "b"]']
    assert talk.take("/set top_k") == ['temperature = 0.2, stop = ["a", "b"]']
    assert "expected at most 1, got 3" in talk.take("/set top_p 3")[0]
    assert talk.take("/set temprature 1") == ["temprature has no effect on this server. Did you mean temperature?"]
    assert talk.take("/set messages []") == ["messages is not to be set here."]
    assert talk.take("/set seed") == ["seed is not set."]
    assert talk.session.conversation.parameters == {"temperature": 0.2, "stop": ["a", "b"]}


def test_a_system_message(talk: Talk) -> None:
    assert talk.take("/system") == ["system message: the model’s own"]
    talk.take("/system Be brief.  Be kind.")
    assert talk.session.conversation.body("x")["messages"][0] == {"role": "system", "content": "Be brief.  Be kind."}
    assert talk.take("/system") == ["system message: Be brief.  Be kind."]
    talk.take("/system default")
    assert talk.session.conversation.body("x")["messages"] == [{"role": "user", "content": "x"}]


def test_another_model(talk: Talk, saying: RunningServer) -> None:
    name = talk.session.names[0]
    assert talk.take("/model") == [f"{name}  loaded"]
    assert talk.take(f"/model {name}") == [f"{name} from now on"]
    assert talk.take("/model") == [f"{name}  loaded, in use"]
    assert talk.take("/model other/one") == [f"{saying.url}/v1 has no model other/one; it has {name}."]
    assert talk.session.conversation.model == name


def test_a_new_conversation(talk: Talk) -> None:
    talk.take(script("yes"))
    talk.take("/clear")
    assert talk.kept == []


def test_a_conversation_is_saved_and_loaded(talk: Talk, saying: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    talk.take("/system Be brief.")
    talk.take("/set top_k 4")
    talk.take(script("Grüße"))
    assert talk.take(f"/save {file}") == talk.take(f"/save {file}") == [f"saved in {file}"]
    other = Talk(saying.url)
    assert other.take(f"/load {file}")[0].startswith("2 messages; the model is ")
    assert other.kept == talk.kept and other.session.conversation.system == "Be brief."
    assert other.session.conversation.parameters == {"top_k": 4}
    assert json.loads(file.read_text())["messages"][2]["content"] == "Grüße"


def test_files_that_hold_no_conversation(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear aunt")
    os.mkfifo(tmp_path / "fifo")
    assert talk.take(f"/save {tmp_path / 'letter'}")[0].startswith(f"{tmp_path / 'letter'} is there already, and it is")
    assert (tmp_path / "letter").read_text() == "Dear aunt"
    for name, words in {
        "letter": "it is not JSON",
        "nowhere": "No such file",
        "fifo": "no regular",
        ".": "no regular",
    }.items():
        assert words in " ".join(talk.take(f"/load {tmp_path / name}")), name
    assert "no regular file" in " ".join(talk.take(f"/save {tmp_path / 'fifo'}"))
    assert "No such file" in " ".join(talk.take(f"/save {tmp_path / 'no' / 'where'}"))
    assert talk.take("/save") == talk.take("/load") == ["Name a file."]


@pytest.mark.parametrize("text", ["1", "{}", '{"messages": [1]}', '{"messages": [{"role": 1}]}', "[" * 100_000, "["])
def test_what_is_no_conversation(text: str) -> None:
    with pytest.raises(ChatError):
        from_json(text)


def test_messages_alone_are_a_conversation() -> None:
    loaded = from_json('[{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]')
    assert loaded == Conversation("", "s", {}, [{"role": "user", "content": "u"}])
    assert from_json('{"messages": [], "stream": true, "n": 2, "top_k": 1}').parameters == {"top_k": 1}
    assert [parameter(text) for text in ("1", "true", "x y", '"1"', "NaN x")] == [1, True, "x y", "1", "NaN x"]


def test_unknown_commands(talk: Talk) -> None:
    assert talk.take("/modle") == ["There is no command /modle. Did you mean /model? To say it, begin with a space."]
    assert talk.take("/etc/passwd")[0].startswith("There is no command /etc/passwd. /help lists them.")
    assert talk.take(" /etc " + script("yes"))[0] == "yes"


def test_help_lists_all(talk: Talk) -> None:
    said = "\n".join(talk.take("/help"))
    assert all(name in said for name in commands.COMMANDS)


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        ("/m", ["/model"]),
        ("/s", ["/system", "/set", "/save"]),
        ("/model run", ["/model runners:SayingRunner"]),
        ("/set temp", ["/set temperature"]),
        ("/nothing x", []),
        ("/clear ", []),
    ],
)
def test_completion(talk: Talk, typed: str, lines: list[str]) -> None:
    talk.session.names = ["runners:SayingRunner", "other"]
    assert list(commands.suggest(talk.session, typed)) == lines


# Who answers


def test_the_server_that_runs_is_used(saying: RunningServer) -> None:
    with connect(Wanted(None, None, saying.url)) as found:
        assert (found.client.url, found.is_own) == (f"{saying.url}/v1", False)
        name = found.model
    with connect(Wanted(name, None, saying.url)) as found:
        assert (found.model, found.is_own) == (name, False)


def test_a_server_is_started_and_ended(saying: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NITRO_ENGINE", FAKE)
    monkeypatch.setenv("NITRO_API_KEY_FILE", "/nowhere")
    for name, usual in ((None, "http://127.0.0.1:1"), ("other/one", saying.url)):
        started = []
        with connect(Wanted(name, None, usual), lambda: started.append(True)) as found:  # noqa: B023
            assert started and found.is_own and found.model == (name or "FakeRunner")
            client = found.client
            assert found.client.models()
            with pytest.raises(Refused) as refused:
                Client(client.url).models()
            assert refused.value.status == 401, "nobody else can use it"
        with pytest.raises(Unreachable):
            client.models()


def test_a_chat_ends_with_its_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NITRO_ENGINE", FAKE)
    with connect(Wanted(None, None, "http://127.0.0.1:1")) as found:
        assert found.own
        session = ChatSession(found, Conversation(), Console(file=io.StringIO()))
        found.own._process.kill()
        found.own._process.wait()
        with pytest.raises(ChatError, match=r"^The server of this chat was killed by signal 9; start it again\.$"):
            session.take("Hello")


def test_a_server_that_cannot_start_says_why() -> None:
    wanted = Wanted("/nowhere/model.gguf", None, "http://127.0.0.1:1")
    with pytest.raises(ChatError, match=r"^/nowhere/model\.gguf: no such file\.$"), connect(wanted):
        pass


def test_a_server_that_wants_a_key(serve: Callable[..., RunningServer]) -> None:
    server = serve(api_key="secret")
    with pytest.raises(ChatError, match="Give it with --api-key-file"), connect(Wanted(None, None, server.url)):
        pass
    with connect(Wanted(None, None, server.url, "secret")) as found:
        assert not found.is_own


def test_a_url_is_used_or_refused(saying: RunningServer) -> None:
    with connect(Wanted(None, saying.url.removeprefix("http://") + "/v1", "http://127.0.0.1:1")) as found:
        assert found.client.url == f"{saying.url}/v1"
    with pytest.raises(ChatError, match="has no model other; it has "):
        at_url(Client(saying.url), "other")
    for url, words in (("http://127.0.0.1:1", "cannot be reached"), ("ftp://x", "is not the URL of a server")):
        with pytest.raises(ChatError, match=words), connect(Wanted(None, url, "")):
            pass


@pytest.mark.parametrize("body", [b"hello", b"[]", b"{}", b'{"data": [1]}'])
def test_something_else_at_a_url(body: bytes) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + body) as url, pytest.raises(ChatError, match="as this API does"):
        Client(url).models()


def test_a_server_with_many_models(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """The one that is named is loaded by the first thing that is said to it, and the other gives way."""
    files = [write_gguf(tmp_path / f"{name}.gguf") for name in ("anna", "bert")]
    options = {"model": str(files[0]), "alias": "anna", "models": (tmp_path,), "models_max": 1}
    server = serve(engine="runners:ShelfRunner", **options).ready()
    with connect(Wanted(None, None, server.url)) as found:
        assert found.model == ""
    with connect(Wanted("bert", None, server.url)) as found:
        assert (found.model, found.is_own) == ("bert", False)
    talk = Talk(server.url)
    assert talk.take("/model") == ["anna  loaded", "bert"]
    assert talk.take("/model bert") == ["bert from now on"]
    assert "bert" in talk.take("hi")[0]
    assert talk.take("/model") == ["anna", "bert  loaded, in use"]
    assert list(commands.suggest(talk.session, "/model b")) == ["/model bert"]


# The line that is typed


def typed(keys: str, history: Path | None = None) -> list[str]:
    """The texts that these keys make, until Ctrl-D or its like."""
    texts = []
    with create_pipe_input() as pipe:
        pipe.send_text(keys)
        line = InputLine(
            lambda text: ["/model", "/mode"] if text.startswith("/m") else [], history, pipe, DummyOutput()
        )
        try:
            while True:
                texts.append(line.ask())
        except EOFError:
            return texts


@pytest.mark.parametrize(
    ("keys", "texts"),
    [
        ("one\rtwo\r\x04", ["one", "two"]),
        ("one\x1b\rtwo\r\x04", ["one\ntwo"]),
        ("one\\\rtwo\r\x04", ["one\ntwo"]),
        ("one\x03two\r\x03", ["two"]),
        ("\x1b[200~a\nb\x1b[201~\r\x04", ["a\nb"]),
        ("\r\x04", [""]),
        ("\x04", []),
        ("\x03", []),
    ],
)
def test_keys(keys: str, texts: list[str]) -> None:
    assert typed(keys) == texts


def test_history_is_kept_from_others(tmp_path: Path) -> None:
    file = tmp_path / "new" / "history"
    assert typed("one\x1b\rtwo\rthree\r\x04", file) == ["one\ntwo", "three"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(FileHistory(str(file)).load_history_strings()) == ["three", "one\ntwo"]


def test_without_a_place_for_history(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert typed("one\r\x04", tmp_path / "file" / "history") == ["one"]


def test_what_is_completed() -> None:
    completer = _Commands(lambda line: ["/model qwen", "/model qwen-2"] if line == "/model q" else [])

    def found(text: str) -> list[tuple[str, int]]:
        return [(each.text, each.start_position) for each in completer.get_completions(Document(text), CompleteEvent())]

    assert found("/model q") == [("qwen", -1), ("qwen-2", -1)]
    assert found("model q") == found("a\n/model q") == []
