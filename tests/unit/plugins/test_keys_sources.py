"""keys: a command or certificates as sources of keys, and what sshd would not use."""

from __future__ import annotations

import pytest
from fakes import Programs, Tree

from sftpjail.plugins.keys import sources


@pytest.mark.parametrize("uid", [0, 1, 1001])
@pytest.mark.parametrize("bit", [0, *(1 << number for number in range(12))], ids=oct)
def test_a_command_is_roots_all_the_way(tree: Tree, programs: Programs, bit: int, uid: int) -> None:
    loose = bit in (0o020, 0o002) or uid != 0
    tree.write("/opt/keys/run", "#!/bin/sh\n", 0o755 | bit)
    tree.owners["/opt/keys/run"] = (uid, 0)
    host = tree.host()
    why = "/opt/keys/run can be changed by others than root"
    assert sources._unsafe("/opt/keys/run", host) == (why if loose else "")
    tree.owners["/opt/keys/run"] = (0, 0)
    (tree.root / "opt/keys/run").chmod(0o755)
    tree.directory("/opt/keys", 0o755 | bit, owner=(uid, 0))
    found = sources._unsafe("/opt/keys/run", tree.host())
    assert found.startswith("/opt/keys/run lies in /opt/keys, which ") == loose
    assert bool(found) == loose


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o000])
def test_a_command_that_is_no_program_is_not_run(tree: Tree, mode: int) -> None:
    tree.write("/opt/keys", "#!/bin/sh\n", mode)
    assert sources._unsafe("/opt/keys", tree.host()) == "/opt/keys is not executable"
    tree.directory("/opt/directory", 0o755)
    for path in ("/opt/directory", "/opt/none"):
        assert sources._unsafe(path, tree.host()) == f"{path} is not there"
