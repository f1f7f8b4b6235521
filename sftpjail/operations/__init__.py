"""What the commands do, whoever asks for it: events, plans, and what is wrong."""
