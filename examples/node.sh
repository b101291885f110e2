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

# ask FILE ARGUMENTS: has curl write the answer there, also that of a refusal, which is no success. What may pass is asked
# again, as it was: so is what was not answered, or broke off in the middle.
ask() {
  file=$1
  shift
  for pause in 1 2 4 8 16 30 30 0; do
    : >"$file"
    status=$(curl -sS -o "$file" -w '%{http_code}' "$@") || status=000
    case $status in
      2??) return 0 ;;
      000 | 408 | 425 | 429 | 5??) sleep "$pause" ;;
      *) return 1 ;;
    esac
  done
  return 1
}
# call FILE ROUTE JSON: the answer is in the file.
call() { ask "$1" --max-time 120 -K "$work/auth" -d "$3" "$PENSTOCK_URL/v1/jobs/$PENSTOCK_JOB/$2"; }
field() { jq -r "$2" "$1"; }
# refused FILE: tells why, and ends the node.
refused() {
  printf 'HTTP %s\n' "$status" | cat - "$1" >&2
  exit 1
}

# A node that is silent loses its leases, however busy it is.
while sleep 20; do call "$work/beat" heartbeat "{\"node\":\"$PENSTOCK_NODE\"}" || :; done </dev/null >/dev/null 2>&1 &
beats=$!

# fetch PART FILE: a range of it where it is one of records; an empty file for a chunk of fill values.
fetch() {
  if [ "$(field "$1" '.url == null')" = true ]; then : >"$2" && return; fi
  jq -r '"url = " + (.url | @json), (.headers | to_entries[] | "header = " + ("\(.key): \(.value)" | @json)),
    (.range // empty | "header = \"Range: bytes=\(.offset)-\(.offset + .length - 1)\"")' "$1" >"$work/get"
  ask "$2" --max-time 600 -K "$work/get" && [ "$(wc -c <"$2")" -eq "$(field "$1" .size)" ] && return
  printf '%s: HTTP %s\n' "$(field "$1" .key)" "$status" >&2
  return 1
}

answer=$work/answer
while :; do
  request=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  if ! call "$answer" leases "{\"node\":\"$PENSTOCK_NODE\",\"request\":\"$request\",\"count\":1}"; then
    # Another node has finished the job, or is about to.
    case $(field "$answer" .code) in
      job-ended) break ;;
      job-finishing) sleep 5 && continue ;;
    esac
    refused "$answer"
  fi
  case $(field "$answer" .state) in
    done) break ;;
    wait) sleep "$(field "$answer" .retryAfterSeconds)" && continue ;;
  esac
  lease=$(field "$answer" .leases[0].lease)
  rm -rf "$work/unit" && mkdir "$work/unit"
  count=$(field "$answer" '.leases[0].parts | length') number=0 outcome=done
  while [ "$number" -lt "$count" ] && [ $outcome = done ]; do
    field "$answer" ".leases[0].parts[$number] | @json" >"$work/part"
    fetch "$work/part" "$work/unit/$(printf %04d "$number")" || outcome=failed
    number=$((number + 1))
  done
  [ $outcome = failed ] || "$@" "$work/unit" </dev/null || outcome=failed
  ack=$(jq -nc --arg lease "$lease" --arg outcome $outcome --arg node "$PENSTOCK_NODE" \
    '{node: $node, acks: [{lease: $lease, outcome: $outcome} + if $outcome == "failed" then {reason: "the node could not"} else {} end]}')
  if ! call "$answer" acks "$ack"; then
    [ "$(field "$answer" .code)" != job-ended ] || break
    refused "$answer"
  fi
  field "$answer" '.acks[] | "unit \(.unit): \(.outcome)"'
done
