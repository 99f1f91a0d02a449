#!/bin/sh
# certbot deploy hook: nginx reads the certificate again
# Put it into /etc/letsencrypt/renewal-hooks/deploy (chmod 755): certbot runs what is there after a renewal that
# succeeded. What is in post/ runs after one that failed, too.
set -eu
# certbot runs the hook for each certificate of the machine.
# Set by certbot: the folder with fullchain.pem and privkey.pem.
lineage=$RENEWED_LINEAGE
[ "$(basename "$lineage")" = mail.example.com ] || exit 0
# The key is for those alone who are named below, from its first octet on.
umask 077
# It reads certbot's own files, but at a reload alone. Sessions go on with the old worker processes.
nginx -t -q
if systemctl is-active --quiet nginx 2> /dev/null; then systemctl reload nginx; else nginx -s reload; fi
