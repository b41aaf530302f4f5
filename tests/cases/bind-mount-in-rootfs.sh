# A container's root is removed while a customer's data is bind-mounted into it, from the same
# filesystem, so that comparing device numbers shows nothing.
#
# Source: lxc/lxc#1051, #2766 and alpinelinux/alpine-chroot-install#50 (destroying a container or
#   chroot took the host's data along).
# Right: 20 of 60 files go.
. "$(dirname "$0")/lib.sh"

rootfs=$base/container/rootfs
make_files "$customers/alice/www" 60
make_files "$rootfs/bin" 5
mkdir -p "$rootfs/mnt/data"
mount --bind "$customers/alice" "$rootfs/mnt/data" || result SKIP "cannot mount"
undo() {
    umount -l "$rootfs/mnt/data" 2>/dev/null
    mountpoint -q "$rootfs/mnt/data" || rm -rf "$base/container"
}
guard "$customers" primary deny 'per = "zone"; files = 20; window = "1h"'
unit destroy rm -rf --one-file-system "$rootfs" 2>/dev/null
lost=$((60 - $(files "$customers/alice")))
if [ "$lost" = 0 ]; then
    unit again rm -rf "$rootfs" 2>/dev/null
    lost=$((60 - $(files "$customers/alice")))
fi
[ "$lost" = 20 ] && result PASS "20 of 60 files went"
result FAIL "$lost of 60 files went where 20 may"
