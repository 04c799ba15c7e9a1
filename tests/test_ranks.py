"""One model over several processes (`--hosts`): real ranks on this machine, real faults."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openai
import pytest
import tiny_models
from running import CEILING, RunningServer, sdk, server_process, until, wait_gone
from same_answer import assert_same_answer, tolerance

from nitro.config import ServeConfig
from nitro.engines.backends.mlx.ranks import shares, starting, team, wire
from nitro.engines.crash_marks import CrashMarks, shared_memory
from nitro.engines.hostfile import BadHosts, Host, Hostfile, read
from nitro.engines.last_words import LastWords
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.errors import EngineError, StartError
from nitro.system import frames

HERE = {"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}
STALL = 8.0  # seconds
FOLLOWER = "nitro.engines.backends.mlx.ranks.follower"
GREEDY = {"temperature": 0, "extra_body": {"return_tokens": True}}
TEXT = "The sea is wide, and who looks at it for long wants to know what lies beyond. "
PROMPTS = [f"{letter} {TEXT}" for letter in "abcdefgh"]


def hosts_file(folder: Path, *hosts: dict, **also: object) -> Path:
    file = folder / "hosts.json"
    file.write_text(json.dumps({"hosts": list(hosts), **also}))
    return file


def ranks_of(pid: int) -> list[int]:
    """The processes of other ranks that this process has started."""
    children = [
        child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [int(child) for child in children if FOLLOWER.encode() in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.fixture(scope="module")
def ranked(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The tiny model, shared by two ranks."""
    hosts = hosts_file(tmp_path_factory.mktemp("hosts"), HERE, HERE)
    config = {"context": 512, "parallel": 8, "hosts": str(hosts), "stall_timeout": STALL}
    with RunningServer(ServeConfig(engine="mlx", model=str(model), port=0, **config)) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def scorer(model: Path):
    from mlx_scorer import MlxScorer

    return MlxScorer(model, context=512)


def complete(server: RunningServer, prompt: str, **options):
    settings = {"max_tokens": 24, **GREEDY, **options}
    return server.client().completions.create(model="", prompt=prompt, **settings)


def ids(scorer, text: str) -> list[int]:
    return scorer.tokenizer.encode(text)


def test_the_logits_are_those_of_one_process(ranked: RunningServer, scorer) -> None:
    prompt = TEXT * 3
    tokens = ids(scorer, prompt)
    scores = complete(ranked, prompt, max_tokens=1, echo=True, logprobs=1).choices[0].logprobs.token_logprobs
    rows = scorer.logits(tokens, [1, len(tokens) - 1])
    logits = rows - rows.max(axis=1, keepdims=True)
    known = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = known[np.arange(len(tokens) - 1), tokens[1:]]
    assert np.abs(np.array(scores[1 : len(tokens)]) - expected).max() < 2e-4 * np.ptp(rows)


def test_eight_clients_at_once(ranked: RunningServer, scorer) -> None:
    """One leaves, one is held to a pattern, and all others get what each would alone; and so does who comes later and
    begins with the same words."""
    error = tolerance(scorer, ids(scorer, TEXT * 12))

    def leave(prompt: str) -> None:
        with sdk(ranked.url).completions.create(model="", prompt=prompt, max_tokens=400, stream=True) as stream:
            next(iter(stream))

    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        left = pool.submit(leave, PROMPTS[0])
        held = pool.submit(complete, ranked, PROMPTS[1], extra_body={"regex": "[0-9]{20}"}, temperature=1, seed=5)
        greedy = {prompt: pool.submit(complete, ranked, prompt, max_tokens=40) for prompt in PROMPTS[2:]}
        left.result(CEILING)
        assert len(held.result(CEILING).choices[0].text) == 20
        answers = {prompt: answer.result(CEILING) for prompt, answer in greedy.items()}
    again = complete(ranked, PROMPTS[2], max_tokens=40)
    assert again.usage.prompt_tokens_details.cached_tokens > 0
    for prompt, answer in [*answers.items(), (PROMPTS[2], again)]:
        assert_same_answer(scorer, ids(scorer, prompt), answer.choices[0].tokens, error)


def test_a_rank_that_is_killed_is_named_and_all_come_back(ranked: RunningServer) -> None:
    (rank,) = ranks_of(ranked.engine.pid)
    restarts = ranked.engine.restarts
    with ranked.client().completions.create(model="", prompt=TEXT, max_tokens=400, stream=True) as stream:
        next(iter(stream))
        os.kill(rank, signal.SIGSTOP)  # or it might be too fast
        os.kill(rank, signal.SIGKILL)
        with pytest.raises(openai.APIError, match=r"Rank 1 \(127\.0\.0\.1\) was killed by SIGKILL"):
            list(stream)
    assert complete(ranked, TEXT).choices[0].text
    assert ranked.engine.restarts == restarts + 1


def test_what_a_lost_rank_leaves_unwritten_is_still_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step on its way looks it up in a table, which ended rank 0 by SIGSEGV before it could name the lost one."""
    mx = pytest.importorskip("mlx.core")
    from nitro.engines.backends.mlx.ranks.group import Rank

    class Two:
        def size(self) -> int:
            return 2

        def rank(self) -> int:
            return 1

    unwritten = mx.array([2**32 - 1, 2**31, 3], mx.uint32)
    monkeypatch.setattr(mx.distributed, "all_sum", lambda own, group: unwritten)
    rank = Rank(Two(), ["here", "there"], 1, False, ready=lambda: None)
    assert rank.draw(mx.zeros((3, 64)), [None] * 3).tolist() == [63, 63, 3]


def test_a_rank_that_is_silent_is_named_and_ended(ranked: RunningServer) -> None:
    (rank,) = ranks_of(ranked.engine.pid)
    gone = os.pidfd_open(rank)
    with ranked.client().completions.create(model="", prompt=TEXT, max_tokens=400, stream=True) as stream:
        next(iter(stream))
        os.kill(rank, signal.SIGSTOP)
        words = r"Rank 1 \(127\.0\.0\.1\) has given no sign of life for [\d.]+ seconds, as --stall-timeout 8 says"
        with pytest.raises(openai.APIError, match=words):
            list(stream)
    wait_gone(gone)


def test_no_rank_outlives_the_server(model: Path, tmp_path: Path) -> None:
    """Not even one that is stopped, and whose server is killed."""
    hosts = hosts_file(tmp_path, HERE, HERE)
    with server_process(str(model), "--engine", "mlx", "--hosts", str(hosts)) as server:
        server.wait_ready()
        (rank,) = ranks_of(server.engine_pid())
        gone = os.pidfd_open(rank)
        os.kill(rank, signal.SIGSTOP)
        server.process.kill()
        wait_gone(gone)


QWEN = {**tiny_models.KINDS["plain"], "model_type": "qwen2"}
SSH = f"""#!{sys.executable}
import os, sys
where, script = sys.argv[-2:]
open({{log!r}}, "a").write(where + "\\n")
os.execvp("sh", ["sh", "-c", script.replace("stty -echo;", "")])
"""


def test_layers_over_ranks_that_ssh_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve) -> None:
    """An `ssh` that stays on this machine; the rest is real."""
    monkeypatch.setitem(tiny_models.KINDS, "qwen2", QWEN)
    folder = tiny_models.write_folder(tmp_path / "model", "qwen2")
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(SSH.format(log=str(tmp_path / "log")))
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    hosts = hosts_file(tmp_path, HERE, {**HERE, "ssh": "far.example"}, envs=[f"PYTHONPATH={os.environ['PYTHONPATH']}"])
    alone = serve(engine="mlx", model=str(folder), context=128, parallel=2).ready()
    shared = serve(engine="mlx", model=str(folder), context=128, parallel=2, hosts=str(hosts), pipeline=True).ready()
    assert (tmp_path / "log").read_text() == "far.example\n"
    scores = [
        complete(server, TEXT, echo=True, logprobs=1, max_tokens=1).choices[0].logprobs.token_logprobs[1:]
        for server in (alone, shared)
    ]
    assert np.abs(np.subtract(*scores)).max() < 1e-3
    (rank,) = ranks_of(shared.engine.pid)
    os.kill(rank, signal.SIGKILL)
    until(lambda: shared.engine.failure and "Rank 1 (far.example) was killed by SIGKILL" in shared.engine.failure)


def spec(model: Path, **options: object) -> EngineSpec:
    return EngineSpec("mlx", str(model), **options)


@pytest.mark.parametrize(
    "option, value, words",
    [
        ("draft", "small.gguf", "--draft does not go with --hosts: the draft model would have to be shared, too"),
        ("lora", ("a=b.gguf",), "--lora does not go with --hosts"),
        ("mmproj", "a.gguf", "--mmproj does not go with --hosts"),
        ("deterministic", True, "--deterministic does not go with --hosts"),
        ("prefix_cache", "kept", "--prefix-cache does not go with --hosts"),
    ],
)
def test_what_does_not_go_with_ranks_is_refused_by_name(model: Path, option: str, value: object, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        shares.check(spec(model, **{option: value}), Hostfile([HERE, HERE]))


def test_a_pipeline_needs_machines(model: Path) -> None:
    from nitro.engines.backends.mlx import runners

    with pytest.raises(LoadError, match=r"--pipeline is for several machines: it needs --hosts\."):
        runners.make(spec(model, pipeline=True))


def test_heads_layers_and_memory_are_looked_at_before(model: Path, tmp_path: Path) -> None:
    file = read(hosts_file(tmp_path, HERE, HERE, HERE))
    with pytest.raises(LoadError, match=r"3 ranks cannot share .*, which has 4 attention heads: .* divisible by 3"):
        shares.check(spec(model), file)
    with pytest.raises(LoadError, match="has 2 layers, and there are 3 ranks"):
        shares.check(spec(model, pipeline=True), file)
    with pytest.raises(LoadError, match=r"rank 2 \(127.0.0.1\) has 0 MiB of memory free, and its part .* takes 0 MiB"):
        shares.check_memory(spec(model), file, [2**30, 2**30, 0])
    shares.check(spec(model), read(hosts_file(tmp_path, HERE, HERE)))


@pytest.mark.parametrize(
    "text, words",
    [
        ("[]", "two hosts at least, and there is 0"),
        (json.dumps([HERE]), "two hosts at least, and there is 1"),
        (json.dumps([{"ips": ["10.0.0.1"]}, HERE]), r"missing required field `ssh` - at `\$\[0\]`"),
        (json.dumps([{**HERE, "ssh": "far"}, HERE]), "the first host is the machine of this server.* not far"),
        (json.dumps([HERE, {"ssh": "far"}]), r"`hosts\[1\]\.ips` needs an address by which the others reach far"),
        (json.dumps([HERE, {"ssh": "far", "ips": ["far"]}]), r"`hosts\[1\]\.ips`: far is no IPv4 address"),
        (json.dumps([HERE, {"ssh": "far", "ips": ["::1"]}]), r"`hosts\[1\]\.ips`: ::1 is no IPv4 address"),
        (json.dumps([HERE, {"ssh": "far", "ips": ["10.0.0.2"]}]), "is 127.0.0.1, where no other machine reaches this"),
        (json.dumps([HERE, {"ssh": "-oProxyCommand=x", "ips": ["10.0.0.2"]}]), r"at `\$\[1\]\.ssh`"),
        (json.dumps({"hosts": [HERE, HERE], "backend": "mpi"}), "Invalid enum value 'mpi' - at `\\$.backend`"),
        (json.dumps({"hosts": [HERE, HERE], "backend": "jaccl"}), r"`hosts\[0\]\.rdma` must have a device for each"),
        ("{", "Input data was truncated"),
    ],
)
def test_a_file_that_names_no_machines_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "hosts.json"
    file.write_text(text)
    with pytest.raises(BadHosts, match=words):
        read(file)
    with pytest.raises(StartError, match=words):
        ServeConfig(hosts=str(file)).engine_spec("model")


def test_a_network_needs_a_word(model: Path, tmp_path: Path) -> None:
    """As with workers: whoever reaches it could read."""
    from nitro.engines.backends.mlx import runners

    far = [{"ssh": "127.0.0.1", "ips": ["192.0.2.1"]}, {"ssh": "far.example", "ips": ["192.0.2.2"]}]
    hosts = str(hosts_file(tmp_path, *far))
    words = r"`hosts\[0\]\.ips`: 192\.0\.2\.1 is for other machines, too, .* not encrypted.*say --insecure-network\."
    with pytest.raises(StartError, match=words):
        ServeConfig(hosts=hosts).engine_spec("model")
    with pytest.raises(LoadError, match=words):
        runners.make(spec(model, hosts=hosts))
    assert ServeConfig(hosts=hosts, insecure_network=True).engine_spec("model").hosts == hosts
    with pytest.raises(LoadError, match=r"--insecure-network is about other machines, and none is named \(--hosts\)"):
        runners.make(spec(model, insecure_network=True))


def test_a_rank_that_cannot_begin_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh ends with a status of its own."""
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    hosts = hosts_file(tmp_path, HERE, {**HERE, "ssh": "far.example"})
    words = r"rank 1 \(far\.example\) ended with status 255 before it had begun"
    config = ServeConfig(engine="mlx", model=str(model), port=0, hosts=str(hosts))
    with (
        pytest.raises(StartError, match=words),
        RunningServer(config) as server,
        pytest.raises(EngineError, match=words),
    ):
        server.run(server.engine.loaded())


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    far = [{"ssh": "127.0.0.1", "ips": ["192.0.2.1"]}, {"ssh": "far.example", "ips": ["192.0.2.2"]}]
    with pytest.raises(LoadError, match=r"this machine cannot listen on 192\.0\.2\.1: "):
        team.Team(read(hosts_file(tmp_path, *far)), None).start()


def test_a_rank_whose_connection_closes_is_named_before_more_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process computes without it may end this process at any moment."""
    marks = CrashMarks(shared_memory())
    monkeypatch.setattr(team, "OF_THIS_PROCESS", words := LastWords())
    words.write_to(marks)

    class Closed(team.Member):
        def how_it_ended(self) -> str:
            assert marks.words()[0] == "Rank 1 (there) closed its connection"
            raise EndOfTest

    class EndOfTest(Exception):
        pass

    here, there = socket.socketpair()
    there.close()
    with here:
        member = Closed("rank 1 (there)", None)
        member.sock = here
        host = Host("127.0.0.1", ["127.0.0.1"])
        with pytest.raises(EndOfTest):
            team.Team(Hostfile([host, host]), 8.0)._listen(member)
    marks.close()


def test_the_start_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that never says anything is named, and ended; and who does not know the secret is no rank."""
    ssh = tmp_path / "ssh"
    script = f"#!/bin/sh\necho {starting.READY}\nread errand\necho $errand > {tmp_path / 'errand'}\nexec sleep 600\n"
    ssh.write_text(script)
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(team, "START_SECONDS", 3.0)
    found = team.Team(read(hosts_file(tmp_path, HERE, {**HERE, "ssh": "far.example"})), None)
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(found.start)
        until(lambda: (tmp_path / "errand").is_file() and (tmp_path / "errand").read_text().endswith("\n"))
        errand = json.loads((tmp_path / "errand").read_text())
        with socket.create_connection((errand["host"], errand["port"]), CEILING) as stranger:
            stranger.sendall(frames.frame(wire.Hello("a guess", 1, team.versions(), 2**40, [1])))
            assert not stranger.recv(1)
        with pytest.raises(LoadError, match=r"rank 1 \(far\.example\) did not begin within 3 seconds"):
            begun.result(CEILING)
    assert found._members[0].process.returncode == -signal.SIGKILL


def test_no_terminal_repeats_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not told before the other side has its terminal silent: what comes earlier would stand in our log. And what
    leads there does not end before the server does."""
    fifo, told = tmp_path / "fifo", tmp_path / "told"
    os.mkfifo(fifo)
    ssh = tmp_path / "ssh"
    lines = ("#!/bin/sh", f"read go < {fifo}", f"echo Welcome, {starting.READY}", "read errand")
    ssh.write_text("\n".join((*lines, "kill -TERM $$", f"echo $errand > {told}\n")))  # systemd sends it to all
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    errand = wire.Errand(1, ["127.0.0.1"], "127.0.0.1", 1, "secret")
    with starting.start(Host("far.example", ["127.0.0.1"]), errand, {}) as process:
        assert process.stdin
        waiting = fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4))
        fifo.write_text("\n")
        until(lambda: told.exists() and told.read_text().endswith("\n"))
        assert json.loads(told.read_text())["secret"] == "secret" and waiting == bytes(4)
    assert "stty -echo; echo " in starting._script([], {})


def test_ranks_that_do_not_find_each_other_end() -> None:
    """MLX would wait for minutes, and let no thread run. What is said then was foretold."""
    how = "Join(None, {}, {'MLX_HOSTFILE': '[[\"127.0.0.1:28431\"], [\"127.0.0.1:28432\"]]'}, 'ring', ['rank 0'], 1, 1)"
    code = (
        "from nitro.engines.backends.mlx.ranks import group; from nitro.engines.backends.mlx.ranks.wire import Join; "
        "group.OF_THIS_PROCESS.foretell = print; "
        f"group.JOIN_SECONDS = 1; group.join(0, {how})"
    )
    done = subprocess.run([sys.executable, "-uc", code], timeout=CEILING, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "The ranks have not found each other within 1 seconds 1\n",
        "",
    )


def test_jaccl_is_refused_by_name_where_mlx_lacks_it(model: Path, tmp_path: Path) -> None:
    from nitro.engines.backends.mlx.ranks import group, meeting

    devices = [{**HERE, "rdma": [None, "en1"]}, {**HERE, "rdma": ["en1", None]}]
    hosts = read(hosts_file(tmp_path, *devices, backend="jaccl"))
    first, second = meeting.joins(spec(model), hosts, ["rank 0", "rank 1"], [[20_001], [20_002]], 0.5)
    assert first.environment == {"MLX_JACCL_COORDINATOR": "127.0.0.1:20001"} == second.environment
    assert json.loads(first.files["MLX_IBV_DEVICES"]) == [[None, "en1"], ["en1", None]]
    with pytest.raises(LoadError, match="MLX has no jaccl on rank 0"):
        group.join(0, first)
