"""The HTTP server: what happens to every request, the protocols, and their OpenAPI document."""
