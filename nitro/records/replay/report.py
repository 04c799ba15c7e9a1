"""What a replay has found, for people and for programs."""

from collections.abc import Iterable, Sequence
from statistics import median

from msgspec import Struct

from nitro.records.replay.comparison import Compared, Side

HEADER = ("#", "PATH", "FIRST BYTE", "TIME", "TOKENS/S", "ANSWER")
COLUMN = 32  # characters of a path


class Figures(Struct):
    """Of one side. Times are seconds."""

    median_first: float | None
    median_time: float | None
    total_time: float  # of all requests, one after the other
    tokens: int
    median_speed: float | None  # tokens a second, after the first byte of a stream


class Report(Struct):
    """All requests of a replay. `same`, `differ`: of those that ask for the same answer each time; `free`: of the
    others, those whose answers differ; `failed`: which got an error instead of an answer. `seconds`: that it took."""

    url: str
    requests: list[Compared]
    same: int
    differ: int
    free: int
    failed: int
    seconds: float
    recorded: Figures
    replayed: Figures

    @property
    def fails(self) -> bool:
        """Whether an answer is missing, or is another one than it should be."""
        return any(each.fails for each in self.requests)


def make(url: str, requests: list[Compared], seconds: float) -> Report:
    """The report of these."""
    broken = sum(each.fails and bool(each.error or "status" in each.differs) for each in requests)
    failing = sum(each.fails for each in requests)
    return Report(
        url=url,
        requests=requests,
        same=sum(each.deterministic and not each.differs for each in requests),
        differ=failing - broken,
        free=sum(bool(each.differs) and not each.fails for each in requests),
        failed=broken,
        seconds=round(seconds, 3),
        recorded=_figures([each.recorded for each in requests]),
        replayed=_figures([each.replayed for each in requests]),
    )


def rows(report: Report) -> list[tuple[str, ...]]:
    """A row of the table for each request."""
    return [
        (
            str(number),
            each.path if len(each.path) <= COLUMN else f"…{each.path[1 - COLUMN :]}",
            _times(each.recorded.first_seconds, each.replayed.first_seconds),
            _times(each.recorded.seconds, each.replayed.seconds),
            _both(_speed(each.recorded.speed), _speed(each.replayed.speed)),
            verdict(each),
        )
        for number, each in enumerate(report.requests, 1)
    ]


def verdict(compared: Compared) -> str:
    """How the two answers compare, in a few words."""
    if compared.fails and compared.error:
        return f"FAILED: {compared.error}"
    if not compared.differs:
        return "left, as before" if compared.left else "the same"
    found = ", ".join(compared.differs)
    return f"DIFFERS: {found}" if compared.fails else f"differs, as it may: {found}"


def sentences(report: Report) -> Iterable[str]:
    """What there is to say of all of them."""
    for number, each in enumerate(report.requests, 1):
        if each.where and each.fails:
            yield f"{number}: {each.where}"
    one, other = report.recorded, report.replayed
    yield f"{len(report.requests)} requests in {report.seconds:.2f} s to {report.url}"
    yield (
        f"{report.same} answers are the same as they should be, {report.differ} differ, {report.failed} failed; "
        f"{report.free} others differ, as sampled answers may"
    )
    yield f"median time {_times(one.median_time, other.median_time)}, to the first byte " + _times(
        one.median_first, other.median_first
    )
    if other.median_speed or one.median_speed:
        yield f"median tokens/s of a stream {_both(_speed(one.median_speed), _speed(other.median_speed))}"


def _figures(sides: Sequence[Side]) -> Figures:
    answered = [side for side in sides if side.status == 200]
    first = [side.first_seconds for side in answered if side.first_seconds is not None]
    speeds = [side.speed for side in answered if side.speed is not None]
    return Figures(
        median_first=median(first) if first else None,
        median_time=median(side.seconds for side in answered) if answered else None,
        total_time=round(sum(side.seconds for side in answered), 6),
        tokens=sum(side.answer.completion_tokens or 0 for side in answered),
        median_speed=median(speeds) if speeds else None,
    )


def _times(one: float | None, other: float | None) -> str:
    return _both(_time(one), _time(other))


def _both(one: str, other: str) -> str:
    return f"{one} → {other}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _speed(speed: float | None) -> str:
    return "-" if speed is None else f"{speed:.1f}"
