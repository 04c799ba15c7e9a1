"""Prefixes that requests name stay in the cache while others crowd it: the policy, the scheduler, and real engines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from driving import GREEDY, Driver
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from running import CEILING, RunningServer
from same_answer import assert_same_answer, tolerance
from test_scheduler import Engine, StrictRunner, make_info
from tiny_models import KINDS, write_folder, write_gguf

from nitro.engines.scheduling.kept_prefixes import KeptPrefix, KeptPrefixes
from nitro.engines.scheduling.prefix_cache import PrefixCache

# The policy


def prompt(first: int, length: int = 20) -> list[int]:
    return [first] * length


def policy(**info: Any) -> KeptPrefixes:
    """Of 64 tokens in all, and two slots."""
    return KeptPrefixes(make_info(**{"parallel": 4, "spare": 4, "kv_tokens": 128, **info}))


def holders(kept: KeptPrefixes, slots: list[tuple[int, list[int]]]) -> dict[int, int]:
    """Of slots whose tokens were computed without adapters."""
    return kept.holders([(slot, held, ()) for slot, held in slots])


def test_what_is_named_stays_and_nothing_else() -> None:
    kept = policy()
    assert kept.begin(prompt(1), [], 0.0) == 0
    assert kept.begin(prompt(2), [KeptPrefix(15, 300)], 0.0) == 15
    assert holders(kept, [(7, prompt(1)), (8, prompt(2)), (9, prompt(2, 14))]) == {8: 15}


def test_what_is_named_under_an_adapter_stays_under_that_one() -> None:
    """The same tokens under others are other prefixes, and no use of it."""
    kept = policy()
    poet, cook = ((1, 1.0),), ((2, 1.0),)
    kept.begin(prompt(1), [KeptPrefix(15, 300)], 0.0, poet)
    kept.begin(prompt(1), [], 250.0, cook)
    assert kept.holders([(7, prompt(1), ()), (8, prompt(1), cook), (9, prompt(1), poet)]) == {9: 15}
    kept.begin(prompt(1), [KeptPrefix(15, 300)], 400.0)
    assert kept.holders([(9, prompt(1), poet), (8, prompt(1), ())]) == {8: 15}, "it was not used, and is over"


def test_it_stays_for_its_time_after_its_last_use() -> None:
    kept = policy()
    kept.begin(prompt(1), [KeptPrefix(15, 300)], 0.0)
    kept.begin(prompt(1), [], 299.0)  # a use, whoever it is
    kept.begin(prompt(2), [], 598.0)
    assert holders(kept, [(1, prompt(1))]) == {1: 15}
    kept.begin(prompt(2), [], 600.0)
    assert holders(kept, [(1, prompt(1))]) == {}


def test_of_two_times_for_the_same_the_longer_counts() -> None:
    kept = policy()
    for seconds in (3600, 300):
        kept.begin(prompt(1), [KeptPrefix(15, seconds)], 0.0)
    kept.begin(prompt(2), [], 3000.0)
    assert holders(kept, [(1, prompt(1))]) == {1: 15}


def test_a_key_keeps_the_last_of_its_requests() -> None:
    kept = policy()
    kept.begin(prompt(1), [KeptPrefix(15, 300, "a")], 0.0)
    kept.begin(prompt(2), [KeptPrefix(15, 300, "b")], 0.0)
    kept.begin(prompt(3), [KeptPrefix(15, 300, "a")], 0.0)
    assert holders(kept, [(i, prompt(i)) for i in (1, 2, 3)]) == {2: 15, 3: 15}


def test_one_slot_holds_those_that_begin_alike() -> None:
    kept = policy()
    keeps = [KeptPrefix(length, 300) for length in (5, 10, 15, 20)]
    assert kept.begin(prompt(1), keeps, 0.0) == 20
    assert kept.begin([*prompt(1, 10), *prompt(2, 10)], [KeptPrefix(20, 300)], 1.0) == 20
    slots = [(1, prompt(1, 30)), (2, prompt(1, 12)), (3, [*prompt(1, 10), *prompt(2, 10)])]
    assert holders(kept, slots) == {1: 20, 3: 20}


def test_a_conversation_that_grows_names_few() -> None:
    """Its end and its beginning stay, whatever was named between."""
    kept = policy(kv_tokens=1024, context=512)
    for turn in range(1, 60):
        assert kept.begin(prompt(1, 5 * turn), [KeptPrefix(5 * turn, 300)], float(turn)) == 5 * turn
    assert holders(kept, [(1, prompt(1, 400))]) == {1: 295}
    assert holders(kept, [(1, prompt(1, 290))]) == holders(kept, [(1, prompt(1, 79))]) == {1: 75}, "of those between"


def test_the_most_recently_used_of_its_slots_is_the_one() -> None:
    kept = policy()
    kept.begin(prompt(1), [KeptPrefix(15, 300)], 0.0)
    assert holders(kept, [(3, prompt(1)), (1, prompt(1)), (2, prompt(2))]) == {1: 15}


def test_all_together_have_bounds_and_the_last_used_stay() -> None:
    kept = policy()
    for first in (1, 2, 3):
        assert kept.begin(prompt(first), [KeptPrefix(20, 300)], float(first)) == 20
    assert holders(kept, [(i, prompt(i)) for i in (1, 2, 3)]) == {2: 20, 3: 20}, "two slots"
    assert kept.begin(prompt(4, 50), [KeptPrefix(50, 300)], 4.0) == 50
    assert holders(kept, [(2, prompt(2)), (3, prompt(3)), (4, prompt(4, 50))]) == {4: 50}, "64 tokens"


def test_very_many_slots_hold_few() -> None:
    kept = policy(parallel=4, spare=64, context=64, kv_tokens=4096)
    for first in range(1, 30):
        assert kept.begin(prompt(first), [KeptPrefix(20, 300)], float(first)) == 20
    assert sorted(holders(kept, [(i, prompt(i)) for i in range(1, 30)])) == [*range(14, 30)]


class Counted(int):
    """A token. It counts how often tokens are compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return int(self) == int(other)

    __hash__ = int.__hash__


def test_long_conversations_are_compared_a_few_times() -> None:
    """However many prefixes of them stay: each new request, and each look for who gives way."""
    kept = policy(context=5000, kv_tokens=20_000)

    def other(length: int) -> list[int]:
        return [Counted(i) for i in range(length)]

    for turn in range(40):
        Counted.compared = 0
        length = 2000 + 20 * turn
        keeps = [KeptPrefix(length - 5 * i, 300) for i in (3, 2, 1, 0)]
        assert kept.begin(other(length), keeps, float(turn)) == length
        assert Counted.compared < 2 * length
    Counted.compared = 0
    assert holders(kept, [(1, other(3000)), (2, other(2500))]) == {1: 2780}
    assert Counted.compared < 2 * 3000


def test_of_what_is_longer_than_all_may_be_the_beginning_stays() -> None:
    assert policy().begin(prompt(1, 100), [KeptPrefix(90, 300)], 0.0) == 64
    assert policy(can_truncate=False).begin(prompt(1, 100), [KeptPrefix(90, 300)], 0.0) == 0


def test_of_one_request_the_shorter_ones_stay() -> None:
    kept = policy(can_truncate=False)
    assert kept.begin(prompt(1), [KeptPrefix(length, 300) for length in (10, 15, 20)], 0.0) == 15


def test_where_nothing_can_be_cut_a_slot_holds_what_ends_with_it() -> None:
    kept = policy(can_truncate=False)
    kept.begin(prompt(1), [KeptPrefix(15, 300)], 0.0)
    assert holders(kept, [(1, prompt(1)), (2, prompt(1, 15))]) == {2: 15}


# The scheduler


def crowd(engine: Engine, first: int, count: int = 12) -> None:
    for number in range(first, first + count):
        engine.add(prompt(number, 30), 2)
        engine.finish()


def cached(engine: Engine, tokens: list[int], last: int = 250) -> int:
    engine.add([*tokens, last, last], 1)
    engine.step()
    ((_, length),) = engine.scheduler.admitted
    engine.finish()
    return length


@pytest.mark.parametrize("can_truncate", [True, False])
@pytest.mark.parametrize("offload_tokens", [0, 100])
@pytest.mark.parametrize("kv_tokens", [128, 512])
def test_it_outlasts_a_crowd(can_truncate: bool, offload_tokens: int, kv_tokens: int) -> None:
    """Of which one that nobody has named does not."""
    info = make_info(parallel=2, spare=4, kv_tokens=kv_tokens, offload_tokens=offload_tokens, can_truncate=can_truncate)
    engine = Engine(info)
    points = () if can_truncate else (24,)
    engine.add(prompt(1, 30), 4, points, (KeptPrefix(24, 300),))
    engine.add(prompt(2, 30), 4, points)
    engine.finish()
    assert engine.told[1].sequence.written == 24 and engine.told[2].sequence.written == 0
    crowd(engine, 10)
    for last in (248, 249):  # a use does not wear it off
        assert cached(engine, prompt(1, 24), last) == 24
        crowd(engine, 40)
    assert cached(engine, prompt(2, 24)) == 0


def test_what_follows_it_gives_way_before_it_does() -> None:
    """A slot is cut to what is to stay of it, after those of which nothing is."""
    info = make_info(parallel=2, spare=2, context=64, kv_tokens=80)
    engine = Engine(info)
    engine.add([*prompt(1, 20), *prompt(2, 30)], 1, (), (KeptPrefix(20, 300),))
    engine.finish()
    engine.add(prompt(3, 55), 1)
    engine.finish()
    held = [tokens for _, tokens, _ in engine.scheduler.slots.items()]
    assert prompt(1, 20) in held and prompt(3, 55) in held
    engine.add(prompt(4, 55), 4)
    engine.finish()
    assert [tokens[0] for _, tokens, _ in engine.scheduler.slots.items()] == [1, 4]


def test_it_gives_way_where_there_is_nothing_else() -> None:
    info = make_info(parallel=2, spare=2, context=64, kv_tokens=64)
    engine = Engine(info)
    engine.add(prompt(1, 30), 1, (), (KeptPrefix(30, 300),))
    engine.finish()
    engine.add(prompt(4, 50), 14)
    engine.finish()
    assert cached(engine, prompt(1, 24)) == 0


def test_a_slot_is_not_taken_over_below_it() -> None:
    engine = Engine(make_info(parallel=2, spare=2))
    keep = (KeptPrefix(40, 300),)
    engine.add(prompt(1, 40), 1, (), keep)
    engine.finish()
    assert cached(engine, prompt(1, 38)) == 38
    assert cached(engine, prompt(1, 40)) == 40


def test_a_slot_that_nobody_names_gives_way_where_no_other_is_idle() -> None:
    engine = Engine(make_info(parallel=1, spare=1))
    engine.add(prompt(1, 30), 1, (), (KeptPrefix(24, 300),))
    engine.finish()
    engine.add(prompt(2, 60), 1)
    engine.finish()
    assert cached(engine, [*prompt(2, 20), *prompt(3, 20)]) == 20, "of the slot that it takes over"
    assert cached(engine, prompt(1, 24)) == 24


def test_what_is_computed_and_stays_is_told_once() -> None:
    engine = Engine(make_info())
    keeps = (KeptPrefix(20, 300), KeptPrefix(30, 300))
    for written in (30, 0):
        id = engine.add(prompt(1, 40), 1, (), keeps)
        engine.finish()
        assert engine.told[id].sequence.written == written
    id = engine.add([*prompt(1, 20), *prompt(2, 20)], 1, (), (*keeps[:1], KeptPrefix(35, 300)))
    engine.finish()
    assert engine.told[id].sequence.written == 15


def test_after_a_reset_nothing_is_held() -> None:
    info = make_info()
    cache = PrefixCache(info, StrictRunner(info))
    cache.keep(prompt(1), [KeptPrefix(18, 300)], 0.0)
    cache.restart()
    assert holders(cache.kept, [(1, prompt(1))]) == {}


# Real engines


@pytest.fixture(params=["llama", "mlx", *(kind for kind in KINDS if not kind.startswith("plain"))])
def scorer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LlamaScorer | MlxScorer]:
    banned = list(GREEDY.logit_bias)
    if request.param == "llama":
        scorer = LlamaScorer(write_gguf(tmp_path / "tiny.gguf"), context=256, parallel=2, banned=banned)
    else:
        kind = "plain" if request.param == "mlx" else request.param
        scorer = MlxScorer(write_folder(tmp_path / "model", kind), context=256, parallel=2, banned=banned)
    yield scorer
    scorer.close()


def test_an_engine_keeps_what_is_named(scorer: LlamaScorer | MlxScorer) -> None:
    """And what it says after that is what it would say without."""
    driver = Driver(scorer)
    points = () if scorer.info.can_truncate else (60,)
    named, unnamed = [*range(30, 110)], [*range(130, 210)]
    driver.add(0, named, 4, snapshot_points=points, keeps=(KeptPrefix(60, 300),))
    driver.add(1, unnamed, 4, snapshot_points=points)
    driver.run()
    for id in range(2, 2 + 2 * scorer.info.slots):
        driver.add(id, [id + 300, *range(400, 500)], 2)
        driver.run()
    found = {}
    for id, tokens in ((100, [*named[:60], 7, 8, 9]), (101, [*unnamed[:60], 7, 8, 9])):
        driver.add(id, tokens, 4)
        driver.step()
        found |= {sequence.id: count for sequence, count in driver.scheduler.admitted}
        driver.run()
        assert_same_answer(scorer, tokens, driver.answers[id], tolerance(scorer, named + unnamed))
    assert found == {100: 60, 101: 0}


# Over HTTP

SYSTEM = "You are a careful clerk of the river office, and write down what ships have come, with their loads. "


def usage(server: RunningServer, system: str, question: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    body = {"messages": messages, "max_tokens": 1, **fields}
    reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=CEILING)
    assert reply.status_code == 200, reply.text
    told = reply.json()["usage"]
    return {"prompt": told["prompt_tokens"], "cached": 0, "cache_write": 0} | {
        name.removesuffix("_tokens"): count for name, count in told["prompt_tokens_details"].items()
    }


def marked(text: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, **fields}]


def test_clients_name_it(server: RunningServer) -> None:
    """Each in its way; of what a crowd leaves of an unnamed prompt, only what all have in common is found."""
    ways: dict[str, tuple[Any, dict[str, Any]]] = {
        "key": ("Key. " + SYSTEM, {"prompt_cache_key": "river"}),
        "control": (marked("Control. " + SYSTEM, cache_control={"type": "ephemeral"}), {}),
        "breakpoint": (
            marked("Breakpoint. " + SYSTEM, prompt_cache_breakpoint={"mode": "explicit"}),
            {"prompt_cache_options": {"mode": "explicit"}},
        ),
        "nobody": ("Nobody. " + SYSTEM, {}),
    }
    for name, (system, fields) in ways.items():
        told = usage(server, system, "Who came?", **fields)
        assert (told["cache_write"] > 20) == (name != "nobody"), name
    for number in range(20):
        usage(server, f"{number} ships. " * 20, "Who came?")
    found = {name: usage(server, system, "Who left?", **fields) for name, (system, fields) in ways.items()}
    for name in ("key", "control", "breakpoint"):
        assert found[name]["cached"] > 20, json.dumps(found)
    assert found["nobody"]["cached"] < 10, json.dumps(found)
