"""Generations, as every protocol needs them. Knows no HTTP and no protocol."""
