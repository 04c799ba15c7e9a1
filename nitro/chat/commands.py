"""What a line that begins with "/" does. A command is a row in COMMANDS."""

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nitro.chat.client import End
from nitro.chat.connection import Connection, no_model
from nitro.chat.conversation import RESERVED, Conversation, from_json, parameter
from nitro.engines.sampling_params import SPEC
from nitro.errors import ChatError

MAX_FILE_BYTES = 2**26
PARAMETERS = (*SPEC, "max_tokens", "seed", "stop", "response_format", "reasoning_effort")  # that are suggested


class Talk(Protocol):
    """What commands act on: a session."""

    connection: Connection
    conversation: Conversation
    names: list[str]  # of the server's models
    ended: bool

    def tell(self, line: str) -> None:
        """Print something that no model said."""


@dataclass(frozen=True)
class Command:
    """`run` gets what stands behind the name, without the white space around it."""

    arguments: str
    help: str
    run: Callable[[Talk, str], None]


def run(session: Talk, line: str) -> None:
    """Do what the line says. Raises ChatError."""
    name, _, rest = line.strip().partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"Did you mean {near[0]}?" if near else "/help lists them."
        raise ChatError(f"There is no command {name}. {hint} To say it, begin with a space.")
    command.run(session, rest.strip())


def suggest(session: Talk, typed: str) -> Sequence[str]:
    """Lines that this one may become."""
    name, space, rest = typed.partition(" ")
    if not space:
        words, before = list(COMMANDS), ""
    else:
        words = {"/model": session.names, "/set": list(PARAMETERS)}.get(name, [])
        before = f"{name} "
    return [before + word for word in words if word.startswith(rest if space else name)]


def _model(session: Talk, name: str) -> None:
    client = session.connection.client
    if name:
        if (found := client.model(name)) is None:
            raise no_model(client, name)
        session.conversation.model = found
        return session.tell(f"{found} from now on")
    listed = client.models()
    session.names = [str(model["id"]) for model in listed]
    for model in listed:
        marks = ["loaded"] if model.get("loaded") else []
        marks += ["in use"] if model["id"] == session.conversation.model else []
        session.tell(f"{model['id']}  {', '.join(marks)}".rstrip())


def _system(session: Talk, text: str) -> None:
    conversation = session.conversation
    if text:
        conversation.system = None if text == "default" else text
    session.tell(f"system message: {conversation.system or 'the model’s own'}")


def _clear(session: Talk, _: str) -> None:
    session.conversation.messages.clear()
    session.tell("a new conversation")


def _set(session: Talk, text: str) -> None:
    name, _, value = text.replace("=", " ", 1).partition(" ")
    parameters = session.conversation.parameters
    if name in RESERVED:
        raise ChatError(f"{name} is not to be set here.")
    if name and value.strip():
        meant = parameter(value.strip())
        _check(session, name, meant)
        parameters[name] = meant
    elif name:
        if name not in parameters:
            raise ChatError(f"{name} is not set.")
        del parameters[name]
    shown = (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in parameters.items())
    session.tell(", ".join(shown) or "no parameter is set")


def _check(session: Talk, name: str, value: object) -> None:
    """Have the server look at a parameter, in a request for one token. Raises ChatError with what it says."""
    question = {"role": "user", "content": "?"}
    body = {"model": session.conversation.model, "messages": [question], "max_tokens": 1, name: value}
    stream = session.connection.client.ask(body)
    try:
        while not isinstance(came := stream.next(), End):
            pass
    finally:
        stream.stop()
    if came.error:
        raise came.error
    if name in stream.answer.ignored:
        near = difflib.get_close_matches(name, PARAMETERS, 1)
        raise ChatError(f"{name} has no effect on this server.{f' Did you mean {near[0]}?' if near else ''}")


def _save(session: Talk, text: str) -> None:
    file = _file(text)
    try:
        if file.exists():
            from_json(_read(file))  # what is no conversation is not overwritten
        file.write_text(session.conversation.to_json(), encoding="utf-8", errors="surrogatepass")
    except OSError as error:
        raise ChatError(f"{file}: {error.strerror}.") from None
    except ChatError as error:
        raise ChatError(f"{file} is there already, and {error}") from None
    session.tell(f"saved in {file}")


def _load(session: Talk, text: str) -> None:
    file = _file(text)
    try:
        loaded = from_json(_read(file))
    except OSError as error:
        raise ChatError(f"{file}: {error.strerror}.") from None
    except ChatError as error:
        raise ChatError(f"{file}: {error}") from None
    model = session.conversation.model
    if loaded.model and loaded.model != model:
        model = session.connection.client.model(loaded.model) or model
    loaded.model = model
    session.conversation = loaded
    session.tell(f"{len(loaded.messages)} messages; the model is {model or 'the default'}")


def _file(text: str) -> Path:
    if not text:
        raise ChatError("Name a file.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ChatError(str(error)) from None


def _read(file: Path) -> str:
    """Raises OSError, ChatError."""
    if not file.is_file() and file.exists():
        raise ChatError("it is no regular file.")
    with file.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ChatError(f"it is longer than {MAX_FILE_BYTES} bytes.")
    return data.decode(errors="replace")


def _help(session: Talk, _: str) -> None:
    for name, command in COMMANDS.items():
        session.tell(f"{f'{name} {command.arguments}'.rstrip():22} {command.help}")
    session.tell("Alt-Enter, or \\ at a line's end, begins another line. Ctrl-C stops an answer. Ctrl-D ends.")


def _exit(session: Talk, _: str) -> None:
    session.ended = True


COMMANDS = {
    "/help": Command("", "show this", _help),
    "/model": Command("[NAME]", "list the models, or talk to another one", _model),
    "/system": Command("[TEXT]", "show or set the system message; default: the model’s own", _system),
    "/set": Command("[NAME [VALUE]]", "show, set or remove a parameter, as in /set temperature 0.2", _set),
    "/clear": Command("", "begin a new conversation", _clear),
    "/save": Command("FILE", "save the conversation", _save),
    "/load": Command("FILE", "go on with a saved one", _load),
    "/exit": Command("", "end, as Ctrl-D does", _exit),
}
