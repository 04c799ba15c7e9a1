"""The simulation of a fleet: the real scheduler, step costs as given, traffic that was made up or recorded."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from bench import scale
from nitro.bench.client import LoadResult, MeasuredAnswer
from nitro.cli import simulate as command
from nitro.cli.main import main
from nitro.engines.runner import Chunk
from nitro.engines.types import ChunkRecord, SamplingParams, StepRecord
from nitro.errors import SimulationError
from nitro.records import form
from nitro.records.form import Exchange, Head, Served
from nitro.simulation import calibration, costs, recorded
from nitro.simulation.costs import Room, StepClock, StepCosts
from nitro.simulation.fleet import Plan, Prediction, simulate
from nitro.simulation.routing import RULES
from nitro.simulation.traffic import FRESH, Made, Request, Traffic, joined

ROOM = Room(slots=12, parallel=8, context=2048, kv_tokens=16384, step_tokens=512)
TILED = structs.replace(ROOM, attention_tile_rows=64, prompt_rows=128)
COSTS = StepCosts(
    form=1,
    engine="none",
    device="none",
    model="none",
    room=ROOM,
    decode=[(1, 0.010), (8, 0.030)],
    prompt=[(16, 0.010), (512, 0.320)],
    decode_depth=1e-6,
    prompt_depth=1e-7,
    request=0.002,
)
SMALL = Made(12, turns=2, customers=3, system=100, question=20, answer=10)


def play(made: Made = SMALL, known: StepCosts = COSTS, seed: int = 1, **plan: object) -> Prediction:
    return simulate(made.traffic(seed), known, Plan(**{"clients": 12, **plan}))  # type: ignore[arg-type]


# What is conserved


@settings(max_examples=25, deadline=None)
@given(
    clients=st.integers(1, 20),
    replicas=st.integers(1, 4),
    route=st.sampled_from(sorted(RULES)),
    seed=st.integers(0, 99),
    room=st.sampled_from([ROOM, TILED, structs.replace(ROOM, kv_tokens=2048), structs.replace(ROOM, prompt_grid=32)]),
    requests=st.integers(0, 3),
    think=st.sampled_from([0.0, 0.5]),
)
def test_every_request_ends_once(
    clients: int, replicas: int, route: str, seed: int, room: Room, requests: int, think: float
) -> None:
    traffic = SMALL.traffic(seed)
    plan = Plan(clients=clients, replicas=replicas, route=route, seed=seed, requests=requests, think=think)
    sent = [request for of_client in traffic.by_client(clients, requests) for request in of_client]
    found = simulate(traffic, structs.replace(COSTS, room=room), plan)
    assert (found.requests, found.answered, found.too_long, found.failed) == (len(sent), len(sent), 0, 0)
    assert found.tokens == sum(len(request.answer) for request in sent)
    assert 0 <= found.cached < 1 and 0 <= found.idlest <= found.busiest <= 1 + 1e-9
    assert 0 < found.ttft_p50 <= found.ttft_p95 <= found.seconds
    assert found == simulate(traffic, structs.replace(COSTS, room=room), plan), "the same seed gives the same answer"


def test_one_client_waits_for_its_own_steps_only() -> None:
    """So its times can be computed by hand: a prompt's step, then a step for each further token."""
    traffic = joined([[Request(list(range(48)), list(range(100, 110)))]])
    known = structs.replace(COSTS, decode_depth=0.0, prompt=[(1, 0.02)], decode=[(1, 0.005)])
    known = structs.replace(known, prompt=[(48, 0.02), (512, 0.2)])
    found = simulate(traffic, known, Plan(clients=1))
    assert found.ttft_p50 == pytest.approx(0.002 + 0.02)
    assert found.seconds == pytest.approx(0.002 + 0.02 + 9 * 0.005)
    assert (found.steps, found.cached, found.longest_queue, found.waited_p95) == (10, 0.0, 0, 0.0)


def test_what_a_server_adds_is_found_again() -> None:
    """From what is measured of 1, 4 and 16 clients: here of a server that is simulated too."""
    room = structs.replace(ROOM, parallel=32, slots=36, kv_tokens=2**17)
    alone = structs.replace(COSTS, room=room, request=0.0)
    server = structs.replace(alone.slower(1.2).with_rows(0.003), request=0.08)
    traffic = Made(48, turns=2, customers=16, system=100, question=20, answer=24).traffic(3)
    few = {}
    for clients, requests in scale.RECORDED.items():
        found = simulate(traffic, server, Plan(clients=clients, requests=requests))
        answer = MeasuredAnswer(found.ttft_p50, 1.0, 0, 0, tokens=found.tokens)
        few[clients] = LoadResult([answer], found.tokens / found.tokens_per_second, 0.0)
    fitted = scale.with_server(alone, traffic, few)
    assert fitted.request == pytest.approx(0.08, rel=0.2)
    for clients in (8, 32):
        plan = Plan(clients=clients, requests=2)
        known, guess = simulate(traffic, server, plan), simulate(traffic, fitted, plan)
        assert guess.tokens_per_second == pytest.approx(known.tokens_per_second, rel=0.05)


def test_a_prefix_is_found_where_the_scheduler_finds_it() -> None:
    first = Request(list(range(100)), [1000, 1001, 1002])
    second = Request([*first.prompt, *first.answer, *range(2000, 2020)], [1003])
    found = simulate(joined([[first, second]]), COSTS, Plan(clients=1))
    computed_again = 1  # the last token of an answer was said, and not computed
    assert found.cached == pytest.approx((len(first.prompt) + len(first.answer) - computed_again) / (100 + 123))


@pytest.mark.parametrize("route", ["round-robin", "least-busy", "prefix-bounded"])
def test_more_replicas_are_no_slower(route: str) -> None:
    """Of requests that share nothing; within what a last request on a replica of its own may cost."""
    made = Made(64, turns=1, customers=64, system=50, question=20, answer=30)
    speeds = [play(made, clients=64, replicas=count, route=route).tokens_per_second for count in (1, 2, 4, 8)]
    assert all(more > 1.05 * fewer for fewer, more in itertools.pairwise(speeds)), speeds


def test_routes_that_go_by_the_prefix_find_more() -> None:
    made = Made(96, turns=3, customers=24, system=400, question=20, answer=10)
    found = {route: play(made, clients=48, replicas=8, route=route) for route in RULES}
    assert found["prefix"].cached > found["random"].cached + 0.2
    assert found["prefix-bounded"].cached > found["random"].cached + 0.1
    assert found["prefix"].idlest <= found["prefix-bounded"].idlest, "a bound spreads the load"
    assert found["client"].cached > found["round-robin"].cached
    assert found["conversation"].cached > found["round-robin"].cached


def test_thousands_of_clients() -> None:
    found = play(Made(2000, turns=1, customers=20, system=60, question=20, answer=8), clients=2000, replicas=40)
    assert found.answered == 2000


def test_clients_think() -> None:
    """While they do, others have the engine: fewer wait."""
    hasty, thinking = play(clients=12), play(clients=12, think=5.0)
    assert thinking.seconds > hasty.seconds and thinking.busiest < hasty.busiest
    assert thinking.ttft_p95 <= hasty.ttft_p95 and thinking.tokens == hasty.tokens


def test_requests_come_when_they_came() -> None:
    requests = [[Request([number] * 20, [1, 2], at=10.0 * number)] for number in range(5)]
    slow = simulate(joined(requests), COSTS, Plan())
    fast = simulate(joined(requests), COSTS, Plan(speed=4.0))
    assert slow.seconds == pytest.approx(40 + slow.ttft_p50 + 0.010, abs=0.01) and slow.longest_queue == 0
    assert fast.seconds == pytest.approx(10 + slow.ttft_p50 + 0.010, abs=0.01)


def test_what_fits_nowhere_is_told() -> None:
    traffic = joined([[Request(list(range(2040)), [1] * 20)], [Request([7, 8], [1])]])
    found = simulate(traffic, COSTS, Plan(clients=2))
    assert (found.requests, found.answered, found.too_long) == (2, 1, 1)


# Traffic


def test_copies_share_what_conversations_share_and_nothing_else() -> None:
    system = list(range(50))
    traffic = joined([[Request([*system, 100, 101], [102])], [Request([*system, 200], [201])]])
    assert [talk.shared for talk in traffic.conversations] == [50, 50]
    sent = traffic.by_client(5)
    prompts = [of_client[0].prompt for of_client in sent]
    assert all(prompt[:50] == system for prompt in prompts)
    assert len({tuple(prompt) for prompt in prompts}) == 5
    assert prompts[2][50:] == [100 + FRESH, 101 + FRESH] and sent[2][0].answer == [102 + FRESH]
    assert [len(of_client) for of_client in traffic.by_client(3, least=4)] == [4, 4, 4]
    assert [len(of_client) for of_client in traffic.by_client(1)] == [2]


def exchange(number: int, texts: list[str], prompt: int, answer: int, **more: object) -> Exchange:
    roles = ("system", *("user", "assistant") * len(texts))
    body = {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]}
    served = Served(prompt_tokens=prompt, completion_tokens=answer)
    made = Exchange(f"r{number}", 100.0 + number, "/v1/chat/completions", request=form.raw(body), served=served)
    return structs.replace(made, **more)


def written(file: Path, *exchanges: Exchange) -> Path:
    file.write_bytes(b"".join(map(form.encode, [Head(form.FORM, "1", 0.0), *exchanges])))
    return file


SYSTEM = "You help the customers of a shop that sells lamps and chairs. " * 8


def test_records_become_traffic(tmp_path: Path) -> None:
    first = [SYSTEM, "Which lamp is the brightest of all that you have?"]
    goes_on = [*first, "The brightest lamp is the one with the steel foot.", "And what does it cost, with the bulb?"]
    other = [SYSTEM, "Do you sell tables as well, or only what you say?"]
    file = written(
        tmp_path / "records-1.jsonl",
        exchange(0, first, 120, 11),
        exchange(1, other, 121, 9),
        exchange(2, goes_on, 150, 5),
        exchange(3, first, 120, 0),  # it said nothing
        exchange(4, first, 9, 1, path="/v1/embeddings"),
    )
    traffic = recorded.read(file)
    assert traffic.left_out == 2
    talk, alone = traffic.conversations
    assert [(len(each.prompt), len(each.answer), each.at) for each in talk.requests] == [(120, 11, 0.0), (150, 5, 2.0)]
    assert [(len(each.prompt), len(each.answer)) for each in alone.requests] == [(121, 9)]
    begun, later = talk.requests
    assert later.prompt[:100] == begun.prompt[:100] and talk.shared == alone.shared
    assert 90 <= talk.shared < 119, "the system prompt, and not the question"
    assert recorded.read(tmp_path) == traffic, "a folder of one file is that file"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there is no request in it"),
        (b"{}\n", "line 1"),
        (b'{"kind":"exchange","id":"r","at":1.0,"path":"/v1/chat/completions"}\n', "no file of records"),
    ],
)
def test_what_is_no_record(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(SimulationError, match=said):
        recorded.read(tmp_path / "x.jsonl")


def test_a_record_without_answers(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match=r"x\.jsonl: there is no request in it that was answered"):
        recorded.read(written(tmp_path / "x.jsonl", exchange(0, ["a"], 3, 0)))


# Costs


def chunk(start: int, stop: int) -> Chunk:
    return Chunk(1, 1, list(range(stop)), start, stop, SamplingParams())


def test_what_a_step_costs() -> None:
    known = structs.replace(COSTS, room=TILED, loose=[(1, 0.001), (63, 0.063)], saved=0.002)
    clock = StepClock(known)
    assert clock.seconds([chunk(99, 100)]) == pytest.approx(0.010 + 99e-6)
    assert clock.seconds([chunk(0, 1)] * 8) == pytest.approx(0.030)
    assert clock.seconds([chunk(0, 512)]) == pytest.approx(0.320)
    apart = clock.seconds([chunk(64, 128)]) + clock.seconds([chunk(128, 131)])
    assert clock.seconds([chunk(64, 131)]) == pytest.approx(apart - 0.002)
    assert clock.seconds([chunk(128, 131)]) == pytest.approx(0.003 + 3 * 128e-6)
    assert clock.seconds([]) == 0.0
    slow = StepClock(known.slower(2.0))
    assert slow.seconds([chunk(64, 131)]) == pytest.approx(2 * clock.seconds([chunk(64, 131)]))


def test_costs_are_found_again() -> None:
    """From the records of steps that cost what a file says, every tenth of them disturbed."""
    known = structs.replace(COSTS, room=TILED, loose=[(8, 0.012), (63, 0.063)], saved=0.004)
    clock = StepClock(known)
    batches = [[chunk(at, at + 1)] * count for at in (10, 60, 400) for count in calibration.counts(8)]
    batches += [[chunk(at, at + size)] for at in (0, 0, 0, 512) for size in (8, 16, 63, 64, 80, 128, 191, 256, 512)]
    records = []
    for number, batch in enumerate(batches * 3):
        rows = [ChunkRecord(1, 1, each.start, each.stop) for each in batch]
        seconds = clock.seconds(batch) * (1.5 if number % 10 == 9 else 1) - 0.001
        records.append(StepRecord(number, seconds, rows, [], [], [], 0, 1, 1))
    found = StepClock(calibration.fitted(records, 0.001, TILED.info, "x"))
    for batch in batches:
        assert found.seconds(batch) == pytest.approx(clock.seconds(batch), rel=0.1)


def test_more_is_never_cheaper() -> None:
    assert calibration._rising([(1, 1.0), (2, 3.0), (4, 2.0), (8, 5.0)], [1, 1, 3, 1]) == [
        *((1, 1.0), (2, 2.25), (4, 2.25), (8, 5.0)),
    ]


def test_a_file_of_costs(tmp_path: Path) -> None:
    costs.write(COSTS, tmp_path / "costs.json")
    assert costs.read(tmp_path / "costs.json") == COSTS
    with pytest.raises(SimulationError, match="cannot be written"):
        costs.write(COSTS, tmp_path / "none" / "costs.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"form": 2}, "form is 2"),
        ({"decode": []}, r"decode"),
        ({"decode": [[2, 0.1], [1, 0.2]]}, "decode is not valid: its counts must ascend"),
        ({"prompt": [[1, 0.0]]}, "prompt is not valid: no step takes no time"),
        ({"request": -1}, r"\$\.request"),
        ({"color": 1}, "color"),
        ({"room": {**msgspec.to_builtins(ROOM), "parallel": 99}}, r"room\.parallel is not valid"),
        ({"room": {**msgspec.to_builtins(ROOM), "kv_tokens": 9}}, r"room\.kv_tokens is not valid"),
        ({"room": {**msgspec.to_builtins(ROOM), "step_tokens": 8}}, r"room\.step_tokens is not valid"),
        ({"room": {**msgspec.to_builtins(ROOM), "slots": "many"}}, r"room\.slots"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, change: dict[str, object], said: str) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({**msgspec.to_builtins(COSTS), **change}))
    with pytest.raises(SimulationError, match=said) as caught:
        costs.read(file)
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(clients=0), "clients is 0"),
        (Plan(replicas=0), "replicas is 0"),
        (Plan(prefix=0), "prefix is 0"),
        (Plan(speed=0.0), "speed is 0"),
        (Plan(speed=float("nan")), "speed is nan"),
        (Plan(route="best"), "route is 'best'"),
        (Plan(requests=1), "requests"),
        (Plan(think=1.0), "think"),
        (Plan(clients=1, think=-1.0), "think is -1"),
    ],
)
def test_a_plan_that_is_wrong(plan: Plan, said: str) -> None:
    with pytest.raises(SimulationError, match=said):
        simulate(SMALL.traffic(1), COSTS, plan)


def test_made_traffic_is_the_same_for_the_same_seed() -> None:
    assert SMALL.traffic(3) == SMALL.traffic(3) != SMALL.traffic(4)
    skewed = replace(SMALL, conversations=300, customers=10, skewed=True).traffic(1)
    firsts = [talk.requests[0].prompt[0] for talk in skewed.conversations]
    assert firsts.count(0) > 2 * firsts.count(900)
    assert isinstance(skewed, Traffic)


# The command


def test_the_command(tmp_path: Path) -> None:
    file = written(tmp_path / "r.jsonl", *(exchange(n, [SYSTEM, f"Question number {n}?"], 110, 8) for n in range(4)))
    costs.write(COSTS, tmp_path / "c.json")
    asked = ["simulate", "traffic", str(file), "--costs", str(tmp_path / "c.json"), "--clients", "8", "--clients", "32"]
    shown = CliRunner().invoke(main, [*asked, "--replicas", "4", "--route", "random", "--route", "prefix"])
    assert shown.exit_code == 0, shown.output
    assert len(shown.output.splitlines()) == 5 and "tokens/s" in shown.output
    found = json.loads(CliRunner().invoke(main, [*asked, "--json"]).stdout)
    assert [row["clients"] for row in found["predictions"]] == [8, 32]
    assert all(row["answered"] == row["clients"] for row in found["predictions"])
    wrong = CliRunner().invoke(main, [*asked[:3], "--costs", str(tmp_path / "none.json")])
    assert wrong.exit_code == 1 and "none.json cannot be read" in wrong.output
    assert CliRunner().invoke(main, [*asked, "--think", "3", "--requests", "2"]).exit_code == 0
    assert "--think" in CliRunner().invoke(main, [*asked[:5], "--think", "3"]).output
    for more in (["--speed", "2"], ["--route", "best"], ["--replicas", "0"]):
        assert CliRunner().invoke(main, [*asked, *more]).exit_code == 2
    assert tuple(RULES) == command.ROUTES


def test_costs_of_an_engine(tmp_path: Path) -> None:
    """Of one that computes nothing: all counts are measured, and the file can be used."""
    file = tmp_path / "costs.json"
    fake = "nitro.engines.backends.fake:FakeRunner"
    asked = ["simulate", "costs", str(file), "none", "--engine", fake, "--ctx", "256", "--parallel", "4"]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    found = costs.read(file)
    assert [count for count, _ in found.decode] == [1, 2, 3, 4]
    assert {16, 32, 64, 128} <= {count for count, _ in found.prompt}
    assert (found.room.context, found.room.parallel) == (256, 4)
    assert CliRunner().invoke(main, ["simulate", "costs", str(tmp_path / "no" / "x.json")]).exit_code == 1
    broken = CliRunner().invoke(main, ["simulate", "costs", str(file), str(tmp_path / "no.gguf"), "--engine", "llama"])
    assert broken.exit_code == 1 and "no.gguf" in broken.output
