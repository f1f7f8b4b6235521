# `make install` is the one list of what goes where; every package is made from it.
prefix = /usr/local
bindir = $(prefix)/bin
libdir = $(prefix)/lib/sftpjail
sysconfdir = /etc
unitdir = $(prefix)/lib/systemd/system
mandir = $(prefix)/share/man
docdir = $(prefix)/share/doc/sftpjail
PYTHON = /usr/bin/python3
# Where this system's Python looks for what an administrator installs; packages say where they want it.
pythondir = $(shell $(PYTHON) -Ic 'import os, sysconfig; debian = "/usr/lib/python3/dist-packages"; \
    print(debian if "$(prefix)" == "/usr" and os.path.isdir(debian) else sysconfig.get_path("purelib"))')
version = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' sftpjail/__init__.py)
INSTALL = install

all:

install:
	$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir)/entry $(DESTDIR)$(libdir)/hooks $(DESTDIR)$(unitdir) \
	    $(DESTDIR)$(pythondir)/sftpjail-$(version).dist-info $(DESTDIR)$(sysconfdir)/sftpjail/hooks $(DESTDIR)$(docdir)
	for folder in $$(find sftpjail -type d ! -name __pycache__); do \
	    $(INSTALL) -d $(DESTDIR)$(pythondir)/$$folder && \
	    $(INSTALL) -m 644 $$folder/*.py $(DESTDIR)$(pythondir)/$$folder/ || exit 1; done
	$(INSTALL) -m 644 sftpjail/py.typed $(DESTDIR)$(pythondir)/sftpjail/
	sed -i 's|^BIN = .*|BIN = "$(bindir)/sftpjail"|; s|^LIB = .*|LIB = "$(libdir)"|' $(DESTDIR)$(pythondir)/sftpjail/paths.py
	[ -n "$(DESTDIR)" ] || $(PYTHON) -m compileall -q $(pythondir)/sftpjail
	printf 'Metadata-Version: 2.1\nName: sftpjail\nVersion: %s\n' $(version) \
	    > $(DESTDIR)$(pythondir)/sftpjail-$(version).dist-info/METADATA
	printf '#!%s -I\nimport sys\n\nsys.path.append("$(pythondir)")\nfrom sftpjail.cli import main\n\nsys.exit(main())\n' $(PYTHON) > $(DESTDIR)$(bindir)/sftpjail
	chmod 755 $(DESTDIR)$(bindir)/sftpjail
	$(INSTALL) -m 644 hooks/useradd-post hooks/userdel-pre hooks/userdel-post $(DESTDIR)$(libdir)/entry/
	for unit in packaging/systemd/*; do \
	    sed 's|@bindir@|$(bindir)|' $$unit > $(DESTDIR)$(unitdir)/$${unit##*/} || exit 1; done
	[ -e $(DESTDIR)$(sysconfdir)/sftpjail/sftpjail.conf ] || \
	    $(INSTALL) -m 644 packaging/sftpjail.conf $(DESTDIR)$(sysconfdir)/sftpjail/sftpjail.conf

	for page in man/*.scd; do \
	    name=$${page#man/}; name=$${name%.scd}; folder=$(DESTDIR)$(mandir)/man$${name##*.}; \
	    if command -v scdoc >/dev/null; then \
	        $(INSTALL) -d $$folder && scdoc <$$page >$$folder/$$name || exit 1; \
	    else echo "no scdoc here: $$name is not installed, read $$page"; fi; done
	$(INSTALL) -d $(DESTDIR)$(docdir)/examples
	$(INSTALL) -m 644 README.md CHANGELOG.md LICENSE $(DESTDIR)$(docdir)/
	$(INSTALL) -m 755 hooks/examples/* $(DESTDIR)$(docdir)/examples/

# The configuration and what `sftpjail setup` made stay: run `sftpjail teardown` first.
uninstall:
	rm -rf $(DESTDIR)$(pythondir)/sftpjail $(DESTDIR)$(pythondir)/sftpjail-$(version).dist-info $(DESTDIR)$(libdir) \
	    $(DESTDIR)$(docdir)
	rm -f $(DESTDIR)$(bindir)/sftpjail $(DESTDIR)$(unitdir)/sftpjail.path $(DESTDIR)$(unitdir)/sftpjail.timer \
	    $(DESTDIR)$(unitdir)/sftpjail.service $(DESTDIR)$(mandir)/man8/sftpjail.8 \
	    $(DESTDIR)$(mandir)/man5/sftpjail.conf.5 $(DESTDIR)$(mandir)/man7/sftpjail-plugins.7
	for folder in $(unitdir) $(patsubst %/,%,$(dir $(unitdir))) $(patsubst %/,%,$(dir $(docdir))) \
	    $(mandir)/man8 $(mandir)/man7 $(mandir)/man5; do \
	    [ ! -d $(DESTDIR)$$folder ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)$$folder; done

check:
	tests/run

demo:
	packaging/demo

.PHONY: all install uninstall check demo
