#!/usr/bin/python
# Copyright: the sftpjail developers
# MIT license: see LICENSE

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: account
short_description: Make and change an SFTP account and its jail
version_added: 0.1.0
description:
  - Makes the account if it is missing, with its jail, and changes it otherwise. All of it is one transaction.
  - An option that is not given is not managed; what the host has stays. See sftpjail-accounts(5).
  - For more than a few accounts use M(sftpjail.sftpjail.accounts), which is one call for all.
options:
  name:
    description: The account. If it exists, it must be jailed; C(sftpjail adopt) jails it.
    type: str
    required: true
  state:
    description:
      - C(present) makes and changes it. C(unjailed) takes its jail away and keeps the account with its files,
        which can log in as any other then. C(absent) deletes the account too, and keeps its files.
      - Who is not jailed is left alone by C(unjailed) and C(absent).
    type: str
    choices: [present, unjailed, absent]
    default: present
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
extends_documentation_fragment:
  - sftpjail.sftpjail.account
seealso:
  - module: sftpjail.sftpjail.accounts
author:
  - The sftpjail developers (!UNKNOWN)
"""

EXAMPLES = r"""
- name: An account with a key and a directory
  sftpjail.sftpjail.account:
    name: alice
    comment: Alice Example
    keys:
      - "{{ lookup('file', 'alice.pub') }}"
    mounts:
      - source: /srv/web/example.com
        target: /web

- name: Shut it out until the invoice is paid
  sftpjail.sftpjail.account:
    name: alice
    disabled: true
    reason: unpaid invoice

- name: Let it in again
  sftpjail.sftpjail.account:
    name: alice
    disabled: false
    confirm: true

- name: Delete the account, and keep its files
  sftpjail.sftpjail.account:
    name: alice
    state: absent
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
)


def untouched(name):
    """Return the module's result where nothing is to be done."""
    return dict(changed=False, accounts={name: "unchanged"}, notices=[], problems=[])


def leave(tool, name, delete):
    """Take the jail of an account away, and with DELETE the account; return the module's result."""
    jailed = any(jail["user"] == name for jail in tool.read("list")["jails"])
    if not jailed:
        return untouched(name)
    words = ["remove"] + (["--delete-account"] if delete else []) + ["--", name]
    answer = tool.change(*words)
    return dict(
        changed=True,
        accounts={name: "changed"},
        notices=answer["notices"],
        problems=answer.get("problems", []),
        diff=dict(
            before={name: "jailed"}, after={name: "deleted" if delete else "no longer jailed"}
        ),
    )


def main():
    module = AnsibleModule(
        argument_spec=dict(
            FIELDS,
            state=dict(type="str", choices=["present", "unjailed", "absent"], default="present"),
            confirm=dict(type="bool", default=False),
        ),
        supports_check_mode=True,
    )
    account = entry(dict((name, module.params[name]) for name in FIELDS))
    present = module.params["state"] == "present"
    tool = Tool(module, all_new([account]) if present else untouched(account["name"]))
    tool.need()
    try:
        if present:
            options = ["--yes"] if module.params["confirm"] else []
            result = applied(tool, [account], *options)
        else:
            result = leave(tool, account["name"], module.params["state"] == "absent")
    except Failed as failed:
        tool.fail(failed)
    tool.finish(result)


if __name__ == "__main__":
    main()
