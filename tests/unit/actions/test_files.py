"""What actions about files and directories remember."""

from __future__ import annotations

import pytest
from fakes import Tree

from sftpjail.actions.files import SetOwner
from sftpjail.model import Origin


@pytest.mark.parametrize("remember", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_an_owner_is_remembered_only_where_that_is_asked(
    tree: Tree, remember: bool, there: bool
) -> None:
    owners = {}
    if there:
        tree.directory("/srv/x", owner=(7, 8))
        if remember:
            owners["/srv/x"] = (7, 8, 0o755)
    found = SetOwner("/srv/x", 0, 0, 0o755, remember).origin(tree.host())
    assert found == Origin(owners=owners)
