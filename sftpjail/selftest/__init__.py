"""`test`: a real login, and what is asked in it."""
