"""The keys of a server, as its file has them now. Belongs to the event loop.

A file is read again when it changes, and when somebody says so. One that cannot be read, or is wrong, changes nothing:
the log tells of it, and the keys that were there go on to hold. What is under way goes on in any case.
"""

import asyncio
import contextlib
import hmac
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from nitro.errors import StartError
from nitro.keys import keys_file
from nitro.keys.account import Account
from nitro.keys.clock import Clock
from nitro.keys.key import Key, digest
from nitro.keys.ledger import Ledger

log = logging.getLogger("nitro.keys")

LOOK_EVERY = 1.0  # seconds


class KeyRing:
    """See above."""

    def __init__(self, path: Path, ledger: Ledger, clock: Clock | None = None):
        """Raises StartError where the file cannot be read or is wrong."""
        self.path = path
        self.ledger = ledger
        self._clock = clock or Clock()
        self._seen = _state(path)
        self._accounts: dict[str, Account] = {}  # by name, also of keys that are gone
        self._by_hash: dict[str, Account] = {}
        self._asked = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._take(keys_file.read(path))

    def find(self, sent: Iterable[bytes]) -> Account | None:
        """Whose key is among what a request sends. What it costs tells nothing of a key: only hashes are compared."""
        found = None
        for each in sent:
            given = digest(each)
            account = self._by_hash.get(given)
            if account and hmac.compare_digest(account.key.hash, given):
                found = found or account
        return found

    def named(self, name: str) -> Account | None:
        """The account of this name, as long as there is its key."""
        account = self._accounts.get(name)
        return account if account and self._by_hash.get(account.key.hash) is account else None

    @property
    def accounts(self) -> list[Account]:
        """Of all keys that there are, by name."""
        return sorted(self._by_hash.values(), key=lambda account: account.name)

    def reload(self) -> None:
        """Have the file read again soon. What is wrong with it is logged."""
        self._asked.set()

    async def start(self) -> None:
        """Count what is used, and look for changes of the file."""
        await self.ledger.start()
        self._watching = asyncio.create_task(self._watch(), name="keys")

    async def close(self) -> None:
        """Once what was counted is kept."""
        if self._watching:
            self._watching.cancel()
        await self.ledger.close()

    def _take(self, keys: dict[str, Key]) -> None:
        for name, key in keys.items():
            if name in self._accounts:
                self._accounts[name].change(key)
            else:
                self._accounts[name] = Account(name, key, self.ledger, self._clock)
        self._by_hash = {key.hash: self._accounts[name] for name, key in keys.items()}
        self._accounts = {name: each for name, each in self._accounts.items() if name in keys or each.at_once}

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), LOOK_EVERY)
            if self._asked.is_set() or await asyncio.to_thread(_state, self.path) != self._seen:
                self._asked.clear()
                await self._reload()

    async def _reload(self) -> None:
        self._seen = await asyncio.to_thread(_state, self.path)
        try:
            self._take(await asyncio.to_thread(keys_file.read, self.path))
            log.info("%s was read: it has %d keys", self.path, len(self._by_hash))
        except StartError as error:
            log.error("the keys stay as they were: %s", error)


def _state(path: Path) -> tuple[int, ...]:
    """What differs when a file was written or replaced."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
