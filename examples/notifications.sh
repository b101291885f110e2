#!/bin/sh
# Has R2 tell Penstock's manifest queue of what other tools put and delete under a prefix of a dataset.
#
#   examples/notifications.sh <bucket> <prefix> [queue]
#
# Make rules only for prefixes that other tools write: Penstock's own copies and outputs are in the manifest anyway, and a
# notification of one is a message that changes nothing. The bucket must be one under [vars.BUCKETS] of wrangler.toml. Rules of
# a bucket may not overlap. Objects of before the rule come in by POST /v1/datasets/<dataset>/reconcile.
set -eu

if [ $# -lt 2 ]; then
  echo "usage: $0 <bucket> <prefix> [queue]" >&2
  exit 2
fi
bucket=$1
prefix=$2
queue=${3:-penstock-manifest}

case $prefix in
  '' | */) ;;
  *)
    echo "The prefix must be empty or end in \"/\", as a dataset's: \"$prefix\" would tell of its neighbours, too." >&2
    exit 2
    ;;
esac

set -- --event-type object-create --event-type object-delete --queue "$queue" --description "penstock manifest"
if [ -n "$prefix" ]; then set -- "$@" --prefix "$prefix"; fi
npx wrangler r2 bucket notification create "$bucket" "$@"
npx wrangler r2 bucket notification list "$bucket"
