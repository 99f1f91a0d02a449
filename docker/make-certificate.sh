#!/bin/sh
# In /run/certificates: a self-signed certificate for a first try, unless one is there; and fullchain.pem and
# privkey.pem together in haproxy.pem.
set -eu
umask 027
cd /run/certificates
# Files appear whole, under their names, or not at all.
if [ ! -e fullchain.pem ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 \
        -subj "/CN=$MILLRACE_HOSTNAME" -addext "subjectAltName=DNS:$MILLRACE_HOSTNAME" \
        -keyout new.key -out new.pem 2>/dev/null
    chmod 640 new.key new.pem
    mv new.key privkey.pem
    mv new.pem fullchain.pem
    echo "made a self-signed certificate for $MILLRACE_HOSTNAME: clients that verify certificates refuse it" >&2
fi
cat fullchain.pem privkey.pem > new.pem
mv new.pem haproxy.pem
