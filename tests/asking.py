"""What a client is told of an answer: content, reasoning and calls, whole or as a stream, by the OpenAI SDK."""

from typing import Any

from running import RunningServer

SAYING = "runners:SayingRunner"
TEMPLATE = """\
{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}{% endfor %}
{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}<assistant>{% if enable_thinking %}<think>{% endif %}\
{% if reasoning_effort %}{% endif %}{# </think> {"name": "function", "arguments": {}} <tool_call> #}"""


class Told:
    """What a client was told: of a whole answer, or of a stream's deltas together."""

    def __init__(self) -> None:
        self.content = self.reasoning = ""
        self.calls: list[list[str]] = []
        self.ids: list[str] = []
        self.finish = ""
        self.deltas = 0  # of arguments

    def __eq__(self, other: object) -> bool:
        keys = ("content", "reasoning", "calls", "finish")
        return all(getattr(self, key) == getattr(other, key) for key in keys)

    def __repr__(self) -> str:
        return repr(vars(self))


def ask(server: RunningServer, script: str = "", stream: bool = False, **options: Any) -> Told:
    """`script`: what the SayingRunner says."""
    told = Told()
    options = {"model": "", "messages": [{"role": "user", "content": f"␂{script}␃"}], **options}
    client = server.client(_strict_response_validation=True)
    if not stream:
        choice = client.chat.completions.create(**options).choices[0]
        told.content, told.finish = choice.message.content or "", choice.finish_reason
        told.reasoning = getattr(choice.message, "reasoning_content", "")
        for call in choice.message.tool_calls or []:
            told.calls.append([call.function.name, call.function.arguments])
            told.ids.append(call.id)
        return told
    for chunk in client.chat.completions.create(stream=True, **options):
        (choice,) = chunk.choices
        told.content += choice.delta.content or ""
        told.reasoning += getattr(choice.delta, "reasoning_content", "")
        for call in choice.delta.tool_calls or []:
            if call.id:
                assert (call.index, call.type) == (len(told.calls), "function")
                told.calls.append([call.function.name, ""])
                told.ids.append(call.id)
            told.calls[call.index][1] += call.function.arguments
            told.deltas += bool(call.function.arguments)
        told.finish = choice.finish_reason or told.finish
    return told


def both(server: RunningServer, script: str = "", **options: Any) -> Told:
    """The same whole and as a stream."""
    whole = ask(server, script, **options)
    assert ask(server, script, stream=True, **options) == whole
    assert len(set(whole.ids)) == len(whole.calls)
    return whole
