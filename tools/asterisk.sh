#!/bin/sh
# Unpacks a real Asterisk for the tests, from Debian's packages: no root, no chroot, nothing of the machine is changed.
#
#   tools/asterisk.sh [DIRECTORY]      default: .asterisk in this repository, which git ignores
#
# 25 MB are fetched, once. The mirror is the one that this machine's apt uses, with its proxy and keys. SUITE is the
# Debian release that is taken; ARCH another architecture than this machine's (unpacked, not tried).
# It runs through its own loader:  DIRECTORY/run -C asterisk.conf -f
# Exit status: 0 it is there; 1 it cannot be had, and the last line says why.
set -eu
SUITE=${SUITE:-forky}
HERE=$(cd "$(dirname "$0")/.." && pwd)
TO=${1:-$HERE/.asterisk}

say() { printf 'asterisk: %s\n' "$*" >&2; }
give_up() { say "$*"; exit 1; }

# The stamp says what was unpacked; the same again means that there is nothing to do.
wanted="$SUITE ${ARCH:-} $(cksum <"$0")"
if [ -x "$TO/run" ] && [ "$(cat "$TO/stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
# Whatever else is in there is not ours to replace.
if [ -d "$TO" ] && [ ! -e "$TO/stamp" ] && [ -n "$(ls -A "$TO")" ]; then
    give_up "$TO has something else in it"
fi
for needed in apt-get apt-cache apt-config dpkg dpkg-deb; do
    command -v "$needed" >/dev/null || give_up "there is no $needed: this works on Debian only"
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keys" ] || give_up "there is no $keys: this works on Debian only"
ARCH=${ARCH:-$(dpkg --print-architecture)}
case $ARCH in
    amd64) triplet=x86_64-linux-gnu loader=ld-linux-x86-64.so.2 ;;
    arm64) triplet=aarch64-linux-gnu loader=ld-linux-aarch64.so.1 ;;
    *) give_up "there is nothing prepared for $ARCH, only for amd64 and arm64" ;;
esac

# What conf/asterisk/modules.conf loads needs these and no more. Patterns: their numbers change with the release.
packages='asterisk asterisk-modules libc6 libgcc-s1 libstdc\+\+6 libcrypt1 libssl3[a-z0-9]* libsqlite3-0
    libxml2(-[0-9]+)? libxslt1\.1 libsystemd0 libtinfo6 libzstd1 libbsd0 libmd0 libedit2 zlib1g libjansson4
    liburiparser1 libuuid1 libcap2'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mirrors=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' 2>/dev/null |
    grep -v security | awk '!seen[$0]++')
[ -n "$mirrors" ] || give_up "apt knows no mirror: look at /etc/apt/sources.list"

# An apt of its own: other lists, another (empty) status, the same way to the network.
mkdir -p "$work/etc/preferences.d" "$work/etc/apt.conf.d" "$work/etc/trusted.gpg.d" "$work/lists/partial" \
    "$work/cache/archives/partial" "$work/debs" "$work/root"
: >"$work/status"
# Signatures are checked; dates are not, for mirrors that were frozen and machines whose clock is off.
{
    apt-config dump | grep -E '^Acquire::(http|https|ftp|Retries|By-Hash|ForceIPv)' || true
    cat <<CONF
Dir::Etc "$work/etc";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
Dir::State::Lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
APT::Architecture "$ARCH";
APT::Architectures { "$ARCH"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
CONF
} >"$work/apt.conf"
export APT_CONFIG="$work/apt.conf"

is_there=
for mirror in $mirrors; do
    printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$mirror" "$SUITE" >"$work/etc/sources.list"
    if apt-get -qq update >"$work/log" 2>&1 && apt-cache show asterisk >/dev/null 2>&1; then
        is_there=yes
        break
    fi
done
if [ -z "$is_there" ]; then
    tail -3 "$work/log" >&2
    give_up "no mirror of this machine's apt has asterisk ($SUITE): is there no network, or is this no Debian?"
fi
names=$(printf '%s' "$packages" | tr -s ' \n' '|')
names=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances asterisk asterisk-modules 2>/dev/null |
    grep -E '^[a-z0-9]' | sed 's/:.*//' | sort -u | grep -xE "$names")
say "fetching $(printf '%s\n' "$names" | wc -l) packages of Debian $SUITE for $ARCH"
# shellcheck disable=SC2086
(cd "$work/debs" && apt-get -qq download $names >"$work/log" 2>&1) || {
    tail -3 "$work/log" >&2
    give_up "the packages could not be fetched"
}
for package in "$work"/debs/*.deb; do
    dpkg-deb -x "$package" "$work/root" || give_up "there is no room to unpack ${package##*/}"
done

libraries=usr/lib/$triplet
[ -e "$work/root/$libraries/$loader" ] || give_up "the packages are not laid out as expected: their loader is missing"
cat >"$work/run" <<RUN
#!/bin/sh
# Asterisk with its own libraries, whatever this machine has. LD_LIBRARY_PATH stays unset: children would inherit it.
root=\$(cd "\$(dirname "\$0")" && pwd)/root
OPENSSL_MODULES=\$root/$libraries/ossl-modules
export OPENSSL_MODULES
exec "\$root/$libraries/$loader" --library-path "\$root/$libraries" "\$root/usr/sbin/asterisk" "\$@"
RUN
chmod +x "$work/run"
if [ "$ARCH" = "$(dpkg --print-architecture)" ]; then
    version=$("$work/run" -V 2>&1) || give_up "it does not start on this machine: $version"
    say "$version is in $TO"
fi
mkdir -p "$TO"
echo "not finished" >"$TO/stamp"
rm -rf "$TO/root" "$TO/run"
# Copied, not moved: $work may be on another file system.
cp -a "$work/root" "$work/run" "$TO/" || give_up "$TO cannot be written"
printf '%s\n' "$libraries/asterisk/modules" >"$TO/modules"
printf '%s\n' "$wanted" >"$TO/stamp"
