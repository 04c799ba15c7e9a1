"""bench/kernel_limit.py: the workload of a server's answers, its order, and what llama_decode alone takes for it."""

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fast
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import kernel_limit, measures
from bench.kernel_limit import Cost, Share
from nitro.bench.client import LoadResult, MeasuredAnswer


def answer(prompt: int, cached: int, tokens: int) -> MeasuredAnswer:
    return MeasuredAnswer(0.1, 1.0, prompt, cached, tokens)


def test_a_wave_has_one_request_of_each_client() -> None:
    answers = [answer(100, 0, 5), answer(130, 20, 5)]
    assert kernel_limit.waves(answers, 2) == [[Share(0, 100, 5), Share(20, 110, 5)]]
    assert kernel_limit.waves(answers, 1) == [[Share(0, 100, 5)], [Share(20, 110, 5)]]


def test_conversations_have_a_wave_for_each_turn() -> None:
    first = [answer(60, 0, 24), answer(100, 83, 24), answer(140, 123, 24)]
    second = [answer(70, 30, 24), answer(110, 93, 24), answer(150, 133, 24)]
    assert kernel_limit.waves([*first, *second], 2) == [
        [Share(0, 60, 24), Share(30, 40, 24)],
        [Share(83, 17, 24), Share(93, 17, 24)],
        [Share(123, 17, 24), Share(133, 17, 24)],
    ]


@pytest.mark.parametrize(("requests", "clients"), [(3, 2), (0, 2), (1, 2)])
def test_clients_have_as_many_requests_each(requests: int, clients: int) -> None:
    with pytest.raises(ValueError, match=f"{requests} answers are not of {clients} clients"):
        kernel_limit.waves([answer(10, 0, 1)] * requests, clients)


def test_prompts_fill_calls_and_the_last_client_is_first() -> None:
    wave = [Share(0, 5, 2), Share(10, 9, 2), Share(3, 0, 2)]
    assert kernel_limit.prompt_calls(wave, 8) == [[(1, 10, 18)], [(1, 18, 19), (0, 0, 5)]]
    assert kernel_limit.prompt_calls([Share(0, 8, 1)], 8) == [[(0, 0, 8)]]
    assert kernel_limit.prompt_calls([Share(8, 0, 1)], 8) == []


def test_decodes_have_a_row_for_each_client_until_its_answer_ends() -> None:
    wave = [Share(0, 5, 3), Share(10, 9, 2), Share(0, 1, 1)]
    assert kernel_limit.decode_calls(wave) == [[(0, 5, 6), (1, 19, 20)], [(0, 6, 7)]]
    assert kernel_limit.decode_calls([Share(0, 5, 1)]) == []


@pytest.fixture
def kernels(smollm: Path) -> Iterator[kernel_limit.KernelProcess]:
    fast.skip_server()
    with kernel_limit.running(smollm, threads=2, streams=2, length=256) as kernels:
        yield kernels


def test_the_process_computes_a_turn(kernels: kernel_limit.KernelProcess) -> None:
    """Also where the second request has less cached than the first left, or more."""
    answers = [answer(6, 0, 2), answer(9, 5, 3), answer(8, 4, 1), answer(40, 30, 2)]
    took = kernels.turn(measures.Turn(LoadResult(answers, 100.0, 1.0), 50.0, 3.0), clients=2)
    assert 0 < took.result.seconds < 100 and took.cpu and took.result.tokens == 8 and took.peak is None
    again = kernels.compute(kernel_limit.waves(answers, 2))
    assert again.seconds > 0 and again.cpu > 0


def test_others_are_computed_and_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[kernel_limit.Wave]] = []
    monkeypatch.setattr(kernel_limit.KernelProcess, "compute", lambda _, work: asked.append(work) or Cost(2.0, 4.0))
    kernels = kernel_limit.KernelProcess(None, io.BytesIO())
    result = LoadResult([answer(6, 0, 3), answer(7, 0, 3)], 100.0, 1.0, others=[answer(4000, 0, 1)])
    took = kernels.turn(measures.Turn(result, 50.0, None), clients=3)
    assert asked == [[[Share(0, 6, 3), Share(0, 7, 3), Share(0, 4000, 1)]]]
    assert took.result.tokens == 6 and took.result.seconds == 2.0 and took.cpu == 4.0


def test_a_process_that_fails_says_why(kernels: kernel_limit.KernelProcess) -> None:
    with pytest.raises(RuntimeError, match="llama_decode fails with 1"):
        kernels.compute([[Share(0, 300, 1)]])
    with pytest.raises(RuntimeError, match="llama_decode alone has failed"):
        kernels.compute([[Share(0, 3, 1)]])


def test_a_process_that_hangs_is_killed() -> None:
    """It reads all, and never answers."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        kernels = kernel_limit.KernelProcess(process, io.BytesIO())
        with pytest.raises(RuntimeError, match=r"llama_decode alone has not answered in 0\.01 seconds"):
            kernels.compute(kernel_limit.WARM_UP, patience=0.01)
        assert process.wait() == -signal.SIGKILL


def test_a_model_that_does_not_load_says_why(tmp_path: Path) -> None:
    fast.skip_server()
    with (
        pytest.raises(RuntimeError, match="cannot be read"),
        kernel_limit.running(tmp_path / "none.gguf", threads=1, streams=1, length=256),
    ):
        pass
