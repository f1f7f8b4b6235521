"""OpenSSH and PAM: their settings and decisions, and the configuration that we write for them."""
