# shellcheck shell=bash disable=SC2154 # what is not set here is set by the caller
# The files of all three images, run as a container engine would run them: as their root, read-only, as user 65532, without
# capabilities and without a way to new ones. Sourced by deploy/check. It is no container engine: layers, the entry point and
# networks are not tried.

deploy/images/rootfs "$bin/quittance-ingress" "$state/image-ingress"
deploy/images/rootfs "$bin/quittance" "$state/image-worker"
deploy/images/rootfs "$bin/quittance-portal" "$state/image-portal"

# Before anything is mounted into them: what they hold beside our programs is known, by package and licence.
for package in ingress worker portal; do deploy/images/bill "$package" "$state/bill" "$state/image-$package.system"; done
python deploy/checks/bills.py "$state/bill" "$state"

# in_image FOLDER COMMAND...: replaces this shell, so that a signal reaches the program itself.
in_image() {
  local root=$1
  shift
  # shellcheck disable=SC2016 # expanded by the inner shell
  exec unshare --mount -- sh -c '
    root=$1
    shift
    mount --bind "$root" "$root" && mount -o remount,bind,ro "$root" && cd "$root" || exit 125
    exec setpriv --no-new-privs -- chroot --userspec=65532:65532 "$root" "$@"' sh "$root" "$@"
}
export -f in_image

if [ "$(id -u)" -ne 0 ] || ! (in_image "$state/image-worker" /quittance --version) >/dev/null 2>"$state/image.log"; then
  echo "  SKIPPED: this needs root and a mount namespace of its own ($(tail -n 1 "$state/image.log" 2>/dev/null))"
else
  printf '%s' "$worker_url" >"$state/image-worker/run/secrets/database-url"
  printf '%s' "$ingress_url" >"$state/image-ingress/run/secrets/database-url"
  printf '%s' "$portal_url" >"$state/image-portal/run/secrets/database-url"
  chmod 0444 "$state"/image-*/run/secrets/*
  admin=$(free_port) worker_admin=$(free_port) portal_admin=$(free_port)
  DATABASE_URL_FILE=/run/secrets/database-url INGRESS_ADDR=127.0.0.1:$(free_port) INGRESS_ADMIN_ADDR=127.0.0.1:$admin LOG_FORMAT=json \
    start image-ingress bash -c "in_image $state/image-ingress /quittance-ingress"
  # An https origin, so that the certificates of the image are read, as they are for Stripe's own; nothing is sent there.
  DATABASE_URL_FILE=/run/secrets/database-url WORKER_ADMIN_ADDR=127.0.0.1:$worker_admin LOG_FORMAT=json STRIPE_API_BASE=https://127.0.0.1:1 \
    start image-worker bash -c "in_image $state/image-worker /quittance worker"
  # It has no key of Stripe's.
  DATABASE_URL_FILE=/run/secrets/database-url PORTAL_ADDR=127.0.0.1:$(free_port) PORTAL_ADMIN_ADDR=127.0.0.1:$portal_admin LOG_FORMAT=json \
    start image-portal env -u STRIPE_SECRET_KEY -u STRIPE_WEBHOOK_SECRET -u REDIS_URL bash -c "in_image $state/image-portal /quittance-portal"
  await_ready image-ingress "${pids[0]}" "$admin"
  await_ready image-worker "${pids[1]}" "$worker_admin"
  await_ready image-portal "${pids[2]}" "$portal_admin"
  for i in "${!pids[@]}"; do
    running_as=$(ps -o uid= -p "${pids[$i]}" | tr -d ' ')
    [ "$running_as" = 65532 ] || die "${names[$i]} runs as user $running_as"
    if grep -qE '^Cap(Eff|Prm|Inh):[[:space:]]*0*[1-9a-f]' "/proc/${pids[$i]}/status"; then die "${names[$i]} has capabilities"; fi
  done
  sizes=$(for name in ingress worker portal; do echo "$name $(du -shL "$state/image-$name" | cut -f1)"; done | paste -sd, | sed 's/,/, /g')
  echo "  ready, user $running_as, no capabilities: $sizes of files (of a build without optimisation where target/debug is used)"
  stop_programs
  for name in ingress portal; do
    grep -q 'every request was answered' "$state/image-$name.log" || show_log_and_die "image-$name" 'did not drain when it was told to stop'
  done
  grep -q 'every running job finished' "$state/image-worker.log" || show_log_and_die image-worker 'did not drain when it was told to stop'
  echo '  SIGTERM reaches each process and drains it'
fi
