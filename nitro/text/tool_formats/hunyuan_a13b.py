"""Hunyuan before Hy3 (A13B and the small ones), as Apriel:

<tool_calls>[{"name": "weather", "arguments": {"city": "Oslo"}}]</tool_calls>
"""

from dataclasses import replace

from nitro.text.tool_formats import apriel

FORMAT = replace(apriel.FORMAT, name="hunyuan_a13b", template_markers=('<tool_calls>[{"name": "func_name1"',))
