"""What `GET /metrics` shows of files and batches: of all servers that share the state folder, but what runs is ours."""

import logging
from collections.abc import Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from nitro.batches.runner import Batches
from nitro.errors import StateError
from nitro.state import batches
from nitro.state.batches import Figures

log = logging.getLogger("nitro.batches")


class BatchMetrics:
    """Of one server. `look` before what is shown is asked for."""

    def __init__(self, kept: Batches):
        self._kept = kept
        self._figures = Figures()

    async def look(self) -> None:
        """Have the figures as they are now. Where the database cannot be read they stay as they were."""
        try:
            if await self._kept.store.exists():
                self._figures = await self._kept.store.read(batches.figures)
        except StateError as error:
            log.error("files and batches cannot be counted: %s", error)

    def families(self) -> Iterator[Metric]:
        """As they were at the last look."""
        figures, running = self._figures, self._kept.lines_under_way
        yield GaugeMetricFamily("nitro_batches_open", "Batches that have not ended.", figures.open)
        lines = GaugeMetricFamily("nitro_batch_lines", "Lines of batches that have not ended.", labels=["state"])
        lines.add_metric(["waiting"], max(figures.lines - figures.done - running, 0))
        lines.add_metric(["running"], running)
        lines.add_metric(["done"], figures.done)
        yield lines
        yield GaugeMetricFamily("nitro_files", "Files that are kept.", figures.files)
        yield GaugeMetricFamily("nitro_file_bytes", "Their bytes, and those of what is not whole yet.", figures.bytes)
