"""Signatures over a model's folder, and the keys that make and check them."""
