"""The engine process: its threads, and what each verb of the wire does."""
