"""Who runs out of time and who gives way: pure, on a clock of ticks."""

import pytest

from nitro.api.connections import ConnectionLimits, Connections, ConnectionState

LIMITS = ConnectionLimits(head=10.0, silence=20.0, rate=100, rest=30.0, unread=20.0, most=3)


@pytest.fixture
def connections() -> Connections[str]:
    return Connections(LIMITS)


def pass_time(connections: Connections[str], seconds: int) -> list[str]:
    late: list[str] = []
    for _ in range(4 * seconds):
        late = connections.tick(0.25)
    return late


def test_a_head_has_its_time_from_the_connection_on(connections: Connections[str]) -> None:
    connections.add("a")
    assert pass_time(connections, 9) == []
    connections.add("b")
    assert pass_time(connections, 2) == ["a"]
    connections.remove("a")
    assert pass_time(connections, 9) == ["b"]


def test_every_request_has_its_own_time(connections: Connections[str]) -> None:
    connections.add("a")
    for state in (ConnectionState.BUSY, ConnectionState.IDLE):
        connections.move("a", state)
        assert pass_time(connections, 1000) == []
    connections.move("a", ConnectionState.HEAD)
    assert pass_time(connections, 10) == [] and pass_time(connections, 1) == ["a"]


def test_a_body_may_be_slow_but_not_silent(connections: Connections[str]) -> None:
    """5 MB at 200 bytes a second take seven hours."""
    connections.add("a")
    connections.move("a", ConnectionState.BODY)
    for _ in range(1_000):
        assert pass_time(connections, 19) == [] and connections.body_received("a", 19 * 200)
    assert pass_time(connections, 20) == [] and pass_time(connections, 1) == ["a"]


def test_a_body_that_trickles_is_too_slow(connections: Connections[str]) -> None:
    connections.add("a")
    connections.move("a", ConnectionState.BODY)
    for second in range(1, 22):
        assert pass_time(connections, 1) == []
        assert connections.body_received("a", 1) == (second <= 20)


def test_the_rest_has_its_time_however_it_comes(connections: Connections[str]) -> None:
    connections.add("a")
    connections.move("a", ConnectionState.DRAINING)
    for _ in range(30):
        assert pass_time(connections, 1) == [] and connections.body_received("a", 1000)
    assert pass_time(connections, 1) == ["a"]


def test_time_in_which_the_server_was_deaf_counts_little(connections: Connections[str]) -> None:
    connections.add("a")
    assert connections.tick(1000.0) == []


def test_who_gives_way(connections: Connections[str]) -> None:
    """By state, and then who was not heard of for longest."""
    assert [connections.add(name) for name in "abc"] == [None] * 3
    connections.move("b", ConnectionState.IDLE)
    connections.move("c", ConnectionState.BUSY)
    assert connections.add("d") == "b" and connections.add("e") == "a"
    connections.move("e", ConnectionState.BODY)
    connections.move("d", ConnectionState.BODY)
    connections.body_received("e", 1)
    assert connections.add("f") == "d"
    connections.move("e", ConnectionState.BUSY)
    connections.move("f", ConnectionState.BUSY)
    assert connections.add("g") == "g", "nobody gives way who waits for an answer"
    assert len(connections) == 3 and connections.state("g") is None
    connections.remove("g")
    connections.remove("c")
    assert connections.add("h") is None


def test_what_is_gone_is_not_heard_of(connections: Connections[str]) -> None:
    connections.move("a", ConnectionState.BODY)
    assert connections.body_received("a", 5) and len(connections) == 0


@pytest.mark.parametrize("state", [ConnectionState.BUSY, ConnectionState.IDLE])
def test_a_client_may_pause_but_must_read(connections: Connections[str], state: ConnectionState) -> None:
    connections.add("a")
    connections.move("a", state)
    assert connections.unread("a", 1_000)
    pass_time(connections, 20)
    assert connections.unread("a", 1_000)
    pass_time(connections, 1)
    assert not connections.unread("a", 1_000)


def test_one_that_reads_slowly_is_waited_for(connections: Connections[str]) -> None:
    """At 200 bytes a second, with a pause between two reads."""
    connections.add("a")
    for waiting in range(400_000, 0, -4_000):
        assert connections.unread("a", waiting)
        pass_time(connections, 19)
        assert connections.unread("a", waiting)
    assert connections.unread("a", 0)
    pass_time(connections, 1_000)
    assert connections.unread("a", 1_000), "its time begins anew"


def test_one_that_reads_a_trickle_is_not(connections: Connections[str]) -> None:
    connections.add("a")
    for second in range(30):
        assert connections.unread("a", 400_000 - second) == (second <= 20)
        pass_time(connections, 1)


def test_room_for_more_begins_its_time_anew(connections: Connections[str]) -> None:
    connections.add("a")
    for _ in range(10):
        assert connections.unread("a", 60_000)
        pass_time(connections, 19)
        connections.has_read("a")
    connections.remove("a")
    assert connections.unread("a", 60_000) and list(connections) == []
