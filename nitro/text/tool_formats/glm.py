"""GLM 4.x, Laguna, Ling, Spark, with line breaks between the tags or without:

<tool_call>weather
<arg_key>city</arg_key>
<arg_value>Oslo</arg_value>
</tool_call>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tool_formats.parsers.tagged_calls import TaggedCalls
from nitro.text.tools import Call, ToolsByName


def family(name: str, template_markers: tuple[str, ...], call: str, key: str, value: str) -> ToolFormat:
    """A format with these words for the tags, or with JSON between the outermost ones."""
    tags = TaggedCalls(
        call=r"(?P<name>[^<\s]+)",
        key=rf"<{key}>(?P<key>[^<]+)</{key}>\s*<{value}>",
        close_tag=f"</{value}>",
        bare_key=rf"<{key}>[^<]*</{key}>(?!\s*<{value}>)",
    )

    def parse(body: str, tools: ToolsByName) -> list[Call]:
        read = json_calls.parse if body.lstrip().startswith("{") else tags.parse
        return read(body, tools)

    return ToolFormat(
        name=name,
        template_markers=template_markers,
        open_tags=(f"<{call}>",),
        close_tag=f"</{call}>",
        parse=parse,
        parse_partial=tags.parse_partial,
        close_required=True,
        layout=Layout(
            begin=f"<{call}>",
            call="$NAME$SPACE$ARGUMENTS",
            end=f"</{call}>",
            parameter=f"<{key}>$KEY</{key}>$SPACE<{value}>$VALUE</{value}>$SPACE",
        ),
        special_tokens=tuple(f"<{slash}{tag}>" for tag in (call, key, value) for slash in ("", "/")),
    )


FORMAT = family("glm", ("<tool_call>", "<arg_key>", "<arg_value>"), "tool_call", "arg_key", "arg_value")
