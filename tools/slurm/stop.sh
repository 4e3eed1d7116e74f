#!/usr/bin/env bash
# Stops the Slurm that start.sh started in FOLDER, with whatever it runs, and removes the folder.
set -euo pipefail

[ $# = 1 ] || {
    echo "slurm: usage: stop.sh FOLDER" >&2
    exit 2
}
if [ "$(id -u)" != 0 ]; then
    exec sudo -n "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/stop.sh" "$1"
fi
folder=$(realpath -m "$1")
if [ ! -e "$folder" ]; then exit 0; fi
[ -e "$folder/slurm.conf" ] || {
    echo "slurm: $folder was not made by start.sh" >&2
    exit 2
}

# alive PID NAME: whether it runs and is that program; one that nobody waited for does not run.
alive() {
    awk -v name="$2" '/^Name:/ { named = $2 == name } /^State:/ { dead = $2 ~ /[ZX]/ }
        END { exit !(named && !dead) }' "/proc/$1/status" 2>/dev/null
}

# stop PIDFILE NAME: ends it and waits for its end.
stop() {
    local pid signal
    pid=$(cat "$1" 2>/dev/null) || return 0
    for signal in TERM KILL; do
        alive "$pid" "$2" && kill "-$signal" "$pid" 2>/dev/null || return 0
        for _ in $(seq 50); do
            alive "$pid" "$2" || return 0
            sleep 0.1
        done
    done
}

# has FILE LINE: whether a process's environment has it.
has() { grep -qzxF -- "$2" "$1"; }

# The controller first: it would start something else.
stop "$folder/slurmctld.pid" slurmctld
stop "$folder/slurmd.pid" slurmd
# Tasks and what watches over them outlive the daemons.
for process in /proc/[0-9]*; do
    if has "$process/environ" "SLURM_CONF=$folder/slurm.conf" &&
        { [ "$(cat "$process/comm")" = slurmstepd ] || grep -qz '^SLURM_JOB_ID=' "$process/environ"; }; then
        kill -KILL "${process#/proc/}" || true
    fi
done 2>/dev/null
stop "$folder/munge/munged.pid" munged
rm -rf "$folder"
