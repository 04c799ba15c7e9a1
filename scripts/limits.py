"""Writes docs/limits.md: what bounds a request, its reply and what is done for it. The values are the server's own.

A limit is a row of `LIMITS`. One that can be set has the name of its field in ServeConfig; the page has its flag and
its default. Every row names the test that reaches it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nitro.api import http_protocol
from nitro.api.audio import form
from nitro.api.connections import ConnectionLimits
from nitro.api.json_body import MAX_LENIENT_BODY
from nitro.api.openai import logit_bias, messages, parse, requests, tools
from nitro.config import ServeConfig
from nitro.engines.constraints import grammar_limits
from nitro.engines.options import options_of
from nitro.service import embedding_request, rerank_request
from nitro.service.intake import lanes
from nitro.service.intake.prepare import MAX_TOOLS_BYTES
from nitro.service.media.checks import MAX_TOTAL
from nitro.state import bounds
from nitro.system.file_descriptors import MAX_CONNECTIONS
from nitro.text import MAX_TEMPLATE_CHARACTERS

FILE = Path(__file__).parents[1] / "docs" / "limits.md"
HEAD = """# Limits

`make docs` writes this file.

What a client sends, leaves unread or has computed is bounded, so that no request holds up the others or the server.
What exceeds a limit ends alone. A limit with an option can be set for `nitro serve`, and in [nitro.toml](settings.md).
Statuses and codes are explained in [errors](errors.md).

"""
DEFAULTS = ConnectionLimits()
OPTIONS = {option.field: option for option in options_of(ServeConfig)}


class Limit(NamedTuple):
    """`most`: the value, where {} is the flag's default. `field`: of ServeConfig; None: it cannot be set. `test`: a
    file of tests/ and a function in it."""

    what: str
    most: str
    beyond: str
    test: str
    field: str | None = None


def _kib(count: int) -> str:
    return f"{count // 2**10:,} KiB" if count < 2**20 else f"{count // 2**20:,} MiB"


LIMITS: dict[str, list[Limit]] = {
    "A connection": [
        Limit(
            "connections at once",
            f"{MAX_CONNECTIONS:,}, or half of the open files that the system allows",
            "the longest idle one is closed; where none is idle, 503",
            "test_protocol::test_the_longest_idle_gives_way",
            "max_connections",
        ),
        Limit("head of a request", "{} KiB", "431", "test_unread::test_the_limits_are_flags", "max_head"),
        Limit(
            "its URL; a header",
            f"an eighth of `--max-head`: {_kib(DEFAULTS.head_bytes // http_protocol.LINES)}",
            "414; 431",
            "test_protocol::test_a_head_that_is_too_large",
        ),
        Limit("headers", f"{http_protocol.MAX_HEADERS}", "431", "test_protocol::test_a_head_that_is_too_large"),
        Limit("time for the head", "{} s", "408", "test_protocol::test_half_a_head", "head_seconds"),
        Limit(
            "body",
            "{} MiB",
            "413; it is never held in memory",
            "test_protocol::test_a_body_beyond_the_limit",
            "max_body",
        ),
        Limit("a file that is uploaded", "{} MiB", "413", "test_files::test_its_bounds", "max_file"),
        Limit("all files together", "as `--files-size` says", "507", "test_files::test_its_bounds"),
        Limit(
            "uploads in parts, and batches, that have not ended",
            f"{bounds.MOST:,} each; of one key {bounds.MOST_OF_ONE}",
            "429",
            "test_kept_apart::test_places_of_one_and_of_all",
        ),
        Limit("pause in a body", "{} s", "408", "test_protocol::test_half_a_body", "body_seconds"),
        Limit(
            "speed of a body; of a client that has to read",
            "{} bytes a second, after the times above and below",
            "408; the connection is closed",
            "test_protocol::test_a_body_that_trickles",
            "min_rate",
        ),
        Limit(
            "what is held of a stream whose client does not read",
            "{} MiB of memory",
            "the connection is closed, the generation ends, its slot is free",
            "test_unread::test_a_stream_that_nobody_reads_ends_alone",
            "max_unread",
        ),
        Limit(
            "pause of a client that has to read",
            "{} s",
            "the same",
            "test_unread::test_a_reply_that_nobody_reads_is_given_up",
            "unread_seconds",
        ),
        Limit(
            "what is sent after a reply, and thrown away",
            f"{_kib(http_protocol.MAX_DISCARDED)}, {DEFAULTS.rest:g} s",
            "the connection is closed",
            "test_protocol::test_a_refused_body_that_does_not_come",
        ),
        Limit(
            "requests of one user that wait",
            "{}; of all users 16 times as many",
            "429",
            "test_users::test_who_has_filled_the_queue_has_filled_it_for_themselves",
            "max_queue",
        ),
    ],
    "Work": [
        Limit(
            "processor time to read a request and put it into the chat template",
            f"{{}} s, and {lanes.SECONDS_A_MIB:g} s for each MiB",
            "400",
            "test_intake::test_a_stopped_template_is_a_400_and_others_are_served",
            "read_seconds",
        ),
        Limit(
            "memory of the process that does it (Linux)",
            "{} MiB of address space",
            "400",
            "test_intake::test_a_request_that_takes_too_much_memory_is_refused",
            "read_memory",
        ),
        Limit(
            "rounds, calls and texts of a chat template",
            "in proportion to the request",
            "400",
            "test_template::test_work_without_end_is_refused",
        ),
        Limit(
            "processor time to compile the schemas, the grammar or the regex of a request",
            "{} s",
            "400",
            "test_apart::test_one_that_takes_too_much_is_refused_once_and_for_all",
            "compile_seconds",
        ),
        Limit(
            "memory to compile them (Linux)",
            "{} MiB",
            "400",
            "test_apart::test_one_that_takes_too_much_is_refused_once_and_for_all",
            "compile_memory",
        ),
        Limit(
            "processor time to make tokens of a long text",
            "{} s",
            "400",
            "test_apart::test_a_prompt_that_takes_too_long_is_refused_and_the_engine_lives",
            "tokenize_seconds",
        ),
        Limit(
            "memory to make them (Linux)",
            "{} MiB",
            "400",
            "test_apart::test_a_question_that_takes_too_much_is_ended",
            "tokenize_memory",
        ),
        Limit(
            "main memory of an engine (Linux)",
            "none by default",
            "the engine ends, and is started again; its requests get a 503",
            "test_memory_bound::test_a_process_is_held_to_what_it_may_allocate",
            "engine_memory",
        ),
        Limit(
            "bodies that wait to be read, of large and of small requests",
            f"{_kib(lanes.MAX_HELD)} each",
            "429",
            "test_intake::test_too_many_bytes_do_not_wait",
        ),
    ],
    "Images and sounds": [
        Limit(
            "images and sounds of a request",
            "{}",
            "400",
            "test_bad_media::test_files_that_are_too_large_or_too_many",
            "max_media",
        ),
        Limit(
            "file of each",
            "{} MiB",
            "400",
            "test_bad_media::test_files_that_are_too_large_or_too_many",
            "max_media_size",
        ),
        Limit(
            "all together, as the engine gets them",
            _kib(MAX_TOTAL),
            "400",
            "test_bad_media::test_files_that_are_too_large_or_too_many",
        ),
        Limit("pixels of an image", "{}", "400", "test_bad_media::test_bombs_by_dimension", "max_image_pixels"),
        Limit("seconds of a sound", "{}", "400", "test_bad_media::test_bombs_by_duration", "max_audio_seconds"),
        Limit(
            "time to fetch what is named by address",
            "{} s",
            "400",
            "test_remote_media::test_limits",
            "remote_media_seconds",
        ),
    ],
    "Contents of a request": [
        Limit(
            "messages; parts of one content",
            f"{messages.MAX_MESSAGES:,} each",
            "400",
            "test_intake::test_caps_say_their_number",
        ),
        Limit(
            "tools; calls of a message; all tools together",
            f"{tools.MAX_TOOLS:,}; {tools.MAX_TOOLS:,}; {_kib(MAX_TOOLS_BYTES)}",
            "400",
            "test_intake::test_caps_say_their_number",
        ),
        Limit("`n`, `best_of`", f"{requests.MAX_CHOICES}", "400", "test_intake::test_caps_say_their_number"),
        Limit(
            "choices of all prompts together",
            f"{parse.MAX_SEQUENCES:,}",
            "400",
            "test_intake::test_caps_say_their_number",
        ),
        Limit(
            "`stop`",
            f"{requests.MAX_STOPS} texts of 1,000 characters",
            "400",
            "test_intake::test_caps_say_their_number",
        ),
        Limit(
            "`logit_bias`",
            f"{logit_bias.MAX_BIASES:,} entries, {logit_bias.MAX_BIASED_TEXTS} of them texts",
            "400",
            "test_intake::test_caps_say_their_number",
        ),
        Limit(
            "schema, grammar or regex; all of a request",
            f"{grammar_limits.MAX_CHARS // 2**10} Ki characters; {grammar_limits.MAX_TOTAL_CHARS // 2**10} Ki",
            "400",
            "test_grammar::test_what_cannot_be_enforced_is_refused",
        ),
        Limit(
            "chat template",
            f"{MAX_TEMPLATE_CHARACTERS // 2**10} Ki characters",
            "400",
            "test_intake::test_a_template_has_a_cap",
        ),
        Limit(
            "fields of a form; all of them without the file",
            f"{form.MAX_FIELDS}; {_kib(form.MAX_BYTES)}",
            "400",
            "test_speech::test_forms_that_are_wrong",
        ),
        Limit(
            "inputs to embed; documents to rank",
            f"{embedding_request.MAX_INPUTS:,}; {rerank_request.MAX_DOCUMENTS:,}",
            "400",
            "test_embeddings::test_a_request_has_a_number_of_texts",
        ),
        Limit(
            "JSON with comments, trailing commas or cut Unicode characters",
            _kib(MAX_LENIENT_BODY),
            "400",
            "test_intake::test_only_what_is_small_gets_a_second_try",
        ),
    ],
}


def text() -> str:
    """The text of docs/limits.md."""
    parts = (f"## {title}\n\n{_table(_row(limit) for limit in limits)}" for title, limits in LIMITS.items())
    return HEAD + "\n".join(parts)


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    head = [("what", "limit", "option", "beyond it"), ("---",) * 4]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [*head, *rows])


def _row(limit: Limit) -> tuple[str, ...]:
    if limit.field is None:
        return limit.what, limit.most, "", limit.beyond
    option = OPTIONS[limit.field]
    return limit.what, limit.most.format(_number(option.default)), f"`{option.flag}`", limit.beyond


def _number(value: Any) -> str:
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}" if value is not None else ""


def all_limits() -> Iterator[Limit]:
    """Of all sections."""
    for limits in LIMITS.values():
        yield from limits


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
