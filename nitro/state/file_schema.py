"""The tables of files and batches.

A file is its pieces, in the order of their places. One that was uploaded has pieces of `files.PIECE` bytes; the places
of a batch's output are the numbers of its lines, so that a line cannot be in it twice.
"""

from nitro.state.schema import Schema

FILES = Schema(
    "files.sqlite3",
    (
        """
        CREATE TABLE files (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            created INTEGER NOT NULL, -- seconds since 1970
            expires INTEGER, -- the same; null: never
            bytes INTEGER NOT NULL,
            name TEXT NOT NULL,
            purpose TEXT NOT NULL,
            user TEXT NOT NULL, -- whose it is, see api/users.py; '': nobody's in particular
            status TEXT NOT NULL, -- uploading, growing (a batch writes it), part (of an upload), processed
            owner TEXT -- the server that receives an upload
        );
        CREATE TABLE pieces (
            file INTEGER NOT NULL,
            place INTEGER NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (file, place)
        );
        CREATE TABLE batches (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            created INTEGER NOT NULL,
            expires INTEGER NOT NULL,
            window TEXT NOT NULL, -- as the client said it
            endpoint TEXT NOT NULL,
            metadata BLOB NOT NULL, -- a JSON object, or null
            input INTEGER NOT NULL, -- these three are numbers of files
            output INTEGER NOT NULL,
            failures INTEGER NOT NULL,
            input_id TEXT NOT NULL,
            output_seconds INTEGER NOT NULL, -- that its output is kept
            status TEXT NOT NULL,
            errors BLOB, -- a JSON array: what is wrong with its lines
            model TEXT, -- that answered; '': several did
            total INTEGER NOT NULL DEFAULT 0, -- lines
            completed INTEGER NOT NULL DEFAULT 0,
            failed INTEGER NOT NULL DEFAULT 0,
            input_tokens INTEGER NOT NULL DEFAULT 0,
            cached_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            reasoning_tokens INTEGER NOT NULL DEFAULT 0,
            in_progress_at INTEGER, -- seconds since 1970
            cancelling_at INTEGER,
            ended_at INTEGER,
            user TEXT NOT NULL, -- whose it is, and as whom its lines are answered
            served TEXT NOT NULL, -- the default model of the server that took it; '': it had none
            owner TEXT -- the server that works on it
        );
        CREATE INDEX batches_at_work ON batches (status) WHERE ended_at IS NULL;
        CREATE TABLE lines ( -- of batches that have not ended
            batch INTEGER NOT NULL,
            number INTEGER NOT NULL, -- in the file, from 1
            custom_id TEXT NOT NULL,
            begin INTEGER NOT NULL, -- its first byte in the file
            length INTEGER NOT NULL,
            model TEXT NOT NULL, -- that it asks for
            prefix BLOB NOT NULL, -- alike where prompts begin alike
            done INTEGER NOT NULL DEFAULT 0,
            runs INTEGER NOT NULL DEFAULT 0, -- how often a server has begun it
            PRIMARY KEY (batch, number)
        ) WITHOUT ROWID;
        CREATE UNIQUE INDEX lines_by_id ON lines (batch, custom_id);
        CREATE INDEX lines_to_do ON lines (batch, model, prefix, number) WHERE done = 0;
        """,
        """
        CREATE TABLE uploads (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            created INTEGER NOT NULL, -- seconds since 1970
            expires INTEGER NOT NULL,
            bytes INTEGER NOT NULL, -- of the whole
            name TEXT NOT NULL,
            purpose TEXT NOT NULL,
            seconds INTEGER, -- that the file is kept; null: for ever
            user TEXT NOT NULL,
            status TEXT NOT NULL -- pending, completed, cancelled, expired
        );
        CREATE TABLE parts ( -- of uploads that are pending
            id TEXT PRIMARY KEY,
            upload INTEGER NOT NULL,
            file INTEGER NOT NULL -- whose status is 'part'
        ) WITHOUT ROWID;
        CREATE INDEX parts_of ON parts (upload);
        """,
    ),
)
