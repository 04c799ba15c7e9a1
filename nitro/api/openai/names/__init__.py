"""What other servers and SDKs call what a request may say, by kind of object: see nitro/api/names.py."""
