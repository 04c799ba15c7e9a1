"""What may take too long is done in a process apart, which ends alone: the engine goes on, and so do all others."""

import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import slow_tokenizers
from running import CEILING
from slow_tokenizers import BURN, DIE, HOARD, WAIT, SlowRunner

from nitro.engines.backends import loading
from nitro.engines.constraints.grammar import GrammarCompiler
from nitro.engines.constraints.grammar_errors import CompileCancelled, GrammarError
from nitro.engines.options import EngineOptions
from nitro.engines.types import Constraint, EngineSpec, ModelInfo, Place, Schema
from nitro.engines.worker.apart import processes as module
from nitro.engines.worker.apart import warming
from nitro.engines.worker.apart.apart import Apart
from nitro.engines.worker.apart.constraints import ConstraintCompiler
from nitro.engines.worker.apart.processes import Processes
from nitro.engines.worker.apart.questions import Encode, Encoded, Limits
from nitro.engines.worker.apart.tokenizer import HERE, GuardedTokenizer
from nitro.engines.worker.apart.warming import Warming
from nitro.engines.worker.jobs import Abandoned, NoHelp, TooMuch
from nitro.system.spawn import Spawned

LIMITS = Limits("tokenize", 0.3, 256)
ENOUGH = Limits("tokenize", CEILING, 256)
CHOICE = Constraint("choice", '["yes", "no"]', "choice")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes nothing from processor time."""
    monkeypatch.setattr(module, "WALL_CLOCK_FACTOR", 1000)


def slow() -> tuple[slow_tokenizers.SlowTokenizer, ModelInfo]:
    runner = SlowRunner(EngineSpec("fake", ""))
    return runner.tokenizer, runner.info


@contextmanager
def apart_of(options: EngineOptions) -> Iterator[Apart]:
    apart = Apart.of(*slow(), options)
    assert apart
    try:
        yield apart
    finally:
        apart.processes.close()


@pytest.fixture
def apart() -> Iterator[Apart]:
    with apart_of(EngineOptions(compile_seconds=0.3, compile_memory=256, tokenize_seconds=0.3)) as apart:
        yield apart


def encoded(processes: Processes, text: str, limits: Limits = ENOUGH) -> bytes:
    answer = processes.ask(Encode(text.encode(), False, limits))
    assert isinstance(answer, Encoded)
    return answer.ids


def pids(processes: Processes) -> list[int]:
    return [process._spawned.process.pid for _, process in processes._idle]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BURN, r"takes more than 0\.3 seconds of computing \(--tokenize-seconds\)"),
        (HOARD, r"takes more than 256 MiB of memory \(--tokenize-memory\)"),
        (DIE, r"has ended the process that did it \(SIGKILL\)"),
    ],
)
def test_a_question_that_takes_too_much_is_ended(apart: Apart, text: str, words: str) -> None:
    with pytest.raises(TooMuch, match=words):
        apart.processes.ask(Encode(text.encode(), False, LIMITS if text == BURN else ENOUGH))
    assert pids(apart.processes) == [], "nothing is kept of it"
    assert encoded(apart.processes, "ab") == bytes([97, 0, 0, 0, 98, 0, 0, 0])


def test_one_process_answers_one_question_after_the_other(apart: Apart) -> None:
    encoded(apart.processes, "a")
    (pid,) = pids(apart.processes)
    apart.processes.prepare()
    encoded(apart.processes, "b")
    assert pids(apart.processes) == [pid]


def test_nobody_is_waited_for_who_has_left(apart: Apart) -> None:
    with pytest.raises(Abandoned):
        apart.processes.ask(Encode(WAIT.encode(), False, ENOUGH), lambda: False)
    assert pids(apart.processes) == []


def test_a_process_that_has_no_turn_is_no_fault_of_the_request(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no processor time, and the clock runs."""
    encoded(apart.processes, "a")
    monkeypatch.setattr(module, "WALL_CLOCK_FACTOR", 1)
    with pytest.raises(NoHelp, match="too busy"):
        apart.processes.ask(Encode(WAIT.encode(), False, LIMITS))


def test_one_that_has_ended_meanwhile_is_replaced(apart: Apart) -> None:
    encoded(apart.processes, "a")
    ((_, process),) = apart.processes._idle
    process._spawned.process.kill()
    process._spawned.process.wait()
    assert encoded(apart.processes, "a")


def test_an_idle_one_is_ended(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.0)
    encoded(apart.processes, "a")
    timer = apart.processes._timer
    if timer:
        timer.join(CEILING)
    assert pids(apart.processes) == []


def test_where_none_can_be_had_the_request_may_be_sent_again(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError("no more processes, says the test")

    monkeypatch.setattr(module, "spawn", none)
    with pytest.raises(NoHelp, match="says the test"):
        encoded(apart.processes, "a")


def test_only_long_texts_leave_the_process(apart: Apart) -> None:
    tokenizer = GuardedTokenizer(slow()[0], apart)
    assert bytes(tokenizer.encode(BURN)) == b"burn" and pids(apart.processes) == []
    text = "é\ud83d" + "a" * HERE  # half of a surrogate pair
    assert tokenizer.encode(text) == list("é?".encode() + b"a" * HERE) == tokenizer.encode_plain(text)
    with pytest.raises(TooMuch, match="more than"):
        tokenizer.encode(BURN + "a" * HERE)


# Constraints


def compiled(compiler: ConstraintCompiler, constraint: Constraint):
    return compiler.compile(constraint, lambda: True)


def test_a_constraint_is_followed_here_as_it_was_approved_there(apart: Apart) -> None:
    tokenizer, info = slow()
    compiler, alone = ConstraintCompiler(tokenizer, info, apart), GrammarCompiler(tokenizer, info)
    loose = Schema('{"type": "object", "minProperties": 1}', "tools", False, [Place("tools[0].function.parameters")])
    layout = Constraint("layout", "start: schema_0", "tools", schemas=[loose])
    for constraint in (CHOICE, layout, Constraint("regex", "[a-c]+x", "regex", required=False)):
        matcher, unenforced = compiled(compiler, constraint)
        usual = alone.matcher(constraint)
        assert unenforced == alone.unenforced(constraint)
        for token in next(filter(matcher.allows, range(97, 123)), 123), 121, 120, 125:
            assert matcher.mask() == usual.mask()
            assert matcher.allows(token) == usual.allows(token)
            if usual.allows(token):
                assert matcher.accept(token) and usual.accept(token)


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (Constraint("regex", "(", "regex"), "."),
        (Constraint("json_schema", '{"type": "nothing"}', "json_schema"), "nothing"),
    ],
)
def test_one_that_cannot_be_enforced_is_refused_in_the_same_words(
    apart: Apart, constraint: Constraint, words: str
) -> None:
    tokenizer, info = slow()
    with pytest.raises(GrammarError, match=words) as alone:
        GrammarCompiler(tokenizer, info).matcher(constraint)
    with pytest.raises(GrammarError) as refused:
        compiled(ConstraintCompiler(tokenizer, info, apart), constraint)
    assert str(refused.value) == str(alone.value) and refused.value.param == alone.value.param
    assert len(pids(apart.processes)) == 1, "that is no reason to end it"


@pytest.mark.parametrize(
    ("word", "limit"), [(BURN, "--compile-seconds"), (HOARD, "--compile-memory"), (DIE, "SIGKILL")]
)
def test_one_that_takes_too_much_is_refused_once_and_for_all(word: str, limit: str) -> None:
    """The tokenizer takes it, where the grammar names a mark."""
    seconds = 0.3 if word == BURN else CEILING
    with apart_of(EngineOptions(compile_seconds=seconds, compile_memory=256)) as apart:
        compiler = ConstraintCompiler(*slow(), apart)
        slowly = Constraint("regex", "a", "regex", reasoning_tags=(word, "</x>"))
        for _ in range(2):
            with pytest.raises(GrammarError, match=f"^Compiling it .*{limit}"):
                compiled(compiler, slowly)
            assert pids(apart.processes) == [], "the second time nobody was asked"
        assert compiled(compiler, CHOICE)


def test_the_same_again_is_known(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = ConstraintCompiler(*slow(), apart)
    first, _ = compiled(compiler, CHOICE)
    monkeypatch.setattr(Processes, "ask", None)
    second, _ = compiled(compiler, CHOICE)
    assert first.accept(ord("y")) and second.mask() != first.mask(), "each is at its own place"


def test_what_is_known_has_a_bound(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nitro.engines.worker.apart.constraints.MAX_KNOWN", 2)
    compiler = ConstraintCompiler(*slow(), apart)
    for letter in "abc":
        compiled(compiler, Constraint("regex", letter, "regex"))
    assert len(compiler._known) == 2


def test_a_client_that_leaves_takes_its_constraint_along(apart: Apart) -> None:
    compiler = ConstraintCompiler(*slow(), apart)
    with pytest.raises(CompileCancelled):
        compiler.compile(Constraint("regex", "a", "regex", reasoning_tags=(WAIT, "</x>")), lambda: False)


# The same tokenizer in another process


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_a_recipe_makes_the_same_tokenizer(model: Path, engine: str) -> None:
    runner = loading.load(EngineSpec(engine, str(model), context=128))
    apart = Apart.of(runner.tokenizer, runner.info, EngineOptions())
    assert apart
    try:
        guarded = GuardedTokenizer(runner.tokenizer, apart)
        for text in ("Hello, wörld! <|im_end|> \x00\n", "😀 a\tb", ""):
            long = text + "Once upon a time " * 2**11
            assert guarded.encode(long) == runner.tokenizer.encode(long)
            assert guarded.encode_plain(long) == runner.tokenizer.encode_plain(long)
        constraint = Constraint(
            "json_schema", '{"type": "object", "properties": {"a": {"type": "null"}}}', "json_schema"
        )
        matcher, _ = ConstraintCompiler(guarded, runner.info, apart).compile(constraint, lambda: True)
        assert matcher.mask() == GrammarCompiler(runner.tokenizer, runner.info).matcher(constraint).mask()
    finally:
        apart.processes.close()
        runner.close()


# Before anybody asks


class Switch:
    """Whether the engine is busy, as it is asked."""

    def __init__(self, *answers: bool):
        self.answers = list(answers)
        self.asked = threading.Event()

    def __call__(self) -> bool:
        self.asked.set()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def warm(apart: Apart, monkeypatch: pytest.MonkeyPatch, busy: Switch) -> None:
    monkeypatch.setattr(warming, "QUIET", 0.0)
    Warming(apart.processes, busy).run()


def test_one_is_ready_before_it_is_needed(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    warm(apart, monkeypatch, Switch(False))
    (begun,) = pids(apart.processes)
    compiler = ConstraintCompiler(*slow(), apart)
    assert compiler.compile(CHOICE, lambda: True)[1] == [] and pids(apart.processes) == [begun]
    warm(apart, monkeypatch, Switch(False))  # there was one: nothing more is begun
    assert pids(apart.processes) == [begun]


def test_it_gives_way_to_a_request_and_is_tried_again(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    spawn = module.spawn

    def noted(*arguments: str) -> Spawned:
        spawned = spawn(*arguments)
        begun.append(spawned.process.pid)
        return spawned

    monkeypatch.setattr(module, "spawn", noted)
    warm(apart, monkeypatch, Switch(True, False))
    first, second = begun
    assert pids(apart.processes) == [second]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_nothing_begins_while_the_engine_is_busy(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "QUIET", CEILING)
    monkeypatch.setattr(warming, "LOOK", 0.001)
    busy = Switch(True)
    thread = threading.Thread(target=Warming(apart.processes, busy).run, daemon=True)
    thread.start()
    assert busy.asked.wait(CEILING) and not apart.processes.began
    encoded(apart.processes, "a")  # somebody's question has begun one
    monkeypatch.setattr(warming, "QUIET", 0.0)
    thread.join(CEILING)
    assert not thread.is_alive() and len(pids(apart.processes)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_one_that_gets_no_memory_to_begin_is_told_of_with_the_limit(
    apart: Apart, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spawn = module.spawn

    def held(*arguments: str) -> Spawned:
        spawned = spawn(*arguments)
        resource.prlimit(spawned.process.pid, resource.RLIMIT_AS, (2**20, 2**20))
        return spawned

    monkeypatch.setattr(module, "spawn", held)
    monkeypatch.setattr(module.memory_bound, "inherited", lambda: "RLIMIT_AS of 1 MiB")
    with pytest.raises(NoHelp, match=r"did not begin \(.+\): RLIMIT_AS of 1 MiB may be too little for one\."):
        encoded(apart.processes, "a")
    warm(apart, monkeypatch, Switch(False))
    assert not pids(apart.processes)


def test_without_a_thread_to_be_had_all_goes_on(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a limit of memory that a thread's stack exceeds."""

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        Warming(apart.processes, Switch(False)).start()
        encoded(apart.processes, "a")
        assert apart.processes._timer is None
    encoded(apart.processes, "a")
    assert apart.processes._timer


def test_what_limits_children_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_AS: 2**30, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], resource.RLIM_INFINITY))
    assert module.memory_bound.inherited() == "RLIMIT_AS of 1024 MiB"


# In a server


@pytest.fixture
def slow_server(serve: Callable):
    return serve(engine="slow_tokenizers:SlowRunner", tokenize_seconds=0.3, context=2**17).ready()


def ask(url: str, prompt: str, **fields: object) -> httpx.Response:
    body = {"prompt": prompt, "max_tokens": 1, **fields}
    return httpx.post(f"{url}/v1/completions", json=body, timeout=CEILING)


def test_a_prompt_that_takes_too_long_is_refused_and_the_engine_lives(slow_server) -> None:
    pid = slow_server.engine.pid
    beside: list[int] = []
    thread = threading.Thread(target=lambda: beside.append(ask(slow_server.url, "a" * 2 * HERE).status_code))
    thread.start()
    refused = ask(slow_server.url, BURN + "a" * HERE)
    thread.join(CEILING)
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert error["param"] == "prompt"
    assert error["message"] == "Tokenizing it takes more than 0.3 seconds of computing (--tokenize-seconds)."
    assert beside == [200] and ask(slow_server.url, "a", choice=["yes"]).status_code == 200
    assert slow_server.engine.pid == pid


def test_where_no_process_can_be_had_a_client_may_try_again(slow_server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits has no turn; by the clock it has ten times as long."""
    refused = ask(slow_server.url, WAIT + "a" * HERE)
    assert refused.status_code == 429 and "too busy" in refused.text
    assert refused.headers["retry-after"]
