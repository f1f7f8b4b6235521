"""Pure text: what others write, and what we write, read and made."""
