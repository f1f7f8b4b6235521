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


def private(good: Jail) -> str:
    """The home can be written, and has the mode that login.defs(5) wants for a new one."""
    mode = good.sh("awk '$1 == \"HOME_MODE\" { print $2 }' /etc/login.defs").out.strip()
    strange = mode and not mode.endswith(_mode(good))
    return write(good) or (f"mode {_mode(good)}, not {mode}" if strange else "")


def _mode(good: Jail) -> str:
    return good.sh("stat -c %a /home/alice 2>/dev/null || :").out.strip()


@fault(r"/home/alice .*(missing|not there|not exist|gone)", private)
def home_is_missing(good: Jail) -> None:
    good.umount("home/alice")
    good.sh("rm -r --one-file-system /home/alice")


@fault(r"/home/alice.* (deleted|anew|another|other|not the)", write, mounts="fstab", fixed=True)
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
    good.umount("home/alice")
    good.sh(f"mount -t tmpfs -o size=64k,mode=700,{options} none /home/alice")
    good.sh("chown alice: /home/alice; sftpjail apply")


def _no_file_system(good: Jail) -> None:
    good.umount("home/alice")
    good.sh("umount /home/alice; sftpjail apply")


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


def on_its_disk(good: Jail) -> str:
    """An upload is on the disk that the home is to be on, where it is to be on one."""
    if not good.machine.exists("/srv/data/alice"):
        return write(good)
    done = good.sftp("put /etc/hostname landed")
    found = good.machine.exists("/srv/data/alice/landed")
    good.sh("rm -f /srv/data/alice/landed /home/alice/landed")
    return "" if found and done.code == 0 else f"the upload is elsewhere: {done.err}"


@fault(r"/home/alice is in fstab and not mounted", on_its_disk)
def home_has_lost_its_disk(good: Jail) -> Iterator[None]:
    """The mount point belongs to root, and what is uploaded to it would vanish under the disk."""
    good.umount("home/alice")
    good.sh("mkdir -p /srv/data; cp -a /home/alice /srv/data/alice")
    good.sh("cp /etc/fstab /root/fstab; chown root /home/alice")
    good.machine.append("/etc/fstab", "/srv/data/alice /home/alice none bind 0 0\n")
    yield
    good.umount("home/alice")
    good.sh("umount /home/alice; rm -r /srv/data/alice")
    good.sh("cat /root/fstab >/etc/fstab; chown alice /home/alice; sftpjail apply")


@fault(r"/home is in fstab and not mounted", write)
def all_homes_have_lost_their_disk(good: Jail) -> Iterator[None]:
    """Below the mount point there is nothing, and nothing is to be made there."""
    good.umount("home/alice")
    good.sh("cp /etc/fstab /root/fstab; mkdir -p /srv/data")
    good.sh("mv /home/* /srv/data")
    good.machine.append("/etc/fstab", "/srv/data /home none bind 0 0\n")
    yield
    good.sh("umount /home; mv /srv/data/* /home; rmdir /srv/data; cat /root/fstab >/etc/fstab")
    good.sh("sftpjail apply")


@fault(r"/home/alice.* other", on_its_disk, mounts="fstab", fixed=True)
def home_was_moved_to_another_disk(good: Jail) -> Iterator[None]:
    good.sh("mkdir -p /srv/data/alice; mount -t tmpfs -o mode=755 none /srv/data")
    good.sh("cp -a /home/alice /srv/data; mount --bind /srv/data/alice /home/alice")
    yield
    good.umount("home/alice")
    good.sh("umount /home/alice /srv/data")
    good.sh("rm -r /srv/data; rm -f /home/alice/landed; sftpjail apply")


@fault(r"cannot write in /web", write)
def start_belongs_to_others(good: Jail) -> Iterator[None]:
    """Where sessions start is a directory of the host, which keeps its owner."""
    good.configure("[profiles]\n[[sftponly]]\nstart = /web\n")
    good.sh("chown root /srv/web/example.com; chmod 755 /srv/web/example.com")
    yield
    good.sh("setfacl -b /srv/web/example.com; rmdir /srv/sftp/nina/web")
    good.configure("")


@fault(r"/srv/data/alice", write, fixed=True)
def home_was_changed_in_passwd(good: Jail) -> Iterator[None]:
    good.sh("install -d -o alice -m 700 /srv/data/alice; usermod -d /srv/data/alice alice")
    yield
    good.sh("usermod -d /home/alice alice; sftpjail apply")
