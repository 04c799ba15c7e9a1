"""What llama-server has of its own: routes for tokens and prompts."""
