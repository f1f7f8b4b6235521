"""`python3 -m sftpjail`."""

from __future__ import annotations

from .cli.main import program

program()
