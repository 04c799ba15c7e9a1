"""Measures a server that speaks the OpenAI API, from outside. Imports no other part of Nitro but its errors."""
