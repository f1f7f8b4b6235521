"""From facts to a plan, and from the plan to a transaction."""
