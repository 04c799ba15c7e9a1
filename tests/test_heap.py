"""Free memory of the C heap goes back to the system, where the C library can do that."""

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from nitro.system import heap


class Library:
    """A C library with these functions."""

    def __init__(self, **functions: Any):
        self.__dict__ |= functions

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


def test_all_that_is_free_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    library = Library(malloc_trim=lambda pad: kept.append(pad.value))
    monkeypatch.setattr(heap, "ctypes", SimpleNamespace(CDLL=lambda _: library, c_size_t=ctypes.c_size_t))
    heap.give_back()
    assert kept == [0]


def test_nothing_is_done_where_there_is_no_such_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "ctypes", SimpleNamespace(CDLL=lambda _: Library()))
    heap.give_back()


def test_it_can_be_called_here() -> None:
    heap.give_back()
