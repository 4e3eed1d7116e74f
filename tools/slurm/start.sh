#!/usr/bin/env bash
# Starts a real Slurm on 127.0.0.1 in FOLDER, for tests: no systemd, no system configuration, own
# ports and key, one node, no accounting. Prints the line that a shell needs to use it:
#
#   eval "$(tools/slurm/start.sh FOLDER)"    then sbatch, squeue and so on
#   tools/slurm/stop.sh FOLDER               stops it and removes the folder
#
# FOLDER must not exist, be empty or be one that this script made; a Slurm that still runs in it is
# stopped first. Needs root (or sudo without a password) and Debian's slurm-wlm and munge, which are
# installed where they are missing. Exit code 3: something lacks, which is said; 1: it did not start.
set -euo pipefail

say() { echo "slurm: $*" >&2; }
lacks() {
    say "$@"
    exit 3
}

[ $# = 1 ] || {
    say "usage: start.sh FOLDER"
    exit 2
}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || lacks "needs root: its daemons start tasks as the user who submits"
    exec sudo -n "$here/start.sh" "$1"
fi
PATH=$PATH:/usr/sbin:/sbin

missing=()
for program in slurmctld slurmd sbatch munged; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || lacks "needs ${missing[*]}: install Slurm and munge"
    say "installs slurm-wlm and munge"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy slurm-wlm munge; } >&2 ||
        lacks "needs ${missing[*]}: apt install slurm-wlm munge"
fi
id munge >/dev/null 2>&1 || lacks "needs the user munge, whom the package munge makes"

case $1 in *[[:space:]\"\'%]*) lacks "the folder's name must have no space, quote or %: $1" ;; esac
folder=$(realpath -m "$1")
if [ -e "$folder/slurm.conf" ]; then
    "$here/stop.sh" "$folder"
elif [ -d "$folder" ] && [ -n "$(ls -A "$folder")" ]; then
    lacks "$folder holds something else: name a new folder"
fi
mkdir -p "$folder"
# Root alone may write there: what lies in it runs as root.
[ -O "$folder" ] && [ ! -L "$folder" ] || lacks "$folder belongs to someone else"
chmod 711 "$folder"
mkdir -p "$folder"/{state,spool,log,munge}
chown munge: "$folder/munge"
as_munge() { setpriv --reuid=munge --regid=munge --clear-groups "$@"; }
as_munge test -x "$folder/munge" || {
    rm -rf "$folder"
    lacks "the user munge cannot reach $folder: name one below /tmp"
}

# Ports below those that the system hands out.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + (RANDOM % 10000)))
        if [ "$port" != "${1:-}" ] && ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    lacks "found no free port"
}
controller=$(free_port)
node_port=$(free_port "$controller")
host=$(hostname -s)

# CPUs that the machine need not have, so that several tasks run side by side, and two devices that
# stand in for GPUs. Short times; arrays of at most five tasks.
cat >"$folder/slurm.conf" <<CONF
ClusterName=arcrun
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
JobRequeue=1
KillWait=10
MaxArraySize=5
MinJobAge=300
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 NodeHostname=$host CPUs=8 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=normal Nodes=$host Default=YES MaxTime=01:00:00 PriorityTier=1 GraceTime=0
PartitionName=urgent Nodes=$host MaxTime=01:00:00 PriorityTier=9
CONF
echo "NodeName=$host Name=gpu File=/dev/null,/dev/zero" >"$folder/gres.conf"
export SLURM_CONF=$folder/slurm.conf

# failed WHAT LOG: with the last that it said.
failed() {
    say "$1 did not start"
    tail -n 20 "$2" >&2 || true
    "$here/stop.sh" "$folder"
    exit 1
}

head -c 1024 /dev/urandom | as_munge sh -c 'umask 077; cat >"$1"' sh "$folder/munge/key"
as_munge munged --socket="$folder/munge/socket" --key-file="$folder/munge/key" \
    --pid-file="$folder/munge/munged.pid" --log-file="$folder/munge/log" \
    --seed-file="$folder/munge/seed" >&2 || failed munged "$folder/munge/log"
slurmctld </dev/null >&2 || failed slurmctld "$folder/log/slurmctld.log"
slurmd -N "$host" </dev/null >&2 || failed slurmd "$folder/log/slurmd.log"

for _ in $(seq 150); do
    if sinfo -h -o %T 2>/dev/null | grep -q '^idle'; then
        echo "export SLURM_CONF=$SLURM_CONF"
        exit 0
    fi
    sleep 0.1
done
sinfo >&2 || true
failed "the node" "$folder/log/slurmd.log"
