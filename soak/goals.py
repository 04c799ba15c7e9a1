"""What a server on a machine for many is to survive: each row of the table in bench/results.md, with its goal.

A figure names the row that it belongs to (`Figure.of`).
"""

ENGINE_KILLS = "engine kills"
SERVER_KILLS = "server kills"
HOSTILE = "hostile"
CROWD = "crowd"
UNREAD = "unread"
MIXED = "mixed"
DAMAGED = "damaged"
FULL_DISK = "full disk"

GOALS = {
    ENGINE_KILLS: (
        "SIGKILL for an engine under 8 streams, 100 times",
        "a complete answer, or an error within 1 s of the death; no wrong text; back by itself each time",
    ),
    SERVER_KILLS: ("SIGKILL for the server under what it keeps, 100 times", "nothing acknowledged is lost"),
    HOSTILE: (
        "100,000 hostile requests over all routes",
        "no 5xx but 503; no hung connection; server's memory ≤ +20 MiB",
    ),
    CROWD: (
        "1,000 clients at once, each with 5 requests",
        "answered, or 429 with Retry-After; p99 of `/health` ≤ 100 ms; no descriptor left",
    ),
    UNREAD: ("200 clients that never read", "others' tokens/s ≥ 0.95 of alone; memory bounded"),
    MIXED: (
        "mixed load with random cancels",
        "memory flat (slope ≤ 1 MiB in 10 min); every slot idle; counters add up",
    ),
    DAMAGED: ("5,000 damaged models", "a sentence and status 1, or a load; no hang; the server never dies of one"),
    FULL_DISK: ("a full disk under state, cache, log and record", "chat goes on; the error names the folder"),
}
