"""How whoever released an adapter wrote their prompts, as chat templates by name.

None is a model's own: a conversation with such an adapter is written as it was taught.
"""

# LLaMA-Adapter: a preamble, and the reply right after the colon.
ALPACA = """\
{{ bos_token }}
{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if loop.first %}{{ 'Below is an instruction that describes a task. Write a response that \
appropriately completes the request.\n\n' }}{% endif %}
{{- '### Instruction:\n' + message.content + '\n\n### Response:' }}
{%- elif message.role == 'assistant' %}{{ message.content + eos_token + '\n\n' }}
{%- endif %}
{%- endfor %}"""
BARE = "{{ bos_token }}{{ messages[-1].content }}"  # the last message, and nothing around it
# LLaMA-Adapter V2's chat model was taught conversations as FastChat's first ones: every prompt
# begins with one exchange that shows what a reply looks like.
_CHAT_BEGINNING = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant "
    "gives helpful, detailed, and polite answers to the human's questions.###Human: What are "
    "the key differences between renewable and non-renewable energy sources?###Assistant: "
    "Renewable energy sources are those that can be replenished naturally in a relatively "
    "short amount of time, such as solar, wind, hydro, geothermal, and biomass. Non-renewable"
    " energy sources, on the other hand, are finite and will eventually be depleted, such as "
    "coal, oil, and natural gas. Here are some key differences between renewable and non-"
    "renewable energy sources:\n1. Availability: Renewable energy sources are virtually "
    "inexhaustible, while non-renewable energy sources are finite and will eventually run "
    "out.\n2. Environmental impact: Renewable energy sources have a much lower environmental "
    "impact than non-renewable sources, which can lead to air and water pollution, greenhouse"
    " gas emissions, and other negative effects.\n3. Cost: Renewable energy sources can be "
    "more expensive to initially set up, but they typically have lower operational costs than"
    " non-renewable sources.\n4. Reliability: Renewable energy sources are often more reliable"
    " and can be used in more remote locations than non-renewable sources.\n5. Flexibility: "
    "Renewable energy sources are often more flexible and can be adapted to different "
    "situations and needs, while non-renewable sources are more rigid and inflexible.\n6. "
    "Sustainability: Renewable energy sources are more sustainable over the long term, while "
    "non-renewable sources are not, and their depletion can lead to economic and social "
    "instability.\n"
)
CHAT = (
    "{{ bos_token }}{% raw %}" + _CHAT_BEGINNING + "{% endraw %}"
    "{% for message in messages %}"
    "{% if message.role == 'user' %}###Human: {{ message.content }}"
    "{% elif message.role == 'assistant' %}###Assistant: {{ message.content }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}###Assistant:{% endif %}"
)
PROMPTS = {"alpaca": ALPACA, "bare": BARE, "v2-chat": CHAT}
STOPS = {"v2-chat": "###"}  # at which a reply ends, beside the end token
