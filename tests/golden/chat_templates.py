"""Chat templates in the manner of the published families, and conversations to render with them."""

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant named Switch<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

LLAMA3 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message comes first, so that the rest can be numbered without it. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "You have access to the following functions.\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {{- "Given the following functions, please respond with a JSON for a function call.\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n\\nYou may call one or more functions.\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

# Strict alternation, in the manner of Mistral and Gemma.
STRICT = """{{ bos_token }}
{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/... but message ' ~ loop.index ~ ' is from ' ~ message['role']) }}
    {% endif %}
    {% if (message['role'] == 'assistant') %}
        {% set role = 'model' %}
    {% else %}
        {% set role = message['role'] %}
    {% endif %}
{{ '<start_of_turn>' + role + '
' + message['content'] | trim + '<end_of_turn>
' }}
{% endfor %}
{% if add_generation_prompt %}
{{'<start_of_turn>model
'}}
{% endif %}
"""

# Everything a template may print that is not a string, Python's way; methods of strings; macros; generation marks; loop control.
PYTHONISMS = """{%- macro show(x, label='value') -%}
{{ label }}={{ x }};
{%- endmacro -%}
{{ show(true) }}{{ show(none) }}{{ show(1.0, label='float') }}{{ show([1, 'a', none, true]) }}{{ show({'k': 'v', 'n': 2}) }}
{{ 7 // 2 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ -7 % 3 }} {{ 'ab' * 3 }} {{ [1] + [2] }} {{ 'a' ~ 1 ~ none ~ true }}
{% for message in messages if message.role != 'system' %}
  {%- if loop.index > 6 %}{% break %}{% endif %}
  {%- if not message.content %}{% continue %}{% endif %}
{% generation %}{{ message.content.strip() }}{% endgeneration %}|{{ message.content.upper() }}|{{ message.content.lower() | length }}|{{ message.content.title() }}|
{{- message.content.split() | join('+') }}|{{ message.content.split('\\n') | length }}|{{ message.content.splitlines() | tojson }}|
{{- message.content.replace('a', 'A') }}|{{ message.content.find('the') }}|{{ message.content[:5] }}|{{ message.content[-3:] }}|{{ message.content[::-1] }}|
{{- message | tojson }}|{{ message.content | tojson(ensure_ascii=True) }}|{{ loop.index }}/{{ loop.first }}/{{ loop.last }}
{% endfor %}
{%- set ns = namespace(found=false, n=0) -%}
{%- for key, value in messages[0].items() %}{% set ns.n = ns.n + 1 %}{{ key }}={{ value | length }} {% endfor %}
{{ ns.n }} {{ ns.found }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | map(attribute='role') | join(',') }}
{{ {'b': 1, 'a': [1, 2.5, {}], 'é': '<&>\\'"\\\\'} | tojson }} {{ [] | tojson }} {{ {'a': 1} | tojson(indent=2) }} {{ [1, [2]] | tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}
{{ undefined_thing }}{{ undefined_thing is defined }} {{ undefined_thing | default('fallback') }} {{ messages[0].missing }}|{{ messages[0].get('missing', 'none here') }}
{% raw %}{{ not rendered }}{% endraw %} {# comment #} {{ 1e20 }} {{ 1e-7 }} {{ 0.1 + 0.2 }} {{ 'x' if messages else 'y' }} {{ 'a' in 'abc' }} {{ 3 in [1, 2, 3] }}
   {%- if add_generation_prompt %}
   go
   {%- endif %}

"""

TEMPLATES = {"chatml": CHATML, "llama3": LLAMA3, "qwen": QWEN, "strict": STRICT, "pythonisms": PYTHONISMS}

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather & wind <now>, \"quoted\", naïve 天気",
     "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "default": 1.5}}, "required": ["city"], "z": None, "a": True}}},
    {"type": "function", "function": {"name": "add", "description": "", "parameters": {"type": "object", "properties": {}}}},
]


def conversations(strings):
    """Conversations with nasty contents: plain ones of each shape, tool calls, wrong orders."""
    def user(text): return {"role": "user", "content": text}
    def assistant(text): return {"role": "assistant", "content": text}
    def system(text): return {"role": "system", "content": text}

    chats = [
        [user("Hi")],
        [system("Be brief."), user("What is the capital of France?")],
        [user("the\n  cat  "), assistant(" sat\n"), user("on\r\nthe mat\n\n")],
        [system("  padded  "), user("\x1c odd blanks \u3000"), assistant("\u2003ok\x1f"), user("\n")],
        [user("a"), assistant("<think>\nhmm, the\n</think>\n\nYes."), user("sure?"), assistant("<think>again</think>No.")],
        [user("a"), {"role": "assistant", "content": "b", "reasoning_content": "\nbecause\n"}],
        [assistant("I start.")],
        [user("one"), user("two")],
        [system("s"), system("t"), user("u")],
        [user("call"), {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Köln <b>", "days": 2}}}]},
         {"role": "tool", "content": "12 °C & rain"}, assistant("Rain.")],
        [user("call both"), {"role": "assistant", "content": "Now.", "tool_calls": [{"function": {"name": "add", "arguments": "{\"a\": 1}"}}, {"function": {"name": "add", "arguments": {}}}]},
         {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}],
        [user("")],
        [],
        [{"role": "user"}],
        [{"role": "wizard", "content": "abracadabra"}],
    ]
    for i in range(0, len(strings) - 3, 3):
        a, b, c = strings[i:i + 3]
        chats.append([user(a), assistant(b), user(c)] if i % 2 else [system(a), user(b), assistant(c)])
    return chats
