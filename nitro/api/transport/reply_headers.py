"""Headers that every reply has, whatever it is about."""

# A browser does not guess that a text is a page.
ALWAYS = [("x-content-type-options", "nosniff")]
# What is no page of ours loads nothing, runs nothing and stands in no frame, should a browser show it after all.
POLICY = (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'")


def policy(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The policy for a reply with these headers, unless it brings its own."""
    return [] if any(name == POLICY[0] for name, _ in headers) else [POLICY]
