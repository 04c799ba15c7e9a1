"""What a step costs, as it was measured, and in which room: a file that `calibration.py` writes and simulations read.

    seconds of a step = decode(d) + prompt(t) + loose(r) − saved + decode_depth · Σ held + prompt_depth · Σ held

d: sequences that decode; t: tokens of prompts that fill tiles (`attention_tile_rows`), all where there are no tiles; r:
the rest of them; each part only where the step has such, and `saved` where it has both of the latter. `held`: tokens
before a row, which attention reads for it: faster where rows fill a tile (`prompt_depth`).

Curves are tables: kernels compute rows in groups. Between two points a curve is a line, and beyond the last one it goes
on as between the last two, but never falls.
"""

from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from nitro.engines.runner import Chunk
from nitro.engines.types import ModelInfo
from nitro.errors import SimulationError

FORM = 1  # of the file; a reader refuses a later one

Count = Annotated[int, Meta(ge=1)]
Tokens = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]
Points = Annotated[list[tuple[Count, Seconds]], Meta(min_length=1)]


class Room(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a ModelInfo the scheduler goes by. See there."""

    slots: Count
    parallel: Count
    context: Count
    kv_tokens: Count
    step_tokens: Count
    attention_tile_rows: Tokens = 0
    prompt_rows: Tokens = 0
    can_truncate: bool = True
    offload_tokens: Tokens = 0
    prompt_grid: Tokens = 0

    @classmethod
    def of(cls, info: ModelInfo) -> "Room":
        """That of a loaded model."""
        return cls(**{name: getattr(info, name) for name in cls.__struct_fields__})

    @property
    def info(self) -> ModelInfo:
        """For a scheduler. Nothing ends an answer but its length, and there are no drafts: whether they are right
        depends on texts."""
        about = {name: getattr(self, name) for name in self.__struct_fields__}
        return ModelInfo(
            engine="simulated",
            device="none",
            layers="none",
            trained_context=self.context,
            kv_bytes=0,
            vocabulary=2**62,
            eog=frozenset(),
            **about,
        )


class StepCosts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `decode`: (sequences, seconds), `prompt` and `loose`: (tokens, seconds), ascending. `request`: seconds
    from when a client sends a request until the engine has it, and from a token until the client has that."""

    form: int
    engine: str
    device: str
    model: str
    room: Room
    decode: Points
    prompt: Points
    loose: list[tuple[Count, Seconds]] = []  # none: as `prompt`
    saved: Seconds = 0.0
    decode_depth: Seconds = 0.0
    prompt_depth: Seconds = 0.0
    request: Seconds = 0.0

    def slower(self, factor: float) -> "StepCosts":
        """The same where each step takes so many times as long."""

        def curve(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
            return [(count, factor * seconds) for count, seconds in points]

        return replace(
            self,
            decode=curve(self.decode),
            prompt=curve(self.prompt),
            loose=curve(self.loose),
            saved=factor * self.saved,
            decode_depth=factor * self.decode_depth,
            prompt_depth=factor * self.prompt_depth,
        )

    def with_rows(self, seconds: float) -> "StepCosts":
        """The same where each sequence that decodes takes so much more of a step."""
        return replace(self, decode=[(count, taken + count * seconds) for count, taken in self.decode])


class StepClock:
    """Says how long steps last."""

    def __init__(self, costs: StepCosts):
        room = costs.room
        self._decode = _table(costs.decode, room.parallel)
        self._prompt = _table(costs.prompt, room.step_tokens)
        self._loose = _table(costs.loose or costs.prompt, room.step_tokens)
        self._tile = room.attention_tile_rows or 1
        self._saved = costs.saved
        self._decode_depth, self._prompt_depth = costs.decode_depth, costs.prompt_depth

    def seconds(self, batch: Iterable[Chunk]) -> float:
        """So long this step lasts."""
        decodes = held = whole = loose = read = 0  # `held` by rows that fill no tile, `read` by the others
        for chunk in batch:
            size = chunk.stop - chunk.start
            if size == 1:
                decodes += 1
                held += chunk.start
            else:
                rest = size % self._tile
                whole += size - rest
                loose += rest
                held += rest * (chunk.stop - rest)
                read += (size - rest) * chunk.start
        seconds = self._decode_depth * held + self._prompt_depth * read
        if decodes:
            seconds += self._decode[decodes]
        if whole:
            seconds += self._prompt[whole]
        if loose:
            seconds += self._loose[loose]
        if whole and loose:
            seconds -= min(self._saved, self._loose[loose])
        return seconds


def read(file: Path) -> StepCosts:
    """Raises SimulationError, which names the file and the field."""
    try:
        costs = msgspec.json.decode(file.read_bytes(), type=StepCosts)
    except OSError as error:
        raise SimulationError(f"{file} cannot be read: {error.strerror or error}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SimulationError(f"{file} is no file of step costs: {error}.") from None
    try:
        return check(costs)
    except SimulationError as error:
        raise SimulationError(f"{file}: {error}") from None


def write(costs: StepCosts, file: Path) -> None:
    """Raises SimulationError."""
    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(costs), indent=2) + b"\n")
    except OSError as error:
        raise SimulationError(f"{file} cannot be written: {error.strerror or error}.") from None


def check(costs: StepCosts) -> StepCosts:
    """The same. Raises SimulationError for what no engine has."""
    room = costs.room
    if costs.form > FORM:
        raise SimulationError(f"form is {costs.form}, and this Nitro reads forms up to {FORM}. Take a newer one.")
    wrong = {
        "room.parallel": room.parallel > room.slots and "there are not so many slots",
        "room.step_tokens": room.step_tokens <= room.parallel and "it must be more than room.parallel",
        "room.kv_tokens": room.kv_tokens < room.context and "it must be at least room.context",
        "room.attention_tile_rows": room.attention_tile_rows > room.step_tokens and "it is more than room.step_tokens",
        "decode": _fault(costs.decode),
        "prompt": _fault(costs.prompt),
        "loose": _fault(costs.loose),
    }
    for name, why in wrong.items():
        if why:
            raise SimulationError(f"{name} is not valid: {why}.")
    return costs


def _fault(points: list[tuple[int, float]]) -> str | None:
    counts = [count for count, _ in points]
    if counts != sorted(set(counts)):
        return "its counts must ascend"
    return None if all(seconds > 0 for _, seconds in points) else "no step takes no time"


def _table(points: list[tuple[int, float]], most: int) -> list[float]:
    """The curve at 0 to `most`."""
    counts = [count for count, _ in points]
    return [_between(points, bisect_left(counts, count), count) for count in range(most + 1)]


def _between(points: list[tuple[int, float]], place: int, count: int) -> float:
    """`place`: of the first point that is not before `count`."""
    if place == 0:
        return points[0][1]  # less than the least that was measured costs as much
    if place == len(points):
        if place == 1:
            return points[0][1] * count / points[0][0]
        place -= 1
    (low, before), (high, after) = points[place - 1], points[place]
    return max(before + (after - before) * (count - low) / (high - low), before)
