"""Reports: who can get in (`review`), and figures for monitoring (`metrics`, Nagios)."""
