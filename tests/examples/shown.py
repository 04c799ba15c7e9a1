"""The examples of the documentation: programs that pages show and tests run, each in three languages.

A folder with an `example.toml` is an example. It says which routes its programs call, what each of them prints (a
regular expression), against which server it is tried (tests/clients/test_examples.py) and, where a program needs more
than the OpenAI SDK has, in which client's environment. The pages show the three files as they are.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent
FILES = {"sh": "curl.sh", "python": "python.py", "js": "javascript.mjs"}  # by the language that Markdown names


@dataclass(frozen=True)
class Example:
    name: str
    routes: tuple[str, ...]  # "POST /v1/responses/{response_id}/cancel"
    shows: str
    server: str = "plain"
    python: str = "openai_python"
    javascript: str = "openai_node"
    files: dict[str, str] = field(default_factory=dict)  # a path in the programs → what lies there
    said: dict[str, str] = field(default_factory=dict)  # a text in the programs → what is sent to a scripted model

    def text(self, language: str) -> str:
        return (FOLDER / self.name / FILES[language]).read_text(encoding="utf-8")


def read() -> list[Example]:
    return [_read(file) for file in sorted(FOLDER.glob("*/example.toml"))]


def _read(file: Path) -> Example:
    told = tomllib.loads(file.read_text(encoding="utf-8"))
    return Example(file.parent.name, tuple(told.pop("routes")), **told)
