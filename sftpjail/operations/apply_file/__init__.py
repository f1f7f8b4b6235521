"""`apply FILE`: bring a host to the state that a file of accounts describes, as one transaction.

`comparison` compares FILE with the host. An account that differs is a `new_account` or an
`existing` one, whose `keys` and `mounts` are added and removed. Each has a `change`, in words for
people, and a `draft` of what to do. `stages` turns all drafts together into plans, to be carried
out in turn.
"""
