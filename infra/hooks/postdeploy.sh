#!/bin/sh
# After the app's code is on Azure: what the workloads need in the workspace, the event subscriptions, and what to do next.
set -eu
# shellcheck source=infra/hooks/hook.sh
. "$(dirname "$0")/hook.sh"

need_sign_in
for name in AZURE_SUBSCRIPTION_ID AZURE_RESOURCE_GROUP AZUREML_WORKSPACE_NAME FUNCTION_APP_NAME SYSTEM_TOPIC_NAME \
    SYSTEM_STORAGE_ACCOUNT_NAME AzureWebJobsStorage__blobServiceUri DATA_STORAGE__blobServiceUri; do
    need_value "$name"
done
need_program make "your system's package"
export COLUMNS="${COLUMNS:-120}" # of tables, which cannot ask a terminal here

outside= # added to what fails, where the network may be the reason
if is_true "${VNET_ENABLED:-false}"; then
    outside=" With VNET_ENABLED=true the public address of this machine must be in ALLOWED_ADDRESSES (${ALLOWED_ADDRESSES:-empty now})."
fi

# The key is looked for and never read: az answers with true or false.
has_key() {
    there=$(az functionapp keys list --subscription "$AZURE_SUBSCRIPTION_ID" --resource-group "$AZURE_RESOURCE_GROUP" \
        --name "$FUNCTION_APP_NAME" --query "not_null(systemKeys.blobs_extension, '') != ''" --output tsv) || {
        echo "Whether the system key blobs_extension is there could not be asked."
        return 1
    }
    [ "$there" = true ] || {
        echo "The system key blobs_extension is not there yet."
        return 1
    }
}

# Without rules the app has no function for the inbox, and Event Grid would find nobody to hand its files to.
has_inbox() {
    rules=$(az functionapp config appsettings list --subscription "$AZURE_SUBSCRIPTION_ID" --resource-group "$AZURE_RESOURCE_GROUP" \
        --name "$FUNCTION_APP_NAME" --query "[?name == 'INBOX_RULES'].value" --output tsv 2>/dev/null) || rules=
    [ "$(printf %s "$rules" | tr -d '[:space:]')" != '{}' ]
}

subscribe() {
    set -- "functionAppName=$FUNCTION_APP_NAME" "systemTopicName=$SYSTEM_TOPIC_NAME" \
        "systemStorageAccountName=$SYSTEM_STORAGE_ACCOUNT_NAME"
    [ -z "${TRIGGER_CONTAINER:-}" ] || set -- "$@" "triggerContainer=$TRIGGER_CONTAINER"
    [ -z "${DATA_CONTAINER:-}" ] || set -- "$@" "dataContainer=$DATA_CONTAINER"
    has_inbox || set -- "$@" inboxEnabled=false
    az deployment group create --subscription "$AZURE_SUBSCRIPTION_ID" --resource-group "$AZURE_RESOURCE_GROUP" \
        --name batchscore-event-subscriptions --template-file infra/event-subscriptions.bicep --parameters "$@" \
        --no-prompt true --only-show-errors --output none
}

make --silent python || stop "the Python environment could not be made; what is above says why."

say "bringing environments, components and shipped models to $AZUREML_WORKSPACE_NAME …"
patiently '403' "new roles to count" .venv/bin/batchscore deploy --compute-by-infra ||
    stop "the workloads could not be deployed; what is above says why. Then run 'azd hooks run postdeploy'.$outside"

patiently . "the Function app to make the key of its blob triggers" has_key ||
    stop "the Function app $FUNCTION_APP_NAME did not make the key blobs_extension: it has not started with its code. Its log stream in the portal says why; then run 'azd hooks run postdeploy'."

say "subscribing the Function app to trigger files and the inbox …"
patiently 'handshake|[Ww]ebhook|host runtime|ServiceUnavailable|BadGateway|GatewayTimeout|InternalServerError|TooManyRequests' \
    "the Function app to answer Event Grid" subscribe ||
    stop "the event subscriptions could not be made; what is above says why. Then run 'azd hooks run postdeploy'.$outside"

say "looking whether runs can work …"
.venv/bin/batchscore doctor || warn "the lines above that begin with 'fail' say what is missing. Roles may take some minutes more to count: 'batchscore doctor' looks again."

# shellcheck disable=SC2154 # azd gives it
account=${DATA_STORAGE__blobServiceUri#https://}
account=${account%%.*}
cat <<TEXT

Deployed to $AZURE_RESOURCE_GROUP. In this folder, with the settings of this deployment:
  set -a; eval "\$(azd env get-values)"; set +a
start a run with pictures of digits and watch it:
  .venv/bin/python scoring/digits/samples.py pictures
  .venv/bin/batchscore submit pictures --workload digits/classify --watch
or drop a trigger file (docs/deploy.md has one):
  az storage blob upload --auth-mode login --account-name $account --container-name ${TRIGGER_CONTAINER:-triggers} --name first.json --file first.json
TEXT
