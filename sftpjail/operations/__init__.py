"""The work of the commands, without their output: events, plans and diagnosis."""
