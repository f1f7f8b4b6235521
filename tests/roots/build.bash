# shellcheck shell=bash disable=SC2016,SC2034,SC2154,SC2317,SC2329 # a part of tests/sandbox
# The roots that tests/sandbox copies, other than the host: what is in them, and how they are built and cached.

packages=openssh-server,openssh-client,adduser,passwd,rsyslog,logrotate,cron,systemd,systemd-sysv,dbus,libpam-systemd
packages+=,systemd-container,python3,python3-pluggy,python3-configobj,python3-rich,python3-pytest,python3-hypothesis
packages+=,python3-pytest-xdist,python3-pip,python3-setuptools,python3-wheel,make,git,procps,psmisc,iproute2,attr,acl
packages+=,e2fsprogs,sudo,rsync,strace,scdoc,man-db,lftp,rclone,less,shellcheck,libnss-extrausers,python3-paramiko
linters="ruff==0.17.6 mypy==2.4.1"

# What builds and judges packages, of Debian's kind and of Arch's, and the shells that they bring completions for.
package_tools="build-essential debhelper dh-python fakeroot lintian piuparts autopkgtest mmdebstrap python3-shtab groff
    makepkg pacman-package-manager binutils zstd libarchive-tools bash-completion fish zsh"

# An LDAP server, and one of the two ways in which a Debian host has its accounts from it.
# libnss-systemd has accounts from userdb too, as on most hosts.
server="slapd ldap-utils libnss-systemd"
nslcd="$server nslcd nslcd-utils libnss-ldapd"
sssd="$server sssd-common sssd-ldap sssd-tools sssd-dbus libnss-sss libpam-sss"

# A domain controller of Active Directory, and both ways in which a Debian host is a member of its domain.
domain="samba-ad-dc samba-ad-provision ldb-tools krb5-user winbind libnss-winbind libpam-winbind
    sssd-common sssd-ad sssd-tools libnss-sss libpam-sss libsasl2-modules-gssapi-mit"

# What watches a host, to be told of jails; and what scans and posts uploads.
monitors="prometheus prometheus-node-exporter nagios4-core curl clamav-daemon clamdscan"

# What else makes or serves accounts for SFTP alone, to be measured beside (tests/bench/run).
rivals="jailkit proftpd-core proftpd-mod-crypto mysecureshell"

# What may be installed in a clean root without a network.
downloads="openssh-server openssh-client adduser passwd python3 python3-pluggy python3-configobj python3-rich rsyslog
    logrotate systemd systemd-sysv libpam-systemd dbus mount util-linux iproute2 procps e2fsprogs acl sudo man-db
    ansible-core python3-apt python3-paramiko"

# The builders below run with the host's network. Those of the first layers run in a copy of the host, with its
# environment, because mmdebstrap is on no fresh machine, and write a tar archive.
prepare_host() {
    set -e
    command -v apt-get >/dev/null || { echo "building a root needs a host with apt-get" >&2; exit 1; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >&2
    apt-get -qq install --no-install-recommends mmdebstrap debian-archive-keyring python3-pip >/tmp/log 2>&1 ||
        { cat /tmp/log >&2; exit 1; }
    apt-config dump | grep -E '^Acquire::(http|https|Check)' >/tmp/apt.conf || true # a proxy, say
    cat >/tmp/customize <<'END'
set -e
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 sandbox\n' >"$1/etc/hosts"
echo sandbox >"$1/etc/hostname"
END
}

# pip runs outside the root: however the host reaches its index, that is where it is configured.
build_base() {
    local suite=$1 packages=$2
    export linters=$3
    prepare_host
    cat >>/tmp/customize <<'END'
# The kernel's log belongs to the machine underneath.
sed -i '/imklog/s/^/#/' "$1/etc/rsyslog.conf"
version=$(chroot "$1" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
chroot "$1" python3 -m venv --without-pip --system-site-packages /opt/lint
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --only-binary=:all: --no-compile \
    --python-version "$version" --target "$1/opt/lint/lib/python$version/site-packages" $linters >&2
ln -s "../lib/python$version/site-packages/bin/ruff" "$1/opt/lint/bin/ruff"
printf '#!/bin/sh\nexec /opt/lint/bin/python -m mypy "$@"\n' >"$1/opt/lint/bin/mypy"
chmod 755 "$1/opt/lint/bin/mypy"
END
    mmdebstrap --quiet --variant=minbase --aptopt=/tmp/apt.conf --include="$packages" \
        --customize-hook='sh /tmp/customize "$1"' "$suite" -
}

# Debian at its smallest, which can install what a package of ours needs with no network at all.
build_clean() {
    local suite=$1
    export downloads=$2
    prepare_host
    cat >>/tmp/customize <<'END'
chroot "$1" apt-get -qq install --download-only --no-install-recommends $downloads >&2
rm "$1/etc/resolv.conf"
END
    mmdebstrap --quiet --variant=minbase --aptopt=/tmp/apt.conf --skip=cleanup/apt \
        --customize-hook='sh /tmp/customize "$1"' "$suite" -
}

# The other builders run in a root, whose changes become a layer of their own.
begin_layer() {
    set -e
    export DEBIAN_FRONTEND=noninteractive
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    apt-get -qq update
}

end_layer() {
    apt-get -qq clean
    rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/*
}

build_syslog_ng() {
    begin_layer
    apt-get -qq install --no-install-recommends syslog-ng-core rsyslog- >/dev/null
    apt-get -qq purge rsyslog >/dev/null
    systemctl --quiet enable syslog-ng 2>/dev/null # trixie's package forgets to
    end_layer
}

# libnss-ldapd asks which parts of nsswitch.conf are its own; libnss-sss and libpam-sss do not. No server is set up.
build_directory() {
    begin_layer
    debconf-set-selections <<'END'
slapd slapd/no_configuration boolean true
nslcd nslcd/ldap-uris string ldap://127.0.0.1/
nslcd nslcd/ldap-base string dc=example,dc=org
libnss-ldapd libnss-ldapd/nsswitch multiselect passwd, group
END
    # shellcheck disable=SC2086
    apt-get -qq install --no-install-recommends $1 >/dev/null
    systemctl --quiet disable slapd 2>/dev/null # it would fail without a database
    end_layer
}

# The domain is made once, since that takes longest. tests/support/domain.py starts its controller on this address, and
# what the packages have put into the files of PAM and of the name services, it puts there itself.
build_domain() {
    begin_layer
    # shellcheck disable=SC2086
    apt-get -qq install --no-install-recommends $1 >/dev/null
    end_layer
    systemctl --quiet disable smbd nmbd winbind samba-ad-dc sssd 2>/dev/null || true
    pam-auth-update --package --remove winbind sss mkhomedir
    sed -Ei '/^(passwd|group|shadow|gshadow):/s/ (winbind|sss)\b//g' /etc/nsswitch.conf
    samba-tool domain provision --targetdir=/var/lib/dc --realm=CORP.EXAMPLE --domain=CORP --host-name=dc1 \
        --host-ip=10.53.0.1 --server-role=dc --dns-backend=SAMBA_INTERNAL --adminpass=Secret-1 \
        --option="interfaces = 10.53.0.1" --option="bind interfaces only = yes" >/tmp/log 2>&1 || { cat /tmp/log >&2; exit 1; }
}

build_packages() {
    begin_layer
    # shellcheck disable=SC2086
    apt-get -qq install --no-install-recommends $1 >/dev/null
    end_layer
}

# What a package for Arch can tell from Arch: its Python looks into site-packages first and installs there, /bin/sh is
# bash, and systemd's alpm hooks do what Debian's maintainer scripts do. Debian's own modules still work.
build_arch() {
    begin_layer
    apt-get -qq install --no-install-recommends python3-build python3-installer >/dev/null
    end_layer
    ln -sf bash /bin/sh
    ln -s python3 /usr/bin/python
    python3 - <<'END'
import re
import sysconfig

def edit(module, pattern, text):
    with open(module.__file__, encoding="utf-8") as file:
        old = file.read()
    new, count = re.subn(pattern, text, old, count=1)
    assert count == 1, pattern
    with open(module.__file__, "w", encoding="utf-8") as file:
        file.write(new)

edit(sysconfig, r"prefix_scheme = 'posix_local'", "prefix_scheme = 'posix_prefix'")
END
    python3 -m compileall -qf /usr/lib/python3.*/sysconfig
    mkdir -p "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >/usr/lib/python3/dist-packages/arch.pth
    # Directories that another package owns there, and so stay when ours goes; and what the first run of a hook makes.
    touch "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/README"
    touch /usr/share/fish/vendor_completions.d/README
    systemd-tmpfiles --create >/dev/null 2>&1 || true
    local hook name target exec
    mkdir -p /usr/share/libalpm/hooks
    for hook in '20-systemd-sysusers|usr/lib/sysusers.d/*.conf|/usr/bin/systemd-sysusers' \
        '30-systemd-tmpfiles|usr/lib/tmpfiles.d/*.conf|/usr/bin/systemd-tmpfiles --create' \
        '30-systemd-daemon-reload|usr/lib/systemd/system/*|/usr/bin/systemctl daemon-reload'; do
        IFS='|' read -r name target exec <<<"$hook"
        printf '%s\n' '[Trigger]' 'Type = Path' 'Operation = Install' 'Operation = Upgrade' 'Operation = Remove' \
            "Target = $target" '[Action]' "Description = $name" 'When = PostTransaction' "Exec = $exec" \
            >"/usr/share/libalpm/hooks/$name.hook"
    done
    # systemctl has nobody to speak to where nothing has booted.
    sed -i 's|^Exec = .*daemon-reload|Exec = /bin/sh -c "[ ! -d /run/systemd/system ] \|\| systemctl daemon-reload"|' \
        /usr/share/libalpm/hooks/30-systemd-daemon-reload.hook
}

# Sets layers: the directories in the cache, topmost first, that make up root NAME; builds what is missing.
use_root() {
    local name=$1 suite=${1%%-*} packages=$packages downloads=$downloads
    [[ $name =~ ^(bookworm|trixie|forky|sid)(-(syslog-ng|ldap|sssd|monitor|btrfs|bench|packages|clean))?$|^trixie-(arch|ansible|samba)$ ]] ||
        die "unknown root '$name'"
    if [[ $suite =~ forky|sid ]]; then # there pivot_root is a package of its own
        packages+=,util-linux-extra downloads+=" util-linux-extra"
    fi
    layers=''
    case ${name#"$suite"} in
        '') provide "$name" build_base "$suite" "$packages" "$linters" ;;
        -clean) provide "$name" build_clean "$suite" "$downloads" ;;
        -syslog-ng) use_root "$suite" && provide "$name" build_syslog_ng ;;
        -ldap) use_root "$suite" && provide "$name" build_directory "$nslcd" ;;
        -sssd) use_root "$suite" && provide "$name" build_directory "$sssd" ;;
        -samba) use_root "$suite" && provide "$name" build_domain "$domain" ;;
        -monitor) use_root "$suite" && provide "$name" build_packages "$monitors" ;;
        -bench) use_root "$suite" && provide "$name" build_packages "$rivals" ;;
        -btrfs) use_root "$suite" && provide "$name" build_packages "btrfs-progs" ;;
        -packages) use_root "$suite" && provide "$name" build_packages "$package_tools" ;;
        -arch) use_root "$suite-packages" && provide "$name" build_arch ;;
        -ansible) use_root "$suite" && provide "$name" build_packages "ansible-core" ;;
    esac || die "could not build the root '$name'"
}

# provide NAME BUILDER [ARG]...: puts a directory with what the builder makes on top of layers. It is built in a temporary
# directory and renamed, so that a broken build is never taken for a root.
provide() {
    local name=$1 base=$layers tmp=$cache/$1.tmp directory script lock pipe tar code
    local SANDBOX_NETWORK=1 SANDBOX_BOOT='' SANDBOX_LAYER='' SANDBOX_UPPER='' SANDBOX_KEEP_ENV='' SANDBOX_WITH=''
    shift
    script=$(declare -f "$1" prepare_host begin_layer end_layer)
    directory=$name-$(echo "$base $* $script" | sha256sum | head -c 12)
    layers=$directory${base:+:$base}
    hold "$directory" && return
    [ -z "$SFTPJAIL_SANDBOX" ] || die "inside a sandbox nothing is built: there is host, and what --with put into /roots"
    mkdir -p "$cache" || return
    exec {lock}>"$cache/$name.lock"
    flock -n $lock || { echo "tests/sandbox: somebody else builds $name, waiting" >&2; setpriv --pdeathsig KILL flock $lock; }
    if ! hold "$directory"; then
        echo "tests/sandbox: building the root $name (about a minute, once)" >&2
        rm -rf "$tmp"
        mkdir -p "$tmp/root" "$tmp/work" || return
        if [ -n "$base" ]; then
            SANDBOX_UPPER=$tmp
            start "$base" bash -c "$script; \"\$@\"" build "$@" >&2
        else
            SANDBOX_KEEP_ENV=1
            exec {pipe}> >(exec tar -x --xattrs --xattrs-include='*' -C "$tmp/root")
            tar=$!
            start / bash -c "$script; \"\$@\"" build "$@" >&$pipe
            code=$?
            exec {pipe}>&-
            wait $tar && [ $code = 0 ]
        fi || { rm -rf "$tmp"; return 1; }
        sync -f "$tmp"
        mv -T "$tmp/root" "$cache/$directory" && rm -rf "$tmp" || return
        prune "$name" "$directory"
        hold "$directory"
    fi
    exec {lock}>&-
}

# A sandbox keeps a shared lock on the directories it is made of, so that prune does not pull them away.
hold() {
    [ -d "$cache/$1" ] && exec {held}<"$cache/$1" && flock -s "$held" && [ -d "$cache/$1" ]
}

prune() {
    local old hash
    hash=$(printf '[0-9a-f]%.0s' {1..12})
    for old in "$cache/$1"-$hash; do # unquoted: a pattern
        [ "$old" = "$cache/$2" ] || { [ -d "$old" ] && flock -n "$old" rm -rf "$old"; }
    done
}
