"""The slots' bookkeeping: busy or idle, in the pool or offloaded, and which idle one shares most with a prompt.

Checked against a naive model in every order of calls, and rule by rule.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nitro.engines.scheduling.slots import Slots, shared_prefix

# Of few different tokens, and often of one: many begin alike.
tokens = st.lists(st.integers(1, 2), max_size=12) | st.integers(0, 12).map([1].__mul__)

quick = settings(deadline=None, database=None)


def slots_holding(*held: list[int]) -> Slots:
    """Slots 0, 1, … idle with these tokens, the first the least recently used."""
    slots = Slots(len(held))
    for slot, left in enumerate(held):
        slots.take(slot)
        slots.release(slot, left)
    return slots


def naive_shared(a: list[int], b: list[int]) -> int:
    count = 0
    while count < len(a) and count < len(b) and a[count] == b[count]:
        count += 1
    return count


class Model:
    """What the slots should do, said slowly: every slot with what it holds, when it was left, and where it lies."""

    def __init__(self, count: int):
        self.held: dict[int, list[int]] = {slot: [] for slot in range(count)}
        self.left_at: dict[int, int] = dict.fromkeys(range(count), 0)
        self.busy: set[int] = set()
        self.offloaded: set[int] = set()
        self.clock = 0

    @property
    def idle(self) -> list[int]:
        """Least recently used first; new ones in no particular order."""
        return sorted((slot for slot in self.held if slot not in self.busy), key=self.left_at.__getitem__)

    @property
    def in_pool(self) -> list[tuple[int, int]]:
        return [(slot, len(self.held[slot])) for slot in self.idle if self.held[slot] and slot not in self.offloaded]

    @property
    def oldest_offloaded(self) -> int | None:
        return next((slot for slot in self.idle if slot in self.offloaded), None)


class SlotsMachine(RuleBasedStateMachine):
    @initialize(count=st.integers(1, 6))
    def start(self, count: int) -> None:
        self.slots, self.model = Slots(count), Model(count)

    @precondition(lambda self: self.model.idle)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.model.idle))
        self.slots.take(slot)
        self.model.busy.add(slot)
        self.model.offloaded.discard(slot)
        self.model.held[slot] = []

    @precondition(lambda self: self.model.busy)
    @rule(data=st.data(), held=tokens)
    def release(self, data: st.DataObject, held: list[int]) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model.busy)))
        self.slots.release(slot, held.copy())
        self.model.clock += 1
        self.model.busy.remove(slot)
        self.model.held[slot], self.model.left_at[slot] = held, self.model.clock

    @precondition(lambda self: self.model.in_pool)
    @rule(data=st.data())
    def offload(self, data: st.DataObject) -> None:
        slot, _ = data.draw(st.sampled_from(self.model.in_pool))
        self.slots.offload(slot)
        self.model.offloaded.add(slot)

    @precondition(lambda self: self.model.idle)
    @rule(data=st.data())
    def clear(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.model.idle))
        self.slots.clear(slot)
        self.model.offloaded.discard(slot)
        self.model.held[slot] = []

    @rule(prompt=tokens)
    def the_longest_prefix(self, prompt: list[int]) -> None:
        shared = {slot: naive_shared(self.model.held[slot], prompt) for slot in self.model.idle}
        most = max(shared.values(), default=0)
        slot, length = self.slots.longest(prompt)
        assert length == most and (slot is None) == (most == 0)
        if slot is not None:
            equals = [other for other in shared if shared[other] == most]
            assert len(self.model.held[slot]) == min(len(self.model.held[other]) for other in equals)

    @precondition(lambda self: self.model.idle)
    @rule(data=st.data())
    def a_spare_one(self, data: st.DataObject) -> None:
        but = data.draw(st.sampled_from([None, *self.model.held]))
        slot = self.slots.spare(but)
        others = [other for other in self.model.idle if other != but]
        empty = [other for other in others if not self.model.held[other]]
        assert slot in (empty or others[:1] or [but])

    @invariant()
    def counts_agree(self) -> None:
        slots, model = self.slots, self.model
        assert slots.idle == len(model.idle)
        assert sorted(slots.in_pool()) == sorted(model.in_pool)
        assert slots.held == sum(size for _, size in model.in_pool)
        assert slots.offloaded == sum(len(model.held[slot]) for slot in model.offloaded)
        assert slots.oldest_offloaded(None) == model.oldest_offloaded
        assert {slot for slot in model.idle if slots.is_offloaded(slot)} == model.offloaded


TestSlotsMachine = SlotsMachine.TestCase
TestSlotsMachine.settings = settings(quick, max_examples=100, stateful_step_count=30)


def test_the_longest_shared_prefix_is_found() -> None:
    slots = slots_holding([1, 2], [1, 2, 3, 4], [1, 2, 3])
    assert slots.longest([1, 2, 3, 4, 5]) == (1, 4)
    assert slots.longest([1, 2, 3, 9]) == (2, 3), "of equals the one that loses least"
    assert slots.longest([9]) == (None, 0)


def test_an_empty_slot_is_spared_before_one_that_holds() -> None:
    slots = slots_holding([1, 2], [], [3, 4])
    assert slots.spare() == 1
    assert slots.spare(exclude=1) == 0


def test_without_an_empty_slot_the_least_recently_used_is_spared() -> None:
    slots = slots_holding([1, 2], [3, 4], [5, 6])
    assert slots.spare() == 0
    slots.take(0)
    slots.release(0, [7, 8])
    assert slots.spare() == 1
    assert slots.spare(exclude=1) == 2


def test_the_only_one_is_spared_whatever_it_holds() -> None:
    assert slots_holding([1, 2]).spare(exclude=0) == 0


def test_the_oldest_offloaded_goes_first() -> None:
    slots = slots_holding([1], [2], [3])
    slots.offload(1)
    slots.offload(0)
    assert slots.oldest_offloaded(exclude=None) == 0
    assert slots.oldest_offloaded(exclude=0) == 1
    slots.clear(0)
    assert slots.oldest_offloaded(exclude=None) == 1
    slots.take(1)
    assert slots.oldest_offloaded(exclude=None) is None


@quick
@given(tokens, tokens, tokens)
def test_shared_prefix(common: list[int], a: list[int], b: list[int]) -> None:
    one, other = common + a, common + b
    shared = naive_shared(one, other)
    assert shared_prefix(one, other) == shared >= len(common)
    for least in range(shared + 3):
        assert shared_prefix(one, other, least) == (shared if shared >= least else 0)
