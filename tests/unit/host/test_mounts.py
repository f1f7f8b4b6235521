"""What the mount table says of binds whose disk was exchanged, or is away."""

from __future__ import annotations

import pytest
from fakes import Tree

from sftpjail.actions import Mount
from sftpjail.errors import SftpJailError

HOME, TARGET = "/home/ann", "/srv/sftp/ann/home/ann"


def table(tree: Tree, *points: str) -> None:
    """Mounts in their order, each given as `device root target type`."""
    tree.directory(HOME)
    tree.directory(TARGET)
    lines = ["21 1 8:1 / / rw - ext4 /dev/sda1 rw"]
    for number, point in enumerate(points, 30):
        device, root, target, kind = point.split()
        lines.append(f"{number} 21 {device} {root} {target} rw - {kind} none rw")
    tree.write("/proc/self/mountinfo", "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("points", "former", "left"),
    [
        # Another disk on /home, /home from the root to a disk, and home after home.
        ([f"8:2 /ann {TARGET} ext4", "8:3 / /home ext4"], True, ""),
        ([f"8:1 /home/ann {TARGET} ext4", "8:3 / /home ext4"], True, ""),
        ([f"8:2 / {TARGET} ext4", "8:3 / /home/ann ext4"], True, ""),
        ([f"0:8 /@home/ann {TARGET} btrfs", "0:9 /@home /home btrfs"], True, ""),
        # An administrator shows a copy: in its place, or over it.
        (["8:3 / /home ext4", f"8:2 /ann {TARGET} ext4"], False, ""),
        ([f"8:4 /ann {TARGET} ext4", f"8:2 /ann {TARGET} ext4", "8:3 / /home ext4"], False, ""),
        ([f"8:1 /home/ann {TARGET} ext4", f"8:2 /ann {TARGET} ext4"], False, ""),
        # A home that was made anew.
        ([f"8:1 /home/old//deleted {TARGET} ext4"], True, ""),
        # The disk is away, and what lies there now lies below its mount point.
        ([f"8:2 /ann {TARGET} ext4"], False, "/home"),
        ([f"8:2 / {TARGET} ext4"], False, "/home/ann"),
        # Somebody has mounted something else, or in memory alone, or below it.
        ([f"8:2 /bob {TARGET} ext4", "8:3 / /home ext4"], False, ""),
        ([f"8:1 /srv/other {TARGET} ext4"], False, ""),
        ([f"0:7 / {TARGET} tmpfs"], False, ""),
        ([f"0:8 /ann {TARGET} tmpfs", "0:7 / /home tmpfs"], False, ""),
        ([f"8:2 /ann {TARGET} ext4", f"8:4 / {TARGET}/x ext4", "8:3 / /home ext4"], False, ""),
        ([], False, ""),
    ],
)
def test_what_a_bind_shows_is_told_by_the_table(
    tree: Tree, points: list[str], former: bool, left: str
) -> None:
    table(tree, *points)
    tables = tree.host().mount_tables
    assert (tables.is_stale_mount(HOME, TARGET), tables.former_mount_point(HOME, TARGET)) == (
        former,
        left,
    )


def test_a_mount_on_demand_is_missed_only_with_its_files(tree: Tree) -> None:
    tree.fstab("/dev/sdb1 /mnt/usb ext4 noauto 0 0", "/dev/sdc1 /data ext4 nofail 0 0")
    tree.directory("/mnt/usb/there")
    tree.directory("/data/there")
    tree.link("/home/link", "/mnt/usb/gone")
    tables = tree.host().mount_tables
    assert tables.unmounted_ancestor("/mnt/usb/there") == "" and tables.unmounted_ancestor(
        "/data/there"
    )
    assert (
        tables.unmounted_ancestor("/mnt/usb/gone")
        == tables.unmounted_ancestor("/home/link")
        == "/mnt/usb"
    )


@pytest.mark.parametrize(
    "target", ["/data/", "//data", "/./data", "/data//", "/mnt/../data/.", "/link", "/link/"]
)
def test_a_target_of_fstab_is_one_place_however_it_is_written(tree: Tree, target: str) -> None:
    tree.fstab(f"/dev/sdc1 {target} ext4 defaults 0 2")
    tree.directory("/data/there")
    tree.directory("/mnt")
    tree.link("/link", "/data")
    away = "/link" if "link" in target else "/data"
    assert tree.host().mount_tables.unmounted_ancestor("/data/there") == away
    table(tree, "8:3 / /data ext4")
    assert tree.host().mount_tables.unmounted_ancestor("/data/there") == ""
    if "link" not in target:
        assert tree.host().mount_at(target)


def test_who_lies_on_a_mount_needs_none_above_it(tree: Tree) -> None:
    tree.fstab("/dev/sdc1 /srv ext4 nofail 0 0", "/dev/sdd1 /srv/data/deep/ ext4 nofail 0 0")
    tree.directory("/srv/data/deep/there")
    tables = tree.host().mount_tables
    assert tables.unmounted_ancestor("/srv/data/deep/there") == "/srv", (
        "the outer one is mounted first"
    )
    table(tree, "8:3 / /srv/data ext4")
    tables = tree.host().mount_tables
    assert (
        tables.unmounted_ancestor("/srv/data") == ""
        and tables.unmounted_ancestor("/srv/other") == "/srv"
    )
    assert tables.unmounted_ancestor("/srv/data/deep/there") == "/srv/data/deep"


def test_a_mount_that_went_meanwhile_is_mounted_again(tree: Tree) -> None:
    """The table is read once, paths are looked at later: that is no mount of something else."""
    table(tree, f"8:1 {HOME} {TARGET} ext4")
    host = tree.host()
    with pytest.raises(SftpJailError, match="something other than /home/ann is mounted"):
        Mount(HOME, TARGET).pending(host, "ann")
    table(tree)
    assert Mount(HOME, TARGET).pending(host, "ann")
