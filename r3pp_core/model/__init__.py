"""The R3 model: a Qwen3-VL backbone, the modules that turn evidence into soft tokens, and what they are fed."""
