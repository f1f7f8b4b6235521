# Copyright: the sftpjail developers
# MIT license: see LICENSE
"""What the modules have in common: one call of sftpjail, and the fields of an account."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json

# Where `make install` puts it, beside the directories that a module looks in anyway.
OPT_DIRS = ["/usr/local/bin", "/usr/bin"]
NOT_INSTALLED = "sftpjail is not installed on this host"
SET_UP = "sftpjail setup"
# sftpjail(8), EXIT STATUS
DONE, LEFT_OUT = 0, 1

MOUNT = {
    "source": dict(type="path", required=True),
    "target": dict(type="str", required=True),
    "read_only": dict(type="bool", default=False),
    "as": dict(type="str"),
    "group": dict(type="str"),
}

AGE = dict(
    directory=dict(type="str", required=True),
    days=dict(type="int", required=True),
)

# sftpjail-accounts(5); what is not given is not managed.
FIELDS = dict(
    name=dict(type="str", required=True),
    uid=dict(type="int"),
    comment=dict(type="str"),
    profile=dict(type="str"),
    password=dict(type="str", no_log=True),
    keys=dict(type="list", elements="str", no_log=False),
    mounts=dict(type="list", elements="dict", options=MOUNT),
    expires=dict(type="str"),
    disabled=dict(type="bool"),
    reason=dict(type="str"),
    until=dict(type="str"),
    quota=dict(type="str"),
    retention=dict(type="list", elements="dict", options=AGE),
)


class Failed(Exception):
    """A call of sftpjail that failed.

    Args:
        problem: what sftpjail says of it; see its schema problem.json.
        code: its exit status.
    """

    def __init__(self, problem, code):
        super(Failed, self).__init__(problem["what"])
        self.problem = problem
        self.code = code

    def name_of(self, path, name, advice):
        """Call a temporary file by another name, since it is gone when somebody reads of it.

        Args:
            path: the file, or None: there is none.
            name: what to call it.
            advice: what to do instead of correcting it.
        """
        if path and path in self.problem["what"]:
            what = self.problem["what"].replace(path, name)
            self.problem = dict(self.problem, what=what, fix="", advice=advice)


class Tool(object):
    """sftpjail(8) on the managed host, asked for JSON.

    Args:
        module: the AnsibleModule; in check mode every call that may change something is a dry run.
        prospect: the module's result in check mode where sftpjail is not installed or the host is
            not set up, since the task before may be the one that would do that.
    """

    def __init__(self, module, prospect):
        self.module = module
        self.prospect = prospect
        self.path = module.get_bin_path("sftpjail", opt_dirs=OPT_DIRS)
        # A password of that name is none, and no secret to be masked in every word that has it.
        module.no_log_values.discard("none")

    def need(self):
        """End the module if sftpjail is not installed."""
        if self.path:
            return
        if self.module.check_mode:
            self.module.exit_json(msg=NOT_INSTALLED + " yet", **self.prospect)
        self.module.fail_json(
            msg=NOT_INSTALLED,
            what=NOT_INSTALLED,
            why="the modules of this collection run it",
            fix="install the package sftpjail; the role sftpjail.sftpjail.sftpjail does that",
        )

    def read(self, *words):
        """Return the answer of a command that only reads.

        Raises:
            Failed: the command failed.
        """
        return self._call(words, None, False)

    def change(self, *words, **options):
        """Return the answer of a command that may change something; in check mode, of its dry run.

        Args:
            words: the command and its arguments.
            data: text for its standard input, where secrets go too.
            config: a configuration to judge by, instead of the host's.

        Raises:
            Failed: the command failed, and has changed nothing.
        """
        before = ["--config", options["config"]] if options.get("config") else []
        return self._call(words, options.get("data"), self.module.check_mode, before)

    def rehearse(self, *words, **options):
        """Return the answer of a command's dry run, in any mode; see change."""
        return self._call(words, None, True, ["--config", options["config"]])

    def preview(self, *words, **options):
        """Return the dry run of a command as it is printed for people, "" if there is nothing to do."""
        before = ["--config", options["config"]] if options.get("config") else []
        argv = [self.path] + before + ["--dry-run"] + list(words)
        code, out, dummy = self.module.run_command(argv, data=options.get("data"))
        return out if code == DONE else ""

    def _call(self, words, data, dry_run, before=()):
        argv = (
            [self.path]
            + list(before)
            + ["--json"]
            + (["--dry-run"] if dry_run else [])
            + list(words)
        )
        code, out, err = self.module.run_command(argv, data=data)
        try:
            answer = json.loads(out)
        except ValueError:
            said = (err or out).strip() or "it said nothing"
            problem = dict(what="sftpjail {0} exited with {1}: {2}".format(words[0], code, said))
            raise Failed(dict(problem, why="", fix="", choices=[], advice=""), code)
        if "error" in answer:
            raise Failed(answer["error"], code)
        answer["code"] = code
        return answer

    def fail(self, failed):
        """End the module with sftpjail's own words."""
        problem = failed.problem
        if "confirm" in self.module.params and any("--yes" in way.split() for way in ways(problem)):
            problem = dict(problem, fix="", choices=[], advice="set confirm: true in the task")
        if self.module.check_mode and problem["fix"] == SET_UP:
            self.module.exit_json(msg=problem["what"] + " yet", **self.prospect)
        self.module.fail_json(msg=sentence(problem), rc=failed.code, **told(problem))

    def finish(self, result):
        """End the module: with its result, or failed if some of what was asked for is left undone.

        Args:
            result: what the module says; left_out is taken from it, the problems of what is left.
        """
        left_out = result.pop("left_out", [])
        if left_out:
            result["problems"] = left_out
            self.module.fail_json(msg="; ".join(map(sentence, left_out)), **result)
        self.module.exit_json(**result)


def told(problem):
    """Return the fields of a problem that a failed task has."""
    fields = dict((name, problem.get(name, "")) for name in ("what", "why", "fix", "advice"))
    return dict(fields, choices=problem.get("choices", []))


def ways(problem):
    """Return what may be done about a problem, each as it is to be read."""
    choices = ["{label}: {command}".format(**choice) for choice in problem.get("choices", [])]
    return [way for way in [problem.get("fix"), *choices, problem.get("advice")] if way]


def sentence(problem):
    """Return a problem as one line: what, why, and the command that fixes it, or the choices."""
    text = problem["what"]
    if problem.get("why"):
        text += ": " + problem["why"]
    help_text = "; or ".join(ways(problem))
    return text + (" (fix: " + help_text + ")" if help_text else "")


def entry(fields):
    """Return an account as the JSON form of sftpjail-accounts(5) has it: without what is not managed."""
    return dict((name, managed(value)) for name, value in fields.items() if value is not None)


def managed(value):
    """Return the value of a field; of its mounts, each without what it does not say."""
    if not isinstance(value, list):
        return value
    return [entry(item) if isinstance(item, dict) else item for item in value]


def applied(tool, accounts, *options):
    """Have accounts made and changed; return the result of the module.

    Args:
        tool: the host's sftpjail.
        accounts: entries of sftpjail-accounts(5).
        options: more options of `sftpjail apply`.
    """
    document = json.dumps(dict(accounts=accounts))
    return result_of(tool.change("apply", "--format", "json", *(options + ("-",)), data=document))


def all_new(accounts):
    """Return the result of a dry run on a host that has no jails yet."""
    shown = [
        dict(account, password="(set)") if "password" in account else account
        for account in accounts
    ]
    return dict(
        changed=bool(accounts),
        accounts=dict((account["name"], "new") for account in accounts),
        notices=[],
        problems=[],
        diff=dict(before={}, after=dict((account["name"], account) for account in shown)),
    )


def result_of(answer):
    """Return what a module says of an answer of `sftpjail apply FILE`."""
    touched = [
        account for account in answer.get("accounts", []) if account["change"] != "unchanged"
    ]
    return dict(
        changed=bool(touched) or bool(answer["actions"]),
        accounts=dict(
            (account["user"], account["change"]) for account in answer.get("accounts", [])
        ),
        notices=answer["notices"],
        problems=answer["problems"],
        diff=dict(
            before=dict((account["user"], account["before"] or {}) for account in touched),
            after=dict((account["user"], account["after"]) for account in touched),
        ),
        # It exits with 1 and no error where it has left accounts out: --keep-going.
        left_out=answer["problems"] if answer["code"] == LEFT_OUT else [],
    )
