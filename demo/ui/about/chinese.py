"""The words of the tab "About" in simplified Chinese."""

from demo.ui.about.words import AboutWords

ABOUT = AboutWords(
    tab="关于",
    title="冻结的模型,和教它本领的小适配器",
    intro=(
        "您在与一个从不改变的小 LLaMA 对话。每种本领(包括看图)都是它之上几兆字节的适配器。这就是"
        " LLaMA-Adapter,用三张图说明。"
    ),
    base="冻结的基座",
    base_more=(
        "模型的全部权重保持不变,以 8 位存放,由所有对话的人共用。只有上面各层中的几个提示是新学的。"
    ),
    base_words="您的话",
    base_layers="各层,冻结",
    base_prompts="提示,学来的",
    base_next="下一个词",
    prefix="前缀",
    prefix_more=(
        "在这些层中,提示排在您的话之前,每个词都可以看它们。图片化为数字加到提示上:回答因此取决于"
        "看到了什么。"
    ),
    prefix_picture="图片",
    prefix_prompts="提示",
    prefix_words="词",
    gate="零初始化注意力",
    gate_more=(
        "词从提示中得到的内容要经过一道门,它一开始完全关闭,恰好为零。起初模型照旧回答;学习把门打"
        "开到有用的程度。"
    ),
    gate_words="对词的注意力",
    gate_prompts="对提示的注意力",
    gate_gate="门",
    gate_start="开始时:0",
    paper="论文",
    paper_more=(
        "Renrui Zhang、Jiaming Han、Chris Liu、Peng Gao、Aojun Zhou、Xiangfei Hu、Shilin Yan、Pan"
        " Lu、"
        "Hongsheng Li、Yu Qiao:LLaMA-Adapter: Efficient Fine-tuning of Language Models with "
        "Zero-init Attention。arXiv 2303.16199。"
    ),
    limits="它做不到什么",
    limits_list=(
        "随程序附带的基座有 1.35 亿个权重。它会自信地说错,推理也差:请不要依赖它的话。",
        "它能看 1,000 类照片、500 类图画和平面形状。文字、人脸和数量它看不出来。",
        "对视频它同时看几帧,不知先后。听不到声音。",
        "它学的是英语;其他语言需要更大的基座,或会那种语言的适配器。",
    ),
    figures="数据",
    figures_more=(
        "每个数据都由程序的命令测得;全部数据及其对照都在文档中。"
        "速度取决于机器:第一个来自 {machine}。"
    ),
    figure_write="带适配器的写作速度",
    figure_peer="同一台机器上的 llama.cpp",
    figure_photo="对照片说出第一个词",
    figure_shapes="关于平面形状的问题完全答对",
    figure_blind="不看图最多能答对",
    figure_zero="教 100 步之后,门从零开始",
    figure_open="门从打开开始",
    licences="许可",
    licences_more=(
        "程序、适配器和视觉塔:Apache-2.0。基座是 Hugging Face 的 SmolLM2-135M-Instruct:Apache-2.0。"
        "视觉塔建立在 EfficientNet-Lite0 的权重(Apache-2.0)上,由 ImageNet 教成,后者供研究和教育使"
        "用。"
        "PyAV 附带 FFmpeg(LGPL-3)。"
    ),
    api="在程序中使用",
)
