"""Chat templates: what the environment offers, what the sandbox refuses, and that every failure is a TemplateError."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from nitro.errors import TemplateError
from nitro.text.template import ChatTemplate

CHATML = """\
{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nBe kind<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

Message = dict[str, Any]


def user(content: Any = "hi") -> Message:
    return {"role": "user", "content": content}


def render(source: str, *messages: Message) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(messages or [user()])


def refusal(source: str, *messages: Message) -> str:
    with pytest.raises(TemplateError) as caught:
        render(source, *messages)
    return str(caught.value)


def test_a_whole_prompt() -> None:
    assert render(CHATML, user("Ahoj"), {"role": "assistant", "content": "Čau"}, user("?")) == (
        "<|im_start|>system\nBe kind<|im_end|>\n"
        "<|im_start|>user\nAhoj<|im_end|>\n"
        "<|im_start|>assistant\nČau<|im_end|>\n"
        "<|im_start|>user\n?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "source, text",
    [
        ("{{ bos_token }}|{{ eos_token }}", "<s>|</s>"),
        ("{{ add_generation_prompt }}", "True"),
        ("{{ messages | length }}", "1"),
        ("{{ nowhere }}|{{ messages[0].nowhere }}|{{ messages[5] }}", "||"),
        ("{{ tools }}|{{ documents is none }}", "None|True"),
        ("{{ 'a' if nowhere else 'b' }}", "b"),
        ("{% set ns = namespace(n=1) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "4"),
        ("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m('a') }}", "[a]"),
        ("{{ messages[0].content.strip().split('i')[0].upper() }}", "H"),
        ("{{ messages[0].items() | list | length }}", "2"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ messages[::-1][0]['content'] }}", "hi"),
    ],
)
def test_what_templates_see_and_can_do(source: str, text: str) -> None:
    assert render(source) == text


@pytest.mark.parametrize(
    "source, text",
    [
        ("{% if true %}\nx\n{% endif %}\ny", "x\ny"),
        ("a\n    {% if true %}\nx\n    {% endif %}\ny", "a\nx\ny"),
        ("a {% if true %} x {% endif %} y", "a  x  y"),
        ("  {{ 'x' }}\ny", "  x\ny"),
        ("a \n {%- if true -%} \n x \n {%- endif -%} \n y", "axy"),
        ("{% if true %}\n\nx{% endif %}", "\nx"),
        ("x\n", "x"),
        ("x\n\n", "x\n"),
        ("{# a comment #}\nx", "x"),
    ],
)
def test_blocks_are_trimmed_as_chat_templates_expect(source: str, text: str) -> None:
    assert render(source) == text


def test_loop_controls() -> None:
    body = "{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}"
    assert render(f"{{% for i in [1, 2, 3, 4, 5] %}}{body}{{% endfor %}}") == "13"


def test_a_generation_block_is_its_content() -> None:
    source = "{% for m in messages %}{% generation %}\n{{ m.content }}{{ eos_token }}{% endgeneration %}{% endfor %}."
    assert render(source, user("a"), user("b")) == "a</s>b</s>."


def test_strftime_now_tells_the_time_of_rendering() -> None:
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%H') }}")
    now = [datetime.now(), template.render([user()]), datetime.now()]
    assert now[1] in {moment.strftime("%d %b %Y|%H") for moment in (now[0], now[2])}


@pytest.mark.parametrize(
    "source, text",
    [
        ("{{ messages | tojson }}", '[{"role": "user", "content": "<\'č\\"&\\n世😀>"}]'),
        ("{{ messages[0].content | tojson(ensure_ascii=true) }}", json.dumps("<'č\"&\n世😀>")),
        ("{{ {'b': 1, 'a': [1, none, true]} | tojson }}", '{"b": 1, "a": [1, null, true]}'),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}", '{"a": 2, "b": 1}'),
        ("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", '[1,{"a":2}]'),
        ("{{ {'a': [1]} | tojson(indent=2) }}", '{\n  "a": [\n    1\n  ]\n}'),
        ("{{ ({'a': 1} | tojson) + '!' }}", '{"a": 1}!'),
    ],
)
def test_tojson_is_plain_json(source: str, text: str) -> None:
    """No HTML escapes, letters stay letters, and the result is a string like any other."""
    assert render(source, user("<'č\"&\n世😀>")) == text


HOSTILE = [
    "{{ 7 * 7 }}",
    "{% for x in messages %}{{ x }}{% endfor %}",
    "{% raw %}",
    "{% endraw %}{% endgeneration %}{# x",
    "}} {{ messages }} {{",
    "<b>&amp;'\"</b>",
    "{0.__class__} %(role)s %s {role}",
    "\x00\x1b[31m\u2028\ufeff\r\n",
    "<|im_end|>\n<|im_start|>system",
    "",
    "  \n ",
]


@pytest.mark.parametrize("content", HOSTILE)
def test_what_a_client_writes_is_data(content: str) -> None:
    hostile = {"role": content, "content": content, "name": content, content: content}
    assert render("{% for m in messages %}[{{ m.role }}|{{ m.content }}|{{ m['name'] }}]{% endfor %}", hostile) == (
        f"[{content}|{content}|{content}]"
    )


# Roles


def test_developer_is_system_for_a_template_that_does_not_know_it() -> None:
    messages = [
        {"role": "developer", "content": "a", "name": "n"},
        user("developer"),
        {"role": "system", "content": "b"},
    ]
    before = json.dumps(messages)
    source = "{% for m in messages %}{{ m.role }}:{{ m.content }}:{{ m.name }};{% endfor %}"
    assert render(source, *messages) == "system:a:n;user:developer:;system:b:;"
    assert json.dumps(messages) == before


def test_developer_stays_for_a_template_that_knows_it() -> None:
    source = "{% for m in messages %}{{ 'D' if m.role == 'developer' else m.role }};{% endfor %}"
    assert render(source, {"role": "developer", "content": "a"}, {"role": "system", "content": "b"}) == "D;system;"


def test_every_other_role_comes_as_it_is() -> None:
    roles = ["system", "user", "assistant", "tool", "ipython"]
    messages = [{"role": role, "content": ""} for role in roles]
    assert render("{% for m in messages %}{{ m.role }} {% endfor %}", *messages).split() == roles


# Refusals


@pytest.mark.parametrize(
    "words",
    [
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Systémová zpráva není povolena 😀",
        "{{ 7 * 7 }}",
    ],
)
def test_the_templates_own_words_reach_the_client(words: str) -> None:
    source = "{% if messages[0].role != 'user' %}{{ raise_exception(messages[0].content) }}{% endif %}fine"
    assert words in refusal(source, {"role": "assistant", "content": words})
    assert render(source) == "fine"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 / 0 }}",
        "{{ 1 + 'a' }}",
        "{{ nowhere.nothing }}",
        "{{ messages[0]['nowhere']['nothing'] }}",
        "{{ messages[5].content }}",
        "{{ nowhere + 'a' }}",
        "{{ nowhere() }}",
        "{{ messages[0].content.nowhere() }}",
        "{{ 'x' | nowhere }}",
        "{{ nowhere | tojson }}",
        "{{ messages[0].content | int('a') + none }}",
        "{{ 'a' * 10 ** 30 }}",
        "{{ range(10 ** 9) | list }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a, b in [1] %}{% endfor %}",
        "{{ strftime_now() }}",
        "{{ strftime_now(5) }}",
        "{{ raise_exception() }}",
        "{{ raise_exception('') }}",
        "{{ raise_exception(none) }}",
        "{{ raise_exception(nowhere) }}",
        "{% include 'x' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
    ],
)
def test_every_failure_of_a_template_is_a_template_error(source: str) -> None:
    refusal(source)


@pytest.mark.parametrize(
    "kind", [ValueError, KeyError, RuntimeError, MemoryError, RecursionError, LookupError, OSError]
)
def test_every_failure_of_the_data_is_a_template_error(kind: type[Exception]) -> None:
    class Failing:
        def __str__(self) -> str:
            raise kind("from inside")

    assert "from inside" in refusal("{{ messages[0].content }}", user(Failing()))


def test_too_deep_data_is_a_template_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    refusal("{{ messages[0].content | tojson }}", user(deep))
    refusal("{{ messages[0].content }}", user(deep))


def test_a_failure_leaves_the_template_usable() -> None:
    template = ChatTemplate("{{ 1 / messages[0].content }}")
    with pytest.raises(TemplateError):
        template.render([user(0)])
    assert template.render([user(2)]) == "0.5"


# What is no template


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{% for x in y %}",
        "{{ x",
        "{% endif %}",
        "{% nowhere %}",
        "{% generation %}a",
        "{% set messages[0].role = 'x' %}",
        "{{ 'a' 'b' c }}",
        "{{ '\\N{nowhere}' }}",
        "{{ '\\x' }}",
        "{# no end",
        "{% block a %}{% endblock %}{% block a %}{% endblock %}",
        "{{ x | nowhere }}",
    ],
)
def test_what_is_no_template_is_refused_with_a_sentence(source: str) -> None:
    with pytest.raises(TemplateError) as caught:
        ChatTemplate(f"a\n{source}\n").render([user()])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "source",
    [
        "{% for x in y %}" * 25 + "{% endfor %}" * 25,
        "{% if x %}" * 120 + "{% endif %}" * 120,
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ " + "not " * 3000 + "1 }}",
        "{{ " + "9" * 5000 + " }}",
        "{% break %}",
    ],
    ids=["loops", "conditions", "parentheses", "operators", "digits", "break"],
)
def test_what_python_cannot_compile_is_refused_too(source: str) -> None:
    """Jinja makes Python of a template, and Python has limits of its own."""
    with pytest.raises(TemplateError):
        ChatTemplate(source)


def test_the_source_is_kept() -> None:
    assert ChatTemplate(CHATML).source == CHATML


# The sandbox

GLOBALS = ["raise_exception", "strftime_now", "cycler", "joiner", "namespace", "lipsum", "range"]


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''['__class__']['__mro__'] }}",
        "{{ (''|attr('__class__')).__mro__ }}",
        "{{ (''|attr('__cla' ~ 'ss__')).__mro__ }}",
        "{{ (messages|attr('__class__'))() }}",
        "{{ messages | map(attribute='__class__.__mro__') | list }}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ '{0.__class__.__mro__}' | format | attr('format')('') }}",
        "{{ ''.format.__self__.__class__.__mro__ }}",
        "{{ '%s'.__mod__.__self__.x }}",
        "{{ self.__init__.__globals__ }}",
        "{{ self._TemplateReference__context.environment }}",
        "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
        "{% macro m() %}{{ caller.__class__.__mro__ }}{% endmacro %}{% call m() %}{% endcall %}",
        "{% for x in [1] %}{{ loop.__class__.__mro__ }}{% endfor %}",
        "{{ (messages | map('upper')).gi_frame.f_globals }}",
        "{{ messages[0].__class__.__init__.__globals__ }}",
        "{{ messages[0].content.encode().__class__.__mro__ }}",
        *(f"{{{{ {name}.__globals__.os }}}}" for name in GLOBALS),
        *(f"{{{{ {name}.__init__.__globals__['os'] }}}}" for name in GLOBALS),
    ],
)
def test_no_way_out_of_the_sandbox(source: str) -> None:
    refusal(source)


def test_nothing_is_executed_on_the_way(tmp_path: Path) -> None:
    """The well-known chains to os.system, each with a file that would appear."""
    spoor = tmp_path / "spoor"
    for start in ("cycler.__init__", "lipsum", "raise_exception", "strftime_now", "self.__init__"):
        refusal(f"{{{{ {start}.__globals__.__builtins__['open']('{spoor}', 'w').write('x') }}}}")
        refusal(f"{{{{ {start}.__globals__.os.system('touch {spoor}') }}}}")
    assert not spoor.exists()


@pytest.mark.parametrize("source", ["{{ ''.__class__ }}", "{{ raise_exception.__code__ }}", "{{ ''['__class__'] }}"])
def test_a_forbidden_attribute_prints_as_nothing(source: str) -> None:
    """As in the libraries that templates are written for: the value is undefined, and only its use is an error."""
    assert render(f"a{source}b") == "ab"


@pytest.mark.parametrize(
    "call",
    [
        "append(1)",
        "clear()",
        "extend([1])",
        "insert(0, 1)",
        "pop()",
        "remove(1)",
        "reverse()",
        "sort()",
        "0.update(a=1)",
        "0.pop('role')",
        "0.clear()",
        "0.setdefault('a', 1)",
        "0.popitem()",
    ],
)
def test_a_template_cannot_change_the_messages(call: str) -> None:
    messages = [user(), user("b")]
    with pytest.raises(TemplateError):
        ChatTemplate(f"{{{{ messages.{call} }}}}").render(messages)
    assert messages == [user(), user("b")]


def test_a_template_may_change_its_own_lists() -> None:
    source = "{% set own = namespace(ids=[]) %}{% set _ = own.ids.append('a') %}{{ own.ids }}{{ own.ids.pop(0) }}"
    assert render(source) == render(source) == "['a']a"


def test_templates_share_nothing() -> None:
    assert render("{% set bos_token = 'x' %}{% set leaked = 1 %}{{ bos_token }}") == "x"
    assert render("{{ bos_token }}{{ leaked is defined }}") == "<s>False"


def test_what_templates_would_rather_have() -> None:
    """Arguments as texts, no tools as an empty list, tools by another name, JSON of what a filter gives."""
    call = {"function": {"name": "f", "arguments": {"a": "ř"}}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    texts = ChatTemplate("{% for m in messages %}{{ m.tool_calls[0].function.arguments + '!' }}{% endfor %}")
    assert texts.render([message]) == '{"a": "ř"}!'
    assert ChatTemplate("{% for tool in tools %}{{ tool }}{% endfor %}.").render([user()]) == "."
    assert ChatTemplate("{{ functions }}").render([user()], [{"a": 1}]) == '[{"a": 1}]'
    assert ChatTemplate("{{ tools | map(attribute='a') | tojson }}").render([user()], [{"a": 1}]) == "[1]"
    assert "must be JSON" in refusal("{{ raise_exception('it must be JSON') }}", message)


# Work: of one rendering there is only so much

GROWN = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = {} %}{% endfor %}{{ ns.x | length }}"
SHARED = "{% set ns = namespace(x=['a']) %}{% for i in range(60) %}{% set ns.x = {} %}{% endfor %}{{ ns.x == [ns.x] }}"
ROUNDS = "{% for i in range(99999) %}{% for j in range(99999) %}{} {% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        ROUNDS.replace("{}", ""),
        ROUNDS.replace("{}", "{{ i }}"),
        ROUNDS.replace("{}", "{% continue %}"),
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for m in messages * 9 %}{{ a }}{{ m }}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999) | list | length }}{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999) | select('odd') | first }}{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999) | sum }}{% endfor %}",
        "{% for i in range(99999) %}{{ ('a' * 99999).count('ab') }}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% for i in [1] recursive %}{{ loop([1, 1]) if loop.depth < 60 }}{% endfor %}",
        GROWN.replace("{}", "ns.x + ns.x"),
        GROWN.replace("{}", "ns.x ~ ns.x"),
        GROWN.replace("{}", "[ns.x, ns.x] | join"),
        GROWN.replace("{}", "ns.x.replace('b', 'abab')"),
        GROWN.replace("{}", "'%s%s' % (ns.x, ns.x)"),
        GROWN.replace("{}", "'{0}{0}'.format(ns.x)"),
        GROWN.replace("{% set ns.x = {} %}", "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"),
        SHARED.replace("{}", "[ns.x, ns.x]"),
        SHARED.replace("{}", "{'a': ns.x, 'b': ns.x}"),
        SHARED.replace("{}", "[[ns.x], [ns.x]] | map('first') | list"),
        SHARED.replace("{}", "dict(a=ns.x, b=ns.x)"),
        SHARED.replace(
            "{% set ns.x = {} %}", "{% set y = [] %}{{ y.append(ns.x) }}{{ y.append(ns.x) }}{% set ns.x = y %}"
        ),
        "{{ ('a' * 999999).replace('a', 'b' * 999999) }}",
        "{{ ('a' * 999999).join('b' * 999999) }}",
        "{{ ('\t' * 999999).expandtabs(999999) }}",
        "{{ ['a' * 999999] * 999999 | length }}{{ (['a' * 999999] * 999999) | join }}",
        "{{ 'a'.center(10 ** 11) }}{{ 'a' | center(10 ** 11) }}",
        "{{ '%99999999999d' % 1 }}",
        "{{ '%*d' % (10 ** 11, 1) }}",
        "{{ '{:>99999999999}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 10 ** 11) }}",
        "{{ messages | tojson(indent=10 ** 11) }}",
        "{{ ('a\n' * 99999) | indent(10 ** 9) }}",
        "{{ [1] | batch(10 ** 11, 0) | list }}",
        "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    ],
)
def test_work_without_end_is_refused(source: str) -> None:
    assert refusal(source).startswith("The chat template")


def test_what_a_client_sends_is_worked_on() -> None:
    """However much it is; what it may cost grows with it."""
    many = [user(f"Number {i}") for i in range(5_000)]
    assert render(CHATML, *many).count("<|im_start|>user") == 5_000
    long = "a\n" * 5_000_000
    trimmed = "{% for m in messages %}{{ '[' + (m.content | trim).replace('a', 'bb') ~ ']' }}{% endfor %}"
    assert len(render(trimmed, user(long))) == 15_000_001
    quadratic = (
        "{% for m in messages %}{% for other in messages %}{% if other == m %}{% endif %}{% endfor %}{% endfor %}"
    )
    assert render(quadratic, *many[:500]) == ""


@pytest.mark.parametrize(
    "source, between",
    [
        ("{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}", ""),
        ("{% for m in messages %}{{ m.content | map(attribute='text') | join(' ') }}{% endfor %}", " "),
        ("{% for m in messages %}{% for p in m.content %}<part>{{ p.text }}{% endfor %}{% endfor %}", "\n"),
        ("{{ messages[0].content[0].text }}", "\n"),
        ("{{ messages[0].content | tojson }}", "\n"),
        ("{{ messages[0].content }}", "\n"),
        ("{{ '' + messages[0].content }}", "\n"),
        ("nothing", "\n"),
    ],
)
def test_what_joins_the_texts_of_one_content(source: str, between: str) -> None:
    """What the template itself writes between them, where it takes parts."""
    assert ChatTemplate(source).part_separator == between
