"""What OpenSSH and PAM say and decide, and what is written for them."""
