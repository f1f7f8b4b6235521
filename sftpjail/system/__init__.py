"""The code that changes the host: files, mounts, accounts, services and processes."""
