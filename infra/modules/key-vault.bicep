// The vault that the workspace wants to have. Nothing of batchscore lies in it: there are no keys to keep.

@description('Where the vault lies.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the vault.')
param keyVaultName string

@description('Whether only the private network and trusted services of Azure get in.')
param restricted bool

resource keyVault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: keyVaultName
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
    // It cannot be taken back: after `azd down` the name stays taken for the seven days.
    enablePurgeProtection: true
    publicNetworkAccess: restricted ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: restricted ? 'Deny' : 'Allow'
    }
  }
}

@description('Resource id of the vault.')
output id string = keyVault.id

@description('Name of the vault.')
output name string = keyVault.name
