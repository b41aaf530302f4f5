#!/bin/bash
# What goes on in the files of a hosting node. $1 says what; the rest is for it to know.
set -eu
what=$1
shift

case $what in
requests)
    # $1 site, $2 how many: temporary files of uploads come and go, and a picture takes another's
    # place.
    cd "$1"
    for ((n = 0; n < $2; n++)); do echo upload > "tmp/php-$n"; done
    mv tmp/php-0 "uploads/picture-$(($2 % 10)).jpg"
    rm -f tmp/php-*
    ;;
flush) # $1 site, $2 how many: a cache of pages is filled, and flushed in one go.
    cd "$1/cache"
    for ((n = 0; n < $2; n++)); do echo "<html>$n" > "page-$n.html"; done
    find . -name 'page-*.html' -delete
    ;;
mail) # $1 mailbox, $2 how many: messages come, are read, and are expunged.
    cd "$1"
    for ((n = 0; n < $2; n++)); do echo "Subject: $n" > "new/$n"; done
    for message in new/*; do mv "$message" "cur/${message#new/}:2,S"; done
    rm -f cur/[0-9]*
    ;;
update) # $1 site, $2 which plugin: the new version is put beside the old one, which goes then.
    cd "$1/plugins"
    cp -r "plugin-$2" "plugin-$2.new"
    mv "plugin-$2" "plugin-$2.old"
    mv "plugin-$2.new" "plugin-$2"
    rm -rf "plugin-$2.old"
    ;;
deploy) # $1 site, $2 origin: a release by git, and its leftovers.
    cd "$1"
    git config --global --add safe.directory '*'
    rm -rf release.old
    [ ! -d release ] || mv release release.old
    git -c transfer.unpackLimit=10000 clone -q --no-local "$2" release
    git -C release gc -q --prune=now
    ;;
edit) # $1 site: as editors write.
    for editor in 'vim.tiny -es -u NONE -c %s/a/b/e -c wq' 'sed -i s/b/a/'; do
        $editor "$1/config.php"
    done
    ;;
clean) # $1 site, $2 how many: what an intruder left behind is looked for and removed.
    for ((n = 0; n < $2; n++)); do echo '<?php eval' > "$1/uploads/shell-$n.php"; done
    find "$1/uploads" -name 'shell-*.php' -exec rm -f {} +
    ;;
leave) # $1 site, $2 how many: a former version of the site, kept for a while, is removed.
    mkdir -p "$1/old-site"
    for ((n = 0; n < $2; n++)); do echo "page $n" > "$1/old-site/page-$n.html"; done
    rm -rf "$1/old-site"
    ;;
renew) # $1 site: a certificate takes the place of the one before.
    mkdir -p "$1/tls"
    for file in cert.pem key.pem; do
        echo new > "$1/tls/$file.new"
        mv "$1/tls/$file.new" "$1/tls/$file"
    done
    ;;
quarantine) # $1 site, $2 where to: a scanner takes a file away.
    echo '<?php eval' > "$1/uploads/found.php"
    mv "$1/uploads/found.php" "$2/found-$RANDOM.php"
    ;;
backup)
    # $1 customer, $2 copies, $3 today, $4 how many are kept: unchanged files are links to the copy
    # before.
    last=$(ls -d "$2"/day-* 2> /dev/null | tail -n 1)
    rsync -a --delete ${last:+--link-dest "$last"} "$1/" "$2/$3.new/"
    mv "$2/$3.new" "$2/$3"
    echo "dump $3" > "$2/database.sql.new"
    mv "$2/database.sql.new" "$2/database.sql"
    ls -d "$2"/day-* | head -n "-$4" | xargs -r rm -rf
    ;;
logrotate) # $1 configuration, $2 state: logs lie beside the zones, as they should.
    logrotate --force --state "$2" "$1"
    ;;
*)
    echo "work: what is $what?" >&2
    exit 2
    ;;
esac
