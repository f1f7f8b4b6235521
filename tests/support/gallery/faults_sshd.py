"""Faults of sshd's configuration: what an earlier line says wins, and what is written must also be loaded."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from faults import EARLIER, KEY, Jail, fault, forward, login
from steps import CONFIG, settings

SSHD = "/etc/ssh/sshd_config"
DROPIN = "/etc/ssh/sshd_config.d/10-sftpjail.conf"


@fault(r"DenyUsers", login)
def deny_users(good: Jail) -> None:
    good.sshd("DenyUsers mallory alice\n")


@fault(r"DenyUsers \*", login, curable=False)
def deny_everybody(good: Jail) -> Iterator[None]:
    """The host is closed, perhaps for a reason: whether it opens again is said by a person."""
    good.sshd("DenyUsers *\n")
    yield
    good.sh(f"rm {EARLIER}")
    good.reload()


@fault(r"AllowUsers", login)
def allow_users(good: Jail) -> None:
    good.sshd("AllowUsers root\n")


@fault(r"DenyUsers", login)
def deny_users_in_odd_writing(good: Jail) -> None:
    good.sshd('# DenyUsers alice\n\tdenyusers="mal*"\t "alice"   # left in May\nDenyUsers eve\n')


@fault(r"AllowUsers", login)
def allow_users_on_two_lines(good: Jail) -> None:
    good.sshd("AllowUsers root\nClientAliveInterval 60\nAllowUsers bob carol\n")


@fault(r"DenyUsers", login)
def deny_users_in_a_nested_file(good: Jail) -> Iterator[None]:
    good.machine.write("/etc/ssh/closed.conf", "# gone\nDenyUsers alice\n")
    good.sshd("Include /etc/ssh/closed.conf\n")
    yield
    good.sh(f"rm {EARLIER} /etc/ssh/closed.conf")
    good.reload()


@fault(r"AllowGroups", login)
def allow_groups(good: Jail) -> None:
    good.sshd("AllowGroups admins\n")


@fault(r"DenyGroups", login)
def deny_groups(good: Jail) -> None:
    good.sshd("DenyGroups sftponly\n")


def _as_before(good: Jail) -> None:
    """What the whole host has stays as it was, so that the fault is taken away here."""
    good.sh(f"rm -f {EARLIER}")
    good.configure("")
    good.reload()


@fault(r"PubkeyAuthentication", login)
def no_keys_at_all(good: Jail) -> Iterator[None]:
    good.sshd("PubkeyAuthentication no\n")
    yield
    _as_before(good)


@fault(r"AuthenticationMethods", login)
def only_passwords(good: Jail) -> Iterator[None]:
    good.sshd("AuthenticationMethods password\n")
    yield
    _as_before(good)


@fault(r"MaxSessions", login)
def no_sessions(good: Jail) -> Iterator[None]:
    good.sshd("MaxSessions 0\n")
    yield
    _as_before(good)


@fault(r"ForceCommand|ChrootDirectory", login)
def shadowed_by_match_user(good: Jail) -> None:
    good.sshd("Match User alice\n    ForceCommand none\n    ChrootDirectory none\n")


@fault(r"AllowTcpForwarding|DisableForwarding", forward)
def shadowed_by_match_group(good: Jail) -> None:
    good.sshd("Match Group sftponly\n    AllowTcpForwarding yes\n    DisableForwarding no\n")


@fault(r"AuthorizedKeysFile", login)
def shadowed_key_file(good: Jail) -> None:
    good.sshd("Match User alice\n    AuthorizedKeysFile .ssh/authorized_keys\n")


@fault(r"ChrootDirectory", login)
def shadowed_chroot(good: Jail) -> None:
    good.sshd("Match Group sftponly\n    ChrootDirectory /srv/nowhere\n")


def terminal(good: Jail) -> str:
    """No terminal is given."""
    done = good.machine.ssh("alice", KEY, "-tt", "-oLogLevel=INFO")
    return "" if "PTY allocation request failed" in done.err + done.out else f"a terminal: {done}"


@fault(r"PermitTTY", terminal)
def shadowed_by_match_all(good: Jail) -> Iterator[None]:
    good.sshd("Match all\n    PermitTTY yes\n")
    yield
    good.sh(f"rm {EARLIER}")
    good.reload()


@fault(r"has not read", login, fixed=True)
def drop_in_was_restored(good: Jail) -> None:
    """As old as it was, as tar(1) and `cp -a` restore it."""
    good.sh(f"touch -d 2001-01-01 {DROPIN}; cp -a {DROPIN} /root/saved; rm {DROPIN}")
    good.reload()
    good.sh(f"cp -a /root/saved {DROPIN}")


@fault(r"sshd", login, fixed=True)
def drop_in_was_deleted(good: Jail) -> None:
    good.sh(f"rm {DROPIN}")
    good.reload()


@fault(r"DisableForwarding|AllowTcpForwarding|10-sftpjail.conf|changes", forward, fixed=True)
def drop_in_was_opened(good: Jail) -> None:
    good.sh(
        f"sed -i 's/DisableForwarding yes/DisableForwarding no/; s/TcpForwarding no/TcpForwarding yes/' {DROPIN}"
    )
    good.reload()


def denied(good: Jail) -> str:
    """What the profile denies is refused."""
    if "deny" not in good.machine.read(CONFIG):
        return login(good)
    done = good.sftp("put /etc/hostname kept", "rm kept")
    good.sh("rm -f /home/alice/kept")
    return "" if done.code and "ermission" in done.err + done.out else f"rm works: {done}"


@fault(r"ForceCommand|10-sftpjail.conf", denied, fixed=True)
def force_command_has_a_tenth_word(good: Jail) -> Iterator[None]:
    good.configure("[profiles]\n[[sftponly]]\numask = 027\ndeny = remove, rmdir\n")
    words = "-f AUTH -l VERBOSE -u 027 -d /home/alice -P remove,rmdir"
    good.sh(f"sed -i 's|ForceCommand .*|ForceCommand internal-sftp {words}|' {DROPIN}")
    good.reload()
    yield
    good.configure("")


@fault(r"sshd|Include", login, fixed=True)
def include_was_removed(good: Jail) -> Iterator[None]:
    good.sh(
        f"cp {SSHD} /root/sshd_config; sed -i '/^Include/d' {SSHD}; echo 'Port {good.machine.port}' >>{SSHD}"
    )
    good.reload()
    yield
    good.sh(f"cp /root/sshd_config {SSHD}; sftpjail setup")


@fault(r"[Ss]ubsystem", login, fixed=True)
def subsystem_was_removed(good: Jail) -> Iterator[None]:
    good.sh(f"cp {SSHD} /root/sshd_config; sed -i '/^Subsystem/d' {SSHD}")
    good.reload()
    yield
    good.sh(f"cp /root/sshd_config {SSHD}; sed -i /^Subsystem/d {DROPIN}; sftpjail setup")
    good.reload()


def sound(good: Jail) -> str:
    """sshd would start again."""
    done = good.machine.run("/usr/sbin/sshd", "-t", check=False)
    return f"sshd -t: {done.err}" if done.code else login(good)


@fault(r"Nonsense", sound)
def sshd_config_is_broken(good: Jail) -> Iterator[None]:
    good.sh(f"cp {SSHD} /root/sshd_config; sed -i '3a Nonsense yes' {SSHD}")
    yield
    good.sh(f"cp /root/sshd_config {SSHD}")
    good.reload()


@fault(r"10-sftpjail.conf.*Nonsense|Nonsense.*10-sftpjail.conf", sound, fixed=True)
def drop_in_is_damaged(good: Jail) -> None:
    """What is ours is written anew, whatever is in it."""
    good.sh(f"echo 'Nonsense yes' >>{DROPIN}; printf '\\001' >>{DROPIN}")


@fault(r"AllowTcpForwarding|DisableForwarding", forward)
def shadowed_for_everybody(good: Jail) -> Iterator[None]:
    """The line stays in force for all others: those who are not jailed forward ports."""
    good.sshd(
        "Match Address * # the office\n    AllowTcpForwarding yes\n    DisableForwarding no\n"
    )
    yield
    good.sh(f"rm {EARLIER}")
    good.reload()


@fault(r"ssh_host_", sound)
def host_keys_are_readable_by_all(good: Jail) -> Iterator[None]:
    """sshd goes on, but would not start again."""
    good.sh("chmod 644 /etc/ssh/ssh_host_*_key")
    yield
    good.sh("chmod 600 /etc/ssh/ssh_host_*_key")


@fault(r"reload|has not read", login)
def sshd_was_not_reloaded(good: Jail) -> None:
    good.sshd("DenyUsers alice\n")
    good.sh(f"sleep 0.01; rm {EARLIER}")
    assert "denyusers" not in settings(good.machine, "alice")


@fault(r"sshd.*(not running|does not run|stopped|no sshd)", login, booted=True)
def sshd_is_stopped(good: Jail) -> None:
    good.sh("systemctl stop ssh.socket ssh.service 2>&1")


@fault(r"sshd.*(not running|does not run|stopped|no sshd)", login)
def sshd_was_killed(good: Jail) -> None:
    good.machine.stop_sshd()


def not_bobs(good: Jail) -> str:
    """Nobody but root can change by what sshd jails."""
    done = good.machine.run(
        *("setpriv", "--reuid=65534", "--clear-groups", "--"),
        *("test", "-w", SSHD, "-o", "-w", posixpath.dirname(DROPIN)),
        check=False,
    )
    return "others can write there" if done.code == 0 else login(good)


@fault(r"/etc/ssh/sshd_config can be changed by others", not_bobs)
def sshd_config_is_writable_by_all(good: Jail) -> None:
    good.sh(f"chmod 666 {SSHD}")
    good.reload()


@fault(r"/etc/ssh/sshd_config.d can be changed by others", not_bobs)
def directory_of_drop_ins_is_writable_by_all(good: Jail) -> None:
    """And sshd has not been told since."""
    good.sh("chmod 777 /etc/ssh/sshd_config.d")
