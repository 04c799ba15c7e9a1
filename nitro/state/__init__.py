"""What outlives the server: responses and conversations, in SQLite. Knows no HTTP, and of items only their ids."""
