"""What a fleet would do, computed instead of measured: the engine's own scheduler, step costs that were measured, and
recorded traffic. Knows no server, no HTTP and no engine library."""
