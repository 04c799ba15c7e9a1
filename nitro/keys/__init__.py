"""The keys of many users: who they are, what each may do and how much of it. Knows no HTTP."""
