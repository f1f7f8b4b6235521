# shellcheck shell=bash disable=SC2016,SC2034,SC2154,SC2317,SC2329 # a part of tests/sandbox
# The roots that tests/sandbox copies, other than the host: what is in them, and how they are built and cached.

packages=openssh-server,openssh-client,adduser,passwd,rsyslog,logrotate,cron,systemd,systemd-sysv,dbus,libpam-systemd
packages+=,systemd-container,python3,python3-pluggy,python3-configobj,python3-rich,python3-pytest,python3-hypothesis
packages+=,python3-pip,python3-setuptools,python3-wheel,make,git,procps,psmisc,iproute2,attr,acl,e2fsprogs,sudo,rsync
packages+=,strace,scdoc,man-db,lftp,rclone,less,shellcheck,libnss-extrausers,python3-paramiko
linters="ruff==0.17.6 mypy==2.4.1"

# Runs in a copy of the host, with the host's network and environment, because mmdebstrap is on no fresh machine;
# writes a tar archive. pip runs there as well: however the host reaches its index, that is where it is configured.
build_base() {
    set -e
    suite=$1 packages=$2 linters=$3
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
    export linters
    mmdebstrap --quiet --variant=minbase --aptopt=/tmp/apt.conf --include="$packages" \
        --customize-hook='sh /tmp/customize "$1"' "$suite" -
}

# Runs in the base root, whose changes become a layer of their own.
build_syslog_ng() {
    set -e
    export DEBIAN_FRONTEND=noninteractive
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    apt-get -qq update
    apt-get -qq install --no-install-recommends syslog-ng-core rsyslog- >/dev/null
    apt-get -qq purge rsyslog >/dev/null
    systemctl --quiet enable syslog-ng 2>/dev/null # trixie's package forgets to
    apt-get -qq clean
    rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/*
}

# Sets layers: the folders in the cache, topmost first, that make up root NAME; builds what is missing.
use_root() {
    local name=$1 suite=${1%-syslog-ng} base hash
    [[ $suite =~ ^(bookworm|trixie|forky|sid)$ ]] || die "unknown root '$name'"
    [[ $suite =~ forky|sid ]] && packages+=,util-linux-extra # there pivot_root is a package of its own
    hash=$(echo "$suite $packages $linters $(declare -f build_base)" | sha256sum)
    base=$suite-${hash::12}
    layers=$base
    provide "$suite" "$base" || die "could not build the root '$suite'"
    if [ "$name" != "$suite" ]; then
        hash=$(echo "$base $(declare -f build_syslog_ng)" | sha256sum)
        layers=$name-${hash::12}:$base
        provide "$name" "${layers%%:*}" "$base" || die "could not build the root '$name'"
    fi
}

# provide NAME FOLDER [BASE]: builds into a temporary folder and renames, so that a broken build is never taken for a root.
provide() {
    local name=$1 folder=$2 base=$3 lock tmp=$cache/$1.tmp pipe tar code
    local SANDBOX_NETWORK=1 SANDBOX_BOOT='' SANDBOX_LAYER='' SANDBOX_UPPER='' SANDBOX_KEEP_ENV=''
    hold "$folder" && return
    [ -z "$SFTPJAIL_SANDBOX" ] || die "inside a sandbox there is only its own root: host"
    mkdir -p "$cache" || return
    exec {lock}>"$cache/$name.lock"
    flock -n $lock || { echo "tests/sandbox: somebody else builds $name, waiting" >&2; setpriv --pdeathsig KILL flock $lock; }
    if ! hold "$folder"; then
        echo "tests/sandbox: building the root $name (about a minute, once)" >&2
        rm -rf "$tmp"
        mkdir -p "$tmp/root" "$tmp/work" || return
        if [ -n "$base" ]; then
            SANDBOX_UPPER=$tmp
            start "$base" bash -c "$(declare -f build_syslog_ng); build_syslog_ng" >&2
        else
            SANDBOX_KEEP_ENV=1
            exec {pipe}> >(exec tar -x --xattrs --xattrs-include='*' -C "$tmp/root")
            tar=$!
            start / bash -c "$(declare -f build_base); build_base \"\$@\"" build "$name" "$packages" "$linters" >&$pipe
            code=$?
            exec {pipe}>&-
            wait $tar && [ $code = 0 ]
        fi || { rm -rf "$tmp"; return 1; }
        sync -f "$tmp"
        mv -T "$tmp/root" "$cache/$folder" && rm -rf "$tmp" || return
        prune "$name" "$folder"
        hold "$folder"
    fi
    exec {lock}>&-
}

# A sandbox keeps a shared lock on the folders it is made of, so that prune does not pull them away.
hold() {
    [ -d "$cache/$1" ] && exec {held}<"$cache/$1" && flock -s "$held" && [ -d "$cache/$1" ]
}

prune() {
    local old
    for old in "$cache/$1"-????????????; do
        [ "$old" = "$cache/$2" ] || { [ -d "$old" ] && flock -n "$old" rm -rf "$old"; }
    done
}
