#!/bin/sh
# certbot deploy hook: certificate and key for edges that end TLS themselves
# Put it into /etc/letsencrypt/renewal-hooks/deploy (chmod 755): certbot runs what is there after a renewal that
# succeeded. What is in post/ runs after one that failed, too.
set -eu
# certbot runs the hook for each certificate of the machine.
# Set by certbot: the folder with fullchain.pem and privkey.pem.
lineage=$RENEWED_LINEAGE
[ "$(basename "$lineage")" = mail.example.com ] || exit 0
# The key is for those alone who are named below, from its first octet on.
umask 077
# The edges' configuration has: cert: <folder>/current/fullchain.pem, key: <folder>/current/privkey.pem
folder=${MILLRACE_TLS:-/etc/millrace/certificates}
group=${MILLRACE_GROUP:-millrace}
# Edges read both files anew within two seconds. They change together, by one link: there is no moment with a new
# certificate and an old key.
next=$(date -u +%Y%m%dT%H%M%SZ).$$
(umask 022; mkdir -p "$(dirname "$folder")")
mkdir -p "$folder/$next"
cp "$lineage/fullchain.pem" "$lineage/privkey.pem" "$folder/$next/"
chgrp -R "$group" "$folder/$next"
chmod 750 "$folder/$next"
chmod 640 "$folder/$next/fullchain.pem" "$folder/$next/privkey.pem"
chgrp "$group" "$folder"
chmod 750 "$folder"
last=$(readlink "$folder/current" || true)
ln -s "$next" "$folder/current.$$"
mv -T "$folder/current.$$" "$folder/current"
# The one before stays, for an edge that is just reading it; those before it go.
for old in "$folder"/*T*Z.*; do
  case $(basename "$old") in "$next" | "$last") ;; *) rm -rf "$old" ;; esac
done
