"""Reading requests, in processes of their own."""
