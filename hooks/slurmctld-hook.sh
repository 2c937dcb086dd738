#!/bin/sh
# Notify slurmsyncd that a job started or ended: the hook for controllers where 7 ms of Python are too slow.
#
# The script creates one empty file in the directory of the daemon's setting `spool` in [hook]. The name of the
# file is the notification. The script starts no program, so it costs as much as a start of sh (below 1 ms). It
# exits with status 0 in every case. An existing file is not changed. Because of `set -C` (O_EXCL) no symbolic
# link is followed: the directory belongs to the daemon's user, and SlurmUser may be root.
#
# If `spool` is another directory, name it here:
spool=${1:-/run/slurmsyncd/spool}

case $SLURM_CLUSTER_NAME$SLURM_JOB_ID$SLURM_JOB_RESTART_COUNT in
*[!0-9A-Za-z_.-]*) exit 0 ;;
esac
fields=context=${SLURM_SCRIPT_CONTEXT%%_*},cluster=$SLURM_CLUSTER_NAME,job=$SLURM_JOB_ID
file=$spool/$fields,restarts=${SLURM_JOB_RESTART_COUNT:-0}
set -C
[ -e "$file" ] || true 2>/dev/null >"$file"
exit 0
