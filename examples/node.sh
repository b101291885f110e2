#!/bin/sh
# A GPU node without Python: takes the units of a job one after the other, with curl and jq alone, and hands each to a
# command, which finds the unit's parts as files in its folder.
#
#     PENSTOCK_NODE=node-0 sh examples/node.sh sh -c 'cat "$1"/* | wc -c' work
#
# It reads PENSTOCK_URL, PENSTOCK_JOB, PENSTOCK_TOKEN and PENSTOCK_NODE. The command's exit code is the unit's outcome.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The token goes by a file that only we can read: a command line is anybody's to see.
umask 077
printf 'header = "Authorization: Bearer %s"\nheader = "Content-Type: application/json"\n' "$PENSTOCK_TOKEN" >"$work/auth"
call() {
  curl -fsS --retry 8 --retry-all-errors --max-time 120 -K "$work/auth" -d "$2" "$PENSTOCK_URL/v1/jobs/$PENSTOCK_JOB/$1"
}

# fetch PART FILE: a range of it where it is one of records; nothing for a chunk of fill values.
fetch() {
  [ "$(echo "$1" | jq -r '.url == null')" = false ] || return 0
  echo "$1" | jq -r '"url = " + (.url | @json), (.headers | to_entries[] | "header = " + ("\(.key): \(.value)" | @json)),
    (.range // empty | "header = \"Range: bytes=\(.offset)-\(.offset + .length - 1)\"")' >"$work/get"
  curl -fsS --retry 8 --max-time 600 -K "$work/get" -o "$2" &&
    [ "$(wc -c <"$2")" -eq "$(echo "$1" | jq .size)" ]
}

while :; do
  request=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  answer=$(call leases "{\"node\":\"$PENSTOCK_NODE\",\"request\":\"$request\",\"count\":1}")
  case $(echo "$answer" | jq -r .state) in
    done) break ;;
    wait) sleep "$(echo "$answer" | jq .retryAfterSeconds)" && continue ;;
  esac
  lease=$(echo "$answer" | jq -r '.leases[0].lease // empty')
  [ -n "$lease" ] || continue
  rm -rf "$work/unit" && mkdir "$work/unit"
  count=$(echo "$answer" | jq '.leases[0].parts | length') number=0 outcome=done
  while [ "$number" -lt "$count" ] && [ $outcome = done ]; do
    part=$(echo "$answer" | jq -c ".leases[0].parts[$number]")
    fetch "$part" "$work/unit/$(printf %04d "$number")" || outcome=failed
    number=$((number + 1))
  done
  [ $outcome = failed ] || "$@" "$work/unit" </dev/null || outcome=failed
  ack=$(jq -nc --arg lease "$lease" --arg outcome $outcome --arg node "$PENSTOCK_NODE" \
    '{node: $node, acks: [{lease: $lease, outcome: $outcome} + if $outcome == "failed" then {reason: "the node could not"} else {} end]}')
  call acks "$ack" | jq -r '.acks[] | "unit \(.unit): \(.outcome)"'
done
