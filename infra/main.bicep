// The whole system in one resource group; `azd up` deploys it, docs/deploy.md tells what to ask for before.
targetScope = 'subscription'

@description('Name of the azd environment; the resource group and everything in it is called after it.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Region of everything.')
@minLength(1)
param location string

@description('Object id of whoever deploys, who then works with the system from a workstation; empty: no roles for people.')
param principalId string = ''

@description('What that is.')
@allowed([
  'User'
  'Group'
  'ServicePrincipal'
])
param principalType string = 'User'

@description('Whether storage, the event hub and the workspace are only reached through a private network.')
param vnetEnabled bool = false

@description('IPv4 addresses and ranges, separated by commas, of people who come in through the firewall with the private network.')
param allowedAddresses string = ''

@description('Resource id of a NAT gateway through which the private network goes out; empty: by addresses that Azure lends.')
param natGatewayId string = ''

@description('Whether readings of sensors are taken in and scored every hour; its event hub costs some 22 USD a month while idle.')
param sensorsEnabled bool = true

@description('Whether Stream Analytics writes the readings instead of the Function app; it costs while idle. Needs sensors.')
param streamAnalyticsEnabled bool = false

@description('VM size of the nodes of the CPU cluster; its family needs quota in the region.')
@allowed([
  'Standard_D4ads_v5'
  'Standard_D8ads_v5'
  'Standard_D16ads_v5'
  'Standard_D32ads_v5'
])
param cpuClusterSize string = 'Standard_D16ads_v5'

@description('Nodes of the CPU cluster that stay when nothing runs; more than 0 costs all the time.')
@minValue(0)
param cpuClusterMinNodes int = 0

@description('The most nodes that the CPU cluster grows to.')
@minValue(1)
param cpuClusterMaxNodes int = 4

@description('dedicated, or low_priority: cheaper nodes that Azure may take away; a quota of its own.')
@allowed([
  'dedicated'
  'low_priority'
])
param cpuClusterTier string = 'dedicated'

@description('Whether there is a GPU cluster. Without it, workloads that need one are not deployed, and their runs are refused.')
param gpuEnabled bool = true

@description('VM size of the nodes of the GPU cluster; its family needs quota in the region, which often begins at 0.')
@allowed([
  'Standard_NC4as_T4_v3'
  'Standard_NC8as_T4_v3'
  'Standard_NC64as_T4_v3'
  'Standard_NC24ads_A100_v4'
  'Standard_NC48ads_A100_v4'
  'Standard_NC96ads_A100_v4'
])
param gpuClusterSize string = 'Standard_NC4as_T4_v3'

@description('Nodes of the GPU cluster that stay when nothing runs; more than 0 costs all the time.')
@minValue(0)
param gpuClusterMinNodes int = 0

@description('The most nodes that the GPU cluster grows to.')
@minValue(1)
param gpuClusterMaxNodes int = 4

@description('dedicated, or low_priority: cheaper nodes that Azure may take away; a quota of its own.')
@allowed([
  'dedicated'
  'low_priority'
])
param gpuClusterTier string = 'dedicated'

@description('Whom alerts and the budget write to.')
param alertEmail string = ''

@description('What a month may cost before the budget warns, in the currency of the subscription; 0: no budget. Nothing is stopped by it.')
@minValue(0)
param budgetAmount int = 50

@description('First day of the month in which the budget begins, yyyy-MM-01; the pre-provision hook writes it once.')
param budgetStart string = ''

@description('Whether each reading and writing of a blob of the data account is logged, which tells who used a link and costs by the request.')
param accessLogEnabled bool = false

@description('A key for the encryption of both storage accounts, https://<vault>/keys/<name>; empty: a key of Microsoft.')
param encryptionKeyUri string = ''

@description('Resource id of a user-assigned identity that may use that key (Key Vault Crypto Service Encryption User).')
param encryptionIdentityId string = ''

@description('Memory of an instance of the Function app in MB.')
@allowed([
  512
  2048
  4096
])
param functionMemoryMB int = 2048

@description('Further settings of docs/settings.md, names and texts; they win over those set here.')
param appSettings object = {}

var abbreviations = loadJsonContent('abbreviations.json')
// The same for the same subscription, environment and region, so a second deployment finds what the first made.
var token = uniqueString(subscription().id, environmentName, location)
var tags = {
  'azd-env-name': environmentName
}

var workspaceName = '${abbreviations.machineLearning}${token}'
var triggerContainer = 'triggers'
var dataContainer = 'data'
var eventHubName = 'readings'
var eventHubConsumerGroup = 'functions'
var streamAnalyticsConsumerGroup = 'stream-analytics'
var cpuClusterName = 'cpu-cluster'
var gpuClusterName = 'gpu-cluster'
// Stream Analytics and the Function app never both write the readings.
var streamAnalyticsWrites = sensorsEnabled && streamAnalyticsEnabled
var functionsReadHub = sensorsEnabled && !streamAnalyticsEnabled
var eventHubNamespaceName = '${abbreviations.eventHubNamespace}${token}'
var eventHubNamespace = '${eventHubNamespaceName}.servicebus.windows.net'
// Later than the Function app's own five past: Stream Analytics waits for late events for up to ten minutes (its module).
var streamAnalyticsSchedule = '0 15 * * * *'
var addresses = filter(split(replace(allowedAddresses, ' ', ''), ','), address => !empty(address))

// What batchscore reads of the parts around it, under the names of docs/settings.md.
var settings = {
  AZURE_SUBSCRIPTION_ID: subscription().subscriptionId
  AZURE_RESOURCE_GROUP: resourceGroup.name
  AZUREML_WORKSPACE_NAME: workspaceName
  TRIGGER_CONTAINER: triggerContainer
  DATA_CONTAINER: dataContainer
  AML_COMPUTE_CLUSTER_NAME: cpuClusterName
  AML_COMPUTE_CLUSTER_SKU: cpuClusterSize
  AML_COMPUTE_CLUSTER_MIN_NODES: cpuClusterMinNodes
  AML_COMPUTE_CLUSTER_MAX_NODES: cpuClusterMaxNodes
  AML_COMPUTE_CLUSTER_TIER: cpuClusterTier
  GPU_ENABLED: gpuEnabled ? 'true' : 'false'
  AML_GPU_COMPUTE_CLUSTER_NAME: gpuClusterName
  AML_GPU_COMPUTE_CLUSTER_SKU: gpuClusterSize
  AML_GPU_COMPUTE_CLUSTER_MIN_NODES: gpuClusterMinNodes
  AML_GPU_COMPUTE_CLUSTER_MAX_NODES: gpuClusterMaxNodes
  AML_GPU_COMPUTE_CLUSTER_TIER: gpuClusterTier
}

resource resourceGroup 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: '${abbreviations.resourceGroup}${environmentName}'
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    functionsIdentityName: '${abbreviations.userAssignedIdentity}functions-${token}'
    workspaceIdentityName: '${abbreviations.userAssignedIdentity}workspace-${token}'
    clustersIdentityName: '${abbreviations.userAssignedIdentity}clusters-${token}'
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    logAnalyticsName: '${abbreviations.logAnalytics}${token}'
    applicationInsightsName: '${abbreviations.applicationInsights}${token}'
    actionGroupName: '${abbreviations.actionGroup}${token}'
    alertEmail: alertEmail
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    dataAccountName: '${abbreviations.storageAccount}data${token}'
    systemAccountName: '${abbreviations.storageAccount}system${token}'
    triggerContainer: triggerContainer
    dataContainer: dataContainer
    restricted: vnetEnabled
    allowedAddresses: addresses
    encryptionKeyUri: encryptionKeyUri
    encryptionIdentityId: encryptionIdentityId
    logAnalyticsId: monitoring.outputs.logAnalyticsId
    accessLogged: accessLogEnabled
  }
}

module network 'modules/network.bicep' = if (vnetEnabled) {
  name: 'network'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    networkName: '${abbreviations.virtualNetwork}${token}'
    securityGroupName: '${abbreviations.networkSecurityGroup}${token}'
    natGatewayId: natGatewayId
  }
}

module keyVault 'modules/key-vault.bicep' = {
  name: 'key-vault'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    keyVaultName: '${abbreviations.keyVault}${token}'
    restricted: vnetEnabled
  }
}

module containerRegistry 'modules/container-registry.bicep' = {
  name: 'container-registry'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    registryName: '${abbreviations.containerRegistry}${token}'
    restricted: vnetEnabled
  }
}

module eventGrid 'modules/event-grid.bicep' = {
  name: 'event-grid'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    systemTopicName: '${abbreviations.systemTopic}${token}'
    dataAccountId: storage.outputs.dataAccountId
    logAnalyticsId: monitoring.outputs.logAnalyticsId
  }
}

module eventHub 'modules/event-hub.bicep' = if (sensorsEnabled) {
  name: 'event-hub'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    namespaceName: eventHubNamespaceName
    eventHubName: eventHubName
    functionsConsumerGroup: eventHubConsumerGroup
    streamAnalyticsConsumerGroup: streamAnalyticsConsumerGroup
    restricted: vnetEnabled
    allowedAddresses: addresses
  }
}

module streamAnalytics 'modules/stream-analytics.bicep' = if (streamAnalyticsWrites) {
  name: 'stream-analytics'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    jobName: '${abbreviations.streamAnalytics}${token}'
    eventHubNamespaceName: eventHubNamespaceName
    eventHubName: eventHub!.outputs.eventHubName
    consumerGroupName: streamAnalyticsConsumerGroup
    dataAccountName: storage.outputs.dataAccountName
    dataContainer: dataContainer
    logAnalyticsId: monitoring.outputs.logAnalyticsId
  }
}

module jobSubmitterRole 'modules/job-submitter-role.bicep' = {
  name: 'job-submitter-role'
  scope: resourceGroup
  params: {
    token: token
  }
}

module clusterRole 'modules/cluster-role.bicep' = {
  name: 'cluster-role'
  scope: resourceGroup
  params: {
    token: token
  }
}

module roleAssignments 'modules/role-assignments.bicep' = {
  name: 'role-assignments'
  scope: resourceGroup
  params: {
    functionsPrincipalId: identity.outputs.functionsPrincipalId
    workspacePrincipalId: identity.outputs.workspacePrincipalId
    clustersPrincipalId: identity.outputs.clustersPrincipalId
    topicPrincipalId: eventGrid.outputs.principalId
    streamAnalyticsPrincipalId: streamAnalyticsWrites ? streamAnalytics!.outputs.principalId : ''
    deployerPrincipalId: principalId
    deployerPrincipalType: principalType
    clusterRoleId: clusterRole.outputs.roleId
    dataAccountName: storage.outputs.dataAccountName
    systemAccountName: storage.outputs.systemAccountName
    triggerContainer: triggerContainer
    dataContainer: dataContainer
    deadLetterContainer: storage.outputs.deadLetterContainer
    keyVaultName: keyVault.outputs.name
    registryName: containerRegistry.outputs.name
    applicationInsightsName: monitoring.outputs.applicationInsightsName
    imagesBuiltOnNodes: vnetEnabled
  }
}

module eventHubRoles 'modules/event-hub-roles.bicep' = if (sensorsEnabled) {
  name: 'event-hub-roles'
  scope: resourceGroup
  params: {
    namespaceName: eventHubNamespaceName
    eventHubName: eventHub!.outputs.eventHubName
    readerPrincipalId: streamAnalyticsWrites ? streamAnalytics!.outputs.principalId : identity.outputs.functionsPrincipalId
    deployerPrincipalId: principalId
    deployerPrincipalType: principalType
  }
}

module machineLearning 'modules/machine-learning.bicep' = {
  name: 'machine-learning'
  scope: resourceGroup
  // The workspace looks into its account, vault and registry while it is made.
  dependsOn: [
    roleAssignments
  ]
  params: {
    location: location
    tags: tags
    workspaceName: workspaceName
    workspaceIdentityId: identity.outputs.workspaceIdentityId
    systemAccountId: storage.outputs.systemAccountId
    keyVaultId: keyVault.outputs.id
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    registryId: containerRegistry.outputs.id
    dataAccountName: storage.outputs.dataAccountName
    systemAccountName: storage.outputs.systemAccountName
    dataContainer: dataContainer
    restricted: vnetEnabled
    peopleFromOutside: !empty(addresses)
    cpuClusterName: cpuClusterName
    logAnalyticsId: monitoring.outputs.logAnalyticsId
  }
}

module workspaceRoles 'modules/workspace-roles.bicep' = {
  name: 'workspace-roles'
  scope: resourceGroup
  params: {
    workspaceName: machineLearning.outputs.workspaceName
    functionsPrincipalId: identity.outputs.functionsPrincipalId
    jobSubmitterRoleId: jobSubmitterRole.outputs.roleId
    workspacePrincipalId: identity.outputs.workspacePrincipalId
    deployerPrincipalId: principalId
    deployerPrincipalType: principalType
  }
}

module privateEndpoints 'modules/private-endpoints.bicep' = if (vnetEnabled) {
  name: 'private-endpoints'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    namePrefix: '${abbreviations.privateEndpoint}${token}-'
    networkId: network!.outputs.id
    subnetId: network!.outputs.endpointsSubnetId
    dataAccountId: storage.outputs.dataAccountId
    systemAccountId: storage.outputs.systemAccountId
    keyVaultId: keyVault.outputs.id
    registryId: containerRegistry.outputs.id
    workspaceId: machineLearning.outputs.workspaceId
    eventHubNamespaceId: sensorsEnabled ? eventHub!.outputs.namespaceId : ''
  }
}

module clusters 'modules/clusters.bicep' = {
  name: 'clusters'
  scope: resourceGroup
  // Nodes without public addresses find the workspace by its private endpoint.
  dependsOn: [
    roleAssignments
    privateEndpoints
  ]
  params: {
    location: location
    tags: tags
    workspaceName: machineLearning.outputs.workspaceName
    clustersIdentityId: identity.outputs.clustersIdentityId
    subnetId: vnetEnabled ? network!.outputs.clustersSubnetId : ''
    cpuClusterName: cpuClusterName
    cpuClusterSize: cpuClusterSize
    cpuClusterMinNodes: cpuClusterMinNodes
    cpuClusterMaxNodes: cpuClusterMaxNodes
    cpuClusterTier: cpuClusterTier
    gpuEnabled: gpuEnabled
    gpuClusterName: gpuClusterName
    gpuClusterSize: gpuClusterSize
    gpuClusterMinNodes: gpuClusterMinNodes
    gpuClusterMaxNodes: gpuClusterMaxNodes
    gpuClusterTier: gpuClusterTier
  }
}

module functions 'modules/functions.bicep' = {
  name: 'functions'
  scope: resourceGroup
  // The host reads its code and takes its leases as soon as it is there.
  dependsOn: [
    roleAssignments
    privateEndpoints
  ]
  params: {
    location: location
    tags: tags
    planName: '${abbreviations.functionPlan}${token}'
    functionAppName: '${abbreviations.functionApp}${token}'
    identityId: identity.outputs.functionsIdentityId
    identityClientId: identity.outputs.functionsClientId
    applicationInsightsConnectionString: monitoring.outputs.applicationInsightsConnectionString
    systemBlobEndpoint: storage.outputs.systemBlobEndpoint
    systemQueueEndpoint: storage.outputs.systemQueueEndpoint
    systemTableEndpoint: storage.outputs.systemTableEndpoint
    packageContainer: storage.outputs.packageContainer
    dataBlobEndpoint: storage.outputs.dataBlobEndpoint
    dataQueueEndpoint: storage.outputs.dataQueueEndpoint
    eventHubNamespace: functionsReadHub ? eventHubNamespace : ''
    eventHubName: eventHubName
    eventHubConsumerGroup: eventHubConsumerGroup
    scoringSchedule: streamAnalyticsWrites ? streamAnalyticsSchedule : ''
    settings: settings
    furtherSettings: appSettings
    instanceMemoryMB: functionMemoryMB
    subnetId: vnetEnabled ? network!.outputs.functionsSubnetId : ''
    restricted: vnetEnabled
    allowedAddresses: addresses
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: resourceGroup
  params: {
    location: location
    tags: tags
    logAnalyticsId: monitoring.outputs.logAnalyticsId
    actionGroupId: monitoring.outputs.actionGroupId
    sensorsEnabled: sensorsEnabled
  }
}

// Before preprovision.sh has written its start there is no budget.
module budget 'modules/budget.bicep' = if (budgetAmount > 0 && !empty(budgetStart)) {
  name: 'budget'
  scope: resourceGroup
  params: {
    amount: budgetAmount
    startDate: budgetStart
    alertEmail: alertEmail
    actionGroupId: monitoring.outputs.actionGroupId
  }
}

// Under the names of the settings, so that `eval "$(azd env get-values)"` makes batchscore work on a workstation, with the
// sign-in of whoever sits there.
@description('Where jobs run.')
output COMPUTE string = 'azureml'

@description('The resource group of everything.')
output AZURE_RESOURCE_GROUP string = resourceGroup.name

@description('The workspace.')
output AZUREML_WORKSPACE_NAME string = workspaceName

@description('Container whose *.json blobs start runs.')
output TRIGGER_CONTAINER string = triggerContainer

@description('Container of inputs and results.')
output DATA_CONTAINER string = dataContainer

@description('Address of the blobs of the system account.')
output AzureWebJobsStorage__blobServiceUri string = storage.outputs.systemBlobEndpoint

@description('Address of the queues of the system account.')
output AzureWebJobsStorage__queueServiceUri string = storage.outputs.systemQueueEndpoint

@description('Address of the blobs of the data account.')
output DATA_STORAGE__blobServiceUri string = storage.outputs.dataBlobEndpoint

@description('Address of the queues of the data account.')
output DATA_STORAGE__queueServiceUri string = storage.outputs.dataQueueEndpoint

@description('Host name of the Event Hubs namespace, empty without sensors.')
output EVENT_HUB__fullyQualifiedNamespace string = sensorsEnabled ? eventHubNamespace : ''

@description('The event hub that readings are sent to.')
output EVENT_HUB_NAME string = eventHubName

@description('Whose checkpoints the doctor looks at.')
output EVENT_HUB_CONSUMER_GROUP string = functionsReadHub ? eventHubConsumerGroup : streamAnalyticsConsumerGroup

@description('Name of the CPU cluster.')
output AML_COMPUTE_CLUSTER_NAME string = cpuClusterName

@description('VM size of the CPU cluster.')
output AML_COMPUTE_CLUSTER_SKU string = cpuClusterSize

@description('Nodes of the CPU cluster that stay.')
output AML_COMPUTE_CLUSTER_MIN_NODES int = cpuClusterMinNodes

@description('The most nodes of the CPU cluster.')
output AML_COMPUTE_CLUSTER_MAX_NODES int = cpuClusterMaxNodes

@description('Whether the nodes of the CPU cluster are dedicated or of low priority.')
output AML_COMPUTE_CLUSTER_TIER string = cpuClusterTier

@description('Whether there is a GPU cluster.')
output GPU_ENABLED string = gpuEnabled ? 'true' : 'false'

@description('Name of the GPU cluster.')
output AML_GPU_COMPUTE_CLUSTER_NAME string = gpuClusterName

@description('VM size of the GPU cluster.')
output AML_GPU_COMPUTE_CLUSTER_SKU string = gpuClusterSize

@description('Nodes of the GPU cluster that stay.')
output AML_GPU_COMPUTE_CLUSTER_MIN_NODES int = gpuClusterMinNodes

@description('The most nodes of the GPU cluster.')
output AML_GPU_COMPUTE_CLUSTER_MAX_NODES int = gpuClusterMaxNodes

@description('Whether the nodes of the GPU cluster are dedicated or of low priority.')
output AML_GPU_COMPUTE_CLUSTER_TIER string = gpuClusterTier

@description('The Function app, for the hooks.')
output FUNCTION_APP_NAME string = functions.outputs.functionAppName

@description('The system account, for the hooks.')
output SYSTEM_STORAGE_ACCOUNT_NAME string = storage.outputs.systemAccountName

@description('The topic that tells of new blobs, for the hooks.')
output SYSTEM_TOPIC_NAME string = eventGrid.outputs.systemTopicName

@description('The Stream Analytics job, for the hooks; empty where there is none.')
output STREAM_ANALYTICS_JOB_NAME string = streamAnalyticsWrites ? streamAnalytics!.outputs.jobName : ''
