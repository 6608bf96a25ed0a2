# Waits until the engine of the release answers, joins Ray where it is Ray, and becomes the program given.
set -euo pipefail
wait_seconds=600

# answers ADDRESS: whether somebody listens at scheme://host:port
answers() {
  local place=${1#*://}
  (exec 3<>"/dev/tcp/${place%:*}/${place##*:}") 2>/dev/null
}

await() {
  local end=$((SECONDS + wait_seconds))
  until answers "$1"; do
    if ((SECONDS >= end)); then
      echo "nobody answered at $1 within $wait_seconds s: kubectl get pods shows which pod is not ready" >&2
      exit 1
    fi
    sleep 1
  done
}

case $ENGINE in
dask) await "$DASK_SCHEDULER_ADDRESS" ;;
ray)
  await "$RAY_ADDRESS"
  # Ray takes a driver on its own nodes only; this one offers no processors.
  ray start --address "$RAY_ADDRESS" --num-cpus 0 --disable-usage-stats >&2
  ;;
esac
exec "$@"
