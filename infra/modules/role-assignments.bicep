// Who may do what in the two accounts, the registry, the vault and the telemetry. A line is a grant: to whom, which role.
// All of it stands before the workspace, the nodes and the Function app are made that need it.
// The names of grants hold the principal, so that an identity that was made anew gets grants of its own.

@description('Principal id of the identity of the Function app.')
param functionsPrincipalId string

@description('Principal id of the identity of the workspace.')
param workspacePrincipalId string

@description('Principal id of the identity of the nodes.')
param clustersPrincipalId string

@description('Principal id of the Event Grid system topic.')
param topicPrincipalId string

@description('Principal id of the Stream Analytics job; empty: there is none.')
param streamAnalyticsPrincipalId string

@description('Principal id of whoever deploys; empty: no grants to people.')
param deployerPrincipalId string

@description('User, Group or ServicePrincipal: what the principal is that deploys.')
param deployerPrincipalType string

@description('Resource id of the role of the nodes in the system account.')
param clusterRoleId string

@description('Name of the data account.')
param dataAccountName string

@description('Name of the system account.')
param systemAccountName string

@description('Container of the data account whose blobs start runs.')
param triggerContainer string

@description('Container of the data account that holds inputs and results.')
param dataContainer string

@description('Container of the system account for notices that Event Grid could not hand over.')
param deadLetterContainer string

@description('Name of the key vault.')
param keyVaultName string

@description('Name of the container registry.')
param registryName string

@description('Name of Application Insights.')
param applicationInsightsName string

@description('Whether images are built on the nodes, because the registry is in the private network.')
param imagesBuiltOnNodes bool

var roles = loadJsonContent('../roles.json')

var service = 'ServicePrincipal'
var functionsApp = {
  principalId: functionsPrincipalId
  principalType: service
}
var workspace = {
  principalId: workspacePrincipalId
  principalType: service
}
var nodes = {
  principalId: clustersPrincipalId
  principalType: service
}
var deployer = {
  principalId: deployerPrincipalId
  principalType: deployerPrincipalType
}
var hasDeployer = !empty(deployerPrincipalId)
var hasStreamAnalytics = !empty(streamAnalyticsPrincipalId)

// The host's state and code; the run records, which the app alone writes.
var systemAccountOfServices = [
  { to: functionsApp, role: roles['Storage Blob Data Owner'] }
  { to: functionsApp, role: roles['Storage Queue Data Contributor'] }
  { to: functionsApp, role: roles['Storage Table Data Contributor'] }
  // What Microsoft's documentation asks for a workspace with an identity that the user brings.
  { to: workspace, role: roles.Contributor }
  { to: workspace, role: roles['Storage Blob Data Contributor'] }
]
// Models are uploaded, records looked at and kicks sent from a workstation, too.
var systemAccountOfPeople = [
  { to: deployer, role: roles['Storage Blob Data Contributor'] }
  { to: deployer, role: roles['Storage Queue Data Contributor'] }
]
// The queue of poison messages lies in the account of the trigger.
var dataAccountOfServices = [
  { to: functionsApp, role: roles['Storage Queue Data Contributor'] }
]
var dataAccountOfPeople = [
  { to: deployer, role: roles['Storage Blob Data Contributor'] }
  { to: deployer, role: roles['Storage Queue Data Contributor'] }
]
var dataContainerAlways = [
  { to: functionsApp, role: roles['Storage Blob Data Owner'] }
  { to: nodes, role: roles['Storage Blob Data Contributor'] }
]
var dataContainerWithStreamAnalytics = [
  { to: { principalId: streamAnalyticsPrincipalId, principalType: service }, role: roles['Storage Blob Data Contributor'] }
]
var registryAlways = [
  { to: workspace, role: roles.Contributor }
  { to: nodes, role: roles.AcrPull }
]
var registryWithBuilds = [
  { to: nodes, role: roles.AcrPush }
]
var onSystemAccount = concat(systemAccountOfServices, hasDeployer ? systemAccountOfPeople : [])
var onDataAccount = concat(dataAccountOfServices, hasDeployer ? dataAccountOfPeople : [])
var onTriggerContainer = [
  { to: functionsApp, role: roles['Storage Blob Data Owner'] }
]
var onDataContainer = concat(dataContainerAlways, hasStreamAnalytics ? dataContainerWithStreamAnalytics : [])
var onLogsContainer = [
  { to: nodes, role: roles['Storage Blob Data Contributor'] }
]
var onModelsContainer = [
  { to: nodes, role: roles['Storage Blob Data Reader'] }
]
var onDeadLetterContainer = [
  { to: { principalId: topicPrincipalId, principalType: service }, role: roles['Storage Blob Data Contributor'] }
]
var onKeyVault = [
  { to: workspace, role: roles.Contributor }
  { to: workspace, role: roles['Key Vault Administrator'] }
]
var onRegistry = concat(registryAlways, imagesBuiltOnNodes ? registryWithBuilds : [])
var onTelemetry = [
  { to: functionsApp, role: roles['Monitoring Metrics Publisher'] }
  { to: workspace, role: roles.Contributor }
]

// The nodes work in the system account, for it is the workspace's default one, and must not reach what is ours in it: a run's
// record, a model, the code of the app. Each part of the condition says: "this is not about blobs (messages), or it is
// about a container (queue) that is none of ours". The container `logs`, and reading from `models`, are granted above.
// azure-webjobs-… are the host's, keys of the app among them.
var notOurs = '''
(
 (
  !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'})
  AND
  !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'})
  AND
  !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})
  AND
  !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'})
 )
 OR
 (
  @Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] ForAllOfAllValues:StringNotEquals {'runs', 'models', 'logs', 'app-package', 'eventgrid-dead-letter'}
  AND
  @Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringNotStartsWith 'azure-webjobs-'
 )
)
AND
(
 (
  !(ActionMatches{'Microsoft.Storage/storageAccounts/queueServices/queues/messages/read'})
  AND
  !(ActionMatches{'Microsoft.Storage/storageAccounts/queueServices/queues/messages/write'})
  AND
  !(ActionMatches{'Microsoft.Storage/storageAccounts/queueServices/queues/messages/add/action'})
  AND
  !(ActionMatches{'Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action'})
  AND
  !(ActionMatches{'Microsoft.Storage/storageAccounts/queueServices/queues/messages/delete'})
 )
 OR
 (
  @Resource[Microsoft.Storage/storageAccounts/queueServices/queues:name] StringNotEquals 'reconcile'
  AND
  @Resource[Microsoft.Storage/storageAccounts/queueServices/queues:name] StringNotStartsWith 'azure-webjobs-'
 )
)
'''

resource systemAccount 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: systemAccountName
}

resource systemBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' existing = {
  parent: systemAccount
  name: 'default'
}

resource logs 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' existing = {
  parent: systemBlobs
  name: 'logs'
}

resource models 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' existing = {
  parent: systemBlobs
  name: 'models'
}

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' existing = {
  parent: systemBlobs
  name: deadLetterContainer
}

resource dataAccount 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: dataAccountName
}

resource dataBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' existing = {
  parent: dataAccount
  name: 'default'
}

resource triggers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' existing = {
  parent: dataBlobs
  name: triggerContainer
}

resource data 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' existing = {
  parent: dataBlobs
  name: dataContainer
}

resource keyVault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: keyVaultName
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' existing = {
  name: registryName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource systemAccountGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onSystemAccount: {
    scope: systemAccount
    name: guid(systemAccount.id, grant.to.principalId, grant.role)
    properties: {
      principalId: grant.to.principalId
      principalType: grant.to.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]

resource dataAccountGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onDataAccount: {
    scope: dataAccount
    name: guid(dataAccount.id, grant.to.principalId, grant.role)
    properties: {
      principalId: grant.to.principalId
      principalType: grant.to.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]

resource triggerContainerGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onTriggerContainer: {
    scope: triggers
    name: guid(triggers.id, grant.to.principalId, grant.role)
    properties: {
      principalId: grant.to.principalId
      principalType: grant.to.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]

resource dataContainerGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onDataContainer: {
    scope: data
    name: guid(data.id, grant.to.principalId, grant.role)
    properties: {
      principalId: grant.to.principalId
      principalType: grant.to.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]

resource logsContainerGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onLogsContainer: {
    scope: logs
    name: guid(logs.id, grant.to.principalId, grant.role)
    properties: {
      principalId: grant.to.principalId
      principalType: grant.to.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]

resource modelsContainerGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onModelsContainer: {
    scope: models
    name: guid(models.id, grant.to.principalId, grant.role)
    properties: {
      principalId: grant.to.principalId
      principalType: grant.to.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]

resource deadLetterContainerGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onDeadLetterContainer: {
    scope: deadLetters
    name: guid(deadLetters.id, grant.to.principalId, grant.role)
    properties: {
      principalId: grant.to.principalId
      principalType: grant.to.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]

resource keyVaultGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onKeyVault: {
    scope: keyVault
    name: guid(keyVault.id, grant.to.principalId, grant.role)
    properties: {
      principalId: grant.to.principalId
      principalType: grant.to.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]

resource registryGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onRegistry: {
    scope: registry
    name: guid(registry.id, grant.to.principalId, grant.role)
    properties: {
      principalId: grant.to.principalId
      principalType: grant.to.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]

resource telemetryGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onTelemetry: {
    scope: applicationInsights
    name: guid(applicationInsights.id, grant.to.principalId, grant.role)
    properties: {
      principalId: grant.to.principalId
      principalType: grant.to.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]

resource nodesInSystemAccount 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: systemAccount
  name: guid(systemAccount.id, clustersPrincipalId, clusterRoleId)
  properties: {
    principalId: clustersPrincipalId
    principalType: service
    roleDefinitionId: clusterRoleId
    condition: notOurs
    conditionVersion: '2.0'
  }
}
