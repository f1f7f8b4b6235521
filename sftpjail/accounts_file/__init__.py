"""Accounts as a file: `apply` reads it, `export` writes it. Pure text; see sftpjail-accounts(5)."""
