// The services' addresses inside the private network, and the names under which they are found there.

@description('Where the endpoints lie: the region of the network.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('What the names of the endpoints begin with.')
param namePrefix string

@description('Resource id of the network in which the names are known.')
param networkId string

@description('Resource id of the subnet of the endpoints.')
param subnetId string

@description('Resource id of the data account.')
param dataAccountId string

@description('Resource id of the system account.')
param systemAccountId string

@description('Resource id of the key vault.')
param keyVaultId string

@description('Resource id of the container registry.')
param registryId string

@description('Resource id of the workspace.')
param workspaceId string

@description('Resource id of the Event Hubs namespace; empty without sensors.')
param eventHubNamespaceId string

var storageSuffix = environment().suffixes.storage
var zoneNames = [
  'privatelink.blob.${storageSuffix}'
  'privatelink.queue.${storageSuffix}'
  'privatelink.table.${storageSuffix}'
  'privatelink.file.${storageSuffix}'
  'privatelink.vaultcore.azure.net'
  'privatelink.azurecr.io'
  'privatelink.api.azureml.ms'
  'privatelink.notebooks.azure.net'
  'privatelink.servicebus.windows.net'
]
// `zones` are places in the list above.
var always = [
  {
    name: 'data-blob'
    target: dataAccountId
    group: 'blob'
    zones: [
      0
    ]
  }
  {
    name: 'data-queue'
    target: dataAccountId
    group: 'queue'
    zones: [
      1
    ]
  }
  {
    name: 'system-blob'
    target: systemAccountId
    group: 'blob'
    zones: [
      0
    ]
  }
  // Queues and tables: the host's, and what parallel jobs of Azure Machine Learning hand out their mini-batches with.
  {
    name: 'system-queue'
    target: systemAccountId
    group: 'queue'
    zones: [
      1
    ]
  }
  {
    name: 'system-table'
    target: systemAccountId
    group: 'table'
    zones: [
      2
    ]
  }
  // The workspace keeps a file share in its default account and asks for it.
  {
    name: 'system-file'
    target: systemAccountId
    group: 'file'
    zones: [
      3
    ]
  }
  {
    name: 'key-vault'
    target: keyVaultId
    group: 'vault'
    zones: [
      4
    ]
  }
  {
    name: 'registry'
    target: registryId
    group: 'registry'
    zones: [
      5
    ]
  }
  {
    name: 'workspace'
    target: workspaceId
    group: 'amlworkspace'
    zones: [
      6
      7
    ]
  }
]
var withSensors = [
  {
    name: 'event-hub'
    target: eventHubNamespaceId
    group: 'namespace'
    zones: [
      8
    ]
  }
]
var endpoints = concat(always, empty(eventHubNamespaceId) ? [] : withSensors)

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zoneName in zoneNames: {
    name: zoneName
    location: 'global'
    tags: tags
  }
]

// One after the other, too: each is a change of the one network.
@batchSize(1)
resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zoneName, i) in zoneNames: {
    parent: zone[i]
    name: 'network'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: networkId
      }
    }
  }
]

// One after the other: two endpoints of one account at the same time are refused.
@batchSize(1)
resource endpoint 'Microsoft.Network/privateEndpoints@2024-05-01' = [
  for each in endpoints: {
    name: '${namePrefix}${each.name}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: subnetId
      }
      privateLinkServiceConnections: [
        {
          name: each.name
          properties: {
            privateLinkServiceId: each.target
            groupIds: [
              each.group
            ]
          }
        }
      ]
    }
  }
]

@batchSize(1)
resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = [
  for (each, i) in endpoints: {
    parent: endpoint[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        for place in each.zones: {
          name: 'zone-${place}'
          properties: {
            privateDnsZoneId: zone[place].id
          }
        }
      ]
    }
  }
]
