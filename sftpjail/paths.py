"""Where things lie. `make install` rewrites the first two lines."""

from __future__ import annotations

BIN = "/usr/bin/sftpjail"
LIB = "/usr/lib/sftpjail"
WAITER = f"{LIB}/entry/waiter"  # waits for adduser's end

STATE = "/var/lib/sftpjail"
ACCOUNTS = f"{STATE}/accounts"
ASIDE = f"{STATE}/aside."  # and a name; a directory for all would be in everybody's record
HOST_RECORD = f"{STATE}/host"
HISTORY = f"{STATE}/history"
TABLES = "/etc/sftpjail/mounts"
RUN_DIR = "/run/sftpjail"
KEYS_DIR = "/etc/ssh/authorized_keys"

FSTAB = "/etc/fstab"
LINGER = "/var/lib/systemd/linger"  # a file for each name: logind-user.c
