"""How far this process has come with the weights that it loads. Backends count; who tells of it reads the counts."""

from nitro.engines.types import LoadProgress


class WeightsRead:
    """Bytes of weights. One thread counts, any may look."""

    def __init__(self) -> None:
        self._before = 0  # of what was loaded before
        self._now = 0  # of what is being loaded
        self._total = 0

    @property
    def progress(self) -> LoadProgress:
        """All together."""
        return LoadProgress(min(self._before + self._now, self._total), self._total)

    def begin(self, total: int) -> None:
        """Weights of so many bytes are going to be read: of the model, or of one beside it."""
        self._before = self._total
        self._now = 0
        self._total += total

    def add(self, count: int) -> None:
        """So many more bytes of them are read."""
        self._now += count

    def reach(self, share: float) -> None:
        """This share of them is read."""
        self._now = round(share * (self._total - self._before))


OF_THIS_PROCESS = WeightsRead()  # an engine process loads one model
