"""Where `make install` put the things that are not Python. The Makefile rewrites these two lines."""

from __future__ import annotations

BIN = "/usr/bin/sftpjail"
LIB = "/usr/lib/sftpjail"
