"""One HTTP response, parsed as its bytes arrive."""

import httptools

BODY_LENGTH_HEADERS = (b"content-length", b"transfer-encoding")


class HttpResponse:
    """The response to one request. httptools calls the `on_*` methods."""

    def __init__(self) -> None:
        self.is_complete = False
        self._has_length = False  # does a header tell where the body ends?
        self._ends_with_connection = False
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    @property
    def status(self) -> int:
        """The status code; 0 until the status line has arrived."""
        return int(self._parser.get_status_code())

    def feed(self, data: bytes) -> bytes:
        """Parse what arrived, and return the part of it that belongs to the body.

        `data` is empty where the server closed the connection. Raises HttpParserError where this is no HTTP response,
        EOFError where the response was cut.
        """
        if not data:
            if not self._ends_with_connection:
                raise EOFError("the connection was closed before the end of the response")
            self.is_complete = True
            return b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.is_complete:  # bytes after a complete response do not matter
                raise
        body = b"".join(self._body)
        self._body.clear()
        return body

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note whether the head tells where the body ends."""
        if name.lower() in BODY_LENGTH_HEADERS:
            self._has_length = True

    def on_headers_complete(self) -> None:
        """A body of unknown length ends when the server closes the connection."""
        self._ends_with_connection = not self._has_length

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body for `feed`."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The response has ended, unless it is an interim one, such as 100 Continue."""
        self.is_complete = self.status >= 200
