"""Primitives: pure functions on arrays, each with a shape rule and a NumPy reference. See README.md."""
