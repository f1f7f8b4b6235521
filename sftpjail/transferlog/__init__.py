"""The log of sessions and transfers: finding it, reading its lines, and understanding them."""
