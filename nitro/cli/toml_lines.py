"""Where the keys of a TOML file stand, which tomllib does not tell. Only messages are made from it."""

Keys = tuple[str, ...]  # ("models", "qwen", "ctx")


def find(text: str) -> dict[Keys, int]:
    """The line, from 1, of every table and key of a file that tomllib has read, by its whole name. Keys inside inline
    tables are left out, and stand where their table does."""
    found: dict[Keys, int] = {}
    table: Keys = ()
    string = ""  # the quotes that end the string over several lines that we are in
    for number, line in enumerate(text.splitlines(), 1):
        if string:
            string = "" if line.count(string) % 2 else string
            continue
        if (header := _table(line)) is not None:
            table = whole = header
        else:
            key = _key(line)
            whole = (*table, *key) if key else ()
        if whole:
            found.setdefault(whole, number)
        string = next((quotes for quotes in ('"""', "'''") if line.count(quotes) % 2), "")
    return found


def _table(line: str) -> Keys | None:
    """("models", "qwen") of [models.qwen]; None where the line is no header."""
    header = line.strip()
    return _names(header) if header.startswith("[") else None


def _key(line: str) -> Keys:
    """("server", "port") of server.port = 1; nothing where the line begins no value."""
    end = line.find("=")
    while end != -1:  # a quoted key may hold the character
        if keys := _names(line[:end] + "= 0"):
            return keys
        end = line.find("=", end + 1)
    return ()


def _names(line: str) -> Keys:
    """The names in a line of TOML, outermost first."""
    import tomllib  # not where no file is read

    try:
        content: object = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    keys = []
    while isinstance(content, dict) and content:
        [(key, content)] = content.items()
        content = content[0] if isinstance(content, list) else content
        keys.append(key)
    return tuple(keys)
