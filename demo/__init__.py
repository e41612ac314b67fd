"""LLaMA-Adapter Studio: chat with images on a frozen 8-bit LLaMA, one base, many small adapters."""
