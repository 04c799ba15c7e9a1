"""How much that has not ended there may be, of all users and of one: nobody has all the places."""

import sqlite3

MOST = 1000
MOST_OF_ONE = 100


class TooMany(Exception):
    """What there is too much of, as the beginning of a sentence."""


def check(db: sqlite3.Connection, what: str, open: str, user: str) -> None:
    """`open`: rows of the table `what` that have not ended, as a condition. `user`: who asks for one more; "": nobody
    in particular, who is held to the bound of all. Raises TooMany."""
    query = f"SELECT count(*), coalesce(sum(user = ?), 0) FROM {what} WHERE {open}"
    of_all, of_one = db.execute(query, (user,)).fetchone()
    if user and of_one >= MOST_OF_ONE:
        raise TooMany(f"{of_one} {what} of this key have not ended")
    if of_all >= MOST:
        raise TooMany(f"{of_all} {what} have not ended")
