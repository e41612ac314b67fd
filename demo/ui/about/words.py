"""The words of the tab "About"."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AboutWords:
    """What the tab says; words in braces are filled in by the module that shows the sentence."""

    tab: str = "About"
    title: str = "A frozen model, and small adapters that teach it"
    intro: str = (
        "You chat with a small LLaMA that never changes. Each skill, sight among them, is an "
        "adapter "
        "of a few megabytes on top of it. This is LLaMA-Adapter, in three pictures."
    )

    base: str = "The frozen base"
    base_more: str = (
        "All of the model's weights stay as they are, rounded to 8 bits, and are shared by "
        "everybody "
        "who chats. Only a few learned prompts in each of the upper layers are new."
    )
    base_words: str = "your words"
    base_layers: str = "layers, frozen"
    base_prompts: str = "prompts, learned"
    base_next: str = "next word"
    prefix: str = "The prefix"
    prefix_more: str = (
        "In each such layer the prompts stand before your words, and every word may look at "
        "them. A "
        "picture is added to them as numbers: so the answer depends on what is seen."
    )
    prefix_picture: str = "picture"
    prefix_prompts: str = "prompts"
    prefix_words: str = "words"
    gate: str = "Zero-init attention"
    gate_more: str = (
        "What a word finds at the prompts goes through a gate that begins closed, at exactly zero. "
        "At first the model answers as it always did; learning opens the gates as far as it helps."
    )
    gate_words: str = "attention to words"
    gate_prompts: str = "attention to prompts"
    gate_gate: str = "gate"
    gate_start: str = "at the start: 0"

    paper: str = "The paper"
    paper_more: str = (
        "Renrui Zhang, Jiaming Han, Chris Liu, Peng Gao, Aojun Zhou, Xiangfei Hu, Shilin Yan, "
        "Pan Lu, "
        "Hongsheng Li, Yu Qiao: LLaMA-Adapter: Efficient Fine-tuning of Language Models with "
        "Zero-init Attention. arXiv 2303.16199."
    )
    limits: str = "What it cannot do"
    limits_list: tuple[str, ...] = (
        "The base that comes with the program has 135 million weights. It gets facts wrong with "
        "confidence and reasons poorly: do not rely on what it says.",
        "It sees photographs of 1,000 kinds of things, drawings of 500 kinds and plain shapes. "
        "Writing, faces and how many there are it cannot tell.",
        "Of a video it sees a few frames at once, not their order. Sound is not heard.",
        "It was taught English; other languages need a larger base, or an adapter that knows them.",
    )
    figures: str = "Figures"
    figures_more: str = (
        "Each was measured by a command of the program; all of them, with their peers, are in its "
        "documents. Speeds are those of the machine: the first is from {machine}."
    )
    figure_write: str = "Words are written at, with an adapter"
    figure_peer: str = "llama.cpp on the same machine"
    figure_photo: str = "First word about a photograph after"
    figure_shapes: str = "Questions about plain shapes answered exactly"
    figure_blind: str = "best possible without looking"
    figure_zero: str = "After 100 steps of teaching, gates closed at first"
    figure_open: str = "the same with open gates"
    licences: str = "Licences"
    licences_more: str = (
        "The program, its adapters and its vision tower: Apache-2.0. The base, "
        "SmolLM2-135M-Instruct "
        "by Hugging Face: Apache-2.0. The tower stands on EfficientNet-Lite0's weights "
        "(Apache-2.0), "
        "taught with ImageNet, which is for research and education. PyAV brings FFmpeg (LGPL-3)."
    )
    api: str = "Use it from a program"
