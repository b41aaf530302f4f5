# The one command of a guest: over the ports, or on a terminal. Leaves its status in `status`, and
# the control port as descriptor 3.
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
    # Something left behind in the background may keep the pipes open: what it wrote so far is
    # enough.
    for _ in {1..30}; do
        kill -0 "${copiers[@]}" 2>/dev/null || break
        read -rt 0.1 <> <(:)
    done
fi
