// Second stage: Event Grid tells the Function app of new blobs. The key in the address (blobs_extension) is made by the
// host when it first runs the code, so the post-deploy hook deploys this, not main.bicep. Once more changes nothing.
targetScope = 'resourceGroup'

@description('Name of the Function app.')
param functionAppName string

@description('Name of the system topic of the data account.')
param systemTopicName string

@description('Name of the system account, which keeps what could not be handed over.')
param systemStorageAccountName string

@description('Container of the data account whose *.json blobs start runs: TRIGGER_CONTAINER.')
param triggerContainer string = 'triggers'

@description('Container of the data account that holds inputs and results: DATA_CONTAINER.')
param dataContainer string = 'data'

@description('Whether files of the inbox start runs; false where INBOX_RULES is {}: then the app has no such function.')
param inboxEnabled bool = true

var deadLetterContainer = 'eventgrid-dead-letter'
var webhook = 'https://${app.properties.defaultHostName}/runtime/webhooks/blobs'
var deadLetters = {
  endpointType: 'StorageBlob'
  properties: {
    resourceId: systemAccount.id
    blobContainerName: deadLetterContainer
  }
}
// After a day the sweep has long found the file by itself, so nothing more is gained by trying on.
var retries = {
  maxDeliveryAttempts: 30
  eventTimeToLiveInMinutes: 1440
}

resource app 'Microsoft.Web/sites@2024-11-01' existing = {
  name: functionAppName
}

resource systemAccount 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: systemStorageAccountName
}

resource systemTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: systemTopicName
}

resource triggerFiles 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: systemTopic
  name: 'trigger-files'
  properties: {
    destination: {
      endpointType: 'WebHook'
      properties: {
        endpointUrl: '${webhook}?functionName=Host.Functions.accept_trigger_file&code=${listKeys('${app.id}/host/default', '2024-11-01').systemKeys.blobs_extension}'
      }
    }
    eventDeliverySchema: 'EventGridSchema'
    filter: {
      includedEventTypes: [
        'Microsoft.Storage.BlobCreated'
      ]
      // Without /blobs/ the filter would let through every container whose name begins so.
      subjectBeginsWith: '/blobServices/default/containers/${triggerContainer}/blobs/'
      subjectEndsWith: '.json'
      isSubjectCaseSensitive: true
    }
    retryPolicy: retries
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      deadLetterDestination: deadLetters
    }
  }
}

resource inboxFiles 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = if (inboxEnabled) {
  parent: systemTopic
  name: 'inbox-files'
  // A topic takes one change at a time.
  dependsOn: [
    triggerFiles
  ]
  properties: {
    destination: {
      endpointType: 'WebHook'
      properties: {
        endpointUrl: '${webhook}?functionName=Host.Functions.accept_inbox_file&code=${listKeys('${app.id}/host/default', '2024-11-01').systemKeys.blobs_extension}'
      }
    }
    eventDeliverySchema: 'EventGridSchema'
    filter: {
      includedEventTypes: [
        'Microsoft.Storage.BlobCreated'
      ]
      subjectBeginsWith: '/blobServices/default/containers/${dataContainer}/blobs/inbox/'
      isSubjectCaseSensitive: true
    }
    retryPolicy: retries
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      deadLetterDestination: deadLetters
    }
  }
}
