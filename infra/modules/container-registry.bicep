// Where the images of the environments lie, which Azure Machine Learning builds and nodes fetch.

@description('Where the registry lies.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the registry.')
param registryName string

@description('Whether only the private network and trusted services of Azure get in; takes the Premium tier.')
param restricted bool

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' = {
  name: registryName
  location: location
  tags: tags
  sku: {
    // Some 5 USD a month; private endpoints are in Premium alone, some 50 USD.
    name: restricted ? 'Premium' : 'Basic'
  }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    publicNetworkAccess: restricted ? 'Disabled' : 'Enabled'
    networkRuleBypassOptions: 'AzureServices'
  }
}

@description('Resource id of the registry.')
output id string = registry.id

@description('Name of the registry.')
output name string = registry.name
