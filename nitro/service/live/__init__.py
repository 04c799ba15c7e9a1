"""What the server is doing now, told to whoever looks: nothing is computed while nobody does."""
