"""The tables, as each version of Nitro has changed them. A database says by its `user_version` how many are done.

`responses.owner` is the server that works on a response; null where it has ended, or is queued and nobody's.
`responses.user`, `conversations.user`: whose they are, see api/users.py; '': nobody's in particular.
`items.owner` is the response or the conversation that an item belongs to; `side` is 0 for input, 1 for output.
Files and batches have a database of their own (`file_schema.py`): an upload does not hold up an answer.
"""

from typing import NamedTuple

APPLICATION = 0x4E697472  # "Nitr": SQLite's application_id, by which other programs' databases are told apart


class Schema(NamedTuple):
    """A database: the name of its file, and what makes its tables."""

    file: str
    changes: tuple[str, ...]


CHANGES = (
    """
    CREATE TABLE responses (
        id TEXT PRIMARY KEY,
        created INTEGER NOT NULL, -- seconds since 1970
        status TEXT NOT NULL,
        body BLOB NOT NULL, -- the object, as JSON
        model TEXT NOT NULL,
        previous TEXT, -- the response that it goes on with
        conversation TEXT,
        background INTEGER NOT NULL,
        streamed INTEGER NOT NULL, -- its events are kept
        runs INTEGER NOT NULL DEFAULT 0, -- how often a server has begun to compute it
        owner TEXT
    );
    CREATE INDEX responses_by_time ON responses (created);
    CREATE INDEX responses_at_work ON responses (status) WHERE status IN ('queued', 'in_progress');
    CREATE TABLE requests ( -- of background responses that have not ended
        response TEXT PRIMARY KEY,
        body BLOB NOT NULL,
        history BLOB NOT NULL
    );
    CREATE TABLE events (
        response TEXT NOT NULL,
        number INTEGER NOT NULL,
        frame BLOB NOT NULL,
        PRIMARY KEY (response, number)
    ) WITHOUT ROWID;
    CREATE TABLE conversations (
        id TEXT PRIMARY KEY,
        created INTEGER NOT NULL,
        metadata BLOB NOT NULL, -- a JSON object
        changes INTEGER NOT NULL DEFAULT 0 -- of its items: who has read them sees whether they are still the same
    );
    CREATE TABLE items (
        owner TEXT NOT NULL,
        side INTEGER NOT NULL,
        place INTEGER NOT NULL,
        id TEXT NOT NULL,
        body BLOB NOT NULL, -- JSON
        PRIMARY KEY (owner, side, place)
    ) WITHOUT ROWID;
    CREATE INDEX items_by_id ON items (id);
    """,
    """
    CREATE TABLE usage ( -- of keys
        key TEXT NOT NULL, -- its name
        day INTEGER NOT NULL, -- days since 1970, in UTC
        model TEXT NOT NULL, -- '' where a request reached none
        requests INTEGER NOT NULL,
        prompt INTEGER NOT NULL, -- tokens, as the next two
        cached INTEGER NOT NULL,
        completion INTEGER NOT NULL,
        PRIMARY KEY (day, key, model)
    ) WITHOUT ROWID;
    ALTER TABLE requests ADD COLUMN user TEXT NOT NULL DEFAULT ''; -- who shares the engine as what, see users.py
    """,
    """
    ALTER TABLE responses ADD COLUMN user TEXT NOT NULL DEFAULT '';
    ALTER TABLE conversations ADD COLUMN user TEXT NOT NULL DEFAULT '';
    UPDATE responses SET user = requests.user FROM requests WHERE requests.response = responses.id;
    ALTER TABLE requests DROP COLUMN user;
    """,
)

RESPONSES = Schema("responses.sqlite3", CHANGES)
