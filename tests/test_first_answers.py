"""What a person gets who asks the embedded model something and sets nothing: the default system message and sampling.

Twenty questions to real weights on llama.cpp. The limits have room for the rounding of other processors.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from running import CEILING, RunningServer, server_process

from nitro.models import default_model

OWN = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"  # what the model's template adds by itself
HELLO, FRANCE = "Hello", "What is the capital of France?"

QUESTIONS = {
    HELLO: r"^(Hello|Hi)\b[^']*(I'm here to|can I) (help|assist)",
    FRANCE: r"The capital of France is Paris",
    "What is the capital of Italy?": r"Rome",
    "What is the capital of Japan?": r"Tokyo",
    "What is the capital of Spain?": r"Madrid",
    "What is 2 + 2?": r"\b(4|four)\b",
    "What color is the sky on a clear day?": r"blue",
    "How many days are in a week?": r"\b(7|seven)\b",
    "How many legs does a spider have?": r"\b(8|eight)\b",
    "Who wrote Romeo and Juliet?": r"Shakespeare",
    "What is the chemical formula of water?": r"H2O",
    "What is the opposite of hot?": r"cold",
    "What language is spoken in Brazil?": r"Portuguese",
    "How many months are in a year?": r"\b(12|twelve)\b",
    "Which planet do we live on?": r"Earth",
    "What do bees make?": r"honey",
    "What is the largest ocean on Earth?": r"Pacific",
    "Name a fruit that is yellow.": r"banana|lemon|pineapple|mango",
    "In which country is the Eiffel Tower?": r"France",
    "Who was the first president of the United States?": r"Washington",
}


def ask(server: RunningServer, question: str, system: str | None = None, **options: object) -> str:
    messages = [{"role": "system", "content": system}] if system is not None else []
    body = {"messages": [*messages, {"role": "user", "content": question}], "max_tokens": 20, "seed": 7, **options}
    reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=2 * CEILING)
    content: str = reply.json()["choices"][0]["message"]["content"]
    return content


def right(server: RunningServer, system: str | None = None, **options: object) -> list[str]:
    """The questions that are answered right."""
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda question: ask(server, question, system, **options), QUESTIONS)
    return [question for answer, question in zip(answers, QUESTIONS, strict=True) if is_right(question, answer)]


def is_right(question: str, answer: str) -> bool:
    return re.search(QUESTIONS[question], answer, re.IGNORECASE) is not None


@pytest.mark.parametrize("options", [{"temperature": 0}, {}], ids=["greedily", "as it comes"])
@pytest.mark.parametrize("question", [HELLO, FRANCE])
def test_the_first_thing_that_a_person_asks(smollm_server: RunningServer, question: str, options: dict) -> None:
    answer = ask(smollm_server, question, **options)
    assert is_right(question, answer), answer


def test_twenty_questions(smollm_server: RunningServer) -> None:
    greedy, drawn = right(smollm_server, temperature=0), right(smollm_server)
    own = right(smollm_server, OWN, temperature=0)
    assert min(len(greedy), len(drawn)) >= 14, (greedy, drawn)
    assert len(own) < len(greedy), (own, greedy)  # which of them it misses depends on the processor


def prompt_tokens(server: RunningServer, *messages: tuple[str, str], **options: object) -> int:
    body = {"messages": [{"role": role, "content": text} for role, text in messages], "max_tokens": 1, **options}
    usage = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=CEILING).json()["usage"]
    count: int = usage["prompt_tokens"]
    return count


def test_any_system_message_overrides_it(smollm_server: RunningServer) -> None:
    asked = ("user", "Hello")
    default = prompt_tokens(smollm_server, asked)
    assert default == prompt_tokens(smollm_server, ("system", default_model.SYSTEM), asked)
    assert default > prompt_tokens(smollm_server, ("system", "Hi"), asked)
    assert prompt_tokens(smollm_server, ("developer", "Hi"), asked) == prompt_tokens(
        smollm_server, ("system", "Hi"), asked
    )
    assert prompt_tokens(smollm_server, ("system", ""), asked) < prompt_tokens(smollm_server, ("system", "Hi"), asked)


def test_a_text_is_continued_as_it_is(smollm_server: RunningServer) -> None:
    body = {"prompt": "Hello", "max_tokens": 1}
    usage = httpx.post(f"{smollm_server.url}/v1/completions", json=body, timeout=CEILING).json()["usage"]
    assert usage["prompt_tokens"] == 1


def test_it_is_told(smollm_server: RunningServer) -> None:
    (model,) = httpx.get(f"{smollm_server.url}/v1/models").json()["data"]
    assert model["default_system_message"] == default_model.SYSTEM
    assert model["default_sampling"] == {"temperature": 0.2, "top_p": 0.9}


@pytest.fixture(scope="module")
def banner() -> Iterator[str]:
    with server_process("--ctx", "256") as server:
        server.wait_ready()
        while not any("system " in line for line in server.said):
            server.said.append(server.process.stderr.readline())
        yield "".join(server.said)


def test_the_banner_tells_it(banner: str) -> None:
    assert f"system   {default_model.SYSTEM!r} where a request has no system message\n" in banner


def test_another_template_and_the_file_by_its_name_go_without(serve, smollm, tmp_path) -> None:
    """Their owner has chosen them."""
    template = tmp_path / "plain.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    for options in ({"model": str(smollm)}, {"model": None, "chat_template": template}):
        server = serve(engine="llama", context=256, **options).ready()
        (model,) = httpx.get(f"{server.url}/v1/models").json()["data"]
        assert model["default_system_message"] is None
    assert prompt_tokens(server, ("user", "Hello")) == 1
