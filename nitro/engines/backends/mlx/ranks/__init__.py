"""One model over several machines: an engine process for each (a rank), of which rank 0 is the engine that the server
knows.

    server ══ rank 0: worker, scheduler ── lead_runner ══ team: frames ══► rank 1, 2, …: follower ── replay
                                              │                                                        │
                                          MlxRunner ◄── sums of MLX's ring (group) ──────────────► MlxRunner

Rank 0 tells the others each call of the runner before it makes it (`wire`), so all make the same calls in the same
order, and the collective operations of MLX meet. Tokens are drawn by rank 0 alone, and reach the others by the ring
(`group`).
"""
