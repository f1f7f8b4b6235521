"""Where things lie. `make install` rewrites the first two lines."""

from __future__ import annotations

BIN = "/usr/bin/sftpjail"
LIB = "/usr/lib/sftpjail"
USERADD_HOOK = "/etc/shadow-maint/useradd-post.d/sftpjail"
WAITER = f"{LIB}/entry/waiter"  # waits for adduser's end

STATE = "/var/lib/sftpjail"
ACCOUNTS = f"{STATE}/accounts"
ASIDE = f"{STATE}/aside."  # and a name; a directory for all would be in everybody's record
HOST_RECORD = f"{STATE}/host"
HISTORY = f"{STATE}/history"
DISKS = f"{STATE}/disks"  # which disks the directories of jails are on
SEEN = f"{STATE}/seen"  # when keys were last used: a cache, a file for each uid
COUNTED = f"{STATE}/metrics"  # how far the logs were counted, and the sums
QUARANTINE = f"{STATE}/quarantine"  # uploads that a hook script has refused
EVENTS = f"{STATE}/events"  # what `watch` has read, and what is put aside
TABLES = "/etc/sftpjail/mounts"
# Accounts that are jailed by a directory service's group; see plugins/pam.py.
GATE = "/etc/sftpjail/directory"
# Accounts that may come from some addresses only; see jails/addresses.py.
ADDRESSES = "/etc/sftpjail/addresses"
LIMITED = "/etc/sftpjail/limited"  # their names
# How many sessions an account, and each member of a profile, may have at once; see login_step.py.
CONNECTIONS = "/etc/sftpjail/connections"
MOST = "/etc/sftpjail/most"
KEEP = "/etc/sftpjail/keep"  # whom `review --disable` skips; see jails/keeping.py
# Which directories lose their old files, and when; see jails/retention.py.
RETENTION = "/etc/tmpfiles.d/sftpjail.conf"
QUOTAS = "/etc/sftpjail/quotas"  # how much accounts may store, and whether by themselves
WATCH = "sftpjail-watch.service"  # runs where the configuration names a user for events
RUN_DIR = "/run/sftpjail"
LOCK = f"{RUN_DIR}/lock"  # of every run that may change something
WATCHING = f"{RUN_DIR}/watch"  # the lock of `watch`, with its pid
KEYS_DIR = "/etc/ssh/authorized_keys"

FSTAB = "/etc/fstab"
LINGER = "/var/lib/systemd/linger"  # a file for each name: logind-user.c
