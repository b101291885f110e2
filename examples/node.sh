#!/bin/sh
# A GPU node without Python: takes the units of a job one after the other, with curl and jq alone, and hands each to a
# command, which finds the unit's parts as files in a folder, its last argument. Its exit code is the unit's outcome.
#
#     PENSTOCK_NODE=node-0 sh examples/node.sh sh -c 'cat "$1"/* | wc -c' work
#
# It reads PENSTOCK_URL, PENSTOCK_JOB, PENSTOCK_TOKEN and PENSTOCK_NODE, and ends with the job's last unit, or the job.
set -eu
umask 077
work=$(mktemp -d)
beats=
trap '[ -z "$beats" ] || kill "$beats" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The token goes by a file that only we can read: a command line is anybody's to see.
printf 'header = "Authorization: Bearer %s"\nheader = "Content-Type: application/json"\n' "$PENSTOCK_TOKEN" >"$work/auth"

# call ROUTE JSON: prints the answer, also that of a refusal, which is an exit code of 22. What may pass is tried again.
call() {
  curl -sS --fail-with-body --retry 8 --retry-connrefused --max-time 120 -K "$work/auth" -d "$2" \
    "$PENSTOCK_URL/v1/jobs/$PENSTOCK_JOB/$1"
}
field() { printf '%s\n' "$1" | jq -r "$2"; }

# A node that is silent loses its leases, however busy it is.
while sleep 20; do call heartbeat "{\"node\":\"$PENSTOCK_NODE\"}" || :; done </dev/null >/dev/null 2>&1 &
beats=$!

# fetch PART FILE: a range of it where it is one of records; an empty file for a chunk of fill values.
fetch() {
  if [ "$(field "$1" '.url == null')" = true ]; then : >"$2" && return; fi
  printf '%s\n' "$1" | jq -r '"url = " + (.url | @json), (.headers | to_entries[] | "header = " + ("\(.key): \(.value)" | @json)),
    (.range // empty | "header = \"Range: bytes=\(.offset)-\(.offset + .length - 1)\"")' >"$work/get"
  curl -fsS --retry 8 --retry-connrefused --max-time 600 -K "$work/get" -o "$2" &&
    [ "$(wc -c <"$2")" -eq "$(field "$1" .size)" ]
}

while :; do
  request=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  answer=$(call leases "{\"node\":\"$PENSTOCK_NODE\",\"request\":\"$request\",\"count\":1}") || {
    [ "$(field "$answer" .code)" = job-ended ] && break
    printf '%s\n' "$answer" >&2
    exit 1
  }
  case $(field "$answer" .state) in
    done) break ;;
    wait) sleep "$(field "$answer" .retryAfterSeconds)" && continue ;;
  esac
  lease=$(field "$answer" .leases[0].lease)
  rm -rf "$work/unit" && mkdir "$work/unit"
  count=$(field "$answer" '.leases[0].parts | length') number=0 outcome=done
  while [ "$number" -lt "$count" ] && [ $outcome = done ]; do
    part=$(field "$answer" ".leases[0].parts[$number] | @json")
    fetch "$part" "$work/unit/$(printf %04d "$number")" || outcome=failed
    number=$((number + 1))
  done
  [ $outcome = failed ] || "$@" "$work/unit" </dev/null || outcome=failed
  ack=$(jq -nc --arg lease "$lease" --arg outcome $outcome --arg node "$PENSTOCK_NODE" \
    '{node: $node, acks: [{lease: $lease, outcome: $outcome} + if $outcome == "failed" then {reason: "the node could not"} else {} end]}')
  answer=$(call acks "$ack") || {
    printf '%s\n' "$answer" >&2
    exit 1
  }
  field "$answer" '.acks[] | "unit \(.unit): \(.outcome)"'
done
