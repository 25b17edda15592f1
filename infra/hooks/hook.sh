# shellcheck shell=sh
# What every hook begins with: the project's folder, words for people, and patience. Sourced, never run.
# azd gives hooks the values of its environment, outputs of the deployment among them, as environment variables.

cd "$(dirname "$0")/../.." || exit

HOOK=$(basename "$0" .sh)
HOOK_PATIENCE_S=${HOOK_PATIENCE_S:-600} # how long what Azure has not noticed yet is waited for
HOOK_PAUSE_S=${HOOK_PAUSE_S:-20}

say() {
    printf '%s: %s\n' "$HOOK" "$*"
}

warn() {
    printf '%s: warning: %s\n' "$HOOK" "$*" >&2
}

stop() {
    printf '%s: %s\n' "$HOOK" "$*" >&2
    exit 1
}

need_program() { # name, where it is to be had
    command -v "$1" >/dev/null 2>&1 || stop "$1 was not found. Install it ($2), then run the same azd command again."
}

need_value() { # name of an output of the deployment
    eval "value=\${$1:-}"
    [ -n "$value" ] || stop "$1 is not in the azd environment. Run 'azd provision', which sets it, then the same command again."
}

need_sign_in() {
    need_program az "https://aka.ms/azure-cli"
    if [ -n "${AZURE_SUBSCRIPTION_ID:-}" ]; then
        az account show --subscription "$AZURE_SUBSCRIPTION_ID" --output none 2>/dev/null ||
            stop "az does not reach the subscription $AZURE_SUBSCRIPTION_ID. Sign in to its tenant with 'az login', then run the same azd command again."
    else
        az account show --output none 2>/dev/null ||
            stop "az is not signed in. Run 'az login', then the same azd command again."
    fi
}

is_true() {
    case $1 in [Tt][Rr][Uu][Ee] | 1) return 0 ;; *) return 1 ;; esac
}

# The Stream Analytics job that the last deployment made.
job_url() { # what to do with it: /start, /stop or nothing
    printf '/subscriptions/%s/resourceGroups/%s/providers/Microsoft.StreamAnalytics/streamingjobs/%s%s?api-version=2020-03-01' \
        "${AZURE_SUBSCRIPTION_ID:-}" "${AZURE_RESOURCE_GROUP:-}" "${STREAM_ANALYTICS_JOB_NAME:-}" "$1"
}

job_state() {
    az rest --method get --url "$(job_url '')" --query properties.jobState --output tsv
}

# Run a command, show what it says and keep it in $log.
told() {
    rm -f "$log.failed"
    { "$@" 2>&1 || touch "$log.failed"; } | tee "$log"
    [ ! -e "$log.failed" ]
}

# Run a command until it succeeds or patience is over. What fails without saying anything of `passing` (an extended regular
# expression) is no matter of patience.
patiently() { # passing, what is waited for, command…
    passing=$1 awaited=$2
    shift 2
    waited=0
    until told "$@"; do
        grep -Eq "$passing" "$log" || return 1
        if [ "$waited" -ge "$HOOK_PATIENCE_S" ]; then
            say "gave up after $waited seconds of waiting for $awaited."
            return 1
        fi
        [ "$waited" -gt 0 ] || say "waiting for $awaited, at most $((HOOK_PATIENCE_S / 60)) minutes …"
        sleep "$HOOK_PAUSE_S"
        waited=$((waited + (HOOK_PAUSE_S > 0 ? HOOK_PAUSE_S : 1)))
    done
}

log=$(mktemp)
trap 'rm -f "$log" "$log.failed"' EXIT
