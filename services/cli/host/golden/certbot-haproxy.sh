#!/bin/sh
# certbot deploy hook: certificate and key for HAProxy
# Put it into /etc/letsencrypt/renewal-hooks/deploy (chmod 755): certbot runs what is there after a renewal that
# succeeded. What is in post/ runs after one that failed, too.
set -eu
# certbot runs the hook for each certificate of the machine.
# Set by certbot: the folder with fullchain.pem and privkey.pem.
lineage=$RENEWED_LINEAGE
[ "$(basename "$lineage")" = mail.example.com ] || exit 0
# The key is for those alone who are named below, from its first octet on.
umask 077
pem=${HAPROXY_PEM:-/etc/millrace/certificates}
socket=${HAPROXY_SOCKET:-/run/haproxy/admin.sock}
mkdir -p "$(dirname "$pem")"
# Without blank lines: HAProxy's socket takes one for the end of the certificate.
sed "/^[[:space:]]*$/d" "$lineage/fullchain.pem" "$lineage/privkey.pem" > "$pem.new"
# Key and certificate must be a pair: HAProxy would not start again with another one.
if [ "$(openssl x509 -in "$pem.new" -noout -pubkey)" != "$(openssl pkey -in "$pem.new" -pubout)" ]; then
  rm -f "$pem.new"
  echo "$lineage: key and certificate are no pair; $pem is as it was" >&2
  exit 1
fi
mv -f "$pem.new" "$pem"
# Not running, or without its socket: it reads the file when it starts.
[ -S "$socket" ] || { echo "no socket $socket: HAProxy reads $pem when it is reloaded" >&2; exit 0; }
if ! command -v socat > /dev/null; then
  # Without socat by a reload: the old process goes on with its sessions.
  exec systemctl reload haproxy
fi
said=$(printf "set ssl cert %s <<\n%s\n\n" "$pem" "$(cat "$pem")" | socat -t5 - "UNIX-CONNECT:$socket"
       printf "commit ssl cert %s\n" "$pem" | socat -t5 - "UNIX-CONNECT:$socket")
case $said in
  *Success!*) ;;
  *) echo "HAProxy refused the certificate: $said" >&2; exit 1 ;;
esac
