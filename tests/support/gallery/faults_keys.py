"""Faults of the key file: who may write it, whether sshd can read it as the user, and each line."""

from __future__ import annotations

from collections.abc import Iterator

from faults import EARLIER, KEY, Jail, fault, login

DIRECTORY = "/etc/ssh/authorized_keys"
FILE = f"{DIRECTORY}/alice"
# A second key than the one that alice has, so that a file has lines before and after the one that
# is broken.
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl other"


def only_root(good: Jail) -> str:
    """The user cannot change what lets the user in."""
    done = good.machine.run(
        "setpriv",
        "--reuid=alice",
        "--regid=alice",
        "--init-groups",
        "test",
        "-w",
        FILE,
        check=False,
    )
    return "alice can write her key file" if done.code == 0 else login(good)


@fault(r"/etc/ssh/authorized_keys/alice.*(uid|owned|belongs|changed by)", only_root)
def key_file_is_the_users(good: Jail) -> None:
    good.sh(f"chown alice {FILE}")


@fault(r"/etc/ssh/authorized_keys/alice.*(read|0600)", login)
def key_file_is_private(good: Jail) -> None:
    good.sh(f"chmod 600 {FILE}")


@fault(r"/etc/ssh/authorized_keys/alice.*(writ|changed by|0664)", login)
def key_file_is_group_writable(good: Jail) -> None:
    good.sh(f"chmod 664 {FILE}")


@fault(r"/etc/ssh/authorized_keys .*(writ|changed by|0777)", login, fixed=True)
def key_directory_is_writable_by_all(good: Jail) -> None:
    good.sh(f"chmod 777 {DIRECTORY}")


@fault(r"/etc/ssh/authorized_keys.*(0700|the mode of /etc/ssh/authorized_keys forbids)", login)
def key_directory_is_private(good: Jail) -> None:
    good.sh(f"chmod 700 {DIRECTORY}")


@fault(r"/etc/ssh .*(writ|0775)", login)
def etc_ssh_is_group_writable(good: Jail) -> None:
    good.sh("chmod g+w /etc/ssh")


@fault(r"0700|the mode of /etc/ssh forbids", login)
def etc_ssh_is_private(good: Jail) -> None:
    good.sh("chmod 700 /etc/ssh")


@fault(r"lines? 2.* of /etc/ssh/authorized_keys/alice", login)
def key_is_wrapped(good: Jail) -> Iterator[None]:
    """A mail program broke the line of her only key, in the middle of the file."""
    key = good.machine.read(FILE)
    good.machine.write(FILE, f"# from her mail\n{key[:60]}\n{key[60:]}{OTHER}\n")
    yield
    good.machine.write(FILE, key)


@fault(r"lines? 1.* of /etc/ssh/authorized_keys/alice", login)
def key_is_wrapped_twice(good: Jail) -> Iterator[None]:
    key = good.machine.read(FILE)
    good.machine.write(FILE, f"{key[:30]}\r\n{key[30:60]}\r\n{key[60:]}")
    yield
    good.machine.write(FILE, key)


@fault(r"authorized_keys/alice.*UTF-16", login)
def key_file_is_utf_16(good: Jail) -> Iterator[None]:
    """As Notepad saves "Unicode"."""
    good.sh(f"cp {FILE} /root/aside; iconv -f utf-8 -t utf-16 /root/aside >{FILE}")
    yield
    good.sh(f"cat /root/aside >{FILE}")


@fault(r"(option|line 1).*authorized_keys/alice|authorized_keys/alice.*(option|line 1)", login)
def key_option_is_misspelt(good: Jail) -> Iterator[None]:
    good.sh(f"cp {FILE} /root/aside; sed -i 's/^/no-forwarding /' {FILE}")
    yield
    good.sh(f"cat /root/aside >{FILE}")


@fault(r"authorized_keys/alice.*(byte order|BOM)", login)
def key_file_begins_with_a_byte_order_mark(good: Jail) -> None:
    good.sh(f"sed -i '1s/^/\\xef\\xbb\\xbf/' {FILE}")


def _keep(good: Jail) -> None:
    """Puts her keys aside, hers and the host's: the fix needs a new one."""
    good.sh(f"mkdir -p /root/kept; cp -p {KEY} {KEY}.pub /root/kept; cp {FILE} /root/kept/lines")


def _back(good: Jail) -> None:
    good.sh(f"cp -p /root/kept/alice /root/kept/alice.pub /root/keys; cat /root/kept/lines >{FILE}")


@fault(r"expir", login, new_key=True)
def key_has_expired(good: Jail) -> Iterator[None]:
    _keep(good)
    good.sh(f"""sed -i 's/^/expiry-time="20200101" /' {FILE}""")
    yield
    _back(good)


@fault(r"authorized_keys/alice.*(empty|no key|holds no)|no key.*authorized_keys/alice", login)
def key_file_is_empty(good: Jail) -> None:
    good.sh(f": >{FILE}")


@fault(r"no key|authorized_keys/alice.*(missing|not there|not exist)", login)
def key_file_is_missing(good: Jail) -> None:
    good.sh(f"rm {FILE}")


@fault(r"authorized_keys/alice.*(directory|regular|file)", login)
def key_file_is_a_directory(good: Jail) -> Iterator[None]:
    good.sh(f"mv {FILE} /root/aside; mkdir {FILE}; cp /root/aside {FILE}/key")
    yield
    good.sh(
        f"[ ! -d {FILE} ] || mv {FILE} /root/old; rm -rf {FILE}.old {FILE}; cp /root/aside {FILE}"
    )


@fault(r"authorized_keys/alice.*(private|RFC|PuTTY|line 1|format)|line 1", login)
def key_file_has_puttys_format(good: Jail) -> Iterator[None]:
    good.sh(f"cp {FILE} /root/aside; ssh-keygen -e -f {KEY}.pub >{FILE}")
    yield
    good.sh(f"cat /root/aside >{FILE}")


@fault(r"PubkeyAcceptedAlgorithms|ssh-ed25519.*accept|type", login)
def key_type_is_not_accepted(good: Jail) -> Iterator[None]:
    good.sshd("PubkeyAcceptedAlgorithms rsa-sha2-512\n")
    yield
    good.sh(f"rm -f {EARLIER}")
    good.configure("")
    good.reload()


@fault(r"revoked", login, new_key=True)
def key_is_revoked(good: Jail) -> Iterator[None]:
    _keep(good)
    good.sh(f"echo '# lost laptops' >/etc/ssh/revoked; cat {KEY}.pub >>/etc/ssh/revoked")
    good.sshd("RevokedKeys /etc/ssh/revoked\n")
    yield
    _back(good)
    good.sh(f"rm -f {EARLIER} /etc/ssh/revoked")
    good.reload()


@fault(r"RevokedKeys|/etc/ssh/revoked.*(missing|not there|not exist|read)", login)
def revocation_list_is_missing(good: Jail) -> Iterator[None]:
    good.sshd("RevokedKeys /etc/ssh/revoked\n")
    yield
    good.sh(f"rm -f {EARLIER} /etc/ssh/revoked")
    good.reload()


def _revocation_list(good: Jail, making: str) -> Iterator[None]:
    good.sh(f"rm -rf /etc/ssh/revoked; {making}")
    good.sshd("RevokedKeys /etc/ssh/revoked\n")
    yield
    good.sh(f"rm -rf {EARLIER} /etc/ssh/revoked")
    good.reload()


@fault(r"line 2 of /etc/ssh/revoked.* no key", login)
def revocation_list_has_a_bad_line(good: Jail) -> Iterator[None]:
    """sshd reads no further, and takes every key for a revoked one."""
    yield from _revocation_list(good, "printf '# gone\\nthe laptop of bob\\n' >/etc/ssh/revoked")


@fault(r"/etc/ssh/revoked.*damaged", login, curable=False)
def revocation_list_is_cut_off(good: Jail) -> Iterator[None]:
    """Which keys were in it nobody knows but who has a backup."""
    lost = "ssh-keygen -q -t ed25519 -N '' -f /root/lost; ssh-keygen -k -f /etc/ssh/revoked /root/lost.pub"
    yield from _revocation_list(good, f"{lost}; truncate -s 40 /etc/ssh/revoked; rm /root/lost*")
