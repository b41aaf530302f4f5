#!/bin/bash
# Process 1 of the guest: the rest of the file systems, then the one command, then off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/payload HOME=/root
export TERM=xterm LANG=C.UTF-8 HOLDFAST_VM=1
umask 022
mkdir -p /dev/pts /dev/shm /run/lock
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
chmod 1777 /dev/shm /tmp
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cp /etc/hostname /proc/sys/kernel/hostname
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
cd /root

. /run/payload/run-command
if [[ $status == 0 && -e /run/boot-again ]]; then
    # As when the power fails: what was not written to the disk is lost.
    echo again >&3
    /run/payload/busybox reboot -n -f
    sleep 60
fi
echo "exit $status" >&3
/run/payload/busybox poweroff -f
sleep 60
