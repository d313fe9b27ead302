#!/bin/sh
# Makes .venv ready for work: a Python, the package and what it needs. Quick when nothing has changed.
# Works as root or with sudo on Debian and Ubuntu; elsewhere a Python 3.10-3.13 with venv must be there already.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

# The stamp holds what the installation was made from; the same again means that there is nothing to do.
wanted=$(cat setup.cfg pyproject.toml tools/setup.sh tools/asterisk.sh | cksum; pwd)
if [ -x .venv/bin/python ] && [ "$(cat .venv/stamp 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

updated=
# apt WHAT...: install Debian packages; false where that is not possible. SUDO is how.
apt() {
    command -v apt-get >/dev/null || return 1
    if [ -z "$updated" ]; then
        $SUDO env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null || true
        updated=yes
    fi
    $SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
SUDO=
if [ "$(id -u)" -ne 0 ]; then
    SUDO=sudo
fi

# Exit status 0 for a Python that we run on and that can make a virtual environment with pip.
fits() {
    command -v "$1" >/dev/null &&
        "$1" -c 'import sys, venv, ensurepip, ssl, ctypes; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}
find_python() {
    for python in python3 python3.13 python3.12 python3.11 python3.10; do
        if fits "$python"; then
            return 0
        fi
    done
    return 1
}

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    if ! find_python; then
        say "installing python3 and python3-venv"
        apt python3 python3-venv || true
        if ! find_python; then
            say "no Python 3.10-3.13 with venv found; on Debian and Ubuntu: apt install python3 python3-venv"
            exit 1
        fi
    fi
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi

say "installing what the agent needs (a minute or two, once)"
install() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,demo]' 2>.venv/pip.log
}
if ! install; then
    cat .venv/pip.log >&2
    if ! grep -qE 'gcc|g\+\+|Python\.h|[Cc]ompiler|CMake' .venv/pip.log; then
        say "pip could not install the packages; its words are above"
        exit 1
    fi
    # Everything comes ready made for the usual machines. On others it is compiled.
    say "trying again with a compiler"
    version=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    apt build-essential "python$version-dev" || apt build-essential python3-dev || true
    install || { cat .venv/pip.log >&2; exit 1; }
fi

# The better of the two voices. The agent speaks without it too, so nobody is asked for a password.
if command -v apt-get >/dev/null && ! ldconfig -p 2>/dev/null | grep -q 'libflite\.so\.1'; then
    if [ "$(id -u)" -eq 0 ] || { SUDO="sudo -n" && sudo -n true 2>/dev/null; }; then
        apt flite || say "no flite: the agent speaks with espeak-ng, which is less pleasant"
    else
        say "for a more pleasant voice: sudo apt install flite"
    fi
fi

# A real Asterisk and telephones that call it, for the tests. Without them the tests say that they are skipped.
missing=
command -v sipp >/dev/null || missing="$missing sip-tester"
command -v baresip >/dev/null || missing="$missing baresip-core"
if [ -n "$missing" ] && command -v apt-get >/dev/null; then
    if [ "$(id -u)" -eq 0 ] || { SUDO="sudo -n" && sudo -n true 2>/dev/null; }; then
        # shellcheck disable=SC2086
        apt $missing || say "no$missing: tests with other makers' telephones are skipped"
    else
        say "for all tests: sudo apt install$missing"
    fi
fi
tools/asterisk.sh || say "no Asterisk: the tests with a real one are skipped"

printf '%s\n' "$wanted" >.venv/stamp
say "ready"
