"""Random walks through configurations, commands and renames: whatever was done, nothing is left to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import Programs, Tree
from fakesshd import installed
from hypothesis import given, settings
from hypothesis import strategies as st
from played import Stage, keygen
from walk import STEPS, Left, Walk

from sftpjail.host.mounts import MountTables
from sftpjail.system.programs import Answer

ALL = bool(os.environ.get("SFTPJAIL_ALL"))
WALKS, LENGTH = (140, 16) if ALL else (4, 12)
STEP = st.one_of(
    *(st.tuples(st.just(name), st.sampled_from(values)) for name, values in STEPS.items())
)

MakeWalk = Callable[[], Walk]


@pytest.fixture
def walks(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> MakeWalk:
    """Begins walks, each on a host of its own."""
    count = iter(range(100_000))
    for name in ("SUDO_USER", "DOAS_USER"):
        monkeypatch.delenv(name, raising=False)

    def begin() -> Walk:
        directory = tmp_path / str(next(count))
        directory.mkdir()
        tree = Tree(directory)
        programs.plans.clear()
        installed(tree, programs)
        programs.answer_by("ssh-keygen", keygen)
        programs.answer_by("prove-login", lambda argv, _: Answer(0, "who: ok\n", ""))
        tree.directory("/etc/security")
        tree.write("/etc/pam.d/sshd", "session include common-session\n")
        tree.group("sftponly", 500)
        return Walk(Stage(tree))

    return begin


def test_nothing_is_left_to_do_on_any_way(walks: MakeWalk) -> None:
    taken = []

    @settings(max_examples=WALKS, derandomize=not ALL)
    @given(st.lists(STEP, min_size=LENGTH, max_size=LENGTH))
    def go(steps: list[tuple[str, str]]) -> None:
        walk = walks()
        for step, value in steps:
            walk.take(step, value)
            taken.append(step)

    go()
    assert len(taken) >= WALKS * LENGTH * 0.9
    assert not ALL or len(taken) >= 2000


def test_a_walk_finds_the_jails_removed_by_a_link(
    walks: MakeWalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another name of a place is taken for another place, the mounts go and do not come."""
    monkeypatch.setattr(MountTables, "same_place", lambda self, one, other: one == other)
    with pytest.raises(Left, match="chroot /srv/jails/%u.*/srv/jails/ann"):
        walks().take("chroot", "/srv/jails/%u")
