#!/bin/sh
# Before anything is made: is everybody signed in, what is written once, and is there quota for the clusters?
set -eu
# shellcheck source=infra/hooks/hook.sh
. "$(dirname "$0")/hook.sh"

QUOTA_PAGE='https://portal.azure.com/#view/Microsoft_Azure_Capacity/QuotaMenuBlade/~/myQuotas'
usages=$(mktemp)
trap 'rm -f "$log" "$log.failed" "$usages"' EXIT

register() { # a resource provider that nothing in the templates makes Azure register in time
    state=$(az provider show --subscription "$AZURE_SUBSCRIPTION_ID" --namespace "$1" --query registrationState --output tsv 2>/dev/null) || state=
    [ "$state" = Registered ] && return
    say "registering $1 in the subscription …"
    az provider register --subscription "$AZURE_SUBSCRIPTION_ID" --namespace "$1" --wait --output none ||
        warn "$1 could not be registered. If provisioning fails for it, let an owner of the subscription run 'az provider register --namespace $1'."
}

read_usages() {
    az rest --method get --output tsv \
        --url "/subscriptions/$AZURE_SUBSCRIPTION_ID/providers/Microsoft.MachineLearningServices/locations/$AZURE_LOCATION/usages?api-version=2025-06-01" \
        --query 'value[].[name.localizedValue || name.value, limit, currentValue]' >"$usages" 2>"$log"
}

# "limit used name" of a family's quota. Low priority nodes count against the family's own line where there is one, else
# against the region's. Nothing where there is neither.
quota_of() { # family, tier
    awk -F '\t' -v family="$1" -v tier="$2" '
        function plain(text) { text = tolower(text); gsub(/[^a-z0-9]/, "", text); return text }
        BEGIN { wanted = "standard" plain(family) "family"; kind = tier == "low_priority" ? "lowpriority" : "dedicated" }
        index(plain($1), wanted) == 1 && index(plain($1), kind) { own = $2 " " $3 " " $1 }
        kind == "lowpriority" && index(plain($1), "total") == 1 && index(plain($1), kind) { all = $2 " " $3 " " $1 }
        END { if (own != "") print own; else if (all != "") print all }
    ' "$usages"
}

# Whether a cluster at its largest fits into its quota. One that cannot be read is no reason to stop.
fits() { # name of the cluster, VM size, most nodes, tier, setting of the nodes, another way out
    line=$(awk -v size="$2" 'tolower($1) == tolower(size)' infra/hooks/vm-sizes.txt)
    if [ -z "$line" ]; then
        warn "the quota for $1 is not looked at: $2 is not in infra/hooks/vm-sizes.txt."
        return 0
    fi
    # shellcheck disable=SC2086 # the words of the line
    set -- "$@" $line
    cores=$8 family=$9
    needed=$((cores * $3))
    found=$(quota_of "$family" "$4")
    limit=${found%% *}
    case $limit in
    '' | *[!0-9]*)
        [ "${limit#-}" = "$limit" ] && warn "the quota of the family $family ($4) in $AZURE_LOCATION is not told. $1 needs $needed cores of it."
        return 0 # a negative limit is none
        ;;
    esac
    rest=${found#* }
    used=${rest%% *} quota=${rest#* }
    if [ "$needed" -le "$limit" ]; then
        if [ "$used" -gt 0 ] && [ "$needed" -gt $((limit - used)) ]; then
            warn "of the $limit cores of '$quota' in $AZURE_LOCATION $used are taken, by this deployment's own nodes or by others; $1 grows to as much as is left."
        fi
        return 0
    fi
    {
        printf "%s: there is no room for %s: family %s, '%s' in %s.\n" "$HOOK" "$1" "$family" "$quota" "$AZURE_LOCATION"
        printf '  There are %s cores, and %s are needed: %s nodes of %s with %s cores.\n' "$limit" "$needed" "$3" "$2" "$cores"
        printf '  Any one of these helps; then run the same azd command again:\n'
        printf "  - ask for %s cores: %s (provider Machine Learning, region %s, '%s')\n" "$needed" "$QUOTA_PAGE" "$AZURE_LOCATION" "$quota"
        [ "$limit" -lt "$cores" ] || printf '  - fewer nodes: azd env set %s %s\n' "$5" "$((limit / cores))"
        printf '  - %s\n' "$6"
    } >&2
    return 1
}

# A budget's first month cannot be changed afterwards, and a new budget cannot begin in a month that is over. So it is
# written once, and anew when there is no budget any more.
write_budget_start() {
    first=$(date -u +%Y-%m-01)
    [ "${BUDGET_START:-}" != "$first" ] || return 0
    if [ -n "${BUDGET_START:-}" ]; then
        ! az rest --method get --output none \
            --url "/subscriptions/${AZURE_SUBSCRIPTION_ID:-}/resourceGroups/rg-${AZURE_ENV_NAME:-}/providers/Microsoft.Consumption/budgets/batchscore?api-version=2024-08-01" \
            >"$log" 2>&1 || return 0
        grep -Eqi 'not ?found' "$log" || return 0
    fi
    azd env set BUDGET_START "$first" --environment "${AZURE_ENV_NAME:-}"
}

# What an earlier environment of this name left behind: its vault keeps its name until it is purged.
look_for_left_vault() {
    az keyvault list-deleted --subscription "$AZURE_SUBSCRIPTION_ID" --resource-type vault --output tsv \
        --query "[?properties.tags.\"azd-env-name\" == '${AZURE_ENV_NAME:-}' && properties.location == '$AZURE_LOCATION'].[name, properties.scheduledPurgeDate]" \
        >"$log" 2>/dev/null || return 0
    [ -s "$log" ] || return 0
    vault=$(cut -f 1 "$log" | head -n 1) purged=$(cut -f 2 "$log" | head -n 1)
    stop "an environment '${AZURE_ENV_NAME:-}' was removed in $AZURE_LOCATION, and its vault $vault keeps its name until $purged. Take another name with 'azd env new', or bring the vault back first: az group create --name rg-${AZURE_ENV_NAME:-} --location $AZURE_LOCATION && az keyvault recover --name $vault"
}

# Flex Consumption is not everywhere.
look_at_region() {
    az functionapp list-flexconsumption-locations --query '[].name' --output tsv >"$log" 2>/dev/null || return 0
    [ -s "$log" ] || return 0
    tr -d ' ' <"$log" | grep -Fqix "$AZURE_LOCATION" ||
        stop "the plan of the Function app, Flex Consumption, is not to be had in $AZURE_LOCATION. Take one of: $(tr '\n' ' ' <"$log")('azd env set AZURE_LOCATION <region>')."
}

# A job that runs cannot be changed. postprovision.sh starts it again where it stopped, so nothing is lost; one that is not
# wanted any more stays stopped, and costs nothing.
stop_job() {
    [ -n "${STREAM_ANALYTICS_JOB_NAME:-}" ] || return 0
    case $(job_state 2>/dev/null) in Running | Starting | Degraded | Restarting | Scaling) ;; *) return 0 ;; esac
    say "stopping the Stream Analytics job $STREAM_ANALYTICS_JOB_NAME for the time of provisioning …"
    az rest --method post --url "$(job_url /stop)" --output none ||
        stop "the Stream Analytics job $STREAM_ANALYTICS_JOB_NAME could not be stopped; what is above says why."
    patiently . "it to stop" has_stopped || stop "the Stream Analytics job does not stop. Look at it in the portal, then run the same azd command again."
}

has_stopped() {
    state=$(job_state) && [ "$state" = Stopped ] || {
        echo "The Stream Analytics job is $state."
        return 1
    }
}

need_program azd "https://aka.ms/azd-install"
azd auth login --check-status >/dev/null 2>&1 || stop "azd is not signed in. Run 'azd auth login', then the same azd command again."
need_sign_in

write_budget_start
if is_true "${STREAM_ANALYTICS_ENABLED:-false}" && ! is_true "${SENSORS_ENABLED:-true}"; then
    stop "STREAM_ANALYTICS_ENABLED=true needs the event hub. Run 'azd env set SENSORS_ENABLED true', or 'azd env set STREAM_ANALYTICS_ENABLED false'."
fi
case ${ENCRYPTION_KEY_URI:-} in
'') [ -z "${ENCRYPTION_IDENTITY_ID:-}" ] ||
    stop "ENCRYPTION_IDENTITY_ID is there, and the key that it may use is not. Run 'azd env set ENCRYPTION_KEY_URI https://<vault>/keys/<name>', or 'azd env set ENCRYPTION_IDENTITY_ID \"\"'." ;;
https://?*/keys/?*) [ -n "${ENCRYPTION_IDENTITY_ID:-}" ] ||
    stop "ENCRYPTION_KEY_URI needs somebody who may use the key. Run 'azd env set ENCRYPTION_IDENTITY_ID <resource id of a user-assigned identity>'; it needs the role Key Vault Crypto Service Encryption User." ;;
*) stop "ENCRYPTION_KEY_URI is '$ENCRYPTION_KEY_URI', and not the address of a key. Run 'azd env set ENCRYPTION_KEY_URI https://<vault>/keys/<name>'." ;;
esac
if is_true "${VNET_ENABLED:-false}" && [ -z "${ALLOWED_ADDRESSES:-}" ]; then
    warn "VNET_ENABLED=true and no ALLOWED_ADDRESSES: from outside that network nobody reaches storage and workspace, and nobody at all the place that code is sent to, which has no private endpoint, so the deployment after provisioning would fail here. Let the public address in by which this machine goes out: azd env set ALLOWED_ADDRESSES <address>."
fi
if is_true "${VNET_ENABLED:-false}" && [ -z "${NAT_GATEWAY_ID:-}" ]; then
    say "nodes and app go out by Azure's default access, whose addresses change. A NAT gateway of yours is steadier: azd env set NAT_GATEWAY_ID <resource id>."
fi
[ -n "${ALERT_EMAIL:-}" ] || say "alerts and the budget tell nobody: 'azd env set ALERT_EMAIL you@example.com' changes that."

if [ -z "${AZURE_SUBSCRIPTION_ID:-}" ] || [ -z "${AZURE_LOCATION:-}" ]; then
    warn "the quota is not looked at: subscription and region are not chosen yet."
    exit 0
fi
look_at_region
look_for_left_vault
register Microsoft.MachineLearningServices
! is_true "${VNET_ENABLED:-false}" || register Microsoft.App # of the Function app's subnet
if ! read_usages; then
    warn "the quota of Azure Machine Learning in $AZURE_LOCATION cannot be read ($(head -n 1 "$log")). If clusters do not grow, look there first."
    stop_job
    exit 0
fi

room=yes
fits cpu-cluster "${AML_COMPUTE_CLUSTER_SKU:-Standard_D16ads_v5}" "${AML_COMPUTE_CLUSTER_MAX_NODES:-4}" \
    "${AML_COMPUTE_CLUSTER_TIER:-dedicated}" AML_COMPUTE_CLUSTER_MAX_NODES \
    "smaller nodes: azd env set AML_COMPUTE_CLUSTER_SKU Standard_D4ads_v5" || room=no
if is_true "${GPU_ENABLED:-true}"; then
    fits gpu-cluster "${AML_GPU_COMPUTE_CLUSTER_SKU:-Standard_NC4as_T4_v3}" "${AML_GPU_COMPUTE_CLUSTER_MAX_NODES:-4}" \
        "${AML_GPU_COMPUTE_CLUSTER_TIER:-dedicated}" AML_GPU_COMPUTE_CLUSTER_MAX_NODES \
        "no GPUs for now: azd env set GPU_ENABLED false" || room=no
fi
[ "$room" = yes ] || exit 1
stop_job
say "signed in, and the quota has room."
