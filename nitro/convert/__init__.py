"""`nitro convert` and `nitro verify`: from one kind of model to another, and the proof that they are the same."""
