"""Which accounts are jailed or may be, what jails leave behind, and which accounts are shut out."""
