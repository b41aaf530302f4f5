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

port() {
    local dir
    for dir in /sys/class/virtio-ports/*; do
        [[ -e $dir/name && $(<"$dir/name") == "$1" ]] && echo "/dev/${dir##*/}"
    done
}

exec 3>"$(port hf.control)"
read -r up _ </proc/uptime
echo "ready $up" >&3

if [[ -e /run/payload/interactive ]]; then
    . /run/payload/interactive
    # Kept open: the last close of a terminal forgets its size.
    exec 6<>/dev/hvc0
    stty sane rows "$ROWS" cols "$COLUMNS" <&6
    setsid --ctty --wait bash --login -i <&6 >&6 2>&6 3>&- 6>&-
    status=$?
else
    # A port can be opened only once, and programs open /dev/stderr again: so they get pipes.
    mkfifo /run/out /run/err
    cat /run/out >"$(port hf.out)" 3>&- &
    copiers=($!)
    cat /run/err >"$(port hf.err)" 3>&- &
    copiers+=($!)
    exec 4>/run/out 5>/run/err
    setsid --wait bash /run/payload/command </dev/null >&4 2>&5 3>&- 4>&- 5>&-
    status=$?
    exec 4>&- 5>&-
    # Something left behind in the background may keep the pipes open: what it wrote so far is enough.
    for _ in {1..30}; do
        kill -0 "${copiers[@]}" 2>/dev/null || break
        read -rt 0.1 <> <(:)
    done
fi
if [[ $status == 0 && -e /run/boot-again ]]; then
    # As when the power fails: what was not written to the disk is lost.
    echo again >&3
    /run/payload/busybox reboot -n -f
    sleep 60
fi
echo "exit $status" >&3
/run/payload/busybox poweroff -f
sleep 60
