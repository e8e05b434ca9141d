"""Ops: what users call. Each is declared once, with its gradient and samples. See README.md."""
