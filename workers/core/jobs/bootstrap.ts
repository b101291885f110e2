/**
 * The script that makes a machine a node of a job: `curl ... | sh`, with curl alone. What it prints has no secret; the
 * token and what else opens data stand in `penstock-job/env`, which only its owner reads.
 */

/**
 * @param job its id
 * @param environment lines of sh: the variables of `/token`
 */
export function bootstrapScript(job: string, environment: string): string {
  const end = delimiterFor(environment + NODE_COMMAND);
  // All within a function: of a script that was cut off on the way, nothing runs.
  return `#!/bin/sh
# Makes this machine a node of ${job}.
main() {
set -eu
if ! command -v curl >/dev/null 2>&1; then
  echo "penstock: curl is needed, and is not on the PATH" >&2
  exit 1
fi
umask 077
mkdir -p penstock-job
rm -f penstock-job/env
name=$(printf %s "\${PENSTOCK_NODE:-$(uname -n)}" | tr 'A-Z' 'a-z' | tr -c 'a-z0-9-' '-' | sed 's/^-*//' | cut -c 1-63)
cat >penstock-job/env <<'${end}'
${environment}
${end}
echo "export PENSTOCK_NODE='\${name:-node}'" >>penstock-job/env
cat >penstock-job/penstock <<'${end}'
${NODE_COMMAND}${end}
chmod 700 penstock-job/penstock
if ! ./penstock-job/penstock heartbeat >/dev/null; then
  echo "penstock: the heartbeat of \${name:-node} was refused; ./penstock-job/penstock heartbeat says why" >&2
  exit 1
fi
cat <<'${end}'
penstock: this machine is a node of ${job}. What it needs is in ./penstock-job
  . ./penstock-job/env                      sets PENSTOCK_ROOT_URL, and for an hour the AWS variables
  ./penstock-job/penstock heartbeat         say that you are there, more often than the job's heartbeatTimeoutSeconds
  ./penstock-job/penstock leases 4          lease four units, with URLs that read them
  ./penstock-job/penstock acks JSON         settle them; "-" reads the JSON from stdin
  ./penstock-job/penstock urls JSON         URLs for keys of your choice
  ./penstock-job/penstock help              all commands
${end}
}
main "$@"
`;
}

/** JSON in and out. The token goes to curl through a descriptor: who lists processes does not see it. */
const NODE_COMMAND = `#!/bin/sh
# What a node says to Penstock: penstock COMMAND [JSON]
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env"
answer="$here/.answer.$$"
trap 'rm -f "$answer"' EXIT
trap 'exit 1' HUP INT PIPE TERM

# ask METHOD PATH [JSON]: prints the answer; fails when it is a refusal, which then goes to stderr.
ask() {
  if [ "$#" -gt 2 ]; then
    status=$(printf %s "$3" | curl -sS -o "$answer" -w '%{http_code}' -X "$1" --config /dev/fd/3 \\
      -H 'Content-Type: application/json' --data-binary @- "$PENSTOCK_URL/v1/jobs/$PENSTOCK_JOB$2" 3<<END
header = "Authorization: Bearer $PENSTOCK_TOKEN"
END
    ) || exit 1
  else
    status=$(curl -sS -o "$answer" -w '%{http_code}' -X "$1" --config /dev/fd/3 \\
      "$PENSTOCK_URL/v1/jobs/$PENSTOCK_JOB$2" 3<<END
header = "Authorization: Bearer $PENSTOCK_TOKEN"
END
    ) || exit 1
  fi
  case $status in
    2*) cat "$answer"; echo ;;
    *) cat "$answer" >&2; echo >&2; exit 22 ;;
  esac
}

# The JSON of a command: its argument, or stdin where that is "-".
json() {
  if [ "$1" = - ]; then cat; else printf %s "$1"; fi
}

command=\${1:-help}
[ "$#" -eq 0 ] || shift
case $command in
  heartbeat)
    [ "$#" -gt 0 ] || set -- "{\\"node\\":\\"$PENSTOCK_NODE\\"}"
    ask POST /heartbeat "$(json "$1")"
    ;;
  leases)
    case \${1:-1} in
      *[!0-9]*) ask POST /leases "$(json "$1")" ;;
      *) ask POST /leases "{\\"node\\":\\"$PENSTOCK_NODE\\",\\"request\\":\\"$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')\\",\\"count\\":\${1:-1}}" ;;
    esac
    ;;
  acks | urls | outputs | outputs/parts | outputs/commit | outputs/abort)
    ask POST "/$command" "$(json "\${1:?penstock: this command needs JSON, or - to read it from stdin}")"
    ;;
  token | checkpoint | finish)
    [ "$#" -gt 0 ] || set -- '{}'
    ask POST "/$command" "$(json "$1")"
    ;;
  checkpoints | checkpoints/*)
    ask GET "/$command"
    ;;
  help)
    cat <<'END'
penstock heartbeat [JSON]          say that this node is there; JSON has "node" and its figures
penstock leases [COUNT | JSON]     lease units, with URLs that read them
penstock acks JSON                 settle leases: done, failed or released
penstock urls JSON                 URLs that read keys, or write outputs
penstock outputs JSON              announce outputs; then outputs/parts, outputs/commit, outputs/abort
penstock checkpoints[/NAME]        checkpoints that are whole; checkpoints/latest is the newest
penstock checkpoint                a state that another job can go on from
penstock token                     fresh URLs, credentials and environment
penstock finish [JSON]             end the job
JSON is one argument, or - to read it from stdin. A refusal goes to stderr, with exit code 22.
END
    ;;
  *)
    echo "penstock: there is no command $command; see penstock help" >&2
    exit 2
    ;;
esac
`;

/** A line that ends a here-document and is not in it. */
function delimiterFor(text: string): string {
  let end = "PENSTOCK_END";
  while (text.includes(end)) end += "_";
  return end;
}
