"""What else Anthropic's SDKs and Claude Code send, by kind of object: harmless, or refused by name. See api/names.py.

Read in the types of the Python SDK 2.14, `anthropic/types/` and `anthropic/types/beta/`, and in what Claude Code 2.1
sends. Kinds of blocks and of tools are tables, too: those that are not here are refused by their type.
"""

from dataclasses import dataclass

from nitro.api.names import Harmless, Known, Mapped, Refused
from nitro.api.openai.names.sources import ANTHROPIC
from nitro.errors import ApiError

_FROM = (ANTHROPIC,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread(Refused):
    """A conversation that the server keeps. The SDK's tool runner asks for one, and goes on without at this error."""

    def refusal(self, where: str) -> ApiError:
        """400, with the code that the SDK knows."""
        return ApiError(400, str(Refused.refusal(self, where)), param=where, code="thread_unsupported_request")


def _harmless(note: str, *names: str, usual: bool = False) -> dict[str, Known]:
    return {name: Harmless(sources=_FROM, note=note, usual=usual) for name in names}


def _refused(note: str, *names: str, neutral: tuple[object, ...] = ()) -> dict[str, Known]:
    return {name: Refused(sources=_FROM, note=note, neutral=neutral) for name in names}


REQUEST: dict[str, Known] = {
    **_harmless("Who asks, and for the provider's books.", "metadata", "service_tier", usual=True),
    **_harmless(
        "Who asks, and for the provider's books.",
        "billing_policy",
        "fallback_credit_token",
        "inference_geo",
        "user_profile_id",
        "workspace_id",
    ),
    **_harmless("The SDK sends it as a header, which changes nothing here.", "betas"),
    **_harmless("This server is as fast as it can.", "speed"),
    **_harmless("Which of several models answers. Here is one.", "fallbacks"),
    **_harmless("The reply's `diagnostics` is null; usage says what was cached.", "diagnostics"),
    **_refused("Nothing runs code here.", "container"),
    **_refused("Connect to MCP servers in the client.", "mcp_servers", neutral=([],)),
    **_refused("Ask for a summary in a message.", "compaction"),
    "thread": Thread(sources=_FROM, note="No thread is kept: send the whole conversation."),
    "output_format": Mapped(sources=_FROM, to="output_config.format", note="As the first SDKs called it."),
}

MESSAGE: dict[str, Known] = {
    **_refused("Use `output_config` at the top of the request.", "output_config", neutral=({},)),
    **_harmless(
        "Part of a reply that is sent back.",
        "id",
        "type",
        "model",
        "stop_reason",
        "stop_sequence",
        "stop_details",
        "usage",
        "container",
        "diagnostics",
        "context_management",
    ),
}

_SENT_BACK = _harmless("Part of a reply that is sent back.", "citations", "caller", usual=True)
TEXT = _SENT_BACK
_IMAGE = _refused(
    "Images are scaled as the model's own processor scales them.",
    "transformations",
    neutral=({}, {"oversized_image": "downsize"}),
)
BLOCK: dict[str, Known] = {
    **TEXT,
    **_IMAGE,
    **_harmless("Part of a reply that is sent back.", "parsed_output"),
    **_refused("Toolsets are run by other servers.", "toolset_name"),
}
RESULT_BLOCK: dict[str, Known] = {**TEXT, **_IMAGE}
SOURCE: dict[str, Known] = _refused("No files are kept here: send them in base64.", "file_id", "content")
TOOL_CHANGE: dict[str, Known] = _refused("Connect to MCP servers in the client.", "server_name")
THINKING: dict[str, Known] = _harmless("Thinking that comes back is not compared with what was sent.", "block_binding")
OUTPUT_CONFIG: dict[str, Known] = _refused("Use `max_tokens`.", "task_budget")

_HOSTED = "This server runs no hosted tools"
# by the type of a block that cannot be taken: why
REFUSED_BLOCKS: dict[str, str] = {
    "document": "Send its text, or its pages as images",
    "search_result": "Send it as a text",
    "container_upload": "Nothing runs code here",
    "browser_state": "Send it as a text",
    "compaction": "Send the summary as a text",
    "fallback": "Leave it out",
    "mcp_tool_listing": "Connect to MCP servers in the client",
    **dict.fromkeys(
        (
            "server_tool_use",
            "web_search_tool_result",
            "web_fetch_tool_result",
            "code_execution_tool_result",
            "bash_code_execution_tool_result",
            "text_editor_code_execution_tool_result",
            "tool_search_tool_result",
            "advisor_tool_result",
            "mcp_tool_use",
            "mcp_tool_result",
        ),
        _HOSTED,
    ),
}

# A tool with an `input_schema`: what it may say, and what of it is harmless or refused
TOOL_FIELDS = frozenset(
    [
        "name",
        "type",
        "description",
        "input_schema",
        "strict",
        "defer_loading",
        "input_examples",
        "allowed_callers",
    ]
)
TOOL: dict[str, Known] = {
    "cache_control": Mapped(sources=_FROM, to="", note="The prompt up to the tools' end stays in the prefix cache."),
    **_harmless("Arguments are streamed where a grammar makes them certain.", "eager_input_streaming"),
}
# What the type of any other tool begins with: why it cannot be offered
OTHER_TOOLS: dict[str, str] = {
    **dict.fromkeys(
        ("web_search", "web_fetch", "code_execution", "tool_search_tool", "advisor", "mcp_toolset"),
        "this server runs no hosted tools",
    ),
    **dict.fromkeys(
        ("bash", "text_editor", "memory", "computer", "browser_toolset"),
        "its input is known to Anthropic's models only; offer a tool with an 'input_schema'",
    ),
}
