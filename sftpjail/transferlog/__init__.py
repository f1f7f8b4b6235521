"""`log`: from lines, by whatever keeps them, to sessions and transfers."""
