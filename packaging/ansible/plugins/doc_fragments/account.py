# Copyright: the sftpjail developers
# MIT license: see LICENSE

from __future__ import absolute_import, division, print_function

__metaclass__ = type


class ModuleDocFragment(object):
    """What the modules that change accounts have in common."""

    DOCUMENTATION = r"""
options:
  confirm:
    description:
      - Agree to what C(sftpjail) asks about on a terminal, where nobody is to answer here.
      - That is whom the change lets in again, such as an account that is disabled or has expired,
        and whom it shuts out. Without it such a change fails, and the message names them.
    type: bool
    default: false
requirements:
  - sftpjail on the managed host
attributes:
  check_mode:
    description: The dry run of C(sftpjail) itself; nothing is changed.
    support: full
  diff_mode:
    description: Each account before and after. The hash of a password is never among it.
    support: full
"""
