"""bench/pictures.py and bench/adapters.py: what they count as a gap, and what four adapters can reach."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import adapters, pictures
from bench.adapter_limit import ADAPTERS, CLIENTS, Costs
from bench.peers import OURS
from nitro.engines.scheduling.adapter_turns import LONGEST_TURN


@pytest.mark.parametrize(
    ("times", "longest"),
    [
        ([0.0, 4.0, 9.0, 11.0, 12.0, 19.0, 22.0], 7.0),  # what lies outside does not count
        ([0.0, 9.0, 16.0, 22.0], 7.0),  # what lies there in part does
        ([0.0, 12.0], 12.0),  # and so does one that has not ended, as far as it goes
        ([25.0], 0.0),
    ],
)
def test_gaps_between_two_times(times: list[float], longest: float) -> None:
    assert pictures.longest_within(times, began=10.0, done=20.0) == longest


def test_the_longest_gap_that_has_not_ended() -> None:
    assert pictures.longest_within([0.0, 11.0], began=10.0, done=30.0) == 19.0


def test_each_adapter_has_as_many_clients() -> None:
    asked = adapters.models("base")
    assert all(len(models) == CLIENTS for models in asked.values())
    assert sorted(asked[OURS]) == sorted(2 * list(dict.fromkeys(asked[OURS])))
    assert len(set(asked[OURS])) == ADAPTERS and set(asked[adapters.ALONE]) == {"base"}


def test_what_four_adapters_can_reach() -> None:
    step = LONGEST_TURN / 4
    costs = Costs(all=4 * step, all_adapted=5 * step, few=step, few_adapted=step, switched=2 * step)
    assert costs.turn == 4
    assert costs.tokens_per_second == pytest.approx(8 / (5 * step))  # eight tokens in five steps' time
    assert costs.lines()[-1] == "turns of 4 steps: 0.80"
    assert Costs(1, 1, LONGEST_TURN, LONGEST_TURN, 1).turn == 1  # as long as one step takes, however long that is
