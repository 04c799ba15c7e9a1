"""soak/kept_responses.py with few kills: what clients were told of a response outlives the server's process."""

import fast

from soak import kept_responses


def test_the_server_is_killed_under_responses() -> None:
    fast.skip_server()
    findings = kept_responses.run_kills(kills=2, count=30, seed=5)
    assert findings.held, findings.text()
