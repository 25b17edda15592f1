// Where devices send readings: one event hub, and a consumer group for each who reads it.

@description('Where the namespace lies.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the namespace; its address is <name>.servicebus.windows.net.')
param namespaceName string

@description('Name of the event hub.')
param eventHubName string

@description('Consumer group of the Function app: EVENT_HUB_CONSUMER_GROUP.')
param functionsConsumerGroup string

@description('Consumer group of the Stream Analytics job.')
param streamAnalyticsConsumerGroup string

@description('How many batches can be read side by side; it stays what it is at creation.')
@minValue(1)
@maxValue(32)
param partitionCount int = 4

@description('Whether only the private network, the addresses below and trusted services of Azure get in.')
param restricted bool

@description('IPv4 addresses and ranges of people and devices who come in through the firewall where it is restricted.')
param allowedAddresses string[]

// With no rule at all the firewall lets everybody in, so then the public address is closed altogether.
var closed = restricted && empty(allowedAddresses)

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: namespaceName
  location: location
  tags: tags
  sku: {
    name: 'Standard'
    tier: 'Standard'
    capacity: 1
  }
  properties: {
    // One throughput unit takes 1 MB or 1,000 events a second. More would be money that nobody asked for.
    isAutoInflateEnabled: false
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: closed ? 'Disabled' : 'Enabled'
  }
}

resource firewall 'Microsoft.EventHub/namespaces/networkRuleSets@2024-01-01' = {
  parent: namespace
  name: 'default'
  properties: {
    publicNetworkAccess: closed ? 'Disabled' : 'Enabled'
    // 'Deny' is for a list that has something in it; what is closed altogether needs no list.
    defaultAction: restricted && !closed ? 'Deny' : 'Allow'
    // Stream Analytics reads with its identity from outside of any network.
    trustedServiceAccessEnabled: true
    ipRules: [
      for address in restricted ? allowedAddresses : []: {
        ipMask: address
        action: 'Allow'
      }
    ]
    virtualNetworkRules: []
  }
}

resource eventHub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' = {
  parent: namespace
  name: eventHubName
  // A namespace takes one change at a time, and may refuse a second one meanwhile.
  dependsOn: [
    firewall
  ]
  properties: {
    partitionCount: partitionCount
    retentionDescription: {
      cleanupPolicy: 'Delete'
      // The most that Standard has: so long the app may be down without losing a reading.
      retentionTimeInHours: 168
    }
  }
}

// Not $Default: whoever looks at the hub with a tool takes that one, and would take partitions away from the app.
resource functionsGroup 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2024-01-01' = {
  parent: eventHub
  name: functionsConsumerGroup
  properties: {}
}

resource streamAnalyticsGroup 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2024-01-01' = {
  parent: eventHub
  name: streamAnalyticsConsumerGroup
  dependsOn: [
    functionsGroup
  ]
  properties: {}
}

@description('Resource id of the namespace.')
output namespaceId string = namespace.id

@description('Name of the event hub: what its roles are on.')
output eventHubName string = eventHub.name
