"""Loop nests: the structured builder in which kernels are written, and its text. See README.md."""
