"""Who is jailed, who may be, what is left of jails, and who is shut out."""
