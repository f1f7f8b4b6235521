# `make install` is the only list of what is installed where; every package is made from it. A package for a system with
# another layout sets these variables.
prefix = /usr/local
sysconfdir = /etc
bindir = $(prefix)/bin
libdir = $(prefix)/lib/sftpjail
unitdir = $(prefix)/lib/systemd/system
# Empty on Arch: there pacman runs systemd-sysusers after every transaction with such a file. If the directory service
# is down at that moment, this creates a local group that hides the service's. `sftpjail setup` creates the group, and
# refuses while the service does not answer.
sysusersdir = $(prefix)/lib/sysusers.d
tmpfilesdir = $(prefix)/lib/tmpfiles.d
datadir = $(prefix)/share
mandir = $(datadir)/man
schemadir = $(datadir)/sftpjail/schemas
docdir = $(datadir)/doc/sftpjail
changelog = CHANGELOG.md
license = LICENSE
licensedir = $(docdir)
bashdir = $(datadir)/bash-completion/completions
zshdir = $(datadir)/zsh/$(if $(wildcard /etc/debian_version),vendor-completions,site-functions)
fishdir = $(datadir)/fish/vendor_completions.d
# The directory of pacman's hooks, where pacman is the package manager.
alpmdir =
PYTHON = /usr/bin/python3
# Where this system's Python looks for what an administrator installs; packages set it.
pythondir = $(shell $(PYTHON) -Ic 'import os, sysconfig; debian = "/usr/lib/python3/dist-packages"; \
    print(debian if "$(prefix)" == "/usr" and os.path.isdir(debian) else sysconfig.get_path("purelib"))')
# Compile the Python: here, but not in a package whose manager does it (dpkg).
bytecode = $(if $(DESTDIR),,yes)
# Compress the manual, if no later step of a package does.
compress =
INSTALL = install

version = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' sftpjail/__init__.py)
python = $(DESTDIR)$(pythondir)
fill = sed -e 's|@bindir@|$(bindir)|g' -e 's|@libdir@|$(libdir)|g' -e 's|@pythondir@|$(pythondir)|g' \
    -e 's|@sysconfdir@|$(sysconfdir)|g' -e 's|@python@|$(PYTHON)|g'

all:

parts = install-python install-program install-config install-system install-docs install-completions

# Install on this system from a stage, and only what differs: a second run changes nothing.
ifdef DESTDIR
install: $(parts)
else
install:
	@stage=$$(mktemp -d) && trap 'rm -rf "$$stage"' EXIT && umask 022 && \
	    $(MAKE) --no-print-directory --silent install DESTDIR="$$stage" && \
	    sh packaging/put "$$stage" $(sysconfdir)
	@[ -z "$(bytecode)" ] || $(PYTHON) -m compileall -q $(pythondir)/sftpjail
endif

install-python:
	for directory in $$(find sftpjail -type d ! -name __pycache__ ! -name schemas); do \
	    $(INSTALL) -d $(python)/$$directory && $(INSTALL) -m 644 $$directory/*.py $(python)/$$directory/ || exit 1; done
	$(INSTALL) -m 644 sftpjail/py.typed $(python)/sftpjail/
	sed -i 's|^BIN = .*|BIN = "$(bindir)/sftpjail"|; s|^LIB = .*|LIB = "$(libdir)"|' $(python)/sftpjail/paths.py
	$(PYTHON) -I packaging/distinfo.py $(python)/sftpjail-$(version).dist-info
	[ -z "$(bytecode)" ] || $(PYTHON) -m compileall -q $(if $(DESTDIR),-s $(DESTDIR)) $(python)/sftpjail

install-program:
	$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir)/entry $(DESTDIR)$(libdir)/hooks $(DESTDIR)$(libdir)/plugins.d
	$(fill) packaging/launcher >$(DESTDIR)$(bindir)/sftpjail
	$(fill) packaging/maintainer >$(DESTDIR)$(libdir)/maintainer
	chmod 755 $(DESTDIR)$(bindir)/sftpjail $(DESTDIR)$(libdir)/maintainer
	$(INSTALL) -m 755 hooks/useradd-post hooks/userdel-pre hooks/userdel-post hooks/waiter \
	    hooks/prove-login $(DESTDIR)$(libdir)/entry/
	$(INSTALL) -m 644 hooks/elsewhere $(DESTDIR)$(libdir)/entry/

# Existing files belong to the administrator, and are kept.
install-config:
	$(INSTALL) -d $(DESTDIR)$(sysconfdir)/sftpjail/hooks $(DESTDIR)$(sysconfdir)/logrotate.d
	[ -e $(DESTDIR)$(sysconfdir)/sftpjail/sftpjail.conf ] || \
	    $(INSTALL) -m 644 packaging/sftpjail.conf $(DESTDIR)$(sysconfdir)/sftpjail/sftpjail.conf
	[ -e $(DESTDIR)$(sysconfdir)/logrotate.d/sftpjail ] || \
	    $(INSTALL) -m 644 packaging/logrotate $(DESTDIR)$(sysconfdir)/logrotate.d/sftpjail

install-system:
	$(INSTALL) -d $(DESTDIR)$(unitdir) $(DESTDIR)$(tmpfilesdir)
	for unit in packaging/systemd/*; do $(fill) $$unit >$(DESTDIR)$(unitdir)/$${unit##*/} || exit 1; done
	[ -z "$(sysusersdir)" ] || { $(INSTALL) -d $(DESTDIR)$(sysusersdir) && \
	    $(INSTALL) -m 644 packaging/sysusers.d/sftpjail.conf $(DESTDIR)$(sysusersdir)/; }
	$(INSTALL) -m 644 packaging/tmpfiles.d/sftpjail.conf $(DESTDIR)$(tmpfilesdir)/
	[ -z "$(alpmdir)" ] || { $(INSTALL) -d $(DESTDIR)$(alpmdir) && \
	    $(fill) packaging/arch/sftpjail.hook >$(DESTDIR)$(alpmdir)/sftpjail.hook; }

install-docs:
	$(INSTALL) -d $(DESTDIR)$(docdir)/examples $(DESTDIR)$(licensedir) $(DESTDIR)$(schemadir)
	$(INSTALL) -m 644 sftpjail/schemas/*.json $(DESTDIR)$(schemadir)/
	$(INSTALL) -m 644 README.md SECURITY.md $(changelog) $(DESTDIR)$(docdir)/
	$(if $(license),$(INSTALL) -m 644 $(license) $(DESTDIR)$(licensedir)/)
	$(INSTALL) -m 755 hooks/examples/* $(DESTDIR)$(docdir)/examples/
	$(INSTALL) -m 644 packaging/examples/* $(DESTDIR)$(docdir)/examples/
	for page in man/*.scd; do \
	    name=$${page#man/}; name=$${name%.scd}; directory=$(DESTDIR)$(mandir)/man$${name##*.}; \
	    if command -v scdoc >/dev/null; then \
	        $(INSTALL) -d $$directory && scdoc <$$page >$$directory/$$name || exit 1; \
	        [ -z "$(compress)" ] || gzip -9nf $$directory/$$name || exit 1; \
	    else echo "scdoc is not installed, so neither is $$name; read $$page"; fi; done

install-completions:
	if $(PYTHON) -c 'import shtab' 2>/dev/null; then \
	    $(INSTALL) -d $(DESTDIR)$(bashdir) $(DESTDIR)$(zshdir) $(DESTDIR)$(fishdir) && \
	    $(PYTHON) packaging/completions.py bash >$(DESTDIR)$(bashdir)/sftpjail && \
	    $(PYTHON) packaging/completions.py zsh >$(DESTDIR)$(zshdir)/_sftpjail && \
	    $(PYTHON) packaging/completions.py fish >$(DESTDIR)$(fishdir)/sftpjail.fish; \
	else echo "shtab is not installed, so the completions for bash, zsh and fish are not either"; fi

# Keeps what `sftpjail setup` made, and an edited configuration: run `sftpjail teardown` first.
uninstall:
	rm -rf $(python)/sftpjail $(python)/sftpjail-$(version).dist-info $(DESTDIR)$(libdir) $(DESTDIR)$(docdir) \
	    $(DESTDIR)$(datadir)/sftpjail
	rm -f $(addprefix $(DESTDIR),$(bindir)/sftpjail $(addprefix $(unitdir)/sftpjail,.path .service .timer \
	    -metrics.service -metrics.timer -watch.service) \
	    $(sysusersdir)/sftpjail.conf $(tmpfilesdir)/sftpjail.conf $(bashdir)/sftpjail $(zshdir)/_sftpjail \
	    $(fishdir)/sftpjail.fish $(mandir)/man8/sftpjail.8 $(mandir)/man5/sftpjail.conf.5 \
	    $(mandir)/man5/sftpjail-accounts.5 $(mandir)/man7/sftpjail-plugins.7 $(mandir)/man7/sftpjail-cookbook.7)
	cmp -s packaging/logrotate $(DESTDIR)$(sysconfdir)/logrotate.d/sftpjail && \
	    rm $(DESTDIR)$(sysconfdir)/logrotate.d/sftpjail || :
	cmp -s packaging/sftpjail.conf $(DESTDIR)$(sysconfdir)/sftpjail/sftpjail.conf && \
	    rm $(DESTDIR)$(sysconfdir)/sftpjail/sftpjail.conf || :
	for directory in $(wildcard $(addprefix $(DESTDIR),$(sysconfdir)/sftpjail/hooks $(sysconfdir)/sftpjail $(sysusersdir) \
	    $(tmpfilesdir) $(foreach dir,$(unitdir) $(bashdir) $(zshdir) $(fishdir) $(docdir),$(dir) $(patsubst %/,%,$(dir $(dir)))) \
	    $(mandir)/man5 $(mandir)/man7 $(mandir)/man8)); do \
	    [ ! -d $$directory ] || rmdir --ignore-fail-on-non-empty $$directory; done

check:
	tests/run

demo:
	packaging/demo

include packaging/packages.mk

.PHONY: all install $(parts) uninstall check demo
