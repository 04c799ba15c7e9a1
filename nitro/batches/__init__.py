"""Batches: files of requests, answered when nobody else wants the engine. Knows no HTTP."""
