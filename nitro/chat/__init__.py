"""A conversation in the terminal, and one question for pipes: clients of a server, which they start where none runs."""
