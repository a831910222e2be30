"""Chat templates of the forms that public models have, written down once more in Jinja."""

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""With a system message of its own if there is none, as Qwen's."""
LLAMA_2 = (
    "{% set has_system = messages[0].role == 'system' %}{% set turns = messages[1:] if has_system else messages %}"
    "{% for m in turns %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}<s>[INST] "
    "{% if loop.first and has_system %}<<SYS>>\n{{ messages[0].content }}\n<</SYS>>\n\n{% endif %}"
    "{{ m.content.strip() }} [/INST]{% else %} {{ m.content.strip() }} </s>{% endif %}{% endfor %}"
)
"""The system prompt inside the first turn, texts stripped, and a space before an answer."""
LLAMA_3 = (
    "{% for m in messages %}{{ '<s>' if loop.first }}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{% set has_system = messages[0].role == 'system' %}{% set turns = messages[1:] if has_system else messages %}<s>"
    "{% for m in turns %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}[INST]{{ ' ' ~ (messages[0].content ~ '\n\n' if loop.last and has_system) }}"
    "{{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
"""The system prompt before the text of the user's last turn, and left out if an answer is begun behind that."""
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}<s>"
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|start_of_turn|>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<|end_of_turn|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start_of_turn|>model\n{% endif %}"
)
"""Refuses a system prompt."""
TEMPLATES = {"chatml": CHATML, "llama 2": LLAMA_2, "llama 3": LLAMA_3, "mistral": MISTRAL, "gemma": GEMMA}
MARKS = ["im_start", "im_end", "start_header_id", "end_header_id", "eot_id", "start_of_turn", "end_of_turn"]
SPECIAL_TOKENS = ["<s>", "</s>", *(f"<|{name}|>" for name in MARKS)]
