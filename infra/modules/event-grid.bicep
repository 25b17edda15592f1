// What tells of new blobs in the data account. Who is told comes in a second stage: infra/event-subscriptions.bicep.

@description('Where the topic lies: the region of the account.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the system topic. An account has at most one.')
param systemTopicName string

@description('Resource id of the data account.')
param dataAccountId string

@description('Where notices are logged that could not be handed over.')
param logAnalyticsId string

resource systemTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: systemTopicName
  location: location
  tags: tags
  // As itself it writes what it could not hand over to the system account, where outsiders do not get.
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: dataAccountId
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

// Nothing while all is well. The sweep finds the files meanwhile, so without these nobody would learn of it.
resource undelivered 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: systemTopic
  name: 'undelivered'
  properties: {
    workspaceId: logAnalyticsId
    logs: [
      {
        category: 'DeliveryFailures'
        enabled: true
      }
    ]
  }
}

@description('Name of the system topic.')
output systemTopicName string = systemTopic.name

@description('Principal id of the topic: what the role on its container of dead letters is given to.')
output principalId string = systemTopic.identity.principalId
