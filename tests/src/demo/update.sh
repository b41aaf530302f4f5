#!/bin/bash
# update-2012-06.sh: close a vulnerability on the target servers.
# Made from last month's script.
#
# $1 customers' data, $2 the backup area. Both in one go: a backup that was restored without the
# fix has brought a vulnerability back before.

CUSTOMERS=$1
BACKUPS=$2

# The line that limits the run to the target servers. It was missing:
#   grep -qx "$(hostname)" targets.txt || exit 0

apply_fix() {
    : # the fix itself: not what went wrong
}

clean_up() {
    # From last month's script, which really had to delete. The line that keeps it from
    # running this time was missing as well:
    #   return 0
    find "$1" -mindepth 2 -type f -exec rm -f {} +
    rm -rf "${1:?}"/*
}

for area in "$CUSTOMERS" "$BACKUPS"; do
    echo "update: $area"
    apply_fix "$area"
    clean_up "$area"
done
echo "update: done"
