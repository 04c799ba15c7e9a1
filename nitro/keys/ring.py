"""The keys of a server, as its file has them now. Belongs to the event loop.

A file that cannot be read again, or is wrong, changes nothing: the keys that were there go on to hold. What is under
way goes on in any case.
"""

import hmac
from collections.abc import Iterable
from pathlib import Path

from nitro.keys import keys_file
from nitro.keys.account import Account
from nitro.keys.clock import Clock
from nitro.keys.key import Key, digest
from nitro.keys.ledger import Ledger


class KeyRing:
    """See above."""

    def __init__(self, path: Path, ledger: Ledger, clock: Clock | None = None):
        """Raises StartError where the file cannot be read or is wrong."""
        self.path = path
        self.ledger = ledger
        self._clock = clock or Clock()
        self._accounts: dict[str, Account] = {}  # by name, also of keys that are gone
        self._by_hash: dict[str, Account] = {}
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
        """The account of this name, as long as its key is there and holds."""
        account = self._accounts.get(name)
        is_there = account and self._by_hash.get(account.key.hash) is account and not account.has_expired
        return account if is_there else None

    @property
    def accounts(self) -> list[Account]:
        """Of all keys that there are, by name."""
        return sorted(self._by_hash.values(), key=lambda account: account.name)

    def read_again(self) -> None:
        """The file may have changed. Raises StartError; then everything is as it was."""
        self._take(keys_file.read(self.path))

    def _take(self, keys: dict[str, Key]) -> None:
        for name, key in keys.items():
            if name in self._accounts:
                self._accounts[name].change(key)
            else:
                self._accounts[name] = Account(name, key, self.ledger, self._clock)
        self._by_hash = {key.hash: self._accounts[name] for name, key in keys.items()}
        self._accounts = {name: each for name, each in self._accounts.items() if name in keys or each.at_once}
