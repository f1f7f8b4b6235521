"""Faults of the mounts, live and in fstab."""

from __future__ import annotations

from collections.abc import Iterator

from faults import JAIL, SITE, Jail, boot, fault, login, read, read_only, write
from steps import fstab, web


@fault(r"/home/alice.* not mounted", write, fixed=True, mounts="fstab")
def home_is_not_mounted(good: Jail) -> None:
    good.sh(f"umount {JAIL}/home/alice")


@fault(r"My Music.*(\bro\b|read-only)", read_only, fixed=True, mounts="fstab")
def mount_lost_its_ro(good: Jail) -> None:
    good.sh(f"mount -o remount,bind,rw,nosuid,nodev '{JAIL}/My Music'")


def setuid(good: Jail) -> str:
    """A program in a mounted directory gives nobody another user's rights."""
    good.sh(f"install -m 4755 /usr/bin/id {SITE}/id")
    done = good.machine.run(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"{JAIL}/web/id", "-u"
    )
    return "setuid works in the mount" if done.out.strip() == "0" else ""


@fault(r"/web.*nosuid", setuid, fixed=True, mounts="fstab")
def mount_lost_its_nosuid(good: Jail) -> None:
    good.sh(f"mount -o remount,bind,suid,dev {JAIL}/web")


@fault(r"/web.*(deleted|anew|another|other|not the)", read, mounts="fstab", fixed=True)
def source_was_made_anew(good: Jail) -> None:
    good.sh(f"cp -a {SITE} /srv/web/new; rm -r {SITE}; mv /srv/web/new {SITE}")


def stale(good: Jail) -> str:
    """/web does not show a directory that was deleted, nor keeps the session from opening."""
    found = good.sh(f"grep -F ' {JAIL}/web ' /proc/self/mountinfo | grep -F //deleted", check=False)
    return f"stale: {found.out}" if found.code == 0 else login(good)


@fault(r"/srv/web/example.com.*(missing|not there|not exist|gone|deleted)", stale)
def source_was_deleted(good: Jail) -> Iterator[None]:
    good.sh(f"rm -r {SITE}")
    yield
    web(good.machine, SITE)  # whether it was made again, or taken out of the jail
    good.sh(f"sftpjail umount alice /web || :; sftpjail mount alice {SITE} /web")


def read_below(good: Jail) -> str:
    """What is mounted below a mounted directory is in the jail too."""
    if not good.machine.exists(f"{SITE}/disk"):
        return read(good)
    done = good.sftp("get /web/disk/file /tmp/got")
    return f"no download: {done.err}" if done.code else ""


@fault(r"/web/disk does not show", read_below)
def source_has_a_disk_below_it(good: Jail) -> Iterator[None]:
    good.sh(
        f"mkdir {SITE}/disk; mount -t tmpfs -o mode=755 none {SITE}/disk; echo >{SITE}/disk/file"
    )
    yield
    good.sh(f"sftpjail umount alice /web/disk; umount {SITE}/disk; rmdir {SITE}/disk")


@fault(r"/web.*(/srv/other|another|other|something else)", read, mounts="fstab")
def wrong_directory_is_mounted(good: Jail) -> None:
    good.sh(
        f"mkdir -p /srv/other; umount {JAIL}/web; mount --bind -o nosuid,nodev /srv/other {JAIL}/web"
    )


@fault(r"/home/alice.*(second|over|top|cover|another|other|not the)", write, mounts="fstab")
def home_is_covered(good: Jail) -> None:
    good.sh(f"mount -t tmpfs -o mode=755 none {JAIL}/home/alice")


@fault(r"mounted on the jail /srv/sftp/alice", write)
def jail_is_covered(good: Jail) -> None:
    good.sh(f"mount -t tmpfs -o mode=755 none {JAIL}")


# -- fstab ---------------------------------------------------------------------------------------


@fault(r"fstab", boot, fixed=True, mounts="fstab")
def fstab_lost_the_home(good: Jail) -> None:
    good.sh("sed -i '/role=home/d' /etc/fstab")


@fault(r"fstab|home/alcie", boot, fixed=True, mounts="fstab")
def fstab_has_the_home_misspelt(good: Jail) -> None:
    good.sh(f"sed -i 's|{JAIL}/home/alice|{JAIL}/home/alcie|' /etc/fstab")


@fault(r"/srv/sftp/alcie/web", boot, mounts="fstab")
def fstab_has_a_target_misspelt(good: Jail) -> Iterator[None]:
    good.sh(f"sed -i 's|{JAIL}/web|/srv/sftp/alcie/web|' /etc/fstab")
    yield
    good.sh(
        f"sed -i '/alcie/d' /etc/fstab; umount -q {JAIL}/web || :; rm -rf --one-file-system /srv/sftp/alcie"
    )
    good.sh(f"sftpjail mount alice {SITE} /web")


@fault(r"nofail|fstab", boot, fixed=True, mounts="fstab")
def fstab_lost_nofail(good: Jail) -> None:
    good.sh(f"sed -i '\\|{JAIL}/web|s/,nofail//' /etc/fstab")


def nobodys(good: Jail) -> str:
    """The mount of the home is known as alice's, and thus goes with her."""
    return (
        ""
        if any("role=home" in line for line in fstab(good.machine, "alice"))
        else "the home's line is nobody's"
    )


@fault(r"fstab|x-sftpjail.user", nobodys, fixed=True, mounts="fstab")
def fstab_lost_the_owner_of_a_line(good: Jail) -> None:
    good.sh("sed -i '/role=home/s/,x-sftpjail.user=alice,x-sftpjail.role=home//' /etc/fstab")


def verified(good: Jail) -> str:
    """fstab is one that mount(8) understands whole."""
    done = good.machine.run("findmnt", "--verify", check=False)
    return f"findmnt --verify: {done.out}" if done.code else ""


@fault(r"fstab.*(line|parse)|(line|parse).*fstab", verified, explained=False, mounts="fstab")
def fstab_has_a_broken_line(good: Jail) -> Iterator[None]:
    good.sh("sed -i '1a /srv/web/example.com' /etc/fstab")
    yield
    good.sh("sed -i '/^#* *.srv.web.example.com$/d' /etc/fstab")


@fault(r"fstab.*(line|parse)|(line|parse).*fstab", verified, explained=False, mounts="fstab")
def fstab_has_two_broken_lines(good: Jail) -> Iterator[None]:
    """The first command has apply write the file anew; the second must find its line all the same."""
    good.sh(
        "sed -i '/role=home.*alice/d; /role=log/d; 1i /srv/one' /etc/fstab; echo /srv/two >>/etc/fstab"
    )
    yield
    good.sh("sed -i '/srv.one$/d; /srv.two$/d' /etc/fstab")


@fault(
    r"x-sftpjail.user=carol|carol",
    lambda good: "" if not fstab(good.machine, "carol") else "carol's line",
    explained=False,
    mounts="fstab",
)
def fstab_has_a_line_without_account(good: Jail) -> None:
    good.machine.append(
        "/etc/fstab",
        "/srv/music /srv/sftp/carol/music none bind,nosuid,nodev,private,nofail,x-sftpjail.user=carol 0 0\n",
    )


@fault(r"/srv/sftp/alice.*(missing|not there|not exist|gone|mount)", login, fixed=True)
def everything_unmounted_and_removed(good: Jail) -> None:
    good.unmounted()
    if good.kind == "fstab":
        good.sh("umount -R /srv/sftp/nina/dev /srv/sftp/nina/home/nina")
    good.sh("rm -r --one-file-system /srv/sftp")
