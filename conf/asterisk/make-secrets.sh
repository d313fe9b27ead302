#!/bin/sh
# Writes what manager.conf, ari.conf and pjsip.conf include: their secrets, from variables, readable to Asterisk only.
#
#   export ASTERISK_AMI_SECRET=$(openssl rand -hex 24) ASTERISK_ARI_PASSWORD=$(openssl rand -hex 24)
#   export PHONE_PASSWORD=$(openssl rand -hex 24)
#   conf/asterisk/make-secrets.sh /etc/asterisk
#
# SIP_TRUNK_USER and SIP_TRUNK_PASSWORD are for a trunk that asks for them. The agent reads the first two variables too.
# A variable that is not set leaves no file: what includes it does not start, rather than with an empty secret.
set -eu
to=${1:?"which directory has manager.conf? usually /etc/asterisk"}/esl_agent_secrets
umask 027

# put FILE NAME VALUE OPTION...: `OPTION = VALUE` lines. A secret needs 16 characters that no configuration file minds.
put() {
    file=$1 name=$2 value=$3 line=$4
    if [ -z "$value" ]; then
        printf '%s is not set: no %s\n' "$name" "$file" >&2
        return
    fi
    case $value in
        *[!A-Za-z0-9_.~+/=-]*) printf '%s may have letters, digits and _.~+/=- only\n' "$name" >&2; exit 1 ;;
    esac
    if [ "${#value}" -lt 16 ]; then
        printf '%s is shorter than 16 characters\n' "$name" >&2
        exit 1
    fi
    printf '%s = %s\n' "$line" "$value" >"$to/$file"
}

mkdir -p "$to"
put ami.conf ASTERISK_AMI_SECRET "${ASTERISK_AMI_SECRET:-}" secret
put ari.conf ASTERISK_ARI_PASSWORD "${ASTERISK_ARI_PASSWORD:-}" password
put phone.conf PHONE_PASSWORD "${PHONE_PASSWORD:-}" password
put trunk.conf SIP_TRUNK_PASSWORD "${SIP_TRUNK_PASSWORD:-}" password
if [ -n "${SIP_TRUNK_USER:-}" ] && [ -f "$to/trunk.conf" ]; then
    case $SIP_TRUNK_USER in
        *[!A-Za-z0-9_.+@-]*) printf 'SIP_TRUNK_USER may have letters, digits and _.+@- only\n' >&2; exit 1 ;;
    esac
    printf 'username = %s\n' "$SIP_TRUNK_USER" >>"$to/trunk.conf"
fi
# Asterisk does not run as root on Debian: its group may read.
if [ "$(id -u)" -eq 0 ] && getent group asterisk >/dev/null; then
    chgrp -R asterisk "$to"
fi
printf 'written: %s\n' "$to" >&2
