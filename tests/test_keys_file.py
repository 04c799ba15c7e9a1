"""The file of keys, and `nitro key`, which writes it."""

import re
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nitro.cli.main import main
from nitro.errors import StartError
from nitro.keys import keys_file
from nitro.keys.key import PREFIX, SECRET, Key, digest, new_secret

HASH = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64


def parsed(text: str) -> dict[str, Key]:
    return keys_file.parse(text.replace("HASH", f'hash = "{HASH}"').encode(), "keys.toml")


def test_what_a_file_says() -> None:
    found = parsed(
        f"""
        [defaults]
        requests-per-minute = 60
        models = ["a"]

        [keys.alice]
        HASH
        expires = 2027-06-30
        requests-per-minute = 5
        tiers = ["flex", "priority"]
        longest-context = 4_096

        [keys."bob@example.org"]
        hash = "{OTHER}"
        expires = 2027-06-30T12:00:00+02:00
        admin = true
        routes = ["GET /v1/*"]
        """
    )
    alice, bob = found["alice"], found["bob@example.org"]
    assert (alice.requests_per_minute, alice.models, alice.longest_context) == (5, ("a",), 4096)
    assert (bob.requests_per_minute, bob.models, bob.admin, bob.routes) == (60, ("a",), True, ("GET /v1/*",))
    assert alice.tiers == ("flex", "priority") and bob.tiers == ("default", "flex")
    assert alice.expires == datetime(2027, 6, 30, tzinfo=UTC) and bob.expires == datetime(2027, 6, 30, 10, tzinfo=UTC)


def test_a_file_without_keys_lets_nobody_in() -> None:
    assert parsed("") == parsed("[keys]") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[keys.a", "is not TOML"),
        ("\udcff", "is not TOML"),
        ("[key.a]", "no section [key]"),
        ("keys = 1", "'keys' should be a table"),
        ("[keys]\na = 1", "'a' should be a table"),
        ("[keys.a]", "[keys.a]: there is no 'hash'"),
        ("[keys.a]\nhash = 'secret'", "[keys.a]: hash: expected sha256: and 64 hexadecimal digits"),
        ("[keys.'a b']\nHASH", "[keys.a b]: a name has up to 64"),
        ("[keys.a]\nHASH\nlimit = 1", "unknown field `limit`"),
        ("[keys.a]\nHASH\ntokens_per_day = 1", "unknown field `tokens_per_day`"),
        ("[keys.a]\nHASH\ntokens-per-day = 0", "tokens-per-day: Expected `int` >= 1"),
        ("[keys.a]\nHASH\ntokens-per-day = true", "tokens-per-day: Expected `int | null`, got `bool`"),
        ("[keys.a]\nHASH\ntiers = []", "tiers: Expected `array` of length >= 1"),
        ("[keys.a]\nHASH\ntiers = ['fast']", "tiers[0]: Invalid enum value 'fast'"),
        ("[keys.a]\nHASH\nroutes = ['v1']", "routes[0]: expected a path"),
        ("[keys.a]\nHASH\nexpires = 'soon'", "expires: expected a date"),
        ("[keys.a]\nHASH\n[keys.b]\nHASH", "[keys.b] has the hash of [keys.a]"),
        ("[defaults]\nHASH", "[defaults]: Object contains unknown field `hash`"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(StartError) as caught:
        keys_file.parse(text.replace("HASH", f'hash = "{HASH}"').encode(errors="surrogateescape"), "keys.toml")
    assert str(caught.value).startswith("keys.toml") and words in str(caught.value)
    assert "secret" not in str(caught.value), "somebody may have written a key where its hash belongs"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be read: No such file"):
        keys_file.read(tmp_path / "none.toml")
    with pytest.raises(StartError, match="no regular file"):
        keys_file.read(tmp_path)


def test_every_key_comes_back_as_it_was_written() -> None:
    key = Key(
        hash=HASH,
        created=datetime(2026, 11, 29, 1, 2, 3, tzinfo=UTC),
        expires=datetime(2027, 1, 1, tzinfo=UTC),
        admin=True,
        routes=("/v1/*", "GET /x"),
        models=('a "name"', "ü*"),
        tiers=("priority",),
        requests_per_minute=1,
        tokens_per_minute=2,
        requests_per_day=3,
        tokens_per_day=4,
        requests_at_once=5,
        longest_context=6,
    )
    assert set(key.__struct_fields__) == {name for name in key.__struct_fields__ if getattr(key, name) is not None}
    for name in ("alice", "a.b@c-d_e"):
        assert parsed(keys_file.entry(name, key)) == {name: key}


def test_secrets_are_not_guessed() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100 and all(SECRET.fullmatch(secret.encode()) for secret in made)
    assert digest(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "FIPS 180-2"


# `nitro key`


def key(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(main, ["key", *arguments], env=variables)


def test_a_new_key(tmp_path: Path) -> None:
    """It is printed once; the file has its hash, and only its owner can read it."""
    path = tmp_path / "folder" / "keys.toml"
    made = key("new", "alice", "--keys", str(path), "--tokens-per-day", "1000", "--model", "qwen*", "--tier", "flex")
    secret = made.stdout.strip()
    assert made.exit_code == 0 and SECRET.fullmatch(secret.encode())
    found = keys_file.read(path)["alice"]
    assert found.hash == digest(secret.encode()) and found.created
    assert (found.tokens_per_day, found.models, found.tiers, found.admin) == (1000, ("qwen*",), ("flex",), False)
    assert secret not in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_people_wrote_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text("# ours\n[defaults] # of all\ntokens-per-day = 7\n")
    path.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    assert key("new", "bob", "--admin", NITRO_KEYS=str(link)).exit_code == 0
    assert path.read_text().startswith("# ours\n[defaults] # of all\ntokens-per-day = 7\n\n[keys.bob]\n")
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert keys_file.read(path)["bob"].tokens_per_day == 7
    again = key("new", "bob", NITRO_KEYS=str(link))
    assert again.exit_code == 1 and "there is a key 'bob' already" in again.stderr and not again.stdout
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_without_a_file_it_is_printed() -> None:
    made = key("new", "carol", "--expires", "90d", "--requests-at-once", "2")
    assert made.exit_code == 0
    section = made.stderr[made.stderr.index("[keys.carol]") : made.stderr.index("The key")]
    found = keys_file.parse(section.encode(), "keys.toml")["carol"]
    assert found.hash == digest(made.stdout.strip().encode()) and found.requests_at_once == 2
    assert found.created and found.expires and (found.expires - found.created).days == 90


def test_the_file_of_the_settings(tmp_path: Path) -> None:
    """Its folders of models are not the models of a key."""
    settings = tmp_path / "nitro.toml"
    settings.write_text('[server]\nkeys = "keys.toml"\nmodels = ["shelf"]\n')
    made = key("new", "dave", "--config", str(settings))
    assert made.exit_code == 0
    assert keys_file.read(tmp_path / "keys.toml")["dave"].models is None
    listed = key("list", "--config", str(settings))
    assert listed.exit_code == 0 and "dave" in listed.stdout and "sha256" not in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new", "a b"], "NAME has up to 64 letters"),
        (["new", "a", "--expires", "soon"], "a date, or as in 90d"),
        (["new", "a", "--route", "v1"], "expected a path"),
        (["new", "a", "--tokens-per-day", "0"], "0 is not in the range"),
        (["list"], "--keys FILE is needed"),
        (["list", "--keys", "/no/such"], "/no/such cannot be read"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], words: str) -> None:
    refused = key(*arguments)
    assert refused.exit_code in (1, 2) and words in " ".join(refused.stderr.split()) and not refused.stdout
    assert PREFIX not in refused.stderr


def test_a_list(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(
        f'[keys.old]\nhash = "{HASH}"\nexpires = 2020-01-01\n[keys.new]\nhash = "{OTHER}"\nadmin = true\n'
        'routes = ["/metrics"]\ntokens-per-day = 5\n'
    )
    lines = key("list", "--keys", str(path)).stdout.splitlines()
    assert [re.split(r"\s{2,}", line) for line in lines] == [
        ["NAME", "STATE", "EXPIRES", "ONLY", "LIMITS"],
        ["new", "admin", "-", "/metrics", "tokens-per-day=5"],
        ["old", "expired", "2020-01-01", "-", "-"],
    ]


def test_many_at_once_lose_no_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    program = (
        "import sys; from pathlib import Path; from nitro.keys import keys_file; from nitro.keys.key import *\n"
        "for i in range(20):\n"
        "    keys_file.add(Path(sys.argv[1]), f'{sys.argv[2]}{i}', Key(hash=digest(new_secret().encode())))"
    )
    adding = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "abc"]
    assert [each.wait() for each in adding] == [0, 0, 0]
    assert len(keys_file.read(path)) == 60
