"""Kimi K3, whose arguments tell their types, or are one JSON object:

<|open|>tools<|sep|><|open|>call tool="weather" index="1"<|sep|><|open|>argument key="city" type="string"<|sep|>Oslo\\
<|close|>argument<|sep|><|close|>call<|sep|><|open|>call tool="weather" index="2"<|sep|><|open|>json type="object"\\
<|sep|>{"city": "Bergen"}<|close|>json<|sep|><|close|>call<|sep|><|close|>tools<|sep|>
"""

import re

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.tagged_calls import Tags

_SEP = re.escape("<|sep|>")
_OPEN, _CLOSE = re.escape("<|open|>"), re.escape("<|close|>")
_TAGS = Tags(
    call=rf'{_OPEN}call tool="(?P<name>[^"\n]+)"[^<\n]*{_SEP}',
    key=rf'{_OPEN}argument key="(?P<key>[^"\n]*)"(?: type="(?P<type>[a-z]+)")?{_SEP}',
    closes=f"{_CLOSE}argument{_SEP}",
    end=f"{_CLOSE}call{_SEP}",
    whole=rf"{_OPEN}json[^<]*{_SEP}(?P<json>.*?){_CLOSE}json{_SEP}(?=\s*{_CLOSE}call)",
)
FORMAT = Format(
    name="kimi_k3",
    signs=("open_tag('call', [('tool',", "open_tag('argument', [('key',"),
    opens=("<|open|>tools<|sep|>",),
    closes="<|close|>tools<|sep|>",
    parse=_TAGS.parse,
    seen=_TAGS.seen,
    layout=Layout(
        begin="<|open|>tools<|sep|>",
        call='<|open|>call tool="$NAME" index="$INDEX"<|sep|>$ARGUMENTS<|close|>call<|sep|>',
        end="<|close|>tools<|sep|>",
        between="",
        parameter='<|open|>argument key="$KEY" type="$TYPE"<|sep|>$VALUE<|close|>argument<|sep|>',
    ),
    marks=("<|open|>", "<|close|>", "<|sep|>"),
)
