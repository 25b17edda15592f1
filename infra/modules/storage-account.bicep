// One storage account that nobody opens with a key: containers, what protects them, and what goes by itself with time.

@description('Name of the account.')
param name string

@description('Where the account lies.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Its blob containers.')
param containers string[]

@description('Lifecycle rules: name, prefixes (container/path) and the days after which blobs are deleted.')
param lifecycleRules array

@description('Days that deleted or overwritten blobs and deleted containers can be brought back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int

@description('Whether only the private network, the addresses below and trusted services of Azure get in.')
param restricted bool

@description('IPv4 addresses and ranges of people who come in through the firewall where it is restricted.')
param allowedAddresses string[]

@description('A key that the user brings, https://<vault>/keys/<name> (newest version) or …/<version>; empty: a key of Microsoft.')
param encryptionKeyUri string

@description('Resource id of the identity that may use that key (Key Vault Crypto Service Encryption User).')
param encryptionIdentityId string

@description('Where deletions are logged.')
param logAnalyticsId string

@description('Whether each reading and writing of a blob is logged as well.')
param accessLogged bool

var ownKey = !empty(encryptionKeyUri)
// https: / '' / <vault> / keys / <name> / <version>; the stand-in only keeps the indices below in range.
var keyParts = split(ownKey ? encryptionKeyUri : 'https://none/keys/none', '/')
var ownKeyProperties = {
  keyvaulturi: 'https://${keyParts[2]}'
  keyname: keyParts[4]
  // Without a version the account follows the key's rotation.
  keyversion: length(keyParts) > 5 ? keyParts[5] : ''
}
var ownKeyIdentity = {
  userAssignedIdentity: encryptionIdentityId
}
// As above: a property without a name is none, also where nobody looks at it.
var namedIdentity = ownKey ? encryptionIdentityId : 'none'
var noIdentity = {
  type: 'None'
}
var accountIdentity = {
  type: 'UserAssigned'
  userAssignedIdentities: {
    '${namedIdentity}': {}
  }
}

// Who removed it: the question at night. Reads and writes are thousands to a run and may cost more than the run; but they
// alone tell who used a link that `batchscore share` made.
var always = [
  {
    category: 'StorageDelete'
    enabled: true
  }
]
var access = [
  {
    category: 'StorageRead'
    enabled: true
  }
  {
    category: 'StorageWrite'
    enabled: true
  }
]

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    // Three copies in one place. What a region's loss would take, runs make again; readings are worth a copy elsewhere.
    name: 'Standard_LRS'
  }
  identity: ownKey ? accountIdentity : noIdentity
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    isHnsEnabled: false
    isLocalUserEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: restricted && empty(allowedAddresses) ? 'Disabled' : 'Enabled'
    networkAcls: {
      // Holds with public access disabled as well: Event Grid writes its dead letters this way.
      bypass: 'AzureServices'
      defaultAction: restricted ? 'Deny' : 'Allow'
      ipRules: [
        for address in restricted ? allowedAddresses : []: {
          // Storage takes single addresses without a suffix only.
          value: replace(address, '/32', '')
          action: 'Allow'
        }
      ]
    }
    encryption: {
      keySource: ownKey ? 'Microsoft.Keyvault' : 'Microsoft.Storage'
      keyvaultproperties: ownKey ? ownKeyProperties : null
      identity: ownKey ? ownKeyIdentity : null
      services: {
        blob: {
          enabled: true
          keyType: 'Account'
        }
        file: {
          enabled: true
          keyType: 'Account'
        }
        // Said at creation or never: with 'Service' a key of one's own could not be chosen later.
        queue: {
          enabled: true
          keyType: 'Account'
        }
        table: {
          enabled: true
          keyType: 'Account'
        }
      }
    }
  }
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
    // Soft delete keeps what is overwritten, too. Versions would stay for ever, of run records that are rewritten at
    // every step and of intermediates as large as the results, where everything that counts has a name of its own.
    isVersioningEnabled: false
  }
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = [
  for containerName in containers: {
    parent: blobService
    name: containerName
    properties: {
      publicAccess: 'None'
    }
  }
]

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2025-01-01' = if (!empty(lifecycleRules)) {
  parent: account
  name: 'default'
  dependsOn: [
    blobService
  ]
  properties: {
    policy: {
      rules: [
        for rule in lifecycleRules: {
          name: rule.name
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: [
                'blockBlob'
                // The consoles of jobs are these.
                'appendBlob'
              ]
              prefixMatch: rule.prefixes
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: rule.days
                }
              }
            }
          }
        }
      ]
    }
  }
}

resource log 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: blobService
  name: 'blobs'
  properties: {
    workspaceId: logAnalyticsId
    logs: concat(always, accessLogged ? access : [])
  }
}

@description('Resource id of the account.')
output id string = account.id

@description('Name of the account.')
output name string = account.name

@description('Address of its blobs.')
output blobEndpoint string = account.properties.primaryEndpoints.blob

@description('Address of its queues.')
output queueEndpoint string = account.properties.primaryEndpoints.queue

@description('Address of its tables.')
output tableEndpoint string = account.properties.primaryEndpoints.table
