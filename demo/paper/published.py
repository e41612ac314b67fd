"""What the paper reports (arXiv 2303.16199, LLaMA 7B), to stand beside what is measured here."""

from collections.abc import Mapping

# Table 2: accuracy on ScienceQA's test part, in percent.
GROUPS = ("average", "NAT", "SOC", "LAN", "TXT", "IMG", "NO", "G1-6", "G7-12")
SCIENCEQA: Mapping[str, tuple[float, ...]] = {
    "Random choice": (39.83, 40.28, 46.13, 29.25, 47.45, 40.08, 33.66, 39.35, 40.67),
    "Human": (88.40, 90.23, 84.97, 87.48, 89.60, 87.50, 88.10, 91.59, 82.42),
    "MCAN (95M)": (54.54, 56.08, 46.23, 58.09, 59.43, 51.17, 55.40, 51.65, 59.72),
    "Top-Down (70M)": (59.02, 59.50, 54.33, 61.82, 62.90, 54.88, 59.79, 57.27, 62.16),
    "BAN (112M)": (59.37, 60.88, 46.57, 66.64, 62.61, 52.60, 65.51, 56.83, 63.94),
    "DFAF (74M)": (60.72, 64.03, 48.82, 63.55, 65.88, 54.49, 64.11, 57.12, 67.17),
    "ViLT (113M)": (61.14, 60.48, 63.89, 60.27, 63.20, 61.38, 57.00, 60.72, 61.90),
    "Patch-TRM (90M)": (61.42, 65.19, 46.79, 65.55, 66.96, 55.28, 64.95, 58.04, 67.50),
    "VisualBERT (111M)": (61.87, 59.33, 69.18, 61.18, 62.71, 62.17, 58.54, 62.96, 59.92),
    "UnifiedQA (223M)": (70.12, 68.16, 69.18, 74.91, 63.78, 61.38, 77.84, 72.98, 65.00),
    "UnifiedQA, chain of thought": (
        *(74.11, 71.00, 76.04, 78.91, 66.42, 66.53, 81.81, 77.06, 68.82),
    ),
    "GPT-3": (74.04, 75.04, 66.59, 78.00, 74.24, 65.74, 79.58, 76.36, 69.87),
    "GPT-3, chain of thought": (75.17, 75.44, 70.87, 78.09, 74.68, 67.43, 79.93, 78.23, 69.68),
    "MM-CoT, text (223M)": (70.53, 71.09, 70.75, 69.18, 71.16, 65.84, 71.57, 71.00, 69.68),
    "MM-CoT (223M)": (84.91, 87.52, 77.17, 85.82, 87.88, 82.90, 86.83, 84.65, 85.37),
    "LLaMA-Adapter 7B, text (1.2M)": (
        *(78.31, 79.00, 73.79, 80.55, 78.30, 70.35, 83.14, 79.77, 75.68),
    ),
    "LLaMA-Adapter 7B (1.8M)": (85.19, 84.37, 88.30, 84.36, 83.72, 80.32, 86.90, 85.83, 84.05),
}
# Table 3: parameters, storage, time of training on eight A100.
COSTS: Mapping[str, tuple[str, str, str]] = {
    "full fine-tuning (Alpaca)": ("7 B", "13 GB", "3 hours"),
    "LoRA (Alpaca-LoRA)": ("4.2 M", "16.8 MB", "not given"),
    "adapter (LLaMA-Adapter)": ("1.2 M", "4.7 MB", "1 hour"),
}
# Tables 4 to 6: accuracy on ScienceQA's validation part, in percent.
LAYERS: Mapping[int, float] = {10: 55.95, 20: 73.36, 30: 83.85}
INIT: Mapping[str, float] = {"random": 40.77, "zero": 84.04}
EPOCHS: Mapping[int, tuple[float, float, float]] = {  # training loss, validation loss, accuracy
    15: (0.022, 0.136, 82.08),
    30: (0.004, 0.241, 83.85),
    60: (0.001, 0.282, 83.94),
}
# The authors' log of teaching Alpaca (issue 154 of their repository): first and last epoch.
ALPACA_TRAINING, ALPACA_VALIDATION = (1.253, 1.081), (1.142, 1.029)
# Settings of section 4.1: prompts a layer, layers of 32, epochs, batch, and AdamW's own.
PROMPTS, LAYERS_OF_32, ALPACA_EPOCHS, BATCH = 10, 30, 5, 64
RATE, WEIGHT_DECAY = 9e-3, 0.02
INSTRUCTIONS = (  # of the paper's examples and its tables of replies
    "Tell me about alpacas.",
    "Tell me about the president of Mexico in 2019.",
    "Tell me about the king of France in 2019.",
    "List all Canadian provinces in alphabetical order.",
    "Write a Python program that prints the first 10 Fibonacci numbers.",
    "Write a program that prints the numbers from 1 to 100. But for multiples of three print "
    "'Fizz' instead of the number and for the multiples of five print 'Buzz'.",
    "Tell me five words that rhyme with 'shock'.",
    "Translate the sentence 'I have no mouth but I must scream' into Spanish.",
    "Count up from 1 to 500.",
)
