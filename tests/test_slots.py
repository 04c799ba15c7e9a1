"""The slots: each is busy or idle, and a prompt gets the idle one that serves it best.

Checked against a naive model in every order of calls, and rule by rule.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nitro.engines.slots import Slots, shared_prefix

# Of few different tokens, and often of one: many begin alike.
tokens = st.lists(st.integers(1, 2), max_size=12) | st.integers(0, 12).map([1].__mul__)
prompts = tokens.map(lambda held: [*held, 1])

quick = settings(deadline=None, database=None)


def slots_holding(*held: list[int]) -> Slots:
    """Slots 0, 1, … idle with these tokens, the first the least recently used."""
    slots = Slots(len(held))
    for _ in held:
        slots.take([0])
    for slot, left in enumerate(held):
        slots.release(slot, left)
    return slots


def naive_shared(a: list[int], b: list[int]) -> int:
    count = 0
    while count < len(a) and count < len(b) and a[count] == b[count]:
        count += 1
    return count


class Model:
    """What the slots should do, said slowly: every slot with what it holds and when it was left."""

    def __init__(self, count: int):
        self.held: dict[int, list[int]] = {slot: [] for slot in range(count)}
        self.left_at: dict[int, int] = dict.fromkeys(range(count), 0)
        self.busy: set[int] = set()
        self.clock = 0

    @property
    def idle(self) -> list[int]:
        """Least recently used first; new ones in no particular order."""
        return sorted((slot for slot in self.held if slot not in self.busy), key=self.left_at.__getitem__)

    def shared(self, slot: int, prompt: list[int]) -> int:
        return min(naive_shared(self.held[slot], prompt), len(prompt) - 1)

    def worth(self, slot: int, prompt: list[int]) -> int:
        """How many tokens would be kept; none where more than half of the slot's would be lost."""
        shared = self.shared(slot, prompt)
        lost = len(self.held[slot]) - shared
        return shared if lost <= shared else 0

    def choices(self, prompt: list[int]) -> tuple[set[int], int]:
        """The slots that may be taken, and how many tokens are to be kept."""
        idle = self.idle
        most = max(self.worth(slot, prompt) for slot in idle)
        if most > 0:
            return {slot for slot in idle if self.worth(slot, prompt) == most}, most
        empty = {slot for slot in idle if not self.held[slot]}
        return (empty, 0) if empty else ({idle[0]}, self.shared(idle[0], prompt))

    def take(self, slot: int) -> None:
        self.busy.add(slot)
        self.held[slot] = []

    def release(self, slot: int, held: list[int]) -> None:
        self.clock += 1
        self.busy.remove(slot)
        self.held[slot], self.left_at[slot] = held, self.clock

    def oldest_held(self) -> int | None:
        return next((slot for slot in self.idle if self.held[slot]), None)


class SlotsMachine(RuleBasedStateMachine):
    @initialize(count=st.integers(1, 6))
    def start(self, count: int) -> None:
        self.slots, self.model = Slots(count), Model(count)

    @precondition(lambda self: self.model.idle)
    @rule(prompt=prompts)
    def take(self, prompt: list[int]) -> None:
        may, keep = self.model.choices(prompt)
        slot, kept = self.slots.take(prompt)
        assert slot in may and kept == keep
        assert kept < len(prompt) and self.model.held[slot][:kept] == prompt[:kept]
        self.model.take(slot)

    @precondition(lambda self: self.model.idle)
    @rule(data=st.data(), more=prompts)
    def take_to_go_on(self, data: st.DataObject, more: list[int]) -> None:
        held = self.model.held[data.draw(st.sampled_from(self.model.idle))]
        self.take(held + more)

    @precondition(lambda self: self.model.busy)
    @rule(data=st.data(), held=tokens)
    def release(self, data: st.DataObject, held: list[int]) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model.busy)))
        self.slots.release(slot, held.copy())
        self.model.release(slot, held)

    @rule()
    def drop_the_oldest(self) -> None:
        slot = self.slots.oldest_held()
        if slot is not None:
            self.slots.clear(slot)
            self.model.held[slot] = []

    @invariant()
    def counts_agree(self) -> None:
        assert self.slots.idle == len(self.model.idle)
        assert self.slots.oldest_held() == self.model.oldest_held()


TestSlotsMachine = SlotsMachine.TestCase
TestSlotsMachine.settings = settings(quick, max_examples=100, stateful_step_count=30)


def test_every_slot_can_be_taken_once() -> None:
    slots = Slots(5)
    taken = [slots.take([1, 2, 3]) for _ in range(5)]
    assert {slot for slot, _ in taken} == {0, 1, 2, 3, 4}
    assert {kept for _, kept in taken} == {0}
    assert slots.idle == 0


def test_the_longest_shared_prefix_wins() -> None:
    slots = slots_holding([1, 2], [1, 2, 3, 4], [1, 2, 3])
    assert slots.take([1, 2, 3, 4, 5]) == (1, 4)
    assert slots.take([1, 2, 3, 4, 5]) == (2, 3)
    assert slots.take([1, 2, 3, 4, 5]) == (0, 2)


@pytest.mark.parametrize("prompt", [[1], [1, 2], [1, 2, 3]])
def test_the_last_token_is_never_kept(prompt: list[int]) -> None:
    assert slots_holding(prompt).take(prompt) == (0, len(prompt) - 1)
    assert slots_holding(prompt[:-1]).take(prompt) == (0, len(prompt) - 1)


def test_a_slot_that_would_lose_more_than_half_is_not_cut() -> None:
    assert slots_holding([1, 2, 3, 4, 5], []).take([1, 2, 9]) == (1, 0)
    assert slots_holding([1, 2, 3, 4], []).take([1, 2, 9]) == (0, 2)
    assert slots_holding([1, 2, 3], []).take([1, 2, 9]) == (0, 2)


def test_the_last_token_counts_as_lost() -> None:
    """Of four held tokens all are the prompt's beginning, but the prompt is so short that only one could stay."""
    assert slots_holding([1, 2, 3, 4], []).take([1, 2]) == (1, 0)


def test_a_shorter_prefix_wins_where_the_longest_would_cost_too_much() -> None:
    assert slots_holding([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2]).take([1, 2, 3, 99]) == (1, 2)


def test_without_a_shared_prefix_an_empty_slot_is_taken_before_one_that_holds() -> None:
    slots = slots_holding([1, 2], [], [3, 4])
    assert slots.take([9, 9]) == (1, 0)


def test_without_an_empty_slot_the_least_recently_used_is_taken() -> None:
    slots = slots_holding([1, 2], [3, 4], [5, 6])
    assert slots.take([9, 9]) == (0, 0)
    slots.release(0, [7, 8])
    assert slots.take([9, 9]) == (1, 0)


def test_the_oldest_that_holds_goes_first() -> None:
    slots = slots_holding([], [3, 4], [5, 6])
    assert slots.oldest_held() == 1
    slots.clear(1)
    assert slots.oldest_held() == 2
    slots.clear(2)
    assert slots.oldest_held() is None
    assert slots.idle == 3


def test_a_busy_slot_is_not_the_oldest_that_holds() -> None:
    slots = slots_holding([1, 2, 3], [3, 4])
    assert slots.take([1, 2, 3, 4]) == (0, 3)
    assert slots.oldest_held() == 1


def test_a_slot_used_again_is_the_youngest() -> None:
    slots = slots_holding([1, 2], [3, 4])
    slots.take([1, 2, 3])
    slots.release(0, [1, 2, 3])
    assert slots.oldest_held() == 1


@quick
@given(tokens, tokens, tokens)
def test_shared_prefix(common: list[int], a: list[int], b: list[int]) -> None:
    one, other = common + a, common + b
    assert shared_prefix(one, other) == naive_shared(one, other) >= len(common)
