"""Where chat templates put images and sounds: real templates of models that see, and made-up ones of every kind."""

from typing import Any

import pytest
import sdist

from nitro.errors import TemplateError
from nitro.text.media_places import MediaTemplate
from nitro.text.template import ChatTemplate

# By template of llama.cpp's collection: what it writes for an image in a turn of the user
WRITTEN = {
    "Apriel-1.6-15b-Thinker-fixed": "[IMG]",
    "Cohere2MoE": "<|IMG_PATCH|>",
    "Kimi-K2-Instruct": "<|media_start|>image<|media_content|><|media_pad|><|media_end|>",
    "Kimi-K2-Thinking": "<|media_start|>image<|media_content|><|media_pad|><|media_end|>",
    "Kimi-K3": "<|kimi_image_placeholder|>",
    "LFM2.5-8B-A1B": "<image>",
    "MiniMax-M3": "]<]image[>[",
    "Mistral-Small-3.2-24B-Instruct-2506": "[IMG]",
    "Qwen3.5-4B": "<|vision_start|><|image_pad|><|vision_end|>",
    "StepFun3.5-Flash": "<im_patch>",
    "google-gemma-4-31B-it": "<|image|>",
    "google-gemma-4-31B-it-interleaved": "<|image|>",
    "mistralai-Ministral-3-14B-Reasoning-2512": "[IMG]",
    "moonshotai-Kimi-K2": "<|media_start|>image<|media_content|><|media_pad|><|media_end|>",
    "muse-glimmer": "<|patch|>",
    "unsloth-Apriel-1.5": "[IMG]",
    "unsloth-mistral-Devstral-Small-2507": "[IMG]",
}
QWEN2_AUDIO = (
    "{% set count = namespace(n=0) %}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}"
    "{% if 'audio' in content or 'audio_url' in content or content['type'] == 'audio' %}{% set count.n = count.n + 1 %}"
    "Audio {{ count.n }}: <|audio_bos|><|AUDIO|><|audio_eos|>\n{% elif 'text' in content %}{{ content['text'] }}"
    "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
)
LLAVA = (  # images first, then the texts
    "{% for message in messages %}{{ message['role'] }}: {% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for c in message['content'] %}{% if c['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for c in message['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}"
    "\n{% endfor %}"
)
GEMMA3 = (
    "{% for message in messages %}<start_of_turn>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] | trim }}{% else %}{% for c in message['content'] %}{% if c['type'] == 'image' %}"
    "{{ '<start_of_image>' }}{% elif c['type'] == 'text' %}{{ c['text'] | trim }}{% endif %}{% endfor %}{% endif %}"
    "<end_of_turn>\n{% endfor %}"
)
PHI = (
    "{% set n = namespace(i=0) %}{% for m in messages %}<|{{ m.role }}|>{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for c in m.content %}{% if c.type == 'image' %}{% set n.i = n.i + 1 %}<|image_{{ n.i }}|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|end|>{% endfor %}"
)
PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
STRINGS_ONLY = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim + '' }}{% endfor %}"
OF_ITS_OWN = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{{ '[[here]]' if c.type == 'image' else c.text }}{% endfor %}{% endif %}{% endfor %}"
)


def pieces(source: str, *messages: dict[str, Any], kinds: str = "i", **options: Any) -> list[str | int]:
    """Of messages whose texts have {0}, {1} … for media. `kinds`: an i or an a for each."""
    names = {"i": "image", "a": "audio"}
    template = MediaTemplate(ChatTemplate(source, "<s>", "</s>"), [names[kind] for kind in kinds], ["m"] * len(kinds))
    marks = [template.mark(number) for number in range(len(kinds))]
    given = [{**message, "content": _put(message["content"], marks)} for message in messages]
    return template.pieces(template.render(given, **options), range(len(kinds)))


def _put(text: str, marks: list[str]) -> str:
    for number, mark in enumerate(marks):
        text = text.replace(f"{{{number}}}", mark)
    return text


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_templates_of_models_that_see(name: str) -> None:
    """As transformers' processors render: what a template writes for an image stands for it, and nothing else goes."""
    source = sdist.templates()[name]
    parts = [{"type": "text", "text": "Look"}, {"type": "image"}, {"type": "text", "text": "and see."}]
    whole = ChatTemplate(source, "<s>", "</s>").render([{"role": "user", "content": parts}])
    assert whole.count(WRITTEN[name]) == 1
    found = pieces(source, user("Look{0}and see."))
    assert [piece for piece in found if isinstance(piece, int)] == [0]
    assert "".join(WRITTEN[name] if piece == 0 else str(piece) for piece in found) == whole


def test_what_a_user_writes_is_no_place() -> None:
    for name, written in WRITTEN.items():
        found = pieces(sdist.templates()[name], user(f"Not {written} but {{0}} this."))
        assert sum(isinstance(piece, int) for piece in found) == 1, name
        assert f"Not {written} but" in str(found[0]), name


def test_sounds_are_numbered_by_the_template() -> None:
    found = pieces(QWEN2_AUDIO, user("{0}{1}What?"), kinds="aa")
    assert found == ["<|im_start|>user\nAudio 1: ", 0, "\nAudio 2: ", 1, "\nWhat?<|im_end|>\n"]


def test_images_before_the_texts() -> None:
    assert pieces(LLAVA, user("a{0}b{1}"), kinds="ii") == ["user: ", 0, "\n", 1, "\nab"]


def test_what_only_a_processor_writes_is_added() -> None:
    assert pieces(GEMMA3, user("a {0} b")) == ["<start_of_turn>user\na\n\n", 0, "\n\nb<end_of_turn>\n"]


def test_placeholders_with_numbers() -> None:
    assert pieces(PHI, user("{0}a{1}"), kinds="ii") == ["<|user|>", 0, "a", 1, "<|end|>"]


@pytest.mark.parametrize("source", [PLAIN, STRINGS_ONLY])
def test_templates_that_take_no_parts(source: str) -> None:
    assert pieces(source, user("a{0}b"), kinds="i") == ["<user>a", 0, "b"]


def test_a_placeholder_in_no_row() -> None:
    assert pieces(OF_ITS_OWN, user("a{0}b"), kinds="i") == ["<user>a", 0, "b"]


def test_what_is_written_for_any_part_is_no_placeholder() -> None:
    """Cohere's template closes the text before it and opens another, whatever the part is."""
    source = sdist.templates()["Cohere2MoE"]
    found = pieces(source, user("Hear{0}this."), kinds="a")
    assert "".join("!" if piece == 0 else str(piece) for piece in found).count("Hear!this.") == 1


def test_other_roles() -> None:
    """Where a template takes parts from the user alone, the place goes through it as a text."""
    source = GEMMA3.replace("c['type'] == 'image'", "c['type'] == 'image' and message['role'] == 'user'")
    found = pieces(source, user("a"), {"role": "assistant", "content": "b{0}"}, user("{1}c"), kinds="ii")
    assert [piece for piece in found if isinstance(piece, int)] == [0, 1]


def test_what_is_continued() -> None:
    said = {"role": "assistant", "content": "b{0}c"}
    found = pieces(GEMMA3, user("a"), said, continues=True)
    assert found[-2:] == [0, "\n\nc"]


def test_a_template_that_leaves_one_out() -> None:
    source = "{% for m in messages %}{% if loop.last %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(TemplateError) as caught:
        pieces(source, user("{0}"), user("b"))
    assert caught.value.param == "m"


def test_a_template_that_writes_a_message_twice() -> None:
    source = "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}"
    assert pieces(source, user("a{0}b")) == ["a", 0, "ba", 0, "b"]


def test_placeholders_in_the_descriptions_of_tools() -> None:
    source = "{% for tool in tools or [] %}{{ tool.function.description }}{% endfor %}" + OF_ITS_OWN
    tools = [{"type": "function", "function": {"name": "f", "description": "[[here]]"}}]
    assert pieces(source, user("a{0}b"), tools=tools) == ["[[here]]<user>a", 0, "b"]
