#!/bin/busybox sh
# First program of the guest: loads drivers, puts the disks together and goes over to the root disk.
bb=/bin/busybox

give_up() {
    echo "holdfast-guest: cannot go on: $*" >/dev/console
    $bb poweroff -f
    $bb sleep 60
}

disk() {
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        for dir in /sys/block/vd*; do
            if [ "$($bb cat "$dir/serial" 2>/dev/null)" = "$1" ]; then
                echo "/dev/${dir##*/}"
                return
            fi
        done
        $bb usleep 250000
    done
}

$bb mount -t devtmpfs dev /dev
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
while read -r module; do
    $bb insmod "/modules/$module" || give_up "module $module does not load"
done </modules/order

if $bb grep -q holdfast.probe /proc/cmdline; then
    echo "holdfast-guest: probe passed" >/dev/console
    $bb poweroff -f
    $bb sleep 60
fi

root=$(disk hf-root)
[ -n "$root" ] || give_up "the root disk does not appear"
$bb mount -t ext4 -o noatime "$root" /root || give_up "the root disk cannot be mounted"
$bb mount -t ext4 -o ro,noload "$(disk hf-modules)" /root/usr/lib/modules ||
    give_up "the disk with modules cannot be mounted"
$bb mount -t ext4 -o noatime "$(disk hf-data)" /root/data ||
    give_up "the data disk cannot be mounted"
$bb rmdir /root/data/lost+found
if $bb grep -q holdfast.programs /proc/cmdline; then
    $bb mount -t ext4 -o ro,noload "$(disk hf-programs)" /root/opt ||
        give_up "the disk with programs cannot be mounted"
fi
$bb mount -t tmpfs -o size=60%,nr_inodes=400k tmpfs /root/mnt/tmpfs
$bb mount -t tmpfs -o size=60%,mode=755 run /root/run
$bb cp -a /payload /root/run/payload
$bb cp /bin/busybox /root/run/payload/busybox
$bb ip link set lo up
$bb mount --move /dev /root/dev
$bb mount --move /proc /root/proc
$bb mount --move /sys /root/sys
exec $bb switch_root /root /run/payload/init
give_up "switch_root failed"
