"""Kimi K3, whose arguments have types, or are one JSON object:

<|open|>tools<|sep|><|open|>call tool="weather" index="1"<|sep|><|open|>argument key="city" type="string"<|sep|>Oslo\\
<|close|>argument<|sep|><|close|>call<|sep|><|open|>call tool="weather" index="2"<|sep|><|open|>json type="object"\\
<|sep|>{"city": "Bergen"}<|close|>json<|sep|><|close|>call<|sep|><|close|>tools<|sep|>
"""

import re

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.tagged_calls import TaggedCalls

_SEP = re.escape("<|sep|>")
_OPEN, _CLOSE = re.escape("<|open|>"), re.escape("<|close|>")
_TAGS = TaggedCalls(
    call=rf'{_OPEN}call tool="(?P<name>[^"\n]+)"[^<\n]*{_SEP}',
    key=rf'{_OPEN}argument key="(?P<key>[^"\n]*)"(?: type="(?P<type>[a-z]+)")?{_SEP}',
    close_tag=f"{_CLOSE}argument{_SEP}",
    end=f"{_CLOSE}call{_SEP}",
    object_pattern=rf"{_OPEN}json[^<]*{_SEP}(?P<json>.*?){_CLOSE}json{_SEP}(?=\s*{_CLOSE}call)",
)
FORMAT = ToolFormat(
    name="kimi_k3",
    template_markers=("open_tag('call', [('tool',", "open_tag('argument', [('key',"),
    open_tags=("<|open|>tools<|sep|>",),
    close_tag="<|close|>tools<|sep|>",
    parse=_TAGS.parse,
    parse_partial=_TAGS.parse_partial,
    layout=Layout(
        begin="<|open|>tools<|sep|>",
        call='<|open|>call tool="$NAME" index="$INDEX"<|sep|>$ARGUMENTS<|close|>call<|sep|>',
        end="<|close|>tools<|sep|>",
        call_separator="",
        parameter='<|open|>argument key="$KEY" type="$TYPE"<|sep|>$VALUE<|close|>argument<|sep|>',
    ),
    special_tokens=("<|open|>", "<|close|>", "<|sep|>"),
)
