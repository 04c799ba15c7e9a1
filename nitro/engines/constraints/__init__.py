"""What an answer must be: compiled off the engine thread, followed token by token."""
