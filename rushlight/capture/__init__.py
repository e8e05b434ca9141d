"""The front half of compile: traces functions, finds the state they touch, writes results back. See README.md."""
