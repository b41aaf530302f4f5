# One customer has a filesystem of its own (a volume, a quota image, a tmpfs), mounted below the
# zone's path.
#
# Source: linux-application-whitelisting/fapolicyd#210, s3rj1k/go-fanotify#7 (a watch on a tree
#   does not see what is mounted in it).
# Right: what lies below the zone's path is guarded: 20 of 60 files go. If it cannot be guarded,
#   `policy check`, `status` or `doctor` names it unasked.
. "$(dirname "$0")/lib.sh"

mkdir "$customers/dave" && mount -t tmpfs -o size=16m none "$customers/dave" ||
    result SKIP "cannot mount a tmpfs"
undo() {
    umount -l "$customers/dave" 2>/dev/null
}
make_files "$customers/dave/www" 60
guard "$customers" primary deny 'per = "zone"; files = 20; window = "1h"'
sleep 8 # The agent has looked around by then.
{
    holdfast policy check "$policy"
    holdfast status
    holdfast doctor
} >"$scratch/said" 2>&1
echo "explain: $(holdfast explain "$customers/dave/www/f1" 2>&1 | head -n 2 | tr '\n' ';')"
unit job rm -rf "$customers/dave/www" 2>/dev/null
lost=$((60 - $(files "$customers/dave")))
[ "$lost" -le 20 ] && result PASS "$lost of 60 files went"
said=$(grep -m 1 "$customers/dave" "$scratch/said") &&
    result PASS "$lost of 60 files went, unguarded, and it was said: $said"
result FAIL "$lost of 60 files went, and nothing said that this mount is not guarded; status: \
$(holdfast status | head -n 1)"
