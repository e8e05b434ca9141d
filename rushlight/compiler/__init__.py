"""The back half of compile: graphs of arrays to native programs. See README.md."""
