#!/usr/bin/python
# Copyright: the sftpjail developers
# MIT license: see LICENSE

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: accounts
short_description: Make and change many SFTP accounts in one call
version_added: 0.1.0
description:
  - Brings the accounts of a host to what a file of accounts says, by one C(sftpjail apply FILE). It is one
    transaction; if one account cannot be as the file wants, nothing is changed.
  - Accounts that are not listed stay as they are, unless O(missing) is C(disable). None is un-jailed or deleted.
options:
  accounts:
    description: The accounts. One of O(accounts) and O(content) is needed.
    type: list
    elements: dict
    suboptions:
      name:
        description: The account. If it exists, it must be jailed; C(sftpjail adopt) jails it.
        type: str
        required: true
      uid:
        description:
          - The number of the account. A new account gets the next free one by default.
          - The number of an account that exists is never changed; another one is an error.
        type: int
      comment:
        description: The fifth field of passwd(5).
        type: str
      profile:
        description:
          - The profile of sftpjail.conf(5) that jails the account. The default is the one that names
            the account, else the first.
        type: str
      password:
        description:
          - A hash as C(openssl passwd -6) prints it, or C(none).
          - It goes to the host by standard input and is shown nowhere; Ansible masks its text in all
            that the task says.
        type: str
      keys:
        description:
          - The public keys, each a line of C(authorized_keys) with its options.
          - They become exactly these; an empty list means no key.
        type: list
        elements: str
      mounts:
        description:
          - The directories of the host that the jail shows, beside its home. They become exactly these.
        type: list
        elements: dict
        suboptions:
          source:
            description: The directory of the host.
            type: path
            required: true
          target:
            description: Its path inside the jail.
            type: str
            required: true
          read_only:
            description: Nobody can write through the mount.
            type: bool
            default: false
          as:
            description:
              - C(OWNER) or C(OWNER:GROUP), whose files the jail sees as the account's own; see C(--as) of
                C(sftpjail mount).
            type: str
          group:
            description:
              - A group that can write in the directory; see C(--group) of C(sftpjail mount).
            type: str
      expires:
        description: The day from which the account is shut out, C(YYYY-MM-DD), or C(never).
        type: str
      disabled:
        description:
          - Whether the account is shut out; its jail, keys and files stay.
          - To let it in again, O(confirm) is needed.
        type: bool
      reason:
        description: Why the account is disabled.
        type: str
      until:
        description: The day from which a disabled account is let in again, C(YYYY-MM-DD).
        type: str
      quota:
        description:
          - How much the account may store in its own directory; a size such as C(500M) or C(10G), C(none), or
            C(profile) for what its profile says.
        type: str
      retention:
        description:
          - The directories that lose their old files. They become exactly these; an empty list means that all
            files are kept.
        type: list
        elements: dict
        suboptions:
          directory:
            description: The directory, as the account's sessions see it.
            type: str
            required: true
          days:
            description: After so many days a file there is deleted.
            type: int
            required: true
  content:
    description:
      - The text of a file of accounts, in any format of sftpjail-accounts(5), such as the CSV that a spreadsheet
        writes or the output of C(sftpjail export).
    type: str
  format:
    description: What O(content) is. By default it is recognized as it begins.
    type: str
    choices: [configobj, json, csv]
  missing:
    description:
      - With C(disable), jailed accounts that are not listed are shut out, which needs O(confirm).
        Jails, keys and files stay.
    type: str
    choices: [keep, disable]
    default: keep
  keep_going:
    description:
      - Leave out the accounts that cannot be as the file wants, make all others, and fail then.
    type: bool
    default: false
extends_documentation_fragment:
  - sftpjail.sftpjail.account
seealso:
  - module: sftpjail.sftpjail.account
author:
  - The sftpjail developers (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Two accounts
  sftpjail.sftpjail.accounts:
    accounts:
      - name: alice
        keys: ["{{ lookup('file', 'alice.pub') }}"]
      - name: bob
        expires: "2099-12-31"

- name: All that a spreadsheet lists, and nobody else
  sftpjail.sftpjail.accounts:
    content: "{{ lookup('file', 'accounts.csv') }}"
    missing: disable
    confirm: true
"""

RETURN = r"""
accounts:
  description: What became of each account; C(new), C(changed), C(unchanged) or C(disabled).
  returned: success
  type: dict
  sample: {alice: new, bob: unchanged}
notices:
  description: What is left to do for a person, one line each.
  returned: success
  type: list
  elements: str
  sample: []
problems:
  description: What is wrong all the same, as the schema problem.json of sftpjail(8) has it.
  returned: always, but for errors of the task itself
  type: list
  elements: dict
  sample: []
what:
  description: What went wrong.
  returned: failure
  type: str
  sample: "profile sftponly: there is no such directory: /srv/web"
why:
  description: Why that matters, or nothing.
  returned: failure
  type: str
  sample: ""
fix:
  description: The command that fixes it on the host, or nothing.
  returned: failure
  type: str
  sample: sftpjail setup
choices:
  description: Commands between which a person must decide, each with its label, or none.
  returned: failure
  type: list
  elements: dict
  sample: []
advice:
  description: What to do where no command can fix it, or nothing.
  returned: failure
  type: str
  sample: correct it in the task
rc:
  description: The exit status of C(sftpjail).
  returned: failure, if it was run
  type: int
  sample: 1
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sftpjail.sftpjail.plugins.module_utils.tool import (
    FIELDS,
    Failed,
    Tool,
    all_new,
    applied,
    entry,
    result_of,
)


def options_of(params):
    """Return the options of `sftpjail apply` that the task asks for."""
    options = ["--missing", "disable"] if params["missing"] == "disable" else []
    options += ["--keep-going"] if params["keep_going"] else []
    options += ["--yes"] if params["confirm"] else []
    return options


def apply_content(tool, params):
    """Apply the text of a file; return the module's result."""
    words = ["apply"] + options_of(params)
    words += ["--format", params["format"]] if params["format"] else []
    return result_of(tool.change(*(words + ["-"]), data=params["content"]))


def main():
    module = AnsibleModule(
        argument_spec=dict(
            accounts=dict(type="list", elements="dict", options=FIELDS),
            # What a file has may be secret: no_log hides it, and the hashes are shown by nobody.
            content=dict(type="str", no_log=True),
            format=dict(type="str", choices=["configobj", "json", "csv"]),
            missing=dict(type="str", choices=["keep", "disable"], default="keep"),
            keep_going=dict(type="bool", default=False),
            confirm=dict(type="bool", default=False),
        ),
        mutually_exclusive=[("accounts", "content")],
        required_one_of=[("accounts", "content")],
        supports_check_mode=True,
    )
    params = module.params
    accounts = [entry(fields) for fields in params["accounts"] or []]
    # Only sftpjail can read the other formats.
    tool = Tool(module, dict(all_new(accounts), changed=bool(accounts or params["content"])))
    tool.need()
    try:
        if params["accounts"] is None:
            result = apply_content(tool, params)
        else:
            result = applied(tool, accounts, *options_of(params))
    except Failed as failed:
        tool.fail(failed)
    tool.finish(result)


if __name__ == "__main__":
    main()
