"""LLM generations as durable jobs: submit once, follow from anywhere, resume after any drop."""

__version__ = "0.1.0"
