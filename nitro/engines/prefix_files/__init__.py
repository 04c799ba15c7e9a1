"""What idle slots held, in files: found again after a restart. Knows files and bytes; no engine library, no HTTP."""
