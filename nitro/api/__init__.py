"""HTTP, and the protocols that Nitro speaks."""
