"""Events: what happens in jails is handed to hooks and scripts, each at least once."""
