"""DeepSeek V4, as V3.2 but for the outermost tag:

<｜DSML｜tool_calls>
<｜DSML｜invoke name="weather">
<｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜tool_calls>
"""

from nitro.text.tool_formats import deepseek_v32

FORMAT = deepseek_v32.within("deepseek_v4", "tool_calls")
