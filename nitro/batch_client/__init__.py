"""`nitro batch`: a client of the API's files and batches, with a server of its own where none runs."""
