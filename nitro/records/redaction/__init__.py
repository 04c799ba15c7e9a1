"""Replaces the texts of records by others of as many tokens: a bug report that tells nobody's secrets."""
