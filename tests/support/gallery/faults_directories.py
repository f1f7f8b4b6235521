"""Faults of the chroot's directories and of the home."""

from __future__ import annotations

from collections.abc import Iterator

from faults import JAIL, Jail, fault, login, write


@fault(r"/srv/sftp/alice .*(uid|owned|belongs)", login, fixed=True)
def chroot_is_the_users(good: Jail) -> None:
    good.sh(f"chown alice {JAIL}")


@fault(r"/srv/sftp/alice .*(writ|0775)", login, fixed=True)
def chroot_is_group_writable(good: Jail) -> None:
    good.sh(f"chmod 775 {JAIL}")


@fault(r"alice may not enter /srv/sftp/alice ", write)
def chroot_is_roots_alone(good: Jail) -> Iterator[None]:
    good.sh(f"chmod 700 {JAIL}")
    yield
    good.sh(f"chmod 755 {JAIL}")


@fault(r"alice may not enter /srv/sftp/alice/home ", write)
def directory_above_the_home_is_roots_alone(good: Jail) -> None:
    good.sh(f"chmod 700 {JAIL}/home")


@fault(r"/srv .*writ", login)
def srv_is_group_writable(good: Jail) -> None:
    good.sh("chmod g+w /srv")


@fault(r"/srv .*(ACL|access list|nobody)", login)
def srv_has_an_acl(good: Jail) -> Iterator[None]:
    good.sh("setfacl -m u:nobody:rwx /srv")
    yield
    good.sh("setfacl -b /srv")


@fault(r"/srv/sftp .*(uid|owned|belongs)", login, fixed=True)
def base_is_somebody_elses(good: Jail) -> None:
    good.sh("chown games /srv/sftp")


@fault(r"/srv/sftp/alice .*not a directory", login)
def chroot_is_a_file(good: Jail) -> Iterator[None]:
    good.unmounted()
    good.sh(f"rm -r --one-file-system {JAIL}; echo oops >{JAIL}")
    yield
    good.sh(f"rm -f {JAIL}.*")


@fault(r"/srv/sftp/alice.* (missing|not there|not exist|gone)", login, fixed=True)
def chroot_is_missing(good: Jail) -> None:
    good.unmounted()
    good.sh(f"rm -r --one-file-system {JAIL}")


@fault(r"/ .*writ.*0777|/ .*0777.*writ", login)
def root_is_writable(good: Jail) -> None:
    good.sh("chmod 777 /")


@fault(r"/home/alice .*(missing|not there|not exist|gone)", write)
def home_is_missing(good: Jail) -> None:
    good.sh(f"umount {JAIL}/home/alice; rm -r --one-file-system /home/alice")


@fault(r"/home/alice.* (deleted|anew|another|other|not the)", write)
def home_was_made_anew(good: Jail) -> None:
    good.sh("mv /home/alice /home/x; cp -a /home/x /home/alice; rm -r /home/x")


@fault(r"/home/alice .*(uid|owned|belongs|games|owner 5)", write)
def home_is_somebody_elses(good: Jail) -> None:
    good.sh("chown games /home/alice; chmod 755 /home/alice")


@fault(r"/home/alice .*(writ|0500)", write)
def home_is_not_writable(good: Jail) -> None:
    good.sh("chmod 500 /home/alice")


@fault(r"/home/alice .*(immutable|chattr)", write)
def home_is_immutable(good: Jail) -> None:
    good.sh("chattr +i /home/alice")


def _own_file_system(good: Jail, options: str) -> None:
    """The home of alice becomes a small file system of its own."""
    good.sh(
        f"umount {JAIL}/home/alice; mount -t tmpfs -o size=64k,mode=700,{options} none /home/alice"
    )
    good.sh("chown alice: /home/alice; sftpjail apply")


def _no_file_system(good: Jail) -> None:
    good.sh(f"umount {JAIL}/home/alice; umount /home/alice; sftpjail apply")


@fault(r"(/home/alice|home).*(full|space)", write, curable=False)
def home_is_full(good: Jail) -> Iterator[None]:
    _own_file_system(good, "nr_inodes=64")
    good.sh(
        "dd if=/dev/zero of=/home/alice/filler bs=4k 2>/dev/null || :; chown alice: /home/alice/filler"
    )
    yield
    _no_file_system(good)


@fault(r"/home/alice.* read-only", write)
def home_is_on_a_read_only_file_system(good: Jail) -> Iterator[None]:
    _own_file_system(good, "nr_inodes=64")
    good.sh("mount -o remount,ro /home/alice")
    yield
    _no_file_system(good)


@fault(r"/srv/data/alice", write, fixed=True)
def home_was_changed_in_passwd(good: Jail) -> Iterator[None]:
    good.sh("install -d -o alice -m 700 /srv/data/alice; usermod -d /srv/data/alice alice")
    yield
    good.sh("usermod -d /home/alice alice; sftpjail apply")
