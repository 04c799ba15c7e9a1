"""LongCat; its first generation writes JSON between the outermost tags:

<longcat_tool_call>weather
<longcat_arg_key>city</longcat_arg_key>
<longcat_arg_value>Oslo</longcat_arg_value>
</longcat_tool_call>
"""

from nitro.text.tool_formats import glm

FORMAT = glm.family(
    "longcat",
    ("<longcat_tool_call>", "<longcat_arg_key>"),
    "longcat_tool_call",
    "longcat_arg_key",
    "longcat_arg_value",
)
