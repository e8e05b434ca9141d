"""Reverse-mode differentiation: the tape, its engine, and what users steer them with. See README.md."""
