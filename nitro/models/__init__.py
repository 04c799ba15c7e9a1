"""The models that this server serves: where they are, and what is known about them."""
