// The workspace with its datastores, as `batchscore deploy --compute-by-infra` expects to find them.

@description('Where the workspace lies.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the workspace.')
param workspaceName string

@description('Resource id of the identity that the workspace runs as; it has its roles already.')
param workspaceIdentityId string

@description('Resource id of the system account, where Azure Machine Learning keeps logs, code and its own notes.')
param systemAccountId string

@description('Resource id of the key vault.')
param keyVaultId string

@description('Resource id of Application Insights.')
param applicationInsightsId string

@description('Resource id of the container registry.')
param registryId string

@description('Name of the data account.')
param dataAccountName string

@description('Name of the system account.')
param systemAccountName string

@description('Container of the data account that jobs read and write.')
param dataContainer string

@description('Whether workspace and registry are in the private network.')
param restricted bool

@description('Whether people come in from outside of the private network.')
param peopleFromOutside bool

@description('Name of the cluster that images are built on where the registry is in the private network.')
param cpuClusterName string

@description('Where it is logged what became of clusters that should grow.')
param logAnalyticsId string

// The containers of jobs, by the names that batchscore uses (docs/azure-ml.md).
var places = [
  {
    account: dataAccountName
    container: dataContainer
  }
  {
    account: systemAccountName
    container: 'models'
  }
  {
    account: systemAccountName
    container: 'logs'
  }
]

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' = {
  name: workspaceName
  location: location
  tags: tags
  kind: 'Default'
  sku: {
    name: 'Basic'
    tier: 'Basic'
  }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${workspaceIdentityId}': {}
    }
  }
  properties: {
    friendlyName: workspaceName
    description: 'Runs of batchscore.'
    primaryUserAssignedIdentity: workspaceIdentityId
    storageAccount: systemAccountId
    keyVault: keyVaultId
    applicationInsights: applicationInsightsId
    containerRegistry: registryId
    // The account has no keys to keep: whoever comes shows who they are.
    systemDatastoresAuthMode: 'Identity'
    v1LegacyMode: false
    // This has no list of addresses in this version: where people come from outside, it is open to whoever has a role.
    publicNetworkAccess: restricted && !peopleFromOutside ? 'Disabled' : 'Enabled'
    // The service's own builders do not reach a registry in a private network.
    imageBuildCompute: restricted ? cpuClusterName : null
  }
}

resource datastore 'Microsoft.MachineLearningServices/workspaces/datastores@2025-06-01' = [
  for place in places: {
    parent: workspace
    name: 'batchscore_${replace(place.container, '-', '_')}'
    properties: {
      datastoreType: 'AzureBlob'
      description: 'Made by batchscore\'s infrastructure; reached by identity.'
      accountName: place.account
      containerName: place.container
      endpoint: environment().suffixes.storage
      protocol: 'https'
      credentials: {
        credentialsType: 'None'
      }
      // Previews in the studio are made as the person who looks.
      serviceDataAccessAuthIdentity: 'None'
    }
  }
]

// Why no nodes came (quota, no room in the region): some lines for each time that a cluster grows or shrinks.
resource clusterEvents 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: workspace
  name: 'cluster-events'
  properties: {
    workspaceId: logAnalyticsId
    logs: [
      {
        category: 'AmlComputeClusterEvent'
        enabled: true
      }
    ]
  }
}

@description('Resource id of the workspace.')
output workspaceId string = workspace.id

@description('Name of the workspace.')
output workspaceName string = workspace.name
