#!/bin/sh
# After everything is made: start the Stream Analytics job, where one was chosen. It is made stopped, and costs while it runs.
set -eu
# shellcheck source=infra/hooks/hook.sh
. "$(dirname "$0")/hook.sh"

if [ -z "${STREAM_ANALYTICS_JOB_NAME:-}" ]; then
    exit 0
fi
need_sign_in
need_value AZURE_RESOURCE_GROUP
need_value AZURE_SUBSCRIPTION_ID

# Azure takes the wish to start at once. Whether the job may read the hub and write, it finds out in the minutes after.
start_job() {
    az rest --method post --url "$(job_url /start)" --body "{\"outputStartMode\": \"$from\"}" --output none || return 1
    looks=0
    while state=$(job_state) && [ "$state" = Starting ] && [ "$looks" -lt 30 ]; do
        sleep "$HOOK_PAUSE_S"
        looks=$((looks + 1))
    done
    case $state in Running | Starting | Degraded) ;; *)
        echo "The Stream Analytics job is ${state:-not to be seen}."
        return 1
        ;;
    esac
}

state=$(job_state 2>"$log") ||
    stop "the Stream Analytics job $STREAM_ANALYTICS_JOB_NAME cannot be looked at: $(head -n 1 "$log")"
case $state in
Created | Stopped | Failed) ;;
Stopping) stop "the Stream Analytics job $STREAM_ANALYTICS_JOB_NAME is being stopped. Run 'azd provision' again in a minute, which starts it." ;;
*)
    say "the Stream Analytics job $STREAM_ANALYTICS_JOB_NAME runs already ($state)."
    exit 0
    ;;
esac
# One that ran before goes on where it stopped, so that no reading is lost meanwhile.
last=$(az rest --method get --url "$(job_url '')" --query "properties.lastOutputEventTime || ''" --output tsv 2>/dev/null) || last=
from=JobStartTime
[ -z "$last" ] || from=LastOutputEventTime
say "starting the Stream Analytics job $STREAM_ANALYTICS_JOB_NAME ($from) …"
patiently '403|Forbidden|[Aa]uthoriz|[Pp]ermission|is Failed' "its new roles to count" start_job ||
    stop "the job could not be started; what is above says why. Then run 'azd provision' again."
