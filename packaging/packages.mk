# Packages, in build/. `make packages` builds the distributions' own, those whose tools are installed, from the archive
# that `make dist` makes of this checkout. `make deb` and `make pacman` build the same with fpm.
epoch := $(shell sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -n 1 | date -f - +%s)
source = sftpjail-$(version)
system = env -i HOME=/nonexistent LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin SOURCE_DATE_EPOCH=$(epoch) \
    DEB_BUILD_OPTIONS="$(DEB_BUILD_OPTIONS)"

dist:
	mkdir -p build
	tar -cz --sort=name --mtime=@$(epoch) --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
	    --exclude=__pycache__ --exclude='*.egg-info' --exclude='.*_cache' --transform='s|^|$(source)/|' \
	    -f build/$(source).tar.gz \
	    $(sort $(wildcard *.md *.cfg *.toml LICENSE Makefile .ci hooks man packaging sftpjail tests))

natives = $(shell if command -v dpkg-buildpackage; then echo native-deb; fi | tail -n 1; \
    if command -v makepkg && command -v python; then echo native-pacman; fi | tail -n 1)
packages: $(or $(natives),no-tools)

no-tools:
	@echo "cannot build a package: neither dpkg-buildpackage nor makepkg with python is installed" >&2; exit 1

native-deb: dist
	rm -rf build/debian && mkdir -p build/debian
	cp build/$(source).tar.gz build/debian/sftpjail_$(version).orig.tar.gz
	tar -xzf build/$(source).tar.gz -C build/debian
	cp -r build/debian/$(source)/packaging/debian build/debian/$(source)/debian
	cd build/debian/$(source) && $(system) dpkg-buildpackage -us -uc
	rm -r build/debian/$(source)

# makepkg refuses to run as root, and needs nothing of the user who runs it.
native-pacman: dist
	rm -rf build/arch && mkdir -p build/arch
	cp packaging/arch/PKGBUILD packaging/arch/sftpjail.install build/$(source).tar.gz build/arch/
	[ "$$(id -u)" != 0 ] || chown -R nobody build/arch
	cd build/arch && $(if $(filter 0,$(shell id -u)),setpriv --reuid=nobody --regid=65534 --clear-groups) \
	    $(system) HOME="$$PWD" PKGEXT=.pkg.tar.zst makepkg --force --nodeps

# fpm packs a stage, with the options of deb.fpm and pacman.fpm. No distribution has it; Debian's fpm is another
# program, for Fortran.
fpm = fpm
need-fpm = $(if $(shell $(fpm) --help 2>&1 | grep -e --fpm-options-file),,$(error there is no fpm here that makes \
    packages. `make packages` makes the distributions' own, without it; or say where one is: make $@ fpm=PATH))
# Neither the umask of anyone who builds nor the set-group-ID bit of their directory gets into the package.
as-ever = umask 022 && SOURCE_DATE_EPOCH=$(epoch)
stage = $(as-ever) $(MAKE) --no-print-directory install DESTDIR=build/fpm/$@ prefix=/usr compress=yes
pack = chmod -R a-s build/fpm/$@ && $(as-ever) $(fpm) --fpm-options-file packaging/$@.fpm --version $(version) \
    --chdir build/fpm/$@ --package build --force

# No debhelper fills in the scripts and the control file of this one; `maintainer` does what its snippets would.
deb:
	$(need-fpm)rm -rf build/fpm/$@ build/fpm/control && mkdir -p build/fpm/control
	$(stage) pythondir=/usr/lib/python3/dist-packages changelog= license=packaging/debian/copyright
	for script in postinst prerm postrm; do \
	    sed '/^#DEBHELPER#$$/d' packaging/debian/$$script >build/fpm/control/$$script || exit 1; done
	$(PYTHON) -I packaging/fpm/deb-control.py $(version)-$$(sed -n 's/^--iteration //p' packaging/$@.fpm) build/fpm/$@ \
	    >build/fpm/control/control
	$(pack) .

# A package that is not rebuilt for every Python has a directory of its own.
pacman:
	$(need-fpm)rm -rf build/fpm/$@ && mkdir -p build/fpm
	$(stage) pythondir=/usr/lib/sftpjail licensedir=/usr/share/licenses/sftpjail alpmdir=/usr/share/libalpm/hooks \
	    zshdir=/usr/share/zsh/site-functions sysusersdir=
	$(pack) .

.PHONY: dist packages no-tools native-deb native-pacman deb pacman ansible install-ansible collection

# The collection as ansible-galaxy wants it: below ansible_collections/NAMESPACE/NAME.
collection = build/ansible_collections/sftpjail/sftpjail
ansible:
	rm -rf build/ansible_collections && mkdir -p $(collection)
	cp -r packaging/ansible/. LICENSE $(collection)/
	find $(collection) -name __pycache__ -prune -exec rm -rf {} +

# As ansible-galaxy would install it, but for all users, and with no Ansible needed to do it.
ansibledir = $(datadir)/ansible/collections/ansible_collections
install-ansible: ansible
	rm -rf $(DESTDIR)$(ansibledir)/sftpjail/sftpjail
	$(INSTALL) -d $(DESTDIR)$(ansibledir)/sftpjail
	cp -r --preserve=timestamps $(collection) $(DESTDIR)$(ansibledir)/sftpjail/
	$(PYTHON) -I packaging/manifest.py $(DESTDIR)$(ansibledir)/sftpjail/sftpjail
	chmod -R u=rwX,go=rX $(DESTDIR)$(ansibledir)/sftpjail

collection: ansible
	cd build && ansible-galaxy collection build --force --output-path . ansible_collections/sftpjail/sftpjail
