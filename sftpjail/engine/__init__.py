"""Facts to a plan, and the plan to a transaction."""
