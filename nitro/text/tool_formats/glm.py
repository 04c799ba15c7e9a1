"""GLM 4.x, Laguna, Ling, Spark, with line breaks between the tags or without:

<tool_call>weather
<arg_key>city</arg_key>
<arg_value>Oslo</arg_value>
</tool_call>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tool_formats.parsers.tagged_calls import Tags
from nitro.text.tools import Call, Tools


def family(name: str, signs: tuple[str, ...], call: str, key: str, value: str) -> Format:
    """Of those who write so with other words for the tags, or JSON between the outermost."""
    tags = Tags(
        call=r"(?P<name>[^<\s]+)",
        key=rf"<{key}>(?P<key>[^<]+)</{key}>\s*<{value}>",
        closes=f"</{value}>",
    )

    def parse(body: str, tools: Tools) -> list[Call]:
        read = json_calls.parse if body.lstrip().startswith("{") else tags.parse
        return read(body, tools)

    return Format(
        name=name,
        signs=signs,
        opens=(f"<{call}>",),
        closes=f"</{call}>",
        parse=parse,
        seen=tags.seen,
        ends=True,
        layout=Layout(
            begin=f"<{call}>",
            call="$NAME$SPACE$ARGUMENTS",
            end=f"</{call}>",
            parameter=f"<{key}>$KEY</{key}>$SPACE<{value}>$VALUE</{value}>$SPACE",
        ),
        marks=tuple(f"<{slash}{tag}>" for tag in (call, key, value) for slash in ("", "/")),
    )


FORMAT = family("glm", ("<tool_call>", "<arg_key>", "<arg_value>"), "tool_call", "arg_key", "arg_value")
