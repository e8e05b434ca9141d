"""Tensor: memory, versions, views, dtype rules, printing and exchange. It computes nothing. See README.md."""
