"""A model for as long as somebody needs it."""

from typing import Protocol

from nitro.engines.shares import Tier
from nitro.keys.key import Rights
from nitro.models.handle import ServedModel


class Lessor(Protocol):
    """Who lends models."""

    async def acquire(
        self, name: str | None, rights: Rights | None = None, tier: Tier = "default"
    ) -> tuple[ServedModel, bool]:
        """The model, with one lease of this tier more, once it is there or loads; and whether the name was found to
        mean it, rather than any. Raises ApiError, also 403 where these rights are not for it, and EngineError."""

    def give_back(self, model: ServedModel, tier: Tier) -> None:
        """One lease less."""

    def keep_alive(self, model: ServedModel, seconds: float) -> None:
        """See Lease."""


class Lease:
    """`async with models.lease(name) as model`, or `acquire` and `release`. The model may still load: its engine's
    `ready` tells. `release` waits for nothing and may be called more than once."""

    def __init__(self, lessor: Lessor, name: str | None = None, rights: Rights | None = None, tier: Tier = "default"):
        self._lessor, self._name, self._rights, self._tier = lessor, name, rights, tier
        self._model: ServedModel | None = None
        self.found = False  # whether the name means this model, and not any

    async def acquire(self) -> ServedModel:
        """The model, which stays until `release`. Raises ApiError, EngineError."""
        if self._model is None:
            self._model, self.found = await self._lessor.acquire(self._name, self._rights, self._tier)
        return self._model

    def keep_alive(self, seconds: float | None) -> None:
        """How long the model stays loaded once nobody needs it any more; None: as it was."""
        if self._model is not None and seconds is not None:
            self._lessor.keep_alive(self._model, seconds)

    def release(self) -> None:
        """This lease no longer needs the model."""
        if self._model is not None:
            model, self._model = self._model, None
            self._lessor.give_back(model, self._tier)

    async def __aenter__(self) -> ServedModel:
        return await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()
