"""Who is silent, and who was not listened to."""

import itertools

from nitro.engines.silence import LIMIT, Silence


def test_silence_is_what_was_listened_to() -> None:
    times = iter((0.0, 0.5, 1.0, 1.5, 2.0, 60.0, 60.5))
    silence = Silence(0.5, lambda: next(times))
    found = [silence.look(heard) for heard in (False, False, True, False, False, False)]
    assert found == [0.5, 1.0, 0.0, 0.5, 1.5, 2.0], "a minute in which nobody looked counts as two looks"


def test_two_signs_a_second_are_far_from_silence() -> None:
    """Even one of them in eight is enough."""
    times = itertools.count(step=0.5)
    silence = Silence(0.5, lambda: next(times))
    for look in range(100):
        assert silence.look(look % 8 == 0) < LIMIT / 2
