"""Faults of the account: shadow, shells, PAM, groups."""

from __future__ import annotations

from collections.abc import Iterator

from faults import EARLIER, JAIL, KEY, Jail, fault, login, write
from steps import mounted


@fault(r"expired", login)
def account_has_expired(good: Jail) -> None:
    good.sh("chage -E 0 alice")


@fault(r"password.*(change|chage)|chage -d", login)
def password_must_be_changed(good: Jail) -> None:
    good.sh("chage -d 0 alice")


@fault(r"password.*(old|age|expired|inactiv)", login)
def password_is_too_old(good: Jail) -> Iterator[None]:
    good.sh("chage -d 2020-01-01 -M 30 -I 5 alice")
    yield
    good.sh("chage -d $(date +%F) -M 99999 -I -1 alice")


@fault(r"/etc/shells", login)
def shell_is_none_of_pam_shells(good: Jail) -> Iterator[None]:
    good.sh(
        "cp /etc/pam.d/sshd /root/pam; cp /etc/shells /root/shells;"
        "sed -i '1a account required pam_shells.so' /etc/pam.d/sshd"
    )
    yield
    good.configure("")
    good.sh("cp /root/pam /etc/pam.d/sshd; cp /root/shells /etc/shells; sftpjail apply")


@fault(r"/etc/nologin", login)
def nologin(good: Jail) -> None:
    good.sh("echo 'back at noon' >/etc/nologin")


@fault(r"locked", login, mounts="fstab")  # PAM makes the others
def account_is_locked_without_pam(good: Jail) -> Iterator[None]:
    good.sshd("UsePAM no\n")
    good.sh("passwd -l alice")
    yield
    good.sh(f"rm -f {EARLIER}; usermod -p '!' alice")
    good.reload()


@fault(r"/home/alice.*(uid|owned|belongs|owner)", write)
def uid_was_changed_by_hand(good: Jail) -> Iterator[None]:
    good.sh("sed -i 's/^alice:x:[0-9]*:/alice:x:4711:/' /etc/passwd")
    good.sh(
        'sed -i \'s/"uid": .*[0-9]/"uid": 4711/\' /var/lib/sftpjail/accounts/alice'
    )  # it is the same person
    yield
    good.sh("chown -R alice: /srv/music")


@fault(r"sftponly|no profile's group", login, alone=True)
def group_was_deleted(good: Jail) -> None:
    good.sh("groupdel sftponly")


@fault(r"the group legacy has the gid of sftponly", login)
def another_group_has_the_gid(good: Jail) -> Iterator[None]:
    """As two files of groups are put together; sshd knows a gid by the name in its first line."""
    good.sh('sed -i "1i legacy:x:$(getent group sftponly | cut -d: -f3):" /etc/group')
    yield
    good.sh("sed -i /^legacy:/d /etc/group")


def cleared(good: Jail) -> str:
    """Nothing is left of the jail of somebody who is jailed no more."""
    left = mounted(good.machine, JAIL) or good.machine.exists("/etc/sftpjail/mounts/alice")
    return f"left: {left}" if left and "sftponly" not in good.sh("id -Gn alice").out else ""


@fault(r"jailed no more|left", cleared, explained=False)
def user_left_the_group(good: Jail) -> Iterator[None]:
    good.sh("gpasswd -d alice sftponly")
    yield
    good.sh("usermod -aG sftponly alice; sftpjail apply")
    good.sh(f"sftpjail key add alice {KEY}.pub")
    good.sh(
        "sftpjail mount alice /srv/web/example.com /web; sftpjail mount --read-only alice /srv/music '/My Music'"
    )


def one_profile(good: Jail) -> str:
    """An account has one profile, and no other that comes to nothing in silence."""
    groups = good.sh("id -Gn alice").out.split()
    return "alice is in two profiles" if {"sftponly", "dropbox"} <= set(groups) else ""


@fault(r"dropbox", one_profile)
def account_has_two_profiles(good: Jail) -> Iterator[None]:
    good.configure("[profiles]\n[[sftponly]]\n[[dropbox]]\nread_only = yes\n")
    good.sh("usermod -aG dropbox alice")
    yield
    good.sh("gpasswd -d alice dropbox || :")
    good.configure("")
    good.sh("groupdel dropbox || :")


def removed(good: Jail, name: str) -> str:
    """Nothing is left of an account that is gone."""
    places = f"/var/lib/sftpjail/accounts/{name} /etc/ssh/authorized_keys/{name} /etc/sftpjail/mounts/{name}"
    left = good.sh(f"ls -d {places} 2>/dev/null || :; grep -F user={name} /etc/fstab || :").out
    return f"left: {left}" if left else ""


@fault(r"bob.*left|left.*|no account", lambda good: removed(good, "bob"), explained=False)
def account_was_deleted_behind_our_back(good: Jail) -> None:
    good.sh("useradd -m -G sftponly bob")
    good.sh(f"sftpjail key add bob {KEY}.pub")
    good.sh(
        "mv /etc/shadow-maint /etc/away; userdel bob; mv /etc/away /etc/shadow-maint; rm -r --one-file-system /home/bob"
    )


def by_any_name(good: Jail) -> str:
    """She logs in under the name that she has now, and has what she had."""
    name = good.sh("id -un alicia 2>/dev/null || echo alice").out.strip()
    done = good.machine.sftp(name, KEY, ["ls /web/index.html", "put /etc/hostname x", "rm x"])
    return f"no login: {done.err}" if done.code else ""


@fault(r"alicia.*alice was renamed", by_any_name, explained=False, fixed=True)
def account_was_renamed(good: Jail) -> Iterator[None]:
    """What she had is not nobody's: no command that is printed may delete it."""
    good.sh("usermod -l alicia alice")
    yield
    good.sh("usermod -l alice alicia; sftpjail apply")


def forgotten(good: Jail) -> str:
    """Nothing is known of bob any more, whose files have found a place."""
    known = good.machine.exists("/var/lib/sftpjail/accounts/bob")
    return "what bob left is still to be decided" if known else ""


@fault(r"left files in /srv/sftp/bob", forgotten, explained=False)
def files_are_left_of_a_jail(good: Jail) -> Iterator[None]:
    good.configure("[profiles]\n[[sftponly]]\n[[dropbox]]\nhome = inside\n")
    good.sh("useradd -G dropbox bob; echo his >/srv/sftp/bob/files/letter; userdel bob")
    yield
    good.configure("")
    good.sh("groupdel dropbox || :; rm -rf --one-file-system /srv/sftp/.bob*")


@fault(r"authorized_keys/dave", lambda good: removed(good, "dave"), explained=False)
def key_file_has_no_account(good: Jail) -> None:
    good.sh(f"cp {KEY}.pub /etc/ssh/authorized_keys/dave")
